/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_WIRE_H
#define VPCI_WIRE_H 1

#include <stdbool.h>
#include <stdint.h>

#include "vpci/vring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Frames that are not yet what a wire would carry
 * ===============================================
 *
 * A driver that has negotiated it leaves work to the device: the checksum of a
 * frame, and the cutting of a "super-packet" into packets of the size that the
 * network has (virtio 1.1, section 5.1.6.2).  The virtio header says what is
 * left to do.  Between two guests nobody need do it at all, if the receiver
 * has said that it takes such frames.
 *
 * vpci_wire_check() finds out whether a header can be true of its frame.
 * vpci_wire_is_accepted() tells whether a receiver takes the frame as it is;
 * otherwise vpci_segments_init() and vpci_segments_next() make of it what a
 * wire would carry.
 *
 * Everything here works on private memory and keeps no state: any thread may
 * call it. */

/* The bytes at the beginning of a frame that are looked at: two VLAN tags, and
 * IP and TCP headers of any length. */
#define VPCI_WIRE_HEADERS (14 + 2 * 4 + 60 + 60)

/* Feature bits of virtio 1.2, for super-packets that become UDP packets. */
#define VPCI_NET_F_GUEST_USO4 54
#define VPCI_NET_F_GUEST_USO6 55
#define VPCI_NET_F_HOST_USO 56

/* Kinds of super-packets. */
enum vpci_wire_kind {
    VPCI_WIRE_SINGLE,           /* None: at most a checksum is missing. */
    VPCI_WIRE_TCP4,             /* Becomes TCP segments. */
    VPCI_WIRE_TCP6,
    VPCI_WIRE_UDP4,             /* Becomes UDP packets ("USO"). */
    VPCI_WIRE_UDP6,
    VPCI_WIRE_FRAG4,            /* Becomes IP fragments ("UFO"). */
    VPCI_WIRE_FRAG6,
};

/* What is wrong with a virtio header. */
enum vpci_wire_fault {
    VPCI_WIRE_OK,
    VPCI_WIRE_NOT_NEGOTIATED,   /* It wants what the driver may not ask for. */
    VPCI_WIRE_BAD_CSUM,         /* The checksum would be outside the frame. */
    VPCI_WIRE_BAD_TYPE,         /* No such kind of super-packet. */
    VPCI_WIRE_BAD_HEADERS,      /* The frame is not of that kind. */
    VPCI_WIRE_BAD_SIZE          /* Segments would hold nothing. */
};

/* A word or two for each, as the end of "bad offload request: ". */
const char *vpci_wire_fault_name(enum vpci_wire_fault);

/* What is left to do for a frame. */
struct vpci_wire {
    enum vpci_wire_kind kind;
    bool needs_csum;            /* 16 bits at 'csum_start' + 'csum_offset' are
                                 * missing, which cover everything from
                                 * 'csum_start' on.  They hold what the sum is
                                 * to begin with. */
    bool ecn;                   /* TCP: the first segment alone keeps CWR. */
    uint16_t csum_start;
    uint16_t csum_offset;

    /* Of super-packets. */
    uint16_t l3_ofs;
    uint16_t l4_ofs;
    uint16_t headers;           /* Bytes that each packet begins with.  Of
                                 * fragments, these end before the UDP header,
                                 * and IPv6 ones have 8 bytes more. */
    uint16_t size;              /* Bytes of payload in each but the last... */
    uint32_t n_segments;        /* ...of so many packets.  1 if single. */
};

/* Finds out what the header 'hdr' of a frame of 'len' bytes wants, whose
 * driver has negotiated 'features'.  At least the smaller one of 'len' and
 * VPCI_WIRE_HEADERS bytes of it are at 'head'.  A frame that wants nothing is
 * never at fault.  '*wire' is undefined after a fault. */
enum vpci_wire_fault vpci_wire_check(const struct vpci_net_hdr *hdr,
                                     const uint8_t *head, uint32_t len,
                                     uint64_t features,
                                     struct vpci_wire *wire);

/* True if the header wants nothing: a look at it is enough. */
static inline bool
vpci_net_hdr_is_plain(const struct vpci_net_hdr *hdr)
{
    /* Only bit 0 of the flags is a driver's to set. */
    return !((hdr->flags & 1) | hdr->gso_type);
}

/* Where the headers of a frame are whose missing checksum is that of its own
 * TCP or UDP header. */
struct vpci_wire_own {
    bool ipv6;
    uint8_t proto;
    uint16_t l3_ofs;
    uint16_t l4_ofs;
};

/* Fills in '*own' and returns true if the checksum that '*wire' says is missing
 * is that of the frame's own TCP or UDP header: one that is right behind an IP
 * header, or behind its options, of a frame of 'len' bytes that has nothing
 * else, no fragment.  'head' is as for vpci_wire_check(). */
bool vpci_wire_find_own(const struct vpci_wire *, const uint8_t *head,
                        uint32_t len, struct vpci_wire_own *own);

/* True if the checksum that '*wire' says is missing is in no field that says
 * where the frame is to go: the checksum of its own TCP or UDP header, or
 * something in the payload of a UDP packet, of a tunnel.  'head' is as for
 * vpci_wire_check(); the frame, of 'len' bytes, may be padded. */
bool vpci_wire_is_harmless(const struct vpci_wire *, const uint8_t *head,
                           uint32_t len);

/* Begins the missing checksum of a frame of 'len' bytes, the first of which are
 * at 'head', anew: with the pseudo header, which may have changed. */
void vpci_wire_begin_csum(const struct vpci_wire_own *, uint8_t *head,
                          uint32_t len);

/* Makes '*wire' true of a frame again whose headers have changed, and which
 * has become longer by 'growth' bytes in front of its network header: it has
 * 'len' bytes now, the first of which are at 'head'.  Begins a missing
 * checksum of its own anew. */
void vpci_wire_edited(struct vpci_wire *, int growth, uint8_t *head,
                      uint32_t len);

/* True if a driver that has negotiated 'features' takes the frame with its
 * work undone. */
bool vpci_wire_is_accepted(const struct vpci_wire *, uint64_t features);

/* Makes the virtio header that says what is left to do: what vpci_wire_check()
 * has understood and nothing else. */
void vpci_wire_to_hdr(const struct vpci_wire *, struct vpci_net_hdr *);

/* Bytes that the packets of a frame of 'len' bytes have together, and the
 * bytes of the longest. */
uint64_t vpci_wire_bytes(const struct vpci_wire *, uint32_t len);
uint32_t vpci_wire_longest(const struct vpci_wire *, uint32_t len);

/* Makes the missing checksum, if any, of the frame at 'frame', a single one:
 * 'len' bytes that nobody else changes. */
void vpci_wire_finish_csum(const struct vpci_wire *, uint8_t *frame,
                           uint32_t len);

/* The packets that a frame becomes. */
struct vpci_segments {
    struct vpci_wire wire;
    const uint8_t *frame;
    uint32_t len;               /* Of the frame. */
    uint32_t next;              /* Number of the next packet. */
    uint32_t ofs;               /* Of its payload in the frame. */
    uint32_t id;                /* Of IPv6 fragments. */
};

/* Starts to make packets of the frame of 'len' bytes at 'frame', of which
 * vpci_wire_check() has found 'wire': the same bytes, that nobody changes
 * until the last packet is made.  Fragments of IPv6 get the identification
 * 'id'.  Finishes the frame's own checksum if its packets are fragments. */
void vpci_segments_init(struct vpci_segments *, const struct vpci_wire *wire,
                        uint8_t *frame, uint32_t len, uint32_t id);

/* Writes the next packet, whole, to 'dst', and returns its length, or 0 if
 * there are no more. */
uint32_t vpci_segments_next(struct vpci_segments *, uint8_t *dst);

#ifdef __cplusplus
}
#endif

#endif /* vpci/wire.h */
