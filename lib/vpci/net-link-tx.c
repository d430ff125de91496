/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Sending by links: what hints say goes to a link, all else to the base. */

#include "net-peer.h"

/* How often a burst is looked up, if hints change all the time. */
#define MAX_TRIES 8

/* Bits of a hint that mean nothing: whoever has set them means something
 * else. */
#define UNKNOWN ((UINT64_C(1) << VPCI_ABI_HINT_ID_SHIFT)                \
                 - 2 * VPCI_ABI_HINT_EDIT)

const struct net_region *
net_tx_region(const struct vpci_net *net, const struct net_worker *w,
              uint32_t queue, uint32_t i)
{
    const struct net_link *link;

    if (!i) {
        return &net->base;
    }
    link = w->links ? net->links->slots[i - 1] : NULL;
    return (link && link->sends && queue < link->region.layout.shape.n_queues
            ? &link->region : NULL);
}

/* True if the checksum that '*wire' says is missing may stay so. */
static bool
may_lack_csum(const struct vpci_wire *wire, const struct vpci_ring_buf *buf,
              bool edited)
{
    struct vpci_wire_own own;

    return (edited ? vpci_wire_find_own(wire, buf->data, buf->len, &own)
            : vpci_wire_is_harmless(wire, buf->data, buf->len));
}

bool
net_may_carry(const struct net_policy *policy, uint64_t sends, uint64_t takes,
              const struct vpci_ring_buf *buf, const struct net_change *change,
              struct vpci_wire *wire)
{
    struct vpci_net_hdr hdr = vpci_ring_offload_to_hdr(buf->offload);

    if (vpci_wire_check(&hdr, buf->data, buf->len, sends, wire)
        || !net_policy_allows(policy, vpci_wire_longest(wire, buf->len),
                              change->growth)
        || (int64_t) buf->len + change->growth > VPCI_ABI_MAX_LEN
        || !vpci_wire_is_accepted(wire, takes)) {
        return false;
    }
    switch (wire->kind) {
    case VPCI_WIRE_SINGLE:
        return (!wire->needs_csum
                || may_lack_csum(wire, buf, change->edited));
    case VPCI_WIRE_FRAG4:
    case VPCI_WIRE_FRAG6:
        /* Flows see fragments where the receiver sees none. */
        return false;
    case VPCI_WIRE_TCP4:
    case VPCI_WIRE_TCP6:
    case VPCI_WIRE_UDP4:
    case VPCI_WIRE_UDP6:
    default:
        return true;
    }
}

/* The link that 'verdict' of the hints names, or null if it cannot be used
 * now. */
static struct net_link *
find_link(const struct vpci_net *net, uint32_t queue, uint64_t verdict)
{
    uint32_t slot = verdict & VPCI_ABI_HINT_PLACE_MASK;
    uint32_t id = verdict >> VPCI_ABI_HINT_ID_SHIFT;
    struct net_link *link = (slot < VPCI_ABI_MAX_LINKS
                             ? net->links->slots[slot] : NULL);

    return (link && link->sends && link->id == id && !(verdict & UNKNOWN)
            && queue < link->region.layout.shape.n_queues
            && net_region_is_current(&link->region) ? link : NULL);
}

/* What the receiver is to do with packets of a hint. */
static struct net_change
change_of(uint64_t verdict)
{
    struct net_change change = {
        .edited = (verdict & VPCI_ABI_HINT_EDIT) != 0,
        .growth = (verdict >> VPCI_ABI_HINT_GROWTH_SHIFT
                   & VPCI_ABI_HINT_GROWTH_MASK),
    };

    return change;
}

/* True if the packet may be sent by the link. */
static inline bool
fits(const struct net_look *look, const struct net_link *link,
     const struct net_change *change, const struct vpci_ring_buf *buf)
{
    struct vpci_wire wire;
    union vpci_key key;

    if (NET_UNLIKELY(change->edited)
        && !vpci_key_parse(buf->data, buf->len, buf->len,
                           net_look_max_vlans(look), VPCI_DEPTH_L4, &key)) {
        return false;
    }
    if (NET_LIKELY(!(buf->offload.flags | buf->offload.gso_type))) {
        return net_policy_allows(&link->policy, buf->len, change->growth);
    }
    return net_link_carries(link, buf, change, &wire);
}

/* Puts 'n' packets that fit in the link's rings. */
static unsigned int
put(struct net_worker *w, uint32_t queue, const struct net_link *link,
    const struct vpci_ring_buf bufs[], unsigned int n, uint64_t bytes)
{
    unsigned int sent = net_send_rings(w, &link->region, &link->policy, queue,
                                       bufs, n);

    net_count_sent(w, bufs, sent, sent == n ? bytes : 0);
    net_count(&w->stats.linked, sent);
    net_count(&w->link_counts[link->slot].packets, sent);
    return sent;
}

/* Sends 'n' packets of the hint 'verdict' by its link, or by the base where
 * they do not fit. */
static unsigned int
send_by_link(struct vpci_net *net, struct net_worker *w, uint32_t queue,
             const struct net_link *link, uint64_t verdict,
             const struct vpci_ring_buf bufs[], unsigned int n)
{
    const struct net_change change = change_of(verdict);
    unsigned int i = 0;

    while (i < n) {
        unsigned int first = i, sent;

        while (i < n && fits(&w->links->hints, link, &change, &bufs[i])) {
            i++;
        }
        sent = i > first ? put(w, queue, link, &bufs[first], i - first, 0)
               : 0;
        if (sent < i - first) {
            return first + sent;
        }
        if (i < n) {
            if (!net_send_base(net, w, queue, &bufs[i], 1)) {
                return i;
            }
            i++;
        }
    }
    return n;
}

/* Sends 'n' packets of the hint 'verdict', which have these TCP flags, by the
 * peer's rings or by the base. */
static unsigned int
send_elsewhere(struct vpci_net *net, struct net_worker *w, uint32_t queue,
               uint64_t verdict, const struct vpci_ring_buf bufs[],
               const uint16_t tcp_flags[], unsigned int n)
{
    return (NET_UNLIKELY(net_peer_is_named(net, verdict))
            ? net_peer_send(net, w, queue, verdict, bufs, tcp_flags, n)
            : net_send_base(net, w, queue, bufs, n));
}

/* Sends packets 'first' to 'n' - 1 of a burst that was looked up. */
static unsigned int
send_found(struct vpci_net *net, struct net_worker *w, uint32_t queue,
           const struct vpci_ring_buf bufs[], unsigned int first,
           unsigned int n)
{
    const struct net_look *look = &w->links->hints;

    while (first < n) {
        uint64_t verdict = look->verdicts[first];
        const struct net_link *link = find_link(net, queue, verdict);
        unsigned int end = first + 1, sent;

        while (end < n && look->verdicts[end] == verdict) {
            end++;
        }
        sent = (link
                ? send_by_link(net, w, queue, link, verdict, &bufs[first],
                               end - first)
                : send_elsewhere(net, w, queue, verdict, &bufs[first],
                                 &look->tcp_flags[first], end - first));
        first += sent;
        if (first < end) {
            return first;
        }
    }
    return n;
}

/* Sends 'n' packets of 'bytes' that go by the plain hint, whose verdict this
 * is. */
static unsigned int
send_plain(struct vpci_net *net, struct net_worker *w, uint32_t queue,
           uint64_t verdict, const struct vpci_ring_buf bufs[],
           unsigned int n, uint64_t bytes)
{
    const struct net_link *link = find_link(net, queue, verdict);

    return (link ? put(w, queue, link, bufs, n, bytes)
            : send_elsewhere(net, w, queue, verdict, bufs, NULL, n));
}

/* Says which hints all that is sent from now on goes by. */
static void
acknowledge(struct net_link_worker *lw)
{
    uint32_t generation = projection_generation(lw->hints.projection->hdr);

    if (NET_UNLIKELY(generation != lw->acknowledged)) {
        /* (M) What was sent before is visible to whoever sees this. */
        vpci_store32_release(&lw->words->hints, generation);
        __atomic_store_n(&lw->acknowledged, generation, __ATOMIC_RELAXED);
    }
}

/* Sends up to VPCI_STEER_BURST packets. */
static unsigned int
send_some(struct vpci_net *net, struct net_worker *w, uint32_t queue,
          const struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_look *look = &w->links->hints;

    for (int i = 0; i < MAX_TRIES; i++) {
        uint64_t verdict, bytes;
        unsigned int n_plain;

        acknowledge(w->links);
        net_look_begin(look);
        if (look->depth < 0) {
            return net_send_base(net, w, queue, bufs, n);
        }
        verdict = look->plain.verdict;
        n_plain = (NET_UNLIKELY(verdict & VPCI_ABI_HINT_EDIT)
                   && !net_peer_is_named(net, verdict) ? 0
                   : net_look_count_plain(look, bufs, n, net->policy.max_len,
                                          false, &bytes));
        if (n_plain < n) {
            net_look_up(look, bufs, n_plain, n, false);
        }
        if (NET_LIKELY(net_look_end(look))) {
            unsigned int sent = (n_plain
                                 ? send_plain(net, w, queue, verdict, bufs,
                                              n_plain, bytes)
                                 : 0);

            return (sent < n_plain ? sent
                    : send_found(net, w, queue, bufs, n_plain, n));
        }
    }
    return 0;
}

unsigned int
net_links_send(struct vpci_net *net, struct net_worker *w, uint32_t queue,
               const struct vpci_ring_buf bufs[], unsigned int n)
{
    unsigned int done = 0;

    while (done < n) {
        unsigned int some = (n - done < VPCI_STEER_BURST ? n - done
                             : VPCI_STEER_BURST);
        unsigned int sent = send_some(net, w, queue, &bufs[done], some);

        done += sent;
        if (sent < some) {
            break;
        }
    }
    return done;
}
