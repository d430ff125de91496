/* SPDX-License-Identifier: Apache-2.0 */

/* What moves of megaflows wait for: what was on its way before has come. */

#include "netdev-vpci-link-private.h"

#include <rte_cycles.h>

#include "vpci/ring.h"

/* What must not be before a generation of hints has come. */
#define GENERATION_BITS 31

bool
vpci_way_has_guest(const struct vpci_way *way, unsigned int i)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_link_end *end = &way->link->ends[i];

    return end->linker->runs && end->connected;
}

static bool
has_come(uint32_t number, uint32_t mark)
{
    return (int32_t) (number - mark) >= 0;
}

bool
vpci_linker_follows_hints(const struct vpci_linker *from, uint32_t generation)
{
    for (uint32_t q = 0; q < from->n_queues; q++) {
        uint32_t said = vpci_load32_acquire(
            &vpci_layout_queue(from->guest.layout, from->guest.memory,
                               q)->hints);
        uint32_t distance = (said - generation) << (32 - GENERATION_BITS);

        if ((int32_t) distance < 0) {
            return false;
        }
    }
    return true;
}

/* The switch: */

void
vpci_passage_begin(struct vpci_passage *p, const struct vpci_linker *from)
{
    memset(p, 0, sizeof *p);
    for (uint32_t i = 0; i < from->guest.layout->n_rings; i++) {
        p->marks[i]
            = vpci_ring_offered(vpci_channel_rx(from->guest.channel, i));
    }
}

/* True if everything that came before the marks in 'queue' has been dealt
 * with: what was received in one poll has been, by the end of the next. */
static bool
has_passed_queue(struct vpci_passage *p, const struct vpci_linker *from,
                 uint32_t queue)
{
    uint32_t n_classes = from->guest.layout->shape.n_classes;
    const struct vpci_rxq *rxq = &from->dev->rxqs[queue];
    uint64_t n_polls = __atomic_load_n(&rxq->n_polls, __ATOMIC_ACQUIRE);

    for (uint32_t i = queue * n_classes; i < (queue + 1) * n_classes; i++) {
        struct vpci_ring_rx *rx = vpci_channel_rx(from->guest.channel, i);

        if (!has_come(vpci_ring_taken(rx), p->marks[i])
            && !vpci_ring_rx_fault(rx)) {
            return false;
        }
    }
    if (!p->polls[queue]) {
        p->polls[queue] = n_polls + 2;
    }
    return (n_polls >= p->polls[queue]
            || !__atomic_load_n(&rxq->running, __ATOMIC_RELAXED));
}

bool
vpci_passage_is_over(struct vpci_passage *p, const struct vpci_linker *from)
{
    uint64_t now = rte_get_tsc_cycles();

    for (uint32_t q = 0; q < from->n_queues; q++) {
        p->passed[q] = p->passed[q] || has_passed_queue(p, from, q);
        if (!p->passed[q]) {
            return false;
        }
    }
    if (!p->hold_until) {
        p->hold_until = now + 2 * vpci_datapath_hold_cycles(now);
    }
    return now >= p->hold_until;
}

/* The receiver, of what comes from the switch: */

void
vpci_way_mark_receiver(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *to = vpci_way_receiver(way);

    for (uint32_t i = 0; i < to->guest.layout->n_rings; i++) {
        way->marks[i]
            = vpci_ring_produced(vpci_channel_tx(to->guest.channel, i));
    }
}

bool
vpci_way_receiver_has_taken(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *to = vpci_way_receiver(way);

    for (uint32_t i = 0; i < to->guest.layout->n_rings; i++) {
        struct vpci_ring_tx *tx = vpci_channel_tx(to->guest.channel, i);

        if (!has_come(vpci_ring_said_consumed(tx), way->marks[i])
            && !vpci_ring_tx_fault(tx)) {
            return false;
        }
    }
    return true;
}

/* The receiver, of what comes by the link.  The numbers are what guests say:
 * they spoil nothing but the order, or the end, of what they send to each
 * other. */

static void
get_link_ring(const struct vpci_way *way, uint32_t i,
              struct vpci_ring_memory *memory)
{
    vpci_layout_ring(&way->link->layout, way->link->memory, way->from, i,
                     memory);
}

void
vpci_way_mark_link(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    for (uint32_t i = 0; i < way->link->layout.n_rings; i++) {
        struct vpci_ring_memory memory;

        get_link_ring(way, i, &memory);
        way->marks[i] = vpci_load32_acquire(&memory.producer->produced);
    }
}

bool
vpci_way_link_is_taken(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    for (uint32_t i = 0; i < way->link->layout.n_rings; i++) {
        struct vpci_ring_memory memory;

        get_link_ring(way, i, &memory);
        if (!has_come(vpci_load32_acquire(&memory.consumer->consumed),
                      way->marks[i])) {
            return false;
        }
    }
    return true;
}
