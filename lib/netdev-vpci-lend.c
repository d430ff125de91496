/* SPDX-License-Identifier: Apache-2.0 */

/* When rings are lent, and how they change hands: see netdev-vpci-lend.h.
 *
 *     UNKNOWN  an earlier switch has not lent the rings, or they are back
 *       |
 *     HOME  the two speak to each other alone
 *       |   hints and acceptances are published
 *     HINTS the borrower lets its packets wait
 *       |
 *     PASS  the switch has passed on what the borrower had sent before
 *       |   the switch stops the rings; packets to the owner wait
 *     STOPPED  the switch has passed on what the owner had sent before
 *       |   the turn is the borrower's
 *     AWAY
 *       |   anything is not as it was: hints go, the turn is the switch's
 *     RECALLED  the borrower says that it has stopped, and where
 *       |
 *     HOME
 *
 * Until the turn is the borrower's, going back is a matter of moments. */

#include "netdev-vpci-lend-private.h"

#include <unistd.h>

#include "netdev-vpci-message.h"
#include "ovs-rcu.h"
#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_lend);

/* How often the two ports are looked at, in ms, and how many looks in a row must
 * find them to speak to each other alone. */
#define LOOK_MS 50
#define PURE_LOOKS 3

/* How long all may take from hints to the borrower's turn, for so long it lets
 * packets wait; and how long it may take to give rings back; in ms. */
#define LEND_MS (VPCI_ABI_PEER_WAIT_MS - 10)
#define RECALL_MS 200

/* When that is slow, so that it is not to happen often, in ms; and how long the
 * borrower may take to notice that it has them. */
#define SLOW_MS 50
#define TAKE_MS 100

/* How long rings stay at home after they had to be fetched, at least; and at
 * most, if packets make that so again and again, before they were away for
 * LONG_MS; in ms. */
#define MIN_REST_MS 50
#define MAX_REST_MS 5000
#define LONG_MS 2000

static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(20, 20);

/* Known to who waits, and to who ends it: the second one to let go frees it. */
struct vpci_lend_grace {
    struct ovs_refcount ref_cnt;
    bool over;                  /* Atomic: all threads have passed. */
};

const char *
vpci_lend_state_name(const struct vpci_lend *lend)
{
    switch (lend->state) {
    case VPCI_LEND_UNKNOWN:
        return "perhaps lent by an earlier switch";
    case VPCI_LEND_HOME:
        return "home";
    case VPCI_LEND_HINTS:
    case VPCI_LEND_PASS:
    case VPCI_LEND_STOPPED:
        return "being lent";
    case VPCI_LEND_AWAY:
        return "lent";
    case VPCI_LEND_RECALLED:
        return "recalled";
    case VPCI_LEND_FENCED:
    default:
        return "not given back";
    }
}

void
vpci_lend_changed(const struct vpci_lend *lend)
{
    vpci_changed(lend->borrower);
    if (lend->owner) {
        vpci_changed(lend->owner);
    }
}

void
vpci_lend_set_why(struct vpci_lend *lend, char *why)
{
    if (!nullable_string_is_equal(why, lend->why)) {
        vpci_lend_changed(lend);
    }
    free(lend->why);
    lend->why = why;
}

void
vpci_lend_set_state(struct vpci_lend *lend, enum vpci_lend_state state)
{
    lend->state = state;
    lend->since = time_msec();
    if (state == VPCI_LEND_UNKNOWN || state == VPCI_LEND_HOME
        || state == VPCI_LEND_AWAY || state == VPCI_LEND_FENCED) {
        vpci_lend_changed(lend);
    }
    vpci_links_wake();
}

/* Waits for others. */

static void
unref_grace(struct vpci_lend_grace *grace)
{
    if (ovs_refcount_unref(&grace->ref_cnt) == 1) {
        free(grace);
    }
}

/* Once all threads have passed. */
static void
end_grace(struct vpci_lend_grace *grace)
{
    __atomic_store_n(&grace->over, true, __ATOMIC_RELEASE);
    unref_grace(grace);
}

static void
begin_grace(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    lend->grace = xzalloc(sizeof *lend->grace);
    ovs_refcount_init(&lend->grace->ref_cnt);
    ovs_refcount_ref(&lend->grace->ref_cnt);
    ovsrcu_postpone(end_grace, lend->grace);
}

static void
forget_grace(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    if (lend->grace) {
        unref_grace(lend->grace);
        lend->grace = NULL;
    }
}

/* The owner's port. */

void
vpci_set_lent(struct netdev_vpci *owner, enum vpci_lent_state state)
{
    if (state == VPCI_LENT_AWAY) {
        vpci_held_begin(owner);
    }
    vpci_rings_pause(owner);
    owner->lent_state = state;
    vpci_rings_resume(owner);
    vpci_changed(owner);
}

void
vpci_lend_come_home(struct vpci_lend *lend, bool early, long long int now)
{
    forget_grace(lend);
    vpci_lend_count(lend, now);
    vpci_lend_remove_flows(lend);
    if (lend->owner->lent_state != VPCI_LENT_NOT) {
        vpci_set_lent(lend->owner, VPCI_LENT_NOT);
    }
    lend->rest_ms = (!early ? MIN_REST_MS
                     : MIN(MAX(2 * lend->rest_ms, MIN_REST_MS), MAX_REST_MS));
    lend->not_before = now + lend->rest_ms;
    lend->n_pure = 0;
    lend->conn = 0;
    vpci_lend_set_state(lend, VPCI_LEND_HOME);
}

/* Gives up lending rings before the borrower had them. */
static void
cancel(struct vpci_lend *lend, char *why, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    bool early = (vpci_held_any(lend->owner)
                  || now - lend->begun_at > LEND_MS);

    vpci_lend_set_why(lend, why);
    vpci_lend_revoke_flows(lend);
    vpci_lend_come_home(lend, early, now);
}

static void
write_turn(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    lend->turn++;
    if (lend->linker->runs) {
        /* (P) */
        vpci_store32_release(&vpci_lend_peer(lend)->turn, lend->turn);
        vpci_linker_ring(lend->linker);
    }
}

/* True if the borrower has noticed that it has them. */
static bool
is_taken(const struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    return (lend->linker->runs
            && vpci_load32(&vpci_lend_words(lend)->taken) == lend->turn);
}

static void
recall(struct vpci_lend *lend, char *why)
    OVS_REQUIRES(links_mutex)
{
    VLOG_DBG_RL(&rl, "%s: rings are to come back from the guest of %s: %s",
                vpci_name(lend->owner), vpci_name(lend->borrower), why);
    lend->is_early = ((vpci_held_any(lend->owner) || !is_taken(lend))
                      && time_msec() - lend->since < LONG_MS);
    vpci_lend_set_why(lend, why);
    vpci_lend_revoke_flows(lend);
    write_turn(lend);
    vpci_lend_set_state(lend, VPCI_LEND_RECALLED);
}

/* True if the borrower does not touch the rings of this turn any more, or never
 * will. */
static bool
is_returned(const struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    if (!lend->device_id) {
        return true;
    } else if (lend->linker->runs) {
        return vpci_lend_is_answered(
            lend->turn,
            vpci_load32_acquire(&vpci_lend_words(lend)->returned)); /* (Q) */
    }
    return (lend->has_records
            && vpci_lend_is_answered(lend->turn, lend->returned));
}

static void
take_back(struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    bool fenced = lend->state == VPCI_LEND_FENCED;

    vpci_lend_take_over(lend);
    if (fenced) {
        VLOG_INFO("%s: the guest of %s has given rings back, or its device "
                  "has gone: the port is up again", vpci_name(lend->owner),
                  vpci_name(lend->borrower));
    }
    vpci_lend_come_home(lend, lend->is_early, now);
}

static void
fence(struct vpci_lend *lend)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    lend->n_fenced++;
    VLOG_WARN("%s: the guest of %s, which drives its rings, has not given them "
              "back for %d ms (%s): the port is down until it does, or until "
              "its device is unplugged or its virtual machine ends; is it "
              "paused?", vpci_name(lend->owner), vpci_name(lend->borrower),
              RECALL_MS, lend->why ? lend->why : "");
    vpci_set_lent(lend->owner, VPCI_LENT_FENCED);
    vpci_lend_set_state(lend, VPCI_LEND_FENCED);
}

/* Steps. */

/* Why rings cannot stay lent, to be freed, or null. */
static char *
find_reason(const struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *linker = lend->linker;
    const struct netdev_vpci *owner = lend->owner;

    if (vpci_held_any(owner)) {
        return xasprintf("the switch has packets for %s", vpci_name(owner));
    } else if (vpci_lend_flows_changed(lend)) {
        return xstrdup("a megaflow is not what it was");
    } else if (!linker->runs) {
        return xasprintf("the guest of %s is not there any more",
                         vpci_name(lend->borrower));
    } else if (linker->is_silent) {
        return xasprintf("the guest of %s hangs", vpci_name(lend->borrower));
    } else if (lend->state == VPCI_LEND_AWAY
               && time_msec() - lend->since > TAKE_MS && !is_taken(lend)) {
        return xasprintf("the guest of %s does not take them",
                         vpci_name(lend->borrower));
    } else if (lend->conn && !vpci_lend_has_conn(lend)) {
        return xasprintf("the guest of %s is not there any more",
                         vpci_name(owner));
    }
    return vpci_lend_ports_objection(lend);
}

static void
look(struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    char *objection = vpci_lend_objection(lend);
    enum vpci_lend_traffic traffic;

    lend->since = now;
    if (objection) {
        vpci_lend_set_why(lend, objection);
        lend->has_objection = true;
        lend->n_pure = 0;
        return;
    } else if (lend->has_objection) {
        vpci_lend_set_why(lend, xstrdup("the two have not spoken to each other "
                                        "alone for long enough"));
        lend->has_objection = false;
    }
    traffic = vpci_lend_look(lend);
    lend->n_pure = (traffic == VPCI_LEND_MIXED ? 0
                    : lend->n_pure + (traffic == VPCI_LEND_PURE));
    if (lend->n_pure < PURE_LOOKS || now < lend->not_before) {
        return;
    }
    if (!vpci_lend_has_signals(lend)) {
        lend->wants_signals = true;
        vpci_links_wake_main();
        return;
    }
    vpci_lend_write_entry(lend);
    lend->begun_at = time_msec();
    if (vpci_lend_add_flows(lend)) {
        vpci_lend_set_state(lend, VPCI_LEND_HINTS);
    }
}

/* The switch stops the rings. */
static void
stop_rings(struct vpci_lend *lend)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    vpci_set_lent(lend->owner, VPCI_LENT_AWAY);
    begin_grace(lend);
    vpci_lend_set_state(lend, VPCI_LEND_STOPPED);
}

/* The turn is the borrower's. */
static void
hand_over(struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    forget_grace(lend);
    if (!vpci_lend_describe(lend)) {
        cancel(lend, xstrdup("rings, or memory, are not where they can be "
                             "described"), now);
        return;
    }
    write_turn(lend);
    lend->n_turns++;
    vpci_lend_set_why(lend, NULL);
    vpci_lend_set_state(lend, VPCI_LEND_AWAY);
}

static const char *
why_name(uint32_t why)
{
    switch (why) {
    case VPCI_ABI_PEER_NOT_ACCEPTED:
        return "the owner has sent a packet that goes elsewhere";
    case VPCI_ABI_PEER_BROKEN:
        return "a ring makes no sense";
    case VPCI_ABI_PEER_UNUSABLE:
        return "it cannot use them";
    case VPCI_ABI_PEER_ENDS:
        return "its driver ends";
    default:
        return "it does not say why";
    }
}

/* The borrower has given them back by itself. */
static void
was_given_back(struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    uint32_t why = (lend->linker->runs
                    ? vpci_load32(&vpci_lend_words(lend)->why)
                    : VPCI_ABI_PEER_ENDS);
    bool early = now - lend->since < LONG_MS;

    vpci_lend_set_why(lend, xasprintf("the guest of %s has given them back: "
                                      "%s", vpci_name(lend->borrower),
                                      why_name(why)));
    VLOG_DBG_RL(&rl, "%s: %s", vpci_name(lend->owner), lend->why);
    vpci_lend_take_over(lend);
    vpci_lend_revoke_flows(lend);
    write_turn(lend);
    if (why == VPCI_ABI_PEER_BROKEN || why == VPCI_ABI_PEER_UNUSABLE) {
        lend->rest_ms = MAX_REST_MS / 2;
    }
    vpci_lend_come_home(lend, early, now);
}

static void
run_away(struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    char *why;

    if (is_returned(lend)) {
        was_given_back(lend, now);
        return;
    }
    why = find_reason(lend);
    if (why) {
        recall(lend, why);
    } else {
        vpci_lend_count(lend, now);
    }
}

/* Gives rings back to the switch where that is possible at once, and asks for
 * them where it is not. */
static void
fetch(struct vpci_lend *lend, const char *why, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    switch (lend->state) {
    case VPCI_LEND_HINTS:
    case VPCI_LEND_PASS:
    case VPCI_LEND_STOPPED:
        cancel(lend, xstrdup(why), now);
        break;
    case VPCI_LEND_AWAY:
        recall(lend, xstrdup(why));
        break;
    case VPCI_LEND_UNKNOWN:
    case VPCI_LEND_HOME:
    case VPCI_LEND_RECALLED:
    case VPCI_LEND_FENCED:
    default:
        break;
    }
}

/* What comes before the turn is the borrower's.  Returns true if it goes on. */
static bool
step_out(struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    char *why = find_reason(lend);

    if (!why && now - lend->begun_at > LEND_MS) {
        why = xasprintf("the %s has taken too long",
                        lend->state == VPCI_LEND_HINTS ? "guest" : "switch");
    }
    if (why) {
        cancel(lend, why, now);
        return false;
    }
    if (lend->state == VPCI_LEND_HINTS) {
        if (!vpci_linker_follows_hints(lend->linker,
                                       lend->hints_generation)) {
            return false;
        }
        vpci_passage_begin(&lend->passage, lend->linker);
        vpci_lend_set_state(lend, VPCI_LEND_PASS);
    } else if (lend->state == VPCI_LEND_PASS) {
        if (!vpci_passage_is_over(&lend->passage, lend->linker)) {
            return false;
        }
        stop_rings(lend);
    } else if (lend->state == VPCI_LEND_STOPPED) {
        if (!__atomic_load_n(&lend->grace->over, __ATOMIC_ACQUIRE)) {
            return false;
        }
        hand_over(lend, now);
    }
    return lend->state != VPCI_LEND_HOME;
}

/* Returns true if it waits for something that will be soon. */
static bool
run(struct vpci_lend *lend, long long int now)
    OVS_REQUIRES(lend->owner->mutex) OVS_REQUIRES(links_mutex)
{
    switch (lend->state) {
    case VPCI_LEND_UNKNOWN:
        break;
    case VPCI_LEND_HOME:
        if (now - lend->since >= LOOK_MS) {
            look(lend, now);
        }
        break;
    case VPCI_LEND_HINTS:
    case VPCI_LEND_PASS:
    case VPCI_LEND_STOPPED:
        step_out(lend, now);
        break;
    case VPCI_LEND_AWAY:
        run_away(lend, now);
        break;
    case VPCI_LEND_RECALLED:
    case VPCI_LEND_FENCED:
        if (is_returned(lend)) {
            take_back(lend, now);
        } else if (lend->state == VPCI_LEND_RECALLED
                   && now - lend->since > RECALL_MS) {
            fence(lend);
        }
        break;
    }
    return (lend->state == VPCI_LEND_HINTS || lend->state == VPCI_LEND_PASS
            || lend->state == VPCI_LEND_STOPPED
            || lend->state == VPCI_LEND_RECALLED);
}

bool
vpci_lends_step(long long int now)
{
    struct vpci_lend *lend;
    bool soon = false;

    /* Who has one of these mutexes may wait for a guest that does not give rings
     * back: links do not wait for that. */
    if (ovs_mutex_trylock(&lends_mutex)) {
        return true;
    }
    LIST_FOR_EACH (lend, node, &lends) {
        if (!lend->owner) {
            continue;
        } else if (ovs_mutex_trylock(&lend->owner->mutex)) {
            soon = true;
            continue;
        }
        ovs_mutex_lock(&links_mutex);
        soon |= run(lend, now);
        ovs_mutex_unlock(&links_mutex);
        ovs_mutex_unlock(&lend->owner->mutex);
    }
    ovs_mutex_unlock(&lends_mutex);
    return soon;
}

/* Does what vpci_lend_recall() says, for 'lend'. */
static bool
recall_within_bound(struct vpci_lend *lend, const char *why)
    OVS_REQUIRES(lend->owner->mutex) OVS_NO_THREAD_SAFETY_ANALYSIS
{
    long long int end = time_msec() + RECALL_MS;
    bool home;

    ovs_mutex_lock(&links_mutex);
    if (lend->state == VPCI_LEND_UNKNOWN) {
        ovs_mutex_unlock(&links_mutex);
        return true;
    }
    fetch(lend, why, time_msec());
    for (;;) {
        long long int now;

        home = lend->state == VPCI_LEND_HOME;
        now = time_msec();
        if (!home && is_returned(lend)) {
            lend->is_early |= end - now < RECALL_MS - SLOW_MS;
            take_back(lend, now);
            home = true;
        }
        if (home || now >= end || lend->state == VPCI_LEND_FENCED) {
            break;
        }
        ovs_mutex_unlock(&links_mutex);
        usleep(100);
        ovs_mutex_lock(&links_mutex);
    }
    if (!home && lend->state == VPCI_LEND_RECALLED) {
        fence(lend);
    }
    /* Those of another connection are not used before the others are back. */
    home |= !vpci_lend_has_conn(lend);
    ovs_mutex_unlock(&links_mutex);
    return home;
}

bool
vpci_lend_recall(struct netdev_vpci *owner, const char *why)
    OVS_NO_THREAD_SAFETY_ANALYSIS
{
    /* Threads of librte_vhost know nothing of RCU. */
    bool quiescent = ovsrcu_is_quiescent();
    bool home;

    if (!owner->lent) {
        return true;
    }
    if (quiescent) {
        ovsrcu_quiesce_end();
    }
    home = recall_within_bound(owner->lent, why);
    if (quiescent) {
        ovsrcu_quiesce_start();
    }
    return home;
}

void
vpci_lend_guest_begins(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    if (!lend->turn) {
        /* As another switch has left it. */
        lend->turn = vpci_load32(&vpci_lend_peer(lend)->turn);
        lend->turn += lend->turn % 2;
    }
    vpci_store32_release(&vpci_lend_peer(lend)->turn, lend->turn);
    vpci_lend_write_entry(lend);
}

void
vpci_lend_guest_ends(struct vpci_lend *lend)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_abi_peer_words *words = vpci_lend_words(lend);

    vpci_lend_count(lend, time_msec());
    memcpy(lend->records, words->rings, sizeof lend->records);
    lend->taken = vpci_load32(&words->taken);
    lend->returned = vpci_load32_acquire(&words->returned);
    lend->has_records = true;
}
