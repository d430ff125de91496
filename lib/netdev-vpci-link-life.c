/* SPDX-License-Identifier: Apache-2.0 */

/* One link: the keeper makes its region, both guests are told of it, map it
 * and meet there; then megaflows may take it, until one of them goes or the
 * link is not wanted any more. */

#include "netdev-vpci-link-private.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_link);

/* Guests can come to a link and leave it all the time. */
static struct vlog_rate_limit rl = VLOG_RATE_LIMIT_INIT(60, 600);

/* How long guests may take to meet, in ms. */
#define MEET_MS 10000

/* So long they are looked at as often as when packets move: processes meet at
 * once, and virtual machines first get a device. */
#define MEET_SOON_MS 100

/* Guests that meet more often than that do not mean it. */
#define MAX_MEETINGS 16

/* How long no other link between the same guests is tried after one that has
 * failed, in ms. */
#define RETRY_MS 10000
#define RETRY_SOON_MS 500

/* How long the last packets of a link may take, in ms: longer than all moves
 * that they wait for. */
#define DRAIN_MS 1500

static struct vpci_link *
link_from_user(struct vpci_link_user *user)
{
    return CONTAINER_OF(user, struct vpci_link, user);
}

const char *
vpci_link_end_name(const struct vpci_link *link, unsigned int end)
{
    return vpci_name(link->ends[end].linker->dev);
}

void
vpci_link_set_state(struct vpci_link *link, enum vpci_link_state state)
{
    link->state = state;
    link->since = time_msec();
    vpci_links_wake();
    vpci_links_wake_main();
}

/* Writes which ivshmem ids there are at the link, for guest 'end'. */
static void
put_ids(const struct vpci_link *link, unsigned int end,
        struct vpci_abi_link *abi)
{
    const struct vpci_link_end *own = &link->ends[end];
    const struct vpci_link_end *other = &link->ends[!end];

    vpci_store32(&abi->guest_id, own->connected ? own->peer : 0);
    vpci_store32(&abi->peer_id, other->connected ? other->peer : 0);
}

/* Tells guest 'end', if it knows of the link, that ids have changed. */
static void
tell_ids(const struct vpci_link *link, unsigned int end)
    OVS_REQUIRES(links_mutex)
{
    uint32_t place = link->ends[end].place;
    struct vpci_linker *linker = link->ends[end].linker;

    if (linker->runs && place != VPCI_LINK_NOWHERE
        && linker->guest.past->links[place].id == link->user.region) {
        put_ids(link, end, vpci_layout_link(linker->guest.layout,
                                            linker->guest.memory, place));
        vpci_linker_ring(linker);
    }
}

/* Makes what guest 'end' is told of its links agree with 'link', or with that
 * there is none if 'id' is 0. */
static void
tell_guest(struct vpci_link *link, unsigned int end, uint32_t id)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_link_end *e = &link->ends[end];
    const struct vpci_shape *s = &link->layout.shape;
    struct vpci_linker *linker = e->linker;
    struct vpci_links_past *past = linker->guest.past;
    struct vpci_abi_link *abi;

    if (!linker->runs || e->place == VPCI_LINK_NOWHERE) {
        return;
    }
    abi = vpci_layout_link(linker->guest.layout, linker->guest.memory,
                           e->place);
    vpci_store32_release(&abi->id, 0);
    vpci_projection_revoke(
        vpci_layout_acceptances(linker->guest.layout, linker->guest.memory,
                                e->place),
        &past->links[e->place].acceptances);
    past->links[e->place].id = id;
    past->links[e->place].peer = link->user.base[!end];
    past->links[e->place].side = end;
    past->links[e->place].shape = *s;
    if (id) {
        vpci_store32(&abi->side, end);
        vpci_store32(&abi->port, link->user.base[!end]);
        vpci_layout_put_shape(s, &abi->shape);
        put_ids(link, end, abi);
        vpci_store32_release(&abi->id, id);
    }
    vpci_linker_ring(linker);
}

/* True if guests have been told of it. */
static bool
is_told(const struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    return (link->state == VPCI_LINK_OFFERED || link->state == VPCI_LINK_UP
            || link->state == VPCI_LINK_DRAINING);
}

/* A static link, which guests know no more of, becomes as it was before they
 * did. */
static void
settle(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    for (unsigned int i = 0; i < 2; i++) {
        struct vpci_link_end *e = &link->ends[i];
        struct vpci_way *way = &link->ways[i];

        tell_guest(link, i, 0);
        vpci_way_clear(way);
        way->is_old = way->all_leave = way->is_flooded = false;
        way->patient_until = 0;
        if (e->place != VPCI_LINK_NOWHERE) {
            e->linker->links[e->place] = NULL;
            e->place = VPCI_LINK_NOWHERE;
        }
    }
    link->waits = link->guest_left = false;
    link->n_meetings = 0;
}

/* What the keeper says.  Main thread. */

void
vpci_link_offer(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    vpci_layout_write(&link->layout, link->memory, link->user.region);
    for (unsigned int i = 0; i < 2; i++) {
        if (!link->ways[i].is_old) {
            tell_guest(link, i, link->user.region);
        }
    }
    vpci_link_set_state(link, VPCI_LINK_OFFERED);
}

/* A static link has its memory.  If it is what another switch has told guests
 * of, it goes on with that; otherwise they are told later. */
static void
begin_static(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_link_end *e = &link->ends[0];

    vpci_layout_write(&link->layout, link->memory, link->user.region);
    if (link->state != VPCI_LINK_ASKED) {
        return;
    }
    if (e->place == VPCI_LINK_NOWHERE) {
        vpci_link_set_state(link, VPCI_LINK_WAITING);
    } else if (e->linker->guest.past->links[e->place].id
               == link->user.region) {
        vpci_link_offer(link);
    } else {
        settle(link);
        vpci_link_set_state(link, VPCI_LINK_WAITING);
    }
}

/* Maps the memory behind 'fd'. */
static void
map_link(struct vpci_link *link, int fd)
    OVS_REQUIRES(links_mutex)
{
    void *memory = mmap(NULL, link->layout.size, PROT_READ | PROT_WRITE,
                        MAP_SHARED, fd, 0);

    if (memory == MAP_FAILED) {
        vpci_link_remove(link, "the switch cannot map its memory");
        return;
    }
    link->memory = memory;
    if (link->is_static) {
        begin_static(link);
    } else {
        vpci_link_offer(link);
    }
}

/* Who is at its ends is told after this. */
static void
link_given(struct vpci_link_user *user, int fd)
{
    struct vpci_link *link = link_from_user(user);

    ovs_mutex_lock(&links_mutex);
    if (!link->memory && (link->is_static || link->state == VPCI_LINK_ASKED)) {
        map_link(link, fd);
    } else if (link->is_static) {
        link->ends[0].connected = link->ends[1].connected = false;
    }
    ovs_mutex_unlock(&links_mutex);
    close(fd);
}

static void
link_refused(struct vpci_link_user *user, const char *why)
{
    ovs_mutex_lock(&links_mutex);
    vpci_link_remove(link_from_user(user), why);
    ovs_mutex_unlock(&links_mutex);
}

static void
link_guest_came(struct vpci_link_user *user,
                const struct vpci_keeper_peer_up *up)
{
    struct vpci_link *link = link_from_user(user);

    ovs_mutex_lock(&links_mutex);
    if (up->end < 2) {
        link->ends[up->end].connected = true;
        link->ends[up->end].peer = up->peer;
        if (link->is_static && link->memory) {
            /* A guest that boots knows the link by its header. */
            vpci_layout_write(&link->layout, link->memory, user->region);
        }
        tell_ids(link, 0);
        tell_ids(link, 1);
    }
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

static void
link_guest_left(struct vpci_link_user *user, unsigned int end,
                const char *why)
{
    struct vpci_link *link = link_from_user(user);
    char *text;

    ovs_mutex_lock(&links_mutex);
    link->ends[end].connected = false;
    if (!link->is_static || is_told(link)) {
        link->guest_left |= !link->why;
        text = xasprintf("the guest of %s has left: %s",
                         vpci_link_end_name(link, end), why);
        vpci_link_end(link, text);
        free(text);
    }
    ovs_mutex_unlock(&links_mutex);
}

const struct vpci_link_user_class vpci_link_class = {
    .given = link_given,
    .refused = link_refused,
    .guest_came = link_guest_came,
    .guest_left = link_guest_left,
};

/* Life. */

void
vpci_link_end(struct vpci_link *link, const char *why)
    OVS_REQUIRES(links_mutex)
{
    if (link->why) {
        return;
    }
    link->why = xstrdup(why);
    VLOG_INFO_RL(&rl, "link of %s and %s: ends: %s", vpci_link_end_name(link, 0),
              vpci_link_end_name(link, 1), why);
    vpci_way_leave(&link->ways[0]);
    vpci_way_leave(&link->ways[1]);
    vpci_link_set_state(link, VPCI_LINK_DRAINING);
}

void
vpci_link_remove(struct vpci_link *link, const char *why)
    OVS_REQUIRES(links_mutex)
{
    link->is_removed = true;
    vpci_link_end(link, why);
}

void
vpci_link_keep(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    if (!link->why) {
        VLOG_INFO("link of %s and %s: is left to the next switch",
                  vpci_link_end_name(link, 0), vpci_link_end_name(link, 1));
        link->why = xstrdup("the switch ends");
    }
}

/* True if the guests say that they have met there.  Only they can be hurt if
 * that is not so. */
static bool
guests_have_met(const struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    uint32_t epochs[2], seen[2];

    for (int i = 0; i < 2; i++) {
        const struct vpci_abi_state *state
            = vpci_layout_state(&link->layout, link->memory, i);

        if (!link->ends[i].connected) {
            return false;
        }
        epochs[i] = vpci_load32_acquire(&state->epoch);
        seen[i] = vpci_load32_acquire(&state->seen);
    }
    return (epochs[0] && epochs[1] && seen[0] == epochs[1]
            && seen[1] == epochs[0]);
}

/* Where one has not even begun it is not the other one's fault. */
char *
vpci_link_why_not_met(const struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    long long int ms = time_msec() - link->since;
    struct vpci_layout_report report;
    char text[200];

    if (!vpci_layout_agrees(&link->layout, link->memory, link->user.region,
                            &report)) {
        return xasprintf("a guest has written over its header: %s",
                         vpci_layout_format(&report, text, sizeof text));
    }
    for (unsigned int i = 0; i < 2; i++) {
        if (!link->ends[i].connected) {
            return xasprintf("the guest of %s has not connected to it for "
                             "%lld s: may it use the link's socket, beside "
                             "that of its port?", vpci_link_end_name(link, i),
                             ms / 1000);
        }
    }
    for (unsigned int i = 0; i < 2; i++) {
        if (!vpci_load32(&vpci_layout_state(&link->layout, link->memory,
                                            i)->epoch)) {
            return xasprintf("the guest of %s has connected to it, but not "
                             "begun to use it for %lld s",
                             vpci_link_end_name(link, i), ms / 1000);
        }
    }
    return xasprintf("its guests have begun to use it, but not seen each "
                     "other for %lld s", ms / 1000);
}

/* Waits for guests to meet, for a static link as long as it takes.  Returns
 * true if that may be soon: virtual machines need longer. */
static bool
run_offered(struct vpci_link *link, long long int now)
    OVS_REQUIRES(links_mutex)
{
    bool late = now - link->since > MEET_MS;

    if (guests_have_met(link)) {
        VLOG_INFO("link of %s and %s: up, region %"PRIu32,
                  vpci_link_end_name(link, 0), vpci_link_end_name(link, 1),
                  link->user.region);
        vpci_link_set_state(link, VPCI_LINK_UP);
        if (!link->n_meetings++) {
            vpci_way_forget_refused(&link->ways[0], now);
            vpci_way_forget_refused(&link->ways[1], now);
        }
    } else if (late && !link->is_static) {
        char *why = vpci_link_why_not_met(link);

        vpci_link_end(link, why);
        free(why);
    }
    return now - link->since < MEET_SOON_MS;
}

static void
run_up(struct vpci_link *link, long long int now)
    OVS_REQUIRES(links_mutex)
{
    if (guests_have_met(link)) {
        return;
    }
    if (link->n_meetings > MAX_MEETINGS) {
        char *why = xasprintf("its guests have met %u times, and one of them "
                              "began anew each time", link->n_meetings);

        vpci_link_end(link, why);
        free(why);
        vpci_pair_rest(link->pair, now);
    } else {
        vpci_way_leave(&link->ways[0]);
        vpci_way_leave(&link->ways[1]);
        vpci_link_set_state(link, VPCI_LINK_OFFERED);
    }
}

/* A static link waits until it may be offered again: longer if its guests have
 * not used it as they should. */
static void
rest_static(struct vpci_link *link, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_pair *pair = link->pair;
    bool failed = link->n_meetings > MAX_MEETINGS;

    pair->not_before = now + (failed ? RETRY_MS : RETRY_SOON_MS);
    if (link->why) {
        free(pair->last_end);
        pair->last_end = link->why;
        link->why = NULL;
    }
    settle(link);
    vpci_link_set_state(link, VPCI_LINK_WAITING);
}

/* Waits for packets that are on their way. */
static void
run_draining(struct vpci_link *link, long long int now)
    OVS_REQUIRES(links_mutex)
{
    if ((vpci_way_is_empty(&link->ways[0])
         && vpci_way_is_empty(&link->ways[1]))
        || now - link->since > DRAIN_MS) {
        for (unsigned int i = 0; i < 2; i++) {
            tell_guest(link, i, 0);
        }
        if (link->is_static && !link->is_removed) {
            rest_static(link, now);
        } else {
            vpci_link_set_state(link, (link->why ? VPCI_LINK_DOWN
                                       : VPCI_LINK_WAITING));
        }
    }
}

/* Waits for guests to begin anew, which may take for ever: so long, it costs
 * its memory. */
static void
run_waiting(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    for (unsigned int i = 0; i < 2; i++) {
        const struct vpci_link_end *e = &link->ends[i];

        if (!e->linker->runs) {
            return;
        } else if (e->place >= e->linker->n_links) {
            vpci_link_end(link, "a guest has begun anew, and wants fewer "
                                "links");
            return;
        }
    }
    link->waits = link->guest_left = false;
    link->n_meetings = 0;
    vpci_link_offer(link);
}

/* Offers a static link as soon as its ports may have it, and both guests have
 * room for it. */
static void
run_static(struct vpci_link *link, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_pair *pair = link->pair;
    uint32_t places[2];

    if (link->memory && !link->why && now >= pair->not_before
        && !vpci_pair_rests(pair, pair->linkers[0], now)
        && !vpci_pair_rests(pair, pair->linkers[1], now)
        && vpci_linkers_may_link(pair->linkers[0], pair->linkers[1])
        && vpci_link_find_places(pair, places)) {
        vpci_link_take_places(link, places);
        vpci_link_offer(link);
    }
}

bool
vpci_link_run(struct vpci_link *link, long long int now)
    OVS_REQUIRES(links_mutex)
{
    bool moving = false;

    if (link->memory && link->state != VPCI_LINK_DOWN) {
        for (int i = 0; i < 2; i++) {
            moving |= vpci_way_run(&link->ways[i], now);
        }
    }
    switch (link->state) {
    case VPCI_LINK_OFFERED:
        return run_offered(link, now) || moving;
    case VPCI_LINK_UP:
        run_up(link, now);
        break;
    case VPCI_LINK_DRAINING:
        run_draining(link, now);
        break;
    case VPCI_LINK_WAITING:
        if (link->is_static) {
            run_static(link, now);
        } else {
            run_waiting(link);
        }
        break;
    case VPCI_LINK_ASKED:
    case VPCI_LINK_DOWN:
    default:
        break;
    }
    return moving;
}

/* The link is over. */
static void
forget(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_pair *pair = link->pair;
    bool is_known = link->is_static && link->memory;
    bool failed = (link->n_meetings > MAX_MEETINGS
                   || (!link->guest_left && !link->ways[0].n_moves
                       && !link->ways[1].n_moves && !is_known));

    pair->link = NULL;
    pair->n_busy = 0;
    pair->not_before = time_msec() + (failed ? RETRY_MS : RETRY_SOON_MS);
    free(pair->last_end);
    pair->last_end = link->why;
    link->why = NULL;
    for (int i = 0; i < 2; i++) {
        if (link->ends[i].place != VPCI_LINK_NOWHERE) {
            link->ends[i].linker->links[link->ends[i].place] = NULL;
        }
    }
    ovs_list_remove(&link->node);
    vpci_link_free(link);
}

/* What the ports of a static link say of it in column "status" is other. */
static void
change_status(const struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; link->is_static && i < 2; i++) {
        vpci_changed(link->ends[i].linker->dev);
    }
}

void
vpci_link_run_main(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    if (link->state == VPCI_LINK_ASKED && !link->registered) {
        link->registered = true;
        vpci_keeper_register_link(&link->user);
        change_status(link);
    } else if (link->state == VPCI_LINK_DOWN) {
        change_status(link);
        if (link->registered) {
            vpci_keeper_unregister_link(&link->user, true);
        }
        forget(link);
    }
}

/* The guest of 'linker', which is connected to the link still, has ended. */
static void
wait_for_guest(struct vpci_link *link, const struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    if (!link->waits) {
        VLOG_INFO("link of %s and %s: waits for the guest of %s to begin anew",
                  vpci_link_end_name(link, 0), vpci_link_end_name(link, 1),
                  vpci_name(linker->dev));
        vpci_way_leave(&link->ways[0]);
        vpci_way_leave(&link->ways[1]);
        link->waits = true;
        vpci_link_set_state(link, VPCI_LINK_DRAINING);
    }
}

void
vpci_link_lose(struct vpci_link *link, struct vpci_linker *linker,
               bool may_return)
    OVS_REQUIRES(links_mutex)
{
    unsigned int end = link->ends[1].linker == linker;

    for (int i = 0; i < 2; i++) {
        vpci_way_count(&link->ways[i], time_msec());
    }
    link->guest_left |= !link->why;
    if ((link->is_static || (may_return && link->ends[end].connected))
        && !link->why) {
        wait_for_guest(link, linker);
    } else {
        char *why = xasprintf("the guest of %s is not there any more",
                              vpci_name(linker->dev));

        vpci_link_end(link, why);
        free(why);
    }
}

void
vpci_link_kill(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    vpci_link_remove(link, "a port has gone");
    for (unsigned int i = 0; i < 2; i++) {
        vpci_way_clear(&link->ways[i]);
        tell_guest(link, i, 0);
    }
    link->state = VPCI_LINK_DOWN;
    vpci_link_run_main(link);
}
