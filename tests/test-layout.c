/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of where everything is in a region (vpci/layout.h).
 *
 * usage: test-layout [--list | NAME...] */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vpci/layout.h"
#include "unit-test.h"

static const struct vpci_shape base_shape = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 2,
    .n_classes = 4,
    .slots_log2 = 6,
    .data_log2 = 17,
    .n_links = 8,
    .n_entries = 100,
    .n_vectors = 3,
};

/* Marks 'n' bytes at 'p', which lie in the section [begin, end) of 'base' and
 * were not marked yet. */
static bool
mark(uint8_t *marks, uint8_t *base, const void *p_, uint64_t n,
     uint64_t begin, uint64_t end)
{
    uint64_t ofs = (const uint8_t *) p_ - base;

    CHECK(ofs >= begin && n <= end - begin && ofs - begin <= end - begin - n);
    for (uint64_t i = ofs; i < ofs + n; i++) {
        CHECK(!marks[i]);
        marks[i] = 1;
    }
    return true;
}

static bool
mark_ring(const struct vpci_layout *layout, uint8_t *marks, uint8_t *base,
          unsigned int side, uint32_t index)
{
    uint64_t own = layout->sections[VPCI_ABI_SIDE0 + side].offset;
    uint64_t own_end = own + layout->sections[VPCI_ABI_SIDE0 + side].size;
    uint64_t other = layout->sections[VPCI_ABI_SIDE0 + !side].offset;
    uint64_t other_end = other + layout->sections[VPCI_ABI_SIDE0 + !side].size;
    struct vpci_ring_memory m;

    vpci_layout_ring(layout, base, side, index, &m);
    CHECK(!((uintptr_t) m.slots % VPCI_ABI_SLOT_BYTES));
    CHECK(!((uintptr_t) m.data % VPCI_ABI_LINE));
    CHECK(!((uintptr_t) m.producer % VPCI_ABI_LINE));
    CHECK(!((uintptr_t) m.consumer % VPCI_ABI_LINE));
    CHECK(mark(marks, base, m.slots, m.n_slots * sizeof *m.slots, own,
               own_end));
    CHECK(mark(marks, base, m.data, m.data_size, own, own_end));
    CHECK(mark(marks, base, m.producer, sizeof *m.producer, own, own_end));
    CHECK(mark(marks, base, m.consumer, sizeof *m.consumer, other,
               other_end));
    return true;
}

/* What there is for links. */
static bool
mark_links(const struct vpci_layout *layout, uint8_t *marks, uint8_t *base)
{
    uint64_t control = layout->sections[VPCI_ABI_CONTROL].size;
    uint64_t guest = layout->sections[VPCI_ABI_SIDE1].offset;
    uint64_t end = guest + layout->sections[VPCI_ABI_SIDE1].size;
    size_t bytes = vpci_layout_projection_bytes(layout);

    CHECK(mark(marks, base, vpci_layout_hints(layout, base), bytes, 0,
               control));
    for (uint32_t i = 0; i < layout->shape.n_links; i++) {
        uint8_t *acceptances = vpci_layout_acceptances(layout, base, i);

        CHECK(!((uintptr_t) acceptances % VPCI_ABI_PAGE));
        CHECK(mark(marks, base, acceptances, bytes, 0, control));
        CHECK(mark(marks, base, vpci_layout_link(layout, base, i),
                   sizeof(struct vpci_abi_link), 0, control));
    }
    for (uint32_t i = 0; i < layout->shape.n_entries; i++) {
        struct vpci_abi_edits *edits = vpci_layout_edits(layout, base, i);

        CHECK(!((uintptr_t) edits % VPCI_ABI_LINE));
        CHECK(mark(marks, base, edits, sizeof *edits, 0, control));
    }
    for (uint32_t q = 0; q < layout->shape.n_queues; q++) {
        CHECK(mark(marks, base, vpci_layout_queue(layout, base, q),
                   sizeof(struct vpci_abi_queue), guest, end));
        for (uint32_t i = 0; i < layout->shape.n_links; i++) {
            CHECK(mark(marks, base, vpci_layout_link_count(layout, base, q, i),
                       sizeof(struct vpci_abi_link_count), guest, end));
        }
        for (uint32_t i = 0; i < layout->shape.n_entries; i++) {
            CHECK(mark(marks, base, vpci_layout_flow_count(layout, base, q, i),
                       sizeof(struct vpci_abi_flow_count), guest, end));
        }
    }
    return true;
}

static bool
mark_peer(const struct vpci_layout *layout, uint8_t *marks, uint8_t *base)
{
    uint64_t guest = layout->sections[VPCI_ABI_SIDE1].offset;

    CHECK(vpci_layout_peer_place(layout) == layout->shape.n_links - 1);
    CHECK(mark(marks, base, vpci_layout_peer(layout, base),
               sizeof(struct vpci_abi_peer), 0,
               layout->sections[VPCI_ABI_CONTROL].size));
    CHECK(mark(marks, base, vpci_layout_peer_words(layout, base),
               sizeof(struct vpci_abi_peer_words), guest,
               guest + layout->sections[VPCI_ABI_SIDE1].size));
    return true;
}

/* Nothing overlaps, and each side's things are in its own section. */
static bool
is_apart(const struct vpci_shape *shape)
{
    struct vpci_layout_report report;
    struct vpci_layout layout;
    uint8_t *base, *marks;

    CHECK(vpci_layout_init(&layout, shape, &report));
    CHECK(!(layout.size & (layout.size - 1)));
    base = aligned_alloc(VPCI_ABI_PAGE, layout.size);
    marks = calloc(1, layout.size);
    CHECK(base && marks);
    for (int i = 0; i < VPCI_ABI_N_SECTIONS; i++) {
        CHECK(!(layout.sections[i].offset % VPCI_ABI_PAGE));
        CHECK(!(layout.sections[i].size % VPCI_ABI_PAGE));
        CHECK(layout.sections[i].offset + layout.sections[i].size
              <= (i + 1 < VPCI_ABI_N_SECTIONS ? layout.sections[i + 1].offset
                                              : layout.size));
    }
    CHECK(mark(marks, base, base, sizeof(struct vpci_abi_header), 0,
               layout.sections[VPCI_ABI_CONTROL].size));
    if (vpci_layout_is_base(shape->kind)) {
        CHECK(mark(marks, base, vpci_layout_port(base),
                   sizeof(struct vpci_abi_port), 0,
                   layout.sections[VPCI_ABI_CONTROL].size));
        CHECK(mark_ring(&layout, marks, base, 0, VPCI_LAYOUT_CALLS));
        CHECK(mark_ring(&layout, marks, base, 1, VPCI_LAYOUT_CALLS));
        CHECK(!shape->n_links || mark_links(&layout, marks, base));
    }
    CHECK(shape->kind != VPCI_ABI_BASE_PEER
          || mark_peer(&layout, marks, base));
    for (int i = 0; i < 2; i++) {
        uint64_t begin = layout.sections[VPCI_ABI_SIDE0 + i].offset;

        CHECK(mark(marks, base, vpci_layout_state(&layout, base, i),
                   VPCI_ABI_PAGE, begin,
                   begin + layout.sections[VPCI_ABI_SIDE0 + i].size));
    }
    for (uint32_t i = 0; i < layout.n_rings; i++) {
        CHECK(vpci_layout_vector(&layout, i) < shape->n_vectors);
        CHECK(mark_ring(&layout, marks, base, 0, i));
        CHECK(mark_ring(&layout, marks, base, 1, i));
    }
    free(base);
    free(marks);
    return true;
}

static bool
run_apart(void)
{
    struct vpci_shape shape = base_shape;

    CHECK(is_apart(&shape));
    shape.kind = VPCI_ABI_BASE_PEER;
    CHECK(is_apart(&shape));
    shape.kind = VPCI_ABI_LINK;
    shape.n_links = shape.n_entries = 0;
    CHECK(is_apart(&shape));
    shape.n_queues = 4;
    shape.n_classes = 8;
    CHECK(is_apart(&shape));
    shape.n_queues = shape.n_classes = 1;
    shape.slots_log2 = 12;
    shape.data_log2 = 22;
    CHECK(is_apart(&shape));
    return true;
}

/* With 'fault', one number of a shape is the first that is too small, or too
 * large. */
static bool
is_refused(struct vpci_shape shape, enum vpci_layout_fault fault,
           const char *text)
{
    struct vpci_layout_report report = { .fault = VPCI_LAYOUT_OK };
    struct vpci_layout layout;
    char buf[100];

    CHECK(!vpci_layout_init(&layout, &shape, &report));
    CHECK(report.fault == fault);
    vpci_layout_format(&report, buf, sizeof buf);
    if (strcmp(buf, text)) {
        fprintf(stderr, "%s\n", buf);
    }
    CHECK(!strcmp(buf, text));
    return true;
}

#define REFUSED(FIELD, VALUE, FAULT, TEXT)                              \
    do {                                                                \
        struct vpci_shape s_ = base_shape;                              \
                                                                        \
        s_.FIELD = VALUE;                                               \
        CHECK(is_refused(s_, FAULT, TEXT));                             \
    } while (0)

static bool
run_shapes(void)
{
    struct vpci_shape shape = base_shape;

    REFUSED(kind, 0, VPCI_LAYOUT_KIND,
            "kind of region is 0, but 1 to 3 are possible");
    REFUSED(kind, 4, VPCI_LAYOUT_KIND,
            "kind of region is 4, but 1 to 3 are possible");
    REFUSED(n_queues, 0, VPCI_LAYOUT_QUEUES,
            "number of queues is 0, but 1 to 16 are possible");
    REFUSED(n_queues, 17, VPCI_LAYOUT_QUEUES,
            "number of queues is 17, but 1 to 16 are possible");
    REFUSED(n_queues, 16, VPCI_LAYOUT_RINGS,
            "number of queues times classes is 64, but 1 to 32 are possible");
    REFUSED(n_classes, 9, VPCI_LAYOUT_CLASSES,
            "number of classes is 9, but 1 to 8 are possible");
    REFUSED(slots_log2, 3, VPCI_LAYOUT_SLOTS,
            "binary logarithm of slots is 3, but 4 to 12 are possible");
    REFUSED(slots_log2, UINT32_MAX, VPCI_LAYOUT_SLOTS,
            "binary logarithm of slots is 4294967295, but 4 to 12 are "
            "possible");
    REFUSED(data_log2, 23, VPCI_LAYOUT_DATA,
            "binary logarithm of the data area's size is 23, but 17 to 22 are "
            "possible");
    REFUSED(n_links, 65, VPCI_LAYOUT_LINKS,
            "number of links is 65, but 0 to 64 are possible");
    REFUSED(n_entries, 4097, VPCI_LAYOUT_ENTRIES,
            "number of entries is 4097, but 1 to 4096 are possible");
    REFUSED(n_vectors, 0, VPCI_LAYOUT_VECTORS,
            "number of vectors is 0, but 1 to 32 are possible");
    REFUSED(kind, VPCI_ABI_LINK, VPCI_LAYOUT_LINKS,
            "number of links is 8, but should be 0");

    shape.kind = VPCI_ABI_BASE_PEER;
    shape.n_links = 0;
    CHECK(is_refused(shape, VPCI_LAYOUT_LINKS,
                     "number of links is 0, but 1 to 64 are possible"));
    return true;
}

/* A header that was written is read; one byte of it that is another makes it
 * another layout, or none. */
static bool
run_headers(void)
{
    struct vpci_layout layout, other;
    struct vpci_layout_report report;
    uint8_t *base;

    CHECK(vpci_layout_init(&layout, &base_shape, &report));
    base = aligned_alloc(VPCI_ABI_PAGE, layout.size);
    CHECK(base);
    memset(base, 0, VPCI_ABI_PAGE);
    CHECK(!vpci_layout_read(&other, base, layout.size, &report));
    CHECK(report.fault == VPCI_LAYOUT_NOT_READY);
    vpci_layout_write(&layout, base, 7);
    CHECK(vpci_layout_read(&other, base, layout.size, &report));
    CHECK(!memcmp(&other, &layout, sizeof layout));
    CHECK(!vpci_layout_read(&other, base, layout.size * 2, &report));
    CHECK(report.fault == VPCI_LAYOUT_SIZE);
    CHECK(!vpci_layout_read(&other, base, 100, &report));
    CHECK(vpci_layout_agrees(&layout, base, 7, &report));
    CHECK(!vpci_layout_agrees(&layout, base, 8, &report));
    CHECK(report.fault == VPCI_LAYOUT_REGION);

    for (size_t i = 0; i < sizeof(struct vpci_abi_header); i++) {
        base[i] ^= 0x40;
        CHECK(!vpci_layout_agrees(&layout, base, 7, &report)
              || i / 2 == offsetof(struct vpci_abi_header, version) / 2);
        if (vpci_layout_read(&other, base, layout.size, &report)) {
            /* What says nothing of places. */
            CHECK(other.size == layout.size);
        }
        base[i] ^= 0x40;
    }
    free(base);
    return true;
}

/* A header of a later version, which we can or cannot use. */
static bool
run_versions(void)
{
    struct vpci_layout layout, other;
    struct vpci_layout_report report;
    struct vpci_abi_header *h;
    char buf[100];

    CHECK(vpci_layout_init(&layout, &base_shape, &report));
    h = aligned_alloc(VPCI_ABI_PAGE, layout.size);
    CHECK(h);
    memset(h, 0, sizeof *h);
    vpci_layout_write(&layout, h, 7);
    h->version = VPCI_LE16(VPCI_ABI_VERSION + 5);
    h->reserved1[3] = 1;
    CHECK(vpci_layout_read(&other, h, layout.size, &report));
    h->version_min = VPCI_LE16(VPCI_ABI_VERSION + 1);
    CHECK(!vpci_layout_read(&other, h, layout.size, &report));
    CHECK(report.fault == VPCI_LAYOUT_VERSION);
    CHECK(!strcmp(vpci_layout_format(&report, buf, sizeof buf),
                  "version is 2, but 0 to 1 are possible"));
    h->version_min = h->version = 0;
    CHECK(!vpci_layout_read(&other, h, layout.size, &report));
    CHECK(report.fault == VPCI_LAYOUT_VERSION);
    free(h);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "apart", run_apart },
        { "shapes", run_shapes },
        { "headers", run_headers },
        { "versions", run_versions },
    };

    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
