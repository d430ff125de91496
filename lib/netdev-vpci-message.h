/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_MESSAGE_H
#define NETDEV_VPCI_MESSAGE_H 1

/* vhost-user messages (QEMU, docs/interop/vhost-user.rst), as far as the
 * provider looks at them. */

#include "netdev-vpci-private.h"

#include <stdint.h>

/* Requests: value, name, the least size of the payload in bytes, and whether
 * the library may move memory, rings, doorbells or the dirty log of a running
 * device while it handles it. */
#define VHOST_USER_REQUESTS                                     \
    VHOST_USER_REQUEST(1, GET_FEATURES, 0, false)               \
    VHOST_USER_REQUEST(2, SET_FEATURES, 8, true)                \
    VHOST_USER_REQUEST(3, SET_OWNER, 0, false)                  \
    VHOST_USER_REQUEST(4, RESET_OWNER, 0, false)                \
    VHOST_USER_REQUEST(5, SET_MEM_TABLE, 8, true)               \
    VHOST_USER_REQUEST(6, SET_LOG_BASE, 16, true)               \
    VHOST_USER_REQUEST(7, SET_LOG_FD, 0, false)                 \
    VHOST_USER_REQUEST(8, SET_VRING_NUM, 8, true)               \
    VHOST_USER_REQUEST(9, SET_VRING_ADDR, 40, true)             \
    VHOST_USER_REQUEST(10, SET_VRING_BASE, 8, true)             \
    VHOST_USER_REQUEST(11, GET_VRING_BASE, 8, true)             \
    VHOST_USER_REQUEST(12, SET_VRING_KICK, 8, true)             \
    VHOST_USER_REQUEST(13, SET_VRING_CALL, 8, true)             \
    VHOST_USER_REQUEST(14, SET_VRING_ERR, 8, false)             \
    VHOST_USER_REQUEST(15, GET_PROTOCOL_FEATURES, 0, false)     \
    VHOST_USER_REQUEST(16, SET_PROTOCOL_FEATURES, 8, false)     \
    VHOST_USER_REQUEST(17, GET_QUEUE_NUM, 0, false)             \
    VHOST_USER_REQUEST(18, SET_VRING_ENABLE, 8, false)          \
    VHOST_USER_REQUEST(19, SEND_RARP, 8, false)                 \
    VHOST_USER_REQUEST(20, NET_SET_MTU, 8, false)               \
    VHOST_USER_REQUEST(21, SET_SLAVE_REQ_FD, 0, false)          \
    VHOST_USER_REQUEST(22, IOTLB_MSG, 0, true)                  \
    VHOST_USER_REQUEST(28, POSTCOPY_ADVISE, 0, true)            \
    VHOST_USER_REQUEST(29, POSTCOPY_LISTEN, 0, true)            \
    VHOST_USER_REQUEST(30, POSTCOPY_END, 0, true)               \
    VHOST_USER_REQUEST(31, GET_INFLIGHT_FD, 0, true)            \
    VHOST_USER_REQUEST(32, SET_INFLIGHT_FD, 0, true)            \
    VHOST_USER_REQUEST(39, SET_STATUS, 8, false)                \
    VHOST_USER_REQUEST(40, GET_STATUS, 0, false)

enum vhost_user_request {
    VHOST_USER_NONE = 0,
#define VHOST_USER_REQUEST(VALUE, NAME, SIZE, DISTURBS) \
    VHOST_USER_##NAME = VALUE,
    VHOST_USER_REQUESTS
#undef VHOST_USER_REQUEST
};

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

/* netdev-vpci-closer.c */

/* Closes 'fd' some time, on a thread that may wait for it.  Returns false if
 * too many wait already.  Any thread. */
bool vpci_close_later(int fd);

/* netdev-vpci-sockets.c */

/* To be called before and after functions of the library that close sockets,
 * on threads that are not its own. */
void vpci_library_enter(void);
void vpci_library_leave(void);

/* All that follows: on the library's thread, while a message is dealt with. */

/* A message. */
struct vpci_received {
    int fd;                     /* The socket on which it came. */
    int fds[VPCI_WIRE_MAX_REGIONS];     /* The descriptors of it that the
                                         * library has. */
    int n;
    int n_unusable;             /* Others that came, and cannot be used. */
    bool is_abuse;              /* Some are of kinds that no front end has
                                 * reason to send, or there are too many. */
    int late_ms;                /* For how long the rest of it was waited
                                 * for. */
    bool is_pending;            /* The library has all of it, and has not
                                 * looked at it. */
};

struct vpci_received *vpci_received(void);

/* Closes the descriptors that the library has: for messages that it does not
 * get to see. */
void vpci_received_close(void);

/* True if the kernel would map 'size' bytes of descriptor 'i'. */
bool vpci_received_can_be_mapped(int i, uint64_t size);

/* netdev-vpci-fds.c */

/* Looks at the 'n' descriptors 'fds' that came with a message, of the kind
 * 'request', and adds those that the library may have to 'received'.  Closes
 * all others. */
void vpci_fds_sort_out(struct vpci_received *received, uint32_t request,
                       const int fds[], size_t n);

/* netdev-vpci-filter.c */

/* Returns the name of 'request', or null. */
const char *vpci_request_name(uint32_t request);

/* See VHOST_USER_REQUESTS. */
bool vpci_request_disturbs(uint32_t request);

/* Remembers why a message of 'conn', of the kind 'request', was refused, and
 * tells the log.  Takes 'refusal', a sentence. */
void vpci_filter_note_refusal(struct vpci_conn *conn, uint32_t request,
                              char *refusal);

/* Looks at 'msg', which librte_vhost is about to handle for 'conn' of 'dev',
 * on its thread.  Returns RTE_VHOST_MSG_RESULT_NOT_HANDLED if the library may
 * see it, maybe changed so that it refuses it and cleans up after it
 * ('conn->spoilt'); RTE_VHOST_MSG_RESULT_OK if it is to be ignored, or
 * RTE_VHOST_MSG_RESULT_ERR. */
enum rte_vhost_msg_result vpci_filter_message(struct netdev_vpci *dev,
                                              struct vpci_conn *conn,
                                              struct vhost_user_msg *msg)
    OVS_REQUIRES(dev->mutex);

/* Looks at how the last message of 'conn' of 'dev' ended, with which the
 * library has ended the connection.  On its thread. */
void vpci_filter_note_end(struct netdev_vpci *dev, struct vpci_conn *conn)
    OVS_REQUIRES(dev->mutex);

/* Counts that the front end of 'dev' did what none does by mistake.  Any
 * thread. */
void vpci_filter_note_abuse(struct netdev_vpci *dev);

/* netdev-vpci-memory.c */

/* Checks 'table', a message of 'size' bytes from the front end of 'conn',
 * before the library maps it.  Returns null if it may try, otherwise a
 * sentence that says why not, which the caller frees. */
char *vpci_conn_check_memory(struct vpci_conn *conn,
                             const struct vpci_wire_memory *table,
                             uint32_t size);

#endif /* netdev-vpci-message.h */
