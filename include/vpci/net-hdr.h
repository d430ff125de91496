/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_NET_HDR_H
#define VPCI_NET_HDR_H 1

#include "vpci/types.h"

/* What is said about a frame beside its bytes: struct virtio_net_hdr_mrg_rxbuf
 * in host byte order (virtio 1.1, section 5.1.6), always a private copy.  Of a
 * driver that has not negotiated checksum or segmentation offloads it is all
 * zeros, whatever the driver wrote. */
struct vpci_net_hdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;           /* A hint; 0 if unknown. */
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
};

#endif /* vpci/net-hdr.h */
