/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-world.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit-test.h"
#include "vpci/projection.h"

#define ETH_TYPE 0x88b5

#define SECOND_LINK_ID 6

VPCI_STATIC_ASSERT(WORLD_LINK_ID == 5);

const struct vpci_shape world_base_shape = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 1,
    .n_classes = 1,
    .slots_log2 = 5,
    .data_log2 = 17,
    .n_links = 3,
    .n_entries = 64,
    .n_vectors = 2,
};

const struct vpci_shape world_link_shape = {
    .kind = VPCI_ABI_LINK,
    .n_queues = 1,
    .n_classes = 1,
    .slots_log2 = 5,
    .data_log2 = 17,
    .n_vectors = 1,
};

static bool
open_port(struct world *w, int i, const struct vpci_shape *shape,
          const struct vpci_net_config *config, bool with_guest)
{
    struct world_port *p = &w->ports[i];
    char reason[200] = "";

    CHECK(net_switch_start(&p->s, shape));
    p->s.words.features = UINT64_MAX;
    net_switch_begin(&p->s);
    vpci_store32(&vpci_layout_port(p->s.base)->max_vlans, 1);
    p->hints = vpci_steer_create(shape->n_entries, 1);
    p->acceptances = vpci_steer_create(shape->n_entries, 1);
    CHECK(p->hints && p->acceptances);
    if (config) {
        p->config = *config;
    }
    if (with_guest) {
        CHECK(!vpci_net_open(p->s.path, &p->config, &p->net, reason,
                             sizeof reason));
    }
    for (uint32_t j = 0; j < VPCI_ABI_MAX_VECTORS; j++) {
        p->fds[j] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    return true;
}

static bool
make_link(struct world *w, const struct vpci_shape *shape)
{
    struct vpci_layout_report report;

    CHECK(vpci_layout_init(&w->layout, shape, &report));
    w->memory_fd = net_make_memory(w->layout.size, &w->link);
    CHECK(w->memory_fd >= 0);
    vpci_layout_write(&w->layout, w->link, WORLD_LINK_ID);
    return true;
}

bool
world_serve(struct world *w, int i)
{
    struct world_port *p = &w->ports[i];

    p->server = (struct net_server) {
        .memory_fd = w->memory_fd,
        .id = 21 + i,
        .peer_id = 21 + !i,
        .fds = p->fds,
        .peer_fds = w->ports[!i].fds,
        .n_fds = w->layout.shape.n_vectors,
    };
    strcpy(p->server.path, p->s.path);
    strcat(p->server.path, ".link5");
    p->served = true;
    return net_server_start(&p->server);
}

static void
begin_peer(struct vpci_channel *peer, const struct vpci_layout *layout,
           void *memory, uint64_t features, uint32_t epoch)
{
    struct vpci_channel_config config = {
        .layout = *layout,
        .base = memory,
        .side = 1,
        .features = features,
        .n_queues = layout->shape.n_queues,
    };

    vpci_channel_begin(peer, &config, epoch);
}

void
world_begin_peer(struct world *w)
{
    begin_peer(w->peer, &w->layout, w->link, w->peer_features,
               ++w->peer_epoch);
}

static struct vpci_channel *
make_peer(const struct vpci_layout *layout)
{
    size_t size = vpci_channel_bytes(layout);

    return aligned_alloc(VPCI_ABI_LINE,
                         (size + VPCI_ABI_LINE - 1) & -(size_t) VPCI_ABI_LINE);
}

bool
world_init(struct world *w, const struct vpci_shape *base,
           const struct vpci_shape *link,
           const struct vpci_net_config *config, bool two_guests)
{
    memset(w, 0, sizeof *w);
    w->slot = 1;
    w->peer_features = UINT64_MAX;
    base = base ? base : &world_base_shape;
    for (int i = 0; i < 2; i++) {
        CHECK(open_port(w, i, base, config, !i || two_guests));
    }
    CHECK(make_link(w, link ? link : &world_link_shape));
    for (int i = 0; i < 2; i++) {
        CHECK(world_serve(w, i));
    }
    if (!two_guests) {
        w->peer = make_peer(&w->layout);
        CHECK(w->peer);
        world_begin_peer(w);
    }
    world_offer(w);
    return world_reach(w, true);
}

void
world_uninit(struct world *w)
{
    for (int i = 0; i < 2; i++) {
        struct world_port *p = &w->ports[i];

        vpci_net_close(p->net);
        if (p->served) {
            net_server_stop(&p->server);
        }
        net_switch_stop(&p->s);
        vpci_steer_destroy(p->hints);
        vpci_steer_destroy(p->acceptances);
        for (uint32_t j = 0; j < VPCI_ABI_MAX_VECTORS; j++) {
            close(p->fds[j]);
        }
    }
    munmap(w->link, w->layout.size);
    close(w->memory_fd);
    free(w->peer);
    if (w->second.peer) {
        net_server_stop(&w->second.server);
        munmap(w->second.memory, w->second.layout.size);
        close(w->second.memory_fd);
        free(w->second.peer);
    }
}

void
world_run(struct world *w)
{
    int64_t now = net_now_ms() + w->ahead_ms;

    if (w->peer) {
        vpci_channel_run(w->peer, now);
    }
    if (w->second.peer) {
        vpci_channel_run(w->second.peer, now);
    }
    for (int i = 0; i < 2; i++) {
        struct world_port *p = &w->ports[i];

        switch_port_run(&p->s.port, now);
        if (p->net && p->config.own_thread) {
            usleep(300);
        } else if (p->net) {
            vpci_net_run(p->net, now);
        }
    }
}

struct vpci_net_link_info
world_link_info(const struct world *w, int i)
{
    struct vpci_net_link_info infos[4];

    memset(infos, 0, sizeof infos);
    vpci_net_get_links(w->ports[i].net, infos, 4);
    return infos[0];
}

bool
world_reach(struct world *w, bool sends)
{
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;

    for (;;) {
        bool reached = true;

        world_run(w);
        for (int i = 0; i < 2; i++) {
            reached &= (!w->ports[i].net
                        || world_link_info(w, i).sends == sends);
        }
        if (reached) {
            world_run(w);
            return true;
        }
        if (net_now_ms() > deadline) {
            struct vpci_net_link_info info = world_link_info(w, 0);

            fprintf(stderr, "the link should %s: %s: %s\n",
                    sends ? "be usable" : "not be usable",
                    vpci_net_state_name(info.state), info.reason);
            return false;
        }
    }
}

static struct vpci_abi_link *
entry(struct world *w, int i)
{
    struct net_switch *s = &w->ports[i].s;

    return vpci_layout_link(&s->port.layout, s->base, w->slot);
}

/* Tells guest 'i' that something is another. */
static void
tell(struct world *w, int i)
{
    struct net_switch *s = &w->ports[i].s;

    eventfd_write(s->guests[vpci_layout_control_vector(&s->port.layout)], 1);
}

static bool
make_second(struct world_second *second, struct world_port *p,
            const struct vpci_shape *shape)
{
    struct vpci_layout_report report;

    CHECK(vpci_layout_init(&second->layout, shape, &report));
    second->memory_fd = net_make_memory(second->layout.size, &second->memory);
    CHECK(second->memory_fd >= 0);
    vpci_layout_write(&second->layout, second->memory, SECOND_LINK_ID);
    second->server = (struct net_server) {
        .memory_fd = second->memory_fd,
        .id = 31,
        .peer_id = 32,
        .fds = p->fds,
        .peer_fds = p->fds,
        .n_fds = shape->n_vectors,
    };
    strcpy(second->server.path, p->s.path);
    strcat(second->server.path, ".link6");
    second->peer = make_peer(&second->layout);
    CHECK(second->peer && net_server_start(&second->server));
    begin_peer(second->peer, &second->layout, second->memory, UINT64_MAX, 1);
    return true;
}

bool
world_add_link(struct world *w, const struct vpci_shape *shape)
{
    struct world_port *p = &w->ports[0];
    const struct vpci_layout *layout = &p->s.port.layout;
    struct vpci_abi_link *e = vpci_layout_link(layout, p->s.base,
                                               w->slot + 1);
    int64_t deadline = net_now_ms() + WORLD_TIMEOUT_MS;
    struct vpci_net_link_info infos[VPCI_ABI_MAX_LINKS];
    uint32_t generation = 0;

    CHECK(make_second(&w->second, p, shape));
    vpci_projection_publish(p->acceptances,
                            vpci_layout_acceptances(layout, p->s.base,
                                                    w->slot + 1),
                            &generation);
    vpci_store32(&e->port, 3);
    vpci_layout_put_shape(shape, &e->shape);
    vpci_store32_release(&e->id, SECOND_LINK_ID);
    tell(w, 0);
    do {
        world_run(w);
        CHECK(net_now_ms() < deadline);
    } while (vpci_net_get_links(p->net, infos, VPCI_ABI_MAX_LINKS) < 2
             || !infos[1].sends);
    return true;
}

void
world_offer(struct world *w)
{
    const struct vpci_abi_header *header = w->link;

    for (int i = 0; i < 2; i++) {
        struct vpci_abi_link *e = entry(w, i);

        vpci_store32(&e->side, i);
        vpci_store32(&e->port, 1 + !i);
        e->shape = header->shape;
        vpci_store32_release(&e->id, WORLD_LINK_ID);
        tell(w, i);
    }
}

void
world_withdraw(struct world *w)
{
    for (int i = 0; i < 2; i++) {
        vpci_store32_release(&entry(w, i)->id, 0);
        tell(w, i);
    }
}

/* Key and mask of packets of 'flow'. */
static void
make_key(uint8_t flow, union vpci_key *mask, union vpci_key *key)
{
    memset(mask, 0, sizeof *mask);
    memset(key, 0, sizeof *key);
    memset(mask->eth_dst, 0xff, sizeof mask->eth_dst);
    mask->eth_type = UINT16_MAX;
    mask->kind = VPCI_KEY_FRAG_ANY | VPCI_KEY_FRAG_LATER;
    key->eth_dst[0] = 2;
    key->eth_dst[5] = flow;
    key->eth_type = htons(flow >= 100 ? 0x0800 : ETH_TYPE);
}

void
world_set(struct vpci_steer *t, uint8_t flow, uint64_t verdict)
{
    union vpci_key mask, key;
    uint32_t number;

    make_key(flow, &mask, &key);
    if (vpci_steer_insert(t, &mask, &key, verdict, &number)) {
        vpci_steer_set_verdict(t, number, verdict);
    }
}

void
world_unset(struct vpci_steer *t, uint8_t flow)
{
    union vpci_key mask, key;

    make_key(flow, &mask, &key);
    vpci_steer_remove(t, vpci_steer_find(t, &mask, &key));
}

void
world_hint(struct world *w, int i, uint8_t flow)
{
    world_set(w->ports[i].hints, flow,
              (uint64_t) WORLD_LINK_ID << VPCI_ABI_HINT_ID_SHIFT | w->slot);
}

void
world_accept(struct world *w, int i, uint8_t flow,
             enum vpci_abi_acceptance acceptance)
{
    world_set(w->ports[i].acceptances, flow,
              (uint64_t) acceptance << VPCI_ABI_ACCEPTANCE_SHIFT
              | flow % 64u);
}

void
world_hint_edit(struct world *w, int i, uint8_t flow, int growth)
{
    world_set(w->ports[i].hints, flow,
              ((uint64_t) WORLD_LINK_ID << VPCI_ABI_HINT_ID_SHIFT | w->slot
               | VPCI_ABI_HINT_EDIT
               | (uint64_t) growth << VPCI_ABI_HINT_GROWTH_SHIFT));
}

struct vpci_abi_edits *
world_edits(const struct world *w, int i, uint8_t flow)
{
    const struct net_switch *s = &w->ports[i].s;

    return vpci_layout_edits(&s->port.layout, s->base, flow % 64u);
}

void
world_accept_edit(struct world *w, int i, uint8_t flow,
                  const struct vpci_edits *edits)
{
    vpci_edits_write(edits, world_edits(w, i, flow));
    world_accept(w, i, flow, VPCI_ABI_EDIT);
}

void
world_publish(struct world *w, int i)
{
    struct world_port *p = &w->ports[i];
    const struct vpci_layout *layout = &p->s.port.layout;

    vpci_projection_publish(p->hints, vpci_layout_hints(layout, p->s.base),
                            &p->hints_generation);
    vpci_projection_publish(p->acceptances,
                            vpci_layout_acceptances(layout, p->s.base,
                                                    w->slot),
                            &p->acceptances_generation);
    tell(w, i);
}

void
world_make(uint8_t *data, uint32_t len, uint8_t flow, uint32_t number)
{
    memset(data, flow, len);
    memcpy(data, "\2\0\0\0\0\0\2vpci", 12);
    data[5] = flow;
    data[12] = ETH_TYPE >> 8;
    data[13] = ETH_TYPE & 0xff;
    memcpy(data + 14, &number, sizeof number);
}

int64_t
world_number(const uint8_t *data, uint32_t len, uint8_t flow)
{
    uint8_t wanted[2048];
    uint32_t number;

    memcpy(&number, data + 14, sizeof number);
    world_make(wanted, len, flow, number);
    return memcmp(data, wanted, len) ? -2 : (int64_t) number;
}

bool
world_send(struct world *w, int i, uint32_t queue, uint8_t flow,
           uint32_t number)
{
    uint8_t data[WORLD_LEN];
    struct vpci_ring_buf buf = { .data = data, .len = sizeof data };

    world_make(data, sizeof data, flow, number);
    return vpci_net_tx_burst(w->ports[i].net, queue, &buf, 1) == 1;
}

int64_t
world_receive(struct world *w, int i, uint32_t queue, uint8_t flow)
{
    uint8_t data[2048];
    struct vpci_ring_buf buf = { .data = data, .size = sizeof data };

    return (vpci_net_rx_burst(w->ports[i].net, queue, &buf, 1)
            ? world_number(data, buf.len, flow) : -1);
}

static bool
send_by(const struct world *w, struct vpci_channel *peer,
        const struct vpci_layout *layout, uint32_t ring, uint8_t flow,
        uint32_t number)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(peer, ring);
    void *p = vpci_ring_reserve(tx, WORLD_LEN);

    if (p) {
        world_make(p, WORLD_LEN, flow, number);
        vpci_ring_submit(tx, WORLD_LEN, NULL);
        if (vpci_ring_publish(tx)) {
            eventfd_write(w->ports[0].fds[vpci_layout_vector(layout, ring)],
                          1);
        }
    }
    return p != NULL;
}

bool
world_peer_send(struct world *w, uint32_t ring, uint8_t flow, uint32_t number)
{
    return send_by(w, w->peer, &w->layout, ring, flow, number);
}

bool
world_second_send(struct world *w, uint32_t ring, uint8_t flow,
                  uint32_t number)
{
    return send_by(w, w->second.peer, &w->second.layout, ring, flow, number);
}

int64_t
world_peer_receive(struct world *w, uint32_t ring, uint8_t flow)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(w->peer, ring);
    struct vpci_ring_pkt pkt;
    int64_t number;

    if (!vpci_ring_peek(rx, &pkt, 1)) {
        return -1;
    }
    number = world_number(pkt.data, pkt.len, flow);
    if (vpci_ring_release(rx, 1)) {
        eventfd_write(w->ports[0].fds[vpci_layout_vector(&w->layout, ring)],
                      1);
    }
    return number;
}

bool
world_switch_send(struct world *w, int i, uint32_t ring, uint8_t flow,
                  uint32_t number)
{
    uint8_t data[WORLD_LEN];

    world_make(data, sizeof data, flow, number);
    return switch_port_put(&w->ports[i].s.port, ring, data, sizeof data);
}

int64_t
world_switch_receive(struct world *w, int i, uint32_t ring, uint8_t flow)
{
    uint8_t data[2048];
    uint32_t len = switch_port_take(&w->ports[i].s.port, ring, data,
                                    sizeof data);

    return len ? world_number(data, len, flow) : -1;
}

struct vpci_net_stats
world_stats(const struct world *w, int i)
{
    struct vpci_net_stats stats;

    vpci_net_get_stats(w->ports[i].net, VPCI_NET_ALL, &stats);
    return stats;
}

uint32_t
world_said_hints(const struct world *w, int i, uint32_t queue)
{
    const struct net_switch *s = &w->ports[i].s;

    return vpci_load32_acquire(&vpci_layout_queue(&s->port.layout, s->base,
                                                  queue)->hints);
}

uint64_t
world_said_refused(const struct world *w, int i, uint32_t queue)
{
    const struct net_switch *s = &w->ports[i].s;

    return vpci_load64(&vpci_layout_link_count(&s->port.layout, s->base,
                                               queue, w->slot)->refused);
}

struct vpci_abi_flow_count *
world_said_flow(const struct world *w, int i, uint32_t queue, uint32_t number)
{
    const struct net_switch *s = &w->ports[i].s;

    return vpci_layout_flow_count(&s->port.layout, s->base, queue, number);
}
