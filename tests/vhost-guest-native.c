/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-native.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "vhost-guest-frames.h"
#include "vpci/bus.h"
#include "vpci/channel.h"

#define HDR_LEN 10
#define RUN_INTERVAL_US 5000

/* Without the keeper, a switch that is silent for so long is gone. */
#define MAX_SILENCE_MS 2000

/* Virtio-net features that mean something here. */
#define FEATURES UINT64_C(0x407f83)

struct guest_native {
    struct vpci_device *dev;
    struct vpci_region region;
    struct vpci_layout layout;
    struct vpci_channel *ch;
    enum vpci_channel_state state;      /* Protected by 'g->lock'. */
    bool begun, gone;
    pthread_t thread;
    bool threaded, stop;
    uint8_t room[HDR_LEN + FRAME_MAX];
};

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Opens the base device at the guest's path, once it is there. */
static int
open_device(struct guest *g, int64_t deadline)
{
    struct guest_native *n = g->native;
    struct vpci_bus_event event;
    struct vpci_bus *bus;
    char reason[256];
    int error = vpci_bus_open(g->cfg.path, &bus, reason, sizeof reason);

    if (error) {
        return guest_fail(g, error, "%s", reason);
    }
    while (!n->dev && now_ms() < deadline) {
        if (!vpci_bus_next(bus, &event)) {
            usleep(RUN_INTERVAL_US);
        } else if (event.kind == VPCI_BUS_ARRIVED
                   && !strcmp(vpci_device_name(event.device), "base")) {
            n->dev = event.device;
        } else {
            vpci_device_release(event.device);
        }
    }
    vpci_bus_close(bus);
    if (!n->dev) {
        return guest_fail(g, ETIMEDOUT, "%s: nobody serves it", g->cfg.path);
    }
    error = vpci_device_open(n->dev, g->cfg.timeout_ms);
    return error ? guest_fail(g, error, "%s", vpci_device_reason(n->dev)) : 0;
}

static int
read_layout(struct guest *g, int64_t deadline)
{
    struct guest_native *n = g->native;
    struct vpci_layout_report report;
    char text[200];

    vpci_device_shm(n->dev, 0, 0, &n->region, NULL);
    while (!vpci_layout_read(&n->layout, n->region.base, n->region.size,
                             &report)) {
        /* A guest before us may have spoilt what the switch has yet to write
         * again. */
        if ((report.fault != VPCI_LAYOUT_NOT_READY
             && report.fault != VPCI_LAYOUT_MAGIC) || now_ms() > deadline) {
            return guest_fail(g, EPROTO, "%s", vpci_layout_format(&report, text,
                                                            sizeof text));
        }
        usleep(RUN_INTERVAL_US);
    }
    n->ch = aligned_alloc(VPCI_ABI_LINE, vpci_channel_bytes(&n->layout));
    return n->ch ? 0 : guest_fail(g, ENOMEM, "no memory");
}

/* Makes a queue pair of each class of each of the region's queues. */
static int
make_queues(struct guest *g)
{
    const struct vpci_shape *shape = &g->native->layout.shape;
    unsigned int n_wanted = g->cfg.n_pairs / (g->n_classes ? g->n_classes : 1);

    if (shape->n_queues < n_wanted) {
        return guest_fail(g, EINVAL, "the region has %u queues, not %u",
                    shape->n_queues, n_wanted);
    } else if (n_wanted * shape->n_classes > GUEST_MAX_PAIRS) {
        return guest_fail(g, EINVAL, "%u queues with %u classes are more than "
                          "%d pairs of rings", n_wanted, shape->n_classes,
                          GUEST_MAX_PAIRS);
    }
    g->n_classes = shape->n_classes;
    g->cfg.n_pairs = n_wanted * g->n_classes;
    g->n_queues = 2 * g->cfg.n_pairs;
    for (unsigned int i = 0; i < g->n_queues; i++) {
        g->queues[i].index = i;
        g->queues[i].is_rx = !(i % 2);
        g->queues[i].kick_fd = g->queues[i].call_fd = -1;
        g->enabled[i / 2] |= g->n_classes > 1;
    }
    return 0;
}

int
guest_native_open(struct guest *g)
{
    int64_t deadline = now_ms() + g->cfg.timeout_ms;
    int error;

    g->native = calloc(1, sizeof *g->native);
    g->running = false;
    g->hdr_len = HDR_LEN;
    error = open_device(g, deadline);
    error = error ? error : read_layout(g, deadline);
    error = error ? error : make_queues(g);
    if (error) {
        guest_native_close(g);
    }
    return error;
}

static uint32_t
ring_index(const struct guest_queue *q)
{
    return q->index / 2;
}

static struct vpci_ring_tx *
ring_tx(const struct guest *g, const struct guest_queue *q)
{
    return vpci_channel_tx(g->native->ch, ring_index(q));
}

static struct vpci_ring_rx *
ring_rx(const struct guest *g, const struct guest_queue *q)
{
    return vpci_channel_rx(g->native->ch, ring_index(q));
}

static void
inject(struct guest *g, const struct guest_queue *q)
{
    uint32_t vector = vpci_layout_vector(&g->native->layout,
                                         ring_index(q));
    struct vpci_signal *s = vpci_device_signal(g->native->dev, vector);

    g->counts.kicks++;
    if (s) {
        vpci_signal_inject(s);
    }
}

bool
guest_native_is_up(const struct guest *g)
{
    const struct guest_native *n = g->native;

    return n && n->begun && n->state == VPCI_CHANNEL_RUNNING
           && vpci_channel_is_current(n->ch);
}

/* Rings are new: nothing is in flight. */
static void
forget_in_flight(struct guest *g)
{
    for (unsigned int i = 1; i < g->n_queues; i += 2) {
        struct guest_queue *q = &g->queues[i];

        q->abandoned += q->posted - q->done - q->abandoned;
        q->native_done = 0;
    }
}

/* With 'g->lock' held. */
static void
run(struct guest *g)
{
    struct guest_native *n = g->native;
    enum vpci_channel_state state;

    if (vpci_device_run(n->dev) & VPCI_DEVICE_GONE) {
        n->gone = true;
    }
    state = vpci_channel_run(n->ch, now_ms());
    if (n->gone && vpci_channel_silence(n->ch, now_ms()) > MAX_SILENCE_MS) {
        state = VPCI_CHANNEL_ALONE;
    }
    if (state == VPCI_CHANNEL_RUNNING && n->state != state) {
        forget_in_flight(g);
        for (unsigned int i = 0; i < g->n_queues; i++) {
            g->queues[i].signal = vpci_device_signal(
                n->dev, vpci_layout_vector(&n->layout,
                                           ring_index(&g->queues[i])));
        }
        guest_wake(g);
    }
    n->state = state;
}

static void *
keep_running(void *g_)
{
    struct guest *g = g_;

    while (!__atomic_load_n(&g->native->stop, __ATOMIC_RELAXED)) {
        pthread_mutex_lock(&g->lock);
        run(g);
        pthread_mutex_unlock(&g->lock);
        usleep(RUN_INTERVAL_US);
    }
    return NULL;
}

static void
stop_thread(struct guest *g)
{
    struct guest_native *n = g->native;

    if (n->threaded) {
        __atomic_store_n(&n->stop, true, __ATOMIC_RELAXED);
        pthread_join(n->thread, NULL);
        n->threaded = n->stop = false;
    }
}

/* Queues up to the last one that is enabled. */
static uint32_t
n_queues_used(const struct guest *g)
{
    unsigned int n = g->cfg.n_pairs;

    while (n > 1 && !g->enabled[n - 1]) {
        n--;
    }
    return (n + g->n_classes - 1) / g->n_classes;
}

int
guest_native_start(struct guest *g)
{
    int64_t deadline = now_ms() + g->cfg.timeout_ms;
    struct guest_native *n = g->native;
    struct vpci_channel_config config;
    uint32_t epoch;

    if (!n) {
        return guest_fail(g, ENOTCONN, "not connected");
    }
    config = (struct vpci_channel_config) {
        .layout = n->layout,
        .base = n->region.base,
        .side = 1,
        .features = g->cfg.features & FEATURES,
        .n_queues = n_queues_used(g),
    };
    if (getrandom(&epoch, sizeof epoch, 0) != sizeof epoch) {
        return guest_fail(g, errno, "no random number");
    }
    stop_thread(g);
    vpci_channel_begin(n->ch, &config, epoch);
    n->begun = true;
    n->state = VPCI_CHANNEL_ALONE;
    if (pthread_create(&n->thread, NULL, keep_running, g)) {
        return guest_fail(g, EAGAIN, "no thread");
    }
    n->threaded = true;
    for (;;) {
        bool up;

        pthread_mutex_lock(&g->lock);
        up = guest_native_is_up(g);
        g->features = up ? vpci_channel_features(n->ch) : 0;
        pthread_mutex_unlock(&g->lock);
        if (up) {
            break;
        } else if (now_ms() > deadline) {
            return guest_fail(g, ETIMEDOUT, "the switch does not answer (%s)",
                        vpci_channel_state_name(n->state));
        }
        usleep(RUN_INTERVAL_US);
    }
    g->running = true;
    return 0;
}

int
guest_native_stop(struct guest *g)
{
    stop_thread(g);
    pthread_mutex_lock(&g->lock);
    if (g->native->begun) {
        vpci_channel_end(g->native->ch);
    }
    g->native->begun = false;
    g->native->state = VPCI_CHANNEL_ALONE;
    g->running = false;
    pthread_mutex_unlock(&g->lock);
    return 0;
}

void
guest_native_close(struct guest *g)
{
    struct guest_native *n = g->native;

    if (!n) {
        return;
    }
    stop_thread(g);
    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues; i++) {
        g->queues[i].signal = NULL;
    }
    g->native = NULL;
    g->running = false;
    pthread_mutex_unlock(&g->lock);
    if (n->dev) {
        vpci_device_close(n->dev);
        vpci_device_release(n->dev);
    }
    free(n->ch);
    free(n);
}

uint32_t
guest_native_receive(struct guest *g, struct guest_queue *q, uint8_t *buf)
{
    struct vpci_ring_pkt pkt;
    struct vpci_net_hdr hdr;

    if (!guest_native_is_up(g) || !vpci_ring_peek(ring_rx(g, q), &pkt, 1)) {
        return 0;
    }
    hdr = vpci_ring_offload_to_hdr(pkt.offload);
    memcpy(g->rx_hdr, &hdr, HDR_LEN);
    if (pkt.len <= FRAME_MAX) {
        memcpy(buf, pkt.data, pkt.len);
    } else {
        g->counts.rx_errors++;
        pkt.len = 0;
    }
    if (vpci_ring_release(ring_rx(g, q), 1)) {
        inject(g, q);
    }
    g->counts.rx_frames++;
    g->counts.rx_bytes += pkt.len;
    return pkt.len;
}

uint8_t *
guest_native_reserve(struct guest *g, struct guest_queue *q)
{
    return (guest_native_is_up(g) && vpci_ring_room(ring_tx(g, q), 1)
            ? g->native->room : NULL);
}

bool
guest_native_post(struct guest *g, struct guest_queue *q, uint32_t len)
{
    const uint8_t *room = g->native->room;
    struct vpci_ring_offload offload;
    struct vpci_net_hdr hdr;
    void *p = vpci_ring_reserve(ring_tx(g, q), len - HDR_LEN);

    if (!p) {
        return false;
    }
    memcpy(p, room + HDR_LEN, len - HDR_LEN);
    memcpy(&hdr, room, HDR_LEN);
    offload = vpci_ring_offload_from_hdr(&hdr);
    vpci_ring_submit(ring_tx(g, q), len - HDR_LEN, &offload);
    g->counts.tx_bytes += len - HDR_LEN;
    q->posted++;
    return true;
}

void
guest_native_kick(struct guest *g, struct guest_queue *q)
{
    if (guest_native_is_up(g) && vpci_ring_publish(ring_tx(g, q))) {
        inject(g, q);
    }
}

unsigned int
guest_native_reap_tx(struct guest *g, struct guest_queue *q)
{
    uint32_t consumed, n;

    if (!guest_native_is_up(g)) {
        return 0;
    }
    consumed = vpci_ring_consumed(ring_tx(g, q));
    n = consumed - q->native_done;
    q->native_done = consumed;
    q->done += n;
    g->counts.tx_frames += n;
    return n;
}

bool
guest_native_enable_interrupts(struct guest *g)
{
    bool ready = false;

    for (unsigned int i = 0; i < g->n_queues && guest_native_is_up(g); i++) {
        struct guest_queue *q = &g->queues[i];

        if (q->is_rx) {
            ready |= !vpci_ring_rx_sleep(ring_rx(g, q), 1);
        } else if (guest_native_in_flight(g, q)) {
            ready |= !vpci_ring_tx_sleep(ring_tx(g, q), 1);
        }
    }
    return ready;
}

void
guest_native_disable_interrupts(struct guest *g)
{
    for (unsigned int i = 0; i < g->n_queues && guest_native_is_up(g); i++) {
        struct guest_queue *q = &g->queues[i];

        if (q->is_rx) {
            vpci_ring_rx_awake(ring_rx(g, q), false);
        } else {
            vpci_ring_tx_awake(ring_tx(g, q), false);
        }
    }
}

uint32_t
guest_native_in_flight(const struct guest *g, const struct guest_queue *q)
{
    return (guest_native_is_up(g)
            ? vpci_ring_produced(ring_tx(g, q)) - q->native_done : 0);
}

static uint32_t
random32(void)
{
    static uint32_t x = 2463534242u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x;
}

void
guest_native_scribble(struct guest *g, unsigned int ms)
{
    const struct guest_native *n = g->native;
    uint32_t n_words = n->region.size / sizeof(uint32_t);
    uint32_t *words = n->region.base;

    for (int64_t end = now_ms() + ms; now_ms() < end; ) {
        for (int i = 0; i < 10000; i++) {
            uint32_t r = random32();

            __atomic_store_n(&words[random32() % n_words],
                             r % 4 ? r : r % 1000, __ATOMIC_RELAXED);
        }
    }
}

/* Slots say that there are packets, nearly all of which are good ones, and the
 * consumer says this and that. */
static void
forge_ring(struct guest *g, const struct guest_queue *q, uint32_t number)
{
    struct vpci_ring_memory m;
    uint32_t r = random32();

    vpci_layout_ring(&g->native->layout, g->native->region.base,
                     !q->is_rx, ring_index(q), &m);
    if (q->is_rx) {
        vpci_store32(&m.consumer->consumed,
                     vpci_load32(&m.producer->produced) - r % 3);
        vpci_store64(&m.consumer->wake,
                     (uint64_t) (r % 4) << 32 | random32() % 1000);
    } else {
        struct vpci_abi_slot *slot = &m.slots[number & (m.n_slots - 1)];
        uint64_t type = r % 1000 ? 1 + r % 2 : r % 256;
        uint64_t len = r % 997 ? 1 + random32() % (type == 1 ? 112 : 9000)
                       : random32() & VPCI_ABI_LEN_MASK;

        vpci_store64(&slot->offload, r % 3 ? 0 : random32());
        vpci_store64_release(&slot->word,
                             type << VPCI_ABI_TYPE_SHIFT
                             | len << VPCI_ABI_LEN_SHIFT | (number + 1));
    }
}

void
guest_native_forge(struct guest *g, unsigned int ms)
{
    for (int64_t end = now_ms() + ms; now_ms() < end; ) {
        for (unsigned int i = 0; i < g->n_queues; i++) {
            const struct guest_queue *q = &g->queues[i];
            struct vpci_ring_memory m;
            uint32_t next;

            vpci_layout_ring(&g->native->layout, g->native->region.base,
                             !q->is_rx, ring_index(q), &m);
            next = vpci_load32(&m.consumer->consumed);
            for (uint32_t j = 0; j < 64; j++) {
                forge_ring(g, q, next + j);
            }
        }
    }
}

void
guest_native_flap(struct guest *g, unsigned int ms)
{
    struct vpci_abi_state *own = vpci_layout_state(&g->native->layout,
                                                   g->native->region.base, 1);
    const struct vpci_abi_state *other
        = vpci_layout_state(&g->native->layout, g->native->region.base, 0);

    for (int64_t end = now_ms() + ms; now_ms() < end; ) {
        vpci_store32(&own->epoch, random32() % 8);
        vpci_store32(&own->seen,
                     random32() % 4 ? vpci_load32(&other->epoch) : random32());
        vpci_store32(&own->n_queues, random32());
        usleep(random32() % 2000);
    }
}

/* Puts a call into the ring, if there is room. */
static bool
put_call(struct vpci_ring_tx *tx)
{
    uint32_t r = random32(), len = random32() % 2000;
    struct vpci_abi_call call = {
        .kind = VPCI_LE32(r % 8 ? VPCI_ABI_CALL_REQUEST : random32() % 4),
        .func = VPCI_LE32(random32() % 4),
        .xid = VPCI_LE32(random32() % 4),
        .len = VPCI_LE32(r % 3 ? len : random32()),
    };
    uint8_t *p = vpci_ring_reserve(tx, sizeof call + len);

    if (p) {
        memcpy(p, &call, sizeof call);
        vpci_ring_submit(tx, r % 5 ? sizeof call + len : 1 + r % sizeof call,
                         NULL);
        vpci_ring_publish(tx);
    }
    return p != NULL;
}

void
guest_native_call(struct guest *g, unsigned int ms)
{
    struct guest_native *n = g->native;
    struct vpci_ring_tx *tx = vpci_channel_tx(n->ch, VPCI_LAYOUT_CALLS);
    struct vpci_ring_rx *rx = vpci_channel_rx(n->ch, VPCI_LAYOUT_CALLS);
    struct vpci_signal *bell = vpci_device_signal(
        n->dev, vpci_layout_control_vector(&n->layout));
    int64_t end = now_ms() + ms;
    struct vpci_ring_pkt pkts[VPCI_RING_BURST];

    while (now_ms() < end) {
        while (put_call(tx)) {
            continue;
        }
        vpci_signal_inject(bell);

        /* Towards the end, it is the number of calls that is too large. */
        if (now_ms() > end - ms / 2) {
            vpci_ring_release(rx, vpci_ring_peek(rx, pkts, VPCI_RING_BURST));
        }
        usleep(200);
    }
}
