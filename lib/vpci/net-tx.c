/* SPDX-License-Identifier: Apache-2.0 */

/* Sending: see vpci/net.h. */

#include "net-private.h"

#include <string.h>

void
net_inject(struct vpci_net *net, struct net_worker *w, uint32_t queue,
           unsigned int classes)
{
    struct vpci_signal *last = NULL;

    for (uint32_t i = 0; classes; i++, classes >>= 1) {
        struct vpci_signal *signal;

        if (!(classes & 1)) {
            continue;
        }
        signal = net_region_signal(&net->base, net_ring(net, queue, i));
        if (signal && signal != last) {
            vpci_signal_inject(signal);
            net_count(&w->stats.injected, 1);
        }
        last = signal;
    }
}

/* Notes what must happen before the next burst can do more. */
static void
stop_at(struct vpci_net *net, struct net_worker *w, uint32_t ring)
{
    w->stuck = true;
    w->stuck_ring = ring;
    w->stuck_consumed
        = vpci_ring_consumed(vpci_channel_tx(net->base.channel, ring));
    net_count(&w->stats.full, 1);
}

static unsigned int
send_one_class(struct vpci_net *net, struct net_worker *w, uint32_t queue,
               const struct vpci_ring_buf bufs[], unsigned int n)
{
    uint32_t ring = net_ring(net, queue, 0);
    uint64_t bytes = 0;
    bool tell;
    unsigned int sent = vpci_ring_tx_burst(
        vpci_channel_tx(net->base.channel, ring), bufs, n, &tell);

    if (NET_UNLIKELY(tell)) {
        net_inject(net, w, queue, 1);
    }
    if (NET_UNLIKELY(sent < n)) {
        stop_at(net, w, ring);
    }
    for (unsigned int i = 0; i < sent; i++) {
        bytes += bufs[i].len;
    }
    net_count(&w->stats.packets, sent);
    net_count(&w->stats.bytes, bytes);
    return sent;
}

/* Makes what was put into the rings of 'queue', 'counts[I]' packets of class I,
 * visible. */
static void
publish_classes(struct vpci_net *net, struct net_worker *w, uint32_t queue,
                const unsigned int counts[])
{
    unsigned int tell = 0;

    for (uint32_t i = net->policy.classes.n; i-- > 0; ) {
        struct vpci_ring_tx *tx = vpci_channel_tx(net->base.channel,
                                                  net_ring(net, queue, i));

        if (counts[i] && vpci_ring_publish(tx)) {
            tell |= 1u << i;
        }
        net_count(&w->stats.packets, counts[i]);
        net_count(&w->class_packets[i], counts[i]);
    }
    if (tell) {
        net_inject(net, w, queue, tell);
    }
}

/* A class that is full stops the burst, unless what there is no room for is
 * dropped. */
static unsigned int
send_classes(struct vpci_net *net, struct net_worker *w, uint32_t queue,
             const struct vpci_ring_buf bufs[], unsigned int n)
{
    struct vpci_channel *channel = net->base.channel;
    unsigned int counts[VPCI_ABI_MAX_CLASSES] = { 0 };
    uint32_t full = UINT32_MAX;
    uint64_t bytes = 0;
    unsigned int i;

    for (i = 0; i < n; i++) {
        const struct vpci_ring_buf *buf = &bufs[i];
        uint32_t class_ = vpci_classes_choose(&net->policy.classes,
                                              buf->data, buf->len);
        uint32_t ring = net_ring(net, queue, class_);
        struct vpci_ring_tx *tx = vpci_channel_tx(channel, ring);
        void *p = vpci_ring_reserve(tx, buf->len);

        if (p) {
            memcpy(p, buf->data, buf->len);
            vpci_ring_submit(tx, buf->len, &buf->offload);
            bytes += buf->len;
            counts[class_]++;
            continue;
        }
        full = ring;
        if (!net->config.drop) {
            break;
        }
        net_count(&w->stats.dropped, 1);
    }
    publish_classes(net, w, queue, counts);
    net_count(&w->stats.bytes, bytes);
    if (full != UINT32_MAX) {
        stop_at(net, w, full);
    }
    return i;
}

static bool
may_send(const struct net_policy *policy, const struct vpci_ring_buf *buf)
{
    const struct vpci_ring_offload *o = &buf->offload;
    uint32_t max_len = __atomic_load_n(&policy->max_len, __ATOMIC_RELAXED);

    if (NET_LIKELY(!(o->flags | o->gso_type))) {
        return buf->len - 1 < max_len;
    }
    return (policy->offloads
            && buf->len - 1 < (o->gso_type ? policy->max_gso_len : max_len));
}

/* Sends 'n' packets that are as they may be. */
static unsigned int
send_good(struct vpci_net *net, struct net_worker *w, uint32_t queue,
          const struct vpci_ring_buf bufs[], unsigned int n)
{
    return (net->policy.classes.n > 1
            ? send_classes(net, w, queue, bufs, n)
            : send_one_class(net, w, queue, bufs, n));
}

/* Returns how many packets are done with. */
static unsigned int
send_all(struct vpci_net *net, struct net_worker *w, uint32_t queue,
         const struct vpci_ring_buf bufs[], unsigned int n)
{
    unsigned int i = 0;

    while (i < n) {
        unsigned int first = i, sent;

        while (i < n && may_send(&net->policy, &bufs[i])) {
            i++;
        }
        sent = i > first ? send_good(net, w, queue, &bufs[first], i - first)
                         : 0;
        if (sent < i - first) {
            return first + sent;
        }
        if (i < n) {
            net_count(&w->stats.refused, 1);
            i++;
        }
    }
    return n;
}

static bool
tx_is_ready(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    struct vpci_ring_tx *tx;
    uint32_t consumed;

    (void) queue;
    if (!w->stuck) {
        return true;
    }
    tx = vpci_channel_tx(net->base.channel, w->stuck_ring);
    consumed = vpci_ring_consumed(tx);
    return (!vpci_ring_tx_fault(tx)
            && (consumed != w->stuck_consumed
                || consumed == vpci_ring_produced(tx)));
}

/* Waits for a part of the ring, not for each slot. */
static bool
tx_ask(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    struct vpci_ring_tx *tx;
    uint32_t used;

    if (tx_is_ready(net, w, queue)) {
        return false;
    }
    tx = vpci_channel_tx(net->base.channel, w->stuck_ring);
    used = vpci_ring_produced(tx) - w->stuck_consumed;
    return vpci_ring_tx_sleep(tx, used / 4 + 1) || vpci_ring_tx_fault(tx);
}

static void
tx_awake(struct vpci_net *net, uint32_t queue, bool never)
{
    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        vpci_ring_tx_awake(vpci_channel_tx(net->base.channel,
                                           net_ring(net, queue, i)), never);
    }
}

static const struct net_waiting tx_waiting = {
    .is_ready = tx_is_ready,
    .ask = tx_ask,
    .awake = tx_awake,
};

/* Returns a ring of 'queue' that the switch has not taken all packets of, or
 * null. */
static struct vpci_ring_tx *
find_unconsumed(struct vpci_net *net, uint32_t queue, uint32_t *n)
{
    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        struct vpci_ring_tx *tx = vpci_channel_tx(net->base.channel,
                                                  net_ring(net, queue, i));

        *n = vpci_ring_produced(tx) - vpci_ring_consumed(tx);
        if (*n) {
            return tx;
        }
    }
    return NULL;
}

static bool
flush_is_ready(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    uint32_t n;

    (void) w;
    return !find_unconsumed(net, queue, &n);
}

static bool
flush_ask(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    struct vpci_ring_tx *tx;
    uint32_t n;

    (void) w;
    while ((tx = find_unconsumed(net, queue, &n)) != NULL) {
        if (vpci_ring_tx_sleep(tx, n) || vpci_ring_tx_fault(tx)) {
            return true;
        }
    }
    return false;
}

static const struct net_waiting flush_waiting = {
    .is_ready = flush_is_ready,
    .ask = flush_ask,
    .awake = tx_awake,
};

unsigned int
vpci_net_tx_burst(struct vpci_net *net, uint32_t queue,
                  const struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_worker *w = &net->tx[queue];
    unsigned int sent = 0;

    if (NET_LIKELY(net_enter(net, w))) {
        if (NET_UNLIKELY(w->generation != net->generation)) {
            net_see_rings(net, w, queue, &tx_waiting);
        }
        w->stuck = false;
        sent = send_all(net, w, queue, bufs, n);
        net_leave(w);
    }
    if (NET_UNLIKELY(sent < n) && net->config.drop) {
        net_count(&w->stats.dropped, n - sent);
        sent = n;
    }
    return sent;
}

bool
vpci_net_tx_wait(struct vpci_net *net, uint32_t queue, int64_t timeout_us)
{
    return net_wait(net, &net->tx[queue], queue, &tx_waiting, timeout_us);
}

bool
vpci_net_tx_flush(struct vpci_net *net, uint32_t queue, int64_t timeout_us)
{
    return net_wait(net, &net->tx[queue], queue, &flush_waiting, timeout_us);
}

void
vpci_net_tx_set_polling(struct vpci_net *net, uint32_t queue, bool polling)
{
    net_set_polling(net, &net->tx[queue], queue, &tx_waiting, polling);
}
