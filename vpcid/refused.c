/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "refused.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "ivshmem.h"
#include "openvswitch/poll-loop.h"
#include "timeval.h"
#include "util.h"
#include "watch.h"

/* The one that has waited longest goes if there are more. */
#define MAX_REFUSED 8

#define PATIENCE_MS 5000

struct refused {
    struct watch watch;
    long long int until;        /* Monotonic, in ms. */
};

static struct refused *waiting[MAX_REFUSED];    /* The oldest first. */
static int n_waiting;

static void
forget(struct refused *r)
{
    int sock = r->watch.fd;
    int i = 0;

    while (waiting[i] != r) {
        i++;
    }
    n_waiting--;
    memmove(&waiting[i], &waiting[i + 1],
            (n_waiting - i) * sizeof waiting[0]);
    watch_stop(&r->watch);
    close(sock);
    free(r);
}

/* It has closed the connection, or has said something. */
static void
gone(struct watch *watch)
{
    forget(CONTAINER_OF(watch, struct refused, watch));
}

void
refused_add(int sock, int error)
{
    struct refused *r = xzalloc(sizeof *r);

    ivshmem_refuse(sock, error);
    watch_init(&r->watch);
    if (watch_start(&r->watch, sock, gone)) {
        close(sock);
        free(r);
        return;
    }
    if (n_waiting >= MAX_REFUSED) {
        forget(waiting[0]);
    }
    r->until = time_msec() + PATIENCE_MS;
    waiting[n_waiting++] = r;
}

void
refused_run(void)
{
    while (n_waiting && time_msec() >= waiting[0]->until) {
        forget(waiting[0]);
    }
}

void
refused_wait(void)
{
    if (n_waiting) {
        poll_timer_wait_until(waiting[0]->until);
    }
}
