/* SPDX-License-Identifier: Apache-2.0 */

/* What wakes workers: signals, which they listen to or have masked. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-private.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "vpci/doorbell.h"

/* Events with this number are no signals. */
#define WAKE UINT64_MAX

#define US_PER_MS 1000

/* A signal that wakes a worker. */
struct net_watch {
    struct vpci_signal *signal; /* Null: this place is free. */
    struct vpci_storm storm;
    bool masked;
};

int
net_worker_init(struct vpci_net *net, struct net_worker *w)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    vpci_gate_init(&w->gate);
    event.data.u64 = WAKE;
    w->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (w->epoll_fd < 0
        || epoll_ctl(w->epoll_fd, EPOLL_CTL_ADD, net->wake_fd, &event)) {
        return errno;
    }
    return 0;
}

void
net_worker_uninit(struct net_worker *w)
{
    if (w->epoll_fd >= 0) {
        close(w->epoll_fd);
        w->epoll_fd = -1;
    }
    free(w->watches);
    w->watches = NULL;
    w->n_watches = w->n_masked = 0;
}

/* Returns the place of 'signal', or n_watches if it has none. */
static uint32_t
find_watch(const struct net_worker *w, const struct vpci_signal *signal)
{
    uint32_t i;

    for (i = 0; i < w->n_watches && w->watches[i].signal != signal; i++) {
        continue;
    }
    return i;
}

/* Returns a free place, or n_watches if there is no memory for one. */
static uint32_t
free_watch(struct net_worker *w)
{
    uint32_t i = find_watch(w, NULL);

    if (i == w->n_watches) {
        struct net_watch *p = realloc(w->watches, (i + 1) * sizeof *p);

        if (p) {
            w->watches = p;
            w->n_watches++;
        }
    }
    return i;
}

/* Listens to the signal at place 'i', or no longer. */
static void
listen_to(const struct net_worker *w, struct vpci_signal *signal, uint32_t i,
          bool on)
{
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    event.data.u64 = i;
    epoll_ctl(w->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
              vpci_signal_fd(signal), &event);
}

/* There is nothing to listen to: the worker looks by itself. */
static void
mask_for_ever(struct net_worker *w, uint32_t i)
{
    w->watches[i].masked = true;
    w->watches[i].storm.until = INT64_MAX;
    w->n_masked++;
}

void
net_worker_watch_signal(struct net_worker *w, struct vpci_signal *signal,
                        bool on)
{
    uint32_t i = find_watch(w, signal);

    /* Rings may share one: then it is there, or not, already.  One without a
     * place cannot be masked. */
    if (on && i == w->n_watches) {
        i = free_watch(w);
        if (i < w->n_watches) {
            w->watches[i] = (struct net_watch) { .signal = signal };
        }
        if (i < w->n_watches && signal->device->polls) {
            mask_for_ever(w, i);
        } else {
            listen_to(w, signal, i, true);
        }
    } else if (!on) {
        listen_to(w, signal, i, false);
        if (i < w->n_watches) {
            w->n_masked -= w->watches[i].masked;
            w->watches[i] = (struct net_watch) { .signal = NULL };
        }
    }
}

void
net_worker_watch_ring(struct net_worker *w, const struct net_region *region,
                      uint32_t index, bool on)
{
    net_worker_watch_signal(w, net_region_signal(region, index), on);
}

void
net_worker_watch(struct net_worker *w, const struct net_region *region,
                 uint32_t queue, bool on)
{
    for (uint32_t i = 0; i < region->layout.shape.n_classes; i++) {
        net_worker_watch_ring(w, region,
                              vpci_layout_ring_index(&region->layout, queue,
                                                     i), on);
    }
}

/* Waits for events, for at most 'left' us, not negative.  Returns how many
 * there are, or -1. */
static int
wait_for_short(const struct net_worker *w, struct epoll_event events[],
               int64_t left, const sigset_t *signals)
{
    struct pollfd pfd = { .fd = w->epoll_fd, .events = POLLIN };
    struct timespec ts = { .tv_nsec = left * 1000 };

    return (ppoll(&pfd, 1, &ts, signals) < 0 ? -1
            : epoll_wait(w->epoll_fd, events, NET_MAX_EVENTS, 0));
}

/* The same for the whole milliseconds of 'left', or for ever if that is
 * negative.  This takes one system call: whoever is woken has its events
 * then. */
static int
wait_for_long(const struct net_worker *w, struct epoll_event events[],
              int64_t left, const sigset_t *signals)
{
    int64_t ms = left < 0 ? -1 : left / US_PER_MS;

    return epoll_pwait(w->epoll_fd, events, NET_MAX_EVENTS,
                       ms < INT_MAX ? ms : INT_MAX, signals);
}

bool
net_sleep_until(struct net_worker *w, int64_t deadline)
{
    struct epoll_event events[NET_MAX_EVENTS];
    int64_t left = deadline - net_now_us();
    sigset_t signals;
    int n;

    w->n_events = 0;
    pthread_sigmask(SIG_BLOCK, NULL, &signals);
    sigaddset(&signals, VPCI_DOORBELL_SIGNAL);
    n = (deadline < 0 ? wait_for_long(w, events, -1, &signals)
         : left >= US_PER_MS ? wait_for_long(w, events, left, &signals)
         : wait_for_short(w, events, left > 0 ? left : 0, &signals));
    if (n < 0) {
        return errno != EINTR;
    }
    for (int i = 0; i < n; i++) {
        if (events[i].data.u64 != WAKE) {
            w->events[w->n_events++] = events[i].data.u64;
        }
    }
    net_count(&w->stats.received, w->n_events);
    return true;
}

/* One more signal is masked. */
static void
mask(struct net_worker *w, uint32_t i)
{
    struct net_watch *watch = &w->watches[i];

    listen_to(w, watch->signal, i, false);
    watch->masked = true;
    w->n_masked++;
    net_count(&w->stats.masked, 1);
    signal_count(watch->signal, 0, 0, 1);
}

/* The signal at place 'i' has ended a sleep. */
static void
note_event(struct net_worker *w, uint32_t i, bool useful, int64_t now)
{
    struct net_watch *watch = &w->watches[i];

    signal_count(watch->signal, 1, !useful, 0);
    if (vpci_storm_note(&watch->storm, now, useful)) {
        mask(w, i);
    }
}

void
net_note_events(struct net_worker *w, bool useful)
{
    int64_t now = w->n_events ? net_now_us() : 0;

    for (uint32_t i = 0; i < w->n_events; i++) {
        uint32_t place = w->events[i];

        /* It may have gone, or be another one, since then. */
        if (place < w->n_watches && w->watches[place].signal
            && !w->watches[place].masked) {
            note_event(w, place, useful, now);
        }
        net_count(&w->stats.spurious, !useful);
    }
    w->n_events = 0;
}

int64_t
net_poll_masked(struct net_worker *w)
{
    int64_t now;

    if (NET_LIKELY(!w->n_masked)) {
        return -1;
    }
    now = net_now_us();
    for (uint32_t i = 0; i < w->n_watches; i++) {
        struct net_watch *watch = &w->watches[i];

        /* If it has come meanwhile, that is an event, too. */
        if (watch->masked && now >= watch->storm.until) {
            watch->masked = false;
            w->n_masked--;
            listen_to(w, watch->signal, i, true);
        }
    }
    return w->n_masked ? now + VPCI_STORM_POLL_US : -1;
}
