/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-tap-device.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if_arp.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define TUN_PATH "/dev/net/tun"
#define NETNS_DIR "/run/netns/"

/* What a request of the kernel that root alone may make needs. */
#define NEEDS_ADMIN "this needs the capability CAP_NET_ADMIN in the " \
                    "interface's network namespace: run this as root, or " \
                    "give it that with setpriv(1) or setcap(8)"

static int __attribute__((format(printf, 4, 5)))
fail(int error, char *reason, size_t size, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(reason, size, format, args);
    va_end(args);
    return error;
}

/* 'what' could not be done to the interface. */
static int
fail_request(const struct tap_device *tap, int error, const char *what,
             char *reason, size_t size)
{
    return fail(error, reason, size, "cannot %s interface '%s': %s%s%s", what,
                tap->name, strerror(error), error == EPERM ? "; " : "",
                error == EPERM ? NEEDS_ADMIN : "");
}

int
tap_enter_netns(const char *netns, char *reason, size_t size)
{
    char path[256];
    int fd, error;

    snprintf(path, sizeof path, "%s%s", strchr(netns, '/') ? "" : NETNS_DIR,
             netns);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return fail(errno, reason, size, "network namespace '%s': cannot open "
                    "%s: %s%s", netns, path, strerror(errno),
                    errno == ENOENT ? "; \"ip netns\" lists those there are"
                    : "");
    }
    error = setns(fd, CLONE_NEWNET) ? errno : 0;
    close(fd);
    if (error) {
        return fail(error, reason, size, "network namespace '%s': cannot "
                    "enter %s: %s%s", netns, path, strerror(error),
                    error == EPERM ? "; this needs the capability "
                    "CAP_SYS_ADMIN: run this as root, or in the namespace"
                    : error == EINVAL ? "; it is no network namespace" : "");
    }
    return 0;
}

/* Explains why the kernel refuses an interface. */
static int
fail_attach(const struct tap_device *tap, int error, char *reason, size_t size)
{
    const char *why = (error == EBUSY ? "; another process has it, or it has "
                       "another number of queues"
                       : error == EINVAL ? "; an interface with that name is "
                       "no tap interface, or is not made for as many queues"
                       : "");

    if (error == EPERM) {
        return fail_request(tap, error, "make or take", reason, size);
    }
    return fail(error, reason, size, "cannot make or take tap interface '%s': "
                "%s%s", tap->name, strerror(error), why);
}

/* Makes one queue more, and with the first one the interface. */
static int
add_queue(struct tap_device *tap, bool multi, char *reason, size_t size)
{
    struct ifreq ifr;
    int fd = open(TUN_PATH, O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        return fail(errno, reason, size, "cannot open %s: %s%s", TUN_PATH,
                    strerror(errno), errno == ENOENT || errno == ENODEV
                    ? "; \"modprobe tun\" makes it" : "");
    }
    memset(&ifr, 0, sizeof ifr);
    memcpy(ifr.ifr_name, tap->name, sizeof ifr.ifr_name);
    ifr.ifr_flags = (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR
                     | (multi ? IFF_MULTI_QUEUE : 0));
    if (ioctl(fd, TUNSETIFF, &ifr)) {
        int error = errno;

        close(fd);
        return fail_attach(tap, error, reason, size);
    }
    memcpy(tap->name, ifr.ifr_name, sizeof tap->name);
    tap->fds[tap->n_queues++] = fd;
    return 0;
}

int
tap_open(struct tap_device *tap, const char *name, uint32_t n_queues,
         char *reason, size_t size)
{
    int error = 0;

    memset(tap, 0, sizeof *tap);
    snprintf(tap->name, sizeof tap->name, "%s", name);
    tap->control_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (tap->control_fd < 0) {
        return fail(errno, reason, size, "cannot make a socket: %s",
                    strerror(errno));
    }
    while (!error && tap->n_queues < n_queues) {
        error = add_queue(tap, n_queues > 1, reason, size);
    }
    error = error ? error : tap_set_carrier(tap, false, reason, size);
    if (error) {
        tap_close(tap);
    }
    return error;
}

void
tap_close(struct tap_device *tap)
{
    for (uint32_t i = 0; i < tap->n_queues; i++) {
        close(tap->fds[i]);
    }
    if (tap->control_fd >= 0) {
        close(tap->control_fd);
    }
    tap->n_queues = 0;
    tap->control_fd = -1;
}

int
tap_set_persist(const struct tap_device *tap, bool persists, char *reason,
                size_t size)
{
    return (ioctl(tap->fds[0], TUNSETPERSIST, (unsigned long) persists)
            ? fail_request(tap, errno, "keep", reason, size) : 0);
}

int
tap_set_carrier(const struct tap_device *tap, bool carrier, char *reason,
                size_t size)
{
    int value = carrier;

    return (ioctl(tap->fds[0], TUNSETCARRIER, &value)
            ? fail_request(tap, errno, "change the carrier of", reason, size)
            : 0);
}

int
tap_set_offloads(const struct tap_device *tap, uint64_t features,
                 char *reason, size_t size)
{
    static const struct {
        int bit;
        unsigned long flag;
    } offloads[] = {
        { VIRTIO_NET_F_HOST_TSO4, TUN_F_TSO4 },
        { VIRTIO_NET_F_HOST_TSO6, TUN_F_TSO6 },
        { VIRTIO_NET_F_HOST_ECN, TUN_F_TSO_ECN },
    };
    unsigned long flags = 0;

    if (features & UINT64_C(1) << VIRTIO_NET_F_CSUM) {
        flags |= TUN_F_CSUM;
        for (size_t i = 0; i < sizeof offloads / sizeof *offloads; i++) {
            if (features & UINT64_C(1) << offloads[i].bit) {
                flags |= offloads[i].flag;
            }
        }
    }
    return (ioctl(tap->fds[0], TUNSETOFFLOAD, flags)
            ? fail_request(tap, errno, "change the offloads of", reason, size)
            : 0);
}

/* Makes request 'number' of the kernel with 'ifr', but for the name. */
static int
request(const struct tap_device *tap, unsigned long number, struct ifreq *ifr)
{
    memcpy(ifr->ifr_name, tap->name, sizeof ifr->ifr_name);
    return ioctl(tap->control_fd, number, ifr) ? errno : 0;
}

int
tap_set_mtu(const struct tap_device *tap, uint32_t mtu, char *reason,
            size_t size)
{
    struct ifreq ifr = { .ifr_mtu = mtu };
    char what[64];
    int error = request(tap, SIOCSIFMTU, &ifr);

    snprintf(what, sizeof what, "set the MTU to %u of", mtu);
    return error ? fail_request(tap, error, what, reason, size) : 0;
}

int
tap_set_mac(const struct tap_device *tap, const uint8_t mac[6], char *reason,
            size_t size)
{
    struct ifreq ifr = { .ifr_hwaddr.sa_family = ARPHRD_ETHER };
    int error;

    memcpy(ifr.ifr_hwaddr.sa_data, mac, 6);
    error = request(tap, SIOCSIFHWADDR, &ifr);
    return (error ? fail_request(tap, error, "set the address of", reason,
                                 size) : 0);
}

int
tap_set_up(const struct tap_device *tap, char *reason, size_t size)
{
    struct ifreq ifr = { .ifr_flags = 0 };
    int error = request(tap, SIOCGIFFLAGS, &ifr);

    ifr.ifr_flags |= IFF_UP;
    error = error ? error : request(tap, SIOCSIFFLAGS, &ifr);
    return error ? fail_request(tap, error, "set up", reason, size) : 0;
}

int
tap_receive(const struct tap_device *tap, uint32_t queue,
            struct vpci_ring_buf *buf)
{
    struct virtio_net_hdr hdr;
    struct iovec iov[2] = {
        { .iov_base = &hdr, .iov_len = sizeof hdr },
        { .iov_base = buf->data, .iov_len = buf->size },
    };
    ssize_t n;

    do {
        n = readv(tap->fds[queue], iov, 2);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno;
    }
    buf->len = n > (ssize_t) sizeof hdr ? n - sizeof hdr : 0;
    buf->offload = (struct vpci_ring_offload) {
        .flags = hdr.flags,
        .gso_type = hdr.gso_type,
        .gso_size = hdr.gso_size,
        .csum_start = hdr.csum_start,
        .csum_offset = hdr.csum_offset,
    };
    return 0;
}

int
tap_send(const struct tap_device *tap, uint32_t queue,
         const struct vpci_ring_buf *buf)
{
    const struct vpci_ring_offload *o = &buf->offload;
    struct virtio_net_hdr hdr = {
        .flags = o->flags,
        .gso_type = o->gso_type,
        .gso_size = o->gso_size,
        .csum_start = o->csum_start,
        .csum_offset = o->csum_offset,
    };
    struct iovec iov[2] = {
        { .iov_base = &hdr, .iov_len = sizeof hdr },
        { .iov_base = buf->data, .iov_len = buf->len },
    };
    ssize_t n;

    do {
        n = writev(tap->fds[queue], iov, 2);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? errno : 0;
}
