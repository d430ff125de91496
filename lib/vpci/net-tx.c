/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Sending: see vpci/net.h. */

#include "net-peer.h"

#include <string.h>

void
net_inject(struct net_worker *w, const struct net_region *region,
           uint32_t queue, unsigned int classes)
{
    struct vpci_signal *last = NULL;

    for (uint32_t i = 0; classes; i++, classes >>= 1) {
        struct vpci_signal *signal;

        if (!(classes & 1)) {
            continue;
        }
        signal = net_region_signal(
            region, vpci_layout_ring_index(&region->layout, queue, i));
        if (signal && signal != last) {
            vpci_signal_inject(signal);
            net_count(&w->stats.injected, 1);
        }
        last = signal;
    }
}

static struct vpci_ring_tx *
tx_of(const struct net_region *region, uint32_t queue, uint32_t class_)
{
    return region->tx[vpci_layout_ring_index(&region->layout, queue, class_)];
}

/* Notes what must happen before the next burst can do more. */
static void
stop_at(struct net_worker *w, struct vpci_ring_tx *tx)
{
    w->stuck = true;
    w->stuck_ring = tx;
    w->stuck_consumed = vpci_ring_consumed(tx);
    net_count(&w->stats.full, 1);
}

static unsigned int
send_one_class(struct net_worker *w, const struct net_region *region,
               uint32_t queue, const struct vpci_ring_buf bufs[],
               unsigned int n)
{
    struct vpci_ring_tx *tx = tx_of(region, queue, 0);
    bool tell;
    unsigned int sent = vpci_ring_tx_burst(tx, bufs, n, &tell);

    if (NET_UNLIKELY(tell)) {
        net_inject(w, region, queue, 1);
    }
    if (NET_UNLIKELY(sent < n)) {
        stop_at(w, tx);
    }
    return sent;
}

/* Makes what was put into the rings of 'queue', 'counts[I]' packets of class
 * I, visible. */
static void
publish(struct net_worker *w, const struct net_region *region, uint32_t queue,
        const unsigned int counts[])
{
    unsigned int tell = 0;

    for (uint32_t i = VPCI_ABI_MAX_CLASSES; i-- > 0; ) {
        if (!counts[i]) {
            continue;
        }
        if (vpci_ring_publish(tx_of(region, queue, i))) {
            tell |= 1u << i;
        }
        net_count(&w->class_packets[i], counts[i]);
    }
    if (tell) {
        net_inject(w, region, queue, tell);
    }
}

/* There is no room for 'buf', which is dropped. */
static void
skip(struct net_worker *w, const struct vpci_ring_buf *buf)
{
    w->n_skipped++;
    w->skipped_bytes += buf->len;
    net_count(&w->stats.dropped, 1);
}

/* A class that is full stops the burst, unless what there is no room for is
 * dropped. */
static unsigned int
send_classes(struct net_worker *w, const struct net_region *region,
             const struct net_policy *policy, uint32_t queue,
             const struct vpci_ring_buf bufs[], unsigned int n)
{
    unsigned int counts[VPCI_ABI_MAX_CLASSES] = { 0 };
    struct vpci_ring_tx *full = NULL;
    unsigned int i;

    for (i = 0; i < n; i++) {
        const struct vpci_ring_buf *buf = &bufs[i];
        uint32_t class_ = vpci_classes_choose_as(&policy->classes, w->untagged,
                                                 buf->data, buf->len);
        struct vpci_ring_tx *tx = tx_of(region, queue, class_);
        void *p = vpci_ring_reserve(tx, buf->len);

        if (p) {
            memcpy(p, buf->data, buf->len);
            vpci_ring_submit(tx, buf->len, &buf->offload);
            counts[class_]++;
            continue;
        }
        full = tx;
        if (!policy->drop) {
            break;
        }
        skip(w, buf);
    }
    publish(w, region, queue, counts);
    if (full) {
        stop_at(w, full);
    }
    return i;
}

unsigned int
net_send_rings(struct net_worker *w, const struct net_region *region,
               const struct net_policy *policy, uint32_t queue,
               const struct vpci_ring_buf bufs[], unsigned int n)
{
    return (policy->classes.n > 1
            ? send_classes(w, region, policy, queue, bufs, n)
            : send_one_class(w, region, queue, bufs, n));
}

void
net_count_sent(struct net_worker *w, const struct vpci_ring_buf bufs[],
               unsigned int n, uint64_t bytes)
{
    if (!bytes) {
        for (unsigned int i = 0; i < n; i++) {
            bytes += bufs[i].len;
        }
    }
    net_count(&w->stats.packets, n - w->n_skipped);
    net_count(&w->stats.bytes, bytes - w->skipped_bytes);
    w->n_skipped = 0;
    w->skipped_bytes = 0;
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

unsigned int
net_send_base(struct vpci_net *net, struct net_worker *w, uint32_t queue,
              const struct vpci_ring_buf bufs[], unsigned int n)
{
    const struct net_policy *policy = &net->policy;
    unsigned int i = 0;

    while (i < n) {
        unsigned int first = i, sent;

        while (i < n && may_send(policy, &bufs[i])) {
            i++;
        }
        sent = (i > first ? net_send_rings(w, &net->base, policy, queue,
                                           &bufs[first], i - first)
                : 0);
        net_count_sent(w, &bufs[first], sent, 0);
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
    uint32_t consumed;

    (void) net;
    (void) queue;
    if (!w->stuck) {
        return true;
    } else if (!w->stuck_ring) {
        return net_peer_may_send(w);
    }
    consumed = vpci_ring_consumed(w->stuck_ring);
    return (!vpci_ring_tx_fault(w->stuck_ring)
            && (consumed != w->stuck_consumed
                || consumed == vpci_ring_produced(w->stuck_ring)));
}

/* Waits for a part of the ring, not for each slot.  Nobody tells of the peer's
 * rings. */
static bool
tx_ask(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    struct vpci_ring_tx *tx = w->stuck_ring;
    uint32_t used;

    if (tx_is_ready(net, w, queue)) {
        return false;
    } else if (!tx) {
        return true;
    }
    used = vpci_ring_produced(tx) - w->stuck_consumed;
    return vpci_ring_tx_sleep(tx, used / 4 + 1) || vpci_ring_tx_fault(tx);
}

/* Calls 'cb' for each ring that the sender of 'queue' uses, until that returns
 * true.  Returns that ring, or null. */
static struct vpci_ring_tx *
find_ring(const struct vpci_net *net, uint32_t queue,
          bool (*cb)(struct vpci_ring_tx *, void *aux), void *aux)
{
    for (uint32_t i = 0; i < NET_TX_REGIONS; i++) {
        const struct net_region *region = net_tx_region(net, &net->tx[queue],
                                                        queue, i);

        for (uint32_t j = 0; region && j < region->layout.shape.n_classes;
             j++) {
            struct vpci_ring_tx *tx = tx_of(region, queue, j);

            if (cb(tx, aux)) {
                return tx;
            }
        }
    }
    return NULL;
}

static bool
awake_ring(struct vpci_ring_tx *tx, void *never)
{
    vpci_ring_tx_awake(tx, *(bool *) never);
    return false;
}

static void
tx_awake(struct vpci_net *net, uint32_t queue, bool never)
{
    find_ring(net, queue, awake_ring, &never);
}

const struct net_waiting net_tx_waiting = {
    .is_ready = tx_is_ready,
    .ask = tx_ask,
    .awake = tx_awake,
};

/* True if the other side has not taken all packets of the ring. */
static bool
is_unconsumed(struct vpci_ring_tx *tx, void *n_)
{
    uint32_t *n = n_;

    *n = vpci_ring_produced(tx) - vpci_ring_consumed(tx);
    return *n > 0;
}

static bool
flush_is_ready(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    uint32_t n;

    (void) w;
    return !find_ring(net, queue, is_unconsumed, &n);
}

static bool
flush_ask(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    struct vpci_ring_tx *tx;
    uint32_t n;

    (void) w;
    while ((tx = find_ring(net, queue, is_unconsumed, &n)) != NULL) {
        if (vpci_ring_tx_sleep(tx, n) || vpci_ring_tx_fault(tx)) {
            return true;
        }
    }
    return false;
}

const struct net_waiting net_flush_waiting = {
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
            net_see_rings(net, w, queue, &net_tx_waiting);
        }
        w->stuck = false;
        sent = (w->links ? net_links_send(net, w, queue, bufs, n)
                : net_send_base(net, w, queue, bufs, n));
        net_leave(w);
    }
    if (NET_UNLIKELY(sent < n) && net->config.drop) {
        net_count(&w->stats.dropped, n - sent);
        sent = n;
    }
    return sent;
}
