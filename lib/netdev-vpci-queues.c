/* SPDX-License-Identifier: Apache-2.0 */

#include "netdev-vpci-queues.h"

BUILD_ASSERT_DECL(VPCI_VRING_BURST <= 32);
BUILD_ASSERT_DECL(VPCI_MAX_QUEUE_PAIRS <= VPCI_SPREAD_MAX_QUEUES);
BUILD_ASSERT_DECL(VPCI_ABI_MAX_RINGS <= 32);
BUILD_ASSERT_DECL(VPCI_CLASSES_HEADERS <= VPCI_SPREAD_HEADERS);

/* True if all classes of the queue to the guest whose first ring is 'first'
 * run. */
static bool
queue_runs(const struct netdev_vpci *dev, unsigned int first)
{
    for (unsigned int c = 0; c < dev->classes.n; c++) {
        if (!vpci_vring_is_running(
                dev->rings[VPCI_RING_TO_GUEST(first + c)].vring)) {
            return false;
        }
    }
    return true;
}

void
vpci_queues_update(struct netdev_vpci *dev)
{
    struct vpci_ring *rings[ARRAY_SIZE(dev->to_guest)];
    unsigned int n_classes = dev->classes.n;
    bool changed;
    int n = 0;

    for (unsigned int i = 0; i + n_classes <= ARRAY_SIZE(rings);
         i += n_classes) {
        for (unsigned int c = 0; c < n_classes && queue_runs(dev, i); c++) {
            rings[n++] = &dev->rings[VPCI_RING_TO_GUEST(i + c)];
        }
    }
    changed = (n != dev->n_to_guest
               || memcmp(rings, dev->to_guest, n * sizeof rings[0]));
    if (changed) {
        memcpy(dev->to_guest, rings, n * sizeof rings[0]);
        dev->n_to_guest = n;
        vpci_spread_reset(&dev->spread, n / n_classes);
    }
}

/* Returns what is known of the headers of 'frame', '*n' bytes. */
static const uint8_t *
get_headers(const struct vpci_pkt *frame, uint32_t *n)
{
    *n = frame->head_len ? frame->head_len : frame->len;
    return frame->head_len ? frame->head : frame->iov->base;
}

static unsigned int
choose(struct netdev_vpci *dev, const struct vpci_pkt *frame, uint8_t epoch)
{
    uint32_t n;
    const uint8_t *headers = get_headers(frame, &n);
    unsigned int queue = vpci_spread_choose(&dev->spread, headers, n, epoch);

    return (OVS_LIKELY(dev->classes.n == 1) ? queue
            : queue * dev->classes.n
              + vpci_classes_choose(&dev->classes, headers, n));
}

uint32_t
vpci_queues_classes(const struct netdev_vpci *dev,
                    const struct vpci_pkt *frames, int n)
{
    uint32_t classes = 0;

    for (int i = 0; i < n; i++) {
        uint32_t len;
        const uint8_t *headers = get_headers(&frames[i], &len);

        classes |= UINT32_C(1) << vpci_classes_choose(&dev->classes, headers,
                                                      len);
    }
    return classes;
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
    unsigned int n_classes = dev->classes.n;

    for (int i = 0; i < dev->n_to_guest; i += n_classes) {
        if (dev->to_guest[i]->index == VPCI_RING_TO_GUEST(pair * n_classes)) {
            vpci_spread_learn(&dev->spread, headers, n, i / n_classes,
                              vpci_queues_epoch());
            break;
        }
    }
}
