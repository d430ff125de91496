/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_NETINET_IN_H
#define VPCI_COMPAT_NETINET_IN_H 1

#include <linux/in.h>
#include <linux/in6.h>

#endif
