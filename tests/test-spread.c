/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of flows over queues (vpci/spread.h).
 *
 * usage: test-spread [--list | NAME...] */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vpci/spread.h"
#include "unit-test.h"

#define PACKET_LEN 128
#define TCP 6
#define UDP 17
#define SCTP 132
#define ICMP 1

/* A packet, and what it is made of. */
struct packet {
    uint8_t data[PACKET_LEN];
    unsigned int n_vlans;
    unsigned int ip_options;    /* Words. */
    bool ipv6;
    uint8_t proto;
    uint16_t fragment;          /* IPv4: flags and offset. */
    uint8_t src, dst;           /* Of addresses, the last byte. */
    uint16_t src_port, dst_port;
};

static uint8_t *
put_be16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
    return p + 2;
}

static uint8_t *
put_ipv4(uint8_t *p, const struct packet *k)
{
    unsigned int header = 20 + k->ip_options * 4;

    p[0] = 0x40 | header / 4;
    put_be16(p + 2, 100);
    put_be16(p + 6, k->fragment);
    p[8] = 64;
    p[9] = k->proto;
    memcpy(p + 12, (uint8_t[]) { 10, 0, 0, k->src, 10, 0, 0, k->dst }, 8);
    memset(p + 20, 1, header - 20);
    return p + header;
}

static uint8_t *
put_ipv6(uint8_t *p, const struct packet *k)
{
    p[0] = 0x60;
    put_be16(p + 4, 60);
    p[6] = k->proto;
    p[7] = 64;
    p[8] = p[24] = 0xfd;
    p[23] = k->src;
    p[39] = k->dst;
    return p + 40;
}

/* Fills in the bytes of 'k'.  Returns its hash, by its first 'n' bytes. */
static uint32_t
hash_of(struct packet *k, uint32_t n)
{
    uint8_t *p = k->data;

    memset(k->data, 0xa5, sizeof k->data);
    memcpy(p, (uint8_t[]) { 2, 0, 0, 0, 0, k->dst, 2, 0, 0, 0, 0, k->src },
           12);
    p += 12;
    for (unsigned int i = 0; i < k->n_vlans; i++) {
        p = put_be16(p, i ? 0x8100 : 0x88a8);
        p = put_be16(p, 100 + i);
    }
    p = put_be16(p, k->ipv6 ? 0x86dd : 0x0800);
    p = k->ipv6 ? put_ipv6(p, k) : put_ipv4(p, k);
    p = put_be16(p, k->src_port);
    put_be16(p, k->dst_port);
    return vpci_flow_hash(k->data, n);
}

static uint32_t
hash(struct packet k)
{
    return hash_of(&k, PACKET_LEN);
}

static struct packet
answer_to(struct packet k)
{
    struct packet answer = k;

    answer.src = k.dst;
    answer.dst = k.src;
    answer.src_port = k.dst_port;
    answer.dst_port = k.src_port;
    return answer;
}

/* What packets can be like. */
static struct packet
kind(int i)
{
    static const uint8_t protos[] = { TCP, UDP, SCTP, ICMP };
    struct packet k = {
        .ipv6 = i & 1,
        .n_vlans = (i >> 1) % 3,
        .ip_options = i % 5 == 4 ? 2 : 0,
        .proto = protos[(i >> 3) % 4],
        .src = 1,
        .dst = 2,
        .src_port = 0x1234,
        .dst_port = 80,
    };

    return k;
}

#define N_KINDS 64

/* Ports of IPv6 behind two tags are too far away. */
static bool
has_ports(const struct packet *k)
{
    return k->proto != ICMP && !(k->ipv6 && k->n_vlans == 2);
}

static bool
test_fields_matter(void)
{
    for (int i = 0; i < N_KINDS; i++) {
        struct packet k = kind(i), other = k;
        uint32_t h = hash(k);

        CHECK(h == hash(k));
        CHECK(h == hash(answer_to(k)));
        other.src++;
        CHECK(h != hash(other));
        other = k;
        other.dst--;
        CHECK(h != hash(other));
        other = k;
        other.src_port++;
        CHECK((h != hash(other)) == has_ports(&k));
        other = k;
        other.dst_port++;
        CHECK((h != hash(other)) == has_ports(&k));
    }
    return true;
}

static bool
test_same_flow_same_hash(void)
{
    for (int i = 0; i < N_KINDS; i++) {
        struct packet k = kind(i), other;

        /* Bytes behind those that count do not, nor what is behind ports. */
        CHECK(hash_of(&k, PACKET_LEN) == hash_of(&k, VPCI_SPREAD_HEADERS));
        if (k.proto == ICMP || k.ipv6) {
            continue;
        }

        /* Tags and options come and go without a change of flow. */
        other = k;
        other.n_vlans = 0;
        CHECK(hash(k) == hash(other));
        other.ip_options = 3;
        CHECK(hash(k) == hash(other));

        /* No fragment has ports: the first one goes where the others do. */
        k.fragment = 0x2000;
        other = k;
        other.fragment = 100;
        other.src_port++;
        CHECK(hash(k) == hash(other));
    }
    return true;
}

/* Packets that end anywhere are harmless. */
static bool
test_truncated(void)
{
    for (int i = 0; i < N_KINDS; i++) {
        for (uint32_t n = 0; n <= PACKET_LEN; n++) {
            struct packet k = kind(i);
            uint8_t *exact = malloc(n ? n : 1);
            uint32_t h = hash_of(&k, n);

            memcpy(exact, k.data, n);
            CHECK(vpci_flow_hash(exact, n) == h);
            free(exact);
        }
    }
    return true;
}

/* Random bytes are, too. */
static bool
test_random(void)
{
    srandom(1);
    for (int i = 0; i < 1000000; i++) {
        uint32_t n = random() % (VPCI_SPREAD_HEADERS + 1);
        uint8_t *data = malloc(n ? n : 1);

        for (uint32_t j = 0; j < n; j++) {
            data[j] = random();
        }
        if (n > 16) {
            static const uint16_t types[] = {
                0x0800, 0x86dd, 0x8100, 0x88a8
            };

            put_be16(data + 12, types[random() % 4]);
        }
        vpci_flow_hash(data, n);
        free(data);
    }
    return true;
}

/* Flows of few hosts, one after the other, as there are in practice. */
static bool
test_even(void)
{
    enum { N_QUEUES = 16, N_FLOWS = 16000 };
    struct vpci_spread spread;

    vpci_spread_reset(&spread, N_QUEUES);
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        unsigned int n[N_QUEUES] = { 0 };

        for (int i = 0; i < N_FLOWS; i++) {
            struct packet k = {
                .ipv6 = ipv6, .proto = TCP, .src = 1 + i % 4, .dst = 100,
                .src_port = 32768 + i / 4, .dst_port = 443,
            };

            hash_of(&k, PACKET_LEN);
            n[vpci_spread_choose(&spread, k.data, PACKET_LEN, 1)]++;
        }
        for (int i = 0; i < N_QUEUES; i++) {
            CHECK(n[i] > N_FLOWS / N_QUEUES * 3 / 4);
            CHECK(n[i] < N_FLOWS / N_QUEUES * 5 / 4);
        }
    }
    return true;
}

static bool
test_follows_the_guest(void)
{
    struct packet k = kind(0), answer = answer_to(k);
    struct vpci_spread spread;
    unsigned int first;
    uint8_t epoch = 200;

    hash_of(&k, PACKET_LEN);
    hash_of(&answer, PACKET_LEN);
    vpci_spread_reset(&spread, 4);
    first = vpci_spread_choose(&spread, k.data, PACKET_LEN, epoch);
    CHECK(first < 4);

    /* One that has never been seen goes where the guest says. */
    vpci_spread_reset(&spread, 4);
    for (unsigned int i = 0; i < 8; i++) {
        vpci_spread_learn(&spread, answer.data, PACKET_LEN, i % 4, i + 1);
    }
    first = vpci_spread_choose(&spread, k.data, PACKET_LEN, epoch);
    CHECK(first == 3);

    /* A flow that goes on stays where it is, for ever... */
    for (int i = 0; i < 300; i++, epoch = epoch % UINT8_MAX + 1) {
        vpci_spread_learn(&spread, answer.data, PACKET_LEN, (first + 1) % 4,
                          epoch);
        CHECK(vpci_spread_choose(&spread, k.data, PACKET_LEN, epoch)
              == first);
    }

    /* ...and one that has rested goes where the guest sends from. */
    vpci_spread_learn(&spread, answer.data, PACKET_LEN, (first + 2) % 4,
                      epoch);
    CHECK(vpci_spread_choose(&spread, k.data, PACKET_LEN, epoch) == first);
    epoch += 2;
    vpci_spread_learn(&spread, answer.data, PACKET_LEN, (first + 3) % 4,
                      epoch);
    CHECK(vpci_spread_choose(&spread, k.data, PACKET_LEN, epoch)
          == (first + 3) % 4);

    /* Fewer queues: nothing goes to those that are gone. */
    vpci_spread_reset(&spread, 1);
    CHECK(vpci_spread_choose(&spread, k.data, PACKET_LEN, epoch) == 0);
    return true;
}

static const struct unit_test tests[] = {
    { "fields-matter", test_fields_matter },
    { "same-flow-same-hash", test_same_flow_same_hash },
    { "truncated", test_truncated },
    { "random", test_random },
    { "even", test_even },
    { "follows-the-guest", test_follows_the_guest },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
