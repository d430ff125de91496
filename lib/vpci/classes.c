/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "vpci/classes.h"

#include <string.h>

#define ETH_P_OFS 12
#define MAX_TAGS 2

static uint16_t
be16(const uint8_t *p)
{
    return p[0] << 8 | p[1];
}

static bool
is_tag(uint16_t eth_type)
{
    return eth_type == 0x8100 || eth_type == 0x88a8;
}

/* PCP of the outermost tag, or 'untagged'. */
static uint32_t
pcp(const uint8_t *data, uint32_t len, uint32_t untagged)
{
    return (len >= ETH_P_OFS + 4 && is_tag(be16(data + ETH_P_OFS))
            ? data[ETH_P_OFS + 2] >> 5 : untagged);
}

/* DSCP, or -1 if this is not IP. */
static int
dscp(const uint8_t *data, uint32_t len)
{
    uint32_t ofs = ETH_P_OFS;

    for (int i = 0; i < MAX_TAGS && len >= ofs + 4; i++) {
        if (!is_tag(be16(data + ofs))) {
            break;
        }
        ofs += 4;
    }
    if (len < ofs + 4) {
        return -1;
    }
    switch (be16(data + ofs)) {
    case 0x0800:
        return data[ofs + 2] >> 4 == 4 ? data[ofs + 3] >> 2 : -1;
    case 0x86dd:
        return (data[ofs + 2] >> 4 == 6
                ? (be16(data + ofs + 2) >> 6 & 0x3f) : -1);
    default:
        return -1;
    }
}

/* Returns how urgent PCP 'value' is, 0 to 7: IEEE 802.1Q has background
 * traffic below best effort. */
static uint32_t
pcp_rank(uint32_t value)
{
    return value > 1 ? value : !value;
}

void
vpci_classes_init(struct vpci_classes *classes, uint32_t n,
                  enum vpci_abi_class_by by)
{
    memset(classes, 0, sizeof *classes);
    classes->n = n;
    classes->by = n > 1 ? by : VPCI_ABI_CLASS_NONE;
    for (uint32_t i = 0; i < 64 && classes->by == VPCI_ABI_CLASS_DSCP; i++) {
        classes->of[i] = (i >> 3) * n / 8;
    }
    for (uint32_t i = 0; i < 8 && classes->by == VPCI_ABI_CLASS_PCP; i++) {
        classes->of[i] = pcp_rank(i) * n / 8;
    }
}

void
vpci_classes_write(const struct vpci_classes *classes,
                   struct vpci_abi_port *port)
{
    port->class_by = classes->by;
    memcpy(port->class_of, classes->of, sizeof port->class_of);
}

void
vpci_classes_limit(struct vpci_classes *classes, uint32_t n)
{
    uint8_t highest = n - 1;

    classes->n = n;
    for (int i = 0; i < 64; i++) {
        classes->of[i] = classes->of[i] < highest ? classes->of[i] : highest;
    }
}

void
vpci_classes_read(struct vpci_classes *classes,
                  const struct vpci_abi_port *port, uint32_t n)
{
    classes->by = (enum vpci_abi_class_by) port->class_by;
    memcpy(classes->of, port->class_of, sizeof classes->of);
    vpci_classes_limit(classes, n);
}

uint32_t
vpci_classes_choose(const struct vpci_classes *classes, const uint8_t *data,
                    uint32_t len)
{
    return vpci_classes_choose_as(classes, 0, data, len);
}

uint32_t
vpci_classes_choose_as(const struct vpci_classes *classes, uint32_t untagged,
                       const uint8_t *data, uint32_t len)
{
    int value;

    switch (classes->by) {
    case VPCI_ABI_CLASS_PCP:
        return classes->of[pcp(data, len, untagged)];
    case VPCI_ABI_CLASS_DSCP:
        value = dscp(data, len);
        return value < 0 ? 0 : classes->of[value];
    case VPCI_ABI_CLASS_NONE:
    default:
        return 0;
    }
}
