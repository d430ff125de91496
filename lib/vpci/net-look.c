/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* What a projection says of packets: see net-look.h. */

#include "net-look.h"

#include <string.h>

#include "steer-private.h"
#include "vpci/layout.h"

bool
net_look_init(struct net_look *look, const void *memory, size_t bytes,
              const void *base)
{
    memset(look, 0, sizeof *look);
    look->depth = -1;
    look->max_vlans = &vpci_layout_port((void *) (uintptr_t) base)->max_vlans;
    look->projection = vpci_projection_open(memory, bytes);
    return look->projection != NULL;
}

void
net_look_uninit(struct net_look *look)
{
    vpci_projection_close(look->projection);
    look->projection = NULL;
}

/* True if packet 'i', of which 'n' bytes of 'len' are at 'data', belongs to
 * the plain entry, as it says then. */
static bool
is_plain(struct net_look *look, unsigned int i, const uint8_t *data,
         uint32_t n, uint32_t len)
{
    if (!look->has_plain || n < VPCI_STEER_PLAIN_HEADERS
        || !(vpci_steer_is_plain(&look->plain, data)
             || vpci_steer_is_plain_tcp(&look->plain, data, n, len,
                                        &look->tcp_flags[i]))) {
        return false;
    }
    look->entries[i] = look->plain.entry;
    look->verdicts[i] = look->plain.verdict;
    return true;
}

unsigned int
net_look_max_vlans(const struct net_look *look)
{
    uint32_t n = vpci_load32(look->max_vlans);

    return n < VPCI_KEY_VLANS ? n : VPCI_KEY_VLANS;
}

/* Packet 'i', which has 'key', belongs to 'entry'. */
static void
set_found(struct net_look *look, unsigned int i, const union vpci_key *key,
          uint32_t entry, uint64_t verdict)
{
    look->entries[i] = entry;
    look->verdicts[i] = verdict;
    look->tcp_flags[i] = key->tcp_flags;
}

/* Other packets may belong to 'plain' as well. */
static void
set_plain(struct net_look *look, const struct vpci_steer_plain *plain)
{
    uint8_t (*bytes)[16] = look->plain_bytes;
    uint16_t type;

    look->has_plain = true;
    look->plain = *plain;
    memset(bytes, 0, sizeof look->plain_bytes);
    memcpy(bytes[0], plain->mask, sizeof bytes[0]);
    memcpy(bytes[1], plain->value, sizeof bytes[1]);
    type = bytes[1][12] << 8 | bytes[1][13];
    look->plain_is_ipv6 = type == 0x86dd;
    if (type == 0x0800) {
        /* More fragments, or an offset; the protocol. */
        bytes[2][20 - 8] = 0x3f;
        bytes[2][21 - 8] = 0xff;
        bytes[3][23 - 8] = 0xff;
    }
}

static void
look_up_keys(struct net_look *look)
{
    const struct net_look_keys *k = &look->keys;
    uint32_t entries[VPCI_STEER_BURST];
    uint64_t verdicts[VPCI_STEER_BURST];
    struct vpci_steer_plain plain;

    vpci_projection_lookup(look->projection, k->keys, k->n, entries,
                           verdicts);
    for (unsigned int j = 0; j < k->n; j++) {
        if (entries[j] != VPCI_STEER_NONE) {
            set_found(look, k->packets[j], &k->keys[j], entries[j],
                      verdicts[j]);
        }
    }
    if (vpci_projection_get_plain(look->projection, &plain)) {
        set_plain(look, &plain);
    }
}

/* Looks up packet 'i', 'n' bytes of 'len' at 'data', which has no key as deep
 * as others need one.  It may belong to an entry that needs less: whether it
 * does must not depend on which other entries there are. */
static void
look_up_shallow(struct net_look *look, unsigned int i, const uint8_t *data,
                uint32_t n, uint32_t len)
{
    int depth = look->depth;
    union vpci_key key;
    uint64_t verdict;
    uint32_t entry;

    do {
        if (--depth < VPCI_DEPTH_FRAG) {
            return;
        }
    } while (!vpci_key_parse(data, n, len, net_look_max_vlans(look),
                             (enum vpci_key_depth) depth, &key));
    vpci_projection_lookup(look->projection, &key, 1, &entry, &verdict);
    if (entry != VPCI_STEER_NONE
        && projection_entry_depth(look->projection, entry)
           <= (enum vpci_key_depth) depth) {
        set_found(look, i, &key, entry, verdict);
    }
}

void
net_look_up(struct net_look *look, const struct vpci_ring_buf bufs[],
            unsigned int first, unsigned int n, bool cut)
{
    unsigned int n_vlans = net_look_max_vlans(look);
    struct net_look_keys *k = &look->keys;

    k->n = 0;
    for (unsigned int i = first; i < n; i++) {
        const struct vpci_ring_buf *b = &bufs[i];
        uint32_t n_bytes = cut && b->size < b->len ? b->size : b->len;

        look->entries[i] = VPCI_STEER_NONE;
        look->verdicts[i] = 0;
        look->tcp_flags[i] = 0;
        if (look->depth < 0 || is_plain(look, i, b->data, n_bytes, b->len)) {
            continue;
        } else if (vpci_key_parse(b->data, n_bytes, b->len, n_vlans,
                                  (enum vpci_key_depth) look->depth,
                                  &k->keys[k->n])) {
            k->packets[k->n++] = i;
        } else {
            look_up_shallow(look, i, b->data, n_bytes, b->len);
        }
    }
    if (k->n) {
        look_up_keys(look);
    }
}
