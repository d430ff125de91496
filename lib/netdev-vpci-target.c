/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>

#include "netdev-vpci-target.h"

#include <stdlib.h>

#include "util.h"

struct vpci_target *
vpci_target_create(struct netdev_vpci *dev)
{
    struct vpci_target *target = xmalloc(sizeof *target);

    ovs_refcount_init(&target->ref_cnt);
    target->dev = dev;
    return target;
}

struct vpci_target *
vpci_target_ref(struct vpci_target *target)
{
    ovs_refcount_ref(&target->ref_cnt);
    return target;
}

void
vpci_target_unref(struct vpci_target *target)
{
    if (target && ovs_refcount_unref(&target->ref_cnt) == 1) {
        free(target);
    }
}
