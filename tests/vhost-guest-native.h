/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_NATIVE_H
#define VHOST_GUEST_NATIVE_H 1

#include "vhost-guest-device.h"

/* Device vpci-net of a test guest: a region shared with the switch, in place of
 * virtio rings and vhost-user
 * ==========================================================================
 *
 * Threads and errors as in vhost-guest-device.h and vhost-guest-io.h, whose
 * functions call these for guests that have such a device. */

struct guest_native;

int guest_native_open(struct guest *);
int guest_native_start(struct guest *);
int guest_native_stop(struct guest *);
void guest_native_close(struct guest *);

/* True if the rings can be used now. */
bool guest_native_is_up(const struct guest *);

uint32_t guest_native_receive(struct guest *, struct guest_queue *,
                              uint8_t *buf);
uint8_t *guest_native_reserve(struct guest *, struct guest_queue *);
bool guest_native_post(struct guest *, struct guest_queue *, uint32_t len);
void guest_native_kick(struct guest *, struct guest_queue *);
unsigned int guest_native_reap_tx(struct guest *, struct guest_queue *);

/* Asks for interrupts.  Returns true if there is something to do already. */
bool guest_native_enable_interrupts(struct guest *);
void guest_native_disable_interrupts(struct guest *);

/* Frames that the switch has not consumed yet. */
uint32_t guest_native_in_flight(const struct guest *,
                                const struct guest_queue *);

/* Hostilities: each goes on for 'ms'.  Writes anything anywhere in the region;
 * words of rings that may pass for good ones; an epoch that changes all the
 * time; calls without end, most of which make sense, whose answers it never
 * takes. */
void guest_native_scribble(struct guest *, unsigned int ms);
void guest_native_forge(struct guest *, unsigned int ms);
void guest_native_flap(struct guest *, unsigned int ms);
void guest_native_call(struct guest *, unsigned int ms);

#endif /* vhost-guest-native.h */
