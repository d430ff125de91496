/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_WIRE_H
#define NETDEV_VPCI_WIRE_H 1

/* Frames whose guest left work to us (vpci/wire.h), on their way to the
 * datapath, which gets packets as a wire would carry them.
 *
 * A super-packet may make more packets than a batch holds.  So that a guest
 * cannot change what has been looked at, and gets its buffers back at once, it
 * is copied first.  Whoever receives from a queue takes what is left of the
 * last super-packet before anything else of the ring. */

#include "netdev-vpci-private.h"
#include "vpci/wire.h"

/* The longest one: IPv6 with the longest payload, behind two tags. */
#define VPCI_SUPER_MAX_LEN (UINT16_MAX + 14 + 2 * 4 + 40)

struct vpci_super {
    struct vpci_segments segments;
    struct dp_packet *whole;    /* What is to enter the datapath undone, or
                                 * null. */
    uint8_t frame[VPCI_SUPER_MAX_LEN];
};

/* Packets that are still to be made. */
static inline uint32_t
vpci_super_n_left(const struct vpci_super *s)
{
    return s->segments.wire.n_segments - s->segments.next;
}

static inline bool
vpci_super_is_pending(const struct vpci_super *s)
{
    return s && vpci_super_n_left(s);
}

/* True if 'frame', from a ring, is a super-packet, or its header says so. */
static inline bool
vpci_is_super(const struct vpci_pkt *frame)
{
    return frame->hdr.gso_type != 0;
}

/* Checks, and reduces to what it means, the header of 'frame', from the ring
 * of 'rxq', if it is no super-packet's, and stores that in '*wire'.  Returns
 * VPCI_N_DROPS, or why the frame is dropped, which has been logged but not
 * counted. */
enum vpci_drop vpci_check_offload(struct netdev_vpci *,
                                  const struct vpci_rxq *rxq,
                                  struct vpci_pkt *frame,
                                  struct vpci_wire *wire);

/* Returns why 'frame', from the ring of 'rxq', which is no super-packet, is
 * dropped, or VPCI_N_DROPS.  'room' is the length of the longest frame.  If
 * the header asks for something, '*wire' says what. */
static inline enum vpci_drop
vpci_rx_fault(struct netdev_vpci *dev, const struct vpci_rxq *rxq,
              struct vpci_pkt *frame, struct vpci_wire *wire, uint32_t room)
{
    enum vpci_drop fault = vpci_frame_fault(frame, room);

    if (OVS_LIKELY(!frame->hdr.flags)) {
        /* Whatever else is there means nothing. */
        memset(&frame->hdr, 0, sizeof frame->hdr);
        return fault;
    }
    return (fault != VPCI_N_DROPS ? fault
            : vpci_check_offload(dev, rxq, frame, wire));
}

/* Does what is left to do for 'frame', which has passed vpci_check_offload(),
 * in its copy 'packet', or marks it if the datapath takes it undone. */
void vpci_finish_offload(const struct vpci_pkt *frame,
                         struct dp_packet *packet);

/* Gets 'rxq' ready for a guest with 'features', while its gate is shut. */
void vpci_super_prepare(struct vpci_rxq *rxq, uint64_t features);

/* Checks, and reduces to what it means, the header of 'frame', a super-packet
 * from the ring of 'rxq' whose first bytes, VPCI_WIRE_HEADERS or all, are its
 * head.  Stores in '*wire' what is left to do.  Returns VPCI_N_DROPS, or why
 * the frame is dropped, which has been logged but not counted. */
enum vpci_drop vpci_super_check(struct netdev_vpci *,
                                const struct vpci_rxq *rxq,
                                struct vpci_pkt *frame,
                                struct vpci_wire *wire);

/* Copies 'frame', a super-packet from the ring of 'rxq', which can be released
 * then.  Returns VPCI_N_DROPS, or why it is dropped, which has been counted
 * and logged. */
enum vpci_drop vpci_super_start(struct netdev_vpci *, struct vpci_rxq *rxq,
                                const struct vpci_pkt *frame);

/* Makes the next packets of the super-packet of 'rxq', at most 'max', which is
 * 1 to NETDEV_MAX_BURST, in 'pkts', or takes it as it is if the datapath does.
 * Returns their number: 0 if there are no mbufs, for now. */
int vpci_super_continue(struct netdev_vpci *, struct vpci_rxq *rxq,
                        struct dp_packet **pkts, int max);

/* Counts, as dropped, what is left of the super-packet of 'rxq', whose guest
 * is gone, while its gate is shut. */
void vpci_super_cancel(struct vpci_rxq *rxq);

#endif /* netdev-vpci-wire.h */
