/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_BUS_PRIVATE_H
#define VPCI_BUS_PRIVATE_H 1

#include "vpci/bus.h"

/* Says why the bus tells of no device "base".  Returns a positive errno, with
 * the reason, for people, in the 'size' bytes at 'reason':
 *
 *     ENOENT       nothing is at its path,
 *     ENOTSOCK     something is there that is no socket,
 *     EACCES, ...  it cannot be looked at.
 *
 * Returns 0, and leaves 'reason' as it is, if a socket is there. */
int bus_explain(const struct vpci_bus *, char *reason, size_t size);

#endif /* lib/vpci/bus-private.h */
