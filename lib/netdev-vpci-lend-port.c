/* SPDX-License-Identifier: Apache-2.0 */

/* Which ports' rings are lent, or may have been by an earlier switch: see
 * netdev-vpci-lend.h. */

#include "netdev-vpci-lend-private.h"

#include <unistd.h>

#include "openvswitch/poll-loop.h"
#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_lend_port);

/* How soon after it has answered the keeper has said whether there is a device
 * with the owner's memory; and how often the main thread looks while rings may
 * be away; in ms. */
#define GIVEN_MS 300
#define UNKNOWN_MS 100

struct ovs_mutex lends_mutex = OVS_MUTEX_INITIALIZER;
struct ovs_list lends OVS_GUARDED_BY(lends_mutex)
    = OVS_LIST_INITIALIZER(&lends);

static int n_lends;             /* In 'lends'.  Atomic. */

bool
vpci_lends_exist(void)
{
    return __atomic_load_n(&n_lends, __ATOMIC_RELAXED) > 0;
}

struct vpci_lend *
vpci_lend_create(struct netdev_vpci *borrower, struct vpci_linker *linker)
{
    struct vpci_lend *lend = xzalloc(sizeof *lend);

    lend->borrower = borrower;
    lend->linker = linker;
    lend->acceptances = vpci_steer_create(VPCI_LINK_ENTRIES, 1);
    if (!lend->acceptances) {
        out_of_memory();
    }
    for (int i = 0; i < VPCI_LEND_N_WAYS; i++) {
        ovs_list_init(&lend->flows[i]);
    }
    lend->budget.at = time_msec();
    vpci_lend_main_init(lend);
    ovs_mutex_lock(&lends_mutex);
    ovs_list_push_back(&lends, &lend->node);
    __atomic_add_fetch(&n_lends, 1, __ATOMIC_RELAXED);
    ovs_mutex_lock(&links_mutex);
    linker->lend = lend;
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&lends_mutex);
    return lend;
}

/* True if a device may have the owner's memory, as far as is known. */
static bool
may_have_device(const struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lends_mutex) OVS_REQUIRES(links_mutex)
{
    char *path;
    bool served;

    if (lend->device_id) {
        return true;
    } else if (lend->given_at) {
        return now - lend->given_at < GIVEN_MS;
    } else if (lend->problem) {
        return false;
    }
    /* The keeper has not answered.  If no keeper has ever served it, there is
     * none. */
    path = xasprintf("%s" VPCI_KEEPER_PEER_SUFFIX,
                     lend->borrower->config.path);
    served = !access(path, F_OK);
    free(path);
    return served;
}

/* True if the borrower has not said that it has given back what it got. */
static bool
holds_turn(const struct vpci_lend *lend)
    OVS_EXCLUDED(links_mutex)
{
    struct netdev_vpci *borrower = lend->borrower;
    const struct vpci_abi_peer_words *words;
    const struct vpci_abi_peer *peer;
    bool holds = true;

    ovs_mutex_lock(&borrower->mutex);
    peer = vpci_base_peer(borrower, &words);
    if (peer) {
        holds = !vpci_lend_is_answered(vpci_load32(&peer->turn),
                                       vpci_load32_acquire(&words->returned));
    }
    ovs_mutex_unlock(&borrower->mutex);
    return holds;
}

/* Nobody will hear whether the borrower gives rings back.  If the owner's front
 * end is still there, its port stays down until that has gone, with its
 * memory. */
static void
abandon(struct vpci_lend *lend)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    if (lend->owner->active) {
        VLOG_WARN("%s: the guest of %s, which drives its rings, has not given "
                  "them back, and its port goes: this port is down until its "
                  "own front end connects anew", vpci_name(lend->owner),
                  vpci_name(lend->borrower));
        if (lend->owner->lent_state != VPCI_LENT_FENCED) {
            vpci_set_lent(lend->owner, VPCI_LENT_FENCED);
        }
        vpci_lend_remove_flows(lend);
        lend->conn = 0;
        vpci_lend_set_state(lend, VPCI_LEND_HOME);
    } else {
        vpci_lend_come_home(lend, true, time_msec());
    }
}

static void
detach(struct vpci_lend *lend, const char *why)
    OVS_REQUIRES(lends_mutex) OVS_NO_THREAD_SAFETY_ANALYSIS
{
    struct netdev_vpci *owner = lend->owner;
    bool holds;

    if (!owner) {
        return;
    }
    holds = holds_turn(lend);
    ovs_mutex_lock(&owner->mutex);
    vpci_lend_recall(owner, why);
    ovs_mutex_lock(&links_mutex);
    if (lend->state == VPCI_LEND_UNKNOWN
        && !(holds && may_have_device(lend, time_msec()))) {
        vpci_lend_come_home(lend, false, time_msec());
    } else if (lend->state != VPCI_LEND_HOME) {
        abandon(lend);
    }
    vpci_lend_changed(lend);
    owner->lent = NULL;
    lend->owner = NULL;
    vpci_lend_write_entry(lend);
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&owner->mutex);
}

void
vpci_lend_destroy(struct vpci_lend *lend)
{
    ovs_mutex_lock(&lends_mutex);
    detach(lend, "the port that borrows them goes");
    ovs_list_remove(&lend->node);
    __atomic_sub_fetch(&n_lends, 1, __ATOMIC_RELAXED);
    vpci_lend_main_uninit(lend);
    ovs_mutex_lock(&links_mutex);
    lend->linker->lend = NULL;
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&lends_mutex);
    vpci_steer_destroy(lend->acceptances);
    free(lend->why);
    free(lend->problem);
    free(lend);
}

void
vpci_lend_forget_owner(struct netdev_vpci *owner)
{
    ovs_mutex_lock(&lends_mutex);
    if (owner->lent) {
        detach(owner->lent, "the port goes");
    }
    ovs_mutex_unlock(&lends_mutex);
}

/* Finds the port that is to lend to 'lend', or returns null. */
static struct netdev_vpci *
find_owner(const struct vpci_lend *lend)
{
    struct netdev_vpci *dev, *found = NULL;

    ovs_mutex_lock(&vpci_mutex);
    LIST_FOR_EACH (dev, node, &vpci_list) {
        if (lend->borrower->config.peer
            && !strcmp(vpci_name(dev), lend->borrower->config.peer)
            && (dev->config.mode == VPCI_MODE_CONNECT
                || dev->config.mode == VPCI_MODE_LISTEN)) {
            found = dev;
        }
    }
    ovs_mutex_unlock(&vpci_mutex);
    return found;
}

/* Finds out whether an earlier switch has lent the rings: this one does not touch
 * them before that is known. */
static void
settle(struct vpci_lend *lend)
    OVS_REQUIRES(lends_mutex)
{
    long long int now = time_msec();
    bool holds = holds_turn(lend);

    ovs_mutex_lock(&lend->owner->mutex);
    ovs_mutex_lock(&links_mutex);
    if (lend->state != VPCI_LEND_UNKNOWN) {
        /* All is known. */
    } else if (!may_have_device(lend, now) || !holds) {
        vpci_lend_come_home(lend, false, now);
    } else if (lend->device_id && vpci_base_region(lend->borrower)) {
        vpci_lend_set_why(lend, xstrdup("another switch had lent them"));
        vpci_lend_set_state(lend, VPCI_LEND_RECALLED);
    }
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&lend->owner->mutex);
}

static void
attach(struct vpci_lend *lend, struct netdev_vpci *owner)
    OVS_REQUIRES(lends_mutex)
{
    enum vpci_lent_state lent;

    ovs_mutex_lock(&owner->mutex);
    /* What somebody else has not given back is nobody's: see abandon(). */
    if (!owner->lent && owner->lent_state != VPCI_LENT_FENCED) {
        ovs_mutex_lock(&links_mutex);
        owner->lent = lend;
        lend->owner = owner;
        lent = (may_have_device(lend, time_msec()) ? VPCI_LENT_UNKNOWN
                : VPCI_LENT_NOT);
        vpci_lend_set_state(lend, lent == VPCI_LENT_NOT ? VPCI_LEND_HOME
                        : VPCI_LEND_UNKNOWN);
        if (owner->lent_state != lent) {
            vpci_set_lent(owner, lent);
        }
        ovs_mutex_unlock(&links_mutex);
    }
    ovs_mutex_unlock(&owner->mutex);
}

void
vpci_lends_run(void)
{
    struct vpci_lend *lend;

    ovs_mutex_lock(&lends_mutex);
    LIST_FOR_EACH (lend, node, &lends) {
        struct netdev_vpci *owner = find_owner(lend);

        if (lend->owner && owner != lend->owner) {
            detach(lend, "the port has another peer");
        }
        if (owner && !lend->owner) {
            attach(lend, owner);
        }
        vpci_lend_main_run(lend);
        if (lend->owner) {
            settle(lend);
        }
    }
    ovs_mutex_unlock(&lends_mutex);
}

void
vpci_lends_wait(void)
{
    const struct vpci_lend *lend;

    ovs_mutex_lock(&lends_mutex);
    ovs_mutex_lock(&links_mutex);
    LIST_FOR_EACH (lend, node, &lends) {
        if (lend->owner && lend->state == VPCI_LEND_UNKNOWN) {
            poll_timer_wait(UNKNOWN_MS);
        }
    }
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&lends_mutex);
}

void
vpci_lend_free_port(struct netdev_vpci *dev)
{
    ovs_mutex_lock(&dev->mutex);
    if (dev->lent_state == VPCI_LENT_UNKNOWN && !dev->lent) {
        vpci_set_lent(dev, VPCI_LENT_NOT);
    }
    ovs_mutex_unlock(&dev->mutex);
}

void
vpci_lends_end(void)
{
    struct vpci_lend *lend;

    ovs_mutex_lock(&lends_mutex);
    LIST_FOR_EACH (lend, node, &lends) {
        detach(lend, "the switch ends");
    }
    ovs_mutex_unlock(&lends_mutex);
}
