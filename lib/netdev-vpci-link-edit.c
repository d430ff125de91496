/* SPDX-License-Identifier: Apache-2.0 */

/* Edits of megaflows as what guests on links are told of them: see
 * netdev-vpci-link-edit.h. */

#include <config.h>

#include "netdev-vpci-link-edit.h"

#include <string.h>

#include "netdev-vpci-actions.h"
#include "netlink.h"
#include "odp-netlink.h"
#include "packets.h"
#include "vpci/edit.h"
#include "vpci/key.h"

BUILD_ASSERT_DECL(VPCI_EDITS_ROOM == VPCI_PROGRAM_HEADROOM);

/* A translation under way. */
struct translation {
    const union vpci_key *mask;
    const union vpci_key *key;
    unsigned int n_tags;        /* That all packets are known to have. */
    struct vpci_edits *edits;
};

static bool
is_ip(const struct translation *t, uint16_t eth_type)
{
    return (t->mask->eth_type == UINT16_MAX
            && t->key->eth_type == htons(eth_type));
}

static bool
is_proto(const struct translation *t, uint8_t proto)
{
    return ((is_ip(t, ETH_TYPE_IP) || is_ip(t, ETH_TYPE_IPV6))
            && t->mask->ip_proto == UINT8_MAX && t->key->ip_proto == proto);
}

/* What goes into the header, and which bits of it. */

static void
put_eth(const struct ovs_key_ethernet *key, uint8_t *bytes)
{
    memcpy(bytes, &key->eth_dst, ETH_ADDR_LEN);
    memcpy(bytes + ETH_ADDR_LEN, &key->eth_src, ETH_ADDR_LEN);
}

static void
put_ipv4(const struct ovs_key_ipv4 *key, uint8_t *bytes)
{
    bytes[offsetof(struct ip_header, ip_tos)] = key->ipv4_tos;
    bytes[offsetof(struct ip_header, ip_ttl)] = key->ipv4_ttl;
    memcpy(bytes + offsetof(struct ip_header, ip_src), &key->ipv4_src, 4);
    memcpy(bytes + offsetof(struct ip_header, ip_dst), &key->ipv4_dst, 4);
}

static void
put_ipv6(const struct ovs_key_ipv6 *key, uint8_t *bytes)
{
    ovs_be32 first = htonl((uint32_t) key->ipv6_tclass << 20
                           | (ntohl(key->ipv6_label) & IPV6_LABEL_MASK));

    memcpy(bytes, &first, sizeof first);
    bytes[offsetof(struct ovs_16aligned_ip6_hdr, ip6_hlim)]
        = key->ipv6_hlimit;
    memcpy(bytes + offsetof(struct ovs_16aligned_ip6_hdr, ip6_src),
           &key->ipv6_src, 16);
    memcpy(bytes + offsetof(struct ovs_16aligned_ip6_hdr, ip6_dst),
           &key->ipv6_dst, 16);
}

static void
put_tcp(const struct ovs_key_tcp *key, uint8_t *bytes)
{
    memcpy(bytes, &key->tcp_src, 2);
    memcpy(bytes + 2, &key->tcp_dst, 2);
}

static void
put_udp(const struct ovs_key_udp *key, uint8_t *bytes)
{
    memcpy(bytes, &key->udp_src, 2);
    memcpy(bytes + 2, &key->udp_dst, 2);
}

static void
put_icmp(const struct ovs_key_icmp *key, uint8_t *bytes)
{
    bytes[0] = key->icmp_type;
    bytes[1] = key->icmp_code;
}

/* Translates the fields of a header that 'A' has in a 'TYPE', with a mask
 * behind it if it is 'MASKED', into 'E'. */
#define PUT(E, A, MASKED, TYPE, PUT_FIELDS)                             \
    do {                                                                \
        const TYPE *key_ = nl_attr_get(A);                              \
        TYPE ones_;                                                     \
                                                                        \
        memset(&ones_, 0xff, sizeof ones_);                             \
        PUT_FIELDS(key_, (E)->value);                                   \
        PUT_FIELDS(MASKED ? key_ + 1 : &ones_, (E)->mask);              \
    } while (0)

/* Translates what the set action with the fields 'a' does.  Returns false if
 * it cannot be said, or not all packets of the megaflow have that header. */
static bool
translate_set(const struct translation *t, const struct nlattr *a,
              bool masked, struct vpci_abi_edit *e)
{
    switch (nl_attr_type(a)) {
    case OVS_KEY_ATTR_ETHERNET:
        e->kind = VPCI_ABI_EDIT_ETH;
        PUT(e, a, masked, struct ovs_key_ethernet, put_eth);
        return true;
    case OVS_KEY_ATTR_IPV4:
        e->kind = VPCI_ABI_EDIT_IPV4;
        PUT(e, a, masked, struct ovs_key_ipv4, put_ipv4);
        return is_ip(t, ETH_TYPE_IP);
    case OVS_KEY_ATTR_IPV6:
        e->kind = VPCI_ABI_EDIT_IPV6;
        PUT(e, a, masked, struct ovs_key_ipv6, put_ipv6);
        return is_ip(t, ETH_TYPE_IPV6);
    case OVS_KEY_ATTR_TCP:
        e->kind = VPCI_ABI_EDIT_TCP;
        PUT(e, a, masked, struct ovs_key_tcp, put_tcp);
        return is_proto(t, IPPROTO_TCP);
    case OVS_KEY_ATTR_UDP:
        e->kind = VPCI_ABI_EDIT_UDP;
        PUT(e, a, masked, struct ovs_key_udp, put_udp);
        return is_proto(t, IPPROTO_UDP);
    case OVS_KEY_ATTR_ICMP:
    case OVS_KEY_ATTR_ICMPV6:
        /* Two structures that are alike. */
        e->kind = VPCI_ABI_EDIT_ICMP;
        PUT(e, a, masked, struct ovs_key_icmp, put_icmp);
        return is_proto(t, is_ip(t, ETH_TYPE_IP) ? IPPROTO_ICMP
                        : IPPROTO_ICMPV6);
    default:
        return false;
    }
}

static bool
translate(struct translation *t, const struct nlattr *a,
          struct vpci_abi_edit *e)
{
    const struct ovs_action_push_vlan *vlan;
    ovs_be16 tci;

    switch (nl_attr_type(a)) {
    case OVS_ACTION_ATTR_POP_VLAN:
        e->kind = VPCI_ABI_EDIT_POP;
        return t->n_tags-- > 0;
    case OVS_ACTION_ATTR_PUSH_VLAN:
        vlan = nl_attr_get(a);
        tci = vlan->vlan_tci & htons(~VLAN_CFI);
        e->kind = VPCI_ABI_EDIT_PUSH;
        memcpy(e->value, &vlan->vlan_tpid, 2);
        memcpy(e->value + 2, &tci, 2);
        t->n_tags++;
        return true;
    case OVS_ACTION_ATTR_SET:
        return translate_set(t, nl_attr_get(a), false, e);
    case OVS_ACTION_ATTR_SET_MASKED:
        return translate_set(t, nl_attr_get(a), true, e);
    default:
        return false;
    }
}

/* Tags that all packets with a key like 'key', under 'mask', have. */
static unsigned int
count_tags(const union vpci_key *mask, const union vpci_key *key)
{
    unsigned int n = 0;

    while (n < VPCI_KEY_VLANS
           && mask->vlan_tci[n] & key->vlan_tci[n] & htons(VLAN_CFI)) {
        n++;
    }
    return n;
}

bool
vpci_program_get_edits(const struct vpci_program *program,
                       const union vpci_key *mask, const union vpci_key *key,
                       struct vpci_edits *edits)
{
    struct translation t = {
        .mask = mask, .key = key, .n_tags = count_tags(mask, key),
    };
    const struct nlattr *a;
    size_t left;

    memset(edits, 0, sizeof *edits);
    if (vpci_program_is_simple(program)) {
        return true;
    }
    NL_ATTR_FOR_EACH_UNSAFE (a, left, program->ops[0].edits,
                             program->ops[0].edits_len) {
        if (edits->n == VPCI_ABI_MAX_EDITS
            || !translate(&t, a, &edits->edits[edits->n++])) {
            return false;
        }
    }
    return vpci_edits_check(edits);
}

static bool
changes_dscp(const struct vpci_abi_edit *e)
{
    return ((e->kind == VPCI_ABI_EDIT_IPV4 && e->mask[1] & IP_DSCP_MASK)
            || (e->kind == VPCI_ABI_EDIT_IPV6
                && (e->mask[0] & 0x0f || e->mask[1] & 0xc0)));
}

bool
vpci_edits_change_class(const struct vpci_edits *edits,
                        enum vpci_abi_class_by by)
{
    if (edits->n && edits->tags) {
        /* DSCP is not looked for behind any number of tags. */
        return by != VPCI_ABI_CLASS_NONE;
    }
    for (uint32_t i = 0; i < edits->n; i++) {
        if (by == VPCI_ABI_CLASS_DSCP && changes_dscp(&edits->edits[i])) {
            return true;
        }
    }
    return false;
}
