/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_VRING_PUSH_H
#define VPCI_VRING_PUSH_H 1

/* Frames to the driver
 * ====================
 *
 * What both kinds of ring do to copy frames into the driver's buffers.  The
 * chains that were filled are noted in 'done' of the ring, for the caller to
 * give them back at once. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vring-private.h"

/* Where a frame that is being pushed has got to: at its head, which is one
 * piece more, or in its pieces. */
struct vring_source {
    const struct vpci_iov *iov;
    uint32_t ofs;               /* Into '*iov'. */
    uint32_t left;              /* Bytes of the frame. */
    const struct vpci_pkt *next; /* At its head: whose pieces come next. */
    struct vpci_iov head;
};

/* vring.c. */
uint32_t vring_scatter(const struct vring_walk *, uint32_t skip,
                       struct vring_source *);
void vring_scatter_hdr(const struct vring_walk *, const uint8_t *hdr,
                       uint32_t hdr_len, uint8_t *num_buffers[2]);

/* A burst that is being pushed. */
struct vring_push {
    struct vring_walk w;
    bool found;                 /* Does 'w' have a chain at hand? */
    uint32_t n_done;            /* Chains filled, in 'done' of the ring. */
    uint32_t n_iov;             /* Pieces that they had. */
};

/* Pieces after which a burst ends, so that a guest with tiny buffers costs
 * nobody but itself. */
#define VRING_PUSH_MAX_IOV 4096

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

/* Copies a frame whose pieces are one to 'dst'. */
VRING_INLINE void
vring_copy_single(uint8_t *dst, const struct vpci_pkt *pkt)
{
    const uint8_t *src = pkt->iov->base;

    if (pkt->head_len) {
        vring_copy(dst, pkt->head, pkt->head_len);
        if (pkt->head_len < pkt->len) {
            vring_copy(dst + pkt->head_len, src + pkt->skip,
                       pkt->len - pkt->head_len);
        }
    } else {
        vring_copy(dst, src, pkt->len);
    }
}

/* Pushes frames that are in one piece, but for their heads, and fit into a
 * single descriptor each, up to 'max' of them, as long as descriptors are known
 * to be available.  Returns the number of frames.
 *
 * This is where most frames pass.  Everything else takes the general way. */
VRING_INLINE uint32_t
vring_push_singles(struct vpci_vring *vr, const struct vring_push *p,
                   struct vpci_pkt *pkts, uint32_t max,
                   const struct vring_kind *kind)
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
        uint16_t id;
        const struct vring_desc_copy d = kind->read(vr, w, i, &id);
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
        vring_copy_single(base + hdr_len, pkt);
        pkt->fate = VPCI_PKT_SENT;
        done[i] = (struct vring_used_elem) {
            .id = id, .len = pkt->len + hdr_len
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
    p->n_iov += p->w.n_iov;
    kind->advance(vr, &p->w, 1, p->w.slots);
    p->found = false;
}

/* Finds the next chain, or its first 'need' bytes, unless one is at hand (of
 * which too little for the frame before is known to be all).  Returns false if
 * there is none or after a fault. */
VRING_INLINE bool
vring_push_find(struct vpci_vring *vr, struct vring_push *p, uint64_t need,
                const struct vring_kind *kind)
{
    p->w.need = need > vr->hdr_len ? need : vr->hdr_len;
    if (!p->found
        && (p->w.pos < p->w.n || kind->look_ahead(vr, &p->w, true) > 0)
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
        if (!vring_push_find(vr, p, src->left, kind)) {
            /* Only if nothing else is under way are all descriptors seen. */
            return (!first && !vr->fault
                    && vring_push_starved(vr, &p->w, room, min_slots)
                    ? VPCI_PKT_TOO_BIG : VPCI_PKT_WAITING);
        }
        if (p->w.slots < min_slots) {
            min_slots = p->w.slots;
        }
        if (vr->cfg.record) {
            vr->done_slots[p->n_done - 1] |= VRING_CONTINUES;
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

/* The beginning of 'pkt'. */
static inline void
vring_source_init(struct vring_source *src, const struct vpci_pkt *pkt)
{
    src->left = pkt->len;
    src->ofs = 0;
    if (pkt->head_len) {
        src->head.base = (void *) pkt->head;
        src->head.len = pkt->head_len;
        src->iov = &src->head;
        src->next = pkt;
    } else {
        src->iov = pkt->iov;
        src->next = NULL;
    }
}

/* Pushes one frame, the general way.  If that fails, 'p' may be left
 * anywhere. */
VRING_INLINE enum vpci_pkt_fate
vring_push_frame(struct vpci_vring *vr, struct vring_push *p,
                 const struct vpci_pkt *pkt, const struct vring_kind *kind)
{
    struct vring_source src;
    uint8_t *num_buffers[2];
    uint32_t len;

    if (!vring_push_find(vr, p, (uint64_t) pkt->len + vr->hdr_len, kind)) {
        return VPCI_PKT_WAITING;
    }
    if (!vr->mergeable && p->w.len - vr->hdr_len < pkt->len) {
        return VPCI_PKT_TOO_BIG;
    }
    vring_source_init(&src, pkt);
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
    p.n_done = p.n_iov = 0;
    vr->n_peeked = 0;
    while (i < n && p.n_iov <= VRING_PUSH_MAX_IOV) {
        uint32_t n_singles = 0;

        p.w.want = n - i;
        if (!p.found) {
            if (p.w.pos >= p.w.n && kind->look_ahead(vr, &p.w, true) <= 0) {
                break;
            }
            n_singles = vring_push_singles(vr, &p, &pkts[i], n - i, kind);
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

#endif /* vring-push.h */
