/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/wire.h"

#include <arpa/inet.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <string.h>

#define ETH_LEN 14
#define VLAN_LEN 4
#define MAX_VLANS 2
#define IPV4_LEN 20
#define IPV6_LEN 40
#define TCP_LEN 20
#define UDP_LEN 8
#define FRAG6_LEN 8

#define ETH_TYPE_IPV4 0x0800
#define ETH_TYPE_IPV6 0x86dd
#define ETH_TYPE_VLAN 0x8100
#define ETH_TYPE_QINQ 0x88a8

#define IPV4_DONT_FRAGMENT 0x4000
#define IP_MORE_FRAGMENTS4 0x2000
#define IP_MORE_FRAGMENTS6 0x0001
#define IPV6_NEXT_HOP_BY_HOP 0
#define IPV6_NEXT_FRAGMENT 44

#define TCP_CSUM 16
#define UDP_CSUM 6
#define TCP_FIN_PSH 0x09
#define TCP_CWR 0x80

/* Virtio 1.2; not in the headers of Linux 6.1. */
#define GSO_UDP_L4 5

/* Numbers in frames. */

static uint16_t
get_16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static void
put_16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
}

static uint32_t
get_32(const uint8_t *p)
{
    return (uint32_t) get_16(p) << 16 | get_16(p + 2);
}

static void
put_32(uint8_t *p, uint32_t v)
{
    put_16(p, v >> 16);
    put_16(p + 2, v);
}

/* Internet checksums (RFC 1071), over memory of any alignment: the order of
 * bytes does not matter as long as it is the same all the way. */

static uint64_t
sum_bytes(uint64_t sum, const uint8_t *p, uint32_t n)
{
    for (; n >= 4; p += 4, n -= 4) {
        uint32_t v;

        memcpy(&v, p, sizeof v);
        sum += v;
    }
    if (n) {
        uint32_t v = 0;

        memcpy(&v, p, n);
        sum += v;
    }
    return sum;
}

/* Writes the checksum that 'sum' makes to 'p'.  One of all zeros means that
 * there is none, for UDP, and its other form is as good for everything. */
static void
csum_finish(uint64_t sum, uint8_t *p, bool may_be_zero)
{
    uint16_t v;

    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & UINT32_MAX) + (sum >> 32);
    sum = (sum & UINT16_MAX) + (sum >> 16);
    sum = (sum & UINT16_MAX) + (sum >> 16);
    v = ~sum;
    if (!v && !may_be_zero) {
        v = UINT16_MAX;
    }
    memcpy(p, &v, sizeof v);
}

/* Adds the pseudo header of 'len' bytes of 'proto' in the packet whose network
 * header is at 'ip'. */
static uint64_t
csum_pseudo(const uint8_t *ip, bool ipv6, uint8_t proto, uint32_t len)
{
    const uint8_t tail[4] = { 0, proto, len >> 8, len };

    return sum_bytes(ipv6 ? sum_bytes(0, ip + 8, 32) : sum_bytes(0, ip + 12, 8),
                    tail, sizeof tail);
}

static void
set_ipv4_csum(uint8_t *ip)
{
    memset(ip + 10, 0, 2);
    csum_finish(sum_bytes(0, ip, (ip[0] & 0xf) * 4), ip + 10, true);
}

/* Checks. */

const char *
vpci_wire_fault_name(enum vpci_wire_fault fault)
{
    switch (fault) {
    case VPCI_WIRE_OK:
        return "none";
    case VPCI_WIRE_NOT_NEGOTIATED:
        return "a feature that was not negotiated";
    case VPCI_WIRE_BAD_CSUM:
        return "a checksum in a place that cannot have it";
    case VPCI_WIRE_BAD_TYPE:
        return "an unknown gso_type";
    case VPCI_WIRE_BAD_HEADERS:
        return "headers that are not those of gso_type";
    case VPCI_WIRE_BAD_SIZE:
        return "segments without payload";
    }
    return "unknown";
}

static bool
has(uint64_t features, unsigned int bit)
{
    return features >> bit & 1;
}

static bool
is_ipv6(enum vpci_wire_kind kind)
{
    return (kind == VPCI_WIRE_TCP6 || kind == VPCI_WIRE_UDP6
            || kind == VPCI_WIRE_FRAG6);
}

static bool
is_frag(enum vpci_wire_kind kind)
{
    return kind == VPCI_WIRE_FRAG4 || kind == VPCI_WIRE_FRAG6;
}

static bool
is_tcp(enum vpci_wire_kind kind)
{
    return kind == VPCI_WIRE_TCP4 || kind == VPCI_WIRE_TCP6;
}

/* Finds the network header of a super-packet of which 'n' bytes are at 'head',
 * and whether it is IPv6's. */
static bool
find_l3(const uint8_t *head, uint32_t n, struct vpci_wire *w, bool *ipv6)
{
    uint32_t ofs = ETH_LEN - 2;
    uint16_t type = 0;

    for (int i = 0; i <= MAX_VLANS && ofs + 2 <= n; i++) {
        type = get_16(head + ofs);
        if (type != ETH_TYPE_VLAN && type != ETH_TYPE_QINQ) {
            break;
        }
        ofs += VLAN_LEN;
    }
    w->l3_ofs = ofs + 2;
    *ipv6 = type == ETH_TYPE_IPV6;
    return *ipv6 || type == ETH_TYPE_IPV4;
}

/* Skips, from '*ofs' on, an IPv6 packet's options for every hop (RFC 8200) if
 * 'next' says that there are any.  Returns false unless 'proto' is behind them.
 * With other extension headers, a packet is no super-packet, or its checksum may
 * cover other addresses than the ones in its header. */
static bool
skip_options(const uint8_t *head, uint32_t n, uint8_t next, uint8_t proto,
             uint32_t *ofs)
{
    if (next == IPV6_NEXT_HOP_BY_HOP) {
        if (*ofs + 2 > n) {
            return false;
        }
        next = head[*ofs];
        *ofs += (head[*ofs + 1] + 1) * 8;
    }
    return next == proto && *ofs <= n;
}

/* Finds the transport header, which must be that of 'proto', and the end of the
 * packet, as its network header has it. */
static bool
find_l4_and_end(const uint8_t *head, uint32_t n, bool ipv6, uint8_t proto,
                struct vpci_wire *w, uint32_t *end)
{
    const uint8_t *ip = head + w->l3_ofs;
    uint32_t room = n - w->l3_ofs;

    if (w->l3_ofs > n) {
        return false;
    } else if (ipv6) {
        uint32_t ofs = w->l3_ofs + IPV6_LEN;

        if (room < IPV6_LEN || ip[0] >> 4 != 6
            || !skip_options(head, n, ip[6], proto, &ofs)) {
            return false;
        }
        w->l4_ofs = ofs;
        *end = w->l3_ofs + IPV6_LEN + get_16(ip + 4);
        return true;
    } else if (room < IPV4_LEN) {
        return false;
    }
    w->l4_ofs = w->l3_ofs + (ip[0] & 0xf) * 4;
    *end = w->l3_ofs + get_16(ip + 2);
    return (ip[0] >> 4 == 4 && (ip[0] & 0xf) * 4 >= IPV4_LEN
            && w->l4_ofs <= n && ip[9] == proto
            && !(get_16(ip + 6) & ~IPV4_DONT_FRAGMENT));
}

/* The same for a frame of 'len' bytes, which must not be padded. */
static bool
find_l4(const uint8_t *head, uint32_t n, uint32_t len, bool ipv6,
        uint8_t proto, struct vpci_wire *w)
{
    uint32_t end;

    return (find_l4_and_end(head, n, ipv6, proto, w, &end) && end == len);
}

/* Where the payload begins: behind the transport header, of which fragments
 * but the first have none. */
static bool
find_payload(const uint8_t *head, uint32_t n, struct vpci_wire *w)
{
    uint32_t header = UDP_LEN;

    if (is_tcp(w->kind)) {
        if (n - w->l4_ofs < TCP_LEN) {
            return false;
        }
        header = (head[w->l4_ofs + 12] >> 4) * 4;
        if (header < TCP_LEN) {
            return false;
        }
    } else if (is_frag(w->kind)) {
        /* Options would not be the same in all fragments. */
        w->headers = w->l4_ofs;
        return (n - w->l4_ofs >= UDP_LEN
                && (w->l4_ofs - w->l3_ofs
                    == (is_ipv6(w->kind) ? IPV6_LEN : IPV4_LEN)));
    }
    w->headers = w->l4_ofs + header;
    return w->headers <= n;
}

/* Understands a super-packet of the kind that 'gso_type' says. */
static enum vpci_wire_fault
check_super(const struct vpci_net_hdr *hdr, const uint8_t *head, uint32_t len,
            uint8_t gso_type, struct vpci_wire *w)
{
    uint32_t n = len < VPCI_WIRE_HEADERS ? len : VPCI_WIRE_HEADERS;
    bool tcp = (gso_type == VIRTIO_NET_HDR_GSO_TCPV4
                || gso_type == VIRTIO_NET_HDR_GSO_TCPV6);
    bool ipv6;

    if (!find_l3(head, n, w, &ipv6)
        || (tcp && ipv6 != (gso_type == VIRTIO_NET_HDR_GSO_TCPV6))
        || !find_l4(head, n, len, ipv6, tcp ? IPPROTO_TCP : IPPROTO_UDP, w)) {
        return VPCI_WIRE_BAD_HEADERS;
    }
    w->kind = (tcp ? ipv6 ? VPCI_WIRE_TCP6 : VPCI_WIRE_TCP4
               : gso_type == GSO_UDP_L4
               ? ipv6 ? VPCI_WIRE_UDP6 : VPCI_WIRE_UDP4
               : ipv6 ? VPCI_WIRE_FRAG6 : VPCI_WIRE_FRAG4);
    if (!find_payload(head, n, w)) {
        return VPCI_WIRE_BAD_HEADERS;
    } else if (!w->needs_csum || w->csum_start != w->l4_ofs
               || w->csum_offset != (tcp ? TCP_CSUM : UDP_CSUM)) {
        return VPCI_WIRE_BAD_CSUM;
    }
    w->size = is_frag(w->kind) ? hdr->gso_size & ~7 : hdr->gso_size;
    if (!w->size || w->headers >= len) {
        return VPCI_WIRE_BAD_SIZE;
    }
    w->n_segments = (len - w->headers + w->size - 1) / w->size;
    if (w->n_segments == 1) {
        /* Nothing has to be cut. */
        w->kind = VPCI_WIRE_SINGLE;
        w->headers = w->size = 0;
        w->ecn = false;
    }
    return VPCI_WIRE_OK;
}

/* True of feature 'bit', and of what old drivers have for all of its kind. */
static bool
has_either(uint64_t features, unsigned int bit)
{
    return has(features, bit) || has(features, VIRTIO_NET_F_GSO);
}

/* True if a driver with 'features' may send super-packets of 'gso_type'. */
static bool
may_send(uint64_t features, uint8_t gso_type)
{
    switch (gso_type) {
    case VIRTIO_NET_HDR_GSO_TCPV4:
        return has_either(features, VIRTIO_NET_F_HOST_TSO4);
    case VIRTIO_NET_HDR_GSO_TCPV6:
        return has_either(features, VIRTIO_NET_F_HOST_TSO6);
    case VIRTIO_NET_HDR_GSO_UDP:
        return has_either(features, VIRTIO_NET_F_HOST_UFO);
    default:
        return has(features, VPCI_NET_F_HOST_USO);
    }
}

enum vpci_wire_fault
vpci_wire_check(const struct vpci_net_hdr *hdr, const uint8_t *head,
                uint32_t len, uint64_t features, struct vpci_wire *w)
{
    uint8_t type = hdr->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;

    *w = (struct vpci_wire) { .kind = VPCI_WIRE_SINGLE, .n_segments = 1 };
    if (hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
        w->needs_csum = true;
        w->csum_start = hdr->csum_start;
        w->csum_offset = hdr->csum_offset;
        if (!has(features, VIRTIO_NET_F_CSUM)) {
            return VPCI_WIRE_NOT_NEGOTIATED;
        } else if (w->csum_start < ETH_LEN
                   || (uint32_t) w->csum_start + w->csum_offset + 2 > len) {
            return VPCI_WIRE_BAD_CSUM;
        }
    }
    if (!hdr->gso_type) {
        return VPCI_WIRE_OK;
    } else if (type != VIRTIO_NET_HDR_GSO_TCPV4
               && type != VIRTIO_NET_HDR_GSO_TCPV6
               && type != VIRTIO_NET_HDR_GSO_UDP && type != GSO_UDP_L4) {
        return VPCI_WIRE_BAD_TYPE;
    } else if (!may_send(features, type)) {
        return VPCI_WIRE_NOT_NEGOTIATED;
    }
    if (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN) {
        w->ecn = true;
        if (type != VIRTIO_NET_HDR_GSO_TCPV4
            && type != VIRTIO_NET_HDR_GSO_TCPV6) {
            return VPCI_WIRE_BAD_TYPE;
        } else if (!has(features, VIRTIO_NET_F_HOST_ECN)) {
            return VPCI_WIRE_NOT_NEGOTIATED;
        }
    }
    return check_super(hdr, head, len, type, w);
}

bool
vpci_wire_find_own(const struct vpci_wire *w, const uint8_t *head,
                   uint32_t len, struct vpci_wire_own *own)
{
    uint32_t n = len < VPCI_WIRE_HEADERS ? len : VPCI_WIRE_HEADERS;
    struct vpci_wire at;

    if (!w->needs_csum || !find_l3(head, n, &at, &own->ipv6)) {
        return false;
    } else if (w->csum_offset == TCP_CSUM) {
        own->proto = IPPROTO_TCP;
    } else if (w->csum_offset == UDP_CSUM) {
        own->proto = IPPROTO_UDP;
    } else {
        return false;
    }
    own->l3_ofs = at.l3_ofs;
    if (!find_l4(head, n, len, own->ipv6, own->proto, &at)
        || at.l4_ofs != w->csum_start
        || (uint32_t) at.l4_ofs + w->csum_offset + 2 > n) {
        return false;
    }
    own->l4_ofs = at.l4_ofs;
    return true;
}

bool
vpci_wire_is_harmless(const struct vpci_wire *w, const uint8_t *head,
                      uint32_t len)
{
    uint32_t n = len < VPCI_WIRE_HEADERS ? len : VPCI_WIRE_HEADERS;
    uint32_t csum = (uint32_t) w->csum_start + w->csum_offset, end;
    struct vpci_wire at;
    bool ipv6;

    return (find_l3(head, n, &at, &ipv6)
            && ((find_l4_and_end(head, n, ipv6, IPPROTO_UDP, &at, &end)
                 && csum >= (uint32_t) at.l4_ofs + UDP_CSUM)
                || (find_l4_and_end(head, n, ipv6, IPPROTO_TCP, &at, &end)
                    && csum == (uint32_t) at.l4_ofs + TCP_CSUM)));
}

void
vpci_wire_begin_csum(const struct vpci_wire_own *own, uint8_t *head,
                     uint32_t len)
{
    uint8_t *csum = head + own->l4_ofs + (own->proto == IPPROTO_TCP ? TCP_CSUM
                                          : UDP_CSUM);

    /* Not its complement. */
    csum_finish(csum_pseudo(head + own->l3_ofs, own->ipv6, own->proto,
                            len - own->l4_ofs), csum, true);
    csum[0] = ~csum[0];
    csum[1] = ~csum[1];
}

void
vpci_wire_edited(struct vpci_wire *w, int growth, uint8_t *head, uint32_t len)
{
    struct vpci_wire_own own;

    w->csum_start += growth;
    if (w->kind != VPCI_WIRE_SINGLE) {
        w->l3_ofs += growth;
        w->l4_ofs += growth;
        w->headers += growth;
    }
    if (vpci_wire_find_own(w, head, len, &own)) {
        vpci_wire_begin_csum(&own, head, len);
    }
}

bool
vpci_wire_is_accepted(const struct vpci_wire *w, uint64_t features)
{
    if (w->needs_csum && !has(features, VIRTIO_NET_F_GUEST_CSUM)) {
        return false;
    } else if (w->ecn && !has(features, VIRTIO_NET_F_GUEST_ECN)) {
        return false;
    }
    switch (w->kind) {
    case VPCI_WIRE_SINGLE:
        return true;
    case VPCI_WIRE_TCP4:
        return has(features, VIRTIO_NET_F_GUEST_TSO4);
    case VPCI_WIRE_TCP6:
        return has(features, VIRTIO_NET_F_GUEST_TSO6);
    case VPCI_WIRE_UDP4:
        return has(features, VPCI_NET_F_GUEST_USO4);
    case VPCI_WIRE_UDP6:
        return has(features, VPCI_NET_F_GUEST_USO6);
    case VPCI_WIRE_FRAG4:
    case VPCI_WIRE_FRAG6:
        return has(features, VIRTIO_NET_F_GUEST_UFO);
    }
    return false;
}

void
vpci_wire_to_hdr(const struct vpci_wire *w, struct vpci_net_hdr *hdr)
{
    static const uint8_t types[] = {
        [VPCI_WIRE_SINGLE] = VIRTIO_NET_HDR_GSO_NONE,
        [VPCI_WIRE_TCP4] = VIRTIO_NET_HDR_GSO_TCPV4,
        [VPCI_WIRE_TCP6] = VIRTIO_NET_HDR_GSO_TCPV6,
        [VPCI_WIRE_UDP4] = GSO_UDP_L4,
        [VPCI_WIRE_UDP6] = GSO_UDP_L4,
        [VPCI_WIRE_FRAG4] = VIRTIO_NET_HDR_GSO_UDP,
        [VPCI_WIRE_FRAG6] = VIRTIO_NET_HDR_GSO_UDP,
    };

    *hdr = (struct vpci_net_hdr) {
        .flags = w->needs_csum ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0,
        .gso_type = types[w->kind] | (w->ecn ? VIRTIO_NET_HDR_GSO_ECN : 0),
        .hdr_len = w->headers + (is_frag(w->kind) ? UDP_LEN : 0),
        .gso_size = w->size,
        .csum_start = w->csum_start,
        .csum_offset = w->csum_offset,
    };
}

/* Bytes that each packet has in front of its payload. */
static uint32_t
overhead(const struct vpci_wire *w)
{
    return w->headers + (w->kind == VPCI_WIRE_FRAG6 ? FRAG6_LEN : 0);
}

uint64_t
vpci_wire_bytes(const struct vpci_wire *w, uint32_t len)
{
    return (uint64_t) w->n_segments * overhead(w) + len - w->headers;
}

uint32_t
vpci_wire_longest(const struct vpci_wire *w, uint32_t len)
{
    uint32_t payload = len - w->headers;

    return overhead(w) + (w->n_segments > 1 ? w->size : payload);
}

/* Packets. */

void
vpci_segments_init(struct vpci_segments *s, const struct vpci_wire *wire,
                   uint8_t *frame, uint32_t len, uint32_t id)
{
    *s = (struct vpci_segments) {
        .wire = *wire, .frame = frame, .len = len, .id = id,
        .ofs = wire->headers,
    };
    if (is_frag(wire->kind)) {
        uint8_t *l4 = frame + wire->l4_ofs;
        uint32_t n = len - wire->l4_ofs;
        uint64_t sum = csum_pseudo(frame + wire->l3_ofs, is_ipv6(wire->kind),
                                   IPPROTO_UDP, n);

        put_16(l4 + 4, n);
        memset(l4 + UDP_CSUM, 0, 2);
        csum_finish(sum_bytes(sum, l4, n), l4 + UDP_CSUM, false);
    }
}

/* Makes the network header of packet 'i', 'len' bytes long, at 'dst' right. */
static void
set_l3(const struct vpci_wire *w, uint8_t *dst, uint32_t len, uint32_t i)
{
    uint8_t *ip = dst + w->l3_ofs;

    if (is_ipv6(w->kind)) {
        put_16(ip + 4, len - w->l3_ofs - IPV6_LEN);
    } else {
        put_16(ip + 2, len - w->l3_ofs);
        if (!is_frag(w->kind)) {
            put_16(ip + 4, get_16(ip + 4) + i);
        }
        set_ipv4_csum(ip);
    }
}

static void
set_l4(const struct vpci_wire *w, uint8_t *dst, uint32_t len, uint32_t i)
{
    uint8_t *l4 = dst + w->l4_ofs;
    uint32_t n = len - w->l4_ofs;
    bool tcp = is_tcp(w->kind);
    uint8_t *csum = l4 + w->csum_offset;
    uint64_t sum;

    if (tcp) {
        put_32(l4 + 4, get_32(l4 + 4) + i * w->size);
        if (i + 1 < w->n_segments) {
            l4[13] &= ~TCP_FIN_PSH;
        }
        if (i) {
            l4[13] &= ~TCP_CWR;
        }
    } else {
        put_16(l4 + 4, n);
    }
    memset(csum, 0, 2);
    sum = csum_pseudo(dst + w->l3_ofs, is_ipv6(w->kind),
                      tcp ? IPPROTO_TCP : IPPROTO_UDP, n);
    csum_finish(sum_bytes(sum, l4, n), csum, tcp);
}

/* Says in the headers at 'dst' which part of the payload a fragment has. */
static void
set_fragment(const struct vpci_segments *s, uint8_t *dst)
{
    const struct vpci_wire *w = &s->wire;
    bool more = s->next + 1 < w->n_segments;
    uint32_t ofs = s->ofs - w->headers;
    uint8_t *ip = dst + w->l3_ofs;

    if (w->kind == VPCI_WIRE_FRAG4) {
        put_16(ip + 6, ofs / 8 | (more ? IP_MORE_FRAGMENTS4 : 0));
    } else {
        uint8_t *frag = dst + w->headers;

        frag[0] = ip[6];
        frag[1] = 0;
        put_16(frag + 2, ofs | (more ? IP_MORE_FRAGMENTS6 : 0));
        put_32(frag + 4, s->id);
        ip[6] = IPV6_NEXT_FRAGMENT;
    }
}

void
vpci_wire_finish_csum(const struct vpci_wire *w, uint8_t *frame, uint32_t len)
{
    if (w->needs_csum) {
        uint8_t *start = frame + w->csum_start;

        csum_finish(sum_bytes(0, start, len - w->csum_start),
                    start + w->csum_offset, false);
    }
}

uint32_t
vpci_segments_next(struct vpci_segments *s, uint8_t *dst)
{
    const struct vpci_wire *w = &s->wire;
    uint32_t n, front = overhead(w);

    if (s->next >= w->n_segments) {
        return 0;
    } else if (w->kind == VPCI_WIRE_SINGLE) {
        s->next++;
        memcpy(dst, s->frame, s->len);
        vpci_wire_finish_csum(w, dst, s->len);
        return s->len;
    }
    n = s->len - s->ofs < w->size ? s->len - s->ofs : w->size;
    memcpy(dst, s->frame, w->headers);
    memcpy(dst + front, s->frame + s->ofs, n);
    if (is_frag(w->kind)) {
        set_fragment(s, dst);
        set_l3(w, dst, front + n, s->next);
    } else {
        set_l3(w, dst, front + n, s->next);
        set_l4(w, dst, front + n, s->next);
    }
    s->ofs += n;
    s->next++;
    return front + n;
}
