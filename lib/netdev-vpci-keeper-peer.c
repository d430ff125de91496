/* SPDX-License-Identifier: Apache-2.0 */

/* The switch's connection to the keeper of regions, for those who want the
 * memory of a peer to be there: see netdev-vpci-keeper.h. */

#include <config.h>

#include "netdev-vpci-keeper.h"
#include "netdev-vpci-keeper-private.h"

#include <errno.h>
#include <limits.h>

#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_peer);

static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 20);

static struct vpci_peer_user *users;

static struct vpci_peer_user *
find_by_base(uint32_t base)
{
    struct vpci_peer_user *u = users;

    while (u && u->base != base) {
        u = u->next;
    }
    return u;
}

static struct vpci_peer_user *
find_by_region(uint32_t region)
{
    struct vpci_peer_user *u = users;

    while (u && (!region || u->region != region)) {
        u = u->next;
    }
    return u;
}

/* Returns who has asked with 'xid', for a region or for signals. */
static struct vpci_peer_user *
find_asker(uint32_t xid)
{
    struct vpci_peer_user *u = users;

    while (u && u->xid != xid && u->signals_xid != xid) {
        u = u->next;
    }
    return u;
}

void
vpci_peer_users_disconnected(const char *why)
{
    for (struct vpci_peer_user *u = users; u; u = u->next) {
        bool asked = u->signals_xid != 0;

        u->xid = u->signals_xid = 0;
        u->ask_at = 0;
        u->replaces = false;
        if (asked) {
            u->class->signals_refused(u, ENOTCONN, why);
        }
    }
}

/* From now on there is no such base region: the number may be another one's,
 * whose guest must not get the memory. */
void
vpci_peer_users_lost(const char *why)
{
    for (struct vpci_peer_user *u = users; u; u = u->next) {
        u->base = u->region = 0;
        u->ask_at = LLONG_MAX;
        u->class->refused(u, why);
    }
}

bool
vpci_peer_users_listed(const struct vpci_keeper_region *r)
{
    struct vpci_peer_user *u = find_by_base(r->base[0]);

    if (u && u->replaces && vpci_keeper_delete(r->id)) {
        u->replaces = false;
        u->ask_at = 0;
    }
    return u != NULL;
}

static void
ask(struct vpci_peer_user *u)
{
    uint32_t xid = vpci_keeper_next_xid();
    struct vpci_keeper_msg msg;

    vpci_keeper_msg_init(&msg, VPCI_KEEPER_PEER_ADD, xid);
    msg.body.peer_add.size = u->size;
    msg.body.peer_add.base = u->base;
    msg.body.peer_add.n_vectors = u->n_vectors;
    vpci_keeper_msg_add_fd(&msg, u->memory);
    if (vpci_keeper_ask(&msg)) {
        u->xid = xid;
        u->ask_at = LLONG_MAX;
    }
}

static void
handle_region(struct vpci_peer_user *u, const struct vpci_keeper_msg *msg)
{
    u->xid = 0;
    u->region = msg->header.error ? 0 : msg->body.region.id;
    if (u->region) {
        u->class->given(u);
    } else if (msg->header.error == EEXIST) {
        VLOG_INFO_RL(&rl, "another peer's memory has to go first: %s",
                     msg->body.error.text);
        u->replaces = true;
        u->ask_at = time_msec() + VPCI_KEEPER_RETRY_MS;
        vpci_keeper_list();
    } else {
        u->class->refused(u, msg->body.error.text);
    }
}

static void
handle_signals(struct vpci_peer_user *u, const struct vpci_keeper_msg *msg)
{
    const struct vpci_keeper_peer_signals *s = &msg->body.peer_signals;

    u->signals_xid = 0;
    if (msg->header.error) {
        u->class->signals_refused(u, msg->header.error, msg->body.error.text);
    } else {
        u->class->signals(u, s->peer, s->first_kick, s->n_left);
    }
}

/* Whoever asked for '*r' does not want it any more; but somebody else may. */
static void
handle_orphan(const struct vpci_keeper_region *r)
{
    if (!find_by_base(r->base[0])) {
        vpci_keeper_add_orphan(&(struct vpci_keeper_orphan) {
            .region = r->id,
            .base = r->base[0],
            .path = CONST_CAST(char *, r->path[0]),
            .delete_at = time_msec() + VPCI_KEEPER_LINGER_MS,
        });
    }
}

bool
vpci_peer_users_reply(const struct vpci_keeper_msg *msg)
{
    struct vpci_peer_user *u = find_asker(msg->header.xid);

    if (u && u->xid == msg->header.xid) {
        handle_region(u, msg);
    } else if (u) {
        handle_signals(u, msg);
    } else if (msg->header.type == (VPCI_KEEPER_PEER_ADD | VPCI_KEEPER_REPLY)
               && !msg->header.error) {
        handle_orphan(&msg->body.region);
    } else {
        return false;
    }
    return true;
}

bool
vpci_peer_users_event(struct vpci_keeper_msg *msg)
{
    bool up = msg->header.type == VPCI_KEEPER_PEER_UP;
    struct vpci_peer_user *u
        = find_by_region(up ? msg->body.peer_up.region
                         : msg->body.peer_down.region);

    if (u && up) {
        u->class->guest_came(u, &msg->body.peer_up, msg->fds,
                             msg->header.n_fds);
    } else if (u) {
        u->class->guest_left(u, msg->body.peer_down.text);
    }
    return u != NULL;
}

/* True if there is nothing but time between 'u' and its region.  What was
 * deleted of the same base region has to be gone, lest it be adopted. */
static bool
is_ready(const struct vpci_peer_user *u)
{
    return (u->base && u->ask_at != LLONG_MAX && vpci_keeper_can_ask()
            && !vpci_keeper_has_orphan_peer(u->base));
}

void
vpci_peer_users_run(void)
{
    for (struct vpci_peer_user *u = users; u; u = u->next) {
        if (is_ready(u) && time_msec() >= u->ask_at) {
            ask(u);
        }
    }
}

void
vpci_peer_users_wait(void)
{
    for (const struct vpci_peer_user *u = users; u; u = u->next) {
        if (is_ready(u)) {
            poll_timer_wait_until(u->ask_at);
        }
    }
}

void
vpci_keeper_register_peer(struct vpci_peer_user *u)
{
    u->region = u->xid = u->signals_xid = 0;
    u->ask_at = 0;
    u->replaces = false;
    u->next = users;
    users = u;
    vpci_keeper_adopt_peer(u->base);
}

void
vpci_keeper_unregister_peer(struct vpci_peer_user *u, bool delete)
{
    struct vpci_peer_user **p;

    for (p = &users; *p != u; p = &(*p)->next) {
        continue;
    }
    *p = u->next;
    if (delete && u->region) {
        vpci_keeper_add_orphan(&(struct vpci_keeper_orphan) {
            .region = u->region,
            .base = u->base,
            .doomed = true,
            .path = CONST_CAST(char *, "a peer's region"),
            .delete_at = time_msec(),
        });
    }
}

bool
vpci_keeper_send_signals(struct vpci_peer_user *u, uint32_t guest,
                         const int kicks[], unsigned int n_kicks,
                         const int calls[], unsigned int n_calls)
{
    uint32_t xid = vpci_keeper_next_xid();
    struct vpci_keeper_msg msg;

    ovs_assert(n_kicks <= VPCI_KEEPER_MAX_VECTORS
               && n_calls <= VPCI_KEEPER_MAX_VECTORS);
    if (!u->region || u->xid || u->ask_at != LLONG_MAX || u->signals_xid
        || !vpci_keeper_can_ask()) {
        return false;
    }
    vpci_keeper_msg_init(&msg, VPCI_KEEPER_PEER_SIGNALS, xid);
    msg.body.signals_add.region = u->region;
    msg.body.signals_add.n_kicks = n_kicks;
    msg.body.signals_add.n_calls = n_calls;
    msg.body.signals_add.peer = guest;
    for (unsigned int i = 0; i < n_kicks; i++) {
        vpci_keeper_msg_add_fd(&msg, kicks[i]);
    }
    for (unsigned int i = 0; i < n_calls; i++) {
        vpci_keeper_msg_add_fd(&msg, calls[i]);
    }
    if (!vpci_keeper_ask_silently(&msg)) {
        return false;
    }
    u->signals_xid = xid;
    return true;
}
