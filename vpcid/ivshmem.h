/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_IVSHMEM_H
#define VPCID_IVSHMEM_H 1

#include <stdint.h>

/* The ivshmem protocol, from server to client: messages of one little-endian
 * int64, each with a descriptor or without (QEMU, docs/specs/ivshmem-spec.txt,
 * "Protocol for shared memory interrupts").
 *
 *     0                    the version
 *     ID                   what the client is
 *     -1, memory           the shared memory
 *     PEER, eventfd        once per vector: rings that vector of PEER
 *     ID, eventfd          once per vector: the client's own
 *
 * and whenever they come and go
 *
 *     PEER, eventfd        once per vector
 *     PEER                 has gone
 *
 * Clients send nothing.
 *
 * Who is refused gets one message, a negative errno by the numbers of Linux, in
 * place of the version.  QEMU says then that it is no version, and gives up; it
 * would wait for ever for one that does not come. */

#define IVSHMEM_VERSION 0
#define IVSHMEM_MEMORY (-1)

/* Ids are from 1 to this: the doorbell register has 16 bits for them.  See
 * peer-id.h. */
#define IVSHMEM_MAX_ID 65535

/* Sends 'message' with 'fd', or without if 'fd' is -1, without blocking.
 * Returns 0, EAGAIN if the client does not read, or another positive errno. */
int ivshmem_send(int sock, int64_t message, int fd);

/* Tells the client that it is refused with the positive errno 'error'. */
void ivshmem_refuse(int sock, int error);

/* Sends (id, fd) for each of the 'n' descriptors in 'fds'.  Returns 0 or a
 * positive errno. */
int ivshmem_send_vectors(int sock, uint32_t id, const int fds[], uint32_t n);

#endif /* vpcid/ivshmem.h */
