/* SPDX-License-Identifier: Apache-2.0 */

/* The switch's connection to the keeper of regions: see
 * netdev-vpci-keeper.h. */

#include <config.h>

#include "netdev-vpci-keeper.h"

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

#define RETRY_MS 1000

/* Messages in one turn of the main loop: guests that come and go all the time
 * make some all the time. */
#define MAX_MESSAGES 64

/* How long a region that nobody uses is kept: a switch that ends has closed
 * all ports first, and one that begins has yet to open them. */
#define LINGER_MS 1000
#define LINGER_AT_START_MS 10000

/* A region that the keeper has, and nobody here uses. */
struct orphan {
    struct orphan *next;
    uint32_t region;
    char *path;
    long long int delete_at;
};

enum state {
    AWAY,                       /* No connection. */
    GREETING,                   /* HELLO was sent. */
    LISTING,                    /* LIST was sent. */
    READY
};

static int sock = -1;
static enum state state;
static long long int connect_at;        /* When to try (again). */
static uint32_t last_xid;
static struct vpci_region_user *users;
static struct vpci_link_user *link_users;
static struct orphan *orphans;
static bool started;                    /* Orphans of before were seen. */
static bool send_blocked;

bool
vpci_keeper_is_there(void)
{
    return state == READY;
}

static uint32_t
next_xid(void)
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

    while (u && (!region || u->region != region)) {
        u = u->next;
    }
    return u;
}

static void
free_orphan(struct orphan **p)
{
    struct orphan *o = *p;

    *p = o->next;
    free(o->path);
    free(o);
}

static void
add_orphan(uint32_t region, const char *path, long long int delete_at)
{
    struct orphan *o = xmalloc(sizeof *o);

    *o = (struct orphan) {
        .next = orphans,
        .region = region,
        .path = xstrdup(path),
        .delete_at = delete_at,
    };
    orphans = o;
}

static bool
is_orphan(uint32_t region)
{
    const struct orphan *o = orphans;

    while (o && o->region != region) {
        o = o->next;
    }
    return o != NULL;
}

/* Somebody uses 'path' again. */
static void
adopt_orphan(const char *path)
{
    for (struct orphan **p = &orphans; *p; ) {
        if (!strcmp((*p)->path, path)) {
            free_orphan(p);
        } else {
            p = &(*p)->next;
        }
    }
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
    connect_at = time_msec() + RETRY_MS;
    send_blocked = false;
    while (orphans) {
        free_orphan(&orphans);
    }
    for (struct vpci_region_user *u = users; u; u = u->next) {
        u->xid = 0;
        u->ask_at = 0;
        u->class->refused(u, why);
    }
    for (struct vpci_link_user *u = link_users; u; u = u->next) {
        u->xid = 0;
        u->due = true;
        u->listed = false;
    }
}

/* Sends '*msg'.  Returns false if that has to be tried again. */
static bool
send_msg(const struct vpci_keeper_msg *msg)
{
    int error = vpci_keeper_send(sock, msg);

    if (error && error != EAGAIN && error != ETOOMANYREFS) {
        disconnected(ovs_strerror(error));
    }
    send_blocked = error == EAGAIN || error == ETOOMANYREFS;
    return !error;
}

static void
greet(void)
{
    struct vpci_keeper_msg msg;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_HELLO, next_xid());
    msg.body.hello.min_version = VPCI_KEEPER_VERSION;
    msg.body.hello.max_version = VPCI_KEEPER_VERSION;
    ovs_strlcpy(msg.body.hello.name, program_name,
                sizeof msg.body.hello.name);
    if (send_msg(&msg)) {
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
    uint32_t xid = next_xid();

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_BASE_ADD, xid);
    ovs_strlcpy(msg.body.base_add.path, u->path,
                sizeof msg.body.base_add.path);
    msg.body.base_add.size = u->size;
    msg.body.base_add.private_size = u->private_size;
    msg.body.base_add.n_vectors = u->n_vectors;
    if (send_msg(&msg)) {
        u->xid = xid;
        u->ask_at = LLONG_MAX;
    }
}

/* Asks for a link, or for what is to be known of one that there is. */
static void
ask_link(struct vpci_link_user *u)
{
    uint16_t type = u->region ? VPCI_KEEPER_LINK_GET : VPCI_KEEPER_LINK_ADD;
    struct vpci_keeper_msg msg;
    uint32_t xid = next_xid();

    vpci_keeper_msg_init(&msg, type, xid);
    if (u->region) {
        msg.body.id.region = u->region;
    } else {
        msg.body.link_add.size = u->size;
        msg.body.link_add.n_vectors = u->n_vectors;
        msg.body.link_add.base[0] = u->base[0];
        msg.body.link_add.base[1] = u->base[1];
    }
    if (send_msg(&msg)) {
        u->xid = xid;
        u->due = false;
    }
}

static bool
delete_region(uint32_t region)
{
    struct vpci_keeper_msg msg;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_DEL, next_xid());
    msg.body.id.region = region;
    return send_msg(&msg);
}

/* What does the keeper have? */
static void
list_regions(void)
{
    struct vpci_keeper_msg msg;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_LIST, next_xid());
    if (send_msg(&msg)) {
        state = LISTING;
    } else if (sock >= 0) {
        disconnected("it does not read what we send");
    }
}

static void
is_listed(const struct vpci_keeper_region *r)
{
    long long int linger = started ? LINGER_MS : LINGER_AT_START_MS;

    struct vpci_link_user *link = find_link(r->id);

    if (link) {
        link->listed = true;
    } else if (!is_orphan(r->id)) {
        add_orphan(r->id, r->path[0], time_msec() + linger);
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
    u->ask_at = time_msec() + RETRY_MS;
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
            delete_region(r->id);
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
    u->class->given(u, msg->fds[0]);
    msg->header.n_fds = 0;
}

/* All regions have been listed: links that were not are no more. */
static void
find_lost_links(void)
{
    struct vpci_link_user *next;

    for (struct vpci_link_user *u = link_users; u; u = next) {
        next = u->next;
        if (u->region && !u->listed) {
            u->due = false;
            u->class->refused(u, "the keeper of regions has lost it");
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
    } else if (msg->header.error && state != READY) {
        VLOG_WARN_RL(&rl, "the keeper of regions refuses us: %s",
                     msg->body.error.text);
        disconnected(msg->body.error.text);
    } else if (type == VPCI_KEEPER_HELLO) {
        VLOG_INFO("connected to the keeper of regions (pid %"PRIu32", "
                  "%"PRIu32" regions)", msg->body.welcome.pid,
                  msg->body.welcome.n_regions);
        list_regions();
    } else if (msg->header.type == VPCI_KEEPER_LIST_END) {
        state = READY;
        started = true;
        find_lost_links();
    } else if (type == VPCI_KEEPER_LIST) {
        is_listed(&msg->body.region);
        delete_if_refused(&msg->body.region);
    } else if (type == VPCI_KEEPER_LINK_ADD && !msg->header.error) {
        /* Whoever asked for it does not want it any more. */
        delete_region(msg->body.region.id);
    }
}

static void
handle_event(struct vpci_keeper_msg *msg)
{
    const struct vpci_keeper_peer_down *down = &msg->body.peer_down;
    const struct vpci_keeper_peer_up *up = &msg->body.peer_up;
    struct vpci_region_user *u;
    struct vpci_link_user *link;

    if (msg->header.type == VPCI_KEEPER_PEER_UP) {
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

static void
run_orphans(void)
{
    for (struct orphan **p = &orphans; *p && !send_blocked; ) {
        if (time_msec() >= (*p)->delete_at) {
            uint32_t region = (*p)->region;

            if (delete_region(region)) {
                VLOG_INFO("%s: no port uses it any more", (*p)->path);
                free_orphan(p);
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
    if (u->region && state != AWAY) {
        add_orphan(u->region, u->path, time_msec() + LINGER_MS);
    }
}

void
vpci_keeper_register_link(struct vpci_link_user *u)
{
    u->xid = 0;
    u->due = true;
    u->listed = false;
    u->next = link_users;
    link_users = u;
    for (struct orphan **p = &orphans; *p; ) {
        if ((*p)->region == u->region) {
            free_orphan(p);
        } else {
            p = &(*p)->next;
        }
    }
}

void
vpci_keeper_unregister_link(struct vpci_link_user *u, bool delete)
{
    struct vpci_link_user **p;

    for (p = &link_users; *p != u; p = &(*p)->next) {
        continue;
    }
    *p = u->next;
    if (delete && u->region && state != AWAY) {
        add_orphan(u->region, "a link", time_msec());
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
    for (const struct orphan *o = orphans; o; o = o->next) {
        poll_timer_wait_until(o->delete_at);
    }
}
