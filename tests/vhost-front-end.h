/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_FRONT_END_H
#define VHOST_FRONT_END_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The front end's half of the vhost-user protocol
 * ===============================================
 *
 * Messages as in QEMU's docs/interop/vhost-user.rst.  This layer knows nothing
 * of rings; it sends what it is told to send, sensible or not.
 *
 * Functions return 0 or a positive errno, and on an error leave a sentence in
 * 'error': ETIMEDOUT if the back end was silent for too long, EPIPE if it has
 * closed the connection, EPROTO if it refused or answered something wrong.
 *
 * Threads: one thread only. */

enum vhost_user_request {
    VU_GET_FEATURES = 1,
    VU_SET_FEATURES = 2,
    VU_SET_OWNER = 3,
    VU_RESET_OWNER = 4,
    VU_SET_MEM_TABLE = 5,
    VU_SET_LOG_BASE = 6,
    VU_SET_VRING_NUM = 8,
    VU_SET_VRING_ADDR = 9,
    VU_SET_VRING_BASE = 10,
    VU_GET_VRING_BASE = 11,
    VU_SET_VRING_KICK = 12,
    VU_SET_VRING_CALL = 13,
    VU_SET_VRING_ERR = 14,
    VU_GET_PROTOCOL_FEATURES = 15,
    VU_SET_PROTOCOL_FEATURES = 16,
    VU_GET_QUEUE_NUM = 17,
    VU_SET_VRING_ENABLE = 18,
    VU_SEND_RARP = 19,
    VU_IOTLB_MSG = 22,
    VU_POSTCOPY_ADVISE = 28,
    VU_GET_INFLIGHT_FD = 31,
    VU_SET_INFLIGHT_FD = 32,
};

/* Message header flags. */
#define VU_VERSION    0x1
#define VU_REPLY      0x4
#define VU_NEED_REPLY 0x8

/* Protocol features. */
#define VU_PROTOCOL_F_MQ        (UINT64_C(1) << 0)
#define VU_PROTOCOL_F_LOG_SHMFD (UINT64_C(1) << 1)
#define VU_PROTOCOL_F_REPLY_ACK (UINT64_C(1) << 3)

/* Bit of SET_VRING_KICK and SET_VRING_CALL: there is no descriptor. */
#define VU_VRING_NO_FD 0x100

struct vu_header {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
};

struct vu_vring_state {
    uint32_t index;
    uint32_t num;
};

struct vu_vring_addr {
    uint32_t index;
    uint32_t flags;             /* VU_VRING_F_LOG. */
    uint64_t desc;              /* User addresses. */
    uint64_t used;
    uint64_t avail;
    uint64_t log;               /* Guest physical address of the used ring. */
};
#define VU_VRING_F_LOG 1

struct vu_mem_region {
    uint64_t addr;
    uint64_t size;
    uint64_t user_addr;
    uint64_t offset;
};

#define VU_MAX_REGIONS 8

struct vu_mem_table {
    uint32_t n_regions;
    uint32_t padding;
    struct vu_mem_region regions[VU_MAX_REGIONS];
};

struct vu_log {
    uint64_t size;
    uint64_t offset;
};

struct vu_inflight {
    uint64_t mmap_size;
    uint64_t mmap_offset;
    uint16_t num_queues;
    uint16_t queue_size;
    uint32_t padding;
};

/* As many descriptors as the kernel lets through at once. */
#define VU_MAX_FDS 253

struct vhost_front_end {
    const char *path;           /* Of the UNIX socket. */
    bool listens;
    int listen_fd;
    int fd;                     /* -1 if not connected. */
    unsigned int timeout_ms;    /* Bound of every wait. */
    bool reply_ack;             /* Negotiated: every request is confirmed. */
    char error[256];
};

/* 'path' must outlive the front end. */
void front_end_init(struct vhost_front_end *, const char *path, bool listens,
                    unsigned int timeout_ms);

/* Connects, trying again until the back end is there, or accepts. */
int front_end_open(struct vhost_front_end *);
void front_end_close(struct vhost_front_end *);

/* Closes the connection and stops listening. */
void front_end_destroy(struct vhost_front_end *);

/* Sends one request with 'size' bytes of payload and 'n_fds' descriptors, and
 * if acknowledgements were negotiated waits for that of this request. */
int front_end_request(struct vhost_front_end *, uint32_t request,
                      const void *payload, size_t size,
                      const int *fds, unsigned int n_fds);

/* Sends one request and reads its reply of exactly 'reply_size' bytes. */
int front_end_query(struct vhost_front_end *, uint32_t request,
                    const void *payload, size_t size, const int *fds,
                    unsigned int n_fds, void *reply, size_t reply_size);

/* Short forms. */
int front_end_set_u64(struct vhost_front_end *, uint32_t request, uint64_t);
int front_end_get_u64(struct vhost_front_end *, uint32_t request, uint64_t *);
int front_end_set_vring(struct vhost_front_end *, uint32_t request,
                        uint32_t index, uint32_t num);

/* SET_VRING_KICK, _CALL or _ERR; a negative 'fd' means "none". */
int front_end_set_vring_fd(struct vhost_front_end *, uint32_t request,
                           uint32_t index, int fd);

/* Sends bytes as they are. */
int front_end_raw(struct vhost_front_end *, const void *bytes, size_t n,
                  const int *fds, unsigned int n_fds);

/* Tells whether the back end still answers: 0, EPIPE or ETIMEDOUT.  Skips
 * replies that nobody waited for. */
int front_end_probe(struct vhost_front_end *);

#endif /* vhost-front-end.h */
