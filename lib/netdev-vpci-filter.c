/* SPDX-License-Identifier: Apache-2.0 */

/* What of a front end's messages librte_vhost gets to see.
 *
 * The library trusts front ends in places, and serves requests whose protocol
 * feature was never negotiated.  What it cannot be trusted with is refused
 * here.
 *
 * Most refusals are changes of the message after which the library refuses it,
 * and answers as the front end asked.  Where there is no such way the
 * connection ends.  What no front end does by mistake is counted, and a port
 * whose front ends do it again and again is shut. */

#include "netdev-vpci-message.h"

#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "openvswitch/vlog.h"
#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_filter);

/* Abuses of one port after which no front end is served any more. */
#define MAX_ABUSES 8

/* Milliseconds for which front ends of one port may make the library's one
 * thread, and so every port's connection, wait for the rest of messages; a
 * tenth of the time that passes is given back.  Then, milliseconds for which
 * none is served.  Less than HOLD_UP_NOISE is no reproach. */
#define HOLD_UP_BUDGET 300
#define HOLD_UP_PENALTY 2000
#define HOLD_UP_NOISE 10

/* Bytes of a dirty log: of 32 TB of memory. */
#define MAX_LOG_SIZE (UINT64_C(1) << 30)

/* Bytes of replies, with the kernel's overhead, that a front end may leave
 * unread.  Synchronous as the protocol is, it is one message.  Beyond what the
 * kernel buffers, the library's thread would wait. */
#define MAX_UNREAD (64 * 1024)

const char *
vpci_request_name(uint32_t request)
{
    switch (request) {
#define VHOST_USER_REQUEST(VALUE, NAME, SIZE, DISTURBS) \
    case VALUE: return #NAME;
    VHOST_USER_REQUESTS
#undef VHOST_USER_REQUEST
    default: return NULL;
    }
}

bool
vpci_request_disturbs(uint32_t request)
{
    switch (request) {
#define VHOST_USER_REQUEST(VALUE, NAME, SIZE, DISTURBS) \
    case VALUE: return DISTURBS;
    VHOST_USER_REQUESTS
#undef VHOST_USER_REQUEST
    default: return true;
    }
}

static uint32_t
request_min_size(uint32_t request)
{
    switch (request) {
#define VHOST_USER_REQUEST(VALUE, NAME, SIZE, DISTURBS) \
    case VALUE: return SIZE;
    VHOST_USER_REQUESTS
#undef VHOST_USER_REQUEST
    default: return 0;
    }
}

void
vpci_filter_note_abuse(struct netdev_vpci *dev)
{
    int n;

    atomic_add_relaxed(&dev->n_abuses, 1, &n);
    if (n + 1 == MAX_ABUSES) {
        VLOG_ERR("%s: no front end is served any more: %s", vpci_name(dev),
                 vpci_shut_reason(dev));
    }
}

const char *
vpci_shut_reason(const struct netdev_vpci *dev)
{
    int n;

    atomic_read_relaxed(&CONST_CAST(struct netdev_vpci *, dev)->n_abuses, &n);
    return (n < MAX_ABUSES ? NULL
            : "its front ends broke the rules of vhost-user again and again: "
            "remove and add the port, or change its options, to serve them "
            "again");
}

/* Counts that a front end of 'dev' made the library's thread wait for 'ms'
 * milliseconds for the rest of a message.  Returns true if its front ends did
 * so too often: they are refused for a while. */
static bool
note_hold_up(struct netdev_vpci *dev, int ms)
    OVS_REQUIRES(dev->mutex)
{
    long long int now = time_msec();

    if (ms < HOLD_UP_NOISE) {
        return false;
    }
    dev->held_up = MAX(0, dev->held_up - (now - dev->held_up_at) / 10) + ms;
    dev->held_up_at = now;
    if (dev->held_up < HOLD_UP_BUDGET) {
        return false;
    }
    dev->refuse_until = now + HOLD_UP_PENALTY;
    return true;
}

void
vpci_filter_note_refusal(struct vpci_conn *conn, uint32_t request,
                         char *refusal)
{
    VLOG_WARN_RL(&conn->dev->rl, "%s: %s", vpci_name(conn->dev), refusal);
    free(conn->refusal);
    conn->refusal = refusal;
    conn->refused_request = request;
    conn->refused_last = true;
    vpci_changed(conn->dev);
}

/* Makes the library close the connection, without an answer. */
static enum rte_vhost_msg_result
hang_up(struct vhost_user_msg *msg)
{
    vpci_received_close();
    msg->flags &= ~VHOST_USER_NEED_REPLY;
    return RTE_VHOST_MSG_RESULT_ERR;
}

/* Refuses 'msg' for 'refusal', which it takes, and hangs up. */
static enum rte_vhost_msg_result
refuse(struct vpci_conn *conn, struct vhost_user_msg *msg, char *refusal)
{
    vpci_filter_note_refusal(conn, msg->request, refusal);
    return hang_up(msg);
}

/* Makes the library refuse 'msg', by a change of it that follows, for
 * 'refusal', which it takes. */
static void
spoil(struct vpci_conn *conn, const struct vhost_user_msg *msg, char *refusal)
{
    vpci_filter_note_refusal(conn, msg->request, refusal);
    conn->spoilt = true;
}

static enum rte_vhost_msg_result
refuse_abuse(struct vpci_conn *conn, struct vhost_user_msg *msg)
{
    vpci_filter_note_abuse(conn->dev);
    return refuse(conn, msg, xasprintf(
        "the front end sent request %s (%"PRIu32"), whose feature was not "
        "negotiated: it is broken or hostile",
        vpci_request_name(msg->request), msg->request));
}

/* The number of regions becomes one that no message has descriptors for. */
static void
filter_memory(struct vpci_conn *conn, struct vhost_user_msg *msg)
{
    char *refusal = vpci_conn_check_memory(conn, &msg->payload.memory,
                                           msg->size);

    if (refusal) {
        spoil(conn, msg, refusal);
        msg->payload.memory.n_regions = UINT32_MAX;
    }
}

/* The library adds the offset a second time when it writes to the log.  Size 0
 * is refused. */
static void
filter_log(struct vpci_conn *conn, struct vhost_user_msg *msg)
{
    if (msg->payload.log.offset) {
        spoil(conn, msg, xasprintf("the front end's dirty log is at offset "
                                   "0x%"PRIx64" of its file: only 0 is "
                                   "supported", msg->payload.log.offset));
        msg->payload.log.size = 0;
    } else if (msg->payload.log.size > MAX_LOG_SIZE) {
        spoil(conn, msg, xasprintf("the front end's dirty log has "
                                   "0x%"PRIx64" bytes: at most 0x%"PRIx64,
                                   msg->payload.log.size, MAX_LOG_SIZE));
        msg->payload.log.size = 0;
    }
}

/* A ring beyond those that the port has gets a size that is refused. */
static void
filter_ring_size(struct vpci_conn *conn, struct vhost_user_msg *msg)
{
    const struct vpci_config *config = &conn->dev->config;
    uint32_t max_pairs = vpci_config_max_pairs(config);
    uint32_t index = msg->payload.state.index;

    if (index >= 2 * max_pairs) {
        spoil(conn, msg, xasprintf(
            "the front end wants at least %"PRIu32" queue pairs, where the "
            "port allows %"PRIu32": give the guest fewer (QEMU: queues=N)%s",
            index / 2 + 1, max_pairs,
            max_pairs < VPCI_MAX_QUEUE_PAIRS
            ? ", or raise options:n_rxq" : ""));
        msg->payload.state.num = UINT32_MAX;
    }
}

/* True if the front end at socket 'fd' does not read what it is answered. */
static bool
leaves_answers_unread(int fd)
{
    int unread;

    return !ioctl(fd, SIOCOUTQ, &unread) && unread > MAX_UNREAD;
}

/* Looks at the descriptors that came with a message, of the kind 'request'. */
static void
filter_fds(struct netdev_vpci *dev, struct vpci_conn *conn, uint32_t request)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_received *received = vpci_received();

    if (received->n_unusable) {
        vpci_filter_note_refusal(conn, request, xasprintf(
            "the front end sent %d descriptors of kinds that have no place "
            "here: memory must be a file on a tmpfs or hugetlbfs (a memfd), a "
            "doorbell an eventfd or a socket pair", received->n_unusable));
        received->n_unusable = 0;
    }
    if (received->is_abuse) {
        vpci_filter_note_abuse(dev);
        received->is_abuse = false;
    }
}

/* Bounds for how long the front ends of 'dev' make others wait.  Returns true
 * if the one that did so last has to go. */
static bool
filter_lateness(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_received *received = vpci_received();
    bool too_late = note_hold_up(dev, received->late_ms);

    received->late_ms = 0;
    return too_late;
}

static enum rte_vhost_msg_result
filter_request(struct vpci_conn *conn, struct vhost_user_msg *msg)
{
    switch (msg->request) {
    case VHOST_USER_IOTLB_MSG:
    case VHOST_USER_POSTCOPY_ADVISE:
    case VHOST_USER_POSTCOPY_LISTEN:
    case VHOST_USER_POSTCOPY_END:
    case VHOST_USER_GET_INFLIGHT_FD:
    case VHOST_USER_SET_INFLIGHT_FD:
        return refuse_abuse(conn, msg);
    case VHOST_USER_RESET_OWNER:
        /* The protocol says to ignore it; the library loses memory by it. */
        return RTE_VHOST_MSG_RESULT_OK;
    case VHOST_USER_SET_MEM_TABLE:
        filter_memory(conn, msg);
        break;
    case VHOST_USER_SET_LOG_BASE:
        filter_log(conn, msg);
        break;
    case VHOST_USER_SET_VRING_NUM:
        filter_ring_size(conn, msg);
        break;
    default:
        break;
    }
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
}

enum rte_vhost_msg_result
vpci_filter_message(struct netdev_vpci *dev, struct vpci_conn *conn,
                    struct vhost_user_msg *msg)
{
    uint32_t min_size = request_min_size(msg->request);

    vpci_received()->is_pending = false;
    conn->spoilt = false;
    conn->refused_last = false;
    if (msg->request == conn->refused_request) {
        free(conn->refusal);
        conn->refusal = NULL;
    }

    filter_fds(dev, conn, msg->request);
    if (vpci_shut_reason(dev)) {
        return refuse(conn, msg, xstrdup(vpci_shut_reason(dev)));
    }
    if (filter_lateness(dev)) {
        return refuse(conn, msg, xstrdup(
            "the front end sends its messages in pieces and keeps all others "
            "waiting"));
    }
    if (leaves_answers_unread(vpci_received()->fd)) {
        return refuse(conn, msg, xstrdup(
            "the front end does not read the answers that it asks for"));
    }
    if (msg->size < min_size) {
        return refuse(conn, msg, xasprintf(
            "the front end sent request %s (%"PRIu32") with %"PRIu32" bytes, "
            "where it has at least %"PRIu32, vpci_request_name(msg->request),
            msg->request, msg->size, min_size));
    }
    return filter_request(conn, msg);
}

void
vpci_filter_note_end(struct netdev_vpci *dev, struct vpci_conn *conn)
{
    struct vpci_received *received = vpci_received();

    if (received->is_pending) {
        received->is_pending = false;
        vpci_received_close();
    }
    if (received->late_ms) {
        filter_lateness(dev);
        vpci_filter_note_refusal(conn, 0, xstrdup(
            "the front end stopped in the middle of a message"));
    }
    filter_fds(dev, conn, 0);
}
