/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "watch.h"

#include <errno.h>
#include <sys/epoll.h>

#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "timeval.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(watch);

/* What happens in one turn of the main loop, so that the switch and
 * ovs-appctl have theirs. */
#define MAX_EVENTS 128

#define PAUSE_MS 100

static int epoll_fd = -1;
static struct ovs_list paused_watches
    = OVS_LIST_INITIALIZER(&paused_watches);
static long long int resume_time = LLONG_MAX;   /* Monotonic, in ms. */

void
watch_global_init(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        VLOG_FATAL("epoll_create1 failed (%s)", ovs_strerror(errno));
    }
}

void
watch_init(struct watch *watch)
{
    watch->fd = -1;
    watch->run = NULL;
    ovs_list_init(&watch->paused);
}

static int
control_epoll(int op, struct watch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };

    return epoll_ctl(epoll_fd, op, watch->fd, &event) ? errno : 0;
}

int
watch_start(struct watch *watch, int fd, void (*run)(struct watch *))
{
    int error;

    watch->fd = fd;
    watch->run = run;
    error = control_epoll(EPOLL_CTL_ADD, watch, EPOLLIN);
    if (error) {
        watch->fd = -1;
    }
    return error;
}

void
watch_stop(struct watch *watch)
{
    if (watch->fd >= 0) {
        int error = control_epoll(EPOLL_CTL_DEL, watch, 0);

        if (error && error != ENOENT) {
            VLOG_WARN("descriptor %d cannot be removed from epoll (%s)",
                      watch->fd, ovs_strerror(error));
        }
        ovs_list_remove(&watch->paused);
        ovs_list_init(&watch->paused);
        watch->fd = -1;
    }
}

/* Out of the set, since a descriptor that is hung up cannot be silenced
 * otherwise. */
void
watch_pause(struct watch *watch)
{
    if (watch->fd >= 0 && ovs_list_is_empty(&watch->paused)) {
        control_epoll(EPOLL_CTL_DEL, watch, 0);
        ovs_list_push_back(&paused_watches, &watch->paused);
        resume_time = MIN(resume_time, time_msec() + PAUSE_MS);
    }
}

static void
resume_watches(void)
{
    struct watch *watch;

    resume_time = LLONG_MAX;
    LIST_FOR_EACH_SAFE (watch, paused, &paused_watches) {
        ovs_list_remove(&watch->paused);
        ovs_list_init(&watch->paused);
        if (control_epoll(EPOLL_CTL_ADD, watch, EPOLLIN)) {
            ovs_list_push_back(&paused_watches, &watch->paused);
            resume_time = time_msec() + PAUSE_MS;
            break;
        }
    }
}

/* One event at a time: what is done about it may stop the watch of the
 * next. */
void
watch_run(void)
{
    if (time_msec() >= resume_time) {
        resume_watches();
    }
    for (int i = 0; i < MAX_EVENTS; i++) {
        struct epoll_event event;
        struct watch *watch;

        if (epoll_wait(epoll_fd, &event, 1, 0) != 1) {
            break;
        }
        watch = event.data.ptr;
        watch->run(watch);
    }
}

void
watch_wait(void)
{
    poll_fd_wait(epoll_fd, POLLIN);
    if (resume_time != LLONG_MAX) {
        poll_timer_wait_until(resume_time);
    }
}
