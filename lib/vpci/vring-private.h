/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_VRING_PRIVATE_H
#define VPCI_VRING_PRIVATE_H 1

/* What the split and the packed ring have in common
 * =================================================
 *
 * A ring hands its buffers out one by one: 'struct vring_kind' finds the next
 * chain of descriptors that the driver made available and translates it into
 * pieces of memory.  What happens to these pieces is the same for both kinds
 * of ring, and is written once, as inline functions that vring-split.c and
 * vring-packed.c instantiate: here, in vring-peek.h and in vring-push.h.
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
 * the driver does not sleep or the engine wakes it.
 *
 *     write avail->idx, or flags          write event word
 *     (d) full                            (D) full
 *     read event word                     read avail->idx, or flags
 *     kick if the engine waits            sleep if nothing new
 *
 * (D) pairs with (d) in the same way. */

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vpci/vring.h"
#include "vring-layout.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "virtio words are used as they lie in memory");
_Static_assert(sizeof(struct vpci_net_hdr) == 10,
               "struct vpci_net_hdr is copied as struct virtio_net_hdr");

#define VRING_LIKELY(X) __builtin_expect(!!(X), 1)
#define VRING_UNLIKELY(X) __builtin_expect(!!(X), 0)

/* Whoever is given a 'struct vring_kind' must be inlined, or else calls
 * through its pointers do not become direct. */
#define VRING_INLINE static inline __attribute__((always_inline))

#define VRING_COLD __attribute__((__noinline__, __cold__))

/* Reads what 'P' points to exactly once. */
#define VRING_READ(P) (*(const volatile __typeof__(*(P)) *) (P))

/* Indirect tables and frames lie at any address. */
typedef uint64_t vring_u64 __attribute__((aligned(1), may_alias));
typedef uint16_t vring_u16 __attribute__((aligned(1), may_alias));

/* Linux puts up to MAX_SKB_FRAGS + 2 descriptors into an indirect table,
 * however small the ring is, and QEMU accepts 1024 (VIRTQUEUE_MAX_SIZE).  More
 * than the maximum are refused even where the ring is longer: a thread that
 * serves many guests must not spend its time on one chain of one of them. */
#define VRING_MIN_CHAIN 1024
#define VRING_MAX_CHAIN 4096

/* Beside how many descriptors a chain takes in the ring: the frame goes on in
 * the next chain. */
#define VRING_CONTINUES 0x8000u

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
    uint16_t *done_slots;           /* Ring descriptors of each of them, and,
                                     * if there is a record,
                                     * VRING_CONTINUES. */
    uint32_t max_chain;             /* Descriptors, those in tables too. */
    uint16_t size;
    uint8_t hdr_len;                /* 10 or 12. */
    bool running;
    bool packed, indirect, mergeable, in_order, event_idx;
    bool has_offloads;              /* Frames from the driver may want
                                     * something by their headers. */

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

    bool asked;                     /* The driver is to kick. */

    struct vpci_memory_region region; /* The one that was hit last. */

    /* A frame that found too few mergeable buffers is not tried again before
     * there are more. */
    bool starved;
    bool starved_wrap;
    uint16_t starved_idx;           /* The driver's next buffer goes here. */
    uint64_t starved_room;          /* What all buffers up to there hold. */

    uint64_t n_bufs, n_notifies;    /* Displayed by other threads. */

    struct vpci_vring_config cfg;

    /* Of a native ring; else its pointers are null. */
    struct vpci_vring_native native;
    bool is_native;
    bool tell;                      /* The guest wants to be told. */
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

    /* Descriptors known to be available, and what they point to is on its way
     * into the cache: first descriptors of chains in a split ring, consecutive
     * descriptors of a packed ring. */
    uint32_t want;              /* How many chains the caller could use. */
    uint64_t need;              /* Bytes of a chain that the caller could use:
                                 * buffers beyond them are not looked at. */
    uint32_t pos, n;
    uint16_t heads[VPCI_VRING_BURST]; /* Of a split ring: which. */
};

/* What differs between the kinds of ring. */
struct vring_kind {
    /* Looks ahead at 'w' for descriptors of up to 'w->want' chains like the one
     * before.  Returns the number of descriptors, or -1 after a fault. */
    int (*look_ahead)(struct vpci_vring *, struct vring_walk *w, bool write);

    /* Reads descriptor 'i' of those that are ahead, counted from 'w->pos' on,
     * and what the driver calls its chain, which is one descriptor long. */
    struct vring_desc_copy (*read)(const struct vpci_vring *,
                                   const struct vring_walk *w, uint32_t i,
                                   uint16_t *id);

    /* Translates the chain at 'w', whose first descriptor is available and all
     * of whose descriptors must be device-writable or device-readable
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

/* Where a ring stands that has given back all that it has taken, as records
 * have it. */
VRING_INLINE uint32_t
vring_place(bool packed, uint16_t idx, bool wrap)
{
    uint32_t place = packed && wrap ? idx | VPCI_ABI_PEER_WRAP : idx;

    return place | place << VPCI_ABI_PEER_USED_SHIFT;
}

/* The ring is about to stand there, or does: so whoever finds the record knows
 * what may have been published, and the ring says whether it was. */
VRING_INLINE void
vring_record_next(const struct vpci_vring *vr, uint16_t idx, bool wrap)
{
    if (VRING_UNLIKELY(vr->cfg.record != NULL)) {
        vpci_store32(&vr->cfg.record->next, vring_place(vr->packed, idx,
                                                        wrap));
    }
}

VRING_INLINE void
vring_record_at(const struct vpci_vring *vr, uint16_t idx, bool wrap)
{
    if (VRING_UNLIKELY(vr->cfg.record != NULL)) {
        vpci_store32_release(&vr->cfg.record->at, vring_place(vr->packed, idx,
                                                              wrap));
    }
}

/* vring-doorbell.c. */

/* Rings the doorbell 'call_fd'. */
void vring_ring_doorbell(struct vpci_vring *);

/* vring-split.c. */
int vring_split_start(struct vpci_vring *);
void vring_split_set_kicks(struct vpci_vring *, bool on);
bool vring_split_recover(const struct vpci_vring_config *, uint32_t at,
                         struct vpci_vring_base *);
unsigned int vring_split_peek(struct vpci_vring *, struct vpci_pkt *,
                              unsigned int max);
void vring_split_release(struct vpci_vring *, unsigned int n);
unsigned int vring_split_push(struct vpci_vring *, struct vpci_pkt *,
                              unsigned int n);
bool vring_split_has_room(const struct vpci_vring *, unsigned int n);
bool vring_split_must_notify(const struct vpci_vring *);

/* Finds up to 'w->want' chains at 'w', notes the first descriptors of them in
 * 'w->heads', and starts to fetch those.  Returns their number, or -1 after a
 * fault. */
int vring_split_find(struct vpci_vring *, struct vring_walk *w);

/* Gives 'n' chains of one descriptor each, in 'done' of the ring, which are the
 * next that are available, back to the driver. */
void vring_split_pushed(struct vpci_vring *, uint32_t n);

/* vring-native.c. */

struct vpci_ring_pkt;

/* Shows up to 'max' packets, at most VPCI_VRING_BURST, as vpci_ring_peek(). */
unsigned int vring_native_look(struct vpci_vring *, struct vpci_ring_pkt *,
                               unsigned int max);

/* Before vpci_ring_reserve(), and after vpci_ring_submit() of 'n' packets. */
bool vring_native_can_push(struct vpci_vring *);
void vring_native_pushed(struct vpci_vring *, unsigned int n);

unsigned int vring_native_peek(struct vpci_vring *, struct vpci_pkt *,
                               unsigned int max);
void vring_native_release(struct vpci_vring *, unsigned int n);
unsigned int vring_native_push(struct vpci_vring *, struct vpci_pkt *,
                               unsigned int n);
void vring_native_get_state(const struct vpci_vring *,
                            struct vpci_vring_state *);

/* vring-packed.c. */
int vring_packed_start(struct vpci_vring *);
void vring_packed_set_kicks(struct vpci_vring *, bool on);
bool vring_packed_recover(const struct vpci_vring_config *, uint32_t next,
                          uint32_t at, struct vpci_vring_base *);
unsigned int vring_packed_peek(struct vpci_vring *, struct vpci_pkt *,
                               unsigned int max);
void vring_packed_release(struct vpci_vring *, unsigned int n);
unsigned int vring_packed_push(struct vpci_vring *, struct vpci_pkt *,
                               unsigned int n);
bool vring_packed_has_room(const struct vpci_vring *, unsigned int n);
bool vring_packed_must_notify(const struct vpci_vring *);
void vring_packed_pushed(struct vpci_vring *, uint32_t n);

/* Reads the descriptor at 'host', which need not be aligned. */
VRING_INLINE struct vring_desc_copy
vring_snapshot(const void *host)
{
    const vring_u64 *p = host;

    return (struct vring_desc_copy) {
        .addr = VRING_READ(&p[0]), .rest = VRING_READ(&p[1])
    };
}

#define VRING_PACKED_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define VRING_PACKED_USED (1u << VRING_PACKED_DESC_F_USED)

/* True if a descriptor with 'flags' is available in a lap with 'wrap'. */
VRING_INLINE bool
vring_packed_is_avail(uint16_t flags, bool wrap)
{
    return ((flags & (VRING_PACKED_AVAIL | VRING_PACKED_USED))
            == (wrap ? VRING_PACKED_AVAIL : VRING_PACKED_USED));
}

/* Reads a descriptor of a packed ring that is known to be available. */
VRING_INLINE struct vring_desc_copy
vring_packed_snapshot(const struct vring_packed_desc *p)
{
    struct vring_desc_copy d = vring_snapshot(p);

    return vring_desc_from_packed(d, d.rest >> 48);
}

/* See 'read' in struct vring_kind. */
VRING_INLINE struct vring_desc_copy
vring_split_read(const struct vpci_vring *vr, const struct vring_walk *w,
                 uint32_t i, uint16_t *id)
{
    const struct vring_desc *desc = vr->desc;

    *id = w->heads[w->pos + i];
    return vring_snapshot(&desc[*id]);
}

VRING_INLINE struct vring_desc_copy
vring_packed_read(const struct vpci_vring *vr, const struct vring_walk *w,
                  uint32_t i, uint16_t *id)
{
    const struct vring_packed_desc *desc = vr->desc;
    uint32_t idx = w->idx + i;
    struct vring_desc_copy d;

    d = vring_packed_snapshot(&desc[idx < vr->size ? idx : idx - vr->size]);
    *id = vring_desc_next(d);
    return d;
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

/* Starts to bring the first bytes of a buffer at 'p' into the cache.  Drivers
 * like to put the header, of 'hdr_len' bytes, just before a frame that is
 * aligned: the two are not in the same line then. */
VRING_INLINE void
vring_prefetch_buffer(const void *p, uint32_t hdr_len, bool write)
{
    const void *frame = (const void *) ((uintptr_t) p + hdr_len);

    if (write) {
        __builtin_prefetch(p, 1);
        __builtin_prefetch(frame, 1);
    } else {
        __builtin_prefetch(frame, 0);
    }
}

/* The same for a buffer at guest address 'addr'. */
VRING_INLINE void
vring_prefetch(const struct vpci_vring *vr, uint64_t addr, bool write)
{
    vring_prefetch_buffer(vring_map_fast(vr, addr, 1), vr->hdr_len, write);
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

/* Copies 'n' bytes, more than 128.  memcpy() of glibc 2.36 leaves this to "rep
 * movsb", of which AMD's processors make 1 byte a cycle, instead of 10, if the
 * places in their pages of destination and source differ by less than 64: and
 * guests' pages of data are copied to pages with a virtio header in front. */
static inline void
vring_copy_long(uint8_t *dst, const uint8_t *src, size_t n)
{
    const uint8_t *end = src + n;

    while (end - src > 128) {
        memcpy(dst, src, 64);
        memcpy(dst + 64, src + 64, 64);
        dst += 128;
        src += 128;
    }
    dst -= 128 - (end - src);
    src = end - 128;
    memcpy(dst, src, 64);
    memcpy(dst + 64, src + 64, 64);
}

/* Copies 'n' bytes.  What a frame's first bytes need is done in line. */
VRING_INLINE void
vring_copy(void *dst_, const void *src_, size_t n)
{
    const uint8_t *src = src_;
    uint8_t *dst = dst_;

    if (VRING_UNLIKELY(n < 16)) {
        memcpy(dst, src, n);
    } else if (n > 128) {
        vring_copy_long(dst, src, n);
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

#endif /* vring-private.h */
