/* SPDX-License-Identifier: Apache-2.0 */

/* The writer's side of steering tables.  See steer-private.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci/steer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "backoff.h"
#include "steer-private.h"
#include "vpci/gate.h"

/* A table that grows beyond so many buckets lies in huge pages, if there are
 * any: lookups in all of it would miss the TLB each time. */
#define HUGE_LOG2 13

/* How many buckets are looked at for a chain of moves. */
#define MAX_SEARCH 512

/* Memory. */

static struct steer_hdr *
create_hdr(uint32_t max_entries, uint32_t n_readers)
{
    uint32_t log2 = steer_max_log2(max_entries);
    uint64_t buckets_ofs = STEER_BUCKETS_OFS;
    uint64_t entries_ofs = steer_entries_ofs(max_entries);
    uint64_t counters_ofs = steer_copy_bytes(max_entries);
    uint64_t size
        = steer_page_align(counters_ofs + (uint64_t) max_entries * n_readers
                           * sizeof(struct steer_counters));
    struct steer_hdr *hdr = steer_map_memory(size);

    if (hdr) {
        *hdr = (struct steer_hdr) {
            .magic = STEER_MAGIC, .version = STEER_VERSION,
            .max_entries = max_entries, .n_readers = n_readers,
            .max_log2 = log2, .size = size, .buckets_ofs = buckets_ofs,
            .entries_ofs = entries_ofs, .counters_ofs = counters_ofs,
            .log2 = STEER_MIN_LOG2,
        };
        if (getrandom(&hdr->seed, sizeof hdr->seed, GRND_NONBLOCK)
            != sizeof hdr->seed) {
            hdr->seed = (uintptr_t) hdr;
        }
    }
    return hdr;
}

struct vpci_steer *
vpci_steer_create(uint32_t max_entries, uint32_t n_readers)
{
    struct vpci_steer *t;

    if (!max_entries || max_entries > VPCI_STEER_MAX_ENTRIES || !n_readers
        || n_readers > VPCI_STEER_MAX_READERS) {
        errno = EINVAL;
        return NULL;
    }
    if (posix_memalign((void **) &t, 64, sizeof *t)) {
        errno = ENOMEM;
        return NULL;
    }
    memset(t, 0, sizeof *t);
    t->lists_size = steer_page_align(sizeof *t->free * max_entries);
    t->hdr = create_hdr(max_entries, n_readers);
    t->free = steer_map_memory(t->lists_size);
    t->limbo = steer_map_memory(t->lists_size);
    if (!t->hdr || !t->free || !t->limbo) {
        vpci_steer_destroy(t);
        errno = ENOMEM;
        return NULL;
    }
    return t;
}

void
vpci_steer_destroy(struct vpci_steer *t)
{
    if (t) {
        if (t->hdr) {
            steer_unmap_memory(t->hdr, t->hdr->size);
        }
        if (t->free) {
            steer_unmap_memory(t->free, t->lists_size);
        }
        if (t->limbo) {
            steer_unmap_memory(t->limbo, t->lists_size);
        }
        free(t);
    }
}

/* Readers that are at work. */

/* False if reader 'id' has never counted anything: its counters have never been
 * touched, and should not be. */
static bool
was_at_work(const struct vpci_steer *t, uint32_t id)
{
    return __atomic_load_n(&t->presence[id].seq, __ATOMIC_RELAXED);
}

static void
take_snapshot(const struct vpci_steer *t, uint64_t snapshot[])
{
    vpci_gate_barrier();
    for (uint32_t i = 0; i < t->hdr->n_readers; i++) {
        /* (B) pairs with (A) in vpci_steer_leave(). */
        snapshot[i] = __atomic_load_n(&t->presence[i].seq, __ATOMIC_ACQUIRE);
    }
}

/* True if every reader that was at work at 'snapshot' has left since. */
static bool
is_over(const struct vpci_steer *t, const uint64_t snapshot[])
{
    for (uint32_t i = 0; i < t->hdr->n_readers; i++) {
        if (snapshot[i] & 1
            && __atomic_load_n(&t->presence[i].seq, __ATOMIC_ACQUIRE)
               == snapshot[i]) {
            return false;
        }
    }
    return true;
}

void
vpci_steer_synchronize(const struct vpci_steer *t)
{
    struct vpci_backoff backoff = VPCI_BACKOFF_INIT;
    uint64_t snapshot[VPCI_STEER_MAX_READERS];

    take_snapshot(t, snapshot);
    while (!is_over(t, snapshot)) {
        vpci_backoff(&backoff);
    }
}

/* Places for entries. */

static void
release_limbo(struct vpci_steer *t)
{
    while (t->n_waiting) {
        t->free[t->n_free++] = t->limbo[t->limbo_head];
        t->limbo_head = (t->limbo_head + 1) % t->hdr->max_entries;
        t->n_waiting--;
        t->n_limbo--;
    }
}

/* Looks whether places that were left can be used again. */
static void
poll_limbo(struct vpci_steer *t)
{
    for (int i = 0; i < 2 && t->n_limbo; i++) {
        if (!t->n_waiting) {
            take_snapshot(t, t->snapshot);
            t->n_waiting = t->n_limbo;
        }
        if (!is_over(t, t->snapshot)) {
            break;
        }
        release_limbo(t);
    }
}

static uint32_t
allocate_entry(struct vpci_steer *t)
{
    if (!t->n_free) {
        poll_limbo(t);
    }
    if (t->n_free) {
        return t->free[--t->n_free];
    }
    return (t->n_used < t->hdr->max_entries ? t->n_used++
            : VPCI_STEER_NONE);
}

static void
leave_entry(struct vpci_steer *t, uint32_t entry)
{
    t->limbo[(t->limbo_head + t->n_limbo) % t->hdr->max_entries] = entry;
    t->n_limbo++;
}

/* Masks. */

static uint32_t
find_mask(const struct vpci_steer *t, const union vpci_key *mask)
{
    const struct steer_hdr *hdr = t->hdr;

    for (uint32_t i = 0; i < hdr->n_masks; i++) {
        if (hdr->masks[i].n_entries
            && !memcmp(&hdr->masks[i].key, mask, sizeof *mask)) {
            return i;
        }
    }
    return VPCI_STEER_NONE;
}

/* Readers see 'n_masks' and 'depth' before any entry that needs them. */
static void
update_masks(struct vpci_steer *t)
{
    struct steer_hdr *hdr = t->hdr;
    uint32_t n = 0, depth = VPCI_DEPTH_ETH;

    for (uint32_t i = 0; i < VPCI_STEER_MAX_MASKS; i++) {
        const struct steer_mask *m = &hdr->masks[i];

        if (m->n_entries) {
            n = i + 1;
            depth = m->depth > depth ? m->depth : depth;
        }
    }
    __atomic_store_n(&hdr->n_masks, n, __ATOMIC_RELEASE);
    __atomic_store_n(&hdr->depth, depth, __ATOMIC_RELEASE);
}

/* Writes a mask that has no entry yet into a place that nobody looks at. */
static uint32_t
add_mask(struct vpci_steer *t, const union vpci_key *mask)
{
    for (uint32_t i = 0; i < VPCI_STEER_MAX_MASKS; i++) {
        struct steer_mask *m = &t->hdr->masks[i];

        if (!m->n_entries && is_over(t, t->mask_snapshot[i])) {
            m->key = *mask;
            m->depth = vpci_key_mask_depth(mask);
            m->n_words = 0;
            for (uint8_t w = 0; w < VPCI_KEY_WORDS; w++) {
                if (mask->words[w]) {
                    m->words[m->n_words++] = w;
                }
            }
            return i;
        }
    }
    return VPCI_STEER_NONE;
}

static void
count_mask(struct vpci_steer *t, uint32_t mask, int change)
{
    struct steer_mask *m = &t->hdr->masks[mask];
    uint32_t n = m->n_entries + change;

    __atomic_store_n(&m->n_entries, n, __ATOMIC_RELEASE);
    if (!n) {
        take_snapshot(t, t->mask_snapshot[mask]);
    }
    if (n <= 1) {
        update_masks(t);
    }
}

/* Buckets. */

static int
find_slot(const struct steer_bucket *b, uint32_t value)
{
    for (int i = 0; i < STEER_SLOTS; i++) {
        if (b->entries[i] == value) {
            return i;
        }
    }
    return -1;
}

static void
fill_slot(struct steer_bucket *b, int slot, uint16_t tag, uint32_t value)
{
    __atomic_store_n(&b->tags[slot], tag, __ATOMIC_RELAXED);
    __atomic_store_n(&b->entries[slot], value, __ATOMIC_RELEASE);
}

static void
begin_moves(struct steer_hdr *hdr)
{
    __atomic_store_n(&hdr->moves, hdr->moves + 1, __ATOMIC_RELAXED);
    /* (C) pairs with (D) in the reader's search_all(): who sees an entry moved
     * sees this. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void
end_moves(struct steer_hdr *hdr)
{
    __atomic_store_n(&hdr->moves, hdr->moves + 1, __ATOMIC_RELEASE);
}

/* A bucket that was looked at for a chain of moves. */
struct step {
    uint64_t bucket;
    int16_t from;               /* The step before, or -1. */
    int8_t slot;                /* Whose slot leads to this one. */
};

/* Moves entries along the steps that end in 'last', in which 'slot' is free.
 * Returns the slot of the first bucket that is free then. */
static int
move_chain(struct steer_bucket *buckets, const struct step *steps, int last,
           int slot)
{
    while (steps[last].from >= 0) {
        const struct step *from = &steps[steps[last].from];
        struct steer_bucket *src = &buckets[from->bucket];
        struct steer_bucket *dst = &buckets[steps[last].bucket];
        int src_slot = steps[last].slot;

        fill_slot(dst, slot, src->tags[src_slot], src->entries[src_slot]);
        slot = src_slot;
        last = steps[last].from;
    }
    return slot;
}

/* Makes room in one of two buckets by a search in breadth, and puts 'value'
 * there.  Returns false if there is no room. */
static bool
place_by_moves(struct steer_hdr *hdr, struct steer_bucket *buckets,
               uint32_t log2, const uint64_t home[2], uint16_t tag,
               uint32_t value)
{
    struct step steps[MAX_SEARCH] = {
        { .bucket = home[0], .from = -1 }, { .bucket = home[1], .from = -1 },
    };
    int n = 2;

    for (int i = 0; i < n; i++) {
        struct steer_bucket *b = &buckets[steps[i].bucket];
        int slot = find_slot(b, 0);

        if (slot >= 0) {
            int first = i;

            while (steps[first].from >= 0) {
                first = steps[first].from;
            }
            begin_moves(hdr);
            slot = move_chain(buckets, steps, i, slot);
            fill_slot(&buckets[steps[first].bucket], slot, tag, value);
            end_moves(hdr);
            return true;
        }
        for (int8_t s = 0; s < STEER_SLOTS && n < MAX_SEARCH; s++) {
            steps[n++] = (struct step) {
                .bucket = steer_bucket_2(steps[i].bucket, b->tags[s], log2),
                .from = i, .slot = s,
            };
        }
    }
    return false;
}

static bool
place(struct steer_hdr *hdr, uint32_t log2, uint64_t hash, uint32_t value)
{
    struct steer_bucket *buckets = steer_buckets(hdr, log2);
    uint16_t tag = steer_tag(hash);
    uint64_t home[2];

    home[0] = steer_bucket_1(hash, log2);
    home[1] = steer_bucket_2(home[0], tag, log2);
    for (int i = 0; i < 2; i++) {
        int slot = find_slot(&buckets[home[i]], 0);

        if (slot >= 0) {
            fill_slot(&buckets[home[i]], slot, tag, value);
            return true;
        }
    }
    return place_by_moves(hdr, buckets, log2, home, tag, value);
}

static uint64_t
entry_hash(const struct steer_hdr *hdr, const struct steer_entry *e)
{
    const struct steer_mask *mask = &hdr->masks[e->mask];
    union vpci_key key = steer_key(e, mask);

    return steer_hash(hdr->seed, mask, e->mask, &key);
}

/* Fills the next array of buckets with all entries, and lets readers have it.
 * Nobody writes the old one any more: who still reads it finds what there was.
 */
static bool
grow(struct vpci_steer *t)
{
    struct steer_hdr *hdr = t->hdr;
    uint32_t log2 = hdr->log2 + 1;

    if (log2 > hdr->max_log2) {
        return false;
    }
    if (log2 == HUGE_LOG2) {
        madvise(hdr, hdr->size, MADV_HUGEPAGE);
    }
    /* A try that failed, and left something there. */
    memset(steer_buckets(hdr, log2), 0, sizeof(struct steer_bucket) << log2);
    for (uint32_t i = 0; i < t->n_used; i++) {
        const struct steer_entry *e = steer_entry(hdr, i);

        if (!(e->seq & 1) && e->seq
            && !place(hdr, log2, entry_hash(hdr, e), i + 1)) {
            return false;
        }
    }
    /* (E) pairs with (F) in the reader's search_all(). */
    __atomic_store_n(&hdr->log2, log2, __ATOMIC_RELEASE);
    return true;
}

/* Where 'entry' is.  Returns null if nowhere. */
static struct steer_bucket *
find_bucket(const struct steer_hdr *hdr, uint64_t hash, uint32_t value,
            int *slot)
{
    struct steer_bucket *buckets = steer_buckets(hdr, hdr->log2);
    uint64_t home = steer_bucket_1(hash, hdr->log2);

    for (int i = 0; i < 2; i++) {
        *slot = find_slot(&buckets[home], value);
        if (*slot >= 0) {
            return &buckets[home];
        }
        home = steer_bucket_2(home, steer_tag(hash), hdr->log2);
    }
    return NULL;
}

/* Entries. */

static uint32_t
find_entry(const struct steer_hdr *hdr, uint32_t mask,
           const union vpci_key *key)
{
    const struct steer_mask *m = &hdr->masks[mask];
    const struct steer_bucket *buckets = steer_buckets(hdr, hdr->log2);
    uint64_t hash = steer_hash(hdr->seed, m, mask, key);
    uint64_t home = steer_bucket_1(hash, hdr->log2);

    for (int i = 0; i < 2; i++) {
        for (int s = 0; s < STEER_SLOTS; s++) {
            uint32_t value = buckets[home].entries[s];

            if (value && buckets[home].tags[s] == steer_tag(hash)) {
                const struct steer_entry *e = steer_entry(hdr, value - 1);

                if (e->mask == mask && steer_matches(e, m, key)) {
                    return value - 1;
                }
            }
        }
        home = steer_bucket_2(home, steer_tag(hash), hdr->log2);
    }
    return VPCI_STEER_NONE;
}

uint32_t
vpci_steer_find(const struct vpci_steer *t, const union vpci_key *mask,
                const union vpci_key *key)
{
    uint32_t number = find_mask(t, mask);

    return number == VPCI_STEER_NONE ? VPCI_STEER_NONE
           : find_entry(t->hdr, number, key);
}

/* Writes an entry into a place that no reader knows. */
static void
fill_entry(struct vpci_steer *t, uint32_t entry, uint32_t mask,
           const union vpci_key *key, uint64_t verdict)
{
    struct steer_hdr *hdr = t->hdr;
    struct steer_entry *e = steer_entry(hdr, entry);
    const struct steer_mask *m = &hdr->masks[mask];
    uint32_t seq = e->seq | 1;

    for (uint32_t i = 0; i < hdr->n_readers; i++) {
        if (was_at_work(t, i)) {
            memset(steer_counters(hdr, i, entry), 0,
                   sizeof(struct steer_counters));
        }
    }
    __atomic_store_n(&e->seq, seq, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    for (unsigned int i = 0; i < m->n_words; i++) {
        e->words[i] = key->words[m->words[i]] & m->key.words[m->words[i]];
    }
    e->mask = mask;
    e->verdict = verdict;
    /* (G) pairs with (H) in the reader's verify(). */
    __atomic_store_n(&e->seq, seq + 1, __ATOMIC_RELEASE);
}

static bool
insert_entry(struct vpci_steer *t, uint32_t entry)
{
    struct steer_hdr *hdr = t->hdr;
    uint64_t hash = entry_hash(hdr, steer_entry(hdr, entry));

    if (t->n_entries >= (uint32_t) STEER_MAX_LOAD << hdr->log2 && grow(t)) {
        /* It is among those that grow() has placed. */
        return true;
    }
    return place(hdr, hdr->log2, hash, entry + 1) || grow(t);
}

int
vpci_steer_insert(struct vpci_steer *t, const union vpci_key *mask,
                  const union vpci_key *key, uint64_t verdict,
                  uint32_t *entry)
{
    uint32_t number = find_mask(t, mask);

    if (number != VPCI_STEER_NONE) {
        *entry = find_entry(t->hdr, number, key);
        if (*entry != VPCI_STEER_NONE) {
            return EEXIST;
        }
    } else {
        number = add_mask(t, mask);
        if (number == VPCI_STEER_NONE) {
            return E2BIG;
        }
    }
    *entry = allocate_entry(t);
    if (*entry == VPCI_STEER_NONE) {
        return ENOSPC;
    }
    fill_entry(t, *entry, number, key, verdict);
    count_mask(t, number, 1);
    if (!insert_entry(t, *entry)) {
        struct steer_entry *e = steer_entry(t->hdr, *entry);

        __atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_RELEASE);
        count_mask(t, number, -1);
        leave_entry(t, *entry);
        *entry = VPCI_STEER_NONE;
        return ENOSPC;
    }
    t->n_entries++;
    return 0;
}

void
vpci_steer_remove(struct vpci_steer *t, uint32_t entry)
{
    struct steer_hdr *hdr = t->hdr;
    struct steer_entry *e = steer_entry(hdr, entry);
    uint64_t hash = entry_hash(hdr, e);
    struct steer_bucket *b;
    int slot;

    /* From here on nobody finds it, whatever buckets say. */
    __atomic_store_n(&e->seq, e->seq + 1, __ATOMIC_RELEASE);
    b = find_bucket(hdr, hash, entry + 1, &slot);
    if (b) {
        __atomic_store_n(&b->entries[slot], 0, __ATOMIC_RELAXED);
    }
    count_mask(t, e->mask, -1);
    leave_entry(t, entry);
    t->n_entries--;
}

void
vpci_steer_set_verdict(struct vpci_steer *t, uint32_t entry, uint64_t verdict)
{
    __atomic_store_n(&steer_entry(t->hdr, entry)->verdict, verdict,
                     __ATOMIC_RELEASE);
}

/* Questions. */

void
vpci_steer_get_stats(const struct vpci_steer *t, uint32_t entry,
                     struct vpci_steer_stats *stats)
{
    memset(stats, 0, sizeof *stats);
    for (uint32_t i = 0; i < t->hdr->n_readers; i++) {
        const struct steer_counters *c = steer_counters(t->hdr, i, entry);
        uint64_t used;

        if (!was_at_work(t, i)) {
            continue;
        }
        used = __atomic_load_n(&c->used, __ATOMIC_RELAXED);
        stats->packets += __atomic_load_n(&c->packets, __ATOMIC_RELAXED);
        stats->bytes += __atomic_load_n(&c->bytes, __ATOMIC_RELAXED);
        stats->used = used > stats->used ? used : stats->used;
        stats->tcp_flags |= __atomic_load_n(&c->tcp_flags, __ATOMIC_RELAXED);
    }
}

uint32_t
vpci_steer_n_entries(const struct vpci_steer *t)
{
    return t->n_entries;
}

uint32_t
vpci_steer_n_masks(const struct vpci_steer *t)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < t->hdr->n_masks; i++) {
        n += t->hdr->masks[i].n_entries != 0;
    }
    return n;
}

uint32_t
vpci_steer_end(const struct vpci_steer *t)
{
    return t->n_used;
}

bool
vpci_steer_get(const struct vpci_steer *t, uint32_t entry,
               union vpci_key *mask, union vpci_key *key, uint64_t *verdict)
{
    const struct steer_entry *e;

    if (entry >= t->n_used) {
        return false;
    }
    e = steer_entry(t->hdr, entry);
    if (e->seq & 1 || !e->seq) {
        return false;
    }
    *mask = t->hdr->masks[e->mask].key;
    *key = steer_key(e, &t->hdr->masks[e->mask]);
    *verdict = e->verdict;
    return true;
}
