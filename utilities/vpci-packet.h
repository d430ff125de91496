/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_PACKET_H
#define VPCI_PACKET_H 1

#include <stdbool.h>
#include <stdint.h>

/* The UDP packets that vpci-gen sends, vpci-sink counts and vpci-echo turns
 * round: Ethernet, perhaps one VLAN tag, IPv4 without options, UDP.
 *
 * The payload begins with a stamp of PACKET_STAMP_BYTES bytes, big-endian:
 *
 *     offset  bytes
 *     0       2      0x7670
 *     2       2      stream: packets of a stream are numbered
 *     4       2      which machine the time is that of
 *     6       6      number of the packet in its stream, from 0 on
 *     12      6      time when it was sent: ns of CLOCK_MONOTONIC
 *
 * and the rest is zeros. */

#define PACKET_STAMP_BYTES 18
#define PACKET_MIN_LEN (14 + 20 + 8 + PACKET_STAMP_BYTES)
#define PACKET_MASK48 ((UINT64_C(1) << 48) - 1)

struct packet_config {
    uint32_t len;               /* In bytes, from the Ethernet header on. */
    uint8_t src_mac[6];
    uint8_t dst_mac[6];
    uint32_t src_ip;            /* In host byte order. */
    uint32_t dst_ip;
    bool tagged;
    uint16_t tci;               /* If so. */
    uint8_t dscp;
};

struct packet_stamp {
    uint16_t stream;
    uint16_t host;
    uint64_t number;
    uint64_t time_ns;
};

/* A number of this machine, until it boots. */
uint16_t packet_host(void);

/* Writes a packet of config->len bytes, at least PACKET_MIN_LEN and 4 more
 * for a tag, with an empty stamp to 'p'. */
void packet_init(uint8_t *p, const struct packet_config *config);

/* Makes a packet that packet_init() made one of UDP flow 'flow', with
 * '*stamp', the tag and the DSCP of '*config', and its checksums right.  That
 * may differ from what packet_init() had in nothing but these two. */
void packet_stamp(uint8_t *p, const struct packet_config *config,
                  uint32_t flow, const struct packet_stamp *stamp);

/* Reads the stamp of the packet of 'len' bytes at 'p'.  Returns false if it
 * has none. */
bool packet_read(const uint8_t *p, uint32_t len, struct packet_stamp *stamp);

/* True if the checksums and lengths of the packet are right, as far as it has
 * any. */
bool packet_is_sound(const uint8_t *p, uint32_t len);

/* Swaps source and destination: of Ethernet and, if the packet has them, of
 * IPv4 or IPv6 and of UDP or TCP.  No checksum changes. */
void packet_turn(uint8_t *p, uint32_t len);

#endif /* vpci-packet.h */
