/* SPDX-License-Identifier: Apache-2.0 */

#include "traffic-private.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_epoll.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_udp.h>

#include "histogram.h"

#define RING_SIZE 1024
#define POOL_CACHE 256

struct port {
    enum traffic_role role;
    uint16_t to;
    struct traffic_counters counters;
} __rte_cache_aligned;

static struct rte_mempool *pool;
static struct port ports[TRAFFIC_MAX_PORTS];
static unsigned int n_ports, n_queues;
static struct stream streams[TRAFFIC_MAX_STREAMS];
static unsigned int n_streams;
static bool sleeps;
static uint64_t tsc_hz;

static bool pings;
static uint64_t ping_interval;     /* In microseconds. */
static uint64_t lost_pings;

static struct histogram latency;

static atomic_bool wanted, working, paused, recording, quitting;

static void
count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

void
traffic_count_tx(uint16_t port, uint64_t packets, uint64_t bytes)
{
    count(&ports[port].counters.tx_packets, packets);
    count(&ports[port].counters.tx_bytes, bytes);
}

void
traffic_count_refused(uint16_t port, uint64_t packets)
{
    count(&ports[port].counters.tx_refused, packets);
}

void
traffic_count_rx(uint16_t port, uint64_t packets, uint64_t bytes)
{
    count(&ports[port].counters.rx_packets, packets);
    count(&ports[port].counters.rx_bytes, bytes);
}

bool
traffic_records(void)
{
    return atomic_load_explicit(&recording, memory_order_relaxed);
}

void
traffic_note_latency(const void *data, uint32_t len, uint64_t now)
{
    uint64_t stamp = stream_stamp(data, len);

    if (stamp && stamp <= now) {
        histogram_add(&latency, now - stamp);
    }
}

/* Set-up. */

static const char *
start_port(uint16_t port)
{
    struct rte_eth_conf conf = { .intr_conf.rxq = sleeps };
    struct rte_ether_addr mac = stream_mac(port);
    int socket = rte_eth_dev_socket_id(port);
    struct rte_eth_dev_info info;
    bool failed;

    /* A virtio-user device listens again only if it knows that its peer is
     * gone. */
    conf.intr_conf.lsc = (!rte_eth_dev_info_get(port, &info)
                          && *info.dev_flags & RTE_ETH_DEV_INTR_LSC);
    failed = rte_eth_dev_configure(port, n_queues, n_queues, &conf);
    for (unsigned int i = 0; i < n_queues && !failed; i++) {
        failed = (rte_eth_rx_queue_setup(port, i, RING_SIZE, socket, NULL,
                                         pool)
                  || rte_eth_tx_queue_setup(port, i, RING_SIZE, socket,
                                            NULL));
    }
    if (failed) {
        return sleeps ? "cannot configure a port with receive interrupts"
                      : "cannot configure a port";
    }
    /* Not every driver can, and none has to. */
    rte_eth_dev_default_mac_addr_set(port, &mac);
    if (rte_eth_dev_start(port)) {
        return "cannot start a port";
    }
    rte_eth_promiscuous_enable(port);
    return NULL;
}

/* Starts ports of DPDK. */
static const char *
start_ports(unsigned int n)
{
    if (n > rte_eth_dev_count_avail()) {
        return "needs as many devices (--vdev) as ports";
    }
    /* Both rings of all queue pairs may be full. */
    pool = rte_pktmbuf_pool_create("packets", (n * (2 * n_queues + 1)
                                               * RING_SIZE + 4096 - 1),
                                   POOL_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                   rte_socket_id());
    if (!pool) {
        return "not enough memory for packets: more huge pages or a bigger -m";
    }
    for (unsigned int i = 0; i < n; i++) {
        const char *error = start_port(i);

        if (error) {
            return error;
        }
    }
    return NULL;
}

const char *
traffic_init(unsigned int n, unsigned int queues, bool sleep,
             char *const addresses[], unsigned int n_addresses)
{
    const char *error;

    if (!n || n > TRAFFIC_MAX_PORTS || !queues
        || queues > TRAFFIC_MAX_QUEUES || n_addresses > n) {
        return "needs from 1 to 32 ports, with 1 to 16 queues";
    } else if (sleep && n_addresses && n > 1) {
        return "with addresses, only one port can sleep";
    }
    tsc_hz = rte_get_tsc_hz();
    sleeps = sleep;
    n_queues = queues;
    error = n > n_addresses ? start_ports(n - n_addresses) : NULL;
    if (!error) {
        error = traffic_net_open(addresses, n_addresses, n - n_addresses,
                                 queues, sleep);
    }
    n_ports = error ? 0 : n;
    return error;
}

void
traffic_reset(void)
{
    for (unsigned int i = 0; i < n_ports; i++) {
        ports[i].role = TRAFFIC_IGNORE;
    }
    n_streams = 0;
    pings = false;
}

const char *
traffic_add_stream(const struct traffic_stream *cfg)
{
    struct stream *s = &streams[n_streams];

    if (n_streams >= TRAFFIC_MAX_STREAMS || cfg->port >= n_ports
        || cfg->to >= 256) {
        return "no such port, or too many streams";
    }
    stream_init(s, cfg);
    n_streams++;
    return NULL;
}

const char *
traffic_set_role(uint16_t port, enum traffic_role role, uint16_t to)
{
    if (port >= n_ports || to >= n_ports) {
        return "no such port";
    }
    ports[port].role = role;
    ports[port].to = to;
    return NULL;
}

const char *
traffic_set_ping(uint64_t interval)
{
    if (!n_streams) {
        return "a ping needs a stream";
    }
    ping_interval = interval;
    pings = true;
    return NULL;
}

/* Sending. */

/* Sends 'n' packets on 'queue' of 'port' and returns how many its device has
 * taken.  The others remain with the caller. */
static unsigned int
send_burst(uint16_t port, uint16_t queue, struct rte_mbuf **pkts,
           unsigned int n)
{
    uint64_t bytes[BURST], sum = 0;
    unsigned int sent;

    for (unsigned int i = 0; i < n; i++) {
        bytes[i] = pkts[i]->pkt_len;
    }
    sent = rte_eth_tx_burst(port, queue, pkts, n);
    for (unsigned int i = 0; i < sent; i++) {
        sum += bytes[i];
    }
    traffic_count_tx(port, sent, sum);
    return sent;
}

/* Makes 'n' packets of a stream in which all are alike. */
static void
make_alike(struct stream *s, struct rte_mbuf **pkts, unsigned int n,
           uint64_t now)
{
    uint16_t size = s->cfg.sizes[0];

    for (unsigned int i = 0; i < n; i++) {
        struct rte_mbuf *m = pkts[i];

        stream_put(s, rte_pktmbuf_mtod(m, void *), now);
        m->data_len = m->pkt_len = size;
    }
}

/* Makes up to 'max' packets of 's', at TSC 'now', and sends them.  Returns how
 * many. */
static unsigned int
send_stream(struct stream *s, unsigned int max, uint64_t now)
{
    uint16_t queue = stream_queue(s, n_queues);
    struct rte_mbuf *pkts[BURST];
    unsigned int n = 0, sent;

    if (rte_pktmbuf_alloc_bulk(pool, pkts, max)) {
        return 0;
    }
    if (stream_is_uniform(s)) {
        make_alike(s, pkts, max, now);
        n = max;
    } else {
        do {
            struct rte_mbuf *m = pkts[n++];

            m->data_len = m->pkt_len
                = stream_make(s, rte_pktmbuf_mtod(m, void *), now);
        } while (n < max && stream_queue(s, n_queues) == queue);
    }
    sent = send_burst(s->cfg.port, queue, pkts, n);
    if (sent < max) {
        rte_pktmbuf_free_bulk(pkts + sent, max - sent);
    }
    return n;
}

/* Sends what is due of 's', at most 'max'. */
static void
run_stream(struct stream *s, unsigned int max)
{
    uint64_t now = rte_rdtsc();
    unsigned int n = RTE_MIN(stream_due(s, now, tsc_hz), max);

    /* What the ring had no room for was never sent, and is not made up for. */
    if (n) {
        s->sent += (traffic_net_has(s->cfg.port)
                    ? traffic_net_send(s, n_queues, n, now)
                    : send_stream(s, n, now));
    }
}

/* Receiving. */

/* Does with packets what the role of the port that received them from 'queue'
 * asks for. */
static void
dispose(struct port *port, uint16_t number, uint16_t queue,
        struct rte_mbuf **pkts, unsigned int n)
{
    uint16_t to = port->role == TRAFFIC_FORWARD ? port->to : number;
    uint64_t now = rte_rdtsc();
    unsigned int sent = 0, n_noted;

    if (port->role == TRAFFIC_SINK) {
        n_noted = traffic_records() ? n : 0;
        for (unsigned int i = 0; i < n_noted; i++) {
            traffic_note_latency(rte_pktmbuf_mtod(pkts[i], void *),
                                 pkts[i]->data_len, now);
        }
    } else {
        if (port->role == TRAFFIC_REFLECT) {
            for (unsigned int i = 0; i < n; i++) {
                stream_reflect(rte_pktmbuf_mtod(pkts[i], void *));
            }
        }
        sent = send_burst(to, queue, pkts, n);
        traffic_count_refused(to, n - sent);
    }
    rte_pktmbuf_free_bulk(pkts + sent, n - sent);
}

/* Returns how many packets came. */
static unsigned int
run_queue(uint16_t number, uint16_t queue)
{
    struct port *port = &ports[number];
    struct rte_mbuf *pkts[BURST];
    uint64_t bytes = 0;
    unsigned int n;

    if (traffic_net_has(number)) {
        return traffic_net_receive(number, queue, port->role, port->to);
    }
    n = rte_eth_rx_burst(number, queue, pkts, BURST);
    if (n) {
        for (unsigned int i = 0; i < n; i++) {
            bytes += pkts[i]->pkt_len;
        }
        traffic_count_rx(number, n, bytes);
        dispose(port, number, queue, pkts, n);
    }
    return n;
}

static unsigned int
run_ports(void)
{
    unsigned int n = 0;

    for (unsigned int i = 0; i < n_ports; i++) {
        for (unsigned int q = 0;
             q < n_queues && ports[i].role != TRAFFIC_IGNORE; q++) {
            n += run_queue(i, q);
        }
    }
    return n;
}

/* Sleeping. */

static void
set_interrupts(bool on)
{
    for (unsigned int i = 0; i < n_ports; i++) {
        if (ports[i].role != TRAFFIC_IGNORE) {
            if (on) {
                rte_eth_dev_rx_intr_enable(i, 0);
            } else {
                rte_eth_dev_rx_intr_disable(i, 0);
            }
        }
    }
}

/* The traffic thread's own: which ports wake it. */
static void
choose_wakers(int op)
{
    for (unsigned int i = 0; i < n_ports && sleeps && !traffic_net_has(0);
         i++) {
        if (ports[i].role != TRAFFIC_IGNORE) {
            rte_eth_dev_rx_intr_ctl_q(i, 0, RTE_EPOLL_PER_THREAD, op, NULL);
        }
    }
}

/* Waits for packets, and deals with them.  Returns how many came. */
static unsigned int
sleep_for_packets(void)
{
    struct rte_epoll_event event;
    unsigned int n;

    if (traffic_net_has(0)) {
        traffic_net_sleep(0);
        return run_ports();
    }
    set_interrupts(true);
    n = run_ports();
    if (!n) {
        rte_epoll_wait(RTE_EPOLL_PER_THREAD, &event, 1, PING_TIMEOUT_MS);
        n = run_ports();
    }
    set_interrupts(false);
    return n;
}

/* The traffic thread. */

static void
run_ping(struct stream *s)
{
    const struct traffic_counters *c = &ports[s->cfg.port].counters;
    uint64_t before = c->rx_packets, deadline;

    run_stream(s, 1);
    deadline = rte_rdtsc() + tsc_hz * PING_TIMEOUT_MS / 1000;
    while (c->rx_packets == before
           && rte_rdtsc() < deadline) {
        if (sleeps) {
            sleep_for_packets();
        } else {
            run_ports();
        }
    }
    if (c->rx_packets == before) {
        count(&lost_pings, 1);
    }
    if (sleeps) {
        usleep(ping_interval);
    } else {
        uint64_t until = rte_rdtsc() + ping_interval * tsc_hz / 1000000;

        while (rte_rdtsc() < until) {
            run_ports();
        }
    }
}

static void
work(void)
{
    choose_wakers(RTE_INTR_EVENT_ADD);
    for (unsigned int i = 0; i < n_streams; i++) {
        streams[i].began = rte_rdtsc();
        streams[i].sent = 0;
    }
    while (atomic_load_explicit(&wanted, memory_order_relaxed)) {
        bool sends = n_streams && !atomic_load_explicit(&paused,
                                                        memory_order_relaxed);

        if (sends && pings) {
            run_ping(&streams[0]);
            continue;
        }
        for (unsigned int i = 0; i < n_streams && sends; i++) {
            run_stream(&streams[i], BURST);
        }
        if (sleeps && !sends) {
            sleep_for_packets();
        } else {
            run_ports();
        }
    }
    choose_wakers(RTE_INTR_EVENT_DEL);
}

int
traffic_main(void *arg)
{
    (void) arg;
    while (!atomic_load(&quitting)) {
        if (atomic_load(&wanted)) {
            atomic_store(&working, true);
            work();
            atomic_store(&working, false);
        }
        usleep(100);
    }
    return 0;
}

static void
wait_for(bool state)
{
    while (atomic_load(&working) != state) {
        usleep(100);
    }
}

void
traffic_start(void)
{
    atomic_store(&paused, false);
    atomic_store(&recording, false);
    atomic_store(&wanted, true);
    wait_for(true);
}

void
traffic_pause(void)
{
    atomic_store(&paused, true);
}

void
traffic_record(bool on)
{
    atomic_store(&recording, on);
}

void
traffic_stop(void)
{
    atomic_store(&wanted, false);
    wait_for(false);
}

void
traffic_quit(void)
{
    traffic_stop();
    atomic_store(&quitting, true);
}

/* Counters. */

void
traffic_clear(void)
{
    for (unsigned int i = 0; i < n_ports; i++) {
        ports[i].counters = (struct traffic_counters) { 0 };
    }
    histogram_clear(&latency);
    lost_pings = 0;
}

struct traffic_counters
traffic_counters(uint16_t port)
{
    const struct traffic_counters *c = &ports[port].counters;

    return (struct traffic_counters) {
        .tx_packets = __atomic_load_n(&c->tx_packets, __ATOMIC_RELAXED),
        .tx_bytes = __atomic_load_n(&c->tx_bytes, __ATOMIC_RELAXED),
        .tx_refused = __atomic_load_n(&c->tx_refused, __ATOMIC_RELAXED),
        .rx_packets = __atomic_load_n(&c->rx_packets, __ATOMIC_RELAXED),
        .rx_bytes = __atomic_load_n(&c->rx_bytes, __ATOMIC_RELAXED),
    };
}

double
traffic_latency_us(double fraction)
{
    return histogram_quantile(&latency, fraction) * 1e6 / tsc_hz;
}

uint64_t
traffic_lost_pings(void)
{
    return __atomic_load_n(&lost_pings, __ATOMIC_RELAXED);
}
