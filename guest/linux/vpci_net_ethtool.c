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
	return set == ETH_SS_STATS ? (int)ARRAY_SIZE(port_stats)
				   : -EOPNOTSUPP;
}

static void vnet_get_strings(struct net_device *dev, u32 set, u8 *data)
{
	unsigned int i;

	if (set != ETH_SS_STATS)
		return;
	for (i = 0; i < ARRAY_SIZE(port_stats); i++)
		memcpy(data + i * ETH_GSTRING_LEN, port_stats[i].name,
		       ETH_GSTRING_LEN);
}

static void vnet_get_ethtool_stats(struct net_device *dev,
				   struct ethtool_stats *stats, u64 *data)
{
	struct vpci_net_queue_stats tx, rx;
	unsigned int i;

	vnet_get_stats(netdev_priv(dev), &tx, &rx);
	for (i = 0; i < ARRAY_SIZE(port_stats); i++) {
		const void *from = port_stats[i].is_rx ? &rx : &tx;

		data[i] = *(const u64 *)(from + port_stats[i].offset);
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

const struct ethtool_ops vnet_ethtool_ops = {
	.get_drvinfo = vnet_get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_sset_count = vnet_get_sset_count,
	.get_strings = vnet_get_strings,
	.get_ethtool_stats = vnet_get_ethtool_stats,
	.get_link_ksettings = vnet_get_link_ksettings,
	.get_channels = vnet_get_channels,
	.get_ringparam = vnet_get_ringparam,
};
