// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Signals of devices in the kernel: see vpci/device.h. */

#include <linux/errno.h>
#include <linux/export.h>

#include "vpci_bus.h"

int vpci_signal_inject(struct vpci_signal *signal)
{
	struct vpci_device *d = signal->device;

	if (!vpci_device_peer(d))
		return ENOTCONN;
	__atomic_add_fetch(&signal->stats.injected, 1, __ATOMIC_RELAXED);
	return d->ops->inject(signal);
}
EXPORT_SYMBOL_GPL(vpci_signal_inject);

void vpci_signal_set_callback(struct vpci_signal *signal,
			      vpci_signal_callback *callback, void *aux)
{
	signal->aux = aux;
	/* Pairs with whoever calls it: ivshmem_interrupt(). */
	smp_store_release(&signal->callback, callback);
}
EXPORT_SYMBOL_GPL(vpci_signal_set_callback);

void vpci_signal_enable(struct vpci_signal *signal)
{
	WRITE_ONCE(signal->enabled, true);
}
EXPORT_SYMBOL_GPL(vpci_signal_enable);

void vpci_signal_disable(struct vpci_signal *signal)
{
	WRITE_ONCE(signal->enabled, false);
}
EXPORT_SYMBOL_GPL(vpci_signal_disable);

void vpci_signal_mask(struct vpci_signal *signal, bool masked)
{
	core_to_vpci_dev(signal->device)->mask(signal, masked);
}
EXPORT_SYMBOL_GPL(vpci_signal_mask);

void signal_count(struct vpci_signal *signal, unsigned int received,
		  unsigned int spurious, unsigned int masked)
{
	__atomic_add_fetch(&signal->stats.received, received,
			   __ATOMIC_RELAXED);
	__atomic_add_fetch(&signal->stats.spurious, spurious,
			   __ATOMIC_RELAXED);
	__atomic_add_fetch(&signal->stats.masked, masked, __ATOMIC_RELAXED);
}
EXPORT_SYMBOL_GPL(signal_count);

/* Memory belongs to the PCI function, and interrupts to close(). */
void device_unmap(struct vpci_device *d)
{
}
