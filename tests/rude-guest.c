/* SPDX-License-Identifier: Apache-2.0 */

/* A guest of vpci-net that keeps to the rules, but for links:
 *
 *     rude-guest BEHAVIOUR SOCKET
 *
 * It says that it would use links, and what it does with each is one of
 *
 *     stays-away   nothing
 *     leaves       connects, and leaves in the middle of the greeting
 *     talks        sends something to the keeper
 *     comes-twice  connects, and does so again
 *     is-mute      maps the memory, and never answers
 *     lies         says of itself whatever comes to its mind
 *     other-version  says that the memory is of a later version
 *     takes-nothing  meets the other guest, and leaves its packets there
 *     naps         the same, and takes all of them now and then
 *     floods       meets the other guest, and sends it what it must not have;
 *                  to the switch it sends packets for 00:00:00:00:00:00
 *     flickers     the same, and says most of the time that it has not met
 *     blocks       meets the other guest, and then asks the switch, whom it
 *                  makes wait
 *     boasts       meets the other guest, and says that it has taken more than
 *                  can be
 *     complains    meets the other guest, and says that it has refused more than
 *                  can be
 *
 * Prints what it was told of each, and how many packets it has received from
 * the switch. */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "connector-unix.h"
#include "net-link.h"

#define OPEN_MS 2000
#define NAP_MS 1500
#define FLICKER_MS 1200
#define PACKET_LEN 64

/* A link that there is. */
struct rude_link {
    uint32_t id;
    uint32_t side;
    struct vpci_layout layout;
    struct vpci_device *device; /* Open, or null. */
    void *memory;
    struct vpci_channel *channel;       /* Or null. */
    int64_t awake_at;           /* When it naps or flickers, in ms. */
};

static struct vpci_net *net;
static const char *path, *behaviour;
static struct rude_link links[VPCI_ABI_MAX_LINKS];
static volatile sig_atomic_t ended;

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static bool
does(const char *what)
{
    return !strcmp(behaviour, what);
}

/* Connects to the socket of 'link', says 'what', and leaves. */
static void
connect_shortly(const struct rude_link *link, const char *what)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char byte;

    snprintf(sun.sun_path, sizeof sun.sun_path, "%s.link%"PRIu32, path,
             link->id);
    if (!connect(fd, (struct sockaddr *) &sun, sizeof sun)
        && recv(fd, &byte, 1, 0) == 1
        && send(fd, what, strlen(what), MSG_NOSIGNAL) > 0) {
        while (recv(fd, &byte, 1, 0) > 0) {
            continue;
        }
    }
    close(fd);
}

/* Opens the device of 'link', and maps it.  Returns whether that worked. */
static struct vpci_device *
open_device(const struct rude_link *link)
{
    char address[200], name[32];
    struct vpci_device *device;

    snprintf(address, sizeof address, "%s.link%"PRIu32, path, link->id);
    snprintf(name, sizeof name, "link%"PRIu32, link->id);
    device = unix_device_create(address, name);
    if (vpci_device_open(device, OPEN_MS)) {
        printf("%s\n", vpci_device_reason(device));
        vpci_device_release(device);
        return NULL;
    }
    return device;
}

static void
begin_channel(struct rude_link *link)
{
    struct vpci_channel_config config = {
        .layout = link->layout,
        .base = link->memory,
        .side = link->side,
        .n_queues = 1,
    };
    size_t size = vpci_channel_bytes(&link->layout);

    link->channel = aligned_alloc(VPCI_ABI_LINE,
                                  (size + VPCI_ABI_LINE - 1)
                                  & -(size_t) VPCI_ABI_LINE);
    vpci_channel_begin(link->channel, &config, 1 + rand());
}

/* A link has come. */
static void
meet_link(struct rude_link *link)
{
    struct vpci_region region;

    printf("link %"PRIu32"\n", link->id);
    if (does("leaves")) {
        connect_shortly(link, "");
    } else if (does("talks")) {
        connect_shortly(link, "GET / HTTP/1.0\r\n\r\n");
    } else if (!does("stays-away")) {
        link->device = open_device(link);
    }
    if (!link->device) {
        return;
    }
    if (does("comes-twice")) {
        struct vpci_device *again = open_device(link);

        printf("%s\n", again ? "two of us have it" : "only one of us has it");
        vpci_device_release(again);
    }
    vpci_device_shm(link->device, 0, 0, &region, NULL);
    link->memory = region.base;
    if (does("other-version")) {
        struct vpci_abi_header *h = link->memory;

        h->version = h->version_min = VPCI_LE16(VPCI_ABI_VERSION + 1);
    } else if (does("takes-nothing") || does("naps") || does("floods")
               || does("flickers") || does("blocks") || does("boasts")
               || does("complains")) {
        begin_channel(link);
    }
}

static void
forget_link(struct rude_link *link)
{
    vpci_device_release(link->device);
    free(link->channel);
    memset(link, 0, sizeof *link);
}

/* Says anything of ourselves, and that we have seen the other guest. */
static void
lie(const struct rude_link *link)
{
    struct vpci_abi_state *own = vpci_layout_state(&link->layout, link->memory,
                                                   link->side);
    struct vpci_abi_state *other = vpci_layout_state(&link->layout,
                                                     link->memory,
                                                     !link->side);

    vpci_store32(&own->epoch, rand() % 4 ? 7 : (uint32_t) rand());
    vpci_store32(&own->seen, rand() % 4 ? vpci_load32(&other->epoch)
                 : (uint32_t) rand());
    vpci_store32(&own->n_queues, rand());
    vpci_store32(&own->n_links, rand());
    vpci_store64(&own->features, (uint64_t) rand() << 32 | rand());
    vpci_store32(&own->heartbeat, rand());
}

/* Asks the switch something, and makes it wait when it tells us of the
 * answer. */
static void
block(void)
{
    struct vpci_device *device = net->base.device;
    struct vpci_net_port port;

    for (unsigned int i = 0; i < vpci_device_n_signals(device); i++) {
        int fd = vpci_signal_fd(vpci_device_signal(device, i));
        eventfd_t value;

        fcntl(fd, F_SETFL, O_NONBLOCK);
        eventfd_read(fd, &value);
        eventfd_write(fd, UINT64_MAX - 1);
        fcntl(fd, F_SETFL, 0);
    }
    vpci_net_get_port(net, &port);
}

/* Says that we have received this or that. */
static void
boast(void)
{
    const struct net_region *base = &net->base;

    for (uint32_t i = 0; i < base->layout.shape.n_entries; i++) {
        struct vpci_abi_flow_count *c
            = vpci_layout_flow_count(&base->layout, base->base, 0, i);

        vpci_store64(&c->packets, vpci_load64(&c->packets) + (1 << 30));
    }
}

/* Says that we have refused so much. */
static void
complain(void)
{
    const struct net_region *base = &net->base;

    for (uint32_t i = 0; i < base->layout.shape.n_links; i++) {
        struct vpci_abi_link_count *c
            = vpci_layout_link_count(&base->layout, base->base, 0, i);

        vpci_store64(&c->refused, vpci_load64(&c->refused) + (1ULL << 40));
    }
}

static void
prepare(struct vpci_ring_buf bufs[VPCI_RING_BURST])
{
    static uint8_t data[VPCI_RING_BURST][2048];

    for (int i = 0; i < VPCI_RING_BURST; i++) {
        bufs[i] = (struct vpci_ring_buf) {
            .data = data[i], .size = sizeof data[i], .len = PACKET_LEN,
        };
    }
}

/* Takes what is in the link, if it is time for that. */
static void
nap(struct rude_link *link)
{
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    bool tell;

    if (now_ms() < link->awake_at) {
        return;
    }
    link->awake_at = now_ms() + NAP_MS;
    prepare(bufs);
    for (uint32_t i = 0; i < link->layout.n_rings; i++) {
        while (vpci_ring_rx_burst(vpci_channel_rx(link->channel, i), bufs,
                                  VPCI_RING_BURST, &tell)) {
            continue;
        }
    }
}

/* Fills what leads to the other guest, of queue 0, with packets for
 * 02:00:00:00:00:00. */
static void
flood(struct rude_link *link)
{
    struct vpci_ring_buf bufs[VPCI_RING_BURST];
    bool tell;

    prepare(bufs);
    for (int i = 0; i < VPCI_RING_BURST; i++) {
        memcpy(bufs[i].data, (uint8_t[PACKET_LEN]) { 2, [12] = 0x88, 0xb5 },
               PACKET_LEN);
    }
    while (vpci_ring_tx_burst(vpci_channel_tx(link->channel, 0), bufs,
                              VPCI_RING_BURST, &tell)) {
        continue;
    }
}

/* Takes what there is from the switch.  Returns how many packets. */
static unsigned int
receive(void)
{
    struct vpci_ring_buf bufs[VPCI_RING_BURST];

    prepare(bufs);
    return vpci_net_rx_burst(net, 0, bufs, VPCI_RING_BURST);
}

/* Meets the other guest for as long as the switch needs to see it. */
static void
flicker(struct rude_link *link)
{
    struct vpci_abi_state *own = vpci_layout_state(&link->layout, link->memory,
                                                   link->side);
    uint32_t seen = vpci_load32(&own->seen);
    int64_t until = now_ms() + FLICKER_MS;

    if (now_ms() < link->awake_at) {
        return;
    }
    vpci_store32(&own->seen, 0);
    while (now_ms() < until && !ended) {
        flood(link);
        vpci_net_run(net, now_ms());
        receive();
    }
    vpci_store32_release(&own->seen, seen);
    link->awake_at = now_ms() + 100;
}

/* Does what is due with link 'i', of which the switch says '*abi'. */
static void
run_link(struct rude_link *link, const struct vpci_abi_link *abi)
{
    uint32_t id = vpci_load32_acquire(&abi->id);
    struct vpci_layout_report report;
    struct vpci_shape shape;

    if (link->id != id) {
        forget_link(link);
        vpci_layout_get_shape(&abi->shape, &shape);
        if (id && vpci_layout_init(&link->layout, &shape, &report)) {
            link->id = id;
            link->side = vpci_load32(&abi->side);
            meet_link(link);
        }
    }
    if (link->device) {
        vpci_device_run(link->device);
    }
    if (link->memory && does("lies")) {
        lie(link);
    } else if (link->channel
               && (vpci_channel_run(link->channel, now_ms())
                   == VPCI_CHANNEL_RUNNING)) {
        if (does("blocks")) {
            block();
        } else if (does("boasts")) {
            boast();
        } else if (does("complains")) {
            complain();
        } else if (does("naps")) {
            nap(link);
        } else if (does("floods")) {
            flood(link);
        } else if (does("flickers")) {
            flicker(link);
        }
    }
}

static void
send_to_switch(void)
{
    uint8_t data[PACKET_LEN] = { [12] = 0x88, 0xb5 };
    struct vpci_ring_buf buf = { .data = data, .len = sizeof data };

    vpci_net_tx_burst(net, 0, &buf, 1);
}

static void
end(int signal_number)
{
    (void) signal_number;
    ended = 1;
}

int
main(int argc, char *argv[])
{
    struct vpci_net_config config = { .no_links = true };
    uint64_t n = 0;
    char reason[256];

    if (argc != 3) {
        fprintf(stderr, "usage: %s BEHAVIOUR SOCKET\n", argv[0]);
        return EXIT_FAILURE;
    }
    behaviour = argv[1];
    path = argv[2];
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGTERM, end);
    if (vpci_net_open(path, &config, &net, reason, sizeof reason)) {
        fprintf(stderr, "%s: %s\n", path, reason);
        return EXIT_FAILURE;
    }
    /* The library leaves links alone, and the switch does not know. */
    net->base.config.n_links = VPCI_ABI_MAX_LINKS;
    while (!ended) {
        const struct net_region *base = &net->base;

        vpci_net_run(net, now_ms());
        for (uint32_t i = 0; base->state == VPCI_NET_RUNNING
                             && i < base->layout.shape.n_links; i++) {
            run_link(&links[i], vpci_layout_link(&base->layout, base->base,
                                                 i));
        }
        n += receive();
        if (does("floods") || does("flickers")) {
            send_to_switch();
        }
        usleep(500);
    }
    for (int i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        forget_link(&links[i]);
    }
    vpci_net_close(net);
    printf("received: %"PRIu64"\n", n);
    return EXIT_SUCCESS;
}
