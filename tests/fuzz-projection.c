/* SPDX-License-Identifier: Apache-2.0 */

/* Fuzzer of those who read projections
 * ====================================
 *
 * The input is a program of what a switch publishes, what somebody else writes
 * into the projection at any moment, also in the middle of a look, and of
 * packets that are looked up.  The projection lies between pages that nobody
 * may touch.
 *
 * As long as nobody else writes, what is found is what was published.
 *
 * So are edits, and packets that they change: those are anybody's. */

#include <string.h>

#include "edit.h"
#include "fuzz.h"
#include "guarded-memory.h"
#include "net-look.h"
#include "steer-private.h"
#include "vpci/layout.h"

#define MAX_ENTRIES 64
#define N_FLOWS 12
#define LEN 64

/* Behind the generation, each at a page: vpci/projection.h. */
#define COPY_OFS 4096

struct fuzz {
    uint8_t *memory;
    size_t bytes;
    uint8_t *base;              /* Of a base region: the words of the port. */
    struct vpci_abi_edits *edits; /* The same, of one place. */
    struct vpci_steer *table;
    uint32_t generation;
    struct net_look look;
    uint64_t verdicts[N_FLOWS]; /* As published; 0: no such flow. */
    bool revoked;               /* Nothing is published now. */
    bool dirty;                 /* Somebody else has written. */
};

/* Where copy 'i' is. */
static uint8_t *
copy_of(const struct fuzz *f, unsigned int i)
{
    return f->memory + COPY_OFS + i * steer_copy_bytes(MAX_ENTRIES);
}

/* Packets of 'flow'.  Half of the flows are of UDP over IPv4. */
static void
make_packet(uint8_t *data, uint8_t flow)
{
    static const uint8_t ip[] = {
        0x45, 0, 0, LEN - 14, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1,
        10, 0, 0, 2, 0, 1, 0, 2, 0, LEN - 34, 0, 0,
    };

    memset(data, 0, LEN);
    data[0] = 2;
    data[5] = flow;
    data[6] = 2;
    data[12] = flow & 1 ? 0x08 : 0x88;
    data[13] = flow & 1 ? 0x00 : 0xb5;
    if (flow & 1) {
        memcpy(data + 14, ip, sizeof ip);
        data[14 + 21] = flow;
    }
}

/* Each fourth flow has a mask of its own. */
static void
make_entry(uint8_t flow, union vpci_key *mask, union vpci_key *key)
{
    uint8_t data[LEN];

    make_packet(data, flow);
    check(vpci_key_parse(data, LEN, LEN, 2, VPCI_DEPTH_L4, key), "no key");
    memset(mask, 0, sizeof *mask);
    memset(mask->eth_dst, 0xff, sizeof mask->eth_dst);
    mask->eth_type = UINT16_MAX;
    mask->kind = VPCI_KEY_FRAG_ANY | VPCI_KEY_FRAG_LATER;
    if (flow % 4 == 1) {
        mask->ip_src[0] = flow;
        mask->ip_proto = 0xff;
    } else if (flow % 4 == 3) {
        memset(mask, 0xff, sizeof *mask);
    }
}

/* What the switch does. */

static void
set_flow(struct fuzz *f, uint8_t flow, uint64_t verdict)
{
    union vpci_key mask, key;
    uint32_t entry;

    make_entry(flow, &mask, &key);
    entry = vpci_steer_find(f->table, &mask, &key);
    if (!verdict) {
        if (entry != VPCI_STEER_NONE) {
            vpci_steer_remove(f->table, entry);
        }
    } else if (entry != VPCI_STEER_NONE) {
        vpci_steer_set_verdict(f->table, entry, verdict);
    } else {
        check(!vpci_steer_insert(f->table, &mask, &key, verdict, &entry),
              "no room for a flow");
    }
    f->verdicts[flow] = verdict;
}

static void
open_look(struct fuzz *f)
{
    check(net_look_init(&f->look, f->memory, f->bytes, f->base),
          "out of memory");
}

/* If somebody else has written, the switch and the guest begin anew. */
static void
publish(struct fuzz *f, struct input *in)
{
    uint8_t n = get_u8(in) % 4;

    while (n--) {
        set_flow(f, get_u8(in) % N_FLOWS, get_u8(in));
    }
    if (f->dirty) {
        net_look_uninit(&f->look);
        memset(f->memory, 0, f->bytes);
        open_look(f);
        f->dirty = false;
    }
    vpci_projection_publish(f->table, f->memory, &f->generation);
    f->revoked = false;
}

/* What somebody else writes. */

static void
lie_in_header(struct fuzz *f, struct input *in)
{
    struct steer_hdr *h = (void *) copy_of(f, f->generation & 1);
    uint32_t *generation = (void *) f->memory;
    uint8_t which = get_u8(in);
    uint32_t word = get_likely(in);
    uint32_t *words[] = {
        &h->max_entries, &h->max_log2, &h->log2, &h->moves, &h->n_masks,
        &h->depth, (uint32_t *) &h->buckets_ofs, (uint32_t *) &h->entries_ofs,
        (uint32_t *) &h->counters_ofs, (uint32_t *) &h->size,
        (uint32_t *) &h->seed, &generation[0], &generation[1],
    };

    *words[which % (sizeof words / sizeof *words)] = word;
}

static void
lie_in_mask(struct fuzz *f, struct input *in)
{
    struct steer_hdr *h = (void *) copy_of(f, f->generation & 1);
    uint8_t which = get_u8(in), word = get_likely(in);
    struct steer_mask *m = &h->masks[which % 4];

    switch (which >> 6) {
    case 0:
        m->n_words = word;
        break;
    case 1:
        m->words[(which >> 2) % VPCI_KEY_WORDS] = word;
        break;
    case 2:
        m->depth = word;
        break;
    case 3:
    default:
        m->n_entries = word;
        break;
    }
}

/* Buckets and entries are few, at the beginning of where they are. */
static void
lie_in_tables(struct fuzz *f, struct input *in)
{
    uint8_t *copy = copy_of(f, f->generation & 1), which = get_u8(in);
    const struct steer_hdr *h = f->table->hdr;
    uint32_t word = get_likely(in);

    if (which & 1) {
        struct steer_bucket *b
            = (void *) (copy + ((uint8_t *) steer_buckets(h, h->log2)
                                - (uint8_t *) h));

        b[which >> 1 & 3].entries[which >> 3 & 7] = word;
    } else {
        struct steer_entry *e = (void *) (copy + h->entries_ofs);

        e += (which >> 3) % N_FLOWS;
        if (which & 2) {
            e->mask = word;
        } else if (which & 4) {
            e->seq = word;
        } else {
            e->verdict = word;
        }
    }
}

static void
write_bytes(struct fuzz *f, struct input *in)
{
    uint8_t n = get_u8(in) & 15;
    size_t ofs = get_u32(in);

    for (; n; n--) {
        f->memory[ofs++ % f->bytes] = get_u8(in);
    }
}

static void
lie(struct fuzz *f, struct input *in)
{
    uint8_t n = get_u8(in);

    f->dirty = true;
    vpci_store32(&vpci_layout_port(f->base)->max_vlans, get_likely(in));
    for (unsigned int i = 0; i < n >> 4; i++) {
        switch (get_u8(in) & 3) {
        case 0:
            lie_in_header(f, in);
            break;
        case 1:
            lie_in_mask(f, in);
            break;
        case 2:
            lie_in_tables(f, in);
            break;
        case 3:
        default:
            write_bytes(f, in);
            break;
        }
    }
}

/* Looks. */

/* True if packets of 'flow' have, or may have, this verdict. */
static bool
is_right(const struct fuzz *f, uint8_t flow, uint64_t verdict)
{
    return f->dirty || verdict == (f->revoked ? 0 : f->verdicts[flow]);
}

/* Packet 'i', of flow 'flow', has this answer. */
static void
check_answer(const struct fuzz *f, unsigned int i, uint8_t flow)
{
    const struct net_look *look = &f->look;

    if (look->entries[i] == VPCI_STEER_NONE) {
        check(!look->verdicts[i], "a verdict of no entry");
    } else {
        check(look->entries[i] < MAX_ENTRIES, "an entry that cannot be");
    }
    check(is_right(f, flow, look->verdicts[i]),
          "not the verdict that was published");
}

/* A look at up to 32 packets, in memory of their size, of which some have been
 * cut.  Somebody else writes meanwhile. */
static void
fuzz_look(struct fuzz *f, struct input *in)
{
    uint8_t n = get_u8(in) % VPCI_STEER_BURST + 1, when = get_u8(in);
    struct vpci_ring_buf bufs[VPCI_STEER_BURST];
    uint8_t flows[VPCI_STEER_BURST], *data = malloc(n * LEN);
    unsigned int n_plain;
    uint64_t bytes;

    check(data != NULL, "out of memory");
    for (unsigned int i = 0; i < n; i++) {
        flows[i] = get_u8(in) % N_FLOWS;
        bufs[i] = (struct vpci_ring_buf) { .data = &data[i * LEN],
                                           .size = LEN, .len = LEN };
        make_packet(bufs[i].data, flows[i]);
    }
    if ((when & 3) == 0) {
        lie(f, in);
    }
    net_look_begin(&f->look);
    if ((when & 12) == 0) {
        lie(f, in);
    }
    n_plain = net_look_count_plain(&f->look, bufs, n, LEN, true, &bytes);
    check(n_plain <= n && bytes == n_plain * LEN, "too many packets");
    for (unsigned int i = 0; i < n_plain; i++) {
        check(is_right(f, flows[i], f->look.plain.verdict),
              "not the verdict of the plain entry");
    }
    net_look_up(&f->look, bufs, n_plain, n, true);
    for (unsigned int i = n_plain; i < n; i++) {
        check_answer(f, i, flows[i]);
    }
    check(net_look_end(&f->look) || f->dirty, "a look that is worth nothing");
    free(data);
}

/* Packets that were made by somebody else as well. */
static void
fuzz_garbage(struct fuzz *f, struct input *in)
{
    uint8_t len = get_u8(in) % 128, *data = malloc(len + !len);
    struct vpci_ring_buf buf = { .data = data, .size = len,
                                 .len = len + get_u8(in) };

    check(data != NULL, "out of memory");
    for (unsigned int i = 0; i < len; i++) {
        data[i] = get_u8(in);
    }
    net_look_begin(&f->look);
    net_look_up(&f->look, &buf, 0, 1, true);
    check(f->look.entries[0] == VPCI_STEER_NONE
          || f->look.entries[0] < MAX_ENTRIES, "an entry that cannot be");
    net_look_end(&f->look);
    free(data);
}

/* Writes edits of kinds that there are, and now and then anything. */
static void
make_edits(struct vpci_abi_edits *edits, struct input *in)
{
    uint8_t n = get_u8(in);

    memset(edits, 0, sizeof *edits);
    edits->n = n & 15;
    for (unsigned int i = 0; i < (n & 7); i++) {
        struct vpci_abi_edit *e = &edits->edits[i];

        e->kind = get_u8(in) % 10;
        if (e->kind == VPCI_ABI_EDIT_PUSH) {
            e->value[0] = 0x81;
        }
        for (uint8_t left = get_u8(in) & 7; left; left--) {
            uint8_t ofs = get_u8(in) % VPCI_ABI_EDIT_BYTES;

            e->mask[ofs] = get_u8(in);
            e->value[ofs] = get_u8(in) & e->mask[ofs];
        }
    }
    for (n >>= 6; n; n--) {
        ((uint8_t *) edits)[get_u32(in) % sizeof *edits] = get_u8(in);
    }
}

/* Edits, and a packet that is as long as its memory. */
static void
fuzz_edits(struct fuzz *f, struct input *in)
{
    uint8_t len = get_u8(in), *data;
    struct vpci_edits edits;

    make_edits(f->edits, in);
    if (!vpci_edits_read(&edits, f->edits)) {
        return;
    }
    check(edits.growth >= -VPCI_EDITS_ROOM && edits.growth <= VPCI_EDITS_ROOM,
          "packets become too long or too short");
    data = malloc(len + (edits.growth > 0 ? edits.growth : 0) + !len);
    check(data != NULL, "out of memory");
    for (unsigned int i = 0; i < len; i++) {
        data[i] = get_u8(in);
    }
    if (len >= LEN && data[0] & 1) {
        make_packet(data, data[1] % N_FLOWS);
    }
    vpci_edits_apply(&edits, len & 3, data, len);
    free(data);
}

/* Another switch goes on, with flows of its own. */
static void
fuzz_another_switch(struct fuzz *f, struct input *in)
{
    vpci_steer_destroy(f->table);
    f->table = vpci_steer_create(MAX_ENTRIES, 1);
    check(f->table != NULL, "out of memory");
    memset(f->verdicts, 0, sizeof f->verdicts);
    publish(f, in);
}

static void
fuzz_step(struct fuzz *f, struct input *in)
{
    switch (get_u8(in) % 9) {
    case 0:
        publish(f, in);
        break;
    case 1:
        lie(f, in);
        break;
    case 2:
        fuzz_garbage(f, in);
        break;
    case 3:
        vpci_projection_revoke(f->memory, &f->generation);
        f->revoked = true;
        break;
    case 4:
        fuzz_another_switch(f, in);
        break;
    case 8:
        fuzz_edits(f, in);
        break;
    default:
        fuzz_look(f, in);
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct fuzz f;

    memset(&f, 0, sizeof f);
    f.bytes = vpci_projection_bytes(MAX_ENTRIES);
    f.memory = map_guarded(f.bytes);
    f.base = map_guarded(VPCI_ABI_PAGE);
    f.edits = map_guarded(sizeof *f.edits);
    f.table = vpci_steer_create(MAX_ENTRIES, 1);
    check(f.table != NULL, "out of memory");
    open_look(&f);
    publish(&f, &in);
    for (int i = 0; i < 200 && in.left; i++) {
        fuzz_step(&f, &in);
    }
    net_look_uninit(&f.look);
    vpci_steer_destroy(f.table);
    unmap_guarded(f.memory, f.bytes);
    unmap_guarded(f.base, VPCI_ABI_PAGE);
    unmap_guarded(f.edits, sizeof *f.edits);
    return 0;
}
