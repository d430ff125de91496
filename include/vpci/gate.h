/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_GATE_H
#define VPCI_GATE_H 1

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Gates
 * =====
 *
 * A gate lets one thread work on something without a lock, and lets another
 * thread stop it for a while to change that something under it.
 *
 * The worker calls vpci_gate_enter() before and vpci_gate_leave() after each
 * burst.  Neither is an atomic read-modify-write nor, where membarrier(2)
 * exists, a fence: the price is paid by the controller.
 *
 * The controller shuts one or more gates, makes one vpci_gate_barrier() for
 * all of them and waits for each.  From then on until vpci_gate_open() no
 * worker is inside.  A worker stays inside for one burst, so that the wait is
 * short unless the worker's processor is taken away from it.
 *
 * Threads: at any moment at most one thread may use the worker's functions on
 * a gate, and at most one the controller's. */

struct vpci_gate {
    /* Written by the controller. */
    bool shut __attribute__((aligned(64)));

    /* Written by the worker. */
    bool busy __attribute__((aligned(64)));
};

/* True if the kernel has no membarrier(2), so that workers need a fence. */
extern bool vpci_gate_needs_fence;

/* Finds out what the kernel can do.  Call it once, before the first gate is
 * used, while the process has no other user of gates.  Calling it again is
 * harmless. */
void vpci_gate_global_init(void);

/* Makes a gate that is shut. */
void vpci_gate_init(struct vpci_gate *);

/* Returns true if the worker may go on, until it calls vpci_gate_leave().
 * Returns false, with nothing to undo, if the gate is shut. */
static inline bool
vpci_gate_enter(struct vpci_gate *gate)
{
    __atomic_store_n(&gate->busy, true, __ATOMIC_RELAXED);

    /* (A) pairs with (B) in vpci_gate_barrier(): either the worker sees 'shut'
     * here, or the controller sees 'busy' there. */
    if (__builtin_expect(vpci_gate_needs_fence, 0)) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } else {
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
    }

    /* (C) pairs with (D) in vpci_gate_open(): what the controller changed is
     * visible to a worker that enters after it. */
    if (__builtin_expect(__atomic_load_n(&gate->shut, __ATOMIC_ACQUIRE), 0)) {
        __atomic_store_n(&gate->busy, false, __ATOMIC_RELEASE);
        return false;
    }
    return true;
}

static inline void
vpci_gate_leave(struct vpci_gate *gate)
{
    /* (E) pairs with (F) in vpci_gate_wait(): what the worker did is visible
     * to the controller. */
    __atomic_store_n(&gate->busy, false, __ATOMIC_RELEASE);
}

/* Controller: no worker enters once vpci_gate_barrier() has followed. */
void vpci_gate_shut(struct vpci_gate *);

/* Controller: makes earlier vpci_gate_shut() calls visible to all workers. */
void vpci_gate_barrier(void);

/* Controller: waits until no worker is inside 'gate', which must have been
 * shut, with a barrier after it. */
void vpci_gate_wait(struct vpci_gate *);

/* Controller: lets the worker in again. */
void vpci_gate_open(struct vpci_gate *);

#ifdef __cplusplus
}
#endif

#endif /* vpci/gate.h */
