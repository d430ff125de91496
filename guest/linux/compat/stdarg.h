/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_STDARG_H
#define VPCI_COMPAT_STDARG_H 1

#include <linux/stdarg.h>

#endif
