/* SPDX-License-Identifier: Apache-2.0 */

#ifndef GUARDED_MEMORY_H
#define GUARDED_MEMORY_H 1

/* Memory between two pages that nobody may touch, for tests: whatever leaves
 * it ends the program. */

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "vpci/abi.h"

#define GUARD VPCI_ABI_PAGE

/* Returns 'bytes' of zeros, which end where the second of these pages begins,
 * as far as that goes with the alignment of slots.  unmap_guarded() frees
 * them. */
static inline void *
map_guarded(size_t bytes)
{
    size_t whole = (bytes + VPCI_ABI_PAGE - 1) & -(size_t) VPCI_ABI_PAGE;
    uint8_t *p = mmap(NULL, whole + 2 * GUARD, PROT_NONE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED
        || mprotect(p + GUARD, whole, PROT_READ | PROT_WRITE)) {
        abort();
    }
    return p + GUARD + (whole - bytes) / VPCI_ABI_SLOT_BYTES
                       * VPCI_ABI_SLOT_BYTES;
}

static inline void
unmap_guarded(void *p, size_t bytes)
{
    size_t whole = (bytes + VPCI_ABI_PAGE - 1) & -(size_t) VPCI_ABI_PAGE;

    munmap((uint8_t *) ((uintptr_t) p & -(uintptr_t) VPCI_ABI_PAGE) - GUARD,
           whole + 2 * GUARD);
}

#endif /* guarded-memory.h */
