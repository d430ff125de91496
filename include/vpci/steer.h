/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#ifndef VPCI_STEER_H
#define VPCI_STEER_H 1

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vpci/key.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Steering tables
 * ===============
 *
 * A table says, packet by packet, what becomes of what one port receives.  An
 * entry has a mask, a key under that mask, and a verdict, which means nothing
 * to the table.  Entries must not overlap: which of two that match is found is
 * undefined.
 *
 * The table lies in one piece of memory, has no pointers, and may be read
 * where another process or a guest has mapped it.  Most of that memory is
 * touched only as entries need it.
 *
 * Threads: there is one writer at a time, and up to VPCI_STEER_MAX_READERS
 * readers, which never wait for it.  A reader looks up packets between
 * vpci_steer_enter() and vpci_steer_leave(); an entry that it found there stays
 * as it was until then, even if the writer removes it meanwhile.  The place of
 * a removed entry is used again once no reader can still know it.
 *
 * Guarantee: an entry is found by every lookup of a reader that enters after its
 * insertion has returned (one that entered before may not have parsed packets
 * deep enough), and by none that begins after its removal has returned. */

#define VPCI_STEER_MAX_ENTRIES (1u << 20)
#define VPCI_STEER_MAX_MASKS 64
#define VPCI_STEER_MAX_READERS 32

/* No entry. */
#define VPCI_STEER_NONE UINT32_MAX

/* Packets looked up at once, at most. */
#define VPCI_STEER_BURST 32

struct vpci_steer;
struct vpci_steer_reader;

/* What was counted for an entry.  Never falls while the entry lives. */
struct vpci_steer_stats {
    uint64_t packets;
    uint64_t bytes;
    uint64_t used;              /* When the last packet was counted, as said by
                                 * vpci_steer_count(); 0 if none was. */
    uint16_t tcp_flags;         /* Of all packets, network byte order. */
};

/* Makes an empty table for up to 'max_entries' entries and 'n_readers' readers,
 * in memory of its own.  Returns null with errno set if there is none. */
struct vpci_steer *vpci_steer_create(uint32_t max_entries, uint32_t n_readers);

/* Nobody may use the table any more. */
void vpci_steer_destroy(struct vpci_steer *);

/* The writer. */

/* Adds an entry.  Bits of 'key' outside of 'mask' are ignored.  Returns 0 and
 * stores the entry's number in '*entry', or
 *
 *     EEXIST   there is such an entry, stored in '*entry',
 *     E2BIG    'mask' is one more than VPCI_STEER_MAX_MASKS,
 *     ENOSPC   the table is full, or places of removed entries are still
 *              known to readers. */
int vpci_steer_insert(struct vpci_steer *, const union vpci_key *mask,
                      const union vpci_key *key, uint64_t verdict,
                      uint32_t *entry);

/* Returns the entry with just this mask and key, or VPCI_STEER_NONE. */
uint32_t vpci_steer_find(const struct vpci_steer *,
                         const union vpci_key *mask,
                         const union vpci_key *key);

/* Removes 'entry', which must be one. */
void vpci_steer_remove(struct vpci_steer *, uint32_t entry);

/* Changes the verdict of 'entry'.  Lookups that begin later return it. */
void vpci_steer_set_verdict(struct vpci_steer *, uint32_t entry,
                            uint64_t verdict);

/* Waits until no reader is at work that was so when this was called: then none
 * knows entries and verdicts that were removed or replaced before.  A reader
 * that never leaves is waited for for ever. */
void vpci_steer_synchronize(const struct vpci_steer *);

/* Any thread, while 'entry' is one and its writer leaves it. */
void vpci_steer_get_stats(const struct vpci_steer *, uint32_t entry,
                          struct vpci_steer_stats *);

/* Numbers of entries and of their masks. */
uint32_t vpci_steer_n_entries(const struct vpci_steer *);
uint32_t vpci_steer_n_masks(const struct vpci_steer *);

/* Mask and key of 'entry'.  Returns false if it is none. */
bool vpci_steer_get(const struct vpci_steer *, uint32_t entry,
                    union vpci_key *mask, union vpci_key *key,
                    uint64_t *verdict);

/* One more than the largest number of an entry that there may be. */
uint32_t vpci_steer_end(const struct vpci_steer *);

/* Readers. */

/* Makes reader 'id', below the 'n_readers' of the table.  One thread at a time
 * may use it.  Returns null if there is no memory. */
struct vpci_steer_reader *vpci_steer_reader_create(struct vpci_steer *,
                                                   uint32_t id);
void vpci_steer_reader_destroy(struct vpci_steer_reader *);

/* How deep packets have to be parsed for the entries that there are.  Packets
 * are parsed after vpci_steer_enter() and before that is left. */
enum vpci_key_depth vpci_steer_depth(const struct vpci_steer_reader *);

void vpci_steer_enter(struct vpci_steer_reader *);
void vpci_steer_leave(struct vpci_steer_reader *);

/* Looks up 'n' packets, at most VPCI_STEER_BURST.  Stores for each the number
 * of its entry, or VPCI_STEER_NONE, and the entry's verdict. */
void vpci_steer_lookup(struct vpci_steer_reader *,
                       const union vpci_key keys[], unsigned int n,
                       uint32_t entries[], uint64_t verdicts[]);

/* What it takes to match an entry that asks nothing of a packet but its Ethernet
 * header, without tags, and that it is no fragment. */
struct vpci_steer_plain {
    uint64_t mask[2];           /* Of the first 14 bytes of a packet... */
    uint64_t value[2];          /* ...and what they must be. */
    uint32_t entry;
    uint64_t verdict;
};

/* Returns true, and fills in '*plain', if the last packet that was found has such
 * an entry.  Then whoever has many packets for it need not make keys: all for
 * which vpci_steer_is_plain() or vpci_steer_is_plain_tcp() is true belong to the
 * entry, until the reader leaves. */
bool vpci_steer_get_plain(const struct vpci_steer_reader *,
                          struct vpci_steer_plain *plain);

static inline bool
vpci_steer_has_ethernet(const struct vpci_steer_plain *plain,
                        const uint8_t *headers)
{
    uint64_t h[2];

    memcpy(h, headers, sizeof h);
    return !(((h[0] & plain->mask[0]) ^ plain->value[0])
             | ((h[1] & plain->mask[1]) ^ plain->value[1]));
}

/* True if the packet, of which at least VPCI_STEER_PLAIN_HEADERS bytes are at
 * 'headers', belongs to the entry of 'plain', and has no TCP flags.  If not,
 * ask vpci_steer_is_plain_tcp() or vpci_steer_lookup(). */
#define VPCI_STEER_PLAIN_HEADERS 54
static inline bool
vpci_steer_is_plain(const struct vpci_steer_plain *plain,
                    const uint8_t *headers)
{
    return (vpci_steer_has_ethernet(plain, headers)
            && vpci_key_is_plain(headers));
}

/* True if the packet of 'len' bytes, of which 'n_headers' are at 'headers',
 * belongs to the entry of 'plain', and has TCP flags, which are stored in
 * '*tcp_flags' in network byte order.  More than VPCI_STEER_TCP_HEADERS bytes
 * do not help.  If not, ask vpci_steer_lookup(). */
#define VPCI_STEER_TCP_HEADERS 80
bool vpci_steer_is_plain_tcp(const struct vpci_steer_plain *plain,
                             const uint8_t *headers, uint32_t n_headers,
                             uint32_t len, uint16_t *tcp_flags);

/* Counts 'packets' with 'bytes' in all for 'entry', which this reader has found
 * since it entered, at the time 'now', in a unit that is up to the caller. */
void vpci_steer_count(struct vpci_steer_reader *, uint32_t entry,
                      uint64_t packets, uint64_t bytes, uint16_t tcp_flags,
                      uint64_t now);

#ifdef __cplusplus
}
#endif

#endif /* vpci/steer.h */
