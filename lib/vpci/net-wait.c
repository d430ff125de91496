/* SPDX-License-Identifier: Apache-2.0 */

/* Workers that wait.
 *
 * They sleep outside of their gates, so that rings may be made anew meanwhile:
 * whoever has done that writes to 'wake_fd' afterwards.  Events are
 * edge-triggered and nobody clears what they come from, so that one that comes
 * at any moment after the last sleep ends the next one, in each worker. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-private.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "backoff.h"
#include "vpci/doorbell.h"

#define MAX_EVENTS 16

/* Events of this kind are no signals. */
#define WAKE UINT64_MAX

int64_t
net_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

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
}

void
net_worker_watch_ring(struct net_worker *w, const struct net_region *region,
                      uint32_t index, bool on)
{
    struct vpci_signal *signal = net_region_signal(region, index);
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    /* Rings may share one: then it is there, or not, already. */
    event.data.u64 = index;
    epoll_ctl(w->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
              vpci_signal_fd(signal), &event);
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

static bool
was_woken(struct vpci_net *net, struct net_worker *w)
{
    uint32_t n = __atomic_load_n(&net->n_wakes, __ATOMIC_ACQUIRE);

    if (n == w->n_wakes) {
        return false;
    }
    w->n_wakes = n;
    return true;
}

bool
net_sleep_until(struct net_worker *w, int64_t deadline)
{
    struct pollfd pfd = { .fd = w->epoll_fd, .events = POLLIN };
    struct epoll_event events[MAX_EVENTS];
    int64_t left = deadline < 0 ? 0 : deadline - net_now_us();
    struct timespec ts = {
        .tv_sec = left > 0 ? left / 1000000 : 0,
        .tv_nsec = left > 0 ? left % 1000000 * 1000 : 0,
    };
    sigset_t mask;
    int n;

    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    sigaddset(&mask, VPCI_DOORBELL_SIGNAL);
    if (ppoll(&pfd, 1, deadline < 0 ? NULL : &ts, &mask) < 0) {
        return errno != EINTR;
    }
    n = epoll_wait(w->epoll_fd, events, MAX_EVENTS, 0);
    for (int i = 0; i < n; i++) {
        net_count(&w->stats.received, events[i].data.u64 != WAKE);
    }
    return true;
}

void
net_see_rings(struct vpci_net *net, struct net_worker *w, uint32_t queue,
              const struct net_waiting *waiting)
{
    w->generation = net->generation;
    w->stuck = false;
    if (w->polling) {
        waiting->awake(net, queue, true);
    }
}

/* Looks whether there is something to do, and asks to be woken if not and
 * if it may sleep.  Stores that in '*asked'. */
static bool
look(struct vpci_net *net, struct net_worker *w, uint32_t queue,
     const struct net_waiting *waiting, bool may_sleep, bool *asked)
{
    bool ready;

    *asked = false;
    if (!net_enter(net, w)) {
        return false;
    }
    if (w->generation != net->generation) {
        net_see_rings(net, w, queue, waiting);
    }
    ready = waiting->is_ready(net, w, queue);
    if (!ready && may_sleep) {
        ready = !waiting->ask(net, w, queue);
        *asked = true;
        if (ready) {
            waiting->awake(net, queue, false);
        }
    }
    net_leave(w);
    return ready;
}

/* Takes back that it wants to be woken. */
static void
stay_awake(struct vpci_net *net, struct net_worker *w, uint32_t queue,
           const struct net_waiting *waiting)
{
    if (net_enter(net, w)) {
        waiting->awake(net, queue, false);
        net_leave(w);
    }
}

bool
net_wait(struct vpci_net *net, struct net_worker *w, uint32_t queue,
         const struct net_waiting *waiting, int64_t timeout_us)
{
    int64_t deadline = timeout_us < 0 ? -1 : net_now_us() + timeout_us;
    struct vpci_backoff spin = VPCI_BACKOFF_INIT;
    bool interrupted = false, last = false;

    for (;;) {
        bool looks = w->polling || net_now_us() < w->look_until;
        bool asked;

        if (look(net, w, queue, waiting, !looks && !last, &asked)) {
            return true;
        }
        if (last || interrupted || was_woken(net, w)) {
            return false;
        }
        if (looks) {
            spin.n_spins = 0;
            vpci_backoff(&spin);
        } else {
            interrupted = !net_sleep_until(w, deadline);
            if (asked) {
                stay_awake(net, w, queue, waiting);
            }
        }
        last = interrupted || (deadline >= 0 && net_now_us() >= deadline);
    }
}

void
net_set_polling(struct vpci_net *net, struct net_worker *w, uint32_t queue,
                const struct net_waiting *waiting, bool polling)
{
    if (w->polling == polling) {
        return;
    }
    w->polling = polling;
    if (!polling) {
        /* The switch may still believe that it need not look. */
        w->look_until = net_now_us() + VPCI_ABI_GRACE_US;
    }
    if (net_enter(net, w)) {
        net_see_rings(net, w, queue, waiting);
        waiting->awake(net, queue, polling);
        net_leave(w);
    }
}
