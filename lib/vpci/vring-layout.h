/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_VRING_LAYOUT_H
#define VPCI_VRING_LAYOUT_H 1

/* Virtio rings as they lie in memory: virtio 1.1, sections 2.6 and 2.7
 * ====================================================================
 *
 * As in <linux/virtio_ring.h>, but with integers, which the kernel's checks of
 * byte order take for such: the engine uses them as they are,
 * little-endian. */

#include <stddef.h>
#include <stdint.h>

/* Features of rings (section 6). */
#define VRING_F_ANY_LAYOUT 27
#define VRING_F_INDIRECT_DESC 28
#define VRING_F_EVENT_IDX 29
#define VRING_F_VERSION_1 32
#define VRING_F_PACKED 34
#define VRING_F_IN_ORDER 35

/* Descriptors. */
#define VRING_DESC_F_NEXT 1
#define VRING_DESC_F_WRITE 2
#define VRING_DESC_F_INDIRECT 4

#define VRING_DESC_ALIGN_SIZE 16
#define VRING_AVAIL_ALIGN_SIZE 2
#define VRING_USED_ALIGN_SIZE 4

struct vring_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};
_Static_assert(sizeof(struct vring_desc) == 16, "virtio 1.1, section 2.6.5");

/* The driver's area of a split ring; 'used_event' follows. */
#define VRING_AVAIL_F_NO_INTERRUPT 1
struct vring_avail {
    uint16_t flags;
    uint16_t idx;
    uint16_t ring[];
};

/* The device's area; 'avail_event' follows. */
#define VRING_USED_F_NO_NOTIFY 1
struct vring_used_elem {
    uint32_t id;
    uint32_t len;
};
_Static_assert(sizeof(struct vring_used_elem) == 8,
               "virtio 1.1, section 2.6.8");

struct vring_used {
    uint16_t flags;
    uint16_t idx;
    struct vring_used_elem ring[];
};

/* True if the index, when it went from 'old' to 'new_', has passed 'event'. */
static inline int
vring_need_event(uint16_t event, uint16_t new_, uint16_t old)
{
    return (uint16_t) (new_ - event - 1) < (uint16_t) (new_ - old);
}

/* Packed rings: bits of flags, and areas of either side. */
#define VRING_PACKED_DESC_F_AVAIL 7
#define VRING_PACKED_DESC_F_USED 15

struct vring_packed_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t id;
    uint16_t flags;
};
_Static_assert(sizeof(struct vring_packed_desc) == 16,
               "virtio 1.1, section 2.7.13");

#define VRING_PACKED_EVENT_FLAG_ENABLE 0
#define VRING_PACKED_EVENT_FLAG_DISABLE 1
#define VRING_PACKED_EVENT_FLAG_DESC 2
#define VRING_PACKED_EVENT_F_WRAP_CTR 15

struct vring_packed_desc_event {
    uint16_t off_wrap;
    uint16_t flags;
};

#endif /* vring-layout.h */
