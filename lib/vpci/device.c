/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* What devices of all connectors have in common: see vpci/device.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "device-private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "backoff.h"

void
device_init(struct vpci_device *d, const struct device_ops *ops,
            const char *name)
{
    memset(d, 0, sizeof *d);
    d->ops = ops;
    d->refs = 1;
    snprintf(d->name, sizeof d->name, "%s", name);
    for (unsigned int i = 0; i < VPCI_ABI_MAX_VECTORS; i++) {
        d->signals[i] = (struct vpci_signal) {
            .device = d,
            .number = i,
            .event_fd = -1,
            .inject_fd = -1,
            .mitigation = { .packets = 1 },
        };
    }
}

int
device_fail(struct vpci_device *d, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(d->reason, sizeof d->reason, format, args);
    va_end(args);
    return error;
}

const char *
vpci_device_name(const struct vpci_device *d)
{
    return d->name;
}

static void
device_reset(struct vpci_device *d)
{
    vpci_device_set_answer(d, NULL, NULL);
    device_unmap(d);
    for (unsigned int i = 0; i < VPCI_ABI_MAX_VECTORS; i++) {
        d->signals[i].enabled = false;
        d->signals[i].callback = NULL;
        d->signals[i].held_until = 0;
        d->signals[i].stats = (struct vpci_signal_stats) { 0 };
    }
    d->region = (struct vpci_region) { 0 };
    d->n_signals = d->n_peer_signals = 0;
    d->polls = false;
    d->id = 0;
    __atomic_store_n(&d->peer, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&d->deaf_peer, 0, __ATOMIC_RELAXED);
}

static void
set_open(struct vpci_device *d, bool is_open)
{
    __atomic_store_n(&d->is_open, is_open, __ATOMIC_RELEASE);
}

int
vpci_device_open(struct vpci_device *d, int timeout_ms)
{
    int error;

    if (d->is_open) {
        return device_fail(d, EALREADY, "it is open already");
    }
    d->reason[0] = '\0';
    error = d->ops->open(d, timeout_ms);
    if (error) {
        d->ops->close(d);
        device_reset(d);
        return error;
    }
    set_open(d, true);
    return 0;
}

void
vpci_device_close(struct vpci_device *d)
{
    if (d->is_open) {
        set_open(d, false);
        vpci_device_set_answer(d, NULL, NULL);
        d->ops->close(d);
        device_reset(d);
    }
}

bool
vpci_device_is_open(const struct vpci_device *d)
{
    return d->is_open;
}

int
vpci_device_shm(struct vpci_device *d, uint32_t id, uint32_t prio,
                struct vpci_region *region, struct vpci_signal **signal)
{
    if (!d->is_open) {
        return device_fail(d, ENOTCONN, "it is not open");
    }
    if (id) {
        return device_fail(d, ENOENT, "it has no memory %u, only 0", id);
    }
    if (region) {
        *region = d->region;
    }
    if (signal) {
        *signal = &d->signals[prio < d->n_signals ? prio : d->n_signals - 1];
    }
    return 0;
}

int
vpci_device_call(struct vpci_device *d, uint32_t func, void *data,
                 uint32_t len)
{
    vpci_device_answer *answer;
    int error;

    if (!__atomic_load_n(&d->is_open, __ATOMIC_ACQUIRE)) {
        return ENOTCONN;
    }
    if (!__atomic_load_n(&d->answer, __ATOMIC_ACQUIRE)) {
        return EOPNOTSUPP;
    }

    /* (M) pairs with (N) in vpci_device_set_answer(): either this call is seen
     * there, or what is set there is seen here. */
    __atomic_add_fetch(&d->n_calls, 1, __ATOMIC_SEQ_CST);
    answer = __atomic_load_n(&d->answer, __ATOMIC_SEQ_CST);
    error = answer ? answer(d->answer_aux, func, data, len) : ENOTCONN;
    __atomic_sub_fetch(&d->n_calls, 1, __ATOMIC_RELEASE);
    return error;
}

void
vpci_device_set_answer(struct vpci_device *d, vpci_device_answer *answer,
                       void *aux)
{
    struct vpci_backoff backoff = VPCI_BACKOFF_INIT;

    __atomic_store_n(&d->answer, NULL, __ATOMIC_SEQ_CST);       /* (N) */
    while (__atomic_load_n(&d->n_calls, __ATOMIC_SEQ_CST)) {
        vpci_backoff(&backoff);
    }
    d->answer_aux = aux;
    __atomic_store_n(&d->answer, answer, __ATOMIC_SEQ_CST);
}

unsigned int
vpci_device_run(struct vpci_device *d)
{
    return d->is_open ? d->ops->run(d) : 0;
}

int
vpci_device_fd(const struct vpci_device *d)
{
    return d->is_open ? d->ops->fd(d) : -1;
}

const char *
vpci_device_reason(const struct vpci_device *d)
{
    return d->reason;
}

uint32_t
vpci_device_id(const struct vpci_device *d)
{
    return d->id;
}

uint32_t
vpci_device_peer(const struct vpci_device *d)
{
    return __atomic_load_n(&d->peer, __ATOMIC_RELAXED);
}

void
device_set_peer(struct vpci_device *d, uint32_t peer)
{
    if (d->ops->set_peer && peer != vpci_device_peer(d)) {
        d->ops->set_peer(d, peer);
    }
}

struct vpci_device *
vpci_device_ref(struct vpci_device *d)
{
    __atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
    return d;
}

struct vpci_device *
vpci_device_again(const struct vpci_device *d)
{
    return d->ops->again ? d->ops->again(d) : NULL;
}

void
vpci_device_release(struct vpci_device *d)
{
    if (d && !__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL)) {
        vpci_device_close(d);
        d->ops->destroy(d);
    }
}

unsigned int
vpci_device_n_signals(const struct vpci_device *d)
{
    return d->n_signals;
}

struct vpci_signal *
vpci_device_signal(struct vpci_device *d, unsigned int i)
{
    return i < d->n_signals ? &d->signals[i] : NULL;
}

struct vpci_signal *
device_peer_signal(struct vpci_device *d, unsigned int i)
{
    return i < d->n_peer_signals ? &d->signals[i] : NULL;
}
