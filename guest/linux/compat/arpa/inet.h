/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_COMPAT_ARPA_INET_H
#define VPCI_COMPAT_ARPA_INET_H 1

#include <linux/in.h>
#include <linux/kernel.h>
#include <linux/types.h>
#include <asm/byteorder.h>

/* As in a process, whose integers do not say what order their bytes have. */
#undef htonl
#undef htons
#undef ntohl
#undef ntohs
#define htonl(X) ((__force u32)cpu_to_be32(X))
#define htons(X) ((__force u16)cpu_to_be16(X))
#define ntohl(X) be32_to_cpu((__force __be32)(u32)(X))
#define ntohs(X) be16_to_cpu((__force __be16)(u16)(X))

#endif
