/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-tool.h"

#include <errno.h>
#include <getopt.h>
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
    return tool_parse_double(s, 0.01, 1e9, &current->interval);
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

static const struct tool_option common_options[] = {
    { "count", "N", "end after N packets", parse_count },
    { "duration", "S", "end after S seconds", parse_duration },
    { "queues", "N", "use N queues, 1 to 16 (default: 1)", parse_queues },
    { "mac", "MAC", "tell the switch that this is our address", parse_mac },
    { "sleep", NULL, "sleep while there is nothing to do, instead of polling",
      parse_sleep },
    { "wait", "S", "wait S seconds for the switch, also later\n"
      "(default: 10)", parse_wait },
    { "interval", "S", "print a line every S seconds (default: 1)",
      parse_interval },
    { "json", NULL, "print an object in each line", parse_json },
    { NULL, NULL, NULL, NULL },
};

static void
print_options(const struct tool_option *options)
{
    for (const struct tool_option *o = options; o->name; o++) {
        const char *help = o->help;
        char left[40];

        snprintf(left, sizeof left, "--%s%s%s", o->name, o->value ? "=" : "",
                 o->value ? o->value : "");
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
}

static void __attribute__((noreturn))
print_help(const struct tool *t, const char *purpose,
           const struct tool_option *options)
{
    printf("%s: %s\n"
           "usage: %s [OPTIONS] ADDRESS\n"
           "\n"
           "ADDRESS is unix:PATH, or PATH: the port's ivshmem-path.\n"
           "\n", t->name, purpose, t->name);
    print_options(options);
    print_options(common_options);
    printf("  %-22s  %s\n", "--help", "print this help");
    printf("  %-22s  %s\n", "--version", "print the version");
    exit(TOOL_OK);
}

/* Adds '*options' to those that getopt_long() is to know, whose last is
 * 'n'. */
static unsigned int
add_options(struct option longs[], const struct tool_option *all[],
            unsigned int n, const struct tool_option *options)
{
    for (; options->name && n < MAX_OPTIONS; options++, n++) {
        all[n] = options;
        longs[n] = (struct option) {
            .name = options->name,
            .has_arg = options->value ? required_argument : no_argument,
            .val = FIRST_OPTION + n,
        };
    }
    return n;
}

void
tool_parse(struct tool *t, int argc, char *argv[], const char *purpose,
           const struct tool_option *options)
{
    struct option longs[MAX_OPTIONS + 3];
    const struct tool_option *all[MAX_OPTIONS];
    unsigned int n;
    int c;

    memset(longs, 0, sizeof longs);
    t->n_queues = 1;
    t->wait = 10;
    t->interval = 1;
    current = t;
    n = add_options(longs, all, 0, options);
    n = add_options(longs, all, n, common_options);
    longs[n] = (struct option) { .name = "help", .val = 'h' };
    longs[n + 1] = (struct option) { .name = "version", .val = 'V' };
    while ((c = getopt_long(argc, argv, "hV", longs, NULL)) != -1) {
        if (c == 'h') {
            print_help(t, purpose, options);
        } else if (c == 'V') {
            printf("%s (ovs-vpci) %s\n", t->name, VPCI_VERSION);
            exit(TOOL_OK);
        } else if (c < FIRST_OPTION) {
            fprintf(stderr, "%s: use --help for usage\n", t->name);
            exit(TOOL_USAGE);
        } else if (!all[c - FIRST_OPTION]->parse(optarg)) {
            tool_usage(t, "--%s=%s: that cannot be",
                       all[c - FIRST_OPTION]->name, optarg ? optarg : "");
        }
    }
    if (optind != argc - 1) {
        tool_usage(t, "one ADDRESS is wanted: the port's ivshmem-path");
    }
    t->address = argv[optind];
}

static void
handle_signals(void)
{
    struct sigaction sa = { .sa_handler = interrupt };

    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static bool
make_bufs(struct tool *t)
{
    t->memory = aligned_alloc(VPCI_ABI_LINE,
                              (size_t) TOOL_MAX_BURST * (VPCI_ABI_PAGE * 17));
    if (!t->memory) {
        fprintf(stderr, "%s: no memory for buffers\n", t->name);
        return false;
    }
    tool_reset_bufs(t);
    return true;
}

void
tool_reset_bufs(struct tool *t)
{
    for (int i = 0; i < TOOL_MAX_BURST; i++) {
        t->bufs[i] = (struct vpci_ring_buf) {
            .data = t->memory + (size_t) i * (VPCI_ABI_PAGE * 17),
            .size = VPCI_ABI_PAGE * 17,
        };
    }
}

/* There is no use in waiting any longer, or the user does not want it. */
static bool
gives_up(struct tool *t, int64_t waited_ns)
{
    const struct vpci_net_info *info = &t->info;

    if (interrupted) {
        fprintf(stderr, "%s: %s: interrupted while waiting: %s\n", t->name,
                t->address, info->reason);
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

/* Waits for the carrier. */
static bool
wait_for_switch(struct tool *t)
{
    int64_t start = tool_now_ns();
    char said[sizeof t->info.reason] = "";

    for (;;) {
        int64_t waited = tool_now_ns() - start;

        vpci_net_get_info(t->net, &t->info);
        if (t->info.carrier) {
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
tool_open(struct tool *t)
{
    struct vpci_net_config config = {
        .n_queues = t->n_queues,
        .own_thread = true,
    };
    char reason[256];

    handle_signals();
    if (!make_bufs(t)) {
        return false;
    }
    memcpy(config.mac, t->mac, sizeof config.mac);
    if (vpci_net_open(t->address, &config, &t->net, reason, sizeof reason)) {
        fprintf(stderr, "%s: %s\n", t->name, reason);
        return false;
    }
    if (!wait_for_switch(t)) {
        return false;
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
    }
    t->start_ns = tool_now_ns();
    t->report_ns = t->start_ns + (int64_t) (t->interval * NS);
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

    return (!interrupted && (!t->count || n < t->count)
            && (t->duration <= 0 || now - t->start_ns < t->duration * NS)
            && has_carrier(t, now));
}

bool
tool_wants_report(struct tool *t)
{
    if (tool_now_ns() < t->report_ns) {
        return false;
    }
    t->report_ns += (int64_t) (t->interval * NS);
    return true;
}

void
tool_report(const struct tool *t, const char *kind,
            const struct tool_field fields[], unsigned int n)
{
    if (t->json) {
        printf("{\"kind\": \"%s\", \"seconds\": %.3f", kind, tool_seconds(t));
        for (unsigned int i = 0; i < n; i++) {
            printf(", \"%s\": %.*f", fields[i].name, fields[i].decimals,
                   fields[i].value);
        }
        printf("}\n");
        return;
    }
    printf("%s%.3f s", !strcmp(kind, "summary") ? "in all, " : "",
           tool_seconds(t));
    for (unsigned int i = 0; i < n; i++) {
        printf(", %s %.*f", fields[i].name, fields[i].decimals,
               fields[i].value);
    }
    printf("\n");
}

int
tool_close(struct tool *t)
{
    vpci_net_close(t->net);
    free(t->memory);
    return t->failed ? TOOL_FAILED : TOOL_OK;
}
