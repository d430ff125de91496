/* SPDX-License-Identifier: Apache-2.0 */

/* vpci-gen: sends UDP packets into a port of vpci-net.  See vpci-gen(1). */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "perf-guest/histogram.h"
#include "vpci-packet.h"
#include "vpci-tool.h"

#define NS INT64_C(1000000000)

/* An Ethernet header and the largest packet of IP. */
#define MAX_SIZE (14 + 65535)

/* How long a reply may take, and a burst wait for room until it is looked
 * whether to go on. */
#define REPLY_NS NS
#define WAIT_US 20000

/* How long the switch may take what it was sent when a signal has come. */
#define HURRY_NS NS

/* Priorities that packets have by turns, at most: each is a stream, and so is
 * each queue. */
#define MAX_KINDS 8
#define MAX_STREAMS (MAX_KINDS * VPCI_ABI_MAX_QUEUES)

/* Numbers of an option. */
struct list {
    uint8_t values[MAX_KINDS];
    unsigned int n;
};

static struct {
    struct tool tool;
    struct packet_config packet;
    struct list pcps;
    struct list dscps;
    uint32_t burst;
    uint32_t n_flows;
    double rate;
    bool echo;
    bool has_src_mac;

    uint16_t host;
    uint16_t first_stream;
    struct packet_config kinds[MAX_KINDS];
    unsigned int n_kinds;
    unsigned int kind;          /* Of the next packet. */
    uint64_t numbers[MAX_KINDS][VPCI_ABI_MAX_QUEUES];
    uint64_t n_sent;
    uint64_t reported;          /* Packets, of the last line. */
    double reported_at;

    /* With --echo. */
    uint64_t n_lost;
    struct histogram interval;
    struct histogram all;
    uint64_t max_ns;
} gen = {
    .tool = { .name = "vpci-gen" },
    .packet = {
        .len = 64,
        .src_mac = { 0x02, 0x76, 0x70, 0x63, 0x69, 0x01 },
        .dst_mac = { 0x02, 0x76, 0x70, 0x63, 0x69, 0x02 },
        .src_ip = 0x0a000001,
        .dst_ip = 0x0a000002,
    },
    .burst = 32,
    .n_flows = 1,
};

static bool
parse_size(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, PACKET_MIN_LEN, MAX_SIZE, &n);

    gen.packet.len = n;
    return ok;
}

static bool
parse_rate(const char *s)
{
    /* One packet in years would be due beyond the end of the clock. */
    return (tool_parse_double(s, 0, 1e9, &gen.rate)
            && (gen.rate == 0 || gen.rate >= 0.001));
}

static bool
parse_burst(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 1, TOOL_MAX_BURST, &n);

    gen.burst = n;
    return ok;
}

static bool
parse_flows(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 1, 1000000, &n);

    gen.n_flows = n;
    return ok;
}

/* MAC, IP, or both with a comma between them. */
static bool
parse_end(const char *s, uint8_t mac[6], uint32_t *ip)
{
    char copy[64], *rest;
    struct in_addr in;

    if (strlen(s) >= sizeof copy) {
        return false;
    }
    strcpy(copy, s);
    rest = copy;
    if (strchr(copy, ':')) {
        char *comma = strchr(copy, ',');

        rest = comma ? comma + 1 : NULL;
        if (comma) {
            *comma = '\0';
        }
        if (!tool_parse_mac(copy, mac)) {
            return false;
        }
    }
    if (rest) {
        if (inet_pton(AF_INET, rest, &in) != 1) {
            return false;
        }
        *ip = ntohl(in.s_addr);
    }
    return true;
}

static bool
parse_src(const char *s)
{
    gen.has_src_mac |= strchr(s, ':') != NULL;
    return parse_end(s, gen.packet.src_mac, &gen.packet.src_ip);
}

static bool
parse_dst(const char *s)
{
    return parse_end(s, gen.packet.dst_mac, &gen.packet.dst_ip);
}

/* Numbers from 0 to 'max', with commas between them. */
static bool
parse_list(const char *s, uint64_t max, struct list *list)
{
    char copy[64], *rest = copy, *number;

    if (strlen(s) >= sizeof copy) {
        return false;
    }
    strcpy(copy, s);
    list->n = 0;
    while ((number = strsep(&rest, ",")) != NULL) {
        uint64_t n;

        if (list->n == MAX_KINDS || !tool_parse_u64(number, 0, max, &n)) {
            return false;
        }
        list->values[list->n++] = n;
    }
    return true;
}

static bool
parse_pcp(const char *s)
{
    gen.packet.tagged = true;
    return parse_list(s, 7, &gen.pcps);
}

static bool
parse_vlan(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 0, 4094, &n);

    gen.packet.tagged = true;
    gen.packet.tci = n;
    return ok;
}

static bool
parse_dscp(const char *s)
{
    return parse_list(s, 63, &gen.dscps);
}

static bool
parse_echo(const char *s)
{
    (void) s;
    return gen.echo = true;
}

/* Of packets. */
#define END_WANTED "an Ethernet address, an IPv4 address, or both with a " \
                   "comma between them,"

static const struct tool_option options[] = {
    { "size", "BYTES", "of each packet, from the Ethernet header on, without\n"
      "CRC: 60 (64 with a tag) to what the port takes\n"
      "(default: 64)",
      "a number of bytes from 60 to 65549", parse_size },
    { "rate", "PPS", "packets per second; 0: as many as possible (default)",
      "a number of packets a second from 0.001 to 1e9, or 0 for no limit,",
      parse_rate },
    { "burst", "N", "packets at once, 1 to 64 (default: 32)",
      "a number of packets from 1 to 64", parse_burst },
    { "flows", "N", "UDP flows, 1 to 1000000 (default: 1)",
      "a number of flows from 1 to 1000000", parse_flows },
    { "src", "MAC,IP", "source, either or both",
      END_WANTED, parse_src },
    { "dst", "MAC,IP", "destination, either or both",
      END_WANTED, parse_dst },
    { "vlan", "VID", "VLAN tag with this VID",
      "a VLAN ID from 0 to 4094", parse_vlan },
    { "pcp", "N,...", "VLAN tag with this priority, 0 to 7; up to 8 by turns",
      "a comma-separated list of 1 to 8 priorities from 0 to 7", parse_pcp },
    { "dscp", "N,...", "DSCP, 0 to 63; up to 8 by turns",
      "a comma-separated list of 1 to 8 DSCPs from 0 to 63", parse_dscp },
    { "echo", NULL, "send one packet at a time and wait for it to come back\n"
      "(see vpci-echo(1))", NULL, parse_echo },
    { NULL, NULL, NULL, NULL, NULL },
};

/* Finds out which priorities packets have. */
static void
prepare_kinds(void)
{
    const struct list *pcps = &gen.pcps, *dscps = &gen.dscps;

    gen.n_kinds = pcps->n > dscps->n ? pcps->n : dscps->n;
    gen.n_kinds = gen.n_kinds ? gen.n_kinds : 1;
    for (unsigned int i = 0; i < gen.n_kinds; i++) {
        struct packet_config *kind = &gen.kinds[i];

        *kind = gen.packet;
        kind->tci |= pcps->n ? pcps->values[i % pcps->n] << 13 : 0;
        kind->dscp = dscps->n ? dscps->values[i % dscps->n] : 0;
    }
}

/* Prepares what all packets have in common. */
static bool
prepare(void)
{
    static const uint8_t none[6];
    struct tool *t = &gen.tool;

    if (gen.packet.len > t->info.max_len) {
        fprintf(stderr, "%s: --size=%u: the port takes packets of up to %u "
                "bytes\n", t->name, gen.packet.len, t->info.max_len);
        return false;
    }
    if (!gen.has_src_mac && memcmp(t->info.mac, none, sizeof none)) {
        memcpy(gen.packet.src_mac, t->info.mac, sizeof none);
    }
    gen.host = packet_host();
    while (getrandom(&gen.first_stream, sizeof gen.first_stream, 0)
           != sizeof gen.first_stream) {
        continue;
    }
    gen.first_stream &= ~(MAX_STREAMS - 1);
    prepare_kinds();
    for (int i = 0; i < TOOL_MAX_BURST; i++) {
        packet_init(t->bufs[i].data, &gen.packet);
        t->bufs[i].len = gen.packet.len;
    }
    return true;
}

static uint16_t
stream_of(unsigned int kind, uint32_t queue)
{
    return gen.first_stream + kind * VPCI_ABI_MAX_QUEUES + queue;
}

static void
stamp(unsigned int i, unsigned int kind, uint32_t queue, uint64_t number,
      int64_t now)
{
    struct packet_stamp s = {
        .stream = stream_of(kind, queue),
        .host = gen.host,
        .number = number & PACKET_MASK48,
        .time_ns = now & PACKET_MASK48,
    };

    packet_stamp(gen.tool.bufs[i].data, &gen.kinds[kind],
                 number % gen.n_flows, &s);
}

static void
report(const char *kind)
{
    bool all = !strcmp(kind, "summary");
    double now = tool_seconds(&gen.tool), since = all ? 0 : gen.reported_at;
    uint64_t n = gen.n_sent - (all ? 0 : gen.reported);
    double pps = now > since ? n / (now - since) : 0;
    const struct histogram *h = all ? &gen.all : &gen.interval;
    struct vpci_net_stats stats;

    vpci_net_get_stats(gen.tool.net, VPCI_NET_ALL, &stats);
    const struct tool_field fields[] = {
        { "packets", n, 0 },
        { "bytes", (double) n * gen.packet.len, 0 },
        { "pps", pps, 0 },
        { "mbps", pps * gen.packet.len * 8 / 1e6, 3 },
        { "refused", stats.tx.refused, 0 },
        { "full", stats.tx.full, 0 },
        { "links", tool_count_links(&gen.tool), 0 },
        { "linked", stats.tx.linked, 0 },
        { "signals", stats.tx.injected, 0 },
        { "meetings", stats.meetings, 0 },
        { "resets", stats.resets, 0 },
        { "lost", gen.n_lost, 0 },
        { "rtt_p50_us", histogram_quantile(h, 0.5) / 1e3, 1 },
        { "rtt_p99_us", histogram_quantile(h, 0.99) / 1e3, 1 },
        { "rtt_p999_us", histogram_quantile(h, 0.999) / 1e3, 1 },
        { "rtt_max_us", gen.max_ns / 1e3, 1 },
    };
    tool_report(&gen.tool, kind, fields, gen.echo ? 16 : 11);
    gen.reported = gen.n_sent;
    gen.reported_at = now;
    histogram_clear(&gen.interval);
}

/* Packets that are due now, if there is a rate: at most a burst. */
static uint32_t
n_due(void)
{
    uint32_t n = gen.burst;

    if (gen.tool.count && gen.tool.count - gen.n_sent < n) {
        n = gen.tool.count - gen.n_sent;
    }
    if (gen.rate > 0) {
        double due = tool_seconds(&gen.tool) * gen.rate + 1 - gen.n_sent;

        if (due < 1) {
            tool_sleep_until(&gen.tool, gen.tool.start_ns
                             + (int64_t) (gen.n_sent / gen.rate * NS));
            return 0;
        }
        n = due < n ? due : n;
    }
    return n;
}

/* Makes 'n' packets, from the next kind on, by turns. */
static void
stamp_burst(uint32_t queue, uint32_t n)
{
    int64_t now = tool_now_ns();
    unsigned int kind = gen.kind;
    uint64_t turn = 0;

    for (uint32_t i = 0; i < n; i++) {
        stamp(i, kind, queue, gen.numbers[kind][queue] + turn, now);
        kind = kind + 1 < gen.n_kinds ? kind + 1 : 0;
        turn += kind == gen.kind;
    }
}

/* 'n' packets of the burst have been sent. */
static void
count_sent(uint32_t queue, uint32_t n)
{
    gen.n_sent += n;
    if (gen.n_kinds == 1) {
        gen.numbers[0][queue] += n;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        gen.numbers[gen.kind][queue]++;
        gen.kind = (gen.kind + 1) % gen.n_kinds;
    }
}

static void
send_burst(uint32_t queue)
{
    uint32_t n = n_due(), sent;

    if (!n) {
        return;
    }
    stamp_burst(queue, n);
    sent = vpci_net_tx_burst(gen.tool.net, queue, gen.tool.bufs, n);
    count_sent(queue, sent);
    if (sent < n) {
        vpci_net_tx_wait(gen.tool.net, queue, WAIT_US);
    }
}

/* True if the switch has had its time to take everything: 'waited_ns'. */
static bool
gives_up(int64_t waited_ns)
{
    struct tool *t = &gen.tool;

    if (tool_is_interrupted()) {
        return waited_ns > HURRY_NS || !vpci_net_has_carrier(t->net);
    }
    if (waited_ns > t->wait * NS) {
        fprintf(stderr, "%s: %s: the switch has not taken all packets after "
                "%g seconds\n", t->name, t->address, t->wait);
        t->failed = true;
    }
    return t->failed;
}

/* Waits until the switch has taken everything: what is in a ring when we leave
 * the port is lost. */
static void
flush(void)
{
    int64_t start = tool_now_ns();

    for (uint32_t i = 0; i < gen.tool.n_queues; i++) {
        while (!vpci_net_tx_flush(gen.tool.net, i, WAIT_US)) {
            if (gives_up(tool_now_ns() - start)) {
                return;
            }
        }
    }
}

static void
generate(void)
{
    for (uint32_t queue = 0; tool_goes_on(&gen.tool, gen.n_sent); ) {
        send_burst(queue);
        queue = (queue + 1) % gen.tool.n_queues;
        if (tool_wants_report(&gen.tool)) {
            report("interval");
        }
    }
    flush();
}

/* Takes what has come on 'queue'.  Returns true if packet 'number' of 'stream'
 * is in it. */
static bool
receive_reply(uint32_t queue, uint16_t stream, uint64_t number)
{
    struct vpci_ring_buf *bufs = &gen.tool.bufs[1];
    uint32_t n = vpci_net_rx_burst(gen.tool.net, queue, bufs,
                                   TOOL_MAX_BURST - 1);
    struct packet_stamp s;
    bool found = false;

    for (uint32_t i = 0; i < n; i++) {
        found |= (packet_read(bufs[i].data, bufs[i].len, &s)
                  && s.stream == stream && s.host == gen.host
                  && s.number == number);
    }
    return found;
}

static bool
wait_for_reply(uint16_t stream, uint64_t number, int64_t deadline)
{
    for (;;) {
        for (uint32_t i = 0; i < gen.tool.n_queues; i++) {
            if (receive_reply(i, stream, number)) {
                return true;
            }
        }
        if (tool_now_ns() > deadline || tool_is_interrupted()) {
            return false;
        }
        if (gen.tool.sleeps) {
            vpci_net_rx_wait(gen.tool.net, 0,
                             gen.tool.n_queues > 1 ? 100 : WAIT_US);
        }
    }
}

/* One packet there and back. */
static void
exchange(uint32_t queue)
{
    unsigned int kind = gen.kind;
    uint64_t number = gen.numbers[kind][queue];
    int64_t start = tool_now_ns();

    stamp(0, kind, queue, number, start);
    while (!vpci_net_tx_burst(gen.tool.net, queue, gen.tool.bufs, 1)) {
        if (tool_is_interrupted() || !tool_goes_on(&gen.tool, gen.n_sent)) {
            return;
        }
        vpci_net_tx_wait(gen.tool.net, queue, WAIT_US);
    }
    count_sent(queue, 1);
    if (wait_for_reply(stream_of(kind, queue), number, start + REPLY_NS)) {
        uint64_t ns = tool_now_ns() - start;

        histogram_add(&gen.interval, ns);
        histogram_add(&gen.all, ns);
        gen.max_ns = ns > gen.max_ns ? ns : gen.max_ns;
    } else {
        gen.n_lost += !tool_is_interrupted();
    }
}

static void
exchange_all(void)
{
    uint32_t queue = 0;

    while (tool_goes_on(&gen.tool, gen.n_sent)) {
        if (n_due()) {
            exchange(queue);
            queue = (queue + 1) % gen.tool.n_queues;
        }
        if (tool_wants_report(&gen.tool)) {
            report("interval");
        }
    }
    if (gen.n_sent && !gen.all.n) {
        fprintf(stderr, "%s: %s: no packet has come back: is there a "
                "vpci-echo, and does the switch forward between the two?\n",
                gen.tool.name, gen.tool.address);
        gen.tool.failed = true;
    }
}

int
main(int argc, char *argv[])
{
    struct tool *t = &gen.tool;

    tool_parse(t, argc, argv, "sends UDP packets into a port of vpci-net",
               options);
    if (gen.packet.tagged && gen.packet.len < PACKET_MIN_LEN + 4) {
        tool_usage(t, "--size=%u: with a tag, %d bytes are the least",
                   gen.packet.len, PACKET_MIN_LEN + 4);
    }
    t->failed = !tool_open(t) || !prepare();
    if (!t->failed) {
        if (gen.echo) {
            exchange_all();
        } else {
            generate();
        }
        report("summary");
    }
    return tool_close(t);
}
