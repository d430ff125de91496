/* SPDX-License-Identifier: Apache-2.0 */

/* ovs-appctl vpci/steering and vpci/refusals: which megaflows take the splice
 * path, and which do not, and why. */

#include "netdev-vpci-private.h"

#include "dpif.h"
#include "netdev-offload.h"
#include "odp-util.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/hmap.h"
#include "openvswitch/match.h"
#include "openvswitch/ofpbuf.h"
#include "openvswitch/shash.h"
#include "unixctl.h"

/* Prints something about 'netdev', where 'names' has the names of ports. */
typedef void show_func(struct netdev *netdev, const struct hmap *names,
                       struct ds *);

static void
format_match(const struct match *match, const struct hmap *names,
             struct ds *s)
{
    struct odp_flow_key_parms parms = {
        .flow = &match->flow,
        .mask = &match->wc.masks,
        .support = {
            .max_vlan_headers = SIZE_MAX,
            .max_mpls_depth = SIZE_MAX,
            .recirc = true,
            .ct_state = true,
            .ct_zone = true,
            .ct_mark = true,
            .ct_label = true,
            .ct_state_nat = true,
            .ct_orig_tuple = true,
            .ct_orig_tuple6 = true,
        },
    };
    struct ofpbuf key, mask;

    ofpbuf_init(&key, 0);
    ofpbuf_init(&mask, 0);
    odp_flow_key_from_flow(&parms, &key);
    parms.key_buf = &key;
    odp_flow_key_from_mask(&parms, &mask);
    odp_flow_format(key.data, key.size, mask.data, mask.size, names, s, false);
    ofpbuf_uninit(&key);
    ofpbuf_uninit(&mask);
}

static void
show_steering(struct netdev *netdev, const struct hmap *names, struct ds *s)
{
    uint64_t buffer[4096 / sizeof(uint64_t)];
    struct netdev_flow_dump *dump;
    struct dpif_flow_attrs attrs;
    struct dpif_flow_stats stats;
    struct nlattr *actions;
    struct ofpbuf actions_buf;
    struct match match;
    ovs_u128 ufid;

    if (netdev_flow_dump_create(netdev, &dump, false)) {
        return;
    }
    ofpbuf_use_stub(&actions_buf, buffer, sizeof buffer);
    while (netdev_flow_dump_next(dump, &match, &actions, &stats, &attrs, &ufid,
                                 NULL, &actions_buf)) {
        ds_put_cstr(s, "  ");
        format_match(&match, names, s);
        ds_put_cstr(s, ", ");
        dpif_flow_stats_format(&stats, s);
        ds_put_cstr(s, ", actions:");
        format_odp_actions(s, actions, actions_buf.size, names);
        ds_put_char(s, '\n');
        ofpbuf_clear(&actions_buf);
    }
    ofpbuf_uninit(&actions_buf);
    netdev_flow_dump_destroy(dump);
}

struct refusals {
    const struct hmap *names;
    struct ds *s;
};

static void
show_refusal(const struct match *match, const char *refusal, void *aux)
{
    const struct refusals *r = aux;

    ds_put_cstr(r->s, "  ");
    format_match(match, r->names, r->s);
    ds_put_format(r->s, ": %s\n", refusal);
}

static void
show_refusals(struct netdev *netdev, const struct hmap *names, struct ds *s)
{
    struct refusals r = { .names = names, .s = s };

    vpci_offload_for_each_refusal(netdev_vpci_cast(netdev), show_refusal, &r);
}

static bool
add_name(struct netdev *netdev, odp_port_t port, void *names)
{
    odp_portno_names_set(names, port, CONST_CAST(char *,
                                                 netdev_get_name(netdev)));
    return false;
}

static void
show_port(struct netdev *netdev, show_func *show, struct ds *s)
{
    const char *dpif_type = netdev_get_dpif_type(netdev);
    struct hmap names = HMAP_INITIALIZER(&names);

    ds_put_format(s, "%s:\n", netdev_get_name(netdev));
    if (dpif_type) {
        netdev_ports_traverse(dpif_type, add_name, &names);
    }
    show(netdev, &names, s);
    odp_portno_names_destroy(&names);
    hmap_destroy(&names);
}

static void
show_all_ports(show_func *show, struct ds *s)
{
    struct shash ports = SHASH_INITIALIZER(&ports);
    const struct shash_node **nodes;

    netdev_get_devices(&netdev_vpci_class, &ports);
    nodes = shash_sort(&ports);
    for (size_t i = 0; i < shash_count(&ports); i++) {
        show_port(nodes[i]->data, show, s);
        netdev_close(nodes[i]->data);
    }
    free(nodes);
    shash_destroy(&ports);
}

static void
unixctl_show(struct unixctl_conn *conn, int argc, const char *argv[],
             void *show)
{
    struct ds s = DS_EMPTY_INITIALIZER;
    struct netdev *netdev = NULL;

    if (!netdev_is_flow_api_enabled()) {
        unixctl_command_reply_error(
            conn, "no flows are offloaded: \"ovs-vsctl set Open_vSwitch . "
            "other_config:hw-offload=true\" and restart ovs-vswitchd");
        return;
    }
    if (argc > 1) {
        netdev = netdev_from_name(argv[1]);
    }
    if (argc < 2) {
        show_all_ports(show, &s);
    } else if (netdev && is_netdev_vpci(netdev)) {
        show_port(netdev, show, &s);
    } else {
        ds_put_format(&s, "%s: no such port of type vpci", argv[1]);
        unixctl_command_reply_error(conn, ds_cstr(&s));
        conn = NULL;
    }
    if (conn) {
        unixctl_command_reply(conn, ds_cstr(&s));
    }
    netdev_close(netdev);
    ds_destroy(&s);
}

void
vpci_steering_init(void)
{
    unixctl_command_register("vpci/steering", "[port]", 0, 1, unixctl_show,
                             show_steering);
    unixctl_command_register("vpci/refusals", "[port]", 0, 1, unixctl_show,
                             show_refusals);
}
