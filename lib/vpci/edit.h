/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_EDIT_H
#define VPCI_EDIT_H 1

#include <stdbool.h>
#include <stdint.h>

#include "vpci/abi.h"

/* Edits of packets
 * ================
 *
 * What becomes of the headers of a packet that a link carries: the receiver
 * does what the switch would have done (vpci/abi.h, "Links").  The bytes are
 * the same that Open vSwitch makes, with checksums that are as right or as
 * wrong as they were.
 *
 * Functions here keep no state: any thread may call them. */

/* Bytes that packets may become longer by, at any moment. */
#define VPCI_EDITS_ROOM (VPCI_ABI_MAX_TAGS * 4)

/* Edits in private memory. */
struct vpci_edits {
    uint32_t n;                 /* 0: none. */
    struct vpci_abi_edit edits[VPCI_ABI_MAX_EDITS];

    /* By vpci_edits_check(). */
    bool tags;                  /* Tags come or go. */
    int growth;                 /* Bytes that each packet becomes longer by. */
};

/* Returns whether 'n' and 'edits' of '*edits' make sense, for one or more, and
 * fills in the rest. */
bool vpci_edits_check(struct vpci_edits *edits);

/* Writes '*edits', of one or more, to '*shared', which no acceptance has that
 * was published last.  Readers that were late see another generation. */
void vpci_edits_write(const struct vpci_edits *edits,
                      struct vpci_abi_edits *shared);

/* Reads '*shared', once, into '*edits', between vpci_projection_begin() and
 * vpci_projection_end(), of whose success it depends whether that is worth
 * anything.  Returns false if it makes no sense. */
bool vpci_edits_read(struct vpci_edits *edits,
                     const struct vpci_abi_edits *shared);

/* Changes the packet of 'len' bytes at 'data', private memory with room for
 * edits->growth more, of which it has so many more then.  No more than
 * 'max_vlans' tags are taken for tags, as for vpci_key_parse().
 *
 * Returns false, with the packet in any state, if it is not one that has all
 * that is to be changed, or it is not certain where. */
bool vpci_edits_apply(const struct vpci_edits *edits, unsigned int max_vlans,
                      uint8_t *data, uint32_t len);

#endif /* lib/vpci/edit.h */
