/* SPDX-License-Identifier: Apache-2.0 */

/* ovs-appctl vpci/show: what people ask a running switch about its vpci
 * ports. */

#include "netdev-vpci-call.h"

#include <inttypes.h>
#include <linux/virtio_config.h>

#include "netdev-offload.h"
#include "openvswitch/dynamic-string.h"
#include "unixctl.h"
#include "vpci/callee.h"

static void
show_ring(const struct vpci_ring *ring, struct ds *s)
{
    struct vpci_vring_state state;

    vpci_vring_get_state(ring->vring, &state);
    if (!state.running && !ring->fault) {
        return;
    }
    ds_put_format(s, "    ring %u (%s guest", (unsigned int) ring->index,
                  ring->index % 2 ? "from" : "to");
    if (ring->dev->classes.n > 1) {
        ds_put_format(s, ", class %u", (unsigned int) ring->class_);
    }
    ds_put_cstr(s, "): ");
    if (state.running) {
        ds_put_format(s, "size %"PRIu16", avail %"PRIu16", used %"PRIu16,
                      state.size, state.base.avail_idx, state.base.used_idx);
        if (state.packed) {
            ds_put_format(s, ", wrap %d/%d", state.base.avail_wrap,
                          state.base.used_wrap);
        } else {
            ds_put_format(s, ", driver at %"PRIu16, state.driver_idx);
        }
    } else {
        ds_put_cstr(s, "stopped");
    }
    ds_put_format(s, ", buffers %"PRIu64", notifications %"PRIu64,
                  state.n_bufs, state.n_notifies);
    ovs_mutex_lock(&ring->dev->fault_mutex);
    if (ring->fault) {
        ds_put_format(s, "\n      broken: %s", ring->fault);
    }
    ovs_mutex_unlock(&ring->dev->fault_mutex);
    ds_put_char(s, '\n');
}

static void
show_counters(const char *name, int id, const struct vpci_counters *c,
              struct ds *s)
{
    ds_put_format(s, "    %s %d: packets %"PRIu64", bytes %"PRIu64,
                  name, id, vpci_counter_read(&c->packets),
                  vpci_counter_read(&c->bytes));
    for (int i = 0; i < VPCI_N_DROPS; i++) {
        uint64_t n = vpci_counter_read(&c->drops[i]);

        if (n) {
            ds_put_format(s, ", %s %"PRIu64, vpci_drop_names[i], n);
        }
    }
    ds_put_char(s, '\n');
}

/* Packets and bytes of each class, if there are several. */
static void
show_classes(const struct netdev_vpci *dev, struct ds *s)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_counters rx, tx;

    if (dev->classes.n == 1) {
        return;
    }
    vpci_sum_counters(dev, &rx, &tx);
    ds_put_format(s, "  classes: %"PRIu32", by %s\n", dev->classes.n,
                  dev->classes.by == VPCI_ABI_CLASS_DSCP ? "DSCP" : "PCP");
    for (unsigned int i = 0; i < dev->classes.n; i++) {
        ds_put_format(s, "    class %u: packets received %"PRIu64", sent %"
                      PRIu64"; bytes received %"PRIu64", sent %"PRIu64"\n",
                      i, rx.class_packets[i], tx.class_packets[i],
                      rx.class_bytes[i], tx.class_bytes[i]);
    }
}

static void
show_features(uint64_t features, const char *rings, struct ds *s)
{
    ds_put_format(s, "  features: 0x%016"PRIx64" (", features);
    vpci_features_format(features, s);
    ds_put_format(s, "), %s rings\n", rings);
}

/* What guests have asked the switch, if anything. */
static void
show_calls(const struct netdev_vpci *dev, struct ds *s)
    OVS_REQUIRES(dev->mutex)
{
    const struct vpci_callee_stats *c = vpci_calls_stats(dev);

    if (c->calls || c->bad || vpci_calls_fault(dev)) {
        ds_put_format(s, "  calls: answered %"PRIu64", of these refused "
                      "%"PRIu64"; bad %"PRIu64"; times that they waited: too "
                      "many %"PRIu64", answers not taken %"PRIu64"\n",
                      c->calls, c->refused, c->bad, c->limited, c->stuck);
    }
    if (vpci_calls_fault(dev)) {
        ds_put_format(s, "    broken: %s\n", vpci_calls_fault(dev));
    }
}

static void
show_region(const struct netdev_vpci *dev, struct ds *s)
    OVS_REQUIRES(dev->mutex)
{
    struct smap status = SMAP_INITIALIZER(&status);
    struct vpci_guest guest;

    vpci_base_get_status(dev, &status);
    ds_put_format(s, "  ivshmem at %s: %s", dev->config.path
                  ? dev->config.path : "(no socket)",
                  smap_get_def(&status, "status", "no region"));
    if (smap_get(&status, "problem")) {
        ds_put_format(s, " (%s)", smap_get(&status, "problem"));
    }
    ds_put_char(s, '\n');
    if (smap_get(&status, "guest_id")) {
        ds_put_format(s, "  guest: ivshmem id %s, process %s of user %s\n",
                      smap_get(&status, "guest_id"),
                      smap_get(&status, "guest_pid"),
                      smap_get(&status, "guest_uid"));
    }
    if (dev->last_disconnect) {
        ds_put_format(s, "  last time disconnected: %s\n",
                      dev->last_disconnect);
    }
    if (vpci_base_get_guest(dev, &guest)) {
        show_features(guest.features, "native", s);
    }
    show_calls(dev, s);
    smap_destroy(&status);
}

static void
show_shut(const struct netdev_vpci *dev, struct ds *s)
{
    if (vpci_shut_reason(dev)) {
        ds_put_format(s, "  shut: %s\n", vpci_shut_reason(dev));
    }
}

static void
show_connection(const struct netdev_vpci *dev, struct ds *s)
    OVS_REQUIRES(dev->mutex)
{
    const struct vpci_conn *conn = dev->active;

    if (dev->config.mode == VPCI_MODE_IVSHMEM) {
        show_region(dev, s);
        show_shut(dev, s);
        return;
    }

    ds_put_format(s, "  %s %s: ", dev->config.mode == VPCI_MODE_LISTEN
                  ? "listening on" : "connecting to",
                  dev->config.path ? dev->config.path : "(no socket)");
    if (!conn) {
        ds_put_cstr(s, "disconnected");
    } else if (!conn->started) {
        ds_put_cstr(s, "connected, waiting for the guest's driver");
    } else {
        ds_put_cstr(s, "connected");
    }
    if (dev->last_disconnect) {
        ds_put_format(s, " (last time disconnected: %s)",
                      dev->last_disconnect);
    }
    ds_put_char(s, '\n');
    show_shut(dev, s);
    if (conn && conn->refusal) {
        ds_put_format(s, "  refused: %s\n", conn->refusal);
    }
    if (conn && conn->started) {
        show_features(conn->features,
                      conn->features & (UINT64_C(1) << VIRTIO_F_RING_PACKED)
                      ? "packed" : "split", s);
    }
}

/* Which path packets take. */
static void
show_paths(const struct netdev_vpci *dev, struct ds *s)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_counters rx, tx;
    struct vpci_offload_counts counts;

    vpci_sum_counters(dev, &rx, &tx);
    /* Read while they are counted. */
    rx.packets = MAX(rx.packets, rx.spliced_packets + rx.linked_packets);
    tx.packets = MAX(tx.packets, tx.spliced_packets + tx.linked_packets);
    ds_put_format(s, "  flow path: packets received %"PRIu64", sent %"PRIu64
                  "\n", rx.packets - rx.spliced_packets - rx.linked_packets,
                  tx.packets - tx.spliced_packets - tx.linked_packets);
    if (rx.linked_packets || tx.linked_packets) {
        ds_put_format(s, "  link path: packets received %"PRIu64", sent "
                      "%"PRIu64"\n", rx.linked_packets, tx.linked_packets);
    }
    if (vpci_offload_count(dev, &counts)) {
        ds_put_format(s, "  splice path: packets received %"PRIu64" (%"PRIu64
                      " in statistics of flows), sent %"PRIu64"; flows %"PRIu64
                      ", masks %"PRIu32"; bursts %"PRIu64", cycles %"PRIu64
                      "\n", rx.spliced_packets, counts.n_reported,
                      tx.spliced_packets, counts.n_flows, counts.n_masks,
                      rx.splice_bursts, rx.splice_cycles);
    } else if (!netdev_is_flow_api_enabled()) {
        ds_put_cstr(s, "  splice path: off: to turn it on, \"ovs-vsctl set "
                    "Open_vSwitch . other_config:hw-offload=true\" and "
                    "restart ovs-vswitchd\n");
    } else {
        ds_put_cstr(s, "  splice path: off: see the log for the reason\n");
    }
}

static void
show_port(const struct netdev_vpci *dev, struct ds *s)
    OVS_REQUIRES(dev->mutex)
{
    ds_put_format(s, "%s: %s, MTU %d, %d receive and %d transmit "
                  "queues%s\n", vpci_name(dev),
                  dev->config.mode == VPCI_MODE_IVSHMEM ? "vpci-net"
                  : "virtio-net", dev->mtu, dev->up.n_rxq,
                  dev->n_txqs, dev->flags & NETDEV_UP ? "" : ", down");
    show_connection(dev, s);
    vpci_follow_show(dev, s);
    show_paths(dev, s);
    show_classes(dev, s);
    for (int i = 0; i < VPCI_MAX_RINGS; i++) {
        show_ring(&dev->rings[i], s);
    }
    for (int i = 0; i < dev->up.n_rxq; i++) {
        show_counters("receive queue", i, &dev->rxqs[i].counters, s);
    }
    for (int i = 0; i < dev->n_txqs; i++) {
        show_counters("transmit queue", i, &dev->txqs[i].counters, s);
    }
    for (int i = 0; i < VPCI_MAX_RINGS; i += 2) {
        const struct vpci_counters *c = &dev->rings[i].spliced;

        if (vpci_counter_read(&c->packets) || vpci_sum_drops(c)) {
            show_counters("spliced to ring", i, c, s);
        }
    }
}

static void
vpci_unixctl_show(struct unixctl_conn *conn, int argc, const char *argv[],
                  void *aux OVS_UNUSED)
{
    struct ds s = DS_EMPTY_INITIALIZER;
    struct netdev_vpci *dev;
    bool found = false;

    ovs_mutex_lock(&vpci_mutex);
    LIST_FOR_EACH (dev, node, &vpci_list) {
        if (argc < 2 || !strcmp(argv[1], vpci_name(dev))) {
            found = true;
            ovs_mutex_lock(&dev->mutex);
            show_port(dev, &s);
            ovs_mutex_unlock(&dev->mutex);
        }
    }
    ovs_mutex_unlock(&vpci_mutex);

    if (argc > 1 && !found) {
        ds_put_format(&s, "%s: no such port of type vpci", argv[1]);
        unixctl_command_reply_error(conn, ds_cstr(&s));
    } else {
        unixctl_command_reply(conn, ds_cstr(&s));
    }
    ds_destroy(&s);
}

void
vpci_show_init(void)
{
    unixctl_command_register("vpci/show", "[port]", 0, 1, vpci_unixctl_show,
                             NULL);
}
