/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_CHANNEL_PRIVATE_H
#define VPCI_CHANNEL_PRIVATE_H 1

#include "vpci/channel.h"

/* What another process must not believe is set by vpci_channel_begin() and
 * _resume(); ends of rings follow, each at a multiple of a cache line. */
struct vpci_channel {
    uint64_t magic;
    struct vpci_shape shape;
    uint32_t epoch;             /* Ours. */
    uint32_t peer_epoch;        /* For which the rings were made, or 0. */
    uint64_t peer_features;
    uint32_t peer_n_queues;
    uint32_t peer_n_links;
    uint8_t peer_mac[6];
    bool runs;

    /* Of this process. */
    struct vpci_channel_config config;
    struct vpci_abi_state *own;
    const struct vpci_abi_state *other;
    struct vpci_peer peer;
    int64_t made_at;            /* When the rings were made. */
    uint32_t heartbeat;         /* The other side's, when it last changed... */
    int64_t heard_at;           /* ...and when that was, */
    int64_t beaten_at;          /* and when ours last changed. */
    uint32_t n_beats;
};

/* True if the other side is the one that the rings were made for, which has
 * the epoch 'peer_epoch'. */
static inline bool
channel_knows(const struct vpci_channel *ch, uint32_t peer_epoch)
{
    return (peer_epoch == ch->peer_epoch
            && vpci_load32_acquire(&ch->other->seen) == ch->epoch);
}

/* vpci_channel_is_current(), for those who ask once for each burst. */
static inline bool
channel_is_current(const struct vpci_channel *ch)
{
    return channel_knows(ch, vpci_load32_acquire(&ch->other->epoch));
}

#endif /* lib/vpci/channel-private.h */
