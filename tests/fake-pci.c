/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "fake-pci.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pci-access.h"
#include "unit-test.h"

#define REGISTERS_AT 0xfebf1100u
#define MEMORY_AT 0x380000000000u
#define MEMORY_FLAGS 0x14220cu

static char root[64];

bool
fake_pci_start(void)
{
    char path[128];

    strcpy(root, "/tmp/vpci-test-pci.XXXXXX");
    CHECK(mkdtemp(root));
    for (const char *dir = "bus\0bus/pci\0bus/pci/devices\0"; *dir;
         dir += strlen(dir) + 1) {
        snprintf(path, sizeof path, "%s/%s", root, dir);
        CHECK(!mkdir(path, 0700));
    }
    pci_set_sysfs(root);
    return true;
}

bool
fake_pci_stop(void)
{
    char command[128];

    pci_set_sysfs(NULL);
    snprintf(command, sizeof command, "rm -r %s", root);
    CHECK(!system(command));
    return true;
}

bool
fake_pci_write(const char *address, const char *file, const void *data,
               size_t size)
{
    char path[256];
    int fd;

    pci_path(address, file, path, sizeof path);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, data, size) == (ssize_t) size);
    CHECK(!close(fd));
    return true;
}

bool
fake_pci_write_text(const char *address, const char *file, const char *text)
{
    return fake_pci_write(address, file, text, strlen(text));
}

bool
fake_pci_read_text(const char *address, const char *file, char *text,
                   size_t size)
{
    char path[256];
    ssize_t n;
    int fd;

    pci_path(address, file, path, sizeof path);
    fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    n = read(fd, text, size - 1);
    CHECK(n >= 0);
    text[n] = '\0';
    close(fd);
    return true;
}

/* Configuration space with MSI-X behind another capability. */
bool
fake_pci_write_config(const char *address, unsigned int vendor,
                      unsigned int device, unsigned int revision,
                      unsigned int n_vectors, size_t size)
{
    uint8_t config[256] = {
        [0] = vendor & 0xff, vendor >> 8, device & 0xff, device >> 8,
        [6] = 0x10,
        [8] = revision,
        [0x34] = 0x60,
        [0x60] = 0x09, n_vectors ? 0x40 : 0,
        [0x40] = 0x11, 0, (n_vectors - 1) & 0xff,
    };

    return fake_pci_write(address, "config", config, size);
}

bool
fake_pci_write_bars(const char *address, unsigned int registers,
                    uint64_t memory)
{
    char text[512];
    uint64_t at = memory ? MEMORY_AT : 0;

    snprintf(text, sizeof text,
             "0x%016x 0x%016x 0x0000000000040200\n"
             "0x00000000febf0000 0x00000000febf0fff 0x0000000000040200\n"
             "0x%016llx 0x%016llx 0x%016x\n"
             "0x0000000000000000 0x0000000000000000 0x0000000000000000\n",
             registers ? REGISTERS_AT : 0,
             registers ? REGISTERS_AT + registers - 1 : 0,
             (unsigned long long) at,
             (unsigned long long) (memory ? at + memory - 1 : 0),
             memory ? MEMORY_FLAGS : 0);
    return fake_pci_write_text(address, "resource", text);
}

bool
fake_pci_set_size(const char *address, const char *file, uint64_t size)
{
    char path[256];

    pci_path(address, file, path, sizeof path);
    CHECK(!truncate(path, size));
    return true;
}

bool
fake_pci_write_id(const char *address, uint32_t id)
{
    uint8_t registers[4096] = { 0 };
    size_t at = (REGISTERS_AT & 4095) + PCI_IVSHMEM_IVPOSITION;

    for (int i = 0; i < 4; i++) {
        registers[at + i] = id >> 8 * i;
    }
    return fake_pci_write(address, "resource0", registers, sizeof registers);
}

/* An ivshmem-doorbell that nobody has, with 'size' bytes of memory, as a
 * machine that has just been booted shows it. */
bool
fake_pci_plug(const char *address, uint32_t id, uint64_t size)
{
    char path[256];

    pci_path(address, "", path, sizeof path);
    CHECK(!mkdir(path, 0700));
    CHECK(fake_pci_write_config(address, PCI_IVSHMEM_VENDOR,
                                PCI_IVSHMEM_DEVICE, 1, 2, 256));
    CHECK(fake_pci_write_bars(address, 256, size));
    CHECK(fake_pci_write_text(address, "enable", "0\n"));
    CHECK(fake_pci_write_id(address, id));
    CHECK(fake_pci_write_text(address, "resource2", ""));
    CHECK(fake_pci_set_size(address, "resource2", size));
    return true;
}

/* The function goes; the inode of its directory is not used again soon. */
bool
fake_pci_unplug(const char *address)
{
    static int n;
    char path[256], away[256];

    pci_path(address, "", path, sizeof path);
    snprintf(away, sizeof away, "%s/unplugged%d", root, n++);
    CHECK(!rename(path, away));
    return true;
}

bool
fake_pci_give_driver(const char *address, const char *driver)
{
    char path[256], target[128];

    pci_path(address, "driver", path, sizeof path);
    unlink(path);
    snprintf(target, sizeof target, "../../../../bus/pci/drivers/%s", driver);
    CHECK(!*driver || !symlink(target, path));
    return true;
}

/* Maps the memory of a function, as who is behind it has it. */
void *
fake_pci_map_memory(const char *address, uint64_t size)
{
    char path[256];
    void *p;
    int fd;

    pci_path(address, "resource2", path, sizeof path);
    fd = open(path, O_RDWR);
    p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED) {
        abort();
    }
    return p;
}

/* What was written to the doorbell last. */
uint32_t
fake_pci_doorbell(const char *address)
{
    uint8_t *p;
    uint32_t value;
    char path[256];
    int fd;

    pci_path(address, "resource0", path, sizeof path);
    fd = open(path, O_RDONLY);
    p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED) {
        abort();
    }
    memcpy(&value, p + (REGISTERS_AT & 4095) + PCI_IVSHMEM_DOORBELL,
           sizeof value);
    munmap(p, 4096);
    return value;
}
