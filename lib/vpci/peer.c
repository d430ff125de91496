/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/peer.h"

#include <inttypes.h>
#include <stdio.h>

void
vpci_peer_bad(const struct vpci_peer *peer, const struct vpci_fault *fault)
{
    if (peer && peer->report) {
        peer->report(peer->aux, fault);
    }
}

const char *
vpci_fault_to_string(enum vpci_fault_kind kind)
{
    switch (kind) {
    case VPCI_FAULT_NONE:
        return "no fault";
    case VPCI_FAULT_ADDRESS:
        return "descriptor outside guest memory";
    case VPCI_FAULT_LOOP:
        return "descriptor chain longer than its ring or table";
    case VPCI_FAULT_SHORT:
        return "buffer too short for the virtio header";
    case VPCI_FAULT_ZERO:
        return "descriptor of length 0";
    case VPCI_FAULT_INDEX:
        return "available index ahead of the ring";
    case VPCI_FAULT_HEAD:
        return "descriptor number beyond the ring or table";
    case VPCI_FAULT_DIRECTION:
        return "descriptor of the wrong direction";
    case VPCI_FAULT_INDIRECT:
        return "indirect descriptor that is not allowed here";
    case VPCI_FAULT_LENGTH:
        return "descriptor chain of more than 32 bits of length";
    case VPCI_FAULT_DOORBELL:
        return "doorbell (call descriptor) that blocks who rings it";
    case VPCI_FAULT_CONSUMED:
        return "more packets consumed than were produced";
    case VPCI_FAULT_TYPE:
        return "slot of an unknown type";
    case VPCI_FAULT_SIZE:
        return "packet of no bytes, or of too many";
    case VPCI_FAULT_POSITION:
        return "packet outside the data area";
    case VPCI_N_FAULTS:
    default:
        return "unknown fault";
    }
}

char *
vpci_fault_format(const struct vpci_fault *fault, char *buf, size_t size)
{
    char limit[48] = "";

    if (fault->limit) {
        snprintf(limit, sizeof limit, ", at most 0x%"PRIx64" is accepted",
                 fault->limit);
    }
    if (size) {
        snprintf(buf, size, "ring %u: %s (slot %u, value 0x%"PRIx64"%s)",
                 fault->ring, vpci_fault_to_string(fault->kind), fault->slot,
                 fault->seen, limit);
    }
    return buf;
}
