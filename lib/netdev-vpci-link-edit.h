/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_LINK_EDIT_H
#define NETDEV_VPCI_LINK_EDIT_H 1

/* Edits of megaflows as what guests on links are told of them. */

#include <stdbool.h>

#include "vpci/abi.h"

struct vpci_edits;
struct vpci_program;
union vpci_key;

/* Fills in '*edits' with what 'program', of a megaflow of packets with a key
 * like '*key' under '*mask', does before its output: it is simple, for which
 * there are none, or has edits and one output.  Returns false if a guest
 * cannot be told so, or there might be packets that it would not do the same
 * with. */
bool vpci_program_get_edits(const struct vpci_program *program,
                            const union vpci_key *mask,
                            const union vpci_key *key,
                            struct vpci_edits *edits);

/* True if 'edits' may change the class of priority of packets, where that is
 * chosen by 'by'. */
bool vpci_edits_change_class(const struct vpci_edits *edits,
                             enum vpci_abi_class_by by);

#endif /* netdev-vpci-link-edit.h */
