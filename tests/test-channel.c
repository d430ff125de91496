/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of channels (vpci/channel.h).
 *
 * usage: test-channel [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vpci/channel.h"
#include "unit-test.h"

#define DELAY_MS 100            /* Longer than rings are kept. */

static const struct vpci_shape base_shape = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 2,
    .n_classes = 2,
    .slots_log2 = 5,
    .data_log2 = 17,
    .n_vectors = 3,
};

/* A region, and its two sides. */
struct fixture {
    struct vpci_layout layout;
    void *base;
    int64_t now;
    struct side {
        struct vpci_channel_config config;
        struct vpci_channel *ch;
        uint32_t n_faults;
    } sides[2];
};

static void
note_fault(void *side_, const struct vpci_fault *fault)
{
    struct side *side = side_;

    (void) fault;
    side->n_faults++;
}

static bool
fixture_init(struct fixture *f, const struct vpci_shape *shape)
{
    struct vpci_layout_report report;

    memset(f, 0, sizeof *f);
    CHECK(vpci_layout_init(&f->layout, shape, &report));
    f->base = aligned_alloc(VPCI_ABI_PAGE, f->layout.size);
    CHECK(f->base);
    memset(f->base, 0, f->layout.size);
    vpci_layout_write(&f->layout, f->base, 1);
    for (unsigned int i = 0; i < 2; i++) {
        struct side *side = &f->sides[i];
        size_t n = vpci_channel_bytes(&f->layout);

        side->ch = aligned_alloc(VPCI_ABI_LINE, n);
        CHECK(side->ch);
        memset(side->ch, 0xa5, n);
        side->config = (struct vpci_channel_config) {
            .layout = f->layout,
            .base = f->base,
            .side = i,
            .features = i ? 6 : 3,
            .n_queues = i ? 1 : 2,
            .mac = { 2, 0, 0, 0, 0, i },
            .report = note_fault,
            .aux = side,
        };
    }
    return true;
}

static void
fixture_uninit(struct fixture *f)
{
    free(f->base);
    free(f->sides[0].ch);
    free(f->sides[1].ch);
}

static enum vpci_channel_state
run(struct fixture *f, unsigned int side)
{
    return vpci_channel_run(f->sides[side].ch, f->now);
}

static bool
put(struct vpci_ring_tx *tx, uint32_t value)
{
    void *p = vpci_ring_reserve(tx, 60);

    if (p) {
        memset(p, 0, 60);
        memcpy(p, &value, sizeof value);
        vpci_ring_submit(tx, 60, NULL);
        vpci_ring_publish(tx);
    }
    return p != NULL;
}

static bool
take(struct vpci_ring_rx *rx, uint32_t *value)
{
    struct vpci_ring_pkt pkt;

    if (!vpci_ring_peek(rx, &pkt, 1)) {
        return false;
    }
    memcpy(value, pkt.data, sizeof *value);
    vpci_ring_release(rx, 1);
    return true;
}

/* All rings carry a packet, each way. */
static bool
carries(struct fixture *f)
{
    for (uint32_t i = 0; i <= f->layout.n_rings; i++) {
        uint32_t index = i < f->layout.n_rings ? i : VPCI_LAYOUT_CALLS;

        if (index == VPCI_LAYOUT_CALLS
            && f->layout.shape.kind != VPCI_ABI_BASE) {
            break;
        }
        for (unsigned int side = 0; side < 2; side++) {
            struct vpci_ring_rx *rx = vpci_channel_rx(f->sides[!side].ch,
                                                      index);
            uint32_t value;

            CHECK(!take(rx, &value));
            CHECK(put(vpci_channel_tx(f->sides[side].ch, index),
                      1000 * side + i));
            CHECK(take(rx, &value) && value == 1000 * side + i);
            CHECK(!take(rx, &value));
        }
    }
    return true;
}

static bool
check_meeting(const struct vpci_shape *shape)
{
    struct fixture f;
    uint8_t mac[6];

    CHECK(fixture_init(&f, shape));
    vpci_channel_begin(f.sides[0].ch, &f.sides[0].config, 111);
    CHECK(run(&f, 0) == VPCI_CHANNEL_ALONE);
    vpci_channel_begin(f.sides[1].ch, &f.sides[1].config, 0);
    CHECK(run(&f, 1) == VPCI_CHANNEL_MEETING);
    CHECK(run(&f, 0) == VPCI_CHANNEL_RUNNING);
    CHECK(run(&f, 1) == VPCI_CHANNEL_RUNNING);
    CHECK(vpci_channel_features(f.sides[0].ch) == 2);
    CHECK(vpci_channel_features(f.sides[1].ch) == 2);
    CHECK(vpci_channel_n_queues(f.sides[0].ch) == 1);
    CHECK(vpci_channel_n_queues(f.sides[1].ch) == 1);
    CHECK(vpci_channel_peer_mac(f.sides[0].ch, mac) && mac[5] == 1);
    CHECK(carries(&f));

    /* It ends in an orderly manner. */
    vpci_channel_end(f.sides[1].ch);
    CHECK(vpci_channel_must_stop(f.sides[0].ch));
    CHECK(!vpci_channel_is_current(f.sides[0].ch));
    CHECK(run(&f, 0) == VPCI_CHANNEL_ALONE);
    CHECK(!vpci_channel_must_stop(f.sides[0].ch));
    CHECK(!f.sides[0].n_faults && !f.sides[1].n_faults);
    fixture_uninit(&f);
    return true;
}

static bool
run_meeting(void)
{
    struct vpci_shape link = base_shape;

    link.kind = VPCI_ABI_LINK;
    CHECK(check_meeting(&base_shape));
    CHECK(check_meeting(&link));
    return true;
}

/* Whatever is left in rings when one side begins anew is gone, and nobody calls
 * that a fault. */
static bool
run_begin_anew(void)
{
    struct fixture f;
    uint32_t value;

    CHECK(fixture_init(&f, &base_shape));
    vpci_channel_begin(f.sides[0].ch, &f.sides[0].config, 1);
    vpci_channel_begin(f.sides[1].ch, &f.sides[1].config, 2);
    for (uint32_t i = 0; i < 20; i++) {
        unsigned int one = i & 1, other = !one;
        struct vpci_ring_tx *tx = vpci_channel_tx(f.sides[one].ch, 0);

        f.now += DELAY_MS;
        for (int j = 0; j < 3; j++) {
            run(&f, 0), run(&f, 1);
        }
        CHECK(carries(&f));
        for (uint32_t j = 0; j < 7; j++) {
            CHECK(put(tx, j));
            CHECK(put(vpci_channel_tx(f.sides[other].ch, 0), j));
        }
        CHECK(take(vpci_channel_rx(f.sides[other].ch, 0), &value));
        CHECK(vpci_ring_consumed(tx) >= 1);
        vpci_channel_begin(f.sides[other].ch, &f.sides[other].config, 10 + i);
        if (i % 4 > 1) {
            /* Rings are left alone until whoever uses them has been told. */
            f.now += DELAY_MS;
            CHECK(vpci_ring_produced(tx) == 8);
            CHECK(run(&f, one) == VPCI_CHANNEL_MEETING);
            CHECK(vpci_ring_produced(tx) == 8);

            /* Its own are still the old ones. */
            CHECK(run(&f, one) == VPCI_CHANNEL_MEETING);
            CHECK(vpci_ring_produced(tx) == 0);
            continue;
        }

        /* It makes its rings anew; the one here has not noticed. */
        run(&f, other);
        while (put(tx, 7)) {
            continue;
        }
        CHECK(!take(vpci_channel_rx(f.sides[one].ch, 0), &value));
        CHECK(vpci_channel_must_stop(f.sides[one].ch));
    }
    CHECK(!f.sides[0].n_faults && !f.sides[1].n_faults);
    fixture_uninit(&f);
    return true;
}

/* A process ends, and another one goes on. */
static bool
run_resume(void)
{
    struct fixture f;
    uint32_t value;

    CHECK(fixture_init(&f, &base_shape));
    CHECK(!vpci_channel_resume(f.sides[0].ch, &f.sides[0].config));
    vpci_channel_begin(f.sides[0].ch, &f.sides[0].config, 1);
    CHECK(vpci_channel_resume(f.sides[0].ch, &f.sides[0].config));
    vpci_channel_begin(f.sides[1].ch, &f.sides[1].config, 2);
    for (uint32_t i = 0; i < 100; i++) {
        struct side *side = &f.sides[i & 1];

        f.now += DELAY_MS;
        run(&f, 0), run(&f, 1), run(&f, 0);
        CHECK(put(vpci_channel_tx(f.sides[0].ch, 1), i));
        CHECK(put(vpci_channel_tx(f.sides[1].ch, 1), i));
        CHECK(vpci_channel_resume(side->ch, &side->config));
        CHECK(vpci_channel_is_current(side->ch));
        CHECK(!vpci_channel_must_stop(f.sides[!(i & 1)].ch));
        CHECK(run(&f, 0) == VPCI_CHANNEL_RUNNING);
        CHECK(run(&f, 1) == VPCI_CHANNEL_RUNNING);
        CHECK(take(vpci_channel_rx(f.sides[0].ch, 1), &value) && value == i);
        CHECK(take(vpci_channel_rx(f.sides[1].ch, 1), &value) && value == i);
        CHECK(vpci_channel_features(side->ch) == 2);
        CHECK(carries(&f));
    }

    /* The other side's words are not believed, and ours are as we left them. */
    vpci_store32(&vpci_layout_state(&f.layout, f.base, 0)->epoch, 77);
    vpci_store32(&vpci_layout_state(&f.layout, f.base, 0)->seen, 78);
    CHECK(vpci_channel_resume(f.sides[0].ch, &f.sides[0].config));
    CHECK(run(&f, 1) == VPCI_CHANNEL_RUNNING);

    /* Another shape is another channel. */
    f.sides[0].config.layout.shape.n_vectors++;
    CHECK(!vpci_channel_resume(f.sides[0].ch, &f.sides[0].config));
    CHECK(!f.sides[0].n_faults && !f.sides[1].n_faults);
    fixture_uninit(&f);
    return true;
}

static bool
run_heartbeats(void)
{
    struct fixture f;

    CHECK(fixture_init(&f, &base_shape));
    vpci_channel_begin(f.sides[0].ch, &f.sides[0].config, 1);
    vpci_channel_begin(f.sides[1].ch, &f.sides[1].config, 2);
    for (f.now = 0; f.now < 3000; f.now += VPCI_ABI_BEAT_MS / 2) {
        run(&f, 0);
        if (f.now < 1000) {
            run(&f, 1);
        }
    }
    int64_t silence = vpci_channel_silence(f.sides[0].ch, f.now);
    CHECK(silence >= 2000 && silence <= 2000 + 2 * VPCI_ABI_BEAT_MS);
    run(&f, 1), run(&f, 0);
    CHECK(vpci_channel_silence(f.sides[0].ch, f.now) == 0);
    fixture_uninit(&f);
    return true;
}

/* What one side may write of itself. */
static bool
run_lies(void)
{
    struct vpci_abi_state *state;
    struct fixture f;

    CHECK(fixture_init(&f, &base_shape));
    state = vpci_layout_state(&f.layout, f.base, 1);
    vpci_channel_begin(f.sides[0].ch, &f.sides[0].config, 1);
    vpci_store32(&state->n_queues, 1000000);
    vpci_store64(&state->features, UINT64_MAX);
    vpci_store32(&state->epoch, 5);
    CHECK(run(&f, 0) == VPCI_CHANNEL_MEETING);
    CHECK(vpci_channel_n_queues(f.sides[0].ch) == 2);
    CHECK(vpci_channel_features(f.sides[0].ch) == 3);
    vpci_store32(&state->seen, 2);
    CHECK(run(&f, 0) == VPCI_CHANNEL_MEETING);
    vpci_store32(&state->seen, 1);
    CHECK(run(&f, 0) == VPCI_CHANNEL_RUNNING);
    vpci_store32(&state->n_queues, 0);
    vpci_store64(&state->features, 0);
    CHECK(run(&f, 0) == VPCI_CHANNEL_RUNNING);
    CHECK(vpci_channel_n_queues(f.sides[0].ch) == 2);

    /* Rings that are broken while the other side stays are its fault. */
    struct vpci_ring_memory m;
    struct vpci_ring_pkt pkt;
    vpci_layout_ring(&f.layout, f.base, 1, 0, &m);
    vpci_store64(&m.slots[0].word, 1);
    CHECK(!vpci_ring_peek(vpci_channel_rx(f.sides[0].ch, 0), &pkt, 1));
    CHECK(f.sides[0].n_faults == 1);

    /* One that says each time that it begins anew is met now and then. */
    unsigned int n_met = 0;
    for (uint32_t i = 0; i < 1000; i++, f.now++) {
        vpci_store32(&state->epoch, 100 + i);
        run(&f, 0);
        n_met += vpci_load32(&vpci_layout_state(&f.layout, f.base, 0)->seen)
                 == 100 + i;
    }
    CHECK(n_met > 10 && n_met < 100);
    fixture_uninit(&f);
    return true;
}

static int64_t
clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* Says in turns that it is another side and that it is not. */
struct flipper {
    struct vpci_abi_state *state;
    bool stop;                  /* Atomic. */
};

static void *
flip(void *flipper_)
{
    struct flipper *f = flipper_;

    while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
        for (uint32_t i = 0; i < 100; i++) {
            vpci_store32(&f->state->epoch, 5 + i % 2);
        }
        sched_yield();
    }
    return NULL;
}

/* Whatever the other side says in the middle of vpci_channel_run(), rings are not
 * made anew by a call after one that has returned VPCI_CHANNEL_RUNNING. */
static bool
run_flips(void)
{
    enum vpci_channel_state state = VPCI_CHANNEL_ALONE;
    struct flipper flipper;
    uint32_t n_running = 0;
    pthread_t thread;
    struct fixture f;

    CHECK(fixture_init(&f, &base_shape));
    flipper = (struct flipper) { vpci_layout_state(&f.layout, f.base, 1),
                                 false };
    vpci_store32(&flipper.state->seen, 1);
    vpci_channel_begin(f.sides[0].ch, &f.sides[0].config, 1);
    CHECK(!pthread_create(&thread, NULL, flip, &flipper));
    for (int64_t end = clock_ms() + 1000; clock_ms() < end; ) {
        struct vpci_ring_tx *tx = vpci_channel_tx(f.sides[0].ch, 0);
        bool was_running = state == VPCI_CHANNEL_RUNNING;

        if (was_running && !vpci_ring_produced(tx)) {
            CHECK(put(tx, 1));
        }
        f.now += DELAY_MS;
        state = run(&f, 0);
        CHECK(!was_running || vpci_ring_produced(tx));
        n_running += state == VPCI_CHANNEL_RUNNING;
    }
    __atomic_store_n(&flipper.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(n_running);
    fixture_uninit(&f);
    return true;
}

/* Two threads: each sends numbers, counted from 0 in each epoch of its own, and
 * begins anew at random moments.  What is received is in order and complete,
 * from the first one on, as long as neither begins anew. */
struct end {
    struct fixture *f;
    unsigned int side;
    uint64_t n_received;
    uint32_t n_meetings;
    bool bad;
};

static void
exchange(struct end *end, uint32_t *sent, uint32_t *received)
{
    struct vpci_channel *ch = end->f->sides[end->side].ch;
    uint32_t value;

    for (int i = 0; i < 20 && vpci_channel_is_current(ch); i++) {
        if (put(vpci_channel_tx(ch, 0), *sent)) {
            ++*sent;
        }
        if (vpci_channel_is_current(ch)
            && take(vpci_channel_rx(ch, 0), &value)) {
            /* The other side may have begun anew while we looked. */
            if (value != *received && vpci_channel_is_current(ch)) {
                end->bad = true;
            }
            ++*received;
            end->n_received++;
        }
    }
}

static void *
end_main(void *end_)
{
    struct end *end = end_;
    struct side *side = &end->f->sides[end->side];
    int64_t stop = clock_ms() + 2000, anew = 0, now;
    unsigned int seed = end->side + 1;
    uint32_t epoch = end->side * 1000000, sent = 0, received = 0;
    bool was_running = false;

    while ((now = clock_ms()) < stop && !end->bad) {
        bool running;

        if (now >= anew) {
            if (rand_r(&seed) % 2 && anew) {
                vpci_channel_resume(side->ch, &side->config);
            } else {
                vpci_channel_begin(side->ch, &side->config, ++epoch);
                was_running = false;
            }
            anew = now + rand_r(&seed) % 120;
        }
        was_running &= !vpci_channel_must_stop(side->ch);
        running = vpci_channel_run(side->ch, now) == VPCI_CHANNEL_RUNNING;
        if (running && !was_running) {
            sent = received = 0;
            end->n_meetings++;
        }
        was_running = running;
        if (running) {
            exchange(end, &sent, &received);
        } else {
            sched_yield();
        }
    }
    return NULL;
}

static bool
run_comings_and_goings(void)
{
    struct end ends[2];
    pthread_t threads[2];
    struct fixture f;

    CHECK(fixture_init(&f, &base_shape));
    for (unsigned int i = 0; i < 2; i++) {
        ends[i] = (struct end) { .f = &f, .side = i };
        vpci_channel_begin(f.sides[i].ch, &f.sides[i].config, 1 + i);
    }
    for (unsigned int i = 0; i < 2; i++) {
        CHECK(!pthread_create(&threads[i], NULL, end_main, &ends[i]));
    }
    for (unsigned int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    for (unsigned int i = 0; i < 2; i++) {
        CHECK(!ends[i].bad);
        CHECK(ends[i].n_meetings > 2 && ends[i].n_received > 100);
        CHECK(!f.sides[i].n_faults);
    }
    fixture_uninit(&f);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "meeting", run_meeting },
        { "begin-anew", run_begin_anew },
        { "resume", run_resume },
        { "heartbeats", run_heartbeats },
        { "lies", run_lies },
        { "flips", run_flips },
        { "comings-and-goings", run_comings_and_goings },
    };

    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
