/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "show.h"

#include <inttypes.h>
#include <unistd.h>

#include "client.h"
#include "control.h"
#include "openvswitch/dynamic-string.h"
#include "peer-id.h"
#include "region.h"
#include "state.h"
#include "unixctl.h"
#include "util.h"
#include "uuid.h"

static void
show_time(struct ds *s, long long int when)
{
    ds_put_strftime_msec(s, "since %Y-%m-%d %H:%M:%S", when, false);
}

static void
show_refusals(struct ds *s, const struct end *end)
{
    const char *separator = ", refused: ";

    ds_put_format(s, "    clients so far: %"PRIu64, end->n_clients);
    for (int i = 0; i < N_REFUSALS; i++) {
        if (end->n_refused[i]) {
            ds_put_format(s, "%s%s %"PRIu64, separator, refusal_name(i),
                          end->n_refused[i]);
            separator = ", ";
        }
    }
    ds_put_char(s, '\n');
}

/* What the client of a peer's region has had of its signals. */
static void
show_peers(struct ds *s, const struct client *client)
{
    ds_put_format(s, "    vectors so far: %"PRIu32" of %"PRIu32", ids of the "
                  "peer:", client->n_sent, client->end->region->n_vectors);
    for (uint32_t i = 0; i < client->n_peers; i++) {
        ds_put_format(s, " %"PRIu32, client->peers[i]);
    }
    ds_put_format(s, "%s\n", client->n_peers ? "" : " none");
}

static void
show_client(struct ds *s, const struct client *client)
{
    ds_put_format(s, "    client: pid %"PRIu32", uid %"PRIu32", ivshmem id "
                  "%"PRIu32, client->pid, client->uid, client->id);
    if (client->self) {
        ds_put_format(s, ", switch's id %"PRIu32, client->self);
    }
    ds_put_cstr(s, ", ");
    show_time(s, client->since);
    ds_put_char(s, '\n');
    if (client->end->region->kind == VPCI_KEEPER_PEER) {
        show_peers(s, client);
    }
}

static void
show_end(struct ds *s, const struct end *end)
{
    ds_put_format(s, "  end %d: %s (%s)\n", end->index, end->path,
                  (end->client ? "connected"
                   : end->over ? "over"
                   : "listening"));
    if (end->client) {
        show_client(s, end->client);
    }
    show_refusals(s, end);
}

static void
show_region(struct ds *s, const struct region *region)
{
    ds_put_format(s, "region %"PRIu32": ", region->id);
    if (region->kind == VPCI_KEEPER_BASE) {
        ds_put_cstr(s, "base");
    } else if (region->kind == VPCI_KEEPER_PEER) {
        ds_put_format(s, "peer of region %"PRIu32, region->base[0]->id);
    } else {
        ds_put_format(s, "%slink of regions %"PRIu32" and %"PRIu32,
                      region->is_static ? "static " : "",
                      region->base[0]->id, region->base[1]->id);
    }
    ds_put_format(s, ", %"PRIu64" bytes, %"PRIu32" vectors", region->size,
                  region->n_vectors);
    if (region->private_size) {
        ds_put_format(s, ", %"PRIu64" private bytes", region->private_size);
    }
    ds_put_format(s, "%s\n",
                  region->attached ? "" : ", not used by the switch");
    for (int i = 0; i < region->n_ends; i++) {
        show_end(s, &region->ends[i]);
    }
}

static void
show_switch(struct ds *s)
{
    const struct control_stats *stats = &control_stats;

    if (control.fd >= 0) {
        ds_put_format(s, "switch: '%s', pid %"PRIu32", uid %"PRIu32", ",
                      control.name, control.pid, control.uid);
        show_time(s, control.since);
        ds_put_char(s, '\n');
    } else {
        ds_put_cstr(s, "switch: none\n");
    }
    ds_put_format(s, "  on %s\n", control_listener.path);
    ds_put_format(s, "  so far: %"PRIu64" connections, %"PRIu64" turned away, "
                  "%"PRIu64" closed for nonsense; %"PRIu64" requests, "
                  "%"PRIu64" refused\n", stats->n_connections, stats->n_busy,
                  stats->n_nonsense, stats->n_requests, stats->n_refused);
}

static void
unixctl_show(struct unixctl_conn *conn, int argc OVS_UNUSED,
             const char *argv[] OVS_UNUSED, void *aux OVS_UNUSED)
{
    struct ds s = DS_EMPTY_INITIALIZER;
    const struct region *region;

    ds_put_format(&s, "keeper: pid %ld, "UUID_FMT", ", (long int) getpid(),
                  UUID_ARGS(&keeper_uuid));
    show_time(&s, keeper_since);
    ds_put_format(&s, ", upgraded %u times\n", n_upgrades);
    show_switch(&s);
    ds_put_format(&s, "total: %"PRIu32" regions, %"PRIu32" clients, %"PRIu32
                  " ivshmem ids in use\n", regions_count(), clients_count(),
                  peer_id_count());
    LIST_FOR_EACH (region, node, &regions) {
        show_region(&s, region);
    }
    unixctl_command_reply(conn, ds_cstr(&s));
    ds_destroy(&s);
}

void
show_init(void)
{
    unixctl_command_register("vpcid/show", "", 0, 0, unixctl_show, NULL);
}
