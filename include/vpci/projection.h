/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_PROJECTION_H
#define VPCI_PROJECTION_H 1

#include "vpci/steer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Projections: steering tables as a guest may see them
 * ====================================================
 *
 * A projection is memory that the switch writes and a guest reads, with a copy
 * of a steering table in it, in the table's own format, so that both read it by
 * the same code.  The switch never reads it back.
 *
 * There are two copies, and a generation that says which of them counts: the
 * switch writes the other one and then the next generation.  A reader that finds
 * another generation after a look than before it may have seen anything, and
 * looks again.  So the switch never waits for a guest.
 *
 * Threads: one writer; as many readers as there are structs vpci_projection, each
 * used by one thread at a time. */

/* Bytes of a projection for tables of up to 'max_entries' entries: a multiple of
 * the page size. */
size_t vpci_projection_bytes(uint32_t max_entries);

/* Makes 't', which was created for 'max_entries' or fewer, what readers of the
 * projection at 'memory' see.  '*generation' is the writer's own, and 0 at first,
 * when 'memory' is all zeros.  Takes time as the table has entries. */
void vpci_projection_publish(const struct vpci_steer *t, void *memory,
                             uint32_t *generation);

/* Nothing is found any more, from this moment on: faster than to publish an empty
 * table. */
void vpci_projection_revoke(void *memory, uint32_t *generation);

struct vpci_projection;

/* Makes a reader of the projection of 'bytes' at 'memory'.  Returns null, with
 * errno set, if there is no memory. */
struct vpci_projection *vpci_projection_open(const void *memory, size_t bytes);
void vpci_projection_close(struct vpci_projection *);

/* The generation now; 0 if nothing was published.  Any thread.  The second one
 * needs no reader of the projection at 'memory'. */
uint32_t vpci_projection_generation(const struct vpci_projection *);
uint32_t vpci_projection_generation_at(const void *memory);

/* Begins a look at what the generation now says.  Returns how deep packets have
 * to be parsed, or -1 if there is nothing to be found. */
int vpci_projection_begin(struct vpci_projection *);

/* The generation that vpci_projection_begin() has found. */
uint32_t vpci_projection_begun(const struct vpci_projection *);

/* Looks up 'n' packets, at most VPCI_STEER_BURST, as vpci_steer_lookup() does.
 * Between vpci_projection_begin() and _end(). */
void vpci_projection_lookup(struct vpci_projection *,
                            const union vpci_key keys[], unsigned int n,
                            uint32_t entries[], uint64_t verdicts[]);

/* As vpci_steer_get_plain(): of the packet that was found last. */
bool vpci_projection_get_plain(const struct vpci_projection *,
                               struct vpci_steer_plain *plain);

/* Ends it.  Returns false if what was found since is worth nothing: look again,
 * or ask the switch if that has happened some times. */
bool vpci_projection_end(const struct vpci_projection *);

#ifdef __cplusplus
}
#endif

#endif /* vpci/projection.h */
