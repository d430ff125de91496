/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of virtio rings that are laid over the memory of a device (see
 * vpci/device.h): its driver is at one end, the engine at the other one, and
 * each has the memory at an address of its own. */

#include "test-vring.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "test-vring-harness.h"
#include "vpci/device.h"

#define SIZE 16
#define REGION_SIZE (1u << 20)

/* Where things are in the region: these are the addresses in descriptors. */
#define DESC 0x1000
#define DRIVER 0x3000
#define DEVICE 0x5000
#define BUFS 0x10000
#define BUF_SIZE 2048
#define HDR_LEN 12

struct over_device {
    struct vpci_device *ends[2];
    struct vpci_region memory[2];
    struct vpci_signal *signal; /* That the driver waits for. */
    struct vpci_memory map;     /* The engine's. */
    struct vring_driver *drv;
    struct vpci_vring *vr;
};

static void
lay_ring(struct over_device *o, uint64_t features)
{
    uint8_t *driver = o->memory[0].base, *engine = o->memory[1].base;
    const struct vring_driver_config dcfg = {
        .size = SIZE,
        .features = features,
        .desc = driver + DESC,
        .driver = driver + DRIVER,
        .device = driver + DEVICE,
        .start_wrap = features & VRING_F_PACKED,
    };
    const struct vpci_vring_config cfg = {
        .size = SIZE,
        .features = features | F_CSUM,
        .desc = engine + DESC,
        .driver = engine + DRIVER,
        .device = engine + DEVICE,
        .mem = &o->map,
        .base = { 0, 0, dcfg.start_wrap, dcfg.start_wrap },
        .call_fd = vpci_signal_fd(o->signal),
    };

    snprintf(combination, sizeof combination, "%s",
             features & VRING_F_PACKED ? "packed" : "split");
    o->drv = vring_driver_create(&dcfg);
    o->vr = vpci_vring_create();
    CHECK(o->drv && o->vr && !vpci_vring_start(o->vr, &cfg));
}

static void
open_device(struct over_device *o, uint64_t features)
{
    memset(o, 0, sizeof *o);
    CHECK(!vpci_loop_create(REGION_SIZE, 1, o->ends));
    for (int i = 0; i < 2; i++) {
        CHECK(!vpci_device_open(o->ends[i], 0));
        CHECK(!vpci_device_shm(o->ends[i], 0, 0, &o->memory[i],
                               i ? NULL : &o->signal));
    }
    CHECK(o->memory[0].base != o->memory[1].base);
    CHECK(!vpci_memory_add(&o->map, 0, REGION_SIZE, o->memory[1].base));
    lay_ring(o, features);
}

static void
close_device(struct over_device *o)
{
    CHECK(!o->drv->error && !vpci_vring_fault(o->vr));
    vpci_vring_destroy(o->vr);
    vring_driver_destroy(o->drv);
    for (int i = 0; i < 2; i++) {
        vpci_device_release(o->ends[i]);
    }
}

/* Buffer 'i' as the driver has it. */
static uint8_t *
buf(const struct over_device *o, unsigned int i)
{
    return (uint8_t *) o->memory[0].base + BUFS + i * BUF_SIZE;
}

/* The driver adds buffer 'i' of 'len' bytes. */
static void
add(struct over_device *o, unsigned int i, uint32_t len, bool writable)
{
    const struct vring_driver_buf b = { BUFS + i * BUF_SIZE, len, writable };

    CHECK(vring_driver_add(o->drv, &b, 1, false, NULL) >= 0);
    vring_driver_publish(o->drv);
}

/* The driver has been told, and has its buffer back, with 'len' bytes. */
static void
check_returned(struct over_device *o, uint32_t len)
{
    struct vring_driver_reaped reaped;

    CHECK(vpci_vring_notify(o->vr) && vpci_signal_wait(o->signal, 0));
    CHECK(vring_driver_reap(o->drv, &reaped, 1) == 1 && reaped.len == len);
}

static void
from_driver(struct over_device *o, uint32_t seed)
{
    unsigned int i = seed % SIZE;
    uint32_t len = 60 + seed;
    struct vpci_pkt pkt;

    memset(buf(o, i), 0, HDR_LEN);
    for (uint32_t j = 0; j < len; j++) {
        buf(o, i)[HDR_LEN + j] = frame_byte(seed, j);
    }
    add(o, i, HDR_LEN + len, false);
    CHECK(vpci_vring_peek(o->vr, &pkt, 1) == 1);
    CHECK(vpci_memory_contains(&o->map, pkt.iov[0].base, pkt.iov[0].len));
    check_peeked_bytes(&pkt, seed, len);
    vpci_vring_release(o->vr, 1);
    check_returned(o, 0);
}

static void
to_driver(struct over_device *o, uint32_t seed)
{
    unsigned int i = seed % SIZE;
    uint32_t len = 60 + seed;
    uint8_t frame[BUF_SIZE];
    struct vpci_iov iov = { frame, len };
    struct vpci_pkt pkt = { .iov = &iov, .n_iov = 1, .len = len };

    for (uint32_t j = 0; j < len; j++) {
        frame[j] = frame_byte(seed, j);
    }
    add(o, i, BUF_SIZE, true);
    CHECK(vpci_vring_push(o->vr, &pkt, 1) == 1);
    check_returned(o, HDR_LEN + len);
    CHECK(!memcmp(buf(o, i) + HDR_LEN, frame, len));
}

void
test_over_device(void)
{
    static const uint64_t features[] = { MODERN, MODERN | VRING_F_PACKED };
    struct over_device o;

    for (int i = 0; i < 4; i++) {
        open_device(&o, features[i / 2]);
        for (uint32_t seed = 0; seed < 100; seed++) {
            (i % 2 ? to_driver : from_driver)(&o, seed);
        }
        close_device(&o);
    }
}
