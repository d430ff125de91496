/* SPDX-License-Identifier: Apache-2.0 */

#include "netdev-vpci-queues.h"

BUILD_ASSERT_DECL(VPCI_VRING_BURST <= 32);
BUILD_ASSERT_DECL(VPCI_MAX_QUEUE_PAIRS <= VPCI_SPREAD_MAX_QUEUES);

void
vpci_queues_update(struct netdev_vpci *dev)
{
    struct vpci_ring *rings[VPCI_MAX_QUEUE_PAIRS];
    bool changed;
    int n = 0;

    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        struct vpci_ring *ring = &dev->rings[VPCI_RING_TO_GUEST(i)];

        if (vpci_vring_is_running(ring->vring)) {
            rings[n++] = ring;
        }
    }
    changed = (n != dev->n_to_guest
               || memcmp(rings, dev->to_guest, n * sizeof rings[0]));
    if (changed) {
        memcpy(dev->to_guest, rings, n * sizeof rings[0]);
        dev->n_to_guest = n;
        vpci_spread_reset(&dev->spread, n);
    }
}

static unsigned int
choose(struct netdev_vpci *dev, const struct vpci_pkt *frame, uint8_t epoch)
{
    return (frame->head_len
            ? vpci_spread_choose(&dev->spread, frame->head, frame->head_len,
                                 epoch)
            : vpci_spread_choose(&dev->spread, frame->iov->base, frame->len,
                                 epoch));
}

struct vpci_ring *
vpci_queues_choose_all(struct netdev_vpci *dev, const struct vpci_pkt *frames,
                       int n, uint8_t queues[])
{
    uint8_t epoch = vpci_queues_epoch(), others = 0;

    for (int i = 0; i < n; i++) {
        queues[i] = choose(dev, &frames[i], epoch);
        others |= queues[i] ^ queues[0];
    }
    return others ? NULL : dev->to_guest[queues[0]];
}

int
vpci_queues_pick(const struct netdev_vpci *dev, const struct vpci_pkt *frames,
                 const uint8_t queues[], uint32_t *left,
                 struct vpci_pkt *some, struct vpci_ring **ring)
{
    uint32_t same = vpci_spread_same(queues, *left);
    int n = 0;

    *ring = dev->to_guest[queues[raw_ctz(same)]];
    *left &= ~same;
    for (; same; same = zero_rightmost_1bit(same)) {
        some[n++] = frames[raw_ctz(same)];
    }
    return n;
}

void
vpci_queues_learn_one(struct netdev_vpci *dev, unsigned int pair,
                      const void *headers, uint32_t n)
{
    for (int i = 0; i < dev->n_to_guest; i++) {
        if (dev->to_guest[i]->index == VPCI_RING_TO_GUEST(pair)) {
            vpci_spread_learn(&dev->spread, headers, n, i,
                              vpci_queues_epoch());
            break;
        }
    }
}
