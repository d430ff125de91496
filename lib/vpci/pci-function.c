/* SPDX-License-Identifier: Apache-2.0 */

/* PCI functions: see pci-function.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "pci-function.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Flag of a BAR in <linux/ioport.h> of the kernel: nobody has given it an
 * address. */
#define RESOURCE_UNSET 0x20000000

/* The configuration space that capabilities are in. */
#define CONFIG_BYTES 256

static const char *sysfs = "/sys";

void
pci_set_sysfs(const char *root)
{
    sysfs = root ? root : "/sys";
}

void
pci_functions_path(char *path, size_t size)
{
    snprintf(path, size, "%s/bus/pci/devices", sysfs);
}

void
pci_path(const char *address, const char *file, char *path, size_t size)
{
    snprintf(path, size, "%s/bus/pci/devices/%s%s%s", sysfs, address,
             *file ? "/" : "", file);
}

/* Reads a hexadecimal number of 'min' to 'max' digits, behind which is 'end'.
 * Returns what is behind that, or null. */
static const char *
parse_hex(const char *s, size_t min, size_t max, char end, unsigned int *value)
{
    size_t n = strspn(s, "0123456789abcdefABCDEF");

    if (n < min || n > max || s[n] != end) {
        return NULL;
    }
    *value = strtoul(s, NULL, 16);
    return s + n + (end != '\0');
}

bool
pci_address_parse(const char *text, char address[PCI_ADDRESS_SIZE])
{
    const char *colon = strchr(text, ':');
    unsigned int domain = 0, bus, device, function;

    if (colon && strchr(colon + 1, ':')) {
        text = parse_hex(text, 1, 8, ':', &domain);
    }
    text = text ? parse_hex(text, 1, 2, ':', &bus) : NULL;
    text = text ? parse_hex(text, 1, 2, '.', &device) : NULL;
    text = text ? parse_hex(text, 1, 1, '\0', &function) : NULL;
    if (!text || device > 31 || function > 7) {
        return false;
    }
    snprintf(address, PCI_ADDRESS_SIZE, "%04x:%02x:%02x.%x", domain,
             bus & 0xff, device & 0x1f, function & 7);
    return true;
}

int
pci_function_inode(const char *address, ino_t *inode)
{
    char path[PATH_MAX];
    struct stat st;

    pci_path(address, "", path, sizeof path);
    if (stat(path, &st)) {
        return errno == ENOTDIR ? ENOENT : errno;
    }
    *inode = st.st_ino;
    return 0;
}

/* Reads up to 'size' bytes of 'file'.  Returns how many there are, or a
 * negative errno with the reason said. */
static ssize_t
read_file(const char *address, const char *file, void *data, size_t size,
          char *reason, size_t reason_size)
{
    char path[PATH_MAX];
    ssize_t n = 0, part = 1;
    int error = 0;
    int fd;

    pci_path(address, file, path, sizeof path);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        error = errno;
    }
    while (fd >= 0 && part > 0 && (size_t) n < size) {
        part = read(fd, (char *) data + n, size - n);
        error = part < 0 ? errno : 0;
        n += part > 0 ? part : 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (error) {
        snprintf(reason, reason_size, "%s cannot be read: %s", path,
                 strerror(error));
        return -error;
    }
    return n;
}

/* Reads 'file' as text.  As read_file(). */
static int
read_text(const char *address, const char *file, char *text, size_t size,
          char *reason, size_t reason_size)
{
    ssize_t n = read_file(address, file, text, size - 1, reason, reason_size);

    text[n < 0 ? 0 : n] = '\0';
    return n < 0 ? (int) -n : 0;
}

static unsigned int
le16(const uint8_t *p)
{
    return p[0] | p[1] << 8;
}

/* Finds out how many vectors MSI-X has, by the 'n' bytes of configuration
 * space that may be read.  Capabilities that point in a circle end some
 * time. */
static void
find_vectors(struct pci_function *f, const uint8_t *config, size_t n)
{
    unsigned int at = config[PCI_CAPABILITY_LIST] & ~3u;

    f->n_vectors = 0;
    f->hides_vectors = false;
    if (!(le16(config + PCI_STATUS) & PCI_STATUS_CAP_LIST)) {
        return;
    }
    for (unsigned int i = 0; at && i < CONFIG_BYTES / 4; i++) {
        if (at + 4 > n) {
            f->hides_vectors = n < CONFIG_BYTES;
            return;
        }
        if (config[at + PCI_CAP_LIST_ID] == PCI_CAP_ID_MSIX) {
            f->n_vectors = (le16(config + at + PCI_MSIX_FLAGS)
                            & PCI_MSIX_FLAGS_QSIZE) + 1;
            return;
        }
        at = config[at + PCI_CAP_LIST_NEXT] & ~3u;
    }
}

static int
look_at_config(struct pci_function *f, char *reason, size_t size)
{
    uint8_t config[CONFIG_BYTES] = { 0 };
    ssize_t n = read_file(f->address, "config", config, sizeof config, reason,
                          size);

    if (n < 0) {
        return -n;
    }
    if (n < PCI_STD_HEADER_SIZEOF) {
        snprintf(reason, size, "its configuration space has %d bytes that can "
                 "be read, but at least %d are wanted", (int) n,
                 PCI_STD_HEADER_SIZEOF);
        return EPROTO;
    }
    f->vendor = le16(config + PCI_VENDOR_ID);
    f->device = le16(config + PCI_DEVICE_ID);
    f->revision = config[PCI_REVISION_ID];
    find_vectors(f, config, n);
    return 0;
}

/* Reads a line of 'resource': first and last byte, and flags. */
static bool
parse_bar(const char **textp, struct pci_bar *bar)
{
    uint64_t first, last, flags;
    const char *text = *textp;
    int n = 0;

    if (sscanf(text, " %"SCNx64" %"SCNx64" %"SCNx64"%n", &first, &last, &flags,
               &n) != 3 || !n || last < first) {
        return false;
    }
    *bar = (struct pci_bar) { 0 };
    if (first && last && !(flags & RESOURCE_UNSET)
        && last - first < UINT64_MAX) {
        bar->start = first;
        bar->size = last - first + 1;
    }
    *textp = text + n;
    return true;
}

static int
look_at_bars(struct pci_function *f, char *reason, size_t size)
{
    char text[2048];
    const char *p = text;
    int error = read_text(f->address, "resource", text, sizeof text, reason,
                          size);

    for (int i = 0; i < PCI_N_BARS && !error; i++) {
        if (!parse_bar(&p, &f->bars[i])) {
            snprintf(reason, size, "line %d of its file 'resource' in sysfs "
                     "is not three numbers: two addresses, in order, and "
                     "flags", i + 1);
            error = EPROTO;
        }
    }
    return error;
}

static int
look_at_state(struct pci_function *f, char *reason, size_t size)
{
    char path[PATH_MAX], target[PATH_MAX], text[32];
    int error = read_text(f->address, "enable", text, sizeof text, reason,
                          size);
    const char *slash;
    ssize_t n;

    if (error) {
        return error;
    }
    if (text[0] < '0' || text[0] > '9') {
        snprintf(reason, size, "its file 'enable' in sysfs has no number");
        return EPROTO;
    }
    f->enabled = atoi(text) > 0;

    pci_path(f->address, "driver", path, sizeof path);
    n = readlink(path, target, sizeof target - 1);
    if (n < 0 && errno != ENOENT) {
        error = errno;
        snprintf(reason, size, "%.150s cannot be read: %s", path,
                 strerror(error));
        return error;
    }
    target[n < 0 ? 0 : n] = '\0';
    slash = strrchr(target, '/');
    snprintf(f->driver, sizeof f->driver, "%.*s",
             (int) sizeof f->driver - 1, slash ? slash + 1 : target);
    return 0;
}

int
pci_function_look(const char *address, struct pci_function *f, char *reason,
                  size_t size)
{
    int error;

    memset(f, 0, sizeof *f);
    snprintf(f->address, sizeof f->address, "%s", address);
    error = pci_function_inode(address, &f->inode);
    if (error) {
        snprintf(reason, size, "PCI function %s: %s%s", address,
                 strerror(error), error == ENOENT
                 ? ": see lspci -D -d 1af4:1110 for those there are" : "");
        return error;
    }
    error = look_at_config(f, reason, size);
    error = error ? error : look_at_bars(f, reason, size);
    return error ? error : look_at_state(f, reason, size);
}

bool
pci_function_is_ivshmem(const struct pci_function *f, char *reason,
                        size_t size)
{
    if (f->vendor != PCI_IVSHMEM_VENDOR || f->device != PCI_IVSHMEM_DEVICE) {
        snprintf(reason, size, "PCI function %s is %04x:%04x, but QEMU's "
                 "ivshmem-doorbell, %04x:%04x, is wanted", f->address,
                 f->vendor, f->device, PCI_IVSHMEM_VENDOR, PCI_IVSHMEM_DEVICE);
    } else if (f->revision < PCI_IVSHMEM_REVISION) {
        snprintf(reason, size, "PCI function %s is ivshmem of revision %u, "
                 "but %u or later is wanted: use QEMU's ivshmem-doorbell",
                 f->address, f->revision, PCI_IVSHMEM_REVISION);
    } else if (f->hides_vectors && !pci_function_is_vfio(f)) {
        snprintf(reason, size, "PCI function %s: whether it has MSI-X can be "
                 "read with CAP_SYS_ADMIN only", f->address);
    } else if (!f->n_vectors && !f->hides_vectors) {
        snprintf(reason, size, "PCI function %s is ivshmem without MSI-X, "
                 "such as ivshmem-plain, but QEMU's ivshmem-doorbell, with "
                 "vectors, is wanted", f->address);
    } else {
        return true;
    }
    return false;
}

bool
pci_function_is_vfio(const struct pci_function *f)
{
    return !strcmp(f->driver, "vfio-pci");
}

bool
pci_function_is_free(const struct pci_function *f)
{
    return (!f->driver[0] || pci_function_is_vfio(f)
            || !strcmp(f->driver, "uio_pci_generic"));
}
