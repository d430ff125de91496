/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_STDINT_H
#define VPCI_COMPAT_STDINT_H 1

#include "vpci/types.h"

#define UINT32_C(X) X ## U
#define UINTPTR_MAX ULONG_MAX

#endif
