/* SPDX-License-Identifier: Apache-2.0 */

/* The flow API of vpci ports: megaflows as entries of the port's steering
 * table.
 *
 * Every megaflow of the port is kept here, also one that the splice path
 * refuses: then it has no entry, packets go to the datapath as ever, and the
 * datapath goes on to tell when the megaflow changes or goes.  A megaflow that
 * was spliced and is refused after a change keeps its entry, and with it what
 * was counted, with the verdict that packets go to the datapath.
 *
 * A megaflow may be in several PMD threads: see netdev-vpci-copies.h. */

#include "netdev-vpci-private.h"

#include <errno.h>
#include <rte_cycles.h>

#include "dpif.h"
#include "hash.h"
#include "netdev-offload-provider.h"
#include "netdev-vpci-actions.h"
#include "netdev-vpci-copies.h"
#include "netdev-vpci-match.h"
#include "odp-util.h"
#include "openvswitch/hmap.h"
#include "openvswitch/match.h"
#include "timeval.h"
#include "vpci/steer.h"

VLOG_DEFINE_THIS_MODULE(netdev_offload_vpci);

struct vpci_flow {
    struct hmap_node node;      /* In 'flows', by 'ufid'. */
    ovs_u128 ufid;
    struct minimatch match;
    struct nlattr *actions;
    size_t actions_len;

    char *refusal;              /* What the splice path would not do... */
    bool passing;               /* ...though perhaps later, or... */
    struct vpci_program *program; /* ...what it does. */
    uint32_t entry;             /* VPCI_STEER_NONE if it never had one. */

    struct vpci_steer_stats past; /* Of entries that it had before. */
    struct vpci_copies copies;
};

/* How many programs send to a port. */
struct target_use {
    struct hmap_node node;      /* In 'uses', by address of the target. */
    struct vpci_target *target;
    size_t n_programs;
};

struct vpci_offload {
    struct vpci_source source;
    struct vpci_target *target; /* The port itself. */

    struct ovs_mutex mutex;
    struct hmap flows OVS_GUARDED;
    struct hmap uses OVS_GUARDED;
    uint64_t *n_offloaded OVS_GUARDED; /* For each offload thread. */
    uint64_t n_reported OVS_GUARDED; /* Packets, to megaflows. */
};

static struct vpci_offload *
get_offload(const struct netdev *netdev)
{
    return ovsrcu_get(struct vpci_offload *,
                      &netdev_vpci_cast(netdev)->offload);
}

static struct vpci_flow *
find_flow(const struct vpci_offload *o, const ovs_u128 *ufid)
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

static struct target_use *
find_use(const struct vpci_offload *o, const struct vpci_target *target)
    OVS_REQUIRES(o->mutex)
{
    struct target_use *use;

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
        sole = CONTAINER_OF(hmap_first(&o->uses), struct target_use,
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
        struct target_use *use = target ? find_use(o, target) : NULL;

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
free_use(struct target_use *use)
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
        struct target_use *use = target ? find_use(o, target) : NULL;

        if (use && !--use->n_programs) {
            hmap_remove(&o->uses, &use->node);
            update_sole(o);
            ovsrcu_postpone(free_use, use);
        }
    }
}

/* Programs. */

/* Makes 'to' the target of 'op'.  Returns null, or why that is not possible. */
static char *
set_target(struct vpci_op *op, struct netdev *to, bool *passing)
{
    struct vpci_offload *o;

    if (!is_netdev_vpci(to)) {
        return xasprintf("output to %s, which is not of type vpci",
                         netdev_get_name(to));
    }
    o = get_offload(to);
    if (!o) {
        *passing = true;
        return xasprintf("output to %s, which has no splice path",
                         netdev_get_name(to));
    }
    op->target = vpci_target_ref(o->target);
    return NULL;
}

/* Finds the target of each output of 'program', of a megaflow of 'netdev'.
 * Returns null, or what is not possible, and in '*passing' whether that may
 * change. */
static char *
find_targets(struct netdev *netdev, struct vpci_program *program,
             bool *passing)
{
    for (size_t i = 0; i < program->n_ops; i++) {
        struct vpci_op *op = &program->ops[i];
        struct netdev *to;
        char *refusal;

        if (op->kind != VPCI_OP_OUTPUT) {
            continue;
        }
        to = netdev_ports_get(op->port, netdev_get_dpif_type(netdev));
        if (!to) {
            *passing = true;
            return xasprintf("output to port %"PRIu32", which is not there",
                             odp_to_u32(op->port));
        }
        refusal = set_target(op, to, passing);
        netdev_close(to);
        if (refusal) {
            return refusal;
        }
    }
    return NULL;
}

/* What becomes of a megaflow. */
struct translation {
    union vpci_key mask;
    union vpci_key key;
    struct vpci_program *program;   /* Or null... */
    char *refusal;                  /* ...and why that is not possible... */
    bool passing;                   /* ...just now. */
};

/* Translates a megaflow of 'netdev'.  Nobody else's mutex is held: the last
 * reference to another port may go here. */
static void
translate(struct netdev *netdev, const struct match *match,
          const struct nlattr *actions, size_t actions_len,
          struct translation *t)
{
    const char *name = vpci_match_to_key(match, &t->mask, &t->key);

    t->program = NULL;
    t->passing = false;
    if (name) {
        t->refusal = xasprintf("match on %s", name);
        return;
    }
    name = vpci_actions_to_program(actions, actions_len, &t->program);
    if (name) {
        t->refusal = xasprintf("action %s", name);
        return;
    }
    t->refusal = find_targets(netdev, t->program, &t->passing);
    if (t->refusal) {
        vpci_program_destroy(t->program);
        t->program = NULL;
    }
}

static void
translation_uninit(struct translation *t)
{
    vpci_program_destroy(t->program);
    free(t->refusal);
}

/* Flows. */

static void
count_offloaded(struct vpci_offload *o, const struct vpci_flow *flow, int n)
    OVS_REQUIRES(o->mutex)
{
    o->n_offloaded[netdev_offload_ufid_to_thread_id(flow->ufid)] += n;
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
    past->packets += stats.packets;
    past->bytes += stats.bytes;
    past->used = MAX(past->used, stats.used);
    past->tcp_flags |= stats.tcp_flags;
}

/* Gives up the program of 'flow', which has one, that is not found any more. */
static void
release_program(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex)
{
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

/* Takes the entry of 'flow' away, if it has one.  What it counted is kept if
 * 'keep' is true. */
static void
remove_entry(struct vpci_offload *o, struct vpci_flow *flow, bool keep)
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

static void
remove_flow(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex)
{
    remove_entry(o, flow, false);
    hmap_remove(&o->flows, &flow->node);
    free_flow(flow);
}

static struct vpci_flow *
add_flow(struct vpci_offload *o, const ovs_u128 *ufid,
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

/* Gives 'flow' the program 'program', which it takes.  Returns null, or why that
 * is not possible. */
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
                  struct translation *t)
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

/* True if another translation of the same match and actions may have another
 * result, or there was none yet. */
static bool
is_passing(const struct vpci_flow *flow)
{
    return (flow->program ? (!vpci_program_is_alive(flow->program)
                             || !vpci_program_is_current(flow->program))
            : flow->passing || !flow->refusal);
}

/* Makes 't' refuse, for now, a megaflow that the datapath takes for another. */
static void
refuse_odd(struct translation *t)
{
    vpci_program_destroy(t->program);
    t->program = NULL;
    free(t->refusal);
    t->refusal = xstrdup("another flow by the same name in the datapath");
    t->passing = true;
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
    stats->packets += flow->past.packets;
    stats->bytes += flow->past.bytes;
    stats->used = MAX(stats->used, flow->past.used);
    stats->tcp_flags |= flow->past.tcp_flags;
}

/* Offloads 'flow' with 'match', which is that of 'copy'. */
static void
set_match(struct vpci_offload *o, struct vpci_flow *flow,
          const struct vpci_copy *copy, const struct match *match)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_steer_stats totals;

    remove_entry(o, flow, true);
    minimatch_destroy(&flow->match);
    minimatch_init(&flow->match, match);
    get_totals(o, flow, &totals);
    vpci_copies_adopt(&flow->copies, copy, totals.packets, totals.bytes);
}

/* What is offered: a copy of a megaflow, to which there is a reference. */
struct offered {
    struct dp_netdev_flow *flow;
    struct match match;
    struct nlattr *actions;
    size_t actions_len;
    const struct dp_netdev_actions *dp_actions; /* Null if it has others by
                                                 * now: then they will be
                                                 * offered, too. */
};

/* Makes 'flow' what 'of' says, of which 't' is the translation. */
static void
update_flow(struct vpci_offload *o, struct vpci_flow *flow,
            const struct offered *of, struct translation *t)
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
        same = same && !is_passing(flow);
        break;
    case VPCI_COPIES_SOME:
        refuse_odd(t);
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

/* Fills in everything that was counted for 'flow'. */
static void
get_dpif_stats(const struct vpci_offload *o, const struct vpci_flow *flow,
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

/* Fills in what 'dp_flow', a copy of 'flow', is to know. */
static void
report_stats(struct vpci_offload *o, struct vpci_flow *flow,
             struct dp_netdev_flow *dp_flow, struct dpif_flow_stats *stats)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_copy *copy = vpci_copies_find(&flow->copies, dp_flow, NULL);

    memset(stats, 0, sizeof *stats);
    if (!copy) {
        return;
    }
    get_dpif_stats(o, flow, stats);
    o->n_reported += vpci_copies_report(&flow->copies, copy, stats->n_packets,
                                        stats->n_bytes);
    stats->n_packets = copy->packets;
    stats->n_bytes = copy->bytes;
}

static void
fill_attrs(const struct vpci_flow *flow, struct dpif_flow_attrs *attrs)
{
    *attrs = (struct dpif_flow_attrs) {
        .offloaded = flow->program != NULL,
        .dp_layer = flow->program ? "vpci" : "ovs",
    };
}

/* Fills in '*match', and '*actions' in 'buffer'. */
static void
fill_flow(const struct vpci_flow *flow, struct match *match,
          struct nlattr **actions, struct ofpbuf *buffer)
{
    minimatch_expand(&flow->match, match);
    *actions = ofpbuf_put(buffer, flow->actions, flow->actions_len);
}

/* The flow API. */

/* Offers what 'of' says, by the name 'ufid'.  A megaflow that is not known is
 * added if 'add' is true, or if the datapath is still to say when it goes: it
 * takes the mark away before. */
static void
offer(struct vpci_offload *o, struct netdev *netdev, const ovs_u128 *ufid,
      const struct offered *of, bool add)
{
    struct vpci_flow *flow;
    struct translation t;

    translate(netdev, &of->match, of->actions, of->actions_len, &t);
    if (t.program) {
        vpci_program_set_owner(t.program, of->flow, of->dp_actions);
    }
    ovs_mutex_lock(&o->mutex);
    flow = find_flow(o, ufid);
    if (!flow && (add || vpci_copy_is_marked(of->flow))) {
        flow = add_flow(o, ufid, &of->match);
    }
    if (flow) {
        update_flow(o, flow, of, &t);
    }
    ovs_mutex_unlock(&o->mutex);
    translation_uninit(&t);
}

/* The match that the datapath passes is the one that was asked for: what it has
 * found by it, to modify, may have another. */
static int
netdev_offload_vpci_flow_put(struct netdev *netdev,
                             struct match *asked OVS_UNUSED,
                             struct nlattr *actions, size_t actions_len,
                             const ovs_u128 *ufid,
                             struct offload_info *info OVS_UNUSED,
                             struct dpif_flow_stats *stats)
{
    struct vpci_offload *o = get_offload(netdev);
    struct offered of = {
        .flow = vpci_copy_flow(ufid),
        .actions = actions,
        .actions_len = actions_len,
        .dp_actions = vpci_copy_get_actions(vpci_copy_flow(ufid)),
    };

    if (!o) {
        return EOPNOTSUPP;
    } else if (!vpci_copy_ref(of.flow)) {
        return ENOENT;
    }
    if (of.dp_actions->size != actions_len
        || memcmp(of.dp_actions->actions, actions, actions_len)) {
        of.dp_actions = NULL;
    }
    vpci_copy_get_match(of.flow, &of.match);
    offer(o, netdev, ufid, &of, true);
    dp_netdev_flow_unref(of.flow);
    if (stats) {
        memset(stats, 0, sizeof *stats);
    }
    return 0;
}

/* Offers what the datapath has by the name 'ufid'. */
static void
offer_again(struct vpci_offload *o, struct netdev *netdev,
            const ovs_u128 *ufid)
{
    struct offered of = {
        .flow = vpci_copy_flow(ufid),
        .dp_actions = vpci_copy_get_actions(vpci_copy_flow(ufid)),
    };

    if (vpci_copy_ref(of.flow)) {
        of.actions_len = of.dp_actions->size;
        of.actions = xmalloc(MAX(of.actions_len, 1));
        memcpy(of.actions, of.dp_actions->actions, of.actions_len);
        vpci_copy_get_match(of.flow, &of.match);
        offer(o, netdev, ufid, &of, false);
        dp_netdev_flow_unref(of.flow);
        free(of.actions);
    }
}

/* The datapath has match and actions itself: the room that it gives us for them
 * would not do. */
static int
netdev_offload_vpci_flow_get(struct netdev *netdev,
                             struct match *match OVS_UNUSED,
                             struct nlattr **actions OVS_UNUSED,
                             const ovs_u128 *ufid,
                             struct dpif_flow_stats *stats,
                             struct dpif_flow_attrs *attrs,
                             struct ofpbuf *buffer OVS_UNUSED)
{
    struct vpci_offload *o = get_offload(netdev);
    struct vpci_flow *flow;
    bool again = false;

    if (!o) {
        return EOPNOTSUPP;
    }
    ovs_mutex_lock(&o->mutex);
    flow = find_flow(o, ufid);
    if (flow) {
        fill_attrs(flow, attrs);
        report_stats(o, flow, vpci_copy_flow(ufid), stats);
        again = (is_passing(flow)
                 || vpci_copies_agree(&flow->copies) != VPCI_COPIES_ALL);
    }
    /* One that is not marked yet will be offered by itself.  One that is not
     * known is of another port that had this one's number, perhaps. */
    again = (again || !flow) && vpci_copy_is_marked(vpci_copy_flow(ufid));
    ovs_mutex_unlock(&o->mutex);
    if (again) {
        offer_again(o, netdev, ufid);
    }
    return flow ? 0 : ENOENT;
}

static int
netdev_offload_vpci_flow_del(struct netdev *netdev, const ovs_u128 *ufid,
                             struct dpif_flow_stats *stats)
{
    struct vpci_offload *o = get_offload(netdev);
    struct vpci_flow *flow;

    if (!o) {
        return EOPNOTSUPP;
    }
    ovs_mutex_lock(&o->mutex);
    flow = find_flow(o, ufid);
    if (flow) {
        if (stats) {
            remove_entry(o, flow, true);
            report_stats(o, flow, vpci_copy_flow(ufid), stats);
        }
        remove_flow(o, flow);
    }
    ovs_mutex_unlock(&o->mutex);
    return flow ? 0 : ENOENT;
}

static void
flush(struct vpci_offload *o)
    OVS_REQUIRES(o->mutex)
{
    struct vpci_flow *flow;

    HMAP_FOR_EACH_SAFE (flow, node, &o->flows) {
        remove_flow(o, flow);
    }
}

static int
netdev_offload_vpci_flow_flush(struct netdev *netdev)
{
    struct vpci_offload *o = get_offload(netdev);

    if (!o) {
        return EOPNOTSUPP;
    }
    ovs_mutex_lock(&o->mutex);
    flush(o);
    ovs_mutex_unlock(&o->mutex);
    return 0;
}

static int
netdev_offload_vpci_get_n_flows(struct netdev *netdev, uint64_t *n_flows)
{
    struct vpci_offload *o = get_offload(netdev);

    if (!o) {
        return EOPNOTSUPP;
    }
    ovs_mutex_lock(&o->mutex);
    for (unsigned int i = 0; i < netdev_offload_thread_nb(); i++) {
        n_flows[i] = o->n_offloaded[i];
    }
    ovs_mutex_unlock(&o->mutex);
    return 0;
}

/* Dumps. */

/* Names of all megaflows that are refused, or not, as 'refused' says.  The
 * caller frees them. */
static ovs_u128 *
get_ufids(struct vpci_offload *o, bool refused, size_t *n)
{
    struct vpci_flow *flow;
    ovs_u128 *ufids;

    *n = 0;
    ovs_mutex_lock(&o->mutex);
    ufids = xcalloc(MAX(hmap_count(&o->flows), 1), sizeof *ufids);
    HMAP_FOR_EACH (flow, node, &o->flows) {
        if (refused == !flow->program) {
            ufids[(*n)++] = flow->ufid;
        }
    }
    ovs_mutex_unlock(&o->mutex);
    return ufids;
}

struct vpci_dump {
    struct netdev_flow_dump up;
    ovs_u128 *ufids;            /* Of flows that were there. */
    size_t n;
    size_t next;
};

static int
netdev_offload_vpci_dump_create(struct netdev *netdev,
                                struct netdev_flow_dump **dumpp, bool terse)
{
    struct vpci_offload *o = get_offload(netdev);
    struct vpci_dump *dump;

    if (!o) {
        return EOPNOTSUPP;
    }
    dump = xzalloc(sizeof *dump);
    dump->up.netdev = netdev_ref(netdev);
    dump->up.terse = terse;
    dump->ufids = get_ufids(o, false, &dump->n);
    *dumpp = &dump->up;
    return 0;
}

static int
netdev_offload_vpci_dump_destroy(struct netdev_flow_dump *dump_)
{
    struct vpci_dump *dump = CONTAINER_OF(dump_, struct vpci_dump, up);

    netdev_close(dump->up.netdev);
    free(dump->ufids);
    free(dump);
    return 0;
}

/* Fills in everything about 'flow' for a dump, and nobody's share of its
 * statistics but all of them. */
static void
dump_flow(const struct vpci_offload *o, const struct vpci_flow *flow,
          struct match *match, struct nlattr **actions,
          struct dpif_flow_stats *stats, struct dpif_flow_attrs *attrs,
          struct ofpbuf *buffer)
    OVS_REQUIRES(o->mutex)
{
    fill_flow(flow, match, actions, buffer);
    fill_attrs(flow, attrs);
    get_dpif_stats(o, flow, stats);
}

static bool
netdev_offload_vpci_dump_next(struct netdev_flow_dump *dump_,
                              struct match *match, struct nlattr **actions,
                              struct dpif_flow_stats *stats,
                              struct dpif_flow_attrs *attrs, ovs_u128 *ufid,
                              struct ofpbuf *rbuffer OVS_UNUSED,
                              struct ofpbuf *buffer)
{
    struct vpci_dump *dump = CONTAINER_OF(dump_, struct vpci_dump, up);
    struct vpci_offload *o = get_offload(dump->up.netdev);
    const struct vpci_flow *flow = NULL;

    if (!o) {
        return false;
    }
    ovs_mutex_lock(&o->mutex);
    while (!flow && dump->next < dump->n) {
        flow = find_flow(o, &dump->ufids[dump->next++]);
    }
    if (flow) {
        *ufid = flow->ufid;
        dump_flow(o, flow, match, actions, stats, attrs, buffer);
    }
    ovs_mutex_unlock(&o->mutex);
    return flow != NULL;
}

bool
vpci_offload_count(const struct netdev_vpci *dev,
                   struct vpci_offload_counts *counts)
{
    struct vpci_offload *o = get_offload(&dev->up);

    memset(counts, 0, sizeof *counts);
    if (!o) {
        return false;
    }
    ovs_mutex_lock(&o->mutex);
    for (unsigned int i = 0; i < netdev_offload_thread_nb(); i++) {
        counts->n_flows += o->n_offloaded[i];
    }
    counts->n_masks = vpci_steer_n_masks(o->source.table);
    counts->n_reported = o->n_reported;
    ovs_mutex_unlock(&o->mutex);
    return true;
}

void
vpci_offload_for_each_refusal(
    const struct netdev_vpci *dev,
    void (*cb)(const struct match *, const char *refusal, void *aux),
    void *aux)
{
    struct vpci_offload *o = get_offload(&dev->up);
    ovs_u128 *ufids;
    size_t n;

    if (!o) {
        return;
    }
    ufids = get_ufids(o, true, &n);
    for (size_t i = 0; i < n; i++) {
        const struct vpci_flow *flow;
        char *refusal = NULL;
        struct match match;

        ovs_mutex_lock(&o->mutex);
        flow = find_flow(o, &ufids[i]);
        if (flow && flow->refusal) {
            minimatch_expand(&flow->match, &match);
            refusal = xstrdup(flow->refusal);
        }
        ovs_mutex_unlock(&o->mutex);
        if (refusal) {
            cb(&match, refusal, aux);
            free(refusal);
        }
    }
    free(ufids);
}

/* Life cycle. */

/* Lets queues of 'dev' splice as 'o' says, or not, if that is null. */
static void
set_offload(struct netdev_vpci *dev, struct vpci_offload *o)
{
    ovs_mutex_lock(&dev->mutex);
    vpci_rings_pause(dev);
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        dev->rxqs[i].splicer = o ? o->source.splicers[i] : NULL;
    }
    ovsrcu_set(&dev->offload, o);
    vpci_rings_resume(dev);
    ovs_mutex_unlock(&dev->mutex);
}

static int
netdev_offload_vpci_init_flow_api(struct netdev *netdev)
{
    struct vpci_offload *o;
    int error;

    if (!is_netdev_vpci(netdev)) {
        return EOPNOTSUPP;
    }
    if (get_offload(netdev)) {
        return 0;
    }
    o = xzalloc(sizeof *o);
    error = vpci_source_init(&o->source);
    if (error) {
        VLOG_ERR("%s: all packets go through the datapath, for want of memory "
                 "for a steering table (%s)", netdev_get_name(netdev),
                 ovs_strerror(error));
        free(o);
        return error;
    }
    ovs_mutex_init(&o->mutex);
    ovs_mutex_lock(&o->mutex);
    hmap_init(&o->flows);
    hmap_init(&o->uses);
    o->n_offloaded = xcalloc(netdev_offload_thread_nb(),
                             sizeof *o->n_offloaded);
    ovs_mutex_unlock(&o->mutex);
    o->target = vpci_target_create(netdev_vpci_cast(netdev));
    set_offload(netdev_vpci_cast(netdev), o);
    return 0;
}

static void
free_offload(struct vpci_offload *o)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    vpci_source_uninit(&o->source);
    vpci_target_unref(o->target);
    hmap_destroy(&o->flows);
    hmap_destroy(&o->uses);
    free(o->n_offloaded);
    ovs_mutex_destroy(&o->mutex);
    free(o);
}

static void
netdev_offload_vpci_uninit_flow_api(struct netdev *netdev)
{
    struct vpci_offload *o = get_offload(netdev);

    if (o) {
        vpci_target_kill(o->target);
        set_offload(netdev_vpci_cast(netdev), NULL);
        ovs_mutex_lock(&o->mutex);
        flush(o);
        ovs_mutex_unlock(&o->mutex);
        ovsrcu_postpone(free_offload, o);
    }
}

static const struct netdev_flow_api netdev_offload_vpci = {
    .type = "vpci_splice",
    .flow_flush = netdev_offload_vpci_flow_flush,
    .flow_dump_create = netdev_offload_vpci_dump_create,
    .flow_dump_destroy = netdev_offload_vpci_dump_destroy,
    .flow_dump_next = netdev_offload_vpci_dump_next,
    .flow_put = netdev_offload_vpci_flow_put,
    .flow_get = netdev_offload_vpci_flow_get,
    .flow_del = netdev_offload_vpci_flow_del,
    .flow_get_n_flows = netdev_offload_vpci_get_n_flows,
    .init_flow_api = netdev_offload_vpci_init_flow_api,
    .uninit_flow_api = netdev_offload_vpci_uninit_flow_api,
};

OVS_CONSTRUCTOR(netdev_offload_vpci_register) {
    netdev_register_flow_api_provider(&netdev_offload_vpci);
}
