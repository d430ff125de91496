/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_RING_H
#define VPCI_RING_H 1

#include "vpci/abi.h"
#include "vpci/net-hdr.h"
#include "vpci/peer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Native rings
 * ============
 *
 * A ring carries packets from one producer to one consumer, in shared memory
 * that is laid out as vpci/abi.h says.  It does not know how the memory was
 * mapped, nor how signals travel: functions that make something visible to the
 * other side return true if that wants to be told, and the caller injects the
 * ring's signal.
 *
 * What belongs to one end is a struct vpci_ring_tx or a struct vpci_ring_rx, in
 * memory that only this end can write.  It survives the process if that memory
 * does: see vpci_ring_tx_resume().
 *
 * Threads: one at a time for each end.
 *
 * Nothing that the other side writes makes a function here touch memory outside
 * of the ring, loop, or wait.  What is against the rules breaks the ring: it is
 * handed to vpci_peer_bad() once, and from then on the ring gives and takes
 * nothing until it is initialized again. */

/* Packets handled at once, at most. */
#define VPCI_RING_BURST 64

/* Where a ring lies, within the limits of vpci/abi.h.  All of it is mapped, and
 * stays so while the ring is in use. */
struct vpci_ring_memory {
    struct vpci_abi_slot *slots; /* Aligned to VPCI_ABI_SLOT_BYTES. */
    uint8_t *data;               /* Aligned to VPCI_ABI_LINE. */
    struct vpci_abi_producer *producer;
    struct vpci_abi_consumer *consumer;
    uint32_t n_slots;
    uint32_t data_size;          /* In bytes. */
};

/* What a ring carries of struct vpci_net_hdr: all but the hint. */
struct vpci_ring_offload {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};
VPCI_STATIC_ASSERT(sizeof(struct vpci_ring_offload) == 8);

static inline struct vpci_net_hdr
vpci_ring_offload_to_hdr(struct vpci_ring_offload o)
{
    struct vpci_net_hdr hdr;

    hdr.flags = o.flags;
    hdr.gso_type = o.gso_type;
    hdr.hdr_len = 0;
    hdr.gso_size = o.gso_size;
    hdr.csum_start = o.csum_start;
    hdr.csum_offset = o.csum_offset;
    return hdr;
}

static inline struct vpci_ring_offload
vpci_ring_offload_from_hdr(const struct vpci_net_hdr *hdr)
{
    struct vpci_ring_offload o;

    o.flags = hdr->flags;
    o.gso_type = hdr->gso_type;
    o.gso_size = hdr->gso_size;
    o.csum_start = hdr->csum_start;
    o.csum_offset = hdr->csum_offset;
    return o;
}

/* The producer's end. */

struct vpci_ring_tx;

/* Bytes of memory, aligned to VPCI_ABI_LINE, that a producer of a ring of
 * 'n_slots' needs. */
size_t vpci_ring_tx_bytes(uint32_t n_slots);

/* Makes an empty ring of '*memory' and its producer of vpci_ring_tx_bytes() at
 * 'tx'.  The consumer must not look at the ring meanwhile, and begins anew
 * itself afterwards.  'peer' may be null; else it must outlive the use of the
 * ring.  'index' is for reports only. */
void vpci_ring_tx_init(struct vpci_ring_tx *tx,
                       const struct vpci_ring_memory *memory,
                       const struct vpci_peer *peer, uint16_t index);

/* Goes on with a producer at 'tx' that another process left at any moment, with
 * the same memory mapped again.  Returns false if 'tx' does not fit '*memory'. */
bool vpci_ring_tx_resume(struct vpci_ring_tx *tx,
                         const struct vpci_ring_memory *memory,
                         const struct vpci_peer *peer, uint16_t index);

/* Returns where to write a packet of up to 'len' bytes, at most
 * VPCI_ABI_MAX_LEN, or null if there is no room now.  Asking again before
 * vpci_ring_submit() replaces the answer. */
void *vpci_ring_reserve(struct vpci_ring_tx *, uint32_t len);

/* The packet of 'len' bytes, at least 1 and at most as many as were reserved, is
 * complete.  '*offload' may be null if the packet is what a wire would carry. */
void vpci_ring_submit(struct vpci_ring_tx *, uint32_t len,
                      const struct vpci_ring_offload *offload);

/* Makes what has been submitted visible to the consumer.  Returns true if that
 * wants to be told. */
bool vpci_ring_publish(struct vpci_ring_tx *);

/* A packet to be copied. */
struct vpci_ring_buf {
    void *data;
    uint32_t size;              /* Of the buffer, when receiving. */
    uint32_t len;               /* Of the packet. */
    struct vpci_ring_offload offload;
};

/* Copies up to 'n' packets into the ring, in order, and makes them visible.
 * Returns their number, which is less than 'n' if there is no more room.
 * Stores in '*tell' whether the consumer wants to be told. */
unsigned int vpci_ring_tx_burst(struct vpci_ring_tx *,
                                const struct vpci_ring_buf bufs[],
                                unsigned int n, bool *tell);

/* Packets that may be submitted at once now, if all are small; at least as many
 * as there are, or 'wanted'. */
unsigned int vpci_ring_room(struct vpci_ring_tx *, unsigned int wanted);

/* True if there is room for 'n' packets, if all are small, as far as the consumer
 * says.  Any thread. */
bool vpci_ring_has_room(const struct vpci_ring_tx *, unsigned int n);

/* Packets made visible, modulo 2^32.  Any thread. */
uint32_t vpci_ring_produced(const struct vpci_ring_tx *);

/* Packets that the consumer has consumed, modulo 2^32: asked and checked, or, by
 * any thread, as it says. */
uint32_t vpci_ring_consumed(struct vpci_ring_tx *);
uint32_t vpci_ring_said_consumed(const struct vpci_ring_tx *);

/* Number of slots.  Any thread. */
uint32_t vpci_ring_tx_size(const struct vpci_ring_tx *);

/* The producer will sleep until 'n' more slots are free than the consumer is
 * known to have left; that is at most those in use, see vpci_ring_consumed(), or
 * nobody would wake it.  Returns false if that is so already: do not sleep. */
bool vpci_ring_tx_sleep(struct vpci_ring_tx *, unsigned int n);

/* The producer is awake, and looks by itself if it wants to know.  'never' says
 * that this will be so for long: see VPCI_ABI_WAKE_NEVER. */
void vpci_ring_tx_awake(struct vpci_ring_tx *, bool never);

/* What has broken the ring, or VPCI_FAULT_NONE.  Any thread. */
enum vpci_fault_kind vpci_ring_tx_fault(const struct vpci_ring_tx *);

/* The consumer's end. */

struct vpci_ring_rx;

size_t vpci_ring_rx_bytes(void);
void vpci_ring_rx_init(struct vpci_ring_rx *rx,
                       const struct vpci_ring_memory *memory,
                       const struct vpci_peer *peer, uint16_t index);
bool vpci_ring_rx_resume(struct vpci_ring_rx *rx,
                         const struct vpci_ring_memory *memory,
                         const struct vpci_peer *peer, uint16_t index);

/* A packet in the ring.  'data' is shared memory: the producer may change it at
 * any moment, and whoever must rely on it makes a copy first. */
struct vpci_ring_pkt {
    const void *data;
    uint32_t len;
    struct vpci_ring_offload offload; /* Not checked. */
};

/* Shows up to 'max' packets, oldest first, and returns their number.  Packets
 * that were shown and not released are shown again. */
unsigned int vpci_ring_peek(struct vpci_ring_rx *,
                            struct vpci_ring_pkt pkts[], unsigned int max);

/* Gives the first 'n' of the packets that were shown back.  Returns true if the
 * producer wants to be told. */
bool vpci_ring_release(struct vpci_ring_rx *, unsigned int n);

/* Copies up to 'n' packets into the buffers of 'bufs', and gives them back.
 * Returns their number.  A packet that is larger than its buffer is cut to
 * 'size', and 'len' says how long it is.  Stores in '*tell' whether the producer
 * wants to be told. */
unsigned int vpci_ring_rx_burst(struct vpci_ring_rx *,
                                struct vpci_ring_buf bufs[], unsigned int n,
                                bool *tell);

/* The same, but does not give packets back: vpci_ring_release() follows, or
 * they are copied again. */
unsigned int vpci_ring_rx_copy(struct vpci_ring_rx *,
                               struct vpci_ring_buf bufs[], unsigned int n);

/* True if there is a packet that was not released yet. */
bool vpci_ring_is_ready(const struct vpci_ring_rx *);

/* The consumer will sleep until there are 'n' packets, at least 1, behind those
 * that were released.  Returns false if there are: do not sleep. */
bool vpci_ring_rx_sleep(struct vpci_ring_rx *, unsigned int n);

/* The consumer is awake: as vpci_ring_tx_awake(). */
void vpci_ring_rx_awake(struct vpci_ring_rx *, bool never);

/* Number of slots.  Any thread. */
uint32_t vpci_ring_rx_size(const struct vpci_ring_rx *);

/* Packets that were released, and packets that the producer says there were,
 * both modulo 2^32.  The second may be a lie.  Any thread. */
uint32_t vpci_ring_taken(const struct vpci_ring_rx *);
uint32_t vpci_ring_offered(const struct vpci_ring_rx *);

enum vpci_fault_kind vpci_ring_rx_fault(const struct vpci_ring_rx *);

#ifdef __cplusplus
}
#endif

#endif /* vpci/ring.h */
