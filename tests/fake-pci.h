/* SPDX-License-Identifier: Apache-2.0 */

#ifndef FAKE_PCI_H
#define FAKE_PCI_H 1

/* A sysfs for tests, in a directory of its own, with PCI functions that are
 * files.
 *
 * Functions that return bool return false, and say so, if they cannot. */

#include <stddef.h>

#include "vpci/types.h"

bool fake_pci_start(void);
bool fake_pci_stop(void);

/* Plugs an ivshmem-doorbell that nobody has in, at 'address', with 'size'
 * bytes of memory and two vectors, at which our ivshmem id is 'id'. */
bool fake_pci_plug(const char *address, uint32_t id, uint64_t size);

/* Another one at the same place has another inode. */
bool fake_pci_unplug(const char *address);

/* What sysfs says of it. */
bool fake_pci_write(const char *address, const char *file, const void *data,
                    size_t size);
bool fake_pci_write_text(const char *address, const char *file,
                         const char *text);
bool fake_pci_read_text(const char *address, const char *file, char *text,
                        size_t size);
bool fake_pci_set_size(const char *address, const char *file, uint64_t size);

/* The first 'size' bytes of configuration space, with a capability and, if
 * there are vectors, MSI-X behind it. */
bool fake_pci_write_config(const char *address, unsigned int vendor,
                           unsigned int device, unsigned int revision,
                           unsigned int n_vectors, size_t size);

/* Bytes of BAR 0 and BAR 2; 0: there is none. */
bool fake_pci_write_bars(const char *address, unsigned int registers,
                         uint64_t memory);
bool fake_pci_write_id(const char *address, uint32_t id);

/* No driver has it if 'driver' is empty. */
bool fake_pci_give_driver(const char *address, const char *driver);

/* Maps its memory, as who is behind it does. */
void *fake_pci_map_memory(const char *address, uint64_t size);

/* What was written to the doorbell last. */
uint32_t fake_pci_doorbell(const char *address);

#endif /* fake-pci.h */
