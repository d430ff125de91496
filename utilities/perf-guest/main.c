/* SPDX-License-Identifier: Apache-2.0 */

/* vpci-perf-guest: the guests of vpci-perf.
 *
 * A DPDK program that sends, receives, forwards and reflects packets on its
 * devices, as commands on its standard input say.  See usage(). */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "stream.h"
#include "traffic.h"

#define MAX_WORDS 16

static void
usage(void)
{
    puts("\
vpci-perf-guest: guests of vpci-perf, one on each DPDK device\n\
usage: vpci-perf-guest [EAL-OPTIONS] -- PORTS QUEUES [sleep|poll] [ADDRESS...]\n\
\n\
Two lcores are needed: the first one waits for commands, the second one moves\n\
packets of devices 0 to PORTS - 1 (--vdev, then those of vpci-net ports at each\n\
ADDRESS), polling, or, with \"sleep\", waiting for interrupts.  Devices have QUEUES queue pairs; every 32 packets of a stream\n\
are sent on another one, each flow always on the same.\n\
Commands, one per line of standard input, each answered by a line that begins\n\
with \"ok\" or \"error\":\n\
  reset                 no port does anything\n\
  stream PORT TO [size=N[,N...]] [flows=N] [classes=N] [train=N] [burst=N]\n\
         [dscp=N] [stamps=0] [rate=PPS]\n\
                        send UDP packets on PORT, to the address of port TO,\n\
                        N of a flow in a row, N at once; without stamps latency is that\n\
                        of others\n\
  sink PORT             count what comes\n\
  reflect PORT          send back what comes\n\
  forward PORT TO       send on TO what comes on PORT\n\
  ping MICROSECONDS     one packet of the first stream at a time\n\
  start                 begin, with counters at 0\n\
  record, hold          begin and end to record latencies\n\
  pause                 streams end, all else goes on\n\
  stats                 the time in seconds, and counters of all ports:\n\
                        tx=PACKETS,BYTES,REFUSED rx=PACKETS,BYTES\n\
  stop                  end; counters, and the latency of what sinks received\n\
  quit");
}

static bool
parse_number(const char *s, uint64_t min, uint64_t max, uint64_t *n)
{
    char *end;

    *n = strtoull(s, &end, 10);
    return *s && (!*end || *end == ',') && *n >= min && *n <= max;
}

static const char *
parse_sizes(const char *list, struct traffic_stream *stream)
{
    uint64_t size;

    stream->n_sizes = 0;
    for (const char *s = list; s; s = strchr(s, ',')) {
        s += *s == ',';
        if (stream->n_sizes >= TRAFFIC_MAX_SIZES
            || !parse_number(s, TRAFFIC_MIN_SIZE, TRAFFIC_MAX_SIZE, &size)) {
            return "size is a list of up to 16 numbers from 60 to 1518";
        }
        stream->sizes[stream->n_sizes++] = size;
    }
    return NULL;
}

static const char *
parse_stream_option(const char *option, struct traffic_stream *stream)
{
    const char *value = strchr(option, '=');
    uint64_t n;

    if (!value++) {
        return "stream options are NAME=VALUE";
    } else if (!strncmp(option, "size=", 5)) {
        return parse_sizes(value, stream);
    } else if (!strncmp(option, "flows=", 6)) {
        if (!parse_number(value, 1, TRAFFIC_MAX_FLOWS, &n)) {
            return "flows is from 1 to 1000000";
        }
        stream->flows = n;
    } else if (!strncmp(option, "classes=", 8)) {
        if (!parse_number(value, 1, 64, &n)) {
            return "classes is from 1 to 64";
        }
        stream->classes = n;
    } else if (!strncmp(option, "train=", 6)) {
        if (!parse_number(value, 1, TRAFFIC_MAX_TRAIN, &n)) {
            return "train is from 1 to 32";
        }
        stream->train = n;
    } else if (!strncmp(option, "burst=", 6)) {
        if (!parse_number(value, 1, STREAM_BURST, &n)) {
            return "burst is from 1 to 32";
        }
        stream->burst = n;
    } else if (!strncmp(option, "dscp=", 5)) {
        if (!parse_number(value, 0, 63, &n)) {
            return "dscp is from 0 to 63";
        }
        stream->dscp = n;
    } else if (!strncmp(option, "stamps=", 7)) {
        if (!parse_number(value, 0, 1, &n)) {
            return "stamps is 0 or 1";
        }
        stream->stamps = n;
    } else if (!strncmp(option, "rate=", 5)) {
        if (!parse_number(value, 0, UINT32_MAX, &n)) {
            return "rate is a number of packets per second";
        }
        stream->rate = n;
    } else {
        return "unknown stream option";
    }
    return NULL;
}

static const char *
parse_port(const char *s, uint16_t *port)
{
    uint64_t n;

    if (!s || !parse_number(s, 0, TRAFFIC_MAX_PORTS - 1, &n)) {
        return "a port is a number from 0 to 31";
    }
    *port = n;
    return NULL;
}

static const char *
run_stream_command(char **words, unsigned int n)
{
    struct traffic_stream stream = {
        .sizes = { 64 }, .n_sizes = 1, .flows = 1, .classes = 1,
        .train = 1, .burst = STREAM_BURST, .stamps = true,
    };
    const char *error = parse_port(words[1], &stream.port);

    if (!error) {
        error = parse_port(words[2], &stream.to);
    }
    for (unsigned int i = 3; i < n && !error; i++) {
        error = parse_stream_option(words[i], &stream);
    }
    return error ? error : traffic_add_stream(&stream);
}

static const char *
run_role_command(char **words, enum traffic_role role)
{
    uint16_t port, to = 0;
    const char *error = parse_port(words[1], &port);

    if (!error && role == TRAFFIC_FORWARD) {
        error = parse_port(words[2], &to);
    }
    return error ? error : traffic_set_role(port, role, to);
}

static const char *
run_ping_command(char **words)
{
    uint64_t interval;

    if (!words[1] || !parse_number(words[1], 0, 1000000, &interval)) {
        return "ping needs microseconds, at most 1000000";
    }
    return traffic_set_ping(interval);
}

static void
print_counters(unsigned int n_ports)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    printf(" time=%.9f", ts.tv_sec + ts.tv_nsec / 1e9);
    for (unsigned int i = 0; i < n_ports; i++) {
        struct traffic_counters c = traffic_counters(i);

        printf(" %u:tx=%"PRIu64",%"PRIu64",%"PRIu64" %u:rx=%"PRIu64",%"PRIu64,
               i, c.tx_packets, c.tx_bytes, c.tx_refused,
               i, c.rx_packets, c.rx_bytes);
    }
}

static void
print_latency(void)
{
    printf(" latency=%.3f,%.3f,%.3f lost_pings=%"PRIu64,
           traffic_latency_us(0.5), traffic_latency_us(0.99),
           traffic_latency_us(0.999), traffic_lost_pings());
}

/* Configuration: only while the traffic thread does not work. */
static const char *
run_setting(char **words, unsigned int n)
{
    const char *name = words[0];

    if (!strcmp(name, "reset")) {
        traffic_reset();
        return NULL;
    } else if (!strcmp(name, "stream")) {
        return run_stream_command(words, n);
    } else if (!strcmp(name, "sink")) {
        return run_role_command(words, TRAFFIC_SINK);
    } else if (!strcmp(name, "reflect")) {
        return run_role_command(words, TRAFFIC_REFLECT);
    } else if (!strcmp(name, "forward")) {
        return run_role_command(words, TRAFFIC_FORWARD);
    } else if (!strcmp(name, "ping")) {
        return run_ping_command(words);
    }
    return "unknown command";
}

/* Runs one command and prints its answer. */
static void
run_command(char **words, unsigned int n, unsigned int n_ports)
{
    static bool running;
    const char *name = words[0], *error = NULL;

    if (!strcmp(name, "start") && !running) {
        traffic_clear();
        traffic_start();
        running = true;
        printf("ok");
    } else if (!strcmp(name, "stop") && running) {
        traffic_stop();
        running = false;
        printf("ok");
        print_counters(n_ports);
        print_latency();
    } else if (!strcmp(name, "stats")) {
        printf("ok");
        print_counters(n_ports);
    } else if (running && (!strcmp(name, "record") || !strcmp(name, "hold"))) {
        traffic_record(!strcmp(name, "record"));
        printf("ok");
    } else if (!strcmp(name, "pause") && running) {
        traffic_pause();
        printf("ok");
    } else {
        error = running ? "not while packets are sent"
                        : run_setting(words, n);
        printf(error ? "error" : "ok");
    }
    printf("%s%s\n", error ? " " : "", error ? error : "");
    fflush(stdout);
}

static void
run_commands(unsigned int n_ports)
{
    char line[1024];

    while (fgets(line, sizeof line, stdin)) {
        char *words[MAX_WORDS + 1] = { NULL }, *save = NULL;
        unsigned int n = 0;

        for (char *s = strtok_r(line, " \n", &save); s && n < MAX_WORDS;
             s = strtok_r(NULL, " \n", &save)) {
            words[n++] = s;
        }
        if (n && !strcmp(words[0], "quit")) {
            break;
        } else if (n) {
            run_command(words, n, n_ports);
        }
    }
}

int
main(int argc, char *argv[])
{
    unsigned int n_ports, n_queues, lcore;
    char *const *addresses;
    bool sleep, polls;
    const char *error;
    int used;

    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        usage();
        return 0;
    }
    signal(SIGPIPE, SIG_IGN);
    used = rte_eal_init(argc, argv);
    if (used < 0 || used + 2 >= argc) {
        fprintf(stderr, "vpci-perf-guest: see --help\n");
        return 2;
    }
    n_ports = strtoul(argv[used + 1], NULL, 10);
    n_queues = strtoul(argv[used + 2], NULL, 10);
    sleep = argv[used + 3] && !strcmp(argv[used + 3], "sleep");
    polls = argv[used + 3] && !strcmp(argv[used + 3], "poll");
    addresses = sleep || polls ? &argv[used + 4] : &argv[used + 3];
    lcore = rte_get_next_lcore(-1, 1, 0);
    error = (lcore >= RTE_MAX_LCORE ? "needs a second lcore (--lcores)"
             : traffic_init(n_ports, n_queues, sleep, addresses,
                            argv + argc - addresses));
    if (error) {
        fprintf(stderr, "vpci-perf-guest: %s\n", error);
        return 1;
    }
    rte_eal_remote_launch(traffic_main, NULL, lcore);
    puts("ready");
    fflush(stdout);
    run_commands(n_ports);
    traffic_quit();
    rte_eal_wait_lcore(lcore);
    /* Devices are not stopped: their peers see the end of the process. */
    return 0;
}
