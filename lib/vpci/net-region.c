/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

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

/* Who has the other side. */
static const char *
other_side(const struct net_region *r)
{
    return r->config.kind == VPCI_ABI_BASE ? "the switch" : "the other guest";
}

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
    r->begun = r->renews = false;
}

static void
disconnect(struct net_region *r)
{
    drop_channel(r, true);
    if (r->device) {
        vpci_device_close(r->device);
    }
    vpci_device_release(r->successor);
    r->successor = NULL;
    r->base = NULL;
    r->gone = r->unplugged = r->leaves = false;
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

        /* (K) pairs with (L) in
         * net_region_is_faulty(). */
        __atomic_store_n(&r->fault_told, true, __ATOMIC_RELEASE);
    }
}

bool
net_region_is_faulty(const struct net_region *r)
{
    return __atomic_load_n(&r->fault_told, __ATOMIC_ACQUIRE);   /* (L) */
}

static void
forget_fault(struct net_region *r)
{
    __atomic_store_n(&r->fault_told, false, __ATOMIC_RELAXED);
    __atomic_clear(&r->fault_claimed, __ATOMIC_RELEASE);
}

static void
run_device(struct net_region *r)
{
    unsigned int events = r->device ? vpci_device_run(r->device) : 0;

    r->gone |= (events & VPCI_DEVICE_GONE) != 0;
    r->unplugged |= (events & VPCI_DEVICE_UNPLUGGED) != 0;
    r->peer_came |= (events & VPCI_DEVICE_PEER_CAME) != 0;
}

/* True if the device has gone, and is of no use any more. */
static bool
must_disconnect(const struct net_region *r)
{
    return (r->unplugged
            || (r->gone
                && (!r->begun || r->state != VPCI_NET_RUNNING || r->silent
                    || !net_region_is_current(r)
                    || (r->successor
                        && vpci_device_is_open(r->successor)))));
}

void
net_region_renew(struct net_region *r)
{
    vpci_channel_end(r->channel);
    net_region_inject_all(r);
    r->renews = true;
}

bool
net_region_must_stop(struct net_region *r)
{
    run_device(r);
    r->leaves |= must_disconnect(r);
    return (r->leaves || r->renews || net_region_is_faulty(r)
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

/* Opens 'device', within 'timeout_ms', if it is time to.  Returns 0, EAGAIN
 * if it is not, or why it cannot be opened. */
static int
try_to_open(struct net_region *r, struct vpci_device *device, int timeout_ms,
            int64_t now_ms)
{
    int error;

    if (now_ms < r->retry_at) {
        return EAGAIN;
    }
    error = vpci_device_open(device, timeout_ms);
    if (error) {
        r->retry_at = now_ms + r->retry_ms;
        r->retry_ms = (r->retry_ms < MAX_RETRY_MS / 2 ? r->retry_ms * 2
                       : MAX_RETRY_MS);
    }
    return error;
}

/* Opens the device if it is time to.  Returns whether it is open. */
static bool
connect_device(struct net_region *r, int64_t now_ms)
{
    int error;

    if (vpci_device_is_open(r->device)) {
        return true;
    }
    error = try_to_open(r, r->device, VPCI_NET_CONNECT_MS, now_ms);
    if (error && error != EAGAIN) {
        say_device(r, error);
    }
    return !error;
}

/* The device has gone.  Looks whether it is served again, beside, and does not
 * wait long: the other side is to see that we are alive. */
static void
look_for_successor(struct net_region *r, int64_t now_ms)
{
    if (!r->successor) {
        r->successor = vpci_device_again(r->device);
        r->retry_at = now_ms;
        r->retry_ms = MIN_RETRY_MS;
    }
    if (r->successor) {
        try_to_open(r, r->successor, r->retry_ms / 10, now_ms);
    }
}

/* Leaves the device that has gone, for the one that is served in its place if
 * that is open. */
static void
leave_device(struct net_region *r, int64_t now_ms)
{
    struct vpci_device *successor = r->successor;

    if (successor && vpci_device_is_open(successor)) {
        r->successor = NULL;
        net_region_set_device(r, successor);
    } else {
        say_device(r, ECONNRESET);
        disconnect(r);
    }
    r->retry_at = now_ms;
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
        .n_links = (r->config.n_links < r->layout.shape.n_links
                    ? r->config.n_links : r->layout.shape.n_links),
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
    for (uint32_t i = 0; i < r->layout.n_rings; i++) {
        r->tx[i] = vpci_channel_tx(r->channel, i);
        r->rx[i] = vpci_channel_rx(r->channel, i);
    }
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
    r->region_id = (r->config.kind == VPCI_ABI_LINK ? r->config.region_id
                    : vpci_load32(&header->region_id));
    r->begin_at = now_ms;
    r->n_channels++;
    vpci_device_set_answer(r->device, r->config.answer, r->config.aux);
    return true;
}

/* A link's layout is known; its header must be the same. */
static bool
read_link(struct net_region *r, uint64_t size, struct vpci_layout_report *why)
{
    r->layout = r->config.layout;
    if (size != r->layout.size) {
        *why = (struct vpci_layout_report) {
            .fault = VPCI_LAYOUT_SIZE,
            .seen = size,
            .min = r->layout.size,
            .max = r->layout.size,
        };
        return false;
    }
    return vpci_layout_agrees(&r->layout, r->base, r->config.region_id, why);
}

/* Says why there is no header.  Returns false. */
static bool
say_header(struct net_region *r, const struct vpci_layout_report *why)
{
    bool early = why->fault == VPCI_LAYOUT_NOT_READY;
    char text[200];

    say(r, VPCI_NET_NO_HEADER, early ? 0 : EPROTO, "%s%s",
        early ? "the switch has not been there yet: is ovs-vswitchd running, "
                "with this port?"
        : "its memory is not as it should be: ",
        early ? "" : vpci_layout_format(why, text, sizeof text));
    return false;
}

/* Reads the header, if it has not been yet.  Returns whether there is one that
 * can be used. */
static bool
find_header(struct net_region *r, int64_t now_ms)
{
    struct vpci_layout_report why;
    struct vpci_region memory;

    if (r->channel) {
        return true;
    }
    if (vpci_device_shm(r->device, 0, 0, &memory, NULL)) {
        return false;
    }
    if (vpci_device_id(r->device) & VPCI_ABI_PEER_ID) {
        say(r, VPCI_NET_NO_HEADER, EPROTO, "its memory is that of a peer: "
            "our ivshmem id there is %u", vpci_device_id(r->device));
        return false;
    }
    if (r->config.kind != VPCI_ABI_LINK
        && vpci_device_id(r->device) & VPCI_ABI_LINK_ID) {
        say(r, VPCI_NET_NO_HEADER, EPROTO, "its memory is that of a link: "
            "our ivshmem id there is %u", vpci_device_id(r->device));
        return false;
    }
    r->base = memory.base;
    if (!(r->config.kind == VPCI_ABI_LINK
          ? read_link(r, memory.size, &why)
          : vpci_layout_read(&r->layout, memory.base, memory.size, &why))) {
        return say_header(r, &why);
    }
    if (vpci_layout_is_base(r->layout.shape.kind)
        != vpci_layout_is_base(r->config.kind)) {
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

/* A worker has found a ring broken, or the channel is to begin anew. */
static enum vpci_net_state
begin_later(struct net_region *r, int64_t now_ms)
{
    char text[200];

    if (net_region_is_faulty(r)) {
        say(r, VPCI_NET_MEETING, EPROTO,
            "the other side has broken a ring: %s",
            vpci_fault_format(&r->fault, text, sizeof text));
        r->n_resets++;
        forget_fault(r);
    } else {
        say(r, VPCI_NET_MEETING, 0, "it begins anew");
    }
    vpci_channel_end(r->channel);
    net_region_inject_all(r);
    r->begun = r->renews = false;
    r->begin_at = now_ms + RESET_PAUSE_MS;
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
    bool base = r->config.kind == VPCI_ABI_BASE;

    if (r->state != VPCI_NET_RUNNING && r->config.prepare) {
        r->config.prepare(r->config.aux);
    }
    switch (vpci_channel_run(r->channel, now_ms)) {
    case VPCI_CHANNEL_RUNNING:
        r->silent = (vpci_channel_silence(r->channel, now_ms)
                     > NET_MAX_SILENCE_MS);
        return say(r, VPCI_NET_RUNNING, 0, "%s", "");
    case VPCI_CHANNEL_MEETING:
        return say(r, VPCI_NET_MEETING, 0,
                   "%s is there, but has not answered yet", other_side(r));
    case VPCI_CHANNEL_ALONE:
    default:
        return say(r, VPCI_NET_NO_SWITCH, 0, "%s",
                   base ? "the switch has been there, but is not now: is "
                          "ovs-vswitchd running?"
                   : "the other guest is not there");
    }
}

enum vpci_net_state
net_region_run(struct net_region *r, int64_t now_ms)
{
    struct vpci_layout_report why;

    if (r->leaves) {
        leave_device(r, now_ms);
    } else if (r->gone) {
        look_for_successor(r, now_ms);
    }
    if (r->device && r->departed && !vpci_device_is_open(r->device)) {
        forget_device(r);
    }
    if (!r->device) {
        return say(r, VPCI_NET_NO_DEVICE, ENOENT, "%s",
                   r->config.kind == VPCI_ABI_BASE
                   ? "nobody serves this port: is vpcid running, and "
                     "ovs-vswitchd with such a port?"
                   : "there is no socket of this link, nor a PCI function: is "
                     "all of the directory with the port's socket there for "
                     "us, or, in a virtual machine, was it given the "
                     "function?");
    }
    if (!connect_device(r, now_ms)
        || (r->state != VPCI_NET_RUNNING && r->channel && !has_same_header(r))
        || !find_header(r, now_ms)) {
        return r->state;
    }
    if (!r->gone) {
        r->retry_ms = MIN_RETRY_MS;
    }
    if (r->begun && (r->renews || net_region_is_faulty(r))) {
        return begin_later(r, now_ms);
    }
    if (!r->begun && now_ms >= r->begin_at) {
        begin(r);
        net_region_inject_all(r);
    }
    if (r->state == VPCI_NET_RUNNING && r->channel
        && !vpci_layout_agrees(&r->layout, r->base, r->region_id, &why)) {
        /* Workers leave first. */
        return say(r, VPCI_NET_MEETING, 0, "the switch has made something "
                   "else of the region");
    }
    return r->begun ? run_channel(r, now_ms) : r->state;
}
