/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of gates (vpci/gate.h) and guards (vpci/guard.h).
 *
 * usage: test-gate [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vpci/gate.h"
#include "vpci/guard.h"
#include "unit-test.h"

/* A worker that changes two words together behind a gate.  Whoever shut the
 * gate must never see them differ, nor move. */
struct worker {
    struct vpci_gate gate;
    uint64_t a, b;              /* Protected by 'gate'. */
    bool stop;                  /* Atomic. */
};

static void *
worker_main(void *worker_)
{
    struct worker *w = worker_;

    while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
        if (vpci_gate_enter(&w->gate)) {
            *(volatile uint64_t *) &w->a += 1;
            *(volatile uint64_t *) &w->b += 1;
            vpci_gate_leave(&w->gate);
        }
    }
    return NULL;
}

static void
shut_and_wait(struct vpci_gate *gate)
{
    vpci_gate_shut(gate);
    vpci_gate_barrier();
    vpci_gate_wait(gate);
}

/* Goes on for many rounds, but on a busy machine for no more than a while. */
static bool
check_exclusion(struct worker *w)
{
    enum { MIN_ROUNDS = 50, MAX_ROUNDS = 20000, MAX_SECONDS = 3 };
    time_t end = time(NULL) + MAX_SECONDS;
    uint64_t last = 0;

    for (int i = 0; i < MAX_ROUNDS; i++) {
        if (i >= MIN_ROUNDS && time(NULL) > end) {
            break;
        }

        shut_and_wait(&w->gate);

        uint64_t a = *(volatile uint64_t *) &w->a;

        CHECK(a == *(volatile uint64_t *) &w->b);
        usleep(i % 64 ? 0 : 50);
        CHECK(a == *(volatile uint64_t *) &w->a);

        /* What is written here, the worker must go on from. */
        w->a = w->b = a + 1000;
        CHECK(a >= last);
        last = a;
        vpci_gate_open(&w->gate);
    }
    return true;
}

static bool
run_exclusion(void)
{
    static struct worker w;
    pthread_t thread;
    bool ok;

    memset(&w, 0, sizeof w);
    vpci_gate_init(&w.gate);
    CHECK(!vpci_gate_enter(&w.gate));
    vpci_gate_open(&w.gate);
    CHECK(!pthread_create(&thread, NULL, worker_main, &w));
    ok = check_exclusion(&w);
    __atomic_store_n(&w.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    return ok && w.a == w.b;
}

static bool
test_gate_excludes(void)
{
    vpci_gate_global_init();
    return run_exclusion();
}

/* The same where the kernel has no membarrier(2). */
static bool
test_gate_excludes_with_fences(void)
{
    vpci_gate_needs_fence = true;
    return run_exclusion();
}

static bool
test_gate_starts_shut(void)
{
    struct vpci_gate gate;

    vpci_gate_init(&gate);
    CHECK(!vpci_gate_enter(&gate));
    vpci_gate_open(&gate);
    CHECK(vpci_gate_enter(&gate));
    vpci_gate_leave(&gate);
    shut_and_wait(&gate);
    CHECK(!vpci_gate_enter(&gate));
    return true;
}

/* Maps 'size' bytes of a new file that can shrink. */
static uint8_t *
map_file(size_t size, int *fd)
{
    uint8_t *p;

    *fd = memfd_create("test-gate", 0);
    if (*fd < 0 || ftruncate(*fd, size)) {
        return NULL;
    }
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
    return p == MAP_FAILED ? NULL : p;
}

static bool
test_guard_survives_shrinking(void)
{
    size_t size = 64 * 4096;
    struct vpci_guard guard;
    int fd;
    uint8_t *p = map_file(size, &fd);

    CHECK(p);
    CHECK(!vpci_guard_global_init());
    guard.base = p;
    guard.size = size;
    CHECK(!vpci_guard_add(&guard));
    memset(p, 0x55, size);
    CHECK(!ftruncate(fd, 0));
    CHECK(!__atomic_load_n(&guard.hit, __ATOMIC_ACQUIRE));
    CHECK(*(volatile uint8_t *) (p + 4096) == 0);
    CHECK(__atomic_load_n(&guard.hit, __ATOMIC_ACQUIRE));
    memset(p, 0xaa, size);
    CHECK(p[size - 1] == 0xaa);
    vpci_guard_remove(&guard);
    munmap(p, size);
    close(fd);
    return true;
}

static bool
test_guard_of_a_thread_survives_shrinking(void)
{
    size_t size = 16 * 4096;
    bool hit = false;
    int fd;
    uint8_t *p = map_file(size, &fd);

    CHECK(p);
    CHECK(!vpci_guard_global_init());
    CHECK(!ftruncate(fd, 4096));
    vpci_guard_thread(&hit);
    *(volatile uint8_t *) p = 1;
    CHECK(!__atomic_load_n(&hit, __ATOMIC_ACQUIRE));
    *(volatile uint8_t *) (p + 3 * 4096 + 7) = 1;
    CHECK(__atomic_load_n(&hit, __ATOMIC_ACQUIRE));
    vpci_guard_thread(NULL);
    munmap(p, size);
    close(fd);
    return true;
}

/* A SIGBUS that no guard explains must still kill. */
static bool
test_guard_lets_other_faults_kill(void)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (!pid) {
        int fd;
        uint8_t *p = map_file(4096, &fd);

        if (!p || vpci_guard_global_init() || ftruncate(fd, 0)) {
            _exit(1);
        }
        *(volatile uint8_t *) p = 1;
        _exit(2);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    return true;
}

/* As many guards as there can be; one more is refused; removing makes room. */
static bool
test_guard_table_is_bounded(void)
{
    static struct vpci_guard guards[VPCI_GUARD_MAX + 1];

    for (size_t i = 0; i < VPCI_GUARD_MAX; i++) {
        CHECK(!vpci_guard_add(&guards[i]));
    }
    CHECK(vpci_guard_add(&guards[VPCI_GUARD_MAX]) == ENOSPC);
    vpci_guard_remove(&guards[7]);
    CHECK(!vpci_guard_add(&guards[VPCI_GUARD_MAX]));
    for (size_t i = 0; i <= VPCI_GUARD_MAX; i++) {
        vpci_guard_remove(&guards[i]);
    }
    return true;
}

static const struct unit_test tests[] = {
    { "gate-starts-shut", test_gate_starts_shut },
    { "gate-excludes", test_gate_excludes },
    { "gate-excludes-with-fences", test_gate_excludes_with_fences },
    { "guard-survives-shrinking", test_guard_survives_shrinking },
    { "guard-of-a-thread-survives-shrinking",
      test_guard_of_a_thread_survives_shrinking },
    { "guard-lets-other-faults-kill", test_guard_lets_other_faults_kill },
    { "guard-table-is-bounded", test_guard_table_is_bounded },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
