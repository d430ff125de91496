/* SPDX-License-Identifier: Apache-2.0 */

/* A guest of vpci-net that writes nonsense over all memory that it shares with
 * the switch and, by links, with other guests, and forges packets there:
 *
 *     hostile-guest [-s SEED] [-n BOUTS] SOCKET
 *
 * It sends packets that a switch may allow until a link carries them, and then
 * writes for a while: this is a bout, after which it tries to be one that can
 * be talked to.  What it forges are packets of vpci-gen. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "net-link.h"
#include "vpci-packet.h"

/* How long a bout takes, at first with links alone, and how long to wait for a
 * link at most. */
#define LINKS_MS 200
#define BOUT_MS 300
#define MAX_WAIT_MS 20000

/* Packets that are sent each ms, and words that are written between them. */
#define N_SENT 4
#define N_WORDS 300

#define LEN 60

static unsigned int seed = 1;
static struct vpci_net *net;

/* What the switch says in the base region, which is spoilt in a bout. */
static void *control;

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static uint64_t
random64(void)
{
    return ((uint64_t) rand_r(&seed) << 40 ^ (uint64_t) rand_r(&seed) << 20
            ^ (uint64_t) rand_r(&seed));
}

/* Does what an honest guest does. */
static void
behave(void)
{
    static uint8_t data[N_SENT][2048];
    struct vpci_ring_buf bufs[N_SENT];

    vpci_net_run(net, now_ms());
    for (int i = 0; i < N_SENT; i++) {
        memset(data[i], 0, LEN);
        memcpy(data[i], "\2\0\0\0\0\1\2\0\0\0\0\6\x88\xb5", 14);
        bufs[i] = (struct vpci_ring_buf) { .data = data[i], .len = LEN };
    }
    vpci_net_tx_burst(net, 0, bufs, N_SENT);
    for (int i = 0; i < N_SENT; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = data[i],
                                           .size = sizeof data[i] };
    }
    vpci_net_rx_burst(net, 0, bufs, N_SENT);
}

/* Keeps what the switch says, or writes it back. */
static void
keep_control(bool back)
{
    const struct net_region *base = &net->base;
    size_t size = base->layout.sections[VPCI_ABI_CONTROL].size;

    if (!base->base) {
        return;
    }
    if (back && control) {
        memcpy(base->base, control, size);
    } else if (!back && (control || (control = malloc(size)))) {
        memcpy(control, base->base, size);
    }
}

/* Words anywhere, or where rings and their words are. */
static void
scribble(const struct net_region *r)
{
    unsigned int section = rand_r(&seed) % VPCI_ABI_N_SECTIONS;
    uint64_t size = r->layout.sections[section].size;
    uint8_t *at = (uint8_t *) r->base + r->layout.sections[section].offset;

    if (rand_r(&seed) % 2 && size > 4 * VPCI_ABI_PAGE) {
        size = 4 * VPCI_ABI_PAGE;
    }
    vpci_store64((vpci_le64 *) (void *) at + random64() % (size / 8),
                 rand_r(&seed) % 2 ? random64()
                 : rand_r(&seed) % 2 ? random64() % 64 : UINT64_MAX);
}

/* Packets that look as if the guest at the other end could have them. */
static void
forge(const struct net_region *r)
{
    struct packet_config config = {
        .len = PACKET_MIN_LEN,
        .src_mac = { 2, 0, 0, 0, 0, 6 },
        .dst_mac = { 2, 0, 0, 0, 0, 2 },
        .src_ip = 0x0a000006,
        .dst_ip = 0x0a000002,
    };
    struct vpci_ring_memory m;
    uint32_t next;

    vpci_layout_ring(&r->layout, r->base, r->config.side, 0, &m);
    next = vpci_load32(&m.consumer->consumed);
    for (uint32_t i = next; i != next + m.n_slots; i++) {
        struct vpci_abi_slot *slot = &m.slots[i & (m.n_slots - 1)];
        struct packet_stamp stamp = { .stream = 0x666, .host = packet_host(),
                                      .number = random64() % 1000000 };

        packet_init(slot->data, &config);
        packet_stamp(slot->data, &config, 1, &stamp);
        vpci_store64(&slot->offload, rand_r(&seed) % 4 ? 0 : random64());
        vpci_store64(&slot->word,
                     (uint64_t) VPCI_ABI_SLOT_INLINE << VPCI_ABI_TYPE_SHIFT
                     | (uint64_t) config.len << VPCI_ABI_LEN_SHIFT
                     | (uint32_t) (i + 1));
    }
}

/* What this guest has with somebody else now: the base, or link 'i' - 1. */
static const struct net_region *
region(uint32_t i)
{
    const struct net_region *r = &net->base;

    if (i) {
        const struct net_link *link = (net->links ? net->links->slots[i - 1]
                                       : NULL);

        r = link ? &link->region : NULL;
    }
    return r && r->channel ? r : NULL;
}

/* Writes over what there is from region 'first' on. */
static void
spoil(uint32_t first)
{
    for (uint32_t i = first; i <= VPCI_ABI_MAX_LINKS; i++) {
        const struct net_region *r = region(i);

        for (int k = 0; r && k < N_WORDS; k++) {
            scribble(r);
        }
        if (r && i) {
            forge(r);
            net_region_inject_all(r);
        }
    }
}

/* A guest whose own base is spoilt soon has no links any more. */
static void
bout(void)
{
    int64_t begin = now_ms();

    while (now_ms() < begin + LINKS_MS) {
        spoil(1);
        usleep(1000);
    }
    keep_control(false);
    while (now_ms() < begin + BOUT_MS) {
        spoil(0);
        behave();
        usleep(1000);
    }
}

/* Behaves until a link carries packets.  Returns whether one does. */
static bool
reach_link(void)
{
    uint64_t before = 0;
    int64_t end = now_ms() + MAX_WAIT_MS;
    struct vpci_net_stats stats;

    vpci_net_get_stats(net, VPCI_NET_ALL, &stats);
    before = stats.tx.linked;
    while (now_ms() < end && stats.tx.linked < before + 100) {
        behave();
        usleep(1000);
        vpci_net_get_stats(net, VPCI_NET_ALL, &stats);
    }
    return stats.tx.linked > before;
}

int
main(int argc, char *argv[])
{
    unsigned long n_bouts = 1, n_linked = 0;
    char reason[256];
    int c;

    while ((c = getopt(argc, argv, "s:n:")) >= 0) {
        if (c == 's') {
            seed = strtoul(optarg, NULL, 10);
        } else if (c == 'n') {
            n_bouts = strtoul(optarg, NULL, 10);
        } else {
            return EXIT_FAILURE;
        }
    }
    if (optind + 1 != argc) {
        fprintf(stderr, "usage: %s [-s SEED] [-n BOUTS] SOCKET\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (vpci_net_open(argv[optind], NULL, &net, reason, sizeof reason)) {
        fprintf(stderr, "%s: %s\n", argv[optind], reason);
        return EXIT_FAILURE;
    }
    for (unsigned long i = 0; i < n_bouts; i++) {
        n_linked += reach_link();
        bout();
        if (i + 1 < n_bouts) {
            keep_control(true);
        }
    }
    vpci_net_close(net);
    free(control);
    printf("%lu bouts, %lu of them with a link\n", n_bouts, n_linked);
    return n_linked ? EXIT_SUCCESS : EXIT_FAILURE;
}
