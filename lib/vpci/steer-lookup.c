/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The readers' side of steering tables.  See steer-private.h.
 *
 * A burst of packets is looked up in steps, so that memory is fetched for all
 * of them at once.  Where a packet was found the last time is remembered by a
 * hash of its whole key; that is no more than a guess, and each guess is
 * verified. */

#include "vpci/steer.h"

#include <arpa/inet.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "steer-private.h"
#include "vpci/gate.h"

/* Guesses come in sets.  A guess is 12 bits of hash, never 0, and an entry. */
#define SETS_LOG2 14
#define WAYS 4
#define GUESS_ENTRY_BITS 20
#define GUESS_ENTRY ((1u << GUESS_ENTRY_BITS) - 1)

#define ETH_TYPE_MIN 0x600
#define ETH_TYPE_VLAN 0x8100
#define ETH_TYPE_QINQ 0x88a8

/* How often a lookup is repeated because entries moved meanwhile. */
#define MAX_TRIES 16

struct vpci_steer_reader {
    const struct steer_hdr *hdr;        /* Nobody else's, or the table's. */
    const struct steer_bucket *buckets; /* All arrays of them. */
    const struct steer_entry *entries;
    struct steer_presence *presence;
    struct steer_counters *counters;
    enum vpci_key_depth depth;          /* Since vpci_steer_enter(). */
    uint32_t last;                      /* What was found last, plus 1. */
    unsigned int next_way;              /* Which guess of a set is replaced. */
    bool has_guesses;
    struct guess_set {
        uint32_t ways[WAYS] __attribute__((aligned(16)));
    } sets[1u << SETS_LOG2];
    struct steer_hdr copy;              /* Of a reader that is apart. */
};

#define READER_SIZE ((sizeof(struct vpci_steer_reader) + 4095) & ~4095ul)

_Static_assert(VPCI_STEER_MAX_ENTRIES <= GUESS_ENTRY + 1,
               "an entry fits into a guess");

/* Packets of a burst that were not found yet. */
struct pending {
    unsigned int n;
    uint8_t packets[VPCI_STEER_BURST];
    uint64_t hashes[VPCI_STEER_BURST];
    const struct steer_bucket *buckets[VPCI_STEER_BURST];
    uint32_t likely[VPCI_STEER_BURST];  /* An entry plus 1, or 0. */
};

/* Lets 'r' read, by the header 'hdr', what is at 'memory'. */
static void
move_to(struct vpci_steer_reader *r, const struct steer_hdr *hdr,
        const void *memory)
{
    const uint8_t *bytes = memory;

    r->hdr = hdr;
    r->buckets = (const void *) (bytes + hdr->buckets_ofs);
    r->entries = (const void *) (bytes + hdr->entries_ofs);
}

struct vpci_steer_reader *
vpci_steer_reader_create(struct vpci_steer *t, uint32_t id)
{
    struct vpci_steer_reader *r = steer_map_memory(READER_SIZE);

    if (r) {
        move_to(r, t->hdr, t->hdr);
        r->presence = &t->presence[id];
        r->counters = steer_counters(t->hdr, id, 0);
    }
    return r;
}

void
vpci_steer_reader_destroy(struct vpci_steer_reader *r)
{
    if (r) {
        steer_unmap_memory(r, READER_SIZE);
    }
}

struct vpci_steer_reader *
steer_reader_create_apart(void)
{
    struct vpci_steer_reader *r = steer_map_memory(READER_SIZE);

    if (r) {
        /* Fetched, but never used. */
        r->counters = (void *) r;
    }
    return r;
}

int
steer_reader_move(struct vpci_steer_reader *r, const void *memory,
                  uint64_t bytes)
{
    /* It may be the copy of another table, with entries of an older one
     * behind its own: these are found by nobody who looks into buckets. */
    r->last = 0;
    if (r->has_guesses) {
        memset(r->sets, 0, sizeof r->sets);
        r->has_guesses = false;
    }
    if (!steer_copy_header(memory, bytes, &r->copy)) {
        return -1;
    }
    move_to(r, &r->copy, memory);
    r->depth = (enum vpci_key_depth) r->copy.depth;
    return r->depth;
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
    const struct steer_entry *e = &r->entries[number];
    /* (H) pairs with (G) in the writer's fill_entry(). */
    uint32_t seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
    const struct steer_mask *m = &r->hdr->masks[e->mask
                                                % VPCI_STEER_MAX_MASKS];

    if (seq & 1 || !seq || m->depth > r->depth
        || !steer_matches(e, m, key)) {
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
    __m128i tags = _mm_load_si128((const void *) b->tags);
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

/* The array of buckets of size 'log2'. */
static inline const struct steer_bucket *
buckets_of(const struct vpci_steer_reader *r, uint32_t log2)
{
    return r->buckets + steer_buckets_before(log2);
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

/* A hash of all of 'key'. */
static uint64_t
hash_key(const struct vpci_steer_reader *r, const union vpci_key *key)
{
    uint64_t a = r->hdr->seed, b = ~a;

    /* Two chains, which the processor works on at once. */
    for (int i = 0; i < VPCI_KEY_WORDS; i += 2) {
        a = steer_mix(a, key->words[i]);
        b = steer_mix(b, key->words[i + 1]);
    }
    return steer_mix(a, b);
}

/* The bits of a guess that say whose it is. */
static uint32_t
guess_tag(uint64_t hash)
{
    return (uint32_t) (hash | 1) << GUESS_ENTRY_BITS;
}

static struct guess_set *
guess_set(struct vpci_steer_reader *r, uint64_t hash)
{
    return &r->sets[hash >> (64 - SETS_LOG2)];
}

/* The guess of a set that has the tag of 'hash', or -1. */
static int
find_guess(const struct guess_set *set, uint64_t hash)
{
    uint32_t tag = guess_tag(hash);
    unsigned int bits = 0;

    for (unsigned int i = 0; i < WAYS; i++) {
        bits |= ((set->ways[i] ^ tag) <= GUESS_ENTRY) << i;
    }
    return bits ? __builtin_ctz(bits) : -1;
}

static void
set_guess(struct vpci_steer_reader *r, uint64_t hash, uint32_t entry)
{
    struct guess_set *set = guess_set(r, hash);
    int way = find_guess(set, hash);

    if (way < 0) {
        way = r->next_way++ % WAYS;
    }
    set->ways[way] = guess_tag(hash) | entry;
    r->has_guesses = true;
}

/* Starts to fetch entry 'number' of mask 'm', and its counters.  Inlined at all
 * events: to the compiler a function that only fetches does nothing, and need
 * not be called. */
static inline __attribute__((always_inline)) void
fetch_entry(const struct vpci_steer_reader *r, const struct steer_mask *m,
            uint32_t number)
{
    const struct steer_entry *e = &r->entries[number];

    __builtin_prefetch(e);
    if (m->n_words > STEER_LINE_WORDS) {
        __builtin_prefetch(&e->words[STEER_LINE_WORDS]);
    }
    __builtin_prefetch(&r->counters[number], 1);
}

/* Looks for 'key' in both buckets that it may be in, of which 'home' is the
 * first.  Returns the entry plus 1, or 0. */
static uint32_t
search_buckets(const struct vpci_steer_reader *r,
               const struct steer_bucket *home, uint64_t hash, uint32_t log2,
               const union vpci_key *key, uint64_t *verdict)
{
    uint16_t tag = steer_tag(hash);
    uint32_t value = search_bucket(r, home, tag, key, verdict);

    if (!value) {
        uint64_t other = steer_bucket_2(steer_bucket_1(hash, log2), tag, log2);

        value = search_bucket(r, &buckets_of(r, log2)[other], tag, key,
                              verdict);
    }
    return value;
}

/* Looks for all of 'p' under one mask. */
static void
search_mask(const struct vpci_steer_reader *r, uint32_t number, uint32_t log2,
            const union vpci_key keys[], struct pending *p,
            uint32_t entries[], uint64_t verdicts[])
{
    const struct steer_hdr *hdr = r->hdr;
    const struct steer_mask *m = &hdr->masks[number];
    const struct steer_bucket *buckets = buckets_of(r, log2);
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

        p->likely[i] = 0;
        if (bits) {
            uint32_t value = __atomic_load_n(
                &p->buckets[i]->entries[__builtin_ctz(bits)],
                __ATOMIC_ACQUIRE);

            if (value && value <= hdr->max_entries) {
                p->likely[i] = value;
                fetch_entry(r, m, value - 1);
            }
        }
    }
    for (unsigned int i = 0; i < p->n; i++) {
        unsigned int k = p->packets[i];
        uint32_t value = p->likely[i];

        if (!value || !verify(r, value - 1, &keys[k], &verdicts[k])) {
            value = search_buckets(r, p->buckets[i], p->hashes[i], log2,
                                   &keys[k], &verdicts[k]);
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

/* Guesses for 'n' packets, or VPCI_STEER_NONE, whose entries are fetched. */
static void
make_guesses(struct vpci_steer_reader *r, const union vpci_key keys[],
             unsigned int n, uint64_t hashes[], uint32_t guesses[])
{
    for (unsigned int i = 0; i < n; i++) {
        hashes[i] = hash_key(r, &keys[i]);
        __builtin_prefetch(guess_set(r, hashes[i]));
    }
    for (unsigned int i = 0; i < n; i++) {
        const struct guess_set *set = guess_set(r, hashes[i]);
        int way = find_guess(set, hashes[i]);

        guesses[i] = VPCI_STEER_NONE;
        if (way >= 0) {
            guesses[i] = set->ways[way] & GUESS_ENTRY;
            __builtin_prefetch(&r->entries[guesses[i]]);
            __builtin_prefetch(&r->counters[guesses[i]], 1);
        }
    }
}

/* Looks up all of 'p', and where they were found before first. */
static void
search_guesses(struct vpci_steer_reader *r, const union vpci_key keys[],
               struct pending *p, uint32_t entries[], uint64_t verdicts[])
{
    uint64_t hashes[VPCI_STEER_BURST];
    uint32_t guesses[VPCI_STEER_BURST];
    unsigned int n = p->n;

    make_guesses(r, keys, n, hashes, guesses);
    p->n = 0;
    for (unsigned int i = 0; i < n; i++) {
        if (guesses[i] < r->hdr->max_entries
            && verify(r, guesses[i], &keys[i], &verdicts[i])) {
            entries[i] = guesses[i];
        } else {
            p->packets[p->n++] = i;
        }
    }
    if (p->n) {
        search_all(r, keys, p, entries, verdicts);
        for (unsigned int i = 0; i < n; i++) {
            if (entries[i] != guesses[i] && entries[i] != VPCI_STEER_NONE) {
                set_guess(r, hashes[i], entries[i]);
            }
        }
    }
}

/* Looks up packets that are not all like the last one. */
static void
lookup_mixed(struct vpci_steer_reader *r, const union vpci_key keys[],
             unsigned int n, uint32_t entries[], uint64_t verdicts[])
{
    struct pending p;

    p.n = n;
    for (unsigned int i = 0; i < n; i++) {
        entries[i] = VPCI_STEER_NONE;
        p.packets[i] = i;
    }
    /* A guess costs no less than a look into a bucket, but may save many. */
    if (__atomic_load_n(&r->hdr->n_masks, __ATOMIC_RELAXED) > 1) {
        search_guesses(r, keys, &p, entries, verdicts);
    } else {
        search_all(r, keys, &p, entries, verdicts);
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

/* The Ethernet header of 'key', as it is in a packet without tags. */
static void
put_ethernet(const union vpci_key *key, uint64_t words[2])
{
    uint8_t bytes[16] = { 0 };

    memcpy(bytes, key->eth_dst, 6);
    memcpy(bytes + 6, key->eth_src, 6);
    memcpy(bytes + 12, &key->eth_type, 2);
    memcpy(words, bytes, sizeof bytes);
}

/* Fills in what of 'plain' follows from a mask and a key.  Returns false if
 * there is more to them. */
static bool
make_plain(const union vpci_key *mask, const union vpci_key *key,
           struct vpci_steer_plain *plain)
{
    uint16_t type = ntohs(key->eth_type);
    union vpci_key rest = *mask;

    /* The type is where it is without tags, and the key must not ask for any.
     * That of a tag or of LLC is the beginning of something longer. */
    if (mask->eth_type != UINT16_MAX || type < ETH_TYPE_MIN
        || type == ETH_TYPE_VLAN || type == ETH_TYPE_QINQ
        || key->vlan_tci[0] || key->vlan_tci[1] || key->kind) {
        return false;
    }
    memset(rest.vlan_tci, 0, sizeof rest.vlan_tci);
    memset(rest.eth_dst, 0, sizeof rest.eth_dst);
    memset(rest.eth_src, 0, sizeof rest.eth_src);
    rest.eth_type = 0;
    rest.kind = 0;
    for (int i = 0; i < VPCI_KEY_WORDS; i++) {
        if (rest.words[i]) {
            return false;
        }
    }
    put_ethernet(mask, plain->mask);
    put_ethernet(key, plain->value);
    return true;
}

bool
vpci_steer_get_plain(const struct vpci_steer_reader *r,
                     struct vpci_steer_plain *plain)
{
    const struct steer_entry *e;
    const struct steer_mask *m;
    union vpci_key key;
    uint32_t seq;

    if (!r->last) {
        return false;
    }
    e = &r->entries[r->last - 1];
    seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
    if (seq & 1 || !seq) {
        return false;
    }
    m = &r->hdr->masks[e->mask % VPCI_STEER_MAX_MASKS];
    key = steer_key(e, m);
    plain->entry = r->last - 1;
    plain->verdict = __atomic_load_n(&e->verdict, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return (__atomic_load_n(&e->seq, __ATOMIC_RELAXED) == seq
            && make_plain(&m->key, &key, plain));
}

enum vpci_key_depth
steer_entry_depth(const struct vpci_steer_reader *r, uint32_t entry)
{
    uint32_t mask = r->entries[entry].mask % VPCI_STEER_MAX_MASKS;

    return (enum vpci_key_depth) r->hdr->masks[mask].depth;
}

bool
vpci_steer_is_plain_tcp(const struct vpci_steer_plain *plain,
                        const uint8_t *headers, uint32_t n_headers,
                        uint32_t len, uint16_t *tcp_flags)
{
    union vpci_key key;

    /* A header that is not valid, or behind many options, shows no flags. */
    if (!vpci_steer_has_ethernet(plain, headers)
        || !vpci_key_parse(headers, n_headers, len, 0, VPCI_DEPTH_FRAG, &key)
        || key.kind || !key.tcp_flags) {
        return false;
    }
    *tcp_flags = key.tcp_flags;
    return true;
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
