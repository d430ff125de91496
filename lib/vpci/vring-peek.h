/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_VRING_PEEK_H
#define VPCI_VRING_PEEK_H 1

/* Frames from the driver
 * ======================
 *
 * What both kinds of ring do to show frames to the caller where they lie, in
 * the driver's memory.  The translated chains are noted in 'done' of the ring,
 * to be given back later. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "vring-private.h"

/* vring.c. */
bool vring_peek_hdr_slow(const struct vring_walk *, uint32_t hdr_len,
                         struct vpci_pkt *);

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

/* Everything from the header on is 0: one store of 16 bytes. */
_Static_assert(sizeof(struct vpci_pkt) - offsetof(struct vpci_pkt, hdr) == 16
               && !VPCI_PKT_WAITING, "layout");

VRING_INLINE void
vring_peek_init(struct vpci_pkt *pkt, const struct vpci_iov *iov,
                uint32_t n_iov, uint32_t len)
{
    pkt->iov = iov;
    pkt->n_iov = n_iov;
    pkt->len = len;
    memset((uint8_t *) pkt + offsetof(struct vpci_pkt, hdr), 0, 16);
}

/* Peeks at frames that lie in a single descriptor each, up to 'max' of them,
 * as long as descriptors are known to be available.  'n' frames have been
 * peeked at before.  Returns the number of frames.
 *
 * This is where most frames pass.  Everything else takes the general way. */
VRING_INLINE uint32_t
vring_peek_singles(struct vpci_vring *vr, const struct vring_walk *w,
                   struct vpci_pkt *pkts, uint32_t n, uint32_t max,
                   const struct vring_kind *kind)
{
    const struct vpci_memory_region region = vr->region;
    struct vring_used_elem *done = &vr->done[n];
    uint16_t *done_slots = &vr->done_slots[n];
    const uint32_t hdr_len = vr->hdr_len;
    const bool has_offloads = vr->has_offloads;
    struct vpci_iov *iov = w->iov;
    uint32_t i;

    if (max > w->n - w->pos) {
        max = w->n - w->pos;
    }
    for (i = 0; i < max; i++) {
        uint16_t id;
        const struct vring_desc_copy d = kind->read(vr, w, i, &id);
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
        iov[i] = (struct vpci_iov) { base + hdr_len, len - hdr_len };
        vring_peek_init(pkt, &iov[i], 1, len - hdr_len);
        if (has_offloads) {
            vring_read_hdr(&pkt->hdr, base);
        }
        done[i] = (struct vring_used_elem) { .id = id };
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

    vring_peek_init(pkt, iov, w->n_iov, w->len - vr->hdr_len);
    if (VRING_LIKELY(iov->len >= vr->hdr_len)) {
        bool alone = iov->len == vr->hdr_len;

        if (vr->has_offloads) {
            vring_read_hdr(&pkt->hdr, iov->base);
        }
        iov->base = (uint8_t *) iov->base + vr->hdr_len;
        iov->len -= vr->hdr_len;
        pkt->iov = iov + alone;
        pkt->n_iov = w->n_iov - alone;
    } else {
        vring_peek_hdr_slow(w, vr->hdr_len, pkt);
    }
    if (!vr->has_offloads) {
        memset(&pkt->hdr, 0, sizeof pkt->hdr);
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
    w.need = UINT64_MAX;
    while (n < max) {
        uint32_t n_singles;

        if (w.pos >= w.n) {
            w.want = max - n;
            if (kind->look_ahead(vr, &w, false) <= 0) {
                break;
            }
        }
        n_singles = vring_peek_singles(vr, &w, &pkts[n], n, max - n, kind);
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

#endif /* vring-peek.h */
