// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* /sys/class/net/INTERFACE/vpci: how a port and its links stand. */

#include <linux/device.h>
#include <linux/err.h>
#include <linux/rtnetlink.h>
#include <linux/sched/signal.h>

#include "vpci_net.h"

static struct vnet *to_vnet(struct device *dev)
{
	return netdev_priv(to_net_dev(dev));
}

/* Returns what is known of the port, to be freed, or an error.  Whoever removes
 * the interface has the lock, and waits for its files to be closed.
 */
static struct vpci_net_info *get_info(struct vnet *vnet)
{
	struct vpci_net_info *info;

	if (!rtnl_trylock())
		return ERR_PTR(restart_syscall());
	info = kzalloc(sizeof(*info), GFP_KERNEL);
	if (!info) {
		rtnl_unlock();
		return ERR_PTR(-ENOMEM);
	}
	if (vnet->port) {
		vpci_net_get_info(vnet_net(vnet), info);
	} else {
		info->state = VPCI_NET_NO_DEVICE;
		strscpy(info->reason, "the interface is down: see ip link",
			sizeof(info->reason));
	}
	rtnl_unlock();
	return info;
}

static ssize_t state_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct vpci_net_info *info = get_info(to_vnet(dev));
	ssize_t n;

	if (IS_ERR(info))
		return PTR_ERR(info);
	n = sysfs_emit(buf, "%s\n", vpci_net_state_name(info->state));
	kfree(info);
	return n;
}
static DEVICE_ATTR_RO(state);

static ssize_t reason_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	struct vpci_net_info *info = get_info(to_vnet(dev));
	ssize_t n;

	if (IS_ERR(info))
		return PTR_ERR(info);
	n = sysfs_emit(buf, "%s\n", info->reason);
	kfree(info);
	return n;
}
static DEVICE_ATTR_RO(reason);

static ssize_t emit_link(char *buf, ssize_t n,
			 const struct vpci_net_link_info *l)
{
	return sysfs_emit_at(buf, n,
			     "%u: %s%s%s, peer %u, tx %llu, rx %llu, refused %llu%s%s\n",
			     l->id, vpci_net_state_name(l->state),
			     l->is_peer ? ", virtio-net" : "",
			     l->sends ? ", sends" : "", l->peer_id,
			     l->tx_packets, l->rx_packets, l->refused,
			     *l->reason ? ": " : "", l->reason);
}

/* A line for each link: the id of its region, and how it stands. */
static ssize_t links_show(struct device *dev, struct device_attribute *attr,
			  char *buf)
{
	struct vnet *vnet = to_vnet(dev);
	struct vpci_net_link_info *infos;
	u32 n_links = 0, i;
	ssize_t n = 0;

	infos = kcalloc(VPCI_ABI_MAX_LINKS, sizeof(*infos), GFP_KERNEL);
	if (!infos)
		return -ENOMEM;
	if (!rtnl_trylock()) {
		kfree(infos);
		return restart_syscall();
	}
	if (vnet->port)
		n_links = vpci_net_get_links(vnet_net(vnet), infos,
					     VPCI_ABI_MAX_LINKS);
	rtnl_unlock();
	for (i = 0; i < n_links; i++)
		n += emit_link(buf, n, &infos[i]);
	kfree(infos);
	return n;
}
static DEVICE_ATTR_RO(links);

static struct attribute *vnet_attrs[] = {
	&dev_attr_state.attr,
	&dev_attr_reason.attr,
	&dev_attr_links.attr,
	NULL,
};

const struct attribute_group vnet_sysfs_group = {
	.name = "vpci",
	.attrs = vnet_attrs,
};
