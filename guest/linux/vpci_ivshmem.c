// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * vpci devices that are PCI functions, QEMU's ivshmem-doorbell: see
 * docs/specs/ivshmem-spec.txt of QEMU.
 *
 * BAR 0 has registers, BAR 1 the MSI-X table, BAR 2 the memory.  A function
 * whose memory is not of vpci is left alone.  One whose memory is all 0 may
 * become a port's, once the switch is there: it is looked at from time to time.
 * One that is another guest's memory, a peer's, or a link, which another guest
 * writes to as well, is known by our ivshmem id there, which no guest can write:
 * it could have a forged header.
 */

#include <linux/interrupt.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/workqueue.h>

#include "vpci/layout.h"
#include "vpci_bus.h"
#include "vpci_ivshmem.h"

#define PCI_DEVICE_ID_IVSHMEM 0x1110

#define IVSHMEM_REGS 0
#define IVSHMEM_MEMORY 2

#define IVSHMEM_IV_POSITION 8
#define IVSHMEM_DOORBELL 12

#define LOOK_INTERVAL (HZ / 4)

struct ivshmem {
	struct vpci_dev vdev;		/* Once 'added'. */
	struct pci_dev *pdev;
	void __iomem *regs;
	void *memory;
	resource_size_t size;
	u32 id;
	int n_vectors;
	int n_irqs;			/* That are requested. */
	char (*irq_names)[32];
	u32 masked;			/* Signals that are, as bits. */

	struct delayed_work look;
	bool is_device;			/* 'vdev' is one. */
	struct vpci_layout_report said;	/* Why it is not added yet. */
};

static struct ivshmem *core_to_ivshmem(const struct vpci_device *d)
{
	return container_of(d, struct ivshmem, vdev.core);
}

/* What the bus and its drivers use. */

static irqreturn_t ivshmem_interrupt(int irq, void *signal_)
{
	struct vpci_signal *signal = signal_;
	vpci_signal_callback *callback;

	__atomic_add_fetch(&signal->stats.received, 1, __ATOMIC_RELAXED);
	/* Pairs with vpci_signal_set_callback(). */
	callback = smp_load_acquire(&signal->callback);
	if (callback && READ_ONCE(signal->enabled))
		callback(signal->aux);
	return IRQ_HANDLED;
}

static int ivshmem_open(struct vpci_device *d, int timeout_ms)
{
	struct ivshmem *iv = core_to_ivshmem(d);
	int error;

	if (!vpci_dev_use(&iv->vdev))
		return device_fail(d, ENODEV,
				   "%s has been unplugged, or has no driver",
				   dev_name(&iv->vdev.dev));
	d->region.base = iv->memory;
	d->region.size = iv->size;
	d->id = iv->id;
	d->n_signals = iv->n_vectors;
	d->max_signals = iv->n_vectors;
	d->n_peer_signals = VPCI_ABI_MAX_VECTORS;
	/* Until somebody listens: another guest may ring all the time. */
	iv->masked = U32_MAX;
	while (iv->n_irqs < iv->n_vectors) {
		int i = iv->n_irqs;

		snprintf(iv->irq_names[i], sizeof(iv->irq_names[i]), "%s-%d",
			 dev_name(&iv->vdev.dev), i);
		error = request_irq(pci_irq_vector(iv->pdev, i),
				    ivshmem_interrupt, IRQF_NO_AUTOEN,
				    iv->irq_names[i], &d->signals[i]);
		if (error)
			return device_fail(d, -error,
					   "%s: no interrupt for vector %d",
					   pci_name(iv->pdev), i);
		iv->n_irqs++;
	}
	return 0;
}

static void ivshmem_close(struct vpci_device *d)
{
	struct ivshmem *iv = core_to_ivshmem(d);

	while (iv->n_irqs > 0) {
		iv->n_irqs--;
		free_irq(pci_irq_vector(iv->pdev, iv->n_irqs),
			 &d->signals[iv->n_irqs]);
	}
	vpci_dev_end_use(&iv->vdev);
}

static unsigned int ivshmem_run(struct vpci_device *d)
{
	return __atomic_exchange_n(&core_to_vpci_dev(d)->events, 0,
				   __ATOMIC_ACQ_REL);
}

static int ivshmem_fd(const struct vpci_device *d)
{
	return -1;
}

static void ivshmem_destroy(struct vpci_device *d)
{
	put_device(&core_to_vpci_dev(d)->dev);
}

static int ivshmem_inject(struct vpci_signal *signal)
{
	struct vpci_device *d = signal->device;
	u32 peer = vpci_device_peer(d);

	writel(peer << 16 | signal->number,
	       core_to_ivshmem(d)->regs + IVSHMEM_DOORBELL);
	return 0;
}

static void ivshmem_set_peer(struct vpci_device *d, uint32_t peer)
{
	__atomic_store_n(&d->peer, peer <= U16_MAX ? peer : 0,
			 __ATOMIC_RELEASE);
	vpci_dev_post(core_to_vpci_dev(d), peer ? VPCI_DEVICE_PEER_CAME
		      : VPCI_DEVICE_PEER_LEFT);
}

static void ivshmem_mask(struct vpci_signal *signal, bool masked)
{
	struct ivshmem *iv = core_to_ivshmem(signal->device);
	int irq = pci_irq_vector(iv->pdev, signal->number);

	if (masked == !!(iv->masked & BIT(signal->number)))
		return;
	iv->masked ^= BIT(signal->number);
	if (masked)
		disable_irq_nosync(irq);
	else
		enable_irq(irq);
}

static const struct device_ops ivshmem_ops = {
	.open = ivshmem_open,
	.close = ivshmem_close,
	.run = ivshmem_run,
	.fd = ivshmem_fd,
	.destroy = ivshmem_destroy,
	.inject = ivshmem_inject,
	.set_peer = ivshmem_set_peer,
};

/* The PCI function. */

static void ivshmem_free(struct ivshmem *iv)
{
	kfree(iv->irq_names);
	kfree(iv);
}

static void ivshmem_release(struct vpci_dev *vdev)
{
	ivshmem_free(container_of(vdev, struct ivshmem, vdev));
}

static void ivshmem_put(struct ivshmem *iv)
{
	if (iv->is_device)
		vpci_device_release(&iv->vdev.core);
	else
		ivshmem_free(iv);
}

/* Says, once, why the memory cannot be used. */
static void ivshmem_say(struct ivshmem *iv,
			const struct vpci_layout_report *why)
{
	char text[200];

	if (why->fault == iv->said.fault && why->seen == iv->said.seen)
		return;
	iv->said = *why;
	if (why->fault == VPCI_LAYOUT_NOT_READY)
		dev_info(&iv->pdev->dev,
			 "the switch has not been at this port yet\n");
	else
		dev_err(&iv->pdev->dev,
			"its memory is not as it should be: %s\n",
			vpci_layout_format(why, text, sizeof(text)));
}

/* Returns 0 if the memory is of vpci, with its kind in '*kind'; -EAGAIN if it
 * may become so; -ENODEV if it is somebody else's.
 */
static int ivshmem_identify(struct ivshmem *iv, enum vpci_abi_kind *kind)
{
	const struct vpci_abi_header *header = iv->memory;
	struct vpci_layout_report why;
	struct vpci_layout layout;
	u64 magic;

	if (iv->id & (VPCI_ABI_PEER_ID | VPCI_ABI_LINK_ID)) {
		/* What is in there matters once the switch says so. */
		*kind = iv->id & VPCI_ABI_PEER_ID ? VPCI_ABI_PEER :
						    VPCI_ABI_LINK;
		return 0;
	}
	magic = vpci_load64_acquire(&header->magic);
	if (magic && magic != VPCI_ABI_MAGIC)
		return -ENODEV;
	if (!vpci_layout_read(&layout, iv->memory, iv->size, &why)) {
		ivshmem_say(iv, &why);
		return -EAGAIN;
	}
	*kind = vpci_layout_is_base(layout.shape.kind) ? VPCI_ABI_BASE :
							 VPCI_ABI_LINK;
	return 0;
}

static int ivshmem_add(struct ivshmem *iv, enum vpci_abi_kind kind)
{
	int error;

	vpci_dev_init(&iv->vdev, &iv->pdev->dev, kind, &ivshmem_ops, iv->id,
		      ivshmem_release);
	iv->vdev.mask = ivshmem_mask;
	iv->is_device = true;
	error = vpci_dev_add(&iv->vdev);
	if (error)
		dev_err(&iv->pdev->dev, "cannot be added to the bus: %d\n",
			error);
	return error;
}

static void ivshmem_look(struct work_struct *work)
{
	struct ivshmem *iv = container_of(work, struct ivshmem, look.work);
	enum vpci_abi_kind kind;

	if (!ivshmem_identify(iv, &kind))
		ivshmem_add(iv, kind);
	else
		queue_delayed_work(system_freezable_wq, &iv->look,
				   LOOK_INTERVAL);
}

static int ivshmem_map(struct ivshmem *iv)
{
	struct pci_dev *pdev = iv->pdev;

	if (!pci_resource_len(pdev, IVSHMEM_MEMORY)) {
		dev_err(&pdev->dev,
			"BAR 2, its memory, is missing: the port that it is plugged into has no room for it; give its root port pref64-reserve=SIZE, at least twice the size of the region\n");
		return -ENOSPC;
	}
	iv->size = pci_resource_len(pdev, IVSHMEM_MEMORY);
	iv->regs = pci_iomap(pdev, IVSHMEM_REGS, 0);
	/* It is the host's memory, and ordinary: uncached it would be slower
	 * by a factor of 100.
	 */
	iv->memory = memremap(pci_resource_start(pdev, IVSHMEM_MEMORY),
			      iv->size, MEMREMAP_WB);
	if (!iv->regs || !iv->memory)
		return -ENOMEM;
	iv->id = readl(iv->regs + IVSHMEM_IV_POSITION);
	if (!iv->id || iv->id > U16_MAX) {
		dev_err(&pdev->dev,
			"its ivshmem id is %d, but 1 to 65535 are possible: does vpcid serve it?\n",
			(int)iv->id);
		return -EPROTO;
	}
	return 0;
}

static void ivshmem_unmap(struct ivshmem *iv)
{
	if (iv->memory)
		memunmap(iv->memory);
	if (iv->regs)
		pci_iounmap(iv->pdev, iv->regs);
}

static int ivshmem_set_up(struct ivshmem *iv)
{
	struct pci_dev *pdev = iv->pdev;
	int n;

	n = pci_alloc_irq_vectors(pdev, 1, VPCI_ABI_MAX_VECTORS, PCI_IRQ_MSIX);
	if (n < 0) {
		dev_dbg(&pdev->dev, "no MSI-X: this is not of vpci\n");
		return -ENODEV;
	}
	iv->n_vectors = n;
	iv->irq_names = kcalloc(n, sizeof(*iv->irq_names), GFP_KERNEL);
	if (!iv->irq_names)
		return -ENOMEM;
	return ivshmem_map(iv);
}

static int ivshmem_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	enum vpci_abi_kind kind;
	struct ivshmem *iv;
	int error;

	iv = kzalloc(sizeof(*iv), GFP_KERNEL);
	if (!iv)
		return -ENOMEM;
	iv->pdev = pdev;
	INIT_DELAYED_WORK(&iv->look, ivshmem_look);
	error = pci_enable_device(pdev);
	if (error)
		goto fail_free;
	error = pci_request_regions(pdev, "vpci");
	if (error)
		goto fail_disable;
	pci_set_master(pdev);
	error = ivshmem_set_up(iv);
	if (!error)
		error = ivshmem_identify(iv, &kind);
	if (error == -EAGAIN) {
		queue_delayed_work(system_freezable_wq, &iv->look,
				   LOOK_INTERVAL);
		error = 0;
	} else if (!error) {
		error = ivshmem_add(iv, kind);
	}
	if (error)
		goto fail_unmap;
	pci_set_drvdata(pdev, iv);
	return 0;

fail_unmap:
	ivshmem_unmap(iv);
	pci_free_irq_vectors(pdev);
	pci_release_regions(pdev);
fail_disable:
	pci_disable_device(pdev);
fail_free:
	ivshmem_put(iv);
	return error;
}

static void ivshmem_remove(struct pci_dev *pdev)
{
	struct ivshmem *iv = pci_get_drvdata(pdev);

	cancel_delayed_work_sync(&iv->look);
	/* Its driver closes it. */
	if (device_is_registered(&iv->vdev.dev))
		vpci_dev_remove(&iv->vdev);
	ivshmem_unmap(iv);
	pci_free_irq_vectors(pdev);
	pci_release_regions(pdev);
	pci_disable_device(pdev);
	ivshmem_put(iv);
}

static const struct pci_device_id ivshmem_ids[] = {
	{ PCI_DEVICE(PCI_VENDOR_ID_REDHAT_QUMRANET, PCI_DEVICE_ID_IVSHMEM) },
	{ 0 }
};
MODULE_DEVICE_TABLE(pci, ivshmem_ids);

static struct pci_driver ivshmem_driver = {
	.name = "vpci",
	.id_table = ivshmem_ids,
	.probe = ivshmem_probe,
	.remove = ivshmem_remove,
};

int ivshmem_register(void)
{
	return pci_register_driver(&ivshmem_driver);
}

void ivshmem_unregister(void)
{
	pci_unregister_driver(&ivshmem_driver);
}
