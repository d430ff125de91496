/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_UNISTD_H
#define VPCI_COMPAT_UNISTD_H 1

/* Nothing of it is used. */

#endif
