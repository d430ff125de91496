/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_STDIO_H
#define VPCI_COMPAT_STDIO_H 1

#include <linux/kernel.h>

#endif
