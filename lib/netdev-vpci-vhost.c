/* SPDX-License-Identifier: Apache-2.0 */

/* librte_vhost: sockets, connections and vhost-user messages.
 *
 * The library speaks the protocol; its own data path is never called.  It
 * calls us on its event thread ("vhost-events"), on its reconnection thread,
 * and on a thread that starts or unregisters a socket; all that concerns one
 * connection is serialized by the library.
 *
 * Several messages unmap guest memory or move rings without any callback.  So
 * before each of these every thread that works on the port's rings is stopped
 * (vhost_pre_message()), and afterwards rings and memory are read anew
 * (vhost_post_message()), with our own indices, which the library keeps for us
 * in the meantime. */

#include "netdev-vpci-lend.h"
#include "netdev-vpci-message.h"

#include <errno.h>
#include <limits.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fatal-signal.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "packets.h"
#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_vhost);

/* Connections of one port at a time: the one whose rings run, and those that
 * wait for it to end. */
#define MAX_CONNS 2

/* Milliseconds to leave a socket alone whose owner hangs up at once: before
 * they have passed, for so many times in a row. */
#define RETRY_INTERVAL 1000
#define MAX_SHORT_LIVED 3

/* Milliseconds within which vanished memory is noticed. */
#define GUARD_INTERVAL 500

/* What only drivers that are older than virtio 1.0 use: they have the features
 * that took its place, too. */
#define OFFLOAD_FEATURES (UINT64_C(1) << VIRTIO_NET_F_GSO)

/* Needed for more than one queue pair.  The control queue itself is served by
 * QEMU and by virtio-user; a front end that would leave it to us, as
 * User-Mode Linux does, would wait for ever for an answer. */
#define MULTIQUEUE_FEATURES                         \
    (UINT64_C(1) << VIRTIO_NET_F_CTRL_VQ            \
     | UINT64_C(1) << VIRTIO_NET_F_CTRL_RX          \
     | UINT64_C(1) << VIRTIO_NET_F_GUEST_ANNOUNCE   \
     | UINT64_C(1) << VIRTIO_NET_F_MQ)

/* Those that mean something to us or, as SLAVE_REQ does to User-Mode Linux, to
 * a front end, and that the library handles well.  It would offer more: with
 * post-copy migration it hands the front end a userfaultfd for our address
 * space, and to track buffers in flight it writes where the front end says. */
#define PROTOCOL_FEATURES                               \
    (UINT64_C(1) << VHOST_USER_PROTOCOL_F_MQ            \
     | UINT64_C(1) << VHOST_USER_PROTOCOL_F_LOG_SHMFD   \
     | UINT64_C(1) << VHOST_USER_PROTOCOL_F_RARP        \
     | UINT64_C(1) << VHOST_USER_PROTOCOL_F_REPLY_ACK   \
     | UINT64_C(1) << VHOST_USER_PROTOCOL_F_NET_MTU     \
     | UINT64_C(1) << VHOST_USER_PROTOCOL_F_SLAVE_REQ   \
     | UINT64_C(1) << VHOST_USER_PROTOCOL_F_STATUS)

/* Connections by the library's id.  An entry is set and cleared by the
 * callbacks of that connection and by nothing else. */
static struct vpci_conn *conns_by_vid[RTE_MAX_VHOST_DEVICE];

/* Memory that vanished while the library itself touched it, on this thread,
 * before it had a guard. */
static bool library_memory_lost;

static struct vpci_conn *
conn_from_vid(int vid)
{
    return vid >= 0 && vid < RTE_MAX_VHOST_DEVICE ? conns_by_vid[vid] : NULL;
}

/* Lets rings follow what has changed in the port's connections. */
static void
sync_rings(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    vpci_rings_pause(dev);
    vpci_rings_resume(dev);
}

/* Connections. */

/* If memory of 'conn', of port 'dev', vanished, stops using it. */
static void
conn_check_memory(struct netdev_vpci *dev, struct vpci_conn *conn)
    OVS_REQUIRES(dev->mutex)
{
    if (!conn->memory_valid || !vpci_conn_lost_memory(conn)) {
        return;
    }
    conn->memory_valid = false;
    if (conn != dev->active) {
        return;
    }
    vpci_lend_recall(dev, "its memory vanished");
    VLOG_ERR("%s: the memory of the guest vanished: its front end shrank the "
             "file that it shares; the port is dead until the front end "
             "connects anew", vpci_name(dev));
    vpci_rings_pause(dev);
    vpci_rings_stop_all(dev);
    free(dev->last_disconnect);
    dev->last_disconnect = xstrdup("the front end shrank the memory that it "
                                   "shares");
    vpci_rings_resume(dev);
    vpci_changed(dev);
}

static struct netdev_vpci *
find_port_of_vid(int vid)
{
    char path[PATH_MAX];
    struct netdev_vpci *dev, *found = NULL;

    if (rte_vhost_get_ifname(vid, path, sizeof path)) {
        return NULL;
    }
    ovs_mutex_lock(&vpci_mutex);
    LIST_FOR_EACH (dev, node, &vpci_list) {
        if (dev->config.path && !strcmp(dev->config.path, path)) {
            found = dev;
            break;
        }
    }
    ovs_mutex_unlock(&vpci_mutex);
    return found;
}

/* The oldest connection is the one whose rings run. */
static void
choose_active(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    dev->active = ovs_list_is_empty(&dev->conns) ? NULL
                  : CONTAINER_OF(ovs_list_front(&dev->conns),
                                 struct vpci_conn, node);
}

static const char *
disconnect_reason(const struct vpci_conn *conn, char *buf, size_t size)
{
    if (conn->refused_last) {
        snprintf(buf, size, "%s", conn->refusal);
    } else if (!conn->negotiated) {
        snprintf(buf, size, "the peer hung up without a word of vhost-user: "
                 "does something else use this socket?");
    } else if (conn->request) {
        const char *name = vpci_request_name(conn->request);

        snprintf(buf, size, "request %s (%"PRIu32") of the front end was "
                 "refused", name ? name : "unknown", conn->request);
    } else {
        snprintf(buf, size, "the front end closed the connection");
    }
    return buf;
}

/* Ends 'conn', of port 'dev', of which the library knows nothing any more
 * after this, and lets the next in line take over. */
static void
conn_destroy(struct netdev_vpci *dev, struct vpci_conn *conn,
             const char *reason)
    OVS_REQUIRES(dev->mutex)
{
    bool was_active = conn == dev->active;

    if (was_active) {
        vpci_lend_recall(dev, "its front end has gone");
        vpci_rings_pause(dev);
        vpci_rings_stop_all(dev);
        if (!dev->lent && dev->lent_state == VPCI_LENT_FENCED) {
            /* What somebody has not given back goes with it. */
            dev->lent_state = VPCI_LENT_NOT;
        }
    }
    conn->started = false;
    conn->rings_ready = 0;
    ovs_list_remove(&conn->node);
    if (conns_by_vid[conn->vid] == conn) {
        /* The library may have given the number to somebody else. */
        conns_by_vid[conn->vid] = NULL;
    }
    choose_active(dev);
    if (was_active) {
        atomic_store_relaxed(&dev->rarp_pending, false);
    }
    if (was_active && reason) {
        free(dev->last_disconnect);
        dev->last_disconnect = xstrdup(reason);
        VLOG_INFO_RL(&dev->rl, "%s: disconnected: %s", vpci_name(dev),
                     reason);
    }
    if (was_active) {
        vpci_rings_resume(dev);
    }

    vpci_conn_forget_memory(conn);
    vpci_conn_release_memory(conn);
    free(conn->refusal);
    free(conn);
}

static enum rte_vhost_msg_result vhost_pre_message(int vid, void *msg);
static enum rte_vhost_msg_result vhost_post_message(int vid, void *msg);

static const struct rte_vhost_user_extern_ops message_ops = {
    .pre_msg_handle = vhost_pre_message,
    .post_msg_handle = vhost_post_message,
};

/* The library is about to be told that a connection of 'dev' is refused.  If
 * it is the library that connects, it would either do so again at once or
 * never: so we make it try again at 'time'. */
static void
refuse_until(struct netdev_vpci *dev, long long int time)
    OVS_REQUIRES(dev->mutex)
{
    if (dev->config.mode == VPCI_MODE_CONNECT) {
        dev->reregister_at = time;
        vpci_changed(dev);
    }
}

/* Returns true if a new connection of 'dev' should be refused. */
static bool
refuse_connection(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    if (vpci_shut_reason(dev)) {
        VLOG_WARN_RL(&dev->rl, "%s: refusing a front end: %s", vpci_name(dev),
                     vpci_shut_reason(dev));
        refuse_until(dev, time_msec() + RETRY_INTERVAL);
        return true;
    }
    if (ovs_list_size(&dev->conns) >= MAX_CONNS) {
        VLOG_WARN_RL(&dev->rl, "%s: refusing a front end: %d are connected to "
                     "%s already", vpci_name(dev), MAX_CONNS,
                     dev->config.path);
        return true;
    }
    if (time_msec() < dev->refuse_until) {
        VLOG_WARN_RL(&dev->rl, "%s: refusing front ends on %s for a while: "
                     "they stop in the middle of messages and keep all "
                     "others waiting", vpci_name(dev),
                     dev->config.path);
        refuse_until(dev, dev->refuse_until);
        return true;
    }
    if (dev->config.mode == VPCI_MODE_CONNECT
        && dev->n_short_lived >= MAX_SHORT_LIVED
        && time_msec() < dev->short_lived_at + RETRY_INTERVAL) {
        /* The library would connect again and again without a pause. */
        VLOG_WARN_RL(&dev->rl, "%s: %s accepts connections and ends them at "
                     "once: trying again in a second; check that it belongs "
                     "to a guest", vpci_name(dev), dev->config.path);
        refuse_until(dev, time_msec() + RETRY_INTERVAL);
        return true;
    }
    return false;
}

static int
vhost_new_connection(int vid)
{
    struct netdev_vpci *dev = find_port_of_vid(vid);
    struct vpci_conn *conn;

    if (!dev || vid >= RTE_MAX_VHOST_DEVICE) {
        return -1;
    }
    ovs_mutex_lock(&dev->mutex);
    if (refuse_connection(dev)) {
        ovs_mutex_unlock(&dev->mutex);
        return -1;
    }
    conn = xzalloc(sizeof *conn);
    conn->dev = dev;
    conn->vid = vid;
    conn->numa = -1;
    conn->since = time_msec();
    if (dev->active) {
        VLOG_WARN_RL(&dev->rl, "%s: a second front end connected to %s: it "
                     "waits until the first one leaves", vpci_name(dev),
                     dev->config.path);
    }
    ovs_list_push_back(&dev->conns, &conn->node);
    conns_by_vid[vid] = conn;
    conn->number = ++dev->n_connects;
    choose_active(dev);
    vpci_changed(dev);
    ovs_mutex_unlock(&dev->mutex);

    return rte_vhost_extern_callback_register(vid, &message_ops, NULL);
}

/* Notes whether 'conn', which ends, has lived long enough for the next one to
 * be made at once. */
static void
note_life(struct netdev_vpci *dev, const struct vpci_conn *conn)
    OVS_REQUIRES(dev->mutex)
{
    long long int now = time_msec();

    if (!conn->was_started && now < conn->since + RETRY_INTERVAL) {
        dev->n_short_lived++;
        dev->short_lived_at = now;
    } else {
        dev->n_short_lived = 0;
    }
}

static void
vhost_destroy_connection(int vid)
{
    struct vpci_conn *conn = conn_from_vid(vid);

    if (conn) {
        struct netdev_vpci *dev = conn->dev;
        char reason[256];

        vpci_guard_thread(NULL);
        ovs_mutex_lock(&dev->mutex);
        note_life(dev, conn);
        vpci_filter_note_end(dev, conn);
        vpci_conn_note_failed_memory(conn);
        conn_destroy(dev, conn,
                     disconnect_reason(conn, reason, sizeof reason));
        vpci_changed(dev);
        ovs_mutex_unlock(&dev->mutex);
    }
}

/* The library says that the guest's driver is up: at least one queue pair is
 * ready. */
static int
vhost_new_device(int vid)
{
    struct vpci_conn *conn = conn_from_vid(vid);
    struct netdev_vpci *dev;

    if (!conn) {
        return -1;
    }
    dev = conn->dev;
    ovs_mutex_lock(&dev->mutex);
    if (rte_vhost_get_negotiated_features(vid, &conn->features)) {
        conn->features = 0;
    }
    conn->started = conn->was_started = true;
    dev->n_kicks++;
    dev->n_calls++;
    conn->numa = rte_vhost_get_numa_node(vid);
    VLOG_INFO_RL(&dev->rl, "%s: guest up on %s, features 0x%016"PRIx64,
                 vpci_name(dev), dev->config.path, conn->features);
    if (conn == dev->active) {
        dev->refused_socket_id = -1;
        sync_rings(dev);
        vpci_changed(dev);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static void
vhost_destroy_device(int vid)
{
    struct vpci_conn *conn = conn_from_vid(vid);

    if (conn) {
        struct netdev_vpci *dev = conn->dev;

        ovs_mutex_lock(&dev->mutex);
        VLOG_INFO_RL(&dev->rl, "%s: guest down", vpci_name(dev));
        if (conn == dev->active) {
            vpci_lend_recall(dev, "its guest is down");
            vpci_rings_pause(dev);
            vpci_rings_stop_all(dev);
            conn->started = false;
            vpci_rings_resume(dev);
            vpci_changed(dev);
        }
        conn->started = false;
        ovs_mutex_unlock(&dev->mutex);
    }
}

static int
vhost_vring_state_changed(int vid, uint16_t index, int enable)
{
    struct vpci_conn *conn = conn_from_vid(vid);
    struct netdev_vpci *dev;

    if (!conn || index >= 2 * vpci_config_max_pairs(&conn->dev->config)) {
        return 0;
    }
    dev = conn->dev;
    ovs_mutex_lock(&dev->mutex);
    if (conn == dev->active) {
        vpci_lend_recall(dev, "its front end starts or stops a ring");
    }
    if (enable) {
        conn->rings_ready |= 1u << index;
    } else {
        conn->rings_ready &= ~(1u << index);
    }
    if (conn->started && conn == dev->active) {
        sync_rings(dev);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static const struct rte_vhost_device_ops device_ops = {
    .new_connection = vhost_new_connection,
    .destroy_connection = vhost_destroy_connection,
    .new_device = vhost_new_device,
    .destroy_device = vhost_destroy_device,
    .vring_state_changed = vhost_vring_state_changed,
};

/* Messages.
 *
 * See netdev-vpci-filter.c for those that the library does not get to see. */

/* The library is about to serve the request of 'conn'. */
static void
prepare_for_request(struct netdev_vpci *dev, struct vpci_conn *conn)
    OVS_REQUIRES(dev->mutex)
{
    bool drops_memory = conn->request == VHOST_USER_SET_MEM_TABLE;

    if (conn->spoilt || !vpci_request_disturbs(conn->request)) {
        return;
    }
    conn->disturbed = true;
    if (conn == dev->active) {
        vpci_rings_pause(dev);
        vpci_rings_stop_all(dev);
        if (drops_memory) {
            vpci_conn_forget_memory(conn);
        }
        /* No ring starts before 'conn->disturbed' is false again. */
        vpci_rings_resume(dev);
    } else if (drops_memory) {
        vpci_conn_forget_memory(conn);
    }
}

/* 'msg' may move rings or memory: fetches rings that are lent.  Returns false if
 * they do not come, and 'conn' has to end. */
static bool
fetch_rings(struct netdev_vpci *dev, struct vpci_conn *conn,
            const struct vhost_user_msg *msg)
    OVS_REQUIRES(dev->mutex)
{
    const char *name = vpci_request_name(msg->request);

    if (conn != dev->active || !vpci_request_disturbs(msg->request)
        || vpci_lend_recall(dev, name ? name : "a request")) {
        return true;
    }
    vpci_filter_note_refusal(conn, msg->request, xasprintf(
        "request %s: another guest drives the rings, and does not give them "
        "back", name ? name : "unknown"));
    return false;
}

static enum rte_vhost_msg_result
vhost_pre_message(int vid, void *msg_)
{
    struct vhost_user_msg *msg = msg_;
    struct vpci_conn *conn = conn_from_vid(vid);
    enum rte_vhost_msg_result result;
    struct netdev_vpci *dev;

    if (!conn) {
        return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    }
    dev = conn->dev;
    vpci_guard_thread(&library_memory_lost);
    ovs_mutex_lock(&dev->mutex);
    vpci_conn_note_failed_memory(conn);
    result = vpci_filter_message(dev, conn, msg);
    if (result == RTE_VHOST_MSG_RESULT_NOT_HANDLED
        && !fetch_rings(dev, conn, msg)) {
        result = RTE_VHOST_MSG_RESULT_ERR;
    }
    if (result == RTE_VHOST_MSG_RESULT_NOT_HANDLED) {
        conn->request = msg->request;
        prepare_for_request(dev, conn);
    }
    ovs_mutex_unlock(&dev->mutex);
    return result;
}

static void
post_message__(struct netdev_vpci *dev, struct vpci_conn *conn,
               const struct vhost_user_msg *msg)
    OVS_REQUIRES(dev->mutex)
{
    if (!vpci_request_name(msg->request)) {
        vpci_filter_note_refusal(conn, msg->request, xasprintf(
            "request %"PRIu32" is unknown: does something else than a guest "
            "use this socket?", msg->request));
    }
    conn->negotiated = true;
    conn->request = 0;
    if (__atomic_exchange_n(&library_memory_lost, false, __ATOMIC_ACQ_REL)) {
        __atomic_store_n(&conn->memory_lost, true, __ATOMIC_RELEASE);
    }
    if (msg->request == VHOST_USER_SET_MEM_TABLE) {
        bool lost = __atomic_load_n(&conn->memory_lost, __ATOMIC_ACQUIRE);

        vpci_conn_learn_memory(conn);
        dev->n_tables++;
        __atomic_store_n(&conn->memory_lost, lost, __ATOMIC_RELEASE);
    } else if (msg->request == VHOST_USER_SET_FEATURES) {
        if (conn->started) {
            rte_vhost_get_negotiated_features(conn->vid, &conn->features);
        }
        if (!(msg->payload.u64 & (UINT64_C(1) << VIRTIO_NET_F_MQ))) {
            /* The library forgets all but the first pair, and says nothing. */
            conn->rings_ready &= 3;
        }
    } else if (msg->request == VHOST_USER_SET_LOG_BASE) {
        conn->log_valid = true;
    } else if (msg->request == VHOST_USER_SET_VRING_KICK) {
        dev->n_kicks++;
    } else if (msg->request == VHOST_USER_SET_VRING_CALL) {
        dev->n_calls++;
    } else if (msg->request == VHOST_USER_NET_SET_MTU) {
        conn->mtu = msg->payload.u64;
    } else if (msg->request == VHOST_USER_SEND_RARP) {
        uint64_t mac = msg->payload.u64;

        if (conn == dev->active) {
            memcpy(&dev->rarp_mac, &mac, ETH_ADDR_LEN);
            atomic_store_relaxed(&dev->rarp_pending, true);
        }
    }
    if (conn->disturbed) {
        conn->disturbed = false;
        conn->numa = rte_vhost_get_numa_node(conn->vid);
        if (conn == dev->active) {
            sync_rings(dev);
        }
    }
}

static enum rte_vhost_msg_result
vhost_post_message(int vid, void *msg_)
{
    const struct vhost_user_msg *msg = msg_;
    struct vpci_conn *conn = conn_from_vid(vid);

    vpci_guard_thread(NULL);
    if (conn) {
        ovs_mutex_lock(&conn->dev->mutex);
        post_message__(conn->dev, conn, msg);
        ovs_mutex_unlock(&conn->dev->mutex);
    }
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

/* Sockets. */

bool
vpci_vhost_path_in_use(const char *path)
{
    /* The one question about 'path' that the library answers without an error
     * in the log.  No port has a vDPA device that could be detached. */
    return !rte_vhost_driver_detach_vdpa_device(path);
}

/* Adds to 'off' the features that mean nothing without one of those (virtio 1.1,
 * section 5.1.3.1). */
static uint64_t
add_dependent_features(uint64_t off)
{
    static const struct {
        int bit;
        int wants[2];           /* One of these. */
    } features[] = {
        { VIRTIO_NET_F_HOST_TSO4, { VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM } },
        { VIRTIO_NET_F_HOST_TSO6, { VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM } },
        { VIRTIO_NET_F_HOST_UFO, { VIRTIO_NET_F_CSUM, VIRTIO_NET_F_CSUM } },
        { VIRTIO_NET_F_HOST_ECN,
          { VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6 } },
        { VIRTIO_NET_F_GUEST_TSO4,
          { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
        { VIRTIO_NET_F_GUEST_TSO6,
          { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
        { VIRTIO_NET_F_GUEST_UFO,
          { VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_CSUM } },
        { VIRTIO_NET_F_GUEST_ECN,
          { VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6 } },
    };

    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        uint64_t wants = (UINT64_C(1) << features[i].wants[0]
                          | UINT64_C(1) << features[i].wants[1]);

        if ((off & wants) == wants) {
            off |= UINT64_C(1) << features[i].bit;
        }
    }
    return off;
}

static uint64_t
features_to_disable(const struct vpci_config *config)
{
    uint64_t features = OFFLOAD_FEATURES | config->features_off;

    /* Front ends that connect may be User-Mode Linux, which takes every
     * feature on offer. */
    if (vpci_config_max_pairs(config) == 1) {
        features |= MULTIQUEUE_FEATURES;
    }
    return add_dependent_features(features);
}

static char *
register_path__(const struct vpci_config *config)
{
    const char *path = config->path;
    bool listens = config->mode == VPCI_MODE_LISTEN;

    if (rte_vhost_driver_register(path, listens ? 0 : RTE_VHOST_USER_CLIENT)) {
        return xasprintf("%s: librte_vhost cannot take another socket; see "
                         "the log of ovs-vswitchd", path);
    }
    if (rte_vhost_driver_callback_register(path, &device_ops)
        || rte_vhost_driver_disable_features(path,
                                             features_to_disable(config))
        || rte_vhost_driver_set_protocol_features(path, PROTOCOL_FEATURES)
        || rte_vhost_driver_start(path)) {
        rte_vhost_driver_unregister(path);
        return xasprintf("%s: cannot %s; see the log of ovs-vswitchd", path,
                         listens ? "listen" : "connect");
    }
    return NULL;
}

/* Does the work of vpci_vhost_register().  Returns null or an error, which the
 * caller frees. */
static char *
register_path(const struct vpci_config *config)
{
    char *error;

    vpci_library_enter();
    error = register_path__(config);
    vpci_library_leave();
    return error;
}

int
vpci_vhost_register(struct netdev_vpci *dev, char **errp)
{
    const struct vpci_config *config = &dev->config;

    dev->n_short_lived = 0;
    dev->n_failed_memory = dev->held_up = 0;
    dev->refuse_until = LLONG_MIN;
    atomic_store_relaxed(&dev->n_abuses, 0);
    dev->reregister_at = LLONG_MAX;
    *errp = register_path(config);
    if (*errp) {
        return EINVAL;
    }
    dev->registered = true;
    if (config->mode == VPCI_MODE_LISTEN) {
        fatal_signal_add_file_to_unlink(config->path);
    }
    VLOG_INFO("%s: %s %s", vpci_name(dev),
              config->mode == VPCI_MODE_LISTEN
              ? "listening on" : "connecting to", config->path);
    return 0;
}

/* The library is about to unmap the memory of all connections of 'dev',
 * without a callback. */
static void
doom_connections(struct netdev_vpci *dev)
{
    struct vpci_conn *conn;

    ovs_mutex_lock(&dev->mutex);
    vpci_rings_pause(dev);
    vpci_rings_stop_all(dev);
    LIST_FOR_EACH (conn, node, &dev->conns) {
        conn->doomed = true;
        vpci_conn_forget_memory(conn);
    }
    vpci_rings_resume(dev);
    ovs_mutex_unlock(&dev->mutex);
}

static void
unregister_path(struct netdev_vpci *dev)
{
    doom_connections(dev);
    vpci_library_enter();
    rte_vhost_driver_unregister(dev->config.path);
    vpci_library_leave();
}

/* The library has closed all connections of 'dev' without destroy_connection,
 * for 'reason'. */
static void
forget_connections(struct netdev_vpci *dev, const char *reason)
{
    ovs_mutex_lock(&dev->mutex);
    while (!ovs_list_is_empty(&dev->conns)) {
        conn_destroy(dev, CONTAINER_OF(ovs_list_back(&dev->conns),
                                       struct vpci_conn, node), reason);
    }
    ovs_mutex_unlock(&dev->mutex);
}

void
vpci_vhost_unregister(struct netdev_vpci *dev)
{
    if (!dev->registered) {
        return;
    }

    unregister_path(dev);
    if (dev->config.mode == VPCI_MODE_LISTEN) {
        fatal_signal_remove_file_to_unlink(dev->config.path);
    }
    dev->registered = false;
    forget_connections(dev, "the port was removed or changed");
}

/* Starts anew to connect to a socket whose owner hung up at once. */
static void
retry_socket(struct netdev_vpci *dev)
{
    char *error;

    unregister_path(dev);
    forget_connections(dev, "front ends were refused for a while");
    error = register_path(&dev->config);
    if (error) {
        VLOG_WARN_RL(&dev->rl, "%s: %s", vpci_name(dev), error);
        free(error);
        ovs_mutex_lock(&dev->mutex);
        dev->reregister_at = time_msec() + RETRY_INTERVAL;
        ovs_mutex_unlock(&dev->mutex);
    }
}

void
vpci_vhost_run(struct netdev_vpci *dev)
{
    struct vpci_conn *conn;
    bool retry = false;

    ovs_mutex_lock(&dev->mutex);
    LIST_FOR_EACH (conn, node, &dev->conns) {
        conn_check_memory(dev, conn);
    }
    if (dev->registered && time_msec() >= dev->reregister_at) {
        dev->reregister_at = LLONG_MAX;
        dev->n_short_lived = MAX_SHORT_LIVED - 1;
        retry = true;
    }
    ovs_mutex_unlock(&dev->mutex);

    if (retry) {
        retry_socket(dev);
    }
}

void
vpci_vhost_wait(struct netdev_vpci *dev)
{
    ovs_mutex_lock(&dev->mutex);
    if (!ovs_list_is_empty(&dev->conns)) {
        poll_timer_wait(GUARD_INTERVAL);
    }
    if (dev->reregister_at != LLONG_MAX) {
        poll_timer_wait_until(dev->reregister_at);
    }
    ovs_mutex_unlock(&dev->mutex);
}
