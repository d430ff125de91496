/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_IO_H
#define VHOST_GUEST_IO_H 1

#include <stdbool.h>
#include <stdint.h>

#include "vhost-guest-device.h"

/* Frames through the rings of a test guest
 * ========================================
 *
 * What the guest's network driver does.  All functions but guest_wait() want
 * 'g->lock' held. */

/* Longest chain of 'shape' that fits the ring at all. */
unsigned int guest_max_pieces(const struct guest *);

/* Cuts the 'len' bytes at 'addr', of which the first are the virtio header,
 * into pieces.  Returns their number, at most GUEST_MAX_PIECES. */
unsigned int guest_lay_out(const struct guest *, const struct guest_shape *,
                           uint64_t addr, uint32_t len, bool writable,
                           struct vring_driver_buf *, bool *indirect);

/* Gives the device every free receive buffer of 'q', and kicks. */
void guest_fill_rx(struct guest *, struct guest_queue *q);

/* Takes one frame out of receive queue 'q' into 'buf' (of FRAME_MAX bytes).
 * Returns its length, or 0 if there is none. */
uint32_t guest_receive(struct guest *, struct guest_queue *q, uint8_t *buf);

/* Room for a frame with its virtio header in transmit queue 'q', or null if
 * the ring is full.  Write the header (g->hdr_len bytes) and the frame there,
 * then call guest_post(). */
uint8_t *guest_reserve(struct guest *, struct guest_queue *q);

/* Adds the 'len' bytes of the room reserved last, header included.  Returns
 * false, and keeps the reservation, if the ring has no room for the chain.
 * Follow with guest_kick(). */
bool guest_post(struct guest *, struct guest_queue *q, uint32_t len);

/* Publishes what was posted and kicks, if the device wants it. */
void guest_kick(struct guest *, struct guest_queue *q);

/* Takes back what the device has sent.  Returns the number of frames. */
unsigned int guest_reap_tx(struct guest *, struct guest_queue *q);

/* Sleeps until the device may have done something, at most 'ms'. */
void guest_wait(struct guest *, unsigned int ms);

#endif /* vhost-guest-io.h */
