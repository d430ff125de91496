/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_LINK_H
#define NETDEV_VPCI_LINK_H 1

/* Links: regions that two guests of vpci-net share, by which packets go from
 * one to the other without the switch (vpci/abi.h, "Links").
 *
 * Here is decided which pairs of ports have one, and which megaflows take it.
 * A thread of its own does that: what changes in the datapath must hold on
 * links soon, whatever the main thread is doing.  What only the main thread
 * may do, such as to talk to the keeper, it asks for.
 *
 *     netdev-vpci-link.c       ports that may have links, which pairs have one
 *     netdev-vpci-link-begin.c     how links begin, or go on
 *     netdev-vpci-link-consent.c   whom ports may have links with
 *     netdev-vpci-link-life.c  one link: from the keeper to its end
 *     netdev-vpci-link-move.c  how megaflows get there, and back
 *     netdev-vpci-link-show.c  ovs-appctl vpci/links
 *     netdev-vpci-link-static.c    pairs whose link is there from the start
 *
 * Locks: links_mutex comes after the mutex of a port and before that of its
 * offload. */

#include <stdbool.h>
#include <stdint.h>

#include "vpci/abi.h"
#include "vpci/channel.h"

struct netdev_vpci;
struct vpci_counters;
struct smap;
struct vpci_flow;
struct vpci_linked;
struct vpci_linker;

/* Room for links in each base region. */
#define VPCI_LINKS_MAX 8
#define VPCI_LINK_ENTRIES 512

/* What is to be known of a port's links by a switch that comes after this one,
 * in memory that guests never see. */
struct vpci_links_past {
    uint32_t hints;             /* Generation. */
    struct vpci_past_link {
        uint32_t id;            /* Of the link's region, or 0. */
        uint32_t peer;          /* Base region at its other end. */
        uint32_t side;
        uint32_t acceptances;   /* Generation. */
        struct vpci_shape shape;
    } links[VPCI_LINKS_MAX];
};

/* The guest of a port, while its rings run.  All stays valid until
 * vpci_linker_stop(). */
struct vpci_linker_guest {
    const struct vpci_layout *layout;
    void *memory;               /* The base region. */
    uint32_t region;            /* Its id. */
    struct vpci_channel *channel;
    struct vpci_links_past *past;
    bool resumed;               /* Another switch was here, and has left it. */
    int control_fd;             /* Makes the guest look; -1: none. */
};

/* A port of vpci-net from now on, whose base region has 'layout', which stays
 * as it is until vpci_linker_destroy().  Main thread. */
struct vpci_linker *vpci_linker_create(struct netdev_vpci *,
                                       const struct vpci_layout *layout);
void vpci_linker_destroy(struct vpci_linker *);

/* The keeper has the port's base region, by this id, or is away: 0.  Main
 * thread. */
void vpci_linker_set_region(struct vpci_linker *, uint32_t region);

/* Its guest is there, or is not any more: links that it is connected to wait for
 * it if it 'may_return'.  Main thread, with the port's mutex. */
void vpci_linker_start(struct vpci_linker *, const struct vpci_linker_guest *);
void vpci_linker_stop(struct vpci_linker *, bool may_return);

/* The guest has another doorbell.  Main thread, with the port's mutex. */
void vpci_linker_set_doorbell(struct vpci_linker *, int control_fd);

/* Something about the port has changed: options, flags, MTU, policers.  With
 * the port's mutex. */
void vpci_linker_update(struct vpci_linker *);

/* Adds what devices the port's guest has for static links to column "status".
 * With the port's mutex. */
void vpci_linker_get_status(const struct vpci_linker *, struct smap *);

/* Adds what has come from the port's guests, and what has gone to them, by
 * links.  Any thread. */
void vpci_linked_add_counters(const struct vpci_linked *,
                              struct vpci_counters *rx,
                              struct vpci_counters *tx);

/* 'flow' is not what it was, or goes.  With the mutex of its offload. */
void vpci_link_flow_changed(struct vpci_flow *);
void vpci_link_flow_gone(struct vpci_flow *);

/* Links stay as they are from now on, whatever becomes of ports and megaflows:
 * the switch ends, and the next one will go on with them.  Main thread. */
void vpci_links_keep(void);

/* Does what others have asked for.  Main thread. */
void vpci_links_run(void);
void vpci_links_wait(void);

/* The thread that looks after links is to do so at once.  Any thread, once there
 * is a port of vpci-net. */
void vpci_links_wake(void);

void vpci_links_show_init(void);

#endif /* netdev-vpci-link.h */
