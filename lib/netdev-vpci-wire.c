/* SPDX-License-Identifier: Apache-2.0 */

#include "netdev-vpci-wire.h"

#include <linux/virtio_net.h>
#include <rte_mbuf.h>

#include "dpif-netdev.h"
#include "netdev-vpci-tso.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_wire);

/* What lets a guest send super-packets. */
#define SUPER_FEATURES                              \
    (UINT64_C(1) << VIRTIO_NET_F_GSO                \
     | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4        \
     | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6        \
     | UINT64_C(1) << VIRTIO_NET_F_HOST_UFO         \
     | UINT64_C(1) << VPCI_NET_F_HOST_USO)

/* What a Linux guest makes of its longest packets, with segments of 536 bytes,
 * the least that it sends. */
#define MAX_WHOLE_SEGMENTS 128

/* Fragments of IPv6 get numbers that no two super-packets share soon. */
static uint32_t
next_fragment_id(void)
{
    static uint32_t id;

    return __atomic_add_fetch(&id, 1, __ATOMIC_RELAXED);
}

/* Logs what is wrong with the header of 'frame'. */
static enum vpci_drop
drop_bad_offload(const struct netdev_vpci *dev, const struct vpci_pkt *frame,
                 enum vpci_wire_fault fault)
{
    static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(1, 5);
    const struct vpci_net_hdr *h = &frame->hdr;

    VLOG_WARN_RL(&rl, "%s: dropped a frame of %"PRIu32" bytes from the guest, "
                 "whose header asks for offloads with %s: flags %#"PRIx8", "
                 "gso_type %"PRIu8", gso_size %"PRIu16", csum_start %"PRIu16
                 ", csum_offset %"PRIu16"; vpci_rx_bad_offload_drops counts "
                 "them", netdev_get_name(&dev->up), frame->len,
                 vpci_wire_fault_name(fault), h->flags, h->gso_type,
                 h->gso_size, h->csum_start, h->csum_offset);
    return VPCI_DROP_RX_BAD_OFFLOAD;
}

enum vpci_drop
vpci_check_offload(struct netdev_vpci *dev, const struct vpci_rxq *rxq,
                   struct vpci_pkt *frame, struct vpci_wire *wire)
{
    enum vpci_wire_fault fault;

    /* Nobody looks at the headers of what is no super-packet. */
    fault = vpci_wire_check(&frame->hdr, NULL, frame->len,
                            vpci_vring_features(rxq->ring->vring), wire);
    if (fault) {
        return drop_bad_offload(dev, frame, fault);
    }
    vpci_wire_to_hdr(wire, &frame->hdr);
    return VPCI_N_DROPS;
}

void
vpci_finish_offload(const struct vpci_pkt *frame, struct dp_packet *packet)
{
    struct vpci_wire wire;

    if (!vpci_wire_check(&frame->hdr, NULL, frame->len, UINT64_MAX, &wire)
        && !(vpci_tso_is_usable() && vpci_tso_mark(packet, &wire))) {
        vpci_wire_finish_csum(&wire, dp_packet_data(packet), frame->len);
    }
}

enum vpci_drop
vpci_super_check(struct netdev_vpci *dev, const struct vpci_rxq *rxq,
                 struct vpci_pkt *frame, struct vpci_wire *wire)
{
    enum vpci_wire_fault fault;

    if (frame->len < ETH_HEADER_LEN) {
        return VPCI_DROP_RX_RUNT;
    }
    fault = vpci_wire_check(&frame->hdr, frame->head, frame->len,
                            vpci_vring_features(rxq->ring->vring), wire);
    if (fault) {
        return drop_bad_offload(dev, frame, fault);
    } else if (frame->len > VPCI_SUPER_MAX_LEN
               || (vpci_wire_longest(wire, frame->len)
                   > vpci_mempool_room(dev->mempool))) {
        return VPCI_DROP_RX_OVERSIZE;
    }
    vpci_wire_to_hdr(wire, &frame->hdr);
    return VPCI_N_DROPS;
}

void
vpci_super_prepare(struct vpci_rxq *rxq, uint64_t features)
{
    if (features & SUPER_FEATURES && !rxq->super) {
        rxq->super = xzalloc(sizeof *rxq->super);
    }
}

/* True if the datapath takes 'frame', a super-packet, with 'wire' left to do.
 * DPDK's ports need some room behind it; and what is to be done for it in the
 * end, for others at once, is bounded. */
static bool
may_enter_whole(const struct netdev_vpci *dev, const struct vpci_pkt *frame,
                const struct vpci_wire *wire)
{
    return (vpci_tso_is_usable()
            && frame->len <= UINT16_MAX - 2 * DP_NETDEV_HEADROOM
            && wire->n_segments <= MAX_WHOLE_SEGMENTS
            && !ovsrcu_get(struct vpci_policer *, &dev->ingress));
}

/* Returns a packet with 'frame', a super-packet whose first 'n' bytes are at
 * 'head', marked for the datapath with 'wire', or null if there is no mark for
 * that. */
static struct dp_packet *
copy_whole(const struct vpci_pkt *frame, const uint8_t *head, uint32_t n,
           const struct vpci_wire *wire)
{
    struct dp_packet *packet;

    packet = dp_packet_new_with_headroom(frame->len, DP_NETDEV_HEADROOM);
    dp_packet_set_size(packet, frame->len);
    vpci_pkt_copy(frame, dp_packet_data(packet));
    memcpy(dp_packet_data(packet), head, n);
    if (!vpci_tso_mark(packet, wire)) {
        dp_packet_delete(packet);
        return NULL;
    }
    return packet;
}

enum vpci_drop
vpci_super_start(struct netdev_vpci *dev, struct vpci_rxq *rxq,
                 const struct vpci_pkt *frame)
{
    struct vpci_super *s = rxq->super;
    uint8_t head[VPCI_WIRE_HEADERS];
    struct vpci_pkt copy = *frame;
    enum vpci_drop drop;
    struct vpci_wire wire;

    vpci_pkts_take_heads(&copy, 1, head, sizeof head, sizeof head);
    drop = vpci_super_check(dev, rxq, &copy, &wire);
    if (drop != VPCI_N_DROPS) {
        vpci_counter_add(&rxq->counters.drops[drop], 1);
        return drop;
    }
    s->whole = (!may_enter_whole(dev, frame, &wire) ? NULL
                : copy_whole(frame, head, copy.head_len, &wire));
    if (!s->whole) {
        vpci_pkt_copy(frame, s->frame);
        memcpy(s->frame, head, copy.head_len);
    }
    vpci_segments_init(&s->segments, &wire, s->frame, frame->len,
                       next_fragment_id());
    return drop;
}

/* Counts, as dropped for 'reason', what is left of the super-packet of
 * 'rxq'. */
static void
drop_rest(struct vpci_rxq *rxq, enum vpci_drop reason)
{
    struct vpci_super *s = rxq->super;

    vpci_counter_add(&rxq->counters.drops[reason], vpci_super_n_left(s));
    s->segments.next = s->segments.wire.n_segments;
    dp_packet_delete(s->whole);
    s->whole = NULL;
}

int
vpci_super_continue(struct netdev_vpci *dev, struct vpci_rxq *rxq,
                    struct dp_packet **pkts, int max)
{
    struct vpci_super *s = rxq->super;
    int n = MIN(vpci_super_n_left(s), max);

    /* The MTU, and with it the room, may have changed since the first. */
    if (vpci_wire_longest(&s->segments.wire, s->segments.len)
        > vpci_mempool_room(dev->mempool)) {
        drop_rest(rxq, VPCI_DROP_RX_OVERSIZE);
        return 0;
    } else if (s->whole) {
        pkts[0] = s->whole;
        s->whole = NULL;
        s->segments.next = s->segments.wire.n_segments;
        return 1;
    }
    if (rte_pktmbuf_alloc_bulk(vpci_mempool_rte(dev->mempool),
                               (struct rte_mbuf **) pkts, n)) {
        vpci_counter_add(&rxq->counters.no_mbufs, 1);
        return 0;
    }
    for (int i = 0; i < n; i++) {
        struct rte_mbuf *mbuf = &pkts[i]->mbuf;

        mbuf->data_len = vpci_segments_next(&s->segments,
                                            rte_pktmbuf_mtod(mbuf, void *));
        mbuf->pkt_len = mbuf->data_len;
    }
    return n;
}

void
vpci_super_cancel(struct vpci_rxq *rxq)
{
    if (vpci_super_is_pending(rxq->super)) {
        drop_rest(rxq, VPCI_DROP_RX_UNFINISHED);
    }
}
