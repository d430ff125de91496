/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Sending to the peer: what hints say is for it goes straight into its receive
 * ring, while that is ours.  See net-peer.h. */

#include "net-peer.h"

#include <linux/virtio_net.h>

/* Buffers that are counted when they do not suffice for a packet. */
#define MAX_BUFS 64

/* The burst has stopped: at 'full', or because the rings are not ours. */
static void
stop(struct net_worker *w, struct net_peer_ring *full)
{
    struct net_peer_tx *tx = &w->links->peer_tx;

    w->stuck = true;
    w->stuck_ring = NULL;
    tx->full = full;
    if (full) {
        net_count(&w->stats.full, 1);
        for (tx->n_bufs = 0;
             (tx->n_bufs < MAX_BUFS
              && vpci_vring_has_room(full->vring, tx->n_bufs + 1));
             tx->n_bufs++) {
            continue;
        }
    }
}

/* The rings are not ours.  Returns true if packets wait for them still: they
 * would overtake those that the switch has to pass on before. */
static bool
waits(struct net_link_worker *lw)
{
    struct net_peer_tx *tx = &lw->peer_tx;
    uint32_t generation = lw->hints.generation;
    int64_t now = net_now_us();

    if (!tx->has_waited || tx->generation != generation) {
        tx->has_waited = true;
        tx->generation = generation;
        tx->until = now + VPCI_ABI_PEER_WAIT_MS * INT64_C(1000);
    }
    return now < tx->until;
}

/* Makes packet '*buf' number 'i' of the burst.  Returns false if the peer does
 * not take it as it is. */
static bool
prepare(struct net_peer_ring *r, const struct net_policy *policy,
        const struct vpci_ring_buf *buf, unsigned int i)
{
    static const struct net_change none;
    struct vpci_wire wire;

    r->iov[i].base = buf->data;
    r->iov[i].len = buf->len;
    memset(&r->pkts[i], 0, sizeof r->pkts[i]);
    r->pkts[i].iov = &r->iov[i];
    r->pkts[i].n_iov = 1;
    r->pkts[i].len = buf->len;
    r->packets[i] = 1;
    r->bytes[i] = buf->len;
    if (NET_LIKELY(!(buf->offload.flags | buf->offload.gso_type))) {
        return net_policy_allows(policy, buf->len, 0);
    } else if (!net_may_carry(policy, UINT64_MAX, r->peer->features, buf,
                              &none, &wire)) {
        return false;
    }
    vpci_wire_to_hdr(&wire, &r->pkts[i].hdr);
    r->packets[i] = wire.n_segments;
    r->bytes[i] = vpci_wire_bytes(&wire, buf->len);
    return true;
}

/* Pushes the first 'n' packets of the burst, whose counters are in 'entry'.
 * Returns how many are done with. */
static unsigned int
push(struct net_worker *w, struct net_peer_ring *r, uint32_t entry,
     const uint16_t tcp_flags[], unsigned int n)
{
    unsigned int done = vpci_vring_push(r->vring, r->pkts, n), sent = 0;
    uint64_t bytes = 0, flow_packets = 0, flow_bytes = 0;
    uint16_t flags = 0;

    for (unsigned int i = 0; i < done; i++) {
        if (NET_LIKELY(r->pkts[i].fate == VPCI_PKT_SENT)) {
            sent++;
            bytes += r->pkts[i].len;
            flow_packets += r->packets[i];
            flow_bytes += r->bytes[i];
            flags |= tcp_flags ? tcp_flags[i] : 0;
        }
    }
    if (entry < w->links->n_flows && sent) {
        net_count_flow(w->links, entry, flow_packets, flow_bytes, flags);
    }
    net_count(&w->stats.packets, sent);
    net_count(&w->stats.bytes, bytes);
    net_count(&w->stats.linked, sent);
    net_count(&w->stats.refused, done - sent);
    net_count(&w->link_counts[r->peer->slot].packets, sent);
    if (w->net->policy.classes.n > 1) {
        net_count(&w->class_packets[0], sent);
    }
    vpci_vring_notify(r->vring);
    if (done < n) {
        stop(w, r);
    }
    return done;
}

/* Sends by ring 'r' what the peer takes, and the rest by the base. */
static unsigned int
send_by(struct vpci_net *net, struct net_worker *w, uint32_t queue,
        struct net_peer_ring *r, uint32_t entry,
        const struct vpci_ring_buf bufs[], const uint16_t tcp_flags[],
        unsigned int n)
{
    unsigned int i = 0;

    while (i < n) {
        unsigned int first = i, done = 0;

        while (i < n && i - first < VPCI_VRING_BURST
               && prepare(r, &net->policy, &bufs[i], i - first)) {
            i++;
        }
        if (i > first) {
            done = push(w, r, entry, tcp_flags ? &tcp_flags[first] : NULL,
                        i - first);
        }
        if (done < i - first) {
            return first + done;
        }
        if (i == first) {
            if (!net_send_base(net, w, queue, &bufs[i], 1)) {
                return i;
            }
            i++;
        }
    }
    return n;
}

unsigned int
net_peer_send(struct vpci_net *net, struct net_worker *w, uint32_t queue,
              uint64_t verdict, const struct vpci_ring_buf bufs[],
              const uint16_t tcp_flags[], unsigned int n)
{
    const struct net_peer *p = net->links->peer;
    struct net_peer_ring *r = w->links->peer_tx.ring;
    uint32_t entry = (verdict >> VPCI_ABI_HINT_COUNTER_SHIFT
                      & VPCI_ABI_HINT_COUNTER_MASK);

    if (NET_LIKELY(r && net_peer_is_usable(p))) {
        return send_by(net, w, queue, r, entry, bufs, tcp_flags, n);
    } else if ((!p->holds || r) && waits(w->links)) {
        stop(w, NULL);
        return 0;
    }
    return net_send_base(net, w, queue, bufs, n);
}

bool
net_peer_may_send(const struct net_worker *w)
{
    const struct net_peer_tx *tx = w->links ? &w->links->peer_tx : NULL;

    if (!tx) {
        return true;
    } else if (tx->full) {
        return (tx->full != tx->ring || !net_peer_is_usable(tx->full->peer)
                || tx->n_bufs == MAX_BUFS
                || vpci_vring_has_room(tx->full->vring, tx->n_bufs + 1));
    }
    return ((tx->ring && net_peer_is_usable(tx->ring->peer))
            || (projection_generation(w->links->hints.projection->hdr)
                != tx->generation)
            || net_now_us() >= tx->until);
}
