/* SPDX-License-Identifier: Apache-2.0 */

/* Fuzzer of the virtio ring engine
 * ================================
 *
 * The input is a hostile driver: features, sizes and indices first, then a
 * program that writes into guest memory between calls of the engine, and in
 * the end bytes for it to write.  Guest memory lies in allocations of exactly
 * its size, so that a sanitizer sees every access outside. */

#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "vpci/splice.h"
#include "vpci/vring.h"

#define F_MERGEABLE 15
#define F_INDIRECT 28
#define F_EVENT_IDX 29
#define F_VERSION_1 32
#define F_PACKED 34
#define F_IN_ORDER 35

/* Two regions that are adjacent for the guest, and one that is not.  Rings
 * are in the first one, buffers and tables anywhere. */
#define N_REGIONS 3
static const struct { uint64_t addr, size; } regions[N_REGIONS] = {
    { 0, 8192 }, { 8192, 4096 }, { 0x8000, 1000 },
};
#define DRIVER_OFS 4096
#define DEVICE_OFS 5120

#define DESC_F_WRITE 2

struct fuzz {
    struct vpci_memory mem;
    uint8_t *host[N_REGIONS];
    struct vpci_vring *vr;
    struct vpci_vring_config cfg;
    struct vpci_peer peer;
    unsigned int n_faults;
    unsigned int n_peeked;
};

static void
fuzz_report(void *f_, const struct vpci_fault *fault)
{
    struct fuzz *f = f_;
    char text[256];

    vpci_fault_format(fault, text, sizeof text);
    f->n_faults++;
    check(f->n_faults == 1, "a fault was reported twice");
    check(fault->kind > VPCI_FAULT_NONE && fault->kind < VPCI_N_FAULTS,
          "no such fault");
}

/* All that is logged must be in guest memory. */
static void
fuzz_log(void *f_, uint64_t addr, uint64_t len)
{
    struct fuzz *f = f_;
    uint64_t n = len;

    check(len && vpci_memory_map(&f->mem, addr, &n) && n == len,
          "logged memory is not the guest's");
}

/* Writes descriptors with 'flags', or nearly so, that are likely to be followed
 * far, so that a random input gets beyond the first check. */
static void
write_likely(struct fuzz *f, struct input *in, uint8_t flags)
{
    bool packed = f->cfg.features >> F_PACKED & 1;
    uint16_t lens = get_u16(in);
    uint8_t *desc = f->cfg.desc;

    for (uint32_t i = 0; i < f->cfg.size && i < 256; i++) {
        uint64_t addr = (uint64_t) (get_u8(in) & 0xff) << 5;
        uint32_t len = (lens >> (i % 8)) & 0xfff;
        uint16_t words[2] = { flags & 7, i + 1 };
        uint8_t twist = get_u8(in);

        if (twist & 1) {
            words[0] ^= twist >> 4 & 7;
        }
        if (twist & 2) {
            len = 16 << (twist >> 6);
        }
        if (twist == 0xff) {
            words[1] = get_u16(in);
        }
        if (packed) {
            uint16_t id = words[1];

            words[1] = words[0] | (f->cfg.base.avail_wrap ? 0x80 : 0x8000);
            words[0] = id;
        }
        memcpy(desc + i * 16, &addr, 8);
        memcpy(desc + i * 16 + 8, &len, 4);
        memcpy(desc + i * 16 + 12, words, 4);
    }
    if (!packed) {
        uint16_t *avail = f->cfg.driver;

        avail[1] += 1 + flags / 8;
        for (uint32_t i = 0; i < f->cfg.size; i++) {
            avail[2 + i] = i;
        }
    }
}

/* Writes a few bytes anywhere. */
static void
write_bytes(struct fuzz *f, struct input *in)
{
    uint8_t n = get_u8(in) & 15;
    uint16_t ofs = get_u16(in);
    int region = get_u8(in) % N_REGIONS;

    for (; n; n--) {
        f->host[region][ofs++ % regions[region].size] = get_u8(in);
    }
}

/* Touches every byte of the frames that were peeked at. */
static void
fuzz_peek(struct fuzz *f, unsigned int max)
{
    struct vpci_pkt pkts[VPCI_VRING_BURST];

    f->n_peeked = vpci_vring_peek(f->vr, pkts, max);
    check(f->n_peeked <= max, "too many frames");
    for (unsigned int i = 0; i < f->n_peeked; i++) {
        uint64_t sum = 0;

        for (uint32_t j = 0; j < pkts[i].n_iov; j++) {
            sum += pkts[i].iov[j].len;
            check(pkts[i].iov[j].len, "an empty piece");
            check(vpci_memory_contains(&f->mem, pkts[i].iov[j].base,
                                       pkts[i].iov[j].len),
                  "a piece outside guest memory");
        }
        check(sum == pkts[i].len, "pieces do not make up the frame");
        if (pkts[i].len < 20000) {
            uint8_t *copy = malloc(pkts[i].len + !pkts[i].len);

            check(copy, "out of memory");
            vpci_pkt_copy(&pkts[i], copy);
            free(copy);
        }
    }
}

static void
fuzz_push(struct fuzz *f, unsigned int n, unsigned int len)
{
    struct vpci_pkt pkts[VPCI_VRING_BURST];
    struct vpci_iov iov[2];
    uint8_t *frame = malloc(len + 1);
    unsigned int n_done;

    check(frame, "out of memory");
    memset(frame, 0x5a, len + 1);
    iov[0] = (struct vpci_iov) { frame, len / 2 + 1 };
    iov[1] = (struct vpci_iov) { frame + len / 2 + 1, len - len / 2 };
    for (unsigned int i = 0; i < n; i++) {
        memset(&pkts[i], 0, sizeof pkts[i]);
        pkts[i].iov = iov;
        pkts[i].n_iov = i % 2 && iov[1].len ? 2 : 1;
        pkts[i].len = iov[0].len + (pkts[i].n_iov == 2 ? iov[1].len : 0);
    }
    n_done = vpci_vring_push(f->vr, pkts, n);
    check(n_done <= n, "too many frames");
    for (unsigned int i = 0; i < n; i++) {
        check((pkts[i].fate == VPCI_PKT_WAITING) == (i >= n_done),
              "a wrong fate");
    }
    free(frame);
}

static void
fuzz_restart(struct fuzz *f)
{
    vpci_vring_stop(f->vr, &f->cfg.base);
    f->n_faults = 0;
    check(!vpci_vring_start(f->vr, &f->cfg), "cannot start again");
}

/* Passes easy frames on. */
static void
fuzz_splice(struct fuzz *from, struct fuzz *to, uint32_t max_len)
{
    static const struct vpci_steer_plain any;
    struct vpci_spliced spliced;
    unsigned int n;

    vpci_vring_release(from->vr, VPCI_VRING_BURST);
    n = vpci_vring_splice(from->vr, to->vr, &any, max_len, &spliced);
    check(n <= VPCI_VRING_BURST, "too many frames");
    for (unsigned int i = 0; i < n; i++) {
        check(spliced.lens[i] >= VPCI_STEER_PLAIN_HEADERS
              && spliced.lens[i] <= max_len, "a wrong length");
    }
}

/* Looks at easy frames, and puts those of one queue of two into 'to'. */
static void
fuzz_scatter(struct fuzz *from, struct fuzz *to, uint32_t max_len)
{
    static const struct vpci_steer_plain any;
    struct vpci_splice_look look;
    struct vpci_spread spread;
    uint32_t which = 0, moved;

    vpci_spread_reset(&spread, 2);
    vpci_vring_release(from->vr, VPCI_VRING_BURST);
    vpci_vring_look(from->vr, &any, max_len, &spread, 1, &look);
    check(look.n <= VPCI_VRING_BURST, "too many frames");
    for (unsigned int i = 0; i < look.n; i++) {
        check(look.queues[i] < 2, "no such queue");
        which |= (uint32_t) look.queues[i] << i;
        check(look.iovs[i].len >= VPCI_STEER_PLAIN_HEADERS
              && look.iovs[i].len <= max_len, "a wrong length");
    }
    moved = vpci_vring_put(&look, to->vr, which);
    check(!(moved & ~which), "frames of another queue");
    vpci_vring_release(from->vr, look.n);
}

static void
fuzz_step(struct fuzz *f, struct fuzz *other, struct input *in)
{
    uint8_t op = get_u8(in);
    unsigned int arg = op >> 3;
    struct vpci_vring_state state;

    switch (op & 7) {
    case 0:
        write_likely(f, in, get_u8(in));
        break;
    case 1:
    case 2:
        write_bytes(f, in);
        break;
    case 3:
        fuzz_peek(f, arg + 1);
        break;
    case 4:
        vpci_vring_release(f->vr, arg + 1);
        break;
    case 5:
        fuzz_push(f, arg + 1, get_u16(in) & 0xfff);
        break;
    case 6:
        vpci_vring_notify(f->vr);
        vpci_vring_get_state(f->vr, &state);
        check((state.fault != VPCI_FAULT_NONE) == (f->n_faults != 0),
              "a fault that was not reported");
        break;
    case 7:
    default:
        if (arg < 4) {
            fuzz_restart(f);
        } else {
            if (arg & 1) {
                fuzz_restart(f);
                fuzz_restart(other);
                write_likely(f, in, 8 * arg);
                write_likely(other, in, 8 * arg | DESC_F_WRITE);
            }
            if (arg & 2) {
                fuzz_scatter(f, other, get_u16(in));
            } else {
                fuzz_splice(f, other, get_u16(in));
            }
        }
        break;
    }
}

/* Decides on features, size and base. */
static void
fuzz_configure(struct fuzz *f, struct input *in, const struct vpci_peer *peer)
{
    uint8_t bits = get_u8(in);
    bool packed = bits & 1;

    f->cfg = (struct vpci_vring_config) {
        .size = (packed ? get_u8(in) % 200 + 1 : 1 << get_u8(in) % 8),
        .features = ((uint64_t) packed << F_PACKED
                     | (uint64_t) (bits >> 1 & 1) << F_INDIRECT
                     | (uint64_t) (bits >> 2 & 1) << F_MERGEABLE
                     | (uint64_t) (bits >> 3 & 1) << F_EVENT_IDX
                     | (uint64_t) (bits >> 4 & 1) << F_IN_ORDER
                     | (uint64_t) (bits >> 5 & 1) << F_VERSION_1),
        .desc = f->host[0],
        .driver = f->host[0] + DRIVER_OFS,
        .device = f->host[0] + DEVICE_OFS,
        .mem = &f->mem,
        .call_fd = -1,
        .peer = peer,
        .log = bits & 64 ? fuzz_log : NULL,
        .log_aux = f,
        .log_device_addr = packed ? 0 : DEVICE_OFS,
    };
    f->cfg.base = (struct vpci_vring_base) {
        .avail_idx = get_u16(in),
        .used_idx = get_u16(in),
        .avail_wrap = bits >> 7,
        .used_wrap = bits >> 7,
    };
    if (packed) {
        f->cfg.base.avail_idx %= f->cfg.size;
        f->cfg.base.used_idx %= f->cfg.size;
    }
}

static void
fuzz_init(struct fuzz *f, struct input *in)
{
    memset(f, 0, sizeof *f);
    f->peer = (struct vpci_peer) { fuzz_report, f };
    for (int i = 0; i < N_REGIONS; i++) {
        f->host[i] = malloc(regions[i].size);
        check(f->host[i], "out of memory");
        memset(f->host[i], 0, regions[i].size);
        check(!vpci_memory_add(&f->mem, regions[i].addr, regions[i].size,
                               f->host[i]), "cannot add a region");
    }
    fuzz_configure(f, in, &f->peer);
    if (!(f->cfg.features >> F_PACKED & 1)) {
        ((uint16_t *) f->cfg.driver)[1] = f->cfg.base.avail_idx;
    }
    f->vr = vpci_vring_create();
    check(f->vr && !vpci_vring_start(f->vr, &f->cfg), "cannot start");
}

static void
fuzz_uninit(struct fuzz *f)
{
    vpci_vring_destroy(f->vr);
    for (int i = 0; i < N_REGIONS; i++) {
        free(f->host[i]);
    }
}

/* Two rings, each of which may be the one that frames come from or go to. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = { data, size };
    struct fuzz f[2];

    fuzz_init(&f[0], &in);
    fuzz_init(&f[1], &in);
    for (int i = 0; i < 200 && in.left; i++) {
        int which = get_u8(&in) & 1;

        fuzz_step(&f[which], &f[!which], &in);
    }
    fuzz_uninit(&f[0]);
    fuzz_uninit(&f[1]);
    return 0;
}
