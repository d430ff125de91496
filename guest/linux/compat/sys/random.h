/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_SYS_RANDOM_H
#define VPCI_COMPAT_SYS_RANDOM_H 1

#include <linux/random.h>

static inline ssize_t getrandom(void *buf, size_t size, unsigned int flags)
{
	get_random_bytes(buf, size);
	return size;
}

#endif
