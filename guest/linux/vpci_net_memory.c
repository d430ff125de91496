// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Memory of readers of steering tables: see steer-private.h.  And doorbells that
 * there are none of: drivers of peers are woken by signals.
 */

#include <linux/bug.h>
#include <linux/vmalloc.h>

#include "steer-private.h"
#include "vring-private.h"

void *steer_map_memory(uint64_t size)
{
	return vzalloc(size);
}

void steer_unmap_memory(void *p, uint64_t size)
{
	vfree(p);
}

void vring_ring_doorbell(struct vpci_vring *vr)
{
	WARN_ON_ONCE(1);
}
