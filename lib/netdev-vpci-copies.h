/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_COPIES_H
#define NETDEV_VPCI_COPIES_H 1

/* The copies of a megaflow
 * ========================
 *
 * The datapath has a megaflow once for each PMD thread that saw a packet of it,
 * each with statistics of its own, but offloads it once only.  Each copy asks
 * for statistics and adds them to its own, so that a packet must be reported to
 * one of them: each is given what has been counted since any of them asked, on
 * top of what it was given before.
 *
 * The name of an offloaded megaflow is made of the masked packet headers, and
 * not of the mask: megaflows that are not the same may have the same name.  The
 * datapath then takes the second for a copy of the first.  We look at each.
 *
 * Threads: the caller serializes calls for one megaflow. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openvswitch/types.h"

struct dp_netdev_actions;
struct dp_netdev_flow;
struct match;

struct vpci_copy {
    struct dp_netdev_flow *flow; /* With a reference: nobody else gets its
                                  * address. */
    ovs_u128 mask;              /* A hash of its mask. */
    uint64_t packets;           /* Reported to it. */
    uint64_t bytes;
};

struct vpci_copies {
    struct vpci_copy *copies;
    size_t n, allocated;
    size_t n_odd;               /* Those with another mask than... */
    ovs_u128 mask;              /* ...the one that is offloaded. */
    uint64_t packets;           /* Reported to all there ever were. */
    uint64_t bytes;
};

/* The datapath's flow of which 'ufid' is the name.  The datapath passes no other
 * names to netdev_flow_api, and keeps the flow while it calls. */
struct dp_netdev_flow *vpci_copy_flow(const ovs_u128 *ufid);

/* Takes a reference to 'flow', for dp_netdev_flow_unref().  Returns false if it
 * is going.  The calling thread has not quiesced since 'flow' was given. */
bool vpci_copy_ref(struct dp_netdev_flow *flow);

/* Match of 'flow'.  The calling thread has not quiesced since that was given. */
void vpci_copy_get_match(const struct dp_netdev_flow *flow, struct match *);

/* Actions of 'flow', until the calling thread quiesces. */
const struct dp_netdev_actions *vpci_copy_get_actions(
    const struct dp_netdev_flow *flow);

/* True if the datapath has marked 'flow' as offloaded: then it says so when the
 * megaflow is to go. */
bool vpci_copy_is_marked(const struct dp_netdev_flow *flow);

/* No copies, of a megaflow that is offloaded with the mask of 'match'. */
void vpci_copies_init(struct vpci_copies *, const struct match *match);
void vpci_copies_uninit(struct vpci_copies *);

/* Returns 'flow' among the copies, as a new one if need be.  Returns null if it
 * has gone from the datapath, where somebody may still look at it, or if it is
 * new and will be offered later.  'match', if not null, is that of 'flow', which
 * is offered now.  The pointer is valid until the next call. */
struct vpci_copy *vpci_copies_find(struct vpci_copies *,
                                   struct dp_netdev_flow *flow,
                                   const struct match *match);

enum vpci_agreement {
    VPCI_COPIES_ALL,            /* All copies have the offloaded mask. */
    VPCI_COPIES_SOME,           /* Only some have. */
    VPCI_COPIES_NONE,           /* None that is still there has. */
};

/* Says which of the copies that the datapath still has are what is offloaded. */
enum vpci_agreement vpci_copies_agree(const struct vpci_copies *);

/* Takes the mask of 'copy' for the one that is offloaded.  What has not been
 * reported of the totals is not reported any more.  Pointers to copies are no
 * longer valid. */
void vpci_copies_adopt(struct vpci_copies *, const struct vpci_copy *copy,
                       uint64_t packets, uint64_t bytes);

/* Reports what is new in the totals of the megaflow to 'copy', if that is what
 * was offloaded, where what it is to know can then be found.  Returns the number
 * of packets that are new. */
uint64_t vpci_copies_report(struct vpci_copies *, struct vpci_copy *copy,
                            uint64_t packets, uint64_t bytes);

#endif /* netdev-vpci-copies.h */
