/* SPDX-License-Identifier: Apache-2.0 */

/* Devices that are served at UNIX sockets, by the ivshmem protocol as QEMU has
 * it (docs/specs/ivshmem-spec.txt there).
 *
 * The server sends numbers of 64 bits, little-endian, some of them with a file
 * descriptor: a version, 0; our id; -1 with the memory; the other side's id once
 * for each of its signals, with an eventfd; and our own id likewise.  Later, the
 * other side's id without a descriptor if it has left, and with descriptors if it
 * has come.  A client sends nothing. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "connector-unix.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "device-private.h"
#include "vpci/doorbell.h"

#define IVSHMEM_VERSION 0
#define IVSHMEM_MAX_ID 65535

/* What comes next. */
enum stage {
    WANT_VERSION,
    WANT_ID,
    WANT_MEMORY,
    WANT_SIGNALS
};

struct unix_device {
    struct vpci_device device;
    char path[sizeof ((struct sockaddr_un *) 0)->sun_path];
    int fd;
    enum stage stage;
    bool gone;

    /* A number that has come in part. */
    uint8_t buf[8];
    unsigned int n_buf;
    int received_fd;            /* That came with it, or -1. */

    unsigned int events;
};

static struct unix_device *
unix_device(const struct vpci_device *d)
{
    return (struct unix_device *) d;   /* Its first member. */
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static int
protocol_error(struct unix_device *u, const char *seen, int64_t number,
               const char *wanted)
{
    return device_fail(&u->device, EPROTO,
                       "%s does not speak ivshmem as we do: it sent %lld%s, "
                       "but %s is due", u->path, (long long) number, seen,
                       wanted);
}

static void
forget_peer_signals(struct unix_device *u)
{
    for (unsigned int i = 0; i < u->device.n_peer_signals; i++) {
        device_set_inject_fd(&u->device, i, -1);
    }
    u->device.n_peer_signals = 0;
}

/* The other side has a signal more.  Keeps 'fd' no longer than the call. */
static int
add_peer_signal(struct unix_device *u, uint32_t id, int fd)
{
    struct vpci_device *d = &u->device;

    if (id != vpci_device_peer(d)) {
        forget_peer_signals(u);
    }
    if (d->n_peer_signals == VPCI_ABI_MAX_VECTORS) {
        return device_fail(d, EPROTO, "%s: the other side, %u, has more than "
                           "%d signals", u->path, id, VPCI_ABI_MAX_VECTORS);
    }
    device_set_inject_fd(d, d->n_peer_signals++, fd);
    __atomic_store_n(&d->peer, id, __ATOMIC_RELEASE);
    u->events |= VPCI_DEVICE_PEER_CAME;
    return 0;
}

static void
peer_left(struct unix_device *u)
{
    __atomic_store_n(&u->device.peer, 0, __ATOMIC_RELAXED);
    forget_peer_signals(u);
    u->events &= ~VPCI_DEVICE_PEER_CAME;
    u->events |= VPCI_DEVICE_PEER_LEFT;
}

/* A number of those that come when the memory is there, with '*fd' or -1. */
static int
handle_signals(struct unix_device *u, int64_t number, int *fd)
{
    struct vpci_device *d = &u->device;

    if (number < 0 || number > IVSHMEM_MAX_ID) {
        return protocol_error(u, "", number, "an id from 0 to 65535");
    }
    if (*fd < 0) {
        if ((uint32_t) number == vpci_device_peer(d) && number) {
            peer_left(u);
        }
        return 0;
    }
    if (!vpci_doorbell_is_eventfd(*fd)) {
        return protocol_error(u, " with a descriptor of another kind", number,
                              "an eventfd");
    }
    if ((uint32_t) number == d->id) {
        int own = *fd;

        *fd = -1;
        return device_add_signal(d, own);
    }
    return add_peer_signal(u, number, *fd);
}

/* The keeper has said so: see vpcid/ivshmem.h. */
static int
refused(struct unix_device *u, int error)
{
    return device_fail(&u->device, error, "%s is refused: %s", u->path,
                       error == EBUSY ? "another process has this device"
                       : error == ESHUTDOWN ? "this link is over"
                       : error == ENOSPC ? "vpcid has no descriptors or ids "
                                           "left: see its log"
                       : strerror(error));
}

static int
handle_number(struct unix_device *u, int64_t number, int *fd)
{
    switch (u->stage) {
    case WANT_VERSION:
        if (number < 0 && number >= -VPCI_ABI_CALL_MAX_ERRNO) {
            return refused(u, -number);
        }
        if (number != IVSHMEM_VERSION || *fd >= 0) {
            return protocol_error(u, *fd >= 0 ? " with a descriptor" : "",
                                  number, "version 0");
        }
        u->stage = WANT_ID;
        return 0;
    case WANT_ID:
        if (number <= 0 || number > IVSHMEM_MAX_ID || *fd >= 0) {
            return protocol_error(u, *fd >= 0 ? " with a descriptor" : "",
                                  number, "our id, 1 to 65535,");
        }
        u->device.id = number;
        u->stage = WANT_MEMORY;
        return 0;
    case WANT_MEMORY:
        if (number != -1 || *fd < 0) {
            return protocol_error(u, *fd < 0 ? " without a descriptor" : "",
                                  number, "-1 with the memory");
        }
        u->stage = WANT_SIGNALS;
        return device_map(&u->device, *fd);
    case WANT_SIGNALS:
    default:
        return handle_signals(u, number, fd);
    }
}

/* Takes the first descriptor of 'msg', and closes others. */
static void
take_fds(struct unix_device *u, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (u->received_fd < 0) {
                u->received_fd = fd;
            } else {
                close(fd);
            }
        }
    }
}

static int
connection_lost(struct unix_device *u, int error)
{
    if (u->stage == WANT_VERSION && !error) {
        return device_fail(&u->device, EBUSY,
                           "%s closed the connection at once: most likely "
                           "another process has this device", u->path);
    }
    return device_fail(&u->device, error ? error : ECONNRESET,
                       "%s closed the connection%s%s", u->path,
                       error ? ": " : "", error ? strerror(error) : "");
}

/* Receives what is missing of the next number.  Returns 0, EAGAIN if it has not
 * come yet, or another errno, with the reason said. */
static int
receive_number(struct unix_device *u)
{
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov = {
        .iov_base = u->buf + u->n_buf,
        .iov_len = sizeof u->buf - u->n_buf,
    };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof control,
    };
    ssize_t n = recvmsg(u->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return EAGAIN;
    } else if (n <= 0) {
        return connection_lost(u, n < 0 ? errno : 0);
    }
    take_fds(u, &msg);
    if (msg.msg_flags & MSG_CTRUNC) {
        return device_fail(&u->device, EMFILE,
                           "%s sent a descriptor, but this process can have "
                           "no more of them: see ulimit -n", u->path);
    }
    u->n_buf += n;
    return u->n_buf == sizeof u->buf ? 0 : EAGAIN;
}

static void
drop_received_fd(struct unix_device *u)
{
    if (u->received_fd >= 0) {
        close(u->received_fd);
        u->received_fd = -1;
    }
}

/* Handles all that has come.  Returns 0, or an errno with the reason said. */
static int
receive_all(struct unix_device *u)
{
    int error;

    while (!(error = receive_number(u))) {
        vpci_le64 number;

        memcpy(&number, u->buf, sizeof number);
        u->n_buf = 0;
        error = handle_number(u, (int64_t) VPCI_LE64(number),
                              &u->received_fd);
        drop_received_fd(u);
        if (error) {
            return error;
        }
    }
    return error == EAGAIN ? 0 : error;
}

/* Connects until 'deadline': a server that is busy may be slow to accept. */
static int
connect_to(struct unix_device *u, int64_t deadline)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    struct vpci_device *d = &u->device;
    int error;

    u->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (u->fd < 0) {
        return device_fail(d, errno, "cannot make a socket: %s",
                           strerror(errno));
    }
    /* With a name, any one, the keeper tells us when the other side has gone:
     * see vpcid(8). */
    bind(u->fd, (const struct sockaddr *) &sun, sizeof sun.sun_family);
    memcpy(sun.sun_path, u->path, sizeof sun.sun_path);
    while (connect(u->fd, (const struct sockaddr *) &sun, sizeof sun)) {
        error = errno;
        if (error != EAGAIN || now_ms() >= deadline) {
            return device_fail(d, error, "cannot connect to %s: %s%s",
                               u->path, strerror(error),
                               error == ENOENT || error == ECONNREFUSED
                               ? "; is vpcid running, and is there such a "
                                 "port?" : "");
        }
        usleep(1000);
    }
    return 0;
}

static int
unix_open(struct vpci_device *d, int timeout_ms)
{
    struct unix_device *u = unix_device(d);
    int64_t deadline = now_ms() + timeout_ms;
    int error;

    u->stage = WANT_VERSION;
    u->gone = false;
    u->n_buf = u->events = 0;
    d->max_signals = VPCI_ABI_MAX_VECTORS;
    error = connect_to(u, deadline);
    while (!error && !d->n_signals) {
        struct pollfd pfd = { .fd = u->fd, .events = POLLIN };
        int64_t left = deadline - now_ms();

        if (left <= 0) {
            return device_fail(d, ETIMEDOUT,
                               "%s accepted the connection, but said too "
                               "little in %d ms", u->path, timeout_ms);
        }
        poll(&pfd, 1, left);
        error = receive_all(u);
    }
    return error;
}

static void
unix_close(struct vpci_device *d)
{
    struct unix_device *u = unix_device(d);

    drop_received_fd(u);
    if (u->fd >= 0) {
        close(u->fd);
        u->fd = -1;
    }
}

static unsigned int
unix_run(struct vpci_device *d)
{
    struct unix_device *u = unix_device(d);
    unsigned int events;

    if (!u->gone && receive_all(u)) {
        u->gone = true;
        u->events |= VPCI_DEVICE_GONE;
    }
    events = u->events;
    u->events = 0;
    return events;
}

static int
unix_fd(const struct vpci_device *d)
{
    return unix_device(d)->fd;
}

static void
unix_destroy(struct vpci_device *d)
{
    free(unix_device(d));
}

static struct vpci_device *
unix_again(const struct vpci_device *d)
{
    return unix_device_create(unix_device(d)->path, d->name);
}

static const struct device_ops unix_ops = {
    .open = unix_open,
    .close = unix_close,
    .run = unix_run,
    .fd = unix_fd,
    .destroy = unix_destroy,
    .again = unix_again,
};

struct vpci_device *
unix_device_create(const char *path, const char *name)
{
    struct unix_device *u;

    if (strlen(path) >= sizeof u->path) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    u = calloc(1, sizeof *u);
    if (u) {
        device_init(&u->device, &unix_ops, name);
        u->device.is_peer = !strcmp(name, DEVICE_PEER);
        strcpy(u->path, path);
        u->fd = u->received_fd = -1;
    }
    return u ? &u->device : NULL;
}
