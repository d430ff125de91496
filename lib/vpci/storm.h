/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_STORM_H
#define VPCI_STORM_H 1

#include "vpci/types.h"

/* Signals that come too often for nothing
 * =======================================
 *
 * A wake-up for nothing is allowed, but the other side of a signal may inject
 * it all the time, by mistake or to keep our processor busy, and one that
 * several rings share wakes those whose rings have nothing.  Whoever listens
 * says of each wake-up whether there was something to do.  If it is too often
 * for nothing, the signal is to be masked: nobody listens to it, looks by a
 * timer, every VPCI_STORM_POLL_US, and listens again after a while.  That is
 * longer each time, as long as the storm goes on.
 *
 * Threads: one at a time for each storm. */

/* Wake-ups for nothing that are allowed in a time, in us; one for something
 * makes up for so many of them. */
#define VPCI_STORM_WINDOW_US 10000
#define VPCI_STORM_MAX 32
#define VPCI_STORM_WORTH 8

/* For how long to mask, in us: at first and at most.  A signal that has been
 * listened to for longer than that was no storm any more. */
#define VPCI_STORM_MIN_MASK_US 10000
#define VPCI_STORM_MAX_MASK_US 640000

/* How often to look while a signal is masked, in us. */
#define VPCI_STORM_POLL_US 1000

/* All 0 at first.  Times are of one clock that only goes forward, in us. */
struct vpci_storm {
    int64_t window_end;
    uint32_t n;                 /* Wake-ups for nothing until then. */
    int64_t until;              /* When to listen again. */
    uint32_t mask_us;           /* How long it was masked last. */
};

/* The signal has woken somebody, who found 'useful' things to do or nothing.
 * Returns true if it is to be masked now, until storm->until. */
bool vpci_storm_note(struct vpci_storm *storm, int64_t now_us, bool useful);

#endif /* lib/vpci/storm.h */
