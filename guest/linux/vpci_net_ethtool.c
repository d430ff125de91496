// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* What ethtool shows and changes: see vpci_net.h. */

#include <linux/ethtool.h>

#include "vpci_net.h"

#define STAT(WAY, NAME) \
	{ #WAY "_" #NAME, #WAY[0] == 'r', \
	  offsetof(struct vpci_net_queue_stats, NAME) }

static const struct {
	char name[ETH_GSTRING_LEN];
	bool is_rx;
	size_t offset;
} port_stats[] = {
	STAT(tx, packets), STAT(tx, bytes), STAT(tx, full), STAT(tx, refused),
	STAT(tx, injected), STAT(tx, linked),
	STAT(rx, packets), STAT(rx, bytes), STAT(rx, dropped),
	STAT(rx, injected), STAT(rx, linked), STAT(rx, rejected),
};

/* Behind these, packets of each class, each way. */
#define N_STATS ((int)ARRAY_SIZE(port_stats) + 2 * VPCI_ABI_MAX_CLASSES)

static void vnet_get_drvinfo(struct net_device *dev,
			     struct ethtool_drvinfo *info)
{
	struct vnet *vnet = netdev_priv(dev);

	strscpy(info->driver, "vpci_net", sizeof(info->driver));
	strscpy(info->version, VPCI_VERSION, sizeof(info->version));
	strscpy(info->bus_info, dev_name(vnet->base->vdev->dev.parent),
		sizeof(info->bus_info));
}

static int vnet_get_sset_count(struct net_device *dev, int set)
{
	return set == ETH_SS_STATS ? N_STATS : -EOPNOTSUPP;
}

static void vnet_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	unsigned int i;

	if (set != ETH_SS_STATS)
		return;
	for (i = 0; i < ARRAY_SIZE(port_stats); i++)
		ethtool_sprintf(&data, "%s", port_stats[i].name);
	for (i = 0; i < VPCI_ABI_MAX_CLASSES; i++) {
		ethtool_sprintf(&data, "tx_class%u_packets", i);
		ethtool_sprintf(&data, "rx_class%u_packets", i);
	}
}

static void vnet_get_ethtool_stats(struct net_device *dev,
				   struct ethtool_stats *stats, u64 *data)
{
	struct vpci_net_queue_stats tx, rx;
	unsigned int i;

	vnet_get_stats(netdev_priv(dev), &tx, &rx);
	for (i = 0; i < ARRAY_SIZE(port_stats); i++) {
		const void *from = port_stats[i].is_rx ? &rx : &tx;

		*data++ = *(const u64 *)(from + port_stats[i].offset);
	}
	for (i = 0; i < VPCI_ABI_MAX_CLASSES; i++) {
		*data++ = vnet_get_class_stats(netdev_priv(dev), false, i);
		*data++ = vnet_get_class_stats(netdev_priv(dev), true, i);
	}
}

static int vnet_get_link_ksettings(struct net_device *dev,
				   struct ethtool_link_ksettings *s)
{
	ethtool_link_ksettings_zero_link_mode(s, supported);
	ethtool_link_ksettings_zero_link_mode(s, advertising);
	s->base.speed = SPEED_UNKNOWN;
	s->base.duplex = DUPLEX_FULL;
	s->base.port = PORT_OTHER;
	return 0;
}

static void vnet_get_channels(struct net_device *dev,
			      struct ethtool_channels *channels)
{
	channels->max_combined = dev->num_rx_queues;
	channels->combined_count = dev->real_num_rx_queues;
}

static void vnet_get_ringparam(struct net_device *dev,
			       struct ethtool_ringparam *ring,
			       struct kernel_ethtool_ringparam *kernel_ring,
			       struct netlink_ext_ack *extack)
{
	struct vnet *vnet = netdev_priv(dev);
	struct vpci_net_info *info;

	info = vnet->port ? kmalloc(sizeof(*info), GFP_KERNEL) : NULL;
	if (!info)
		return;
	vpci_net_get_info(vnet_net(vnet), info);
	ring->rx_max_pending = ring->tx_max_pending = info->ring_slots;
	ring->rx_pending = ring->tx_pending = info->ring_slots;
	kfree(info);
}

static int vnet_get_coalesce(struct net_device *dev,
			     struct ethtool_coalesce *c,
			     struct kernel_ethtool_coalesce *kernel_c,
			     struct netlink_ext_ack *extack)
{
	struct vnet *vnet = netdev_priv(dev);

	c->rx_coalesce_usecs = vnet->queues[0].mitigation.us;
	c->rx_max_coalesced_frames = vnet->queues[0].mitigation.packets;
	return 0;
}

static int vnet_set_coalesce(struct net_device *dev,
			     struct ethtool_coalesce *c,
			     struct kernel_ethtool_coalesce *kernel_c,
			     struct netlink_ext_ack *extack)
{
	struct vnet *vnet = netdev_priv(dev);
	const struct vpci_mitigation m = {
		.packets = c->rx_max_coalesced_frames,
		.us = c->rx_coalesce_usecs,
	};
	u32 i;

	if (m.us > VPCI_NET_MAX_MITIGATION_US) {
		NL_SET_ERR_MSG(extack, "rx-usecs are 1000000 at most");
		return -EINVAL;
	}
	for (i = 0; i < dev->num_rx_queues; i++) {
		struct vnet_queue *q = &vnet->queues[i];

		q->mitigation = m;
		if (!netif_running(dev))
			continue;
		napi_disable(&q->napi);
		vnet_queue_set_mitigation(q, &m);
		napi_enable(&q->napi);
	}
	if (netif_running(dev))
		net_wake_workers(vnet_net(vnet));
	return 0;
}

const struct ethtool_ops vnet_ethtool_ops = {
	.supported_coalesce_params = ETHTOOL_COALESCE_RX_USECS |
				     ETHTOOL_COALESCE_RX_MAX_FRAMES,
	.get_coalesce = vnet_get_coalesce,
	.set_coalesce = vnet_set_coalesce,
	.get_drvinfo = vnet_get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_sset_count = vnet_get_sset_count,
	.get_strings = vnet_get_strings,
	.get_ethtool_stats = vnet_get_ethtool_stats,
	.get_link_ksettings = vnet_get_link_ksettings,
	.get_channels = vnet_get_channels,
	.get_ringparam = vnet_get_ringparam,
};
