/* SPDX-License-Identifier: Apache-2.0 */

/* Packets that wait until the rings of a port come home: see
 * netdev-vpci-lend.h. */

#include "netdev-vpci-lend.h"
#include "netdev-vpci-private.h"

#include "dp-packet.h"

/* As many as a virtio ring commonly has room for.  They wait for a few
 * milliseconds at most. */
#define MAX_HELD 1024

struct vpci_held {
    struct ovs_mutex mutex;
    bool waits;                 /* Packets are to wait.  Written with 'mutex';
                                 * atomic. */
    bool any;                   /* Atomic. */
    int n OVS_GUARDED;
    uint64_t n_full OVS_GUARDED;        /* Dropped for want of room, */
    uint64_t n_no_guest OVS_GUARDED;    /* or since rings did not come back. */
    struct dp_packet *pkts[MAX_HELD] OVS_GUARDED;
};

struct vpci_held *
vpci_held_create(void)
{
    struct vpci_held *held = xzalloc(sizeof *held);

    ovs_mutex_init(&held->mutex);
    return held;
}

void
vpci_held_destroy(struct vpci_held *held)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    for (int i = 0; i < held->n; i++) {
        dp_packet_delete(held->pkts[i]);
    }
    ovs_mutex_destroy(&held->mutex);
    free(held);
}

void
vpci_held_begin(struct netdev_vpci *dev)
{
    struct vpci_held *held = dev->held;

    ovs_mutex_lock(&held->mutex);
    __atomic_store_n(&held->waits, true, __ATOMIC_RELAXED);
    ovs_mutex_unlock(&held->mutex);
}

void
vpci_held_drop(struct netdev_vpci *dev)
{
    struct vpci_held *held = dev->held;

    ovs_mutex_lock(&held->mutex);
    __atomic_store_n(&held->waits, false, __ATOMIC_RELAXED);
    __atomic_store_n(&held->any, false, __ATOMIC_RELAXED);
    for (int i = 0; i < held->n; i++) {
        dp_packet_delete(held->pkts[i]);
    }
    held->n_no_guest += held->n;
    held->n = 0;
    ovs_mutex_unlock(&held->mutex);
}

bool
vpci_held_waits(const struct netdev_vpci *dev)
{
    return __atomic_load_n(&dev->held->waits, __ATOMIC_RELAXED);
}

bool
vpci_held_add(struct netdev_vpci *dev, struct dp_packet **pkts, int n)
{
    struct vpci_held *held = dev->held;
    bool waits;

    if (OVS_LIKELY(!vpci_held_waits(dev))) {
        return false;
    }
    ovs_mutex_lock(&held->mutex);
    waits = held->waits;
    for (int i = 0; waits && i < n; i++) {
        if (held->n < MAX_HELD) {
            held->pkts[held->n++] = pkts[i];
        } else {
            dp_packet_delete(pkts[i]);
            held->n_full++;
        }
    }
    if (waits) {
        __atomic_store_n(&held->any, true, __ATOMIC_RELEASE);
    }
    ovs_mutex_unlock(&held->mutex);
    return waits;
}

bool
vpci_held_any(const struct netdev_vpci *dev)
{
    return __atomic_load_n(&dev->held->any, __ATOMIC_ACQUIRE);
}

void
vpci_held_end(struct netdev_vpci *dev, void (*open)(struct netdev_vpci *))
{
    struct vpci_held *held = dev->held;

    /* Whoever comes meanwhile waits for the mutex, and then finds the gate
     * open: nothing overtakes what waited. */
    ovs_mutex_lock(&held->mutex);
    if (held->n) {
        vpci_send_held(dev, held->pkts, held->n);
        held->n = 0;
    }
    __atomic_store_n(&held->waits, false, __ATOMIC_RELAXED);
    __atomic_store_n(&held->any, false, __ATOMIC_RELAXED);
    open(dev);
    ovs_mutex_unlock(&held->mutex);
}

void
vpci_held_add_counters(const struct netdev_vpci *dev,
                       struct vpci_counters *tx)
{
    struct vpci_held *held = dev->held;

    ovs_mutex_lock(&held->mutex);
    tx->drops[VPCI_DROP_TX_FULL] += held->n_full;
    tx->drops[VPCI_DROP_TX_NO_GUEST] += held->n_no_guest;
    ovs_mutex_unlock(&held->mutex);
}
