/* SPDX-License-Identifier: Apache-2.0 */

#ifndef PERF_GUEST_TRAFFIC_H
#define PERF_GUEST_TRAFFIC_H 1

/* What the guests of vpci-perf do with packets.
 *
 * One thread, the traffic thread, moves all packets; another one changes what
 * it does, only between traffic_stop() and traffic_start().  Every guest of a
 * measurement may be a port of the same process, so that guests which share a
 * processor take turns burst by burst and not by the scheduler's time slices.
 *
 * Addresses: port N has MAC address 02:00:00:00:00:NN. */

#include <stdbool.h>
#include <stdint.h>

#define TRAFFIC_MAX_PORTS 32
#define TRAFFIC_MAX_QUEUES 16
#define TRAFFIC_MAX_STREAMS 32
#define TRAFFIC_MAX_SIZES 16
#define TRAFFIC_MIN_SIZE 60
#define TRAFFIC_MAX_SIZE 1518
#define TRAFFIC_MAX_FLOWS 1000000
#define TRAFFIC_MAX_TRAIN 32

/* Packets that a port sends. */
struct traffic_stream {
    uint16_t port;
    uint16_t to;                /* Port N: for destination addresses only. */

    /* Lengths in bytes without CRC, taken in turn. */
    uint16_t sizes[TRAFFIC_MAX_SIZES];
    unsigned int n_sizes;

    uint32_t flows;             /* UDP five-tuples, taken in turn: from
                                 * 10.K.0.1 to 10.128+K.0.1, where K is below
                                 * 'classes', with ports that differ. */
    uint32_t classes;
    uint32_t train;             /* Packets of a flow in a row: 1 to 32. */
    uint32_t burst;             /* Packets at once, at most: 1 to 32. */
    uint8_t dscp;               /* 0 to 63: what a class may follow from. */
    bool stamps;                /* Does their latency matter? */
    uint64_t rate;              /* Packets per second; 0: as many as can be. */
};

/* What becomes of packets that a port receives. */
enum traffic_role {
    TRAFFIC_IGNORE,             /* The port is not even polled. */
    TRAFFIC_SINK,               /* Counted. */
    TRAFFIC_FORWARD,            /* Sent on another port. */
    TRAFFIC_REFLECT,            /* Sent back, addresses exchanged. */
};

/* Counters of one port since traffic_clear(). */
struct traffic_counters {
    uint64_t tx_packets;        /* The device has taken them. */
    uint64_t tx_bytes;
    uint64_t tx_refused;        /* Forwarded or reflected; its ring was full. */
    uint64_t rx_packets;
    uint64_t rx_bytes;
};

/* Starts ports 0 to 'n' - 1, with 'n_queues' queue pairs each, and with receive
 * interrupts, of the first queue, if 'sleep': DPDK's first, and then those of
 * libvpci at the 'n_addresses' 'addresses', of which one alone may sleep.
 * Streams send every 32 packets on another queue, each flow always on the same.
 * Returns null or what went wrong. */
const char *traffic_init(unsigned int n, unsigned int n_queues, bool sleep,
                         char *const addresses[], unsigned int n_addresses);

/* All roles become TRAFFIC_IGNORE and there is no stream. */
void traffic_reset(void);
const char *traffic_add_stream(const struct traffic_stream *);

/* 'to' is for TRAFFIC_FORWARD. */
const char *traffic_set_role(uint16_t port, enum traffic_role, uint16_t to);

/* Of the first stream, one packet is sent every 'interval' microseconds, and
 * is waited for, at most 100 ms, until it comes back to a sink. */
const char *traffic_set_ping(uint64_t interval);

/* The traffic thread begins, and ends, to work.  Both return when it has. */
void traffic_start(void);
void traffic_stop(void);

/* Latencies are recorded from now on, or no longer.  They are not after
 * traffic_start(). */
void traffic_record(bool on);

/* Streams end; what is on its way still arrives. */
void traffic_pause(void);

/* Body of the traffic thread.  Returns after traffic_quit(). */
int traffic_main(void *);
void traffic_quit(void);

/* Counters.  Reading them is possible at any time. */
void traffic_clear(void);
struct traffic_counters traffic_counters(uint16_t port);

/* Microseconds from the time that a packet was made to the time that a sink of
 * this process received it: what a share of 'fraction' (0 to 1) of all packets
 * that were received while this was recorded did not exceed.  0 if there were
 * none.  Only while stopped. */
double traffic_latency_us(double fraction);

/* Pings without an answer. */
uint64_t traffic_lost_pings(void);

#endif /* traffic.h */
