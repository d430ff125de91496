/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_CALL_H
#define NETDEV_VPCI_CALL_H 1

/* Calls: what guests of vpci-net ask the switch
 * =============================================
 *
 * See "Calls" in vpci/abi.h.  The main thread answers.  A guest that rings
 * makes it look at once, but no more often than every VPCI_CALLS_LISTEN_MS; if
 * there is no bell, it looks when it looks after the port.
 *
 * Threads: the main thread, but for the functions that tell something. */

#include "netdev-vpci-private.h"

#define VPCI_CALLS_LISTEN_MS 20

struct ds;
struct vpci_callee_stats;
struct vpci_channel;

/* A port has them for as long as it exists, and so its counters. */
struct vpci_calls *vpci_calls_create(struct netdev_vpci *);
void vpci_calls_destroy(struct vpci_calls *);

/* There is another guest, or none. */
void vpci_calls_forget(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* The guest rings 'bell' when it has something to ask: that belongs to the
 * callee now, and may be -1. */
void vpci_calls_set_bell(struct netdev_vpci *dev, int bell)
    OVS_REQUIRES(dev->mutex);

/* The rings have been made anew. */
void vpci_calls_reset(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Notices that the guest has rung. */
void vpci_calls_listen(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Answers what the guest asks on 'channel', which runs.  Returns true if the
 * guest wants to be told. */
bool vpci_calls_run(struct netdev_vpci *dev, struct vpci_channel *channel)
    OVS_REQUIRES(dev->mutex);

/* Wakes the main thread when there is something to do. */
void vpci_calls_wait(const struct netdev_vpci *dev);

/* A ring of calls is broken by 'fault', which vpci_calls_run() has found. */
void vpci_calls_report(struct netdev_vpci *dev,
                       const struct vpci_fault *fault);

/* What has been counted so far; and why calls are not answered any more, or
 * null if they are. */
const struct vpci_callee_stats *vpci_calls_stats(const struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex);
const char *vpci_calls_fault(const struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex);

#endif /* netdev-vpci-call.h */
