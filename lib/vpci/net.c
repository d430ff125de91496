/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The housekeeping of a port of vpci-net: see vpci/net.h.  How it is opened,
 * and by whom this is called, is in net-process.c, or in the kernel's driver. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus-private.h"

const char *
vpci_net_state_name(enum vpci_net_state state)
{
    static const char *const names[] = {
        [VPCI_NET_NO_DEVICE] = "no device",
        [VPCI_NET_CONNECTING] = "connecting",
        [VPCI_NET_NO_HEADER] = "no header",
        [VPCI_NET_NO_SWITCH] = "no switch",
        [VPCI_NET_MEETING] = "meeting",
        [VPCI_NET_RUNNING] = "running",
    };

    return names[state];
}

static void
read_mac(struct vpci_net *net)
{
    static const uint8_t none[6];
    bool is_set = memcmp(net->config.mac, none, sizeof none) != 0;

    memcpy(net->mac, (is_set ? net->config.mac
                      : vpci_layout_port(net->base.base)->mac),
           sizeof net->mac);
}

/* Calls 'cb' for the gates of those workers. */
static void
for_each_gate(struct vpci_net *net, uint32_t senders,
              void (*cb)(struct vpci_gate *))
{
    for (uint32_t i = 0; i < net->n_queues; i++) {
        if (senders & 1u << i) {
            cb(&net->tx[i].gate);
        }
        if (senders == NET_ALL_QUEUES) {
            cb(&net->rx[i].gate);
        }
    }
}

/* Waits until no worker is inside any more. */
static void
shut_gates(struct vpci_net *net, uint32_t senders)
{
    for_each_gate(net, senders, vpci_gate_shut);
    vpci_gate_barrier();
    for_each_gate(net, senders, vpci_gate_wait);
}

void
net_pause(struct vpci_net *net, uint32_t senders)
{
    __atomic_store_n(&net->paused, true, __ATOMIC_SEQ_CST);
    shut_gates(net, senders);
}

void
net_resume(struct vpci_net *net, uint32_t senders)
{
    if (senders == NET_ALL_QUEUES) {
        net->generation++;
    }
    for_each_gate(net, senders, vpci_gate_open);
    __atomic_store_n(&net->paused, false, __ATOMIC_RELEASE);    /* (L) */
}

/* Begins, or ends, to wait for signals of the base. */
static void
watch_base(struct vpci_net *net, bool on)
{
    for (uint32_t i = 0; i < net->n_queues; i++) {
        net_worker_watch(&net->tx[i], &net->base, i, on);
        net_worker_watch(&net->rx[i], &net->base, i, on);
    }
    if (net->n_queues) {
        net_worker_watch_ring(&net->caller, &net->base, VPCI_LAYOUT_CALLS,
                              on);
    }
}

/* Lets workers in. */
static void
start(struct vpci_net *net, const struct net_policy *policy)
{
    net->policy = *policy;
    net->generation++;
    net->n_meetings++;
    net->n_queues = vpci_channel_n_queues(net->base.channel);
    read_mac(net);
    watch_base(net, true);
    net_links_start(net);
    for_each_gate(net, NET_ALL_QUEUES, vpci_gate_open);
    vpci_gate_open(&net->caller.gate);
}

void
net_stop(struct vpci_net *net)
{
    vpci_gate_shut(&net->caller.gate);
    shut_gates(net, NET_ALL_QUEUES);
    vpci_gate_wait(&net->caller.gate);
    net_links_stop(net);
    watch_base(net, false);
    net->n_queues = 0;
}

/* A device "base" has come or gone. */
static void
handle_base(struct vpci_net *net, const struct vpci_bus_event *event)
{
    if (event->kind == VPCI_BUS_ARRIVED) {
        vpci_device_release(net->next);
        net->next = vpci_device_ref(event->device);
    } else if (event->device == net->next) {
        vpci_device_release(net->next);
        net->next = NULL;
    } else if (event->device == net->base.device) {
        net->base.departed = true;
    }
}

static void
run_bus(struct vpci_net *net)
{
    struct net_region *base = &net->base;
    struct vpci_bus_event event;

    while (vpci_bus_next(net->bus, &event)) {
        if (!strcmp(vpci_device_name(event.device), "base")) {
            handle_base(net, &event);
        } else {
            net_links_handle(net, &event);
        }
        vpci_device_release(event.device);
    }
    if (net->next && (!base->device || !vpci_device_is_open(base->device))) {
        net_region_set_device(base, net->next);
        net->next = NULL;
    }
}

/* Lets workers in as soon as the region is ready for them, and tells them
 * and the switch to look at all rings once. */
static void
follow_region(struct vpci_net *net, char *reason, size_t size)
{
    bool runs = net->base.state == VPCI_NET_RUNNING;
    bool starts = false;
    struct net_policy policy;

    if (runs && !net->n_queues) {
        starts = net_policy_read(&net->base, &policy, reason, size);
        policy.drop = net->config.drop;
        if (starts) {
            start(net, &policy);
        }
    }
    if (starts || (net->n_queues && net->base.peer_came)) {
        net_region_inject_all(&net->base);
        net_wake_workers(net);
    }
    net->base.peer_came = false;
}

static void
fill_in_running(const struct vpci_net *net, int64_t now_ms,
                struct vpci_net_info *info)
{
    const struct net_region *r = &net->base;
    const struct vpci_abi_port *port = vpci_layout_port(r->base);

    memcpy(info->mac, net->mac, sizeof info->mac);
    info->max_len = net->policy.max_len;
    info->features = vpci_channel_features(r->channel);
    info->n_queues = net->n_queues;
    info->n_classes = net->policy.classes.n;
    info->ring_slots = 1u << r->layout.shape.slots_log2;
    info->class_by = net->policy.classes.by;
    info->guest_id = vpci_device_id(r->device);
    info->switch_id = vpci_device_peer(r->device);
    info->region_id = r->region_id;
    info->silence_ms = vpci_channel_silence(r->channel, now_ms);
    info->carrier = vpci_load32(&port->link_state) == 1;
    if (!info->carrier) {
        snprintf(info->reason, sizeof info->reason,
                 "the switch says that the port is down: see ovs-vsctl get "
                 "Interface NAME admin_state");
    }
}

/* Heeds that the MTU of the port has changed. */
static void
follow_max_len(struct vpci_net *net)
{
    uint32_t max_len = vpci_load32(&vpci_layout_port(net->base.base)->max_len);

    if (max_len != net->policy.max_len && net_policy_is_max_len(max_len)) {
        __atomic_store_n(&net->policy.max_len, max_len, __ATOMIC_RELAXED);
    }
}

/* Says why there is no device, if it can be seen. */
static void
explain_absence(const struct vpci_net *net, struct vpci_net_info *info)
{
    int error = bus_explain(net->bus, info->reason, sizeof info->reason);

    info->error = error ? error : info->error;
}

void
net_update_info(struct vpci_net *net, int64_t now_ms, const char *reason)
{
    const struct net_region *r = &net->base;
    struct vpci_net_info info = { .state = r->state, .error = r->error };
    struct vpci_device *old = net->device;

    snprintf(info.reason, sizeof info.reason, "%s", r->reason);
    if (net->n_queues) {
        fill_in_running(net, now_ms, &info);
    } else if (*reason) {
        info.state = VPCI_NET_MEETING;
        info.error = EPROTO;
        snprintf(info.reason, sizeof info.reason, "%s", reason);
    } else if (!r->device) {
        explain_absence(net, &info);
    }
    pthread_mutex_lock(&net->mutex);
    if (old != r->device) {
        net->device = r->device ? vpci_device_ref(r->device) : NULL;
    }
    net->info = info;
    net->n_link_infos = net_links_get_infos(net, net->link_infos);
    net->n_resets = r->n_resets;
    /* Not later: who has seen 'info' doesn't see an older carrier. */
    __atomic_store_n(&net->carrier, info.carrier, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&net->mutex);
    if (old != r->device) {
        vpci_device_release(old);
    }
}

void
net_init(struct vpci_net *net, const struct vpci_net_config *config)
{
    struct net_region_config base = {
        .kind = VPCI_ABI_BASE,
        .side = 1,
        .n_queues = config->n_queues ? config->n_queues : 1,
        .features = config->features,
        .n_links = config->no_links ? 0 : VPCI_ABI_MAX_LINKS,
        .prepare = net_links_prepare,
        .answer = net_call,
        .aux = net,
    };

    memset(net, 0, sizeof *net);
    net->config = *config;
    memcpy(base.mac, config->mac, sizeof base.mac);
    net_region_init(&net->base, &base);
    pthread_mutex_init(&net->mutex, NULL);
    pthread_mutex_init(&net->call_mutex, NULL);
    net->wake_fd = net->run_fd = net->caller.epoll_fd = -1;
    net->caller.net = net;
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        net->tx[i].epoll_fd = net->rx[i].epoll_fd = -1;
        net->tx[i].net = net->rx[i].net = net;
    }
    vpci_gate_global_init();
}

void
vpci_net_run(struct vpci_net *net, int64_t now_ms)
{
    struct net_region *base = &net->base;
    bool had_workers = net->n_queues > 0;
    char reason[160] = "";

    run_bus(net);
    if (base->channel) {
        device_set_peer(base->device, vpci_load32(
            &vpci_layout_port(base->base)->switch_id));
    }
    if (net_region_must_stop(base) && had_workers) {
        net_stop(net);
    }
    if (net_region_run(base, now_ms) != VPCI_NET_RUNNING && had_workers) {
        /* It may begin anew now that no workers are inside. */
        net_stop(net);
        net_region_run(base, now_ms);
    }
    follow_region(net, reason, sizeof reason);
    if (net->n_queues) {
        follow_max_len(net);
    }
    net_links_run(net, now_ms);
    net_update_info(net, now_ms, reason);
}

void
vpci_net_get_info(const struct vpci_net *net_, struct vpci_net_info *info)
{
    struct vpci_net *net = (struct vpci_net *) net_;   /* For the mutex. */

    pthread_mutex_lock(&net->mutex);
    *info = net->info;
    pthread_mutex_unlock(&net->mutex);
}

struct vpci_device *
vpci_net_device(const struct vpci_net *net_)
{
    struct vpci_net *net = (struct vpci_net *) net_;   /* For the mutex. */
    struct vpci_device *device;

    pthread_mutex_lock(&net->mutex);
    device = net->device ? vpci_device_ref(net->device) : NULL;
    pthread_mutex_unlock(&net->mutex);
    return device;
}

bool
vpci_net_has_carrier(const struct vpci_net *net)
{
    return __atomic_load_n(&net->carrier, __ATOMIC_ACQUIRE);
}

static uint64_t
load(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void
add_stats(struct vpci_net_queue_stats *sum,
          const struct vpci_net_queue_stats *stats)
{
    sum->packets += load(&stats->packets);
    sum->bytes += load(&stats->bytes);
    sum->dropped += load(&stats->dropped);
    sum->full += load(&stats->full);
    sum->refused += load(&stats->refused);
    sum->injected += load(&stats->injected);
    sum->received += load(&stats->received);
    sum->linked += load(&stats->linked);
    sum->rejected += load(&stats->rejected);
    sum->spurious += load(&stats->spurious);
    sum->masked += load(&stats->masked);
}

void
vpci_net_get_stats(const struct vpci_net *net_, uint32_t queue,
                   struct vpci_net_stats *stats)
{
    struct vpci_net *net = (struct vpci_net *) net_;   /* For the mutex. */

    memset(stats, 0, sizeof *stats);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        if (queue == VPCI_NET_ALL || i == queue) {
            add_stats(&stats->tx, &net->tx[i].stats);
            add_stats(&stats->rx, &net->rx[i].stats);
        }
    }
    pthread_mutex_lock(&net->mutex);
    stats->meetings = net->n_meetings;
    stats->resets = net->n_resets;
    pthread_mutex_unlock(&net->mutex);
}

uint32_t
vpci_net_get_links(const struct vpci_net *net_,
                   struct vpci_net_link_info infos[], uint32_t n)
{
    struct vpci_net *net = (struct vpci_net *) net_;   /* For the mutex. */
    uint32_t n_links;

    pthread_mutex_lock(&net->mutex);
    n_links = net->n_link_infos;
    if (n > n_links) {
        n = n_links;
    }
    for (uint32_t i = 0; i < n; i++) {
        infos[i] = net->link_infos[i];
    }
    pthread_mutex_unlock(&net->mutex);
    return n_links;
}

void
vpci_net_get_class_stats(const struct vpci_net *net, uint32_t queue,
                         uint32_t class_, struct vpci_net_class_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        if (queue == VPCI_NET_ALL || i == queue) {
            stats->tx_packets += load(&net->tx[i].class_packets[class_]);
            stats->rx_packets += load(&net->rx[i].class_packets[class_]);
        }
    }
}
