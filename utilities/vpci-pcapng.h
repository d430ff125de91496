/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCI_PCAPNG_H
#define VPCI_PCAPNG_H 1

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Capture files in the format pcapng (draft-ietf-opsawg-pcapng), of one
 * Ethernet interface, with times in nanoseconds.  Numbers are in host byte
 * order, which the file tells.  Functions return false if writing failed, with
 * 'errno' set. */

/* Begins the file.  'interface' is what the packets come from, for people;
 * packets are cut to 'snaplen' bytes. */
bool pcapng_begin(FILE *, const char *interface, uint32_t snaplen);

/* Appends a packet of 'len' bytes that was seen 'time_ns' after 1970, cut to
 * 'snaplen'. */
bool pcapng_packet(FILE *, int64_t time_ns, const void *data, uint32_t len,
                   uint32_t snaplen);

/* Appends how many packets were seen, and how many should have been but were
 * not. */
bool pcapng_statistics(FILE *, int64_t time_ns, uint64_t received,
                       uint64_t dropped);

#endif /* vpci-pcapng.h */
