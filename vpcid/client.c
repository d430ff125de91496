/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "client.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "descriptors.h"
#include "events.h"
#include "ivshmem.h"
#include "openvswitch/vlog.h"
#include "peer-id.h"
#include "refused.h"
#include "region.h"
#include "timeval.h"
#include "util.h"
#include "vpci/doorbell.h"

VLOG_DEFINE_THIS_MODULE(client);

/* Whatever clients cause is logged at this rate at most. */
static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(20, 60);

static uint32_t n_clients;

uint32_t
clients_count(void)
{
    return n_clients;
}

static void
count_refusal(struct end *end, enum refusal refusal, uint32_t pid)
{
    end->n_refused[refusal]++;
    if (pid) {
        VLOG_WARN_RL(&rl, "%s: client with pid %"PRIu32" is refused: %s",
                     end->path, pid, refusal_text(refusal));
    } else {
        VLOG_WARN_RL(&rl, "%s: a client is refused: %s", end->path,
                     refusal_text(refusal));
    }
}

struct client *
client_create(struct end *end)
{
    struct client *client = xzalloc(sizeof *client);

    client->end = end;
    client->sock = -1;
    watch_init(&client->watch);
    for (int i = 0; i < VPCI_KEEPER_MAX_VECTORS; i++) {
        client->own[i] = client->selfs[i] = -1;
    }
    return client;
}

static void
client_destroy(struct client *client)
{
    watch_stop(&client->watch);

    /* A child that checks another program may have a copy of it. */
    shutdown(client->sock, SHUT_RDWR);
    descriptors_close(&client->sock, 1);
    descriptors_close(client->own, VPCI_KEEPER_MAX_VECTORS);
    descriptors_close(client->selfs, VPCI_KEEPER_MAX_VECTORS);
    peer_id_put(client->id);
    peer_id_put(client->self);
    for (uint32_t i = 0; i < client->n_peers; i++) {
        peer_id_put(client->peers[i]);
    }
    free(client);
}

static bool
create_eventfds(int fds[], uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (fds[i] < 0) {
            return false;
        }
    }
    return true;
}

/* Gets what a connection needs.  Returns false with '*refusal' set if that
 * cannot be had. */
static bool
provide(struct client *client, enum refusal *refusal)
{
    const struct region *region = client->end->region;
    bool base = region->kind == VPCI_KEEPER_BASE;

    *refusal = REFUSAL_NO_IDS;
    client->id = peer_id_get(region_ids(region));
    client->self = client->id && base ? peer_id_get(PEER_ID_PLAIN) : 0;
    if (!client->id || (base && !client->self)) {
        return false;
    }
    *refusal = REFUSAL_NO_FDS;
    return (create_eventfds(client->own, region_n_eventfds(region))
            && (!base || create_eventfds(client->selfs, region->n_vectors)));
}

/* Returns the client at the other end of a link, or null. */
static struct client *
other_client(const struct end *end)
{
    struct region *region = end->region;

    return region->n_ends > 1 ? region->ends[!end->index].client : NULL;
}

static int
greet(struct client *client)
{
    const struct region *region = client->end->region;
    const struct client *other = other_client(client->end);
    uint32_t n = region_n_eventfds(region);
    int error = ivshmem_send(client->sock, IVSHMEM_VERSION, -1);

    if (!error) {
        error = ivshmem_send(client->sock, client->id, -1);
    }
    if (!error) {
        error = ivshmem_send(client->sock, IVSHMEM_MEMORY, region->memory);
    }
    if (!error && client->self) {
        error = ivshmem_send_vectors(client->sock, client->self,
                                     client->selfs, n);
    } else if (!error && other) {
        error = ivshmem_send_vectors(client->sock, other->id, other->own, n);
    }
    if (!error) {
        error = ivshmem_send_vectors(client->sock, client->id, client->own, n);
    }
    client->n_sent = n;
    return error;
}

/* Disconnects 'client' since sending to it failed with 'error'. */
static void
give_up(struct client *client, int error)
{
    enum refusal refusal = (error == EAGAIN ? REFUSAL_SLOW
                            : error == ETOOMANYREFS ? REFUSAL_NO_FDS
                            : REFUSAL_ERROR);
    struct end *end = client->end;

    if (error == EPIPE || error == ECONNRESET) {
        client_disconnect(end, "it closed the connection");
    } else {
        count_refusal(end, refusal, client->pid);
        client_disconnect(end, refusal_text(refusal));
    }
}

/* Checks that 'client' can have the signals that '*add' says. */
static int
check_signals(const struct client *client,
              const struct vpci_keeper_signals_add *add, char **textp)
{
    const struct end *end = client->end;
    uint32_t n_vectors = end->region->n_vectors;
    uint32_t n_left = n_vectors - client->n_sent;

    if ((!add->n_kicks && !add->n_calls) || add->n_kicks >= n_vectors
        || add->n_calls > n_vectors) {
        *textp = xasprintf("%"PRIu32" kicks and %"PRIu32" calls: of %"PRIu32
                           " vectors, 1 is the client's, and there is "
                           "something to send", add->n_kicks, add->n_calls,
                           n_vectors);
        return EINVAL;
    } else if (add->n_kicks > n_left
               || (add->n_calls
                   && client->n_peers == VPCI_KEEPER_MAX_PEERS)) {
        *textp = xasprintf("%s: %"PRIu32" of %"PRIu32" vectors are left, and "
                           "%"PRIu32" of %d peers, too few for %"PRIu32" "
                           "kicks and %"PRIu32" calls: the device must be "
                           "unplugged and plugged in again", end->path, n_left,
                           n_vectors, VPCI_KEEPER_MAX_PEERS - client->n_peers,
                           VPCI_KEEPER_MAX_PEERS, add->n_kicks, add->n_calls);
        return ENOSPC;
    }
    return 0;
}

/* Checks that 'fds', which the switch has from a guest, are eventfds. */
static int
check_eventfds(const int fds[], uint32_t n, char **textp)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!vpci_doorbell_is_eventfd(fds[i])) {
            *textp = xasprintf("descriptor %"PRIu32" of %"PRIu32" is not an "
                               "eventfd", i, n);
            return EINVAL;
        }
    }
    return 0;
}

static int
pass_signals(struct client *client, const struct vpci_keeper_signals_add *add,
             const int fds[], uint32_t peer)
{
    int error = ivshmem_send_vectors(client->sock, client->id, fds,
                                     add->n_kicks);

    client->n_sent += add->n_kicks;
    if (!error) {
        error = ivshmem_send_vectors(client->sock, peer, fds + add->n_kicks,
                                     add->n_calls);
    }
    return error;
}

int
client_send_signals(struct end *end, const struct vpci_keeper_signals_add *add,
                    const int fds[], struct vpci_keeper_peer_signals *sent,
                    char **textp)
{
    struct client *client = end->client;
    uint32_t peer = 0;
    int error;

    if (!client || client->id != add->peer) {
        *textp = xasprintf("%s: there is no client with ivshmem id %"PRIu32
                           " any more", end->path, add->peer);
        return ENOTCONN;
    }
    error = check_signals(client, add, textp);
    if (!error) {
        error = check_eventfds(fds, add->n_kicks + add->n_calls, textp);
    }
    if (error) {
        return error;
    }
    if (add->n_calls) {
        peer = peer_id_get(PEER_ID_PLAIN);
        if (!peer) {
            *textp = xstrdup(refusal_text(REFUSAL_NO_IDS));
            return ENOSPC;
        }
        client->peers[client->n_peers++] = peer;
    }
    sent->region = end->region->id;
    sent->peer = peer;
    sent->first_kick = client->n_sent;
    error = pass_signals(client, add, fds, peer);
    if (error) {
        *textp = xasprintf("%s: the client with ivshmem id %"PRIu32" cannot "
                           "be told (%s)", end->path, add->peer,
                           ovs_strerror(error));
        give_up(client, error);
        return ENOTCONN;
    }
    sent->n_left = end->region->n_vectors - client->n_sent;
    VLOG_INFO_RL(&rl, "%s: client with pid %"PRIu32" has %"PRIu32" vectors "
                 "more, from %"PRIu32" on, and %"PRIu32" of peer %"PRIu32,
                 end->path, client->pid, add->n_kicks, sent->first_kick,
                 add->n_calls, peer);
    return 0;
}

/* Tells the other end of a link that 'client' has come. */
static void
introduce(const struct client *client)
{
    struct client *other = other_client(client->end);

    if (other) {
        int error = ivshmem_send_vectors(other->sock, client->id, client->own,
                                         client->end->region->n_vectors);
        if (error) {
            give_up(other, error);
        }
    }
}

/* Lets the client at the other end of a static link go if it can be told of no
 * other client.  At 'end' there is none. */
static void
give_up_full(struct end *end)
{
    const struct client *other = other_client(end);

    if (end->region->is_static && other
        && other->n_peers >= VPCI_KEEPER_MAX_PEERS) {
        VLOG_WARN_RL(&rl, "%s: the client with pid %"PRIu32" has been told of "
                     "%"PRIu32" others, which is all that it can be: it has "
                     "to connect again to use the link, which a virtual "
                     "machine does when it is started anew",
                     other->end->path, other->pid, other->n_peers);
        client_disconnect(other->end, "it has had all the peers that it can");
    }
}

static void
client_run(struct watch *watch)
{
    struct client *client = CONTAINER_OF(watch, struct client, watch);
    struct end *end = client->end;
    char byte;
    ssize_t n;

    /* Without room for descriptors: whatever comes along is closed. */
    n = recv(client->sock, &byte, sizeof byte, MSG_DONTWAIT);
    if (n > 0) {
        count_refusal(end, REFUSAL_SENT, client->pid);
        client_disconnect(end, refusal_text(REFUSAL_SENT));
    } else if (!n || errno == ECONNRESET) {
        client_disconnect(end, "it closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
        count_refusal(end, REFUSAL_ERROR, client->pid);
        client_disconnect(end, refusal_text(REFUSAL_ERROR));
    }
}

int
client_resume(struct client *client)
{
    int error = watch_start(&client->watch, client->sock, client_run);

    if (!error) {
        client->end->client = client;
        n_clients++;
    }
    return error;
}

/* Begins to serve whoever is behind 'sock'. */
static void
connect_client(struct end *end, int sock, const struct ucred *who)
{
    struct client *client = client_create(end);
    enum refusal refusal;
    int error;

    give_up_full(end);
    client->sock = sock;
    client->pid = who->pid;
    client->uid = who->uid;
    client->since = time_wall_msec();
    if (!provide(client, &refusal)) {
        count_refusal(end, refusal, client->pid);
        ivshmem_refuse(sock, ENOSPC);
        client_destroy(client);
        return;
    }
    error = client_resume(client);
    if (error) {
        count_refusal(end, REFUSAL_ERROR, client->pid);
        client_destroy(client);
        return;
    }
    client->serial = ++end->n_clients;
    VLOG_INFO_RL(&rl, "%s: client with pid %"PRIu32" has connected, ivshmem "
                 "id %"PRIu32, end->path, client->pid, client->id);

    error = greet(client);
    if (error) {
        give_up(client, error);
    } else {
        introduce(client);
        events_changed(end);
    }
}

/* Returns true if 'end' has a client.  One that has gone, though we were not
 * told yet, is not in the way of the next. */
static bool
is_busy(struct end *end)
{
    if (end->client) {
        client_run(&end->client->watch);
    }
    return end->client != NULL;
}

void
client_accept(struct end *end, struct listener *listener)
{
    struct ucred who;
    int sock;
    int error = descriptors_accept(listener->fd, &sock, &who);

    if (error == EMFILE) {
        count_refusal(end, REFUSAL_NO_FDS, 0);
    } else if (error && error != EAGAIN) {
        VLOG_WARN_RL(&rl, "%s: clients cannot be accepted (%s)", end->path,
                     ovs_strerror(error));
        watch_pause(&listener->watch);
    } else if (!error && is_busy(end)) {
        count_refusal(end, REFUSAL_BUSY, who.pid);
        refused_add(sock, EBUSY);
    } else if (!error && end->over) {
        refused_add(sock, ESHUTDOWN);
    } else if (!error) {
        connect_client(end, sock, &who);
    }
}

/* Remembers, for the switch, why the client that it knows has gone. */
static void
note_departure(struct end *end, const struct client *client,
               const char *reason)
{
    if (!end->told.serial || end->told.serial == client->serial) {
        end->gone_id = client->id;
        ovs_strlcpy(end->gone_text, reason, sizeof end->gone_text);
    }
}

/* True if 'client' is to be told when the one at the other end of its link has
 * gone: if its socket has a name, as those of libvpci have.  QEMU's has none, and
 * frees what it has for the peer when it is told, and once more when the device
 * is unplugged. */
static bool
wants_departures(const struct client *client)
{
    struct sockaddr_un sun;
    socklen_t len = sizeof sun;

    return (!getpeername(client->sock, (struct sockaddr *) &sun, &len)
            && len > offsetof(struct sockaddr_un, sun_path));
}

/* Lets 'other', at the other end of a link, know that 'client' goes.  If it
 * cannot be told, it keeps the id, by which it would take the next client for
 * this one. */
static void
take_leave(struct client *client, struct client *other)
{
    int error;

    if (wants_departures(other)) {
        error = ivshmem_send(other->sock, client->id, -1);
        if (error) {
            give_up(other, error);
        }
    } else if (client->end->region->is_static
               && other->n_peers < VPCI_KEEPER_MAX_PEERS) {
        other->peers[other->n_peers++] = client->id;
        client->id = 0;
    }
}

void
client_disconnect(struct end *end, const char *reason)
{
    struct client *client = end->client;
    struct client *other = other_client(end);

    if (!client) {
        return;
    }
    VLOG_INFO_RL(&rl, "%s: client with pid %"PRIu32" is gone: %s", end->path,
                 client->pid, reason);
    note_departure(end, client, reason);
    end->client = NULL;
    n_clients--;
    if (end->region->kind == VPCI_KEEPER_LINK && !end->region->is_static) {
        end_close(end);
    }
    events_changed(end);
    if (other) {
        take_leave(client, other);
    }
    client_destroy(client);
}
