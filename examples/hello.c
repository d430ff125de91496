/* SPDX-License-Identifier: Apache-2.0 */

/* Opens a port of a switch, sends one packet to everybody, and prints what
 * comes.
 *
 * usage: hello ADDRESS [PACKETS]
 *
 * ADDRESS is the port's options:ivshmem-path.  It ends when PACKETS packets
 * have come; without a number, Ctrl-C ends it. */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <vpci/net.h>

#define BURST 16
#define BUFFER 2048             /* Longer packets are dropped and counted. */
#define HEADER 14               /* Of Ethernet: two addresses, a type. */
#define SEND_US 10000000        /* How long the switch may take. */

/* One of the types that are for experiments: IEEE 802, section 9.2.4. */
static const uint8_t hello_type[2] = { 0x88, 0xb5 };

/* The switch need not be there yet, and we need not know when it comes: the
 * port's own thread looks after that. */
static void
wait_for_switch(struct vpci_net *net, struct vpci_net_info *info)
{
    const struct timespec moment = { .tv_nsec = 10000000 };
    char said[sizeof info->reason] = "";

    for (;;) {
        vpci_net_get_info(net, info);
        if (info->carrier) {
            return;
        }
        if (strcmp(said, info->reason)) {
            memcpy(said, info->reason, sizeof said);
            printf("waiting (%s): %s\n", vpci_net_state_name(info->state),
                   said);
        }
        nanosleep(&moment, NULL);
    }
}

static const uint8_t no_mac[6];

/* Returns true if the switch has taken the packet. */
static bool
send_hello(struct vpci_net *net, const struct vpci_net_info *info)
{
    char frame[HEADER + 64] = "";
    struct vpci_ring_buf buf = { .data = frame };

    memset(frame, 0xff, 6);             /* To everybody, from us. */
    memcpy(frame + 6, info->mac, 6);
    if (!memcmp(info->mac, no_mac, 6)) {
        frame[6] = 0x02;                /* The switch proposes no address. */
        frame[11] = info->guest_id;
    }
    memcpy(frame + 12, hello_type, 2);
    snprintf(frame + HEADER, sizeof frame - HEADER,
             "hello from guest %" PRIu32, info->guest_id);
    buf.len = sizeof frame;

    /* 0 if there is no room, or the switch has just gone. */
    while (!vpci_net_tx_burst(net, 0, &buf, 1)) {
        if (!vpci_net_tx_wait(net, 0, SEND_US)) {
            return false;
        }
    }
    return vpci_net_tx_flush(net, 0, SEND_US);
}

static void
print_packet(const uint8_t *frame, uint32_t len)
{
    const uint8_t *src = frame + 6;

    if (len < HEADER) {
        return;
    }
    printf("%" PRIu32 " bytes from %02x:%02x:%02x:%02x:%02x:%02x", len,
           src[0], src[1], src[2], src[3], src[4], src[5]);
    if (!memcmp(frame + 12, hello_type, 2)) {
        printf(": %.*s", (int) len - HEADER, (const char *) frame + HEADER);
    }
    printf("\n");
}

/* Prints 'n' packets.  Sleeps while there are none. */
static void
receive(struct vpci_net *net, uint64_t n)
{
    static uint8_t memory[BURST][BUFFER];
    struct vpci_ring_buf bufs[BURST];

    memset(bufs, 0, sizeof bufs);
    for (int i = 0; i < BURST; i++) {
        bufs[i].data = memory[i];
        bufs[i].size = BUFFER;
    }
    while (n) {
        unsigned int max = n < BURST ? n : BURST;
        unsigned int got = vpci_net_rx_burst(net, 0, bufs, max);

        for (unsigned int i = 0; i < got; i++) {
            print_packet(bufs[i].data, bufs[i].len);
        }
        n -= got;
        if (!got) {
            vpci_net_rx_wait(net, 0, -1);
        }
    }
}

int
main(int argc, char *argv[])
{
    struct vpci_net_config config = { .own_thread = true };
    uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : UINT64_MAX;
    struct vpci_net_info info;
    struct vpci_net *net;
    char reason[256];
    bool ok;

    if (argc < 2) {
        fprintf(stderr, "usage: hello ADDRESS [PACKETS]\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (vpci_net_open(argv[1], &config, &net, reason, sizeof reason)) {
        fprintf(stderr, "hello: %s\n", reason);
        return 1;
    }
    wait_for_switch(net, &info);
    ok = send_hello(net, &info);
    printf(ok ? "sent\n" : "the switch has not taken the packet\n");
    receive(net, n);
    vpci_net_close(net);
    return !ok;
}
