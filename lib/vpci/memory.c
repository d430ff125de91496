/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/memory.h"

#include <errno.h>

int
vpci_memory_add(struct vpci_memory *mem, uint64_t guest_addr, uint64_t size,
                void *host)
{
    uint64_t host_addr = (uintptr_t) host;

    /* The last byte may be the last one of the address space. */
    if (!size || guest_addr + (size - 1) < guest_addr
        || host_addr + (size - 1) < host_addr
        || host_addr + (size - 1) > UINTPTR_MAX) {
        return EINVAL;
    }
    for (uint32_t i = 0; i < mem->n_regions; i++) {
        const struct vpci_memory_region *r = &mem->regions[i];

        if (guest_addr <= r->guest_addr + (r->size - 1)
            && r->guest_addr <= guest_addr + (size - 1)) {
            return EINVAL;
        }
    }
    if (mem->n_regions >= VPCI_MEMORY_MAX_REGIONS) {
        return ENOSPC;
    }
    mem->regions[mem->n_regions++] = (struct vpci_memory_region) {
        .guest_addr = guest_addr,
        .size = size,
        .host = host,
    };
    return 0;
}

bool
vpci_memory_contains(const struct vpci_memory *mem, const void *host,
                     uint64_t len)
{
    for (uint32_t i = 0; i < mem->n_regions; i++) {
        const struct vpci_memory_region *r = &mem->regions[i];
        uint64_t ofs = (uintptr_t) host - (uintptr_t) r->host;

        if (ofs < r->size && len <= r->size - ofs) {
            return true;
        }
    }
    return false;
}
