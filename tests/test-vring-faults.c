/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: drivers that break the rules. */

#include "test-vring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "test-vring-harness.h"

/* Sets the flags of the first descriptor added last (in its table, if there is
 * one) to what they were with 'set' and without 'clear'. */
static void
spoil_flags(struct guest *g, struct vring_driver_desc *d, uint16_t set,
            uint16_t clear)
{
    uint16_t *flags = (d == g->drv->pending_head ? &g->drv->pending_flags
                       : g->drv->packed ? &d->tail.packed_flags
                       : &d->tail.flags);

    *flags = (*flags & ~clear) | set;
}

/* What is wrong.  Each gets a chain of two buffers, of 20 and 80 bytes. */
enum wrong {
    ADDRESS_NOWHERE, ADDRESS_BEFORE, ADDRESS_BEYOND, ADDRESS_WRAPS,
    ADDRESS_TABLE, ADDRESS_TABLE_END, ADDRESS_TABLE_WRAPS,
    LOOP_RING, LOOP_TABLE, LOOP_LONG_TABLE,
    SHORT_ONE, SHORT_SUM,
    ZERO_FIRST, ZERO_TABLE,
    INDEX_AHEAD, INDEX_BACK,
    HEAD_AVAIL, HEAD_NEXT, HEAD_TABLE,
    DIRECTION_FIRST, DIRECTION_SECOND, DIRECTION_TABLE,
    INDIRECT_NESTED, INDIRECT_CHAINED, INDIRECT_EMPTY, INDIRECT_UNALIGNED,
    INDIRECT_REFUSED, INDIRECT_SECOND,
    LENGTH_SUM,
    N_WRONGS
};

static bool
wrong_in_table(enum wrong wrong)
{
    return ((wrong >= ADDRESS_TABLE && wrong <= ADDRESS_TABLE_WRAPS)
            || wrong == LOOP_TABLE || wrong == LOOP_LONG_TABLE
            || wrong == ZERO_TABLE || wrong == HEAD_TABLE
            || wrong == DIRECTION_TABLE
            || (wrong >= INDIRECT_NESTED && wrong <= INDIRECT_REFUSED));
}

static bool
wrong_is_split_only(enum wrong wrong)
{
    return wrong == LOOP_TABLE || (wrong >= INDEX_AHEAD
                                   && wrong <= HEAD_TABLE);
}

/* The chain that was added last. */
struct spoilt {
    struct guest *g;
    struct vring_driver_desc *head;     /* In the ring. */
    struct vring_driver_desc *first;    /* The same, or in the table. */
    struct vring_driver_desc *second;
    bool writable;
};

static struct spoilt
last_chain(struct guest *g, enum wrong wrong, bool writable)
{
    struct vring_driver *drv = g->drv;
    struct vring_driver_desc *first = drv->last_first;
    struct vring_driver_desc *head = drv->last_head;

    return (struct spoilt) {
        .g = g,
        .head = head,
        .first = first,
        .second = (wrong_in_table(wrong) ? first + 1
                   : drv->packed
                   ? &drv->desc[(head - drv->desc + 1) % drv->size]
                   : &drv->desc[head->tail.next]),
        .writable = writable,
    };
}

static void
spoil_address(struct spoilt *c, enum wrong wrong)
{
    uint64_t buf_end = BUFS_ADDR + BUFS_SIZE;

    switch ((int) wrong) {
    case ADDRESS_NOWHERE:
        c->first->addr = 0xdead00000000;
        break;
    case ADDRESS_BEFORE:
        c->first->addr = BUFS_ADDR - 1;
        break;
    case ADDRESS_BEYOND:
        c->first->addr = buf_end - 19;
        break;
    case ADDRESS_WRAPS:
        c->first->addr = UINT64_MAX - 5;
        break;
    case ADDRESS_TABLE:
        c->head->addr = 0xdead00000000;
        break;
    case ADDRESS_TABLE_END:
        memcpy(guest_byte(c->g, buf_end - 31), c->first, 31);
        c->head->addr = buf_end - 31;
        break;
    case ADDRESS_TABLE_WRAPS:
        c->head->addr = UINT64_MAX - 16;
        break;
    default:
        abort();
    }
}

static void
spoil_loop(struct spoilt *c, enum wrong wrong)
{
    struct vring_driver *drv = c->g->drv;

    switch ((int) wrong) {
    case LOOP_RING:
        /* In a packed ring, a chain that goes on up to the good one. */
        spoil_flags(c->g, c->second, VRING_DESC_NEXT, 0);
        if (drv->packed) {
            for (int i = 2; i < drv->size - 2; i++) {
                drv->desc[(c->head - drv->desc + i) % drv->size] = *c->second;
            }
        } else {
            c->second->tail.next = c->first - drv->desc;
        }
        break;
    case LOOP_TABLE:
        spoil_flags(c->g, c->second, VRING_DESC_NEXT, 0);
        c->second->tail.next = 0;
        break;
    case LOOP_LONG_TABLE:
        for (int i = 1; i < 1025; i++) {
            c->first[i] = c->first[0];
            c->first[i].tail.next = i + 1;
        }
        c->head->len = 1025 * 16;
        break;
    default:
        abort();
    }
}

static void
spoil_length(struct spoilt *c, enum wrong wrong)
{
    switch ((int) wrong) {
    case SHORT_ONE:
        spoil_flags(c->g, c->first, 0, VRING_DESC_NEXT);
        c->first->len = c->g->hdr_len - 1;
        c->first->tail.id = c->g->drv->packed ? 0 : c->first->tail.id;
        break;
    case SHORT_SUM:
        c->first->len = 5;
        c->second->len = c->g->hdr_len - 6;
        break;
    case ZERO_FIRST:
    case ZERO_TABLE:
        c->first->len = 0;
        break;
    case LENGTH_SUM:
        c->first->addr = c->second->addr = UINT64_C(1) << 40;
        c->first->len = c->second->len = UINT32_C(3) << 30;
        break;
    default:
        abort();
    }
}

static void
spoil_index(struct spoilt *c, enum wrong wrong)
{
    struct vring_driver *drv = c->g->drv;

    switch ((int) wrong) {
    case INDEX_AHEAD:
        drv->avail_pos += drv->size;
        break;
    case INDEX_BACK:
        drv->avail_pos -= 3;
        break;
    case HEAD_AVAIL:
        drv->avail->ring[(drv->avail_pos - 1) & (drv->size - 1)] = drv->size;
        break;
    case HEAD_NEXT:
        c->first->tail.next = drv->size;
        break;
    case HEAD_TABLE:
        c->first->tail.next = 2;
        break;
    default:
        abort();
    }
}

static void
spoil_direction(struct spoilt *c, enum wrong wrong)
{
    spoil_flags(c->g, wrong == DIRECTION_SECOND ? c->second : c->first,
                c->writable ? 0 : VRING_DESC_WRITE,
                c->writable ? VRING_DESC_WRITE : 0);
}

static void
spoil_indirect(struct spoilt *c, enum wrong wrong)
{
    struct vring_driver *drv = c->g->drv;

    switch ((int) wrong) {
    case INDIRECT_NESTED:
        spoil_flags(c->g, c->second, VRING_DESC_INDIRECT, 0);
        break;
    case INDIRECT_CHAINED:
        spoil_flags(c->g, c->head, VRING_DESC_NEXT, 0);
        break;
    case INDIRECT_EMPTY:
        c->head->len = 0;
        break;
    case INDIRECT_UNALIGNED:
        c->head->len = 33;
        break;
    case INDIRECT_REFUSED:
        break;
    case INDIRECT_SECOND:
        /* Split rings may end a direct chain in a table; then what lies in
         * the table is nonsense. */
        spoil_flags(c->g, c->second, VRING_DESC_INDIRECT, 0);
        if (drv->packed) {
            struct vring_driver_desc *table = drv->indirect;

            table[0] = *c->second;
            table[0].tail.packed_flags = c->writable ? VRING_DESC_WRITE : 0;
            c->second->addr = drv->indirect_addr;
            c->second->len = sizeof *table;
        } else {
            c->second->len = 40;
        }
        break;
    default:
        abort();
    }
}

/* Who spoils a chain, and the fault that is due. */
static const struct {
    void (*spoil)(struct spoilt *, enum wrong);
    enum vpci_fault_kind fault;
} wrongs[N_WRONGS] = {
    [ADDRESS_NOWHERE ... ADDRESS_TABLE_WRAPS]
        = { spoil_address, VPCI_FAULT_ADDRESS },
    [LOOP_RING ... LOOP_LONG_TABLE] = { spoil_loop, VPCI_FAULT_LOOP },
    [SHORT_ONE ... SHORT_SUM] = { spoil_length, VPCI_FAULT_SHORT },
    [ZERO_FIRST ... ZERO_TABLE] = { spoil_length, VPCI_FAULT_ZERO },
    [INDEX_AHEAD ... INDEX_BACK] = { spoil_index, VPCI_FAULT_INDEX },
    [HEAD_AVAIL ... HEAD_TABLE] = { spoil_index, VPCI_FAULT_HEAD },
    [DIRECTION_FIRST ... DIRECTION_TABLE]
        = { spoil_direction, VPCI_FAULT_DIRECTION },
    [INDIRECT_NESTED ... INDIRECT_SECOND]
        = { spoil_indirect, VPCI_FAULT_INDIRECT },
    [LENGTH_SUM] = { spoil_length, VPCI_FAULT_LENGTH },
};

/* Spoils the chain that was added last.  Returns the fault that is due. */
static enum vpci_fault_kind
spoil(struct guest *g, enum wrong wrong, bool writable)
{
    struct spoilt c = last_chain(g, wrong, writable);

    wrongs[wrong].spoil(&c, wrong);
    return wrongs[wrong].fault;
}

/* Adds a good chain for the frame 'seed'. */
static void
add_good(struct guest *g, uint32_t seed, bool writable)
{
    const uint32_t lens[] = { 20, 80 };

    CHECK((writable ? guest_post(g, lens, 2, false)
           : guest_send(g, seed, lens, 2, false)) >= 0);
}

/* Uses up to 'n' good chains.  Returns the number that was there. */
static unsigned int
use_good(struct guest *g, uint32_t seed, unsigned int n, bool writable)
{
    /* The first one needs both descriptors of a chain; the next one needs more
     * than there are, so that all of a chain is looked at. */
    uint32_t lens[] = { 60, 30000, 60 };
    struct vpci_pkt pkts[3];
    uint8_t fates[3];

    if (writable) {
        return guest_push(g, seed, lens, n, fates);
    }
    n = vpci_vring_peek(g->vr, pkts, n);
    vpci_vring_release(g->vr, n);
    return n;
}

static void
run_malformed(uint64_t features, enum wrong wrong, bool writable)
{
    bool in_table = wrong_in_table(wrong);
    const uint32_t lens[] = { 20, 80 };
    struct vring_driver_reaped reaped;
    enum vpci_fault_kind kind;
    char text[256];
    struct guest g;
    void *huge;

    if (wrong != INDIRECT_REFUSED) {
        features |= VRING_F_INDIRECT;
    }
    guest_init_stopped(&g, features, 16, 13, true);
    snprintf(combination + strlen(combination),
             sizeof combination - strlen(combination), " case %d%s", wrong,
             writable ? " writable" : "");
    huge = mmap(NULL, UINT64_C(4) << 30, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(huge != MAP_FAILED);
    CHECK(!vpci_memory_add(&g.mem, UINT64_C(1) << 40, UINT64_C(4) << 30,
                           huge));

    /* What goes beyond the last address does not go on at the first one. */
    CHECK(!vpci_memory_add(&g.mem, UINT64_MAX - 63, 64, g.host[BUFS1]));
    CHECK(!vpci_memory_add(&g.mem, 0, 64, g.host[BUFS1] + 64));
    guest_start(&g);

    /* What is good before it is used, what comes after is not. */
    add_good(&g, 1, writable);
    CHECK((writable ? guest_post(&g, lens, 2, in_table)
           : guest_send(&g, 2, lens, 2, in_table)) >= 0);
    kind = spoil(&g, wrong, writable);
    vring_driver_publish(g.drv);
    if (kind == VPCI_FAULT_INDEX) {
        CHECK(use_good(&g, 1, 3, writable) == 0);
    } else {
        CHECK(use_good(&g, 1, 3, writable) == 1);
        CHECK(vring_driver_reap(g.drv, &reaped, 1) == 1);
    }
    for (int i = 0; i < 3; i++) {
        CHECK(use_good(&g, 2, 3, writable) == 0);
        CHECK(g.n_faults == 1);
        CHECK(g.fault.kind == kind && g.fault.ring == 5);
        CHECK(vpci_vring_fault(g.vr) == kind);
    }
    if (wrong == ZERO_FIRST) {
        /* A driver that mends its ring does not heal it. */
        g.drv->last_first->len = 20;
        CHECK(use_good(&g, 2, 3, writable) == 0);
    }
    CHECK(strlen(vpci_fault_format(&g.fault, text, sizeof text)) > 20);
    CHECK(strstr(text, vpci_fault_to_string(kind)));
    CHECK(strlen(vpci_fault_format(&g.fault, text, 8)) == 7);

    /* A new start heals it. */
    vpci_vring_stop(g.vr, NULL);
    CHECK(vpci_vring_fault(g.vr) == kind);
    vring_driver_reset(g.drv, 13, true);
    guest_start(&g);
    CHECK(vpci_vring_fault(g.vr) == VPCI_FAULT_NONE);
    add_good(&g, 3, writable);
    vring_driver_publish(g.drv);
    CHECK(use_good(&g, 3, 1, writable) == 1);
    CHECK(vring_driver_reap(g.drv, &reaped, 1) == 1);
    CHECK(g.n_faults == 1);
    guest_destroy(&g);
    munmap(huge, UINT64_C(4) << 30);
}

void
test_malformed(void)
{
    for (enum wrong wrong = 0; wrong < N_WRONGS; wrong++) {
        for (int writable = 0; writable < 2; writable++) {
            if (wrong == LENGTH_SUM && writable) {
                /* What no frame needs is not looked at. */
                continue;
            }
            run_malformed(0, wrong, writable);
            run_malformed(MODERN | F_MERGEABLE, wrong, writable);
            if (!wrong_is_split_only(wrong)) {
                run_malformed(MODERN | VRING_F_PACKED, wrong, writable);
            }
        }
    }
}

/* What only looks wrong
 * ===================== */

static void
run_odd_but_legal(struct guest *g)
{
    const uint32_t lens[] = { 20, 30, 40 };
    struct vring_driver_desc *table;

    /* WRITE means nothing in the descriptor of a table. */
    CHECK(guest_send(g, 1, lens, 3, true) >= 0);
    spoil_flags(g, g->drv->last_head, VRING_DESC_WRITE, 0);
    vring_driver_publish(g->drv);
    check_take(g, 1, 90 - g->hdr_len);

    CHECK(guest_send(g, 2, lens, 3, true) >= 0);
    table = g->drv->last_first;
    if (g->drv->packed) {
        /* NEXT means nothing inside a table. */
        spoil_flags(g, &table[0], VRING_DESC_NEXT, 0);
        spoil_flags(g, &table[2], VRING_DESC_NEXT, 0);
    } else {
        /* A table's chain may go anywhere in the table. */
        struct vring_driver_desc second = table[1];

        table[7] = second;
        table[1].len = 0;
        table[0].tail.next = 7;
        g->drv->last_head->len = 8 * 16;
    }
    vring_driver_publish(g->drv);
    check_take(g, 2, 90 - g->hdr_len);

    /* A direct descriptor, then a table. */
    if (!g->drv->packed) {
        struct vring_driver_desc *d;

        CHECK(guest_send(g, 3, lens, 3, false) >= 0);
        d = g->drv->last_head;
        table = (void *) g->host[TABLES];
        table[0] = g->drv->desc[d->tail.next];
        table[1] = g->drv->desc[table[0].tail.next];
        table[0].tail.next = 1;
        d = &g->drv->desc[d->tail.next];
        d->addr = regions[TABLES].addr;
        d->len = 32;
        d->tail.flags = VRING_DESC_INDIRECT;
        vring_driver_publish(g->drv);
        check_take(g, 3, 90 - g->hdr_len);
    }
    CHECK(!g->n_faults);
}

void
test_odd_but_legal(void)
{
    for_both(run_odd_but_legal, VRING_F_INDIRECT, 16);
}
