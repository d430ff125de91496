/* SPDX-License-Identifier: Apache-2.0 */

/* What a port's guest wants of the datapath: as many receive queues as it
 * uses, on its NUMA node.
 *
 * For each change of these the datapath stops threads that serve other ports
 * as well.  So a guest that changes them again and again is followed once a
 * second.  What it sends meanwhile on queues that nobody polls stays in its
 * rings; all else goes on. */

#include "netdev-vpci-private.h"

#include "openvswitch/dynamic-string.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_follow);

/* A guest that has been quiet is followed so many times at once: a driver that
 * begins anew may enable all queue pairs one after the other.  Then, and until
 * it has been quiet again, once in so many milliseconds. */
#define MAX_AT_ONCE VPCI_MAX_QUEUE_PAIRS
#define INTERVAL_MS 1000

/* When the datapath may be asked next. */
static long long int
next_time(const struct vpci_follow *f)
{
    return f->spent_until - (MAX_AT_ONCE - 1) * INTERVAL_MS;
}

/* The datapath is asked now. */
static void
spend(struct vpci_follow *f, long long int now)
{
    if (now >= f->spent_until) {
        f->told = false;
    }
    f->spent_until = MAX(f->spent_until, now) + INTERVAL_MS;
}

/* True if the datapath has been asked, and has yet to look: another wish costs
 * it nothing. */
static bool
is_asked(const struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    return (dev->requested_n_rxq != dev->up.n_rxq
            || dev->requested_socket_id != dev->socket_id);
}

static void
begin_to_wait(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    dev->follow.waits = true;
    if (!dev->follow.told) {
        dev->follow.told = true;
        /* Which is not more often than MAX_AT_ONCE * INTERVAL_MS. */
        VLOG_INFO("%s: the guest changes the number of its queues, or its "
                  "NUMA node, again and again: the datapath follows once in "
                  "%d ms, lest it disturbs other ports", vpci_name(dev),
                  INTERVAL_MS);
    }
    /* The main thread has a timer to set. */
    vpci_changed(dev);
}

/* Asks for what the guest wants, if it is time to. */
static void
follow(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_follow *f = &dev->follow;
    long long int now = time_msec();

    if (f->n_rxq == dev->requested_n_rxq
        && f->socket_id == dev->requested_socket_id) {
        f->waits = false;
        return;
    }
    if (!is_asked(dev)) {
        if (now < next_time(f)) {
            if (!f->waits) {
                begin_to_wait(dev);
            }
            return;
        }
        spend(f, now);
    }
    f->waits = false;
    dev->requested_n_rxq = f->n_rxq;
    dev->requested_socket_id = f->socket_id;
    netdev_request_reconfigure(&dev->up);
}

void
vpci_follow(struct netdev_vpci *dev, int n_pairs, int numa)
{
    dev->follow.n_rxq = n_pairs;
    dev->follow.socket_id = (numa >= 0 && numa != dev->refused_socket_id
                             ? numa : dev->requested_socket_id);
    follow(dev);
}

void
vpci_follow_nobody(struct netdev_vpci *dev)
{
    dev->follow.waits = false;
}

void
vpci_follow_run(struct netdev_vpci *dev)
{
    ovs_mutex_lock(&dev->mutex);
    if (dev->follow.waits) {
        follow(dev);
    }
    ovs_mutex_unlock(&dev->mutex);
}

void
vpci_follow_wait(struct netdev_vpci *dev)
{
    ovs_mutex_lock(&dev->mutex);
    if (dev->follow.waits) {
        poll_timer_wait_until(next_time(&dev->follow));
    }
    ovs_mutex_unlock(&dev->mutex);
}

void
vpci_follow_show(const struct netdev_vpci *dev, struct ds *s)
{
    const struct vpci_follow *f = &dev->follow;

    if (f->waits) {
        ds_put_format(s, "  wanted: %d receive queues on NUMA node %d, in "
                      "%lld ms: the guest changes that too often\n", f->n_rxq,
                      f->socket_id, MAX(next_time(f) - time_msec(), 0));
    }
}
