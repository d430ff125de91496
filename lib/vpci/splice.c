/* SPDX-License-Identifier: Apache-2.0 */

#include "vpci/splice.h"

#include <string.h>

#include "vring-private.h"
#include "vring-push.h"

/* The private copy of the beginning of a frame. */
#define HEAD 64

_Static_assert(VPCI_STEER_PLAIN_HEADERS <= HEAD
               && VPCI_STEER_PLAIN_HEADERS > HEAD / 2,
               "a head is copied in two halves");

/* One of the two rings. */
struct side {
    struct vpci_vring *vr;
    struct vring_walk w;
    struct vpci_memory_region region;
    uint32_t hdr_len;
};

static void
side_init(struct side *side, struct vpci_vring *vr)
{
    side->vr = vr;
    side->w.idx = vr->avail_idx;
    side->w.wrap = vr->avail_wrap;
    side->w.n_slots = side->w.pos = side->w.n = 0;
    side->w.slots = 1;
    side->region = vr->region;
    side->hdr_len = vr->hdr_len;
}

/* Looks for up to 'n' descriptors.  Returns how many there are. */
static uint32_t
side_look_ahead(struct side *side, uint32_t n, bool write)
{
    int found;

    side->w.want = n;
    found = (side->vr->packed
             ? vring_packed_look_ahead(side->vr, &side->w, write)
             : vring_split_look_ahead(side->vr, &side->w, write));
    return found > 0 ? found : 0;
}

/* Reads descriptor 'i'.  Returns where its buffer is, and its length in '*len',
 * or null if there is more to it than a buffer of the kind that 'flags' is. */
VRING_INLINE uint8_t *
side_read(const struct side *side, uint32_t i, bool packed, uint16_t flags,
          uint32_t *len, struct vring_used_elem *done)
{
    uint16_t id;
    struct vring_desc_copy d
        = (packed ? vring_packed_read(side->vr, &side->w, i, &id)
           : vring_split_read(side->vr, &side->w, i, &id));
    uint64_t ofs = d.addr - side->region.guest_addr;

    *len = vring_desc_len(d);
    *done = (struct vring_used_elem) { .id = id };
    if (VRING_UNLIKELY((vring_desc_flags(d) & VRING_KIND_FLAGS) != flags
                       || *len < side->hdr_len || ofs >= side->region.size
                       || *len > side->region.size - ofs)) {
        return NULL;
    }
    *len -= side->hdr_len;
    return side->region.host + ofs;
}

/* Copies the first HEAD bytes, or 'len' if that is less. */
VRING_INLINE void
copy_head(uint8_t *dst, const uint8_t *src, uint32_t len)
{
    uint32_t second = len < HEAD ? len - HEAD / 2 : HEAD / 2;

    memcpy(dst, src, HEAD / 2);
    memcpy(dst + second, src + second, HEAD / 2);
}

/* 1 if 'dst' is the address of everybody, otherwise 0. */
static uint32_t
broadcast_bit(const uint8_t *dst)
{
    return (dst[0] & dst[1] & dst[2] & dst[3] & dst[4] & dst[5]) == 0xff;
}

/* Moves up to 'n' frames.  Returns how many. */
VRING_INLINE uint32_t
splice_frames(const struct side *from, const struct side *to, uint32_t n,
              const struct vpci_steer_plain *plain, uint32_t max_len,
              struct vpci_spliced *spliced, bool from_packed, bool to_packed)
{
    struct vring_used_elem *from_done = from->vr->done;
    struct vring_used_elem *to_done = to->vr->done;
    const struct vpci_net_hdr hdr = { .flags = 0 };
    uint32_t i;

    for (i = 0; i < n; i++) {
        uint8_t head[HEAD] __attribute__((aligned(32)));
        uint32_t len, room;
        uint8_t *src = side_read(from, i, from_packed, 0, &len,
                                 &from_done[i]);
        uint8_t *dst = side_read(to, i, to_packed, VRING_DESC_F_WRITE, &room,
                                 &to_done[i]);

        if (VRING_UNLIKELY(!src || !dst || len > room || len > max_len
                           || len < VPCI_STEER_PLAIN_HEADERS)) {
            break;
        }
        src += from->hdr_len;
        copy_head(head, src, len);
        /* The compiler may not look at 'src' again for what is in 'head'. */
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (VRING_UNLIKELY(!vpci_steer_is_plain(plain, head))) {
            break;
        }
        vring_write_hdr(dst, &hdr, to->hdr_len);
        dst += to->hdr_len;
        copy_head(dst, head, len);
        if (len > HEAD) {
            memcpy(dst + HEAD, src + HEAD, len - HEAD);
        }
        to_done[i].len = len + to->hdr_len;
        spliced->lens[i] = len;
        if (VRING_UNLIKELY(head[0] & 1)) {
            spliced->multicast |= UINT32_C(1) << i;
            spliced->broadcast |= broadcast_bit(head) << i;
        }
    }
    return i;
}

/* Splits of this by kind of ring, so that the compiler has four loops. */
static uint32_t
splice_kinds(const struct side *from, const struct side *to, uint32_t n,
             const struct vpci_steer_plain *plain, uint32_t max_len,
             struct vpci_spliced *spliced)
{
    bool from_packed = from->vr->packed, to_packed = to->vr->packed;

    return (from_packed && to_packed
            ? splice_frames(from, to, n, plain, max_len, spliced, true, true)
            : from_packed
            ? splice_frames(from, to, n, plain, max_len, spliced, true, false)
            : to_packed
            ? splice_frames(from, to, n, plain, max_len, spliced, false, true)
            : splice_frames(from, to, n, plain, max_len, spliced, false,
                            false));
}

/* Each of the first 'n' chains of 'vr' has one descriptor. */
static void
set_slots(struct vpci_vring *vr, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        vr->done_slots[i] = 1;
    }
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
    uint32_t n, n_moved;

    spliced->multicast = spliced->broadcast = 0;
    spliced->stopped = false;
    if (!is_easy(from) || !is_easy(to) || from->has_offloads || from == to) {
        spliced->stopped = true;
        return 0;
    }
    side_init(&src, from);
    n = side_look_ahead(&src, VPCI_VRING_BURST, false);
    if (!n) {
        return 0;
    }
    side_init(&dst, to);
    n_moved = side_look_ahead(&dst, n, true);
    if (n_moved) {
        n_moved = splice_kinds(&src, &dst, n_moved, plain, max_len, spliced);
    }
    spliced->stopped = n_moved < n;
    if (n_moved) {
        set_slots(from, n_moved);
        set_slots(to, n_moved);
        to->n_peeked = 0;
        if (to->packed) {
            vring_packed_pushed(to, n_moved);
        } else {
            vring_split_pushed(to, n_moved);
        }
        from->n_peeked = n_moved;
        from->first_peeked = 0;
        vpci_vring_release(from, n_moved);
    }
    return n_moved;
}
