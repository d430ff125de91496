/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Receiving from links.
 *
 * Packets are copied first, into the caller's buffers, and looked up there:
 * what is not accepted is not passed on.  Packets of the base wait for those
 * that were in the rings of links when they were first seen (see
 * vpci/abi.h). */

#include "net-peer.h"

#include <string.h>

#include "ring-private.h"

/* How often a burst is looked up, if acceptances change all the time. */
#define MAX_TRIES 8

/* Other packets are not plain. */
_Static_assert(RING_ODD_BYTES == VPCI_STEER_PLAIN_HEADERS,
               "shorter packets are odd");

/* Packets of the base that are noted at once. */
#define MAX_NOTED VPCI_RING_BURST

/* What becomes of a burst from a link. */
struct burst {
    struct vpci_net *net;
    struct net_worker *w;
    struct net_link_ring *r;
    struct vpci_ring_buf *bufs;
    struct ring_sum sum;        /* Of all that were copied, */
    unsigned int n;             /* so many, */
    unsigned int n_plain;       /* of which so many, the first, are plain, */
    unsigned int n_done;        /* are not to be seen again, */
    unsigned int n_kept;        /* and are the caller's. */
    uint64_t plain_bytes;
    uint32_t plain_entry;
    uint64_t bytes;             /* Of those kept. */
    unsigned int n_refused;
};

static inline uint32_t
acceptance_of(uint64_t verdict)
{
    return verdict >> VPCI_ABI_ACCEPTANCE_SHIFT;
}

/* True if the ring waits for other acceptances. */
static inline bool
waits(const struct net_link_ring *r)
{
    return (NET_UNLIKELY(r->waits)
            && (projection_generation(r->look->projection->hdr)
                == r->waits_generation));
}

/* Reads the edits of packets that have any, if they may have changed. */
static void
load_edits(const struct burst *b)
{
    const struct net_look *look = b->r->look;
    const struct net_region *base = &b->net->base;

    for (unsigned int i = b->n_plain; i < b->n; i++) {
        uint32_t place = look->verdicts[i];
        struct net_edits *e;

        if (NET_LIKELY(acceptance_of(look->verdicts[i]) != VPCI_ABI_EDIT)
            || place >= b->w->links->n_flows) {
            continue;
        }
        e = &b->w->links->edits[place];
        if (e->look != look || e->generation != look->generation) {
            e->look = look;
            e->generation = look->generation;
            e->valid = vpci_edits_read(&e->edits,
                                       vpci_layout_edits(&base->layout,
                                                         base->base, place));
        }
    }
}

/* Finds out how many of the packets, from the first one on, are plain, where
 * plain ones are accepted.  Mostly all are, which is known soonest. */
static void
count_plain(struct burst *b)
{
    const struct net_look *look = b->r->look;
    const struct ring_sum *sum = &b->sum;
    uint32_t max_len = b->r->link->policy.max_len;

    b->plain_entry = look->plain.verdict;
    if (NET_LIKELY(!sum->odd && sum->longest <= max_len
                   && net_look_all_plain(look, b->bufs, b->n))) {
        b->n_plain = b->n;
        b->plain_bytes = sum->bytes;
    } else {
        b->n_plain = net_look_count_plain(look, b->bufs, b->n, max_len, true,
                                          &b->plain_bytes);
    }
}

/* Finds out which acceptances the packets have, as they were copied.  Returns
 * false if these change all the time. */
static bool
look_up(struct burst *b)
{
    struct net_look *look = b->r->look;
    const struct vpci_steer_plain *plain = &look->plain;

    net_look_begin(look);
    if (look->has_plain
        && acceptance_of(plain->verdict) == VPCI_ABI_ACCEPT
        && (uint32_t) plain->verdict < b->w->links->n_flows) {
        count_plain(b);
    }
    if (NET_UNLIKELY(b->n_plain < b->n)) {
        net_look_up(look, b->bufs, b->n_plain, b->n, true);
        load_edits(b);
    }
    for (int i = 0; i < MAX_TRIES; i++) {
        if (NET_LIKELY(net_look_end(look))) {
            return true;
        }
        b->n_plain = 0;
        b->plain_bytes = 0;
        net_look_begin(look);
        net_look_up(look, b->bufs, 0, b->n, true);
        load_edits(b);
    }
    return false;
}

/* Applies 'edits' to the packet in '*buf'; 'wire' says what is left to do for
 * it, or is null.  One that its buffer is too small for is left alone: it will
 * be dropped.  Returns false if the packet cannot be changed so. */
static bool
edit(const struct burst *b, const struct vpci_edits *edits,
     struct vpci_ring_buf *buf, struct vpci_wire *wire)
{
    uint32_t len = buf->len + edits->growth;

    if (buf->len > buf->size || len > buf->size) {
        buf->len = buf->len > len ? buf->len : len;
        return true;
    }
    if (!vpci_edits_apply(edits, net_look_max_vlans(b->r->look), buf->data,
                          buf->len)) {
        return false;
    }
    buf->len = len;
    if (wire) {
        vpci_wire_edited(wire, edits->growth, buf->data, len);
    }
    return true;
}

/* Packet 'i' is accepted, with 'edits', or, if that is null, as it is.
 * Returns false if it is not as it may be. */
static bool
accept(struct burst *b, unsigned int i, const struct vpci_edits *edits)
{
    const struct net_link *link = b->r->link;
    const struct net_change change = {
        .edited = edits != NULL, .growth = edits ? edits->growth : 0,
    };
    struct vpci_ring_buf *buf = &b->bufs[i];
    uint64_t packets = 1, bytes = buf->len;

    if (NET_LIKELY(!(buf->offload.flags | buf->offload.gso_type))) {
        memset(&buf->offload, 0, sizeof buf->offload);
        if (!net_policy_allows(&link->policy, buf->len, change.growth)
            || (edits && !edit(b, edits, buf, NULL))) {
            return false;
        }
    } else {
        struct vpci_net_hdr hdr;
        struct vpci_wire wire;

        if (buf->len > buf->size
            || !net_link_carries(link, buf, &change, &wire)) {
            return false;
        }
        packets = wire.n_segments;
        bytes = vpci_wire_bytes(&wire, buf->len);
        if (edits && !edit(b, edits, buf, &wire)) {
            return false;
        }
        vpci_wire_to_hdr(&wire, &hdr);
        buf->offload = vpci_ring_offload_from_hdr(&hdr);
    }
    net_count_flow(b->w->links, b->r->look->verdicts[i], packets, bytes,
                   b->r->look->tcp_flags[i]);
    return true;
}

/* Packet 'i', whose acceptance is 'verdict', is accepted if that says so. */
static inline bool
is_accepted(struct burst *b, unsigned int i, uint64_t verdict)
{
    const struct net_edits *e;
    uint32_t place = verdict;

    if (place >= b->w->links->n_flows) {
        return false;
    } else if (NET_LIKELY(acceptance_of(verdict) == VPCI_ABI_ACCEPT)) {
        return accept(b, i, NULL);
    } else if (acceptance_of(verdict) != VPCI_ABI_EDIT) {
        return false;
    }
    e = &b->w->links->edits[place];
    return e->valid && accept(b, i, &e->edits);
}

/* Packet 'i' is the caller's. */
static void
keep(struct burst *b, unsigned int i)
{
    struct vpci_ring_buf buf = b->bufs[i];

    b->bufs[i] = b->bufs[b->n_kept];
    b->bufs[b->n_kept++] = buf;
    b->bytes += buf.len;
}

/* Decides what becomes of those that are not plain, until one has to wait. */
static void
judge(struct burst *b)
{
    const struct net_look *look = b->r->look;
    unsigned int i;

    for (i = b->n_plain; i < b->n; i++) {
        uint64_t verdict = look->verdicts[i];

        if (acceptance_of(verdict) == VPCI_ABI_WAIT) {
            b->r->waits = true;
            b->r->waits_generation = look->generation;
            break;
        }
        if (NET_LIKELY(is_accepted(b, i, verdict))) {
            keep(b, i);
        } else {
            b->n_refused++;
        }
    }
    b->n_done = i;
}

/* Drops those that are larger than their buffers. */
static void
drop_cut(struct burst *b)
{
    bool whole = true;

    for (unsigned int i = b->n_plain; i < b->n_kept; i++) {
        whole &= b->bufs[i].len <= b->bufs[i].size;
    }
    if (NET_UNLIKELY(!whole)) {
        b->n_kept = net_sort_out(b->w, b->bufs, b->n_kept);
        b->bytes = 0;
        for (unsigned int i = 0; i < b->n_kept; i++) {
            b->bytes += b->bufs[i].len;
        }
    }
}

static void
count(struct burst *b)
{
    struct net_link_worker *lw = b->w->links;
    struct net_worker *w = b->w;
    uint32_t slot = b->r->link->slot;

    net_count(&w->stats.packets, b->n_kept);
    net_count(&w->stats.bytes, b->bytes);
    net_count(&w->stats.linked, b->n_kept);
    net_count(&w->link_counts[slot].packets, b->n_kept);
    if (b->net->policy.classes.n > 1) {
        net_count(&w->class_packets[b->r->class_], b->n_kept);
    }
    if (NET_UNLIKELY(b->n_refused)) {
        lw->refused[slot] += b->n_refused;
        vpci_store64(&lw->link_counts[slot].refused, lw->refused[slot]);
        net_count(&w->stats.rejected, b->n_refused);
        net_count(&w->link_counts[slot].refused, b->n_refused);
    }
}

/* Receives up to 'n' packets from ring 'r'. */
static unsigned int
receive_link(struct vpci_net *net, struct net_worker *w,
             struct net_link_ring *r, struct vpci_ring_buf bufs[],
             unsigned int n)
{
    struct burst b = { .net = net, .w = w, .r = r, .bufs = bufs };

    if (!n || waits(r)) {
        return 0;
    }
    r->waits = false;

    /* What is looked up then is at least as new as the packets. */
    b.n = ring_rx_copy_sum(r->rx, bufs,
                           n < VPCI_STEER_BURST ? n : VPCI_STEER_BURST,
                           &b.sum);
    if (!b.n || !look_up(&b)) {
        return 0;
    }
    b.n_done = b.n_kept = b.n_plain;
    b.bytes = b.plain_bytes;
    if (b.n_plain) {
        net_count_flow(w->links, b.plain_entry, b.n_plain, b.plain_bytes, 0);
    }
    if (NET_UNLIKELY(b.n_plain < b.n)) {
        judge(&b);
        drop_cut(&b);
    }
    count(&b);
    if (vpci_ring_release(r->rx, b.n_done)) {
        net_inject(w, &r->link->region, r->queue, 1u << r->class_);
    }
    return b.n_kept;
}

/* True if nothing of the base is there, nor on its way. */
static inline bool
base_is_quiet(const struct vpci_net *net, const struct net_link_worker *lw,
              uint32_t queue)
{
    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        const struct vpci_ring_rx *rx = net_base_rx(net, queue, i);

        if (lw->allowed[i] != rx->next || ring_rx_is_ready(rx)) {
            return false;
        }
    }
    return !lw->pending;
}

/* True if the base has a packet that was not noted yet. */
static bool
base_has_new(const struct vpci_net *net, const struct net_link_worker *lw,
             uint32_t queue)
{
    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        const struct vpci_ring_rx *rx = net_base_rx(net, queue, i);

        if (lw->allowed[i] == vpci_ring_taken(rx) && vpci_ring_is_ready(rx)) {
            return true;
        }
    }
    return false;
}

/* Notes what packets there are in the base, and then, which ones in links may
 * have been sent before them. */
static void
note(const struct vpci_net *net, struct net_link_worker *lw, uint32_t queue)
{
    struct vpci_ring_pkt pkts[MAX_NOTED];

    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        struct vpci_ring_rx *rx = net_base_rx(net, queue, i);

        lw->limit[i] = vpci_ring_taken(rx) + vpci_ring_peek(rx, pkts,
                                                            MAX_NOTED);
        if (lw->limit[i] != lw->allowed[i]) {
            lw->pending_class = i;
        }
    }

    /* Whoever sees the packet in the base, by vpci_ring_peek(), sees what its
     * sender had offered in links before, here. */
    for (uint32_t i = 0; i < lw->n_rings; i++) {
        lw->rings[i].mark = vpci_ring_offered(lw->rings[i].rx);
    }
    lw->pending = true;
}

/* Packets of the ring that come before those noted: none if there are so many
 * that its producer has lied. */
static uint32_t
left_to_mark(const struct net_link_ring *r)
{
    uint32_t left = r->mark - vpci_ring_taken(r->rx);

    return left <= vpci_ring_rx_size(r->rx) ? left : 0;
}

/* Lets noted packets of the base through, if those before them have come, or
 * will not for now. */
static void
settle(const struct vpci_net *net, struct net_link_worker *lw)
{
    if (!lw->pending) {
        return;
    }
    for (uint32_t i = 0; i < lw->n_rings; i++) {
        const struct net_link_ring *r = &lw->rings[i];

        if (left_to_mark(r) && !waits(r) && vpci_ring_is_ready(r->rx)) {
            return;
        }
    }
    memcpy(lw->allowed, lw->limit,
           net->policy.classes.n * sizeof lw->allowed[0]);
    lw->pending = false;
}

/* Receives up to 'n' packets of 'class_' that the base may give. */
static unsigned int
receive_allowed(struct vpci_net *net, struct net_worker *w, uint32_t queue,
                uint32_t class_, struct vpci_ring_buf bufs[], unsigned int n)
{
    uint32_t left;

    if (class_ >= net->policy.classes.n) {
        return 0;
    }
    left = (w->links->allowed[class_]
            - vpci_ring_taken(net_base_rx(net, queue, class_)));
    n = n < left ? n : left;
    return n ? net_receive_base(net, w, queue, class_, bufs, n) : 0;
}

/* How many packets, of 'n', the ring may give: no more than come before those
 * of the base that are as urgent. */
static unsigned int
limit(const struct net_link_worker *lw, const struct net_link_ring *r,
      unsigned int n)
{
    uint32_t left;

    if (NET_LIKELY(!lw->pending) || r->class_ > lw->pending_class) {
        return n;
    }
    left = left_to_mark(r);
    return n < left ? n : left;
}

static inline uint32_t
take_turn(struct net_link_turns *t)
{
    uint32_t turn = t->next;

    t->next = turn + 1 < t->end ? turn + 1 : t->begin;
    return turn;
}

/* Receives up to 'n' packets from rings of links, or of the peer, of 'class_'.
 * If one has as many, however fast its producer is, it is the turn of another
 * one next time. */
static unsigned int
receive_class(struct vpci_net *net, struct net_worker *w, uint32_t class_,
              struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_link_worker *lw = w->links;
    struct net_link_turns *c = &lw->classes[class_];
    unsigned int got = 0;

    for (uint32_t i = c->begin; i < c->end && got < n; i++) {
        struct net_link_turns *s = &lw->sharers[take_turn(c)];

        if (NET_UNLIKELY(s->is_peer)) {
            got += net_peer_receive(net, w, &bufs[got], n - got);
        }
        for (uint32_t j = s->begin; j < s->end && got < n; j++) {
            struct net_link_ring *r = &lw->rings[take_turn(s)];

            got += receive_link(net, w, r, &bufs[got],
                                limit(lw, r, n - got));
        }
    }
    return got;
}

/* Receives up to 'n' packets, of links and of the base. */
static unsigned int
receive_mixed(struct vpci_net *net, struct net_worker *w, uint32_t queue,
              struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_link_worker *lw = w->links;
    unsigned int got = 0;

    if (!lw->pending && NET_UNLIKELY(base_has_new(net, lw, queue))) {
        note(net, lw, queue);
    }
    settle(net, lw);
    for (uint32_t i = lw->n_classes; i-- > 0 && got < n; ) {
        got += receive_allowed(net, w, queue, i, &bufs[got], n - got);
        got += receive_class(net, w, i, &bufs[got], n - got);
        if (NET_UNLIKELY(lw->pending)) {
            settle(net, lw);
            got += receive_allowed(net, w, queue, i, &bufs[got], n - got);
        }
    }
    return got;
}

unsigned int
net_links_receive(struct vpci_net *net, struct net_worker *w, uint32_t queue,
                  struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_link_worker *lw = w->links;
    unsigned int got = 0;

    if (NET_UNLIKELY(!base_is_quiet(net, lw, queue))) {
        return receive_mixed(net, w, queue, bufs, n);
    }
    for (uint32_t i = lw->n_classes; i-- > 0 && got < n; ) {
        got += receive_class(net, w, i, &bufs[got], n - got);
    }
    return got;
}

unsigned int
net_links_ready(const struct net_worker *w)
{
    const struct net_link_worker *lw = w->links;
    unsigned int classes = 0;

    for (uint32_t i = 0; lw && i < lw->n_rings; i++) {
        const struct net_link_ring *r = &lw->rings[i];

        if (vpci_ring_is_ready(r->rx) && !waits(r)) {
            classes |= 1u << r->class_;
        }
    }
    return classes | net_peer_ready(w);
}

bool
net_links_ask(const struct net_worker *w)
{
    const struct net_link_worker *lw = w->links;

    for (uint32_t i = 0; lw && i < lw->n_rings; i++) {
        const struct net_link_ring *r = &lw->rings[i];

        if (!waits(r) && !net_holds_ask(w, r->class_, r->rx)) {
            return false;
        }
    }
    return net_peer_ask(w);
}

void
net_links_awake(const struct net_worker *w, bool never)
{
    const struct net_link_worker *lw = w->links;

    for (uint32_t i = 0; lw && i < lw->n_rings; i++) {
        vpci_ring_rx_awake(lw->rings[i].rx, never);
    }
    net_peer_awake(w);
}
