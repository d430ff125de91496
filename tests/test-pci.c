/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of devices that are PCI functions (vpci/device.h, vpci/bus.h), with
 * functions that are files, in a sysfs of our own.
 *
 * usage: test-pci [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "device-private.h"
#include "fake-pci.h"
#include "pci-access.h"
#include "switch-port.h"
#include "unit-test.h"
#include "vpci/bus.h"
#include "vpci/net.h"

#define TIMEOUT_MS 20000

#define BASE "0000:00:08.0"
#define LINK "0000:01:00.0"
#define OTHER "0000:02:00.0"

static const struct vpci_shape base_shape = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 1,
    .n_classes = 1,
    .slots_log2 = 8,
    .data_log2 = 17,
    .n_vectors = 2,
};

static const struct vpci_shape link_shape = {
    .kind = VPCI_ABI_LINK,
    .n_queues = 1,
    .n_classes = 1,
    .slots_log2 = 8,
    .data_log2 = 17,
    .n_vectors = 1,
};

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static uint64_t
size_of(const struct vpci_shape *shape)
{
    struct vpci_layout_report report;
    struct vpci_layout layout;

    if (!vpci_layout_init(&layout, shape, &report)) {
        abort();
    }
    return layout.size;
}

static void
write_header(const char *address, const struct vpci_shape *shape)
{
    struct vpci_layout_report report;
    struct vpci_layout layout;
    void *p;

    if (!vpci_layout_init(&layout, shape, &report)) {
        abort();
    }
    p = fake_pci_map_memory(address, layout.size);
    vpci_layout_write(&layout, p, 1);
    munmap(p, layout.size);
}

/* Devices. */

static bool
wait_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    return poll(&pfd, 1, TIMEOUT_MS) == 1;
}

static bool
is_next(struct vpci_bus *bus, enum vpci_bus_event_kind kind, const char *name)
{
    struct vpci_bus_event event;

    CHECK(vpci_bus_next(bus, &event));
    if (event.kind != kind || strcmp(vpci_device_name(event.device), name)) {
        fprintf(stderr, "%s, not %s\n", vpci_device_name(event.device), name);
    }
    CHECK(event.kind == kind);
    CHECK(!strcmp(vpci_device_name(event.device), name));
    vpci_device_release(event.device);
    return true;
}

/* Nothing more has come or gone, until the bus looks again. */
static bool
bus_rests(struct vpci_bus *bus)
{
    struct vpci_bus_event event;

    CHECK(!vpci_bus_next(bus, &event));
    CHECK(wait_readable(vpci_bus_fd(bus)));
    return true;
}

/* The device "base" at 'address', with or without domain. */
static struct vpci_device *
find_base(const char *address)
{
    struct vpci_bus_event event;
    struct vpci_bus *bus;
    char reason[1024];

    if (vpci_bus_open(address, &bus, reason, sizeof reason)) {
        fprintf(stderr, "%s\n", reason);
        abort();
    }
    while (vpci_bus_next(bus, &event)) {
        if (!strcmp(vpci_device_name(event.device), "base")) {
            vpci_bus_close(bus);
            return event.device;
        }
        vpci_device_release(event.device);
    }
    abort();
}

static bool
check_signals(struct vpci_device *d)
{
    struct vpci_signal *s = vpci_device_signal(d, 1);

    CHECK(vpci_signal_inject(s) == ENOTCONN && !fake_pci_doorbell(BASE));
    device_set_peer(d, 7);
    CHECK(wait_readable(vpci_device_fd(d)));
    CHECK(vpci_device_run(d) == VPCI_DEVICE_PEER_CAME);
    CHECK(!vpci_device_run(d));
    CHECK(vpci_device_peer(d) == 7);
    CHECK(!vpci_signal_inject(s) && fake_pci_doorbell(BASE) == (7 << 16 | 1));

    /* That is heard at once, again and again. */
    for (int64_t i = 0, start = now_ms(); i < 20; i++) {
        device_set_peer(d, 100 + i);
        CHECK(wait_readable(vpci_device_fd(d)));
        CHECK(vpci_device_run(d) == VPCI_DEVICE_PEER_CAME);
        CHECK(now_ms() - start < 10000);
    }
    device_set_peer(d, 8);
    device_set_peer(d, 0);
    CHECK(vpci_device_run(d) == VPCI_DEVICE_PEER_LEFT);
    CHECK(vpci_signal_inject(s) == ENOTCONN);
    device_set_peer(d, 0x12345);    /* No id. */
    CHECK(!vpci_device_run(d) && !vpci_device_peer(d));

    /* Without interrupts they come all the time, to each signal. */
    for (int i = 0; i < 20; i++) {
        CHECK(vpci_signal_wait(s, TIMEOUT_MS * 1000));
    }
    CHECK(vpci_signal_wait(vpci_device_signal(d, 0), 0));
    CHECK(!vpci_signal_clear(vpci_device_signal(d, 0)));
    return true;
}

static bool
run_device(void)
{
    unsigned int n_fds = n_open_fds();
    struct vpci_device *d, *other;
    struct vpci_region region;
    char text[16];

    CHECK(fake_pci_start());
    CHECK(fake_pci_plug(BASE, 9, 65536));
    d = find_base("pci:00:8.0");
    CHECK(!strcmp(vpci_device_name(d), "base"));
    CHECK(!vpci_device_open(d, 0));
    CHECK(fake_pci_read_text(BASE, "enable", text, sizeof text));
    CHECK(text[0] == '1');
    CHECK(vpci_device_id(d) == 9 && vpci_device_n_signals(d) == 2);
    CHECK(!vpci_device_shm(d, 0, 0, &region, NULL) && region.size == 65536);
    strcpy((char *) region.base + 4096, "hello");
    char *memory = fake_pci_map_memory(BASE, 65536);
    CHECK(!strcmp(memory + 4096, "hello"));
    munmap(memory, 65536);
    CHECK(check_signals(d));

    /* Nobody else gets it, until it is closed. */
    other = vpci_device_again(d);
    CHECK(vpci_device_open(other, 0) == EBUSY);
    CHECK(strstr(vpci_device_reason(other), "another process has PCI function "
                 BASE));
    vpci_device_close(d);
    CHECK(!vpci_device_open(other, 0));
    vpci_device_release(d);
    vpci_device_release(other);
    CHECK(n_open_fds() == n_fds);
    return fake_pci_stop();
}

/* A device that is open hears that it has been unplugged, also if there is
 * another one in its place. */
static bool
run_unplugged(void)
{
    CHECK(fake_pci_start());
    for (int replaced = 0; replaced < 2; replaced++) {
        struct vpci_device *d;

        CHECK(fake_pci_plug(BASE, 9, 65536));
        d = find_base("pci:" BASE);
        CHECK(!vpci_device_open(d, 0));
        CHECK(wait_readable(vpci_device_fd(d)) && !vpci_device_run(d));
        CHECK(fake_pci_unplug(BASE));
        CHECK(!replaced || fake_pci_plug(BASE, 9, 65536));
        CHECK(wait_readable(vpci_device_fd(d)));
        CHECK(vpci_device_run(d) == VPCI_DEVICE_UNPLUGGED);
        CHECK(strstr(vpci_device_reason(d), "has been unplugged"));
        CHECK(wait_readable(vpci_device_fd(d)) && !vpci_device_run(d));
        vpci_device_close(d);
        CHECK(vpci_device_open(d, 0) == ENOENT);
        vpci_device_release(d);
        CHECK(!replaced || fake_pci_unplug(BASE));
    }
    return fake_pci_stop();
}

/* Who is refused, and why. */

struct refusal {
    const char *what;
    int error;
    const char *reason;
};

static bool
spoil(const char *what)
{
    char path[256], text[512];

    pci_path(BASE, what, path, sizeof path);
    if (!strncmp(what, "driver ", 7)) {
        return fake_pci_give_driver(BASE, what + 7);
    } else if (!strncmp(what, "id ", 3)) {
        return fake_pci_write_id(BASE, strtoul(what + 3, NULL, 0));
    } else if (!strncmp(what, "memory ", 7)) {
        return fake_pci_write_bars(BASE, 256, strtoull(what + 7, NULL, 0));
    } else if (!strncmp(what, "registers ", 10)) {
        return fake_pci_write_bars(BASE, strtoul(what + 10, NULL, 0), 65536);
    } else if (!strncmp(what, "resource:", 9)) {
        return fake_pci_write_text(BASE, "resource", what + 9);
    } else if (!strncmp(what, "enable:", 7)) {
        return fake_pci_write_text(BASE, "enable", what + 7);
    } else if (!strcmp(what, "unset")) {
        CHECK(fake_pci_read_text(BASE, "resource", text, sizeof text));
        memcpy(strstr(text, "000014220c"), "002014220c", 10);
        return fake_pci_write_text(BASE, "resource", text);
    } else if (!strcmp(what, "loop")) {
        uint8_t config[256] = { 0xf4, 0x1a, 0x10, 0x11, [6] = 0x10, [8] = 1,
                                [0x34] = 0x40, [0x41] = 0x40 };

        return fake_pci_write(BASE, "config", config, sizeof config);
    } else if (!strcmp(what, "outside")) {
        uint8_t config[256] = { 0xf4, 0x1a, 0x10, 0x11, [6] = 0x10, [8] = 1,
                                [0x34] = 0x40, [0x41] = 0xff };

        return fake_pci_write(BASE, "config", config, sizeof config);
    } else if (!strcmp(what, "short")) {
        return fake_pci_set_size(BASE, "resource2", 4096);
    } else if (!strcmp(what, "hidden")) {
        return fake_pci_write_config(BASE, 0x1af4, 0x1110, 1, 2, 64);
    } else if (!strcmp(what, "tiny")) {
        return fake_pci_write_config(BASE, 0x1af4, 0x1110, 1, 2, 40);
    } else if (!strcmp(what, "plain")) {
        return fake_pci_write_config(BASE, 0x1af4, 0x1110, 1, 0, 256);
    } else if (!strcmp(what, "old")) {
        return fake_pci_write_config(BASE, 0x1af4, 0x1110, 0, 2, 256);
    } else if (!strcmp(what, "network card")) {
        return fake_pci_write_config(BASE, 0x1af4, 0x1000, 1, 2, 256);
    }
    CHECK(!unlink(path));
    return true;
}

static const struct refusal refusals[] = {
    { "network card", ENODEV,
      "PCI function " BASE " is 1af4:1000, but QEMU's ivshmem-doorbell, "
      "1af4:1110, is wanted" },
    { "old", ENODEV, "is ivshmem of revision 0, but 1 or later is wanted" },
    { "plain", ENODEV, "is ivshmem without MSI-X" },
    { "hidden", ENODEV, "can be read with CAP_SYS_ADMIN only" },
    { "loop", ENODEV, "is ivshmem without MSI-X" },
    { "outside", ENODEV, "is ivshmem without MSI-X" },
    { "tiny", EPROTO, "has 40 bytes that can be read, but at least 64" },
    { "config", ENOENT, "config cannot be read: No such file" },
    { "resource", ENOENT, "resource cannot be read: No such file" },
    { "resource:", EPROTO, "line 1 of its file 'resource'" },
    { "resource:0x1 0x2 0x3\n0x1 0x2\n", EPROTO, "line 2 of its file" },
    { "resource:0 0 0\n0x2 0x1 0x3\n", EPROTO, "line 2 of its file" },
    { "resource:0 0 0\n0 0 0\nx y z\n", EPROTO, "line 3 of its file" },
    { "enable", ENOENT, "enable cannot be read: No such file" },
    { "enable:", EPROTO, "'enable' in sysfs has no number" },
    { "enable:yes", EPROTO, "'enable' in sysfs has no number" },
    { "registers 0", ENODEV,
      "has 0 bytes of registers at BAR 0, but at least 16 are wanted" },
    { "registers 8", ENODEV, "has 8 bytes of registers" },
    { "memory 0", ENODEV,
      "has no memory at BAR 2: if it is behind a pcie-root-port of QEMU, that "
      "needs pref64-reserve=" },
    { "unset", ENODEV, "has no memory at BAR 2" },
    { "memory 1024", EPROTO,
      "has 1024 bytes of memory, but 4096 to 1073741824 are possible" },
    { "memory 0x80000000", EPROTO, "has 2147483648 bytes of memory" },
    { "short", EPROTO,
      "'resource2' in sysfs has 4096 bytes, but its file 'resource' says "
      "65536" },
    { "resource0", ENOENT, "cannot open its file 'resource0'" },
    { "resource2", ENOENT, "cannot open its file 'resource2'" },
    { "id 0", EPROTO, "our ivshmem id is 0, but 1 to 65535 is possible" },
    { "id 65536", EPROTO, "our ivshmem id is 65536" },
    { "id 0xffffffff", EPROTO, "our ivshmem id is 4294967295" },
    { "driver vpci", EBUSY,
      "belongs to the kernel's driver 'vpci': to have it here, as root: echo "
      BASE " > /sys/bus/pci/drivers/vpci/unbind" },
    { "driver vfio-pci", ENOENT, "belongs to vfio-pci, but is in no IOMMU "
      "group" },
};

static bool
is_refused(const struct refusal *r)
{
    struct vpci_device *d;
    int error;

    CHECK(fake_pci_plug(BASE, 9, 65536));
    d = find_base("pci:" BASE);
    CHECK(spoil(r->what));
    error = vpci_device_open(d, 0);
    if (error != r->error || !strstr(vpci_device_reason(d), r->reason)) {
        fprintf(stderr, "\"%s\": %d: %s\n", r->what, error,
                vpci_device_reason(d));
    }
    CHECK(error == r->error && strstr(vpci_device_reason(d), r->reason));
    CHECK(!vpci_device_is_open(d));
    vpci_device_release(d);
    return fake_pci_unplug(BASE);
}

static bool
run_refused(void)
{
    unsigned int n_fds = n_open_fds();
    struct vpci_device *d;

    CHECK(fake_pci_start());
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        CHECK(is_refused(&refusals[i]));
    }

    /* This driver is no hindrance. */
    CHECK(fake_pci_plug(BASE, 65535, 65536));
    CHECK(fake_pci_give_driver(BASE, "uio_pci_generic"));
    d = find_base("pci:" BASE);
    CHECK(!vpci_device_open(d, 0) && vpci_device_id(d) == 65535);
    vpci_device_release(d);
    CHECK(n_open_fds() == n_fds);
    return fake_pci_stop();
}

/* Buses. */

static bool
run_bus(void)
{
    unsigned int n_fds = n_open_fds();
    struct vpci_device *link;
    struct vpci_bus_event event;
    struct vpci_bus *bus;
    char reason[256];

    CHECK(fake_pci_start());
    CHECK(!vpci_bus_open("pci:" BASE, &bus, reason, sizeof reason));
    CHECK(bus_rests(bus));
    CHECK(fake_pci_plug(BASE, 9, 65536));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "base"));
    CHECK(bus_rests(bus));

    /* Its header says what it likes. */
    CHECK(fake_pci_plug(LINK, 77, size_of(&base_shape)));
    write_header(LINK, &base_shape);
    CHECK(vpci_bus_next(bus, &event));
    CHECK(event.kind == VPCI_BUS_ARRIVED);
    link = event.device;
    CHECK(!strcmp(vpci_device_name(link), "ivshmem77"));
    CHECK(!vpci_device_open(link, 0));
    CHECK(vpci_device_id(link) == 77);
    vpci_device_close(link);

    /* Its id is the one that it has its name by. */
    CHECK(fake_pci_write_id(LINK, 78));
    CHECK(vpci_device_open(link, 0) == EPROTO);
    CHECK(strstr(vpci_device_reason(link), "id is 78, but it was 77"));
    vpci_device_release(link);
    CHECK(bus_rests(bus));

    /* Another one in its place. */
    CHECK(fake_pci_unplug(LINK) && fake_pci_plug(LINK, 80, 65536));
    CHECK(is_next(bus, VPCI_BUS_DEPARTED, "ivshmem77"));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "ivshmem80"));
    CHECK(bus_rests(bus));

    /* What is none of ours, or not yet. */
    CHECK(fake_pci_plug(OTHER, 81, 65536));
    CHECK(fake_pci_give_driver(OTHER, "vpci"));
    CHECK(fake_pci_plug("0000:02:01.0", 82, 65536));
    CHECK(fake_pci_write_config("0000:02:01.0", 0x1af4, 0x1000, 1, 2, 256));
    CHECK(fake_pci_plug("0000:02:02.0", 83, 65536));
    CHECK(fake_pci_write_config("0000:02:02.0", 0x1af4, 0x1110, 1, 0, 256));
    CHECK(fake_pci_plug("0000:02:03.0", 0, 65536));
    CHECK(fake_pci_plug("nonsense", 84, 65536));
    CHECK(bus_rests(bus) && bus_rests(bus));
    CHECK(fake_pci_give_driver(OTHER, ""));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "ivshmem81"));
    CHECK(bus_rests(bus));
    CHECK(fake_pci_write_id("0000:02:03.0", 85));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "ivshmem85"));
    CHECK(bus_rests(bus));

    CHECK(fake_pci_unplug(BASE));
    CHECK(is_next(bus, VPCI_BUS_DEPARTED, "base"));
    CHECK(!vpci_bus_next(bus, &event));
    vpci_bus_close(bus);
    CHECK(n_open_fds() == n_fds);
    return fake_pci_stop();
}

static bool
is_no_address(const char *address, int error, const char *why)
{
    struct vpci_bus *bus;
    char reason[1024];
    int seen = vpci_bus_open(address, &bus, reason, sizeof reason);

    if (seen != error || (error && !strstr(reason, why))) {
        fprintf(stderr, "%s: %d: %s\n", address, seen, reason);
    }
    CHECK(seen == error && !bus == !!error);
    CHECK(!error || strstr(reason, why));
    vpci_bus_close(bus);
    return true;
}

/* Addresses, and which function is the base if they do not say. */
static bool
run_addresses(void)
{
    uint64_t size = size_of(&base_shape);
    static const char *const bad[] = {
        "pci:x", "pci:00:08", "pci:0000:00:08", "pci:00:08.8", "pci:00:20.0",
        "pci:00:08.0 ", "pci:000:08.0", "pci:123456789:00:08.0", "pci:/dev",
        "pci:00:08.00",
    };

    CHECK(fake_pci_start());
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK(is_no_address(bad[i], EINVAL, "DOMAIN:BUS:DEVICE.FUNCTION is "
                            "wanted"));
    }
    CHECK(is_no_address("pci:10000:00:08.0", 0, ""));
    CHECK(is_no_address("pci:", ENODEV, "has no PCI function 1af4:1110"));

    /* The only one may have no header yet. */
    CHECK(fake_pci_plug(BASE, 9, size));
    CHECK(is_no_address("pci:", 0, ""));
    CHECK(fake_pci_give_driver(BASE, "vpci"));
    CHECK(is_no_address("pci:", ENOTUNIQ, BASE " (belongs to driver vpci)"));
    CHECK(fake_pci_give_driver(BASE, ""));

    /* A link beside it that says so; but not one that could be the base. */
    CHECK(fake_pci_plug(LINK, 77, size));
    write_header(LINK, &base_shape);
    CHECK(is_no_address("pci:", ENOTUNIQ, LINK " (a port)"));
    CHECK(is_no_address("pci:", ENOTUNIQ, BASE " (the switch has not been "
                        "there yet)"));
    write_header(BASE, &base_shape);
    CHECK(is_no_address("pci:", ENOTUNIQ, "by pci:ADDRESS; there are: "));
    CHECK(fake_pci_unplug(LINK));
    CHECK(fake_pci_plug(LINK, 77, size_of(&link_shape)));
    write_header(LINK, &link_shape);
    CHECK(is_no_address("pci:", 0, ""));
    CHECK(fake_pci_unplug(BASE));
    CHECK(is_no_address("pci:", ENOTUNIQ, LINK " (a link)"));
    return fake_pci_stop();
}

/* Another guest's memory, which may be large, and is never taken for a port or
 * a link: nothing of it is looked at. */
static bool
run_peer(void)
{
    const uint64_t size = UINT64_C(2) << 30;
    unsigned int n_fds = n_open_fds();
    struct vpci_bus_event event;
    struct vpci_device *peer;
    struct vpci_bus *bus;
    char reason[1024];

    CHECK(fake_pci_start());
    CHECK(fake_pci_plug(LINK, VPCI_ABI_PEER_ID | 7, size));
    write_header(LINK, &base_shape);
    CHECK(is_no_address("pci:", ENODEV, LINK " (a peer's memory)"));
    CHECK(fake_pci_plug(BASE, 9, size_of(&base_shape)));
    CHECK(is_no_address("pci:", 0, ""));
    write_header(BASE, &base_shape);

    /* Whoever looked at this would see SIGBUS. */
    CHECK(fake_pci_set_size(LINK, "resource2", 0));
    CHECK(!vpci_bus_open("pci:", &bus, reason, sizeof reason));
    CHECK(fake_pci_set_size(LINK, "resource2", size));
    peer = NULL;
    while (vpci_bus_next(bus, &event)) {
        if (!strcmp(vpci_device_name(event.device), "ivshmem32775")) {
            peer = event.device;
            CHECK(peer->is_peer);
        } else {
            CHECK(!strcmp(vpci_device_name(event.device), "base"));
            CHECK(!event.device->is_peer);
            vpci_device_release(event.device);
        }
    }
    CHECK(peer && !vpci_device_open(peer, 0));
    CHECK(peer->region.size == size && vpci_device_id(peer) == 32775);
    vpci_device_release(peer);
    vpci_bus_close(bus);

    /* A link is one, whatever the guest at its other end has written. */
    CHECK(fake_pci_unplug(LINK));
    CHECK(fake_pci_plug(LINK, VPCI_ABI_LINK_ID | 7, size_of(&base_shape)));
    CHECK(is_no_address("pci:", 0, ""));
    write_header(LINK, &base_shape);
    CHECK(is_no_address("pci:", 0, ""));

    /* Others are not so large. */
    CHECK(fake_pci_unplug(LINK) && fake_pci_plug(LINK, 7, size));
    CHECK(is_no_address("pci:", ENOTUNIQ, "not of a port, nor of a link"));
    CHECK(n_open_fds() == n_fds);
    return fake_pci_stop();
}

/* Ports. */

struct world {
    uint64_t size;
    void *memory;
    void *private_memory;
    struct switch_port port;
    struct vpci_net *net;
};

/* Opens a port in the memory of a function, with a switch behind it. */
static bool
world_start(struct world *w)
{
    struct vpci_net_config config = { .own_thread = true };
    struct switch_port_words words = { .max_len = 1518, .link_state = true };
    char reason[256];

    w->size = size_of(&base_shape);
    CHECK(fake_pci_plug(BASE, 9, w->size));
    w->memory = fake_pci_map_memory(BASE, w->size);
    w->private_memory = aligned_alloc(VPCI_ABI_LINE, 1 << 18);
    memset(w->private_memory, 0, 1 << 18);
    CHECK(!vpci_net_open("pci:", &config, &w->net, reason, sizeof reason));
    switch_port_init(&w->port, &base_shape, w->memory, w->private_memory,
                     false, &words, 1);
    vpci_store32(&vpci_layout_port(w->memory)->switch_id, 7);
    return true;
}

static void
world_stop(struct world *w)
{
    vpci_net_close(w->net);
    munmap(w->memory, w->size);
    free(w->private_memory);
}

/* The port gets into 'state' some time. */
static bool
wait_state(struct world *w, enum vpci_net_state state)
{
    int64_t deadline = now_ms() + TIMEOUT_MS;
    struct vpci_net_info info;

    do {
        switch_port_run(&w->port, now_ms());
        usleep(1000);
        vpci_net_get_info(w->net, &info);
    } while (info.state != state && now_ms() < deadline);
    if (info.state != state) {
        fprintf(stderr, "%s: %s\n", vpci_net_state_name(info.state),
                info.reason);
    }
    CHECK(info.state == state);
    return true;
}

/* Whoever sleeps finds packets, although nobody injects signals, and no other
 * signal is masked for that. */
static bool
run_sleep(void)
{
    static uint8_t data[64];
    struct vpci_ring_buf buf = { .data = data, .size = sizeof data };
    struct vpci_net_stats stats;
    unsigned int n_fds = n_open_fds();
    struct world w;

    CHECK(fake_pci_start() && world_start(&w));
    CHECK(wait_state(&w, VPCI_NET_RUNNING));
    vpci_net_rx_wait(w.net, 0, 0);
    for (int i = 0; i < 100; i++) {
        CHECK(!vpci_net_rx_wait(w.net, 0, 2000));
        CHECK(switch_port_put(&w.port, 0, data, 60 + i % 4));
        CHECK(vpci_net_rx_wait(w.net, 0, TIMEOUT_MS * 1000));
        CHECK(vpci_net_rx_burst(w.net, 0, &buf, 1) == 1);
        CHECK(buf.len == 60u + i % 4);
        switch_port_run(&w.port, now_ms());
    }
    vpci_net_get_stats(w.net, VPCI_NET_ALL, &stats);
    CHECK(!stats.rx.received && !stats.rx.spurious && !stats.rx.masked);

    buf.len = 60;
    CHECK(vpci_net_tx_burst(w.net, 0, &buf, 1) == 1);
    CHECK(switch_port_take(&w.port, 0, data, sizeof data) == 60);
    CHECK(fake_pci_doorbell(BASE) >> 16 == 7);
    world_stop(&w);
    CHECK(n_open_fds() == n_fds);
    return fake_pci_stop();
}

static void *
put_later(void *w_)
{
    static const uint8_t data[60];
    struct world *w = w_;

    usleep(50000);
    switch_port_put(&w->port, 0, data, sizeof data);
    return NULL;
}

/* A packet that comes while the receiver sleeps is found soon, and not when
 * its time is over. */
static bool
run_sleeper_wakes(void)
{
    pthread_t thread;
    struct world w;
    int64_t start;

    CHECK(fake_pci_start() && world_start(&w));
    CHECK(wait_state(&w, VPCI_NET_RUNNING));
    vpci_net_rx_wait(w.net, 0, 0);
    start = now_ms();
    CHECK(!pthread_create(&thread, NULL, put_later, &w));
    CHECK(vpci_net_rx_wait(w.net, 0, TIMEOUT_MS * 1000));
    CHECK(now_ms() - start < TIMEOUT_MS / 2);
    pthread_join(thread, NULL);
    world_stop(&w);
    return fake_pci_stop();
}

static bool
run_port_unplugged(void)
{
    struct vpci_net_info info;
    struct world w;

    CHECK(fake_pci_start() && world_start(&w));
    CHECK(wait_state(&w, VPCI_NET_RUNNING));
    CHECK(fake_pci_unplug(BASE));
    CHECK(wait_state(&w, VPCI_NET_NO_DEVICE));
    vpci_net_get_info(w.net, &info);
    CHECK(info.error == ENOENT);

    /* Another one, of which the switch knows nothing yet. */
    CHECK(fake_pci_plug(BASE, 10, w.size));
    CHECK(wait_state(&w, VPCI_NET_NO_HEADER));
    world_stop(&w);
    return fake_pci_stop();
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "device", run_device },
        { "unplugged", run_unplugged },
        { "refused", run_refused },
        { "bus", run_bus },
        { "addresses", run_addresses },
        { "peer", run_peer },
        { "sleep", run_sleep },
        { "sleeper-wakes", run_sleeper_wakes },
        { "port-unplugged", run_port_unplugged },
    };

    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
