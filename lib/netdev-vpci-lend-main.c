/* SPDX-License-Identifier: Apache-2.0 */

/* The borrower's device with the owner's memory, which the keeper serves, and
 * doorbells: see netdev-vpci-lend.h. */

#include "netdev-vpci-lend-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_lend_main);

/* Signals of the borrower's device, of which each start of the owner's driver
 * takes one for each pair of rings. */
#define N_VECTORS VPCI_KEEPER_MAX_VECTORS

static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(5, 5);

static struct vpci_lend *
lend_from_user(struct vpci_peer_user *user)
{
    return CONTAINER_OF(user, struct vpci_lend, user);
}

void
vpci_lend_set_problem(struct vpci_lend *lend, char *problem)
{
    if (problem && !nullable_string_is_equal(problem, lend->problem)) {
        VLOG_WARN_RL(&rl, "%s: %s", vpci_name(lend->borrower), problem);
    }
    vpci_lend_changed(lend);
    free(lend->problem);
    lend->problem = problem;
}

/* What the keeper says. */

static void
peer_given(struct vpci_peer_user *user)
{
    struct vpci_lend *lend = lend_from_user(user);

    ovs_mutex_lock(&links_mutex);
    lend->given_at = time_msec();
    vpci_lend_set_problem(lend, NULL);
    vpci_lend_write_entry(lend);
    ovs_mutex_unlock(&links_mutex);
}

static void
peer_refused(struct vpci_peer_user *user, const char *why)
{
    struct vpci_lend *lend = lend_from_user(user);

    ovs_mutex_lock(&links_mutex);
    vpci_lend_set_problem(lend, xasprintf(
        "no device with the memory of %s: %s", lend->borrower->config.peer,
        why));
    ovs_mutex_unlock(&links_mutex);
}

void
vpci_lend_forget_signals(struct vpci_lend *lend)
{
    lend->signals = (struct vpci_lend_signals) { .kicks = 0 };
    lend->peer_id = 0;
    lend->asked = false;
    lend->used_up = false;
}

static void
peer_guest_came(struct vpci_peer_user *user,
                const struct vpci_keeper_peer_up *up, int fds[] OVS_UNUSED,
                unsigned int n OVS_UNUSED)
{
    struct vpci_lend *lend = lend_from_user(user);

    ovs_mutex_lock(&links_mutex);
    if (lend->device_id != up->peer) {
        lend->device_id = up->peer;
        vpci_lend_forget_signals(lend);
        vpci_lend_set_problem(lend, NULL);
    }
    vpci_lend_write_entry(lend);
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

static void
peer_guest_left(struct vpci_peer_user *user, const char *why OVS_UNUSED)
{
    struct vpci_lend *lend = lend_from_user(user);

    ovs_mutex_lock(&links_mutex);
    lend->device_id = 0;
    vpci_lend_forget_signals(lend);
    vpci_lend_set_problem(lend, NULL);
    vpci_lend_write_entry(lend);
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

static void
peer_signals(struct vpci_peer_user *user, uint32_t peer_id,
             uint32_t first_kick, uint32_t n_left OVS_UNUSED)
{
    struct vpci_lend *lend = lend_from_user(user);

    ovs_mutex_lock(&links_mutex);
    if (lend->asked) {
        lend->asked = false;
        lend->signals = lend->signals_asked;
        lend->peer_id = peer_id;
        if (lend->sent_kicks) {
            lend->first_kick = first_kick;
        }
        vpci_lend_write_entry(lend);
    }
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

static void
peer_signals_refused(struct vpci_peer_user *user, int error, const char *why)
{
    struct vpci_lend *lend = lend_from_user(user);

    ovs_mutex_lock(&links_mutex);
    lend->asked = false;
    lend->used_up = error == ENOSPC;
    if (error != ENOTCONN) {
        vpci_lend_set_problem(lend, xasprintf(
            "the device of the guest of %s cannot get the doorbells of %s: %s",
            vpci_name(lend->borrower), lend->borrower->config.peer, why));
    }
    ovs_mutex_unlock(&links_mutex);
}

static const struct vpci_peer_user_class peer_class = {
    .given = peer_given,
    .refused = peer_refused,
    .guest_came = peer_guest_came,
    .guest_left = peer_guest_left,
    .signals = peer_signals,
    .signals_refused = peer_signals_refused,
};

void
vpci_lend_main_init(struct vpci_lend *lend)
{
    lend->user.class = &peer_class;
    lend->user.n_vectors = N_VECTORS;
    vpci_lend_memory_init(lend);
}

void
vpci_lend_main_uninit(struct vpci_lend *lend)
{
    vpci_lend_memory_uninit(lend);
}

/* Doorbells. */

/* Gets copies of those of the owner.  Returns how many rings there are. */
static unsigned int
get_doorbells(const struct netdev_vpci *owner, int kicks[], int calls[])
{
    const struct vpci_conn *conn = owner->active;
    unsigned int n = 0;

    for (unsigned int i = 0; conn && i < VPCI_ABI_MAX_RINGS; i++) {
        struct rte_vhost_vring vring;
        bool there = (!conn->disturbed && conn->rings_ready & (1u << i)
                      && !rte_vhost_get_vhost_vring(conn->vid, i, &vring));

        /* One that there is not gets what nobody listens to. */
        kicks[i] = there && vring.kickfd >= 0
                   ? fcntl(vring.kickfd, F_DUPFD_CLOEXEC, 0) : -1;
        calls[i] = there && vring.callfd >= 0
                   ? fcntl(vring.callfd, F_DUPFD_CLOEXEC, 0) : -1;
        kicks[i] = kicks[i] < 0 ? eventfd(0, EFD_CLOEXEC) : kicks[i];
        calls[i] = calls[i] < 0 ? eventfd(0, EFD_CLOEXEC) : calls[i];
        n = there ? i + 1 : n;
    }
    return n;
}

static void
send_signals(struct vpci_lend *lend)
    OVS_REQUIRES(lends_mutex)
{
    int kicks[VPCI_ABI_MAX_RINGS], calls[VPCI_ABI_MAX_RINGS];
    int ours[VPCI_ABI_MAX_RINGS / 2];
    uint32_t device_id;
    unsigned int n, n_kicks;
    bool sent;

    for (int i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        kicks[i] = calls[i] = -1;
    }
    ovs_mutex_lock(&lend->owner->mutex);
    n = get_doorbells(lend->owner, kicks, calls);
    ovs_mutex_lock(&links_mutex);
    device_id = lend->device_id;
    lend->signals_asked.kicks = lend->owner->n_kicks;
    lend->signals_asked.calls = lend->owner->n_calls;
    lend->sent_kicks = lend->owner->n_kicks != lend->signals.kicks;
    n_kicks = lend->sent_kicks ? n / 2 : 0;
    lend->wants_signals = false;
    ovs_mutex_unlock(&links_mutex);
    ovs_mutex_unlock(&lend->owner->mutex);

    for (unsigned int i = 0; i < n / 2; i++) {
        ours[i] = kicks[2 * i + 1];
    }
    sent = n && device_id && vpci_keeper_send_signals(&lend->user, device_id,
                                                      ours, n_kicks, calls,
                                                      n);
    ovs_mutex_lock(&links_mutex);
    lend->asked = sent;
    ovs_mutex_unlock(&links_mutex);
    for (int i = 0; i < VPCI_ABI_MAX_RINGS; i++) {
        if (kicks[i] >= 0) {
            close(kicks[i]);
        }
        if (calls[i] >= 0) {
            close(calls[i]);
        }
    }
}

bool
vpci_lend_has_signals(const struct vpci_lend *lend)
{
    return (lend->peer_id && lend->signals.kicks == lend->owner->n_kicks
            && lend->signals.calls == lend->owner->n_calls);
}

void
vpci_lend_main_run(struct vpci_lend *lend)
{
    uint32_t base = vpci_base_region(lend->borrower);
    bool wants;

    if (!lend->owner || !base) {
        return;
    }
    vpci_lend_memory_run(lend, base);
    ovs_mutex_lock(&links_mutex);
    wants = lend->wants_signals && !lend->asked;
    ovs_mutex_unlock(&links_mutex);
    if (wants) {
        send_signals(lend);
    }
}
