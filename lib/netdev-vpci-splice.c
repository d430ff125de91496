/* SPDX-License-Identifier: Apache-2.0 */

/* Receiving on the splice path. */

#include "netdev-vpci-splice.h"

#include <rte_cycles.h>

#include "netdev-vpci-actions.h"
#include "netdev-vpci-queues.h"
#include "netdev-vpci-wire.h"
#include "vpci/splice.h"
#include "vpci/steer.h"

/* Bursts that one call handles, so that other queues have their turn. */
#define MAX_BURSTS 8

/* Bursts without a look for easy frames after one that was in vain. */
#define NOT_EASY_BURSTS 16

/* Easy frames: those that go one way, by an entry that asks little of them,
 * and that the rings themselves can pass on. */

/* Returns the port that frames of 'plain' go to if nothing but their length
 * has to be looked at for it, and the longest in '*max_len'; otherwise
 * null. */
static struct netdev_vpci *
easy_target(const struct netdev_vpci *dev, const struct vpci_splicer *s,
            const struct vpci_steer_plain *plain, uint64_t generation,
            uint32_t *max_len)
{
    const struct vpci_program *program
        = (const struct vpci_program *) (uintptr_t) plain->verdict;
    struct netdev_vpci *to;

    if (!program || program->generation > generation
        || program->generation > s->settled
        || !vpci_program_is_current(program)
        || !vpci_program_is_simple(program)) {
        return NULL;
    }
    to = vpci_target_dev(program->ops[0].target);
    if (!to || !__atomic_load_n(&to->splice_open, __ATOMIC_ACQUIRE)
        || to->classes.n > 1
        || ovsrcu_get(struct vpci_policer *, &to->egress)
        || ovsrcu_get(struct vpci_policer *, &dev->ingress)) {
        return NULL;
    }
    atomic_read_relaxed(&to->max_frame, max_len);
    *max_len = MIN(*max_len, vpci_mempool_room(dev->mempool));
    return to;
}

static void
tally_easy(struct vpci_tally *t, const struct vpci_spliced *spliced, int n)
{
    t->packets = n;
    for (int i = 0; i < n; i++) {
        t->bytes += spliced->lens[i];
        t->sizes[vpci_size_class(spliced->lens[i])]++;
    }
    if (OVS_UNLIKELY(spliced->multicast)) {
        t->broadcast = count_1bits(spliced->broadcast);
        t->multicast = count_1bits(spliced->multicast) - t->broadcast;
    }
}

/* 'ring' has just got 'n' frames, which 't' counts.  With its 'tx_lock' held. */
static void
count_moved(struct vpci_ring *ring, const struct vpci_tally *t, int n)
{
    vpci_count_spliced(&ring->spliced, t);
    vpci_counter_add(&ring->spliced.notifies, vpci_vring_notify(ring->vring));
    vpci_splice_note_room(ring, n);
}

/* Moves easy frames from 'rxq' of 'dev' to 'to', which has one queue.  Returns
 * how many and counts them in '*t'. */
static int
splice_to_one(struct netdev_vpci *dev, struct vpci_rxq *rxq,
              struct netdev_vpci *to,
              const struct vpci_steer_plain *plain, uint32_t max_len,
              struct vpci_tally *t, uint16_t *tcp_flags, bool *stopped)
{
    struct vpci_ring *ring = to->to_guest[0];
    struct vpci_spliced spliced;
    int n;

    ovs_spin_lock(&ring->tx_lock);
    n = vpci_vring_splice(rxq->ring->vring, ring->vring, plain, max_len,
                          &spliced);
    if (n) {
        tally_easy(t, &spliced, n);
        count_moved(ring, t, n);
    }
    ovs_spin_unlock(&ring->tx_lock);
    if (n) {
        vpci_queues_learn(dev, rxq - dev->rxqs, spliced.first,
                          spliced.lens[0]);
    }
    *tcp_flags = spliced.tcp_flags;
    *stopped = spliced.stopped;
    return n;
}

static void
tally_look(struct vpci_tally *t, const struct vpci_splice_look *look,
           uint32_t which)
{
    for (; which; which = zero_rightmost_1bit(which)) {
        int i = raw_ctz(which);

        vpci_tally_frame(t, (const void *) look->heads[i],
                         look->iovs[i].len);
    }
}

/* Sends the frames of 'look' with bits in 'which' in the long way. */
static void
send_look(struct netdev_vpci *to, struct vpci_ring *ring,
          const struct vpci_splice_look *look, uint32_t which, uint64_t now)
{
    struct vpci_pkt frames[VPCI_VRING_BURST];
    int n = 0;

    for (; which; which = zero_rightmost_1bit(which)) {
        vpci_splice_look_get(look, raw_ctz(which), &frames[n++]);
    }
    if (n) {
        vpci_splice_send_to_ring(to, ring, frames, n, now);
    }
}

/* Sends the frames of 'look' with bits in 'which' to 'ring' of 'to'. */
static void
put_look(struct netdev_vpci *to, struct vpci_ring *ring,
         const struct vpci_splice_look *look, uint32_t which, uint64_t now)
{
    struct vpci_tally t = { .packets = 0 };
    uint32_t moved;

    ovs_spin_lock(&ring->tx_lock);
    moved = vpci_vring_put(look, ring->vring, which);
    if (OVS_LIKELY(moved)) {
        tally_look(&t, look, moved);
        count_moved(ring, &t, count_1bits(moved));
    }
    ovs_spin_unlock(&ring->tx_lock);
    send_look(to, ring, look, which & ~moved, now);
}

/* Like splice_to_one(), if 'to' has several queues. */
static int
splice_to_many(struct netdev_vpci *dev, struct vpci_rxq *rxq,
               struct netdev_vpci *to,
               const struct vpci_steer_plain *plain, uint32_t max_len,
               uint64_t now, struct vpci_tally *t, uint16_t *tcp_flags,
               bool *stopped)
{
    struct vpci_splice_look look;
    uint32_t left;

    if (!vpci_vring_look(rxq->ring->vring, plain, max_len, &to->spread,
                         vpci_queues_epoch(), &look)
        || !vpci_splice_has_room(to, look.queues, look.n)) {
        *stopped = look.stopped || look.n;
        return 0;
    }
    for (left = UINT32_MAX >> (32 - look.n); left; ) {
        uint32_t which = vpci_spread_same(look.queues, left);
        struct vpci_ring *ring = to->to_guest[look.queues[raw_ctz(left)]];

        put_look(to, ring, &look, which, now);
        left &= ~which;
    }
    tally_look(t, &look, UINT32_MAX >> (32 - look.n));
    vpci_queues_learn(dev, rxq - dev->rxqs, look.heads[0], look.iovs[0].len);
    vpci_vring_release(rxq->ring->vring, look.n);
    *tcp_flags = look.tcp_flags;
    *stopped = look.stopped;
    return look.n;
}

/* Moves easy frames from the ring of 'rxq' that are like those before.
 * Returns how many, and sets '*stopped' if there may be others. */
static int
splice_easy(struct netdev_vpci *dev, struct vpci_rxq *rxq, uint64_t now,
            bool *stopped)
{
    struct vpci_splicer *s = rxq->splicer;
    uint64_t generation = __atomic_load_n(&s->source->generation,
                                          __ATOMIC_ACQUIRE);
    struct vpci_tally t = { .packets = 0 };
    struct vpci_steer_plain plain;
    struct netdev_vpci *to;
    uint16_t tcp_flags = 0;
    uint32_t max_len;
    int n;

    *stopped = true;
    if (!vpci_steer_get_plain(s->reader, &plain)) {
        return 0;
    }
    to = easy_target(dev, s, &plain, generation, &max_len);
    if (!to) {
        return 0;
    }
    n = (OVS_LIKELY(to->n_to_guest == 1)
         ? splice_to_one(dev, rxq, to, &plain, max_len, &t, &tcp_flags, stopped)
         : splice_to_many(dev, rxq, to, &plain, max_len, now, &t, &tcp_flags,
                          stopped));
    if (n) {
        s->bytes += t.bytes;
        vpci_splicer_note_where(s, &s->lanes[0], to, now);
        vpci_count_spliced(&rxq->counters, &t);
        vpci_counter_add(&rxq->counters.splice_bursts, 1);
        vpci_steer_count(s->reader, plain.entry, n, t.bytes,
                         tcp_flags, now);
    }
    return n;
}

static void
start_settling(struct vpci_splicer *s, uint64_t newest, uint64_t now)
{
    s->settling = newest;
    s->settling_since = now;
    s->due = false;
}

/* Keeps packets of megaflows that have just been offloaded from overtaking
 * those that came before, as long as the datapath may have kept these.  While
 * a program is not settled, its packets wait in the ring.  Whatever went to
 * the datapath before has been dealt with by the time of this call, 'now'. */
static void
settle(struct vpci_splicer *s, uint64_t now)
{
    uint64_t hold = vpci_datapath_hold_cycles(now);
    uint64_t newest;

    if (OVS_LIKELY(!hold)) {
        s->settled = UINT64_MAX;
        s->settling = 0;
        return;
    }
    newest = __atomic_load_n(&s->source->generation, __ATOMIC_ACQUIRE);
    if (s->settled == UINT64_MAX) {
        /* What was sent just now may be kept already. */
        s->settled = 0;
        start_settling(s, newest, now);
    } else if (!s->settling && s->settled < newest) {
        start_settling(s, newest, now);
    } else if (s->settling && now - s->settling_since > hold) {
        /* It is due, and sent between this call and the next. */
        if (s->due) {
            s->settled = s->settling;
            s->settling = 0;
        }
        s->due = !s->due;
    }
}

/* Like splice_easy(), unless that has been in vain lately. */
static int
try_easy(struct netdev_vpci *dev, struct vpci_rxq *rxq, uint64_t now,
         bool *stopped)
{
    struct vpci_splicer *s = rxq->splicer;
    int n;

    if (OVS_UNLIKELY(s->not_easy)) {
        s->not_easy--;
        *stopped = true;
        return 0;
    }
    n = splice_easy(dev, rxq, now, stopped);
    if (OVS_UNLIKELY(!n && *stopped)) {
        s->not_easy = NOT_EASY_BURSTS;
    }
    return n;
}

/* Takes bursts from the one ring of 'rxq'.  Returns how many frames it has
 * lost, and stores in '*n_up' how many packets are in 'pkts'. */
static int
splice_bursts(struct netdev_vpci *dev, struct vpci_rxq *rxq, uint64_t now,
              struct dp_packet **pkts, int *n_up)
{
    int n_moved = 0;

    *n_up = 0;
    for (int i = 0; i < MAX_BURSTS; i++) {
        bool stopped;
        int n = try_easy(dev, rxq, now, &stopped);

        if (!n && stopped) {
            n = vpci_splice_burst(dev, rxq, VPCI_VRING_BURST, now, pkts,
                                  n_up);
            stopped = false;
        }
        n_moved += n;
        if ((n < VPCI_VRING_BURST && !stopped) || *n_up
            || rxq->splicer->bytes >= VPCI_SPLICE_BYTES) {
            break;
        }
    }
    return n_moved;
}

/* Like splice_bursts(), for 'rxq' with several classes: from one only what
 * those above leave room for in a burst.  It is one burst, so that what is
 * urgent on another queue of the thread need not wait for more. */
static int
splice_classes(struct netdev_vpci *dev, struct vpci_rxq *rxq, uint64_t now,
               struct dp_packet **pkts, int *n_up)
{
    struct vpci_counters *c = &rxq->counters;
    int n_moved = 0;

    *n_up = 0;
    for (int i = rxq->n_classes - 1;
         i >= 0 && n_moved < VPCI_VRING_BURST
         && rxq->splicer->bytes < VPCI_SPLICE_BYTES
         && !vpci_super_is_pending(rxq->super); i--) {
        uint64_t packets = c->packets, bytes = c->bytes;
        int n_new_up;

        rxq->ring = rxq->rings[i];
        n_moved += vpci_splice_burst(dev, rxq, VPCI_VRING_BURST - n_moved,
                                     now, pkts + *n_up, &n_new_up);
        *n_up += n_new_up;
        vpci_counters_add_class(c, i, packets, bytes);
    }
    return n_moved;
}

int
vpci_splice(struct netdev_vpci *dev, struct vpci_rxq *rxq,
            struct dp_packet **pkts, bool *moved)
{
    struct vpci_steer_reader *reader = rxq->splicer->reader;
    uint64_t start = rte_get_tsc_cycles();
    int n_up, n_moved;

    settle(rxq->splicer, start);
    rxq->splicer->bytes = 0;
    vpci_steer_enter(reader);
    n_moved = (OVS_LIKELY(rxq->n_classes == 1)
               ? splice_bursts(dev, rxq, start, pkts, &n_up)
               : splice_classes(dev, rxq, start, pkts, &n_up));
    vpci_steer_leave(reader);
    *moved = n_moved;
    if (n_moved) {
        vpci_rxq_returned(rxq, n_moved, rxq->splicer->bytes);
    }
    if (n_moved && !n_up) {
        vpci_counter_add(&rxq->counters.splice_cycles,
                         rte_get_tsc_cycles() - start);
    }
    return n_up;
}
