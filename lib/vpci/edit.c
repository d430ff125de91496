/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Edits of packets: see edit.h. */

#include "edit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "vpci/key.h"
#include "vpci/types.h"

#define ADDRS_LEN 12
#define TAG_LEN 4
#define TCP_LEN 20
#define UDP_LEN 8
#define ICMP_LEN 8
#define ICMPV6_LEN 4

#define ETH_TYPE_IPV4 0x0800
#define ETH_TYPE_IPV6 0x86dd

#define IPV4_TOS 1
#define IPV4_TTL 8
#define IPV4_CSUM 10
#define IPV4_SRC 12
#define IPV4_DST 16
#define IPV6_SRC 8
#define IPV6_DST 24
#define TCP_CSUM 16
#define UDP_CSUM 6
#define ICMP_CSUM 2

/* What edits are like. */

/* The bits of each header that may be changed. */
static const uint8_t changeable[][VPCI_ABI_EDIT_BYTES] = {
    [VPCI_ABI_EDIT_ETH] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                            0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
    [VPCI_ABI_EDIT_IPV4] = { 0, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0,
                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
    [VPCI_ABI_EDIT_IPV6] = { 0x0f, 0xff, 0xff, 0xff, 0, 0, 0, 0xff,
                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff },
    [VPCI_ABI_EDIT_TCP] = { 0xff, 0xff, 0xff, 0xff },
    [VPCI_ABI_EDIT_UDP] = { 0xff, 0xff, 0xff, 0xff },
    [VPCI_ABI_EDIT_ICMP] = { 0xff, 0xff },
};

static bool
is_zero(const uint8_t *p, size_t n)
{
    uint8_t all = 0;

    for (size_t i = 0; i < n; i++) {
        all |= p[i];
    }
    return !all;
}

static bool
is_tpid(const uint8_t *p)
{
    return (p[0] == 0x81 && p[1] == 0x00) || (p[0] == 0x88 && p[1] == 0xa8);
}

/* A tag whose TCI leaves out the bit that says that there is one. */
static bool
is_tag(const struct vpci_abi_edit *e)
{
    return (is_tpid(e->value) && !(e->value[2] & 0x10)
            && is_zero(e->value + TAG_LEN, sizeof e->value - TAG_LEN));
}

static bool
is_change(const struct vpci_abi_edit *e)
{
    uint8_t bad = 0;

    for (int i = 0; i < VPCI_ABI_EDIT_BYTES; i++) {
        bad |= e->value[i] & ~e->mask[i];
        bad |= e->mask[i] & ~changeable[e->kind][i];
    }
    return !bad;
}

static bool
check_edit(const struct vpci_abi_edit *e)
{
    if (!is_zero(e->reserved, sizeof e->reserved)) {
        return false;
    }
    switch (e->kind) {
    case VPCI_ABI_EDIT_POP:
        return (is_zero(e->value, sizeof e->value)
                && is_zero(e->mask, sizeof e->mask));
    case VPCI_ABI_EDIT_PUSH:
        return is_tag(e) && is_zero(e->mask, sizeof e->mask);
    case VPCI_ABI_EDIT_ETH:
    case VPCI_ABI_EDIT_IPV4:
    case VPCI_ABI_EDIT_IPV6:
    case VPCI_ABI_EDIT_TCP:
    case VPCI_ABI_EDIT_UDP:
    case VPCI_ABI_EDIT_ICMP:
        return is_change(e);
    default:
        return false;
    }
}

bool
vpci_edits_check(struct vpci_edits *edits)
{
    edits->tags = false;
    edits->growth = 0;
    if (edits->n - 1 >= VPCI_ABI_MAX_EDITS) {
        return false;
    }
    for (uint32_t i = 0; i < edits->n; i++) {
        const struct vpci_abi_edit *e = &edits->edits[i];

        if (!check_edit(e)) {
            return false;
        }
        if (e->kind == VPCI_ABI_EDIT_POP || e->kind == VPCI_ABI_EDIT_PUSH) {
            edits->tags = true;
            edits->growth += e->kind == VPCI_ABI_EDIT_PUSH ? TAG_LEN
                             : -TAG_LEN;
        }
        if (edits->growth > VPCI_EDITS_ROOM
            || edits->growth < -VPCI_EDITS_ROOM) {
            return false;
        }
    }
    return true;
}

void
vpci_edits_write(const struct vpci_edits *edits,
                 struct vpci_abi_edits *shared)
{
    struct vpci_abi_edits said;

    memset(&said, 0, sizeof said);
    said.n = VPCI_LE32(edits->n);
    memcpy(said.edits, edits->edits, edits->n * sizeof said.edits[0]);

    /* Who sees anything of this sees, in vpci_projection_end(), that the
     * acceptance which had the place is over. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    memcpy(shared, &said, sizeof said);
}

bool
vpci_edits_read(struct vpci_edits *edits, const struct vpci_abi_edits *shared)
{
    struct vpci_abi_edits said;

    memcpy(&said, shared, sizeof said);
    edits->n = VPCI_LE32(said.n);
    memcpy(edits->edits, said.edits, sizeof edits->edits);
    return (vpci_edits_check(edits)
            && is_zero(said.reserved, sizeof said.reserved)
            && is_zero((const uint8_t *) &said.edits[edits->n],
                       (VPCI_ABI_MAX_EDITS - edits->n)
                       * sizeof said.edits[0]));
}

/* Packets. */

/* Where the headers of a packet are. */
struct headers {
    uint8_t *data;              /* All of them, */
    uint8_t *end;               /* up to there. */
    uint8_t *ip;                /* Or null. */
    uint8_t *l4;                /* What is behind that, */
    uint32_t l4_size;           /* without padding. */
    uint8_t proto;
    bool ipv6;
};

static uint16_t
get_16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Finds the headers of a packet of 'len' bytes, the first 'n' of which are at
 * h->data. */
static bool
find_headers(struct headers *h, uint32_t n, uint32_t len,
             unsigned int max_vlans)
{
    union vpci_key key;
    uint8_t *l3;

    if (!vpci_key_parse(h->data, n, len, max_vlans, VPCI_DEPTH_L4, &key)) {
        return false;
    }
    l3 = h->data + vpci_key_l3_ofs(&key);
    h->ipv6 = key.eth_type == htons(ETH_TYPE_IPV6);
    h->proto = key.ip_proto;
    if (h->ipv6) {
        h->ip = l3;
        h->l4 = l3 + 40;
        h->l4_size = ntohs(get_16(l3 + 4));
    } else if (key.eth_type == htons(ETH_TYPE_IPV4)) {
        h->ip = l3;
        h->l4 = l3 + (l3[0] & 0xf) * 4;
        h->l4_size = ntohs(get_16(l3 + 2)) - (l3[0] & 0xf) * 4;
    }
    return true;
}

/* Checksums, which cover one's complement sums of 16 bits (RFC 1624, equation
 * 3): one step for each word, as each may have another form of 0. */

static void
update_csum(uint8_t *csum, uint16_t old, uint16_t new)
{
    uint32_t sum = (uint16_t) ~get_16(csum) + (uint16_t) ~old + new;
    uint16_t v;

    sum = (sum & UINT16_MAX) + (sum >> 16);
    sum = (sum & UINT16_MAX) + (sum >> 16);
    v = ~sum;
    memcpy(csum, &v, sizeof v);
}

/* 'n' bytes, an even number of them, change from 'old' to 'new'. */
static void
update_csum_bytes(uint8_t *csum, const uint8_t *old, const uint8_t *new,
                  uint32_t n)
{
    for (uint32_t i = 0; i < n; i += 2) {
        update_csum(csum, get_16(old + i), get_16(new + i));
    }
}

/* UDP has another form for a checksum of 0. */
static void
finish_udp_csum(uint8_t *csum)
{
    if (!get_16(csum)) {
        memset(csum, 0xff, 2);
    }
}

/* Makes 'new' what bytes 'ofs' to 'ofs' + 'n' - 1 of the header at 'p' become
 * by 'e'.  Returns false if nothing changes. */
static bool
merge(const struct vpci_abi_edit *e, const uint8_t *p, uint32_t ofs,
      uint32_t n, uint8_t *new)
{
    for (uint32_t i = 0; i < n; i++) {
        new[i] = (p[ofs + i] & ~e->mask[ofs + i]) | e->value[ofs + i];
    }
    return memcmp(new, p + ofs, n) != 0;
}

/* Where the checksum is that covers the addresses of a packet, besides its own
 * header's, or null.  Open vSwitch, whose packets these are, takes what is
 * behind the header of a later fragment for another header as well. */
static uint8_t *
find_l4_csum(const struct headers *h)
{
    if (h->proto == IPPROTO_TCP && h->l4_size >= TCP_LEN) {
        return h->l4 + TCP_CSUM;
    } else if (h->proto == IPPROTO_UDP && h->l4_size >= UDP_LEN) {
        return get_16(h->l4 + UDP_CSUM) ? h->l4 + UDP_CSUM : NULL;
    } else if (h->ipv6 && h->proto == IPPROTO_ICMPV6
               && h->l4_size >= ICMPV6_LEN) {
        return h->l4 + ICMP_CSUM;
    }
    return NULL;
}

/* Changes the address of 'n' bytes at 'ofs' of the network header. */
static void
change_addr(const struct headers *h, const struct vpci_abi_edit *e,
            uint32_t ofs, uint32_t n)
{
    uint8_t new[16], *csum;

    if (!merge(e, h->ip, ofs, n, new)) {
        return;
    }
    csum = find_l4_csum(h);
    if (csum) {
        update_csum_bytes(csum, h->ip + ofs, new, n);
        if (h->proto == IPPROTO_UDP) {
            finish_udp_csum(csum);
        }
    }
    if (!h->ipv6) {
        update_csum_bytes(h->ip + IPV4_CSUM, h->ip + ofs, new, n);
    }
    memcpy(h->ip + ofs, new, n);
}

/* Changes the byte at 'ofs' of an IPv4 header. */
static void
change_byte(const struct headers *h, const struct vpci_abi_edit *e,
            uint32_t ofs)
{
    uint8_t new;

    if (merge(e, h->ip, ofs, 1, &new)) {
        bool odd = ofs & 1;
        const uint8_t from[2] = { odd ? 0 : h->ip[ofs],
                                  odd ? h->ip[ofs] : 0 };
        const uint8_t to[2] = { odd ? 0 : new, odd ? new : 0 };

        update_csum_bytes(h->ip + IPV4_CSUM, from, to, 2);
        h->ip[ofs] = new;
    }
}

static bool
change_ipv4(const struct headers *h, const struct vpci_abi_edit *e)
{
    if (!h->ip || h->ipv6) {
        return false;
    }
    change_addr(h, e, IPV4_SRC, 4);
    change_addr(h, e, IPV4_DST, 4);
    change_byte(h, e, IPV4_TOS);
    change_byte(h, e, IPV4_TTL);
    return true;
}

static bool
change_ipv6(const struct headers *h, const struct vpci_abi_edit *e)
{
    if (!h->ip || !h->ipv6) {
        return false;
    }
    change_addr(h, e, IPV6_SRC, 16);
    change_addr(h, e, IPV6_DST, 16);
    merge(e, h->ip, 0, IPV6_SRC, h->ip);
    return true;
}

/* Changes the two bytes at 'ofs' of the transport header, with the checksum at
 * 'csum', or null. */
static void
change_l4(const struct headers *h, const struct vpci_abi_edit *e,
          uint32_t ofs, uint8_t *csum)
{
    uint8_t new[2];

    if (merge(e, h->l4, ofs, 2, new)) {
        if (csum) {
            update_csum_bytes(csum, h->l4 + ofs, new, 2);
        }
        memcpy(h->l4 + ofs, new, 2);
    }
}

static bool
change_tcp(const struct headers *h, const struct vpci_abi_edit *e)
{
    uint32_t header;

    if (!h->ip || h->proto != IPPROTO_TCP) {
        return false;
    }
    if (h->l4_size >= TCP_LEN) {
        header = (h->l4[12] >> 4) * 4;
        if (header >= TCP_LEN && header <= h->l4_size) {
            change_l4(h, e, 0, h->l4 + TCP_CSUM);
            change_l4(h, e, 2, h->l4 + TCP_CSUM);
        }
    }
    return true;
}

static bool
change_udp(const struct headers *h, const struct vpci_abi_edit *e)
{
    uint8_t *csum;

    if (!h->ip || h->proto != IPPROTO_UDP) {
        return false;
    }
    if (h->l4_size >= UDP_LEN) {
        csum = find_l4_csum(h);
        change_l4(h, e, 0, csum);
        change_l4(h, e, 2, csum);
        if (csum) {
            finish_udp_csum(csum);
        }
    }
    return true;
}

static bool
change_icmp(const struct headers *h, const struct vpci_abi_edit *e)
{
    if (!h->ip || h->proto != (h->ipv6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP)) {
        return false;
    }
    if (h->l4_size >= ICMP_LEN) {
        change_l4(h, e, 0, h->l4 + ICMP_CSUM);
    }
    return true;
}

/* Tags. */

static bool
pop(struct headers *h)
{
    if (h->end - h->data < ADDRS_LEN + TAG_LEN + 2
        || !is_tpid(h->data + ADDRS_LEN)) {
        return false;
    }
    memmove(h->data + TAG_LEN, h->data, ADDRS_LEN);
    h->data += TAG_LEN;
    return true;
}

static bool
push(struct headers *h, const struct vpci_abi_edit *e)
{
    memmove(h->data - TAG_LEN, h->data, ADDRS_LEN);
    h->data -= TAG_LEN;
    memcpy(h->data + ADDRS_LEN, e->value, TAG_LEN);
    return true;
}

static bool
change(struct headers *h, const struct vpci_abi_edit *e)
{
    switch (e->kind) {
    case VPCI_ABI_EDIT_POP:
        return pop(h);
    case VPCI_ABI_EDIT_PUSH:
        return push(h, e);
    case VPCI_ABI_EDIT_ETH:
        merge(e, h->data, 0, ADDRS_LEN, h->data);
        return true;
    case VPCI_ABI_EDIT_IPV4:
        return change_ipv4(h, e);
    case VPCI_ABI_EDIT_IPV6:
        return change_ipv6(h, e);
    case VPCI_ABI_EDIT_TCP:
        return change_tcp(h, e);
    case VPCI_ABI_EDIT_UDP:
        return change_udp(h, e);
    case VPCI_ABI_EDIT_ICMP:
        return change_icmp(h, e);
    default:
        return false;
    }
}

/* Where tags come or go, the headers are changed in other memory, and what
 * follows them moves once. */
bool
vpci_edits_apply(const struct vpci_edits *edits, unsigned int max_vlans,
                 uint8_t *data, uint32_t len)
{
    uint32_t n = len < VPCI_KEY_HEADERS ? len : VPCI_KEY_HEADERS;
    uint8_t room[VPCI_EDITS_ROOM + VPCI_KEY_HEADERS];
    struct headers h = { .data = data };

    if (edits->tags) {
        h.data = room + VPCI_EDITS_ROOM;
        memcpy(h.data, data, n);
    }
    h.end = h.data + n;
    if (!find_headers(&h, n, len, max_vlans)) {
        return false;
    }
    for (uint32_t i = 0; i < edits->n; i++) {
        if (!change(&h, &edits->edits[i])) {
            return false;
        }
    }
    if (edits->growth) {
        memmove(data + n + edits->growth, data + n, len - n);
    }
    if (edits->tags) {
        memcpy(data, h.data, n + edits->growth);
    }
    return true;
}
