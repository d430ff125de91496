/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_BUS_H
#define VPCI_BUS_H 1

#include "vpci/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Buses: what devices there are
 * =============================
 *
 * A bus finds devices, and tells when one appears or goes.  Its address says
 * what kind it is:
 *
 *     unix:PATH    the devices of one port of a switch, for processes and
 *                  containers: "base" is served at PATH, as in the port's
 *                  option ivshmem-path, "linkN" at PATH.linkN, and "peer" at
 *                  PATH.peer.  "unix:" may be left out.
 *     pci:ADDRESS  in a virtual machine: the PCI function at ADDRESS, which
 *                  is DDDD:BB:DD.F or BB:DD.F, is "base".  Each other one
 *                  that is QEMU's ivshmem-doorbell, and that no driver of the
 *                  kernel has but vfio-pci or uio_pci_generic, is "ivshmemN",
 *                  where N is our ivshmem id there.  Without ADDRESS, the base
 *                  is the only one that can be.
 *
 * Threads: one at a time for each bus. */

struct vpci_bus;

enum vpci_bus_event_kind {
    VPCI_BUS_ARRIVED,
    VPCI_BUS_DEPARTED
};

struct vpci_bus_event {
    enum vpci_bus_event_kind kind;
    struct vpci_device *device; /* To be released by the caller. */
};

/* Opens the bus at 'address'.  Returns 0 and stores it in '*bus'; or a positive
 * errno, with the reason in the 'size' bytes at 'reason':
 *
 *     EINVAL        there is no such kind of address,
 *     ENAMETOOLONG  a path is too long for a socket,
 *     ENOENT        the directory is not there,
 *     ENODEV        no PCI function is ivshmem-doorbell,
 *     ENOTUNIQ      any of several of them may be the base, ... */
int vpci_bus_open(const char *address, struct vpci_bus **bus, char *reason,
                  size_t size);

/* Forgets the bus.  Devices that it has told of are not affected. */
void vpci_bus_close(struct vpci_bus *);

/* Tells of one device that has come or gone since the last call; at first, of
 * those that are there.  A device that is served anew at the same place goes and
 * comes.  Returns false if there is nothing to tell. */
bool vpci_bus_next(struct vpci_bus *, struct vpci_bus_event *event);

/* Becomes readable when vpci_bus_next() may have something to tell. */
int vpci_bus_fd(const struct vpci_bus *);

#ifdef __cplusplus
}
#endif

#endif /* vpci/bus.h */
