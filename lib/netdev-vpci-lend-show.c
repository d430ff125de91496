/* SPDX-License-Identifier: Apache-2.0 */

/* How it stands with rings that are lent, or could be: status of ports and
 * ovs-appctl vpci/links.  See netdev-vpci-lend.h. */

#include "netdev-vpci-lend-private.h"

#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"

/* What the borrower's device is like, and whether there can be one. */
static void
get_device_status(const struct vpci_lend *lend, struct smap *args)
    OVS_REQUIRES(links_mutex)
{
    const char *owner = lend->borrower->config.peer;

    smap_add(args, "peer", owner);
    smap_add_format(args, "peer_vectors", "%"PRIu32, lend->user.n_vectors);
    if (lend->registered) {
        smap_add_format(args, "peer_size", "%"PRIu64, lend->user.size);
    }
    if (!lend->owner) {
        smap_add_format(args, "peer_problem", "there is no port %s of device "
                        "virtio-net, or another one borrows its rings, or has "
                        "not given them back", owner);
    } else if (lend->problem || lend->leak) {
        smap_add(args, "peer_problem",
                 lend->problem ? lend->problem : lend->leak);
    }
}

void
vpci_lend_get_status(const struct netdev_vpci *dev, struct smap *args)
{
    const struct vpci_lend *lend = dev->lent ? dev->lent : dev->lend;

    if (!lend) {
        return;
    }
    ovs_mutex_lock(&links_mutex);
    if (lend->borrower == dev) {
        get_device_status(lend, args);
    } else {
        smap_add(args, "driven_by", vpci_name(lend->borrower));
    }
    smap_add(args, "rings", vpci_lend_state_name(lend));
    if (lend->why) {
        smap_add(args, "rings_reason", lend->why);
    }
    ovs_mutex_unlock(&links_mutex);
}

/* True if this concerns port 'name', which is any if null. */
static bool
concerns(const struct vpci_lend *lend, const char *name)
{
    return (!name || !strcmp(vpci_name(lend->borrower), name)
            || !strcmp(lend->borrower->config.peer, name));
}

static void
show(const struct vpci_lend *lend, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *linker = lend->linker;
    const char *owner = (lend->owner ? vpci_name(lend->owner)
                         : lend->borrower->config.peer);

    ds_put_format(s, "%s drives %s: rings %s, lent:%u times, not given back:"
                  "%u times\n", vpci_name(lend->borrower), owner,
                  vpci_lend_state_name(lend), lend->n_turns, lend->n_fenced);
    ds_put_format(s, "  packets out:%"PRIu64", in:%"PRIu64", turn:%"PRIu32
                  "%s\n", lend->packets[VPCI_LEND_OUT],
                  lend->packets[VPCI_LEND_IN], lend->turn,
                  linker->runs ? "" : ", no guest");
    if (lend->why) {
        ds_put_format(s, "  the last reason: %s\n", lend->why);
    }
}

void
vpci_lends_show(const char *name, struct ds *s)
{
    const struct vpci_lend *lend;

    ovs_mutex_lock(&lends_mutex);
    ovs_mutex_lock(&links_mutex);
    LIST_FOR_EACH (lend, node, &lends) {
        if (concerns(lend, name)) {
            show(lend, s);
        }
    }
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&lends_mutex);
}

static struct json *
lend_to_json(const struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    struct json *json = json_object_create();

    json_object_put_string(json, "port", vpci_name(lend->borrower));
    json_object_put_string(json, "peer", lend->borrower->config.peer);
    json_object_put_format(json, "socket", "%s%s",
                           lend->borrower->config.path,
                           VPCI_KEEPER_PEER_SUFFIX);
    json_object_put(json, "region", json_integer_create(lend->user.region));
    json_object_put(json, "size", json_integer_create(lend->user.size));
    json_object_put(json, "vectors",
                    json_integer_create(lend->user.n_vectors));
    json_object_put(json, "connected",
                    json_boolean_create(lend->device_id != 0));
    json_object_put(json, "used_up", json_boolean_create(lend->used_up));
    json_object_put_string(json, "rings", vpci_lend_state_name(lend));
    return json;
}

struct json *
vpci_lends_to_json(const char *name)
{
    struct json *array = json_array_create_empty();
    const struct vpci_lend *lend;

    ovs_mutex_lock(&lends_mutex);
    ovs_mutex_lock(&links_mutex);
    LIST_FOR_EACH (lend, node, &lends) {
        if (lend->user.region && concerns(lend, name)) {
            json_array_add(array, lend_to_json(lend));
        }
    }
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&lends_mutex);
    return array;
}
