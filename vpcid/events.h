/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_EVENTS_H
#define VPCID_EVENTS_H 1

#include <stdbool.h>

/* What the switch is told of clients that come and go.
 *
 * There is no queue: each end knows what the switch has been told of it, and
 * the switch gets the difference to what is so now, whenever its socket has
 * room.  However many clients come and go while the switch is slow, that is no
 * more than two messages for each end.
 *
 * Threads: the main thread only. */

struct end;
struct region;

/* Something has changed at 'end'. */
void events_changed(struct end *);

/* 'end' is about to be destroyed. */
void events_forget(struct end *);

/* The switch has been told, in a reply, of 'region', and wants to be told of
 * its clients from now on, beginning with those that are there. */
void events_attach(struct region *);

/* There is no switch any more. */
void events_detach_all(void);

/* Sends on 'sock' what the switch does not know yet.  Returns 0 if it knows
 * everything, EAGAIN or ETOOMANYREFS if it has to be tried again, or another
 * positive errno if the connection is broken. */
int events_send(int sock);

#endif /* vpcid/events.h */
