/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_INTTYPES_H
#define VPCI_COMPAT_INTTYPES_H 1

#include <stdint.h>

#define PRIu32 "u"
#define PRIx32 "x"
#define PRId64 "lld"
#define PRIu64 "llu"
#define PRIx64 "llx"

#endif
