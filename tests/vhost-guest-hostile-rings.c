/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-hostile.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "vhost-guest-frames.h"
#include "vhost-guest-io.h"
#include "vpci/vring.h"

/* Far from all zones. */
#define NOWHERE UINT64_C(0x7ffffffff000)

/* No device has to accept more descriptors than this in one chain of a smaller
 * ring. */
#define MAX_DEVICE_CHAIN 1024

/* A chain that is to be spoiled, not yet published on transmit rings. */
struct victim {
    struct guest *g;
    struct guest_queue *q;
    struct vring_driver *drv;
    struct vring_driver_desc *head;
    uint16_t avail_slot;        /* Split: where 'head' is in the available
                                 * ring. */
    uint16_t write;             /* VRING_DESC_WRITE if that is right here. */
    struct vring_driver_desc *table; /* Room for an indirect table. */
    uint64_t table_addr;
};

static void
change_flags(struct vring_driver *drv, struct vring_driver_desc *d,
             uint16_t set, uint16_t clear)
{
    uint16_t *flags = d == drv->pending_head ? &drv->pending_flags
                      : drv->packed ? &d->tail.packed_flags : &d->tail.flags;

    *flags = (*flags & ~clear) | set;
}

static uint64_t
end_of_zone(const struct victim *v)
{
    int zone = guest_memory_zone_at(&v->g->mem, v->q->pool_addr);

    return v->g->mem.zones[zone].addr + v->g->mem.zones[zone].size;
}

static void
spoil_outside(struct victim *v)
{
    v->head->addr = NOWHERE;
}

static void
spoil_end(struct victim *v)
{
    v->head->addr = end_of_zone(v) - 4;
}

static void
spoil_wrap(struct victim *v)
{
    v->head->addr = UINT64_MAX - 7;
}

static void
spoil_length(struct victim *v)
{
    v->head->len = UINT32_MAX;
}

static void
spoil_short(struct victim *v)
{
    v->head->len = 4;
}

static void
spoil_header_only(struct victim *v)
{
    v->head->len = v->g->hdr_len;
}

static void
spoil_zero(struct victim *v)
{
    v->head->len = 0;
}

static void
spoil_direction(struct victim *v)
{
    change_flags(v->drv, v->head, v->write ^ VRING_DESC_WRITE, v->write);
}

static void
spoil_loop(struct victim *v)
{
    struct vring_driver *drv = v->drv;

    change_flags(drv, v->head, VRING_DESC_NEXT, 0);
    if (!drv->packed) {
        v->head->tail.next = v->head - drv->desc;
        return;
    }

    /* A chain that goes all round the ring. */
    uint16_t here = v->head - drv->desc;
    for (unsigned int i = 1; i < drv->size; i++) {
        unsigned int slot = (here + i) % drv->size;
        uint32_t pos = (drv->avail_pos + i - 1) % (2u * drv->size);

        drv->desc[slot] = *v->head;
        drv->desc[slot].tail.packed_flags
            = (pos < drv->size ? VRING_DESC_AVAIL : VRING_DESC_USED)
              | VRING_DESC_NEXT | v->write;
    }
}

static void
spoil_next(struct victim *v)
{
    change_flags(v->drv, v->head, VRING_DESC_NEXT, 0);
    v->head->tail.next = v->drv->size;
}

static void
spoil_head(struct victim *v)
{
    if (v->drv->packed) {
        v->head->tail.id = v->drv->size;
    } else {
        v->drv->avail->ring[v->avail_slot] = v->drv->size;
    }
}

static void
spoil_head_max(struct victim *v)
{
    if (v->drv->packed) {
        v->head->tail.id = UINT16_MAX;
    } else {
        v->drv->avail->ring[v->avail_slot] = UINT16_MAX;
    }
}

static void
spoil_avail_ahead(struct victim *v)
{
    v->drv->avail_pos = (uint16_t) (v->drv->avail_pos + v->drv->size);
}

static void
spoil_avail_back(struct victim *v)
{
    v->drv->avail_pos = (uint16_t) (v->drv->avail_pos - v->drv->size);
}

/* Puts a table of 'n' descriptors in the place of the chain: the buffer, cut
 * into bytes but for the last. */
static void
make_table(struct victim *v, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        v->table[i] = (struct vring_driver_desc) {
            .addr = v->head->addr + i,
            .len = i + 1 < n ? 1 : v->head->len - i,
        };
        if (v->drv->packed) {
            v->table[i].tail.packed_flags = v->write;
        } else {
            v->table[i].tail.flags = v->write
                                     | (i + 1 < n ? VRING_DESC_NEXT : 0);
            v->table[i].tail.next = i + 1;
        }
    }
    v->head->addr = v->table_addr;
    v->head->len = n * sizeof *v->table;
    change_flags(v->drv, v->head, VRING_DESC_INDIRECT, VRING_DESC_WRITE);
}

static void
spoil_indirect_nested(struct victim *v)
{
    make_table(v, 2);
    change_flags(v->drv, &v->table[0], VRING_DESC_INDIRECT, 0);
    v->table[0].addr = v->table_addr;
    v->table[0].len = sizeof *v->table;
}

static void
spoil_indirect_zero(struct victim *v)
{
    make_table(v, 1);
    v->head->len = 0;
}

static void
spoil_indirect_odd(struct victim *v)
{
    make_table(v, 2);
    v->head->len = 17;
}

static void
spoil_indirect_long(struct victim *v)
{
    make_table(v, 2);
    v->head->len = UINT32_MAX - 15;
}

static void
spoil_indirect_outside(struct victim *v)
{
    make_table(v, 2);
    v->head->addr = NOWHERE;
}

static void
spoil_indirect_end(struct victim *v)
{
    make_table(v, 2);
    v->head->addr = end_of_zone(v) - sizeof *v->table;
}

static void
spoil_indirect_next(struct victim *v)
{
    make_table(v, 2);
    change_flags(v->drv, v->head, VRING_DESC_NEXT, 0);
}

static void
spoil_indirect_loop(struct victim *v)
{
    make_table(v, 2);
    v->table[1].tail.next = 0;
    change_flags(v->drv, &v->table[1], VRING_DESC_NEXT, 0);
}

static void
spoil_indirect_beyond(struct victim *v)
{
    make_table(v, 2);
    v->table[0].tail.next = 1000;
}

/* One byte, over and over again. */
static void
spoil_indirect_more(struct victim *v)
{
    uint64_t first = v->head->addr;
    uint32_t n = MAX_DEVICE_CHAIN + 1;

    make_table(v, n);
    for (uint32_t i = 0; i < n; i++) {
        v->table[i].addr = first;
        v->table[i].len = 1;
    }
}

static void
spoil_indirect_zero_entry(struct victim *v)
{
    make_table(v, 20);
    v->table[15].len = 0;
}

static void
spoil_indirect_mixed(struct victim *v)
{
    make_table(v, 20);
    change_flags(v->drv, &v->table[15], v->write ^ VRING_DESC_WRITE, v->write);
}

/* As many times the whole zone as add up to more than 32 bits. */
static void
spoil_sum(struct victim *v)
{
    int zone = guest_memory_zone_at(&v->g->mem, v->q->pool_addr);
    uint64_t size = v->g->mem.zones[zone].size;
    uint64_t n = (UINT64_C(1) << 32) / size + 2;
    uint64_t first = v->head->addr;

    make_table(v, n);
    for (uint64_t i = 0; i < n; i++) {
        v->table[i].addr = i ? v->g->mem.zones[zone].addr : first;
        v->table[i].len = i ? size : v->g->hdr_len;
    }
}

enum { ANY_RING, SPLIT_ONLY };

static const struct spoiler {
    const char *name;
    const char *help;
    int limit;
    bool indirect;
    void (*spoil)(struct victim *);
} spoilers[] = {
    { "outside", "address outside memory", ANY_RING, false, spoil_outside },
    { "end", "buffer that runs over the end of a region", ANY_RING, false,
      spoil_end },
    { "wrap", "address plus length beyond 64 bits", ANY_RING, false,
      spoil_wrap },
    { "length", "length 0xffffffff", ANY_RING, false, spoil_length },
    { "short", "chain shorter than the virtio header", ANY_RING, false,
      spoil_short },
    { "header-only", "no room for a frame", ANY_RING, false,
      spoil_header_only },
    { "zero", "descriptor of length 0", ANY_RING, false, spoil_zero },
    { "direction", "writable where readable is due, or the other way round",
      ANY_RING, false, spoil_direction },
    { "loop", "chain without an end", ANY_RING, false, spoil_loop },
    { "next", "next descriptor beyond the ring", SPLIT_ONLY, false,
      spoil_next },
    { "head", "head (packed: buffer id) just beyond the ring", ANY_RING, false,
      spoil_head },
    { "head-max", "head or buffer id 65535", ANY_RING, false,
      spoil_head_max },
    { "avail-ahead", "available index more than a ring ahead", SPLIT_ONLY,
      false, spoil_avail_ahead },
    { "avail-back", "available index that goes backwards", SPLIT_ONLY, false,
      spoil_avail_back },
    { "nested", "indirect table in an indirect table", ANY_RING, true,
      spoil_indirect_nested },
    { "table-zero", "indirect table of length 0", ANY_RING, true,
      spoil_indirect_zero },
    { "table-odd", "indirect table of 17 bytes", ANY_RING, true,
      spoil_indirect_odd },
    { "table-long", "indirect table of nearly 4 GiB", ANY_RING, true,
      spoil_indirect_long },
    { "table-outside", "indirect table outside memory", ANY_RING, true,
      spoil_indirect_outside },
    { "table-end", "indirect table over the end of a region", ANY_RING, true,
      spoil_indirect_end },
    { "table-next", "descriptor both indirect and chained", ANY_RING, true,
      spoil_indirect_next },
    { "table-loop", "loop in an indirect table", SPLIT_ONLY, true,
      spoil_indirect_loop },
    { "table-beyond", "next descriptor beyond the indirect table", SPLIT_ONLY,
      true, spoil_indirect_beyond },
    { "table-more", "indirect table of 1025 descriptors", ANY_RING, true,
      spoil_indirect_more },
    { "table-zero-entry", "length 0 in the middle of an indirect table",
      ANY_RING, true, spoil_indirect_zero_entry },
    { "table-mixed", "wrong direction in the middle of an indirect table",
      ANY_RING, true, spoil_indirect_mixed },
    { "sum", "lengths that add up to more than 32 bits; for a short chain "
      "use --max-frame 65535", ANY_RING, true, spoil_sum },
};
#define N_SPOILERS (sizeof spoilers / sizeof *spoilers)

void
hostile_rings_help(FILE *file)
{
    for (unsigned int i = 0; i < N_SPOILERS; i++) {
        fprintf(file, "      %-17s %s%s\n", spoilers[i].name, spoilers[i].help,
                spoilers[i].limit == SPLIT_ONLY ? " (split rings)" : "");
    }
}

/* Adds a good frame to a transmit ring. */
static bool
post_good_frame(struct guest *g, struct guest_queue *q)
{
    struct guest_shape shape = g->tx_shape;
    uint8_t *room;
    bool ok;

    guest_reap_tx(g, q);
    room = guest_reserve(g, q);
    if (!room) {
        return false;
    }
    memset(room, 0xff, g->hdr_len + 60);
    memset(room, 0, g->hdr_len);
    g->tx_shape = (struct guest_shape) { .layout = GUEST_LAYOUT_ONE };
    ok = guest_post(g, q, g->hdr_len + 60);
    g->tx_shape = shape;
    return ok;
}

/* A chain on a transmit ring is made for the purpose.  A receive ring is full
 * of buffers already, so the one that the device will take next is spoiled
 * where it lies. */
static bool
choose_victim(struct guest *g, struct guest_queue *q, struct victim *v)
{
    struct vring_driver *drv = q->drv;
    uint16_t idx;
    bool wrap;

    *v = (struct victim) {
        .g = g, .q = q, .drv = drv, .table = drv->indirect,
        .table_addr = drv->indirect_addr,
        .write = q->is_rx ? VRING_DESC_WRITE : 0,
    };
    if (!q->is_rx) {
        if (!post_good_frame(g, q)) {
            return false;
        }
        v->head = drv->last_head;
        v->avail_slot = (drv->avail_pos - 1) & (drv->size - 1);
        return true;
    }
    if (!vring_driver_n_in_flight(drv)) {
        return false;
    }
    vring_driver_device_base(drv, &idx, &wrap);
    v->avail_slot = idx & (drv->size - 1);
    v->head = &drv->desc[drv->packed ? idx : drv->avail->ring[v->avail_slot]];
    return true;
}

static struct guest_queue *
choose_queue(struct session *s, const struct args *args)
{
    uint64_t pair = arg_number(args, "pair", 0);

    if (pair >= s->g.cfg.n_pairs) {
        failed(s, "there is no queue pair %"PRIu64, pair);
        return NULL;
    }
    return &s->g.queues[2 * pair + !arg_has(args, "rx")];
}

bool
run_hostile_ring(struct session *s, const struct args *args)
{
    const struct spoiler *spoiler = NULL;
    struct guest *g = &s->g;
    struct guest_queue *q;
    struct victim v;
    bool ok;

    for (unsigned int i = 0; i < N_SPOILERS && args->n > 1; i++) {
        if (!strcmp(spoilers[i].name, args->words[1])) {
            spoiler = &spoilers[i];
        }
    }
    if (!spoiler) {
        return failed(s, "no such hostility; see --help");
    } else if (spoiler->limit == SPLIT_ONLY && g->features & VRING_F_PACKED) {
        return failed(s, "for split rings only");
    }
    q = choose_queue(s, args);
    if (!q) {
        return false;
    }
    pthread_mutex_lock(&g->lock);
    ok = choose_victim(g, q, &v);
    if (ok) {
        spoiler->spoil(&v);
        guest_kick(g, q);
    }
    pthread_mutex_unlock(&g->lock);
    return ok ? done(s, "%s", "") : failed(s, "no chain to be spoiled");
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Changes a published descriptor to and fro until the device has used it. */
static void
flip(struct guest_queue *q, struct vring_driver_desc *d, unsigned int n)
{
    struct vring_driver_desc good = *d;

    for (unsigned int i = 0; i < 2000 && !vring_driver_has_used(q->drv); i++) {
        uint64_t addr = i & 1 ? good.addr : NOWHERE;
        uint32_t len = i & 1 ? good.len : UINT32_MAX;

        if (n & 1) {
            __atomic_store_n(&d->addr, addr, __ATOMIC_RELAXED);
        }
        if (n & 2) {
            __atomic_store_n(&d->len, len, __ATOMIC_RELAXED);
        }
    }
}

bool
run_hostile_flip(struct session *s, const struct args *args)
{
    unsigned int ms = args->n > 1 ? strtod(args->words[1], NULL) * 1000 : 1000;
    int64_t deadline = now_ms() + ms;
    struct guest *g = &s->g;
    struct guest_queue *q = &g->queues[1];
    unsigned int n = 0;
    bool room = true;

    pthread_mutex_lock(&g->lock);
    while (room && now_ms() < deadline) {
        room = post_good_frame(g, q);
        if (room) {
            struct vring_driver_desc *d = q->drv->last_head;

            guest_kick(g, q);
            flip(q, d, ++n);
        }
    }
    pthread_mutex_unlock(&g->lock);
    return done(s, "flipped=%u", n);
}

/* What a buffer begins with, in turn. */
struct faces {
    uint8_t good[sizeof(struct vpci_net_hdr) + 2 + FRAME_MAX];
    uint8_t other[256];
    int n_good, n_other;
};

static bool
parse_faces(struct session *s, const struct args *args, struct faces *f)
{
    unsigned int hdr_len = s->g.hdr_len;
    const char *hdr = arg_value(args, "hdr");
    const char *other = arg_value(args, "other");

    memset(f, 0, sizeof *f);
    if (args->n < 3 || !hdr || !other) {
        return false;
    }
    f->n_good = parse_hex(args->words[2], f->good + hdr_len,
                          s->g.cfg.max_frame);
    f->n_other = parse_hex(other, f->other, sizeof f->other);
    if (parse_hex(hdr, f->good, hdr_len) < 0 || f->n_good <= 0
        || f->n_other <= 0) {
        return false;
    }
    f->n_good += hdr_len;
    return f->n_other <= f->n_good;
}

/* Sends the frame, and shows one face or the other, by turns, until the device
 * has used it. */
static bool
send_faces(struct guest *g, struct guest_queue *q, const struct faces *f,
           int64_t deadline)
{
    volatile uint8_t *room = guest_reserve(g, q);

    if (!room) {
        return false;
    }
    memcpy((uint8_t *) room, f->good, f->n_good);
    guest_post(g, q, f->n_good);
    guest_kick(g, q);
    for (unsigned int i = 0; !vring_driver_has_used(q->drv); i++) {
        const uint8_t *face = i & 1 ? f->good : f->other;

        for (int j = 0; j < f->n_other; j++) {
            if (f->good[j] != f->other[j]) {
                room[j] = face[j];
            }
        }
        if (!(i % 1024) && now_ms() > deadline) {
            return false;
        }
    }
    guest_reap_tx(g, q);
    return true;
}

bool
run_hostile_header(struct session *s, const struct args *args)
{
    uint64_t n = args->n > 1 ? strtoull(args->words[1], NULL, 0) : 0;
    int64_t deadline = now_ms() + s->g.cfg.timeout_ms;
    struct guest *g = &s->g;
    static struct faces f;
    uint64_t i;

    if (s->traffic_runs) {
        return failed(s, "traffic runs");
    } else if (!parse_faces(s, args, &f)) {
        return failed(s, "say how often, a frame and two headers");
    }
    pthread_mutex_lock(&g->lock);
    for (i = 0; i < n && send_faces(g, &g->queues[1], &f, deadline); i++) {
        continue;
    }
    pthread_mutex_unlock(&g->lock);
    return i == n ? done(s, "sent=%"PRIu64, i)
                  : failed(s, "sent=%"PRIu64" and time is over", i);
}
