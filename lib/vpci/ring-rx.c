/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The consumer's end of native rings: see vpci/ring.h. */

#include "ring-private.h"

/* Each slot is in the producer's cache when the consumer reads it first: so
 * slots are asked for that many packets before, but only while there are as many
 * each time.  Where there are fewer, the producer has yet to write them. */
#define RX_AHEAD 8

size_t
vpci_ring_rx_bytes(void)
{
    return sizeof(struct vpci_ring_rx);
}

void
vpci_ring_rx_init(struct vpci_ring_rx *rx,
                  const struct vpci_ring_memory *memory,
                  const struct vpci_peer *peer, uint16_t index)
{
    *rx = (struct vpci_ring_rx) {
        .magic = RING_RX_MAGIC,
        .memory = *memory,
        .peer = peer,
        .index = index,
    };
    vpci_store32(&memory->consumer->consumed, 0);
    ring_do_not_wake(&memory->consumer->wake, false);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool
vpci_ring_rx_resume(struct vpci_ring_rx *rx,
                    const struct vpci_ring_memory *memory,
                    const struct vpci_peer *peer, uint16_t index)
{
    if (rx->magic != RING_RX_MAGIC
        || rx->memory.n_slots != memory->n_slots
        || rx->memory.data_size != memory->data_size) {
        return false;
    }
    rx->memory = *memory;
    rx->peer = peer;
    rx->index = index;
    rx->told = rx->next;
    vpci_store32_release(&memory->consumer->consumed, rx->next);
    ring_do_not_wake(&memory->consumer->wake, false);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return true;
}

static void
rx_break(struct vpci_ring_rx *rx, enum vpci_fault_kind kind, uint32_t number,
         uint64_t seen, uint64_t limit)
{
    struct vpci_fault fault = {
        .kind = kind,
        .ring = rx->index,
        .slot = number & (rx->memory.n_slots - 1),
        .seen = seen,
        .limit = limit,
    };

    __atomic_store_n(&rx->fault, fault.kind, __ATOMIC_RELAXED);
    vpci_peer_bad(rx->peer, &fault);
}

/* Finds the packet of 'pkt->len' bytes of which slot 'number' says where it is. */
static bool
rx_find_data(struct vpci_ring_rx *rx, uint32_t number,
             struct vpci_ring_pkt *pkt)
{
    uint32_t size = rx->memory.data_size;
    const void *where = ring_rx_slot(rx, number)->data;
    uint32_t pos = vpci_load32(where);

    if (RING_UNLIKELY(!pkt->len || pkt->len > VPCI_ABI_MAX_LEN)) {
        rx_break(rx, VPCI_FAULT_SIZE, number, pkt->len, VPCI_ABI_MAX_LEN);
        return false;
    }
    if (RING_UNLIKELY(pos > size - pkt->len)) {
        rx_break(rx, VPCI_FAULT_POSITION, number, pos, size - pkt->len);
        return false;
    }
    pkt->data = rx->memory.data + pos;
    return true;
}

/* Reads what slot 'number', with 'word', says of its packet. */
RING_INLINE bool
rx_read(struct vpci_ring_rx *rx, uint32_t number, uint64_t word,
        struct vpci_ring_pkt *pkt)
{
    const struct vpci_abi_slot *slot = ring_rx_slot(rx, number);
    uint32_t type = ring_word_type(word);

    pkt->len = ring_word_len(word);
    pkt->offload = ring_offload_from_word(vpci_load64(&slot->offload));
    if (RING_LIKELY(type == VPCI_ABI_SLOT_INLINE)) {
        if (RING_UNLIKELY(pkt->len - 1 >= VPCI_ABI_INLINE_BYTES)) {
            rx_break(rx, VPCI_FAULT_SIZE, number, pkt->len,
                     VPCI_ABI_INLINE_BYTES);
            return false;
        }
        pkt->data = slot->data;
        return true;
    }
    if (RING_UNLIKELY(type != VPCI_ABI_SLOT_DATA)) {
        rx_break(rx, VPCI_FAULT_TYPE, number, type, VPCI_ABI_SLOT_DATA);
        return false;
    }
    return rx_find_data(rx, number, pkt);
}

/* Asks for slot 'number'. */
RING_INLINE void
rx_fetch(const struct vpci_ring_rx *rx, uint32_t number)
{
    const struct vpci_abi_slot *slot = ring_rx_slot(rx, number);

    __builtin_prefetch(slot);
    __builtin_prefetch((const uint8_t *) slot + VPCI_ABI_LINE);
}

unsigned int
vpci_ring_peek(struct vpci_ring_rx *rx, struct vpci_ring_pkt pkts[],
               unsigned int max)
{
    unsigned int n = 0, ahead;
    uint64_t word;

    if (RING_UNLIKELY(rx->fault)) {
        return 0;
    }
    if (max > rx->memory.n_slots) {
        max = rx->memory.n_slots;
    }
    ahead = max < rx->found ? max : rx->found;
    while (n < max && ring_rx_load(rx, rx->next + n, &word)
           && rx_read(rx, rx->next + n, word, &pkts[n])) {
        if (n + RX_AHEAD < ahead) {
            rx_fetch(rx, rx->next + n + RX_AHEAD);
        }
        n++;
    }
    rx->found = n;
    return n;
}

/* Tells the producer of slots that it may use again. */
static bool
rx_tell(struct vpci_ring_rx *rx)
{
    uint32_t old = rx->told;

    /* (D) pairs with (C) in tx_refresh(). */
    vpci_store32_release(&rx->memory.consumer->consumed, rx->next);
    rx->told = rx->next;
    return ring_wants_telling(&rx->memory.producer->wake, old, rx->next);
}

bool
vpci_ring_release(struct vpci_ring_rx *rx, unsigned int n)
{
    uint32_t untold;

    __atomic_store_n(&rx->next, rx->next + n, __ATOMIC_RELAXED);
    untold = rx->next - rx->told;

    /* The producer asks only when it needs room: the word's cache line need
     * not travel more often than that.  But nothing is left untold when there is
     * nothing more to do. */
    if (untold && (untold >= rx->memory.n_slots / 8
                   || !ring_rx_has(rx, rx->next))) {
        return rx_tell(rx);
    }
    return false;
}

RING_INLINE unsigned int
rx_copy(struct vpci_ring_rx *rx, struct vpci_ring_buf bufs[], unsigned int n,
        struct ring_sum *sum)
{
    uint64_t word, bytes = 0, odd = 0;
    uint32_t longest = 0;
    unsigned int i = 0, ahead;

    /* A producer that laps the ring meanwhile may show more than that has. */
    if (n > rx->memory.n_slots) {
        n = rx->memory.n_slots;
    }
    ahead = n < rx->found ? n : rx->found;
    while (i < n && RING_LIKELY(!rx->fault)
           && ring_rx_load(rx, rx->next + i, &word)) {
        struct vpci_ring_buf *buf = &bufs[i];
        struct vpci_ring_pkt pkt;
        uint32_t some;

        if (i + RX_AHEAD < ahead) {
            rx_fetch(rx, rx->next + i + RX_AHEAD);
        }
        if (!rx_read(rx, rx->next + i, word, &pkt)) {
            break;
        }
        some = pkt.len;
        if (RING_UNLIKELY(pkt.len > buf->size)) {
            some = buf->size;
            odd = 1;
        }
        ring_copy(buf->data, pkt.data, some);
        buf->len = pkt.len;
        buf->offload = pkt.offload;
        bytes += pkt.len;
        longest = pkt.len > longest ? pkt.len : longest;
        odd |= ring_offload_to_word(&pkt.offload) | (pkt.len < RING_ODD_BYTES);
        i++;
    }
    rx->found = i;
    *sum = (struct ring_sum) {
        .bytes = bytes, .longest = longest, .odd = odd != 0,
    };
    return i;
}

unsigned int
ring_rx_copy_sum(struct vpci_ring_rx *rx, struct vpci_ring_buf bufs[],
                 unsigned int n, struct ring_sum *sum)
{
    return rx_copy(rx, bufs, n, sum);
}

unsigned int
vpci_ring_rx_copy(struct vpci_ring_rx *rx, struct vpci_ring_buf bufs[],
                  unsigned int n)
{
    struct ring_sum sum;

    return rx_copy(rx, bufs, n, &sum);
}

unsigned int
vpci_ring_rx_burst(struct vpci_ring_rx *rx, struct vpci_ring_buf bufs[],
                   unsigned int n, bool *tell)
{
    struct ring_sum sum;
    unsigned int i = rx_copy(rx, bufs, n, &sum);

    *tell = vpci_ring_release(rx, i);
    return i;
}

bool
vpci_ring_is_ready(const struct vpci_ring_rx *rx)
{
    return ring_rx_is_ready(rx);
}

bool
vpci_ring_rx_sleep(struct vpci_ring_rx *rx, unsigned int n)
{
    ring_ask(&rx->memory.consumer->wake, rx->next + n - 1);
    return rx->fault || !ring_rx_has(rx, rx->next + n - 1);
}

void
vpci_ring_rx_awake(struct vpci_ring_rx *rx, bool never)
{
    ring_do_not_wake(&rx->memory.consumer->wake, never);
}

uint32_t
vpci_ring_taken(const struct vpci_ring_rx *rx)
{
    return __atomic_load_n(&rx->next, __ATOMIC_RELAXED);
}

uint32_t
vpci_ring_offered(const struct vpci_ring_rx *rx)
{
    return vpci_load32(&rx->memory.producer->produced);
}

enum vpci_fault_kind
vpci_ring_rx_fault(const struct vpci_ring_rx *rx)
{
    uint8_t fault = __atomic_load_n(&rx->fault, __ATOMIC_RELAXED);

    return (enum vpci_fault_kind) fault;
}

uint32_t
vpci_ring_rx_size(const struct vpci_ring_rx *rx)
{
    return rx->memory.n_slots;
}
