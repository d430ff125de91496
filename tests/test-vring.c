/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine, against the driver model of vring-driver.h
 *
 * Usage: test-vring [--list | NAME...]
 *
 * Without a name, all tests run. */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vpci/vring.h"
#include "vring-driver.h"

#define F_MERGEABLE (UINT64_C(1) << 15)
#define MODERN VRING_F_VERSION_1

/* One letter for each feature under test, for messages. */
static char combination[128];

#define CHECK(COND)                                                     \
    ((COND) ? (void) 0 : check_failed(__FILE__, __LINE__, #COND))

static void __attribute__((noreturn))
check_failed(const char *file, int line, const char *cond)
{
    printf("FAIL\n%s:%d: %s [%s]\n", file, line, cond, combination);
    exit(EXIT_FAILURE);
}

static uint32_t
random_below(uint32_t n)
{
    static uint64_t state = 0x9e3779b97f4a7c15;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 32) % n;
}

/* The guest
 * =========
 *
 * Four regions: rings, indirect tables, and two for buffers that are adjacent
 * for the guest and apart for us. */

enum { RINGS, TABLES, BUFS1, BUFS2, N_REGIONS };

static const struct { uint64_t addr, size; } regions[N_REGIONS] = {
    [RINGS] = { 0x10000, 0x120000 },
    [TABLES] = { 0x40000000, 0x1000000 },
    [BUFS1] = { 0x100000000, 0x100000 },
    [BUFS2] = { 0x100100000, 0x500000 },
};
#define BUFS_ADDR UINT64_C(0x100000000)
#define BUFS_MIDDLE UINT64_C(0x100100000)
#define BUFS_SIZE 0x600000
#define DRIVER_OFS 0x80000
#define DEVICE_OFS 0xa0000

#define MAX_PIECES 64

/* A chain as the test remembers it. */
struct chain {
    unsigned int n;
    struct vring_driver_buf bufs[MAX_PIECES];
    uint32_t len;
    uint32_t frame_len;
    uint32_t seed;
};

struct guest {
    uint64_t features;
    uint32_t hdr_len;
    uint8_t *host[N_REGIONS];
    struct vpci_memory mem;
    struct vring_driver_config dcfg;
    struct vpci_vring_config cfg;
    struct vring_driver *drv;
    struct vpci_vring *vr;
    struct vpci_peer peer;
    struct vpci_fault fault;
    unsigned int n_faults;
    int call_fd;
    uint64_t next_buf;          /* Offset of the next buffer. */
    struct chain *chains;       /* By id. */
    uint8_t *logged[N_REGIONS]; /* One byte for each byte, if logging. */
};

static void
guest_report(void *g_, const struct vpci_fault *fault)
{
    struct guest *g = g_;

    g->fault = *fault;
    g->n_faults++;
}

static void
guest_start(struct guest *g)
{
    CHECK(!vpci_vring_start(g->vr, &g->cfg));
}

/* Sets up 'g', with the ring stopped. */
static void
guest_init_stopped(struct guest *g, uint64_t features, uint16_t size,
                   uint16_t idx, bool wrap)
{
    memset(g, 0, sizeof *g);
    snprintf(combination, sizeof combination, "%s%s%s%s%s size %u, at %u/%d",
             features & VRING_F_PACKED ? "packed" : "split",
             features & VRING_F_INDIRECT ? " indirect" : "",
             features & F_MERGEABLE ? " mergeable" : "",
             features & VRING_F_IN_ORDER ? " in-order" : "",
             features & VRING_F_EVENT_IDX ? " event-idx" : "",
             size, idx, wrap);
    g->features = features;
    g->hdr_len = features & (MODERN | F_MERGEABLE | VRING_F_PACKED) ? 12 : 10;
    for (int i = 0; i < N_REGIONS; i++) {
        g->host[i] = aligned_alloc(64, regions[i].size);
        CHECK(g->host[i]);
        if (i == RINGS) {
            memset(g->host[i], 0, regions[i].size);
        }
        CHECK(!vpci_memory_add(&g->mem, regions[i].addr, regions[i].size,
                               g->host[i]));
    }
    g->chains = calloc(size, sizeof *g->chains);
    g->dcfg = (struct vring_driver_config) {
        .size = size,
        .features = features,
        .desc = g->host[RINGS],
        .driver = g->host[RINGS] + DRIVER_OFS,
        .device = g->host[RINGS] + DEVICE_OFS,
        .indirect = g->host[TABLES],
        .indirect_addr = regions[TABLES].addr,
        .indirect_max = size > 256 ? 16 : 256,
        .start_idx = idx,
        .start_wrap = wrap,
    };
    g->drv = vring_driver_create(&g->dcfg);
    g->vr = vpci_vring_create();
    g->call_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(g->drv && g->vr && g->chains && g->call_fd >= 0);
    g->peer = (struct vpci_peer) { guest_report, g };
    g->cfg = (struct vpci_vring_config) {
        .index = 5,
        .size = size,
        .features = features,
        .desc = g->dcfg.desc,
        .driver = g->dcfg.driver,
        .device = g->dcfg.device,
        .mem = &g->mem,
        .base = { idx, idx, wrap, wrap },
        .call_fd = g->call_fd,
        .peer = &g->peer,
        .log_device_addr = (regions[RINGS].addr
                            + (features & VRING_F_PACKED ? 0 : DEVICE_OFS)),
    };
}

static void
guest_init(struct guest *g, uint64_t features, uint16_t size, uint16_t idx,
           bool wrap)
{
    guest_init_stopped(g, features, size, idx, wrap);
    guest_start(g);
}

static void
guest_destroy(struct guest *g)
{
    CHECK(!g->drv->error);
    vpci_vring_destroy(g->vr);
    vring_driver_destroy(g->drv);
    close(g->call_fd);
    free(g->chains);
    for (int i = 0; i < N_REGIONS; i++) {
        free(g->host[i]);
        free(g->logged[i]);
    }
}

static uint8_t *
guest_byte(const struct guest *g, uint64_t addr)
{
    for (int i = 0; i < N_REGIONS; i++) {
        if (addr - regions[i].addr < regions[i].size) {
            return g->host[i] + (addr - regions[i].addr);
        }
    }
    check_failed(__FILE__, __LINE__, "address inside guest memory");
}

/* Byte 'i' of a chain. */
static uint8_t *
chain_byte(const struct guest *g, const struct chain *c, uint32_t i)
{
    for (unsigned int j = 0; j < c->n; j++) {
        if (i < c->bufs[j].len) {
            return guest_byte(g, c->bufs[j].addr + i);
        }
        i -= c->bufs[j].len;
    }
    check_failed(__FILE__, __LINE__, "byte inside chain");
}

/* Byte 'i' of the frame 'seed'. */
static uint8_t
frame_byte(uint32_t seed, uint32_t i)
{
    return (seed * 2654435761u >> 24) + i * 7 + (i >> 8);
}

/* Byte 'i' of the header of the frame 'seed', up to 'num_buffers'. */
static uint8_t
hdr_byte(uint32_t seed, uint32_t i)
{
    return seed * 3 + i * 17 + 1;
}

/* Fills in 'c' with pieces of the lengths 'lens', somewhere in the guest. */
static void
chain_init(struct guest *g, struct chain *c, const uint32_t *lens,
           unsigned int n, bool writable)
{
    CHECK(n <= MAX_PIECES);
    c->n = n;
    c->len = 0;
    for (unsigned int i = 0; i < n; i++) {
        if (g->next_buf + lens[i] > BUFS_SIZE) {
            g->next_buf = random_below(100);
        }
        c->bufs[i] = (struct vring_driver_buf) {
            BUFS_ADDR + g->next_buf, lens[i], writable
        };
        g->next_buf += lens[i] + random_below(3);
        c->len += lens[i];
    }
}

/* Adds 'c', which becomes a chain of the table.  Returns its id or -1. */
static int
chain_add(struct guest *g, const struct chain *c, bool indirect)
{
    int id = vring_driver_add(g->drv, c->bufs, c->n, indirect, NULL);

    if (id >= 0) {
        g->chains[id] = *c;
    }
    return id;
}

/* Adds the frame 'seed' in pieces of the lengths 'lens', which include the
 * header.  Returns the id of its chain, or -1. */
static int
guest_send(struct guest *g, uint32_t seed, const uint32_t *lens,
           unsigned int n, bool indirect)
{
    struct chain c;

    chain_init(g, &c, lens, n, false);
    c.seed = seed;
    c.frame_len = c.len - g->hdr_len;
    for (unsigned int i = 0, ofs = 0; i < n; i++) {
        for (uint32_t j = 0; j < lens[i]; j++, ofs++) {
            *guest_byte(g, c.bufs[i].addr + j)
                = (ofs < g->hdr_len
                   ? hdr_byte(seed, ofs)
                   : frame_byte(seed, ofs - g->hdr_len));
        }
    }
    return chain_add(g, &c, indirect);
}

/* Adds a buffer in pieces of the lengths 'lens'. */
static int
guest_post(struct guest *g, const uint32_t *lens, unsigned int n,
           bool indirect)
{
    struct chain c;

    memset(&c, 0, sizeof c);
    chain_init(g, &c, lens, n, true);
    return chain_add(g, &c, indirect);
}

static int
guest_post_one(struct guest *g, uint32_t len)
{
    return guest_post(g, &len, 1, false);
}

/* Splits 'len' into up to 'max' pieces, in one of many ways. */
static unsigned int
random_pieces(uint32_t len, uint32_t hdr_len, unsigned int max,
              uint32_t lens[])
{
    unsigned int n = 0;

    if (max > 1 && len > hdr_len && random_below(3) == 0) {
        lens[n++] = hdr_len;
        len -= hdr_len;
    }
    while (n + 1 < max && len > 1 && random_below(3)) {
        uint32_t most = random_below(3) ? len : len < 20 ? len : 20;
        uint32_t piece = 1 + random_below(most);

        if (piece == len) {
            break;
        }
        lens[n++] = piece;
        len -= piece;
    }
    lens[n++] = len;
    return n;
}

/* Checks a frame that was peeked at. */
static void
check_peeked(const struct vpci_pkt *pkt, uint32_t seed, uint32_t len)
{
    const uint8_t *hdr = (const uint8_t *) &pkt->hdr;
    uint8_t *copy = malloc(len + 1);
    uint32_t sum = 0;

    CHECK(pkt->len == len);
    for (uint32_t i = 0; i < pkt->n_iov; i++) {
        CHECK(pkt->iov[i].len);
        sum += pkt->iov[i].len;
    }
    CHECK(sum == len);
    for (unsigned int i = 0; i < sizeof pkt->hdr; i++) {
        CHECK(hdr[i] == hdr_byte(seed, i));
    }
    copy[len] = 0xa5;
    vpci_pkt_copy(pkt, copy);
    for (uint32_t i = 0; i < len; i++) {
        CHECK(copy[i] == frame_byte(seed, i));
    }
    CHECK(copy[len] == 0xa5);
    free(copy);
}

/* Peeks at one frame, checks and releases it. */
static void
check_take(struct guest *g, uint32_t seed, uint32_t len)
{
    struct vring_driver_reaped reaped;
    struct vpci_pkt pkt;

    CHECK(vpci_vring_peek(g->vr, &pkt, 1) == 1);
    check_peeked(&pkt, seed, len);
    vpci_vring_release(g->vr, 1);
    CHECK(vring_driver_reap(g->drv, &reaped, 1) == 1);
    CHECK(!reaped.len);
}

/* A frame to be pushed, in 1 to 4 pieces. */
struct frame {
    uint8_t *data;
    struct vpci_iov iov[4];
    struct vpci_pkt pkt;
    uint32_t seed;
};

static void
frame_init(struct frame *f, uint32_t seed, uint32_t len)
{
    uint32_t lens[4];
    uint8_t *hdr = (uint8_t *) &f->pkt.hdr;
    uint8_t *p;

    memset(f, 0, sizeof *f);
    f->seed = seed;
    f->pkt.iov = f->iov;
    f->pkt.len = len;
    f->pkt.fate = 77;
    f->data = p = malloc(len + !len);
    for (uint32_t i = 0; i < len; i++) {
        f->data[i] = frame_byte(seed, i);
    }
    for (unsigned int i = 0; i < sizeof f->pkt.hdr; i++) {
        hdr[i] = hdr_byte(seed, i);
    }
    f->pkt.n_iov = len ? random_pieces(len, 14, 1 + random_below(4), lens) : 0;
    for (unsigned int i = 0; i < f->pkt.n_iov; i++) {
        f->iov[i] = (struct vpci_iov) { p, lens[i] };
        p += lens[i];
    }
}

/* Pushes 'n' frames of the lengths 'lens', with seeds from 'seed' on, and
 * stores their fates.  Returns what the engine returns. */
static unsigned int
guest_push(struct guest *g, uint32_t seed, const uint32_t *lens,
           unsigned int n, uint8_t *fates)
{
    struct frame frames[VPCI_VRING_BURST];
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    unsigned int n_done;

    for (unsigned int i = 0; i < n; i++) {
        frame_init(&frames[i], seed + i, lens[i]);
        pkts[i] = frames[i].pkt;
    }
    n_done = vpci_vring_push(g->vr, pkts, n);
    CHECK(n_done <= n);
    for (unsigned int i = 0; i < n; i++) {
        CHECK((pkts[i].fate == VPCI_PKT_WAITING) == (i >= n_done));
        fates[i] = pkts[i].fate;
        free(frames[i].data);
    }
    return n_done;
}

static enum vpci_pkt_fate
guest_push_one(struct guest *g, uint32_t seed, uint32_t len)
{
    uint8_t fate;

    guest_push(g, seed, &len, 1, &fate);
    return fate;
}

/* Takes the frame 'seed' out of the driver's buffers, and checks it.  Returns
 * the number of buffers that it took. */
static unsigned int
check_received(struct guest *g, uint32_t seed, uint32_t len)
{
    unsigned int n_bufs = 0, want_bufs = 1;
    uint32_t ofs = 0, total = len + g->hdr_len;

    while (n_bufs < want_bufs) {
        struct vring_driver_reaped reaped;
        struct chain *c;

        CHECK(vring_driver_reap(g->drv, &reaped, 1) == 1);
        CHECK(!reaped.skipped);
        c = &g->chains[reaped.id];
        if (!n_bufs) {
            for (unsigned int i = 0; i < 10; i++) {
                CHECK(*chain_byte(g, c, i) == hdr_byte(seed, i));
            }
            if (g->hdr_len == 12) {
                want_bufs = (*chain_byte(g, c, 10)
                             | *chain_byte(g, c, 11) << 8);
                CHECK(want_bufs);
                CHECK(want_bufs == 1 || g->features & F_MERGEABLE);
            }
        }
        CHECK(reaped.len <= c->len && reaped.len <= total - ofs);
        CHECK(reaped.len == c->len || n_bufs + 1 == want_bufs);
        for (uint32_t i = n_bufs ? 0 : g->hdr_len; i < reaped.len; i++) {
            CHECK(*chain_byte(g, c, i)
                  == frame_byte(seed, ofs + i - g->hdr_len));
        }
        ofs += reaped.len;
        n_bufs++;
    }
    CHECK(ofs == total);
    return n_bufs;
}

/* Calls 'test' for each combination of features, ring size and start that is
 * worth it. */
static void
for_each_ring(void (*test)(struct guest *))
{
    static const uint16_t split_sizes[] = { 1, 2, 256, 32768 };
    static const uint16_t packed_sizes[] = { 1, 2, 256, 300, 32768 };

    for (int bits = 0; bits < 32; bits++) {
        bool packed = bits & 1;
        uint64_t features = ((packed ? VRING_F_PACKED | MODERN : 0)
                             | (bits & 2 ? VRING_F_INDIRECT : 0)
                             | (bits & 4 ? F_MERGEABLE : 0)
                             | (bits & 8 ? VRING_F_IN_ORDER | MODERN : 0)
                             | (bits & 16 ? VRING_F_EVENT_IDX | MODERN : 0));

        for (int i = 0; i < (packed ? 5 : 4); i++) {
            uint16_t size = packed ? packed_sizes[i] : split_sizes[i];
            uint16_t near_end = packed ? size - 1 - size / 16 : 0xfff0;
            struct guest g;

            if (size == 32768 && bits & 24) {
                continue;
            }
            for (int start = 0; start < 2; start++) {
                guest_init(&g, features, size, near_end, start);
                test(&g);
                guest_destroy(&g);
            }
        }
    }
}

/* Frames in both directions
 * ========================= */

static void
run_from_driver(struct guest *g)
{
    uint32_t n_sent = 0, n_taken = 0, n_reaped = 0;
    uint32_t lens[MAX_PIECES];
    uint32_t total = 700;
    uint32_t frame_lens[700];
    uint16_t ids[700];

    while (n_reaped < total) {
        struct vring_driver_reaped reaped[64];
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        unsigned int n;

        for (n = random_below(50); n && n_sent < total; n--) {
            bool indirect = g->features & VRING_F_INDIRECT && random_below(2);
            uint32_t len = random_below(3) ? random_below(150)
                                           : random_below(2500);
            unsigned int max = g->dcfg.size < 6 ? g->dcfg.size : 6;
            unsigned int n_pieces = random_pieces(len + g->hdr_len, g->hdr_len,
                                                  max, lens);
            int id = guest_send(g, n_sent, lens, n_pieces, indirect);

            if (id < 0) {
                break;
            }
            ids[n_sent] = id;
            frame_lens[n_sent] = len;
            n_sent++;
        }
        vring_driver_publish(g->drv);

        n = vpci_vring_peek(g->vr, pkts, random_below(VPCI_VRING_BURST + 1));
        CHECK(n <= n_sent - n_taken);
        for (unsigned int i = 0; i < n; i++) {
            check_peeked(&pkts[i], n_taken + i, frame_lens[n_taken + i]);
        }
        n = random_below(n + 1);
        n_taken += n;
        while (n) {
            unsigned int m = 1 + random_below(n);

            vpci_vring_release(g->vr, m);
            n -= m;
        }
        n = vring_driver_reap(g->drv, reaped, random_below(64) + 1);
        CHECK(!g->drv->error);
        for (unsigned int i = 0; i < n; i++) {
            CHECK(reaped[i].id == ids[n_reaped++]);
        }
        CHECK(n_reaped <= n_taken);
    }
    CHECK(!g->n_faults);
}

static void
test_from_driver(void)
{
    for_each_ring(run_from_driver);
}

static void
run_to_driver(struct guest *g)
{
    uint32_t seed = 0, n_sent = 0;

    while (n_sent < 700) {
        uint32_t lens[MAX_PIECES], frame_lens[VPCI_VRING_BURST];
        uint8_t fates[VPCI_VRING_BURST];
        unsigned int n, n_done;

        for (n = random_below(50); n; n--) {
            bool indirect = g->features & VRING_F_INDIRECT && random_below(2);
            uint32_t len = g->hdr_len + random_below(random_below(3)
                                                     ? 2500 : 100);
            unsigned int max = g->dcfg.size < 6 ? g->dcfg.size : 6;
            unsigned int n_pieces = random_pieces(len, g->hdr_len, max, lens);

            if (guest_post(g, lens, n_pieces, indirect) < 0) {
                break;
            }
        }
        vring_driver_publish(g->drv);

        n = random_below(VPCI_VRING_BURST + 1);
        for (unsigned int i = 0; i < n; i++) {
            frame_lens[i] = random_below(random_below(3) ? 100 : 2000);
        }
        n_done = guest_push(g, seed, frame_lens, n, fates);
        for (unsigned int i = 0; i < n_done; i++) {
            if (fates[i] == VPCI_PKT_SENT) {
                check_received(g, seed + i, frame_lens[i]);
                n_sent++;
            }
        }
        CHECK(!vring_driver_has_used(g->drv));
        seed += n_done;
    }
    CHECK(!g->n_faults);
}

static void
test_to_driver(void)
{
    for_each_ring(run_to_driver);
}

/* The engine's own frames, from one ring to another. */
static void
test_ring_to_ring(void)
{
    for (int bits = 0; bits < 4; bits++) {
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        struct guest from, to;
        uint32_t lens[MAX_PIECES];

        guest_init(&from, MODERN | (bits & 1 ? VRING_F_PACKED : 0), 64, 60,
                   true);
        guest_init(&to, MODERN | F_MERGEABLE | (bits & 2 ? VRING_F_PACKED : 0),
                   128, 120, true);
        for (uint32_t seed = 0; seed < 300; seed++) {
            uint32_t len = random_below(3000);
            unsigned int n = random_pieces(len + 12, 12, 5, lens);
            struct vring_driver_reaped reaped;

            CHECK(guest_send(&from, seed, lens, n, false) >= 0);
            vring_driver_publish(from.drv);
            while (guest_post_one(&to, 1000) >= 0) {
                continue;
            }
            vring_driver_publish(to.drv);
            CHECK(vpci_vring_peek(from.vr, pkts, 32) == 1);
            CHECK(vpci_vring_push(to.vr, pkts, 1) == 1);
            CHECK(pkts[0].fate == VPCI_PKT_SENT);
            vpci_vring_release(from.vr, 1);
            check_received(&to, seed, len);
            CHECK(vring_driver_reap(from.drv, &reaped, 1) == 1);
        }
        guest_destroy(&from);
        guest_destroy(&to);
    }
}

/* Runs 'test' with a split and a packed ring with more 'features'. */
static void
for_both(void (*test)(struct guest *), uint64_t features, uint16_t size)
{
    struct guest g;

    guest_init(&g, features, size, 0xfffe, true);
    test(&g);
    guest_destroy(&g);
    guest_init(&g, features | MODERN | VRING_F_PACKED, size, size - 1, true);
    test(&g);
    guest_destroy(&g);
}

static void
run_any_layout(struct guest *g)
{
    uint32_t h = g->hdr_len;
    const uint32_t layouts[][6] = {
        { h + 60 },
        { h, 60 },              /* Header of its own. */
        { h - 1, 61 },
        { h + 1, 59 },
        { 1, 2, 3, h - 6, 60 }, /* Header in parts. */
        { 4, h - 4, 20, 40 },
        { 5, h + 55 },
        { h },                  /* No frame at all. */
        { h - 1, 1 },
    };
    uint32_t ones[64];

    for (unsigned int i = 0; i < 64; i++) {
        ones[i] = 1;
    }
    for (int indirect = 0; indirect < 2; indirect++) {
        for (unsigned int i = 0; i < sizeof layouts / sizeof *layouts; i++) {
            const uint32_t *lens = layouts[i];
            uint32_t len = 0;
            unsigned int n;

            for (n = 0; n < 6 && lens[n]; n++) {
                len += lens[n];
            }
            CHECK(guest_send(g, i, lens, n, indirect) >= 0);
            vring_driver_publish(g->drv);
            check_take(g, i, len - h);
            CHECK(guest_post(g, lens, n, indirect) >= 0);
            vring_driver_publish(g->drv);
            CHECK(guest_push_one(g, i, len - h) == VPCI_PKT_SENT);
            check_received(g, i, len - h);
        }

        /* As many descriptors as the ring has, of one byte each. */
        CHECK(guest_send(g, 99, ones, 64, indirect) >= 0);
        vring_driver_publish(g->drv);
        check_take(g, 99, 64 - h);
        CHECK(guest_post(g, ones, 64, indirect) >= 0);
        vring_driver_publish(g->drv);
        CHECK(guest_push_one(g, 99, 64 - h) == VPCI_PKT_SENT);
        check_received(g, 99, 64 - h);
    }
}

static void
test_any_layout(void)
{
    for_both(run_any_layout, VRING_F_INDIRECT, 64);
    for_both(run_any_layout, VRING_F_INDIRECT | MODERN, 64);
    for_both(run_any_layout, VRING_F_INDIRECT | F_MERGEABLE, 64);
}

/* Buffers and headers that begin in one region and end in the next. */
static void
run_two_regions(struct guest *g)
{
    for (uint32_t before = 1; before < 40; before++) {
        uint32_t lens[2] = { 60, 50 };

        for (unsigned int n = 1; n <= 2; n++) {
            g->next_buf = regions[BUFS1].size - before;
            CHECK(guest_send(g, before, lens, n, false) >= 0);
            vring_driver_publish(g->drv);
            check_take(g, before, (n == 1 ? 60 : 110) - g->hdr_len);
            g->next_buf = regions[BUFS1].size - before;
            CHECK(guest_post(g, lens, n, false) >= 0);
            vring_driver_publish(g->drv);
            CHECK(guest_push_one(g, before, 30) == VPCI_PKT_SENT);
            check_received(g, before, 30);
        }
    }
}

/* Every descriptor of the longest chain crosses from region to region. */
static void
run_many_crossings(struct guest *g)
{
    struct vring_driver_buf bufs[16];
    struct vpci_pkt pkts[VPCI_VRING_BURST];

    for (unsigned int i = 0; i < 16; i++) {
        bufs[i] = (struct vring_driver_buf) { BUFS_MIDDLE - 3, 6, false };
    }
    CHECK(vring_driver_add(g->drv, bufs, 16, false, NULL) >= 0);
    vring_driver_publish(g->drv);
    CHECK(vpci_vring_peek(g->vr, pkts, 32) == 1);
    CHECK(pkts[0].len == 16 * 6 - g->hdr_len);
    CHECK(pkts[0].n_iov == 2 * (16 - g->hdr_len / 6) || g->hdr_len % 6);
    vpci_vring_release(g->vr, 1);
}

/* An indirect table that begins in one region and ends in the next, at any
 * alignment. */
static void
run_table_in_two_regions(struct guest *g)
{
    for (uint32_t before = 1; before < 50; before++) {
        const uint32_t lens[] = { 5, 20, 30 };
        uint64_t addr = BUFS_MIDDLE - before;

        g->next_buf = 0;
        CHECK(guest_send(g, before, lens, 3, true) >= 0);
        for (uint32_t i = 0; i < 3 * 16; i++) {
            *guest_byte(g, addr + i) = ((uint8_t *) g->drv->last_first)[i];
        }
        g->drv->last_head->addr = addr;
        vring_driver_publish(g->drv);
        check_take(g, before, 55 - g->hdr_len);
    }
}

static void
test_regions(void)
{
    for_both(run_two_regions, 0, 16);
    for_both(run_two_regions, F_MERGEABLE, 16);
    for_both(run_many_crossings, 0, 16);
    for_both(run_table_in_two_regions, VRING_F_INDIRECT, 16);
}

static void
run_large_frames(struct guest *g)
{
    static const uint32_t sizes[] = { 65535, 65536, 65549, 70000 };
    uint32_t lens[32];

    for (int i = 0; i < 4; i++) {
        uint32_t len = sizes[i];

        lens[0] = len + g->hdr_len;
        CHECK(guest_send(g, i, lens, 1, false) >= 0);
        vring_driver_publish(g->drv);
        check_take(g, i, len);
        for (int j = 0; j < 18; j++) {
            lens[j] = 4096;
        }
        if (g->features & F_MERGEABLE) {
            for (int j = 0; j < 18; j++) {
                CHECK(guest_post(g, lens, 1, false) >= 0);
            }
        } else {
            CHECK(guest_post(g, lens, 18, false) >= 0);
        }
        vring_driver_publish(g->drv);
        CHECK(guest_push_one(g, i, len) == VPCI_PKT_SENT);
        CHECK(check_received(g, i, len)
              == (g->features & F_MERGEABLE
                  ? (len + g->hdr_len + 4095) / 4096 : 1));
        vring_driver_reset(g->drv, g->dcfg.start_idx, true);
        vpci_vring_stop(g->vr, NULL);
        guest_start(g);
    }
}

static void
test_large_frames(void)
{
    for_both(run_large_frames, MODERN, 32);
    for_both(run_large_frames, MODERN | F_MERGEABLE, 32);
}

/* Too few, too small
 * ================== */

static void
run_too_small(struct guest *g)
{
    const uint32_t lens[] = { 100, 101, 5, 3000, 20 };
    uint8_t fates[5];

    for (int i = 0; i < 3; i++) {
        CHECK(guest_post_one(g, g->hdr_len + 100) >= 0);
    }
    vring_driver_publish(g->drv);
    CHECK(guest_push(g, 1, lens, 5, fates) == 5);
    CHECK(fates[0] == VPCI_PKT_SENT && fates[1] == VPCI_PKT_TOO_BIG
          && fates[2] == VPCI_PKT_SENT && fates[3] == VPCI_PKT_TOO_BIG
          && fates[4] == VPCI_PKT_SENT);
    check_received(g, 1, 100);
    check_received(g, 3, 5);
    check_received(g, 5, 20);
    CHECK(guest_push_one(g, 9, 1) == VPCI_PKT_WAITING);
    CHECK(!g->n_faults);
}

static void
test_too_small_buffers(void)
{
    for_both(run_too_small, MODERN, 4);
    for_both(run_too_small, 0, 4);
}

static void
run_mergeable_waits(struct guest *g)
{
    const uint32_t lens[] = { 88, 300, 10 };
    uint8_t fates[3];

    for (int i = 0; i < 3; i++) {
        CHECK(guest_post_one(g, 100) >= 0);
    }
    vring_driver_publish(g->drv);

    /* What came before goes out, what comes after does not overtake. */
    CHECK(guest_push(g, 1, lens, 3, fates) == 1);
    check_received(g, 1, 88);
    for (int i = 0; i < 3; i++) {
        CHECK(guest_push_one(g, 2, 300) == VPCI_PKT_WAITING);
        CHECK(!vring_driver_has_used(g->drv));
    }
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 2, 300) == VPCI_PKT_WAITING);
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 2, 300) == VPCI_PKT_SENT);
    CHECK(check_received(g, 2, 300) == 4);

    /* A frame that fits goes out although a larger one waited. */
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 3, 300) == VPCI_PKT_WAITING);
    CHECK(guest_push_one(g, 4, 88) == VPCI_PKT_SENT);
    check_received(g, 4, 88);
}

static void
run_mergeable_never_fits(struct guest *g)
{
    uint32_t lens[] = { 800, 500, 20 };
    const uint32_t pieces[] = { 50, 20, 30 };
    uint8_t fates[3];

    /* Seven buffers of 100 bytes: only the eighth makes the ring full. */
    for (int i = 0; i < 7; i++) {
        CHECK(guest_post_one(g, 100) >= 0);
    }
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 1, 789) == VPCI_PKT_WAITING);
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 1, 789) == VPCI_PKT_TOO_BIG);
    CHECK(guest_push(g, 2, lens, 3, fates) == 3);
    CHECK(fates[0] == VPCI_PKT_TOO_BIG && fates[1] == VPCI_PKT_SENT
          && fates[2] == VPCI_PKT_SENT);
    CHECK(check_received(g, 3, 500) == 6);
    CHECK(check_received(g, 4, 20) == 1);

    /* A frame that fits waits for the buffers of the one before. */
    while (guest_post_one(g, 100) >= 0) {
        continue;
    }
    vring_driver_publish(g->drv);
    lens[0] = 20;
    lens[1] = 788;
    CHECK(guest_push(g, 5, lens, 2, fates) == 1);
    check_received(g, 5, 20);
    CHECK(guest_push_one(g, 6, 788) == VPCI_PKT_WAITING);
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 6, 788) == VPCI_PKT_SENT);
    check_received(g, 6, 788);

    /* Chains of three descriptors: two of eight are left over. */
    CHECK(vring_driver_n_in_flight(g->drv) == 0);
    CHECK(guest_post(g, pieces, 3, false) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 6, 200) == VPCI_PKT_WAITING);
    CHECK(guest_post(g, pieces, 3, false) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 6, 189) == VPCI_PKT_TOO_BIG);
    CHECK(guest_push_one(g, 6, 188) == VPCI_PKT_SENT);
    CHECK(check_received(g, 6, 188) == 2);
}

static void
test_mergeable_room(void)
{
    for_both(run_mergeable_waits, F_MERGEABLE, 16);
    for_both(run_mergeable_never_fits, F_MERGEABLE, 8);
    for_both(run_mergeable_never_fits, F_MERGEABLE | VRING_F_IN_ORDER, 8);
}

/* Stop and start
 * ============== */

static void
restart(struct guest *g)
{
    struct vpci_vring_base untouched = { 7, 7, true, false };

    vpci_vring_stop(g->vr, &g->cfg.base);
    CHECK(!vpci_vring_is_running(g->vr));
    vpci_vring_stop(g->vr, &untouched);
    CHECK(untouched.avail_idx == 7 && untouched.used_idx == 7);
    vpci_vring_destroy(g->vr);
    g->vr = vpci_vring_create();
    CHECK(g->vr);

    /* The driver can scribble over what we wrote: it is not read back. */
    if (!(g->features & VRING_F_PACKED)) {
        g->drv->used->idx ^= 0x5555;
    }
    guest_start(g);
    if (!(g->features & VRING_F_PACKED)) {
        g->drv->used->idx ^= 0x5555;
    }
}

static void
run_stop_start(struct guest *g)
{
    struct vring_driver_reaped reaped;
    uint32_t sent = 0, taken = 0;

    for (int round = 0; round < 60; round++) {
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        uint32_t len = g->hdr_len + 30;
        unsigned int n, m;

        while (sent - taken < 10) {
            CHECK(guest_send(g, sent++, &len, 1, false) >= 0);
        }
        vring_driver_publish(g->drv);
        n = vpci_vring_peek(g->vr, pkts, 8);
        CHECK(n == 8);
        for (unsigned int i = 0; i < n; i++) {
            check_peeked(&pkts[i], taken + i, 30);
        }
        if (round % 3 == 0) {
            /* Not released: shown again. */
            CHECK(vpci_vring_peek(g->vr, pkts, 3) == 3);
            check_peeked(&pkts[0], taken, 30);
            n = 3;
        }
        m = random_below(n + 1);
        vpci_vring_release(g->vr, m);
        if (round % 2) {
            restart(g);
            vpci_vring_release(g->vr, 5);  /* Nothing is peeked at. */
        }
        for (unsigned int i = 0; i < m; i++) {
            CHECK(vring_driver_reap(g->drv, &reaped, 1) == 1);
        }
        CHECK(!vring_driver_reap(g->drv, &reaped, 1));
        taken += m;
    }
    CHECK(!g->drv->error && !g->n_faults);
}

static void
run_stop_start_to_driver(struct guest *g)
{
    for (uint32_t i = 0; i < 100; i++) {
        while (guest_post_one(g, 64) >= 0) {
            continue;
        }
        vring_driver_publish(g->drv);
        CHECK(guest_push_one(g, i, 30 + i) == VPCI_PKT_SENT);
        restart(g);
        check_received(g, i, 30 + i);
    }
}

static void
test_stop_start(void)
{
    for_both(run_stop_start, MODERN, 16);
    for_both(run_stop_start, MODERN | VRING_F_IN_ORDER, 16);
    for_both(run_stop_start_to_driver, F_MERGEABLE, 16);
}

static void
test_packed_is_fresh(void)
{
    struct guest g;
    uint32_t len = 40;

    guest_init(&g, MODERN | VRING_F_PACKED, 4, 0, true);
    for (int lap = 0; lap < 4; lap++) {
        bool fresh = lap % 2 == 0;

        CHECK(vpci_vring_packed_is_fresh(g.cfg.desc) == fresh);
        CHECK(guest_send(&g, lap, &len, 1, false) >= 0);
        vring_driver_publish(g.drv);
        CHECK(vpci_vring_packed_is_fresh(g.cfg.desc) == fresh);
        for (int i = 0; i < 4; i++) {
            check_take(&g, lap, 28);
            if (i < 3) {
                CHECK(guest_send(&g, lap, &len, 1, false) >= 0);
                vring_driver_publish(g.drv);
            }
        }
    }
    guest_destroy(&g);
}

static void
run_start_checks(struct guest *g)
{
    bool packed = g->features & VRING_F_PACKED;
    const struct vpci_vring_config good = g->cfg;
    struct vpci_memory none = { .n_regions = 0 };

#define START_WITH(CHANGE, ERROR) do {                  \
        g->cfg = good;                                  \
        CHANGE;                                         \
        CHECK(vpci_vring_start(g->vr, &g->cfg) == ERROR); \
        CHECK(!vpci_vring_is_running(g->vr));           \
    } while (0)

    CHECK(vpci_vring_start(g->vr, &good) == EINVAL);
    vpci_vring_stop(g->vr, NULL);
    START_WITH(g->cfg.size = 0, EINVAL);
    START_WITH(g->cfg.size = 32769, EINVAL);
    if (packed) {
        START_WITH(g->cfg.base.avail_idx = 16, EINVAL);
        START_WITH(g->cfg.base.used_idx = 16, EINVAL);
    } else {
        START_WITH(g->cfg.size = 24, EINVAL);
    }
    START_WITH(g->cfg.desc = (uint8_t *) good.desc + 8, EINVAL);
    START_WITH(g->cfg.driver = (uint8_t *) good.driver + 1, EINVAL);
    START_WITH(g->cfg.device = (uint8_t *) good.device + 2, EINVAL);
    START_WITH(g->cfg.desc = g->host[RINGS] - 16, EFAULT);
    START_WITH(g->cfg.desc = (g->host[RINGS] + regions[RINGS].size
                              - 16 * 16 + 16), EFAULT);
    START_WITH(g->cfg.driver = g->host[RINGS] + regions[RINGS].size, EFAULT);
    START_WITH(g->cfg.device = g->host[RINGS] + regions[RINGS].size, EFAULT);
    if (!packed) {
        /* One byte of the last word is missing. */
        START_WITH(g->cfg.device = (g->host[RINGS] + regions[RINGS].size
                                    - (4 + 16 * 8)), EFAULT);
        START_WITH(g->cfg.driver = (g->host[RINGS] + regions[RINGS].size
                                    - (4 + 16 * 2)), EFAULT);
    }
    START_WITH(g->cfg.desc = NULL, EFAULT);
    START_WITH(g->cfg.mem = &none, EFAULT);
#undef START_WITH

    g->cfg = good;
    guest_start(g);
}

static void
test_start_checks(void)
{
    for_both(run_start_checks, MODERN | VRING_F_EVENT_IDX, 16);
}

static void
test_memory(void)
{
    struct vpci_memory mem = { .n_regions = 0 };
    uint8_t host[256];
    uint64_t len;

    CHECK(vpci_memory_add(&mem, 0x1000, 0, host) == EINVAL);
    CHECK(vpci_memory_add(&mem, UINT64_MAX - 5, 7, host) == EINVAL);
    CHECK(vpci_memory_add(&mem, 0x1000, UINT64_MAX, host) == EINVAL);
    CHECK(!vpci_memory_add(&mem, UINT64_MAX - 5, 6, host));
    CHECK(!vpci_memory_add(&mem, 0x1000, 16, host + 16));
    CHECK(vpci_memory_add(&mem, 0x0fff, 2, host) == EINVAL);
    CHECK(vpci_memory_add(&mem, 0x0fff, 200, host) == EINVAL);
    CHECK(vpci_memory_add(&mem, 0x1004, 2, host) == EINVAL);
    CHECK(vpci_memory_add(&mem, 0x100f, 2, host) == EINVAL);
    CHECK(!vpci_memory_add(&mem, 0x1010, 2, host + 100));
    CHECK(!vpci_memory_add(&mem, 0x0fff, 1, host + 200));

    len = 100;
    CHECK(vpci_memory_map(&mem, 0x1004, &len) == host + 20 && len == 12);
    len = 3;
    CHECK(vpci_memory_map(&mem, 0x1004, &len) == host + 20 && len == 3);
    len = 3;
    CHECK(!vpci_memory_map(&mem, 0x1012, &len) && !len);
    len = 3;
    CHECK(!vpci_memory_map(&mem, 0x0ffe, &len) && !len);

    CHECK(vpci_memory_contains(&mem, host + 16, 16));
    CHECK(!vpci_memory_contains(&mem, host + 16, 17));
    CHECK(!vpci_memory_contains(&mem, host + 15, 2));
    CHECK(!vpci_memory_contains(&mem, host + 20, UINT64_MAX));

    for (uint64_t i = mem.n_regions; i < VPCI_MEMORY_MAX_REGIONS; i++) {
        CHECK(!vpci_memory_add(&mem, 0x10000 * i, 1, host));
    }
    CHECK(vpci_memory_add(&mem, 0x5000, 1, host) == ENOSPC);
}

/* Drivers that break the rules
 * ============================ */

/* Sets the flags of the first descriptor added last (in its table, if there is
 * one) to what they were with 'set' and without 'clear'. */
static void
spoil_flags(struct guest *g, struct vring_driver_desc *d, uint16_t set,
            uint16_t clear)
{
    uint16_t *flags = (d == g->drv->pending_head ? &g->drv->pending_flags
                       : g->drv->packed ? &d->tail.packed_flags
                       : &d->tail.flags);

    *flags = (*flags & ~clear) | set;
}

/* What is wrong.  Each gets a chain of two buffers, of 20 and 80 bytes. */
enum wrong {
    ADDRESS_NOWHERE, ADDRESS_BEFORE, ADDRESS_BEYOND, ADDRESS_WRAPS,
    ADDRESS_TABLE, ADDRESS_TABLE_END, ADDRESS_TABLE_WRAPS,
    LOOP_RING, LOOP_TABLE, LOOP_LONG_TABLE,
    SHORT_ONE, SHORT_SUM,
    ZERO_FIRST, ZERO_TABLE,
    INDEX_AHEAD, INDEX_BACK,
    HEAD_AVAIL, HEAD_NEXT, HEAD_TABLE,
    DIRECTION_FIRST, DIRECTION_SECOND, DIRECTION_TABLE,
    INDIRECT_NESTED, INDIRECT_CHAINED, INDIRECT_EMPTY, INDIRECT_UNALIGNED,
    INDIRECT_REFUSED, INDIRECT_SECOND,
    LENGTH_SUM,
    N_WRONGS
};

static bool
wrong_in_table(enum wrong wrong)
{
    return ((wrong >= ADDRESS_TABLE && wrong <= ADDRESS_TABLE_WRAPS)
            || wrong == LOOP_TABLE || wrong == LOOP_LONG_TABLE
            || wrong == ZERO_TABLE || wrong == HEAD_TABLE
            || wrong == DIRECTION_TABLE
            || (wrong >= INDIRECT_NESTED && wrong <= INDIRECT_REFUSED));
}

static bool
wrong_is_split_only(enum wrong wrong)
{
    return wrong == LOOP_TABLE || (wrong >= INDEX_AHEAD
                                   && wrong <= HEAD_TABLE);
}

/* Spoils the chain that was added last.  Returns the fault that is due. */
static enum vpci_fault_kind
spoil(struct guest *g, enum wrong wrong, bool writable)
{
    uint64_t buf_end = BUFS_ADDR + BUFS_SIZE;
    struct vring_driver *drv = g->drv;
    struct vring_driver_desc *first = drv->last_first;
    struct vring_driver_desc *head = drv->last_head;
    struct vring_driver_desc *second
        = (wrong_in_table(wrong) ? first + 1
           : drv->packed ? &drv->desc[(head - drv->desc + 1) % drv->size]
           : &drv->desc[head->tail.next]);

    switch (wrong) {
    case ADDRESS_NOWHERE:
        first->addr = 0xdead00000000;
        return VPCI_FAULT_ADDRESS;
    case ADDRESS_BEFORE:
        first->addr = BUFS_ADDR - 1;
        return VPCI_FAULT_ADDRESS;
    case ADDRESS_BEYOND:
        first->addr = buf_end - 19;
        return VPCI_FAULT_ADDRESS;
    case ADDRESS_WRAPS:
        first->addr = UINT64_MAX - 5;
        return VPCI_FAULT_ADDRESS;
    case ADDRESS_TABLE:
        head->addr = 0xdead00000000;
        return VPCI_FAULT_ADDRESS;
    case ADDRESS_TABLE_END:
        memcpy(guest_byte(g, buf_end - 31), first, 31);
        head->addr = buf_end - 31;
        return VPCI_FAULT_ADDRESS;
    case ADDRESS_TABLE_WRAPS:
        head->addr = UINT64_MAX - 16;
        return VPCI_FAULT_ADDRESS;

    case LOOP_RING:
        /* In a packed ring, a chain that goes on up to the good one. */
        spoil_flags(g, second, VRING_DESC_NEXT, 0);
        if (drv->packed) {
            for (int i = 2; i < drv->size - 2; i++) {
                drv->desc[(head - drv->desc + i) % drv->size] = *second;
            }
        } else {
            second->tail.next = first - drv->desc;
        }
        return VPCI_FAULT_LOOP;
    case LOOP_TABLE:
        spoil_flags(g, second, VRING_DESC_NEXT, 0);
        second->tail.next = 0;
        return VPCI_FAULT_LOOP;
    case LOOP_LONG_TABLE:
        for (int i = 1; i < 1025; i++) {
            first[i] = first[0];
            first[i].tail.next = i + 1;
        }
        head->len = 1025 * 16;
        return VPCI_FAULT_LOOP;

    case SHORT_ONE:
        spoil_flags(g, first, 0, VRING_DESC_NEXT);
        first->len = g->hdr_len - 1;
        first->tail.id = drv->packed ? 0 : first->tail.id;
        return VPCI_FAULT_SHORT;
    case SHORT_SUM:
        first->len = 5;
        second->len = g->hdr_len - 6;
        return VPCI_FAULT_SHORT;

    case ZERO_FIRST:
    case ZERO_TABLE:
        first->len = 0;
        return VPCI_FAULT_ZERO;

    case INDEX_AHEAD:
        drv->avail_pos += drv->size;
        return VPCI_FAULT_INDEX;
    case INDEX_BACK:
        drv->avail_pos -= 3;
        return VPCI_FAULT_INDEX;
    case HEAD_AVAIL:
        drv->avail->ring[(drv->avail_pos - 1) & (drv->size - 1)] = drv->size;
        return VPCI_FAULT_HEAD;
    case HEAD_NEXT:
        first->tail.next = drv->size;
        return VPCI_FAULT_HEAD;
    case HEAD_TABLE:
        first->tail.next = 2;
        return VPCI_FAULT_HEAD;

    case DIRECTION_FIRST:
    case DIRECTION_TABLE:
        spoil_flags(g, first, writable ? 0 : VRING_DESC_WRITE,
                    writable ? VRING_DESC_WRITE : 0);
        return VPCI_FAULT_DIRECTION;
    case DIRECTION_SECOND:
        spoil_flags(g, second, writable ? 0 : VRING_DESC_WRITE,
                    writable ? VRING_DESC_WRITE : 0);
        return VPCI_FAULT_DIRECTION;

    case INDIRECT_NESTED:
        spoil_flags(g, second, VRING_DESC_INDIRECT, 0);
        return VPCI_FAULT_INDIRECT;
    case INDIRECT_CHAINED:
        spoil_flags(g, head, VRING_DESC_NEXT, 0);
        return VPCI_FAULT_INDIRECT;
    case INDIRECT_EMPTY:
        head->len = 0;
        return VPCI_FAULT_INDIRECT;
    case INDIRECT_UNALIGNED:
        head->len = 33;
        return VPCI_FAULT_INDIRECT;
    case INDIRECT_REFUSED:
        return VPCI_FAULT_INDIRECT;
    case INDIRECT_SECOND:
        /* Split rings may end a direct chain in a table; then what lies in
         * the table is nonsense. */
        spoil_flags(g, second, VRING_DESC_INDIRECT, 0);
        if (drv->packed) {
            struct vring_driver_desc *table = drv->indirect;

            table[0] = *second;
            table[0].tail.packed_flags = writable ? VRING_DESC_WRITE : 0;
            second->addr = drv->indirect_addr;
            second->len = sizeof *table;
        } else {
            second->len = 40;
        }
        return VPCI_FAULT_INDIRECT;

    case LENGTH_SUM:
        first->addr = second->addr = UINT64_C(1) << 40;
        first->len = second->len = UINT32_C(3) << 30;
        return VPCI_FAULT_LENGTH;
    case N_WRONGS:
    default:
        abort();
    }
}

/* Adds a good chain for the frame 'seed'. */
static void
add_good(struct guest *g, uint32_t seed, bool writable)
{
    const uint32_t lens[] = { 20, 80 };

    CHECK((writable ? guest_post(g, lens, 2, false)
           : guest_send(g, seed, lens, 2, false)) >= 0);
}

/* Uses up to 'n' good chains.  Returns the number that was there. */
static unsigned int
use_good(struct guest *g, uint32_t seed, unsigned int n, bool writable)
{
    uint32_t lens[] = { 10, 10, 10 };
    struct vpci_pkt pkts[3];
    uint8_t fates[3];

    if (writable) {
        return guest_push(g, seed, lens, n, fates);
    }
    n = vpci_vring_peek(g->vr, pkts, n);
    vpci_vring_release(g->vr, n);
    return n;
}

static void
run_malformed(uint64_t features, enum wrong wrong, bool writable)
{
    bool in_table = wrong_in_table(wrong);
    const uint32_t lens[] = { 20, 80 };
    struct vring_driver_reaped reaped;
    enum vpci_fault_kind kind;
    char text[256];
    struct guest g;
    void *huge;

    if (wrong != INDIRECT_REFUSED) {
        features |= VRING_F_INDIRECT;
    }
    guest_init_stopped(&g, features, 16, 13, true);
    snprintf(combination + strlen(combination),
             sizeof combination - strlen(combination), " case %d%s", wrong,
             writable ? " writable" : "");
    huge = mmap(NULL, UINT64_C(4) << 30, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(huge != MAP_FAILED);
    CHECK(!vpci_memory_add(&g.mem, UINT64_C(1) << 40, UINT64_C(4) << 30,
                           huge));

    /* What goes beyond the last address does not go on at the first one. */
    CHECK(!vpci_memory_add(&g.mem, UINT64_MAX - 63, 64, g.host[BUFS1]));
    CHECK(!vpci_memory_add(&g.mem, 0, 64, g.host[BUFS1] + 64));
    guest_start(&g);

    /* What is good before it is used, what comes after is not. */
    add_good(&g, 1, writable);
    CHECK((writable ? guest_post(&g, lens, 2, in_table)
           : guest_send(&g, 2, lens, 2, in_table)) >= 0);
    kind = spoil(&g, wrong, writable);
    vring_driver_publish(g.drv);
    if (kind == VPCI_FAULT_INDEX) {
        CHECK(use_good(&g, 1, 3, writable) == 0);
    } else {
        CHECK(use_good(&g, 1, 3, writable) == 1);
        CHECK(vring_driver_reap(g.drv, &reaped, 1) == 1);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(use_good(&g, 2, 3, writable) == 0);
        CHECK(g.n_faults == 1);
        CHECK(g.fault.kind == kind && g.fault.ring == 5);
        CHECK(vpci_vring_fault(g.vr) == kind);
    }
    if (wrong == ZERO_FIRST) {
        /* A driver that mends its ring does not heal it. */
        g.drv->last_first->len = 20;
        CHECK(use_good(&g, 2, 3, writable) == 0);
    }
    CHECK(strlen(vpci_fault_format(&g.fault, text, sizeof text)) > 20);
    CHECK(strstr(text, vpci_fault_to_string(kind)));
    CHECK(strlen(vpci_fault_format(&g.fault, text, 8)) == 7);

    /* A new start heals it. */
    vpci_vring_stop(g.vr, NULL);
    CHECK(vpci_vring_fault(g.vr) == kind);
    vring_driver_reset(g.drv, 13, true);
    guest_start(&g);
    CHECK(vpci_vring_fault(g.vr) == VPCI_FAULT_NONE);
    add_good(&g, 3, writable);
    vring_driver_publish(g.drv);
    CHECK(use_good(&g, 3, 1, writable) == 1);
    CHECK(vring_driver_reap(g.drv, &reaped, 1) == 1);
    CHECK(g.n_faults == 1);
    guest_destroy(&g);
    munmap(huge, UINT64_C(4) << 30);
}

static void
test_malformed(void)
{
    for (enum wrong wrong = 0; wrong < N_WRONGS; wrong++) {
        for (int writable = 0; writable < 2; writable++) {
            run_malformed(0, wrong, writable);
            run_malformed(MODERN | F_MERGEABLE, wrong, writable);
            if (!wrong_is_split_only(wrong)) {
                run_malformed(MODERN | VRING_F_PACKED, wrong, writable);
            }
        }
    }
}

/* What only looks wrong
 * ===================== */

static void
run_odd_but_legal(struct guest *g)
{
    const uint32_t lens[] = { 20, 30, 40 };
    struct vring_driver_desc *table;

    /* WRITE means nothing in the descriptor of a table. */
    CHECK(guest_send(g, 1, lens, 3, true) >= 0);
    spoil_flags(g, g->drv->last_head, VRING_DESC_WRITE, 0);
    vring_driver_publish(g->drv);
    check_take(g, 1, 90 - g->hdr_len);

    CHECK(guest_send(g, 2, lens, 3, true) >= 0);
    table = g->drv->last_first;
    if (g->drv->packed) {
        /* NEXT means nothing inside a table. */
        spoil_flags(g, &table[0], VRING_DESC_NEXT, 0);
        spoil_flags(g, &table[2], VRING_DESC_NEXT, 0);
    } else {
        /* A table's chain may go anywhere in the table. */
        struct vring_driver_desc second = table[1];

        table[7] = second;
        table[1].len = 0;
        table[0].tail.next = 7;
        g->drv->last_head->len = 8 * 16;
    }
    vring_driver_publish(g->drv);
    check_take(g, 2, 90 - g->hdr_len);

    /* A direct descriptor, then a table. */
    if (!g->drv->packed) {
        struct vring_driver_desc *d;

        CHECK(guest_send(g, 3, lens, 3, false) >= 0);
        d = g->drv->last_head;
        table = (void *) g->host[TABLES];
        table[0] = g->drv->desc[d->tail.next];
        table[1] = g->drv->desc[table[0].tail.next];
        table[0].tail.next = 1;
        d = &g->drv->desc[d->tail.next];
        d->addr = regions[TABLES].addr;
        d->len = 32;
        d->tail.flags = VRING_DESC_INDIRECT;
        vring_driver_publish(g->drv);
        check_take(g, 3, 90 - g->hdr_len);
    }
    CHECK(!g->n_faults);
}

static void
test_odd_but_legal(void)
{
    for_both(run_odd_but_legal, VRING_F_INDIRECT, 16);
}

/* Notifications
 * ============= */

static unsigned int
count_calls(struct guest *g)
{
    uint64_t n;

    return read(g->call_fd, &n, sizeof n) == sizeof n ? n : 0;
}

/* Sends, takes and gives back 'n' frames. */
static void
move_frames(struct guest *g, unsigned int n)
{
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    uint32_t len = g->hdr_len + 10;

    for (unsigned int i = 0; i < n; i++) {
        CHECK(guest_send(g, i, &len, 1, false) >= 0);
    }
    vring_driver_publish(g->drv);
    CHECK(vpci_vring_peek(g->vr, pkts, n) == n);
    vpci_vring_release(g->vr, n);
}

static void
reap_all(struct guest *g)
{
    struct vring_driver_reaped reaped;

    while (vring_driver_reap(g->drv, &reaped, 1)) {
        continue;
    }
}

static void
run_suppression(struct guest *g)
{
    bool event_idx = g->features & VRING_F_EVENT_IDX;
    struct vpci_vring_state state;
    unsigned int n_calls = 0;

    CHECK(!vpci_vring_notify(g->vr));
    for (int round = 0; round < 200; round++) {
        unsigned int want = event_idx ? 1 + random_below(6) : 1;
        unsigned int used = 0;

        vring_driver_disable_interrupts(g->drv);
        move_frames(g, 3);
        CHECK(!vpci_vring_notify(g->vr));
        CHECK(!count_calls(g));
        reap_all(g);

        /* One call, for the buffer that was asked for. */
        CHECK(!vring_driver_enable_interrupts(g->drv, want));
        while (used < want) {
            unsigned int n = 1 + random_below(3);

            move_frames(g, n);
            used += n;
            CHECK(vpci_vring_notify(g->vr) == (used >= want));
            CHECK(!vpci_vring_notify(g->vr));
        }
        CHECK(count_calls(g) == 1);
        n_calls++;
        move_frames(g, 1);
        if (event_idx) {
            CHECK(!vpci_vring_notify(g->vr));
        } else {
            CHECK(vpci_vring_notify(g->vr) && count_calls(g) == 1);
            n_calls++;
        }
        reap_all(g);
    }
    vpci_vring_get_state(g->vr, &state);
    CHECK(state.n_notifies == n_calls);

    /* A stop does not lose one, and without a doorbell there is none. */
    CHECK(!vring_driver_enable_interrupts(g->drv, 1));
    move_frames(g, 1);
    vpci_vring_stop(g->vr, &g->cfg.base);
    CHECK(count_calls(g) == 1);
    reap_all(g);
    g->cfg.call_fd = -1;
    guest_start(g);
    CHECK(!vring_driver_enable_interrupts(g->drv, 1));
    move_frames(g, 1);
    CHECK(!vpci_vring_notify(g->vr));
    reap_all(g);
}

/* So many buffers are given back without a call that the index is back short
 * of where the driver waits for it: the driver must be woken. */
static void
run_all_the_way_round(struct guest *g)
{
    uint32_t laps = g->drv->packed ? 2 * 16 : 65536;

    CHECK(!vring_driver_enable_interrupts(g->drv, 5));
    for (uint32_t i = 0; i < laps; i += 8) {
        move_frames(g, 8);
        reap_all(g);
    }
    move_frames(g, 2);
    CHECK(vpci_vring_notify(g->vr));
}

static void
test_suppression(void)
{
    for_both(run_suppression, MODERN, 16);
    for_both(run_suppression, MODERN | VRING_F_IN_ORDER, 16);
    for_both(run_suppression, VRING_F_EVENT_IDX | MODERN, 16);
    for_both(run_suppression, VRING_F_EVENT_IDX | VRING_F_IN_ORDER | MODERN,
             16);
    for_both(run_suppression, VRING_F_EVENT_IDX | MODERN, 32768);
    for_both(run_all_the_way_round, VRING_F_EVENT_IDX | MODERN, 16);
}

/* A polled ring asks for no kicks: with an event index of a split ring, for
 * one in 65,536. */
static void
run_no_kicks(struct guest *g)
{
    unsigned int n_kicks = 0;

    for (uint32_t i = 0; i < 70000; i++) {
        uint32_t len = 40;

        CHECK(guest_send(g, i, &len, 1, false) >= 0);
        vring_driver_publish(g->drv);
        n_kicks += vring_driver_needs_kick(g->drv);
        check_take(g, i, 40 - g->hdr_len);
    }
    CHECK(n_kicks <= (!g->drv->packed && g->features & VRING_F_EVENT_IDX));
}

static void
test_no_kicks(void)
{
    for_both(run_no_kicks, MODERN, 16);
    for_both(run_no_kicks, MODERN | VRING_F_EVENT_IDX, 16);
}

static void
run_state(struct guest *g)
{
    struct vpci_vring_state state;

    move_frames(g, 5);
    reap_all(g);
    vpci_vring_get_state(g->vr, &state);
    CHECK(state.running && state.packed == g->drv->packed);
    CHECK(state.size == 16 && state.fault == VPCI_FAULT_NONE);
    CHECK(state.n_bufs == 5);
    if (g->drv->packed) {
        CHECK(state.base.avail_idx == 4 && state.base.used_idx == 4);
        CHECK(!state.base.avail_wrap && !state.base.used_wrap);
    } else {
        CHECK(state.base.avail_idx == 3 && state.base.used_idx == 3);
        CHECK(state.driver_idx == 3);
    }
    vpci_vring_stop(g->vr, NULL);
    vpci_vring_get_state(g->vr, &state);
    CHECK(!state.running);
}

static void
test_state(void)
{
    for_both(run_state, MODERN, 16);
}

/* Dirty pages
 * =========== */

static void
guest_log(void *g_, uint64_t addr, uint64_t len)
{
    struct guest *g = g_;

    CHECK(len);
    for (int i = 0; i < N_REGIONS; i++) {
        uint64_t ofs = addr - regions[i].addr;

        if (ofs < regions[i].size) {
            CHECK(len <= regions[i].size - ofs);
            memset(g->logged[i] + ofs, 1, len);
            return;
        }
    }
    CHECK(!"logged address is in guest memory");
}

/* Every byte that the engine changes is logged, and no buffer that it did not
 * write to. */
static void
run_log(uint64_t features)
{
    uint8_t *before[N_REGIONS];
    uint32_t lens[MAX_PIECES];
    struct vpci_pkt pkts[8];
    struct guest g;

    guest_init_stopped(&g, features, 8, features & VRING_F_PACKED ? 6 : 0xfffe,
                       true);
    g.cfg.log = guest_log;
    g.cfg.log_aux = &g;
    for (int i = 0; i < N_REGIONS; i++) {
        memset(g.host[i], i == RINGS ? 0 : 0xee, regions[i].size);
        g.logged[i] = calloc(1, regions[i].size);
        before[i] = malloc(regions[i].size);
        CHECK(g.logged[i] && before[i]);
    }
    vring_driver_reset(g.drv, g.dcfg.start_idx, true);
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < N_REGIONS; i++) {
            memset(g.logged[i], 0, regions[i].size);
        }
        g.next_buf = regions[BUFS1].size - 100;
        for (int i = 0; i < 5; i++) {
            unsigned int n = random_pieces(300, 12, 1, lens);

            if (round % 2) {
                CHECK(guest_send(&g, i, lens, n, false) >= 0);
            } else {
                CHECK(guest_post(&g, lens, n, false) >= 0);
            }
        }
        vring_driver_publish(g.drv);
        for (int i = 0; i < N_REGIONS; i++) {
            memcpy(before[i], g.host[i], regions[i].size);
        }
        if (!round) {
            guest_start(&g);
        }
        if (round % 2) {
            CHECK(vpci_vring_peek(g.vr, pkts, 8) == 5);
            vpci_vring_release(g.vr, 2);
            vpci_vring_release(g.vr, 3);
        } else {
            uint32_t frames[] = { 60, 500, 70 };
            uint8_t fates[3];

            CHECK(guest_push(&g, 0, frames, 3, fates) == 3);
            if (!(features & F_MERGEABLE)) {
                CHECK(fates[1] == VPCI_PKT_TOO_BIG);
                CHECK(guest_push(&g, 0, frames, 1, fates) == 1);
                CHECK(guest_push(&g, 0, frames, 1, fates) == 1);
                CHECK(guest_push(&g, 0, frames, 1, fates) == 1);
            } else {
                CHECK(guest_push(&g, 0, frames, 1, fates) == 1);
            }
        }
        for (int i = 0; i < N_REGIONS; i++) {
            for (uint64_t j = 0; j < regions[i].size; j++) {
                CHECK(g.logged[i][j] || before[i][j] == g.host[i][j]);
                CHECK(!g.logged[i][j] || i == RINGS || round % 2 == 0);
            }
        }
        reap_all(&g);
        CHECK(!vring_driver_n_in_flight(g.drv));
    }
    for (int i = 0; i < N_REGIONS; i++) {
        free(before[i]);
    }
    guest_destroy(&g);
}

static void
test_dirty_log(void)
{
    static const uint64_t kinds[] = {
        0, VRING_F_PACKED | MODERN,
    };

    for (int i = 0; i < 2; i++) {
        run_log(kinds[i] | MODERN);
        run_log(kinds[i] | MODERN | F_MERGEABLE);
        run_log(kinds[i] | MODERN | VRING_F_EVENT_IDX);
        run_log(kinds[i] | MODERN | VRING_F_IN_ORDER);
    }
}

/* Two threads
 * ===========
 *
 * A thread splices frames from one ring of the guest to the other; the driver
 * sleeps whenever it has nothing to do.  A lost wake-up shows as a
 * time-out. */

#ifndef STRESS_FRAMES
#define STRESS_FRAMES 100000
#endif

struct splice {
    struct guest tx, rx;
    bool stop;
};

static void *
splice_main(void *s_)
{
    struct splice *s = s_;

    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        unsigned int n = vpci_vring_peek(s->tx.vr, pkts, VPCI_VRING_BURST);

        n = vpci_vring_push(s->rx.vr, pkts, n);
        vpci_vring_notify(s->rx.vr);
        vpci_vring_release(s->tx.vr, n);
        vpci_vring_notify(s->tx.vr);
        if (!n) {
            sched_yield();
        }
    }
    return NULL;
}

static void
sleep_for_call(struct guest *g)
{
    struct pollfd pfd = { .fd = g->call_fd, .events = POLLIN };

    CHECK(poll(&pfd, 1, 20000) == 1);
    CHECK(count_calls(g));
}

static void
run_stress(uint64_t features, uint16_t size)
{
    uint32_t sent = 0, received = 0;
    struct splice s = { .stop = false };
    uint32_t *frame_lens = calloc(STRESS_FRAMES, sizeof *frame_lens);
    pthread_t thread;

    CHECK(frame_lens);
    guest_init(&s.tx, features, size, size - 2, true);
    guest_init(&s.rx, features, size, size - 3, true);
    CHECK(!pthread_create(&thread, NULL, splice_main, &s));
    while (received < STRESS_FRAMES) {
        bool progress = false;

        reap_all(&s.tx);
        while (guest_post_one(&s.rx, 200) >= 0) {
            continue;
        }
        vring_driver_publish(s.rx.drv);
        for (unsigned int n = 1 + random_below(size); n; n--) {
            uint32_t len = random_below(120), lens[4];
            unsigned int n_pieces = random_pieces(len + s.tx.hdr_len,
                                                  s.tx.hdr_len, 3, lens);

            if (sent >= STRESS_FRAMES
                || guest_send(&s.tx, sent, lens, n_pieces, false) < 0) {
                break;
            }
            frame_lens[sent++] = len;
        }
        vring_driver_publish(s.tx.drv);
        while (vring_driver_has_used(s.rx.drv)) {
            check_received(&s.rx, received, frame_lens[received]);
            received++;
            progress = true;
        }
        if (!progress && received < sent) {
            if (!vring_driver_enable_interrupts(s.rx.drv, 1)) {
                sleep_for_call(&s.rx);
            }
            vring_driver_disable_interrupts(s.rx.drv);
            count_calls(&s.rx);
        }
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
    CHECK(!pthread_join(thread, NULL));
    CHECK(!s.tx.n_faults && !s.rx.n_faults);
    guest_destroy(&s.tx);
    guest_destroy(&s.rx);
    free(frame_lens);
}

static void
test_stress_split(void)
{
    run_stress(MODERN | VRING_F_EVENT_IDX, 16);
    run_stress(MODERN | VRING_F_EVENT_IDX | F_MERGEABLE, 256);
    run_stress(MODERN, 64);
}

static void
test_stress_packed(void)
{
    run_stress(MODERN | VRING_F_PACKED | VRING_F_EVENT_IDX, 15);
    run_stress(MODERN | VRING_F_PACKED | VRING_F_EVENT_IDX | VRING_F_IN_ORDER,
               256);
    run_stress(MODERN | VRING_F_PACKED, 64);
}

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    { "memory", test_memory },
    { "start-checks", test_start_checks },
    { "from-driver", test_from_driver },
    { "to-driver", test_to_driver },
    { "ring-to-ring", test_ring_to_ring },
    { "any-layout", test_any_layout },
    { "regions", test_regions },
    { "large-frames", test_large_frames },
    { "too-small-buffers", test_too_small_buffers },
    { "mergeable-room", test_mergeable_room },
    { "stop-start", test_stop_start },
    { "packed-is-fresh", test_packed_is_fresh },
    { "malformed", test_malformed },
    { "odd-but-legal", test_odd_but_legal },
    { "suppression", test_suppression },
    { "no-kicks", test_no_kicks },
    { "state", test_state },
    { "dirty-log", test_dirty_log },
    { "stress-split", test_stress_split },
    { "stress-packed", test_stress_packed },
};
#define N_TESTS (sizeof tests / sizeof *tests)

static bool
run_test(const char *name)
{
    bool found = false;

    for (size_t i = 0; i < N_TESTS; i++) {
        if (!name || !strcmp(name, tests[i].name)) {
            printf("%s: ", tests[i].name);
            fflush(stdout);
            combination[0] = '\0';
            tests[i].run();
            printf("ok\n");
            found = true;
        }
    }
    return found;
}

int
main(int argc, char *argv[])
{
    if (argc == 2 && !strcmp(argv[1], "--list")) {
        for (size_t i = 0; i < N_TESTS; i++) {
            puts(tests[i].name);
        }
        return EXIT_SUCCESS;
    }
    for (int i = argc > 1 ? 1 : 0; i < argc; i++) {
        if (!run_test(i ? argv[i] : NULL)) {
            fprintf(stderr, "test-vring: no test \"%s\"; --list lists them\n",
                    argv[i]);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
