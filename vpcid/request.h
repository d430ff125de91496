/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_REQUEST_H
#define VPCID_REQUEST_H 1

struct vpci_keeper_msg;

/* Does what the switch asks for in '*request', which is sound, and puts the
 * reply into 'control' (see control.h).
 *
 * Threads: the main thread only. */
void request_serve(const struct vpci_keeper_msg *request);

#endif /* vpcid/request.h */
