/* SPDX-License-Identifier: Apache-2.0 */

/* Ports of libvpci: see vpci/net.h.
 *
 * Packets are made in, and received into, the same few buffers again and
 * again: as many as a cache of DPDK's buffers has, as far apart, and in huge
 * pages as well. */

#include "traffic-private.h"

#include <stdio.h>

#include <rte_cycles.h>
#include <rte_malloc.h>

#include "vpci/net.h"

#define N_BUFS 256

/* An odd number of cache lines, so that buffers do not all fall on the same
 * sets of a cache. */
#define BUF_SIZE 2048
#define BUF_STRIDE (35 * 64)

struct net_port {
    struct vpci_net *net;
    struct vpci_ring_buf tx[BURST];
    struct vpci_ring_buf rx[N_BUFS];
    unsigned int next;          /* The first of 'rx' to be filled. */

    /* Packets, the last before 'next', that are still to be forwarded. */
    struct vpci_ring_buf *waiting;
    unsigned int n_waiting;
    uint16_t waiting_on;        /* The queue. */
};

static struct net_port net_ports[TRAFFIC_MAX_PORTS];

bool
traffic_net_has(uint16_t port)
{
    return net_ports[port].net != NULL;
}

static bool
init_bufs(struct vpci_ring_buf bufs[], unsigned int n)
{
    char *memory = rte_malloc(NULL, n * BUF_STRIDE, 64);

    for (unsigned int i = 0; memory && i < n; i++) {
        bufs[i] = (struct vpci_ring_buf) {
            .data = memory + i * BUF_STRIDE,
            .size = BUF_SIZE,
        };
    }
    return memory != NULL;
}

static const char *
open_port(struct net_port *p, uint16_t number, const char *address,
          unsigned int n_queues, bool sleeps)
{
    static char reason[256];
    struct rte_ether_addr mac = stream_mac(number);
    struct vpci_net_config config = {
        .n_queues = n_queues,
        .own_thread = true,
    };

    for (unsigned int i = 0; i < sizeof config.mac; i++) {
        config.mac[i] = mac.addr_bytes[i];
    }
    if (!init_bufs(p->tx, BURST) || !init_bufs(p->rx, N_BUFS)) {
        return "no memory";
    }
    if (vpci_net_open(address, &config, &p->net, reason, sizeof reason)) {
        return reason;
    }
    for (unsigned int i = 0; i < n_queues; i++) {
        vpci_net_tx_set_polling(p->net, i, !sleeps);
        vpci_net_rx_set_polling(p->net, i, !sleeps);
    }
    return NULL;
}

const char *
traffic_net_open(char *const addresses[], unsigned int n, uint16_t first,
                 unsigned int n_queues, bool sleeps)
{
    for (unsigned int i = 0; i < n; i++) {
        const char *error = open_port(&net_ports[first + i], first + i,
                                      addresses[i], n_queues, sleeps);

        if (error) {
            return error;
        }
    }
    return NULL;
}

/* Returns how many packets the port has taken. */
static unsigned int
send_burst(uint16_t port, uint16_t queue, const struct vpci_ring_buf bufs[],
           unsigned int n)
{
    unsigned int sent = vpci_net_tx_burst(net_ports[port].net, queue, bufs, n);
    uint64_t bytes = 0;

    for (unsigned int i = 0; i < sent; i++) {
        bytes += bufs[i].len;
    }
    traffic_count_tx(port, sent, bytes);
    return sent;
}

/* Makes 'n' packets of a stream in which all are alike. */
static void
make_alike(struct stream *s, struct vpci_ring_buf bufs[], unsigned int n,
           uint64_t now)
{
    uint16_t size = s->cfg.sizes[0];

    for (unsigned int i = 0; i < n; i++) {
        stream_put(s, bufs[i].data, now);
        bufs[i].len = size;
    }
}

unsigned int
traffic_net_send(struct stream *s, unsigned int n_queues, unsigned int max,
                 uint64_t now)
{
    struct vpci_ring_buf *bufs = net_ports[s->cfg.port].tx;
    uint16_t queue = stream_queue(s, n_queues);
    unsigned int n = 0;

    if (stream_is_uniform(s)) {
        make_alike(s, bufs, max, now);
        n = max;
    } else {
        do {
            bufs[n].len = stream_make(s, bufs[n].data, now);
            n++;
        } while (n < max && stream_queue(s, n_queues) == queue);
    }
    send_burst(s->cfg.port, queue, bufs, n);
    return n;
}

/* Sends the port's waiting packets.  Returns false if some have to wait on:
 * nothing is received then, so that whoever sends them has to wait as well. */
static bool
send_waiting(struct net_port *p, uint16_t to)
{
    unsigned int sent = send_burst(to, p->waiting_on, p->waiting,
                                   p->n_waiting);

    p->waiting += sent;
    p->n_waiting -= sent;
    return !p->n_waiting;
}

static void
dispose(uint16_t port, uint16_t queue, enum traffic_role role, uint16_t to,
        struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_port *p = &net_ports[port];
    uint64_t now = rte_rdtsc();

    if (role == TRAFFIC_SINK) {
        unsigned int n_noted = traffic_records() ? n : 0;

        for (unsigned int i = 0; i < n_noted; i++) {
            traffic_note_latency(bufs[i].data, bufs[i].len, now);
        }
        return;
    }
    for (unsigned int i = 0; i < n && role == TRAFFIC_REFLECT; i++) {
        stream_reflect(bufs[i].data);
    }
    p->waiting = bufs;
    p->n_waiting = n;
    p->waiting_on = queue;
    send_waiting(p, to);
}

unsigned int
traffic_net_receive(uint16_t port, uint16_t queue, enum traffic_role role,
                    uint16_t to)
{
    struct net_port *p = &net_ports[port];
    struct vpci_ring_buf *bufs = &p->rx[p->next];
    uint64_t bytes = 0;
    unsigned int n;

    to = role == TRAFFIC_FORWARD ? to : port;
    if (p->n_waiting && !send_waiting(p, to)) {
        return 0;
    }
    n = vpci_net_rx_burst(p->net, queue, bufs, BURST);
    if (n) {
        for (unsigned int i = 0; i < n; i++) {
            bytes += bufs[i].len;
        }
        traffic_count_rx(port, n, bytes);
        dispose(port, queue, role, to, bufs, n);
        p->next += n;
        p->next = p->next + BURST <= N_BUFS ? p->next : 0;
    }
    return n;
}

void
traffic_net_sleep(uint16_t port)
{
    vpci_net_rx_wait(net_ports[port].net, 0, PING_TIMEOUT_MS * 1000);
}
