/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* What workers need for links: see net-link.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-peer.h"

#include <stdlib.h>
#include <string.h>

/* Rings of all links that one receiver may have: those of all queues. */
static size_t
count_rings(const struct vpci_net *net)
{
    size_t n = 0;

    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        const struct net_link *link = net->links->slots[i];

        n += link && link->receives ? link->region.layout.n_rings : 0;
    }
    return n;
}

/* Goes on counting where somebody, perhaps another process, has stopped: what
 * is said never falls. */
static bool
load_counts(const struct vpci_net *net, struct net_link_worker *lw,
            uint32_t queue)
{
    const struct vpci_layout *layout = &net->base.layout;

    lw->n_flows = layout->shape.n_entries;
    lw->flows = calloc(lw->n_flows, sizeof *lw->flows);
    lw->edits = calloc(lw->n_flows, sizeof *lw->edits);
    if (!lw->flows || !lw->edits) {
        return false;
    }
    lw->flow_counts = vpci_layout_flow_count(layout, net->base.base, queue,
                                             0);
    lw->link_counts = vpci_layout_link_count(layout, net->base.base, queue,
                                             0);
    for (uint32_t i = 0; i < lw->n_flows; i++) {
        const struct vpci_abi_flow_count *c = &lw->flow_counts[i];

        lw->flows[i] = (struct net_flow) {
            .packets = vpci_load64(&c->packets),
            .bytes = vpci_load64(&c->bytes),
            .tcp_flags = vpci_load64(&c->tcp_flags),
        };
    }
    for (uint32_t i = 0; i < layout->shape.n_links; i++) {
        lw->refused[i] = vpci_load64(&lw->link_counts[i].refused);
    }
    return true;
}

/* Of a sender. */
static bool
init_hints(const struct vpci_net *net, struct net_link_worker *lw,
           uint32_t queue)
{
    const struct vpci_layout *layout = &net->base.layout;

    lw->words = vpci_layout_queue(layout, net->base.base, queue);
    lw->acknowledged = vpci_load32(&lw->words->hints);
    return net_look_init(&lw->hints,
                         vpci_layout_hints(layout, net->base.base),
                         vpci_layout_projection_bytes(layout),
                         net->base.base);
}

static void
destroy_look(struct net_look **look)
{
    if (*look) {
        net_look_uninit(*look);
        free(*look);
        *look = NULL;
    }
}

/* 'is_rx' is true of a receiver. */
static void
destroy(struct net_worker *w, bool is_rx)
{
    struct net_link_worker *lw = w->links;

    if (lw) {
        if (is_rx) {
            free(lw->flows);
        }
        net_look_uninit(&lw->hints);
        for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
            destroy_look(&lw->looks[i]);
        }
        free(lw->rings);
        free(lw->sharers);
        free(lw->edits);
        free(lw);
        w->links = NULL;
    }
}

void
net_link_workers_create(struct vpci_net *net)
{
    for (uint32_t i = 0; i < net->n_queues; i++) {
        struct net_link_worker *tx = calloc(1, sizeof *tx);
        struct net_link_worker *rx = calloc(1, sizeof *rx);

        net->tx[i].links = tx;
        net->rx[i].links = rx;
        if (!tx || !rx || !init_hints(net, tx, i)
            || !load_counts(net, rx, i)) {
            /* Without memory for it, no links. */
            destroy(&net->tx[i], false);
            destroy(&net->rx[i], true);
        } else {
            tx->flows = rx->flows;
            tx->n_flows = rx->n_flows;
            tx->flow_counts = rx->flow_counts;
        }
    }
}

void
net_link_workers_destroy(struct vpci_net *net)
{
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        destroy(&net->tx[i], false);
        destroy(&net->rx[i], true);
    }
}

struct net_look *
net_link_worker_look(const struct vpci_net *net, struct net_link_worker *lw,
                     uint32_t slot)
{
    const struct vpci_layout *layout = &net->base.layout;
    struct net_look **look = &lw->looks[slot];

    if (*look) {
        return *look;
    }
    *look = calloc(1, sizeof **look);
    if (*look
        && !net_look_init(*look,
                          vpci_layout_acceptances(layout, net->base.base,
                                                  slot),
                          vpci_layout_projection_bytes(layout),
                          net->base.base)) {
        destroy_look(look);
    }
    return *look;
}

/* Adds those rings of 'class_' of 'link' that are the receiver's of
 * 'queue'. */
static void
add_rings(const struct vpci_net *net, struct net_link_worker *lw,
          struct net_link *link, uint32_t queue, uint32_t class_)
{
    const struct vpci_layout *layout = &link->region.layout;
    struct net_look *look = net_link_worker_look(net, lw, link->slot);

    for (uint32_t i = queue; look && i < layout->shape.n_queues;
         i += net->n_queues) {
        lw->rings[lw->n_rings++] = (struct net_link_ring) {
            .link = link,
            .look = look,
            .rx = link->region.rx[vpci_layout_ring_index(layout, i, class_)],
            .queue = i,
            .class_ = class_,
        };
    }
}

/* Adds all rings that are the receiver's of 'queue'. */
static void
add_links(const struct vpci_net *net, struct net_link_worker *lw,
          uint32_t queue)
{
    for (uint32_t i = VPCI_ABI_MAX_CLASSES; i-- > 0; ) {
        struct net_link_turns *class_ = &lw->classes[i];

        class_->begin = class_->next = lw->n_sharers;
        for (uint32_t j = 0; j < VPCI_ABI_MAX_LINKS; j++) {
            struct net_link *link = net->links->slots[j];
            uint32_t n = lw->n_rings;

            if (link && link->receives
                && i < link->region.layout.shape.n_classes) {
                add_rings(net, lw, link, queue, i);
            }
            if (lw->n_rings > n) {
                lw->sharers[lw->n_sharers++] = (struct net_link_turns) {
                    .begin = n, .end = lw->n_rings, .next = n,
                };
            }
        }
        if (!i && lw->peer_rx.n_rings) {
            lw->sharers[lw->n_sharers++] = (struct net_link_turns) {
                .is_peer = true,
            };
        }
        class_->end = lw->n_sharers;
    }
}

static void
update(struct vpci_net *net, struct net_link_worker *lw, uint32_t queue)
{
    size_t n = count_rings(net);

    free(lw->rings);
    free(lw->sharers);
    lw->n_rings = lw->n_sharers = 0;
    memset(lw->classes, 0, sizeof lw->classes);
    net_peer_find_rx(net, lw, queue);
    lw->rings = calloc(n + 1, sizeof *lw->rings);
    lw->sharers = calloc(n + 1, sizeof *lw->sharers);
    if (lw->rings && lw->sharers) {
        add_links(net, lw, queue);
    } else if (lw->peer_rx.n_rings) {
        net_peer_end(net->links->peer, VPCI_ABI_PEER_UNUSABLE);
    }

    lw->n_classes = net->policy.classes.n;
    if (lw->n_rings && lw->rings[0].class_ >= lw->n_classes) {
        lw->n_classes = lw->rings[0].class_ + 1;
    }

    /* Packets of the base that have been seen are to be noted anew. */
    lw->pending = false;
    for (uint32_t i = 0; i < net->policy.classes.n; i++) {
        lw->allowed[i] = vpci_ring_taken(net_base_rx(net, queue, i));
    }
}

void
net_link_workers_update(struct vpci_net *net)
{
    for (uint32_t i = 0; i < net->n_queues; i++) {
        if (net->rx[i].links) {
            update(net, net->rx[i].links, i);
            net_peer_find_tx(net, net->tx[i].links, i);
        }
    }
}
