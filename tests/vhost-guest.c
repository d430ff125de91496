/* SPDX-License-Identifier: Apache-2.0 */

/* A scriptable vhost-user front end: guest and virtual machine monitor in one
 * process.  It gives a back end proper and improper guests to serve, and
 * counts exactly. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhost-guest-commands.h"
#include "vhost-guest-hostile.h"

#define DEFAULT_TIMEOUT_MS 5000
#define MAX_LINE 200000

static const struct feature {
    const char *name;
    uint64_t bit;
} feature_names[] = {
    { "csum", UINT64_C(1) << 0 },
    { "guest-csum", UINT64_C(1) << 1 },
    { "mtu", UINT64_C(1) << 3 },
    { "guest-tso4", UINT64_C(1) << 7 },
    { "guest-tso6", UINT64_C(1) << 8 },
    { "guest-ecn", UINT64_C(1) << 9 },
    { "guest-ufo", UINT64_C(1) << 10 },
    { "host-tso4", UINT64_C(1) << 11 },
    { "host-tso6", UINT64_C(1) << 12 },
    { "host-ecn", UINT64_C(1) << 13 },
    { "host-ufo", UINT64_C(1) << 14 },
    { "mergeable", GUEST_F_MERGEABLE },
    { "status", UINT64_C(1) << 16 },
    { "ctrl-vq", UINT64_C(1) << 17 },
    { "guest-announce", UINT64_C(1) << 21 },
    { "mq", GUEST_F_MQ },
    { "any-layout", GUEST_F_ANY_LAYOUT },
    { "indirect", VRING_F_INDIRECT },
    { "event-idx", VRING_F_EVENT_IDX },
    { "protocol", GUEST_F_PROTOCOL },
    { "version-1", VRING_F_VERSION_1 },
    { "iommu", UINT64_C(1) << 33 },
    { "packed", VRING_F_PACKED },
    { "in-order", VRING_F_IN_ORDER },
};
#define N_FEATURES (sizeof feature_names / sizeof *feature_names)

struct options {
    struct guest_config guest;
    const char *script;
    const char *commands;
    bool keep_going;
    bool no_start;
};

static void
print_commands(const struct command *c)
{
    for (; c->name; c++) {
        printf("  %s %s\n      %s\n", c->name, c->usage, c->help);
    }
}

static void
usage(void)
{
    printf("vhost-guest: a scriptable vhost-user front end\n"
           "usage: vhost-guest --connect|--listen|--ivshmem PATH "
           "[OPTIONS]\n\n"
           "  --connect PATH        the back end listens\n"
           "  --listen PATH         the back end connects\n"
           "  --ivshmem PATH        device vpci-net instead of virtio-net\n"
           "  --features LIST       by comma: NAME adds, -NAME takes away,\n"
           "                        NAME? adds if offered; by default\n"
           "                        version-1,protocol,mergeable?,indirect?,\n"
           "                        any-layout?,mq? (mq with several pairs)\n"
           "  --queues N            queue pairs (1)\n"
           "  --enable N            of these enabled at start (all)\n"
           "  --ring-size N         descriptors (256)\n"
           "  --rx-buffer BYTES     receive buffer, header included (2048)\n"
           "  --max-frame BYTES     largest frame to send (9216)\n"
           "  --zones N             separate zones of memory (2)\n"
           "  --start-index N       where rings begin (0)\n"
           "  --start-wrap 0|1      wrap counter there, packed rings (1)\n"
           "  --base-zero           say \"base 0\" at first start, as some\n"
           "                        front ends do with packed rings, too\n"
           "  --interrupts          sleep instead of polling\n"
           "  --timeout SECONDS     bound of every wait (5)\n"
           "  -c COMMANDS           run these, separated by semicolons\n"
           "  --script FILE         run the lines of FILE (- or none: stdin)\n"
           "  --keep-going          do not end at the first failure\n"
           "  --no-start            do not connect at once\n\n"
           "Each command answers one line, \"NAME: ok ...\" or \"NAME: error "
           "...\"; \"!\" before\na command turns its success round.  Exit "
           "status 1 if one failed.  A \"#\" begins\na comment.\n\n"
           "feature names:");
    for (unsigned int i = 0; i < N_FEATURES; i++) {
        printf(" %s", feature_names[i].name);
    }
    printf(" 0xBITS\n\nthe device:\n");
    print_commands(control_commands);
    printf("\nframes:\n");
    print_commands(traffic_commands);
    printf("\nhostilities:\n");
    print_commands(hostile_commands);
    printf("\n    kinds for hostile-ring:\n");
    hostile_rings_help(stdout);
    printf("\n    kinds for hostile-message:\n");
    hostile_messages_help(stdout);
}

static void __attribute__((noreturn, format(printf, 1, 2)))
fatal(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "vhost-guest: ");
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static uint64_t
feature_bits(const char *name)
{
    for (unsigned int i = 0; i < N_FEATURES; i++) {
        if (!strcmp(feature_names[i].name, name)) {
            return feature_names[i].bit;
        }
    }

    char *end;
    uint64_t bits = strtoull(name, &end, 0);
    if (*end || end == name) {
        fatal("no feature %s", name);
    }
    return bits;
}

static void
parse_features(char *list, struct guest_config *cfg)
{
    char *save = NULL;

    for (char *name = strtok_r(list, ",", &save); name;
         name = strtok_r(NULL, ",", &save)) {
        size_t n = strlen(name);
        bool optional = n && name[n - 1] == '?';

        if (optional) {
            name[n - 1] = '\0';
        }

        uint64_t bits = feature_bits(name + (*name == '-'));
        if (*name == '-') {
            cfg->features &= ~bits;
        } else {
            cfg->features |= bits;
            cfg->optional = optional ? cfg->optional | bits
                                     : cfg->optional & ~bits;
        }
    }
}

static unsigned long
parse_number(const char *option, const char *s, unsigned long min,
             unsigned long max)
{
    char *end;
    unsigned long n = strtoul(s, &end, 0);

    if (*end || end == s || n < min || n > max) {
        fatal("--%s must be from %lu to %lu, not %s", option, min, max, s);
    }
    return n;
}

enum {
    OPT_CONNECT = 256, OPT_LISTEN, OPT_IVSHMEM, OPT_FEATURES, OPT_QUEUES, OPT_ENABLE,
    OPT_RING_SIZE, OPT_RX_BUFFER, OPT_MAX_FRAME, OPT_ZONES, OPT_START_INDEX,
    OPT_START_WRAP, OPT_BASE_ZERO, OPT_INTERRUPTS, OPT_TIMEOUT, OPT_SCRIPT,
    OPT_KEEP_GOING, OPT_NO_START, OPT_HELP,
};

static const struct option long_options[] = {
    { "connect", required_argument, NULL, OPT_CONNECT },
    { "listen", required_argument, NULL, OPT_LISTEN },
    { "ivshmem", required_argument, NULL, OPT_IVSHMEM },
    { "features", required_argument, NULL, OPT_FEATURES },
    { "queues", required_argument, NULL, OPT_QUEUES },
    { "enable", required_argument, NULL, OPT_ENABLE },
    { "ring-size", required_argument, NULL, OPT_RING_SIZE },
    { "rx-buffer", required_argument, NULL, OPT_RX_BUFFER },
    { "max-frame", required_argument, NULL, OPT_MAX_FRAME },
    { "zones", required_argument, NULL, OPT_ZONES },
    { "start-index", required_argument, NULL, OPT_START_INDEX },
    { "start-wrap", required_argument, NULL, OPT_START_WRAP },
    { "base-zero", no_argument, NULL, OPT_BASE_ZERO },
    { "interrupts", no_argument, NULL, OPT_INTERRUPTS },
    { "timeout", required_argument, NULL, OPT_TIMEOUT },
    { "script", required_argument, NULL, OPT_SCRIPT },
    { "keep-going", no_argument, NULL, OPT_KEEP_GOING },
    { "no-start", no_argument, NULL, OPT_NO_START },
    { "help", no_argument, NULL, OPT_HELP },
    { NULL, 0, NULL, 0 },
};

/* Handles the options whose values are numbers. */
static void
parse_numeric(int option, const char *name, const char *s,
              struct guest_config *cfg)
{
    switch (option) {
    case OPT_QUEUES:
        cfg->n_pairs = parse_number(name, s, 1, GUEST_MAX_PAIRS);
        break;
    case OPT_ENABLE:
        cfg->n_enabled = parse_number(name, s, 0, GUEST_MAX_PAIRS);
        break;
    case OPT_RING_SIZE:
        cfg->ring_size = parse_number(name, s, 1, 32768);
        break;
    case OPT_RX_BUFFER:
        cfg->rx_buffer = parse_number(name, s, 13, 131072);
        break;
    case OPT_MAX_FRAME:
        cfg->max_frame = parse_number(name, s, 64, FRAME_MAX);
        break;
    case OPT_ZONES:
        cfg->n_zones = parse_number(name, s, 1, GUEST_MAX_ZONES);
        break;
    case OPT_START_INDEX:
        cfg->start_idx = parse_number(name, s, 0, 65535);
        break;
    case OPT_START_WRAP:
        cfg->start_wrap = parse_number(name, s, 0, 1);
        break;
    case OPT_TIMEOUT:
        cfg->timeout_ms = strtod(s, NULL) * 1000;
        break;
    }
}

static void
parse_option(int option, const char *name, struct options *o)
{
    struct guest_config *cfg = &o->guest;

    switch (option) {
    case OPT_CONNECT:
    case OPT_LISTEN:
    case OPT_IVSHMEM:
        cfg->path = optarg;
        cfg->listens = option == OPT_LISTEN;
        cfg->native = option == OPT_IVSHMEM;
        break;
    case OPT_FEATURES:
        parse_features(optarg, cfg);
        break;
    case OPT_BASE_ZERO:
        cfg->base_zero = true;
        break;
    case OPT_INTERRUPTS:
        cfg->interrupts = true;
        break;
    case OPT_SCRIPT:
        o->script = optarg;
        break;
    case 'c':
        o->commands = optarg;
        break;
    case OPT_KEEP_GOING:
        o->keep_going = true;
        break;
    case OPT_NO_START:
        o->no_start = true;
        break;
    case OPT_HELP:
        usage();
        exit(0);
    case '?':
        exit(1);
    default:
        parse_numeric(option, name, optarg, cfg);
        break;
    }
}

static void
parse_options(int argc, char *argv[], struct options *o)
{
    int option, index;

    *o = (struct options) {
        .guest = {
            .timeout_ms = DEFAULT_TIMEOUT_MS,
            .features = VRING_F_VERSION_1 | GUEST_F_PROTOCOL
                        | GUEST_F_MERGEABLE | VRING_F_INDIRECT
                        | GUEST_F_ANY_LAYOUT | GUEST_F_MQ,
            .optional = GUEST_F_MERGEABLE | VRING_F_INDIRECT
                        | GUEST_F_ANY_LAYOUT | GUEST_F_MQ,
            .n_pairs = 1,
            .n_enabled = UINT32_MAX,
            .ring_size = 256,
            .rx_buffer = 2048,
            .max_frame = 9216,
            .n_zones = 2,
            .start_wrap = true,
        },
    };
    while ((option = getopt_long(argc, argv, "c:", long_options, &index))
           != -1) {
        parse_option(option, option > 255 ? long_options[index].name : "", o);
    }
    if (!o->guest.path || optind < argc) {
        fatal("say --connect, --listen or --ivshmem with a PATH; see --help");
    }
    if (o->guest.n_enabled > o->guest.n_pairs) {
        o->guest.n_enabled = o->guest.n_pairs;
    }
    if (o->guest.n_pairs == 1) {
        o->guest.features &= ~GUEST_F_MQ;
    }
}

/* Runs the commands of the command line.  Returns true if all succeeded. */
static bool
run_commands(struct session *s, const struct options *o)
{
    char *copy = strdup(o->commands);
    char *save = NULL;
    bool ok = true;

    for (char *line = strtok_r(copy, ";\n", &save);
         line && !s->quit && (ok || o->keep_going);
         line = strtok_r(NULL, ";\n", &save)) {
        ok &= session_run(s, line);
    }
    free(copy);
    return ok;
}

static bool
run_script(struct session *s, const struct options *o)
{
    static char line[MAX_LINE];
    FILE *file = stdin;
    bool ok = true;

    if (o->script && strcmp(o->script, "-")) {
        file = fopen(o->script, "r");
        if (!file) {
            fatal("cannot read %s", o->script);
        }
    }
    while (!s->quit && (ok || o->keep_going)
           && fgets(line, sizeof line, file)) {
        ok &= session_run(s, line);
    }
    if (file != stdin) {
        fclose(file);
    }
    return ok;
}

int
main(int argc, char *argv[])
{
    static struct session s;
    struct options o;
    bool ok = true;

    signal(SIGPIPE, SIG_IGN);
    parse_options(argc, argv, &o);
    guest_init(&s.g, &o.guest);
    traffic_config_init(&s.defaults);

    if (!o.no_start) {
        ok = session_start(&s, false);
        printf("start: %s%s%s\n", ok ? "ok" : "error",
               s.answer[0] ? " " : "", s.answer);
        fflush(stdout);
    }
    if (ok || o.keep_going) {
        ok &= o.commands ? run_commands(&s, &o) : run_script(&s, &o);
    }
    if (s.traffic_runs) {
        char stop[] = "traffic-stop";

        ok &= session_run(&s, stop);
    }
    guest_destroy(&s.g);
    return !ok;
}
