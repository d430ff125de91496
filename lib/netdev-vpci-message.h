/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_MESSAGE_H
#define NETDEV_VPCI_MESSAGE_H 1

/* vhost-user messages (QEMU, docs/interop/vhost-user.rst), as far as the
 * provider looks at them. */

#include "netdev-vpci-private.h"

#include <stdint.h>

/* Requests: value, name, whether the library may move memory, rings, doorbells
 * or the dirty log of a running device while it handles it. */
#define VHOST_USER_REQUESTS                                 \
    VHOST_USER_REQUEST(1, GET_FEATURES, false)              \
    VHOST_USER_REQUEST(2, SET_FEATURES, true)               \
    VHOST_USER_REQUEST(3, SET_OWNER, false)                 \
    VHOST_USER_REQUEST(4, RESET_OWNER, true)                \
    VHOST_USER_REQUEST(5, SET_MEM_TABLE, true)              \
    VHOST_USER_REQUEST(6, SET_LOG_BASE, true)               \
    VHOST_USER_REQUEST(7, SET_LOG_FD, false)                \
    VHOST_USER_REQUEST(8, SET_VRING_NUM, true)              \
    VHOST_USER_REQUEST(9, SET_VRING_ADDR, true)             \
    VHOST_USER_REQUEST(10, SET_VRING_BASE, true)            \
    VHOST_USER_REQUEST(11, GET_VRING_BASE, true)            \
    VHOST_USER_REQUEST(12, SET_VRING_KICK, true)            \
    VHOST_USER_REQUEST(13, SET_VRING_CALL, true)            \
    VHOST_USER_REQUEST(14, SET_VRING_ERR, false)            \
    VHOST_USER_REQUEST(15, GET_PROTOCOL_FEATURES, false)    \
    VHOST_USER_REQUEST(16, SET_PROTOCOL_FEATURES, false)    \
    VHOST_USER_REQUEST(17, GET_QUEUE_NUM, false)            \
    VHOST_USER_REQUEST(18, SET_VRING_ENABLE, false)         \
    VHOST_USER_REQUEST(19, SEND_RARP, false)                \
    VHOST_USER_REQUEST(20, NET_SET_MTU, false)              \
    VHOST_USER_REQUEST(21, SET_SLAVE_REQ_FD, false)         \
    VHOST_USER_REQUEST(22, IOTLB_MSG, true)                 \
    VHOST_USER_REQUEST(28, POSTCOPY_ADVISE, true)           \
    VHOST_USER_REQUEST(29, POSTCOPY_LISTEN, true)           \
    VHOST_USER_REQUEST(30, POSTCOPY_END, true)              \
    VHOST_USER_REQUEST(31, GET_INFLIGHT_FD, true)           \
    VHOST_USER_REQUEST(32, SET_INFLIGHT_FD, true)           \
    VHOST_USER_REQUEST(39, SET_STATUS, false)               \
    VHOST_USER_REQUEST(40, GET_STATUS, false)

enum vhost_user_request {
#define VHOST_USER_REQUEST(VALUE, NAME, DISTURBS) VHOST_USER_##NAME = VALUE,
    VHOST_USER_REQUESTS
#undef VHOST_USER_REQUEST
};

/* The library understands some requests beyond those above, and none beyond
 * this one. */
#define VHOST_USER_LAST_REQUEST 40

/* The memory table of a front end: the payload of SET_MEM_TABLE. */
struct vpci_wire_region {
    uint64_t guest_addr;
    uint64_t size;              /* In bytes. */
    uint64_t user_addr;
    uint64_t offset;            /* In the file of its descriptor, in bytes. */
};

enum { VPCI_WIRE_MAX_REGIONS = 8 };

struct vpci_wire_memory {
    uint32_t n_regions;
    uint32_t padding;
    struct vpci_wire_region regions[VPCI_WIRE_MAX_REGIONS];
} __attribute__((packed));

/* The beginning of a message, which is what librte_vhost hands to an external
 * message handler. */
struct vhost_user_msg {
    uint32_t request;
    uint32_t flags;
    uint32_t size;              /* Of the payload, in bytes. */
    union {
        uint64_t u64;
        struct {
            uint32_t index;
            uint32_t num;
        } state;
        struct {
            uint64_t size;
            uint64_t offset;
        } log;
        struct vpci_wire_memory memory;
    } payload;
} __attribute__((packed));

/* Bit of 'flags': the front end waits for an acknowledgement. */
#define VHOST_USER_NEED_REPLY (1 << 3)

/* netdev-vpci-fds.c.  All on the library's thread, while a message is dealt
 * with. */

/* The descriptors that came with a message, as the library has them. */
struct vpci_fds {
    int fds[VPCI_WIRE_MAX_REGIONS];
    int n;
    int n_unusable;             /* Others, which the library does not have. */
    long long int late_since;   /* When its header came, see time_msec(), if
                                 * the rest was not there yet.  Otherwise
                                 * 0. */
};

const struct vpci_fds *vpci_fds_received(void);

/* Closes them: for messages that the library does not get to see. */
void vpci_fds_close(void);

/* True if the kernel would map 'size' bytes of descriptor 'i'. */
bool vpci_fds_can_be_mapped(int i, uint64_t size);

/* netdev-vpci-filter.c */

const char *vpci_request_to_string(uint32_t request);

/* See VHOST_USER_REQUESTS. */
bool vpci_request_disturbs(uint32_t request);

/* Looks at 'msg', which librte_vhost is about to handle for 'conn' of 'dev',
 * on its thread.  Returns RTE_VHOST_MSG_RESULT_NOT_HANDLED if the library may
 * see it, maybe changed so that it refuses it and cleans up after it, or
 * RTE_VHOST_MSG_RESULT_ERR. */
enum rte_vhost_msg_result vpci_filter_message(struct netdev_vpci *dev,
                                              struct vpci_conn *conn,
                                              struct vhost_user_msg *msg)
    OVS_REQUIRES(dev->mutex);

/* Counts that the front end of 'dev' did what none does by mistake.  Any
 * thread. */
void vpci_filter_note_abuse(struct netdev_vpci *dev);

/* True if front ends of 'dev' did that too often. */
bool vpci_filter_is_shut(const struct netdev_vpci *dev);

/* Counts that a front end of 'dev' made the library's thread wait for 'ms'
 * milliseconds for the rest of a message.  Returns true if its front ends did
 * so too often: they are refused for a while. */
bool vpci_filter_note_hold_up(struct netdev_vpci *dev, long long int ms)
    OVS_REQUIRES(dev->mutex);

/* netdev-vpci-memory.c */

/* Checks 'table', a message of 'size' bytes from the front end of 'conn',
 * before the library maps it.  Returns null if it may try, otherwise a
 * sentence that says why not, which the caller frees. */
char *vpci_conn_check_memory(struct vpci_conn *conn,
                             const struct vpci_wire_memory *table,
                             uint32_t size);

#endif /* netdev-vpci-message.h */
