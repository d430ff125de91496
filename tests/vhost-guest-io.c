/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-io.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vhost-guest-frames.h"
#include "vhost-guest-native.h"
#include "vpci/device.h"

/* Pause of a driver that polls. */
#define POLL_INTERVAL_US 20

/* How late an interrupt may be before it counts as lost. */
#define GRACE_MS 200

/* virtio 1.1, section 5.1.6. */
#define HDR_F_KNOWN 7           /* Flags that exist. */
#define HDR_NUM_BUFFERS_OFS 10

unsigned int
guest_max_pieces(const struct guest *g)
{
    return g->cfg.ring_size < GUEST_MAX_PIECES ? g->cfg.ring_size
                                               : GUEST_MAX_PIECES;
}

/* A generator of its own for each thread, good enough to cut frames. */
static uint32_t
random_below(uint32_t n)
{
    static _Thread_local uint32_t x = 2463534242u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % n;
}

/* Lengths of the pieces, in order. */
struct cuts {
    uint32_t lens[GUEST_MAX_PIECES];
    unsigned int n;
    unsigned int max;
    uint32_t left;              /* Bytes not yet in a piece. */
};

/* Adds a piece, unless it must take all that is left. */
static void
cut(struct cuts *cuts, uint32_t len)
{
    if (len > cuts->left || cuts->n + 1 >= cuts->max) {
        len = cuts->left;
    }
    if (len) {
        cuts->lens[cuts->n++] = len;
        cuts->left -= len;
    }
}

static void
choose_cuts(const struct guest *g, enum guest_layout layout,
            struct cuts *cuts)
{
    switch (layout) {
    case GUEST_LAYOUT_ONE:
        break;
    case GUEST_LAYOUT_APART:
        cut(cuts, g->hdr_len);
        break;
    case GUEST_LAYOUT_SPLIT:
        cut(cuts, g->hdr_len / 2);
        cut(cuts, g->hdr_len - g->hdr_len / 2);
        cut(cuts, (cuts->left + 1) / 2);
        break;
    case GUEST_LAYOUT_BYTES:
        while (cuts->left && cuts->n + 1 < cuts->max) {
            cut(cuts, 1);
        }
        break;
    case GUEST_LAYOUT_RANDOM:
        for (unsigned int n = random_below(9); n; n--) {
            cut(cuts, random_below(2) ? 1 + random_below(20)
                                      : 1 + random_below(cuts->left + 1));
        }
        break;
    }
    if (cuts->left) {
        cuts->lens[cuts->n++] = cuts->left;
    }
}

unsigned int
guest_lay_out(const struct guest *g, const struct guest_shape *shape,
              uint64_t addr, uint32_t len, bool writable,
              struct vring_driver_buf *bufs, bool *indirect)
{
    struct cuts cuts = { .max = guest_max_pieces(g), .left = len };

    choose_cuts(g, shape->layout, &cuts);
    for (unsigned int i = 0; i < cuts.n; i++) {
        bufs[i] = (struct vring_driver_buf) {
            .addr = addr, .len = cuts.lens[i], .writable = writable,
        };
        addr += cuts.lens[i];
    }
    *indirect = shape->indirect && (shape->layout != GUEST_LAYOUT_RANDOM
                                    || random_below(2));
    return cuts.n;
}

/* Prepares the free slot that will be used next. */
static struct guest_slot *
next_slot(struct guest *g, struct guest_queue *q)
{
    unsigned int i = q->free_slots[q->n_free_slots - 1];
    struct guest_slot *slot = &q->slots[i];

    slot->addr = q->pool_addr + (uint64_t) i * q->slot_bytes;
    slot->host = guest_memory_host(&g->mem, slot->addr);
    return slot;
}

static bool
add_slot(struct guest *g, struct guest_queue *q, struct guest_slot *slot,
         const struct guest_shape *shape)
{
    struct vring_driver_buf bufs[GUEST_MAX_PIECES];
    bool indirect;
    unsigned int n = guest_lay_out(g, shape, slot->addr, slot->len, q->is_rx,
                                   bufs, &indirect);

    if (vring_driver_add(q->drv, bufs, n, indirect, slot) < 0) {
        return false;
    }
    slot->must_log = g->log.armed;
    q->n_free_slots--;
    q->posted++;
    return true;
}

static struct guest_slot *
free_slot(struct guest_queue *q, const struct vring_driver_reaped *reaped)
{
    struct guest_slot *slot = reaped->cookie;

    q->free_slots[q->n_free_slots++] = slot - q->slots;
    q->done++;
    return slot;
}

void
guest_kick(struct guest *g, struct guest_queue *q)
{
    if (g->cfg.native) {
        guest_native_kick(g, q);
        return;
    }
    vring_driver_publish(q->drv);
    if (vring_driver_needs_kick(q->drv)) {
        g->counts.kicks++;
        eventfd_write(q->kick_fd, 1);
    }
}

void
guest_fill_rx(struct guest *g, struct guest_queue *q)
{
    bool added = false;

    if (g->cfg.native) {
        return;
    }

    while (q->n_free_slots) {
        struct guest_slot *slot = next_slot(g, q);

        slot->len = g->cfg.rx_buffer;
        if (!add_slot(g, q, slot, &g->rx_shape)) {
            break;
        }
        added = true;
    }
    if (added) {
        guest_kick(g, q);
    }
}

static void
check_log(struct guest *g, const struct guest_slot *slot, uint32_t len)
{
    if (slot->must_log && g->log.armed) {
        g->counts.log_checked++;
        g->counts.log_missing += guest_log_missing(g, slot->addr, len);
    }
}

/* Appends what the device wrote to a buffer. */
static bool
append(uint8_t *buf, uint32_t *len, const uint8_t *src, uint32_t n)
{
    if (n > FRAME_MAX - *len) {
        return false;
    }
    memcpy(buf + *len, src, n);
    *len += n;
    return true;
}

/* True if the device may send this header: it offers nothing of which the
 * guest did not negotiate the receiving side, so most fields must be 0. */
static bool
header_is_good(const struct guest *g, const uint8_t *hdr)
{
    bool checksums = g->features & 2;                   /* GUEST_CSUM */
    bool segments = g->features & (UINT64_C(15) << 7);  /* GUEST_TSO, ... */

    return !(hdr[0] & ~HDR_F_KNOWN) && (checksums || !hdr[0])
           && (segments || !hdr[1]);
}

/* Takes one frame out of the ring.  Malformed are: a frame shorter than its
 * header, a used element without a length, a header that announces no buffer
 * or more than there are, a buffer that is not full though another follows, a
 * frame that is too long. */
uint32_t
guest_receive(struct guest *g, struct guest_queue *q, uint8_t *buf)
{
    struct vring_driver_reaped reaped;
    uint8_t *hdr = g->rx_hdr;
    unsigned int n_bufs = 1;
    uint32_t len = 0;
    bool good = true;

    if (g->cfg.native) {
        return guest_native_receive(g, q, buf);
    }
    if (!vring_driver_reap(q->drv, &reaped, 1)) {
        return 0;
    }
    struct guest_slot *slot = free_slot(q, &reaped);
    if (reaped.skipped || reaped.len < g->hdr_len) {
        g->counts.rx_errors++;
        return 0;
    }
    memcpy(hdr, slot->host, g->hdr_len);
    if (g->features & GUEST_F_MERGEABLE) {
        n_bufs = hdr[HDR_NUM_BUFFERS_OFS]
                 | hdr[HDR_NUM_BUFFERS_OFS + 1] << 8;
    }
    good = header_is_good(g, hdr) && n_bufs
           && (n_bufs == 1 || reaped.len == slot->len)
           && append(buf, &len, slot->host + g->hdr_len,
                     reaped.len - g->hdr_len);
    check_log(g, slot, reaped.len);

    for (unsigned int i = 1; i < n_bufs; i++) {
        if (!vring_driver_reap(q->drv, &reaped, 1)) {
            good = false;
            break;
        }
        slot = free_slot(q, &reaped);
        good &= !reaped.skipped && reaped.len
                && (i + 1 == n_bufs || reaped.len == slot->len)
                && append(buf, &len, slot->host, reaped.len);
        check_log(g, slot, reaped.len);
    }
    if (!good || !len) {
        g->counts.rx_errors++;
    }
    g->counts.rx_frames++;
    g->counts.rx_bytes += len;
    return len;
}

uint8_t *
guest_reserve(struct guest *g, struct guest_queue *q)
{
    if (g->cfg.native) {
        return guest_native_reserve(g, q);
    }
    return q->n_free_slots ? next_slot(g, q)->host : NULL;
}

bool
guest_post(struct guest *g, struct guest_queue *q, uint32_t len)
{
    struct guest_slot *slot;

    if (g->cfg.native) {
        return guest_native_post(g, q, len);
    }
    slot = next_slot(g, q);
    slot->len = len;
    if (!add_slot(g, q, slot, &g->tx_shape)) {
        return false;
    }
    g->counts.tx_bytes += len - g->hdr_len;
    return true;
}

unsigned int
guest_reap_tx(struct guest *g, struct guest_queue *q)
{
    struct vring_driver_reaped reaped[32];
    unsigned int n, total = 0;

    if (g->cfg.native) {
        return guest_native_reap_tx(g, q);
    }
    do {
        n = vring_driver_reap(q->drv, reaped, 32);
        for (unsigned int i = 0; i < n; i++) {
            free_slot(q, &reaped[i]);
        }
        total += n;
    } while (n == 32);
    g->counts.tx_frames += total;
    return total;
}

/* True if any ring may have something to be reaped.  Asks for interrupts. */
static bool
enable_interrupts(struct guest *g)
{
    bool ready = false;

    if (g->cfg.native) {
        return guest_native_enable_interrupts(g);
    }
    for (unsigned int i = 0; i < g->n_queues; i++) {
        ready |= vring_driver_enable_interrupts(g->queues[i].drv, 1);
    }
    return ready;
}

static bool
has_used(struct guest *g)
{
    bool used = false;

    if (g->cfg.native) {
        used = guest_native_enable_interrupts(g);
        guest_native_disable_interrupts(g);
        return used;
    }
    for (unsigned int i = 0; i < g->n_queues; i++) {
        const struct vring_driver *drv = g->queues[i].drv;

        used |= !drv->error && vring_driver_has_used(drv);
    }
    return used;
}

/* Waits for interrupts and wake-ups.  Returns true if any came. */
static bool
poll_interrupts(struct guest *g, unsigned int ms, bool *interrupted)
{
    struct pollfd pfds[2 * GUEST_MAX_PAIRS + 1];
    unsigned int n = g->n_queues;
    eventfd_t value;

    for (unsigned int i = 0; i < n; i++) {
        const struct guest_queue *q = &g->queues[i];

        pfds[i] = (struct pollfd) {
            .fd = !g->cfg.native ? q->call_fd
                  : q->signal ? vpci_signal_fd(q->signal) : -1,
            .events = POLLIN,
        };
    }
    pfds[n] = (struct pollfd) { .fd = g->wake_fd, .events = POLLIN };

    int woken = poll(pfds, n + 1, ms);
    *interrupted = false;
    for (unsigned int i = 0; i <= n; i++) {
        if (woken > 0 && pfds[i].revents) {
            *interrupted |= i < n;
            eventfd_read(pfds[i].fd, &value);
        }
    }
    return woken > 0;
}

void
guest_wait(struct guest *g, unsigned int ms)
{
    bool interrupted, ready, lost = false;

    if (!g->cfg.interrupts) {
        usleep(POLL_INTERVAL_US);
        return;
    }

    pthread_mutex_lock(&g->lock);
    ready = !g->frozen && enable_interrupts(g);
    pthread_mutex_unlock(&g->lock);

    if (!poll_interrupts(g, ready ? 0 : ms, &interrupted) && !ready) {
        pthread_mutex_lock(&g->lock);
        lost = !g->frozen && has_used(g);
        pthread_mutex_unlock(&g->lock);
        if (lost) {
            /* It may be on its way just now. */
            lost = !poll_interrupts(g, GRACE_MS, &interrupted);
        }
    }

    pthread_mutex_lock(&g->lock);
    if (g->cfg.native) {
        guest_native_disable_interrupts(g);
    }
    for (unsigned int i = 0; i < g->n_queues && !g->frozen && !g->cfg.native;
         i++) {
        vring_driver_disable_interrupts(g->queues[i].drv);
    }
    g->counts.interrupts += interrupted;
    g->counts.lost_interrupts += lost;
    pthread_mutex_unlock(&g->lock);
}
