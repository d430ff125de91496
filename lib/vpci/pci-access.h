/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_PCI_ACCESS_H
#define VPCI_PCI_ACCESS_H 1

#include "device-private.h"
#include "pci-function.h"

/* Registers and memory of an ivshmem function
 * ===========================================
 *
 * By VFIO if the kernel's driver vfio-pci has the function, otherwise by
 * sysfs, without interrupts.
 *
 * Threads: one at a time, but pci_access_write(), any. */

/* Registers, by their place in BAR 0, of 32 bits: our id, read, and the
 * doorbell, written with the other side's id << 16 | vector. */
#define PCI_IVSHMEM_IVPOSITION 8
#define PCI_IVSHMEM_DOORBELL 12
#define PCI_IVSHMEM_REGISTERS_SIZE 16

#define PCI_IVSHMEM_MAX_ID 65535

enum pci_access_how {
    PCI_ACCESS_ALL,             /* For us alone: others get EBUSY. */
    PCI_ACCESS_PEER,            /* The same of a peer, whose memory may be
                                 * larger. */
    PCI_ACCESS_PAGE,            /* Registers, and the first page of memory. */
    PCI_ACCESS_REGISTERS
};

struct pci_access {
    struct pci_function function;
    volatile uint8_t *registers;    /* Null: to be had by 'registers_fd'. */
    void *registers_map;
    size_t registers_map_size;
    int registers_fd;
    uint64_t registers_offset;  /* In it. */
    void *memory;
    uint64_t memory_size;       /* Of all of it. */
    size_t memory_map_size;
    int memory_fd;              /* Locked if it is for us alone; or -1. */

    /* Of VFIO, or -1. */
    int container_fd;
    int group_fd;
    int device_fd;
    int unplug_fd;              /* An eventfd: the kernel wants the function
                                 * back. */
    unsigned int n_vectors;     /* That may be injected: 0 by sysfs. */

    char reason[200];           /* Why something has failed. */
};

/* Gets at function '*f', which is ivshmem, and free.  Returns 0 or a positive
 * errno with a->reason, after which nothing is left:
 *
 *     ENODEV       it lacks a BAR,
 *     EBUSY        another process has it,
 *     EPROTO       what is said of it makes no sense,
 *     EACCES, ...  we may not. */
int pci_access_open(struct pci_access *a, const struct pci_function *f,
                    enum pci_access_how how);
void pci_access_close(struct pci_access *a);

/* A register. */
uint32_t pci_access_read(const struct pci_access *a, unsigned int offset);
void pci_access_write(const struct pci_access *a, unsigned int offset,
                      uint32_t value);

/* Reads our id, 1 to PCI_IVSHMEM_MAX_ID.  Returns 0, or EPROTO with the
 * reason. */
int pci_access_read_id(struct pci_access *a, uint32_t *id);

/* What belongs to each of the ways. */
void pci_access_init(struct pci_access *a, const struct pci_function *f);
int pci_sysfs_open(struct pci_access *a, enum pci_access_how how);
int pci_vfio_open(struct pci_access *a, enum pci_access_how how);

/* Lets vectors 0 to 'n' - 1, which is a->n_vectors at most, be injected by the
 * eventfds 'fds'.  Returns 0 or a positive errno, with the reason. */
int pci_vfio_set_vectors(struct pci_access *a, const int fds[],
                         unsigned int n);

/* Says why something failed.  Returns 'error'. */
int pci_access_fail(struct pci_access *a, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif /* lib/vpci/pci-access.h */
