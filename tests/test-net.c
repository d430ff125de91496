/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of ports of vpci-net, as processes use them (vpci/net.h).
 *
 * usage: test-net [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net-switch.h"
#include "unit-test.h"
#include "vpci/net.h"

#define TIMEOUT_MS 20000
#define TIMEOUT_US (TIMEOUT_MS * INT64_C(1000))

static const struct vpci_shape plain = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 1,
    .n_classes = 1,
    .slots_log2 = 4,
    .data_log2 = 17,
    .n_vectors = 1,
};

/* Queues and classes share vectors. */
static const struct vpci_shape with_classes = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 2,
    .n_classes = 4,
    .slots_log2 = 4,
    .data_log2 = 17,
    .n_vectors = 3,
};

struct fixture {
    struct net_switch s;
    struct vpci_net *net;
    bool own_thread;
    int64_t ahead_ms;           /* How much later it is for 'net'. */
};

static bool
fixture_init(struct fixture *f, const struct vpci_shape *shape,
             const struct vpci_net_config *config)
{
    char reason[200] = "";

    memset(f, 0, sizeof *f);
    CHECK(net_switch_start(&f->s, shape));
    CHECK(!vpci_net_open(f->s.path, config, &f->net, reason, sizeof reason));
    f->own_thread = config && config->own_thread;
    return true;
}

static void
fixture_uninit(struct fixture *f)
{
    vpci_net_close(f->net);
    net_switch_stop(&f->s);
}

static void
run(struct fixture *f)
{
    if (f->s.port.channel) {
        net_switch_run(&f->s);
    }
    if (f->own_thread) {
        usleep(500);
    } else {
        vpci_net_run(f->net, net_now_ms() + f->ahead_ms);
    }
}

static struct vpci_net_info
info_of(const struct fixture *f)
{
    struct vpci_net_info info;

    vpci_net_get_info(f->net, &info);
    return info;
}

/* Waits for a state. */
static bool
reach(struct fixture *f, enum vpci_net_state state)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;

    do {
        run(f);
        if (info_of(f).state == state
            && (state != VPCI_NET_RUNNING
                || f->s.port.state == VPCI_CHANNEL_RUNNING)) {
            return true;
        }
    } while (net_now_ms() < deadline);
    fprintf(stderr, "%s is not reached: %s: %s\n", vpci_net_state_name(state),
            vpci_net_state_name(info_of(f).state), info_of(f).reason);
    return false;
}

static bool
meet(struct fixture *f)
{
    net_switch_begin(&f->s);
    return reach(f, VPCI_NET_RUNNING);
}

static struct vpci_net_stats
stats_of(const struct fixture *f)
{
    struct vpci_net_stats stats;

    vpci_net_get_stats(f->net, VPCI_NET_ALL, &stats);
    return stats;
}

/* The number of a packet is in its last four bytes. */
static void
make_packet(uint8_t *data, uint32_t len, uint32_t number)
{
    for (uint32_t i = 0; i < len; i++) {
        data[i] = number + i;
    }
    if (len >= 18) {
        data[12] = data[13] = 0x88;
        memcpy(data + len - 4, &number, 4);
    }
}

static bool
is_packet(const uint8_t *data, uint32_t len, uint32_t number)
{
    uint8_t wanted[VPCI_ABI_MAX_LEN];

    make_packet(wanted, len, number);
    return !memcmp(data, wanted, len);
}

static bool
send_one(struct fixture *f, void *data, uint32_t len)
{
    struct vpci_ring_buf buf = { .data = data, .len = len };

    return vpci_net_tx_burst(f->net, 0, &buf, 1) == 1;
}

static bool
run_open(void)
{
    struct vpci_net_config config = { .n_queues = 17 };
    unsigned int n_fds = n_open_fds();
    struct vpci_net_info info;
    struct vpci_net *net;
    char reason[200];

    CHECK(vpci_net_open("/tmp/x", &config, &net, reason, sizeof reason)
          == EINVAL && !net);
    CHECK(!strcmp(reason, "17 queues are wanted, but 1 to 16 are possible"));
    config = (struct vpci_net_config) { .n_queues = 1 };
    config.reserved[sizeof config.reserved - 1] = 1;
    CHECK(vpci_net_open("/tmp/x", &config, &net, reason, sizeof reason)
          == EINVAL && !net);
    CHECK(strstr(reason, "reserved bytes of struct vpci_net_config"));
    CHECK(vpci_net_open("/nowhere/x", NULL, &net, reason, sizeof reason)
          == ENOENT && !net);
    CHECK(vpci_net_open("pci:1", NULL, &net, reason, sizeof reason)
          == EINVAL && !net);
    CHECK(!vpci_net_open("/tmp/vpci-nobody", NULL, &net, reason,
                         sizeof reason));
    vpci_net_run(net, 1);
    vpci_net_get_info(net, &info);
    CHECK(info.state == VPCI_NET_NO_DEVICE && info.error == ENOENT);
    CHECK(strstr(info.reason, "nothing is at this path: is vpcid running"));
    CHECK(!vpci_net_has_carrier(net));
    struct vpci_ring_buf buf = { .data = reason, .len = 60, .size = 200 };
    CHECK(!vpci_net_tx_burst(net, 0, &buf, 1));
    CHECK(!vpci_net_rx_burst(net, 0, &buf, 1));
    CHECK(!vpci_net_rx_wait(net, 0, 1000) && !vpci_net_tx_wait(net, 0, 0));
    vpci_net_close(net);
    vpci_net_close(NULL);
    CHECK(!vpci_net_open("/tmp", NULL, &net, reason, sizeof reason));
    vpci_net_run(net, 1);
    vpci_net_get_info(net, &info);
    CHECK(info.state == VPCI_NET_NO_DEVICE && info.error == ENOTSOCK);
    CHECK(strstr(info.reason, "this is a directory, but a socket is wanted"));
    vpci_net_close(net);
    CHECK(n_open_fds() == n_fds);
    return true;
}

/* The keeper goes: packets flow as long as the switch shows that it is
 * there. */
static bool
check_without_keeper(struct fixture *f)
{
    struct vpci_net_stats stats = stats_of(f);
    int64_t now = net_now_ms();
    uint8_t data[60], got[60];

    make_packet(data, sizeof data, 1);
    net_server_disconnect(&f->s.server, true);
    CHECK(net_server_wait(&f->s.server, false));
    for (int i = 0; i < 100; i++) {
        now += 30;
        switch_port_run(&f->s.port, now);
        vpci_net_run(f->net, now);
        CHECK(info_of(f).state == VPCI_NET_RUNNING);
        CHECK(send_one(f, data, sizeof data));
        CHECK(switch_port_take(&f->s.port, 0, got, sizeof got) == 60);
        CHECK(!memcmp(got, data, 60));
    }
    CHECK(stats_of(f).meetings == stats.meetings);
    vpci_net_run(f->net, now + 1900);
    CHECK(info_of(f).state == VPCI_NET_RUNNING);
    vpci_net_run(f->net, now + 2200);
    vpci_net_run(f->net, now + 2200);
    CHECK(info_of(f).state != VPCI_NET_RUNNING);
    CHECK(!send_one(f, data, sizeof data));
    net_server_disconnect(&f->s.server, false);
    f->ahead_ms = now + 3000 - net_now_ms();
    CHECK(meet(f));
    CHECK(send_one(f, data, sizeof data));
    return true;
}

/* From nothing to packets, and back, step by step. */
static bool
run_states(void)
{
    unsigned int n_fds = n_open_fds();
    struct vpci_net_info info;
    struct fixture f;
    uint8_t data[60];

    CHECK(fixture_init(&f, &plain, NULL));
    CHECK(reach(&f, VPCI_NET_NO_HEADER));
    CHECK(strstr(info_of(&f).reason, "has not been there yet"));
    memcpy(f.s.words.mac, "\2vpci", 6);
    f.s.words.max_len = 13;
    net_switch_begin(&f.s);
    CHECK(reach(&f, VPCI_NET_MEETING));
    while (!info_of(&f).error) {
        run(&f);
    }
    CHECK(strstr(info_of(&f).reason, "packets have up to 13 bytes"));
    f.s.words.max_len = 1518;
    CHECK(meet(&f));
    info = info_of(&f);
    CHECK(info.carrier && vpci_net_has_carrier(f.net) && !info.reason[0]);
    CHECK(info.max_len == 1518 && !memcmp(info.mac, "\2vpci", 6));
    CHECK(info.n_queues == 1 && info.n_classes == 1 && info.guest_id == 9
          && info.switch_id == 7 && info.region_id == 1
          && info.ring_slots == 16);
    vpci_store32(&vpci_layout_port(f.s.base)->link_state, 0);
    run(&f);
    CHECK(!vpci_net_has_carrier(f.net)
          && strstr(info_of(&f).reason, "port is down"));
    make_packet(data, sizeof data, 1);
    CHECK(send_one(&f, data, sizeof data));

    vpci_channel_end(f.s.port.channel);
    CHECK(!send_one(&f, data, sizeof data));
    vpci_net_run(f.net, net_now_ms());
    CHECK(info_of(&f).state == VPCI_NET_NO_SWITCH);
    CHECK(!send_one(&f, data, sizeof data));
    CHECK(meet(&f) && stats_of(&f).meetings >= 2);

    CHECK(check_without_keeper(&f));
    CHECK(!stats_of(&f).resets && !f.s.port.n_faults);

    /* A switch with another layout. */
    memset(f.s.base, 0, VPCI_ABI_PAGE);
    f.s.shape.slots_log2 = 5;
    CHECK(meet(&f) && info_of(&f).ring_slots == 32);
    fixture_uninit(&f);
    CHECK(n_open_fds() <= n_fds + 1);
    return true;
}

/* Returns the class in whose ring a packet arrives, -1 if in none. */
static int
class_of_packet(struct fixture *f, const void *data, uint32_t len)
{
    uint8_t buf[VPCI_ABI_MAX_LEN];
    int class_ = -1;

    if (!send_one(f, (void *) data, len)) {
        return -1;
    }
    for (uint32_t i = 0; i < f->s.shape.n_classes; i++) {
        if (switch_port_take(&f->s.port, i, buf, sizeof buf)) {
            class_ = class_ < 0 && !memcmp(buf, data, len) ? (int) i : -2;
        }
    }
    return class_;
}

/* A packet whose header behind the MAC addresses is 'header', in hex. */
static int
class_of_header(struct fixture *f, const char *header)
{
    uint8_t packet[200] = { 0 };
    uint32_t n = 12;

    for (; *header; header += 2) {
        unsigned int byte = 0;

        sscanf(header, "%2x", &byte);
        packet[n++] = byte;
    }
    return class_of_packet(f, packet, n);
}

static bool
run_classes(void)
{
    struct fixture f;

    CHECK(fixture_init(&f, &with_classes, NULL));
    f.s.words.class_by = VPCI_ABI_CLASS_PCP;
    for (int i = 0; i < 8; i++) {
        f.s.words.class_of[i] = i / 2;
    }
    f.s.words.class_of[6] = 200;
    CHECK(meet(&f));
    CHECK(class_of_header(&f, "0800450000") == 0);
    CHECK(class_of_header(&f, "810000070800") == 0);
    CHECK(class_of_header(&f, "810040070800") == 1);
    CHECK(class_of_header(&f, "8100bfff0800") == 2);
    CHECK(class_of_header(&f, "8100c0000800") == 3);
    CHECK(class_of_header(&f, "8100e0000800") == 3);
    CHECK(class_of_header(&f, "88a840078100e0070800") == 1);
    CHECK(class_of_header(&f, "8100e0") == 0);
    CHECK(class_of_header(&f, "81") == 0);

    f.s.words.class_by = VPCI_ABI_CLASS_DSCP;
    for (int i = 0; i < 64; i++) {
        f.s.words.class_of[i] = i / 16;
    }
    CHECK(meet(&f));
    CHECK(class_of_header(&f, "08004500") == 0);
    CHECK(class_of_header(&f, "080045b8") == 2);
    CHECK(class_of_header(&f, "080045ff") == 3);
    CHECK(class_of_header(&f, "080065ff") == 0);
    CHECK(class_of_header(&f, "86dd6b800000") == 2);
    CHECK(class_of_header(&f, "86dd60400000") == 0);
    CHECK(class_of_header(&f, "86dd64000000") == 1);
    CHECK(class_of_header(&f, "86dd4fff0000") == 0);
    CHECK(class_of_header(&f, "8100e0070800457f") == 1);
    CHECK(class_of_header(&f, "88a840078100e007080045ff") == 3);
    CHECK(class_of_header(&f, "080045") == 0);
    CHECK(class_of_header(&f, "08060fff") == 0);

    f.s.words.class_by = VPCI_ABI_CLASS_NONE;
    CHECK(meet(&f));
    CHECK(class_of_header(&f, "8100e000080045ff") == 0);
    CHECK(!f.s.port.n_faults && !stats_of(&f).resets);
    fixture_uninit(&f);
    return true;
}

/* Buffers for a burst. */
struct burst {
    uint8_t data[VPCI_RING_BURST][2048];
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
};

static void
burst_init(struct burst *b)
{
    memset(b, 0, sizeof *b);
    for (int i = 0; i < VPCI_RING_BURST; i++) {
        b->bufs[i] = (struct vpci_ring_buf) {
            .data = b->data[i], .size = sizeof b->data[i],
        };
    }
}

static bool
run_strict_priority(void)
{
    static struct burst b;
    uint8_t packet[60];
    struct fixture f;

    burst_init(&b);
    CHECK(fixture_init(&f, &with_classes, NULL) && meet(&f));
    for (uint32_t round = 0; round < 50; round++) {
        for (uint32_t i = 0; i < 4; i++) {
            for (uint32_t j = 0; j < 5; j++) {
                make_packet(packet, sizeof packet, 100 * i + j);
                CHECK(switch_port_put(&f.s.port, i, packet, sizeof packet));
            }
        }
        CHECK(vpci_net_rx_burst(f.net, 0, b.bufs, 7) == 7);
        CHECK(vpci_net_rx_burst(f.net, 0, b.bufs + 7, 57) == 13);
        for (uint32_t i = 0; i < 20; i++) {
            CHECK(is_packet(b.bufs[i].data, 60,
                            100 * (3 - i / 5) + i % 5));
        }
        CHECK(!vpci_net_rx_burst(f.net, 0, b.bufs, 7));
        CHECK(!vpci_net_rx_burst(f.net, 1, b.bufs, 7));
        CHECK(!vpci_net_rx_burst(f.net, 2, b.bufs, 7));
    }
    for (uint32_t i = 0; i < 4; i++) {
        struct vpci_net_class_stats stats;

        vpci_net_get_class_stats(f.net, 0, i, &stats);
        CHECK(stats.rx_packets == 250 && !stats.tx_packets);
    }
    fixture_uninit(&f);
    return true;
}

/* A packet that goes to the last class if 'urgent', otherwise to the first. */
static void
make_tagged(struct vpci_ring_buf *buf, bool urgent, uint8_t number)
{
    uint8_t *p = buf->data;

    memset(p, number, 60);
    p[12] = 0x81;
    p[13] = 0;
    p[14] = urgent ? 0xe0 : 0;
    buf->len = 60;
}

static uint64_t
sent_of_class(const struct fixture *f, uint32_t class_)
{
    struct vpci_net_class_stats stats;

    vpci_net_get_class_stats(f->net, VPCI_NET_ALL, class_, &stats);
    return stats.tx_packets;
}

/* 30 packets, every third of which is urgent: there is room for 16 others. */
static bool
check_full_class(bool drop)
{
    struct vpci_net_config config = { .n_queues = 1, .drop = drop };
    unsigned int n_wanted = drop ? 30 : 24, n_urgent = 0;
    static struct burst b;
    struct vpci_net_stats stats;
    uint8_t got[60];
    struct fixture f;

    burst_init(&b);
    CHECK(fixture_init(&f, &with_classes, &config));
    f.s.words.class_by = VPCI_ABI_CLASS_PCP;
    f.s.words.class_of[7] = 3;
    CHECK(meet(&f));
    for (int i = 0; i < 30; i++) {
        make_tagged(&b.bufs[i], i % 3 == 2, i);
    }
    CHECK(vpci_net_tx_burst(f.net, 0, b.bufs, 30) == n_wanted);
    while (switch_port_take(&f.s.port, 3, got, sizeof got)) {
        CHECK(got[0] == 3 * n_urgent + 2);
        n_urgent++;
    }
    CHECK(n_urgent == (drop ? 10 : 8));
    CHECK(sent_of_class(&f, 0) == 16 && sent_of_class(&f, 3) == n_urgent);
    for (int i = 0; i < 16; i++) {
        CHECK(switch_port_take(&f.s.port, 0, got, sizeof got) == 60);
        CHECK(got[0] == 3 * (i / 2) + i % 2);
    }
    stats = stats_of(&f);
    CHECK(stats.tx.packets == 16 + n_urgent
          && stats.tx.bytes == 60 * stats.tx.packets
          && stats.tx.dropped == (drop ? 4 : 0) && stats.tx.full == 1);
    fixture_uninit(&f);
    return true;
}

static bool
run_full_class(void)
{
    return check_full_class(false) && check_full_class(true);
}

static bool
check_length(struct fixture *f, uint32_t len)
{
    static uint8_t data[VPCI_ABI_MAX_LEN], got[VPCI_ABI_MAX_LEN];
    struct vpci_ring_buf buf = { .data = got, .size = sizeof got };

    make_packet(data, len, len);
    CHECK(send_one(f, data, len));
    CHECK(switch_port_take(&f->s.port, 0, got, sizeof got) == len);
    CHECK(is_packet(got, len, len));
    memset(got, 0, len);
    CHECK(switch_port_put(&f->s.port, 0, data, len));
    CHECK(vpci_net_rx_burst(f->net, 0, &buf, 1) == 1 && buf.len == len);
    CHECK(is_packet(got, len, len));
    return true;
}

static void
set_max_len(struct fixture *f, uint32_t max_len)
{
    struct vpci_abi_port *port = vpci_layout_port(f->s.base);

    vpci_store32(&port->max_len, max_len);
    vpci_net_run(f->net, net_now_ms());
}

static bool
change_max_len(struct fixture *f, uint32_t max_len)
{
    struct vpci_net_info info;

    set_max_len(f, max_len);
    vpci_net_get_info(f->net, &info);
    return info.state == VPCI_NET_RUNNING && info.max_len == max_len;
}

static bool
run_lengths(void)
{
    static struct burst b;
    struct vpci_net_stats stats;
    struct fixture f;

    CHECK(fixture_init(&f, &plain, NULL) && meet(&f));
    for (uint32_t len = 1; len <= 1518; len++) {
        CHECK(check_length(&f, len));
    }

    /* Those that may not be sent do not hold up others. */
    burst_init(&b);
    for (uint32_t i = 0; i < 8; i++) {
        b.bufs[i].len = (i == 0 || i == 7 ? 1519 : i == 3 ? 0 : 60);
        make_packet(b.data[i], b.bufs[i].len, i);
    }
    b.bufs[5].offload.flags = 1;
    b.bufs[6].offload.gso_type = 1;
    CHECK(vpci_net_tx_burst(f.net, 0, b.bufs, 8) == 8);
    stats = stats_of(&f);
    CHECK(stats.tx.refused == 5 && stats.tx.packets == 1518 + 3);
    CHECK(stats.tx.bytes == 1518 * 1519 / 2 + 3 * 60);
    for (uint32_t i = 0; i < 3; i++) {
        uint8_t got[2048];

        CHECK(switch_port_take(&f.s.port, 0, got, sizeof got) == 60);
        CHECK(is_packet(got, 60, i == 2 ? 4 : 1 + i));
    }

    /* Those that are larger than their buffers are dropped, others kept. */
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t len = i % 3 == 1 ? 1000 : 60;

        make_packet(b.data[63], len, i);
        CHECK(switch_port_put(&f.s.port, 0, b.data[63], len));
        b.bufs[i].size = 999;
    }
    CHECK(vpci_net_rx_burst(f.net, 0, b.bufs, 8) == 5);
    for (uint32_t i = 0; i < 5; i++) {
        CHECK(b.bufs[i].len == 60
              && is_packet(b.bufs[i].data, 60, i + (i + 1) / 2));
    }
    CHECK(stats_of(&f).rx.dropped == 3);

    f.s.words.max_len = VPCI_ABI_MAX_LEN;
    CHECK(meet(&f));
    CHECK(check_length(&f, VPCI_ABI_MAX_LEN) && check_length(&f, 9000));

    /* The MTU changes while packets flow, to nonsense as well. */
    CHECK(change_max_len(&f, 1000) && check_length(&f, 1000));
    stats = stats_of(&f);
    CHECK(send_one(&f, b.data[0], 1001));
    CHECK(stats_of(&f).tx.refused == stats.tx.refused + 1);
    CHECK(!change_max_len(&f, 13));
    CHECK(!change_max_len(&f, VPCI_ABI_MAX_LEN + 1));
    CHECK(check_length(&f, 1000));
    CHECK(change_max_len(&f, 1001) && check_length(&f, 1001));
    CHECK(stats_of(&f).meetings == 2);
    fixture_uninit(&f);
    return true;
}

/* Super-packets and missing checksums, if both sides take them. */
static bool
run_offloads(void)
{
    static uint8_t data[VPCI_ABI_MAX_LEN], got[VPCI_ABI_MAX_LEN];
    struct vpci_net_config config = { .features = 1 << 1 | 1 << 11 };
    struct vpci_ring_buf buf = { .data = data, .len = 20000 };
    struct vpci_ring_pkt pkt;
    struct fixture f;

    CHECK(fixture_init(&f, &plain, &config));
    for (int i = 0; i < 3; i++) {
        uint32_t super = i == 2, sum = i >= 1;

        f.s.words.features = i == 0 ? 0 : i == 1 ? 1 << 1 : UINT64_MAX;
        CHECK(meet(&f));
        buf.len = 20000;
        buf.offload = (struct vpci_ring_offload) { .flags = 1, .gso_type = 1,
                                                   .gso_size = 1448 };
        CHECK(vpci_net_tx_burst(f.net, 0, &buf, 1) == 1);
        CHECK(vpci_ring_peek(vpci_channel_rx(f.s.port.channel, 0), &pkt, 1)
              == super);
        CHECK(!super || (pkt.len == 20000 && pkt.offload.gso_size == 1448));
        buf.offload.gso_type = 0;
        CHECK(vpci_net_tx_burst(f.net, 0, &buf, 1) == 1);
        buf.len = 100;
        CHECK(vpci_net_tx_burst(f.net, 0, &buf, 1) == 1);
        CHECK(vpci_ring_produced(vpci_channel_tx(f.s.port.channel, 0)) == 0);
        struct vpci_ring_pkt pkts[3];
        CHECK(vpci_ring_peek(vpci_channel_rx(f.s.port.channel, 0), pkts, 3)
              == super + sum);

        /* What the switch says without being asked to is not passed on. */
        struct vpci_ring_tx *tx = vpci_channel_tx(f.s.port.channel, 0);
        struct vpci_ring_buf in = { .data = got, .size = sizeof got };
        CHECK(vpci_ring_reserve(tx, 100));
        vpci_ring_submit(tx, 100, &buf.offload);
        vpci_ring_publish(tx);
        CHECK(vpci_net_rx_burst(f.net, 0, &in, 1) == 1);
        CHECK(in.offload.flags == sum);
    }
    fixture_uninit(&f);
    return true;
}

/* A full ring. */
static bool
check_full(bool drop)
{
    struct vpci_net_config config = { .drop = drop };
    static struct burst b;
    struct vpci_net_stats stats;
    struct fixture f;
    uint8_t got[100];

    burst_init(&b);
    CHECK(fixture_init(&f, &plain, &config));
    for (uint32_t i = 0; i < 20; i++) {
        b.bufs[i].len = 60;
        make_packet(b.data[i], 60, i);
    }
    CHECK(vpci_net_tx_burst(f.net, 0, b.bufs, 20) == (drop ? 20 : 0));
    CHECK(meet(&f));
    CHECK(vpci_net_tx_burst(f.net, 0, b.bufs, 20) == (drop ? 20 : 16));
    CHECK(vpci_net_tx_burst(f.net, 0, b.bufs, 20) == (drop ? 20 : 0));
    stats = stats_of(&f);
    CHECK(stats.tx.packets == 16 && stats.tx.full == 2);
    CHECK(stats.tx.dropped == (drop ? 44 : 0));
    CHECK(!vpci_net_tx_wait(f.net, 0, 2000));
    for (uint32_t i = 0; i < 16; i++) {
        CHECK(switch_port_take(&f.s.port, 0, got, sizeof got) == 60);
        CHECK(is_packet(got, 60, i));
    }
    CHECK(vpci_net_tx_wait(f.net, 0, TIMEOUT_US));
    CHECK(vpci_net_tx_burst(f.net, 0, b.bufs, 1) == 1);
    CHECK(vpci_net_tx_wait(f.net, 0, TIMEOUT_US));
    fixture_uninit(&f);
    return true;
}

static bool
run_full(void)
{
    CHECK(check_full(false));
    CHECK(check_full(true));
    return true;
}

/* Housekeeping of both sides, in a thread, and the switch sends what it gets
 * back. */
struct echo {
    struct fixture *f;
    bool stop;                  /* Atomic. */
    bool sleeps;                /* The switch is woken by signals. */
    uint64_t n;
};

static void *
echo_main(void *echo_)
{
    struct echo *echo = echo_;
    struct switch_port *port = &echo->f->s.port;
    uint64_t bytes = 0;

    while (!__atomic_load_n(&echo->stop, __ATOMIC_ACQUIRE)) {
        if (net_switch_run(&echo->f->s)) {
            for (int i = 0; i < 200; i++) {
                echo->n += switch_port_move(port, port, 1 + i % 16, &bytes);
                if (i % 16 == 0) {
                    sched_yield();
                }
            }
        } else {
            sched_yield();
        }
    }
    return NULL;
}

struct waiter {
    struct fixture *f;
    uint32_t queue;
    uint32_t n;                 /* Packets. */
    uint32_t at_once;           /* Each burst. */
    bool polling;
    bool stop;                  /* Atomic. */
    bool bad;
    uint32_t done;
};

static void *
send_main(void *w_)
{
    struct waiter *w = w_;
    static struct burst bursts[2];
    struct burst *b = &bursts[w->queue];

    burst_init(b);
    vpci_net_tx_set_polling(w->f->net, w->queue, w->polling);
    while (w->done < w->n && !w->bad) {
        uint32_t n = w->at_once < w->n - w->done ? w->at_once : w->n - w->done;
        uint32_t sent;

        for (uint32_t i = 0; i < n; i++) {
            b->bufs[i].len = 60 + (w->done + i) % 100;
            make_packet(b->data[i], b->bufs[i].len, w->done + i);
        }
        sent = vpci_net_tx_burst(w->f->net, w->queue, b->bufs, n);
        w->done += sent;
        w->bad = (sent < n
                  && !vpci_net_tx_wait(w->f->net, w->queue, TIMEOUT_US));
    }
    return NULL;
}

static void *
receive_main(void *w_)
{
    struct waiter *w = w_;
    static struct burst bursts[2];
    struct burst *b = &bursts[w->queue];

    burst_init(b);
    vpci_net_rx_set_polling(w->f->net, w->queue, w->polling);
    while (w->done < w->n && !w->bad) {
        uint32_t n = vpci_net_rx_burst(w->f->net, w->queue, b->bufs,
                                       w->at_once);

        for (uint32_t i = 0; i < n; i++, w->done++) {
            uint32_t len = 60 + w->done % 100;

            w->bad |= (b->bufs[i].len != len
                       || !is_packet(b->bufs[i].data, len, w->done));
        }
        if (!n) {
            w->bad |= !vpci_net_rx_wait(w->f->net, w->queue, TIMEOUT_US);
        }
    }
    return NULL;
}

/* Two queues whose senders and receivers sleep, all of them on the same
 * signal: nobody takes a wake-up away from another. */
static bool
check_waits(uint32_t n_vectors, uint32_t n, bool polling)
{
    struct vpci_net_config config = { .n_queues = 2, .own_thread = true };
    struct vpci_shape shape = with_classes;
    pthread_t echo_thread, threads[4];
    struct waiter waiters[4];
    struct fixture f;
    struct echo echo = { .f = &f };

    shape.n_vectors = n_vectors;
    CHECK(fixture_init(&f, &shape, &config) && meet(&f));
    CHECK(!pthread_create(&echo_thread, NULL, echo_main, &echo));
    for (int i = 0; i < 4; i++) {
        waiters[i] = (struct waiter) {
            .f = &f, .queue = i & 1, .n = n, .at_once = 1 + 12 * (i & 1),
            .polling = polling && i & 1,
        };
        CHECK(!pthread_create(&threads[i], NULL,
                              i < 2 ? send_main : receive_main, &waiters[i]));
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        if (waiters[i].bad) {
            fprintf(stderr, "%s of queue %d: %u of %u\n",
                    i < 2 ? "sender" : "receiver", i & 1, waiters[i].done, n);
        }
    }
    __atomic_store_n(&echo.stop, true, __ATOMIC_RELEASE);
    pthread_join(echo_thread, NULL);
    for (int i = 0; i < 4; i++) {
        CHECK(!waiters[i].bad && waiters[i].done == n);
    }
    CHECK(stats_of(&f).rx.packets == 2 * n && !stats_of(&f).resets);
    CHECK(polling || stats_of(&f).rx.received > 0);
    fixture_uninit(&f);
    return true;
}

static bool
run_waits(void)
{
    CHECK(check_waits(1, 30000, false));
    CHECK(check_waits(8, 30000, false));
    CHECK(check_waits(3, 10000, true));
    return true;
}

/* Waits end when they should, and not by what was before. */
static void *
wake_soon(void *net)
{
    usleep(20000);
    vpci_net_wake(net);
    return NULL;
}

/* Rings that are made anew end waits without any help of the switch. */
static void *
wait_for_room(void *net)
{
    return vpci_net_tx_wait(net, 0, TIMEOUT_US) ? net : NULL;
}

static bool
check_start_wakes(void)
{
    int64_t start = net_now_ms();
    pthread_t thread;
    struct fixture f;
    void *result;

    CHECK(fixture_init(&f, &plain, NULL));
    f.s.silent = true;
    CHECK(reach(&f, VPCI_NET_NO_HEADER));
    CHECK(!pthread_create(&thread, NULL, wait_for_room, f.net));
    usleep(20000);
    CHECK(meet(&f));
    pthread_join(thread, &result);
    CHECK(result && net_now_ms() - start < TIMEOUT_MS);
    fixture_uninit(&f);
    return true;
}

static int64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

/* Nobody waits less than was asked for, be it whole milliseconds or not. */
static bool
check_timeouts(struct vpci_net *net)
{
    static const int64_t timeouts[] = { 0, 300, 999, 1000, 3700 };

    for (size_t i = 0; i < sizeof timeouts / sizeof timeouts[0]; i++) {
        int64_t start = now_us();

        CHECK(!vpci_net_rx_wait(net, 0, timeouts[i]));
        CHECK(now_us() - start >= timeouts[i]);
    }
    return true;
}

static bool
run_wakes(void)
{
    uint8_t packet[60];
    pthread_t thread;
    struct fixture f;
    int64_t start;

    CHECK(fixture_init(&f, &with_classes, NULL) && meet(&f));
    make_packet(packet, sizeof packet, 1);
    start = net_now_ms();
    CHECK(!vpci_net_rx_wait(f.net, 0, 30000));
    CHECK(net_now_ms() - start >= 29);
    CHECK(check_timeouts(f.net));
    CHECK(switch_port_put(&f.s.port, 2, packet, sizeof packet));
    CHECK(vpci_net_rx_wait(f.net, 0, -1));
    CHECK(vpci_net_tx_wait(f.net, 0, -1));

    CHECK(!pthread_create(&thread, NULL, wake_soon, f.net));
    CHECK(!vpci_net_rx_wait(f.net, 1, -1));
    pthread_join(thread, NULL);

    /* It need not come while somebody waits. */
    vpci_net_wake(f.net);
    CHECK(!vpci_net_rx_wait(f.net, 1, -1));
    start = net_now_ms();
    CHECK(!vpci_net_rx_wait(f.net, 1, 30000));
    CHECK(net_now_ms() - start >= 29);
    fixture_uninit(&f);
    CHECK(check_start_wakes());
    return true;
}

static uint32_t
wake_mode(struct fixture *f, bool tx)
{
    struct vpci_ring_memory m;

    vpci_layout_ring(&f->s.port.layout, f->s.base, tx, 0, &m);
    return vpci_load64(tx ? &m.producer->wake : &m.consumer->wake) >> 32;
}

/* Looks all the time whether the guest asks to be woken. */
struct watcher {
    struct fixture *f;
    bool stop;                  /* Atomic. */
    uint32_t n_asked;           /* Atomic. */
};

static void *
watch_main(void *w_)
{
    struct watcher *w = w_;

    while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
        if (wake_mode(w->f, false) == VPCI_ABI_WAKE_AT) {
            __atomic_add_fetch(&w->n_asked, 1, __ATOMIC_RELAXED);
        }
    }
    return NULL;
}

/* The switch may take a while to see that it is to inject now. */
static bool
check_grace(struct fixture *f)
{
    struct watcher w = { .f = f };
    uint32_t n_quick = 0;
    pthread_t thread;

    CHECK(!pthread_create(&thread, NULL, watch_main, &w));
    for (int i = 0; i < 300; i++) {
        uint32_t n_asked;
        int64_t start;

        vpci_net_rx_set_polling(f->net, 0, true);
        n_asked = __atomic_load_n(&w.n_asked, __ATOMIC_RELAXED);
        start = now_us();
        vpci_net_rx_set_polling(f->net, 0, false);
        CHECK(!vpci_net_rx_wait(f->net, 0, VPCI_ABI_GRACE_US / 2));
        if (now_us() - start < VPCI_ABI_GRACE_US) {
            n_quick++;
            CHECK(__atomic_load_n(&w.n_asked, __ATOMIC_RELAXED) == n_asked);
        }
    }
    CHECK(!vpci_net_rx_wait(f->net, 0, 200 * VPCI_ABI_GRACE_US));
    __atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK(n_quick && w.n_asked);
    return true;
}

static bool
run_polling(void)
{
    struct vpci_ring_buf buf = { .size = 0 };
    struct fixture f;

    CHECK(fixture_init(&f, &plain, NULL));
    vpci_net_rx_set_polling(f.net, 0, true);
    for (int i = 0; i < 3; i++) {
        CHECK(meet(&f));
        CHECK(!vpci_net_rx_burst(f.net, 0, &buf, 1));
        CHECK(wake_mode(&f, false) == VPCI_ABI_WAKE_NEVER);
        CHECK(wake_mode(&f, true) == VPCI_ABI_WAKE_OFF);
        vpci_net_tx_set_polling(f.net, 0, true);
        CHECK(wake_mode(&f, true) == VPCI_ABI_WAKE_NEVER);
        vpci_net_tx_set_polling(f.net, 0, false);
        CHECK(wake_mode(&f, true) == VPCI_ABI_WAKE_OFF);
    }
    CHECK(check_grace(&f));
    fixture_uninit(&f);
    return true;
}

/* Traffic while the switch begins anew, and the keeper goes, again and again.
 * What is received is in order, and was sent. */
struct load {
    struct fixture *f;
    uint32_t queue;
    bool stop;                  /* Atomic. */
    bool bad;
    uint64_t n;
};

static void *
load_send(void *load_)
{
    static struct burst b;
    struct load *load = load_;

    burst_init(&b);
    while (!__atomic_load_n(&load->stop, __ATOMIC_ACQUIRE)) {
        uint32_t sent;

        for (uint32_t i = 0; i < 8; i++) {
            b.bufs[i].len = 60 + (load->n + i) % 1000;
            make_packet(b.data[i], b.bufs[i].len, load->n + i);
        }
        sent = vpci_net_tx_burst(load->f->net, 0, b.bufs, 8);
        load->n += sent;
        if (sent < 8) {
            vpci_net_tx_wait(load->f->net, 0, 20000);
        }
    }
    return NULL;
}

static void *
load_receive(void *load_)
{
    static struct burst b;
    struct load *load = load_;
    uint32_t next = 0;

    burst_init(&b);
    while (!__atomic_load_n(&load->stop, __ATOMIC_ACQUIRE)) {
        uint32_t n = vpci_net_rx_burst(load->f->net, 0, b.bufs, 8);

        for (uint32_t i = 0; i < n; i++) {
            uint32_t len = b.bufs[i].len, number;

            memcpy(&number, b.data[i] + len - 4, 4);
            load->bad |= (number < next || len != 60 + number % 1000
                          || !is_packet(b.bufs[i].data, len, number));
            next = number + 1;
        }
        load->n += n;
        if (!n) {
            vpci_net_rx_wait(load->f->net, 0, 20000);
        }
    }
    return NULL;
}

static bool
run_begins_under_load(void)
{
    struct vpci_net_config config = { .own_thread = true };
    struct load loads[2];
    pthread_t threads[2];
    unsigned int seed = 1;
    struct fixture f;
    uint64_t bytes = 0;

    CHECK(fixture_init(&f, &plain, &config) && meet(&f));
    for (int i = 0; i < 2; i++) {
        loads[i] = (struct load) { .f = &f };
        CHECK(!pthread_create(&threads[i], NULL,
                              i ? load_receive : load_send, &loads[i]));
    }
    for (int i = 0; i < 40; i++) {
        uint64_t wanted = 1 + rand_r(&seed) % 500, n = 0;
        int64_t deadline = net_now_ms() + TIMEOUT_MS;

        while (n < wanted && net_now_ms() < deadline) {
            if (net_switch_run(&f.s)) {
                n += switch_port_move(&f.s.port, &f.s.port, 16, &bytes);
            }
            sched_yield();
        }
        CHECK(n >= wanted);
        if (i % 4 == 3) {
            net_server_disconnect(&f.s.server, false);
        } else {
            net_switch_begin(&f.s);
        }
    }
    for (int i = 0; i < 2; i++) {
        __atomic_store_n(&loads[i].stop, true, __ATOMIC_RELEASE);
        pthread_join(threads[i], NULL);
    }
    CHECK(!loads[0].bad && !loads[1].bad && loads[1].n > 100);
    CHECK(loads[1].n <= loads[0].n);
    CHECK(stats_of(&f).meetings >= 20);
    CHECK(!f.s.port.n_faults && !stats_of(&f).resets);
    fixture_uninit(&f);
    return true;
}

/* Writes nonsense to whatever the switch may write. */
static void
scribble(struct net_switch *s, unsigned int *seed, bool header)
{
    const struct vpci_layout *layout = &s->port.layout;
    uint32_t section = header && rand_r(seed) % 4 == 0 ? VPCI_ABI_CONTROL
                                                       : VPCI_ABI_SIDE0;
    uint64_t n = layout->sections[section].size / 8;
    vpci_le64 *words = (void *) ((uint8_t *) s->base
                                 + layout->sections[section].offset);

    for (int i = 0; i < 50; i++) {
        uint64_t value = ((uint64_t) rand_r(seed) << 40)
                         ^ ((uint64_t) rand_r(seed) << 20) ^ rand_r(seed);

        /* Mostly where words are, sometimes small numbers. */
        vpci_store64(&words[rand_r(seed) % (rand_r(seed) % 2 ? n : 600)],
                     rand_r(seed) % 2 ? value : value % 64);
    }
}

/* Packets that look as if they were there, of any kind and length. */
static void
forge(struct net_switch *s, unsigned int *seed)
{
    struct vpci_ring_memory m;
    uint32_t ring = rand_r(seed) % s->port.layout.n_rings;

    vpci_layout_ring(&s->port.layout, s->base, 0, ring, &m);
    for (uint32_t i = 0; i < m.n_slots; i++) {
        uint64_t valid = 1 + i + (rand_r(seed) % 4) * m.n_slots;
        uint64_t len = rand_r(seed) % (rand_r(seed) % 2 ? 200 : 1u << 24);

        vpci_store64(&m.slots[i].word,
                     (uint64_t) (rand_r(seed) % 3) << VPCI_ABI_TYPE_SHIFT
                     | len << VPCI_ABI_LEN_SHIFT | valid);
    }
}

static void *
hostile_main(void *load_)
{
    static struct burst bursts[2];
    struct load *load = load_;
    uint32_t queue = load->queue;
    struct burst *b = &bursts[queue];

    burst_init(b);
    while (!__atomic_load_n(&load->stop, __ATOMIC_ACQUIRE)) {
        for (uint32_t i = 0; i < 8; i++) {
            b->bufs[i].len = 60 + i * 200;
        }
        load->n += vpci_net_tx_burst(load->f->net, queue, b->bufs, 8);
        load->n += vpci_net_rx_burst(load->f->net, queue, b->bufs, 8);
        vpci_net_rx_wait(load->f->net, queue, 50);
        vpci_net_tx_wait(load->f->net, queue, 50);
    }
    return NULL;
}

/* On a machine with much else to do, the guest sees few attacks in time. */
#define MIN_ATTACKS 40
#define MAX_ATTACKS 1000

static bool
run_hostile(void)
{
    struct vpci_net_config config = { .n_queues = 2, .own_thread = true };
    struct load loads[2];
    pthread_t threads[2];
    unsigned int seed = 7;
    struct fixture f;

    CHECK(fixture_init(&f, &with_classes, &config));
    f.s.words.class_by = VPCI_ABI_CLASS_PCP;
    CHECK(meet(&f));
    for (int i = 0; i < 2; i++) {
        loads[i] = (struct load) { .f = &f, .queue = i };
        CHECK(!pthread_create(&threads[i], NULL, hostile_main, &loads[i]));
    }
    for (int i = 0; i < MIN_ATTACKS || stats_of(&f).resets <= 3; i++) {
        int64_t end;

        CHECK(i < MAX_ATTACKS && meet(&f));
        end = net_now_ms() + 30;
        while (net_now_ms() < end) {
            if (i % 2) {
                scribble(&f.s, &seed, i % 4 == 3);
            } else {
                forge(&f.s, &seed);
                net_switch_run(&f.s);
                switch_port_inject_all(&f.s.port);
            }
            sched_yield();
        }
        if (i % 4 == 3) {
            memset(f.s.base, 0, VPCI_ABI_PAGE);
        }
    }
    CHECK(meet(&f));
    for (int i = 0; i < 2; i++) {
        __atomic_store_n(&loads[i].stop, true, __ATOMIC_RELEASE);
        pthread_join(threads[i], NULL);
    }

    /* Nothing is left of it. */
    CHECK(meet(&f));
    for (uint32_t i = 0; i < 100; i++) {
        uint8_t packet[60] = { 0 }, got[60];
        struct vpci_ring_buf buf = { .data = got, .size = sizeof got };

        CHECK(switch_port_put(&f.s.port, 0, packet, sizeof packet));
        CHECK(vpci_net_rx_wait(f.net, 0, TIMEOUT_US));
        CHECK(vpci_net_rx_burst(f.net, 0, &buf, 1) == 1 && buf.len == 60);
    }
    fixture_uninit(&f);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "open", run_open },
        { "states", run_states },
        { "classes", run_classes },
        { "strict-priority", run_strict_priority },
        { "full-class", run_full_class },
        { "lengths", run_lengths },
        { "offloads", run_offloads },
        { "full", run_full },
        { "waits", run_waits },
        { "wakes", run_wakes },
        { "polling", run_polling },
        { "begins-under-load", run_begins_under_load },
        { "hostile", run_hostile },
    };

    signal(SIGPIPE, SIG_IGN);
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
