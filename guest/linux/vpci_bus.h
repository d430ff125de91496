/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef VPCI_BUS_H_KERNEL
#define VPCI_BUS_H_KERNEL

/*
 * Devices of vpci in a Linux guest
 *
 * A device is memory that the guest shares with somebody else, and signals
 * between the two: an ivshmem PCI function (vpci_ivshmem.c).  What is in the
 * memory, the base of a port or a link, is said by its header, and that it is
 * another guest's memory, a peer's, by our ivshmem id; this is what drivers are
 * matched by.
 *
 * How drivers open a device, map its memory and use its signals is in
 * vpci/device.h, which is the same in processes.
 */

#include <linux/device.h>
#include <linux/mutex.h>
#include <linux/wait.h>

#include "device-private.h"

struct vpci_dev {
	struct device dev;
	struct vpci_device core;
	enum vpci_abi_kind kind;

	/* A driver has it, and does not have to leave it: it may be opened. */
	bool bound;
	struct mutex mutex;		/* Protects 'bound'. */

	/* The connector's open() until its close() has returned. */
	bool in_use;
	wait_queue_head_t unused;
	unsigned int events;		/* enum vpci_device_event; atomic. */
	void (*release)(struct vpci_dev *vdev);
	void (*mask)(struct vpci_signal *signal, bool masked);
};

#define to_vpci_dev(d) container_of(d, struct vpci_dev, dev)
#define core_to_vpci_dev(d) container_of(d, struct vpci_dev, core)

struct vpci_driver {
	struct device_driver driver;
	unsigned long kinds;		/* 1 << enum vpci_abi_kind, ... */
	int (*probe)(struct vpci_dev *vdev);

	/* The device is not in use any more when it returns. */
	void (*remove)(struct vpci_dev *vdev);
	int (*suspend)(struct vpci_dev *vdev);
	int (*resume)(struct vpci_dev *vdev);
};

#define to_vpci_driver(d) container_of(d, struct vpci_driver, driver)

int vpci_register_driver(struct vpci_driver *driver);
void vpci_unregister_driver(struct vpci_driver *driver);

/* For connectors.  vpci_dev_init() names the device, whose parent is 'parent';
 * from then on it is freed by its 'release', after put_device().
 */
void vpci_dev_init(struct vpci_dev *vdev, struct device *parent,
		   enum vpci_abi_kind kind, const struct device_ops *ops,
		   u32 ivshmem_id, void (*release)(struct vpci_dev *vdev));
int vpci_dev_add(struct vpci_dev *vdev);
void vpci_dev_remove(struct vpci_dev *vdev);

/* For open(): the device is in use from now on, until vpci_dev_end_use().
 * Returns false if it cannot be any more.
 */
bool vpci_dev_use(struct vpci_dev *vdev);
void vpci_dev_end_use(struct vpci_dev *vdev);

/* vpci_device_run() will say so. */
void vpci_dev_post(struct vpci_dev *vdev, unsigned int events);

/* Does not listen to the signal of a device that is open, as at first, or does.
 * One that came meanwhile has come.  One thread at a time for each signal.
 */
void vpci_signal_mask(struct vpci_signal *signal, bool masked);

#endif
