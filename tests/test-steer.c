/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of steering tables (vpci/steer.h).
 *
 * usage: test-steer [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vpci/gate.h"
#include "vpci/projection.h"
#include "vpci/steer.h"
#include "unit-test.h"

/* A mask of UDP ports and, for 'i' > 0, of a prefix of 'i' bits. */
static union vpci_key
make_mask(unsigned int i)
{
    union vpci_key mask = {
        .eth_type = 0xffff, .ip_proto = 0xff, .kind = VPCI_KEY_FRAG_ANY,
        .l4_src = 0xffff, .l4_dst = 0xffff,
    };

    for (unsigned int bit = 0; bit < i; bit++) {
        mask.ip_src[bit / 8] |= 0x80 >> bit % 8;
    }
    return mask;
}

/* The n-th key: of a class, which is a prefix. */
static union vpci_key
make_key(unsigned int class, uint32_t n)
{
    union vpci_key key = {
        .eth_type = htons(0x0800), .ip_proto = 17, .ip_ttl = n,
        .l4_src = n, .l4_dst = n >> 16,
    };

    key.ip_src[0] = 10;
    key.ip_src[1] = class;
    memset(key.eth_src, n, 6);
    return key;
}

/* Looks up one packet. */
static uint32_t
lookup(struct vpci_steer_reader *r, const union vpci_key *key,
       uint64_t *verdict)
{
    uint32_t entry;

    vpci_steer_enter(r);
    vpci_steer_lookup(r, key, 1, &entry, verdict);
    vpci_steer_leave(r);
    return entry;
}

static bool
test_finds_what_was_inserted(void)
{
    struct vpci_steer *t = vpci_steer_create(100, 2);
    struct vpci_steer_reader *r = vpci_steer_reader_create(t, 1);
    union vpci_key mask = make_mask(16), key = make_key(1, 7), other, m, k;
    uint32_t entry, same;
    uint64_t verdict = 0;

    CHECK(t && r);
    CHECK(lookup(r, &key, &verdict) == VPCI_STEER_NONE);
    CHECK(!vpci_steer_insert(t, &mask, &key, 42, &entry));
    CHECK(lookup(r, &key, &verdict) == entry && verdict == 42);
    CHECK(vpci_steer_insert(t, &mask, &key, 43, &same) == EEXIST);
    CHECK(same == entry && vpci_steer_n_entries(t) == 1);
    CHECK(vpci_steer_find(t, &mask, &key) == entry);

    /* What the mask does not have, does not matter. */
    other = key;
    other.ip_src[3] = 99;
    other.ip_ttl = 1;
    CHECK(lookup(r, &other, &verdict) == entry);
    CHECK(vpci_steer_get(t, entry, &m, &k, &verdict) && verdict == 42);
    CHECK(!memcmp(&m, &mask, sizeof m) && !k.ip_ttl && k.l4_src == 7);

    /* What it has, does: every bit of it. */
    for (int bit = 0; bit < 512; bit++) {
        bool masked = ((uint8_t *) &mask)[bit / 8] >> bit % 8 & 1;

        other = key;
        ((uint8_t *) &other)[bit / 8] ^= 1 << bit % 8;
        CHECK(lookup(r, &other, &verdict)
              == (masked ? VPCI_STEER_NONE : entry));
    }

    vpci_steer_set_verdict(t, entry, 44);
    CHECK(lookup(r, &key, &verdict) == entry && verdict == 44);
    vpci_steer_remove(t, entry);
    CHECK(lookup(r, &key, &verdict) == VPCI_STEER_NONE);
    CHECK(!vpci_steer_n_entries(t) && !vpci_steer_n_masks(t));
    CHECK(!vpci_steer_get(t, entry, &m, &k, &verdict));
    vpci_steer_reader_destroy(r);
    vpci_steer_destroy(t);
    return true;
}

/* Looks for entries 'from' to 'to' - 1, of all classes in turn, in bursts. */
static bool
check_all(struct vpci_steer_reader *r, unsigned int n_classes, uint32_t n,
          const bool *gone)
{
    union vpci_key keys[VPCI_STEER_BURST];
    uint32_t entries[VPCI_STEER_BURST];
    uint64_t verdicts[VPCI_STEER_BURST];

    for (uint32_t i = 0; i < n; i += VPCI_STEER_BURST) {
        uint32_t burst = n - i < VPCI_STEER_BURST ? n - i : VPCI_STEER_BURST;

        for (uint32_t k = 0; k < burst; k++) {
            keys[k] = make_key((i + k) % n_classes, i + k);
        }
        vpci_steer_enter(r);
        vpci_steer_lookup(r, keys, burst, entries, verdicts);
        vpci_steer_leave(r);
        for (uint32_t k = 0; k < burst; k++) {
            if (gone && gone[i + k]) {
                CHECK(entries[k] == VPCI_STEER_NONE);
            } else {
                CHECK(entries[k] != VPCI_STEER_NONE);
                CHECK(verdicts[k] == i + k);
            }
        }
    }
    return true;
}

/* Fills a table, empties and fills it again. */
static bool
check_many(uint32_t n, unsigned int n_classes)
{
    struct vpci_steer *t = vpci_steer_create(n, 1);
    struct vpci_steer_reader *r = vpci_steer_reader_create(t, 0);
    bool *gone = calloc(n, sizeof *gone);
    uint32_t *entries = calloc(n, sizeof *entries), extra;
    union vpci_key mask, key;

    CHECK(t && r && gone && entries);
    for (uint32_t i = 0; i < n; i++) {
        mask = make_mask(16 + i % n_classes % 16);
        key = make_key(i % n_classes, i);
        CHECK(!vpci_steer_insert(t, &mask, &key, i, &entries[i]));
    }
    CHECK(vpci_steer_n_masks(t) == (n_classes < 16 ? n_classes : 16));
    CHECK(check_all(r, n_classes, n, NULL));
    mask = make_mask(16);
    key = make_key(0, UINT32_MAX);
    CHECK(vpci_steer_insert(t, &mask, &key, 0, &extra) == ENOSPC);

    /* Every third goes, and comes back at another place. */
    for (uint32_t i = 0; i < n; i += 3) {
        vpci_steer_remove(t, entries[i]);
        gone[i] = true;
    }
    CHECK(check_all(r, n_classes, n, gone));
    for (uint32_t i = 0; i < n; i += 3) {
        mask = make_mask(16 + i % n_classes % 16);
        key = make_key(i % n_classes, i);
        CHECK(!vpci_steer_insert(t, &mask, &key, i, &entries[i]));
    }
    CHECK(check_all(r, n_classes, n, NULL));
    CHECK(vpci_steer_n_entries(t) == n);
    free(entries);
    free(gone);
    vpci_steer_reader_destroy(r);
    vpci_steer_destroy(t);
    return true;
}

static bool
test_one_mask(void)
{
    return check_many(1, 1) && check_many(30, 1) && check_many(100000, 1);
}

static bool
test_many_masks(void)
{
    return check_many(1000, 16) && check_many(100000, 64);
}

static bool
test_million(void)
{
    return check_many(1000000, 1);
}

static bool
test_masks_are_bounded(void)
{
    struct vpci_steer *t = vpci_steer_create(100, 1);
    uint32_t entries[VPCI_STEER_MAX_MASKS], extra;
    union vpci_key key = make_key(1, 1), mask;

    for (unsigned int i = 0; i < VPCI_STEER_MAX_MASKS; i++) {
        mask = make_mask(i);
        CHECK(!vpci_steer_insert(t, &mask, &key, i, &entries[i]));
    }
    mask = make_mask(VPCI_STEER_MAX_MASKS);
    CHECK(vpci_steer_insert(t, &mask, &key, 0, &extra) == E2BIG);
    vpci_steer_remove(t, entries[5]);
    CHECK(!vpci_steer_insert(t, &mask, &key, 0, &extra));
    vpci_steer_destroy(t);
    return true;
}

/* An entry's place, and its mask's, stay as they are while a reader that may
 * know them is at work. */
static bool
test_readers_keep_what_they_found(void)
{
    struct vpci_steer *t = vpci_steer_create(1, 1);
    struct vpci_steer_reader *r = vpci_steer_reader_create(t, 0);
    union vpci_key mask = make_mask(16), key = make_key(1, 1),
                   other = make_key(1, 2);
    struct vpci_steer_stats stats;
    uint32_t entry, found, extra;
    uint64_t verdict;

    CHECK(!vpci_steer_insert(t, &mask, &key, 1, &entry));
    vpci_steer_enter(r);
    vpci_steer_lookup(r, &key, 1, &found, &verdict);
    CHECK(found == entry);
    vpci_steer_remove(t, entry);
    CHECK(vpci_steer_insert(t, &mask, &other, 2, &extra) == ENOSPC);
    vpci_steer_count(r, found, 3, 300, htons(2), 77);
    vpci_steer_leave(r);

    /* What came after it counts anew. */
    CHECK(!vpci_steer_insert(t, &mask, &other, 2, &extra));
    vpci_steer_get_stats(t, extra, &stats);
    CHECK(!stats.packets && !stats.bytes && !stats.used && !stats.tcp_flags);
    vpci_steer_reader_destroy(r);
    vpci_steer_destroy(t);
    return true;
}

static bool
test_counters(void)
{
    struct vpci_steer *t = vpci_steer_create(10, 2);
    struct vpci_steer_reader *r[2];
    union vpci_key mask = make_mask(16), key = make_key(1, 1);
    struct vpci_steer_stats stats;
    uint32_t entry;

    for (int i = 0; i < 2; i++) {
        r[i] = vpci_steer_reader_create(t, i);
        CHECK(r[i]);
    }
    CHECK(!vpci_steer_insert(t, &mask, &key, 1, &entry));
    vpci_steer_get_stats(t, entry, &stats);
    CHECK(!stats.packets && !stats.used);
    for (int i = 0; i < 2; i++) {
        vpci_steer_enter(r[i]);
        vpci_steer_count(r[i], entry, 3 - i, 300 - 160 * i,
                         htons(i ? 16 : 2), 77 - i);
        vpci_steer_leave(r[i]);
    }
    vpci_steer_get_stats(t, entry, &stats);
    CHECK(stats.packets == 5 && stats.bytes == 440 && stats.used == 77);
    CHECK(stats.tcp_flags == htons(18));
    vpci_steer_reader_destroy(r[0]);
    vpci_steer_reader_destroy(r[1]);
    vpci_steer_destroy(t);
    return true;
}

/* An entry that needs a deeper look is not found by a reader that entered
 * before, whose keys may lack just what it asks for. */
static bool
test_depth(void)
{
    struct vpci_steer *t = vpci_steer_create(10, 1);
    struct vpci_steer_reader *r = vpci_steer_reader_create(t, 0);
    union vpci_key mask = { .eth_type = 0xffff, .kind = VPCI_KEY_FRAG_ANY },
                   key = { .eth_type = htons(0x0800) }, deep = make_mask(0);
    uint32_t entry, found;
    uint64_t verdict;

    vpci_steer_enter(r);
    CHECK(vpci_steer_depth(r) == VPCI_DEPTH_ETH);
    vpci_steer_leave(r);
    CHECK(!vpci_steer_insert(t, &mask, &key, 1, &entry));
    vpci_steer_enter(r);
    CHECK(vpci_steer_depth(r) == VPCI_DEPTH_FRAG);
    vpci_steer_remove(t, entry);
    key.ip_proto = 0;
    CHECK(!vpci_steer_insert(t, &deep, &key, 2, &entry));
    vpci_steer_lookup(r, &key, 1, &found, &verdict);
    CHECK(found == VPCI_STEER_NONE);
    vpci_steer_leave(r);
    vpci_steer_enter(r);
    CHECK(vpci_steer_depth(r) == VPCI_DEPTH_L4);
    vpci_steer_lookup(r, &key, 1, &found, &verdict);
    CHECK(found == entry);
    vpci_steer_leave(r);
    vpci_steer_reader_destroy(r);
    vpci_steer_destroy(t);
    return true;
}

/* Readers and a writer at once.  Even keys are always there; odd ones come and
 * go, with a verdict that says whether they are there just now. */
enum { STRESS_KEYS = 4096, STRESS_READERS = 2, STRESS_SECONDS = 3 };

struct stress {
    struct vpci_steer *t;
    uint32_t n_wrong;           /* Atomic. */
    bool stop;                  /* Atomic. */

    /* Of each odd key: how often it has been inserted, how often its removal
     * began, and how often it has been removed.  Atomic. */
    uint32_t inserted[STRESS_KEYS];
    uint32_t removing[STRESS_KEYS];
    uint32_t removed[STRESS_KEYS];
};

/* What a reader knows of a key before it looks it up. */
struct stress_known {
    uint32_t key;
    uint32_t inserted, removing, removed;
};

struct stress_reader {
    struct stress *s;
    uint32_t id;
    uint64_t n_found;
};

static uint32_t
read_count(const uint32_t *count)
{
    return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}

static void
bump_count(uint32_t *count)
{
    __atomic_store_n(count, *count + 1, __ATOMIC_RELEASE);
}

static bool
stress_ok(const struct stress *s, const struct stress_known *known,
          uint32_t entry, uint64_t verdict)
{
    uint32_t key = known->key;

    if (!(key & 1)) {
        return entry != VPCI_STEER_NONE && verdict == key;
    } else if (entry == VPCI_STEER_NONE) {
        /* It must not have been there all the time. */
        return !(known->inserted > known->removing
                 && read_count(&s->removing[key]) == known->removing);
    }
    /* Not one that was removed before the lookup began. */
    return (uint32_t) verdict == key && verdict >> 32 > known->removed;
}

static void *
stress_reader_main(void *reader_)
{
    struct stress_reader *reader = reader_;
    struct stress *s = reader->s;
    struct vpci_steer_reader *r = vpci_steer_reader_create(s->t, reader->id);
    unsigned int seed = reader->id;

    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        struct stress_known known[VPCI_STEER_BURST];
        uint32_t entries[VPCI_STEER_BURST];
        uint64_t verdicts[VPCI_STEER_BURST];
        union vpci_key keys[VPCI_STEER_BURST];

        for (int i = 0; i < VPCI_STEER_BURST; i++) {
            uint32_t k = rand_r(&seed) % STRESS_KEYS;

            keys[i] = make_key(k % 8, k);
            known[i] = (struct stress_known) {
                .key = k,
                .inserted = read_count(&s->inserted[k]),
                .removing = read_count(&s->removing[k]),
                .removed = read_count(&s->removed[k]),
            };
        }
        vpci_steer_enter(r);
        vpci_steer_lookup(r, keys, VPCI_STEER_BURST, entries, verdicts);
        for (int i = 0; i < VPCI_STEER_BURST; i++) {
            if (!stress_ok(s, &known[i], entries[i], verdicts[i])) {
                __atomic_add_fetch(&s->n_wrong, 1, __ATOMIC_RELAXED);
            }
            reader->n_found += entries[i] != VPCI_STEER_NONE;
        }
        vpci_steer_leave(r);
    }
    vpci_steer_reader_destroy(r);
    return NULL;
}

static uint32_t
stress_insert(struct stress *s, uint32_t k)
{
    union vpci_key mask = make_mask(16 + k % 8), key = make_key(k % 8, k);
    uint64_t generation = s->inserted[k] + 1;
    uint32_t entry;
    int error;

    do {
        error = vpci_steer_insert(s->t, &mask, &key,
                                  k & 1 ? generation << 32 | k : k, &entry);
    } while (error == ENOSPC);
    bump_count(&s->inserted[k]);
    return entry;
}

static void
stress_write(struct stress *s, uint32_t entries[])
{
    time_t end = time(NULL) + STRESS_SECONDS;
    unsigned int seed = 99;

    while (time(NULL) < end) {
        for (int i = 0; i < 1000; i++) {
            uint32_t k = rand_r(&seed) % STRESS_KEYS | 1;

            if (entries[k] == VPCI_STEER_NONE) {
                entries[k] = stress_insert(s, k);
            } else {
                bump_count(&s->removing[k]);
                vpci_steer_remove(s->t, entries[k]);
                entries[k] = VPCI_STEER_NONE;
                bump_count(&s->removed[k]);
            }
        }
    }
}

static bool
check_stress(void)
{
    static struct stress s;
    static uint32_t entries[STRESS_KEYS];
    struct stress_reader readers[STRESS_READERS];
    pthread_t threads[STRESS_READERS];

    memset(&s, 0, sizeof s);
    s.t = vpci_steer_create(STRESS_KEYS, STRESS_READERS);
    CHECK(s.t);
    for (uint32_t k = 0; k < STRESS_KEYS; k++) {
        entries[k] = k & 1 ? VPCI_STEER_NONE : stress_insert(&s, k);
    }
    for (uint32_t i = 0; i < STRESS_READERS; i++) {
        readers[i] = (struct stress_reader) { .s = &s, .id = i };
        CHECK(!pthread_create(&threads[i], NULL, stress_reader_main,
                              &readers[i]));
    }
    stress_write(&s, entries);
    __atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < STRESS_READERS; i++) {
        pthread_join(threads[i], NULL);
        CHECK(readers[i].n_found);
    }
    CHECK(!s.n_wrong);
    vpci_steer_destroy(s.t);
    return true;
}

static bool
test_readers_beside_writer(void)
{
    vpci_gate_global_init();
    return check_stress();
}

static bool
test_readers_beside_writer_with_fences(void)
{
    vpci_gate_needs_fence = true;
    return check_stress();
}

/* Looks up one packet in a projection. */
static uint32_t
project(struct vpci_projection *p, const union vpci_key *key,
        uint64_t *verdict)
{
    uint32_t entry = VPCI_STEER_NONE;

    do {
        if (vpci_projection_begin(p) < 0) {
            return VPCI_STEER_NONE;
        }
        vpci_projection_lookup(p, key, 1, &entry, verdict);
    } while (!vpci_projection_end(p));
    return entry;
}

static bool
test_projection(void)
{
    enum { N = 500 };
    struct vpci_steer *t = vpci_steer_create(N, 1);
    size_t bytes = vpci_projection_bytes(N);
    void *memory = aligned_alloc(4096, bytes);
    union vpci_key masks[2] = { make_mask(16), make_mask(20) };
    struct vpci_projection *p;
    uint32_t entries[N], generation = 0;
    uint64_t verdict;

    CHECK(t && memory && !(bytes % 4096));
    memset(memory, 0, bytes);
    p = vpci_projection_open(memory, bytes);
    CHECK(p && vpci_projection_begin(p) == -1);
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < N; i++) {
            union vpci_key key = make_key(i % 2, i);

            CHECK(!vpci_steer_insert(t, &masks[i % 2], &key, i + round,
                                     &entries[i]));
        }
        union vpci_key key = make_key(1, 7);
        CHECK(project(p, &key, &verdict) == VPCI_STEER_NONE);
        vpci_projection_publish(t, memory, &generation);
        CHECK(vpci_projection_generation(p) == generation);
        for (uint32_t i = 0; i < N; i++) {
            key = make_key(i % 2, i);
            CHECK(project(p, &key, &verdict) == entries[i]);
            CHECK(verdict == i + round);
        }

        /* Changes are seen when they are published. */
        key = make_key(1, 7);
        vpci_steer_set_verdict(t, entries[7], 1234);
        CHECK(project(p, &key, &verdict) == entries[7] && verdict != 1234);
        vpci_projection_publish(t, memory, &generation);
        CHECK(project(p, &key, &verdict) == entries[7] && verdict == 1234);

        /* Nothing is found after it was revoked, and what was being looked at
         * is worth nothing. */
        CHECK(vpci_projection_begin(p) >= 0);
        vpci_projection_revoke(memory, &generation);
        CHECK(!vpci_projection_end(p) && vpci_projection_begin(p) == -1);
        for (uint32_t i = 0; i < N; i++) {
            vpci_steer_remove(t, entries[i]);
        }
        vpci_projection_publish(t, memory, &generation);
        CHECK(vpci_projection_begin(p) >= 0 && vpci_projection_end(p));
    }

    /* What is no copy. */
    vpci_projection_close(p);
    p = vpci_projection_open(memory, 4096);
    CHECK(p && vpci_projection_begin(p) == -1);
    vpci_projection_close(p);
    memset((uint8_t *) memory + 4096, 0, bytes - 4096);
    p = vpci_projection_open(memory, bytes);
    CHECK(p && vpci_projection_begin(p) == -1);
    vpci_projection_close(p);
    free(memory);
    vpci_steer_destroy(t);
    return true;
}

/* What the table of a switch had that has gone is not found again where it was
 * found last. */
static bool
test_projection_of_another_table(void)
{
    enum { N = 40 };
    size_t bytes = vpci_projection_bytes(N);
    void *memory = aligned_alloc(4096, bytes);
    union vpci_key masks[2] = { make_mask(16), make_mask(20) };
    struct vpci_projection *p;
    uint32_t generation = 0, entry;
    uint64_t verdict;

    CHECK(memory);
    memset(memory, 0, bytes);
    p = vpci_projection_open(memory, bytes);
    CHECK(p);
    for (uint32_t n = N; n > 0; n -= 2) {
        struct vpci_steer *t = vpci_steer_create(N, 1);

        CHECK(t);
        for (uint32_t i = 0; i < n; i++) {
            union vpci_key key = make_key(i % 2, i);

            CHECK(!vpci_steer_insert(t, &masks[i % 2], &key, i, &entry));
        }

        /* There are two copies. */
        vpci_projection_publish(t, memory, &generation);
        vpci_projection_publish(t, memory, &generation);

        /* First what was found last, and that last which will have gone. */
        for (uint32_t i = n + 2; i-- > 0; ) {
            union vpci_key key = make_key(i % 2, i);

            CHECK((project(p, &key, &verdict) != VPCI_STEER_NONE) == (i < n));
        }
        union vpci_key key = make_key(1, n - 1);
        CHECK(project(p, &key, &verdict) != VPCI_STEER_NONE);
        vpci_steer_destroy(t);
    }
    vpci_projection_close(p);
    free(memory);
    return true;
}

/* Tables that follow each other quickly: those of a round all have its number as
 * verdict, and entries of odd numbers are there in odd rounds only. */
struct changing {
    struct vpci_steer *t;
    void *memory;
    bool stop;
    uint32_t rounds;
};

#define N_CHANGING 64

static void *
change_tables(void *c_)
{
    struct changing *c = c_;
    union vpci_key mask = make_mask(16);
    uint32_t generation = 0;

    for (uint64_t round = 0; !__atomic_load_n(&c->stop, __ATOMIC_RELAXED);
         round++) {
        for (uint32_t i = 0; i < N_CHANGING; i++) {
            union vpci_key key = make_key(1, i);
            uint32_t entry = vpci_steer_find(c->t, &mask, &key);
            bool wanted = !(i & 1) || round & 1;

            if (entry != VPCI_STEER_NONE && !wanted) {
                vpci_steer_remove(c->t, entry);
            } else if (entry != VPCI_STEER_NONE) {
                vpci_steer_set_verdict(c->t, entry, round);
            } else if (wanted) {
                vpci_steer_insert(c->t, &mask, &key, round, &entry);
            }
        }
        vpci_projection_publish(c->t, c->memory, &generation);
        c->rounds = round;
    }
    return NULL;
}

/* One look at all of them.  Returns false if they are of different rounds. */
static bool
check_round(struct vpci_projection *p, const union vpci_key keys[],
            uint32_t *n_good)
{
    uint32_t entries[N_CHANGING];
    uint64_t verdicts[N_CHANGING];

    if (vpci_projection_begin(p) < 0) {
        return true;
    }
    for (uint32_t i = 0; i < N_CHANGING; i += VPCI_STEER_BURST) {
        vpci_projection_lookup(p, keys + i, VPCI_STEER_BURST, entries + i,
                               verdicts + i);
    }
    if (!vpci_projection_end(p)) {
        return true;
    }
    ++*n_good;
    for (uint32_t i = 0; i < N_CHANGING; i++) {
        bool wanted = !(i & 1) || verdicts[0] & 1;

        CHECK((entries[i] != VPCI_STEER_NONE) == wanted);
        CHECK(!wanted || verdicts[i] == verdicts[0]);
    }
    return true;
}

static bool
test_projection_changes(void)
{
    enum { MAX_SECONDS = 3, MAX_GOOD = 100000 };
    size_t bytes = vpci_projection_bytes(2 * N_CHANGING);
    struct changing c = {
        .t = vpci_steer_create(2 * N_CHANGING, 1),
        .memory = aligned_alloc(4096, bytes),
    };
    union vpci_key keys[N_CHANGING];
    time_t end = time(NULL) + MAX_SECONDS;
    struct vpci_projection *p;
    uint32_t n_good = 0;
    pthread_t thread;
    bool ok = true;

    CHECK(c.t && c.memory);
    memset(c.memory, 0, bytes);
    for (uint32_t i = 0; i < N_CHANGING; i++) {
        keys[i] = make_key(1, i);
    }
    p = vpci_projection_open(c.memory, bytes);
    CHECK(p && !pthread_create(&thread, NULL, change_tables, &c));
    while (ok && n_good < MAX_GOOD && time(NULL) < end) {
        ok = check_round(p, keys, &n_good);
    }
    __atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(ok && n_good > 10 && c.rounds > 10);
    vpci_projection_close(p);
    free(c.memory);
    vpci_steer_destroy(c.t);
    return true;
}

static const struct unit_test tests[] = {
    { "finds-what-was-inserted", test_finds_what_was_inserted },
    { "one-mask", test_one_mask },
    { "many-masks", test_many_masks },
    { "million", test_million },
    { "masks-are-bounded", test_masks_are_bounded },
    { "readers-keep-what-they-found", test_readers_keep_what_they_found },
    { "counters", test_counters },
    { "depth", test_depth },
    { "readers-beside-writer", test_readers_beside_writer },
    { "readers-beside-writer-with-fences",
      test_readers_beside_writer_with_fences },
    { "projection", test_projection },
    { "projection-of-another-table", test_projection_of_another_table },
    { "projection-changes", test_projection_changes },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
