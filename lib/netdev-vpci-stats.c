/* SPDX-License-Identifier: Apache-2.0 */

/* Statistics and status of vpci ports. */

#include "netdev-vpci-call.h"

#include <inttypes.h>
#include <linux/virtio_config.h>

#include "netdev-vpci-lend.h"
#include "netdev-vpci-link.h"
#include "netdev-vpci-tso.h"
#include "openvswitch/dynamic-string.h"
#include "packets.h"
#include "smap.h"
#include "vpci/callee.h"

const char *const vpci_drop_names[VPCI_N_DROPS] = {
#define VPCI_DROP(ENUM, NAME) NAME,
    VPCI_DROPS
#undef VPCI_DROP
};

void
vpci_counters_add_tally(struct vpci_counters *c, const struct vpci_tally *t)
{
    vpci_counter_add(&c->packets, t->packets);
    vpci_counter_add(&c->bytes, t->bytes);
    vpci_counter_add(&c->multicast, t->multicast);
    vpci_counter_add(&c->broadcast, t->broadcast);
    for (int i = 0; i < VPCI_N_SIZES; i++) {
        vpci_counter_add(&c->sizes[i], t->sizes[i]);
    }
}

void
vpci_tally_super(struct vpci_tally *t, const struct eth_addr *dst,
                 const struct vpci_pkt *frame)
{
    uint32_t n = vpci_frame_packets(frame);
    uint32_t longest = vpci_frame_longest(frame);
    struct vpci_tally last = { .packets = 0 };

    /* All but the last are alike. */
    vpci_tally_frame(&last, dst,
                     vpci_frame_bytes(frame) - (uint64_t) (n - 1) * longest);
    t->packets += n;
    t->bytes += vpci_frame_bytes(frame);
    t->sizes[vpci_size_class(longest)] += n - 1;
    t->sizes[vpci_size_class(last.bytes)]++;
    t->max_len = MAX(t->max_len, longest);
    t->multicast += n * last.multicast;
    t->broadcast += n * last.broadcast;
}

void
vpci_counters_add_packets(struct vpci_counters *c,
                          struct dp_packet *const *pkts, int n)
{
    struct vpci_tally t = { .packets = 0 };

    for (int i = 0; i < n; i++) {
        if (OVS_UNLIKELY(dp_packet_hwol_is_tso(pkts[i]))) {
            vpci_tso_tally(&t, pkts[i]);
        } else {
            vpci_tally_frame(&t, dp_packet_data(pkts[i]),
                             dp_packet_size(pkts[i]));
        }
    }
    vpci_counters_add_tally(c, &t);
}

void
vpci_counters_add_frames(struct vpci_counters *c,
                         const struct vpci_pkt *frames, int n)
{
    struct vpci_tally t = { .packets = 0 };

    for (int i = 0; i < n; i++) {
        vpci_tally_pkt(&t, &frames[i]);
    }
    vpci_counters_add_tally(c, &t);
}

void
vpci_counters_accumulate(struct vpci_counters *dst,
                         const struct vpci_counters *src)
{
    const uint64_t *s = (const uint64_t *) src;
    uint64_t *d = (uint64_t *) dst;

    BUILD_ASSERT(sizeof *src % sizeof *s == 0);
    for (size_t i = 0; i < sizeof *src / sizeof *s; i++) {
        vpci_counter_add(&d[i], vpci_counter_read(&s[i]));
    }
}

void
vpci_sum_counters(const struct netdev_vpci *dev, struct vpci_counters *rx,
                  struct vpci_counters *tx)
{
    memset(rx, 0, sizeof *rx);
    *tx = dev->retired;
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        vpci_counters_accumulate(rx, &dev->rxqs[i].counters);
    }
    for (int i = 0; i < dev->n_txqs; i++) {
        vpci_counters_accumulate(tx, &dev->txqs[i].counters);
    }
    for (int i = 0; i < VPCI_MAX_RINGS; i++) {
        vpci_counters_accumulate(tx, &dev->rings[i].spliced);
    }
    vpci_linked_add_counters(&dev->linked, rx, tx);
    vpci_held_add_counters(dev, tx);
}

uint64_t
vpci_sum_drops(const struct vpci_counters *c)
{
    uint64_t sum = 0;

    for (int i = 0; i < VPCI_N_DROPS; i++) {
        sum += vpci_counter_read(&c->drops[i]);
    }
    return sum;
}

int
netdev_vpci_get_stats(const struct netdev *netdev,
                      struct netdev_stats *stats)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    struct vpci_counters rx, tx;

    ovs_mutex_lock(&dev->mutex);
    vpci_sum_counters(dev, &rx, &tx);
    ovs_mutex_unlock(&dev->mutex);

    /* UINT64_MAX in a member says that it is not kept. */
    memset(stats, 0xff, sizeof *stats);
    stats->rx_packets = rx.packets;
    stats->rx_bytes = rx.bytes;
    stats->rx_dropped = vpci_sum_drops(&rx);
    stats->rx_errors = rx.drops[VPCI_DROP_RX_RUNT]
                       + rx.drops[VPCI_DROP_RX_OVERSIZE];
    stats->multicast = rx.multicast;
    stats->rx_broadcast_packets = rx.broadcast;
    stats->rx_1_to_64_packets = rx.sizes[0];
    stats->rx_65_to_127_packets = rx.sizes[1];
    stats->rx_128_to_255_packets = rx.sizes[2];
    stats->rx_256_to_511_packets = rx.sizes[3];
    stats->rx_512_to_1023_packets = rx.sizes[4];
    stats->rx_1024_to_1522_packets = rx.sizes[5];
    stats->rx_1523_to_max_packets = rx.sizes[6];

    stats->tx_packets = tx.packets;
    stats->tx_bytes = tx.bytes;
    stats->tx_dropped = vpci_sum_drops(&tx);
    stats->tx_errors = 0;
    stats->tx_multicast_packets = tx.multicast;
    stats->tx_broadcast_packets = tx.broadcast;
    stats->tx_1_to_64_packets = tx.sizes[0];
    stats->tx_65_to_127_packets = tx.sizes[1];
    stats->tx_128_to_255_packets = tx.sizes[2];
    stats->tx_256_to_511_packets = tx.sizes[3];
    stats->tx_512_to_1023_packets = tx.sizes[4];
    stats->tx_1024_to_1522_packets = tx.sizes[5];
    stats->tx_1523_to_max_packets = tx.sizes[6];
    return 0;
}

static void
add_custom(struct netdev_custom_stats *stats, uint64_t value,
           const char *format, ...)
    OVS_PRINTF_FORMAT(3, 4);

static void
add_custom(struct netdev_custom_stats *stats, uint64_t value,
           const char *format, ...)
{
    struct netdev_custom_counter *counter;
    va_list args;

    counter = &stats->counters[stats->size++];
    va_start(args, format);
    vsnprintf(counter->name, sizeof counter->name, format, args);
    va_end(args);
    counter->value = value;
}

/* Adds the counters of receive queues that are in use.  Transmit queues belong
 * to threads of the datapath: they say nothing about the guest. */
static void
add_queue_stats(const struct netdev_vpci *dev,
                struct netdev_custom_stats *stats)
    OVS_REQUIRES(dev->mutex)
{
    for (int i = 0; i < dev->up.n_rxq; i++) {
        const struct vpci_counters *c = &dev->rxqs[i].counters;

        add_custom(stats, vpci_counter_read(&c->packets),
                   "rx_q%d_good_packets", i);
        add_custom(stats, vpci_counter_read(&c->bytes),
                   "rx_q%d_good_bytes", i);
    }
}

/* Adds the counters of each class, if there are several. */
static void
add_class_stats(const struct netdev_vpci *dev, const struct vpci_counters *rx,
                const struct vpci_counters *tx,
                struct netdev_custom_stats *stats)
{
    for (unsigned int i = 0; dev->classes.n > 1 && i < dev->classes.n; i++) {
        add_custom(stats, rx->class_packets[i], "rx_class%u_good_packets", i);
        add_custom(stats, rx->class_bytes[i], "rx_class%u_good_bytes", i);
        add_custom(stats, tx->class_packets[i], "tx_class%u_good_packets", i);
        add_custom(stats, tx->class_bytes[i], "tx_class%u_good_bytes", i);
    }
}

static void
add_call_stats(const struct netdev_vpci *dev,
               struct netdev_custom_stats *stats)
    OVS_REQUIRES(dev->mutex)
{
    const struct vpci_callee_stats *calls = vpci_calls_stats(dev);

    add_custom(stats, calls->calls, "vpci_calls");
    add_custom(stats, calls->refused, "vpci_calls_refused");
    add_custom(stats, calls->bad, "vpci_calls_bad");
    add_custom(stats, calls->limited, "vpci_calls_limited");
    add_custom(stats, calls->stuck, "vpci_calls_stuck");
}

int
netdev_vpci_get_custom_stats(const struct netdev *netdev,
                             struct netdev_custom_stats *stats)
{
    enum { N_OTHERS = 16 };

    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    struct vpci_counters rx, tx;

    stats->size = 0;
    stats->counters = xcalloc(VPCI_N_DROPS + N_OTHERS
                              + 2 * VPCI_MAX_QUEUE_PAIRS
                              + 4 * VPCI_ABI_MAX_CLASSES,
                              sizeof *stats->counters);

    ovs_mutex_lock(&dev->mutex);
    vpci_sum_counters(dev, &rx, &tx);
    for (int i = 0; i < VPCI_N_DROPS; i++) {
        add_custom(stats, rx.drops[i] + tx.drops[i], "%s", vpci_drop_names[i]);
    }
    add_custom(stats, tx.retries, "ovs_tx_retries");
    add_custom(stats, rx.no_mbufs, "vpci_rx_no_mbufs");
    add_custom(stats, rx.spliced_packets, "vpci_rx_spliced_packets");
    add_custom(stats, tx.spliced_packets, "vpci_tx_spliced_packets");
    add_custom(stats, rx.linked_packets, "vpci_rx_linked_packets");
    add_custom(stats, tx.linked_packets, "vpci_tx_linked_packets");
    add_custom(stats, rx.splice_cycles, "vpci_rx_splice_cycles");
    add_custom(stats, rx.notifies, "vpci_rx_notifications");
    add_custom(stats, tx.notifies, "vpci_tx_notifications");
    add_custom(stats, dev->n_connects, "vpci_connects");
    add_call_stats(dev, stats);
    add_queue_stats(dev, stats);
    add_class_stats(dev, &rx, &tx, stats);
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static void
add_ring_status(const struct netdev_vpci *dev, struct smap *args)
    OVS_REQUIRES(dev->mutex)
{
    int n_rings = 0;

    for (int i = 0; i < VPCI_MAX_RINGS; i++) {
        struct vpci_vring_state state;

        vpci_vring_get_state(dev->rings[i].vring, &state);
        if (state.running) {
            n_rings++;
            smap_add_nocopy(args, xasprintf("vring_%d_size", i),
                            xasprintf("%"PRIu16, state.size));
        }
    }
    smap_add_format(args, "num_of_vrings", "%d", n_rings);

    ovs_mutex_lock(&dev->fault_mutex);
    for (int i = 0; i < VPCI_MAX_RINGS; i++) {
        if (dev->rings[i].fault) {
            smap_add_nocopy(args, xasprintf("vring_%d_broken", i),
                            xstrdup(dev->rings[i].fault));
        }
    }
    ovs_mutex_unlock(&dev->fault_mutex);
}

static void
add_features(uint64_t features, struct smap *args)
{
    struct ds s = DS_EMPTY_INITIALIZER;

    smap_add_format(args, "features", "0x%016"PRIx64, features);
    vpci_features_format(features, &s);
    smap_add(args, "feature_names", ds_cstr(&s));
    ds_destroy(&s);
}

static void
add_virtio_status(const struct netdev_vpci *dev, struct smap *args)
    OVS_REQUIRES(dev->mutex)
{
    const struct vpci_conn *conn = dev->active;

    smap_add(args, "device", "virtio-net");
    smap_add(args, "mode", dev->config.mode == VPCI_MODE_LISTEN
             ? "server" : "client");
    smap_add(args, "status", !conn ? "disconnected"
             : !conn->started ? "connected, waiting for the guest's driver"
             : "connected");
    if (conn && conn->started) {
        add_features(conn->features, args);
        smap_add(args, "ring_type",
                 conn->features & (UINT64_C(1) << VIRTIO_F_RING_PACKED)
                 ? "packed" : "split");
        smap_add_format(args, "queue_pairs", "%d", vpci_rings_n_pairs(dev));
        if (conn->mtu) {
            smap_add_format(args, "guest_mtu", "%"PRIu16, conn->mtu);
        }
        if (conn->numa >= 0) {
            smap_add_format(args, "numa", "%d", conn->numa);
        }
        add_ring_status(dev, args);
    }
    if (conn && conn->refusal) {
        smap_add(args, "refused", conn->refusal);
    }
}

static void
add_native_status(const struct netdev_vpci *dev, struct smap *args)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_guest guest;

    smap_add(args, "device", "vpci-net");
    vpci_base_get_status(dev, args);
    if (vpci_base_get_guest(dev, &guest)) {
        add_features(guest.features, args);
        smap_add(args, "ring_type", "native");
        smap_add_format(args, "queue_pairs", "%d", vpci_rings_n_pairs(dev));
        add_ring_status(dev, args);
    }
}

int
netdev_vpci_get_status(const struct netdev *netdev, struct smap *args)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    if (dev->config.path) {
        smap_add(args, "socket", dev->config.path);
    }
    smap_add_format(args, "mtu", "%d", dev->mtu);
    vpci_lend_get_status(dev, args);
    if (dev->config.mode == VPCI_MODE_IVSHMEM) {
        add_native_status(dev, args);
    } else {
        add_virtio_status(dev, args);
    }
    if (vpci_shut_reason(dev)) {
        smap_add(args, "shut", vpci_shut_reason(dev));
    }
    if (dev->last_disconnect) {
        smap_add(args, "last_disconnect", dev->last_disconnect);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}
