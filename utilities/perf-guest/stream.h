/* SPDX-License-Identifier: Apache-2.0 */

#ifndef PERF_GUEST_STREAM_H
#define PERF_GUEST_STREAM_H 1

/* The packets of a stream: what is in them, and when they are due.
 *
 * The functions that are called for each packet are in this header. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_udp.h>

#include "traffic.h"

#define STREAM_BURST 32

#define STREAM_HEADERS_LEN (sizeof(struct rte_ether_hdr) \
                            + sizeof(struct rte_ipv4_hdr) \
                            + sizeof(struct rte_udp_hdr))

/* What a packet has behind its headers.  Unaligned. */
struct stream_stamp {
    uint8_t reserved[2];        /* So that 'tsc' begins a piece: see below. */
    uint32_t magic;
    uint64_t tsc;               /* When it was made. */
} __attribute__((packed));

#define STREAM_STAMP_MAGIC 0x76706369u     /* "vpci" */

struct stream_head {
    struct rte_ether_hdr eth;
    struct rte_ipv4_hdr ip;
    struct rte_udp_hdr udp;
    struct stream_stamp stamp;
};

/* Bytes in which packets are written, and in which they are copied. */
#define STREAM_PIECE 16

struct stream {
    struct traffic_stream cfg;
    struct stream_head head;
    uint32_t flow;
    uint32_t n_train;               /* Packets of 'flow' in a row, so far. */
    unsigned int size;
    uint64_t began;                 /* TSC, when pacing began. */
    uint64_t sent;                  /* Since then. */
};

_Static_assert(sizeof(struct stream_head)
               == STREAM_HEADERS_LEN + sizeof(struct stream_stamp),
               "no padding");
_Static_assert(sizeof(struct stream_head) <= TRAFFIC_MIN_SIZE,
               "room for the stamp in every packet");
_Static_assert(offsetof(struct stream_head, stamp.tsc) == 3 * STREAM_PIECE,
               "a piece of its own for the time");

void stream_init(struct stream *, const struct traffic_stream *);

/* Addresses and lengths of the next packet, which has 'size' bytes. */
void stream_next_flow(struct stream *, uint16_t size);

/* MAC address of a port. */
static inline struct rte_ether_addr
stream_mac(uint16_t port)
{
    return (struct rte_ether_addr) { .addr_bytes = { 2, [5] = port } };
}

/* Writes the beginning of the stream's packet, made at TSC 'now', to 'data',
 * which has room for four pieces.
 *
 * A load that needs bytes of several stores, or of one and of what was there
 * before, waits until these, and all others before them, are in the cache: so
 * does whoever copies the packet, unless it was written in the same pieces. */
static inline void
stream_put(const struct stream *s, void *data, uint64_t now)
{
    typedef uint64_t piece __attribute__((vector_size(STREAM_PIECE)));
    piece last = { now, 0 };
    uint8_t *p = data;

    memcpy(p, &s->head, 3 * STREAM_PIECE);
    memcpy(p + 3 * STREAM_PIECE, &last, sizeof last);
}

/* Makes the next packet in 'data', at TSC 'now'.  Returns its length. */
static inline uint16_t
stream_make(struct stream *s, void *data, uint64_t now)
{
    uint16_t size = s->cfg.sizes[s->size];

    if (s->cfg.n_sizes > 1 || s->cfg.flows > 1 || !s->head.ip.total_length) {
        stream_next_flow(s, size);
        s->size = s->size + 1 < s->cfg.n_sizes ? s->size + 1 : 0;
    }
    stream_put(s, data, now);
    return size;
}

/* True if all packets are alike, but for the time when they were made: then
 * there is no need for stream_make(), after the first one. */
static inline bool
stream_is_uniform(const struct stream *s)
{
    return (s->cfg.n_sizes == 1 && s->cfg.flows == 1
            && s->head.ip.total_length);
}

/* How many packets are due at TSC 'now', of 'hz', at most a burst. */
static inline unsigned int
stream_due(const struct stream *s, uint64_t now, uint64_t hz)
{
    uint64_t due;

    if (!s->cfg.rate) {
        return s->cfg.burst;
    }
    due = (double) (now - s->began) / hz * s->cfg.rate - s->sent;
    return due < s->cfg.burst ? due : s->cfg.burst;
}

/* The queue, of 'n_queues', of the flow that is next. */
static inline uint16_t
stream_queue(const struct stream *s, unsigned int n_queues)
{
    return (n_queues == 1 ? 0
            : (uint64_t) s->flow * s->cfg.train / STREAM_BURST % n_queues);
}

/* The stamp of a packet of 'len' bytes at 'data', or 0 if it has none. */
static inline uint64_t
stream_stamp(const void *data, uint32_t len)
{
    const struct stream_stamp *stamp
        = (const void *) ((const char *) data + STREAM_HEADERS_LEN);

    return (len >= sizeof(struct stream_head)
            && stamp->magic == STREAM_STAMP_MAGIC ? stamp->tsc : 0);
}

/* Exchanges source and destination of a packet. */
static inline void
stream_reflect(void *data)
{
    struct stream_head *head = data;
    struct rte_ether_addr mac = head->eth.src_addr;
    rte_be32_t addr = head->ip.src_addr;

    head->eth.src_addr = head->eth.dst_addr;
    head->eth.dst_addr = mac;
    head->ip.src_addr = head->ip.dst_addr;
    head->ip.dst_addr = addr;
}

#endif /* stream.h */
