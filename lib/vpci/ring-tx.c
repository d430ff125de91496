/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The producer's end of native rings: see vpci/ring.h. */

#include "ring-private.h"

/* Each slot is in the consumer's cache when the producer writes it anew, and
 * stores wait for each other: so slots are asked for that many packets before.
 * Without, most of the time of a producer of small packets is spent waiting. */
#define TX_AHEAD 12

size_t
vpci_ring_tx_bytes(uint32_t n_slots)
{
    return sizeof(struct vpci_ring_tx) + n_slots * sizeof(uint32_t);
}

RING_INLINE struct vpci_abi_slot *
tx_slot(const struct vpci_ring_tx *tx, uint32_t number)
{
    return &tx->memory.slots[number & (tx->memory.n_slots - 1)];
}

/* Asks for a slot that will be written soon after 'number', unless it may have
 * a packet that the consumer has not read. */
RING_INLINE void
tx_fetch(const struct vpci_ring_tx *tx, uint32_t number)
{
    const struct vpci_abi_slot *slot = tx_slot(tx, number + TX_AHEAD);

    if (RING_LIKELY(number + TX_AHEAD - tx->consumed < tx->memory.n_slots)) {
        ring_fetch_to_write(slot);
        ring_fetch_to_write((const uint8_t *) slot + VPCI_ABI_LINE);
    }
}

RING_INLINE uint32_t *
tx_end(struct vpci_ring_tx *tx, uint32_t number)
{
    return &tx->ends[number & (tx->memory.n_slots - 1)];
}

void
vpci_ring_tx_init(struct vpci_ring_tx *tx,
                  const struct vpci_ring_memory *memory,
                  const struct vpci_peer *peer, uint16_t index)
{
    memset(tx, 0, vpci_ring_tx_bytes(memory->n_slots));
    tx->memory = *memory;
    tx->peer = peer;
    tx->index = index;
    for (uint32_t i = 0; i < memory->n_slots; i++) {
        vpci_store64(&memory->slots[i].word, 0);
    }
    vpci_store32(&memory->producer->produced, 0);
    ring_do_not_wake(&memory->producer->wake, false);
    tx->magic = RING_TX_MAGIC;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

bool
vpci_ring_tx_resume(struct vpci_ring_tx *tx,
                    const struct vpci_ring_memory *memory,
                    const struct vpci_peer *peer, uint16_t index)
{
    if (tx->magic != RING_TX_MAGIC
        || tx->memory.n_slots != memory->n_slots
        || tx->memory.data_size != memory->data_size
        || tx->visible - tx->consumed > memory->n_slots) {
        return false;
    }
    tx->memory = *memory;
    tx->peer = peer;
    tx->index = index;

    /* What became visible just before the other process ended... */
    uint32_t end = tx->consumed + memory->n_slots;
    while (tx->visible != end
           && (uint32_t) vpci_load64(&tx_slot(tx, tx->visible)->word)
              == tx->visible + 1) {
        tx->visible++;
    }

    /* ...and what did not, and must not. */
    for (uint32_t i = tx->visible; i != end; i++) {
        vpci_store64(&tx_slot(tx, i)->word, i - memory->n_slots);
    }
    tx->head = tx->visible;
    tx->data_head = (tx->visible == tx->consumed
                     ? tx->data_tail : *tx_end(tx, tx->visible - 1));
    vpci_store32(&memory->producer->produced, tx->visible);
    ring_do_not_wake(&memory->producer->wake, false);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return true;
}

static void
tx_break(struct vpci_ring_tx *tx, uint32_t seen)
{
    struct vpci_fault fault = {
        .kind = VPCI_FAULT_CONSUMED,
        .ring = tx->index,
        .slot = seen & (tx->memory.n_slots - 1),
        .seen = seen,
        .limit = tx->visible,
    };

    __atomic_store_n(&tx->fault, fault.kind, __ATOMIC_RELAXED);
    vpci_peer_bad(tx->peer, &fault);
}

/* Asks the consumer how far it is. */
static void
tx_refresh(struct vpci_ring_tx *tx)
{
    /* (C) pairs with (D) in rx_tell(): the consumer has read what was in the
     * slots that it gives back. */
    uint32_t seen = vpci_load32_acquire(&tx->memory.consumer->consumed);

    if (seen == tx->consumed || tx->fault) {
        return;
    }
    if (seen - tx->consumed > tx->visible - tx->consumed) {
        tx_break(tx, seen);
        return;
    }
    tx->data_tail = *tx_end(tx, seen - 1);
    ring_checkpoint();
    tx->consumed = seen;
}

/* Finds 'need' bytes in a row in the data area.  Returns false if they are not
 * free. */
static bool
tx_find_data(struct vpci_ring_tx *tx, uint32_t need)
{
    uint32_t size = tx->memory.data_size;
    uint32_t left = size - (tx->data_head & (size - 1));

    tx->data_next = tx->data_head + (left < need ? left : 0);
    return tx->data_next + need - tx->data_tail <= size;
}

/* Returns where to write 'len' bytes of packet 'number', the next one. */
static void *
tx_reserve_data(struct vpci_ring_tx *tx, uint32_t number, uint32_t len)
{
    uint32_t need = (len + VPCI_ABI_LINE - 1) & -VPCI_ABI_LINE;

    if (len > VPCI_ABI_MAX_LEN) {
        return NULL;
    }
    if (!tx_find_data(tx, need)) {
        tx_refresh(tx);
        if (tx->consumed == number) {
            /* Nothing is in use: begin where the area does. */
            tx->data_head = (tx->data_head + tx->memory.data_size - 1)
                            & -tx->memory.data_size;
            tx->data_tail = tx->data_head;
        }
        if (!tx_find_data(tx, need)) {
            return NULL;
        }
    }
    return tx->memory.data + (tx->data_next & (tx->memory.data_size - 1));
}

/* True if there is a slot for one more packet. */
RING_INLINE bool
tx_has_slot(struct vpci_ring_tx *tx)
{
    if (RING_UNLIKELY(tx->head - tx->consumed >= tx->memory.n_slots)) {
        tx_refresh(tx);
        return tx->head - tx->consumed < tx->memory.n_slots;
    }
    return true;
}

RING_INLINE void *
tx_reserve(struct vpci_ring_tx *tx, uint32_t len)
{
    if (RING_UNLIKELY(!tx_has_slot(tx) || tx->fault)) {
        return NULL;
    }
    tx->reserved_inline = len <= VPCI_ABI_INLINE_BYTES;
    return (RING_LIKELY(tx->reserved_inline)
            ? tx_slot(tx, tx->head)->data
            : tx_reserve_data(tx, tx->head, len));
}

void *
vpci_ring_reserve(struct vpci_ring_tx *tx, uint32_t len)
{
    return tx_reserve(tx, len);
}

/* Finishes packet 'number' in its slot, but for the slot's word, which it
 * returns.  If it is not inline it begins at 'data_next'. */
RING_INLINE uint64_t
tx_finish(struct vpci_ring_tx *tx, uint32_t number, uint32_t len,
          const struct vpci_ring_offload *offload, bool is_inline)
{
    struct vpci_abi_slot *slot = tx_slot(tx, number);
    enum vpci_abi_slot_type type = VPCI_ABI_SLOT_INLINE;

    if (RING_UNLIKELY(!is_inline)) {
        vpci_le32 pos = VPCI_LE32(tx->data_next
                                  & (tx->memory.data_size - 1));

        memcpy(slot->data, &pos, sizeof pos);
        type = VPCI_ABI_SLOT_DATA;
        tx->data_head = tx->data_next
                        + ((len + VPCI_ABI_LINE - 1) & -VPCI_ABI_LINE);
    }
    vpci_store64(&slot->offload, ring_offload_to_word(offload));
    *tx_end(tx, number) = tx->data_head;
    tx_fetch(tx, number);
    return ring_word(type, len, number + 1);
}

/* Completes the packet in the next slot, but for the word of the first one that
 * is not visible yet. */
static void
tx_submit(struct vpci_ring_tx *tx, uint32_t len,
          const struct vpci_ring_offload *offload)
{
    uint64_t word = tx_finish(tx, tx->head, len, offload,
                              tx->reserved_inline);

    ring_checkpoint();
    if (tx->head == tx->visible) {
        tx->first_word = word;
    } else {
        vpci_store64_release(&tx_slot(tx, tx->head)->word, word); /* As (E). */
    }
    tx->head++;
}

void
vpci_ring_submit(struct vpci_ring_tx *tx, uint32_t len,
                 const struct vpci_ring_offload *offload)
{
    static const struct vpci_ring_offload none;

    tx_submit(tx, len, offload ? offload : &none);
}

/* Makes the packets from 'visible' to 'head' visible, the first of which has
 * 'word'.  Returns true if the consumer wants to be told. */
RING_INLINE bool
tx_publish(struct vpci_ring_tx *tx, uint32_t head, uint64_t word)
{
    uint32_t old = tx->visible;

    /* (E) pairs with (F) in rx_load(): whoever sees the word sees the packet. */
    vpci_store64_release(&tx_slot(tx, old)->word, word);
    ring_checkpoint();
    tx->head = head;
    __atomic_store_n(&tx->visible, head, __ATOMIC_RELAXED);
    vpci_store32(&tx->memory.producer->produced, head);
    return ring_wants_telling(&tx->memory.consumer->wake, old, head);
}

bool
vpci_ring_publish(struct vpci_ring_tx *tx)
{
    return (tx->head != tx->visible
            && tx_publish(tx, tx->head, tx->first_word));
}

/* Copies packet 'number' to where it belongs.  Returns false if there is no room
 * for it. */
RING_INLINE bool
tx_put(struct vpci_ring_tx *tx, uint32_t number,
       const struct vpci_ring_buf *buf, uint64_t *word)
{
    bool is_inline = buf->len <= VPCI_ABI_INLINE_BYTES;
    void *dst = tx_slot(tx, number)->data;

    if (RING_UNLIKELY(!is_inline)) {
        dst = tx_reserve_data(tx, number, buf->len);
        if (!dst) {
            return false;
        }
    }
    ring_copy(dst, buf->data, buf->len);
    *word = tx_finish(tx, number, buf->len, &buf->offload, is_inline);
    return true;
}

unsigned int
vpci_ring_tx_burst(struct vpci_ring_tx *tx, const struct vpci_ring_buf bufs[],
                   unsigned int n, bool *tell)
{
    uint64_t first = 0, word;
    unsigned int i, room;
    uint32_t head;

    *tell = vpci_ring_publish(tx);
    room = vpci_ring_room(tx, n);
    if (n > room) {
        n = room;
    }
    head = tx->head;
    for (i = 0; i < n && tx_put(tx, head + i, &bufs[i], &word); i++) {
        if (i) {
            vpci_store64_release(&tx_slot(tx, head + i)->word, word);
        } else {
            first = word;
        }
    }
    if (i) {
        *tell |= tx_publish(tx, head + i, first);
    }
    return i;
}

unsigned int
vpci_ring_room(struct vpci_ring_tx *tx, unsigned int wanted)
{
    uint32_t n = tx->memory.n_slots;

    if (n - (tx->head - tx->consumed) < wanted) {
        tx_refresh(tx);
    }
    return tx->fault ? 0 : n - (tx->head - tx->consumed);
}

bool
vpci_ring_has_room(const struct vpci_ring_tx *tx, unsigned int n)
{
    uint32_t used = vpci_ring_produced(tx) - vpci_ring_said_consumed(tx);

    return used <= tx->memory.n_slots && tx->memory.n_slots - used >= n;
}

uint32_t
vpci_ring_produced(const struct vpci_ring_tx *tx)
{
    return __atomic_load_n(&tx->visible, __ATOMIC_RELAXED);
}

uint32_t
vpci_ring_consumed(struct vpci_ring_tx *tx)
{
    tx_refresh(tx);
    return tx->consumed;
}

bool
vpci_ring_tx_sleep(struct vpci_ring_tx *tx, unsigned int n)
{
    uint32_t old = tx->consumed;

    ring_ask(&tx->memory.producer->wake, old + n - 1);
    tx_refresh(tx);
    return tx->consumed - old < n && !tx->fault;
}

void
vpci_ring_tx_awake(struct vpci_ring_tx *tx, bool never)
{
    ring_do_not_wake(&tx->memory.producer->wake, never);
}

enum vpci_fault_kind
vpci_ring_tx_fault(const struct vpci_ring_tx *tx)
{
    uint8_t fault = __atomic_load_n(&tx->fault, __ATOMIC_RELAXED);

    return (enum vpci_fault_kind) fault;
}

uint32_t
vpci_ring_said_consumed(const struct vpci_ring_tx *tx)
{
    return vpci_load32(&tx->memory.consumer->consumed);
}

uint32_t
vpci_ring_tx_size(const struct vpci_ring_tx *tx)
{
    return tx->memory.n_slots;
}
