/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_UPGRADE_H
#define VPCID_UPGRADE_H 1

/* Going on as another program, in the same process, with all descriptors and
 * all that is known (see state.h).
 *
 * A child first finds out whether the other program can; meanwhile everything
 * is served as ever.  Whoever has asked by ovs-appctl is told by another
 * child, which holds that connection over the change, and which the other
 * program tells that it works.
 *
 * Threads: the main thread only. */

/* Keeps the arguments of this program for the next one.  To be called before
 * anything changes them. */
void upgrade_save_arguments(int argc, char *argv[]);

/* Names the file that --pidfile made, so that its lock is kept.  'path' may be
 * null; it becomes ours. */
void upgrade_set_pidfile(char *path);

/* Registers "vpcid/upgrade". */
void upgrade_init(void);

/* Goes on from the state in 'fd'.  Ends the program if that is impossible. */
void upgrade_restore(int fd);

/* All works again after upgrade_restore(). */
void upgrade_complete(void);

void upgrade_run(void);
void upgrade_wait(void);

/* Gives up a check that is going on. */
void upgrade_cancel(void);

#endif /* vpcid/upgrade.h */
