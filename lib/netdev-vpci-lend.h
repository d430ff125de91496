/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_LEND_H
#define NETDEV_VPCI_LEND_H 1

/* Device vhost-pci-net: rings of a port's guest that are lent to the guest of
 * another port (vpci/abi.h, "Peers").
 *
 * The owner is a port of device virtio-net.  The borrower is one of vpci-net,
 * with options:peer=OWNER and options:trust-peer=true.  While megaflows say that
 * both send to each other alone, as it is, the borrower's guest drives the
 * owner's rings: neither of the two needs the switch then.  As soon as anything
 * else is to be done with them, the switch takes them back: for another packet
 * to the owner (which waits for that), a change of policy, a message of the
 * owner's front end that moves rings or memory.
 *
 * A borrower that does not give rings back might still write to them.  So the
 * owner's port is down until it has done so, or its device has gone.
 *
 *     netdev-vpci-lend.c        when, and how rings change hands
 *     netdev-vpci-lend-port.c   which ports
 *     netdev-vpci-lend-flow.c   the megaflows for which that is done
 *     netdev-vpci-lend-ring.c   what the borrower is told of rings
 *     netdev-vpci-lend-main.c   the keeper and doorbells, on the main thread
 *     netdev-vpci-lend-memory.c the owner's memory, likewise
 *     netdev-vpci-lend-show.c   how that stands
 *     netdev-vpci-held.c        packets to the owner that wait for its rings
 *
 * Locks: lends_mutex comes before vpci_mutex, the mutexes of ports, and then
 * links_mutex. */

#include <stdbool.h>

struct dp_packet;
struct ds;
struct json;
struct netdev_vpci;
struct smap;
struct vpci_counters;
struct vpci_lend;
struct vpci_linker;

/* The guest of 'borrower', a port of vpci-net whose options name a peer, may be
 * lent rings from now on.  Main thread, no mutex held. */
struct vpci_lend *vpci_lend_create(struct netdev_vpci *borrower,
                                   struct vpci_linker *linker);
void vpci_lend_destroy(struct vpci_lend *);

/* 'owner' is about to go.  Main thread, no mutex held. */
void vpci_lend_forget_owner(struct netdev_vpci *owner);

/* Takes the rings of 'owner' back, within a bound, for the reason 'why'.  Returns
 * true if they are the switch's now, or of no use to anybody.  Otherwise the
 * port is down until they are.  Any thread, with the mutex of 'owner'. */
bool vpci_lend_recall(struct netdev_vpci *owner, const char *why);

/* Does what is due, on the thread that looks after links; no mutex held.  Returns
 * true if it waits for something that will be soon. */
bool vpci_lends_step(long long int now);

/* True if rings may be lent at all.  Any thread. */
bool vpci_lends_exist(void);

/* The driver of the borrower's guest begins, or is about to be out of reach.
 * With links_mutex. */
void vpci_lend_guest_begins(struct vpci_lend *);
void vpci_lend_guest_ends(struct vpci_lend *);

/* The memory of a front end of any port is not what it was.  Any thread. */
void vpci_lends_memory_changed(void);

/* Does what others have asked for.  Main thread. */
void vpci_lends_run(void);
void vpci_lends_wait(void);

/* The rings of 'dev' may be used, unless they are, or may be, lent.  Main thread,
 * after vpci_lends_run(), no mutex held. */
void vpci_lend_free_port(struct netdev_vpci *dev);

/* The process ends: all rings come home. */
void vpci_lends_end(void);

/* Adds how it stands to the status of 'dev', borrower or owner.  Main thread,
 * with the mutex of 'dev'. */
void vpci_lend_get_status(const struct netdev_vpci *dev, struct smap *args);

/* For ovs-appctl vpci/links: those with port 'name', or all if that is null, for
 * people; and an array for programs, of those whose borrower can have a device.
 * Main thread, no mutex held. */
void vpci_lends_show(const char *name, struct ds *);
struct json *vpci_lends_to_json(const char *name);

/* netdev-vpci-held.c */

/* Packets to a port whose rings are away for a while. */
struct vpci_held;

struct vpci_held *vpci_held_create(void);
void vpci_held_destroy(struct vpci_held *);

/* From now on packets wait.  With the mutex of 'dev', while paused. */
void vpci_held_begin(struct netdev_vpci *dev);

/* Drops those that wait, and keeps no more. */
void vpci_held_drop(struct netdev_vpci *dev);

/* Takes those of 'pkts[0..n)' that there is room for, in their order, and counts
 * others as dropped.  Returns false, with nothing done, if packets are not to
 * wait (any more).  PMD threads. */
bool vpci_held_add(struct netdev_vpci *dev, struct dp_packet **pkts, int n);

/* True if packets are to wait.  Any thread. */
bool vpci_held_waits(const struct netdev_vpci *dev);

/* True if any wait, or there was no room for one. */
bool vpci_held_any(const struct netdev_vpci *dev);

/* Packets do not wait any more: sends those that do, then opens the gates of
 * transmit queues by 'open'.  With the mutex of 'dev', whose gates are shut. */
void vpci_held_end(struct netdev_vpci *dev,
                   void (*open)(struct netdev_vpci *));

/* Adds packets that were dropped. */
void vpci_held_add_counters(const struct netdev_vpci *dev,
                            struct vpci_counters *tx);

#endif /* netdev-vpci-lend.h */
