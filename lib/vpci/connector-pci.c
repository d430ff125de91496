/* SPDX-License-Identifier: Apache-2.0 */

/* Devices that are PCI functions of the virtual machine that we run in: QEMU's
 * ivshmem-doorbell (docs/specs/ivshmem-spec.txt there).
 *
 * BAR 0 has registers, BAR 2 is the memory, and MSI-X vectors are signals.
 * Who the other side is, QEMU does not say: see set_peer() in
 * device-private.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "connector-pci.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "device-private.h"
#include "pci-access.h"

/* How often to look whether the function has been unplugged. */
#define LOOK_MS 1000

/* Without interrupts: how often who waits for a signal is woken. */
#define POLL_US 1000

struct pci_device {
    struct vpci_device device;
    char address[PCI_ADDRESS_SIZE];
    ino_t inode;
    uint32_t wanted_id;         /* Or 0. */
    struct pci_access access;
    int timer_fd;               /* To look; expires at once for 'events'. */
    unsigned int events;
    bool unplugged;
};

static struct pci_device *
pci_device(const struct vpci_device *d)
{
    return (struct pci_device *) d;    /* Its first member. */
}

/* Expires after 'first_us' and then every 'period_us'. */
static int
set_timer(int fd, int64_t first_us, int64_t period_us)
{
    struct itimerspec its = {
        .it_value = { first_us / 1000000, first_us % 1000000 * 1000 },
        .it_interval = { period_us / 1000000, period_us % 1000000 * 1000 },
    };

    return timerfd_settime(fd, 0, &its, NULL) ? errno : 0;
}

/* Makes a timer in '*fd'. */
static int
make_timer(struct pci_device *p, int64_t period_us, int *fd)
{
    int error = 0;

    *fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (*fd < 0) {
        error = errno;
    }
    error = error ? error : set_timer(*fd, period_us, period_us);
    return error ? device_fail(&p->device, error, "cannot make a timer: %s",
                               strerror(error))
                 : 0;
}

/* Makes signal 'i' be what vector 'i' injects. */
static int
make_event_fd(struct pci_device *p, unsigned int i)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    p->device.signals[i].event_fd = fd;
    return fd < 0 ? device_fail(&p->device, errno, "cannot make an eventfd: "
                                "%s", strerror(errno))
                  : 0;
}

/* Makes as many signals as there are vectors.  Without interrupts each is a
 * timer of its own, since who clears it must not clear it for others. */
static int
make_signals(struct pci_device *p)
{
    struct vpci_device *d = &p->device;
    struct pci_access *a = &p->access;
    unsigned int n = a->n_vectors ? a->n_vectors : a->function.n_vectors;
    int fds[VPCI_ABI_MAX_VECTORS];
    int error = 0;

    d->polls = !a->n_vectors;
    n = n < VPCI_ABI_MAX_VECTORS ? n : VPCI_ABI_MAX_VECTORS;
    for (unsigned int i = 0; i < n && !error; i++) {
        error = (d->polls ? make_timer(p, POLL_US, &d->signals[i].event_fd)
                 : make_event_fd(p, i));
        fds[i] = d->signals[i].event_fd;
    }
    if (!error && !d->polls && pci_vfio_set_vectors(a, fds, n)) {
        error = device_fail(d, EPROTO, "%s", a->reason);
    }
    d->n_signals = error ? 0 : n;
    d->max_signals = n;
    d->n_peer_signals = VPCI_ABI_MAX_VECTORS;
    return error;
}

/* Looks whether the function is as it should be, and free. */
static int
find_function(struct pci_device *p, struct pci_function *f)
{
    struct vpci_device *d = &p->device;
    int error = pci_function_look(p->address, f, d->reason, sizeof d->reason);

    if (error) {
        return error;
    }
    if (f->inode != p->inode) {
        return device_fail(d, ENOENT, "PCI function %s has been unplugged, "
                           "and another one is there now", p->address);
    }
    if (!pci_function_is_ivshmem(f, d->reason, sizeof d->reason)) {
        return ENODEV;
    }
    if (!pci_function_is_free(f)) {
        return device_fail(d, EBUSY, "PCI function %s belongs to the kernel's "
                           "driver '%s': to have it here, as root: echo %s > "
                           "/sys/bus/pci/drivers/%s/unbind", p->address,
                           f->driver, p->address, f->driver);
    }
    return 0;
}

static int
pci_open(struct vpci_device *d, int timeout_ms)
{
    struct pci_device *p = pci_device(d);
    struct pci_access *a = &p->access;
    struct pci_function f;
    int error = find_function(p, &f);

    (void) timeout_ms;          /* Nobody need be there. */
    p->events = 0;
    p->unplugged = false;
    if (error) {
        return error;
    }
    error = pci_access_open(a, &f, d->is_peer ? PCI_ACCESS_PEER
                                   : PCI_ACCESS_ALL);
    error = error ? error : pci_access_read_id(a, &d->id);
    if (error) {
        return device_fail(d, error, "%s", a->reason);
    }
    if (p->wanted_id && d->id != p->wanted_id) {
        return device_fail(d, EPROTO, "PCI function %s says that our ivshmem "
                           "id is %u, but it was %u", p->address, d->id,
                           p->wanted_id);
    }
    d->region.base = a->memory;
    d->region.size = a->memory_size;
    error = make_signals(p);
    return error ? error : make_timer(p, LOOK_MS * 1000, &p->timer_fd);
}

static void
pci_close(struct vpci_device *d)
{
    struct pci_device *p = pci_device(d);

    d->region.base = NULL;      /* Is not device_unmap()'s. */
    pci_access_close(&p->access);
    if (p->timer_fd >= 0) {
        close(p->timer_fd);
        p->timer_fd = -1;
    }
}

/* True if the function has gone, or the kernel wants it back. */
static bool
is_unplugged(const struct pci_device *p)
{
    eventfd_t value;
    ino_t inode;

    if (p->access.unplug_fd >= 0
        && !eventfd_read(p->access.unplug_fd, &value)) {
        return true;
    }
    switch (pci_function_inode(p->address, &inode)) {
    case 0:
        return inode != p->inode;
    case ENOENT:
        return true;
    default:
        return false;
    }
}

static unsigned int
pci_run(struct vpci_device *d)
{
    struct pci_device *p = pci_device(d);
    unsigned int events = p->events;
    uint64_t n;

    if (read(p->timer_fd, &n, sizeof n) == sizeof n && !p->unplugged
        && is_unplugged(p)) {
        p->unplugged = true;
        events |= VPCI_DEVICE_UNPLUGGED;
        device_fail(d, ENODEV, "PCI function %s has been unplugged",
                    p->address);
    }
    p->events = 0;
    return events;
}

static int
pci_fd(const struct vpci_device *d)
{
    return pci_device(d)->timer_fd;
}

static void
pci_destroy(struct vpci_device *d)
{
    free(pci_device(d));
}

static struct vpci_device *
pci_again(const struct vpci_device *d)
{
    const struct pci_device *p = pci_device(d);

    return pci_device_create(p->address, p->inode, p->wanted_id, d->name);
}

static int
pci_inject(struct vpci_signal *s)
{
    uint32_t peer = vpci_device_peer(s->device);

    if (!peer) {
        return ENOTCONN;
    }
    /* (P) What was written to memory is there before the other side hears of
     * it: pairs with whatever its kernel does before it wakes a process. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    pci_access_write(&pci_device(s->device)->access, PCI_IVSHMEM_DOORBELL,
                     peer << 16 | s->number);
    return 0;
}

static void
pci_set_peer(struct vpci_device *d, uint32_t peer)
{
    struct pci_device *p = pci_device(d);

    peer = peer <= PCI_IVSHMEM_MAX_ID ? peer : 0;
    if (peer == vpci_device_peer(d)) {
        return;
    }
    p->events &= ~(VPCI_DEVICE_PEER_CAME | VPCI_DEVICE_PEER_LEFT);
    p->events |= peer ? VPCI_DEVICE_PEER_CAME : VPCI_DEVICE_PEER_LEFT;
    __atomic_store_n(&d->peer, peer, __ATOMIC_RELEASE);
    set_timer(p->timer_fd, 1, LOOK_MS * 1000);
}

static const struct device_ops pci_ops = {
    .open = pci_open,
    .close = pci_close,
    .run = pci_run,
    .fd = pci_fd,
    .destroy = pci_destroy,
    .again = pci_again,
    .inject = pci_inject,
    .set_peer = pci_set_peer,
};

struct vpci_device *
pci_device_create(const char *address, ino_t inode, uint32_t id,
                  const char *name)
{
    struct pci_device *p = calloc(1, sizeof *p);
    struct pci_function none = { .inode = 0 };

    if (!p) {
        return NULL;
    }
    device_init(&p->device, &pci_ops, name);
    snprintf(p->address, sizeof p->address, "%s", address);
    p->inode = inode;
    p->wanted_id = id;
    p->device.is_peer = id & VPCI_ABI_PEER_ID;
    p->timer_fd = -1;
    pci_access_init(&p->access, &none);
    return &p->device;
}
