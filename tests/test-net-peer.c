/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of guests that drive the virtio-net rings of a peer ("Peers" in
 * vpci/abi.h).
 *
 * usage: test-net-peer [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <linux/virtio_net.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peer-world.h"
#include "unit-test.h"

#define F(NAME) (UINT64_C(1) << VIRTIO_NET_F_##NAME)
#define SPLIT VRING_F_VERSION_1
#define PACKED (VRING_F_VERSION_1 | VRING_F_PACKED)

/* Kinds of rings. */
static const uint64_t kinds[] = {
    SPLIT,
    SPLIT | VRING_F_EVENT_IDX | F(MRG_RXBUF),
    PACKED,
    PACKED | VRING_F_EVENT_IDX | VRING_F_IN_ORDER | F(MRG_RXBUF),
};
#define N_KINDS (sizeof kinds / sizeof kinds[0])

static struct vpci_net_stats
stats_of(const struct peer_world *w)
{
    struct vpci_net_stats stats;

    vpci_net_get_stats(w->net, VPCI_NET_ALL, &stats);
    return stats;
}

static uint64_t
flow_packets(const struct peer_world *w, uint32_t queue, uint32_t entry)
{
    return vpci_load64(&vpci_layout_flow_count(&w->s.port.layout, w->s.base,
                                               queue, entry)->packets);
}

/* True if the signal was injected since the last time. */
static bool
was_injected(int fd)
{
    eventfd_t value;

    return !eventfd_read(fd, &value);
}

/* Rings go to the guest and back, and stand where they should. */
static bool
check_hand_over(uint64_t features)
{
    const struct vpci_abi_peer_words *words;
    struct vpci_net_link_info info;
    struct vpci_net_stats stats;
    struct peer_world w;
    uint64_t all;

    CHECK(peer_world_init(&w, features, 64, 1, NULL));
    words = peer_world_words(&w);
    CHECK(vpci_load32(&words->device_id) == w.server.id);
    CHECK(vpci_load32(&words->n_signals) == VPCI_ABI_MAX_VECTORS);
    CHECK(vpci_load32(&words->n_rings) == VPCI_ABI_MAX_RINGS);
    all = vpci_load64(&words->features);
    CHECK(!(features & ~all) && !(all >> 33 & 1));
    info = peer_world_info(&w);
    CHECK(info.is_peer && info.id == PEER_LINK_ID && info.slot == w.slot);
    CHECK(info.state == VPCI_NET_MEETING && !info.sends);
    CHECK(strstr(info.reason, "the switch has"));

    peer_world_post(&w, 0);
    peer_world_hint(&w, true);
    for (uint32_t i = 0; i < 5; i++) {
        CHECK(peer_world_send(&w, 0, i));
    }
    CHECK(peer_world_hand_over(&w));
    peer_world_run(&w);
    info = peer_world_info(&w);
    CHECK(info.state == VPCI_NET_RUNNING && info.sends && !info.reason[0]);
    CHECK(info.peer_id == w.server.peer_id);

    /* What the peer had sent before, and more; both ways. */
    CHECK(!vring_driver_enable_interrupts(w.rings[0].drv, 1));
    CHECK(!was_injected(w.calls[0]));
    for (uint32_t i = 0; i < 300; i++) {
        CHECK(peer_world_send(&w, 0, 5 + i));
        CHECK(peer_world_guest_receive(&w, 0) == i);
        CHECK(peer_world_guest_send(&w, 0, i));
        CHECK(was_injected(w.calls[0]));
        CHECK(peer_world_receive(&w, 0) == i);
        peer_world_post(&w, 0);
        CHECK(!vring_driver_enable_interrupts(w.rings[0].drv, 1));
        for (uint32_t j = 0; j < 2; j++) {
            CHECK(vpci_load32(&words->rings[j].at)
                  == vpci_load32(&words->rings[j].next));
            CHECK(vpci_load32(&words->rings[j].at) == peer_world_place(&w, j));
        }
    }
    stats = stats_of(&w);
    CHECK(stats.tx.linked == 300 && stats.tx.packets == 300);
    CHECK(stats.tx.bytes == 300 * WORLD_LEN && stats.tx.injected >= 300);
    CHECK(stats.rx.linked == 300 && stats.rx.packets == 300);
    CHECK(flow_packets(&w, 0, PEER_HINT_ENTRY) == 300);
    CHECK(flow_packets(&w, 0, PEER_ACCEPT_ENTRY) == 300);
    CHECK(vpci_load64(&vpci_layout_flow_count(&w.s.port.layout, w.s.base, 0,
                                              PEER_HINT_ENTRY)->bytes)
          == 300 * WORLD_LEN);
    peer_world_run(&w);
    info = peer_world_info(&w);
    CHECK(info.tx_packets == 300 && info.rx_packets == 300);

    /* Back: five have not been received yet. */
    CHECK(peer_world_take_back(&w));
    CHECK(vpci_load32(&words->why) == VPCI_ABI_PEER_WELL);
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    CHECK(peer_world_pass(&w));
    for (uint32_t i = 300; i < 305; i++) {
        CHECK(peer_world_guest_receive(&w, 0) == i);
    }
    peer_world_hint(&w, false);
    CHECK(peer_world_guest_send(&w, 0, 300) && peer_world_pass(&w));
    CHECK(peer_world_receive(&w, 0) == 300);
    CHECK(stats_of(&w).tx.linked == 300);

    /* The guest leaves: it cannot have them any more. */
    vpci_net_close(w.net);
    w.net = NULL;
    CHECK(!vpci_load32(&words->knows) && !vpci_load32(&words->n_rings));
    peer_world_uninit(&w);
    return true;
}

static bool
run_hand_over(void)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        CHECK(check_hand_over(kinds[i]));
    }
    return true;
}

/* Packets both ways, as fast as they are taken. */
struct flows {
    uint32_t sent, received;            /* By the guest. */
    uint32_t peer_sent, peer_received;
};

/* The guest and the peer do something.  Returns false if a packet is lost,
 * doubled or reordered. */
static bool
move(struct peer_world *w, struct flows *f, unsigned int *seed)
{
    int64_t number;

    for (unsigned int n = rand_r(seed) % 20; n > 0; n--) {
        f->sent += peer_world_guest_send(w, 0, f->sent);
    }
    for (unsigned int n = rand_r(seed) % 20; n > 0; n--) {
        f->peer_sent += peer_world_send(w, 0, f->peer_sent);
    }
    for (unsigned int n = rand_r(seed) % 30; n > 0; n--) {
        number = peer_world_guest_receive(w, 0);
        CHECK(number == -1 || number == f->received);
        f->received += number >= 0;
    }
    for (unsigned int n = rand_r(seed) % 30; n > 0; n--) {
        number = peer_world_receive(w, 0);
        CHECK(number == -1 || number == f->peer_received);
        f->peer_received += number >= 0;
    }
    peer_world_post(w, 0);
    return true;
}

/* Passes on all that was sent by a generation of hints before. */
static bool
drain(struct peer_world *w, struct flows *f)
{
    while (vpci_ring_is_ready(vpci_channel_rx(w->s.port.channel, 0))) {
        int64_t number;

        CHECK(peer_world_pass(w));
        while ((number = peer_world_receive(w, 0)) >= 0) {
            CHECK(number == f->peer_received++);
        }
        peer_world_post(w, 0);
    }
    return true;
}

/* Rings change hands again and again, with packets all the time. */
static bool
check_turns(uint64_t features, int n)
{
    const struct vpci_abi_queue *said;
    struct flows f = { 0, 0, 0, 0 };
    unsigned int seed = 1;
    struct peer_world w;
    uint64_t linked;

    CHECK(peer_world_init(&w, features, 32, 1, NULL));
    said = vpci_layout_queue(&w.s.port.layout, w.s.base, 0);
    peer_world_post(&w, 0);
    for (int i = 0; i < n; i++) {
        for (unsigned int j = rand_r(&seed) % 3; j > 0; j--) {
            CHECK(move(&w, &f, &seed) && peer_world_pass(&w));
        }
        peer_world_hint(&w, true);
        CHECK(move(&w, &f, &seed));
        peer_world_run(&w);
        CHECK(vpci_load32_acquire(&said->hints) == w.hints_generation);
        CHECK(drain(&w, &f) && peer_world_hand_over(&w));
        for (unsigned int j = rand_r(&seed) % 4; j > 0; j--) {
            CHECK(move(&w, &f, &seed));
        }
        CHECK(peer_world_take_back(&w));
        peer_world_hint(&w, false);
    }
    linked = stats_of(&w).tx.linked;
    CHECK(linked > (uint64_t) n && linked < f.sent);
    CHECK(stats_of(&w).rx.linked > (uint64_t) n);
    while (f.received < f.peer_sent || f.peer_received < f.sent) {
        uint32_t done = f.received + f.peer_received;

        CHECK(peer_world_pass(&w));
        CHECK(move(&w, &f, &seed));
        CHECK(f.received + f.peer_received >= done);
    }
    peer_world_uninit(&w);
    return true;
}

static bool
run_turns(void)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        CHECK(check_turns(kinds[i], 1000));
    }
    return true;
}

/* Packets of the peer wait for those that the switch has sent before, in all
 * queues. */
static bool
run_marks(void)
{
    struct vpci_net_config config = { .n_queues = 2 };
    struct peer_world w;

    CHECK(peer_world_init(&w, SPLIT, 64, 2, &config));
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(peer_world_send(&w, 0, i) && peer_world_send(&w, 1, i));
    }
    for (uint32_t i = 0; i < 2; i++) {
        uint8_t data[WORLD_LEN];

        world_make(data, sizeof data, PEER_FLOW, 70 + i);
        CHECK(switch_port_put(&w.s.port, i, data, sizeof data));
    }
    CHECK(peer_world_hand_over(&w));
    CHECK(peer_world_guest_receive(&w, 0) == 70);
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    CHECK(!vpci_net_rx_wait(w.net, 0, 2000));
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    CHECK(peer_world_guest_receive(&w, 1) == 71);
    for (int64_t i = 0; i < 3; i++) {
        CHECK(vpci_net_rx_wait(w.net, 0, -1));
        CHECK(peer_world_guest_receive(&w, 0) == i);
        CHECK(peer_world_guest_receive(&w, 1) == i);
    }
    peer_world_uninit(&w);
    return true;
}

/* Queues have rings of their own, and what has none goes by the base. */
static bool
run_queues(void)
{
    struct vpci_net_config config = { .n_queues = 3 };
    struct peer_world w;

    CHECK(peer_world_init(&w, PACKED, 64, 2, &config));
    peer_world_post(&w, 0);
    peer_world_post(&w, 1);
    peer_world_hint(&w, true);
    CHECK(peer_world_hand_over(&w));
    for (uint32_t i = 0; i < 50; i++) {
        for (uint32_t j = 0; j < 3; j++) {
            CHECK(peer_world_guest_send(&w, j, i));
        }
        for (uint32_t j = 0; j < 2; j++) {
            CHECK(peer_world_receive(&w, j) == i);
            peer_world_post(&w, j);
            CHECK(peer_world_send(&w, j, i));
            CHECK(peer_world_guest_receive(&w, j) == i);
        }
    }
    CHECK(stats_of(&w).tx.linked == 100 && stats_of(&w).tx.packets == 150);
    CHECK(flow_packets(&w, 1, PEER_HINT_ENTRY) == 50);
    CHECK(flow_packets(&w, 1, PEER_ACCEPT_ENTRY) == 50);
    CHECK(peer_world_take_back(&w));
    peer_world_uninit(&w);

    /* One queue has all that comes from the peer. */
    CHECK(peer_world_init(&w, SPLIT, 64, 4, NULL));
    CHECK(peer_world_hand_over(&w));
    for (uint32_t i = 0; i < 100; i++) {
        CHECK(peer_world_send(&w, i % 4, i));
        CHECK(peer_world_guest_receive(&w, 0) == i);
    }
    peer_world_uninit(&w);
    return true;
}

/* A packet that is not accepted stays where it is, and ends the turn. */
static bool
check_not_accepted(uint64_t features)
{
    const struct vpci_abi_peer_words *words;
    uint8_t data[WORLD_LEN];
    struct peer_world w;

    CHECK(peer_world_init(&w, features, 64, 1, NULL));
    words = peer_world_words(&w);
    CHECK(peer_world_hand_over(&w));
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(peer_world_send(&w, 0, i));
    }
    world_make(data, sizeof data, PEER_FLOW + 1, 77);
    CHECK(peer_world_send_frame(&w, 0, NULL, data, sizeof data));
    CHECK(peer_world_send(&w, 0, 4));
    for (int64_t i = 0; i < 3; i++) {
        CHECK(peer_world_guest_receive(&w, 0) == i);
    }
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    CHECK(!vpci_net_rx_wait(w.net, 0, 1000));
    CHECK(peer_world_wait(&w, w.turn));
    CHECK(vpci_load32(&words->why) == VPCI_ABI_PEER_NOT_ACCEPTED);
    CHECK(!peer_world_info(&w).sends && peer_world_info(&w).refused == 1);
    CHECK(strstr(peer_world_info(&w).reason, "rules"));
    CHECK(stats_of(&w).rx.linked == 3);

    /* The switch finds it, and that behind it. */
    CHECK(peer_world_take_back(&w));
    CHECK(peer_world_pass(&w));
    CHECK(peer_world_guest_receive(&w, 0) == -2);
    CHECK(peer_world_guest_receive(&w, 0) == 4);

    /* Not before there is another turn. */
    CHECK(peer_world_send(&w, 0, 5));
    peer_world_run(&w);
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    CHECK(peer_world_hand_over(&w));
    CHECK(peer_world_guest_receive(&w, 0) == 5);

    /* Nothing is accepted any more. */
    peer_world_accept(&w, false);
    CHECK(peer_world_send(&w, 0, 6));
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    CHECK(peer_world_wait(&w, w.turn) && peer_world_take_back(&w));
    CHECK(peer_world_pass(&w) && peer_world_guest_receive(&w, 0) == 6);
    peer_world_uninit(&w);
    return true;
}

static bool
run_not_accepted(void)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        CHECK(check_not_accepted(kinds[i]));
    }
    return true;
}

/* Packets that hints send to the peer wait for its rings, but not long. */
static bool
run_waits(void)
{
    struct peer_world w;
    int64_t began;

    CHECK(peer_world_init(&w, SPLIT, 16, 1, NULL));
    peer_world_post(&w, 0);
    CHECK(peer_world_guest_send(&w, 0, 0) && peer_world_pass(&w));
    CHECK(peer_world_receive(&w, 0) == 0);
    began = net_now_ms();
    peer_world_hint(&w, true);
    CHECK(!peer_world_guest_send(&w, 0, 1));
    CHECK(net_now_ms() - began > VPCI_ABI_PEER_WAIT_MS / 2
          || !vpci_net_tx_wait(w.net, 0, 1000));
    CHECK(vpci_net_tx_wait(w.net, 0, -1));
    CHECK(net_now_ms() - began >= VPCI_ABI_PEER_WAIT_MS - 1);
    CHECK(peer_world_guest_send(&w, 0, 1));
    CHECK(peer_world_guest_send(&w, 0, 2) && peer_world_pass(&w));
    CHECK(peer_world_receive(&w, 0) == 1 && peer_world_receive(&w, 0) == 2);
    CHECK(!stats_of(&w).tx.linked);

    /* By other hints they wait again; and then the turn comes. */
    peer_world_hint(&w, true);
    CHECK(!peer_world_guest_send(&w, 0, 3));
    CHECK(peer_world_hand_over(&w));
    CHECK(vpci_net_tx_wait(w.net, 0, -1));
    CHECK(peer_world_guest_send(&w, 0, 3));
    CHECK(peer_world_receive(&w, 0) == 3 && stats_of(&w).tx.linked == 1);

    /* Full, and room again, which nobody tells of. */
    for (uint32_t i = 4; i < 4 + 12; i++) {
        CHECK(peer_world_guest_send(&w, 0, i));
    }
    CHECK(!peer_world_guest_send(&w, 0, 16));
    CHECK(!vpci_net_tx_wait(w.net, 0, 3000));
    peer_world_post(&w, 0);
    CHECK(vpci_net_tx_wait(w.net, 0, -1));
    CHECK(peer_world_guest_send(&w, 0, 16));
    CHECK(stats_of(&w).tx.full == 1);

    /* Hints that are withdrawn let them go at once. */
    CHECK(peer_world_take_back(&w));
    peer_world_hint(&w, true);
    CHECK(!peer_world_guest_send(&w, 0, 17));
    peer_world_hint(&w, false);
    CHECK(vpci_net_tx_wait(w.net, 0, -1));
    CHECK(peer_world_guest_send(&w, 0, 17));
    peer_world_uninit(&w);
    return true;
}

/* A ring that makes no sense goes back. */
static bool
run_broken(void)
{
    struct peer_world w;

    for (uint32_t ring = 0; ring < 2; ring++) {
        const struct vpci_abi_peer_words *words;

        CHECK(peer_world_init(&w, SPLIT, 64, 1, NULL));
        words = peer_world_words(&w);
        peer_world_post(&w, 0);
        peer_world_hint(&w, true);
        CHECK(peer_world_hand_over(&w));
        CHECK(peer_world_guest_send(&w, 0, 1));
        CHECK(peer_world_receive(&w, 0) == 1);
        __atomic_store_n(&w.rings[ring].drv->avail->idx,
                         w.rings[ring].drv->avail->idx + 1000,
                         __ATOMIC_RELEASE);
        if (ring) {
            CHECK(peer_world_guest_receive(&w, 0) == -1);
            CHECK(!vpci_net_rx_wait(w.net, 0, 1000));
        } else {
            for (uint32_t i = 0; i < 70; i++) {
                peer_world_guest_send(&w, 0, 2 + i);
            }
        }
        CHECK(peer_world_wait(&w, w.turn));
        CHECK(vpci_load32(&words->why) == VPCI_ABI_PEER_BROKEN);
        CHECK(strstr(peer_world_info(&w).reason, "broken a ring"));
        CHECK(vpci_load32(&words->rings[ring].at)
              == peer_world_place(&w, ring));
        CHECK(!stats_of(&w).resets);
        peer_world_uninit(&w);
    }
    return true;
}

/* What the switch may say wrong. */
struct lie {
    void *field;
    size_t size;
    uint64_t value;
};

/* With a lie, the rings are not taken; without it, they are. */
static bool
check_lie(struct peer_world *w, const struct lie *lie)
{
    const struct vpci_abi_peer *said = peer_world_said(w);
    struct vpci_abi_peer_words *words = peer_world_words(w);
    uint8_t truth[8];

    peer_world_describe(w);
    memcpy(truth, lie->field, lie->size);
    memcpy(lie->field, &lie->value, lie->size);
    vpci_store32(&words->rings[0].next, 1234);
    vpci_store32(&words->rings[1].at, 1234);
    peer_world_set_turn(w);
    CHECK(peer_world_wait(w, w->turn));
    CHECK(vpci_load32(&words->why) == VPCI_ABI_PEER_UNUSABLE);
    CHECK(vpci_load32(&words->taken) != w->turn);
    CHECK(strstr(peer_world_info(w).reason, "cannot be used"));
    for (uint32_t i = 0; i < w->n_rings; i++) {
        CHECK(vpci_load32(&words->rings[i].at)
              == vpci_load32(&said->rings[i].at));
        CHECK(vpci_load32(&words->rings[i].at)
              == vpci_load32(&words->rings[i].next));
    }
    memcpy(lie->field, truth, lie->size);
    peer_world_set_turn(w);
    CHECK(peer_world_wait(w, w->turn));
    for (uint32_t i = 0; i < w->n_rings; i++) {
        CHECK(!vpci_vring_start(w->rings[i].vring, &w->rings[i].config));
    }
    CHECK(peer_world_hand_over(w));
    CHECK(peer_world_send(w, 0, 1));
    CHECK(peer_world_guest_receive(w, 0) == 1);
    return peer_world_take_back(w);
}

#define LIE(FIELD, VALUE) { &said->FIELD, sizeof said->FIELD, VALUE }

static bool
check_lies(uint64_t features)
{
    struct vpci_abi_peer *said;
    struct peer_world w;

    CHECK(peer_world_init(&w, features, 64, 1, NULL));
    said = peer_world_said(&w);
    {
        const struct lie lies[] = {
            LIE(features, features | UINT64_C(1) << 33),
            LIE(features, features | UINT64_C(1) << 63),
            LIE(n_rings, 0),
            LIE(n_rings, 1),
            LIE(n_rings, 3),
            LIE(n_rings, VPCI_ABI_MAX_RINGS + 2),
            LIE(n_rings, UINT32_MAX - 1),
            LIE(n_memories, 0),
            LIE(n_memories, 1 << 16),
            LIE(n_memories, VPCI_ABI_PEER_MEMORIES + 1),
            LIE(size, (16u << 20) + 1),
            LIE(size, UINT64_MAX),
            LIE(size, 0x3000),
            LIE(reserved0[59], 1),
            LIE(reserved1[0], 1),
            LIE(memories[0].size, 0),
            LIE(memories[0].size, UINT64_MAX),
            LIE(memories[0].size, 16u << 20),
            LIE(memories[0].offset, UINT64_MAX - 0xfff),
            LIE(memories[0].offset, 16u << 20),
            LIE(memories[0].offset, 0x3001),
            LIE(memories[0].address, 0),
            LIE(memories[0].address, UINT64_C(0x100000000)),
            LIE(memories[0].address, UINT64_MAX),
            LIE(memories[1].reserved, 1),
            LIE(rings[0].desc, 0),
            LIE(rings[1].desc, UINT64_C(0x80000008)),
            LIE(rings[1].driver, UINT64_C(0x80000001)),
            LIE(rings[1].driver, UINT64_C(0x800fffff)),
            LIE(rings[0].device, UINT64_C(0x80000000) + (1u << 20)),
            LIE(rings[0].device, UINT64_C(0x80000002)),
            LIE(rings[0].size, UINT32_MAX),
            LIE(rings[0].size, 65536 + 64),
            LIE(rings[1].size, 40000),
            LIE(rings[1].at, 5),
            LIE(rings[1].at, 0x70000000),
            LIE(rings[1].kick, VPCI_ABI_MAX_VECTORS + 1),
            LIE(rings[1].kick, UINT32_MAX),
            LIE(rings[0].call, VPCI_ABI_MAX_VECTORS + 1),
            LIE(rings[0].reserved[23], 1),
        };

        for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
            if (!check_lie(&w, &lies[i])) {
                fprintf(stderr, "lie %zu: %s\n", i,
                        peer_world_info(&w).reason);
                return false;
            }
        }
    }

    if (features & VRING_F_PACKED) {
        const struct lie beyond = LIE(rings[0].at, 0x400040);
        const struct lie other_lap = LIE(rings[0].at, 0x80000000);

        CHECK(check_lie(&w, &beyond) && check_lie(&w, &other_lap));
    } else {
        const struct lie packed = LIE(features, PACKED);
        const struct lie odd = LIE(rings[1].size, 63);

        CHECK(check_lie(&w, &packed) && check_lie(&w, &odd));
    }
    peer_world_uninit(&w);
    return true;
}

/* Descriptions that change all the time, while rings go to and fro. */
struct flipper {
    struct peer_world *w;
    bool stop;
};

static void *
flip_main(void *f_)
{
    struct flipper *f = f_;
    struct vpci_abi_peer *said = peer_world_said(f->w);
    uint32_t *p = (void *) &said->features;
    size_t n = (sizeof *said - 64) / sizeof *p;
    unsigned int seed = 1;

    while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
        size_t i = rand_r(&seed) % n;
        uint32_t old = __atomic_load_n(&p[i], __ATOMIC_RELAXED);

        __atomic_store_n(&p[i], old ^ 1u << rand_r(&seed) % 32,
                         __ATOMIC_RELAXED);
        __atomic_store_n(&p[i], old, __ATOMIC_RELAXED);
    }
    return NULL;
}

static bool
check_flips(void)
{
    const struct vpci_abi_peer_words *words;
    unsigned int n_taken = 0;
    struct peer_world w;
    struct flipper f = { .w = &w };
    pthread_t thread;

    CHECK(peer_world_init(&w, SPLIT, 64, 1, NULL));
    words = peer_world_words(&w);
    peer_world_hint(&w, true);
    peer_world_describe(&w);
    CHECK(!pthread_create(&thread, NULL, flip_main, &f));
    for (int i = 0; i < 2000; i++) {
        peer_world_set_turn(&w);
        peer_world_run(&w);
        n_taken += vpci_load32(&words->taken) == w.turn;
        peer_world_guest_send(&w, 0, i);
        peer_world_guest_receive(&w, 0);
        peer_world_set_turn(&w);
        peer_world_run(&w);
        CHECK(vpci_load32(&words->returned) == w.turn);
    }
    __atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(n_taken);
    peer_world_uninit(&w);
    return true;
}

static bool
run_lies(void)
{
    return check_lies(SPLIT) && check_lies(PACKED) && check_flips();
}

/* The guest holds the rings when something ends. */
static bool
begin(struct peer_world *w)
{
    CHECK(peer_world_init(w, PACKED, 64, 1, NULL));
    peer_world_post(w, 0);
    peer_world_hint(w, true);
    CHECK(peer_world_hand_over(w));
    CHECK(peer_world_guest_send(w, 0, 1) && peer_world_send(w, 0, 1));
    CHECK(peer_world_receive(w, 0) == 1);
    CHECK(peer_world_guest_receive(w, 0) == 1);
    return true;
}

/* It has given them back by itself, and they can be had again. */
static bool
check_ended(struct peer_world *w)
{
    const struct vpci_abi_peer_words *words = peer_world_words(w);

    CHECK(peer_world_wait(w, w->turn));
    CHECK(vpci_load32(&words->why) == VPCI_ABI_PEER_ENDS);
    CHECK(peer_world_send(w, 0, 2));
    CHECK(!w->net || peer_world_guest_receive(w, 0) == -1);
    return true;
}

static bool
check_again(struct peer_world *w)
{
    CHECK(peer_world_reach(w) && peer_world_take_back(w));
    CHECK(peer_world_hand_over(w));
    CHECK(peer_world_guest_receive(w, 0) == 2);
    peer_world_uninit(w);
    return true;
}

/* The device goes, is another, or the port. */
static bool
run_ends(void)
{
    const struct vpci_abi_peer_words *words;
    char reason[200];
    struct peer_world w;

    /* Whoever serves it disconnects. */
    CHECK(begin(&w));
    words = peer_world_words(&w);
    net_server_disconnect(&w.server, true);
    CHECK(check_ended(&w) && !vpci_load32(&words->knows));
    CHECK(!peer_world_info(&w).sends);
    net_server_stop(&w.server);
    CHECK(net_server_start(&w.server) && check_again(&w));

    /* The entry goes, or is another one. */
    CHECK(begin(&w));
    vpci_store32_release(&peer_world_entry(&w)->id, 0);
    CHECK(check_ended(&w) && !vpci_load32(&words->knows));
    CHECK(!vpci_net_get_links(w.net, NULL, 0));
    vpci_store32_release(&peer_world_entry(&w)->id, PEER_LINK_ID);
    CHECK(check_again(&w));

    /* The port begins anew. */
    CHECK(begin(&w));
    net_switch_begin(&w.s);
    CHECK(check_ended(&w));
    CHECK(check_again(&w));

    /* The guest ends, and another one comes. */
    CHECK(begin(&w));
    vpci_net_close(w.net);
    w.net = NULL;
    CHECK(check_ended(&w));
    CHECK(net_server_wait(&w.s.server, false)
          && net_server_wait(&w.server, false));
    CHECK(!vpci_net_open(w.s.path, NULL, &w.net, reason, sizeof reason));
    CHECK(check_again(&w));
    return true;
}

/* What is no peer's memory is not used, nor is a peer's as anything else. */
static bool
run_ids(void)
{
    struct vpci_net_config config = { .n_queues = 1 };
    struct vpci_net_info info;
    struct peer_world w;

    CHECK(peer_world_make(&w, SPLIT, 64, 1, &config));
    net_server_stop(&w.server);
    w.server.id = 5;
    CHECK(net_server_start(&w.server) && peer_world_open(&w));
    for (int i = 0; i < 50 || peer_world_info(&w).state
                              != VPCI_NET_CONNECTING; i++) {
        peer_world_run(&w);
        CHECK(i < 20000);
    }
    CHECK(strstr(peer_world_info(&w).reason, "no peer's"));
    CHECK(!vpci_load32(&peer_world_words(&w)->knows));
    peer_world_uninit(&w);

    /* The base's server says that it is a peer's memory. */
    CHECK(peer_world_make(&w, SPLIT, 64, 1, &config));
    net_server_stop(&w.s.server);
    w.s.server.id |= VPCI_ABI_PEER_ID;
    CHECK(net_server_start(&w.s.server) && peer_world_open(&w));
    for (int i = 0; i < 50; i++) {
        peer_world_run(&w);
        usleep(1000);
    }
    vpci_net_get_info(w.net, &info);
    CHECK(info.state == VPCI_NET_NO_HEADER && strstr(info.reason, "peer"));
    peer_world_uninit(&w);

    /* An entry of a peer elsewhere is no link. */
    CHECK(peer_world_init(&w, SPLIT, 64, 1, &config));
    {
        struct vpci_abi_link *e = vpci_layout_link(&w.s.port.layout, w.s.base,
                                                   0);

        e->shape = peer_world_entry(&w)->shape;
        vpci_store32_release(&e->id, 77);
    }
    peer_world_run(&w);
    peer_world_run(&w);
    CHECK(vpci_net_get_links(w.net, NULL, 0) == 1);
    peer_world_uninit(&w);
    return true;
}

/* Sends a frame with an offload from the guest; the peer is to see the
 * same. */
static bool
passes_to_peer(struct peer_world *w, const struct vpci_ring_offload *o,
               uint8_t *frame, uint32_t len)
{
    struct vpci_ring_buf buf = { .data = frame, .len = len, .offload = *o };
    uint8_t got[4096], hdr[12];

    return (vpci_net_tx_burst(w->net, 0, &buf, 1) == 1
            && peer_world_receive_frame(w, 0, hdr, got, sizeof got) == len
            && !memcmp(frame, got, len) && hdr[0] == o->flags
            && hdr[1] == o->gso_type);
}

/* The other way round. */
static bool
passes_to_guest(struct peer_world *w, const uint8_t hdr[12],
                const uint8_t *frame, uint32_t len)
{
    uint8_t got[4096];
    struct vpci_ring_buf buf = { .data = got, .size = sizeof got };

    return (peer_world_send_frame(w, 0, hdr, frame, len)
            && vpci_net_rx_burst(w->net, 0, &buf, 1) == 1
            && buf.len == len && !memcmp(frame, got, len)
            && buf.offload.flags == hdr[0]
            && buf.offload.gso_type == hdr[1]);
}

/* A TCP packet, of flow 100, without its checksum. */
static void
make_tcp(uint8_t *data, uint32_t len, uint8_t flags)
{
    world_make(data, len, 100, 0);
    memset(data + 12, 0, 42);
    data[12] = 0x08;
    data[14] = 0x45;
    data[16] = (len - 14) >> 8;
    data[17] = len - 14;
    data[22] = 64;
    data[23] = 6;
    data[46] = 0x50;
    data[47] = flags;
}

/* What is left to do is passed on to those who take it. */
static bool
run_offloads(void)
{
    const uint64_t takes = F(GUEST_CSUM) | F(GUEST_TSO4);
    const uint64_t leaves = F(CSUM) | F(HOST_TSO4);
    struct vpci_net_config config = { .features = takes | leaves };
    const struct vpci_ring_offload csum = {
        .flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
        .csum_start = 34, .csum_offset = 16,
    };
    struct vpci_ring_offload tso = csum;
    uint8_t frame[4000], hdr[12] = { VIRTIO_NET_HDR_F_NEEDS_CSUM };
    const struct vpci_abi_flow_count *c;
    struct peer_world w;

    CHECK(peer_world_init(&w, PACKED | F(MRG_RXBUF) | takes | leaves, 64, 1,
                          &config));
    world_set(w.hints, 100, ((uint64_t) PEER_LINK_ID << VPCI_ABI_HINT_ID_SHIFT
                             | 40u << VPCI_ABI_HINT_COUNTER_SHIFT | w.slot));
    world_set(w.acceptances, 100, UINT64_C(1) << 32 | 41);
    peer_world_hint(&w, true);
    peer_world_accept(&w, true);
    peer_world_post(&w, 0);
    CHECK(peer_world_hand_over(&w));
    make_tcp(frame, 200, 2);
    CHECK(passes_to_peer(&w, &csum, frame, 200));
    make_tcp(frame, sizeof frame, 0x10);
    tso.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
    tso.gso_size = 1000;
    CHECK(passes_to_peer(&w, &tso, frame, sizeof frame));
    c = vpci_layout_flow_count(&w.s.port.layout, w.s.base, 0, 40);
    CHECK(vpci_load64(&c->packets) == 1 + 4);
    CHECK(vpci_load64(&c->bytes) == 200 + sizeof frame + 3 * 54);
    CHECK(vpci_load64(&c->tcp_flags) == 0x1200);

    memcpy(hdr + 6, (const uint16_t[]) { 34, 16 }, 4);
    make_tcp(frame, 200, 2);
    CHECK(passes_to_guest(&w, hdr, frame, 200));
    make_tcp(frame, sizeof frame, 0x10);
    hdr[1] = VIRTIO_NET_HDR_GSO_TCPV4;
    memcpy(hdr + 4, &(const uint16_t) { 1000 }, 2);
    CHECK(passes_to_guest(&w, hdr, frame, sizeof frame));
    c = vpci_layout_flow_count(&w.s.port.layout, w.s.base, 0, 41);
    CHECK(vpci_load64(&c->packets) == 1 + 4);
    CHECK(vpci_load64(&c->tcp_flags) == 0x1200);

    /* Nonsense ends the turn. */
    hdr[1] = 77;
    CHECK(!passes_to_guest(&w, hdr, frame, sizeof frame));
    CHECK(peer_world_wait(&w, w.turn));
    peer_world_uninit(&w);

    /* Who takes nothing is sent nothing: it goes to the switch; and what the
     * guest does not take, or is too long for it, ends the turn. */
    CHECK(peer_world_init(&w, PACKED | leaves, 64, 1, &config));
    world_set(w.hints, 100, ((uint64_t) PEER_LINK_ID << VPCI_ABI_HINT_ID_SHIFT
                             | 40u << VPCI_ABI_HINT_COUNTER_SHIFT | w.slot));
    peer_world_hint(&w, true);
    peer_world_post(&w, 0);
    CHECK(peer_world_hand_over(&w));
    make_tcp(frame, 200, 2);
    CHECK(!passes_to_peer(&w, &csum, frame, 200));
    CHECK(switch_port_take(&w.s.port, 0, frame, sizeof frame) == 200);
    world_make(frame, 1600, PEER_FLOW, 1);
    hdr[0] = hdr[1] = 0;
    CHECK(!passes_to_guest(&w, hdr, frame, 1600));
    CHECK(peer_world_wait(&w, w.turn));
    peer_world_uninit(&w);
    return true;
}

/* Packets that are larger than the caller's buffer are dropped, and those that
 * no buffer of the peer's could hold. */
static bool
run_sizes(void)
{
    uint8_t data[3][100], frame[5000];
    struct vpci_ring_buf bufs[3], large = { .data = frame, .len = 5000 };
    struct peer_world w;

    CHECK(peer_world_make(&w, SPLIT, 64, 1, NULL));
    vpci_store32(&vpci_layout_port(w.s.base)->max_len, 9000);
    CHECK(peer_world_open(&w) && peer_world_reach(&w));
    peer_world_post(&w, 0);
    peer_world_hint(&w, true);
    CHECK(peer_world_hand_over(&w));
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t len = i == 1 ? 101 : WORLD_LEN;

        bufs[i] = (struct vpci_ring_buf) { .data = data[i], .size = 100 };
        world_make(frame, len, PEER_FLOW, i);
        CHECK(peer_world_send_frame(&w, 0, NULL, frame, len));
    }
    CHECK(vpci_net_rx_burst(w.net, 0, bufs, 3) == 2);
    CHECK(world_number(bufs[0].data, bufs[0].len, PEER_FLOW) == 0);
    CHECK(world_number(bufs[1].data, bufs[1].len, PEER_FLOW) == 2);
    CHECK(stats_of(&w).rx.dropped == 1);

    world_make(frame, sizeof frame, PEER_FLOW, 9);
    CHECK(vpci_net_tx_burst(w.net, 0, &large, 1) == 1);
    CHECK(stats_of(&w).tx.refused == 1 && !stats_of(&w).tx.linked);
    CHECK(peer_world_guest_send(&w, 0, 3) && peer_world_receive(&w, 0) == 3);
    peer_world_uninit(&w);
    return true;
}

/* A receiver, and a sender, that sleep whenever there is nothing to do. */
struct load {
    struct peer_world *w;
    uint32_t n;
    uint32_t done;              /* Atomic. */
    bool bad;
};

static void *
receive_main(void *load_)
{
    struct load *load = load_;

    while (load->done < load->n && !load->bad) {
        int64_t number = peer_world_guest_receive(load->w, 0);

        if (number == load->done) {
            __atomic_store_n(&load->done, load->done + 1, __ATOMIC_RELEASE);
        } else if (number != -1
                   || !vpci_net_rx_wait(load->w->net, 0,
                                        WORLD_TIMEOUT_MS * 1000)) {
            __atomic_store_n(&load->bad, true, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

static void *
send_main(void *load_)
{
    struct load *load = load_;

    while (load->done < load->n && !load->bad) {
        if (peer_world_guest_send(load->w, 0, load->done)) {
            __atomic_store_n(&load->done, load->done + 1, __ATOMIC_RELEASE);
        } else if (!vpci_net_tx_wait(load->w->net, 0,
                                     WORLD_TIMEOUT_MS * 1000)) {
            __atomic_store_n(&load->bad, true, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

/* Takes the rings back, and hands them over again, and nobody notices.
 * Returns false if that took so long that senders have stopped to wait. */
static bool
flip_turn(struct peer_world *w, bool *ok)
{
    int64_t began = net_now_ms();

    peer_world_hint(w, true);
    *ok = (peer_world_take_back(w) && peer_world_hand_over(w));
    return net_now_ms() - began < VPCI_ABI_PEER_WAIT_MS - 1;
}

/* No kick is lost, although rings go to and fro. */
static bool
check_sleep(uint64_t features, uint32_t n)
{
    struct vpci_net_config config = { .own_thread = true };
    struct load loads[2];
    pthread_t threads[2];
    struct peer_world w;
    uint32_t sent = 0, received = 0;
    int64_t deadline = net_now_ms() + 4 * WORLD_TIMEOUT_MS;
    unsigned int seed = 1;
    bool flips = true;

    CHECK(peer_world_init(&w, features, 16, 1, &config));
    peer_world_post(&w, 0);
    peer_world_hint(&w, true);
    CHECK(peer_world_hand_over(&w));
    for (int i = 0; i < 2; i++) {
        loads[i] = (struct load) { .w = &w, .n = n };
        CHECK(!pthread_create(&threads[i], NULL,
                              i ? receive_main : send_main, &loads[i]));
    }
    while (received < n
           || __atomic_load_n(&loads[1].done, __ATOMIC_ACQUIRE) < n) {
        int64_t number = peer_world_receive(&w, 0);

        CHECK(number == -1 || number == received);
        received += number >= 0;
        peer_world_post(&w, 0);
        if (sent < n && rand_r(&seed) % 4 == 0) {
            sent += peer_world_send(&w, 0, sent);
        }
        if (flips && rand_r(&seed) % 3000 == 0) {
            bool ok;

            flips = flip_turn(&w, &ok);
            CHECK(ok);
        } else if (rand_r(&seed) % 50 == 0) {
            switch_port_run(&w.s.port, net_now_ms());
            usleep(rand_r(&seed) % 100);
        }
        for (int i = 0; i < 2; i++) {
            CHECK(!__atomic_load_n(&loads[i].bad, __ATOMIC_ACQUIRE));
        }
        CHECK(net_now_ms() < deadline);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
    }
    CHECK(stats_of(&w).rx.linked == n);
    peer_world_uninit(&w);
    return true;
}

/* Somebody waits while the peer has sent nothing. */
static bool
check_kick(uint64_t features)
{
    struct vpci_net_config config = { .own_thread = true };
    struct load load;
    pthread_t thread;
    struct peer_world w;

    CHECK(peer_world_init(&w, features, 16, 1, &config));
    CHECK(peer_world_hand_over(&w));
    load = (struct load) { .w = &w, .n = 30 };
    CHECK(!pthread_create(&thread, NULL, receive_main, &load));
    for (uint32_t i = 0; i < 30; i++) {
        int64_t end = net_now_ms() + 1000;

        usleep(1000);
        CHECK(peer_world_send(&w, 0, i));
        while (__atomic_load_n(&load.done, __ATOMIC_ACQUIRE) <= i) {
            CHECK(net_now_ms() < end && !load.bad);
            usleep(10);
        }
    }
    pthread_join(thread, NULL);
    CHECK(stats_of(&w).rx.received > 20);
    peer_world_uninit(&w);
    return true;
}

static bool
run_sleep(void)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        CHECK(check_kick(kinds[i]));
        CHECK(check_sleep(kinds[i], 10000));
    }
    return true;
}

/* How long a switch waits for an answer. */
#define PATIENCE_MS 100

/* The control signal is answered at once. */
static bool
run_prompt(void)
{
    struct vpci_net_config config = { .own_thread = true };
    const struct vpci_abi_peer_words *words;
    int64_t worst = 0;
    struct peer_world w;

    CHECK(peer_world_init(&w, SPLIT, 64, 1, &config));
    words = peer_world_words(&w);
    for (int i = 0; i < 200; i++) {
        int64_t began = net_now_ms(), took;

        if (i % 2) {
            peer_world_set_turn(&w);
            while (vpci_load32_acquire(&words->returned) != w.turn) {
                usleep(20);
            }
            CHECK(peer_world_go_on(&w, false));
        } else {
            peer_world_describe(&w);
            peer_world_set_turn(&w);
            while (vpci_load32_acquire(&words->taken) != w.turn) {
                usleep(20);
            }
        }
        took = net_now_ms() - began;
        worst = took > worst ? took : worst;
        switch_port_run(&w.s.port, net_now_ms());
    }
    CHECK(worst < PATIENCE_MS);

    /* So is a worker who gives rings back. */
    CHECK(peer_world_hand_over(&w));
    peer_world_accept(&w, false);
    CHECK(peer_world_send(&w, 0, 1));
    worst = net_now_ms();
    CHECK(peer_world_guest_receive(&w, 0) == -1);
    while (vpci_load32_acquire(&words->returned) != w.turn) {
        usleep(20);
    }
    CHECK(net_now_ms() - worst < PATIENCE_MS);
    peer_world_uninit(&w);
    return true;
}

/* Signals that come when they are needed, by a new id each time: turns wait
 * for them. */
static bool
run_signals(void)
{
    const struct vpci_abi_peer_words *words;
    struct vpci_abi_link *e;
    struct peer_world w;
    int calls[2];

    CHECK(peer_world_make(&w, SPLIT, 64, 1, NULL));
    words = peer_world_words(&w);
    e = peer_world_entry(&w);
    net_server_stop(&w.server);
    w.server.n_fds = 1;
    CHECK(net_server_start(&w.server) && peer_world_open(&w)
          && peer_world_reach(&w));
    calls[0] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    calls[1] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    peer_world_post(&w, 0);
    peer_world_hint(&w, true);
    for (uint32_t i = 0; i < 10; i++) {
        const int *now = i % 2 ? calls : w.calls, *before = i % 2 ? w.calls
                         : calls;

        peer_world_describe(&w);
        peer_world_said(&w)->rings[1].kick = VPCI_LE32(2 + i);
        vpci_store32(&e->peer_id, w.server.peer_id + 1 + i);
        peer_world_set_turn(&w);
        for (int j = 0; j < 20; j++) {
            peer_world_run(&w);
        }
        CHECK(vpci_load32(&words->taken) != w.turn);
        CHECK(vpci_load32(&words->returned) != w.turn);
        net_server_send(&w.server, w.server.id, &w.kicks[1], 1);
        net_server_send(&w.server, w.server.peer_id + 1 + i, now, 1);
        for (int j = 0; j < 20; j++) {
            peer_world_run(&w);
        }
        CHECK(vpci_load32(&words->taken) != w.turn);
        net_server_send(&w.server, w.server.peer_id + 1 + i, now + 1, 1);
        for (int j = 0; vpci_load32(&words->taken) != w.turn; j++) {
            CHECK(vpci_load32(&words->returned) != w.turn && j < 100000);
            peer_world_run(&w);
        }
        CHECK(peer_world_info(&w).peer_id == w.server.peer_id + 1 + i);

        CHECK(!vring_driver_enable_interrupts(w.rings[0].drv, 1));
        was_injected(now[0]);
        was_injected(before[0]);
        CHECK(peer_world_guest_send(&w, 0, i));
        CHECK(was_injected(now[0]) && !was_injected(before[0]));
        CHECK(peer_world_receive(&w, 0) == i);
        CHECK(!vpci_net_rx_wait(w.net, 0, 1000));
        CHECK(peer_world_send(&w, 0, i));
        CHECK(vpci_net_rx_wait(w.net, 0, 1000000));
        CHECK(peer_world_guest_receive(&w, 0) == i);
        CHECK(peer_world_take_back(&w));
    }
    peer_world_uninit(&w);
    close(calls[0]);
    close(calls[1]);
    return true;
}

/* A guest in a process of its own, which moves packets until it is killed. */
static void
live(struct peer_world *w)
{
    uint32_t sent = 0;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (!peer_world_open(w)) {
        _exit(EXIT_FAILURE);
    }
    for (;;) {
        vpci_net_run(w->net, net_now_ms());
        for (int i = 0; i < 200; i++) {
            sent += peer_world_guest_send(w, 0, sent);
            peer_world_guest_receive(w, 0);
        }
    }
}

/* Moves what the peer has while the guest lives, which may have sent to the
 * switch before it had the rings. */
static bool
live_with(struct peer_world *w, int64_t ms)
{
    int64_t end = net_now_ms() + ms, received = -1;
    uint32_t sent = 0;

    while (net_now_ms() < end) {
        int64_t number = peer_world_receive(w, 0);

        CHECK(number == -1 || received == -1 || number == received + 1);
        received = number >= 0 ? number : received;
        peer_world_post(w, 0);
        sent += peer_world_send(w, 0, sent);
        switch_port_run(&w->s.port, net_now_ms());
    }
    return true;
}

static bool
check_death(struct peer_world *w, unsigned int *seed)
{
    const struct vpci_abi_peer_words *words = peer_world_words(w);
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;
    bool died;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        live(w);
    }
    while (!vpci_load32_acquire(&words->knows)) {
        switch_port_run(&w->s.port, net_now_ms());
        CHECK(net_now_ms() < deadline);
    }
    CHECK(peer_world_hand_over(w));
    CHECK(live_with(w, rand_r(seed) % 20));
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, NULL, 0) == pid);

    /* The next guest, if there is one before the switch has found out, does not
     * pretend to have them. */
    died = vpci_load32(&words->returned) != w->turn;
    CHECK(died && peer_world_go_on(w, true));
    CHECK(net_server_wait(&w->s.server, false)
          && net_server_wait(&w->server, false));
    if (rand_r(seed) % 2) {
        vpci_store32(&peer_world_words(w)->knows, 0);
        vpci_store32_release(&peer_world_said(w)->turn, ++w->turn);
    } else {
        CHECK(w->turn % 2);
    }
    while (peer_world_receive(w, 0) != -1) {
        continue;
    }
    CHECK(!w->rings[0].drv->error && !w->rings[1].drv->error);
    return true;
}

/* Guests that die are followed by others, and the rings are well. */
static bool
run_death(void)
{
    unsigned int seed = 1;

    for (size_t i = 0; i < N_KINDS; i++) {
        struct peer_world w;

        CHECK(peer_world_make(&w, kinds[i], 32, 1, NULL));
        peer_world_hint(&w, true);
        peer_world_post(&w, 0);
        for (int j = 0; j < 15; j++) {
            const struct vpci_abi_peer_words *words = peer_world_words(&w);
            uint32_t turn = w.turn;

            CHECK(check_death(&w, &seed));
            if (w.turn % 2) {
                /* A guest that comes says that nobody has them any more, and
                 * leaves the records as they are. */
                struct vpci_abi_peer_record records[2];

                memcpy(records, words->rings, sizeof records);
                w.config = (struct vpci_net_config) { .n_queues = 1 };
                CHECK(peer_world_open(&w));
                CHECK(peer_world_wait(&w, w.turn));
                CHECK(vpci_load32(&words->why) == VPCI_ABI_PEER_ENDS);
                CHECK(peer_world_reach(&w));
                peer_world_run(&w);
                CHECK(vpci_load32(&words->taken) == turn + 1);
                CHECK(!memcmp(records, words->rings, sizeof records));
                vpci_net_close(w.net);
                w.net = NULL;
                CHECK(net_server_wait(&w.s.server, false)
                      && net_server_wait(&w.server, false));
                vpci_store32_release(&peer_world_said(&w)->turn, ++w.turn);
            }
        }
        peer_world_uninit(&w);
    }
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "hand-over", run_hand_over },
        { "turns", run_turns },
        { "marks", run_marks },
        { "queues", run_queues },
        { "not-accepted", run_not_accepted },
        { "waits", run_waits },
        { "broken", run_broken },
        { "lies", run_lies },
        { "ends", run_ends },
        { "ids", run_ids },
        { "offloads", run_offloads },
        { "sizes", run_sizes },
        { "sleep", run_sleep },
        { "signals", run_signals },
        { "prompt", run_prompt },
        { "death", run_death },
    };

    signal(SIGPIPE, SIG_IGN);
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
