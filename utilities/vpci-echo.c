/* SPDX-License-Identifier: Apache-2.0 */

/* vpci-echo: sends packets that come from a port of vpci-net back to where
 * they came from.  See vpci-echo(1). */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <string.h>

#include "vpci-packet.h"
#include "vpci-tool.h"

/* How long to sleep until it is looked whether to go on, and with several
 * queues on each of them; and how long a burst may wait for room. */
#define WAIT_US 20000
#define WAIT_ONE_US 500
#define ROOM_US 100000

static struct {
    struct tool tool;
    uint64_t n_received;
    uint64_t n_sent;
    uint64_t bytes;
    uint64_t n_dropped;
    uint64_t reported;          /* Packets sent, of the last line. */
    double reported_at;
} echo = {
    .tool = { .name = "vpci-echo" },
};

static const struct tool_option options[] = {
    { NULL, NULL, NULL, NULL, NULL },
};

/* Sends 'n' packets, or drops those that there is no room for. */
static void
send_back(uint32_t queue, uint32_t n)
{
    struct tool *t = &echo.tool;
    uint32_t sent = 0;

    for (int tries = 0; tries < 2; tries++) {
        sent += vpci_net_tx_burst(t->net, queue, t->bufs + sent, n - sent);
        if (sent == n || !vpci_net_tx_wait(t->net, queue, ROOM_US)) {
            break;
        }
    }
    for (uint32_t i = 0; i < sent; i++) {
        echo.bytes += t->bufs[i].len;
    }
    echo.n_sent += sent;
    echo.n_dropped += n - sent;
}

static uint32_t
turn(uint32_t queue)
{
    struct tool *t = &echo.tool;
    uint32_t max = TOOL_MAX_BURST, n;

    if (t->count && t->count - echo.n_received < max) {
        max = t->count - echo.n_received;
    }
    n = vpci_net_rx_burst(t->net, queue, t->bufs, max);
    for (uint32_t i = 0; i < n; i++) {
        packet_turn(t->bufs[i].data, t->bufs[i].len);
    }
    if (n) {
        send_back(queue, n);
    }
    echo.n_received += n;
    return n;
}

static void
report(const char *kind)
{
    bool all = !strcmp(kind, "summary");
    double now = tool_seconds(&echo.tool);
    double seconds = now - (all ? 0 : echo.reported_at);
    uint64_t n = echo.n_sent - (all ? 0 : echo.reported);
    struct vpci_net_stats stats;

    vpci_net_get_stats(echo.tool.net, VPCI_NET_ALL, &stats);
    const struct tool_field fields[] = {
        { "packets", n, 0 },
        { "pps", n / seconds, 0 },
        { "dropped", echo.n_dropped, 0 },
        { "refused", stats.tx.refused, 0 },
        { "links", tool_count_links(&echo.tool), 0 },
        { "linked", stats.tx.linked, 0 },
        { "rejected", stats.rx.rejected, 0 },
        { "signals", stats.rx.received, 0 },
        { "spurious", stats.rx.spurious, 0 },
        { "masked", stats.rx.masked, 0 },
        { "meetings", stats.meetings, 0 },
        { "resets", stats.resets, 0 },
    };
    tool_report(&echo.tool, kind, fields, sizeof fields / sizeof *fields);
    echo.reported = echo.n_sent;
    echo.reported_at = now;
}

static void
turn_all(void)
{
    struct tool *t = &echo.tool;
    uint32_t queue = 0, n_idle = 0;

    while (tool_goes_on(t, echo.n_received)) {
        n_idle = turn(queue) ? 0 : n_idle + 1;
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
    for (uint32_t i = 0; i < t->n_queues; i++) {
        vpci_net_tx_flush(t->net, i, ROOM_US);
    }
}

int
main(int argc, char *argv[])
{
    struct tool *t = &echo.tool;

    tool_parse(t, argc, argv, "sends packets back to where they came from",
               options);
    t->failed = !tool_open(t);
    if (!t->failed) {
        turn_all();
        report("summary");
    }
    return tool_close(t);
}
