/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of classes of priority (vpci/classes.h).
 *
 * usage: test-classes [--list | NAME...] */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "unit-test.h"
#include "vpci/classes.h"

/* Class by PCP and by class selector, for 1 to 8 classes. */
static const uint8_t by_pcp[VPCI_ABI_MAX_CLASSES][8] = {
    { 0, 0, 0, 0, 0, 0, 0, 0 },
    { 0, 0, 0, 0, 1, 1, 1, 1 },
    { 0, 0, 0, 1, 1, 1, 2, 2 },
    { 0, 0, 1, 1, 2, 2, 3, 3 },
    { 0, 0, 1, 1, 2, 3, 3, 4 },
    { 0, 0, 1, 2, 3, 3, 4, 5 },
    { 0, 0, 1, 2, 3, 4, 5, 6 },
    { 1, 0, 2, 3, 4, 5, 6, 7 },
};
static const uint8_t by_selector[VPCI_ABI_MAX_CLASSES][8] = {
    { 0, 0, 0, 0, 0, 0, 0, 0 },
    { 0, 0, 0, 0, 1, 1, 1, 1 },
    { 0, 0, 0, 1, 1, 1, 2, 2 },
    { 0, 0, 1, 1, 2, 2, 3, 3 },
    { 0, 0, 1, 1, 2, 3, 3, 4 },
    { 0, 0, 1, 2, 3, 3, 4, 5 },
    { 0, 0, 1, 2, 3, 4, 5, 6 },
    { 0, 1, 2, 3, 4, 5, 6, 7 },
};

/* Writes an Ethernet header with these tags, and the beginning of IPv4, or of
 * IPv6, with 'dscp' to 'p'.  Returns their bytes. */
static uint32_t
make_packet(uint8_t *p, const uint16_t tcis[], int n_tags, bool ipv6,
            uint8_t dscp)
{
    uint8_t *start = p;

    memset(p, 2, 12);
    p += 12;
    for (int i = 0; i < n_tags; i++, p += 4) {
        p[0] = i + 1 < n_tags ? 0x88 : 0x81;
        p[1] = i + 1 < n_tags ? 0xa8 : 0x00;
        p[2] = tcis[i] >> 8;
        p[3] = tcis[i];
    }
    p[0] = ipv6 ? 0x86 : 0x08;
    p[1] = ipv6 ? 0xdd : 0x00;
    p[2] = ipv6 ? 0x60 | dscp >> 2 : 0x45;
    p[3] = ipv6 ? dscp << 6 | 0x1f : dscp << 2 | 3;
    return p + 4 - start;
}

/* The same bytes, with nothing behind them that could be read. */
static uint32_t
choose(const struct vpci_classes *classes, const uint8_t *data, uint32_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    uint32_t class_;

    memcpy(copy, data, len);
    class_ = vpci_classes_choose(classes, copy, len);
    free(copy);
    return class_;
}

static bool
run_pcp(void)
{
    for (uint32_t n = 1; n <= VPCI_ABI_MAX_CLASSES; n++) {
        struct vpci_classes c;
        uint8_t p[32];

        vpci_classes_init(&c, n, VPCI_ABI_CLASS_PCP);
        for (uint16_t pcp = 0; pcp < 8; pcp++) {
            uint16_t tcis[] = { pcp << 13 | 0x1005, (7 - pcp) << 13 };
            uint32_t len = make_packet(p, tcis, 1, false, 63);

            CHECK(choose(&c, p, len) == by_pcp[n - 1][pcp]);
            CHECK(choose(&c, p, 16) == by_pcp[n - 1][pcp]);
            CHECK(choose(&c, p, 15) == by_pcp[n - 1][0]);
            len = make_packet(p, tcis, 2, true, 63);
            CHECK(choose(&c, p, len) == by_pcp[n - 1][pcp]);
        }
        CHECK(choose(&c, p, make_packet(p, NULL, 0, false, 63))
              == by_pcp[n - 1][0]);
        CHECK(choose(&c, p, 0) == by_pcp[n - 1][0]);
    }
    return true;
}

static bool
run_dscp(void)
{
    static const uint16_t tcis[] = { 0xe005, 0xe005 };

    for (uint32_t n = 1; n <= VPCI_ABI_MAX_CLASSES; n++) {
        struct vpci_classes c;
        uint8_t p[32];

        vpci_classes_init(&c, n, VPCI_ABI_CLASS_DSCP);
        for (uint8_t dscp = 0; dscp < 64; dscp++) {
            uint8_t wanted = by_selector[n - 1][dscp >> 3];

            for (int i = 0; i < 6; i++) {
                uint32_t len = make_packet(p, tcis, i / 2, i % 2, dscp);

                CHECK(choose(&c, p, len) == wanted);
                CHECK(choose(&c, p, len - 1) == 0);
            }
        }
        /* ARP, and what says that it is IP and is not. */
        make_packet(p, NULL, 0, false, 63);
        p[13] = 6;
        CHECK(choose(&c, p, 16) == 0);
        make_packet(p, NULL, 0, false, 63);
        p[14] = 0x65;
        CHECK(choose(&c, p, 16) == 0);
        make_packet(p, NULL, 0, true, 63);
        p[14] = 0x4f;
        CHECK(choose(&c, p, 16) == 0);
    }
    return true;
}

static bool
run_words(void)
{
    struct vpci_classes a, b;
    struct vpci_abi_port port;

    memset(&port, 0, sizeof port);
    vpci_classes_init(&a, 8, VPCI_ABI_CLASS_DSCP);
    vpci_classes_write(&a, &port);
    vpci_classes_read(&b, &port, 8);
    CHECK(!memcmp(&a, &b, sizeof a));

    /* A map for more classes than there are. */
    vpci_classes_read(&b, &port, 3);
    CHECK(b.n == 3 && b.of[0] == 0 && b.of[8] == 1 && b.of[16] == 2
          && b.of[63] == 2);
    port.class_by = 200;
    memset(port.class_of, 255, sizeof port.class_of);
    vpci_classes_read(&b, &port, 8);
    CHECK(choose(&b, port.class_of, 64) == 0);

    /* With one class nothing is looked at. */
    vpci_classes_init(&a, 1, VPCI_ABI_CLASS_PCP);
    CHECK(a.by == VPCI_ABI_CLASS_NONE);
    return true;
}

static const struct unit_test tests[] = {
    { "pcp", run_pcp },
    { "dscp", run_dscp },
    { "words", run_words },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
