/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/key.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

#define ETH_LEN 14
#define VLAN_LEN 4
#define IPV4_LEN 20
#define IPV6_LEN 40
#define TCP_LEN 20

#define ETH_TYPE_MIN 0x600
#define ETH_TYPE_IPV4 0x0800
#define ETH_TYPE_IPV6 0x86dd
#define ETH_TYPE_VLAN 0x8100
#define ETH_TYPE_QINQ 0x88a8

#define VLAN_PRESENT 0x1000
#define TCP_FLAGS 0x0fff
#define IPV4_MORE_OR_OFFSET 0x3fff
#define IPV4_OFFSET 0x1fff
#define IPV6_LABEL 0x000fffff

/* The beginning of a packet, from the next header on. */
struct cursor {
    const uint8_t *p;
    uint32_t n;                 /* Bytes that can be looked at. */
    uint32_t len;               /* Bytes that the packet has. */
};

static uint16_t
read_16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t
read_32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static void
advance(struct cursor *c, uint32_t n)
{
    c->p += n;
    c->n -= n;
    c->len -= n;
}

static unsigned int
tpid_code(uint16_t type)
{
    return type == ETH_TYPE_VLAN ? VPCI_TPID_8100
           : type == ETH_TYPE_QINQ ? VPCI_TPID_88A8 : VPCI_TPID_NONE;
}

/* Ethernet and up to 'max_vlans' tags.  What comes behind those is taken for
 * payload of the tag's own type, as if nobody knew tags. */
static bool
parse_eth(struct cursor *c, unsigned int max_vlans, union vpci_key *key)
{
    uint16_t type;

    if (c->n < ETH_LEN) {
        return false;
    }
    memcpy(key->eth_dst, c->p, 6);
    memcpy(key->eth_src, c->p + 6, 6);
    type = ntohs(read_16(c->p + 12));
    advance(c, 12);
    for (unsigned int i = 0; i < max_vlans && tpid_code(type); i++) {
        if (c->n < VLAN_LEN + 2) {
            return false;
        }
        key->kind |= tpid_code(type) * VPCI_KEY_TPID(i);
        key->vlan_tci[i] = read_16(c->p + 2) | htons(VLAN_PRESENT);
        advance(c, VLAN_LEN);
        type = ntohs(read_16(c->p));
    }
    key->eth_type = htons(type);
    advance(c, 2);
    return type >= ETH_TYPE_MIN;
}

static bool
parse_ipv4(struct cursor *c, union vpci_key *key)
{
    uint16_t frag, len;
    uint32_t header;

    if (c->n < IPV4_LEN) {
        return false;
    }
    header = (c->p[0] & 0xf) * 4;
    len = ntohs(read_16(c->p + 2));
    if (header < IPV4_LEN || header > c->n || header > len || len > c->len
        || c->len - len > UINT16_MAX) {
        return false;
    }
    frag = ntohs(read_16(c->p + 6));
    if (frag & IPV4_MORE_OR_OFFSET) {
        key->kind |= VPCI_KEY_FRAG_ANY;
        key->kind |= frag & IPV4_OFFSET ? VPCI_KEY_FRAG_LATER : 0;
    }
    key->ip_tos = c->p[1];
    key->ip_ttl = c->p[8];
    key->ip_proto = c->p[9];
    memcpy(key->ip_src, c->p + 12, 4);
    memcpy(key->ip_dst, c->p + 16, 4);
    c->len = len;               /* What follows is padding. */
    c->n = c->n < len ? c->n : len;
    advance(c, header);
    return true;
}

static bool
parse_ipv6(struct cursor *c, union vpci_key *key)
{
    uint32_t first, payload;

    if (c->n < IPV6_LEN) {
        return false;
    }
    first = ntohl(read_32(c->p));
    payload = ntohs(read_16(c->p + 4));
    if (payload + IPV6_LEN > c->len || vpci_key_is_extension(c->p[6])
        || c->len - (payload + IPV6_LEN) > UINT16_MAX) {
        return false;
    }
    key->ip_tos = first >> 20;
    key->ip_proto = c->p[6];
    key->ip_ttl = c->p[7];
    key->ipv6_label = htonl(first & IPV6_LABEL);
    memcpy(key->ip_src, c->p + 8, 16);
    memcpy(key->ip_dst, c->p + 24, 16);
    advance(c, IPV6_LEN);
    c->len = payload;
    c->n = c->n < payload ? c->n : payload;
    return true;
}

/* Takes the flags if there is a TCP header. */
static bool
parse_tcp_flags(const struct cursor *c, union vpci_key *key)
{
    uint32_t header;

    if (c->n < TCP_LEN) {
        return false;
    }
    header = (c->p[12] >> 4) * 4;
    if (header < TCP_LEN || header > c->len) {
        return false;
    }
    key->tcp_flags = read_16(c->p + 12) & htons(TCP_FLAGS);
    return true;
}

static bool
parse_tcp(const struct cursor *c, union vpci_key *key)
{
    /* Options that are not there to be looked at could not be changed with the
     * rest. */
    if (!parse_tcp_flags(c, key) || (uint32_t) (c->p[12] >> 4) * 4 > c->n) {
        return false;
    }
    key->l4_src = read_16(c->p);
    key->l4_dst = read_16(c->p + 2);
    return true;
}

/* Ports of protocols whose header has 'header' bytes at the least. */
static bool
parse_ports(const struct cursor *c, uint32_t header, union vpci_key *key)
{
    if (c->n < header) {
        return false;
    }
    key->l4_src = read_16(c->p);
    key->l4_dst = read_16(c->p + 2);
    return true;
}

static bool
parse_icmp(const struct cursor *c, uint32_t header, union vpci_key *key)
{
    if (c->n < header) {
        return false;
    }
    key->l4_src = htons(c->p[0]);
    key->l4_dst = htons(c->p[1]);
    return true;
}

static bool
parse_l4(const struct cursor *c, union vpci_key *key)
{
    switch (key->ip_proto) {
    case IPPROTO_TCP:
        return parse_tcp(c, key);
    case IPPROTO_UDP:
        return parse_ports(c, 8, key);
    case IPPROTO_SCTP:
        return parse_ports(c, 12, key);
    case IPPROTO_ICMP:
    case IPPROTO_IGMP:
    case IPPROTO_ICMPV6:
        return parse_icmp(c, 8, key);
    default:
        return true;
    }
}

bool
vpci_key_parse(const uint8_t *headers, uint32_t n_headers, uint32_t len,
               unsigned int max_vlans, enum vpci_key_depth depth,
               union vpci_key *key)
{
    struct cursor c = {
        .p = headers,
        .n = n_headers < VPCI_KEY_HEADERS ? n_headers : VPCI_KEY_HEADERS,
        .len = len,
    };

    memset(key, 0, sizeof *key);
    if (!parse_eth(&c, max_vlans, key)) {
        return false;
    }
    if (depth == VPCI_DEPTH_ETH) {
        return true;
    } else if (depth == VPCI_DEPTH_FRAG && c.n >= IPV6_LEN
               && vpci_key_is_plain(c.p - ETH_LEN)) {
        return true;
    } else if (key->eth_type == htons(ETH_TYPE_IPV4)) {
        if (!parse_ipv4(&c, key)) {
            return false;
        }
    } else if (key->eth_type == htons(ETH_TYPE_IPV6)) {
        if (!parse_ipv6(&c, key)) {
            return false;
        }
    } else {
        return true;
    }
    if (key->kind & VPCI_KEY_FRAG_LATER) {
        return true;
    } else if (depth <= VPCI_DEPTH_IP) {
        if (key->ip_proto == IPPROTO_TCP) {
            parse_tcp_flags(&c, key);
        }
        return true;
    }
    return parse_l4(&c, key);
}

enum vpci_key_depth
vpci_key_mask_depth(const union vpci_key *mask)
{
    uint8_t frag = mask->kind & (VPCI_KEY_FRAG_ANY | VPCI_KEY_FRAG_LATER);
    union vpci_key rest = *mask;

    if (mask->tcp_flags || mask->l4_src || mask->l4_dst) {
        return VPCI_DEPTH_L4;
    }
    memset(rest.eth_dst, 0, sizeof rest.eth_dst);
    memset(rest.eth_src, 0, sizeof rest.eth_src);
    rest.eth_type = 0;
    memset(rest.vlan_tci, 0, sizeof rest.vlan_tci);
    rest.kind = 0;
    for (int i = 0; i < VPCI_KEY_WORDS; i++) {
        if (rest.words[i]) {
            return VPCI_DEPTH_IP;
        }
    }
    return frag ? VPCI_DEPTH_FRAG : VPCI_DEPTH_ETH;
}
