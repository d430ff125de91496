/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_BACKOFF_H
#define VPCI_BACKOFF_H 1

/* Waiting for another thread that will be done after a burst.
 *
 * sched_yield() would not do: a thread that yields again and again may keep the
 * very thread that it waits for from a processor that both have to share, as
 * Linux 6.18 does for a minute. */

#include <stdint.h>
#include <time.h>

/* Rounds of looking again at once, each of some 20 ns. */
#define BACKOFF_SPINS 500

/* What comes after those, in ns. */
#define BACKOFF_MIN_SLEEP 10000
#define BACKOFF_MAX_SLEEP 1000000

struct vpci_backoff {
    unsigned int n_spins;
    uint32_t sleep;             /* ns. */
};

#define VPCI_BACKOFF_INIT { 0, BACKOFF_MIN_SLEEP }

/* Waits, longer from time to time, before the caller looks again. */
static inline void
vpci_backoff(struct vpci_backoff *b)
{
    struct timespec ts = { .tv_nsec = b->sleep };

    if (b->n_spins < BACKOFF_SPINS) {
        b->n_spins++;
#if defined __x86_64__ || defined __i386__
        __builtin_ia32_pause();
#elif defined __aarch64__
        __asm__ volatile ("yield");
#endif
        return;
    }
    nanosleep(&ts, NULL);
    if (b->sleep < BACKOFF_MAX_SLEEP) {
        b->sleep *= 2;
    }
}

#endif /* vpci/backoff.h */
