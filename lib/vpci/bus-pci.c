/* SPDX-License-Identifier: Apache-2.0 */

/* Buses of PCI functions: they look at sysfs every now and then.
 *
 * Which function is the base, whoever opens the bus says, or the header of its
 * memory.  Of all others it is not known what link they are, and their headers
 * may be forged; so each has the name of our ivshmem id at it, which QEMU
 * says, and which the keeper gives no other guest and no other link.  That id
 * also says which one is a peer's: nothing of its memory is looked at. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bus-ops.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "connector-pci.h"
#include "pci-access.h"
#include "vpci/layout.h"

#define LOOK_S 1

/* A function that was seen, of any kind. */
struct bus_function {
    struct bus_function *next;
    char address[PCI_ADDRESS_SIZE];
    ino_t inode;
    bool is_ivshmem;
    bool seen;                  /* In this look at sysfs. */
    struct vpci_device *device; /* That was told of, or null. */
};

struct pci_bus {
    struct vpci_bus bus;
    char base[PCI_ADDRESS_SIZE];
    int fd;                     /* A timer. */
    bool looks;                 /* There may be more to tell. */
    struct bus_function *functions;
};

static struct pci_bus *
pci_bus(const struct vpci_bus *bus)
{
    return (struct pci_bus *) bus;     /* Its first member. */
}

static void
free_function(struct bus_function *f)
{
    vpci_device_release(f->device);
    free(f);
}

static void
pci_bus_close(struct vpci_bus *bus_)
{
    struct pci_bus *bus = pci_bus(bus_);

    while (bus->functions) {
        struct bus_function *next = bus->functions->next;

        free_function(bus->functions);
        bus->functions = next;
    }
    if (bus->fd >= 0) {
        close(bus->fd);
    }
    free(bus);
}

static struct bus_function *
find_function(const struct pci_bus *bus, const char *address)
{
    struct bus_function *f = bus->functions;

    while (f && strcmp(f->address, address)) {
        f = f->next;
    }
    return f;
}

/* A function is at 'address'. */
static void
see_function(struct pci_bus *bus, const char *address)
{
    struct bus_function *f = find_function(bus, address);
    struct pci_function facts;
    char reason[256];
    ino_t inode;

    if (pci_function_inode(address, &inode)) {
        return;
    }
    if (f) {
        /* Another one: the old one goes first. */
        f->seen |= f->inode == inode;
        return;
    }
    if (pci_function_look(address, &facts, reason, sizeof reason)) {
        return;                 /* It is just coming, or going. */
    }
    f = calloc(1, sizeof *f);
    if (f) {
        snprintf(f->address, sizeof f->address, "%s", address);
        f->inode = facts.inode;
        f->is_ivshmem = pci_function_is_ivshmem(&facts, reason,
                                                sizeof reason);
        f->seen = true;
        f->next = bus->functions;
        bus->functions = f;
    }
}

/* Looks what functions there are.  If that cannot be seen, they are those that
 * there were. */
static void
look(struct pci_bus *bus)
{
    char path[PATH_MAX], address[PCI_ADDRESS_SIZE];
    struct dirent *e;
    DIR *dir;

    pci_functions_path(path, sizeof path);
    dir = opendir(path);
    for (struct bus_function *f = bus->functions; f; f = f->next) {
        f->seen = !dir;
    }
    while (dir && (e = readdir(dir))) {
        if (pci_address_parse(e->d_name, address)) {
            see_function(bus, address);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

/* Forgets functions that have gone, until there is one to tell of. */
static bool
find_departed(struct pci_bus *bus, struct vpci_bus_event *event)
{
    struct bus_function **p = &bus->functions;

    while (*p) {
        struct bus_function *f = *p;

        if (f->seen) {
            p = &f->next;
            continue;
        }
        *p = f->next;
        if (f->device) {
            event->kind = VPCI_BUS_DEPARTED;
            event->device = f->device;
            free(f);
            return true;
        }
        free(f);
    }
    return false;
}

/* Reads our id at the function of which '*facts' are known.  Returns 0 or an
 * errno, with the reason. */
static int
read_id_of(const struct pci_function *facts, uint32_t *id, char *reason,
           size_t size)
{
    struct pci_access access;
    int error = pci_access_open(&access, facts, PCI_ACCESS_REGISTERS);

    if (!error) {
        error = pci_access_read_id(&access, id);
        pci_access_close(&access);
    }
    if (error) {
        snprintf(reason, size, "%s", access.reason);
    }
    return error;
}

/* Finds out our ivshmem id at a function.  Returns 0, or an errno if it cannot
 * be known now. */
static int
read_id(const struct bus_function *f, uint32_t *id)
{
    struct pci_function facts;
    char reason[256];
    int error = pci_function_look(f->address, &facts, reason, sizeof reason);

    if (!error && (facts.inode != f->inode || !pci_function_is_free(&facts))) {
        error = EBUSY;
    }
    return error ? error : read_id_of(&facts, id, reason, sizeof reason);
}

/* Makes a device of function 'f' if it may be one.  Others may be later. */
static struct vpci_device *
make_device(const struct pci_bus *bus, const struct bus_function *f)
{
    char name[32];
    uint32_t id;

    if (!strcmp(f->address, bus->base)) {
        return pci_device_create(f->address, f->inode, 0, "base");
    }
    if (read_id(f, &id)) {
        return NULL;
    }
    snprintf(name, sizeof name, "ivshmem%u", id);
    return pci_device_create(f->address, f->inode, id, name);
}

static bool
find_arrived(struct pci_bus *bus, struct vpci_bus_event *event)
{
    for (struct bus_function *f = bus->functions; f; f = f->next) {
        if (f->is_ivshmem && !f->device) {
            f->device = make_device(bus, f);
            if (f->device) {
                event->kind = VPCI_BUS_ARRIVED;
                event->device = vpci_device_ref(f->device);
                return true;
            }
        }
    }
    return false;
}

static bool
pci_bus_next(struct vpci_bus *bus_, struct vpci_bus_event *event)
{
    struct pci_bus *bus = pci_bus(bus_);
    uint64_t n;

    if (read(bus->fd, &n, sizeof n) == sizeof n) {
        bus->looks = true;
    }
    if (!bus->looks) {
        return false;
    }
    look(bus);
    bus->looks = find_departed(bus, event) || find_arrived(bus, event);
    return bus->looks;
}

static int
pci_bus_fd(const struct vpci_bus *bus)
{
    return pci_bus(bus)->fd;
}

static int
pci_bus_explain(const struct vpci_bus *bus, char *reason, size_t size)
{
    struct pci_function f;
    int error = pci_function_look(pci_bus(bus)->base, &f, reason, size);

    return (error ? error
            : pci_function_is_ivshmem(&f, reason, size) ? 0 : ENODEV);
}

static const struct bus_ops pci_bus_ops = {
    .close = pci_bus_close,
    .next = pci_bus_next,
    .fd = pci_bus_fd,
    .explain = pci_bus_explain,
};

/* Finds out what the memory of function 'f' is, by our id there or by its
 * header.  Returns 0; or EAGAIN if there is none yet, or another errno, with the
 * reason. */
static int
read_kind(const struct bus_function *f, enum vpci_abi_kind *kind,
          char *reason, size_t size)
{
    struct vpci_layout_report why;
    struct pci_function facts;
    struct pci_access access;
    struct vpci_layout layout;
    uint32_t id = 0;
    char text[160];
    int error = pci_function_look(f->address, &facts, reason, size);

    if (error) {
        return error;
    }
    if (!pci_function_is_free(&facts)) {
        snprintf(reason, size, "belongs to driver %s", facts.driver);
        return EBUSY;
    }
    error = read_id_of(&facts, &id, reason, size);
    if (error || id & (VPCI_ABI_PEER_ID | VPCI_ABI_LINK_ID)) {
        *kind = id & VPCI_ABI_PEER_ID ? VPCI_ABI_PEER : VPCI_ABI_LINK;
        return error;
    }
    error = pci_access_open(&access, &facts, PCI_ACCESS_PAGE);
    if (error) {
        snprintf(reason, size, "%s", access.reason);
        return error;
    }
    if (vpci_layout_read(&layout, access.memory, access.memory_size, &why)) {
        *kind = (vpci_layout_is_base(layout.shape.kind) ? VPCI_ABI_BASE
                 : VPCI_ABI_LINK);
    } else if (why.fault == VPCI_LAYOUT_NOT_READY) {
        error = EAGAIN;
        snprintf(reason, size, "the switch has not been there yet");
    } else {
        error = EPROTO;
        snprintf(reason, size, "%s",
                 vpci_layout_format(&why, text, sizeof text));
    }
    pci_access_close(&access);
    return error;
}

/* What was found of all functions. */
struct choice {
    unsigned int n;             /* ivshmem, but of peers... */
    unsigned int n_bases;       /* ...of which bases... */
    unsigned int n_early;       /* ...without a header... */
    unsigned int n_unknown;     /* ...and others that may be a base. */
    char list[1024];
};

static void __attribute__((format(printf, 2, 3)))
note(struct choice *c, const char *format, ...)
{
    size_t n = strlen(c->list);
    va_list args;

    va_start(args, format);
    vsnprintf(c->list + n, sizeof c->list - n, format, args);
    va_end(args);
}

static void
consider(struct pci_bus *bus, const struct bus_function *f, struct choice *c)
{
    enum vpci_abi_kind kind = VPCI_ABI_LINK;
    char reason[256];
    int error = read_kind(f, &kind, reason, sizeof reason);

    c->n += error || kind != VPCI_ABI_PEER;
    note(c, "%s%s (%s)", *c->list ? ", " : "", f->address,
         error ? reason
         : kind == VPCI_ABI_BASE ? "a port"
         : kind == VPCI_ABI_PEER ? "a peer's memory" : "a link");
    c->n_bases += !error && kind == VPCI_ABI_BASE;
    c->n_early += error == EAGAIN;
    c->n_unknown += error && error != EAGAIN;
    if (error == EAGAIN || kind == VPCI_ABI_BASE) {
        strcpy(bus->base, f->address);
    }
}

/* Finds the one function that is a base, by its header.  Another guest may
 * have forged that of a link, if a keeper of old has given us a plain id there,
 * but not of the base: so no function may remain that could be the base as well.
 * A link does not come without a base. */
static int
choose_base(struct pci_bus *bus, const char *address, char *reason,
            size_t size)
{
    struct choice c = { .n = 0 };

    look(bus);
    for (const struct bus_function *f = bus->functions; f; f = f->next) {
        if (f->is_ivshmem) {
            consider(bus, f, &c);
        }
    }
    if (!c.n) {
        snprintf(reason, size, "%s: this machine has no PCI function "
                 "%04x:%04x with MSI-X, as QEMU's ivshmem-doorbell is%s%s",
                 address, PCI_IVSHMEM_VENDOR, PCI_IVSHMEM_DEVICE,
                 *c.list ? ", but for " : "", c.list);
        return ENODEV;
    }
    if ((c.n_bases == 1 && !c.n_early && !c.n_unknown)
        || (c.n == 1 && c.n_early)) {
        return 0;
    }
    snprintf(reason, size, "%s: say which PCI function is the port, by "
             "%sADDRESS; there are: %s", address, address, c.list);
    return ENOTUNIQ;
}

int
pci_bus_open(const char *address, const char *function, struct vpci_bus **busp,
             char *reason, size_t size)
{
    struct itimerspec its = {
        .it_value = { .tv_sec = LOOK_S },
        .it_interval = { .tv_sec = LOOK_S },
    };
    struct pci_bus *bus = calloc(1, sizeof *bus);
    int error = 0;

    if (!bus) {
        return bus_fail(reason, size, ENOMEM, "cannot watch", address);
    }
    bus->bus.ops = &pci_bus_ops;
    bus->looks = true;
    bus->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (bus->fd < 0 || timerfd_settime(bus->fd, 0, &its, NULL)) {
        error = bus_fail(reason, size, errno, "cannot make a timer", address);
    } else if (!*function) {
        error = choose_base(bus, address, reason, size);
    } else if (!pci_address_parse(function, bus->base)) {
        error = bus_fail(reason, size, EINVAL, "no PCI function has this "
                         "address: DOMAIN:BUS:DEVICE.FUNCTION is wanted, as "
                         "lspci -D prints it, or nothing", address);
    }
    if (error) {
        pci_bus_close(&bus->bus);
        return error;
    }
    *busp = &bus->bus;
    return 0;
}
