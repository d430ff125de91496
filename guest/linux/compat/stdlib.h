/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_STDLIB_H
#define VPCI_COMPAT_STDLIB_H 1

#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/slab.h>

/* Memory comes from process context only. */

static inline void *malloc(size_t size)
{
	return kvmalloc(size, GFP_KERNEL);
}

static inline void *calloc(size_t n, size_t size)
{
	return kvcalloc(n, size, GFP_KERNEL);
}

/* What kmalloc() gives is aligned to its size if that is a power of two. */
static inline void *aligned_alloc(size_t alignment, size_t size)
{
	return kvmalloc(roundup_pow_of_two(max(size, alignment)), GFP_KERNEL);
}

static inline void free(const void *p)
{
	kvfree(p);
}

#endif
