/* SPDX-License-Identifier: Apache-2.0 */

/* Memory of steering tables and their readers.  See steer-private.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <sys/mman.h>

#include "steer-private.h"

void *
steer_map_memory(uint64_t size)
{
    void *p = mmap(NULL, size, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        return NULL;
    }
    /* In a process that called mlockall() all of it would become resident as
     * soon as it can be accessed. */
    mlock2(p, size, MLOCK_ONFAULT);
    if (mprotect(p, size, PROT_READ | PROT_WRITE)) {
        munmap(p, size);
        return NULL;
    }
    return p;
}

void
steer_unmap_memory(void *p, uint64_t size)
{
    munmap(p, size);
}
