/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_SPLICE_H
#define NETDEV_VPCI_SPLICE_H 1

/* The splice path: packets from one guest's ring to another's, as the steering
 * table of the port says.
 *
 * The headers of each frame are copied once, and what is looked up, changed
 * and sent is the copy: the guest may change its own meanwhile.  The rest goes
 * straight from ring to ring.
 *
 * Another port's rings are used between vpci_steer_enter() and
 * vpci_steer_leave() of one's own table.  Who changes something about a port
 * that others may splice to closes it ('splice_open', or 'dev' of its target)
 * and then waits for everyone to leave, vpci_splice_synchronize(). */

#include "netdev-vpci-private.h"
#include "netdev-vpci-target.h"

struct vpci_steer;
struct vpci_steer_reader;

/* netdev-vpci-source.c */

/* The verdict of entries whose packets go to the datapath. */
#define VPCI_ASK_DATAPATH 0

/* A port as a place to splice from. */
struct vpci_source {
    struct ovs_list node;
    struct vpci_steer *table;   /* Its verdicts are struct vpci_program *, or
                                 * VPCI_ASK_DATAPATH. */
    struct vpci_target *sole;   /* The only place that entries send to, or
                                 * null.  With atomics. */
    uint64_t generation;        /* Of the newest program.  With atomics. */
    struct vpci_splicer *splicers[VPCI_MAX_QUEUE_PAIRS];
};

/* Bytes after which a call of vpci_splice() ends, so that other queues have
 * their turn: about as much as can be copied while as many short frames are
 * dealt with as a call takes. */
#define VPCI_SPLICE_BYTES (128 * 1024)

/* What one ring of a receive queue, that of a class, needs. */
struct vpci_lane {
    uint64_t last_other;        /* TSC when something last went elsewhere than
                                 * to the sole target, or to another class of
                                 * it. */
    uint32_t classes;           /* Of the target that the last burst went to:
                                 * bit N is class N.  0: of none so far. */
    unsigned int max;           /* How many frames are looked at next. */
};

/* What a receive queue needs.  Everything is its PMD thread's alone. */
struct vpci_splicer {
    struct vpci_source *source;
    struct vpci_steer_reader *reader;
    struct vpci_lane lanes[VPCI_ABI_MAX_CLASSES];
    uint32_t bytes;             /* That this call has dealt with. */
    unsigned int not_easy;      /* Bursts for which it is not worth while to
                                 * look for easy frames. */

    /* Programs up to a generation are settled: no packet that came before them
     * is still with the datapath.  Those up to the next one will be. */
    uint64_t settled;
    uint64_t settling;          /* Or 0. */
    uint64_t settling_since;    /* TSC. */
    bool due;                   /* Time is over. */
};

/* Fills in '*source'.  Returns 0 or a positive errno. */
int vpci_source_init(struct vpci_source *);

/* No queue has one of its splicers any more. */
void vpci_source_uninit(struct vpci_source *);

/* Nobody sends to the port any more once this returns.  Null is ignored. */
void vpci_target_kill(struct vpci_target *);

/* Waits until no PMD thread splices that did so when this was called. */
void vpci_splice_synchronize(void);

/* Notes that something from 'lane' went to 'to', or, if that is null, to
 * several places or to the datapath. */
static inline void
vpci_splicer_note_where(const struct vpci_splicer *s, struct vpci_lane *lane,
                        const struct netdev_vpci *to, uint64_t now)
{
    const struct vpci_target *sole
        = __atomic_load_n(&s->source->sole, __ATOMIC_ACQUIRE);

    if (OVS_UNLIKELY(!to || !sole || vpci_target_dev(sole) != to)) {
        lane->last_other = now;
    }
}

/* Counts 't', which is spliced. */
static inline void
vpci_count_spliced(struct vpci_counters *c, const struct vpci_tally *t)
{
    vpci_counters_add_tally(c, t);
    vpci_counter_add(&c->spliced_packets, t->packets);
    vpci_counter_add(&c->spliced_bytes, t->bytes);
}

/* Notes that the guest has taken 'n' packets from 'ring' without having been
 * full.  With its 'tx_lock' held. */
static inline void
vpci_splice_note_room(struct vpci_ring *ring, int n)
{
    if (OVS_UNLIKELY(ring->full_since)) {
        ring->full_taken += n;
    }
}

/* netdev-vpci-splice-send.c */

/* True if the guest of 'dev' is to get all of what 't' counts. */
bool vpci_splice_passes(const struct netdev_vpci *dev,
                        const struct vpci_tally *t);

/* Drops, and counts in 'counters', which are those of one of its transmit
 * queues, frames of 'frames[0..n)' that the guest of 'dev' is not to get, closes
 * the gaps and returns how many are left.  PMD threads, which have 'counters'
 * for themselves. */
int vpci_apply_tx_policy(struct netdev_vpci *dev,
                         struct vpci_counters *counters,
                         struct vpci_pkt *frames, int n);

/* True if the receive rings of 'dev' that 'queues[0..n)' name have room for as
 * many frames, whoever else sends. */
bool vpci_splice_has_room(const struct netdev_vpci *dev,
                          const uint8_t queues[], int n);

/* Sends 'frames[0..n)', at least one, to 'ring' of 'dev', which is open, and
 * drops those that it has no room for. */
void vpci_splice_send_to_ring(struct netdev_vpci *dev, struct vpci_ring *ring,
                              struct vpci_pkt *frames, int n, uint64_t now);

/* Sends 'frames[0..n)', which 't' counts, to 'dev' and returns how many have
 * been dealt with.  It is all of them unless 'wait' is true, which takes
 * frames that pass the port's policy, and the guest has no more room. */
int vpci_splice_send(struct netdev_vpci *dev, struct vpci_pkt *frames, int n,
                     const struct vpci_tally *t, bool wait, uint64_t now);

/* Sends all of 'frames[0..n)' to 'dev'. */
void vpci_splice_send_all(struct netdev_vpci *dev, struct vpci_pkt *frames,
                          int n, uint64_t now);

/* netdev-vpci-splice-burst.c */

/* Takes up to one burst, of at most 'max' frames, from the ring of 'rxq' that
 * is at hand, at 'now' (TSC), and deals with each frame.  Returns how many
 * frames the ring has lost, and stores in '*n_up' how many of them went to the
 * datapath, in 'pkts'. */
int vpci_splice_burst(struct netdev_vpci *dev, struct vpci_rxq *rxq,
                      unsigned int max, uint64_t now, struct dp_packet **pkts,
                      int *n_up);

/* netdev-vpci-splice.c */

/* Receives from 'rxq', while its gate is passed.  Splices what its port's
 * table says, puts what the datapath is to look at into 'pkts', at most
 * NETDEV_MAX_BURST packets, and returns their number.  Sets '*moved' if any
 * packet was taken.  All counters of the port are kept. */
int vpci_splice(struct netdev_vpci *, struct vpci_rxq *rxq,
                struct dp_packet **pkts, bool *moved);

#endif /* netdev-vpci-splice.h */
