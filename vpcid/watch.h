/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_WATCH_H
#define VPCID_WATCH_H 1

#include "openvswitch/list.h"

/* Descriptors that are looked at only if something has happened to them.
 *
 * Thousands of sockets are open and nearly all of them are silent, so they are
 * behind one epoll descriptor, which the poll loop waits for.
 *
 * Threads: the main thread only. */

struct watch {
    int fd;                     /* -1 if nothing is watched. */
    void (*run)(struct watch *);    /* Called while 'fd' is readable. */
    struct ovs_list paused;     /* In 'paused_watches', or empty. */
};

#define WATCH_INITIALIZER(WATCH) \
    { .fd = -1, .paused = OVS_LIST_INITIALIZER(&(WATCH)->paused) }

/* Prepares for watching.  Ends the program if the kernel does not let us. */
void watch_global_init(void);

void watch_init(struct watch *);

/* Calls run(watch) whenever 'fd' is readable or hung up.  'fd' stays the
 * caller's.  Returns 0 or a positive errno. */
int watch_start(struct watch *, int fd, void (*run)(struct watch *));

/* Undoes watch_start(), if it was done.  To be called before 'fd' is closed:
 * another process might have a copy of it. */
void watch_stop(struct watch *);

/* Does not look at 'watch' for a moment (100 ms), for want of descriptors,
 * say, without which nothing can be done about it. */
void watch_pause(struct watch *);

void watch_run(void);
void watch_wait(void);

#endif /* vpcid/watch.h */
