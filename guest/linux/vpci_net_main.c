// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Interfaces of ports: see vpci_net.h. */

#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/virtio_net.h>

#include "vpci_net.h"

/* Ports that there are, whose housekeeping may be asked for. */
static DEFINE_MUTEX(vnets_mutex);
static LIST_HEAD(vnets);

void vnet_run_all(void)
{
	struct vnet *vnet;

	mutex_lock(&vnets_mutex);
	list_for_each_entry(vnet, &vnets, node)
		vnet_run_in(vnet, 0);
	mutex_unlock(&vnets_mutex);
}

static void vnet_set_listed(struct vnet *vnet, bool on)
{
	mutex_lock(&vnets_mutex);
	if (on)
		list_add_tail(&vnet->node, &vnets);
	else
		list_del_init(&vnet->node);
	mutex_unlock(&vnets_mutex);
}

static int vnet_open(struct net_device *dev)
{
	struct vnet *vnet = netdev_priv(dev);
	int error;

	netif_carrier_off(dev);
	error = vnet_port_open(vnet);
	if (error)
		return error;
	vnet_set_listed(vnet, true);
	netif_tx_wake_all_queues(dev);
	return 0;
}

static int vnet_stop(struct net_device *dev)
{
	struct vnet *vnet = netdev_priv(dev);

	/* It was to be opened again, which has failed, or is suspended. */
	if (!vnet->port)
		return 0;
	/* First, so that no poll starts what is stopped: see vnet_resume(). */
	WRITE_ONCE(vnet->closing, true);
	netif_tx_disable(dev);
	vnet_set_listed(vnet, false);
	vnet_port_close(vnet);
	/* The housekeeping, which may have set it, has ended. */
	netif_carrier_off(dev);
	return 0;
}

/* The switch knows the address that the interface begins with. */
static int vnet_set_mac_address(struct net_device *dev, void *address)
{
	int error;

	error = eth_prepare_mac_addr_change(dev, address);
	if (error)
		return error;
	eth_commit_mac_addr_change(dev, address);
	if (netif_running(dev)) {
		vnet_stop(dev);
		return vnet_open(dev);
	}
	return 0;
}

static int vnet_change_mtu(struct net_device *dev, int mtu)
{
	dev->mtu = mtu;
	return 0;
}

static netdev_features_t vnet_fix_features(struct net_device *dev,
					   netdev_features_t features)
{
	u64 agreed = ((struct vnet *)netdev_priv(dev))->features;

	if (!(agreed & BIT_ULL(VIRTIO_NET_F_CSUM)))
		features &= ~NETIF_F_HW_CSUM;
	if (!(agreed & BIT_ULL(VIRTIO_NET_F_HOST_TSO4)))
		features &= ~NETIF_F_TSO;
	if (!(agreed & BIT_ULL(VIRTIO_NET_F_HOST_TSO6)))
		features &= ~NETIF_F_TSO6;
	if (!(agreed & BIT_ULL(VIRTIO_NET_F_HOST_ECN)))
		features &= ~NETIF_F_TSO_ECN;
	return features;
}

static void vnet_get_stats64(struct net_device *dev,
			     struct rtnl_link_stats64 *s)
{
	struct vnet *vnet = netdev_priv(dev);
	struct vpci_net_queue_stats tx, rx;
	u32 i;

	vnet_get_stats(vnet, &tx, &rx);
	s->rx_packets = rx.packets;
	s->rx_bytes = rx.bytes;
	s->rx_dropped = rx.dropped + rx.rejected;
	s->tx_packets = tx.packets;
	s->tx_bytes = tx.bytes;
	s->tx_dropped = tx.refused;
	for (i = 0; i < dev->num_rx_queues; i++) {
		const struct vnet_queue *q = &vnet->queues[i];

		s->rx_dropped += READ_ONCE(q->rx_alloc_errors);
		s->rx_frame_errors += READ_ONCE(q->rx_frame_errors);
		s->tx_errors += READ_ONCE(q->tx_errors);
	}
	s->rx_errors = s->rx_frame_errors;
}

/* No ndo_tx_timeout: the housekeeping looks at queues that are stopped, and that
 * a switch is not heard of for seconds is no fault of this kernel's, whose
 * watchdog would print a warning with a backtrace.
 */
static const struct net_device_ops vnet_ops = {
	.ndo_open = vnet_open,
	.ndo_stop = vnet_stop,
	.ndo_start_xmit = vnet_start_xmit,
	.ndo_validate_addr = eth_validate_addr,
	.ndo_set_mac_address = vnet_set_mac_address,
	.ndo_change_mtu = vnet_change_mtu,
	.ndo_fix_features = vnet_fix_features,
	.ndo_get_stats64 = vnet_get_stats64,
};

static const struct device_type vnet_type = {
	.name = "vpci",
};

static void vnet_setup(struct net_device *dev, struct vpci_dev *vdev,
		       const struct vpci_abi_port *port)
{
	u32 max_len = vpci_load32(&port->max_len);
	u8 mac[ETH_ALEN];

	/* The PCI function: names of interfaces go by that. */
	SET_NETDEV_DEV(dev, vdev->dev.parent);
	SET_NETDEV_DEVTYPE(dev, &vnet_type);
	dev->netdev_ops = &vnet_ops;
	dev->ethtool_ops = &vnet_ethtool_ops;
	dev->sysfs_groups[0] = &vnet_sysfs_group;
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE;
	dev->hw_features = NETIF_F_SG | NETIF_F_HW_CSUM | NETIF_F_TSO |
			   NETIF_F_TSO6 | NETIF_F_TSO_ECN;
	dev->features = dev->hw_features | NETIF_F_HIGHDMA | NETIF_F_RXCSUM;
	dev->vlan_features = dev->hw_features;
	dev->min_mtu = ETH_MIN_MTU;
	if (max_len >= ETH_MIN_MTU + VPCI_NET_OVERHEAD &&
	    max_len <= VPCI_ABI_MAX_LEN)
		dev->mtu = max_len - VPCI_NET_OVERHEAD;
	dev->max_mtu = dev->mtu;
	/* Once: others may write to it. */
	memcpy(mac, port->mac, ETH_ALEN);
	barrier_data(mac);
	if (is_valid_ether_addr(mac))
		eth_hw_addr_set(dev, mac);
	else
		eth_hw_addr_random(dev);
}

/* Reads how many queues the port has, and makes its interface. */
static struct net_device *vnet_create(struct vpci_dev *vdev,
				      const struct vpci_region *region)
{
	struct vpci_layout_report why;
	struct vpci_layout layout;
	struct net_device *dev;
	struct vnet *vnet;
	u32 n, i;

	if (!vpci_layout_read(&layout, region->base, region->size, &why))
		return ERR_PTR(-EPROTO);
	n = min_t(u32, layout.shape.n_queues, num_online_cpus());
	dev = alloc_netdev_mqs(struct_size(vnet, queues, n), "vpci%d",
			       NET_NAME_ENUM, ether_setup, n, n);
	if (!dev)
		return ERR_PTR(-ENOMEM);
	vnet = netdev_priv(dev);
	vnet->dev = dev;
	INIT_LIST_HEAD(&vnet->node);
	spin_lock_init(&vnet->past_lock);
	INIT_DELAYED_WORK(&vnet->run, vnet_run);
	for (i = 0; i < n; i++)
		vnet_queue_init(&vnet->queues[i], vnet, i);
	vnet_setup(dev, vdev, vpci_layout_port(region->base));
	return dev;
}

static int vnet_probe_base(struct vnet_device *d)
{
	struct vpci_device *core = &d->vdev->core;
	struct vpci_region region;
	struct net_device *dev;
	int error;

	error = vpci_device_open(core, 0);
	if (error) {
		dev_err(&d->vdev->dev, "%s\n", vpci_device_reason(core));
		return -error;
	}
	vpci_device_shm(core, 0, 0, &region, NULL);
	dev = vnet_create(d->vdev, &region);
	vpci_device_close(core);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	d->vnet = netdev_priv(dev);
	d->vnet->base = d;
	netif_carrier_off(dev);
	error = register_netdev(dev);
	if (error)
		free_netdev(dev);
	return error;
}

static int vnet_probe(struct vpci_dev *vdev)
{
	struct vnet_device *d;
	int error = 0;

	d = vnet_device_create(vdev);
	if (!d)
		return -ENOMEM;
	if (vdev->kind == VPCI_ABI_BASE)
		error = vnet_probe_base(d);
	else
		vnet_links_add(d);
	if (error)
		vnet_device_destroy(d);
	return error;
}

static void vnet_remove(struct vpci_dev *vdev)
{
	struct vnet_device *d = dev_get_drvdata(&vdev->dev);

	if (d->vnet) {
		vnet_failover_unregister(d->vnet->dev);
		free_netdev(d->vnet->dev);
	} else {
		vnet_links_remove(d);
	}
	vnet_device_destroy(d);
}

static int vnet_suspend(struct vpci_dev *vdev)
{
	struct vnet_device *d = dev_get_drvdata(&vdev->dev);

	if (d->vnet) {
		rtnl_lock();
		netif_device_detach(d->vnet->dev);
		if (netif_running(d->vnet->dev))
			vnet_stop(d->vnet->dev);
		rtnl_unlock();
	}
	return 0;
}

static int vnet_resume(struct vpci_dev *vdev)
{
	struct vnet_device *d = dev_get_drvdata(&vdev->dev);
	int error = 0;

	if (d->vnet) {
		rtnl_lock();
		if (netif_running(d->vnet->dev))
			error = vnet_open(d->vnet->dev);
		if (!error)
			netif_device_attach(d->vnet->dev);
		rtnl_unlock();
	}
	return error;
}

static struct vpci_driver vnet_driver = {
	.driver.name = "vpci_net",
	.driver.owner = THIS_MODULE,
	.kinds = BIT(VPCI_ABI_BASE) | BIT(VPCI_ABI_LINK) |
		 BIT(VPCI_ABI_PEER),
	.probe = vnet_probe,
	.remove = vnet_remove,
	.suspend = vnet_suspend,
	.resume = vnet_resume,
};

static int __init vnet_init(void)
{
	return vpci_register_driver(&vnet_driver);
}
module_init(vnet_init);

static void __exit vnet_exit(void)
{
	vpci_unregister_driver(&vnet_driver);
}
module_exit(vnet_exit);

MODULE_DESCRIPTION("Network interfaces of vpci ports, with links");
MODULE_AUTHOR("The ovs-vpci developers");
MODULE_LICENSE("GPL");
MODULE_VERSION(VPCI_VERSION);
MODULE_ALIAS("vpci:kbase");
MODULE_ALIAS("vpci:klink");
MODULE_ALIAS("vpci:kpeer");
