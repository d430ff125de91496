/* SPDX-License-Identifier: Apache-2.0 */

/* A thread that closes what may take long to be closed.
 *
 * Whoever drops the last reference to a file waits for as long as the file
 * wants: a TCP socket that lingers, a UNIX socket in whose queue there is such
 * a descriptor, a file of somebody's FUSE daemon.  Front ends choose which. */

#include "netdev-vpci-message.h"

#include <unistd.h>

#include "openvswitch/list.h"
#include "ovs-rcu.h"
#include "util.h"

/* Descriptors that may wait before it is said that they are too many.  They
 * are closed all the same, once that is possible. */
#define MAX_WAITING 256

struct waiting {
    struct ovs_list node;
    int fd;
};

static struct ovs_mutex mutex = OVS_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static struct ovs_list queue OVS_GUARDED_BY(mutex)
    = OVS_LIST_INITIALIZER(&queue);
static int n_waiting OVS_GUARDED_BY(mutex);
static bool runs OVS_GUARDED_BY(mutex);

static void *
closer_main(void *arg OVS_UNUSED)
{
    ovsrcu_quiesce_start();
    for (;;) {
        struct waiting *w;

        ovs_mutex_lock(&mutex);
        while (ovs_list_is_empty(&queue)) {
            ovs_mutex_cond_wait(&cond, &mutex);
        }
        w = CONTAINER_OF(ovs_list_pop_front(&queue), struct waiting, node);
        ovs_mutex_unlock(&mutex);

        close(w->fd);
        free(w);

        ovs_mutex_lock(&mutex);
        n_waiting--;
        ovs_mutex_unlock(&mutex);
    }
    OVS_NOT_REACHED();
}

bool
vpci_close_later(int fd)
{
    struct waiting *w = xmalloc(sizeof *w);
    bool ok;

    w->fd = fd;
    ovs_mutex_lock(&mutex);
    if (!runs) {
        ovs_thread_create("vpci-closer", closer_main, NULL);
        runs = true;
    }
    ovs_list_push_back(&queue, &w->node);
    ok = ++n_waiting <= MAX_WAITING;
    xpthread_cond_signal(&cond);
    ovs_mutex_unlock(&mutex);
    return ok;
}
