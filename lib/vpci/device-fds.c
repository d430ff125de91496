/* SPDX-License-Identifier: Apache-2.0 */

/* Devices whose memory and signals are file descriptors: see
 * device-private.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "device-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int
device_map(struct vpci_device *d, int fd)
{
    uint64_t max = d->is_peer ? DEVICE_MAX_PEER : VPCI_ABI_MAX_REGION;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    void *p;

    if (!d->is_peer && (seals < 0 || !(seals & F_SEAL_SHRINK))) {
        return device_fail(d, EPERM,
                           "its memory could shrink at any moment: it must be "
                           "a memfd with F_SEAL_SHRINK");
    }
    if (fstat(fd, &st)) {
        return device_fail(d, errno, "its memory has no size: %s",
                           strerror(errno));
    }
    if (st.st_size < VPCI_ABI_PAGE || (uint64_t) st.st_size > max) {
        return device_fail(d, EPROTO,
                           "its memory has %lld bytes, but %d to %llu are "
                           "possible", (long long) st.st_size, VPCI_ABI_PAGE,
                           (unsigned long long) max);
    }
    p = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        return device_fail(d, errno, "cannot map %lld bytes of memory: %s",
                           (long long) st.st_size, strerror(errno));
    }
    d->region.base = p;
    d->region.size = st.st_size;
    return 0;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static int
new_eventfd(void)
{
    return eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

int
device_add_signal(struct vpci_device *d, int fd)
{
    if (d->n_signals == VPCI_ABI_MAX_VECTORS) {
        close(fd);
        return device_fail(d, EPROTO, "it has more than %d signals",
                           VPCI_ABI_MAX_VECTORS);
    }
    d->signals[d->n_signals].event_fd = fd;
    if (d->signals[d->n_signals].inject_fd < 0) {
        device_set_inject_fd(d, d->n_signals, -1);
    }
    d->n_signals++;
    return 0;
}

void
device_set_inject_fd(struct vpci_device *d, unsigned int number, int fd)
{
    int *inject_fd = &d->signals[number].inject_fd;
    int nobody = fd < 0 ? new_eventfd() : -1;
    int source = fd < 0 ? nobody : fd;

    if (source >= 0 && *inject_fd >= 0) {
        dup3(source, *inject_fd, O_CLOEXEC);
    } else if (source >= 0) {
        *inject_fd = fcntl(source, F_DUPFD_CLOEXEC, 0);
    }
    close_fd(&nobody);
    __atomic_store_n(&d->deaf_peer, 0, __ATOMIC_RELAXED);
}

void
device_unmap(struct vpci_device *d)
{
    for (unsigned int i = 0; i < VPCI_ABI_MAX_VECTORS; i++) {
        close_fd(&d->signals[i].event_fd);
        close_fd(&d->signals[i].inject_fd);
    }
    if (d->region.base) {
        munmap(d->region.base, d->region.size);
    }
}
