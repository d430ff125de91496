/* SPDX-License-Identifier: Apache-2.0 */

#include "vpci/gate.h"

#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

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
    atomic_init(&gate->shut, true);
    atomic_init(&gate->busy, false);
}

void
vpci_gate_shut(struct vpci_gate *gate)
{
    atomic_store_explicit(&gate->shut, true, memory_order_seq_cst);
}

void
vpci_gate_barrier(void)
{
    /* (B) pairs with (A) in vpci_gate_enter(). */
    if (vpci_gate_needs_fence) {
        atomic_thread_fence(memory_order_seq_cst);
    } else {
        gate_membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    }
}

void
vpci_gate_wait(struct vpci_gate *gate)
{
    /* (F) pairs with (E) in vpci_gate_leave(). */
    while (atomic_load_explicit(&gate->busy, memory_order_acquire)) {
        sched_yield();
    }
}

void
vpci_gate_open(struct vpci_gate *gate)
{
    /* (D) pairs with (C) in vpci_gate_enter(). */
    atomic_store_explicit(&gate->shut, false, memory_order_release);
}
