/* SPDX-License-Identifier: Apache-2.0 */

/* The readers' side of steering tables.  See steer-private.h.
 *
 * A burst of packets is looked up in steps, so that memory is fetched for all
 * of them at once.  Where a packet was found the last time is remembered by a
 * hash of its whole key; that is no more than a guess, and each guess is
 * verified. */

#include "vpci/steer.h"

#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "steer-private.h"
#include "vpci/gate.h"

#define GUESSES_LOG2 14
#define N_GUESSES (1u << GUESSES_LOG2)

/* How often a lookup is repeated because entries moved meanwhile. */
#define MAX_TRIES 16

struct vpci_steer_reader {
    const struct steer_hdr *hdr;
    struct steer_presence *presence;
    struct steer_counters *counters;
    enum vpci_key_depth depth;          /* Since vpci_steer_enter(). */
    uint32_t last;                      /* What was found last, plus 1. */
    uint32_t guesses[N_GUESSES];        /* Entries, plus 1. */
};

/* Packets of a burst that were not found yet. */
struct pending {
    unsigned int n;
    uint8_t packets[VPCI_STEER_BURST];
    uint64_t hashes[VPCI_STEER_BURST];
    const struct steer_bucket *buckets[VPCI_STEER_BURST];
};

struct vpci_steer_reader *
vpci_steer_reader_create(struct vpci_steer *t, uint32_t id)
{
    struct vpci_steer_reader *r = calloc(1, sizeof *r);

    if (r) {
        r->hdr = t->hdr;
        r->presence = &t->presence[id];
        r->counters = steer_counters(t->hdr, id, 0);
    }
    return r;
}

void
vpci_steer_reader_destroy(struct vpci_steer_reader *r)
{
    free(r);
}

void
vpci_steer_enter(struct vpci_steer_reader *r)
{
    __atomic_store_n(&r->presence->seq, r->presence->seq + 1,
                     __ATOMIC_RELAXED);
    /* Pairs with vpci_gate_barrier() in the writer's take_snapshot(): either
     * it sees that we are at work, or we see what it did before. */
    if (__builtin_expect(vpci_gate_needs_fence, 0)) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } else {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    }
    r->depth = __atomic_load_n(&r->hdr->depth, __ATOMIC_ACQUIRE);
}

void
vpci_steer_leave(struct vpci_steer_reader *r)
{
    /* (A) pairs with (B) in the writer's take_snapshot() and is_over(). */
    __atomic_store_n(&r->presence->seq, r->presence->seq + 1,
                     __ATOMIC_RELEASE);
}

enum vpci_key_depth
vpci_steer_depth(const struct vpci_steer_reader *r)
{
    return r->depth;
}

/* Returns true, and the verdict, if 'key' is that of 'number' and that is an
 * entry.  Everything is read once. */
static bool
verify(const struct vpci_steer_reader *r, uint32_t number,
       const union vpci_key *key, uint64_t *verdict)
{
    const struct steer_entry *e = steer_entry(r->hdr, number);
    /* (H) pairs with (G) in the writer's fill_entry(). */
    uint32_t seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
    const struct steer_mask *m = &r->hdr->masks[e->mask
                                                % VPCI_STEER_MAX_MASKS];

    if (seq & 1 || !seq || m->depth > r->depth
        || !steer_matches(&e->key, &m->key, key)) {
        return false;
    }
    *verdict = __atomic_load_n(&e->verdict, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return __atomic_load_n(&e->seq, __ATOMIC_RELAXED) == seq;
}

/* Which slots of 'b' have 'tag', as bits. */
static inline unsigned int
match_tags(const struct steer_bucket *b, uint16_t tag)
{
#ifdef __SSE2__
    __m128i tags = _mm_load_si128((const __m128i *) b->tags);
    __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16(tag));

    return _mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()));
#else
    unsigned int bits = 0;

    for (int i = 0; i < STEER_SLOTS; i++) {
        bits |= (b->tags[i] == tag) << i;
    }
    return bits;
#endif
}

/* Looks for 'key' in one bucket.  Returns the entry plus 1, or 0. */
static uint32_t
search_bucket(const struct vpci_steer_reader *r, const struct steer_bucket *b,
              uint16_t tag, const union vpci_key *key, uint64_t *verdict)
{
    unsigned int bits = match_tags(b, tag);

    while (bits) {
        uint32_t value = __atomic_load_n(&b->entries[__builtin_ctz(bits)],
                                         __ATOMIC_ACQUIRE);

        if (value && value <= r->hdr->max_entries
            && verify(r, value - 1, key, verdict)) {
            return value;
        }
        bits &= bits - 1;
    }
    return 0;
}

/* Where the last packet with the same key was found. */
static uint32_t *
guess_of(struct vpci_steer_reader *r, const union vpci_key *key)
{
    uint64_t h = r->hdr->seed;

    for (int i = 0; i < VPCI_KEY_WORDS; i++) {
        h = (h ^ key->words[i]) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 32;
    }
    return &r->guesses[h >> (64 - GUESSES_LOG2)];
}

/* Looks for all of 'p' under one mask. */
static void
search_mask(const struct vpci_steer_reader *r, uint32_t number, uint32_t log2,
            const union vpci_key keys[], struct pending *p,
            uint32_t entries[], uint64_t verdicts[])
{
    const struct steer_hdr *hdr = r->hdr;
    const struct steer_mask *m = &hdr->masks[number];
    const struct steer_bucket *buckets = steer_buckets(hdr, log2);
    unsigned int left = 0;

    for (unsigned int i = 0; i < p->n; i++) {
        p->hashes[i] = steer_hash(hdr->seed, m, number,
                                  &keys[p->packets[i]]);
        p->buckets[i] = &buckets[steer_bucket_1(p->hashes[i], log2)];
        __builtin_prefetch(p->buckets[i]);
    }
    for (unsigned int i = 0; i < p->n; i++) {
        unsigned int bits = match_tags(p->buckets[i],
                                       steer_tag(p->hashes[i]));

        if (bits) {
            uint32_t value = p->buckets[i]->entries[__builtin_ctz(bits)];

            if (value && value <= hdr->max_entries) {
                __builtin_prefetch(steer_entry(hdr, value - 1));
                __builtin_prefetch(&steer_entry(hdr, value - 1)->seq);
            }
        }
    }
    for (unsigned int i = 0; i < p->n; i++) {
        unsigned int k = p->packets[i];
        uint16_t tag = steer_tag(p->hashes[i]);
        uint32_t value = search_bucket(r, p->buckets[i], tag, &keys[k],
                                       &verdicts[k]);

        if (!value) {
            uint64_t home = steer_bucket_1(p->hashes[i], log2);

            value = search_bucket(
                r, &buckets[steer_bucket_2(home, tag, log2)], tag, &keys[k],
                &verdicts[k]);
        }
        if (value) {
            entries[k] = value - 1;
        } else {
            p->packets[left++] = k;
        }
    }
    p->n = left;
}

/* Looks for all of 'p' under all masks, again if entries moved meanwhile. */
static void
search_all(const struct vpci_steer_reader *r, const union vpci_key keys[],
           struct pending *p, uint32_t entries[], uint64_t verdicts[])
{
    const struct steer_hdr *hdr = r->hdr;

    for (int try = 0; try < MAX_TRIES && p->n; try++) {
        /* (F) pairs with (E) in the writer's grow(). */
        uint32_t log2 = __atomic_load_n(&hdr->log2, __ATOMIC_ACQUIRE);
        uint32_t n_masks = __atomic_load_n(&hdr->n_masks, __ATOMIC_ACQUIRE);
        uint32_t moves = __atomic_load_n(&hdr->moves, __ATOMIC_ACQUIRE);

        for (uint32_t i = 0; i < n_masks && i < VPCI_STEER_MAX_MASKS && p->n;
             i++) {
            if (__atomic_load_n(&hdr->masks[i].n_entries, __ATOMIC_ACQUIRE)
                && hdr->masks[i].depth <= r->depth) {
                search_mask(r, i, log2, keys, p, entries, verdicts);
            }
        }
        /* (D) pairs with (C) in the writer's begin_moves(). */
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (!(moves & 1)
            && __atomic_load_n(&hdr->moves, __ATOMIC_RELAXED) == moves) {
            break;
        }
    }
}

/* Fetches what has been guessed.  Returns the guesses in 'guess'. */
static void
fetch_guesses(struct vpci_steer_reader *r, const union vpci_key keys[],
              unsigned int n, uint32_t *guess[])
{
    for (unsigned int i = 0; i < n; i++) {
        guess[i] = guess_of(r, &keys[i]);
        __builtin_prefetch(guess[i]);
    }
    for (unsigned int i = 0; i < n; i++) {
        if (*guess[i]) {
            __builtin_prefetch(steer_entry(r->hdr, *guess[i] - 1));
            __builtin_prefetch(&steer_entry(r->hdr, *guess[i] - 1)->seq);
        }
    }
}

/* Looks up packets that are not all like the last one. */
static void
lookup_mixed(struct vpci_steer_reader *r, const union vpci_key keys[],
             unsigned int n, uint32_t entries[], uint64_t verdicts[])
{
    uint32_t *guess[VPCI_STEER_BURST];
    struct pending p = { .n = 0 };
    unsigned int n_missed;

    fetch_guesses(r, keys, n, guess);
    for (unsigned int i = 0; i < n; i++) {
        if (*guess[i] && verify(r, *guess[i] - 1, &keys[i], &verdicts[i])) {
            entries[i] = *guess[i] - 1;
        } else {
            entries[i] = VPCI_STEER_NONE;
            p.packets[p.n++] = i;
        }
    }
    n_missed = p.n;
    if (n_missed) {
        search_all(r, keys, &p, entries, verdicts);
        for (unsigned int i = 0; i < n; i++) {
            if (entries[i] != VPCI_STEER_NONE) {
                *guess[i] = entries[i] + 1;
            }
        }
    }
    r->last = entries[n - 1] == VPCI_STEER_NONE ? 0 : entries[n - 1] + 1;
}

void
vpci_steer_lookup(struct vpci_steer_reader *r, const union vpci_key keys[],
                  unsigned int n, uint32_t entries[], uint64_t verdicts[])
{
    unsigned int i = 0;

    /* Most bursts of most guests go one way. */
    while (i < n && r->last
           && verify(r, r->last - 1, &keys[i], &verdicts[i])) {
        entries[i++] = r->last - 1;
    }
    if (i < n) {
        lookup_mixed(r, keys + i, n - i, entries + i, verdicts + i);
    }
}

static void
add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void
vpci_steer_count(struct vpci_steer_reader *r, uint32_t entry,
                 uint64_t packets, uint64_t bytes, uint16_t tcp_flags,
                 uint64_t now)
{
    struct steer_counters *c = &r->counters[entry];

    add(&c->packets, packets);
    add(&c->bytes, bytes);
    __atomic_store_n(&c->used, now, __ATOMIC_RELAXED);
    if (tcp_flags & ~c->tcp_flags) {
        __atomic_store_n(&c->tcp_flags, c->tcp_flags | tcp_flags,
                         __ATOMIC_RELAXED);
    }
}
