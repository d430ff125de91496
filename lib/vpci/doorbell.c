/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vpci/doorbell.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A thread that rings doorbells. */
struct ringer {
    struct ringer *next;        /* In 'ringers'. */
    pthread_t thread;
    uint32_t turn;              /* Odd while it rings.  Its own thread writes
                                 * it, the watchman reads it. */
    uint32_t interrupted;       /* The turn that the watchman interrupted. */
};

/* Threads that have ever rung and not ended.  The watchman holds the mutex
 * while it interrupts one, so that none ends meanwhile. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct ringer *ringers;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t ringer_key;
static __thread struct ringer *self;

static void
ignore_signal(int signum)
{
    (void) signum;
}

static void
watch(struct ringer *r)
{
    uint32_t turn = __atomic_load_n(&r->turn, __ATOMIC_RELAXED);

    if (turn & 1) {
        __atomic_store_n(&r->interrupted, turn, __ATOMIC_RELAXED);
        pthread_kill(r->thread, VPCI_DOORBELL_SIGNAL);
    }
}

static void *
watchman_main(void *arg)
{
    (void) arg;
    for (;;) {
        usleep(VPCI_DOORBELL_WATCH_MS * 1000);
        pthread_mutex_lock(&mutex);
        for (struct ringer *r = ringers; r; r = r->next) {
            watch(r);
        }
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void
ringer_destroy(void *r_)
{
    struct ringer *r = r_, **p;

    pthread_mutex_lock(&mutex);
    for (p = &ringers; *p != r; p = &(*p)->next) {
        continue;
    }
    *p = r->next;
    pthread_mutex_unlock(&mutex);
    free(r);
}

static void
start_watchman(void)
{
    struct sigaction sa;
    sigset_t all, old;
    pthread_t thread;

    /* No SA_RESTART: that is what it is about. */
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = ignore_signal;
    sigaction(VPCI_DOORBELL_SIGNAL, &sa, NULL);
    if (pthread_key_create(&ringer_key, ringer_destroy)) {
        abort();
    }

    /* The program's signals are for its other threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&thread, NULL, watchman_main, NULL)) {
        abort();
    }
    pthread_detach(thread);
    pthread_setname_np(thread, "vpci-doorbell");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Returns what the watchman knows about this thread. */
static struct ringer *
register_self(void)
{
    struct ringer *r;
    sigset_t signals;

    pthread_once(&once, start_watchman);
    r = calloc(1, sizeof *r);
    if (!r) {
        abort();
    }
    r->thread = pthread_self();
    sigemptyset(&signals);
    sigaddset(&signals, VPCI_DOORBELL_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);

    pthread_mutex_lock(&mutex);
    r->next = ringers;
    ringers = r;
    pthread_mutex_unlock(&mutex);
    pthread_setspecific(ringer_key, r);
    self = r;
    return r;
}

int
vpci_doorbell_ring(int fd)
{
    struct ringer *r = self ? self : register_self();
    const uint64_t one = 1;
    uint32_t turn = r->turn + 1;
    int error;

    /* Other signals interrupt it, too. */
    __atomic_store_n(&r->turn, turn, __ATOMIC_RELAXED);
    do {
        error = write(fd, &one, sizeof one) < 0 ? errno : 0;
    } while (error == EINTR
             && __atomic_load_n(&r->interrupted, __ATOMIC_RELAXED) != turn);
    __atomic_store_n(&r->turn, turn + 1, __ATOMIC_RELAXED);

    /* EAGAIN: full of what has not been listened to. */
    return error == EINTR ? ETIMEDOUT : error == EAGAIN ? 0 : error;
}

bool
vpci_doorbell_is_eventfd(int fd)
{
    char path[64], target[64];
    ssize_t len;

    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    len = readlink(path, target, sizeof target - 1);
    if (len < 0) {
        return false;
    }
    target[len] = '\0';
    return !strcmp(target, "anon_inode:[eventfd]");
}

/* True if 'fd' is one of a connected pair of stream UNIX sockets of which
 * neither has a name. */
static bool
is_socket_pair(int fd)
{
    struct sockaddr_un sun;
    socklen_t len = sizeof(int), own = sizeof sun, peer = sizeof sun;
    int type = 0;

    return (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len)
            && type == SOCK_STREAM
            && !getsockname(fd, (struct sockaddr *) &sun, &own)
            && sun.sun_family == AF_UNIX
            && own == offsetof(struct sockaddr_un, sun_path)
            && !getpeername(fd, (struct sockaddr *) &sun, &peer)
            && peer == offsetof(struct sockaddr_un, sun_path));
}

int
vpci_doorbell_prepare(int fd)
{
    int flags = fcntl(fd, F_GETFL), unread = 0;

    if (flags < 0) {
        return errno;
    }
    if (!vpci_doorbell_is_eventfd(fd)
        && (!is_socket_pair(fd) || shutdown(fd, SHUT_RD)
            || ioctl(fd, FIONREAD, &unread) || unread)) {
        return ENOTSUP;
    }
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) ? errno : 0;
}
