/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_KEEPER_H
#define NETDEV_VPCI_KEEPER_H 1

/* The switch's connection to the keeper of regions (vpcid).
 *
 * There is one for the process.  It is tried again once a second while nobody
 * answers.  What the keeper has given stays as it is while it is away.
 *
 * Threads: the main thread alone. */

#include <stdbool.h>
#include <stdint.h>

#include "vpci/keeper.h"

/* Somebody who wants a base region, embedded in a structure of its own. */
struct vpci_region_user {
    const struct vpci_region_user_class *class;
    char *path;                 /* Of its ivshmem socket.  Not the keeper's to
                                 * change while the user is registered. */
    uint64_t size;              /* In bytes. */
    uint64_t private_size;
    uint32_t n_vectors;

    /* The connection's own. */
    struct vpci_region_user *next;
    uint32_t region;            /* The keeper's id, or 0. */
    uint32_t xid;               /* Of the request under way, or 0. */
    long long int ask_at;       /* When to ask (again); LLONG_MAX: have it. */
};

/* What the user is told.  None of these may register or forget a user. */
struct vpci_region_user_class {
    /* The keeper has given 'memory' and 'private', which are the user's now,
     * and which it may have known before. */
    void (*given)(struct vpci_region_user *, uint32_t region, int memory,
                  int private);

    /* It has not, or is not there, for the reason 'why'.  What it has given
     * earlier is still good. */
    void (*refused)(struct vpci_region_user *, const char *why);

    /* There is a guest: 'fds' interrupt it, '*up' says who it is.  The user
     * takes those descriptors that it wants, leaving -1. */
    void (*guest_came)(struct vpci_region_user *,
                       const struct vpci_keeper_peer_up *up, int fds[],
                       unsigned int n);
    void (*guest_left)(struct vpci_region_user *, const char *why);
};

/* From now on '*user' is told of its region, soon. */
void vpci_keeper_register(struct vpci_region_user *);

/* '*user' is not told any more.  Its region is deleted, unless somebody else
 * registers for the same path soon, or the process ends soon. */
void vpci_keeper_unregister(struct vpci_region_user *);

/* Somebody who wants a link between two base regions, embedded in a structure
 * of its own. */
struct vpci_link_user {
    const struct vpci_link_user_class *class;
    uint32_t base[2];           /* Ids of the regions of ends 0 and 1. */
    uint64_t size;              /* In bytes. */
    uint32_t n_vectors;         /* Of each end. */
    uint32_t region;            /* Id of the link's own, or 0.  It is one that
                                 * the keeper has already if it is not 0 when
                                 * the user is registered. */

    /* The connection's own. */
    struct vpci_link_user *next;
    uint32_t xid;               /* Of the request under way, or 0. */
    bool due;                   /* It is to be sent. */
    bool listed;                /* The keeper has it. */
};

/* What the user is told.  None of these may register or forget a user. */
struct vpci_link_user_class {
    /* There is a link, with 'memory', which is the user's now.  Also when the
     * keeper is back. */
    void (*given)(struct vpci_link_user *, int memory);

    /* There is none, or none any more, for the reason 'why'. */
    void (*refused)(struct vpci_link_user *, const char *why);

    /* Guests: */
    void (*guest_came)(struct vpci_link_user *,
                       const struct vpci_keeper_peer_up *);
    void (*guest_left)(struct vpci_link_user *, unsigned int end,
                       const char *why);
};

/* From now on '*user' is told of its link, soon; or not any more, and the link
 * is deleted if 'delete' is true. */
void vpci_keeper_register_link(struct vpci_link_user *);
void vpci_keeper_unregister_link(struct vpci_link_user *, bool delete);

void vpci_keeper_run(void);
void vpci_keeper_wait(void);

/* True if the keeper answers. */
bool vpci_keeper_is_there(void);

#endif /* netdev-vpci-keeper.h */
