/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_STEER_PRIVATE_H
#define VPCI_STEER_PRIVATE_H 1

/* Layout of a steering table
 * ==========================
 *
 *     struct steer_hdr
 *     buckets      a cuckoo hash table over all entries: two buckets for each,
 *                  chosen by a hash of mask and key.  One array for each power
 *                  of two up to the largest, one after the other; an array that
 *                  was outgrown is never written again.
 *     entries
 *     counters     of reader 0 for all entries, of reader 1, ...
 *
 * Numbers are the processor's: it is little-endian. */

#include <stdbool.h>
#include <stdint.h>

#include "vpci/key.h"
#include "vpci/steer.h"

#define STEER_MAGIC 0x69637076u         /* "vpci" */
#define STEER_VERSION 1
#define STEER_SLOTS 8
/* Entries that one bucket may have on average before the array grows. */
#define STEER_MAX_LOAD 5

#define STEER_MIN_LOG2 2                /* Buckets of the smallest array. */

#define STEER_ALIGNED(N) __attribute__((aligned(N)))

struct steer_mask {
    union vpci_key key;
    uint32_t n_entries;         /* 0: nobody looks at the rest. */
    uint8_t depth;              /* enum vpci_key_depth. */
    uint8_t n_words;
    uint8_t words[VPCI_KEY_WORDS];      /* Those that are not 0. */
} STEER_ALIGNED(128);

struct steer_bucket {
    uint16_t tags[STEER_SLOTS];         /* Never 0, if taken. */
    uint32_t entries[STEER_SLOTS];      /* The entry plus 1, or 0. */
} STEER_ALIGNED(64);

/* An entry has the words of its key that its mask has, one after the other: with
 * STEER_LINE_WORDS of them or fewer it fits into one cache line. */
#define STEER_LINE_WORDS 6

struct steer_entry {
    uint32_t seq;               /* Odd: no entry, or changing. */
    uint32_t mask;
    uint64_t verdict;
    uint64_t words[VPCI_KEY_WORDS];
} STEER_ALIGNED(128);

struct steer_counters {
    uint64_t packets;
    uint64_t bytes;
    uint64_t used;
    uint16_t tcp_flags;
} STEER_ALIGNED(32);

struct steer_hdr {
    uint32_t magic;
    uint32_t version;
    uint32_t max_entries;
    uint32_t n_readers;
    uint32_t max_log2;          /* Of buckets. */
    uint32_t reserved;
    uint64_t seed;              /* Of hashes. */
    uint64_t size;              /* Of all, in bytes. */
    uint64_t buckets_ofs;
    uint64_t entries_ofs;
    uint64_t counters_ofs;

    /* Changed by the writer, seldom. */
    uint32_t log2 STEER_ALIGNED(64);    /* Which array of buckets is in use. */
    uint32_t moves;             /* Odd while entries move between buckets. */
    uint32_t n_masks;           /* No mask from here on is in use. */
    uint32_t depth;             /* The deepest of all masks. */

    struct steer_mask masks[VPCI_STEER_MAX_MASKS];
};

_Static_assert(sizeof(struct steer_mask) == 128, "layout");
_Static_assert(sizeof(struct steer_bucket) == 64, "layout");
_Static_assert(sizeof(struct steer_entry) == 128, "layout");
_Static_assert(sizeof(struct steer_counters) == 32, "layout");
_Static_assert(sizeof(struct steer_hdr) == 128 + 128 * VPCI_STEER_MAX_MASKS,
               "layout");

/* What the writer knows of a reader, on a cache line that the reader writes. */
struct steer_presence {
    uint64_t seq;               /* Odd: it is at work. */
} STEER_ALIGNED(64);

/* The writer's, and private. */
struct vpci_steer {
    struct steer_hdr *hdr;
    uint64_t lists_size;        /* Bytes mapped at 'free', and at 'limbo'. */
    struct steer_presence presence[VPCI_STEER_MAX_READERS];

    uint32_t n_entries;
    uint32_t n_used;            /* No place from here on was ever used. */
    uint32_t *free;             /* Places that can be used, as a stack. */
    uint32_t n_free;

    /* Places that were left, oldest first, as a ring of 'max_entries'.  Of the
     * first 'n_waiting', no reader knows any once all have gone on from
     * 'snapshot'. */
    uint32_t *limbo;
    uint32_t limbo_head;
    uint32_t n_limbo;
    uint32_t n_waiting;
    uint64_t snapshot[VPCI_STEER_MAX_READERS];

    /* Masks that were left must not be used again either for a while: when a
     * snapshot, of their own, is over. */
    uint64_t mask_snapshot[VPCI_STEER_MAX_MASKS][VPCI_STEER_MAX_READERS];
};

/* Returns 'size' bytes of zeros, a multiple of the page size, which take memory
 * as they are touched, or null. */
void *steer_map_memory(uint64_t size);
void steer_unmap_memory(void *, uint64_t size);

/* Where parts of a table are.  Sizes are multiples of a page. */
static inline uint64_t
steer_page_align(uint64_t n)
{
    return (n + 4095) & ~UINT64_C(4095);
}

#define STEER_BUCKETS_OFS steer_page_align(sizeof(struct steer_hdr))
uint64_t steer_entries_ofs(uint32_t max_entries);

/* Of the largest array of buckets of a table. */
uint32_t steer_max_log2(uint32_t max_entries);

/* Copies of tables, for those who read them elsewhere: header, buckets and
 * entries, without counters. */

/* Bytes of the copy of a table for 'max_entries': a multiple of a page. */
uint64_t steer_copy_bytes(uint32_t max_entries);

/* Copies what readers need of 't' to 'memory', from which nothing is read. */
void steer_copy(const struct vpci_steer *t, void *memory);

/* Copies the header of the copy of 'bytes' at 'memory' to '*hdr', once, so that
 * whoever goes by '*hdr' and compares numbers of entries with its 'max_entries'
 * stays in that memory, whatever is written there.  Returns false if that is no
 * copy. */
bool steer_copy_header(const void *memory, uint64_t bytes,
                       struct steer_hdr *hdr);

/* Makes a reader that counts nothing and makes no writer wait. */
struct vpci_steer_reader *steer_reader_create_apart(void);

/* Lets it read the copy of 'bytes' at 'memory', as it is now, from now on.
 * Returns how deep packets have to be parsed, or -1 if that is no copy. */
int steer_reader_move(struct vpci_steer_reader *, const void *memory,
                      uint64_t bytes);

struct vpci_projection;

/* How deep a packet has to be parsed for the mask of 'entry' alone, which the
 * last lookup has found.  The second one is for readers of projections. */
enum vpci_key_depth steer_entry_depth(const struct vpci_steer_reader *,
                                      uint32_t entry);
enum vpci_key_depth projection_entry_depth(const struct vpci_projection *,
                                           uint32_t entry);

static inline uint64_t
steer_mix(uint64_t h, uint64_t word)
{
    unsigned __int128 product
        = (unsigned __int128) (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint64_t) product ^ (uint64_t) (product >> 64);
}

/* The hash of what 'key' is under 'mask'.  That of two masks differs. */
static inline uint64_t
steer_hash(uint64_t seed, const struct steer_mask *mask, uint32_t mask_number,
           const union vpci_key *key)
{
    uint64_t h = steer_mix(seed, mask_number + 1);

    for (unsigned int i = 0; i < mask->n_words; i++) {
        unsigned int w = mask->words[i];

        h = steer_mix(h, key->words[w] & mask->key.words[w]);
    }
    return steer_mix(h, 0);
}

static inline uint16_t
steer_tag(uint64_t hash)
{
    return hash >> 48 | 1;
}

static inline uint64_t
steer_bucket_1(uint64_t hash, uint32_t log2)
{
    return hash & ((UINT64_C(1) << log2) - 1);
}

/* The other bucket of whatever has 'tag' and can be in 'bucket'. */
static inline uint64_t
steer_bucket_2(uint64_t bucket, uint16_t tag, uint32_t log2)
{
    return ((bucket ^ (tag * UINT64_C(0x5bd1e995)))
            & ((UINT64_C(1) << log2) - 1));
}

/* What is 'ofs' bytes behind the beginning. */
static inline void *
steer_at(const struct steer_hdr *hdr, uint64_t ofs)
{
    return (uint8_t *) hdr + ofs;
}

/* Buckets of all arrays before that of size 'log2'. */
static inline uint64_t
steer_buckets_before(uint32_t log2)
{
    return (UINT64_C(1) << log2) - (UINT64_C(1) << STEER_MIN_LOG2);
}

/* Buckets of the array of size 'log2'. */
static inline struct steer_bucket *
steer_buckets(const struct steer_hdr *hdr, uint32_t log2)
{
    return ((struct steer_bucket *) steer_at(hdr, hdr->buckets_ofs)
            + steer_buckets_before(log2));
}

static inline struct steer_entry *
steer_entry(const struct steer_hdr *hdr, uint32_t entry)
{
    return (struct steer_entry *) steer_at(hdr, hdr->entries_ofs) + entry;
}

static inline struct steer_counters *
steer_counters(const struct steer_hdr *hdr, uint32_t reader, uint32_t entry)
{
    return ((struct steer_counters *) steer_at(hdr, hdr->counters_ofs)
            + (uint64_t) reader * hdr->max_entries + entry);
}

/* True if 'key' is what 'e' has under 'mask', which is its mask. */
static inline bool
steer_matches(const struct steer_entry *e, const struct steer_mask *mask,
              const union vpci_key *key)
{
    uint64_t differs = 0;

    for (unsigned int i = 0; i < mask->n_words; i++) {
        unsigned int w = mask->words[i];

        differs |= (key->words[w] & mask->key.words[w]) ^ e->words[i];
    }
    return !differs;
}

/* The key of 'e', whose mask is 'mask'. */
static inline union vpci_key
steer_key(const struct steer_entry *e, const struct steer_mask *mask)
{
    union vpci_key key = { .words = { 0 } };

    for (unsigned int i = 0; i < mask->n_words; i++) {
        key.words[mask->words[i]] = e->words[i];
    }
    return key;
}

#endif /* steer-private.h */
