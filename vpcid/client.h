/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_CLIENT_H
#define VPCID_CLIENT_H 1

#include <stdint.h>

#include "vpci/keeper.h"
#include "watch.h"

/* Clients: guests, each at an end of a region, that are served the ivshmem
 * protocol (see ivshmem.h).
 *
 * What a client gets is made for its connection: its ivshmem id, the one under
 * which it knows the switch, and all eventfds.  So whoever was connected
 * before can neither take its signals nor send it any.  Only the signals of a
 * peer come from the switch, and are passed on.
 *
 * Threads: the main thread only. */

struct end;
struct listener;

struct client {
    struct end *end;
    struct watch watch;
    int sock;
    uint64_t serial;            /* Which client of its end: 1, 2, ... */
    uint32_t id;                /* ivshmem id. */
    uint32_t self;              /* The switch's, in a base region, or 0. */
    uint32_t pid, uid;          /* As its socket tells. */
    long long int since;        /* Wall clock, in ms. */

    /* eventfds, by vector. */
    int own[VPCI_KEEPER_MAX_VECTORS];   /* Interrupt the client. */
    int selfs[VPCI_KEEPER_MAX_VECTORS]; /* It rings these for the switch; -1
                                         * but in base regions. */

    uint32_t n_sent;            /* Vectors of its own that it has been sent. */

    /* In the region of a peer: ids of those whose vectors it has been sent,
     * which stay its.  At a static link: ids of those that have gone without
     * its being told, which nobody else may have as long as it is there. */
    uint32_t peers[VPCI_KEEPER_MAX_PEERS];
    uint32_t n_peers;
};

/* Accepts a connection at 'listener' of 'end', if there is one. */
void client_accept(struct end *, struct listener *listener);

/* Disconnects the client of 'end', if there is one, because of 'reason'. */
void client_disconnect(struct end *, const char *reason);

/* Gives the client of 'end', of a peer's region, the signals that '*add' says,
 * from 'fds', which stay the caller's: kicks, then calls.  Returns 0 with
 * '*sent' set, or a positive errno and, in '*textp', a text for people, which
 * the caller frees.  A client that cannot be told is disconnected. */
int client_send_signals(struct end *,
                        const struct vpci_keeper_signals_add *add,
                        const int fds[],
                        struct vpci_keeper_peer_signals *sent, char **textp);

/* Makes a client without descriptors and ids, to be filled in and given to
 * client_resume(), or freed. */
struct client *client_create(struct end *);

/* Goes on with a client of an earlier program.  Returns 0 or a positive
 * errno. */
int client_resume(struct client *);

/* Returns the number of clients that are connected. */
uint32_t clients_count(void);

#endif /* vpcid/client.h */
