/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_TAP_DEVICE_H
#define VPCI_TAP_DEVICE_H 1

#include <net/if.h>

#include "vpci/ring.h"

/* A tap interface of Linux, one descriptor for each of its queues.  Functions
 * that fail return a positive errno and write what was wrong, and what to do,
 * to the 'size' bytes at 'reason'.
 *
 * Threads: one for each descriptor at a time; the other functions, one in
 * all. */

struct tap_device {
    char name[IFNAMSIZ];
    int fds[VPCI_ABI_MAX_QUEUES];
    uint32_t n_queues;
    int control_fd;             /* A socket for requests about interfaces. */
};

/* The limits of Linux for the MTU of such an interface. */
#define TAP_MIN_MTU 68
#define TAP_MAX_MTU (65535 - 14)

/* Makes this thread, and those it makes from now on, see the interfaces of
 * network namespace 'netns': a path, or a name as of "ip netns". */
int tap_enter_netns(const char *netns, char *reason, size_t size);

/* Makes an interface without a carrier, or takes one that is there and that no
 * process has.  'name' may have one "%d", for which the kernel puts a
 * number. */
int tap_open(struct tap_device *, const char *name, uint32_t n_queues,
             char *reason, size_t size);
void tap_close(struct tap_device *);

/* The interface stays, or does not, when the process ends. */
int tap_set_persist(const struct tap_device *, bool persists, char *reason,
                    size_t size);

int tap_set_carrier(const struct tap_device *, bool carrier, char *reason,
                    size_t size);

/* The kernel may leave to us what VIRTIO_NET_F_CSUM and the VIRTIO_NET_F_HOST_
 * ones of 'features' stand for. */
int tap_set_offloads(const struct tap_device *, uint64_t features,
                     char *reason, size_t size);

int tap_set_mtu(const struct tap_device *, uint32_t mtu, char *reason,
                size_t size);
int tap_set_mac(const struct tap_device *, const uint8_t mac[6],
                char *reason, size_t size);
int tap_set_up(const struct tap_device *, char *reason, size_t size);

/* Takes a packet that the kernel sends by 'queue' into '*buf', of which 'data'
 * and 'size' matter.  Never waits.  Returns 0, EAGAIN if there is none now, or
 * another errno if the interface is no more. */
int tap_receive(const struct tap_device *, uint32_t queue,
                struct vpci_ring_buf *buf);

/* Hands the kernel a packet.  Returns 0 or an errno: EIO if the interface is
 * down, EINVAL if its offloads are not those of its headers. */
int tap_send(const struct tap_device *, uint32_t queue,
             const struct vpci_ring_buf *buf);

#endif /* vpci-tap-device.h */
