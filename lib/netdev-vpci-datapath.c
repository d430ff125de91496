/* SPDX-License-Identifier: Apache-2.0 */

/* What the provider has to know of Open vSwitch, and the interface for netdev
 * providers does not say: the linker gives us functions of it, by --wrap.
 *
 * With other_config:tx-flush-interval a polling thread keeps what it sends for
 * a while.  Packets that are spliced must not overtake those: dpif_set_config().
 *
 * A switch that ends deletes megaflows and ports as if they were not wanted any
 * more: bridge_exit(). */

#include "netdev-vpci-private.h"

#include <rte_cycles.h>

#include "dpdk.h"
#include "netdev-vpci-lend.h"
#include "netdev-vpci-link.h"
#include "smap.h"

/* What a time gets on top since the datapath goes by another clock than the
 * TSC, whose rate is known to a few thousandths. */
#define MARGIN_USEC(USEC) ((USEC) / 64 + 10)

struct dpif;

void __real_dpif_set_config(struct dpif *, const struct smap *);
void __wrap_dpif_set_config(struct dpif *, const struct smap *);
void __real_bridge_exit(bool delete_datapath);
void __wrap_bridge_exit(bool delete_datapath);

/* Only the main thread writes. */
static uint64_t hold_cycles;
static uint64_t old_hold_cycles;    /* What it was before... */
static uint64_t old_until;          /* ...which counts up to this TSC: packets
                                     * are kept as long as was said when they
                                     * were sent. */

uint64_t
vpci_datapath_hold_cycles(uint64_t now)
{
    /* Pairs with the release below: who sees the shorter time knows of the
     * longer one. */
    uint64_t hold = __atomic_load_n(&hold_cycles, __ATOMIC_ACQUIRE);
    uint64_t until = __atomic_load_n(&old_until, __ATOMIC_RELAXED);

    if (OVS_UNLIKELY(now < until)) {
        uint64_t old = __atomic_load_n(&old_hold_cycles, __ATOMIC_RELAXED);

        return MAX(hold, old);
    }
    return hold;
}

static uint64_t
usec_to_hold(int usec)
{
    return (usec > 0 && dpdk_available()
            ? (((uint64_t) usec + MARGIN_USEC(usec)) * rte_get_tsc_hz()
               / 1000000)
            : 0);
}

void
__wrap_dpif_set_config(struct dpif *dpif, const struct smap *other_config)
{
    uint64_t hold = usec_to_hold(smap_get_int(other_config,
                                              "tx-flush-interval", 0));
    uint64_t old = hold_cycles;

    if (hold >= old) {
        __atomic_store_n(&hold_cycles, hold, __ATOMIC_RELAXED);
    }
    __real_dpif_set_config(dpif, other_config);
    if (hold < old) {
        /* A second change soon after the first leaves the longer time. */
        uint64_t now = rte_get_tsc_cycles();

        old = vpci_datapath_hold_cycles(now);
        __atomic_store_n(&old_hold_cycles, old, __ATOMIC_RELAXED);
        __atomic_store_n(&old_until, now + old, __ATOMIC_RELAXED);
        __atomic_store_n(&hold_cycles, hold, __ATOMIC_RELEASE);
    }
}

void
__wrap_bridge_exit(bool delete_datapath)
{
    vpci_lends_end();
    if (!delete_datapath) {
        vpci_links_keep();
    }
    __real_bridge_exit(delete_datapath);
}
