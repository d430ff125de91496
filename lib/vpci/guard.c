/* SPDX-License-Identifier: Apache-2.0 */

#include "vpci/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>

/* The guards in force.  Slots are written under 'guard_mutex' and read by the
 * signal handler. */
static struct vpci_guard *guards[VPCI_GUARD_MAX];
static pthread_mutex_t guard_mutex = PTHREAD_MUTEX_INITIALIZER;

/* What SIGBUS did before. */
static struct sigaction previous_action;

static _Thread_local bool *thread_hit
    __attribute__((tls_model("initial-exec")));

static bool
guard_replace(void *base, size_t size)
{
    return mmap(base, size, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
                -1, 0) != MAP_FAILED;
}

static struct vpci_guard *
guard_find(const void *addr)
{
    for (size_t i = 0; i < VPCI_GUARD_MAX; i++) {
        struct vpci_guard *guard
            = __atomic_load_n(&guards[i], __ATOMIC_ACQUIRE);

        if (guard && (uintptr_t) addr - (uintptr_t) guard->base
                     < guard->size) {
            return guard;
        }
    }
    return NULL;
}

/* Replaces the page at 'addr', of whichever size it is.  A mapping of huge
 * pages can only be split where a huge page begins. */
static bool
guard_replace_page(void *addr)
{
    static const size_t page_sizes[] = { 4096, 2048 * 1024, 1 << 30 };

    for (size_t i = 0; i < sizeof page_sizes / sizeof page_sizes[0]; i++) {
        uintptr_t base = (uintptr_t) addr & ~(page_sizes[i] - 1);

        if (guard_replace((void *) base, page_sizes[i])) {
            return true;
        }
    }
    return false;
}

/* Does what would have been done without us. */
static void
guard_pass_on(int sig, siginfo_t *info, void *context)
{
    if (previous_action.sa_flags & SA_SIGINFO) {
        previous_action.sa_sigaction(sig, info, context);
    } else if (previous_action.sa_handler != SIG_DFL
               && previous_action.sa_handler != SIG_IGN) {
        previous_action.sa_handler(sig);
    } else {
        /* The access is repeated, and takes the default action. */
        signal(SIGBUS, SIG_DFL);
    }
}

static void
guard_handle_sigbus(int sig, siginfo_t *info, void *context)
{
    int saved_errno = errno;
    struct vpci_guard *guard = guard_find(info->si_addr);

    if (guard && guard_replace(guard->base, guard->size)) {
        __atomic_store_n(&guard->hit, true, __ATOMIC_RELEASE);
    } else if (!guard && thread_hit && guard_replace_page(info->si_addr)) {
        __atomic_store_n(thread_hit, true, __ATOMIC_RELEASE);
    } else {
        guard_pass_on(sig, info, context);
    }
    errno = saved_errno;
}

int
vpci_guard_global_init(void)
{
    static bool installed;
    int error = 0;

    pthread_mutex_lock(&guard_mutex);
    if (!installed) {
        struct sigaction action = {
            .sa_sigaction = guard_handle_sigbus,
            .sa_flags = SA_SIGINFO | SA_RESTART,
        };

        sigemptyset(&action.sa_mask);
        if (sigaction(SIGBUS, &action, &previous_action)) {
            error = errno;
        } else {
            installed = true;
        }
    }
    pthread_mutex_unlock(&guard_mutex);
    return error;
}

int
vpci_guard_add(struct vpci_guard *guard)
{
    int error = ENOSPC;

    __atomic_store_n(&guard->hit, false, __ATOMIC_RELAXED);
    pthread_mutex_lock(&guard_mutex);
    for (size_t i = 0; i < VPCI_GUARD_MAX; i++) {
        if (!__atomic_load_n(&guards[i], __ATOMIC_RELAXED)) {
            __atomic_store_n(&guards[i], guard, __ATOMIC_RELEASE);
            error = 0;
            break;
        }
    }
    pthread_mutex_unlock(&guard_mutex);
    return error;
}

void
vpci_guard_remove(struct vpci_guard *guard)
{
    pthread_mutex_lock(&guard_mutex);
    for (size_t i = 0; i < VPCI_GUARD_MAX; i++) {
        if (__atomic_load_n(&guards[i], __ATOMIC_RELAXED) == guard) {
            __atomic_store_n(&guards[i], NULL, __ATOMIC_RELEASE);
            break;
        }
    }
    pthread_mutex_unlock(&guard_mutex);
}

void
vpci_guard_thread(bool *hit)
{
    thread_hit = hit;
}
