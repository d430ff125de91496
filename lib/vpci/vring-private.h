/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_VRING_PRIVATE_H
#define VPCI_VRING_PRIVATE_H 1

/* What the split and the packed ring have in common
 * =================================================
 *
 * A ring hands its buffers out one by one: 'struct vring_kind' finds the next
 * chain of descriptors that the driver made available and translates it into
 * pieces of memory.  What happens to these pieces is the same for both kinds
 * of ring, and is written once, below, as inline functions that vring-split.c
 * and vring-packed.c instantiate.
 *
 * The barriers between the engine and the driver:
 *
 *     driver                              engine
 *     ------                              ------
 *     write descriptors, frame            read avail->idx, or flags (A)
 *     (a) release                         read descriptors, frame
 *     write avail->idx, or flags
 *
 *     read used->idx, or flags            write used elements, frame
 *     (b) acquire                         write used->idx, or flags (B)
 *     read used elements, frame
 *
 *     write event word                    write used->idx, or flags
 *     (c) full                            (C) full
 *     read used->idx, or flags            read event word
 *     sleep if nothing new                signal if the driver waits
 *
 * (A), an acquire, pairs with (a); (B), a release, pairs with (b).  (C) pairs
 * with (c): one of the two sides sees what the other has written, so either
 * the driver does not sleep or the engine wakes it. */

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vpci/vring.h"

#ifndef VIRTIO_F_RING_PACKED
#define VIRTIO_F_RING_PACKED 34
#endif
#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "virtio words are used as they lie in memory");
_Static_assert(sizeof(struct vpci_net_hdr) == 10,
               "struct vpci_net_hdr is copied as struct virtio_net_hdr");
_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.1, section 2.6.5");
_Static_assert(sizeof(struct vring_used_elem) == 8,
               "virtio 1.1, section 2.6.8");
_Static_assert(sizeof(struct vring_packed_desc) == 16,
               "virtio 1.1, section 2.7.13");

#define VRING_LIKELY(X) __builtin_expect(!!(X), 1)
#define VRING_UNLIKELY(X) __builtin_expect(!!(X), 0)

/* Whoever is given a 'struct vring_kind' must be inlined, or else calls
 * through its pointers do not become direct. */
#define VRING_INLINE static inline __attribute__((always_inline))

#define VRING_COLD __attribute__((noinline, cold))

/* Reads what 'P' points to exactly once. */
#define VRING_READ(P) (*(const volatile __typeof__(*(P)) *) (P))

/* Indirect tables and frames lie at any address. */
typedef uint64_t vring_u64 __attribute__((aligned(1), may_alias));
typedef uint16_t vring_u16 __attribute__((aligned(1), may_alias));

/* Linux puts up to MAX_SKB_FRAGS + 2 descriptors into an indirect table,
 * however small the ring is, and QEMU accepts 1024 (VIRTQUEUE_MAX_SIZE). */
#define VRING_MIN_CHAIN 1024

/* Pieces that a burst may take up before its last chain.  The room for that
 * chain comes on top, so that a chain always finds enough. */
#define VRING_BURST_IOV 1024

/* A private copy of a descriptor.  The second word is kept whole, since a
 * processor cannot load quickly what it has just stored in parts. */
struct vring_desc_copy {
    uint64_t addr;
    uint64_t rest;
};

VRING_INLINE uint32_t
vring_desc_len(struct vring_desc_copy d)
{
    return d.rest;
}

VRING_INLINE uint16_t
vring_desc_flags(struct vring_desc_copy d)
{
    return d.rest >> 32;
}

/* The next descriptor, or in a packed ring the buffer id. */
VRING_INLINE uint16_t
vring_desc_next(struct vring_desc_copy d)
{
    return d.rest >> 48;
}

/* Turns what was read from a packed ring into the order above. */
VRING_INLINE struct vring_desc_copy
vring_desc_from_packed(struct vring_desc_copy d, uint16_t flags)
{
    return (struct vring_desc_copy) {
        .addr = d.addr,
        .rest = (uint32_t) d.rest | (uint64_t) flags << 32
                | d.rest >> 32 << 48,
    };
}

struct vpci_vring {
    /* Constant while the ring runs. */
    void *desc, *driver, *device;
    struct vpci_iov *iov;           /* Pieces of the chains at hand. */
    struct vring_used_elem *done;   /* Chains to be given back. */
    uint16_t *done_slots;           /* Ring descriptors of each of them. */
    uint32_t max_chain;             /* Descriptors, those in tables too. */
    uint16_t size;
    uint8_t hdr_len;                /* 10 or 12. */
    bool running;
    bool packed, indirect, mergeable, in_order, event_idx;

    uint8_t fault;                  /* enum vpci_fault_kind. */

    /* Where the ring stands, read by other threads for display only. */
    uint16_t avail_idx, used_idx;
    bool avail_wrap, used_wrap;

    uint16_t avail_seen;            /* Cached avail->idx of a split ring. */
    uint16_t n_peeked;              /* Chains peeked at and not released... */
    uint16_t first_peeked;          /* ...from here on in 'done'. */

    /* Given back since the last vpci_vring_notify(): chains of a split ring,
     * descriptors of a packed one. */
    uint32_t n_pending;

    struct vpci_memory_region region; /* The one that was hit last. */

    /* A frame that found too few mergeable buffers is not tried again before
     * there are more. */
    bool starved;
    bool starved_wrap;
    uint16_t starved_idx;           /* The driver's next buffer goes here. */
    uint64_t starved_room;          /* What all buffers up to there hold. */

    uint64_t n_bufs, n_notifies;    /* Displayed by other threads. */

    struct vpci_vring_config cfg;
};

/* A walk along the chains that the driver has made available. */
struct vring_walk {
    /* Where the next chain begins, and how many ring descriptors the chains
     * before it took, of those that have not been given back. */
    uint16_t idx;
    bool wrap;
    uint32_t n_slots;

    /* The chain that was found last. */
    uint16_t id;                /* What the driver calls it. */
    uint32_t slots;             /* Descriptors that it takes in the ring; 1 if
                                 * none was found yet. */
    uint32_t len;               /* In bytes. */
    uint32_t n_iov;
    struct vpci_iov *iov;       /* Set by the caller. */

    /* Descriptors read ahead, so that what they point to is on its way into
     * the cache: first descriptors of chains in a split ring, consecutive
     * descriptors of a packed ring. */
    uint32_t want;              /* How many chains the caller could use. */
    uint32_t pos, n;
    uint16_t id_ahead[VPCI_VRING_BURST]; /* Head or buffer id. */
    struct vring_desc_copy ahead[VPCI_VRING_BURST];
};

/* What differs between the kinds of ring. */
struct vring_kind {
    /* Reads descriptors ahead at 'w', for up to 'w->want' chains like the one
     * before.  Returns the number of descriptors, or -1 after a fault. */
    int (*read_ahead)(struct vpci_vring *, struct vring_walk *w, bool write);

    /* Translates the chain at 'w', whose first descriptor has been read ahead
     * and all of whose descriptors must be device-writable or device-readable
     * according to 'write'.  Does not move on.  Returns 0, or -1 after a
     * fault. */
    int (*chain)(struct vpci_vring *, struct vring_walk *w, bool write);

    /* Moves 'w' past 'n' chains that take 'slots' descriptors in the ring. */
    void (*advance)(const struct vpci_vring *, struct vring_walk *w,
                    uint32_t n, uint32_t slots);
};

/* vring.c. */
int vring_bad(struct vpci_vring *, enum vpci_fault_kind, uint16_t slot,
              uint64_t seen, uint64_t limit);
uint32_t vring_map_slow(struct vpci_vring *, struct vpci_iov *,
                        uint64_t addr, uint32_t len);
bool vring_read_desc_slow(struct vpci_vring *, uint64_t addr,
                          struct vring_desc_copy *);
void vring_log_host(const struct vpci_vring *, const void *host,
                    uint64_t len);
bool vring_peek_hdr_slow(const struct vring_walk *, uint32_t hdr_len,
                         struct vpci_pkt *);

/* Where a frame that is being pushed has got to. */
struct vring_source {
    const struct vpci_iov *iov;
    uint32_t ofs;               /* Into '*iov'. */
    uint32_t left;              /* Bytes of the frame. */
};

uint32_t vring_scatter(const struct vring_walk *, uint32_t skip,
                       struct vring_source *);
void vring_scatter_hdr(const struct vring_walk *, const uint8_t *hdr,
                       uint32_t hdr_len, uint8_t *num_buffers[2]);

/* vring-split.c. */
int vring_split_start(struct vpci_vring *);
unsigned int vring_split_peek(struct vpci_vring *, struct vpci_pkt *,
                              unsigned int max);
void vring_split_release(struct vpci_vring *, unsigned int n);
unsigned int vring_split_push(struct vpci_vring *, struct vpci_pkt *,
                              unsigned int n);
bool vring_split_must_notify(const struct vpci_vring *);

/* vring-packed.c. */
int vring_packed_start(struct vpci_vring *);
unsigned int vring_packed_peek(struct vpci_vring *, struct vpci_pkt *,
                               unsigned int max);
void vring_packed_release(struct vpci_vring *, unsigned int n);
unsigned int vring_packed_push(struct vpci_vring *, struct vpci_pkt *,
                               unsigned int n);
bool vring_packed_must_notify(const struct vpci_vring *);

/* Reads the descriptor at 'host', which need not be aligned. */
VRING_INLINE struct vring_desc_copy
vring_snapshot(const void *host)
{
    const vring_u64 *p = host;

    return (struct vring_desc_copy) {
        .addr = VRING_READ(&p[0]), .rest = VRING_READ(&p[1])
    };
}

/* The address in this process of the 'len' bytes at 'addr', if they lie in
 * the region that was hit last, otherwise a null pointer. */
VRING_INLINE void *
vring_map_fast(const struct vpci_vring *vr, uint64_t addr, uint64_t len)
{
    uint64_t ofs = addr - vr->region.guest_addr;

    return (VRING_LIKELY(ofs < vr->region.size
                         && len <= vr->region.size - ofs)
            ? vr->region.host + ofs : NULL);
}

/* Starts to bring the first bytes at 'addr' into the cache. */
VRING_INLINE void
vring_prefetch(const struct vpci_vring *vr, uint64_t addr, bool write)
{
    const void *p = vring_map_fast(vr, addr, 1);

    if (write) {
        __builtin_prefetch(p, 1);
    } else {
        __builtin_prefetch(p, 0);
    }
}

/* Reads entry 'i' of the indirect table at guest physical address 'table'.
 * Returns false if it is outside guest memory. */
VRING_INLINE bool
vring_read_table(struct vpci_vring *vr, uint64_t table, uint32_t i,
                 struct vring_desc_copy *d)
{
    uint64_t addr = table + (uint64_t) i * sizeof(struct vring_desc);
    const void *p = vring_map_fast(vr, addr, sizeof(struct vring_desc));

    if (VRING_LIKELY(p != NULL)) {
        *d = vring_snapshot(p);
        return true;
    }
    return vring_read_desc_slow(vr, addr, d);
}

/* A chain that is being translated. */
struct vring_gather {
    struct vpci_iov *iov;       /* Where the next piece goes. */
    uint64_t len;               /* So far.  A chain has fewer than 2^16
                                 * descriptors: this does not overflow. */
};

/* Checks the buffer that 'd' describes and appends it to 'g'.  'slot' is for
 * the report.  Returns 0, or -1 after a fault. */
VRING_INLINE int
vring_add_buffer(struct vpci_vring *vr, struct vring_gather *g,
                 struct vring_desc_copy d, uint16_t slot, bool write)
{
    uint16_t flags = vring_desc_flags(d);
    uint32_t len = vring_desc_len(d);
    void *base;

    if (VRING_UNLIKELY(!(flags & VRING_DESC_F_WRITE) == write)) {
        return vring_bad(vr, VPCI_FAULT_DIRECTION, slot, flags, 0);
    }
    if (VRING_UNLIKELY(!len)) {
        return vring_bad(vr, VPCI_FAULT_ZERO, slot, 0, 0);
    }
    base = vring_map_fast(vr, d.addr, len);
    if (VRING_LIKELY(base != NULL)) {
        *g->iov++ = (struct vpci_iov) { .base = base, .len = len };
    } else {
        uint32_t n = vring_map_slow(vr, g->iov, d.addr, len);

        if (!n) {
            return vring_bad(vr, VPCI_FAULT_ADDRESS, slot, d.addr, 0);
        }
        g->iov += n;
    }
    g->len += len;
    return 0;
}

/* Makes the chain in 'g' the one at hand.  'slot' is for the report.  Returns
 * 0, or -1 after a fault. */
VRING_INLINE int
vring_end_chain(struct vpci_vring *vr, struct vring_walk *w,
                const struct vring_gather *g, uint16_t slot)
{
    if (VRING_UNLIKELY(g->len < vr->hdr_len)) {
        return vring_bad(vr, VPCI_FAULT_SHORT, slot, g->len, 0);
    }
    if (VRING_UNLIKELY(g->len > UINT32_MAX)) {
        return vring_bad(vr, VPCI_FAULT_LENGTH, slot, g->len, UINT32_MAX);
    }
    w->len = g->len;
    w->n_iov = g->iov - w->iov;
    return 0;
}

/* Checks the descriptor 'd' of an indirect table, itself.  Returns 0, or -1
 * after a fault. */
VRING_INLINE int
vring_check_table(struct vpci_vring *vr, struct vring_desc_copy d,
                  uint16_t slot)
{
    uint16_t flags = vring_desc_flags(d);
    uint32_t len = vring_desc_len(d);

    if (!vr->indirect || flags & VRING_DESC_F_NEXT) {
        return vring_bad(vr, VPCI_FAULT_INDIRECT, slot, flags, 0);
    }
    if (!len || len % sizeof(struct vring_desc)) {
        return vring_bad(vr, VPCI_FAULT_INDIRECT, slot, len, 0);
    }
    if (d.addr + (len - 1) < d.addr) {
        return vring_bad(vr, VPCI_FAULT_ADDRESS, slot, d.addr, 0);
    }
    return 0;
}

/* What tells the descriptors that need no chain to be followed. */
#define VRING_KIND_FLAGS \
    (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE)

/* Copies 'n' bytes.  What a frame's first bytes need is done in line. */
VRING_INLINE void
vring_copy(void *dst_, const void *src_, size_t n)
{
    const uint8_t *src = src_;
    uint8_t *dst = dst_;

    if (VRING_UNLIKELY(n < 16 || n > 128)) {
        memcpy(dst, src, n);
    } else if (n <= 32) {
        memcpy(dst, src, 16);
        memcpy(dst + n - 16, src + n - 16, 16);
    } else if (n <= 64) {
        memcpy(dst, src, 32);
        memcpy(dst + n - 32, src + n - 32, 32);
    } else {
        memcpy(dst, src, 64);
        memcpy(dst + n - 64, src + n - 64, 64);
    }
}

/* Reads the 10 bytes at 'src' into '*hdr', each once. */
VRING_INLINE void
vring_read_hdr(struct vpci_net_hdr *hdr, const void *src)
{
    const vring_u64 *p = src;
    uint64_t first = VRING_READ(p);
    uint16_t last = VRING_READ((const vring_u16 *) (p + 1));

    memcpy(hdr, &first, 8);
    memcpy((uint8_t *) hdr + 8, &last, 2);
}

/* Peeks at frames that lie in a single descriptor each, up to 'max' of them,
 * as long as they have been read ahead.  'n' frames have been peeked at
 * before.  Returns the number of frames.
 *
 * This is where most frames pass.  Everything else takes the general way. */
VRING_INLINE uint32_t
vring_peek_singles(struct vpci_vring *vr, const struct vring_walk *w,
                   struct vpci_pkt *pkts, uint32_t n, uint32_t max)
{
    const struct vpci_memory_region region = vr->region;
    struct vring_used_elem *done = &vr->done[n];
    uint16_t *done_slots = &vr->done_slots[n];
    const uint32_t hdr_len = vr->hdr_len;
    struct vpci_iov *iov = w->iov;
    uint32_t i;

    if (max > w->n - w->pos) {
        max = w->n - w->pos;
    }
    for (i = 0; i < max; i++) {
        const struct vring_desc_copy d = w->ahead[w->pos + i];
        uint64_t ofs = d.addr - region.guest_addr;
        uint32_t len = vring_desc_len(d);
        struct vpci_pkt *pkt = &pkts[i];
        uint8_t *base;

        if (VRING_UNLIKELY(vring_desc_flags(d) & VRING_KIND_FLAGS
                           || len <= hdr_len || ofs >= region.size
                           || len > region.size - ofs)) {
            break;
        }
        base = region.host + ofs;
        iov[i].base = base + hdr_len;
        iov[i].len = len - hdr_len;
        pkt->iov = &iov[i];
        pkt->n_iov = 1;
        pkt->len = len - hdr_len;
        vring_read_hdr(&pkt->hdr, base);
        pkt->fate = VPCI_PKT_WAITING;
        done[i] = (struct vring_used_elem) { .id = w->id_ahead[w->pos + i] };
        done_slots[i] = 1;
    }
    return i;
}

/* Sets 'pkt' to the chain at hand of 'w', less the header. */
VRING_INLINE void
vring_peek_chain(const struct vpci_vring *vr, const struct vring_walk *w,
                 struct vpci_pkt *pkt)
{
    struct vpci_iov *iov = w->iov;

    pkt->len = w->len - vr->hdr_len;
    pkt->fate = VPCI_PKT_WAITING;
    if (VRING_LIKELY(iov->len >= vr->hdr_len)) {
        bool alone = iov->len == vr->hdr_len;

        vring_read_hdr(&pkt->hdr, iov->base);
        iov->base = (uint8_t *) iov->base + vr->hdr_len;
        iov->len -= vr->hdr_len;
        pkt->iov = iov + alone;
        pkt->n_iov = w->n_iov - alone;
    } else {
        vring_peek_hdr_slow(w, vr->hdr_len, pkt);
    }
}

/* Peeks at up to 'max' chains.  See vpci_vring_peek(). */
VRING_INLINE unsigned int
vring_peek(struct vpci_vring *vr, struct vpci_pkt *pkts, unsigned int max,
           const struct vring_kind *kind)
{
    struct vring_walk w;
    uint32_t n = 0;

    w.idx = vr->avail_idx;
    w.wrap = vr->avail_wrap;
    w.n_slots = w.pos = w.n = 0;
    w.slots = 1;
    w.iov = vr->iov;
    while (n < max) {
        uint32_t n_singles;

        if (w.pos >= w.n) {
            w.want = max - n;
            if (kind->read_ahead(vr, &w, false) <= 0) {
                break;
            }
        }
        n_singles = vring_peek_singles(vr, &w, &pkts[n], n, max - n);
        if (n_singles) {
            kind->advance(vr, &w, n_singles, n_singles);
            w.iov += n_singles;
            n += n_singles;
        } else if (w.iov - vr->iov <= VRING_BURST_IOV
                   && !kind->chain(vr, &w, false)) {
            vring_peek_chain(vr, &w, &pkts[n]);
            vr->done[n] = (struct vring_used_elem) { .id = w.id };
            vr->done_slots[n] = w.slots;
            kind->advance(vr, &w, 1, w.slots);
            w.iov += w.n_iov;
            n++;
        } else {
            break;
        }
    }
    vr->n_peeked = n;
    vr->first_peeked = 0;
    return n;
}

/* A burst that is being pushed. */
struct vring_push {
    struct vring_walk w;
    bool found;                 /* Does 'w' have a chain at hand? */
    uint32_t n_done;            /* Chains filled, in 'done' of the ring. */
};

/* Writes the header of a frame that takes one buffer to 'dst'. */
VRING_INLINE void
vring_write_hdr(uint8_t *dst, const struct vpci_net_hdr *hdr, uint32_t hdr_len)
{
    uint32_t num_buffers = 1;
    uint32_t last = hdr->csum_offset | num_buffers << 16;

    memcpy(dst, hdr, 8);
    if (VRING_LIKELY(hdr_len == 12)) {
        memcpy(dst + 8, &last, 4);
    } else {
        memcpy(dst + 8, &last, 2);
    }
}

/* Pushes frames that are in one piece and fit into a single descriptor each,
 * up to 'max' of them, as long as descriptors have been read ahead.  Returns
 * the number of frames.
 *
 * This is where most frames pass.  Everything else takes the general way. */
VRING_INLINE uint32_t
vring_push_singles(struct vpci_vring *vr, const struct vring_push *p,
                   struct vpci_pkt *pkts, uint32_t max)
{
    const struct vpci_memory_region region = vr->region;
    struct vring_used_elem *done = &vr->done[p->n_done];
    uint16_t *done_slots = &vr->done_slots[p->n_done];
    const uint32_t hdr_len = vr->hdr_len;
    const struct vring_walk *w = &p->w;
    uint32_t i;

    if (max > w->n - w->pos) {
        max = w->n - w->pos;
    }
    if (VRING_UNLIKELY(vr->cfg.log != NULL)) {
        max = 0;
    }
    for (i = 0; i < max; i++) {
        const struct vring_desc_copy d = w->ahead[w->pos + i];
        uint64_t ofs = d.addr - region.guest_addr;
        uint32_t len = vring_desc_len(d);
        struct vpci_pkt *pkt = &pkts[i];
        uint8_t *base;

        if (VRING_UNLIKELY(((vring_desc_flags(d) & VRING_KIND_FLAGS)
                            != VRING_DESC_F_WRITE)
                           || len < hdr_len || ofs >= region.size
                           || len > region.size - ofs
                           || len - hdr_len < pkt->len || pkt->n_iov != 1)) {
            break;
        }
        base = region.host + ofs;
        vring_write_hdr(base, &pkt->hdr, hdr_len);
        vring_copy(base + hdr_len, pkt->iov->base, pkt->len);
        pkt->fate = VPCI_PKT_SENT;
        done[i] = (struct vring_used_elem) {
            .id = w->id_ahead[w->pos + i], .len = pkt->len + hdr_len
        };
        done_slots[i] = 1;
    }
    return i;
}

/* Writes the header of a frame, and as much of its body as there is room for,
 * into the first chain, which is at hand.  Returns the bytes written. */
static inline uint32_t
vring_push_first(const struct vpci_vring *vr, const struct vring_walk *w,
                 const struct vpci_net_hdr *hdr_, struct vring_source *src,
                 uint8_t *num_buffers[2])
{
    if (VRING_LIKELY(w->iov->len >= vr->hdr_len)) {
        uint8_t *base = w->iov->base;

        num_buffers[0] = base + 10;
        num_buffers[1] = base + 11;
        vring_write_hdr(base, hdr_, vr->hdr_len);
    } else {
        uint8_t hdr[12];

        vring_write_hdr(hdr, hdr_, sizeof hdr);
        vring_scatter_hdr(w, hdr, vr->hdr_len, num_buffers);
    }
    return vr->hdr_len + vring_scatter(w, vr->hdr_len, src);
}

/* Logs the first 'len' bytes of the chain at hand. */
static inline void
vring_push_log(const struct vpci_vring *vr, const struct vring_walk *w,
               uint32_t len)
{
    for (const struct vpci_iov *iov = w->iov; len; iov++) {
        uint32_t n = len < iov->len ? len : iov->len;

        vring_log_host(vr, iov->base, n);
        len -= n;
    }
}

/* Puts down 'len' bytes written into the chain at hand, and moves on. */
VRING_INLINE void
vring_push_done(struct vpci_vring *vr, struct vring_push *p, uint32_t len,
                const struct vring_kind *kind)
{
    if (VRING_UNLIKELY(vr->cfg.log != NULL)) {
        vring_push_log(vr, &p->w, len);
    }
    vr->done[p->n_done].id = p->w.id;
    vr->done[p->n_done].len = len;
    vr->done_slots[p->n_done] = p->w.slots;
    p->n_done++;
    kind->advance(vr, &p->w, 1, p->w.slots);
    p->found = false;
}

/* Finds the next chain, unless one is at hand.  Returns false if there is none
 * or after a fault. */
VRING_INLINE bool
vring_push_find(struct vpci_vring *vr, struct vring_push *p,
                const struct vring_kind *kind)
{
    if (!p->found
        && (p->w.pos < p->w.n || kind->read_ahead(vr, &p->w, true) > 0)
        && !kind->chain(vr, &p->w, true)) {
        p->found = true;
    }
    return p->found;
}

/* Notes that the buffers from the ring's start up to 'w', which hold 'room'
 * bytes, were too few for a frame.  Returns true if the driver has no
 * descriptors left to add a buffer of the kind seen (none of which took fewer
 * than 'min_slots'), so that the frame will never fit. */
static inline bool
vring_push_starved(struct vpci_vring *vr, const struct vring_walk *w,
                   uint64_t room, uint32_t min_slots)
{
    if (vr->size - w->n_slots < min_slots) {
        return true;
    }
    vr->starved = true;
    vr->starved_idx = w->idx;
    vr->starved_wrap = w->wrap;
    vr->starved_room = room;
    return false;
}

/* Fills more mergeable buffers with what is left of the frame 'src', the first
 * of whose buffers has been filled.  'num_buffers' is where the header wants
 * the number of buffers.  Returns what became of the frame. */
VRING_INLINE enum vpci_pkt_fate
vring_push_rest(struct vpci_vring *vr, struct vring_push *p,
                struct vring_source *src, uint8_t *num_buffers[2],
                const struct vring_kind *kind)
{
    uint32_t first = p->n_done - 1;
    uint32_t min_slots = vr->done_slots[first];
    uint64_t room = vr->done[first].len;
    uint32_t n = 1;

    while (src->left) {
        uint32_t len;

        p->w.want = VPCI_VRING_BURST;
        if (!vring_push_find(vr, p, kind)) {
            /* Only if nothing else is under way are all descriptors seen. */
            return (!first && !vr->fault
                    && vring_push_starved(vr, &p->w, room, min_slots)
                    ? VPCI_PKT_TOO_BIG : VPCI_PKT_WAITING);
        }
        if (p->w.slots < min_slots) {
            min_slots = p->w.slots;
        }
        len = vring_scatter(&p->w, 0, src);
        room += len;
        vring_push_done(vr, p, len, kind);
        n++;
    }
    *num_buffers[0] = n & 0xff;
    *num_buffers[1] = n >> 8;
    return VPCI_PKT_SENT;
}

/* Pushes one frame, the general way.  If that fails, 'p' may be left
 * anywhere. */
VRING_INLINE enum vpci_pkt_fate
vring_push_frame(struct vpci_vring *vr, struct vring_push *p,
                 const struct vpci_pkt *pkt, const struct vring_kind *kind)
{
    struct vring_source src = { .iov = pkt->iov, .left = pkt->len };
    uint8_t *num_buffers[2];
    uint32_t len;

    if (!vring_push_find(vr, p, kind)) {
        return VPCI_PKT_WAITING;
    }
    if (!vr->mergeable && p->w.len - vr->hdr_len < pkt->len) {
        return VPCI_PKT_TOO_BIG;
    }
    len = vring_push_first(vr, &p->w, &pkt->hdr, &src, num_buffers);
    vring_push_done(vr, p, len, kind);
    return (src.left
            ? vring_push_rest(vr, p, &src, num_buffers, kind)
            : VPCI_PKT_SENT);
}

/* Where a burst stands between two frames. */
struct vring_mark {
    uint16_t idx;
    bool wrap;
    uint32_t n_slots;
    uint32_t n_done;
};

VRING_INLINE struct vring_mark
vring_push_mark(const struct vring_push *p)
{
    return (struct vring_mark) {
        p->w.idx, p->w.wrap, p->w.n_slots, p->n_done
    };
}

/* Makes the buffers that were taken since 'mark' available again. */
static inline void
vring_push_undo(struct vring_push *p, const struct vring_mark *mark)
{
    if (p->n_done != mark->n_done) {
        p->w.idx = mark->idx;
        p->w.wrap = mark->wrap;
        p->w.n_slots = mark->n_slots;
        p->w.pos = p->w.n = 0;
        p->n_done = mark->n_done;
        p->found = false;
    }
}

/* Marks 'n' frames as not dealt with.  Returns 0. */
static inline unsigned int
vring_push_none(struct vpci_pkt *pkts, unsigned int n)
{
    for (unsigned int i = 0; i < n; i++) {
        pkts[i].fate = VPCI_PKT_WAITING;
    }
    return 0;
}

/* Pushes up to 'n' frames and stores their fates and, in '*np', how many have
 * been dealt with.  Returns how many chains of 'done' are to be given back. */
VRING_INLINE uint32_t
vring_push(struct vpci_vring *vr, struct vpci_pkt *pkts, unsigned int n,
           unsigned int *np, const struct vring_kind *kind)
{
    struct vring_push p;
    uint32_t i = 0;

    p.w.idx = vr->avail_idx;
    p.w.wrap = vr->avail_wrap;
    p.w.n_slots = p.w.pos = p.w.n = 0;
    p.w.slots = 1;
    p.w.iov = vr->iov;
    p.found = false;
    p.n_done = 0;
    vr->n_peeked = 0;
    while (i < n) {
        uint32_t n_singles = 0;

        p.w.want = n - i;
        if (!p.found) {
            if (p.w.pos >= p.w.n && kind->read_ahead(vr, &p.w, true) <= 0) {
                break;
            }
            n_singles = vring_push_singles(vr, &p, &pkts[i], n - i);
        }
        if (n_singles) {
            kind->advance(vr, &p.w, n_singles, n_singles);
            p.n_done += n_singles;
            i += n_singles;
        } else {
            struct vring_mark mark = vring_push_mark(&p);

            pkts[i].fate = vring_push_frame(vr, &p, &pkts[i], kind);
            if (pkts[i].fate != VPCI_PKT_SENT) {
                vring_push_undo(&p, &mark);
                if (pkts[i].fate == VPCI_PKT_WAITING) {
                    break;
                }
            }
            i++;
        }
    }
    *np = i;
    vring_push_none(&pkts[i], n - i);
    __atomic_store_n(&vr->avail_idx, p.w.idx, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->avail_wrap, p.w.wrap, __ATOMIC_RELAXED);
    return p.n_done;
}

/* True if a push that begins with a frame of 'len' bytes can do nothing unless
 * the driver has added a buffer at 'starved_idx' since. */
VRING_INLINE bool
vring_is_starved(const struct vpci_vring *vr, uint32_t len)
{
    return (VRING_UNLIKELY(vr->starved)
            && (uint64_t) len + vr->hdr_len > vr->starved_room);
}

#endif /* vring-private.h */
