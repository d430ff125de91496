/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_GUARD_H
#define VPCI_GUARD_H 1

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Guards against memory that vanishes
 * ===================================
 *
 * A front end may shrink the file behind the memory that it shares.  The next
 * access of ours is then answered with SIGBUS.  A guard turns that into the
 * loss of this one front end: the whole mapping is replaced by private zero
 * pages, so that whoever touched it goes on, and 'hit' tells the owner.
 *
 * A SIGBUS at any other address has the effect that it would have had without
 * guards. */

/* Guards that can be in force at one time. */
#define VPCI_GUARD_MAX 4096

struct vpci_guard {
    void *base;                 /* As mmap() returned it. */
    size_t size;                /* As given to mmap(). */
    bool hit;            /* Set when the mapping has been replaced. */
};

/* Installs the handler of SIGBUS.  Calling it again is harmless.  Returns 0 or
 * a positive errno. */
int vpci_guard_global_init(void);

/* Puts '*guard' in force.  The caller keeps it in place until it has been
 * removed, and removes it before it unmaps the memory.  Returns 0 or ENOSPC.
 * Any thread. */
int vpci_guard_add(struct vpci_guard *);

/* Undoes vpci_guard_add(), if it was done.  Any thread. */
void vpci_guard_remove(struct vpci_guard *);

/* From now on a SIGBUS that this thread meets outside any guard replaces only
 * the page at fault, and sets '*hit'.  It covers code that maps and at once
 * reads a front end's memory, before a guard can be added.  A null 'hit' ends
 * it. */
void vpci_guard_thread(bool *hit);

#ifdef __cplusplus
}
#endif

#endif /* vpci/guard.h */
