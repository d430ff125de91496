/* SPDX-License-Identifier: Apache-2.0 */

/* Sending on the splice path: what becomes of frames by a port's own policy, a
 * full ring and an absent guest. */

#include "netdev-vpci-splice.h"

#include <rte_cycles.h>

#include "netdev-vpci-lend.h"
#include "netdev-vpci-link.h"
#include "netdev-vpci-queues.h"
#include "netdev-vpci-wire.h"

/* Packets wait in the ring for a guest that has no room as long as it takes so
 * many of them in so many milliseconds.  One that has had room for so long has
 * as much time again. */
#define MIN_TAKEN 256
#define MAX_FULL_MS 100

/* Buffers that a ring has to have for it to be certain to take a burst: a frame
 * may need more than one, and other threads send as well. */
#define ROOM (4 * VPCI_VRING_BURST)

bool
vpci_splice_passes(const struct netdev_vpci *dev, const struct vpci_tally *t)
{
    uint32_t max_frame;

    atomic_read_relaxed(&CONST_CAST(struct netdev_vpci *, dev)->max_frame,
                        &max_frame);
    return (t->max_len <= max_frame
            && !ovsrcu_get(struct vpci_policer *, &dev->egress));
}

int
vpci_apply_tx_policy(struct netdev_vpci *dev, struct vpci_counters *counters,
                     struct vpci_pkt *frames, int n)
{
    struct vpci_policer *policer
        = ovsrcu_get(struct vpci_policer *, &dev->egress);
    uint32_t max_frame, lens[VPCI_VRING_BURST] = { 0 };
    bool pass[VPCI_VRING_BURST];
    int n_short = 0, n_passed = 0;

    atomic_read_relaxed(&dev->max_frame, &max_frame);
    for (int i = 0; i < n; i++) {
        if (OVS_UNLIKELY(vpci_frame_longest(&frames[i]) > max_frame)) {
            vpci_counter_add(&counters->drops[VPCI_DROP_TX_MTU],
                             vpci_frame_packets(&frames[i]));
        } else {
            lens[n_short] = frames[i].len;
            if (OVS_UNLIKELY(n_short != i)) {
                frames[n_short] = frames[i];
            }
            n_short++;
        }
    }
    if (OVS_LIKELY(!policer)) {
        return n_short;
    }
    vpci_policer_check(policer, lens, n_short, pass);
    for (int i = 0; i < n_short; i++) {
        if (pass[i]) {
            frames[n_passed++] = frames[i];
        } else {
            vpci_counter_add(&counters->drops[VPCI_DROP_TX_QOS],
                             vpci_frame_packets(&frames[i]));
        }
    }
    return n_passed;
}

/* Says whether packets for 'ring', which has taken 'n_done' and has no more
 * room, may wait at 'now'.  With its 'tx_lock' held. */
static bool
may_wait_for(struct vpci_ring *ring, int n_done, uint64_t now)
{
    uint64_t max = rte_get_tsc_hz() / 1000 * MAX_FULL_MS;

    /* 'now' of another thread may have been earlier. */
    if (!ring->full_since
        || (now > ring->full_last && now - ring->full_last >= max)) {
        ring->full_since = now;
        ring->full_taken = 0;
    }
    ring->full_last = now;
    ring->full_taken += n_done;
    if (now <= ring->full_since || now - ring->full_since < max) {
        return true;
    } else if (ring->full_taken < MIN_TAKEN) {
        return false;
    }
    ring->full_since = now;
    ring->full_taken = 0;
    return true;
}

/* Sends 'frames[0..n)', which 't' counts, to 'ring' of 'dev', which is open, as
 * 'wait' says.  Returns how many have been dealt with. */
static int
send_to_ring(struct netdev_vpci *dev, struct vpci_ring *ring,
             struct vpci_pkt *frames, int n, const struct vpci_tally *t,
             bool wait, uint64_t now)
{
    struct vpci_counters *counters = &ring->spliced;
    int n_wanted = n, done;
    uint64_t packets, bytes;

    ovs_spin_lock(&ring->tx_lock);
    packets = counters->packets;
    bytes = counters->bytes;
    if (OVS_UNLIKELY(!vpci_splice_passes(dev, t))) {
        n_wanted = vpci_apply_tx_policy(dev, counters, frames, n);
        t = NULL;
        wait = false;
    }
    done = vpci_ring_push(ring, counters, frames, n_wanted, t);
    if (OVS_LIKELY(done == n_wanted)) {
        vpci_splice_note_room(ring, done);
    } else if (!may_wait_for(ring, done, now) || !wait) {
        for (; done < n_wanted; done++) {
            vpci_counter_add(&counters->drops[VPCI_DROP_TX_FULL],
                             vpci_frame_packets(&frames[done]));
        }
    }
    vpci_counter_add(&counters->spliced_packets,
                     counters->packets - packets);
    vpci_counter_add(&counters->spliced_bytes, counters->bytes - bytes);
    ovs_spin_unlock(&ring->tx_lock);
    return wait ? done : n;
}

static void
tally_frames(struct vpci_tally *t, const struct vpci_pkt *frames, int n)
{
    *t = (struct vpci_tally) { .packets = 0 };
    for (int i = 0; i < n; i++) {
        vpci_tally_pkt(t, &frames[i]);
    }
}

void
vpci_splice_send_to_ring(struct netdev_vpci *dev, struct vpci_ring *ring,
                         struct vpci_pkt *frames, int n, uint64_t now)
{
    struct vpci_tally t;

    tally_frames(&t, frames, n);
    send_to_ring(dev, ring, frames, n, &t, false, now);
}

bool
vpci_splice_has_room(const struct netdev_vpci *dev, const uint8_t queues[],
                     int n)
{
    uint32_t seen = 0;

    for (int i = 0; i < n; i++) {
        uint32_t bit = UINT32_C(1) << queues[i];

        if (!(seen & bit)) {
            if (!vpci_vring_has_room(dev->to_guest[queues[i]]->vring, ROOM)) {
                return false;
            }
            seen |= bit;
        }
    }
    return true;
}

/* True if one of 'frames[0..n)' is large. */
static bool
have_super(const struct vpci_pkt *frames, int n)
{
    for (int i = 0; i < n; i++) {
        if (vpci_is_super(&frames[i])) {
            return true;
        }
    }
    return false;
}

/* Sends 'frames[0..n)' to the rings of 'dev' that 'queues' names, in order, as
 * long as there is room.  Returns how many have been dealt with. */
static int
send_in_order(struct netdev_vpci *dev, struct vpci_pkt *frames, int n,
              const uint8_t queues[], uint64_t now)
{
    int done = 0;

    while (done < n) {
        struct vpci_ring *ring = dev->to_guest[queues[done]];
        struct vpci_tally t;
        int n_run = 1, sent;

        while (done + n_run < n && queues[done + n_run] == queues[done]) {
            n_run++;
        }
        tally_frames(&t, &frames[done], n_run);
        sent = send_to_ring(dev, ring, &frames[done], n_run, &t, true, now);
        done += sent;
        if (sent < n_run) {
            break;
        }
    }
    return done;
}

/* Sends all of 'frames[0..n)' to the rings of 'dev' that 'queues' names. */
static void
send_by_ring(struct netdev_vpci *dev, const struct vpci_pkt *frames, int n,
             const uint8_t queues[], uint64_t now)
{
    uint32_t left = UINT32_MAX >> (32 - n);

    while (left) {
        struct vpci_pkt some[VPCI_VRING_BURST];
        struct vpci_ring *ring;
        int n_some = vpci_queues_pick(dev, frames, queues, &left, some, &ring);

        vpci_splice_send_to_ring(dev, ring, some, n_some, now);
    }
}

/* Counts 'n' packets that 'dev', which is not open, does not get. */
static void
count_closed(struct netdev_vpci *dev, uint64_t n)
{
    bool paused = __atomic_load_n(&dev->in_pause, __ATOMIC_RELAXED);
    struct vpci_ring *ring = &dev->rings[VPCI_RING_TO_GUEST(0)];

    ovs_spin_lock(&ring->tx_lock);
    vpci_counter_add(&ring->spliced.drops[paused ? VPCI_DROP_TX_PAUSED
                                          : VPCI_DROP_TX_NO_GUEST], n);
    ovs_spin_unlock(&ring->tx_lock);
}

/* Copies 'frame', with its head, to 'dst'. */
static void
copy_frame(const struct vpci_pkt *frame, uint8_t *dst)
{
    uint32_t skip = frame->skip;

    memcpy(dst, frame->head, frame->head_len);
    dst += frame->head_len;
    for (uint32_t i = 0; i < frame->n_iov; i++) {
        const struct vpci_iov *iov = &frame->iov[i];
        uint32_t passed = MIN(skip, iov->len);

        memcpy(dst, (const uint8_t *) iov->base + passed, iov->len - passed);
        dst += iov->len - passed;
        skip -= passed;
    }
}

/* Puts those of 'frames[0..n)' that are not too long for 'dev', copies of which
 * would have no room, into 'kept'.  Returns how many. */
static int
keep_short(struct netdev_vpci *dev, const struct vpci_mempool *pool,
           const struct vpci_pkt frames[], int n,
           const struct vpci_pkt *kept[])
{
    uint32_t max_frame, room = vpci_mempool_room(pool);
    int n_kept = 0;

    atomic_read_relaxed(&dev->max_frame, &max_frame);
    for (int i = 0; i < n; i++) {
        if (OVS_LIKELY(frames[i].len <= MIN(max_frame, room))) {
            kept[n_kept++] = &frames[i];
        }
    }
    return n_kept;
}

/* Counts 'n' frames that are too long for 'dev'. */
static void
count_long(struct netdev_vpci *dev, int n)
{
    struct vpci_ring *ring = &dev->rings[VPCI_RING_TO_GUEST(0)];

    if (OVS_UNLIKELY(n)) {
        ovs_spin_lock(&ring->tx_lock);
        vpci_counter_add(&ring->spliced.drops[VPCI_DROP_TX_MTU], n);
        ovs_spin_unlock(&ring->tx_lock);
    }
}

/* Lets copies of 'frames[0..n)' wait for the rings of 'dev', which are lent.
 * Returns false if they are not, or there is no memory. */
static bool
hold_frames(struct netdev_vpci *dev, const struct vpci_pkt *frames, int n)
{
    const struct vpci_mempool *pool = dev->mempool;
    const struct vpci_pkt *kept[VPCI_VRING_BURST];
    struct dp_packet *pkts[VPCI_VRING_BURST];
    int n_all = n;

    if (!vpci_held_waits(dev) || have_super(frames, n)) {
        return false;
    }
    n = keep_short(dev, pool, frames, n, kept);
    if (!n) {
        count_long(dev, n_all);
        return true;
    } else if (rte_pktmbuf_alloc_bulk(vpci_mempool_rte(pool),
                               (struct rte_mbuf **) pkts, n)) {
        return false;
    }
    for (int i = 0; i < n; i++) {
        struct rte_mbuf *mbuf = &pkts[i]->mbuf;

        copy_frame(kept[i], rte_pktmbuf_mtod(mbuf, void *));
        mbuf->pkt_len = mbuf->data_len = kept[i]->len;
        if (OVS_UNLIKELY(kept[i]->hdr.flags)) {
            vpci_finish_offload(kept[i], pkts[i]);
        }
    }
    if (vpci_held_add(dev, pkts, n)) {
        count_long(dev, n_all - n);
        vpci_links_wake();
        return true;
    }
    rte_pktmbuf_free_bulk((struct rte_mbuf **) pkts, n);
    return false;
}

int
vpci_splice_send(struct netdev_vpci *dev, struct vpci_pkt *frames, int n,
                 const struct vpci_tally *t, bool wait, uint64_t now)
{
    uint8_t queues[VPCI_VRING_BURST];
    struct vpci_ring *ring;

    if (OVS_UNLIKELY(!__atomic_load_n(&dev->splice_open, __ATOMIC_ACQUIRE))) {
        if (hold_frames(dev, frames, n)) {
            return n;
        } else if (!__atomic_load_n(&dev->splice_open, __ATOMIC_ACQUIRE)) {
            count_closed(dev, t->packets);
            return n;
        }
        /* They wait no longer. */
    }
    ring = vpci_queues_choose(dev, frames, n, queues);
    if (OVS_LIKELY(ring)) {
        return send_to_ring(dev, ring, frames, n, t, wait, now);
    } else if (wait && (have_super(frames, n)
                        || !vpci_splice_has_room(dev, queues, n))) {
        return send_in_order(dev, frames, n, queues, now);
    }
    send_by_ring(dev, frames, n, queues, now);
    return n;
}

void
vpci_splice_send_all(struct netdev_vpci *dev, struct vpci_pkt *frames,
                     int n, uint64_t now)
{
    struct vpci_tally t;

    tally_frames(&t, frames, n);
    vpci_splice_send(dev, frames, n, &t, false, now);
}
