/* SPDX-License-Identifier: Apache-2.0 */

/* A region with a channel over it: see net-region.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-region.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* How long not to try again after the device could not be opened. */
#define MIN_RETRY_MS 20
#define MAX_RETRY_MS 1000

/* How long not to begin anew after the other side has broken a ring. */
#define RESET_PAUSE_MS 100

static enum vpci_net_state __attribute__((format(printf, 4, 5)))
say(struct net_region *r, enum vpci_net_state state, int error,
    const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(r->reason, sizeof r->reason, format, args);
    va_end(args);
    r->error = error;
    r->state = state;
    return state;
}

void
net_region_init(struct net_region *r, const struct net_region_config *config)
{
    memset(r, 0, sizeof *r);
    r->config = *config;
    say(r, VPCI_NET_NO_DEVICE, ENOENT, "nobody serves this port");
}

/* Forgets the channel.  'says' is false if the other side, too, has forgotten
 * this layout. */
static void
drop_channel(struct net_region *r, bool says)
{
    if (r->channel && r->begun && says) {
        vpci_channel_end(r->channel);
        net_region_inject_all(r);
    }
    free(r->channel);
    r->channel = NULL;
    r->begun = false;
}

static void
disconnect(struct net_region *r)
{
    drop_channel(r, true);
    if (r->device) {
        vpci_device_close(r->device);
    }
    r->base = NULL;
    r->gone = false;
}

static void
forget_device(struct net_region *r)
{
    disconnect(r);
    vpci_device_release(r->device);
    r->device = NULL;
    r->departed = false;
}

void
net_region_uninit(struct net_region *r)
{
    forget_device(r);
}

void
net_region_set_device(struct net_region *r, struct vpci_device *device)
{
    forget_device(r);
    r->device = device;
    r->retry_at = INT64_MIN;
    r->retry_ms = MIN_RETRY_MS;
}

struct vpci_signal *
net_region_signal(const struct net_region *r, uint32_t index)
{
    return vpci_device_signal(r->device, vpci_layout_vector(&r->layout,
                                                            index));
}

void
net_region_inject_all(const struct net_region *r)
{
    for (uint32_t i = 0; i < r->layout.shape.n_vectors; i++) {
        struct vpci_signal *signal = vpci_device_signal(r->device, i);

        if (signal) {
            vpci_signal_inject(signal);
        }
    }
}

/* A ring is broken, says whoever has used it: any thread. */
static void
report(void *r_, const struct vpci_fault *fault)
{
    struct net_region *r = r_;

    if (!__atomic_test_and_set(&r->fault_claimed, __ATOMIC_ACQUIRE)) {
        r->fault = *fault;

        /* (K) pairs with (L) in is_faulty(). */
        __atomic_store_n(&r->fault_told, true, __ATOMIC_RELEASE);
    }
}

static bool
is_faulty(const struct net_region *r)
{
    return __atomic_load_n(&r->fault_told, __ATOMIC_ACQUIRE);   /* (L) */
}

static void
forget_fault(struct net_region *r)
{
    __atomic_store_n(&r->fault_told, false, __ATOMIC_RELAXED);
    __atomic_clear(&r->fault_claimed, __ATOMIC_RELEASE);
}

bool
net_region_must_stop(struct net_region *r)
{
    unsigned int events = r->device ? vpci_device_run(r->device) : 0;

    r->gone |= (events & VPCI_DEVICE_GONE) != 0;
    r->peer_came |= (events & VPCI_DEVICE_PEER_CAME) != 0;
    return (r->gone || is_faulty(r)
            || (r->begun && vpci_channel_must_stop(r->channel)));
}

/* The device could not be opened, or has gone. */
static enum vpci_net_state
say_device(struct net_region *r, int error)
{
    bool nobody = error == ENOENT || error == ECONNREFUSED;

    return say(r, nobody ? VPCI_NET_NO_DEVICE : VPCI_NET_CONNECTING, error,
               "%s", vpci_device_reason(r->device));
}

/* Opens the device if it is time to.  Returns whether it is open. */
static bool
connect_device(struct net_region *r, int64_t now_ms)
{
    int error;

    if (vpci_device_is_open(r->device)) {
        return true;
    }
    if (now_ms < r->retry_at) {
        return false;
    }
    error = vpci_device_open(r->device, VPCI_NET_CONNECT_MS);
    if (error) {
        say_device(r, error);
        r->retry_at = now_ms + r->retry_ms;
        r->retry_ms = (r->retry_ms < MAX_RETRY_MS / 2 ? r->retry_ms * 2
                       : MAX_RETRY_MS);
        return false;
    }
    return true;
}

static bool
is_zero(const uint8_t mac[6])
{
    static const uint8_t none[6];

    return !memcmp(mac, none, sizeof none);
}

/* Begins a channel in the memory that there is for it. */
static void
begin(struct net_region *r)
{
    struct vpci_channel_config config = {
        .layout = r->layout,
        .base = r->base,
        .side = r->config.side,
        .features = r->config.features,
        .n_queues = (r->config.n_queues < r->layout.shape.n_queues
                     ? r->config.n_queues : r->layout.shape.n_queues),
        .report = report,
        .aux = r,
    };
    uint32_t epoch = 0;

    memcpy(config.mac, r->config.mac, sizeof config.mac);
    if (is_zero(config.mac) && r->config.kind == VPCI_ABI_BASE) {
        memcpy(config.mac, vpci_layout_port(r->base)->mac, sizeof config.mac);
    }
    while (!epoch && getrandom(&epoch, sizeof epoch, 0) != sizeof epoch) {
        continue;
    }
    forget_fault(r);
    vpci_channel_begin(r->channel, &config, epoch);
    r->begun = true;
}

static bool
make_channel(struct net_region *r, int64_t now_ms)
{
    const struct vpci_abi_header *header = r->base;
    size_t size = vpci_channel_bytes(&r->layout);

    size = (size + VPCI_ABI_LINE - 1) & -(size_t) VPCI_ABI_LINE;
    r->channel = aligned_alloc(VPCI_ABI_LINE, size);
    if (!r->channel) {
        say(r, VPCI_NET_NO_HEADER, ENOMEM, "no memory for its rings");
        return false;
    }
    r->region_id = vpci_load32(&header->region_id);
    r->begin_at = now_ms;
    return true;
}

/* Reads the header, if it has not been yet.  Returns whether there is one that
 * can be used. */
static bool
find_header(struct net_region *r, int64_t now_ms)
{
    struct vpci_layout_report why;
    struct vpci_region memory;
    char text[200];

    if (r->channel) {
        return true;
    }
    if (vpci_device_shm(r->device, 0, 0, &memory, NULL)) {
        return false;
    }
    r->base = memory.base;
    if (!vpci_layout_read(&r->layout, memory.base, memory.size, &why)) {
        bool early = why.fault == VPCI_LAYOUT_NOT_READY;

        say(r, VPCI_NET_NO_HEADER, early ? 0 : EPROTO, "%s%s",
            early ? "the switch has not been there yet: is ovs-vswitchd "
                    "running, with this port?"
            : "its memory is not as it should be: ",
            early ? "" : vpci_layout_format(&why, text, sizeof text));
        return false;
    }
    if (r->layout.shape.kind != r->config.kind) {
        say(r, VPCI_NET_NO_HEADER, EPROTO, "its memory is that of a %s",
            r->config.kind == VPCI_ABI_BASE ? "link" : "port");
        return false;
    }
    if (vpci_device_n_signals(r->device) < r->layout.shape.n_vectors) {
        say(r, VPCI_NET_CONNECTING, 0, "it has given us %u signals, but there "
            "are %u", vpci_device_n_signals(r->device),
            r->layout.shape.n_vectors);
        return false;
    }
    return make_channel(r, now_ms);
}

/* A worker has found a ring broken. */
static enum vpci_net_state
begin_later(struct net_region *r, int64_t now_ms)
{
    char text[200];

    say(r, VPCI_NET_MEETING, EPROTO, "the other side has broken a ring: %s",
        vpci_fault_format(&r->fault, text, sizeof text));
    vpci_channel_end(r->channel);
    net_region_inject_all(r);
    r->begun = false;
    r->begin_at = now_ms + RESET_PAUSE_MS;
    r->n_resets++;
    forget_fault(r);
    return r->state;
}

/* True if the header is still the one that was read: a switch that begins may
 * have written another one. */
static bool
has_same_header(struct net_region *r)
{
    struct vpci_layout_report why;

    if (vpci_layout_agrees(&r->layout, r->base, r->region_id, &why)) {
        return true;
    }
    drop_channel(r, false);
    return false;
}

static enum vpci_net_state
run_channel(struct net_region *r, int64_t now_ms)
{
    switch (vpci_channel_run(r->channel, now_ms)) {
    case VPCI_CHANNEL_RUNNING:
        return say(r, VPCI_NET_RUNNING, 0, "%s", "");
    case VPCI_CHANNEL_MEETING:
        return say(r, VPCI_NET_MEETING, 0,
                   "the switch is there, but has not answered yet");
    case VPCI_CHANNEL_ALONE:
    default:
        return say(r, VPCI_NET_NO_SWITCH, 0,
                   "the switch has been there, but is not now: is "
                   "ovs-vswitchd running?");
    }
}

enum vpci_net_state
net_region_run(struct net_region *r, int64_t now_ms)
{
    if (r->gone) {
        say_device(r, ECONNRESET);
        disconnect(r);
        r->retry_at = now_ms;
    }
    if (r->device && r->departed && !vpci_device_is_open(r->device)) {
        forget_device(r);
    }
    if (!r->device) {
        return say(r, VPCI_NET_NO_DEVICE, ENOENT, "nobody serves this port: "
                   "is vpcid running, and ovs-vswitchd with such a port?");
    }
    if (!connect_device(r, now_ms)
        || (r->state != VPCI_NET_RUNNING && r->channel && !has_same_header(r))
        || !find_header(r, now_ms)) {
        return r->state;
    }
    r->retry_ms = MIN_RETRY_MS;
    if (is_faulty(r) && r->begun) {
        return begin_later(r, now_ms);
    }
    if (!r->begun && now_ms >= r->begin_at) {
        begin(r);
        net_region_inject_all(r);
    }
    return r->begun ? run_channel(r, now_ms) : r->state;
}
