/* SPDX-License-Identifier: Apache-2.0 */

#include "vpci/spread.h"

#include <netinet/in.h>

#define ETH_ADDRS_LEN 12
#define VLAN_LEN 4
#define MAX_VLANS 2
#define IPV4_LEN 20
#define IPV6_LEN 40
#define PORTS_LEN 4
#define IPV4_FRAGMENT 0x3fff    /* More fragments, or an offset. */

static uint16_t
read_be16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static uint64_t
read_64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* The ports at 'p', of which 'n' bytes are there, or 0 if 'proto' has none. */
static void
read_ports(const uint8_t *p, uint32_t n, uint8_t proto, uint16_t ports[2])
{
    ports[0] = ports[1] = 0;
    if (n >= PORTS_LEN && (proto == IPPROTO_TCP || proto == IPPROTO_UDP
                           || proto == IPPROTO_SCTP)) {
        memcpy(ports, p, PORTS_LEN);
    }
}

static uint32_t
hash_ipv4(const uint8_t *ip, uint32_t n)
{
    uint32_t header = (ip[0] & 0xf) * 4, src, dst;
    uint16_t ports[2] = { 0, 0 };

    memcpy(&src, ip + 12, sizeof src);
    memcpy(&dst, ip + 16, sizeof dst);
    if (!(read_be16(ip + 6) & IPV4_FRAGMENT) && header < n) {
        read_ports(ip + header, n - header, ip[9], ports);
    }
    return vpci_flow_mix((uint64_t) src << 16 | ports[0],
                         (uint64_t) dst << 16 | ports[1]);
}

/* One address and its port. */
static uint64_t
fold_ipv6(const uint8_t *addr, uint16_t port)
{
    uint64_t high = read_64(addr) * UINT64_C(0x9e3779b97f4a7c15);

    return (high ^ high >> 32) + read_64(addr + 8) + port;
}

static uint32_t
hash_ipv6(const uint8_t *ip6, uint32_t n)
{
    uint16_t ports[2];

    read_ports(ip6 + IPV6_LEN, n - IPV6_LEN, ip6[6], ports);
    return vpci_flow_mix(fold_ipv6(ip6 + 8, ports[0]),
                         fold_ipv6(ip6 + 24, ports[1]));
}

static uint32_t
hash_ethernet(const uint8_t *addrs)
{
    uint64_t dst = 0, src = 0;

    memcpy(&dst, addrs, 6);
    memcpy(&src, addrs + 6, 6);
    return vpci_flow_mix(dst, src);
}

uint32_t
vpci_flow_hash_any(const uint8_t *headers, uint32_t n)
{
    uint32_t ofs = ETH_ADDRS_LEN;
    uint16_t type;

    if (n > VPCI_SPREAD_HEADERS) {
        n = VPCI_SPREAD_HEADERS;
    }
    if (n < ETH_ADDRS_LEN + 2) {
        return 0;
    }
    type = read_be16(headers + ofs);
    for (int i = 0; i < MAX_VLANS; i++) {
        if ((type != 0x8100 && type != 0x88a8) || n < ofs + VLAN_LEN + 2) {
            break;
        }
        ofs += VLAN_LEN;
        type = read_be16(headers + ofs);
    }
    ofs += 2;
    if (type == 0x0800 && n - ofs >= IPV4_LEN) {
        return hash_ipv4(headers + ofs, n - ofs);
    } else if (type == 0x86dd && n - ofs >= IPV6_LEN) {
        return hash_ipv6(headers + ofs, n - ofs);
    }
    return hash_ethernet(headers);
}

void
vpci_spread_reset(struct vpci_spread *s, unsigned int n_queues)
{
    for (int i = 0; i < VPCI_SPREAD_BUCKETS; i++) {
        s->queues[i] = n_queues ? i % n_queues : 0;
        s->used[i] = 0;
    }
}

void
vpci_spread_learn(struct vpci_spread *s, const uint8_t *headers, uint32_t n,
                  unsigned int queue, uint8_t epoch)
{
    unsigned int bucket = vpci_spread_bucket(headers, n);
    uint8_t used = __atomic_load_n(&s->used[bucket], __ATOMIC_RELAXED);
    uint8_t last = epoch > 1 ? epoch - 1 : UINT8_MAX;

    /* Numbers come round: a bucket that happens to look busy now will not in
     * two epochs' time. */
    if (used != epoch && used != last && queue < VPCI_SPREAD_MAX_QUEUES) {
        __atomic_store_n(&s->queues[bucket], queue, __ATOMIC_RELAXED);
    }
}
