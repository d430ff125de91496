/* SPDX-License-Identifier: Apache-2.0 */

/* Devices that two ends in one process share: see vpci_loop_create(). */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "device-private.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* What the two ends have in common. */
struct loop {
    pthread_mutex_t mutex;
    int memory_fd;
    unsigned int n_signals;
    struct loop_end {
        struct vpci_device device;
        struct loop *loop;
        int event_fd;           /* Says that 'events' is not 0. */
        unsigned int events;    /* For vpci_device_run(). */
        bool exists;
        bool connected;
    } ends[2];
};

static struct loop_end *
loop_end(const struct vpci_device *d)
{
    return (struct loop_end *) d;   /* Its first member. */
}

static struct loop_end *
other_end(struct loop_end *end)
{
    return &end->loop->ends[end == &end->loop->ends[0]];
}

/* 'end' hears that the other one has come or left. */
static void
tell(struct loop_end *end, enum vpci_device_event event)
{
    struct loop_end *other = other_end(end);

    end->events |= event;
    for (unsigned int i = 0; i < end->loop->n_signals; i++) {
        device_set_inject_fd(&end->device, i,
                             event == VPCI_DEVICE_PEER_CAME
                             ? other->device.signals[i].event_fd : -1);
    }
    __atomic_store_n(&end->device.peer,
                     event == VPCI_DEVICE_PEER_CAME ? other->device.id : 0,
                     __ATOMIC_RELAXED);
    eventfd_write(end->event_fd, 1);
}

static int
make_signals(struct vpci_device *d, unsigned int n)
{
    int error = 0;

    for (unsigned int i = 0; i < n && !error; i++) {
        int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

        error = fd < 0 ? device_fail(d, errno, "cannot make an eventfd: %s",
                                     strerror(errno))
                       : device_add_signal(d, fd);
    }
    return error;
}

static int
loop_open(struct vpci_device *d, int timeout_ms)
{
    struct loop_end *end = loop_end(d), *other = other_end(end);
    struct loop *loop = end->loop;
    int error;

    (void) timeout_ms;
    d->id = 1 + (end == &loop->ends[1]);
    error = device_map(d, loop->memory_fd);
    error = error ? error : make_signals(d, loop->n_signals);
    if (!error) {
        pthread_mutex_lock(&loop->mutex);
        end->events = 0;
        end->connected = true;
        if (other->connected) {
            tell(end, VPCI_DEVICE_PEER_CAME);
            tell(other, VPCI_DEVICE_PEER_CAME);
        }
        pthread_mutex_unlock(&loop->mutex);
    }
    return error;
}

static void
loop_close(struct vpci_device *d)
{
    struct loop_end *end = loop_end(d), *other = other_end(end);

    pthread_mutex_lock(&end->loop->mutex);
    if (end->connected && other->connected) {
        tell(other, VPCI_DEVICE_PEER_LEFT);
    }
    end->connected = false;
    pthread_mutex_unlock(&end->loop->mutex);
}

static unsigned int
loop_run(struct vpci_device *d)
{
    struct loop_end *end = loop_end(d);
    unsigned int events;
    eventfd_t value;

    pthread_mutex_lock(&end->loop->mutex);
    events = end->events;
    end->events = 0;
    eventfd_read(end->event_fd, &value);
    pthread_mutex_unlock(&end->loop->mutex);
    return events;
}

static int
loop_fd(const struct vpci_device *d)
{
    return loop_end(d)->event_fd;
}

static void
loop_free(struct loop *loop)
{
    for (int i = 0; i < 2; i++) {
        if (loop->ends[i].event_fd >= 0) {
            close(loop->ends[i].event_fd);
        }
    }
    if (loop->memory_fd >= 0) {
        close(loop->memory_fd);
    }
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

static void
loop_destroy(struct vpci_device *d)
{
    struct loop_end *end = loop_end(d);
    struct loop *loop = end->loop;
    bool last;

    pthread_mutex_lock(&loop->mutex);
    end->exists = false;
    last = !other_end(end)->exists;
    pthread_mutex_unlock(&loop->mutex);
    if (last) {
        loop_free(loop);
    }
}

static const struct device_ops loop_ops = {
    .open = loop_open,
    .close = loop_close,
    .run = loop_run,
    .fd = loop_fd,
    .destroy = loop_destroy,
};

/* Makes the memory and what tells of events. */
static int
loop_make_fds(struct loop *loop, uint64_t size)
{
    loop->memory_fd = memfd_create("vpci:loop", MFD_CLOEXEC
                                                | MFD_ALLOW_SEALING);
    loop->ends[0].event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->ends[1].event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->memory_fd < 0 || loop->ends[0].event_fd < 0
        || loop->ends[1].event_fd < 0
        || ftruncate(loop->memory_fd, size)
        || fcntl(loop->memory_fd, F_ADD_SEALS,
                 F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
        return errno;
    }
    return 0;
}

int
vpci_loop_create(uint64_t size, unsigned int n_signals,
                 struct vpci_device *ends[2])
{
    struct loop *loop;
    int error;

    if (!size || size % VPCI_ABI_PAGE || size > VPCI_ABI_MAX_REGION
        || !n_signals || n_signals > VPCI_ABI_MAX_VECTORS) {
        return EINVAL;
    }
    loop = calloc(1, sizeof *loop);
    if (!loop) {
        return ENOMEM;
    }
    pthread_mutex_init(&loop->mutex, NULL);
    loop->n_signals = n_signals;
    error = loop_make_fds(loop, size);
    if (error) {
        loop_free(loop);
        return error;
    }
    for (int i = 0; i < 2; i++) {
        loop->ends[i].loop = loop;
        loop->ends[i].exists = true;
        device_init(&loop->ends[i].device, &loop_ops, i ? "loop1" : "loop0");
        ends[i] = &loop->ends[i].device;
    }
    return 0;
}
