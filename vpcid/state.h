/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_STATE_H
#define VPCID_STATE_H 1

#include <stdbool.h>
#include <stddef.h>

/* All that the keeper knows, as text that another program can go on from.
 *
 * A line with the version, the length and a checksum is followed by an object
 * in JSON.  Descriptors are in it by number: whoever reads it has inherited
 * them.  Members that are not known are ignored, those that are missing are
 * errors; what breaks this needs a new version.
 *
 * Threads: the main thread only. */

/* Descriptors that a state names. */
struct state_fds {
    int *fds;
    size_t n, allocated;
};

/* What goes from one program to the next besides regions and the control
 * socket. */
struct state_handover {
    int pidfile;                /* The locked pidfile, or -1. */
    int notify;                 /* Write end of a pipe that waits for a byte
                                 * when everything works again, or -1. */
    long int helper;            /* Process at its other end: our child, or
                                 * 0. */
};

extern unsigned int n_upgrades;         /* How often this happened. */
extern long long int keeper_since;      /* Wall clock, in ms. */

/* Writes the state to a new memfd.  Returns it, or a negative errno.  '*fds'
 * becomes all descriptors in it, which stay ours; the caller frees
 * 'fds->fds'. */
int state_save(const struct state_handover *, struct state_fds *fds);

/* Reads the state from 'fd' and makes it this program's, which must have none,
 * but for epoll.  Checks that each descriptor is what it should be.  Returns
 * null, or what is wrong, as a text that the caller frees. */
char *state_load(int fd, struct state_handover *);

/* Goes to work after state_load(). */
void state_resume(void);

/* What '--check-state' does: finds out whether state_load() would accept the
 * state in 'fd'.  Prints the line that state_is_accepted() looks for, or what
 * is wrong.  Returns the exit status. */
int state_check(int fd);

/* True if 'output' of another program with '--check-state' says that it can go
 * on from our state. */
bool state_is_accepted(const char *output);

#endif /* vpcid/state.h */
