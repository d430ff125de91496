/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Receiving from the peer: from its transmit rings, while these are ours.  See
 * net-peer.h.
 *
 * As from links, packets are copied first and looked up then.  But the first
 * one that is not accepted ends our turn: the switch finds it where it is, and
 * decides. */

#include "net-peer.h"

#include <string.h>

/* How often a burst is looked up, if acceptances change all the time. */
#define MAX_TRIES 8

/* A burst from a ring. */
struct burst {
    struct vpci_net *net;
    struct net_worker *w;
    struct net_look *look;
    struct net_peer_ring *r;
    struct vpci_ring_buf *bufs;
    unsigned int n;             /* Packets that were copied, */
    unsigned int n_plain;       /* of which so many, the first, are plain and
                                 * accepted, */
    unsigned int n_taken;       /* and so many, the first, accepted. */
    uint64_t plain_bytes;
};

/* True if packets of the base come first.  They may be another worker's. */
static bool
is_early(const struct vpci_net *net, struct net_peer *p)
{
    if (NET_LIKELY(!__atomic_load_n(&p->marked, __ATOMIC_RELAXED))) {
        return false;
    }
    for (uint32_t i = 0; i < net->n_queues; i++) {
        for (uint32_t j = 0; j < net->policy.classes.n; j++) {
            uint32_t index = vpci_layout_ring_index(&net->base.layout, i, j);
            const struct vpci_ring_rx *rx = net->base.rx[index];
            uint32_t left = p->marks[index] - vpci_ring_taken(rx);

            /* If there are more than a ring has, they have come, or never
             * will. */
            if (left && left <= vpci_ring_rx_size(rx)) {
                return true;
            }
        }
    }
    __atomic_store_n(&p->marked, false, __ATOMIC_RELAXED);
    return false;
}

static bool
is_acceptance(const struct net_link_worker *lw, uint64_t verdict)
{
    return (verdict >> VPCI_ABI_ACCEPTANCE_SHIFT == VPCI_ABI_ACCEPT
            && (uint32_t) verdict < lw->n_flows);
}

/* Copies the packets that are there to the caller's buffers. */
static void
copy(struct burst *b)
{
    for (unsigned int i = 0; i < b->n; i++) {
        struct vpci_ring_buf *buf = &b->bufs[i];
        struct vpci_pkt *pkt = &b->r->pkts[i];

        vpci_pkts_take_heads(pkt, 1, buf->data, 0, buf->size);
        buf->len = pkt->len;
        buf->offload = vpci_ring_offload_from_hdr(&pkt->hdr);
    }
}

/* Finds out which acceptances they have.  Returns false if these change all
 * the time. */
static bool
look_up(struct burst *b)
{
    struct net_look *look = b->look;

    for (int i = 0; i < MAX_TRIES; i++) {
        b->n_plain = 0;
        net_look_begin(look);
        if (look->has_plain
            && is_acceptance(b->w->links, look->plain.verdict)) {
            b->n_plain = net_look_count_plain(look, b->bufs, b->n,
                                              b->net->policy.max_len, true,
                                              &b->plain_bytes);
        }
        if (b->n_plain < b->n) {
            net_look_up(look, b->bufs, b->n_plain, b->n, true);
        }
        if (NET_LIKELY(net_look_end(look))) {
            return true;
        }
    }
    return false;
}

/* Accepts packet 'i', if it is as it may be. */
static bool
accept(struct burst *b, unsigned int i)
{
    static const struct net_change none;
    const struct net_policy *policy = &b->net->policy;
    struct vpci_ring_buf *buf = &b->bufs[i];
    uint64_t packets = 1, bytes = buf->len;

    if (!is_acceptance(b->w->links, b->look->verdicts[i])) {
        return false;
    }
    if (NET_LIKELY(!(buf->offload.flags | buf->offload.gso_type))) {
        memset(&buf->offload, 0, sizeof buf->offload);
        if (!net_policy_allows(policy, buf->len, 0)) {
            return false;
        }
    } else if (buf->len <= buf->size) {
        struct vpci_net_hdr hdr;
        struct vpci_wire wire;

        if (!net_may_carry(policy, b->r->peer->features, policy->features,
                           buf, &none, &wire)) {
            return false;
        }
        packets = wire.n_segments;
        bytes = vpci_wire_bytes(&wire, buf->len);
        vpci_wire_to_hdr(&wire, &hdr);
        buf->offload = vpci_ring_offload_from_hdr(&hdr);
    }
    net_count_flow(b->w->links, b->look->verdicts[i], packets, bytes,
                   b->look->tcp_flags[i]);
    return true;
}

/* Counts the packets that were taken, and drops those that are larger than
 * their buffers.  Returns how many are left. */
static unsigned int
finish(struct burst *b)
{
    struct net_worker *w = b->w;
    unsigned int n = b->n_taken;
    bool whole = true;
    uint64_t bytes = 0;

    for (unsigned int i = b->n_plain; i < n; i++) {
        whole &= b->bufs[i].len <= b->bufs[i].size;
    }
    if (NET_UNLIKELY(!whole)) {
        n = net_sort_out(w, b->bufs, n);
    }
    for (unsigned int i = 0; i < n; i++) {
        bytes += b->bufs[i].len;
    }
    net_count(&w->stats.packets, n);
    net_count(&w->stats.bytes, bytes);
    net_count(&w->stats.linked, n);
    net_count(&w->link_counts[b->r->peer->slot].packets, n);
    if (b->net->policy.classes.n > 1) {
        net_count(&w->class_packets[0], n);
    }
    return n;
}

/* Receives up to 'n' packets from ring 'r'. */
static unsigned int
receive_ring(struct vpci_net *net, struct net_worker *w,
             struct net_peer_ring *r, struct vpci_ring_buf bufs[],
             unsigned int n)
{
    struct burst b = {
        .net = net, .w = w, .look = w->links->peer_rx.look, .r = r,
        .bufs = bufs,
    };

    b.n = vpci_vring_peek(r->vring, r->pkts,
                          n < VPCI_STEER_BURST ? n : VPCI_STEER_BURST);
    if (!b.n) {
        return 0;
    }
    copy(&b);
    if (!look_up(&b)) {
        return 0;
    }
    b.n_taken = b.n_plain;
    if (b.n_plain) {
        net_count_flow(w->links, b.look->plain.verdict, b.n_plain,
                       b.plain_bytes, 0);
    }
    while (b.n_taken < b.n && accept(&b, b.n_taken)) {
        b.n_taken++;
    }
    if (NET_UNLIKELY(b.n_taken < b.n)) {
        net_count(&w->link_counts[r->peer->slot].refused, 1);
        net_peer_end(r->peer, VPCI_ABI_PEER_NOT_ACCEPTED);
    }
    vpci_vring_release(r->vring, b.n_taken);
    vpci_vring_notify(r->vring);
    return b.n_taken ? finish(&b) : 0;
}

unsigned int
net_peer_receive(struct vpci_net *net, struct net_worker *w,
                 struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_peer_rx *rx = &w->links->peer_rx;
    struct net_peer *p = net->links->peer;
    unsigned int got = 0;

    if (is_early(net, p)) {
        return 0;
    }
    for (uint32_t i = 0; i < rx->n_rings && got < n; i++) {
        struct net_peer_ring *r = rx->rings[rx->next];

        rx->next = rx->next + 1 < rx->n_rings ? rx->next + 1 : 0;
        if (net_peer_is_usable(p)) {
            got += receive_ring(net, w, r, &bufs[got], n - got);
        }
    }
    return got;
}

/* The receiver's rings, if it may look at them now, or null. */
static const struct net_peer_rx *
find_usable(const struct net_worker *w)
{
    const struct net_peer_rx *rx = w->links ? &w->links->peer_rx : NULL;

    return (rx && rx->n_rings && net_peer_is_usable(rx->rings[0]->peer)
            ? rx : NULL);
}

unsigned int
net_peer_ready(const struct net_worker *w)
{
    const struct net_peer_rx *rx = find_usable(w);

    if (!rx || is_early(w->net, rx->rings[0]->peer)) {
        return 0;
    }
    for (uint32_t i = 0; i < rx->n_rings; i++) {
        if (vpci_vring_has_room(rx->rings[i]->vring, 1)) {
            return 1;
        }
    }
    return 0;
}

bool
net_peer_ask(const struct net_worker *w)
{
    const struct net_peer_rx *rx = find_usable(w);

    if (!rx || is_early(w->net, rx->rings[0]->peer)) {
        return true;
    }
    for (uint32_t i = 0; i < rx->n_rings; i++) {
        if (!vpci_vring_ask(rx->rings[i]->vring)) {
            return false;
        }
    }
    return true;
}

void
net_peer_awake(const struct net_worker *w)
{
    const struct net_peer_rx *rx = w->links ? &w->links->peer_rx : NULL;

    for (uint32_t i = 0; rx && i < rx->n_rings; i++) {
        vpci_vring_awake(rx->rings[i]->vring);
    }
}

int64_t
net_peer_until(const struct net_worker *w)
{
    const struct net_peer_rx *rx = find_usable(w);
    bool polls = w->stuck && !w->stuck_ring;

    for (uint32_t i = 0; rx && i < rx->n_rings; i++) {
        polls |= !rx->rings[i]->kick;
    }
    if (rx) {
        polls |= __atomic_load_n(&rx->rings[0]->peer->marked,
                                 __ATOMIC_RELAXED);
    }
    return polls ? net_now_us() + NET_PEER_POLL_US : -1;
}
