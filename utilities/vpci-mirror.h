/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_MIRROR_H
#define VPCI_MIRROR_H 1

#include <stdbool.h>
#include <stdint.h>

/* A mirror of ports of a switch, whose output is a port of vpci-net made for
 * it.  The switch is told by its own tools: ovs-vsctl, ovs-appctl and
 * ovs-ofctl, each of which may take some seconds.
 *
 * Both have the name "dump-PID" and, in external_ids, whom they belong to.
 * Functions that return false have said why.  One thread. */

enum {
    MIRROR_IN = 1 << 0,         /* What the switch receives from the ports. */
    MIRROR_OUT = 1 << 1         /* What it sends to them. */
};

struct mirror {
    const char *program;        /* For messages. */
    const char *db;             /* As of ovs-vsctl's --db, or null. */
    const char *dir;            /* Where the socket is; absolute. */
    char **ports;
    int n_ports;
    unsigned int ways;

    /* By mirror_prepare(). */
    char name[32];
    char path[108];             /* The socket, once the port is there. */
    char *bridge;               /* To be freed. */
    unsigned int mtu;           /* The largest of the ports. */
};

/* Looks for the ports, each of which stays in 'ports' once, and removes what
 * processes have left that were killed. */
bool mirror_prepare(struct mirror *);

/* Makes mirror and port. */
bool mirror_add(const struct mirror *);

/* Keeps away from the port what action FLOOD sends to all ports, also when the
 * switch has been started anew.  mirror_add() does this, too. */
bool mirror_refuse_floods(const struct mirror *);

/* Waits until the switch copies all that is to be copied, or says that it does
 * not, and says which ports use no links meanwhile. */
void mirror_await(const struct mirror *);

/* Removes both, if they are there, and waits until the switch copies nothing
 * any more. */
bool mirror_remove(const struct mirror *);

/* Stores in '*n' how many packets the switch could not send to the port so
 * far, since it has begun with it. */
bool mirror_dropped(const struct mirror *, uint64_t *n);

/* Stores in '*n' how many of the ports the mirror is of still: those that were
 * removed, also if they were made anew, are not among them. */
bool mirror_count_ports(const struct mirror *, int *n);

/* Prints, on standard error, what the switch says of the port. */
void mirror_explain(const struct mirror *);

#endif /* vpci-mirror.h */
