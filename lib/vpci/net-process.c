/* SPDX-License-Identifier: Apache-2.0 */

/* A port of vpci-net in a process: opening and closing it, what wakes its
 * workers, and a thread of its own for the housekeeping. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "backoff.h"

/* What our own thread allows itself. */
#define THREAD_RUN_MS (VPCI_NET_RUN_MS / 2)

void
net_wake_workers(struct vpci_net *net)
{
    eventfd_write(net->wake_fd, 1);
}

void
net_wake_controller(struct vpci_net *net)
{
    eventfd_write(net->run_fd, 1);
}

bool
net_enter_later(const struct vpci_net *net, struct net_worker *w)
{
    struct vpci_backoff backoff = VPCI_BACKOFF_INIT;

    /* (K) pairs with (L) in net_resume(): the gates were opened before. */
    while (__atomic_load_n(&net->paused, __ATOMIC_ACQUIRE)) {
        vpci_backoff(&backoff);
    }
    return vpci_gate_enter(&w->gate);
}

static int64_t
clock_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* The signal that says that links, hints or acceptances are others, or null:
 * it may be that of a ring, which belongs to workers, or nobody injects it. */
static struct vpci_signal *
control_signal(const struct vpci_net *net)
{
    const struct vpci_layout *layout = &net->base.layout;

    return (net->n_queues && !net->base.device->polls
            && vpci_layout_has_control(layout)
            ? vpci_device_signal(net->base.device,
                                 vpci_layout_control_vector(layout))
            : NULL);
}

/* What becomes readable if the device of 'r' has something to say. */
static int
region_fd(const struct net_region *r)
{
    return r->device && !r->gone ? vpci_device_fd(r->device) : -1;
}

/* The control signal has come.  If it comes too often for nothing, it is not
 * listened to for a while. */
static void
note_control(struct vpci_net *net, struct vpci_signal *control)
{
    const struct vpci_abi_port *port = vpci_layout_port(net->base.base);
    uint32_t generation = vpci_load32(&port->generation);
    uint32_t turn = net_peer_turn(net);
    bool useful = (generation != net->control_generation
                   || turn != net->control_turn);
    bool masked = vpci_storm_note(&net->control_storm, net_now_us(), useful);

    net->control_generation = generation;
    net->control_turn = turn;
    vpci_signal_clear(control);
    signal_count(control, 0, !useful, masked);
}

/* Waits until there may be something to do, for at most THREAD_RUN_MS. */
static void
wait_for_events(struct vpci_net *net)
{
    struct vpci_signal *control
        = net_now_us() < net->control_storm.until ? NULL : control_signal(net);
    struct pollfd pfds[5 + VPCI_ABI_MAX_LINKS] = {
        { .fd = net->run_fd, .events = POLLIN },
        { .fd = vpci_bus_fd(net->bus), .events = POLLIN },
        { .fd = region_fd(&net->base), .events = POLLIN },
        { .fd = control ? vpci_signal_fd(control) : -1, .events = POLLIN },
        { .fd = net_peer_fd(net), .events = POLLIN },
    };
    eventfd_t value;
    nfds_t n = 5;

    for (uint32_t i = 0; i < VPCI_ABI_MAX_LINKS; i++) {
        if (net->links->slots[i]) {
            pfds[n].fd = region_fd(&net->links->slots[i]->region);
            pfds[n++].events = POLLIN;
        }
    }
    poll(pfds, n, THREAD_RUN_MS);
    if (pfds[0].revents) {
        eventfd_read(net->run_fd, &value);
    }
    if (control && pfds[3].revents) {
        note_control(net, control);
    }
}

static void *
thread_main(void *net_)
{
    struct vpci_net *net = net_;

    while (!__atomic_load_n(&net->exiting, __ATOMIC_ACQUIRE)) {
        vpci_net_run(net, clock_ms());
        wait_for_events(net);
    }
    return NULL;
}

static int
fail(char *reason, size_t size, int error, const char *what)
{
    snprintf(reason, size, "%s: %s", what, strerror(error));
    return error;
}

static int
make_workers(struct vpci_net *net)
{
    int error = 0;

    net->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    net->run_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (net->wake_fd < 0 || net->run_fd < 0) {
        return errno;
    }
    error = net_worker_init(net, &net->caller);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES && !error; i++) {
        error = net_worker_init(net, &net->tx[i]);
        error = error ? error : net_worker_init(net, &net->rx[i]);
    }
    return error;
}

/* Allocates a port without anything. */
static struct vpci_net *
create(const struct vpci_net_config *config)
{
    struct vpci_net *net = aligned_alloc(VPCI_ABI_LINE, sizeof *net);

    if (net) {
        net_init(net, config);
    }
    return net;
}

static int
check_config(const struct vpci_net_config *config, char *reason, size_t size)
{
    static const uint8_t zeros[sizeof config->reserved];

    if (config->n_queues > VPCI_ABI_MAX_QUEUES) {
        snprintf(reason, size,
                 "%u queues are wanted, but 1 to %d are possible",
                 config->n_queues, VPCI_ABI_MAX_QUEUES);
        return EINVAL;
    }
    if (memcmp(config->reserved, zeros, sizeof zeros)) {
        snprintf(reason, size,
                 "reserved bytes of struct vpci_net_config are not 0: begin "
                 "with all of it 0, and use no fields that this version of "
                 "libvpci does not have");
        return EINVAL;
    }
    return 0;
}

int
vpci_net_open(const char *address, const struct vpci_net_config *config,
              struct vpci_net **netp, char *reason, size_t size)
{
    static const struct vpci_net_config none;
    struct vpci_net *net;
    int error;

    *netp = NULL;
    config = config ? config : &none;
    error = check_config(config, reason, size);
    if (error) {
        return error;
    }
    net = create(config);
    if (!net) {
        return fail(reason, size, ENOMEM, "cannot open a port");
    }
    error = vpci_bus_open(address, &net->bus, reason, size);
    if (!error) {
        error = net_links_init(net);
        error = error ? error : make_workers(net);
        if (error) {
            fail(reason, size, error, "cannot make workers");
        }
    }
    if (!error) {
        net_update_info(net, 0, "");
    }
    if (!error && config->own_thread) {
        error = pthread_create(&net->thread, NULL, thread_main, net);
        net->has_thread = !error;
        if (error) {
            fail(reason, size, error, "cannot make a thread");
        }
    }
    if (error) {
        vpci_net_close(net);
        return error;
    }
    *netp = net;
    return 0;
}

static void
close_fd(int fd)
{
    if (fd >= 0) {
        close(fd);
    }
}

void
vpci_net_close(struct vpci_net *net)
{
    if (!net) {
        return;
    }
    if (net->has_thread) {
        __atomic_store_n(&net->exiting, true, __ATOMIC_RELEASE);
        eventfd_write(net->run_fd, 1);
        pthread_join(net->thread, NULL);
    }
    if (net->n_queues) {
        net_stop(net);
    }
    net_links_uninit(net);
    net_region_uninit(&net->base);
    vpci_device_release(net->device);
    vpci_device_release(net->next);
    vpci_bus_close(net->bus);
    for (uint32_t i = 0; i < VPCI_ABI_MAX_QUEUES; i++) {
        net_worker_uninit(&net->tx[i]);
        net_worker_uninit(&net->rx[i]);
    }
    net_worker_uninit(&net->caller);
    close_fd(net->wake_fd);
    close_fd(net->run_fd);
    pthread_mutex_destroy(&net->call_mutex);
    pthread_mutex_destroy(&net->mutex);
    free(net);
}

void
vpci_net_wake(struct vpci_net *net)
{
    __atomic_add_fetch(&net->n_wakes, 1, __ATOMIC_RELEASE);
    net_wake_workers(net);
}
