/* SPDX-License-Identifier: Apache-2.0 */

/* Fuzzer of native rings
 * ======================
 *
 * The input is a program of what two honest ends of a ring do, and of what
 * somebody else writes into its memory between their calls: words of both
 * sides, slots that say what isn't so, or just bytes.  The ring lies between
 * pages that nobody may touch.
 *
 * As long as nothing was written that an end goes by, packets arrive whole and
 * in order. */

#include <string.h>

#include "fuzz.h"
#include "guarded-memory.h"
#include "ring-private.h"

#define DATA_SIZE (1u << VPCI_ABI_MIN_DATA_LOG2)

/* Longest packet that is sent: others are only reserved. */
#define MAX_FILLED 3000

/* Bytes behind each buffer, that stay as they are. */
#define CANARY_BYTES 16
#define CANARY 0xc5

/* Parts of the ring's memory. */
enum { SLOTS, DATA, PRODUCER, CONSUMER, N_AREAS };
enum { TX, RX, N_ENDS };

struct fuzz {
    struct vpci_ring_memory memory;
    void *areas[N_AREAS];
    size_t sizes[N_AREAS];
    bool dirty[N_AREAS];        /* Written by somebody else. */

    struct vpci_ring_tx *tx;
    struct vpci_ring_rx *rx;
    struct vpci_peer peer;
    unsigned int n_faults[N_ENDS];

    uint32_t start;             /* Number of the first packet. */
    uint32_t n_submitted;
    uint32_t n_taken;
    uint32_t lens[1 << 8];      /* Of packets, by their number. */
};

static void
fuzz_report(void *f_, const struct vpci_fault *fault)
{
    struct fuzz *f = f_;
    char text[256];

    vpci_fault_format(fault, text, sizeof text);
    check(fault->ring < N_ENDS, "a fault of another ring");
    check(fault->slot < f->memory.n_slots, "a fault in no slot");
    check(fault->kind > VPCI_FAULT_NONE && fault->kind < VPCI_N_FAULTS,
          "no such fault");
    check(++f->n_faults[fault->ring] == 1, "a fault was reported twice");
}

/* The slot of the packet that is 'i' behind the first one. */
static struct vpci_abi_slot *
slot_of(const struct fuzz *f, uint32_t i)
{
    return &f->memory.slots[(f->start + i) & (f->memory.n_slots - 1)];
}

/* True if what is in slots is what the producer has put there. */
static bool
is_sound(const struct fuzz *f)
{
    return !f->dirty[SLOTS] && !f->dirty[CONSUMER];
}

/* Neither end is ahead of what the ring can have, and each is broken only if
 * somebody has written what it goes by. */
static void
check_ends(const struct fuzz *f)
{
    bool tx_bad = vpci_ring_tx_fault(f->tx) != VPCI_FAULT_NONE;
    bool rx_bad = vpci_ring_rx_fault(f->rx) != VPCI_FAULT_NONE;

    check(tx_bad == (f->n_faults[TX] != 0)
          && rx_bad == (f->n_faults[RX] != 0),
          "a fault that was not reported");
    check(!(tx_bad || rx_bad) || !is_sound(f), "an end is broken");
    check(f->tx->head - f->tx->consumed <= f->memory.n_slots
          && f->tx->visible - f->tx->consumed <= f->memory.n_slots,
          "more packets than slots");
    check(vpci_ring_taken(f->rx) - f->start == f->n_taken,
          "not so many taken");
    check(vpci_ring_produced(f->tx) - f->start <= f->n_submitted,
          "packets that nobody has submitted are visible");
}

/* Packet 'seq' has these bytes. */
static void
fill(uint8_t *p, uint32_t len, uint32_t seq)
{
    memset(p, seq * 7 + 1, len);
    p[len - 1] = seq * 13;
}

static bool
is_filled(const uint8_t *p, uint32_t n, uint32_t len, uint32_t seq)
{
    uint8_t wanted[MAX_FILLED];

    fill(wanted, len, seq);
    return !memcmp(p, wanted, n);
}

/* A packet was received as number 'seq', of which 'n' bytes are at 'p'. */
static void
check_packet(const struct fuzz *f, const uint8_t *p, uint32_t n, uint32_t len,
             uint32_t seq)
{
    const volatile uint8_t *touched = p;

    check(len && len <= VPCI_ABI_MAX_LEN, "a packet of no or too many bytes");
    if (!is_sound(f)) {
        if (n) {
            touched[0];
            touched[n - 1];
        }
        return;
    }
    check(len == f->lens[seq % 256], "a packet of another length");
    if (!f->dirty[DATA] || len <= VPCI_ABI_INLINE_BYTES) {
        check(is_filled(p, n, len, seq), "a packet with other bytes");
    }
}

/* Packets 'n' of 'max' have been shown. */
static void
check_count(const struct fuzz *f, unsigned int n, unsigned int max)
{
    uint32_t there = vpci_ring_produced(f->tx) - f->start - f->n_taken;

    check(n <= max && n <= f->memory.n_slots, "too many packets");
    check(!is_sound(f) || n == (there < max ? there : max),
          "not the packets that there are");
}

/* The producer. */

static bool
is_inside(const void *area, size_t size, const void *p, size_t len)
{
    uintptr_t ofs = (uintptr_t) p - (uintptr_t) area;

    return ofs <= size && len <= size - ofs;
}

static void
note_sent(struct fuzz *f, uint32_t len)
{
    f->lens[f->n_submitted++ % 256] = len;
}

/* Reserves more than it submits, if 'more'. */
static void
fuzz_reserve(struct fuzz *f, uint32_t len, bool more)
{
    bool broken = f->n_faults[TX] != 0;
    uint32_t wanted = more ? len * 2 : len;
    uint8_t *p = vpci_ring_reserve(f->tx, wanted);

    check(!p || !broken, "a ring that is broken takes a packet");
    if (!p) {
        return;
    }
    check(wanted <= VPCI_ABI_MAX_LEN
          && (is_inside(f->memory.slots, f->sizes[SLOTS], p, wanted)
              || is_inside(f->memory.data, f->sizes[DATA], p, wanted)),
          "room outside of the ring");
    if (wanted <= MAX_FILLED) {
        fill(p, len, f->n_submitted);
        vpci_ring_submit(f->tx, len, NULL);
        note_sent(f, len);
    } else {
        memset(p, 0x5a, wanted);
    }
}

static void
fuzz_tx_burst(struct fuzz *f, unsigned int n, uint32_t len)
{
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    bool broken = f->n_faults[TX] != 0;
    uint8_t *p = malloc(n * len);
    unsigned int n_sent;
    bool tell;

    check(p != NULL, "out of memory");
    for (unsigned int i = 0; i < n; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = &p[i * len], .len = len };
        fill(bufs[i].data, len, f->n_submitted + i);
    }
    n_sent = vpci_ring_tx_burst(f->tx, bufs, n, &tell);
    check(n_sent <= n && n_sent <= f->memory.n_slots, "too many packets");
    check(!n_sent || !broken, "a ring that is broken takes packets");
    while (n_sent--) {
        note_sent(f, len);
    }
    free(p);
}

/* The consumer. */

static void
fuzz_release(struct fuzz *f, unsigned int n)
{
    vpci_ring_release(f->rx, n);
    f->n_taken += n;
}

static void
fuzz_peek(struct fuzz *f, unsigned int max, unsigned int n_released)
{
    struct vpci_ring_pkt pkts[VPCI_RING_BURST];
    bool broken = f->n_faults[RX] != 0;
    unsigned int n = vpci_ring_peek(f->rx, pkts, max);

    check_count(f, n, max);
    check(!n || !broken, "a ring that is broken gives packets");
    for (unsigned int i = 0; i < n; i++) {
        const struct vpci_ring_pkt *pkt = &pkts[i];
        uint64_t word = vpci_load64(&slot_of(f, f->n_taken + i)->word);

        check(ring_word_type(word) == VPCI_ABI_SLOT_INLINE
              || ring_word_type(word) == VPCI_ABI_SLOT_DATA,
              "a packet in a slot of a kind that does not exist");
        check(is_inside(f->memory.slots, f->sizes[SLOTS], pkt->data, pkt->len)
              || is_inside(f->memory.data, f->sizes[DATA], pkt->data,
                           pkt->len), "a packet outside of the ring");
        check_packet(f, pkt->data, pkt->len, pkt->len, f->n_taken + i);
    }
    fuzz_release(f, n < n_released ? n : n_released);
}

/* Copies packets into buffers of 'size' bytes, with something between them
 * that must not change. */
static void
fuzz_copy(struct fuzz *f, unsigned int max, uint32_t size, bool burst)
{
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    size_t step = size + CANARY_BYTES;
    bool broken = f->n_faults[RX] != 0, tell;
    uint8_t *p = malloc(max * step);
    unsigned int n;

    check(p != NULL, "out of memory");
    memset(p, CANARY, max * step);
    for (unsigned int i = 0; i < max; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = &p[i * step],
                                           .size = size };
    }
    n = (burst ? vpci_ring_rx_burst(f->rx, bufs, max, &tell)
         : vpci_ring_rx_copy(f->rx, bufs, max));
    check_count(f, n, max);
    check(!n || !broken, "a ring that is broken gives packets");
    for (unsigned int i = 0; i < n; i++) {
        uint32_t len = bufs[i].len < size ? bufs[i].len : size;

        check_packet(f, &p[i * step], len, bufs[i].len, f->n_taken + i);
        for (unsigned int j = 0; j < CANARY_BYTES; j++) {
            check(p[i * step + size + j] == CANARY, "more than was room for");
        }
    }
    if (burst) {
        f->n_taken += n;
    } else {
        fuzz_release(f, n);
    }
    free(p);
}

/* What somebody else writes. */

/* The slot of one of the next packets says something likely. */
static void
lie_in_slot(struct fuzz *f, struct input *in)
{
    uint32_t i = f->n_taken + get_u8(in) % 4;
    struct vpci_abi_slot *slot = slot_of(f, i);
    uint8_t type = get_u8(in);
    uint32_t len = get_likely(in) & VPCI_ABI_LEN_MASK;
    vpci_le32 pos = VPCI_LE32((type & 32 ? DATA_SIZE - len : 0)
                              + get_likely(in));

    type = type & 4 ? type : type & 3;
    vpci_store64(&slot->offload, (uint64_t) get_u32(in) << 32 | get_u32(in));
    memcpy(slot->data, &pos, sizeof pos);
    vpci_store64(&slot->word,
                 ring_word((enum vpci_abi_slot_type) type, len,
                           f->start + i + 1));
    f->dirty[SLOTS] = true;
}

static void
lie_in_words(struct fuzz *f, struct input *in)
{
    uint8_t which = get_u8(in);
    uint32_t number = ((which & 8 ? vpci_ring_produced(f->tx)
                        : vpci_ring_taken(f->rx)) + get_likely(in));
    uint64_t wake = (uint64_t) get_likely(in) << 32 | number;

    switch (which & 3) {
    case 0:
        vpci_store32(&f->memory.producer->produced, number);
        f->dirty[PRODUCER] = true;
        break;
    case 1:
        vpci_store64(&f->memory.producer->wake, wake);
        f->dirty[PRODUCER] = true;
        break;
    case 2:
        vpci_store32(&f->memory.consumer->consumed, number);
        f->dirty[CONSUMER] = true;
        break;
    case 3:
    default:
        vpci_store64(&f->memory.consumer->wake, wake);
        break;
    }
}

static void
write_bytes(struct fuzz *f, struct input *in)
{
    uint8_t n = get_u8(in) & 15;
    int area = get_u8(in) % N_AREAS;
    size_t ofs = get_u32(in);

    for (; n; n--) {
        ((uint8_t *) f->areas[area])[ofs++ % f->sizes[area]] = get_u8(in);
    }
    f->dirty[area] = true;
}

/* Signals, counts and new beginnings. */

static void
fuzz_restart(struct fuzz *f)
{
    memset(f->n_faults, 0, sizeof f->n_faults);
    memset(f->dirty, 0, sizeof f->dirty);
    f->start = f->n_submitted = f->n_taken = 0;
    vpci_ring_tx_init(f->tx, &f->memory, &f->peer, TX);
    vpci_ring_rx_init(f->rx, &f->memory, &f->peer, RX);
}

/* As if so many packets had gone through the ring. */
static void
start_at(struct fuzz *f, uint32_t start)
{
    f->start = start;
    f->tx->head = f->tx->visible = f->tx->consumed = start;
    f->tx->data_head = f->tx->data_tail = start << 6;
    f->rx->next = f->rx->told = start;
    for (uint32_t i = 0; i < f->memory.n_slots; i++) {
        vpci_store64(&slot_of(f, i)->word, start + i + 1 - f->memory.n_slots);
    }
    check(vpci_ring_rx_resume(f->rx, &f->memory, &f->peer, RX)
          && vpci_ring_tx_resume(f->tx, &f->memory, &f->peer, TX),
          "cannot begin at another number");
}

/* Another process goes on with both ends.  What was not published is lost, and
 * what somebody wrote may have been. */
static void
fuzz_resume(struct fuzz *f)
{
    bool goes_on = vpci_ring_tx_resume(f->tx, &f->memory, &f->peer, TX);

    check(goes_on, "the producer cannot go on");
    check(vpci_ring_rx_resume(f->rx, &f->memory, &f->peer, RX),
          "the consumer cannot go on");
    check(!is_sound(f)
          || vpci_ring_produced(f->tx) - f->start <= f->n_submitted,
          "packets that nobody has submitted are visible");
    f->n_submitted = vpci_ring_produced(f->tx) - f->start;
}

static void
fuzz_sleep(struct fuzz *f, unsigned int n)
{
    vpci_ring_rx_sleep(f->rx, n);
    vpci_ring_rx_awake(f->rx, n & 1);
    vpci_ring_tx_sleep(f->tx, n);
    vpci_ring_tx_awake(f->tx, n & 2);
    vpci_ring_has_room(f->tx, n);
    vpci_ring_offered(f->rx);
    check(vpci_ring_room(f->tx, n) <= f->memory.n_slots, "too much room");
    check(f->tx->visible - vpci_ring_consumed(f->tx) <= f->memory.n_slots,
          "more consumed than there was");
}

static void
fuzz_other(struct fuzz *f, unsigned int arg)
{
    if (arg < 8) {
        fuzz_restart(f);
    } else if (arg < 12) {
        fuzz_resume(f);
    } else {
        fuzz_sleep(f, arg);
    }
}

static void
fuzz_step(struct fuzz *f, struct input *in)
{
    uint8_t op = get_u8(in);
    unsigned int arg = op >> 3;

    switch (op & 7) {
    case 0:
        lie_in_slot(f, in);
        break;
    case 1:
        lie_in_words(f, in);
        break;
    case 2:
        write_bytes(f, in);
        break;
    case 3:
        fuzz_reserve(f, 1 + get_u16(in) % (arg & 1 ? 60000 : 300), arg & 2);
        if (arg & 4) {
            vpci_ring_publish(f->tx);
        }
        break;
    case 4:
        fuzz_tx_burst(f, 1 + 2 * arg, 1 + get_u16(in) % MAX_FILLED);
        break;
    case 5:
        fuzz_peek(f, 1 + 2 * arg, get_u8(in));
        break;
    case 6:
        fuzz_copy(f, 1 + 2 * arg, get_u16(in) % MAX_FILLED, arg & 1);
        break;
    case 7:
    default:
        fuzz_other(f, arg);
        break;
    }
    check_ends(f);
}

static void
fuzz_init(struct fuzz *f, struct input *in)
{
    uint32_t n_slots = 1u << (VPCI_ABI_MIN_SLOTS_LOG2 + get_u8(in) % 3);
    uint32_t start;

    memset(f, 0, sizeof *f);
    f->sizes[SLOTS] = n_slots * VPCI_ABI_SLOT_BYTES;
    f->sizes[DATA] = DATA_SIZE;
    f->sizes[PRODUCER] = sizeof(struct vpci_abi_producer);
    f->sizes[CONSUMER] = sizeof(struct vpci_abi_consumer);
    for (int i = 0; i < N_AREAS; i++) {
        f->areas[i] = map_guarded(f->sizes[i]);
    }
    f->memory = (struct vpci_ring_memory) {
        .slots = f->areas[SLOTS],
        .data = f->areas[DATA],
        .producer = f->areas[PRODUCER],
        .consumer = f->areas[CONSUMER],
        .n_slots = n_slots,
        .data_size = DATA_SIZE,
    };
    f->peer = (struct vpci_peer) { fuzz_report, f };
    f->tx = map_guarded(vpci_ring_tx_bytes(n_slots));
    f->rx = map_guarded(vpci_ring_rx_bytes());
    fuzz_restart(f);
    start = get_likely(in);
    start_at(f, start);
}

static void
fuzz_uninit(struct fuzz *f)
{
    unmap_guarded(f->tx, vpci_ring_tx_bytes(f->memory.n_slots));
    unmap_guarded(f->rx, vpci_ring_rx_bytes());
    for (int i = 0; i < N_AREAS; i++) {
        unmap_guarded(f->areas[i], f->sizes[i]);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct fuzz f;

    fuzz_init(&f, &in);
    for (int i = 0; i < 200 && in.left; i++) {
        fuzz_step(&f, &in);
    }
    fuzz_uninit(&f);
    return 0;
}
