/* SPDX-License-Identifier: Apache-2.0 */

/* Cycles that a packet costs in a steering table
 * ==============================================
 *
 * A table is filled, and packets whose keys are taken from its entries at
 * random are looked up in bursts and counted.  Parsing is measured apart.
 * Each figure is the median of many rounds, in ticks of the time stamp counter
 * (nanoseconds where there is none).  Inserting and removing is measured while
 * another thread looks up packets. */

#include <arpa/inet.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vpci/gate.h"
#include "vpci/steer.h"

#define ROUNDS 31
#define BURST VPCI_STEER_BURST
#define BURSTS 4096             /* In each round. */
#define CHANGES 200000

static uint64_t
now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static uint64_t
now(void)
{
#if defined __x86_64__
    return __builtin_ia32_rdtsc();
#else
    return now_ns();
#endif
}

/* A mask of a five-tuple whose source address has a prefix. */
static union vpci_key
make_mask(unsigned int class, unsigned int n_classes)
{
    union vpci_key mask = {
        .eth_type = 0xffff, .kind = VPCI_KEY_FRAG_ANY, .ip_proto = 0xff,
        .l4_src = 0xffff, .l4_dst = 0xffff,
    };

    for (unsigned int bit = 0; bit < (n_classes > 1 ? 16 + class % 16 : 32);
         bit++) {
        mask.ip_src[bit / 8] |= 0x80 >> bit % 8;
    }
    for (unsigned int bit = 0; bit < (n_classes > 1 ? 16 + class / 16 : 32);
         bit++) {
        mask.ip_dst[bit / 8] |= 0x80 >> bit % 8;
    }
    return mask;
}

static union vpci_key
make_key(unsigned int class, uint32_t n)
{
    union vpci_key key = {
        .eth_dst = { 2 }, .eth_src = { 2, 1 }, .eth_type = htons(0x0800),
        .ip_src = { 10, class, 0, 1 }, .ip_dst = { 10, 128 + class, 0, 1 },
        .ip_ttl = 64, .ip_proto = 17, .l4_src = n, .l4_dst = n >> 16,
    };

    return key;
}

static int
compare(const void *a_, const void *b_)
{
    const double *a = a_, *b = b_;

    return *a < *b ? -1 : *a > *b;
}

static double
median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare);
    return values[n / 2];
}

static uint32_t
random_number(void)
{
    static uint64_t state = 88172645463325252;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state >> 32;
}

static uint32_t
insert(struct vpci_steer *t, uint32_t n, unsigned int n_classes)
{
    unsigned int class = n % n_classes;
    union vpci_key mask = make_mask(class, n_classes);
    union vpci_key key = make_key(class, n);
    uint32_t entry;
    int error = vpci_steer_insert(t, &mask, &key, n, &entry);

    if (error) {
        fprintf(stderr, "steer-bench: insert: %s\n", strerror(error));
        exit(1);
    }
    return entry;
}

/* One round: cycles for each packet. */
static double
lookup_round(struct vpci_steer_reader *r, union vpci_key *keys)
{
    uint64_t start = now();

    for (int i = 0; i < BURSTS; i++) {
        uint32_t entries[BURST];
        uint64_t verdicts[BURST];

        vpci_steer_enter(r);
        vpci_steer_lookup(r, keys + i * BURST, BURST, entries, verdicts);
        for (int k = 0; k < BURST; k++) {
            vpci_steer_count(r, entries[k], 1, 64, 0, start);
        }
        vpci_steer_leave(r);
    }
    return (double) (now() - start) / (BURSTS * BURST);
}

/* 'n_flows' of the entries are in use, in random order. */
static void
bench_lookup(uint32_t n_entries, unsigned int n_classes, uint32_t n_flows)
{
    struct vpci_steer *t = vpci_steer_create(n_entries, 1);
    struct vpci_steer_reader *r = vpci_steer_reader_create(t, 0);
    union vpci_key *keys = malloc(sizeof *keys * BURSTS * BURST);
    double values[ROUNDS];

    for (uint32_t i = 0; i < n_entries; i++) {
        insert(t, i, n_classes);
    }
    for (int i = 0; i < ROUNDS; i++) {
        for (int k = 0; k < BURSTS * BURST; k++) {
            uint32_t n = random_number() % n_flows;

            keys[k] = make_key(n % n_classes, n);
        }
        values[i] = lookup_round(r, keys);
    }
    printf("%9u entries, %2u masks, %7u in use: %6.1f\n", n_entries,
           n_classes, n_flows, median(values, ROUNDS));
    fflush(stdout);
    free(keys);
    vpci_steer_reader_destroy(r);
    vpci_steer_destroy(t);
}

/* Keeps work from being left out. */
static volatile uint64_t sink;

static void
bench_parse(enum vpci_key_depth depth, const char *name)
{
    static const uint8_t packet[64] = {
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0,
        0x45, 0, 0, 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        1, 1, 2, 2, 0, 30, 0, 0,
    };
    double values[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = now();

        for (int k = 0; k < BURSTS; k++) {
            union vpci_key key;

            if (vpci_key_parse(packet, sizeof packet, sizeof packet, 1, depth,
                               &key)) {
                sink += key.words[2];
            }
        }
        values[i] = (double) (now() - start) / BURSTS;
    }
    printf("parsing, %s: %.1f\n", name, median(values, ROUNDS));
}

struct looker {
    struct vpci_steer *t;
    bool stop;
    uint64_t n;
};

static void *
look(void *looker_)
{
    struct looker *looker = looker_;
    struct vpci_steer_reader *r = vpci_steer_reader_create(looker->t, 0);
    union vpci_key keys[BURST];

    while (!__atomic_load_n(&looker->stop, __ATOMIC_RELAXED)) {
        uint32_t entries[BURST];
        uint64_t verdicts[BURST];

        for (int k = 0; k < BURST; k++) {
            keys[k] = make_key(0, (looker->n + k) % CHANGES);
        }
        vpci_steer_enter(r);
        vpci_steer_lookup(r, keys, BURST, entries, verdicts);
        vpci_steer_leave(r);
        looker->n += BURST;
    }
    vpci_steer_reader_destroy(r);
    return NULL;
}

static void
bench_changes(void)
{
    struct looker looker = { .t = vpci_steer_create(CHANGES, 1) };
    uint32_t *entries = malloc(sizeof *entries * CHANGES);
    uint64_t start, middle, end;
    pthread_t thread;

    pthread_create(&thread, NULL, look, &looker);
    start = now_ns();
    for (uint32_t i = 0; i < CHANGES; i++) {
        entries[i] = insert(looker.t, i, 1);
    }
    middle = now_ns();
    for (uint32_t i = 0; i < CHANGES; i++) {
        vpci_steer_remove(looker.t, entries[i]);
    }
    end = now_ns();
    __atomic_store_n(&looker.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    printf("beside a reader, per second: %.0f insertions, %.0f removals\n",
           CHANGES * 1e9 / (middle - start), CHANGES * 1e9 / (end - middle));
    free(entries);
    vpci_steer_destroy(looker.t);
}

int
main(void)
{
    vpci_gate_global_init();
    puts("Cycles for each packet:");
    bench_parse(VPCI_DEPTH_ETH, "Ethernet");
    bench_parse(VPCI_DEPTH_IP, "network layer");
    bench_parse(VPCI_DEPTH_L4, "transport layer");
    bench_lookup(1, 1, 1);
    bench_lookup(1000, 1, 1000);
    bench_lookup(10000, 1, 10000);
    bench_lookup(10000, 64, 10000);
    bench_lookup(100000, 1, 100000);
    bench_lookup(1000000, 1, 1000);
    bench_lookup(1000000, 1, 1000000);
    bench_changes();
    return 0;
}
