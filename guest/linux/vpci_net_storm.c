// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Interrupts that come too often for nothing: see storm.h.
 *
 * Another guest can ring our doorbell as often as it likes.  The housekeeping
 * compares how often each vector has come with how often a poll of one of its
 * queues had something to do, and masks a vector that exaggerates for a while,
 * longer each time.  Meanwhile it polls more often itself.
 */

#include "storm.h"
#include "vpci_net.h"

/* Of one vector, in the time between two looks. */
#define MAX_IRQS (3 * VPCI_STORM_MAX)

#define MIN_MASK_MS (VPCI_STORM_MIN_MASK_US / 1000)
#define MAX_MASK_MS (VPCI_STORM_MAX_MASK_US / 1000)

static void mask(struct vnet_vector *v, bool masked)
{
	v->masked = masked;
	vpci_signal_mask(v->signal, masked);
	if (masked) {
		v->mask_ms = clamp(v->mask_ms * 2, MIN_MASK_MS, MAX_MASK_MS);
		v->masked_until = jiffies + msecs_to_jiffies(v->mask_ms);
		signal_count(v->signal, 0, 0, 1);
	}
}

/* Returns whether the vector is masked, after 'n_useful' polls. */
static bool look_at(struct vnet_vector *v, u32 n_useful)
{
	u32 n = READ_ONCE(v->n_irqs) - v->n_seen;

	v->n_seen += n;
	if (v->masked && time_after_eq(jiffies, v->masked_until)) {
		mask(v, false);
	} else if (!v->masked && n > MAX_IRQS + VPCI_STORM_WORTH * n_useful) {
		mask(v, true);
	} else if (!v->masked && v->mask_ms &&
		   time_after(jiffies, v->masked_until +
			      msecs_to_jiffies(MAX_MASK_MS))) {
		v->mask_ms = 0;
	}
	return v->masked;
}

bool vnet_look_for_storms(struct vnet *vnet, struct vnet_device *d)
{
	bool masked = false;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(d->vectors); i++) {
		struct vnet_vector *v = &d->vectors[i];

		if (!READ_ONCE(d->vdev->in_use) || v->vnet != vnet ||
		    !v->signal)
			continue;
		masked |= look_at(v, vnet->n_useful);
	}
	return masked;
}
