/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_ACTIONS_H
#define NETDEV_VPCI_ACTIONS_H 1

/* Actions of megaflows as programs for the splice path. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dpif-netdev-private-flow.h"
#include "openvswitch/types.h"
#include "ovs-rcu.h"

struct dp_packet_batch;
struct nlattr;
struct vpci_target;

/* Bytes that edits may add in front of a packet: two VLAN tags. */
#define VPCI_PROGRAM_HEADROOM 8

enum vpci_op_kind {
    VPCI_OP_EDIT,               /* Change the headers. */
    VPCI_OP_OUTPUT,             /* Send the packet as it is now. */
};

struct vpci_op {
    enum vpci_op_kind kind;
    odp_port_t port;            /* VPCI_OP_OUTPUT... */
    struct vpci_target *target; /* ...which is this.  Set by whoever knows;
                                 * the program holds a reference. */
    const struct nlattr *edits; /* VPCI_OP_EDIT: actions of the datapath, in
                                 * the program's own memory. */
    size_t edits_len;
};

/* What becomes of a packet.  Without operations it is dropped. */
struct vpci_program {
    uint64_t generation;        /* Larger than that of all programs that the
                                 * port had before. */

    /* The datapath's flow whose actions these are, with a reference, and the
     * actions that it had: packets take the program as long as it has them. */
    struct dp_netdev_flow *owner;
    const struct dp_netdev_actions *owner_actions;

    size_t n_ops;
    size_t n_edits;
    uint32_t growth;            /* Bytes that packets become longer by, at
                                 * most. */
    struct vpci_op ops[];
};

/* Translates 'actions'.  Returns null and stores a program, for
 * vpci_program_destroy(), in '*programp', or returns the name of the first
 * action that it does not know, as ovs-actions(7) or the datapath has it. */
const char *vpci_actions_to_program(const struct nlattr *actions,
                                    size_t actions_len,
                                    struct vpci_program **programp);

/* Null is ignored. */
void vpci_program_destroy(struct vpci_program *);

/* Makes 'flow', to which the caller has a reference, and which had 'actions',
 * the owner of a program that has none. */
void vpci_program_set_owner(struct vpci_program *, struct dp_netdev_flow *flow,
                            const struct dp_netdev_actions *actions);

/* True if the owner is still in the datapath, with the same actions.  So what
 * changes there holds here at once, and nothing waits for the thread that
 * offloads flows.  (Actions that are new may lie where old ones were, but not
 * before all threads have quiesced, and then that thread is about to say so.)
 * Any thread. */
static inline bool
vpci_program_is_current(const struct vpci_program *program)
{
    const struct dp_netdev_flow *owner = program->owner;

    return (!__atomic_load_n(&owner->dead, __ATOMIC_RELAXED)
            && ovsrcu_get(struct dp_netdev_actions *, &owner->actions)
               == program->owner_actions);
}

/* True if packets go to one place as they are. */
static inline bool
vpci_program_is_simple(const struct vpci_program *program)
{
    return program->n_ops == 1;
}

/* True if all ports that packets go to are still there. */
bool vpci_program_is_alive(const struct vpci_program *);

/* Applies an edit to packets that hold at least the headers, with the offsets
 * of their layers set and VPCI_PROGRAM_HEADROOM in front. */
void vpci_program_edit(const struct vpci_op *, struct dp_packet_batch *);

#endif /* netdev-vpci-actions.h */
