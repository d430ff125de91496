/* SPDX-License-Identifier: Apache-2.0 */

/* Signals of devices: see vpci/device.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "device-private.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "vpci/doorbell.h"

static int64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

/* Waits for '*pfd', or, if that is null, for 'timeout_us'; for ever if that is
 * negative.  Returns as poll(). */
static int
wait_us(struct pollfd *pfd, int64_t timeout_us)
{
    struct timespec ts = {
        .tv_sec = timeout_us / 1000000,
        .tv_nsec = timeout_us % 1000000 * 1000,
    };

    return ppoll(pfd, pfd ? 1 : 0, timeout_us < 0 ? NULL : &ts, NULL);
}

void
vpci_signal_set_mitigation(struct vpci_signal *s,
                           const struct vpci_mitigation *m)
{
    s->mitigation = *m;
    __atomic_store_n(&s->hold_us, m->packets == 1 ? 0 : m->us,
                     __ATOMIC_RELAXED);
}

struct vpci_mitigation
vpci_signal_get_mitigation(const struct vpci_signal *s)
{
    return s->mitigation;
}

uint32_t
vpci_signal_prio(const struct vpci_signal *s)
{
    return s->number;
}

int
vpci_signal_inject(struct vpci_signal *s)
{
    struct vpci_device *d = s->device;
    uint32_t peer = vpci_device_peer(d);
    int error;

    if (!peer) {
        return ENOTCONN;
    } else if (peer == __atomic_load_n(&d->deaf_peer, __ATOMIC_RELAXED)) {
        return ETIMEDOUT;
    }
    __atomic_add_fetch(&s->stats.injected, 1, __ATOMIC_RELAXED);
    error = (d->ops->inject ? d->ops->inject(s)
             : vpci_doorbell_ring(s->inject_fd));
    if (error == ETIMEDOUT) {
        __atomic_store_n(&d->deaf_peer, peer, __ATOMIC_RELAXED);
    }
    return error;
}

int
vpci_signal_fd(const struct vpci_signal *s)
{
    return s->event_fd;
}

bool
vpci_signal_clear(struct vpci_signal *s)
{
    struct pollfd pfd = { .fd = s->event_fd, .events = POLLIN };
    eventfd_t value;

    /* Whether read() waits is up to whoever has it, too. */
    if (poll(&pfd, 1, 0) <= 0 || eventfd_read(s->event_fd, &value)) {
        return false;
    }
    __atomic_add_fetch(&s->stats.received, 1, __ATOMIC_RELAXED);
    return true;
}

int64_t
vpci_signal_held_us(const struct vpci_signal *s)
{
    int64_t until = __atomic_load_n(&s->held_until, __ATOMIC_RELAXED);
    int64_t left = until ? until - now_us() : 0;
    uint32_t us = __atomic_load_n(&s->hold_us, __ATOMIC_RELAXED);

    return left <= 0 ? 0 : left < us ? left : us;
}

/* Somebody is told of the signal: not again so soon. */
static void
hold(struct vpci_signal *s)
{
    uint32_t us = __atomic_load_n(&s->hold_us, __ATOMIC_RELAXED);

    __atomic_store_n(&s->held_until, us ? now_us() + us : 0,
                     __ATOMIC_RELAXED);
}

bool
vpci_signal_wait(struct vpci_signal *s, int64_t timeout_us)
{
    struct pollfd pfd = { .fd = s->event_fd, .events = POLLIN };
    int64_t held = vpci_signal_held_us(s);

    if (held) {
        bool ends = timeout_us >= 0 && timeout_us < held;

        if (wait_us(NULL, ends ? timeout_us : held) < 0 || ends) {
            return false;
        }
        timeout_us -= timeout_us < 0 ? 0 : held;
    }
    if (wait_us(&pfd, timeout_us) <= 0 || !vpci_signal_clear(s)) {
        return false;
    }
    hold(s);
    return true;
}

void
vpci_signal_set_callback(struct vpci_signal *s, vpci_signal_callback *callback,
                         void *aux)
{
    s->callback = callback;
    s->aux = aux;
}

void
vpci_signal_enable(struct vpci_signal *s)
{
    s->enabled = true;
}

void
vpci_signal_disable(struct vpci_signal *s)
{
    s->enabled = false;
}

unsigned int
vpci_signal_dispatch(struct vpci_device *d)
{
    unsigned int n = 0;

    for (unsigned int i = d->n_signals; i-- > 0; ) {
        struct vpci_signal *s = &d->signals[i];

        if (s->enabled && s->callback && !vpci_signal_held_us(s)
            && vpci_signal_clear(s)) {
            hold(s);
            s->callback(s->aux);
            n++;
        }
    }
    return n;
}

void
vpci_signal_get_stats(const struct vpci_signal *s,
                      struct vpci_signal_stats *stats)
{
    *stats = (struct vpci_signal_stats) {
        .injected = __atomic_load_n(&s->stats.injected, __ATOMIC_RELAXED),
        .received = __atomic_load_n(&s->stats.received, __ATOMIC_RELAXED),
        .spurious = __atomic_load_n(&s->stats.spurious, __ATOMIC_RELAXED),
        .masked = __atomic_load_n(&s->stats.masked, __ATOMIC_RELAXED),
    };
}

void
signal_count(struct vpci_signal *s, unsigned int received,
             unsigned int spurious, unsigned int masked)
{
    __atomic_add_fetch(&s->stats.received, received, __ATOMIC_RELAXED);
    __atomic_add_fetch(&s->stats.spurious, spurious, __ATOMIC_RELAXED);
    __atomic_add_fetch(&s->stats.masked, masked, __ATOMIC_RELAXED);
}
