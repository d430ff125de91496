/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of steering keys (vpci/key.h).
 *
 * usage: test-key [--list | NAME...] */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "vpci/key.h"
#include "unit-test.h"

struct packet {
    uint8_t data[2048];
    uint32_t len;
};

static void
put(struct packet *p, const void *data, uint32_t n)
{
    memcpy(p->data + p->len, data, n);
    p->len += n;
}

static void
put_16(struct packet *p, uint16_t v)
{
    v = htons(v);
    put(p, &v, sizeof v);
}

static void
put_zeros(struct packet *p, uint32_t n)
{
    memset(p->data + p->len, 0, n);
    p->len += n;
}

/* Addresses; a type has to follow. */
static void
put_macs(struct packet *p)
{
    put(p, "\2\0\0\0\0\1" "\2\0\0\0\0\2", 12);
}

/* An IPv4 header with a payload of 'n' bytes that have to follow. */
static void
put_ipv4(struct packet *p, uint8_t proto, uint16_t frag, uint16_t n)
{
    put(p, "\x45\x2e", 2);
    put_16(p, 20 + n);
    put_16(p, 0);
    put_16(p, frag);
    put(p, (uint8_t[]) { 63, proto, 0, 0 }, 4);
    put(p, "\x0a\0\0\1" "\x0a\0\0\2", 8);
}

static void
put_ipv6(struct packet *p, uint8_t next, uint16_t n)
{
    put(p, "\x6b\x8a\xbc\xde", 4);
    put_16(p, n);
    put(p, (uint8_t[]) { next, 61 }, 2);
    put(p, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
    put(p, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16);
}

static void
put_udp(struct packet *p, uint16_t payload)
{
    put_16(p, 1000);
    put_16(p, 2000);
    put_16(p, 8 + payload);
    put_16(p, 0);
    put_zeros(p, payload);
}

static void
put_tcp(struct packet *p, uint8_t words, uint8_t flags)
{
    put_16(p, 80);
    put_16(p, 81);
    put_zeros(p, 8);
    put(p, (uint8_t[]) { words << 4 | 1, flags }, 2);
    put_zeros(p, words * 4 - 14);
}

static bool
parse(const struct packet *p, enum vpci_key_depth depth, union vpci_key *key)
{
    return vpci_key_parse(p->data, p->len, p->len, 2, depth, key);
}

static struct packet
udp4(void)
{
    struct packet p = { .len = 0 };

    put_macs(&p);
    put_16(&p, 0x0800);
    put_ipv4(&p, IPPROTO_UDP, 0, 8 + 18);
    put_udp(&p, 18);
    return p;
}

static bool
test_ipv4(void)
{
    struct packet p = udp4();
    union vpci_key key;

    CHECK(parse(&p, VPCI_DEPTH_L4, &key));
    CHECK(!memcmp(key.eth_dst, "\2\0\0\0\0\1", 6));
    CHECK(!memcmp(key.eth_src, "\2\0\0\0\0\2", 6));
    CHECK(key.eth_type == htons(0x0800) && !key.vlan_tci[0] && !key.kind);
    CHECK(key.ip_proto == IPPROTO_UDP && key.ip_tos == 0x2e
          && key.ip_ttl == 63 && !key.ipv6_label);
    CHECK(!memcmp(key.ip_src, "\x0a\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0", 16));
    CHECK(!memcmp(key.ip_dst, "\x0a\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0", 16));
    CHECK(key.l4_src == htons(1000) && key.l4_dst == htons(2000));
    CHECK(!key.tcp_flags);

    /* Not deeper than asked. */
    CHECK(parse(&p, VPCI_DEPTH_IP, &key));
    CHECK(key.ip_proto == IPPROTO_UDP && !key.l4_src);
    CHECK(parse(&p, VPCI_DEPTH_ETH, &key));
    CHECK(key.eth_type == htons(0x0800) && !key.ip_proto);
    return true;
}

static bool
test_ipv6(void)
{
    struct packet p = { .len = 0 };
    union vpci_key key;

    put_macs(&p);
    put_16(&p, 0x86dd);
    put_ipv6(&p, IPPROTO_TCP, 24);
    put_tcp(&p, 6, 0x12);
    CHECK(parse(&p, VPCI_DEPTH_L4, &key));
    CHECK(key.ip_tos == 0xb8 && key.ip_ttl == 61
          && key.ipv6_label == htonl(0xabcde));
    CHECK(key.ip_src[15] == 1 && key.ip_dst[15] == 2);
    CHECK(key.l4_src == htons(80) && key.l4_dst == htons(81));
    CHECK(key.tcp_flags == htons(0x112));

    /* Extension headers are for somebody else. */
    p.data[20] = IPPROTO_FRAGMENT;
    CHECK(!parse(&p, VPCI_DEPTH_IP, &key));
    CHECK(parse(&p, VPCI_DEPTH_ETH, &key));
    return true;
}

static bool
test_vlans(void)
{
    struct packet p = { .len = 0 };
    union vpci_key key;

    put_macs(&p);
    put_16(&p, 0x88a8);
    put_16(&p, 0x2064);
    put_16(&p, 0x8100);
    put_16(&p, 0x0065);
    put_16(&p, 0x8100);
    put_16(&p, 0x0066);
    put_16(&p, 0x0806);
    put_zeros(&p, 46);
    CHECK(vpci_key_parse(p.data, p.len, p.len, 2, VPCI_DEPTH_ETH, &key));
    CHECK(key.vlan_tci[0] == htons(0x3064));
    CHECK(key.vlan_tci[1] == htons(0x1065));
    CHECK(key.eth_type == htons(0x8100));
    CHECK(key.kind == (VPCI_TPID_88A8 * VPCI_KEY_TPID(0)
                       | VPCI_TPID_8100 * VPCI_KEY_TPID(1)));
    CHECK(vpci_key_parse(p.data, p.len, p.len, 1, VPCI_DEPTH_ETH, &key));
    CHECK(!key.vlan_tci[1] && key.eth_type == htons(0x8100));
    CHECK(vpci_key_parse(p.data, p.len, p.len, 0, VPCI_DEPTH_ETH, &key));
    CHECK(!key.vlan_tci[0] && key.eth_type == htons(0x88a8) && !key.kind);
    return true;
}

static bool
test_fragments(void)
{
    static const struct {
        uint16_t frag;
        uint8_t kind;
        uint16_t port;
    } cases[] = {
        { 0x4000, 0, 1000 },
        { 0x2000, VPCI_KEY_FRAG_ANY, 1000 },
        { 0x2001, VPCI_KEY_FRAG_ANY | VPCI_KEY_FRAG_LATER, 0 },
        { 0x0001, VPCI_KEY_FRAG_ANY | VPCI_KEY_FRAG_LATER, 0 },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct packet p = { .len = 0 };
        union vpci_key key;

        put_macs(&p);
        put_16(&p, 0x0800);
        put_ipv4(&p, IPPROTO_UDP, cases[i].frag, 26);
        put_udp(&p, 18);
        CHECK(parse(&p, VPCI_DEPTH_L4, &key));
        CHECK(key.kind == cases[i].kind);
        CHECK(key.l4_src == htons(cases[i].port));
    }
    return true;
}

static bool
test_icmp(void)
{
    struct packet p = { .len = 0 };
    union vpci_key key;

    put_macs(&p);
    put_16(&p, 0x0800);
    put_ipv4(&p, IPPROTO_ICMP, 0, 8);
    put(&p, "\x08\x03\0\0\0\0\0\0", 8);
    CHECK(parse(&p, VPCI_DEPTH_L4, &key));
    CHECK(key.l4_src == htons(8) && key.l4_dst == htons(3));
    return true;
}

/* No prefix of a packet is taken for what it is not, nor read beyond. */
static bool
test_truncated(void)
{
    struct packet p = udp4();

    for (uint32_t n = 0; n < p.len; n++) {
        struct packet cut = p;
        union vpci_key key;
        bool ok;

        cut.len = n;
        ok = parse(&cut, VPCI_DEPTH_L4, &key);
        CHECK(!ok);
        CHECK(parse(&cut, VPCI_DEPTH_ETH, &key) == (n >= 14));
    }
    return true;
}

static bool
test_contradictions(void)
{
    struct packet good = udp4(), p;
    union vpci_key key;

    p = good;
    p.data[14] = 0x44;                  /* Header shorter than one. */
    CHECK(!parse(&p, VPCI_DEPTH_IP, &key));
    p = good;
    p.data[14] = 0x4f;                  /* Header longer than the packet. */
    CHECK(!parse(&p, VPCI_DEPTH_IP, &key));
    p = good;
    p.data[17] = 200;                   /* Longer than the frame. */
    CHECK(!parse(&p, VPCI_DEPTH_IP, &key));
    p = good;
    p.data[17] = 10;                    /* Shorter than its header. */
    CHECK(!parse(&p, VPCI_DEPTH_IP, &key));
    p = good;
    p.data[17] = 24;                    /* The UDP header is padding. */
    CHECK(parse(&p, VPCI_DEPTH_IP, &key));
    CHECK(!parse(&p, VPCI_DEPTH_L4, &key));
    p = good;
    p.data[12] = 0x05;                  /* LLC. */
    CHECK(!parse(&p, VPCI_DEPTH_ETH, &key));
    return true;
}

static bool
test_depth_of_masks(void)
{
    union vpci_key mask = { .eth_type = 0xffff };

    memset(mask.eth_dst, 0xff, 6);
    memset(mask.eth_src, 0xff, 6);
    mask.vlan_tci[1] = 0xffff;
    mask.kind = VPCI_KEY_TPID_MASK * VPCI_KEY_TPID(1);
    CHECK(vpci_key_mask_depth(&mask) == VPCI_DEPTH_ETH);
    mask.kind |= VPCI_KEY_FRAG_LATER;
    CHECK(vpci_key_mask_depth(&mask) == VPCI_DEPTH_FRAG);
    mask.ip_dst[15] = 1;
    CHECK(vpci_key_mask_depth(&mask) == VPCI_DEPTH_IP);
    mask.kind = 0;
    CHECK(vpci_key_mask_depth(&mask) == VPCI_DEPTH_IP);
    mask.tcp_flags = htons(1);
    CHECK(vpci_key_mask_depth(&mask) == VPCI_DEPTH_L4);
    return true;
}

static const struct unit_test tests[] = {
    { "ipv4", test_ipv4 },
    { "ipv6", test_ipv6 },
    { "vlans", test_vlans },
    { "fragments", test_fragments },
    { "icmp", test_icmp },
    { "truncated", test_truncated },
    { "contradictions", test_contradictions },
    { "depth-of-masks", test_depth_of_masks },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
