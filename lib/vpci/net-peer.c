/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The peer's device, and whose turn it is to drive the peer's rings: see
 * net-peer.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-peer.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long not to try again after the device could not be opened. */
#define MIN_RETRY_MS 20
#define MAX_RETRY_MS 1000

static bool
has_peer(const struct net_region *base)
{
    return (base->channel
            && base->layout.shape.kind == VPCI_ABI_BASE_PEER);
}

static void __attribute__((format(printf, 3, 4)))
say(struct net_peer *p, enum vpci_net_state state, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(p->reason, sizeof p->reason, format, args);
    va_end(args);
    p->state = state;
}

uint32_t
net_peer_turn(const struct vpci_net *net)
{
    const struct net_region *base = &net->base;

    return has_peer(base) ? vpci_load32(&net_peer_said(base)->turn) : 0;
}

/* Turns. */

/* Says that 'turn' has been returned, and tells the switch to look. */
static void
say_returned(const struct net_region *base, uint32_t turn,
             enum vpci_abi_peer_why why)
{
    struct vpci_abi_peer_words *words = net_peer_words(base);

    vpci_store32(&words->why, why);
    vpci_store32_release(&words->returned, turn);       /* (q) */
}

static void
tell_switch(const struct net_region *base)
{
    struct vpci_signal *signal = vpci_device_signal(
        base->device, vpci_layout_control_vector(&base->layout));

    if (signal) {
        vpci_signal_inject(signal);
    }
}

/* The rings stand where the switch says, since nobody has used them. */
static void
copy_places(const struct net_region *base)
{
    const struct vpci_abi_peer *said = net_peer_said(base);
    struct vpci_abi_peer_words *words = net_peer_words(base);

    for (uint32_t i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        uint32_t at = vpci_load32(&said->rings[i].at);

        vpci_store32(&words->rings[i].next, at);
        vpci_store32(&words->rings[i].at, at);
    }
}

/* Whoever was there before us has died, or has said all this himself: if he
 * had the rings, his records say where they are, as he left them. */
void
net_peer_prepare(struct vpci_net *net)
{
    const struct net_region *base = &net->base;
    struct vpci_abi_peer_words *words;
    uint32_t turn;

    if (!has_peer(base)) {
        return;
    }
    words = net_peer_words(base);
    turn = vpci_load32_acquire(&net_peer_said(base)->turn);
    vpci_store32(&words->knows, 0);
    if (vpci_load32(&words->returned) != turn) {
        if (turn % 2 && vpci_load32(&words->taken) != turn) {
            copy_places(base);
        }
        say_returned(base, turn, turn % 2 ? VPCI_ABI_PEER_ENDS
                     : VPCI_ABI_PEER_WELL);
    }
    if (net->links && net->links->peer) {
        net->links->peer->answered = turn;
    }
}

void
net_peer_end(struct net_peer *p, enum vpci_abi_peer_why why)
{
    uint32_t well = VPCI_ABI_PEER_WELL;

    if (__atomic_compare_exchange_n(&p->why, &well, why, false,
                                    __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
        net_wake_controller(p->net);
    }
}

/* Takes rings that have been in use away from workers, who are outside. */
static void
detach(struct net_peer *p)
{
    for (uint32_t i = 0; i < p->n_rings; i++) {
        struct net_peer_ring *r = &p->rings[i];

        if (r->worker && r->kick) {
            net_worker_watch_signal(r->worker, r->kick, false);
        }
        r->worker = NULL;
    }
    p->holds = false;
}

/* Makes rings that were just started workers' own; these are outside. */
static void
attach(struct net_peer *p)
{
    struct vpci_net *net = p->net;

    for (uint32_t i = 0; i < p->n_rings; i++) {
        struct net_peer_ring *r = &p->rings[i];
        bool is_rx = i % 2;

        if (!VPCI_LE32(p->said.rings[i].size)
            || (!is_rx && i / 2 >= net->n_queues)) {
            continue;
        }
        r->worker = (is_rx ? &net->rx[i / 2 % net->n_queues]
                     : &net->tx[i / 2]);
        if (is_rx && r->kick) {
            net_worker_watch_signal(r->worker, r->kick, true);
        }
    }
    p->holds = true;
}

/* Stops using the rings, for whatever reason. */
static void
let_go(struct net_peer *p)
{
    if (p->holds) {
        net_pause(p->net, NET_ALL_QUEUES);
        detach(p);
        net_link_workers_update(p->net);
        net_resume(p->net, NET_ALL_QUEUES);
        net_peer_stop_rings(p);
    }
}

/* Gives the rings back by itself. */
static void
give_back(struct net_peer *p, enum vpci_abi_peer_why why)
{
    if (p->holds) {
        let_go(p);
        say_returned(&p->net->base, p->answered, why);
        tell_switch(&p->net->base);
        net_wake_workers(p->net);
    }
}

/* Says why 'why' has been found by a worker. */
static void
explain(struct net_peer *p, enum vpci_abi_peer_why why)
{
    char text[200];

    switch (why) {
    case VPCI_ABI_PEER_NOT_ACCEPTED:
        say(p, VPCI_NET_MEETING, "the peer has sent what the switch's rules "
            "do not send here: the switch has its rings");
        break;
    case VPCI_ABI_PEER_BROKEN:
        say(p, VPCI_NET_MEETING, "the peer has broken a ring: %s",
            vpci_fault_format(&p->fault, text, sizeof text));
        break;
    case VPCI_ABI_PEER_UNUSABLE:
        say(p, VPCI_NET_MEETING, "no memory for the peer's rings");
        break;
    case VPCI_ABI_PEER_WELL:
    case VPCI_ABI_PEER_ENDS:
    default:
        say(p, VPCI_NET_MEETING, "the switch has the peer's rings");
        break;
    }
}

/* Notes what the switch has sent so far. */
static void
mark(struct net_peer *p)
{
    const struct net_region *base = &p->net->base;

    for (uint32_t i = 0; i < base->layout.n_rings; i++) {
        p->marks[i] = vpci_ring_offered(base->rx[i]);
    }
    __atomic_store_n(&p->marked, true, __ATOMIC_RELAXED);
}

/* It is our turn. */
static void
take(struct net_peer *p, uint32_t turn)
{
    struct vpci_net *net = p->net;
    const struct net_region *base = &net->base;
    const struct vpci_abi_peer *shared = net_peer_said(base);
    const char *wrong;

    memcpy(&p->said, shared, sizeof p->said);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (vpci_load32(&shared->turn) != turn
        || (p->n_signals && !net_peer_has_signals(p))) {
        return;                 /* Later, whatever it is. */
    }
    p->why = VPCI_ABI_PEER_WELL;
    wrong = net_peer_start_rings(p);
    p->answered = turn;
    if (wrong) {
        say(p, VPCI_NET_MEETING, "what the switch says of the peer cannot be "
            "used, because of %s", wrong);
        copy_places(base);
        say_returned(base, turn, VPCI_ABI_PEER_UNUSABLE);
    } else {
        vpci_store32_release(&net_peer_words(base)->taken, turn);
        net_pause(net, NET_ALL_QUEUES);
        mark(p);
        attach(p);
        net_link_workers_update(net);
        net_resume(net, NET_ALL_QUEUES);
        say(p, VPCI_NET_RUNNING, "%s", "");
    }
    tell_switch(base);
    net_wake_workers(net);
}

/* It is the switch's turn. */
static void
hand_over(struct net_peer *p, uint32_t turn)
{
    if (p->holds) {
        let_go(p);
        explain(p, VPCI_ABI_PEER_WELL);
    }
    p->answered = turn;
    say_returned(&p->net->base, turn, VPCI_ABI_PEER_WELL);
    tell_switch(&p->net->base);
    net_wake_workers(p->net);
}

static void
follow_turn(struct net_peer *p)
{
    const struct vpci_abi_peer *shared = net_peer_said(&p->net->base);
    uint32_t turn = vpci_load32_acquire(&shared->turn);     /* (p) */
    uint32_t why = __atomic_load_n(&p->why, __ATOMIC_RELAXED);

    if (turn == p->answered) {
        if (p->holds && why) {
            give_back(p, why);
            explain(p, why);
        }
    } else if (turn % 2) {
        /* A switch that was tired of waiting for us has had them back. */
        let_go(p);
        take(p, turn);
    } else {
        hand_over(p, turn);
    }
}

/* The device. */

/* Says that we cannot drive rings, or can. */
static void
say_words(struct net_peer *p, uint32_t n_signals)
{
    struct vpci_abi_peer_words *words = net_peer_words(&p->net->base);

    if (n_signals == p->n_signals) {
        return;
    }
    p->n_signals = n_signals;
    vpci_store32(&words->device_id, n_signals ? vpci_device_id(p->device)
                                    : 0);
    vpci_store32(&words->n_signals, n_signals);
    vpci_store32(&words->n_rings, n_signals ? VPCI_ABI_MAX_RINGS : 0);
    vpci_store64(&words->features, n_signals ? NET_PEER_FEATURES : 0);
    vpci_store32_release(&words->knows, n_signals > 0);
    tell_switch(&p->net->base);
}

/* Leaves the device, of which nothing can be used any more. */
static void
leave_device(struct net_peer *p)
{
    give_back(p, VPCI_ABI_PEER_ENDS);
    say_words(p, 0);
    if (p->device) {
        vpci_device_close(p->device);
    }
}

static void
forget_device(struct net_peer *p)
{
    leave_device(p);
    vpci_device_release(p->device);
    p->device = NULL;
    p->departed = false;
}

/* Finds the device, as the switch names it. */
static bool
find_device(struct net_peer *p, uint32_t guest_id)
{
    struct vpci_device *device;

    if (p->departed && !vpci_device_is_open(p->device)) {
        forget_device(p);
    }
    if (p->device) {
        return true;
    }
    device = net_links_find_device(p->net->links, DEVICE_PEER, guest_id);
    if (!device || !device->is_peer) {
        say(p, VPCI_NET_NO_DEVICE, "there is no socket of the peer's memory, "
            "nor a PCI function: was it given to us?");
        return false;
    }
    p->device = vpci_device_ref(device);
    p->retry_at = INT64_MIN;
    p->retry_ms = MIN_RETRY_MS;
    return true;
}

/* Opens the device if it is time to.  Returns whether it is open. */
static bool
open_device(struct net_peer *p, int64_t now_ms)
{
    if (vpci_device_is_open(p->device)) {
        return true;
    } else if (now_ms < p->retry_at) {
        return false;
    }
    if (vpci_device_open(p->device, VPCI_NET_CONNECT_MS)) {
        say(p, VPCI_NET_CONNECTING, "%s", vpci_device_reason(p->device));
    } else if (!(vpci_device_id(p->device) & VPCI_ABI_PEER_ID)) {
        say(p, VPCI_NET_CONNECTING, "our ivshmem id at the peer's memory is "
            "%"PRIu32": that is no peer's", vpci_device_id(p->device));
        vpci_device_close(p->device);
    } else {
        p->retry_ms = MIN_RETRY_MS;
        explain(p, VPCI_ABI_PEER_WELL);
        return true;
    }
    p->retry_at = now_ms + p->retry_ms;
    p->retry_ms = (p->retry_ms < MAX_RETRY_MS / 2 ? p->retry_ms * 2
                   : MAX_RETRY_MS);
    return false;
}

/* Another one waits for signals now: what it was told of before may be
 * lost. */
static void
wake_all(struct net_peer *p)
{
    for (uint32_t i = 0; p->holds && i < p->n_rings; i++) {
        if (p->rings[i].worker && p->rings[i].call) {
            vpci_signal_inject(p->rings[i].call);
        }
    }
    net_wake_workers(p->net);
}

/* Leaves the device if it has gone, whoever serves the base.  Returns whether
 * it is open still. */
static bool
run_device(struct net_peer *p, int64_t now_ms)
{
    unsigned int events = p->device ? vpci_device_run(p->device) : 0;

    if (events & (VPCI_DEVICE_GONE | VPCI_DEVICE_UNPLUGGED)) {
        say(p, VPCI_NET_CONNECTING, "%s", vpci_device_reason(p->device));
        leave_device(p);
        p->retry_at = now_ms + p->retry_ms;
    } else if (events & VPCI_DEVICE_PEER_CAME) {
        wake_all(p);
    }
    return p->device && vpci_device_is_open(p->device);
}

/* Gets at the device, which the switch names. */
static void
follow_device(struct net_peer *p, int64_t now_ms)
{
    const struct net_region *base = &p->net->base;
    const struct vpci_abi_link *l = vpci_layout_link(&base->layout,
                                                     base->base, p->slot);

    if (find_device(p, vpci_load32(&l->guest_id)) && open_device(p, now_ms)) {
        device_set_peer(p->device, vpci_load32(&l->peer_id));
        if (run_device(p, now_ms)) {
            say_words(p, p->device->max_signals);
        }
    }
}

/* The entry. */

/* The peer has the entry 'id' from now on, or none. */
static void
set_id(struct net_peer *p, uint32_t id)
{
    struct vpci_net *net = p->net;

    net_pause(net, NET_ALL_QUEUES);
    p->id = id;
    net_resume(net, NET_ALL_QUEUES);
    p->tx = net_links_sum_counts(net->tx, p->slot);
    p->rx = net_links_sum_counts(net->rx, p->slot);
}

/* Follows what the switch says of the peer's place.  Returns whether there is
 * a peer. */
static bool
follow_entry(struct net_peer *p)
{
    struct net_link_entry e;
    bool is_there = (net_link_read_entry(&p->net->base, p->slot, &e)
                     && e.shape.kind == VPCI_ABI_PEER);

    if (p->id && (!is_there || e.id != p->id)) {
        forget_device(p);
        set_id(p, 0);
    }
    if (is_there && !p->id) {
        set_id(p, e.id);
    }
    return is_there;
}

static struct net_peer *
create(struct vpci_net *net)
{
    struct net_peer *p = calloc(1, sizeof *p);

    if (p) {
        p->net = net;
        p->slot = vpci_layout_peer_place(&net->base.layout);
        p->answered = vpci_load32(&net_peer_words(&net->base)->returned);
        say(p, VPCI_NET_NO_DEVICE, "the switch has not said what it is");
    }
    return p;
}

void
net_peer_run(struct vpci_net *net, int64_t now_ms)
{
    struct net_links *links = net->links;

    if (!has_peer(&net->base) || !net->n_queues || !net->tx[0].links) {
        if (links->peer) {
            run_device(links->peer, now_ms);
        }
        return;
    }
    if (!links->peer) {
        struct net_peer *p = create(net);

        if (!p) {
            return;
        }
        net_pause(net, NET_ALL_QUEUES);
        links->peer = p;
        net_resume(net, NET_ALL_QUEUES);
    }
    if (follow_entry(links->peer)) {
        follow_device(links->peer, now_ms);
    }
    follow_turn(links->peer);
}

/* True unless the switch has made something else of the region, and forgotten
 * us. */
static bool
is_known(const struct net_region *base)
{
    struct vpci_layout_report why;

    return (has_peer(base)
            && vpci_layout_agrees(&base->layout, base->base, base->region_id,
                                  &why));
}

/* Workers are outside, and stay there. */
void
net_peer_stop(struct vpci_net *net)
{
    struct net_peer *p = net->links->peer;
    bool says = p && is_known(&net->base);

    if (p && p->holds) {
        detach(p);
        net_peer_stop_rings(p);
        if (says) {
            say_returned(&net->base, p->answered, VPCI_ABI_PEER_ENDS);
        }
        explain(p, VPCI_ABI_PEER_ENDS);
    }
    if (says) {
        say_words(p, 0);
    } else if (p) {
        p->n_signals = 0;
    }
}

void
net_peer_destroy(struct vpci_net *net)
{
    struct net_peer *p = net->links->peer;

    if (!p) {
        return;
    }
    net_pause(net, NET_ALL_QUEUES);
    net->links->peer = NULL;
    net_resume(net, NET_ALL_QUEUES);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        vpci_vring_destroy(p->rings[i].vring);
    }
    if (p->device) {
        vpci_device_close(p->device);
    }
    vpci_device_release(p->device);
    free(p);
}

void
net_peer_departed(struct vpci_net *net, const struct vpci_device *device)
{
    struct net_peer *p = net->links->peer;

    if (p && p->device == device) {
        p->departed = true;
    }
}

int
net_peer_fd(const struct vpci_net *net)
{
    const struct net_peer *p = net->links->peer;

    return p && p->device ? vpci_device_fd(p->device) : -1;
}

/* What workers use. */

void
net_peer_find_rx(struct vpci_net *net, struct net_link_worker *lw,
                 uint32_t queue)
{
    struct net_peer_rx *rx = &lw->peer_rx;
    struct net_peer *p = net->links->peer;

    rx->n_rings = rx->next = 0;
    for (uint32_t i = 1; p && p->holds && i < p->n_rings; i += 2) {
        struct net_peer_ring *r = &p->rings[i];

        if (r->worker == &net->rx[queue]) {
            rx->rings[rx->n_rings++] = r;
        }
    }
    if (!rx->n_rings) {
        return;
    }
    rx->look = net_link_worker_look(net, lw, p->slot);
    if (!rx->look) {
        rx->n_rings = 0;
        net_peer_end(p, VPCI_ABI_PEER_UNUSABLE);
    }
}

void
net_peer_find_tx(struct vpci_net *net, struct net_link_worker *lw,
                 uint32_t queue)
{
    struct net_peer *p = net->links->peer;

    lw->peer_tx.ring = (p && p->holds && 2 * queue < p->n_rings
                        && p->rings[2 * queue].worker
                        ? &p->rings[2 * queue] : NULL);
    lw->peer_tx.full = NULL;
}

uint32_t
net_peer_get_info(const struct vpci_net *net, struct vpci_net_link_info *info)
{
    const struct net_peer *p = net->links ? net->links->peer : NULL;
    struct net_link_counts tx, rx;

    if (!p || !p->id) {
        return 0;
    }
    tx = net_links_sum_counts(net->tx, p->slot);
    rx = net_links_sum_counts(net->rx, p->slot);
    *info = (struct vpci_net_link_info) {
        .id = p->id,
        .slot = p->slot,
        .is_peer = true,
        .state = p->state,
        .sends = p->holds,
        .peer_id = p->device ? vpci_device_peer(p->device) : 0,
        .tx_packets = tx.packets - p->tx.packets,
        .rx_packets = rx.packets - p->rx.packets,
        .refused = rx.refused - p->rx.refused,
    };
    snprintf(info->reason, sizeof info->reason, "%s", p->reason);
    return 1;
}
