/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Receiving: see vpci/net.h. */

#include "net-link.h"

#include <string.h>

unsigned int
net_sort_out(struct net_worker *w, struct vpci_ring_buf bufs[], unsigned int n)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < n; i++) {
        struct vpci_ring_buf buf = bufs[i];

        if (buf.len <= buf.size) {
            bufs[i] = bufs[kept];
            bufs[kept++] = buf;
        }
    }
    net_count(&w->stats.dropped, n - kept);
    return kept;
}

/* Looks at the 'n' packets that were just received.  Returns how many of them
 * there are. */
static unsigned int
finish(struct vpci_net *net, struct net_worker *w, struct vpci_ring_buf bufs[],
       unsigned int n)
{
    uint64_t bytes = 0;
    bool whole = true;

    for (unsigned int i = 0; i < n; i++) {
        whole &= bufs[i].len <= bufs[i].size;
    }
    if (NET_UNLIKELY(!whole)) {
        n = net_sort_out(w, bufs, n);
    }
    for (unsigned int i = 0; i < n; i++) {
        bytes += bufs[i].len;
        if (!net->policy.offloads) {
            memset(&bufs[i].offload, 0, sizeof bufs[i].offload);
        }
    }
    net_count(&w->stats.packets, n);
    net_count(&w->stats.bytes, bytes);
    return n;
}

unsigned int
net_receive_base(struct vpci_net *net, struct net_worker *w, uint32_t queue,
                 uint32_t class_, struct vpci_ring_buf bufs[], unsigned int n)
{
    bool told;
    unsigned int got = vpci_ring_rx_burst(
        net_base_rx(net, queue, class_), bufs, n, &told);

    if (NET_UNLIKELY(told)) {
        net_inject(w, &net->base, queue, 1u << class_);
    }
    got = got ? finish(net, w, bufs, got) : 0;
    if (net->policy.classes.n > 1) {
        net_count(&w->class_packets[class_], got);
    }
    return got;
}

static unsigned int
receive(struct vpci_net *net, struct net_worker *w, uint32_t queue,
        struct vpci_ring_buf bufs[], unsigned int n)
{
    unsigned int got = 0;

    for (uint32_t i = net->policy.classes.n; i-- > 0 && got < n; ) {
        got += net_receive_base(net, w, queue, i, &bufs[got], n - got);
    }
    return got;
}

static bool
rx_is_ready(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    unsigned int classes = net_links_ready(w);

    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        if (vpci_ring_is_ready(net_base_rx(net, queue, i))) {
            classes |= 1u << i;
        }
    }
    return net_holds_is_due(w, classes);
}

static bool
rx_ask(struct vpci_net *net, struct net_worker *w, uint32_t queue)
{
    bool sleeps = net_links_ask(w);

    for (uint32_t i = 0; i < net->policy.classes.n && sleeps; i++) {
        sleeps = net_holds_ask(w, i, net_base_rx(net, queue, i));
    }
    return sleeps;
}

static void
rx_awake(struct vpci_net *net, uint32_t queue, bool never)
{
    net_links_awake(&net->rx[queue], never);
    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        vpci_ring_rx_awake(net_base_rx(net, queue, i), never);
    }
}

const struct net_waiting net_rx_waiting = {
    .is_ready = rx_is_ready,
    .ask = rx_ask,
    .awake = rx_awake,
};

unsigned int
vpci_net_rx_burst(struct vpci_net *net, uint32_t queue,
                  struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_worker *w = &net->rx[queue];
    unsigned int got = 0;

    if (NET_LIKELY(net_enter(net, w))) {
        if (NET_UNLIKELY(w->generation != net->generation)) {
            net_see_rings(net, w, queue, &net_rx_waiting);
        }
        got = (w->links && w->links->n_sharers
               ? net_links_receive(net, w, queue, bufs, n)
               : receive(net, w, queue, bufs, n));
        net_leave(w);
    }
    return got;
}
