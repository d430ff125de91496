/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_ACTIONS_H
#define NETDEV_VPCI_ACTIONS_H 1

/* Actions of megaflows as programs for the splice path. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "openvswitch/types.h"

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
    size_t n_ops;
    size_t n_edits;
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
