/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_BUS_OPS_H
#define VPCI_BUS_OPS_H 1

#include "bus-private.h"

/* What buses of each kind fill in: as in vpci/bus.h and bus-private.h. */
struct bus_ops {
    void (*close)(struct vpci_bus *);
    bool (*next)(struct vpci_bus *, struct vpci_bus_event *event);
    int (*fd)(const struct vpci_bus *);
    int (*explain)(const struct vpci_bus *, char *reason, size_t size);
};

struct vpci_bus {
    const struct bus_ops *ops;
};

/* Open the bus at 'address', of which what is behind the scheme is 'path' or
 * 'function'.  As vpci_bus_open(). */
int unix_bus_open(const char *address, const char *path,
                  struct vpci_bus **bus, char *reason, size_t size);
int pci_bus_open(const char *address, const char *function,
                 struct vpci_bus **bus, char *reason, size_t size);

/* Says in the 'size' bytes at 'reason' that 'what' has failed with 'error'.
 * Returns 'error'. */
int bus_fail(char *reason, size_t size, int error, const char *what,
             const char *address);

#endif /* lib/vpci/bus-ops.h */
