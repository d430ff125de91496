/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef VPCI_NET_H_KERNEL
#define VPCI_NET_H_KERNEL

/*
 * Ports of vpci-net as network interfaces
 *
 * What a port and its links are, and how packets go by them, is in core/, as
 * for processes; struct vpci_net is that.  Here is what differs: who calls it.
 *
 *	vpci_net_main.c		interfaces, from probe to removal
 *	vpci_net_queue.c	packets: NAPI and transmission
 *	vpci_net_port.c		a port while its interface is up; its housekeeping
 *	vpci_net_links.c	functions that are links' or peers', for all ports
 *	vpci_net_failover.c	interfaces that virtio-net stands in for
 *	vpci_net_storm.c	interrupts that come too often
 *	vpci_net_ethtool.c	what ethtool shows and changes
 *	vpci_net_sysfs.c	how it stands
 *
 * Housekeeping is a work item, 'run', which never runs twice at once.  Workers
 * are NAPI polls and transmission, with softirqs disabled: so that the
 * housekeeping cannot wait for one that it has interrupted.  One that finds its
 * gate shut does nothing, and vpci_net_port.c schedules it later.
 */

#include <linux/hrtimer.h>
#include <linux/netdevice.h>
#include <linux/workqueue.h>

#include "vpci_bus.h"
#include "net-peer.h"

#define VNET_BURST 16
#define VNET_PENDING 32

struct vnet;

/* A queue, both ways. */
struct vnet_queue {
	struct vnet *vnet;
	u32 index;
	struct napi_struct napi;
	u32 n_useful;			/* Polls that had something to do. */

	/* Ends the time that packets wait for others: see net-hold.c. */
	struct hrtimer timer;
	struct hrtimer tx_timer;	/* Nobody tells of room: see net-peer.h. */
	struct vpci_mitigation mitigation;

	/* Received packets are copied here first: private memory. */
	struct vpci_ring_buf rx[VNET_BURST];
	void *rx_memory;
	u64 rx_alloc_errors;
	u64 rx_frame_errors;

	/* Packets that are being sent, under the lock of the netdev_queue. */
	struct vpci_ring_buf tx[VNET_PENDING];
	struct sk_buff *skbs[VNET_PENDING];
	unsigned int n_pending;
	void *tx_memory;		/* For one whose data is scattered... */
	bool tx_memory_used;		/* ...which is pending. */
	u64 tx_errors;
};

/* A port while its interface is up. */
struct vnet_port {
	struct vpci_net net;
	struct vnet *vnet;
};

/* Who is to be woken by a signal. */
struct vnet_vector {
	struct vnet *vnet;
	unsigned long rx, tx;		/* Queues; atomic bits. */
	bool control;
	struct vpci_signal *signal;

	/* Of the housekeeping: how often it came, and when to listen again, in
	 * jiffies, if it came too often.
	 */
	u32 n_irqs, n_seen;		/* Since before. */
	bool masked;
	unsigned long masked_until;
	unsigned int mask_ms;		/* The last time. */
};

/* What vpci devices have as driver data, those of links as well. */
struct vnet_device {
	struct list_head node;		/* Of a link, in 'links'. */
	struct vpci_dev *vdev;
	struct vnet *vnet;		/* Of a base. */
	struct vnet_vector vectors[VPCI_ABI_MAX_VECTORS];
};

/* What a bus of core/ is here: devices that one port is told of. */
struct vpci_bus {
	struct vpci_device *base;
	bool told_base;
	u32 seen;			/* vnet_links_generation() */
	struct vpci_device *told[VPCI_ABI_MAX_LINKS * 2];
	unsigned int n_told;
};

struct vnet {
	struct net_device *dev;
	struct vnet_device *base;
	struct list_head node;		/* In 'vnets'. */
	struct delayed_work run;
	struct vnet_port *port;		/* While it is up. */
	bool closing;			/* It goes down: set before queues stop. */
	struct vpci_bus bus;

	u32 n_polls;			/* With something to do, of all queues; */
	u32 n_useful;			/* since the housekeeping before. */
	u64 features;			/* Of virtio-net, agreed on. */
	u32 n_queues;			/* Agreed on. */
	bool unannounced;		/* The carrier is on since the last time. */
	enum vpci_net_state state;	/* That was told of. */
	char reason[256];

	spinlock_t past_lock;		/* Protects that 'port' is not freed, and: */
	struct vpci_net_queue_stats past_tx, past_rx;	/* Of ports before. */
	struct vnet_queue queues[];
};

static inline struct vpci_net *vnet_net(const struct vnet *vnet)
{
	return &vnet->port->net;
}

/* Lets the housekeeping run, in 'delay' jiffies at the latest: where there is
 * time for it, which need not be the processor that is busy with packets.
 */
static inline void vnet_run_in(struct vnet *vnet, unsigned long delay)
{
	mod_delayed_work(system_unbound_wq, &vnet->run, delay);
}

/* vpci_net_port.c */
int vnet_port_open(struct vnet *vnet);
void vnet_port_close(struct vnet *vnet);
void vnet_run(struct work_struct *work);
void vnet_get_stats(struct vnet *vnet, struct vpci_net_queue_stats *tx,
		    struct vpci_net_queue_stats *rx);
u64 vnet_get_class_stats(struct vnet *vnet, bool is_rx, u32 class);
void vnet_interrupt(void *vector);

/* vpci_net_queue.c */
/* Freed with the interface. */
void vnet_queue_init(struct vnet_queue *q, struct vnet *vnet, u32 index);
int vnet_queue_open(struct vnet_queue *q);
void vnet_queue_close(struct vnet_queue *q);
int vnet_queue_set_mitigation(struct vnet_queue *q,
			      const struct vpci_mitigation *m);
void vnet_queue_drop(struct vnet_queue *q);
netdev_tx_t vnet_start_xmit(struct sk_buff *skb, struct net_device *dev);

/* vpci_net_links.c */
struct vnet_device *vnet_device_create(struct vpci_dev *vdev);
void vnet_device_destroy(struct vnet_device *d);
void vnet_links_add(struct vnet_device *d);
void vnet_links_remove(struct vnet_device *d);
void vnet_bus_init(struct vpci_bus *bus, struct vpci_device *base);
void vnet_bus_uninit(struct vpci_bus *bus);

/* Calls 'cb' for the base and all links.  Returns whether one of them said so. */
bool vnet_any_device(struct vnet *vnet,
		     bool (*cb)(struct vnet *vnet, struct vnet_device *d));

/* vpci_net_failover.c */
/* Tells switches that packets come by 'vnet' from now on. */
void vnet_failover_announce(struct vnet *vnet);
/* Unregisters 'dev', and tells them that they come by virtio-net. */
void vnet_failover_unregister(struct net_device *dev);

/* vpci_net_storm.c: of the housekeeping.  Returns whether signals are masked. */
bool vnet_look_for_storms(struct vnet *vnet, struct vnet_device *d);

/* vpci_net_main.c */
void vnet_run_all(void);

/* vpci_net_sysfs.c */
extern const struct attribute_group vnet_sysfs_group;

/* vpci_net_ethtool.c */
extern const struct ethtool_ops vnet_ethtool_ops;

#endif
