/* SPDX-License-Identifier: Apache-2.0 */

/* Sends each packet that comes to one port out of the other, both ways, and
 * sleeps while there is none.
 *
 * usage: forward ADDRESS1 ADDRESS2
 *
 * Addresses are the ports' options:ivshmem-path.  Ctrl-C ends it.
 *
 * A packet is copied out of the ring that it came by, and into the other one:
 * switches come and go, so that nobody can keep what is in their rings.
 * rings.c shows how to do without copies in rings of one's own. */

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <vpci/net.h>

#define BURST VPCI_RING_BURST
#define BUFFER 9216             /* Longer packets are dropped and counted. */
#define SLEEP_US 200000         /* How often to see whether to end. */
#define ROOM_US 10000           /* How long a burst may wait for room. */

/* One way.  Each has a thread, the only one that receives from 'from' and the
 * only one that transmits to 'to', as the rules of vpci/net.h want it. */
struct way {
    struct vpci_net *from;
    struct vpci_net *to;
    pthread_t thread;
    uint64_t n_sent;
    uint64_t n_dropped;
    uint8_t memory[BURST][BUFFER];
};

static struct way ways[2];
static bool exiting;

/* Sends 'n' packets.  Whoever takes none for a while loses them. */
static void
send_all(struct way *way, const struct vpci_ring_buf bufs[], unsigned int n)
{
    unsigned int sent = vpci_net_tx_burst(way->to, 0, bufs, n);

    while (sent < n && vpci_net_tx_wait(way->to, 0, ROOM_US)) {
        sent += vpci_net_tx_burst(way->to, 0, bufs + sent, n - sent);
    }
    way->n_sent += sent;
    way->n_dropped += n - sent;
}

static void *
forward(void *way_)
{
    struct way *way = way_;
    struct vpci_ring_buf bufs[BURST];

    memset(bufs, 0, sizeof bufs);
    for (int i = 0; i < BURST; i++) {
        bufs[i].data = way->memory[i];
        bufs[i].size = BUFFER;
    }
    while (!__atomic_load_n(&exiting, __ATOMIC_RELAXED)) {
        unsigned int n = vpci_net_rx_burst(way->from, 0, bufs, BURST);

        if (n) {
            /* Neither port has offloads, so that 'offload' of each is 0. */
            send_all(way, bufs, n);
        } else {
            vpci_net_rx_wait(way->from, 0, SLEEP_US);
        }
    }
    return NULL;
}

static struct vpci_net *
open_port(const char *address)
{
    struct vpci_net_config config = { .own_thread = true };
    struct vpci_net *net;
    char reason[256];

    if (vpci_net_open(address, &config, &net, reason, sizeof reason)) {
        fprintf(stderr, "forward: %s\n", reason);
        return NULL;
    }
    return net;
}

/* Forwards until one of 'signals' comes. */
static int
run(struct vpci_net *a, struct vpci_net *b, const sigset_t *signals)
{
    int signal_number;

    for (int i = 0; i < 2; i++) {
        ways[i].from = i ? b : a;
        ways[i].to = i ? a : b;
        if (pthread_create(&ways[i].thread, NULL, forward, &ways[i])) {
            fprintf(stderr, "forward: cannot make a thread\n");
            return 1;           /* The process ends, and all threads. */
        }
    }
    printf("forwarding\n");
    fflush(stdout);
    sigwait(signals, &signal_number);

    __atomic_store_n(&exiting, true, __ATOMIC_RELAXED);
    vpci_net_wake(a);
    vpci_net_wake(b);
    for (int i = 0; i < 2; i++) {
        pthread_join(ways[i].thread, NULL);
        printf("way %d: %" PRIu64 " packets, %" PRIu64 " dropped\n", i + 1,
               ways[i].n_sent, ways[i].n_dropped);
    }
    return 0;
}

int
main(int argc, char *argv[])
{
    struct vpci_net *a, *b;
    sigset_t signals;
    int status;

    if (argc != 3) {
        fprintf(stderr, "usage: forward ADDRESS1 ADDRESS2\n");
        return 2;
    }

    /* Of all threads, those of the library as well: sigwait() gets them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    a = open_port(argv[1]);
    b = a ? open_port(argv[2]) : NULL;
    status = b ? run(a, b, &signals) : 1;
    if (!status) {
        vpci_net_close(b);
        vpci_net_close(a);
    }
    return status;
}
