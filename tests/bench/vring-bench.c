/* SPDX-License-Identifier: Apache-2.0 */

/* Cycles that a packet costs in the virtio ring engine
 * ====================================================
 *
 * One thread plays the driver and the switch in turns: the driver fills a
 * whole ring, the engine empties it burst by burst.  Only the engine's turns
 * count; what the driver's turns cost is shown apart.  So the cache is warm,
 * and the figures are the engine's own instructions rather than the time that
 * cache lines take from one processor to the other.
 *
 * Each figure is the median of many rounds, in ticks of the time stamp counter
 * (nanoseconds where there is none). */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vpci/splice.h"
#include "vpci/vring.h"
#include "vring-driver.h"

#define RING_SIZE 256
#define BURST VPCI_VRING_BURST
#define FILLS 32                /* Of the ring, in each round. */
#define MAX_ROUNDS 1001

/* Buffers lie as far apart as in a DPDK mempool with 2,048-byte rooms: an odd
 * multiple of the cache line, so that they use all cache sets. */
#define BUF_STRIDE 2368
#define BUF_SIZE 2060
#define HDR_LEN 12

#define F_MERGEABLE (UINT64_C(1) << 15)

#define GUEST_ADDR UINT64_C(0x40000000)
#define DRIVER_OFS 0x10000
#define DEVICE_OFS 0x20000
#define TABLE_OFS 0x30000
#define BUFS_OFS 0x40000
#define GUEST_SIZE (BUFS_OFS + (RING_SIZE + 1) * BUF_STRIDE)

#if defined __x86_64__
static inline uint64_t
now(void)
{
    return __builtin_ia32_rdtsc();
}
#else
static inline uint64_t
now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}
#endif

/* How the driver lays a frame out: header and frame in one descriptor, in a
 * descriptor each, or in a descriptor each of an indirect table. */
enum layout { LAYOUT_ONE, LAYOUT_TWO, LAYOUT_TABLE };
static const char *const layout_names[] = { "one", "two", "table" };

struct guest {
    uint8_t *memory;
    struct vpci_memory mem;
    struct vring_driver *drv;
    struct vpci_vring *vr;
    enum layout layout;
    bool writable;
};

static void
die(const char *what)
{
    fprintf(stderr, "vring-bench: %s\n", what);
    exit(EXIT_FAILURE);
}

static void
guest_init(struct guest *g, uint64_t features, enum layout layout,
           bool writable)
{
    memset(g, 0, sizeof *g);
    g->layout = layout;
    g->writable = writable;
    g->memory = aligned_alloc(4096, (GUEST_SIZE + 4095) & ~4095);
    if (!g->memory
        || vpci_memory_add(&g->mem, GUEST_ADDR, GUEST_SIZE, g->memory)) {
        die("no guest memory");
    }
    memset(g->memory, 0, GUEST_SIZE);

    const struct vring_driver_config dcfg = {
        .size = RING_SIZE,
        .features = features,
        .desc = g->memory,
        .driver = g->memory + DRIVER_OFS,
        .device = g->memory + DEVICE_OFS,
        .indirect = g->memory + TABLE_OFS,
        .indirect_addr = GUEST_ADDR + TABLE_OFS,
        .indirect_max = 4,
        .start_wrap = true,
    };
    const struct vpci_vring_config cfg = {
        .size = RING_SIZE,
        .features = features,
        .desc = dcfg.desc,
        .driver = dcfg.driver,
        .device = dcfg.device,
        .mem = &g->mem,
        .base = { .avail_wrap = true, .used_wrap = true },
        .call_fd = -1,
    };

    g->drv = vring_driver_create(&dcfg);
    g->vr = vpci_vring_create();
    if (!g->drv || !g->vr || vpci_vring_start(g->vr, &cfg)) {
        die("cannot start a ring");
    }
    vring_driver_disable_interrupts(g->drv);
}

static void
guest_destroy(struct guest *g)
{
    vpci_vring_destroy(g->vr);
    vring_driver_destroy(g->drv);
    free(g->memory);
}

/* The driver's turn: takes back what was used and makes up to 'max' descriptors
 * available, with 'len' bytes in each buffer. */
static unsigned int
guest_fill(struct guest *g, uint32_t len, unsigned int max)
{
    struct vring_driver_reaped reaped[BURST];
    unsigned int n = 0;

    while (vring_driver_reap(g->drv, reaped, BURST)) {
        continue;
    }
    if (g->drv->error) {
        die(g->drv->error);
    }
    while (n < max) {
        uint64_t addr = GUEST_ADDR + BUFS_OFS + n * BUF_STRIDE;
        struct vring_driver_buf bufs[2] = {
            { addr, HDR_LEN, g->writable },
            { addr + HDR_LEN, len, g->writable },
        };
        unsigned int n_bufs = 2;

        if (g->layout == LAYOUT_ONE) {
            bufs[0].len += len;
            n_bufs = 1;
        }
        if (vring_driver_add(g->drv, bufs, n_bufs, g->layout == LAYOUT_TABLE,
                             NULL) < 0) {
            break;
        }
        n++;
    }
    vring_driver_publish(g->drv);
    return n;
}

/* The engine's turns.  Each returns the number of packets. */

static unsigned int
take_all(struct guest *g, void *frame)
{
    struct vpci_pkt pkts[BURST];
    unsigned int total = 0, n;

    while ((n = vpci_vring_peek(g->vr, pkts, BURST))) {
        for (unsigned int i = 0; i < n; i++) {
            vpci_pkt_copy(&pkts[i], (uint8_t *) frame + i * BUF_STRIDE);
        }
        vpci_vring_release(g->vr, n);
        vpci_vring_notify(g->vr);
        total += n;
    }
    return total;
}

static unsigned int
push_all(struct guest *g, struct vpci_pkt pkts[BURST])
{
    unsigned int total = 0, n;

    do {
        n = vpci_vring_push(g->vr, pkts, BURST);
        vpci_vring_notify(g->vr);
        total += n;
    } while (n == BURST);
    return total;
}

/* Matches all frames. */
static const struct vpci_steer_plain anything;

/* Moves a burst, easy frames or others.  Returns its size. */
static unsigned int
splice_burst(struct guest *from, struct guest *to)
{
    struct vpci_pkt pkts[BURST];
    struct vpci_spliced spliced;
    unsigned int n = vpci_vring_splice(from->vr, to->vr, &anything, BUF_SIZE,
                                       &spliced);

    if (!n && spliced.stopped) {
        n = vpci_vring_peek(from->vr, pkts, BURST);
        n = vpci_vring_push(to->vr, pkts, n);
        vpci_vring_release(from->vr, n);
    }
    return n;
}

static unsigned int
splice_all(struct guest *from, struct guest *to)
{
    unsigned int total = 0, n;

    while ((n = splice_burst(from, to))) {
        vpci_vring_notify(to->vr);
        vpci_vring_notify(from->vr);
        total += n;
    }
    return total;
}

static int
compare_doubles(const void *a_, const void *b_)
{
    const double *a = a_, *b = b_;

    return *a < *b ? -1 : *a > *b;
}

static double
median(double *values, unsigned int n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

enum what { TAKE, PUSH, SPLICE, N_WHATS };

/* Runs 'n_rounds' rounds.  Returns the engine's cost of a packet, and the
 * driver's in '*driver'. */
static double
measure(enum what what, struct guest *tx, struct guest *rx, uint32_t len,
        unsigned int n_rounds, double *driver)
{
    static uint8_t frames[BURST * BUF_STRIDE];
    static double engine_costs[MAX_ROUNDS], driver_costs[MAX_ROUNDS];
    struct vpci_iov iovs[BURST];
    struct vpci_pkt pkts[BURST];

    for (unsigned int i = 0; i < BURST; i++) {
        iovs[i] = (struct vpci_iov) { &frames[i * BUF_STRIDE], len };
        pkts[i] = (struct vpci_pkt) { .iov = &iovs[i], .n_iov = 1,
                                      .len = len };
    }
    for (unsigned int round = 0; round < n_rounds; round++) {
        uint64_t engine_ticks = 0, driver_ticks = 0;
        uint64_t n_engine = 0, n_driver = 0;

        for (unsigned int i = 0; i < FILLS; i++) {
            uint64_t t0 = now(), t1;

            if (what != PUSH) {
                n_driver += guest_fill(tx, len, RING_SIZE);
            }
            if (what != TAKE) {
                n_driver += guest_fill(rx, BUF_SIZE - HDR_LEN, RING_SIZE);
            }
            t1 = now();
            driver_ticks += t1 - t0;
            n_engine += (what == TAKE ? take_all(tx, frames)
                         : what == PUSH ? push_all(rx, pkts)
                         : splice_all(tx, rx));
            engine_ticks += now() - t1;
        }
        if (!n_engine || !n_driver) {
            die("no packet moved");
        }
        engine_costs[round] = (double) engine_ticks / n_engine;
        driver_costs[round] = (double) driver_ticks / n_driver;
    }
    *driver = median(driver_costs, n_rounds);
    return median(engine_costs, n_rounds);
}

static uint64_t
features_of(bool packed, bool mergeable, bool in_order)
{
    return (VRING_F_VERSION_1 | VRING_F_INDIRECT | VRING_F_EVENT_IDX
            | (packed ? VRING_F_PACKED : 0)
            | (mergeable ? F_MERGEABLE : 0)
            | (in_order ? VRING_F_IN_ORDER : 0));
}

static const char *
kind_name(bool packed)
{
    return packed ? "packed" : "split";
}

static void
run(bool packed, bool mergeable, bool in_order, enum layout layout,
    uint32_t len, unsigned int n_rounds)
{
    uint64_t features = features_of(packed, mergeable, in_order);
    double cost[N_WHATS], driver;
    struct guest tx, rx;

    guest_init(&tx, features, layout, false);
    guest_init(&rx, features, layout, true);
    for (int what = 0; what < N_WHATS; what++) {
        cost[what] = measure(what, &tx, &rx, len, n_rounds, &driver);
    }
    printf("%-6s %-5s %-9s %-8s %5u %8.1f %8.1f %8.1f %8.1f %8.1f\n",
           kind_name(packed), layout_names[layout],
           mergeable ? "mergeable" : "-", in_order ? "in-order" : "-",
           (unsigned int) len, cost[TAKE], cost[PUSH],
           cost[TAKE] + cost[PUSH], cost[SPLICE], driver);
    fflush(stdout);
    guest_destroy(&tx);
    guest_destroy(&rx);
}

/* The cost of a frame of 'len' bytes from one kind of ring to another. */
static double
splice_cost(bool from_packed, bool to_packed, bool mergeable, uint32_t len,
            unsigned int n_rounds)
{
    struct guest tx, rx;
    double cost, driver;

    guest_init(&tx, features_of(from_packed, mergeable, false), LAYOUT_ONE,
               false);
    guest_init(&rx, features_of(to_packed, mergeable, false), LAYOUT_ONE,
               true);
    cost = measure(SPLICE, &tx, &rx, len, n_rounds, &driver);
    guest_destroy(&tx);
    guest_destroy(&rx);
    return cost;
}

/* Prints what frames of 'len' bytes cost between rings of all kinds. */
static void
run_pairs(uint32_t len, unsigned int n_rounds)
{
    double costs[8], best = 0;

    for (int i = 0; i < 8; i++) {
        costs[i] = splice_cost(i & 1, i & 2, i & 4, len, n_rounds);
        best = !i || costs[i] < best ? costs[i] : best;
    }
    for (int i = 0; i < 8; i++) {
        printf("%-6s to %-6s %-9s %5u %8.1f %8.2f\n", kind_name(i & 1),
               kind_name(i & 2), i & 4 ? "mergeable" : "-",
               (unsigned int) len, costs[i], costs[i] / best);
    }
    fflush(stdout);
}

/* Guests with several queues. */

#define MAX_QUEUES 16

/* Headers of IPv4 and UDP for all buffers of 'g': one flow, 'first', or, if
 * 'n_flows' is more than 1, so many in turns. */
static void
make_flows(struct guest *g, unsigned int first, unsigned int n_flows)
{
    for (unsigned int i = 0; i <= RING_SIZE; i++) {
        uint8_t *frame = g->memory + BUFS_OFS + i * BUF_STRIDE + HDR_LEN;

        frame[12] = 0x08;
        frame[14] = 0x45;
        frame[23] = 17;
        frame[35] = first + i % n_flows;
    }
}

/* Makes flow I go to queue I. */
static void
make_spread(struct vpci_spread *spread, unsigned int n)
{
    uint8_t frame[VPCI_SPREAD_HEADERS] = { [12] = 0x08, [14] = 0x45,
                                           [23] = 17 };

    vpci_spread_reset(spread, n);
    for (unsigned int i = 0; i < n; i++) {
        frame[35] = i;
        vpci_spread_learn(spread, frame, sizeof frame, i, 2);
    }
}

/* Moves a burst of 'from' to those of 'to' that 'spread' says. */
static unsigned int
scatter_burst(struct guest *from, struct guest *to, struct vpci_spread *spread)
{
    struct vpci_splice_look look;
    unsigned int n = vpci_vring_look(from->vr, &anything, BUF_SIZE, spread, 1,
                                     &look);
    uint32_t left = n ? UINT32_MAX >> (32 - n) : 0;

    while (left) {
        unsigned int queue = look.queues[__builtin_ctz(left)];
        uint32_t which = vpci_spread_same(look.queues, left);

        if (vpci_vring_put(&look, to[queue].vr, which) != which) {
            die("no room");
        }
        vpci_vring_notify(to[queue].vr);
        left &= ~which;
    }
    vpci_vring_release(from->vr, n);
    vpci_vring_notify(from->vr);
    return n;
}

/* Returns the cost of a frame of 'len' bytes between guests with 'n' queues,
 * whose bursts are of one flow each or 'mixed'. */
static double
queues_cost(unsigned int n, bool mixed, uint32_t len, unsigned int n_rounds)
{
    static struct guest tx[MAX_QUEUES], rx[MAX_QUEUES];
    static double costs[MAX_ROUNDS];
    struct vpci_spread spread;

    make_spread(&spread, n);
    for (unsigned int q = 0; q < n; q++) {
        guest_init(&tx[q], VRING_F_VERSION_1, LAYOUT_ONE, false);
        guest_init(&rx[q], VRING_F_VERSION_1, LAYOUT_ONE, true);
        make_flows(&tx[q], mixed ? 0 : q, mixed ? n : 1);
    }
    for (unsigned int round = 0; round < n_rounds; round++) {
        uint64_t ticks = 0, total = 0;

        for (unsigned int i = 0; i < FILLS; i++) {
            unsigned int done, moved;
            uint64_t t0;

            for (unsigned int q = 0; q < n; q++) {
                /* As many buffers in all, so that all are in the cache. */
                guest_fill(&tx[q], len, RING_SIZE / n);
                guest_fill(&rx[q], BUF_SIZE - HDR_LEN, RING_SIZE / n);
            }
            t0 = now();
            do {
                done = 0;
                for (unsigned int q = 0; q < n; q++) {
                    moved = (n == 1 ? splice_burst(&tx[0], &rx[0])
                             : scatter_burst(&tx[q], rx, &spread));
                    done += moved;
                }
                total += done;
            } while (done);
            ticks += now() - t0;
        }
        costs[round] = (double) ticks / total;
    }
    for (unsigned int q = 0; q < n; q++) {
        guest_destroy(&tx[q]);
        guest_destroy(&rx[q]);
    }
    return median(costs, n_rounds);
}

/* Prints what several queues cost. */
static void
run_queues(uint32_t len, unsigned int n_rounds)
{
    static const unsigned int numbers[] = { 1, 4, 8, 16 };
    double one = 0;

    for (int mixed = 0; mixed < 2; mixed++) {
        for (unsigned int i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            double cost = queues_cost(numbers[i], mixed, len, n_rounds);

            one = numbers[i] == 1 ? cost : one;
            printf("%6u %-9s %5u %8.1f %8.2f\n", numbers[i],
                   mixed ? "mixed" : "trains", (unsigned int) len, cost,
                   cost / one);
            fflush(stdout);
        }
    }
}

int
main(int argc, char *argv[])
{
    static const uint32_t lens[] = { 64, 1518 };
    unsigned int n_rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 101;

    if (argc > 2 || !n_rounds || n_rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: %s [ROUNDS]  (1 to %d, default 101)\n",
                argv[0], MAX_ROUNDS);
        return EXIT_FAILURE;
    }
    printf("ticks per packet: take = peek, copy, release; splice = from ring to "
           "ring\n"
           "%-6s %-5s %-9s %-8s %5s %8s %8s %8s %8s %8s\n",
           "ring", "descs", "", "", "bytes", "take", "push", "sum", "splice",
           "(driver)");
    for (int i = 0; i < 2; i++) {
        for (int packed = 0; packed < 2; packed++) {
            for (int layout = LAYOUT_ONE; layout <= LAYOUT_TABLE; layout++) {
                run(packed, false, false, layout, lens[i], n_rounds);
            }
            run(packed, true, false, LAYOUT_ONE, lens[i], n_rounds);
            run(packed, true, true, LAYOUT_ONE, lens[i], n_rounds);
        }
    }
    printf("\n%-16s %-9s %5s %8s %8s\n", "rings", "", "bytes", "splice",
           "to best");
    for (int i = 0; i < 2; i++) {
        run_pairs(lens[i], n_rounds);
    }
    printf("\n%6s %-9s %5s %8s %8s\n", "queues", "bursts", "bytes", "splice",
           "to one");
    for (int i = 0; i < 2; i++) {
        run_queues(lens[i], n_rounds);
    }
    return EXIT_SUCCESS;
}
