/* SPDX-License-Identifier: Apache-2.0 */

#include "vring-driver.h"

#include <stdlib.h>
#include <string.h>

#define NO_INTERRUPT 1          /* avail->flags */
#define NO_KICK      1          /* used->flags */

/* What a buffer id looks like where nobody may look at it: only the last
 * descriptor of a chain carries the id (virtio 1.1, section 2.7.6). */
#define ID_POISON 0xdead

size_t
vring_driver_desc_bytes(uint16_t size)
{
    return (size_t) size * sizeof(struct vring_driver_desc);
}

size_t
vring_driver_driver_bytes(uint64_t features, uint16_t size)
{
    return features & VRING_F_PACKED
           ? sizeof(struct vring_driver_event)
           : sizeof(struct vring_driver_avail)
             + ((size_t) size + 1) * sizeof(uint16_t);
}

size_t
vring_driver_device_bytes(uint64_t features, uint16_t size)
{
    return features & VRING_F_PACKED
           ? sizeof(struct vring_driver_event)
           : sizeof(struct vring_driver_used)
             + (size_t) size * sizeof(struct vring_driver_used_elem)
             + sizeof(uint16_t);
}

static void
set_areas(struct vring_driver *drv, void *desc, void *driver, void *device)
{
    drv->desc = desc;
    if (drv->packed) {
        drv->driver_event = driver;
        drv->device_event = device;
    } else {
        drv->avail = driver;
        drv->used = device;
    }
}

struct vring_driver *
vring_driver_create(const struct vring_driver_config *cfg)
{
    bool packed = cfg->features & VRING_F_PACKED;
    struct vring_driver *drv;

    if (!cfg->size || cfg->size > 32768
        || (!packed && cfg->size & (cfg->size - 1))
        || (packed && cfg->start_idx >= cfg->size)) {
        return NULL;
    }

    drv = calloc(1, sizeof *drv);
    if (!drv) {
        return NULL;
    }
    drv->features = cfg->features;
    drv->size = cfg->size;
    drv->packed = packed;
    drv->in_order = cfg->features & VRING_F_IN_ORDER;
    drv->event_idx = cfg->features & VRING_F_EVENT_IDX;
    drv->indirect = cfg->indirect;
    drv->indirect_addr = cfg->indirect_addr;
    drv->indirect_max = cfg->indirect ? cfg->indirect_max : 0;
    drv->chains = calloc(cfg->size, sizeof *drv->chains);
    drv->order = calloc(cfg->size, sizeof *drv->order);
    drv->next = calloc(cfg->size, sizeof *drv->next);
    if (!drv->chains || !drv->order || !drv->next) {
        vring_driver_destroy(drv);
        return NULL;
    }

    set_areas(drv, cfg->desc, cfg->driver, cfg->device);
    vring_driver_reset(drv, cfg->start_idx, cfg->start_wrap);
    return drv;
}

void
vring_driver_destroy(struct vring_driver *drv)
{
    if (drv) {
        free(drv->chains);
        free(drv->order);
        free(drv->next);
        free(drv);
    }
}

/* A packed ring that starts in the middle must not show the device anything
 * available: every descriptor gets the flags of one that was used the last
 * time round. */
static void
reset_packed(struct vring_driver *drv, uint16_t start_idx, bool start_wrap)
{
    memset(drv->driver_event, 0, sizeof *drv->driver_event);
    memset(drv->device_event, 0, sizeof *drv->device_event);
    for (uint16_t i = 0; i < drv->size; i++) {
        bool last_wrap = i < start_idx ? start_wrap : !start_wrap;

        drv->desc[i].tail.packed_flags
            = last_wrap ? VRING_DESC_AVAIL | VRING_DESC_USED : 0;
    }
    drv->avail_pos = start_idx + (start_wrap ? 0 : drv->size);
}

static void
reset_split(struct vring_driver *drv, uint16_t start_idx)
{
    memset(drv->avail, 0, vring_driver_driver_bytes(0, drv->size));
    memset(drv->used, 0, vring_driver_device_bytes(0, drv->size));
    drv->avail->idx = drv->used->idx = start_idx;
    drv->avail_pos = start_idx;
}

void
vring_driver_reset(struct vring_driver *drv, uint16_t start_idx,
                   bool start_wrap)
{
    memset(drv->desc, 0, vring_driver_desc_bytes(drv->size));
    for (uint16_t i = 0; i < drv->size; i++) {
        drv->chains[i].n_desc = 0;
        drv->chains[i].next = i + 1;
        drv->next[i] = (i + 1) % drv->size;
    }
    drv->free_id = 0;
    drv->n_free = drv->size;
    drv->n_in_flight = 0;
    drv->batch_left = 0;
    drv->order_head = 0;
    drv->pending_head = NULL;
    drv->last_head = drv->last_first = NULL;
    drv->error = NULL;

    if (drv->packed) {
        reset_packed(drv, start_idx, start_wrap);
    } else {
        reset_split(drv, start_idx);
    }
    drv->used_pos = drv->published_pos = drv->kicked_pos = drv->avail_pos;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void
vring_driver_move(struct vring_driver *drv, void *desc, void *driver,
                  void *device)
{
    if (drv->pending_head) {
        drv->pending_head = (struct vring_driver_desc *) desc
                            + (drv->pending_head - drv->desc);
    }
    drv->last_head = drv->last_first = NULL;
    set_areas(drv, desc, driver, device);
}

static uint32_t
packed_slot(const struct vring_driver *drv, uint32_t pos)
{
    return pos < drv->size ? pos : pos - drv->size;
}

static uint32_t
packed_advance(const struct vring_driver *drv, uint32_t pos, uint32_t n)
{
    pos += n;
    return pos < 2u * drv->size ? pos : pos - 2u * drv->size;
}

/* Flags of a descriptor that becomes available at 'pos'. */
static uint16_t
packed_avail_flags(const struct vring_driver *drv, uint32_t pos)
{
    return pos < drv->size ? VRING_DESC_AVAIL : VRING_DESC_USED;
}

static void
put_desc(struct vring_driver_desc *d, const struct vring_driver_buf *buf)
{
    d->addr = buf->addr;
    d->len = buf->len;
}

static struct vring_driver_buf
fill_indirect(struct vring_driver *drv, uint16_t id,
              const struct vring_driver_buf *bufs, unsigned int n)
{
    size_t ofs = (size_t) id * drv->indirect_max;
    struct vring_driver_desc *table = drv->indirect + ofs;

    for (unsigned int i = 0; i < n; i++) {
        uint16_t write = bufs[i].writable ? VRING_DESC_WRITE : 0;

        put_desc(&table[i], &bufs[i]);
        if (drv->packed) {
            /* Here neither ids nor NEXT mean anything: the table's length
             * says where the chain ends (virtio 1.1, section 2.7.7). */
            table[i].tail.id = ID_POISON;
            table[i].tail.packed_flags = write;
        } else {
            table[i].tail.flags = write | (i + 1 < n ? VRING_DESC_NEXT : 0);
            table[i].tail.next = i + 1 < n ? i + 1 : 0;
        }
    }
    drv->last_first = table;
    return (struct vring_driver_buf) {
        .addr = drv->indirect_addr + ofs * sizeof *table,
        .len = n * sizeof *table,
    };
}

static void
add_split(struct vring_driver *drv, uint16_t head,
          const struct vring_driver_buf *bufs, unsigned int n, uint16_t extra)
{
    uint16_t slot = head, last = head;

    for (unsigned int i = 0; i < n; i++) {
        struct vring_driver_desc *d = &drv->desc[slot];

        put_desc(d, &bufs[i]);
        d->tail.flags = extra | (bufs[i].writable ? VRING_DESC_WRITE : 0)
                        | (i + 1 < n ? VRING_DESC_NEXT : 0);
        d->tail.next = drv->next[slot];
        last = slot;
        slot = drv->next[slot];
    }

    /* In-order drivers take descriptors in ring order (virtio 1.1, section
     * 2.6.13.2.1): 'next' never changes then. */
    drv->desc[last].tail.next = 0;
    drv->free_id = slot;
    drv->avail->ring[drv->avail_pos & (drv->size - 1)] = head;
    drv->avail_pos = (uint16_t) (drv->avail_pos + 1);
    drv->last_head = &drv->desc[head];
}

static void
add_packed(struct vring_driver *drv, uint16_t id,
           const struct vring_driver_buf *bufs, unsigned int n, uint16_t extra)
{
    drv->last_head = &drv->desc[packed_slot(drv, drv->avail_pos)];
    for (unsigned int i = 0; i < n; i++) {
        uint32_t slot = packed_slot(drv, drv->avail_pos);
        struct vring_driver_desc *d = &drv->desc[slot];
        uint16_t flags = extra | packed_avail_flags(drv, drv->avail_pos)
                         | (bufs[i].writable ? VRING_DESC_WRITE : 0)
                         | (i + 1 < n ? VRING_DESC_NEXT : 0);

        put_desc(d, &bufs[i]);
        d->tail.id = i + 1 < n ? ID_POISON : id;
        if (!drv->pending_head) {
            drv->pending_head = d;
            drv->pending_flags = flags;
        } else {
            d->tail.packed_flags = flags;
        }
        drv->avail_pos = packed_advance(drv, drv->avail_pos, 1);
    }
    drv->free_id = drv->chains[id].next;
}

int
vring_driver_add(struct vring_driver *drv,
                 const struct vring_driver_buf *bufs, unsigned int n,
                 bool indirect, void *cookie)
{
    uint16_t n_desc = indirect ? 1 : n;
    uint16_t id = drv->free_id;
    uint32_t writable = 0;

    if (!n || n_desc > drv->n_free || n > drv->size
        || (indirect && n > drv->indirect_max)) {
        return -1;
    }

    for (unsigned int i = 0; i < n; i++) {
        writable += bufs[i].writable ? bufs[i].len : 0;
    }
    drv->chains[id].cookie = cookie;
    drv->chains[id].writable = writable;
    drv->chains[id].n_desc = n_desc;

    struct vring_driver_buf table;
    if (indirect) {
        table = fill_indirect(drv, id, bufs, n);
        bufs = &table;
    }
    uint16_t extra = indirect ? VRING_DESC_INDIRECT : 0;
    if (drv->packed) {
        add_packed(drv, id, bufs, n_desc, extra);
    } else {
        add_split(drv, id, bufs, n_desc, extra);
    }
    if (!indirect) {
        drv->last_first = drv->last_head;
    }

    uint32_t tail = (uint32_t) drv->order_head + drv->n_in_flight;
    drv->order[tail < drv->size ? tail : tail - drv->size] = id;
    drv->n_in_flight++;
    drv->n_free -= n_desc;
    drv->n_added++;
    return id;
}

void
vring_driver_publish(struct vring_driver *drv)
{
    if (!drv->packed) {
        __atomic_store_n(&drv->avail->idx, (uint16_t) drv->avail_pos,
                         __ATOMIC_RELEASE);
    } else if (drv->pending_head) {
        /* The device reads on from here only, so one release covers all. */
        __atomic_store_n(&drv->pending_head->tail.packed_flags,
                         drv->pending_flags, __ATOMIC_RELEASE);
        drv->pending_head = NULL;
    }
    drv->published_pos = drv->avail_pos;
}

static bool
packed_needs_kick(const struct vring_driver *drv, uint32_t old, uint32_t new)
{
    uint32_t n_pos = 2u * drv->size;
    uint16_t flags = __atomic_load_n(&drv->device_event->flags,
                                     __ATOMIC_ACQUIRE) & 3;
    uint16_t off_wrap;
    uint32_t event;

    if (flags != VRING_EVENT_DESC) {
        return flags == VRING_EVENT_ENABLE;
    }

    off_wrap = __atomic_load_n(&drv->device_event->off_wrap, __ATOMIC_RELAXED);
    event = (off_wrap & 0x7fff) + (off_wrap & 0x8000 ? 0u : drv->size);
    return (event + n_pos - old) % n_pos < (new + n_pos - old) % n_pos;
}

bool
vring_driver_needs_kick(struct vring_driver *drv)
{
    uint32_t old = drv->kicked_pos, new = drv->published_pos;

    /* Pairs with the device's fence between its request for a kick and its
     * last look for available buffers. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    drv->kicked_pos = new;
    if (old == new) {
        return false;
    } else if (drv->packed) {
        return packed_needs_kick(drv, old, new);
    } else if (drv->event_idx) {
        const uint16_t *avail_event = (uint16_t *) &drv->used->ring[drv->size];
        uint16_t event = __atomic_load_n(avail_event, __ATOMIC_RELAXED);

        return (uint16_t) (event - old) < (uint16_t) (new - old);
    } else {
        return !(__atomic_load_n(&drv->used->flags, __ATOMIC_RELAXED)
                 & NO_KICK);
    }
}

static unsigned int
fail(struct vring_driver *drv, const char *error, uint64_t value)
{
    drv->error = error;
    drv->error_value = value;
    return 0;
}

/* Takes chain 'id' out of flight. */
static void
finish(struct vring_driver *drv, uint16_t id)
{
    struct vring_driver_chain *c = &drv->chains[id];

    drv->n_free += c->n_desc;
    drv->n_in_flight--;
    drv->n_reaped++;
    if (drv->packed) {
        c->next = drv->free_id;
        drv->free_id = id;
    } else if (!drv->in_order) {
        uint16_t last = id;

        for (uint16_t i = 1; i < c->n_desc; i++) {
            last = drv->next[last];
        }
        drv->next[last] = drv->free_id;
        drv->free_id = id;
    }
    c->n_desc = 0;
}

/* Removes the oldest chain from the order of the chains in flight. */
static uint16_t
pop_oldest(struct vring_driver *drv)
{
    uint16_t id = drv->order[drv->order_head];

    drv->order_head = drv->order_head + 1 < drv->size
                      ? drv->order_head + 1 : 0;
    return id;
}

/* Chains that a used element for 'id' finishes when the device keeps order:
 * 'id' and everything older. */
static unsigned int
batch_size(const struct vring_driver *drv, uint16_t id)
{
    uint32_t i = drv->order_head;

    for (unsigned int n = 1; n <= drv->n_in_flight; n++) {
        if (drv->order[i] == id) {
            return n;
        }
        i = i + 1 < drv->size ? i + 1 : 0;
    }
    return 0;
}

/* Begins with the used element 'id', 'len', which finishes one chain, or a
 * batch of them if the device keeps order.  Returns the number of chains, 0
 * if the device is wrong. */
static unsigned int
begin_batch(struct vring_driver *drv, uint32_t id, uint32_t len)
{
    if (id >= drv->size || !drv->chains[id].n_desc) {
        return fail(drv, "device used a buffer that it did not have", id);
    } else if (len > drv->chains[id].writable) {
        return fail(drv, "used length is more than the buffer holds", len);
    }
    drv->batch_left = drv->in_order ? batch_size(drv, id) : 1;
    drv->batch_id = id;
    drv->batch_len = len;
    return drv->batch_left;
}

/* Takes the next chain of the batch.  Returns the number of descriptors that
 * it took. */
static uint16_t
take_from_batch(struct vring_driver *drv, struct vring_driver_reaped *out)
{
    uint16_t id = drv->in_order ? pop_oldest(drv) : drv->batch_id;
    uint16_t n_desc = drv->chains[id].n_desc;

    drv->batch_left--;
    out->id = id;
    out->cookie = drv->chains[id].cookie;
    out->skipped = drv->batch_left != 0;
    out->len = out->skipped ? drv->chains[id].writable : drv->batch_len;
    finish(drv, id);
    return n_desc;
}

static unsigned int
reap_split(struct vring_driver *drv, struct vring_driver_reaped *out,
           unsigned int max)
{
    uint16_t idx = __atomic_load_n(&drv->used->idx, __ATOMIC_ACQUIRE);
    uint16_t n_used = idx - drv->used_pos;
    unsigned int n = 0;

    if (n_used > drv->n_in_flight) {
        return fail(drv, "used index ran ahead", n_used);
    }
    for (; n_used && n < max; n++, n_used--) {
        if (!drv->batch_left) {
            const struct vring_driver_used_elem *e
                = &drv->used->ring[drv->used_pos & (drv->size - 1)];
            unsigned int k = begin_batch(drv, e->id, e->len);

            if (!k) {
                break;
            } else if (k > n_used) {
                fail(drv, "in-order batch goes beyond the used index", k);
                break;
            }
        }
        take_from_batch(drv, &out[n]);
        drv->used_pos = (uint16_t) (drv->used_pos + 1);
    }
    return n;
}

static bool
packed_is_used(const struct vring_driver *drv, uint32_t pos)
{
    const struct vring_driver_desc *d = &drv->desc[packed_slot(drv, pos)];
    uint16_t want = pos < drv->size ? VRING_DESC_AVAIL | VRING_DESC_USED : 0;
    uint16_t flags = __atomic_load_n(&d->tail.packed_flags, __ATOMIC_ACQUIRE);

    return (flags & (VRING_DESC_AVAIL | VRING_DESC_USED)) == want;
}

static unsigned int
reap_packed(struct vring_driver *drv, struct vring_driver_reaped *out,
            unsigned int max)
{
    unsigned int n;

    for (n = 0; n < max && drv->n_in_flight; n++) {
        if (!drv->batch_left) {
            const struct vring_driver_desc *d
                = &drv->desc[packed_slot(drv, drv->used_pos)];

            /* Without WRITE the length means nothing (virtio 1.1, 2.7.4). */
            if (!packed_is_used(drv, drv->used_pos)
                || !begin_batch(drv, d->tail.id,
                                d->tail.packed_flags & VRING_DESC_WRITE
                                ? d->len : 0)) {
                break;
            }
        }
        drv->used_pos = packed_advance(drv, drv->used_pos,
                                       take_from_batch(drv, &out[n]));
    }
    return n;
}

unsigned int
vring_driver_reap(struct vring_driver *drv, struct vring_driver_reaped *out,
                  unsigned int max)
{
    return (drv->error ? 0
            : drv->packed ? reap_packed(drv, out, max)
            : reap_split(drv, out, max));
}

bool
vring_driver_has_used(const struct vring_driver *drv)
{
    if (drv->packed) {
        return drv->batch_left
               || (drv->n_in_flight && packed_is_used(drv, drv->used_pos));
    }
    return __atomic_load_n(&drv->used->idx, __ATOMIC_ACQUIRE)
           != (uint16_t) drv->used_pos;
}

void
vring_driver_disable_interrupts(struct vring_driver *drv)
{
    if (drv->packed) {
        __atomic_store_n(&drv->driver_event->flags, VRING_EVENT_DISABLE,
                         __ATOMIC_RELAXED);
        return;
    }
    __atomic_store_n(&drv->avail->flags, NO_INTERRUPT, __ATOMIC_RELAXED);
    if (drv->event_idx) {
        /* The flag means nothing now: ask for the index that is farthest
         * away. */
        __atomic_store_n(&drv->avail->ring[drv->size],
                         (uint16_t) (drv->used_pos - 1), __ATOMIC_RELAXED);
    }
}

bool
vring_driver_enable_interrupts(struct vring_driver *drv, uint16_t n)
{
    if (!drv->event_idx) {
        n = 1;
    }
    if (drv->packed && drv->event_idx) {
        uint32_t pos = packed_advance(drv, drv->used_pos, n - 1);

        __atomic_store_n(&drv->driver_event->off_wrap,
                         packed_slot(drv, pos)
                         | (pos < drv->size ? 0x8000 : 0), __ATOMIC_RELAXED);
        __atomic_store_n(&drv->driver_event->flags, VRING_EVENT_DESC,
                         __ATOMIC_RELEASE);
    } else if (drv->packed) {
        __atomic_store_n(&drv->driver_event->flags, VRING_EVENT_ENABLE,
                         __ATOMIC_RELAXED);
    } else if (drv->event_idx) {
        __atomic_store_n(&drv->avail->ring[drv->size],
                         (uint16_t) (drv->used_pos + n - 1), __ATOMIC_RELAXED);
    } else {
        __atomic_store_n(&drv->avail->flags, 0, __ATOMIC_RELAXED);
    }

    /* Pairs with the device's fence between its used buffers and its look at
     * the words above. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (drv->packed) {
        return vring_driver_has_used(drv);
    }
    return (uint16_t) (__atomic_load_n(&drv->used->idx, __ATOMIC_ACQUIRE)
                       - drv->used_pos) >= n;
}

unsigned int
vring_driver_n_free(const struct vring_driver *drv)
{
    return drv->n_free;
}

unsigned int
vring_driver_n_in_flight(const struct vring_driver *drv)
{
    return drv->n_in_flight;
}

static void
base(const struct vring_driver *drv, uint32_t pos, uint16_t *idx, bool *wrap)
{
    *idx = drv->packed ? packed_slot(drv, pos) : pos;
    *wrap = !drv->packed || pos < drv->size;
}

void
vring_driver_used_base(const struct vring_driver *drv, uint16_t *idx,
                       bool *wrap)
{
    base(drv, drv->used_pos, idx, wrap);
}

/* Descriptors of the 'n' chains in flight from number 'first' on, the oldest
 * being 0. */
static uint32_t
count_descs(const struct vring_driver *drv, unsigned int first, unsigned int n)
{
    uint32_t n_desc = 0;

    for (unsigned int i = first; i < first + n; i++) {
        uint16_t id = drv->order[(drv->order_head + i) % drv->size];

        n_desc += drv->chains[id].n_desc;
    }
    return n_desc;
}

static uint32_t
packed_device_pos(const struct vring_driver *drv)
{
    unsigned int seen = drv->batch_left;
    uint32_t pos = packed_advance(drv, drv->used_pos,
                                  count_descs(drv, 0, seen));

    while (seen < drv->n_in_flight && packed_is_used(drv, pos)) {
        uint16_t id = drv->desc[packed_slot(drv, pos)].tail.id;
        unsigned int batch = 1;
        uint32_t n_desc;

        if (id >= drv->size || !drv->chains[id].n_desc) {
            break;
        } else if (drv->in_order) {
            batch = batch_size(drv, id) - seen;
            n_desc = count_descs(drv, seen, batch);
        } else {
            n_desc = drv->chains[id].n_desc;
        }
        seen += batch;
        pos = packed_advance(drv, pos, n_desc);
    }
    return pos;
}

void
vring_driver_device_base(const struct vring_driver *drv, uint16_t *idx,
                         bool *wrap)
{
    base(drv, drv->packed ? packed_device_pos(drv)
              : __atomic_load_n(&drv->used->idx, __ATOMIC_ACQUIRE), idx, wrap);
}

void
vring_driver_avail_base(const struct vring_driver *drv, uint16_t *idx,
                        bool *wrap)
{
    base(drv, drv->avail_pos, idx, wrap);
}
