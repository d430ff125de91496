/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Native rings, used as if they were virtio rings: see struct
 * vpci_vring_native. */

#include <errno.h>
#include <stdlib.h>

#include "vpci/channel.h"
#include "vpci/ring.h"
#include "vring-peek.h"
#include "vring-private.h"
#include "vring-push.h"

/* Without any of these, what a guest says of its packets beside their bytes is
 * not listened to. */
#define NATIVE_OFFLOADS (UINT64_C(1) << VIRTIO_NET_F_CSUM)

int
vpci_vring_start_native(struct vpci_vring *vr,
                        const struct vpci_vring_native *native)
{
    if (vr->running || !native->rx == !native->tx) {
        return EINVAL;
    }
    vr->iov = malloc(VPCI_VRING_BURST * sizeof *vr->iov);
    if (!vr->iov) {
        return ENOMEM;
    }
    vr->native = *native;
    vr->is_native = true;
    vr->tell = false;
    vr->cfg = (struct vpci_vring_config) {
        .index = native->index,
        .features = native->features,
        .call_fd = native->call_fd,
        .peer = native->peer,
    };
    vr->size = (native->rx ? vpci_ring_rx_size(native->rx)
                : vpci_ring_tx_size(native->tx));
    vr->packed = false;
    vr->has_offloads = native->features & NATIVE_OFFLOADS;
    vr->n_peeked = vr->first_peeked = 0;
    vr->n_pending = 0;
    vr->starved = false;
    __atomic_store_n(&vr->fault, VPCI_FAULT_NONE, __ATOMIC_RELAXED);
    __atomic_store_n(&vr->running, true, __ATOMIC_RELEASE);
    return 0;
}

/* The ring is what it was started with; or not worth a look. */
static bool
is_usable(struct vpci_vring *vr, enum vpci_fault_kind fault)
{
    if (VRING_UNLIKELY(fault)) {
        __atomic_store_n(&vr->fault, fault, __ATOMIC_RELAXED);
        return false;
    }
    return vpci_channel_is_current(vr->native.channel);
}

unsigned int
vring_native_look(struct vpci_vring *vr, struct vpci_ring_pkt *seen,
                  unsigned int max)
{
    struct vpci_ring_rx *rx = vr->native.rx;

    return (rx && is_usable(vr, vpci_ring_rx_fault(rx))
            ? vpci_ring_peek(rx, seen, max) : 0);
}

unsigned int
vring_native_peek(struct vpci_vring *vr, struct vpci_pkt *pkts,
                  unsigned int max)
{
    struct vpci_ring_pkt seen[VPCI_VRING_BURST];
    unsigned int n = vring_native_look(vr, seen, max);

    for (unsigned int i = 0; i < n; i++) {
        /* Nobody writes to what was peeked at. */
        vr->iov[i].base = (void *) (uintptr_t) seen[i].data;
        vr->iov[i].len = seen[i].len;
        pkts[i] = (struct vpci_pkt) {
            .iov = &vr->iov[i], .n_iov = 1, .len = seen[i].len,
        };
        if (vr->has_offloads) {
            pkts[i].hdr = vpci_ring_offload_to_hdr(seen[i].offload);
        }
    }
    vr->n_peeked = n;
    vr->first_peeked = 0;
    return n;
}

/* 'n' packets more were given back, or sent, and the guest wants to hear of it if
 * 'tell'. */
static void
count_done(struct vpci_vring *vr, unsigned int n, bool tell)
{
    vr->tell |= tell;
    vr->n_pending += n;
    __atomic_store_n(&vr->n_bufs, vr->n_bufs + n, __ATOMIC_RELAXED);
}

void
vring_native_release(struct vpci_vring *vr, unsigned int n)
{
    count_done(vr, n, vpci_ring_release(vr->native.rx, n));
}

/* Copies the whole of 'pkt' to 'dst'. */
static void
gather(const struct vpci_pkt *pkt, uint8_t *dst)
{
    uint32_t left = pkt->len - pkt->head_len, skip = pkt->skip;

    if (pkt->head_len) {
        vring_copy(dst, pkt->head, pkt->head_len);
        dst += pkt->head_len;
    }
    for (const struct vpci_iov *iov = pkt->iov; left; iov++) {
        uint32_t n = iov->len - skip;

        if (skip >= iov->len) {
            skip -= iov->len;
            continue;
        }
        n = n < left ? n : left;
        vring_copy(dst, (const uint8_t *) iov->base + skip, n);
        dst += n;
        left -= n;
        skip = 0;
    }
}

/* Puts 'pkt' on the ring, if there is room, and says what became of it. */
static enum vpci_pkt_fate
push_one(struct vpci_ring_tx *tx, const struct vpci_pkt *pkt)
{
    struct vpci_ring_offload offload;
    void *dst;

    if (VRING_UNLIKELY(!pkt->len || pkt->len > VPCI_ABI_MAX_LEN)) {
        return VPCI_PKT_TOO_BIG;
    }
    dst = vpci_ring_reserve(tx, pkt->len);
    if (!dst) {
        return VPCI_PKT_WAITING;
    }
    gather(pkt, dst);
    offload = vpci_ring_offload_from_hdr(&pkt->hdr);
    vpci_ring_submit(tx, pkt->len, &offload);
    return VPCI_PKT_SENT;
}

bool
vring_native_can_push(struct vpci_vring *vr)
{
    struct vpci_ring_tx *tx = vr->native.tx;

    return tx && is_usable(vr, vpci_ring_tx_fault(tx));
}

void
vring_native_pushed(struct vpci_vring *vr, unsigned int n)
{
    count_done(vr, n, vpci_ring_publish(vr->native.tx));
}

unsigned int
vring_native_push(struct vpci_vring *vr, struct vpci_pkt *pkts,
                  unsigned int n)
{
    struct vpci_ring_tx *tx = vr->native.tx;
    unsigned int n_sent = 0, done;

    if (!vring_native_can_push(vr)) {
        return vring_push_none(pkts, n);
    }
    for (done = 0; done < n; done++) {
        pkts[done].fate = push_one(tx, &pkts[done]);
        if (pkts[done].fate == VPCI_PKT_WAITING) {
            vring_push_none(pkts + done, n - done);
            break;
        }
        n_sent += pkts[done].fate == VPCI_PKT_SENT;
    }
    if (n_sent) {
        vring_native_pushed(vr, n_sent);
    }
    return done;
}

void
vring_native_get_state(const struct vpci_vring *vr,
                       struct vpci_vring_state *state)
{
    if (!state->running) {
        return;
    }
    if (vr->native.rx) {
        state->base.avail_idx = vpci_ring_taken(vr->native.rx);
        state->base.used_idx = state->base.avail_idx;
        state->driver_idx = vpci_ring_offered(vr->native.rx);
    } else {
        state->base.avail_idx = vpci_ring_produced(vr->native.tx);
        state->base.used_idx = state->base.avail_idx;
        state->driver_idx = vpci_ring_said_consumed(vr->native.tx) + vr->size;
    }
}
