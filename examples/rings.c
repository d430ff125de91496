/* SPDX-License-Identifier: Apache-2.0 */

/* A ring between two processes, without a switch: one writes packets where the
 * other reads them, so that nothing is copied.  Either sleeps while it has
 * nothing to do, and the other wakes it by an eventfd.
 *
 * Here the two have memory and eventfds by fork().  Those who do not trust
 * each other send them by SCM_RIGHTS, and seal the memory: F_SEAL_SHRINK. */

#define _GNU_SOURCE 1
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vpci/doorbell.h>
#include <vpci/ring.h>

#define N_PACKETS 100000
#define MAX_LEN 1500
#define BURST 32
#define N_SLOTS 256             /* A power of two, as is... */
#define DATA_SIZE (256 * 1024)

/* What the producer writes and, in a page of its own, the consumer does. */
struct shared {
    struct vpci_abi_slot slots[N_SLOTS];
    uint8_t data[DATA_SIZE];
    struct vpci_abi_producer producer;
    struct vpci_abi_consumer consumer __attribute__((aligned(VPCI_ABI_PAGE)));
};

static int packets_fd, room_fd; /* The doorbells of consumer and producer. */

static void
publish(struct vpci_ring_tx *tx)
{
    if (vpci_ring_publish(tx)) {
        vpci_doorbell_ring(packets_fd);
    }
}

/* Sleeps until a quarter of what is there is consumed.  If nothing is there
 * any more, nobody would wake us. */
static void
wait_for_room(struct vpci_ring_tx *tx)
{
    eventfd_t unused;

    publish(tx);
    uint32_t used = vpci_ring_produced(tx) - vpci_ring_consumed(tx);
    if (used && vpci_ring_tx_sleep(tx, used / 4 + 1)) {
        eventfd_read(room_fd, &unused);
    }
    vpci_ring_tx_awake(tx, false);
}

static void
produce(struct vpci_ring_tx *tx)
{
    for (uint32_t i = 0; i < N_PACKETS; i++) {
        uint32_t len = 1 + i % MAX_LEN;
        void *data;

        while (!(data = vpci_ring_reserve(tx, len))) {
            wait_for_room(tx);
        }
        memset(data, i % 251, len);
        vpci_ring_submit(tx, len, NULL);
        if (i % BURST == BURST - 1 || i == N_PACKETS - 1) {
            publish(tx);
        }
    }
}

static bool
is_as_expected(const struct vpci_ring_pkt *pkt, uint32_t number)
{
    const uint8_t *data = pkt->data;

    return (pkt->len == 1 + number % MAX_LEN && data[0] == number % 251
            && data[pkt->len - 1] == number % 251);
}

/* Returns 0 if all packets are as they should be. */
static int
consume(struct vpci_ring_rx *rx)
{
    uint32_t next = 0, n_bad = 0;

    while (next < N_PACKETS && !vpci_ring_rx_fault(rx)) {
        struct vpci_ring_pkt pkts[BURST];
        unsigned int n = vpci_ring_peek(rx, pkts, BURST);
        eventfd_t unused;

        for (unsigned int i = 0; i < n; i++, next++) {
            n_bad += !is_as_expected(&pkts[i], next);
        }
        if (!n) {
            if (vpci_ring_rx_sleep(rx, 1)) {
                eventfd_read(packets_fd, &unused);
            }
            vpci_ring_rx_awake(rx, false);
        } else if (vpci_ring_release(rx, n)) {
            vpci_doorbell_ring(room_fd);
        }
    }
    printf("%u packets, %u bad\n", next, n_bad);
    return n_bad || next < N_PACKETS;
}

/* An end is in memory that its own side alone can write. */
static void *
make_end(size_t bytes)
{
    return aligned_alloc(VPCI_ABI_PAGE, (bytes | (VPCI_ABI_PAGE - 1)) + 1);
}

int
main(void)
{
    struct vpci_ring_tx *tx = make_end(vpci_ring_tx_bytes(N_SLOTS));
    struct vpci_ring_rx *rx = make_end(vpci_ring_rx_bytes());
    int fd = memfd_create("rings", MFD_CLOEXEC), status = 1;
    struct shared *s;

    packets_fd = eventfd(0, EFD_CLOEXEC);
    room_fd = eventfd(0, EFD_CLOEXEC);
    if (!tx || !rx || room_fd < 0 || ftruncate(fd, sizeof *s)
        || (s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                     0)) == MAP_FAILED) {
        perror("rings");
        return 1;
    }
    struct vpci_ring_memory memory = {
        s->slots, s->data, &s->producer, &s->consumer, N_SLOTS, DATA_SIZE
    };
    vpci_ring_tx_init(tx, &memory, NULL, 0);
    if (!fork()) {
        vpci_ring_rx_init(rx, &memory, NULL, 0);
        return consume(rx);
    }
    produce(tx);
    wait(&status);
    return status != 0;
}
