/* SPDX-License-Identifier: Apache-2.0 */

/* What no design can beat on this machine: how fast one processor can hand
 * cache lines, and packets in shared memory, to another one, and how fast one
 * can copy.  Part of vpci-perf.
 *
 * Packets go through a ring for one producer and one consumer, each in a slot
 * of its own with its length in front of it.  The producer writes the first
 * bytes of a slot, the consumer copies all of it to a place of its own.
 * Indices are published once in a batch of packets.  The slots of a ring are an odd
 * number of cache lines, so that they do not fall on the same cache sets. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <inttypes.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "limit.h"

#define HUGE_PAGE (2u << 20)
#define RING_SIZE 1024
#define DEFAULT_BATCH 32
#define MAX_SIZE 65536

static int cpus[2];
static atomic_bool ready, stop;

struct index {
    alignas(CACHE_LINE) _Atomic uint64_t value;
};

static struct index producer, consumer;
static uint8_t *slots;
static size_t slot_size, packet_size, written_size;
static uint32_t batch = DEFAULT_BATCH;

/* What the consumer has taken, and the cycles in which there was something to
 * take. */
static uint64_t taken, busy_cycles;

/* Keeps the copies from being left out. */
static volatile uint8_t checksum;

static void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* One cache line, there and back. */

static void *
echo(void *arg)
{
    uint64_t seen = 0;

    (void) arg;
    pin(cpus[1]);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t value = atomic_load_explicit(&producer.value,
                                              memory_order_acquire);

        if (value != seen) {
            seen = value;
            atomic_store_explicit(&consumer.value, value,
                                  memory_order_release);
        }
    }
    return NULL;
}

static void
ping_pong(uint64_t duration)
{
    uint64_t start, end, n = 0;
    pthread_t thread;

    pthread_create(&thread, NULL, echo, NULL);
    start = now_ns();
    do {
        for (int i = 0; i < 100; i++) {
            atomic_store_explicit(&producer.value, ++n, memory_order_release);
            while (atomic_load_explicit(&consumer.value, memory_order_acquire)
                   != n) {
                continue;
            }
        }
        end = now_ns();
    } while (end - start < duration);
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    printf("%.1f\n", (double) (end - start) / n);
}

/* Packets. */

/* Bytes of a slot for packets of 'size' bytes and their header. */
static size_t
choose_slot_size(size_t size)
{
    size_t lines = (16 + size + CACHE_LINE - 1) / CACHE_LINE;

    return (lines | 1) * CACHE_LINE;
}

/* Memory for as many packets as a ring has. */
static uint8_t *
allocate_slots(void)
{
    uint8_t *memory;
    size_t size;

    slot_size = choose_slot_size(packet_size);
    size = (RING_SIZE * slot_size + HUGE_PAGE - 1) / HUGE_PAGE
                  * HUGE_PAGE;

    memory = aligned_alloc(HUGE_PAGE, size);
    if (!memory) {
        fprintf(stderr, "limit: no memory\n");
        exit(1);
    }
    /* As guests' and switches' memory.  Without, it is just slower. */
    madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 0, size);
    return memory;
}

static void *
consume(void *arg)
{
    uint8_t *copies = allocate_slots();
    uint64_t head = 0, busy = 0;

    (void) arg;
    pin(cpus[1]);
    atomic_store(&ready, true);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t since = cycles();
        uint64_t end = atomic_load_explicit(&producer.value,
                                            memory_order_acquire);

        if (head == end) {
            relax();
            continue;
        }
        for (; head < end; head++) {
            size_t offset = head % RING_SIZE * slot_size;
            uint32_t len;

            memcpy(&len, slots + offset, sizeof len);
            memcpy(copies + offset + 16, slots + offset + 16, packet_size);
            checksum += copies[offset + 16 + len - 1];
        }
        atomic_store_explicit(&consumer.value, head, memory_order_release);
        busy += cycles() - since;
    }
    taken = head;
    busy_cycles = busy;
    free(copies);
    return NULL;
}

/* Puts a batch into the ring, once there is room for it. */
static void
produce_batch(uint64_t *tail, uint64_t *room, const uint8_t *packet)
{
    uint32_t len = packet_size;

    if (*tail + batch > *room) {
        *room = atomic_load_explicit(&consumer.value, memory_order_acquire)
                + RING_SIZE;
        if (*tail + batch > *room) {
            relax();
            return;
        }
    }
    for (uint32_t i = 0; i < batch; i++, ++*tail) {
        uint8_t *slot = slots + *tail % RING_SIZE * slot_size;

        memcpy(slot, &len, sizeof len);
        memcpy(slot + 16, packet, written_size);
    }
    atomic_store_explicit(&producer.value, *tail, memory_order_release);
}

static void
hand_off(uint64_t duration)
{
    static uint8_t packet[MAX_SIZE];
    uint64_t tail = 0, room = RING_SIZE, start, end;
    pthread_t thread;

    slots = allocate_slots();
    pthread_create(&thread, NULL, consume, NULL);
    while (!atomic_load(&ready)) {
        relax();
    }
    start = now_ns();
    do {
        for (int i = 0; i < 100; i++) {
            produce_batch(&tail, &room, packet);
        }
        end = now_ns();
    } while (end - start < duration);
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    free(slots);
    printf("%.3f %.1f\n", taken * 1e3 / (end - start),
           (double) busy_cycles / taken);
}

/* The same copies, on one processor: from slot to slot. */
static void
copy(uint64_t duration)
{
    uint64_t start = now_ns(), end, n = 0;

    slots = allocate_slots();
    do {
        for (int i = 0; i < 1000; i++, n++) {
            uint8_t *slot = slots + n % RING_SIZE * slot_size;
            uint8_t *to = slots + (n + RING_SIZE / 2) % RING_SIZE * slot_size;

            memcpy(to + 16, slot + 16, packet_size);
            checksum += to[packet_size - 1];
        }
        end = now_ns();
    } while (end - start < duration);
    free(slots);
    printf("%.3f\n", n * 1e3 / (end - start));
}

static void
usage(void)
{
    puts("\
limit: what no design can beat on this machine\n\
usage: limit ping-pong CPU,CPU SECONDS\n\
       limit hand-off CPU,CPU SECONDS SIZE [WRITTEN [BATCH]]\n\
       limit copy CPU,CPU SECONDS SIZE\n\
       limit line CPU,CPU SECONDS\n\
       limit sleep CPU,CPU SECONDS PAUSE\n\
\n\
ping-pong prints nanoseconds for one cache line, from one processor to the\n\
other and back.  hand-off prints millions of packets of SIZE bytes per second,\n\
of which the first processor writes WRITTEN bytes (all) into a ring, BATCH (32)\n\
at a time, and the second one copies all out of it, and the TSC cycles that it\n\
spends on each while there are any.\n\
copy prints millions of copies per second that the first processor makes.\n\
line and sleep print microseconds for a round trip between two processes, p50,\n\
p99 and p99.9: of a cache line for which both poll, and of eventfds on which\n\
both sleep, with a pause of PAUSE microseconds after each.");
}

int
main(int argc, char *argv[])
{
    const char *what = argc > 1 ? argv[1] : "--help";
    uint64_t duration;

    if (!strcmp(what, "--help") || !strcmp(what, "-h")) {
        usage();
        return 0;
    }
    if (argc < 4 || sscanf(argv[2], "%d,%d", &cpus[0], &cpus[1]) != 2) {
        fprintf(stderr, "limit: see --help\n");
        return 2;
    }
    duration = strtod(argv[3], NULL) * 1e9;
    packet_size = argc > 4 ? strtoul(argv[4], NULL, 10) : 0;
    written_size = argc > 5 ? strtoul(argv[5], NULL, 10) : packet_size;
    batch = argc > 6 ? strtoul(argv[6], NULL, 10) : DEFAULT_BATCH;
    pin(cpus[0]);
    if (!strcmp(what, "ping-pong")) {
        ping_pong(duration);
    } else if (!strcmp(what, "line")) {
        measure_round_trips(ROUND_TRIP_LINE, cpus, duration, 0);
    } else if (!strcmp(what, "sleep")) {
        measure_round_trips(ROUND_TRIP_SLEEP, cpus, duration,
                            argc > 4 ? strtoul(argv[4], NULL, 10) : 0);
    } else if (packet_size < 1 || packet_size > MAX_SIZE
               || written_size > packet_size || batch < 1
               || batch > RING_SIZE) {
        fprintf(stderr, "limit: SIZE is from 1 to %d, WRITTEN up to it, BATCH "
                "from 1 to %d\n", MAX_SIZE, RING_SIZE);
        return 2;
    } else if (!strcmp(what, "hand-off")) {
        hand_off(duration);
    } else if (!strcmp(what, "copy")) {
        copy(duration);
    } else {
        fprintf(stderr, "limit: see --help\n");
        return 2;
    }
    return 0;
}
