/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_PTHREAD_H
#define VPCI_COMPAT_PTHREAD_H 1

#include <linux/errno.h>
#include <linux/mutex.h>
#include <time.h>

typedef struct task_struct *pthread_t;
typedef struct mutex pthread_mutex_t;

#define pthread_mutex_init(MUTEX, ATTR) mutex_init(MUTEX)
#define pthread_mutex_destroy(MUTEX) mutex_destroy(MUTEX)
#define pthread_mutex_lock(MUTEX) mutex_lock(MUTEX)
#define pthread_mutex_unlock(MUTEX) mutex_unlock(MUTEX)

/* Whoever has it keeps it for VPCI_NET_CALL_MS at most. */
static inline int pthread_mutex_clocklock(struct mutex *mutex, int clock,
					  const struct timespec *until)
{
	return mutex_lock_killable(mutex) ? ETIMEDOUT : 0;
}

#endif
