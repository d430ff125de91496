/* SPDX-License-Identifier: Apache-2.0 */

#include "traffic.h"

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

#define BURST 32
#define RING_SIZE 1024
#define POOL_CACHE 256

/* How long a ping may take, and a sleeper sleeps at most. */
#define PING_TIMEOUT_MS 100

#define HEADERS_LEN (sizeof(struct rte_ether_hdr) + sizeof(struct rte_ipv4_hdr) \
                     + sizeof(struct rte_udp_hdr))

/* What a packet has behind its headers.  Unaligned. */
struct stamp {
    uint32_t magic;
    uint64_t tsc;
} __attribute__((packed));

/* UDP ports of a class's flows. */
#define FIRST_PORT 1024
#define N_PORTS 50000

#define STAMP_MAGIC 0x76706369u     /* "vpci" */

struct stream {
    struct traffic_stream cfg;
    struct {
        struct rte_ether_hdr eth;
        struct rte_ipv4_hdr ip;
        struct rte_udp_hdr udp;
        struct stamp stamp;
    } head;
    uint32_t flow;
    uint32_t n_train;               /* Packets of 'flow' in a row, so far. */
    unsigned int size;
    uint64_t began;                 /* TSC, when pacing began. */
    uint64_t sent;                  /* Since then. */
};

_Static_assert(sizeof ((struct stream *) 0)->head
               == HEADERS_LEN + sizeof(struct stamp), "no padding");
_Static_assert(HEADERS_LEN + sizeof(struct stamp) <= TRAFFIC_MIN_SIZE,
               "room for the stamp in every packet");

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

static struct rte_ether_addr
port_mac(uint16_t port)
{
    return (struct rte_ether_addr) { .addr_bytes = { 2, [5] = port } };
}

static void
count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Set-up. */

static const char *
start_port(uint16_t port)
{
    struct rte_eth_conf conf = { .intr_conf.rxq = sleeps };
    struct rte_ether_addr mac = port_mac(port);
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

const char *
traffic_init(unsigned int n, unsigned int queues, bool sleep)
{
    if (!n || n > TRAFFIC_MAX_PORTS || n > rte_eth_dev_count_avail()
        || !queues || queues > TRAFFIC_MAX_QUEUES) {
        return "needs from 1 to 32 devices (--vdev), with 1 to 16 queues";
    }
    tsc_hz = rte_get_tsc_hz();
    sleeps = sleep;
    n_queues = queues;
    /* Both rings of all queue pairs may be full. */
    pool = rte_pktmbuf_pool_create("packets", (n * (2 * n_queues + 1)
                                               * RING_SIZE + 4096 - 1),
                                   POOL_CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
                                   rte_socket_id());
    if (!pool) {
        return "not enough memory for packets: more huge pages or a bigger -m";
    }
    for (n_ports = 0; n_ports < n; n_ports++) {
        const char *error = start_port(n_ports);

        if (error) {
            return error;
        }
    }
    return NULL;
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

static void
fill_head(struct stream *s)
{
    s->head.eth.dst_addr = port_mac(s->cfg.to);
    s->head.eth.src_addr = port_mac(s->cfg.port);
    s->head.eth.ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
    s->head.ip.version_ihl = RTE_IPV4_VHL_DEF;
    s->head.ip.time_to_live = 64;
    s->head.ip.next_proto_id = IPPROTO_UDP;
    s->head.stamp.magic = s->cfg.stamps ? STAMP_MAGIC : 0;
}

const char *
traffic_add_stream(const struct traffic_stream *cfg)
{
    struct stream *s = &streams[n_streams];

    if (n_streams >= TRAFFIC_MAX_STREAMS || cfg->port >= n_ports
        || cfg->to >= 256) {
        return "no such port, or too many streams";
    }
    *s = (struct stream) { .cfg = *cfg };
    fill_head(s);
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

/* The next packet of 's' is of the next flow if the train is over. */
static void
step_flow(struct stream *s)
{
    if (++s->n_train >= s->cfg.train) {
        s->n_train = 0;
        s->flow = s->flow + 1 < s->cfg.flows ? s->flow + 1 : 0;
    }
}

/* Addresses and lengths of the next packet of 's'. */
static void
next_flow(struct stream *s, uint16_t size)
{
    uint32_t class = s->flow % s->cfg.classes;
    uint32_t pair = s->flow / s->cfg.classes;

    s->head.ip.src_addr = rte_cpu_to_be_32(RTE_IPV4(10, class, 0, 1));
    s->head.ip.dst_addr = rte_cpu_to_be_32(RTE_IPV4(10, 128 + class, 0, 1));
    s->head.udp.src_port = rte_cpu_to_be_16(FIRST_PORT + pair % N_PORTS);
    s->head.udp.dst_port = rte_cpu_to_be_16(FIRST_PORT + pair / N_PORTS);
    s->head.ip.total_length = rte_cpu_to_be_16(size
                                               - sizeof(struct rte_ether_hdr));
    s->head.udp.dgram_len
        = rte_cpu_to_be_16(size - sizeof(struct rte_ether_hdr)
                           - sizeof(struct rte_ipv4_hdr));
    s->head.ip.hdr_checksum = 0;
    s->head.ip.hdr_checksum = rte_ipv4_cksum(&s->head.ip);
    step_flow(s);
}

static void
fill_packet(struct stream *s, struct rte_mbuf *m, uint64_t now)
{
    uint16_t size = s->cfg.sizes[s->size];

    if (s->cfg.n_sizes > 1 || s->cfg.flows > 1 || !s->head.ip.total_length) {
        next_flow(s, size);
        s->size = s->size + 1 < s->cfg.n_sizes ? s->size + 1 : 0;
    }
    s->head.stamp.tsc = now;
    rte_memcpy(rte_pktmbuf_mtod(m, void *), &s->head, sizeof s->head);
    m->data_len = m->pkt_len = size;
}

/* How many packets of 's' are due. */
static unsigned int
stream_due(const struct stream *s, uint64_t now)
{
    uint64_t due;

    if (!s->cfg.rate) {
        return BURST;
    }
    due = (double) (now - s->began) / tsc_hz * s->cfg.rate - s->sent;
    return due < BURST ? due : BURST;
}

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
    count(&ports[port].counters.tx_packets, sent);
    count(&ports[port].counters.tx_bytes, sum);
    return sent;
}

/* The queue of the flow that is next. */
static uint16_t
stream_queue(const struct stream *s)
{
    return (uint64_t) s->flow * s->cfg.train / BURST % n_queues;
}

/* Sends what is due of 's', at most 'max'. */
static void
run_stream(struct stream *s, unsigned int max)
{
    uint64_t now = rte_rdtsc();
    struct rte_mbuf *pkts[BURST];
    unsigned int max_n = RTE_MIN(stream_due(s, now), max), n = 0, sent;
    uint16_t queue = stream_queue(s);

    if (!max_n || rte_pktmbuf_alloc_bulk(pool, pkts, max_n)) {
        return;
    }
    do {
        fill_packet(s, pkts[n++], now);
    } while (n < max_n && stream_queue(s) == queue);
    sent = send_burst(s->cfg.port, queue, pkts, n);
    if (sent < max_n) {
        rte_pktmbuf_free_bulk(pkts + sent, max_n - sent);
    }
    /* What the ring had no room for was never sent, and is not made up for. */
    s->sent += n;
}

/* Receiving. */

static void
note_latency(const struct rte_mbuf *m, uint64_t now)
{
    const struct stamp *stamp = rte_pktmbuf_mtod_offset(m, struct stamp *,
                                                        HEADERS_LEN);

    if (m->data_len >= HEADERS_LEN + sizeof *stamp
        && stamp->magic == STAMP_MAGIC && stamp->tsc <= now) {
        histogram_add(&latency, now - stamp->tsc);
    }
}

static void
exchange_addresses(struct rte_mbuf *m)
{
    struct rte_ether_hdr *eth = rte_pktmbuf_mtod(m, struct rte_ether_hdr *);
    struct rte_ipv4_hdr *ip = (struct rte_ipv4_hdr *) (eth + 1);
    struct rte_ether_addr mac = eth->src_addr;
    rte_be32_t addr = ip->src_addr;

    eth->src_addr = eth->dst_addr;
    eth->dst_addr = mac;
    ip->src_addr = ip->dst_addr;
    ip->dst_addr = addr;
}

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
        n_noted = atomic_load_explicit(&recording, memory_order_relaxed)
                  ? n : 0;
        for (unsigned int i = 0; i < n_noted; i++) {
            note_latency(pkts[i], now);
        }
    } else {
        if (port->role == TRAFFIC_REFLECT) {
            for (unsigned int i = 0; i < n; i++) {
                exchange_addresses(pkts[i]);
            }
        }
        sent = send_burst(to, queue, pkts, n);
        count(&ports[to].counters.tx_refused, n - sent);
    }
    rte_pktmbuf_free_bulk(pkts + sent, n - sent);
}

/* Returns how many packets came. */
static unsigned int
run_queue(uint16_t number, uint16_t queue)
{
    struct port *port = &ports[number];
    struct rte_mbuf *pkts[BURST];
    unsigned int n = rte_eth_rx_burst(number, queue, pkts, BURST);
    uint64_t bytes = 0;

    if (n) {
        for (unsigned int i = 0; i < n; i++) {
            bytes += pkts[i]->pkt_len;
        }
        count(&port->counters.rx_packets, n);
        count(&port->counters.rx_bytes, bytes);
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
    for (unsigned int i = 0; i < n_ports && sleeps; i++) {
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
