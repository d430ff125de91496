/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_TARGET_H
#define NETDEV_VPCI_TARGET_H 1

/* A port as a place to send to.
 *
 * It outlives the port: who knows it need not know when the port goes, and
 * never takes another one, that has its number or name, for it. */

#include "ovs-atomic.h"

struct netdev_vpci;

struct vpci_target {
    struct ovs_refcount ref_cnt;

    /* Null once the port is gone.  With atomics.  Valid for a PMD thread until
     * it leaves its table. */
    struct netdev_vpci *dev;
};

struct vpci_target *vpci_target_create(struct netdev_vpci *);
struct vpci_target *vpci_target_ref(struct vpci_target *);

/* Null is ignored. */
void vpci_target_unref(struct vpci_target *);

static inline struct netdev_vpci *
vpci_target_dev(const struct vpci_target *target)
{
    return __atomic_load_n(&target->dev, __ATOMIC_ACQUIRE);
}

#endif /* netdev-vpci-target.h */
