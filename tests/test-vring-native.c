/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of native rings that are used as if they were virtio rings. */

#include "test-vring.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "test-vring-harness.h"
#include "vpci/channel.h"
#include "vpci/splice.h"
#include "vpci/vring.h"

#define F_CSUM (UINT64_C(1) << 0)
#define MAX_FRAME 9000

/* A region, whose side 0 is ours, with a ring each way, and whose side 1 is the
 * guest's. */
struct native {
    struct vpci_layout layout;
    void *base;
    struct vpci_channel *sides[2];
    struct vpci_vring *to, *from;
    int to_fd, from_fd;         /* Doorbells. */
    int64_t now;
};

static void
begin(struct native *n, unsigned int side, uint64_t features)
{
    static uint32_t epoch;
    struct vpci_channel_config config = {
        .layout = n->layout, .base = n->base, .side = side,
        .features = features, .n_queues = 1,
    };

    vpci_channel_begin(n->sides[side], &config, ++epoch);
}

static bool
meet(struct native *n)
{
    n->now += 1000;
    for (int i = 0; i < 2; i++) {
        vpci_channel_run(n->sides[0], n->now);
        vpci_channel_run(n->sides[1], n->now);
    }
    return vpci_channel_is_current(n->sides[0])
           && vpci_channel_is_current(n->sides[1]);
}

static void
start_vrings(struct native *n, uint64_t features)
{
    struct vpci_vring_native config = {
        .channel = n->sides[0], .features = features,
    };

    CHECK(vpci_vring_start_native(n->to, &config) == EINVAL);
    config.tx = vpci_channel_tx(n->sides[0], 0);
    config.call_fd = n->to_fd;
    CHECK(!vpci_vring_start_native(n->to, &config));
    CHECK(vpci_vring_start_native(n->to, &config) == EINVAL);
    config.tx = NULL;
    config.rx = vpci_channel_rx(n->sides[0], 0);
    config.call_fd = n->from_fd;
    config.index = 1;
    CHECK(!vpci_vring_start_native(n->from, &config));
}

static void
native_init(struct native *n, uint64_t features)
{
    static const struct vpci_shape shape = {
        .kind = VPCI_ABI_BASE, .n_queues = 1, .n_classes = 1,
        .slots_log2 = 6, .data_log2 = 18, .n_vectors = 1,
    };
    struct vpci_layout_report report;

    memset(n, 0, sizeof *n);
    CHECK(vpci_layout_init(&n->layout, &shape, &report));
    n->base = aligned_alloc(VPCI_ABI_PAGE, n->layout.size);
    memset(n->base, 0, n->layout.size);
    for (unsigned int i = 0; i < 2; i++) {
        n->sides[i] = aligned_alloc(VPCI_ABI_LINE,
                                    vpci_channel_bytes(&n->layout));
        begin(n, i, features);
    }
    CHECK(meet(n));
    n->to = vpci_vring_create();
    n->from = vpci_vring_create();
    n->to_fd = eventfd(0, EFD_NONBLOCK);
    n->from_fd = eventfd(0, EFD_NONBLOCK);
    start_vrings(n, features);
}

static void
native_uninit(struct native *n)
{
    vpci_vring_destroy(n->to);
    vpci_vring_destroy(n->from);
    close(n->to_fd);
    close(n->from_fd);
    free(n->sides[0]);
    free(n->sides[1]);
    free(n->base);
}

static void
fill(uint8_t *p, uint32_t len, uint32_t seq)
{
    for (uint32_t i = 0; i < len; i++) {
        p[i] = seq * 31 + i;
    }
}

static bool
is_filled(const uint8_t *p, uint32_t len, uint32_t seq)
{
    uint8_t wanted[MAX_FRAME];

    fill(wanted, len, seq);
    return !memcmp(p, wanted, len);
}

static const struct vpci_net_hdr some_hdr = {
    .flags = 1, .csum_start = 34, .csum_offset = 16, .gso_type = 1,
    .gso_size = 1448,
};

/* The guest sends frames 'first' to 'end'. */
static void
native_send(struct native *n, uint32_t first, uint32_t end)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(n->sides[1], 0);
    struct vpci_ring_offload offload = vpci_ring_offload_from_hdr(&some_hdr);

    for (uint32_t seq = first; seq < end; seq++) {
        uint32_t len = 60 + seq * 7 % (MAX_FRAME - 60);
        void *p = vpci_ring_reserve(tx, len);

        CHECK(p);
        fill(p, len, seq);
        vpci_ring_submit(tx, len, &offload);
    }
    vpci_ring_publish(tx);
}

static void
check_peek(struct native *n, uint64_t features)
{
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    struct vpci_vring_state state;
    uint32_t seq = 0, sent = 0;
    uint8_t frame[MAX_FRAME];

    CHECK(!vpci_vring_peek(n->from, pkts, VPCI_VRING_BURST));
    for (int round = 0; round < 100; round++) {
        unsigned int got;

        native_send(n, sent, sent + 10);
        sent += 10;
        vpci_vring_get_state(n->from, &state);
        CHECK(state.native && state.running && !state.packed);
        CHECK((uint16_t) (state.driver_idx - state.base.avail_idx) == 10);
        CHECK(vpci_vring_peek(n->from, pkts, 4) == 4);
        CHECK(vpci_vring_peek(n->from, pkts, VPCI_VRING_BURST) == 10);
        for (got = 0; got < 10; got++, seq++) {
            uint32_t len = 60 + seq * 7 % (MAX_FRAME - 60);

            CHECK(pkts[got].len == len);
            vpci_pkt_copy(&pkts[got], frame);
            CHECK(is_filled(frame, len, seq));
            CHECK(!memcmp(&pkts[got].hdr,
                          features & F_CSUM ? &some_hdr
                          : &(struct vpci_net_hdr) { .flags = 0 },
                          sizeof some_hdr));
        }
        vpci_vring_release(n->from, 3);
        vpci_vring_release(n->from, 100);
        CHECK(!vpci_vring_peek(n->from, pkts, VPCI_VRING_BURST));
    }
}

/* Frames of one piece, of several, with a head of their own in place of the
 * first bytes. */
static void
check_push(struct native *n)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(n->sides[1], 0);
    static uint8_t frame[MAX_FRAME];
    uint8_t head[54];

    for (uint32_t seq = 0; seq < 1000; seq++) {
        uint32_t len = 60 + seq * 11 % (MAX_FRAME - 60), cut = seq % 61;
        struct vpci_iov iov[3] = {
            { frame, 20 }, { frame + 20, 40 }, { frame + 60, len - 60 },
        };
        struct vpci_pkt pkt = {
            .iov = iov, .n_iov = len > 60 ? 3 : 2, .len = len,
            .hdr = some_hdr,
        };
        struct vpci_ring_pkt seen;

        fill(frame, len, seq);
        if (cut && cut <= sizeof head) {
            memcpy(head, frame, cut);
            memset(frame, 0xee, cut);
            pkt.head = head;
            pkt.head_len = pkt.skip = cut;
        }
        CHECK(vpci_vring_push(n->to, &pkt, 1) == 1);
        CHECK(pkt.fate == VPCI_PKT_SENT);
        CHECK(vpci_ring_peek(rx, &seen, 1) == 1);
        CHECK(seen.len == len && is_filled(seen.data, len, seq));
        struct vpci_net_hdr hdr = vpci_ring_offload_to_hdr(seen.offload);
        CHECK(!memcmp(&hdr, &some_hdr, sizeof hdr));
        vpci_ring_release(rx, 1);
    }
}

/* A full ring takes what fits; one frame that is too long is not sent. */
static void
check_limits(struct native *n)
{
    static uint8_t frame[VPCI_ABI_MAX_LEN + 1];
    struct vpci_ring_rx *rx = vpci_channel_rx(n->sides[1], 0);
    struct vpci_iov iov = { frame, 60 };
    struct vpci_iov long_iov = { frame, sizeof frame };
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    struct vpci_ring_pkt seen;
    unsigned int n_sent = 0, n_pushed;

    CHECK(vpci_vring_has_room(n->to, 64) && !vpci_vring_has_room(n->to, 65));
    do {
        for (int i = 0; i < VPCI_VRING_BURST; i++) {
            pkts[i] = (struct vpci_pkt) { .iov = &iov, .n_iov = 1, .len = 60 };
        }
        pkts[1].iov = &long_iov;
        pkts[1].len = sizeof frame;
        n_pushed = vpci_vring_push(n->to, pkts, VPCI_VRING_BURST);
        for (unsigned int i = 0; i < VPCI_VRING_BURST; i++) {
            CHECK(pkts[i].fate == (i >= n_pushed ? VPCI_PKT_WAITING
                                   : i == 1 ? VPCI_PKT_TOO_BIG
                                   : VPCI_PKT_SENT));
        }
        n_sent += n_pushed - (n_pushed > 1);
    } while (n_pushed == VPCI_VRING_BURST);
    CHECK(n_sent == 64 && !vpci_vring_has_room(n->to, 1));
    while (vpci_ring_peek(rx, &seen, 1)) {
        vpci_ring_release(rx, 1);
        n_sent--;
    }
    CHECK(!n_sent && vpci_vring_has_room(n->to, 64));
}

void
test_native(void)
{
    static const uint64_t features[] = { 0, F_CSUM };

    for (int i = 0; i < 2; i++) {
        struct native n;

        native_init(&n, features[i]);
        check_peek(&n, features[i]);
        check_push(&n);
        check_limits(&n);
        native_uninit(&n);
    }
}

static bool
is_rung(int fd)
{
    eventfd_t value;

    return !eventfd_read(fd, &value);
}

void
test_native_notify(void)
{
    struct vpci_ring_rx *rx;
    struct vpci_ring_tx *tx;
    uint8_t frame[60] = { 0 };
    struct vpci_iov iov = { frame, sizeof frame };
    struct vpci_pkt pkt = { .iov = &iov, .n_iov = 1, .len = sizeof frame };
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    struct native n;

    native_init(&n, 0);
    rx = vpci_channel_rx(n.sides[1], 0);
    tx = vpci_channel_tx(n.sides[1], 0);
    CHECK(vpci_vring_push(n.to, &pkt, 1) == 1);
    CHECK(!vpci_vring_notify(n.to));
    CHECK(!vpci_ring_rx_sleep(rx, 1) && vpci_ring_rx_sleep(rx, 2));
    CHECK(vpci_vring_push(n.to, &pkt, 1) == 1);
    CHECK(vpci_vring_notify(n.to) && is_rung(n.to_fd));
    CHECK(!vpci_vring_notify(n.to) && !is_rung(n.to_fd));

    /* The guest waits for room. */
    native_send(&n, 0, 10);
    CHECK(vpci_ring_tx_sleep(tx, 10));
    CHECK(vpci_vring_peek(n.from, pkts, VPCI_VRING_BURST) == 10);
    vpci_vring_release(n.from, 9);
    CHECK(!vpci_vring_notify(n.from));
    CHECK(vpci_vring_peek(n.from, pkts, VPCI_VRING_BURST) == 1);
    vpci_vring_release(n.from, 1);
    CHECK(vpci_vring_notify(n.from) && is_rung(n.from_fd));
    native_uninit(&n);
}

/* Splicing: frames as those of guests of the harness. */

static uint32_t
splice_len(uint32_t seed)
{
    return 60 + seed % 11 * (seed % 3) * 70;
}

/* The guest sends frame 'seed', if there is room for it. */
static bool
send_frame(struct native *n, uint32_t seed)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(n->sides[1], 0);
    uint32_t len = splice_len(seed);
    uint8_t *p = vpci_ring_reserve(tx, len);

    for (uint32_t i = 0; p && i < len; i++) {
        p[i] = frame_byte(seed, i);
    }
    if (p) {
        vpci_ring_submit(tx, len, NULL);
        vpci_ring_publish(tx);
    }
    return p != NULL;
}

/* The guest receives frame 'seed', if that has come. */
static bool
receive_frame(struct native *n, uint32_t seed)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(n->sides[1], 0);
    struct vpci_ring_pkt seen;
    struct vpci_iov iov;
    struct vpci_pkt pkt = { .iov = &iov, .n_iov = 1 };

    if (!vpci_ring_peek(rx, &seen, 1)) {
        return false;
    }
    iov.base = (void *) (uintptr_t) seen.data;
    iov.len = pkt.len = seen.len;
    CHECK(!seen.offload.flags && !seen.offload.gso_type);
    check_peeked_bytes(&pkt, seed, splice_len(seed));
    vpci_ring_release(rx, 1);
    return true;
}

/* One end of a splice: either of the two kinds. */
struct end {
    struct native *native;
    struct guest *guest;
    struct vpci_vring *vr;
};

static bool
end_sends(const struct end *e, uint32_t seed)
{
    uint32_t len;

    if (e->native) {
        return send_frame(e->native, seed);
    }
    len = splice_len(seed) + e->guest->hdr_len;
    if (guest_send(e->guest, seed, &len, 1, false) < 0) {
        return false;
    }
    vring_driver_publish(e->guest->drv);
    return true;
}

/* Receives frames from '*seed' on, of those before 'end'. */
static void
end_receives(const struct end *e, uint32_t *seed, uint32_t end)
{
    for (; *seed != end && random_below(20); ++*seed) {
        if (e->guest) {
            check_received(e->guest, *seed, splice_len(*seed));
        } else {
            CHECK(receive_frame(e->native, *seed));
        }
    }
}

static void
splice_ends(const struct end *from, const struct end *to, uint32_t max_len)
{
    const struct vpci_steer_plain any = { .entry = 0 };
    uint32_t sent = 0, done = 0, received = 0, n_easy = 0;

    while (received < 3000) {
        struct vring_driver_reaped reaped[64];
        struct vpci_spliced spliced;
        struct vpci_pkt pkt;
        unsigned int n;

        while (random_below(30) && end_sends(from, sent)) {
            sent++;
        }
        while (to->guest && random_below(30)
               && guest_post_one(to->guest, 2000) >= 0) {
            vring_driver_publish(to->guest->drv);
        }
        n = vpci_vring_splice(from->vr, to->vr, &any, max_len, &spliced);
        for (unsigned int i = 0; i < n; i++) {
            CHECK(spliced.lens[i] == splice_len(done + i));
            CHECK(spliced.lens[i] <= max_len);
        }
        if (n) {
            for (unsigned int i = 0; i < sizeof spliced.first; i++) {
                CHECK(i >= spliced.lens[0]
                      || spliced.first[i] == frame_byte(done, i));
            }
        } else if (vpci_vring_peek(from->vr, &pkt, 1)) {
            CHECK(spliced.stopped);
            n = vpci_vring_push(to->vr, &pkt, 1);
            vpci_vring_release(from->vr, n);
            CHECK(!n || pkt.fate == VPCI_PKT_SENT);
            n_easy -= n;
        }
        n_easy += n;
        done += n;
        end_receives(to, &received, done);
        if (from->guest) {
            vring_driver_reap(from->guest->drv, reaped, 64);
        }
    }
    CHECK(n_easy > 1000);
}

/* Easy frames, from native rings and to them, in one step. */
void
test_native_splice(void)
{
    for (int kinds = 1; kinds < 4; kinds++) {
        struct native a, b;
        struct guest g;
        struct end from = { .native = &a }, to = { .native = &b };

        native_init(&a, 0);
        native_init(&b, 0);
        guest_init(&g, NO_OFFLOADS | MODERN, 64, 60, true);
        g.zero_headers = true;
        if (!(kinds & 1)) {
            from = (struct end) { .guest = &g };
        }
        if (!(kinds & 2)) {
            to = (struct end) { .guest = &g };
        }
        from.vr = from.native ? a.from : g.vr;
        to.vr = to.native ? b.to : g.vr;
        splice_ends(&from, &to, 1000);
        native_uninit(&a);
        native_uninit(&b);
        guest_destroy(&g);
    }
}

/* The guest begins anew, or breaks the ring. */
void
test_native_ends(void)
{
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    uint8_t frame[60] = { 0 };
    struct vpci_iov iov = { frame, sizeof frame };
    struct vpci_pkt pkt = { .iov = &iov, .n_iov = 1, .len = sizeof frame };
    struct vpci_ring_memory m;
    struct native n;

    native_init(&n, 0);
    native_send(&n, 0, 3);
    begin(&n, 1, 0);
    CHECK(!vpci_vring_peek(n.from, pkts, VPCI_VRING_BURST));
    CHECK(!vpci_vring_push(n.to, &pkt, 1));
    CHECK(!vpci_vring_fault(n.from) && !vpci_vring_fault(n.to));
    vpci_vring_stop(n.to, NULL);
    vpci_vring_stop(n.from, NULL);
    CHECK(!vpci_vring_push(n.to, &pkt, 1));
    CHECK(meet(&n));
    start_vrings(&n, 0);
    native_send(&n, 0, 3);
    CHECK(vpci_vring_peek(n.from, pkts, VPCI_VRING_BURST) == 3);
    CHECK(vpci_vring_push(n.to, &pkt, 1) == 1);

    vpci_layout_ring(&n.layout, n.base, 1, 0, &m);
    vpci_store64(&m.slots[1].word, 2);
    CHECK(vpci_vring_peek(n.from, pkts, VPCI_VRING_BURST) == 1);
    CHECK(!vpci_vring_peek(n.from, pkts, VPCI_VRING_BURST));
    CHECK(vpci_vring_fault(n.from) == VPCI_FAULT_TYPE);
    CHECK(!vpci_vring_fault(n.to));
    native_uninit(&n);
}
