/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: notifications of the driver, and kicks. */

#include "test-vring.h"

#include "test-vring-harness.h"

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

void
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

void
test_no_kicks(void)
{
    for_both(run_no_kicks, MODERN, 16);
    for_both(run_no_kicks, MODERN | VRING_F_EVENT_IDX, 16);
}
