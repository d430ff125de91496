/* SPDX-License-Identifier: Apache-2.0 */

/* vpci-dump: captures what ports of a switch receive and send.  See
 * vpci-dump(1). */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vpci-capture.h"
#include "vpci-mirror.h"
#include "vpci-tool.h"

#define NS INT64_C(1000000000)

/* How often to look whether to go on, and whether the ports are there. */
#define WAIT_US 20000
#define LOOK_NS (2 * NS)

/* A switch that has not shown for so long that it is alive is none. */
#define DEAD_MS 3000

#define MAX_SNAPLEN VPCI_ABI_MAX_LEN

static struct {
    struct tool tool;
    struct mirror mirror;
    struct capture capture;
    bool has_interval;
    bool no_switch;             /* It is silent, or no packets flow. */

    int n_left;                 /* Ports that are captured still. */
    int64_t look_ns;            /* When to look for them next. */

    /* Packets that the switch could not send to us. */
    uint64_t dropped;           /* What the switch said last. */
    uint64_t missed;            /* Since the capture began... */
    bool knows_missed;          /* ...if so. */

    /* By the last line. */
    uint64_t reported;
    uint64_t reported_bytes;
    uint64_t reported_missed;
} dump = {
    .tool = {
        .name = "vpci-dump",
        .operands_name = "PORT...",
        .operands_help = "Each PORT is a port of one bridge, as of "
                         "\"ovs-vsctl list-ports\".\nWithout --write, "
                         "tcpdump prints a line for each packet.",
        .common = "duration wait json",
        .letters = "wcs",
        .sleeps = true,
        .no_links = true,
    },
    .mirror = {
        .program = "vpci-dump",
        .ways = MIRROR_IN | MIRROR_OUT,
    },
    .capture = {
        .program = "vpci-dump",
        .snaplen = MAX_SNAPLEN,
    },
};

static bool
parse_write(const char *s)
{
    dump.capture.file_name = s;
    return *s != '\0';
}

static bool
parse_count(const char *s)
{
    return tool_parse_u64(s, 1, INT64_MAX, &dump.capture.max);
}

static bool
parse_snaplen(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 14, MAX_SNAPLEN, &n);

    dump.capture.snaplen = n;
    return ok;
}

static bool
parse_in(const char *s)
{
    (void) s;
    dump.mirror.ways = MIRROR_IN;
    return true;
}

static bool
parse_out(const char *s)
{
    (void) s;
    dump.mirror.ways = MIRROR_OUT;
    return true;
}

static bool
parse_both(const char *s)
{
    (void) s;
    dump.mirror.ways = MIRROR_IN | MIRROR_OUT;
    return true;
}

static bool
parse_interval(const char *s)
{
    dump.has_interval = true;
    return (tool_parse_double(s, 0, 1e9, &dump.tool.interval)
            && (dump.tool.interval == 0 || dump.tool.interval >= 0.01));
}

static bool
parse_dir(const char *s)
{
    dump.mirror.dir = s;
    return *s == '/';
}

static bool
parse_db(const char *s)
{
    dump.mirror.db = s;
    return *s != '\0';
}

static const struct tool_option options[] = {
    { "write", "FILE", "write packets there, as pcapng; -: standard output",
      "the name of a file, or - for standard output,", parse_write },
    { "count", "N", "end after N packets",
      "a number of packets, 1 or more,", parse_count },
    { "snaplen", "BYTES", "cut packets, 14 to 65557 (default: do not)",
      "a number of bytes from 14 to 65557", parse_snaplen },
    { "in", NULL, "only what the switch receives from the ports",
      NULL, parse_in },
    { "out", NULL, "only what the switch sends to the ports",
      NULL, parse_out },
    { "both", NULL, "what it receives and sends (default)", NULL, parse_both },
    { "interval", "S", "print a line every S seconds, 0: none (default: 1\n"
      "with --write=FILE, else 0)",
      "a number of seconds from 0.01 to 1e9, or 0 for none,",
      parse_interval },
    { "dir", "DIR", "where the socket of the mirror's port is to be, for us\n"
      "and vpcid (default: Open vSwitch's run directory)",
      "the path of a directory, which begins with '/',", parse_dir },
    { "db", "SERVER", "the database, as of ovs-vsctl --db",
      "the address of a database, like unix:PATH,", parse_db },
    { NULL, NULL, NULL, NULL, NULL },
};

/* Standard output, if nothing else goes there. */
static void
choose_output(void)
{
    const char *name = dump.capture.file_name;
    bool has_stdout = name && strcmp(name, "-");

    if (!has_stdout) {
        dump.tool.output = stderr;
    }
    if (!dump.has_interval) {
        dump.tool.interval = has_stdout ? 1 : 0;
    }
}

/* Where packets come from, for the file. */
static bool
open_capture(void)
{
    char names[200] = "";

    for (int i = 0; i < dump.mirror.n_ports; i++) {
        size_t len = strlen(names);

        snprintf(names + len, sizeof names - len, "%s%s", i ? "," : "",
                 dump.mirror.ports[i]);
    }
    return capture_open(&dump.capture, names);
}

/* Counts what the switch has dropped since it was asked last.  Another switch
 * counts from 0 on. */
static void
count_missed(void)
{
    uint64_t n;

    dump.knows_missed = mirror_dropped(&dump.mirror, &n);
    if (dump.knows_missed) {
        dump.missed += n < dump.dropped ? n : n - dump.dropped;
        dump.dropped = n;
    }
}

static void
report(const char *kind)
{
    bool all = !strcmp(kind, "summary");
    uint64_t packets = capture_packets(&dump.capture);
    uint64_t bytes = capture_bytes(&dump.capture);
    struct vpci_net_stats stats;

    vpci_net_get_stats(dump.tool.net, VPCI_NET_ALL, &stats);
    const struct tool_field fields[] = {
        { "packets", packets - (all ? 0 : dump.reported), 0 },
        { "bytes", bytes - (all ? 0 : dump.reported_bytes), 0 },
        { "meetings", stats.meetings, 0 },
        { "resets", stats.resets, 0 },
        { "missed", dump.missed - (all ? 0 : dump.reported_missed), 0 },
    };
    tool_report(&dump.tool, kind, fields, dump.knows_missed ? 5 : 4);
    dump.reported = packets;
    dump.reported_bytes = bytes;
    dump.reported_missed = dump.missed;
}

/* Says so if the mirror is of fewer ports than before.  Without any, there is
 * nothing to capture. */
static void
look_for_ports(void)
{
    struct tool *t = &dump.tool;
    int n;

    if (tool_now_ns() < dump.look_ns) {
        return;
    }
    if (mirror_count_ports(&dump.mirror, &n) && n < dump.n_left) {
        fprintf(stderr, "%s: %d of %d ports are captured no longer: they, or "
                "the mirror, were removed or made anew%s\n", t->name,
                dump.mirror.n_ports - n, dump.mirror.n_ports,
                n ? "" : ": ending");
        dump.n_left = n;
        t->failed |= !n;
    }
    dump.look_ns = tool_now_ns() + LOOK_NS;
}

/* True if the switch is there, or may be there again in time.  One that was
 * killed leaves packets flowing, as it were. */
static bool
awaits_switch(void)
{
    struct tool *t = &dump.tool;
    bool silent;

    vpci_net_get_info(t->net, &t->info);
    silent = !t->lost_ns && t->info.silence_ms > DEAD_MS;
    if (silent && !dump.no_switch) {
        fprintf(stderr, "%s: the switch has not shown for %d seconds that it "
                "is alive: waiting for at most %g seconds\n", t->name,
                DEAD_MS / 1000, t->wait);
    } else if (silent && t->info.silence_ms - DEAD_MS > t->wait * 1000) {
        fprintf(stderr, "%s: the switch has not come back: is ovs-vswitchd "
                "running?\n", t->name);
        t->failed = true;
    } else if (dump.no_switch && !silent && !t->lost_ns) {
        fprintf(stderr, "%s: the switch is alive\n", t->name);
        mirror_refuse_floods(&dump.mirror);
    }
    dump.no_switch = silent || t->lost_ns;
    return !t->failed;
}

/* Looks on while the capture runs. */
static void
watch(void)
{
    struct tool *t = &dump.tool;

    dump.n_left = dump.mirror.n_ports;
    dump.look_ns = t->start_ns + LOOK_NS;
    while (!t->failed && !capture_has_ended(&dump.capture)
           && tool_goes_on(t, 0) && awaits_switch()) {
        usleep(WAIT_US);
        if (!dump.no_switch) {
            look_for_ports();
        }
        if (tool_wants_report(t)) {
            if (!dump.no_switch) {
                count_missed();
            }
            report("interval");
        }
    }
}

static void
say_begin(void)
{
    const struct mirror *m = &dump.mirror;

    fprintf(stderr, "%s: capturing what bridge %s %s%s%s", m->program,
            m->bridge, m->ways & MIRROR_IN ? "receives from" : "",
            m->ways == (MIRROR_IN | MIRROR_OUT) ? " and " : "",
            m->ways & MIRROR_OUT ? "sends to" : "");
    for (int i = 0; i < m->n_ports; i++) {
        fprintf(stderr, "%s %s", i ? "," : "", m->ports[i]);
    }
    fprintf(stderr, ", by mirror %s: until it is removed, the switch copies "
            "these packets\n", m->name);
}

/* Takes mirror and port away. */
static void
put_back(void)
{
    struct tool *t = &dump.tool;

    if (!mirror_remove(&dump.mirror)) {
        t->failed = true;
        return;
    }
    fprintf(stderr, "%s: mirror %s is removed: everything is as before\n",
            t->name, dump.mirror.name);
}

/* What has come until now is captured, or it is said that it is not. */
static void
end_capture(void)
{
    if (dump.no_switch) {
        return;
    }
    if (!capture_catch_up(&dump.capture)) {
        fprintf(stderr, "%s: whoever reads the packets is too slow: the last "
                "ones are not captured\n", dump.tool.name);
    }
    count_missed();
}

/* Captures, between the making and the removal of the mirror. */
static void
run_mirror(void)
{
    struct tool *t = &dump.tool;

    t->failed = !tool_open(t);
    if (t->failed) {
        mirror_explain(&dump.mirror);
        put_back();
        return;
    }
    count_missed();
    dump.missed = 0;
    t->failed = !capture_start(&dump.capture, t->net, t->bufs);
    if (!t->failed) {
        mirror_await(&dump.mirror);
        tool_start_clock(t);
        say_begin();
        watch();
    }
    end_capture();
    put_back();

    /* Only whoever reads the file can hold us up now: let the user decide. */
    tool_heed_signals();
    capture_stop(&dump.capture, dump.missed);
    report("summary");
}

int
main(int argc, char *argv[])
{
    struct tool *t = &dump.tool;
    struct mirror *m = &dump.mirror;
    const char *rundir = getenv("OVS_RUNDIR");

    m->dir = rundir && *rundir ? rundir : VPCI_RUNDIR;
    tool_parse(t, argc, argv, "captures what ports of a switch receive and "
               "send", options);
    choose_output();
    m->ports = t->operands;
    m->n_ports = t->n_operands;
    t->address = m->path;
    tool_handle_signals();
    t->failed = !mirror_prepare(m) || !open_capture();
    if (!t->failed && !capture_has_ended(&dump.capture)
        && !tool_is_interrupted()) {
        t->failed = !mirror_add(m);
        if (!t->failed) {
            run_mirror();
        }
    }
    t->failed |= !capture_close(&dump.capture);
    free(m->bridge);
    return tool_close(t);
}
