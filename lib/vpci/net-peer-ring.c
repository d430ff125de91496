/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* The peer's rings, as the switch describes them: see net-peer.h.  All of it
 * is checked, in a copy. */

#include "net-peer.h"

#include <string.h>

/* A ring is broken, says its worker. */
static void
report(void *p_, const struct vpci_fault *fault)
{
    struct net_peer *p = p_;

    /* Who reads it has sent workers away before. */
    if (!__atomic_test_and_set(&p->fault_claimed, __ATOMIC_RELAXED)) {
        p->fault = *fault;
    }
    net_peer_end(p, VPCI_ABI_PEER_BROKEN);
}

/* Wakes the driver of ring 'r'. */
static void
wake_driver(void *r_)
{
    struct net_peer_ring *r = r_;

    if (r->call) {
        vpci_signal_inject(r->call);
        if (r->worker) {
            net_count(&r->worker->stats.injected, 1);
        }
    }
}

/* True if all of the 'n' bytes at 'bytes' are 0. */
static bool
is_zero(const uint8_t bytes[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i]) {
            return false;
        }
    }
    return true;
}

/* Makes the table of the peer's memory, which is mapped at 'host'.  Returns
 * null, or what is wrong. */
static const char *
read_memories(struct net_peer *p, const struct vpci_region *host)
{
    uint64_t size = VPCI_LE64(p->said.size);
    uint32_t n = VPCI_LE32(p->said.n_memories);

    if (!n || n > VPCI_ABI_PEER_MEMORIES) {
        return "the number of ranges of its memory";
    } else if (size > host->size) {
        return "the size of its memory";
    }
    memset(&p->memory, 0, sizeof p->memory);
    for (uint32_t i = 0; i < n; i++) {
        const struct vpci_abi_peer_memory *m = &p->said.memories[i];
        uint64_t offset = VPCI_LE64(m->offset), bytes = VPCI_LE64(m->size);

        if (offset > size || bytes > size - offset || m->reserved
            || vpci_memory_add(&p->memory, VPCI_LE64(m->address), bytes,
                               (uint8_t *) host->base + offset)) {
            return "a range of its memory";
        }
    }
    return NULL;
}

/* Finds the signals of ring 'i'.  Returns false if there cannot be such. */
static bool
find_signals(struct net_peer *p, uint32_t i)
{
    uint32_t kick = VPCI_LE32(p->said.rings[i].kick);
    uint32_t call = VPCI_LE32(p->said.rings[i].call);
    struct net_peer_ring *r = &p->rings[i];

    r->kick = kick ? vpci_device_signal(p->device, kick - 1) : NULL;
    r->call = call ? device_peer_signal(p->device, call - 1) : NULL;
    return kick <= p->n_signals && call <= VPCI_ABI_MAX_VECTORS;
}

bool
net_peer_has_signals(struct net_peer *p)
{
    const struct net_region *base = &p->net->base;
    const struct vpci_abi_link *l = vpci_layout_link(&base->layout,
                                                     base->base, p->slot);
    uint32_t peer_id = vpci_load32(&l->peer_id);

    device_set_peer(p->device, peer_id);
    if (peer_id && peer_id != vpci_device_peer(p->device)) {
        return false;
    }
    for (uint32_t i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        const struct net_peer_ring *r = &p->rings[i];

        if (find_signals(p, i)
            && (!r->kick != !p->said.rings[i].kick
                || !r->call != !p->said.rings[i].call)) {
            return false;
        }
    }
    return true;
}

/* Where the 'driver' or 'device' area at 'address', or the ring there, is; the
 * engine checks that all of it is there. */
static void *
find_area(const struct net_peer *p, vpci_le64 address)
{
    uint64_t len = 1;

    return vpci_memory_map(&p->memory, VPCI_LE64(address), &len);
}

/* Where a ring stands.  The engine gives back all that it takes, in order. */
static struct vpci_vring_base
read_place(uint32_t at, bool packed)
{
    uint16_t avail = at, used = at >> VPCI_ABI_PEER_USED_SHIFT;
    uint16_t mask = packed ? VPCI_ABI_PEER_WRAP : 0;

    return (struct vpci_vring_base) {
        .avail_idx = avail & ~mask,
        .used_idx = used & ~mask,
        .avail_wrap = avail & mask,
        .used_wrap = used & mask,
    };
}

/* Starts ring 'i'.  Returns null, or what is wrong. */
static const char *
start_ring(struct net_peer *p, uint32_t i)
{
    const struct vpci_abi_peer_ring *said = &p->said.rings[i];
    uint32_t size = VPCI_LE32(said->size);
    struct net_peer_ring *r = &p->rings[i];
    struct vpci_vring_config config = {
        .index = i,
        .size = size,
        .features = p->features,
        .desc = find_area(p, said->desc),
        .driver = find_area(p, said->driver),
        .device = find_area(p, said->device),
        .mem = &p->memory,
        .base = read_place(VPCI_LE32(said->at),
                           p->features >> VRING_F_PACKED & 1),
        .call_fd = -1,
        .notify = wake_driver,
        .notify_aux = r,
        .peer = &p->funnel,
        .record = &net_peer_words(&p->net->base)->rings[i],
    };

    if (!is_zero(said->reserved, sizeof said->reserved)) {
        return "reserved bytes of a ring";
    } else if (!size) {
        return NULL;
    } else if (size > VPCI_VRING_MAX_SIZE) {
        return "the size of a ring";
    } else if (!find_signals(p, i)) {
        return "a signal of a ring";
    }
    r->peer = p;
    r->vring = r->vring ? r->vring : vpci_vring_create();
    return (!r->vring ? "that there is no memory for a ring"
            : vpci_vring_start(r->vring, &config)
            ? "a ring's place, or where it stands" : NULL);
}

const char *
net_peer_start_rings(struct net_peer *p)
{
    const struct vpci_abi_peer *said = &p->said;
    struct vpci_region host;
    const char *wrong;

    p->funnel = (struct vpci_peer) { .report = report, .aux = p };
    p->fault_claimed = false;
    p->features = VPCI_LE64(said->features);
    p->n_rings = VPCI_LE32(said->n_rings);
    if (!p->n_signals || vpci_device_shm(p->device, 0, 0, &host, NULL)) {
        return "that its memory is not open yet";
    } else if (p->features & ~NET_PEER_FEATURES) {
        return "the features of its driver";
    } else if (p->n_rings < 2 || p->n_rings > VPCI_ABI_MAX_RINGS
               || p->n_rings % 2) {
        return "the number of its rings";
    } else if (!is_zero(said->reserved0, sizeof said->reserved0)
               || !is_zero(said->reserved1, sizeof said->reserved1)) {
        return "reserved bytes";
    }
    wrong = read_memories(p, &host);
    for (uint32_t i = 0; i < p->n_rings && !wrong; i++) {
        wrong = start_ring(p, i);
    }
    if (wrong) {
        net_peer_stop_rings(p);
    }
    return wrong;
}

void
net_peer_stop_rings(struct net_peer *p)
{
    for (uint32_t i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        if (p->rings[i].vring) {
            vpci_vring_stop(p->rings[i].vring, NULL);
        }
    }
}
