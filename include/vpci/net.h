/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_NET_H
#define VPCI_NET_H 1

#include "vpci/channel.h"
#include "vpci/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Device vpci-net, for processes and containers
 * =============================================
 *
 * Attaches this process to a port of a switch: packets go both ways in bursts,
 * on one queue or several, each of which has a ring for each class of
 * priority.
 *
 * Nothing here waits for the switch.  A port may be opened before the switch
 * runs, and survives that it stops: once it is back, packets flow again.
 * Those in the rings at that moment may be lost.  Without the keeper they flow
 * on as long as the switch shows that it is there.
 *
 * The switch may offer links, which are rings that are shared with another
 * guest: packets go that way, to and fro, where its rules say so, and nobody
 * need care.
 *
 * Threads: vpci_net_run(), the housekeeping, has a thread, of the caller's or
 * of its own.  Of each queue, one thread at a time may transmit, by the
 * functions whose names begin with vpci_net_tx_, and one receive, by those
 * with vpci_net_rx_.  All of these may be the same thread.  Functions that
 * tell something, and vpci_net_wake(), are for any thread.  Nobody uses what
 * vpci_net_close() closes.
 *
 * The process must ignore SIGPIPE, and leaves SIGURG as it is (see
 * vpci/doorbell.h).
 *
 * Structures that the caller has the memory of have reserved bytes, which later
 * versions of the library put new fields in, so that their sizes never change.
 * In what the library fills in, these are 0. */

struct vpci_net;

struct vpci_net_config {
    uint32_t n_queues;          /* 1 to VPCI_ABI_MAX_QUEUES; 0: 1.  The port
                                 * may have fewer: see struct
                                 * vpci_net_info. */
    uint64_t features;          /* Offloads of virtio-net: what we take, of the
                                 * VIRTIO_NET_F_GUEST_ ones, and what we would
                                 * leave to the switch, VIRTIO_NET_F_CSUM and
                                 * of the VIRTIO_NET_F_HOST_ ones. */
    uint8_t mac[6];             /* Said to the switch; all 0: what it proposes,
                                 * or nothing. */
    bool own_thread;            /* Somebody else than the caller shall call
                                 * vpci_net_run(). */
    bool drop;                  /* Packets that there is no room for, or no
                                 * switch, are dropped, as a network card does,
                                 * and those of other classes are not;
                                 * otherwise they stay with the caller. */
    bool no_links;              /* All packets go by the switch, also those to
                                 * other guests for which it offers links. */
    uint8_t reserved[39];       /* 0.  Begin with all of it 0, by = { 0 } or by
                                 * naming fields, and those that you do not know
                                 * are as if they did not exist. */
};

/* Opens the port at 'address' (see vpci/bus.h).  '*config' may be null, for
 * one queue without anything else.  Returns 0 and stores it in '*net'; or a
 * positive errno, with the reason in the 'size' bytes at 'reason': that of
 * vpci_bus_open(), or
 *
 *     EINVAL        there cannot be so many queues, or reserved bytes are not 0,
 *     ENOMEM, EMFILE, ...
 *
 * That nobody serves the port yet is no error. */
int vpci_net_open(const char *address, const struct vpci_net_config *config,
                  struct vpci_net **net, char *reason, size_t size);

/* Leaves the port.  Harmless if 'net' is null. */
void vpci_net_close(struct vpci_net *net);

/* Does what is due at time 'now_ms', that of a clock which only goes
 * forward, in milliseconds: at least every VPCI_NET_RUN_MS.  Seldom waits:
 * while it connects, for at most VPCI_NET_CONNECT_MS.  Not with
 * 'own_thread'. */
#define VPCI_NET_RUN_MS 50
#define VPCI_NET_CONNECT_MS 500
void vpci_net_run(struct vpci_net *net, int64_t now_ms);

/* How it stands. */

enum vpci_net_state {
    VPCI_NET_NO_DEVICE,         /* Nobody serves the port. */
    VPCI_NET_CONNECTING,        /* Somebody does, but we have not got it. */
    VPCI_NET_NO_HEADER,         /* We have; the switch has never been there. */
    VPCI_NET_NO_SWITCH,         /* It has been, but is not there now. */
    VPCI_NET_MEETING,           /* It is there, but has not seen us yet. */
    VPCI_NET_RUNNING            /* Packets flow. */
};

/* "no device", "connecting", "no header", "no switch", "meeting",
 * "running". */
const char *vpci_net_state_name(enum vpci_net_state);

/* An Ethernet header and a tag. */
#define VPCI_NET_OVERHEAD 18

struct vpci_net_info {
    enum vpci_net_state state;
    bool carrier;               /* Packets flow, and the port is up. */
    int error;                  /* Why there is no device: as
                                 * vpci_device_open() says; ENOTSOCK: what is
                                 * at the address is no socket; EACCES, ...:
                                 * it cannot be looked at; EPROTO: the header
                                 * is not one that we understand, or a ring was
                                 * broken. */
    char reason[256];           /* Why there is no carrier, for people. */

    /* While state is VPCI_NET_RUNNING. */
    uint8_t mac[6];             /* Ours: as configured, or as the port's. */
    uint32_t max_len;           /* Longest packet, in bytes, from the Ethernet
                                 * header on, that is not a super-packet.
                                 * Changes with the MTU of the port, which is
                                 * VPCI_NET_OVERHEAD less. */
    uint64_t features;          /* That both sides have. */
    uint32_t n_queues;          /* That both sides use. */
    uint32_t n_classes;
    uint32_t ring_slots;
    enum vpci_abi_class_by class_by;
    uint32_t guest_id;          /* ivshmem ids. */
    uint32_t switch_id;
    uint32_t region_id;
    int64_t silence_ms;         /* Since the switch showed that it is alive. */
    uint64_t reserved[16];
};
void vpci_net_get_info(const struct vpci_net *net,
                       struct vpci_net_info *info);

/* Two loads: true while packets flow and the port is up. */
bool vpci_net_has_carrier(const struct vpci_net *net);

/* What the switch says of the port when it is asked.  Texts are for people,
 * without anything that a terminal would not print. */
struct vpci_net_port {
    char name[96];              /* As in ovs-vsctl. */
    char software[128];         /* What the switch is, with versions. */
    uint32_t mtu;
    uint32_t n_classes;
    enum vpci_abi_class_by class_by;
    bool admin_up;              /* The operator wants the port up. */
    bool link_up;               /* Besides, packets flow. */
    uint8_t reserved[58];
};

/* Asks the switch for that, and waits for the answer, for at most
 * VPCI_NET_CALL_MS.  Returns 0, or what vpci_device_call() says, with all of
 * '*port' 0.  Any thread; who also has to call vpci_net_run() does not do so
 * meanwhile. */
#define VPCI_NET_CALL_MS 2000
int vpci_net_get_port(struct vpci_net *net, struct vpci_net_port *port);

/* Returns the device "base" that the port has now, to be released by the
 * caller, or null if there is none.  It is for vpci_device_call() alone, and
 * what tells something of it: calls reach the switch, and take
 * VPCI_NET_CALL_MS at most.  Functions, and what they answer, are in
 * vpci/abi.h; their data has up to VPCI_ABI_CALL_MAX bytes.  Any thread. */
struct vpci_device *vpci_net_device(const struct vpci_net *net);

struct vpci_net_queue_stats {
    uint64_t packets;
    uint64_t bytes;
    uint64_t dropped;           /* Sent: with 'drop', what there was no room
                                 * or no switch for.  Received: larger than its
                                 * buffer. */
    uint64_t full;              /* Sent: bursts that a full ring stopped. */
    uint64_t refused;           /* Sent: of no bytes or more than possible, or
                                 * with offloads not agreed on. */
    uint64_t injected;          /* Signals to the switch. */
    uint64_t received;          /* Signals from it that came while, or before,
                                 * somebody waited. */
    uint64_t linked;            /* Of the packets, those by links. */
    uint64_t rejected;          /* Received by links, but not accepted by the
                                 * switch's rules: dropped. */
    uint64_t spurious;          /* Of the signals received, those for
                                 * nothing. */
    uint64_t masked;            /* How often nobody listened to a signal for a
                                 * while, since it came too often for
                                 * nothing: see vpci_net_rx_wait(). */
    uint64_t reserved[5];
};

struct vpci_net_stats {
    struct vpci_net_queue_stats tx;
    struct vpci_net_queue_stats rx;
    uint64_t meetings;          /* How often the switch and we have begun. */
    uint64_t resets;            /* How often rings were made anew since the
                                 * switch broke one. */
    uint64_t reserved[14];
};

/* Of 'queue', or of all: VPCI_NET_ALL.  'meetings' and 'resets' are of all
 * always. */
#define VPCI_NET_ALL UINT32_MAX
void vpci_net_get_stats(const struct vpci_net *net, uint32_t queue,
                        struct vpci_net_stats *stats);

/* Packets of 'class_', below VPCI_ABI_MAX_CLASSES, on 'queue' or on all, that
 * were sent and received while the port had several classes. */
struct vpci_net_class_stats {
    uint64_t tx_packets;
    uint64_t rx_packets;
};
void vpci_net_get_class_stats(const struct vpci_net *net, uint32_t queue,
                              uint32_t class_,
                              struct vpci_net_class_stats *stats);

/* Links: other guests with whom packets are exchanged without the switch, as
 * its rules say. */
struct vpci_net_link_info {
    uint32_t id;                /* Of its region. */
    uint32_t slot;              /* Place in what the switch says. */
    uint32_t side;              /* Ours: 0 or 1. */
    uint32_t peer_id;           /* ivshmem id of the other guest; 0: it is not
                                 * there. */
    enum vpci_net_state state;
    bool sends;                 /* Packets may be sent by it now. */
    bool is_peer;               /* It is no link, but another guest whose
                                 * virtio-net rings we drive (see "Peers" in
                                 * vpci/abi.h): while state is
                                 * VPCI_NET_RUNNING. */
    uint64_t tx_packets;
    uint64_t rx_packets;
    uint64_t refused;           /* Received, but not accepted; of a peer, how
                                 * often rings were given back because of
                                 * that. */
    char reason[256];           /* Why packets do not flow, for people; empty:
                                 * they do. */
};

/* Fills in 'infos' for up to 'n' links, as of the last vpci_net_run(). 
 * Returns how many there are, at most VPCI_ABI_MAX_LINKS. */
uint32_t vpci_net_get_links(const struct vpci_net *net,
                            struct vpci_net_link_info infos[], uint32_t n);

/* Packets.  Queues are numbered from 0, below VPCI_ABI_MAX_QUEUES. */

/* Sends up to 'n' packets on 'queue', in order within their classes, by the
 * rules of the port.  Of each buffer 'data', 'len' and 'offload' matter.
 * Returns how many of them the caller is rid of, also by a drop: the first
 * ones.  0 if no packets flow, or the queue is not used now. */
unsigned int vpci_net_tx_burst(struct vpci_net *net, uint32_t queue,
                               const struct vpci_ring_buf bufs[],
                               unsigned int n);

/* Receives up to 'n' packets from 'queue', those of the highest class
 * first.  Of each buffer 'data' and 'size' matter.  Returns how many there
 * are.  The order of the buffers in 'bufs' may change. */
unsigned int vpci_net_rx_burst(struct vpci_net *net, uint32_t queue,
                               struct vpci_ring_buf bufs[], unsigned int n);

/* Waits until there may be room for what stopped the last burst, or
 * packets, for at most 'timeout_us' microseconds; for ever if negative.
 * Returns false if the time is over, a signal of the operating system
 * came, or vpci_net_wake() was called.  Whoever is polling does not sleep
 * here.
 *
 * A signal that comes too often for nothing (more than 32 times in 10 ms, if
 * the other side injects it in a loop, say, or other rings that share it are
 * busy) is masked: nobody listens to it for 10 ms or, if it goes on so, up to
 * 640 ms.  Meanwhile who waits looks by itself, each millisecond. */
bool vpci_net_tx_wait(struct vpci_net *net, uint32_t queue,
                      int64_t timeout_us);
bool vpci_net_rx_wait(struct vpci_net *net, uint32_t queue,
                      int64_t timeout_us);

/* Receivers that sleep are told of packets of 'class_' on 'queue' when there
 * are m->packets of them in a ring, or m->us microseconds, at most
 * VPCI_NET_MAX_MITIGATION_US, after the first of them, whichever comes first.
 * So vpci_net_rx_wait() returns less often, and the sender has fewer signals
 * to inject.  No more than half of the ring's slots are waited for, which 0
 * packets stand for; with 1 packet, or if m->us is 0, they are told at once,
 * as they are at first.
 *
 * Packets that are there when the wait begins do not wait, nor do those of
 * other classes, nor any when the time of vpci_net_rx_wait() is over.
 *
 * Of the receiver's thread.  Returns 0, or EINVAL if there can be no such
 * queue, class or time. */
#define VPCI_NET_MAX_MITIGATION_US 1000000
int vpci_net_rx_set_mitigation(struct vpci_net *net, uint32_t queue,
                               uint32_t class_,
                               const struct vpci_mitigation *m);

/* Waits until the switch has taken all that was sent on 'queue', as
 * vpci_net_tx_wait() does. */
bool vpci_net_tx_flush(struct vpci_net *net, uint32_t queue,
                       int64_t timeout_us);

/* Whether the thread is polling: then the switch need never wake it.  At
 * first, it is not. */
void vpci_net_tx_set_polling(struct vpci_net *net, uint32_t queue,
                             bool polling);
void vpci_net_rx_set_polling(struct vpci_net *net, uint32_t queue,
                             bool polling);

/* Ends all waits that are under way. */
void vpci_net_wake(struct vpci_net *net);

#ifdef __cplusplus
}
#endif

#endif /* vpci/net.h */
