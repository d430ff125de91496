/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_MEMORY_H
#define VPCI_MEMORY_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Guest memory
 * ============
 *
 * A 'struct vpci_memory' says which ranges of guest physical addresses are
 * mapped into this process, and where.  The ring engine translates every
 * address that a guest writes through it, and never touches a byte outside.
 *
 * Ownership: the caller owns the table and keeps it, and the mappings that it
 * describes, unchanged for as long as a ring that uses it runs.
 *
 * Threads: the table is read-only while rings run. */

/* As many as a vhost-user back end of DPDK 22.11 accepts in one
 * SET_MEM_TABLE, with room for front ends that add regions one by one. */
#define VPCI_MEMORY_MAX_REGIONS 32

struct vpci_memory_region {
    uint64_t guest_addr;        /* First guest physical address. */
    uint64_t size;              /* In bytes; never 0. */
    uint8_t *host;              /* Where 'guest_addr' is mapped here. */
};

struct vpci_memory {
    uint32_t n_regions;
    struct vpci_memory_region regions[VPCI_MEMORY_MAX_REGIONS];
};

/* Adds 'size' bytes at guest physical address 'guest_addr', mapped at 'host'.
 *
 * Returns 0, ENOSPC if the table is full, or EINVAL if 'size' is 0, a sum
 * wraps around, or the range overlaps one that is already there. */
int vpci_memory_add(struct vpci_memory *, uint64_t guest_addr, uint64_t size,
                    void *host);

/* Translates guest physical address 'addr'.
 *
 * '*len' is the length wanted, in bytes; on return it is cut to what is
 * contiguous in this process (a buffer may go on in another region: translate
 * the rest again).  Returns NULL, and sets '*len' to 0, if 'addr' itself lies
 * outside guest memory.  '*len' must not be 0 on entry. */
static inline void *
vpci_memory_map(const struct vpci_memory *mem, uint64_t addr, uint64_t *len)
{
    for (uint32_t i = 0; i < mem->n_regions; i++) {
        const struct vpci_memory_region *r = &mem->regions[i];
        uint64_t ofs = addr - r->guest_addr;

        if (ofs < r->size) {
            if (*len > r->size - ofs) {
                *len = r->size - ofs;
            }
            return r->host + ofs;
        }
    }
    *len = 0;
    return NULL;
}

/* True if the 'len' bytes at 'host' lie wholly inside one region of 'mem'. */
bool vpci_memory_contains(const struct vpci_memory *mem, const void *host,
                          uint64_t len);

#ifdef __cplusplus
}
#endif

#endif /* vpci/memory.h */
