/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_PEER_H
#define VPCI_PEER_H 1

#include "vpci/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The other side of shared memory, and the one funnel for what it does wrong
 * ===========================================================================
 *
 * Whatever the other side writes is read once into a private copy, checked
 * and then used.  A check that fails ends in vpci_peer_bad(), nowhere else. */

enum vpci_fault_kind {
    VPCI_FAULT_NONE,
    VPCI_FAULT_ADDRESS,         /* A buffer or table outside guest memory. */
    VPCI_FAULT_LOOP,            /* A chain longer than its ring or table. */
    VPCI_FAULT_SHORT,           /* A chain too short for the virtio header. */
    VPCI_FAULT_ZERO,            /* A descriptor of length 0. */
    VPCI_FAULT_INDEX,           /* An index that ran ahead of the ring. */
    VPCI_FAULT_HEAD,            /* A descriptor number beyond the ring. */
    VPCI_FAULT_DIRECTION,       /* Read-only where writable is due, or the
                                 * other way round. */
    VPCI_FAULT_INDIRECT,        /* A nested, chained, unaligned, empty or
                                 * not negotiated indirect table. */
    VPCI_FAULT_LENGTH,          /* Buffers of one chain add up to more than
                                 * 32 bits. */
    VPCI_FAULT_DOORBELL,        /* A doorbell that blocks who rings it. */

    /* Of native rings. */
    VPCI_FAULT_CONSUMED,        /* More consumed than there was. */
    VPCI_FAULT_TYPE,            /* A slot of a kind that does not exist. */
    VPCI_FAULT_SIZE,            /* A packet of no or too many bytes. */
    VPCI_FAULT_POSITION,        /* A packet outside the data area. */
    VPCI_N_FAULTS
};

/* One fault, as seen. */
struct vpci_fault {
    enum vpci_fault_kind kind;
    uint16_t ring;              /* Index of the ring in its device. */
    uint16_t slot;              /* Descriptor or ring slot, where known. */
    uint64_t seen;              /* The offending value. */
    uint64_t limit;             /* The largest value that would have been
                                 * accepted, or 0 if that says nothing. */
};

struct vpci_peer {
    /* Called by vpci_peer_bad(), on the thread that found the fault, at most
     * once for each start of a ring.  Must neither block nor touch the ring.
     * May be null. */
    void (*report)(void *aux, const struct vpci_fault *);
    void *aux;
};

/* Hands 'fault' to the peer's 'report' function. */
void vpci_peer_bad(const struct vpci_peer *, const struct vpci_fault *fault);

/* A short English phrase for 'kind', such as "descriptor outside guest
 * memory". */
const char *vpci_fault_to_string(enum vpci_fault_kind);

/* Formats 'fault' into the 'size' bytes at 'buf' as one clause: what was seen,
 * where, and what would have been accepted.  Returns 'buf'. */
char *vpci_fault_format(const struct vpci_fault *, char *buf, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* vpci/peer.h */
