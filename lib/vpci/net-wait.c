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

#include "net-peer.h"

#include <time.h>

#include "backoff.h"

int64_t
net_now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
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

/* What look() has to say of a worker that may sleep. */
struct rest {
    bool asked;                 /* To be woken. */
    int64_t until;              /* When to look again, in us; or negative. */
};

/* Looks whether there is something to do, and asks to be woken if not and
 * if it may sleep. */
static bool
look(struct vpci_net *net, struct net_worker *w, uint32_t queue,
     const struct net_waiting *waiting, bool may_sleep, struct rest *rest)
{
    bool ready;

    *rest = (struct rest) { .until = -1 };
    if (!net_enter(net, w)) {
        w->n_events = 0;
        return false;
    }
    if (w->generation != net->generation) {
        net_see_rings(net, w, queue, waiting);
    }
    ready = waiting->is_ready(net, w, queue);
    if (!ready && may_sleep) {
        ready = !waiting->ask(net, w, queue);
        rest->asked = true;
        if (ready) {
            waiting->awake(net, queue, false);
        }
    }
    net_note_events(w, ready || w->holds.begun);
    if (rest->asked && !ready) {
        rest->until = net_earlier(net_poll_masked(w), net_holds_until(w));
        rest->until = net_earlier(rest->until, net_peer_until(w));
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

static bool
net_wait(struct vpci_net *net, struct net_worker *w, uint32_t queue,
         const struct net_waiting *waiting, int64_t timeout_us)
{
    int64_t deadline = timeout_us < 0 ? -1 : net_now_us() + timeout_us;
    struct vpci_backoff spin = VPCI_BACKOFF_INIT;
    bool interrupted = false, last = false;

    net_holds_begin(w);
    for (;;) {
        bool looks = w->polling || net_now_us() < w->look_until;
        struct rest rest;

        if (looks || last) {
            net_holds_end(w);
        }
        if (look(net, w, queue, waiting, !looks && !last, &rest)) {
            return true;
        }
        if (last || interrupted || was_woken(net, w)) {
            return false;
        }
        if (looks) {
            spin.n_spins = 0;
            vpci_backoff(&spin);
        } else {
            interrupted = !net_sleep_until(w, net_earlier(deadline,
                                                          rest.until));
            if (rest.asked) {
                stay_awake(net, w, queue, waiting);
            }
        }
        last = interrupted || (deadline >= 0 && net_now_us() >= deadline);
    }
}

static void
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

bool
vpci_net_rx_wait(struct vpci_net *net, uint32_t queue, int64_t timeout_us)
{
    return net_wait(net, &net->rx[queue], queue, &net_rx_waiting, timeout_us);
}

void
vpci_net_rx_set_polling(struct vpci_net *net, uint32_t queue, bool polling)
{
    net_set_polling(net, &net->rx[queue], queue, &net_rx_waiting, polling);
}

bool
vpci_net_tx_wait(struct vpci_net *net, uint32_t queue, int64_t timeout_us)
{
    return net_wait(net, &net->tx[queue], queue, &net_tx_waiting, timeout_us);
}

bool
vpci_net_tx_flush(struct vpci_net *net, uint32_t queue, int64_t timeout_us)
{
    return net_wait(net, &net->tx[queue], queue, &net_flush_waiting, timeout_us);
}

void
vpci_net_tx_set_polling(struct vpci_net *net, uint32_t queue, bool polling)
{
    net_set_polling(net, &net->tx[queue], queue, &net_tx_waiting, polling);
}
