/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VHOST_GUEST_DEVICE_H
#define VHOST_GUEST_DEVICE_H 1

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vhost-front-end.h"
#include "vhost-guest-memory.h"
#include "vring-driver.h"

/* The virtio-net device of a test guest
 * =====================================
 *
 * Its memory, its rings, and what a virtual machine monitor does with them
 * over vhost-user: negotiate, start, stop, move, log.
 *
 * Threads: the control thread (the one that runs commands) alone talks to the
 * back end and changes the device.  The traffic thread works on the rings.
 * 'lock' guards the rings and everything that says where they and their
 * buffers are; it is not held while the control thread waits for the back end,
 * since a guest's processors do not stop for that either.
 *
 * Functions that talk to the back end return 0 or a positive errno and leave
 * a sentence in 'fe.error', as those of vhost-front-end.h do. */

#define GUEST_MAX_PAIRS 16

/* Feature bits beside those of vring-driver.h (virtio 1.1, section 5.1.3, and
 * the vhost-user specification). */
#define GUEST_F_MERGEABLE  (UINT64_C(1) << 15)
#define GUEST_F_MQ         (UINT64_C(1) << 22)
#define GUEST_F_LOG_ALL    (UINT64_C(1) << 26)
#define GUEST_F_ANY_LAYOUT (UINT64_C(1) << 27)
#define GUEST_F_PROTOCOL   (UINT64_C(1) << 30)

/* The longest chain that the guest makes of one buffer. */
#define GUEST_MAX_PIECES 64

/* How a buffer is spread over descriptors. */
enum guest_layout {
    GUEST_LAYOUT_ONE,           /* Header and frame in one. */
    GUEST_LAYOUT_APART,         /* Header | frame. */
    GUEST_LAYOUT_SPLIT,         /* Each of them in two. */
    GUEST_LAYOUT_BYTES,         /* Single bytes, as many as fit. */
    GUEST_LAYOUT_RANDOM,
};

struct guest_shape {
    enum guest_layout layout;
    bool indirect;              /* With GUEST_LAYOUT_RANDOM: now and then. */
};

struct guest_config {
    const char *path;
    bool listens;
    bool native;                /* Device vpci-net: 'path' is that of its
                                 * ivshmem socket. */
    unsigned int timeout_ms;
    uint64_t features;          /* Wanted. */
    uint64_t optional;          /* Of these, not missed if not offered. */
    unsigned int n_pairs;       /* Queue pairs set up. */
    unsigned int n_enabled;     /* Queue pairs enabled at start. */
    uint16_t ring_size;
    uint32_t rx_buffer;         /* Bytes, header included. */
    uint32_t max_frame;         /* Largest frame to be sent, in bytes. */
    unsigned int n_zones;
    uint16_t start_idx;
    bool start_wrap;
    bool base_zero;             /* Say "base 0" at first start, whatever the
                                 * ring's wrap counter. */
    bool interrupts;            /* Sleep instead of polling. */
};

/* Where a chain in flight lies. */
struct guest_slot {
    uint64_t addr;
    uint8_t *host;
    uint32_t len;
    bool must_log;              /* Posted after logging began. */
};

struct guest_queue {
    uint16_t index;
    bool is_rx;                 /* The guest receives on it. */
    struct vring_driver *drv;
    uint64_t desc_addr, driver_addr, device_addr;
    int kick_fd, call_fd;       /* Live as long as the guest; dup2() puts
                                 * others in their place. */
    bool base_known;            /* By GET_VRING_BASE. */
    uint32_t base;

    uint64_t pool_addr;         /* Of slot 0, for chains yet to be posted. */
    uint32_t slot_bytes;
    struct guest_slot *slots;
    uint16_t *free_slots;
    uint16_t n_free_slots;

    uint64_t posted;            /* Chains given to the device. */
    uint64_t done;              /* Chains given back by the device. */
    uint64_t abandoned;         /* Chains forgotten in a reset. */

    /* Of a native ring, instead of 'drv' and so on. */
    uint32_t native_done;
    struct vpci_signal *signal; /* Interrupts; null if it is not there. */
};

/* Dirty page log. */
struct guest_log {
    int fd;                     /* -1 if off. */
    uint8_t *bits;
    uint64_t size;              /* Bytes. */
    bool armed;                 /* All rings know about it. */
};

/* Since the guest was created. */
struct guest_counts {
    uint64_t tx_frames;         /* Given back by the device. */
    uint64_t tx_bytes;          /* Posted, without virtio headers. */
    uint64_t rx_frames;
    uint64_t rx_bytes;          /* Without virtio headers. */
    uint64_t rx_errors;         /* Malformed: see vhost-guest-io.c. */
    uint64_t kicks;             /* That the device asked for. */
    uint64_t interrupts;        /* Waits that an interrupt ended. */
    uint64_t lost_interrupts;   /* Waits that it should have ended. */
    uint64_t log_checked;       /* Buffers looked up in the dirty log. */
    uint64_t log_missing;       /* Pages of these that were not marked. */
};

/* Bytes of the longest virtio header. */
#define GUEST_MAX_HDR 12

struct guest {
    struct guest_config cfg;
    struct guest_native *native; /* Null without such a device. */
    struct vhost_front_end fe;
    uint64_t features;          /* Negotiated; 0 before. */
    uint32_t hdr_len;           /* Of the virtio header. */
    uint8_t rx_hdr[GUEST_MAX_HDR]; /* That of the last frame received. */
    unsigned int n_classes;     /* Of native rings, once known: each is a queue
                                 * pair. */
    bool running;               /* The back end has the rings. */
    bool enabled[GUEST_MAX_PAIRS];
    struct guest_log log;

    pthread_mutex_t lock;
    struct guest_memory mem;
    bool frozen;                /* No processor of the guest runs. */
    unsigned int n_queues;
    struct guest_queue queues[2 * GUEST_MAX_PAIRS];
    struct guest_shape rx_shape, tx_shape;
    struct guest_counts counts;
    int wake_fd;                /* eventfd: the traffic thread is to look
                                 * again. */
};

/* Prepares a guest without memory or rings. */
void guest_init(struct guest *, const struct guest_config *);
void guest_destroy(struct guest *);

/* Connects (or accepts) and negotiates features.  The first time also creates
 * memory and rings; later the same features must be agreed upon. */
int guest_open(struct guest *);

/* Tells memory and rings, and enables queue pairs. */
int guest_start(struct guest *);

/* GET_VRING_BASE on all rings.  Complains if a ring stands elsewhere than its
 * used buffers say. */
int guest_stop(struct guest *);

/* Closes the connection without a word. */
void guest_close(struct guest *);

/* Forgets all that is in flight, as a reboot does.  The rings must be
 * stopped. */
void guest_reset_rings(struct guest *);

/* The steps of guest_start(), for use by themselves. */
int guest_set_mem_table(struct guest *);
int guest_set_ring_addr(struct guest *, struct guest_queue *);
int guest_start_ring(struct guest *, struct guest_queue *);
int guest_set_enabled(struct guest *, unsigned int pair, bool enabled);

/* GET_VRING_BASE on one ring. */
int guest_stop_ring(struct guest *, struct guest_queue *);

/* Lays all rings out anew in 'zone' and copies what is in them.  The rings
 * must be stopped.  Returns 0 or ENOSPC. */
int guest_move_rings(struct guest *, unsigned int zone);

/* Takes buffers from 'zone' for every chain posted from now on. */
int guest_move_buffers(struct guest *, unsigned int zone);

/* True if a ring or a buffer in flight lies in 'zone'. */
bool guest_zone_in_use(struct guest *, unsigned int zone);

/* Bytes that guest_move_rings() and guest_move_buffers() take. */
uint64_t guest_rings_bytes(const struct guest *);
uint64_t guest_buffers_bytes(const struct guest *);

/* Gives every ring another call eventfd. */
int guest_replace_call_fds(struct guest *);

/* Starts or ends dirty logging. */
int guest_log_start(struct guest *);
int guest_log_stop(struct guest *);

/* Counts the pages of the range that are not marked in the log. */
unsigned int guest_log_missing(const struct guest *, uint64_t addr,
                               uint64_t len);

/* The error that a ring has run into, formatted into 'buf', or null. */
const char *guest_ring_error(struct guest *, char *buf, size_t size);

/* Says in 'fe.error' why something failed.  Returns 'error'. */
int guest_fail(struct guest *, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Chains, or frames of a native ring, that the device has not given back. */
uint64_t guest_in_flight(const struct guest *, const struct guest_queue *);

/* Makes the traffic thread look at all rings. */
void guest_wake(struct guest *);

#endif /* vhost-guest-device.h */
