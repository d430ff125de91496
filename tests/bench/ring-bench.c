/* SPDX-License-Identifier: Apache-2.0 */

/* How fast packets go through a native ring from one processor to another,
 * beside a bare loop that makes the same copies in the same slots, and a probe
 * that tells how far the two processors are from each other right now.
 *
 * usage: ring-bench [ROUNDS [MILLISECONDS]] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "vpci/ring.h"

#define N_SLOTS 512
#define DATA_SIZE (512 * 1024)
#define MAX_SIZE 1518

static uint64_t
now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

static void
pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set)) {
        fprintf(stderr, "cannot use processor %d\n", cpu);
        exit(1);
    }
}

static void *
map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    if (p == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    return p;
}

static struct vpci_ring_memory memory, back;
static struct vpci_ring_tx *tx, *back_tx;
static struct vpci_ring_rx *rx, *back_rx;
static bool stop;
static unsigned int burst, size;
static uint64_t taken;

static bool
stopped(void)
{
    return __atomic_load_n(&stop, __ATOMIC_RELAXED);
}

static void
make_ring(struct vpci_ring_memory *m, struct vpci_ring_tx **t,
          struct vpci_ring_rx **r)
{
    *m = (struct vpci_ring_memory) {
        .slots = map(N_SLOTS * sizeof(struct vpci_abi_slot)),
        .data = map(DATA_SIZE),
        .producer = map(4096),
        .consumer = map(4096),
        .n_slots = N_SLOTS,
        .data_size = DATA_SIZE,
    };
    *t = map(vpci_ring_tx_bytes(N_SLOTS));
    *r = map(vpci_ring_rx_bytes());
}

/* Each with a place of its own that packets come from and go to. */
static uint8_t (*from)[2048], (*to)[2048];

static void *
ring_producer(void *aux)
{
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    bool tell;

    (void) aux;
    pin(1);
    memset(bufs, 0, sizeof bufs);
    for (unsigned int i = 0; i < burst; i++) {
        bufs[i].data = from[i];
        bufs[i].len = size;
    }
    while (!stopped()) {
        vpci_ring_tx_burst(tx, bufs, burst, &tell);
    }
    return NULL;
}

static void
ring_consumer(uint64_t end)
{
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    bool tell;

    memset(bufs, 0, sizeof bufs);
    for (unsigned int i = 0; i < VPCI_RING_BURST; i++) {
        bufs[i].data = to[i];
        bufs[i].size = sizeof to[i];
    }
    while (now_ns() < end) {
        for (int i = 0; i < 1000; i++) {
            taken += vpci_ring_rx_burst(rx, bufs, 32, &tell);
        }
    }
}

static void *
limit_producer(void *aux)
{
    uint32_t head = 0, consumed = 0;
    size_t stride = size <= VPCI_ABI_INLINE_BYTES ? VPCI_ABI_SLOT_BYTES : 1536;
    uint32_t n = size <= VPCI_ABI_INLINE_BYTES ? N_SLOTS : 256;
    uint8_t *base = size <= VPCI_ABI_INLINE_BYTES ? (void *) memory.slots
                                                  : memory.data;

    (void) aux;
    pin(1);
    while (!stopped()) {
        while (head + burst - consumed > n) {
            consumed = __atomic_load_n(&memory.consumer->consumed,
                                       __ATOMIC_ACQUIRE);
            if (stopped()) {
                return NULL;
            }
        }
        for (unsigned int i = 0; i < burst; i++) {
            uint8_t *p = base + (head & (n - 1)) * stride;

            *(uint32_t *) (void *) p = size;
            if (size == 64) {
                memcpy(p + 16, from[i], 64);
            } else {
                memcpy(p + 16, from[i], size);
            }
            head++;
        }
        __atomic_store_n(&memory.producer->produced, head, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void
limit_consumer(uint64_t end)
{
    uint32_t next = 0, told = 0;
    size_t stride = size <= VPCI_ABI_INLINE_BYTES ? VPCI_ABI_SLOT_BYTES : 1536;
    uint32_t n = size <= VPCI_ABI_INLINE_BYTES ? N_SLOTS : 256;
    uint8_t *base = size <= VPCI_ABI_INLINE_BYTES ? (void *) memory.slots
                                                  : memory.data;

    while (now_ns() < end) {
        for (int j = 0; j < 1000; j++) {
            uint32_t produced = __atomic_load_n(&memory.producer->produced,
                                                __ATOMIC_ACQUIRE);
            unsigned int i;

            for (i = 0; i < 32 && next != produced; i++) {
                uint8_t *p = base + (next & (n - 1)) * stride;
                uint32_t len = *(uint32_t *) (void *) p;

                if (len == 64) {
                    memcpy(to[i], p + 16, 64);
                } else {
                    memcpy(to[i], p + 16, len);
                }
                next++;
            }
            taken += i;
            if (next - told >= n / 8 || (next == produced && i)) {
                __atomic_store_n(&memory.consumer->consumed, next,
                                 __ATOMIC_RELEASE);
                told = next;
            }
        }
    }
}

static uint64_t word[2][512] __attribute__((aligned(4096)));

static void *
echo_word(void *aux)
{
    (void) aux;
    pin(1);
    while (!stopped()) {
        uint64_t x = __atomic_load_n(&word[0][0], __ATOMIC_ACQUIRE);

        __atomic_store_n(&word[1][0], x, __ATOMIC_RELEASE);
    }
    return NULL;
}

static void
probe_word(uint64_t end)
{
    uint64_t x = word[0][0];

    while (now_ns() < end) {
        for (int i = 0; i < 100; i++) {
            __atomic_store_n(&word[0][0], ++x, __ATOMIC_RELEASE);
            while (__atomic_load_n(&word[1][0], __ATOMIC_ACQUIRE) != x) {
            }
            taken++;
        }
    }
}

static void *
echo_ring(void *aux)
{
    struct vpci_ring_pkt pkt;

    (void) aux;
    pin(1);
    while (!stopped()) {
        if (vpci_ring_peek(rx, &pkt, 1)) {
            memcpy(vpci_ring_reserve(back_tx, pkt.len), pkt.data, 64);
            vpci_ring_submit(back_tx, pkt.len, NULL);
            vpci_ring_publish(back_tx);
            vpci_ring_release(rx, 1);
        }
    }
    return NULL;
}

static void
probe_ring(uint64_t end)
{
    struct vpci_ring_pkt pkt;

    while (now_ns() < end) {
        for (int i = 0; i < 100; i++) {
            memcpy(vpci_ring_reserve(tx, 64), from[0], 64);
            vpci_ring_submit(tx, 64, NULL);
            vpci_ring_publish(tx);
            while (!vpci_ring_peek(back_rx, &pkt, 1)) {
            }
            memcpy(to[0], pkt.data, 64);
            vpci_ring_release(back_rx, 1);
            taken++;
        }
    }
}

/* Returns how many packets, or round trips, there are in a second. */
static double
run(void *(*producer)(void *), void (*consumer)(uint64_t), unsigned int ms,
    unsigned int burst_, unsigned int size_)
{
    pthread_t thread;
    uint64_t start;

    burst = burst_;
    size = size_;
    taken = 0;
    stop = false;
    vpci_ring_tx_init(tx, &memory, NULL, 0);
    vpci_ring_rx_init(rx, &memory, NULL, 0);
    vpci_ring_rx_awake(rx, true);
    vpci_ring_tx_awake(tx, true);
    vpci_ring_tx_init(back_tx, &back, NULL, 1);
    vpci_ring_rx_init(back_rx, &back, NULL, 1);
    vpci_ring_rx_awake(back_rx, true);
    vpci_ring_tx_awake(back_tx, true);
    pthread_create(&thread, NULL, producer, NULL);
    start = now_ns();
    consumer(start + ms * UINT64_C(1000000));
    double rate = taken * 1e9 / (now_ns() - start);
    __atomic_store_n(&stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    return rate;
}

int
main(int argc, char *argv[])
{
    static const struct { unsigned int burst, size; } cases[] = {
        { 1, 64 }, { 8, 64 }, { 32, 64 }, { 32, 1518 },
    };
    int rounds = argc > 1 ? atoi(argv[1]) : 5;
    int ms = argc > 2 ? atoi(argv[2]) : 100;

    pin(0);
    from = map(64 * sizeof *from);
    to = map(64 * sizeof *to);
    make_ring(&memory, &tx, &rx);
    make_ring(&back, &back_tx, &back_rx);
    for (int i = 0; i < rounds; i++) {
        printf("line %.0f ns, ring %.0f ns\n",
               1e9 / run(echo_word, probe_word, ms, 1, 64),
               1e9 / run(echo_ring, probe_ring, ms, 1, 64));
        for (size_t j = 0; j < sizeof cases / sizeof *cases; j++) {
            double limit = run(limit_producer, limit_consumer, ms,
                               cases[j].burst, cases[j].size);
            double ring = run(ring_producer, ring_consumer, ms,
                              cases[j].burst, cases[j].size);

            printf("  %4u B, bursts of %2u: limit %6.1f, ring %6.1f Mpps, "
                   "%.2f\n", cases[j].size, cases[j].burst, limit / 1e6,
                   ring / 1e6, ring / limit);
        }
    }
    return 0;
}
