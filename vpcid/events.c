/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "events.h"

#include "client.h"
#include "region.h"
#include "util.h"
#include "vpci/keeper.h"

/* Ends that the switch does not know the state of. */
static struct ovs_list changed_ends = OVS_LIST_INITIALIZER(&changed_ends);

void
events_forget(struct end *end)
{
    ovs_list_remove(&end->told.node);
    ovs_list_init(&end->told.node);
}

void
events_changed(struct end *end)
{
    if (end->region->attached && ovs_list_is_empty(&end->told.node)) {
        ovs_list_push_back(&changed_ends, &end->told.node);
    }
}

/* The reply says which ends are over. */
void
events_attach(struct region *region)
{
    region->attached = true;
    for (int i = 0; i < region->n_ends; i++) {
        struct end *end = &region->ends[i];

        end->told.serial = 0;
        end->told.id = 0;
        end->told.over = end->over;
        events_changed(end);
    }
}

void
events_detach_all(void)
{
    struct region *region;

    LIST_FOR_EACH (region, node, &regions) {
        region->attached = false;
        for (int i = 0; i < region->n_ends; i++) {
            events_forget(&region->ends[i]);
            region->ends[i].told.serial = 0;
        }
    }
}

static int
send_down(int sock, const struct end *end)
{
    struct vpci_keeper_msg msg;
    struct vpci_keeper_peer_down *down = &msg.body.peer_down;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_PEER_DOWN, 0);
    down->region = end->region->id;
    down->end = end->index;
    down->peer = end->told.serial ? end->told.id : end->gone_id;
    ovs_strlcpy(down->text, end->gone_text, sizeof down->text);
    return vpci_keeper_send(sock, &msg);
}

static int
send_up(int sock, const struct end *end)
{
    const struct client *client = end->client;
    uint32_t n = region_n_eventfds(end->region);
    struct vpci_keeper_msg msg;
    struct vpci_keeper_peer_up *up = &msg.body.peer_up;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_PEER_UP, 0);
    up->region = end->region->id;
    up->end = end->index;
    up->peer = client->id;
    up->self = client->self;
    up->pid = client->pid;
    up->uid = client->uid;
    up->n_vectors = n;
    up->n_clients = client->serial;
    for (uint32_t i = 0; i < n; i++) {
        vpci_keeper_msg_add_fd(&msg, client->own[i]);
    }
    for (uint32_t i = 0; client->self && i < n; i++) {
        vpci_keeper_msg_add_fd(&msg, client->selfs[i]);
    }
    return vpci_keeper_send(sock, &msg);
}

/* Sends what the switch does not know about 'end'. */
static int
tell(int sock, struct end *end)
{
    const struct client *client = end->client;
    struct told *told = &end->told;
    int error;

    if ((told->serial && (!client || client->serial != told->serial))
        || (end->over && !told->over)) {
        error = send_down(sock, end);
        if (error) {
            return error;
        }
        told->serial = 0;
        told->over = end->over;
    }
    if (client && client->serial != told->serial) {
        error = send_up(sock, end);
        if (error) {
            return error;
        }
        told->serial = client->serial;
        told->id = client->id;
    }
    return 0;
}

int
events_send(int sock)
{
    struct end *end;

    LIST_FOR_EACH_SAFE (end, told.node, &changed_ends) {
        int error = tell(sock, end);

        if (error) {
            return error;
        }
        events_forget(end);
    }
    return 0;
}
