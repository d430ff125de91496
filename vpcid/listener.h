/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_LISTENER_H
#define VPCID_LISTENER_H 1

#include <sys/types.h>

#include "openvswitch/list.h"
#include "watch.h"

/* UNIX sockets that listen, and their files.
 *
 * The file goes when the listener is closed and when the program ends, but not
 * when another program is executed.
 *
 * Threads: the main thread only. */

struct listener {
    struct watch watch;
    int fd;                     /* -1 if it does not listen. */
    char *path;                 /* Null if it does not listen. */
    dev_t dev;                  /* Of the file, */
    ino_t ino;                  /* so that nobody else's is unlinked. */
    struct ovs_list node;       /* In all listeners that are open. */
};

void listener_init(struct listener *);

/* Listens on 'path' with a socket of 'type' (SOCK_*), without blocking.  A
 * socket file that nobody listens on is replaced.
 *
 * Returns 0, or a positive errno and a text for people, which the caller
 * frees, in '*textp'. */
int listener_open(struct listener *, int type, const char *path,
                  char **textp);

/* Takes over socket 'fd', which listens on 'path' and becomes the listener's,
 * from an earlier program.  If it has a file, 'dev' and 'ino' are its. */
void listener_adopt(struct listener *, int fd, const char *path, dev_t dev,
                    ino_t ino);

/* Closes the socket and unlinks the file, if there are any. */
void listener_close(struct listener *);

#endif /* vpcid/listener.h */
