/* SPDX-License-Identifier: Apache-2.0 */

/* Buses of UNIX sockets: they watch a directory. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "bus-ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "connector-unix.h"
#include "device-private.h"

#define LINK_INFIX ".link"
#define PEER_SUFFIX ".peer"

/* A device that was told of. */
struct bus_device {
    struct bus_device *next;
    struct vpci_device *device;

    /* Of its socket: with others it is another device. */
    ino_t inode;
    struct timespec made;

    bool seen;                  /* In this look at the directory. */
};

struct unix_bus {
    struct vpci_bus bus;
    char dir[PATH_MAX];
    char base[NAME_MAX + 1];    /* Name of the base's socket in it. */
    int fd;                     /* inotify. */
    bool changed;               /* Look at the directory again. */
    struct bus_device *devices;
};

static struct unix_bus *
unix_bus(const struct vpci_bus *bus)
{
    return (struct unix_bus *) bus;    /* Its first member. */
}

/* Splits 'path' into directory and name. */
static int
split_path(struct unix_bus *bus, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    int n = slash ? (int) (slash - path) + (slash == path) : 1;

    if (!*name) {
        return EINVAL;
    }
    if (strlen(name) > NAME_MAX || n >= (int) sizeof bus->dir) {
        return ENAMETOOLONG;
    }
    snprintf(bus->dir, sizeof bus->dir, "%.*s", n, slash ? path : ".");
    strcpy(bus->base, name);
    return 0;
}

static void
unix_bus_close(struct vpci_bus *bus_)
{
    struct unix_bus *bus = unix_bus(bus_);

    while (bus->devices) {
        struct bus_device *next = bus->devices->next;

        vpci_device_release(bus->devices->device);
        free(bus->devices);
        bus->devices = next;
    }
    if (bus->fd >= 0) {
        close(bus->fd);
    }
    free(bus);
}

/* Finds the name of the device whose socket has the name 'file', such as "base",
 * "peer" or "link12".  Returns false if it is not of this bus. */
static bool
device_name(const struct unix_bus *bus, const char *file, char *name,
            size_t size)
{
    size_t n = strlen(bus->base), n_infix = strlen(LINK_INFIX);

    if (strncmp(file, bus->base, n)) {
        return false;
    }
    file += n;
    if (!*file) {
        snprintf(name, size, "base");
        return true;
    } else if (!strcmp(file, PEER_SUFFIX)) {
        snprintf(name, size, DEVICE_PEER);
        return true;
    }
    if (strncmp(file, LINK_INFIX, n_infix)
        || !file[n_infix] || strlen(file + n_infix) > 10
        || file[n_infix + strspn(file + n_infix, "0123456789")]) {
        return false;
    }
    snprintf(name, size, "link%s", file + n_infix);
    return true;
}

static struct bus_device *
find_device(const struct unix_bus *bus, const char *name)
{
    struct bus_device *d = bus->devices;

    while (d && strcmp(vpci_device_name(d->device), name)) {
        d = d->next;
    }
    return d;
}

static bool
is_same_socket(const struct bus_device *d, const struct stat *st)
{
    return (d->inode == st->st_ino && d->made.tv_sec == st->st_mtim.tv_sec
            && d->made.tv_nsec == st->st_mtim.tv_nsec);
}

/* The device at socket 'path' is there, of which '*st' is known.  Returns true,
 * and fills in '*event', if it was not there before. */
static bool
see_device(struct unix_bus *bus, const char *path, const char *name,
           const struct stat *st, struct vpci_bus_event *event)
{
    struct bus_device *d = find_device(bus, name);

    if (d) {
        /* Another one: the old one goes first. */
        d->seen |= is_same_socket(d, st);
        return false;
    }
    d = calloc(1, sizeof *d);
    if (!d) {
        return false;
    }
    d->device = unix_device_create(path, name);
    if (!d->device) {
        free(d);
        return false;
    }
    d->inode = st->st_ino;
    d->made = st->st_mtim;
    d->seen = true;
    d->next = bus->devices;
    bus->devices = d;
    event->kind = VPCI_BUS_ARRIVED;
    event->device = vpci_device_ref(d->device);
    return true;
}

/* Looks at the directory until there is something to tell. */
static bool
scan(struct unix_bus *bus, struct vpci_bus_event *event)
{
    DIR *dir = opendir(bus->dir);
    struct dirent *e;
    bool found = false;

    for (struct bus_device *d = bus->devices; d; d = d->next) {
        d->seen = false;
    }
    while (dir && !found && (e = readdir(dir))) {
        char path[sizeof bus->dir + 1 + sizeof e->d_name], name[32];
        struct stat st;

        snprintf(path, sizeof path, "%s/%s", bus->dir, e->d_name);
        found = (device_name(bus, e->d_name, name, sizeof name)
                 && !stat(path, &st) && S_ISSOCK(st.st_mode)
                 && see_device(bus, path, name, &st, event));
    }
    if (dir) {
        closedir(dir);
    }
    return found;
}

/* A device that was not seen has gone. */
static bool
find_departed(struct unix_bus *bus, struct vpci_bus_event *event)
{
    for (struct bus_device **p = &bus->devices; *p; p = &(*p)->next) {
        struct bus_device *d = *p;

        if (!d->seen) {
            event->kind = VPCI_BUS_DEPARTED;
            event->device = d->device;
            *p = d->next;
            free(d);
            return true;
        }
    }
    return false;
}

static bool
unix_bus_next(struct vpci_bus *bus_, struct vpci_bus_event *event)
{
    struct unix_bus *bus = unix_bus(bus_);
    uint64_t buf[512];

    while (read(bus->fd, buf, sizeof buf) > 0) {
        bus->changed = true;
    }
    if (!bus->changed) {
        return false;
    }
    bus->changed = scan(bus, event) || find_departed(bus, event);
    return bus->changed;
}

static int
unix_bus_explain(const struct vpci_bus *bus_, char *reason, size_t size)
{
    const struct unix_bus *bus = unix_bus(bus_);
    char path[sizeof bus->dir + 1 + sizeof bus->base];
    struct stat st;

    snprintf(path, sizeof path, "%s/%s", bus->dir, bus->base);
    if (stat(path, &st)) {
        int error = errno;

        if (error == ENOENT) {
            snprintf(reason, size, "nothing is at this path: is vpcid "
                     "running, and ovs-vswitchd with a port that has it as "
                     "options:ivshmem-path?");
        } else {
            snprintf(reason, size, "this path cannot be looked at: %s",
                     strerror(error));
        }
        return error;
    }
    if (S_ISSOCK(st.st_mode)) {
        return 0;
    }
    snprintf(reason, size, "this is %s, but a socket is wanted: that of a "
             "port of type vpci, as \"ovs-vsctl get Interface PORT "
             "options:ivshmem-path\" says",
             S_ISREG(st.st_mode) ? "a regular file"
             : S_ISDIR(st.st_mode) ? "a directory"
             : "neither a socket nor a file");
    return ENOTSOCK;
}

static int
unix_bus_fd(const struct vpci_bus *bus)
{
    return unix_bus(bus)->fd;
}

static const struct bus_ops unix_bus_ops = {
    .close = unix_bus_close,
    .next = unix_bus_next,
    .fd = unix_bus_fd,
    .explain = unix_bus_explain,
};

int
unix_bus_open(const char *address, const char *path, struct vpci_bus **busp,
              char *reason, size_t size)
{
    struct unix_bus *bus;
    int error;

    if (strlen(path) >= sizeof ((struct sockaddr_un *) 0)->sun_path) {
        return bus_fail(reason, size, ENAMETOOLONG,
                        "paths of sockets have at most 107 bytes", address);
    }
    bus = calloc(1, sizeof *bus);
    if (!bus) {
        return bus_fail(reason, size, ENOMEM, "cannot watch", address);
    }
    bus->bus.ops = &unix_bus_ops;
    error = split_path(bus, path);
    if (error) {
        bus_fail(reason, size, error, "no socket can have this path",
                 address);
        free(bus);
        return error;
    }
    bus->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    bus->changed = true;
    if (bus->fd < 0
        || inotify_add_watch(bus->fd, bus->dir,
                             IN_CREATE | IN_DELETE | IN_MOVED_FROM
                             | IN_MOVED_TO | IN_ONLYDIR) < 0) {
        error = errno;
        bus_fail(reason, size, error, "cannot watch its directory", address);
        unix_bus_close(&bus->bus);
        return error;
    }
    *busp = &bus->bus;
    return 0;
}
