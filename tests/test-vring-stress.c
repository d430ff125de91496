/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: two threads
 *
 * A thread splices frames from one ring of the guest to the other; the driver
 * sleeps whenever it has nothing to do.  A lost wake-up shows as a
 * time-out. */

#include "test-vring.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "test-vring-harness.h"

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

void
test_stress_split(void)
{
    run_stress(MODERN | VRING_F_EVENT_IDX, 16);
    run_stress(MODERN | VRING_F_EVENT_IDX | F_MERGEABLE, 256);
    run_stress(MODERN, 64);
}

void
test_stress_packed(void)
{
    run_stress(MODERN | VRING_F_PACKED | VRING_F_EVENT_IDX, 15);
    run_stress(MODERN | VRING_F_PACKED | VRING_F_EVENT_IDX | VRING_F_IN_ORDER,
               256);
    run_stress(MODERN | VRING_F_PACKED, 64);
}
