/* SPDX-License-Identifier: Apache-2.0 */

#ifndef PERF_GUEST_TRAFFIC_PRIVATE_H
#define PERF_GUEST_TRAFFIC_PRIVATE_H 1

/* What the traffic thread's parts share: traffic.c for ports of DPDK, and
 * traffic-net.c for those of libvpci. */

#include <stdbool.h>
#include <stdint.h>

#include "stream.h"
#include "traffic.h"

#define BURST STREAM_BURST

/* How long a ping may take, and a sleeper sleeps at most. */
#define PING_TIMEOUT_MS 100

/* Adds packets to counters of 'port'. */
void traffic_count_tx(uint16_t port, uint64_t packets, uint64_t bytes);
void traffic_count_refused(uint16_t port, uint64_t packets);
void traffic_count_rx(uint16_t port, uint64_t packets, uint64_t bytes);

/* True while sinks record the latencies of what they receive. */
bool traffic_records(void);

/* A sink has received the packet at 'data', at TSC 'now'. */
void traffic_note_latency(const void *data, uint32_t len, uint64_t now);

/* Ports of libvpci. */

/* Opens those at the 'n' 'addresses' as ports 'first' and so on.  Returns null
 * or what went wrong. */
const char *traffic_net_open(char *const addresses[], unsigned int n,
                             uint16_t first, unsigned int n_queues,
                             bool sleeps);

/* True if 'port' is one of them. */
bool traffic_net_has(uint16_t port);

/* Makes up to 'max' packets of the stream, for the next of 'n_queues' queues, at
 * TSC 'now', and sends them.  Returns how many. */
unsigned int traffic_net_send(struct stream *, unsigned int n_queues,
                              unsigned int max, uint64_t now);

/* Receives what there is on 'queue' of 'port', and does with it what 'role'
 * asks for.  Returns how many packets came. */
unsigned int traffic_net_receive(uint16_t port, uint16_t queue,
                                 enum traffic_role role, uint16_t to);

/* Sleeps until 'port' has packets, for at most PING_TIMEOUT_MS. */
void traffic_net_sleep(uint16_t port);

#endif /* traffic-private.h */
