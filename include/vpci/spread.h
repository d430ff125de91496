/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_SPREAD_H
#define VPCI_SPREAD_H 1

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Flows over queues
 * =================
 *
 * Which of a guest's receive queues a packet goes to.  All packets of a flow go
 * to one queue, whoever sends them, so that they stay in order.  Flows are
 * hashed into buckets, and each bucket has a queue: one of those that run, or
 * the one that the guest itself sends packets of the flow from, since that is
 * where its processor expects the answers.
 *
 * A bucket moves to another queue only if it has had no packet for an epoch, so
 * that packets do not overtake each other (but for two that are sent just as it
 * moves).
 *
 * Threads: vpci_spread_choose() and vpci_spread_learn() by any, at any time.
 * vpci_spread_reset() while no other function runs. */

/* The bytes at the beginning of a packet that its hash depends on. */
#define VPCI_SPREAD_HEADERS 64

#define VPCI_SPREAD_BUCKETS 1024
#define VPCI_SPREAD_MAX_QUEUES 256

struct vpci_spread {
    uint8_t queues[VPCI_SPREAD_BUCKETS];    /* With atomics. */
    uint8_t used[VPCI_SPREAD_BUCKETS];      /* In which epoch last, or 0.  With
                                             * atomics. */
};

/* Packets of one direction of a flow have the hash of those of the other.  It
 * takes in the addresses of IPv4 or IPv6, and the ports of TCP, UDP and SCTP
 * unless the packet is a fragment; otherwise the Ethernet addresses. */

static inline uint32_t
vpci_flow_mix(uint64_t a, uint64_t b)
{
    /* Symmetric in 'a' and 'b'; odd constants with no pattern (of the golden
     * ratio and the square root of 2). */
    uint64_t h = ((a + b) * UINT64_C(0x9e3779b97f4a7c15)
                  ^ (a ^ b) * UINT64_C(0x6a09e667f3bcc909));

    h ^= h >> 29;
    return h * UINT64_C(0x9e3779b97f4a7c15) >> 32;
}

/* For all that vpci_flow_hash() does not do itself. */
uint32_t vpci_flow_hash_any(const uint8_t *headers, uint32_t n);

/* Hashes the packet whose first 'n' bytes, VPCI_SPREAD_HEADERS or all that it
 * has, are at 'headers'.  More do not matter. */
static inline uint32_t
vpci_flow_hash(const uint8_t *headers, uint32_t n)
{
    uint32_t src, dst;
    uint16_t ports[2];

    /* IPv4 without options, of which the next protocol is TCP or UDP. */
    if (__builtin_expect(n < 38 || headers[12] != 0x08 || headers[13]
                         || headers[14] != 0x45
                         || (headers[20] & 0x3f) | headers[21]
                         || (headers[23] != 6 && headers[23] != 17), 0)) {
        return vpci_flow_hash_any(headers, n);
    }
    memcpy(&src, headers + 26, sizeof src);
    memcpy(&dst, headers + 30, sizeof dst);
    memcpy(ports, headers + 34, sizeof ports);
    return vpci_flow_mix((uint64_t) src << 16 | ports[0],
                         (uint64_t) dst << 16 | ports[1]);
}

/* Time is counted in epochs, whose numbers, from 1 to UINT8_MAX, come round.
 * How long one takes is up to the caller: longer than packets wait in a queue of
 * a guest. */

/* Spreads all buckets evenly over queues 0 to 'n_queues' - 1, at most
 * VPCI_SPREAD_MAX_QUEUES. */
void vpci_spread_reset(struct vpci_spread *, unsigned int n_queues);

static inline unsigned int
vpci_spread_bucket(const uint8_t *headers, uint32_t n)
{
    return vpci_flow_hash(headers, n) % VPCI_SPREAD_BUCKETS;
}

/* Returns the queue for the packet with these headers, as for
 * vpci_flow_hash(), which is sent in 'epoch'. */
static inline unsigned int
vpci_spread_choose(struct vpci_spread *s, const uint8_t *headers, uint32_t n,
                   uint8_t epoch)
{
    unsigned int bucket = vpci_spread_bucket(headers, n);

    if (__builtin_expect(__atomic_load_n(&s->used[bucket], __ATOMIC_RELAXED)
                         != epoch, 0)) {
        __atomic_store_n(&s->used[bucket], epoch, __ATOMIC_RELAXED);
    }
    return __atomic_load_n(&s->queues[bucket], __ATOMIC_RELAXED);
}

/* Returns the bits in 'which', at least one, of packets for the same queue as
 * the first of them; packet I goes to 'queues[I]'. */
static inline uint32_t
vpci_spread_same(const uint8_t queues[], uint32_t which)
{
    uint8_t queue = queues[__builtin_ctz(which)];
    uint32_t same = 0;

    for (; which; which &= which - 1) {
        uint32_t i = __builtin_ctz(which);

        same |= (uint32_t) (queues[i] == queue) << i;
    }
    return same;
}

/* The guest has sent a packet with these headers from 'queue' in 'epoch'.
 * Packets of its flow will go there if none has been sent in this epoch or the
 * one before. */
void vpci_spread_learn(struct vpci_spread *, const uint8_t *headers,
                       uint32_t n, unsigned int queue, uint8_t epoch);

#ifdef __cplusplus
}
#endif

#endif /* vpci/spread.h */
