/* SPDX-License-Identifier: Apache-2.0 */

/* The netdev provider of type "vpci": class, life cycle, flags, MTU and
 * reconfiguration. */

#include "netdev-vpci-private.h"

#include <errno.h>
#include <limits.h>

#include "connectivity.h"
#include "dpdk.h"
#include "netdev-vpci-call.h"
#include "netdev-vpci-keeper.h"
#include "netdev-vpci-lend.h"
#include "netdev-vpci-link.h"
#include "netdev-vpci-tso.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "ovs-numa.h"
#include "packets.h"
#include "seq.h"
#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci);

struct ovs_mutex vpci_mutex = OVS_MUTEX_INITIALIZER;
struct ovs_list vpci_list OVS_GUARDED_BY(vpci_mutex)
    = OVS_LIST_INITIALIZER(&vpci_list);

static int netdev_vpci_construct(struct netdev *);

bool
is_netdev_vpci(const struct netdev *netdev)
{
    return netdev->netdev_class->construct == netdev_vpci_construct;
}

static void
say_changed(struct netdev_vpci *dev)
{
    /* This wakes the main thread first and changes the port's sequence number
     * afterwards, so that the main thread may look too early... */
    netdev_change_seq_changed(&dev->up);

    /* ...and has to look again. */
    seq_change(connectivity_seq_get());
}

/* For how long after the process began to say everything twice, and when to
 * say it again, in ms.
 *
 * Open vSwitch may have skipped it.  What it finds while it configures itself
 * it writes to the database by one transaction; what changes before that is
 * complete, by another one, which leaves out what is in the database already:
 * from the process that was killed before this one began. */
#define TWICE_MS 60000
#define AGAIN_MS 1000

void
vpci_changed(struct netdev_vpci *dev)
{
    long long int now = time_msec();

    if (now - time_boot_msec() < TWICE_MS) {
        atomic_store_relaxed(&dev->say_again_at, now + AGAIN_MS);
    }
    say_changed(dev);
}

/* Says once more that something has changed, if it is time to. */
static void
say_again(struct netdev_vpci *dev)
{
    long long int at;

    atomic_read_relaxed(&dev->say_again_at, &at);
    if (time_msec() >= at
        && atomic_compare_exchange_strong(&dev->say_again_at, &at,
                                          LLONG_MAX)) {
        say_changed(dev);
    }
}

static int
netdev_vpci_init(void)
{
    vpci_show_init();
    vpci_steering_init();
    vpci_links_show_init();
    return 0;
}

static void
netdev_vpci_run(const struct netdev_class *class)
{
    struct shash ports = SHASH_INITIALIZER(&ports);
    struct shash_node *node;

    /* The references keep the ports, without any of our mutexes. */
    netdev_get_devices(class, &ports);
    vpci_tso_run(&ports);
    vpci_links_run();
    vpci_lends_run();
    vpci_keeper_run();
    SHASH_FOR_EACH (node, &ports) {
        struct netdev *netdev = node->data;

        vpci_lend_free_port(netdev_vpci_cast(netdev));
        vpci_vhost_run(netdev_vpci_cast(netdev));
        vpci_base_run(netdev_vpci_cast(netdev));
        vpci_follow_run(netdev_vpci_cast(netdev));
        say_again(netdev_vpci_cast(netdev));
        netdev_close(netdev);
    }
    shash_destroy(&ports);
    vpci_mempool_sweep();
}

static void
netdev_vpci_wait(const struct netdev_class *class OVS_UNUSED)
{
    struct netdev_vpci *dev;

    ovs_mutex_lock(&vpci_mutex);
    LIST_FOR_EACH (dev, node, &vpci_list) {
        long long int at;

        vpci_vhost_wait(dev);
        vpci_base_wait(dev);
        vpci_follow_wait(dev);
        atomic_read_relaxed(&dev->say_again_at, &at);
        if (at != LLONG_MAX) {
            poll_timer_wait_until(at);
        }
    }
    ovs_mutex_unlock(&vpci_mutex);
    vpci_links_wait();
    vpci_lends_wait();
    vpci_keeper_wait();
}

static struct netdev *
netdev_vpci_alloc(void)
{
    struct netdev_vpci *dev = xzalloc_cacheline(sizeof *dev);

    return &dev->up;
}

static void
netdev_vpci_dealloc(struct netdev *netdev)
{
    free_cacheline(netdev_vpci_cast(netdev));
}

/* What a process needs once, after it has become a daemon. */
static int
process_init(void)
{
    int error = vpci_guard_global_init();

    vpci_gate_global_init();
    if (error) {
        VLOG_ERR("cannot guard against guest memory that vanishes: %s",
                 ovs_strerror(error));
    }
    return error;
}

static int
netdev_vpci_construct(struct netdev *netdev)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    int error = process_init();

    if (!error) {
        error = vpci_rings_init(dev);
        if (error) {
            vpci_rings_uninit(dev);
        }
    }
    if (error) {
        return error;
    }

    dev->up.ol_flags |= vpci_tso_ol_flags();
    dev->rl = (struct vlog_rate_limit) VLOG_RATE_LIMIT_INIT(20, 20);
    ovs_mutex_init(&dev->mutex);
    ovs_mutex_init(&dev->fault_mutex);
    ovs_list_init(&dev->conns);
    dev->calls = vpci_calls_create(dev);
    dev->held = vpci_held_create();
    dev->reregister_at = LLONG_MAX;
    eth_addr_random(&dev->hwaddr);
    atomic_init(&dev->tx_retries_max, 0);
    atomic_init(&dev->rarp_pending, false);
    atomic_init(&dev->say_again_at, LLONG_MAX);
    ovsrcu_init(&dev->ingress, NULL);
    ovsrcu_init(&dev->egress, NULL);
    dev->flags = NETDEV_UP | NETDEV_PROMISC;
    dev->requested_mtu = dev->mtu = ETH_PAYLOAD_MAX;
    atomic_init(&dev->max_frame, dev->mtu + VPCI_FRAME_OVERHEAD);
    dev->requested_n_rxq = netdev->n_rxq = 1;
    dev->requested_n_txq = netdev->n_txq = 1;
    dev->refused_socket_id = -1;
    dev->requested_socket_id = dev->socket_id
        = dpdk_available() ? rte_lcore_to_socket_id(rte_get_main_lcore()) : 0;

    ovs_mutex_lock(&dev->mutex);
    vpci_rings_set_n_txq(dev, 1);
    vpci_rings_resume(dev);
    ovs_mutex_unlock(&dev->mutex);

    ovs_mutex_lock(&vpci_mutex);
    ovs_list_push_back(&vpci_list, &dev->node);
    ovs_mutex_unlock(&vpci_mutex);

    netdev_request_reconfigure(netdev);
    return 0;
}

static void
netdev_vpci_destruct(struct netdev *netdev)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    vpci_lend_forget_owner(dev);
    vpci_config_unregister(dev);

    ovs_mutex_lock(&vpci_mutex);
    ovs_list_remove(&dev->node);
    ovs_mutex_unlock(&vpci_mutex);

    ovs_mutex_lock(&dev->mutex);
    vpci_rings_pause(dev);
    vpci_rings_stop_all(dev);
    vpci_qos_uninit(dev);
    vpci_mempool_put(dev->mempool);
    ovs_mutex_unlock(&dev->mutex);

    vpci_rings_uninit(dev);
    vpci_config_uninit(&dev->config);
    vpci_calls_destroy(dev->calls);
    vpci_held_destroy(dev->held);
    free(dev->last_disconnect);
    ovs_mutex_destroy(&dev->fault_mutex);
    ovs_mutex_destroy(&dev->mutex);
}

static int
netdev_vpci_get_numa_id(const struct netdev *netdev)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    int socket_id;

    ovs_mutex_lock(&dev->mutex);
    socket_id = dev->socket_id;
    ovs_mutex_unlock(&dev->mutex);
    return socket_id;
}

static int
netdev_vpci_set_tx_multiq(struct netdev *netdev, unsigned int n_txq)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    if (dev->requested_n_txq != n_txq) {
        dev->requested_n_txq = n_txq;
        netdev_request_reconfigure(netdev);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static int
netdev_vpci_set_etheraddr(struct netdev *netdev, const struct eth_addr mac)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    if (!eth_addr_equals(dev->hwaddr, mac)) {
        dev->hwaddr = mac;
        vpci_changed(dev);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static int
netdev_vpci_get_etheraddr(const struct netdev *netdev, struct eth_addr *mac)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    *mac = dev->hwaddr;
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static int
netdev_vpci_get_mtu(const struct netdev *netdev, int *mtup)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    *mtup = dev->mtu;
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static int
netdev_vpci_set_mtu(struct netdev *netdev, int mtu)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    if (mtu < VPCI_MIN_MTU || mtu > VPCI_MAX_MTU) {
        VLOG_WARN_RL(&dev->rl, "%s: MTU %d is not possible: set mtu_request "
                     "to a value from %d to %d", vpci_name(dev), mtu,
                     VPCI_MIN_MTU, VPCI_MAX_MTU);
        return EINVAL;
    }
    ovs_mutex_lock(&dev->mutex);
    if (dev->requested_mtu != mtu) {
        dev->requested_mtu = mtu;
        netdev_request_reconfigure(netdev);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static int
netdev_vpci_get_carrier(const struct netdev *netdev, bool *carrier)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    *carrier = dev->carrier && dev->flags & NETDEV_UP;
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static long long int
netdev_vpci_get_carrier_resets(const struct netdev *netdev)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    long long int carrier_resets;

    ovs_mutex_lock(&dev->mutex);
    carrier_resets = dev->carrier_resets;
    ovs_mutex_unlock(&dev->mutex);
    return carrier_resets;
}

static int
netdev_vpci_update_flags(struct netdev *netdev, enum netdev_flags off,
                         enum netdev_flags on, enum netdev_flags *old_flagsp)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    enum netdev_flags new_flags;

    if ((off | on) & ~(NETDEV_UP | NETDEV_PROMISC)) {
        return EINVAL;
    }

    ovs_mutex_lock(&dev->mutex);
    *old_flagsp = dev->flags;
    new_flags = (dev->flags & ~off) | on;
    if (new_flags != dev->flags) {
        vpci_rings_pause(dev);
        dev->flags = new_flags;
        vpci_base_update(dev);
        vpci_rings_resume(dev);
        vpci_changed(dev);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

/* Gives 'dev' mbufs for its MTU and NUMA node.  While paused. */
static int
reconfigure_mempool(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_mempool *pool = vpci_mempool_get(dev->requested_mtu,
                                                 dev->requested_socket_id);

    if (!pool && dev->requested_socket_id != dev->socket_id) {
        VLOG_WARN_RL(&dev->rl, "%s: no huge pages on NUMA node %d, where the "
                     "guest is: its packets go by way of node %d",
                     vpci_name(dev), dev->requested_socket_id,
                     dev->socket_id);
        dev->refused_socket_id = dev->requested_socket_id;
        dev->requested_socket_id = dev->socket_id;
        pool = vpci_mempool_get(dev->requested_mtu, dev->socket_id);
    }
    if (!pool && dev->mempool) {
        VLOG_ERR("%s: keeps MTU %d for want of memory for MTU %d",
                 vpci_name(dev), dev->mtu, dev->requested_mtu);
        dev->requested_mtu = dev->mtu;
        dev->requested_socket_id = dev->socket_id;
        return 0;
    } else if (!pool) {
        VLOG_ERR("%s: cannot start for want of memory: give Open vSwitch more "
                 "huge pages or the port a smaller mtu_request than %d",
                 vpci_name(dev), dev->requested_mtu);
        return ENOMEM;
    }
    vpci_mempool_put(dev->mempool);
    dev->mempool = pool;
    dev->mtu = dev->requested_mtu;
    dev->socket_id = dev->requested_socket_id;
    atomic_store_relaxed(&dev->max_frame, dev->mtu + VPCI_FRAME_OVERHEAD);
    return 0;
}

static int
netdev_vpci_reconfigure(struct netdev *netdev)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    int error = 0;

    if (!dpdk_available()) {
        return ENODEV;
    }
    ovs_mutex_lock(&dev->mutex);
    if (dev->mempool && netdev->n_rxq == dev->requested_n_rxq
        && netdev->n_txq == dev->requested_n_txq
        && dev->mtu == dev->requested_mtu
        && dev->socket_id == dev->requested_socket_id) {
        goto unlock;
    }

    vpci_rings_pause(dev);
    if (!dev->mempool || dev->mtu != dev->requested_mtu
        || dev->socket_id != dev->requested_socket_id) {
        error = reconfigure_mempool(dev);
    }
    if (!error) {
        vpci_rings_set_n_txq(dev, dev->requested_n_txq);
        netdev->n_txq = dev->requested_n_txq;
        netdev->n_rxq = dev->requested_n_rxq;
        vpci_base_update(dev);
    }
    vpci_rings_resume(dev);
    vpci_changed(dev);

unlock:
    ovs_mutex_unlock(&dev->mutex);
    return error;
}

static struct netdev_rxq *
netdev_vpci_rxq_alloc(void)
{
    return xzalloc(sizeof(struct netdev_rxq));
}

static int
netdev_vpci_rxq_construct(struct netdev_rxq *rxq OVS_UNUSED)
{
    return 0;
}

static void
netdev_vpci_rxq_destruct(struct netdev_rxq *rxq OVS_UNUSED)
{
}

static void
netdev_vpci_rxq_dealloc(struct netdev_rxq *rxq)
{
    free(rxq);
}

/* A queue whose ring does not run need not be polled.  PMD threads. */
static bool
netdev_vpci_rxq_enabled(struct netdev_rxq *rxq)
{
    struct netdev_vpci *dev = netdev_vpci_cast(rxq->netdev);

    return !rxq->queue_id
           || __atomic_load_n(&dev->rxqs[rxq->queue_id].running,
                              __ATOMIC_RELAXED);
}

const struct netdev_class netdev_vpci_class = {
    .type = "vpci",
    .is_pmd = true,
    .init = netdev_vpci_init,
    .run = netdev_vpci_run,
    .wait = netdev_vpci_wait,
    .alloc = netdev_vpci_alloc,
    .construct = netdev_vpci_construct,
    .destruct = netdev_vpci_destruct,
    .dealloc = netdev_vpci_dealloc,
    .get_config = netdev_vpci_get_config,
    .set_config = netdev_vpci_set_config,
    .get_numa_id = netdev_vpci_get_numa_id,
    .set_tx_multiq = netdev_vpci_set_tx_multiq,
    .send = netdev_vpci_send,
    .set_etheraddr = netdev_vpci_set_etheraddr,
    .get_etheraddr = netdev_vpci_get_etheraddr,
    .get_mtu = netdev_vpci_get_mtu,
    .set_mtu = netdev_vpci_set_mtu,
    .get_carrier = netdev_vpci_get_carrier,
    .get_carrier_resets = netdev_vpci_get_carrier_resets,
    .get_stats = netdev_vpci_get_stats,
    .get_custom_stats = netdev_vpci_get_custom_stats,
    .set_policing = netdev_vpci_set_policing,
    .get_qos_types = netdev_vpci_get_qos_types,
    .get_qos = netdev_vpci_get_qos,
    .set_qos = netdev_vpci_set_qos,
    .get_status = netdev_vpci_get_status,
    .update_flags = netdev_vpci_update_flags,
    .reconfigure = netdev_vpci_reconfigure,
    .rxq_alloc = netdev_vpci_rxq_alloc,
    .rxq_construct = netdev_vpci_rxq_construct,
    .rxq_destruct = netdev_vpci_rxq_destruct,
    .rxq_dealloc = netdev_vpci_rxq_dealloc,
    .rxq_enabled = netdev_vpci_rxq_enabled,
    .rxq_recv = netdev_vpci_rxq_recv,
};

/* Registration does not start threads: the daemon has yet to fork. */
OVS_CONSTRUCTOR(netdev_vpci_register) {
    netdev_register_provider(&netdev_vpci_class);
}
