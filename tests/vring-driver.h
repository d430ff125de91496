/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VRING_DRIVER_H
#define VRING_DRIVER_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The driver's side of a virtio ring, for tests
 * =============================================
 *
 * A model of what a guest does with a split or packed ring (virtio 1.1,
 * sections 2.6 and 2.7).  It shares nothing with the device-side engine, not
 * even the definitions of the layout, so that a misunderstanding of one does
 * not hide in the other.
 *
 * Ownership: the caller owns the memory of the three areas, of the indirect
 * tables and of the buffers.  The model allocates in vring_driver_create()
 * only.
 *
 * Threads: calls on one ring must be serialized by the caller.  The device
 * may run at the same time in another thread or process.
 *
 * A test that breaks the rules on purpose writes into the areas through the
 * public pointers below, typically between vring_driver_add() and
 * vring_driver_publish().
 *
 * All words of the areas are little-endian, and so must be the host. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the model writes ring words in host byte order");

/* Feature bits that matter to a ring (virtio 1.1, section 6). */
#define VRING_F_INDIRECT  (UINT64_C(1) << 28)
#define VRING_F_EVENT_IDX (UINT64_C(1) << 29)
#define VRING_F_VERSION_1 (UINT64_C(1) << 32)
#define VRING_F_PACKED    (UINT64_C(1) << 34)
#define VRING_F_IN_ORDER  (UINT64_C(1) << 35)

/* Descriptor flags. */
#define VRING_DESC_NEXT     0x0001
#define VRING_DESC_WRITE    0x0002
#define VRING_DESC_INDIRECT 0x0004
#define VRING_DESC_AVAIL    0x0080      /* Packed rings only. */
#define VRING_DESC_USED     0x8000      /* Packed rings only. */

/* One descriptor.  The two layouts differ in the last two words; split rings
 * and all indirect tables have 'flags' and 'next', but in indirect tables of
 * packed rings 'id' and 'packed_flags' lie there. */
union vring_desc_tail {
    struct {
        uint16_t flags;
        uint16_t next;
    };
    struct {
        uint16_t id;
        uint16_t packed_flags;
    };
};

struct vring_driver_desc {
    uint64_t addr;
    uint32_t len;
    union vring_desc_tail tail;
};
_Static_assert(sizeof(struct vring_driver_desc) == 16, "virtio 1.1, 2.6.5");

/* Driver area of a split ring.  After the last entry follows 'used_event'. */
struct vring_driver_avail {
    uint16_t flags;             /* 1: do not interrupt. */
    uint16_t idx;
    uint16_t ring[];
};

struct vring_driver_used_elem {
    uint32_t id;
    uint32_t len;
};

/* Device area of a split ring.  After the last entry follows 'avail_event'. */
struct vring_driver_used {
    uint16_t flags;             /* 1: do not kick. */
    uint16_t idx;
    struct vring_driver_used_elem ring[];
};

/* Driver or device area of a packed ring (virtio 1.1, section 2.7.14). */
struct vring_driver_event {
    uint16_t off_wrap;
    uint16_t flags;             /* VRING_EVENT_*. */
};
#define VRING_EVENT_ENABLE  0
#define VRING_EVENT_DISABLE 1
#define VRING_EVENT_DESC    2

/* How to lay out a ring. */
struct vring_driver_config {
    uint16_t size;              /* In descriptors; a power of 2 if split. */
    uint64_t features;          /* VRING_F_*; other bits are ignored. */

    /* The three areas, of at least the sizes that the functions below give.
     * vring_driver_create() initializes them. */
    void *desc;
    void *driver;
    void *device;

    /* Memory for indirect tables: 'size' tables of 'indirect_max' descriptors
     * each at 'indirect', guest address 'indirect_addr'.  Null if none are
     * wanted. */
    void *indirect;
    uint64_t indirect_addr;
    uint16_t indirect_max;

    /* Where to start: the free-running index of a split ring, the slot (below
     * 'size') and wrap counter of a packed one. */
    uint16_t start_idx;
    bool start_wrap;
};

/* Bytes that each area takes. */
size_t vring_driver_desc_bytes(uint16_t size);
size_t vring_driver_driver_bytes(uint64_t features, uint16_t size);
size_t vring_driver_device_bytes(uint64_t features, uint16_t size);

/* One piece of a chain. */
struct vring_driver_buf {
    uint64_t addr;              /* Guest physical address. */
    uint32_t len;               /* In bytes. */
    bool writable;              /* By the device. */
};

/* A chain that came back from the device. */
struct vring_driver_reaped {
    uint16_t id;                /* As vring_driver_add() returned it. */
    bool skipped;               /* No used element of its own: an in-order
                                 * batch.  Then 'len' is all that the device
                                 * could have written (virtio 1.1, 2.6.9). */
    uint32_t len;               /* Bytes written by the device. */
    void *cookie;
};

/* What the model remembers of a chain in flight. */
struct vring_driver_chain {
    void *cookie;
    uint32_t writable;          /* Bytes the device may write. */
    uint16_t n_desc;            /* Ring descriptors taken; 0 if not in flight.
                                 * An indirect chain takes one. */
    uint16_t next;              /* Next free id. */
};

struct vring_driver {
    /* For tests that look at, or spoil, the shared words. */
    struct vring_driver_desc *desc;
    struct vring_driver_avail *avail;        /* Split only. */
    struct vring_driver_used *used;          /* Split only. */
    struct vring_driver_event *driver_event; /* Packed only. */
    struct vring_driver_event *device_event; /* Packed only. */

    uint64_t features;
    uint16_t size;
    bool packed;
    bool in_order;
    bool event_idx;

    /* The chain added last: its first ring descriptor, and the first
     * descriptor that describes a buffer (in the indirect table, if one was
     * used). */
    struct vring_driver_desc *last_head;
    struct vring_driver_desc *last_first;

    /* Packed: the flags that vring_driver_publish() will store in
     * 'pending_head', the first descriptor of all that has been added since
     * the last publish.  Null if nothing was added. */
    struct vring_driver_desc *pending_head;
    uint16_t pending_flags;

    /* What the device did wrong first, in English, or null.  A ring with an
     * error reaps nothing more. */
    const char *error;
    uint64_t error_value;       /* The offending value. */

    uint64_t n_added;           /* Chains since creation. */
    uint64_t n_reaped;

    /* Private. */
    struct vring_driver_chain *chains;  /* By id. */
    uint16_t *order;            /* Ids in flight, oldest at 'order_head'. */
    uint16_t order_head;
    uint16_t n_in_flight;       /* Chains. */
    uint16_t batch_left;        /* Chains still to be reaped from the used
                                 * element seen last. */
    uint16_t batch_id;          /* That used element. */
    uint32_t batch_len;
    uint16_t n_free;            /* Descriptors. */
    uint16_t free_id;           /* First free id. */
    uint16_t *next;             /* Split: links of the free descriptors and
                                 * of chains. */
    uint32_t avail_pos;         /* Split: index.  Packed: slot, plus 'size'
                                 * when the wrap counter is 0. */
    uint32_t used_pos;          /* Likewise. */
    uint32_t published_pos;     /* 'avail_pos' at the last publish. */
    uint32_t kicked_pos;        /* 'avail_pos' when the device was last asked
                                 * whether it wants a kick. */
    struct vring_driver_desc *indirect;
    uint64_t indirect_addr;
    uint16_t indirect_max;
};

/* Lays out an empty ring.  Returns null if memory is short or the size does
 * not suit the kind of ring. */
struct vring_driver *vring_driver_create(const struct vring_driver_config *);
void vring_driver_destroy(struct vring_driver *);

/* Forgets all chains and initializes the areas to start at 'start_idx' and
 * 'start_wrap', as a guest that boots again does.  The device must have been
 * stopped. */
void vring_driver_reset(struct vring_driver *, uint16_t start_idx,
                        bool start_wrap);

/* The areas are elsewhere from now on: the caller has copied their contents,
 * with the device stopped. */
void vring_driver_move(struct vring_driver *, void *desc, void *driver,
                       void *device);

/* Adds a chain of the 'n' pieces in 'bufs', device-readable ones first, either
 * directly or through an indirect table.  The device sees it after
 * vring_driver_publish().
 *
 * Returns the id of the chain, or -1 if there is no room (or the table would
 * be longer than 'indirect_max'). */
int vring_driver_add(struct vring_driver *,
                     const struct vring_driver_buf *bufs, unsigned int n,
                     bool indirect, void *cookie);

/* Shows the device everything that has been added. */
void vring_driver_publish(struct vring_driver *);

/* True if the device wants a kick for what was published since the last call.
 * Contains the full fence that must be between the two. */
bool vring_driver_needs_kick(struct vring_driver *);

/* Takes up to 'max' chains back from the device, in the order in which the
 * device gave them.  Returns their number; 0 also if 'error' is set. */
unsigned int vring_driver_reap(struct vring_driver *,
                               struct vring_driver_reaped *, unsigned int max);

/* True if the device has given back something that was not yet reaped. */
bool vring_driver_has_used(const struct vring_driver *);

/* Asks the device not to interrupt. */
void vring_driver_disable_interrupts(struct vring_driver *);

/* Asks for an interrupt when 'n' more chains (packed: descriptors) are used
 * than were reaped, 1 for the next one.  Without event index any 'n' means 1.
 *
 * Returns true if so many may have been used already (packed: if anything is
 * there to be reaped): the caller then must not wait, since no interrupt might
 * come. */
bool vring_driver_enable_interrupts(struct vring_driver *, uint16_t n);

/* Free descriptors. */
unsigned int vring_driver_n_free(const struct vring_driver *);

/* Chains in flight. */
unsigned int vring_driver_n_in_flight(const struct vring_driver *);

/* Where the device has to go on if it took nothing beyond what was reaped:
 * index and wrap counter (1 for split rings) of the next used element. */
void vring_driver_used_base(const struct vring_driver *, uint16_t *idx,
                            bool *wrap);

/* Where the device stands as far as its used elements tell, whether they were
 * reaped or not: what GET_VRING_BASE answers if the device holds nothing
 * back. */
void vring_driver_device_base(const struct vring_driver *, uint16_t *idx,
                              bool *wrap);

/* Like vring_driver_used_base(), of the next chain to be added. */
void vring_driver_avail_base(const struct vring_driver *, uint16_t *idx,
                             bool *wrap);

#endif /* vring-driver.h */
