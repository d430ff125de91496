/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_PROJECTION_PRIVATE_H
#define VPCI_PROJECTION_PRIVATE_H 1

/* For those who look at a projection once for each burst. */

#include "vpci/projection.h"
#include "vpci/types.h"

#define PROJECTION_PAGE 4096u

/* At the beginning of a projection.  Copies follow, each at a page. */
struct projection_hdr {
    vpci_le32 generation;       /* Copy 0 counts if it is even, 1 if odd; none
                                 * if bit 31 is set, or if it is 0. */
    vpci_le32 copy_bytes;       /* From one copy to the next. */
};

struct vpci_projection {
    const struct projection_hdr *hdr;
    size_t bytes;
    struct vpci_steer_reader *reader;
    uint32_t generation;        /* Since vpci_projection_begin(); */
    int depth;                  /* what that returned. */
};

/* vpci_projection_generation_at(). */
static inline uint32_t
projection_generation(const struct projection_hdr *hdr)
{
    return vpci_load32_acquire(&hdr->generation);       /* (L) */
}

/* vpci_projection_end(). */
static inline bool
projection_end(const struct vpci_projection *p)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);            /* (N) */
    return vpci_load32(&p->hdr->generation) == p->generation;
}

#endif /* lib/vpci/projection-private.h */
