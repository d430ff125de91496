/* SPDX-License-Identifier: Apache-2.0 */

/* Buses: see vpci/bus.h.  What each kind of them does is in bus-unix.c and
 * bus-pci.c. */

#include "bus-ops.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct scheme {
    const char *name;
    int (*open)(const char *address, const char *rest, struct vpci_bus **bus,
                char *reason, size_t size);
} schemes[] = {
    { "unix:", unix_bus_open },
    { "pci:", pci_bus_open },
};

int
bus_fail(char *reason, size_t size, int error, const char *what,
         const char *address)
{
    snprintf(reason, size, "%s: %s: %s", address, what, strerror(error));
    return error;
}

int
vpci_bus_open(const char *address, struct vpci_bus **bus, char *reason,
              size_t size)
{
    *bus = NULL;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        const struct scheme *s = &schemes[i];
        size_t n = strlen(s->name);

        if (!strncmp(address, s->name, n)) {
            return s->open(address, address + n, bus, reason, size);
        }
    }
    if (strcspn(address, ":") < strcspn(address, "/")) {
        return bus_fail(reason, size, EINVAL,
                        "only unix:PATH and pci:ADDRESS are known", address);
    }
    return unix_bus_open(address, address, bus, reason, size);
}

void
vpci_bus_close(struct vpci_bus *bus)
{
    if (bus) {
        bus->ops->close(bus);
    }
}

bool
vpci_bus_next(struct vpci_bus *bus, struct vpci_bus_event *event)
{
    return bus->ops->next(bus, event);
}

int
vpci_bus_fd(const struct vpci_bus *bus)
{
    return bus->ops->fd(bus);
}

int
bus_explain(const struct vpci_bus *bus, char *reason, size_t size)
{
    return bus->ops->explain(bus, reason, size);
}
