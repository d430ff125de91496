/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_NET_LINK_H
#define VPCI_NET_LINK_H 1

#include "edit.h"
#include "net-look.h"
#include "net-private.h"
#include "vpci/wire.h"

/* Links of a port
 * ===============
 *
 * A link is a region of its own, with another guest at the other side.  The
 * base region says which links there are, which packets belong on them (hints)
 * and which may come from them (acceptances): see vpci/abi.h.  Of what is in a
 * link's own region nothing but packets is believed, and these are looked up
 * first.
 *
 * Threads: as vpci/net.h says.  The controller, which calls vpci_net_run(),
 * changes what workers use only between net_pause() and net_resume(). */

/* What the other guest has taken of a ring. */
struct net_link_taken {
    uint32_t consumed;          /* Packets, as it said, */
    int64_t at;                 /* at this time, in ms: enough since before, or
                                 * all. */
};

/* Nothing is sent by links with another port for a while. */
struct net_rest {
    uint32_t port;
    int64_t until;              /* In ms, */
    int64_t ms;                 /* which is or was so long; 0: never. */
};

struct net_link {
    struct net_region region;
    struct net_policy policy;
    uint32_t slot;              /* Place in the array of the base region. */
    uint32_t id;                /* Of its region. */
    uint32_t port;              /* Number of the other one. */
    unsigned int side;
    bool is_bad;                /* Its entry makes no sense: region.reason. */
    bool over;                  /* Its entry has gone. */

    /* Whether workers use it, and are to. */
    bool receives, wants_receive;
    bool sends, wants_send;
    int64_t drain_until;        /* It must stop, by then; 0: it need not. */

    /* Whether the other guest takes what is sent to it. */
    struct net_link_taken taken[VPCI_ABI_MAX_RINGS];
    int64_t looked_at;          /* The last time that was looked at. */
    bool is_stuck;              /* It does not; nothing is sent for a while,
                                 * at least. */

    uint32_t acceptances;       /* Their generation, as workers know. */
    struct net_link_counts tx, rx;  /* Of its place, when it came. */
};

/* The ring of a link that a receiver looks at. */
struct net_link_ring {
    struct net_link *link;
    struct net_look *look;
    struct vpci_ring_rx *rx;
    uint32_t queue;             /* Of the link. */
    uint32_t class_;
    uint32_t mark;              /* Those before this number come before packets
                                 * of the base. */
    bool waits;                 /* For other acceptances than these: */
    uint32_t waits_generation;
};

/* Those next to each other in an array that take turns. */
struct net_link_turns {
    uint32_t begin, end;        /* Indexes: none if they are the same. */
    uint32_t next;              /* Whose turn it is. */
    bool is_peer;               /* No rings of a link, but those of the
                                 * peer. */
};

/* What a receiver has received of an acceptance, or a sender has sent of a
 * hint of the peer.  The two of a queue have the same array; atomic, since an
 * entry may be the one's after the other's. */
struct net_flow {
    uint64_t packets;
    uint64_t bytes;
    uint64_t tcp_flags;
};

/* What a receiver knows of the edits in a place. */
struct net_edits {
    const struct net_look *look; /* At the acceptance that has them, */
    uint32_t generation;        /* which was of this one. */
    bool valid;                 /* They make sense. */
    struct vpci_edits edits;
};

/* What a sender knows of the peer: see net-peer.h. */
struct net_peer_tx {
    struct net_peer_ring *ring; /* Null: the peer's rings are not ours now, or
                                 * none of them is this queue's. */

    /* What has stopped the last burst, if w->stuck: this ring, when it had so
     * many buffers; or null, that the rings are not ours. */
    struct net_peer_ring *full;
    unsigned int n_bufs;

    /* Packets of hints of this generation wait until then, in us. */
    bool has_waited;
    uint32_t generation;
    int64_t until;
};

/* What a receiver does. */
struct net_peer_rx {
    struct net_peer_ring *rings[VPCI_ABI_MAX_QUEUES];
    uint32_t n_rings;
    uint32_t next;              /* Whose turn it is. */
    struct net_look *look;      /* At acceptances. */
};

/* What a worker needs for links.  Made by the controller while the worker is
 * outside. */
struct net_link_worker {
    /* Of a sender. */
    struct net_look hints;
    struct vpci_abi_queue *words;
    uint32_t acknowledged;      /* Atomic: in 'words'. */
    struct net_peer_tx peer_tx;

    /* Of a receiver. */
    struct net_look *looks[VPCI_ABI_MAX_LINKS]; /* At acceptances, or null. */
    struct net_link_ring *rings;    /* The highest class first. */
    uint32_t n_rings;
    struct net_link_turns *sharers; /* Rings of a link, of one class, or of the
                                     * peer. */
    uint32_t n_sharers;
    struct net_link_turns classes[VPCI_ABI_MAX_CLASSES];    /* Sharers. */
    uint32_t n_classes;         /* Of rings, or of the base, if it has more. */
    struct net_peer_rx peer_rx;
    struct net_edits *edits;        /* Of each flow. */
    uint64_t refused[VPCI_ABI_MAX_LINKS];
    struct vpci_abi_link_count *link_counts;    /* The same, for the switch. */

    /* Of both: the receiver's. */
    struct net_flow *flows;
    uint32_t n_flows;
    struct vpci_abi_flow_count *flow_counts;    /* For the switch. */

    /* Packets of the base that may be received: those before 'allowed'.  While
     * 'pending', those before 'limit' as well, once all rings are where their
     * marks are; the highest class of them is 'pending_class'. */
    uint32_t allowed[VPCI_ABI_MAX_CLASSES];
    uint32_t limit[VPCI_ABI_MAX_CLASSES];
    uint32_t pending_class;
    bool pending;
};

/* A device of the bus that is a link's, or will be. */
struct net_link_device {
    struct net_link_device *next;
    struct vpci_device *device;
};

/* What the base region says of a link, or of the peer. */
struct net_link_entry {
    uint32_t id;
    uint32_t side;
    uint32_t port;
    struct vpci_shape shape;
};

struct net_links {
    struct net_link *slots[VPCI_ABI_MAX_LINKS]; /* Or null. */
    uint32_t n_channels;        /* Of the base, which said so. */
    struct net_link_device *devices;
    struct net_rest rests[VPCI_ABI_MAX_LINKS];
    struct net_peer *peer;      /* Null: the port has none. */
};

/* Housekeeping, by the controller. */

/* Makes 'net' one that uses links if it can.  Returns 0 or ENOMEM. */
int net_links_init(struct vpci_net *);
void net_links_uninit(struct vpci_net *);

/* A device that is not the base has come or gone. */
void net_links_handle(struct vpci_net *, const struct vpci_bus_event *);

/* Before the switch may believe that we are there. */
void net_links_prepare(void *net);

/* Workers begin, and have stopped: they are outside. */
void net_links_start(struct vpci_net *);
void net_links_stop(struct vpci_net *);

/* Does what is due; the base has done so. */
void net_links_run(struct vpci_net *, int64_t now_ms);

/* Tells how links stand: up to VPCI_ABI_MAX_LINKS of them.  Returns how
 * many. */
uint32_t net_links_get_infos(const struct vpci_net *,
                             struct vpci_net_link_info infos[]);

/* Reads entry 'slot'.  Returns false if there is no link, or no longer. */
bool net_link_read_entry(const struct net_region *base, uint32_t slot,
                         struct net_link_entry *);

/* Finds the device that has the name 'name', or is known by our ivshmem id
 * there, as the switch says, if that is not 0.  Returns null if there is
 * none. */
struct vpci_device *net_links_find_device(const struct net_links *,
                                          const char *name,
                                          uint32_t guest_id);

/* Packets of a place, of all workers. */
struct net_link_counts net_links_sum_counts(const struct net_worker workers[],
                                            uint32_t slot);

/* Makes the arrays of rings anew.  Workers are outside. */
void net_link_workers_update(struct vpci_net *);

/* Makes, or frees, what all workers of the queues in use need. */
void net_link_workers_create(struct vpci_net *);
void net_link_workers_destroy(struct vpci_net *);

/* Returns the receiver's look at what the link in place 'slot', or the peer,
 * may send, or null if there is no memory for it. */
struct net_look *net_link_worker_look(const struct vpci_net *,
                                      struct net_link_worker *, uint32_t slot);

/* What becomes of a packet at its receiver. */
struct net_change {
    bool edited;                /* Its headers change; */
    int growth;                 /* it becomes longer by so many bytes. */
};

/* True if the packet in '*buf', of which all bytes are there, may go to
 * another guest without the switch: who sends it may do so, with features of
 * virtio-net 'sends', and who receives it takes it, with 'takes'.  Then
 * '*wire' says what is left to do for it. */
bool net_may_carry(const struct net_policy *policy, uint64_t sends,
                   uint64_t takes, const struct vpci_ring_buf *buf,
                   const struct net_change *, struct vpci_wire *wire);

/* The same by a link, which has agreed on features. */
static inline bool
net_link_carries(const struct net_link *link, const struct vpci_ring_buf *buf,
                 const struct net_change *change, struct vpci_wire *wire)
{
    return net_may_carry(&link->policy, UINT64_MAX, link->policy.features, buf,
                         change, wire);
}

/* Counts packets of 'entry', which is below lw->n_flows. */
static inline void
net_count_flow(struct net_link_worker *lw, uint32_t entry, uint64_t packets,
               uint64_t bytes, uint16_t tcp_flags)
{
    struct vpci_abi_flow_count *shared = &lw->flow_counts[entry];
    struct net_flow *flow = &lw->flows[entry];

    packets += __atomic_load_n(&flow->packets, __ATOMIC_RELAXED);
    bytes += __atomic_load_n(&flow->bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&flow->packets, packets, __ATOMIC_RELAXED);
    __atomic_store_n(&flow->bytes, bytes, __ATOMIC_RELAXED);
    vpci_store64(&shared->packets, packets);
    vpci_store64(&shared->bytes, bytes);
    if (tcp_flags & ~__atomic_load_n(&flow->tcp_flags, __ATOMIC_RELAXED)) {
        uint64_t all = flow->tcp_flags | tcp_flags;

        __atomic_store_n(&flow->tcp_flags, all, __ATOMIC_RELAXED);
        vpci_store64(&shared->tcp_flags, all);
    }
}

/* True if 'policy' allows packets of 'len' bytes that become longer by
 * 'growth'. */
static inline bool
net_policy_allows(const struct net_policy *policy, uint32_t len, int growth)
{
    return (len - 1 < policy->max_len
            && (int64_t) len + growth <= policy->max_len);
}

/* Region 'i' of those that a sender of 'queue' uses, 0 being the base, or
 * null.  From NET_TX_REGIONS on there are none. */
#define NET_TX_REGIONS (1 + VPCI_ABI_MAX_LINKS)
const struct net_region *net_tx_region(const struct vpci_net *,
                                       const struct net_worker *,
                                       uint32_t queue, uint32_t i);

/* Workers: as vpci_net_tx_burst() and vpci_net_rx_burst(), if w->links is not
 * null. */
unsigned int net_links_send(struct vpci_net *, struct net_worker *,
                            uint32_t queue, const struct vpci_ring_buf bufs[],
                            unsigned int n);
unsigned int net_links_receive(struct vpci_net *, struct net_worker *,
                               uint32_t queue, struct vpci_ring_buf bufs[],
                               unsigned int n);

/* Classes of rings of the receiver that have a packet that need not wait, as a
 * bitmap; asks to be woken by rings of which that is not so; and takes that
 * back. */
unsigned int net_links_ready(const struct net_worker *);
bool net_links_ask(const struct net_worker *);
void net_links_awake(const struct net_worker *, bool never);

#endif /* lib/vpci/net-link.h */
