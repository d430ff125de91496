/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NET_SWITCH_H
#define NET_SWITCH_H 1

/* A keeper and a switch in one thread of a test, for one port, which is served
 * at a UNIX socket by ivshmem. */

#include <pthread.h>

#include "switch-port.h"

struct net_switch {
    char dir[64];
    char path[96];
    struct switch_port port;
    struct vpci_shape shape;
    struct switch_port_words words;
    void *base;                 /* The region, mapped. */
    void *private_memory;
    uint32_t epoch;
    bool silent;                /* Injects no signals. */

    int listen_fd;
    int memory_fd;
    int client_fd;              /* Atomic; -1: none. */
    int own[VPCI_ABI_MAX_VECTORS];
    int guests[VPCI_ABI_MAX_VECTORS];
    pthread_t thread;
    bool exiting;               /* Atomic. */
    bool held;                  /* Does not accept; atomic. */
};

/* Serves a region of 'shape' at s->path, without a header. */
bool net_switch_start(struct net_switch *s, const struct vpci_shape *shape);
void net_switch_stop(struct net_switch *s);

/* Begins, or begins anew, as the switch.  net_switch_run() follows. */
void net_switch_begin(struct net_switch *s);
bool net_switch_run(struct net_switch *s);

/* Disconnects the guest; holds others back if 'held'. */
void net_switch_disconnect(struct net_switch *s, bool held);

int64_t net_switch_now_ms(void);

#endif /* net-switch.h */
