/* SPDX-License-Identifier: Apache-2.0 */

/* The flow API of vpci ports: megaflows as entries of the port's steering
 * table.
 *
 * Every megaflow of the port is kept here, also one that the splice path
 * refuses: then it has no entry, packets go to the datapath as ever, and the
 * datapath goes on to tell when the megaflow changes or goes.  A megaflow that
 * was spliced and is refused after a change keeps what was counted.
 *
 * A megaflow may be in several PMD threads, and the datapath has it once for
 * each.  Each of those copies asks for statistics and adds all of them to its
 * own, so that a packet must be reported to one of them only: each is given
 * what has been counted since any of them asked, on top of what it was given
 * before. */

#include "netdev-vpci-private.h"

#include <errno.h>
#include <rte_cycles.h>

#include "dpif.h"
#include "hash.h"
#include "netdev-offload-provider.h"
#include "netdev-vpci-actions.h"
#include "netdev-vpci-match.h"
#include "odp-util.h"
#include "openvswitch/hmap.h"
#include "openvswitch/match.h"
#include "timeval.h"
#include "vpci/steer.h"

VLOG_DEFINE_THIS_MODULE(netdev_offload_vpci);

/* Copies of a megaflow that are remembered: more than there are processors for
 * PMD threads. */
#define MAX_COPIES 1024

/* A copy of a megaflow in some PMD thread.  All that tells it from others is
 * the address at which it keeps its name. */
struct copy {
    const ovs_u128 *address;
    uint64_t packets;           /* Reported to it. */
    uint64_t bytes;
    long long int asked;        /* When it asked last. */
};

struct vpci_flow {
    struct hmap_node node;      /* In 'flows', by 'ufid'. */
    ovs_u128 ufid;
    struct minimatch match;
    struct nlattr *actions;
    size_t actions_len;

    char *refusal;              /* What the splice path would not do... */
    bool passing;               /* ...though perhaps later, or... */
    uint32_t entry;             /* ...the entry, and its verdict. */
    struct vpci_program *program;

    struct vpci_steer_stats past; /* Of entries that it had before. */
    uint64_t reported_packets;
    uint64_t reported_bytes;
    struct copy *copies;
    size_t n_copies, allocated_copies;
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
    count_offloaded(o, flow, -1);
    unuse_targets(o, flow->program);
    ovsrcu_postpone(vpci_program_destroy, flow->program);
    flow->program = NULL;
}

static void
free_flow(struct vpci_flow *flow)
{
    minimatch_destroy(&flow->match);
    free(flow->actions);
    free(flow->refusal);
    free(flow->copies);
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
    hmap_insert(&o->flows, &flow->node, hash_bytes(ufid, sizeof *ufid, 0));
    return flow;
}

/* Gives 'flow' an entry with 'program', which it takes.  Returns null, or why
 * that is not possible. */
static char *
set_program(struct vpci_offload *o, struct vpci_flow *flow,
            const union vpci_key *mask, const union vpci_key *key,
            struct vpci_program *program)
    OVS_REQUIRES(o->mutex)
{
    uint64_t verdict = (uintptr_t) program;
    struct vpci_program *old = flow->program;
    int error;

    program->generation = o->source.generation + 1;
    __atomic_store_n(&o->source.generation, program->generation,
                     __ATOMIC_RELEASE);
    use_targets(o, program);
    if (old) {
        vpci_steer_set_verdict(o->source.table, flow->entry, verdict);
        unuse_targets(o, old);
        ovsrcu_postpone(vpci_program_destroy, old);
        flow->program = program;
        return NULL;
    }
    error = vpci_steer_insert(o->source.table, mask, key, verdict,
                              &flow->entry);
    if (!error) {
        flow->program = program;
        count_offloaded(o, flow, 1);
        return NULL;
    }
    flow->entry = VPCI_STEER_NONE;
    flow->passing = true;
    unuse_targets(o, program);
    /* For a moment it may have been found. */
    ovsrcu_postpone(vpci_program_destroy, program);
    return xstrdup(error == E2BIG ? "one mask too many"
                   : error == EEXIST ? "another flow with the same match"
                   : "the steering table is full");
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
        remove_entry(o, flow, true);
    } else {
        flow->refusal = set_program(o, flow, &t->mask, &t->key, t->program);
        t->program = NULL;
    }
}

/* Statistics. */

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

/* Takes out the copy that has not asked for longest. */
static void
forget_copy(struct vpci_flow *flow)
{
    size_t oldest = 0;

    for (size_t i = 1; i < flow->n_copies; i++) {
        if (flow->copies[i].asked < flow->copies[oldest].asked) {
            oldest = i;
        }
    }
    flow->copies[oldest] = flow->copies[--flow->n_copies];
}

static struct copy *
find_copy(struct vpci_flow *flow, const ovs_u128 *address)
{
    struct copy *copy;

    for (size_t i = 0; i < flow->n_copies; i++) {
        copy = &flow->copies[i];
        if (copy->address == address) {
            copy->asked = time_msec();
            return copy;
        }
    }
    if (flow->n_copies == MAX_COPIES) {
        forget_copy(flow);
    }
    if (flow->n_copies == flow->allocated_copies) {
        flow->copies = x2nrealloc(flow->copies, &flow->allocated_copies,
                                  sizeof *flow->copies);
    }
    copy = &flow->copies[flow->n_copies++];
    *copy = (struct copy) { .address = address, .asked = time_msec() };
    return copy;
}

/* Fills in what the copy of 'flow' that is at 'address' is to know. */
static void
report_stats(const struct vpci_offload *o, struct vpci_flow *flow,
             const ovs_u128 *address, struct dpif_flow_stats *stats)
    OVS_REQUIRES(o->mutex)
{
    struct copy *copy = find_copy(flow, address);
    struct vpci_steer_stats totals;

    get_totals(o, flow, &totals);
    copy->packets += totals.packets - flow->reported_packets;
    copy->bytes += totals.bytes - flow->reported_bytes;
    flow->reported_packets = totals.packets;
    flow->reported_bytes = totals.bytes;
    *stats = (struct dpif_flow_stats) {
        .n_packets = copy->packets,
        .n_bytes = copy->bytes,
        .used = tsc_to_msec(totals.used),
        .tcp_flags = ntohs(totals.tcp_flags),
    };
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

static int
netdev_offload_vpci_flow_put(struct netdev *netdev, struct match *match,
                             struct nlattr *actions, size_t actions_len,
                             const ovs_u128 *ufid,
                             struct offload_info *info OVS_UNUSED,
                             struct dpif_flow_stats *stats)
{
    struct vpci_offload *o = get_offload(netdev);
    struct vpci_flow *flow;
    struct translation t;

    if (!o) {
        return EOPNOTSUPP;
    }
    translate(netdev, match, actions, actions_len, &t);
    ovs_mutex_lock(&o->mutex);
    flow = find_flow(o, ufid);
    if (!flow) {
        flow = add_flow(o, ufid, match);
    }
    if (!flow->program || !has_actions(flow, actions, actions_len)) {
        set_actions(flow, actions, actions_len);
        apply_translation(o, flow, &t);
    }
    if (stats) {
        report_stats(o, flow, ufid, stats);
    }
    ovs_mutex_unlock(&o->mutex);
    translation_uninit(&t);
    return 0;
}

/* Tries once more to splice the megaflow 'ufid', which was refused for a reason
 * that may be gone. */
static void
try_again(struct vpci_offload *o, struct netdev *netdev, const ovs_u128 *ufid)
{
    struct nlattr *actions = NULL;
    struct vpci_flow *flow;
    struct ofpbuf buffer;
    struct match match;
    struct translation t;

    ofpbuf_init(&buffer, 0);
    ovs_mutex_lock(&o->mutex);
    flow = find_flow(o, ufid);
    if (flow) {
        fill_flow(flow, &match, &actions, &buffer);
    }
    ovs_mutex_unlock(&o->mutex);
    if (flow) {
        translate(netdev, &match, actions, buffer.size, &t);
        ovs_mutex_lock(&o->mutex);
        flow = find_flow(o, ufid);
        if (flow && flow->refusal
            && has_actions(flow, actions, buffer.size)) {
            apply_translation(o, flow, &t);
        }
        ovs_mutex_unlock(&o->mutex);
        translation_uninit(&t);
    }
    ofpbuf_uninit(&buffer);
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
        report_stats(o, flow, ufid, stats);
        again = flow->refusal && flow->passing;
    }
    ovs_mutex_unlock(&o->mutex);
    if (again) {
        try_again(o, netdev, ufid);
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
            report_stats(o, flow, ufid, stats);
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
    struct vpci_flow *flow;
    struct vpci_dump *dump;

    if (!o) {
        return EOPNOTSUPP;
    }
    dump = xzalloc(sizeof *dump);
    dump->up.netdev = netdev_ref(netdev);
    dump->up.terse = terse;
    ovs_mutex_lock(&o->mutex);
    dump->ufids = xcalloc(MAX(hmap_count(&o->flows), 1),
                          sizeof *dump->ufids);
    HMAP_FOR_EACH (flow, node, &o->flows) {
        if (flow->program) {
            dump->ufids[dump->n++] = flow->ufid;
        }
    }
    ovs_mutex_unlock(&o->mutex);
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
    struct vpci_steer_stats totals;

    fill_flow(flow, match, actions, buffer);
    fill_attrs(flow, attrs);
    get_totals(o, flow, &totals);
    *stats = (struct dpif_flow_stats) {
        .n_packets = totals.packets,
        .n_bytes = totals.bytes,
        .used = tsc_to_msec(totals.used),
        .tcp_flags = ntohs(totals.tcp_flags),
    };
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
vpci_offload_count(const struct netdev_vpci *dev, uint32_t *n_entries,
                   uint32_t *n_masks)
{
    struct vpci_offload *o = get_offload(&dev->up);

    if (!o) {
        return false;
    }
    ovs_mutex_lock(&o->mutex);
    *n_entries = vpci_steer_n_entries(o->source.table);
    *n_masks = vpci_steer_n_masks(o->source.table);
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
    const struct vpci_flow *flow;

    if (!o) {
        return;
    }
    ovs_mutex_lock(&o->mutex);
    HMAP_FOR_EACH (flow, node, &o->flows) {
        if (flow->refusal) {
            struct match match;

            minimatch_expand(&flow->match, &match);
            cb(&match, flow->refusal, aux);
        }
    }
    ovs_mutex_unlock(&o->mutex);
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
