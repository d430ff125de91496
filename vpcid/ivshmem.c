/* SPDX-License-Identifier: Apache-2.0 */

#include "ivshmem.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int
ivshmem_send(int sock, int64_t message, int fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    uint64_t wire = htole64(message);
    struct iovec iov = { &wire, sizeof wire };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (fd >= 0) {
        memset(&control, 0, sizeof control);
        control.align.cmsg_len = CMSG_LEN(sizeof fd);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(&control.align), &fd, sizeof fd);
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
    }
    do {
        n = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);

    /* The rest of a part could be sent later only by waiting. */
    return n < 0 ? errno : n < sizeof wire ? EAGAIN : 0;
}

void
ivshmem_refuse(int sock, int error)
{
    ivshmem_send(sock, -error, -1);
}

int
ivshmem_send_vectors(int sock, uint32_t id, const int fds[], uint32_t n)
{
    int error = 0;

    for (uint32_t i = 0; !error && i < n; i++) {
        error = ivshmem_send(sock, id, fds[i]);
    }
    return error;
}
