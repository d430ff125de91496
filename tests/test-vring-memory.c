/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: the regions of guest memory, and the log of
 * pages that are written to. */

#include "test-vring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "test-vring-harness.h"

void
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

void
test_regions(void)
{
    for_both(run_two_regions, 0, 16);
    for_both(run_two_regions, F_MERGEABLE, 16);
    for_both(run_many_crossings, 0, 16);
    for_both(run_table_in_two_regions, VRING_F_INDIRECT, 16);
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

void
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
