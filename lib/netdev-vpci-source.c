/* SPDX-License-Identifier: Apache-2.0 */

/* What ports splice from: their steering tables, and a reader of it for each
 * receive queue. */

#include "netdev-vpci-splice.h"

#include <errno.h>

#include "vpci/steer.h"

static struct ovs_mutex sources_mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list sources OVS_GUARDED_BY(sources_mutex)
    = OVS_LIST_INITIALIZER(&sources);

static void
free_splicers(struct vpci_source *source)
{
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        struct vpci_splicer *s = source->splicers[i];

        if (s) {
            vpci_steer_reader_destroy(s->reader);
            free_cacheline(s);
        }
    }
}

int
vpci_source_init(struct vpci_source *source)
{
    memset(source, 0, sizeof *source);
    source->table = vpci_steer_create(VPCI_STEER_MAX_ENTRIES,
                                      VPCI_MAX_QUEUE_PAIRS);
    if (!source->table) {
        return errno;
    }
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        struct vpci_splicer *s = xzalloc_cacheline(sizeof *s);

        source->splicers[i] = s;
        s->source = source;
        for (int j = 0; j < VPCI_ABI_MAX_CLASSES; j++) {
            s->lanes[j].max = VPCI_VRING_BURST;
        }
        s->reader = vpci_steer_reader_create(source->table, i);
        if (!s->reader) {
            free_splicers(source);
            vpci_steer_destroy(source->table);
            return ENOMEM;
        }
    }
    ovs_mutex_lock(&sources_mutex);
    ovs_list_push_back(&sources, &source->node);
    ovs_mutex_unlock(&sources_mutex);
    return 0;
}

void
vpci_source_uninit(struct vpci_source *source)
{
    ovs_mutex_lock(&sources_mutex);
    ovs_list_remove(&source->node);
    ovs_mutex_unlock(&sources_mutex);
    free_splicers(source);
    vpci_steer_destroy(source->table);
}

void
vpci_splice_synchronize(void)
{
    struct vpci_source *source;

    ovs_mutex_lock(&sources_mutex);
    LIST_FOR_EACH (source, node, &sources) {
        vpci_steer_synchronize(source->table);
    }
    ovs_mutex_unlock(&sources_mutex);
}

void
vpci_target_kill(struct vpci_target *target)
{
    if (target) {
        __atomic_store_n(&target->dev, NULL, __ATOMIC_SEQ_CST);
        vpci_splice_synchronize();
    }
}
