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

/* One of several receive queues of a guest. */
struct vpci_splice_queue {
    struct vpci_spread *spread;
    unsigned int number;        /* In 'spread'. */
    uint8_t epoch;
};

/* Moves frames, at most VPCI_VRING_BURST, from the transmit ring 'from' to the
 * receive ring 'to', in order, as long as they are easy, match 'plain', and
 * have VPCI_STEER_PLAIN_HEADERS to 'max_len' bytes.  If 'queue' is not null,
 * only as long as the ring is that of the queue they are for.  Returns how many,
 * and fills in '*spliced'.
 *
 * The frames have left 'from' and are in 'to' when this returns, but neither
 * driver has been woken: see vpci_vring_notify().  Frames that were peeked at
 * must have been released.  Calls on either ring must be serialized.
 *
 * The headers of a frame are read once: what is sent is what was matched. */
unsigned int vpci_vring_splice(struct vpci_vring *from, struct vpci_vring *to,
                               const struct vpci_steer_plain *plain,
                               uint32_t max_len,
                               const struct vpci_splice_queue *queue,
                               struct vpci_spliced *spliced);

#ifdef __cplusplus
}
#endif

#endif /* vpci/splice.h */
