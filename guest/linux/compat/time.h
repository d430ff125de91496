/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_TIME_H
#define VPCI_COMPAT_TIME_H 1

#include <linux/delay.h>
#include <linux/time64.h>
#include <linux/types.h>

struct timespec {
	s64 tv_sec;
	long tv_nsec;
};

/* Of less than a second. */
static inline int nanosleep(const struct timespec *ts, struct timespec *left)
{
	usleep_range(ts->tv_nsec / 1000, ts->tv_nsec / 1000 + 10);
	return 0;
}

#endif
