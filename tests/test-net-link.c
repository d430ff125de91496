/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of links, as guests of vpci-net use them (vpci/net.h, vpci/abi.h).
 *
 * usage: test-net-link [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net-world.h"
#include "unit-test.h"
#include "vpci/projection.h"

/* What hints say goes by the link, all else by the switch. */
static bool
run_hints(void)
{
    struct vpci_net_stats stats;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    CHECK(world_send(&w, 0, 0, 1, 1));
    CHECK(world_switch_receive(&w, 0, 0, 1) == 1);
    world_hint(&w, 0, 1);
    world_hint(&w, 0, 2);
    world_publish(&w, 0);
    for (int64_t i = 0; i < 500; i++) {
        uint8_t flow = 1 + i % 3;

        CHECK(world_send(&w, 0, 0, flow, i));
        CHECK(world_peer_receive(&w, 0, flow) == (flow < 3 ? i : -1));
        CHECK(world_switch_receive(&w, 0, 0, flow) == (flow < 3 ? -1 : i));
    }
    world_unset(w.ports[0].hints, 1);
    world_publish(&w, 0);
    CHECK(world_send(&w, 0, 0, 1, 7) && world_send(&w, 0, 0, 2, 8));
    CHECK(world_switch_receive(&w, 0, 0, 1) == 7);
    CHECK(world_peer_receive(&w, 0, 2) == 8);
    stats = world_stats(&w, 0);
    CHECK(stats.tx.packets == 503 && stats.tx.linked == 335);
    CHECK(stats.tx.bytes == 503 * WORLD_LEN);
    world_run(&w);
    CHECK(world_link_info(&w, 0).tx_packets == 335);

    /* Of another link, or of none. */
    world_set(w.ports[0].hints, 2, UINT64_C(6) << 32 | w.slot);
    world_publish(&w, 0);
    CHECK(world_send(&w, 0, 0, 2, 9));
    CHECK(world_switch_receive(&w, 0, 0, 2) == 9);
    world_set(w.ports[0].hints, 2, UINT64_C(5) << 32 | (w.slot + 1));
    world_publish(&w, 0);
    CHECK(world_send(&w, 0, 0, 2, 10));
    CHECK(world_switch_receive(&w, 0, 0, 2) == 10);
    world_set(w.ports[0].hints, 2, UINT64_C(5) << 32 | UINT32_MAX);
    world_publish(&w, 0);
    CHECK(world_send(&w, 0, 0, 2, 11));
    CHECK(world_switch_receive(&w, 0, 0, 2) == 11);
    world_uninit(&w);
    return true;
}

/* Nothing but what is accepted is received. */
static bool
run_acceptances(void)
{
    struct vpci_abi_flow_count *c;
    struct vpci_net_stats stats;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    CHECK(world_peer_send(&w, 0, 1, 1));
    CHECK(world_receive(&w, 0, 0, 1) == -1);
    CHECK(world_said_refused(&w, 0, 0) == 1);
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_accept(&w, 0, 2, VPCI_ABI_ACCEPT);
    world_set(w.ports[0].acceptances, 4, UINT64_C(1) << 32 | 64);
    world_set(w.ports[0].acceptances, 5, UINT64_C(1) << 32 | UINT32_MAX);
    world_set(w.ports[0].acceptances, 6, UINT64_C(4) << 32 | 6);
    world_publish(&w, 0);
    for (int64_t i = 0; i < 700; i++) {
        uint8_t flow = 1 + i % 7;

        CHECK(world_peer_send(&w, 0, flow, i));
        CHECK(world_receive(&w, 0, 0, flow) == (flow <= 2 ? i : -1));
    }
    stats = world_stats(&w, 0);
    CHECK(stats.rx.packets == 200 && stats.rx.linked == 200);
    CHECK(stats.rx.bytes == 200 * WORLD_LEN && stats.rx.rejected == 501);
    CHECK(world_said_refused(&w, 0, 0) == 501);
    for (uint32_t i = 1; i <= 2; i++) {
        c = world_said_flow(&w, 0, 0, i);
        CHECK(vpci_load64(&c->packets) == 100);
        CHECK(vpci_load64(&c->bytes) == 100 * WORLD_LEN);
    }
    c = world_said_flow(&w, 0, 0, 6);
    CHECK(!vpci_load64(&c->packets));

    /* Counts go on when the guest begins anew. */
    vpci_net_close(w.ports[0].net);
    w.ports[0].net = NULL;
    CHECK(net_server_wait(&w.ports[0].s.server, false)
          && net_server_wait(&w.ports[0].server, false));
    char reason[200];
    CHECK(!vpci_net_open(w.ports[0].s.path, NULL, &w.ports[0].net, reason,
                         sizeof reason));
    CHECK(world_reach(&w, true));
    CHECK(world_peer_send(&w, 0, 1, 7) && world_peer_send(&w, 0, 3, 8));
    CHECK(world_receive(&w, 0, 0, 1) == 7);
    CHECK(world_receive(&w, 0, 0, 3) == -1);
    c = world_said_flow(&w, 0, 0, 1);
    CHECK(vpci_load64(&c->packets) == 101);
    CHECK(world_said_refused(&w, 0, 0) == 502);
    CHECK(world_stats(&w, 0).rx.rejected == 1);
    world_uninit(&w);
    return true;
}

/* WAIT holds back a packet and those behind it, and lets them go in order. */
static bool
run_wait(void)
{
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_WAIT);
    world_accept(&w, 0, 2, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    world_run(&w);
    for (int64_t i = 0; i < 20; i++) {
        CHECK(world_peer_send(&w, 0, i == 5 || i > 10 ? 1 : 2, i));
    }
    for (int64_t i = 0; i < 5; i++) {
        CHECK(world_receive(&w, 0, 0, 2) == i);
    }
    CHECK(world_receive(&w, 0, 0, 2) == -1);
    CHECK(!vpci_net_rx_wait(w.ports[0].net, 0, 2000));

    /* The base goes on, and so does whoever waits for the link. */
    CHECK(world_switch_send(&w, 0, 0, 1, 77));
    CHECK(vpci_net_rx_wait(w.ports[0].net, 0, -1));
    CHECK(world_receive(&w, 0, 0, 1) == 77);
    CHECK(world_receive(&w, 0, 0, 1) == -1);
    world_publish(&w, 0);
    CHECK(vpci_net_rx_wait(w.ports[0].net, 0, -1));
    CHECK(world_receive(&w, 0, 0, 1) == -1);
    CHECK(!vpci_net_rx_wait(w.ports[0].net, 0, 2000));

    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    CHECK(vpci_net_rx_wait(w.ports[0].net, 0, -1));
    for (int64_t i = 5; i < 20; i++) {
        CHECK(world_receive(&w, 0, 0, i == 5 || i > 10 ? 1 : 2) == i);
    }
    CHECK(world_receive(&w, 0, 0, 1) == -1);
    CHECK(!world_stats(&w, 0).rx.rejected);
    world_uninit(&w);
    return true;
}

/* Packets of the base do not overtake those of links, whatever is received at
 * once. */
static bool
run_order(void)
{
    unsigned int seed = 1;
    int64_t sent = 0, got = 0;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);

    /* Also when the link has been away. */
    world_withdraw(&w);
    CHECK(world_reach(&w, false));
    for (int64_t i = 0; i < 5; i++) {
        CHECK(world_switch_send(&w, 0, 0, 1, i));
        CHECK(world_receive(&w, 0, 0, 1) == i);
    }
    world_offer(&w);
    world_begin_peer(&w);
    CHECK(world_reach(&w, true));
    CHECK(world_peer_send(&w, 0, 1, 0) && world_switch_send(&w, 0, 0, 1, 1));
    CHECK(world_receive(&w, 0, 0, 1) == 0 && world_receive(&w, 0, 0, 1) == 1);
    sent = got = 2;

    /* From link to switch: each packet of the switch is behind those that
     * the link had.  The other way round they may overtake, but for the
     * switch's own care: so the base is empty when the link has more. */
    while (got < 20000) {
        unsigned int n = rand_r(&seed) % 40, m = rand_r(&seed) % 20;

        while (n-- > 0 && world_peer_send(&w, 0, 1, sent)) {
            sent++;
        }
        while (m-- > 0 && world_switch_send(&w, 0, 0, 1, sent)) {
            sent++;
        }
        while (got < sent) {
            uint8_t data[40][128];
            struct vpci_ring_buf bufs[40];
            unsigned int k = 1 + rand_r(&seed) % 40;

            for (int i = 0; i < 40; i++) {
                bufs[i] = (struct vpci_ring_buf) { .data = data[i],
                                                   .size = 128 };
            }
            k = vpci_net_rx_burst(w.ports[0].net, 0, bufs, k);
            CHECK(k > 0);
            for (unsigned int i = 0; i < k; i++) {
                CHECK(world_number(bufs[i].data, bufs[i].len, 1) == got);
                got++;
            }
        }
    }
    CHECK(world_stats(&w, 0).rx.linked > 5000);
    world_uninit(&w);
    return true;
}

/* Keeps the link full, and receives until the packet of the base comes.  Adds
 * what came by the link to '*n', and returns how many these were, or -1. */
static int
receive_past_link(struct world *w, int64_t *n)
{
    static int64_t sent;
    int past = 0;

    sent = *n ? sent : 0;
    for (;;) {
        uint64_t linked = world_stats(w, 0).rx.linked;
        int64_t number;

        while (world_peer_send(w, 0, 1, sent)) {
            sent++;
        }
        number = world_receive(w, 0, 0, 1);
        if (world_stats(w, 0).rx.linked == linked) {
            return number == -2 ? past : -1;
        }
        if (number != (*n)++) {
            return -1;
        }
        past++;
    }
}

/* A packet of the base that comes behind one of a lower class is not held up
 * by links of its own class. */
static bool
check_fair_classes(void)
{
    struct vpci_shape base = world_base_shape, link = world_link_shape;
    struct world w;
    int n = 0;

    base.n_classes = link.n_classes = 2;
    base.n_vectors = 3;
    CHECK(world_init(&w, &base, &link, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    CHECK(world_peer_send(&w, 0, 1, 0) && world_switch_send(&w, 0, 1, 2, 0));
    while (world_stats(&w, 0).rx.packets == world_stats(&w, 0).rx.linked) {
        while (world_peer_send(&w, 1, 1, 1)) {
            continue;
        }
        CHECK(world_receive(&w, 0, 0, 1) != -1 && n++ < 40);
    }
    CHECK(n > 32);
    world_uninit(&w);
    return true;
}

/* Rings of links that are never empty do not hold up others of their class,
 * whether or not there are packets of the base as well. */
static bool
check_fair_rings(void)
{
    struct vpci_shape link = world_link_shape;
    struct world w;

    link.n_queues = 4;
    CHECK(world_init(&w, NULL, &link, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    for (uint32_t i = 0; i < 40; i++) {
        uint32_t from = 1 + i % 3;
        int64_t number;
        int n = 0;

        CHECK(i < 20 || world_switch_send(&w, 0, 0, 2, i));
        CHECK(world_peer_send(&w, from, 1, 1));
        do {
            while (world_peer_send(&w, 0, 1, 0)) {
                continue;
            }
            number = world_receive(&w, 0, 0, 1);
            CHECK(number != -1 && n++ < 36);
        } while (number != 1);
        CHECK(i >= 20 || n <= 2);
    }
    world_uninit(&w);
    return true;
}

/* Links share their receiver, however many rings they have. */
static bool
check_fair_links(void)
{
    struct vpci_shape link = world_link_shape;
    int n[2] = { 0, 0 };
    struct world w;

    link.n_queues = 4;
    CHECK(world_init(&w, NULL, &link, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    CHECK(world_add_link(&w, &world_link_shape));
    for (uint32_t i = 0; i < 100; i++) {
        int64_t number;

        for (uint32_t j = 0; j < 4; j++) {
            while (world_peer_send(&w, j, 1, 0)) {
                continue;
            }
        }
        while (world_second_send(&w, 0, 1, 1)) {
            continue;
        }
        number = world_receive(&w, 0, 0, 1);
        CHECK(number == 0 || number == 1);
        n[number]++;
    }
    CHECK(n[0] == 50 && n[1] == 50);
    world_uninit(&w);
    return true;
}

/* A link that never is empty, or says so, does not hold up the base. */
static bool
run_fair(void)
{
    struct vpci_ring_memory m;
    int64_t n = 0, sent;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    for (int i = 0; i < 100; i++) {
        int past;

        CHECK(world_switch_send(&w, 0, 0, 2, i));
        past = receive_past_link(&w, &n);
        CHECK(past >= (i > 0) && past <= 32);
    }

    /* A peer that says there is more. */
    while ((sent = world_receive(&w, 0, 0, 1)) >= 0) {
        CHECK(sent == n++);
    }
    vpci_layout_ring(&w.layout, w.link, 1, 0, &m);
    for (uint32_t i = 0; i < 100; i++) {
        vpci_store32(&m.producer->produced, n + i);
        CHECK(world_switch_send(&w, 0, 0, 2, i));
        CHECK(world_receive(&w, 0, 0, 2) == (int64_t) i);
    }
    world_uninit(&w);
    return (check_fair_classes() && check_fair_rings()
            && check_fair_links());
}

/* Queues say by which hints they go: at first, when they send, and if they do
 * not. */
static bool
run_generations(void)
{
    struct vpci_net_config config = { .n_queues = 2 };
    struct vpci_shape base = world_base_shape;
    const uint32_t *generation;
    struct world w;

    base.n_queues = 3;
    base.n_vectors = 4;
    CHECK(world_init(&w, &base, NULL, &config, false));
    generation = &w.ports[0].hints_generation;
    CHECK(!world_said_hints(&w, 0, 0) && !world_said_hints(&w, 0, 1));
    for (int i = 0; i < 20; i++) {
        void *hints = vpci_layout_hints(&w.ports[0].s.port.layout,
                                        w.ports[0].s.base);
        uint32_t old = *generation;

        world_hint(&w, 0, 1 + i);
        world_publish(&w, 0);
        if (i % 2) {
            vpci_projection_revoke(hints, &w.ports[0].hints_generation);
        }
        CHECK(*generation != old && world_said_hints(&w, 0, 0) == old);
        CHECK(world_send(&w, 0, 0, 1, i));
        CHECK(world_said_hints(&w, 0, 0) == *generation);
        CHECK(world_said_hints(&w, 0, 1) == old);
        CHECK(world_peer_receive(&w, 0, 1) == (i % 2 ? -1 : i));
        CHECK(world_switch_receive(&w, 0, 0, 1) == (i % 2 ? i : -1));
        world_run(&w);
        CHECK(world_said_hints(&w, 0, 1) == *generation);
    }

    /* What is there when they begin. */
    net_switch_begin(&w.ports[0].s);
    w.ports[0].hints_generation = 0;
    world_publish(&w, 0);
    while (!net_switch_run(&w.ports[0].s)) {
        vpci_net_run(w.ports[0].net, net_now_ms());
    }
    CHECK(world_said_hints(&w, 0, 0) == *generation);
    CHECK(world_said_hints(&w, 0, 1) == *generation);
    CHECK(world_said_hints(&w, 0, 2) == *generation);
    world_uninit(&w);
    return true;
}

/* What is revoked is not sent, nor received, any more. */
static bool
run_revoked(void)
{
    struct world_port *p;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    p = &w.ports[0];
    world_hint(&w, 0, 1);
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    CHECK(world_peer_send(&w, 0, 1, 1) && world_receive(&w, 0, 0, 1) == 1);
    CHECK(world_peer_send(&w, 0, 1, 2));
    vpci_projection_revoke(vpci_layout_acceptances(&p->s.port.layout,
                                                   p->s.base, w.slot),
                           &p->acceptances_generation);
    CHECK(world_receive(&w, 0, 0, 1) == -1);
    CHECK(world_said_refused(&w, 0, 0) == 1);
    world_publish(&w, 0);
    CHECK(world_peer_send(&w, 0, 1, 3) && world_receive(&w, 0, 0, 1) == 3);
    world_uninit(&w);
    return true;
}

/* Without the other guest packets go by the switch; what it has sent is
 * received. */
static bool
run_peer_leaves(void)
{
    struct vpci_net_link_info info;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_hint(&w, 0, 1);
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);

    /* It dies, and the keeper sees it. */
    CHECK(world_send(&w, 0, 0, 1, 1) && world_peer_receive(&w, 0, 1) == 1);
    CHECK(world_peer_send(&w, 0, 1, 2));
    net_server_tell(&w.ports[0].server, false);
    CHECK(world_reach(&w, false));
    info = world_link_info(&w, 0);
    CHECK(!info.peer_id && strstr(info.reason, "is not there any more"));
    CHECK(world_send(&w, 0, 0, 1, 3));
    CHECK(world_switch_receive(&w, 0, 0, 1) == 3);
    CHECK(world_receive(&w, 0, 0, 1) == 2);

    /* Another one comes. */
    world_begin_peer(&w);
    net_server_tell(&w.ports[0].server, true);
    CHECK(world_reach(&w, true));
    CHECK(world_send(&w, 0, 0, 1, 4) && world_peer_receive(&w, 0, 1) == 4);

    /* It hangs. */
    vpci_net_run(w.ports[0].net, net_now_ms() + 1900);
    CHECK(world_link_info(&w, 0).sends);
    vpci_net_run(w.ports[0].net, net_now_ms() + 2500);
    CHECK(!world_link_info(&w, 0).sends);
    CHECK(world_send(&w, 0, 0, 1, 5));
    CHECK(world_switch_receive(&w, 0, 0, 1) == 5);
    w.ahead_ms = 3000;
    CHECK(world_reach(&w, true));

    /* It ends as it should. */
    CHECK(world_peer_send(&w, 0, 1, 6) && world_peer_send(&w, 0, 1, 7));
    vpci_channel_end(w.peer);
    CHECK(world_send(&w, 0, 0, 1, 8));
    CHECK(world_switch_receive(&w, 0, 0, 1) == 8);
    vpci_net_run(w.ports[0].net, net_now_ms() + w.ahead_ms);
    CHECK(!world_link_info(&w, 0).sends);
    CHECK(world_receive(&w, 0, 0, 1) == 6 && world_receive(&w, 0, 0, 1) == 7);
    vpci_net_run(w.ports[0].net, net_now_ms() + w.ahead_ms);
    vpci_net_run(w.ports[0].net, net_now_ms() + w.ahead_ms);
    info = world_link_info(&w, 0);
    CHECK(info.state == VPCI_NET_NO_SWITCH);
    CHECK(strstr(info.reason, "the other guest is not there"));
    world_begin_peer(&w);
    CHECK(world_reach(&w, true));
    CHECK(world_send(&w, 0, 0, 1, 9) && world_peer_receive(&w, 0, 1) == 9);
    CHECK(world_stats(&w, 0).meetings == 1);
    world_uninit(&w);
    return true;
}

/* Lets 'ms' pass, in steps in which the peer takes 'n' packets each. */
static void
let_pass(struct world *w, int64_t ms, int n)
{
    for (int64_t i = 0; i < ms; i += 100) {
        w->ahead_ms += 100;
        for (int j = 0; j < n; j++) {
            world_peer_receive(w, 0, 1);
        }
        while (n && world_link_info(w, 0).sends && world_send(w, 0, 0, 1, 1)) {
            continue;
        }
        world_run(w);
    }
}

/* The peer has let a sender wait for too long: nothing is sent by the link
 * until it has taken all, nor for 'ms', and then its rings begin anew. */
static bool
check_stuck(struct world *w, int64_t ms)
{
    CHECK(!world_link_info(w, 0).sends);
    CHECK(strstr(world_link_info(w, 0).reason, "has taken too little"));
    CHECK(world_send(w, 0, 0, 1, 77));
    CHECK(world_switch_receive(w, 0, 0, 1) == 77);
    while (world_peer_receive(w, 0, 1) >= 0) {
        continue;
    }
    let_pass(w, ms, 0);
    CHECK(!world_link_info(w, 0).sends);
    CHECK(world_reach(w, true));
    CHECK(world_send(w, 0, 0, 1, 78) && world_peer_receive(w, 0, 1) == 78);
    return true;
}

/* The peer has let a sender wait, which does not forget that when there is
 * another link with the same port. */
static bool
check_rest(struct world *w, int64_t ms)
{
    while (world_send(w, 0, 0, 1, 1)) {
        continue;
    }
    let_pass(w, 2100, 0);
    CHECK(!world_link_info(w, 0).sends);
    world_withdraw(w);
    let_pass(w, 200, 0);
    CHECK(!vpci_net_get_links(w->ports[0].net, NULL, 0));
    world_offer(w);
    world_begin_peer(w);
    let_pass(w, ms - 1000, 0);
    CHECK(world_link_info(w, 0).state == VPCI_NET_RUNNING
          && !world_link_info(w, 0).sends);
    CHECK(world_send(w, 0, 0, 1, 77));
    CHECK(world_switch_receive(w, 0, 0, 1) == 77);
    let_pass(w, 1000, 0);
    CHECK(world_reach(w, true));
    CHECK(world_send(w, 0, 0, 1, 78) && world_peer_receive(w, 0, 1) == 78);
    return true;
}

/* A peer that takes nothing, or next to nothing, does not keep guests from
 * sending, also if it says that there is nothing. */
static bool
run_takes_nothing(void)
{
    struct vpci_ring_memory m;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_hint(&w, 0, 1);
    world_publish(&w, 0);
    vpci_layout_ring(&w.layout, w.link, 0, 0, &m);
    for (int64_t ms = 1000; ms <= 4000; ms *= 2) {
        while (world_send(&w, 0, 0, 1, 1)) {
            vpci_store32(&m.producer->produced,
                         vpci_load32(&m.consumer->consumed));
        }
        let_pass(&w, 1500, 0);
        CHECK(world_link_info(&w, 0).sends && !world_send(&w, 0, 0, 1, 1));
        let_pass(&w, 600, 0);
        CHECK(check_stuck(&w, ms - 600));
    }

    /* Slow, but not too slow. */
    let_pass(&w, 10000, 20);
    CHECK(world_link_info(&w, 0).sends && !world_send(&w, 0, 0, 1, 1));
    let_pass(&w, 3000, 5);
    CHECK(check_stuck(&w, 5000));
    CHECK(check_rest(&w, 16000));

    /* Who sleeps meanwhile is no judge. */
    while (world_send(&w, 0, 0, 1, 1)) {
        continue;
    }
    world_run(&w);
    w.ahead_ms += 1500;
    world_run(&w);
    w.ahead_ms += 1900;
    world_run(&w);
    CHECK(world_link_info(&w, 0).sends);
    CHECK(!world_stats(&w, 0).resets);
    world_uninit(&w);
    return true;
}

/* Two guests, several queues, of which links and bases have others. */
static bool
run_queues(void)
{
    struct vpci_net_config config = { .n_queues = 3 };
    struct vpci_shape base = world_base_shape, link = world_link_shape;
    struct world w;

    base.n_queues = 4;
    base.n_vectors = 5;
    link.n_queues = 2;
    link.n_vectors = 2;
    CHECK(world_init(&w, &base, &link, &config, true));
    for (int i = 0; i < 2; i++) {
        world_hint(&w, i, 1);
        world_accept(&w, i, 1, VPCI_ABI_ACCEPT);
        world_publish(&w, i);
    }
    for (int64_t i = 0; i < 600; i++) {
        int to = i & 1;
        uint32_t queue = i % 3;

        CHECK(world_send(&w, !to, queue, 1, i));
        for (uint32_t j = 0; j < 3; j++) {
            CHECK(world_receive(&w, to, j, 1)
                  == (j == queue && queue < 2 ? i : -1));
        }
        CHECK(world_switch_receive(&w, !to, queue, 1)
              == (queue < 2 ? -1 : i));
    }
    CHECK(vpci_load64(&world_said_flow(&w, 1, 0, 1)->packets) == 100);
    CHECK(vpci_load64(&world_said_flow(&w, 1, 1, 1)->packets) == 100);
    world_uninit(&w);

    /* All queues of the link, though this guest has but one. */
    config.n_queues = 1;
    link.n_queues = 4;
    CHECK(world_init(&w, &base, &link, &config, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    for (uint32_t i = 0; i < 40; i++) {
        CHECK(world_peer_send(&w, i % 4, 1, i));
        CHECK(world_receive(&w, 0, 0, 1) == (int64_t) i);
    }
    world_uninit(&w);
    return true;
}

/* Sends a packet with the DSCP whose class is 'class_' by the link; it is to
 * be in that ring. */
static bool
check_class(struct world *w, uint32_t class_, uint32_t ring)
{
    uint8_t data[WORLD_LEN];
    struct vpci_ring_buf buf = { .data = data, .len = sizeof data };
    struct vpci_ring_pkt pkt;

    world_make(data, sizeof data, 1, 0);
    memcpy(data + 12, "\x81\0\0\0\x88\xb5", 6);
    data[14] = class_ << 5;
    CHECK(vpci_net_tx_burst(w->ports[0].net, 0, &buf, 1) == 1);
    CHECK(vpci_ring_peek(vpci_channel_rx(w->peer, ring), &pkt, 1) == 1);
    CHECK(!memcmp(pkt.data, data, sizeof data));
    vpci_ring_release(vpci_channel_rx(w->peer, ring), 1);
    return true;
}

/* The highest class first, wherever it comes from. */
static bool
run_classes(void)
{
    struct vpci_shape base = world_base_shape, link = world_link_shape;
    struct world w;

    base.n_classes = 4;
    base.n_vectors = 5;
    link.n_classes = 3;
    memset(&w, 0, sizeof w);
    CHECK(world_init(&w, &base, &link, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_hint(&w, 0, 1);
    world_publish(&w, 0);
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 3; j++) {
            CHECK(world_peer_send(&w, j, 1, 10 * j));
            CHECK(world_peer_send(&w, j, 1, 10 * j + 1));
        }
        CHECK(world_receive(&w, 0, 0, 1) == 20);

        /* Behind what the link had before, and before what comes later. */
        CHECK(world_switch_send(&w, 0, 3, 1, 30));
        CHECK(world_switch_send(&w, 0, 0, 1, 31));
        CHECK(world_receive(&w, 0, 0, 1) == 21);
        CHECK(world_peer_send(&w, 2, 1, 22));
        CHECK(world_receive(&w, 0, 0, 1) == 10);
        CHECK(world_receive(&w, 0, 0, 1) == 11);
        CHECK(world_receive(&w, 0, 0, 1) == 0);
        CHECK(world_receive(&w, 0, 0, 1) == 1);
        CHECK(world_receive(&w, 0, 0, 1) == 30);
        CHECK(world_receive(&w, 0, 0, 1) == 22);
        CHECK(world_receive(&w, 0, 0, 1) == 31);
        CHECK(world_receive(&w, 0, 0, 1) == -1);
    }
    w.ports[0].s.words.class_by = VPCI_ABI_CLASS_PCP;
    for (int i = 0; i < 8; i++) {
        w.ports[0].s.words.class_of[i] = i;
    }
    net_switch_begin(&w.ports[0].s);
    CHECK(world_reach(&w, false) && world_reach(&w, true));
    for (uint32_t i = 0; i < 8; i++) {
        CHECK(check_class(&w, i, i < 2 ? i : 2));
    }
    world_uninit(&w);
    return true;
}

/* An IPv4 packet of 'len' bytes with a TCP header, of flow 100. */
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

/* Sends such a packet by the peer, with 'o'.  Returns whether it is received,
 * with the same 'o'. */
static bool
passes(struct world *w, uint32_t len, struct vpci_ring_offload o)
{
    static uint8_t data[VPCI_ABI_MAX_LEN], got[VPCI_ABI_MAX_LEN];
    struct vpci_ring_tx *tx = vpci_channel_tx(w->peer, 0);
    struct vpci_ring_buf buf = { .data = got, .size = sizeof got };
    void *p = vpci_ring_reserve(tx, len);

    make_tcp(data, len, 0x10);
    memcpy(p, data, len);
    vpci_ring_submit(tx, len, &o);
    vpci_ring_publish(tx);
    return (vpci_net_rx_burst(w->ports[0].net, 0, &buf, 1) == 1
            && buf.len == len && !memcmp(got, data, len)
            && !memcmp(&buf.offload, &o, sizeof o));
}

/* Sends such a packet.  Returns whether it is the peer that gets it. */
static bool
goes_by_link(struct world *w, uint32_t len, struct vpci_ring_offload o)
{
    static uint8_t data[VPCI_ABI_MAX_LEN];
    struct vpci_ring_buf buf = { .data = data, .len = len, .offload = o };
    struct vpci_ring_rx *rx = vpci_channel_rx(w->peer, 0);
    struct vpci_ring_pkt pkt;

    make_tcp(data, len, 0x10);
    if (vpci_net_tx_burst(w->ports[0].net, 0, &buf, 1) != 1
        || !vpci_ring_peek(rx, &pkt, 1)) {
        return false;
    }
    vpci_ring_release(rx, 1);
    return pkt.len == len && !memcmp(&pkt.offload, &o, sizeof o);
}

/* What is left to do for packets is agreed on, and fits them. */
static bool
run_offloads(void)
{
    static const struct vpci_ring_offload none,
        sum = { .flags = 1, .csum_start = 34, .csum_offset = 16 },
        super = { .flags = 1, .csum_start = 34, .csum_offset = 16,
                  .gso_type = 1, .gso_size = 1000 },
        bad[] = {
            { .flags = 1, .csum_start = 34, .csum_offset = 17 },
            { .flags = 1, .csum_start = 16, .csum_offset = 14 },
            { .flags = 1, .csum_start = 1000, .csum_offset = 16 },
            { .flags = 1, .csum_start = 34, .csum_offset = 16,
              .gso_type = 4, .gso_size = 1000 },
            { .flags = 1, .csum_start = 34, .csum_offset = 16,
              .gso_type = 1, .gso_size = 0 },
            { .flags = 1, .csum_start = 34, .csum_offset = 16,
              .gso_type = 3, .gso_size = 1000 },
            { .flags = 1, .csum_start = 34, .csum_offset = 16,
              .gso_type = 1, .gso_size = 5000 },
        };
    struct vpci_net_config config = { .features = 1 << 1 | 1 << 7 };
    struct vpci_abi_flow_count *c;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, &config, false));
    world_accept(&w, 0, 100, VPCI_ABI_ACCEPT);
    world_hint(&w, 0, 100);
    world_publish(&w, 0);
    c = world_said_flow(&w, 0, 0, 100 % 64);
    CHECK(passes(&w, 1000, none) && passes(&w, 1000, sum));
    CHECK(vpci_load64(&c->packets) == 2 && vpci_load64(&c->bytes) == 2000);
    CHECK(vpci_load64(&c->tcp_flags) == 0x1000);
    CHECK(passes(&w, 5054, super));
    CHECK(vpci_load64(&c->packets) == 7);
    CHECK(vpci_load64(&c->bytes) == 2000 + 5 * 1054);
    CHECK(!passes(&w, 1519, none) && passes(&w, 1518, none));
    CHECK(goes_by_link(&w, 1518, none) && goes_by_link(&w, 100, sum));
    CHECK(goes_by_link(&w, 10000, super));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t len = bad[i].gso_type ? 6054 : 1100;

        if (passes(&w, len, bad[i]) || goes_by_link(&w, len, bad[i])) {
            fprintf(stderr, "offload %d passes\n", (int) i);
            return false;
        }
    }
    CHECK(world_stats(&w, 0).rx.packets == 4);

    /* The other guest does not take them. */
    w.peer_features = 0;
    world_begin_peer(&w);
    CHECK(world_reach(&w, false) && world_reach(&w, true));
    CHECK(passes(&w, 1000, none) && !passes(&w, 1000, sum));
    CHECK(!passes(&w, 5054, super) && !goes_by_link(&w, 5054, super));
    CHECK(!goes_by_link(&w, 100, sum) && goes_by_link(&w, 100, none));
    world_uninit(&w);
    return true;
}

static void
change_max_len(struct world *w, uint32_t max_len)
{
    vpci_store32(&vpci_layout_port(w->ports[0].s.base)->max_len, max_len);
    world_run(w);
}

/* The longest packet changes with the MTU of the port. */
static bool
run_max_len(void)
{
    static const struct vpci_ring_offload none;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_accept(&w, 0, 100, VPCI_ABI_ACCEPT);
    world_hint(&w, 0, 100);
    world_publish(&w, 0);
    world_run(&w);
    CHECK(passes(&w, 1518, none) && !passes(&w, 1519, none));
    CHECK(goes_by_link(&w, 1518, none));
    change_max_len(&w, 3018);
    CHECK(passes(&w, 3018, none) && !passes(&w, 3019, none));
    CHECK(goes_by_link(&w, 3018, none));
    change_max_len(&w, 1018);
    CHECK(passes(&w, 1018, none) && !passes(&w, 1019, none));
    CHECK(goes_by_link(&w, 1018, none));

    /* Nonsense changes nothing. */
    change_max_len(&w, 0);
    CHECK(passes(&w, 1018, none) && !passes(&w, 1019, none));
    CHECK(world_stats(&w, 0).rx.rejected == 4);
    world_uninit(&w);
    return true;
}

/* The same, of bursts in which all other packets are plain, and where one that
 * is too short to be plain is another flow's. */
static bool
check_odd_ones(void)
{
    uint8_t data[8][2048], packet[1500];
    struct vpci_ring_buf bufs[8];
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    memset(data, 0, sizeof data);
    for (uint32_t round = 0; round < 60; round++) {
        struct vpci_ring_tx *tx = vpci_channel_tx(w.peer, 0);
        uint32_t odd = round % 3, n = 0;

        for (uint32_t i = 0; i < 8; i++) {
            uint32_t len = i == 5 && odd ? (odd == 1 ? 1500 : 13) : 64;

            bufs[i] = (struct vpci_ring_buf) { .data = data[i], .size = 999 };
            world_make(packet, len < 64 ? 64 : len, 1, i);
            memcpy(vpci_ring_reserve(tx, len), packet, len);
            vpci_ring_submit(tx, len, NULL);
            vpci_ring_publish(tx);
        }
        CHECK(vpci_net_rx_burst(w.ports[0].net, 0, bufs, 8) == 8 - !!odd);
        for (uint32_t i = 0; i < 8; i++) {
            if (i != 5 || !odd) {
                CHECK(bufs[n].len == 64);
                CHECK(world_number(bufs[n++].data, 64, 1) == (int64_t) i);
            }
        }
    }
    CHECK(world_stats(&w, 0).rx.packets == 440);
    CHECK(world_stats(&w, 0).rx.dropped == 20);
    CHECK(world_stats(&w, 0).rx.rejected == 20);
    world_uninit(&w);
    return true;
}

/* Packets that are larger than their buffers are dropped; others are not. */
static bool
run_small_buffers(void)
{
    uint8_t data[16][2048], packet[1500];
    struct vpci_ring_buf bufs[16];
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    for (int round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 16; i++) {
            struct vpci_ring_tx *tx = vpci_channel_tx(w.peer, 0);
            uint32_t len = i % 3 == 1 ? 1500 : 64;

            bufs[i] = (struct vpci_ring_buf) { .data = data[i],
                                               .size = i == 8 ? 20 : 999 };
            world_make(packet, len, i == 4 ? 2 : 1, i);
            memcpy(vpci_ring_reserve(tx, len), packet, len);
            vpci_ring_submit(tx, len, NULL);
            vpci_ring_publish(tx);
        }
        CHECK(vpci_net_rx_burst(w.ports[0].net, 0, bufs, 16) == 10);
        for (uint32_t i = 0, n = 0; i < 16; i++) {
            if (i % 3 != 1 && i != 8) {
                CHECK(world_number(bufs[n++].data, 64, 1) == (int64_t) i);
            }
        }
    }
    CHECK(world_stats(&w, 0).rx.packets == 500);
    CHECK(world_stats(&w, 0).rx.rejected == 50);
    CHECK(world_stats(&w, 0).rx.dropped == 250);
    world_uninit(&w);
    return check_odd_ones();
}

/* Somebody has written a later version over the header. */
static bool
check_version(struct world *w)
{
    struct vpci_abi_header *h = w->link;
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;

    world_withdraw(w);
    CHECK(world_reach(w, false));
    h->version = h->version_min = VPCI_LE16(VPCI_ABI_VERSION + 1);
    world_offer(w);
    do {
        world_run(w);
        CHECK(net_now_ms() < deadline);
    } while (!strstr(world_link_info(w, 0).reason, "should be: version is 2, "
                     "but 0 to 1 are possible"));
    vpci_layout_write(&w->layout, w->link, WORLD_LINK_ID);
    return true;
}

/* The memory is smaller than entry and header say. */
static bool
check_small(struct world *w)
{
    struct vpci_shape shape = w->layout.shape;
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;
    struct vpci_layout_report report;
    struct vpci_layout large;

    shape.data_log2 = 20;
    CHECK(vpci_layout_init(&large, &shape, &report));
    world_withdraw(w);
    CHECK(world_reach(w, false));
    vpci_layout_write(&large, w->link, WORLD_LINK_ID);
    world_offer(w);
    do {
        world_run(w);
        CHECK(net_now_ms() < deadline);
    } while (!strstr(world_link_info(w, 0).reason, "should be: size is"));
    vpci_layout_write(&w->layout, w->link, WORLD_LINK_ID);
    return true;
}

/* Entries that make no sense are ignored, and said to be so. */
static bool
run_entries(void)
{
    static const struct {
        size_t word;
        uint32_t value;
        const char *reason;
    } bad[] = {
        { 1, 2, "side is 2, but 0 or 1 is possible" },
        { 2, VPCI_ABI_BASE, "kind of region is 1, but should be 2" },
        { 2, 5, "kind of region is 5" },
        { 2, VPCI_ABI_BASE_PEER, "number of links is 0" },
        { 3, 17, "number of queues is 17" },
        { 4, 0, "number of classes is 0" },
        { 5, 13, "binary logarithm of slots is 13" },
        { 5, 4, "not as agreed" },
        { 6, 18, "its memory is not as it should be: size is" },
        { 7, 1, "number of links is 1" },
        { 9, 33, "number of vectors is 33" },
        { 9, 2, "not as agreed" },
    };
    struct vpci_abi_link *e;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    e = vpci_layout_link(&w.ports[0].s.port.layout, w.ports[0].s.base,
                         w.slot);
    world_hint(&w, 0, 1);
    world_publish(&w, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vpci_le32 *words = (void *) e;
        uint32_t old = words[bad[i].word];
        int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;

        world_withdraw(&w);
        CHECK(world_reach(&w, false));
        CHECK(!vpci_net_get_links(w.ports[0].net, NULL, 0));
        world_offer(&w);
        words[bad[i].word] = bad[i].value;
        do {
            world_run(&w);
            CHECK(net_now_ms() < deadline);
        } while (!strstr(world_link_info(&w, 0).reason, bad[i].reason));
        CHECK(world_send(&w, 0, 0, 1, i));
        CHECK(world_switch_receive(&w, 0, 0, 1) == (int64_t) i);
        words[bad[i].word] = old;
    }
    CHECK(check_small(&w) && check_version(&w));
    world_withdraw(&w);
    CHECK(world_reach(&w, false));
    world_offer(&w);
    CHECK(world_reach(&w, true));
    world_uninit(&w);
    return true;
}

/* Writes nonsense to the whole link, most of it where rings and their words
 * are. */
struct scribbler {
    struct world *w;
    bool stop;                  /* Atomic. */
};

static void
scribble(struct world *w, unsigned int *seed)
{
    uint64_t n = w->layout.size / 8, from = 0;
    vpci_le64 *words = w->link;
    uint64_t value = ((uint64_t) rand_r(seed) << 40)
                     ^ ((uint64_t) rand_r(seed) << 20) ^ rand_r(seed);

    if (rand_r(seed) % 2) {
        /* The peer's words and slots. */
        from = w->layout.sections[VPCI_ABI_SIDE1].offset / 8;
        n = (2 * VPCI_ABI_PAGE + 32 * VPCI_ABI_SLOT_BYTES) / 8;
    }
    vpci_store64(&words[from + rand_r(seed) % n],
                 rand_r(seed) % 2 ? value
                 : rand_r(seed) % 2 ? value % 64 : UINT64_MAX);
}

/* Packets that look as if they were there, for anybody, of any kind. */
static void
forge(struct world *w, unsigned int *seed)
{
    struct vpci_ring_memory m;
    uint32_t next = 0;

    vpci_layout_ring(&w->layout, w->link, 1, 0, &m);
    next = vpci_load32(&m.consumer->consumed);
    for (uint32_t i = 0; i < m.n_slots; i++) {
        struct vpci_abi_slot *slot = &m.slots[(next + i) % m.n_slots];

        world_make(slot->data, WORLD_LEN, 1 + rand_r(seed) % 4, i);
        vpci_store64(&slot->offload, rand_r(seed) % 4 ? 0 : rand_r(seed));
        vpci_store64(&slot->word,
                     (uint64_t) VPCI_ABI_SLOT_INLINE << VPCI_ABI_TYPE_SHIFT
                     | (uint64_t) (rand_r(seed) % 8 ? WORLD_LEN
                                   : rand_r(seed) % 200)
                     << VPCI_ABI_LEN_SHIFT | (next + i + 1));
        slot->data[rand_r(seed) % 16] ^= rand_r(seed) % 2;
    }
}

static void *
scribble_main(void *s_)
{
    struct scribbler *s = s_;
    unsigned int seed = 3;

    while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
        for (int i = 0; i < 100; i++) {
            scribble(s->w, &seed);
        }
        forge(s->w, &seed);
        sched_yield();
    }
    return NULL;
}

/* Receives what there is: packets of flow 2, which come by the base, are all
 * there, others are for flow 1. */
static bool
receive_sound(struct world *w, int64_t *n, uint64_t *linked)
{
    uint8_t data[8][2048];
    struct vpci_ring_buf bufs[8];
    unsigned int got;

    for (int i = 0; i < 8; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = data[i], .size = 2048 };
    }
    got = vpci_net_rx_burst(w->ports[0].net, 0, bufs, 8);
    for (unsigned int i = 0; i < got; i++) {
        const uint8_t *p = bufs[i].data;

        CHECK(bufs[i].len <= 1518);
        if (p[5] == 2) {
            CHECK(world_number(p, bufs[i].len, 2) == *n);
            ++*n;
        } else {
            CHECK(!memcmp(p, "\2\0\0\0\0\1", 6));
            CHECK(p[12] == 0x88 && p[13] == 0xb5);
            CHECK(!bufs[i].offload.flags && !bufs[i].offload.gso_type);
            ++*linked;
        }
    }
    return true;
}

/* A peer that writes everything everywhere harms nobody but itself. */
static bool
run_hostile(void)
{
    struct scribbler s = { .stop = false };
    int64_t sent = 0, got = 0, end;
    uint64_t linked = 0;
    pthread_t thread;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    world_hint(&w, 0, 1);
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_accept(&w, 0, 3, VPCI_ABI_WAIT);
    world_publish(&w, 0);
    s.w = &w;
    CHECK(!pthread_create(&thread, NULL, scribble_main, &s));
    end = net_now_ms() + 1200;
    for (int64_t i = 0; net_now_ms() < end; i++) {
        if (i % 50 == 0) {
            switch_port_run(&w.ports[0].s.port, net_now_ms());
            vpci_net_run(w.ports[0].net, net_now_ms());
            world_publish(&w, 0);
        }
        if (i % 5000 == 4999) {
            /* It tries to be one that can be talked to. */
            vpci_layout_write(&w.layout, w.link, WORLD_LINK_ID);
            world_begin_peer(&w);
        }
        if (i % 7 == 0) {
            vpci_channel_run(w.peer, net_now_ms());
        }
        world_send(&w, 0, 0, 1, i);
        CHECK(world_send(&w, 0, 0, 2, i));
        while (w.ports[0].s.port.state == VPCI_CHANNEL_RUNNING) {
            uint8_t data[2048];
            uint32_t len = switch_port_take(&w.ports[0].s.port, 0, data,
                                            sizeof data);

            if (len && data[5] == 2) {
                CHECK(world_number(data, len, 2) == i);
            } else if (!len) {
                break;
            }
        }
        sent += world_switch_send(&w, 0, 0, 2, sent);
        CHECK(receive_sound(&w, &got, &linked));
        CHECK(sent - got < 32);
    }
    __atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK(sent > 1000 && linked > 0 && world_stats(&w, 0).rx.rejected > 0);
    CHECK(!world_stats(&w, 0).resets && world_stats(&w, 0).meetings == 1);

    /* Nothing is left of it. */
    memset(w.link, 0, w.layout.size);
    vpci_layout_write(&w.layout, w.link, WORLD_LINK_ID);
    world_begin_peer(&w);
    CHECK(world_reach(&w, false) && world_reach(&w, true));
    world_publish(&w, 0);
    CHECK(world_send(&w, 0, 0, 1, 1) && world_peer_receive(&w, 0, 1) == 1);
    world_uninit(&w);
    return true;
}

/* Threads that send or receive. */
struct load {
    struct world *w;
    int guest;
    uint8_t flow;
    bool both;                  /* Flow 1 as well. */
    uint32_t n;                 /* So many, or, if 0, until 'stop'. */
    bool polling;
    bool stop;                  /* Atomic. */
    bool bad;
    uint32_t done;              /* Atomic: packets of 'flow'. */
    uint64_t n_short;           /* Bursts that were not sent as a whole. */
};

static bool
goes_on(const struct load *load)
{
    return (!load->bad
            && (load->n ? load->done < load->n
                : !__atomic_load_n(&load->stop, __ATOMIC_ACQUIRE)));
}

static void *
send_main(void *load_)
{
    struct load *load = load_;
    struct vpci_net *net = load->w->ports[load->guest].net;
    uint8_t data[2][WORLD_LEN];
    struct vpci_ring_buf bufs[2] = {
        { .data = data[0], .len = WORLD_LEN },
        { .data = data[1], .len = WORLD_LEN },
    };

    vpci_net_tx_set_polling(net, 0, load->polling);
    while (goes_on(load)) {
        unsigned int sent;

        world_make(data[0], WORLD_LEN, load->flow, load->done);
        world_make(data[1], WORLD_LEN, 1, load->done);
        sent = vpci_net_tx_burst(net, 0, bufs, load->both ? 2 : 1);
        __atomic_store_n(&load->done, load->done + (sent > 0),
                         __ATOMIC_RELEASE);
        load->n_short += sent < 1 + load->both;
        if (!sent) {
            load->bad = (!vpci_net_tx_wait(net, 0, WORLD_TIMEOUT_MS * 1000)
                         && load->n);
        }
    }
    return NULL;
}

static void *
receive_main(void *load_)
{
    struct load *load = load_;
    struct vpci_net *net = load->w->ports[load->guest].net;
    uint8_t data[32][2048];
    struct vpci_ring_buf bufs[32];

    vpci_net_rx_set_polling(net, 0, load->polling);
    for (int i = 0; i < 32; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = data[i], .size = 2048 };
    }
    while (goes_on(load)) {
        unsigned int n = vpci_net_rx_burst(net, 0, bufs, 32);

        for (unsigned int i = 0; i < n; i++) {
            const uint8_t *p = bufs[i].data;

            if (p[5] == load->flow) {
                load->bad |= (world_number(p, bufs[i].len, load->flow)
                              != (int64_t) load->done);
                __atomic_store_n(&load->done, load->done + 1,
                                 __ATOMIC_RELEASE);
            }
        }
        if (!n) {
            bool came = vpci_net_rx_wait(net, 0, load->n
                                         ? WORLD_TIMEOUT_MS * 1000 : 20000);

            load->bad |= load->n && !came;
        }
    }
    return NULL;
}

static uint32_t
n_done(const struct load *load)
{
    return __atomic_load_n(&load->done, __ATOMIC_ACQUIRE);
}

static void
stop(struct load *load, pthread_t thread)
{
    __atomic_store_n(&load->stop, true, __ATOMIC_RELEASE);
    vpci_net_wake(load->w->ports[load->guest].net);
    pthread_join(thread, NULL);
}

/* The switch and the peer send back what they get. */
static void
echo(struct world *w)
{
    struct switch_port *port = &w->ports[0].s.port;
    uint64_t bytes = 0;
    int64_t number;

    world_run(w);
    switch_port_move(port, port, 16, &bytes);
    if (vpci_channel_is_current(w->peer)) {
        while ((number = world_peer_receive(w, 0, 1)) >= 0) {
            world_peer_send(w, 0, 1, number);
        }
    }
}

/* While links come and go the base loses nothing. */
static bool
run_comes_and_goes(void)
{
    struct vpci_net_config config = { .own_thread = true };
    struct load loads[2];
    pthread_t threads[2];
    int64_t deadline;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, &config, false));
    world_hint(&w, 0, 1);
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    for (int i = 0; i < 2; i++) {
        loads[i] = (struct load) { .w = &w, .flow = 2, .both = true };
        CHECK(!pthread_create(&threads[i], NULL,
                              i ? receive_main : send_main, &loads[i]));
    }
    for (int i = 0; i < 30; i++) {
        uint64_t linked = world_stats(&w, 0).rx.linked;
        uint32_t done = n_done(&loads[1]);

        deadline = net_now_ms() + WORLD_TIMEOUT_MS;
        while (n_done(&loads[1]) < done + 100
               || (i % 2 == 0 && world_stats(&w, 0).rx.linked <= linked)) {
            echo(&w);
            CHECK(net_now_ms() < deadline && !loads[1].bad);
        }
        if (i % 2) {
            world_offer(&w);
            world_begin_peer(&w);
        } else {
            world_withdraw(&w);
        }
    }
    __atomic_store_n(&loads[0].stop, true, __ATOMIC_RELEASE);
    deadline = net_now_ms() + WORLD_TIMEOUT_MS;
    while (n_done(&loads[1]) < n_done(&loads[0]) && !loads[1].bad) {
        echo(&w);
        CHECK(net_now_ms() < deadline);
    }
    stop(&loads[0], threads[0]);
    while (n_done(&loads[1]) < n_done(&loads[0]) && !loads[1].bad) {
        echo(&w);
        CHECK(net_now_ms() < deadline);
    }
    stop(&loads[1], threads[1]);
    CHECK(!loads[1].bad);
    CHECK(world_stats(&w, 0).meetings == 1 && !world_stats(&w, 0).resets);

    /* Nobody notices that workers are stopped for a moment. */
    CHECK(loads[0].n_short <= world_stats(&w, 0).tx.full);
    world_uninit(&w);
    return true;
}

/* Two guests that sleep, or one that polls: no wake-up of a link is lost. */
static bool
check_sleep(bool polling)
{
    struct vpci_net_config config = { .own_thread = true };
    struct load loads[4];
    pthread_t threads[4];
    struct world w;

    CHECK(world_init(&w, NULL, NULL, &config, true));
    for (int i = 0; i < 2; i++) {
        world_hint(&w, i, 3);
        world_accept(&w, i, 3, VPCI_ABI_ACCEPT);
        world_publish(&w, i);
    }
    for (int i = 0; i < 4; i++) {
        loads[i] = (struct load) { .w = &w, .flow = 3, .n = 20000,
                                   .guest = i % 2,
                                   .polling = polling && i == 2 };
        CHECK(!pthread_create(&threads[i], NULL,
                              i < 2 ? send_main : receive_main, &loads[i]));
    }
    while (n_done(&loads[2]) < 20000 || n_done(&loads[3]) < 20000) {
        world_run(&w);
        usleep(5000);
        for (int i = 0; i < 4; i++) {
            if (loads[i].bad) {
                struct vpci_net_stats stats = world_stats(&w, i % 2);

                fprintf(stderr, "%s %d is at packet %u; guest %d has sent "
                        "%d by the link, %d in all, and received %d\n",
                        i < 2 ? "sender" : "receiver", i % 2,
                        n_done(&loads[i]), i % 2, (int) stats.tx.linked,
                        (int) stats.tx.packets, (int) stats.rx.linked);
            }
        }
        CHECK(!loads[0].bad && !loads[1].bad && !loads[2].bad
              && !loads[3].bad);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < 2; i++) {
        CHECK(world_stats(&w, i).rx.linked == 20000);
        CHECK(world_stats(&w, i).tx.linked == 20000);
        CHECK(polling || world_stats(&w, i).rx.received > 0);
    }
    world_uninit(&w);
    return true;
}

/* Somebody waits for a packet that has to wait for the switch. */
static void *
wait_main(void *w)
{
    return (vpci_net_rx_wait(((struct world *) w)->ports[0].net, 0,
                             WORLD_TIMEOUT_MS * 1000) ? w : NULL);
}

/* The switch's signal is heard, and lets receivers look again. */
static bool
check_control(void)
{
    struct vpci_net_config config = { .own_thread = true };
    pthread_t thread;
    struct world w;
    void *result;

    CHECK(world_init(&w, NULL, NULL, &config, false));
    for (int64_t i = 0; i < 20; i++) {
        world_accept(&w, 0, 1, VPCI_ABI_WAIT);
        world_publish(&w, 0);
        CHECK(world_peer_send(&w, 0, 1, i));
        CHECK(world_receive(&w, 0, 0, 1) == -1);
        CHECK(!vpci_net_rx_wait(w.ports[0].net, 0, 100));
        CHECK(!pthread_create(&thread, NULL, wait_main, &w));
        usleep(1000);
        world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
        world_publish(&w, 0);
        pthread_join(thread, &result);
        CHECK(result && world_receive(&w, 0, 0, 1) == i);
    }
    world_uninit(&w);
    return true;
}

static bool
run_sleep(void)
{
    CHECK(check_sleep(false));
    CHECK(check_sleep(true));
    CHECK(check_control());
    return true;
}

/* The keeper dies, and so do its sockets: nothing is lost, neither of the base
 * nor of the link, until it is there again. */
static bool
run_keeper_dies(void)
{
    struct vpci_net_config config = { .own_thread = true };
    struct load loads[2];
    pthread_t threads[2];
    int64_t deadline;
    uint32_t done;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, &config, false));
    world_hint(&w, 0, 1);
    world_accept(&w, 0, 1, VPCI_ABI_ACCEPT);
    world_publish(&w, 0);
    loads[0] = (struct load) { .w = &w, .flow = 2, .both = true };
    loads[1] = (struct load) { .w = &w, .flow = 2 };
    for (int i = 0; i < 2; i++) {
        CHECK(!pthread_create(&threads[i], NULL,
                              i ? receive_main : send_main, &loads[i]));
    }
    for (int i = 0; i < 500; i++) {
        echo(&w);
    }
    net_server_stop(&w.ports[0].s.server);
    net_server_stop(&w.ports[0].server);
    done = n_done(&loads[1]);
    for (int64_t end = net_now_ms() + 300;
         net_now_ms() < end || n_done(&loads[1]) < done + 1000; ) {
        uint64_t linked = world_stats(&w, 0).rx.linked;

        for (int i = 0; i < 20; i++) {
            echo(&w);
        }
        CHECK(!loads[1].bad && net_now_ms() < end + WORLD_TIMEOUT_MS);
        CHECK(world_link_info(&w, 0).sends || linked == 0);
    }
    CHECK(world_stats(&w, 0).meetings == 1 && !world_stats(&w, 0).resets);
    CHECK(world_stats(&w, 0).rx.linked > 100);
    __atomic_store_n(&loads[0].stop, true, __ATOMIC_RELEASE);
    stop(&loads[0], threads[0]);
    for (int i = 0; i < 1000 && n_done(&loads[1]) < n_done(&loads[0]); i++) {
        echo(&w);
    }
    CHECK(!loads[1].bad && n_done(&loads[1]) == n_done(&loads[0]));
    stop(&loads[1], threads[1]);

    /* A new keeper, and all of them meet again. */
    CHECK(net_server_start(&w.ports[0].s.server));
    CHECK(world_serve(&w, 0));
    deadline = net_now_ms() + WORLD_TIMEOUT_MS;
    while (world_stats(&w, 0).meetings == 1 || !world_link_info(&w, 0).sends) {
        world_run(&w);
        CHECK(net_now_ms() < deadline);
    }
    CHECK(world_send(&w, 0, 0, 1, 9));
    CHECK(world_peer_receive(&w, 0, 1) == 9);
    world_uninit(&w);
    return true;
}

/* Puts the beginning of an IPv6 packet that ends before it should in the
 * WORLD_LEN bytes at 'data', which say of themselves that they are 'number'. */
static void
make_cut(uint8_t *data, uint8_t number)
{
    memset(data, 0, WORLD_LEN);
    memcpy(data, "\2\0\0\0\0\1\2\0\0\0\0\2\x86\xdd\x60", 15);
    data[19] = WORLD_LEN;       /* Length of the payload. */
    data[20] = 17;              /* UDP. */
    data[WORLD_LEN - 1] = number;
}

/* Adds an entry for all IPv6 packets that are no fragments, and one for a port
 * of UDP over IPv4. */
static bool
add_shallow_and_deep(struct vpci_steer *t, uint64_t verdict)
{
    union vpci_key key = { .words = { 0 } }, mask = { .words = { 0 } };
    uint32_t entry;

    mask.eth_type = UINT16_MAX;
    mask.kind = VPCI_KEY_FRAG_ANY | VPCI_KEY_FRAG_LATER;
    key.eth_type = htons(0x86dd);
    CHECK(!vpci_steer_insert(t, &mask, &key, verdict, &entry));
    mask.ip_proto = UINT8_MAX;
    mask.l4_dst = UINT16_MAX;
    key.eth_type = htons(0x0800);
    key.ip_proto = 17;
    key.l4_dst = htons(53);
    CHECK(!vpci_steer_insert(t, &mask, &key, verdict, &entry));
    return true;
}

/* A packet that is not whole goes the way that its entry says, although other
 * entries ask for what it does not have, and whatever was there before it. */
static bool
run_not_whole(void)
{
    uint8_t data[WORLD_LEN];
    struct vpci_ring_buf buf = { .data = data, .len = WORLD_LEN,
                                 .size = sizeof data };
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, true));
    CHECK(add_shallow_and_deep(w.ports[0].hints,
                               (uint64_t) WORLD_LINK_ID
                               << VPCI_ABI_HINT_ID_SHIFT | w.slot));
    CHECK(add_shallow_and_deep(w.ports[1].acceptances,
                               (uint64_t) VPCI_ABI_ACCEPT
                               << VPCI_ABI_ACCEPTANCE_SHIFT));
    world_publish(&w, 0);
    world_publish(&w, 1);
    for (uint8_t i = 0; i < 10; i++) {
        make_cut(data, i);
        if (i == 5) {
            /* A whole one comes before. */
            data[19] = WORLD_LEN - 54;
        }
        CHECK(vpci_net_tx_burst(w.ports[0].net, 0, &buf, 1) == 1);
        CHECK(world_stats(&w, 0).tx.linked == i + 1u);
        memset(data, 0, sizeof data);
        CHECK(vpci_net_rx_burst(w.ports[1].net, 0, &buf, 1) == 1);
        CHECK(data[WORLD_LEN - 1] == i);
    }
    CHECK(!world_stats(&w, 1).rx.rejected);

    /* It has no port. */
    make_cut(data, 0);
    memcpy(data + 12, "\x08\0\x45\0\0\x63", 6);
    data[23] = 17;
    CHECK(vpci_net_tx_burst(w.ports[0].net, 0, &buf, 1) == 1);
    CHECK(world_stats(&w, 0).tx.linked == 10);
    world_uninit(&w);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "hints", run_hints },
        { "acceptances", run_acceptances },
        { "wait", run_wait },
        { "order", run_order },
        { "fair", run_fair },
        { "generations", run_generations },
        { "revoked", run_revoked },
        { "peer-leaves", run_peer_leaves },
        { "takes-nothing", run_takes_nothing },
        { "queues", run_queues },
        { "classes", run_classes },
        { "offloads", run_offloads },
        { "max-len", run_max_len },
        { "small-buffers", run_small_buffers },
        { "entries", run_entries },
        { "not-whole", run_not_whole },
        { "hostile", run_hostile },
        { "comes-and-goes", run_comes_and_goes },
        { "sleep", run_sleep },
        { "keeper-dies", run_keeper_dies },
    };

    signal(SIGPIPE, SIG_IGN);
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
