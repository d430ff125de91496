/* SPDX-License-Identifier: Apache-2.0 */

/* A port of vpci-net, and its housekeeping: see vpci/net.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-private.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* What our own thread allows itself. */
#define THREAD_RUN_MS (VPCI_NET_RUN_MS / 2)

/* Shortest 'max_len' of a port: an Ethernet header. */
#define MIN_MAX_LEN 14

/* Super-packets that we may send: VIRTIO_NET_F_HOST_TSO4, _TSO6, _UFO and
 * _USO. */
#define GSO_FEATURES (UINT64_C(1) << 11 | UINT64_C(1) << 12 \
                      | UINT64_C(1) << 14 | UINT64_C(1) << 56)

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

/* Ends sleeps. */
static void
wake_workers(struct vpci_net *net)
{
    eventfd_write(net->wake_fd, 1);
}

static bool
is_max_len(uint32_t max_len)
{
    return max_len >= MIN_MAX_LEN && max_len <= VPCI_ABI_MAX_LEN;
}

/* Reads what the port says, nearly all of which stays while the switch runs.
 * Returns false, with the reason in the 'size' bytes at 'reason', if that
 * makes no sense. */
static bool
read_policy(const struct net_region *r, struct net_policy *policy,
            char *reason, size_t size)
{
    const struct vpci_abi_port *port = vpci_layout_port(r->base);
    uint64_t features = vpci_channel_features(r->channel);

    vpci_classes_read(&policy->classes, port, r->layout.shape.n_classes);
    policy->offloads = features != 0;
    policy->max_gso_len = features & GSO_FEATURES ? VPCI_ABI_MAX_LEN : 0;
    policy->max_len = vpci_load32(&port->max_len);
    if (!is_max_len(policy->max_len)) {
        snprintf(reason, size, "the switch says that packets have up to %u "
                 "bytes, but %d to %d are possible", policy->max_len,
                 MIN_MAX_LEN, VPCI_ABI_MAX_LEN);
        return false;
    }
    return true;
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

/* Lets workers in. */
static void
start(struct vpci_net *net, const struct net_policy *policy)
{
    uint32_t n_queues = vpci_channel_n_queues(net->base.channel);

    net->policy = *policy;
    net->generation++;
    read_mac(net);
    for (uint32_t i = 0; i < n_queues; i++) {
        net_worker_watch(net, &net->tx[i], i, true);
        net_worker_watch(net, &net->rx[i], i, true);
        vpci_gate_open(&net->tx[i].gate);
        vpci_gate_open(&net->rx[i].gate);
    }
    net->n_queues = n_queues;
}

/* Waits until no worker is inside any more. */
static void
stop(struct vpci_net *net)
{
    for (uint32_t i = 0; i < net->n_queues; i++) {
        vpci_gate_shut(&net->tx[i].gate);
        vpci_gate_shut(&net->rx[i].gate);
    }
    vpci_gate_barrier();
    for (uint32_t i = 0; i < net->n_queues; i++) {
        vpci_gate_wait(&net->tx[i].gate);
        vpci_gate_wait(&net->rx[i].gate);
        net_worker_watch(net, &net->tx[i], i, false);
        net_worker_watch(net, &net->rx[i], i, false);
    }
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
        starts = read_policy(&net->base, &policy, reason, size);
        if (starts) {
            start(net, &policy);
        }
    }
    if (starts || (net->n_queues && net->base.peer_came)) {
        net_region_inject_all(&net->base);
        wake_workers(net);
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

    if (max_len != net->policy.max_len && is_max_len(max_len)) {
        __atomic_store_n(&net->policy.max_len, max_len, __ATOMIC_RELAXED);
    }
}

/* Tells others how it stands.  'reason' is not empty if the switch makes no
 * sense. */
static void
update_info(struct vpci_net *net, int64_t now_ms, const char *reason)
{
    const struct net_region *r = &net->base;
    struct vpci_net_info info = { .state = r->state, .error = r->error };

    snprintf(info.reason, sizeof info.reason, "%s", r->reason);
    if (net->n_queues) {
        fill_in_running(net, now_ms, &info);
    } else if (*reason) {
        info.state = VPCI_NET_MEETING;
        info.error = EPROTO;
        snprintf(info.reason, sizeof info.reason, "%s", reason);
    }
    pthread_mutex_lock(&net->mutex);
    net->info = info;
    net->n_meetings = net->generation;
    net->n_resets = r->n_resets;
    pthread_mutex_unlock(&net->mutex);
    __atomic_store_n(&net->carrier, info.carrier, __ATOMIC_RELEASE);
}

void
vpci_net_run(struct vpci_net *net, int64_t now_ms)
{
    struct net_region *base = &net->base;
    bool had_workers = net->n_queues > 0;
    char reason[160] = "";

    run_bus(net);
    if (net_region_must_stop(base) && had_workers) {
        stop(net);
    }
    if (net_region_run(base, now_ms) != VPCI_NET_RUNNING && had_workers) {
        /* It may begin anew now that no workers are inside. */
        stop(net);
        net_region_run(base, now_ms);
    }
    follow_region(net, reason, sizeof reason);
    if (net->n_queues) {
        follow_max_len(net);
    }
    update_info(net, now_ms, reason);
}

static int64_t
clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static void *
thread_main(void *net_)
{
    struct vpci_net *net = net_;

    while (!__atomic_load_n(&net->exiting, __ATOMIC_ACQUIRE)) {
        struct pollfd pfds[3] = {
            { .fd = net->exit_fd, .events = POLLIN },
            { .fd = vpci_bus_fd(net->bus), .events = POLLIN },
            { .fd = -1, .events = POLLIN },
        };

        vpci_net_run(net, clock_ms());
        if (net->base.device) {
            pfds[2].fd = vpci_device_fd(net->base.device);
        }
        poll(pfds, 3, THREAD_RUN_MS);
    }
    return NULL;
}

static int
fail(char *reason, size_t size, int error, const char *what)
{
    snprintf(reason, size, "%s: %s", what, strerror(error));
    return error;
}

static int
make_workers(struct vpci_net *net)
{
    int error = 0;

    net->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    net->exit_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (net->wake_fd < 0 || net->exit_fd < 0) {
        return errno;
    }
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES && !error; i++) {
        error = net_worker_init(net, &net->tx[i]);
        error = error ? error : net_worker_init(net, &net->rx[i]);
    }
    return error;
}

/* Allocates a port without anything. */
static struct vpci_net *
create(const struct vpci_net_config *config)
{
    struct vpci_net *net = aligned_alloc(VPCI_ABI_LINE, sizeof *net);
    struct net_region_config base = {
        .kind = VPCI_ABI_BASE,
        .side = 1,
        .n_queues = config->n_queues ? config->n_queues : 1,
        .features = config->features,
    };

    if (net) {
        memset(net, 0, sizeof *net);
        net->config = *config;
        memcpy(base.mac, config->mac, sizeof base.mac);
        net_region_init(&net->base, &base);
        pthread_mutex_init(&net->mutex, NULL);
        net->wake_fd = net->exit_fd = -1;
        for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
            net->tx[i].epoll_fd = net->rx[i].epoll_fd = -1;
        }
        vpci_gate_global_init();
    }
    return net;
}

static int
check_config(const struct vpci_net_config *config, char *reason, size_t size)
{
    static const uint8_t zeros[sizeof config->reserved];

    if (config->n_queues > VPCI_ABI_MAX_QUEUES) {
        snprintf(reason, size,
                 "%u queues are wanted, but 1 to %d are possible",
                 config->n_queues, VPCI_ABI_MAX_QUEUES);
        return EINVAL;
    }
    if (memcmp(config->reserved, zeros, sizeof zeros)) {
        snprintf(reason, size,
                 "reserved bytes of struct vpci_net_config are not 0: begin "
                 "with all of it 0, and use no fields that this version of "
                 "libvpci does not have");
        return EINVAL;
    }
    return 0;
}

int
vpci_net_open(const char *address, const struct vpci_net_config *config,
              struct vpci_net **netp, char *reason, size_t size)
{
    static const struct vpci_net_config none;
    struct vpci_net *net;
    int error;

    *netp = NULL;
    config = config ? config : &none;
    error = check_config(config, reason, size);
    if (error) {
        return error;
    }
    net = create(config);
    if (!net) {
        return fail(reason, size, ENOMEM, "cannot open a port");
    }
    error = vpci_bus_open(address, &net->bus, reason, size);
    if (!error) {
        error = make_workers(net);
        if (error) {
            fail(reason, size, error, "cannot make descriptors");
        }
    }
    if (!error) {
        update_info(net, 0, "");
    }
    if (!error && config->own_thread) {
        error = pthread_create(&net->thread, NULL, thread_main, net);
        net->has_thread = !error;
        if (error) {
            fail(reason, size, error, "cannot make a thread");
        }
    }
    if (error) {
        vpci_net_close(net);
        return error;
    }
    *netp = net;
    return 0;
}

static void
close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void
vpci_net_close(struct vpci_net *net)
{
    if (!net) {
        return;
    }
    if (net->has_thread) {
        __atomic_store_n(&net->exiting, true, __ATOMIC_RELEASE);
        eventfd_write(net->exit_fd, 1);
        pthread_join(net->thread, NULL);
    }
    if (net->n_queues) {
        stop(net);
    }
    net_region_uninit(&net->base);
    vpci_device_release(net->next);
    vpci_bus_close(net->bus);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        net_worker_uninit(&net->tx[i]);
        net_worker_uninit(&net->rx[i]);
    }
    close_fd(net->wake_fd);
    close_fd(net->exit_fd);
    pthread_mutex_destroy(&net->mutex);
    free(net);
}

void
vpci_net_get_info(const struct vpci_net *net_, struct vpci_net_info *info)
{
    struct vpci_net *net = (struct vpci_net *) net_;   /* For the mutex. */

    pthread_mutex_lock(&net->mutex);
    *info = net->info;
    pthread_mutex_unlock(&net->mutex);
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

void
vpci_net_wake(struct vpci_net *net)
{
    __atomic_add_fetch(&net->n_wakes, 1, __ATOMIC_RELEASE);
    wake_workers(net);
}
