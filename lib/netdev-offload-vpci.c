/* SPDX-License-Identifier: Apache-2.0 */

/* The flow API of vpci ports: what Open vSwitch's datapath asks of the splice
 * path. */

#include "netdev-vpci-megaflow.h"

#include <errno.h>
#include <limits.h>

#include "dpif.h"
#include "netdev-offload-provider.h"
#include "netdev-vpci-actions.h"

VLOG_DEFINE_THIS_MODULE(netdev_offload_vpci);

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
      const struct vpci_offered *of, bool add)
{
    struct vpci_flow *flow;
    struct vpci_translation t;

    vpci_translate(netdev, &of->match, of->actions, of->actions_len, &t);
    if (t.program) {
        vpci_program_set_owner(t.program, of->flow, of->dp_actions);
    }
    ovs_mutex_lock(&o->mutex);
    flow = vpci_flow_find(o, ufid);
    if (!flow && (add || vpci_copy_is_marked(of->flow))) {
        flow = vpci_flow_add(o, ufid, &of->match);
    }
    if (flow) {
        vpci_flow_update(o, flow, of, &t);
    }
    ovs_mutex_unlock(&o->mutex);
    vpci_translation_uninit(&t);
}

/* The match that the datapath passes is the one that was asked for: what it
 * has found by it, to modify, may have another. */
static int
netdev_offload_vpci_flow_put(struct netdev *netdev,
                             struct match *asked OVS_UNUSED,
                             struct nlattr *actions, size_t actions_len,
                             const ovs_u128 *ufid,
                             struct offload_info *info OVS_UNUSED,
                             struct dpif_flow_stats *stats)
{
    struct vpci_offload *o = vpci_offload_get(netdev);
    struct vpci_offered of = {
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
    struct vpci_offered of = {
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

/* The datapath has match and actions itself: the room that it gives us for
 * them would not do. */
static int
netdev_offload_vpci_flow_get(struct netdev *netdev,
                             struct match *match OVS_UNUSED,
                             struct nlattr **actions OVS_UNUSED,
                             const ovs_u128 *ufid,
                             struct dpif_flow_stats *stats,
                             struct dpif_flow_attrs *attrs,
                             struct ofpbuf *buffer OVS_UNUSED)
{
    struct vpci_offload *o = vpci_offload_get(netdev);
    struct vpci_flow *flow;
    bool again = false;

    if (!o) {
        return EOPNOTSUPP;
    }
    ovs_mutex_lock(&o->mutex);
    flow = vpci_flow_find(o, ufid);
    if (flow) {
        fill_attrs(flow, attrs);
        vpci_flow_report_stats(o, flow, vpci_copy_flow(ufid), stats);
        again = (vpci_flow_is_passing(flow)
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
    struct vpci_offload *o = vpci_offload_get(netdev);
    struct vpci_flow *flow;

    if (!o) {
        return EOPNOTSUPP;
    }
    ovs_mutex_lock(&o->mutex);
    flow = vpci_flow_find(o, ufid);
    if (flow) {
        if (stats) {
            vpci_flow_remove_entry(o, flow, true);
            vpci_flow_report_stats(o, flow, vpci_copy_flow(ufid), stats);
        }
        vpci_flow_remove(o, flow);
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
        vpci_flow_remove(o, flow);
    }
    vpci_residues_expire(o, LLONG_MAX);
}

static int
netdev_offload_vpci_flow_flush(struct netdev *netdev)
{
    struct vpci_offload *o = vpci_offload_get(netdev);

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
    struct vpci_offload *o = vpci_offload_get(netdev);

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
    struct vpci_offload *o = vpci_offload_get(netdev);
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
    vpci_flow_get_stats(o, flow, stats);
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
    struct vpci_offload *o = vpci_offload_get(dump->up.netdev);
    const struct vpci_flow *flow = NULL;

    if (!o) {
        return false;
    }
    ovs_mutex_lock(&o->mutex);
    while (!flow && dump->next < dump->n) {
        flow = vpci_flow_find(o, &dump->ufids[dump->next++]);
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
    struct vpci_offload *o = vpci_offload_get(&dev->up);

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
    struct vpci_offload *o = vpci_offload_get(&dev->up);
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
        flow = vpci_flow_find(o, &ufids[i]);
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
    if (vpci_offload_get(netdev)) {
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
    ovs_list_init(&o->residues);
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
    struct vpci_offload *o = vpci_offload_get(netdev);

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
