/* SPDX-License-Identifier: Apache-2.0 */

/* Registers, memory and interrupts of an ivshmem function, as VFIO gives them
 * to programs: Documentation/driver-api/vfio.rst of Linux. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "pci-access.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int
fail_to(struct pci_access *a, int error, const char *what, const char *path)
{
    return pci_access_fail(a, error, "PCI function %s, by vfio-pci: cannot %s"
                           "%s%s: %s", a->function.address, what,
                           *path ? " " : "", path, strerror(error));
}

/* Finds the number of the function's group. */
static int
find_group(struct pci_access *a, char *group, size_t size)
{
    char path[PATH_MAX], target[PATH_MAX];
    const char *slash;
    ssize_t n;

    pci_path(a->function.address, "iommu_group", path, sizeof path);
    n = readlink(path, target, sizeof target - 1);
    if (n < 0) {
        return pci_access_fail(a, errno, "PCI function %s belongs to "
                               "vfio-pci, but is in no IOMMU group: the "
                               "machine needs an IOMMU, or vfio its parameter "
                               "enable_unsafe_noiommu_mode",
                               a->function.address);
    }
    target[n] = '\0';
    slash = strrchr(target, '/');
    snprintf(group, size, "%.*s", (int) size - 1, slash ? slash + 1 : target);
    return 0;
}

/* Opens the group.  Without an IOMMU its name is another: what makes that mode
 * unsafe is DMA, which ivshmem does not do. */
static int
open_group(struct pci_access *a, bool *has_iommu)
{
    struct vfio_group_status status = { .argsz = sizeof status };
    char group[32], path[64];
    int error = find_group(a, group, sizeof group);

    if (error) {
        return error;
    }
    snprintf(path, sizeof path, "/dev/vfio/%s", group);
    *has_iommu = true;
    a->group_fd = open(path, O_RDWR | O_CLOEXEC);
    if (a->group_fd < 0 && errno == ENOENT) {
        *has_iommu = false;
        snprintf(path, sizeof path, "/dev/vfio/noiommu-%s", group);
        a->group_fd = open(path, O_RDWR | O_CLOEXEC);
    }
    if (a->group_fd < 0 && errno == EBUSY) {
        return pci_access_fail(a, EBUSY, "PCI function %s: another process "
                               "has it, or one of the same IOMMU group, %s",
                               a->function.address, group);
    } else if (a->group_fd < 0) {
        return fail_to(a, errno, "open", path);
    }
    if (ioctl(a->group_fd, VFIO_GROUP_GET_STATUS, &status)) {
        return fail_to(a, errno, "look at", path);
    }
    if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
        return pci_access_fail(a, EBUSY, "PCI function %s: others of its "
                               "IOMMU group, %s, belong to drivers of the "
                               "kernel: all must belong to vfio-pci",
                               a->function.address, group);
    }
    return 0;
}

static int
open_container(struct pci_access *a, bool has_iommu)
{
    static const char path[] = "/dev/vfio/vfio";
    int kind = VFIO_NOIOMMU_IOMMU;

    a->container_fd = open(path, O_RDWR | O_CLOEXEC);
    if (a->container_fd < 0) {
        return fail_to(a, errno, "open", path);
    }
    if (ioctl(a->container_fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION) {
        return fail_to(a, EPROTO, "use", path);
    }
    if (ioctl(a->group_fd, VFIO_GROUP_SET_CONTAINER, &a->container_fd)) {
        return fail_to(a, errno, "use its IOMMU group", "");
    }
    if (has_iommu) {
        kind = (ioctl(a->container_fd, VFIO_CHECK_EXTENSION,
                      VFIO_TYPE1v2_IOMMU) > 0
                ? VFIO_TYPE1v2_IOMMU : VFIO_TYPE1_IOMMU);
    }
    if (ioctl(a->container_fd, VFIO_SET_IOMMU, kind)) {
        return fail_to(a, errno, "use the IOMMU, which needs "
                       "vfio_iommu_type1 and remapping of interrupts", "");
    }
    return 0;
}

static int
get_region(struct pci_access *a, uint32_t index,
           struct vfio_region_info *info)
{
    *info = (struct vfio_region_info) {
        .argsz = sizeof *info,
        .index = index,
    };
    return (ioctl(a->device_fd, VFIO_DEVICE_GET_REGION_INFO, info)
            ? fail_to(a, errno, "find its registers and memory", "") : 0);
}

/* Lets the function answer, and inject interrupts, which are writes of its
 * own. */
static int
enable(struct pci_access *a)
{
    struct vfio_region_info config;
    uint8_t command[2];
    int error = get_region(a, VFIO_PCI_CONFIG_REGION_INDEX, &config);

    if (error) {
        return error;
    }
    if (pread(a->device_fd, command, sizeof command,
              config.offset + PCI_COMMAND) != sizeof command) {
        return fail_to(a, EIO, "read its configuration space", "");
    }
    command[0] |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
    if (pwrite(a->device_fd, command, sizeof command,
               config.offset + PCI_COMMAND) != sizeof command) {
        return fail_to(a, EIO, "enable it", "");
    }
    return 0;
}

/* Maps the registers if their page has nothing else. */
static int
find_registers(struct pci_access *a)
{
    size_t page = sysconf(_SC_PAGESIZE);
    struct vfio_region_info info;
    int error = get_region(a, VFIO_PCI_BAR0_REGION_INDEX, &info);
    void *p = MAP_FAILED;

    if (error) {
        return error;
    }
    if (info.size < PCI_IVSHMEM_REGISTERS_SIZE) {
        return fail_to(a, EPROTO, "find its registers", "");
    }
    if (info.flags & VFIO_REGION_INFO_FLAG_MMAP) {
        p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, a->device_fd,
                 info.offset);
    }
    if (p != MAP_FAILED) {
        a->registers_map = p;
        a->registers_map_size = page;
        a->registers = p;
        return 0;
    }
    a->registers_offset = info.offset;
    a->registers_fd = fcntl(a->device_fd, F_DUPFD_CLOEXEC, 0);
    return a->registers_fd < 0 ? fail_to(a, errno, "use its registers", "")
                               : 0;
}

static int
map_memory(struct pci_access *a, enum pci_access_how how)
{
    struct vfio_region_info info;
    int error = get_region(a, VFIO_PCI_BAR2_REGION_INDEX, &info);
    void *p;

    if (error) {
        return error;
    }
    if (info.size != a->memory_size
        || !(info.flags & VFIO_REGION_INFO_FLAG_MMAP)) {
        return fail_to(a, EPROTO, "map its memory", "");
    }
    a->memory_map_size = (how == PCI_ACCESS_PAGE ? VPCI_ABI_PAGE
                          : a->memory_size);
    p = mmap(NULL, a->memory_map_size, PROT_READ | PROT_WRITE, MAP_SHARED,
             a->device_fd, info.offset);
    if (p == MAP_FAILED) {
        return fail_to(a, errno, "map its memory", "");
    }
    a->memory = p;
    return 0;
}

/* Lets 'index' of the function's interrupts be injected by 'fds'. */
static int
set_irqs(struct pci_access *a, uint32_t index, const int fds[], unsigned int n)
{
    struct vfio_irq_set *set = calloc(1, sizeof *set + n * sizeof *fds);
    int error = 0;

    if (!set) {
        return ENOMEM;
    }
    set->argsz = sizeof *set + n * sizeof *fds;
    set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    set->index = index;
    set->count = n;
    memcpy(set->data, fds, n * sizeof *fds);
    if (ioctl(a->device_fd, VFIO_DEVICE_SET_IRQS, set)) {
        error = errno;
    }
    free(set);
    return error;
}

int
pci_vfio_set_vectors(struct pci_access *a, const int fds[], unsigned int n)
{
    int error = set_irqs(a, VFIO_PCI_MSIX_IRQ_INDEX, fds, n);

    return error ? fail_to(a, error, "have its interrupts", "") : 0;
}

/* Finds out how many interrupts there are. */
static int
find_vectors(struct pci_access *a)
{
    struct vfio_irq_info info = {
        .argsz = sizeof info,
        .index = VFIO_PCI_MSIX_IRQ_INDEX,
    };

    if (ioctl(a->device_fd, VFIO_DEVICE_GET_IRQ_INFO, &info)) {
        return fail_to(a, errno, "find its interrupts", "");
    }
    if (!info.count || !(info.flags & VFIO_IRQ_INFO_EVENTFD)) {
        return fail_to(a, EPROTO, "find its interrupts", "");
    }
    a->n_vectors = info.count;
    return 0;
}

/* The kernel asks for the function, to let it be unplugged, by an eventfd, and
 * waits.  Kernels that do not ask are no worse off. */
static void
watch_unplugging(struct pci_access *a)
{
    a->unplug_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (a->unplug_fd >= 0) {
        set_irqs(a, VFIO_PCI_REQ_IRQ_INDEX, &a->unplug_fd, 1);
    }
}

int
pci_vfio_open(struct pci_access *a, enum pci_access_how how)
{
    bool has_iommu;
    int error = open_group(a, &has_iommu);

    error = error ? error : open_container(a, has_iommu);
    if (error) {
        return error;
    }
    a->device_fd = ioctl(a->group_fd, VFIO_GROUP_GET_DEVICE_FD,
                         a->function.address);
    if (a->device_fd < 0) {
        return fail_to(a, errno, "open it", "");
    }
    error = enable(a);
    error = error ? error : find_registers(a);
    if (error || how == PCI_ACCESS_REGISTERS) {
        return error;
    }
    error = map_memory(a, how);
    if (!error && how != PCI_ACCESS_PAGE) {
        error = find_vectors(a);
        watch_unplugging(a);
    }
    return error;
}
