// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Devices of links and of peers, which all ports are told of: see vpci_net.h.  A
 * port takes those that its base region names.
 */

#include <linux/slab.h>

#include "bus-private.h"
#include "vpci_net.h"

static DEFINE_MUTEX(links_mutex);
static LIST_HEAD(links);
static u32 generation;			/* Of 'links'. */

struct vnet_device *vnet_device_create(struct vpci_dev *vdev)
{
	struct vnet_device *d;

	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (d) {
		INIT_LIST_HEAD(&d->node);
		d->vdev = vdev;
		dev_set_drvdata(&vdev->dev, d);
	}
	return d;
}

void vnet_device_destroy(struct vnet_device *d)
{
	dev_set_drvdata(&d->vdev->dev, NULL);
	kfree(d);
}

void vnet_links_add(struct vnet_device *d)
{
	mutex_lock(&links_mutex);
	list_add_tail(&d->node, &links);
	WRITE_ONCE(generation, generation + 1);
	mutex_unlock(&links_mutex);
	vnet_run_all();
}

void vnet_links_remove(struct vnet_device *d)
{
	mutex_lock(&links_mutex);
	list_del_init(&d->node);
	WRITE_ONCE(generation, generation + 1);
	mutex_unlock(&links_mutex);

	/* A port that has it open leaves it. */
	vpci_dev_post(d->vdev, VPCI_DEVICE_UNPLUGGED);
	vnet_run_all();
	wait_event(d->vdev->unused, !READ_ONCE(d->vdev->in_use));
}

void vnet_bus_init(struct vpci_bus *bus, struct vpci_device *base)
{
	memset(bus, 0, sizeof(*bus));
	bus->base = base;
	bus->seen = READ_ONCE(generation) - 1;
}

void vnet_bus_uninit(struct vpci_bus *bus)
{
	while (bus->n_told)
		vpci_device_release(bus->told[--bus->n_told]);
}

static int find_told(const struct vpci_bus *bus, const struct vpci_device *d)
{
	unsigned int i;

	for (i = 0; i < bus->n_told; i++)
		if (bus->told[i] == d)
			return i;
	return -1;
}

/* With 'links_mutex'. */
static bool is_link(const struct vpci_device *device)
{
	struct vnet_device *d;

	list_for_each_entry(d, &links, node)
		if (&d->vdev->core == device)
			return true;
	return false;
}

/* With 'links_mutex'. */
static bool tell_departed(struct vpci_bus *bus, struct vpci_bus_event *event)
{
	unsigned int i;

	for (i = 0; i < bus->n_told; i++) {
		if (is_link(bus->told[i]))
			continue;
		event->kind = VPCI_BUS_DEPARTED;
		event->device = bus->told[i];
		bus->told[i] = bus->told[--bus->n_told];
		return true;
	}
	return false;
}

/* With 'links_mutex'. */
static bool tell_arrived(struct vpci_bus *bus, struct vpci_bus_event *event)
{
	struct vnet_device *d;

	list_for_each_entry(d, &links, node) {
		if (find_told(bus, &d->vdev->core) >= 0 ||
		    bus->n_told == ARRAY_SIZE(bus->told))
			continue;
		event->kind = VPCI_BUS_ARRIVED;
		event->device = vpci_device_ref(&d->vdev->core);
		bus->told[bus->n_told++] = vpci_device_ref(&d->vdev->core);
		return true;
	}
	return false;
}

bool vnet_any_device(struct vnet *vnet,
		     bool (*cb)(struct vnet *vnet, struct vnet_device *d))
{
	bool any = cb(vnet, vnet->base);
	struct vnet_device *d;

	mutex_lock(&links_mutex);
	list_for_each_entry(d, &links, node)
		any |= cb(vnet, d);
	mutex_unlock(&links_mutex);
	return any;
}

/* What core/ asks a bus. */

bool vpci_bus_next(struct vpci_bus *bus, struct vpci_bus_event *event)
{
	bool told;

	if (!bus->told_base) {
		bus->told_base = true;
		event->kind = VPCI_BUS_ARRIVED;
		event->device = vpci_device_ref(bus->base);
		return true;
	}
	if (bus->seen == READ_ONCE(generation))
		return false;
	mutex_lock(&links_mutex);
	told = tell_departed(bus, event) || tell_arrived(bus, event);
	if (!told)
		bus->seen = generation;
	mutex_unlock(&links_mutex);
	return told;
}

int bus_explain(const struct vpci_bus *bus, char *reason, size_t size)
{
	return 0;
}
