/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_PEER_ID_H
#define VPCID_PEER_ID_H 1

#include <stdbool.h>
#include <stdint.h>

/* ivshmem ids, from 1 to IVSHMEM_MAX_ID, unique in the whole keeper.  They are
 * given out in turn, so that one that has been given back is not seen again
 * soon.
 *
 * A guest has nothing but its id to tell devices with a peer's memory, or a
 * link's, from those with a base region: what is in the memory, another guest
 * may have written.  So whoever opens the first has an id with the bit
 * VPCI_ABI_PEER_ID, whoever opens the second has one with VPCI_ABI_LINK_ID, and
 * nobody else has.
 *
 * Threads: the main thread only. */

enum peer_id_range {
    PEER_ID_PLAIN,              /* Without those bits. */
    PEER_ID_LINK,               /* For links. */
    PEER_ID_MARKED,             /* For devices with a peer's memory. */
    N_PEER_ID_RANGES
};

/* The range that 'id' is in. */
enum peer_id_range peer_id_range(uint32_t id);

/* Returns an id of the range, or 0 if all are in use. */
uint32_t peer_id_get(enum peer_id_range);

/* Gives back 'id', which may be 0. */
void peer_id_put(uint32_t id);

/* Takes 'id' for a connection that another process made before us.  Returns
 * false if it is in use or out of range. */
bool peer_id_claim(uint32_t id);

/* Where the search for the next id of the range begins: part of the state.  An
 * id of another range stands for the first. */
uint32_t peer_id_next(enum peer_id_range);
void peer_id_set_next(enum peer_id_range, uint32_t id);

/* Returns the number of ids in use, of all ranges. */
uint32_t peer_id_count(void);

#endif /* vpcid/peer-id.h */
