/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_NET_PEER_H
#define VPCI_NET_PEER_H 1

#include <linux/virtio_net.h>

#include "net-link.h"
#include "vpci/vring.h"
#include "vring-layout.h"

/* The peer of a port
 * ==================
 *
 * Another guest, whose virtio-net rings we drive in the switch's place while
 * that is our turn: see "Peers" in vpci/abi.h.  Its memory is a device, which
 * has nothing of ours: what there is in it, and in the rings, is checked by
 * the ring engine (vpci/vring.h), and what the switch says of it here.
 *
 * net-peer.c finds the device, and takes and returns rings, which
 * net-peer-ring.c starts and stops; net-peer-tx.c and net-peer-rx.c use them.
 *
 * Threads: as net-link.h says.  Each ring is used by one worker, and its
 * record is written by that one. */

/* How often who waits for something of a peer that nobody tells of looks by
 * itself, in us. */
#define NET_PEER_POLL_US 250

/* Features of virtio that a peer's driver may have agreed on: those that the
 * ring engine knows, and others that do not matter to the rings. */
#define NET_PEER_BIT(N) (UINT64_C(1) << (N))
#define NET_PEER_NET_BIT(NAME) NET_PEER_BIT(VIRTIO_NET_F_##NAME)
#define NET_PEER_RING_BIT(NAME) NET_PEER_BIT(VRING_F_##NAME)
#define NET_PEER_FEATURES                                                   \
    (NET_PEER_NET_BIT(CSUM) | NET_PEER_NET_BIT(GUEST_CSUM)                  \
     | NET_PEER_NET_BIT(MTU) | NET_PEER_NET_BIT(MAC)                        \
     | NET_PEER_NET_BIT(GSO)                                                \
     | NET_PEER_NET_BIT(GUEST_TSO4) | NET_PEER_NET_BIT(GUEST_TSO6)          \
     | NET_PEER_NET_BIT(GUEST_ECN) | NET_PEER_NET_BIT(GUEST_UFO)            \
     | NET_PEER_NET_BIT(HOST_TSO4) | NET_PEER_NET_BIT(HOST_TSO6)            \
     | NET_PEER_NET_BIT(HOST_ECN) | NET_PEER_NET_BIT(HOST_UFO)              \
     | NET_PEER_NET_BIT(MRG_RXBUF) | NET_PEER_NET_BIT(STATUS)               \
     | NET_PEER_NET_BIT(CTRL_VQ) | NET_PEER_NET_BIT(CTRL_RX)                \
     | NET_PEER_NET_BIT(CTRL_VLAN) | NET_PEER_NET_BIT(GUEST_ANNOUNCE)       \
     | NET_PEER_NET_BIT(MQ) | NET_PEER_NET_BIT(CTRL_MAC_ADDR)               \
     | NET_PEER_RING_BIT(ANY_LAYOUT) | NET_PEER_RING_BIT(INDIRECT_DESC)     \
     | NET_PEER_RING_BIT(EVENT_IDX) | NET_PEER_RING_BIT(VERSION_1)          \
     | NET_PEER_RING_BIT(PACKED) | NET_PEER_RING_BIT(IN_ORDER)              \
     | NET_PEER_BIT(VPCI_NET_F_GUEST_USO4)                                  \
     | NET_PEER_BIT(VPCI_NET_F_GUEST_USO6)                                  \
     | NET_PEER_BIT(VPCI_NET_F_HOST_USO))

/* One ring. */
struct net_peer_ring {
    struct net_peer *peer;
    struct vpci_vring *vring;   /* Or null. */
    struct vpci_signal *call;   /* Its driver waits for that; or null. */
    struct vpci_signal *kick;   /* Its driver injects that; or null. */
    struct net_worker *worker;  /* Whose it is, or null: nobody's. */

    /* A burst of that worker's. */
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    struct vpci_iov iov[VPCI_VRING_BURST];
    uint64_t bytes[VPCI_VRING_BURST];       /* As they would be on a wire. */
    uint32_t packets[VPCI_VRING_BURST];
};

struct net_peer {
    struct vpci_net *net;
    uint32_t slot;              /* Its place. */
    uint32_t id;                /* Of its entry; 0: there is none. */
    struct net_link_counts tx, rx;  /* Of its place, when that came. */

    struct vpci_device *device; /* Or null. */
    bool departed;              /* Its bus does not have it any more. */
    int64_t retry_at;           /* When to open it, */
    int64_t retry_ms;           /* and how long to wait after that. */
    enum vpci_net_state state;  /* Running: we have the rings. */
    char reason[256];           /* Why we have not. */
    uint32_t n_signals;         /* That there is room for, as the words say; 0:
                                 * they say nothing. */

    uint32_t answered;          /* The turn that was taken or returned last. */
    bool holds;                 /* We have the rings, of the turn 'answered'. */
    uint32_t why;               /* Atomic, enum vpci_abi_peer_why: a worker has
                                 * found out that they must go back. */
    bool marked;                /* Atomic: nothing is received before rings of
                                 * the base, by index, are at these: */
    uint32_t marks[VPCI_ABI_MAX_RINGS];

    /* What the switch says of the rings that we have: a copy. */
    struct vpci_abi_peer said;
    uint64_t features;
    uint32_t n_rings;
    struct vpci_memory memory;
    struct net_peer_ring rings[VPCI_ABI_MAX_RINGS];

    /* What is wrong with one, says whoever comes first: atomic. */
    struct vpci_peer funnel;
    bool fault_claimed;
    struct vpci_fault fault;
};

/* True if place 'slot' of the base region is a peer's. */
static inline bool
net_peer_has_place(const struct net_region *base, uint32_t slot)
{
    return (base->layout.shape.kind == VPCI_ABI_BASE_PEER
            && slot == vpci_layout_peer_place(&base->layout));
}

/* True if the hint 'verdict' names the peer. */
static inline bool
net_peer_is_named(const struct vpci_net *net, uint64_t verdict)
{
    const struct net_peer *p = net->links->peer;

    return (p && p->id && verdict >> VPCI_ABI_HINT_ID_SHIFT == p->id
            && (verdict & VPCI_ABI_HINT_PLACE_MASK) == p->slot);
}

/* Of a worker, which has a ring: true if it may be used. */
static inline bool
net_peer_is_usable(const struct net_peer *p)
{
    return !__atomic_load_n(&p->why, __ATOMIC_RELAXED);
}

/* What the switch says of the peer, and the guest. */
static inline const struct vpci_abi_peer *
net_peer_said(const struct net_region *base)
{
    return vpci_layout_peer(&base->layout, base->base);
}

static inline struct vpci_abi_peer_words *
net_peer_words(const struct net_region *base)
{
    return vpci_layout_peer_words(&base->layout, base->base);
}

/* True if the signals that the rings in p->said have are there, and are those
 * of the peer's driver as it is now: the keeper tells of them, while the
 * switch tells of the rest. */
bool net_peer_has_signals(struct net_peer *p);

/* Starts all rings as p->said says, with records.  Returns null, or what is
 * wrong. */
const char *net_peer_start_rings(struct net_peer *);

/* Stops them: nobody uses them any more.  Their records say where they are. */
void net_peer_stop_rings(struct net_peer *);

/* Housekeeping, by the controller: as the functions of net-link.h.  The first
 * one is for before the switch may believe that we are there. */
void net_peer_prepare(struct vpci_net *);
void net_peer_run(struct vpci_net *, int64_t now_ms);
void net_peer_stop(struct vpci_net *);
void net_peer_destroy(struct vpci_net *);
void net_peer_departed(struct vpci_net *, const struct vpci_device *device);

/* Whose turn the switch says it is: 0 if there is no peer. */
uint32_t net_peer_turn(const struct vpci_net *);

/* Becomes readable when the peer's device has something to say; or -1. */
int net_peer_fd(const struct vpci_net *);

/* Tells how it stands.  Returns 1, or 0 if there is none. */
uint32_t net_peer_get_info(const struct vpci_net *,
                           struct vpci_net_link_info *info);

/* Finds the rings of the receiver, and that of the sender, of 'queue'.
 * Workers are outside. */
void net_peer_find_rx(struct vpci_net *, struct net_link_worker *,
                      uint32_t queue);
void net_peer_find_tx(struct vpci_net *, struct net_link_worker *,
                      uint32_t queue);

/* The rings must go back, because of 'why': of any thread, while it is known
 * that there is a peer. */
void net_peer_end(struct net_peer *, enum vpci_abi_peer_why why);

/* Senders: sends 'n' packets, at most VPCI_STEER_BURST, whose hint, 'verdict',
 * names the peer, and which have 'tcp_flags', in network byte order, or, if
 * that is null, none: by the peer's ring, or by the base.  Returns how many
 * are done with. */
unsigned int net_peer_send(struct vpci_net *, struct net_worker *,
                           uint32_t queue, uint64_t verdict,
                           const struct vpci_ring_buf bufs[],
                           const uint16_t tcp_flags[], unsigned int n);

/* True if what has stopped a burst of such packets may be over. */
bool net_peer_may_send(const struct net_worker *);

/* Receivers: up to 'n' packets from the peer's rings. */
unsigned int net_peer_receive(struct vpci_net *, struct net_worker *,
                              struct vpci_ring_buf bufs[], unsigned int n);

/* Classes of the receiver that the peer has a packet of, as a bitmap; asks to
 * be woken by those rings, or returns false if one has something; and takes
 * that back. */
unsigned int net_peer_ready(const struct net_worker *);
bool net_peer_ask(const struct net_worker *);
void net_peer_awake(const struct net_worker *);

/* When a worker that would sleep is to look by itself, in us, or -1. */
int64_t net_peer_until(const struct net_worker *);

#endif /* lib/vpci/net-peer.h */
