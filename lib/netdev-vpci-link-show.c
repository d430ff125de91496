/* SPDX-License-Identifier: Apache-2.0 */

/* ovs-appctl vpci/links: which guests have links, and what goes by them. */

#include "netdev-vpci-link-private.h"

#include "netdev-offload.h"
#include "netdev-vpci-lend.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/json.h"
#include "timeval.h"
#include "unixctl.h"
#include "vpci/keeper.h"

/* How long guests may take to meet before it is said what they lack, in ms. */
#define LONG_MS 1000

static const char *
state_name(const struct vpci_link *link)
{
    switch (link->state) {
    case VPCI_LINK_ASKED:
        return "asked for";
    case VPCI_LINK_OFFERED:
        return "offered";
    case VPCI_LINK_UP:
        return link->ways[0].n_flows || link->ways[1].n_flows ? "running"
               : "ready";
    case VPCI_LINK_DRAINING:
        return "draining";
    case VPCI_LINK_WAITING:
        return "waiting for a guest";
    case VPCI_LINK_DOWN:
    default:
        return "down";
    }
}

static const char *
move_name(const struct vpci_way *way)
{
    switch (way->move) {
    case VPCI_MOVE_ON_HINTS:
        return "joining: waits for the sender";
    case VPCI_MOVE_ON_SWITCH:
        return "joining: waits for the switch";
    case VPCI_MOVE_ON_GUEST:
        return "joining: waits for the receiver";
    case VPCI_MOVE_OFF_HINTS:
        return "leaving: waits for the sender";
    case VPCI_MOVE_OFF_GUEST:
        return "leaving: waits for the receiver";
    case VPCI_MOVE_NONE:
    default:
        return NULL;
    }
}

/* Says for which ways of the pair flows do without a link, and how long. */
static void
show_rests(const struct vpci_pair *pair, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; i < 2; i++) {
        long long int ms = vpci_pair_rests(pair, pair->linkers[i],
                                           time_msec());

        if (ms) {
            ds_put_format(s, "  %s to %s: flows do without a link for "
                          "%.1f s\n", vpci_name(pair->linkers[i]->dev),
                          vpci_name(pair->linkers[!i]->dev), ms / 1000.0);
        }
    }
}

static void
show_way(struct vpci_way *way, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *from = vpci_way_sender(way);
    const struct vpci_linker *to = vpci_way_receiver(way);
    const char *move = move_name(way);
    uint64_t most;

    vpci_way_count_refused(way, time_msec(), &most);
    ds_put_format(s, "  %s to %s: flows:%"PRIuSIZE", packets:%"PRIu64
                  ", bytes:%"PRIu64", refused:%"PRIu64", moves:%"PRIu64
                  ", late:%"PRIu64, vpci_name(from->dev), vpci_name(to->dev),
                  way->n_flows, way->packets, way->bytes,
                  way->n_refused, way->n_moves, way->n_late);
    if (from->runs) {
        ds_put_format(s, ", generation:%"PRIu32, from->guest.past->hints);
    }
    ds_put_format(s, "%s%s%s\n", move ? ", " : "", move ? move : "",
                  to->runs && to->is_silent ? ", the receiver hangs"
                  : way->is_stuck ? ", the receiver takes nothing" : "");
}

/* Says why there is none, as far as that can be told. */
static void
show_no_link(const struct vpci_pair *pair, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    ds_put_cstr(s, "no link");
    if (pair->worth && pair->rate < pair->worth) {
        ds_put_format(s, ": %"PRIu64" packets a second that could take one, "
                      "and %"PRIu64" are worth it", pair->rate, pair->worth);
    }
    ds_put_char(s, '\n');
}

/* Says what a static link has been waiting for, if that is long. */
static void
show_wait(const struct vpci_link *link, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    if (link->is_static && link->state == VPCI_LINK_OFFERED
        && time_msec() - link->since > LONG_MS) {
        char *why = vpci_link_why_not_met(link);

        ds_put_format(s, "  %s\n", why);
        free(why);
    }
}

static void
show_pair(const struct vpci_pair *pair, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link *link = pair->link;

    ds_put_format(s, "%s, %s: ", vpci_name(pair->linkers[0]->dev),
                  vpci_name(pair->linkers[1]->dev));
    if (link) {
        ds_put_format(s, "%s for %.1f s, %sregion:%"PRIu32", size:%"PRIu64
                      "\n", state_name(link),
                      (time_msec() - link->since) / 1000.0,
                      link->is_static ? "static, " : "", link->user.region,
                      link->layout.size);
        show_wait(link, s);
        show_way(&link->ways[0], s);
        show_way(&link->ways[1], s);
    } else {
        show_no_link(pair, s);
    }
    show_rests(pair, s);
    ds_put_format(s, "  so far: links:%"PRIu64", late:%"PRIu64"\n",
                  pair->n_links, pair->n_late);
    if (pair->last_end) {
        ds_put_format(s, "  the last one ended: %s\n", pair->last_end);
    }
}

/* Shows pairs with port 'name', or all if that is null. */
static void
show_pairs(const char *name, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_pair *pair;

    LIST_FOR_EACH (pair, node, &pairs) {
        if (!name || !strcmp(vpci_name(pair->linkers[0]->dev), name)
            || !strcmp(vpci_name(pair->linkers[1]->dev), name)) {
            show_pair(pair, s);
        }
    }
}

static const struct vpci_linker *
find_port(const char *name)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *linker;

    LIST_FOR_EACH (linker, node, &linkers) {
        if (!strcmp(vpci_name(linker->dev), name)) {
            return linker;
        }
    }
    return NULL;
}

/* Says whom 'list', which is option 'key' of 'linker', names in vain. */
static void
show_nobody(const struct vpci_linker *linker, const char *key,
            const char *list, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    char *nobody = vpci_links_find_nobody(list);

    if (nobody) {
        ds_put_format(s, "%s: options:%s names %s, which is no port of type "
                      "vpci with options:ivshmem-path\n",
                      vpci_name(linker->dev), key, nobody);
        free(nobody);
    }
}

/* Says with whom options keep 'linker' from links. */
static void
show_objections(const struct vpci_linker *linker, struct ds *s)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *other;

    show_nobody(linker, "links", linker->consent, s);
    show_nobody(linker, "links-static", linker->statics, s);
    LIST_FOR_EACH (other, node, &linkers) {
        char *ours = vpci_linker_objection(linker, other);
        char *theirs = vpci_linker_objection(other, linker);
        char *one = vpci_linker_static_objection(linker, other);
        char *two = vpci_linker_static_objection(other, linker);

        if (one || two) {
            ds_put_format(s, "%s, %s: no static link: %s\n",
                          vpci_name(linker->dev), vpci_name(other->dev),
                          one ? one : two);
        }
        free(one);
        free(two);
        if (other != linker && (ours || theirs)) {
            ds_put_format(s, "%s, %s: no link: %s%s%s\n",
                          vpci_name(linker->dev), vpci_name(other->dev),
                          ours ? ours : "", ours && theirs ? ", and " : "",
                          theirs ? theirs : "");
        }
        free(ours);
        free(theirs);
    }
}

/* One end of a link, for programs. */
static struct json *
end_to_json(const struct vpci_link *link, unsigned int end)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_link_end *e = &link->ends[end];
    const struct vpci_way *way = &link->ways[end];
    struct json *json = json_object_create();

    json_object_put_string(json, "port", vpci_name(e->linker->dev));
    if (link->is_static) {
        json_object_put_format(json, "socket",
                               "%s"VPCI_KEEPER_STATIC_INFIX"%s",
                               e->linker->dev->config.path,
                               vpci_name(link->ends[!end].linker->dev));
    } else {
        json_object_put_format(json, "socket", "%s.link%"PRIu32,
                               e->linker->dev->config.path, link->user.region);
    }
    json_object_put(json, "connected", json_boolean_create(e->connected));
    json_object_put(json, "flows", json_integer_create(way->n_flows));
    json_object_put(json, "tx_packets", json_integer_create(way->packets));
    json_object_put(json, "tx_bytes", json_integer_create(way->bytes));
    return json;
}

static struct json *
link_to_json(const struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    struct json *json = json_object_create();

    json_object_put_string(json, "state", state_name(link));
    json_object_put(json, "static", json_boolean_create(link->is_static));
    json_object_put(json, "region", json_integer_create(link->user.region));
    json_object_put(json, "size", json_integer_create(link->layout.size));
    json_object_put(json, "vectors",
                    json_integer_create(link->layout.shape.n_vectors));
    json_object_put(json, "ends", json_array_create_2(end_to_json(link, 0),
                                                      end_to_json(link, 1)));
    return json;
}

/* Returns the links of port 'name', or all if that is null, for programs. */
static struct json *
links_to_json(const char *name)
    OVS_REQUIRES(links_mutex)
{
    struct json *array = json_array_create_empty();
    const struct vpci_link *link;

    LIST_FOR_EACH (link, node, &links) {
        bool wanted = !name;

        for (int i = 0; i < 2; i++) {
            wanted |= name && !strcmp(vpci_name(link->ends[i].linker->dev),
                                      name);
        }
        if (wanted && link->user.region) {
            json_array_add(array, link_to_json(link));
        }
    }
    return array;
}

/* Shows 'links' and, of port 'name' or of all, peers, for programs. */
static void
show_json(const char *name, struct json *links_, struct ds *s)
{
    struct json *json = json_object_create();
    char *text;

    json_object_put(json, "links", links_);
    json_object_put(json, "peers", vpci_lends_to_json(name));
    text = json_to_string(json, JSSF_SORT);
    ds_put_cstr(s, text);
    free(text);
    json_destroy(json);
}

static void
vpci_unixctl_links(struct unixctl_conn *conn, int argc, const char *argv[],
                   void *aux OVS_UNUSED)
{
    bool json = argc > 1 && !strcmp(argv[1], "--json");
    const char *name = argc > 1 + json ? argv[1 + json] : NULL;
    struct ds s = DS_EMPTY_INITIALIZER;
    const struct vpci_linker *port = NULL;
    struct json *found = NULL;

    if (!json && !netdev_is_flow_api_enabled()) {
        ds_put_cstr(&s, "no flows take links: to let them, \"ovs-vsctl set "
                    "Open_vSwitch . other_config:hw-offload=true\" and "
                    "restart ovs-vswitchd\n");
    }
    ovs_mutex_lock(&links_mutex);
    port = name ? find_port(name) : NULL;
    if (json) {
        found = links_to_json(name);
    } else {
        show_pairs(name, &s);
    }
    if (port && !json) {
        show_objections(port, &s);
    }
    ovs_mutex_unlock(&links_mutex);
    if (json) {
        show_json(name, found, &s);
    } else {
        vpci_lends_show(name, &s);
    }
    if (port || !name) {
        unixctl_command_reply(conn, ds_cstr(&s));
    } else {
        ds_clear(&s);
        ds_put_format(&s, "%s: no such port of type vpci with "
                      "options:ivshmem-path", name);
        unixctl_command_reply_error(conn, ds_cstr(&s));
    }
    ds_destroy(&s);
}

void
vpci_links_show_init(void)
{
    unixctl_command_register("vpci/links", "[--json] [port]", 0, 2,
                             vpci_unixctl_links, NULL);
}
