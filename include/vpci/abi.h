/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_ABI_H
#define VPCI_ABI_H 1

#include "vpci/types.h"

/* Shared memory, as both sides see it
 * ===================================
 *
 * Everything here is little-endian and has no pointers.  Every cache line has
 * one writer, who does not read it back: each side works from private copies
 * of its own words.  What the other side writes is loaded once and checked.
 * Reserved fields are zero. */

#define VPCI_ABI_LINE 64        /* Bytes that two writers must not share. */
#define VPCI_ABI_PAGE 4096      /* Sections begin and end at such. */

/* The native ring
 * ---------------
 *
 * One producer, one consumer.  The producer writes an array of slots, a data
 * area and its words (struct vpci_abi_producer); the consumer writes its words
 * (struct vpci_abi_consumer) alone.
 *
 * Packets are numbered from 0 on, modulo 2^32.  Number i is in slot i modulo
 * the number of slots, and it is there once the slot's 'valid' is i + 1: the
 * producer writes that word last.  So the consumer waits at the very cache
 * line that has the packet, and there is no index of the producer's that could
 * run ahead.  A producer makes a burst visible at once by writing the first
 * packet's word after all others. */

#define VPCI_ABI_SLOT_BYTES 128
#define VPCI_ABI_INLINE_BYTES 112

enum vpci_abi_slot_type {
    VPCI_ABI_SLOT_INLINE = 1,   /* The packet is in the slot. */
    VPCI_ABI_SLOT_DATA = 2      /* The first four bytes say where it begins in
                                 * the data area; it does not wrap there. */
};

struct vpci_abi_slot {
    vpci_le64 word;             /* Type << 56 | bytes << 32 | valid. */
    vpci_le64 offload;          /* struct vpci_ring_offload, little-endian. */
    uint8_t data[VPCI_ABI_INLINE_BYTES];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_slot) == VPCI_ABI_SLOT_BYTES);

#define VPCI_ABI_TYPE_SHIFT 56
#define VPCI_ABI_LEN_SHIFT 32
#define VPCI_ABI_LEN_MASK 0xffffffu

/* When one side wants to be woken by the other: a mode << 32 and a number.
 *
 * The side that would sleep writes VPCI_ABI_WAKE_AT with a number, fences
 * fully, and looks once more before it sleeps.  The other side publishes,
 * fences fully, loads this word, and injects the signal if the number has just
 * been passed.
 *
 * VPCI_ABI_WAKE_NEVER promises more than VPCI_ABI_WAKE_OFF: the side that
 * wrote it will go on looking for VPCI_ABI_GRACE_US after it has written
 * something else.  So the other side may do without the fence. */
enum vpci_abi_wake {
    VPCI_ABI_WAKE_OFF = 0,      /* Do not inject now. */
    VPCI_ABI_WAKE_AT = 1,       /* Inject when packet NUMBER is there, or when
                                 * packet NUMBER has been consumed. */
    VPCI_ABI_WAKE_NEVER = 2
};

/* Far longer than any processor keeps a store from others. */
#define VPCI_ABI_GRACE_US 1000

struct vpci_abi_producer {
    vpci_le32 produced;         /* Packets made visible: for those who watch. */
    uint8_t reserved0[VPCI_ABI_LINE - 4];
    vpci_le64 wake;             /* When packets are consumed. */
    uint8_t reserved1[VPCI_ABI_LINE - 8];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_producer) == 2 * VPCI_ABI_LINE);

struct vpci_abi_consumer {
    vpci_le32 consumed;         /* Packets whose slots may be used again. */
    uint8_t reserved0[VPCI_ABI_LINE - 4];
    vpci_le64 wake;             /* When packets are there. */
    uint8_t reserved1[VPCI_ABI_LINE - 8];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_consumer) == 2 * VPCI_ABI_LINE);

/* Numbers of slots, and sizes of data areas in bytes, are powers of two. */
#define VPCI_ABI_MIN_SLOTS_LOG2 4
#define VPCI_ABI_MAX_SLOTS_LOG2 12
#define VPCI_ABI_MIN_DATA_LOG2 17
#define VPCI_ABI_MAX_DATA_LOG2 22

/* Longest packet: the largest one of IP, an Ethernet header and two tags. */
#define VPCI_ABI_MAX_LEN (65535 + 14 + 2 * 4)

/* Regions
 * -------
 *
 * A region is one piece of shared memory that three or two may write: the
 * switch, and one side or two.  Its sections are, in this order:
 *
 *     control      written by the switch: what it says of the port and, in a base
 *                  region, of links
 *     side 0       the switch in a base region, guest 0 of a link
 *     side 1       the guest in a base region, guest 1 of a link
 *
 * A side's section has what it says of itself, the words of its rings, and the
 * rings that it produces; in a base region that of the guest also has what it says
 * of links.
 *
 * Where everything is in them follows from the region's shape alone: see
 * vpci/layout.h.  In a base region the guest takes the shape from the header,
 * once.  In a link, whose header the other guest can write as well, it takes it
 * from the link's entry in its base region, and the header is a check that the
 * two are talking of the same thing. */

#define VPCI_ABI_MAGIC 0x6e677269637076 /* "vpcirgn" */

/* This layout, and the oldest one that those who know this one can use. */
#define VPCI_ABI_VERSION 1
#define VPCI_ABI_VERSION_MIN 1

/* QEMU's ivshmem wants sizes that are powers of two. */
#define VPCI_ABI_MIN_REGION (64 * 1024)
#define VPCI_ABI_MAX_REGION (1u << 30)

#define VPCI_ABI_MAX_QUEUES 16
#define VPCI_ABI_MAX_CLASSES 8
#define VPCI_ABI_MAX_RINGS 32   /* Queues times classes, each way. */
#define VPCI_ABI_MAX_LINKS 64
#define VPCI_ABI_MAX_ENTRIES 4096
#define VPCI_ABI_MAX_VECTORS 32

enum vpci_abi_kind {
    VPCI_ABI_BASE = 1,
    VPCI_ABI_LINK = 2,
    VPCI_ABI_BASE_PEER = 3,     /* A base region that has room for links and
                                 * for a peer. */
    VPCI_ABI_PEER = 4           /* Of a link's entry: see "Peers". */
};

/* What the places of everything in a region follow from. */
struct vpci_abi_shape {
    vpci_le32 kind;             /* enum vpci_abi_kind. */
    vpci_le32 n_queues;         /* Queues, each of... */
    vpci_le32 n_classes;        /* ...so many rings of different priority, the
                                 * last of which is the most urgent. */
    vpci_le32 slots_log2;       /* Of each ring. */
    vpci_le32 data_log2;        /* Of each ring, in bytes. */
    vpci_le32 n_links;          /* Of a base region: links that there may
                                 * be... */
    vpci_le32 n_entries;        /* ...and steering entries. */
    vpci_le32 n_vectors;        /* Signals of each side. */
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_shape) == 32);

struct vpci_abi_section {
    vpci_le64 offset;
    vpci_le64 size;
};

enum vpci_abi_section_id {
    VPCI_ABI_CONTROL,
    VPCI_ABI_SIDE0,
    VPCI_ABI_SIDE1,
    VPCI_ABI_N_SECTIONS
};

/* At the beginning of a region.  The switch writes 'magic' last. */
struct vpci_abi_header {
    vpci_le64 magic;
    vpci_le16 version;
    vpci_le16 version_min;      /* The oldest one that is like this. */
    vpci_le32 header_size;
    vpci_le64 size;             /* Of the region. */
    vpci_le64 reserved0;
    struct vpci_abi_shape shape;
    struct vpci_abi_section sections[VPCI_ABI_N_SECTIONS];
    vpci_le32 region_id;        /* As the keeper numbers them. */
    uint8_t reserved1[140];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_header) == 256);

/* What a class of priority is chosen by, in the guest that sends. */
enum vpci_abi_class_by {
    VPCI_ABI_CLASS_NONE,        /* All packets are of class 0. */
    VPCI_ABI_CLASS_PCP,         /* 802.1p; without a tag, as PCP 0. */
    VPCI_ABI_CLASS_DSCP         /* What is not IP is of class 0. */
};

/* What a side says of itself, at the beginning of its section.
 *
 * A side that begins writes 0 to 'seen' and then another 'epoch'.  When it
 * sees an epoch of the other side that it has not seen before, it makes its
 * ends of all rings anew, and writes that epoch to 'seen'.  It uses the rings
 * once the other side has seen its own epoch.  So both begin with empty rings,
 * whoever of them began last. */
struct vpci_abi_state {
    vpci_le32 epoch;            /* 0: nobody is there. */
    vpci_le32 seen;
    vpci_le64 features;         /* Of virtio-net: what the side takes... */
    vpci_le32 n_queues;         /* ...and would use, 1 to those of the shape. */
    uint8_t mac[6];             /* Of a guest; all 0 if it does not say. */
    uint8_t reserved0[2];
    vpci_le32 n_links;          /* Of a guest, in its base region: links that
                                 * it would use. */
    uint8_t reserved1[32];

    vpci_le32 heartbeat;        /* Changes at least once in VPCI_ABI_BEAT_MS. */
    uint8_t reserved2[60];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_state) == 2 * VPCI_ABI_LINE);

/* What the switch says of a port, behind the header of its base region. */
struct vpci_abi_port {
    /* Does not change while the switch runs. */
    vpci_le32 switch_id;        /* ivshmem ids. */
    vpci_le32 guest_id;
    vpci_le32 max_len;          /* Longest packet that is not a super-packet.
                                 * Changes, unlike its neighbours. */
    uint8_t mac[6];             /* Proposed to the guest; all 0 if none is. */
    uint8_t class_by;           /* enum vpci_abi_class_by. */
    uint8_t reserved0;
    uint8_t class_of[64];       /* Class by PCP or DSCP. */
    vpci_le32 calls;            /* Version of calls that the switch answers;
                                 * 0: it answers none. */
    uint8_t reserved1[40];

    /* Changes. */
    vpci_le32 link_state;       /* 1 if the port is up. */
    vpci_le32 generation;       /* Changes whenever links or entries do. */
    vpci_le32 max_vlans;        /* VLAN tags that hints and acceptances take
                                 * for tags: 0 to 2.  Changes only while they
                                 * are revoked. */
    uint8_t reserved2[52];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_port) == 3 * VPCI_ABI_LINE);

#define VPCI_ABI_BEAT_MS 100

/* Calls
 * -----
 *
 * A guest asks the switch for a function by a request, and gets a reply.  Each
 * is one packet in the ring of calls of whoever sends it, without offloads:
 * struct vpci_abi_call, and 'len' bytes of data behind it.
 *
 *     request   kind, func, xid, len; error is 0.  Its data is what the
 *               function needs, and has room for what it answers.
 *     reply     kind, func and xid as the request's.  If error is 0, data as
 *               long as the request's, otherwise none.
 *
 * A switch that knows less than the guest wants to know leaves 0 at the end of
 * the data; one that knows more leaves out what there is no room for.  So
 * structures may grow, at their end.
 *
 * Requests are answered in their order.  How many there are at a time is up to
 * the guest; the switch takes only so many in a second, and leaves others in
 * the ring, as it does if there is no room for the reply.  A request whose
 * 'len' is not so, or whose error or reserved bytes are not 0, gets EBADMSG;
 * whatever is no request, or too short for one, gets no reply.  The guest
 * passes over replies to requests that it has forgotten, and everything else:
 * in version 1 the switch makes no requests.
 *
 * Functions that the switch does not know get EOPNOTSUPP: new ones need no new
 * version.  That is for changes of what is said here. */

#define VPCI_ABI_CALLS_VERSION 1

enum vpci_abi_call_kind {
    VPCI_ABI_CALL_REQUEST = 1,
    VPCI_ABI_CALL_REPLY = 2
};

enum vpci_abi_call_func {
    VPCI_ABI_CALL_PING = 1,     /* Answers with the data as it is. */
    VPCI_ABI_CALL_GET_PORT = 2  /* With a struct vpci_abi_port_info. */
};

struct vpci_abi_call {
    vpci_le32 kind;             /* enum vpci_abi_call_kind. */
    vpci_le32 func;             /* enum vpci_abi_call_func. */
    vpci_le32 xid;              /* Chosen by who asks, anew each time. */
    vpci_le32 len;              /* Bytes of data: VPCI_ABI_CALL_MAX at most. */
    vpci_le32 error;            /* Of a reply: 0, or an errno by the numbers of
                                 * Linux, VPCI_ABI_CALL_MAX_ERRNO at most. */
    uint8_t reserved[12];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_call) == 32);

#define VPCI_ABI_CALL_MAX (VPCI_ABI_MAX_LEN - 32)
#define VPCI_ABI_CALL_MAX_ERRNO 4095

/* What the switch says of a port when it is asked. */
struct vpci_abi_port_info {
    vpci_le32 version;          /* VPCI_ABI_PORT_INFO_VERSION: fields have been
                                 * added at the end since an older one. */
    vpci_le32 size;             /* Bytes that the switch knows of. */
    vpci_le32 mtu;
    vpci_le32 admin_state;      /* 1 if the operator wants the port up. */
    vpci_le32 link_state;       /* 1 if, besides, packets flow. */
    vpci_le32 n_classes;
    vpci_le32 class_by;         /* enum vpci_abi_class_by. */
    uint8_t reserved[4];
    char name[96];              /* Of the port.  This and the next one end with
                                 * a null byte, and are cut if too long. */
    char software[128];         /* What the switch is, with versions. */
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_port_info) == 256);

#define VPCI_ABI_PORT_INFO_VERSION 1

/* Links
 * -----
 *
 * A base region with room for links has, in its control section:
 *
 *     links         an array of n_links structs vpci_abi_link
 *     hints         a projection (vpci/projection.h): which packets that the
 *                   guest sends belong on a link.  All others go to the switch.
 *     acceptances   a projection for each link: which packets of that link the
 *                   guest may receive.  No others.
 *     edits         an array of n_entries structs vpci_abi_edits: what the
 *                   guest changes in packets that it receives by some
 *                   acceptances
 *
 * and in the guest's section, for each of its queues, what is said below.
 *
 * The guest that sends looks its packets up as they are.  The one that
 * receives copies what it looks up first, and refuses, and counts, what is not
 * accepted.  Where the acceptance says so, it changes the packet then: what it
 * counts is the packet as it came.
 *
 * Packets that are to be changed are sent by the link only if it is certain
 * where their headers are (vpci_key_parse() takes them, VPCI_DEPTH_L4), if a
 * checksum that is missing is that of their own TCP or UDP header, and if they
 * are not too long for the port with what they become longer by.  All others
 * go to the switch, and receivers refuse them.
 *
 * No packet overtakes another one of its flow and queue.  When packets have
 * come through the switch so far, the acceptance is VPCI_ABI_WAIT for a while:
 * packets stay in the link, with those behind them, until those before them
 * have come.  When packets have come by the link so far, the receiver itself
 * puts them first: of what the switch has sent, it takes no packet before those
 * that it saw in its links at that time, unless they wait. */

/* Of a link, to one of its guests. */
struct vpci_abi_link {
    vpci_le32 id;               /* Of its region; 0: there is no link.  Written
                                 * last, never used for another link. */
    vpci_le32 side;             /* The guest's: 0 or 1. */
    struct vpci_abi_shape shape;
    vpci_le32 port;             /* The id of the base region of the other
                                 * guest's port, below 2^31: the same for all
                                 * links with it.  0: unknown. */

    /* ivshmem ids at the link, 0 while nobody is there: the guest's own, and the
     * other guest's.  Change.  For guests that the keeper does not tell, since
     * they have a PCI function; others need not look. */
    vpci_le32 guest_id;
    vpci_le32 peer_id;
    uint8_t reserved[76];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_link) == 128);

/* Verdicts of hints: a link's place in the array, and its id << 32.  If the
 * receiver is to change the packet, VPCI_ABI_HINT_EDIT, and the bytes that it
 * becomes longer by, if any, << 16. */
#define VPCI_ABI_HINT_PLACE_MASK 0xffffu
#define VPCI_ABI_HINT_GROWTH_SHIFT 16
#define VPCI_ABI_HINT_GROWTH_MASK 0xffu
#define VPCI_ABI_HINT_EDIT (1u << 24)
#define VPCI_ABI_HINT_ID_SHIFT 32

/* Verdicts of acceptances: the place of the packet's counters, in the array of
 * n_entries, and one of these << 32. */
#define VPCI_ABI_ACCEPTANCE_SHIFT 32
enum vpci_abi_acceptance {
    VPCI_ABI_ACCEPT = 1,
    VPCI_ABI_WAIT = 2,          /* Not yet: look again when there is another
                                 * generation. */
    VPCI_ABI_EDIT = 3           /* With the edits in the place that the
                                 * counters have. */
};

/* Kinds of edits. */
enum vpci_abi_edit_kind {
    VPCI_ABI_EDIT_POP = 1,      /* Takes the outermost VLAN tag away, which the
                                 * packet has. */
    VPCI_ABI_EDIT_PUSH = 2,     /* Puts the four bytes of 'value', TPID and
                                 * TCI, behind the Ethernet addresses. */
    VPCI_ABI_EDIT_ETH = 3,      /* These change the header of that name, the
                                 * addresses... */
    VPCI_ABI_EDIT_IPV4 = 4,     /* ...TOS, TTL, addresses... */
    VPCI_ABI_EDIT_IPV6 = 5,     /* ...class, label, hop limit, addresses... */
    VPCI_ABI_EDIT_TCP = 6,      /* ...ports... */
    VPCI_ABI_EDIT_UDP = 7,
    VPCI_ABI_EDIT_ICMP = 8      /* ...type, and code, also of ICMPv6: */
};

/* The first bytes of a header, as it is in a packet: those bits that 'mask'
 * has become those of 'value', which has no others.  Checksums follow. */
#define VPCI_ABI_EDIT_BYTES 40
struct vpci_abi_edit {
    uint8_t kind;               /* enum vpci_abi_edit_kind. */
    uint8_t reserved[7];
    uint8_t value[VPCI_ABI_EDIT_BYTES];
    uint8_t mask[VPCI_ABI_EDIT_BYTES];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_edit) == 88);

/* Edits, in their order, of the packets of an acceptance; behind them all is
 * 0.  They do not change while any acceptance has them. */
#define VPCI_ABI_MAX_EDITS 8
#define VPCI_ABI_MAX_TAGS 2     /* That there are more, or fewer, than
                                 * before. */
struct vpci_abi_edits {
    vpci_le32 n;                /* 1 to VPCI_ABI_MAX_EDITS. */
    uint8_t reserved[60];
    struct vpci_abi_edit edits[VPCI_ABI_MAX_EDITS];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_edits) == 12 * VPCI_ABI_LINE);

/* What a guest says of a queue. */
struct vpci_abi_queue {
    vpci_le32 hints;            /* Everything that the queue sends from now on
                                 * goes by this generation, or a later one. */
    uint8_t reserved[60];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_queue) == VPCI_ABI_LINE);

/* What it has received from a link, in a queue.  Never fall. */
struct vpci_abi_link_count {
    vpci_le64 refused;          /* Packets. */
    uint8_t reserved[24];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_link_count) == 32);

/* What it has received of an acceptance, in a queue.  Never fall. */
struct vpci_abi_flow_count {
    vpci_le64 packets;          /* A super-packet counts as what it would be on
                                 * a wire. */
    vpci_le64 bytes;
    vpci_le64 tcp_flags;        /* Of all packets, in network byte order. */
    uint8_t reserved[8];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_flow_count) == 32);

/* Peers
 * -----
 *
 * A guest that the operator trusts with another one's memory can drive that
 * one's virtio-net rings, in the place of the switch: device vhost-pci-net.  The
 * other guest is the peer.  It is a stock one, and does not know.
 *
 * The base region is of kind VPCI_ABI_BASE_PEER.  It has, behind everything else,
 * in the control section, one struct vpci_abi_peer, and in the guest's section
 * one struct vpci_abi_peer_words.  The last place in the array of links is the
 * peer's: its entry has a shape of kind VPCI_ABI_PEER and as many queues as the
 * peer has pairs of rings, the rest of the shape being 0.
 *
 * The link's device has the peer's memory, whole, and nothing of ours: whatever
 * there is in it, a header of a region too, was written by the peer.  So such
 * devices are told apart by the ivshmem id of whoever opens them, which no guest
 * can write: it has the bit VPCI_ABI_PEER_ID, and no other device's has.
 *
 * Rings change hands by turns, which are numbered.  Even turns are the switch's,
 * odd ones the guest's.
 *
 *     switch                              guest
 *     ------                              -----
 *     stops, writes where rings are
 *     (P) 'turn' = odd                    (p) sees it, reads all of that
 *                                         'taken' = odd; uses the rings
 *     'turn' = even                       stops, writes where rings are
 *     (Q) sees it, reads that             (q) 'returned' = even
 *
 * (P) and (q) are releases, (p) and (Q) acquires.  A guest may stop by itself:
 * then 'returned' is the odd turn that it gives up, and it says why.  It does
 * not use them again before there is another odd turn.
 *
 * While the guest has them it keeps its record of where each ring is up to date,
 * so that the switch can go on if it dies.  If it returns a turn that it has not taken, records are where
 * the switch has said.  A guest that begins returns whatever turn there is, and
 * records stay as one before it, who had taken that, has left them.
 *
 * Hints may name the peer's link before the guest has the rings: it lets these
 * packets wait, VPCI_ABI_PEER_WAIT_MS at most, so that none overtakes those that
 * the switch has to pass on.  Of what the peer sends it takes nothing before it
 * has received what the switch had for it when the turn was written.  A packet
 * of the peer that no acceptance takes is left in its ring, and the ring
 * returned: whatever it is, the switch knows what to do with it. */

#define VPCI_ABI_PEER_ID 0x8000u

/* Likewise, whoever opens the device of a link has an id with this bit (and
 * without that one), and nobody who opens one with a base region has.  The guest
 * at the other end of a link can write a header there that says "base": it is a
 * link all the same, or else that guest would be another one's switch.  Keepers
 * of old did not set it. */
#define VPCI_ABI_LINK_ID 0x4000u
#define VPCI_ABI_PEER_WAIT_MS 50
#define VPCI_ABI_PEER_MEMORIES 8

/* Verdicts of hints that name the peer's link: the place of the packet's
 * counters, which is the guest's affair here, since the peer does not count. */
#define VPCI_ABI_HINT_COUNTER_SHIFT 16
#define VPCI_ABI_HINT_COUNTER_MASK 0xffffu

/* A range of the peer's addresses, and where that is in the device's memory. */
struct vpci_abi_peer_memory {
    vpci_le64 address;          /* Guest physical. */
    vpci_le64 size;             /* In bytes. */
    vpci_le64 offset;
    vpci_le64 reserved;
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_peer_memory) == 32);

/* Where a virtio ring stands: the next available descriptor chain, and the next
 * used one << 16; of a packed ring with its wrap counter in the top bit.  The two
 * are the same, since rings are handed over without what has been taken and not
 * given back. */
#define VPCI_ABI_PEER_WRAP 0x8000u
#define VPCI_ABI_PEER_USED_SHIFT 16

/* Those with even numbers go to the peer, the others come from it. */
struct vpci_abi_peer_ring {
    vpci_le64 desc;             /* The peer's addresses of the three areas, as */
    vpci_le64 driver;           /* virtio 1.1 calls them. */
    vpci_le64 device;
    vpci_le32 size;             /* In descriptors; 0: there is no such ring. */
    vpci_le32 at;               /* Where it stands. */
    vpci_le32 kick;             /* Of what comes from the peer: the signal that
                                 * its driver injects, plus 1; 0: none. */
    vpci_le32 call;             /* The signal that its driver waits for, plus
                                 * 1; 0: none. */
    uint8_t reserved[24];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_peer_ring) == VPCI_ABI_LINE);

/* All but 'turn' changes only while that is even. */
struct vpci_abi_peer {
    vpci_le32 turn;
    uint8_t reserved0[60];

    vpci_le64 features;         /* Of virtio, as the peer's driver has agreed
                                 * on them. */
    vpci_le32 n_rings;          /* 2 to VPCI_ABI_MAX_RINGS. */
    vpci_le32 n_memories;       /* 1 to VPCI_ABI_PEER_MEMORIES. */
    vpci_le64 size;             /* Of the device's memory. */
    uint8_t reserved1[40];

    struct vpci_abi_peer_memory memories[VPCI_ABI_PEER_MEMORIES];
    struct vpci_abi_peer_ring rings[VPCI_ABI_MAX_RINGS];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_peer) == 38 * VPCI_ABI_LINE);

/* Why a guest has given rings back by itself. */
enum vpci_abi_peer_why {
    VPCI_ABI_PEER_WELL = 0,
    VPCI_ABI_PEER_NOT_ACCEPTED = 1, /* The peer has sent what no acceptance
                                     * takes. */
    VPCI_ABI_PEER_BROKEN = 2,   /* A ring of the peer's makes no sense. */
    VPCI_ABI_PEER_UNUSABLE = 3, /* What the switch has said makes no sense, or
                                 * is more than this guest can do. */
    VPCI_ABI_PEER_ENDS = 4      /* The guest's driver ends. */
};

/* A guest's record of a ring: where it will stand after what it is about to
 * publish, and where it stood before.  If they differ when the guest is dead,
 * the ring itself says whether that was published.  In a packed ring that is one
 * frame, or a batch that one descriptor stands for; the chains of a frame are
 * given back from the last one to the first one, each by one store. */
struct vpci_abi_peer_record {
    vpci_le32 next;             /* Written first, */
    vpci_le32 at;               /* and this when it has been published. */
};

struct vpci_abi_peer_words {
    vpci_le32 knows;            /* 1: the guest can drive rings of a peer; it
                                 * has that device open, */
    vpci_le32 device_id;        /* with this ivshmem id, */
    vpci_le32 n_signals;        /* and room for so many signals. */
    vpci_le32 n_rings;          /* Of a peer, that it can drive, */
    vpci_le64 features;         /* with these features of virtio. */
    uint8_t reserved0[40];

    vpci_le32 taken;
    vpci_le32 returned;
    vpci_le32 why;              /* enum vpci_abi_peer_why, of 'returned'. */
    uint8_t reserved1[52];

    struct vpci_abi_peer_record rings[VPCI_ABI_MAX_RINGS];
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_abi_peer_words) == 6 * VPCI_ABI_LINE);

#endif /* vpci/abi.h */
