/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Links of a port, and their housekeeping: see net-link.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-peer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long packets of a link that is over may be received: where the switch
 * forbids them, they are refused at once. */
#define DRAIN_MS 1500

/* A guest that takes fewer packets than that of a ring, and not all there are,
 * in NET_MAX_SILENCE_MS keeps whoever has more for it from sending anything
 * else.  So nothing is sent to it by links for a while, and until it has taken
 * what there is: in ms, each time twice as much. */
#define MIN_TAKEN 256
#define MIN_REST_MS 1000
#define MAX_REST_MS 64000

int
net_links_init(struct vpci_net *net)
{
    net->links = calloc(1, sizeof *net->links);
    return net->links ? 0 : ENOMEM;
}

static void
destroy(struct net_links *links, struct net_link *link)
{
    links->slots[link->slot] = NULL;
    net_region_uninit(&link->region);
    free(link);
}

static void
destroy_all(struct net_links *links)
{
    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        if (links->slots[i]) {
            destroy(links, links->slots[i]);
        }
    }
}

void
net_links_uninit(struct vpci_net *net)
{
    struct net_links *links = net->links;

    if (!links) {
        return;
    }
    net_peer_destroy(net);
    destroy_all(links);
    while (links->devices) {
        struct net_link_device *next = links->devices->next;

        vpci_device_release(links->devices->device);
        free(links->devices);
        links->devices = next;
    }
    free(links);
    net->links = NULL;
}

/* True if the base region has room for links, and we would use them. */
static bool
has_room(const struct vpci_net *net)
{
    const struct net_region *base = &net->base;

    return (!net->config.no_links && base->channel
            && base->layout.shape.n_links && base->layout.shape.n_entries);
}

struct vpci_device *
net_links_find_device(const struct net_links *links, const char *name,
                      uint32_t guest_id)
{
    char ivshmem[32];

    snprintf(ivshmem, sizeof ivshmem, "ivshmem%"PRIu32, guest_id);
    for (struct net_link_device *d = links->devices; d; d = d->next) {
        const char *seen = vpci_device_name(d->device);

        if (!strcmp(seen, name) || (guest_id && !strcmp(seen, ivshmem))) {
            return d->device;
        }
    }
    return NULL;
}

/* Finds the device of link 'id', at which the switch knows us as 'guest_id',
 * or does not if that is 0.  Buses that cannot tell what link a device is name
 * it by the latter: the keeper gives no other guest, and no other link, the
 * same one, while the header of a link's memory may be forged. */
static struct vpci_device *
find_device(const struct net_links *links, uint32_t id, uint32_t guest_id)
{
    struct vpci_device *device;
    char name[32];

    snprintf(name, sizeof name, "link%"PRIu32, id);
    device = net_links_find_device(links, name, guest_id);
    return device && !device->is_peer ? device : NULL;
}

static void
forget_device(struct net_links *links, const struct vpci_device *device)
{
    for (struct net_link_device **p = &links->devices; *p; p = &(*p)->next) {
        struct net_link_device *d = *p;

        if (d->device == device) {
            *p = d->next;
            vpci_device_release(d->device);
            free(d);
            return;
        }
    }
}

void
net_links_handle(struct vpci_net *net, const struct vpci_bus_event *event)
{
    struct net_links *links = net->links;
    struct net_link_device *d;

    if (event->kind == VPCI_BUS_DEPARTED) {
        for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
            if (links->slots[i]
                && links->slots[i]->region.device == event->device) {
                links->slots[i]->region.departed = true;
            }
        }
        net_peer_departed(net, event->device);
        forget_device(links, event->device);
        return;
    }
    d = calloc(1, sizeof *d);
    if (d) {
        d->device = vpci_device_ref(event->device);
        d->next = links->devices;
        links->devices = d;
    }
}

/* Entries of the base region. */

bool
net_link_read_entry(const struct net_region *base, uint32_t slot,
                    struct net_link_entry *e)
{
    const struct vpci_abi_link *l = vpci_layout_link(&base->layout,
                                                     base->base, slot);
    uint32_t kind;

    /* (N) The rest was written before the id. */
    e->id = vpci_load32_acquire(&l->id);
    e->side = vpci_load32(&l->side);
    e->port = vpci_load32(&l->port);
    kind = vpci_load32(&l->shape.kind);
    e->shape = (struct vpci_shape) {
        .kind = (enum vpci_abi_kind) kind,
        .n_queues = vpci_load32(&l->shape.n_queues),
        .n_classes = vpci_load32(&l->shape.n_classes),
        .slots_log2 = vpci_load32(&l->shape.slots_log2),
        .data_log2 = vpci_load32(&l->shape.data_log2),
        .n_links = vpci_load32(&l->shape.n_links),
        .n_entries = vpci_load32(&l->shape.n_entries),
        .n_vectors = vpci_load32(&l->shape.n_vectors),
    };
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return e->id && vpci_load32(&l->id) == e->id;
}

/* Returns whether '*e' makes sense; if not, says why. */
static bool
check_entry(const struct net_link_entry *e, struct vpci_layout *layout,
            char *reason, size_t size)
{
    struct vpci_layout_report why;
    char text[160];

    if (!vpci_layout_init(layout, &e->shape, &why)) {
        snprintf(reason, size, "what the switch says of it makes no sense: %s",
                 vpci_layout_format(&why, text, sizeof text));
        return false;
    }
    if (e->shape.kind != VPCI_ABI_LINK || e->side > 1) {
        snprintf(reason, size, "what the switch says of it makes no sense: "
                 "kind of region is %u, but should be %u; side is %"PRIu32
                 ", but 0 or 1 is possible", (unsigned int) e->shape.kind,
                 VPCI_ABI_LINK, e->side);
        return false;
    }
    return true;
}

/* Returns what is known of links with 'port', also if there was none yet. */
static struct net_rest *
get_rest(struct net_links *links, uint32_t port)
{
    struct net_rest *rest = &links->rests[0];

    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        if (links->rests[i].port == port) {
            return &links->rests[i];
        } else if (links->rests[i].until < rest->until) {
            rest = &links->rests[i];
        }
    }
    *rest = (struct net_rest) { .port = port };
    return rest;
}

struct net_link_counts
net_links_sum_counts(const struct net_worker workers[], uint32_t slot)
{
    struct net_link_counts sum = { 0, 0 };

    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        const struct net_link_counts *c = &workers[i].link_counts[slot];

        sum.packets += __atomic_load_n(&c->packets, __ATOMIC_RELAXED);
        sum.refused += __atomic_load_n(&c->refused, __ATOMIC_RELAXED);
    }
    return sum;
}

/* A link has come. */
static void
add_link(struct vpci_net *net, uint32_t slot, const struct net_link_entry *e,
         int64_t now_ms)
{
    struct net_region_config config = {
        .kind = VPCI_ABI_LINK,
        .side = e->side,
        .n_queues = net->base.config.n_queues,
        .features = net->base.config.features,
        .region_id = e->id,
    };
    struct net_link *link = calloc(1, sizeof *link);
    char reason[sizeof link->region.reason];
    bool ok;

    if (!link) {
        return;
    }
    ok = check_entry(e, &config.layout, reason, sizeof reason);
    memcpy(config.mac, net->base.config.mac, sizeof config.mac);
    net_region_init(&link->region, &config);
    link->slot = slot;
    link->id = e->id;
    /* A switch of before may not say. */
    link->port = e->port ? e->port : e->id | UINT32_C(1) << 31;
    link->side = e->side;
    link->is_stuck = now_ms < get_rest(net->links, link->port)->until;
    link->is_bad = !ok;
    if (link->is_bad) {
        memcpy(link->region.reason, reason, sizeof reason);
        link->region.error = EPROTO;
    }
    link->tx = net_links_sum_counts(net->tx, slot);
    link->rx = net_links_sum_counts(net->rx, slot);
    net->links->slots[slot] = link;
}

/* Follows what the switch says of links. */
static void
follow_entries(struct vpci_net *net, int64_t now_ms)
{
    struct net_links *links = net->links;
    const struct net_region *base = &net->base;

    if (base->state != VPCI_NET_RUNNING) {
        return;
    }
    for (uint32_t i = 0; i < base->layout.shape.n_links; i++) {
        struct net_link *link = links->slots[i];
        struct net_link_entry e;
        bool is_there = (net_link_read_entry(base, i, &e)
                         && e.shape.kind != VPCI_ABI_PEER
                         && !net_peer_has_place(base, i));

        if (link && (!is_there || e.id != link->id)) {
            link->over = true;
        } else if (!link && is_there) {
            add_link(net, i, &e, now_ms);
        }
    }
}

/* Links. */

/* True if there may be packets in the link that its other guest has sent. */
static bool
has_packets(const struct net_link *link)
{
    const struct net_region *r = &link->region;

    for (uint32_t i = 0; i < r->layout.n_rings; i++) {
        const struct vpci_ring_rx *rx = r->rx[i];
        uint32_t left = vpci_ring_offered(rx) - vpci_ring_taken(rx);

        if (left - 1 < vpci_ring_rx_size(rx) && !vpci_ring_rx_fault(rx)) {
            return true;
        }
    }
    return false;
}

/* The link must stop.  Nothing is sent any more, but what has been is
 * received, if that does not take long. */
static void
drain(struct net_link *link, int64_t now_ms)
{
    link->wants_send = false;
    if (!link->drain_until) {
        link->drain_until = now_ms + DRAIN_MS;
    }
    link->wants_receive = (link->receives && now_ms < link->drain_until
                           && !net_region_is_faulty(&link->region)
                           && has_packets(link));
}

/* Looks at what the other guest has taken.  It can write over everything else
 * in the link, so that the switch cannot know.  Returns true if it keeps us
 * from sending, unless we have not looked for long. */
static bool
takes_too_little(struct net_link *link, int64_t now_ms)
{
    bool late = now_ms - link->looked_at > NET_MAX_SILENCE_MS / 2;
    bool too_little = false;

    for (uint32_t i = 0; i < link->region.layout.n_rings; i++) {
        const struct vpci_ring_tx *tx = link->region.tx[i];
        struct net_link_taken *taken = &link->taken[i];
        uint32_t consumed = vpci_ring_said_consumed(tx);

        if (late || consumed == vpci_ring_produced(tx)
            || (int32_t) (consumed - taken->consumed) >= MIN_TAKEN) {
            taken->consumed = consumed;
            taken->at = now_ms;
        }
        too_little |= now_ms - taken->at > NET_MAX_SILENCE_MS;
    }
    link->looked_at = now_ms;
    return too_little;
}

static bool
all_is_taken(const struct net_link *link)
{
    const struct net_region *r = &link->region;

    for (uint32_t i = 0; i < r->layout.n_rings; i++) {
        const struct vpci_ring_tx *tx = r->tx[i];

        if (vpci_ring_said_consumed(tx) != vpci_ring_produced(tx)) {
            return false;
        }
    }
    return true;
}

static void
begin_rest(struct net_links *links, struct net_link *link, int64_t now_ms)
{
    struct net_rest *rest = get_rest(links, link->port);

    if (!rest->ms || now_ms - rest->until > MAX_REST_MS) {
        rest->ms = MIN_REST_MS;
    } else if (rest->ms < MAX_REST_MS) {
        rest->ms *= 2;
    }
    rest->until = now_ms + rest->ms;
    link->is_stuck = true;
}

/* Finds out whether to send by a link.  To begin with that again while it runs
 * could let packets overtake those that went through the switch meanwhile: so
 * its guests meet anew, which the switch sees. */
static void
follow_taken(struct net_links *links, struct net_link *link, bool runs,
             int64_t now_ms)
{
    if (link->is_stuck && now_ms >= get_rest(links, link->port)->until) {
        if (!runs) {
            link->is_stuck = false;
        } else if (all_is_taken(link)) {
            net_region_renew(&link->region);
        }
    } else if (runs && !link->is_stuck && takes_too_little(link, now_ms)) {
        begin_rest(links, link, now_ms);
    }
}

/* Gives the link its device, and that the other guest, as the switch says. */
static void
follow_ids(const struct vpci_net *net, struct net_link *link)
{
    const struct net_region *base = &net->base;
    const struct vpci_abi_link *l = vpci_layout_link(&base->layout,
                                                     base->base, link->slot);
    uint32_t guest_id = vpci_load32(&l->guest_id);
    uint32_t peer_id = vpci_load32(&l->peer_id);

    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (vpci_load32(&l->id) != link->id) {
        return;
    }
    if (!link->region.device) {
        struct vpci_device *device = find_device(net->links, link->id,
                                                 guest_id);

        if (device) {
            net_region_set_device(&link->region, vpci_device_ref(device));
        }
    }
    if (link->region.device && vpci_device_is_open(link->region.device)) {
        device_set_peer(link->region.device, peer_id);
    }
}

/* Runs the region of a link that no worker uses, or that need not stop. */
static void
run_link(struct vpci_net *net, struct net_link *link, int64_t now_ms)
{
    struct net_region *r = &link->region;
    bool runs;

    follow_ids(net, link);
    runs = net_region_run(r, now_ms) == VPCI_NET_RUNNING;
    follow_taken(net->links, link, runs, now_ms);
    link->wants_receive = runs && net->n_queues;
    link->wants_send = (link->wants_receive && !link->is_stuck && !r->silent
                        && vpci_device_peer(r->device));
}

/* Finds out what is to become of a link. */
static void
follow_link(struct vpci_net *net, struct net_link *link, int64_t now_ms)
{
    bool must_stop;

    if (link->is_bad) {
        return;
    }
    must_stop = net_region_must_stop(&link->region) || link->over;
    if (must_stop && link->receives) {
        drain(link, now_ms);
    } else if (!link->over) {
        link->drain_until = 0;
        run_link(net, link, now_ms);
    }
}

/* Workers begin to use a link, or end.  They are outside. */
static void
watch(struct vpci_net *net, const struct net_link *link, bool on)
{
    uint32_t n = link->region.layout.shape.n_queues;

    for (uint32_t i = 0; i < n; i++) {
        if (i < net->n_queues) {
            net_worker_watch(&net->tx[i], &link->region, i, on);
        }
        net_worker_watch(&net->rx[i % net->n_queues], &link->region, i, on);
    }
}

static void
apply(struct vpci_net *net, struct net_link *link)
{
    if (link->wants_receive != link->receives) {
        link->receives = link->wants_receive;
        watch(net, link, link->receives);
        if (link->receives) {
            link->policy = net->policy;
            net_policy_limit(&link->policy,
                             link->region.layout.shape.n_classes,
                             vpci_channel_features(link->region.channel));
        }
    }
    link->sends = link->wants_send;
}

static bool
is_applied(const struct net_link *link)
{
    return (link->wants_receive == link->receives
            && link->wants_send == link->sends);
}

/* Lets workers use links as they are to. */
static void
apply_all(struct vpci_net *net)
{
    struct net_links *links = net->links;

    net_pause(net, NET_ALL_QUEUES);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        if (links->slots[i] && !is_applied(links->slots[i])) {
            apply(net, links->slots[i]);
        }
    }
    net_link_workers_update(net);
    net_resume(net, NET_ALL_QUEUES);
}

/* Applies what was found out, and tells everybody who may be asleep to look,
 * also if another guest has come. */
static void
apply_changes(struct vpci_net *net)
{
    struct net_links *links = net->links;
    bool applied = true, came = false;

    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        struct net_link *link = links->slots[i];

        if (link) {
            applied &= is_applied(link);
            came |= link->region.peer_came;
            link->region.peer_came = false;
        }
    }
    if (!applied) {
        apply_all(net);
    }
    if (!applied || came) {
        for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
            if (links->slots[i] && links->slots[i]->receives) {
                net_region_inject_all(&links->slots[i]->region);
            }
        }
        net_wake_workers(net);
    }
}

/* Links that are over, and not used any more, go. */
static void
destroy_those_over(struct net_links *links)
{
    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        struct net_link *link = links->slots[i];

        if (link && link->over && !link->receives) {
            destroy(links, link);
        }
    }
}

/* Projections. */

/* Says for all queues in use that they go by the hints there are now, where
 * their threads have not said so. */
static void
acknowledge(struct vpci_net *net)
{
    const struct net_region *base = &net->base;
    const void *hints = vpci_layout_hints(&base->layout, base->base);
    uint32_t generation = vpci_projection_generation_at(hints);
    uint32_t behind = 0;

    for (uint32_t i = 0; i < net->n_queues; i++) {
        struct net_link_worker *lw = net->tx[i].links;

        if (lw && (__atomic_load_n(&lw->acknowledged, __ATOMIC_RELAXED)
                   != generation)) {
            behind |= 1u << i;
        }
    }
    if (!behind) {
        return;
    }
    net_pause(net, behind);
    for (uint32_t left = behind; left; left &= left - 1) {
        struct net_link_worker *lw = net->tx[__builtin_ctz(left)].links;

        vpci_store32_release(&lw->words->hints, generation);
        __atomic_store_n(&lw->acknowledged, generation, __ATOMIC_RELAXED);
    }
    net_resume(net, behind);
}

/* Wakes receivers that wait for other acceptances, if there are any. */
static void
follow_acceptances(struct vpci_net *net)
{
    const struct net_region *base = &net->base;
    bool changed = false;

    for (uint32_t i = 0; i < base->layout.shape.n_links; i++) {
        struct net_link *link = net->links->slots[i];

        if (link) {
            uint32_t generation = vpci_projection_generation_at(
                vpci_layout_acceptances(&base->layout, base->base, i));

            changed |= generation != link->acceptances;
            link->acceptances = generation;
        }
    }
    if (changed) {
        net_wake_workers(net);
    }
}

/* Heeds that the MTU of the port has changed. */
static void
follow_max_len(struct vpci_net *net)
{
    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        struct net_link *link = net->links->slots[i];

        if (link && link->policy.max_len != net->policy.max_len) {
            __atomic_store_n(&link->policy.max_len, net->policy.max_len,
                             __ATOMIC_RELAXED);
        }
    }
}

void
net_links_prepare(void *net_)
{
    struct vpci_net *net = net_;
    const struct net_region *base = &net->base;

    if (has_room(net)) {
        uint32_t generation = vpci_projection_generation_at(
            vpci_layout_hints(&base->layout, base->base));

        for (uint32_t i = 0; i < base->layout.shape.n_queues; i++) {
            struct vpci_abi_queue *words
                = vpci_layout_queue(&base->layout, base->base, i);

            vpci_store32_release(&words->hints, generation);
        }
    }
    net_peer_prepare(net);
}

void
net_links_start(struct vpci_net *net)
{
    if (has_room(net)) {
        net_link_workers_create(net);
        net_link_workers_update(net);
    }
}

void
net_links_stop(struct vpci_net *net)
{
    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        struct net_link *link = net->links->slots[i];

        if (link) {
            link->wants_receive = link->wants_send = false;
            apply(net, link);
        }
    }
    net_peer_stop(net);
    net_link_workers_destroy(net);
}

void
net_links_run(struct vpci_net *net, int64_t now_ms)
{
    struct net_links *links = net->links;

    if (links->n_channels != net->base.n_channels || !has_room(net)) {
        /* The region that said what links there are is not there any more. */
        net_peer_destroy(net);
        destroy_all(links);
        memset(links->rests, 0, sizeof links->rests);
        links->n_channels = net->base.n_channels;
    }
    if (!has_room(net)) {
        return;
    }
    follow_entries(net, now_ms);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        if (links->slots[i]) {
            follow_link(net, links->slots[i], now_ms);
        }
    }
    apply_changes(net);
    destroy_those_over(links);
    net_peer_run(net, now_ms);
    if (net->n_queues) {
        follow_max_len(net);
        acknowledge(net);
        follow_acceptances(net);
    }
}

/* How it stands. */

static void
get_info(const struct vpci_net *net, const struct net_link *link,
         struct vpci_net_link_info *info)
{
    struct net_link_counts tx = net_links_sum_counts(net->tx, link->slot);
    struct net_link_counts rx = net_links_sum_counts(net->rx, link->slot);
    const struct net_region *r = &link->region;

    *info = (struct vpci_net_link_info) {
        .id = link->id,
        .slot = link->slot,
        .side = link->side,
        .state = r->state,
        .sends = link->sends,
        .peer_id = r->device ? vpci_device_peer(r->device) : 0,
        .tx_packets = tx.packets - link->tx.packets,
        .rx_packets = rx.packets - link->rx.packets,
        .refused = rx.refused - link->rx.refused,
    };
    if (r->state == VPCI_NET_RUNNING && link->is_stuck) {
        snprintf(info->reason, sizeof info->reason,
                 "the other guest, or one before it, has taken too little of "
                 "what was sent: nothing is, for up to %d s",
                 MAX_REST_MS / 1000);
    } else if (r->state == VPCI_NET_RUNNING && !link->sends) {
        snprintf(info->reason, sizeof info->reason,
                 "the other guest is not there any more, or hangs");
    } else {
        snprintf(info->reason, sizeof info->reason, "%s", r->reason);
    }
}

uint32_t
net_links_get_infos(const struct vpci_net *net,
                    struct vpci_net_link_info infos[])
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        if (net->links->slots[i]) {
            get_info(net, net->links->slots[i], &infos[n++]);
        }
    }
    return n + net_peer_get_info(net, &infos[n]);
}
