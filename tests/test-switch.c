/* SPDX-License-Identifier: Apache-2.0 */

/* A switch with two ports of vpci-net, for tests of those who attach to them:
 * it gets the ports from the keeper and moves packets from each to the other.
 *
 * usage: test-switch [OPTIONS] CONTROL PATH PATH
 *
 *   --queues=N --classes=N --slots-log2=N --vectors=N   the shape of both
 *   --class-by=pcp|dscp    classes, evenly by that
 *   --max-len=N            longest packet (default: 1518)
 *   --down                 the ports are down
 *   --pcap=FILE            write up to 1000 packets there
 *
 * It prints "ready" once guests may attach, whenever it has heard that one has
 * come or gone, and counts when SIGTERM ends it.  Like any switch it may be
 * killed: the next one goes on where it was. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "keeper.h"
#include "switch-port.h"

#define TIMEOUT_MS 20000
#define MAX_PCAP 1000
#define MOVE 32                 /* Packets of a ring at once. */

struct port {
    const char *path;
    uint32_t region;            /* As the keeper numbers them. */
    struct switch_port side;
    uint64_t n_moved;           /* From here. */
    uint64_t bytes;
};

static struct port ports[2];
static int control = -1;
static FILE *pcap;
static unsigned int n_pcap;
static volatile sig_atomic_t exiting;

static struct vpci_shape shape = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 1,
    .n_classes = 1,
    .slots_log2 = 8,
    .data_log2 = 18,
    .n_vectors = 2,
};
static struct switch_port_words words = {
    .max_len = 1518,
    .link_state = true,
};

static void __attribute__((noreturn))
fail(const char *what, const char *why)
{
    fprintf(stderr, "test-switch: %s: %s\n", what, why);
    exit(1);
}

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static void
end(int signal_number)
{
    (void) signal_number;
    exiting = 1;
}

static void
connect_control(const char *path)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    if (control >= 0) {
        close(control);
    }
    snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
    control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connect(control, (struct sockaddr *) &sun, sizeof sun)) {
        fail(path, strerror(errno));
    }
}

static uint32_t
new_epoch(void)
{
    uint32_t epoch = 0;

    while (!epoch && getrandom(&epoch, sizeof epoch, 0) != sizeof epoch) {
        continue;
    }
    return epoch;
}

/* A guest has come, or has gone. */
static void
handle_peer(struct switch_port *side, const struct vpci_keeper_msg *msg)
{
    bool up = msg->header.type == VPCI_KEEPER_PEER_UP;

    for (uint32_t v = 0; v < shape.n_vectors; v++) {
        if (side->to_guest[v] >= 0) {
            close(side->to_guest[v]);
        }
        side->to_guest[v] = up ? dup(msg->fds[v]) : -1;
    }
    if (up) {
        switch_port_inject_all(side);
    } else {
        switch_port_begin(side, new_epoch());
    }
}

static void
handle_event(struct vpci_keeper_msg *msg)
{
    uint32_t region = (msg->header.type == VPCI_KEEPER_PEER_UP
                       ? msg->body.peer_up.region
                       : msg->body.peer_down.region);

    for (int i = 0; i < 2; i++) {
        if (ports[i].region == region) {
            handle_peer(&ports[i].side, msg);
            printf("%s: a guest has %s\n", ports[i].path,
                   msg->header.type == VPCI_KEEPER_PEER_UP ? "come" : "gone");
            fflush(stdout);
        }
    }
    vpci_keeper_msg_close_fds(msg);
}

/* Receives one message.  Returns false if there is none in 'timeout' ms. */
static bool
receive(struct vpci_keeper_msg *msg, int timeout)
{
    struct pollfd pfd = { .fd = control, .events = POLLIN };
    char why[VPCI_KEEPER_TEXT_SIZE];
    int error;

    if (poll(&pfd, 1, timeout) <= 0) {
        return false;
    }
    error = vpci_keeper_recv(control, VPCI_KEEPER_SIDE_SWITCH, msg, why);
    if (error && error != EAGAIN) {
        fail("the keeper", why);
    }
    return !error;
}

/* Sends a request and waits for its reply. */
static void
request(struct vpci_keeper_msg *msg)
{
    int error = vpci_keeper_send(control, msg);
    int64_t deadline = now_ms() + TIMEOUT_MS;

    if (error && error != EPIPE && error != ECONNRESET) {
        fail("request", strerror(error));
    }
    while (now_ms() < deadline) {
        if (!receive(msg, 100)) {
            continue;
        }
        if (msg->header.type & VPCI_KEEPER_REPLY) {
            return;
        }
        handle_event(msg);
    }
    fail("the keeper", "no reply");
}

static void
say_hello(const char *path)
{
    int64_t deadline = now_ms() + TIMEOUT_MS;
    struct vpci_keeper_msg msg;

    do {
        connect_control(path);
        vpci_keeper_msg_init(&msg, VPCI_KEEPER_HELLO, 1);
        msg.body.hello.min_version = VPCI_KEEPER_VERSION;
        msg.body.hello.max_version = VPCI_KEEPER_VERSION;
        strcpy(msg.body.hello.name, "test-switch");
        request(&msg);
        if (!msg.header.error) {
            return;
        }

        /* The keeper may not know yet that the last one was killed. */
        usleep(10000);
    } while (msg.header.error == EBUSY && now_ms() < deadline);
    fail("HELLO", msg.body.error.text);
}

static void
tap(void *aux, const void *data, uint32_t len)
{
    const uint32_t record[4] = { 0, 0, len, len };

    (void) aux;
    if (pcap && n_pcap++ < MAX_PCAP) {
        fwrite(record, sizeof record, 1, pcap);
        fwrite(data, len, 1, pcap);
    }
}

static void *
map(int fd, size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (p == MAP_FAILED) {
        fail("mmap", strerror(errno));
    }
    return p;
}

static void
add_port(struct port *port)
{
    struct vpci_layout_report report;
    struct vpci_keeper_msg msg;
    struct vpci_layout layout;
    char text[200];
    bool resumed;

    if (!vpci_layout_init(&layout, &shape, &report)) {
        fail("shape", vpci_layout_format(&report, text, sizeof text));
    }
    vpci_keeper_msg_init(&msg, VPCI_KEEPER_BASE_ADD, 2);
    snprintf(msg.body.base_add.path, sizeof msg.body.base_add.path, "%s",
             port->path);
    msg.body.base_add.size = layout.size;
    msg.body.base_add.private_size
        = ((vpci_channel_bytes(&layout) + VPCI_ABI_PAGE - 1)
           & -(uint64_t) VPCI_ABI_PAGE);
    msg.body.base_add.n_vectors = shape.n_vectors;
    request(&msg);
    if (msg.header.error) {
        fail(port->path, msg.body.error.text);
    }
    port->region = msg.body.region.id;
    resumed = switch_port_init(
        &port->side, &shape, map(msg.fds[0], layout.size),
        map(msg.fds[1], msg.body.region.private_size),
        msg.body.region.adopted, &words, new_epoch());
    port->side.tap = tap;
    vpci_keeper_msg_close_fds(&msg);
    printf("%s: %s\n", port->path, resumed ? "resumed" : "new");
}

static void
move_packets(void)
{
    while (!exiting) {
        struct vpci_keeper_msg msg;
        uint64_t n = 0;

        while (receive(&msg, 0)) {
            handle_event(&msg);
        }
        for (int i = 0; i < 2; i++) {
            switch_port_run(&ports[i].side, now_ms());
        }
        for (int round = 0; round < 50; round++) {
            n = 0;
            for (int i = 0; i < 2; i++) {
                struct port *p = &ports[i];
                uint64_t moved = switch_port_move(&p->side, &ports[!i].side,
                                                  MOVE, &p->bytes);

                p->n_moved += moved;
                n += moved;
            }
            if (!n) {
                break;
            }
        }
        if (!n) {
            usleep(100);
        }
    }
}

static void
set_class_by(const char *by)
{
    bool pcp = !strcmp(by, "pcp");

    words.class_by = pcp ? VPCI_ABI_CLASS_PCP : VPCI_ABI_CLASS_DSCP;
    for (uint32_t i = 0; i < 64; i++) {
        words.class_of[i] = i * shape.n_classes / (pcp ? 8 : 64);
    }
}

static void
open_pcap(const char *name)
{
    static const uint32_t header[6] = { 0xa1b2c3d4, 4 << 16 | 2, 0, 0,
                                        VPCI_ABI_MAX_LEN, 1 };

    pcap = fopen(name, "w");
    if (!pcap) {
        fail(name, strerror(errno));
    }
    fwrite(header, sizeof header, 1, pcap);
}

static void
parse(int argc, char *argv[])
{
    static const struct option options[] = {
        { "queues", required_argument, NULL, 'q' },
        { "classes", required_argument, NULL, 'c' },
        { "slots-log2", required_argument, NULL, 's' },
        { "vectors", required_argument, NULL, 'v' },
        { "class-by", required_argument, NULL, 'b' },
        { "max-len", required_argument, NULL, 'l' },
        { "down", no_argument, NULL, 'd' },
        { "pcap", required_argument, NULL, 'p' },
        { NULL, 0, NULL, 0 },
    };
    int c;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'q':
            shape.n_queues = atoi(optarg);
            break;
        case 'c':
            shape.n_classes = atoi(optarg);
            break;
        case 's':
            shape.slots_log2 = atoi(optarg);
            break;
        case 'v':
            shape.n_vectors = atoi(optarg);
            break;
        case 'b':
            set_class_by(optarg);
            break;
        case 'l':
            words.max_len = atoi(optarg);
            break;
        case 'd':
            words.link_state = false;
            break;
        case 'p':
            open_pcap(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (optind != argc - 3) {
        fail("usage", "test-switch [OPTIONS] CONTROL PATH PATH");
    }
}

int
main(int argc, char *argv[])
{
    parse(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, end);
    alarm(300);
    say_hello(argv[optind]);
    for (int i = 0; i < 2; i++) {
        ports[i].path = argv[optind + 1 + i];
        add_port(&ports[i]);
    }
    for (int i = 0; i < 2; i++) {
        switch_port_inject_all(&ports[i].side);
    }
    printf("ready\n");
    fflush(stdout);
    move_packets();
    for (int i = 0; i < 2; i++) {
        printf("from port %d: %"PRIu64" packets, %"PRIu64" bytes, %"PRIu64
               " faults\n", i, ports[i].n_moved, ports[i].bytes,
               ports[i].side.n_faults);
    }
    if (pcap) {
        fclose(pcap);
    }
    return 0;
}
