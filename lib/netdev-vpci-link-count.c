/* SPDX-License-Identifier: Apache-2.0 */

/* What receivers count of the megaflows on a link, as far as it can be
 * believed, becomes what the switch knows of these and of both ports. */

#include "netdev-vpci-link-private.h"

#include <rte_cycles.h>

/* What a guest can have received by a link in a millisecond, at most, and how
 * many of these may come in late. */
#define MAX_PACKETS_PER_MS 300000
#define MAX_LATE_MS 10

/* What the guest says of a counter, of one queue. */
static void
read_counter(const struct vpci_linker *to, uint32_t queue, uint32_t counter,
             uint64_t *packets, uint64_t *bytes, uint16_t *tcp_flags)
{
    const struct vpci_abi_flow_count *c = vpci_layout_flow_count(
        to->guest.layout, to->guest.memory, queue, counter);

    *packets = vpci_load64(&c->packets);
    *bytes = vpci_load64(&c->bytes);
    *tcp_flags = vpci_load64(&c->tcp_flags);
}

void
vpci_link_flow_start_counting(struct vpci_link_flow *lf,
                              const struct vpci_linker *to)
{
    for (uint32_t q = 0; q < to->guest.layout->shape.n_queues; q++) {
        uint16_t tcp_flags;

        read_counter(to, q, lf->counter, &lf->seen[q].packets,
                     &lf->seen[q].bytes, &tcp_flags);
    }
}

/* Returns where it is noted how many packets the receiver can have received
 * until 'now', in ms, and not said so. */
static uint64_t *
get_budget(struct vpci_link_budget *budget, long long int now)
{
    if (now > budget->at) {
        budget->packets = (MIN(budget->packets,
                               MAX_LATE_MS * MAX_PACKETS_PER_MS)
                           + (now - budget->at) * MAX_PACKETS_PER_MS);
        budget->at = now;
    }
    return &budget->packets;
}

/* What has been added to 'old', if 'new' can be believed. */
static uint64_t
growth(uint64_t old, uint64_t new)
{
    return new >= old ? new - old : new;
}

/* Bytes of the shortest packet of 'lf': it has the tags that it loses. */
static uint64_t
min_len(const struct vpci_link_flow *lf)
{
    return ETH_HEADER_LEN + MAX(-lf->edits.growth, 0);
}

void
vpci_link_flow_read(struct vpci_link_flow *lf, const struct vpci_linker *to,
                    struct vpci_link_budget *budget_, long long int now,
                    struct vpci_steer_stats *sum)
{
    uint64_t *budget = get_budget(budget_, now);
    uint64_t n = 0, bytes = 0;

    for (uint32_t q = 0; q < to->guest.layout->shape.n_queues; q++) {
        uint64_t packets, q_bytes;
        uint16_t tcp_flags;

        read_counter(to, q, lf->counter, &packets, &q_bytes, &tcp_flags);
        if (packets == lf->seen[q].packets) {
            continue;
        }
        n += MIN(growth(lf->seen[q].packets, packets), *budget);
        bytes += growth(lf->seen[q].bytes, q_bytes);
        lf->seen[q].packets = packets;
        lf->seen[q].bytes = q_bytes;
        sum->tcp_flags |= tcp_flags & OVS_BE16_MAX;
    }
    n = MIN(n, *budget);
    *budget -= n;
    sum->packets += n;
    sum->bytes += MIN(MAX(bytes, n * min_len(lf)), n * VPCI_ABI_MAX_LEN);
}

static void
add_atomic(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Adds 'new' to what is known of 'flow', with the mutex of its offload. */
static void
add_to_flow(struct vpci_flow *flow, const struct vpci_steer_stats *new)
{
    flow->linked.packets += new->packets;
    flow->linked.bytes += new->bytes;
    flow->linked.tcp_flags |= new->tcp_flags;
    flow->linked.used = rte_get_tsc_cycles();
}

/* Counts 'new' for the ports.  At the second one, packets have become longer
 * by 'growth' bytes each. */
void
vpci_linked_count(struct vpci_linked *from, struct vpci_linked *to,
                  const struct vpci_steer_stats *new, int growth)
{
    add_atomic(&from->rx_packets, new->packets);
    add_atomic(&from->rx_bytes, new->bytes);
    add_atomic(&to->tx_packets, new->packets);
    add_atomic(&to->tx_bytes, new->bytes + growth * (int64_t) new->packets);
}

static void
count_way(struct vpci_way *way, const struct vpci_steer_stats *new,
          int growth, long long int now)
    OVS_REQUIRES(links_mutex)
{
    way->packets += new->packets;
    way->bytes += new->bytes;
    way->link->pair->used_at = now;
    vpci_linked_count(&vpci_way_sender(way)->dev->linked,
                      &vpci_way_receiver(way)->dev->linked, new, growth);
}

/* Counts 'new' for the megaflow of 'lf' or, if that has gone, for what comes
 * in its place. */
void
vpci_link_flow_credit(struct vpci_offload *o, const struct vpci_link_flow *lf,
                      const struct vpci_steer_stats *new)
    OVS_REQUIRES(o->mutex)
{
    if (lf->flow) {
        add_to_flow(lf->flow, new);
    } else {
        vpci_residue_add(o, &lf->mask, &lf->key, new);
    }
}

void
vpci_link_flow_count(struct vpci_link_flow *lf, struct vpci_offload *o,
                     long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_way *way = lf->way;
    struct vpci_steer_stats new = { .packets = 0 };

    if (lf->counter == VPCI_STEER_NONE || !vpci_way_receiver(way)->runs) {
        return;
    }
    vpci_link_flow_read(lf, vpci_way_receiver(way), &way->budget, now, &new);
    if (!new.packets) {
        return;
    }
    count_way(way, &new, lf->edits.growth, now);
    if (o) {
        ovs_mutex_lock(&o->mutex);
        vpci_link_flow_credit(o, lf, &new);
        ovs_mutex_unlock(&o->mutex);
    }
}

void
vpci_way_count(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_offload *o = vpci_offload_get(&vpci_way_sender(way)->dev->up);
    struct vpci_link_flow *lf;

    LIST_FOR_EACH (lf, node, &way->flows) {
        vpci_link_flow_count(lf, o, now);
    }
}

/* What the receiver says it has refused at its place for 'way', ever. */
static uint64_t
read_refused(const struct vpci_way *way)
{
    const struct vpci_link_end *end = &way->link->ends[!way->from];
    const struct vpci_linker_guest *guest = &end->linker->guest;
    uint64_t n = 0;

    for (uint32_t q = 0; q < guest->layout->shape.n_queues; q++) {
        n += vpci_load64(&vpci_layout_link_count(guest->layout, guest->memory,
                                                 q, end->place)->refused);
    }
    return n;
}

void
vpci_way_forget_refused(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    if (vpci_way_receiver(way)->runs) {
        way->said_refused = read_refused(way);
    }
    way->said_refused_at = now;
}

uint64_t
vpci_way_count_refused(struct vpci_way *way, long long int now,
                       uint64_t *most)
    OVS_REQUIRES(links_mutex)
{
    uint64_t said, n;

    *most = 0;
    if (!way->link->n_meetings || !vpci_way_receiver(way)->runs) {
        return 0;
    }
    said = read_refused(way);
    n = growth(way->said_refused, said);
    *most = ((now - way->said_refused_at + MAX_LATE_MS)
             * MAX_PACKETS_PER_MS);
    way->said_refused = said;
    way->said_refused_at = now;
    way->n_refused += MIN(n, *most);
    return n;
}
