/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_DOORBELL_H
#define VPCI_DOORBELL_H 1

#ifdef __cplusplus
extern "C" {
#endif

/* Doorbells
 * =========
 *
 * A doorbell is a file descriptor that belongs to the other side as well: an
 * eventfd or, with User-Mode Linux, a pipe or a UNIX socket.  So O_NONBLOCK
 * says nothing about it: the other side can take the flag away at any time,
 * fill the doorbell up, and a thread that rings it would wait for ever.  Here
 * a watchman looks after threads that ring, and interrupts one that waits for
 * longer than VPCI_DOORBELL_PATIENCE_MS. */

#define VPCI_DOORBELL_PATIENCE_MS 50

/* Rings 'fd'.  Returns 0 if the other side has been told, or had been told
 * before and has not listened yet; ETIMEDOUT if the doorbell blocked, so that
 * it should not be rung again; otherwise another errno.
 *
 * Any thread.  At its first call in a thread it allocates memory, and it
 * starts the watchman in the process: not before a daemon forks.  The watchman
 * uses SIGURG, whose default is to be ignored. */
int vpci_doorbell_ring(int fd);

/* Returns 0 if 'fd' is of a kind that vpci_doorbell_ring() can be interrupted
 * on, otherwise ENOTSUP, or another errno.  Any thread. */
int vpci_doorbell_check(int fd);

#ifdef __cplusplus
}
#endif

#endif /* vpci/doorbell.h */
