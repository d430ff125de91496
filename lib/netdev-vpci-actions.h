/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_ACTIONS_H
#define NETDEV_VPCI_ACTIONS_H 1

/* Actions of megaflows as programs for the splice path. */

#include <stddef.h>
#include <stdint.h>

#include "openvswitch/types.h"

struct dp_packet;
struct nlattr;

/* Bytes that edits may add in front of a packet: two VLAN tags. */
#define VPCI_PROGRAM_HEADROOM 8

enum vpci_op_kind {
    VPCI_OP_EDIT,               /* Change the headers. */
    VPCI_OP_OUTPUT,             /* Send the packet as it is now. */
};

struct vpci_op {
    enum vpci_op_kind kind;
    odp_port_t port;            /* VPCI_OP_OUTPUT. */
    const struct nlattr *edits; /* VPCI_OP_EDIT: actions of the datapath, in
                                 * the program's own memory. */
    size_t edits_len;
};

/* What becomes of a packet.  Without operations it is dropped. */
struct vpci_program {
    size_t n_ops;
    size_t n_outputs;
    struct vpci_op ops[];
};

/* Translates 'actions'.  Returns null and stores a program that the caller
 * frees in '*programp', or returns the name of the first action that it does
 * not know, as ovs-actions(7) or the datapath has it. */
const char *vpci_actions_to_program(const struct nlattr *actions,
                                    size_t actions_len,
                                    struct vpci_program **programp);

/* Applies an edit to 'packet', which holds at least the headers of a packet,
 * with the offsets of its layers set and VPCI_PROGRAM_HEADROOM in front. */
void vpci_program_edit(const struct vpci_op *, struct dp_packet *packet);

#endif /* netdev-vpci-actions.h */
