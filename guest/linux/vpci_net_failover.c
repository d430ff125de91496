// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Interfaces that the kernel has paired with a virtio-net interface of the same
 * address: see vpci_net.h.
 *
 * net_failover sends by vpci0 while that has a carrier, and otherwise by
 * virtio-net.  It tells nobody of a change.  A switch that has learnt where the
 * address is would go on to send there: to a port whose guest has gone or, when
 * vpci0 is back, to virtio-net, whose packets net_failover drops by then.
 */

#include <linux/netdevice.h>
#include <linux/rtnetlink.h>
#include <net/sch_generic.h>

#include "vpci_net.h"

/* With RTNL. */
static struct net_device *failover_of(struct net_device *dev)
{
	return netif_is_failover_slave(dev) ? netdev_master_upper_dev_get(dev)
					    : NULL;
}

/* Of the housekeeping, which those wait for who have RTNL. */
void vnet_failover_announce(struct vnet *vnet)
{
	struct net_device *master, *dev = vnet->dev;

	/* Until the kernel has seen the carrier, it drops what is sent. */
	if (!vnet->unannounced || qdisc_tx_is_noop(dev) || !rtnl_trylock())
		return;
	vnet->unannounced = false;
	master = failover_of(dev);
	if (master)
		__netdev_notify_peers(master);
	rtnl_unlock();
}

void vnet_failover_unregister(struct net_device *dev)
{
	struct net_device *master;

	rtnl_lock();
	master = failover_of(dev);
	unregister_netdevice(dev);
	if (master)
		__netdev_notify_peers(master);
	rtnl_unlock();
}
