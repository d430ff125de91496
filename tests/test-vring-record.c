/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the virtio ring engine: records of where a ring stands, and what is
 * found of it when its user has died. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "test-vring.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test-vring-harness.h"

#define WRAP 0x8000u

/* What a record says of a ring that stands where the driver's used elements
 * tell. */
static uint32_t
place_of(const struct vring_driver *drv)
{
    uint16_t idx;
    bool wrap;

    vring_driver_device_base(drv, &idx, &wrap);
    if (drv->packed && wrap) {
        idx |= WRAP;
    }
    return idx | (uint32_t) idx << 16;
}

static void
check_place(const struct vpci_abi_peer_record *record, const struct guest *g)
{
    struct vpci_vring_base base;
    uint32_t place = place_of(g->drv);

    CHECK(vpci_load32(&record->at) == place);
    CHECK(vpci_load32(&record->next) == place);
    CHECK(vpci_vring_recover(&g->cfg, place, place, &base));
    CHECK(base.used_idx == (g->drv->packed ? place & 0x7fff
                            : place & 0xffff));
    CHECK(base.avail_idx == base.used_idx
          && base.avail_wrap == base.used_wrap);
    CHECK(!g->drv->packed || base.used_wrap == !!(place & WRAP));
}

/* Sends 'n' frames of up to three pieces. */
static unsigned int
send_some(struct guest *g, uint32_t seed, unsigned int n)
{
    unsigned int i;

    for (i = 0; i < n; i++) {
        uint32_t lens[3];
        unsigned int n_lens = random_pieces(60 + g->hdr_len, g->hdr_len, 3,
                                            lens);

        if (guest_send(g, seed + i, lens, n_lens, false) < 0) {
            break;
        }
    }
    vring_driver_publish(g->drv);
    return i;
}

static void
run_record(struct guest *g)
{
    struct vpci_abi_peer_record record = { 1, 2 };
    uint32_t seed = 0, taken = 0;

    vpci_vring_stop(g->vr, &g->cfg.base);
    g->cfg.record = &record;
    guest_start(g);
    check_place(&record, g);
    for (int round = 0; round < 1000; round++) {
        struct vpci_pkt pkts[VPCI_VRING_BURST];
        unsigned int n;

        seed += send_some(g, seed, random_below(6));
        n = vpci_vring_peek(g->vr, pkts, random_below(8));
        check_place(&record, g);
        for (unsigned int i = 0; i < n; i++) {
            check_peeked(&pkts[i], taken + i, 60);
        }
        if (n && random_below(2)) {
            vpci_vring_release(g->vr, 1);
            check_place(&record, g);
            n--;
            taken++;
        }
        vpci_vring_release(g->vr, n);
        taken += n;
        check_place(&record, g);
        reap_all(g);
        if (!random_below(20)) {
            vpci_vring_stop(g->vr, &g->cfg.base);
            check_place(&record, g);
            guest_start(g);
        }
    }
    CHECK(taken > 1000);
}

/* Frames to the driver, some of which take several buffers. */
static void
run_record_push(struct guest *g)
{
    struct vpci_abi_peer_record record = { 1, 2 };

    vpci_vring_stop(g->vr, &g->cfg.base);
    g->cfg.record = &record;
    guest_start(g);
    for (uint32_t i = 0; i < 1000; i++) {
        bool large = g->features & F_MERGEABLE && random_below(2);
        uint32_t lens[] = { 30, large ? 250 : 50, 40 };
        uint8_t fates[3];

        while (guest_post_one(g, 100) >= 0) {
            continue;
        }
        vring_driver_publish(g->drv);
        CHECK(guest_push(g, i, lens, 3, fates) == 3);
        check_place(&record, g);
        for (uint32_t j = 0; j < 3; j++) {
            check_received(g, i + j, lens[j]);
        }
    }
}

void
test_record(void)
{
    for_both(run_record, MODERN, 32);
    for_both(run_record, MODERN | VRING_F_IN_ORDER, 32);
    for_both(run_record, MODERN | VRING_F_EVENT_IDX, 32);
    for_both(run_record_push, MODERN, 16);
    for_both(run_record_push, MODERN | F_MERGEABLE, 16);
}

static bool
recovers(const struct guest *g, uint32_t next, uint32_t at)
{
    struct vpci_vring_base base;

    return vpci_vring_recover(&g->cfg, next, at, &base);
}

static uint32_t
both(uint32_t half)
{
    return half | half << 16;
}

static void
run_recover(struct guest *g)
{
    uint32_t size = g->dcfg.size, place = place_of(g->drv);
    struct vpci_vring_config cfg = g->cfg;

    CHECK(recovers(g, place, place));
    CHECK(!recovers(g, place ^ 1, place) && !recovers(g, place, place ^ 1));
    if (g->drv->packed) {
        CHECK(recovers(g, both(0), place));
        CHECK(recovers(g, both(size - 1), place));
        CHECK(!recovers(g, both(size), place));
        CHECK(!recovers(g, place, both(size | WRAP)));
        /* More than a lap. */
        CHECK(recovers(g, place ^ both(WRAP), place));
        CHECK(!recovers(g, both(1 | WRAP), both(2 | WRAP)));
    } else {
        CHECK(recovers(g, place, both((place - size) & 0xffff)));
        CHECK(!recovers(g, place, both((place - size - 1) & 0xffff)));
        CHECK(!recovers(g, place, both((place + 1) & 0xffff)));
        __atomic_store_n(&g->drv->avail->idx, place + size, __ATOMIC_RELAXED);
        CHECK(recovers(g, place, place));
        __atomic_store_n(&g->drv->avail->idx, place + size + 1,
                         __ATOMIC_RELAXED);
        CHECK(!recovers(g, place, place));
        __atomic_store_n(&g->drv->avail->idx, place - 1, __ATOMIC_RELAXED);
        CHECK(!recovers(g, place, place));
        __atomic_store_n(&g->drv->avail->idx, place, __ATOMIC_RELAXED);
    }

    /* As a ring that cannot be started. */
    g->cfg.desc = (uint8_t *) g->cfg.desc + 8;
    CHECK(!recovers(g, place, place));
    g->cfg = cfg;
    g->cfg.device = &cfg;
    CHECK(!recovers(g, place, place));
    g->cfg = cfg;
    g->cfg.size = 0;
    CHECK(!recovers(g, place, place));
    g->cfg = cfg;
    g->cfg.mem = NULL;
    CHECK(!recovers(g, place, place));
    g->cfg = cfg;

    /* What was taken and not given back has no place in a record. */
    vpci_vring_stop(g->vr, &g->cfg.base);
    g->cfg.record = &(struct vpci_abi_peer_record) { 0, 0 };
    g->cfg.base.avail_idx--;
    CHECK(vpci_vring_start(g->vr, &g->cfg) != 0);
    g->cfg = cfg;
    guest_start(g);
}

void
test_recover(void)
{
    for_both(run_recover, MODERN, 16);
    for_both(run_recover, MODERN | VRING_F_EVENT_IDX, 16);
}

/* A user of the ring that is stopped after each instruction: what it has
 * written by then is what somebody who comes after it finds. */
struct victim {
    struct guest *g;
    struct vpci_abi_peer_record record;
    void (*act)(struct victim *);
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    unsigned int n;
    pid_t pid;

    /* Chains that frames are pushed into: their first descriptors, and what a
     * used packed descriptor is to say. */
    struct vring_driver_desc *heads[VPCI_VRING_BURST];
    uint32_t lens[VPCI_VRING_BURST];
    int ids[VPCI_VRING_BURST];
    unsigned int n_chains;
};

static void
act_release(struct victim *v)
{
    vpci_vring_release(v->g->vr, v->n);
}

static void
act_push(struct victim *v)
{
    CHECK(vpci_vring_push(v->g->vr, v->pkts, v->n) == v->n);
}

/* Copies the 'len' bytes that the victim has where we have 'p'. */
static void
read_victim(const struct victim *v, void *p, void *dst, size_t len)
{
    struct iovec local = { dst, len }, remote = { p, len };

    CHECK(process_vm_readv(v->pid, &local, 1, &remote, 1, 0)
          == (ssize_t) len);
}

/* Copies the victim's ring over ours. */
static void
read_ring(const struct victim *v, struct vpci_abi_peer_record *record)
{
    const struct vring_driver_config *d = &v->g->dcfg;

    read_victim(v, d->desc, d->desc, vring_driver_desc_bytes(d->size));
    read_victim(v, d->driver, d->driver,
                vring_driver_driver_bytes(d->features, d->size));
    read_victim(v, d->device, d->device,
                vring_driver_device_bytes(d->features, d->size));
    read_victim(v, (void *) &v->record, record, sizeof *record);
}

/* Somebody goes on where the victim was: all that was not given back is there,
 * and as it was.  Returns how much that is. */
static unsigned int
check_rest(const struct victim *v, const struct vpci_vring_base *base)
{
    struct vpci_vring_config cfg = v->g->cfg;
    struct vpci_vring *vr = vpci_vring_create();
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    unsigned int n;

    cfg.base = *base;
    cfg.record = NULL;
    CHECK(vr && !vpci_vring_start(vr, &cfg));
    if (v->act == act_release) {
        n = vpci_vring_peek(vr, pkts, VPCI_VRING_BURST);
        for (unsigned int i = 0; i < n; i++) {
            check_peeked(&pkts[i], v->n - n + i, 60);
        }
    } else {
        for (n = 0; n < v->n && vpci_vring_has_room(vr, n + 1); n++) {
            continue;
        }
    }
    vpci_vring_destroy(vr);
    return n;
}

/* All chains that are used in a packed ring, whoever has done that, say what
 * was written to them; and none is half a frame. */
static void
check_chains(const struct victim *v)
{
    unsigned int n_used = 0;

    for (unsigned int i = 0; v->g->drv->packed && i < v->n_chains; i++) {
        const struct vring_driver_desc *d = v->heads[i];

        if (!(d->tail.packed_flags & 0x80) == !(d->tail.packed_flags
                                                & 0x8000)) {
            CHECK(n_used == i);
            CHECK(d->len == v->lens[i] && d->tail.id == v->ids[i]);
            n_used++;
        }
    }
    CHECK(n_used % (v->n_chains > v->n ? 2 : 1) == 0);
}

/* The victim is stopped. */
static unsigned int
check_death(const struct victim *v)
{
    struct vpci_abi_peer_record record;
    struct vpci_vring_base base = { 0 };
    uint32_t place;

    read_ring(v, &record);
    CHECK(vpci_vring_recover(&v->g->cfg, vpci_load32(&record.next),
                             vpci_load32(&record.at), &base));
    place = place_of(v->g->drv);
    CHECK(base.used_idx == (v->g->drv->packed ? place & 0x7fff
                            : place & 0xffff));
    CHECK(!v->g->drv->packed || base.used_wrap == !!(place & WRAP));
    check_chains(v);
    return check_rest(v, &base);
}

/* Lets the victim go on, by an instruction or until it stops by itself.
 * Returns whether it has. */
static bool
let_go(const struct victim *v, int request)
{
    int status;

    CHECK(!ptrace(request, v->pid, NULL, NULL));
    CHECK(waitpid(v->pid, &status, 0) == v->pid && WIFSTOPPED(status));
    CHECK(WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP);
    return WSTOPSIG(status) == SIGSTOP;
}

static void
run_victim(struct victim *v)
{
    unsigned int left = v->n, n_steps = 0;
    int status;

    v->pid = fork();
    CHECK(v->pid >= 0);
    if (!v->pid) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) {
            _exit(EXIT_FAILURE);
        }
        raise(SIGSTOP);
        v->act(v);
        raise(SIGSTOP);
        _exit(EXIT_SUCCESS);
    }
    CHECK(waitpid(v->pid, &status, 0) == v->pid);
    if (!WIFSTOPPED(status)) {
        return;                 /* Nobody may trace others here. */
    }
    while (!let_go(v, PTRACE_SINGLESTEP)) {
        unsigned int rest = check_death(v);

        CHECK(rest <= left);
        left = rest;
        n_steps++;
    }
    CHECK(check_death(v) == 0 && n_steps > 20);
    CHECK(!ptrace(PTRACE_KILL, v->pid, NULL, NULL));
    CHECK(waitpid(v->pid, &status, 0) == v->pid);
}

static void
run_death(struct guest *g)
{
    struct victim v = { .g = g };

    vpci_vring_stop(g->vr, &g->cfg.base);
    g->cfg.record = &v.record;
    guest_start(g);
    v.n = send_some(g, 0, 7);
    v.act = act_release;
    CHECK(v.n == 7 && vpci_vring_peek(g->vr, v.pkts, 7) == 7);
    run_victim(&v);
    vpci_vring_stop(g->vr, NULL);
}

/* Posts a buffer for the victim, of which 'used' bytes will be. */
static void
post_for(struct victim *v, uint32_t len, uint32_t used)
{
    uint32_t lens[2] = { len - 40, 40 };

    v->ids[v->n_chains] = guest_post(v->g, lens, 2, false);
    CHECK(v->ids[v->n_chains] >= 0);
    v->heads[v->n_chains] = v->g->drv->last_head;
    v->lens[v->n_chains++] = used;
}

/* With mergeable buffers, each frame takes two of them. */
static void
run_death_push(struct guest *g)
{
    bool large = g->features & F_MERGEABLE;
    static uint8_t bytes[150];
    const struct vpci_iov iov = { bytes, sizeof bytes };
    struct victim v = { .g = g };

    vpci_vring_stop(g->vr, &g->cfg.base);
    g->cfg.record = &v.record;
    guest_start(g);
    v.act = act_push;
    for (v.n = 0; v.n < 5; v.n++) {
        if (large) {
            post_for(&v, 100, 100);
            post_for(&v, 100, sizeof bytes + g->hdr_len - 100);
        } else {
            post_for(&v, 200, sizeof bytes + g->hdr_len);
        }
        v.pkts[v.n] = (struct vpci_pkt) {
            .iov = &iov, .n_iov = 1, .len = sizeof bytes,
        };
    }
    vring_driver_publish(g->drv);
    run_victim(&v);
    vpci_vring_stop(g->vr, NULL);
}

void
test_death(void)
{
    for_both(run_death, MODERN, 16);
    for_both(run_death, MODERN | VRING_F_IN_ORDER, 32);
    for_both(run_death_push, MODERN, 16);
    for_both(run_death_push, MODERN | F_MERGEABLE, 32);
}
