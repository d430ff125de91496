/* SPDX-License-Identifier: Apache-2.0 */

/* What the splice path makes of a megaflow: a key and a program, or a reason
 * why not. */

#include "netdev-vpci-megaflow.h"

#include "netdev-vpci-actions.h"
#include "netdev-vpci-match.h"
#include "odp-util.h"

/* Makes 'to' the target of 'op'.  Returns null, or why that is not
 * possible. */
static char *
set_target(struct vpci_op *op, struct netdev *to, bool *passing)
{
    struct vpci_offload *o;

    if (!is_netdev_vpci(to)) {
        return xasprintf("output to %s, which is not of type vpci",
                         netdev_get_name(to));
    }
    o = vpci_offload_get(to);
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
            return xasprintf("output to port %"PRIu32" of the datapath: a "
                             "bridge's own, or one that has gone",
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

void
vpci_translate(struct netdev *netdev, const struct match *match,
               const struct nlattr *actions, size_t actions_len,
               struct vpci_translation *t)
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

void
vpci_translation_uninit(struct vpci_translation *t)
{
    vpci_program_destroy(t->program);
    free(t->refusal);
}

void
vpci_translation_refuse_odd(struct vpci_translation *t)
{
    vpci_program_destroy(t->program);
    t->program = NULL;
    free(t->refusal);
    t->refusal = xstrdup("another flow by the same name in the datapath");
    t->passing = true;
}
