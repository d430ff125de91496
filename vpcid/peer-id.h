/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_PEER_ID_H
#define VPCID_PEER_ID_H 1

#include <stdbool.h>
#include <stdint.h>

/* ivshmem ids, from 1 to IVSHMEM_MAX_ID, unique in the whole keeper.  They are
 * given out in turn, so that one that has been given back is not seen again
 * soon.
 *
 * Threads: the main thread only. */

/* Returns an id, or 0 if all are in use. */
uint32_t peer_id_get(void);

/* Gives back 'id', which may be 0. */
void peer_id_put(uint32_t id);

/* Takes 'id' for a connection that another process made before us.  Returns
 * false if it is in use or out of range. */
bool peer_id_claim(uint32_t id);

/* Where the search for the next id begins: part of the state. */
uint32_t peer_id_next(void);
void peer_id_set_next(uint32_t id);

/* Returns the number of ids in use. */
uint32_t peer_id_count(void);

#endif /* vpcid/peer-id.h */
