/* SPDX-License-Identifier: Apache-2.0 */

/* Actions of megaflows as programs for the splice path.
 *
 * Edits stay what they are, actions of the datapath, and Open vSwitch itself
 * applies them: a packet's bytes are then the same on every path. */

#include <config.h>

#include "netdev-vpci-actions.h"

#include <string.h>

#include "dp-packet.h"
#include "netdev-vpci-target.h"
#include "netlink.h"
#include "odp-execute.h"
#include "odp-util.h"
#include "util.h"

/* Returns null if the headers alone are enough to set the field of 'key'. */
static const char *
check_set(const struct nlattr *key)
{
    switch (nl_attr_type(key)) {
    case OVS_KEY_ATTR_ETHERNET:
    case OVS_KEY_ATTR_IPV4:
    case OVS_KEY_ATTR_IPV6:
    case OVS_KEY_ATTR_TCP:
    case OVS_KEY_ATTR_UDP:
    case OVS_KEY_ATTR_ICMP:
    case OVS_KEY_ATTR_ICMPV6:
        return NULL;
    case OVS_KEY_ATTR_SCTP:
        /* Its checksum covers all of the packet. */
        return "set(sctp)";
    case OVS_KEY_ATTR_TUNNEL:
        return "set(tunnel)";
    case OVS_KEY_ATTR_PRIORITY:
        return "set(skb_priority)";
    case OVS_KEY_ATTR_SKB_MARK:
        return "set(skb_mark)";
    default:
        return "set(...)";
    }
}

static const char *
check_edit(const struct nlattr *a)
{
    enum ovs_action_attr type = nl_attr_type(a);

    switch (type) {
    case OVS_ACTION_ATTR_PUSH_VLAN:
    case OVS_ACTION_ATTR_POP_VLAN:
        return NULL;
    case OVS_ACTION_ATTR_SET:
    case OVS_ACTION_ATTR_SET_MASKED:
        return check_set(nl_attr_get(a));
    case OVS_ACTION_ATTR_USERSPACE:
        return "userspace";
    case OVS_ACTION_ATTR_SAMPLE:
        return "sample";
    case OVS_ACTION_ATTR_RECIRC:
        return "recirc";
    case OVS_ACTION_ATTR_HASH:
        return "hash";
    case OVS_ACTION_ATTR_PUSH_MPLS:
        return "push_mpls";
    case OVS_ACTION_ATTR_POP_MPLS:
        return "pop_mpls";
    case OVS_ACTION_ATTR_ADD_MPLS:
        return "add_mpls";
    case OVS_ACTION_ATTR_CT:
        return "ct";
    case OVS_ACTION_ATTR_CT_CLEAR:
        return "ct_clear";
    case OVS_ACTION_ATTR_TRUNC:
        return "trunc";
    case OVS_ACTION_ATTR_PUSH_ETH:
        return "push_eth";
    case OVS_ACTION_ATTR_POP_ETH:
        return "pop_eth";
    case OVS_ACTION_ATTR_PUSH_NSH:
        return "push_nsh";
    case OVS_ACTION_ATTR_POP_NSH:
        return "pop_nsh";
    case OVS_ACTION_ATTR_METER:
        return "meter";
    case OVS_ACTION_ATTR_CLONE:
        return "clone";
    case OVS_ACTION_ATTR_CHECK_PKT_LEN:
        return "check_pkt_len";
    case OVS_ACTION_ATTR_TUNNEL_PUSH:
        return "tnl_push";
    case OVS_ACTION_ATTR_TUNNEL_POP:
        return "tnl_pop";
    case OVS_ACTION_ATTR_LB_OUTPUT:
        return "lb_output";
    case OVS_ACTION_ATTR_UNSPEC:
    case OVS_ACTION_ATTR_OUTPUT:
    case OVS_ACTION_ATTR_DROP:
    case __OVS_ACTION_ATTR_MAX:
    default:
        return "an unknown action";
    }
}

/* Counts 'actions'.  Returns null or the name of the first that is not
 * understood. */
static const char *
check_actions(const struct nlattr *actions, size_t actions_len,
              size_t *n_actions)
{
    const struct nlattr *a;
    int n_tags = 0;
    size_t left;

    *n_actions = 0;
    NL_ATTR_FOR_EACH_UNSAFE (a, left, actions, actions_len) {
        enum ovs_action_attr type = nl_attr_type(a);
        const char *name = NULL;

        if (type == OVS_ACTION_ATTR_DROP) {
            /* With a reason, and alone. */
            name = *n_actions || left > NL_ATTR_SIZE(sizeof(uint32_t))
                   ? "drop" : NULL;
        } else if (type != OVS_ACTION_ATTR_OUTPUT) {
            name = check_edit(a);
        }
        n_tags += type == OVS_ACTION_ATTR_PUSH_VLAN;
        /* A tag that is popped may not have been there. */
        n_tags -= type == OVS_ACTION_ATTR_POP_VLAN && n_tags;
        if (name) {
            return name;
        } else if (n_tags * VLAN_HEADER_LEN > VPCI_PROGRAM_HEADROOM) {
            return "push_vlan";
        }
        ++*n_actions;
    }
    return NULL;
}

/* Adds 'a' of the program's own actions. */
static void
add_action(struct vpci_program *program, const struct nlattr *a)
{
    struct vpci_op *last = (program->n_ops
                            ? &program->ops[program->n_ops - 1] : NULL);

    if (nl_attr_type(a) == OVS_ACTION_ATTR_OUTPUT) {
        program->ops[program->n_ops++] = (struct vpci_op) {
            .kind = VPCI_OP_OUTPUT, .port = nl_attr_get_odp_port(a),
        };
    } else if (last && last->kind == VPCI_OP_EDIT) {
        last->edits_len += NLA_ALIGN(a->nla_len);
    } else {
        program->ops[program->n_ops++] = (struct vpci_op) {
            .kind = VPCI_OP_EDIT, .edits = a,
            .edits_len = NLA_ALIGN(a->nla_len),
        };
        program->n_edits++;
    }
}

const char *
vpci_actions_to_program(const struct nlattr *actions, size_t actions_len,
                        struct vpci_program **programp)
{
    struct vpci_program *program;
    const struct nlattr *a;
    struct nlattr *copy;
    const char *name;
    size_t n, left;

    *programp = NULL;
    name = check_actions(actions, actions_len, &n);
    if (name) {
        return name;
    }
    program = xzalloc(sizeof *program + n * sizeof program->ops[0]
                      + actions_len);
    copy = ALIGNED_CAST(struct nlattr *, &program->ops[n]);
    nullable_memcpy(copy, actions, actions_len);
    NL_ATTR_FOR_EACH_UNSAFE (a, left, copy, actions_len) {
        if (nl_attr_type(a) != OVS_ACTION_ATTR_DROP) {
            add_action(program, a);
        }
        if (nl_attr_type(a) == OVS_ACTION_ATTR_PUSH_VLAN) {
            program->growth += VLAN_HEADER_LEN;
        }
    }
    /* What is changed behind the last output is seen by nobody. */
    while (program->n_ops
           && program->ops[program->n_ops - 1].kind == VPCI_OP_EDIT) {
        program->n_ops--;
        program->n_edits--;
    }
    *programp = program;
    return NULL;
}

void
vpci_program_destroy(struct vpci_program *program)
{
    if (program) {
        for (size_t i = 0; i < program->n_ops; i++) {
            vpci_target_unref(program->ops[i].target);
        }
        if (program->owner) {
            dp_netdev_flow_unref(program->owner);
        }
        free(program);
    }
}

void
vpci_program_set_owner(struct vpci_program *program,
                       struct dp_netdev_flow *flow,
                       const struct dp_netdev_actions *actions)
{
    ovs_refcount_ref(&flow->ref_cnt);
    program->owner = flow;
    program->owner_actions = actions;
}

bool
vpci_program_is_alive(const struct vpci_program *program)
{
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct vpci_op *op = &program->ops[i];

        if (op->kind == VPCI_OP_OUTPUT && !vpci_target_dev(op->target)) {
            return false;
        }
    }
    return true;
}

void
vpci_program_edit(const struct vpci_op *op, struct dp_packet_batch *batch)
{
    odp_execute_actions(NULL, batch, false, op->edits, op->edits_len, NULL);
}
