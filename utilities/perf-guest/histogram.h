/* SPDX-License-Identifier: Apache-2.0 */

#ifndef PERF_GUEST_HISTOGRAM_H
#define PERF_GUEST_HISTOGRAM_H 1

/* Counts of values, in buckets whose width is at most 1/32 of the value, so
 * that percentiles are that exact.  One writer, no reader beside it. */

#include <stdint.h>
#include <string.h>

#define HISTOGRAM_BITS 5
#define HISTOGRAM_PER_POWER (1u << HISTOGRAM_BITS)
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_BITS + 1) * HISTOGRAM_PER_POWER)

struct histogram {
    uint64_t n;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline void
histogram_clear(struct histogram *h)
{
    memset(h, 0, sizeof *h);
}

static inline unsigned int
histogram_bucket(uint64_t value)
{
    unsigned int shift;

    if (value < HISTOGRAM_PER_POWER) {
        return value;
    }
    shift = 63 - __builtin_clzll(value) - HISTOGRAM_BITS;
    return (shift + 1) * HISTOGRAM_PER_POWER
           + ((value >> shift) & (HISTOGRAM_PER_POWER - 1));
}

static inline void
histogram_add(struct histogram *h, uint64_t value)
{
    h->n++;
    h->buckets[histogram_bucket(value)]++;
}

/* The lowest value that falls into 'bucket'. */
static inline uint64_t
histogram_value(unsigned int bucket)
{
    unsigned int power = bucket / HISTOGRAM_PER_POWER;
    uint64_t rest = bucket % HISTOGRAM_PER_POWER;

    return power ? (HISTOGRAM_PER_POWER + rest) << (power - 1) : rest;
}

/* The value that a share of 'fraction' (0 to 1) of all values does not exceed,
 * or 0 if there is none. */
static inline uint64_t
histogram_quantile(const struct histogram *h, double fraction)
{
    uint64_t rank = h->n * fraction, seen = 0;

    for (unsigned int i = 0; i < HISTOGRAM_BUCKETS && h->n; i++) {
        seen += h->buckets[i];
        if (seen > rank || seen == h->n) {
            return histogram_value(i);
        }
    }
    return 0;
}

#endif /* histogram.h */
