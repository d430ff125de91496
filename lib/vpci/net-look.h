/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_NET_LOOK_H
#define VPCI_NET_LOOK_H 1

#include "projection-private.h"
#include "vpci/ring.h"

/* What a projection says of packets
 * =================================
 *
 * Senders look up hints, receivers acceptances, both of them a burst at a
 * time: net_look_begin(), a look at each packet, and net_look_end(), which
 * tells whether that is worth anything.
 *
 * Most bursts have packets of one entry alone, which needs no keys: that entry
 * is kept in 'plain' as long as there is no other generation.
 *
 * Threads: one at a time. */

/* Keys of those packets of a burst that can have one and need one.  Not on the
 * stack, of which a kernel has little. */
struct net_look_keys {
    unsigned int n;
    uint8_t packets[VPCI_STEER_BURST];
    union vpci_key keys[VPCI_STEER_BURST];
};

struct net_look {
    struct vpci_projection *projection;
    const vpci_le32 *max_vlans;  /* What the switch says. */

    /* Of a burst. */
    int depth;                  /* How deep to parse, -1: there is nothing. */
    uint32_t generation;
    uint32_t entries[VPCI_STEER_BURST];     /* Or VPCI_STEER_NONE; then... */
    uint64_t verdicts[VPCI_STEER_BURST];    /* ...this is 0. */
    uint16_t tcp_flags[VPCI_STEER_BURST];   /* Network byte order. */

    bool has_plain;
    bool plain_is_ipv6;
    struct vpci_steer_plain plain;

    /* Of packets of 'plain': its mask and value; and, of bytes 8 to 23, bits
     * that none of them has, and where none has 6, TCP. */
    uint8_t plain_bytes[4][16];

    struct net_look_keys keys;
};

/* Makes '*look' one at the projection of 'bytes' at 'memory', in the base
 * region at 'base'.  Returns false if there is no memory. */
bool net_look_init(struct net_look *look, const void *memory, size_t bytes,
                   const void *base);
void net_look_uninit(struct net_look *);

/* Tags that are to be taken for tags, as vpci_key_parse() wants to know. */
unsigned int net_look_max_vlans(const struct net_look *look);

static inline void
net_look_begin(struct net_look *look)
{
    struct vpci_projection *p = look->projection;

    if (__builtin_expect(projection_generation(p->hdr) != look->generation,
                         0)) {
        look->depth = vpci_projection_begin(p);
        look->generation = p->generation;
        look->has_plain = false;
    }
}

/* Returns how many of the 'n' packets at the beginning of 'bufs' belong to
 * look->plain, have up to 'max_len' bytes and leave nothing to do: for these
 * no more need be looked at.  Stores in '*bytes' how many they have.  'cut'
 * is as for net_look_up(). */
static inline __attribute__((always_inline)) unsigned int
net_look_count_plain(const struct net_look *look,
                     const struct vpci_ring_buf bufs[], unsigned int n,
                     uint32_t max_len, bool cut, uint64_t *bytes)
{
    const uint32_t min_len = VPCI_STEER_PLAIN_HEADERS;
    const struct vpci_steer_plain plain = look->plain;
    uint64_t sum = 0;
    unsigned int i = 0;

    if (look->has_plain && max_len >= min_len) {
        for (; i < n; i++) {
            const struct vpci_ring_buf *buf = &bufs[i];
            uint32_t len = buf->len;
            uint64_t offload;

            memcpy(&offload, &buf->offload, sizeof offload);
            if (__builtin_expect(len - min_len > max_len - min_len
                                 || (cut && len > buf->size) || offload
                                 || !vpci_steer_is_plain(&plain, buf->data),
                                 0)) {
                break;
            }
            sum += len;
        }
    }
    *bytes = sum;
    return i;
}

/* Next headers of IPv6 packets that are not plain, as bits: see
 * vpci_key_is_plain(). */
#define NET_LOOK_NEXT_HEADERS (UINT64_C(1) << 0 | UINT64_C(1) << 6 \
                               | UINT64_C(1) << 43 | UINT64_C(1) << 44 \
                               | UINT64_C(1) << 51 | UINT64_C(1) << 60)

/* net_look_all_plain(), where it is known whether packets are IPv6. */
static inline __attribute__((always_inline)) bool
net_look_all_plain_of(const struct net_look *look,
                      const struct vpci_ring_buf bufs[], unsigned int n,
                      bool is_ipv6)
{
    typedef uint8_t bytes __attribute__((vector_size(16)));
    bytes plain[4], differs = { 0 }, any = { 0 }, tcp = { 0 };
    uint64_t words[2], next = 0;

    memcpy(plain, look->plain_bytes, sizeof plain);
    for (unsigned int i = 0; i < n; i++) {
        const uint8_t *headers = bufs[i].data;
        bytes ethernet, rest;

        memcpy(&ethernet, headers, sizeof ethernet);
        differs |= (ethernet & plain[0]) ^ plain[1];
        if (is_ipv6) {
            next |= NET_LOOK_NEXT_HEADERS >> (headers[20] % 64);
        } else {
            memcpy(&rest, headers + 8, sizeof rest);
            any |= rest;
            tcp |= (bytes) (rest == 6);
        }
    }
    differs |= (any & plain[2]) | (tcp & plain[3]);
    memcpy(words, &differs, sizeof words);
    return !(words[0] | words[1] | (next & 1));
}

/* Returns true if all 'n' packets in 'bufs', of each of which at least
 * VPCI_STEER_PLAIN_HEADERS bytes are there, belong to look->plain, which is
 * known.  If not, some or all of them still may. */
static inline bool
net_look_all_plain(const struct net_look *look,
                   const struct vpci_ring_buf bufs[], unsigned int n)
{
    return (look->plain_is_ipv6 ? net_look_all_plain_of(look, bufs, n, true)
            : net_look_all_plain_of(look, bufs, n, false));
}

/* Looks up packets 'first' to 'n' - 1, 'n' at most VPCI_STEER_BURST, of
 * 'bufs', in private memory.  With 'cut', no more than 'size' bytes of each
 * are there. */
void net_look_up(struct net_look *, const struct vpci_ring_buf bufs[],
                 unsigned int first, unsigned int n, bool cut);

/* Returns true if what was found is so. */
static inline bool
net_look_end(struct net_look *look)
{
    if (__builtin_expect(projection_end(look->projection), 1)) {
        return true;
    }
    look->has_plain = false;
    return false;
}

#endif /* lib/vpci/net-look.h */
