/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/vring.h"

#include <errno.h>
#include <stdlib.h>

#include "vpci/ring.h"
#include "vring-peek.h"
#include "vring-private.h"
#include "vring-push.h"

/* Without any of these a driver's headers are all zeros (virtio 1.1, section
 * 5.1.6.2), and need not be fetched from its cache. */
#define TX_OFFLOADS (UINT64_C(1) << VIRTIO_NET_F_CSUM               \
                     | UINT64_C(1) << VIRTIO_NET_F_GSO              \
                     | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4        \
                     | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6        \
                     | UINT64_C(1) << VIRTIO_NET_F_HOST_ECN         \
                     | UINT64_C(1) << VIRTIO_NET_F_HOST_UFO         \
                     | UINT64_C(1) << 56 /* HOST_USO */)

struct vpci_vring *
vpci_vring_create(void)
{
    struct vpci_vring *vr = aligned_alloc(64, (sizeof *vr + 63) & ~63u);

    if (vr) {
        memset(vr, 0, sizeof *vr);
        vr->cfg.call_fd = -1;
    }
    return vr;
}

static void
vring_free_pools(struct vpci_vring *vr)
{
    free(vr->iov);
    free(vr->done);
    free(vr->done_slots);
    vr->iov = NULL;
    vr->done = NULL;
    vr->done_slots = NULL;
}

void
vpci_vring_destroy(struct vpci_vring *vr)
{
    if (vr) {
        vpci_vring_stop(vr, NULL);
        free(vr);
    }
}

/* Allocates what the fast path needs.  A descriptor breaks into no more pieces
 * than there are regions, since these do not overlap. */
static bool
vring_alloc_pools(struct vpci_vring *vr)
{
    uint32_t n_regions = vr->cfg.mem->n_regions;
    size_t n_iov = ((size_t) vr->max_chain * n_regions + VRING_BURST_IOV
                    + VPCI_VRING_BURST);
    size_t n_done = (vr->size > VPCI_VRING_BURST
                     ? vr->size : VPCI_VRING_BURST);

    vr->iov = malloc(n_iov * sizeof *vr->iov);
    vr->done = malloc(n_done * sizeof *vr->done);
    vr->done_slots = malloc(n_done * sizeof *vr->done_slots);
    if (vr->iov && vr->done && vr->done_slots) {
        return true;
    }
    vring_free_pools(vr);
    return false;
}

static bool
vring_has(const struct vpci_vring_config *cfg, int feature)
{
    return cfg->features >> feature & 1;
}

static int
vring_check(const struct vpci_vring_config *cfg)
{
    const struct vpci_vring_base *base = &cfg->base;

    if (!cfg->size || cfg->size > VPCI_VRING_MAX_SIZE
        || (cfg->record && (base->avail_idx != base->used_idx
                            || base->avail_wrap != base->used_wrap))) {
        return EINVAL;
    }
    return cfg->mem && cfg->mem->n_regions ? 0 : EFAULT;
}

int
vpci_vring_start(struct vpci_vring *vr, const struct vpci_vring_config *cfg)
{
    int error = vr->running ? EINVAL : vring_check(cfg);

    if (error) {
        return error;
    }

    vr->cfg = *cfg;
    vr->is_native = false;
    vr->desc = cfg->desc;
    vr->driver = cfg->driver;
    vr->device = cfg->device;
    vr->size = cfg->size;
    vr->max_chain = cfg->size < VRING_MIN_CHAIN ? VRING_MIN_CHAIN
                    : cfg->size > VRING_MAX_CHAIN ? VRING_MAX_CHAIN
                    : cfg->size;
    vr->packed = vring_has(cfg, VRING_F_PACKED);
    vr->indirect = vring_has(cfg, VRING_F_INDIRECT_DESC);
    vr->in_order = vring_has(cfg, VRING_F_IN_ORDER);
    vr->event_idx = vring_has(cfg, VRING_F_EVENT_IDX);
    vr->mergeable = vring_has(cfg, VIRTIO_NET_F_MRG_RXBUF);
    vr->has_offloads = cfg->features & TX_OFFLOADS;
    vr->hdr_len = (vr->mergeable || vr->packed
                   || vring_has(cfg, VRING_F_VERSION_1) ? 12 : 10);
    vr->avail_idx = vr->avail_seen = cfg->base.avail_idx;
    vr->used_idx = cfg->base.used_idx;
    vr->avail_wrap = cfg->base.avail_wrap;
    vr->used_wrap = cfg->base.used_wrap;
    vr->n_peeked = vr->first_peeked = 0;
    vr->n_pending = 0;
    vr->starved = vr->asked = false;
    vr->region = cfg->mem->regions[0];

    if (!vring_alloc_pools(vr)) {
        return ENOMEM;
    }
    error = vr->packed ? vring_packed_start(vr) : vring_split_start(vr);
    if (error) {
        vring_free_pools(vr);
        return error;
    }
    vring_record_next(vr, vr->used_idx, vr->used_wrap);
    vring_record_at(vr, vr->used_idx, vr->used_wrap);
    __atomic_store_n(&vr->fault, VPCI_FAULT_NONE, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->running, true, __ATOMIC_RELEASE);
    return 0;
}

void
vpci_vring_stop(struct vpci_vring *vr, struct vpci_vring_base *base)
{
    if (!vr->running) {
        return;
    }
    vpci_vring_notify(vr);
    vpci_vring_awake(vr);
    __atomic_store_n(&vr->running, false, __ATOMIC_RELEASE);
    vring_free_pools(vr);
    vr->n_peeked = 0;
    if (base) {
        base->avail_idx = vr->avail_idx;
        base->used_idx = vr->used_idx;
        base->avail_wrap = vr->avail_wrap;
        base->used_wrap = vr->used_wrap;
    }
}

bool
vpci_vring_packed_is_fresh(const void *desc_)
{
    const struct vring_packed_desc *desc = desc_;

    /* A driver that is ahead by a buffer has set the 'avail' bit; the 'used'
     * bit is what only a device changes first. */
    return !(VRING_READ(&desc->flags) & 1 << VRING_PACKED_DESC_F_USED);
}

bool
vpci_vring_is_running(const struct vpci_vring *vr)
{
    return __atomic_load_n(&vr->running, __ATOMIC_ACQUIRE);
}

enum vpci_fault_kind
vpci_vring_fault(const struct vpci_vring *vr)
{
    return __atomic_load_n(&vr->fault, __ATOMIC_RELAXED);
}

uint64_t
vpci_vring_features(const struct vpci_vring *vr)
{
    return vr->cfg.features;
}

unsigned int
vpci_vring_peek(struct vpci_vring *vr, struct vpci_pkt *pkts,
                unsigned int max)
{
    if (VRING_UNLIKELY(!vr->running || vr->fault)) {
        return 0;
    }
    if (max > VPCI_VRING_BURST) {
        max = VPCI_VRING_BURST;
    }
    return (vr->is_native
            ? vring_native_peek(vr, pkts, max)
            : vr->packed
            ? vring_packed_peek(vr, pkts, max)
            : vring_split_peek(vr, pkts, max));
}

void
vpci_vring_release(struct vpci_vring *vr, unsigned int n)
{
    if (n > vr->n_peeked) {
        n = vr->n_peeked;
    }
    if (!n) {
        return;
    }
    if (vr->is_native) {
        vring_native_release(vr, n);
    } else if (vr->packed) {
        vring_packed_release(vr, n);
    } else {
        vring_split_release(vr, n);
    }
    vr->first_peeked += n;
    vr->n_peeked -= n;
}

unsigned int
vpci_vring_push(struct vpci_vring *vr, struct vpci_pkt *pkts, unsigned int n)
{
    if (VRING_UNLIKELY(!n || !vr->running || vr->fault)) {
        return vring_push_none(pkts, n);
    }
    if (n > VPCI_VRING_BURST) {
        n = VPCI_VRING_BURST;
    }
    return (vr->is_native
            ? vring_native_push(vr, pkts, n)
            : vr->packed
            ? vring_packed_push(vr, pkts, n)
            : vring_split_push(vr, pkts, n));
}

bool
vpci_vring_has_room(const struct vpci_vring *vr, unsigned int n)
{
    return n <= vr->size && (vr->is_native
                             ? vpci_ring_has_room(vr->native.tx, n)
                             : vr->packed
                             ? vring_packed_has_room(vr, n)
                             : vring_split_has_room(vr, n));
}

static void
vring_set_kicks(struct vpci_vring *vr, bool on)
{
    vr->asked = on;
    if (vr->packed) {
        vring_packed_set_kicks(vr, on);
    } else {
        vring_split_set_kicks(vr, on);
    }
}

bool
vpci_vring_ask(struct vpci_vring *vr)
{
    if (!vr->running || vr->fault) {
        return true;
    } else if (vr->is_native) {
        return false;
    }
    vring_set_kicks(vr, true);

    /* (D): the event words are written before the driver's index or flags
     * are read again. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (vpci_vring_has_room(vr, 1)) {
        vring_set_kicks(vr, false);
        return false;
    }
    return true;
}

void
vpci_vring_awake(struct vpci_vring *vr)
{
    if (vr->running && vr->asked) {
        vring_set_kicks(vr, false);
    }
}

bool
vpci_vring_recover(const struct vpci_vring_config *cfg, uint32_t next,
                   uint32_t at, struct vpci_vring_base *base)
{
    uint16_t at_used = at >> VPCI_ABI_PEER_USED_SHIFT;
    uint16_t next_used = next >> VPCI_ABI_PEER_USED_SHIFT;

    if ((uint16_t) at != at_used || (uint16_t) next != next_used
        || vring_check(cfg)) {
        return false;
    }
    return (vring_has(cfg, VRING_F_PACKED)
            ? vring_packed_recover(cfg, next_used, at_used, base)
            : vring_split_recover(cfg, at_used, base));
}

/* Does the driver want to be told what was done since it was asked last? */
static bool
vring_must_notify(struct vpci_vring *vr)
{
    if (vr->is_native) {
        bool tell = vr->tell;

        vr->tell = false;
        return tell;
    }

    /* (C): the used index or flags are published before the driver's event
     * words are read. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return (vr->packed
            ? vring_packed_must_notify(vr)
            : vring_split_must_notify(vr));
}

bool
vpci_vring_notify(struct vpci_vring *vr)
{
    bool must;

    if (!vr->n_pending || !vr->running) {
        return false;
    }
    must = vring_must_notify(vr);
    vr->n_pending = 0;
    if (!must || (!vr->cfg.notify && vr->cfg.call_fd < 0)) {
        return false;
    }

    if (vr->cfg.notify) {
        vr->cfg.notify(vr->cfg.notify_aux);
    } else {
        vring_ring_doorbell(vr);
    }
    __atomic_store_n(&vr->n_notifies, vr->n_notifies + 1, __ATOMIC_RELAXED);
    return true;
}

void
vpci_pkt_copy(const struct vpci_pkt *pkt, void *dst_)
{
    uint8_t *dst = dst_;

    for (uint32_t i = 0; i < pkt->n_iov; i++) {
        const struct vpci_iov *iov = &pkt->iov[i];

        vring_copy(dst, iov->base, iov->len);
        dst += iov->len;
    }
}

static void
pkt_copy_pieces(const struct vpci_pkt *pkt, uint8_t *dst, uint32_t n)
{
    for (const struct vpci_iov *iov = pkt->iov; n; iov++) {
        uint32_t piece = n < iov->len ? n : iov->len;

        vring_copy(dst, iov->base, piece);
        dst += piece;
        n -= piece;
    }
}

void
vpci_pkts_take_heads(struct vpci_pkt *pkts, unsigned int n, void *dst_,
                     size_t stride, uint32_t max)
{
    uint8_t *dst = dst_;

    for (unsigned int i = 0; i < n; i++, dst += stride) {
        struct vpci_pkt *pkt = &pkts[i];
        uint32_t len = pkt->len < max ? pkt->len : max;

        if (VRING_LIKELY(len && pkt->iov->len >= len)) {
            vring_copy(dst, pkt->iov->base, len);
        } else {
            pkt_copy_pieces(pkt, dst, len);
        }
        pkt->head = dst;
        pkt->head_len = pkt->skip = len;
    }
}

void
vpci_vring_get_state(const struct vpci_vring *vr,
                     struct vpci_vring_state *state)
{
    memset(state, 0, sizeof *state);
    state->running = vpci_vring_is_running(vr);
    state->packed = vr->packed;
    state->native = vr->is_native;
    state->size = vr->size;
    state->fault = vpci_vring_fault(vr);
    state->n_bufs = __atomic_load_n(&vr->n_bufs, __ATOMIC_RELAXED);
    state->n_notifies = __atomic_load_n(&vr->n_notifies, __ATOMIC_RELAXED);
    if (vr->is_native) {
        vring_native_get_state(vr, state);
        return;
    }
    state->base.avail_idx = __atomic_load_n(&vr->avail_idx, __ATOMIC_RELAXED);
    state->base.used_idx = __atomic_load_n(&vr->used_idx, __ATOMIC_RELAXED);
    state->base.avail_wrap = __atomic_load_n(&vr->avail_wrap,
                                             __ATOMIC_RELAXED);
    state->base.used_wrap = __atomic_load_n(&vr->used_wrap, __ATOMIC_RELAXED);
    if (state->running && !vr->packed) {
        const struct vring_avail *avail = vr->driver;

        state->driver_idx = __atomic_load_n(&avail->idx, __ATOMIC_RELAXED);
    }
}

/* Marks the ring broken and reports why, unless it has been before.  Returns
 * -1. */
VRING_COLD int
vring_bad(struct vpci_vring *vr, enum vpci_fault_kind kind, uint16_t slot,
          uint64_t seen, uint64_t limit)
{
    const struct vpci_fault fault = {
        .kind = kind,
        .ring = vr->cfg.index,
        .slot = slot,
        .seen = seen,
        .limit = limit,
    };

    if (!vr->fault) {
        __atomic_store_n(&vr->fault, kind, __ATOMIC_RELAXED);
        vpci_peer_bad(vr->cfg.peer, &fault);
    }
    return -1;
}

/* Translates the 'len' bytes at 'addr' into pieces at 'iov', no more of them
 * than there are regions, and makes the last region hit the first one to be
 * tried next.  Returns the number of pieces, or 0 if a byte is outside guest
 * memory. */
uint32_t
vring_map_slow(struct vpci_vring *vr, struct vpci_iov *iov, uint64_t addr,
               uint32_t len)
{
    const struct vpci_memory *mem = vr->cfg.mem;
    uint32_t n = 0;

    if (addr + (len - 1) < addr) {
        return 0;
    }
    while (len) {
        uint64_t piece = len;
        void *base = vpci_memory_map(mem, addr, &piece);

        if (!base) {
            return 0;
        }
        iov[n].base = base;
        iov[n].len = piece;
        n++;
        addr += piece;
        len -= piece;
    }
    for (uint32_t i = 0; i < mem->n_regions; i++) {
        if (addr - 1 - mem->regions[i].guest_addr < mem->regions[i].size) {
            vr->region = mem->regions[i];
            break;
        }
    }
    return n;
}

/* Reads a descriptor that may lie across regions.  Returns false if a byte of
 * it is outside guest memory. */
bool
vring_read_desc_slow(struct vpci_vring *vr, uint64_t addr,
                     struct vring_desc_copy *d)
{
    struct vpci_iov iov[VPCI_MEMORY_MAX_REGIONS];
    uint32_t n = vring_map_slow(vr, iov, addr, sizeof *d);
    uint8_t *dst = (uint8_t *) d;

    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t j = 0; j < iov[i].len; j++) {
            *dst++ = VRING_READ((const uint8_t *) iov[i].base + j);
        }
    }
    return n > 0;
}

/* Logs the 'len' bytes at 'host', which are in one region. */
void
vring_log_host(const struct vpci_vring *vr, const void *host, uint64_t len)
{
    const struct vpci_memory *mem = vr->cfg.mem;

    for (uint32_t i = 0; i < mem->n_regions; i++) {
        const struct vpci_memory_region *r = &mem->regions[i];
        uint64_t ofs = (uintptr_t) host - (uintptr_t) r->host;

        if (ofs < r->size) {
            vr->cfg.log(vr->cfg.log_aux, r->guest_addr + ofs, len);
            return;
        }
    }
}

/* Takes a header that is spread over several pieces out of the chain at hand
 * of 'w', and sets 'pkt' to the rest.  Returns false if nothing is left. */
bool
vring_peek_hdr_slow(const struct vring_walk *w, uint32_t hdr_len,
                    struct vpci_pkt *pkt)
{
    struct vpci_iov *iov = w->iov;
    uint32_t n_iov = w->n_iov;
    uint8_t hdr[12];

    for (uint32_t i = 0; i < hdr_len; i++) {
        hdr[i] = VRING_READ((const uint8_t *) iov->base);
        iov->base = (uint8_t *) iov->base + 1;
        if (!--iov->len) {
            iov++;
            n_iov--;
        }
    }
    memcpy(&pkt->hdr, hdr, sizeof pkt->hdr);
    pkt->iov = iov;
    pkt->n_iov = n_iov;
    return n_iov > 0;
}

/* Moves on from a piece of 'src' that is done. */
static void
vring_source_next(struct vring_source *src)
{
    src->ofs = 0;
    if (src->next) {
        src->iov = src->next->iov;
        src->ofs = src->next->skip;
        src->next = NULL;
        while (src->left && src->ofs >= src->iov->len) {
            src->ofs -= src->iov->len;
            src->iov++;
        }
    } else {
        src->iov++;
    }
}

/* Copies from 'src' into the chain at hand of 'w', all but its first 'skip'
 * bytes, until one of them ends.  Returns the bytes copied. */
uint32_t
vring_scatter(const struct vring_walk *w, uint32_t skip,
              struct vring_source *src)
{
    uint32_t left = src->left;

    for (uint32_t i = 0; i < w->n_iov && src->left; i++) {
        uint8_t *dst = w->iov[i].base;
        uint32_t room = w->iov[i].len;

        if (skip >= room) {
            skip -= room;
            continue;
        }
        dst += skip;
        room -= skip;
        skip = 0;
        while (room && src->left) {
            uint32_t n = src->iov->len - src->ofs;

            if (n > room) {
                n = room;
            }
            if (n > src->left) {
                n = src->left;
            }
            vring_copy(dst, (const uint8_t *) src->iov->base + src->ofs, n);
            dst += n;
            room -= n;
            src->left -= n;
            src->ofs += n;
            if (src->ofs == src->iov->len) {
                vring_source_next(src);
            }
        }
    }
    return left - src->left;
}

/* Copies a header that does not fit into the first piece of the chain at hand
 * of 'w', and tells where the bytes of 'num_buffers' went. */
void
vring_scatter_hdr(const struct vring_walk *w, const uint8_t *hdr,
                  uint32_t hdr_len, uint8_t *num_buffers[2])
{
    const struct vpci_iov *iov = w->iov;
    uint32_t ofs = 0;

    for (uint32_t i = 0; i < hdr_len; i++) {
        uint8_t *p = (uint8_t *) iov->base + ofs;

        *p = hdr[i];
        if (i >= 10) {
            num_buffers[i - 10] = p;
        }
        if (++ofs == iov->len) {
            iov++;
            ofs = 0;
        }
    }
}
