/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_CONNECTOR_PCI_H
#define VPCI_CONNECTOR_PCI_H 1

#include <sys/types.h>

#include "vpci/device.h"

/* Makes a device 'name' that is the PCI function at 'address' (see
 * pci-function.h), as long as that has this 'inode' and our ivshmem id there
 * is 'id', or any id if that is 0.  It is not open yet.  Returns null if there
 * is no memory. */
struct vpci_device *pci_device_create(const char *address, ino_t inode,
                                      uint32_t id, const char *name);

#endif /* lib/vpci/connector-pci.h */
