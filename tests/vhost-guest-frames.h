/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_FRAMES_H
#define VHOST_GUEST_FRAMES_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Test frames, and capture files
 * ==============================
 *
 * A test frame is an Ethernet frame whose payload says which stream it belongs
 * to, which number it has in it and how long it is, and whose remaining bytes
 * follow from that number.  So a receiver that knows nothing of the sender
 * finds loss, duplication, reordering and damage of any byte after the
 * headers, which switches may rewrite. */

#define FRAME_MAX 65535
#define FRAME_MIN 14

/* The test payload's own header. */
struct frame_tag {
    uint32_t magic;
    uint32_t stream;
    uint64_t seq;
    uint32_t len;               /* Of the frame from here to its end. */
} __attribute__((packed));

/* What the frames of a sender look like. */
struct frame_template {
    uint8_t dst[6];
    uint8_t src[6];
    int vlan;                   /* TCI, or -1. */
    bool udp;                   /* UDP over IPv4, or else EtherType 0x88b5
                                 * (for local experiments, IEEE 802). */
    uint32_t ip_src, ip_dst;    /* Host byte order. */
    uint16_t port_src, port_dst;
    uint32_t n_flows;           /* Source port, or source address if not UDP,
                                 * goes round so many values. */
};

/* Builds frame number 'seq' of 'stream' in the 'len' bytes at 'buf'; 'len' is
 * raised to what the headers need, and returned.  A frame too short for its
 * tag carries none. */
uint32_t frame_build(const struct frame_template *, uint32_t stream,
                     uint64_t seq, uint8_t *buf, uint32_t len);

#define FRAME_MAX_STREAMS 64

/* What was received. */
struct frame_tracker {
    uint64_t good;
    uint64_t damaged;           /* Test frames with wrong bytes or length. */
    uint64_t foreign;           /* Not test frames. */
    uint64_t lost;              /* Numbers left out in a stream, less those
                                 * that came late. */
    uint64_t late;              /* Reordered or duplicated. */
    unsigned int n_streams;
    struct {
        uint32_t id;
        uint64_t next;
    } streams[FRAME_MAX_STREAMS];
};

void frame_track(struct frame_tracker *, const uint8_t *frame, uint32_t len);

/* Classic pcap files of Ethernet frames. */

/* Returns null and sets errno on error. */
FILE *pcap_create(const char *path);
void pcap_write(FILE *, const uint8_t *frame, uint32_t len);

/* Returns null and sets errno on error: EPROTO if it is no such file. */
FILE *pcap_open(const char *path, bool *swapped);

/* Reads the next frame of at most FRAME_MAX bytes.  Returns its length, or 0
 * at the end, or where the file is damaged. */
uint32_t pcap_read(FILE *, bool swapped, uint8_t *frame);

#endif /* vhost-guest-frames.h */
