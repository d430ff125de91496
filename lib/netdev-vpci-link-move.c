/* SPDX-License-Identifier: Apache-2.0 */

/* Megaflows on a link.
 *
 * One that joins: its acceptance says that packets wait; then come the hints,
 * and the sender says when it follows them.  What it sent before goes through
 * the switch, and when the receiver has taken that, packets are accepted.
 *
 * One that leaves: its hint goes, and the sender says so.  When the receiver
 * has taken what was in the link then, its acceptance goes.
 *
 * Nobody is waited for for long.  But as long as policy allows it, what was
 * sent to a guest that hangs is accepted when it goes on, and what a guest had
 * sent before it went, for a while. */

#include "netdev-vpci-link-private.h"

#include <rte_cycles.h>

#include "bitmap.h"
#include "netdev-vpci-actions.h"
#include "timeval.h"
#include "vpci/ring.h"

/* How long a move may take, at most, before it is finished anyway: in ms.  A
 * change of policy takes a move that is under way, and one of its own. */
#define ON_MS 1000
#define ON_MS_IF_OTHERS_LEAVE 20
#define OFF_MS 70
#define PATIENCE_MS 1000

/* What a guest can have received by a link in a millisecond, at most, and how
 * many of these may come in late. */
#define MAX_PACKETS_PER_MS 300000
#define MAX_LATE_MS 10

/* What must not be before a generation of hints has come. */
#define GENERATION_BITS 31

int
vpci_way_init(struct vpci_way *way, struct vpci_link *link, unsigned int from)
    OVS_REQUIRES(links_mutex)
{
    *way = (struct vpci_way) {
        .link = link, .from = from, .budget_at = time_msec(),
    };
    ovs_list_init(&way->flows);
    way->acceptances = vpci_steer_create(VPCI_LINK_ENTRIES, 1);
    return way->acceptances ? 0 : ENOMEM;
}

void
vpci_way_uninit(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    if (way->acceptances) {
        vpci_steer_destroy(way->acceptances);
    }
}

bool
vpci_way_has_room(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *to = vpci_way_receiver(way);
    const struct vpci_linker *from = vpci_way_sender(way);

    return (bitmap_count1(to->entries, VPCI_LINK_ENTRIES) < VPCI_LINK_ENTRIES
            && vpci_steer_n_entries(from->hints) + way->n_flows
               < VPCI_LINK_ENTRIES);
}

void
vpci_way_add(struct vpci_way *way, struct vpci_offload *o,
             struct vpci_flow *flow, const struct vpci_edits *edits)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(o->mutex)
{
    struct vpci_link_flow *lf = xzalloc(sizeof *lf);
    uint64_t verdict;

    vpci_steer_get(o->source.table, flow->entry, &lf->mask, &lf->key,
                   &verdict);
    lf->way = way;
    lf->flow = flow;
    lf->edits = *edits;
    lf->joins = true;
    lf->hint = lf->acceptance = lf->counter = VPCI_STEER_NONE;
    flow->link = lf;
    ovs_list_push_back(&way->flows, &lf->node);
    way->n_flows++;
}

/* Any thread, with the mutex of the offload. */
void
vpci_link_flow_changed(struct vpci_flow *flow)
{
    if (flow->link) {
        __atomic_store_n(&flow->link->changed, true, __ATOMIC_RELEASE);
        vpci_links_wake();
    }
}

void
vpci_link_flow_gone(struct vpci_flow *flow)
{
    if (flow->link) {
        vpci_link_flow_changed(flow);
        flow->link->flow = NULL;
        flow->link = NULL;
    }
}

void
vpci_way_leave(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    way->all_leave = true;
}

/* Counters. */

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

/* Forgets what was counted before 'lf' got its counter. */
static void
start_counting(struct vpci_link_flow *lf)
{
    const struct vpci_linker *to = vpci_way_receiver(lf->way);

    for (uint32_t q = 0; q < to->guest.layout->shape.n_queues; q++) {
        uint16_t tcp_flags;

        read_counter(to, q, lf->counter, &lf->seen[q].packets,
                     &lf->seen[q].bytes, &tcp_flags);
    }
}

/* Returns how many packets the receiver can have received by 'way' and not
 * said so. */
static uint64_t *
get_budget(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    if (now > way->budget_at) {
        way->budget = (MIN(way->budget, MAX_LATE_MS * MAX_PACKETS_PER_MS)
                       + (now - way->budget_at) * MAX_PACKETS_PER_MS);
        way->budget_at = now;
    }
    return &way->budget;
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

/* Adds what the receiver has counted for 'lf' since it was asked last, as far
 * as that is possible, to '*sum'. */
static void
read_growth(struct vpci_link_flow *lf, long long int now,
            struct vpci_steer_stats *sum)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *to = vpci_way_receiver(lf->way);
    uint64_t *budget = get_budget(lf->way, now);
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
static void
count_ports(struct vpci_way *way, const struct vpci_steer_stats *new,
            int growth, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linked *from = &vpci_way_sender(way)->dev->linked;
    struct vpci_linked *to = &vpci_way_receiver(way)->dev->linked;

    way->packets += new->packets;
    way->bytes += new->bytes;
    way->link->pair->used_at = now;
    add_atomic(&from->rx_packets, new->packets);
    add_atomic(&from->rx_bytes, new->bytes);
    add_atomic(&to->tx_packets, new->packets);
    add_atomic(&to->tx_bytes, new->bytes + growth * (int64_t) new->packets);
}

/* Counts 'new' for the megaflow of 'lf' or, if that has gone, for what comes
 * in its place. */
static void
credit(struct vpci_offload *o, const struct vpci_link_flow *lf,
       const struct vpci_steer_stats *new)
    OVS_REQUIRES(o->mutex)
{
    if (lf->flow) {
        add_to_flow(lf->flow, new);
    } else {
        vpci_residue_add(o, &lf->mask, &lf->key, new);
    }
}

/* Counts for 'lf', of the offload 'o' or of none. */
static void
count_flow(struct vpci_link_flow *lf, struct vpci_offload *o,
           long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_way *way = lf->way;
    struct vpci_steer_stats new = { .packets = 0 };

    if (lf->counter == VPCI_STEER_NONE || !vpci_way_receiver(way)->runs) {
        return;
    }
    read_growth(lf, now, &new);
    if (!new.packets) {
        return;
    }
    count_ports(way, &new, lf->edits.growth, now);
    if (o) {
        ovs_mutex_lock(&o->mutex);
        credit(o, lf, &new);
        ovs_mutex_unlock(&o->mutex);
    }
}

static void
count(struct vpci_way *way, struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link_flow *lf;

    LIST_FOR_EACH (lf, node, &way->flows) {
        count_flow(lf, o, now);
    }
}

/* What guests are told. */

static void
publish_acceptances(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *to = vpci_way_receiver(way);
    uint32_t place = way->link->ends[!way->from].place;

    if (to->runs) {
        vpci_projection_publish(
            way->acceptances,
            vpci_layout_acceptances(to->guest.layout, to->guest.memory, place),
            &to->guest.past->links[place].acceptances);
        vpci_linker_ring(to);
    }
}

/* Tells the receiver of the edits of 'lf', which has just got its place. */
static void
write_edits(const struct vpci_link_flow *lf)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *to = vpci_way_receiver(lf->way);

    if (lf->edits.n && to->runs) {
        vpci_edits_write(&lf->edits,
                         vpci_layout_edits(to->guest.layout, to->guest.memory,
                                           lf->counter));
    }
}

static uint64_t
acceptance(const struct vpci_link_flow *lf, enum vpci_abi_acceptance a)
{
    return (uint64_t) a << VPCI_ABI_ACCEPTANCE_SHIFT | lf->counter;
}

/* Takes the entries and the counter of 'lf' away. */
static void
remove_entries(struct vpci_link_flow *lf)
    OVS_REQUIRES(links_mutex)
{
    if (lf->hint != VPCI_STEER_NONE) {
        vpci_steer_remove(vpci_way_sender(lf->way)->hints, lf->hint);
        lf->hint = VPCI_STEER_NONE;
    }
    if (lf->acceptance != VPCI_STEER_NONE) {
        vpci_steer_remove(lf->way->acceptances, lf->acceptance);
        lf->acceptance = VPCI_STEER_NONE;
    }
    if (lf->counter != VPCI_STEER_NONE) {
        bitmap_set0(vpci_way_receiver(lf->way)->entries, lf->counter);
        lf->counter = VPCI_STEER_NONE;
    }
}

static void
free_flow(struct vpci_link_flow *lf, struct vpci_offload *o)
    OVS_REQUIRES(links_mutex)
{
    remove_entries(lf);
    if (o) {
        ovs_mutex_lock(&o->mutex);
        if (lf->flow) {
            lf->flow->link = NULL;
        }
        ovs_mutex_unlock(&o->mutex);
    }
    ovs_list_remove(&lf->node);
    lf->way->n_flows--;
    free(lf);
}

/* Who waits for whom. */

/* True if the guest at end 'i' of the link can be waited for. */
static bool
is_there(const struct vpci_way *way, unsigned int i)
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

/* True if all queues of the sender follow the hints of 'way'. */
static bool
hints_are_followed(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *from = vpci_way_sender(way);

    for (uint32_t q = 0; q < from->n_queues; q++) {
        uint32_t said = vpci_load32_acquire(
            &vpci_layout_queue(from->guest.layout, from->guest.memory,
                               q)->hints);
        uint32_t distance = (said - way->generation) << (32 - GENERATION_BITS);

        if ((int32_t) distance < 0) {
            return false;
        }
    }
    return true;
}

/* The switch: */

static void
mark_switch(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *from = vpci_way_sender(way);

    for (uint32_t i = 0; i < from->guest.layout->n_rings; i++) {
        way->marks[i]
            = vpci_ring_offered(vpci_channel_rx(from->guest.channel, i));
    }
    memset(way->passed, false, sizeof way->passed);
    memset(way->polls, 0, sizeof way->polls);
    way->hold_until = 0;
}

/* True if everything that came before the marks in 'queue' has been dealt
 * with: what was received in one poll has been, by the end of the next. */
static bool
has_passed_queue(struct vpci_way *way, uint32_t queue)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *from = vpci_way_sender(way);
    uint32_t n_classes = from->guest.layout->shape.n_classes;
    const struct vpci_rxq *rxq = &from->dev->rxqs[queue];
    uint64_t n_polls = __atomic_load_n(&rxq->n_polls, __ATOMIC_ACQUIRE);

    for (uint32_t i = queue * n_classes; i < (queue + 1) * n_classes; i++) {
        struct vpci_ring_rx *rx = vpci_channel_rx(from->guest.channel, i);

        if (!has_come(vpci_ring_taken(rx), way->marks[i])
            && !vpci_ring_rx_fault(rx)) {
            return false;
        }
    }
    if (!way->polls[queue]) {
        way->polls[queue] = n_polls + 2;
    }
    return (n_polls >= way->polls[queue]
            || !__atomic_load_n(&rxq->running, __ATOMIC_RELAXED));
}

static bool
has_passed_switch(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    uint64_t now = rte_get_tsc_cycles();

    for (uint32_t q = 0; q < vpci_way_sender(way)->n_queues; q++) {
        way->passed[q] = way->passed[q] || has_passed_queue(way, q);
        if (!way->passed[q]) {
            return false;
        }
    }
    if (!way->hold_until) {
        way->hold_until = now + 2 * vpci_datapath_hold_cycles(now);
    }
    return now >= way->hold_until;
}

/* The receiver, of what comes from the switch: */

static void
mark_receiver(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *to = vpci_way_receiver(way);

    for (uint32_t i = 0; i < to->guest.layout->n_rings; i++) {
        way->marks[i]
            = vpci_ring_produced(vpci_channel_tx(to->guest.channel, i));
    }
}

static bool
receiver_has_taken(const struct vpci_way *way)
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

static void
mark_link(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    for (uint32_t i = 0; i < way->link->layout.n_rings; i++) {
        struct vpci_ring_memory memory;

        get_link_ring(way, i, &memory);
        way->marks[i] = vpci_load32_acquire(&memory.producer->produced);
    }
}

static bool
link_is_taken(const struct vpci_way *way)
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

/* Finds out whether the receiver takes what there is.  While a move goes on it
 * may have to wait. */
static void
watch_receiver(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    way->is_stuck = false;
    for (uint32_t i = 0; i < way->link->layout.n_rings; i++) {
        struct vpci_ring_memory memory;
        uint32_t consumed, produced;

        get_link_ring(way, i, &memory);
        consumed = vpci_load32_acquire(&memory.consumer->consumed);
        produced = vpci_load32_acquire(&memory.producer->produced);
        if (consumed == produced || consumed != way->consumed[i]
            || way->move == VPCI_MOVE_ON_HINTS
            || way->move == VPCI_MOVE_ON_SWITCH
            || way->move == VPCI_MOVE_ON_GUEST) {
            way->consumed[i] = consumed;
            way->taken_at[i] = now;
        }
        way->is_stuck |= now - way->taken_at[i] > VPCI_SILENCE_MS;
    }
}

/* Moves. */

static uint32_t
publish_hints(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *from = vpci_way_sender(way);

    vpci_linker_publish(from);
    return from->runs ? from->guest.past->hints : 0;
}

static void
start(struct vpci_way *way, enum vpci_move move, long long int now)
{
    way->move = move;
    way->since = now;
    way->patient_until = 0;
    way->n_moves++;
}

/* Returns false if that is not possible. */
static bool
insert_acceptance(struct vpci_link_flow *lf)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *to = vpci_way_receiver(lf->way);

    lf->counter = bitmap_scan(to->entries, 0, 0, VPCI_LINK_ENTRIES);
    if (lf->counter == VPCI_LINK_ENTRIES) {
        lf->counter = VPCI_STEER_NONE;
        return false;
    }
    bitmap_set1(to->entries, lf->counter);
    if (vpci_steer_insert(lf->way->acceptances, &lf->mask, &lf->key,
                          acceptance(lf, VPCI_ABI_WAIT), &lf->acceptance)) {
        lf->acceptance = VPCI_STEER_NONE;
        return false;
    }
    start_counting(lf);
    write_edits(lf);
    return true;
}

static bool
insert_hint(struct vpci_link_flow *lf)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_link *link = lf->way->link;
    uint64_t verdict = ((uint64_t) link->user.region << VPCI_ABI_HINT_ID_SHIFT
                        | link->ends[lf->way->from].place);

    if (lf->edits.n) {
        verdict |= (VPCI_ABI_HINT_EDIT
                    | MAX(lf->edits.growth, 0) << VPCI_ABI_HINT_GROWTH_SHIFT);
    }
    if (vpci_steer_insert(vpci_way_sender(lf->way)->hints, &lf->mask, &lf->key,
                          verdict, &lf->hint)) {
        lf->hint = VPCI_STEER_NONE;
        return false;
    }
    return true;
}

/* The acceptances are there before anybody can follow a hint. */
static void
start_on(struct vpci_way *way, struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link_flow *lf;

    LIST_FOR_EACH_SAFE (lf, node, &way->flows) {
        if (lf->joins && !lf->changed_at && !insert_acceptance(lf)) {
            free_flow(lf, o);
        }
    }
    publish_acceptances(way);
    LIST_FOR_EACH_SAFE (lf, node, &way->flows) {
        if (lf->joins && !lf->changed_at && !insert_hint(lf)) {
            free_flow(lf, o);
        }
    }
    way->generation = publish_hints(way);
    start(way, VPCI_MOVE_ON_HINTS, now);
}

static void
finish_on(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link_flow *lf;

    LIST_FOR_EACH (lf, node, &way->flows) {
        if (lf->joins && lf->acceptance != VPCI_STEER_NONE) {
            vpci_steer_set_verdict(way->acceptances, lf->acceptance,
                                   acceptance(lf, lf->edits.n ? VPCI_ABI_EDIT
                                              : VPCI_ABI_ACCEPT));
            lf->joins = false;
        }
    }
    publish_acceptances(way);
    way->move = VPCI_MOVE_NONE;
}

static void
start_off(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link_flow *lf;

    LIST_FOR_EACH (lf, node, &way->flows) {
        if (lf->changed_at && lf->hint != VPCI_STEER_NONE) {
            vpci_steer_remove(vpci_way_sender(way)->hints, lf->hint);
            lf->hint = VPCI_STEER_NONE;
        }
        lf->leaves = lf->changed_at != 0;
    }
    way->generation = publish_hints(way);
    start(way, VPCI_MOVE_OFF_HINTS, now);
}

static void
finish_off(struct vpci_way *way, struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link_flow *lf;

    /* What is counted after this is not accepted. */
    LIST_FOR_EACH (lf, node, &way->flows) {
        if (lf->leaves && lf->acceptance != VPCI_STEER_NONE) {
            vpci_steer_remove(way->acceptances, lf->acceptance);
            lf->acceptance = VPCI_STEER_NONE;
        }
    }
    publish_acceptances(way);
    LIST_FOR_EACH_SAFE (lf, node, &way->flows) {
        if (lf->leaves) {
            count_flow(lf, o, now);
            free_flow(lf, o);
        }
    }
    way->is_old = false;
    way->move = VPCI_MOVE_NONE;
}

/* Takes the next step if it can be taken.  Returns true if it was. */
static bool
step(struct vpci_way *way, struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
    switch (way->move) {
    case VPCI_MOVE_ON_HINTS:
        if (is_there(way, way->from) && !hints_are_followed(way)) {
            return false;
        }
        if (is_there(way, way->from)) {
            mark_switch(way);
        }
        way->move = VPCI_MOVE_ON_SWITCH;
        return true;

    case VPCI_MOVE_ON_SWITCH:
        if (is_there(way, way->from) && !has_passed_switch(way)) {
            return false;
        }
        if (is_there(way, !way->from)) {
            mark_receiver(way);
        }
        way->move = VPCI_MOVE_ON_GUEST;
        return true;

    case VPCI_MOVE_ON_GUEST:
        if (is_there(way, !way->from) && !receiver_has_taken(way)) {
            return false;
        }
        finish_on(way);
        return true;

    case VPCI_MOVE_OFF_HINTS:
        if (is_there(way, way->from) && !hints_are_followed(way)) {
            return false;
        }
        mark_link(way);
        way->move = VPCI_MOVE_OFF_GUEST;
        return true;

    case VPCI_MOVE_OFF_GUEST:
        if (is_there(way, !way->from) && !link_is_taken(way)) {
            return false;
        }
        finish_off(way, o, now);
        return true;

    case VPCI_MOVE_NONE:
    default:
        return false;
    }
}

static bool
is_moving_off(const struct vpci_way *way)
{
    return (way->move == VPCI_MOVE_OFF_HINTS
            || way->move == VPCI_MOVE_OFF_GUEST);
}

/* Finishes a move that takes too long. */
static void
give_up(struct vpci_way *way, struct vpci_offload *o, long long int now,
        bool others_leave)
    OVS_REQUIRES(links_mutex)
{
    long long int limit = (is_moving_off(way) ? OFF_MS
                           : others_leave ? ON_MS_IF_OTHERS_LEAVE : ON_MS);

    if (way->move == VPCI_MOVE_NONE || now - way->since < limit
        || (is_moving_off(way) && now < way->patient_until)) {
        return;
    }
    way->n_late++;
    way->link->pair->n_late++;
    if (is_moving_off(way)) {
        finish_off(way, o, now);
    } else {
        finish_on(way);
    }
}

/* True if 'lf' is not to be on the link any more. */
static bool
is_over(const struct vpci_link_flow *lf)
    OVS_REQUIRES(links_mutex)
{
    return (__atomic_load_n(&lf->changed, __ATOMIC_ACQUIRE)
            || !lf->flow || !lf->flow->program
            || !vpci_program_is_current(lf->flow->program)
            || !vpci_program_is_alive(lf->flow->program)
            || !vpci_way_suits(lf->way, &lf->edits));
}

/* Marks megaflows that are not to be on the link any more.  Returns true if
 * there are any. */
static bool
mark_over(struct vpci_way *way, struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link_flow *lf;
    bool any = false;

    ovs_mutex_lock(&o->mutex);
    LIST_FOR_EACH (lf, node, &way->flows) {
        if (is_over(lf)) {
            lf->changed_at = lf->changed_at ? lf->changed_at : now;
            any = true;
        }
    }
    ovs_mutex_unlock(&o->mutex);
    return any;
}

static void
mark_all(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link_flow *lf;

    LIST_FOR_EACH (lf, node, &way->flows) {
        lf->changed_at = lf->changed_at ? lf->changed_at : now;
    }
}

/* Finds out how long the receiver may take for what has been sent.  There is
 * no policy for what another switch has allowed. */
static void
set_patience(struct vpci_way *way, bool any_over, long long int now)
    OVS_REQUIRES(links_mutex)
{
    if (any_over || way->is_old || !vpci_way_is_allowed(way)) {
        way->patient_until = 0;
    } else if (vpci_way_receiver(way)->is_silent || way->is_stuck
               || (way->link->guest_left && !way->patient_until)) {
        way->patient_until = now + PATIENCE_MS;
    }
}

/* Finds out what has to leave the link. */
static void
mark(struct vpci_way *way, struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
    bool any_over = !o || mark_over(way, o, now);

    if (way->all_leave || !o || !vpci_way_is_possible(way)) {
        mark_all(way, now);
    }
    set_patience(way, any_over, now);
}

/* Says whether any megaflows are to leave, or to join. */
static void
find_moves(const struct vpci_way *way, bool *leave, bool *join)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_link_flow *lf;

    *leave = *join = false;
    LIST_FOR_EACH (lf, node, &way->flows) {
        *leave |= lf->changed_at && !lf->leaves;
        *join |= !lf->changed_at && lf->acceptance == VPCI_STEER_NONE;
    }
}

void
vpci_way_count(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    count(way, vpci_offload_get(&vpci_way_sender(way)->dev->up), now);
}

void
vpci_way_clear(struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_offload *o = vpci_offload_get(&vpci_way_sender(way)->dev->up);
    struct vpci_link_flow *lf;

    LIST_FOR_EACH_SAFE (lf, node, &way->flows) {
        free_flow(lf, o);
    }
    publish_hints(way);
    way->move = VPCI_MOVE_NONE;
}

bool
vpci_way_run(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_offload *o = vpci_offload_get(&vpci_way_sender(way)->dev->up);
    bool leave, join;

    watch_receiver(way, now);
    if (vpci_way_is_empty(way)) {
        way->all_leave = false;
        return false;
    }
    if (way->is_old && !way->link->why
        && vpci_links_are_restoring(vpci_way_sender(way), now)) {
        return false;
    }
    mark(way, o, now);
    find_moves(way, &leave, &join);
    leave |= way->is_old && !is_moving_off(way);
    while (step(way, o, now)) {
        continue;
    }
    give_up(way, o, now, leave);
    if (way->move == VPCI_MOVE_NONE && leave) {
        start_off(way, now);
    } else if (way->move == VPCI_MOVE_NONE && join) {
        start_on(way, o, now);
    }
    count(way, o, now);
    return way->move != VPCI_MOVE_NONE && now >= way->patient_until;
}
