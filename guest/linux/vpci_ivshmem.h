/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef VPCI_IVSHMEM_H
#define VPCI_IVSHMEM_H

int ivshmem_register(void);
void ivshmem_unregister(void);

#endif
