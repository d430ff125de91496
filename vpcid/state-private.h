/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_STATE_PRIVATE_H
#define VPCID_STATE_PRIVATE_H 1

#include <inttypes.h>

#include "util.h"
#include "uuid.h"

/* The first line of a state: version, length and CRC-32C of what follows. */
#define STATE_VERSION 1
#define STATE_HEADER_FORMAT "vpcid-state %d %"PRIuSIZE" %08"PRIx32"\n"
#define STATE_HEADER_SCAN "vpcid-state %d %"PRIuSIZE" %8"PRIx32"%n"

/* What '--check-state' prints if all is well. */
#define STATE_ACCEPTED_FORMAT "vpcid-state-accepted "UUID_FMT"\n"

/* No state is as large as this, in bytes. */
#define STATE_MAX_SIZE (256 * 1024 * 1024)

#endif /* vpcid/state-private.h */
