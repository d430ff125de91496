/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_MEGAFLOW_H
#define NETDEV_VPCI_MEGAFLOW_H 1

/* Megaflows as entries of a port's steering table.
 *
 * Every megaflow of the port is kept, also one that the splice path refuses:
 * then it has no entry, packets go to the datapath as ever, and the datapath
 * goes on to tell when the megaflow changes or goes.  A megaflow that was
 * spliced and is refused after a change keeps its entry, and with it what was
 * counted, with the verdict that packets go to the datapath.
 *
 * A megaflow may be in several PMD threads: see netdev-vpci-copies.h. */

#include "netdev-vpci-splice.h"
#include "netdev-vpci-copies.h"
#include "openvswitch/hmap.h"
#include "openvswitch/match.h"
#include "vpci/key.h"
#include "vpci/steer.h"

struct dpif_flow_stats;
struct nlattr;
struct vpci_link_flow;
struct vpci_program;

/* A megaflow. */
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

    /* See netdev-vpci-link.h. */
    struct vpci_link_flow *link; /* Or null. */
    struct vpci_steer_stats linked; /* Packets that took it. */
    uint64_t n_looked;          /* Packets, when links were looked for. */

    struct vpci_copies copies;
};

/* What was counted for a megaflow, and not reported before it went from the
 * datapath: the policy changed while packets were on their way by a link.  It
 * is counted with what comes in its place, soon. */
struct vpci_residue {
    struct ovs_list node;
    union vpci_key mask;
    union vpci_key key;
    struct vpci_steer_stats stats;
    long long int until;
};

/* A port as Open vSwitch's flow offload sees it. */
struct vpci_offload {
    struct vpci_source source;
    struct vpci_target *target; /* The port itself. */

    struct ovs_mutex mutex;
    struct hmap flows OVS_GUARDED;
    struct hmap uses OVS_GUARDED;
    struct ovs_list residues OVS_GUARDED; /* Of struct vpci_residue. */
    uint64_t *n_offloaded OVS_GUARDED; /* For each offload thread. */
    uint64_t n_reported OVS_GUARDED; /* Packets, to megaflows. */
};

/* Returns null if the port has no splice path.  Valid until the caller's
 * thread quiesces. */
static inline struct vpci_offload *
vpci_offload_get(const struct netdev *netdev)
{
    return ovsrcu_get(struct vpci_offload *,
                      &netdev_vpci_cast(netdev)->offload);
}

/* netdev-vpci-translation.c */

/* What becomes of a megaflow. */
struct vpci_translation {
    union vpci_key mask;
    union vpci_key key;
    struct vpci_program *program;   /* Or null... */
    char *refusal;                  /* ...and why that is not possible... */
    bool passing;                   /* ...just now. */
};

/* Translates a megaflow of 'netdev'.  Nobody else's mutex is held: the last
 * reference to another port may go here. */
void vpci_translate(struct netdev *netdev, const struct match *match,
                    const struct nlattr *actions, size_t actions_len,
                    struct vpci_translation *t);

/* Makes 't' refuse, for now, a megaflow that the datapath takes for
 * another. */
void vpci_translation_refuse_odd(struct vpci_translation *t);

/* Frees what 't' still has. */
void vpci_translation_uninit(struct vpci_translation *t);

/* netdev-vpci-megaflow.c */

/* What is offered: a copy of a megaflow, to which there is a reference. */
struct vpci_offered {
    struct dp_netdev_flow *flow;
    struct match match;
    struct nlattr *actions;
    size_t actions_len;
    const struct dp_netdev_actions *dp_actions; /* Null if it has others by
                                                 * now: then they will be
                                                 * offered, too. */
};

/* Returns the megaflow by the name 'ufid', or null. */
struct vpci_flow *vpci_flow_find(const struct vpci_offload *o,
                                 const ovs_u128 *ufid)
    OVS_REQUIRES(o->mutex);

/* Adds a megaflow without actions or copies. */
struct vpci_flow *vpci_flow_add(struct vpci_offload *o, const ovs_u128 *ufid,
                                const struct match *match)
    OVS_REQUIRES(o->mutex);

/* Makes 'flow' what 'of' says, of which 't' is the translation. */
void vpci_flow_update(struct vpci_offload *o, struct vpci_flow *flow,
                      const struct vpci_offered *of,
                      struct vpci_translation *t)
    OVS_REQUIRES(o->mutex);

/* Removes and frees 'flow', and its entry. */
void vpci_flow_remove(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex);

/* Takes the entry of 'flow' away, if it has one.  What it counted is kept if
 * 'keep' is true. */
void vpci_flow_remove_entry(struct vpci_offload *o, struct vpci_flow *flow,
                            bool keep)
    OVS_REQUIRES(o->mutex);

/* Packets of 'flow', which has an entry, since this was asked last. */
uint64_t vpci_flow_count_new(const struct vpci_offload *o,
                             struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex);

/* Adds what was counted for a megaflow that has gone. */
void vpci_residue_add(struct vpci_offload *o, const union vpci_key *mask,
                      const union vpci_key *key,
                      const struct vpci_steer_stats *stats)
    OVS_REQUIRES(o->mutex);

/* Counts it for 'flow', if that may be in its place. */
void vpci_residues_give(struct vpci_offload *o, struct vpci_flow *flow)
    OVS_REQUIRES(o->mutex);

/* Forgets what nothing has come in the place of. */
void vpci_residues_expire(struct vpci_offload *o, long long int now)
    OVS_REQUIRES(o->mutex);

/* True if another translation of the same match and actions may have another
 * result, or there was none yet. */
bool vpci_flow_is_passing(const struct vpci_flow *flow);

/* Fills in everything that was counted for 'flow'. */
void vpci_flow_get_stats(const struct vpci_offload *o,
                         const struct vpci_flow *flow,
                         struct dpif_flow_stats *stats)
    OVS_REQUIRES(o->mutex);

/* Fills in what 'dp_flow', a copy of 'flow', is to know. */
void vpci_flow_report_stats(struct vpci_offload *o, struct vpci_flow *flow,
                            struct dp_netdev_flow *dp_flow,
                            struct dpif_flow_stats *stats)
    OVS_REQUIRES(o->mutex);

#endif /* netdev-vpci-megaflow.h */
