/* SPDX-License-Identifier: Apache-2.0 */

#include "vpci/splice.h"

#include <string.h>

#include "vpci/ring.h"
#include "vring-private.h"
#include "vring-push.h"

/* The private copy of the beginning of a frame. */
#define HEAD 64

_Static_assert(VPCI_STEER_PLAIN_HEADERS <= HEAD
               && VPCI_STEER_PLAIN_HEADERS > HEAD / 2,
               "a head is copied in two halves");
_Static_assert(HEAD == VPCI_SPREAD_HEADERS, "queues are chosen by the head");
_Static_assert(VPCI_STEER_TCP_HEADERS > HEAD, "TCP takes a longer look");

/* One of the two rings, and buffers of it: each is one descriptor, or, in a
 * native ring, a packet.  A native ring that is written to has no buffers until
 * the lengths of packets are known. */
struct side {
    struct vpci_vring *vr;
    struct vpci_memory_region region;
    uint32_t hdr_len;           /* 0 in a native ring. */
    bool more;                  /* There are descriptors behind these. */
    uint32_t n;
    uint8_t *buffers[VPCI_VRING_BURST];
    uint32_t lens[VPCI_VRING_BURST];    /* Less the header. */
};

static void
side_init(struct side *side, struct vpci_vring *vr)
{
    side->vr = vr;
    side->region = vr->region;
    side->hdr_len = vr->is_native ? 0 : vr->hdr_len;
    side->more = false;
    side->n = 0;
}

/* Takes the buffer that 'd', known to the driver as 'id', describes.  Returns
 * false if there is more to it than a buffer, written to if 'write', in the
 * region that was hit last. */
VRING_INLINE bool
side_take(struct side *side, struct vring_desc_copy d, uint16_t id,
          bool write)
{
    uint64_t ofs = d.addr - side->region.guest_addr;
    uint32_t len = vring_desc_len(d), i = side->n;

    if (VRING_UNLIKELY(((vring_desc_flags(d) & VRING_KIND_FLAGS)
                        != (write ? VRING_DESC_F_WRITE : 0))
                       || len < side->hdr_len || ofs >= side->region.size
                       || len > side->region.size - ofs)) {
        return false;
    }
    side->vr->done[i] = (struct vring_used_elem) { .id = id };
    side->buffers[i] = side->region.host + ofs;
    side->lens[i] = len - side->hdr_len;
    side->n++;
    vring_prefetch_buffer(side->buffers[i], side->hdr_len, write);
    return true;
}

VRING_INLINE void
side_take_split(struct side *side, uint32_t max, bool write)
{
    const struct vring_desc *desc = side->vr->desc;
    struct vring_walk w;
    int n;

    /* All that is looked at: the rest is large. */
    w.idx = side->vr->avail_idx;
    w.want = max;
    n = vring_split_find(side->vr, &w);
    for (int i = 0; i < n; i++) {
        uint16_t id = w.heads[i];

        if (VRING_UNLIKELY(!side_take(side, vring_snapshot(&desc[id]), id,
                                      write))) {
            side->more = true;
            break;
        }
    }
}

VRING_INLINE void
side_take_packed(struct side *side, uint32_t max, bool write)
{
    const struct vring_packed_desc *desc = side->vr->desc;
    uint32_t idx = side->vr->avail_idx;
    bool wrap = side->vr->avail_wrap;

    /* A driver could make available once more what was taken just now. */
    if (max > side->vr->size) {
        max = side->vr->size;
    }
    while (side->n < max) {
        const struct vring_packed_desc *p = &desc[idx];
        struct vring_desc_copy d;

        /* (A): what a descriptor says is read after its flags. */
        if (!vring_packed_is_avail(__atomic_load_n(&p->flags,
                                                   __ATOMIC_ACQUIRE), wrap)) {
            break;
        }
        d = vring_packed_snapshot(p);
        if (VRING_UNLIKELY(!side_take(side, d, vring_desc_next(d), write))) {
            side->more = true;
            break;
        }
        if (VRING_UNLIKELY(++idx == side->vr->size)) {
            idx = 0;
            wrap = !wrap;
        }
    }
}

/* Takes up to 'max' packets of a native ring. */
static void
side_take_native(struct side *side, uint32_t max)
{
    struct vpci_ring_pkt seen[VPCI_VRING_BURST];

    side->n = vring_native_look(side->vr, seen, max);
    for (uint32_t i = 0; i < side->n; i++) {
        /* Nobody writes to it. */
        side->buffers[i] = (uint8_t *) (uintptr_t) seen[i].data;
        side->lens[i] = seen[i].len;
        vring_prefetch_buffer(side->buffers[i], 0, false);
    }
}

/* Takes up to 'max' buffers of ring 'vr' that are easy. */
VRING_INLINE void
side_fill(struct side *side, struct vpci_vring *vr, uint32_t max, bool write)
{
    side_init(side, vr);
    if (vr->is_native) {
        if (write) {
            side->n = vring_native_can_push(vr) ? max : 0;
        } else {
            side_take_native(side, max);
        }
    } else if (vr->packed) {
        side_take_packed(side, max, write);
    } else {
        side_take_split(side, max, write);
    }
}

/* Copies the first HEAD bytes, or 'len' if that is less. */
VRING_INLINE void
copy_head(uint8_t *dst, const uint8_t *src, uint32_t len)
{
    if (VRING_LIKELY(len >= HEAD)) {
        memcpy(dst, src, HEAD);
    } else {
        uint32_t second = len - HEAD / 2;

        memcpy(dst, src, HEAD / 2);
        memcpy(dst + second, src + second, HEAD / 2);
    }
}

/* 1 if 'dst' is the address of everybody, otherwise 0. */
static uint32_t
broadcast_bit(const uint8_t *dst)
{
    return (dst[0] & dst[1] & dst[2] & dst[3] & dst[4] & dst[5]) == 0xff;
}

/* True if the frame at 'src', whose first HEAD bytes are also in 'head', matches
 * 'plain' and has TCP flags, which are added to '*tcp_flags'.  What is read here
 * for the first time is nothing but flags behind HEAD bytes: those that are sent
 * may be others. */
static bool
is_tcp(const struct vpci_steer_plain *plain, const uint8_t *head,
       const uint8_t *src, uint32_t len, uint16_t *tcp_flags)
{
    uint32_t n = len < VPCI_STEER_TCP_HEADERS ? len : VPCI_STEER_TCP_HEADERS;
    uint8_t headers[VPCI_STEER_TCP_HEADERS];
    uint16_t flags;

    memcpy(headers, head, HEAD);
    if (n > HEAD) {
        memcpy(headers + HEAD, src + HEAD, n - HEAD);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    }
    if (!vpci_steer_is_plain_tcp(plain, headers, n, len, &flags)) {
        return false;
    }
    *tcp_flags |= flags;
    return true;
}

/* Copies the first bytes of the frame of 'len' bytes at 'src' to 'head', and
 * returns true if it matches '*plain'. */
VRING_INLINE bool
look_at(const struct vpci_steer_plain *plain, const uint8_t *src,
        uint32_t len, uint8_t head[HEAD], uint16_t *tcp_flags)
{
    copy_head(head, src, len);
    /* The compiler may not look at 'src' again for what is in 'head'. */
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    return (VRING_LIKELY(vpci_steer_is_plain(plain, head))
            || is_tcp(plain, head, src, len, tcp_flags));
}

/* Returns where frame 'i' of 'len' bytes goes, in 'to', or null if there is no
 * room for it. */
VRING_INLINE uint8_t *
find_room(const struct side *to, uint32_t i, uint32_t len)
{
    if (to->vr->is_native) {
        return vpci_ring_reserve(to->vr->native.tx, len);
    }
    return VRING_LIKELY(len <= to->lens[i]) ? to->buffers[i] : NULL;
}

/* Writes a frame of 'len' bytes to 'dst', which find_room() has found for frame
 * 'i' of 'to': what is in 'head', and what is behind that at 'src'. */
VRING_INLINE void
write_frame(const struct side *to, uint32_t i, uint8_t *dst,
            const uint8_t head[HEAD], const uint8_t *src, uint32_t len)
{
    const struct vpci_net_hdr hdr = { .flags = 0 };

    if (!to->vr->is_native) {
        vring_write_hdr(dst, &hdr, to->hdr_len);
        to->vr->done[i].len = len + to->hdr_len;
        dst += to->hdr_len;
    }
    copy_head(dst, head, len);
    if (len > HEAD) {
        /* A guest may give the same memory for both. */
        memmove(dst + HEAD, src + HEAD, len - HEAD);
    }
    if (to->vr->is_native) {
        vpci_ring_submit(to->vr->native.tx, len, NULL);
    }
}

/* Moves the frames of 'from' to the buffers of 'to' as long as they fit and are
 * plain.  Returns how many. */
VRING_INLINE uint32_t
splice_frames(const struct side *from, const struct side *to,
              const struct vpci_steer_plain *plain, uint32_t max_len,
              struct vpci_spliced *spliced)
{
    const struct vpci_steer_plain p = *plain;
    uint32_t n = from->n < to->n ? from->n : to->n;
    uint32_t i;

    for (i = 0; i < n; i++) {
        uint8_t head[HEAD] __attribute__((aligned(32)));
        const uint8_t *src = from->buffers[i] + from->hdr_len;
        uint32_t len = from->lens[i];
        uint8_t *dst;

        if (VRING_UNLIKELY(len > max_len || len < VPCI_STEER_PLAIN_HEADERS)
            || !look_at(&p, src, len, head, &spliced->tcp_flags)) {
            break;
        }
        dst = find_room(to, i, len);
        if (VRING_UNLIKELY(!dst)) {
            break;
        }
        write_frame(to, i, dst, head, src, len);
        if (!i) {
            memcpy(spliced->first, head, sizeof spliced->first);
        }
        spliced->lens[i] = len;
        if (VRING_UNLIKELY(head[0] & 1)) {
            spliced->multicast |= UINT32_C(1) << i;
            spliced->broadcast |= broadcast_bit(head) << i;
        }
    }
    return i;
}

/* Each of the first 'n' chains of 'vr' has one descriptor. */
static void
set_slots(struct vpci_vring *vr, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        vr->done_slots[i] = 1;
    }
}

/* The first 'n' of the buffers that a side has taken from 'vr' hold frames. */
static void
pushed(struct vpci_vring *vr, uint32_t n)
{
    if (vr->is_native) {
        vring_native_pushed(vr, n);
        return;
    }
    set_slots(vr, n);
    vr->n_peeked = 0;
    if (vr->packed) {
        vring_packed_pushed(vr, n);
    } else {
        vring_split_pushed(vr, n);
    }
}

/* The first 'n' of the buffers that a side has taken from 'vr' can be
 * released. */
static void
peeked(struct vpci_vring *vr, uint32_t n)
{
    if (!vr->is_native) {
        set_slots(vr, n);
    }
    vr->n_peeked = n;
    vr->first_peeked = 0;
}

static bool
is_easy(const struct vpci_vring *vr)
{
    return vr->running && !vr->fault && !vr->cfg.log && !vr->starved;
}

unsigned int
vpci_vring_splice(struct vpci_vring *from, struct vpci_vring *to,
                  const struct vpci_steer_plain *plain, uint32_t max_len,
                  struct vpci_spliced *spliced)
{
    struct side src, dst;
    uint32_t n_moved = 0;

    spliced->multicast = spliced->broadcast = 0;
    spliced->tcp_flags = 0;
    spliced->stopped = false;
    if (!is_easy(from) || !is_easy(to) || from->has_offloads || from == to) {
        spliced->stopped = true;
        return 0;
    }
    side_fill(&src, from, VPCI_VRING_BURST, false);
    if (src.n) {
        side_fill(&dst, to, src.n, true);
        n_moved = splice_frames(&src, &dst, plain, max_len, spliced);
    }
    spliced->stopped = src.more || n_moved < src.n;
    if (n_moved) {
        pushed(to, n_moved);
        peeked(from, n_moved);
        vpci_vring_release(from, n_moved);
    }
    return n_moved;
}

unsigned int
vpci_vring_look(struct vpci_vring *from, const struct vpci_steer_plain *plain,
                uint32_t max_len, struct vpci_spread *spread, uint8_t epoch,
                struct vpci_splice_look *look)
{
    const struct vpci_steer_plain p = *plain;
    struct side src;
    uint32_t i;

    look->n = 0;
    look->tcp_flags = 0;
    look->stopped = true;
    if (!is_easy(from) || from->has_offloads) {
        return 0;
    }
    side_fill(&src, from, VPCI_VRING_BURST, false);
    for (i = 0; i < src.n; i++) {
        uint8_t *frame = src.buffers[i] + src.hdr_len;
        uint32_t len = src.lens[i];

        if (VRING_UNLIKELY(len > max_len || len < VPCI_STEER_PLAIN_HEADERS)
            || !look_at(&p, frame, len, look->heads[i], &look->tcp_flags)) {
            break;
        }
        look->iovs[i] = (struct vpci_iov) { .base = frame, .len = len };
        look->queues[i] = vpci_spread_choose(spread, look->heads[i], len,
                                             epoch);
    }
    look->n = i;
    look->stopped = src.more || i < src.n;
    peeked(from, i);
    return i;
}

uint32_t
vpci_vring_put(const struct vpci_splice_look *look, struct vpci_vring *to,
               uint32_t which)
{
    struct side dst;
    uint32_t n = 0, moved = 0;

    if (!is_easy(to) || !which) {
        return 0;
    }
    side_fill(&dst, to, __builtin_popcount(which), true);
    for (; n < dst.n; n++) {
        uint32_t i = __builtin_ctz(which), len = look->iovs[i].len;
        uint8_t *room = find_room(&dst, n, len);

        if (VRING_UNLIKELY(!room)) {
            break;
        }
        write_frame(&dst, n, room, look->heads[i], look->iovs[i].base, len);
        moved |= UINT32_C(1) << i;
        which &= which - 1;
    }
    if (n) {
        pushed(to, n);
    }
    return moved;
}

void
vpci_splice_look_get(const struct vpci_splice_look *look, unsigned int i,
                     struct vpci_pkt *pkt)
{
    const struct vpci_iov *iov = &look->iovs[i];

    *pkt = (struct vpci_pkt) {
        .iov = iov, .n_iov = 1, .len = iov->len, .head = look->heads[i],
        .head_len = iov->len < HEAD ? iov->len : HEAD,
        .skip = iov->len < HEAD ? iov->len : HEAD,
    };
}
