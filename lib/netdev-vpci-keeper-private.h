/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_KEEPER_PRIVATE_H
#define NETDEV_VPCI_KEEPER_PRIVATE_H 1

/* What the parts of the connection to the keeper have in common: see
 * netdev-vpci-keeper.h.
 *
 * Threads: the main thread alone. */

#include <stdbool.h>
#include <stdint.h>

struct vpci_keeper_msg;
struct vpci_keeper_region;

/* How soon to try again what has failed. */
#define VPCI_KEEPER_RETRY_MS 1000

/* How long a region that nobody uses is kept: a switch that ends has closed
 * all ports first, and one that begins has yet to open them. */
#define VPCI_KEEPER_LINGER_MS 1000

/* A region that the keeper has, and nobody here uses. */
struct vpci_keeper_orphan {
    struct vpci_keeper_orphan *next;
    uint32_t region;
    uint32_t base;              /* Of a peer's: whose peer; otherwise 0. */
    uint32_t ends[2];           /* Of a link: the base regions that it goes
                                 * with; otherwise 0. */
    bool doomed;                /* Of a peer's: nobody can use it any more. */
    char *path;
    long long int delete_at;
};

/* netdev-vpci-keeper.c */

/* True if requests can be sent. */
bool vpci_keeper_can_ask(void);
uint32_t vpci_keeper_next_xid(void);

/* Sends '*msg'.  Returns false if that has to be tried again. */
bool vpci_keeper_ask(const struct vpci_keeper_msg *);

/* Likewise, but leaves it to the next turn of the main loop to find out that
 * the connection has ended: no user is told of anything. */
bool vpci_keeper_ask_silently(const struct vpci_keeper_msg *);
bool vpci_keeper_delete(uint32_t region);

/* Asks for a list of what the keeper has, unless that is under way. */
void vpci_keeper_list(void);

/* Adds a copy of an orphan, if there is a keeper. */
void vpci_keeper_add_orphan(const struct vpci_keeper_orphan *);

/* Peers' orphans of base region 'base': forgets those that can be used, or
 * says if there are any. */
void vpci_keeper_adopt_peer(uint32_t base);
bool vpci_keeper_has_orphan_peer(uint32_t base);

/* netdev-vpci-keeper-peer.c */

/* The connection has ended for the reason 'why'. */
void vpci_peer_users_disconnected(const char *why);

/* The keeper is not the one that it was: ids of regions mean nothing to it. */
void vpci_peer_users_lost(const char *why);

/* The keeper has '*region', of a peer.  Returns true if somebody wants one
 * there. */
bool vpci_peer_users_listed(const struct vpci_keeper_region *);

/* A reply, or an event.  Returns true if that was for a user of a peer. */
bool vpci_peer_users_reply(const struct vpci_keeper_msg *);
bool vpci_peer_users_event(struct vpci_keeper_msg *);

void vpci_peer_users_run(void);
void vpci_peer_users_wait(void);

#endif /* netdev-vpci-keeper-private.h */
