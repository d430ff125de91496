/* SPDX-License-Identifier: Apache-2.0 */

/* Matches of megaflows as masks and keys of steering tables.
 *
 * Each field that is understood is taken out of a copy of the flow's mask.
 * Whatever is left over then is something that is not understood, also if it
 * did not exist yet when this was written. */

#include <config.h>

#include "netdev-vpci-match.h"

#include <string.h>

#include "flow.h"
#include "openvswitch/match.h"
#include "packets.h"
#include "vpci/key.h"

BUILD_ASSERT_DECL(FLOW_NW_FRAG_ANY == VPCI_KEY_FRAG_ANY);
BUILD_ASSERT_DECL(FLOW_NW_FRAG_LATER == VPCI_KEY_FRAG_LATER);
BUILD_ASSERT_DECL(VLAN_CFI == 0x1000);
BUILD_ASSERT_DECL(FLOW_MAX_VLAN_HEADERS == VPCI_KEY_VLANS);

struct translation {
    const struct flow *flow;
    struct flow rest;           /* The mask, without what is understood. */
    union vpci_key *mask;
    union vpci_key *key;
};

/* Takes 'FIELD' out of the rest.  Returns from the function, with the name
 * 'NAME', if the mask has a bit of it that packets straight from a port never
 * have and the flow wants to be set. */
#define TAKE_ZERO(T, FIELD, NAME)                                       \
    do {                                                                \
        const uint8_t *value_ = (const uint8_t *) &(T)->flow->FIELD;    \
        uint8_t *mask_ = (uint8_t *) &(T)->rest.FIELD;                  \
                                                                        \
        for (size_t i_ = 0; i_ < sizeof (T)->rest.FIELD; i_++) {        \
            if (value_[i_] & mask_[i_]) {                               \
                return NAME;                                            \
            }                                                           \
            mask_[i_] = 0;                                              \
        }                                                               \
    } while (0)

/* Moves 'FIELD' of mask and flow to 'KEY_FIELD' of mask and key. */
#define TAKE(T, FIELD, KEY_FIELD)                                       \
    do {                                                                \
        BUILD_ASSERT_DECL(sizeof (T)->rest.FIELD                        \
                          <= sizeof (T)->key->KEY_FIELD);               \
        memcpy(&(T)->mask->KEY_FIELD, &(T)->rest.FIELD,                 \
               sizeof (T)->rest.FIELD);                                 \
        memcpy(&(T)->key->KEY_FIELD, &(T)->flow->FIELD,                 \
               sizeof (T)->rest.FIELD);                                 \
        memset(&(T)->rest.FIELD, 0, sizeof (T)->rest.FIELD);            \
    } while (0)

/* What a packet that comes straight from a port has: nothing. */
static const char *
take_metadata(struct translation *t)
{
    memset(&t->rest.in_port, 0, sizeof t->rest.in_port);
    TAKE_ZERO(t, recirc_id, "recirc_id");
    TAKE_ZERO(t, packet_type, "packet_type");   /* Ethernet is 0. */
    TAKE_ZERO(t, skb_priority, "skb_priority");
    TAKE_ZERO(t, pkt_mark, "pkt_mark");
    TAKE_ZERO(t, dp_hash, "dp_hash");
    TAKE_ZERO(t, ct_state, "ct_state");
    TAKE_ZERO(t, ct_zone, "ct_zone");
    TAKE_ZERO(t, ct_mark, "ct_mark");
    TAKE_ZERO(t, ct_label, "ct_label");
    TAKE_ZERO(t, ct_nw_proto, "ct_nw_proto");
    TAKE_ZERO(t, ct_nw_src, "ct_nw_src");
    TAKE_ZERO(t, ct_nw_dst, "ct_nw_dst");
    TAKE_ZERO(t, ct_ipv6_src, "ct_ipv6_src");
    TAKE_ZERO(t, ct_ipv6_dst, "ct_ipv6_dst");
    TAKE_ZERO(t, ct_tp_src, "ct_tp_src");
    TAKE_ZERO(t, ct_tp_dst, "ct_tp_dst");
    TAKE_ZERO(t, tunnel, "tunnel");
    return NULL;
}

static bool
tpid_to_code(ovs_be16 tpid, unsigned int *code)
{
    *code = tpid == htons(ETH_TYPE_VLAN_8021Q) ? VPCI_TPID_8100
            : tpid == htons(ETH_TYPE_VLAN_8021AD) ? VPCI_TPID_88A8
            : VPCI_TPID_NONE;
    return *code != VPCI_TPID_NONE || !tpid;
}

static const char *
take_vlans(struct translation *t)
{
    for (int i = 0; i < FLOW_MAX_VLAN_HEADERS; i++) {
        unsigned int code;

        TAKE(t, vlans[i].tci, vlan_tci[i]);
        if (t->rest.vlans[i].tpid) {
            if (t->rest.vlans[i].tpid != OVS_BE16_MAX
                || !tpid_to_code(t->flow->vlans[i].tpid, &code)) {
                return "vlan_tpid";
            }
            t->mask->kind |= VPCI_KEY_TPID_MASK * VPCI_KEY_TPID(i);
            t->key->kind |= code * VPCI_KEY_TPID(i);
            t->rest.vlans[i].tpid = 0;
        }
    }
    return NULL;
}

/* Fields of IPv4 and IPv6, which mean something else, or nothing, elsewhere. */
static void
take_ip(struct translation *t)
{
    if (t->flow->dl_type == htons(ETH_TYPE_IP)) {
        TAKE(t, nw_src, ip_src);
        TAKE(t, nw_dst, ip_dst);
    } else {
        TAKE(t, ipv6_src, ip_src);
        TAKE(t, ipv6_dst, ip_dst);
        TAKE(t, ipv6_label, ipv6_label);
    }
    TAKE(t, nw_proto, ip_proto);
    TAKE(t, nw_tos, ip_tos);
    TAKE(t, nw_ttl, ip_ttl);
    t->mask->kind |= t->rest.nw_frag & FLOW_NW_FRAG_MASK;
    t->key->kind |= t->flow->nw_frag & FLOW_NW_FRAG_MASK;
    t->rest.nw_frag &= ~FLOW_NW_FRAG_MASK;
}

static bool
has_ports(uint8_t nw_proto)
{
    return (nw_proto == IPPROTO_TCP || nw_proto == IPPROTO_UDP
            || nw_proto == IPPROTO_SCTP || nw_proto == IPPROTO_ICMP
            || nw_proto == IPPROTO_ICMPV6 || nw_proto == IPPROTO_IGMP);
}

/* Ports mean something if the protocol is known as well. */
static void
take_l4(struct translation *t)
{
    uint8_t proto = t->flow->nw_proto;

    if (t->mask->ip_proto == UINT8_MAX && has_ports(proto)) {
        TAKE(t, tp_src, l4_src);
        TAKE(t, tp_dst, l4_dst);
        if (proto == IPPROTO_TCP) {
            TAKE(t, tcp_flags, tcp_flags);
        }
    }
}

/* Returns the name of a field that is in 'rest', or null. */
static const char *
name_of_rest(const struct flow *rest)
{
    static const struct {
        size_t ofs, size;
        const char *name;
    } fields[] = {
#define FIELD(MEMBER, NAME)                                             \
        { offsetof(struct flow, MEMBER), MEMBER_SIZEOF(struct flow, MEMBER), \
          NAME }
        FIELD(dl_type, "eth_type"), FIELD(mpls_lse, "mpls"),
        FIELD(nw_src, "arp_spa"), FIELD(nw_dst, "arp_tpa"),
        FIELD(nw_proto, "arp_op"), FIELD(nw_frag, "ip_frag"),
        FIELD(nw_tos, "nw_tos"), FIELD(nw_ttl, "nw_ttl"),
        FIELD(ipv6_src, "ipv6_src"), FIELD(ipv6_dst, "ipv6_dst"),
        FIELD(ipv6_label, "ipv6_label"), FIELD(nd_target, "nd_target"),
        FIELD(arp_sha, "arp_sha"), FIELD(arp_tha, "arp_tha"),
        FIELD(tcp_flags, "tcp_flags"), FIELD(nsh, "nsh"),
        FIELD(tp_src, "tp_src"), FIELD(tp_dst, "tp_dst"),
        FIELD(igmp_group_ip4, "igmp_group"), FIELD(metadata, "metadata"),
        FIELD(regs, "reg"), FIELD(conj_id, "conj_id"),
#undef FIELD
    };

    for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
        if (!is_all_zeros((const uint8_t *) rest + fields[i].ofs,
                          fields[i].size)) {
            return fields[i].name;
        }
    }
    return is_all_zeros(rest, sizeof *rest) ? NULL : "an unknown field";
}

const char *
vpci_match_to_key(const struct match *match, union vpci_key *mask,
                  union vpci_key *key)
{
    struct translation t = {
        .flow = &match->flow, .rest = match->wc.masks,
        .mask = mask, .key = key,
    };
    const char *name = take_metadata(&t);

    memset(mask, 0, sizeof *mask);
    memset(key, 0, sizeof *key);
    if (!name) {
        name = take_vlans(&t);
    }
    if (name) {
        return name;
    }
    TAKE(&t, dl_dst, eth_dst);
    TAKE(&t, dl_src, eth_src);
    if (t.rest.dl_type == OVS_BE16_MAX
        && (match->flow.dl_type == htons(ETH_TYPE_IP)
            || match->flow.dl_type == htons(ETH_TYPE_IPV6))) {
        take_ip(&t);
        take_l4(&t);
    }
    if (t.rest.dl_type == OVS_BE16_MAX) {
        TAKE(&t, dl_type, eth_type);
    }
    for (int i = 0; i < VPCI_KEY_WORDS; i++) {
        key->words[i] &= mask->words[i];
    }
    return name_of_rest(&t.rest);
}

unsigned int
vpci_max_vlans(void)
{
    return MIN(flow_vlan_limit, VPCI_KEY_VLANS);
}
