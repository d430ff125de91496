/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "peer-id.h"

#include "bitmap.h"
#include "ivshmem.h"
#include "vpci/abi.h"

struct range {
    uint32_t first, last;
    uint32_t next;              /* Where the search for a free one begins. */
    uint32_t n_in_use;
};

static unsigned long in_use[BITMAP_N_LONGS(IVSHMEM_MAX_ID + 1)];
static struct range ranges[N_PEER_ID_RANGES] = {
    [PEER_ID_PLAIN] = {
        .first = 1,
        .last = VPCI_ABI_LINK_ID - 1,
        .next = 1,
    },
    [PEER_ID_LINK] = {
        .first = VPCI_ABI_LINK_ID,
        .last = VPCI_ABI_PEER_ID - 1,
        .next = VPCI_ABI_LINK_ID,
    },
    [PEER_ID_MARKED] = {
        .first = VPCI_ABI_PEER_ID,
        .last = IVSHMEM_MAX_ID,
        .next = VPCI_ABI_PEER_ID,
    },
};

enum peer_id_range
peer_id_range(uint32_t id)
{
    return (id & VPCI_ABI_PEER_ID ? PEER_ID_MARKED
            : id & VPCI_ABI_LINK_ID ? PEER_ID_LINK : PEER_ID_PLAIN);
}

static uint32_t
after(const struct range *r, uint32_t id)
{
    return id < r->last ? id + 1 : r->first;
}

bool
peer_id_claim(uint32_t id)
{
    if (!id || id > IVSHMEM_MAX_ID || bitmap_is_set(in_use, id)) {
        return false;
    }
    bitmap_set1(in_use, id);
    ranges[peer_id_range(id)].n_in_use++;
    return true;
}

uint32_t
peer_id_get(enum peer_id_range range)
{
    struct range *r = &ranges[range];
    uint32_t id = r->next;

    if (r->n_in_use > r->last - r->first) {
        return 0;
    }
    while (!peer_id_claim(id)) {
        id = after(r, id);
    }
    r->next = after(r, id);
    return id;
}

void
peer_id_put(uint32_t id)
{
    if (id) {
        bitmap_set0(in_use, id);
        ranges[peer_id_range(id)].n_in_use--;
    }
}

uint32_t
peer_id_next(enum peer_id_range range)
{
    return ranges[range].next;
}

void
peer_id_set_next(enum peer_id_range range, uint32_t id)
{
    struct range *r = &ranges[range];

    r->next = id >= r->first && id <= r->last ? id : r->first;
}

uint32_t
peer_id_count(void)
{
    uint32_t n = 0;

    for (int i = 0; i < N_PEER_ID_RANGES; i++) {
        n += ranges[i].n_in_use;
    }
    return n;
}
