/* SPDX-License-Identifier: Apache-2.0 */

#ifndef BENCH_LIMIT_H
#define BENCH_LIMIT_H 1

/* What the parts of vpci-perf's limit share. */

#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define CACHE_LINE 64

/* Moves the calling thread to processor 'cpu', or ends the program. */
static inline void
pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set)) {
        fprintf(stderr, "limit: this process may not run on processor %d\n",
                cpu);
        exit(1);
    }
}

static inline uint64_t
now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* The processor's own clock, 0 if it has none. */
static inline uint64_t
cycles(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_ia32_rdtsc();
#else
    return 0;
#endif
}

/* How two processes on processors 'cpus' hand something to and fro: a word in
 * shared memory, for which both poll, or eventfds, on which both sleep. */
enum round_trip_kind {
    ROUND_TRIP_LINE,
    ROUND_TRIP_SLEEP,
};

/* Measures that for 'duration' nanoseconds, with a pause of 'pause_us'
 * microseconds after each round trip, and prints the time that one takes, in
 * microseconds: p50, p99 and p99.9. */
void measure_round_trips(enum round_trip_kind, const int cpus[2],
                         uint64_t duration, unsigned int pause_us);

#endif /* tests/bench/limit.h */
