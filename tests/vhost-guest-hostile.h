/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_HOSTILE_H
#define VHOST_GUEST_HOSTILE_H 1

#include <stdio.h>
#include <stdlib.h>

#include "vhost-guest-commands.h"

/* What only a broken or malicious guest does
 * ==========================================
 *
 * The ring commands spoil one chain; the message commands send what no front
 * end should send and tell how the back end took it: "accepted" if it still
 * answers, "refused" if it says so, "closed" if it closed the connection.
 * Silence is a failure. */

/* vhost-guest-hostile-rings.c */
bool run_hostile_ring(struct session *, const struct args *);
bool run_hostile_flip(struct session *, const struct args *);
bool run_hostile_header(struct session *, const struct args *);
void hostile_rings_help(FILE *);

/* vhost-guest-hostile.c */
void hostile_messages_help(FILE *);

/* A kind of hostile message.  'send' returns 0 or a positive errno: EPROTO if
 * the back end refused it, EPIPE if it hung up. */
struct hostile_message {
    const char *name;
    const char *help;
    int (*send)(struct session *);
};

/* vhost-guest-hostile-fds.c: ends with an empty one. */
extern const struct hostile_message hostile_fd_messages[];

#endif /* vhost-guest-hostile.h */
