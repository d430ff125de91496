/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "state.h"
#include "state-private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "byte-order.h"
#include "client.h"
#include "control.h"
#include "crc32c.h"
#include "descriptors.h"
#include "events.h"
#include "fatal-signal.h"
#include "openvswitch/vlog.h"
#include "peer-id.h"
#include "region.h"
#include "socket-util.h"
#include "state-json.h"
#include "util.h"
#include "uuid.h"
#include "vpci/abi.h"
#include "vpci/doorbell.h"

VLOG_DEFINE_THIS_MODULE(state);

unsigned int n_upgrades;
long long int keeper_since;

static int64_t
read_count(struct reader *r, const struct json *json, const char *name)
{
    return read_integer(r, json, name, 0, INT64_MAX);
}

static uint32_t
read_u32(struct reader *r, const struct json *json, const char *name)
{
    return read_integer(r, json, name, 0, UINT32_MAX);
}

static int
read_fd(struct reader *r, const struct json *json, const char *name)
{
    return read_integer(r, json, name, -1, INT32_MAX);
}

static int
read_socket(struct reader *r, const struct json *json, const char *name,
            int type, bool listens)
{
    int fd = read_fd(r, json, name);

    if (!r->error && !descriptor_is_socket(fd, type, listens)) {
        reader_fail(r, "descriptor %d, '%s', is not a UNIX socket that %s", fd,
                    name, listens ? "listens" : "is connected");
    }
    return fd;
}

static int
read_memory(struct reader *r, const struct json *json, const char *name,
            uint64_t size)
{
    int fd = read_fd(r, json, name);

    if (!r->error && !vpci_keeper_is_sealed_memory(fd, size)) {
        reader_fail(r, "descriptor %d, '%s', is not sealed memory of %"PRIu64
                    " bytes", fd, name, size);
    }
    return fd;
}

/* The memory of a peer is as large as others make it, at any time. */
static int
read_peer_memory(struct reader *r, const struct json *json, const char *name)
{
    int fd = read_fd(r, json, name);

    if (!r->error && !descriptor_is_memory(fd)) {
        reader_fail(r, "descriptor %d, '%s', is not a file of tmpfs or "
                    "hugetlbfs", fd, name);
    }
    return fd;
}

static void
read_eventfds(struct reader *r, const struct json *json, const char *name,
              int fds[], size_t n)
{
    const struct json_array *array = json_array(read_array(r, json, name));

    if (array->n != n) {
        reader_fail(r, "'%s' has %"PRIuSIZE" members, not %"PRIuSIZE, name,
                    array->n, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct json *elem = array->elems[i];

        fds[i] = elem->type == JSON_INTEGER ? json_integer(elem) : -1;
        /* Not whether it blocks: the client can change that. */
        if (!vpci_doorbell_is_eventfd(fds[i])) {
            reader_fail(r, "descriptor %d, in '%s', is not an eventfd", fds[i],
                        name);
        }
    }
}

static void
load_listener(struct reader *r, const struct json *json, int type,
              struct listener *listener)
{
    int fd = read_socket(r, json, "fd", type, true);
    dev_t dev = read_integer(r, json, "dev", INT64_MIN, INT64_MAX);
    ino_t ino = read_integer(r, json, "ino", INT64_MIN, INT64_MAX);
    const char *path = read_string(r, json, "path");

    if (!r->error) {
        listener_adopt(listener, fd, path, dev, ino);
    }
}

/* What the client of a peer's region has had of its signals, or that of a
 * static link of peers. */
static void
load_peers(struct reader *r, const struct json *json, struct client *client)
{
    const struct json_array *array = json_array(read_array(r, json, "peers"));

    client->n_sent = read_integer(r, json, "n_sent", 0,
                                  client->end->region->n_vectors);
    if (array->n > VPCI_KEEPER_MAX_PEERS) {
        reader_fail(r, "%"PRIuSIZE" peers", array->n);
    }
    for (size_t i = 0; !r->error && i < array->n; i++) {
        const struct json *elem = array->elems[i];
        int64_t id = elem->type == JSON_INTEGER ? json_integer(elem) : 0;

        if (id < 1 || id >= VPCI_ABI_PEER_ID || !peer_id_claim(id)) {
            reader_fail(r, "ivshmem id %"PRId64", of a peer, is not free", id);
            return;
        }
        client->peers[client->n_peers++] = id;
    }
}

static void
load_client(struct reader *r, const struct json *json, struct end *end)
{
    uint32_t n = region_n_eventfds(end->region);
    struct client *client = client_create(end);

    client->sock = read_socket(r, json, "socket", SOCK_STREAM, false);
    client->serial = read_count(r, json, "serial");
    client->id = read_u32(r, json, "id");
    client->self = read_u32(r, json, "self");
    client->pid = read_u32(r, json, "pid");
    client->uid = read_u32(r, json, "uid");
    client->since = read_count(r, json, "since");
    read_eventfds(r, json, "own", client->own, n);
    read_eventfds(r, json, "selfs", client->selfs, client->self ? n : 0);
    if (!r->error
        && (!peer_id_claim(client->id)
            || (client->self && !peer_id_claim(client->self)))) {
        reader_fail(r, "ivshmem id %"PRIu32" or %"PRIu32" is not free",
                    client->id, client->self);
    }
    client->n_sent = n;
    if (end->region->kind == VPCI_KEEPER_PEER || end->region->is_static) {
        load_peers(r, json, client);
    }
    end->client = client;
}

static void
load_end(struct reader *r, const struct json *json, struct end *end)
{
    const struct json *refused = read_object(r, json, "refused");

    end->path = xstrdup(read_string(r, json, "path"));
    end->over = read_bool(r, json, "over");
    end->n_clients = read_count(r, json, "n_clients");
    for (int i = 0; i < N_REFUSALS; i++) {
        if (has_member(refused, refusal_name(i))) {
            end->n_refused[i] = read_count(r, refused, refusal_name(i));
        }
    }
    end->gone_id = read_u32(r, json, "gone_id");
    ovs_strlcpy(end->gone_text, read_string(r, json, "gone_text"),
                sizeof end->gone_text);
    end->told.serial = read_count(r, json, "told_serial");
    end->told.id = read_u32(r, json, "told_id");
    end->told.over = read_bool(r, json, "told_over");
    if (!end->over) {
        load_listener(r, read_object(r, json, "listener"), SOCK_STREAM,
                      &end->listener);
    }
    if (end->region->is_static) {
        load_listener(r, read_object(r, json, "by_id"), SOCK_STREAM,
                      &end->by_id);
    }
    if (has_member(json, "client")) {
        load_client(r, read_object(r, json, "client"), end);
    }
}

static void
load_ends(struct reader *r, const struct json *json, struct region *region)
{
    const struct json_array *ends = json_array(read_array(r, json, "ends"));

    if (ends->n != region->n_ends) {
        reader_fail(r, "%"PRIuSIZE" ends, not %d", ends->n, region->n_ends);
    }
    for (size_t i = 0; !r->error && i < ends->n; i++) {
        load_end(r, ends->elems[i], &region->ends[i]);
    }
}

static struct region *
load_base_of(struct reader *r, const struct json *json, const char *name)
{
    uint32_t id = read_u32(r, json, name);
    struct region *base = region_find(id);

    if (!base || base->kind != VPCI_KEEPER_BASE) {
        reader_fail(r, "'%s', %"PRIu32", is not a base region", name, id);
    }
    return base;
}

/* Earlier versions had no peers. */
static enum vpci_keeper_kind
load_kind(struct reader *r, const struct json *json)
{
    bool peer = has_member(json, "peer") && read_bool(r, json, "peer");

    return (read_bool(r, json, "link") ? VPCI_KEEPER_LINK
            : peer ? VPCI_KEEPER_PEER
            : VPCI_KEEPER_BASE);
}

/* Loads the memory of 'region', and what it belongs to. */
static void
load_memory(struct reader *r, const struct json *json, struct region *region)
{
    region->memory = (region->kind == VPCI_KEEPER_PEER
                      ? read_peer_memory(r, json, "memory")
                      : read_memory(r, json, "memory", region->size));
    if (region->kind == VPCI_KEEPER_BASE) {
        region->private_memory = read_memory(r, json, "private_memory",
                                             region->private_size);
    } else {
        region->base[0] = load_base_of(r, json, "base0");
    }
    if (region->kind == VPCI_KEEPER_LINK) {
        region->base[1] = load_base_of(r, json, "base1");
    }
}

static void
load_region(struct reader *r, const struct json *json)
{
    enum vpci_keeper_kind kind = load_kind(r, json);
    uint32_t id = read_integer(r, json, "id", 1, UINT32_MAX - 1);
    struct region *region = region_create(kind, id);
    char *wrong;

    if (region_find(id)) {
        reader_fail(r, "region %"PRIu32" is there twice", id);
    }
    region->size = read_count(r, json, "size");
    region->private_size = read_count(r, json, "private_size");
    region->n_vectors = read_u32(r, json, "n_vectors");
    wrong = region_check(region);
    if (wrong) {
        reader_fail(r, "region %"PRIu32": %s", id, wrong);
        free(wrong);
    }
    load_memory(r, json, region);

    /* Earlier versions had no static links. */
    region->is_static = (kind == VPCI_KEEPER_LINK
                         && has_member(json, "static")
                         && read_bool(r, json, "static"));
    region->attached = read_bool(r, json, "attached");
    region_insert(region);
    if (!r->error) {
        load_ends(r, json, region);
    }
}

static void
load_reply(struct reader *r, const struct json *json)
{
    struct vpci_keeper_msg *reply = &control.reply;
    size_t size = offsetof(struct vpci_keeper_msg, fds);
    size_t n = read_bytes(r, json, "reply", reply, size);
    size_t n_fds = read_bytes(r, json, "reply_fds", reply->fds,
                              sizeof reply->fds) / sizeof reply->fds[0];

    if (n < sizeof reply->header || n != reply->header.length
        || n_fds != reply->header.n_fds) {
        reader_fail(r, "the reply to the switch is broken");
    }
    control.has_reply = true;
}

static void
load_switch(struct reader *r, const struct json *json)
{
    control.fd = read_socket(r, json, "socket", SOCK_SEQPACKET, false);
    control.hello = read_bool(r, json, "hello");
    ovs_strlcpy(control.name, read_string(r, json, "name"),
                sizeof control.name);
    control.pid = read_u32(r, json, "pid");
    control.uid = read_u32(r, json, "uid");
    control.since = read_count(r, json, "since");
    if (has_member(json, "reply")) {
        load_reply(r, json);
    }
    control.list_xid = read_u32(r, json, "list_xid");
    control.list_next = read_u32(r, json, "list_next");
    control.list_count = read_u32(r, json, "list_count");
}

static void
load_stats(struct reader *r, const struct json *json)
{
    control_stats.n_connections = read_count(r, json, "n_connections");
    control_stats.n_busy = read_count(r, json, "n_busy");
    control_stats.n_requests = read_count(r, json, "n_requests");
    control_stats.n_refused = read_count(r, json, "n_refused");
    control_stats.n_nonsense = read_count(r, json, "n_nonsense");
}

/* Earlier versions had one range of ids, or two, see state_resume(). */
static void
load_next_ids(struct reader *r, const struct json *json)
{
    peer_id_set_next(PEER_ID_PLAIN, read_u32(r, json, "next_peer"));
    if (has_member(json, "next_link")) {
        peer_id_set_next(PEER_ID_LINK, read_u32(r, json, "next_link"));
    }
    if (has_member(json, "next_marked")) {
        peer_id_set_next(PEER_ID_MARKED, read_u32(r, json, "next_marked"));
    }
}

static void
load_keeper(struct reader *r, const struct json *json,
            struct state_handover *handover)
{
    const struct json_array *list = json_array(read_array(r, json,
                                                          "regions"));

    if (!uuid_from_string(&keeper_uuid, read_string(r, json, "uuid"))) {
        reader_fail(r, "'uuid' is not a UUID");
    }
    keeper_since = read_count(r, json, "since");
    n_upgrades = read_u32(r, json, "n_upgrades");
    region_set_next_id(read_u32(r, json, "next_region"));
    load_next_ids(r, json);
    for (size_t i = 0; !r->error && i < list->n; i++) {
        load_region(r, list->elems[i]);
    }
    load_listener(r, read_object(r, json, "control"), SOCK_SEQPACKET,
                  &control_listener);
    if (has_member(json, "switch")) {
        load_switch(r, read_object(r, json, "switch"));
    }
    load_stats(r, read_object(r, json, "stats"));
    handover->pidfile = read_fd(r, json, "pidfile");
    handover->notify = read_fd(r, json, "notify");
    handover->helper = read_count(r, json, "helper");
}

/* Returns what 'fd' has, as a string that the caller frees, or null. */
static char *
read_file(int fd)
{
    struct stat s;
    size_t n;
    char *text;

    if (fstat(fd, &s) || !S_ISREG(s.st_mode) || s.st_size > STATE_MAX_SIZE
        || lseek(fd, 0, SEEK_SET)) {
        return NULL;
    }
    text = xmalloc(s.st_size + 1);
    if (read_fully(fd, text, s.st_size, &n)) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

/* Returns the object in 'text', or null. */
static struct json *
parse(struct reader *r, const char *text)
{
    int version, header_len = 0;
    struct json *json;
    uint32_t crc;
    size_t len;

    if (ovs_scan(text, STATE_HEADER_SCAN, &version, &len, &crc, &header_len)
        && version != STATE_VERSION) {
        reader_fail(r, "state of version %d, %d wanted", version,
                    STATE_VERSION);
        return NULL;
    }
    if (!header_len || text[header_len] != '\n'
        || strlen(text + header_len + 1) != len
        || ntohl(crc32c((const uint8_t *) text + header_len + 1, len))
           != crc) {
        reader_fail(r, "this is not a state, or it is damaged");
        return NULL;
    }
    json = json_from_string(text + header_len + 1);
    if (json->type != JSON_OBJECT) {
        reader_fail(r, "the state is not an object");
        json_destroy(json);
        return NULL;
    }
    return json;
}

char *
state_load(int fd, struct state_handover *handover)
{
    struct reader r = { NULL };
    char *text = read_file(fd);
    struct json *json = NULL;

    if (text) {
        json = parse(&r, text);
    } else {
        reader_fail(&r, "descriptor %d cannot be read", fd);
    }
    if (json) {
        load_keeper(&r, json, handover);
    }
    json_destroy(json);
    free(text);
    return r.error;
}

static void
resume_listener(struct listener *listener)
{
    fatal_signal_add_file_to_unlink(listener->path);
    descriptor_set_cloexec(listener->fd, true);
}

/* Says so if a client has an id that an earlier version gave it and that we
 * would not. */
static void
check_id(const struct client *client)
{
    enum peer_id_range range = peer_id_range(client->id);
    enum peer_id_range ours = region_ids(client->end->region);

    /* That of a link may be plain: its driver looks at the memory then. */
    if (range != ours && (range != PEER_ID_PLAIN || ours != PEER_ID_LINK)) {
        VLOG_WARN("%s: the client with pid %"PRIu32" has ivshmem id %"PRIu32
                  ", by which its driver takes the device for one of another "
                  "kind: unplug the device and plug it in again",
                  client->end->path, client->pid, client->id);
    }
}

static void
resume_client(struct client *client)
{
    int error;

    check_id(client);
    descriptor_set_cloexec(client->sock, true);
    for (int i = 0; i < VPCI_KEEPER_MAX_VECTORS; i++) {
        descriptor_set_cloexec(client->own[i], true);
        descriptor_set_cloexec(client->selfs[i], true);
    }
    error = client_resume(client);
    if (error) {
        VLOG_ERR("%s: the client with pid %"PRIu32" cannot be watched (%s)",
                 client->end->path, client->pid, ovs_strerror(error));
    }
}

static void
resume_end(struct end *end)
{
    if (end->by_id.fd >= 0) {
        resume_listener(&end->by_id);
    }
    if (end->listener.fd >= 0) {
        int error;

        resume_listener(&end->listener);
        error = end_watch(end);
        if (error) {
            VLOG_ERR("%s cannot be watched (%s)", end->path,
                     ovs_strerror(error));
        }
    }
    if (end->client) {
        resume_client(end->client);
    }
    events_changed(end);
}

void
state_resume(void)
{
    struct region *region;
    int error;

    LIST_FOR_EACH (region, node, &regions) {
        descriptor_set_cloexec(region->memory, true);
        descriptor_set_cloexec(region->private_memory, true);
        for (int i = 0; i < region->n_ends; i++) {
            resume_end(&region->ends[i]);
        }
    }
    resume_listener(&control_listener);
    descriptor_set_cloexec(control.fd, true);
    error = control_resume();
    if (error) {
        VLOG_ERR("%s cannot be watched (%s)", control_listener.path,
                 ovs_strerror(error));
    }
}

int
state_check(int fd)
{
    struct state_handover handover;
    char *error = state_load(fd, &handover);

    if (error) {
        fprintf(stderr, "%s: %s\n", program_name, error);
        free(error);
        return 1;
    }
    printf(STATE_ACCEPTED_FORMAT, UUID_ARGS(&keeper_uuid));
    return 0;
}

bool
state_is_accepted(const char *output)
{
    char *wanted = xasprintf(STATE_ACCEPTED_FORMAT, UUID_ARGS(&keeper_uuid));
    bool accepted = !strcmp(output, wanted);

    free(wanted);
    return accepted;
}
