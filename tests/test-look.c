/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of what a projection says of bursts (lib/vpci/net-look.h): it is the
 * same however it is found out.
 *
 * usage: test-look [--list | NAME...] */

#include <arpa/inet.h>
#include <stdlib.h>

#include "net-look.h"
#include "unit-test.h"
#include "vpci/layout.h"

enum { N_ENTRIES = 16, LEN = 64, N_BURSTS = 20000 };

static uint8_t base[8192] __attribute__((aligned(64)));
static uint8_t packets[VPCI_STEER_BURST][LEN];
static struct vpci_ring_buf bufs[VPCI_STEER_BURST];
static unsigned int seed = 1;

static bool
one_in(unsigned int n)
{
    return rand_r(&seed) % n == 0;
}

/* Makes '*look' one at a projection in 'memory', where packets of 'type' for
 * 02:00:00:00:00:07 have an entry, plain but for that. */
static bool
begin(struct net_look *look, void **memory, uint16_t type)
{
    struct vpci_steer *steer = vpci_steer_create(N_ENTRIES, 1);
    size_t bytes = vpci_projection_bytes(N_ENTRIES);
    union vpci_key mask, key;
    uint32_t generation = 0, number;

    memset(&mask, 0, sizeof mask);
    memset(&key, 0, sizeof key);
    memset(mask.eth_dst, 0xff, sizeof mask.eth_dst);
    mask.eth_type = UINT16_MAX;
    mask.kind = VPCI_KEY_FRAG_ANY | VPCI_KEY_FRAG_LATER;
    memcpy(key.eth_dst, "\2\0\0\0\0\7", 6);
    key.eth_type = htons(type);
    CHECK(steer && !vpci_steer_insert(steer, &mask, &key, 1, &number));
    *memory = aligned_alloc(64, (bytes + 63) & ~(size_t) 63);
    memset(*memory, 0, bytes);
    vpci_projection_publish(steer, *memory, &generation);
    vpci_steer_destroy(steer);
    CHECK(net_look_init(look, *memory, bytes, base));
    return true;
}

/* Makes packet 'i' one of 'type' that has the entry, and is UDP. */
static void
make_plain(unsigned int i, uint16_t type)
{
    static const uint8_t ipv4[] = { 0x45, 0, 0, 50, 1, 2, 0x40, 0, 64, 17 };
    static const uint8_t ipv6[] = { 0x60, 0, 0, 0, 0, 10, 17, 64 };
    uint8_t *p = packets[i];

    for (int j = 0; j < LEN; j++) {
        p[j] = rand_r(&seed);
    }
    memcpy(p, "\2\0\0\0\0\7", 6);
    p[12] = type >> 8;
    p[13] = type;
    if (type == 0x0800) {
        memcpy(p + 14, ipv4, sizeof ipv4);
    } else if (type == 0x86dd) {
        memcpy(p + 14, ipv6, sizeof ipv6);
    }
    bufs[i] = (struct vpci_ring_buf) {
        .data = p, .size = LEN, .len = LEN,
    };
}

/* Changes something in packet 'i' that may matter. */
static void
change(unsigned int i)
{
    static const uint8_t places[] = { 0, 5, 12, 13, 20, 21, 23 };
    static const uint8_t next[] = { 0, 1, 6, 17, 43, 44, 50, 51, 58, 60, 64,
                                    70, 108, 132 };
    uint8_t *p = packets[i];

    if (one_in(2)) {
        p[one_in(2) ? 20 : 23] = next[rand_r(&seed) % sizeof next];
    } else {
        p[places[rand_r(&seed) % sizeof places]] ^= 1 << rand_r(&seed) % 8;
    }
}

/* Bursts of packets of 'type', of some of which something was changed. */
static bool
check_bursts(struct net_look *look, uint16_t type)
{
    unsigned int n_all = 0;

    for (int i = 0; i < N_BURSTS; i++) {
        unsigned int n = 1 + rand_r(&seed) % VPCI_STEER_BURST, n_plain;
        unsigned int changed = one_in(2) ? 1 : 100;
        uint64_t bytes;
        bool all;

        for (unsigned int j = 0; j < n; j++) {
            make_plain(j, type);
            if (changed < 100 && one_in(n)) {
                change(j);
            }
        }
        all = net_look_all_plain(look, bufs, n);
        n_plain = net_look_count_plain(look, bufs, n, LEN, true, &bytes);
        CHECK(bytes == n_plain * UINT64_C(64));
        CHECK(!all || n_plain == n);

        /* Next headers of IPv6 beyond 63 are worth another look. */
        CHECK(all || n_plain < n || type == 0x86dd);
        n_all += all;

        /* Those have the entry by their keys, too. */
        look->has_plain = false;
        net_look_up(look, bufs, 0, n, true);
        look->has_plain = true;
        for (unsigned int j = 0; j < n_plain; j++) {
            CHECK(look->verdicts[j] == 1);
        }
    }
    CHECK(n_all > N_BURSTS / 3);
    return true;
}

static bool
check_type(uint16_t type)
{
    struct net_look look;
    void *memory;

    CHECK(begin(&look, &memory, type));
    make_plain(0, type);
    net_look_begin(&look);
    net_look_up(&look, bufs, 0, 1, true);
    CHECK(look.has_plain && look.verdicts[0] == 1);
    CHECK(check_bursts(&look, type));
    CHECK(net_look_end(&look));
    net_look_uninit(&look);
    free(memory);
    return true;
}

static bool
run_plain(void)
{
    CHECK(check_type(0x0800));
    CHECK(check_type(0x86dd));
    CHECK(check_type(0x0806));
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "plain", run_plain },
    };

    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
