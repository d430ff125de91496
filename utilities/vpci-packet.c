/* SPDX-License-Identifier: Apache-2.0 */

#include "vpci-packet.h"

#include <stdio.h>
#include <string.h>

#define MAGIC 0x7670

#define PORT 30320              /* Of the destination; flows differ in... */
#define FIRST_PORT 1024         /* ...that of the source, from here on, */
#define N_PORTS 60000           /* and in its address. */

static void
put16(uint8_t *p, uint16_t value)
{
    p[0] = value >> 8;
    p[1] = value;
}

static void
put32(uint8_t *p, uint32_t value)
{
    put16(p, value >> 16);
    put16(p + 2, value);
}

static void
put48(uint8_t *p, uint64_t value)
{
    put16(p, value >> 32);
    put32(p + 2, value);
}

static uint16_t
get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static uint64_t
get48(const uint8_t *p)
{
    return ((uint64_t) get16(p) << 32 | (uint32_t) get16(p + 2) << 16
            | get16(p + 4));
}

/* Adds up 'n' bytes of big-endian words. */
static uint64_t
add_up(const uint8_t *p, uint32_t n, uint64_t sum)
{
    for (; n > 1; n -= 2, p += 2) {
        sum += get16(p);
    }
    return n ? sum + (*p << 8) : sum;
}

static uint16_t
fold(uint64_t sum)
{
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return ~sum;
}

uint16_t
packet_host(void)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    uint16_t host = 1;
    int c;

    while (file && (c = getc(file)) != EOF) {
        host = host * 31 + c;
    }
    if (file) {
        fclose(file);
    }
    return host;
}

void
packet_init(uint8_t *p, const struct packet_config *config)
{
    uint8_t *ip = p + 14 + (config->tagged ? 4 : 0);
    uint32_t ip_len = config->len - (ip - p);

    memset(p, 0, config->len);
    memcpy(p, config->dst_mac, 6);
    memcpy(p + 6, config->src_mac, 6);
    if (config->tagged) {
        put16(p + 12, 0x8100);
    }
    put16(ip - 2, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, ip_len);
    put16(ip + 6, 0x4000);      /* Not to be fragmented. */
    ip[8] = 64;
    ip[9] = 17;
    put32(ip + 16, config->dst_ip);
    put16(ip + 22, PORT);
    put16(ip + 24, ip_len - 20);
}

void
packet_stamp(uint8_t *p, const struct packet_config *config, uint32_t flow,
             const struct packet_stamp *stamp)
{
    uint8_t *ip = p + 14 + (config->tagged ? 4 : 0), *udp = ip + 20;
    uint8_t *payload = udp + 8;
    uint64_t sum;
    uint16_t csum;

    if (config->tagged) {
        put16(p + 14, config->tci);
    }
    ip[1] = config->dscp << 2;
    put32(ip + 12, config->src_ip + flow / N_PORTS);
    put16(ip + 10, 0);
    put16(ip + 10, fold(add_up(ip, 20, 0)));

    put16(udp, FIRST_PORT + flow % N_PORTS);
    put16(udp + 6, 0);
    put16(payload, MAGIC);
    put16(payload + 2, stamp->stream);
    put16(payload + 4, stamp->host);
    put48(payload + 6, stamp->number);
    put48(payload + 12, stamp->time_ns);

    /* The rest of the payload is zeros. */
    sum = add_up(ip + 12, 8, 17) + get16(udp + 4);
    csum = fold(add_up(udp, 8 + PACKET_STAMP_BYTES, sum));
    put16(udp + 6, csum ? csum : 0xffff);
}

/* What there is behind the Ethernet header and tags. */
struct parsed {
    uint32_t l3;                /* Offsets. */
    uint32_t l4;
    uint32_t end;
    bool ipv6;
    uint8_t proto;
};

/* Returns false if this is not IP, or is cut, or does not begin a datagram. */
static bool
parse(const uint8_t *p, uint32_t len, struct parsed *x)
{
    uint32_t ofs = 12;
    const uint8_t *ip;

    for (int i = 0; i < 2 && len >= ofs + 4
         && (get16(p + ofs) == 0x8100 || get16(p + ofs) == 0x88a8); i++) {
        ofs += 4;
    }
    x->l3 = ofs + 2;
    ip = p + x->l3;
    if (len < x->l3 + 20) {
        return false;
    }
    x->ipv6 = get16(p + ofs) == 0x86dd;
    if (x->ipv6) {
        if (len < x->l3 + 40 || ip[0] >> 4 != 6) {
            return false;
        }
        x->proto = ip[6];
        x->l4 = x->l3 + 40;
        x->end = x->l4 + get16(ip + 4);
        return x->end <= len;
    }
    x->proto = ip[9];
    x->l4 = x->l3 + (ip[0] & 15) * 4;
    x->end = x->l3 + get16(ip + 2);
    return (get16(p + ofs) == 0x0800 && ip[0] >> 4 == 4 && x->end <= len
            && x->l4 >= x->l3 + 20 && x->l4 <= x->end
            && !(get16(ip + 6) & 0x1fff));
}

bool
packet_read(const uint8_t *p, uint32_t len, struct packet_stamp *stamp)
{
    const uint8_t *payload;
    struct parsed x;

    if (!parse(p, len, &x) || x.proto != 17
        || x.end - x.l4 < 8 + PACKET_STAMP_BYTES) {
        return false;
    }
    payload = p + x.l4 + 8;
    if (get16(payload) != MAGIC) {
        return false;
    }
    stamp->stream = get16(payload + 2);
    stamp->host = get16(payload + 4);
    stamp->number = get48(payload + 6);
    stamp->time_ns = get48(payload + 12);
    return true;
}

bool
packet_is_sound(const uint8_t *p, uint32_t len)
{
    uint64_t sum;
    struct parsed x;

    if (!parse(p, len, &x)) {
        return true;
    }
    if (!x.ipv6 && fold(add_up(p + x.l3, x.l4 - x.l3, 0))) {
        return false;
    }
    if (x.proto != 17 || x.end - x.l4 < 8 || !get16(p + x.l4 + 6)) {
        return true;
    }
    sum = 17 + x.end - x.l4;
    sum = (x.ipv6 ? add_up(p + x.l3 + 8, 32, sum)
           : add_up(p + x.l3 + 12, 8, sum));
    return (get16(p + x.l4 + 4) == x.end - x.l4
            && !fold(add_up(p + x.l4, x.end - x.l4, sum)));
}

static void
swap(uint8_t *a, uint8_t *b, uint32_t n)
{
    uint8_t tmp[16];

    memcpy(tmp, a, n);
    memcpy(a, b, n);
    memcpy(b, tmp, n);
}

void
packet_turn(uint8_t *p, uint32_t len)
{
    struct parsed x;

    if (len < 14) {
        return;
    }
    swap(p, p + 6, 6);
    if (!parse(p, len, &x)) {
        return;
    }
    if (x.ipv6) {
        swap(p + x.l3 + 8, p + x.l3 + 24, 16);
    } else {
        swap(p + x.l3 + 12, p + x.l3 + 16, 4);
    }
    if ((x.proto == 17 || x.proto == 6) && x.end - x.l4 >= 8) {
        swap(p + x.l4, p + x.l4 + 2, 2);
    }
}
