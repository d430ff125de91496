/* SPDX-License-Identifier: Apache-2.0 */

/* Registers and memory of an ivshmem function, and how sysfs gives them: see
 * pci-access.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "pci-access.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int
pci_access_fail(struct pci_access *a, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(a->reason, sizeof a->reason, format, args);
    va_end(args);
    return error;
}

void
pci_access_init(struct pci_access *a, const struct pci_function *f)
{
    memset(a, 0, sizeof *a);
    a->function = *f;
    a->registers_fd = a->memory_fd = -1;
    a->container_fd = a->group_fd = a->device_fd = a->unplug_fd = -1;
}

static void
close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void
pci_access_close(struct pci_access *a)
{
    if (a->registers_map) {
        munmap(a->registers_map, a->registers_map_size);
    }
    if (a->memory) {
        munmap(a->memory, a->memory_map_size);
    }
    a->registers = NULL;
    a->registers_map = a->memory = NULL;
    close_fd(&a->registers_fd);
    close_fd(&a->memory_fd);
    close_fd(&a->unplug_fd);
    close_fd(&a->device_fd);
    close_fd(&a->group_fd);
    close_fd(&a->container_fd);
}

/* Looks whether the function has what ivshmem has. */
static int
check_bars(struct pci_access *a, enum pci_access_how how)
{
    const struct pci_function *f = &a->function;
    uint64_t size = f->bars[PCI_IVSHMEM_MEMORY].size;
    uint64_t max = (how == PCI_ACCESS_PEER ? DEVICE_MAX_PEER
                    : VPCI_ABI_MAX_REGION);

    if (f->bars[PCI_IVSHMEM_REGISTERS].size < PCI_IVSHMEM_REGISTERS_SIZE) {
        return pci_access_fail(a, ENODEV, "PCI function %s has %llu bytes of "
                               "registers at BAR 0, but at least %d are "
                               "wanted", f->address, (unsigned long long)
                               f->bars[PCI_IVSHMEM_REGISTERS].size,
                               PCI_IVSHMEM_REGISTERS_SIZE);
    }
    if (how == PCI_ACCESS_REGISTERS) {
        return 0;
    }
    if (!size) {
        return pci_access_fail(a, ENODEV, "PCI function %s has no memory at "
                               "BAR 2: if it is behind a pcie-root-port of "
                               "QEMU, that needs pref64-reserve= of at least "
                               "twice the memory", f->address);
    }
    if (size < VPCI_ABI_PAGE || size > max) {
        return pci_access_fail(a, EPROTO, "PCI function %s has %llu bytes of "
                               "memory, but %d to %llu are possible: it is "
                               "not of a port, nor of a link", f->address,
                               (unsigned long long) size, VPCI_ABI_PAGE,
                               (unsigned long long) max);
    }
    return 0;
}

int
pci_access_open(struct pci_access *a, const struct pci_function *f,
                enum pci_access_how how)
{
    int error;

    pci_access_init(a, f);
    error = check_bars(a, how);
    if (!error) {
        a->memory_size = f->bars[PCI_IVSHMEM_MEMORY].size;
        error = (pci_function_is_vfio(f) ? pci_vfio_open(a, how)
                 : pci_sysfs_open(a, how));
    }
    if (error) {
        pci_access_close(a);
    }
    return error;
}

uint32_t
pci_access_read(const struct pci_access *a, unsigned int offset)
{
    vpci_le32 value;

    if (a->registers) {
        const volatile void *p = a->registers + offset;

        value = *(const volatile vpci_le32 *) p;
    } else if (pread(a->registers_fd, &value, sizeof value,
                     a->registers_offset + offset) != sizeof value) {
        return UINT32_MAX;      /* As from a function that is not there. */
    }
    return VPCI_LE32(value);
}

void
pci_access_write(const struct pci_access *a, unsigned int offset,
                 uint32_t value)
{
    vpci_le32 le = VPCI_LE32(value);

    if (a->registers) {
        volatile void *p = a->registers + offset;

        *(volatile vpci_le32 *) p = le;
    } else if (pwrite(a->registers_fd, &le, sizeof le,
                      a->registers_offset + offset) != sizeof le) {
        /* It has been unplugged: nobody hears it. */
        return;
    }
}

int
pci_access_read_id(struct pci_access *a, uint32_t *id)
{
    *id = pci_access_read(a, PCI_IVSHMEM_IVPOSITION);
    if (!*id || *id > PCI_IVSHMEM_MAX_ID) {
        return pci_access_fail(a, EPROTO, "PCI function %s says that our "
                               "ivshmem id is %u, but 1 to %d is possible: is "
                               "vpcid the server of its chardev?",
                               a->function.address, *id, PCI_IVSHMEM_MAX_ID);
    }
    return 0;
}

/* sysfs. */

/* Says why 'what' of the function could not be had. */
static int
fail_to(struct pci_access *a, int error, const char *what)
{
    return pci_access_fail(a, error, "PCI function %s: cannot %s: %s%s",
                           a->function.address, what, strerror(error),
                           error == EACCES || error == EPERM
                           ? ": this needs root, or its driver vfio-pci" : "");
}

/* Makes the function answer at the addresses of its BARs.  It stays so: others
 * may have relied upon it, too. */
static int
enable(struct pci_access *a)
{
    char path[PATH_MAX];
    int error = 0;
    int fd;

    if (a->function.enabled) {
        return 0;
    }
    pci_path(a->function.address, "enable", path, sizeof path);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1", 1) != 1) {
        error = errno;
    }
    close_fd(&fd);
    return error ? fail_to(a, error, "enable it") : 0;
}

/* Opens the file of BAR 'bar', of which 'wanted' bytes are wanted. */
static int
open_bar(struct pci_access *a, int bar, uint64_t wanted, int *fd)
{
    char path[PATH_MAX], file[16], what[32];
    struct stat st;

    snprintf(file, sizeof file, "resource%d", bar);
    snprintf(what, sizeof what, "open its file '%s'", file);
    pci_path(a->function.address, file, path, sizeof path);
    *fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0 || fstat(*fd, &st)) {
        return fail_to(a, errno, what);
    }
    if (st.st_size < 0 || (uint64_t) st.st_size < wanted) {
        return pci_access_fail(a, EPROTO, "PCI function %s: its file '%s' in "
                               "sysfs has %lld bytes, but its file 'resource' "
                               "says %llu", a->function.address, file,
                               (long long) st.st_size,
                               (unsigned long long) wanted);
    }
    return 0;
}

/* The kernel maps whole pages, also of a BAR that begins within one. */
static int
map_registers(struct pci_access *a)
{
    const struct pci_bar *bar = &a->function.bars[PCI_IVSHMEM_REGISTERS];
    size_t page = sysconf(_SC_PAGESIZE);
    size_t skip = bar->start & (page - 1);
    int error = open_bar(a, PCI_IVSHMEM_REGISTERS, bar->size,
                         &a->registers_fd);
    void *p;

    if (error) {
        return error;
    }
    if (skip % PCI_IVSHMEM_REGISTERS_SIZE) {
        return pci_access_fail(a, EPROTO, "PCI function %s has its registers "
                               "at %#llx, but BARs begin at multiples of "
                               "their size", a->function.address,
                               (unsigned long long) bar->start);
    }
    p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, a->registers_fd,
             0);
    if (p == MAP_FAILED) {
        return fail_to(a, errno, "map its registers");
    }
    a->registers_map = p;
    a->registers_map_size = page;
    a->registers = (volatile uint8_t *) p + skip;
    return 0;
}

static int
map_memory(struct pci_access *a, enum pci_access_how how)
{
    int error = open_bar(a, PCI_IVSHMEM_MEMORY, a->memory_size,
                         &a->memory_fd);
    void *p;

    if (error) {
        return error;
    }
    if (how != PCI_ACCESS_PAGE && flock(a->memory_fd, LOCK_EX | LOCK_NB)) {
        return (errno == EWOULDBLOCK
                ? pci_access_fail(a, EBUSY, "another process has PCI function "
                                  "%s", a->function.address)
                : fail_to(a, errno, "lock its memory"));
    }
    a->memory_map_size = (how == PCI_ACCESS_PAGE ? VPCI_ABI_PAGE
                          : a->memory_size);
    p = mmap(NULL, a->memory_map_size, PROT_READ | PROT_WRITE, MAP_SHARED,
             a->memory_fd, 0);
    if (p == MAP_FAILED) {
        return fail_to(a, errno, "map its memory");
    }
    a->memory = p;
    return 0;
}

int
pci_sysfs_open(struct pci_access *a, enum pci_access_how how)
{
    int error = enable(a);

    error = error ? error : map_registers(a);
    return (error || how == PCI_ACCESS_REGISTERS ? error
            : map_memory(a, how));
}
