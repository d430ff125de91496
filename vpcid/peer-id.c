/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "peer-id.h"

#include "bitmap.h"
#include "ivshmem.h"

static unsigned long in_use[BITMAP_N_LONGS(IVSHMEM_MAX_ID + 1)];
static uint32_t n_in_use;
static uint32_t next_id = 1;

static uint32_t
after(uint32_t id)
{
    return id < IVSHMEM_MAX_ID ? id + 1 : 1;
}

bool
peer_id_claim(uint32_t id)
{
    if (!id || id > IVSHMEM_MAX_ID || bitmap_is_set(in_use, id)) {
        return false;
    }
    bitmap_set1(in_use, id);
    n_in_use++;
    return true;
}

uint32_t
peer_id_get(void)
{
    uint32_t id = next_id;

    if (n_in_use >= IVSHMEM_MAX_ID) {
        return 0;
    }
    while (!peer_id_claim(id)) {
        id = after(id);
    }
    next_id = after(id);
    return id;
}

void
peer_id_put(uint32_t id)
{
    if (id) {
        bitmap_set0(in_use, id);
        n_in_use--;
    }
}

uint32_t
peer_id_next(void)
{
    return next_id;
}

void
peer_id_set_next(uint32_t id)
{
    next_id = id && id <= IVSHMEM_MAX_ID ? id : 1;
}

uint32_t
peer_id_count(void)
{
    return n_in_use;
}
