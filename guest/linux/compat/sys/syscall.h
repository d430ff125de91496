/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_SYS_SYSCALL_H
#define VPCI_COMPAT_SYS_SYSCALL_H 1

#include <asm/unistd.h>
#include <linux/membarrier.h>

/* There is no membarrier(2) for parts of the kernel itself: workers use fences,
 * as they do in a process on a kernel without it.
 */
#define syscall(NUMBER, COMMAND, FLAGS, CPU) (-1)

#endif
