/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: two threads.
 *
 * In most of them a thread splices frames from one ring of the guest to the
 * other; the driver sleeps whenever it has nothing to do.  A lost wake-up
 * shows as a time-out. */

#include "test-vring.h"

#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "test-vring-harness.h"
#include "vpci/splice.h"

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
            usleep(1);
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

/* Moves the available index of a split ring to and fro. */
struct flipper {
    struct guest *g;
    uint16_t from;              /* Where the engine stands. */
    bool stop;
};

static void *
flip_main(void *f_)
{
    struct flipper *f = f_;
    uint16_t *idx = (uint16_t *) &f->g->drv->avail->idx;

    while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
        uint16_t from = __atomic_load_n(&f->from, __ATOMIC_RELAXED);

        __atomic_store_n(idx, from + f->g->dcfg.size, __ATOMIC_RELAXED);
        __atomic_store_n(idx, from + 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

/* A frame that needs more buffers than there are, while the index moves: no
 * more than a ring of them may be used. */
void
test_index_race(void)
{
    struct vpci_vring_state before, after;
    struct flipper f = { .stop = false };
    unsigned int n_broken = 0;
    pthread_t thread;
    struct guest g;

    guest_init(&g, MODERN | F_MERGEABLE, 64, 0, true);
    while (guest_post_one(&g, 12) >= 0) {
        continue;
    }
    vring_driver_publish(g.drv);
    f.g = &g;
    CHECK(!pthread_create(&thread, NULL, flip_main, &f));
    for (int i = 0; i < 200000; i++) {
        vpci_vring_get_state(g.vr, &before);
        guest_push_one(&g, 1, 1500);
        vpci_vring_get_state(g.vr, &after);
        CHECK(after.n_bufs - before.n_bufs <= 64);
        if (after.fault) {
            struct vpci_vring_base base;

            CHECK(after.fault == VPCI_FAULT_INDEX);
            n_broken++;
            vpci_vring_stop(g.vr, &base);
            g.cfg.base = base;
            guest_start(&g);
        }
        __atomic_store_n(&f.from, after.base.avail_idx, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
    CHECK(!pthread_join(thread, NULL));
    CHECK(n_broken);
    guest_destroy(&g);
}

/* Makes all descriptors of a packed ring available for this lap and for the
 * next, by turns. */
static void *
flip_laps_main(void *f_)
{
    struct flipper *f = f_;
    struct vring_packed_desc *desc = f->g->dcfg.desc;

    while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
        for (int bit = VRING_PACKED_DESC_F_AVAIL;
             bit <= VRING_PACKED_DESC_F_USED;
             bit += VRING_PACKED_DESC_F_USED - VRING_PACKED_DESC_F_AVAIL) {
            for (int i = 0; i < f->g->dcfg.size; i++) {
                __atomic_store_n(&desc[i].flags,
                                 VRING_DESC_F_WRITE | 1u << bit,
                                 __ATOMIC_RELAXED);
            }
        }
    }
    return NULL;
}

/* A receiver makes available again what was just taken: no more than a ring of
 * buffers may be used at a time. */
void
test_lap_race(void)
{
    static const struct vpci_steer_plain all = { .mask = { 0 } };
    struct flipper f = { .stop = false };
    struct vpci_vring_state state;
    struct guest from, to;
    const uint32_t len = 100;
    unsigned int n_moved = 0;
    pthread_t thread;

    guest_init(&from, NO_OFFLOADS | MODERN, 64, 0, true);
    guest_init(&to, MODERN | VRING_F_PACKED, 4, 0, true);
    while (guest_post_one(&to, 200) >= 0) {
        continue;
    }
    vring_driver_publish(to.drv);
    /* Only in the region that was hit last frames are moved the short way. */
    CHECK(guest_push_one(&to, 1, len) == VPCI_PKT_SENT);
    move_frames(&from, 1);
    f.g = &to;
    CHECK(!pthread_create(&thread, NULL, flip_laps_main, &f));
    for (int i = 0; i < 10000000 && n_moved < 50000; i++) {
        struct vpci_spliced spliced;
        uint32_t lens[] = { len + from.hdr_len };

        reap_all(&from);
        while (guest_send(&from, 1, lens, 1, false) >= 0) {
            continue;
        }
        vring_driver_publish(from.drv);
        n_moved += vpci_vring_splice(from.vr, to.vr, &all, 1514, &spliced);
        vpci_vring_get_state(to.vr, &state);
        CHECK(state.base.avail_idx < 4 && state.base.used_idx < 4);
    }
    __atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
    CHECK(!pthread_join(thread, NULL));
    CHECK(n_moved);
    guest_destroy(&from);
    guest_destroy(&to);
}

/* A driver that kicks as it is asked to. */
struct kicker {
    struct guest *g;
    int kick_fd;
    uint32_t n_frames;
};

static void *
kick_main(void *k_)
{
    struct kicker *k = k_;
    uint32_t len = 60;

    for (uint32_t sent = 0; sent < k->n_frames; ) {
        bool sends = guest_send(k->g, sent, &len, 1, false) >= 0;

        sent += sends;
        if (!sends || random_below(3)) {
            vring_driver_publish(k->g->drv);
            if (vring_driver_needs_kick(k->g->drv)) {
                eventfd_write(k->kick_fd, 1);
            }
            reap_all(k->g);
        }
    }
    vring_driver_publish(k->g->drv);
    if (vring_driver_needs_kick(k->g->drv)) {
        eventfd_write(k->kick_fd, 1);
    }
    return NULL;
}

/* The engine sleeps whenever there is nothing: no kick is lost. */
static void
run_kick_stress(uint64_t features, uint16_t size)
{
    struct pollfd pfd = { .fd = eventfd(0, EFD_NONBLOCK), .events = POLLIN };
    struct kicker k = { .kick_fd = pfd.fd, .n_frames = STRESS_FRAMES };
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    uint32_t received = 0, n_sleeps = 0;
    pthread_t thread;
    struct guest g;

    guest_init(&g, features, size, size - 2, true);
    k.g = &g;
    CHECK(pfd.fd >= 0 && !pthread_create(&thread, NULL, kick_main, &k));
    while (received < k.n_frames) {
        unsigned int n = vpci_vring_peek(g.vr, pkts, VPCI_VRING_BURST);
        eventfd_t value;

        if (n) {
            vpci_vring_release(g.vr, n);
            received += n;
        } else if (vpci_vring_ask(g.vr)) {
            CHECK(poll(&pfd, 1, 20000) == 1);
            eventfd_read(pfd.fd, &value);
            vpci_vring_awake(g.vr);
            n_sleeps++;
        }
    }
    CHECK(!pthread_join(thread, NULL));
    CHECK(n_sleeps && !g.n_faults);
    reap_all(&g);
    guest_destroy(&g);
    close(pfd.fd);
}

void
test_stress_kicks(void)
{
    run_kick_stress(MODERN, 16);
    run_kick_stress(MODERN | VRING_F_EVENT_IDX, 16);
    run_kick_stress(MODERN | VRING_F_PACKED, 15);
    run_kick_stress(MODERN | VRING_F_PACKED | VRING_F_EVENT_IDX, 15);
}
