/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-device.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vhost-guest-native.h"

#define PAGE 4096u

/* Connections given up by the back end before it is given up itself. */
#define MAX_ACCEPTS 5

/* Slots do not all begin on the same cache sets. */
#define SLOT_STAGGER 64

void
guest_init(struct guest *g, const struct guest_config *cfg)
{
    memset(g, 0, sizeof *g);
    g->cfg = *cfg;
    g->log.fd = -1;
    g->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    g->rx_shape.layout = g->tx_shape.layout = GUEST_LAYOUT_ONE;
    for (unsigned int i = 0; i < cfg->n_enabled; i++) {
        g->enabled[i] = true;
    }
    pthread_mutex_init(&g->lock, NULL);
    guest_memory_init(&g->mem);
    front_end_init(&g->fe, cfg->path, cfg->listens, cfg->timeout_ms);
}

static void
unmap_log(struct guest *g)
{
    if (g->log.fd >= 0) {
        munmap(g->log.bits, g->log.size);
        close(g->log.fd);
        g->log.fd = -1;
        g->log.armed = false;
    }
}

void
guest_destroy(struct guest *g)
{
    for (unsigned int i = 0; i < g->n_queues; i++) {
        struct guest_queue *q = &g->queues[i];

        if (q->drv) {
            vring_driver_destroy(q->drv);
            free(q->slots);
            free(q->free_slots);
            close(q->kick_fd);
            close(q->call_fd);
        }
    }
    guest_native_close(g);
    front_end_destroy(&g->fe);
    unmap_log(g);
    guest_memory_destroy(&g->mem);
    close(g->wake_fd);
    pthread_mutex_destroy(&g->lock);
}

int
guest_fail(struct guest *g, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(g->fe.error, sizeof g->fe.error, format, args);
    va_end(args);
    return error;
}

void
guest_wake(struct guest *g)
{
    if (eventfd_write(g->wake_fd, 1)) {
        /* It is full, so the thread has been woken already. */
    }
}

static size_t
tables_bytes(const struct guest *g)
{
    return (size_t) g->cfg.ring_size * GUEST_MAX_PIECES
           * sizeof(struct vring_driver_desc);
}

uint64_t
guest_rings_bytes(const struct guest *g)
{
    uint16_t size = g->cfg.ring_size;

    return (2 * g->cfg.n_pairs)
           * (vring_driver_desc_bytes(size)
              + vring_driver_driver_bytes(0, size)
              + vring_driver_device_bytes(0, size) + 3 * PAGE);
}

static uint32_t
slot_bytes(const struct guest *g, bool is_rx)
{
    /* 12 bytes of header even if 10 are used. */
    uint32_t n = is_rx ? g->cfg.rx_buffer : g->cfg.max_frame + 12;

    return (n + 63) / 64 * 64 + SLOT_STAGGER;
}

uint64_t
guest_buffers_bytes(const struct guest *g)
{
    return (uint64_t) g->cfg.n_pairs * g->cfg.ring_size
           * (slot_bytes(g, true) + slot_bytes(g, false))
           + 2 * g->cfg.n_pairs * PAGE;
}

/* Finds room for the three areas of 'q'. */
static int
place_ring(struct guest *g, struct guest_queue *q, unsigned int zone)
{
    uint16_t size = g->cfg.ring_size;
    uint64_t f = g->features;
    uint64_t desc, driver, device;

    /* The areas are apart and the alignments no stricter than virtio 1.1
     * demands (sections 2.6 and 2.7.10.1), to find out who assumes more. */
    desc = guest_memory_alloc(&g->mem, zone,
                              vring_driver_desc_bytes(size) + 16, 16);
    driver = guest_memory_alloc(&g->mem, zone,
                                vring_driver_driver_bytes(f, size) + 100, 4);
    device = guest_memory_alloc(&g->mem, zone,
                                vring_driver_device_bytes(f, size) + 200, 4);
    if (desc == UINT64_MAX || driver == UINT64_MAX || device == UINT64_MAX) {
        return ENOSPC;
    }
    q->desc_addr = desc;
    q->driver_addr = driver;
    q->device_addr = device;
    return 0;
}

static int
place_buffers(struct guest *g, struct guest_queue *q, unsigned int zone)
{
    uint64_t size = (uint64_t) q->slot_bytes * g->cfg.ring_size;
    uint64_t addr = guest_memory_alloc(&g->mem, zone, size, 64);

    if (addr == UINT64_MAX) {
        return ENOSPC;
    }
    q->pool_addr = addr;
    return 0;
}

static void
free_all_slots(const struct guest *g, struct guest_queue *q)
{
    q->n_free_slots = g->cfg.ring_size;
    for (unsigned int i = 0; i < q->n_free_slots; i++) {
        q->free_slots[i] = q->n_free_slots - 1 - i;
    }
}

static int
create_queue(struct guest *g, struct guest_queue *q, unsigned int buffer_zone)
{
    uint16_t size = g->cfg.ring_size;
    uint64_t tables = guest_memory_alloc(&g->mem, 0, tables_bytes(g), 16);

    q->slot_bytes = slot_bytes(g, q->is_rx);
    q->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->call_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    q->slots = calloc(size, sizeof *q->slots);
    q->free_slots = calloc(size, sizeof *q->free_slots);
    if (tables == UINT64_MAX || place_ring(g, q, 0)
        || place_buffers(g, q, buffer_zone) || !q->slots || !q->free_slots
        || q->kick_fd < 0 || q->call_fd < 0) {
        return guest_fail(g, ENOMEM, "no memory for queue %u", q->index);
    }
    free_all_slots(g, q);

    struct vring_driver_config cfg = {
        .size = size,
        .features = g->features,
        .desc = guest_memory_host(&g->mem, q->desc_addr),
        .driver = guest_memory_host(&g->mem, q->driver_addr),
        .device = guest_memory_host(&g->mem, q->device_addr),
        .indirect = guest_memory_host(&g->mem, tables),
        .indirect_addr = tables,
        .indirect_max = GUEST_MAX_PIECES,
        .start_idx = g->cfg.start_idx,
        .start_wrap = g->cfg.start_wrap,
    };
    q->drv = vring_driver_create(&cfg);
    if (!q->drv) {
        return guest_fail(g, EINVAL,
                          "no ring of %u descriptors from index %u on",
                    size, g->cfg.start_idx);
    }
    vring_driver_disable_interrupts(q->drv);
    return 0;
}

static int
create_device(struct guest *g)
{
    uint64_t rings = guest_rings_bytes(g)
                     + 2 * g->cfg.n_pairs * (tables_bytes(g) + PAGE) + PAGE;
    uint64_t buffers = guest_buffers_bytes(g) + PAGE;
    unsigned int buffer_zone = g->cfg.n_zones - 1;

    for (unsigned int i = 0; i < g->cfg.n_zones; i++) {
        uint64_t size = (i == 0 ? rings : PAGE)
                        + (i == buffer_zone ? buffers : PAGE);
        int zone = guest_memory_add_zone(&g->mem, size);

        if (zone < 0) {
            return guest_fail(g, -zone, "no memory for zone %u: %s", i,
                        strerror(-zone));
        }
    }
    for (unsigned int i = 0; i < 2 * g->cfg.n_pairs; i++) {
        struct guest_queue *q = &g->queues[i];

        q->index = i;
        q->is_rx = !(i & 1);
        g->n_queues = i + 1;

        int error = create_queue(g, q, buffer_zone);
        if (error) {
            return error;
        }
    }
    return 0;
}

static int
negotiate_protocol(struct guest *g)
{
    uint64_t offered, wanted, n_queues;
    int error = front_end_get_u64(&g->fe, VU_GET_PROTOCOL_FEATURES, &offered);

    if (error) {
        return error;
    }
    wanted = offered & (VU_PROTOCOL_F_MQ | VU_PROTOCOL_F_LOG_SHMFD
                        | VU_PROTOCOL_F_REPLY_ACK);
    error = front_end_set_u64(&g->fe, VU_SET_PROTOCOL_FEATURES, wanted);
    if (error) {
        return error;
    }
    g->fe.reply_ack = wanted & VU_PROTOCOL_F_REPLY_ACK;
    if (g->cfg.n_pairs == 1) {
        return 0;
    } else if (!(wanted & VU_PROTOCOL_F_MQ)) {
        return guest_fail(g, EPROTO, "back end has one queue pair only");
    }
    error = front_end_get_u64(&g->fe, VU_GET_QUEUE_NUM, &n_queues);
    if (!error && n_queues < g->cfg.n_pairs) {
        return guest_fail(g, EPROTO,
                          "back end has %"PRIu64" queue pairs, not %u",
                    n_queues, g->cfg.n_pairs);
    }
    return error;
}

static int
negotiate(struct guest *g)
{
    uint64_t wanted = g->cfg.features, offered;
    int error = front_end_get_u64(&g->fe, VU_GET_FEATURES, &offered);

    if (error) {
        return error;
    } else if (wanted & ~offered & ~g->cfg.optional) {
        return guest_fail(g, EPROTO,
                          "back end does not offer features %#"PRIx64
                    " (offers %#"PRIx64")",
                    wanted & ~offered & ~g->cfg.optional, offered);
    }
    wanted &= offered;
    if (g->features && wanted != g->features) {
        return guest_fail(g, EPROTO,
                          "back end offers other features than before: "
                    "%#"PRIx64" instead of %#"PRIx64, wanted, g->features);
    }
    if (wanted & GUEST_F_PROTOCOL) {
        error = negotiate_protocol(g);
        if (error) {
            return error;
        }
    }
    error = front_end_request(&g->fe, VU_SET_OWNER, NULL, 0, NULL, 0);
    if (!error) {
        error = front_end_set_u64(&g->fe, VU_SET_FEATURES, wanted);
    }
    if (!error && !g->features) {
        g->features = wanted;
        g->hdr_len = wanted & (VRING_F_VERSION_1 | GUEST_F_MERGEABLE) ? 12
                                                                      : 10;
    }
    return error;
}

/* A connection that was waiting to be accepted may be dead already.  As a
 * virtual machine monitor that listens does, take the next one. */
static int
open_and_negotiate(struct guest *g)
{
    int error = EPIPE;

    for (unsigned int i = 0; i < MAX_ACCEPTS && error == EPIPE; i++) {
        error = front_end_open(&g->fe);
        if (!error) {
            error = negotiate(g);
        }
        if (!g->cfg.listens) {
            break;
        }
    }
    return error;
}

int
guest_open(struct guest *g)
{
    int error;

    if (g->cfg.native) {
        return guest_native_open(g);
    }
    g->running = false;
    error = open_and_negotiate(g);
    if (!error && !g->n_queues) {
        error = create_device(g);
    }
    return error;
}

int
guest_set_mem_table(struct guest *g)
{
    struct guest_region regions[GUEST_MAX_REGIONS];
    struct vu_mem_table table = { 0 };
    int fds[GUEST_MAX_REGIONS];
    unsigned int n = guest_memory_table(&g->mem, regions);

    table.n_regions = n;
    for (unsigned int i = 0; i < n; i++) {
        table.regions[i].addr = regions[i].addr;
        table.regions[i].size = regions[i].size;
        table.regions[i].user_addr = regions[i].user_addr;
        table.regions[i].offset = regions[i].offset;
        fds[i] = regions[i].fd;
    }
    return front_end_request(&g->fe, VU_SET_MEM_TABLE, &table,
                             8 + n * sizeof table.regions[0], fds, n);
}

int
guest_set_ring_addr(struct guest *g, struct guest_queue *q)
{
    bool packed = g->features & VRING_F_PACKED;
    struct vu_vring_addr addr = {
        .index = q->index,
        .flags = g->log.fd >= 0 ? VU_VRING_F_LOG : 0,
        .desc = guest_memory_user(&g->mem, q->desc_addr),
        .used = guest_memory_user(&g->mem, q->device_addr),
        .avail = guest_memory_user(&g->mem, q->driver_addr),
        .log = packed ? q->desc_addr : q->device_addr,
    };

    return front_end_request(&g->fe, VU_SET_VRING_ADDR, &addr, sizeof addr,
                             NULL, 0);
}

/* Where the device is to begin.  After a clean stop that is what it said
 * itself; after its death only the used buffers tell. */
static uint32_t
ring_base(struct guest *g, struct guest_queue *q)
{
    uint16_t idx;
    bool wrap;

    if (q->base_known) {
        return q->base;
    } else if (g->cfg.base_zero && !q->posted) {
        return 0;
    }
    pthread_mutex_lock(&g->lock);
    vring_driver_device_base(q->drv, &idx, &wrap);
    pthread_mutex_unlock(&g->lock);
    return (g->features & VRING_F_PACKED
            ? (idx | wrap << 15) * UINT32_C(0x10001)
            : idx);
}

int
guest_start_ring(struct guest *g, struct guest_queue *q)
{
    struct vhost_front_end *fe = &g->fe;
    int error;

    error = front_end_set_vring(fe, VU_SET_VRING_NUM, q->index,
                                g->cfg.ring_size);
    if (!error) {
        error = front_end_set_vring(fe, VU_SET_VRING_BASE, q->index,
                                    ring_base(g, q));
    }
    if (!error) {
        error = guest_set_ring_addr(g, q);
    }
    if (!error) {
        error = front_end_set_vring_fd(fe, VU_SET_VRING_KICK, q->index,
                                       q->kick_fd);
    }
    if (!error) {
        error = front_end_set_vring_fd(fe, VU_SET_VRING_CALL, q->index,
                                       q->call_fd);
    }
    if (!error) {
        q->base_known = false;
    }
    return error;
}

int
guest_set_enabled(struct guest *g, unsigned int pair, bool enabled)
{
    if (!g->cfg.native && g->features & GUEST_F_PROTOCOL) {
        for (unsigned int i = 2 * pair; i < 2 * pair + 2; i++) {
            int error = front_end_set_vring(&g->fe, VU_SET_VRING_ENABLE, i,
                                            enabled);
            if (error) {
                return error;
            }
        }
    }
    pthread_mutex_lock(&g->lock);
    g->enabled[pair] = enabled;
    pthread_mutex_unlock(&g->lock);
    guest_wake(g);
    return 0;
}

int
guest_start(struct guest *g)
{
    int error;

    if (g->cfg.native) {
        return guest_native_start(g);
    }
    error = guest_set_mem_table(g);
    for (unsigned int i = 0; i < g->n_queues && !error; i++) {
        error = guest_start_ring(g, &g->queues[i]);
    }
    for (unsigned int i = 0; i < g->cfg.n_pairs && !error; i++) {
        if (g->enabled[i] || g->running) {
            error = guest_set_enabled(g, i, g->enabled[i]);
        }
    }
    if (!error) {
        g->running = true;
        for (unsigned int i = 0; i < g->n_queues; i++) {
            /* What was published while nobody listened needs a kick. */
            eventfd_write(g->queues[i].kick_fd, 1);
        }
    }
    return error;
}

int
guest_stop_ring(struct guest *g, struct guest_queue *q)
{
    struct vu_vring_state state = { .index = q->index };
    uint16_t idx;
    bool wrap;
    int error = front_end_query(&g->fe, VU_GET_VRING_BASE, &state,
                                sizeof state, NULL, 0, &state, sizeof state);

    if (error) {
        return error;
    }
    q->base = state.num;
    q->base_known = true;

    pthread_mutex_lock(&g->lock);
    vring_driver_device_base(q->drv, &idx, &wrap);
    pthread_mutex_unlock(&g->lock);

    uint32_t expected = g->features & VRING_F_PACKED ? idx | wrap << 15 : idx;
    if ((state.num & 0xffff) != expected) {
        return guest_fail(g, EPROTO,
                          "ring %u says base %#x, its used buffers say "
                    "%#x", q->index, state.num & 0xffff, expected);
    }
    return 0;
}

int
guest_stop(struct guest *g)
{
    int error = 0;

    if (g->cfg.native) {
        return g->native ? guest_native_stop(g)
               : guest_fail(g, ENOTCONN, "not connected");
    }

    for (unsigned int i = 0; i < g->n_queues; i++) {
        int retval = guest_stop_ring(g, &g->queues[i]);

        if (retval == EPROTO) {
            /* Go on: a device that is wrong about one ring is stopped all
             * the same. */
            error = retval;
        } else if (retval) {
            return retval;
        }
    }
    g->running = false;
    return error;
}

void
guest_close(struct guest *g)
{
    if (g->cfg.native) {
        guest_native_close(g);
        return;
    }
    front_end_close(&g->fe);
    g->running = false;
    for (unsigned int i = 0; i < g->n_queues; i++) {
        g->queues[i].base_known = false;
    }
}

void
guest_reset_rings(struct guest *g)
{
    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues; i++) {
        struct guest_queue *q = &g->queues[i];

        if (!q->drv) {
            continue;
        }
        q->abandoned += vring_driver_n_in_flight(q->drv);
        vring_driver_reset(q->drv, g->cfg.start_idx, g->cfg.start_wrap);
        vring_driver_disable_interrupts(q->drv);
        free_all_slots(g, q);
        q->base_known = false;
    }
    pthread_mutex_unlock(&g->lock);
}

static int
move_ring(struct guest *g, struct guest_queue *q, unsigned int zone)
{
    uint16_t size = g->cfg.ring_size;
    struct guest_queue old = *q;
    int error = place_ring(g, q, zone);

    if (error) {
        return error;
    }

    void *desc = guest_memory_host(&g->mem, q->desc_addr);
    void *driver = guest_memory_host(&g->mem, q->driver_addr);
    void *device = guest_memory_host(&g->mem, q->device_addr);

    memcpy(desc, guest_memory_host(&g->mem, old.desc_addr),
           vring_driver_desc_bytes(size));
    memcpy(driver, guest_memory_host(&g->mem, old.driver_addr),
           vring_driver_driver_bytes(g->features, size));
    memcpy(device, guest_memory_host(&g->mem, old.device_addr),
           vring_driver_device_bytes(g->features, size));
    vring_driver_move(q->drv, desc, driver, device);
    return 0;
}

int
guest_move_rings(struct guest *g, unsigned int zone)
{
    int error = 0;

    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues && !error; i++) {
        error = move_ring(g, &g->queues[i], zone);
    }
    pthread_mutex_unlock(&g->lock);
    return error ? guest_fail(g, error,
                              "no room for the rings in zone %u", zone)
                 : 0;
}

int
guest_move_buffers(struct guest *g, unsigned int zone)
{
    int error = 0;

    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues && !error; i++) {
        error = place_buffers(g, &g->queues[i], zone);
    }
    pthread_mutex_unlock(&g->lock);
    return error ? guest_fail(g, error,
                              "no room for buffers in zone %u", zone) : 0;
}

static bool
queue_uses_zone(const struct guest *g, const struct guest_queue *q, int zone)
{
    bool is_free[32768] = { false };

    if (guest_memory_zone_at(&g->mem, q->desc_addr) == zone
        || guest_memory_zone_at(&g->mem, q->drv->indirect_addr) == zone
        || guest_memory_zone_at(&g->mem, q->pool_addr) == zone) {
        return true;
    }
    for (unsigned int i = 0; i < q->n_free_slots; i++) {
        is_free[q->free_slots[i]] = true;
    }
    for (unsigned int i = 0; i < g->cfg.ring_size; i++) {
        if (!is_free[i]
            && guest_memory_zone_at(&g->mem, q->slots[i].addr) == zone) {
            return true;
        }
    }
    return false;
}

bool
guest_zone_in_use(struct guest *g, unsigned int zone)
{
    bool in_use = false;

    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues && !in_use; i++) {
        in_use = queue_uses_zone(g, &g->queues[i], zone);
    }
    pthread_mutex_unlock(&g->lock);
    return in_use;
}

int
guest_replace_call_fds(struct guest *g)
{
    for (unsigned int i = 0; i < g->n_queues; i++) {
        struct guest_queue *q = &g->queues[i];
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        int error;

        if (fd < 0) {
            return guest_fail(g, errno, "eventfd: %s", strerror(errno));
        }
        error = front_end_set_vring_fd(&g->fe, VU_SET_VRING_CALL, i, fd);
        if (error) {
            close(fd);
            return error;
        }
        dup2(fd, q->call_fd);
        close(fd);

        /* A signal may have gone to the old one, or to nobody. */
        guest_wake(g);
    }
    return 0;
}

int
guest_log_start(struct guest *g)
{
    struct guest_log log = { .armed = false };
    char nothing[1];
    struct vu_log msg;
    int error;

    /* One bit for each 4 KiB page. */
    log.size = (guest_memory_end(&g->mem) / PAGE / 8 + PAGE) / PAGE * PAGE;
    log.fd = memfd_create("vhost-guest-log", MFD_CLOEXEC);
    if (log.fd < 0 || ftruncate(log.fd, log.size)) {
        return guest_fail(g, errno,
                          "no memory for the log: %s", strerror(errno));
    }
    log.bits = mmap(NULL, log.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                    log.fd, 0);
    if (log.bits == MAP_FAILED) {
        close(log.fd);
        return guest_fail(g, ENOMEM, "cannot map the log");
    }

    /* DPDK answers without payload, as QEMU expects. */
    msg = (struct vu_log) { .size = log.size };
    error = front_end_query(&g->fe, VU_SET_LOG_BASE, &msg, sizeof msg,
                            &log.fd, 1, nothing, 0);
    if (!error) {
        error = front_end_set_u64(&g->fe, VU_SET_FEATURES,
                                  g->features | GUEST_F_LOG_ALL);
    }
    if (error) {
        munmap(log.bits, log.size);
        close(log.fd);
        return error;
    }
    pthread_mutex_lock(&g->lock);
    unmap_log(g);
    g->log = log;
    pthread_mutex_unlock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues && !error; i++) {
        error = guest_set_ring_addr(g, &g->queues[i]);
    }
    if (!error) {
        error = front_end_probe(&g->fe);
    }
    pthread_mutex_lock(&g->lock);
    g->log.armed = !error;
    pthread_mutex_unlock(&g->lock);
    return error;
}

int
guest_log_stop(struct guest *g)
{
    int error;

    pthread_mutex_lock(&g->lock);
    unmap_log(g);
    pthread_mutex_unlock(&g->lock);
    error = front_end_set_u64(&g->fe, VU_SET_FEATURES, g->features);
    for (unsigned int i = 0; i < g->n_queues && !error; i++) {
        error = guest_set_ring_addr(g, &g->queues[i]);
    }
    return error;
}

unsigned int
guest_log_missing(const struct guest *g, uint64_t addr, uint64_t len)
{
    unsigned int n = 0;

    for (uint64_t page = addr / PAGE; len && page <= (addr + len - 1) / PAGE;
         page++) {
        uint8_t bits = __atomic_load_n(&g->log.bits[page / 8],
                                       __ATOMIC_ACQUIRE);

        n += !(bits & 1u << page % 8);
    }
    return n;
}

const char *
guest_ring_error(struct guest *g, char *buf, size_t size)
{
    const char *error = NULL;

    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues && !error; i++) {
        const struct vring_driver *drv = g->queues[i].drv;

        if (drv && drv->error) {
            snprintf(buf, size, "ring %u: %s (%"PRIu64")", i, drv->error,
                     drv->error_value);
            error = buf;
        }
    }
    pthread_mutex_unlock(&g->lock);
    return error;
}

uint64_t
guest_in_flight(const struct guest *g, const struct guest_queue *q)
{
    return (g->cfg.native ? guest_native_in_flight(g, q)
            : vring_driver_n_in_flight(q->drv));
}
