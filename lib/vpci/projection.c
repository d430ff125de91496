/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "projection-private.h"

#include <errno.h>
#include <stdlib.h>

#include "steer-private.h"

#define REVOKED (1u << 31)

static void *
copy_at(const void *memory, size_t copy_bytes, uint32_t generation)
{
    return (uint8_t *) (uintptr_t) memory + PROJECTION_PAGE
           + (generation & 1) * copy_bytes;
}

static uint32_t
next_generation(uint32_t generation)
{
    uint32_t next = (generation + 1) & ~REVOKED;

    /* 0 says that there is none. */
    return next ? next : 2;
}

static void
set_generation(void *memory, uint32_t generation)
{
    struct projection_hdr *hdr = memory;

    /* (K) pairs with (L) in projection_generation(): who sees the generation
     * sees the copy. */
    vpci_store32_release(&hdr->generation, generation);
}

void
vpci_projection_publish(const struct vpci_steer *t, void *memory,
                        uint32_t *generation)
{
    struct projection_hdr *hdr = memory;
    size_t copy_bytes = steer_copy_bytes(t->hdr->max_entries);
    uint32_t next = next_generation(*generation);

    vpci_store32(&hdr->copy_bytes, copy_bytes);

    /* (M) pairs with (N) in projection_end(): who sees anything of this copy
     * sees the generation before it, at least. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    steer_copy(t, copy_at(memory, copy_bytes, next));
    set_generation(memory, next);
    *generation = next;
}

void
vpci_projection_revoke(void *memory, uint32_t *generation)
{
    *generation |= REVOKED;
    set_generation(memory, *generation);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

struct vpci_projection *
vpci_projection_open(const void *memory, size_t bytes)
{
    struct vpci_projection *p = calloc(1, sizeof *p);

    if (p) {
        p->hdr = memory;
        p->bytes = bytes;
        p->depth = -1;
        p->reader = steer_reader_create_apart();
    }
    if (!p || !p->reader) {
        free(p);
        errno = ENOMEM;
        return NULL;
    }
    return p;
}

void
vpci_projection_close(struct vpci_projection *p)
{
    if (p) {
        vpci_steer_reader_destroy(p->reader);
        free(p);
    }
}

uint32_t
vpci_projection_generation_at(const void *memory)
{
    return projection_generation(memory);
}

uint32_t
vpci_projection_generation(const struct vpci_projection *p)
{
    return projection_generation(p->hdr);
}

uint32_t
vpci_projection_begun(const struct vpci_projection *p)
{
    return p->generation;
}

int
vpci_projection_begin(struct vpci_projection *p)
{
    uint32_t generation = projection_generation(p->hdr);
    size_t copy_bytes;

    if (generation == p->generation) {
        return p->depth;
    }
    copy_bytes = vpci_load32(&p->hdr->copy_bytes);
    p->generation = generation;
    p->depth = -1;
    if (!generation || generation & REVOKED || copy_bytes % PROJECTION_PAGE
        || p->bytes < PROJECTION_PAGE || copy_bytes > (p->bytes - PROJECTION_PAGE) / 2) {
        return -1;
    }
    p->depth = steer_reader_move(p->reader,
                                 copy_at(p->hdr, copy_bytes, generation),
                                 copy_bytes);
    return p->depth;
}

void
vpci_projection_lookup(struct vpci_projection *p, const union vpci_key keys[],
                       unsigned int n, uint32_t entries[], uint64_t verdicts[])
{
    vpci_steer_lookup(p->reader, keys, n, entries, verdicts);
}

bool
vpci_projection_get_plain(const struct vpci_projection *p,
                          struct vpci_steer_plain *plain)
{
    return vpci_steer_get_plain(p->reader, plain);
}

enum vpci_key_depth
projection_entry_depth(const struct vpci_projection *p, uint32_t entry)
{
    return steer_entry_depth(p->reader, entry);
}

bool
vpci_projection_end(const struct vpci_projection *p)
{
    return projection_end(p);
}
