/* SPDX-License-Identifier: Apache-2.0 */

/* vpci-tap: makes a port of vpci-net an interface of the kernel.  See
 * vpci-tap(1).
 *
 * Each queue has two threads, one for each way, which sleep in the kernel
 * while there is nothing to do.  The main thread makes the interface follow
 * the port. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <linux/virtio_net.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vpci-tap-device.h"
#include "vpci-tool.h"

#define NS INT64_C(1000000000)

/* Packets at once: few enough that what the kernel sends meanwhile has room in
 * its own queue. */
#define BURST 32

/* How often to look at the port, and when to say why it has no carrier. */
#define LOOK_MS 50
#define QUIET_NS (NS / 2)

/* A switch that has not shown for so long that it is alive is none: what is
 * sent stays in the ring. */
#define DEAD_MS 3000

/* How long a burst may wait for room in the ring, while the kernel queues, or
 * drops, what comes next. */
#define ROOM_US 100000

#define FEATURE(NAME) (UINT64_C(1) << VIRTIO_NET_F_##NAME)
#define OFFLOADS (FEATURE(CSUM) | FEATURE(HOST_TSO4) | FEATURE(HOST_TSO6) \
                  | FEATURE(HOST_ECN) | FEATURE(GUEST_CSUM) \
                  | FEATURE(GUEST_TSO4) | FEATURE(GUEST_TSO6) \
                  | FEATURE(GUEST_ECN))

/* One way of a queue. */
struct worker {
    pthread_t thread;
    uint32_t queue;
    struct vpci_ring_buf bufs[TOOL_MAX_BURST];
    uint8_t *memory;
    uint32_t n_classes;         /* That a receiver knows of. */

    /* One writer, any reader. */
    uint64_t n_dropped;         /* What there was no room for. */
    uint64_t n_refused;         /* What the interface did not take. */
};

static struct {
    struct tool tool;
    struct tap_device device;
    const char *interface;
    const char *netns;
    uint32_t mtu;               /* As asked for, or 0. */
    bool no_offloads;
    bool persists;
    bool up;

    struct worker tx[VPCI_ABI_MAX_QUEUES];  /* From the interface. */
    struct worker rx[VPCI_ABI_MAX_QUEUES];
    uint32_t n_workers;         /* Of each kind. */
    pthread_mutex_t mutexes[VPCI_ABI_MAX_QUEUES];  /* Of transmit queues of
                                                    * the port. */
    uint32_t n_used;            /* Queues that the port has; atomic. */
    uint32_t n_classes;         /* And classes of priority; atomic. */
    int stop_fd;                /* Readable: workers are to end. */
    int gone_fd;                /* Readable: the interface is no more. */
    bool stopping;              /* Atomic. */

    /* What the interface has. */
    bool carrier;
    uint64_t features;
    uint32_t port_mtu;          /* Which it has followed. */
    uint8_t mac[6];
    int64_t quiet_ns;           /* Since when there is no carrier. */
    char said[256];             /* The reason for that, as said last. */

    struct vpci_net_stats reported;
    double reported_at;
} tap = {
    .tool = {
        .name = "vpci-tap",
        .common = "duration queues mac rx-usecs rx-frames interval json",
    },
    .interface = "vpci%d",
    .n_used = 1,
    .n_classes = 1,
    .stop_fd = -1,
    .gone_fd = -1,
};

static bool
parse_name(const char *s)
{
    const char *percent = strchr(s, '%');

    tap.interface = s;
    return (*s && strlen(s) < IFNAMSIZ && !strpbrk(s, "/ \t\n")
            && strcmp(s, ".") && strcmp(s, "..")
            && (!percent || (percent[1] == 'd' && !strchr(percent + 1, '%'))));
}

static bool
parse_netns(const char *s)
{
    tap.netns = s;
    return *s != '\0';
}

static bool
parse_mtu(const char *s)
{
    uint64_t n;
    bool ok = tool_parse_u64(s, TAP_MIN_MTU, TAP_MAX_MTU, &n);

    tap.mtu = n;
    return ok;
}

static bool
parse_no_offloads(const char *s)
{
    (void) s;
    return tap.no_offloads = true;
}

static bool
parse_persist(const char *s)
{
    (void) s;
    return tap.persists = true;
}

static bool
parse_up(const char *s)
{
    (void) s;
    return tap.up = true;
}

static const struct tool_option options[] = {
    { "name", "NAME", "of the interface; the kernel puts a number for %d\n"
      "(default: vpci%d)",
      "a name of 1 to 15 bytes without blanks and '/', with %d once at most,",
      parse_name },
    { "netns", "NAME", "network namespace of the interface, or its path\n"
      "(default: ours)",
      "the name or the path of a network namespace", parse_netns },
    { "mtu", "BYTES", "MTU of the interface, 68 to 65521, if the port's is\n"
      "not less (default: the port's)",
      "a number of bytes from 68 to 65521", parse_mtu },
    { "up", NULL, "set the interface up", NULL, parse_up },
    { "no-offloads", NULL, "no super-packets, no partial checksums",
      NULL, parse_no_offloads },
    { "persist", NULL, "the interface stays when we end",
      NULL, parse_persist },
    { NULL, NULL, NULL, NULL, NULL },
};

static void
count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static bool
is_stopping(void)
{
    return __atomic_load_n(&tap.stopping, __ATOMIC_ACQUIRE);
}

/* Sends 'n' packets to the switch, or drops those that there is no room for.
 * A port with fewer queues than the interface has gets several of these by one
 * of its own. */
static void
send_to_switch(struct worker *w, unsigned int n)
{
    uint32_t n_used = __atomic_load_n(&tap.n_used, __ATOMIC_RELAXED);
    uint32_t queue = w->queue % n_used;
    struct vpci_net *net = tap.tool.net;
    unsigned int sent = 0;

    pthread_mutex_lock(&tap.mutexes[queue]);
    for (;;) {
        sent += vpci_net_tx_burst(net, queue, w->bufs + sent, n - sent);
        if (sent == n || !vpci_net_has_carrier(net)
            || !vpci_net_tx_wait(net, queue, ROOM_US)) {
            break;
        }
    }
    pthread_mutex_unlock(&tap.mutexes[queue]);
    count(&w->n_dropped, n - sent);
}

static void *
tx_main(void *w_)
{
    struct worker *w = w_;
    struct pollfd pfds[2] = {
        { .fd = tap.device.fds[w->queue], .events = POLLIN },
        { .fd = tap.stop_fd, .events = POLLIN },
    };

    while (!is_stopping()) {
        unsigned int n = 0;
        int error = 0;

        while (n < BURST && !error) {
            error = tap_receive(&tap.device, w->queue, &w->bufs[n]);
            n += !error;
        }
        if (n) {
            send_to_switch(w, n);
        } else if (error != EAGAIN) {
            eventfd_write(tap.gone_fd, 1);
            break;
        } else {
            poll(pfds, 2, -1);
        }
    }
    return NULL;
}

/* The port may have others than when the receiver last waited. */
static void
follow_classes(struct worker *w)
{
    uint32_t n = __atomic_load_n(&tap.n_classes, __ATOMIC_RELAXED);

    if (n != w->n_classes) {
        w->n_classes = n;
        tool_mitigate(&tap.tool, w->queue, n);
    }
}

static void *
rx_main(void *w_)
{
    struct worker *w = w_;

    while (!is_stopping()) {
        unsigned int n = vpci_net_rx_burst(tap.tool.net, w->queue, w->bufs,
                                           BURST);

        for (unsigned int i = 0; i < n; i++) {
            if (tap_send(&tap.device, w->queue, &w->bufs[i])) {
                count(&w->n_refused, 1);
            }
        }
        if (!n) {
            follow_classes(w);
            vpci_net_rx_wait(tap.tool.net, w->queue, -1);
        }
    }
    return NULL;
}

static bool
start_worker(struct worker *w, uint32_t queue, void *(*main)(void *))
{
    int error;

    w->queue = queue;
    w->memory = tool_make_bufs(&tap.tool, w->bufs);
    if (!w->memory) {
        return false;
    }
    error = pthread_create(&w->thread, NULL, main, w);
    if (error) {
        fprintf(stderr, "%s: cannot make a thread: %s\n", tap.tool.name,
                strerror(error));
        free(w->memory);
    }
    return !error;
}

static void
stop_worker(struct worker *w)
{
    pthread_join(w->thread, NULL);
    free(w->memory);
}

static bool
start_workers(void)
{
    struct tool *t = &tap.tool;

    for (int i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        pthread_mutex_init(&tap.mutexes[i], NULL);
    }
    tap.stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    tap.gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (tap.stop_fd < 0 || tap.gone_fd < 0) {
        fprintf(stderr, "%s: cannot make descriptors: %s\n", t->name,
                strerror(errno));
        return false;
    }
    while (tap.n_workers < t->n_queues) {
        uint32_t queue = tap.n_workers;

        if (!start_worker(&tap.tx[queue], queue, tx_main)) {
            return false;
        }
        tap.n_workers++;
        if (!start_worker(&tap.rx[queue], queue, rx_main)) {
            /* Joined as well: nobody began. */
            tap.n_workers--;
            __atomic_store_n(&tap.stopping, true, __ATOMIC_RELEASE);
            eventfd_write(tap.stop_fd, 1);
            stop_worker(&tap.tx[queue]);
            return false;
        }
    }
    return true;
}

static void
stop_workers(void)
{
    __atomic_store_n(&tap.stopping, true, __ATOMIC_RELEASE);
    if (tap.n_workers) {
        eventfd_write(tap.stop_fd, 1);
        vpci_net_wake(tap.tool.net);
    }
    for (uint32_t i = 0; i < tap.n_workers; i++) {
        stop_worker(&tap.tx[i]);
        stop_worker(&tap.rx[i]);
    }
}

/* Says that something could not be done. */
static void
complain(const char *reason)
{
    fprintf(stderr, "%s: %s: %s\n", tap.tool.name, tap.tool.address, reason);
}

static void
follow_mtu(void)
{
    uint32_t mtu = tap.tool.info.max_len - VPCI_NET_OVERHEAD;
    char reason[256];

    if (mtu == tap.port_mtu) {
        return;
    }
    tap.port_mtu = mtu;
    mtu = mtu < TAP_MAX_MTU ? mtu : TAP_MAX_MTU;
    if (tap.mtu > mtu) {
        snprintf(reason, sizeof reason, "--mtu=%u: the port's MTU is %u: "
                 "using that", tap.mtu, mtu);
        complain(reason);
    } else if (tap.mtu) {
        mtu = tap.mtu;
    }
    if (tap_set_mtu(&tap.device, mtu, reason, sizeof reason)) {
        complain(reason);
    }
}

static void
follow_mac(void)
{
    static const uint8_t none[6];
    const uint8_t *mac = tap.tool.info.mac;
    char reason[256];

    if (!memcmp(mac, none, sizeof none)
        || !memcmp(mac, tap.mac, sizeof tap.mac)) {
        return;
    }
    memcpy(tap.mac, mac, sizeof tap.mac);
    if (tap_set_mac(&tap.device, mac, reason, sizeof reason)) {
        complain(reason);
    }
}

static void
follow_features(void)
{
    uint64_t features = tap.tool.info.features;
    char reason[256];

    if (features == tap.features) {
        return;
    }
    tap.features = features;
    if (tap_set_offloads(&tap.device, features, reason, sizeof reason)) {
        complain(reason);
    }
}

/* Says why there is no carrier, once that has been so for a while. */
static void
explain_silence(void)
{
    struct tool *t = &tap.tool;
    int64_t now = tool_now_ns();

    if (!tap.quiet_ns) {
        tap.quiet_ns = now;
    } else if (now - tap.quiet_ns > QUIET_NS
               && strcmp(tap.said, t->info.reason)) {
        snprintf(tap.said, sizeof tap.said, "%s", t->info.reason);
        fprintf(stderr, "%s: %s: interface %s: no packets flow (%s): %s\n",
                t->name, t->address, tap.device.name,
                vpci_net_state_name(t->info.state), tap.said);
    }
}

static void
follow_carrier(void)
{
    struct tool *t = &tap.tool;
    char reason[256];

    if (t->info.carrier != tap.carrier) {
        tap.carrier = t->info.carrier;
        if (tap_set_carrier(&tap.device, tap.carrier, reason,
                            sizeof reason)) {
            complain(reason);
        }
        if (tap.carrier) {
            fprintf(stderr, "%s: %s: interface %s: packets flow (%u queues)\n",
                    t->name, t->address, tap.device.name, t->info.n_queues);
        }
        tap.quiet_ns = 0;
        tap.said[0] = '\0';
    }
    if (!tap.carrier) {
        explain_silence();
    }
}

/* Makes the interface as the port is. */
static void
follow_port(void)
{
    struct vpci_net_info *info = &tap.tool.info;

    vpci_net_get_info(tap.tool.net, info);
    if (info->carrier && info->silence_ms > DEAD_MS) {
        info->carrier = false;
        snprintf(info->reason, sizeof info->reason, "the switch has not shown "
                 "for %d seconds that it is alive: is ovs-vswitchd running?",
                 DEAD_MS / 1000);
    }
    if (info->state == VPCI_NET_RUNNING) {
        __atomic_store_n(&tap.n_used, info->n_queues, __ATOMIC_RELAXED);
        __atomic_store_n(&tap.n_classes, info->n_classes, __ATOMIC_RELAXED);
        follow_features();
        follow_mtu();
        follow_mac();
    }
    follow_carrier();
}

static void
report(const char *kind)
{
    static const struct vpci_net_stats none;
    bool all = !strcmp(kind, "summary");
    const struct vpci_net_stats *old = all ? &none : &tap.reported;
    double now = tool_seconds(&tap.tool);
    double seconds = now - (all ? 0 : tap.reported_at);
    uint64_t n_dropped = 0, n_refused = 0;
    struct vpci_net_stats s;

    vpci_net_get_stats(tap.tool.net, VPCI_NET_ALL, &s);
    for (uint32_t i = 0; i < tap.n_workers; i++) {
        n_dropped += __atomic_load_n(&tap.tx[i].n_dropped, __ATOMIC_RELAXED);
        n_refused += __atomic_load_n(&tap.rx[i].n_refused, __ATOMIC_RELAXED);
    }
    const struct tool_field fields[] = {
        { "tx_packets", s.tx.packets - old->tx.packets, 0 },
        { "tx_bytes", s.tx.bytes - old->tx.bytes, 0 },
        { "tx_mbps", (s.tx.bytes - old->tx.bytes) / seconds * 8 / 1e6, 3 },
        { "rx_packets", s.rx.packets - old->rx.packets, 0 },
        { "rx_bytes", s.rx.bytes - old->rx.bytes, 0 },
        { "rx_mbps", (s.rx.bytes - old->rx.bytes) / seconds * 8 / 1e6, 3 },
        { "tx_dropped", n_dropped, 0 },
        { "tx_refused", s.tx.refused, 0 },
        { "tx_full", s.tx.full, 0 },
        { "links", tool_count_links(&tap.tool), 0 },
        { "tx_linked", s.tx.linked, 0 },
        { "rx_dropped", s.rx.dropped, 0 },
        { "rx_refused", n_refused, 0 },
        { "rx_linked", s.rx.linked, 0 },
        { "rx_rejected", s.rx.rejected, 0 },
        { "signals", s.rx.received, 0 },
        { "spurious", s.rx.spurious, 0 },
        { "masked", s.rx.masked, 0 },
        { "meetings", s.meetings, 0 },
        { "resets", s.resets, 0 },
        { "carrier", tap.carrier, 0 },
    };
    tool_report(&tap.tool, kind, fields, sizeof fields / sizeof *fields);
    tap.reported = s;
    tap.reported_at = now;
}

/* Returns false if the interface has gone. */
static bool
pause_a_while(void)
{
    struct pollfd pfd = { .fd = tap.gone_fd, .events = POLLIN };

    if (poll(&pfd, 1, LOOK_MS) <= 0) {
        return true;
    }
    fprintf(stderr, "%s: %s: interface %s is no more: somebody has removed "
            "it\n", tap.tool.name, tap.tool.address, tap.device.name);
    return false;
}

/* Serves until it is told to end.  Returns false if the interface has
 * gone. */
static bool
serve(void)
{
    struct tool *t = &tap.tool;

    while (!tool_is_interrupted()
           && (t->duration <= 0 || tool_seconds(t) < t->duration)) {
        follow_port();
        if (tool_wants_report(t)) {
            report("interval");
        }
        if (!pause_a_while()) {
            return false;
        }
    }
    return true;
}

/* Makes the interface.  Returns false, having said why, if it cannot. */
static bool
make_interface(void)
{
    static const uint8_t none[6];
    struct tool *t = &tap.tool;
    char reason[512];
    int error = 0;

    if (tap.netns) {
        error = tap_enter_netns(tap.netns, reason, sizeof reason);
    }
    error = error ? error : tap_open(&tap.device, tap.interface, t->n_queues,
                                     reason, sizeof reason);
    if (!error && tap.persists) {
        error = tap_set_persist(&tap.device, true, reason, sizeof reason);
    }
    if (!error && memcmp(t->mac, none, sizeof none)) {
        memcpy(tap.mac, t->mac, sizeof tap.mac);
        error = tap_set_mac(&tap.device, t->mac, reason, sizeof reason);
    }
    if (!error && tap.up) {
        error = tap_set_up(&tap.device, reason, sizeof reason);
    }
    if (error) {
        fprintf(stderr, "%s: %s\n", t->name, reason);
    }
    return !error;
}

int
main(int argc, char *argv[])
{
    struct tool *t = &tap.tool;

    tool_parse(t, argc, argv, "makes a port of vpci-net an interface of the "
               "kernel", options);
    t->features = tap.no_offloads ? 0 : OFFLOADS;
    tap.device.control_fd = -1;
    t->failed = !make_interface() || !tool_attach(t);
    if (!t->failed) {
        t->failed = !start_workers() || !serve();
        stop_workers();
        report("summary");
    }
    tap_close(&tap.device);
    if (tap.stop_fd >= 0) {
        close(tap.stop_fd);
    }
    if (tap.gone_fd >= 0) {
        close(tap.gone_fd);
    }
    return tool_close(t);
}
