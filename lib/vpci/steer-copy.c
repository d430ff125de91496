/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Where everything in a steering table is, and copies of tables, also in
 * projections.  See steer-private.h. */

#include <string.h>

#include "projection-private.h"
#include "steer-private.h"

uint32_t
steer_max_log2(uint32_t max_entries)
{
    uint32_t log2 = STEER_MIN_LOG2;

    while (((uint64_t) STEER_MAX_LOAD << log2) < max_entries) {
        log2++;
    }
    return log2;
}

uint64_t
steer_entries_ofs(uint32_t max_entries)
{
    return steer_page_align(STEER_BUCKETS_OFS
                      + (sizeof(struct steer_bucket)
                         << (steer_max_log2(max_entries) + 1)));
}

uint64_t
steer_copy_bytes(uint32_t max_entries)
{
    return steer_page_align(steer_entries_ofs(max_entries)
                      + (uint64_t) max_entries * sizeof(struct steer_entry));
}

/* Buckets of the array in use lie apart from entries, and few of either may be
 * in use. */
void
steer_copy(const struct vpci_steer *t, void *memory_)
{
    const struct steer_hdr *hdr = t->hdr;
    const uint8_t *buckets = (const void *) steer_buckets(hdr, hdr->log2);
    uint64_t ofs = buckets - (const uint8_t *) hdr;
    uint8_t *memory = memory_;

    memcpy(memory, hdr, sizeof *hdr);
    memcpy(memory + ofs, buckets,
           sizeof(struct steer_bucket) << hdr->log2);
    memcpy(memory + hdr->entries_ofs, steer_at(hdr, hdr->entries_ofs),
           (uint64_t) t->n_used * sizeof(struct steer_entry));
}

/* True if all words of a key that the mask names are some. */
static bool
mask_is_valid(const struct steer_mask *mask)
{
    bool ok = mask->n_words <= VPCI_KEY_WORDS;

    for (unsigned int i = 0; i < VPCI_KEY_WORDS; i++) {
        ok &= mask->words[i] < VPCI_KEY_WORDS;
    }
    return ok;
}

bool
steer_copy_header(const void *memory, uint64_t bytes, struct steer_hdr *hdr)
{
    const struct steer_hdr *shared = memory;

    if (bytes < sizeof *hdr) {
        return false;
    }
    memcpy(hdr, shared, offsetof(struct steer_hdr, masks));
    if (hdr->magic != STEER_MAGIC || hdr->version != STEER_VERSION
        || !hdr->max_entries || hdr->max_entries > VPCI_STEER_MAX_ENTRIES
        || steer_copy_bytes(hdr->max_entries) > bytes
        || hdr->log2 < STEER_MIN_LOG2
        || hdr->log2 > steer_max_log2(hdr->max_entries)
        || hdr->n_masks > VPCI_STEER_MAX_MASKS
        || hdr->depth > VPCI_DEPTH_L4) {
        return false;
    }
    memcpy(hdr->masks, shared->masks, hdr->n_masks * sizeof hdr->masks[0]);
    hdr->buckets_ofs = STEER_BUCKETS_OFS;
    hdr->entries_ofs = steer_entries_ofs(hdr->max_entries);
    for (uint32_t i = 0; i < hdr->n_masks; i++) {
        if (!mask_is_valid(&hdr->masks[i])) {
            return false;
        }
    }
    return true;
}

size_t
vpci_projection_bytes(uint32_t max_entries)
{
    return PROJECTION_PAGE + 2 * steer_copy_bytes(max_entries);
}
