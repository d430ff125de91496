/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: stop, start, and what state is told. */

#include "test-vring.h"

#include <errno.h>

#include "test-vring-harness.h"

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

void
test_stop_start(void)
{
    for_both(run_stop_start, MODERN, 16);
    for_both(run_stop_start, MODERN | VRING_F_IN_ORDER, 16);
    for_both(run_stop_start_to_driver, F_MERGEABLE, 16);
}

void
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

void
test_start_checks(void)
{
    for_both(run_start_checks, MODERN | VRING_F_EVENT_IDX, 16);
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

void
test_state(void)
{
    for_both(run_state, MODERN, 16);
}
