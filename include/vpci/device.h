/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_DEVICE_H
#define VPCI_DEVICE_H 1

#include "vpci/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Devices: shared memory and its signals
 * ======================================
 *
 * A device is one piece of memory that this process shares with somebody else,
 * and signals between the two.  It says nothing of what is in the memory: rings
 * and everything else are laid over it by others (vpci/layout.h, vpci/ring.h).
 * How a device is reached, as a UNIX socket, in the same process or as a PCI
 * function, is its connector's affair.  Devices come from a bus (vpci/bus.h) or
 * from the function that makes the connector.
 *
 * Threads: one at a time for each device, but vpci_signal_inject(), _wait(),
 * _held_us() and _clear(), which any thread may call for a signal while its
 * device is open, and vpci_device_call(), _ref() and _release(), which any
 * thread may call for a device that it has. */

struct vpci_device;
struct vpci_signal;

/* Memory that is shared, mapped here.  It is sealed, and neither shrinks nor
 * grows, but that of a peer (see "Peers" in vpci/abi.h): another guest's
 * memory, which whoever made it may do anything with. */
struct vpci_region {
    void *base;
    uint64_t size;              /* In bytes. */
};

/* "base", "peer", or "link" or "ivshmem" and a number: unique on the device's
 * bus. */
const char *vpci_device_name(const struct vpci_device *);

/* Connects and maps the memory, within 'timeout_ms'.  Then the device has one
 * signal each way at least; further ones may come later, while
 * vpci_device_run() is called, and vpci_device_n_signals() grows until all of
 * them are there.  Returns 0, or a positive errno, and vpci_device_reason() says
 * why in words:
 *
 *     ENOENT, ECONNREFUSED  nobody serves the device,
 *     EBUSY        another process has it, or a driver of the kernel,
 *     EPROTO       what is there does not speak ivshmem as we do,
 *     EPERM        its memory is not sealed,
 *     EACCES       we may not have it,
 *     ENODEV       what is there is not ivshmem-doorbell, or lacks memory,
 *     ETIMEDOUT    it says nothing,
 *     EALREADY     it is open,
 *     ENOMEM, EMFILE, ... */
int vpci_device_open(struct vpci_device *, int timeout_ms);

/* Unmaps and disconnects.  Harmless if the device is not open.  Nobody may use
 * its memory and signals any more. */
void vpci_device_close(struct vpci_device *);

bool vpci_device_is_open(const struct vpci_device *);

/* Gives piece 'id' of the device's memory, 0 for all that there is, and the
 * signal that belongs to priority 'prio': the larger, the more urgent.  Both
 * belong to the device and are valid until it is closed.  'region' and 'signal'
 * may be null.  Returns 0, or ENOENT if there is no such piece, or ENOTCONN if
 * the device is not open. */
int vpci_device_shm(struct vpci_device *, uint32_t id, uint32_t prio,
                    struct vpci_region *region, struct vpci_signal **signal);

/* Asks whoever is behind the device for function 'func', with the 'len' bytes
 * at 'data', which the answer replaces if there is one.  'data' may be null if
 * 'len' is 0.  Any thread, also while another one opens, runs or closes the
 * device.  Returns 0 or a positive errno, of which vpci_device_reason() says
 * nothing:
 *
 *     EOPNOTSUPP   there is no such function, or nobody to ask,
 *     ENOTCONN     the device is not open, or who should answer has gone,
 *     ETIMEDOUT    nobody has answered in time,
 *     E2BIG        'len' is too large,
 *     EPROTO       the answer makes no sense,
 *     ...          what the function says. */
int vpci_device_call(struct vpci_device *, uint32_t func, void *data,
                     uint32_t len);

/* Functions are answered by 'answer', with the caller's 'aux', in the thread
 * that calls vpci_device_call().  Set by those who lay something over the
 * device.  Null: there are none; so it is when the device has been closed.
 * Waits until no call is under way: not from 'answer'. */
typedef int vpci_device_answer(void *aux, uint32_t func, void *data,
                               uint32_t len);
void vpci_device_set_answer(struct vpci_device *, vpci_device_answer *answer,
                            void *aux);

/* What has happened since the last call: a combination of these. */
enum vpci_device_event {
    VPCI_DEVICE_PEER_CAME = 1 << 0, /* Also: has new ends of signals. */
    VPCI_DEVICE_PEER_LEFT = 1 << 1,
    VPCI_DEVICE_GONE = 1 << 2,      /* Nobody serves it any more: close it.
                                     * Its memory and signals are what they
                                     * were until then, and the other side may
                                     * be there still. */
    VPCI_DEVICE_UNPLUGGED = 1 << 3  /* It is taken away: close it soon.  Its
                                     * memory may hold anything already. */
};
unsigned int vpci_device_run(struct vpci_device *);

/* Becomes readable when vpci_device_run() has something to do; -1 if it never
 * has. */
int vpci_device_fd(const struct vpci_device *);

/* Why a call failed, or the device has gone.  Never null. */
const char *vpci_device_reason(const struct vpci_device *);

/* ivshmem ids: our own, and that of the other side, 0 if it is not there. */
uint32_t vpci_device_id(const struct vpci_device *);
uint32_t vpci_device_peer(const struct vpci_device *);

/* Gives the device back, and closes it if nobody else has it. */
void vpci_device_release(struct vpci_device *);

/* One more who has the device.  Returns it. */
struct vpci_device *vpci_device_ref(struct vpci_device *);

/* Returns a device that is reached as 'd' is, not open, to be released by the
 * caller; or null if there can be none.  So whoever has a device that has gone
 * finds out whether it is served again, and need not close it before. */
struct vpci_device *vpci_device_again(const struct vpci_device *d);

/* Signals. */

/* How many signals a device has each way so far, and signal 'i' of them.  There
 * may be more after vpci_device_run(): nobody says beforehand how many will come.
 * One that is there stays until the device is closed. */
unsigned int vpci_device_n_signals(const struct vpci_device *);
struct vpci_signal *vpci_device_signal(struct vpci_device *, unsigned int i);

/* How often whoever waits for a signal wants to be told: when there are so
 * many packets, or else so many microseconds after the first of them.  1
 * packet, or 0 us: at once.
 *
 * A signal by itself knows of no packets: vpci_signal_dispatch() calls its
 * callback, and vpci_signal_wait() returns, at most once in so many
 * microseconds, and at once if it has not done so for that long.  Each signal
 * has a time of its own.  Those who receive packets by rings have
 * vpci_net_rx_set_mitigation() (vpci/net.h). */
struct vpci_mitigation {
    uint32_t packets;
    uint32_t us;
};
void vpci_signal_set_mitigation(struct vpci_signal *,
                                const struct vpci_mitigation *);
struct vpci_mitigation vpci_signal_get_mitigation(const struct vpci_signal *);

/* For how many microseconds the signal is held back by that from now on; 0: it
 * is not.  Meanwhile its descriptor may be readable, and is not to be polled:
 * poll(2) returns for nothing. */
int64_t vpci_signal_held_us(const struct vpci_signal *);

uint32_t vpci_signal_prio(const struct vpci_signal *);

/* Tells the other side.  Never waits, but once for about
 * VPCI_DOORBELL_WATCH_MS (vpci/doorbell.h) if the other side means it to: then
 * returns ETIMEDOUT, as it does from then on at once for all signals of the
 * device, until another one comes in its place.  Returns 0, ENOTCONN if the
 * other side is not there, or another errno. */
int vpci_signal_inject(struct vpci_signal *);

/* Becomes readable when the other side has injected the signal, until
 * vpci_signal_clear().  At PCI functions without interrupts (see vpci/bus.h)
 * nobody can see that, and it becomes readable again each millisecond. */
int vpci_signal_fd(const struct vpci_signal *);

/* Forgets that the signal was injected.  Returns whether it was. */
bool vpci_signal_clear(struct vpci_signal *);

/* Waits for the signal for at most 'timeout_us' microseconds (for ever, if
 * negative), and clears it.  Returns whether it came.  One that is held back
 * until after the end of the time is not lost: a later call returns true. */
bool vpci_signal_wait(struct vpci_signal *, int64_t timeout_us);

/* Calls 'callback' from vpci_signal_dispatch(), if the signal was injected and is
 * enabled.  A signal begins disabled, and without a callback. */
typedef void vpci_signal_callback(void *aux);
void vpci_signal_set_callback(struct vpci_signal *,
                              vpci_signal_callback *callback, void *aux);
void vpci_signal_enable(struct vpci_signal *);
void vpci_signal_disable(struct vpci_signal *);

/* Calls the callbacks of all signals that came, the most urgent ones first.
 * Returns how many.  One that comes while it is disabled, or held back, is not
 * lost: its callback is called once it is enabled again, or somewhat later. */
unsigned int vpci_signal_dispatch(struct vpci_device *);

struct vpci_signal_stats {
    uint64_t injected;          /* By us. */
    uint64_t received;          /* From the other side: as often as seen. */

    /* Of those who receive packets by the signal, for which it is counted as
     * often as it has woken one of them: */
    uint64_t spurious;          /* Of these, for nothing. */
    uint64_t masked;            /* How often one of them did not listen to it
                                 * for a while, since it came too often for
                                 * nothing. */
    uint64_t reserved[4];       /* 0, for counters to come. */
};
void vpci_signal_get_stats(const struct vpci_signal *,
                           struct vpci_signal_stats *);

/* Two devices in this process that share 'size' bytes, a multiple of the page
 * size, and 'n_signals', for tests and for programs that talk to themselves.
 * Each is the other's peer, if both are open.  Returns 0 or a positive errno. */
int vpci_loop_create(uint64_t size, unsigned int n_signals,
                     struct vpci_device *ends[2]);

#ifdef __cplusplus
}
#endif

#endif /* vpci/device.h */
