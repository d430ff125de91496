/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_TSO_H
#define NETDEV_VPCI_TSO_H 1

/* Packets that the datapath has with work undone.
 *
 * With other_config:userspace-tso-enable=true, Open vSwitch lets packets through
 * the datapath that lack a checksum or are to become TCP segments, marked as
 * DPDK marks them.  It drops them, though, at a tunnel, and at a port that
 * cannot take them: as long as there is one, guests' packets are finished
 * before they enter the datapath.
 *
 * What comes from elsewhere, and the guest of a port does not take, is finished
 * when it is sent to that guest. */

#include "netdev-vpci-private.h"
#include "vpci/wire.h"

/* Looks which ports the datapath has.  Main thread. */
void vpci_tso_run(void);

/* What 'netdev->ol_flags' is to be. */
uint64_t vpci_tso_ol_flags(void);

/* True if packets may enter the datapath with work undone.  Any thread. */
bool vpci_tso_is_usable(void);

/* Marks 'packet', which holds a frame with 'wire' left to do, so that the
 * datapath knows.  Returns false, with nothing done, if there is no mark for
 * that. */
bool vpci_tso_mark(struct dp_packet *packet, const struct vpci_wire *wire);

/* Returns the length of the longest packet that 'packet' is to become. */
uint32_t vpci_tso_longest(const struct netdev_vpci *,
                          const struct dp_packet *packet);

/* Makes '*wire' what is left to do for 'packet', which has a mark, at its end,
 * so that a wire would carry it.  Returns false if the mark cannot be true. */
bool vpci_tso_get(const struct netdev_vpci *, struct dp_packet *packet,
                  struct vpci_wire *wire);

/* Counts 'packet', which has just been marked, to become TCP segments. */
static inline void
vpci_tso_tally(struct vpci_tally *t, const struct dp_packet *packet)
{
    const struct rte_mbuf *mbuf = &packet->mbuf;
    const struct vpci_pkt frame = {
        .len = dp_packet_size(packet),
        .hdr.hdr_len = mbuf->l2_len + mbuf->l3_len + mbuf->l4_len,
        .hdr.gso_type = 1,      /* TCP, whichever. */
        .hdr.gso_size = mbuf->tso_segsz,
    };

    vpci_tally_super(t, dp_packet_data(packet), &frame);
}

static inline bool
vpci_tso_is_marked(const struct dp_packet *packet)
{
    return dp_packet_hwol_is_tso(packet) || dp_packet_hwol_l4_mask(packet);
}

#endif /* netdev-vpci-tso.h */
