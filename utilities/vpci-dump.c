/* SPDX-License-Identifier: Apache-2.0 */

/* vpci-dump: captures what ports of a switch receive and send.  See
 * vpci-dump(1). */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vpci-command.h"
#include "vpci-mirror.h"
#include "vpci-pcapng.h"
#include "vpci-tool.h"

/* How long to sleep until it is looked whether to go on. */
#define WAIT_US 20000

#define MAX_SNAPLEN VPCI_ABI_MAX_LEN

static struct {
    struct tool tool;
    struct mirror mirror;
    const char *file_name;      /* Null: tcpdump; "-": standard output. */
    uint32_t snaplen;

    FILE *file;
    struct command tcpdump;
    pid_t tcpdump_pid;          /* 0: none. */
    bool reader_gone;

    uint64_t n_captured;
    uint64_t bytes;
    uint64_t n_dropped;         /* By the switch, when the capture began... */
    uint64_t n_missed;          /* ...and since then, if 'knows_missed'. */
    bool knows_missed;
    uint64_t reported;
    uint64_t reported_bytes;
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
    },
    .mirror = {
        .program = "vpci-dump",
        .ways = MIRROR_IN | MIRROR_OUT,
    },
    .snaplen = MAX_SNAPLEN,
};

static bool
parse_write(const char *s)
{
    dump.file_name = s;
    return *s != '\0';
}

static bool
parse_count(const char *s)
{
    return tool_parse_u64(s, 1, INT64_MAX, &dump.tool.count);
}

static bool
parse_snaplen(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 14, MAX_SNAPLEN, &n);

    dump.snaplen = n;
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
    return tool_parse_double(s, 0.01, 1e9, &dump.tool.interval);
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
      parse_write },
    { "count", "N", "end after N packets", parse_count },
    { "snaplen", "BYTES", "cut packets, 14 to 65557 (default: do not)",
      parse_snaplen },
    { "in", NULL, "only what the switch receives from the ports", parse_in },
    { "out", NULL, "only what the switch sends to the ports", parse_out },
    { "both", NULL, "what it receives and sends (default)", parse_both },
    { "interval", "S", "print a line every S seconds (default: none)",
      parse_interval },
    { "dir", "DIR", "where the socket of the mirror's port is to be, for us\n"
      "and vpcid (default: Open vSwitch's run directory)", parse_dir },
    { "db", "SERVER", "the database, as of ovs-vsctl --db", parse_db },
    { NULL, NULL, NULL, NULL },
};

static int64_t
real_time_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* Writing has failed: that the reader has had enough is no failure. */
static void
write_failed(void)
{
    if (errno == EPIPE) {
        dump.reader_gone = true;
        return;
    }
    fprintf(stderr, "%s: cannot write to %s: %s\n", dump.tool.name,
            dump.file_name ? dump.file_name : "tcpdump", strerror(errno));
    dump.tool.failed = true;
}

/* True if nobody reads what we would write. */
static bool
has_lost_reader(void)
{
    struct pollfd pfd = { .fd = fileno(dump.file) };

    return (dump.reader_gone
            || (poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLERR | POLLNVAL)));
}

/* Starts a tcpdump that prints what we write to it. */
static FILE *
start_tcpdump(void)
{
    int fd;

    command_add_words(&dump.tcpdump, "tcpdump -n -l -r -");
    dump.tcpdump_pid = command_spawn(&dump.tcpdump, dump.tool.name, &fd,
                                     NULL);
    if (dump.tcpdump_pid < 0) {
        dump.tcpdump_pid = 0;
        fprintf(stderr, "%s: without tcpdump, use --write=FILE\n",
                dump.tool.name);
        return NULL;
    }
    return fdopen(fd, "w");
}

static bool
open_file(void)
{
    struct tool *t = &dump.tool;

    if (!dump.file_name) {
        t->output = stderr;
        dump.file = start_tcpdump();
        return dump.file != NULL;
    }
    if (!strcmp(dump.file_name, "-")) {
        t->output = stderr;
        dump.file = stdout;
        if (isatty(STDOUT_FILENO)) {
            fprintf(stderr, "%s: --write=-: standard output is a terminal, "
                    "and packets are no text: use \"| tcpdump -r -\"\n",
                    t->name);
            return false;
        }
        return true;
    }
    dump.file = fopen(dump.file_name, "w");
    if (!dump.file) {
        fprintf(stderr, "%s: --write=%s: %s\n", t->name, dump.file_name,
                strerror(errno));
    }
    return dump.file != NULL;
}

static void
close_file(void)
{
    if (dump.file && fclose(dump.file) && !dump.reader_gone) {
        write_failed();
    }
    if (dump.tcpdump_pid) {
        command_wait(&dump.tcpdump, dump.tool.name, dump.tcpdump_pid);
    }
    command_free(&dump.tcpdump);
}

/* Begins the file, with the names of all ports. */
static bool
write_head(void)
{
    char names[200] = "";

    for (int i = 0; i < dump.mirror.n_ports; i++) {
        size_t len = strlen(names);

        snprintf(names + len, sizeof names - len, "%s%s", i ? "," : "",
                 dump.mirror.ports[i]);
    }
    setvbuf(dump.file, NULL, _IOFBF, 1 << 18);
    if (!pcapng_begin(dump.file, names, dump.snaplen)
        || fflush(dump.file)) {
        write_failed();
        return false;
    }
    return true;
}

static void
report(const char *kind)
{
    bool all = !strcmp(kind, "summary");
    struct vpci_net_stats stats;

    vpci_net_get_stats(dump.tool.net, VPCI_NET_ALL, &stats);
    const struct tool_field fields[] = {
        { "packets", dump.n_captured - (all ? 0 : dump.reported), 0 },
        { "bytes", dump.bytes - (all ? 0 : dump.reported_bytes), 0 },
        { "meetings", stats.meetings, 0 },
        { "resets", stats.resets, 0 },
        { "missed", dump.n_missed, 0 },
    };
    tool_report(&dump.tool, kind, fields, all && dump.knows_missed ? 5 : 4);
    dump.reported = dump.n_captured;
    dump.reported_bytes = dump.bytes;
}

/* Writes what has come, up to the count.  Returns how many packets those
 * were. */
static unsigned int
capture(void)
{
    struct tool *t = &dump.tool;
    unsigned int max = TOOL_MAX_BURST, n;
    int64_t now;

    if (t->count && t->count - dump.n_captured < max) {
        max = t->count - dump.n_captured;
    }
    n = vpci_net_rx_burst(t->net, 0, t->bufs, max);
    now = real_time_ns();
    for (unsigned int i = 0; i < n; i++) {
        if (!pcapng_packet(dump.file, now, t->bufs[i].data, t->bufs[i].len,
                           dump.snaplen)) {
            write_failed();
            return 0;
        }
        dump.n_captured++;
        dump.bytes += t->bufs[i].len;
    }
    return n;
}

static void
flush_file(void)
{
    if (fflush(dump.file)) {
        write_failed();
    }
}

static void
capture_all(void)
{
    struct tool *t = &dump.tool;

    while (!t->failed && tool_goes_on(t, dump.n_captured)
           && !has_lost_reader()) {
        if (!capture()) {
            flush_file();
            vpci_net_rx_wait(t->net, 0, WAIT_US);
        }
        if (tool_wants_report(t)) {
            report("interval");
        }
    }
}

/* Writes what is in the ring still, and the last block. */
static void
finish_file(void)
{
    struct tool *t = &dump.tool;

    while (!t->failed && !dump.reader_gone
           && (!t->count || dump.n_captured < t->count) && capture()) {
        continue;
    }
    if (!t->failed && !dump.reader_gone
        && (!pcapng_statistics(dump.file, real_time_ns(),
                               dump.n_captured + dump.n_missed, dump.n_missed)
            || fflush(dump.file))) {
        write_failed();
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
    fprintf(stderr, ", by mirror %s: until it is removed, these packets pass "
            "the switch, which copies them, and no links\n", m->name);
}

/* Takes mirror and port away. */
static void
put_back(void)
{
    struct tool *t = &dump.tool;
    uint64_t n;

    if (dump.knows_missed) {
        dump.knows_missed = mirror_dropped(&dump.mirror, &n);
        dump.n_missed = dump.knows_missed ? n - dump.n_dropped : 0;
    }
    if (!mirror_remove(&dump.mirror)) {
        t->failed = true;
        return;
    }
    mirror_settle(&dump.mirror);
    fprintf(stderr, "%s: mirror %s is removed: everything is as before\n",
            t->name, dump.mirror.name);
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
    mirror_settle(&dump.mirror);
    dump.knows_missed = mirror_dropped(&dump.mirror, &dump.n_dropped);
    say_begin();
    t->failed = !write_head();
    capture_all();
    put_back();
    finish_file();
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
    m->ports = t->operands;
    m->n_ports = t->n_operands;
    t->address = m->path;
    tool_handle_signals();
    t->failed = !mirror_prepare(m) || !open_file();
    if (!t->failed && !tool_is_interrupted()) {
        t->failed = !mirror_add(m);
        if (!t->failed) {
            run_mirror();
        }
    }
    close_file();
    free(m->bridge);
    return tool_close(t);
}
