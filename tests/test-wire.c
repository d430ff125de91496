/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of frames that leave work to the device (vpci/wire.h).
 *
 * usage: test-wire [--list | NAME...]
 *        test-wire --super GSO_TYPE IPV6 PAYLOAD SIZE
 *        test-wire --packets < REQUESTS
 *
 * The second makes a super-packet, IPv6 unless IPV6 is 0, with so many bytes of
 * payload, to be cut in pieces of SIZE.  It prints the virtio header and the
 * frame, and in a second line a request.
 *
 * Each request is a line "FLAGS GSO_TYPE GSO_SIZE CSUM_START CSUM_OFFSET FRAME"
 * (FRAME in hexadecimal digits).  The answer is a line with the number of
 * packets and each of them, or with what is wrong. */

#include <ctype.h>
#include <inttypes.h>
#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vpci/wire.h"
#include "unit-test.h"

#define ALL UINT64_MAX
#define GSO_UDP_L4 5
#define ECN VIRTIO_NET_HDR_GSO_ECN

/* A super-packet. */
struct super {
    uint8_t data[70000];
    uint32_t len;
    struct vpci_net_hdr hdr;
};

static void
put(struct super *s, const void *data, uint32_t n)
{
    memcpy(s->data + s->len, data, n);
    s->len += n;
}

static void
put_n(struct super *s, uint32_t value, int n)
{
    while (n--) {
        s->data[s->len++] = value >> 8 * n;
    }
}

static void
put_ip(struct super *s, bool ipv6, uint8_t proto, uint32_t len)
{
    if (ipv6) {
        put_n(s, 0x60012345, 4);
        put_n(s, len, 2);
        put_n(s, proto, 1);
        put_n(s, 64, 1);
        put(s, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16);
        put(s, "\xfd\0\0\0\0\0\0\0\0\0\0\0\0\0\0\2", 16);
    } else {
        put_n(s, 0x4500, 2);
        put_n(s, 20 + len, 2);
        put_n(s, 0xfffe4000, 4);
        put_n(s, 64 << 8 | proto, 2);
        put_n(s, 0, 2);
        put_n(s, 0x0a000001, 4);
        put_n(s, 0x0a000002, 4);
    }
}

/* Makes 's' a super-packet with 'n_vlans' tags and 'n' bytes of payload. */
static void
make_super(struct super *s, uint8_t gso_type, bool ipv6, int n_vlans,
           uint32_t n, uint16_t size)
{
    bool tcp = gso_type != VIRTIO_NET_HDR_GSO_UDP && gso_type != GSO_UDP_L4;

    s->len = 0;
    put(s, "\2\0\0\0\0\1\2\0\0\0\0\2", 12);
    for (int i = 0; i < n_vlans; i++) {
        put_n(s, i ? 0x81000007 : 0x88a80005, 4);
    }
    put_n(s, ipv6 ? 0x86dd : 0x0800, 2);
    put_ip(s, ipv6, tcp ? 6 : 17, n + (tcp ? 32 : 8));
    s->hdr = (struct vpci_net_hdr) {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .gso_type = gso_type,
        .gso_size = size, .csum_start = s->len, .csum_offset = tcp ? 16 : 6,
    };
    put_n(s, 0x03e807d0, 4);
    if (tcp) {
        put_n(s, 0xfffffff0, 4);                /* Wraps soon. */
        put_n(s, 1, 4);
        put_n(s, 0x80992000, 4);                /* FIN, PSH, ACK, CWR. */
        put_n(s, 0, 4);
        put(s, "\1\1\x8\xa\0\0\0\1\0\0\0\2", 12);
    } else {
        put_n(s, n + 8, 2);
        put_n(s, 0, 2);
    }
    for (uint32_t i = 0; i < n; i++) {
        s->data[s->len++] = i * 7 + (i >> 8);
    }
}

static uint32_t
get(const uint8_t *p, int n)
{
    uint32_t v = 0;

    while (n--) {
        v = v << 8 | *p++;
    }
    return v;
}

/* The sum of 'n' bytes as RFC 1071 writes it, 16 bits at a time. */
static uint32_t
sum_16(uint32_t sum, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        sum += i % 2 ? p[i] : p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static uint32_t
pseudo(const uint8_t *ip, bool ipv6, uint8_t proto, uint32_t len)
{
    uint32_t sum = ipv6 ? sum_16(0, ip + 8, 32) : sum_16(0, ip + 12, 8);

    sum += proto + len;
    return (sum & 0xffff) + (sum >> 16);
}

/* True of packet 'i' of 's', with 'n' bytes of payload behind 'headers'. */
static bool
check_packet(const struct super *s, const struct vpci_wire *w, bool ipv6,
             uint32_t i, const uint8_t *p, uint32_t len)
{
    bool tcp = w->csum_offset == 16;
    const uint8_t *ip = p + w->l3_ofs, *l4 = p + w->l4_ofs;
    uint32_t l4_len = len - w->l4_ofs;

    if (ipv6) {
        CHECK(get(ip + 4, 2) == l4_len);
    } else {
        CHECK(get(ip + 2, 2) == len - w->l3_ofs);
        CHECK(get(ip + 4, 2) == ((0xfffe + i) & 0xffff));
        CHECK(sum_16(0, ip, 20) == 0xffff);
    }
    CHECK(sum_16(pseudo(ip, ipv6, tcp ? 6 : 17, l4_len), l4, l4_len)
          == 0xffff);
    if (tcp) {
        bool last = i + 1 == w->n_segments;

        CHECK(get(l4 + 4, 4) == (uint32_t) (0xfffffff0 + i * w->size));
        CHECK(l4[13] == (0x10 | (last ? 9 : 0) | (i ? 0 : 0x80)));
        CHECK(!memcmp(l4 + 20, s->data + w->l4_ofs + 20, 12));
    } else {
        CHECK(get(l4 + 4, 2) == l4_len);
        CHECK(get(l4 + 6, 2));
    }
    CHECK(!memcmp(p, s->data, w->l3_ofs));
    return true;
}

static bool
check_segments(uint8_t gso_type, bool ipv6, int n_vlans, uint32_t n,
               uint16_t size)
{
    static struct super s;
    struct vpci_segments segments;
    struct vpci_wire w;
    uint32_t ofs, len;
    uint64_t bytes = 0;
    uint8_t *p;

    make_super(&s, gso_type, ipv6, n_vlans, n, size);
    CHECK(vpci_wire_check(&s.hdr, s.data, s.len, ALL, &w) == VPCI_WIRE_OK);
    CHECK(w.n_segments == (n + size - 1) / size);
    if (w.n_segments == 1) {
        CHECK(w.kind == VPCI_WIRE_SINGLE && w.needs_csum);
        return true;
    }
    CHECK(w.l3_ofs == 14 + 4 * n_vlans && w.size == size);
    p = malloc(vpci_wire_longest(&w, s.len));
    CHECK(p);
    vpci_segments_init(&segments, &w, s.data, s.len, 0);
    ofs = w.headers;
    for (uint32_t i = 0; i < w.n_segments; i++) {
        len = vpci_segments_next(&segments, p);
        bytes += len;
        CHECK(len > w.headers && len <= vpci_wire_longest(&w, s.len));
        CHECK(len == vpci_wire_longest(&w, s.len) || i + 1 == w.n_segments);
        CHECK(check_packet(&s, &w, ipv6, i, p, len));
        CHECK(!memcmp(p + w.headers, s.data + ofs, len - w.headers));
        ofs += len - w.headers;
    }
    CHECK(ofs == s.len && bytes == vpci_wire_bytes(&w, s.len));
    CHECK(!vpci_segments_next(&segments, p));
    free(p);
    return true;
}

static bool
test_segments(void)
{
    static const uint8_t types[] = {
        VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6, GSO_UDP_L4,
    };

    for (int bits = 0; bits < 12; bits++) {
        uint8_t type = types[bits % 3];

        for (int ipv6 = 0; ipv6 < 2; ipv6++) {
            if (type != GSO_UDP_L4
                && ipv6 != (type == VIRTIO_NET_HDR_GSO_TCPV6)) {
                continue;
            }
            CHECK(check_segments(type, ipv6, bits / 3 % 3, 65000, 1448));
            CHECK(check_segments(type, ipv6, bits / 3 % 3, 2 * 1448, 1448));
            CHECK(check_segments(type, ipv6, bits / 3 % 3, 1449, 1448));
            CHECK(check_segments(type, ipv6, bits / 3 % 3, 1448, 1448));
            CHECK(check_segments(type, ipv6, bits / 3 % 3, 1, 1448));
            CHECK(check_segments(type, ipv6, bits / 3 % 3, 1000, 1));
            CHECK(check_segments(type, ipv6, bits / 3 % 3, 1001, 7));
        }
    }
    return true;
}

/* Fragments of a UDP packet, put together again. */
static bool
check_fragments(bool ipv6, uint32_t n, uint16_t size)
{
    static struct super s;
    static uint8_t whole[70000], p[70000];
    struct vpci_segments segments;
    struct vpci_wire w;
    uint32_t front, end = 0;
    uint64_t bytes = 0;

    make_super(&s, VIRTIO_NET_HDR_GSO_UDP, ipv6, 1, n, size);
    CHECK(vpci_wire_check(&s.hdr, s.data, s.len, ALL, &w) == VPCI_WIRE_OK);
    CHECK(w.kind == (ipv6 ? VPCI_WIRE_FRAG6 : VPCI_WIRE_FRAG4));
    CHECK(w.size % 8 == 0 && w.size <= size);
    vpci_segments_init(&segments, &w, s.data, s.len, 0x12345678);
    front = w.headers + (ipv6 ? 8 : 0);
    for (uint32_t i = 0; i < w.n_segments; i++) {
        uint32_t len = vpci_segments_next(&segments, p);
        const uint8_t *ip = p + w.l3_ofs;
        uint16_t frag;

        bytes += len;
        CHECK(len > front && len <= vpci_wire_longest(&w, s.len));
        if (ipv6) {
            frag = get(p + w.headers + 2, 2);
            CHECK(ip[6] == 44 && p[w.headers] == 17);
            CHECK(get(ip + 4, 2) == len - w.l3_ofs - 40);
            CHECK(get(p + w.headers + 4, 4) == 0x12345678);
            CHECK((frag & 1) == (i + 1 < w.n_segments));
            frag &= ~7;
        } else {
            frag = get(ip + 6, 2);
            CHECK(get(ip + 2, 2) == len - w.l3_ofs);
            CHECK(get(ip + 4, 2) == 0xfffe);
            CHECK(sum_16(0, ip, 20) == 0xffff);
            CHECK(!!(frag & 0x2000) == (i + 1 < w.n_segments));
            frag = (frag & 0x1fff) * 8;
        }
        CHECK(frag == end);
        memcpy(whole + end, p + front, len - front);
        end += len - front;
    }
    CHECK(end == n + 8 && bytes == vpci_wire_bytes(&w, s.len));
    CHECK(sum_16(pseudo(s.data + w.l3_ofs, ipv6, 17, end), whole, end)
          == 0xffff);
    CHECK(!memcmp(whole + 8, s.data + s.len - n, n));
    return true;
}

static bool
test_fragments(void)
{
    for (int ipv6 = 0; ipv6 < 2; ipv6++) {
        CHECK(check_fragments(ipv6, 65000, 1480));
        CHECK(check_fragments(ipv6, 1480 * 2 - 8, 1480));
        CHECK(check_fragments(ipv6, 3000, 1479));
        CHECK(check_fragments(ipv6, 100, 8));
    }
    return true;
}

/* A packet that lacks nothing but its checksum, also one that is not known. */
static bool
test_checksums(void)
{
    static struct super s;

    for (uint32_t n = 0; n < 300; n++) {
        bool tcp = n % 2;
        struct vpci_segments segments;
        struct vpci_wire w;
        uint8_t p[1000];
        uint32_t sum;

        make_super(&s, tcp ? VIRTIO_NET_HDR_GSO_TCPV4 : GSO_UDP_L4, false, 0,
                   n, 0);
        s.hdr.gso_type = VIRTIO_NET_HDR_GSO_NONE;
        sum = pseudo(s.data + 14, false, tcp ? 6 : 17, s.len - 34);
        s.data[34 + s.hdr.csum_offset] = sum >> 8;
        s.data[34 + s.hdr.csum_offset + 1] = sum;
        CHECK(vpci_wire_check(&s.hdr, s.data, s.len, 1, &w) == VPCI_WIRE_OK);
        CHECK(w.n_segments == 1 && vpci_wire_bytes(&w, s.len) == s.len);
        vpci_segments_init(&segments, &w, s.data, s.len, 0);
        CHECK(vpci_segments_next(&segments, p) == s.len);
        CHECK(sum_16(sum, p + 34, s.len - 34) == 0xffff);
        CHECK(!vpci_segments_next(&segments, p));
        CHECK(!memcmp(p, s.data, 34 + s.hdr.csum_offset));
        CHECK(!memcmp(p + 36 + s.hdr.csum_offset,
                      s.data + 36 + s.hdr.csum_offset,
                      s.len - 36 - s.hdr.csum_offset));
    }
    return true;
}

/* A UDP checksum that comes out as 0, which would say that there is none. */
static bool
test_zero_checksum(void)
{
    static struct super s;
    uint16_t csum = 0;

    for (int round = 0; round < 2; round++) {
        struct vpci_segments segments;
        struct vpci_wire w;
        uint8_t p[1000];

        make_super(&s, GSO_UDP_L4, false, 0, 900, 450);
        /* The first packet's last bytes: first nothing, then what is
         * missing. */
        s.data[42 + 448] = csum >> 8;
        s.data[42 + 449] = csum;
        CHECK(!vpci_wire_check(&s.hdr, s.data, s.len, ALL, &w));
        vpci_segments_init(&segments, &w, s.data, s.len, 0);
        CHECK(vpci_segments_next(&segments, p) == 42 + 450);
        csum = get(p + 40, 2);
        CHECK(sum_16(pseudo(p + 14, false, 17, 458), p + 34, 458) == 0xffff);
    }
    CHECK(csum == 0xffff);
    return true;
}

/* What a change of a super-packet or of its header makes of the verdict. */
static bool
test_faults(void)
{
    static struct super s;
    struct vpci_wire w;

#define FAULT(WANT, CHANGE)                                             \
    make_super(&s, VIRTIO_NET_HDR_GSO_TCPV4, false, 1, 3000, 1448);     \
    CHANGE;                                                             \
    CHECK(vpci_wire_check(&s.hdr, s.data, s.len, ALL, &w) == VPCI_WIRE_##WANT)
    FAULT(OK, (void) 0);
    FAULT(OK, s.hdr.hdr_len = 0xffff);
    FAULT(OK, s.hdr.gso_type |= ECN);
    FAULT(OK, s.hdr.gso_size = UINT16_MAX);
    FAULT(BAD_SIZE, s.hdr.gso_size = 0);
    FAULT(BAD_CSUM, s.hdr.flags = 0);
    FAULT(BAD_CSUM, s.hdr.csum_start++);
    FAULT(BAD_CSUM, s.hdr.csum_offset = 6);
    FAULT(BAD_CSUM, s.hdr.csum_start = 13);
    FAULT(BAD_CSUM, s.hdr.csum_start = s.len);
    FAULT(BAD_CSUM, s.hdr.csum_offset = UINT16_MAX);
    FAULT(BAD_TYPE, s.hdr.gso_type = 2);
    FAULT(BAD_TYPE, s.hdr.gso_type = 0x41);
    FAULT(BAD_TYPE, s.hdr.gso_type = ECN);
    FAULT(BAD_TYPE, s.hdr.gso_type = GSO_UDP_L4 | ECN);
    FAULT(BAD_HEADERS, s.hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV6);
    FAULT(BAD_HEADERS, s.hdr.gso_type = VIRTIO_NET_HDR_GSO_UDP);
    FAULT(BAD_HEADERS, s.hdr.gso_type = GSO_UDP_L4);
    FAULT(BAD_HEADERS, s.data[16] = 7);         /* EtherType. */
    FAULT(BAD_HEADERS, s.data[18] = 0x44);      /* Header length. */
    FAULT(BAD_HEADERS, s.data[18] = 0x55);      /* Version. */
    FAULT(BAD_HEADERS, s.data[21]++);           /* Length. */
    FAULT(BAD_HEADERS, s.data[24] |= 0x20);     /* More fragments. */
    FAULT(BAD_HEADERS, s.data[25] = 1);         /* Offset. */
    FAULT(BAD_HEADERS, s.data[27] = 17);        /* Protocol. */
    FAULT(BAD_HEADERS, s.data[50] = 0x40);      /* TCP header length. */
    FAULT(BAD_HEADERS, s.len--);
    FAULT(BAD_SIZE, s.len = 70; s.data[21] = 52; s.data[20] = 0);
#undef FAULT
    return true;
}

static bool
test_negotiated(void)
{
    static const struct {
        uint8_t gso_type;
        bool ipv6;
        uint64_t sends;         /* All that it takes. */
        uint64_t takes;
    } kinds[] = {
        { 0, false, 1, 1 << 1 },
        { VIRTIO_NET_HDR_GSO_TCPV4, false, 1 | 1 << 11, 1 << 1 | 1 << 7 },
        { VIRTIO_NET_HDR_GSO_TCPV6, true, 1 | 1 << 12, 1 << 1 | 1 << 8 },
        { VIRTIO_NET_HDR_GSO_TCPV4 | ECN, false, 1 | 1 << 11 | 1 << 13,
          1 << 1 | 1 << 7 | 1 << 9 },
        { VIRTIO_NET_HDR_GSO_UDP, false, 1 | 1 << 14, 1 << 1 | 1 << 10 },
        { VIRTIO_NET_HDR_GSO_UDP, true, 1 | 1 << 14, 1 << 1 | 1 << 10 },
        { GSO_UDP_L4, false, 1 | UINT64_C(1) << 56,
          1 << 1 | UINT64_C(1) << 54 },
        { GSO_UDP_L4, true, 1 | UINT64_C(1) << 56,
          1 << 1 | UINT64_C(1) << 55 },
    };
    static struct super s;

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct vpci_net_hdr hdr;
        struct vpci_wire w, again;

        make_super(&s, kinds[i].gso_type, kinds[i].ipv6, 0, 3000, 1000);
        CHECK(vpci_wire_check(&s.hdr, s.data, s.len, kinds[i].sends, &w)
              == VPCI_WIRE_OK);
        CHECK(vpci_wire_is_accepted(&w, kinds[i].takes));
        for (int bit = 0; bit < 64; bit++) {
            uint64_t mask = UINT64_C(1) << bit;

            if (kinds[i].sends & mask) {
                CHECK(vpci_wire_check(&s.hdr, s.data, s.len,
                                      kinds[i].sends & ~mask, &again)
                      == VPCI_WIRE_NOT_NEGOTIATED);
            }
            if (kinds[i].takes & mask) {
                CHECK(!vpci_wire_is_accepted(&w, kinds[i].takes & ~mask));
            }
        }
        /* What one guest gets from another says the same. */
        vpci_wire_to_hdr(&w, &hdr);
        CHECK(hdr.gso_type == s.hdr.gso_type
              && hdr.gso_size == (hdr.gso_type ? 1000 : 0)
              && hdr.flags == s.hdr.flags
              && hdr.csum_start == s.hdr.csum_start
              && hdr.csum_offset == s.hdr.csum_offset);
        CHECK(vpci_wire_check(&hdr, s.data, s.len, ALL, &again)
              == VPCI_WIRE_OK && !memcmp(&w, &again, sizeof w));
    }
    return true;
}

/* Anything at all: what is not refused stays inside its bounds. */
static bool
test_garbage(void)
{
    static struct super s;
    uint32_t n_ok = 0;

    srand(1);
    for (int i = 0; i < 100000; i++) {
        static const uint8_t types[] = { 0, 1, 3, 4, 5, 0x81, 0x84 };
        uint8_t type = types[rand() % 7];
        struct vpci_segments segments;
        struct vpci_wire w;
        uint64_t bytes = 0;
        uint8_t *frame, *p;
        uint32_t len;

        make_super(&s, type & 0x7f, rand() % 2, rand() % 4, rand() % 2000,
                   rand() % 3000);
        s.hdr.gso_type = type;
        for (int k = rand() % 4; k; k--) {
            ((uint8_t *) &s.hdr)[rand() % sizeof s.hdr] = rand();
        }
        for (int k = rand() % 4; k; k--) {
            s.data[rand() % 100] = rand();
        }
        s.len = rand() % 4 ? s.len : (uint32_t) rand() % s.len + 1;
        frame = malloc(s.len);
        CHECK(frame);
        memcpy(frame, s.data, s.len);
        if (vpci_wire_check(&s.hdr, frame, s.len, ALL, &w) == VPCI_WIRE_OK) {
            n_ok++;
            p = malloc(vpci_wire_longest(&w, s.len));
            CHECK(p);
            vpci_segments_init(&segments, &w, frame, s.len, 0);
            while ((len = vpci_segments_next(&segments, p))) {
                CHECK(len <= vpci_wire_longest(&w, s.len));
                bytes += len;
            }
            CHECK(bytes == vpci_wire_bytes(&w, s.len));
            free(p);
        }
        free(frame);
    }
    CHECK(n_ok > 10000);
    return true;
}

/* Reads a frame in hexadecimal digits. */
static bool
read_frame(const char *digits, struct super *s)
{
    s->len = 0;
    for (; isxdigit((unsigned char) *digits); digits += 2) {
        /* Alone: sscanf() would look at all that follows each time. */
        const char byte[] = { digits[0], digits[1], '\0' };

        if (s->len >= sizeof s->data || !isxdigit((unsigned char) byte[1])) {
            return false;
        }
        s->data[s->len++] = strtoul(byte, NULL, 16);
    }
    return s->len && (!*digits || *digits == '\n');
}

static void
print_hex(const void *p_, uint32_t n, const char *end)
{
    const uint8_t *p = p_;

    for (uint32_t i = 0; i < n; i++) {
        printf("%02x", p[i]);
    }
    fputs(end, stdout);
}

/* Answers one request.  Returns false if it is none. */
static bool
answer(const char *line)
{
    static struct super s;
    static uint8_t p[70000];
    enum vpci_wire_fault fault;
    struct vpci_segments segments;
    struct vpci_wire w;
    uint32_t len;
    int n;

    if (sscanf(line, "%"SCNi8" %"SCNi8" %"SCNi16" %"SCNi16" %"SCNi16" %n",
               (int8_t *) &s.hdr.flags, (int8_t *) &s.hdr.gso_type,
               (int16_t *) &s.hdr.gso_size, (int16_t *) &s.hdr.csum_start,
               (int16_t *) &s.hdr.csum_offset, &n) != 5
        || !read_frame(line + n, &s)) {
        return false;
    }
    fault = vpci_wire_check(&s.hdr, s.data, s.len, ALL, &w);
    if (fault) {
        puts(vpci_wire_fault_name(fault));
        return true;
    }
    printf("%"PRIu32, w.n_segments);
    vpci_segments_init(&segments, &w, s.data, s.len, 1);
    while ((len = vpci_segments_next(&segments, p))) {
        putchar(' ');
        print_hex(p, len, "");
    }
    putchar('\n');
    return true;
}

static int
answer_all(void)
{
    static char line[200000];

    while (fgets(line, sizeof line, stdin)) {
        if (!answer(line)) {
            fprintf(stderr, "test-wire: not a request: %.60s\n", line);
            return 1;
        }
        fflush(stdout);
    }
    return 0;
}

static int
print_super(char *argv[])
{
    static struct super s;
    struct vpci_net_hdr *h = &s.hdr;
    struct vpci_wire_own own;
    struct vpci_wire wire;

    make_super(&s, atoi(argv[0]), atoi(argv[1]), 0, atoi(argv[2]),
               atoi(argv[3]));
    if (vpci_wire_check(h, s.data, s.len, UINT64_MAX, &wire)
        || !vpci_wire_find_own(&wire, s.data, s.len, &own)) {
        fprintf(stderr, "test-wire: there is no such super-packet\n");
        return 1;
    }
    vpci_wire_begin_csum(&own, s.data, s.len);
    print_hex(h, sizeof *h, " ");
    print_hex(s.data, s.len, "\n");
    printf("%d %d %d %d %d ", h->flags, h->gso_type, h->gso_size,
           h->csum_start, h->csum_offset);
    print_hex(s.data, s.len, "\n");
    return 0;
}

static const struct unit_test tests[] = {
    { "segments", test_segments },
    { "fragments", test_fragments },
    { "checksums", test_checksums },
    { "zero-checksum", test_zero_checksum },
    { "faults", test_faults },
    { "negotiated", test_negotiated },
    { "garbage", test_garbage },
};

int
main(int argc, char *argv[])
{
    if (argc == 2 && !strcmp(argv[1], "--packets")) {
        return answer_all();
    } else if (argc == 6 && !strcmp(argv[1], "--super")) {
        return print_super(argv + 2);
    }
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
