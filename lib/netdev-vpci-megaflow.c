/* SPDX-License-Identifier: Apache-2.0 */

#include "netdev-vpci-megaflow.h"

#include <errno.h>
#include <rte_cycles.h>

#include "dpif.h"
#include "hash.h"
#include "netdev-offload-provider.h"
#include "netdev-vpci-actions.h"
#include "netdev-vpci-link.h"
#include "timeval.h"

/* How long to wait for what comes in the place of a megaflow, in ms. */
#define RESIDUE_MS 2000

/* How many programs send to a port. */
struct vpci_target_use {
    struct hmap_node node;      /* In 'uses', by address of the target. */
    struct vpci_target *target;
    size_t n_programs;
};

struct vpci_flow *
vpci_flow_find(const struct vpci_offload *o, const ovs_u128 *ufid)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_flow *flow;

    HMAP_FOR_EACH_WITH_HASH (flow, node, hash_bytes(ufid, sizeof *ufid, 0),
                             &o->flows) {
        if (ovs_u128_equals(flow->ufid, *ufid)) {
            return flow;
        }
    }
    return NULL;
}

/* Where programs send to. */

static struct vpci_target_use *
find_use(const struct vpci_offload *o, const struct vpci_target *target)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_target_use *use;

    HMAP_FOR_EACH_WITH_HASH (use, node, hash_pointer(target, 0), &o->uses) {
        if (use->target == target) {
            return use;
        }
    }
    return NULL;
}

/* Lets PMD threads know if there is just one place to send to. */
static void
update_sole(struct vpci_offload *o)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_target *sole = NULL;

    if (hmap_count(&o->uses) == 1) {
        sole = CONTAINER_OF(hmap_first(&o->uses), struct vpci_target_use,
                            node)->target;
    }
    __atomic_store_n(&o->source.sole, sole, __ATOMIC_RELEASE);
}

static void
use_targets(struct vpci_offload *o, const struct vpci_program *program)
    OVS_REQUIRES(o->mutex)
{
    for (size_t i = 0; i < program->n_ops; i++) {
        struct vpci_target *target = program->ops[i].target;
        struct vpci_target_use *use = target ? find_use(o, target) : NULL;

        if (target && !use) {
            use = xzalloc(sizeof *use);
            use->target = vpci_target_ref(target);
            hmap_insert(&o->uses, &use->node, hash_pointer(target, 0));
            update_sole(o);
        }
        if (use) {
            use->n_programs++;
        }
    }
}

static void
free_use(struct vpci_target_use *use)
{
    vpci_target_unref(use->target);
    free(use);
}

static void
unuse_targets(struct vpci_offload *o, const struct vpci_program *program)
    OVS_REQUIRES(o->mutex)
{
    for (size_t i = 0; i < program->n_ops; i++) {
        struct vpci_target *target = program->ops[i].target;
        struct vpci_target_use *use = target ? find_use(o, target) : NULL;

        if (use && !--use->n_programs) {
            hmap_remove(&o->uses, &use->node);
            update_sole(o);
            ovsrcu_postpone(free_use, use);
        }
    }
}

/* Flows. */

static void
count_offloaded(struct vpci_offload *o, const struct vpci_flow *flow, int n)
    OVS_REQUIRES(o->mutex)
{
    o->n_offloaded[netdev_offload_ufid_to_thread_id(flow->ufid)] += n;
}

static void
add_stats(struct vpci_steer_stats *sum, const struct vpci_steer_stats *stats)
{
    sum->packets += stats->packets;
    sum->bytes += stats->bytes;
    sum->used = MAX(sum->used, stats->used);
    sum->tcp_flags |= stats->tcp_flags;
}

/* Adds what was counted for 'entry', which has been removed, to 'past'. */
static void
keep_stats(struct vpci_offload *o, uint32_t entry,
           struct vpci_steer_stats *past)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_steer_stats stats;

    /* The place is not used again before the next insertion. */
    vpci_steer_synchronize(o->source.table);
    vpci_steer_get_stats(o->source.table, entry, &stats);
    add_stats(past, &stats);
}

/* Gives up the program of 'flow', which has one, that is not found any
 * more. */
static void
release_program(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex)
{
    vpci_link_flow_changed(flow);
    count_offloaded(o, flow, -1);
    unuse_targets(o, flow->program);
    ovsrcu_postpone(vpci_program_destroy, flow->program);
    flow->program = NULL;
}

/* Takes the program of 'flow' away, if it has one. */
static void
remove_program(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex)
{
    if (flow->program) {
        vpci_steer_set_verdict(o->source.table, flow->entry,
                               VPCI_ASK_DATAPATH);
        release_program(o, flow);
    }
}

void
vpci_flow_remove_entry(struct vpci_offload *o, struct vpci_flow *flow,
                       bool keep)
    OVS_REQUIRES(o->mutex)
{
    if (flow->entry == VPCI_STEER_NONE) {
        return;
    }
    vpci_steer_remove(o->source.table, flow->entry);
    if (keep) {
        keep_stats(o, flow->entry, &flow->past);
    }
    flow->entry = VPCI_STEER_NONE;
    if (flow->program) {
        release_program(o, flow);
    }
}

static void
free_flow(struct vpci_flow *flow)
{
    minimatch_destroy(&flow->match);
    vpci_copies_uninit(&flow->copies);
    free(flow->actions);
    free(flow->refusal);
    free(flow);
}

struct vpci_flow *
vpci_flow_add(struct vpci_offload *o, const ovs_u128 *ufid,
              const struct match *match)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_flow *flow = xzalloc(sizeof *flow);

    flow->ufid = *ufid;
    flow->entry = VPCI_STEER_NONE;
    minimatch_init(&flow->match, match);
    vpci_copies_init(&flow->copies, match);
    hmap_insert(&o->flows, &flow->node, hash_bytes(ufid, sizeof *ufid, 0));
    return flow;
}

/* Gives 'flow' an entry with the verdict 'verdict'.  Returns null, or why that
 * is not possible. */
static char *
add_entry(struct vpci_offload *o, struct vpci_flow *flow,
          const union vpci_key *mask, const union vpci_key *key,
          uint64_t verdict)
    OVS_REQUIRES(o->mutex)
{
    int error = vpci_steer_insert(o->source.table, mask, key, verdict,
                                  &flow->entry);

    if (!error) {
        return NULL;
    }
    flow->entry = VPCI_STEER_NONE;
    return xstrdup(error == E2BIG ? "one mask too many"
                   : error == EEXIST ? "another flow with the same match"
                   : "the steering table is full");
}

/* Gives 'flow' the program 'program', which it takes.  Returns null, or why
 * that is not possible. */
static char *
set_program(struct vpci_offload *o, struct vpci_flow *flow,
            const union vpci_key *mask, const union vpci_key *key,
            struct vpci_program *program)
    OVS_REQUIRES(o->mutex)
{
    uint64_t verdict = (uintptr_t) program;
    char *refusal = NULL;

    program->generation = o->source.generation + 1;
    use_targets(o, program);
    if (flow->entry != VPCI_STEER_NONE) {
        vpci_steer_set_verdict(o->source.table, flow->entry, verdict);
        if (flow->program) {
            release_program(o, flow);
        }
    } else {
        refusal = add_entry(o, flow, mask, key, verdict);
    }
    if (!refusal) {
        /* Only now: who knows of the generation finds the program. */
        __atomic_store_n(&o->source.generation, program->generation,
                         __ATOMIC_RELEASE);
        flow->program = program;
        count_offloaded(o, flow, 1);
        return NULL;
    }
    flow->passing = true;
    unuse_targets(o, program);
    /* For a moment it may have been found. */
    ovsrcu_postpone(vpci_program_destroy, program);
    return refusal;
}

static bool
has_actions(const struct vpci_flow *flow, const struct nlattr *actions,
            size_t actions_len)
{
    return (flow->actions && flow->actions_len == actions_len
            && !memcmp(flow->actions, actions, actions_len));
}

static void
set_actions(struct vpci_flow *flow, const struct nlattr *actions,
            size_t actions_len)
{
    free(flow->actions);
    flow->actions = xmalloc(MAX(actions_len, 1));
    flow->actions_len = actions_len;
    nullable_memcpy(flow->actions, actions, actions_len);
}

/* Does with 'flow' what 't' says, of which it takes what it needs. */
static void
apply_translation(struct vpci_offload *o, struct vpci_flow *flow,
                  struct vpci_translation *t)
    OVS_REQUIRES(o->mutex)
{
    free(flow->refusal);
    flow->refusal = t->refusal;
    flow->passing = t->passing;
    t->refusal = NULL;
    if (flow->refusal) {
        remove_program(o, flow);
    } else {
        flow->refusal = set_program(o, flow, &t->mask, &t->key, t->program);
        t->program = NULL;
    }
}

bool
vpci_flow_is_passing(const struct vpci_flow *flow)
{
    return (flow->program ? (!vpci_program_is_alive(flow->program)
                             || !vpci_program_is_current(flow->program))
            : flow->passing || !flow->refusal);
}

/* Everything that was counted for 'flow'. */
static void
get_totals(const struct vpci_offload *o, const struct vpci_flow *flow,
           struct vpci_steer_stats *stats)
    OVS_REQUIRES(o->mutex)
{
    memset(stats, 0, sizeof *stats);
    if (flow->entry != VPCI_STEER_NONE) {
        vpci_steer_get_stats(o->source.table, flow->entry, stats);
    }
    add_stats(stats, &flow->past);
    add_stats(stats, &flow->linked);
}

/* Residues. */

uint64_t
vpci_flow_count_new(const struct vpci_offload *o, struct vpci_flow *flow)
{
    struct vpci_steer_stats stats;
    uint64_t n;

    vpci_steer_get_stats(o->source.table, flow->entry, &stats);
    n = stats.packets - flow->n_looked;
    flow->n_looked = stats.packets;
    return n;
}

void
vpci_residue_add(struct vpci_offload *o, const union vpci_key *mask,
                 const union vpci_key *key,
                 const struct vpci_steer_stats *stats)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_residue *r = xmalloc(sizeof *r);

    *r = (struct vpci_residue) {
        .mask = *mask,
        .key = *key,
        .stats = *stats,
        .until = time_msec() + RESIDUE_MS,
    };
    ovs_list_push_back(&o->residues, &r->node);
}

static void
free_residue(struct vpci_residue *r)
{
    ovs_list_remove(&r->node);
    free(r);
}

/* True if there are packets that match both. */
static bool
overlap(const union vpci_key *mask_a, const union vpci_key *a,
        const union vpci_key *mask_b, const union vpci_key *b)
{
    uint64_t differs = 0;

    for (int i = 0; i < VPCI_KEY_WORDS; i++) {
        differs |= ((a->words[i] ^ b->words[i])
                    & mask_a->words[i] & mask_b->words[i]);
    }
    return !differs;
}

void
vpci_residues_give(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_residue *r;
    union vpci_key mask, key;
    uint64_t verdict;

    if (OVS_LIKELY(ovs_list_is_empty(&o->residues))
        || flow->entry == VPCI_STEER_NONE || !flow->program
        || !vpci_program_is_current(flow->program)
        || !vpci_steer_get(o->source.table, flow->entry, &mask, &key,
                           &verdict)) {
        return;
    }
    LIST_FOR_EACH_SAFE (r, node, &o->residues) {
        if (overlap(&mask, &key, &r->mask, &r->key)) {
            add_stats(&flow->linked, &r->stats);
            free_residue(r);
        }
    }
}

void
vpci_residues_expire(struct vpci_offload *o, long long int now)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_residue *r;

    LIST_FOR_EACH_SAFE (r, node, &o->residues) {
        if (now >= r->until) {
            free_residue(r);
        }
    }
}

/* Keeps what the datapath does not know of what was counted for 'flow', which
 * goes. */
static void
keep_residue(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_steer_stats stats;
    union vpci_key mask, key;
    uint64_t verdict;

    if (flow->entry == VPCI_STEER_NONE
        || !vpci_steer_get(o->source.table, flow->entry, &mask, &key,
                           &verdict)) {
        return;
    }
    vpci_flow_remove_entry(o, flow, true);
    get_totals(o, flow, &stats);
    stats.packets -= flow->copies.packets;
    stats.bytes -= flow->copies.bytes;
    if (stats.packets) {
        vpci_residue_add(o, &mask, &key, &stats);
    }
}

void
vpci_flow_remove(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex)
{
    if (flow->linked.packets) {
        keep_residue(o, flow);
    }
    vpci_flow_remove_entry(o, flow, false);
    vpci_link_flow_gone(flow);
    hmap_remove(&o->flows, &flow->node);
    free_flow(flow);
}

/* Offloads 'flow' with 'match', which is that of 'copy'. */
static void
set_match(struct vpci_offload *o, struct vpci_flow *flow,
          const struct vpci_copy *copy, const struct match *match)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_steer_stats totals;

    vpci_flow_remove_entry(o, flow, true);
    minimatch_destroy(&flow->match);
    minimatch_init(&flow->match, match);
    get_totals(o, flow, &totals);
    vpci_copies_adopt(&flow->copies, copy, totals.packets, totals.bytes);
}

void
vpci_flow_update(struct vpci_offload *o, struct vpci_flow *flow,
                 const struct vpci_offered *of, struct vpci_translation *t)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_copy *copy = vpci_copies_find(&flow->copies, of->flow,
                                              &of->match);
    bool same = has_actions(flow, of->actions, of->actions_len);

    if (!copy) {
        return;
    }
    switch (vpci_copies_agree(&flow->copies)) {
    case VPCI_COPIES_ALL:
        same = same && !vpci_flow_is_passing(flow);
        break;
    case VPCI_COPIES_SOME:
        vpci_translation_refuse_odd(t);
        same = false;
        break;
    case VPCI_COPIES_NONE:
        set_match(o, flow, copy, &of->match);
        same = false;
        break;
    }
    if (!same) {
        set_actions(flow, of->actions, of->actions_len);
        apply_translation(o, flow, t);
    }
}

/* Statistics. */

/* When the TSC was at 'tsc', in milliseconds as time_msec() has them.  Never
 * later than now, though the TSC of another processor may be ahead. */
static long long int
tsc_to_msec(uint64_t tsc)
{
    uint64_t now = rte_get_tsc_cycles();
    long long int msec = time_msec();

    return (!tsc ? 0 : tsc >= now ? msec
            : msec - (now - tsc) / (rte_get_tsc_hz() / 1000));
}

void
vpci_flow_get_stats(const struct vpci_offload *o, const struct vpci_flow *flow,
                    struct dpif_flow_stats *stats)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_steer_stats totals;

    get_totals(o, flow, &totals);
    *stats = (struct dpif_flow_stats) {
        .n_packets = totals.packets,
        .n_bytes = totals.bytes,
        .used = tsc_to_msec(totals.used),
        .tcp_flags = ntohs(totals.tcp_flags),
    };
}

void
vpci_flow_report_stats(struct vpci_offload *o, struct vpci_flow *flow,
                       struct dp_netdev_flow *dp_flow,
                       struct dpif_flow_stats *stats)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_copy *copy = vpci_copies_find(&flow->copies, dp_flow, NULL);

    memset(stats, 0, sizeof *stats);
    if (!copy) {
        return;
    }
    vpci_flow_get_stats(o, flow, stats);
    o->n_reported += vpci_copies_report(&flow->copies, copy, stats->n_packets,
                                        stats->n_bytes);
    stats->n_packets = copy->packets;
    stats->n_bytes = copy->bytes;
}
