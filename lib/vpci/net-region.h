/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_NET_REGION_H
#define VPCI_NET_REGION_H 1

#include "channel-private.h"
#include "vpci/device.h"
#include "vpci/net.h"

/* A region with a channel over it
 * ===============================
 *
 * From a device that may come and go to rings that carry packets, and back.
 * The base of a port is one, and so is each link.
 *
 * If nobody serves the device any more, the region is used as long as the
 * other side is the same and shows that it is alive, or until it is served
 * again.
 *
 * Threads: those that use the rings, workers, are let in by the region's
 * user while the state is VPCI_NET_RUNNING.  Before net_region_run(), which
 * any other thread calls, the user asks net_region_must_stop(); if that
 * returns true, or the last net_region_run() another state, no worker may
 * be inside. */

/* Where no keeper tells, an other side that is silent for so long has gone. */
#define NET_MAX_SILENCE_MS 2000

struct net_region_config {
    enum vpci_abi_kind kind;
    unsigned int side;
    uint32_t n_queues;          /* These are as in struct vpci_net_config. */
    uint64_t features;
    uint8_t mac[6];
    uint32_t n_links;           /* Of a base: links that it would use. */

    /* Of a link, whose header is not believed. */
    struct vpci_layout layout;
    uint32_t region_id;

    /* Called before the other side may believe that we are there, or null. */
    void (*prepare)(void *aux);

    /* Answers calls of the device, or null. */
    vpci_device_answer *answer;

    void *aux;
};

struct net_region {
    struct net_region_config config;
    enum vpci_net_state state;
    int error;                  /* As in struct vpci_net_info. */
    char reason[256];

    struct vpci_device *device; /* Or null. */
    bool departed;              /* Its bus does not have it any more. */
    bool gone;                  /* Nobody serves it any more. */
    bool unplugged;             /* It is taken away. */
    bool leaves;                /* It is to be closed. */
    struct vpci_device *successor;  /* What may be served in its place. */
    bool peer_came;             /* Since net_region_run() was called last. */
    int64_t retry_at;           /* When to open it, */
    int64_t retry_ms;           /* and how long to wait after that. */

    /* While the device is open and has a header. */
    struct vpci_layout layout;
    void *base;
    uint32_t region_id;
    struct vpci_channel *channel; /* Null: no header. */
    struct vpci_ring_tx *tx[VPCI_ABI_MAX_RINGS]; /* Its ends of rings, by */
    struct vpci_ring_rx *rx[VPCI_ABI_MAX_RINGS]; /* index, once it has begun. */
    uint32_t n_channels;        /* How many there have been. */
    bool begun;                 /* Its epoch is not 0. */
    bool silent;                /* The other side was, in the last look. */
    bool renews;                /* It is to begin anew. */
    int64_t begin_at;           /* When to begin anew after a fault. */

    /* What workers have found to be wrong; atomic. */
    bool fault_claimed;
    bool fault_told;
    struct vpci_fault fault;
    uint64_t n_resets;          /* Because of a fault. */
};

void net_region_init(struct net_region *, const struct net_region_config *);
void net_region_uninit(struct net_region *);

/* The region's device is 'device', which belongs to it from now on.  There
 * must be none, or one that is not open. */
void net_region_set_device(struct net_region *, struct vpci_device *device);

/* The channel, which runs, is to begin anew.  The other side is told that we
 * are not there any more: workers may receive what it has sent before that,
 * and send nothing.  net_region_must_stop() returns true until
 * net_region_run() is called. */
void net_region_renew(struct net_region *);

/* True if workers must stop before net_region_run() is called. */
bool net_region_must_stop(struct net_region *);

/* Does what is due, and returns the state. */
enum vpci_net_state net_region_run(struct net_region *, int64_t now_ms);

/* True as long as the other side is the one that the rings were made for. */
static inline bool
net_region_is_current(const struct net_region *r)
{
    return channel_is_current(r->channel);
}

/* The signal that belongs to ring 'index', while the channel runs. */
struct vpci_signal *net_region_signal(const struct net_region *,
                                      uint32_t index);

/* Injects all signals. */
void net_region_inject_all(const struct net_region *);

/* True if a worker has found a ring to be broken since the channel began. */
bool net_region_is_faulty(const struct net_region *);

#endif /* lib/vpci/net-region.h */
