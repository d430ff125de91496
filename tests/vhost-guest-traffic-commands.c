/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-commands.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vhost-guest-io.h"

/* Reads hexadecimal digits into 'bytes'.  Returns how many bytes they are, or
 * -1 if that is not what they are. */
int
parse_hex(const char *s, uint8_t *bytes, size_t max)
{
    size_t n = strlen(s) / 2;

    if (strlen(s) % 2 || n > max) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        /* Alone: all that follows would be looked at each time. */
        const char digits[] = { s[2 * i], s[2 * i + 1], '\0' };

        if (strspn(digits, "0123456789abcdefABCDEF") < 2) {
            return -1;
        }
        bytes[i] = strtoul(digits, NULL, 16);
    }
    return n;
}

static bool
parse_mac(const struct args *args, const char *key, uint8_t mac[6])
{
    const char *value = arg_value(args, key);

    return !value || sscanf(value, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &mac[0],
                            &mac[1], &mac[2], &mac[3], &mac[4], &mac[5]) == 6;
}

static bool
parse_ip(const struct args *args, const char *key, uint32_t *ip)
{
    const char *value = arg_value(args, key);
    struct in_addr in;

    if (!value) {
        return true;
    } else if (inet_pton(AF_INET, value, &in) != 1) {
        return false;
    }
    *ip = ntohl(in.s_addr);
    return true;
}

static bool
parse_template(const struct args *args, struct frame_template *t)
{
    t->udp |= arg_has(args, "udp");
    t->vlan = arg_number(args, "vlan", t->vlan);
    t->port_src = arg_number(args, "sport", t->port_src);
    t->port_dst = arg_number(args, "dport", t->port_dst);
    t->n_flows = arg_number(args, "flows", t->n_flows);
    return parse_mac(args, "dst", t->dst) && parse_mac(args, "src", t->src)
           && parse_ip(args, "ip_src", &t->ip_src)
           && parse_ip(args, "ip_dst", &t->ip_dst);
}

static bool
parse_sizes(const struct guest *g, const struct args *args,
            struct traffic_config *cfg)
{
    const char *sizes = arg_value(args, "size");

    if (sizes) {
        char *end;

        cfg->min_size = cfg->max_size = strtoul(sizes, &end, 0);
        if (*end == '-') {
            cfg->max_size = strtoul(end + 1, NULL, 0);
        }
    }
    return cfg->min_size >= FRAME_MIN && cfg->min_size <= cfg->max_size
           && cfg->max_size <= g->cfg.max_frame;
}

/* Fills 'cfg' from the arguments that all sending and receiving commands
 * have. */
static bool
parse_traffic(struct session *s, const struct args *args,
              struct traffic_config *cfg)
{
    const char *hdr = arg_value(args, "hdr");

    *cfg = s->defaults;
    cfg->count = arg_number(args, "count", cfg->count);
    cfg->rate = arg_number(args, "rate", 0);
    cfg->burst = arg_number(args, "burst", cfg->burst);
    cfg->stream = arg_number(args, "stream", cfg->stream);
    cfg->pair = arg_number(args, "pair", cfg->pair);
    cfg->from = arg_number(args, "from", cfg->from);
    cfg->max_ms = arg_ms(args, "time", 0);
    cfg->timeout_ms = arg_ms(args, "timeout", 0);
    if (!parse_template(args, &cfg->template)) {
        return failed(s, "malformed address");
    } else if (!parse_sizes(&s->g, args, cfg)) {
        return failed(s, "sizes must be from %u to %u", FRAME_MIN,
                      s->g.cfg.max_frame);
    } else if (hdr && parse_hex(hdr, cfg->hdr, sizeof cfg->hdr) < 0) {
        return failed(s, "malformed header");
    } else if (cfg->pair >= (int) s->g.cfg.n_pairs) {
        return failed(s, "there is no queue pair %d", cfg->pair);
    }
    return true;
}

static void
begin(struct session *s, const struct traffic_config *cfg)
{
    traffic_init(&s->traffic, &s->g, cfg);
    memcpy(s->traffic.seq, s->seq, sizeof s->seq);
}

/* Closes what the arguments opened, and goes on counting frames. */
static void
end(struct session *s)
{
    struct traffic *t = &s->traffic;

    if (t->cfg.pcap_in) {
        fclose(t->cfg.pcap_in);
    }
    if (t->cfg.pcap_out) {
        fclose(t->cfg.pcap_out);
    }
    memcpy(s->seq, t->seq, sizeof s->seq);
    traffic_destroy(t);
}

static bool
run_sending(struct session *s, struct traffic_config *cfg)
{
    struct traffic *t = &s->traffic;

    if (s->traffic_runs) {
        return failed(s, "traffic runs");
    }
    if (!cfg->timeout_ms) {
        cfg->timeout_ms = s->g.cfg.timeout_ms;
    }
    begin(s, cfg);
    traffic_run(t);
    end(s);
    if (t->timed_out || (t->unsent && !cfg->leave)) {
        return failed(s, "sent=%"PRIu64" but %"PRIu64" not given back",
                      t->sent, t->unsent);
    }
    return done(s, "sent=%"PRIu64, t->sent);
}

static bool
run_send(struct session *s, const struct args *args)
{
    struct traffic_config cfg;

    if (!parse_traffic(s, args, &cfg)) {
        return false;
    }
    cfg.source = TRAFFIC_PATTERN;
    cfg.leave = arg_has(args, "leave");
    cfg.count = args->n > 1 ? strtoull(args->words[1], NULL, 0) : 1;
    return cfg.count ? run_sending(s, &cfg) : failed(s, "say how many frames");
}

static bool
run_send_hex(struct session *s, const struct args *args)
{
    static uint8_t frame[FRAME_MAX];
    struct traffic_config cfg;

    if (!parse_traffic(s, args, &cfg)) {
        return false;
    }
    int len = args->n > 1 ? parse_hex(args->words[1], frame, sizeof frame)
                          : -1;
    if (len <= 0 || (unsigned int) len > s->g.cfg.max_frame) {
        return failed(s, "say a frame of 1 to %u bytes", s->g.cfg.max_frame);
    }
    cfg.source = TRAFFIC_FIXED;
    cfg.fixed = frame;
    cfg.fixed_len = len;
    cfg.count = cfg.count ? cfg.count : 1;
    return run_sending(s, &cfg);
}

static bool
run_send_pcap(struct session *s, const struct args *args)
{
    struct traffic_config cfg;

    if (!parse_traffic(s, args, &cfg)) {
        return false;
    } else if (s->traffic_runs || args->n < 2) {
        return failed(s, s->traffic_runs ? "traffic runs" : "say which file");
    }
    cfg.source = TRAFFIC_PCAP;
    cfg.pcap_in = pcap_open(args->words[1], &cfg.pcap_swapped);
    if (!cfg.pcap_in) {
        return failed(s, "%s: %s", args->words[1],
                      errno == EPROTO ? "not a pcap file of Ethernet frames"
                                      : strerror(errno));
    }
    return run_sending(s, &cfg);
}

/* Formats what came. */
static void
describe_received(const struct traffic *t, char *buf, size_t size)
{
    const struct frame_tracker *k = &t->tracker;

    snprintf(buf, size, "received=%"PRIu64" good=%"PRIu64" damaged=%"PRIu64
             " lost=%"PRIu64" late=%"PRIu64" foreign=%"PRIu64, t->received,
             k->good, k->damaged, k->lost, k->late, k->foreign);
}

static bool
open_outputs(struct session *s, const struct args *args,
             struct traffic_config *cfg)
{
    const char *pcap = arg_value(args, "pcap");

    cfg->print_hdr = arg_has(args, "print-hdr");
    cfg->print_pair = arg_has(args, "print-pair");
    cfg->print = (cfg->print_hdr || cfg->print_pair || arg_has(args, "print")
                  ? stdout : NULL);
    if (pcap) {
        cfg->pcap_out = pcap_create(pcap);
        if (!cfg->pcap_out) {
            return failed(s, "%s: %s", pcap, strerror(errno));
        }
    }
    return true;
}

static bool
run_recv(struct session *s, const struct args *args)
{
    const struct frame_tracker *k = &s->traffic.tracker;
    struct traffic_config cfg;
    char report[256];

    if (!parse_traffic(s, args, &cfg)) {
        return false;
    } else if (s->traffic_runs) {
        return failed(s, "traffic runs");
    } else if (!open_outputs(s, args, &cfg)) {
        return false;
    }
    cfg.receive = true;
    cfg.expect = args->n > 1 ? strtoull(args->words[1], NULL, 0) : 1;
    if (!cfg.timeout_ms && !cfg.max_ms) {
        cfg.timeout_ms = s->g.cfg.timeout_ms;
    }
    begin(s, &cfg);
    traffic_run(&s->traffic);
    end(s);
    describe_received(&s->traffic, report, sizeof report);
    if (s->traffic.received < cfg.expect) {
        return failed(s, "%s, wanted %"PRIu64, report, cfg.expect);
    } else if (!arg_has(args, "any")
               && (k->damaged || k->lost || k->late || k->foreign)) {
        return failed(s, "%s", report);
    }
    return done(s, "%s", report);
}

/* Receives until nothing comes for a while, but not for ever if somebody goes
 * on sending, and not more than 'expect' frames unless that is 0. */
static bool
receive_leftovers(struct session *s, const struct args *args,
                  uint64_t expect)
{
    struct traffic_config cfg = s->defaults;

    if (s->traffic_runs) {
        return failed(s, "traffic runs");
    }
    cfg.receive = true;
    cfg.expect = expect;
    cfg.timeout_ms = args->n > 1 ? strtod(args->words[1], NULL) * 1000 : 100;
    cfg.max_ms = cfg.timeout_ms + s->g.cfg.timeout_ms;
    begin(s, &cfg);
    traffic_run(&s->traffic);
    end(s);
    return done(s, "received=%"PRIu64, s->traffic.received);
}

static bool
run_drain(struct session *s, const struct args *args)
{
    return receive_leftovers(s, args, 0);
}

static bool
run_silence(struct session *s, const struct args *args)
{
    return receive_leftovers(s, args, 1)
           && (!s->traffic.received || failed(s, "a frame came"));
}

static bool
run_traffic_start(struct session *s, const struct args *args)
{
    struct traffic_config cfg;

    if (!parse_traffic(s, args, &cfg)) {
        return false;
    } else if (s->traffic_runs) {
        return failed(s, "traffic runs");
    } else if (!s->g.queues[0].drv && !s->g.native) {
        return failed(s, "there are no rings: connect first");
    }
    cfg.source = arg_has(args, "tx") ? TRAFFIC_PATTERN : TRAFFIC_NOTHING;
    cfg.reflect = arg_has(args, "echo");
    cfg.receive = cfg.reflect || arg_has(args, "rx");
    cfg.expect = arg_number(args, "expect", 0);
    if (!cfg.source && !cfg.receive) {
        return failed(s, "say \"tx\", \"rx\" or \"echo\"");
    } else if (!open_outputs(s, args, &cfg)) {
        return false;
    }
    begin(s, &cfg);
    int error = traffic_start(&s->traffic);
    if (error) {
        end(s);
        return failed(s, "pthread_create: %s", strerror(error));
    }
    s->traffic_runs = true;
    return done(s, "%s", "");
}

/* Reports on traffic that has ended. */
static bool
traffic_report(struct session *s, const struct args *args)
{
    const struct frame_tracker *k = &s->traffic.tracker;
    const struct traffic *t = &s->traffic;
    char report[256];

    end(s);
    s->traffic_runs = false;
    describe_received(t, report, sizeof report);
    snprintf(s->answer, sizeof s->answer,
             "sent=%"PRIu64" unsent=%"PRIu64" %s reflected=%"PRIu64
             " reflect_dropped=%"PRIu64"%s", t->sent, t->unsent, report,
             t->reflected, t->reflect_dropped,
             t->timed_out ? " (timed out)" : "");
    return !t->timed_out && !t->unsent && !k->damaged
           && !(arg_has(args, "strict") && (k->lost || k->late || k->foreign));
}

static bool
run_traffic_stop(struct session *s, const struct args *args)
{
    if (!s->traffic_runs) {
        return failed(s, "no traffic runs");
    }
    traffic_stop(&s->traffic);
    return traffic_report(s, args);
}

static bool
run_traffic_wait(struct session *s, const struct args *args)
{
    unsigned int ms = arg_ms(args, "timeout", s->g.cfg.timeout_ms);

    if (!s->traffic_runs) {
        return failed(s, "no traffic runs");
    } else if (!traffic_wait(&s->traffic, ms)) {
        pthread_mutex_lock(&s->g.lock);
        failed(s, "traffic still runs: sent=%"PRIu64" received=%"PRIu64,
               s->traffic.sent, s->traffic.received);
        pthread_mutex_unlock(&s->g.lock);
        return false;
    }
    return traffic_report(s, args);
}

static bool
run_layout(struct session *s, const struct args *args)
{
    static const char *const names[] = {
        [GUEST_LAYOUT_ONE] = "one",
        [GUEST_LAYOUT_APART] = "apart",
        [GUEST_LAYOUT_SPLIT] = "split",
        [GUEST_LAYOUT_BYTES] = "bytes",
        [GUEST_LAYOUT_RANDOM] = "random",
    };
    bool tx = arg_has(args, "tx"), rx = arg_has(args, "rx");

    if (args->n < 3 || (!tx && !rx)) {
        return failed(s, "say \"tx\" or \"rx\", and a layout");
    }

    char *name = args->words[args->n - 1];
    char *suffix = strchr(name, '+');
    struct guest_shape shape = { .indirect = suffix };

    if (suffix) {
        if (strcmp(suffix, "+indirect")) {
            return failed(s, "no such layout");
        } else if (!(s->g.features & VRING_F_INDIRECT)) {
            return failed(s, "indirect descriptors were not negotiated");
        }
        *suffix = '\0';
    }
    for (unsigned int i = 0; i < sizeof names / sizeof *names; i++) {
        if (!strcmp(name, names[i])) {
            shape.layout = i;
            pthread_mutex_lock(&s->g.lock);
            if (tx) {
                s->g.tx_shape = shape;
            }
            if (rx) {
                s->g.rx_shape = shape;
            }
            pthread_mutex_unlock(&s->g.lock);
            return done(s, "%s", "");
        }
    }
    return failed(s, "no such layout");
}

/* The counters that "stats" prints and "assert" looks at. */
struct counter {
    const char *name;
    uint64_t value;
};
#define N_COUNTERS 13

static void
get_counters(struct session *s, struct counter counters[N_COUNTERS])
{
    struct guest *g = &s->g;
    uint64_t tx_posted = 0, tx_abandoned = 0, rx_posted = 0;

    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues; i++) {
        const struct guest_queue *q = &g->queues[i];

        *(q->is_rx ? &rx_posted : &tx_posted) += q->posted;
        tx_abandoned += q->is_rx ? 0 : q->abandoned;
    }
    const struct counter values[N_COUNTERS] = {
        { "tx_posted", tx_posted },
        { "tx_frames", g->counts.tx_frames },
        { "tx_bytes", g->counts.tx_bytes },
        { "tx_abandoned", tx_abandoned },
        { "rx_posted", rx_posted },
        { "rx_frames", g->counts.rx_frames },
        { "rx_bytes", g->counts.rx_bytes },
        { "rx_errors", g->counts.rx_errors },
        { "kicks", g->counts.kicks },
        { "interrupts", g->counts.interrupts },
        { "lost_interrupts", g->counts.lost_interrupts },
        { "log_checked", g->counts.log_checked },
        { "log_missing", g->counts.log_missing },
    };
    pthread_mutex_unlock(&g->lock);
    memcpy(counters, values, sizeof values);
}

static bool
run_stats(struct session *s, const struct args *args)
{
    struct counter counters[N_COUNTERS];
    size_t n = 0;

    (void) args;
    get_counters(s, counters);
    for (unsigned int i = 0; i < N_COUNTERS; i++) {
        n += snprintf(s->answer + n, sizeof s->answer - n, "%s%s=%"PRIu64,
                      i ? " " : "", counters[i].name, counters[i].value);
    }
    return true;
}

static bool
run_assert(struct session *s, const struct args *args)
{
    struct counter counters[N_COUNTERS];

    if (args->n != 4) {
        return failed(s, "say a counter, an operator and a value");
    }
    const char *op = args->words[2];
    uint64_t want = strtoull(args->words[3], NULL, 0);

    get_counters(s, counters);
    for (unsigned int i = 0; i < N_COUNTERS; i++) {
        uint64_t v = counters[i].value;

        if (strcmp(counters[i].name, args->words[1])) {
            continue;
        } else if ((!strcmp(op, "==") && v == want)
                   || (!strcmp(op, ">=") && v >= want)
                   || (!strcmp(op, "<=") && v <= want)
                   || (!strcmp(op, "!=") && v != want)) {
            return done(s, "%s=%"PRIu64, counters[i].name, v);
        }
        return failed(s, "%s=%"PRIu64", wanted %s %"PRIu64, counters[i].name,
                      v, op, want);
    }
    return failed(s, "no counter %s", args->words[1]);
}

#define SENDING "[size=MIN[-MAX]] [rate=PPS] [burst=N] [pair=N] [stream=N] " \
    "[dst=MAC] [src=MAC] [vlan=TCI] [udp] [ip_src=A] [ip_dst=A] [sport=N] "  \
    "[dport=N] [flows=N] [hdr=HEX]"

const struct command traffic_commands[] = {
    { "send", "N "SENDING" [timeout=S] [leave]", "send test frames and wait "
      "until the device has given all buffers back, or only until it has got "
      "them all if so asked", run_send },
    { "send-hex", "HEX [count=N] [pair=N] [hdr=HEX]", "send this frame",
      run_send_hex },
    { "send-pcap", "FILE [pair=N] [hdr=HEX]", "send what a file has",
      run_send_pcap },
    { "recv", "N [any] [print|print-hdr|print-pair] [from=N] [pcap=FILE] "
      "[timeout=S]", "receive N frames, from one queue pair if so asked, and "
      "show them, behind the virtio header or the "
      "number of the queue pair if so asked; fails if one is damaged, left "
      "out, late or, unless any, not a test frame", run_recv },
    { "drain", "[S]", "receive until nothing comes for S seconds (0.1), or "
      "the time-out is over", run_drain },
    { "silence", "[S]", "fails if something comes within S seconds",
      run_silence },
    { "traffic-start", "[tx] [rx] [echo] [count=N] [expect=N] [time=S] "
      "[pcap=FILE] "SENDING, "send, receive or reflect in the background, "
      "until stopped, or the counts or time are reached", run_traffic_start },
    { "traffic-stop", "[strict]", "stop, take back all that was sent, report; "
      "fails if a buffer does not come back or a frame is damaged, or if "
      "strict also lost, late or foreign", run_traffic_stop },
    { "traffic-wait", "[timeout=S] [strict]", "the same when it has ended by "
      "itself", run_traffic_wait },
    { "layout", "tx|rx one|apart|split|bytes|random[+indirect]", "how buffers "
      "are cut into descriptors from now on", run_layout },
    { "stats", "", "counters since the start", run_stats },
    { "assert", "COUNTER ==|!=|>=|<= N", "fails if it is not so", run_assert },
    { 0 },
};
