/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of what becomes of megaflows on the splice path: matches as keys
 * (lib/netdev-vpci-match.h), actions as programs (lib/netdev-vpci-actions.h).
 *
 * The judge is Open vSwitch itself: for the packets that vpci_key_parse()
 * takes, its key must be what Open vSwitch extracts from the same packet.
 *
 * usage: test-match [--list | NAME...] */

#include <config.h>

#include "netdev-vpci-actions.h"
#include "netdev-vpci-match.h"

#include <stdlib.h>

#include "csum.h"
#include "dp-packet.h"
#include "flow.h"
#include "netlink.h"
#include "odp-execute.h"
#include "odp-util.h"
#include "openvswitch/match.h"
#include "openvswitch/ofpbuf.h"
#include "packets.h"
#include "random.h"
#include "unit-test.h"
#include "vpci/key.h"
#include "vpci/steer.h"

enum { N_PACKETS = 500000, MAX_LEN = 200 };

static uint8_t
one_of(const uint8_t *values, size_t n)
{
    return values[random_range(n)];
}
#define ONE_OF(...) one_of((const uint8_t[]) { __VA_ARGS__ },            \
                           sizeof((const uint8_t[]) { __VA_ARGS__ }))

/* Random bytes, mostly with headers that fit together, here and there with one
 * byte changed, of a random length. */
static uint32_t
make_packet(uint8_t *p)
{
    uint32_t ofs = 12, len;

    random_bytes(p, MAX_LEN);
    for (int tags = random_range(4); tags > 0; tags--) {
        p[ofs] = ONE_OF(0x81, 0x88);
        p[ofs + 1] = p[ofs] == 0x81 ? 0x00 : 0xa8;
        ofs += 4;
    }
    len = ofs + 2 + random_range(MAX_LEN - ofs - 1);
    switch (random_range(4)) {
    case 0:
        p[ofs] = 0x08;
        p[ofs + 1] = 0x00;
        p[ofs + 2] = ONE_OF(0x45, 0x45, 0x45, 0x46, 0x4f, 0x44);
        p[ofs + 4] = 0;
        p[ofs + 5] = len > ofs + 2 ? len - ofs - 2 - ONE_OF(0, 0, 0, 5) : 0;
        p[ofs + 8] = ONE_OF(0, 0x40, 0x20, 0x01);
        p[ofs + 9] = ONE_OF(0, 0, 0, 1);
        p[ofs + 11] = ONE_OF(1, 2, 6, 6, 17, 17, 132, 47);
        break;
    case 1:
        p[ofs] = 0x86;
        p[ofs + 1] = 0xdd;
        p[ofs + 6] = 0;
        p[ofs + 7] = len > ofs + 42 ? len - ofs - 42 - ONE_OF(0, 0, 5) : 0;
        p[ofs + 8] = ONE_OF(6, 6, 17, 58, 132, 0, 43, 44, 51, 60, 59);
        break;
    case 2:
        p[ofs] = 0x08;
        p[ofs + 1] = 0x06;
        break;
    default:
        p[ofs] = ONE_OF(0x88, 0x05, 0x00, 0xff);
        break;
    }
    /* A TCP header length that is at times right. */
    p[ofs + 34] = ONE_OF(0x50, 0x60, 0x40, 0xf0);
    p[ofs + 54] = ONE_OF(0x50, 0x60, 0x40, 0xf0);
    if (!random_range(8)) {
        p[random_range(len)] ^= 1u << random_range(8);
    }
    return len;
}

/* What Open vSwitch sees, with a mask of all fields of steering keys. */
static void
extract(const uint8_t *data, uint32_t len, struct match *match)
{
    struct dp_packet packet;

    memset(match, 0, sizeof *match);
    dp_packet_use_const(&packet, data, len);
    flow_extract(&packet, &match->flow);

    struct flow *mask = &match->wc.masks;

    memset(&mask->in_port, 0xff, sizeof mask->in_port);
    mask->recirc_id = UINT32_MAX;
    mask->packet_type = OVS_BE32_MAX;
    mask->dl_type = OVS_BE16_MAX;
    memset(&mask->dl_src, 0xff, sizeof mask->dl_src);
    memset(&mask->dl_dst, 0xff, sizeof mask->dl_dst);
    memset(mask->vlans, 0xff, sizeof mask->vlans);
    if (match->flow.dl_type == htons(ETH_TYPE_IP)) {
        mask->nw_src = mask->nw_dst = OVS_BE32_MAX;
    } else if (match->flow.dl_type == htons(ETH_TYPE_IPV6)) {
        mask->ipv6_src = mask->ipv6_dst = in6addr_exact;
        mask->ipv6_label = htonl(IPV6_LABEL_MASK);
    } else {
        return;
    }
    mask->nw_proto = mask->nw_tos = mask->nw_ttl = UINT8_MAX;
    mask->nw_frag = FLOW_NW_FRAG_MASK;
    switch (match->flow.nw_proto) {
    case IPPROTO_TCP:
        mask->tcp_flags = htons(TCP_FLAGS(OVS_BE16_MAX));
        /* fall through */
    case IPPROTO_UDP: case IPPROTO_SCTP: case IPPROTO_ICMP:
    case IPPROTO_ICMPV6: case IPPROTO_IGMP:
        mask->tp_src = mask->tp_dst = OVS_BE16_MAX;
    }
}

/* One packet, as deep as 'depth' says.  Sets '*parsed'. */
static bool
check_packet(const uint8_t *data, uint32_t len, enum vpci_key_depth depth,
             bool *parsed)
{
    union vpci_key mask, wanted, key;
    struct match match;

    *parsed = vpci_key_parse(data, len, len, flow_vlan_limit, depth, &key);
    if (!*parsed) {
        return true;
    }
    extract(data, len, &match);
    CHECK(!vpci_match_to_key(&match, &mask, &wanted));
    if (depth < VPCI_DEPTH_L4) {
        mask.l4_src = mask.l4_dst = 0;
    }
    if (depth == VPCI_DEPTH_ETH) {
        mask.tcp_flags = 0;
        mask.kind &= ~FLOW_NW_FRAG_MASK;
    }
    if (depth < VPCI_DEPTH_IP) {
        mask.ip_proto = mask.ip_tos = mask.ip_ttl = 0;
        mask.ipv6_label = 0;
        memset(mask.ip_src, 0, sizeof mask.ip_src);
        memset(mask.ip_dst, 0, sizeof mask.ip_dst);
    }
    for (int i = 0; i < VPCI_KEY_WORDS; i++) {
        CHECK((key.words[i] & mask.words[i])
              == (wanted.words[i] & mask.words[i]));
        /* Nothing else is set either, if it is said what is. */
        CHECK(depth == VPCI_DEPTH_FRAG || !(key.words[i] & ~mask.words[i]));
    }
    return true;
}

/* A megaflow that the packet belongs to, which asks for little. */
static void
make_shallow(const uint8_t *data, uint32_t len, struct match *match)
{
    struct flow *mask = &match->wc.masks;

    extract(data, len, match);
    memset(mask, 0, sizeof *mask);
    mask->dl_type = OVS_BE16_MAX;
    if (random_range(2)) {
        memset(&mask->dl_dst, 0xff, sizeof mask->dl_dst);
        mask->dl_src.ea[5] = 0xff;
    }
    if (random_range(2)) {
        memset(mask->vlans, 0xff, sizeof mask->vlans);
    }
    if (is_ip_any(&match->flow)) {
        mask->nw_frag = FLOW_NW_FRAG_MASK;
    }
}

/* Makes an entry for one packet, and finds packets that differ in one byte
 * plain only if the entry is theirs as well. */
static bool
check_plain(uint8_t *data, uint32_t len, unsigned int *n_plain,
            unsigned int *n_tcp)
{
    struct vpci_steer *t = vpci_steer_create(1, 1);
    struct vpci_steer_reader *r = vpci_steer_reader_create(t, 0);
    struct vpci_steer_plain plain;
    union vpci_key mask, key;
    struct match match, other;
    uint32_t entry, found;
    uint64_t verdict;

    make_shallow(data, len, &match);
    CHECK(!vpci_match_to_key(&match, &mask, &key));
    CHECK(!vpci_steer_insert(t, &mask, &key, 7, &entry));
    vpci_steer_enter(r);
    CHECK(vpci_steer_depth(r) <= VPCI_DEPTH_FRAG);
    if (vpci_key_parse(data, len, len, flow_vlan_limit, vpci_steer_depth(r),
                       &key)) {
        vpci_steer_lookup(r, &key, 1, &found, &verdict);
        CHECK(found == entry);
        if (vpci_steer_get_plain(r, &plain)) {
            CHECK(plain.entry == entry && plain.verdict == 7);
            for (int i = 0; i < 16; i++) {
                bool is_plain = vpci_steer_is_plain(&plain, data);
                uint16_t tcp_flags = 0;
                bool is_tcp = vpci_steer_is_plain_tcp(
                    &plain, data, MIN(len, VPCI_STEER_TCP_HEADERS), len,
                    &tcp_flags);

                if (is_plain || is_tcp) {
                    extract(data, len, &other);
                    CHECK(flow_equal_except(&match.flow, &other.flow,
                                            &match.wc));
                    CHECK((OVS_FORCE uint16_t) other.flow.tcp_flags
                          == tcp_flags);
                    *n_plain += is_plain;
                    *n_tcp += is_tcp;
                }
                data[random_range(VPCI_STEER_PLAIN_HEADERS)] ^=
                    1u << random_range(8);
            }
        }
    }
    vpci_steer_leave(r);
    vpci_steer_reader_destroy(r);
    vpci_steer_destroy(t);
    return true;
}

static bool
test_plain_packets(void)
{
    uint8_t data[MAX_LEN];
    unsigned int n_plain = 0, n_tcp = 0;

    random_set_seed(1);
    for (int i = 0; i < N_PACKETS / 20; i++) {
        uint32_t len = make_packet(data);

        flow_limit_vlans(random_range(FLOW_MAX_VLAN_HEADERS + 1));
        if (len >= VPCI_STEER_PLAIN_HEADERS) {
            CHECK(check_plain(data, len, &n_plain, &n_tcp));
        }
    }
    CHECK(n_plain > N_PACKETS / 50);
    CHECK(n_tcp > N_PACKETS / 500);
    return true;
}

static bool
test_keys_agree(void)
{
    uint8_t data[MAX_LEN];
    unsigned int n_parsed = 0;

    random_set_seed(1);
    for (int i = 0; i < N_PACKETS; i++) {
        uint32_t len = make_packet(data);

        flow_limit_vlans(random_range(FLOW_MAX_VLAN_HEADERS + 1));
        for (int depth = VPCI_DEPTH_ETH; depth <= VPCI_DEPTH_L4; depth++) {
            bool parsed;

            CHECK(check_packet(data, len, depth, &parsed));
            n_parsed += parsed && depth == VPCI_DEPTH_L4;
        }
    }
    /* Most packets are what they should be. */
    CHECK(n_parsed > N_PACKETS / 4);
    return true;
}

/* What is not understood is refused, with its name. */
static bool
test_fields_are_refused(void)
{
    static const struct {
        size_t ofs;
        const char *name;
    } cases[] = {
        { offsetof(struct flow, mpls_lse), "mpls" },
        { offsetof(struct flow, nd_target), "nd_target" },
        { offsetof(struct flow, arp_sha), "arp_sha" },
        { offsetof(struct flow, nsh), "nsh" },
        { offsetof(struct flow, regs), "reg" },
        { offsetof(struct flow, metadata), "metadata" },
        { offsetof(struct flow, igmp_group_ip4), "igmp_group" },
        { offsetof(struct flow, actset_output), "an unknown field" },
    };
    union vpci_key mask, key;
    struct match match;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *name;

        memset(&match, 0, sizeof match);
        ((uint8_t *) &match.wc.masks)[cases[i].ofs] = 1;
        name = vpci_match_to_key(&match, &mask, &key);
        CHECK(name && !strcmp(name, cases[i].name));
    }

    /* What a packet never has is no obstacle unless it is asked for. */
    memset(&match, 0, sizeof match);
    match.wc.masks.ct_state = 1;
    CHECK(!vpci_match_to_key(&match, &mask, &key));
    match.flow.ct_state = 1;
    CHECK(!strcmp(vpci_match_to_key(&match, &mask, &key), "ct_state"));

    /* Fields of ARP have the members of IP. */
    memset(&match, 0, sizeof match);
    match.flow.dl_type = htons(ETH_TYPE_ARP);
    match.wc.masks.dl_type = OVS_BE16_MAX;
    CHECK(!vpci_match_to_key(&match, &mask, &key));
    match.wc.masks.nw_proto = UINT8_MAX;
    CHECK(!strcmp(vpci_match_to_key(&match, &mask, &key), "arp_op"));
    return true;
}

/* Parses 'text' and translates it. */
static const char *
translate(const char *text, struct vpci_program **program)
{
    struct ofpbuf actions;
    const char *name;

    ofpbuf_init(&actions, 64);
    if (odp_actions_from_string(text, NULL, &actions)) {
        fprintf(stderr, "%s: no actions\n", text);
        abort();
    }
    name = vpci_actions_to_program(actions.data, actions.size, program);
    ofpbuf_uninit(&actions);
    return name;
}

static bool
test_programs(void)
{
    struct vpci_program *program;

    CHECK(!translate("drop", &program) && !program->n_ops);
    vpci_program_destroy(program);
    CHECK(!translate("1,2", &program));
    CHECK(program->n_ops == 2 && !program->n_edits);
    CHECK(program->ops[1].kind == VPCI_OP_OUTPUT
          && program->ops[1].port == ODP_PORT_C(2));
    vpci_program_destroy(program);
    CHECK(!translate("1,pop_vlan,push_vlan(vid=5,pcp=0),2,set(udp(dst=5))",
                     &program));
    CHECK(program->n_ops == 3 && program->n_edits == 1
          && program->ops[1].kind == VPCI_OP_EDIT);
    CHECK(program->ops[2].port == ODP_PORT_C(2));
    vpci_program_destroy(program);
    return true;
}

static bool
test_actions_are_refused(void)
{
    static const struct {
        const char *actions, *name;
    } cases[] = {
        { "ct,recirc(1)", "ct" },
        { "1,recirc(1)", "recirc" },
        { "trunc(100),1", "trunc" },
        { "meter(1),2", "meter" },
        { "set(tunnel(tun_id=1,dst=1.1.1.1,ttl=64,flags())),1",
          "set(tunnel)" },
        { "set(sctp(src=1,dst=2)),1", "set(sctp)" },
        { "sample(sample=10.0%,actions(1))", "sample" },
        { "push_vlan(vid=1,pcp=0),push_vlan(vid=2,pcp=0),"
          "push_vlan(vid=3,pcp=0),1", "push_vlan" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct vpci_program *program;
        const char *name = translate(cases[i].actions, &program);

        CHECK(name && !strcmp(name, cases[i].name) && !program);
    }
    return true;
}

static bool
test_edits(void)
{
    struct vpci_program *program;
    struct dp_packet *packet = dp_packet_new_with_headroom(
        64, VPCI_PROGRAM_HEADROOM);
    struct dp_packet_batch batch;
    struct flow flow;

    odp_execute_init();
    memset(&flow, 0, sizeof flow);
    flow.dl_type = htons(ETH_TYPE_IP);
    flow.nw_proto = IPPROTO_UDP;
    flow.nw_ttl = 64;
    flow_compose(packet, &flow, NULL, 0);
    flow_extract(packet, &flow);
    CHECK(!translate("set(ipv4(ttl=63)),push_vlan(vid=5,pcp=0),1", &program));
    dp_packet_batch_init_packet(&batch, packet);
    vpci_program_edit(&program->ops[0], &batch);
    flow_extract(packet, &flow);
    CHECK(flow.nw_ttl == 63 && vlan_tci_to_vid(flow.vlans[0].tci) == 5);
    CHECK(!csum(dp_packet_l3(packet), IP_HEADER_LEN));
    vpci_program_destroy(program);
    dp_packet_delete(packet);
    return true;
}

static const struct unit_test tests[] = {
    { "keys-agree", test_keys_agree },
    { "plain-packets", test_plain_packets },
    { "fields-are-refused", test_fields_are_refused },
    { "programs", test_programs },
    { "actions-are-refused", test_actions_are_refused },
    { "edits", test_edits },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, ARRAY_SIZE(tests));
}
