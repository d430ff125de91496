/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_NET_PRIVATE_H
#define VPCI_NET_PRIVATE_H 1

#include <pthread.h>

#include "device-private.h"
#include "net-region.h"
#include "storm.h"
#include "vpci/bus.h"
#include "vpci/classes.h"
#include "vpci/gate.h"
#include "vpci/net.h"

#define NET_LIKELY(X) __builtin_expect(!!(X), 1)
#define NET_UNLIKELY(X) __builtin_expect(!!(X), 0)

struct net_link_counts {
    uint64_t packets;           /* Sent, or received. */
    uint64_t refused;           /* By the receiver. */
};

/* Packets that a receiver lets wait a little, so that it sleeps longer:
 * see net-hold.c. */
struct net_hold {
    struct vpci_mitigation wish; /* us is 0: none. */
    int64_t until;              /* When to tell of those that have come, or
                                 * that may; 0: none have. */
};

struct net_holds {
    struct net_hold classes[VPCI_ABI_MAX_CLASSES];
    bool any;                   /* Classes have wishes. */
    bool active;                /* Packets that come now may wait. */
    bool begun;                 /* Some do so since the last look. */
    uint64_t n_packets;         /* Received before the last wait. */
};

/* Signals that are noticed at once. */
#define NET_MAX_EVENTS 16

/* One way of a queue: what its thread, the worker, touches. */
struct net_worker {
    struct vpci_gate gate;      /* Open while there is something to do. */

    struct vpci_net *net;       /* Whose it is. */
    uint32_t generation;        /* Of the rings that are as 'polling' says. */
    uint32_t n_wakes;           /* As net->n_wakes: those noticed. */
    bool polling;
    int64_t look_until;         /* Not to sleep before that, in us. */
    int epoll_fd;               /* Signals of the queue's rings, and 'wake_fd',
                                 * edge-triggered: nobody takes a signal away
                                 * from another worker by clearing it. */

    /* Signals in it, or masked, and, as places in these, those that have ended
     * the last sleep.  Touched inside the gate, or by the controller while it
     * is shut, but for 'events'. */
    struct net_watch *watches;
    uint32_t n_watches;
    uint32_t n_masked;
    uint32_t events[NET_MAX_EVENTS];
    uint32_t n_events;

    struct net_holds holds;     /* Of a receiver. */
    uint32_t untagged;          /* Of a sender: PCP of what has no tag. */

    /* What stopped the last burst, if anything: that ring, when so many of its
     * packets had been consumed. */
    bool stuck;
    struct vpci_ring_tx *stuck_ring;    /* Null: see net-peer.h. */
    uint32_t stuck_consumed;

    struct vpci_net_queue_stats stats;
    uint64_t class_packets[VPCI_ABI_MAX_CLASSES]; /* With several classes. */

    /* Of what has just been sent, what was dropped for want of room. */
    unsigned int n_skipped;
    uint64_t skipped_bytes;

    /* What it needs for links; null: the port has none.  And packets of each
     * link, by its place. */
    struct net_link_worker *links;
    struct net_link_counts link_counts[VPCI_ABI_MAX_LINKS];
} __attribute__((aligned(VPCI_ABI_LINE)));

/* How packets of a port get their class, and which there may be. */
struct net_policy {
    struct vpci_classes classes;
    uint32_t max_len;           /* Atomic: may change while workers run. */
    uint32_t max_gso_len;       /* Of super-packets; 0: not agreed on. */
    bool offloads;              /* Any are agreed on. */
    bool drop;                  /* As struct vpci_net_config has it. */
    uint64_t features;          /* Which. */
};

/* What belongs to the controller is changed by vpci_net_run() alone, and
 * what workers read of it only while their gates are shut. */
struct vpci_net {
    struct vpci_net_config config;
    struct net_region base;
    struct net_policy policy;
    uint32_t generation;        /* Of rings. */
    uint32_t n_meetings;        /* With the switch. */
    uint32_t n_queues;          /* In use; 0: none. */
    uint8_t mac[6];
    struct net_links *links;
    bool paused;                /* Atomic: gates are shut for a moment. */

    int wake_fd;                /* Ends all waits. */
    uint32_t n_wakes;           /* Atomic: vpci_net_wake() calls. */
    bool carrier;               /* Atomic. */

    struct vpci_bus *bus;
    struct vpci_device *next;   /* Has arrived, while we have another one. */

    pthread_mutex_t call_mutex; /* Protects 'caller' and 'xid': one call at a
                                 * time. */
    struct net_worker caller;   /* The thread that has it. */
    uint32_t xid;               /* Of the last call. */

    pthread_t thread;
    bool has_thread;
    struct vpci_storm control_storm;
    uint32_t control_generation; /* As the port said when it was told of by
                                 * the control signal; */
    uint32_t control_turn;      /* and of the peer. */
    bool exiting;               /* Atomic. */
    int run_fd;                 /* An eventfd: it is to look at once. */

    pthread_mutex_t mutex;      /* Protects what follows up to 'n_resets'. */
    struct vpci_device *device; /* That of 'base', a reference; or null. */
    struct vpci_net_info info;
    struct vpci_net_link_info link_infos[VPCI_ABI_MAX_LINKS];
    uint32_t n_link_infos;
    uint64_t n_resets;

    struct net_worker tx[VPCI_ABI_MAX_QUEUES];
    struct net_worker rx[VPCI_ABI_MAX_QUEUES];
};

/* Counters have one writer. */
static inline void
net_count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The worker's gate is shut.  If that is only for a moment, waits. */
bool net_enter_later(const struct vpci_net *, struct net_worker *);

/* Lets the worker in if there are rings that the other side knows: these
 * are to be used until net_leave(). */
static inline bool
net_enter(struct vpci_net *net, struct net_worker *w)
{
    if (NET_UNLIKELY(!vpci_gate_enter(&w->gate))
        && !net_enter_later(net, w)) {
        return false;
    }
    if (NET_UNLIKELY(!net_region_is_current(&net->base))) {
        vpci_gate_leave(&w->gate);
        return false;
    }
    return true;
}

static inline void
net_leave(struct net_worker *w)
{
    vpci_gate_leave(&w->gate);
}

/* Injects the signals of the classes of 'queue' of 'region' in 'classes'. */
void net_inject(struct net_worker *, const struct net_region *region,
                uint32_t queue, unsigned int classes);

/* The ring of the base that the receiver of 'queue' has for 'class_'. */
static inline struct vpci_ring_rx *
net_base_rx(const struct vpci_net *net, uint32_t queue, uint32_t class_)
{
    return net->base.rx[vpci_layout_ring_index(&net->base.layout, queue,
                                               class_)];
}

/* Sends up to 'n' packets, which may be sent so, in the rings of 'region' and
 * 'queue', whose classes follow from 'policy'.  Returns how many. */
unsigned int net_send_rings(struct net_worker *, const struct net_region *,
                            const struct net_policy *policy, uint32_t queue,
                            const struct vpci_ring_buf bufs[],
                            unsigned int n);

/* Counts 'n' packets that were sent, of 'bytes' in all, or, if 0, of as many
 * as they have. */
void net_count_sent(struct net_worker *, const struct vpci_ring_buf bufs[],
                    unsigned int n, uint64_t bytes);

/* Sends up to 'n' packets by the base.  Returns how many are done with. */
unsigned int net_send_base(struct vpci_net *, struct net_worker *,
                           uint32_t queue, const struct vpci_ring_buf bufs[],
                           unsigned int n);

/* Receives up to 'n' packets of 'class_' by the base.  Returns how many there
 * are. */
unsigned int net_receive_base(struct vpci_net *, struct net_worker *,
                              uint32_t queue, uint32_t class_,
                              struct vpci_ring_buf bufs[], unsigned int n);

/* Moves those of the 'n' packets in 'bufs' that are whole to the front, and
 * returns how many there are. */
unsigned int net_sort_out(struct net_worker *, struct vpci_ring_buf bufs[],
                          unsigned int n);

/* Reads what the switch says of packets.  Returns false, with the reason in
 * the 'size' bytes at 'reason', if that makes no sense. */
bool net_policy_read(const struct net_region *base, struct net_policy *policy,
                     char *reason, size_t size);

/* True if packets of a port can be so long, at most. */
bool net_policy_is_max_len(uint32_t max_len);

/* '*policy' is to be of a region with 'n_classes' that has agreed on
 * 'features' instead. */
void net_policy_limit(struct net_policy *policy, uint32_t n_classes,
                      uint64_t features);

/* Makes a port without a bus, links or workers of what is at 'net'. */
void net_init(struct vpci_net *, const struct vpci_net_config *);

/* Of the controller: sends all workers away, until vpci_net_run() finds
 * that the region can be used. */
void net_stop(struct vpci_net *);

/* Of the controller: tells others how it stands.  'reason' is not empty if the
 * switch makes no sense. */
void net_update_info(struct vpci_net *, int64_t now_ms, const char *reason);

/* Of the controller: no worker is inside from the first one to the second
 * one, and none notices.  Some are enough: senders of the queues in
 * 'senders'.  With NET_ALL_QUEUES, receivers as well, and rings may be others
 * meanwhile. */
#define NET_ALL_QUEUES UINT32_MAX
void net_pause(struct vpci_net *, uint32_t senders);
void net_resume(struct vpci_net *, uint32_t senders);

/* Ends sleeps. */
void net_wake_workers(struct vpci_net *);

/* The controller is to call vpci_net_run() soon, if it has a thread of its own:
 * of a worker inside its gate. */
void net_wake_controller(struct vpci_net *);

/* Waiting.  Of the worker inside the gate: */
struct net_waiting {
    /* True if there is something to do. */
    bool (*is_ready)(struct vpci_net *, struct net_worker *, uint32_t queue);

    /* Asks to be woken.  Returns false if there is something to do. */
    bool (*ask)(struct vpci_net *, struct net_worker *, uint32_t queue);

    /* Does not want to be woken, now or, if 'never', for long. */
    void (*awake)(struct vpci_net *, uint32_t queue, bool never);
};

/* For packets; for room for what stopped the last burst; and until the other
 * side has taken everything. */
extern const struct net_waiting net_rx_waiting;
extern const struct net_waiting net_tx_waiting;
extern const struct net_waiting net_flush_waiting;

/* The rings are others than those that this worker has last seen. */
static inline void
net_see_rings(struct vpci_net *net, struct net_worker *w, uint32_t queue,
              const struct net_waiting *waiting)
{
    w->generation = net->generation;
    w->stuck = false;
    if (w->polling) {
        waiting->awake(net, queue, true);
    }
}

/* Makes a worker with a gate that is shut.  Returns 0 or a positive errno. */
int net_worker_init(struct vpci_net *, struct net_worker *);
void net_worker_uninit(struct net_worker *);

/* Begins, or ends, to wait for the signals of the rings of 'queue' of
 * 'region'. */
void net_worker_watch(struct net_worker *, const struct net_region *region,
                      uint32_t queue, bool on);

/* The same for one ring, and for a signal by itself. */
void net_worker_watch_ring(struct net_worker *,
                           const struct net_region *region, uint32_t index,
                           bool on);
void net_worker_watch_signal(struct net_worker *, struct vpci_signal *signal,
                             bool on);

/* Sleeps outside of the gate until 'deadline', in us of net_now_us(), or for
 * ever if that is negative, or until something happens; sometimes not quite so
 * long.  Returns false if that is a signal of the operating system. */
bool net_sleep_until(struct net_worker *, int64_t deadline);
int64_t net_now_us(void);

/* The earlier one of two such times. */
static inline int64_t
net_earlier(int64_t a, int64_t b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

/* Of the worker inside the gate: counts what ended its last sleep, which was
 * for nothing unless it was 'useful', and masks signals that come too often
 * for nothing. */
void net_note_events(struct net_worker *, bool useful);

/* Likewise: listens again to signals that have been masked for long enough.
 * Returns when to look because of those that still are, or -1. */
int64_t net_poll_masked(struct net_worker *);

/* A wait begins, of a worker who has nothing to do; packets do not wait any
 * more for others. */
void net_holds_begin(struct net_worker *);
void net_holds_end(struct net_worker *);

/* Whether to tell that there are packets of the classes in the bitmap
 * 'classes'. */
bool net_holds_is_due(struct net_worker *, unsigned int classes);

/* Asks to be woken when 'rx', a ring of 'class_', has as many packets as are
 * wished for.  Returns false if it has. */
bool net_holds_ask(const struct net_worker *, uint32_t class_,
                   struct vpci_ring_rx *rx);

/* When packets have waited for long enough, in us, or -1. */
int64_t net_holds_until(const struct net_worker *);

/* Answers vpci_device_call() for the port 'net', and what else asks the
 * switch: any thread. */
int net_call(void *net, uint32_t func, void *data, uint32_t len);

#endif /* lib/vpci/net-private.h */
