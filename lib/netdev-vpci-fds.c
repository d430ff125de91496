/* SPDX-License-Identifier: Apache-2.0 */

/* Descriptors that front ends attach to messages: which of them the library
 * gets.
 *
 * Memory (files in memory), doorbells (eventfds, and socket pairs, for
 * User-Mode Linux) and, in place of all else that it expects, /dev/null:
 * nobody uses it.  Closing the rest can take as long as its other owner likes:
 * that is done elsewhere. */

#include "netdev-vpci-message.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vpci/doorbell.h"

/* What a request has descriptors for. */
enum purpose { NOTHING, NO_USE, MEMORY, DOORBELL, KICK };

static enum purpose
purpose_of(uint32_t request)
{
    switch (request) {
    case VHOST_USER_SET_MEM_TABLE:
    case VHOST_USER_SET_LOG_BASE:
        return MEMORY;
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_SLAVE_REQ_FD:
        /* User-Mode Linux gives up if we close the latter. */
        return DOORBELL;
    case VHOST_USER_SET_VRING_KICK:
        /* Of use to another guest that is lent the ring, if to anybody. */
        return KICK;
    case VHOST_USER_SET_VRING_ERR:
    case VHOST_USER_SET_LOG_FD:
        return NO_USE;
    default:
        return NOTHING;
    }
}

/* Nothing here asks more of a descriptor than the kernel itself knows: who
 * serves a file system may be a front end's friend, and not answer. */

/* True if 'fd' is a file on a tmpfs or hugetlbfs: nothing else has seals.  It
 * is there at once whenever it is touched. */
static bool
is_memory(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0;
}

/* True if a front end may well attach 'fd' by mistake, or where there is no
 * use for it. */
static bool
is_harmless(int fd)
{
    char path[64], name[8] = "";
    socklen_t len = sizeof(int);
    int domain;

    if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len)) {
        return domain == AF_UNIX;
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return (vpci_doorbell_is_eventfd(fd)
            || (readlink(path, name, sizeof name - 1) > 0
                && (name[0] == '/' || !strncmp(name, "pipe:", 5))));
}

/* Closes 'fd', now or some time.  Returns false if too many wait for that. */
static bool
dispose(int fd)
{
    if (vpci_doorbell_is_eventfd(fd)) {
        close(fd);
        return true;
    }
    return vpci_close_later(fd);
}

/* Returns a new descriptor of /dev/null, or -1. */
static int
open_null(void)
{
    return open("/dev/null", O_RDWR | O_CLOEXEC);
}

/* Returns 'fd', which came for 'purpose', or what the library gets instead. */
static int
sort_out(struct vpci_received *received, enum purpose purpose, int fd)
{
    bool wanted = purpose == MEMORY || purpose == DOORBELL;
    bool odd;

    if ((purpose == MEMORY && is_memory(fd))
        || (purpose == DOORBELL && !vpci_doorbell_prepare(fd))
        || (purpose == KICK && vpci_doorbell_is_eventfd(fd))) {
        return fd;
    }
    odd = !is_harmless(fd) && !is_memory(fd);
    if (wanted || odd) {
        received->n_unusable++;
    }
    if (!dispose(fd) || odd) {
        received->is_abuse = true;
    }
    return purpose == NOTHING ? -1 : open_null();
}

void
vpci_fds_sort_out(struct vpci_received *received, uint32_t request,
                  const int fds[], size_t n)
{
    enum purpose purpose = purpose_of(request);

    for (size_t i = 0; i < n; i++) {
        bool room = received->n < ARRAY_SIZE(received->fds);
        int fd = sort_out(received, room ? purpose : NOTHING, fds[i]);

        if (fd >= 0) {
            received->fds[received->n++] = fd;
        }
    }
}
