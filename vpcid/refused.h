/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_REFUSED_H
#define VPCID_REFUSED_H 1

/* Clients that have been refused, and may not have read so yet.
 *
 * QEMU connects when a chardev is added, and reads when a device is added to it.
 * If the connection has been closed meanwhile, it forgets what has come, and
 * waits for ever.  So connections stay open until clients close them, for
 * a few seconds at most, and only the last few of them do.
 *
 * Threads: the main thread only. */

/* Tells the client behind 'sock' that it is refused with the positive errno
 * 'error', and closes 'sock' later. */
void refused_add(int sock, int error);

void refused_run(void);
void refused_wait(void);

#endif /* vpcid/refused.h */
