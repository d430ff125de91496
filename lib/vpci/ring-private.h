/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_RING_PRIVATE_H
#define VPCI_RING_PRIVATE_H 1

#include "vpci/ring.h"

/* What the two ends of native rings have in common. */

#ifndef __KERNEL__
#include <string.h>
#endif

#define RING_INLINE static inline __attribute__((always_inline))
#define RING_LIKELY(X) __builtin_expect(!!(X), 1)
#define RING_UNLIKELY(X) __builtin_expect(!!(X), 0)

/* Says that memory of a ring's end is one. */
#define RING_TX_MAGIC 0x7870637674786e67
#define RING_RX_MAGIC 0x787063767278706e

/* The producer's end.  All but 'memory' and 'peer', which are set by whoever
 * resumes it, makes sense in another process as well. */
struct vpci_ring_tx {
    uint64_t magic;
    struct vpci_ring_memory memory;
    const struct vpci_peer *peer;
    uint16_t index;
    uint8_t fault;              /* enum vpci_fault_kind. */

    uint32_t head;              /* Packets submitted, */
    uint32_t visible;           /* of which so many were made visible, */
    uint32_t consumed;          /* of which so many were consumed, as far as is
                                 * known here. */

    /* Bytes of the data area, modulo 2^32. */
    uint32_t data_head;         /* Behind the last packet that was submitted. */
    uint32_t data_tail;         /* Before the first one not consumed. */
    uint32_t data_next;         /* Of the packet that was reserved last. */
    bool reserved_inline;

    uint64_t first_word;        /* Of the first packet that is not visible. */

    uint32_t ends[];            /* Of each slot: 'data_head' behind it. */
};

/* The consumer's end: likewise. */
struct vpci_ring_rx {
    uint64_t magic;
    struct vpci_ring_memory memory;
    const struct vpci_peer *peer;
    uint16_t index;
    uint8_t fault;              /* enum vpci_fault_kind. */

    uint32_t next;              /* Packets that were released, */
    uint32_t told;              /* of which the producer knows so many. */
    uint32_t found;             /* Packets that were there the last time. */
};

/* What packets of a burst that was copied have in common. */
struct ring_sum {
    uint64_t bytes;
    uint32_t longest;           /* In bytes. */
    bool odd;                   /* There may be one that has less than
                                 * RING_ODD_BYTES, did not fit into its buffer,
                                 * or leaves something to do. */
};
#define RING_ODD_BYTES 54

/* As vpci_ring_rx_copy(), and fills in '*sum'. */
unsigned int ring_rx_copy_sum(struct vpci_ring_rx *,
                              struct vpci_ring_buf bufs[], unsigned int n,
                              struct ring_sum *sum);

RING_INLINE const struct vpci_abi_slot *
ring_rx_slot(const struct vpci_ring_rx *rx, uint32_t number)
{
    return &rx->memory.slots[number & (rx->memory.n_slots - 1)];
}

/* Loads the word of slot 'number' once.  Returns false if its packet is not
 * there. */
RING_INLINE bool
ring_rx_load(const struct vpci_ring_rx *rx, uint32_t number, uint64_t *word)
{
    /* (F) pairs with (E) in vpci_ring_publish(). */
    *word = vpci_load64_acquire(&ring_rx_slot(rx, number)->word);
    return (uint32_t) *word == number + 1;
}

/* True if packet 'number' is there. */
RING_INLINE bool
ring_rx_has(const struct vpci_ring_rx *rx, uint32_t number)
{
    uint64_t word;

    return ring_rx_load(rx, number, &word);
}

/* vpci_ring_is_ready(), for those who ask once for each burst. */
RING_INLINE bool
ring_rx_is_ready(const struct vpci_ring_rx *rx)
{
    return !rx->fault && ring_rx_has(rx, rx->next);
}

/* Asks for the cache line at 'p', to write to it. */
RING_INLINE void
ring_fetch_to_write(const void *p)
{
#ifdef __x86_64__
    /* The compiler would fetch it to read on processors of before 2014. */
    __asm__ volatile ("prefetchw %0" : : "m" (*(const char *) p));
#else
    __builtin_prefetch(p, 1);
#endif
}

/* A process may end at any moment, and another one go on with what it has
 * written: stores are not moved over this. */
RING_INLINE void
ring_checkpoint(void)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Wants the side that wrote 'wake' to be told that a count went from 'old' to
 * 'new'? */
RING_INLINE bool
ring_wake_passed(uint64_t wake, uint32_t old, uint32_t new_)
{
    return (wake >> 32 == VPCI_ABI_WAKE_AT
            && new_ - (uint32_t) wake - 1 < new_ - old);
}

/* The same, after the count has been stored.  (A) pairs with (B) in
 * ring_ask(): either the one that sleeps sees the count there, or its wish is
 * seen here. */
RING_INLINE bool
ring_wants_telling(const vpci_le64 *wake, uint32_t old, uint32_t new_)
{
    if (RING_LIKELY(vpci_load64(wake) >> 32 == VPCI_ABI_WAKE_NEVER)) {
        return false;
    }
    __atomic_thread_fence(__ATOMIC_SEQ_CST);    /* (A) */
    return ring_wake_passed(vpci_load64(wake), old, new_);
}

/* Asks to be woken when a count passes 'at'.  The caller looks at the count
 * afterwards. */
RING_INLINE void
ring_ask(vpci_le64 *wake, uint32_t at)
{
    vpci_store64(wake, (uint64_t) VPCI_ABI_WAKE_AT << 32 | at);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);    /* (B) */
}

RING_INLINE void
ring_do_not_wake(vpci_le64 *wake, bool never)
{
    uint64_t mode = never ? VPCI_ABI_WAKE_NEVER : VPCI_ABI_WAKE_OFF;

    vpci_store64(wake, mode << 32);
}

/* Of a slot's word. */
RING_INLINE uint64_t
ring_word(enum vpci_abi_slot_type type, uint32_t len, uint32_t valid)
{
    return ((uint64_t) type << VPCI_ABI_TYPE_SHIFT
            | (uint64_t) len << VPCI_ABI_LEN_SHIFT | valid);
}

RING_INLINE uint32_t
ring_word_type(uint64_t word)
{
    return word >> VPCI_ABI_TYPE_SHIFT;
}

RING_INLINE uint32_t
ring_word_len(uint64_t word)
{
    return word >> VPCI_ABI_LEN_SHIFT & VPCI_ABI_LEN_MASK;
}

RING_INLINE uint64_t
ring_offload_to_word(const struct vpci_ring_offload *o)
{
    return ((uint64_t) o->csum_offset << 48 | (uint64_t) o->csum_start << 32
            | (uint32_t) o->gso_size << 16 | (uint32_t) o->gso_type << 8
            | o->flags);
}

RING_INLINE struct vpci_ring_offload
ring_offload_from_word(uint64_t word)
{
    return (struct vpci_ring_offload) {
        .flags = word,
        .gso_type = word >> 8,
        .gso_size = word >> 16,
        .csum_start = word >> 32,
        .csum_offset = word >> 48,
    };
}

/* Copies 'len' bytes, at least one: small ones without a call, in pieces from the
 * end to the beginning, the first two of which overlap.  So the cache line with
 * the beginning of a slot, which the consumer may be looking at, is written
 * last. */
RING_INLINE void
ring_copy(void *dst_, const void *src_, uint32_t len)
{
    uint8_t *dst = dst_;
    const uint8_t *src = src_;

    if (len > VPCI_ABI_INLINE_BYTES) {
        memcpy(dst, src, len);
    } else if (len >= 16) {
        memcpy(dst + len - 16, src + len - 16, 16);
        for (uint32_t i = (len - 1) & ~15u; i; i -= 16) {
            memcpy(dst + i - 16, src + i - 16, 16);
        }
    } else if (len >= 8) {
        memcpy(dst + len - 8, src + len - 8, 8);
        memcpy(dst, src, 8);
    } else {
        while (len--) {
            dst[len] = src[len];
        }
    }
}

#endif /* lib/vpci/ring-private.h */
