/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_STRING_H
#define VPCI_COMPAT_STRING_H 1

#include <linux/string.h>

#endif
