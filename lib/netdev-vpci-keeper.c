/* SPDX-License-Identifier: Apache-2.0 */

/* The switch's connection to the keeper of regions: see
 * netdev-vpci-keeper.h. */

#include <config.h>

#include "netdev-vpci-keeper.h"
#include "netdev-vpci-keeper-private.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dirs.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "socket-util.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_keeper);

static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 20);

/* Messages in one turn of the main loop: guests that come and go all the time
 * make some all the time. */
#define MAX_MESSAGES 64

/* Likewise, when we have just begun. */
#define LINGER_AT_START_MS 10000

enum state {
    AWAY,                       /* No connection. */
    GREETING,                   /* HELLO was sent. */
    LISTING,                    /* LIST was sent. */
    READY
};

static int sock = -1;
static enum state state;
static long long int connect_at;        /* When to try (again). */
static uint8_t keeper_uuid[16];         /* Of the last one. */
static uint32_t last_xid;
static struct vpci_region_user *users;
static struct vpci_link_user *link_users;
static struct vpci_keeper_orphan *orphans;
static bool started;                    /* Orphans of before were seen. */
static bool send_blocked;

bool
vpci_keeper_is_there(void)
{
    return state == READY;
}

bool
vpci_keeper_can_ask(void)
{
    return state == READY && !send_blocked;
}

uint32_t
vpci_keeper_next_xid(void)
{
    last_xid += last_xid == UINT32_MAX ? 2 : 1;
    return last_xid;
}

static struct vpci_region_user *
find_user(uint32_t region)
{
    struct vpci_region_user *u = users;

    while (u && u->region != region) {
        u = u->next;
    }
    return u;
}

static struct vpci_link_user *
find_link(uint32_t region)
{
    struct vpci_link_user *u = link_users;

    while (u && (!region || u->region != region || u->lost)) {
        u = u->next;
    }
    return u;
}

static void
free_orphan(struct vpci_keeper_orphan **p)
{
    struct vpci_keeper_orphan *o = *p;

    *p = o->next;
    free(o->path);
    free(o);
}

static void
free_orphans(void)
{
    while (orphans) {
        free_orphan(&orphans);
    }
}

void
vpci_keeper_add_orphan(const struct vpci_keeper_orphan *orphan)
{
    if (state != AWAY) {
        struct vpci_keeper_orphan *o = xmemdup(orphan, sizeof *orphan);

        o->path = xstrdup(orphan->path);
        o->next = orphans;
        orphans = o;
    }
}

static void
forget_orphan(uint32_t region)
{
    for (struct vpci_keeper_orphan **p = &orphans; *p; ) {
        if ((*p)->region == region) {
            free_orphan(p);
        } else {
            p = &(*p)->next;
        }
    }
}

static void
add_orphan(uint32_t region, const char *path, long long int delete_at)
{
    vpci_keeper_add_orphan(&(struct vpci_keeper_orphan) {
        .region = region,
        .path = CONST_CAST(char *, path),
        .delete_at = delete_at,
    });
}

/* Likewise a link between base regions 'ends'. */
static void
add_link_orphan(uint32_t region, const uint32_t ends[2],
                long long int delete_at)
{
    vpci_keeper_add_orphan(&(struct vpci_keeper_orphan) {
        .region = region,
        .ends = { ends[0], ends[1] },
        .path = CONST_CAST(char *, "a link"),
        .delete_at = delete_at,
    });
}

/* The keeper deletes links together with base region 'base'. */
static void
forget_orphans_of(uint32_t base)
{
    for (struct vpci_keeper_orphan **p = &orphans; *p; ) {
        if ((*p)->ends[0] == base || (*p)->ends[1] == base) {
            free_orphan(p);
        } else {
            p = &(*p)->next;
        }
    }
}

static bool
is_orphan(uint32_t region)
{
    const struct vpci_keeper_orphan *o = orphans;

    while (o && o->region != region) {
        o = o->next;
    }
    return o != NULL;
}

/* Somebody uses 'path' again. */
static void
adopt_orphan(const char *path)
{
    for (struct vpci_keeper_orphan **p = &orphans; *p; ) {
        if (!strcmp((*p)->path, path)) {
            free_orphan(p);
        } else {
            p = &(*p)->next;
        }
    }
}

void
vpci_keeper_adopt_peer(uint32_t base)
{
    for (struct vpci_keeper_orphan **p = &orphans; *p; ) {
        if (base && (*p)->base == base && !(*p)->doomed) {
            free_orphan(p);
        } else {
            p = &(*p)->next;
        }
    }
}

bool
vpci_keeper_has_orphan_peer(uint32_t base)
{
    const struct vpci_keeper_orphan *o = orphans;

    while (o && o->base != base) {
        o = o->next;
    }
    return o != NULL;
}

/* The connection has ended, or could not be made, for the reason 'why'. */
static void
disconnected(const char *why)
{
    if (state == READY) {
        VLOG_WARN("lost the keeper of regions: %s", why);
    }
    if (sock >= 0) {
        close(sock);
        sock = -1;
    }
    state = AWAY;
    connect_at = time_msec() + VPCI_KEEPER_RETRY_MS;
    send_blocked = false;
    free_orphans();
    for (struct vpci_region_user *u = users; u; u = u->next) {
        u->xid = 0;
        u->ask_at = 0;
        u->class->refused(u, why);
    }
    for (struct vpci_link_user *u = link_users; u; u = u->next) {
        u->xid = 0;
        u->due = !u->lost;
        u->listed = false;
    }
    vpci_peer_users_disconnected(why);
}

/* Sends '*msg'.  Returns 0, EAGAIN if that has to be tried again, or another
 * positive errno if the connection is of no use. */
static int
try_to_send(const struct vpci_keeper_msg *msg)
{
    int error = vpci_keeper_send(sock, msg);

    error = error == ETOOMANYREFS ? EAGAIN : error;
    send_blocked = error == EAGAIN;
    return error;
}

bool
vpci_keeper_ask(const struct vpci_keeper_msg *msg)
{
    int error = try_to_send(msg);

    if (error && error != EAGAIN) {
        disconnected(ovs_strerror(error));
    }
    return !error;
}

bool
vpci_keeper_ask_silently(const struct vpci_keeper_msg *msg)
{
    return !try_to_send(msg);
}

static void
greet(void)
{
    struct vpci_keeper_msg msg;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_HELLO, vpci_keeper_next_xid());
    msg.body.hello.min_version = VPCI_KEEPER_VERSION;
    msg.body.hello.max_version = VPCI_KEEPER_VERSION;
    ovs_strlcpy(msg.body.hello.name, program_name,
                sizeof msg.body.hello.name);
    if (vpci_keeper_ask(&msg)) {
        state = GREETING;
    } else if (sock >= 0) {
        disconnected("it does not read what we send");
    }
}

static void
connect_to_keeper(void)
{
    char *path = xasprintf("%s/vpcid.ctl", ovs_rundir());
    int fd = make_unix_socket(SOCK_SEQPACKET, true, NULL, path);

    if (fd < 0) {
        char *why = xasprintf("cannot connect to the keeper of regions at %s "
                              "(%s): start vpcid", path, ovs_strerror(-fd));

        VLOG_INFO_RL(&rl, "%s", why);
        disconnected(why);
        free(why);
    } else {
        sock = fd;
        greet();
    }
    free(path);
}

static void
ask(struct vpci_region_user *u)
{
    struct vpci_keeper_msg msg;
    uint32_t xid = vpci_keeper_next_xid();

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_BASE_ADD, xid);
    ovs_strlcpy(msg.body.base_add.path, u->path,
                sizeof msg.body.base_add.path);
    msg.body.base_add.size = u->size;
    msg.body.base_add.private_size = u->private_size;
    msg.body.base_add.n_vectors = u->n_vectors;
    if (vpci_keeper_ask(&msg)) {
        u->xid = xid;
        u->ask_at = LLONG_MAX;
    }
}

static void
ask_static(const struct vpci_link_user *u, struct vpci_keeper_static_add *add)
{
    add->size = u->size;
    add->n_vectors = u->n_vectors;
    for (int i = 0; i < 2; i++) {
        add->base[i] = u->base[i];
        ovs_strlcpy(add->name[i], u->names[i], sizeof add->name[i]);
    }
}

/* Asks for a link, or for what is to be known of one that there is. */
static void
ask_link(struct vpci_link_user *u)
{
    uint16_t type = (u->region ? VPCI_KEEPER_LINK_GET
                     : u->names[0] ? VPCI_KEEPER_STATIC_ADD
                     : VPCI_KEEPER_LINK_ADD);
    struct vpci_keeper_msg msg;
    uint32_t xid = vpci_keeper_next_xid();

    vpci_keeper_msg_init(&msg, type, xid);
    if (u->region) {
        msg.body.id.region = u->region;
    } else if (u->names[0]) {
        ask_static(u, &msg.body.static_add);
    } else {
        msg.body.link_add.size = u->size;
        msg.body.link_add.n_vectors = u->n_vectors;
        msg.body.link_add.base[0] = u->base[0];
        msg.body.link_add.base[1] = u->base[1];
    }
    if (vpci_keeper_ask(&msg)) {
        u->xid = xid;
        u->due = false;
    }
}

bool
vpci_keeper_delete(uint32_t region)
{
    struct vpci_keeper_msg msg;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_DEL, vpci_keeper_next_xid());
    msg.body.id.region = region;
    return vpci_keeper_ask(&msg);
}

/* What does the keeper have? */
static void
list_regions(void)
{
    struct vpci_keeper_msg msg;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_LIST, vpci_keeper_next_xid());
    if (vpci_keeper_ask(&msg)) {
        state = LISTING;
    } else if (sock >= 0) {
        disconnected("it does not read what we send");
    }
}

void
vpci_keeper_list(void)
{
    if (state == READY) {
        list_regions();
    }
}

static void
is_listed(const struct vpci_keeper_region *r)
{
    struct vpci_keeper_orphan orphan = {
        .region = r->id,
        .base = r->kind == VPCI_KEEPER_PEER ? r->base[0] : 0,
        .ends = { r->kind == VPCI_KEEPER_LINK ? r->base[0] : 0,
                  r->kind == VPCI_KEEPER_LINK ? r->base[1] : 0 },
        .path = CONST_CAST(char *, r->path[0]),
        .delete_at = time_msec() + (started ? VPCI_KEEPER_LINGER_MS
                                    : LINGER_AT_START_MS),
    };
    struct vpci_link_user *link = find_link(r->id);

    if (link) {
        link->listed = true;
    } else if (!is_orphan(r->id)
               && !(orphan.base && vpci_peer_users_listed(r))) {
        vpci_keeper_add_orphan(&orphan);
    }
    for (struct vpci_region_user *u = users; u; u = u->next) {
        adopt_orphan(u->path);
    }
}

static struct vpci_region_user *
find_asker(uint32_t xid)
{
    struct vpci_region_user *u = users;

    while (u && u->xid != xid) {
        u = u->next;
    }
    return u;
}

/* The reply to a request of 'u'. */
static void
handle_base(struct vpci_region_user *u, struct vpci_keeper_msg *msg)
{
    u->xid = 0;
    if (!msg->header.error) {
        u->region = msg->body.region.id;
        u->class->given(u, u->region, msg->fds[0], msg->fds[1]);
        msg->header.n_fds = 0;
        return;
    }
    u->ask_at = time_msec() + VPCI_KEEPER_RETRY_MS;
    if (msg->header.error == EEXIST && state == READY) {
        VLOG_INFO_RL(&rl, "%s: the keeper has a region of another shape there: "
                     "its guest, if there is one, has to connect again",
                     u->path);
        list_regions();
    } else {
        u->class->refused(u, msg->body.error.text);
    }
}

/* While regions are listed: one that somebody wants otherwise is deleted. */
static void
delete_if_refused(const struct vpci_keeper_region *r)
{
    for (struct vpci_region_user *u = users; u; u = u->next) {
        if (!strcmp(u->path, r->path[0])
            && (r->size != u->size || r->n_vectors != u->n_vectors
                || r->private_size != u->private_size)) {
            vpci_keeper_delete(r->id);
            u->ask_at = 0;
        }
    }
}

static struct vpci_link_user *
find_link_asker(uint32_t xid)
{
    struct vpci_link_user *u = link_users;

    while (u && u->xid != xid) {
        u = u->next;
    }
    return u;
}

/* The reply to a request of 'u'. */
static void
handle_link(struct vpci_link_user *u, struct vpci_keeper_msg *msg)
{
    u->xid = 0;
    if (msg->header.error) {
        u->class->refused(u, msg->body.error.text);
        return;
    }
    u->region = msg->body.region.id;
    forget_orphan(u->region);
    u->class->given(u, msg->fds[0]);
    msg->header.n_fds = 0;
}

/* The keeper has not got the link of 'u', for the reason 'why'. */
static void
lose_link(struct vpci_link_user *u, const char *why)
{
    u->due = false;
    u->lost = u->region != 0;
    u->class->refused(u, why);
}

/* The keeper that has answered is not the last one, or has lost everything.
 * It may use the same ids for other regions. */
static void
forget_ids(void)
{
    const char *why = "the keeper of regions has lost everything";

    free_orphans();
    for (struct vpci_region_user *u = users; u; u = u->next) {
        u->region = 0;
    }
    for (struct vpci_link_user *u = link_users; u; u = u->next) {
        lose_link(u, why);
    }
    vpci_peer_users_lost(why);
}

static void
handle_welcome(const struct vpci_keeper_welcome *w)
{
    VLOG_INFO("connected to the keeper of regions (pid %"PRIu32", %"PRIu32
              " regions)", w->pid, w->n_regions);
    if (memcmp(keeper_uuid, w->uuid, sizeof keeper_uuid)) {
        forget_ids();
        memcpy(keeper_uuid, w->uuid, sizeof keeper_uuid);
    }
    list_regions();
}

/* All regions have been listed: links that were not are no more. */
static void
find_lost_links(void)
{
    for (struct vpci_link_user *u = link_users; u; u = u->next) {
        if (u->region && !u->listed && !u->lost) {
            lose_link(u, "the keeper of regions has lost it");
        }
    }
}

static void
handle_reply(struct vpci_keeper_msg *msg)
{
    uint16_t type = msg->header.type & ~VPCI_KEEPER_REPLY;
    struct vpci_region_user *u = find_asker(msg->header.xid);
    struct vpci_link_user *link = find_link_asker(msg->header.xid);

    if (u) {
        handle_base(u, msg);
    } else if (link) {
        handle_link(link, msg);
    } else if (vpci_peer_users_reply(msg)) {
        return;
    } else if (msg->header.error && (type == VPCI_KEEPER_HELLO
                                     || type == VPCI_KEEPER_LIST)) {
        VLOG_WARN_RL(&rl, "the keeper of regions refuses us: %s",
                     msg->body.error.text);
        disconnected(msg->body.error.text);
    } else if (type == VPCI_KEEPER_HELLO) {
        handle_welcome(&msg->body.welcome);
    } else if (msg->header.type == VPCI_KEEPER_LIST_END) {
        state = READY;
        started = true;
        find_lost_links();
    } else if (type == VPCI_KEEPER_LIST) {
        is_listed(&msg->body.region);
        delete_if_refused(&msg->body.region);
    } else if (type == VPCI_KEEPER_LINK_ADD && !msg->header.error) {
        /* Whoever asked for it does not want it any more. */
        vpci_keeper_delete(msg->body.region.id);
    } else if (type == VPCI_KEEPER_STATIC_ADD && !msg->header.error
               && !find_link(msg->body.region.id)) {
        add_link_orphan(msg->body.region.id, msg->body.region.base,
                        time_msec() + VPCI_KEEPER_LINGER_MS);
    }
}

static void
handle_event(struct vpci_keeper_msg *msg)
{
    const struct vpci_keeper_peer_down *down = &msg->body.peer_down;
    const struct vpci_keeper_peer_up *up = &msg->body.peer_up;
    struct vpci_region_user *u;
    struct vpci_link_user *link;

    if (vpci_peer_users_event(msg)) {
        return;
    } else if (msg->header.type == VPCI_KEEPER_PEER_UP) {
        u = find_user(up->region);
        link = find_link(up->region);
        if (u) {
            u->class->guest_came(u, up, msg->fds, msg->header.n_fds);
        } else if (link) {
            link->class->guest_came(link, up);
        }
    } else if (msg->header.type == VPCI_KEEPER_PEER_DOWN) {
        u = find_user(down->region);
        link = find_link(down->region);
        if (u) {
            u->class->guest_left(u, down->text);
        } else if (link && down->end < 2) {
            link->class->guest_left(link, down->end, down->text);
        }
    }
}

/* Closes those descriptors of 'msg' that nobody took. */
static void
close_fds(struct vpci_keeper_msg *msg)
{
    for (uint32_t i = 0; i < msg->header.n_fds; i++) {
        if (msg->fds[i] >= 0) {
            close(msg->fds[i]);
        }
    }
}

/* Receives what has come. */
static void
receive(void)
{
    char why[VPCI_KEEPER_TEXT_SIZE];
    struct vpci_keeper_msg msg;

    for (int i = 0; sock >= 0 && i < MAX_MESSAGES; i++) {
        int error = vpci_keeper_recv(sock, VPCI_KEEPER_SIDE_SWITCH, &msg,
                                     why);

        if (error == EAGAIN) {
            break;
        } else if (error) {
            disconnected(why);
            break;
        }
        if (msg.header.xid) {
            handle_reply(&msg);
        } else {
            handle_event(&msg);
        }
        close_fds(&msg);
    }
}

/* True if somebody has asked for a static link of the same pair, and the keeper
 * may answer that it is this one. */
static bool
may_be_wanted(const struct vpci_keeper_orphan *o)
{
    for (const struct vpci_link_user *u = link_users; u; u = u->next) {
        if (u->names[0] && !u->region && (u->xid || u->due)
            && ((u->base[0] == o->ends[0] && u->base[1] == o->ends[1])
                || (u->base[0] == o->ends[1] && u->base[1] == o->ends[0]))) {
            return true;
        }
    }
    return false;
}

static void
run_orphans(void)
{
    for (struct vpci_keeper_orphan **p = &orphans; *p && !send_blocked; ) {
        if (time_msec() >= (*p)->delete_at && !may_be_wanted(*p)) {
            uint32_t region = (*p)->region;

            if (vpci_keeper_delete(region)) {
                VLOG_INFO("%s: no port uses it any more", (*p)->path);
                free_orphan(p);
                forget_orphans_of(region);
            }
            return;             /* Everything may have changed. */
        }
        p = &(*p)->next;
    }
}

void
vpci_keeper_register(struct vpci_region_user *u)
{
    u->region = u->xid = 0;
    u->ask_at = 0;
    u->next = users;
    users = u;
    adopt_orphan(u->path);
    if (state == AWAY) {
        connect_at = 0;
    }
}

void
vpci_keeper_unregister(struct vpci_region_user *u)
{
    struct vpci_region_user **p;

    for (p = &users; *p != u; p = &(*p)->next) {
        continue;
    }
    *p = u->next;
    if (u->region) {
        add_orphan(u->region, u->path, time_msec() + VPCI_KEEPER_LINGER_MS);
    }
}

void
vpci_keeper_register_link(struct vpci_link_user *u)
{
    u->xid = 0;
    u->due = true;
    u->listed = u->lost = false;
    u->next = link_users;
    link_users = u;
    forget_orphan(u->region);
}

void
vpci_keeper_unregister_link(struct vpci_link_user *u, bool delete)
{
    struct vpci_link_user **p;

    for (p = &link_users; *p != u; p = &(*p)->next) {
        continue;
    }
    *p = u->next;
    if (delete && u->region && !u->lost) {
        add_link_orphan(u->region, u->base, time_msec()
                        + (u->names[0] ? VPCI_KEEPER_LINGER_MS : 0));
    }
}

/* Sends what is due. */
static void
run_users(void)
{
    for (struct vpci_region_user *u = users;
         u && state == READY && !send_blocked; u = u->next) {
        if (time_msec() >= u->ask_at) {
            ask(u);
        }
    }
    for (struct vpci_link_user *u = link_users;
         u && state == READY && !send_blocked; u = u->next) {
        if (u->due) {
            ask_link(u);
        }
    }
    vpci_peer_users_run();
}

void
vpci_keeper_run(void)
{
    if (state == AWAY) {
        if (!users || time_msec() < connect_at) {
            return;
        }
        connect_to_keeper();
    }
    send_blocked = false;
    receive();
    run_users();
    if (state == READY) {
        run_orphans();
    }
}

void
vpci_keeper_wait(void)
{
    if (state == AWAY) {
        if (users) {
            poll_timer_wait_until(connect_at);
        }
        return;
    }
    poll_fd_wait(sock, POLLIN | (send_blocked ? POLLOUT : 0));
    for (const struct vpci_region_user *u = users; u; u = u->next) {
        if (u->ask_at != LLONG_MAX && state == READY && !send_blocked) {
            poll_timer_wait_until(u->ask_at);
        }
    }
    for (const struct vpci_link_user *u = link_users; u; u = u->next) {
        if (u->due && state == READY && !send_blocked) {
            poll_immediate_wake();
        }
    }
    vpci_peer_users_wait();
    for (const struct vpci_keeper_orphan *o = orphans; o; o = o->next) {
        if (!may_be_wanted(o)) {
            poll_timer_wait_until(o->delete_at);
        }
    }
}
