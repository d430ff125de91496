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

static void
count_notify(void *n_)
{
    unsigned int *n = n_;

    ++*n;
}

/* Whoever has no doorbell is told instead, also by a stop. */
static void
run_notify_function(struct guest *g)
{
    unsigned int n = 0;

    vpci_vring_stop(g->vr, &g->cfg.base);
    g->cfg.notify = count_notify;
    g->cfg.notify_aux = &n;
    guest_start(g);
    for (unsigned int i = 1; i <= 10; i++) {
        CHECK(!vring_driver_enable_interrupts(g->drv, 1));
        move_frames(g, 2);
        if (i < 10) {
            CHECK(vpci_vring_notify(g->vr) && !vpci_vring_notify(g->vr));
        } else {
            vpci_vring_stop(g->vr, NULL);
        }
        CHECK(n == i);
        reap_all(g);
    }
    CHECK(!count_calls(g));
}

void
test_notify_function(void)
{
    for_both(run_notify_function, MODERN, 16);
    for_both(run_notify_function, MODERN | VRING_F_EVENT_IDX, 16);
}

/* Makes 'n' frames available.  Returns whether the driver kicks. */
static bool
send_and_kick(struct guest *g, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        uint32_t len = 40;

        CHECK(guest_send(g, 1, &len, 1, false) >= 0);
    }
    vring_driver_publish(g->drv);
    return vring_driver_needs_kick(g->drv);
}

static void
take_all(struct guest *g)
{
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    unsigned int n = vpci_vring_peek(g->vr, pkts, VPCI_VRING_BURST);

    vpci_vring_release(g->vr, n);
    reap_all(g);
}

/* A ring that asks for a kick gets one, and none when it is awake. */
static void
run_kicks(struct guest *g)
{
    for (int round = 0; round < 2000; round++) {
        CHECK(!send_and_kick(g, 1 + random_below(3)));
        CHECK(!vpci_vring_ask(g->vr));
        CHECK(!send_and_kick(g, 1));
        take_all(g);
        CHECK(vpci_vring_ask(g->vr));
        if (round % 3) {
            CHECK(send_and_kick(g, 1 + random_below(3)));
        }
        if (round % 5) {
            vpci_vring_awake(g->vr);
        } else {
            vpci_vring_stop(g->vr, &g->cfg.base);
            if (round % 2) {
                CHECK(!send_and_kick(g, 1));
            }
            guest_start(g);
        }
        CHECK(!send_and_kick(g, 1));
        take_all(g);
    }

    /* Of a broken ring nothing comes, whatever is there. */
    if (!g->drv->packed) {
        CHECK(!send_and_kick(g, 1));
        __atomic_store_n(&g->drv->avail->idx, g->drv->avail->idx + 100,
                         __ATOMIC_RELAXED);
        take_all(g);
        CHECK(g->n_faults == 1 && vpci_vring_ask(g->vr));
    }
}

void
test_kicks(void)
{
    for_both(run_kicks, MODERN, 16);
    for_both(run_kicks, MODERN | VRING_F_EVENT_IDX, 16);
    for_both(run_kicks, MODERN | VRING_F_EVENT_IDX | VRING_F_IN_ORDER, 64);
}
