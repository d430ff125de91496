/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "control.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "descriptors.h"
#include "events.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "region.h"
#include "request.h"
#include "stranger.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(control);

/* Requests in one turn of the main loop. */
#define MAX_REQUESTS 64

/* How soon to try again if too many descriptors are on their way. */
#define RETRY_MS 100

struct control control = { .fd = -1 };
struct control_stats control_stats;
struct listener control_listener = {
    .watch = WATCH_INITIALIZER(&control_listener.watch),
    .fd = -1,
    .node = OVS_LIST_INITIALIZER(&control_listener.node),
};
struct uuid keeper_uuid;

static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(20, 60);

/* What the last attempt to send said: 0, EAGAIN or ETOOMANYREFS. */
static int send_error;

/* There may be more requests than fit in one turn. */
static bool more_requests;

static void
disconnect(const char *reason)
{
    VLOG_INFO_RL(&rl, "%s: switch '%s' with pid %"PRIu32" is gone: %s",
                 control_listener.path, control.name, control.pid, reason);

    /* A child that checks another program may have a copy of it. */
    shutdown(control.fd, SHUT_RDWR);
    close(control.fd);
    memset(&control, 0, sizeof control);
    control.fd = -1;
    send_error = 0;
    more_requests = false;
    events_detach_all();
}

/* Sends replies to LIST as long as there are any and the switch takes them. */
static int
send_list(void)
{
    struct vpci_keeper_msg msg;
    struct region *region;
    int error = 0;

    LIST_FOR_EACH (region, node, &regions) {
        if (region->id >= control.list_next) {
            vpci_keeper_msg_init(&msg, VPCI_KEEPER_LIST | VPCI_KEEPER_REPLY,
                                 control.list_xid);
            region_describe(region, &msg.body.region);
            error = vpci_keeper_send(control.fd, &msg);
            if (error) {
                return error;
            }
            control.list_next = region->id + 1;
            control.list_count++;
        }
    }
    vpci_keeper_msg_init(&msg, VPCI_KEEPER_LIST_END, control.list_xid);
    msg.body.count.n = control.list_count;
    error = vpci_keeper_send(control.fd, &msg);
    if (!error) {
        control.list_xid = 0;
    }
    return error;
}

/* Sends all that there is to send. */
static int
flush(void)
{
    int error = 0;

    if (control.has_reply) {
        error = vpci_keeper_send(control.fd, &control.reply);
        control.has_reply = error != 0;
    }
    if (!error && control.list_xid) {
        error = send_list();
    }
    return error ? error : events_send(control.fd);
}

/* Deals with a message that could not be understood.  Returns false if the
 * connection is no good any more. */
static bool
refuse_message(const struct vpci_keeper_msg *msg, int error, const char *why)
{
    const struct vpci_keeper_header *h = &msg->header;

    control_stats.n_refused++;
    VLOG_WARN_RL(&rl, "%s: what switch '%s' with pid %"PRIu32" sent cannot be "
                 "understood: %s", control_listener.path, control.name,
                 control.pid, why);
    vpci_keeper_msg_refuse(&control.reply, h->type, h->xid, error, "%s", why);
    if (error == EOPNOTSUPP || error == EMFILE) {
        control.has_reply = true;
        return true;
    }
    if (h->magic == VPCI_KEEPER_MAGIC) {
        vpci_keeper_send(control.fd, &control.reply);
    }
    control_stats.n_nonsense++;
    return false;
}

/* Receives and serves one request.  Returns false if there was none. */
static bool
receive(void)
{
    char why[VPCI_KEEPER_TEXT_SIZE];
    struct vpci_keeper_msg msg;
    int error = vpci_keeper_recv(control.fd, VPCI_KEEPER_SIDE_KEEPER, &msg,
                                 why);

    switch (error) {
    case 0:
        request_serve(&msg);
        descriptors_close(msg.fds, msg.header.n_fds);
        return true;

    case EAGAIN:
        return false;

    case EOPNOTSUPP:
    case EMFILE:
    case EPROTONOSUPPORT:
    case EPROTO:
        if (!refuse_message(&msg, error, why)) {
            disconnect(why);
            return false;
        }
        return true;

    default:
        disconnect(why);
        return false;
    }
}

static void
run_connection(void)
{
    more_requests = false;
    for (int i = 0; control.fd >= 0; i++) {
        send_error = flush();
        if (send_error == EAGAIN || send_error == ETOOMANYREFS) {
            return;
        } else if (send_error) {
            disconnect(ovs_strerror(send_error));
            return;
        } else if (i >= MAX_REQUESTS) {
            more_requests = true;
            return;
        } else if (!receive()) {
            return;
        }
    }
}

/* Takes the connection 'fd' as the switch's. */
static void
welcome(int fd, const struct ucred *who)
{
    memset(&control, 0, sizeof control);
    control.fd = fd;
    control.pid = who->pid;
    control.uid = who->uid;
    control.since = time_wall_msec();
    control_stats.n_connections++;
}

static void
accept_cb(struct watch *watch)
{
    struct ucred who;
    int error, fd;

    /* A switch that has gone makes room for the next. */
    if (control.fd >= 0) {
        run_connection();
    }

    error = descriptors_accept(control_listener.fd, &fd, &who);
    if (error == EMFILE) {
        VLOG_WARN_RL(&rl, "%s: a switch is turned away: no descriptors are "
                     "left", control_listener.path);
    } else if (error && error != EAGAIN) {
        VLOG_WARN_RL(&rl, "%s: switches cannot be accepted (%s)",
                     control_listener.path, ovs_strerror(error));
        watch_pause(watch);
    } else if (!error && control.fd >= 0) {
        control_stats.n_busy++;
        VLOG_WARN_RL(&rl, "%s: a switch with pid %ld is turned away: switch "
                     "'%s' with pid %"PRIu32" is connected",
                     control_listener.path, (long int) who.pid, control.name,
                     control.pid);
        stranger_add(fd);
    } else if (!error) {
        welcome(fd, &who);
    }
}

int
control_resume(void)
{
    return watch_start(&control_listener.watch, control_listener.fd,
                       accept_cb);
}

int
control_open(const char *path, char **textp)
{
    int error = listener_open(&control_listener, SOCK_SEQPACKET, path, textp);

    if (!error) {
        error = control_resume();
        if (error) {
            *textp = xasprintf("%s cannot be watched (%s)", path,
                               ovs_strerror(error));
            listener_close(&control_listener);
        }
    }
    return error;
}

void
control_run(void)
{
    if (control.fd >= 0) {
        run_connection();
    }
    strangers_run(control.name, control.pid);
}

void
control_wait(void)
{
    strangers_wait();
    if (control.fd < 0) {
        return;
    }
    if (send_error == ETOOMANYREFS) {
        poll_timer_wait(RETRY_MS);
    } else if (send_error == EAGAIN) {
        poll_fd_wait(control.fd, POLLOUT);
    } else {
        poll_fd_wait(control.fd, POLLIN);
        if (more_requests) {
            poll_immediate_wake();
        }
    }
}

void
control_close(void)
{
    if (control.fd >= 0) {
        disconnect("the keeper ends");
    }
    strangers_close();
    listener_close(&control_listener);
}
