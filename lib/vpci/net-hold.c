/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Mitigation: receivers that are told when there are several packets, or else
 * after some time.
 *
 * The number goes to the sender, as the packet that it is to inject the signal
 * for; the time is a timer of our own.  Nobody tells when the first packet
 * comes, unless that is what was asked for.  So a receiver that has been idle
 * asks for the first packet, and after that wake-up for the last of so many,
 * with the timer running.  One that is busy (it has received several packets
 * since its last wait) asks for the last one at once, and starts the timer:
 * packets that come after that wait no longer than they may.  While they keep
 * coming, each batch costs one wake-up, and often no signal. */

#include "net-private.h"

#include <errno.h>

/* Packets received since the last wait that make a receiver a busy one. */
#define BUSY 2

/* A sender needs room for what comes while the receiver wakes up. */
static uint32_t
limit(const struct net_hold *h, const struct vpci_ring_rx *rx)
{
    uint32_t max = vpci_ring_rx_size(rx) / 2;

    return h->wish.packets && h->wish.packets < max ? h->wish.packets : max;
}

void
net_holds_begin(struct net_worker *w)
{
    struct net_holds *holds = &w->holds;
    uint64_t packets = w->stats.packets;
    bool busy = packets - holds->n_packets >= BUSY;
    int64_t now;

    holds->n_packets = packets;
    holds->begun = holds->active = false;
    if (NET_LIKELY(!holds->any)) {
        return;
    }
    now = busy ? net_now_us() : 0;
    for (uint32_t i = 0; i < VPCI_ABI_MAX_CLASSES; i++) {
        struct net_hold *h = &holds->classes[i];

        h->until = busy && h->wish.us ? now + h->wish.us : 0;
    }
}

void
net_holds_end(struct net_worker *w)
{
    w->holds.active = false;
}

/* The same for one class, which has packets if 'ready'. */
static bool
is_due(struct net_holds *holds, struct net_hold *h, bool ready, int64_t now)
{
    if (!ready) {
        /* Nothing has come: the next one is the first again. */
        h->until = h->until && now < h->until ? h->until : 0;
        return false;
    }
    if (!h->wish.us) {
        return true;
    }
    if (!h->until) {
        h->until = now + h->wish.us;
        holds->begun = true;
    }
    return now >= h->until;
}

bool
net_holds_is_due(struct net_worker *w, unsigned int classes)
{
    struct net_holds *holds = &w->holds;
    bool due = false;
    int64_t now;

    /* What is there when the wait begins does not wait. */
    holds->begun = false;
    if (NET_LIKELY(!holds->any) || !holds->active) {
        holds->active = holds->any;
        return classes != 0;
    }
    now = net_now_us();
    for (uint32_t i = 0; i < VPCI_ABI_MAX_CLASSES; i++) {
        due |= is_due(holds, &holds->classes[i], classes & 1u << i, now);
    }
    return due;
}

bool
net_holds_ask(const struct net_worker *w, uint32_t class_,
              struct vpci_ring_rx *rx)
{
    const struct net_hold *h = &w->holds.classes[class_];

    if (!w->holds.any || !h->until) {
        return vpci_ring_rx_sleep(rx, 1);
    }

    /* A sender may show the last one before the first, for a moment, or for
     * ever if it wants to keep us busy. */
    return (vpci_ring_rx_sleep(rx, limit(h, rx))
            || (!vpci_ring_is_ready(rx) && vpci_ring_rx_sleep(rx, 1)));
}

int64_t
net_holds_until(const struct net_worker *w)
{
    int64_t until = -1;

    for (uint32_t i = 0; w->holds.any && i < VPCI_ABI_MAX_CLASSES; i++) {
        const struct net_hold *h = &w->holds.classes[i];

        until = h->until ? net_earlier(until, h->until) : until;
    }
    return until;
}

int
vpci_net_rx_set_mitigation(struct vpci_net *net, uint32_t queue,
                           uint32_t class_, const struct vpci_mitigation *m)
{
    struct net_holds *holds;

    if (queue >= VPCI_ABI_MAX_QUEUES || class_ >= VPCI_ABI_MAX_CLASSES
        || m->us > VPCI_NET_MAX_MITIGATION_US) {
        return EINVAL;
    }
    holds = &net->rx[queue].holds;
    holds->classes[class_].wish = *m;
    if (m->packets == 1) {
        holds->classes[class_].wish.us = 0;
    }
    holds->any = false;
    for (uint32_t i = 0; i < VPCI_ABI_MAX_CLASSES; i++) {
        holds->any |= holds->classes[i].wish.us > 0;
    }
    return 0;
}
