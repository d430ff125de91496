/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/layout.h"

#include "vpci/projection.h"

#ifndef __KERNEL__
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#endif

/* The ring of calls is small. */
#define CALL_SLOTS_LOG2 VPCI_ABI_MIN_SLOTS_LOG2
#define CALL_DATA_LOG2 VPCI_ABI_MIN_DATA_LOG2

/* Behind the header, in the control section. */
#define PORT_OFS sizeof(struct vpci_abi_header)

/* Links, in the control section. */
#define LINKS_OFS round_up(PORT_OFS + sizeof(struct vpci_abi_port), \
                           VPCI_ABI_PAGE)

/* At the beginning of each side's section. */
#define STATE_BYTES VPCI_ABI_PAGE

/* Words of a ring that a side produces, and of one that it consumes. */
#define WORDS_BYTES (sizeof(struct vpci_abi_producer) \
                     + sizeof(struct vpci_abi_consumer))

static uint64_t
round_up(uint64_t x, uint64_t unit)
{
    return (x + unit - 1) & -unit;
}

static bool
is_bad(struct vpci_layout_report *report, enum vpci_layout_fault fault,
       uint64_t seen, uint64_t min, uint64_t max)
{
    if (seen >= min && seen <= max) {
        return false;
    }
    *report = (struct vpci_layout_report) {
        .fault = fault, .seen = seen, .min = min, .max = max,
    };
    return true;
}

static bool
shape_is_valid(const struct vpci_shape *s, struct vpci_layout_report *report)
{
    bool base = vpci_layout_is_base(s->kind);
    bool peer = s->kind == VPCI_ABI_BASE_PEER;

    return !(is_bad(report, VPCI_LAYOUT_KIND, s->kind, VPCI_ABI_BASE,
                    VPCI_ABI_BASE_PEER)
             || is_bad(report, VPCI_LAYOUT_QUEUES, s->n_queues, 1,
                       VPCI_ABI_MAX_QUEUES)
             || is_bad(report, VPCI_LAYOUT_CLASSES, s->n_classes, 1,
                       VPCI_ABI_MAX_CLASSES)
             || is_bad(report, VPCI_LAYOUT_RINGS, s->n_queues * s->n_classes,
                       1, VPCI_ABI_MAX_RINGS)
             || is_bad(report, VPCI_LAYOUT_SLOTS, s->slots_log2,
                       VPCI_ABI_MIN_SLOTS_LOG2, VPCI_ABI_MAX_SLOTS_LOG2)
             || is_bad(report, VPCI_LAYOUT_DATA, s->data_log2,
                       VPCI_ABI_MIN_DATA_LOG2, VPCI_ABI_MAX_DATA_LOG2)
             || is_bad(report, VPCI_LAYOUT_LINKS, s->n_links, peer,
                       base ? VPCI_ABI_MAX_LINKS : 0)
             || is_bad(report, VPCI_LAYOUT_ENTRIES, s->n_entries,
                       s->n_links ? 1 : 0,
                       base && s->n_links ? VPCI_ABI_MAX_ENTRIES : 0)
             || is_bad(report, VPCI_LAYOUT_VECTORS, s->n_vectors, 1,
                       VPCI_ABI_MAX_VECTORS));
}

/* Bytes of one ring's slots and data. */
static uint64_t
ring_bytes(uint32_t slots_log2, uint32_t data_log2)
{
    return ((uint64_t) VPCI_ABI_SLOT_BYTES << slots_log2)
           + (UINT64_C(1) << data_log2);
}

static bool
has_calls(const struct vpci_layout *layout)
{
    return vpci_layout_is_base(layout->shape.kind);
}

static bool
has_links(const struct vpci_shape *shape)
{
    return shape->n_links && shape->n_entries;
}

/* The array of links takes whole pages. */
static uint64_t
links_bytes(const struct vpci_shape *shape)
{
    return round_up(shape->n_links * sizeof(struct vpci_abi_link),
                    VPCI_ABI_PAGE);
}

/* Bytes of hints and acceptances together. */
static uint64_t
projections_bytes(const struct vpci_shape *shape)
{
    return ((1 + (uint64_t) shape->n_links)
            * vpci_projection_bytes(shape->n_entries));
}

static uint64_t
edits_bytes(const struct vpci_shape *shape)
{
    return round_up(shape->n_entries * sizeof(struct vpci_abi_edits),
                    VPCI_ABI_PAGE);
}

/* Whole pages. */
static uint64_t
peer_bytes(const struct vpci_shape *shape, size_t size)
{
    return (shape->kind == VPCI_ABI_BASE_PEER
            ? round_up(size, VPCI_ABI_PAGE) : 0);
}

static uint64_t
control_bytes(const struct vpci_shape *shape)
{
    if (!vpci_layout_is_base(shape->kind)) {
        return round_up(PORT_OFS, VPCI_ABI_PAGE);
    }
    return LINKS_OFS + (has_links(shape)
                        ? (links_bytes(shape) + projections_bytes(shape)
                           + edits_bytes(shape))
                        : 0)
           + peer_bytes(shape, sizeof(struct vpci_abi_peer));
}

/* The words of a side's rings take whole pages. */
static uint64_t
words_bytes(const struct vpci_layout *layout)
{
    return round_up((layout->n_rings + has_calls(layout)) * WORDS_BYTES,
                    VPCI_ABI_PAGE);
}

static uint64_t
side_bytes(const struct vpci_layout *layout)
{
    const struct vpci_shape *shape = &layout->shape;
    uint64_t calls = (has_calls(layout)
                      ? ring_bytes(CALL_SLOTS_LOG2, CALL_DATA_LOG2) : 0);

    return round_up(STATE_BYTES + words_bytes(layout)
                    + layout->n_rings * ring_bytes(shape->slots_log2,
                                                   shape->data_log2)
                    + calls, VPCI_ABI_PAGE);
}

/* Bytes of what a guest says of a queue. */
static uint64_t
queue_bytes(const struct vpci_shape *shape)
{
    return round_up(sizeof(struct vpci_abi_queue)
                    + shape->n_links * sizeof(struct vpci_abi_link_count)
                    + shape->n_entries * sizeof(struct vpci_abi_flow_count),
                    VPCI_ABI_PAGE);
}

bool
vpci_layout_init(struct vpci_layout *layout, const struct vpci_shape *shape,
                 struct vpci_layout_report *report)
{
    uint64_t end;

    if (!shape_is_valid(shape, report)) {
        return false;
    }
    memset(layout, 0, sizeof *layout);
    layout->shape = *shape;
    layout->n_rings = shape->n_queues * shape->n_classes;
    layout->sections[VPCI_ABI_CONTROL].offset = 0;
    layout->sections[VPCI_ABI_CONTROL].size = control_bytes(shape);
    end = layout->sections[VPCI_ABI_CONTROL].size;
    for (int i = VPCI_ABI_SIDE0; i <= VPCI_ABI_SIDE1; i++) {
        layout->sections[i].offset = end;
        layout->sections[i].size = side_bytes(layout);
        if (i == VPCI_ABI_SIDE1 && has_links(shape)) {
            layout->sections[i].size
                += (shape->n_queues * queue_bytes(shape)
                    + peer_bytes(shape, sizeof(struct vpci_abi_peer_words)));
        }
        end += layout->sections[i].size;
    }
    for (layout->size = VPCI_ABI_MIN_REGION; layout->size < end; ) {
        layout->size *= 2;
    }
    return !is_bad(report, VPCI_LAYOUT_SIZE, end, 0, VPCI_ABI_MAX_REGION);
}

void
vpci_layout_put_shape(const struct vpci_shape *shape,
                      struct vpci_abi_shape *shared)
{
    vpci_store32(&shared->kind, shape->kind);
    vpci_store32(&shared->n_queues, shape->n_queues);
    vpci_store32(&shared->n_classes, shape->n_classes);
    vpci_store32(&shared->slots_log2, shape->slots_log2);
    vpci_store32(&shared->data_log2, shape->data_log2);
    vpci_store32(&shared->n_links, shape->n_links);
    vpci_store32(&shared->n_entries, shape->n_entries);
    vpci_store32(&shared->n_vectors, shape->n_vectors);
}

void
vpci_layout_get_shape(const struct vpci_abi_shape *shared,
                      struct vpci_shape *shape)
{
    uint32_t kind = vpci_load32(&shared->kind);

    shape->kind = (enum vpci_abi_kind) kind;
    shape->n_queues = vpci_load32(&shared->n_queues);
    shape->n_classes = vpci_load32(&shared->n_classes);
    shape->slots_log2 = vpci_load32(&shared->slots_log2);
    shape->data_log2 = vpci_load32(&shared->data_log2);
    shape->n_links = vpci_load32(&shared->n_links);
    shape->n_entries = vpci_load32(&shared->n_entries);
    shape->n_vectors = vpci_load32(&shared->n_vectors);
}

static void
make_header(const struct vpci_layout *layout, uint32_t region_id,
            struct vpci_abi_header *h)
{
    memset(h, 0, sizeof *h);
    h->version = VPCI_LE16(VPCI_ABI_VERSION);
    h->version_min = VPCI_LE16(VPCI_ABI_VERSION_MIN);
    h->header_size = VPCI_LE32((uint32_t) sizeof *h);
    h->size = VPCI_LE64(layout->size);
    h->region_id = VPCI_LE32(region_id);
    vpci_layout_put_shape(&layout->shape, &h->shape);
    for (int i = 0; i < VPCI_ABI_N_SECTIONS; i++) {
        h->sections[i].offset = VPCI_LE64(layout->sections[i].offset);
        h->sections[i].size = VPCI_LE64(layout->sections[i].size);
    }
}

void
vpci_layout_write(const struct vpci_layout *layout, void *base,
                  uint32_t region_id)
{
    const size_t ofs = offsetof(struct vpci_abi_header, version);
    struct vpci_abi_header h, *shared = base;

    make_header(layout, region_id, &h);
    memcpy((uint8_t *) shared + ofs, (const uint8_t *) &h + ofs,
           sizeof h - ofs);

    /* (G) pairs with (H) in read_header(). */
    vpci_store64_release(&shared->magic, VPCI_ABI_MAGIC);
}

/* Copies the header at 'base', once. */
static bool
read_header(const void *base, struct vpci_abi_header *h,
            struct vpci_layout_report *report)
{
    const struct vpci_abi_header *shared = base;
    uint64_t magic = vpci_load64_acquire(&shared->magic); /* (H) */

    memcpy(h, base, sizeof *h);
    return !(is_bad(report, magic ? VPCI_LAYOUT_MAGIC : VPCI_LAYOUT_NOT_READY,
                    magic, VPCI_ABI_MAGIC, VPCI_ABI_MAGIC)
             || is_bad(report, VPCI_LAYOUT_VERSION, VPCI_LE16(h->version_min),
                       0, VPCI_ABI_VERSION)
             || is_bad(report, VPCI_LAYOUT_VERSION, VPCI_LE16(h->version),
                       VPCI_ABI_VERSION_MIN, UINT16_MAX));
}

bool
vpci_layout_agrees(const struct vpci_layout *layout, const void *base,
                   uint32_t region_id, struct vpci_layout_report *report)
{
    struct vpci_abi_header h, wanted;
    bool same_sections;

    if (!read_header(base, &h, report)
        || is_bad(report, VPCI_LAYOUT_REGION, VPCI_LE32(h.region_id),
                  region_id, region_id)
        || is_bad(report, VPCI_LAYOUT_SIZE, VPCI_LE64(h.size), layout->size,
                  layout->size)) {
        return false;
    }
    make_header(layout, region_id, &wanted);
    wanted.magic = h.magic;
    same_sections = (!memcmp(&h.shape, &wanted.shape, sizeof h.shape)
                     && !memcmp(h.sections, wanted.sections,
                                sizeof h.sections));
    if (is_bad(report, VPCI_LAYOUT_SECTIONS, same_sections, true, true)) {
        return false;
    }
    /* A later version may have something there. */
    return (h.version != wanted.version
            || !is_bad(report, VPCI_LAYOUT_RESERVED,
                       !memcmp(&h, &wanted, sizeof h), true, true));
}

bool
vpci_layout_read(struct vpci_layout *layout, const void *base, uint64_t size,
                 struct vpci_layout_report *report)
{
    struct vpci_abi_header h;
    struct vpci_shape shape;

    if (is_bad(report, VPCI_LAYOUT_SIZE, size, VPCI_ABI_MIN_REGION,
               VPCI_ABI_MAX_REGION)
        || !read_header(base, &h, report)) {
        return false;
    }
    vpci_layout_get_shape(&h.shape, &shape);
    return (vpci_layout_init(layout, &shape, report)
            && !is_bad(report, VPCI_LAYOUT_SIZE, size, layout->size,
                       layout->size)
            && vpci_layout_agrees(layout, base, VPCI_LE32(h.region_id),
                                  report));
}

/* The section of 'side'. */
static uint8_t *
side_at(const struct vpci_layout *layout, void *base, unsigned int side)
{
    return (uint8_t *) base + layout->sections[VPCI_ABI_SIDE0 + side].offset;
}

void
vpci_layout_ring(const struct vpci_layout *layout, void *base,
                 unsigned int producer, uint32_t index,
                 struct vpci_ring_memory *memory)
{
    bool calls = index == VPCI_LAYOUT_CALLS;
    uint32_t i = calls ? layout->n_rings : index;
    uint32_t slots_log2 = calls ? CALL_SLOTS_LOG2 : layout->shape.slots_log2;
    uint32_t data_log2 = calls ? CALL_DATA_LOG2 : layout->shape.data_log2;
    uint8_t *own = side_at(layout, base, producer);
    uint8_t *other = side_at(layout, base, !producer);
    uint64_t words = STATE_BYTES + i * WORDS_BYTES;
    uint8_t *ring = own + STATE_BYTES + words_bytes(layout)
                    + i * ring_bytes(layout->shape.slots_log2,
                                     layout->shape.data_log2);

    memory->producer = (void *) (own + words);
    memory->consumer = (void *) (other + words
                                 + sizeof(struct vpci_abi_producer));
    memory->n_slots = 1u << slots_log2;
    memory->data_size = 1u << data_log2;
    memory->slots = (void *) ring;
    memory->data = ring + ((size_t) VPCI_ABI_SLOT_BYTES << slots_log2);
}

bool
vpci_layout_has_control(const struct vpci_layout *layout)
{
    return has_links(&layout->shape) && layout->shape.n_vectors > 1;
}

uint32_t
vpci_layout_control_vector(const struct vpci_layout *layout)
{
    return layout->shape.n_vectors - 1;
}

/* If there are not enough of them, rings that are next to each other share
 * one: those of a queue, and then of classes that are equally urgent or nearly
 * so. */
uint32_t
vpci_layout_vector(const struct vpci_layout *layout, uint32_t index)
{
    uint32_t n_vectors = (layout->shape.n_vectors
                          - vpci_layout_has_control(layout));

    if (index == VPCI_LAYOUT_CALLS) {
        return vpci_layout_control_vector(layout);
    }
    return (n_vectors >= layout->n_rings ? index
            : index * n_vectors / layout->n_rings);
}

struct vpci_abi_state *
vpci_layout_state(const struct vpci_layout *layout, void *base,
                  unsigned int side)
{
    return (void *) side_at(layout, base, side);
}

struct vpci_abi_port *
vpci_layout_port(void *base)
{
    return (void *) ((uint8_t *) base + PORT_OFS);
}

struct vpci_abi_link *
vpci_layout_link(const struct vpci_layout *layout, void *base, uint32_t i)
{
    (void) layout;
    return (void *) ((uint8_t *) base + LINKS_OFS
                     + i * sizeof(struct vpci_abi_link));
}

size_t
vpci_layout_projection_bytes(const struct vpci_layout *layout)
{
    return vpci_projection_bytes(layout->shape.n_entries);
}

void *
vpci_layout_hints(const struct vpci_layout *layout, void *base)
{
    return (uint8_t *) base + LINKS_OFS + links_bytes(&layout->shape);
}

void *
vpci_layout_acceptances(const struct vpci_layout *layout, void *base,
                        uint32_t link)
{
    return ((uint8_t *) vpci_layout_hints(layout, base)
            + (1 + (uint64_t) link) * vpci_layout_projection_bytes(layout));
}

struct vpci_abi_edits *
vpci_layout_edits(const struct vpci_layout *layout, void *base,
                  uint32_t entry)
{
    return (void *) ((uint8_t *) vpci_layout_hints(layout, base)
                     + projections_bytes(&layout->shape)
                     + entry * sizeof(struct vpci_abi_edits));
}

/* Behind the rings. */
struct vpci_abi_queue *
vpci_layout_queue(const struct vpci_layout *layout, void *base,
                  uint32_t queue)
{
    return (void *) (side_at(layout, base, 1) + side_bytes(layout)
                     + queue * queue_bytes(&layout->shape));
}

struct vpci_abi_link_count *
vpci_layout_link_count(const struct vpci_layout *layout, void *base,
                       uint32_t queue, uint32_t link)
{
    struct vpci_abi_link_count *first
        = (void *) (vpci_layout_queue(layout, base, queue) + 1);

    return first + link;
}

struct vpci_abi_flow_count *
vpci_layout_flow_count(const struct vpci_layout *layout, void *base,
                       uint32_t queue, uint32_t entry)
{
    struct vpci_abi_flow_count *first = (void *) vpci_layout_link_count(
        layout, base, queue, layout->shape.n_links);

    return first + entry;
}

/* At the end of their sections. */
struct vpci_abi_peer *
vpci_layout_peer(const struct vpci_layout *layout, void *base)
{
    return (void *) ((uint8_t *) base
                     + layout->sections[VPCI_ABI_CONTROL].size
                     - peer_bytes(&layout->shape,
                                  sizeof(struct vpci_abi_peer)));
}

struct vpci_abi_peer_words *
vpci_layout_peer_words(const struct vpci_layout *layout, void *base)
{
    return (void *) (side_at(layout, base, 1)
                     + layout->sections[VPCI_ABI_SIDE1].size
                     - peer_bytes(&layout->shape,
                                  sizeof(struct vpci_abi_peer_words)));
}
