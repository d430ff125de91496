/* SPDX-License-Identifier: Apache-2.0 */

/* Pools of mbufs for vpci ports.
 *
 * Ports with the same buffer size on the same NUMA node share a pool.  A pool
 * without users lives on until every mbuf has come home: packets of a closed
 * port may sit in the transmit queue of another. */

#include "netdev-vpci-private.h"

#include <rte_errno.h>
#include <rte_mempool.h>

#include "openvswitch/vlog.h"
#include "ovs-rcu.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_mempool);

/* Buffers of ports whose MTU differs by less share a pool. */
#define BUFFER_SIZE_UNIT 1024

/* How many mbufs: enough for deep transmit queues of physical ports, within a
 * budget of memory, and never too few for bursts and per-core caches. */
#define MEMPOOL_BYTES (160 * 1024 * 1024)
#define MEMPOOL_MAX_MBUFS 65536
#define MEMPOOL_MIN_MBUFS 2048
#define MEMPOOL_CACHE 256

struct vpci_mempool {
    struct ovs_list node;       /* In 'mempools'. */
    struct rte_mempool *mp;
    int socket_id;
    uint32_t buffer_size;       /* Room for a frame, without headroom. */
    int ref_cnt;
};

static struct ovs_mutex mempool_mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list mempools OVS_GUARDED_BY(mempool_mutex)
    = OVS_LIST_INITIALIZER(&mempools);

static uint32_t
mtu_to_buffer_size(int mtu)
{
    return MIN(ROUND_UP(mtu + VPCI_FRAME_OVERHEAD, BUFFER_SIZE_UNIT),
               UINT16_MAX - RTE_PKTMBUF_HEADROOM);
}

static void
init_mbuf(struct rte_mempool *mp OVS_UNUSED, void *aux OVS_UNUSED,
          void *obj, unsigned int i OVS_UNUSED)
{
    dp_packet_init_dpdk(obj);
}

/* Makes a pool of up to 'n' mbufs, fewer if memory is short. */
static struct rte_mempool *
create_rte_mempool(uint32_t buffer_size, int socket_id, uint32_t n)
{
    static unsigned int serial;
    uint32_t room = buffer_size + RTE_PKTMBUF_HEADROOM;
    uint32_t private_size = sizeof(struct dp_packet) - sizeof(struct rte_mbuf);

    /* Elements end on a cache line boundary. */
    private_size += ROUND_UP(sizeof(struct dp_packet) + room,
                             RTE_CACHE_LINE_SIZE)
                    - (sizeof(struct dp_packet) + room);
    private_size = ROUND_UP(private_size, RTE_MBUF_PRIV_ALIGN);

    for (; n >= MEMPOOL_MIN_MBUFS; n /= 2) {
        char name[RTE_MEMPOOL_NAMESIZE];
        struct rte_mempool *mp;

        snprintf(name, sizeof name, "vpci%u", serial++);
        mp = rte_pktmbuf_pool_create(name, n, MEMPOOL_CACHE, private_size,
                                     room, socket_id);
        if (mp) {
            rte_mempool_obj_iter(mp, init_mbuf, NULL);
            VLOG_INFO("NUMA node %d: %"PRIu32" packet buffers of %"PRIu32
                      " bytes", socket_id, n, buffer_size);
            return mp;
        }
        VLOG_DBG("cannot get %"PRIu32" packet buffers of %"PRIu32
                 " bytes: %s", n, buffer_size, rte_strerror(rte_errno));
    }
    VLOG_ERR("NUMA node %d: no memory for %d packet buffers of %"PRIu32" "
             "bytes: give Open vSwitch more huge pages "
             "(other_config:dpdk-socket-mem)",
             socket_id, MEMPOOL_MIN_MBUFS, buffer_size);
    return NULL;
}

static struct vpci_mempool *
find_mempool(uint32_t buffer_size, int socket_id)
    OVS_REQUIRES(mempool_mutex)
{
    struct vpci_mempool *pool;

    LIST_FOR_EACH (pool, node, &mempools) {
        if (pool->buffer_size == buffer_size
            && pool->socket_id == socket_id) {
            return pool;
        }
    }
    return NULL;
}

struct vpci_mempool *
vpci_mempool_get(int mtu, int socket_id)
{
    uint32_t buffer_size = mtu_to_buffer_size(mtu);
    struct vpci_mempool *pool;

    ovs_mutex_lock(&mempool_mutex);
    pool = find_mempool(buffer_size, socket_id);
    if (!pool) {
        uint32_t n = MEMPOOL_BYTES / (buffer_size + 1024);
        struct rte_mempool *mp;

        n = MAX(MIN(n, MEMPOOL_MAX_MBUFS), MEMPOOL_MIN_MBUFS);
        mp = create_rte_mempool(buffer_size, socket_id, n);
        if (mp) {
            pool = xmalloc(sizeof *pool);
            pool->mp = mp;
            pool->socket_id = socket_id;
            pool->buffer_size = buffer_size;
            pool->ref_cnt = 0;
            ovs_list_push_back(&mempools, &pool->node);
        }
    }
    if (pool) {
        pool->ref_cnt++;
    }
    ovs_mutex_unlock(&mempool_mutex);
    return pool;
}

static void
unref(struct vpci_mempool *pool)
{
    ovs_mutex_lock(&mempool_mutex);
    pool->ref_cnt--;
    ovs_mutex_unlock(&mempool_mutex);
}

void
vpci_mempool_put(struct vpci_mempool *pool)
{
    if (pool) {
        ovsrcu_postpone(unref, pool);
    }
}

void
vpci_mempool_sweep(void)
{
    struct vpci_mempool *pool;

    ovs_mutex_lock(&mempool_mutex);
    LIST_FOR_EACH_SAFE (pool, node, &mempools) {
        if (!pool->ref_cnt && rte_mempool_full(pool->mp)) {
            VLOG_DBG("freeing packet buffers of %"PRIu32" bytes",
                     pool->buffer_size);
            ovs_list_remove(&pool->node);
            rte_mempool_free(pool->mp);
            free(pool);
        }
    }
    ovs_mutex_unlock(&mempool_mutex);
}

uint32_t
vpci_mempool_room(const struct vpci_mempool *pool)
{
    return pool->buffer_size;
}

struct rte_mempool *
vpci_mempool_rte(const struct vpci_mempool *pool)
{
    return pool->mp;
}
