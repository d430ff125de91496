/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_MIRROR_H
#define VPCI_MIRROR_H 1

#include <stdbool.h>
#include <stdint.h>

/* A mirror of ports of a switch, whose output is a port of vpci-net made for
 * it.  The switch is told by its own tools: ovs-vsctl and ovs-ofctl.
 *
 * Both have the name "dump-PID" and, in external_ids, vpci-dump=PID: the
 * process that they belong to.  Functions that return false have said why.
 * One thread. */

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

/* Looks for the ports, and removes what processes have left that were
 * killed. */
bool mirror_prepare(struct mirror *);

/* Makes mirror and port. */
bool mirror_add(const struct mirror *);

/* Waits until all flows of the switch are as the mirror, or its removal, wants
 * them. */
void mirror_settle(const struct mirror *);

/* Removes both, if they are there; whether or not the switch is. */
bool mirror_remove(const struct mirror *);

/* Stores in '*n' how many packets the switch could not send to the port so
 * far.  Returns false, without a word, if it does not say. */
bool mirror_dropped(const struct mirror *, uint64_t *n);

/* Prints, on standard error, what the switch says of the port. */
void mirror_explain(const struct mirror *);

#endif /* vpci-mirror.h */
