/* SPDX-License-Identifier: Apache-2.0 */

#include "test-vring-harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

char combination[128];

void
check_failed(const char *file, int line, const char *cond)
{
    printf("FAIL\n%s:%d: %s [%s]\n", file, line, cond, combination);
    exit(EXIT_FAILURE);
}

uint32_t
random_below(uint32_t n)
{
    static uint64_t state = 0x9e3779b97f4a7c15;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 32) % n;
}

const struct guest_region regions[N_REGIONS] = {
    [RINGS] = { 0x10000, 0x120000 },
    [TABLES] = { 0x40000000, 0x1000000 },
    [BUFS1] = { 0x100000000, 0x100000 },
    [BUFS2] = { 0x100100000, 0x500000 },
};

#define DRIVER_OFS 0x80000
#define DEVICE_OFS 0xa0000

static void
guest_report(void *g_, const struct vpci_fault *fault)
{
    struct guest *g = g_;

    g->fault = *fault;
    g->n_faults++;
}

void
guest_start(struct guest *g)
{
    CHECK(!vpci_vring_start(g->vr, &g->cfg));
}

void
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
        .features = features & NO_OFFLOADS ? features & ~NO_OFFLOADS
                    : features | F_CSUM,
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

void
guest_init(struct guest *g, uint64_t features, uint16_t size, uint16_t idx,
           bool wrap)
{
    guest_init_stopped(g, features, size, idx, wrap);
    guest_start(g);
}

void
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

uint8_t *
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

uint8_t
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

int
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

int
guest_post(struct guest *g, const uint32_t *lens, unsigned int n,
           bool indirect)
{
    struct chain c;

    memset(&c, 0, sizeof c);
    chain_init(g, &c, lens, n, true);
    return chain_add(g, &c, indirect);
}

int
guest_post_one(struct guest *g, uint32_t len)
{
    return guest_post(g, &len, 1, false);
}

unsigned int
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

void
check_peeked(const struct vpci_pkt *pkt, uint32_t seed, uint32_t len)
{
    const uint8_t *hdr = (const uint8_t *) &pkt->hdr;

    for (unsigned int i = 0; i < sizeof pkt->hdr; i++) {
        CHECK(hdr[i] == hdr_byte(seed, i));
    }
    check_peeked_bytes(pkt, seed, len);
}

void
check_peeked_bytes(const struct vpci_pkt *pkt, uint32_t seed, uint32_t len)
{
    uint8_t *copy = malloc(len + 1);
    uint32_t sum = 0;

    CHECK(pkt->len == len);
    for (uint32_t i = 0; i < pkt->n_iov; i++) {
        CHECK(pkt->iov[i].len);
        sum += pkt->iov[i].len;
    }
    CHECK(sum == len);
    copy[len] = 0xa5;
    vpci_pkt_copy(pkt, copy);
    for (uint32_t i = 0; i < len; i++) {
        CHECK(copy[i] == frame_byte(seed, i));
    }
    CHECK(copy[len] == 0xa5);
    free(copy);
}

void
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

/* A frame to be pushed, in 1 to 4 pieces, with or without a head that stands
 * for a longer or shorter beginning of them. */
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
    uint32_t head_len = len && random_below(2) ? 1 + random_below(len) : 0;
    uint32_t skip = head_len ? random_below(40) : 0;
    uint32_t rest = len - head_len + skip;
    uint8_t *p;

    memset(f, 0, sizeof *f);
    f->seed = seed;
    f->pkt.iov = f->iov;
    f->pkt.len = len;
    f->pkt.fate = 77;
    f->data = malloc(len + skip + 1);
    for (uint32_t i = 0; i < len; i++) {
        f->data[i < head_len ? i : i + skip] = frame_byte(seed, i);
    }
    f->pkt.head = f->data;
    f->pkt.head_len = head_len;
    f->pkt.skip = skip;
    for (unsigned int i = 0; i < sizeof f->pkt.hdr; i++) {
        hdr[i] = hdr_byte(seed, i);
    }
    f->pkt.n_iov = rest ? random_pieces(rest, 14, 1 + random_below(4), lens)
                   : 0;
    p = f->data + head_len;
    for (unsigned int i = 0; i < f->pkt.n_iov; i++) {
        f->iov[i] = (struct vpci_iov) { p, lens[i] };
        p += lens[i];
    }
}

unsigned int
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

enum vpci_pkt_fate
guest_push_one(struct guest *g, uint32_t seed, uint32_t len)
{
    uint8_t fate;

    guest_push(g, seed, &len, 1, &fate);
    return fate;
}

unsigned int
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
                CHECK(*chain_byte(g, c, i)
                      == (g->zero_headers ? 0 : hdr_byte(seed, i)));
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

void
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

void
reap_all(struct guest *g)
{
    struct vring_driver_reaped reaped;

    while (vring_driver_reap(g->drv, &reaped, 1)) {
        continue;
    }
}

unsigned int
count_calls(struct guest *g)
{
    uint64_t n;

    return read(g->call_fd, &n, sizeof n) == sizeof n ? n : 0;
}

void
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

void
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
