/* SPDX-License-Identifier: Apache-2.0 */

/* Guests that hold up or flood each other by a link do without it for a while,
 * each time twice as long. */

#include "netdev-vpci-link-private.h"

/* How long the first rest is, and the longest, in ms.  Who has behaved well
 * for as long as that begins anew. */
#define MIN_REST_MS 1000
#define MAX_REST_MS 64000

/* A guest that has to refuse more packets than that in a second, and than what
 * the rings have twice, is flooded.  If policy changes while it hangs it
 * refuses what is in the rings, once. */
#define MAX_REFUSED 10000
#define REFUSED_MS 1000

static struct vpci_rest *
get_rest(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    return &way->link->pair->rests[way->from];
}

static void
begin_rest(struct vpci_rest *rest, long long int now)
{
    rest->ms = (!rest->ms || now - rest->until > MAX_REST_MS ? MIN_REST_MS
                : MIN(2 * rest->ms, MAX_REST_MS));
    rest->until = now + rest->ms;
}

void
vpci_pair_rest(struct vpci_pair *pair, long long int now)
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; i < 2; i++) {
        begin_rest(&pair->rests[i], now);
    }
}

long long int
vpci_pair_rests(const struct vpci_pair *pair, const struct vpci_linker *from,
                long long int now)
    OVS_REQUIRES(links_mutex)
{
    return MAX(pair->rests[pair->linkers[1] == from].until - now, 0);
}

/* True if the receiver has a reason not to take what is in the link: there is
 * a move, for which it may have to wait, or nobody has met there, or what
 * another switch has told it is not known. */
static bool
is_excused(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    return (way->is_old || way->move == VPCI_MOVE_ON_HINTS
            || way->move == VPCI_MOVE_ON_SWITCH
            || way->move == VPCI_MOVE_ON_GUEST
            || (way->link->state != VPCI_LINK_UP
                && way->link->state != VPCI_LINK_DRAINING));
}

/* Finds out whether the receiver takes what is in the link.  If we have not
 * looked for long it has not got its time. */
static bool
is_stuck(struct vpci_way *way, bool late, long long int now)
    OVS_REQUIRES(links_mutex)
{
    bool excused = late || is_excused(way);
    bool stuck = false;

    for (uint32_t i = 0; i < way->link->layout.n_rings; i++) {
        struct vpci_ring_memory memory;
        uint32_t consumed, produced;

        vpci_layout_ring(&way->link->layout, way->link->memory, way->from, i,
                         &memory);
        consumed = vpci_load32_acquire(&memory.consumer->consumed);
        produced = vpci_load32_acquire(&memory.producer->produced);
        if (consumed == produced || consumed != way->consumed[i] || excused) {
            way->consumed[i] = consumed;
            way->taken_at[i] = now;
        }
        stuck |= now - way->taken_at[i] > VPCI_SILENCE_MS;
    }
    return stuck;
}

/* One that takes nothing for a while holds up its sender for as long, and
 * could do so again at once.  The rest is as long as it takes, and then
 * some. */
static void
watch_receiver(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    bool late = now - way->watched_at > VPCI_SILENCE_MS / 2;
    struct vpci_rest *rest = get_rest(way);
    bool held_up = way->holds_up;

    way->watched_at = now;
    way->is_stuck = is_stuck(way, late, now);
    if (late) {
        return;
    }
    way->holds_up = ((way->is_stuck || vpci_way_receiver(way)->is_silent)
                     && (held_up || way->n_flows));
    if (way->holds_up && !held_up) {
        begin_rest(rest, now);
    } else if (way->holds_up) {
        rest->until = now + rest->ms;
    }
}

/* The receiver has refused 'n' packets lately, which are too many. */
static void
end_flood(struct vpci_way *way, uint64_t n, long long int now)
    OVS_REQUIRES(links_mutex)
{
    char *why = xasprintf("the guest of %s sends what policy does not allow: "
                          "that of %s says that it has refused %"PRIu64
                          " packets in %lld ms",
                          vpci_name(vpci_way_sender(way)->dev),
                          vpci_name(vpci_way_receiver(way)->dev), n,
                          now - way->refused_at);

    vpci_link_end(way->link, why);
    free(why);
    vpci_pair_rest(way->link->pair, now);
}

/* The receiver says that it has refused 'n' packets since it was asked last,
 * which are more than 'most'. */
static void
end_lie(struct vpci_way *way, uint64_t n, uint64_t most, long long int now)
    OVS_REQUIRES(links_mutex)
{
    char *why = xasprintf("the guest of %s says that it has refused %"PRIu64
                          " packets at once, and cannot have received more "
                          "than %"PRIu64, vpci_name(vpci_way_receiver(way)->dev),
                          n, most);

    vpci_link_end(way->link, why);
    free(why);
    vpci_pair_rest(way->link->pair, now);
}

/* True if what the receiver refuses now tells nothing of its sender: both have
 * not met yet, so that it may come from another link that was at the same
 * place; or flows whose packets the receiver refuses already, such as after its
 * MTU has become smaller, are still to leave the link. */
static bool
may_refuse(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    return (!way->link->n_meetings || !vpci_way_receiver(way)->runs
            || (way->n_flows && !vpci_way_is_allowed(way)));
}

/* A sender whose packets are refused costs the receiver its time, whatever the
 * flows say: the link ends.  If we have not looked for long we do not know how
 * fast they came. */
static void
watch_refused(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_layout *layout = &way->link->layout;
    uint64_t most = (MAX_REFUSED + 2 * ((uint64_t) layout->n_rings
                                        << layout->shape.slots_log2));
    uint64_t possible, said = vpci_way_count_refused(way, now, &possible);

    if (may_refuse(way)) {
        way->refused_at = 0;
        return;
    }
    if (said > possible && !way->is_flooded) {
        way->is_flooded = true;
        end_lie(way, said, possible, now);
    } else if (way->refused_at && !way->is_flooded
               && way->n_refused - way->refused > most
               && now - way->refused_at <= 2 * REFUSED_MS) {
        way->is_flooded = true;
        end_flood(way, way->n_refused - way->refused, now);
    }
    if (now - way->refused_at >= REFUSED_MS) {
        way->refused = way->n_refused;
        way->refused_at = now;
    }
}

void
vpci_way_watch(struct vpci_way *way, long long int now)
    OVS_REQUIRES(links_mutex)
{
    watch_receiver(way, now);
    watch_refused(way, now);
}
