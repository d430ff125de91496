/* SPDX-License-Identifier: Apache-2.0 */

/* A guest of vpci-net that receives the packets of vpci-gen, and tells what
 * kinds of headers they came with:
 *
 *     kinds-of-frames SOCKET
 *
 * When a signal ends it, it receives what there is, and prints:
 *
 *     packets N     that have come, and of these:
 *     other N       packets that are none of vpci-gen
 *     bad N         with checksums or lengths that are wrong
 *     disorder N    whose number is not the one after that of the last one
 *     bytes N       in all
 *     linked N      packets that came by links
 *     HEX           for each kind: the headers, without checksums
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vpci-packet.h"
#include "vpci/net.h"

#define MAX_KINDS 64
#define BURST 32
#define WAIT_US 100000

/* Bytes of IPv4 and UDP, and where in them checksums are. */
#define HEADERS 28
#define IP_CSUM 10
#define UDP_CSUM 26

struct kind {
    uint8_t headers[14 + 2 * 4 + HEADERS];
    uint32_t len;
};

static struct kind kinds[MAX_KINDS];
static unsigned int n_kinds;
static unsigned long n_packets, n_others, n_bad, n_disorder;
static unsigned long long n_bytes;
static uint64_t next;

/* Notes of what kind a packet of vpci-gen is. */
static void
note_kind(const uint8_t *p)
{
    struct kind kind = { .len = 14 };

    while (p[kind.len - 2] == 0x81 || p[kind.len - 2] == 0x88) {
        kind.len += 4;
    }
    memcpy(kind.headers, p, kind.len + HEADERS);
    memset(kind.headers + kind.len + IP_CSUM, 0, 2);
    memset(kind.headers + kind.len + UDP_CSUM, 0, 2);
    kind.len += HEADERS;
    for (unsigned int i = 0; i < n_kinds; i++) {
        if (!memcmp(&kinds[i], &kind, sizeof kind)) {
            return;
        }
    }
    if (n_kinds < MAX_KINDS) {
        kinds[n_kinds++] = kind;
    }
}

static void
note(const uint8_t *p, uint32_t len)
{
    struct packet_stamp stamp;

    n_packets++;
    n_bytes += len;
    n_bad += !packet_is_sound(p, len);
    if (!packet_read(p, len, &stamp)) {
        n_others++;
        return;
    }
    n_disorder += stamp.number != next;
    next = stamp.number + 1;
    note_kind(p);
}

static volatile sig_atomic_t ends;

static void
end(int number)
{
    (void) number;
    ends = 1;
}

static unsigned int
receive(struct vpci_net *net)
{
    static uint8_t data[BURST][2048];
    struct vpci_ring_buf bufs[BURST];
    unsigned int n;

    for (int i = 0; i < BURST; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = data[i],
                                           .size = sizeof data[i] };
    }
    n = vpci_net_rx_burst(net, 0, bufs, BURST);
    for (unsigned int i = 0; i < n; i++) {
        note(bufs[i].data, bufs[i].len);
    }
    return n;
}

static void
print(const struct vpci_net *net)
{
    struct vpci_net_stats stats;

    vpci_net_get_stats(net, VPCI_NET_ALL, &stats);
    printf("packets %lu\nother %lu\nbad %lu\ndisorder %lu\nbytes %llu\n"
           "linked %llu\n",
           n_packets, n_others, n_bad, n_disorder, n_bytes,
           (unsigned long long) stats.rx.linked);
    for (unsigned int i = 0; i < n_kinds; i++) {
        for (uint32_t j = 0; j < kinds[i].len; j++) {
            printf("%02x", kinds[i].headers[j]);
        }
        putchar('\n');
    }
}

int
main(int argc, char *argv[])
{
    struct vpci_net_config config = { .own_thread = true };
    const struct sigaction action = { .sa_handler = end };
    struct vpci_net *net;
    char reason[256];

    if (argc != 2) {
        fprintf(stderr, "usage: %s SOCKET\n", argv[0]);
        return EXIT_FAILURE;
    }
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (vpci_net_open(argv[1], &config, &net, reason, sizeof reason)) {
        fprintf(stderr, "%s: %s\n", argv[1], reason);
        return EXIT_FAILURE;
    }
    while (receive(net) || !ends) {
        vpci_net_rx_wait(net, 0, WAIT_US);
    }
    print(net);
    vpci_net_close(net);
    return EXIT_SUCCESS;
}
