/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_DESCRIPTORS_H
#define VPCID_DESCRIPTORS_H 1

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

/* File descriptors: how many there may be, what they are, and what becomes of
 * them when another program is executed.
 *
 * Threads: the main thread only. */

/* Raises the limit of open files as far as it goes, and puts descriptors aside
 * for the time when there are none left. */
void descriptors_init(void);

/* Accepts a connection of 'listener'.  Returns 0 and its socket, which is the
 * caller's, has FD_CLOEXEC and does not block, in '*sock', and who is there in
 * '*who'.  Otherwise returns a positive errno:
 *
 *     EAGAIN    there is none.
 *     EMFILE    no descriptor was left for it, and it has been closed.
 *     others    trouble that may last: do not come back at once. */
int descriptors_accept(int listener, int *sock, struct ucred *who);

/* Takes from, and gives back to, what was put aside: for the moment of a call
 * to a function that opens a descriptor for the operator.
 * descriptors_take_back() returns false if there is nothing to be had. */
void descriptors_lend(void);
bool descriptors_take_back(void);

/* Returns 0 or a positive errno. */
int descriptor_set_cloexec(int fd, bool cloexec);

/* Sets FD_CLOEXEC on all descriptors but the standard ones. */
void descriptors_set_cloexec_all(void);

/* True if 'fd' is a UNIX socket of 'type' (SOCK_*) that listens, or is
 * connected, as 'listens' says. */
bool descriptor_is_socket(int fd, int type, bool listens);

/* True if 'fd' is a file of tmpfs or hugetlbfs that can be mapped to be read
 * and written.  Never waits, whatever it is. */
bool descriptor_is_memory(int fd);

/* Returns a descriptor of this process for the very file at 'path', or -1. */
int descriptor_find_file(const char *path);

/* Closes 'n' descriptors, but for those that are -1, and makes them -1. */
void descriptors_close(int fds[], size_t n);

#endif /* vpcid/descriptors.h */
