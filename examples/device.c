/* SPDX-License-Identifier: Apache-2.0 */

/* Lists the devices of a port as they come and go, and tells of their signals.
 * It knows nothing of what is in their memory.
 *
 * usage: device ADDRESS
 *
 * ADDRESS is the port's options:ivshmem-path.  Ctrl-C ends it.  A device is
 * for one process at a time: meanwhile no other has this port. */

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>

#include <vpci/abi.h>
#include <vpci/bus.h>

#define MAX_DEVICES 65          /* The base, and links. */
#define AGAIN_MS 200

static struct vpci_device *devices[MAX_DEVICES];
static unsigned int n_devices;

static void
signal_came(void *signal)
{
    printf("signal of priority %" PRIu32 "\n", vpci_signal_prio(signal));
}

static void
open_device(struct vpci_device *d)
{
    struct vpci_region region;

    if (vpci_device_open(d, 1000 /* ms */)) {
        printf("%s: not opened: %s\n", vpci_device_name(d),
               vpci_device_reason(d));
        return;
    }
    vpci_device_shm(d, 0, 0, &region, NULL);
    printf("%s: opened: %" PRIu64 " bytes, we are %" PRIu32 ", peer is %"
           PRIu32 "\n", vpci_device_name(d), region.size, vpci_device_id(d),
           vpci_device_peer(d));
}

/* The last one who has a device closes it. */
static void
forget(struct vpci_device *d)
{
    for (unsigned int i = 0; i < n_devices; i++) {
        if (devices[i] == d) {
            vpci_device_release(d);
            devices[i] = devices[--n_devices];
        }
    }
}

static void
run_bus(struct vpci_bus *bus)
{
    struct vpci_bus_event event;

    while (vpci_bus_next(bus, &event)) {
        printf("%s: %s\n", vpci_device_name(event.device),
               event.kind == VPCI_BUS_ARRIVED ? "arrived" : "departed");
        if (event.kind == VPCI_BUS_DEPARTED) {
            forget(event.device);
        } else if (n_devices < MAX_DEVICES) {
            devices[n_devices++] = vpci_device_ref(event.device);
        }
        vpci_device_release(event.device);
    }
}

static void
run_device(struct vpci_device *d)
{
    unsigned int events;

    if (!vpci_device_is_open(d)) {
        open_device(d);
    }
    events = vpci_device_run(d);
    if (events & (VPCI_DEVICE_PEER_LEFT | VPCI_DEVICE_PEER_CAME)) {
        printf("%s: peer is %" PRIu32 "\n", vpci_device_name(d),
               vpci_device_peer(d));
    }

    /* There may be more signals than before. */
    for (unsigned int i = 0; i < vpci_device_n_signals(d); i++) {
        struct vpci_signal *s = vpci_device_signal(d, i);

        vpci_signal_set_callback(s, signal_came, s);
        vpci_signal_enable(s);
    }
    vpci_signal_dispatch(d);
    if (events & VPCI_DEVICE_GONE) {
        printf("%s: gone: %s\n", vpci_device_name(d), vpci_device_reason(d));
        vpci_device_close(d);
    }
}

/* Sleeps until there is something to do.  Whoever serves a device may not yet
 * listen when the bus tells of it: so what was not opened is tried again. */
static void
wait_for_all(const struct vpci_bus *bus)
{
    struct pollfd fds[1 + MAX_DEVICES * (1 + VPCI_ABI_MAX_VECTORS)];
    unsigned int n = 0;

    fds[n++].fd = vpci_bus_fd(bus);
    for (unsigned int i = 0; i < n_devices; i++) {
        struct vpci_device *d = devices[i];

        fds[n++].fd = vpci_device_fd(d);
        for (unsigned int j = 0; j < vpci_device_n_signals(d); j++) {
            fds[n++].fd = vpci_signal_fd(vpci_device_signal(d, j));
        }
    }
    for (unsigned int i = 0; i < n; i++) {
        fds[i].events = POLLIN;
    }
    poll(fds, n, AGAIN_MS);
}

int
main(int argc, char *argv[])
{
    struct vpci_bus *bus;
    char reason[256];

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    if (argc != 2) {
        fprintf(stderr, "usage: device ADDRESS\n");
        return 2;
    }
    if (vpci_bus_open(argv[1], &bus, reason, sizeof reason)) {
        fprintf(stderr, "device: %s\n", reason);
        return 1;
    }
    for (;; wait_for_all(bus)) {
        run_bus(bus);
        for (unsigned int i = 0; i < n_devices; i++) {
            run_device(devices[i]);
        }
    }
}
