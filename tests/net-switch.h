/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NET_SWITCH_H
#define NET_SWITCH_H 1

/* A keeper and a switch in one thread of a test, for one port, which is served
 * at a UNIX socket by ivshmem. */

#include "net-server.h"
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

    int memory_fd;
    int own[VPCI_ABI_MAX_VECTORS];
    int guests[VPCI_ABI_MAX_VECTORS];
    struct net_server server;
};

/* Serves a region of 'shape' at s->path, without a header. */
bool net_switch_start(struct net_switch *s, const struct vpci_shape *shape);
void net_switch_stop(struct net_switch *s);

/* Begins, or begins anew, as the switch.  net_switch_run() follows. */
void net_switch_begin(struct net_switch *s);
bool net_switch_run(struct net_switch *s);

/* Makes sealed memory of 'size' bytes, mapped at '*base'.  Returns its
 * descriptor, or -1. */
int net_make_memory(uint64_t size, void **base);

#endif /* net-switch.h */
