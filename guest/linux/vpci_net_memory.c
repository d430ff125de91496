// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Memory of readers of steering tables: see steer-private.h. */

#include <linux/vmalloc.h>

#include "steer-private.h"

void *steer_map_memory(uint64_t size)
{
	return vzalloc(size);
}

void steer_unmap_memory(void *p, uint64_t size)
{
	vfree(p);
}
