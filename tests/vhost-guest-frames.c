/* SPDX-License-Identifier: Apache-2.0 */

#include "vhost-guest-frames.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define MAGIC 0x56504349u       /* "VPCI" */
#define ETH_TYPE_TEST 0x88b5
#define ETH_TYPE_VLAN 0x8100
#define ETH_TYPE_IPV4 0x0800
#define IPV4_LEN 20
#define UDP_LEN 8
#define PROTO_UDP 17

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

static uint16_t
get16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

/* 0, 1, ... 255, 0, ...: every pattern is a slice of it. */
static uint8_t pattern_table[FRAME_MAX + 256];

static void __attribute__((constructor))
init_pattern_table(void)
{
    for (size_t i = 0; i < sizeof pattern_table; i++) {
        pattern_table[i] = i;
    }
}

static const uint8_t *
pattern(uint8_t first)
{
    return pattern_table + first;
}

static uint16_t
ip_checksum(const uint8_t *ip)
{
    uint32_t sum = 0;

    for (int i = 0; i < IPV4_LEN; i += 2) {
        sum += get16(ip + i);
    }
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

static uint32_t
header_bytes(const struct frame_template *t)
{
    return 14 + (t->vlan >= 0 ? 4 : 0) + (t->udp ? IPV4_LEN + UDP_LEN : 0);
}

static void
build_udp(const struct frame_template *t, uint16_t flow, uint8_t *ip,
          uint32_t len)
{
    uint8_t *udp = ip + IPV4_LEN;

    memset(ip, 0, IPV4_LEN + UDP_LEN);
    ip[0] = 0x45;
    put16(ip + 2, len);
    ip[6] = 0x40;               /* Do not fragment. */
    ip[8] = 64;
    ip[9] = PROTO_UDP;
    put32(ip + 12, t->ip_src);
    put32(ip + 16, t->ip_dst);
    put16(ip + 10, ip_checksum(ip));
    put16(udp, t->port_src + flow);
    put16(udp + 2, t->port_dst);
    put16(udp + 4, len - IPV4_LEN);
}

uint32_t
frame_build(const struct frame_template *t, uint32_t stream, uint64_t seq,
            uint8_t *buf, uint32_t len)
{
    uint32_t flow = t->n_flows > 1 ? seq % t->n_flows : 0;
    uint32_t ofs = header_bytes(t);
    uint8_t *p = buf + 12;

    if (len < ofs) {
        len = ofs;
    }
    memcpy(buf, t->dst, 6);
    memcpy(buf + 6, t->src, 6);
    if (t->vlan >= 0) {
        put16(p, ETH_TYPE_VLAN);
        put16(p + 2, t->vlan);
        p += 4;
    }
    put16(p, t->udp ? ETH_TYPE_IPV4 : ETH_TYPE_TEST);
    if (t->udp) {
        build_udp(t, flow, p + 2, len - (p + 2 - buf));
    } else if (flow) {
        put16(buf + 9, get16(buf + 9) + (flow >> 8));
        buf[11] += flow;
    }

    if (len - ofs >= sizeof(struct frame_tag)) {
        struct frame_tag tag = {
            .magic = MAGIC, .stream = stream, .seq = seq, .len = len - ofs,
        };

        memcpy(buf + ofs, &tag, sizeof tag);
        ofs += sizeof tag;
    }
    memcpy(buf + ofs, pattern(seq), len - ofs);
    return len;
}

/* Returns where the test payload would begin, or 0 if there is none. */
static uint32_t
payload_offset(const uint8_t *frame, uint32_t len)
{
    uint32_t ofs = 12;

    while (ofs + 6 <= len && get16(frame + ofs) == ETH_TYPE_VLAN) {
        ofs += 4;
    }
    if (ofs + 2 > len) {
        return 0;
    }
    uint16_t type = get16(frame + ofs);
    ofs += 2;
    if (type == ETH_TYPE_IPV4 && ofs + IPV4_LEN + UDP_LEN <= len
        && frame[ofs] == 0x45 && frame[ofs + 9] == PROTO_UDP) {
        ofs += IPV4_LEN + UDP_LEN;
    } else if (type != ETH_TYPE_TEST) {
        return 0;
    }
    return ofs + sizeof(struct frame_tag) <= len ? ofs : 0;
}

static void
track_stream(struct frame_tracker *t, const struct frame_tag *tag)
{
    unsigned int i;

    for (i = 0; i < t->n_streams; i++) {
        if (t->streams[i].id == tag->stream) {
            break;
        }
    }
    if (i == t->n_streams) {
        if (i == FRAME_MAX_STREAMS) {
            return;
        }
        t->n_streams++;
        t->streams[i].id = tag->stream;
        t->streams[i].next = tag->seq;
    }

    uint64_t *next = &t->streams[i].next;
    if (tag->seq >= *next) {
        t->lost += tag->seq - *next;
        *next = tag->seq + 1;
    } else {
        t->late++;
        t->lost -= t->lost != 0;
    }
}

void
frame_track(struct frame_tracker *t, const uint8_t *frame, uint32_t len)
{
    uint32_t ofs = payload_offset(frame, len);
    struct frame_tag tag = { 0 };

    if (ofs) {
        memcpy(&tag, frame + ofs, sizeof tag);
    }
    if (tag.magic != MAGIC) {
        t->foreign++;
        return;
    }

    uint32_t head = ofs + sizeof tag;
    if (tag.len < sizeof tag || tag.len > len - ofs
        || memcmp(frame + head, pattern(tag.seq), tag.len - sizeof tag)) {
        t->damaged++;
        return;
    }
    /* Padding to the least length of Ethernet is nobody's fault. */
    if (tag.len != len - ofs && len > 60) {
        t->damaged++;
        return;
    }
    t->good++;
    track_stream(t, &tag);
}

struct pcap_header {
    uint32_t magic;
    uint16_t major, minor;
    uint32_t zone, accuracy, snap_len, link_type;
};

struct pcap_record {
    uint32_t sec, fraction, captured, len;
};

#define PCAP_MAGIC_US 0xa1b2c3d4u
#define PCAP_MAGIC_NS 0xa1b23c4du
#define PCAP_ETHERNET 1

FILE *
pcap_create(const char *path)
{
    const struct pcap_header header = {
        .magic = PCAP_MAGIC_US, .major = 2, .minor = 4,
        .snap_len = FRAME_MAX, .link_type = PCAP_ETHERNET,
    };
    FILE *file = fopen(path, "wb");

    if (file) {
        fwrite(&header, sizeof header, 1, file);
    }
    return file;
}

/* Time stamps are 0: runs of the same test give the same file. */
void
pcap_write(FILE *file, const uint8_t *frame, uint32_t len)
{
    struct pcap_record record = { .captured = len, .len = len };

    fwrite(&record, sizeof record, 1, file);
    fwrite(frame, len, 1, file);
}

FILE *
pcap_open(const char *path, bool *swapped)
{
    struct pcap_header header;
    FILE *file = fopen(path, "rb");

    if (!file) {
        return NULL;
    }
    if (fread(&header, sizeof header, 1, file) == 1) {
        uint32_t magic = __builtin_bswap32(header.magic);

        *swapped = magic == PCAP_MAGIC_US || magic == PCAP_MAGIC_NS;
        if (*swapped) {
            header.link_type = __builtin_bswap32(header.link_type);
        } else {
            magic = header.magic;
        }
        if ((magic == PCAP_MAGIC_US || magic == PCAP_MAGIC_NS)
            && header.link_type == PCAP_ETHERNET) {
            return file;
        }
    }
    fclose(file);
    errno = EPROTO;
    return NULL;
}

uint32_t
pcap_read(FILE *file, bool swapped, uint8_t *frame)
{
    struct pcap_record record;

    if (fread(&record, sizeof record, 1, file) != 1) {
        return 0;
    }
    uint32_t len = swapped ? __builtin_bswap32(record.captured)
                           : record.captured;
    if (!len || len > FRAME_MAX || fread(frame, len, 1, file) != 1) {
        return 0;
    }
    return len;
}
