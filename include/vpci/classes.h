/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_CLASSES_H
#define VPCI_CLASSES_H 1

#include "vpci/abi.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Classes of priority
 * ===================
 *
 * By which class of its port a packet goes: see struct vpci_abi_port.  Guest
 * and switch ask the same function, each for what it sends.
 *
 * Functions here keep no state: any thread may call them. */

struct vpci_classes {
    uint32_t n;                 /* 1 to VPCI_ABI_MAX_CLASSES; the last one is
                                 * the most urgent. */
    enum vpci_abi_class_by by;
    uint8_t of[64];             /* Class by PCP or DSCP, each below 'n'. */
};

/* Makes '*classes' of 'n', at most VPCI_ABI_MAX_CLASSES, chosen by 'by', over
 * which code points are spread evenly: PCPs in the order of IEEE 802.1Q, in
 * which 1 (background) comes before 0 (best effort), and DSCPs by their upper
 * three bits, the class selector. */
void vpci_classes_init(struct vpci_classes *classes, uint32_t n,
                       enum vpci_abi_class_by by);

/* Says so to the guest, in '*port'. */
void vpci_classes_write(const struct vpci_classes *classes,
                        struct vpci_abi_port *port);

/* Reads, once, what '*port' says of 'n' classes.  What is above the highest is
 * taken for that. */
void vpci_classes_read(struct vpci_classes *classes,
                       const struct vpci_abi_port *port, uint32_t n);

/* There are only 'n' classes: those above the highest are taken for that. */
void vpci_classes_limit(struct vpci_classes *classes, uint32_t n);

/* Bytes at the beginning of a packet that its class depends on: an Ethernet
 * header, two tags, and two bytes of IP. */
#define VPCI_CLASSES_HEADERS 24

/* Returns the class of the packet with the 'len' bytes at 'data': all that it
 * has, or VPCI_CLASSES_HEADERS or more. */
uint32_t vpci_classes_choose(const struct vpci_classes *classes,
                             const uint8_t *data, uint32_t len);

/* The same where packets without a tag have PCP 'untagged', 0 to 7. */
uint32_t vpci_classes_choose_as(const struct vpci_classes *classes,
                                uint32_t untagged, const uint8_t *data,
                                uint32_t len);

#ifdef __cplusplus
}
#endif

#endif /* vpci/classes.h */
