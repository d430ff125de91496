/* SPDX-License-Identifier: Apache-2.0 */

/* Classes of packets, as the port wants them: see struct vpci_abi_port. */

#include "net-private.h"

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

/* PCP of the outermost tag. */
static uint32_t
pcp(const uint8_t *data, uint32_t len)
{
    return (len >= ETH_P_OFS + 4 && is_tag(be16(data + ETH_P_OFS))
            ? data[ETH_P_OFS + 2] >> 5 : 0);
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

uint32_t
net_class(const struct net_policy *policy, const uint8_t *data, uint32_t len)
{
    int value;

    switch (policy->class_by) {
    case VPCI_ABI_CLASS_PCP:
        return policy->class_of[pcp(data, len)];
    case VPCI_ABI_CLASS_DSCP:
        value = dscp(data, len);
        return value < 0 ? 0 : policy->class_of[value];
    case VPCI_ABI_CLASS_NONE:
    default:
        return 0;
    }
}
