/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_MEMORY_H
#define VHOST_GUEST_MEMORY_H 1

#include <stdbool.h>
#include <stdint.h>

/* Memory of a test guest
 * ======================
 *
 * The guest's physical memory consists of zones, as a machine's does of
 * memory modules: each zone is a memfd at some guest physical address.  What
 * the back end is told in SET_MEM_TABLE are regions: each zone cut into one
 * or more pieces, with a file offset each.
 *
 * The third kind of address, that of the front end's own memory ("user
 * address" in the vhost-user protocol), is made up: it equals neither a guest
 * address nor a pointer, so that a back end that mistakes one for another is
 * found out.
 *
 * Threads: functions that change the zones must be serialized by the caller
 * with everything that touches guest memory. */

#define GUEST_MAX_ZONES 8
#define GUEST_MAX_REGIONS 8     /* Of a vhost-user SET_MEM_TABLE. */

struct guest_zone {
    uint64_t addr;              /* Guest physical address. */
    uint64_t size;              /* 0 if the zone does not exist. */
    uint64_t allocated;         /* Bytes from the start that are in use. */
    uint8_t *host;
    int fd;
};

/* One region as in SET_MEM_TABLE. */
struct guest_region {
    uint64_t addr;
    uint64_t size;
    uint64_t user_addr;
    uint64_t offset;            /* In 'fd'. */
    int fd;                     /* Borrowed from the zone. */
};

struct guest_memory {
    struct guest_zone zones[GUEST_MAX_ZONES];
    uint64_t user_base;         /* User address of guest address 0. */
    unsigned int n_cuts;        /* Regions for each zone. */
};

void guest_memory_init(struct guest_memory *);
void guest_memory_destroy(struct guest_memory *);

/* Adds a zone of at least 'size' bytes.  Returns its number, or a negative
 * errno. */
int guest_memory_add_zone(struct guest_memory *, uint64_t size);

/* Likewise, but with what is in the file 'path', whosever memory it is. */
int guest_memory_add_file(struct guest_memory *, const char *path);
void guest_memory_remove_zone(struct guest_memory *, unsigned int zone);

/* Takes 'size' bytes of 'zone' out of use.  Returns the guest address, or
 * UINT64_MAX if there is no room. */
uint64_t guest_memory_alloc(struct guest_memory *, unsigned int zone,
                            uint64_t size, uint64_t alignment);

/* The zone with guest address 'addr' in it, or -1. */
int guest_memory_zone_at(const struct guest_memory *, uint64_t addr);

/* Where guest address 'addr' is mapped here, or null. */
void *guest_memory_host(const struct guest_memory *, uint64_t addr);

/* The made-up user address of guest address 'addr'. */
uint64_t guest_memory_user(const struct guest_memory *, uint64_t addr);

/* One more than the highest guest address in use. */
uint64_t guest_memory_end(const struct guest_memory *);

/* Fills 'regions' with the table to be told.  Returns their number, at most
 * GUEST_MAX_REGIONS. */
unsigned int guest_memory_table(const struct guest_memory *,
                                struct guest_region *regions);

/* Moves all contents to new memfds that are mapped at the same places here.
 * Returns 0 or a positive errno. */
int guest_memory_copy(struct guest_memory *);

/* Cuts every zone's memfd off at 'size' bytes, or with UINT64_MAX gives it its
 * whole length again (contents are then zero).  Returns 0 or a positive
 * errno. */
int guest_memory_truncate(struct guest_memory *, uint64_t size);

#endif /* vhost-guest-memory.h */
