/* SPDX-License-Identifier: Apache-2.0 */

/* Calls: what guests of vpci-net ask the switch. */

#include "netdev-vpci-call.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "openvswitch/poll-loop.h"
#include "timeval.h"
#include "vpci/callee.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_call);

struct vpci_calls {
    struct vpci_callee callee;
    unsigned int logged;        /* Events of the callee that the log has of
                                 * this guest: once is enough. */
    char *fault;                /* Why its rings are broken, or null. */

    /* The guest can read from its bell, too, so that read() could wait: what
     * tells once for each ring is an epoll set that is edge-triggered. */
    int bell;                   /* Or -1. */
    int epoll_fd;               /* Or -1. */
    long long int listen_at;    /* When to listen again. */
};

/* Room for a message: the main thread serves one port after the other. */
static uint8_t room[VPCI_ABI_MAX_LEN];

/* Fills in what the guest may know of its port. */
static void
get_port(const struct netdev_vpci *dev, struct vpci_abi_port_info *info)
    OVS_REQUIRES(dev->mutex)
{
    bool up = dev->flags & NETDEV_UP;
    char *software = xasprintf("%s (Open vSwitch) %s, ovs-vpci %s",
                               program_name, VERSION, VPCI_VERSION);

    memset(info, 0, sizeof *info);
    info->version = VPCI_LE32(VPCI_ABI_PORT_INFO_VERSION);
    info->size = VPCI_LE32((uint32_t) sizeof *info);
    info->mtu = VPCI_LE32((uint32_t) dev->mtu);
    info->admin_state = VPCI_LE32((uint32_t) up);
    info->link_state = VPCI_LE32((uint32_t) (up && dev->carrier));
    info->n_classes = VPCI_LE32(dev->classes.n);
    info->class_by = VPCI_LE32((uint32_t) dev->classes.by);
    ovs_strlcpy(info->name, vpci_name(dev), sizeof info->name);
    ovs_strlcpy(info->software, software, sizeof info->software);
    free(software);
}

/* With the mutex of the port 'dev'. */
static int
answer(void *dev, uint32_t func, void *data, uint32_t len)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    struct vpci_abi_port_info info;

    switch (func) {
    case VPCI_ABI_CALL_PING:
        return 0;
    case VPCI_ABI_CALL_GET_PORT:
        get_port(dev, &info);
        memset(data, 0, len);
        memcpy(data, &info, MIN(len, sizeof info));
        return 0;
    default:
        return EOPNOTSUPP;
    }
}

struct vpci_calls *
vpci_calls_create(struct netdev_vpci *dev)
{
    struct vpci_calls *calls = xzalloc(sizeof *calls);

    vpci_callee_init(&calls->callee, answer, dev, room);
    calls->bell = calls->epoll_fd = -1;
    return calls;
}

static void
close_bell(struct vpci_calls *calls)
{
    if (calls->epoll_fd >= 0) {
        close(calls->epoll_fd);
    }
    if (calls->bell >= 0) {
        close(calls->bell);
    }
    calls->bell = calls->epoll_fd = -1;
}

void
vpci_calls_destroy(struct vpci_calls *calls)
{
    close_bell(calls);
    free(calls->fault);
    free(calls);
}

void
vpci_calls_set_bell(struct netdev_vpci *dev, int bell)
{
    struct vpci_calls *calls = dev->calls;
    struct epoll_event event = { .events = EPOLLIN | EPOLLET };

    close_bell(calls);
    calls->bell = bell;
    if (bell < 0) {
        return;
    }
    calls->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (calls->epoll_fd < 0
        || epoll_ctl(calls->epoll_fd, EPOLL_CTL_ADD, bell, &event)) {
        VLOG_WARN_RL(&dev->rl, "%s: cannot hear the guest ring (%s): its "
                     "calls take a little longer", vpci_name(dev),
                     ovs_strerror(errno));
        close_bell(calls);
    }
}

void
vpci_calls_reset(struct netdev_vpci *dev)
{
    free(dev->calls->fault);
    dev->calls->fault = NULL;
}

void
vpci_calls_forget(struct netdev_vpci *dev)
{
    vpci_calls_reset(dev);
    vpci_calls_set_bell(dev, -1);
    dev->calls->logged = 0;
}

void
vpci_calls_listen(struct netdev_vpci *dev)
{
    struct vpci_calls *calls = dev->calls;
    long long int now = time_msec();
    struct epoll_event event;

    if (calls->epoll_fd >= 0 && now >= calls->listen_at
        && epoll_wait(calls->epoll_fd, &event, 1, 0) > 0) {
        calls->listen_at = now + VPCI_CALLS_LISTEN_MS;
    }
}

/* Logs those of 'events' that the log has not had of this guest. */
static void
log_events(struct netdev_vpci *dev, unsigned int events)
{
    struct vpci_calls *calls = dev->calls;

    events &= ~calls->logged;
    calls->logged |= events;
    if (events & VPCI_CALLEE_BAD) {
        VLOG_WARN_RL(&dev->rl, "%s: calls of the guest make no sense: they "
                     "are refused, see vpci_calls_bad in its statistics",
                     vpci_name(dev));
    }
    if (events & VPCI_CALLEE_LIMITED) {
        VLOG_WARN_RL(&dev->rl, "%s: calls of the guest come more than %d "
                     "times in a second: those beyond that wait",
                     vpci_name(dev), VPCI_CALLEE_RATE);
    }
    if (events & VPCI_CALLEE_STUCK) {
        VLOG_WARN_RL(&dev->rl, "%s: calls of the guest wait until it takes "
                     "the answers to those before", vpci_name(dev));
    }
}

bool
vpci_calls_run(struct netdev_vpci *dev, struct vpci_channel *channel)
{
    unsigned int events = vpci_callee_run(&dev->calls->callee, channel,
                                          time_msec());

    log_events(dev, events & (VPCI_CALLEE_BAD | VPCI_CALLEE_LIMITED
                              | VPCI_CALLEE_STUCK));
    if (events & VPCI_CALLEE_AGAIN) {
        poll_immediate_wake();
    }
    return (events & VPCI_CALLEE_TELL) != 0;
}

void
vpci_calls_wait(const struct netdev_vpci *dev)
{
    const struct vpci_calls *calls = dev->calls;

    if (calls->epoll_fd >= 0) {
        if (time_msec() < calls->listen_at) {
            poll_timer_wait_until(calls->listen_at);
        } else {
            poll_fd_wait(calls->epoll_fd, POLLIN);
        }
    }
}

void
vpci_calls_report(struct netdev_vpci *dev, const struct vpci_fault *fault)
{
    char text[256];

    VLOG_WARN_RL(&dev->rl, "%s: ring of calls stopped: %s; it comes back when "
                 "the guest resets its device", vpci_name(dev),
                 vpci_fault_format(fault, text, sizeof text));
    free(dev->calls->fault);
    dev->calls->fault = xstrdup(text);
    vpci_changed(dev);
}

const struct vpci_callee_stats *
vpci_calls_stats(const struct netdev_vpci *dev)
{
    return &dev->calls->callee.stats;
}

const char *
vpci_calls_fault(const struct netdev_vpci *dev)
{
    return dev->calls->fault;
}
