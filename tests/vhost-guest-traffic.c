/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-traffic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vhost-guest-io.h"

/* Frames received from one ring before the others get their turn. */
#define RX_BATCH 64

/* One wait, so that a stop is noticed. */
#define WAIT_MS 1000

static int64_t
now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

void
traffic_config_init(struct traffic_config *cfg)
{
    static const struct frame_template template = {
        .dst = { 0x02, 0, 0, 0, 0, 0x02 },
        .src = { 0x02, 0, 0, 0, 0, 0x01 },
        .vlan = -1,
        .ip_src = 0x0a000001,
        .ip_dst = 0x0a000002,
        .port_src = 1024,
        .port_dst = 9,
    };

    memset(cfg, 0, sizeof *cfg);
    cfg->template = template;
    cfg->min_size = cfg->max_size = 64;
    cfg->burst = 32;
    cfg->pair = cfg->from = -1;
}

void
traffic_init(struct traffic *t, struct guest *g,
             const struct traffic_config *cfg)
{
    memset(t, 0, sizeof *t);
    t->g = g;
    t->cfg = *cfg;
    t->next_size = cfg->min_size;
    t->scratch = malloc((size_t) FRAME_MAX * (1 + GUEST_MAX_PAIRS));
    if (!t->scratch) {
        abort();
    }
    for (unsigned int i = 0; i < GUEST_MAX_PAIRS; i++) {
        t->pending[i] = t->scratch + (size_t) FRAME_MAX * (i + 1);
    }
}

void
traffic_destroy(struct traffic *t)
{
    free(t->scratch);
    t->scratch = NULL;
}

/* Makes the next frame of the source in 'frame'.  Returns its length, or 0 if
 * there are no more. */
static uint32_t
make_frame(struct traffic *t, unsigned int pair, uint8_t *frame)
{
    struct traffic_config *cfg = &t->cfg;
    uint32_t len = 0;

    switch (cfg->source) {
    case TRAFFIC_NOTHING:
        break;
    case TRAFFIC_PATTERN:
        len = frame_build(&cfg->template, cfg->stream + pair, t->seq[pair]++,
                          frame, t->next_size);
        t->next_size = t->next_size < cfg->max_size ? t->next_size + 1
                                                    : cfg->min_size;
        break;
    case TRAFFIC_FIXED:
        memcpy(frame, cfg->fixed, cfg->fixed_len);
        len = cfg->fixed_len;
        break;
    case TRAFFIC_PCAP:
        len = pcap_read(cfg->pcap_in, cfg->pcap_swapped, frame);
        if (len > t->g->cfg.max_frame) {
            len = t->g->cfg.max_frame;
        }
        break;
    }
    return len;
}

/* Sees to it that a frame for 'pair' is pending.  Returns false if there are
 * no more. */
static bool
prepare_frame(struct traffic *t, unsigned int pair)
{
    if (t->pending_len[pair]) {
        return true;
    } else if (t->cfg.count && t->prepared >= t->cfg.count) {
        return false;
    }
    t->pending_len[pair] = make_frame(t, pair, t->pending[pair]);
    t->prepared += t->pending_len[pair] != 0;
    return t->pending_len[pair];
}

/* Takes the pending frame of a pair that cannot send back: another pair will
 * send one instead. */
static void
unprepare_frame(struct traffic *t, unsigned int pair)
{
    if (t->pending_len[pair] && t->cfg.source != TRAFFIC_PCAP) {
        t->pending_len[pair] = 0;
        t->prepared--;
        t->seq[pair] -= t->cfg.source == TRAFFIC_PATTERN;
        t->source_empty = false;
    }
}

/* Posts one frame on 'q'.  Returns false if there is no room. */
static bool
post_frame(struct traffic *t, struct guest_queue *q, const uint8_t *frame,
           uint32_t len)
{
    uint32_t hdr_len = t->g->hdr_len;
    uint8_t *room = guest_reserve(t->g, q);

    if (!room) {
        return false;
    }
    memcpy(room, t->cfg.hdr, hdr_len);
    memcpy(room + hdr_len, frame, len);
    return guest_post(t->g, q, hdr_len + len);
}

/* Frames that the rate allows now. */
static uint64_t
allowance(const struct traffic *t)
{
    uint64_t due;

    if (!t->cfg.rate) {
        return UINT64_MAX;
    }
    due = (__int128) (now_ns() - t->started_ns) * t->cfg.rate / 1000000000;
    return due > t->sent ? due - t->sent : 0;
}

static unsigned int
send_burst(struct traffic *t, unsigned int pair)
{
    struct guest *g = t->g;
    struct guest_queue *q = &g->queues[2 * pair + 1];
    uint64_t allowed = allowance(t);
    unsigned int n = 0;

    while (n < t->cfg.burst && n < allowed) {
        if (!prepare_frame(t, pair)) {
            t->source_empty = true;
            break;
        } else if (!post_frame(t, q, t->pending[pair],
                               t->pending_len[pair])) {
            break;
        }
        t->pending_len[pair] = 0;
        t->sent++;
        n++;
    }
    if (n) {
        guest_kick(g, q);
    }
    return n;
}

static void
reflect_frame(struct traffic *t, unsigned int pair, uint8_t *frame,
              uint32_t len)
{
    uint8_t mac[6];

    if (len >= FRAME_MIN) {
        memcpy(mac, frame, 6);
        memcpy(frame, frame + 6, 6);
        memcpy(frame + 6, mac, 6);
    }
    if (len <= t->g->cfg.max_frame
        && post_frame(t, &t->g->queues[2 * pair + 1], frame, len)) {
        t->reflected++;
    } else {
        t->reflect_dropped++;
    }
}

static void
take_frame(struct traffic *t, unsigned int pair, uint8_t *frame, uint32_t len)
{
    t->received++;
    frame_track(&t->tracker, frame, len);
    if (t->cfg.pcap_out) {
        pcap_write(t->cfg.pcap_out, frame, len);
    }
    if (t->cfg.print) {
        if (t->cfg.print_pair) {
            fprintf(t->cfg.print, "%u ", pair);
        }
        for (int i = 0; t->cfg.print_hdr && i < 10; i++) {
            fprintf(t->cfg.print, "%02x%s", t->g->rx_hdr[i],
                    i == 9 ? " " : "");
        }
        for (uint32_t i = 0; i < len; i++) {
            fprintf(t->cfg.print, "%02x", frame[i]);
        }
        fputc('\n', t->cfg.print);
    }
    if (t->cfg.reflect) {
        reflect_frame(t, pair, frame, len);
    }
}

static bool
received_all(const struct traffic *t)
{
    return t->cfg.expect && t->received >= t->cfg.expect;
}

static unsigned int
receive_burst(struct traffic *t, unsigned int pair)
{
    struct guest *g = t->g;
    struct guest_queue *q = &g->queues[2 * pair];
    unsigned int n;

    for (n = 0; n < RX_BATCH && !received_all(t); n++) {
        uint32_t len = guest_receive(g, q, t->scratch);

        if (!len) {
            break;
        }
        take_frame(t, pair, t->scratch, len);
    }
    guest_fill_rx(g, q);
    if (n && t->cfg.reflect) {
        guest_kick(g, &g->queues[2 * pair + 1]);
    }
    return n;
}

static bool
may_send_on(const struct traffic *t, unsigned int pair)
{
    return t->cfg.source && t->g->enabled[pair]
           && (!t->source_empty || t->pending_len[pair])
           && (t->cfg.pair < 0 || (unsigned int) t->cfg.pair == pair)
           && !__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE);
}

/* One turn of all rings.  Returns how much was done. */
static unsigned int
turn(struct traffic *t)
{
    struct guest *g = t->g;
    unsigned int n = 0;

    pthread_mutex_lock(&g->lock);
    for (unsigned int pair = 0; pair < g->cfg.n_pairs && !g->frozen; pair++) {
        n += guest_reap_tx(g, &g->queues[2 * pair + 1]);
        if (t->cfg.receive
            && (t->cfg.from < 0 || (unsigned int) t->cfg.from == pair)) {
            n += receive_burst(t, pair);
        }
        if (may_send_on(t, pair)) {
            n += send_burst(t, pair);
        } else {
            unprepare_frame(t, pair);
        }
    }
    pthread_mutex_unlock(&g->lock);
    return n;
}

static uint64_t
count_unsent(const struct guest *g)
{
    uint64_t n = 0;

    for (unsigned int i = 0; i < g->cfg.n_pairs; i++) {
        if (g->enabled[i]) {
            n += guest_in_flight(g, &g->queues[2 * i + 1]);
        }
    }
    return n;
}

static bool
has_ended(const struct traffic *t)
{
    bool stop = __atomic_load_n(&t->stop, __ATOMIC_ACQUIRE);
    bool sent = !t->cfg.source || stop
                || (t->source_empty && t->sent == t->prepared);
    bool received = !t->cfg.receive || received_all(t) || stop;
    uint64_t unsent;

    if (!sent || !received) {
        return false;
    }
    pthread_mutex_lock(&t->g->lock);
    unsent = count_unsent(t->g);
    pthread_mutex_unlock(&t->g->lock);
    return !unsent || t->cfg.leave;
}

/* The longest time to sleep, in ms. */
static unsigned int
sleep_ms(const struct traffic *t)
{
    return t->cfg.rate ? 1 : t->cfg.timeout_ms && t->cfg.timeout_ms < WAIT_MS
                             ? t->cfg.timeout_ms : WAIT_MS;
}

/* Notes a stop, also that which is due by time.  Returns true if even what
 * was to be finished after it has had time enough. */
static bool
check_stop(struct traffic *t, int64_t now)
{
    if (t->cfg.max_ms
        && now - t->started_ns > t->cfg.max_ms * INT64_C(1000000)) {
        __atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
    }
    if (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
        return false;
    } else if (!t->stopped_ns) {
        t->stopped_ns = now;
    }
    return now - t->stopped_ns > t->g->cfg.timeout_ms * INT64_C(1000000);
}

void
traffic_run(struct traffic *t)
{
    int64_t timeout_ns = t->cfg.timeout_ms * INT64_C(1000000);
    int64_t last_progress;

    t->started_ns = last_progress = now_ns();
    for (;;) {
        unsigned int n = turn(t);
        int64_t now = now_ns();

        if (check_stop(t, now)) {
            break;
        } else if (n) {
            last_progress = now;
        } else if (has_ended(t)) {
            break;
        } else if (timeout_ns && now - last_progress > timeout_ns) {
            t->timed_out = true;
            break;
        } else {
            guest_wait(t->g, sleep_ms(t));
        }
    }
    pthread_mutex_lock(&t->g->lock);
    t->unsent = count_unsent(t->g);
    pthread_mutex_unlock(&t->g->lock);
    __atomic_store_n(&t->ended, true, __ATOMIC_RELEASE);
}

static void *
traffic_main(void *t)
{
    traffic_run(t);
    return NULL;
}

int
traffic_start(struct traffic *t)
{
    int error = pthread_create(&t->thread, NULL, traffic_main, t);

    t->threaded = !error;
    return error;
}

static void
join(struct traffic *t)
{
    if (t->threaded) {
        pthread_join(t->thread, NULL);
        t->threaded = false;
    }
}

void
traffic_stop(struct traffic *t)
{
    __atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
    guest_wake(t->g);
    join(t);
}

bool
traffic_wait(struct traffic *t, unsigned int ms)
{
    int64_t deadline = now_ns() + ms * INT64_C(1000000);

    while (!__atomic_load_n(&t->ended, __ATOMIC_ACQUIRE)) {
        if (now_ns() > deadline) {
            return false;
        }
        usleep(1000);
    }
    join(t);
    return true;
}
