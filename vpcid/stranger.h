/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_STRANGER_H
#define VPCID_STRANGER_H 1

#include <stdint.h>

/* Connections to the control socket while the keeper has a switch already.
 * Each is told so, in reply to what it says first, and closed.
 *
 * Threads: the main thread only. */

/* Takes 'fd', which becomes ours. */
void stranger_add(int fd);

/* Tells those that have said something that switch 'name', with process id
 * 'pid', is connected. */
void strangers_run(const char *name, uint32_t pid);
void strangers_wait(void);

/* Closes all. */
void strangers_close(void);

#endif /* vpcid/stranger.h */
