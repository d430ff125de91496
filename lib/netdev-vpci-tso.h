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

/* Looks which ports there are in the datapaths of 'vpci_ports', whose data are
 * struct netdevs.  Main thread. */
void vpci_tso_run(const struct shash *vpci_ports);

/* What 'netdev->ol_flags' is to be. */
uint64_t vpci_tso_ol_flags(void);

/* True if packets may enter the datapath with work undone.  Any thread. */
bool vpci_tso_is_usable(void);

/* Marks 'packet', which holds a frame with 'wire' left to do, so that the
 * datapath knows.  Returns false, with nothing done, if there is no mark for
 * that. */
bool vpci_tso_mark(struct dp_packet *packet, const struct vpci_wire *wire);

/* True if 'packet', which has a mark, is shorter than its network header
 * says. */
bool vpci_tso_is_cut(const struct dp_packet *packet);

/* Returns how many packets 'packets[0..n)' are to become. */
uint64_t vpci_tso_n_packets(const struct netdev_vpci *,
                            struct dp_packet **packets, int n);

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

/* True if 'packet' has a mark.  One that Open vSwitch has cut short (mirrors
 * with 'snaplen', "output(max_len=...)") is what it is, and nothing can be done
 * for it. */
static inline bool
vpci_tso_is_marked(const struct dp_packet *packet)
{
    return ((dp_packet_hwol_is_tso(packet) || dp_packet_hwol_l4_mask(packet))
            && !vpci_tso_is_cut(packet));
}

/* True if 'packet' is to become TCP segments. */
static inline bool
vpci_tso_is_super(const struct dp_packet *packet)
{
    return dp_packet_hwol_is_tso(packet) && !vpci_tso_is_cut(packet);
}

#endif /* netdev-vpci-tso.h */
