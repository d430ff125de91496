/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* What a port wants packets to be like: see struct vpci_abi_port. */

#include "net-private.h"

#include <stdio.h>

/* Shortest 'max_len' of a port: an Ethernet header. */
#define MIN_MAX_LEN 14

/* Super-packets that the switch takes: VIRTIO_NET_F_HOST_TSO4, _TSO6, _UFO and
 * _USO. */
#define SWITCH_GSO_FEATURES (UINT64_C(1) << 11 | UINT64_C(1) << 12 \
                             | UINT64_C(1) << 14 | UINT64_C(1) << 56)

/* And another guest: VIRTIO_NET_F_GUEST_TSO4, _TSO6, _UFO, _USO4 and _USO6. */
#define GUEST_GSO_FEATURES (UINT64_C(1) << 7 | UINT64_C(1) << 8 \
                            | UINT64_C(1) << 10 | UINT64_C(1) << 54 \
                            | UINT64_C(1) << 55)

bool
net_policy_is_max_len(uint32_t max_len)
{
    return max_len >= MIN_MAX_LEN && max_len <= VPCI_ABI_MAX_LEN;
}

static void
set_features(struct net_policy *policy, uint64_t features, uint64_t gso)
{
    policy->features = features;
    policy->offloads = features != 0;
    policy->max_gso_len = features & gso ? VPCI_ABI_MAX_LEN : 0;
}

void
net_policy_limit(struct net_policy *policy, uint32_t n_classes,
                 uint64_t features)
{
    vpci_classes_limit(&policy->classes, n_classes);
    set_features(policy, features, GUEST_GSO_FEATURES);
}

bool
net_policy_read(const struct net_region *base, struct net_policy *policy,
                char *reason, size_t size)
{
    const struct vpci_abi_port *port = vpci_layout_port(base->base);

    vpci_classes_read(&policy->classes, port, base->layout.shape.n_classes);
    set_features(policy, vpci_channel_features(base->channel),
                 SWITCH_GSO_FEATURES);
    policy->max_len = vpci_load32(&port->max_len);
    if (!net_policy_is_max_len(policy->max_len)) {
        snprintf(reason, size, "the switch says that packets have up to %u "
                 "bytes, but %d to %d are possible", policy->max_len,
                 MIN_MAX_LEN, VPCI_ABI_MAX_LEN);
        return false;
    }
    return true;
}
