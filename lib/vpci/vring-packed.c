/* SPDX-License-Identifier: Apache-2.0 */

/* The packed ring: virtio 1.1, section 2.7. */

#include <errno.h>

#include "vring-peek.h"
#include "vring-private.h"
#include "vring-push.h"

int
vring_packed_start(struct vpci_vring *vr)
{
    const struct vpci_memory *mem = vr->cfg.mem;
    struct vring_packed_desc_event *event = vr->device;

    if (vr->avail_idx >= vr->size || vr->used_idx >= vr->size
        || (uintptr_t) vr->desc % 16
        || (uintptr_t) vr->driver % 4
        || (uintptr_t) vr->device % 4) {
        return EINVAL;
    }
    if (!vpci_memory_contains(mem, vr->desc, ((uint64_t) vr->size
                                     * sizeof(struct vring_packed_desc)))
        || !vpci_memory_contains(mem, vr->driver, sizeof *event)
        || !vpci_memory_contains(mem, event, sizeof *event)) {
        return EFAULT;
    }

    __atomic_store_n(&event->off_wrap, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&event->flags, VRING_PACKED_EVENT_FLAG_DISABLE,
                     __ATOMIC_RELAXED);
    if (vr->cfg.log) {
        vring_log_host(vr, event, sizeof *event);
    }
    return 0;
}

/* Moves '*idx' forward by 'n', at most the size of the ring. */
VRING_INLINE void
packed_advance(const struct vpci_vring *vr, uint16_t *idx, bool *wrap,
               uint32_t n)
{
    uint32_t next = *idx + n;

    if (next >= vr->size) {
        next -= vr->size;
        *wrap = !*wrap;
    }
    *idx = next;
}

static int
packed_look_ahead(struct vpci_vring *vr, struct vring_walk *w, bool write)
{
    const struct vring_packed_desc *desc = vr->desc;
    uint32_t left = vr->size - w->n_slots;
    uint32_t want = w->want * w->slots;
    uint32_t idx = w->idx;
    bool wrap = w->wrap;
    uint32_t i;

    if (want > VPCI_VRING_BURST) {
        want = VPCI_VRING_BURST;
    }
    if (want > left) {
        want = left;
    }
    for (i = 0; i < want; i++) {
        const struct vring_packed_desc *p = &desc[idx];

        /* (A): what a descriptor says is read after its flags. */
        if (!vring_packed_is_avail(__atomic_load_n(&p->flags,
                                                   __ATOMIC_ACQUIRE), wrap)) {
            break;
        }
        vring_prefetch(vr, VRING_READ(&p->addr), write);
        if (VRING_UNLIKELY(++idx == vr->size)) {
            idx = 0;
            wrap = !wrap;
        }
    }
    w->pos = 0;
    w->n = i;
    return i;
}

/* Adds the buffers of the indirect table 'table', found in 'slot'.  Returns 0,
 * or -1 after a fault. */
VRING_INLINE int
packed_table(struct vpci_vring *vr, struct vring_gather *g,
             struct vring_desc_copy table, uint16_t slot, uint64_t need,
             bool write)
{
    uint32_t n = vring_desc_len(table) / sizeof(struct vring_desc);

    if (vring_check_table(vr, table, slot)) {
        return -1;
    }
    if (n > vr->max_chain) {
        return vring_bad(vr, VPCI_FAULT_LOOP, slot, n, vr->max_chain);
    }
    for (uint32_t i = 0; i < n && g->len < need; i++) {
        struct vring_desc_copy d;

        if (!vring_read_table(vr, table.addr, i, &d)) {
            return vring_bad(vr, VPCI_FAULT_ADDRESS, slot, table.addr, 0);
        }
        d = vring_desc_from_packed(d, d.rest >> 48);
        if (vring_desc_flags(d) & VRING_DESC_F_INDIRECT) {
            return vring_bad(vr, VPCI_FAULT_INDIRECT, slot,
                             vring_desc_flags(d), 0);
        }
        if (vring_add_buffer(vr, g, d, slot, write)) {
            return -1;
        }
    }
    return 0;
}

static int
packed_chain(struct vpci_vring *vr, struct vring_walk *w, bool write)
{
    const struct vring_packed_desc *desc = vr->desc;
    uint32_t left = vr->size - w->n_slots;
    uint32_t max = left < vr->max_chain ? left : vr->max_chain;
    struct vring_gather g = { .iov = w->iov };
    uint16_t idx = w->idx;
    bool wrap = w->wrap;

    for (w->slots = 1; ; w->slots++) {
        struct vring_desc_copy d = vring_packed_snapshot(&desc[idx]);

        w->id = vring_desc_next(d);
        if (vring_desc_flags(d) & VRING_DESC_F_INDIRECT) {
            if (w->slots > 1) {
                return vring_bad(vr, VPCI_FAULT_INDIRECT, idx,
                                 vring_desc_flags(d), 0);
            }
            if (packed_table(vr, &g, d, idx, w->need, write)) {
                return -1;
            }
            break;
        }
        /* All of a chain is followed, to learn its id and where it ends. */
        if (g.len < w->need && vring_add_buffer(vr, &g, d, idx, write)) {
            return -1;
        }
        if (!(vring_desc_flags(d) & VRING_DESC_F_NEXT)) {
            break;
        }
        if (w->slots >= max) {
            return vring_bad(vr, VPCI_FAULT_LOOP, w->idx, w->slots + 1, max);
        }
        packed_advance(vr, &idx, &wrap, 1);
    }
    return vring_end_chain(vr, w, &g, w->idx);
}

static inline void
packed_walk_advance(const struct vpci_vring *vr, struct vring_walk *w,
                    uint32_t n, uint32_t slots)
{
    (void) n;
    packed_advance(vr, &w->idx, &w->wrap, slots);
    w->n_slots += slots;
    w->pos += slots;
}

static const struct vring_kind vring_packed = {
    .look_ahead = packed_look_ahead,
    .read = vring_packed_read,
    .chain = packed_chain,
    .advance = packed_walk_advance,
};

static void
packed_log(const struct vpci_vring *vr, uint16_t idx)
{
    if (VRING_UNLIKELY(vr->cfg.log != NULL)) {
        vr->cfg.log(vr->cfg.log_aux,
                    (vr->cfg.log_device_addr
                     + idx * sizeof(struct vring_packed_desc)),
                    sizeof(struct vring_packed_desc));
    }
}

/* Gives the 'n' chains from 'first' in 'done' on back to the driver.  'flags'
 * is VRING_DESC_F_WRITE if they were written to.  If 'batch', the used
 * descriptor of the last one stands for all. */
static void
packed_flush(struct vpci_vring *vr, uint32_t first, uint32_t n,
             uint16_t flags, bool batch)
{
    const uint16_t used[2] = { flags, flags | VRING_PACKED_AVAIL | VRING_PACKED_USED };
    const struct vring_used_elem *done = &vr->done[first];
    const uint16_t *done_slots = &vr->done_slots[first];
    struct vring_packed_desc *desc = vr->desc;
    struct vring_packed_desc *head = &desc[vr->used_idx];
    uint16_t head_idx = vr->used_idx;
    uint16_t head_flags = used[vr->used_wrap];
    uint16_t idx = vr->used_idx;
    bool wrap = vr->used_wrap;
    uint32_t n_slots = 0;

    head->id = done[batch ? n - 1 : 0].id;
    head->len = done[0].len;
    for (uint32_t i = 0; i < n; i++) {
        if (i && !batch) {
            struct vring_packed_desc *p = &desc[idx];

            p->id = done[i].id;
            p->len = done[i].len;
            __atomic_store_n(&p->flags, used[wrap], __ATOMIC_RELAXED);
            packed_log(vr, idx);
        }
        packed_advance(vr, &idx, &wrap, done_slots[i]);
        n_slots += done_slots[i];
    }

    /* (B): the driver reads no further than the first descriptor before it
     * is used, so its flags publish all of them, and the frames. */
    __atomic_store_n(&head->flags, head_flags, __ATOMIC_RELEASE);
    packed_log(vr, head_idx);
    __atomic_store_n(&vr->used_idx, idx, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->used_wrap, wrap, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->n_bufs, vr->n_bufs + n, __ATOMIC_RELAXED);
    vr->n_pending += n_slots;
}

unsigned int
vring_packed_peek(struct vpci_vring *vr, struct vpci_pkt *pkts,
                  unsigned int max)
{
    return vring_peek(vr, pkts, max, &vring_packed);
}

void
vring_packed_release(struct vpci_vring *vr, unsigned int n)
{
    uint16_t idx = vr->avail_idx;
    bool wrap = vr->avail_wrap;

    for (unsigned int i = 0; i < n; i++) {
        packed_advance(vr, &idx, &wrap, vr->done_slots[vr->first_peeked + i]);
    }
    __atomic_store_n(&vr->avail_idx, idx, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->avail_wrap, wrap, __ATOMIC_RELAXED);
    packed_flush(vr, vr->first_peeked, n, 0, vr->in_order);
}

void
vring_packed_pushed(struct vpci_vring *vr, uint32_t n)
{
    uint16_t idx = vr->avail_idx;
    bool wrap = vr->avail_wrap;

    packed_advance(vr, &idx, &wrap, n);
    __atomic_store_n(&vr->avail_idx, idx, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->avail_wrap, wrap, __ATOMIC_RELAXED);
    packed_flush(vr, 0, n, VRING_DESC_F_WRITE, false);
}

unsigned int
vring_packed_push(struct vpci_vring *vr, struct vpci_pkt *pkts,
                  unsigned int n)
{
    const struct vring_packed_desc *desc = vr->desc;
    uint32_t n_done;

    if (vring_is_starved(vr, pkts[0].len)
        && !vring_packed_is_avail(VRING_READ(&desc[vr->starved_idx].flags),
                                  vr->starved_wrap)) {
        return vring_push_none(pkts, n);
    }
    vr->starved = false;
    n_done = vring_push(vr, pkts, n, &n, &vring_packed);
    if (n_done) {
        packed_flush(vr, 0, n_done, VRING_DESC_F_WRITE, false);
    }
    return n;
}

bool
vring_packed_has_room(const struct vpci_vring *vr, unsigned int n)
{
    const struct vring_packed_desc *desc = vr->desc;
    bool wrap = __atomic_load_n(&vr->avail_wrap, __ATOMIC_RELAXED);
    uint32_t idx = __atomic_load_n(&vr->avail_idx, __ATOMIC_RELAXED);

    /* The driver makes descriptors available in order. */
    idx += n - 1;
    if (idx >= vr->size) {
        idx -= vr->size;
        wrap = !wrap;
    }
    return vring_packed_is_avail(VRING_READ(&desc[idx].flags), wrap);
}

/* True if the driver wants to know what was given back since the last
 * notification. */
bool
vring_packed_must_notify(const struct vpci_vring *vr)
{
    const struct vring_packed_desc_event *event = vr->driver;
    uint16_t flags = __atomic_load_n(&event->flags, __ATOMIC_RELAXED) & 3;
    uint16_t off_wrap;
    int distance;

    if (flags != VRING_PACKED_EVENT_FLAG_DESC || !vr->event_idx) {
        return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
    }

    /* A driver writes the offset first, and the flags after a write
     * barrier: an acquire orders the reads. */
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    off_wrap = __atomic_load_n(&event->off_wrap, __ATOMIC_RELAXED);

    /* How far the used index has got beyond the event index. */
    distance = vr->used_idx - (off_wrap & 0x7fff) - 1;
    if (off_wrap >> VRING_PACKED_EVENT_F_WRAP_CTR != vr->used_wrap) {
        distance += vr->size;
    }
    return (vr->n_pending >= vr->size
            || (distance >= 0 && (uint32_t) distance < vr->n_pending));
}
