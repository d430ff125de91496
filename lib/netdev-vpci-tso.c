/* SPDX-License-Identifier: Apache-2.0 */

#include "netdev-vpci-tso.h"

#include <linux/virtio_net.h>
#include <netinet/in.h>

#include "crc32c.h"
#include "csum.h"
#include "flow.h"
#include "netdev-offload.h"
#include "packets.h"
#include "userspace-tso.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_tso);

/* What a port of the datapath has to take. */
#define OL_FLAGS (NETDEV_TX_OFFLOAD_TCP_TSO | NETDEV_TX_OFFLOAD_TCP_CKSUM \
                  | NETDEV_TX_OFFLOAD_UDP_CKSUM)

#define TCP_CSUM_OFS offsetof(struct tcp_header, tcp_csum)
#define UDP_CSUM_OFS offsetof(struct udp_header, udp_csum)
#define SCTP_CSUM_OFS offsetof(struct sctp_header, sctp_csum)

/* With atomics; written by the main thread. */
static bool usable;

uint64_t
vpci_tso_ol_flags(void)
{
    return (!userspace_tso_enabled() ? 0
            : OL_FLAGS | NETDEV_TX_OFFLOAD_SCTP_CKSUM);
}

bool
vpci_tso_is_usable(void)
{
    return __atomic_load_n(&usable, __ATOMIC_RELAXED);
}

/* Callback.  Stops at a port that drops packets with work undone. */
static bool
find_obstacle(struct netdev *netdev, odp_port_t port_no OVS_UNUSED,
              void *obstacle_)
{
    const struct netdev_class *class = netdev->netdev_class;
    char **obstacle = obstacle_;

    if (netdev_has_tunnel_push_pop(netdev)) {
        *obstacle = xasprintf("%s is a tunnel", netdev_get_name(netdev));
    } else if (class->send && (netdev->ol_flags & OL_FLAGS) != OL_FLAGS) {
        *obstacle = xasprintf("%s (%s) does not take them",
                              netdev_get_name(netdev), class->type);
    }
    return *obstacle != NULL;
}

void
vpci_tso_run(const struct shash *vpci_ports)
{
    static char *last_obstacle;
    const char *last_type = NULL;
    struct shash_node *node;
    char *obstacle = NULL;

    if (!userspace_tso_enabled()) {
        return;
    }
    SHASH_FOR_EACH (node, vpci_ports) {
        const char *dpif_type = netdev_get_dpif_type(node->data);

        if (dpif_type && dpif_type != last_type && !obstacle) {
            netdev_ports_traverse(dpif_type, find_obstacle, &obstacle);
            last_type = dpif_type;
        }
    }
    __atomic_store_n(&usable, !obstacle, __ATOMIC_RELAXED);
    if (obstacle && (!last_obstacle || strcmp(obstacle, last_obstacle))) {
        VLOG_INFO("packets of guests are segmented, and get their checksums, "
                  "before they enter the datapath in spite of "
                  "userspace-tso-enable: %s", obstacle);
    } else if (!obstacle && last_obstacle) {
        VLOG_INFO("packets of guests enter the datapath as they are");
    }
    free(last_obstacle);
    last_obstacle = obstacle;
}

/* True if the header at 'ip' has the right checksum. */
static bool
has_ip_csum(const struct ip_header *ip)
{
    return !csum(ip, IP_IHL(ip->ip_ihl_ver) * 4);
}

bool
vpci_tso_mark(struct dp_packet *packet, const struct vpci_wire *wire)
{
    struct vpci_wire_own own;

    /* The datapath does not see what is behind more tags. */
    if ((wire->kind != VPCI_WIRE_SINGLE && wire->kind != VPCI_WIRE_TCP4
         && wire->kind != VPCI_WIRE_TCP6)
        || !vpci_wire_find_own(wire, dp_packet_data(packet),
                               dp_packet_size(packet), &own)
        || own.l3_ofs > ETH_HEADER_LEN + flow_vlan_limit * VLAN_HEADER_LEN) {
        return false;
    }
    /* vpci_tso_get() would mend that. */
    if (wire->kind == VPCI_WIRE_SINGLE && !own.ipv6
        && !has_ip_csum(ALIGNED_CAST(const struct ip_header *,
                                     (const char *) dp_packet_data(packet)
                                     + own.l3_ofs))) {
        return false;
    }
    if (own.ipv6) {
        dp_packet_hwol_set_tx_ipv6(packet);
    } else {
        dp_packet_hwol_set_tx_ipv4(packet);
    }
    if (own.proto == IPPROTO_TCP) {
        dp_packet_hwol_set_csum_tcp(packet);
    } else {
        dp_packet_hwol_set_csum_udp(packet);
    }
    if (wire->kind != VPCI_WIRE_SINGLE) {
        dp_packet_hwol_set_tcp_seg(packet);
        packet->mbuf.l2_len = own.l3_ofs;
        packet->mbuf.l3_len = own.l4_ofs - own.l3_ofs;
        packet->mbuf.l4_len = wire->headers - own.l4_ofs;
        packet->mbuf.tso_segsz = wire->size;
    }
    return true;
}

bool
vpci_tso_is_cut(const struct dp_packet *packet)
{
    const struct ovs_16aligned_ip6_hdr *ip6 = dp_packet_l3(packet);
    const struct ip_header *ip = dp_packet_l3(packet);
    uint32_t size = dp_packet_size(packet);

    if (!ip) {
        return false;
    } else if (size < packet->l3_ofs + sizeof *ip) {
        return true;
    } else if (IP_VER(ip->ip_ihl_ver) == 4) {
        return size < packet->l3_ofs + ntohs(ip->ip_tot_len);
    }
    return (size < packet->l3_ofs + sizeof *ip6
            || size < packet->l3_ofs + sizeof *ip6 + ntohs(ip6->ip6_plen));
}

/* Bytes from the transport header of 'packet' to the end of its payload: 0 if it
 * has none, or was cut before its end. */
static size_t
l4_size(const struct dp_packet *packet)
{
    uint32_t end = dp_packet_size(packet);
    uint32_t begin = packet->l4_ofs + dp_packet_l2_pad_size(packet);

    return dp_packet_l4(packet) && begin < end ? end - begin : 0;
}

/* Bytes of headers of 'packet', which is to become TCP segments, or 0 if it has
 * none. */
static uint32_t
tcp_headers(const struct dp_packet *packet)
{
    const struct tcp_header *tcp = dp_packet_l4(packet);

    return (l4_size(packet) < TCP_HEADER_LEN ? 0
            : packet->l4_ofs + TCP_OFFSET(tcp->tcp_ctl) * 4);
}

/* Payload of the segments that 'packet', with 'headers' bytes of headers, is to
 * become.  What others send does not say: theirs are as large as can be. */
static uint16_t
segment_size(const struct netdev_vpci *dev, const struct dp_packet *packet,
             uint32_t headers)
{
    uint32_t max_frame;

    if (packet->mbuf.tso_segsz) {
        return packet->mbuf.tso_segsz;
    }
    atomic_read_relaxed(&CONST_CAST(struct netdev_vpci *, dev)->max_frame,
                        &max_frame);
    max_frame -= VLAN_HEADER_LEN;
    return max_frame > headers ? MIN(max_frame - headers, UINT16_MAX) : 0;
}

uint64_t
vpci_tso_n_packets(const struct netdev_vpci *dev, struct dp_packet **packets,
                   int n)
{
    uint64_t sum = n;

    for (int i = 0; userspace_tso_enabled() && i < n; i++) {
        uint32_t headers = tcp_headers(packets[i]);
        uint16_t segment = segment_size(dev, packets[i], headers);

        if (segment && headers < dp_packet_size(packets[i])
            && vpci_tso_is_super(packets[i])) {
            sum += (dp_packet_size(packets[i]) - headers - 1) / segment;
        }
    }
    return sum;
}

/* Understands the mark of 'packet', to become TCP segments. */
static bool
get_super(const struct netdev_vpci *dev, const struct dp_packet *packet,
          uint16_t l4_ofs, struct vpci_wire *wire)
{
    const struct tcp_header *tcp = dp_packet_l4(packet);
    uint32_t headers = tcp_headers(packet);
    struct vpci_net_hdr hdr = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .gso_type = (dp_packet_hwol_is_ipv4(packet) ? VIRTIO_NET_HDR_GSO_TCPV4
                     : VIRTIO_NET_HDR_GSO_TCPV6),
        .gso_size = segment_size(dev, packet, headers),
        .csum_start = l4_ofs,
        .csum_offset = TCP_CSUM_OFS,
    };

    if (headers && TCP_FLAGS(tcp->tcp_ctl) & TCP_CWR) {
        hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
    }
    return !vpci_wire_check(&hdr, dp_packet_data(packet),
                            dp_packet_size(packet), UINT64_MAX, wire);
}

/* Makes the checksum of 'packet', which no guest knows how to make. */
static bool
finish_sctp(struct dp_packet *packet)
{
    uint8_t *sctp = dp_packet_l4(packet);
    size_t n = l4_size(packet);
    ovs_be32 sum;

    if (n < SCTP_HEADER_LEN) {
        return false;
    }
    memset(sctp + SCTP_CSUM_OFS, 0, sizeof sum);
    sum = crc32c(sctp, n);
    memcpy(sctp + SCTP_CSUM_OFS, &sum, sizeof sum);
    return true;
}

bool
vpci_tso_get(const struct netdev_vpci *dev, struct dp_packet *packet,
             struct vpci_wire *wire)
{
    const char *data = dp_packet_data(packet);
    const char *l4 = dp_packet_l4(packet);
    struct vpci_wire_own own;

    *wire = (struct vpci_wire) { .kind = VPCI_WIRE_SINGLE, .n_segments = 1 };
    if (!l4) {
        return false;
    } else if (dp_packet_hwol_is_tso(packet)) {
        if (!get_super(dev, packet, l4 - data, wire)) {
            return false;
        }
    } else if (!dp_packet_hwol_l4_is_tcp(packet)
               && !dp_packet_hwol_l4_is_udp(packet)) {
        return finish_sctp(packet);
    } else {
        wire->needs_csum = true;
        wire->csum_start = l4 - data;
        wire->csum_offset = (dp_packet_hwol_l4_is_tcp(packet) ? TCP_CSUM_OFS
                             : UDP_CSUM_OFS);
    }
    if (vpci_wire_find_own(wire, dp_packet_data(packet),
                           dp_packet_size(packet), &own)) {
        /* Open vSwitch may have changed addresses, or, in a connection with a
         * helper, the length. */
        vpci_wire_begin_csum(&own, dp_packet_data(packet),
                             dp_packet_size(packet));
        if (!own.ipv6 && wire->kind == VPCI_WIRE_SINGLE) {
            struct ip_header *ip = dp_packet_l3(packet);

            ip->ip_csum = 0;
            ip->ip_csum = csum(ip, IP_IHL(ip->ip_ihl_ver) * 4);
        }
    }
    return (wire->csum_start + wire->csum_offset + sizeof(ovs_be16)
            <= dp_packet_size(packet));
}
