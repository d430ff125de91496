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
    uint32_t region;            /* The keeper's id, or 0: also from the moment
                                 * that another keeper answers until it has
                                 * given one. */
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
    const char *names[2];       /* The user's: of the ports at ends 0 and 1 of
                                 * a static link; otherwise null. */
    uint32_t region;            /* Id of the link's own, or 0.  It is one that
                                 * the keeper has already if it is not 0 when
                                 * the user is registered. */

    /* The connection's own. */
    struct vpci_link_user *next;
    uint32_t xid;               /* Of the request under way, or 0. */
    bool due;                   /* It is to be sent. */
    bool listed;                /* The keeper has it. */
    bool lost;                  /* The keeper does not, and may use its id for
                                 * another one. */
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
 * is deleted if 'delete' is true: a static one unless somebody wants it again
 * soon, or the process ends soon. */
void vpci_keeper_register_link(struct vpci_link_user *);
void vpci_keeper_unregister_link(struct vpci_link_user *, bool delete);

/* Somebody who wants the guest of a base region to have the memory of a peer,
 * embedded in a structure of its own. */
struct vpci_peer_user {
    const struct vpci_peer_user_class *class;
    uint32_t base;              /* 'region' of a 'struct vpci_region_user' that
                                 * is registered.  Becomes 0, and stays so, if
                                 * another keeper answers. */
    uint64_t size;              /* Of the memory, in bytes. */
    uint32_t n_vectors;         /* Of the guest, vector 0 among them. */
    int memory;                 /* The user's: open, and the same file, as long
                                 * as the user is registered. */
    uint32_t region;            /* The keeper's id of the peer's own, or 0. */

    /* The connection's own. */
    struct vpci_peer_user *next;
    uint32_t xid;               /* Of the request under way, or 0. */
    uint32_t signals_xid;       /* Likewise, for signals. */
    long long int ask_at;       /* When to ask (again); LLONG_MAX: not to. */
    bool replaces;              /* Another file's region is to be deleted. */
};

/* What the user is told.  None of these may register or forget a user. */
struct vpci_peer_user_class {
    /* There is a socket for the guest, of region 'region'.  Also when the
     * keeper is back.  Whether a guest is there is only known from
     * guest_came(), which follows if so, also if it is the one that was there
     * before. */
    void (*given)(struct vpci_peer_user *);

    /* There is none, or none any more, for the reason 'why', and it is not
     * asked for again before the keeper has been away. */
    void (*refused)(struct vpci_peer_user *, const char *why);

    /* There is a guest: 'fds', of which there is one, interrupt it at vector
     * 0, '*up' says who it is.  The user takes the descriptor if it wants it,
     * leaving -1. */
    void (*guest_came)(struct vpci_peer_user *,
                       const struct vpci_keeper_peer_up *up, int fds[],
                       unsigned int n);
    void (*guest_left)(struct vpci_peer_user *, const char *why);

    /* What has become of vpci_keeper_send_signals(), once for each that has
     * returned true.  The guest has the kicks as its vectors from 'first_kick'
     * on, and the calls as those, from 0 on, of ivshmem id 'peer_id' (0 if
     * there were none); it can have 'n_left' vectors more... */
    void (*signals)(struct vpci_peer_user *, uint32_t peer_id,
                    uint32_t first_kick, uint32_t n_left);

    /* ...or has nothing, by 'error' (see PEER_SIGNALS in vpci/keeper.h), and
     * for the reason 'why'.  ENOTCONN also if the connection to the keeper
     * broke: then it may have got them. */
    void (*signals_refused)(struct vpci_peer_user *, int error,
                            const char *why);
};

/* From now on '*user' is told of its region, soon.  Another region of a peer
 * that the same base region has is deleted for it.  There is one user for
 * a base region at most. */
void vpci_keeper_register_peer(struct vpci_peer_user *);

/* '*user' is not told any more, and its region is deleted if 'delete' is
 * true. */
void vpci_keeper_unregister_peer(struct vpci_peer_user *, bool delete);

/* Sends the guest with ivshmem id 'guest' of '*user' signals: 'n_kicks'
 * eventfds that its peer injects and 'n_calls' that it waits for, up to
 * VPCI_KEEPER_MAX_VECTORS of each.  They stay the caller's, who may close them
 * at once.  Returns true if the user will be told what has become of it; false
 * if it cannot be asked now, since there is no region, something else is under
 * way, or the keeper is away or slow: after another turn of the main loop it
 * may be. */
bool vpci_keeper_send_signals(struct vpci_peer_user *, uint32_t guest,
                              const int kicks[], unsigned int n_kicks,
                              const int calls[], unsigned int n_calls);

void vpci_keeper_run(void);
void vpci_keeper_wait(void);

/* True if the keeper answers. */
bool vpci_keeper_is_there(void);

#endif /* netdev-vpci-keeper.h */
