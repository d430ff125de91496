/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "peer-world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit-test.h"
#include "vpci/projection.h"

#define GUEST_ID (VPCI_ABI_PEER_ID | 5)
#define PEER_ID (VPCI_ABI_PEER_ID | 6)

/* The peer's memory: rings, and buffers. */
#define MEMORY_BYTES (16u << 20)
#define RINGS_ADDR UINT64_C(0x80000000)
#define RINGS_OFS 0x3000u
#define RINGS_BYTES (1u << 20)
#define BUFFERS_ADDR UINT64_C(0x100000000)
#define BUFFERS_OFS (2u << 20)
#define BUFFERS_BYTES (14u << 20)

#define RING_BYTES (RINGS_BYTES / (2 * PEER_MAX_PAIRS))
#define BUFFER_BYTES 4096u
#define HDR_BYTES 12

static const struct vpci_shape base_shape = {
    .kind = VPCI_ABI_BASE_PEER,
    .n_queues = PEER_MAX_PAIRS,
    .n_classes = 1,
    .slots_log2 = 6,
    .data_log2 = 17,
    .n_links = 3,
    .n_entries = 512,
    .n_vectors = PEER_MAX_PAIRS + 1,
};

struct vpci_abi_peer *
peer_world_said(const struct peer_world *w)
{
    return vpci_layout_peer(&w->s.port.layout, w->s.base);
}

struct vpci_abi_peer_words *
peer_world_words(const struct peer_world *w)
{
    return vpci_layout_peer_words(&w->s.port.layout, w->s.base);
}

struct vpci_abi_link *
peer_world_entry(const struct peer_world *w)
{
    return vpci_layout_link(&w->s.port.layout, w->s.base, w->slot);
}

static uint8_t *
at(const struct peer_world *w, uint64_t address)
{
    uint64_t len = 1;

    return vpci_memory_map(&w->table, address, &len);
}

static bool
make_ring(struct peer_world *w, uint32_t i, uint32_t size)
{
    struct peer_ring *r = &w->rings[i];
    uint64_t address = RINGS_ADDR + i * RING_BYTES;
    bool packed = w->features & VRING_F_PACKED;
    struct vring_driver_config config = {
        .size = size,
        .features = w->features,
        .desc = at(w, address),
        .driver = at(w, address + RING_BYTES / 2),
        .device = at(w, address + RING_BYTES / 4 * 3),
        .start_idx = packed ? i : 0xfff0 + i,
        .start_wrap = true,
    };

    r->size = size;
    r->desc = address;
    r->driver = address + RING_BYTES / 2;
    r->device = address + RING_BYTES / 4 * 3;
    r->buffers = BUFFERS_ADDR + i * size * BUFFER_BYTES;
    r->drv = vring_driver_create(&config);
    r->vring = vpci_vring_create();
    CHECK(r->drv && r->vring);
    r->config = (struct vpci_vring_config) {
        .index = i,
        .size = size,
        .features = w->features,
        .desc = config.desc,
        .driver = config.driver,
        .device = config.device,
        .mem = &w->table,
        .base = { config.start_idx, config.start_idx, true, true },
        .call_fd = w->calls[i],
    };
    CHECK(!vpci_vring_start(r->vring, &r->config));
    return true;
}

static bool
make_peer(struct peer_world *w, uint32_t size)
{
    w->memory_fd = memfd_create("vpci:test-peer", MFD_CLOEXEC);
    CHECK(w->memory_fd >= 0 && !ftruncate(w->memory_fd, MEMORY_BYTES));
    w->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
                     w->memory_fd, 0);
    CHECK(w->memory != MAP_FAILED);
    CHECK(!vpci_memory_add(&w->table, RINGS_ADDR, RINGS_BYTES,
                           w->memory + RINGS_OFS));
    CHECK(!vpci_memory_add(&w->table, BUFFERS_ADDR, BUFFERS_BYTES,
                           w->memory + BUFFERS_OFS));
    for (uint32_t i = 0; i < 2 * PEER_MAX_PAIRS; i++) {
        w->kicks[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        w->calls[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    for (uint32_t i = 0; i < w->n_rings; i++) {
        CHECK(make_ring(w, i, size));
    }
    w->server = (struct net_server) {
        .memory_fd = w->memory_fd,
        .id = GUEST_ID,
        .peer_id = PEER_ID,
        .fds = w->kicks,
        .peer_fds = w->calls,
        .n_fds = w->n_rings,
    };
    strcpy(w->server.path, w->s.path);
    strcat(w->server.path, ".peer");
    return net_server_start(&w->server);
}

bool
peer_world_make(struct peer_world *w, uint64_t features, uint32_t size,
                uint32_t n_pairs, const struct vpci_net_config *config)
{
    struct vpci_abi_link *e;
    struct vpci_shape shape = {
        .kind = VPCI_ABI_PEER, .n_queues = n_pairs,
    };

    memset(w, 0, sizeof *w);
    w->features = features;
    w->n_rings = 2 * n_pairs;
    if (config) {
        w->config = *config;
    }
    CHECK(net_switch_start(&w->s, &base_shape));
    w->s.words.features = UINT64_MAX;
    net_switch_begin(&w->s);
    vpci_store32(&vpci_layout_port(w->s.base)->max_vlans, 1);
    w->slot = vpci_layout_peer_place(&w->s.port.layout);
    w->hints = vpci_steer_create(base_shape.n_entries, 1);
    w->acceptances = vpci_steer_create(base_shape.n_entries, 1);
    CHECK(w->hints && w->acceptances && make_peer(w, size));
    peer_world_accept(w, true);
    e = peer_world_entry(w);
    vpci_layout_put_shape(&shape, &e->shape);
    vpci_store32(&e->port, 2);
    vpci_store32_release(&e->id, PEER_LINK_ID);
    return true;
}

bool
peer_world_open(struct peer_world *w)
{
    char reason[200] = "";

    CHECK(!vpci_net_open(w->s.path, &w->config, &w->net, reason,
                         sizeof reason));
    return true;
}

bool
peer_world_init(struct peer_world *w, uint64_t features, uint32_t size,
                uint32_t n_pairs, const struct vpci_net_config *config)
{
    return (peer_world_make(w, features, size, n_pairs, config)
            && peer_world_open(w) && peer_world_reach(w));
}

void
peer_world_uninit(struct peer_world *w)
{
    vpci_net_close(w->net);
    net_server_stop(&w->server);
    net_switch_stop(&w->s);
    vpci_steer_destroy(w->hints);
    vpci_steer_destroy(w->acceptances);
    for (uint32_t i = 0; i < w->n_rings; i++) {
        vpci_vring_destroy(w->rings[i].vring);
        vring_driver_destroy(w->rings[i].drv);
    }
    for (uint32_t i = 0; i < 2 * PEER_MAX_PAIRS; i++) {
        close(w->kicks[i]);
        close(w->calls[i]);
    }
    munmap(w->memory, MEMORY_BYTES);
    close(w->memory_fd);
}

void
peer_world_run(struct peer_world *w)
{
    int64_t now = net_now_ms() + w->ahead_ms;

    switch_port_run(&w->s.port, now);
    if (w->net && w->config.own_thread) {
        usleep(300);
    } else if (w->net) {
        vpci_net_run(w->net, now);
    }
}

struct vpci_net_link_info
peer_world_info(const struct peer_world *w)
{
    struct vpci_net_link_info infos[4];

    memset(infos, 0, sizeof infos);
    if (w->net) {
        vpci_net_get_links(w->net, infos, 4);
    }
    return infos[0];
}

bool
peer_world_reach(struct peer_world *w)
{
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;

    while (!vpci_load32_acquire(&peer_world_words(w)->knows)) {
        peer_world_run(w);
        if (net_now_ms() > deadline) {
            struct vpci_net_link_info info = peer_world_info(w);

            fprintf(stderr, "the guest should have the peer: %s: %s\n",
                    vpci_net_state_name(info.state), info.reason);
            return false;
        }
    }
    return true;
}

void
peer_world_tell(struct peer_world *w)
{
    eventfd_write(w->s.guests[vpci_layout_control_vector(&w->s.port.layout)],
                  1);
}

void
peer_world_hint(struct peer_world *w, bool on)
{
    uint64_t verdict = ((uint64_t) PEER_LINK_ID << VPCI_ABI_HINT_ID_SHIFT
                        | PEER_HINT_ENTRY << VPCI_ABI_HINT_COUNTER_SHIFT
                        | w->slot);
    const struct vpci_layout *layout = &w->s.port.layout;

    if (on) {
        world_set(w->hints, PEER_FLOW, verdict);
    } else {
        world_unset(w->hints, PEER_FLOW);
    }
    vpci_projection_publish(w->hints, vpci_layout_hints(layout, w->s.base),
                            &w->hints_generation);
    peer_world_tell(w);
}

void
peer_world_accept(struct peer_world *w, bool on)
{
    const struct vpci_layout *layout = &w->s.port.layout;

    if (on) {
        world_set(w->acceptances, PEER_FLOW,
                  ((uint64_t) VPCI_ABI_ACCEPT << VPCI_ABI_ACCEPTANCE_SHIFT
                   | PEER_ACCEPT_ENTRY));
    } else {
        world_unset(w->acceptances, PEER_FLOW);
    }
    vpci_projection_publish(w->acceptances,
                            vpci_layout_acceptances(layout, w->s.base,
                                                    w->slot),
                            &w->acceptances_generation);
    peer_world_tell(w);
}

/* Half of what a record says. */
static uint32_t
half(const struct peer_world *w, uint16_t idx, bool wrap)
{
    return w->features & VRING_F_PACKED && wrap ? idx | VPCI_ABI_PEER_WRAP
           : idx;
}

uint32_t
peer_world_place(const struct peer_world *w, uint32_t i)
{
    uint16_t idx;
    bool wrap;

    vring_driver_device_base(w->rings[i].drv, &idx, &wrap);
    return half(w, idx, wrap) * 0x10001u;
}

static void
describe_ring(struct peer_world *w, uint32_t i)
{
    struct vpci_abi_peer_ring *said = &peer_world_said(w)->rings[i];
    struct peer_ring *r = &w->rings[i];
    struct vpci_vring_base *base = &r->config.base;

    vpci_vring_stop(r->vring, base);
    *said = (struct vpci_abi_peer_ring) {
        .desc = VPCI_LE64(r->desc),
        .driver = VPCI_LE64(r->driver),
        .device = VPCI_LE64(r->device),
        .size = VPCI_LE32(r->size),
        .at = VPCI_LE32(half(w, base->avail_idx, base->avail_wrap)
                        | (half(w, base->used_idx, base->used_wrap)
                           << VPCI_ABI_PEER_USED_SHIFT)),
        .kick = VPCI_LE32(i % 2 ? i + 1 : 0),
        .call = VPCI_LE32(i + 1),
    };
}

void
peer_world_describe(struct peer_world *w)
{
    struct vpci_abi_peer *said = peer_world_said(w);

    said->features = VPCI_LE64(w->features);
    said->n_rings = VPCI_LE32(w->n_rings);
    said->n_memories = VPCI_LE32(2);
    said->size = VPCI_LE64(MEMORY_BYTES);
    said->memories[0] = (struct vpci_abi_peer_memory) {
        .address = VPCI_LE64(RINGS_ADDR),
        .size = VPCI_LE64(RINGS_BYTES),
        .offset = VPCI_LE64(RINGS_OFS),
    };
    said->memories[1] = (struct vpci_abi_peer_memory) {
        .address = VPCI_LE64(BUFFERS_ADDR),
        .size = VPCI_LE64(BUFFERS_BYTES),
        .offset = VPCI_LE64(BUFFERS_OFS),
    };
    for (uint32_t i = 0; i < w->n_rings; i++) {
        describe_ring(w, i);
    }
}

void
peer_world_set_turn(struct peer_world *w)
{
    vpci_store32_release(&peer_world_said(w)->turn, ++w->turn);
    peer_world_tell(w);
}

bool
peer_world_hand_over(struct peer_world *w)
{
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;

    peer_world_describe(w);
    peer_world_set_turn(w);
    CHECK(w->turn % 2);
    while (vpci_load32_acquire(&peer_world_words(w)->taken) != w->turn) {
        peer_world_run(w);
        if (net_now_ms() > deadline
            || vpci_load32(&peer_world_words(w)->returned) == w->turn) {
            fprintf(stderr, "the guest does not take the rings: %s\n",
                    peer_world_info(w).reason);
            return false;
        }
    }
    return true;
}

bool
peer_world_wait(struct peer_world *w, uint32_t turn)
{
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;

    while (vpci_load32_acquire(&peer_world_words(w)->returned) != turn) {
        peer_world_run(w);
        CHECK(net_now_ms() < deadline);
    }
    return true;
}

bool
peer_world_go_on(struct peer_world *w, bool died)
{
    for (uint32_t i = 0; i < w->n_rings; i++) {
        const struct vpci_abi_peer_record *record
            = &peer_world_words(w)->rings[i];
        uint32_t next = vpci_load32(&record->next);
        uint32_t place = vpci_load32(&record->at);
        struct peer_ring *r = &w->rings[i];

        CHECK(died || next == place);
        CHECK(vpci_vring_recover(&r->config, next, place, &r->config.base));
        CHECK(peer_world_place(w, i)
              == half(w, r->config.base.used_idx, r->config.base.used_wrap)
              * 0x10001u);
        CHECK(died || peer_world_place(w, i) == place);
        CHECK(!vpci_vring_start(r->vring, &r->config));
    }
    return true;
}

bool
peer_world_take_back(struct peer_world *w)
{
    peer_world_set_turn(w);
    CHECK(w->turn % 2 == 0 && peer_world_wait(w, w->turn));
    return peer_world_go_on(w, false);
}

/* What the guest has sent goes to the peer. */
static bool
pass_to_peer(struct peer_world *w)
{
    uint8_t data[2048];
    uint32_t len;

    while (vpci_vring_has_room(w->rings[0].vring, 1)
           && (len = switch_port_take(&w->s.port, 0, data, sizeof data))) {
        struct vpci_iov iov = { data, len };
        struct vpci_pkt pkt = { .iov = &iov, .n_iov = 1, .len = len };

        CHECK(vpci_vring_push(w->rings[0].vring, &pkt, 1) == 1);
        vpci_vring_notify(w->rings[0].vring);
    }
    return true;
}

bool
peer_world_pass(struct peer_world *w)
{
    struct vpci_pkt pkt;

    CHECK(pass_to_peer(w));
    while (vpci_vring_peek(w->rings[1].vring, &pkt, 1)) {
        uint8_t data[2048];

        CHECK(pkt.len <= sizeof data);
        vpci_pkt_copy(&pkt, data);
        if (!switch_port_put(&w->s.port, 0, data, pkt.len)) {
            break;
        }
        vpci_vring_release(w->rings[1].vring, 1);
        vpci_vring_notify(w->rings[1].vring);
    }
    return true;
}

/* The next buffer of a ring. */
static uint64_t
next_buffer(struct peer_ring *r)
{
    return r->buffers + (r->next++ % r->size) * BUFFER_BYTES;
}

static void
kick(struct peer_world *w, uint32_t i)
{
    if (vring_driver_needs_kick(w->rings[i].drv)) {
        eventfd_write(w->kicks[i], 1);
    }
}

void
peer_world_post(struct peer_world *w, uint32_t pair)
{
    struct peer_ring *r = &w->rings[2 * pair];

    while (vring_driver_n_free(r->drv)) {
        struct vring_driver_buf buf = {
            .addr = next_buffer(r), .len = BUFFER_BYTES, .writable = true,
        };

        vring_driver_add(r->drv, &buf, 1, false, at(w, buf.addr));
    }
    vring_driver_publish(r->drv);
    kick(w, 2 * pair);
}

bool
peer_world_send_frame(struct peer_world *w, uint32_t pair,
                      const uint8_t hdr[12], const void *frame, uint32_t len)
{
    static const uint8_t none[HDR_BYTES];
    struct peer_ring *r = &w->rings[2 * pair + 1];
    struct vring_driver_reaped reaped;
    struct vring_driver_buf buf = { .len = HDR_BYTES + len };

    while (vring_driver_reap(r->drv, &reaped, 1)) {
        continue;
    }
    if (!vring_driver_n_free(r->drv)) {
        return false;
    }
    buf.addr = next_buffer(r);
    memcpy(at(w, buf.addr), hdr ? hdr : none, HDR_BYTES);
    memcpy(at(w, buf.addr) + HDR_BYTES, frame, len);
    vring_driver_add(r->drv, &buf, 1, false, NULL);
    vring_driver_publish(r->drv);
    kick(w, 2 * pair + 1);
    return true;
}

bool
peer_world_send(struct peer_world *w, uint32_t pair, uint32_t number)
{
    uint8_t data[WORLD_LEN];

    world_make(data, sizeof data, PEER_FLOW, number);
    return peer_world_send_frame(w, pair, NULL, data, sizeof data);
}

uint32_t
peer_world_receive_frame(struct peer_world *w, uint32_t pair,
                         uint8_t hdr[12], uint8_t frame[], uint32_t size)
{
    struct peer_ring *r = &w->rings[2 * pair];
    struct vring_driver_reaped reaped;
    const uint8_t *bytes;
    uint32_t len;

    if (!vring_driver_reap(r->drv, &reaped, 1)) {
        return 0;
    }
    bytes = reaped.cookie;
    len = reaped.len < HDR_BYTES ? 0 : reaped.len - HDR_BYTES;
    memcpy(hdr, bytes, HDR_BYTES);
    memcpy(frame, bytes + HDR_BYTES, len < size ? len : size);
    return len;
}

int64_t
peer_world_receive(struct peer_world *w, uint32_t pair)
{
    static const uint8_t none[10];
    uint8_t hdr[HDR_BYTES], frame[BUFFER_BYTES];
    uint32_t len = peer_world_receive_frame(w, pair, hdr, frame,
                                            sizeof frame);

    return (!len ? -1
            : memcmp(hdr, none, sizeof none) || hdr[10] != 1 || hdr[11] ? -2
            : world_number(frame, len, PEER_FLOW));
}

bool
peer_world_guest_send(struct peer_world *w, uint32_t queue, uint32_t number)
{
    uint8_t data[WORLD_LEN];
    struct vpci_ring_buf buf = { .data = data, .len = sizeof data };

    world_make(data, sizeof data, PEER_FLOW, number);
    return vpci_net_tx_burst(w->net, queue, &buf, 1) == 1;
}

int64_t
peer_world_guest_receive(struct peer_world *w, uint32_t queue)
{
    uint8_t data[2048];
    struct vpci_ring_buf buf = { .data = data, .size = sizeof data };

    return (vpci_net_rx_burst(w->net, queue, &buf, 1)
            ? world_number(data, buf.len, PEER_FLOW) : -1);
}
