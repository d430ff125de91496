/* SPDX-License-Identifier: Apache-2.0 */

/* The flow path: packets between a guest's rings and the datapath, and what it
 * has in common with the splice path. */

#include "netdev-vpci-splice.h"

#include <errno.h>
#include <rte_cycles.h>
#include <rte_mempool.h>
#include <unistd.h>

#include "netdev-dpdk.h"
#include "netdev-vpci-lend.h"
#include "netdev-vpci-link.h"
#include "netdev-vpci-queues.h"
#include "netdev-vpci-tso.h"
#include "netdev-vpci-wire.h"
#include "packets.h"
#include "userspace-tso.h"

/* Deletes 'n' packets, together if they can be. */
static void
delete_packets(struct dp_packet **pkts, int n)
{
    for (int i = 0; i < n; i++) {
        if (OVS_UNLIKELY(pkts[i]->source != DPBUF_DPDK)) {
            for (i = 0; i < n; i++) {
                dp_packet_delete(pkts[i]);
            }
            return;
        }
    }
    rte_pktmbuf_free_bulk((struct rte_mbuf **) pkts, n);
}

/* Takes the announcement of a guest that was migrated here, if there is one,
 * as if the guest had sent it.  Returns the number of packets put into
 * 'pkts'. */
static int
receive_rarp(struct netdev_vpci *dev, struct rte_mempool *mp,
             struct dp_packet **pkts)
{
    struct rte_mbuf *mbuf = rte_pktmbuf_alloc(mp);
    struct dp_packet rarp;

    if (!mbuf) {
        return 0;
    }
    atomic_store_relaxed(&dev->rarp_pending, false);

    dp_packet_init(&rarp, 0);
    compose_rarp(&rarp, dev->rarp_mac);
    memcpy(rte_pktmbuf_append(mbuf, dp_packet_size(&rarp)),
           dp_packet_data(&rarp), dp_packet_size(&rarp));
    dp_packet_uninit(&rarp);

    pkts[0] = CONTAINER_OF(mbuf, struct dp_packet, mbuf);
    return 1;
}

bool
vpci_frames_to_packets(struct rte_mempool *mp, struct vpci_counters *counters,
                       const struct vpci_pkt *frames, struct dp_packet **pkts,
                       int n)
{
    if (OVS_UNLIKELY(rte_pktmbuf_alloc_bulk(mp, (struct rte_mbuf **) pkts,
                                            n))) {
        vpci_counter_add(&counters->no_mbufs, 1);
        return false;
    }
    for (int i = 0; i < n; i++) {
        struct rte_mbuf *mbuf = &pkts[i]->mbuf;

        vpci_pkt_copy(&frames[i], rte_pktmbuf_mtod(mbuf, void *));
        mbuf->pkt_len = frames[i].len;
        mbuf->data_len = frames[i].len;
        if (OVS_UNLIKELY(frames[i].hdr.flags)) {
            vpci_finish_offload(&frames[i], pkts[i]);
        }
    }
    return true;
}

/* Takes frames that no Ethernet device would pass out of 'frames[0..n)', closes
 * the gaps and returns how many are left.  Adds the others to 'drops'. */
static int
drop_odd_frames(struct netdev_vpci *dev, const struct vpci_rxq *rxq,
                struct vpci_pkt *frames, int n, uint64_t drops[VPCI_N_DROPS])
{
    uint32_t room = vpci_mempool_room(dev->mempool);
    int n_kept = 0;

    for (int i = 0; i < n; i++) {
        struct vpci_wire wire;
        enum vpci_drop drop = vpci_rx_fault(dev, rxq, &frames[i], &wire,
                                            room);

        if (OVS_UNLIKELY(drop != VPCI_N_DROPS)) {
            drops[drop]++;
        } else if (OVS_LIKELY(n_kept == i)) {
            n_kept++;
        } else {
            frames[n_kept++] = frames[i];
        }
    }
    return n_kept;
}

/* Nobody waits for buffers that come back from being transmitted, except for
 * their memory, or a socket whose share of it is used up: a guest can be told of
 * many at once.  Most drivers look by themselves, too, whenever they receive
 * something, and need not be told then. */
#define MAX_UNTOLD_BYTES (64 * 1024)
#define MAX_UNTOLD_US 500

/* How long packets that have waited for rings wait for room there, in us:
 * senders wait as well. */
#define MAX_FLUSH_US 2000

void
vpci_rxq_tell(struct vpci_rxq *rxq)
{
    if (rxq->untold_frames) {
        rxq->untold_frames = rxq->untold_bytes = 0;
        for (int i = rxq->n_classes - 1; i >= 0; i--) {
            if (vpci_vring_notify(rxq->rings[i]->vring)) {
                vpci_counter_add(&rxq->counters.notifies, 1);
            }
        }
    }
}

void
vpci_rxq_returned(struct vpci_rxq *rxq, unsigned int n, uint64_t bytes)
{
    if (!rxq->untold_frames) {
        rxq->untold_since = rte_get_tsc_cycles();
    }
    rxq->untold_frames += n;
    rxq->untold_bytes += MIN(bytes, MAX_UNTOLD_BYTES);
    if (rxq->untold_frames >= rxq->max_untold
        || rxq->untold_bytes >= MAX_UNTOLD_BYTES) {
        vpci_rxq_tell(rxq);
    }
}

/* True if the guest of 'rxq', which has got something back, has to be told by
 * now. */
static bool
is_due(const struct vpci_rxq *rxq)
{
    return (rte_get_tsc_cycles() - rxq->untold_since
            > rte_get_tsc_hz() / 1000000 * MAX_UNTOLD_US);
}

/* Gives the first 'n' frames of the ring of 'rxq', with 'bytes' in all, back to
 * the guest. */
static void
release_frames(struct vpci_rxq *rxq, int n, uint64_t bytes)
{
    vpci_vring_release(rxq->ring->vring, n);
    vpci_rxq_returned(rxq, n, bytes);
}

/* Receives 'frame', a super-packet, the first one in the ring.  Returns the
 * number of packets, at most 'max'. */
static int
receive_super(struct netdev_vpci *dev, struct vpci_rxq *rxq,
              const struct vpci_pkt *frame, struct dp_packet **pkts, int max)
{
    bool ok = vpci_super_start(dev, rxq, frame) == VPCI_N_DROPS;

    release_frames(rxq, 1, frame->len);
    return ok ? vpci_super_continue(dev, rxq, pkts, max) : 0;
}

/* Returns the number of frames in front of the first super-packet. */
static int
n_before_super(const struct vpci_pkt *frames, int n)
{
    for (int i = 0; i < n; i++) {
        if (OVS_UNLIKELY(vpci_is_super(&frames[i]))) {
            return i;
        }
    }
    return n;
}

/* Receives a burst of up to 'max' frames, at most VPCI_VRING_BURST, from the
 * ring of 'rxq' that is at hand into 'pkts', while its gate is passed.  Frames
 * for which there is no mbuf stay in the ring.  Returns the number of
 * packets. */
static int
receive_burst(struct netdev_vpci *dev, struct vpci_rxq *rxq,
              struct dp_packet **pkts, int max)
{
    struct vpci_pkt frames[VPCI_VRING_BURST];
    int n = vpci_vring_peek(rxq->ring->vring, frames, max);
    uint64_t drops[VPCI_N_DROPS] = { 0 };
    uint64_t bytes = 0;
    int n_pkts;

    BUILD_ASSERT(VPCI_VRING_BURST <= NETDEV_MAX_BURST);
    if (!n) {
        return 0;
    } else if (OVS_UNLIKELY(vpci_is_super(&frames[0]))) {
        return receive_super(dev, rxq, &frames[0], pkts, max);
    }
    n = n_before_super(frames, n);
    for (int i = 0; i < n; i++) {
        bytes += frames[i].len;
    }
    n_pkts = drop_odd_frames(dev, rxq, frames, n, drops);
    if (n_pkts && !vpci_frames_to_packets(vpci_mempool_rte(dev->mempool),
                                          &rxq->counters, frames, pkts,
                                          n_pkts)) {
        return 0;
    }
    for (int i = 0; n_pkts < n && i < VPCI_N_DROPS; i++) {
        vpci_counter_add(&rxq->counters.drops[i], drops[i]);
    }
    release_frames(rxq, n, bytes);
    return n_pkts;
}

/* How many frames the guest has ready on 'ring', for the metrics that
 * dpif-netdev keeps of a busy queue. */
static int
ring_backlog(const struct vpci_ring *ring)
{
    struct vpci_vring_state state;

    vpci_vring_get_state(ring->vring, &state);
    return state.packed ? -EOPNOTSUPP
           : (uint16_t) (state.driver_idx - state.base.avail_idx);
}

/* Polices and counts 'pkts[0..n)', which came from queue pair 'pair'.  Returns
 * how many are left. */
static int
account_received(struct netdev_vpci *dev, unsigned int pair,
                 struct dp_packet **pkts, int n)
{
    struct vpci_rxq *rxq = &dev->rxqs[pair];
    struct vpci_policer *policer
        = ovsrcu_get(struct vpci_policer *, &dev->ingress);
    uint64_t packets = rxq->counters.packets, bytes = rxq->counters.bytes;

    if (n) {
        vpci_queues_learn(dev, pair, dp_packet_data(pkts[0]),
                          dp_packet_size(pkts[0]));
    }
    if (OVS_UNLIKELY(policer && n)) {
        int n_passed = vpci_policer_run(policer, pkts, n);

        vpci_counter_add(&rxq->counters.drops[VPCI_DROP_RX_QOS],
                         n - n_passed);
        n = n_passed;
    }
    vpci_counters_add_packets(&rxq->counters, pkts, n);
    if (OVS_UNLIKELY(rxq->n_classes > 1)) {
        vpci_counters_add_class(&rxq->counters, rxq->ring->class_, packets,
                                bytes);
    }
    return n;
}

/* Receives a burst from the rings of all classes of 'rxq': from one only what
 * those above leave room for.  Polices and counts it.  Returns the number of
 * packets. */
static int
receive_classes(struct netdev_vpci *dev, struct vpci_rxq *rxq,
                struct dp_packet **pkts)
{
    int n = 0;

    for (int i = rxq->n_classes - 1; i >= 0 && n < VPCI_VRING_BURST
                                     && !vpci_super_is_pending(rxq->super);
         i--) {
        int n_new;

        rxq->ring = rxq->rings[i];
        n_new = receive_burst(dev, rxq, pkts + n, VPCI_VRING_BURST - n);
        n += account_received(dev, rxq - dev->rxqs, pkts + n, n_new);
    }
    return n;
}

/* Goes on with the super-packet of 'rxq' that is not finished. */
static int
receive_rest(struct netdev_vpci *dev, struct vpci_rxq *rxq,
             struct dp_packet **pkts)
{
    int n = vpci_super_continue(dev, rxq, pkts, NETDEV_MAX_BURST);

    return account_received(dev, rxq - dev->rxqs, pkts, n);
}

int
netdev_vpci_rxq_recv(struct netdev_rxq *rxq_, struct dp_packet_batch *batch,
                     int *qfill)
{
    struct netdev_vpci *dev = netdev_vpci_cast(rxq_->netdev);
    struct vpci_rxq *rxq = &dev->rxqs[rxq_->queue_id];
    struct dp_packet **pkts = batch->packets;
    bool moved = false;
    bool rarp_pending;
    int n;

    if (OVS_UNLIKELY(!vpci_gate_enter(&rxq->gate))) {
        return EAGAIN;
    }
    /* Whatever was received before has been dealt with. */
    __atomic_store_n(&rxq->n_polls, rxq->n_polls + 1, __ATOMIC_RELEASE);
    atomic_read_relaxed(&dev->rarp_pending, &rarp_pending);
    if (OVS_UNLIKELY(rarp_pending && !rxq_->queue_id)) {
        n = receive_rarp(dev, vpci_mempool_rte(dev->mempool), pkts);
        n = account_received(dev, rxq_->queue_id, pkts, n);
    } else if (OVS_UNLIKELY(vpci_super_is_pending(rxq->super))) {
        n = receive_rest(dev, rxq, pkts);
    } else if (rxq->splicer) {
        n = vpci_splice(dev, rxq, pkts, &moved);
    } else if (OVS_UNLIKELY(rxq->n_classes > 1)) {
        n = receive_classes(dev, rxq, pkts);
    } else {
        n = receive_burst(dev, rxq, pkts, VPCI_VRING_BURST);
        n = account_received(dev, rxq_->queue_id, pkts, n);
    }
    if (qfill) {
        *qfill = n == VPCI_VRING_BURST ? ring_backlog(rxq->ring) : 0;
    }
    if (OVS_UNLIKELY(rxq->untold_frames && is_due(rxq))) {
        vpci_rxq_tell(rxq);
    }
    vpci_gate_leave(&rxq->gate);

    /* An empty batch tells the datapath that its cycles were not idle. */
    if (!n && !moved) {
        return EAGAIN;
    }
    batch->count = n;
    dp_packet_batch_init_packet_fields(batch);
    return 0;
}

/* Deletes packets of 'pkts[0..n)' that are longer than the port's MTU allows,
 * closes the gaps and returns how many are left. */
static int
drop_long_packets(struct netdev_vpci *dev, struct vpci_counters *counters,
                  struct dp_packet **pkts, int n)
{
    uint32_t max_frame;
    int n_kept = 0;

    atomic_read_relaxed(&dev->max_frame, &max_frame);
    for (int i = 0; i < n; i++) {
        if (OVS_UNLIKELY(dp_packet_size(pkts[i]) > max_frame)) {
            vpci_counter_add(&counters->drops[VPCI_DROP_TX_MTU], 1);
            dp_packet_delete(pkts[i]);
        } else {
            pkts[n_kept++] = pkts[i];
        }
    }
    return n_kept;
}

/* Offers 'frames[0..n)' to 'ring' until the guest has no more room, trying
 * again for as long as that helps, and wakes the guest.  Returns how many were
 * dealt with. */
static int
push_frames(struct vpci_ring *ring, struct vpci_counters *counters,
            struct vpci_pkt *frames, int n)
{
    uint32_t retries = 0;
    uint32_t max_retries;
    int done = 0;

    atomic_read_relaxed(&ring->dev->tx_retries_max, &max_retries);
    for (;;) {
        int n_pushed = vpci_vring_push(ring->vring, frames + done, n - done);

        done += n_pushed;
        if (n_pushed && vpci_vring_notify(ring->vring)) {
            vpci_counter_add(&counters->notifies, 1);
        }
        if (OVS_LIKELY(done == n) || !n_pushed || retries++ >= max_retries) {
            break;
        }
    }
    if (OVS_UNLIKELY(retries)) {
        vpci_counter_add(&counters->retries, MIN(retries, max_retries));
    }
    return done;
}

/* True if all of 'frames[0..n)' were sent. */
static bool
all_sent(const struct vpci_pkt *frames, int n)
{
    unsigned int others = 0;

    for (int i = 0; i < n; i++) {
        others |= frames[i].fate ^ VPCI_PKT_SENT;
    }
    return !others;
}

/* Counts 'frames[0..n)', which have been dealt with. */
static void
count_pushed(struct vpci_counters *counters, const struct vpci_pkt *frames,
             int n)
{
    for (int i = 0; i < n; i++) {
        if (OVS_LIKELY(frames[i].fate == VPCI_PKT_SENT)) {
            vpci_counters_add_frames(counters, &frames[i], 1);
        } else {
            vpci_counter_add(&counters->drops[VPCI_DROP_TX_TOO_BIG],
                             vpci_frame_packets(&frames[i]));
        }
    }
}

int
vpci_ring_push(struct vpci_ring *ring, struct vpci_counters *counters,
               struct vpci_pkt *frames, int n, const struct vpci_tally *t)
{
    uint64_t packets = counters->packets, bytes = counters->bytes;
    int done = push_frames(ring, counters, frames, n);

    if (OVS_LIKELY(t && done == n && all_sent(frames, n))) {
        vpci_counters_add_tally(counters, t);
    } else {
        count_pushed(counters, frames, done);
    }
    if (OVS_UNLIKELY(ring->dev->classes.n > 1)) {
        vpci_counters_add_class(counters, ring->class_, packets, bytes);
    }
    return done;
}

/* Sends 'frames[0..n)' to 'ring'. */
static void
send_to_ring(struct vpci_txq *txq, struct vpci_ring *ring,
             struct vpci_pkt *frames, int n)
{
    struct vpci_tally tally = { .packets = 0 };
    int done;

    for (int i = 0; i < n; i++) {
        vpci_tally_pkt(&tally, &frames[i]);
    }
    ovs_spin_lock(&ring->tx_lock);
    done = vpci_ring_push(ring, &txq->counters, frames, n, &tally);
    ovs_spin_unlock(&ring->tx_lock);
    for (int i = done; i < n; i++) {
        vpci_counter_add(&txq->counters.drops[VPCI_DROP_TX_FULL],
                         vpci_frame_packets(&frames[i]));
    }
}

/* Sends 'frames[0..n)', at most VPCI_VRING_BURST of them, to the guest of 'dev',
 * while the gate of 'txq' is passed. */
static void
send_frames(struct netdev_vpci *dev, struct vpci_txq *txq,
            struct vpci_pkt *frames, int n)
{
    uint8_t queues[VPCI_VRING_BURST];
    struct vpci_ring *ring;
    uint32_t left;

    ring = vpci_queues_choose(dev, frames, n, queues);
    if (OVS_LIKELY(ring)) {
        send_to_ring(txq, ring, frames, n);
        return;
    }
    left = UINT32_MAX >> (32 - n);
    while (left) {
        struct vpci_pkt some[VPCI_VRING_BURST];
        int n_some = vpci_queues_pick(dev, frames, queues, &left, some, &ring);

        send_to_ring(txq, ring, some, n_some);
    }
}

/* Makes a frame of the 'len' bytes at 'data'. */
static void
make_frame(void *data, uint32_t len, struct vpci_iov *iov,
           struct vpci_pkt *frame)
{
    *iov = (struct vpci_iov) { .base = data, .len = len };
    *frame = (struct vpci_pkt) { .iov = iov, .n_iov = 1, .len = len };
}

/* Sends 'pkts[0..n)', at most VPCI_VRING_BURST of them. */
static void
send_burst(struct netdev_vpci *dev, struct vpci_txq *txq,
           struct dp_packet **pkts, int n)
{
    struct vpci_pkt frames[VPCI_VRING_BURST];
    struct vpci_iov iovs[VPCI_VRING_BURST];

    for (int i = 0; i < n; i++) {
        make_frame(dp_packet_data(pkts[i]), dp_packet_size(pkts[i]), &iovs[i],
                   &frames[i]);
    }
    send_frames(dev, txq, frames, n);
}

/* Sends those of 'frames[0..n)' that the port's policy lets pass. */
static void
send_allowed(struct netdev_vpci *dev, struct vpci_txq *txq,
             struct vpci_pkt *frames, int n)
{
    n = vpci_apply_tx_policy(dev, &txq->counters, frames, n);
    if (n) {
        send_frames(dev, txq, frames, n);
    }
}

/* Sends the packets that 'packet', with 'wire' left to do, becomes. */
static void
send_segments(struct netdev_vpci *dev, struct vpci_txq *txq,
              struct dp_packet *packet, const struct vpci_wire *wire)
{
    uint32_t len = dp_packet_size(packet);
    uint32_t stride = vpci_wire_longest(wire, len);
    uint8_t *data = xmalloc(VPCI_VRING_BURST * (size_t) stride);
    struct vpci_pkt frames[VPCI_VRING_BURST];
    struct vpci_iov iovs[VPCI_VRING_BURST];
    struct vpci_segments segments;
    bool more;
    int n;

    vpci_segments_init(&segments, wire, dp_packet_data(packet), len, 0);
    do {
        for (n = 0; n < VPCI_VRING_BURST; n++) {
            uint8_t *segment = data + n * (size_t) stride;
            uint32_t n_bytes = vpci_segments_next(&segments, segment);

            if (!n_bytes) {
                break;
            }
            make_frame(segment, n_bytes, &iovs[n], &frames[n]);
        }
        more = n == VPCI_VRING_BURST;
        send_allowed(dev, txq, frames, n);
    } while (more);
    free(data);
}

/* Makes '*frame' of 'packet', which has work undone if it is marked.  Returns
 * false if the packet has been dealt with: the guest does not take it. */
static bool
prepare_undone(struct netdev_vpci *dev, struct vpci_txq *txq,
               struct dp_packet *packet, struct vpci_iov *iov,
               struct vpci_pkt *frame)
{
    bool policed = ovsrcu_get(struct vpci_policer *, &dev->egress) != NULL;
    struct vpci_wire wire;

    make_frame(dp_packet_data(packet), dp_packet_size(packet), iov, frame);
    if (!vpci_tso_is_marked(packet)) {
        return true;
    } else if (!vpci_tso_get(dev, packet, &wire)) {
        vpci_counter_add(&txq->counters.drops[VPCI_DROP_TX_BAD_OFFLOAD], 1);
        return false;
    } else if (vpci_wire_is_accepted(&wire, dev->guest_features)
               && !(policed && wire.kind != VPCI_WIRE_SINGLE)) {
        vpci_wire_to_hdr(&wire, &frame->hdr);
        return true;
    } else if (wire.kind == VPCI_WIRE_SINGLE) {
        vpci_wire_finish_csum(&wire, iov->base, iov->len);
        return true;
    }
    send_segments(dev, txq, packet, &wire);
    return false;
}

/* Applies the port's policy to 'pkts[0..n)', at most VPCI_VRING_BURST of them,
 * of which some may be marked, and sends what is left. */
static void
send_undone(struct netdev_vpci *dev, struct vpci_txq *txq,
            struct dp_packet **pkts, int n)
{
    struct vpci_pkt frames[VPCI_VRING_BURST];
    struct vpci_iov iovs[VPCI_VRING_BURST];
    int n_frames = 0;

    for (int i = 0; i < n; i++) {
        if (n_frames && vpci_tso_is_super(pkts[i])) {
            /* Perhaps its segments are sent at once: not before these. */
            send_allowed(dev, txq, frames, n_frames);
            n_frames = 0;
        }
        n_frames += prepare_undone(dev, txq, pkts[i], &iovs[n_frames],
                                   &frames[n_frames]);
    }
    send_allowed(dev, txq, frames, n_frames);
}

/* Applies the port's policy to 'pkts[0..n)' and sends what is left, while the
 * gate of 'txq' is passed.  Returns how many packets are left to delete. */
static int
send_packets(struct netdev_vpci *dev, struct vpci_txq *txq,
             struct dp_packet **pkts, int n)
{
    struct vpci_policer *policer;

    if (OVS_UNLIKELY(userspace_tso_enabled())) {
        for (int i = 0; i < n; i += VPCI_VRING_BURST) {
            send_undone(dev, txq, pkts + i, MIN(n - i, VPCI_VRING_BURST));
        }
        return n;
    }
    n = drop_long_packets(dev, &txq->counters, pkts, n);
    policer = ovsrcu_get(struct vpci_policer *, &dev->egress);
    if (OVS_UNLIKELY(policer)) {
        int n_passed = vpci_policer_run(policer, pkts, n);

        vpci_counter_add(&txq->counters.drops[VPCI_DROP_TX_QOS],
                         n - n_passed);
        n = n_passed;
    }
    for (int i = 0; i < n; i += VPCI_VRING_BURST) {
        send_burst(dev, txq, pkts + i, MIN(n - i, VPCI_VRING_BURST));
    }
    return n;
}

/* Sends 'pkts[0..n)' to 'txq' if it has a guest to send to.  Returns how many
 * packets are left to delete. */
static int
send_if_open(struct netdev_vpci *dev, struct vpci_txq *txq,
             struct dp_packet **pkts, int n)
{
    if (OVS_LIKELY(vpci_gate_enter(&txq->gate))) {
        n = send_packets(dev, txq, pkts, n);
        vpci_gate_leave(&txq->gate);
    } else if (vpci_held_add(dev, pkts, n)) {
        vpci_links_wake();
        return 0;
    } else if (vpci_gate_enter(&txq->gate)) {
        /* They wait no longer. */
        n = send_packets(dev, txq, pkts, n);
        vpci_gate_leave(&txq->gate);
    } else {
        bool paused = __atomic_load_n(&dev->in_pause, __ATOMIC_RELAXED);

        vpci_counter_add(&txq->counters.drops[paused ? VPCI_DROP_TX_PAUSED
                                              : VPCI_DROP_TX_NO_GUEST],
                         vpci_tso_n_packets(dev, pkts, n));
    }
    return n;
}

/* True if each ring to the guest has room for 'n' frames. */
static bool
have_room(const struct netdev_vpci *dev, int n)
{
    for (int i = 0; i < dev->n_to_guest; i++) {
        if (!vpci_vring_has_room(dev->to_guest[i]->vring, n)) {
            return false;
        }
    }
    return true;
}

void
vpci_send_held(struct netdev_vpci *dev, struct dp_packet **pkts, int n)
{
    uint64_t end = (rte_get_tsc_cycles()
                    + rte_get_tsc_hz() / 1000000 * MAX_FLUSH_US);

    /* More may have waited than rings have room for. */
    for (int i = 0; i < n; i += NETDEV_MAX_BURST) {
        int portion = MIN(n - i, NETDEV_MAX_BURST);

        while (!have_room(dev, portion) && rte_get_tsc_cycles() < end) {
            usleep(20);
        }
        portion = send_packets(dev, &dev->txqs[0], pkts + i, portion);
        delete_packets(pkts + i, portion);
    }
}

int
netdev_vpci_send(struct netdev *netdev, int qid,
                 struct dp_packet_batch *batch, bool concurrent_txq)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    struct vpci_txq *txq = &dev->txqs[qid % dev->n_txqs];
    int n = dp_packet_batch_size(batch);

    if (OVS_UNLIKELY(concurrent_txq)) {
        ovs_spin_lock(&txq->lock);
        n = send_if_open(dev, txq, batch->packets, n);
        ovs_spin_unlock(&txq->lock);
    } else {
        n = send_if_open(dev, txq, batch->packets, n);
    }
    delete_packets(batch->packets, n);
    return 0;
}
