/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_CALLEE_H
#define VPCI_CALLEE_H 1

#include "vpci/channel.h"
#include "vpci/device.h"

/* Who answers calls
 * =================
 *
 * The switch's end of the rings of calls of a base region: see "Calls" in
 * vpci/abi.h.  Whatever the guest puts there costs no more than a copy of so
 * many packets in a second, and harms nobody.
 *
 * Threads: one at a time for each callee, the one that runs its channel. */

/* Packets that are taken in a second, and at once after a rest. */
#define VPCI_CALLEE_RATE 100
#define VPCI_CALLEE_BURST 32

/* Never fall. */
struct vpci_callee_stats {
    uint64_t calls;             /* Answered. */
    uint64_t refused;           /* Of these, with an error. */
    uint64_t bad;               /* Packets that were no request as it should
                                 * be. */
    uint64_t limited;           /* Times that requests began to wait since
                                 * there were too many, */
    uint64_t stuck;             /* or since the guest does not take replies. */
};

struct vpci_callee {
    vpci_device_answer *answer; /* As vpci_device_set_answer() has it. */
    void *aux;
    uint8_t *room;              /* VPCI_ABI_MAX_LEN bytes, of the caller's, for
                                 * use by vpci_callee_run(). */
    struct vpci_callee_stats stats;
    uint64_t tokens;            /* Packets that may be taken, in 1000ths, */
    int64_t filled_at;          /* as of this time, in ms. */
    bool is_limited;            /* So it was when it was run last. */
    bool is_stuck;
};

/* Makes '*callee'; everything else in it is 0. */
void vpci_callee_init(struct vpci_callee *callee, vpci_device_answer *answer,
                      void *aux, uint8_t *room);

/* What vpci_callee_run() has to say: a combination of these. */
enum vpci_callee_event {
    VPCI_CALLEE_TELL = 1 << 0,  /* The guest wants to be told. */
    VPCI_CALLEE_AGAIN = 1 << 1, /* More has come: run it again, soon. */
    VPCI_CALLEE_BAD = 1 << 2,   /* As in the statistics. */
    VPCI_CALLEE_LIMITED = 1 << 3,
    VPCI_CALLEE_STUCK = 1 << 4
};

/* Answers what there is in the rings of 'channel', which runs, at time
 * 'now_ms', and asks to be told of what comes. */
unsigned int vpci_callee_run(struct vpci_callee *callee,
                             struct vpci_channel *channel, int64_t now_ms);

#endif /* lib/vpci/callee.h */
