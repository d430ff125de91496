/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_CHANNEL_H
#define VPCI_CHANNEL_H 1

#include "vpci/layout.h"
#include "vpci/peer.h"
#include "vpci/ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Channels: the rings of a region, both ways, from when both sides are there
 * ==========================================================================
 *
 * A channel is one side's end of all rings of a region.  The two sides find each
 * other by the words of struct vpci_abi_state (vpci/abi.h): each may begin, end
 * without a word, and begin anew at any moment.
 *
 * What a side must not forget if its process ends, and must not believe from the
 * region, is in memory of its own: another process that has the same memory goes
 * on where the first one was, and the other side need not notice.
 *
 * Threads: one at a time for vpci_channel_run() and what is not said to be for
 * others.  While the channel runs each end of a ring may be used by a thread of
 * its own, which asks vpci_channel_is_current() once for each burst.  When
 * vpci_channel_run() has returned another state than VPCI_CHANNEL_RUNNING, they
 * must have stopped before it is called again. */

struct vpci_channel;

enum vpci_channel_state {
    VPCI_CHANNEL_ALONE,         /* The other side is not there. */
    VPCI_CHANNEL_MEETING,       /* It is, but has not seen us yet. */
    VPCI_CHANNEL_RUNNING        /* Rings may be used. */
};

/* "alone", "meeting" or "running". */
const char *vpci_channel_state_name(enum vpci_channel_state);

struct vpci_channel_config {
    struct vpci_layout layout;
    void *base;                 /* Of the region, mapped. */
    unsigned int side;          /* 0 or 1. */
    uint64_t features;          /* What we take. */
    uint32_t n_queues;          /* What we would use. */
    uint32_t n_links;           /* As well, if we are a guest. */
    uint8_t mac[6];             /* What we say; all 0: nothing. */

    /* Called when a ring is found to be broken, as struct vpci_peer's; not if
     * that is only because the other side begins anew.  The ring to the other
     * side with index I is called 2 * I, that from there 2 * I + 1. */
    void (*report)(void *aux, const struct vpci_fault *);
    void *aux;
};

/* Bytes of memory of its own, aligned to VPCI_ABI_LINE, that a channel of
 * 'layout' needs. */
size_t vpci_channel_bytes(const struct vpci_layout *layout);

/* Makes a channel in the memory at 'ch' and begins, as what the other side has
 * not seen before.  'epoch' tells this time from others: not 0, and different
 * each time, best at random. */
void vpci_channel_begin(struct vpci_channel *ch,
                        const struct vpci_channel_config *config,
                        uint32_t epoch);

/* Goes on with the channel that another process has left at 'ch'.  Returns false
 * if there is none, or one of another shape: begin. */
bool vpci_channel_resume(struct vpci_channel *ch,
                         const struct vpci_channel_config *config);

/* Says that this side is not there any more.  No thread uses the channel. */
void vpci_channel_end(struct vpci_channel *ch);

/* Does what is due at time 'now_ms', at least once in VPCI_ABI_BEAT_MS, and
 * returns the state.  Rings are made anew only by a call after one that did not
 * return VPCI_CHANNEL_RUNNING. */
enum vpci_channel_state vpci_channel_run(struct vpci_channel *ch,
                                         int64_t now_ms);

/* True if vpci_channel_run() has said that the channel runs, and will say
 * otherwise. */
bool vpci_channel_must_stop(const struct vpci_channel *ch);

/* True as long as the other side is the one that the rings were made for.  Any
 * thread; two loads. */
bool vpci_channel_is_current(const struct vpci_channel *ch);

/* While it runs: what both sides take, and the queues that both would use. */
uint64_t vpci_channel_features(const struct vpci_channel *ch);
uint32_t vpci_channel_n_queues(const struct vpci_channel *ch);

/* While it runs: the links that the other side would use, as far as there may
 * be any. */
uint32_t vpci_channel_n_links(const struct vpci_channel *ch);

/* While it runs: the other side's address.  Returns false if it does not say. */
bool vpci_channel_peer_mac(const struct vpci_channel *ch, uint8_t mac[6]);

/* How long the other side has shown no sign of life, in ms. */
int64_t vpci_channel_silence(const struct vpci_channel *ch, int64_t now_ms);

/* The ends of rings: 'index' as in vpci/layout.h, VPCI_LAYOUT_CALLS as well. */
struct vpci_ring_tx *vpci_channel_tx(struct vpci_channel *ch, uint32_t index);
struct vpci_ring_rx *vpci_channel_rx(struct vpci_channel *ch, uint32_t index);

#ifdef __cplusplus
}
#endif

#endif /* vpci/channel.h */
