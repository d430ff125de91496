/* SPDX-License-Identifier: Apache-2.0 */

/* Makes OVS-DPDK's own vhost-user ports usable for User-Mode Linux.
 *
 * Its driver takes every feature that it is offered, the control queue too,
 * which nobody serves, and then waits for an answer for ever; and it begins
 * packed rings at a base that is wrong.  Loaded before librte_vhost
 * (LD_PRELOAD), this takes these features from every port. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdint.h>

#include <rte_vhost.h>

#define UNUSABLE                                    \
    (UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ            \
     | UINT64_C(1) << VIRTIO_NET_F_CTRL_RX          \
     | UINT64_C(1) << VIRTIO_NET_F_CTRL_VLAN        \
     | UINT64_C(1) << VIRTIO_NET_F_GUEST_ANNOUNCE   \
     | UINT64_C(1) << VIRTIO_NET_F_MQ               \
     | UINT64_C(1) << VIRTIO_NET_F_CTRL_MAC_ADDR    \
     | UINT64_C(1) << VIRTIO_F_RING_PACKED)

int
rte_vhost_driver_start(const char *path)
{
    int (*start)(const char *);

    *(void **) &start = dlsym(RTLD_NEXT, "rte_vhost_driver_start");
    rte_vhost_driver_disable_features(path, UNUSABLE);
    return start(path);
}
