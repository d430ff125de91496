/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The packed ring: virtio 1.1, section 2.7. */

#include <errno.h>
#include <stdlib.h>

#include "vring-peek.h"
#include "vring-private.h"
#include "vring-push.h"

/* Moves '*idx' forward, or back, by 'n', at most the 'size' of the ring. */
VRING_INLINE void
packed_advance(uint16_t size, uint16_t *idx, bool *wrap, uint32_t n)
{
    uint32_t next = *idx + n;

    if (next >= size) {
        next -= size;
        *wrap = !*wrap;
    }
    *idx = next;
}

static inline void
packed_retreat(uint16_t size, uint16_t *idx, bool *wrap, uint32_t n)
{
    if (n > *idx) {
        *idx += size;
        *wrap = !*wrap;
    }
    *idx -= n;
}

/* What is behind the address of a descriptor, in one piece. */
typedef uint64_t packed_tail __attribute__((may_alias));
_Static_assert(offsetof(struct vring_packed_desc, len) == 8,
               "virtio 1.1, section 2.7.13");

/* Makes the descriptor at 'idx' a used one, by a single store. */
static void
packed_put_used(struct vring_packed_desc *desc, uint16_t idx, uint32_t len,
                uint16_t id, uint16_t flags)
{
    packed_tail *tail = (void *) &desc[idx].len;

    __atomic_store_n(tail, len | (uint64_t) id << 32 | (uint64_t) flags << 48,
                     __ATOMIC_RELEASE);
}

/* Returns 0, or why there can be no such ring, as vpci_vring_start(). */
static int
packed_check(const struct vpci_vring_config *cfg)
{
    const struct vpci_memory *mem = cfg->mem;
    size_t event_len = sizeof(struct vring_packed_desc_event);

    if ((uintptr_t) cfg->desc % 16
        || (uintptr_t) cfg->driver % 4
        || (uintptr_t) cfg->device % 4) {
        return EINVAL;
    }
    return (!vpci_memory_contains(mem, cfg->desc, ((uint64_t) cfg->size
                                      * sizeof(struct vring_packed_desc)))
            || !vpci_memory_contains(mem, cfg->driver, event_len)
            || !vpci_memory_contains(mem, cfg->device, event_len)
            ? EFAULT : 0);
}

/* A driver that is kicked for by an event index reads the flags first. */
void
vring_packed_set_kicks(struct vpci_vring *vr, bool on)
{
    struct vring_packed_desc_event *event = vr->device;
    uint16_t off_wrap = (vr->avail_idx
                         | vr->avail_wrap << VRING_PACKED_EVENT_F_WRAP_CTR);

    if (on && vr->event_idx) {
        __atomic_store_n(&event->off_wrap, off_wrap, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&event->flags,
                     !on ? VRING_PACKED_EVENT_FLAG_DISABLE
                     : vr->event_idx ? VRING_PACKED_EVENT_FLAG_DESC
                     : VRING_PACKED_EVENT_FLAG_ENABLE, __ATOMIC_RELEASE);
    if (VRING_UNLIKELY(vr->cfg.log != NULL)) {
        vring_log_host(vr, event, sizeof *event);
    }
}

int
vring_packed_start(struct vpci_vring *vr)
{
    struct vring_packed_desc_event *event = vr->device;
    int error = packed_check(&vr->cfg);

    if (error) {
        return error;
    } else if (vr->avail_idx >= vr->size || vr->used_idx >= vr->size) {
        return EINVAL;
    }
    __atomic_store_n(&event->off_wrap, 0, __ATOMIC_RELAXED);
    vring_packed_set_kicks(vr, false);
    return 0;
}


/* A place in a ring, as half of what a record says has it. */
struct packed_place {
    uint16_t idx;
    bool wrap;
};

/* Returns false if there is no such place. */
static bool
packed_place_read(struct packed_place *p, uint16_t size, uint32_t place)
{
    p->idx = place & ~VPCI_ABI_PEER_WRAP;
    p->wrap = place & VPCI_ABI_PEER_WRAP;
    return p->idx < size;
}

/* Descriptors from 'from' to 'to', which may be more than a ring has. */
static uint32_t
packed_distance(uint16_t size, const struct packed_place *from,
                const struct packed_place *to)
{
    uint32_t n = to->idx + size - from->idx;

    return from->wrap != to->wrap ? n : n >= size ? n - size : n + size;
}

/* True if the descriptor at 'p' was used in the lap there.  It may be
 * available again already. */
static bool
packed_was_used(const struct vring_packed_desc *desc,
                const struct packed_place *p)
{
    uint16_t flags = __atomic_load_n(&desc[p->idx].flags, __ATOMIC_ACQUIRE);

    return !(flags & VRING_PACKED_USED) != p->wrap;
}

/* The chain at 'p', which was written to and not used yet: all of its buffers
 * are full.  Moves on behind it.  Returns false if it is not within '*left'
 * descriptors, or not that of a frame that was spread over several. */
static bool
packed_read_full(const struct vpci_vring_config *cfg, struct packed_place *p,
                 uint32_t *left, struct vring_used_elem *done)
{
    const struct vring_packed_desc *desc = cfg->desc;
    uint64_t len = 0;

    for (;;) {
        struct vring_desc_copy d;

        if (!*left) {
            return false;
        }
        d = vring_packed_snapshot(&desc[p->idx]);
        if (vring_desc_flags(d) & VRING_DESC_F_INDIRECT
            || !(vring_desc_flags(d) & VRING_DESC_F_WRITE)) {
            return false;
        }
        len += vring_desc_len(d);
        packed_advance(cfg->size, &p->idx, &p->wrap, 1);
        --*left;
        if (!(vring_desc_flags(d) & VRING_DESC_F_NEXT)) {
            done->id = vring_desc_next(d);
            done->len = len;
            return len <= UINT32_MAX;
        }
    }
}

/* A frame, or a batch, that was to take the 'left' descriptors from 'at' on
 * was not published.  The chains of a frame are given back from the last one
 * to the first one, which publishes it: if one of them is a used one, all that
 * come before it are full, and are given back here.  Returns 0 if so, EAGAIN
 * if there are none, or another errno. */
static int
packed_complete(const struct vpci_vring_config *cfg, struct packed_place at,
                uint32_t left)
{
    struct vring_used_elem *done = malloc(left * sizeof *done);
    struct packed_place *places = malloc(left * sizeof *places);
    struct packed_place p = at;
    uint32_t n = 0;
    int error = done && places ? 0 : ENOMEM;

    while (!error && left && (!n || !packed_was_used(cfg->desc, &p))) {
        places[n] = p;
        error = packed_read_full(cfg, &p, &left, &done[n]) ? 0 : EINVAL;
        n++;
    }
    if (!error && !left) {
        error = EAGAIN;
    }
    while (!error && n-- > 0) {
        packed_put_used(cfg->desc, places[n].idx, done[n].len, done[n].id,
                        VRING_DESC_F_WRITE
                        | (places[n].wrap
                           ? VRING_PACKED_AVAIL | VRING_PACKED_USED : 0));
    }
    free(done);
    free(places);
    return error;
}

/* True if no descriptor but the first of the 'n' from 'at' on is a used
 * one. */
static bool
packed_is_whole(const struct vpci_vring_config *cfg, struct packed_place at,
                uint32_t n)
{
    while (--n) {
        packed_advance(cfg->size, &at.idx, &at.wrap, 1);
        if (packed_was_used(cfg->desc, &at)) {
            return false;
        }
    }
    return true;
}

/* The flags of the first descriptor are written last, and with its id and
 * length at once. */
bool
vring_packed_recover(const struct vpci_vring_config *cfg, uint32_t next_,
                     uint32_t at_, struct vpci_vring_base *base)
{
    struct packed_place at, next;
    uint32_t n;

    if (packed_check(cfg) || !packed_place_read(&at, cfg->size, at_)
        || !packed_place_read(&next, cfg->size, next_)) {
        return false;
    }
    n = packed_distance(cfg->size, &at, &next);
    if (n > cfg->size) {
        return false;
    }
    if (n && !packed_was_used(cfg->desc, &at)) {
        if (packed_is_whole(cfg, at, n)) {
            next = at;
        } else if (packed_complete(cfg, at, n)) {
            return false;
        }
    }
    *base = (struct vpci_vring_base) {
        next.idx, next.idx, next.wrap, next.wrap
    };
    return true;
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
        packed_advance(vr->size, &idx, &wrap, 1);
    }
    return vring_end_chain(vr, w, &g, w->idx);
}

static inline void
packed_walk_advance(const struct vpci_vring *vr, struct vring_walk *w,
                    uint32_t n, uint32_t slots)
{
    (void) n;
    packed_advance(vr->size, &w->idx, &w->wrap, slots);
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

/* Descriptors that the 'n' chains of 'done_slots' take. */
static uint32_t
packed_count_slots(const uint16_t *done_slots, uint32_t n)
{
    uint32_t n_slots = 0;

    for (uint32_t i = 0; i < n; i++) {
        n_slots += done_slots[i] & ~VRING_CONTINUES;
    }
    return n_slots;
}

/* Gives the 'n' chains at 'done', which take 'n_slots' descriptors, back to
 * the driver, which sees them at once: from the last one to the first one, see
 * packed_complete(). */
static void
packed_flush_frame(struct vpci_vring *vr, const struct vring_used_elem *done,
                   const uint16_t *done_slots, uint32_t n, uint32_t n_slots,
                   const uint16_t used[2])
{
    uint16_t end = vr->used_idx, idx;
    bool end_wrap = vr->used_wrap, wrap;

    packed_advance(vr->size, &end, &end_wrap, n_slots);
    vring_record_next(vr, end, end_wrap);
    idx = end;
    wrap = end_wrap;
    for (uint32_t i = n; i-- > 1; ) {
        packed_retreat(vr->size, &idx, &wrap,
                       done_slots[i] & ~VRING_CONTINUES);
        packed_put_used(vr->desc, idx, done[i].len, done[i].id, used[wrap]);
        packed_log(vr, idx);
    }
    packed_put_used(vr->desc, vr->used_idx, done[0].len, done[0].id,
                    used[vr->used_wrap]);                           /* (B) */
    vring_record_at(vr, end, end_wrap);
    packed_log(vr, vr->used_idx);
    __atomic_store_n(&vr->used_idx, end, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->used_wrap, end_wrap, __ATOMIC_RELAXED);
    vr->n_pending += n_slots;
}

/* Gives the 'n' chains at 'done' back, as the function below, and records that
 * of each frame: whoever finds a burst of them half written could neither undo
 * nor complete it. */
static void
packed_flush_recorded(struct vpci_vring *vr,
                      const struct vring_used_elem *done,
                      const uint16_t *done_slots, uint32_t n,
                      const uint16_t used[2], bool batch)
{
    if (batch) {
        packed_flush_frame(vr, &done[n - 1], done_slots, 1,
                           packed_count_slots(done_slots, n), used);
    }
    for (uint32_t i = 0, end; i < n && !batch; i = end) {
        for (end = i + 1; done_slots[end - 1] & VRING_CONTINUES; end++) {
            continue;
        }
        packed_flush_frame(vr, &done[i], &done_slots[i], end - i,
                           packed_count_slots(&done_slots[i], end - i), used);
    }
    __atomic_store_n(&vr->n_bufs, vr->n_bufs + n, __ATOMIC_RELAXED);
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

    if (VRING_UNLIKELY(vr->cfg.record != NULL)) {
        packed_flush_recorded(vr, done, done_slots, n, used, batch);
        return;
    }
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
        packed_advance(vr->size, &idx, &wrap, done_slots[i]);
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
        packed_advance(vr->size, &idx, &wrap, vr->done_slots[vr->first_peeked + i]);
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

    packed_advance(vr->size, &idx, &wrap, n);
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
