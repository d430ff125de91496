/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_STDDEF_H
#define VPCI_COMPAT_STDDEF_H 1

#include <linux/stddef.h>
#include <linux/types.h>

#endif
