/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "control.h"
#include "events.h"
#include "openvswitch/vlog.h"
#include "region.h"
#include "unaligned.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(request);

/* What a switch does wrong again and again. */
static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(20, 60);

/* Each of these makes '*reply', which has the request's type and xid,
 * complete, or returns a positive errno and a text for people, which the
 * caller frees, in '*textp'.  It may take descriptors of '*request', leaving
 * -1. */

static int
serve_hello(struct vpci_keeper_msg *request, struct vpci_keeper_msg *reply,
            char **textp)
{
    const struct vpci_keeper_hello *hello = &request->body.hello;
    struct vpci_keeper_welcome *w = &reply->body.welcome;

    if (hello->min_version > VPCI_KEEPER_VERSION
        || hello->max_version < VPCI_KEEPER_VERSION) {
        *textp = xasprintf("the switch speaks versions %"PRIu32" to %"PRIu32
                           ", the keeper %d: upgrade the older of the two",
                           hello->min_version, hello->max_version,
                           VPCI_KEEPER_VERSION);
        return EPROTONOSUPPORT;
    }
    control.hello = true;
    ovs_strlcpy(control.name, hello->name, sizeof control.name);
    for (char *p = control.name; *p; p++) {
        *p = *p < ' ' || *p > '~' ? '?' : *p;
    }
    VLOG_INFO("%s: switch '%s' with pid %"PRIu32" has connected",
              control_listener.path, control.name, control.pid);
    w->version = VPCI_KEEPER_VERSION;
    w->pid = getpid();
    w->n_regions = regions_count();
    for (int i = 0; i < ARRAY_SIZE(keeper_uuid.parts); i++) {
        put_unaligned_be32(ALIGNED_CAST(ovs_be32 *, &w->uuid[4 * i]),
                           htonl(keeper_uuid.parts[i]));
    }
    return 0;
}

/* A reply with a region's parameters, and with its memory, but for that of a
 * peer, which the switch has. */
static void
reply_region(struct vpci_keeper_msg *reply, struct region *region,
             bool adopted)
{
    region_describe(region, &reply->body.region);
    reply->body.region.adopted = adopted;
    if (region->kind != VPCI_KEEPER_PEER) {
        vpci_keeper_msg_add_fd(reply, region->memory);
    }
    if (region->private_memory >= 0) {
        vpci_keeper_msg_add_fd(reply, region->private_memory);
    }
    events_attach(region);
}

static int
serve_base_add(struct vpci_keeper_msg *request,
               struct vpci_keeper_msg *reply, char **textp)
{
    struct region *region;
    bool adopted;
    int error = region_add_base(&request->body.base_add, &region, &adopted,
                                textp);

    if (!error) {
        reply_region(reply, region, adopted);
    }
    return error;
}

static int
serve_link_add(struct vpci_keeper_msg *request,
               struct vpci_keeper_msg *reply, char **textp)
{
    struct region *region;
    int error = region_add_link(&request->body.link_add, &region, textp);

    if (!error) {
        reply_region(reply, region, false);
    }
    return error;
}

static int
serve_static_add(struct vpci_keeper_msg *request,
                 struct vpci_keeper_msg *reply, char **textp)
{
    struct region *region;
    bool adopted;
    int error = region_add_static(&request->body.static_add, &region, &adopted,
                                  textp);

    if (!error) {
        reply_region(reply, region, adopted);
    }
    return error;
}

static struct region *
find_region(uint32_t id, char **textp)
{
    struct region *region = region_find(id);

    if (!region) {
        *textp = xasprintf("there is no region %"PRIu32": LIST says which "
                           "there are", id);
    }
    return region;
}

static int
serve_link_get(struct vpci_keeper_msg *request,
               struct vpci_keeper_msg *reply, char **textp)
{
    struct region *region = find_region(request->body.id.region, textp);

    if (!region) {
        return ENOENT;
    } else if (region->kind != VPCI_KEEPER_LINK) {
        *textp = xasprintf("region %"PRIu32" is not a link: %s of %s adopts "
                           "it", region->id,
                           (region->kind == VPCI_KEEPER_BASE ? "BASE_ADD"
                            : "PEER_ADD"), region->ends[0].path);
        return EINVAL;
    }
    reply_region(reply, region, true);
    return 0;
}

static int
serve_del(struct vpci_keeper_msg *request, struct vpci_keeper_msg *reply,
          char **textp)
{
    struct region *region = find_region(request->body.id.region, textp);

    if (!region) {
        return ENOENT;
    }
    reply->body.count.n = region_delete(region);
    return 0;
}

static int
serve_peer_add(struct vpci_keeper_msg *request,
               struct vpci_keeper_msg *reply, char **textp)
{
    struct region *region;
    bool adopted;
    int error = region_add_peer(&request->body.peer_add, &request->fds[0],
                                &region, &adopted, textp);

    if (!error) {
        reply_region(reply, region, adopted);
    }
    return error;
}

static int
serve_peer_signals(struct vpci_keeper_msg *request,
                   struct vpci_keeper_msg *reply, char **textp)
{
    const struct vpci_keeper_signals_add *add = &request->body.signals_add;
    struct region *region = find_region(add->region, textp);

    if (!region) {
        return ENOENT;
    } else if (region->kind != VPCI_KEEPER_PEER) {
        *textp = xasprintf("region %"PRIu32" is not a peer's", region->id);
        return EINVAL;
    }
    return client_send_signals(&region->ends[0], add, request->fds,
                               &reply->body.peer_signals, textp);
}

typedef int serve_func(struct vpci_keeper_msg *request,
                       struct vpci_keeper_msg *reply, char **textp);

static serve_func *
find_server(uint16_t type)
{
    switch (type) {
    case VPCI_KEEPER_HELLO: return serve_hello;
    case VPCI_KEEPER_BASE_ADD: return serve_base_add;
    case VPCI_KEEPER_LINK_ADD: return serve_link_add;
    case VPCI_KEEPER_LINK_GET: return serve_link_get;
    case VPCI_KEEPER_DEL: return serve_del;
    case VPCI_KEEPER_PEER_ADD: return serve_peer_add;
    case VPCI_KEEPER_PEER_SIGNALS: return serve_peer_signals;
    case VPCI_KEEPER_STATIC_ADD: return serve_static_add;
    default: return NULL;
    }
}

static int
serve(struct vpci_keeper_msg *request, char **textp)
{
    const struct vpci_keeper_header *h = &request->header;
    serve_func *server = find_server(h->type);

    control_stats.n_requests++;
    if (!control.hello && h->type != VPCI_KEEPER_HELLO) {
        *textp = xasprintf("request %#x before HELLO", h->type);
        return EPROTO;
    }
    if (!server) {
        control.list_xid = h->xid;
        control.list_next = 0;
        control.list_count = 0;
        return 0;
    }
    vpci_keeper_msg_init(&control.reply, h->type | VPCI_KEEPER_REPLY, h->xid);
    control.has_reply = true;
    return server(request, &control.reply, textp);
}

void
request_serve(struct vpci_keeper_msg *request)
{
    const struct vpci_keeper_header *h = &request->header;
    char *text = NULL;
    int error = serve(request, &text);

    if (error) {
        control_stats.n_refused++;
        VLOG_WARN_RL(&rl, "%s: request %#x of switch '%s' is refused: %s",
                     control_listener.path, h->type, control.name, text);
        vpci_keeper_msg_refuse(&control.reply, h->type, h->xid, error, "%s",
                               text);
        control.has_reply = true;
    }
    free(text);
}
