/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_DOORBELL_H
#define VPCI_DOORBELL_H 1

#include <signal.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Doorbells
 * =========
 *
 * A doorbell is a file descriptor that belongs to the other side as well: an
 * eventfd or, with User-Mode Linux, one of a pair of UNIX sockets.  So
 * O_NONBLOCK says nothing about it: the other side can take the flag away at
 * any time, fill the doorbell up, and a thread that rings it would wait for
 * ever.  Here a watchman looks after threads that ring, every
 * VPCI_DOORBELL_WATCH_MS, and sends a signal to whoever does.  That ends a
 * write() only if it waits, which no honest doorbell makes it do: so even one
 * that blocks for short times is found out as soon as it has cost about
 * VPCI_DOORBELL_WATCH_MS. */

#define VPCI_DOORBELL_WATCH_MS 10

/* The watchman's signal may come a little late, when the thread is already at
 * something else: where that would be mistaken for the user's, it is to be
 * blocked. */
#define VPCI_DOORBELL_SIGNAL SIGURG

/* Rings 'fd'.  Returns 0 if the other side has been told, or had been told
 * before and has not listened yet; ETIMEDOUT if the doorbell blocked, so that
 * it should not be rung again; otherwise another errno.
 *
 * Any thread.  At its first call in a thread it allocates memory, and it
 * starts the watchman in the process: not before a daemon forks.  The default
 * of VPCI_DOORBELL_SIGNAL is to be ignored.  SIGPIPE must be ignored. */
int vpci_doorbell_ring(int fd);

/* True if 'fd' is an eventfd.  Any thread. */
bool vpci_doorbell_is_eventfd(int fd);

/* Checks that 'fd' can be a doorbell: an eventfd, or one of a pair of stream
 * UNIX sockets without names.  Makes it non-blocking and, if it is a socket,
 * sees to it that nothing is in its receive queue, ever: closing it would drop
 * that.  Returns 0, or ENOTSUP or another errno.  Any thread. */
int vpci_doorbell_prepare(int fd);

#ifdef __cplusplus
}
#endif

#endif /* vpci/doorbell.h */
