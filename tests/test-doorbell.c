/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of doorbells: see vpci/doorbell.h. */

#undef NDEBUG
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vpci/doorbell.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* However busy the machine is. */
#define LIMIT_MS 5000

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* An eventfd that blocks who writes to it. */
static int
full_eventfd(int flags)
{
    int fd = eventfd(0, flags);

    assert(fd >= 0 && !eventfd_write(fd, UINT64_MAX - 1));
    return fd;
}

static void
check_gives_up(int fd)
{
    int64_t before = now_ms();

    assert(vpci_doorbell_ring(fd) == ETIMEDOUT);
    assert(now_ms() - before >= VPCI_DOORBELL_PATIENCE_MS);
    assert(now_ms() - before < LIMIT_MS);
}

static void
test_rings(void)
{
    int fd = eventfd(0, 0), pipes[2];
    uint64_t n;

    for (int i = 0; i < 3; i++) {
        assert(!vpci_doorbell_ring(fd));
    }
    assert(!eventfd_read(fd, &n) && n == 3);
    assert(!pipe(pipes));
    assert(!vpci_doorbell_ring(pipes[1]));
    assert(read(pipes[0], &n, sizeof n) == sizeof n);
    assert(vpci_doorbell_ring(-1) == EBADF);
    assert(!vpci_doorbell_ring(full_eventfd(EFD_NONBLOCK)));
}

static void
test_blocks(void)
{
    char page[4096] = "";
    int pipes[2];

    check_gives_up(full_eventfd(0));
    assert(!pipe2(pipes, O_NONBLOCK));
    while (write(pipes[1], page, sizeof page) > 0) {
        continue;
    }
    assert(!vpci_doorbell_ring(pipes[1]));
    assert(!fcntl(pipes[1], F_SETFL, 0));
    check_gives_up(pipes[1]);
    check_gives_up(full_eventfd(0));
}

static void
tick(int signum)
{
    (void) signum;
}

/* Signals that have nothing to do with it do not end it. */
static void
test_other_signals(void)
{
    struct itimerval every_ms = { { 0, 1000 }, { 0, 1000 } }, never;
    struct sigaction sa;

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = tick;
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &every_ms, NULL);
    check_gives_up(full_eventfd(0));
    memset(&never, 0, sizeof never);
    setitimer(ITIMER_REAL, &never, NULL);
}

static void *
ring_in_vain(void *arg)
{
    (void) arg;
    check_gives_up(full_eventfd(0));
    return NULL;
}

/* Threads come and go, and each is looked after. */
static void
test_threads(void)
{
    for (int i = 0; i < 3; i++) {
        pthread_t threads[4];

        for (int j = 0; j < 4; j++) {
            assert(!pthread_create(&threads[j], NULL, ring_in_vain, NULL));
        }
        for (int j = 0; j < 4; j++) {
            assert(!pthread_join(threads[j], NULL));
        }
    }
}

static void
test_check(void)
{
    int pipes[2];

    assert(!pipe(pipes));
    assert(!vpci_doorbell_check(eventfd(0, 0)));
    assert(!vpci_doorbell_check(pipes[1]));
    assert(vpci_doorbell_check(memfd_create("memory", 0)) == ENOTSUP);
    assert(vpci_doorbell_check(open("/dev/null", O_WRONLY)) == ENOTSUP);
    assert(vpci_doorbell_check(-1) == EBADF);
}

int
main(int argc, char *argv[])
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        { "rings", test_rings },
        { "blocks", test_blocks },
        { "other-signals", test_other_signals },
        { "threads", test_threads },
        { "check", test_check },
    };
    const char *wanted = argc == 2 ? argv[1] : "--list";
    bool listed = !strcmp(wanted, "--list");

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (listed) {
            puts(tests[i].name);
        } else if (!strcmp(wanted, tests[i].name)) {
            tests[i].run();
            return 0;
        }
    }
    return !listed;
}
