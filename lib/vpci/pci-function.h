/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_PCI_FUNCTION_H
#define VPCI_PCI_FUNCTION_H 1

#include <stddef.h>
#include <sys/types.h>

#include "vpci/types.h"

/* PCI functions, as Linux's sysfs shows them
 * ==========================================
 *
 * Nothing here changes anything.
 *
 * Threads: any, but pci_set_sysfs(). */

/* "DDDD:BB:DD.F", in lower case; domains may have up to 8 digits. */
#define PCI_ADDRESS_SIZE 20

/* QEMU's ivshmem-doorbell, since its version 2.6: docs/specs/ivshmem-spec.txt
 * there. */
#define PCI_IVSHMEM_VENDOR 0x1af4
#define PCI_IVSHMEM_DEVICE 0x1110
#define PCI_IVSHMEM_REVISION 1

/* Its BARs. */
#define PCI_IVSHMEM_REGISTERS 0
#define PCI_IVSHMEM_MEMORY 2
#define PCI_N_BARS 3            /* Those that are looked at. */

struct pci_bar {
    uint64_t start;             /* Physical address. */
    uint64_t size;              /* In bytes; 0: the function has none. */
};

struct pci_function {
    char address[PCI_ADDRESS_SIZE];
    ino_t inode;                /* Of its directory: when one goes and another
                                 * comes in its place, that has another. */
    uint16_t vendor;
    uint16_t device;
    uint8_t revision;
    uint16_t n_vectors;         /* Of MSI-X; 0: it has no MSI-X. */
    bool hides_vectors;         /* We may not read whether it has. */
    struct pci_bar bars[PCI_N_BARS];
    bool enabled;               /* Answers at its BARs' addresses. */
    char driver[32];            /* That has it, in the kernel; empty: none. */
};

/* Reads "DDDD:BB:DD.F", or "BB:DD.F" of domain 0, into 'address'.  Returns
 * false if 'text' is not such. */
bool pci_address_parse(const char *text, char address[PCI_ADDRESS_SIZE]);

/* Finds the inode of the function at 'address'.  Returns 0 or a positive
 * errno: ENOENT if there is no such function. */
int pci_function_inode(const char *address, ino_t *inode);

/* Looks at the function at 'address'.  Returns 0 and fills in '*f'; or a
 * positive errno, with the reason in the 'size' bytes at 'reason':
 *
 *     ENOENT       there is no such function,
 *     EPROTO       what is said of it makes no sense,
 *     EACCES, ...  it cannot be looked at. */
int pci_function_look(const char *address, struct pci_function *f,
                      char *reason, size_t size);

/* True if the function is QEMU's ivshmem-doorbell, as far as can be seen.  If
 * not, says in 'reason' what it is instead. */
bool pci_function_is_ivshmem(const struct pci_function *f, char *reason,
                             size_t size);

/* True if no driver of the kernel has the function, but those that are there
 * to give it to programs. */
bool pci_function_is_free(const struct pci_function *f);

/* True if it is to be had by VFIO, rather than by sysfs. */
bool pci_function_is_vfio(const struct pci_function *f);

/* Fills in 'path' with that of 'file' of the function at 'address', or of its
 * directory if 'file' is empty. */
void pci_path(const char *address, const char *file, char *path, size_t size);

/* The directory that has all functions. */
void pci_functions_path(char *path, size_t size);

/* Where sysfs is: for tests, which make one of their own.  Null: /sys. */
void pci_set_sysfs(const char *root);

#endif /* lib/vpci/pci-function.h */
