/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of signals: mitigation, masking, and that none is lost when the other
 * side changes (vpci/device.h, vpci/net.h, storm.h).
 *
 * usage: test-signal [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "net-switch.h"
#include "storm.h"
#include "unit-test.h"
#include "vpci/device.h"
#include "vpci/net.h"

#define TIMEOUT_MS 20000
#define TIMEOUT_US (TIMEOUT_MS * INT64_C(1000))

/* The longest time that packets may be held back: a machine that is busy with
 * other things is faster than that. */
#define LONG_US VPCI_NET_MAX_MITIGATION_US

static const struct vpci_shape shape = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 1,
    .n_classes = 2,
    .slots_log2 = 8,
    .data_log2 = 17,
    .n_links = 3,
    .n_entries = 64,
    .n_vectors = 3,
};

/* Of 'shape'. */
#define CONTROL_VECTOR 2

static int64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

/* Storms. */

/* Notes 'n' wake-ups for nothing at one time.  Returns whether the last one of
 * them, and no other, begins to mask. */
static bool
masks(struct vpci_storm *storm, int64_t now, int n)
{
    for (int i = 0; i < n - 1; i++) {
        if (vpci_storm_note(storm, now, false)) {
            return false;
        }
    }
    return vpci_storm_note(storm, now, false);
}

static bool
run_storm(void)
{
    struct vpci_storm storm = { 0 };
    int64_t now = 1000, mask_us = VPCI_STORM_MIN_MASK_US;

    /* Not too often. */
    for (int i = 0; i < 10; i++, now += VPCI_STORM_WINDOW_US) {
        CHECK(!masks(&storm, now, VPCI_STORM_MAX));
    }

    /* Not for nothing. */
    for (int i = 0; i < 1000; i++) {
        CHECK(!vpci_storm_note(&storm, now, i % VPCI_STORM_WORTH == 0));
    }

    /* Longer from time to time. */
    now += VPCI_STORM_WINDOW_US;
    for (int i = 0; i < 10; i++, now = storm.until) {
        CHECK(masks(&storm, now, VPCI_STORM_MAX + 1));
        CHECK(storm.until == now + mask_us);
        mask_us = (2 * mask_us < VPCI_STORM_MAX_MASK_US ? 2 * mask_us
                   : VPCI_STORM_MAX_MASK_US);
    }

    /* And not so any more once it is over. */
    now += VPCI_STORM_MAX_MASK_US + 1;
    CHECK(masks(&storm, now, VPCI_STORM_MAX + 1));
    CHECK(storm.until == now + VPCI_STORM_MIN_MASK_US);
    return true;
}

/* Signals alone. */

static void
count_call(void *n)
{
    ++*(unsigned int *) n;
}

#define HELD_US 20000

/* The other side injects two signals all the time, of which one is held
 * back. */
static bool
check_dispatch(struct vpci_device *ends[2])
{
    const struct vpci_mitigation m = { .packets = 8, .us = HELD_US };
    unsigned int calls[2] = { 0, 0 }, n = 0;
    int64_t start = now_us(), elapsed = 0;

    for (unsigned int i = 0; i < 2; i++) {
        struct vpci_signal *s = vpci_device_signal(ends[1], i);

        vpci_signal_set_callback(s, count_call, &calls[i]);
        vpci_signal_enable(s);
    }
    vpci_signal_set_mitigation(vpci_device_signal(ends[1], 0), &m);
    for (; elapsed < 5 * HELD_US || calls[0] < 2;
         elapsed = now_us() - start, n++) {
        CHECK(elapsed < TIMEOUT_US);
        vpci_signal_inject(vpci_device_signal(ends[0], 0));
        vpci_signal_inject(vpci_device_signal(ends[0], 1));
        vpci_signal_dispatch(ends[1]);
        CHECK(calls[1] == n + 1);
    }
    CHECK(calls[0] <= elapsed / HELD_US + 1);

    /* The last one comes, too, which is seen at first while it is held. */
    do {
        n = calls[0];
        vpci_signal_inject(vpci_device_signal(ends[0], 0));
        vpci_signal_dispatch(ends[1]);
    } while (calls[0] > n);
    start = now_us();
    do {
        int64_t left = vpci_signal_held_us(vpci_device_signal(ends[1], 0));

        CHECK(left >= 0 && left <= HELD_US);
        usleep(left);
        vpci_signal_dispatch(ends[1]);
    } while (calls[0] == n && now_us() - start < TIMEOUT_US);
    CHECK(calls[0] == n + 1);
    return true;
}

static bool
check_signal_wait(struct vpci_device *ends[2])
{
    const struct vpci_mitigation at_once = { .packets = 1 };
    struct vpci_signal *in = vpci_device_signal(ends[0], 0);
    struct vpci_signal *s = vpci_device_signal(ends[1], 0);
    int64_t start = now_us();

    for (int i = 0; i < 4; i++) {
        vpci_signal_inject(in);
        CHECK(vpci_signal_wait(s, i & 1 ? -1 : TIMEOUT_US));
    }
    CHECK(now_us() - start >= 3 * HELD_US);

    /* Held back for longer than the wait, it is not lost. */
    vpci_signal_inject(in);
    CHECK(!vpci_signal_wait(s, 0) || now_us() - start >= 4 * HELD_US);
    vpci_signal_inject(in);
    CHECK(vpci_signal_wait(s, -1));

    vpci_signal_set_mitigation(s, &at_once);
    CHECK(!vpci_signal_held_us(s));
    vpci_signal_inject(in);
    CHECK(vpci_signal_wait(s, 0));
    return true;
}

static bool
run_held(void)
{
    struct vpci_device *ends[2];

    CHECK(!vpci_loop_create(4096, 2, ends));
    CHECK(!vpci_device_open(ends[0], 0) && !vpci_device_open(ends[1], 0));
    CHECK(check_dispatch(ends) && check_signal_wait(ends));
    vpci_device_release(ends[0]);
    vpci_device_release(ends[1]);
    return true;
}

/* Receivers of packets. */

/* A guest that receives in a thread, and its switch. */
struct fixture {
    struct net_switch s;
    struct vpci_net *net;
    pthread_t receiver;
    bool receives;
    bool stop;                  /* Atomic. */

    /* Of the receiver; atomic. */
    uint32_t n_received;
    uint32_t n_waits;           /* That have ended since there were packets. */
};

static bool
fixture_init(struct fixture *f)
{
    const struct vpci_net_config config = { .own_thread = true };
    int64_t deadline = net_now_ms() + TIMEOUT_MS;
    char reason[200] = "";

    memset(f, 0, sizeof *f);
    CHECK(net_switch_start(&f->s, &shape));
    CHECK(!vpci_net_open(f->s.path, &config, &f->net, reason, sizeof reason));
    net_switch_begin(&f->s);
    while (!net_switch_run(&f->s) || !vpci_net_has_carrier(f->net)) {
        CHECK(net_now_ms() < deadline);
        usleep(500);
    }
    return true;
}

static void
fixture_uninit(struct fixture *f)
{
    if (f->receives) {
        __atomic_store_n(&f->stop, true, __ATOMIC_RELEASE);
        vpci_net_wake(f->net);
        pthread_join(f->receiver, NULL);
    }
    vpci_net_close(f->net);
    net_switch_stop(&f->s);
}

static uint32_t
load(const uint32_t *n)
{
    return __atomic_load_n(n, __ATOMIC_ACQUIRE);
}

static unsigned int
receive_burst(struct vpci_net *net)
{
    static uint8_t data[VPCI_RING_BURST][64];
    struct vpci_ring_buf bufs[VPCI_RING_BURST];

    for (int i = 0; i < VPCI_RING_BURST; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = data[i], .size = 64 };
    }
    return vpci_net_rx_burst(net, 0, bufs, VPCI_RING_BURST);
}

/* Receives what there is. */
static unsigned int
receive_all(struct vpci_net *net)
{
    unsigned int n = 0, got;

    while ((got = receive_burst(net)) > 0) {
        n += got;
    }
    return n;
}

static void *
receiver_main(void *f_)
{
    struct fixture *f = f_;

    while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
        unsigned int n = receive_all(f->net);

        if (n) {
            __atomic_add_fetch(&f->n_received, n, __ATOMIC_RELEASE);
        } else if (vpci_net_rx_wait(f->net, 0, -1)) {
            __atomic_add_fetch(&f->n_waits, 1, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

static bool
start_receiver(struct fixture *f)
{
    f->receives = !pthread_create(&f->receiver, NULL, receiver_main, f);
    CHECK(f->receives);
    return true;
}

/* Waits until 'n' packets have been received. */
static bool
await_received(struct fixture *f, uint32_t n)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;

    while (load(&f->n_received) < n && net_now_ms() < deadline) {
        usleep(50);
    }
    CHECK(load(&f->n_received) == n);
    return true;
}

static bool
put(struct fixture *f, uint32_t class_)
{
    static const uint8_t packet[60];

    CHECK(switch_port_put(&f->s.port, class_, packet, sizeof packet));
    return true;
}

static struct vpci_net_queue_stats
rx_stats(const struct fixture *f)
{
    struct vpci_net_stats stats;

    vpci_net_get_stats(f->net, VPCI_NET_ALL, &stats);
    return stats.rx;
}

static bool
set_mitigation(struct fixture *f, uint32_t class_, uint32_t packets,
               uint32_t us)
{
    const struct vpci_mitigation m = { .packets = packets, .us = us };

    return !vpci_net_rx_set_mitigation(f->net, 0, class_, &m);
}

/* Packets come one by one, each when the receiver is asleep again, if it has
 * been told of the one before. */
static bool
run_batches(void)
{
    enum { N = 1000, PACKETS = 50, US = 30000 };
    struct vpci_net_queue_stats stats;
    struct fixture f;
    uint32_t bound;
    int64_t start;

    CHECK(fixture_init(&f) && set_mitigation(&f, 0, PACKETS, US));
    CHECK(start_receiver(&f));
    start = now_us();
    for (uint32_t i = 0; i < N; i++) {
        CHECK(put(&f, 0));
        usleep(100);
    }
    CHECK(await_received(&f, N));

    /* One signal for the first of a batch, at most, and one for the last; each
     * batch is full, or its time was over. */
    bound = N / PACKETS + (now_us() - start) / US + 2;
    stats = rx_stats(&f);
    CHECK(load(&f.n_waits) <= bound && stats.received <= 2 * bound);
    CHECK(stats.packets == N && !stats.masked);
    fixture_uninit(&f);
    return true;
}

/* Packets that come while somebody waits: n[I] of class I. */
struct later {
    struct fixture *f;
    uint32_t n[2];
};

static void *
put_later(void *later_)
{
    struct later *later = later_;

    for (uint32_t i = 0; i < 2; i++) {
        if (later->n[i]) {
            usleep(20000);
        }
        for (uint32_t j = 0; j < later->n[i]; j++) {
            if (!put(later->f, i)) {
                return NULL;
            }
        }
    }
    return later;
}

/* 'low' packets of class 0, and then 'high' ones of class 1, come while the
 * receiver waits for them, with 'timeout_us'.  Returns how long that takes, in
 * us, or -1 if it is not told of them. */
static int64_t
time_packets(struct fixture *f, uint32_t low, uint32_t high,
             int64_t timeout_us)
{
    struct later later = { .f = f, .n = { low, high } };
    int64_t start = now_us();
    pthread_t thread;
    void *result;
    bool told;

    if (pthread_create(&thread, NULL, put_later, &later)) {
        return -1;
    }
    told = vpci_net_rx_wait(f->net, 0, timeout_us);
    start = now_us() - start;
    pthread_join(thread, &result);
    return result && told && receive_all(f->net) ? start : -1;
}

/* The same, of which the receiver is told before LONG_US. */
static bool
is_quick(struct fixture *f, uint32_t low, uint32_t high)
{
    int64_t us = time_packets(f, low, high, -1);

    return us >= 0 && us < LONG_US;
}

static void *
wake_later(void *f_)
{
    struct fixture *f = f_;

    usleep(20000);
    if (!put(f, 0)) {
        return NULL;
    }
    usleep(50000);
    vpci_net_wake(f->net);
    return f;
}

/* A wait that is ended loses no packet that is held back. */
static bool
check_woken(struct fixture *f)
{
    int64_t start = now_us();
    pthread_t thread;
    void *result;

    CHECK(!pthread_create(&thread, NULL, wake_later, f));
    CHECK(!vpci_net_rx_wait(f->net, 0, -1));
    pthread_join(thread, &result);
    CHECK(result && now_us() - start < LONG_US);

    /* It is there now, and so is another one. */
    start = now_us();
    CHECK(put(f, 0) && vpci_net_rx_wait(f->net, 0, -1));
    CHECK(receive_all(f->net) == 2 && now_us() - start < LONG_US);
    return true;
}

static bool
run_times(void)
{
    enum { US = 100000 };
    struct fixture f;
    int64_t us;

    CHECK(fixture_init(&f));
    CHECK(!set_mitigation(&f, 8, 4, 100));
    CHECK(!set_mitigation(&f, 0, 4, LONG_US + 1));

    /* The first packet waits so long, and the others less. */
    CHECK(set_mitigation(&f, 0, 4, US));
    for (uint32_t n = 1; n < 4; n++) {
        us = time_packets(&f, n, 0, -1);
        CHECK(us >= US && us < TIMEOUT_US);
    }

    /* Not if there are enough of them; of half a ring in any case. */
    CHECK(set_mitigation(&f, 0, 4, LONG_US) && is_quick(&f, 4, 0));
    CHECK(set_mitigation(&f, 0, 0, LONG_US) && is_quick(&f, 128, 0));
    CHECK(set_mitigation(&f, 0, 5000, LONG_US) && is_quick(&f, 128, 0));

    /* Nor if the wait is over before, or ended. */
    us = time_packets(&f, 1, 0, US);
    CHECK(us >= US && us < LONG_US);
    CHECK(check_woken(&f));

    /* Nor without a wish. */
    CHECK(set_mitigation(&f, 0, 1, LONG_US) && is_quick(&f, 1, 0));
    CHECK(set_mitigation(&f, 0, 4, 0) && is_quick(&f, 1, 0));
    fixture_uninit(&f);
    return true;
}

/* What is urgent does not wait for what is not. */
static bool
run_urgent(void)
{
    struct fixture f;

    CHECK(fixture_init(&f) && set_mitigation(&f, 0, 0, LONG_US));

    /* A receiver that was idle, and one that is busy. */
    CHECK(is_quick(&f, 0, 1) && is_quick(&f, 0, 30) && is_quick(&f, 0, 1));

    /* While others wait. */
    CHECK(is_quick(&f, 1, 1) && is_quick(&f, 30, 1) && is_quick(&f, 1, 1));

    /* Which do wait. */
    CHECK(time_packets(&f, 1, 0, -1) >= LONG_US);
    fixture_uninit(&f);
    return true;
}

/* Masking. */

/* Somebody who injects a signal of the guest all the time. */
struct injector {
    int fd;
    pthread_t thread;
    bool stop;                  /* Atomic. */
};

static void *
inject_all_the_time(void *i_)
{
    struct injector *i = i_;

    while (!__atomic_load_n(&i->stop, __ATOMIC_RELAXED)) {
        eventfd_write(i->fd, 1);
    }
    return NULL;
}

static bool
injector_start(struct injector *i, int fd)
{
    i->fd = fd;
    i->stop = false;
    CHECK(!pthread_create(&i->thread, NULL, inject_all_the_time, i));
    return true;
}

static void
injector_stop(struct injector *i)
{
    __atomic_store_n(&i->stop, true, __ATOMIC_RELAXED);
    pthread_join(i->thread, NULL);
}

/* Signals for nothing that may have been seen in 'us', of which there were
 * 'masked' storms. */
static uint64_t
max_spurious(int64_t us, uint64_t masked)
{
    if (masked > (uint64_t) us / VPCI_STORM_MIN_MASK_US + 1) {
        return 0;               /* So many fit only without masking. */
    }
    return ((us / VPCI_STORM_WINDOW_US + 1) * VPCI_STORM_MAX
            + masked * (VPCI_STORM_MAX + 1));
}

static bool
await_masked(struct fixture *f, uint64_t n)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;

    while (rx_stats(f).masked < n) {
        CHECK(net_now_ms() < deadline);
        usleep(1000);
    }
    return true;
}

/* One by one, packets come although nobody listens. */
static bool
check_polling(struct fixture *f, uint32_t n)
{
    uint32_t n_received = load(&f->n_received);
    int64_t start = now_us();

    for (uint32_t i = 0; i < n; i++) {
        CHECK(put(f, 0));
        CHECK(await_received(f, ++n_received));
    }
    CHECK(now_us() - start < n * VPCI_STORM_MAX_MASK_US / 8);
    return true;
}

/* After the storm, signals are heard again. */
static bool
check_unmasked(struct fixture *f)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;
    uint32_t n_received = load(&f->n_received);
    uint64_t masked;
    struct vpci_net_queue_stats stats;

    usleep(VPCI_STORM_MAX_MASK_US);
    masked = rx_stats(f).masked;
    do {
        CHECK(net_now_ms() < deadline);
        stats = rx_stats(f);
        CHECK(put(f, 0));
        CHECK(await_received(f, ++n_received));
    } while (rx_stats(f).received == stats.received);
    CHECK(rx_stats(f).masked == masked);
    return true;
}

static bool
run_masked(void)
{
    struct vpci_net_queue_stats stats;
    struct injector injector;
    struct fixture f;
    int64_t start;

    CHECK(fixture_init(&f) && start_receiver(&f));
    start = now_us();
    CHECK(injector_start(&injector, f.s.guests[0]));
    CHECK(await_masked(&f, 4));
    CHECK(check_polling(&f, 40));
    stats = rx_stats(&f);
    injector_stop(&injector);
    CHECK(stats.spurious <= max_spurious(now_us() - start, stats.masked));
    CHECK(check_unmasked(&f));
    fixture_uninit(&f);
    return true;
}

/* The housekeeper is not kept busy, either. */
static bool
run_masked_control(void)
{
    struct vpci_signal_stats stats;
    struct injector injector;
    struct vpci_device *device;
    struct fixture f;
    int64_t start, us;

    CHECK(fixture_init(&f));
    device = vpci_net_device(f.net);
    CHECK(device);
    start = now_us();
    CHECK(injector_start(&injector, f.s.guests[CONTROL_VECTOR]));
    do {
        usleep(1000);
        us = now_us() - start;
        vpci_signal_get_stats(vpci_device_signal(device, CONTROL_VECTOR),
                              &stats);
    } while (stats.masked < 4 && us < TIMEOUT_US);
    injector_stop(&injector);
    CHECK(stats.masked >= 4);
    CHECK(stats.spurious <= max_spurious(us, stats.masked));
    vpci_device_release(device);
    fixture_uninit(&f);
    return true;
}

/* Changes of the other side. */

/* The guest injects each of its signals within a bound. */
static bool
await_all_injected(struct fixture *f)
{
    for (uint32_t i = 0; i < shape.n_vectors; i++) {
        int64_t deadline = net_now_ms() + TIMEOUT_MS;
        eventfd_t value;

        while (eventfd_read(f->s.own[i], &value)) {
            CHECK(net_now_ms() < deadline);
            net_switch_run(&f->s);
            usleep(500);
        }
    }
    return true;
}

/* The switch, which injects nothing, and its end of signals go and come back,
 * or begin anew: the guest looks at its rings, and tells the switch to. */
static bool
run_changes(void)
{
    struct fixture f;

    CHECK(fixture_init(&f) && start_receiver(&f));
    CHECK(await_all_injected(&f));
    for (uint32_t i = 0; i < 10; i++) {
        for (uint32_t j = 0; j < shape.n_vectors; j++) {
            f.s.port.to_guest[j] = -1;
        }
        net_server_tell(&f.s.server, false);
        CHECK(put(&f, i & 1));
        net_server_tell(&f.s.server, true);
        CHECK(await_received(&f, i + 1));
        CHECK(await_all_injected(&f));
    }
    net_switch_begin(&f.s);
    CHECK(await_all_injected(&f));
    fixture_uninit(&f);
    return true;
}

/* Who makes those wait who ring for it is not rung for any more, at any of its
 * signals, until another one comes. */
static bool
run_deaf(void)
{
    struct vpci_device *ends[2];
    eventfd_t value;
    int fd;

    CHECK(!vpci_loop_create(4096, 2, ends));
    CHECK(!vpci_device_open(ends[0], 0) && !vpci_device_open(ends[1], 0));
    fd = vpci_signal_fd(vpci_device_signal(ends[1], 0));
    CHECK(!fcntl(fd, F_SETFL, 0) && !eventfd_write(fd, UINT64_MAX - 1));
    CHECK(vpci_signal_inject(vpci_device_signal(ends[0], 0)) == ETIMEDOUT);
    CHECK(!eventfd_read(fd, &value));
    for (unsigned int i = 0; i < 2; i++) {
        CHECK(vpci_signal_inject(vpci_device_signal(ends[0], i))
              == ETIMEDOUT);
        CHECK(!vpci_signal_clear(vpci_device_signal(ends[1], i)));
    }

    vpci_device_close(ends[1]);
    CHECK(!vpci_device_open(ends[1], 0));
    for (unsigned int i = 0; i < 2; i++) {
        CHECK(!vpci_signal_inject(vpci_device_signal(ends[0], i)));
        CHECK(vpci_signal_clear(vpci_device_signal(ends[1], i)));
    }
    vpci_device_release(ends[0]);
    vpci_device_release(ends[1]);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "storm", run_storm },
        { "held", run_held },
        { "deaf", run_deaf },
        { "batches", run_batches },
        { "times", run_times },
        { "urgent", run_urgent },
        { "masked", run_masked },
        { "masked-control", run_masked_control },
        { "changes", run_changes },
    };

    signal(SIGPIPE, SIG_IGN);
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
