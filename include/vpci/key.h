/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_KEY_H
#define VPCI_KEY_H 1

#include <stdbool.h>
#include <stdint.h>

#include "vpci/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Steering keys
 * =============
 *
 * What the steering table (vpci/steer.h) knows of a packet.  Fields are in
 * network byte order, at fixed places, so that keys and masks are compared
 * word by word and may lie in shared memory.  A field that a packet does not
 * have is 0. */

#define VPCI_KEY_WORDS 8
#define VPCI_KEY_VLANS 2

/* Bits of 'kind'. */
#define VPCI_KEY_FRAG_ANY 0x01      /* A fragment. */
#define VPCI_KEY_FRAG_LATER 0x02    /* Not the first one. */
#define VPCI_KEY_TPID(I) (0x04u << 3 * (I))     /* TPID of VLAN I, from here: */
#define VPCI_KEY_TPID_MASK 7u                   /* enum vpci_key_tpid. */

enum vpci_key_tpid {
    VPCI_TPID_NONE,
    VPCI_TPID_8100,
    VPCI_TPID_88A8,
};

union vpci_key {
    struct {
        uint8_t eth_dst[6];
        uint16_t eth_type;          /* Behind all VLAN tags. */
        uint8_t eth_src[6];
        uint16_t tcp_flags;         /* 12 bits. */
        uint16_t vlan_tci[VPCI_KEY_VLANS];  /* With bit 12 set if present. */
        uint16_t l4_src;            /* ICMP: type. */
        uint16_t l4_dst;            /* ICMP: code. */
        uint8_t ip_proto;
        uint8_t ip_tos;
        uint8_t ip_ttl;
        uint8_t kind;
        uint32_t ipv6_label;        /* 20 bits. */
        uint8_t ip_src[16];         /* IPv4: the first 4 bytes. */
        uint8_t ip_dst[16];
    };
    uint64_t words[VPCI_KEY_WORDS];
};

VPCI_STATIC_ASSERT(sizeof(union vpci_key) == 64);  /* One cache line. */

/* How deep a packet has to be looked into for some mask. */
enum vpci_key_depth {
    VPCI_DEPTH_ETH,             /* Addresses, VLANs, type. */
    VPCI_DEPTH_FRAG,            /* Whether it is a fragment, and TCP flags. */
    VPCI_DEPTH_IP,              /* All of the network header, and TCP flags of
                                 * a packet that has them in their place. */
    VPCI_DEPTH_L4,              /* Everything. */
};

/* The bytes at the beginning of a packet that vpci_key_parse() may look at. */
#define VPCI_KEY_HEADERS 128

/* True of the IPv6 extension headers that may come before a fragment header, and
 * of that. */
static inline bool
vpci_key_is_extension(uint8_t next)
{
    return (next == 0 /* hop by hop */ || next == 43 /* routing */
            || next == 44 /* fragment */ || next == 51 /* AH */
            || next == 60 /* destination */);
}

/* Fills in '*key' from the first 'n_headers' bytes, of which no more than
 * VPCI_KEY_HEADERS are looked at, of a packet of 'len' bytes, as deep as
 * 'depth' says.  'headers' must be private memory.  No more than 'max_vlans',
 * at most VPCI_KEY_VLANS, tags are taken for tags; behind them, eth_type is
 * whatever comes.
 *
 * Returns false, with '*key' undefined, for every packet that is not plain: too
 * short for its headers, with lengths that contradict each other, with LLC,
 * IPv6 extension headers, or headers longer than those bytes.  Somebody else
 * has to look at it. */
bool vpci_key_parse(const uint8_t *headers, uint32_t n_headers, uint32_t len,
                    unsigned int max_vlans, enum vpci_key_depth depth,
                    union vpci_key *key);

/* Where the network header, or what is in its place, begins in a packet with
 * '*key', in bytes. */
static inline uint32_t
vpci_key_l3_ofs(const union vpci_key *key)
{
    uint32_t ofs = 14;

    for (int i = 0; i < VPCI_KEY_VLANS; i++) {
        ofs += key->kind & VPCI_KEY_TPID_MASK * VPCI_KEY_TPID(i) ? 4 : 0;
    }
    return ofs;
}

/* True if a look at the next protocol is enough to say that a packet without
 * tags, whose first 54 bytes are at 'headers', is no fragment and has no TCP
 * flags.  It is no fragment either, to Open vSwitch, if its header turns out
 * not to be valid. */
static inline bool
vpci_key_is_plain(const uint8_t *headers)
{
    const uint8_t tcp = 6, type_0 = headers[12], type_1 = headers[13];

    if (type_0 == 0x08 && type_1 == 0x00) {
        /* More fragments, or an offset. */
        return headers[23] != tcp && !((headers[20] & 0x3f) | headers[21]);
    } else if (type_0 == 0x86 && type_1 == 0xdd) {
        return !vpci_key_is_extension(headers[20]) && headers[20] != tcp;
    }
    return true;
}

/* How deep a packet has to be looked into for a comparison under 'mask'. */
enum vpci_key_depth vpci_key_mask_depth(const union vpci_key *mask);

#ifdef __cplusplus
}
#endif

#endif /* vpci/key.h */
