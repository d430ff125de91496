/* SPDX-License-Identifier: Apache-2.0 */

/* vpci-sink: receives packets from a port of vpci-net, and counts them.  See
 * vpci-sink(1). */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "perf-guest/histogram.h"
#include "vpci-packet.h"
#include "vpci-tool.h"

/* How long to sleep until it is looked whether to go on, and with several
 * queues on each of them. */
#define WAIT_US 20000
#define WAIT_ONE_US 500

/* Fields of a report without those of classes, and those of them that are
 * there without latencies. */
#define N_FIELDS 21
#define N_PLAIN_FIELDS 17

/* Numbers that may come late. */
#define WINDOW 4096

/* What has come of a stream of numbered packets. */
struct stream {
    uint64_t next;              /* Behind the highest number that has come. */
    uint64_t seen[WINDOW / 64]; /* Those of the last WINDOW ones. */
};

struct counts {
    uint64_t packets;
    uint64_t bytes;
    uint64_t others;            /* Packets that are not of vpci-gen. */
    uint64_t lost;
    uint64_t reordered;
    uint64_t duplicate;
    uint64_t bad;               /* With --check. */
};

static struct {
    struct tool tool;
    bool check;
    uint16_t host;
    struct stream *streams[1 << 16];
    struct counts all;
    struct counts reported;
    double reported_at;
    struct histogram interval;  /* Latencies, in ns. */
    struct histogram total;
    uint64_t max_ns;
} sink = {
    .tool = { .name = "vpci-sink" },
};

static bool
parse_check(const char *s)
{
    (void) s;
    return sink.check = true;
}

static const struct tool_option options[] = {
    { "check", NULL, "check lengths and checksums of IPv4 and UDP",
      NULL, parse_check },
    { NULL, NULL, NULL, NULL, NULL },
};

static uint64_t
bit(uint64_t number)
{
    return UINT64_C(1) << number % 64;
}

static uint64_t *
word(struct stream *s, uint64_t number)
{
    return &s->seen[number / 64 % (WINDOW / 64)];
}

/* Packet 'number' is at or behind s->next. */
static void
advance(struct stream *s, uint64_t number)
{
    sink.all.lost += number - s->next;
    if (number - s->next >= WINDOW) {
        memset(s->seen, 0, sizeof s->seen);
    } else {
        for (uint64_t i = s->next; i < number; i++) {
            *word(s, i) &= ~bit(i);
        }
    }
    *word(s, number) |= bit(number);
    s->next = number + 1;
}

static void
count_number(struct stream *s, uint64_t number)
{
    if (number >= s->next) {
        advance(s, number);
    } else if (s->next - number <= WINDOW && *word(s, number) & bit(number)) {
        sink.all.duplicate++;
    } else {
        *word(s, number) |= bit(number);
        sink.all.reordered++;
        sink.all.lost -= sink.all.lost > 0;
    }
}

static void
count_stamp(const struct packet_stamp *stamp, int64_t now)
{
    struct stream **s = &sink.streams[stamp->stream];

    if (!*s) {
        /* What came before we were there is not lost. */
        *s = calloc(1, sizeof **s);
        if (!*s) {
            return;
        }
        (*s)->next = stamp->number;
    }
    count_number(*s, stamp->number);
    if (stamp->host == sink.host) {
        uint64_t ns = (now - stamp->time_ns) & PACKET_MASK48;

        histogram_add(&sink.interval, ns);
        histogram_add(&sink.total, ns);
        sink.max_ns = ns > sink.max_ns ? ns : sink.max_ns;
    }
}

static uint32_t
receive(uint32_t queue)
{
    struct tool *t = &sink.tool;
    uint32_t max = TOOL_MAX_BURST, n;
    int64_t now;

    if (t->count && t->count - sink.all.packets < max) {
        max = t->count - sink.all.packets;
    }
    n = vpci_net_rx_burst(t->net, queue, t->bufs, max);
    now = n ? tool_now_ns() : 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct vpci_ring_buf *buf = &t->bufs[i];
        struct packet_stamp stamp;

        sink.all.bytes += buf->len;
        if (packet_read(buf->data, buf->len, &stamp)) {
            count_stamp(&stamp, now);
        } else {
            sink.all.others++;
        }
        if (sink.check) {
            sink.all.bad += !packet_is_sound(buf->data, buf->len);
        }
    }
    sink.all.packets += n;
    return n;
}

/* Adds the packets of each class, if the port has several, to the 'n' fields.
 * Returns how many there are now. */
static unsigned int
add_classes(struct tool_field fields[], unsigned int n)
{
    static const char *const names[VPCI_ABI_MAX_CLASSES] = {
        "class0", "class1", "class2", "class3",
        "class4", "class5", "class6", "class7",
    };
    uint32_t n_classes = sink.tool.info.n_classes;

    for (uint32_t i = 0; n_classes > 1 && i < n_classes; i++) {
        struct vpci_net_class_stats stats;

        vpci_net_get_class_stats(sink.tool.net, VPCI_NET_ALL, i, &stats);
        fields[n++] = (struct tool_field) { names[i], stats.rx_packets, 0 };
    }
    return n;
}

static void
report(const char *kind)
{
    static const struct counts none;
    bool all = !strcmp(kind, "summary");
    const struct counts *c = &sink.all, *old = all ? &none : &sink.reported;
    const struct histogram *h = all ? &sink.total : &sink.interval;
    double now = tool_seconds(&sink.tool);
    double seconds = now - (all ? 0 : sink.reported_at);
    struct vpci_net_stats stats;

    vpci_net_get_stats(sink.tool.net, VPCI_NET_ALL, &stats);
    struct tool_field fields[N_FIELDS + VPCI_ABI_MAX_CLASSES] = {
        { "packets", c->packets - old->packets, 0 },
        { "bytes", c->bytes - old->bytes, 0 },
        { "pps", (c->packets - old->packets) / seconds, 0 },
        { "mbps", (c->bytes - old->bytes) / seconds * 8 / 1e6, 3 },
        { "others", c->others - old->others, 0 },
        { "lost", (double) c->lost - old->lost, 0 },
        { "reordered", c->reordered - old->reordered, 0 },
        { "duplicate", c->duplicate - old->duplicate, 0 },
        { "bad", c->bad - old->bad, 0 },
        { "links", tool_count_links(&sink.tool), 0 },
        { "linked", stats.rx.linked, 0 },
        { "rejected", stats.rx.rejected, 0 },
        { "signals", stats.rx.received, 0 },
        { "spurious", stats.rx.spurious, 0 },
        { "masked", stats.rx.masked, 0 },
        { "meetings", stats.meetings, 0 },
        { "resets", stats.resets, 0 },
        { "latency_p50_us", histogram_quantile(h, 0.5) / 1e3, 1 },
        { "latency_p99_us", histogram_quantile(h, 0.99) / 1e3, 1 },
        { "latency_p999_us", histogram_quantile(h, 0.999) / 1e3, 1 },
        { "latency_max_us", sink.max_ns / 1e3, 1 },
    };
    tool_report(&sink.tool, kind, fields,
                add_classes(fields, sink.total.n ? N_FIELDS : N_PLAIN_FIELDS));
    sink.reported = sink.all;
    sink.reported_at = now;
    histogram_clear(&sink.interval);
}

static void
receive_all(void)
{
    struct tool *t = &sink.tool;
    uint32_t queue = 0, n_idle = 0;

    while (tool_goes_on(t, sink.all.packets)) {
        n_idle = receive(queue) ? 0 : n_idle + 1;
        if (t->sleeps && n_idle >= t->n_queues) {
            vpci_net_rx_wait(t->net, queue,
                             (t->n_queues > 1 ? WAIT_ONE_US
                              : WAIT_US + t->mitigation.us));
        }
        queue = (queue + 1) % t->n_queues;
        if (tool_wants_report(t)) {
            report("interval");
        }
    }
}

/* Says where packets may have been lost, and why: here they never are. */
static void
explain_losses(void)
{
    const struct tool *t = &sink.tool;
    struct vpci_net_stats stats;
    struct rusage usage;

    if (!sink.all.lost) {
        return;
    }
    vpci_net_get_stats(t->net, VPCI_NET_ALL, &stats);
    getrusage(RUSAGE_SELF, &usage);
    fprintf(stderr, "%s: %s: %"PRIu64" packets were lost on the way, and "
            "counted by the switch: \"ovs-vsctl get Interface NAME "
            "statistics\" (ovs_tx_failure_drops: the ring to us was full)%s"
            "\n", t->name, t->address, sink.all.lost, stats.meetings < 2 ? ""
            : ", or in rings when the switch or the keeper went: nobody "
            "counts these");
    if (!t->sleeps && usage.ru_nivcsw > 0) {
        fprintf(stderr, "%s: %s: %ld times the processor was taken away from "
                "us, and the ring has room for %u packets: use fewer "
                "processes that poll than there are processors, or --sleep\n",
                t->name, t->address, usage.ru_nivcsw, t->info.ring_slots);
    }
}

static void
free_streams(void)
{
    for (uint32_t i = 0; i < 1 << 16; i++) {
        free(sink.streams[i]);
    }
}

int
main(int argc, char *argv[])
{
    struct tool *t = &sink.tool;

    tool_parse(t, argc, argv, "receives packets from a port of vpci-net, and "
               "counts them", options);
    t->failed = !tool_open(t);
    if (!t->failed) {
        sink.host = packet_host();
        receive_all();
        report("summary");
        explain_losses();
    }
    free_streams();
    return tool_close(t);
}
