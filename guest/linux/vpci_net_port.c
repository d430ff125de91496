// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* A port while its interface is up, and its housekeeping: see vpci_net.h.
 * Here is also what core/ asks of whoever calls it: see net-private.h.
 */

#include <linux/delay.h>
#include <linux/etherdevice.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>

#include "vpci_net.h"

#define RUN_INTERVAL msecs_to_jiffies(VPCI_NET_RUN_MS / 2)

#define FEATURE(NAME) BIT_ULL(VIRTIO_NET_F_##NAME)

/* What the driver takes, and what it leaves to others. */
#define FEATURES (FEATURE(CSUM) | FEATURE(GUEST_CSUM) | \
		  FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6) | \
		  FEATURE(GUEST_ECN) | FEATURE(HOST_TSO4) | \
		  FEATURE(HOST_TSO6) | FEATURE(HOST_ECN))

static struct vnet *vnet_of(const struct vpci_net *net)
{
	return container_of(net, struct vnet_port, net)->vnet;
}

/* Time. */

int64_t net_now_us(void)
{
	return ktime_to_us(ktime_get());
}

/* Of whoever has called the switch. */
bool net_sleep_until(struct net_worker *w, int64_t deadline)
{
	int64_t left = deadline - net_now_us();

	w->n_events = 0;
	usleep_range(clamp_t(int64_t, left, 50, 500),
		     clamp_t(int64_t, left, 50, 500) + 50);
	return true;
}

/* Interrupts, and who they wake. */

void vnet_interrupt(void *vector_)
{
	struct vnet_vector *v = vector_;
	struct vnet *vnet = READ_ONCE(v->vnet);
	unsigned long queues = READ_ONCE(v->rx) | READ_ONCE(v->tx);
	unsigned int i;

	if (!vnet)
		return;
	WRITE_ONCE(v->n_irqs, v->n_irqs + 1);
	for_each_set_bit(i, &queues, BITS_PER_LONG)
		napi_schedule_irqoff(&vnet->queues[i].napi);
	if (READ_ONCE(v->control))
		vnet_run_in(vnet, 0);
}

static struct vnet_vector *find_vector(const struct vpci_signal *signal)
{
	struct vpci_dev *vdev = core_to_vpci_dev(signal->device);
	struct vnet_device *d = dev_get_drvdata(&vdev->dev);

	return d ? &d->vectors[signal->number] : NULL;
}

static void listen(struct vnet *vnet, struct vnet_vector *v,
		   struct vpci_signal *signal)
{
	WRITE_ONCE(v->vnet, vnet);
	v->signal = signal;
	vpci_signal_set_callback(signal, vnet_interrupt, v);
	vpci_signal_enable(signal);
	/* One that came too often before has to wait. */
	if (!v->masked)
		vpci_signal_mask(signal, false);
}

/* If there is nobody to wake any more: whoever rings for nothing is counted
 * while somebody listens only.
 */
static void stop_listening(struct vnet_vector *v)
{
	if (!v->signal || v->rx || v->tx || v->control)
		return;
	vpci_signal_mask(v->signal, true);
	v->signal = NULL;
	WRITE_ONCE(v->vnet, NULL);
}

static void watch(struct vnet *vnet, struct vpci_signal *signal,
		  unsigned int queue, bool is_rx, bool on)
{
	struct vnet_vector *v = find_vector(signal);
	unsigned long *queues;

	if (!v)
		return;
	queues = is_rx ? &v->rx : &v->tx;
	if (on) {
		set_bit(queue, queues);
		listen(vnet, v, signal);
	} else {
		clear_bit(queue, queues);
		stop_listening(v);
	}
}

void net_worker_watch_signal(struct net_worker *w, struct vpci_signal *signal,
			     bool on)
{
	struct vpci_net *net = w->net;

	/* Whoever calls the switch looks by itself. */
	if (w == &net->caller || !signal)
		return;
	if (w >= &net->rx[0] && w < &net->rx[VPCI_ABI_MAX_QUEUES])
		watch(vnet_of(net), signal, w - net->rx, true, on);
	else
		watch(vnet_of(net), signal, w - net->tx, false, on);
}

void net_worker_watch_ring(struct net_worker *w,
			   const struct net_region *region, uint32_t index,
			   bool on)
{
	net_worker_watch_signal(w, net_region_signal(region, index), on);
}

void net_worker_watch(struct net_worker *w, const struct net_region *region,
		      uint32_t queue, bool on)
{
	u32 i;

	for (i = 0; i < region->layout.shape.n_classes; i++)
		net_worker_watch_ring(w, region,
				      vpci_layout_ring_index(&region->layout,
							     queue, i), on);
}

void net_note_events(struct net_worker *w, bool useful)
{
	w->n_events = 0;
}

int64_t net_poll_masked(struct net_worker *w)
{
	return -1;
}

/* Workers. */

/* Does nothing to those that are not enabled. */
void net_wake_workers(struct vpci_net *net)
{
	struct vnet *vnet = vnet_of(net);
	u32 i;

	local_bh_disable();
	for (i = 0; i < vnet->dev->num_rx_queues; i++)
		napi_schedule(&vnet->queues[i].napi);
	local_bh_enable();
}

void net_wake_controller(struct vpci_net *net)
{
	struct vnet *vnet = vnet_of(net);

	if (!READ_ONCE(vnet->closing))
		vnet_run_in(vnet, 0);
}

/* The housekeeping may be on this very processor: it lets workers in again, and
 * wakes them.
 */
bool net_enter_later(const struct vpci_net *net, struct net_worker *w)
{
	return false;
}

/* The control signal says that links, hints or acceptances are others. */
static void watch_control(struct vnet *vnet)
{
	const struct net_region *base = &vnet_net(vnet)->base;
	struct vpci_signal *signal;
	struct vnet_vector *v;
	u32 number;

	if (!vnet_net(vnet)->n_queues ||
	    !vpci_layout_has_control(&base->layout))
		return;
	number = vpci_layout_control_vector(&base->layout);
	signal = vpci_device_signal(base->device, number);
	v = &vnet->base->vectors[number];
	if (signal && !v->control) {
		WRITE_ONCE(v->control, true);
		listen(vnet, v, signal);
	}
}

/* Housekeeping. */

/* What has been agreed on becomes what the interface has, unless somebody else
 * is at it: then next time.
 */
static bool follow_agreement(struct vnet *vnet,
			     const struct vpci_net_info *info)
{
	struct net_device *dev = vnet->dev;
	u32 max_mtu = max_t(u32, info->max_len, ETH_MIN_MTU + VPCI_NET_OVERHEAD)
		      - VPCI_NET_OVERHEAD;

	if (vnet->features == info->features &&
	    vnet->n_queues == info->n_queues && dev->max_mtu == max_mtu)
		return true;
	if (!rtnl_trylock())
		return false;
	vnet->features = info->features;
	vnet->n_queues = info->n_queues;
	netdev_update_features(dev);
	netif_set_real_num_tx_queues(dev, info->n_queues);
	netif_set_real_num_rx_queues(dev, info->n_queues);
	dev->max_mtu = max_mtu;
	if (dev->mtu > max_mtu)
		dev_set_mtu(dev, max_mtu);
	rtnl_unlock();
	return true;
}

static void follow_carrier(struct vnet *vnet, const struct vpci_net_info *info)
{
	struct net_device *dev = vnet->dev;

	if (info->carrier == netif_carrier_ok(dev))
		return;
	if (!info->carrier) {
		netif_carrier_off(dev);
		vnet->unannounced = false;
		return;
	}
	netif_carrier_on(dev);
	vnet->unannounced = true;
}

/* Queues that no packets go by now. */
static void drop_pending(struct vnet *vnet, const struct vpci_net_info *info)
{
	u32 i;

	for (i = info->carrier ? info->n_queues : 0;
	     i < vnet->dev->num_tx_queues; i++)
		vnet_queue_drop(&vnet->queues[i]);
}

static void tell_state(struct vnet *vnet, const struct vpci_net_info *info)
{
	struct net_device *dev = vnet->dev;

	if (info->state == vnet->state && !strcmp(info->reason, vnet->reason))
		return;
	vnet->state = info->state;
	strscpy(vnet->reason, info->reason, sizeof(vnet->reason));
	if (!net_ratelimit())
		return;
	/* Everything else is how devices and switches come and go. */
	if (info->error == EPROTO)
		netdev_err(dev, "%s: %s\n", vpci_net_state_name(info->state),
			   info->reason);
	else if (*info->reason)
		netdev_info(dev, "%s: %s\n", vpci_net_state_name(info->state),
			    info->reason);
	else
		netdev_info(dev, "%s\n", vpci_net_state_name(info->state));
}

/* Interrupts may be lost, for instance while the function is reset: so each
 * queue is looked at now and then.
 */
static void follow(struct vnet *vnet)
{
	struct vpci_net_info *info;

	info = kmalloc(sizeof(*info), GFP_KERNEL);
	if (!info)
		return;
	vpci_net_get_info(vnet_net(vnet), info);
	watch_control(vnet);
	tell_state(vnet, info);
	if (!info->carrier || follow_agreement(vnet, info))
		follow_carrier(vnet, info);
	vnet_failover_announce(vnet);
	drop_pending(vnet, info);
	/* Queues that were stopped go on by their NAPI, too. */
	net_wake_workers(vnet_net(vnet));
	kfree(info);
}

static void count_useful(struct vnet *vnet)
{
	u32 n = 0, i;

	for (i = 0; i < vnet->dev->num_rx_queues; i++)
		n += READ_ONCE(vnet->queues[i].n_useful);
	vnet->n_useful = n - vnet->n_polls;
	vnet->n_polls = n;
}

void vnet_run(struct work_struct *work)
{
	struct vnet *vnet = container_of(work, struct vnet, run.work);
	bool masked;

	if (READ_ONCE(vnet->closing))
		return;
	vpci_net_run(vnet_net(vnet), ktime_to_ms(ktime_get()));
	follow(vnet);
	count_useful(vnet);
	masked = vnet_any_device(vnet, vnet_look_for_storms);
	vnet_run_in(vnet, masked ? 1 : RUN_INTERVAL);
}

static void add_stats(struct vpci_net_queue_stats *sum,
		      const struct vpci_net_queue_stats *stats)
{
	const u64 *from = (const u64 *)stats;
	u64 *to = (u64 *)sum;
	unsigned int i;

	BUILD_BUG_ON(sizeof(*sum) % sizeof(u64));
	for (i = 0; i < sizeof(*sum) / sizeof(u64); i++)
		to[i] += READ_ONCE(from[i]);
}

/* With 'past_lock'. */
static void add_port_stats(const struct vpci_net *net,
			   struct vpci_net_queue_stats *tx,
			   struct vpci_net_queue_stats *rx)
{
	u32 i;

	for (i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
		add_stats(tx, &net->tx[i].stats);
		add_stats(rx, &net->rx[i].stats);
	}
}

/* Any context. */
void vnet_get_stats(struct vnet *vnet, struct vpci_net_queue_stats *tx,
		    struct vpci_net_queue_stats *rx)
{
	spin_lock_bh(&vnet->past_lock);
	*tx = vnet->past_tx;
	*rx = vnet->past_rx;
	if (vnet->port)
		add_port_stats(&vnet->port->net, tx, rx);
	spin_unlock_bh(&vnet->past_lock);
}

/* Packets of 'class' since the interface is up.  Any context. */
u64 vnet_get_class_stats(struct vnet *vnet, bool is_rx, u32 class)
{
	u64 n = 0;
	u32 i;

	spin_lock_bh(&vnet->past_lock);
	for (i = 0; vnet->port && i < VPCI_ABI_MAX_QUEUES; i++) {
		const struct vpci_net *net = &vnet->port->net;

		n += READ_ONCE((is_rx ? &net->rx[i] : &net->tx[i])
			       ->class_packets[class]);
	}
	spin_unlock_bh(&vnet->past_lock);
	return n;
}

static int open_queues(struct vnet *vnet)
{
	int error = 0;
	u32 i;

	for (i = 0; i < vnet->dev->num_rx_queues && !error; i++)
		error = vnet_queue_open(&vnet->queues[i]);
	while (error && i-- > 0)
		vnet_queue_close(&vnet->queues[i]);
	return error;
}

static void make_workers(struct vpci_net *net)
{
	u32 i;

	vpci_gate_init(&net->caller.gate);
	for (i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
		vpci_gate_init(&net->tx[i].gate);
		vpci_gate_init(&net->rx[i].gate);
	}
}

int vnet_port_open(struct vnet *vnet)
{
	struct vpci_net_config config = {
		.n_queues = vnet->dev->num_rx_queues,
		.features = FEATURES,
	};
	struct vnet_port *port;
	int error;
	u32 i;

	memcpy(config.mac, vnet->dev->dev_addr, ETH_ALEN);
	port = kvzalloc(sizeof(*port), GFP_KERNEL);
	if (!port)
		return -ENOMEM;
	port->vnet = vnet;
	net_init(&port->net, &config);
	make_workers(&port->net);
	vnet_bus_init(&vnet->bus, &vnet->base->vdev->core);
	port->net.bus = &vnet->bus;
	error = net_links_init(&port->net) ? -ENOMEM : open_queues(vnet);
	if (error) {
		net_links_uninit(&port->net);
		kvfree(port);
		return error;
	}
	vnet->port = port;
	WRITE_ONCE(vnet->closing, false);
	vnet->state = VPCI_NET_NO_DEVICE;
	/* What the interface has is of another meeting: see follow_agreement(). */
	vnet->features = 0;
	vnet->n_queues = 0;
	for (i = 0; i < vnet->dev->num_rx_queues; i++) {
		struct vnet_queue *q = &vnet->queues[i];

		vnet_queue_set_mitigation(q, &q->mitigation);
		napi_enable(&q->napi);
	}
	vnet_run_in(vnet, 0);
	return 0;
}

void vnet_port_close(struct vnet *vnet)
{
	struct vnet_port *port = vnet->port;
	struct vpci_net *net = &port->net;
	u32 i;

	cancel_delayed_work_sync(&vnet->run);
	for (i = 0; i < vnet->dev->num_rx_queues; i++)
		napi_disable(&vnet->queues[i].napi);
	if (net->n_queues)
		net_stop(net);
	net_links_uninit(net);
	net_region_uninit(&net->base);
	/* No interrupt comes any more. */
	cancel_delayed_work_sync(&vnet->run);
	vpci_device_release(net->device);
	vpci_device_release(net->next);
	vnet_bus_uninit(&vnet->bus);
	memset(vnet->base->vectors, 0, sizeof(vnet->base->vectors));

	spin_lock_bh(&vnet->past_lock);
	add_port_stats(net, &vnet->past_tx, &vnet->past_rx);
	vnet->port = NULL;
	spin_unlock_bh(&vnet->past_lock);
	for (i = 0; i < vnet->dev->num_rx_queues; i++)
		vnet_queue_close(&vnet->queues[i]);
	kvfree(port);
}
