/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_DEVICE_PRIVATE_H
#define VPCI_DEVICE_PRIVATE_H 1

#include "vpci/abi.h"
#include "vpci/device.h"

/* What connectors fill in.
 *
 * The other side's ends of signals come and go while threads inject them, so
 * these are file descriptors whose numbers stay the same from open to close:
 * what they refer to is replaced by dup3().  Without a peer it is an eventfd of
 * our own, which nobody listens to. */

struct vpci_signal {
    struct vpci_device *device;
    uint32_t number;
    int event_fd;               /* Injected by the other side. */
    int inject_fd;
    struct vpci_mitigation mitigation;
    vpci_signal_callback *callback;
    void *aux;
    bool enabled;
    uint32_t hold_us;           /* As the mitigation says; atomic. */
    int64_t held_until;         /* Not to be told of before, in us; atomic. */
    struct vpci_signal_stats stats;
};

struct device_ops {
    /* Fills in 'region', 'id', and 'signals', by the functions below. */
    int (*open)(struct vpci_device *, int timeout_ms);

    /* Undoes it, and whatever open() did before it failed. */
    void (*close)(struct vpci_device *);

    unsigned int (*run)(struct vpci_device *);
    int (*fd)(const struct vpci_device *);
    void (*destroy)(struct vpci_device *);

    /* As vpci_device_again(); or null. */
    struct vpci_device *(*again)(const struct vpci_device *);

    /* As vpci_signal_inject(), of connectors that do without 'inject_fd'; or
     * null. */
    int (*inject)(struct vpci_signal *);

    /* Of connectors that nobody tells who the other side is, or null.  It is
     * 'peer', or nobody if that is 0. */
    void (*set_peer)(struct vpci_device *, uint32_t peer);
};

/* The name of a peer's device, on buses that know what it is, and how much
 * memory it may have. */
#define DEVICE_PEER "peer"
#define DEVICE_MAX_PEER (UINT64_C(1) << 40)

struct vpci_device {
    const struct device_ops *ops;
    char name[32];
    bool is_peer;               /* Set by its connector when it is made. */
    unsigned int refs;          /* Atomic. */
    bool is_open;               /* Atomic. */
    struct vpci_region region;
    uint32_t id;
    uint32_t peer;              /* Atomic; 0: not there. */
    uint32_t deaf_peer;         /* One whose doorbell blocked: it is not rung
                                 * any more.  Atomic; 0: none. */
    unsigned int n_signals;
    unsigned int max_signals;   /* That it may ever have. */
    unsigned int n_peer_signals; /* That the other side is known to have, or
                                 * may have. */
    bool polls;                 /* Nobody injects its signals: they come all
                                 * the time, by a timer, which goes on when
                                 * they are cleared.  Who listens to their
                                 * descriptors looks at them by a timer of its
                                 * own instead. */
    struct vpci_signal signals[VPCI_ABI_MAX_VECTORS];
    vpci_device_answer *answer; /* Atomic. */
    void *answer_aux;           /* Changes while 'answer' is null and... */
    unsigned int n_calls;       /* ...no calls are under way.  Atomic. */
    char reason[256];
};

/* Initializes what is common to devices of all connectors. */
void device_init(struct vpci_device *, const struct device_ops *ops,
                 const char *name);

/* Says why something failed.  Returns 'error'. */
int device_fail(struct vpci_device *, int error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Maps the memory behind 'fd' as the device's.  Returns 0 or a positive errno,
 * with the reason said. */
int device_map(struct vpci_device *, int fd);

/* Undoes device_map() and device_add_signal(), as far as they were called. */
void device_unmap(struct vpci_device *);

/* The device has one more signal, which the other side injects by 'fd'.  That
 * belongs to the device now, also after an error.  Returns 0 or a positive errno,
 * with the reason said. */
int device_add_signal(struct vpci_device *, int fd);

/* As vpci_device_signal(), of a signal that is injected and never waited for:
 * null unless the other side is known to have it. */
struct vpci_signal *device_peer_signal(struct vpci_device *, unsigned int i);

/* The other side's end of signal 'number' is what 'fd' refers to; or nobody's, if
 * that is -1.  'fd' itself stays the caller's. */
void device_set_inject_fd(struct vpci_device *, unsigned int number, int fd);

/* Whoever has read it in a base region says that the other side of the device,
 * which is open, has the ivshmem id 'peer', 0 if it is not there.  Connectors
 * that know that by themselves do not listen. */
void device_set_peer(struct vpci_device *, uint32_t peer);

/* For those who listen to a signal by its descriptor: adds to its counters.
 * Any thread. */
void signal_count(struct vpci_signal *, unsigned int received,
                  unsigned int spurious, unsigned int masked);

#endif /* lib/vpci/device-private.h */
