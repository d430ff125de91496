/* SPDX-License-Identifier: Apache-2.0 */

/* What the provider has to know of the datapath's configuration.
 *
 * With other_config:tx-flush-interval a polling thread keeps what it sends for
 * a while.  The interface for netdev providers does not say so, though packets
 * that are spliced must not overtake those: so the linker gives us
 * dpif_set_config(), by --wrap. */

#include "netdev-vpci-private.h"

#include <rte_cycles.h>

#include "dpdk.h"
#include "smap.h"

/* What a time gets on top since the datapath goes by another clock than the
 * TSC, whose rate is known to a few thousandths. */
#define MARGIN_USEC(USEC) ((USEC) / 64 + 10)

struct dpif;

void __real_dpif_set_config(struct dpif *, const struct smap *);
void __wrap_dpif_set_config(struct dpif *, const struct smap *);

static uint64_t hold_cycles;

uint64_t
vpci_datapath_hold_cycles(void)
{
    return __atomic_load_n(&hold_cycles, __ATOMIC_RELAXED);
}

void
__wrap_dpif_set_config(struct dpif *dpif, const struct smap *other_config)
{
    int usec = smap_get_int(other_config, "tx-flush-interval", 0);
    uint64_t cycles = 0;

    if (usec > 0 && dpdk_available()) {
        cycles = ((uint64_t) usec + MARGIN_USEC(usec)) * rte_get_tsc_hz()
                 / 1000000;
    }
    __atomic_store_n(&hold_cycles, cycles, __ATOMIC_RELAXED);
    __real_dpif_set_config(dpif, other_config);
}
