/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of native rings (vpci/ring.h).
 *
 * usage: test-ring [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guarded-memory.h"
#include "ring-private.h"
#include "vpci/peer.h"
#include "unit-test.h"

#define MIN_DATA (1u << VPCI_ABI_MIN_DATA_LOG2)

/* A ring between two pages that nobody may touch, so that whatever leaves it is
 * found out. */
struct fixture {
    struct vpci_ring_memory memory;
    struct vpci_ring_tx *tx;
    struct vpci_ring_rx *rx;
    struct vpci_peer peer;
    struct vpci_fault fault;
    unsigned int n_faults;
};

static void
note_fault(void *f_, const struct vpci_fault *fault)
{
    struct fixture *f = f_;

    f->fault = *fault;
    f->n_faults++;
}

static void
fixture_reset(struct fixture *f)
{
    f->n_faults = 0;
    vpci_ring_tx_init(f->tx, &f->memory, &f->peer, 3);
    vpci_ring_rx_init(f->rx, &f->memory, &f->peer, 3);
}

static void
fixture_init(struct fixture *f, uint32_t n_slots, uint32_t data_size)
{
    *f = (struct fixture) {
        .memory = {
            .slots = map_guarded(n_slots * VPCI_ABI_SLOT_BYTES),
            .data = map_guarded(data_size),
            .producer = map_guarded(sizeof(struct vpci_abi_producer)),
            .consumer = map_guarded(sizeof(struct vpci_abi_consumer)),
            .n_slots = n_slots,
            .data_size = data_size,
        },
        .tx = map_guarded(vpci_ring_tx_bytes(n_slots)),
        .rx = map_guarded(vpci_ring_rx_bytes()),
        .peer = { .report = note_fault, .aux = f },
    };
    fixture_reset(f);
}

static void
fixture_uninit(struct fixture *f)
{
    unmap_guarded(f->memory.slots, f->memory.n_slots * VPCI_ABI_SLOT_BYTES);
    unmap_guarded(f->memory.data, f->memory.data_size);
    unmap_guarded(f->memory.producer, sizeof *f->memory.producer);
    unmap_guarded(f->memory.consumer, sizeof *f->memory.consumer);
    unmap_guarded(f->tx, vpci_ring_tx_bytes(f->memory.n_slots));
    unmap_guarded(f->rx, vpci_ring_rx_bytes());
}

/* Packet number 'seq' has its length and all of its bytes from that number. */
static uint32_t
random32(uint32_t x)
{
    x = (x ^ (x >> 16)) * 0x45d9f3b;
    x = (x ^ (x >> 16)) * 0x45d9f3b;
    return x ^ (x >> 16);
}

static void
fill(uint8_t *p, uint32_t len, uint32_t seq)
{
    for (uint32_t i = 0; i < len; i++) {
        p[i] = seq * 7 + i * 13 + (i >> 8);
    }
    if (len >= sizeof seq) {
        memcpy(p, &seq, sizeof seq);
    }
}

static bool
is_filled(const uint8_t *p, uint32_t len, uint32_t seq)
{
    static uint8_t wanted[VPCI_ABI_MAX_LEN];

    fill(wanted, len, seq);
    return !memcmp(p, wanted, len);
}

static struct vpci_ring_offload
offload_of(uint32_t seq)
{
    return (struct vpci_ring_offload) {
        .flags = seq, .gso_type = seq >> 1, .gso_size = seq * 3,
        .csum_start = seq * 5, .csum_offset = seq * 9,
    };
}

static bool
same_offload(const struct vpci_ring_offload *a,
             const struct vpci_ring_offload *b)
{
    return (a->flags == b->flags && a->gso_type == b->gso_type
            && a->gso_size == b->gso_size
            && a->csum_start == b->csum_start
            && a->csum_offset == b->csum_offset);
}

static bool
put(struct fixture *f, uint32_t len, uint32_t seq)
{
    struct vpci_ring_offload o = offload_of(seq);
    uint8_t *p = vpci_ring_reserve(f->tx, len);

    if (!p) {
        return false;
    }
    fill(p, len, seq);
    vpci_ring_submit(f->tx, len, &o);
    return true;
}

/* Takes one packet, which must be number 'seq' with 'len' bytes. */
static bool
take(struct fixture *f, uint32_t len, uint32_t seq)
{
    struct vpci_ring_offload o = offload_of(seq);
    struct vpci_ring_pkt pkt;

    CHECK(vpci_ring_peek(f->rx, &pkt, 1) == 1);
    CHECK(pkt.len == len);
    CHECK(same_offload(&pkt.offload, &o));
    CHECK(is_filled(pkt.data, len, seq));
    vpci_ring_release(f->rx, 1);
    return true;
}

/* Every length arrives, in the slot or in the data area. */
static bool
run_every_length(void)
{
    struct fixture f;
    uint32_t step = 1;

    fixture_init(&f, 16, MIN_DATA);
    for (uint32_t len = 1; len <= VPCI_ABI_MAX_LEN; len += step) {
        CHECK(put(&f, len, len) && (vpci_ring_publish(f.tx), true));
        CHECK(take(&f, len, len));
        step = len < 4096 ? 1 : len > VPCI_ABI_MAX_LEN - 200 ? 1 : 61;
    }
    CHECK(!vpci_ring_reserve(f.tx, VPCI_ABI_MAX_LEN + 1));
    CHECK(!f.n_faults);
    fixture_uninit(&f);
    return true;
}

/* Nothing is seen before it is published, then all of it at once. */
static bool
run_publish(void)
{
    struct vpci_ring_pkt pkts[VPCI_RING_BURST];
    struct fixture f;

    fixture_init(&f, 64, MIN_DATA);
    for (uint32_t i = 0; i < 10; i++) {
        CHECK(put(&f, 60 + i * 20, i));
        CHECK(!vpci_ring_is_ready(f.rx));
        CHECK(!vpci_ring_peek(f.rx, pkts, VPCI_RING_BURST));
    }
    vpci_ring_publish(f.tx);
    CHECK(vpci_ring_is_ready(f.rx));
    CHECK(vpci_ring_peek(f.rx, pkts, VPCI_RING_BURST) == 10);
    CHECK(vpci_ring_peek(f.rx, pkts, 4) == 4);
    vpci_ring_release(f.rx, 4);
    CHECK(vpci_ring_peek(f.rx, pkts, VPCI_RING_BURST) == 6);
    CHECK(is_filled(pkts[0].data, pkts[0].len, 4));

    /* What was reserved counts for nothing, and may be taken smaller. */
    CHECK(vpci_ring_reserve(f.tx, 5000));
    CHECK(vpci_ring_reserve(f.tx, 20));
    uint8_t *p = vpci_ring_reserve(f.tx, 1000);
    fill(p, 30, 77);
    struct vpci_ring_offload o = offload_of(77);
    vpci_ring_submit(f.tx, 30, &o);
    vpci_ring_publish(f.tx);
    vpci_ring_release(f.rx, 6);
    CHECK(take(&f, 30, 77));
    CHECK(vpci_ring_produced(f.tx) == 11 && vpci_ring_taken(f.rx) == 11);
    CHECK(vpci_ring_consumed(f.tx) == 11);
    fixture_uninit(&f);
    return true;
}

/* A full ring takes nothing, loses nothing, and goes on when there is room. */
static bool
run_full(void)
{
    struct fixture f;
    uint32_t n;

    fixture_init(&f, 32, MIN_DATA);
    for (int lap = 0; lap < 100; lap++) {
        uint32_t len = lap % 3 ? 64 : 9000, wanted = lap % 3 ? 32 : 14;

        for (n = 0; put(&f, len, n); n++) {
            CHECK(vpci_ring_room(f.tx, 1) == 31 - n);
        }
        CHECK(n >= wanted - 1 && n <= wanted);
        vpci_ring_publish(f.tx);
        for (uint32_t i = 0; i < n; i++) {
            CHECK(take(&f, len, i));
        }
        CHECK(!vpci_ring_is_ready(f.rx));
        CHECK(vpci_ring_room(f.tx, 32) == 32);
    }
    fixture_uninit(&f);
    return true;
}

/* Numbers go beyond 32 bits. */
static bool
run_numbers_wrap(void)
{
    struct fixture f;
    uint32_t start = UINT32_MAX - 1000;

    fixture_init(&f, 16, MIN_DATA);
    f.tx->head = f.tx->visible = f.tx->consumed = start;
    f.tx->data_head = f.tx->data_tail = -3 * MIN_DATA;
    f.rx->next = f.rx->told = start;
    vpci_store32(&f.memory.consumer->consumed, start);
    for (uint32_t i = 0; i < 16; i++) {
        vpci_store64(&f.memory.slots[(start + i) & 15].word,
                     ring_word(VPCI_ABI_SLOT_INLINE, 60, start + i + 1 - 16));
    }
    for (uint32_t i = 0; i < 5000; i++) {
        uint32_t len = 1 + random32(i) % (i % 5 ? 100 : 20000);

        CHECK(put(&f, len, i) && (vpci_ring_publish(f.tx), true));
        CHECK(take(&f, len, i));
        CHECK(!vpci_ring_is_ready(f.rx));
    }
    fixture_uninit(&f);
    return true;
}

/* The copying calls. */
static bool
run_bursts(void)
{
    static uint8_t out[VPCI_RING_BURST][2048], in[VPCI_RING_BURST][2048];
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    uint32_t sent = 0, received = 0;
    struct fixture f;
    bool tell;

    fixture_init(&f, 64, MIN_DATA);
    for (uint32_t round = 0; round < 20000; round++) {
        unsigned int n = random32(round) % (VPCI_RING_BURST + 1);

        for (unsigned int i = 0; i < n; i++) {
            uint32_t seq = sent + i, len = 1 + random32(seq) % 2048;

            fill(out[i], len, seq);
            bufs[i] = (struct vpci_ring_buf) {
                .data = out[i], .len = len, .offload = offload_of(seq),
            };
        }
        sent += vpci_ring_tx_burst(f.tx, bufs, n, &tell);
        CHECK(!tell);

        n = random32(round + 12345) % (VPCI_RING_BURST + 1);
        for (unsigned int i = 0; i < n; i++) {
            bufs[i] = (struct vpci_ring_buf) { .data = in[i], .size = 1500 };
            memset(in[i], 0xee, sizeof in[i]);
        }
        n = vpci_ring_rx_burst(f.rx, bufs, n, &tell);
        CHECK(!tell);
        for (unsigned int i = 0; i < n; i++, received++) {
            struct vpci_ring_offload o = offload_of(received);
            uint32_t len = 1 + random32(received) % 2048;

            CHECK(bufs[i].len == len);
            CHECK(same_offload(&bufs[i].offload, &o));
            CHECK(is_filled(in[i], len < 1500 ? len : 1500, received));
            CHECK(in[i][1500] == 0xee);
        }
    }
    CHECK(received > 100000 && sent - received <= 64 && !f.n_faults);
    fixture_uninit(&f);
    return true;
}

/* Who is told, and when. */
static bool
run_wakes(void)
{
    struct vpci_ring_pkt pkts[4];
    struct fixture f;

    fixture_init(&f, 16, MIN_DATA);
    CHECK(put(&f, 60, 0) && !vpci_ring_publish(f.tx));
    CHECK(!vpci_ring_rx_sleep(f.rx, 1));        /* There is one. */
    CHECK(take(&f, 60, 0));
    CHECK(vpci_ring_rx_sleep(f.rx, 1));
    CHECK(put(&f, 60, 1) && vpci_ring_publish(f.tx));
    CHECK(put(&f, 60, 2) && !vpci_ring_publish(f.tx));  /* Told already. */
    vpci_ring_rx_awake(f.rx, false);
    CHECK(put(&f, 60, 3) && !vpci_ring_publish(f.tx));
    CHECK(vpci_ring_peek(f.rx, pkts, 4) == 3);
    vpci_ring_release(f.rx, 3);

    /* Three of them, in one burst or in several. */
    CHECK(vpci_ring_rx_sleep(f.rx, 3));
    CHECK(put(&f, 60, 4) && !vpci_ring_publish(f.tx));
    CHECK(put(&f, 60, 5) && put(&f, 60, 6) && put(&f, 60, 7));
    CHECK(vpci_ring_publish(f.tx));
    vpci_ring_rx_awake(f.rx, true);
    CHECK(put(&f, 60, 8) && !vpci_ring_publish(f.tx));

    /* A producer that waits for room. */
    for (uint32_t i = 9; i < 20; i++) {
        CHECK(put(&f, 60, i));
    }
    CHECK(!put(&f, 60, 20) && !vpci_ring_publish(f.tx));
    CHECK(vpci_ring_tx_sleep(f.tx, 2));
    CHECK(vpci_ring_peek(f.rx, pkts, 1) == 1 && !vpci_ring_release(f.rx, 1));
    CHECK(vpci_ring_peek(f.rx, pkts, 1) == 1 && vpci_ring_release(f.rx, 1));
    CHECK(!vpci_ring_tx_sleep(f.tx, 1));
    vpci_ring_tx_awake(f.tx, false);
    CHECK(put(&f, 60, 20) && put(&f, 60, 21));
    fixture_uninit(&f);
    return true;
}

/* What a hostile producer can write. */
static bool
is_broken_by(struct fixture *f, uint32_t type, uint32_t len, uint32_t pos,
             enum vpci_fault_kind kind)
{
    struct vpci_abi_slot *slot = &f->memory.slots[1];
    struct vpci_ring_pkt pkts[4];

    fixture_reset(f);
    CHECK(put(f, 60, 0) && put(f, 60, 1) && put(f, 60, 2));
    vpci_ring_publish(f->tx);
    vpci_store64(&slot->word, ring_word(type, len, 2));
    pos = VPCI_LE32(pos);
    memcpy(slot->data, &pos, sizeof pos);
    CHECK(vpci_ring_peek(f->rx, pkts, 4) == 1);
    CHECK(f->n_faults == 1 && f->fault.kind == kind);
    CHECK(f->fault.ring == 3 && f->fault.slot == 1);
    CHECK(vpci_ring_rx_fault(f->rx) == kind && !vpci_ring_is_ready(f->rx));
    CHECK(!vpci_ring_peek(f->rx, pkts, 4));
    vpci_ring_release(f->rx, 0);
    CHECK(f->n_faults == 1);
    return true;
}

static bool
run_hostile_producer(void)
{
    struct fixture f;

    fixture_init(&f, 16, MIN_DATA);
    CHECK(is_broken_by(&f, 0, 60, 0, VPCI_FAULT_TYPE));
    CHECK(is_broken_by(&f, 3, 60, 0, VPCI_FAULT_TYPE));
    CHECK(is_broken_by(&f, 255, 60, 0, VPCI_FAULT_TYPE));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_INLINE, 0, 0, VPCI_FAULT_SIZE));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_INLINE, VPCI_ABI_INLINE_BYTES + 1, 0,
                       VPCI_FAULT_SIZE));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_INLINE, VPCI_ABI_LEN_MASK, 0,
                       VPCI_FAULT_SIZE));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_DATA, 0, 0, VPCI_FAULT_SIZE));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_DATA, VPCI_ABI_MAX_LEN + 1, 0,
                       VPCI_FAULT_SIZE));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_DATA, 60, MIN_DATA - 59,
                       VPCI_FAULT_POSITION));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_DATA, 60, MIN_DATA,
                       VPCI_FAULT_POSITION));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_DATA, 60, UINT32_MAX - 59,
                       VPCI_FAULT_POSITION));
    CHECK(is_broken_by(&f, VPCI_ABI_SLOT_DATA, 60, UINT32_MAX,
                       VPCI_FAULT_POSITION));

    /* The last byte of the data area is a good one. */
    fixture_reset(&f);
    CHECK(put(&f, 200, 0));
    vpci_ring_publish(f.tx);
    vpci_le32 pos = VPCI_LE32(MIN_DATA - 200);
    memcpy(f.memory.slots[0].data, &pos, sizeof pos);
    struct vpci_ring_pkt pkt;
    CHECK(vpci_ring_peek(f.rx, &pkt, 1) == 1);
    CHECK((const uint8_t *) pkt.data + 200
          == f.memory.data + MIN_DATA);

    /* A ring that was broken is as good as new once it begins anew. */
    fixture_reset(&f);
    CHECK(put(&f, 200, 5) && (vpci_ring_publish(f.tx), take(&f, 200, 5)));
    fixture_uninit(&f);
    return true;
}

/* What a hostile consumer can write. */
static bool
run_hostile_consumer(void)
{
    static const uint32_t lies[] = { 6, 7, 16, 17, 1u << 31, UINT32_MAX };
    struct fixture f;

    fixture_init(&f, 16, MIN_DATA);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        fixture_reset(&f);
        for (uint32_t j = 0; j < 5; j++) {
            CHECK(put(&f, 60, j));
        }
        vpci_ring_publish(f.tx);
        CHECK(put(&f, 60, 5));  /* Not published: cannot be consumed. */
        vpci_store32(&f.memory.consumer->consumed, lies[i]);
        vpci_ring_consumed(f.tx);
        CHECK(f.n_faults == 1 && f.fault.kind == VPCI_FAULT_CONSUMED);
        CHECK(f.fault.seen == lies[i] && f.fault.limit == 5);
        CHECK(vpci_ring_tx_fault(f.tx) == VPCI_FAULT_CONSUMED);
        CHECK(!vpci_ring_reserve(f.tx, 60) && !vpci_ring_room(f.tx, 1));
        CHECK(!vpci_ring_tx_sleep(f.tx, 1));
        CHECK(f.n_faults == 1);
    }

    /* Backwards is ahead as well. */
    fixture_reset(&f);
    for (uint32_t j = 0; j < 5; j++) {
        CHECK(put(&f, 60, j));
    }
    vpci_ring_publish(f.tx);
    vpci_store32(&f.memory.consumer->consumed, 3);
    CHECK(vpci_ring_consumed(f.tx) == 3 && !f.n_faults);
    vpci_store32(&f.memory.consumer->consumed, 2);
    vpci_ring_consumed(f.tx);
    CHECK(f.n_faults == 1);
    fixture_uninit(&f);
    return true;
}

/* Two threads. */
struct stress {
    struct fixture f;
    uint32_t n;                 /* Packets in all. */
    bool sleeps;
    int rx_fd, tx_fd;           /* Signals. */
    uint32_t mistakes;
    uint32_t lost_wakeups;
};

static uint32_t
stress_len(uint32_t seq)
{
    uint32_t x = random32(seq);

    return x % 16 ? 4 + x % 200 : 4 + x % 9000;
}

/* Waits for a signal, which must come: a long time is a lost one. */
static void
sleep_on(struct stress *s, int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };
    eventfd_t value;

    if (poll(&pfd, 1, 5000) != 1) {
        __atomic_add_fetch(&s->lost_wakeups, 1, __ATOMIC_RELAXED);
    } else {
        eventfd_read(fd, &value);
    }
}

static void
stress_wait_for_room(struct stress *s)
{
    if (s->sleeps) {
        if (vpci_ring_tx_sleep(s->f.tx, 1 + random32(s->n) % 4)) {
            sleep_on(s, s->tx_fd);
        }
        vpci_ring_tx_awake(s->f.tx, false);
    } else {
        sched_yield();
    }
}

static void *
stress_producer(void *s_)
{
    struct stress *s = s_;

    for (uint32_t seq = 0; seq < s->n; ) {
        unsigned int burst = 1 + random32(seq) % 40;

        while (burst && seq < s->n && put(&s->f, stress_len(seq), seq)) {
            seq++;
            burst--;
        }
        if (vpci_ring_publish(s->f.tx)) {
            eventfd_write(s->rx_fd, 1);
        }
        if (burst && seq < s->n) {
            stress_wait_for_room(s);
        } else if (s->sleeps && random32(seq) % 8 == 0) {
            usleep(1);
        }
    }
    return NULL;
}

static bool
stress_consume(struct stress *s)
{
    struct vpci_ring_pkt pkts[VPCI_RING_BURST];
    uint32_t seq = 0;

    while (seq < s->n && !s->lost_wakeups) {
        unsigned int n = vpci_ring_peek(s->f.rx, pkts,
                                        1 + random32(seq) % VPCI_RING_BURST);

        for (unsigned int i = 0; i < n; i++, seq++) {
            struct vpci_ring_offload o = offload_of(seq);

            CHECK(pkts[i].len == stress_len(seq));
            CHECK(same_offload(&pkts[i].offload, &o));
            CHECK(is_filled(pkts[i].data, pkts[i].len, seq));
        }
        if (vpci_ring_release(s->f.rx, n)) {
            eventfd_write(s->tx_fd, 1);
        }
        if (!n && s->sleeps) {
            if (vpci_ring_rx_sleep(s->f.rx, 1)) {
                sleep_on(s, s->rx_fd);
            }
            vpci_ring_rx_awake(s->f.rx, false);
        } else if (!n) {
            sched_yield();
        }
    }
    return true;
}

static bool
run_stress(bool sleeps, uint32_t n)
{
    struct stress s = { .n = n, .sleeps = sleeps };
    pthread_t thread;

    fixture_init(&s.f, 64, MIN_DATA);
    s.rx_fd = eventfd(0, EFD_NONBLOCK);
    s.tx_fd = eventfd(0, EFD_NONBLOCK);
    CHECK(!pthread_create(&thread, NULL, stress_producer, &s));
    bool ok = stress_consume(&s);
    CHECK(ok);
    pthread_join(thread, NULL);
    CHECK(!s.lost_wakeups && !s.f.n_faults);
    CHECK(!vpci_ring_is_ready(s.f.rx));
    close(s.rx_fd);
    close(s.tx_fd);
    fixture_uninit(&s.f);
    return true;
}

static bool
run_stress_polling(void)
{
    return run_stress(false, 300000);
}

static bool
run_stress_sleeping(void)
{
    return run_stress(true, 200000);
}

/* A consumer that goes to sleep just when a packet is published: either it sees
 * the packet, or the producer sees that it wants to be told.  Both move about
 * each other by some hundred nanoseconds. */
struct duel {
    struct fixture f;
    uint32_t round;             /* Begun by the consumer. */
    uint32_t result;            /* Of the producer: round << 1 | told. */
    bool stop;
};

static void
spin(uint32_t n)
{
    for (volatile uint32_t i = 0; i < n; i++) {
        continue;
    }
}

static void *
duel_producer(void *d_)
{
    struct duel *d = d_;

    for (uint32_t round = 1; ; round++) {
        while (__atomic_load_n(&d->round, __ATOMIC_ACQUIRE) != round) {
            if (__atomic_load_n(&d->stop, __ATOMIC_RELAXED)) {
                return NULL;
            }
        }
        memset(vpci_ring_reserve(d->f.tx, 60), 0, 60);
        vpci_ring_submit(d->f.tx, 60, NULL);
        spin(random32(round) % 64);
        uint32_t told = vpci_ring_publish(d->f.tx);
        __atomic_store_n(&d->result, round << 1 | told, __ATOMIC_RELEASE);
    }
}

static bool
duel_round(struct duel *d, uint32_t round)
{
    struct vpci_ring_pkt pkt;
    uint32_t result;

    CHECK(!vpci_ring_is_ready(d->f.rx));
    __atomic_store_n(&d->round, round, __ATOMIC_RELEASE);
    spin(random32(round + 1) % 128);
    bool sleeps = vpci_ring_rx_sleep(d->f.rx, 1);
    do {
        result = __atomic_load_n(&d->result, __ATOMIC_ACQUIRE);
    } while (result >> 1 != round);
    CHECK(!sleeps || (result & 1));
    vpci_ring_rx_awake(d->f.rx, false);
    CHECK(vpci_ring_peek(d->f.rx, &pkt, 1) == 1);
    vpci_ring_release(d->f.rx, 1);
    return true;
}

static bool
run_fences(void)
{
    enum { MAX_ROUNDS = 1000000, MAX_SECONDS = 5 };
    struct duel d = { .stop = false };
    time_t end = time(NULL) + MAX_SECONDS;
    pthread_t thread;
    bool ok = true;

    fixture_init(&d.f, 64, MIN_DATA);
    CHECK(!pthread_create(&thread, NULL, duel_producer, &d));
    for (uint32_t i = 1; ok && i < MAX_ROUNDS
                         && (i % 1024 || time(NULL) <= end); i++) {
        ok = duel_round(&d, i);
    }
    __atomic_store_n(&d.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    fixture_uninit(&d.f);
    return ok;
}

/* The other side scribbles over everything that it may write, all the time. */
struct scribbler {
    void *areas[2];
    size_t sizes[2];
    bool stop;
};

static void *
scribble(void *s_)
{
    struct scribbler *s = s_;
    uint32_t x = 1;

    while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
        for (int i = 0; i < 2; i++) {
            uint32_t *p = s->areas[i];

            x = random32(x + 1);
            uint32_t at = random32(x) % (s->sizes[i] / 4);
            __atomic_store_n(&p[at], x % 3 ? x : x % 300, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

/* The slots' words, at least, are right often enough. */
static void
make_valid(struct fixture *f, uint32_t salt)
{
    for (uint32_t i = 0; i < f->memory.n_slots; i++) {
        struct vpci_abi_slot *slot = &f->memory.slots[i];
        uint32_t x = random32(salt + i);

        vpci_store64(&slot->word,
                     ring_word(1 + x % 2,
                               x % 2 ? 1 + (x >> 8) % VPCI_ABI_MAX_LEN
                                     : 1 + (x >> 8) % VPCI_ABI_INLINE_BYTES,
                               i + 1));
    }
}

static bool
run_scribbling_producer(void)
{
    struct vpci_ring_pkt pkts[VPCI_RING_BURST];
    static uint8_t copy[VPCI_ABI_MAX_LEN];
    struct scribbler s;
    struct fixture f;
    pthread_t thread;
    uint64_t n_pkts = 0, n_faults = 0;

    fixture_init(&f, 64, MIN_DATA);
    s = (struct scribbler) {
        .areas = { f.memory.slots, f.memory.producer },
        .sizes = { 64 * VPCI_ABI_SLOT_BYTES, sizeof *f.memory.producer },
    };
    CHECK(!pthread_create(&thread, NULL, scribble, &s));
    for (uint32_t round = 0; round < 30000; round++) {
        f.n_faults = 0;
        vpci_ring_rx_init(f.rx, &f.memory, &f.peer, 0);
        make_valid(&f, round);
        unsigned int n = vpci_ring_peek(f.rx, pkts, VPCI_RING_BURST);
        for (unsigned int i = 0; i < n; i++) {
            CHECK(pkts[i].len && pkts[i].len <= VPCI_ABI_MAX_LEN);
            memcpy(copy, pkts[i].data, pkts[i].len);
        }
        vpci_ring_release(f.rx, n);
        CHECK(f.n_faults <= 1);
        n_pkts += n;
        n_faults += f.n_faults;
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(n_pkts > 1000 && n_faults > 100);
    fixture_uninit(&f);
    return true;
}

static bool
run_scribbling_consumer(void)
{
    struct scribbler s;
    struct fixture f;
    pthread_t thread;
    uint64_t n_faults = 0, n_put = 0;

    fixture_init(&f, 64, MIN_DATA);
    s = (struct scribbler) {
        .areas = { f.memory.consumer, &f.memory.consumer->consumed },
        .sizes = { sizeof *f.memory.consumer, 4 },
    };
    CHECK(!pthread_create(&thread, NULL, scribble, &s));
    for (uint32_t round = 0; round < 30000; round++) {
        fixture_reset(&f);
        for (uint32_t i = 0; i < 100; i++) {
            n_put += put(&f, 1 + random32(i + round) % 3000, i);
            vpci_ring_publish(f.tx);
            CHECK(vpci_ring_room(f.tx, 64) <= 64);
        }
        CHECK(f.n_faults <= 1);
        n_faults += f.n_faults;
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(n_put > 1000 && n_faults > 100);
    fixture_uninit(&f);
    return true;
}

/* The other side makes packets of one lap after the other visible, whatever
 * was consumed. */
struct lapper {
    struct vpci_ring_memory memory;
    bool stop;
};

static void *
lap(void *l_)
{
    struct lapper *l = l_;
    uint32_t n = l->memory.n_slots;

    while (!__atomic_load_n(&l->stop, __ATOMIC_RELAXED)) {
        uint32_t first = vpci_load32(&l->memory.consumer->consumed);

        for (uint32_t i = first; i != first + 4 * n; i++) {
            vpci_store64(&l->memory.slots[i & (n - 1)].word,
                         ring_word(VPCI_ABI_SLOT_INLINE, 60, i + 1));
        }
    }
    return NULL;
}

/* No more is taken from a ring at once than it has. */
static bool
run_lap_race(void)
{
    static uint8_t data[VPCI_RING_BURST][64];
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    struct fixture f;
    struct lapper l = { .stop = false };
    pthread_t thread;
    bool tell;

    fixture_init(&f, 16, MIN_DATA);
    l.memory = f.memory;
    for (int i = 0; i < VPCI_RING_BURST; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = data[i], .size = 64 };
    }
    CHECK(!pthread_create(&thread, NULL, lap, &l));
    for (uint32_t n = 0, i = 0; n < 20000 && i < 4000000; i++) {
        struct vpci_ring_pkt pkts[VPCI_RING_BURST];
        uint32_t taken = vpci_ring_rx_burst(f.rx, bufs, VPCI_RING_BURST,
                                            &tell);

        CHECK(taken <= 16);
        CHECK(vpci_ring_peek(f.rx, pkts, VPCI_RING_BURST) <= 16);
        CHECK(vpci_ring_rx_copy(f.rx, bufs, VPCI_RING_BURST) <= 16);
        n += taken;
        if (!taken && i % 64 == 0) {
            sched_yield();
        }
    }
    __atomic_store_n(&l.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(!f.n_faults && vpci_ring_taken(f.rx) > 16);
    fixture_uninit(&f);
    return true;
}

/* A producer that is killed at any moment, and another process that goes on in
 * its place: packets arrive in order, whole, none twice, and of those that were
 * published none is missing.  The count of those is in memory of its own. */
static void
produce_until_killed(struct fixture *f, uint32_t *next)
{
    for (;;) {
        uint32_t seq = *next;
        unsigned int burst = 1 + random32(seq) % 8;

        while (burst-- && put(f, stress_len(seq), seq)) {
            seq++;
        }
        vpci_ring_publish(f->tx);
        __atomic_store_n(next, seq, __ATOMIC_RELEASE);
    }
}

/* Takes what is there, from '*seq' on, or from a packet that was published after
 * the killed producer's last note of it. */
static bool
take_all(struct fixture *f, uint32_t *seq)
{
    struct vpci_ring_pkt pkts[VPCI_RING_BURST];
    unsigned int n;

    while ((n = vpci_ring_peek(f->rx, pkts, VPCI_RING_BURST))) {
        for (unsigned int i = 0; i < n; i++, ++*seq) {
            CHECK(pkts[i].len == stress_len(*seq));
            CHECK(is_filled(pkts[i].data, pkts[i].len, *seq));
        }
        vpci_ring_release(f->rx, n);
    }
    return true;
}

static bool
run_killed_producer(void)
{
    struct fixture f;
    uint32_t *next, received = 0;

    fixture_init(&f, 64, MIN_DATA);
    next = map_guarded(sizeof *next);
    for (int round = 0; round < 200; round++) {
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (!pid) {
            produce_until_killed(&f, next);
        }
        uint32_t wanted = received + 1 + random32(round) % 3000;
        while (received < wanted) {
            if (!take_all(&f, &received)) {
                kill(pid, SIGKILL);
                CHECK(!"a packet is wrong");
            }
        }
        kill(pid, SIGKILL);
        CHECK(waitpid(pid, NULL, 0) == pid);

        CHECK(vpci_ring_tx_resume(f.tx, &f.memory, &f.peer, 3));
        CHECK(take_all(&f, &received));
        CHECK(received >= *next && received == vpci_ring_produced(f.tx));
        *next = received;
    }
    CHECK(!f.n_faults);

    /* Memory that is not a producer's, or one's of another ring. */
    f.tx->memory.n_slots = 32;
    CHECK(!vpci_ring_tx_resume(f.tx, &f.memory, &f.peer, 3));
    memset(f.tx, 0, vpci_ring_tx_bytes(64));
    CHECK(!vpci_ring_tx_resume(f.tx, &f.memory, &f.peer, 3));
    memset(f.rx, 0, vpci_ring_rx_bytes());
    CHECK(!vpci_ring_rx_resume(f.rx, &f.memory, &f.peer, 3));
    unmap_guarded(next, sizeof *next);
    fixture_uninit(&f);
    return true;
}

/* A producer that is killed between two packets of a burst: what the next one
 * publishes has none of them behind it. */
static bool
run_half_a_burst(void)
{
    struct vpci_ring_pkt pkts[8];
    struct fixture f;

    fixture_init(&f, 16, MIN_DATA);
    for (uint32_t lap = 0; lap < 40; lap++) {
        CHECK(put(&f, 60, 1) && put(&f, 500, 2) && put(&f, 60, 3));
        CHECK(vpci_ring_tx_resume(f.tx, &f.memory, &f.peer, 3));
        CHECK(!vpci_ring_is_ready(f.rx));
        CHECK(put(&f, 300, 4) && !vpci_ring_publish(f.tx));
        CHECK(vpci_ring_peek(f.rx, pkts, 8) == 1);
        CHECK(is_filled(pkts[0].data, 300, 4));
        CHECK(vpci_ring_rx_resume(f.rx, &f.memory, &f.peer, 3));
        CHECK(take(&f, 300, 4));
    }
    fixture_uninit(&f);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "every-length", run_every_length },
        { "publish", run_publish },
        { "full", run_full },
        { "numbers-wrap", run_numbers_wrap },
        { "bursts", run_bursts },
        { "wakes", run_wakes },
        { "hostile-producer", run_hostile_producer },
        { "hostile-consumer", run_hostile_consumer },
        { "stress-polling", run_stress_polling },
        { "stress-sleeping", run_stress_sleeping },
        { "fences", run_fences },
        { "scribbling-producer", run_scribbling_producer },
        { "scribbling-consumer", run_scribbling_consumer },
        { "lap-race", run_lap_race },
        { "killed-producer", run_killed_producer },
        { "half-a-burst", run_half_a_burst },
    };

    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
