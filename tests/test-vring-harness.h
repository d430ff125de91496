/* SPDX-License-Identifier: Apache-2.0 */

#ifndef TEST_VRING_HARNESS_H
#define TEST_VRING_HARNESS_H 1

#include <stdbool.h>
#include <stdint.h>

#include "vpci/vring.h"
#include "vring-driver.h"

/* A guest with one ring, for the tests of test-vring
 * ==================================================
 *
 * The guest owns memory, a driver (see vring-driver.h) and the engine's ring
 * that serves it.  What it sends and receives are frames whose bytes follow
 * from a 'seed', so that they need not be remembered to be checked.
 *
 * Whatever goes wrong ends the process.
 *
 * Threads: calls on one guest must be serialized by the caller.  What draws
 * random numbers (random_below(), and all that adds to or pushes into a ring)
 * belongs to a single thread. */

#define F_CSUM (UINT64_C(1) << 0)
#define F_MERGEABLE (UINT64_C(1) << 15)

/* Guests negotiate F_CSUM without being asked, so that their headers count,
 * unless this is among their features. */
#define NO_OFFLOADS (UINT64_C(1) << 63)
#define MODERN VRING_F_VERSION_1

/* What is under test, for messages. */
extern char combination[128];

#define CHECK(COND)                                                     \
    ((COND) ? (void) 0 : check_failed(__FILE__, __LINE__, #COND))

void check_failed(const char *file, int line, const char *cond)
    __attribute__((noreturn));

/* A number from 0 to 'n' - 1: the same ones in each run. */
uint32_t random_below(uint32_t n);

/* Four regions: rings, indirect tables, and two for buffers that are adjacent
 * for the guest and apart for us. */
enum { RINGS, TABLES, BUFS1, BUFS2, N_REGIONS };

struct guest_region {
    uint64_t addr, size;
};

extern const struct guest_region regions[N_REGIONS];
#define BUFS_ADDR UINT64_C(0x100000000)
#define BUFS_MIDDLE UINT64_C(0x100100000)
#define BUFS_SIZE 0x600000

#define MAX_PIECES 64

/* A chain as the test remembers it. */
struct chain {
    unsigned int n;
    struct vring_driver_buf bufs[MAX_PIECES];
    uint32_t len;
    uint32_t frame_len;
    uint32_t seed;
};

struct guest {
    uint64_t features;
    uint32_t hdr_len;
    uint8_t *host[N_REGIONS];
    struct vpci_memory mem;
    struct vring_driver_config dcfg;
    struct vpci_vring_config cfg;
    struct vring_driver *drv;
    struct vpci_vring *vr;
    struct vpci_peer peer;
    struct vpci_fault fault;
    unsigned int n_faults;
    bool zero_headers;          /* check_received() wants zeros. */
    int call_fd;
    uint64_t next_buf;          /* Offset of the next buffer. */
    struct chain *chains;       /* By id. */
    uint8_t *logged[N_REGIONS]; /* One byte for each byte, if logging. */
};

/* Sets up 'g', with the ring stopped.  'idx' and 'wrap' say where the driver
 * and the ring begin. */
void guest_init_stopped(struct guest *, uint64_t features, uint16_t size,
                        uint16_t idx, bool wrap);

/* Starts the ring as 'cfg' says. */
void guest_start(struct guest *);

/* Sets up 'g', and starts the ring. */
void guest_init(struct guest *, uint64_t features, uint16_t size,
                uint16_t idx, bool wrap);
void guest_destroy(struct guest *);

/* The byte at guest physical address 'addr'. */
uint8_t *guest_byte(const struct guest *, uint64_t addr);

/* Splits 'len' into up to 'max' pieces, in one of many ways.  Stores their
 * lengths in 'lens' and returns their number. */
unsigned int random_pieces(uint32_t len, uint32_t hdr_len, unsigned int max,
                           uint32_t lens[]);

/* Byte 'i' of the frame 'seed', behind the header. */
uint8_t frame_byte(uint32_t seed, uint32_t i);

/* From the driver. */

/* Adds the frame 'seed' in 'n' pieces of the lengths 'lens', which include the
 * header.  Returns the id of its chain, or -1. */
int guest_send(struct guest *, uint32_t seed, const uint32_t *lens,
               unsigned int n, bool indirect);

/* Checks a frame that was peeked at. */
void check_peeked(const struct vpci_pkt *, uint32_t seed, uint32_t len);

/* The same without the header. */
void check_peeked_bytes(const struct vpci_pkt *, uint32_t seed, uint32_t len);

/* Peeks at one frame, checks and releases it. */
void check_take(struct guest *, uint32_t seed, uint32_t len);

/* Sends, takes and gives back 'n' frames, which are left to be reaped. */
void move_frames(struct guest *, unsigned int n);

/* To the driver. */

/* Adds a buffer in 'n' pieces of the lengths 'lens'.  Returns the id of its
 * chain, or -1. */
int guest_post(struct guest *, const uint32_t *lens, unsigned int n,
               bool indirect);
int guest_post_one(struct guest *, uint32_t len);

/* Pushes 'n' frames of the lengths 'lens', with seeds from 'seed' on, and
 * stores their fates.  Returns what the engine returns. */
unsigned int guest_push(struct guest *, uint32_t seed, const uint32_t *lens,
                        unsigned int n, uint8_t *fates);
enum vpci_pkt_fate guest_push_one(struct guest *, uint32_t seed, uint32_t len);

/* Takes the frame 'seed' out of the driver's buffers, and checks it.  Returns
 * the number of buffers that it took. */
unsigned int check_received(struct guest *, uint32_t seed, uint32_t len);

/* Reaps all that is to be reaped. */
void reap_all(struct guest *);

/* Returns how often the driver was called since the last time. */
unsigned int count_calls(struct guest *);

/* Calls 'test' for each combination of features, ring size and start that is
 * worth it. */
void for_each_ring(void (*test)(struct guest *));

/* Runs 'test' with a split and a packed ring with more 'features'. */
void for_both(void (*test)(struct guest *), uint64_t features, uint16_t size);

#endif /* test-vring-harness.h */
