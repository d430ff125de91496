/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of links whose packets the receiver changes (vpci/abi.h, "Links";
 * lib/vpci/edit.h).
 *
 * usage: test-net-edit [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "net-world.h"
#include "unit-test.h"

/* Flow of packets of IPv4. */
#define IP_FLOW 100

static const struct vpci_ring_offload no_offload;

/* Edits. */

static struct vpci_abi_edit *
add(struct vpci_edits *e, enum vpci_abi_edit_kind kind)
{
    struct vpci_abi_edit *edit = &e->edits[e->n++];

    edit->kind = kind;
    return edit;
}

static void
set(struct vpci_abi_edit *edit, uint32_t ofs, const void *value, uint32_t n)
{
    memcpy(edit->value + ofs, value, n);
    memset(edit->mask + ofs, 0xff, n);
}

/* A tag, TTL 9, address 10.1.2.3 and port 99 of UDP. */
static struct vpci_edits
make_edits(void)
{
    struct vpci_edits e = { .n = 0 };

    memcpy(add(&e, VPCI_ABI_EDIT_PUSH)->value, "\x81\0\xe0\x05", 4);
    set(add(&e, VPCI_ABI_EDIT_IPV4), 8, "\x09", 1);
    set(&e.edits[1], 16, "\x0a\1\2\3", 4);
    set(add(&e, VPCI_ABI_EDIT_UDP), 2, "\0\x63", 2);
    if (!vpci_edits_check(&e)) {
        fprintf(stderr, "the test's edits make no sense\n");
        abort();
    }
    return e;
}

/* Packets. */

/* One's complement sum of 'n' bytes at 'p', an even number, and 'sum'. */
static uint16_t
add_up(uint32_t sum, const uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 2) {
        sum += p[i] << 8 | p[i + 1];
    }
    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}

static void
put_16(uint8_t *p, uint16_t v)
{
    p[0] = v >> 8;
    p[1] = v;
}

/* The sum of the pseudo header for 'proto', of a packet whose IPv4 header is
 * at 'ip', without options. */
static uint16_t
pseudo_sum(const uint8_t *ip, uint32_t len)
{
    return add_up(ip[9] + len - 20, ip + 12, 8);
}

/* A packet of 'len' bytes, an even number, with IPv4 and a header of 'proto',
 * TCP or UDP.  Its checksum is right, or, if 'undone', still to be made. */
static void
make_ip(uint8_t *data, uint32_t len, uint8_t proto, bool undone)
{
    uint8_t *ip = data + 14, *l4 = ip + 20, *csum = l4 + (proto == 6 ? 16 : 6);
    uint32_t n = len - 34;

    world_make(data, len, IP_FLOW, 7);
    memset(data + 12, 0, 42);
    put_16(data + 12, 0x0800);
    ip[0] = 0x45;
    put_16(ip + 2, len - 14);
    ip[8] = 64;
    ip[9] = proto;
    memcpy(ip + 12, "\x0a\0\0\1\x0a\0\0\2", 8);
    put_16(ip + 10, ~add_up(0, ip, 20));
    if (proto == 6) {
        l4[12] = 0x50;
    } else {
        put_16(l4 + 4, n);
    }
    put_16(csum, pseudo_sum(ip, len - 14));
    if (!undone) {
        put_16(csum, ~add_up(0, l4, n));
    }
}

/* What make_edits() makes of a packet of make_ip() with UDP. */
static void
make_edited(uint8_t *data, uint32_t len, bool undone)
{
    uint8_t *ip = data + 18, *l4 = ip + 20;

    make_ip(data + 4, len - 4, 17, undone);
    memmove(data, data + 4, 12);
    memcpy(data + 12, "\x81\0\xe0\x05", 4);
    ip[8] = 9;
    memcpy(ip + 16, "\x0a\1\2\3", 4);
    memset(ip + 10, 0, 2);
    put_16(ip + 10, ~add_up(0, ip, 20));
    put_16(l4 + 2, 99);
    memset(l4 + 6, 0, 2);
    put_16(l4 + 6, pseudo_sum(ip, len - 18));
    if (!undone) {
        put_16(l4 + 6, ~add_up(0, l4, len - 38));
    }
}

/* The peer sends such a packet. */
static void
peer_send(struct world *w, const uint8_t *data, uint32_t len,
          struct vpci_ring_offload o)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(w->peer, 0);

    memcpy(vpci_ring_reserve(tx, len), data, len);
    vpci_ring_submit(tx, len, &o);
    vpci_ring_publish(tx);
}

/* Sends 'data' by the peer, with 'o', and receives it.  Returns whether it is
 * 'wanted' then, of which 'wanted_len' bytes are wanted, with 'wanted_o'. */
static bool
becomes(struct world *w, const uint8_t *data, uint32_t len,
        struct vpci_ring_offload o, const uint8_t *wanted,
        uint32_t wanted_len, struct vpci_ring_offload wanted_o)
{
    static uint8_t got[VPCI_ABI_MAX_LEN + 8];
    struct vpci_ring_buf buf = { .data = got, .size = sizeof got };

    peer_send(w, data, len, o);
    return (vpci_net_rx_burst(w->ports[0].net, 0, &buf, 1) == 1
            && buf.len == wanted_len && !memcmp(got, wanted, wanted_len)
            && !memcmp(&buf.offload, &wanted_o, sizeof wanted_o));
}

/* A world in which IP_FLOW has the edits of make_edits(), and flow 1 none. */
static bool
start(struct world *w, const struct vpci_net_config *config)
{
    struct vpci_edits edits = make_edits();

    CHECK(world_init(w, NULL, NULL, config, false));
    world_accept_edit(w, 0, IP_FLOW, &edits);
    world_accept(w, 0, 1, VPCI_ABI_ACCEPT);
    world_hint_edit(w, 0, IP_FLOW, edits.growth);
    world_publish(w, 0);
    return true;
}

/* The flow counts what came, the guest what it gets. */
static bool
run_applied(void)
{
    uint8_t data[600], wanted[604];
    struct vpci_abi_flow_count *c;
    struct vpci_net_stats stats;
    struct world w;

    CHECK(start(&w, NULL));
    c = world_said_flow(&w, 0, 0, IP_FLOW % 64);
    for (uint32_t i = 0; i < 100; i++) {
        uint32_t len = 60 + 2 * i;

        make_ip(data, len, 17, false);
        make_edited(wanted, len + 4, false);
        CHECK(becomes(&w, data, len, no_offload, wanted, len + 4,
                      no_offload));
        CHECK(world_peer_send(&w, 0, 1, i));
        CHECK(world_receive(&w, 0, 0, 1) == (int64_t) i);
    }
    stats = world_stats(&w, 0);
    CHECK(stats.rx.packets == 200 && !stats.rx.rejected);
    CHECK(vpci_load64(&c->packets) == 100);
    CHECK(vpci_load64(&c->bytes) == 100 * 60 + 99 * 100);
    CHECK(stats.rx.bytes == 100 * (64 + WORLD_LEN) + 99 * 100);

    /* What has not all of that is refused. */
    make_ip(data, 100, 6, false);
    CHECK(!becomes(&w, data, 100, no_offload, data, 0, no_offload));
    make_ip(data, 100, 17, false);
    data[17] = 200;
    CHECK(!becomes(&w, data, 100, no_offload, data, 0, no_offload));
    CHECK(world_stats(&w, 0).rx.rejected == 2);
    CHECK(vpci_load64(&c->packets) == 100);
    world_uninit(&w);
    return true;
}

/* Checksums that are still to be made, and super-packets. */
static bool
run_offloads(void)
{
    static uint8_t data[6000], wanted[6004];
    const struct vpci_ring_offload sum = { .flags = 1, .csum_start = 34,
                                           .csum_offset = 6 },
        other = { .flags = 1, .csum_start = 34, .csum_offset = 20 };
    struct vpci_ring_offload super = sum, wanted_sum = sum, wanted_super;
    struct vpci_net_config config = { .features = 1 << 1
                                                  | UINT64_C(1) << 54 };
    struct vpci_abi_flow_count *c;
    struct world w;

    super.gso_type = 5;
    super.gso_size = 1000;
    wanted_super = super;
    wanted_sum.csum_start = wanted_super.csum_start = 38;
    CHECK(start(&w, &config));
    c = world_said_flow(&w, 0, 0, IP_FLOW % 64);
    make_ip(data, 1000, 17, true);
    make_edited(wanted, 1004, true);
    CHECK(becomes(&w, data, 1000, sum, wanted, 1004, wanted_sum));
    CHECK(!becomes(&w, data, 1000, other, wanted, 1004, other));
    make_ip(data, 5042, 17, true);
    make_edited(wanted, 5046, true);
    CHECK(becomes(&w, data, 5042, super, wanted, 5046, wanted_super));
    CHECK(vpci_load64(&c->packets) == 6);
    CHECK(vpci_load64(&c->bytes) == 1000 + 5 * 1042);
    CHECK(world_stats(&w, 0).rx.rejected == 1);
    world_uninit(&w);
    return true;
}

/* Sends such a packet.  Returns whether it is the peer that gets it, as it
 * is. */
static bool
goes_by_link(struct world *w, const uint8_t *data, uint32_t len,
             struct vpci_ring_offload o)
{
    struct vpci_ring_buf buf = { .data = (void *) data, .len = len,
                                 .offload = o };
    struct vpci_ring_rx *rx = vpci_channel_rx(w->peer, 0);
    struct vpci_ring_pkt pkt;

    if (vpci_net_tx_burst(w->ports[0].net, 0, &buf, 1) != 1
        || !vpci_ring_peek(rx, &pkt, 1)) {
        return false;
    }
    vpci_ring_release(rx, 1);
    return pkt.len == len && !memcmp(pkt.data, data, len);
}

/* Senders keep back what they cannot leave to the receiver. */
static bool
run_senders(void)
{
    static uint8_t data[6000];
    const struct vpci_ring_offload sum = { .flags = 1, .csum_start = 34,
                                           .csum_offset = 6 },
        other = { .flags = 1, .csum_start = 34, .csum_offset = 20 };
    struct vpci_ring_offload super = sum;
    struct vpci_net_config config = { .features = 1 << 1
                                                  | UINT64_C(1) << 54 };
    struct world w;

    CHECK(start(&w, &config));
    super.gso_type = 5;
    super.gso_size = 1000;
    make_ip(data, 1514, 17, false);
    CHECK(goes_by_link(&w, data, 1514, no_offload));
    CHECK(goes_by_link(&w, data, 1514, sum));
    CHECK(!goes_by_link(&w, data, 1514, other));
    make_ip(data, 1516, 17, false);
    CHECK(!goes_by_link(&w, data, 1516, no_offload));
    CHECK(!goes_by_link(&w, data, 1516, sum));
    make_ip(data, 5042, 17, true);
    CHECK(goes_by_link(&w, data, 5042, super));
    super.gso_size = 1472;
    CHECK(goes_by_link(&w, data, 5042, super));
    super.gso_size = 1473;
    CHECK(!goes_by_link(&w, data, 5042, super));

    /* Where headers are is not certain. */
    make_ip(data, 100, 17, false);
    CHECK(goes_by_link(&w, data, 100, no_offload));
    data[17] = 200;
    CHECK(!goes_by_link(&w, data, 100, no_offload));

    /* A hint that says more than we know. */
    make_ip(data, 100, 17, false);
    for (int i = 25; i < 32; i++) {
        world_hint_edit(&w, 0, IP_FLOW, 1 << (i - 16));
        world_publish(&w, 0);
        CHECK(!goes_by_link(&w, data, 100, no_offload));
    }
    world_hint_edit(&w, 0, IP_FLOW, 0);
    world_publish(&w, 0);
    CHECK(goes_by_link(&w, data, 100, no_offload));
    world_uninit(&w);
    return true;
}

/* Edits that make no sense, in one byte or the other, let nothing pass. */
static bool
run_lies(void)
{
    static const struct {
        size_t ofs;
        uint8_t value;
    } lies[] = {
        { 0, 0 }, { 0, 2 }, { 0, 9 }, { 3, 1 }, { 4, 1 }, { 63, 1 },
        { 64, 0 }, { 64, 9 }, { 65, 1 }, { 72, 0x82 }, { 112, 1 },
        { 152, 7 }, { 64 + 3 * 88, 1 },
    };
    uint8_t data[100], wanted[104];
    uint8_t *said;
    struct world w;

    CHECK(start(&w, NULL));
    make_ip(data, 100, 17, false);
    make_edited(wanted, 104, false);
    said = (uint8_t *) world_edits(&w, 0, IP_FLOW);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t old = said[lies[i].ofs];

        CHECK(becomes(&w, data, 100, no_offload, wanted, 104, no_offload));
        said[lies[i].ofs] = lies[i].value;

        /* They are read once for each generation. */
        CHECK(becomes(&w, data, 100, no_offload, wanted, 104, no_offload));
        world_publish(&w, 0);
        if (becomes(&w, data, 100, no_offload, wanted, 104, no_offload)) {
            fprintf(stderr, "lie %d is believed\n", (int) i);
            return false;
        }
        CHECK(world_said_refused(&w, 0, 0) == i + 1);
        said[lies[i].ofs] = old;
        world_publish(&w, 0);
    }

    /* Edits where there is no place for them. */
    world_set(w.ports[0].acceptances, IP_FLOW,
              (uint64_t) VPCI_ABI_EDIT << VPCI_ABI_ACCEPTANCE_SHIFT | 64);
    world_publish(&w, 0);
    CHECK(!becomes(&w, data, 100, no_offload, wanted, 104, no_offload));
    world_uninit(&w);
    return true;
}

/* Nothing is written behind a buffer. */
static bool
run_buffers(void)
{
    uint8_t data[100], wanted[104], got[108];
    struct vpci_ring_buf buf;
    struct world w;

    CHECK(start(&w, NULL));
    make_ip(data, 100, 17, false);
    make_edited(wanted, 104, false);
    for (uint32_t size = 90; size < 108; size++) {
        memset(got, 0x55, sizeof got);
        buf = (struct vpci_ring_buf) { .data = got, .size = size };
        peer_send(&w, data, 100, no_offload);
        CHECK(vpci_net_rx_burst(w.ports[0].net, 0, &buf, 1)
              == (size >= 104));
        CHECK(size < 104 || !memcmp(got, wanted, 104));
        for (uint32_t i = size < 104 ? size : 104; i < sizeof got; i++) {
            CHECK(got[i] == 0x55);
        }
    }
    CHECK(world_stats(&w, 0).rx.dropped == 14);
    CHECK(world_stats(&w, 0).rx.packets == 4);
    world_uninit(&w);
    return true;
}

/* Edits by which each packet gets addresses, and some more or fewer bytes, all
 * of them 'byte'. */
static struct vpci_edits
make_variant(uint8_t byte)
{
    struct vpci_edits e = { .n = 0 };
    uint8_t bytes[12];

    memset(bytes, byte, sizeof bytes);
    if (byte & 1) {
        memcpy(add(&e, VPCI_ABI_EDIT_PUSH)->value, "\x81\0\0", 3);
        e.edits[0].value[3] = byte;
    }
    set(add(&e, VPCI_ABI_EDIT_ETH), 0, bytes, 12);
    set(add(&e, VPCI_ABI_EDIT_IPV4), 12, bytes, 8);
    set(&e.edits[e.n - 1], 8, bytes, 1);
    vpci_edits_check(&e);
    return e;
}

/* True if all of that was done to a packet. */
static bool
is_variant(const uint8_t *p, uint32_t len)
{
    const uint8_t byte = p[0];
    const uint8_t *ip = p + (byte & 1 ? 18 : 14);

    for (int i = 0; i < 12; i++) {
        CHECK(p[i] == byte);
    }
    CHECK(len == (byte & 1 ? 104 : 100) && (!(byte & 1) || p[15] == byte));
    for (int i = 12; i < 20; i++) {
        CHECK(ip[i] == byte);
    }
    CHECK(ip[8] == byte && add_up(0, ip, 20) == 0xffff);
    return true;
}

/* Who changes edits. */
struct changer {
    struct world *w;
    bool stop;                  /* Atomic. */
    uint32_t n;
};

/* The acceptance goes, or waits, before the edits change. */
static void *
change_main(void *c_)
{
    struct changer *c = c_;

    while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
        struct vpci_edits edits = make_variant(++c->n);

        world_accept(c->w, 0, IP_FLOW, VPCI_ABI_WAIT);
        world_publish(c->w, 0);
        world_accept_edit(c->w, 0, IP_FLOW, &edits);
        world_publish(c->w, 0);
    }
    return NULL;
}

/* Each packet has edits that were there at some time, and none is refused. */
static bool
run_generations(void)
{
    uint8_t data[100], got[32][128];
    struct changer c = { .n = 0 };
    uint32_t n_changes = 0, n = 0;
    uint8_t last = 0;
    struct vpci_ring_buf bufs[32];
    pthread_t thread;
    int64_t deadline;
    struct world w;

    CHECK(world_init(&w, NULL, NULL, NULL, false));
    make_ip(data, 100, 17, false);
    world_accept(&w, 0, IP_FLOW, VPCI_ABI_WAIT);
    world_publish(&w, 0);
    c.w = &w;
    deadline = net_now_ms() + WORLD_TIMEOUT_MS;
    CHECK(!pthread_create(&thread, NULL, change_main, &c));
    while (n < 20000 || n_changes < 100) {
        unsigned int k;

        CHECK(net_now_ms() < deadline);
        for (int i = 0; i < 8 && vpci_ring_room(vpci_channel_tx(w.peer, 0), 1);
             i++) {
            peer_send(&w, data, 100, no_offload);
        }
        for (int i = 0; i < 32; i++) {
            bufs[i] = (struct vpci_ring_buf) { .data = got[i], .size = 128 };
        }
        k = vpci_net_rx_burst(w.ports[0].net, 0, bufs, 32);
        for (unsigned int i = 0; i < k; i++) {
            const uint8_t *p = bufs[i].data;

            CHECK(is_variant(p, bufs[i].len));
            n_changes += p[0] != last;
            last = p[0];
        }
        n += k;
    }
    __atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK(!world_stats(&w, 0).rx.rejected);
    world_uninit(&w);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "applied", run_applied },
        { "offloads", run_offloads },
        { "senders", run_senders },
        { "lies", run_lies },
        { "buffers", run_buffers },
        { "generations", run_generations },
    };

    signal(SIGPIPE, SIG_IGN);
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
