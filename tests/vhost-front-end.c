/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-front-end.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The longest reply of any request. */
#define MAX_REPLY 512

/* While the back end is not there. */
#define CONNECT_INTERVAL_MS 20

void
front_end_init(struct vhost_front_end *fe, const char *path, bool listens,
               unsigned int timeout_ms)
{
    memset(fe, 0, sizeof *fe);
    fe->path = path;
    fe->listens = listens;
    fe->listen_fd = -1;
    fe->fd = -1;
    fe->timeout_ms = timeout_ms;
}

static int __attribute__((format(printf, 3, 4)))
fail(struct vhost_front_end *fe, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(fe->error, sizeof fe->error, format, args);
    va_end(args);
    return error;
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits until 'fd' is ready for 'events' or 'deadline' has passed. */
static int
wait_for(int fd, short events, int64_t deadline)
{
    for (;;) {
        struct pollfd pfd = { .fd = fd, .events = events };
        int64_t left = deadline - now_ms();
        int n = poll(&pfd, 1, left > 0 ? left : 0);

        if (n > 0) {
            return 0;
        } else if (!n) {
            return ETIMEDOUT;
        } else if (errno != EINTR) {
            return errno;
        }
    }
}

static int
make_address(struct vhost_front_end *fe, struct sockaddr_un *sun)
{
    size_t n = strlen(fe->path);

    memset(sun, 0, sizeof *sun);
    sun->sun_family = AF_UNIX;
    if (n >= sizeof sun->sun_path) {
        return fail(fe, ENAMETOOLONG, "%s: path is longer than %zu bytes",
                    fe->path, sizeof sun->sun_path - 1);
    }
    memcpy(sun->sun_path, fe->path, n);
    return 0;
}

static int
start_listening(struct vhost_front_end *fe)
{
    struct sockaddr_un sun;
    int error = make_address(fe, &sun);

    if (error) {
        return error;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail(fe, errno, "socket: %s", strerror(errno));
    }
    unlink(fe->path);
    if (bind(fd, (struct sockaddr *) &sun, sizeof sun) || listen(fd, 4)) {
        error = errno;
        close(fd);
        return fail(fe, error, "%s: cannot listen: %s", fe->path,
                    strerror(error));
    }
    fe->listen_fd = fd;
    return 0;
}

static int
accept_one(struct vhost_front_end *fe, int64_t deadline)
{
    int error = fe->listen_fd < 0 ? start_listening(fe) : 0;

    if (error) {
        return error;
    } else if (wait_for(fe->listen_fd, POLLIN, deadline)) {
        return fail(fe, ETIMEDOUT, "%s: nobody connected within %u ms",
                    fe->path, fe->timeout_ms);
    }
    fe->fd = accept4(fe->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    return fe->fd < 0 ? fail(fe, errno, "accept: %s", strerror(errno)) : 0;
}

static int
connect_one(struct vhost_front_end *fe, int64_t deadline)
{
    struct sockaddr_un sun;
    int error = make_address(fe, &sun);

    if (error) {
        return error;
    }
    for (;;) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0) {
            return fail(fe, errno, "socket: %s", strerror(errno));
        } else if (!connect(fd, (struct sockaddr *) &sun, sizeof sun)) {
            fe->fd = fd;
            return 0;
        }
        error = errno;
        close(fd);
        if ((error != ENOENT && error != ECONNREFUSED && error != EAGAIN)
            || now_ms() >= deadline) {
            return fail(fe, error, "%s: cannot connect: %s", fe->path,
                        strerror(error));
        }
        usleep(CONNECT_INTERVAL_MS * 1000);
    }
}

int
front_end_open(struct vhost_front_end *fe)
{
    int64_t deadline = now_ms() + fe->timeout_ms;

    front_end_close(fe);
    return (fe->listens
            ? accept_one(fe, deadline)
            : connect_one(fe, deadline));
}

void
front_end_close(struct vhost_front_end *fe)
{
    if (fe->fd >= 0) {
        close(fe->fd);
        fe->fd = -1;
    }
    fe->reply_ack = false;
}

void
front_end_destroy(struct vhost_front_end *fe)
{
    /* In this order, or a back end that is quick to reconnect would find a
     * listener that says nothing and goes away. */
    if (fe->listen_fd >= 0) {
        unlink(fe->path);
        close(fe->listen_fd);
        fe->listen_fd = -1;
    }
    front_end_close(fe);
}

int
front_end_raw(struct vhost_front_end *fe, const void *bytes, size_t n,
              const int *fds, unsigned int n_fds)
{
    union {
        struct cmsghdr align;
        char buf[CMSG_SPACE(VU_MAX_FDS * sizeof(int))];
    } control;
    struct iovec iov = { .iov_base = (void *) bytes, .iov_len = n };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fe->fd < 0) {
        return fail(fe, ENOTCONN, "not connected");
    }
    if (n_fds) {
        msg.msg_control = control.buf;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof *fds);
        memset(control.buf, 0, msg.msg_controllen);

        struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof *fds);
        memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof *fds);
    }

    int64_t deadline = now_ms() + fe->timeout_ms;
    while (iov.iov_len) {
        ssize_t sent = sendmsg(fe->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent >= 0) {
            iov.iov_base = (char *) iov.iov_base + sent;
            iov.iov_len -= sent;
            msg.msg_control = NULL;
            msg.msg_controllen = 0;
        } else if (errno == EAGAIN) {
            if (wait_for(fe->fd, POLLOUT, deadline)) {
                return fail(fe, ETIMEDOUT, "back end does not read");
            }
        } else if (errno != EINTR) {
            return fail(fe, EPIPE, "back end closed the connection (%s)",
                        strerror(errno));
        }
    }
    return 0;
}

static int
read_all(struct vhost_front_end *fe, void *buf, size_t n, int64_t deadline)
{
    size_t done = 0;

    while (done < n) {
        if (wait_for(fe->fd, POLLIN, deadline)) {
            return fail(fe, ETIMEDOUT, "back end silent for %u ms",
                        fe->timeout_ms);
        }

        ssize_t got = recv(fe->fd, (char *) buf + done, n - done, 0);
        if (got > 0) {
            done += got;
        } else if (!got || errno != EINTR) {
            return fail(fe, EPIPE, "back end closed the connection");
        }
    }
    return 0;
}

/* Reads one message into 'payload', which has room for MAX_REPLY bytes. */
static int
read_message(struct vhost_front_end *fe, struct vu_header *header,
             void *payload, int64_t deadline)
{
    int error = read_all(fe, header, sizeof *header, deadline);

    if (error) {
        return error;
    } else if (header->size > MAX_REPLY) {
        return fail(fe, EPROTO, "reply to request %u has %u bytes",
                    header->request, header->size);
    }
    return read_all(fe, payload, header->size, deadline);
}

static int
send_message(struct vhost_front_end *fe, uint32_t request, uint32_t flags,
             const void *payload, size_t size, const int *fds,
             unsigned int n_fds)
{
    struct vu_header header = {
        .request = request,
        .flags = VU_VERSION | flags,
        .size = size,
    };
    char buf[sizeof header + sizeof(struct vu_mem_table)];

    if (size > sizeof buf - sizeof header) {
        return fail(fe, EMSGSIZE, "request %u has %zu bytes", request, size);
    }
    memcpy(buf, &header, sizeof header);
    if (size) {
        memcpy(buf + sizeof header, payload, size);
    }
    return front_end_raw(fe, buf, sizeof header + size, fds, n_fds);
}

int
front_end_query(struct vhost_front_end *fe, uint32_t request,
                const void *payload, size_t size, const int *fds,
                unsigned int n_fds, void *reply, size_t reply_size)
{
    int64_t deadline = now_ms() + fe->timeout_ms;
    char buf[MAX_REPLY];
    struct vu_header header;
    int error = send_message(fe, request, 0, payload, size, fds, n_fds);

    if (!error) {
        error = read_message(fe, &header, buf, deadline);
    }
    if (error) {
        return error;
    } else if (header.request != request || !(header.flags & VU_REPLY)
               || header.size != reply_size) {
        return fail(fe, EPROTO, "request %u answered by request %u, flags "
                    "%#x, %u bytes instead of %zu", request, header.request,
                    header.flags, header.size, reply_size);
    }
    memcpy(reply, buf, reply_size);
    return 0;
}

int
front_end_request(struct vhost_front_end *fe, uint32_t request,
                  const void *payload, size_t size, const int *fds,
                  unsigned int n_fds)
{
    int64_t deadline = now_ms() + fe->timeout_ms;
    char buf[MAX_REPLY];
    struct vu_header header;
    uint64_t refused;
    int error = send_message(fe, request, fe->reply_ack ? VU_NEED_REPLY : 0,
                             payload, size, fds, n_fds);

    if (error || !fe->reply_ack) {
        return error;
    }
    error = read_message(fe, &header, buf, deadline);
    if (error) {
        return error;
    } else if (header.request != request || header.size != sizeof refused) {
        return fail(fe, EPROTO, "request %u acknowledged by request %u with "
                    "%u bytes", request, header.request, header.size);
    }
    memcpy(&refused, buf, sizeof refused);
    return refused ? fail(fe, EPROTO, "back end refused request %u", request)
                   : 0;
}

int
front_end_set_u64(struct vhost_front_end *fe, uint32_t request, uint64_t value)
{
    return front_end_request(fe, request, &value, sizeof value, NULL, 0);
}

int
front_end_get_u64(struct vhost_front_end *fe, uint32_t request,
                  uint64_t *value)
{
    return front_end_query(fe, request, NULL, 0, NULL, 0, value,
                           sizeof *value);
}

int
front_end_set_vring(struct vhost_front_end *fe, uint32_t request,
                    uint32_t index, uint32_t num)
{
    struct vu_vring_state state = { .index = index, .num = num };

    return front_end_request(fe, request, &state, sizeof state, NULL, 0);
}

int
front_end_set_vring_fd(struct vhost_front_end *fe, uint32_t request,
                       uint32_t index, int fd)
{
    uint64_t value = index | (fd < 0 ? VU_VRING_NO_FD : 0);

    return front_end_request(fe, request, &value, sizeof value, &fd, fd >= 0);
}

/* The back end reads in order, so an answer to a harmless question shows that
 * it has survived everything sent before. */
int
front_end_probe(struct vhost_front_end *fe)
{
    int64_t deadline = now_ms() + fe->timeout_ms;
    char buf[MAX_REPLY];
    struct vu_header header;
    int error = send_message(fe, VU_GET_FEATURES, 0, NULL, 0, NULL, 0);

    while (!error) {
        error = read_message(fe, &header, buf, deadline);
        if (!error && header.request == VU_GET_FEATURES) {
            break;
        }
    }
    return error;
}
