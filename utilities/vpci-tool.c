/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-tool.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS INT64_C(1000000000)

/* How long another process may have the port: one that was killed has it until
 * the keeper knows. */
#define BUSY_NS (2 * NS)

/* When to say what we wait for. */
#define QUIET_NS (NS / 2)

/* Of a buffer: room for any packet. */
#define BUF_SIZE (17 * VPCI_ABI_PAGE)

#define MAX_OPTIONS 32
#define FIRST_OPTION 256

static volatile sig_atomic_t interrupted;

static void
interrupt(int signal_number)
{
    (void) signal_number;
    interrupted = 1;
}

bool
tool_is_interrupted(void)
{
    return interrupted;
}

int64_t
tool_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS + ts.tv_nsec;
}

void
tool_sleep_until(const struct tool *t, int64_t when_ns)
{
    int64_t left = when_ns - tool_now_ns();

    if (left > 100000 || (t->sleeps && left > 0)) {
        struct timespec ts;

        left -= t->sleeps ? 0 : 60000;
        left = left < NS / 10 ? left : NS / 10;
        ts = (struct timespec) { .tv_nsec = left };
        nanosleep(&ts, NULL);
    }
}

void
tool_usage(const struct tool *t, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "%s: ", t->name);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "; use --help for usage\n");
    exit(TOOL_USAGE);
}

bool
tool_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *value)
{
    char *end;

    errno = 0;
    *value = strtoull(s, &end, 10);
    return (*s >= '0' && *s <= '9' && !*end && !errno && *value >= min
            && *value <= max);
}

bool
tool_parse_double(const char *s, double min, double max, double *value)
{
    char *end;

    *value = strtod(s, &end);
    return end != s && !*end && *value >= min && *value <= max;
}

bool
tool_parse_mac(const char *s, uint8_t mac[6])
{
    int n = 0;

    return (sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0],
                   &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &n) == 6
            && n == 17 && !s[n]);
}

/* Options of all tools. */
static struct tool *current;

static bool
parse_queues(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 1, VPCI_ABI_MAX_QUEUES, &n);

    current->n_queues = n;
    return ok;
}

static bool
parse_count(const char *s)
{
    return tool_parse_u64(s, 0, INT64_MAX, &current->count);
}

static bool
parse_duration(const char *s)
{
    return tool_parse_double(s, 0, 1e9, &current->duration);
}

static bool
parse_wait(const char *s)
{
    return tool_parse_double(s, 0, 1e9, &current->wait);
}

static bool
parse_interval(const char *s)
{
    return (tool_parse_double(s, 0, 1e9, &current->interval)
            && (current->interval == 0 || current->interval >= 0.01));
}

static bool
parse_mac(const char *s)
{
    return tool_parse_mac(s, current->mac);
}

static bool
parse_json(const char *s)
{
    (void) s;
    return current->json = true;
}

static bool
parse_sleep(const char *s)
{
    (void) s;
    return current->sleeps = true;
}

static bool
parse_no_links(const char *s)
{
    (void) s;
    return current->no_links = true;
}

static bool
parse_rx_usecs(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 0, VPCI_NET_MAX_MITIGATION_US, &n);

    current->mitigation.us = n;
    return ok;
}

static bool
parse_rx_frames(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, 1, UINT32_MAX, &n);

    current->mitigation.packets = n;
    return ok;
}

static bool
parse_port_info(const char *s)
{
    (void) s;
    return current->port_info = true;
}

static const struct tool_option common_options[] = {
    { "count", "N", "end after N packets",
      "a number of packets, or 0 for no limit,", parse_count },
    { "duration", "S", "end after S seconds",
      "a number of seconds up to 1e9, or 0 for no limit,", parse_duration },
    { "queues", "N", "use N queues, 1 to 16 (default: 1)",
      "a number of queues from 1 to 16", parse_queues },
    { "mac", "MAC", "tell the switch that this is our address",
      "an Ethernet address like 02:00:00:00:00:01", parse_mac },
    { "sleep", NULL, "sleep while there is nothing to do, instead of polling",
      NULL, parse_sleep },
    { "rx-usecs", "US", "let packets wait for US microseconds for others\n"
      "(default: 0)",
      "a number of microseconds from 0 to 1000000", parse_rx_usecs },
    { "rx-frames", "N", "until there are N of them (default: half a ring)",
      "a number of packets from 1 to 4294967295", parse_rx_frames },
    { "no-links", NULL, "let all packets go by the switch",
      NULL, parse_no_links },
    { "wait", "S", "wait S seconds for the switch, also later\n"
      "(default: 10)",
      "a number of seconds from 0 to 1e9", parse_wait },
    { "interval", "S", "print a line every S seconds, 0: none (default: 1)",
      "a number of seconds from 0.01 to 1e9, or 0 for none,",
      parse_interval },
    { "json", NULL, "print an object in each line", NULL, parse_json },
    { "port-info", NULL, "print what the switch says of the port, and which\n"
      "links there are after S seconds of --duration, and end",
      NULL, parse_port_info },
    { NULL, NULL, NULL, NULL, NULL },
};

/* The options that a tool has. */
struct options {
    const struct tool_option *all[MAX_OPTIONS];
    unsigned int n;

    /* For getopt_long(). */
    struct option longs[MAX_OPTIONS + 3];
    char shorts[2 * MAX_OPTIONS + 3];
};

static bool
has_common_option(const struct tool *t, const char *name)
{
    size_t len = strlen(name);

    for (const char *s = t->common; s && *s; s += strspn(s, " ")) {
        size_t n = strcspn(s, " ");

        if (n == len && !strncmp(s, name, n)) {
            return true;
        }
        s += n;
    }
    return !t->common;
}

static void
print_option(const struct tool_option *o, char letter)
{
    const char *help = o->help;
    char left[40] = "";

    if (letter) {
        snprintf(left, sizeof left, "-%c, ", letter);
    }
    snprintf(left + strlen(left), sizeof left - strlen(left), "--%s%s%s",
             o->name, o->value ? "=" : "", o->value ? o->value : "");
    for (;;) {
        size_t n = strcspn(help, "\n");

        printf("  %-22s  %.*s\n", left, (int) n, help);
        if (!help[n]) {
            break;
        }
        help += n + 1;
        left[0] = '\0';
    }
}

/* The one-letter name of the tool's own option 'i', or 0. */
static char
letter_of(const struct tool *t, unsigned int i)
{
    return t->letters && i < strlen(t->letters) ? t->letters[i] : '\0';
}

static void __attribute__((noreturn))
print_help(const struct tool *t, const char *purpose,
           const struct options *options)
{
    printf("%s: %s\n"
           "usage: %s [OPTIONS] %s\n"
           "\n"
           "%s\n"
           "\n", t->name, purpose, t->name,
           t->operands_name ? t->operands_name : "ADDRESS",
           t->operands_name ? t->operands_help
           : "ADDRESS is unix:PATH, or PATH: the port's ivshmem-path; or, in a "
             "virtual\nmachine, pci:DDDD:BB:DD.F: its PCI function for the "
             "port (pci: for the only one).");
    for (unsigned int i = 0; i < options->n; i++) {
        print_option(options->all[i], letter_of(t, i));
    }
    printf("  %-22s  %s\n", "--help", "print this help");
    printf("  %-22s  %s\n", "--version", "print the version");
    exit(TOOL_OK);
}

static void
add_option(struct options *options, const struct tool_option *o, char letter)
{
    unsigned int n = options->n++;
    size_t len = strlen(options->shorts);

    options->all[n] = o;
    options->longs[n] = (struct option) {
        .name = o->name,
        .has_arg = o->value ? required_argument : no_argument,
        .val = letter ? letter : (int) (FIRST_OPTION + n),
    };
    if (letter) {
        snprintf(options->shorts + len, sizeof options->shorts - len, "%c%s",
                 letter, o->value ? ":" : "");
    }
}

static void
collect_options(const struct tool *t, const struct tool_option *own,
                struct options *options)
{
    memset(options, 0, sizeof *options);
    for (; own->name && options->n < MAX_OPTIONS; own++) {
        add_option(options, own, letter_of(t, options->n));
    }
    for (const struct tool_option *o = common_options;
         o->name && options->n < MAX_OPTIONS; o++) {
        if (has_common_option(t, o->name)) {
            add_option(options, o, '\0');
        }
    }
    options->longs[options->n]
        = (struct option) { .name = "help", .val = 'h' };
    options->longs[options->n + 1]
        = (struct option) { .name = "version", .val = 'V' };
    strcat(options->shorts, "hV");
}

/* Returns the option that is 'c' for getopt_long(), or null. */
static const struct tool_option *
find_option(const struct options *options, int c)
{
    for (unsigned int i = 0; i < options->n; i++) {
        if (options->longs[i].val == c) {
            return options->all[i];
        }
    }
    return NULL;
}

/* getopt_long() has said which option is wrong: says what is possible. */
static void __attribute__((noreturn))
explain_option(const struct tool *t, const struct tool_option *o)
{
    if (o && o->wanted) {
        tool_usage(t, "--%s: %s is wanted", o->name, o->wanted);
    }
    fprintf(stderr, "%s: use --help for usage\n", t->name);
    exit(TOOL_USAGE);
}

/* Handles what getopt_long() has found. */
static void
parse_option(const struct tool *t, const char *purpose,
             const struct options *options, int c)
{
    const struct tool_option *o = find_option(options, c == '?' ? optopt : c);

    if (c == 'h') {
        print_help(t, purpose, options);
    } else if (c == 'V') {
        printf("%s (ovs-vpci) %s\n", t->name, VPCI_VERSION);
        exit(TOOL_OK);
    }
    if (c == '?' || !o) {
        explain_option(t, o);
    } else if (!o->parse(optarg)) {
        tool_usage(t, "--%s=%s: %s is wanted", o->name, optarg, o->wanted);
    }
}

/* Looks whether there are operands as there should be. */
static void
check_operands(const struct tool *t)
{
    if (t->operands_name) {
        if (!t->n_operands) {
            tool_usage(t, "%s is wanted", t->operands_name);
        }
    } else if (!t->n_operands) {
        tool_usage(t, "one ADDRESS is wanted: the port's ivshmem-path");
    } else if (t->n_operands > 1) {
        tool_usage(t, "'%s' is given, and '%s' as well: one ADDRESS is "
                   "wanted: the port's ivshmem-path", t->operands[0],
                   t->operands[1]);
    }
}

void
tool_parse(struct tool *t, int argc, char *argv[], const char *purpose,
           const struct tool_option *own)
{
    struct options options;
    int c;

    t->n_queues = 1;
    t->wait = 10;
    t->interval = !has_common_option(t, "interval") ? 0 : 1;
    current = t;
    collect_options(t, own, &options);
    while ((c = getopt_long(argc, argv, options.shorts, options.longs, NULL))
           != -1) {
        parse_option(t, purpose, &options, c);
    }
    t->operands = argv + optind;
    t->n_operands = argc - optind;
    check_operands(t);
    if (t->mitigation.packets > 1 && !t->mitigation.us) {
        tool_usage(t, "--rx-frames=%u: say for how long to wait for them, by "
                   "--rx-usecs", t->mitigation.packets);
    }
    t->address = t->operands[0];
}

void
tool_handle_signals(void)
{
    struct sigaction sa = { .sa_handler = interrupt }, old;

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);

    /* Unless nohup(1) says otherwise. */
    if (!sigaction(SIGHUP, NULL, &old) && old.sa_handler != SIG_IGN) {
        sigaction(SIGHUP, &sa, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

void
tool_heed_signals(void)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
}

static void
reset_bufs(struct vpci_ring_buf bufs[TOOL_MAX_BURST], uint8_t *memory)
{
    for (int i = 0; i < TOOL_MAX_BURST; i++) {
        bufs[i] = (struct vpci_ring_buf) {
            .data = memory + (size_t) i * BUF_SIZE,
            .size = BUF_SIZE,
        };
    }
}

uint8_t *
tool_make_bufs(const struct tool *t, struct vpci_ring_buf bufs[TOOL_MAX_BURST])
{
    uint8_t *memory = aligned_alloc(VPCI_ABI_LINE,
                                    (size_t) TOOL_MAX_BURST * BUF_SIZE);

    if (!memory) {
        fprintf(stderr, "%s: no memory for buffers\n", t->name);
        return NULL;
    }
    reset_bufs(bufs, memory);
    return memory;
}

void
tool_reset_bufs(struct tool *t)
{
    reset_bufs(t->bufs, t->memory);
}

/* There is no use in waiting any longer, or the user does not want it. */
static bool
gives_up(struct tool *t, int64_t waited_ns)
{
    const struct vpci_net_info *info = &t->info;

    if (interrupted) {
        fprintf(stderr, "%s: %s: interrupted while waiting: %s\n", t->name,
                t->address, info->reason);
    } else if (info->error == ENOTSOCK || info->error == ENODEV) {
        fprintf(stderr, "%s: %s: %s\n", t->name, t->address, info->reason);
    } else if (info->error == EBUSY && waited_ns > BUSY_NS) {
        fprintf(stderr, "%s: %s: another process has this port: stop it, or "
                "use another port (%s)\n", t->name, t->address, info->reason);
    } else if (waited_ns > t->wait * NS) {
        fprintf(stderr, "%s: %s: no packets flow after %g seconds (%s): %s\n",
                t->name, t->address, t->wait, vpci_net_state_name(info->state),
                info->reason);
    } else {
        return false;
    }
    return true;
}

void
tool_mitigate(const struct tool *t, uint32_t queue, uint32_t n_classes)
{
    static const struct vpci_mitigation at_once;

    for (uint32_t i = 0; i < VPCI_ABI_MAX_CLASSES; i++) {
        bool urgent = n_classes > 1 && i == n_classes - 1;

        vpci_net_rx_set_mitigation(t->net, queue, i,
                                   urgent ? &at_once : &t->mitigation);
    }
}

void
tool_start_clock(struct tool *t)
{
    t->start_ns = tool_now_ns();
    t->report_ns = t->start_ns + (int64_t) (t->interval * NS);
}

bool
tool_wait(struct tool *t)
{
    int64_t start = tool_now_ns();
    char said[sizeof t->info.reason] = "";

    for (;;) {
        int64_t waited = tool_now_ns() - start;

        vpci_net_get_info(t->net, &t->info);
        if (t->info.carrier) {
            tool_start_clock(t);
            return true;
        }
        if (gives_up(t, waited)) {
            return false;
        }
        if (waited > QUIET_NS && strcmp(said, t->info.reason)) {
            strcpy(said, t->info.reason);
            fprintf(stderr, "%s: %s: waiting for at most %g seconds (%s): "
                    "%s\n", t->name, t->address, t->wait,
                    vpci_net_state_name(t->info.state), said);
        }
        usleep(2000);
    }
}

bool
tool_attach(struct tool *t)
{
    struct vpci_net_config config = {
        .n_queues = t->n_queues,
        .features = t->features,
        .own_thread = true,
        .no_links = t->no_links,
    };
    char reason[256];

    tool_handle_signals();
    memcpy(config.mac, t->mac, sizeof config.mac);
    if (vpci_net_open(t->address, &config, &t->net, reason, sizeof reason)) {
        fprintf(stderr, "%s: %s\n", t->name, reason);
        return false;
    }
    tool_start_clock(t);
    return true;
}

bool
tool_open(struct tool *t)
{
    t->memory = tool_make_bufs(t, t->bufs);
    if (!t->memory || !tool_attach(t) || !tool_wait(t)) {
        return false;
    }
    if (t->port_info) {
        tool_print_port_info(t);
    }
    if (t->info.n_queues < t->n_queues) {
        fprintf(stderr, "%s: %s: %u queues are wanted, but the port has %u: "
                "using those\n", t->name, t->address, t->n_queues,
                t->info.n_queues);
        t->n_queues = t->info.n_queues;
    }
    for (uint32_t i = 0; i < t->n_queues; i++) {
        vpci_net_tx_set_polling(t->net, i, !t->sleeps);
        vpci_net_rx_set_polling(t->net, i, !t->sleeps);
        tool_mitigate(t, i, t->info.n_classes);
    }
    return true;
}

double
tool_seconds(const struct tool *t)
{
    return (tool_now_ns() - t->start_ns) / 1e9;
}

/* Returns false if there has been no carrier for too long. */
static bool
has_carrier(struct tool *t, int64_t now)
{
    if (vpci_net_has_carrier(t->net)) {
        if (t->lost_ns) {
            fprintf(stderr, "%s: %s: packets flow again\n", t->name,
                    t->address);
        }
        t->lost_ns = 0;
    } else if (!t->lost_ns) {
        t->lost_ns = now;
        vpci_net_get_info(t->net, &t->info);
        fprintf(stderr, "%s: %s: no packets flow any more: %s\n", t->name,
                t->address, t->info.reason);
    } else if (now - t->lost_ns > t->wait * NS) {
        vpci_net_get_info(t->net, &t->info);
        t->failed = gives_up(t, now - t->lost_ns);
    }
    return !t->failed;
}

bool
tool_goes_on(struct tool *t, uint64_t n)
{
    int64_t now = tool_now_ns();

    return (!interrupted && !t->output_error && (!t->count || n < t->count)
            && (t->duration <= 0 || now - t->start_ns < t->duration * NS)
            && has_carrier(t, now));
}

/* Says that signals come too often, if more of them have done so. */
static void
explain_masks(struct tool *t)
{
    struct vpci_net_stats stats;
    uint64_t n;

    vpci_net_get_stats(t->net, VPCI_NET_ALL, &stats);
    n = stats.rx.masked + stats.tx.masked;
    if (n > t->n_masked) {
        fprintf(stderr, "%s: %s: signals come again and again for nothing "
                "(%"PRIu64" times so far): rings are looked at every "
                "millisecond instead for a while\n", t->name, t->address, n);
    }
    t->n_masked = n;
}

bool
tool_wants_report(struct tool *t)
{
    if (t->interval == 0 || tool_now_ns() < t->report_ns) {
        return false;
    }
    if (t->net) {
        explain_masks(t);
        tool_explain_links(t);
    }
    t->report_ns += (int64_t) (t->interval * NS);
    return true;
}

/* Notes if what was printed goes nowhere.  Who has closed standard output does
 * not want it; somebody who has seen enough wants us to end. */
static void
check_output(struct tool *t)
{
    if (t->output || t->output_error
        || (!fflush(stdout) && !ferror(stdout)) || errno == EBADF) {
        return;
    }
    t->output_error = errno ? errno : EIO;
    if (t->output_error != EPIPE) {
        fprintf(stderr, "%s: cannot write to standard output: %s\n", t->name,
                strerror(t->output_error));
        t->failed = true;
    }
}

static void
print_report(const struct tool *t, FILE *out, const char *kind,
             const struct tool_field fields[], unsigned int n)
{
    if (t->json) {
        fprintf(out, "{\"kind\": \"%s\", \"seconds\": %.3f", kind,
                tool_seconds(t));
        for (unsigned int i = 0; i < n; i++) {
            fprintf(out, ", \"%s\": %.*f", fields[i].name,
                    fields[i].decimals, fields[i].value);
        }
        fprintf(out, "}\n");
        return;
    }
    fprintf(out, "%s%.3f s", !strcmp(kind, "summary") ? "in all, " : "",
            tool_seconds(t));
    for (unsigned int i = 0; i < n; i++) {
        fprintf(out, ", %s %.*f", fields[i].name, fields[i].decimals,
                fields[i].value);
    }
    fprintf(out, "\n");
}

void
tool_report(struct tool *t, const char *kind,
            const struct tool_field fields[], unsigned int n)
{
    errno = 0;
    print_report(t, t->output ? t->output : stdout, kind, fields, n);
    check_output(t);
}

int
tool_close(struct tool *t)
{
    vpci_net_close(t->net);
    free(t->memory);
    return t->failed ? TOOL_FAILED : TOOL_OK;
}
