/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "descriptors.h"
#include "fatal-signal.h"
#include "socket-util.h"
#include "util.h"

/* Clients that wait to be accepted, before further ones block. */
#define BACKLOG 64

static struct ovs_list listeners = OVS_LIST_INITIALIZER(&listeners);

void
listener_init(struct listener *listener)
{
    watch_init(&listener->watch);
    listener->fd = -1;
    listener->path = NULL;
    ovs_list_init(&listener->node);
}

static struct listener *
find_listener(const struct stat *s)
{
    struct listener *listener;

    LIST_FOR_EACH (listener, node, &listeners) {
        if (listener->dev == s->st_dev && listener->ino == s->st_ino) {
            return listener;
        }
    }
    return NULL;
}

/* Returns 0 if nobody listens on the socket file 'path', else EADDRINUSE or
 * another positive errno. */
static int
probe(int type, const char *path)
{
    int fd = make_unix_socket(type, true, NULL, path);

    if (fd >= 0) {
        close(fd);
        return EADDRINUSE;
    }

    /* EPROTO stands for EAGAIN: somebody has more connections waiting than
     * fit.  EPROTOTYPE: somebody has a socket of another type. */
    return (fd == -ECONNREFUSED || fd == -ENOENT ? 0
            : fd == -EPROTO || fd == -EPROTOTYPE ? EADDRINUSE
            : -fd);
}

/* Checks that 'path' can be replaced.  Our own sockets are not probed: one of
 * a link would take that for its only client. */
static int
check_file(int type, const char *path, char **textp)
{
    struct listener *other;
    struct stat s;
    int error;

    if (lstat(path, &s)) {
        return 0;               /* bind() knows better what is wrong. */
    } else if (!S_ISSOCK(s.st_mode)) {
        *textp = xasprintf("%s is there and is not a socket: remove it, or "
                           "choose another path", path);
        return ENOTSOCK;
    }

    other = find_listener(&s);
    if (other) {
        *textp = xasprintf("%s is the same file as %s, which is in use: "
                           "choose another path", path, other->path);
        return EADDRINUSE;
    }
    error = probe(type, path);
    if (error == EADDRINUSE) {
        *textp = xasprintf("another process listens on %s: stop it, or choose "
                           "another path", path);
    } else if (error) {
        *textp = xasprintf("whether a process listens on %s cannot be found "
                           "out (%s)", path, ovs_strerror(error));
    }
    return error;
}

void
listener_adopt(struct listener *listener, int fd, const char *path, dev_t dev,
               ino_t ino)
{
    listener->fd = fd;
    listener->path = xstrdup(path);
    listener->dev = dev;
    listener->ino = ino;
    ovs_list_push_back(&listeners, &listener->node);
}

int
listener_open(struct listener *listener, int type, const char *path,
              char **textp)
{
    int error = check_file(type, path, textp);
    struct stat s;
    int fd;

    if (error) {
        return error;
    }
    fd = make_unix_socket(type, true, path, NULL);
    if (fd < 0) {
        *textp = xasprintf("%s cannot be listened on (%s): does the directory "
                           "exist, and may %s write there?", path,
                           ovs_strerror(-fd), program_name);
        return -fd;
    }
    if (stat(path, &s) || descriptor_set_cloexec(fd, true)
        || listen(fd, BACKLOG)) {
        error = errno;
        *textp = xasprintf("%s cannot be listened on (%s)", path,
                           ovs_strerror(error));
        fatal_signal_unlink_file_now(path);
        close(fd);
        return error;
    }
    listener_adopt(listener, fd, path, s.st_dev, s.st_ino);
    return 0;
}

void
listener_close(struct listener *listener)
{
    struct stat s;

    if (listener->fd < 0) {
        return;
    }
    watch_stop(&listener->watch);

    /* A child that checks another program may have a copy of it. */
    shutdown(listener->fd, SHUT_RDWR);
    close(listener->fd);
    if (!lstat(listener->path, &s) && s.st_dev == listener->dev
        && s.st_ino == listener->ino) {
        fatal_signal_unlink_file_now(listener->path);
    } else {
        fatal_signal_remove_file_to_unlink(listener->path);
    }
    ovs_list_remove(&listener->node);
    free(listener->path);
    listener_init(listener);
}
