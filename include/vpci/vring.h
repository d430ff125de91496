/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_VRING_H
#define VPCI_VRING_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vpci/abi.h"
#include "vpci/memory.h"
#include "vpci/net-hdr.h"
#include "vpci/peer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The virtio ring engine, device side
 * ===================================
 *
 * One 'struct vpci_vring' drives one virtio-net ring, split or packed (virtio
 * 1.1, sections 2.6 and 2.7), that somebody else's driver fills.  The engine
 * does not know how the memory was mapped nor how its signal travels.
 *
 * A ring is used in one direction:
 *
 *    - Frames from the driver (the guest's transmit ring):
 *      vpci_vring_peek() shows a burst of frames where they lie, the caller
 *      copies what it wants, then vpci_vring_release() gives the buffers back.
 *
 *    - Frames to the driver (the guest's receive ring): vpci_vring_push()
 *      copies a burst of frames into the driver's buffers.
 *
 * Both speak 'struct vpci_pkt', so that what one ring peeks another can push.
 *
 * Threads: all functions on one ring must be serialized by the caller.
 * Different rings are independent.
 *
 * Hostile drivers: every word that the driver writes is read once, checked and
 * then used.  A ring whose driver breaks the rules is handed to
 * vpci_peer_bad() once and is "broken" from then on: peek and push
 * return 0 until it is stopped and started again.  Frame bytes may change
 * while they are copied; nothing but the copy depends on them. */

/* Frames handled by one call, at most. */
#define VPCI_VRING_BURST 32

/* Largest ring, in descriptors (virtio 1.1, sections 2.6 and 2.7). */
#define VPCI_VRING_MAX_SIZE 32768

/* A contiguous piece of a frame. */
struct vpci_iov {
    void *base;
    uint32_t len;               /* In bytes; never 0. */
};

/* What became of a frame given to vpci_vring_push(). */
enum vpci_pkt_fate {
    VPCI_PKT_WAITING,           /* Not dealt with yet. */
    VPCI_PKT_SENT,
    VPCI_PKT_TOO_BIG            /* The driver has no buffer that could ever
                                 * hold it.  Not sent. */
};

/* One frame of 'len' bytes: 'head_len' bytes at 'head', then what the 'n_iov'
 * pieces of 'iov' hold, but for their first 'skip' bytes.
 *
 * From vpci_vring_peek(): 'iov' belongs to the ring and the frame to the
 * driver, until the frame is released or the ring stopped.  'head_len' and
 * 'skip' are 0.
 *
 * For vpci_vring_push(): the caller sets all but 'fate', and all must stay
 * valid during the call.  If 'head_len' is 0, so must 'skip' be: a caller that
 * has looked at the headers of a peeked frame sends what it has seen, a copy,
 * as the head, in place of so many bytes of the pieces. */
struct vpci_pkt {
    const struct vpci_iov *iov;
    const void *head;
    uint32_t n_iov;
    uint32_t len;               /* Frame length, without virtio header. */
    struct vpci_net_hdr hdr;
    uint16_t head_len;
    uint16_t skip;
    uint8_t fate;               /* enum vpci_pkt_fate, set by push. */
};

/* Where a ring stands.  'wrap' counters are 0 or 1 and matter for packed rings
 * only; indices of split rings are free running, those of packed rings are
 * below the ring's size. */
struct vpci_vring_base {
    uint16_t avail_idx;
    uint16_t used_idx;
    bool avail_wrap;
    bool used_wrap;
};

/* How to run a ring. */
struct vpci_vring_config {
    uint16_t index;             /* In its device; for reports only. */
    uint16_t size;              /* In descriptors: 1 to VPCI_VRING_MAX_SIZE;
                                 * a power of 2 unless packed. */
    uint64_t features;          /* Negotiated virtio feature bits. */

    /* Where the driver put its ring, mapped here.  The three areas must lie
     * wholly inside 'mem': vpci_vring_start() checks it. */
    void *desc;                 /* Descriptor table, or descriptor ring. */
    void *driver;               /* Available ring, or driver event area. */
    void *device;               /* Used ring, or device event area. */
    const struct vpci_memory *mem; /* Must outlive the run. */

    struct vpci_vring_base base;
    int call_fd;                /* eventfd that wakes the driver, or -1.
                                 * Borrowed: never closed by the ring. */

    /* Wakes the driver, instead of 'call_fd', or null: on the thread that
     * calls vpci_vring_notify() or _stop(). */
    void (*notify)(void *aux);
    void *notify_aux;

    const struct vpci_peer *peer; /* Must outlive the run. */

    /* Where the ring says where it stands (vpci/abi.h, "Peers"), so that
     * vpci_vring_recover() finds it if we die at any moment; or null.  'base'
     * must not have buffers that were taken and not given back then. */
    struct vpci_abi_peer_record *record;

    /* Dirty page log for live migration, or null: called for each range of
     * guest memory that the ring wrote, 'len' bytes at guest physical address
     * 'addr', after the write and before the driver can see it.  The device
     * area is logged at 'log_device_addr' plus the offset into the used ring,
     * or into the descriptor ring if packed. */
    void (*log)(void *aux, uint64_t addr, uint64_t len);
    void *log_aux;
    uint64_t log_device_addr;
};

struct vpci_channel;
struct vpci_ring_rx;
struct vpci_ring_tx;
struct vpci_vring;

/* Allocates a stopped ring, or returns a null pointer if memory is short. */
struct vpci_vring *vpci_vring_create(void);

/* Stops and frees 'vr', which may be null. */
void vpci_vring_destroy(struct vpci_vring *vr);

/* Starts a stopped ring and asks the driver not to kick (it is polled).
 *
 * Returns 0, or a positive errno: EINVAL if a size, an index of the base or an
 * alignment (virtio 1.1, sections 2.6 and 2.7.10.1) is not valid for this
 * kind of ring, EFAULT if an area does not lie inside guest memory, ENOMEM. */
int vpci_vring_start(struct vpci_vring *, const struct vpci_vring_config *);

/* The end of a native ring (vpci/ring.h) that is nearer to us, which is used by
 * the functions below as if it were a virtio ring: so whoever moves packets from
 * guest to guest need not know which of them has what. */
struct vpci_vring_native {
    /* One of these two; the other one is null. */
    struct vpci_ring_rx *rx;    /* From the guest. */
    struct vpci_ring_tx *tx;    /* To the guest. */

    const struct vpci_channel *channel; /* Whose ring it is.  It is not used
                                 * while that is not current. */
    uint16_t index;             /* In its device; for reports only. */
    uint64_t features;          /* Negotiated virtio-net feature bits. */
    int call_fd;                /* As in struct vpci_vring_config. */
    const struct vpci_peer *peer; /* For doorbells that block. */
};

/* As vpci_vring_start(), with the end of a native ring, which belongs to 'vr'
 * until that is stopped. */
int vpci_vring_start_native(struct vpci_vring *vr,
                            const struct vpci_vring_native *);

/* Stops the ring, if it runs, and tells where it stands in '*base'.  Frames
 * that were peeked but not released count as not yet taken.  '*base' is
 * left alone if the ring did not run.  'base' may be null.  Sends a pending
 * notification. */
void vpci_vring_stop(struct vpci_vring *, struct vpci_vring_base *base);

/* A packed ring's first start with a front end that always says "base 0":
 * avail index 0 with wrap counter 0, where a fresh ring begins with wrap
 * counter 1 (virtio 1.1, section 2.7.1).  Returns true if the descriptor ring
 * at 'desc' shows that a driver begins here with wrap counter 1: its
 * first descriptor has never been used. */
bool vpci_vring_packed_is_fresh(const void *desc);

/* Finds out where a ring stands that somebody else drove, by '*config' as for
 * vpci_vring_start(), but for 'base', and died with at any moment.  'next' and
 * 'at' are what its record says (struct vpci_abi_peer_record).  What was not
 * given back then counts as not taken.
 *
 * Completes a frame that was given back in part: writes to the ring.
 *
 * Returns true and fills in '*base'; or false if these and the ring's memory
 * make no sense together.  Any thread, while no other one uses the ring. */
bool vpci_vring_recover(const struct vpci_vring_config *config, uint32_t next,
                        uint32_t at, struct vpci_vring_base *base);

bool vpci_vring_is_running(const struct vpci_vring *);

/* VPCI_FAULT_NONE if the ring is well.  May be called by any thread. */
enum vpci_fault_kind vpci_vring_fault(const struct vpci_vring *);

/* Features that the ring was last started with. */
uint64_t vpci_vring_features(const struct vpci_vring *);

/* Shows up to 'max' frames that the driver has made available, oldest first,
 * in 'pkts', and returns their number.  'max' is at most VPCI_VRING_BURST.
 * Every frame that an earlier peek showed must have been released, or it is
 * shown again. */
unsigned int vpci_vring_peek(struct vpci_vring *, struct vpci_pkt *pkts,
                             unsigned int max);

/* Gives the buffers of the oldest 'n' frames of the last peek back to the
 * driver. */
void vpci_vring_release(struct vpci_vring *, unsigned int n);

/* True if the driver has made at least 'n' buffers available that are not
 * filled yet.  A driver may lie.  Any thread, while the ring runs. */
bool vpci_vring_has_room(const struct vpci_vring *, unsigned int n);

/* Copies frames of 'pkts', in order, into the driver's buffers, with mergeable
 * buffers where negotiated, and publishes them together.  'n' is at most
 * VPCI_VRING_BURST.
 *
 * Returns how many of the frames, from the first, have been dealt with: for
 * these 'fate' says whether they were sent.  Fewer than 'n' means that the
 * driver has no more buffers (or that the ring is broken or stopped). */
unsigned int vpci_vring_push(struct vpci_vring *, struct vpci_pkt *pkts,
                             unsigned int n);

/* Asks the driver to kick when it makes buffers available, until
 * vpci_vring_awake(): for those who would sleep.  Returns false, and takes it
 * back, if there are buffers that were not released or filled yet: do not
 * sleep.  Of a ring that is broken nothing comes any more.  Native rings are
 * asked by their own functions: false. */
bool vpci_vring_ask(struct vpci_vring *);

/* Does not want to be kicked any more, as at first. */
void vpci_vring_awake(struct vpci_vring *);

/* Wakes the driver if it asked for it and anything was released or pushed
 * since the last call.  Call it after each burst: without it a sleeping driver
 * does not wake.  Returns true if the doorbell was rung. */
bool vpci_vring_notify(struct vpci_vring *);

/* Copies all that the pieces of 'pkt', from vpci_vring_peek(), hold to 'dst':
 * that is the frame as the driver has it now. */
void vpci_pkt_copy(const struct vpci_pkt *, void *dst);

/* Copies the first bytes of each frame of 'pkts', from vpci_vring_peek(), 'max'
 * at most, and makes that its head: frame I gets room for 'max' bytes at 'dst'
 * plus I times 'stride'. */
void vpci_pkts_take_heads(struct vpci_pkt *pkts, unsigned int n, void *dst,
                          size_t stride, uint32_t max);

/* A snapshot for people.  May be called by any thread while the ring is not
 * being started or stopped; words may be from slightly different moments. */
struct vpci_vring_state {
    bool running;
    bool packed;
    bool native;                /* Indices are numbers of packets. */
    uint16_t size;
    enum vpci_fault_kind fault;
    struct vpci_vring_base base;
    uint16_t driver_idx;        /* avail->idx as the driver wrote it, or what
                                 * would be that of a native ring; not of
                                 * packed rings. */
    uint64_t n_bufs;            /* Buffers (chains) given back to the driver
                                 * since creation. */
    uint64_t n_notifies;        /* Doorbells rung since creation. */
};
void vpci_vring_get_state(const struct vpci_vring *,
                          struct vpci_vring_state *);

#ifdef __cplusplus
}
#endif

#endif /* vpci/vring.h */
