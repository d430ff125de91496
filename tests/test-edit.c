/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of edits of packets on links (lib/vpci/edit.h), and of what becomes of
 * the actions of megaflows there (lib/netdev-vpci-link-edit.h).
 *
 * The judge is Open vSwitch itself: packets that vpci_edits_apply() takes must
 * have the bytes that Open vSwitch makes by the same actions.
 *
 * usage: test-edit [--list | NAME...] */

#include <config.h>

#include "netdev-vpci-link-edit.h"

#include <stdlib.h>

#include "dp-packet.h"
#include "flow.h"
#include "netdev-vpci-actions.h"
#include "netdev-vpci-match.h"
#include "netlink.h"
#include "odp-execute.h"
#include "odp-util.h"
#include "openvswitch/match.h"
#include "openvswitch/ofpbuf.h"
#include "packets.h"
#include "random.h"
#include "unit-test.h"
#include "vpci/edit.h"
#include "vpci/key.h"

enum { N_PACKETS = 200000, MAX_LEN = 220 };

static uint8_t
one_of(const uint8_t *values, size_t n)
{
    return values[random_range(n)];
}
#define ONE_OF(...) one_of((const uint8_t[]) { __VA_ARGS__ },            \
                           sizeof((const uint8_t[]) { __VA_ARGS__ }))

static void
put_16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
}

/* Packets. */

/* Random bytes of one value or two: sums that have two forms are frequent. */
static void
fill(uint8_t *p, size_t n)
{
    uint8_t some = ONE_OF(0, 0xff, 0x80);

    random_bytes(p, n);
    for (size_t i = 0; i < n && random_range(3); i++) {
        p[i] = some;
    }
}

/* An IP header for 'n' bytes with options, or as a fragment, here and there.
 * Returns where what is behind it begins. */
static uint32_t
make_ipv4(uint8_t *ip, uint32_t n)
{
    uint32_t header = ONE_OF(20, 20, 20, 24, 60);

    ip[0] = 0x40 | header / 4;
    put_16(ip + 2, n - ONE_OF(0, 0, 5));
    put_16(ip + 6, ONE_OF(0, 0, 0, 0x40, 0x20, 1) << 8 | ONE_OF(0, 0, 0, 9));
    ip[9] = ONE_OF(1, 2, 6, 6, 17, 17, 132, 47);
    return header;
}

static uint32_t
make_ipv6(uint8_t *ip, uint32_t n)
{
    ip[0] = 0x60 | (ip[0] & 0xf);
    put_16(ip + 4, n - 40 - (n > 45 ? ONE_OF(0, 0, 5) : 0));
    ip[6] = ONE_OF(6, 6, 17, 17, 58, 58, 132, 0, 43, 44, 51, 60, 59);
    return 40;
}

/* A packet with headers that fit together, mostly, of a random length. */
static uint32_t
make_packet(uint8_t *p)
{
    uint32_t ofs = 12, len, l4;

    fill(p, MAX_LEN);
    for (int tags = ONE_OF(0, 0, 0, 1, 1, 2, 3); tags > 0; tags--) {
        put_16(p + ofs, random_range(2) ? ETH_TYPE_VLAN_8021Q
               : ETH_TYPE_VLAN_8021AD);
        ofs += 4;
    }
    len = random_range(4) ? 140 + random_range(MAX_LEN - 139)
          : ofs + 2 + random_range(MAX_LEN - ofs - 1);
    if (!random_range(8)) {
        put_16(p + ofs, random_range(2) ? ETH_TYPE_ARP : random_range(65536));
    } else if (random_range(2)) {
        put_16(p + ofs, ETH_TYPE_IP);
        l4 = ofs + 2 + make_ipv4(p + ofs + 2, len - ofs - 2);
        p[l4 + 12] = ONE_OF(0x50, 0x60, 0x80, 0xf0, 0x40);
    } else {
        put_16(p + ofs, ETH_TYPE_IPV6);
        l4 = ofs + 2 + make_ipv6(p + ofs + 2, len - ofs - 2);
        p[l4 + 12] = ONE_OF(0x50, 0x60, 0x80, 0xf0, 0x40);
    }
    if (!random_range(8)) {
        p[random_range(len)] ^= 1u << random_range(8);
    }
    return len;
}

/* Actions. */

/* Adds a set action of 'size' bytes, with a random value and mask.  Open
 * vSwitch knows no masks of ICMP. */
static void
put_set(struct ofpbuf *actions, enum ovs_key_attr type, size_t size)
{
    uint8_t bytes[2 * 64];
    bool masked = (random_range(4) && type != OVS_KEY_ATTR_ICMP
                   && type != OVS_KEY_ATTR_ICMPV6);

    ovs_assert(size <= 64);
    random_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < size; i++) {
        uint8_t *mask = &bytes[size + i];

        *mask = ONE_OF(0, 0, 0xff, 0xff, *mask);
        bytes[i] = ONE_OF(0, 0xff, bytes[i]) & (masked ? *mask : 0xff);
    }
    if (type == OVS_KEY_ATTR_IPV6) {
        /* 20 bits. */
        bytes[offsetof(struct ovs_key_ipv6, ipv6_label)] = 0;
        bytes[offsetof(struct ovs_key_ipv6, ipv6_label) + 1] &= 0x0f;
        bytes[size + offsetof(struct ovs_key_ipv6, ipv6_label)] = 0;
        bytes[size + offsetof(struct ovs_key_ipv6, ipv6_label) + 1] &= 0x0f;
    }

    size_t set = nl_msg_start_nested(actions, masked
                                     ? OVS_ACTION_ATTR_SET_MASKED
                                     : OVS_ACTION_ATTR_SET);

    nl_msg_put_unspec(actions, type, bytes, masked ? 2 * size : size);
    nl_msg_end_nested(actions, set);
}

static void
put_push(struct ofpbuf *actions)
{
    struct ovs_action_push_vlan vlan = {
        .vlan_tpid = htons(random_range(2) ? ETH_TYPE_VLAN_8021Q
                           : ETH_TYPE_VLAN_8021AD),
        .vlan_tci = htons(random_range(65536)),
    };

    nl_msg_put_unspec(actions, OVS_ACTION_ATTR_PUSH_VLAN, &vlan, sizeof vlan);
}

/* Adds an action that packets like 'flow' can be subject to. */
static void
put_action(struct ofpbuf *actions, const struct flow *flow)
{
    bool ip = flow->dl_type == htons(ETH_TYPE_IP);

    switch (random_range(7)) {
    case 0:
        put_set(actions, OVS_KEY_ATTR_ETHERNET,
                sizeof(struct ovs_key_ethernet));
        break;
    case 1:
        put_push(actions);
        break;
    case 2:
        nl_msg_put_flag(actions, OVS_ACTION_ATTR_POP_VLAN);
        break;
    case 3:
    case 4:
        if (is_ip_any(flow)) {
            put_set(actions, ip ? OVS_KEY_ATTR_IPV4 : OVS_KEY_ATTR_IPV6,
                    ip ? sizeof(struct ovs_key_ipv4)
                    : sizeof(struct ovs_key_ipv6));
        }
        break;
    default:
        if (flow->nw_proto == IPPROTO_TCP) {
            put_set(actions, OVS_KEY_ATTR_TCP, sizeof(struct ovs_key_tcp));
        } else if (flow->nw_proto == IPPROTO_UDP) {
            put_set(actions, OVS_KEY_ATTR_UDP, sizeof(struct ovs_key_udp));
        } else if (is_icmpv4(flow, NULL)) {
            put_set(actions, OVS_KEY_ATTR_ICMP, sizeof(struct ovs_key_icmp));
        } else if (is_icmpv6(flow, NULL)) {
            put_set(actions, OVS_KEY_ATTR_ICMPV6,
                    sizeof(struct ovs_key_icmpv6));
        }
        break;
    }
}

/* Makes the program of random actions, and an output, for packets like
 * 'flow'.  Returns null if it would not be spliced. */
static struct vpci_program *
make_program(const struct flow *flow)
{
    struct vpci_program *program;
    struct ofpbuf actions;

    ofpbuf_init(&actions, 512);
    for (int i = random_range(5); i >= 0; i--) {
        put_action(&actions, flow);
    }
    nl_msg_put_odp_port(&actions, OVS_ACTION_ATTR_OUTPUT, ODP_PORT_C(1));
    vpci_actions_to_program(actions.data, actions.size, &program);
    ofpbuf_uninit(&actions);
    return program;
}

/* Fills in mask and key of a megaflow of packets like 'flow', as a translation
 * of OpenFlow actions would have it. */
static bool
make_key(const struct flow *flow, union vpci_key *mask, union vpci_key *key)
{
    struct match match;

    memset(&match, 0, sizeof match);
    match.flow = *flow;
    match.wc.masks.dl_type = OVS_BE16_MAX;
    memset(match.wc.masks.vlans, 0xff, sizeof match.wc.masks.vlans);
    if (is_ip_any(flow)) {
        match.wc.masks.nw_frag = FLOW_NW_FRAG_MASK;
        match.wc.masks.nw_proto = UINT8_MAX;
    }
    return !vpci_match_to_key(&match, mask, key);
}

/* Compares what becomes of the 'len' bytes at 'data', by 'edits' and by
 * 'program'.  Sets '*done' if the library takes the packet. */
static bool
compare(const struct vpci_edits *edits, const struct vpci_program *program,
        const uint8_t *data, uint32_t len, bool *done)
{
    struct dp_packet *packet = dp_packet_clone_data_with_headroom(
        data, len, VPCI_PROGRAM_HEADROOM);
    uint32_t new_len = len + edits->growth;
    uint8_t *p = malloc(MAX(len, new_len));
    struct dp_packet_batch batch;
    struct flow flow;

    CHECK(p);
    memcpy(p, data, len);
    *done = vpci_edits_apply(edits, flow_vlan_limit, p, len);
    if (*done) {
        flow_extract(packet, &flow);
        dp_packet_batch_init_packet(&batch, packet);
        vpci_program_edit(&program->ops[0], &batch);
        CHECK(dp_packet_size(packet) == new_len);
        CHECK(!memcmp(p, dp_packet_data(packet), new_len));
    }
    free(p);
    dp_packet_delete(packet);
    return true;
}

/* Numbers of packets. */
struct tally {
    unsigned int told;          /* With actions that a guest can be told. */
    unsigned int keyed;         /* Of these, with a key. */
    unsigned int done;
    unsigned int changed;       /* Into something else. */
    unsigned int longer;
    unsigned int shorter;
    unsigned int protos[256];
};

/* One packet, and one program for packets like it. */
static bool
check_packet(const uint8_t *data, uint32_t len, struct tally *t)
{
    struct dp_packet packet;
    struct vpci_program *program;
    union vpci_key mask, key;
    struct vpci_edits edits;
    struct flow flow;
    bool done;

    dp_packet_use_const(&packet, data, len);
    flow_extract(&packet, &flow);
    program = make_program(&flow);
    if (program && program->n_edits && make_key(&flow, &mask, &key)
        && vpci_program_get_edits(program, &mask, &key, &edits)) {
        bool keyed = vpci_key_parse(data, len, len, flow_vlan_limit,
                                    VPCI_DEPTH_L4, &key);

        CHECK(compare(&edits, program, data, len, &done));
        /* What the sender lets through, the receiver takes. */
        CHECK(done == keyed);
        t->told++;
        t->keyed += keyed;
        t->done += done;
        t->longer += done && edits.growth > 0;
        t->shorter += done && edits.growth < 0;
        t->protos[done ? flow.nw_proto : 0]++;
    }
    vpci_program_destroy(program);
    return true;
}

/* Packets of all kinds. */
static bool
run_as_open_vswitch(void)
{
    struct tally t = { .told = 0 };
    uint8_t data[MAX_LEN + 8];

    odp_execute_init();
    random_set_seed(1);
    for (int i = 0; i < N_PACKETS; i++) {
        uint32_t len = make_packet(data);

        flow_limit_vlans(random_range(FLOW_MAX_VLAN_HEADERS + 1));
        CHECK(check_packet(data, len, &t));
    }
    flow_limit_vlans(FLOW_MAX_VLAN_HEADERS);
    CHECK(t.told > N_PACKETS / 3 && t.done > t.told / 2);
    CHECK(t.done < t.told);
    CHECK(t.longer > N_PACKETS / 50 && t.shorter > N_PACKETS / 50);
    CHECK(t.protos[IPPROTO_TCP] > N_PACKETS / 50);
    CHECK(t.protos[IPPROTO_UDP] > N_PACKETS / 50);
    CHECK(t.protos[IPPROTO_ICMP] > N_PACKETS / 100);
    CHECK(t.protos[IPPROTO_ICMPV6] > N_PACKETS / 100);
    return true;
}

/* Parses 'text' and translates it, for packets like 'flow'. */
static bool
translate(const char *text, const struct flow *flow, struct vpci_edits *edits)
{
    struct vpci_program *program;
    union vpci_key mask, key;
    struct ofpbuf actions;
    bool ok;

    ofpbuf_init(&actions, 64);
    ok = (!odp_actions_from_string(text, NULL, &actions)
          && !vpci_actions_to_program(actions.data, actions.size, &program));
    ofpbuf_uninit(&actions);
    if (!ok || !make_key(flow, &mask, &key)) {
        fprintf(stderr, "%s: no program\n", text);
        abort();
    }
    ok = vpci_program_get_edits(program, &mask, &key, edits);
    vpci_program_destroy(program);
    return ok;
}

/* What not all packets of the megaflow have is not changed by guests. */
static bool
run_what_is_told(void)
{
    struct flow flow = { .dl_type = htons(ETH_TYPE_IP), .nw_ttl = 64,
                         .nw_proto = IPPROTO_UDP };
    struct vpci_edits edits;

    CHECK(translate("1", &flow, &edits) && !edits.n && !edits.growth);
    CHECK(translate("set(ipv4(ttl=63)),set(udp(dst=7)),1", &flow, &edits));
    CHECK(edits.n == 2 && !edits.growth && !edits.tags);
    CHECK(translate("push_vlan(vid=5,pcp=0),1", &flow, &edits));
    CHECK(edits.n == 1 && edits.growth == 4 && edits.tags);
    CHECK(!translate("pop_vlan,1", &flow, &edits));
    CHECK(translate("push_vlan(vid=5,pcp=0),pop_vlan,1", &flow, &edits));
    CHECK(!translate("set(ipv6(hlimit=63)),1", &flow, &edits));
    CHECK(!translate("set(tcp(dst=7)),1", &flow, &edits));
    CHECK(!translate("set(icmp(type=7)),1", &flow, &edits));
    flow.vlans[0].tpid = htons(ETH_TYPE_VLAN_8021Q);
    flow.vlans[0].tci = htons(VLAN_CFI | 5);
    CHECK(translate("pop_vlan,1", &flow, &edits) && edits.growth == -4);
    CHECK(!translate("pop_vlan,pop_vlan,1", &flow, &edits));
    CHECK(translate("pop_vlan,push_vlan(vid=5,pcp=0),1", &flow, &edits));
    CHECK(!edits.growth && edits.tags);

    /* More than there is room for. */
    CHECK(!translate("set(eth(dst=02:00:00:00:00:01)),set(ipv4(ttl=1)),"
                     "set(ipv4(ttl=2)),set(ipv4(ttl=3)),set(ipv4(ttl=4)),"
                     "set(ipv4(ttl=5)),set(ipv4(ttl=6)),set(ipv4(ttl=7)),"
                     "set(ipv4(ttl=8)),1", &flow, &edits));
    return true;
}

/* Which edits matter for classes of priority. */
static bool
run_classes(void)
{
    struct flow flow = { .dl_type = htons(ETH_TYPE_IP) };
    struct flow flow6 = { .dl_type = htons(ETH_TYPE_IPV6) };
    struct vpci_edits edits;

    CHECK(translate("set(ipv4(tos=4/0xfc)),1", &flow, &edits));
    CHECK(vpci_edits_change_class(&edits, VPCI_ABI_CLASS_DSCP));
    CHECK(!vpci_edits_change_class(&edits, VPCI_ABI_CLASS_PCP));
    CHECK(!vpci_edits_change_class(&edits, VPCI_ABI_CLASS_NONE));
    CHECK(translate("set(ipv4(tos=1/0x3,ttl=6)),1", &flow, &edits));
    CHECK(!vpci_edits_change_class(&edits, VPCI_ABI_CLASS_DSCP));
    CHECK(translate("set(ipv6(tclass=4/0xfc)),1", &flow6, &edits));
    CHECK(vpci_edits_change_class(&edits, VPCI_ABI_CLASS_DSCP));
    CHECK(translate("set(ipv6(tclass=3/0x3,label=5)),1", &flow6, &edits));
    CHECK(!vpci_edits_change_class(&edits, VPCI_ABI_CLASS_DSCP));
    CHECK(translate("push_vlan(vid=5,pcp=0),1", &flow, &edits));
    CHECK(vpci_edits_change_class(&edits, VPCI_ABI_CLASS_PCP));
    CHECK(!vpci_edits_change_class(&edits, VPCI_ABI_CLASS_NONE));
    CHECK(translate("1", &flow, &edits));
    CHECK(!vpci_edits_change_class(&edits, VPCI_ABI_CLASS_PCP));
    return true;
}

/* Tags that a packet does not have, or not all of, are not popped. */
static bool
run_without_tag(void)
{
    struct vpci_edits edits = { .n = 1 };
    uint8_t data[18];

    edits.edits[0].kind = VPCI_ABI_EDIT_POP;
    CHECK(vpci_edits_check(&edits) && edits.growth == -4);
    memset(data, 0, sizeof data);
    put_16(data + 12, ETH_TYPE_VLAN_8021Q);
    for (uint32_t len = 0; len < sizeof data; len++) {
        CHECK(!vpci_edits_apply(&edits, 0, data, len));
        CHECK(!vpci_edits_apply(&edits, 2, data, len));
    }
    CHECK(vpci_edits_apply(&edits, 0, data, sizeof data));
    put_16(data + 12, ETH_TYPE_ARP);
    CHECK(!vpci_edits_apply(&edits, 2, data, sizeof data));
    return true;
}

/* Records. */

/* 'said' makes sense, or not, with byte 'ofs' changed to 'value'. */
static bool
reads(struct vpci_abi_edits said, size_t ofs, uint8_t value)
{
    struct vpci_edits edits;

    ((uint8_t *) &said)[ofs] = value;
    return vpci_edits_read(&edits, &said);
}
#define READS(FIELD, VALUE)                                             \
    reads(said, offsetof(struct vpci_abi_edits, FIELD), VALUE)

/* What makes no sense is refused. */
static bool
run_records(void)
{
    struct flow flow = { .dl_type = htons(ETH_TYPE_IP),
                         .nw_proto = IPPROTO_TCP };
    struct vpci_abi_edits said;
    struct vpci_edits edits, read;

    CHECK(translate("push_vlan(vid=5,pcp=0),set(ipv4(ttl=63)),"
                    "set(tcp(dst=7)),1", &flow, &edits));
    memset(&said, 0xff, sizeof said);
    vpci_edits_write(&edits, &said);
    CHECK(vpci_edits_read(&read, &said));
    CHECK(read.n == 3 && read.growth == 4 && read.tags);
    CHECK(!memcmp(read.edits, edits.edits, sizeof edits.edits));
    CHECK(READS(n, 3) && !READS(n, 0) && !READS(n, 2) && !READS(n, 4));
    CHECK(!READS(n, 9) && !READS(n, 255) && !READS(reserved[59], 1));
    for (int i = 0; i < 256; i++) {
        /* Others that can have something in the same place. */
        CHECK(READS(edits[0].kind, i) == (i == VPCI_ABI_EDIT_PUSH));
        CHECK(READS(edits[1].kind, i) == (i == VPCI_ABI_EDIT_ETH
                                          || i == VPCI_ABI_EDIT_IPV4
                                          || i == VPCI_ABI_EDIT_IPV6));
    }
    CHECK(!READS(edits[0].reserved[6], 1) && !READS(edits[0].value[0], 0x82));
    CHECK(!READS(edits[0].value[2], 0x10) && READS(edits[0].value[2], 0x20));
    CHECK(!READS(edits[0].value[4], 1) && !READS(edits[0].mask[3], 1));
    CHECK(!READS(edits[1].mask[8], 0xf0) && !READS(edits[1].mask[9], 1));
    CHECK(READS(edits[1].mask[1], 1) && !READS(edits[1].value[1], 1));
    CHECK(!READS(edits[2].mask[4], 1) && !READS(edits[3].kind, 1));

    /* Tags for which there is no room. */
    edits.n = 3;
    edits.edits[1] = edits.edits[2] = edits.edits[0];
    vpci_edits_write(&edits, &said);
    CHECK(!vpci_edits_read(&read, &said) && !vpci_edits_check(&edits));
    return true;
}

static const struct unit_test tests[] = {
    { "as-open-vswitch", run_as_open_vswitch },
    { "what-is-told", run_what_is_told },
    { "classes", run_classes },
    { "without-tag", run_without_tag },
    { "records", run_records },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, ARRAY_SIZE(tests));
}
