/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/gate.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backoff.h"

bool vpci_gate_needs_fence = true;

static int
gate_membarrier(int command)
{
    return syscall(__NR_membarrier, command, 0, 0);
}

void
vpci_gate_global_init(void)
{
    vpci_gate_needs_fence
        = gate_membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) < 0;
}

void
vpci_gate_init(struct vpci_gate *gate)
{
    __atomic_store_n(&gate->shut, true, __ATOMIC_RELAXED);
    __atomic_store_n(&gate->busy, false, __ATOMIC_RELAXED);
}

void
vpci_gate_shut(struct vpci_gate *gate)
{
    __atomic_store_n(&gate->shut, true, __ATOMIC_SEQ_CST);
}

void
vpci_gate_barrier(void)
{
    /* (B) pairs with (A) in vpci_gate_enter(). */
    if (vpci_gate_needs_fence) {
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
    } else {
        gate_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }
}

void
vpci_gate_wait(struct vpci_gate *gate)
{
    struct vpci_backoff backoff = VPCI_BACKOFF_INIT;

    /* (F) pairs with (E) in vpci_gate_leave(). */
    while (__atomic_load_n(&gate->busy, __ATOMIC_ACQUIRE)) {
        vpci_backoff(&backoff);
    }
}

void
vpci_gate_open(struct vpci_gate *gate)
{
    /* (D) pairs with (C) in vpci_gate_enter(). */
    __atomic_store_n(&gate->shut, false, __ATOMIC_RELEASE);
}
