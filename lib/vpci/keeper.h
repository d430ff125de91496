/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_KEEPER_H
#define VPCI_KEEPER_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the switch and the keeper say to each other
 * ================================================
 *
 * The keeper, vpcid, listens on a UNIX socket of type SOCK_SEQPACKET.  One
 * switch at a time connects, says HELLO, and sends requests.  Each request has
 * a reply with the same transaction id ('xid'); LIST has several.  Between
 * replies the keeper sends events, whose 'xid' is 0.
 *
 * A message is one packet: a header, then a body whose size goes by the type,
 * then descriptors by SCM_RIGHTS.  Both ends are on one machine, so that
 * integers and errno values are the machine's own.  Bytes that mean nothing
 * are zero.
 *
 *     request       body          reply's body  descriptors of the reply
 *     ---------     ------------  ------------  ------------------------
 *     HELLO         hello         welcome       none
 *     LIST          none          region        none; one reply for each
 *                                               region, by ascending id; then
 *                                               one of type LIST_END, with
 *                                               body count
 *     BASE_ADD      base_add      region        memory, private memory
 *     LINK_ADD      link_add      region        memory
 *     LINK_GET      id            region        memory
 *     DEL           id            count         none
 *     PEER_ADD      peer_add      region        none
 *     PEER_SIGNALS  signals_add   peer_signals  none
 *     STATIC_ADD    static_add    region        memory
 *
 * Two requests have descriptors themselves:
 *
 *     PEER_ADD      the memory
 *     PEER_SIGNALS  'n_kicks' eventfds, then 'n_calls'
 *
 *     event       body          descriptors
 *     ---------   ------------  -----------
 *     PEER_UP     peer_up       'n_vectors' eventfds that interrupt the
 *                               client, by vector; for a base region,
 *                               'n_vectors' more that the client rings for
 *                               the switch; for the region of a peer, one,
 *                               as 'n_vectors' says
 *     PEER_DOWN   peer_down     none
 *
 * A reply whose 'error' is not 0 has body 'text' instead, and no descriptors.
 *
 * BASE_ADD of a path that the keeper has already adopts the region, with its
 * contents, if all parameters agree (a 'private_size' of 0 agrees with the
 * default).  Events are for regions that this connection has added or adopted;
 * after the reply there is a PEER_UP for each client that is there, also if it
 * was told of before.  An end has one client at a time: between two PEER_UPs
 * there is a PEER_DOWN.  If the switch is slow, it is not told of clients that
 * came and went meanwhile ('n_clients' has counted them), with one exception:
 * when an end of a link is over, it gets a PEER_DOWN even without a PEER_UP.
 * No PEER_DOWN comes for a region that DEL deletes, nor for its links and its
 * peer's, which go with it.
 *
 * STATIC_ADD makes a static link: one that clients may leave and connect to
 * again, for devices that virtual machines have from the start.  Its sockets
 * have paths that are known before: for end 0 that of base region 0 with
 * VPCI_KEEPER_STATIC_INFIX and the name of port 1 behind it, and the other way
 * round.  They have those of other links as well, with the region's id, for
 * clients that are told of that.  No end is ever over: between clients it
 * listens, and the next finds the memory as the last left it.  Two base
 * regions have one static link at most: STATIC_ADD adopts it, with its
 * clients, if all parameters agree; otherwise it deletes it first, as DEL
 * does.  From then on it is a link as others are.
 *
 * A client that is not told of departures has a new peer for each client that
 * comes to the other end.  The one that would get more of them than
 * VPCI_KEEPER_MAX_PEERS is disconnected.
 *
 * 'end' in a reply says how an end was when the request was served.  Only
 * PEER_UP says that there is a client: one that was there may have gone before
 * the switch could be told of it.
 *
 * When the connection ends, all that the keeper has stays as it is.
 *
 * The region of a peer has memory that the switch brings: the RAM of a virtual
 * machine, the peer, whose virtio rings the guest of a base region is to
 * drive.  It is a file of tmpfs or hugetlbfs, open for reading and writing, of
 * exactly 'size' bytes; it need not be sealed, since that of QEMU is not, so
 * that whoever has the file can take the memory from under its users.  What is
 * in it, the keeper never looks at.  There is one such region for a base
 * region at most: PEER_ADD adopts it if it has the same file and parameters,
 * and is refused with EEXIST if not; then DEL makes room.  Its socket is that
 * of the base region with VPCI_KEEPER_PEER_SUFFIX behind it.  Clients come and
 * go there as at a base region, but there is no second side: a client gets its
 * vector 0, which the switch may ring, and what PEER_SIGNALS brings.
 *
 * PEER_SIGNALS gives client 'peer' of such a region signals of the virtual
 * machine: 'kicks', which that one injects, as further vectors of its own,
 * from 'first_kick' on; and 'calls', which it waits for, as the vectors, from
 * 0 on, of an ivshmem peer with a new id, 'peer' of the reply.  The keeper
 * closes its descriptors of them.  A client is sent calls
 * VPCI_KEEPER_MAX_PEERS times at most, 'n_vectors' of them at a time, and
 * 'n_vectors' of its own, vector 0 among them: 'n_left' says how many of those
 * are left.  It is not told that an earlier peer has gone: QEMU 7.2 frees what
 * it has for one then, and uses it later.
 *
 *     EINVAL    not the region of a peer; no signals, or more kicks or calls
 *               than any client can have; a descriptor is not an eventfd
 *     ENOENT    no such region
 *     ENOTCONN  no such client, or it did not read and has been disconnected
 *     ENOSPC    the client has had all the signals that it can: its device is
 *               to be unplugged and plugged in again; or no ids are left
 *
 * The ivshmem ids of clients of such regions have the bit VPCI_ABI_PEER_ID
 * (vpci/abi.h).  No other id that the keeper gives, to whomever, has it.
 *
 * Before HELLO every request is refused with EPROTO.  A version that the
 * keeper does not know is refused with EPROTONOSUPPORT, a second switch with
 * EBUSY (and its connection closed), an unknown type with EOPNOTSUPP.  After
 * anything that cannot be read as a message, the keeper replies, if it can,
 * with EPROTO and closes the connection.
 *
 * Threads: the functions below keep no state; one thread at a time may use a
 * message. */

#define VPCI_KEEPER_MAGIC 0x6b697076    /* "vpik" in the memory of x86. */
#define VPCI_KEEPER_VERSION 1

/* Longest path of an ivshmem socket, with its null byte. */
#define VPCI_KEEPER_PATH_SIZE 512

/* Longest path of a base region, with its null byte: leaves room for what the
 * sockets of links and peers add to it. */
#define VPCI_KEEPER_BASE_PATH_SIZE (VPCI_KEEPER_PATH_SIZE - 16)

/* Behind the path of a base region: the socket of its peer. */
#define VPCI_KEEPER_PEER_SUFFIX ".peer"

/* Behind the path of a base region, and before the name of another port: the
 * socket of a static link. */
#define VPCI_KEEPER_STATIC_INFIX ".to-"

#define VPCI_KEEPER_TEXT_SIZE 384
#define VPCI_KEEPER_NAME_SIZE 64

/* Size of a region's memory, in bytes.  A power of two, since QEMU makes a PCI
 * BAR of it. */
#define VPCI_KEEPER_MIN_SIZE (UINT64_C(1) << 12)
#define VPCI_KEEPER_MAX_SIZE (UINT64_C(1) << 30)
#define VPCI_KEEPER_MAX_PEER_SIZE (UINT64_C(1) << 40)

/* Size of a base region's private memory, in bytes: a multiple of a page. */
#define VPCI_KEEPER_PRIVATE_PAGE UINT64_C(4096)
#define VPCI_KEEPER_MAX_PRIVATE (UINT64_C(1) << 24)

/* Vectors of each end of a region. */
#define VPCI_KEEPER_MAX_VECTORS 32

/* How often a client of a peer's region is given calls, and of how many peers
 * one of a static link is told. */
#define VPCI_KEEPER_MAX_PEERS 32

/* Descriptors in one message. */
#define VPCI_KEEPER_MAX_FDS (2 * VPCI_KEEPER_MAX_VECTORS)

enum vpci_keeper_type {
    /* Requests. */
    VPCI_KEEPER_HELLO = 1,
    VPCI_KEEPER_LIST = 2,
    VPCI_KEEPER_BASE_ADD = 3,
    VPCI_KEEPER_LINK_ADD = 4,
    VPCI_KEEPER_LINK_GET = 5,
    VPCI_KEEPER_DEL = 6,
    VPCI_KEEPER_PEER_ADD = 7,
    VPCI_KEEPER_PEER_SIGNALS = 8,
    VPCI_KEEPER_STATIC_ADD = 9,

    /* Events. */
    VPCI_KEEPER_PEER_UP = 0x4001,
    VPCI_KEEPER_PEER_DOWN = 0x4002,

    /* Replies have the request's type and this bit. */
    VPCI_KEEPER_REPLY = 0x8000,
    VPCI_KEEPER_LIST_END = VPCI_KEEPER_REPLY | 0x7f,
};

enum vpci_keeper_kind {
    VPCI_KEEPER_BASE = 1,       /* The switch and a guest. */
    VPCI_KEEPER_LINK = 2,       /* Two guests. */
    VPCI_KEEPER_PEER = 3,       /* A guest, and the memory of another one. */
};

/* State of an end of a region. */
enum vpci_keeper_end {
    VPCI_KEEPER_END_NONE = 0,   /* The second end of what has one. */
    VPCI_KEEPER_END_FREE = 1,   /* Listens. */
    VPCI_KEEPER_END_UP = 2,     /* Has a client. */
    VPCI_KEEPER_END_OVER = 3,   /* Of a link that is not static: its client has
                                 * gone. */
};

struct vpci_keeper_header {
    uint32_t magic;             /* VPCI_KEEPER_MAGIC. */
    uint16_t version;           /* VPCI_KEEPER_VERSION. */
    uint16_t type;              /* enum vpci_keeper_type. */
    uint32_t xid;               /* 0 in events only. */
    uint32_t error;             /* 0 or a positive errno; 0 in requests. */
    uint32_t length;            /* Of header and body, in bytes. */
    uint32_t n_fds;             /* Descriptors that come along. */
};

struct vpci_keeper_hello {
    uint32_t min_version;       /* What the switch can speak. */
    uint32_t max_version;
    char name[VPCI_KEEPER_NAME_SIZE];   /* Of the switch, for people. */
};

struct vpci_keeper_welcome {
    uint32_t version;           /* What will be spoken. */
    uint32_t pid;               /* Of the keeper. */
    uint32_t n_regions;
    uint32_t reserved;
    uint8_t uuid[16];           /* In the order of its digits.  A keeper that
                                 * lost everything, or another one, has
                                 * another UUID. */
};

struct vpci_keeper_base_add {
    char path[VPCI_KEEPER_PATH_SIZE];   /* Absolute. */
    uint64_t size;              /* In bytes. */
    uint64_t private_size;      /* In bytes; 0 for one page. */
    uint32_t n_vectors;         /* Of the guest and of the switch. */
    uint32_t reserved;
};

struct vpci_keeper_link_add {
    uint64_t size;              /* In bytes. */
    uint32_t n_vectors;         /* Of each end. */
    uint32_t base[2];           /* Ids of the base regions of ends 0 and 1. */
    uint32_t reserved;
};

struct vpci_keeper_static_add {
    uint64_t size;              /* In bytes. */
    uint32_t n_vectors;         /* Of each end. */
    uint32_t base[2];           /* Ids of the base regions of ends 0 and 1. */
    uint32_t reserved;
    char name[2][VPCI_KEEPER_NAME_SIZE];    /* Of the ports of these. */
};

struct vpci_keeper_id {
    uint32_t region;
    uint32_t reserved;
};

struct vpci_keeper_peer_add {
    uint64_t size;              /* In bytes: a power of two from
                                 * VPCI_KEEPER_MIN_SIZE to
                                 * VPCI_KEEPER_MAX_PEER_SIZE. */
    uint32_t base;              /* Id of the guest's base region. */
    uint32_t n_vectors;         /* Of the guest, vector 0 among them. */
};

struct vpci_keeper_signals_add {
    uint32_t region;
    uint32_t n_kicks;           /* Each up to VPCI_KEEPER_MAX_VECTORS. */
    uint32_t n_calls;
    uint32_t peer;              /* ivshmem id of the client that is meant. */
};

struct vpci_keeper_peer_signals {
    uint32_t region;
    uint32_t peer;              /* ivshmem id, in the client's eyes, of who
                                 * waits for the calls; 0 without calls. */
    uint32_t first_kick;        /* The client's vector of the first kick. */
    uint32_t n_left;            /* Vectors of its own that the client can still
                                 * be sent. */
};

struct vpci_keeper_region {
    uint32_t id;                /* Never 0, never used again. */
    uint32_t kind;              /* enum vpci_keeper_kind. */
    uint64_t size;              /* In bytes. */
    uint64_t private_size;      /* In bytes; 0 but in base regions. */
    uint32_t n_vectors;         /* Of each end. */
    uint32_t adopted;           /* 1 if it was there already. */
    uint32_t base[2];           /* Ids of the base regions of a link, or of the
                                 * one of a peer. */
    uint32_t end[2];            /* enum vpci_keeper_end. */
    char path[2][VPCI_KEEPER_PATH_SIZE];    /* Of the ends' sockets. */
};

struct vpci_keeper_count {
    uint32_t n;                 /* Regions listed, or deleted. */
    uint32_t reserved;
};

struct vpci_keeper_peer_up {
    uint32_t region;
    uint32_t end;               /* 0 or 1. */
    uint32_t peer;              /* ivshmem id of the client. */
    uint32_t self;              /* Of a base region: the switch's ivshmem id,
                                 * as this client knows it.  Otherwise 0. */
    uint32_t pid;               /* Of the client, as its socket tells. */
    uint32_t uid;
    uint32_t n_vectors;         /* That the descriptors are of: all, but in the
                                 * region of a peer 1. */
    uint32_t reserved;
    uint64_t n_clients;         /* That this end has ever had. */
};

struct vpci_keeper_peer_down {
    uint32_t region;
    uint32_t end;
    uint32_t peer;              /* ivshmem id that the client had. */
    uint32_t reserved;
    char text[VPCI_KEEPER_TEXT_SIZE];   /* Why it has gone. */
};

struct vpci_keeper_text {
    char text[VPCI_KEEPER_TEXT_SIZE];
};

union vpci_keeper_body {
    struct vpci_keeper_hello hello;
    struct vpci_keeper_welcome welcome;
    struct vpci_keeper_base_add base_add;
    struct vpci_keeper_link_add link_add;
    struct vpci_keeper_static_add static_add;
    struct vpci_keeper_peer_add peer_add;
    struct vpci_keeper_signals_add signals_add;
    struct vpci_keeper_peer_signals peer_signals;
    struct vpci_keeper_id id;
    struct vpci_keeper_region region;
    struct vpci_keeper_count count;
    struct vpci_keeper_peer_up peer_up;
    struct vpci_keeper_peer_down peer_down;
    struct vpci_keeper_text error;
};

#define VPCI_KEEPER_ASSERT_SIZE(NAME, SIZE)                             \
    _Static_assert(sizeof(struct vpci_keeper_##NAME) == (SIZE),         \
                   "size of struct vpci_keeper_" #NAME)
VPCI_KEEPER_ASSERT_SIZE(header, 24);
VPCI_KEEPER_ASSERT_SIZE(hello, 72);
VPCI_KEEPER_ASSERT_SIZE(welcome, 32);
VPCI_KEEPER_ASSERT_SIZE(base_add, 536);
VPCI_KEEPER_ASSERT_SIZE(link_add, 24);
VPCI_KEEPER_ASSERT_SIZE(static_add, 152);
VPCI_KEEPER_ASSERT_SIZE(peer_add, 16);
VPCI_KEEPER_ASSERT_SIZE(signals_add, 16);
VPCI_KEEPER_ASSERT_SIZE(peer_signals, 16);
VPCI_KEEPER_ASSERT_SIZE(id, 8);
VPCI_KEEPER_ASSERT_SIZE(region, 1072);
VPCI_KEEPER_ASSERT_SIZE(count, 8);
VPCI_KEEPER_ASSERT_SIZE(peer_up, 40);
VPCI_KEEPER_ASSERT_SIZE(peer_down, 400);
VPCI_KEEPER_ASSERT_SIZE(text, 384);

/* A message.  The header and the body lie behind each other, as they are
 * sent. */
struct vpci_keeper_msg {
    struct vpci_keeper_header header;
    union vpci_keeper_body body;
    int fds[VPCI_KEEPER_MAX_FDS];   /* The first 'header.n_fds' count. */
};
_Static_assert(offsetof(struct vpci_keeper_msg, body)
               == sizeof(struct vpci_keeper_header), "no padding");

/* Who receives a message. */
enum vpci_keeper_side {
    VPCI_KEEPER_SIDE_KEEPER,    /* It gets requests. */
    VPCI_KEEPER_SIDE_SWITCH,    /* It gets replies and events. */
};

/* Makes '*msg' a message of 'type' without error and descriptors, with a body
 * of zeros.  For a reply whose error is to be set, see below. */
void vpci_keeper_msg_init(struct vpci_keeper_msg *, uint16_t type,
                          uint32_t xid);

/* Makes '*msg' the reply that refuses a request of 'type' and 'xid'.  'error'
 * is a positive errno.  The text is cut to VPCI_KEEPER_TEXT_SIZE - 1 bytes. */
void vpci_keeper_msg_refuse(struct vpci_keeper_msg *, uint16_t type,
                            uint32_t xid, int error, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* Adds 'fd' to '*msg'.  It stays the caller's, and open until the message has
 * been sent. */
void vpci_keeper_msg_add_fd(struct vpci_keeper_msg *, int fd);

/* Closes the descriptors of a message that was received. */
void vpci_keeper_msg_close_fds(struct vpci_keeper_msg *);

/* Sends '*msg' on 'sock' without blocking.  Returns 0, EAGAIN if the other
 * side is slow (wait for POLLOUT), ETOOMANYREFS if too many descriptors of
 * this user are on their way (try again later), or another positive errno,
 * after which the connection is of no use. */
int vpci_keeper_send(int sock, const struct vpci_keeper_msg *);

/* Receives a message of 'sock' in '*msg', without blocking, for 'side'.
 *
 * Returns 0 if it is sound: then magic, version, type, length, reserved bytes
 * and strings are right, and its descriptors, as many as the type asks for,
 * are what they should be: sealed memory of the right size, or eventfds, which
 * block who rings them if a client wants that (vpci/doorbell.h).  They are the
 * caller's, and have FD_CLOEXEC.  What the descriptors of a request are, which
 * the switch has from guests, is for the keeper to find out: if they are
 * wrong, that is no nonsense of the switch's.
 *
 * Otherwise returns a positive errno, and no descriptor is left open.  'why'
 * becomes a short text, cut to VPCI_KEEPER_TEXT_SIZE bytes:
 *
 *     EAGAIN           there is nothing.
 *     ENOTCONN         the other side has closed the connection.
 *     EOPNOTSUPP       unknown type, but a header that can be replied to.
 *     EPROTONOSUPPORT  unknown version, but a header that can be replied to.
 *     EMFILE           its descriptors could not be had, but a header that can
 *                      be replied to.
 *     EPROTO           nonsense.  'msg->header' can be replied to if its
 *                      'magic' is VPCI_KEEPER_MAGIC, otherwise it is all
 *                      zeros.
 *     others           the socket's own errors.
 */
int vpci_keeper_recv(int sock, enum vpci_keeper_side,
                     struct vpci_keeper_msg *,
                     char why[VPCI_KEEPER_TEXT_SIZE]);

/* True if 'fd' is memory of 'size' bytes, sealed so that it cannot shrink or
 * grow and the seals stay. */
bool vpci_keeper_is_sealed_memory(int fd, uint64_t size);

#endif /* vpci/keeper.h */
