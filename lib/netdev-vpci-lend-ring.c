/* SPDX-License-Identifier: Apache-2.0 */

/* What a borrower is told of the rings that it is lent, and what it says of
 * them: see netdev-vpci-lend.h. */

#include "netdev-vpci-lend-private.h"

#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

VLOG_DEFINE_THIS_MODULE(netdev_vpci_lend_ring);

struct vpci_abi_peer *
vpci_lend_peer(const struct vpci_lend *lend)
{
    return vpci_layout_peer(lend->linker->guest.layout,
                            lend->linker->guest.memory);
}

struct vpci_abi_peer_words *
vpci_lend_words(const struct vpci_lend *lend)
{
    return vpci_layout_peer_words(lend->linker->guest.layout,
                                  lend->linker->guest.memory);
}

void
vpci_lend_write_entry(struct vpci_lend *lend)
{
    struct vpci_linker *linker = lend->linker;
    struct vpci_abi_link *l;
    struct vpci_shape shape = {
        .kind = VPCI_ABI_PEER,
        .n_queues = lend->owner ? vpci_config_max_pairs(&lend->owner->config)
                    : 0,
    };

    if (!linker->runs
        || linker->guest.layout->shape.kind != VPCI_ABI_BASE_PEER) {
        return;
    }
    l = vpci_layout_link(linker->guest.layout, linker->guest.memory,
                         vpci_layout_peer_place(linker->guest.layout));
    if (!lend->user.region || !lend->owner) {
        vpci_store32_release(&l->id, 0);
    } else {
        if (vpci_load32(&l->id) != lend->user.region) {
            vpci_store32_release(&l->id, 0);
            vpci_layout_put_shape(&shape, &l->shape);
        }
        vpci_store32(&l->guest_id, lend->device_id);
        vpci_store32(&l->peer_id, lend->peer_id);
        vpci_store32_release(&l->id, lend->user.region);
    }
    vpci_linker_ring(linker);
}

/* What whoever has agreed on 'features' often leaves undone, as what a receiver
 * has to take.  For what is seldom left undone (large UDP packets), rings come
 * back: the switch does it. */
static uint64_t
left_undone(uint64_t features)
{
    return vpci_left_undone(features)
           & ~(UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN
               | UINT64_C(1) << VIRTIO_NET_F_GUEST_UFO);
}

bool
vpci_lend_is_answered(uint32_t turn, uint32_t returned)
{
    return returned == turn || (turn % 2 == 0 && returned == turn - 1);
}

bool
vpci_lend_has_conn(const struct vpci_lend *lend)
{
    return lend->owner->active && lend->owner->active->number == lend->conn;
}

char *
vpci_lend_ports_objection(const struct vpci_lend *lend)
{
    const struct vpci_linker *linker = lend->linker;
    struct netdev_vpci *owner = lend->owner;
    bool rarp_pending;

    if (!linker->is_up || !(owner->flags & NETDEV_UP)) {
        return xstrdup("a port is down");
    } else if (linker->is_policed || linker->is_shaped
               || ovsrcu_get(struct vpci_policer *, &owner->ingress)
               || ovsrcu_get(struct vpci_policer *, &owner->egress)) {
        return xstrdup("a port has a policer or QoS");
    } else if (linker->mtu != owner->mtu) {
        return xasprintf("the MTU of %s is %d, that of %s %d",
                         vpci_name(lend->borrower), linker->mtu,
                         vpci_name(owner), owner->mtu);
    }
    atomic_read_relaxed(&owner->rarp_pending, &rarp_pending);
    return (rarp_pending
            ? xasprintf("%s has to be announced", vpci_name(owner))
            : nullable_xstrdup(lend->leak));
}

/* What is wrong with the rings of 'owner', or null. */
static char *
rings_objection(const struct netdev_vpci *owner)
{
    const struct vpci_conn *conn = owner->active;

    if (!conn || !conn->started || !conn->memory_valid || conn->disturbed
        || vpci_shut_reason(owner)) {
        return xasprintf("%s has no guest whose driver runs",
                         vpci_name(owner));
    }
    if (conn->features & (UINT64_C(1) << VHOST_F_LOG_ALL)) {
        return xasprintf("the guest of %s is being migrated",
                         vpci_name(owner));
    }
    for (int i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        const struct vpci_ring *ring = &owner->rings[i];

        if (conn->rings_ready & (1u << i)
            && (!vpci_vring_is_running(ring->vring)
                || vpci_vring_fault(ring->vring))) {
            return xasprintf("ring %d of %s does not run", i,
                             vpci_name(owner));
        }
    }
    return NULL;
}

/* What is wrong with how these two go together, or null. */
static char *
features_objection(const struct vpci_lend *lend, uint64_t known)
{
    uint64_t theirs = lend->owner->active->features
                      & ~(UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES);
    uint64_t ours = lend->linker->features;
    uint64_t unknown = theirs & ~known;
    uint64_t out = left_undone(ours) & ~theirs;
    uint64_t in = left_undone(theirs) & ~ours;

    if (unknown) {
        return xasprintf("the guest of %s does not know virtio features 0x%"
                         PRIx64" of %s: switch them off by "
                         "options:vhost-features-off, or use a newer driver",
                         vpci_name(lend->borrower), unknown,
                         vpci_name(lend->owner));
    } else if (out || in) {
        return xasprintf("packets of %s may lack what the guest of %s has not "
                         "agreed to do (virtio features 0x%"PRIx64")",
                         vpci_name(out ? lend->borrower : lend->owner),
                         vpci_name(out ? lend->owner : lend->borrower),
                         out ? out : in);
    }
    return NULL;
}

static unsigned int
count_rings(const struct netdev_vpci *owner)
{
    unsigned int n = 0;

    for (unsigned int i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        if (owner->active->rings_ready & (1u << i)) {
            n = i + 1;
        }
    }
    return n;
}

char *
vpci_lend_objection(const struct vpci_lend *lend)
{
    const struct vpci_linker *linker = lend->linker;
    const struct netdev_vpci *owner = lend->owner;
    const struct vpci_abi_peer_words *words;
    char *objection;

    if (lend->problem) {
        return xstrdup(lend->problem);
    } else if (lend->n_tables != owner->n_tables) {
        return xasprintf("the memory of %s is about to be looked at",
                         vpci_name(owner));
    } else if (!linker->runs || linker->is_silent) {
        return xasprintf("%s has no guest whose driver runs",
                         vpci_name(lend->borrower));
    } else if (!lend->device_id) {
        return xasprintf("no device of the guest of %s is connected to %s.peer",
                         vpci_name(lend->borrower),
                         lend->borrower->config.path);
    }
    words = vpci_lend_words(lend);
    if (vpci_load32(&words->knows) != 1
        || vpci_load32(&words->device_id) != lend->device_id) {
        return xasprintf("the driver of the guest of %s does not use the "
                         "device with its peer's memory",
                         vpci_name(lend->borrower));
    }
    objection = rings_objection(owner);
    if (objection) {
        return objection;
    }
    objection = vpci_lend_ports_objection(lend);
    if (objection) {
        return objection;
    } else if (2 * linker->n_queues > count_rings(owner)) {
        return xasprintf("the guest of %s uses %"PRIu32" queues, more than "
                         "the %u pairs of rings of %s",
                         vpci_name(lend->borrower), linker->n_queues,
                         count_rings(owner) / 2, vpci_name(owner));
    } else if (count_rings(owner) % 2) {
        return xasprintf("ring %u of %s runs, and the next one does not",
                         count_rings(owner) - 1, vpci_name(owner));
    } else if (vpci_load32(&words->n_rings) < count_rings(owner)) {
        return xasprintf("the driver of the guest of %s can drive %"PRIu32
                         " rings, and %s has %u", vpci_name(lend->borrower),
                         vpci_load32(&words->n_rings), vpci_name(owner),
                         count_rings(owner));
    }
    return features_objection(lend, vpci_load64(&words->features));
}

/* Puts the guest's address of 'host' into '*shared'. */
static bool
put_address(const struct vpci_memory *mem, const void *host, vpci_le64 *shared)
{
    for (uint32_t i = 0; i < mem->n_regions; i++) {
        const struct vpci_memory_region *r = &mem->regions[i];
        uint64_t ofs = (uintptr_t) host - (uintptr_t) r->host;

        if (ofs < r->size) {
            vpci_store64(shared, r->guest_addr + ofs);
            return true;
        }
    }
    return false;
}

static uint32_t
base_to_at(const struct vpci_vring_base *base)
{
    uint32_t avail = base->avail_idx | (base->avail_wrap ? VPCI_ABI_PEER_WRAP
                                        : 0);
    uint32_t used = base->used_idx | (base->used_wrap ? VPCI_ABI_PEER_WRAP
                                      : 0);

    return avail | used << VPCI_ABI_PEER_USED_SHIFT;
}

static bool
describe_ring(struct vpci_lend *lend, unsigned int i)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_conn *conn = lend->owner->active;
    struct vpci_abi_peer_ring *r = &vpci_lend_peer(lend)->rings[i];
    struct vpci_vring_config config;
    uint32_t at;

    if (!(conn->rings_ready & (1u << i))) {
        vpci_store32(&r->size, 0);
        return true;
    }
    if (vpci_rings_get_config(conn, i, &config)
        || !put_address(&conn->memory, config.desc, &r->desc)
        || !put_address(&conn->memory, config.driver, &r->driver)
        || !put_address(&conn->memory, config.device, &r->device)) {
        return false;
    }
    at = base_to_at(&config.base);
    vpci_store32(&lend->lent_records[i].next, at);
    vpci_store32(&lend->lent_records[i].at, at);
    vpci_store32(&r->size, config.size);
    vpci_store32(&r->at, at);
    vpci_store32(&r->kick, i % 2 ? lend->first_kick + i / 2 + 1 : 0);
    vpci_store32(&r->call, i + 1);
    return true;
}

/* Says where the owner's addresses are in the device's memory. */
static bool
describe_memory(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_abi_peer *peer = vpci_lend_peer(lend);
    struct rte_vhost_memory *table;
    bool ok;

    if (rte_vhost_get_mem_table(lend->owner->active->vid, &table)) {
        return false;
    }
    ok = table->nregions <= VPCI_ABI_PEER_MEMORIES;
    for (uint32_t i = 0; ok && i < table->nregions; i++) {
        const struct rte_vhost_mem_region *r = &table->regions[i];
        struct vpci_abi_peer_memory *m = &peer->memories[i];

        vpci_store64(&m->address, r->guest_phys_addr);
        vpci_store64(&m->size, r->size);
        vpci_store64(&m->offset, r->host_user_addr
                                 - (uintptr_t) r->mmap_addr);
    }
    vpci_store32(&peer->n_memories, table->nregions);
    vpci_store64(&peer->size, lend->user.size);
    free(table);
    return ok;
}

bool
vpci_lend_describe(struct vpci_lend *lend)
{
    struct vpci_conn *conn = lend->owner->active;
    struct vpci_abi_peer *peer = vpci_lend_peer(lend);
    bool ok = describe_memory(lend);

    lend->n_rings = count_rings(lend->owner);
    for (unsigned int i = 0; ok && i < lend->n_rings; i++) {
        ok = describe_ring(lend, i);
    }
    vpci_store32(&peer->n_rings, lend->n_rings);
    vpci_store64(&peer->features,
                 conn->features
                 & ~(UINT64_C(1) << VHOST_USER_F_PROTOCOL_FEATURES));
    lend->conn = conn->number;
    lend->has_records = false;
    return ok;
}

/* Takes ring 'i' over, whose record is 'next' and 'at'. */
static void
take_ring(struct vpci_lend *lend, unsigned int i, uint32_t next, uint32_t at)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(lend->owner->mutex)
{
    struct vpci_conn *conn = lend->owner->active;
    struct vpci_vring_config config;
    bool same = vpci_lend_has_conn(lend);
    struct vpci_vring_base base;

    if (vpci_rings_get_config(conn, i, &config)
        || (!same && !config.base.avail_idx)) {
        /* A driver has just begun. */
        return;
    } else if (!vpci_vring_recover(&config, next, at, &base)) {
        if (same) {
            vpci_ring_set_fault(&lend->owner->rings[i], xasprintf(
                "the guest of %s, which had it, has left it where it cannot be "
                "(next 0x%"PRIx32", at 0x%"PRIx32", lent at 0x%"PRIx32")",
                vpci_name(lend->borrower), next, at,
                vpci_load32(&lend->lent_records[i].at)));
        }
        /* Otherwise it is another one, and its front end has said where it
         * stands. */
        return;
    }
    vpci_rings_set_base(lend->owner, i, &base);
}

/* The turn by which the borrower got, or was to get, them. */
static uint32_t
lent_turn(const struct vpci_lend *lend)
{
    return lend->turn % 2 ? lend->turn : lend->turn - 1;
}

/* The last turn that it has taken. */
static uint32_t
get_taken(const struct vpci_lend *lend)
{
    return (lend->linker->runs ? vpci_load32(&vpci_lend_words(lend)->taken)
            : lend->has_records ? lend->taken : 0);
}

/* How many rings of the owner it had.  Of a connection that is not the one whose
 * rings were lent, these may be the same, in the same memory. */
static unsigned int
count_taken(const struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(lend->owner->mutex)
{
    return (vpci_lend_has_conn(lend) ? lend->n_rings
            : get_taken(lend) == lent_turn(lend) ? count_rings(lend->owner)
            : 0);
}

void
vpci_lend_take_over(struct vpci_lend *lend)
{
    const struct vpci_conn *conn = lend->owner->active;
    const struct vpci_abi_peer_record *records = lend->lent_records;
    unsigned int n;

    if (!conn || !conn->memory_valid) {
        return;
    }
    if (get_taken(lend) == lent_turn(lend)) {
        records = lend->linker->runs ? vpci_lend_words(lend)->rings
                  : lend->records;
    }
    n = count_taken(lend);
    for (unsigned int i = 0; i < n; i++) {
        if (conn->rings_ready & (1u << i)) {
            take_ring(lend, i, vpci_load32(&records[i].next),
                      vpci_load32(&records[i].at));
        }
    }
}
