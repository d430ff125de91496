/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_LAYOUT_H
#define VPCI_LAYOUT_H 1

#include "vpci/abi.h"
#include "vpci/ring.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where everything is in a region
 * ===============================
 *
 * It follows from the region's shape alone, so that nobody has to believe an
 * offset that somebody else wrote.  Functions here keep no state: any thread
 * may call them. */

/* What is wrong with a shape or a header. */
enum vpci_layout_fault {
    VPCI_LAYOUT_OK,
    VPCI_LAYOUT_NOT_READY,      /* There is no header yet: all is zero. */
    VPCI_LAYOUT_MAGIC,
    VPCI_LAYOUT_VERSION,
    VPCI_LAYOUT_KIND,
    VPCI_LAYOUT_QUEUES,
    VPCI_LAYOUT_CLASSES,
    VPCI_LAYOUT_RINGS,          /* Queues times classes. */
    VPCI_LAYOUT_SLOTS,
    VPCI_LAYOUT_DATA,
    VPCI_LAYOUT_LINKS,
    VPCI_LAYOUT_ENTRIES,
    VPCI_LAYOUT_VECTORS,
    VPCI_LAYOUT_SIZE,           /* The memory is not as large as that. */
    VPCI_LAYOUT_SECTIONS,       /* They are not where they should be. */
    VPCI_LAYOUT_RESERVED,       /* Reserved bytes are not zero. */
    VPCI_LAYOUT_REGION,         /* It is another region. */
    VPCI_LAYOUT_N_FAULTS
};

/* What was seen, and what is wanted: between 'min' and 'max'. */
struct vpci_layout_report {
    enum vpci_layout_fault fault;
    uint64_t seen;
    uint64_t min;
    uint64_t max;
};

/* Formats '*report' into the 'size' bytes at 'buf' as a clause, as in "number
 * of queues is 17, but 1 to 16 are possible".  Returns 'buf'. */
char *vpci_layout_format(const struct vpci_layout_report *report, char *buf,
                         size_t size);

/* A shape in the processor's own byte order. */
struct vpci_shape {
    enum vpci_abi_kind kind;
    uint32_t n_queues;
    uint32_t n_classes;
    uint32_t slots_log2;
    uint32_t data_log2;
    uint32_t n_links;
    uint32_t n_entries;
    uint32_t n_vectors;
};

/* To and from shared memory, where each number is loaded once. */
void vpci_layout_put_shape(const struct vpci_shape *shape,
                           struct vpci_abi_shape *shared);
void vpci_layout_get_shape(const struct vpci_abi_shape *shared,
                           struct vpci_shape *shape);

struct vpci_layout {
    struct vpci_shape shape;
    uint32_t n_rings;           /* Each way, without that of calls. */
    uint64_t size;              /* Of the region: a power of two. */
    struct {
        uint64_t offset;
        uint64_t size;
    } sections[VPCI_ABI_N_SECTIONS];
};

/* Lays out a region of '*shape'.  Returns true; or false, with the reason in
 * '*report', if there can be none. */
bool vpci_layout_init(struct vpci_layout *layout,
                      const struct vpci_shape *shape,
                      struct vpci_layout_report *report);

/* Writes the header of the region at 'base', which has layout->size bytes that
 * are all zero. */
void vpci_layout_write(const struct vpci_layout *layout, void *base,
                       uint32_t region_id);

/* Reads the header of a region of 'size' bytes at 'base', once, and checks it.
 * Returns true and fills in '*layout'; or returns false, with the reason in
 * '*report'. */
bool vpci_layout_read(struct vpci_layout *layout, const void *base,
                      uint64_t size, struct vpci_layout_report *report);

/* True if the header at 'base' is that of 'layout', whoever wrote it. */
bool vpci_layout_agrees(const struct vpci_layout *layout, const void *base,
                        uint32_t region_id,
                        struct vpci_layout_report *report);

/* Number of the ring of 'queue' and 'class_', both below those of the
 * shape. */
static inline uint32_t
vpci_layout_ring_index(const struct vpci_layout *layout, uint32_t queue,
                       uint32_t class_)
{
    return queue * layout->shape.n_classes + class_;
}

/* The ring that carries calls, in a base region. */
#define VPCI_LAYOUT_CALLS UINT32_MAX

/* Fills in '*memory' with the ring 'index' that side 'producer', 0 or 1, of
 * the region mapped at 'base' produces. */
void vpci_layout_ring(const struct vpci_layout *layout, void *base,
                      unsigned int producer, uint32_t index,
                      struct vpci_ring_memory *memory);

/* Vector of the signal that belongs to ring 'index', either way. */
uint32_t vpci_layout_vector(const struct vpci_layout *layout, uint32_t index);

/* What 'side', 0 or 1, says of itself. */
struct vpci_abi_state *vpci_layout_state(const struct vpci_layout *layout,
                                         void *base, unsigned int side);

/* Vector that wakes a side for everything but packets; and whether it is for
 * nothing else. */
uint32_t vpci_layout_control_vector(const struct vpci_layout *layout);
bool vpci_layout_has_control(const struct vpci_layout *layout);

/* Of a base region. */
struct vpci_abi_port *vpci_layout_port(void *base);

/* Of a base region with room for links: link 'i', where the projections are
 * and how many bytes each has, the edits of an entry, and what the guest says
 * of a queue.  All arguments are below what the shape says. */
struct vpci_abi_link *vpci_layout_link(const struct vpci_layout *layout,
                                       void *base, uint32_t i);
size_t vpci_layout_projection_bytes(const struct vpci_layout *layout);
void *vpci_layout_hints(const struct vpci_layout *layout, void *base);
void *vpci_layout_acceptances(const struct vpci_layout *layout, void *base,
                              uint32_t link);
struct vpci_abi_edits *vpci_layout_edits(const struct vpci_layout *layout,
                                         void *base, uint32_t entry);
struct vpci_abi_queue *vpci_layout_queue(const struct vpci_layout *layout,
                                         void *base, uint32_t queue);
struct vpci_abi_link_count *vpci_layout_link_count(
    const struct vpci_layout *layout, void *base, uint32_t queue,
    uint32_t link);
struct vpci_abi_flow_count *vpci_layout_flow_count(
    const struct vpci_layout *layout, void *base, uint32_t queue,
    uint32_t entry);

/* True if a region of 'kind' is a base region, with a peer or without. */
static inline bool
vpci_layout_is_base(enum vpci_abi_kind kind)
{
    return kind == VPCI_ABI_BASE || kind == VPCI_ABI_BASE_PEER;
}

/* Of a base region with a peer: its place among the links, what the switch says
 * of it, and what the guest does. */
static inline uint32_t
vpci_layout_peer_place(const struct vpci_layout *layout)
{
    return layout->shape.n_links - 1;
}
struct vpci_abi_peer *vpci_layout_peer(const struct vpci_layout *layout,
                                       void *base);
struct vpci_abi_peer_words *vpci_layout_peer_words(
    const struct vpci_layout *layout, void *base);

#ifdef __cplusplus
}
#endif

#endif /* vpci/layout.h */
