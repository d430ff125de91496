/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_PRIVATE_H
#define NETDEV_VPCI_PRIVATE_H 1

/* What the files of the netdev provider share.
 *
 *     netdev-vpci.c          the class, life cycle, flags, reconfiguration
 *     netdev-vpci-config*.c  options: parsing, checking, reporting
 *     netdev-vpci-base.c     device vpci-net: a region shared with the guest
 *     netdev-vpci-call.c     what its guest asks the switch
 *     netdev-vpci-keeper.c   the keeper, which has the regions
 *     netdev-vpci-link*.c    links: from guest to guest without the switch
 *     netdev-vpci-vhost.c    librte_vhost: sockets, connections, messages
 *     netdev-vpci-fds.c      descriptors that come with messages
 *     netdev-vpci-filter.c   what of their messages the library may see
 *     netdev-vpci-memory.c   the memory of front ends
 *     netdev-vpci-rings.c    which rings run
 *     netdev-vpci-follow.c   how many of them the datapath polls, and where
 *     netdev-vpci-queues.c   which of them a packet goes to
 *     netdev-vpci-rxtx.c     the flow path: receive and send
 *     netdev-vpci-splice.c   the splice path: from ring to ring
 *     netdev-vpci-datapath.c what the datapath is configured to do
 *     netdev-vpci-wire.c     frames of guests with work undone
 *     netdev-vpci-tso.c      packets of the datapath with work undone
 *     netdev-vpci-mempool.c  mbufs
 *     netdev-offload-vpci.c  the flow API: megaflows as steering entries
 *     netdev-vpci-match.c    matches of megaflows as keys of steering tables
 *     netdev-vpci-actions.c  actions of megaflows as programs
 *     netdev-vpci-qos.c      policers
 *     netdev-vpci-stats.c    statistics and status
 *     netdev-vpci-show.c     ovs-appctl vpci/show
 *     netdev-vpci-steering.c ovs-appctl vpci/steering, vpci/refusals
 *
 * Locks, outermost first:
 *
 *     vpci_mutex      the list of ports and connections
 *     dev->mutex      everything in one port that has no other rule
 *     librte_vhost    its own
 *     links_mutex     all links
 *     offload->mutex  the megaflows of one port; of the above, only
 *                     links_mutex with it
 *     sources_mutex   which ports splice; innermost
 *
 * No function of librte_vhost that registers, starts or unregisters a socket
 * is called with one of our mutexes held: those call back, or wait for a
 * thread that calls back.
 *
 * PMD threads take none.  They pass a gate (see vpci/gate.h) for each
 * burst; whoever changes what lies behind a gate shuts it first.  What they do
 * with another port while they splice lies between vpci_steer_enter() and
 * vpci_steer_leave(): see netdev-vpci-splice.c. */

#include <config.h>

#ifndef DPDK_NETDEV
#error "Open vSwitch must be configured --with-dpdk: rebuild it so."
#endif

#include <sys/stat.h>

#include <rte_config.h>
#include <rte_mbuf.h>
#include <rte_vhost.h>

#include "dp-packet.h"
#include "netdev-provider.h"
#include "netdev-vpci-target.h"
#include "openvswitch/list.h"
#include "openvswitch/thread.h"
#include "openvswitch/vlog.h"
#include "ovs-atomic.h"
#include "ovs-rcu.h"
#include "util.h"
#include "vpci/classes.h"
#include "vpci/gate.h"
#include "vpci/guard.h"
#include "vpci/memory.h"
#include "vpci/spread.h"
#include "vpci/vring.h"

/* An mbuf must be the head of each dp_packet, or every cast between the two is
 * wrong.  It is so only if this file and OVS itself agree on DPDK_NETDEV. */
BUILD_ASSERT_DECL(offsetof(struct dp_packet, mbuf) == 0);

#define VPCI_MAX_QUEUE_PAIRS 16
#define VPCI_MAX_RINGS (2 * VPCI_ABI_MAX_RINGS)
BUILD_ASSERT_DECL(VPCI_MAX_RINGS >= 2 * VPCI_MAX_QUEUE_PAIRS);

/* Rings come in pairs (virtio 1.1, section 5.1.2): an even one that the guest
 * receives from, an odd one that it transmits on.  A queue pair with classes
 * of priority has a pair of rings for each. */
#define VPCI_RING_TO_GUEST(PAIR) ((PAIR) * 2)
#define VPCI_RING_FROM_GUEST(PAIR) ((PAIR) * 2 + 1)

/* An mbuf's 16-bit buffer length covers headroom, an Ethernet header with CRC
 * and the MTU. */
#define VPCI_FRAME_OVERHEAD (ETH_HEADER_LEN + 4)
#define VPCI_MAX_MTU (UINT16_MAX - RTE_PKTMBUF_HEADROOM - VPCI_FRAME_OVERHEAD)
#define VPCI_MIN_MTU 68

/* All ports. */
extern struct ovs_mutex vpci_mutex;
extern struct ovs_list vpci_list OVS_GUARDED_BY(vpci_mutex);

enum vpci_mode {
    VPCI_MODE_NONE,
    VPCI_MODE_CONNECT,          /* options:vhost-server-path */
    VPCI_MODE_LISTEN,           /* options:vhost-listen-path */
    VPCI_MODE_IVSHMEM,          /* options:ivshmem-path */
};

/* The options of a port, checked. */
struct vpci_config {
    enum vpci_mode mode;
    char *path;
    char *real_path;            /* 'path' without symbolic links and dots. */
    uint32_t max_pairs;         /* options:n_rxq, or 0 if not given. */
    uint64_t features_off;      /* options:vhost-features-off */
    uint32_t tx_retries_max;    /* options:tx-retries-max */
    uint32_t n_classes;         /* options:priority-classes, or 0 if not
                                 * given. */
    struct eth_addr guest_mac;  /* options:guest-mac; all 0: none. */
    enum vpci_abi_class_by class_by; /* options:priority-by, or
                                 * VPCI_ABI_CLASS_NONE if not given. */
    char *peer;                 /* options:peer, or null. */
    bool trust_peer;            /* options:trust-peer */
    char *links;                /* options:links, or null: off. */
    uint32_t links_min_rate;    /* options:links-min-rate */
    char *links_static;         /* options:links-static, or null. */
};

/* Frames by length, as RFC 2819 has them. */
enum { VPCI_N_SIZES = 7 };

/* Why a frame did not go where it should have gone.  The names are those of
 * the custom statistics: where netdev-dpdk has one, it is the same. */
#define VPCI_DROPS                                                  \
    VPCI_DROP(RX_QOS, "ovs_rx_qos_drops")                           \
    VPCI_DROP(RX_RUNT, "vpci_rx_runt_drops")                        \
    VPCI_DROP(RX_OVERSIZE, "vpci_rx_oversize_drops")                \
    VPCI_DROP(RX_BAD_OFFLOAD, "vpci_rx_bad_offload_drops")          \
    VPCI_DROP(RX_UNFINISHED, "vpci_rx_unfinished_drops")            \
    VPCI_DROP(TX_FULL, "ovs_tx_failure_drops")                      \
    VPCI_DROP(TX_MTU, "ovs_tx_mtu_exceeded_drops")                  \
    VPCI_DROP(TX_QOS, "ovs_tx_qos_drops")                           \
    VPCI_DROP(TX_BAD_OFFLOAD, "ovs_tx_invalid_hwol_drops")          \
    VPCI_DROP(TX_NO_GUEST, "vpci_tx_no_guest_drops")                \
    VPCI_DROP(TX_PAUSED, "vpci_tx_paused_drops")                    \
    VPCI_DROP(TX_TOO_BIG, "vpci_tx_guest_buffer_too_small_drops")

enum vpci_drop {
#define VPCI_DROP(ENUM, NAME) VPCI_DROP_##ENUM,
    VPCI_DROPS
#undef VPCI_DROP
    VPCI_N_DROPS
};

/* Their names, by enum vpci_drop. */
extern const char *const vpci_drop_names[VPCI_N_DROPS];

/* Counters of one queue.  Written by the thread that serves the queue, read by
 * any, with vpci_counter_*() only.  They never fall. */
struct vpci_counters {
    uint64_t packets;
    uint64_t bytes;
    uint64_t multicast;
    uint64_t broadcast;
    uint64_t sizes[VPCI_N_SIZES];
    uint64_t drops[VPCI_N_DROPS];
    uint64_t spliced_packets;   /* Of those above, by the splice path. */
    uint64_t spliced_bytes;
    uint64_t linked_packets;    /* Of those above, by links, as their receivers
                                 * say. */
    uint64_t splice_bursts;     /* In which they came. */
    uint64_t splice_cycles;     /* TSC cycles in which nothing else was done:
                                 * to Open vSwitch the thread was idle. */
    uint64_t retries;           /* Pushes repeated for a full ring. */
    uint64_t no_mbufs;          /* Bursts left in the ring: no mbufs. */
    uint64_t notifies;          /* Doorbells rung. */

    /* Of those above, by class, if there are several. */
    uint64_t class_packets[VPCI_ABI_MAX_CLASSES];
    uint64_t class_bytes[VPCI_ABI_MAX_CLASSES];
};

/* What is counted of frames, of a burst.  A super-packet counts as what it would
 * be on a wire. */
struct vpci_tally {
    uint32_t frames;
    uint64_t packets;
    uint64_t bytes;
    uint64_t multicast;
    uint64_t broadcast;
    uint64_t sizes[VPCI_N_SIZES];
    uint32_t max_len;
};

/* Which of VPCI_N_SIZES a frame of 'len' bytes belongs to: up to 64, 65 to
 * 127, 128 to 255, 256 to 511, 512 to 1023, 1024 to 1522, more. */
static inline unsigned int
vpci_size_class(uint32_t len)
{
    return len <= 64 ? 0 : len > 1522 ? 6 : log_2_floor(len) - 5;
}

/* Counts a frame of 'len' bytes for 'dst'. */
static inline void
vpci_tally_frame(struct vpci_tally *t, const struct eth_addr *dst,
                 uint32_t len)
{
    t->packets++;
    t->bytes += len;
    t->sizes[vpci_size_class(len)]++;
    t->max_len = MAX(t->max_len, len);
    if (OVS_UNLIKELY(eth_addr_is_multicast(*dst))) {
        bool is_broadcast = eth_addr_is_broadcast(*dst);

        t->broadcast += is_broadcast;
        t->multicast += !is_broadcast;
    }
}

static inline void
vpci_counter_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static inline uint64_t
vpci_counter_read(const uint64_t *counter)
{
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* One ring of the port's guest: a virtio ring, or a native one. */
struct vpci_ring {
    struct vpci_vring *vring;   /* Owned, never null. */
    struct vpci_peer peer;
    struct netdev_vpci *dev;
    uint16_t index;
    uint8_t class_;             /* Of priority.  Changes only while the ring is
                                 * stopped. */

    /* Serializes senders. */
    struct ovs_spin tx_lock;

    /* Frames that were spliced into the ring, or should have been.  Written
     * with 'tx_lock'. */
    struct vpci_counters spliced;

    /* TSC when the ring was first found full since it had room for a while, or
     * since it last took enough, or 0; when it was last found full; and what it
     * took since the first.  Written with 'tx_lock'. */
    uint64_t full_since;
    uint64_t full_last;
    uint32_t full_taken;

    /* What made the ring unusable, as a sentence, or null.  Survives until the
     * guest resets the ring.  Protected by 'fault_mutex' of the port. */
    char *fault;
};

/* A receive queue of the port: serves one ring from the guest, or one for each
 * class of priority. */
struct vpci_rxq {
    struct vpci_gate gate;
    struct vpci_ring *ring;     /* The one at hand: with several classes each
                                 * in its turn.  Belongs to whoever has passed
                                 * the gate. */
    bool running;               /* Its rings run; read by PMD threads. */
    uint8_t n_classes;          /* This and 'rings' change only while the gate
                                 * is shut. */
    struct vpci_ring *rings[VPCI_ABI_MAX_CLASSES]; /* By class; null if there
                                 * cannot be so many queues. */
    uint64_t n_polls;           /* How often they were looked at.  Written by
                                 * its PMD thread. */

    /* What splices from here, or null.  Changed only while the gate is
     * shut. */
    struct vpci_splicer *splicer;

    /* Null if no guest of the port has sent super-packets.  Set once, while
     * the gate is shut. */
    struct vpci_super *super;

    /* What the guest has got back without being told, and the TSC when that
     * began. */
    uint32_t untold_frames;
    uint32_t untold_bytes;
    uint64_t untold_since;
    uint32_t max_untold;        /* Frames. */
    struct vpci_counters counters;
};

/* A transmit queue of the port: one of the datapath's threads. */
struct vpci_txq {
    struct vpci_gate gate;

    /* Serializes senders that share this queue ('concurrent_txq'). */
    struct ovs_spin lock;
    struct vpci_counters counters;
};

/* Tells files apart, whatever their names. */
struct vpci_file_id {
    uint64_t dev;
    uint64_t ino;
};

static inline struct vpci_file_id
vpci_file_id(const struct stat *st)
{
    return (struct vpci_file_id) { .dev = st->st_dev, .ino = st->st_ino };
}

static inline bool
vpci_file_id_equal(struct vpci_file_id a, struct vpci_file_id b)
{
    return a.dev == b.dev && a.ino == b.ino;
}

/* A piece of a front end's memory. */
struct vpci_conn_region {
    struct vpci_guard guard;
    bool guarded;
    struct vpci_file_id file;   /* That it is in, if 'guarded'. */
};

/* One vhost-user connection.  Protected by the mutex of its port. */
struct vpci_conn {
    struct ovs_list node;       /* In the port's 'conns', oldest first. */
    struct netdev_vpci *dev;
    int vid;                    /* librte_vhost's name for it. */
    uint64_t number;            /* Of the port's; never 0, nor used again. */

    bool started;               /* Between new_device and destroy_device. */
    bool log_valid;             /* The library has mapped a dirty log. */
    bool disturbed;             /* Its rings rest, for a request has moved, or
                                 * is moving, what they stand on. */
    bool negotiated;            /* A request of it has been served. */
    bool was_started;           /* 'started' has been true. */
    uint32_t rings_ready;       /* Bit N: ring N may run, says the library. */
    uint32_t request;           /* Being served, or 0. */
    char *refusal;              /* Why a request was refused last, as a
                                 * sentence, or null... */
    uint32_t refused_request;   /* ...which one, or 0... */
    bool refused_last;          /* ...and no other came since. */
    bool spoilt;                /* The library is made to refuse the one at
                                 * hand. */
    bool doomed;                /* The library is about to end it. */
    long long int since;        /* When it began. */
    int numa;                   /* Node of its memory, or -1. */
    uint16_t mtu;               /* As the front end says, or 0. */
    uint64_t features;          /* Negotiated, once 'started'. */
    bool memory_passed;         /* The library is mapping its memory... */
    uint64_t memory_size;       /* ...for which so much address space, in
                                 * bytes, was set aside. */
    bool memory_valid;
    struct vpci_memory memory;
    struct vpci_conn_region regions[VPCI_MEMORY_MAX_REGIONS];
    bool memory_lost;           /* Set by a guard.  Only with atomics. */
};

/* What is known of a port's guest, whichever device it has. */
struct vpci_guest {
    bool started;               /* It has a driver. */
    bool usable;                /* Rings may run that are ready. */
    bool carrier;
    bool disturbed;             /* Rings rest for a moment only. */
    uint64_t rings_ready;       /* Bit N: ring N may run. */
    uint64_t features;          /* Negotiated. */
    int numa;                   /* Node of its memory, or -1. */
};

/* What has come from the guests of a port by links, and what has gone to them,
 * whatever regions it had.  Atomic: the link thread writes. */
struct vpci_linked {
    uint64_t rx_packets;
    uint64_t rx_bytes;
    uint64_t tx_packets;
    uint64_t tx_bytes;
};

/* What a port's guest wants of the datapath, and how often it has got that:
 * see netdev-vpci-follow.c.  Protected by the mutex of its port. */
struct vpci_follow {
    int n_rxq;                  /* It wants so many receive queues... */
    int socket_id;              /* ...on this NUMA node... */
    bool waits;                 /* ...and has to wait for that. */
    bool told;                  /* The log was, since the guest was quiet. */
    long long int spent_until;  /* The guest is quiet from then on, in ms: each
                                 * time that it was followed adds to this. */
};

/* Whether a port's rings are lent: see netdev-vpci-lend.h. */
enum vpci_lent_state {
    VPCI_LENT_UNKNOWN,          /* It is not known yet whether an earlier switch
                                 * has lent them. */
    VPCI_LENT_NOT,
    VPCI_LENT_AWAY,
    VPCI_LENT_FENCED            /* They should be home, and are not. */
};

struct vpci_base;
struct vpci_calls;
struct vpci_held;
struct vpci_lend;
struct vpci_policer;
struct vpci_mempool;
struct vpci_offload;
struct vpci_splicer;
struct vpci_super;

/* A port. */
struct netdev_vpci {
    struct netdev up;
    struct ovs_list node;       /* In 'vpci_list', under 'vpci_mutex'. */
    struct ovs_mutex mutex OVS_ACQ_AFTER(vpci_mutex);
    struct vlog_rate_limit rl;  /* The noise of one port hides no other's. */

    /* Configuration.  Written by the main thread with 'mutex' held. */
    struct vpci_config config;
    struct eth_addr hwaddr;
    enum netdev_flags flags;
    int requested_mtu;
    int requested_n_txq;
    int requested_n_rxq;
    int requested_socket_id;
    int refused_socket_id;          /* A node that had no memory, or -1. */
    ATOMIC(uint32_t) tx_retries_max;

    /* In force since the last reconfiguration. */
    int mtu;
    int socket_id;
    ATOMIC(uint32_t) max_frame;     /* Longest that is sent. */
    struct vpci_mempool *mempool;   /* Changed only while gates are shut. */

    /* The guest. */
    bool registered;                /* 'config.path' with the library. */
    struct ovs_list conns;          /* Of struct vpci_conn. */
    struct vpci_conn *active;       /* The one whose rings run, or null. */
    struct vpci_base *base;         /* Of device vpci-net, or null.  Main
                                     * thread. */
    struct vpci_linked linked;      /* With links. */
    struct vpci_calls *calls;       /* Of its guests. */
    struct vpci_lend *lent;         /* Who may be lent the port's rings, or
                                     * null, */
    enum vpci_lent_state lent_state; /* and whether they are.  Changes while
                                     * paused. */
    struct vpci_held *held;
    uint64_t n_kicks;               /* How often the front end has given other
                                     * eventfds for kicks, */
    uint64_t n_calls;               /* and for calls, */
    uint64_t n_tables;              /* and another table of memory. */
    struct vpci_lend *lend;         /* By which it borrows another port's, or
                                     * null.  Main thread. */
    bool carrier;
    long long int carrier_resets;
    uint64_t n_connects;
    int n_short_lived;              /* Connections in a row, since the socket
                                     * was registered, that ended at once,
                                     * without a guest. */
    long long int short_lived_at;   /* When the last of them ended. */
    long long int reregister_at;    /* Time to try again, or LLONG_MAX. */
    long long int held_up;          /* Milliseconds for which others had to
                                     * wait for its front ends, lately... */
    long long int held_up_at;       /* ...as of then. */
    long long int refuse_until;     /* No new connections before. */
    ATOMIC(int) n_abuses;           /* See netdev-vpci-filter.c. */
    int n_failed_memory;            /* Memory tables that could not be mapped,
                                     * since the socket was registered. */
    char *last_disconnect;          /* Why, as a sentence, or null. */
    struct vpci_follow follow;
    struct vpci_ring rings[VPCI_MAX_RINGS];

    /* Queues.  'rxqs' and 'txqs' are allocated apart and never move while
     * threads use them. */
    struct vpci_rxq *rxqs;          /* VPCI_MAX_QUEUE_PAIRS of them. */
    struct vpci_txq *txqs;          /* 'n_txqs' of them. */
    int n_txqs;
    struct vpci_ring *to_guest[VPCI_MAX_RINGS / 2]; /* Those that run: of each
                                     * queue all classes. */
    int n_to_guest;
    struct vpci_classes classes;    /* Of what is sent and received.  Changes
                                     * only while rings are stopped. */
    struct vpci_spread spread;      /* Flows over queues. */
    bool splice_open;               /* Others may splice to here.  Read by PMD
                                     * threads, with atomics. */
    int paused;                     /* Nesting of vpci_rings_pause(). */
    bool in_pause;                  /* Gates are shut for a moment only.  Read
                                     * by PMD threads, with atomics. */

    /* What the guest has negotiated.  Valid for who has passed the gate of a
     * transmit queue, or has seen 'splice_open' since it entered its table. */
    uint64_t guest_features;

    /* Null unless Open vSwitch offloads flows. */
    OVSRCU_TYPE(struct vpci_offload *) offload;

    /* When to say once more that something has changed. */
    ATOMIC(long long int) say_again_at;

    /* A guest that was migrated here: the address to announce (RARP). */
    ATOMIC(bool) rarp_pending;
    struct eth_addr rarp_mac;

    /* Policers. */
    OVSRCU_TYPE(struct vpci_policer *) ingress;
    OVSRCU_TYPE(struct vpci_policer *) egress;
    uint32_t policing_kbits;
    uint32_t policing_burst_kbits;

    /* Counters of queues that are gone, added to those that are there. */
    struct vpci_counters retired;

    /* Innermost: protects the 'fault' of each ring.  PMD threads take it, once
     * for each broken ring. */
    struct ovs_mutex fault_mutex;
};

static inline struct netdev_vpci *
netdev_vpci_cast(const struct netdev *netdev)
{
    return CONTAINER_OF(netdev, struct netdev_vpci, up);
}

static inline const char *
vpci_name(const struct netdev_vpci *dev)
{
    return dev->up.name;
}

extern const struct netdev_class netdev_vpci_class;

bool is_netdev_vpci(const struct netdev *);

/* Makes the main thread look at the port anew: carrier, status.  Any
 * thread. */
void vpci_changed(struct netdev_vpci *);

/* netdev-vpci-config.c */

void vpci_config_uninit(struct vpci_config *);

/* The number of queue pairs that a guest may use. */
uint32_t vpci_config_max_pairs(const struct vpci_config *);

/* The classes of priority of the port. */
void vpci_config_get_classes(const struct vpci_config *,
                             struct vpci_classes *classes);
int netdev_vpci_set_config(struct netdev *, const struct smap *args,
                           char **errp);
int netdev_vpci_get_config(const struct netdev *, struct smap *args);
void vpci_features_format(uint64_t features, struct ds *);

/* Gives up the port's socket or region.  Main thread, no mutex held. */
void vpci_config_unregister(struct netdev_vpci *);

/* The option that gives the path of the port's socket. */
const char *vpci_config_path_key(const struct vpci_config *);

/* netdev-vpci-config-links.c */

/* Takes 'value' of options:links, or of options:links-static, over into
 * 'config'.  Returns null or an error, which the caller frees. */
char *vpci_config_parse_links(const char *value, struct vpci_config *config);
char *vpci_config_parse_links_static(const char *value,
                                     struct vpci_config *config);

/* Checks what 'config', otherwise complete, says of links for port 'name'.
 * Returns null or an error, which the caller frees. */
char *vpci_config_check_links(const char *name,
                              const struct vpci_config *config);

/* netdev-vpci-vhost.c */

/* Registers 'config.path' of 'dev' with librte_vhost and starts to connect or
 * listen.  Main thread, no mutex held.  Returns 0 or a positive errno, with a
 * sentence for the operator, which the caller frees, in '*errp'. */
int vpci_vhost_register(struct netdev_vpci *, char **errp);

/* Undoes it.  When it returns no callback for 'dev' runs, and none will. */
void vpci_vhost_unregister(struct netdev_vpci *);

/* Periodic work for one port: front ends whose memory vanished, sockets that
 * are to be tried again.  Main thread, no mutex held. */
void vpci_vhost_run(struct netdev_vpci *);
void vpci_vhost_wait(struct netdev_vpci *);

/* True if librte_vhost knows 'path' already, whoever registered it. */
bool vpci_vhost_path_in_use(const char *path);

/* netdev-vpci-base.c */

/* Asks the keeper for the region of 'config.path', and serves its guest.  Main
 * thread, no mutex held.  Returns 0 or a positive errno, with a sentence for the
 * operator, which the caller frees, in '*errp'. */
int vpci_base_register(struct netdev_vpci *, char **errp);
void vpci_base_unregister(struct netdev_vpci *);

/* The keeper's id of the port's region, or 0.  Main thread. */
uint32_t vpci_base_region(const struct netdev_vpci *);

/* What the port's region says of a peer, and in '*wordsp' what its guest says of
 * that; null if there is no region, or none with a peer.  With the port's
 * mutex. */
const struct vpci_abi_peer *vpci_base_peer(
    const struct netdev_vpci *, const struct vpci_abi_peer_words **wordsp);

/* Periodic work for one port.  Main thread, no mutex held. */
void vpci_base_run(struct netdev_vpci *);
void vpci_base_wait(struct netdev_vpci *);

/* What the guest is told of its port has changed. */
void vpci_base_update(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Fills in '*guest'.  Returns false if there is none whose rings could run. */
bool vpci_base_get_guest(const struct netdev_vpci *dev,
                         struct vpci_guest *guest)
    OVS_REQUIRES(dev->mutex);

/* Starts ring 'index'.  Returns 0 or a positive errno. */
int vpci_base_start_ring(struct netdev_vpci *dev, unsigned int index)
    OVS_REQUIRES(dev->mutex);
void vpci_base_wake_guest(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);
void vpci_base_get_status(const struct netdev_vpci *dev, struct smap *args)
    OVS_REQUIRES(dev->mutex);

/* netdev-vpci-filter.c */

/* Returns why no front end of 'dev' is served any more, as a sentence, or null
 * if they are.  Any thread. */
const char *vpci_shut_reason(const struct netdev_vpci *dev);

/* netdev-vpci-memory.c.  With the mutex of the port of 'conn' held, and all
 * but the last on a thread of librte_vhost that serves 'conn'. */

/* The library is done with the table that it was last given: if it failed to
 * map it, counts that. */
void vpci_conn_note_failed_memory(struct vpci_conn *conn);

/* Reads the memory table anew, after SET_MEM_TABLE has succeeded. */
void vpci_conn_learn_memory(struct vpci_conn *conn);

/* The library is about to unmap it. */
void vpci_conn_forget_memory(struct vpci_conn *conn);

/* The connection ends: others may have its share of address space. */
void vpci_conn_release_memory(struct vpci_conn *conn);

/* True if memory of the front end vanished while someone used it. */
bool vpci_conn_lost_memory(const struct vpci_conn *conn);

/* netdev-vpci-rings.c */

int vpci_rings_init(struct netdev_vpci *dev);
void vpci_rings_uninit(struct netdev_vpci *dev);

/* Stops all threads that work on the port's rings, and returns when none does.
 * Nests. */
void vpci_rings_pause(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Undoes one pause.  The last one starts and stops rings as the state of the
 * active connection asks, maps queues to rings and lets the threads go on. */
void vpci_rings_resume(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Stops every ring that runs, and tells the library where each stands.  Only
 * while paused. */
void vpci_rings_stop_all(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Stops ring 'index', if it runs.  Only while paused. */
void vpci_rings_stop(struct netdev_vpci *dev, unsigned int index)
    OVS_REQUIRES(dev->mutex);

/* Gives the port 'classes' of priority.  Only while paused, with all rings
 * stopped and, unless nobody else knows the port yet, its mutex held. */
void vpci_rings_set_classes(struct netdev_vpci *dev,
                            const struct vpci_classes *classes);

/* Gives the port 'n' transmit queues.  Only while paused. */
void vpci_rings_set_n_txq(struct netdev_vpci *dev, int n)
    OVS_REQUIRES(dev->mutex);

/* Remembers that 'ring' is broken by 'fault'.  Any thread. */
void vpci_ring_report(struct vpci_ring *ring, const struct vpci_fault *fault);

/* Remembers 'fault', a sentence, of 'ring', and tells the log.  Any thread. */
void vpci_ring_set_fault(struct vpci_ring *ring, char *fault);

/* Fills '*config' for ring 'index' of 'conn', of a virtio-net.  Returns 0 or a
 * positive errno. */
int vpci_rings_get_config(struct vpci_conn *conn, unsigned int index,
                          struct vpci_vring_config *config);

/* Tells the library where ring 'index' of the active connection stands, which
 * does not run. */
void vpci_rings_set_base(struct netdev_vpci *dev, unsigned int index,
                         const struct vpci_vring_base *base)
    OVS_REQUIRES(dev->mutex);

/* Queue pairs that the guest uses, 1 if there is none. */
int vpci_rings_n_pairs(const struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* netdev-vpci-follow.c */

/* The guest of 'dev' uses 'n_pairs' queue pairs, from 1 to
 * VPCI_MAX_QUEUE_PAIRS, and memory of NUMA node 'numa', or of an unknown one
 * if it is -1.  Asks the datapath for as many receive queues there, now or, if
 * it was asked too often, by vpci_follow_run().  Any thread. */
void vpci_follow(struct netdev_vpci *dev, int n_pairs, int numa)
    OVS_REQUIRES(dev->mutex);

/* There is no guest any more: what it has wanted is forgotten.  Any thread. */
void vpci_follow_nobody(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Periodic work for one port.  Main thread, no mutex held. */
void vpci_follow_run(struct netdev_vpci *);
void vpci_follow_wait(struct netdev_vpci *);

/* Says in 's' what the guest has to wait for, if it has to. */
void vpci_follow_show(const struct netdev_vpci *dev, struct ds *s)
    OVS_REQUIRES(dev->mutex);

/* netdev-vpci-rxtx.c */

int netdev_vpci_rxq_recv(struct netdev_rxq *, struct dp_packet_batch *,
                         int *qfill);
int netdev_vpci_send(struct netdev *, int qid, struct dp_packet_batch *,
                     bool concurrent_txq);

/* Sends 'pkts[0..n)', which were to be sent when the port's gates were shut,
 * and are deleted.  While gates of transmit queues are shut and rings run. */
void vpci_send_held(struct netdev_vpci *dev, struct dp_packet **pkts, int n);

/* What the flow path and the splice path have in common.  All of it on PMD
 * threads. */

/* Returns why no Ethernet device would pass 'frame', where 'room' is the length
 * of the longest one, or VPCI_N_DROPS if one would. */
static inline enum vpci_drop
vpci_frame_fault(const struct vpci_pkt *frame, uint32_t room)
{
    return (OVS_UNLIKELY(frame->len < ETH_HEADER_LEN) ? VPCI_DROP_RX_RUNT
            : OVS_UNLIKELY(frame->len > room) ? VPCI_DROP_RX_OVERSIZE
            : VPCI_N_DROPS);
}

/* Allocates 'n' mbufs and copies 'frames[0..n)' into them.  Returns false,
 * with nothing done but to count it, if there are too few mbufs. */
bool vpci_frames_to_packets(struct rte_mempool *, struct vpci_counters *,
                            const struct vpci_pkt *frames,
                            struct dp_packet **pkts, int n);

/* The guest has got 'n' frames with 'bytes' in all back, from the ring of 'rxq'.
 * Tells it, now or soon. */
void vpci_rxq_returned(struct vpci_rxq *rxq, unsigned int n, uint64_t bytes);

/* Tells the guest of 'rxq' now what it has got back. */
void vpci_rxq_tell(struct vpci_rxq *rxq);

/* Offers 'frames[0..n)' to 'ring' until the guest has no more room, trying
 * again for as long as that helps, wakes the guest, and counts what was done.
 * 't', if not null, is a tally of all frames.  Returns how many were dealt
 * with.  With 'tx_lock' of 'ring' held. */
int vpci_ring_push(struct vpci_ring *ring, struct vpci_counters *,
                   struct vpci_pkt *frames, int n,
                   const struct vpci_tally *t);

/* netdev-vpci-datapath.c */

/* TSC cycles for which the datapath may keep packets that it sends, or 0 if it
 * sends them at once.  'now' is the TSC.  Any thread. */
uint64_t vpci_datapath_hold_cycles(uint64_t now);

/* netdev-offload-vpci.c */

struct vpci_offload_counts {
    uint64_t n_flows;           /* Megaflows that are spliced. */
    uint32_t n_masks;           /* Theirs, and of those that were. */
    uint64_t n_reported;        /* Packets that megaflows know of. */
};

/* Returns false if 'dev' has no splice path. */
bool vpci_offload_count(const struct netdev_vpci *dev,
                        struct vpci_offload_counts *);

/* Calls 'cb' for each megaflow of 'dev' that the splice path has refused, with
 * what it would not do. */
void vpci_offload_for_each_refusal(
    const struct netdev_vpci *,
    void (*cb)(const struct match *, const char *refusal, void *aux),
    void *aux);

/* netdev-vpci-mempool.c */

/* Returns a pool of mbufs for frames of 'mtu' on NUMA node 'socket_id', shared
 * by all ports that ask for the same, or a null pointer if huge pages are
 * short.  Main thread. */
struct vpci_mempool *vpci_mempool_get(int mtu, int socket_id);

/* Gives back one reference; null is ignored.  Threads that have seen the pool may
 * use it until they are quiescent.  The memory goes when the last mbuf has come
 * home, by vpci_mempool_sweep(). */
void vpci_mempool_put(struct vpci_mempool *);
void vpci_mempool_sweep(void);

struct rte_mempool *vpci_mempool_rte(const struct vpci_mempool *);

/* The longest frame that an mbuf of the pool has room for. */
uint32_t vpci_mempool_room(const struct vpci_mempool *);

/* netdev-vpci-qos.c */

int netdev_vpci_set_policing(struct netdev *, uint32_t kbits_rate,
                             uint32_t kbits_burst, uint32_t kpkts_rate,
                             uint32_t kpkts_burst);
int netdev_vpci_get_qos_types(const struct netdev *, struct sset *types);
int netdev_vpci_get_qos(const struct netdev *, const char **typep,
                        struct smap *details);
int netdev_vpci_set_qos(struct netdev *, const char *type,
                        const struct smap *details);
void vpci_qos_uninit(struct netdev_vpci *);

/* Says in 'pass' which of 'n' frames of 'lens' bytes, at most NETDEV_MAX_BURST,
 * 'policer' lets pass.  Returns how many.  PMD threads. */
int vpci_policer_check(struct vpci_policer *, const uint32_t lens[], int n,
                       bool pass[]);

/* Drops (deletes) the packets of 'pkts[0..n)' that exceed 'policer', closes
 * the gaps and returns how many are left.  PMD threads. */
int vpci_policer_run(struct vpci_policer *, struct dp_packet **pkts, int n);

/* netdev-vpci-stats.c */

int netdev_vpci_get_stats(const struct netdev *, struct netdev_stats *);
int netdev_vpci_get_custom_stats(const struct netdev *,
                                 struct netdev_custom_stats *);
int netdev_vpci_get_status(const struct netdev *, struct smap *);

/* Adds 't', the 'n' packets of 'pkts', or the 'n' frames of 'frames' to 'c'.
 * The thread that owns 'c'. */
void vpci_counters_add_tally(struct vpci_counters *c,
                             const struct vpci_tally *t);
void vpci_counters_add_packets(struct vpci_counters *,
                               struct dp_packet *const *pkts, int n);
void vpci_counters_add_frames(struct vpci_counters *c,
                              const struct vpci_pkt *frames, int n);

/* Packets that 'frame' is on a wire, whose header has been checked. */
static inline uint32_t
vpci_frame_packets(const struct vpci_pkt *frame)
{
    return (OVS_LIKELY(!frame->hdr.gso_type) ? 1
            : DIV_ROUND_UP(frame->len - frame->hdr.hdr_len,
                           frame->hdr.gso_size));
}

/* Length of the longest of these. */
static inline uint32_t
vpci_frame_longest(const struct vpci_pkt *frame)
{
    return (OVS_LIKELY(!frame->hdr.gso_type) ? frame->len
            : MIN(frame->hdr.hdr_len + frame->hdr.gso_size, frame->len));
}

/* Bytes of all of these. */
static inline uint64_t
vpci_frame_bytes(const struct vpci_pkt *frame)
{
    return (frame->len + (uint64_t) (vpci_frame_packets(frame) - 1)
                         * frame->hdr.hdr_len);
}

/* Counts 'frame', a super-packet whose destination is 'dst'. */
void vpci_tally_super(struct vpci_tally *, const struct eth_addr *dst,
                      const struct vpci_pkt *frame);

/* Counts 'frame', whose header has been checked. */
static inline void
vpci_tally_pkt(struct vpci_tally *t, const struct vpci_pkt *frame)
{
    const struct eth_addr *dst = frame->head_len ? frame->head
                                 : frame->iov->base;

    t->frames++;
    if (OVS_LIKELY(!frame->hdr.gso_type)) {
        vpci_tally_frame(t, dst, frame->len);
    } else {
        vpci_tally_super(t, dst, frame);
    }
}

/* Counts, for 'class_', what has been counted in '*c' since it had 'packets'
 * and 'bytes'.  The thread that owns 'c'. */
static inline void
vpci_counters_add_class(struct vpci_counters *c, unsigned int class_,
                        uint64_t packets, uint64_t bytes)
{
    vpci_counter_add(&c->class_packets[class_], c->packets - packets);
    vpci_counter_add(&c->class_bytes[class_], c->bytes - bytes);
}

/* Adds all of 'src' to 'dst', which no other thread writes. */
void vpci_counters_accumulate(struct vpci_counters *dst,
                              const struct vpci_counters *src);

/* All frames that did not go where they should have gone. */
uint64_t vpci_sum_drops(const struct vpci_counters *);

/* Adds up the counters of all that the port receives in '*rx', and of all that
 * is sent to it in '*tx'. */
void vpci_sum_counters(const struct netdev_vpci *dev,
                       struct vpci_counters *rx, struct vpci_counters *tx)
    OVS_REQUIRES(dev->mutex);

/* netdev-vpci-show.c */

void vpci_show_init(void);

/* netdev-vpci-steering.c */

void vpci_steering_init(void);

#endif /* netdev-vpci-private.h */
