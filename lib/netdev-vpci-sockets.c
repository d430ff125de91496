/* SPDX-License-Identifier: Apache-2.0 */

/* Sockets of front ends.
 *
 * librte_vhost 22.11 keeps to itself on which socket a message came, which
 * descriptors came with it and how long the rest of it took, does not close
 * descriptors in every case in which it should, and waits for front ends
 * without a bound.  So recvmsg(), read() and close() are ours in this program:
 * for the sockets of front ends they see to all that before the library does.
 * For all others they are what they always were. */

#include "netdev-vpci-message.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "timeval.h"

/* The library's names for the thread that serves all sockets, and the one that
 * connects them again. */
#define EVENTS_THREAD "vhost-events"
#define RECONNECT_THREAD "vhost_reconn"

/* Milliseconds for which the library's thread waits for the rest of a message,
 * or for room for an answer. */
#define MESSAGE_TIMEOUT 100

/* Descriptors that can come at once (Linux: SCM_MAX_FD). */
#define MAX_FDS 253

/* The message that was received last on this thread. */
static __thread struct vpci_received received;

/* This thread has called the library to start or end a socket. */
static __thread bool in_library;

/* Descriptor N is the socket of a front end.  Only with atomics. */
static bool front_ends[65536];

/* Receives into 'iov' from front end 'fd', with all descriptors that come.
 * Returns as recvmsg() does, and stores descriptors in 'fds', their number in
 * '*n'. */
static ssize_t
receive(int fd, struct iovec *iov, size_t iov_len, int flags,
        int fds[MAX_FDS], size_t *n)
{
    static ssize_t (*libc_recvmsg)(int, struct msghdr *, int);
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))]
        __attribute__((aligned(sizeof(struct cmsghdr))));
    struct msghdr msg = {
        .msg_iov = iov,
        .msg_iovlen = iov_len,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };
    struct cmsghdr *cmsg;
    ssize_t retval;

    if (!libc_recvmsg) {
        *(void **) &libc_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    }
    *n = 0;
    retval = libc_recvmsg(fd, &msg, flags | MSG_CMSG_CLOEXEC);
    if (retval < 0) {
        return retval;
    }
    for (cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            *n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(cmsg), *n * sizeof(int));
        }
    }
    return retval;
}

/* Gives the caller of recvmsg() the descriptors that are left. */
static void
hand_over(struct msghdr *msg)
{
    size_t len = received.n * sizeof(int);
    struct cmsghdr *cmsg;

    if (!received.n || msg->msg_controllen < CMSG_SPACE(len)) {
        msg->msg_controllen = 0;
        return;
    }
    msg->msg_controllen = CMSG_SPACE(len);
    cmsg = CMSG_FIRSTHDR(msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(cmsg), received.fds, len);
}

/* Remembers that 'fd' is the socket of a front end, and bounds how long the
 * library waits there. */
static void
know_front_end(int fd)
{
    const struct timeval timeout = { .tv_usec = MESSAGE_TIMEOUT * 1000 };

    if (fd < (int) ARRAY_SIZE(front_ends)) {
        if (__atomic_exchange_n(&front_ends[fd], true, __ATOMIC_RELAXED)) {
            return;
        }
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

static void
forget_front_end(int fd)
{
    if (fd >= 0 && fd < (int) ARRAY_SIZE(front_ends)) {
        __atomic_store_n(&front_ends[fd], false, __ATOMIC_RELAXED);
    }
}

static bool
is_front_end(int fd)
{
    return (fd >= 0 && fd < (int) ARRAY_SIZE(front_ends)
            && __atomic_load_n(&front_ends[fd], __ATOMIC_RELAXED));
}

/* Receives the header of a message, for the library. */
static ssize_t
receive_header(int fd, struct msghdr *msg, int flags)
{
    struct {
        uint32_t request, flags, size;
    } header = { .request = 0 };
    int fds[MAX_FDS];
    ssize_t retval;
    size_t n;

    know_front_end(fd);
    memset(&received, 0, sizeof received);
    received.fd = fd;
    retval = receive(fd, msg->msg_iov, msg->msg_iovlen, flags, fds, &n);
    if (retval < 0) {
        return retval;
    }
    if (retval == sizeof header && msg->msg_iov[0].iov_len == sizeof header) {
        memcpy(&header, msg->msg_iov[0].iov_base, sizeof header);
    }
    vpci_fds_sort_out(&received, header.request, fds, n);
    received.is_pending = header.request && !header.size;
    hand_over(msg);
    msg->msg_flags = 0;
    return retval;
}

/* Receives the rest of a message, for the library. */
static ssize_t
receive_payload(int fd, void *buf, size_t size)
{
    struct iovec iov = { .iov_base = buf, .iov_len = size };
    long long int began = time_msec();
    int fds[MAX_FDS];
    ssize_t retval;
    size_t n;

    retval = receive(fd, &iov, 1, 0, fds, &n);
    if (retval < 0) {
        int error = errno;

        received.late_ms = MIN(time_msec() - began, MESSAGE_TIMEOUT);
        errno = error;
        return retval;
    }
    vpci_fds_sort_out(&received, VHOST_USER_NONE, fds, n);
    received.late_ms = MIN(time_msec() - began, MESSAGE_TIMEOUT);
    received.is_pending = retval == (ssize_t) size;
    return retval;
}

/* True on the library's threads, once they have got their names. */
static bool
is_library_thread(void)
{
    static __thread bool known;
    char name[16];

    if (!known && !pthread_getname_np(pthread_self(), name, sizeof name)) {
        known = (!strcmp(name, EVENTS_THREAD)
                 || !strcmp(name, RECONNECT_THREAD));
    }
    return known;
}

ssize_t
recvmsg(int fd, struct msghdr *msg, int flags)
{
    static ssize_t (*libc_recvmsg)(int, struct msghdr *, int);

    if (msg->msg_iovlen && msg->msg_control && is_library_thread()) {
        return receive_header(fd, msg, flags);
    }
    if (!libc_recvmsg) {
        *(void **) &libc_recvmsg = dlsym(RTLD_NEXT, "recvmsg");
    }
    return libc_recvmsg(fd, msg, flags);
}

ssize_t
read(int fd, void *buf, size_t size)
{
    static ssize_t (*libc_read)(int, void *, size_t);

    if (is_front_end(fd) && is_library_thread()) {
        return receive_payload(fd, buf, size);
    }
    if (!libc_read) {
        *(void **) &libc_read = dlsym(RTLD_NEXT, "read");
    }
    return libc_read(fd, buf, size);
}

/* True if 'fd' is a stream UNIX socket that has a name at either end: as a
 * front end's has, and one that listens, but no doorbell. */
static bool
is_named_socket(int fd)
{
    struct sockaddr_un sun;
    socklen_t own = sizeof sun, peer = sizeof sun;
    socklen_t len = sizeof(int);
    int type;

    return (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len)
            && type == SOCK_STREAM
            && ((!getsockname(fd, (struct sockaddr *) &sun, &own)
                 && sun.sun_family == AF_UNIX
                 && own > offsetof(struct sockaddr_un, sun_path))
                || (!getpeername(fd, (struct sockaddr *) &sun, &peer)
                    && sun.sun_family == AF_UNIX
                    && peer > offsetof(struct sockaddr_un, sun_path))));
}

/* True if descriptors may wait in the queue of socket 'fd', or in one of a
 * connection that it has not accepted. */
static bool
may_have_descriptors(int fd)
{
    socklen_t len = sizeof(int);
    int listens, unread;

    return ((!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len)
             && listens)
            || (!ioctl(fd, FIONREAD, &unread) && unread));
}

void
vpci_library_enter(void)
{
    in_library = true;
}

void
vpci_library_leave(void)
{
    in_library = false;
}

int
close(int fd)
{
    static int (*libc_close)(int);

    if (is_front_end(fd)
        || ((in_library || is_library_thread()) && is_named_socket(fd))) {
        forget_front_end(fd);
        shutdown(fd, SHUT_RDWR);
        if (may_have_descriptors(fd)) {
            if (!vpci_close_later(fd)) {
                received.is_abuse = true;
            }
            return 0;
        }
    }
    if (!libc_close) {
        *(void **) &libc_close = dlsym(RTLD_NEXT, "close");
    }
    return libc_close(fd);
}

struct vpci_received *
vpci_received(void)
{
    return &received;
}

void
vpci_received_close(void)
{
    for (int i = 0; i < received.n; i++) {
        close(received.fds[i]);
    }
    received.n = 0;
}

bool
vpci_received_can_be_mapped(int i, uint64_t size)
{
    void *p;

    /* That there are too few is an error that the library knows. */
    if (i >= received.n) {
        return true;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
             received.fds[i], 0);
    return p != MAP_FAILED && !munmap(p, size);
}
