/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NET_SERVER_H
#define NET_SERVER_H 1

/* Serves one end of a region at a UNIX socket by ivshmem, in a thread of its
 * own, as the keeper does: for tests. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct net_server {
    char path[108];
    int memory_fd;              /* This and the descriptors are not ours. */
    uint32_t id;                /* The client's, */
    uint32_t peer_id;           /* and the other side's. */
    const int *fds;             /* Signals of the client, */
    const int *peer_fds;        /* and of the other side. */
    uint32_t n_fds;             /* Of each. */

    int listen_fd;
    int client_fd;              /* Atomic; -1: none. */
    pthread_t thread;
    bool exiting;               /* Atomic. */
    bool held;                  /* Does not accept; atomic. */
    pthread_mutex_t greeting;   /* Held until a client is 'client_fd'. */
};

/* Begins to serve, with the first members set. */
bool net_server_start(struct net_server *s);

/* Ends, and removes the socket. */
void net_server_stop(struct net_server *s);

/* Disconnects the client; holds others back if 'held'. */
void net_server_disconnect(struct net_server *s, bool held);

/* Waits until there is a client, or none.  Returns false if that takes
 * long. */
bool net_server_wait(const struct net_server *s, bool is_there);

/* Tells the client that the other side has come or gone. */
void net_server_tell(struct net_server *s, bool peer_is_there);

/* Sends the client more signals: its own, if 'id' is that, or those of the other
 * side, which has this id. */
void net_server_send(struct net_server *s, uint32_t id, const int *fds,
                     uint32_t n);

int64_t net_now_ms(void);

#endif /* net-server.h */
