/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>

#include "netdev-vpci-copies.h"

#include <string.h>

#include "dpif-netdev-private-flow.h"
#include "hash.h"
#include "odp-util.h"
#include "openvswitch/match.h"
#include "ovs-rcu.h"
#include "util.h"

/* As lib/dpif-netdev.c has it. */
#define INVALID_FLOW_MARK 0

struct dp_netdev_flow *
vpci_copy_flow(const ovs_u128 *ufid)
{
    return CONTAINER_OF(CONST_CAST(ovs_u128 *, ufid), struct dp_netdev_flow,
                        mega_ufid);
}

void
vpci_copy_get_match(const struct dp_netdev_flow *flow, struct match *match)
{
    memset(match, 0, sizeof *match);
    match->flow = flow->flow;
    miniflow_expand(&flow->cr.mask->mf, &match->wc.masks);
    /* The classifiers are for one port each, and leave it out. */
    match->wc.masks.in_port.odp_port = ODPP_NONE;
    match_zero_wildcarded_fields(match);
}

const struct dp_netdev_actions *
vpci_copy_get_actions(const struct dp_netdev_flow *flow)
{
    return ovsrcu_get(struct dp_netdev_actions *, &flow->actions);
}

bool
vpci_copy_ref(struct dp_netdev_flow *flow)
{
    return ovs_refcount_try_ref_rcu(&flow->ref_cnt);
}

bool
vpci_copy_is_marked(const struct dp_netdev_flow *flow)
{
    return __atomic_load_n(&flow->mark, __ATOMIC_RELAXED) != INVALID_FLOW_MARK;
}

static ovs_u128
hash_mask(const struct match *match)
{
    ovs_u128 hash;

    hash_bytes128(&match->wc.masks, sizeof match->wc.masks, 0, &hash);
    return hash;
}

static bool
is_dead(const struct dp_netdev_flow *flow)
{
    return __atomic_load_n(&flow->dead, __ATOMIC_RELAXED);
}

void
vpci_copies_init(struct vpci_copies *c, const struct match *match)
{
    memset(c, 0, sizeof *c);
    c->mask = hash_mask(match);
}

void
vpci_copies_uninit(struct vpci_copies *c)
{
    for (size_t i = 0; i < c->n; i++) {
        dp_netdev_flow_unref(c->copies[i].flow);
    }
    free(c->copies);
}

static bool
is_odd(const struct vpci_copies *c, const struct vpci_copy *copy)
{
    return !ovs_u128_equals(copy->mask, c->mask);
}

/* Forgets copies that are no more, so that there are no more of them than PMD
 * threads. */
static void
forget_dead(struct vpci_copies *c)
{
    size_t n = 0;

    c->n_odd = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (is_dead(c->copies[i].flow)) {
            dp_netdev_flow_unref(c->copies[i].flow);
        } else {
            c->copies[n++] = c->copies[i];
            c->n_odd += is_odd(c, &c->copies[i]);
        }
    }
    c->n = n;
}

static struct vpci_copy *
add_copy(struct vpci_copies *c, struct dp_netdev_flow *flow,
         const struct match *match)
{
    struct vpci_copy *copy;
    struct match own;

    forget_dead(c);
    if (is_dead(flow) || (!match && !vpci_copy_is_marked(flow))
        || !vpci_copy_ref(flow)) {
        return NULL;
    }
    if (c->n == c->allocated) {
        c->copies = x2nrealloc(c->copies, &c->allocated, sizeof *c->copies);
    }
    if (!match) {
        vpci_copy_get_match(flow, &own);
        match = &own;
    }
    copy = &c->copies[c->n++];
    *copy = (struct vpci_copy) { .flow = flow, .mask = hash_mask(match) };
    c->n_odd += is_odd(c, copy);
    return copy;
}

struct vpci_copy *
vpci_copies_find(struct vpci_copies *c, struct dp_netdev_flow *flow,
                 const struct match *match)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->copies[i].flow == flow) {
            return is_dead(flow) ? NULL : &c->copies[i];
        }
    }
    return add_copy(c, flow, match);
}

enum vpci_agreement
vpci_copies_agree(const struct vpci_copies *c)
{
    size_t n = 0, n_odd = 0;

    if (OVS_LIKELY(!c->n_odd)) {
        return VPCI_COPIES_ALL;
    }
    for (size_t i = 0; i < c->n; i++) {
        if (!is_dead(c->copies[i].flow)) {
            n++;
            n_odd += is_odd(c, &c->copies[i]);
        }
    }
    return (!n_odd ? VPCI_COPIES_ALL
            : n_odd == n ? VPCI_COPIES_NONE : VPCI_COPIES_SOME);
}

void
vpci_copies_adopt(struct vpci_copies *c, const struct vpci_copy *copy,
                  uint64_t packets, uint64_t bytes)
{
    c->mask = copy->mask;
    c->packets = packets;
    c->bytes = bytes;
    forget_dead(c);
}

uint64_t
vpci_copies_report(struct vpci_copies *c, struct vpci_copy *copy,
                   uint64_t packets, uint64_t bytes)
{
    uint64_t n = packets - c->packets;

    if (is_odd(c, copy)) {
        return 0;
    }
    copy->packets += n;
    copy->bytes += bytes - c->bytes;
    c->packets = packets;
    c->bytes = bytes;
    return n;
}
