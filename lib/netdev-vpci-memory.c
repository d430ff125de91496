/* SPDX-License-Identifier: Apache-2.0 */

/* The memory of front ends: what librte_vhost may map, what of it rings may
 * use, and how it is noticed when some of it vanishes.
 *
 * librte_vhost 22.11 never closes the descriptor of a region that it fails to
 * map.  Tables that cannot be right or cannot be mapped do not get as far as
 * that (vpci_conn_check_memory()).  A front end that changes a file between
 * our look and the library's may still make it fail.  So failures are counted,
 * and a port that has had many gets no more chances before it is configured
 * anew: a front end must not use up the descriptors of the whole switch. */

#include "netdev-vpci-message.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "netdev-vpci-lend.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_memory);

/* Tables of one port that the library may fail to map, each at the price of a
 * descriptor. */
#define MAX_FAILED_MEMORY 64

/* Address space, in bytes, for the memory of all front ends of one port, and
 * of all ports, out of 128 TB.  Files without contents cost a front end
 * nothing. */
#define MAX_PORT_MEMORY (UINT64_C(16) << 40)
#define MAX_MEMORY (UINT64_C(64) << 40)

/* How much of it is taken. */
static ATOMIC(uint64_t) memory_taken = 0;

/* Returns what is wrong with 'region' of a front end's table, or null. */
static const char *
region_fault(const struct vpci_wire_region *region)
{
    uint64_t end;

    if (!region->size) {
        return "is empty";
    }
    if (__builtin_add_overflow(region->guest_addr, region->size, &end)
        || __builtin_add_overflow(region->user_addr, region->size, &end)) {
        return "reaches beyond 64 bits";
    }
    if (__builtin_add_overflow(region->offset, region->size, &end)
        || end > INT64_MAX) {
        return "lies beyond the end of any file";
    }
    return NULL;
}

/* Sets at least 'size' bytes of address space aside for 'conn', together with
 * what it had.  Returns null or what is wrong. */
static char *
take_memory(struct vpci_conn *conn, uint64_t size)
{
    uint64_t port, all;
    struct vpci_conn *other;

    /* A table that the library takes for the one before, or refuses after we
     * did not, leaves that one in force. */
    size = port = MAX(size, conn->memory_size);
    LIST_FOR_EACH (other, node, &conn->dev->conns) {
        port += other == conn ? 0 : other->memory_size;
    }
    if (port > MAX_PORT_MEMORY) {
        return xasprintf("front ends share 0x%"PRIx64" bytes of memory: at "
                         "most 0x%"PRIx64" for one port", port,
                         MAX_PORT_MEMORY);
    }
    atomic_add(&memory_taken, size - conn->memory_size, &all);
    if (all + size - conn->memory_size > MAX_MEMORY) {
        atomic_sub(&memory_taken, size - conn->memory_size, &all);
        return xasprintf("the front ends of all ports share too much memory: "
                         "at most 0x%"PRIx64" bytes", MAX_MEMORY);
    }
    conn->memory_size = size;
    return NULL;
}

void
vpci_conn_release_memory(struct vpci_conn *conn)
{
    uint64_t all;

    atomic_sub(&memory_taken, conn->memory_size, &all);
    conn->memory_size = 0;
}

char *
vpci_conn_check_memory(struct vpci_conn *conn,
                       const struct vpci_wire_memory *table, uint32_t size)
{
    uint32_t n = table->n_regions;
    uint64_t sum = 0;
    char *error;

    if (conn->dev->n_failed_memory >= MAX_FAILED_MEMORY) {
        return xasprintf("front ends sent %d memory tables that could not be "
                         "mapped: no more are accepted before the port is "
                         "removed and added again", MAX_FAILED_MEMORY);
    }
    if (n > ARRAY_SIZE(table->regions)
        || size < offsetof(struct vpci_wire_memory, regions[n])) {
        return xasprintf("the front end sent a memory table of %"PRIu32" "
                         "regions in %"PRIu32" bytes: at most %"PRIuSIZE" "
                         "regions of %"PRIuSIZE" bytes each are allowed", n,
                         size, ARRAY_SIZE(table->regions),
                         sizeof table->regions[0]);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct vpci_wire_region r = table->regions[i];
        const char *fault = region_fault(&r);

        if (fault) {
            return xasprintf("region %"PRIu32" of the front end's memory, "
                             "0x%"PRIx64" bytes at 0x%"PRIx64", offset "
                             "0x%"PRIx64" in its file, %s", i, r.size,
                             r.guest_addr, r.offset, fault);
        }
        if (!vpci_received_can_be_mapped(i, r.size + r.offset)) {
            return xasprintf("region %"PRIu32" of the front end's memory, "
                             "0x%"PRIx64" bytes, cannot be mapped: %s", i,
                             r.size, ovs_strerror(errno));
        }

        /* The library maps files from their beginning.  No fault: each of at
         * most 8 regions is below 2^63. */
        sum += MIN(r.size + r.offset, MAX_MEMORY);
    }
    error = take_memory(conn, sum);
    conn->memory_passed = !error;
    return error;
}

void
vpci_conn_note_failed_memory(struct vpci_conn *conn)
{
    if (conn->memory_passed) {
        conn->memory_passed = false;
        conn->dev->n_failed_memory++;
    }
}

void
vpci_conn_forget_memory(struct vpci_conn *conn)
{
    for (size_t i = 0; i < ARRAY_SIZE(conn->regions); i++) {
        if (conn->regions[i].guarded) {
            vpci_guard_remove(&conn->regions[i].guard);
            conn->regions[i].guarded = false;
        }
    }
    conn->memory.n_regions = 0;
    conn->memory_valid = false;
    vpci_lends_memory_changed();
}

/* Enters one region of the library's table into that of 'conn'.  Returns 0 or
 * a positive errno. */
static int
conn_add_region(struct vpci_conn *conn, struct vpci_conn_region *region,
                const struct rte_vhost_mem_region *r)
{
    int error = vpci_memory_add(&conn->memory, r->guest_phys_addr, r->size,
                                (void *) (uintptr_t) r->host_user_addr);
    struct stat st;

    if (!error && fstat(r->fd, &st)) {
        error = errno;
    }
    if (!error) {
        region->file = vpci_file_id(&st);
        region->guard.base = r->mmap_addr;
        region->guard.size = r->mmap_size;
        error = vpci_guard_add(&region->guard);
        region->guarded = !error;
    }
    return error;
}

static const char *
memory_error(int error)
{
    switch (error) {
    case ENOSPC:
        return "all ports together have too many regions";
    case EINVAL:
        return "its regions overlap";
    default:
        return ovs_strerror(error);
    }
}

void
vpci_conn_learn_memory(struct vpci_conn *conn)
{
    struct rte_vhost_memory *table;
    int error = 0;

    vpci_conn_forget_memory(conn);
    conn->memory_passed = false;
    __atomic_store_n(&conn->memory_lost, false, __ATOMIC_RELAXED);
    if (conn->doomed || rte_vhost_get_mem_table(conn->vid, &table)) {
        return;
    }
    for (uint32_t i = 0; i < table->nregions && !error; i++) {
        error = i < ARRAY_SIZE(conn->regions)
                ? conn_add_region(conn, &conn->regions[i], &table->regions[i])
                : ENOSPC;
    }
    free(table);

    if (error) {
        vpci_filter_note_refusal(conn, VHOST_USER_SET_MEM_TABLE, xasprintf(
            "cannot use the memory of the front end: %s",
            memory_error(error)));
        vpci_conn_forget_memory(conn);
    } else {
        conn->memory_valid = true;
    }
}

bool
vpci_conn_lost_memory(const struct vpci_conn *conn)
{
    for (size_t i = 0; i < ARRAY_SIZE(conn->regions); i++) {
        if (conn->regions[i].guarded
            && __atomic_load_n(&conn->regions[i].guard.hit,
                               __ATOMIC_ACQUIRE)) {
            return true;
        }
    }
    return __atomic_load_n(&conn->memory_lost, __ATOMIC_ACQUIRE);
}
