/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-capture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vpci-pcapng.h"
#include "vpci-tool.h"

/* How long to sleep until it is looked whether to go on. */
#define WAIT_US 20000

/* How often to look whether all is taken, for how long. */
#define LOOK_US 1000
#define LOOKS 1000

/* Packets in a ring, at most. */
#define MAX_SLOTS (1u << VPCI_ABI_MAX_SLOTS_LOG2)

/* What is written at once. */
#define FILE_BUFFER (1 << 18)

static void
set(bool *flag)
{
    __atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static bool
get(const bool *flag)
{
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static int64_t
real_time_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* Writing has failed: that the reader has had enough is no failure. */
static void
write_failed(struct capture *c)
{
    if (errno == EPIPE) {
        set(&c->reader_gone);
        return;
    }
    fprintf(stderr, "%s: cannot write to %s: %s\n", c->program,
            c->file_name ? c->file_name : "tcpdump", strerror(errno));
    set(&c->failed);
}

/* True if nobody reads what we would write. */
static bool
has_lost_reader(const struct capture *c)
{
    struct pollfd pfd = { .fd = fileno(c->file) };

    return poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLERR | POLLNVAL);
}

/* Starts a tcpdump that prints what we write to it. */
static FILE *
start_tcpdump(struct capture *c)
{
    int fd;

    command_add_words(&c->tcpdump, "tcpdump -n -l -r -");
    c->tcpdump_pid = command_spawn(&c->tcpdump, c->program, &fd, NULL);
    if (c->tcpdump_pid < 0) {
        c->tcpdump_pid = 0;
        fprintf(stderr, "%s: without tcpdump, use --write=FILE\n",
                c->program);
        return NULL;
    }
    return fdopen(fd, "w");
}

static FILE *
open_file(struct capture *c)
{
    FILE *file;

    if (!c->file_name) {
        return start_tcpdump(c);
    }
    if (!strcmp(c->file_name, "-")) {
        if (isatty(STDOUT_FILENO)) {
            fprintf(stderr, "%s: --write=-: standard output is a terminal, "
                    "and packets are no text: use \"| tcpdump -r -\"\n",
                    c->program);
            return NULL;
        }
        return stdout;
    }
    file = fopen(c->file_name, "we");
    if (!file) {
        fprintf(stderr, "%s: --write=%s: %s\n", c->program, c->file_name,
                strerror(errno));
    }
    return file;
}

bool
capture_open(struct capture *c, const char *interface)
{
    c->file = open_file(c);
    if (!c->file) {
        return false;
    }
    setvbuf(c->file, NULL, _IOFBF, FILE_BUFFER);
    if (!pcapng_begin(c->file, interface, c->snaplen) || fflush(c->file)) {
        write_failed(c);
    }
    return !c->failed;
}

bool
capture_has_ended(const struct capture *c)
{
    return get(&c->full) || get(&c->reader_gone) || get(&c->failed);
}

static uint64_t
read_count(const uint64_t *count)
{
    return __atomic_load_n(count, __ATOMIC_ACQUIRE);
}

static void
add(uint64_t *count, uint64_t n)
{
    __atomic_store_n(count, *count + n, __ATOMIC_RELEASE);
}

uint64_t
capture_packets(const struct capture *c)
{
    return read_count(&c->packets);
}

uint64_t
capture_bytes(const struct capture *c)
{
    return read_count(&c->bytes);
}

static void
write_packet(struct capture *c, const struct vpci_ring_buf *buf)
{
    if (!pcapng_packet(c->file, c->time_ns, buf->data, buf->len,
                       c->snaplen)) {
        write_failed(c);
        return;
    }
    add(&c->packets, 1);
    add(&c->bytes, buf->len);
    if (c->packets == c->max) {
        set(&c->full);
    }
}

/* Takes what has come, and writes it until nothing more is to be written.
 * Returns how many packets those were. */
static unsigned int
take(struct capture *c)
{
    unsigned int n = vpci_net_rx_burst(c->net, 0, c->bufs, TOOL_MAX_BURST);

    c->time_ns = real_time_ns();
    for (unsigned int i = 0; i < n && !capture_has_ended(c); i++) {
        write_packet(c, &c->bufs[i]);
    }
    add(n ? &c->taken : &c->idle, n ? n : 1);
    return n;
}

static void
flush(struct capture *c)
{
    if (!capture_has_ended(c)) {
        if (fflush(c->file)) {
            write_failed(c);
        } else if (has_lost_reader(c)) {
            set(&c->reader_gone);
        }
    }
}

static void *
capture_main(void *c_)
{
    struct capture *c = c_;

    while (!get(&c->stops)) {
        if (!take(c)) {
            flush(c);
            vpci_net_rx_wait(c->net, 0, WAIT_US);
        }
    }
    return NULL;
}

bool
capture_start(struct capture *c, struct vpci_net *net,
              struct vpci_ring_buf *bufs)
{
    sigset_t all, old;
    int error;

    c->net = net;
    c->bufs = bufs;

    /* Signals are for the owner: they shall not end what writes. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = pthread_create(&c->thread, NULL, capture_main, c);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error) {
        fprintf(stderr, "%s: cannot start a thread: %s\n", c->program,
                strerror(error));
    }
    c->runs = !error;
    return c->runs;
}

bool
capture_catch_up(const struct capture *c)
{
    uint64_t idle = read_count(&c->idle), taken = read_count(&c->taken);

    /* The first time that there was nothing may be from before. */
    for (int i = 0; i < LOOKS && c->runs; i++) {
        if (read_count(&c->idle) - idle >= 2
            || read_count(&c->taken) - taken >= MAX_SLOTS
            || capture_has_ended(c)) {
            return true;
        }
        usleep(LOOK_US);
    }
    return !c->runs;
}

void
capture_stop(struct capture *c, uint64_t missed)
{
    if (c->runs) {
        set(&c->stops);
        vpci_net_wake(c->net);
        pthread_join(c->thread, NULL);
        c->runs = false;
    }
    if (!c->failed && !c->reader_gone
        && !pcapng_statistics(c->file, real_time_ns(),
                              capture_packets(c) + missed, missed)) {
        write_failed(c);
    }
}

bool
capture_close(struct capture *c)
{
    if (c->file && fclose(c->file) && !c->failed && !c->reader_gone) {
        write_failed(c);
    }
    if (c->tcpdump_pid) {
        command_wait(&c->tcpdump, c->program, c->tcpdump_pid);
    }
    command_free(&c->tcpdump);
    return !c->failed;
}
