/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_SHOW_H
#define VPCID_SHOW_H 1

/* Registers "vpcid/show". */
void show_init(void);

#endif /* vpcid/show.h */
