/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_ERRNO_H
#define VPCI_COMPAT_ERRNO_H 1

#include <linux/errno.h>

#define ENOTSUP EOPNOTSUPP

/* Of the functions here only those set it that the driver does not call, and
 * nobody reads it.
 */
extern int vpci_errno;
#define errno vpci_errno

#endif
