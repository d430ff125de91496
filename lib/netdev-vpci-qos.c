/* SPDX-License-Identifier: Apache-2.0 */

/* Policers: 'ingress_policing_rate' of an interface and QoS type
 * 'egress-policer', both as ports of type dpdkvhostuserclient have them. */

#include "netdev-vpci-private.h"

#include <errno.h>
#include <rte_cycles.h>
#include <rte_meter.h>

#include "openvswitch/vlog.h"
#include "smap.h"
#include "sset.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_qos);

#define EGRESS_POLICER "egress-policer"

/* Burst when 'ingress_policing_burst' is 0; ovs-vswitchd.conf.db(5). */
#define DEFAULT_BURST_KBITS 8000

struct vpci_policer {
    /* Several PMD threads may serve one port. */
    struct ovs_spin lock;
    struct rte_meter_srtcm_params params;
    struct rte_meter_srtcm_profile profile;
    struct rte_meter_srtcm meter OVS_GUARDED;
};

/* Makes a policer that passes 'cir' bytes of IP packet per second, with bursts
 * of 'cbs' bytes.  Returns 0 or a positive errno. */
static int
policer_create(uint64_t cir, uint64_t cbs, struct vpci_policer **policerp)
{
    struct vpci_policer *policer = xzalloc(sizeof *policer);
    int error;

    policer->params.cir = cir;
    policer->params.cbs = cbs;
    error = rte_meter_srtcm_profile_config(&policer->profile,
                                           &policer->params);
    if (!error) {
        error = rte_meter_srtcm_config(&policer->meter, &policer->profile);
    }
    if (error) {
        free(policer);
        *policerp = NULL;
        return -error;
    }
    ovs_spin_init(&policer->lock);
    *policerp = policer;
    return 0;
}

static void
policer_destroy(struct vpci_policer *policer)
{
    if (policer) {
        ovs_spin_destroy(&policer->lock);
        free(policer);
    }
}

int
vpci_policer_check(struct vpci_policer *policer, const uint32_t lens[], int n,
                   bool pass[])
{
    uint64_t now = rte_get_tsc_cycles();
    int n_passed = 0;

    ovs_spin_lock(&policer->lock);
    for (int i = 0; i < n; i++) {
        uint32_t len = lens[i] - MIN(lens[i], ETH_HEADER_LEN);

        pass[i] = rte_meter_srtcm_color_blind_check(
            &policer->meter, &policer->profile, now, len) == RTE_COLOR_GREEN;
        n_passed += pass[i];
    }
    ovs_spin_unlock(&policer->lock);
    return n_passed;
}

int
vpci_policer_run(struct vpci_policer *policer, struct dp_packet **pkts, int n)
{
    uint32_t lens[NETDEV_MAX_BURST] = { 0 };
    bool pass[NETDEV_MAX_BURST];
    int n_passed = 0;

    ovs_assert(n <= NETDEV_MAX_BURST);
    for (int i = 0; i < n; i++) {
        lens[i] = dp_packet_size(pkts[i]);
    }
    vpci_policer_check(policer, lens, n, pass);
    for (int i = 0; i < n; i++) {
        if (pass[i]) {
            pkts[n_passed++] = pkts[i];
        } else {
            dp_packet_delete(pkts[i]);
        }
    }
    return n_passed;
}

int
netdev_vpci_set_policing(struct netdev *netdev, uint32_t kbits_rate,
                         uint32_t kbits_burst, uint32_t kpkts_rate,
                         uint32_t kpkts_burst OVS_UNUSED)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    struct vpci_policer *policer = NULL;
    int error = 0;

    kbits_burst = !kbits_rate ? 0
                  : !kbits_burst ? DEFAULT_BURST_KBITS : kbits_burst;
    if (kpkts_rate) {
        VLOG_WARN_ONCE("%s: ingress_policing_kpkts_rate has no effect on "
                       "ports of type vpci: use a meter", vpci_name(dev));
    }

    ovs_mutex_lock(&dev->mutex);
    if (kbits_rate != dev->policing_kbits
        || kbits_burst != dev->policing_burst_kbits) {
        if (kbits_rate) {
            error = policer_create(kbits_rate * UINT64_C(1000) / 8,
                                   kbits_burst * UINT64_C(1000) / 8,
                                   &policer);
        }
        if (!error) {
            ovsrcu_postpone(policer_destroy,
                            ovsrcu_get_protected(struct vpci_policer *,
                                                 &dev->ingress));
            ovsrcu_set(&dev->ingress, policer);
            dev->policing_kbits = kbits_rate;
            dev->policing_burst_kbits = kbits_burst;
        }
    }
    ovs_mutex_unlock(&dev->mutex);
    return error;
}

int
netdev_vpci_get_qos_types(const struct netdev *netdev OVS_UNUSED,
                          struct sset *types)
{
    sset_add(types, EGRESS_POLICER);
    return 0;
}

int
netdev_vpci_get_qos(const struct netdev *netdev, const char **typep,
                    struct smap *details)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    const struct vpci_policer *policer;

    ovs_mutex_lock(&dev->mutex);
    policer = ovsrcu_get_protected(struct vpci_policer *, &dev->egress);
    *typep = policer ? EGRESS_POLICER : "";
    if (policer) {
        smap_add_format(details, "cir", "%"PRIu64, policer->params.cir);
        smap_add_format(details, "cbs", "%"PRIu64, policer->params.cbs);
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}

static int
set_egress(struct netdev_vpci *dev, const char *type,
           const struct smap *details)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_policer *old
        = ovsrcu_get_protected(struct vpci_policer *, &dev->egress);
    struct vpci_policer *new = NULL;

    if (type && type[0]) {
        uint64_t cir = smap_get_ullong(details, "cir", 0);
        uint64_t cbs = smap_get_ullong(details, "cbs", 0);
        int error;

        if (strcmp(type, EGRESS_POLICER)) {
            return EOPNOTSUPP;
        }
        if (old && old->params.cir == cir && old->params.cbs == cbs) {
            return 0;
        }
        error = policer_create(cir, cbs, &new);
        if (error) {
            return error;
        }
    }
    ovsrcu_set(&dev->egress, new);
    if (old) {
        ovsrcu_postpone(policer_destroy, old);
    }
    return 0;
}

int
netdev_vpci_set_qos(struct netdev *netdev, const char *type,
                    const struct smap *details)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    int error;

    ovs_mutex_lock(&dev->mutex);
    error = set_egress(dev, type, details);
    ovs_mutex_unlock(&dev->mutex);

    if (error) {
        VLOG_ERR("%s: cannot set QoS type '%s' (%s): type vpci knows "
                 EGRESS_POLICER ", with 'cir' and 'cbs' in bytes above 0",
                 vpci_name(dev), type, ovs_strerror(error));
    }
    return error;
}

void
vpci_qos_uninit(struct netdev_vpci *dev)
{
    ovsrcu_postpone(policer_destroy,
                    ovsrcu_get_protected(struct vpci_policer *,
                                         &dev->ingress));
    ovsrcu_postpone(policer_destroy,
                    ovsrcu_get_protected(struct vpci_policer *,
                                         &dev->egress));
}
