/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_CONTROL_H
#define VPCID_CONTROL_H 1

#include <stdbool.h>
#include <stdint.h>

#include "listener.h"
#include "openvswitch/uuid.h"
#include "vpci/keeper.h"

/* The control socket, where the switch says what it wants (see
 * vpci/keeper.h).
 *
 * Requests are served one by one, and the next is not read before the reply to
 * the last has gone, so that a switch that does not read costs no memory.
 *
 * Threads: the main thread only. */

/* The connection of the switch. */
struct control {
    int fd;                     /* -1 if there is no switch. */
    bool hello;                 /* It has said HELLO. */
    char name[VPCI_KEEPER_NAME_SIZE];   /* What it calls itself. */
    uint32_t pid, uid;          /* As its socket tells. */
    long long int since;        /* Wall clock, in ms. */

    /* A reply that has not been sent.  Its descriptors are those of a region's
     * memory, which only a request could delete. */
    bool has_reply;
    struct vpci_keeper_msg reply;

    /* A LIST that has not been answered in full. */
    uint32_t list_xid;          /* 0 if there is none. */
    uint32_t list_next;         /* Ids of regions from here on are missing. */
    uint32_t list_count;        /* Regions that have been told. */
};

struct control_stats {
    uint64_t n_connections;     /* Switches that have come. */
    uint64_t n_busy;            /* Turned away, since there was one. */
    uint64_t n_requests;
    uint64_t n_refused;         /* Requests answered with an error. */
    uint64_t n_nonsense;        /* Connections closed because of nonsense. */
};

extern struct control control;
extern struct control_stats control_stats;
extern struct listener control_listener;
extern struct uuid keeper_uuid;

/* Listens on 'path'.  Returns 0, or a positive errno and a text for people,
 * which the caller frees, in '*textp'. */
int control_open(const char *path, char **textp);

/* Goes on with 'control' and 'control_listener' of an earlier program.
 * Returns 0 or a positive errno. */
int control_resume(void);

void control_run(void);
void control_wait(void);
void control_close(void);

#endif /* vpcid/control.h */
