// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Packets of an interface: NAPI and transmission.  See vpci_net.h. */

#include <linux/etherdevice.h>
#include <linux/mm.h>
#include <linux/virtio_net.h>

#include "vpci_net.h"

#define BUFFER_BYTES ALIGN(VPCI_ABI_MAX_LEN, VPCI_ABI_LINE)

/* Packets up to so many bytes are in one piece; of others so many are. */
#define LINEAR_BYTES 1600
#define HEADER_BYTES 256

/* How often a queue that is full is tried again at once. */
#define MAX_TRIES 8

static struct net_worker *rx_worker(const struct vnet_queue *q)
{
	return &vnet_net(q->vnet)->rx[q->index];
}

static struct net_worker *tx_worker(const struct vnet_queue *q)
{
	return &vnet_net(q->vnet)->tx[q->index];
}

static struct netdev_queue *txq_of(const struct vnet_queue *q)
{
	return netdev_get_tx_queue(q->vnet->dev, q->index);
}

/* Asks to be woken, or to look again at '*until', in us, if that is not negative.
 * Returns true if there is something to do.  If rings cannot be used, the
 * housekeeping will tell.
 */
static bool vnet_ask(const struct vnet_queue *q, struct net_worker *w,
		     const struct net_waiting *waiting, s64 *until)
{
	struct vpci_net *net = vnet_net(q->vnet);
	bool ready;

	*until = -1;
	if (!net_enter(net, w))
		return false;
	if (w->generation != net->generation)
		net_see_rings(net, w, q->index, waiting);
	ready = waiting->is_ready(net, w, q->index) ||
		!waiting->ask(net, w, q->index);
	if (ready)
		waiting->awake(net, q->index, false);
	*until = net_earlier(net_holds_until(w), net_peer_until(w));
	net_leave(w);
	return ready;
}

static void vnet_start_timer(struct hrtimer *timer, s64 until)
{
	if (until >= 0)
		hrtimer_start(timer, ns_to_ktime(until * NSEC_PER_USEC),
			      HRTIMER_MODE_ABS);
}

/* Reception. */

/* As vnet_ask().  Packets that are to wait for others do so for some time. */
static bool vnet_ask_rx(struct vnet_queue *q)
{
	struct net_worker *w = rx_worker(q);
	s64 until;

	net_holds_begin(w);
	if (vnet_ask(q, w, &net_rx_waiting, &until))
		return true;
	vnet_start_timer(&q->timer, until);
	return false;
}

static enum hrtimer_restart vnet_timer(struct hrtimer *timer)
{
	struct vnet_queue *q = container_of(timer, struct vnet_queue, timer);

	napi_schedule(&q->napi);
	return HRTIMER_NORESTART;
}

static enum hrtimer_restart vnet_tx_timer(struct hrtimer *timer)
{
	struct vnet_queue *q = container_of(timer, struct vnet_queue, tx_timer);

	napi_schedule(&q->napi);
	return HRTIMER_NORESTART;
}

/* While NAPI does not run. */
int vnet_queue_set_mitigation(struct vnet_queue *q,
			      const struct vpci_mitigation *m)
{
	u32 i;
	int error = 0;

	q->mitigation = *m;
	for (i = 0; i < VPCI_ABI_MAX_CLASSES && !error; i++)
		error = vpci_net_rx_set_mitigation(vnet_net(q->vnet), q->index,
						   i, m);
	return -error;
}

static struct sk_buff *vnet_build_skb(struct vnet_queue *q, const void *data,
				      u32 len)
{
	struct sk_buff *skb;
	int error;

	if (len <= LINEAR_BYTES) {
		skb = napi_alloc_skb(&q->napi, len);
		if (skb)
			skb_put_data(skb, data, len);
		return skb;
	}
	skb = alloc_skb_with_frags(HEADER_BYTES + NET_IP_ALIGN,
				   len - HEADER_BYTES,
				   PAGE_ALLOC_COSTLY_ORDER, &error,
				   GFP_ATOMIC);
	if (!skb)
		return NULL;
	skb_reserve(skb, NET_IP_ALIGN);
	skb_put(skb, HEADER_BYTES);
	skb->data_len = len - HEADER_BYTES;
	skb->len = len;
	skb->dev = q->vnet->dev;
	skb_store_bits(skb, 0, data, len);
	return skb;
}

static void vnet_receive(struct vnet_queue *q, const struct vpci_ring_buf *buf)
{
	struct net_device *dev = q->vnet->dev;
	struct virtio_net_hdr hdr = {
		.flags = buf->offload.flags,
		.gso_type = buf->offload.gso_type,
		.gso_size = __cpu_to_virtio16(true, buf->offload.gso_size),
		.csum_start = __cpu_to_virtio16(true, buf->offload.csum_start),
		.csum_offset = __cpu_to_virtio16(true,
						 buf->offload.csum_offset),
	};
	struct sk_buff *skb;

	if (unlikely(buf->len < ETH_HLEN)) {
		WRITE_ONCE(q->rx_frame_errors, q->rx_frame_errors + 1);
		return;
	}
	skb = vnet_build_skb(q, buf->data, buf->len);
	if (unlikely(!skb)) {
		WRITE_ONCE(q->rx_alloc_errors, q->rx_alloc_errors + 1);
		return;
	}
	if (hdr.flags & VIRTIO_NET_HDR_F_DATA_VALID)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (unlikely(virtio_net_hdr_to_skb(skb, &hdr, true))) {
		WRITE_ONCE(q->rx_frame_errors, q->rx_frame_errors + 1);
		dev_kfree_skb_any(skb);
		return;
	}
	skb_record_rx_queue(skb, q->index);
	skb->protocol = eth_type_trans(skb, dev);
	napi_gro_receive(&q->napi, skb);
}

/* Transmission, under the lock of the netdev_queue. */

static struct vpci_ring_offload vnet_offload(const struct sk_buff *skb,
					     int *error)
{
	struct vpci_ring_offload o;
	struct virtio_net_hdr hdr;

	*error = virtio_net_hdr_from_skb(skb, &hdr, true, false, 0);
	o.flags = hdr.flags;
	o.gso_type = hdr.gso_type;
	o.gso_size = __virtio16_to_cpu(true, hdr.gso_size);
	o.csum_start = __virtio16_to_cpu(true, hdr.csum_start);
	o.csum_offset = __virtio16_to_cpu(true, hdr.csum_offset);
	return o;
}

/* Sends what is pending.  Returns true if nothing is any more. */
static bool vnet_flush(struct vnet_queue *q)
{
	unsigned int n = q->n_pending, sent, i;

	if (!n)
		return true;
	sent = vpci_net_tx_burst(vnet_net(q->vnet), q->index, q->tx, n);
	for (i = 0; i < sent; i++) {
		if (q->tx[i].data == q->tx_memory)
			q->tx_memory_used = false;
		dev_consume_skb_any(q->skbs[i]);
	}
	q->n_pending = n - sent;
	memmove(q->tx, &q->tx[sent], q->n_pending * sizeof(q->tx[0]));
	memmove(q->skbs, &q->skbs[sent], q->n_pending * sizeof(q->skbs[0]));
	return !q->n_pending;
}

/* Sends what is pending, and stops the queue if there is no room for all of it.
 * Whoever keeps making room for one packet does not keep us here: the
 * housekeeping goes on.
 */
static void vnet_flush_or_stop(struct vnet_queue *q)
{
	unsigned int i;
	s64 until;

	if (vnet_flush(q))
		return;
	netif_tx_stop_queue(txq_of(q));
	for (i = 0; i < MAX_TRIES; i++) {
		if (!vnet_ask(q, tx_worker(q), &net_tx_waiting, &until)) {
			vnet_start_timer(&q->tx_timer, until);
			return;
		}
		if (vnet_flush(q)) {
			netif_tx_start_queue(txq_of(q));
			return;
		}
	}
	/* Whoever changes what is in the memory all the time does not keep
	 * the processor from other work.
	 */
	napi_schedule(&q->napi);
}

/* Adds '*skb' to what is pending, where there is room.  Takes it. */
static void vnet_add(struct vnet_queue *q, struct sk_buff *skb)
{
	struct vpci_ring_buf *buf = &q->tx[q->n_pending];
	int error;

	buf->len = skb->len;
	buf->offload = vnet_offload(skb, &error);
	buf->data = skb->data;
	if (unlikely(skb->len > BUFFER_BYTES))
		error = -EMSGSIZE;
	if (!error && skb_is_nonlinear(skb)) {
		buf->data = q->tx_memory;
		error = skb_copy_bits(skb, 0, buf->data, skb->len);
	}
	if (unlikely(error)) {
		WRITE_ONCE(q->tx_errors, q->tx_errors + 1);
		dev_kfree_skb_any(skb);
		return;
	}
	if (buf->data == q->tx_memory)
		q->tx_memory_used = true;
	q->skbs[q->n_pending++] = skb;
}

netdev_tx_t vnet_start_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct vnet *vnet = netdev_priv(dev);
	struct vnet_queue *q = &vnet->queues[skb_get_queue_mapping(skb)];
	bool scattered = skb_is_nonlinear(skb);
	u32 priority = min_t(u32, skb->priority, 7);

	if (q->n_pending == VNET_PENDING ||
	    (scattered && q->tx_memory_used) ||
	    (q->n_pending && tx_worker(q)->untagged != priority))
		vnet_flush_or_stop(q);
	if (unlikely(netif_tx_queue_stopped(txq_of(q))))
		return NETDEV_TX_BUSY;
	tx_worker(q)->untagged = priority;
	skb_tx_timestamp(skb);
	vnet_add(q, skb);
	if (!netdev_xmit_more() || q->n_pending == VNET_PENDING || scattered)
		vnet_flush_or_stop(q);
	return NETDEV_TX_OK;
}

/* Goes on where there was no room. */
static void vnet_resume(struct vnet_queue *q)
{
	struct netdev_queue *txq = txq_of(q);

	if (likely(!netif_tx_queue_stopped(txq)))
		return;
	WRITE_ONCE(q->n_useful, q->n_useful + 1);
	__netif_tx_lock(txq, smp_processor_id());
	/* Queues stay stopped once vnet_stop() has had the lock. */
	if (!READ_ONCE(q->vnet->closing)) {
		if (vnet_flush(q))
			netif_tx_wake_queue(txq);
		else
			vnet_flush_or_stop(q);
	}
	__netif_tx_unlock(txq);
}

static int vnet_poll(struct napi_struct *napi, int budget)
{
	struct vnet_queue *q = container_of(napi, struct vnet_queue, napi);
	struct vpci_net *net = vnet_net(q->vnet);
	int done = 0;

	vnet_resume(q);
	while (done < budget) {
		unsigned int n = min(budget - done, VNET_BURST), got, i;

		got = vpci_net_rx_burst(net, q->index, q->rx, n);
		for (i = 0; i < got; i++)
			vnet_receive(q, &q->rx[i]);
		done += got;
		if (got < n)
			break;
	}
	if (done)
		WRITE_ONCE(q->n_useful, q->n_useful + 1);
	if (done == budget)
		return done;
	/* While nobody else can poll.  A signal that comes between the two
	 * schedules it again.
	 */
	if (vnet_ask_rx(q))
		return budget;
	napi_complete_done(napi, done);
	return done;
}

void vnet_queue_init(struct vnet_queue *q, struct vnet *vnet, u32 index)
{
	q->vnet = vnet;
	q->index = index;
	q->mitigation.packets = 1;
	netif_napi_add(vnet->dev, &q->napi, vnet_poll);
	hrtimer_init(&q->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	q->timer.function = vnet_timer;
	hrtimer_init(&q->tx_timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS);
	q->tx_timer.function = vnet_tx_timer;
}

int vnet_queue_open(struct vnet_queue *q)
{
	unsigned int i;

	q->rx_memory = kvmalloc_array(VNET_BURST, BUFFER_BYTES, GFP_KERNEL);
	q->tx_memory = kvmalloc(BUFFER_BYTES, GFP_KERNEL);
	if (!q->rx_memory || !q->tx_memory) {
		vnet_queue_close(q);
		return -ENOMEM;
	}
	for (i = 0; i < VNET_BURST; i++) {
		q->rx[i].data = q->rx_memory + i * BUFFER_BYTES;
		q->rx[i].size = BUFFER_BYTES;
	}
	return 0;
}

static void drop_pending(struct vnet_queue *q)
{
	WRITE_ONCE(q->tx_errors, q->tx_errors + q->n_pending);
	while (q->n_pending)
		dev_kfree_skb_any(q->skbs[--q->n_pending]);
	q->tx_memory_used = false;
}

/* Nothing goes by the queue, perhaps for long: what is pending, and all that it
 * holds on to, sockets and connections for instance, does not wait for that.
 */
void vnet_queue_drop(struct vnet_queue *q)
{
	struct netdev_queue *txq = txq_of(q);

	__netif_tx_lock_bh(txq);
	drop_pending(q);
	__netif_tx_unlock_bh(txq);
}

void vnet_queue_close(struct vnet_queue *q)
{
	hrtimer_cancel(&q->timer);
	hrtimer_cancel(&q->tx_timer);
	drop_pending(q);
	kvfree(q->rx_memory);
	kvfree(q->tx_memory);
	q->rx_memory = NULL;
	q->tx_memory = NULL;
}
