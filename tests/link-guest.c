/* SPDX-License-Identifier: Apache-2.0 */

/* A guest of vpci-net that does what it is told, line by line, at its standard
 * input, and can lie:
 *
 *     link-guest SOCKET
 *
 *     send-pcap FILE [timeout=S]
 *         sends what a file has, and waits until it has been taken
 *     lie FILE region=ID [hdr=HEX] [timeout=S]
 *         the same by the link with that region, whatever hints say
 *     recv N pcap=FILE linked=FILE [timeout=S]
 *         writes the next N frames to a file, and those of them that came by
 *         links to another one as well; fails if there are fewer
 *     drain S
 *         throws frames away until none comes for S seconds
 *
 * Each command answers one line, "NAME: ok ..." or "NAME: error ...".  Frames
 * are received all the time, in bursts of all sizes.  Of a burst that came by
 * links only in part, nothing counts as having done so. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net-link.h"
#include "vhost-guest-frames.h"

#define BURST 32
#define MAX_LINE 1000

/* Of a wait that somebody may end, and of one for each command. */
#define WAIT_US 20000
#define TIMEOUT_S 30.0

struct frame {
    uint8_t *data;
    uint32_t len;
    bool linked;
};

static struct vpci_net *net;

/* What has been received and nobody has asked for. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct frame *frames;
    size_t n, allocated;
} inbox = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static double
now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void __attribute__((noreturn))
die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static void __attribute__((format(printf, 1, 2)))
answer(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

/* Receiving. */

static void
keep(const struct vpci_ring_buf bufs[], unsigned int n, bool linked)
{
    pthread_mutex_lock(&inbox.mutex);
    for (unsigned int i = 0; i < n; i++) {
        struct frame f = { .len = bufs[i].len, .linked = linked };

        if (inbox.n == inbox.allocated) {
            inbox.allocated = 2 * inbox.allocated + BURST;
            inbox.frames = realloc(inbox.frames,
                                   inbox.allocated * sizeof f);
        }
        f.data = malloc(f.len);
        if (!inbox.frames || !f.data) {
            die("no memory");
        }
        memcpy(f.data, bufs[i].data, f.len);
        inbox.frames[inbox.n++] = f;
    }
    pthread_cond_broadcast(&inbox.changed);
    pthread_mutex_unlock(&inbox.mutex);
}

static void *
receive(void *aux)
{
    static uint8_t room[BURST][VPCI_ABI_MAX_LEN];
    const uint64_t *linked = &net->rx[0].stats.linked;
    unsigned int seed = getpid();

    (void) aux;
    for (;;) {
        unsigned int n = 1 + rand_r(&seed) % BURST;
        struct vpci_ring_buf bufs[BURST];
        uint64_t before = *linked;

        for (unsigned int i = 0; i < n; i++) {
            bufs[i] = (struct vpci_ring_buf) { .data = room[i],
                                               .size = sizeof room[i] };
        }
        n = vpci_net_rx_burst(net, 0, bufs, n);
        if (n) {
            keep(bufs, n, *linked - before == n);
        } else {
            vpci_net_rx_wait(net, 0, WAIT_US);
        }
    }
    return NULL;
}

/* Waits, with the inbox locked, until something comes or 'deadline' is over,
 * which is when it returns false. */
static bool
wait_for_more(double deadline)
{
    struct timespec ts = {
        .tv_sec = deadline,
        .tv_nsec = (deadline - (time_t) deadline) * 1e9,
    };

    return pthread_cond_timedwait(&inbox.changed, &inbox.mutex,
                                  &ts) != ETIMEDOUT;
}

/* Takes the first 'n' frames out of the inbox, which is locked. */
static void
take(size_t n, FILE *all, FILE *linked)
{
    for (size_t i = 0; i < n; i++) {
        const struct frame *f = &inbox.frames[i];

        if (all) {
            pcap_write(all, f->data, f->len);
        }
        if (linked && f->linked) {
            pcap_write(linked, f->data, f->len);
        }
        free(f->data);
    }
    inbox.n -= n;
    if (inbox.n) {
        memmove(inbox.frames, inbox.frames + n,
                inbox.n * sizeof *inbox.frames);
    }
}

/* Commands. */

/* The value of 'key' in the arguments, or null. */
static const char *
value_of(char *const words[], const char *key)
{
    size_t n = strlen(key);

    for (; *words; words++) {
        if (!strncmp(*words, key, n) && (*words)[n] == '=') {
            return *words + n + 1;
        }
    }
    return NULL;
}

static double
deadline_of(char *const words[])
{
    const char *s = value_of(words, "timeout");

    return now_s() + (s ? strtod(s, NULL) : TIMEOUT_S);
}

static void
run_recv(char *const words[])
{
    size_t wanted = words[1] ? strtoul(words[1], NULL, 10) : 0, n;
    const char *pcap = value_of(words, "pcap");
    const char *linked = value_of(words, "linked");
    FILE *pcap_file = pcap ? pcap_create(pcap) : NULL;
    FILE *linked_file = linked ? pcap_create(linked) : NULL;
    double deadline = deadline_of(words);

    if (!pcap_file || !linked_file) {
        answer("recv: error say pcap=FILE and linked=FILE that can be "
               "written");
        return;
    }
    pthread_mutex_lock(&inbox.mutex);
    while (inbox.n < wanted && wait_for_more(deadline)) {
        continue;
    }
    n = inbox.n < wanted ? inbox.n : wanted;
    take(n, pcap_file, linked_file);
    pthread_mutex_unlock(&inbox.mutex);
    fclose(pcap_file);
    fclose(linked_file);
    if (n < wanted) {
        answer("recv: error received=%zu, wanted %zu", n, wanted);
    } else {
        answer("recv: ok received=%zu", n);
    }
}

static void
run_drain(char *const words[])
{
    double pause = words[1] ? strtod(words[1], NULL) : 0.1;
    size_t n = 0;

    pthread_mutex_lock(&inbox.mutex);
    do {
        n += inbox.n;
        take(inbox.n, NULL, NULL);
    } while (wait_for_more(now_s() + pause));
    n += inbox.n;
    take(inbox.n, NULL, NULL);
    pthread_mutex_unlock(&inbox.mutex);
    answer("drain: ok received=%zu", n);
}

/* Sends up to 'n' frames as an honest guest does, or, if 'region' is not 0, by
 * the link with that one.  Returns how many were sent. */
static unsigned int
send_some(uint32_t region, const struct vpci_ring_buf bufs[], unsigned int n)
{
    struct net_worker *w = &net->tx[0];
    unsigned int sent = 0;

    if (!region) {
        return vpci_net_tx_burst(net, 0, bufs, n);
    }
    if (!net_enter(net, w)) {
        return 0;
    }
    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        const struct net_link *link = net->links->slots[i];

        if (link && link->id == region && link->sends
            && vpci_channel_is_current(link->region.channel)) {
            sent = net_send_rings(w, &link->region, &link->policy, 0, bufs,
                                  n);
        }
    }
    net_leave(w);
    return sent;
}

/* Reads the next frames of a file.  Returns how many there are. */
static unsigned int
read_frames(FILE *file, bool swapped, struct vpci_ring_offload offload,
            struct vpci_ring_buf bufs[BURST])
{
    static uint8_t room[BURST][FRAME_MAX];
    unsigned int n = 0;
    uint32_t len;

    while (n < BURST && (len = pcap_read(file, swapped, room[n])) > 0) {
        bufs[n] = (struct vpci_ring_buf) { .data = room[n], .len = len,
                                           .offload = offload };
        n++;
    }
    return n;
}

/* Sends all that a file has.  Returns how many frames that are, and false in
 * '*ok' if some were not taken by 'deadline'. */
static unsigned long
send_file(FILE *file, bool swapped, uint32_t region,
          struct vpci_ring_offload offload, double deadline, bool *ok)
{
    struct vpci_ring_buf bufs[BURST];
    unsigned long total = 0;
    unsigned int n;

    while ((n = read_frames(file, swapped, offload, bufs)) > 0) {
        unsigned int done = 0;

        while (done < n && now_s() < deadline) {
            unsigned int sent = send_some(region, &bufs[done], n - done);

            done += sent;
            if (!sent) {
                vpci_net_tx_wait(net, 0, WAIT_US);
            }
        }
        total += done;
    }
    while (!(*ok = vpci_net_tx_flush(net, 0, WAIT_US))
           && now_s() < deadline) {
        continue;
    }
    return total;
}

/* What 'hex', a virtio header, says. */
static struct vpci_ring_offload
parse_offload(const char *hex)
{
    struct vpci_net_hdr hdr;
    uint8_t bytes[sizeof hdr] = { 0 };

    for (size_t i = 0; i < sizeof bytes && hex && hex[2 * i]; i++) {
        unsigned int byte;

        if (sscanf(&hex[2 * i], "%2x", &byte) != 1) {
            break;
        }
        bytes[i] = byte;
    }
    memcpy(&hdr, bytes, sizeof hdr);
    return vpci_ring_offload_from_hdr(&hdr);
}

static void
run_send(char *const words[])
{
    const char *region = value_of(words, "region");
    struct vpci_net_stats before, after;
    unsigned long n;
    bool swapped, ok;
    FILE *file = words[1] ? pcap_open(words[1], &swapped) : NULL;

    if (!file || !strcmp(words[0], "lie") != !!region) {
        answer("%s: error say a pcap file, and which region to lie by",
               words[0]);
        return;
    }
    vpci_net_get_stats(net, VPCI_NET_ALL, &before);
    n = send_file(file, swapped, region ? strtoul(region, NULL, 10) : 0,
                  parse_offload(value_of(words, "hdr")), deadline_of(words),
                  &ok);
    vpci_net_get_stats(net, VPCI_NET_ALL, &after);
    fclose(file);
    answer("%s: %s sent=%lu refused=%"PRIu64, words[0],
           ok && after.tx.refused == before.tx.refused ? "ok" : "error", n,
           after.tx.refused - before.tx.refused);
}

static void
run(char *line)
{
    char *words[10] = { NULL }, *save = NULL;
    char *word = strtok_r(line, " \n", &save);

    for (int i = 0; word && i < 9; i++) {
        words[i] = word;
        word = strtok_r(NULL, " \n", &save);
    }
    if (!words[0]) {
        return;
    } else if (!strcmp(words[0], "recv")) {
        run_recv(words);
    } else if (!strcmp(words[0], "drain")) {
        run_drain(words);
    } else if (!strcmp(words[0], "send-pcap") || !strcmp(words[0], "lie")) {
        run_send(words);
    } else {
        answer("%s: error there is no such command", words[0]);
    }
}

/* Returns false if nobody serves the port for too long. */
static bool
start(const char *socket)
{
    const struct vpci_net_config config = { .n_queues = 1,
                                            .own_thread = true };
    double deadline = now_s() + TIMEOUT_S;
    pthread_condattr_t attr;
    pthread_t thread;
    char reason[256];

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&inbox.changed, &attr);
    if (vpci_net_open(socket, &config, &net, reason, sizeof reason)) {
        answer("start: error %s: %s", socket, reason);
        return false;
    }
    while (!vpci_net_has_carrier(net)) {
        if (now_s() > deadline) {
            answer("start: error %s: no carrier", socket);
            return false;
        }
        usleep(5000);
    }
    if (pthread_create(&thread, NULL, receive, NULL)) {
        die("pthread_create");
    }
    answer("start: ok");
    return true;
}

int
main(int argc, char *argv[])
{
    char line[MAX_LINE];

    signal(SIGPIPE, SIG_IGN);
    if (argc != 2) {
        fprintf(stderr, "usage: %s SOCKET\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (!start(argv[1])) {
        return EXIT_FAILURE;
    }
    while (fgets(line, sizeof line, stdin)) {
        run(line);
    }
    return EXIT_SUCCESS;
}
