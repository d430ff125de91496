/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "stranger.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "openvswitch/poll-loop.h"
#include "util.h"
#include "vpci/keeper.h"

/* The one that has waited longest goes if there are more. */
#define MAX_STRANGERS 8

static int strangers[MAX_STRANGERS];    /* The oldest first. */
static int n_strangers;

static void
stranger_remove(int i)
{
    close(strangers[i]);
    n_strangers--;
    memmove(&strangers[i], &strangers[i + 1],
            (n_strangers - i) * sizeof strangers[0]);
}

void
stranger_add(int fd)
{
    if (n_strangers >= MAX_STRANGERS) {
        stranger_remove(0);
    }
    strangers[n_strangers++] = fd;
}

/* Returns true if the stranger stays, since it has not said anything. */
static bool
stranger_run(int fd, const char *name, uint32_t pid)
{
    char why[VPCI_KEEPER_TEXT_SIZE];
    struct vpci_keeper_msg msg, reply;
    int error = vpci_keeper_recv(fd, VPCI_KEEPER_SIDE_KEEPER, &msg, why);

    if (error == EAGAIN) {
        return true;
    }
    vpci_keeper_msg_close_fds(&msg);
    if (msg.header.magic == VPCI_KEEPER_MAGIC) {
        vpci_keeper_msg_refuse(&reply, msg.header.type, msg.header.xid, EBUSY,
                               "switch '%s' with pid %"PRIu32" is connected: "
                               "a keeper serves one switch at a time, stop "
                               "that one first", name, pid);
        vpci_keeper_send(fd, &reply);
    }
    return false;
}

void
strangers_run(const char *name, uint32_t pid)
{
    int i = 0;

    while (i < n_strangers) {
        if (stranger_run(strangers[i], name, pid)) {
            i++;
        } else {
            stranger_remove(i);
        }
    }
}

void
strangers_wait(void)
{
    for (int i = 0; i < n_strangers; i++) {
        poll_fd_wait(strangers[i], POLLIN);
    }
}

void
strangers_close(void)
{
    while (n_strangers > 0) {
        stranger_remove(0);
    }
}
