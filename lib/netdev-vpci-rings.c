/* SPDX-License-Identifier: Apache-2.0 */

/* Which rings of a port's guest run. */

#include "netdev-vpci-message.h"

#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <unistd.h>

#include "netdev-vpci-lend.h"
#include "netdev-vpci-queues.h"
#include "netdev-vpci-splice.h"
#include "netdev-vpci-wire.h"
#include "openvswitch/vlog.h"
#include "socket-util.h"
#include "vpci/doorbell.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_rings);

/* librte_vhost keeps the wrap counter of a packed ring in the top bit of an
 * index. */
#define PACKED_WRAP_BIT (1 << 15)

void
vpci_ring_set_fault(struct vpci_ring *ring, char *fault)
{
    struct netdev_vpci *dev = ring->dev;

    VLOG_WARN_RL(&dev->rl, "%s: ring %u stopped: %s; it comes back when %s",
                 vpci_name(dev), (unsigned int) ring->index, fault,
                 dev->config.mode == VPCI_MODE_IVSHMEM
                 ? "the guest's program begins anew"
                 : "the guest resets its network device");
    ovs_mutex_lock(&dev->fault_mutex);
    free(ring->fault);
    ring->fault = fault;
    ovs_mutex_unlock(&dev->fault_mutex);
    vpci_changed(dev);
}

static void
ring_clear_fault(struct vpci_ring *ring)
{
    ovs_mutex_lock(&ring->dev->fault_mutex);
    free(ring->fault);
    ring->fault = NULL;
    ovs_mutex_unlock(&ring->dev->fault_mutex);
    vpci_changed(ring->dev);
}

void
vpci_ring_report(struct vpci_ring *ring, const struct vpci_fault *fault)
{
    char text[256];

    if (fault->kind == VPCI_FAULT_DOORBELL) {
        vpci_filter_note_abuse(ring->dev);
    }
    vpci_ring_set_fault(ring, xstrdup(vpci_fault_format(fault, text,
                                                   sizeof text)));
}

/* Callback of the ring engine, on the thread that found 'fault'. */
static void
ring_report(void *ring, const struct vpci_fault *fault)
{
    vpci_ring_report(ring, fault);
}

int
vpci_rings_init(struct netdev_vpci *dev)
{
    struct vpci_classes one;

    dev->paused = 1;
    dev->rxqs = xzalloc_cacheline(VPCI_MAX_QUEUE_PAIRS
                                  * sizeof *dev->rxqs);
    for (int i = 0; i < VPCI_MAX_RINGS; i++) {
        struct vpci_ring *ring = &dev->rings[i];

        ring->dev = dev;
        ring->index = i;
        ring->peer.report = ring_report;
        ring->peer.aux = ring;
        ovs_spin_init(&ring->tx_lock);
        ring->vring = vpci_vring_create();
        if (!ring->vring) {
            return ENOMEM;
        }
    }
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        vpci_gate_init(&dev->rxqs[i].gate);
    }
    vpci_classes_init(&one, 1, VPCI_ABI_CLASS_NONE);
    vpci_rings_set_classes(dev, &one);
    return 0;
}

void
vpci_rings_set_classes(struct netdev_vpci *dev,
                       const struct vpci_classes *classes)
{
    dev->classes = *classes;
    for (int i = 0; i < VPCI_MAX_RINGS; i++) {
        dev->rings[i].class_ = i / 2 % classes->n;
    }
    for (unsigned int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        struct vpci_rxq *rxq = &dev->rxqs[i];
        unsigned int first = i * classes->n;

        memset(rxq->rings, 0, sizeof rxq->rings);
        for (unsigned int c = 0; c < classes->n
             && first + classes->n <= VPCI_MAX_RINGS / 2; c++) {
            rxq->rings[c] = &dev->rings[VPCI_RING_FROM_GUEST(first + c)];
        }
        rxq->ring = rxq->rings[0];
        rxq->n_classes = classes->n;
    }
}

/* True if all rings of 'rxq' run. */
static bool
rxq_can_run(const struct vpci_rxq *rxq)
{
    for (int c = 0; c < rxq->n_classes; c++) {
        if (!rxq->rings[c] || !vpci_vring_is_running(rxq->rings[c]->vring)) {
            return false;
        }
    }
    return true;
}

static void
free_txqs(struct netdev_vpci *dev)
{
    for (int i = 0; i < dev->n_txqs; i++) {
        vpci_counters_accumulate(&dev->retired, &dev->txqs[i].counters);
        ovs_spin_destroy(&dev->txqs[i].lock);
    }
    free_cacheline(dev->txqs);
    dev->txqs = NULL;
    dev->n_txqs = 0;
}

void
vpci_rings_uninit(struct netdev_vpci *dev)
{
    for (int i = 0; i < VPCI_MAX_RINGS; i++) {
        if (dev->rings[i].vring) {
            vpci_vring_destroy(dev->rings[i].vring);
            ovs_spin_destroy(&dev->rings[i].tx_lock);
        }
        free(dev->rings[i].fault);
    }
    free_txqs(dev);
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        vpci_super_cancel(&dev->rxqs[i]);
        free(dev->rxqs[i].super);
    }
    free_cacheline(dev->rxqs);
}

void
vpci_rings_set_n_txq(struct netdev_vpci *dev, int n)
{
    if (n == dev->n_txqs) {
        return;
    }
    free_txqs(dev);
    dev->txqs = xzalloc_cacheline(n * sizeof *dev->txqs);
    dev->n_txqs = n;
    for (int i = 0; i < n; i++) {
        vpci_gate_init(&dev->txqs[i].gate);
        ovs_spin_init(&dev->txqs[i].lock);
    }
}

void
vpci_rings_pause(struct netdev_vpci *dev)
{
    if (dev->paused++) {
        return;
    }
    __atomic_store_n(&dev->in_pause, true, __ATOMIC_RELAXED);
    __atomic_store_n(&dev->splice_open, false, __ATOMIC_SEQ_CST);

    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        vpci_gate_shut(&dev->rxqs[i].gate);
    }
    for (int i = 0; i < dev->n_txqs; i++) {
        vpci_gate_shut(&dev->txqs[i].gate);
    }
    vpci_gate_barrier();
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        vpci_gate_wait(&dev->rxqs[i].gate);
    }
    for (int i = 0; i < dev->n_txqs; i++) {
        vpci_gate_wait(&dev->txqs[i].gate);
    }
    vpci_splice_synchronize();
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        vpci_rxq_tell(&dev->rxqs[i]);
    }
}

void
vpci_rings_set_base(struct netdev_vpci *dev, unsigned int index,
                    const struct vpci_vring_base *base)
{
    uint16_t avail = base->avail_idx, used = base->used_idx;

    if (dev->active->features & (UINT64_C(1) << VIRTIO_F_RING_PACKED)) {
        avail |= base->avail_wrap ? PACKED_WRAP_BIT : 0;
        used |= base->used_wrap ? PACKED_WRAP_BIT : 0;
    }
    rte_vhost_set_vring_base(dev->active->vid, index, avail, used);
}

void
vpci_rings_stop(struct netdev_vpci *dev, unsigned int index)
{
    struct vpci_vring *vring = dev->rings[index].vring;
    struct vpci_vring_base base;

    if (!vpci_vring_is_running(vring)) {
        return;
    }
    vpci_vring_stop(vring, &base);
    if (dev->active) {
        vpci_rings_set_base(dev, index, &base);
    }
}

void
vpci_rings_stop_all(struct netdev_vpci *dev)
{
    for (unsigned int i = 0; i < VPCI_MAX_RINGS; i++) {
        vpci_rings_stop(dev, i);
    }
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        vpci_super_cancel(&dev->rxqs[i]);
    }
}

static void
log_dirty(void *conn_, uint64_t addr, uint64_t len)
{
    struct vpci_conn *conn = conn_;

    /* The log is the front end's file as well, mapped by the library where we
     * cannot see it. */
    vpci_guard_thread(&conn->memory_lost);
    rte_vhost_log_write(conn->vid, addr, len);
    vpci_guard_thread(NULL);
}

/* Where ring 'index' of 'conn' stands, as the library knows it. */
static int
get_base(const struct vpci_conn *conn, unsigned int index,
         const struct rte_vhost_vring *vring, bool packed,
         struct vpci_vring_base *base)
{
    if (rte_vhost_get_vring_base(conn->vid, index, &base->avail_idx,
                                 &base->used_idx)) {
        return EINVAL;
    }
    if (!packed) {
        base->avail_wrap = base->used_wrap = false;
        return 0;
    }

    base->avail_wrap = base->avail_idx & PACKED_WRAP_BIT;
    base->used_wrap = base->used_idx & PACKED_WRAP_BIT;
    base->avail_idx &= ~PACKED_WRAP_BIT;
    base->used_idx &= ~PACKED_WRAP_BIT;

    /* User-Mode Linux sets base 0 where it means "from the start", which is
     * index 0 with wrap counter 1. */
    if (!base->avail_idx && !base->avail_wrap
        && vpci_memory_contains(&conn->memory, vring->desc_packed,
                                sizeof *vring->desc_packed)
        && vpci_vring_packed_is_fresh(vring->desc_packed)) {
        base->avail_wrap = base->used_wrap = true;
    }
    return 0;
}

int
vpci_rings_get_config(struct vpci_conn *conn, unsigned int index,
                struct vpci_vring_config *config)
{
    bool packed = conn->features & (UINT64_C(1) << VIRTIO_F_RING_PACKED);
    bool log = conn->features & (UINT64_C(1) << VHOST_F_LOG_ALL);
    struct rte_vhost_vring vring;

    memset(&vring, 0, sizeof vring);
    if (rte_vhost_get_vhost_vring(conn->vid, index, &vring)) {
        return EINVAL;
    }
    *config = (struct vpci_vring_config) {
        .index = index,
        .size = vring.size,
        .features = conn->features,
        .desc = packed ? (void *) vring.desc_packed : (void *) vring.desc,
        .driver = packed ? (void *) vring.driver_event : (void *) vring.avail,
        .device = packed ? (void *) vring.device_event : (void *) vring.used,
        .mem = &conn->memory,
        .call_fd = vring.callfd,
        .peer = &conn->dev->rings[index].peer,
        .log = log && conn->log_valid ? log_dirty : NULL,
        .log_aux = conn,
        .log_device_addr = vring.log_guest_addr,
    };
    return get_base(conn, index, &vring, packed, &config->base);
}

/* Wakes the guest of 'ring' at doorbell 'fd', whether or not it asked for it:
 * what was announced at an earlier doorbell may have been lost with it.
 * Returns null, or what is wrong with the doorbell, as a sentence.  Sets
 * '*blocks' if that is that it blocks who rings it. */
static char *
ring_doorbell(struct vpci_ring *ring, int fd, bool *blocks)
{
    int error = vpci_doorbell_prepare(fd);

    if (error) {
        return xasprintf("cannot use its doorbell (call descriptor): %s",
                         error == ENOTSUP ? "it is neither an eventfd nor one "
                         "of a pair of UNIX sockets" : ovs_strerror(error));
    }
    if (vpci_doorbell_ring(fd) == ETIMEDOUT) {
        vpci_filter_note_abuse(ring->dev);
        *blocks = true;
        return xstrdup(vpci_fault_to_string(VPCI_FAULT_DOORBELL));
    }
    return NULL;
}

/* Gets the receive queue of ring 'index', if that is from the guest, ready for
 * it. */
static void
prepare_rxq(struct netdev_vpci *dev, unsigned int index, uint64_t features,
            uint32_t size)
{
    if (index % 2) {
        struct vpci_rxq *rxq = &dev->rxqs[index / 2 / dev->classes.n];

        vpci_super_prepare(rxq, features);
        rxq->max_untold = MAX(MIN(size / 4, VPCI_VRING_BURST), 1);
    }
}

/* Starts ring 'index' of the active connection.  Returns false if its doorbell
 * blocks: then the next one may, too. */
static bool
start_vring(struct netdev_vpci *dev, unsigned int index)
{
    struct vpci_ring *ring = &dev->rings[index];
    struct vpci_vring_config config = { .call_fd = -1 };
    int error = vpci_rings_get_config(dev->active, index, &config);
    char *fault = NULL;
    bool blocks = false;

    if (!error && config.call_fd >= 0) {
        fault = ring_doorbell(ring, config.call_fd, &blocks);
    }
    if (!error && !fault) {
        prepare_rxq(dev, index, config.features, config.size);
        error = vpci_vring_start(ring->vring, &config);
    }
    if (fault) {
        vpci_ring_set_fault(ring, fault);
    } else if (error == EFAULT) {
        vpci_ring_set_fault(ring, xstrdup("the ring itself does not lie inside "
                                     "guest memory"));
    } else if (error) {
        vpci_ring_set_fault(ring, xasprintf("cannot use a ring of this shape "
                                       "(size %u): %s",
                                       (unsigned int) config.size,
                                       ovs_strerror(error)));
    }
    return !blocks;
}

/* Starts native ring 'index'. */
static void
start_native(struct netdev_vpci *dev, unsigned int index,
             const struct vpci_guest *guest)
    OVS_REQUIRES(dev->mutex)
{
    int error;

    prepare_rxq(dev, index, guest->features, UINT32_MAX);
    error = vpci_base_start_ring(dev, index);
    if (error) {
        vpci_ring_set_fault(&dev->rings[index],
                       xasprintf("cannot use the ring: %s",
                                 ovs_strerror(error)));
    }
}

/* What is known of the guest of 'dev'.  Returns false if there is none. */
static bool
get_guest(const struct netdev_vpci *dev, struct vpci_guest *guest)
    OVS_REQUIRES(dev->mutex)
{
    const struct vpci_conn *conn = dev->active;

    if (dev->config.mode == VPCI_MODE_IVSHMEM) {
        return vpci_base_get_guest(dev, guest);
    }
    if (!conn || !conn->started) {
        *guest = (struct vpci_guest) {
            .disturbed = conn && conn->disturbed, .numa = -1,
        };
        return false;
    }
    *guest = (struct vpci_guest) {
        .started = true,
        .usable = (conn->memory_valid && !conn->disturbed
                   && dev->lent_state == VPCI_LENT_NOT),
        .carrier = ((conn->memory_valid || conn->disturbed)
                    && dev->lent_state != VPCI_LENT_UNKNOWN
                    && dev->lent_state != VPCI_LENT_FENCED),
        .disturbed = conn->disturbed,
        .rings_ready = conn->rings_ready,
        .features = conn->features,
        .numa = conn->numa,
    };
    return true;
}

/* Starts ring 'index' of 'guest'.  Returns false if the guest is to be left
 * alone. */
static bool
start_ring(struct netdev_vpci *dev, unsigned int index,
           const struct vpci_guest *guest)
    OVS_REQUIRES(dev->mutex)
{
    if (dev->config.mode == VPCI_MODE_IVSHMEM) {
        start_native(dev, index, guest);
        return true;
    }
    return start_vring(dev, index);
}

/* Starts and stops rings so that those run that should. */
static void
update_rings(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_guest guest;
    bool usable = get_guest(dev, &guest) && guest.usable
                  && !vpci_shut_reason(dev);
    bool started = false;

    for (unsigned int i = 0; i < VPCI_MAX_RINGS; i++) {
        bool ready = guest.rings_ready & (UINT64_C(1) << i);
        bool running = vpci_vring_is_running(dev->rings[i].vring);

        if (running && (!usable || !ready)) {
            vpci_rings_stop(dev, i);
        }
        if (!ready && dev->rings[i].fault) {
            ring_clear_fault(&dev->rings[i]);
        }
        if (!running && usable && ready && !dev->rings[i].fault) {
            usable = start_ring(dev, i, &guest);
            started = true;
        }
    }
    if (started && dev->config.mode == VPCI_MODE_IVSHMEM) {
        vpci_base_wake_guest(dev);
    }
}

/* Lets PMD threads know which receive queues are worth polling. */
static void
update_rxqs(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    bool changed = false;

    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        struct vpci_rxq *rxq = &dev->rxqs[i];
        bool running = rxq_can_run(rxq);

        if (running != rxq->running) {
            __atomic_store_n(&rxq->running, running, __ATOMIC_RELAXED);
            changed = true;
        }
    }
    if (changed) {
        vpci_changed(dev);
    }
}

/* Lets threads send to the guest again. */
static void
open_txqs(struct netdev_vpci *dev)
{
    for (int i = 0; i < dev->n_txqs; i++) {
        vpci_gate_open(&dev->txqs[i].gate);
    }
    __atomic_store_n(&dev->splice_open, true, __ATOMIC_RELEASE);
}

static void
open_gates(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_guest guest;

    if (!(dev->flags & NETDEV_UP) || !dev->mempool) {
        return;
    }
    if (dev->n_to_guest && get_guest(dev, &guest)) {
        dev->guest_features = guest.features;
    }
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        if (rxq_can_run(&dev->rxqs[i])) {
            vpci_gate_open(&dev->rxqs[i].gate);
        }
    }
    if (dev->n_to_guest) {
        vpci_held_end(dev, open_txqs);
    }
}

int
vpci_rings_n_pairs(const struct netdev_vpci *dev)
{
    struct vpci_guest guest;
    int n = 1;

    get_guest(dev, &guest);
    for (int i = 0; i < VPCI_MAX_RINGS / 2; i++) {
        if (guest.rings_ready & (UINT64_C(1) << VPCI_RING_FROM_GUEST(i))) {
            n = i / dev->classes.n + 1;
        }
    }
    return n;
}

/* The datapath is to poll as many queues as the guest uses, on its NUMA
 * node. */
static void
follow_guest(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_guest guest;

    if (get_guest(dev, &guest)) {
        vpci_follow(dev, vpci_rings_n_pairs(dev), guest.numa);
    } else {
        vpci_follow_nobody(dev);
    }
}

static void
update_carrier(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_guest guest;
    bool carrier = get_guest(dev, &guest) && guest.carrier;

    if (carrier != dev->carrier) {
        dev->carrier = carrier;
        dev->carrier_resets++;
        vpci_changed(dev);
    }
}

void
vpci_rings_resume(struct netdev_vpci *dev)
{
    ovs_assert(dev->paused > 0);
    if (--dev->paused) {
        return;
    }
    update_rings(dev);
    vpci_queues_update(dev);
    update_rxqs(dev);
    follow_guest(dev);
    update_carrier(dev);
    open_gates(dev);
    if (dev->lent_state != VPCI_LENT_AWAY) {
        vpci_held_drop(dev);
    }
    __atomic_store_n(&dev->in_pause, dev->active && dev->active->disturbed,
                     __ATOMIC_RELAXED);
}
