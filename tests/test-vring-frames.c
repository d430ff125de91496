/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: frames in both directions. */

#include "test-vring.h"

#include <string.h>

#include "vpci/splice.h"

#include "test-vring-harness.h"

static void
run_from_driver(struct guest *g)
{
    uint32_t n_sent = 0, n_taken = 0, n_reaped = 0;
    uint32_t lens[MAX_PIECES];
    uint32_t total = 700;
    uint32_t frame_lens[700];
    uint16_t ids[700];

    while (n_reaped < total) {
        struct vring_driver_reaped reaped[64];
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        unsigned int n;

        for (n = random_below(50); n && n_sent < total; n--) {
            bool indirect = g->features & VRING_F_INDIRECT && random_below(2);
            uint32_t len = random_below(3) ? random_below(150)
                                           : random_below(2500);
            unsigned int max = g->dcfg.size < 6 ? g->dcfg.size : 6;
            unsigned int n_pieces = random_pieces(len + g->hdr_len, g->hdr_len,
                                                  max, lens);
            int id = guest_send(g, n_sent, lens, n_pieces, indirect);

            if (id < 0) {
                break;
            }
            ids[n_sent] = id;
            frame_lens[n_sent] = len;
            n_sent++;
        }
        vring_driver_publish(g->drv);

        n = vpci_vring_peek(g->vr, pkts, random_below(VPCI_VRING_BURST + 1));
        CHECK(n <= n_sent - n_taken);
        for (unsigned int i = 0; i < n; i++) {
            check_peeked(&pkts[i], n_taken + i, frame_lens[n_taken + i]);
        }
        n = random_below(n + 1);
        n_taken += n;
        while (n) {
            unsigned int m = 1 + random_below(n);

            vpci_vring_release(g->vr, m);
            n -= m;
        }
        n = vring_driver_reap(g->drv, reaped, random_below(64) + 1);
        CHECK(!g->drv->error);
        for (unsigned int i = 0; i < n; i++) {
            CHECK(reaped[i].id == ids[n_reaped++]);
        }
        CHECK(n_reaped <= n_taken);
    }
    CHECK(!g->n_faults);
}

void
test_from_driver(void)
{
    for_each_ring(run_from_driver);
}

static void
run_to_driver(struct guest *g)
{
    uint32_t seed = 0, n_sent = 0;

    while (n_sent < 700) {
        uint32_t lens[MAX_PIECES], frame_lens[VPCI_VRING_BURST];
        uint8_t fates[VPCI_VRING_BURST];
        unsigned int n, n_done;

        for (n = random_below(50); n; n--) {
            bool indirect = g->features & VRING_F_INDIRECT && random_below(2);
            uint32_t len = g->hdr_len + random_below(random_below(3)
                                                     ? 2500 : 100);
            unsigned int max = g->dcfg.size < 6 ? g->dcfg.size : 6;
            unsigned int n_pieces = random_pieces(len, g->hdr_len, max, lens);

            if (guest_post(g, lens, n_pieces, indirect) < 0) {
                break;
            }
        }
        vring_driver_publish(g->drv);

        n = random_below(VPCI_VRING_BURST + 1);
        for (unsigned int i = 0; i < n; i++) {
            frame_lens[i] = random_below(random_below(3) ? 100 : 2000);
        }
        n_done = guest_push(g, seed, frame_lens, n, fates);
        for (unsigned int i = 0; i < n_done; i++) {
            if (fates[i] == VPCI_PKT_SENT) {
                check_received(g, seed + i, frame_lens[i]);
                n_sent++;
            }
        }
        CHECK(!vring_driver_has_used(g->drv));
        seed += n_done;
    }
    CHECK(!g->n_faults);
}

void
test_to_driver(void)
{
    for_each_ring(run_to_driver);
}

/* Headers of drivers without offloads, whatever is in them, are zeros. */
void
test_headers_without_offloads(void)
{
    static const struct vpci_net_hdr zeros;

    for (int bits = 0; bits < 4; bits++) {
        uint32_t lens[MAX_PIECES];
        struct vpci_pkt pkt;
        struct guest g;

        guest_init(&g, NO_OFFLOADS | (bits & 1 ? VRING_F_PACKED : 0)
                   | (bits & 2 ? MODERN : 0), 64, 60, true);
        for (uint32_t seed = 0; seed < 300; seed++) {
            uint32_t len = 1 + random_below(3000);
            unsigned int n = random_pieces(len + g.hdr_len, g.hdr_len, 5,
                                           lens);
            struct vring_driver_reaped reaped;

            CHECK(guest_send(&g, seed, lens, n, false) >= 0);
            vring_driver_publish(g.drv);
            CHECK(vpci_vring_peek(g.vr, &pkt, 1) == 1);
            CHECK(!memcmp(&pkt.hdr, &zeros, sizeof zeros));
            check_peeked_bytes(&pkt, seed, len);
            vpci_vring_release(g.vr, 1);
            CHECK(vring_driver_reap(g.drv, &reaped, 1) == 1);
        }
        guest_destroy(&g);
    }
}

/* Gives the frame of 'pkt' a head of random length, and spoils what it
 * replaces, as a guest may that changes what has been looked at. */
static void
make_head(struct vpci_pkt *pkt, uint8_t *head, uint32_t max)
{
    uint32_t n;

    vpci_pkts_take_heads(pkt, 1, head, max, random_below(max + 1));
    n = pkt->head_len;
    for (uint32_t i = 0; n; i++) {
        uint32_t piece = n < pkt->iov[i].len ? n : pkt->iov[i].len;

        memset(pkt->iov[i].base, 0xee, piece);
        n -= piece;
    }
}

/* Passes frames on in the short way, where that is possible, or in the long
 * one. */
static void
run_splice(struct guest *from, struct guest *to, uint32_t room)
{
    const struct vpci_steer_plain any = { .entry = 0 };
    uint32_t lens[MAX_PIECES], frame_lens[400], max_len = 1200;
    uint32_t n_sent = 0, n_easy = 0, done = 0;
    bool single[400];

    while (done < 400) {
        struct vpci_spliced spliced;
        struct vring_driver_reaped reaped[64];
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        unsigned int n;

        while (n_sent < 400 && random_below(40)) {
            uint32_t len = 40 + random_below(random_below(3) ? 100 : 1500);

            n = random_below(5) ? 1 : 3;
            n = n == 1 ? (lens[0] = len + from->hdr_len, 1)
                : random_pieces(len + from->hdr_len, from->hdr_len, n, lens);
            if (guest_send(from, n_sent, lens, n, false) < 0) {
                break;
            }
            single[n_sent] = n == 1;
            frame_lens[n_sent++] = len;
        }
        vring_driver_publish(from->drv);
        while (random_below(30) && guest_post_one(to, room + to->hdr_len)
               >= 0) {
            continue;
        }
        vring_driver_publish(to->drv);

        n = vpci_vring_splice(from->vr, to->vr, &any, max_len, &spliced);
        for (unsigned int i = 0; i < n; i++) {
            CHECK(single[done] && spliced.lens[i] == frame_lens[done]);
            check_received(to, done, frame_lens[done]);
            done++;
        }
        n_easy += n;
        if (!n && vpci_vring_peek(from->vr, pkts, 1)) {
            CHECK(spliced.stopped);
            if (vpci_vring_push(to->vr, pkts, 1)) {
                vpci_vring_release(from->vr, 1);
                if (pkts[0].fate == VPCI_PKT_SENT) {
                    check_received(to, done, frame_lens[done]);
                }
                done++;
            }
        }
        vring_driver_reap(from->drv, reaped, 64);
        CHECK(!from->drv->error && !to->drv->error);
    }
    CHECK(n_easy > 100);
    CHECK(!from->n_faults && !to->n_faults);
}

/* Passes frames 'done' and so on, which 'from' has sent with 'lens', on to the
 * rings of 'to' that '*look' says, in the short way or in the long one.  Returns
 * how many went the short way. */
static unsigned int
scatter(const struct vpci_splice_look *look, struct guest to[2],
        const uint32_t *lens, uint32_t done)
{
    unsigned int n_easy = 0;

    for (unsigned int q = 0; q < 2; q++) {
        uint32_t which = 0, moved;

        for (unsigned int i = 0; i < look->n; i++) {
            CHECK(look->queues[i] < 2 && look->iovs[i].len == lens[done + i]);
            which |= (uint32_t) (look->queues[i] == q) << i;
        }
        moved = vpci_vring_put(look, to[q].vr, which);
        CHECK(!(moved & ~which));
        for (unsigned int i = 0; i < look->n; i++) {
            if (moved >> i & 1) {
                CHECK(!((which & ~moved) & ((UINT32_C(1) << i) - 1)));
                check_received(&to[q], done + i, lens[done + i]);
                n_easy++;
            }
        }
        for (unsigned int i = 0; i < look->n; i++) {
            struct vpci_pkt pkt;

            if (!((which & ~moved) >> i & 1)) {
                continue;
            }
            vpci_splice_look_get(look, i, &pkt);
            if (vpci_vring_push(to[q].vr, &pkt, 1)
                && pkt.fate == VPCI_PKT_SENT) {
                check_received(&to[q], done + i, lens[done + i]);
            }
        }
    }
    return n_easy;
}

/* Sends frames that each are in one buffer, and some that are in three, to two
 * rings. */
static void
run_scatter(struct guest *from, struct guest to[2], uint32_t room)
{
    const struct vpci_steer_plain any = { .entry = 0 };
    uint32_t lens[MAX_PIECES], frame_lens[400], max_len = 1400;
    uint32_t n_sent = 0, n_easy = 0, done = 0, used[2] = { 0, 0 };
    struct vpci_spread spread;

    vpci_spread_reset(&spread, 2);
    while (done < 400) {
        struct vring_driver_reaped reaped[64];
        struct vpci_splice_look look;
        struct vpci_pkt pkt;

        while (n_sent < 400 && random_below(40)) {
            uint32_t len = 40 + random_below(random_below(3) ? 100 : 1500);
            uint32_t n = random_below(9) ? 1 : 3;

            n = n == 1 ? (lens[0] = len + from->hdr_len, 1)
                : random_pieces(len + from->hdr_len, from->hdr_len, n, lens);
            if (guest_send(from, n_sent, lens, n, false) < 0) {
                break;
            }
            frame_lens[n_sent++] = len;
        }
        vring_driver_publish(from->drv);
        for (unsigned int q = 0; q < 2; q++) {
            while (random_below(30)
                   && guest_post_one(&to[q], room + to[q].hdr_len) >= 0) {
                continue;
            }
            vring_driver_publish(to[q].drv);
        }
        if (vpci_vring_look(from->vr, &any, max_len, &spread, 1, &look)) {
            for (unsigned int i = 0; i < look.n; i++) {
                used[look.queues[i]]++;
            }
            n_easy += scatter(&look, to, frame_lens, done);
            vpci_vring_release(from->vr, look.n);
            done += look.n;
        } else if (vpci_vring_peek(from->vr, &pkt, 1)) {
            CHECK(look.stopped);
            vpci_vring_release(from->vr, 1);
            done++;
        }
        vring_driver_reap(from->drv, reaped, 64);
        CHECK(!from->drv->error && !to[0].drv->error && !to[1].drv->error);
    }
    CHECK(n_easy > 50 && used[0] > 50 && used[1] > 50);
    CHECK(!from->n_faults && !to[0].n_faults && !to[1].n_faults);
}

/* Easy frames, from one ring to two. */
void
test_scatter(void)
{
    for (int bits = 0; bits < 16; bits++) {
        struct guest from, to[2];

        guest_init(&from, NO_OFFLOADS | (bits & 4 ? 0 : MODERN)
                   | (bits & 1 ? VRING_F_PACKED : 0)
                   | (bits & 8 ? VRING_F_IN_ORDER : 0), 64, 60, true);
        for (int q = 0; q < 2; q++) {
            guest_init(&to[q], MODERN | (bits & 2 ? VRING_F_PACKED : 0)
                       | (bits & 4 ? F_MERGEABLE : 0), 128, 120, true);
            to[q].zero_headers = true;
        }
        run_scatter(&from, to, bits & 8 ? 2000 : 600);
        guest_destroy(&from);
        guest_destroy(&to[0]);
        guest_destroy(&to[1]);
    }
}

/* Easy frames, from one ring to another in the short way. */
void
test_splice(void)
{
    for (int bits = 0; bits < 16; bits++) {
        struct guest from, to;

        guest_init(&from, NO_OFFLOADS | (bits & 4 ? 0 : MODERN)
                   | (bits & 1 ? VRING_F_PACKED : 0)
                   | (bits & 8 ? VRING_F_IN_ORDER : 0), 64, 60, true);
        guest_init(&to, MODERN | (bits & 2 ? VRING_F_PACKED : 0)
                   | (bits & 4 ? F_MERGEABLE : 0), 128, 120, true);
        to.zero_headers = true;
        run_splice(&from, &to, bits & 8 ? 2000 : 600);
        guest_destroy(&from);
        guest_destroy(&to);
    }
}

/* The engine's own frames, from one ring to another. */
void
test_ring_to_ring(void)
{
    for (int bits = 0; bits < 4; bits++) {
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        struct guest from, to;
        uint32_t lens[MAX_PIECES];
        uint8_t head[200];

        guest_init(&from, MODERN | (bits & 1 ? VRING_F_PACKED : 0), 64, 60,
                   true);
        guest_init(&to, MODERN | F_MERGEABLE | (bits & 2 ? VRING_F_PACKED : 0),
                   128, 120, true);
        for (uint32_t seed = 0; seed < 300; seed++) {
            uint32_t len = random_below(3000);
            unsigned int n = random_pieces(len + 12, 12, 5, lens);
            struct vring_driver_reaped reaped;

            CHECK(guest_send(&from, seed, lens, n, false) >= 0);
            vring_driver_publish(from.drv);
            while (guest_post_one(&to, 1000) >= 0) {
                continue;
            }
            vring_driver_publish(to.drv);
            CHECK(vpci_vring_peek(from.vr, pkts, 32) == 1);
            if (random_below(3)) {
                make_head(&pkts[0], head, sizeof head);
            }
            CHECK(vpci_vring_push(to.vr, pkts, 1) == 1);
            CHECK(pkts[0].fate == VPCI_PKT_SENT);
            vpci_vring_release(from.vr, 1);
            check_received(&to, seed, len);
            CHECK(vring_driver_reap(from.drv, &reaped, 1) == 1);
        }
        guest_destroy(&from);
        guest_destroy(&to);
    }
}

static void
run_any_layout(struct guest *g)
{
    uint32_t h = g->hdr_len;
    const uint32_t layouts[][6] = {
        { h + 60 },
        { h, 60 },              /* Header of its own. */
        { h - 1, 61 },
        { h + 1, 59 },
        { 1, 2, 3, h - 6, 60 }, /* Header in parts. */
        { 4, h - 4, 20, 40 },
        { 5, h + 55 },
        { h },                  /* No frame at all. */
        { h - 1, 1 },
    };
    uint32_t ones[64];

    for (unsigned int i = 0; i < 64; i++) {
        ones[i] = 1;
    }
    for (int indirect = 0; indirect < 2; indirect++) {
        for (unsigned int i = 0; i < sizeof layouts / sizeof *layouts; i++) {
            const uint32_t *lens = layouts[i];
            uint32_t len = 0;
            unsigned int n;

            for (n = 0; n < 6 && lens[n]; n++) {
                len += lens[n];
            }
            CHECK(guest_send(g, i, lens, n, indirect) >= 0);
            vring_driver_publish(g->drv);
            check_take(g, i, len - h);
            CHECK(guest_post(g, lens, n, indirect) >= 0);
            vring_driver_publish(g->drv);
            CHECK(guest_push_one(g, i, len - h) == VPCI_PKT_SENT);
            check_received(g, i, len - h);
        }

        /* As many descriptors as the ring has, of one byte each. */
        CHECK(guest_send(g, 99, ones, 64, indirect) >= 0);
        vring_driver_publish(g->drv);
        check_take(g, 99, 64 - h);
        CHECK(guest_post(g, ones, 64, indirect) >= 0);
        vring_driver_publish(g->drv);
        CHECK(guest_push_one(g, 99, 64 - h) == VPCI_PKT_SENT);
        check_received(g, 99, 64 - h);
    }
}

void
test_any_layout(void)
{
    for_both(run_any_layout, VRING_F_INDIRECT, 64);
    for_both(run_any_layout, VRING_F_INDIRECT | MODERN, 64);
    for_both(run_any_layout, VRING_F_INDIRECT | F_MERGEABLE, 64);
}

static void
run_large_frames(struct guest *g)
{
    static const uint32_t sizes[] = { 65535, 65536, 65549, 70000 };
    uint32_t lens[32];

    for (int i = 0; i < 4; i++) {
        uint32_t len = sizes[i];

        lens[0] = len + g->hdr_len;
        CHECK(guest_send(g, i, lens, 1, false) >= 0);
        vring_driver_publish(g->drv);
        check_take(g, i, len);
        for (int j = 0; j < 18; j++) {
            lens[j] = 4096;
        }
        if (g->features & F_MERGEABLE) {
            for (int j = 0; j < 18; j++) {
                CHECK(guest_post(g, lens, 1, false) >= 0);
            }
        } else {
            CHECK(guest_post(g, lens, 18, false) >= 0);
        }
        vring_driver_publish(g->drv);
        CHECK(guest_push_one(g, i, len) == VPCI_PKT_SENT);
        CHECK(check_received(g, i, len)
              == (g->features & F_MERGEABLE
                  ? (len + g->hdr_len + 4095) / 4096 : 1));
        vring_driver_reset(g->drv, g->dcfg.start_idx, true);
        vpci_vring_stop(g->vr, NULL);
        guest_start(g);
    }
}

void
test_large_frames(void)
{
    for_both(run_large_frames, MODERN, 32);
    for_both(run_large_frames, MODERN | F_MERGEABLE, 32);
}

/* Too few, too small
 * ================== */

static void
run_too_small(struct guest *g)
{
    const uint32_t lens[] = { 100, 101, 5, 3000, 20 };
    uint8_t fates[5];

    for (int i = 0; i < 3; i++) {
        CHECK(guest_post_one(g, g->hdr_len + 100) >= 0);
    }
    vring_driver_publish(g->drv);
    CHECK(guest_push(g, 1, lens, 5, fates) == 5);
    CHECK(fates[0] == VPCI_PKT_SENT && fates[1] == VPCI_PKT_TOO_BIG
          && fates[2] == VPCI_PKT_SENT && fates[3] == VPCI_PKT_TOO_BIG
          && fates[4] == VPCI_PKT_SENT);
    check_received(g, 1, 100);
    check_received(g, 3, 5);
    check_received(g, 5, 20);
    CHECK(guest_push_one(g, 9, 1) == VPCI_PKT_WAITING);
    CHECK(!g->n_faults);
}

void
test_too_small_buffers(void)
{
    for_both(run_too_small, MODERN, 4);
    for_both(run_too_small, 0, 4);
}

static void
run_mergeable_waits(struct guest *g)
{
    const uint32_t lens[] = { 88, 300, 10 };
    uint8_t fates[3];

    for (int i = 0; i < 3; i++) {
        CHECK(guest_post_one(g, 100) >= 0);
    }
    vring_driver_publish(g->drv);

    /* What came before goes out, what comes after does not overtake. */
    CHECK(guest_push(g, 1, lens, 3, fates) == 1);
    check_received(g, 1, 88);
    for (int i = 0; i < 3; i++) {
        CHECK(guest_push_one(g, 2, 300) == VPCI_PKT_WAITING);
        CHECK(!vring_driver_has_used(g->drv));
    }
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 2, 300) == VPCI_PKT_WAITING);
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 2, 300) == VPCI_PKT_SENT);
    CHECK(check_received(g, 2, 300) == 4);

    /* A frame that fits goes out although a larger one waited. */
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 3, 300) == VPCI_PKT_WAITING);
    CHECK(guest_push_one(g, 4, 88) == VPCI_PKT_SENT);
    check_received(g, 4, 88);
}

static void
run_mergeable_never_fits(struct guest *g)
{
    uint32_t lens[] = { 800, 500, 20 };
    const uint32_t pieces[] = { 50, 20, 30 };
    uint8_t fates[3];

    /* Seven buffers of 100 bytes: only the eighth makes the ring full. */
    for (int i = 0; i < 7; i++) {
        CHECK(guest_post_one(g, 100) >= 0);
    }
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 1, 789) == VPCI_PKT_WAITING);
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 1, 789) == VPCI_PKT_TOO_BIG);
    CHECK(guest_push(g, 2, lens, 3, fates) == 3);
    CHECK(fates[0] == VPCI_PKT_TOO_BIG && fates[1] == VPCI_PKT_SENT
          && fates[2] == VPCI_PKT_SENT);
    CHECK(check_received(g, 3, 500) == 6);
    CHECK(check_received(g, 4, 20) == 1);

    /* A frame that fits waits for the buffers of the one before. */
    while (guest_post_one(g, 100) >= 0) {
        continue;
    }
    vring_driver_publish(g->drv);
    lens[0] = 20;
    lens[1] = 788;
    CHECK(guest_push(g, 5, lens, 2, fates) == 1);
    check_received(g, 5, 20);
    CHECK(guest_push_one(g, 6, 788) == VPCI_PKT_WAITING);
    CHECK(guest_post_one(g, 100) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 6, 788) == VPCI_PKT_SENT);
    check_received(g, 6, 788);

    /* Chains of three descriptors: two of eight are left over. */
    CHECK(vring_driver_n_in_flight(g->drv) == 0);
    CHECK(guest_post(g, pieces, 3, false) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 6, 200) == VPCI_PKT_WAITING);
    CHECK(guest_post(g, pieces, 3, false) >= 0);
    vring_driver_publish(g->drv);
    CHECK(guest_push_one(g, 6, 189) == VPCI_PKT_TOO_BIG);
    CHECK(guest_push_one(g, 6, 188) == VPCI_PKT_SENT);
    CHECK(check_received(g, 6, 188) == 2);
}

void
test_mergeable_room(void)
{
    for_both(run_mergeable_waits, F_MERGEABLE, 16);
    for_both(run_mergeable_never_fits, F_MERGEABLE, 8);
    for_both(run_mergeable_never_fits, F_MERGEABLE | VRING_F_IN_ORDER, 8);
}
