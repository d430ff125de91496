/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_QUEUES_H
#define NETDEV_VPCI_QUEUES_H 1

/* Which of the guest's receive rings a packet goes to: see vpci/spread.h.
 *
 * Used by PMD threads while they have passed a gate of the port, or have
 * entered the table that sends to it. */

#include "netdev-vpci-private.h"

#include <rte_cycles.h>

/* TSC cycles of an epoch, as a power of 2: about 0.1 s. */
#define VPCI_EPOCH_LOG2 28

static inline uint8_t
vpci_queues_epoch(void)
{
    return (rte_get_tsc_cycles() >> VPCI_EPOCH_LOG2) % UINT8_MAX + 1;
}

/* The rings that run are others than before.  Only while the port is
 * paused. */
void vpci_queues_update(struct netdev_vpci *dev) OVS_REQUIRES(dev->mutex);

/* Chooses a queue, of which each class of priority is one, for each of
 * 'frames[0..n)', at least one.  A frame has a head
 * of VPCI_SPREAD_HEADERS bytes or more, or is short and all head, or has no
 * head and is one piece of private memory.  Returns their ring if it is one
 * for all.  Otherwise stores the number of each in 'queues' and returns
 * null. */
struct vpci_ring *vpci_queues_choose_all(struct netdev_vpci *dev,
                                         const struct vpci_pkt *frames, int n,
                                         uint8_t queues[]);

/* Like the above, quickly for guests with one queue. */
static inline struct vpci_ring *
vpci_queues_choose(struct netdev_vpci *dev, const struct vpci_pkt *frames,
                   int n, uint8_t queues[])
{
    return (OVS_LIKELY(dev->n_to_guest == 1) ? dev->to_guest[0]
            : vpci_queues_choose_all(dev, frames, n, queues));
}

/* Returns the classes that 'frames[0..n)', as above, go to: bit N is that of
 * class N. */
uint32_t vpci_queues_classes(const struct netdev_vpci *dev,
                             const struct vpci_pkt *frames, int n);

/* Copies the first of 'frames', and all others for its queue, to 'some',
 * leaving out those whose bit in '*left' is 0, and sets theirs to 0.  Returns
 * the number of frames, and stores their ring in '*ring'. */
int vpci_queues_pick(const struct netdev_vpci *dev,
                     const struct vpci_pkt *frames, const uint8_t queues[],
                     uint32_t *left, struct vpci_pkt *some,
                     struct vpci_ring **ring);

/* The guest of 'dev' has sent the frame with these headers, VPCI_SPREAD_HEADERS
 * or all, from queue pair 'pair': answers are for it as well. */
void vpci_queues_learn_one(struct netdev_vpci *dev, unsigned int pair,
                           const void *headers, uint32_t n);

/* Like the above, quickly for guests with one queue. */
static inline void
vpci_queues_learn(struct netdev_vpci *dev, unsigned int pair,
                  const void *headers, uint32_t n)
{
    if (OVS_UNLIKELY(dev->n_to_guest > 1)) {
        vpci_queues_learn_one(dev, pair, headers, n);
    }
}

#endif /* netdev-vpci-queues.h */
