/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_REQUEST_H
#define VPCID_REQUEST_H 1

struct vpci_keeper_msg;

/* Does what the switch asks for in '*request', which is sound, and puts the
 * reply into 'control' (see control.h).  Descriptors that it takes become -1,
 * the others stay the caller's.
 *
 * Threads: the main thread only. */
void request_serve(struct vpci_keeper_msg *request);

#endif /* vpcid/request.h */
