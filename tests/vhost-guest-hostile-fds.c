/* SPDX-License-Identifier: Apache-2.0 */

/* Hostile messages: descriptors that have no place in them. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int
send_fds(struct session *s)
{
    struct vu_vring_state state = { .num = s->g.cfg.ring_size };
    int fds[4];

    for (int i = 0; i < 4; i++) {
        fds[i] = s->g.mem.zones[0].fd;
    }
    return front_end_request(&s->g.fe, VU_SET_VRING_NUM, &state, sizeof state,
                             fds, 4);
}

/* A ring that the back end refuses before it looks at anything else. */
static int
send_index_fds(struct session *s)
{
    struct vu_vring_state state = { .index = UINT32_MAX, .num = 256 };
    int fds[8];

    for (int i = 0; i < 8; i++) {
        fds[i] = s->g.mem.zones[0].fd;
    }
    return front_end_request(&s->g.fe, VU_SET_VRING_NUM, &state, sizeof state,
                             fds, 8);
}

static int
send_call_fds(struct session *s)
{
    int fds[3] = { s->g.wake_fd, s->g.wake_fd, s->g.wake_fd };
    uint64_t index = 0;

    return front_end_request(&s->g.fe, VU_SET_VRING_CALL, &index, sizeof index,
                             fds, 3);
}

/* Doorbells that none may be. */
static int
send_call_memory(struct session *s)
{
    return front_end_set_vring_fd(&s->g.fe, VU_SET_VRING_CALL, 0,
                                  s->g.mem.zones[0].fd);
}

static int
send_call_pipe(struct session *s)
{
    int fds[2], error;

    if (pipe(fds)) {
        return errno;
    }
    error = front_end_set_vring_fd(&s->g.fe, VU_SET_VRING_CALL, 0, fds[1]);
    close(fds[0]);
    close(fds[1]);
    return error;
}

/* Whoever keeps its own end of a connection never sees it end. */
static int
send_own_socket(struct session *s)
{
    int error = front_end_set_vring_fd(&s->g.fe, VU_SET_VRING_KICK, 0,
                                       s->g.fe.fd);

    return error ? error
           : front_end_set_vring_fd(&s->g.fe, VU_SET_VRING_CALL, 0,
                                    s->g.fe.fd);
}

static int
send_set_inflight(struct session *s)
{
    struct vu_inflight inflight = {
        .mmap_size = 4096, .num_queues = 32, .queue_size = 65535,
    };

    return front_end_request(&s->g.fe, VU_SET_INFLIGHT_FD, &inflight,
                             sizeof inflight, &s->g.mem.zones[0].fd, 1);
}

static int
send_inflight_fds(struct session *s)
{
    struct vu_inflight inflight = { .mmap_size = 4096 };
    int fds[8];

    for (int i = 0; i < 8; i++) {
        fds[i] = s->g.mem.zones[0].fd;
    }
    return front_end_request(&s->g.fe, VU_SET_INFLIGHT_FD, &inflight,
                             sizeof inflight, fds, 8);
}

/* Returns a TCP socket with unsent data whose last owner has to wait for
 * 'seconds' when it closes it, or -1. */
static int
lingering_socket(int seconds)
{
    struct sockaddr_in sin = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    struct linger linger = { .l_onoff = 1, .l_linger = seconds };
    socklen_t len = sizeof sin;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    char page[4096] = "";

    if (bind(listener, (struct sockaddr *) &sin, len) || listen(listener, 1)
        || getsockname(listener, (struct sockaddr *) &sin, &len)
        || (connect(fd, (struct sockaddr *) &sin, len)
            && errno != EINPROGRESS)
        || setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger)
        || accept(listener, NULL, NULL) < 0) {
        return -1;
    }
    while (send(fd, page, sizeof page, 0) > 0) {
        continue;
    }
    return fd;
}

/* A message about a ring's descriptor, as it is sent. */
struct ring_fd_message {
    struct vu_header header;
    uint64_t index;
} __attribute__((packed));

static struct ring_fd_message
ring_fd_message(uint32_t request)
{
    return (struct ring_fd_message) {
        .header = {
            .request = request, .flags = VU_VERSION, .size = sizeof(uint64_t),
        },
    };
}

static void *
close_fd(void *fd)
{
    close((intptr_t) fd);
    return NULL;
}

/* Closes 'fd', which may take long if the other side was faster. */
static void
drop(int fd)
{
    pthread_t thread;

    if (!pthread_create(&thread, NULL, close_fd, (void *) (intptr_t) fd)) {
        pthread_detach(thread);
    }
}

/* Descriptors that nobody should have to close.  This side closes them first,
 * if it can, and does not wait for an answer before. */

static int
send_err_linger(struct session *s)
{
    struct ring_fd_message msg = ring_fd_message(VU_SET_VRING_ERR);
    int fd = lingering_socket(20);
    int error = front_end_raw(&s->g.fe, &msg, sizeof msg, &fd, 1);

    drop(fd);
    return error;
}

static int
send_many_linger(struct session *s)
{
    struct ring_fd_message msg = ring_fd_message(VU_SET_VRING_ERR);
    int fds[12], error;

    for (int i = 0; i < 12; i++) {
        fds[i] = i < 11 ? s->g.mem.zones[0].fd : lingering_socket(8);
    }
    error = front_end_raw(&s->g.fe, &msg, sizeof msg, fds, 12);
    drop(fds[11]);
    return error;
}

static int
send_payload_linger(struct session *s)
{
    struct ring_fd_message msg = ring_fd_message(VU_SET_VRING_ENABLE);
    int fd = lingering_socket(8);
    int error = front_end_raw(&s->g.fe, &msg, sizeof msg.header, NULL, 0);

    if (!error) {
        error = front_end_raw(&s->g.fe, &msg.index, sizeof msg.index, &fd, 1);
    }
    drop(fd);
    return error;
}

/* The connection ends before the descriptor is received. */
static int
send_unread_linger(struct session *s)
{
    struct ring_fd_message msg = ring_fd_message(VU_SET_FEATURES);
    int fd = lingering_socket(8);
    int error;

    msg.header.size = UINT32_MAX;
    error = front_end_raw(&s->g.fe, &msg, sizeof msg, NULL, 0);
    if (!error) {
        error = front_end_raw(&s->g.fe, &msg, sizeof msg, &fd, 1);
    }
    drop(fd);
    return error;
}

/* The descriptor waits in the queue of a doorbell. */
static int
send_call_linger(struct session *s)
{
    struct ring_fd_message msg = ring_fd_message(VU_SET_VRING_CALL);
    struct vhost_front_end other = s->g.fe;
    int fd = lingering_socket(8), pair[2], error;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
        return errno;
    }
    other.fd = pair[0];
    error = front_end_raw(&other, "", 1, &fd, 1);
    if (!error) {
        error = front_end_raw(&s->g.fe, &msg, sizeof msg, &pair[1], 1);
    }
    drop(fd);
    close(pair[0]);
    close(pair[1]);
    return error;
}

/* A part of a header, with descriptors. */
static int
send_stub_linger(struct session *s)
{
    int fd = lingering_socket(8);
    int error = front_end_raw(&s->g.fe, "", 1, &fd, 1);

    drop(fd);
    return error;
}

const struct hostile_message hostile_fd_messages[] = {
    { "fds", "SET_VRING_NUM with 4 descriptors", send_fds },
    { "call-fds", "SET_VRING_CALL with 3 descriptors", send_call_fds },
    { "call-memory", "a doorbell that is a file", send_call_memory },
    { "call-pipe", "a doorbell that is a pipe", send_call_pipe },
    { "own-socket", "its own end of the connection, twice", send_own_socket },
    { "inflight-fds", "SET_INFLIGHT_FD of no queue, with 8 descriptors",
      send_inflight_fds },
    { "inflight-set", "SET_INFLIGHT_FD that is too small",
      send_set_inflight },
    { "index-fds", "a ring that does not exist, with 8 descriptors",
      send_index_fds },
    { "err-linger", "a socket that takes 20 s to be closed",
      send_err_linger },
    { "many-linger", "12 descriptors, one of which takes 8 s to be closed",
      send_many_linger },
    { "payload-linger", "one that comes with the payload",
      send_payload_linger },
    { "unread-linger", "one that is left in the connection's queue",
      send_unread_linger },
    { "call-linger", "one in the queue of a doorbell", send_call_linger },
    { "stub-linger", "one with one byte of header", send_stub_linger },
    { 0 },
};
