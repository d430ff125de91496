// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The bus of vpci devices: see vpci_bus.h. */

#include <linux/module.h>
#include <linux/version.h>

#include "vpci_bus.h"
#include "vpci_ivshmem.h"

static const char *kind_name(enum vpci_abi_kind kind)
{
	return kind == VPCI_ABI_BASE ? "base" :
	       kind == VPCI_ABI_PEER ? "peer" : "link";
}

static ssize_t kind_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n", kind_name(to_vpci_dev(dev)->kind));
}
static DEVICE_ATTR_RO(kind);

static ssize_t ivshmem_id_show(struct device *dev,
			       struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", vpci_device_id(&to_vpci_dev(dev)->core));
}
static DEVICE_ATTR_RO(ivshmem_id);

static ssize_t peer_id_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%u\n",
			  vpci_device_peer(&to_vpci_dev(dev)->core));
}
static DEVICE_ATTR_RO(peer_id);

static ssize_t in_use_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%d\n", READ_ONCE(to_vpci_dev(dev)->in_use));
}
static DEVICE_ATTR_RO(in_use);

static struct attribute *vpci_dev_attrs[] = {
	&dev_attr_kind.attr,
	&dev_attr_ivshmem_id.attr,
	&dev_attr_peer_id.attr,
	&dev_attr_in_use.attr,
	NULL,
};
ATTRIBUTE_GROUPS(vpci_dev);

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static int vpci_match(struct device *dev, const struct device_driver *drv)
#else
static int vpci_match(struct device *dev, struct device_driver *drv)
#endif
{
	const struct vpci_driver *driver;

	driver = container_of(drv, const struct vpci_driver, driver);
	return !!(driver->kinds & BIT(to_vpci_dev(dev)->kind));
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
static int vpci_uevent(const struct device *dev, struct kobj_uevent_env *env)
#else
static int vpci_uevent(struct device *dev, struct kobj_uevent_env *env)
#endif
{
	const struct vpci_dev *vdev;

	vdev = container_of(dev, const struct vpci_dev, dev);
	return add_uevent_var(env, "MODALIAS=vpci:k%s", kind_name(vdev->kind));
}

static void vpci_dev_set_bound(struct vpci_dev *vdev, bool bound)
{
	mutex_lock(&vdev->mutex);
	vdev->bound = bound;
	mutex_unlock(&vdev->mutex);
}

static int vpci_probe(struct device *dev)
{
	struct vpci_dev *vdev = to_vpci_dev(dev);
	int error;

	vpci_dev_set_bound(vdev, true);
	error = to_vpci_driver(dev->driver)->probe(vdev);
	if (error)
		vpci_dev_set_bound(vdev, false);
	return error;
}

static void vpci_remove(struct device *dev)
{
	struct vpci_dev *vdev = to_vpci_dev(dev);

	/* Ports that know a link may be about to open it, or do so again. */
	vpci_dev_set_bound(vdev, false);
	to_vpci_driver(dev->driver)->remove(vdev);
	WARN_ON(vdev->in_use);
}

static int __maybe_unused vpci_suspend(struct device *dev)
{
	struct vpci_driver *driver;

	driver = dev->driver ? to_vpci_driver(dev->driver) : NULL;
	return driver && driver->suspend ? driver->suspend(to_vpci_dev(dev)) : 0;
}

static int __maybe_unused vpci_resume(struct device *dev)
{
	struct vpci_driver *driver;

	driver = dev->driver ? to_vpci_driver(dev->driver) : NULL;
	return driver && driver->resume ? driver->resume(to_vpci_dev(dev)) : 0;
}

static SIMPLE_DEV_PM_OPS(vpci_pm_ops, vpci_suspend, vpci_resume);

static struct bus_type vpci_bus_type = {
	.name = "vpci",
	.dev_groups = vpci_dev_groups,
	.match = vpci_match,
	.uevent = vpci_uevent,
	.probe = vpci_probe,
	.remove = vpci_remove,
	.pm = &vpci_pm_ops,
};

int vpci_register_driver(struct vpci_driver *driver)
{
	driver->driver.bus = &vpci_bus_type;
	return driver_register(&driver->driver);
}
EXPORT_SYMBOL_GPL(vpci_register_driver);

void vpci_unregister_driver(struct vpci_driver *driver)
{
	driver_unregister(&driver->driver);
}
EXPORT_SYMBOL_GPL(vpci_unregister_driver);

static void vpci_dev_release(struct device *dev)
{
	struct vpci_dev *vdev = to_vpci_dev(dev);

	vdev->release(vdev);
}

void vpci_dev_init(struct vpci_dev *vdev, struct device *parent,
		   enum vpci_abi_kind kind, const struct device_ops *ops,
		   u32 ivshmem_id, void (*release)(struct vpci_dev *vdev))
{
	char name[32];

	snprintf(name, sizeof(name), "ivshmem%u", ivshmem_id);
	device_init(&vdev->core, ops, kind == VPCI_ABI_BASE ? "base" : name);
	vdev->core.is_peer = kind == VPCI_ABI_PEER;
	vdev->kind = kind;
	vdev->release = release;
	vdev->events = 0;
	mutex_init(&vdev->mutex);
	init_waitqueue_head(&vdev->unused);

	vdev->dev.bus = &vpci_bus_type;
	vdev->dev.parent = parent;
	vdev->dev.release = vpci_dev_release;
	device_initialize(&vdev->dev);
	/* Without memory for a name, device_add() fails. */
	dev_set_name(&vdev->dev, "%s-%s", kind_name(kind), dev_name(parent));
}

int vpci_dev_add(struct vpci_dev *vdev)
{
	return device_add(&vdev->dev);
}

void vpci_dev_remove(struct vpci_dev *vdev)
{
	vpci_dev_post(vdev, VPCI_DEVICE_UNPLUGGED);
	device_del(&vdev->dev);
}

bool vpci_dev_use(struct vpci_dev *vdev)
{
	bool ok;

	mutex_lock(&vdev->mutex);
	ok = vdev->bound;
	if (ok) {
		WRITE_ONCE(vdev->in_use, true);
		vdev->events = 0;
	}
	mutex_unlock(&vdev->mutex);
	return ok;
}

void vpci_dev_end_use(struct vpci_dev *vdev)
{
	WRITE_ONCE(vdev->in_use, false);
	wake_up_all(&vdev->unused);
}

void vpci_dev_post(struct vpci_dev *vdev, unsigned int events)
{
	__atomic_or_fetch(&vdev->events, events, __ATOMIC_RELEASE);
}
EXPORT_SYMBOL_GPL(vpci_dev_post);

static int __init vpci_init(void)
{
	int error;

	error = bus_register(&vpci_bus_type);
	if (error)
		return error;
	error = ivshmem_register();
	if (error)
		bus_unregister(&vpci_bus_type);
	return error;
}
module_init(vpci_init);

static void __exit vpci_exit(void)
{
	ivshmem_unregister();
	bus_unregister(&vpci_bus_type);
}
module_exit(vpci_exit);

MODULE_DESCRIPTION("Bus of vpci devices, over ivshmem PCI functions");
MODULE_AUTHOR("The ovs-vpci developers");
MODULE_LICENSE("GPL");
MODULE_VERSION(VPCI_VERSION);
