/* SPDX-License-Identifier: Apache-2.0 */

/* The megaflows for which rings are lent: see netdev-vpci-lend.h.
 *
 * They are those between the two ports that change nothing.  The borrower gets
 * hints for its own packets, and acceptances for those of the owner, both with
 * counters of its own: the owner's guest does not count. */

#include "netdev-vpci-lend-private.h"

#include "bitmap.h"
#include "netdev-vpci-actions.h"
#include "timeval.h"

static struct netdev_vpci *
sender(const struct vpci_lend *lend, int way)
{
    return way == VPCI_LEND_OUT ? lend->borrower : lend->owner;
}

static struct netdev_vpci *
receiver(const struct vpci_lend *lend, int way)
{
    return way == VPCI_LEND_OUT ? lend->owner : lend->borrower;
}

static struct vpci_offload *
get_offload(const struct vpci_lend *lend, int way)
{
    return vpci_offload_get(&sender(lend, way)->up);
}

/* True if all packets of 'flow' go to 'to' as they are. */
static bool
is_plain(const struct vpci_flow *flow, const struct netdev_vpci *to)
{
    const struct vpci_program *program = flow->program;

    return (program && flow->entry != VPCI_STEER_NONE
            && vpci_program_is_simple(program)
            && program->ops[0].kind == VPCI_OP_OUTPUT
            && vpci_program_is_current(program)
            && vpci_target_dev(program->ops[0].target) == to);
}

/* Packets of plain megaflows that went that way since the last look. */
static uint64_t
count_way(const struct vpci_lend *lend, int way)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_offload *o = get_offload(lend, way);
    struct vpci_flow *flow;
    uint64_t n = 0;

    if (!o) {
        return 0;
    }
    ovs_mutex_lock(&o->mutex);
    HMAP_FOR_EACH (flow, node, &o->flows) {
        vpci_residues_give(o, flow);
        if (is_plain(flow, receiver(lend, way))) {
            n += vpci_flow_count_new(o, flow);
        }
    }
    vpci_residues_expire(o, time_msec());
    ovs_mutex_unlock(&o->mutex);
    return n;
}

/* True if 'seen' and 'counted' packets may be the same ones: they were not
 * counted at the same time. */
static bool
is_about(uint64_t seen, uint64_t counted)
{
    uint64_t slack = MAX(seen, counted) / 8 + 1;

    return seen <= counted + slack;
}

enum vpci_lend_traffic
vpci_lend_look(struct vpci_lend *lend)
{
    struct vpci_counters rx, tx;
    uint64_t n_rx, n_tx, out, in;

    vpci_sum_counters(lend->owner, &rx, &tx);
    n_rx = rx.packets - lend->seen_rx;
    n_tx = tx.packets - lend->seen_tx;
    lend->seen_rx = rx.packets;
    lend->seen_tx = tx.packets;
    out = count_way(lend, VPCI_LEND_OUT);
    in = count_way(lend, VPCI_LEND_IN);
    if (!is_about(n_tx, out) || !is_about(n_rx, in)) {
        return VPCI_LEND_MIXED;
    }
    return out || in ? VPCI_LEND_PURE : VPCI_LEND_QUIET;
}

static uint32_t
take_counter(struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    uint32_t i = bitmap_scan(linker->entries, 0, 0, VPCI_LINK_ENTRIES);

    if (i == VPCI_LINK_ENTRIES) {
        return VPCI_STEER_NONE;
    }
    bitmap_set1(linker->entries, i);
    return i;
}

/* Enters 'lf' into the hints, or into the acceptances.  Returns false if there
 * is no room. */
static bool
insert(struct vpci_lend *lend, int way, struct vpci_link_flow *lf)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *linker = lend->linker;
    uint64_t verdict;

    lf->counter = take_counter(linker);
    if (lf->counter == VPCI_STEER_NONE) {
        return false;
    }
    vpci_link_flow_start_counting(lf, linker);
    if (way == VPCI_LEND_OUT) {
        verdict = ((uint64_t) lend->user.region << VPCI_ABI_HINT_ID_SHIFT
                   | lf->counter << VPCI_ABI_HINT_COUNTER_SHIFT
                   | vpci_layout_peer_place(linker->guest.layout));
        return !vpci_steer_insert(linker->hints, &lf->mask, &lf->key, verdict,
                                  &lf->hint);
    }
    verdict = ((uint64_t) VPCI_ABI_ACCEPT << VPCI_ABI_ACCEPTANCE_SHIFT
               | lf->counter);
    return !vpci_steer_insert(lend->acceptances, &lf->mask, &lf->key, verdict,
                              &lf->acceptance);
}

static void
remove_entries(struct vpci_lend *lend, struct vpci_link_flow *lf)
    OVS_REQUIRES(links_mutex)
{
    if (lf->hint != VPCI_STEER_NONE) {
        vpci_steer_remove(lend->linker->hints, lf->hint);
    }
    if (lf->acceptance != VPCI_STEER_NONE) {
        vpci_steer_remove(lend->acceptances, lf->acceptance);
    }
    lf->hint = lf->acceptance = VPCI_STEER_NONE;
}

/* Adds 'flow' of 'o', which is plain. */
static bool
add_flow(struct vpci_lend *lend, int way, const struct vpci_offload *o,
         struct vpci_flow *flow)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(o->mutex)
{
    struct vpci_link_flow *lf = xzalloc(sizeof *lf);
    uint64_t verdict;

    lf->flow = flow;
    lf->hint = lf->acceptance = lf->counter = VPCI_STEER_NONE;
    flow->link = lf;
    ovs_list_push_back(&lend->flows[way], &lf->node);
    return (vpci_steer_get(o->source.table, flow->entry, &lf->mask, &lf->key,
                           &verdict)
            && insert(lend, way, lf));
}

/* Adds all that go that way.  Returns false if there are none, or not all have
 * room. */
static bool
add_way(struct vpci_lend *lend, int way)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_offload *o = get_offload(lend, way);
    struct vpci_flow *flow;
    bool ok = o != NULL;

    if (!o) {
        return false;
    }
    ovs_mutex_lock(&o->mutex);
    HMAP_FOR_EACH (flow, node, &o->flows) {
        if (ok && !flow->link && is_plain(flow, receiver(lend, way))) {
            ok = add_flow(lend, way, o, flow);
        }
    }
    ovs_mutex_unlock(&o->mutex);
    return ok && !ovs_list_is_empty(&lend->flows[way]);
}

static void
publish_acceptances(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker_guest *guest = &lend->linker->guest;

    vpci_projection_publish(
        lend->acceptances,
        vpci_layout_acceptances(guest->layout, guest->memory,
                                vpci_layout_peer_place(guest->layout)),
        &lend->acceptances_generation);
}

static void
publish(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    if (lend->linker->runs) {
        publish_acceptances(lend);
        vpci_linker_publish(lend->linker);
        lend->hints_generation = lend->linker->guest.past->hints;
    }
}

bool
vpci_lend_add_flows(struct vpci_lend *lend)
{
    bool ok = (add_way(lend, VPCI_LEND_OUT) && add_way(lend, VPCI_LEND_IN));

    if (ok) {
        publish(lend);
    } else {
        vpci_lend_remove_flows(lend);
    }
    return ok;
}

bool
vpci_lend_flows_changed(const struct vpci_lend *lend)
{
    for (int way = 0; way < VPCI_LEND_N_WAYS; way++) {
        struct vpci_offload *o = get_offload(lend, way);
        const struct vpci_link_flow *lf;
        bool changed = !o;

        if (o) {
            ovs_mutex_lock(&o->mutex);
            LIST_FOR_EACH (lf, node, &lend->flows[way]) {
                changed |= (__atomic_load_n(&lf->changed, __ATOMIC_ACQUIRE)
                            || !lf->flow
                            || !is_plain(lf->flow, receiver(lend, way)));
            }
            ovs_mutex_unlock(&o->mutex);
        }
        if (changed) {
            return true;
        }
    }
    return false;
}

void
vpci_lend_revoke_flows(struct vpci_lend *lend)
{
    for (int way = 0; way < VPCI_LEND_N_WAYS; way++) {
        struct vpci_link_flow *lf;

        LIST_FOR_EACH (lf, node, &lend->flows[way]) {
            remove_entries(lend, lf);
        }
    }
    publish(lend);
}

static void
count_flow(struct vpci_lend *lend, int way, struct vpci_link_flow *lf,
           struct vpci_offload *o, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_steer_stats new = { .packets = 0 };

    if (lf->counter == VPCI_STEER_NONE) {
        return;
    }
    vpci_link_flow_read(lf, lend->linker, &lend->budget, now, &new);
    if (!new.packets) {
        return;
    }
    lend->packets[way] += new.packets;
    vpci_linked_count(&sender(lend, way)->linked,
                      &receiver(lend, way)->linked, &new, 0);
    if (o) {
        ovs_mutex_lock(&o->mutex);
        vpci_link_flow_credit(o, lf, &new);
        ovs_mutex_unlock(&o->mutex);
    }
}

void
vpci_lend_count(struct vpci_lend *lend, long long int now)
{
    for (int way = 0; lend->linker->runs && way < VPCI_LEND_N_WAYS; way++) {
        struct vpci_offload *o = get_offload(lend, way);
        struct vpci_link_flow *lf;

        LIST_FOR_EACH (lf, node, &lend->flows[way]) {
            count_flow(lend, way, lf, o, now);
        }
    }
}

void
vpci_lend_remove_flows(struct vpci_lend *lend)
{
    for (int way = 0; way < VPCI_LEND_N_WAYS; way++) {
        struct vpci_offload *o = get_offload(lend, way);
        struct vpci_link_flow *lf;

        LIST_FOR_EACH_SAFE (lf, node, &lend->flows[way]) {
            remove_entries(lend, lf);
            if (lf->counter != VPCI_STEER_NONE) {
                bitmap_set0(lend->linker->entries, lf->counter);
            }
            if (o) {
                ovs_mutex_lock(&o->mutex);
                if (lf->flow) {
                    lf->flow->link = NULL;
                }
                ovs_mutex_unlock(&o->mutex);
            }
            ovs_list_remove(&lf->node);
            free(lf);
        }
    }
}
