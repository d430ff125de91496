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

#include "bitmap.h"
#include "netdev-vpci-actions.h"
#include "timeval.h"

/* How long a move may take, at most, before it is finished anyway: in ms.  A
 * change of policy takes a move that is under way, for which it waits that
 * long, and one of its own. */
#define ON_MS 1000
#define OFF_MS 70
#define WAIT_MS 20
#define PATIENCE_MS 1000

int
vpci_way_init(struct vpci_way *way, struct vpci_link *link, unsigned int from)
    OVS_REQUIRES(links_mutex)
{
    *way = (struct vpci_way) {
        .link = link, .from = from, .budget = { .at = time_msec() },
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
    vpci_link_flow_start_counting(lf, to);
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
            vpci_link_flow_count(lf, o, now);
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
        if (vpci_way_has_guest(way, way->from)
            && !vpci_linker_follows_hints(vpci_way_sender(way),
                                          way->generation)) {
            return false;
        }
        if (vpci_way_has_guest(way, way->from)) {
            vpci_passage_begin(&way->passage, vpci_way_sender(way));
        }
        way->move = VPCI_MOVE_ON_SWITCH;
        return true;

    case VPCI_MOVE_ON_SWITCH:
        if (vpci_way_has_guest(way, way->from)
            && !vpci_passage_is_over(&way->passage, vpci_way_sender(way))) {
            return false;
        }
        if (vpci_way_has_guest(way, !way->from)) {
            vpci_way_mark_receiver(way);
        }
        way->move = VPCI_MOVE_ON_GUEST;
        return true;

    case VPCI_MOVE_ON_GUEST:
        if (vpci_way_has_guest(way, !way->from)
            && !vpci_way_receiver_has_taken(way)) {
            return false;
        }
        finish_on(way);
        return true;

    case VPCI_MOVE_OFF_HINTS:
        if (vpci_way_has_guest(way, way->from)
            && !vpci_linker_follows_hints(vpci_way_sender(way),
                                          way->generation)) {
            return false;
        }
        vpci_way_mark_link(way);
        way->move = VPCI_MOVE_OFF_GUEST;
        return true;

    case VPCI_MOVE_OFF_GUEST:
        if (vpci_way_has_guest(way, !way->from)
            && !vpci_way_link_is_taken(way)) {
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

/* True if the move takes too long, for which megaflows that are to leave wait
 * since 'waiting_since', in ms, or none if that is LLONG_MAX. */
static bool
takes_too_long(const struct vpci_way *way, long long int waiting_since,
               long long int now)
{
    if (is_moving_off(way)) {
        return (now >= way->patient_until
                && (now - way->since >= OFF_MS
                    || now - waiting_since >= WAIT_MS));
    }
    return now - way->since >= (waiting_since == LLONG_MAX ? ON_MS : WAIT_MS);
}

/* Finishes a move that takes too long. */
static void
give_up(struct vpci_way *way, struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
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

/* Says since when megaflows wait for their leave, in ms, or LLONG_MAX, and
 * whether any are to join. */
static void
find_moves(const struct vpci_way *way, long long int *waiting_since,
           bool *join)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_link_flow *lf;

    *waiting_since = LLONG_MAX;
    *join = false;
    LIST_FOR_EACH (lf, node, &way->flows) {
        if (lf->changed_at && !lf->leaves) {
            *waiting_since = MIN(*waiting_since, lf->changed_at);
        }
        *join |= !lf->changed_at && lf->acceptance == VPCI_STEER_NONE;
    }
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
    long long int waiting_since;
    bool join;

    vpci_way_watch(way, now);
    if (vpci_way_is_empty(way)) {
        way->all_leave = false;
        return false;
    }
    if (way->is_old && !way->link->why
        && vpci_links_are_restoring(vpci_way_sender(way), now)) {
        return false;
    }
    mark(way, o, now);
    find_moves(way, &waiting_since, &join);
    if (way->is_old && !is_moving_off(way)) {
        waiting_since = MIN(waiting_since, now);
    }
    while (step(way, o, now)) {
        continue;
    }
    if (way->move != VPCI_MOVE_NONE
        && takes_too_long(way, waiting_since, now)) {
        give_up(way, o, now);
    }
    if (way->move == VPCI_MOVE_NONE && waiting_since != LLONG_MAX) {
        start_off(way, now);
    } else if (way->move == VPCI_MOVE_NONE && join) {
        start_on(way, o, now);
    }
    vpci_way_count(way, now);
    return way->move != VPCI_MOVE_NONE && now >= way->patient_until;
}
