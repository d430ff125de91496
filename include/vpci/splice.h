/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_SPLICE_H
#define VPCI_SPLICE_H 1

#include <stdbool.h>
#include <stdint.h>

#include "vpci/spread.h"
#include "vpci/steer.h"
#include "vpci/vring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* From ring to ring
 * =================
 *
 * What vpci_vring_peek(), a look at each header, vpci_vring_push() and
 * vpci_vring_release() do in turns, in one go, for frames that are easy: each
 * in one descriptor, going to one descriptor, plain (vpci/steer.h), and
 * without offloads.  What is not easy is left to those. */

/* What vpci_vring_splice() has done. */
struct vpci_spliced {
    uint32_t lens[VPCI_VRING_BURST];    /* Of each frame, in bytes. */
    uint32_t multicast;         /* Bit N: frame N has a group address... */
    uint32_t broadcast;         /* ...and it is that of everybody. */
    uint16_t tcp_flags;         /* Of all frames, in network byte order. */
    uint8_t first[VPCI_SPREAD_HEADERS]; /* Bytes of the first frame, or as many
                                         * as it has. */
    bool stopped;               /* There was a frame that is not easy. */
};

/* Moves frames, at most VPCI_VRING_BURST, from the transmit ring 'from' to the
 * receive ring 'to', in order, as long as they are easy, match 'plain', and
 * have VPCI_STEER_PLAIN_HEADERS to 'max_len' bytes.  Returns how many, and fills
 * in '*spliced'.
 *
 * The frames have left 'from' and are in 'to' when this returns, but neither
 * driver has been woken: see vpci_vring_notify().  Frames that were peeked at
 * must have been released.  Calls on either ring must be serialized.
 *
 * The headers of a frame are read once: what is sent is what was matched. */
unsigned int vpci_vring_splice(struct vpci_vring *from, struct vpci_vring *to,
                               const struct vpci_steer_plain *plain,
                               uint32_t max_len,
                               struct vpci_spliced *spliced);

/* Frames at the beginning of a transmit ring, for a guest with several receive
 * queues: what vpci_vring_splice() does in two steps. */
struct vpci_splice_look {
    unsigned int n;
    uint8_t queues[VPCI_VRING_BURST];   /* For each frame, one of 'spread'. */
    struct vpci_iov iovs[VPCI_VRING_BURST]; /* The frame, in the memory of its
                                             * guest... */
    uint8_t heads[VPCI_VRING_BURST][VPCI_SPREAD_HEADERS]
        __attribute__((aligned(32)));   /* ...but for these bytes, or as many
                                         * as it has: what was looked at. */
    uint16_t tcp_flags;         /* Of all frames, in network byte order. */
    bool stopped;               /* There is a frame that is not easy. */
};

/* Looks at frames, at most VPCI_VRING_BURST, that are next in the transmit ring
 * 'from', as long as they are easy, match 'plain', and have
 * VPCI_STEER_PLAIN_HEADERS to 'max_len' bytes, and chooses, by 'spread' and
 * 'epoch', a queue for each.  Returns how many, and fills in '*look'.  They stay
 * in the ring until vpci_vring_release(), as after vpci_vring_peek(). */
unsigned int vpci_vring_look(struct vpci_vring *from,
                             const struct vpci_steer_plain *plain,
                             uint32_t max_len, struct vpci_spread *spread,
                             uint8_t epoch, struct vpci_splice_look *look);

/* Puts frames of '*look', those with a bit in 'which', into the receive ring
 * 'to', in order, as long as it has buffers that are easy for them.  Returns the
 * bits of those that are there now; its driver has not been woken. */
uint32_t vpci_vring_put(const struct vpci_splice_look *,
                        struct vpci_vring *to, uint32_t which);

/* Makes '*pkt' of frame 'i' of '*look', for vpci_vring_push(). */
void vpci_splice_look_get(const struct vpci_splice_look *, unsigned int i,
                          struct vpci_pkt *pkt);

#ifdef __cplusplus
}
#endif

#endif /* vpci/splice.h */
