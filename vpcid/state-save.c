/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "state.h"
#include "state-private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "byte-order.h"
#include "client.h"
#include "control.h"
#include "crc32c.h"
#include "peer-id.h"
#include "region.h"
#include "socket-util.h"
#include "state-json.h"
#include "util.h"
#include "uuid.h"

static void
write_fd(struct json *json, const char *name, int fd, struct state_fds *fds)
{
    write_integer(json, name, fd);
    if (fd >= 0) {
        if (fds->n >= fds->allocated) {
            fds->fds = x2nrealloc(fds->fds, &fds->allocated,
                                  sizeof *fds->fds);
        }
        fds->fds[fds->n++] = fd;
    }
}

static void
write_fds(struct json *json, const char *name, const int array[], size_t n,
          struct state_fds *fds)
{
    struct json *list = json_array_create_empty();
    struct json *dummy = json_object_create();

    for (size_t i = 0; i < n; i++) {
        json_array_add(list, json_integer_create(array[i]));
        write_fd(dummy, "fd", array[i], fds);
    }
    json_destroy(dummy);
    json_object_put(json, name, list);
}

static struct json *
save_listener(const struct listener *listener, struct state_fds *fds)
{
    struct json *json = json_object_create();

    json_object_put_string(json, "path", listener->path);
    write_fd(json, "fd", listener->fd, fds);
    write_integer(json, "dev", listener->dev);
    write_integer(json, "ino", listener->ino);
    return json;
}

static struct json *
save_peers(const struct client *client)
{
    struct json *json = json_array_create_empty();

    for (uint32_t i = 0; i < client->n_peers; i++) {
        json_array_add(json, json_integer_create(client->peers[i]));
    }
    return json;
}

static struct json *
save_client(const struct client *client, struct state_fds *fds)
{
    uint32_t n = region_n_eventfds(client->end->region);
    struct json *json = json_object_create();

    write_fd(json, "socket", client->sock, fds);
    write_integer(json, "serial", client->serial);
    write_integer(json, "id", client->id);
    write_integer(json, "self", client->self);
    write_integer(json, "pid", client->pid);
    write_integer(json, "uid", client->uid);
    write_integer(json, "since", client->since);
    write_fds(json, "own", client->own, n, fds);
    write_fds(json, "selfs", client->selfs, client->self ? n : 0, fds);
    if (client->end->region->kind == VPCI_KEEPER_PEER
        || client->end->region->is_static) {
        write_integer(json, "n_sent", client->n_sent);
        json_object_put(json, "peers", save_peers(client));
    }
    return json;
}

static struct json *
save_refusals(const uint64_t n_refused[])
{
    struct json *json = json_object_create();

    for (int i = 0; i < N_REFUSALS; i++) {
        write_integer(json, refusal_name(i), n_refused[i]);
    }
    return json;
}

static struct json *
save_end(const struct end *end, struct state_fds *fds)
{
    struct json *json = json_object_create();

    json_object_put_string(json, "path", end->path);
    write_bool(json, "over", end->over);
    write_integer(json, "n_clients", end->n_clients);
    json_object_put(json, "refused", save_refusals(end->n_refused));
    write_integer(json, "gone_id", end->gone_id);
    json_object_put_string(json, "gone_text", end->gone_text);
    write_integer(json, "told_serial", end->told.serial);
    write_integer(json, "told_id", end->told.id);
    write_bool(json, "told_over", end->told.over);
    if (end->listener.fd >= 0) {
        json_object_put(json, "listener", save_listener(&end->listener, fds));
    }
    if (end->by_id.fd >= 0) {
        json_object_put(json, "by_id", save_listener(&end->by_id, fds));
    }
    if (end->client) {
        json_object_put(json, "client", save_client(end->client, fds));
    }
    return json;
}

static struct json *
save_region(const struct region *region, struct state_fds *fds)
{
    enum vpci_keeper_kind kind = region->kind;
    struct json *ends = json_array_create_empty();
    struct json *json = json_object_create();

    write_integer(json, "id", region->id);
    write_bool(json, "link", kind == VPCI_KEEPER_LINK);
    write_bool(json, "peer", kind == VPCI_KEEPER_PEER);
    write_bool(json, "static", region->is_static);
    write_integer(json, "size", region->size);
    write_integer(json, "private_size", region->private_size);
    write_integer(json, "n_vectors", region->n_vectors);
    write_fd(json, "memory", region->memory, fds);
    if (kind != VPCI_KEEPER_BASE) {
        write_integer(json, "base0", region->base[0]->id);
    }
    if (kind == VPCI_KEEPER_LINK) {
        write_integer(json, "base1", region->base[1]->id);
    }
    if (kind == VPCI_KEEPER_BASE) {
        write_fd(json, "private_memory", region->private_memory, fds);
    }
    write_bool(json, "attached", region->attached);
    for (int i = 0; i < region->n_ends; i++) {
        json_array_add(ends, save_end(&region->ends[i], fds));
    }
    json_object_put(json, "ends", ends);
    return json;
}

static struct json *
save_switch(struct state_fds *fds)
{
    struct json *json = json_object_create();

    write_fd(json, "socket", control.fd, fds);
    write_bool(json, "hello", control.hello);
    json_object_put_string(json, "name", control.name);
    write_integer(json, "pid", control.pid);
    write_integer(json, "uid", control.uid);
    write_integer(json, "since", control.since);
    if (control.has_reply) {
        const struct vpci_keeper_msg *reply = &control.reply;

        /* The descriptors are a region's, and in the state already. */
        write_bytes(json, "reply", reply, reply->header.length);
        write_bytes(json, "reply_fds", reply->fds,
                    reply->header.n_fds * sizeof reply->fds[0]);
    }
    write_integer(json, "list_xid", control.list_xid);
    write_integer(json, "list_next", control.list_next);
    write_integer(json, "list_count", control.list_count);
    return json;
}

static struct json *
save_stats(void)
{
    struct json *json = json_object_create();

    write_integer(json, "n_connections", control_stats.n_connections);
    write_integer(json, "n_busy", control_stats.n_busy);
    write_integer(json, "n_requests", control_stats.n_requests);
    write_integer(json, "n_refused", control_stats.n_refused);
    write_integer(json, "n_nonsense", control_stats.n_nonsense);
    return json;
}

static struct json *
save_keeper(const struct state_handover *handover, struct state_fds *fds)
{
    struct json *list = json_array_create_empty();
    struct json *json = json_object_create();
    const struct region *region;

    json_object_put_format(json, "uuid", UUID_FMT, UUID_ARGS(&keeper_uuid));
    write_integer(json, "since", keeper_since);
    write_integer(json, "n_upgrades", n_upgrades);
    write_integer(json, "next_region", region_next_id());
    write_integer(json, "next_peer", peer_id_next(PEER_ID_PLAIN));
    write_integer(json, "next_link", peer_id_next(PEER_ID_LINK));
    write_integer(json, "next_marked", peer_id_next(PEER_ID_MARKED));
    LIST_FOR_EACH (region, node, &regions) {
        json_array_add(list, save_region(region, fds));
    }
    json_object_put(json, "regions", list);
    json_object_put(json, "control", save_listener(&control_listener, fds));
    if (control.fd >= 0) {
        json_object_put(json, "switch", save_switch(fds));
    }
    json_object_put(json, "stats", save_stats());
    write_fd(json, "pidfile", handover->pidfile, fds);
    write_fd(json, "notify", handover->notify, fds);
    write_integer(json, "helper", handover->helper);
    return json;
}

/* Returns a memfd with 'text', or a negative errno. */
static int
create_file(const char *text)
{
    size_t len = strlen(text);
    uint32_t crc = ntohl(crc32c((const uint8_t *) text, len));
    char *header = xasprintf(STATE_HEADER_FORMAT, STATE_VERSION, len, crc);
    int fd = memfd_create("vpci:state", MFD_CLOEXEC);
    int error = fd < 0 ? errno : 0;
    size_t written;

    if (!error) {
        error = write_fully(fd, header, strlen(header), &written);
    }
    if (!error) {
        error = write_fully(fd, text, len, &written);
    }
    free(header);
    if (error && fd >= 0) {
        close(fd);
    }
    return error ? -error : fd;
}

int
state_save(const struct state_handover *handover, struct state_fds *fds)
{
    struct json *json;
    char *text;
    int fd;

    memset(fds, 0, sizeof *fds);
    json = save_keeper(handover, fds);
    text = json_to_string(json, JSSF_SORT);
    json_destroy(json);
    fd = create_file(text);
    free(text);
    return fd;
}
