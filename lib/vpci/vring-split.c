/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The split ring: virtio 1.1, section 2.6. */

#include <errno.h>

#include "vring-peek.h"
#include "vring-private.h"
#include "vring-push.h"

/* Logs the bytes of the used ring from 'ofs' on. */
static void
split_log(const struct vpci_vring *vr, uint64_t ofs, uint64_t len)
{
    if (VRING_UNLIKELY(vr->cfg.log != NULL)) {
        vr->cfg.log(vr->cfg.log_aux, vr->cfg.log_device_addr + ofs, len);
    }
}

static uint16_t *
split_avail_event(const struct vpci_vring *vr)
{
    struct vring_used *used = vr->device;

    return (uint16_t *) &used->ring[vr->size];
}

static const uint16_t *
split_used_event(const struct vpci_vring *vr)
{
    const struct vring_avail *avail = vr->driver;

    return &avail->ring[vr->size];
}

/* Returns 0, or why there can be no such ring, as vpci_vring_start(). */
static int
split_check(const struct vpci_vring_config *cfg)
{
    bool event_idx = cfg->features >> VRING_F_EVENT_IDX & 1;
    uint32_t event_len = event_idx ? sizeof(uint16_t) : 0;
    uint32_t size = cfg->size;

    if (size & (size - 1)
        || (uintptr_t) cfg->desc % VRING_DESC_ALIGN_SIZE
        || (uintptr_t) cfg->driver % VRING_AVAIL_ALIGN_SIZE
        || (uintptr_t) cfg->device % VRING_USED_ALIGN_SIZE) {
        return EINVAL;
    }
    return (!vpci_memory_contains(cfg->mem, cfg->desc,
                                  size * sizeof(struct vring_desc))
            || !vpci_memory_contains(cfg->mem, cfg->driver,
                                     offsetof(struct vring_avail, ring)
                                     + size * sizeof(uint16_t) + event_len)
            || !vpci_memory_contains(cfg->mem, cfg->device,
                                     offsetof(struct vring_used, ring)
                                     + size * sizeof(struct vring_used_elem)
                                     + event_len)
            ? EFAULT : 0);
}

/* A driver kicks when avail->idx passes the event index, so the index that was
 * passed last is the farthest away. */
void
vring_split_set_kicks(struct vpci_vring *vr, bool on)
{
    struct vring_used *used = vr->device;

    if (vr->event_idx) {
        __atomic_store_n(split_avail_event(vr), vr->avail_idx - !on,
                         __ATOMIC_RELAXED);
        split_log(vr, (offsetof(struct vring_used, ring)
                       + vr->size * sizeof(struct vring_used_elem)),
                  sizeof(uint16_t));
    } else {
        __atomic_store_n(&used->flags, on ? 0 : VRING_USED_F_NO_NOTIFY,
                         __ATOMIC_RELAXED);
        split_log(vr, offsetof(struct vring_used, flags), sizeof used->flags);
    }
}

int
vring_split_start(struct vpci_vring *vr)
{
    struct vring_used *used = vr->device;
    int error = split_check(&vr->cfg);

    if (error) {
        return error;
    }
    if (vr->event_idx) {
        __atomic_store_n(&used->flags, 0, __ATOMIC_RELAXED);
        split_log(vr, offsetof(struct vring_used, flags), sizeof used->flags);
    }
    vring_split_set_kicks(vr, false);
    return 0;
}

/* The used index alone says what was published. */
bool
vring_split_recover(const struct vpci_vring_config *cfg, uint32_t at,
                    struct vpci_vring_base *base)
{
    const struct vring_avail *avail = cfg->driver;
    const struct vring_used *used = cfg->device;
    uint16_t used_idx, avail_idx;

    if (split_check(cfg)) {
        return false;
    }
    used_idx = __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE);
    avail_idx = VRING_READ(&avail->idx);
    if ((uint16_t) (used_idx - at) > cfg->size
        || (uint16_t) (avail_idx - used_idx) > cfg->size) {
        return false;
    }
    *base = (struct vpci_vring_base) { used_idx, used_idx, false, false };
    return true;
}

/* Copies 'n' heads, from 'slot' of the available ring on, into 'w->heads'.
 * Returns how many of them, from the first, are descriptors of the ring. */
static inline uint32_t
split_read_heads(const struct vpci_vring *vr, struct vring_walk *w,
                 uint32_t slot, uint32_t n)
{
    const struct vring_avail *avail = vr->driver;
    uint32_t n_first = vr->size - slot < n ? vr->size - slot : n;
    uint16_t bits = 0;

    memcpy(w->heads, &avail->ring[slot], n_first * sizeof w->heads[0]);
    if (VRING_UNLIKELY(n_first < n)) {
        memcpy(w->heads + n_first, avail->ring,
               (n - n_first) * sizeof w->heads[0]);
    }
    for (uint32_t i = 0; i < n; i++) {
        bits |= w->heads[i];
    }
    if (VRING_LIKELY(bits < vr->size)) {
        return n;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (w->heads[i] >= vr->size) {
            return i;
        }
    }
    return n;
}

int
vring_split_find(struct vpci_vring *vr, struct vring_walk *w)
{
    const struct vring_avail *avail = vr->driver;
    const struct vring_desc *desc = vr->desc;
    const uint32_t size = vr->size, idx = w->idx;
    uint16_t n = vr->avail_seen - w->idx;
    uint32_t want = w->want < VPCI_VRING_BURST ? w->want : VPCI_VRING_BURST;

    if (n < want) {
        /* (A): heads and descriptors are read after the index. */
        uint16_t seen = __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE);

        /* Not more than a ring ahead, and not behind what was there before:
         * 'w' may have taken that already. */
        if (VRING_UNLIKELY((uint16_t) (seen - vr->avail_idx) > vr->size
                           || ((uint16_t) (seen - vr->avail_idx)
                               < (uint16_t) (w->idx - vr->avail_idx)))) {
            return vring_bad(vr, VPCI_FAULT_INDEX, w->idx & (vr->size - 1),
                             seen, (uint16_t) (vr->avail_idx + vr->size));
        }
        vr->avail_seen = seen;
        n = seen - w->idx;
        if (n < want) {
            want = n;
        }
    }

    w->pos = 0;
    w->n = split_read_heads(vr, w, idx & (size - 1), want);
    if (VRING_UNLIKELY(w->n < want && !w->n)) {
        return vring_bad(vr, VPCI_FAULT_HEAD, idx & (size - 1), w->heads[0],
                         size - 1);
    }
    for (uint32_t i = 0; i < w->n; i += 64 / sizeof *desc) {
        __builtin_prefetch(&desc[w->heads[i]]);
    }
    return w->n;
}

static int
split_look_ahead(struct vpci_vring *vr, struct vring_walk *w, bool write)
{
    const struct vring_desc *desc = vr->desc;
    int n = vring_split_find(vr, w);

    for (int i = 0; i < n; i++) {
        vring_prefetch(vr, VRING_READ(&desc[w->heads[i]].addr), write);
    }
    return n;
}

/* Adds the buffers of the indirect table 'table', found in 'slot' after
 * 'n_direct' descriptors of its chain.  Returns 0, or -1 after a fault. */
VRING_INLINE int
split_table(struct vpci_vring *vr, struct vring_gather *g,
            struct vring_desc_copy table, uint16_t slot, uint32_t n_direct,
            uint64_t need, bool write)
{
    uint32_t max = vr->max_chain - n_direct;
    uint32_t size = vring_desc_len(table) / sizeof(struct vring_desc);
    uint32_t i = 0;

    if (vring_check_table(vr, table, slot)) {
        return -1;
    }
    if (max > size) {
        max = size;
    }
    for (uint32_t n = 0; ; n++) {
        struct vring_desc_copy d;

        if (n >= max) {
            return vring_bad(vr, VPCI_FAULT_LOOP, slot, n + 1, max);
        }
        if (!vring_read_table(vr, table.addr, i, &d)) {
            return vring_bad(vr, VPCI_FAULT_ADDRESS, slot, table.addr, 0);
        }
        if (vring_desc_flags(d) & VRING_DESC_F_INDIRECT) {
            return vring_bad(vr, VPCI_FAULT_INDIRECT, slot,
                             vring_desc_flags(d), 0);
        }
        if (vring_add_buffer(vr, g, d, slot, write)) {
            return -1;
        }
        if (!(vring_desc_flags(d) & VRING_DESC_F_NEXT) || g->len >= need) {
            return 0;
        }
        i = vring_desc_next(d);
        if (i >= size) {
            return vring_bad(vr, VPCI_FAULT_HEAD, slot, i, size - 1);
        }
    }
}

static int
split_chain(struct vpci_vring *vr, struct vring_walk *w, bool write)
{
    const struct vring_desc *desc = vr->desc;
    uint16_t slot = w->heads[w->pos];
    struct vring_desc_copy d = vring_snapshot(&desc[slot]);
    uint32_t max = vr->size < vr->max_chain ? vr->size : vr->max_chain;
    struct vring_gather g = { .iov = w->iov };

    w->id = slot;
    for (w->slots = 1; ; w->slots++) {
        if (vring_desc_flags(d) & VRING_DESC_F_INDIRECT) {
            if (split_table(vr, &g, d, slot, w->slots - 1, w->need, write)) {
                return -1;
            }
            break;
        }
        if (vring_add_buffer(vr, &g, d, slot, write)) {
            return -1;
        }
        if (!(vring_desc_flags(d) & VRING_DESC_F_NEXT) || g.len >= w->need) {
            break;
        }
        if (vring_desc_next(d) >= vr->size) {
            return vring_bad(vr, VPCI_FAULT_HEAD, slot, vring_desc_next(d),
                             vr->size - 1);
        }
        if (w->slots >= max) {
            return vring_bad(vr, VPCI_FAULT_LOOP, w->id, w->slots + 1, max);
        }
        slot = vring_desc_next(d);
        d = vring_snapshot(&desc[slot]);
    }
    return vring_end_chain(vr, w, &g, w->id);
}

static inline void
split_advance(const struct vpci_vring *vr, struct vring_walk *w, uint32_t n,
              uint32_t slots)
{
    (void) vr;
    w->idx += n;
    w->n_slots += slots;
    w->pos += n;
}

static const struct vring_kind vring_split = {
    .look_ahead = split_look_ahead,
    .read = vring_split_read,
    .chain = split_chain,
    .advance = split_advance,
};

/* Gives the 'n' chains at 'done' back to the driver.  If 'batch', the used
 * element of the last one stands for all. */
static void
split_flush(struct vpci_vring *vr, const struct vring_used_elem *done,
            uint32_t n, bool batch)
{
    struct vring_used *used = vr->device;
    uint32_t slot = vr->used_idx & (vr->size - 1);
    uint32_t n_elem = batch ? 1 : n;
    uint32_t n_first = vr->size - slot < n_elem ? vr->size - slot : n_elem;
    uint16_t used_idx = vr->used_idx + n;

    if (batch) {
        done += n - 1;
    }
    vring_record_next(vr, used_idx, false);
    memcpy(&used->ring[slot], done, n_first * sizeof *done);
    split_log(vr, offsetof(struct vring_used, ring) + slot * sizeof *done,
              n_first * sizeof *done);
    if (n_first < n_elem) {
        memcpy(used->ring, done + n_first, (n_elem - n_first) * sizeof *done);
        split_log(vr, offsetof(struct vring_used, ring),
                  (n_elem - n_first) * sizeof *done);
    }

    /* (B): used elements and frames are written before the index. */
    __atomic_store_n(&used->idx, used_idx, __ATOMIC_RELEASE);
    vring_record_at(vr, used_idx, false);
    split_log(vr, offsetof(struct vring_used, idx), sizeof used->idx);
    __atomic_store_n(&vr->used_idx, used_idx, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->n_bufs, vr->n_bufs + n, __ATOMIC_RELAXED);
    vr->n_pending += n;
}

unsigned int
vring_split_peek(struct vpci_vring *vr, struct vpci_pkt *pkts,
                 unsigned int max)
{
    return vring_peek(vr, pkts, max, &vring_split);
}

void
vring_split_release(struct vpci_vring *vr, unsigned int n)
{
    __atomic_store_n(&vr->avail_idx, vr->avail_idx + n, __ATOMIC_RELAXED);
    split_flush(vr, &vr->done[vr->first_peeked], n, vr->in_order);
}

void
vring_split_pushed(struct vpci_vring *vr, uint32_t n)
{
    __atomic_store_n(&vr->avail_idx, vr->avail_idx + n, __ATOMIC_RELAXED);
    split_flush(vr, vr->done, n, false);
}

unsigned int
vring_split_push(struct vpci_vring *vr, struct vpci_pkt *pkts,
                 unsigned int n)
{
    const struct vring_avail *avail = vr->driver;
    uint32_t n_done;

    if (vring_is_starved(vr, pkts[0].len)
        && VRING_READ(&avail->idx) == vr->starved_idx) {
        return vring_push_none(pkts, n);
    }
    vr->starved = false;
    n_done = vring_push(vr, pkts, n, &n, &vring_split);
    if (n_done) {
        split_flush(vr, vr->done, n_done, false);
    }
    return n;
}

bool
vring_split_has_room(const struct vpci_vring *vr, unsigned int n)
{
    const struct vring_avail *avail = vr->driver;
    uint16_t idx = __atomic_load_n(&vr->avail_idx, __ATOMIC_RELAXED);

    return (uint16_t) (VRING_READ(&avail->idx) - idx) >= n;
}

/* True if the driver wants to know what was given back since the last
 * notification. */
bool
vring_split_must_notify(const struct vpci_vring *vr)
{
    const struct vring_avail *avail = vr->driver;

    if (vr->event_idx) {
        uint16_t event = __atomic_load_n(split_used_event(vr),
                                         __ATOMIC_RELAXED);

        /* The index may have gone all the way round. */
        return (vr->n_pending > UINT16_MAX
                || vring_need_event(event, vr->used_idx,
                                    vr->used_idx - vr->n_pending));
    }
    return !(__atomic_load_n(&avail->flags, __ATOMIC_RELAXED)
             & VRING_AVAIL_F_NO_INTERRUPT);
}
