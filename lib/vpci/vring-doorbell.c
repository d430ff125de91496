/* SPDX-License-Identifier: Apache-2.0 */

/* Doorbells of virtio rings that are file descriptors. */

#include <errno.h>

#include "vpci/doorbell.h"
#include "vring-private.h"

void
vring_ring_doorbell(struct vpci_vring *vr)
{
    if (vpci_doorbell_ring(vr->cfg.call_fd) == ETIMEDOUT) {
        vring_bad(vr, VPCI_FAULT_DOORBELL, 0, vr->cfg.call_fd, 0);
    }
}
