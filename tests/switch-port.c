/* SPDX-License-Identifier: Apache-2.0 */

#include "switch-port.h"

#include <string.h>
#include <sys/eventfd.h>

static void
note_fault(void *port_, const struct vpci_fault *fault)
{
    struct switch_port *port = port_;

    (void) fault;
    port->n_faults++;
}

static void
write_words(const struct switch_port *port,
            const struct switch_port_words *words)
{
    struct vpci_abi_port *p = vpci_layout_port(port->base);

    vpci_store32(&p->max_len, words->max_len);
    p->class_by = words->class_by;
    memcpy(p->class_of, words->class_of, sizeof p->class_of);
    memcpy(p->mac, words->mac, sizeof p->mac);
    vpci_store32(&p->calls, words->calls);
    vpci_store32(&p->link_state, words->link_state);
}

bool
switch_port_init(struct switch_port *port, const struct vpci_shape *shape,
                 void *base, void *private_memory, bool resumes,
                 const struct switch_port_words *words, uint32_t epoch)
{
    struct vpci_channel_config config = {
        .base = base,
        .features = words->features,
        .n_queues = shape->n_queues,
        .report = note_fault,
        .aux = port,
    };
    struct vpci_layout_report report;

    memset(port, 0, sizeof *port);
    for (int i = 0; i < VPCI_ABI_MAX_VECTORS; i++) {
        port->to_guest[i] = -1;
    }
    if (!vpci_layout_init(&port->layout, shape, &report)) {
        return false;
    }
    port->base = base;
    port->channel = private_memory;
    config.layout = port->layout;
    write_words(port, words);
    if (!vpci_layout_agrees(&port->layout, base, 1, &report)) {
        vpci_layout_write(&port->layout, base, 1);
    }
    port->config = config;
    resumes = resumes && vpci_channel_resume(port->channel, &config);
    if (!resumes) {
        switch_port_begin(port, epoch);
    }
    return resumes;
}

void
switch_port_begin(struct switch_port *port, uint32_t epoch)
{
    vpci_channel_begin(port->channel, &port->config, epoch);
    port->state = VPCI_CHANNEL_ALONE;
}

static void
inject(const struct switch_port *port, uint32_t vector)
{
    if (port->to_guest[vector] >= 0) {
        eventfd_write(port->to_guest[vector], 1);
    }
}

void
switch_port_inject_all(const struct switch_port *port)
{
    for (uint32_t i = 0; i < port->layout.shape.n_vectors; i++) {
        inject(port, i);
    }
}

bool
switch_port_run(struct switch_port *port, int64_t now_ms)
{
    enum vpci_channel_state old = port->state;

    port->state = vpci_channel_run(port->channel, now_ms);
    if (port->state != old) {
        switch_port_inject_all(port);
    }
    return port->state == VPCI_CHANNEL_RUNNING;
}

bool
switch_port_put(struct switch_port *port, uint32_t ring, const void *data,
                uint32_t len)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(port->channel, ring);
    void *p;

    if (!vpci_channel_is_current(port->channel)) {
        return false;
    }
    p = vpci_ring_reserve(tx, len);
    if (p) {
        memcpy(p, data, len);
        vpci_ring_submit(tx, len, NULL);
        if (vpci_ring_publish(tx)) {
            inject(port, vpci_layout_vector(&port->layout, ring));
        }
    }
    return p != NULL;
}

uint32_t
switch_port_take(struct switch_port *port, uint32_t ring, void *data,
                 uint32_t size)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(port->channel, ring);
    struct vpci_ring_pkt pkt;

    if (!vpci_channel_is_current(port->channel)
        || !vpci_ring_peek(rx, &pkt, 1)) {
        return 0;
    }
    memcpy(data, pkt.data, pkt.len <= size ? pkt.len : size);
    if (vpci_ring_release(rx, 1)) {
        inject(port, vpci_layout_vector(&port->layout, ring));
    }
    return pkt.len;
}

/* The same for one ring. */
static unsigned int
move_ring(struct switch_port *from, struct switch_port *to, uint32_t ring,
          unsigned int max, uint64_t *bytes)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(from->channel, ring);
    struct vpci_ring_tx *tx = vpci_channel_tx(to->channel, ring);
    struct vpci_ring_pkt pkt;
    unsigned int n = 0;
    bool tell = false;

    while (n < max && vpci_ring_peek(rx, &pkt, 1)) {
        void *p = vpci_ring_reserve(tx, pkt.len);

        if (!p) {
            break;
        }
        memcpy(p, pkt.data, pkt.len);
        if (from->tap) {
            from->tap(from->aux, p, pkt.len);
        }
        vpci_ring_submit(tx, pkt.len, &pkt.offload);
        *bytes += pkt.len;
        n++;

        /* So that none is lost or doubled if this process is killed in
         * between, but for one. */
        tell |= vpci_ring_publish(tx);
        if (vpci_ring_release(rx, 1)) {
            inject(from, vpci_layout_vector(&from->layout, ring));
        }
    }
    if (tell) {
        inject(to, vpci_layout_vector(&to->layout, ring));
    }
    return n;
}

uint64_t
switch_port_move(struct switch_port *from, struct switch_port *to,
                 unsigned int max, uint64_t *bytes)
{
    const struct vpci_layout *layout = &from->layout;
    uint64_t n = 0;

    if (!vpci_channel_is_current(from->channel)
        || !vpci_channel_is_current(to->channel)) {
        return 0;
    }
    for (uint32_t i = layout->shape.n_classes; i-- > 0; ) {
        for (uint32_t q = 0; q < layout->shape.n_queues; q++) {
            n += move_ring(from, to, vpci_layout_ring_index(layout, q, i),
                           max, bytes);
        }
    }
    return n;
}
