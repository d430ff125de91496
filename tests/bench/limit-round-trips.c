/* SPDX-License-Identifier: Apache-2.0 */

/* Round trips between two processes, without packets: see limit.h.
 *
 * The first process writes to a cache line of its own, or rings an eventfd,
 * and waits for the second one to do the same.  That is the least that has to
 * happen before one guest has an answer of another. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "limit.h"

#include <errno.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "histogram.h"

/* One side's end of what both share. */
struct end {
    alignas(CACHE_LINE) _Atomic uint64_t word;  /* This side writes it. */
    int eventfd;                /* Rung by the other side, */
    int epoll;                  /* and waited for with this. */
};

static struct end *ends;        /* Of the first process, and of the second. */

static void
fail(const char *what)
{
    fprintf(stderr, "limit: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void
open_end(struct end *end)
{
    struct epoll_event event = { .events = EPOLLIN };

    end->eventfd = eventfd(0, 0);
    end->epoll = epoll_create1(0);
    if (end->eventfd < 0 || end->epoll < 0
        || epoll_ctl(end->epoll, EPOLL_CTL_ADD, end->eventfd, &event)) {
        fail("cannot make eventfds");
    }
}

static void
open_ends(void)
{
    ends = mmap(NULL, 2 * sizeof *ends, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (ends == MAP_FAILED) {
        fail("no memory");
    }
    open_end(&ends[0]);
    open_end(&ends[1]);
}

/* Side 'i' says 'n' to the other one. */
static void
say(enum round_trip_kind kind, int i, uint64_t n)
{
    if (kind == ROUND_TRIP_LINE) {
        atomic_store_explicit(&ends[i].word, n, memory_order_release);
    } else if (eventfd_write(ends[!i].eventfd, 1)) {
        fail("cannot ring an eventfd");
    }
}

/* Side 'i' waits for the other one to say 'n'. */
static void
hear(enum round_trip_kind kind, int i, uint64_t n)
{
    struct epoll_event event;
    eventfd_t value;

    if (kind == ROUND_TRIP_LINE) {
        while (atomic_load_explicit(&ends[!i].word, memory_order_acquire)
               != n) {
            continue;
        }
        return;
    }
    while (epoll_wait(ends[i].epoll, &event, 1, -1) != 1) {
        continue;
    }
    if (eventfd_read(ends[i].eventfd, &value)) {
        fail("cannot read an eventfd");
    }
}

/* Body of the second process, which is killed. */
static void
answer(enum round_trip_kind kind, int cpu)
{
    pin(cpu);
    for (uint64_t n = 1;; n++) {
        hear(kind, 1, n);
        say(kind, 1, n);
    }
}

/* Starts it.  Whoever ends this process ends that one as well. */
static pid_t
start_answering(enum round_trip_kind kind, int cpu)
{
    pid_t parent = getpid(), child = fork();

    if (child < 0) {
        fail("cannot fork");
    } else if (!child) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent) {
            answer(kind, cpu);
        }
        _exit(0);
    }
    return child;
}

/* The finest clock that there is. */
static uint64_t
ticks(void)
{
    uint64_t now = cycles();

    return now ? now : now_ns();
}

static void
print_times(const struct histogram *times, double ns_per_tick)
{
    static const double fractions[] = { 0.5, 0.99, 0.999 };

    for (size_t i = 0; i < sizeof fractions / sizeof fractions[0]; i++) {
        printf("%s%.4f", i ? " " : "",
               histogram_quantile(times, fractions[i]) * ns_per_tick / 1e3);
    }
    putchar('\n');
}

void
measure_round_trips(enum round_trip_kind kind, const int cpus[2],
                    uint64_t duration, unsigned int pause_us)
{
    static struct histogram times;
    uint64_t start_ns, start_ticks, n = 0, end;
    pid_t child;

    open_ends();
    child = start_answering(kind, cpus[1]);
    pin(cpus[0]);
    /* Once, for the other one to be there. */
    say(kind, 0, ++n);
    hear(kind, 0, n);
    start_ns = now_ns();
    start_ticks = ticks();
    do {
        uint64_t since = ticks();

        say(kind, 0, ++n);
        hear(kind, 0, n);
        histogram_add(&times, ticks() - since);
        if (pause_us) {
            usleep(pause_us);
        }
        end = now_ns();
    } while (end - start_ns < duration);
    print_times(&times, (double) (end - start_ns) / (ticks() - start_ticks));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}
