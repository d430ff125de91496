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

/* How long guests may take to meet, in ms. */
#define MEET_MS 10000

/* Guests that meet more often than that do not mean it. */
#define MAX_MEETINGS 16

/* How long no other link between the same guests is tried after one that has
 * failed, in ms. */
#define RETRY_MS 10000
#define RETRY_SOON_MS 500

/* How long the last packets of a link may take, in ms: longer than all moves
 * that they wait for. */
#define DRAIN_MS 1500

#define SLOTS_LOG2 10
#define DATA_LOG2 19

static struct vpci_link *
link_from_user(struct vpci_link_user *user)
{
    return CONTAINER_OF(user, struct vpci_link, user);
}

static const char *
end_name(const struct vpci_link *link, unsigned int end)
{
    return vpci_name(link->ends[end].linker->dev);
}

static void
set_state(struct vpci_link *link, enum vpci_link_state state)
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

    if (linker->runs
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

    if (!linker->runs) {
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

/* What the keeper says.  Main thread. */

/* Tells guests of a link whose memory is there, unless they know of it. */
static void
offer(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    vpci_layout_write(&link->layout, link->memory, link->user.region);
    for (unsigned int i = 0; i < 2; i++) {
        if (!link->ways[i].is_old) {
            tell_guest(link, i, link->user.region);
        }
    }
    set_state(link, VPCI_LINK_OFFERED);
}

static void
link_given(struct vpci_link_user *user, int fd)
{
    struct vpci_link *link = link_from_user(user);
    void *memory = NULL;

    ovs_mutex_lock(&links_mutex);
    if (link->state == VPCI_LINK_ASKED && !link->memory) {
        memory = mmap(NULL, link->layout.size, PROT_READ | PROT_WRITE,
                      MAP_SHARED, fd, 0);
        if (memory == MAP_FAILED) {
            vpci_link_end(link, "the switch cannot map its memory");
        } else {
            link->memory = memory;
            offer(link);
        }
    }
    ovs_mutex_unlock(&links_mutex);
    close(fd);
}

static void
link_refused(struct vpci_link_user *user, const char *why)
{
    ovs_mutex_lock(&links_mutex);
    vpci_link_end(link_from_user(user), why);
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
    link->guest_left |= !link->why;
    text = xasprintf("the guest of %s has left: %s", end_name(link, end), why);
    vpci_link_end(link, text);
    free(text);
    ovs_mutex_unlock(&links_mutex);
}

static const struct vpci_link_user_class link_class = {
    .given = link_given,
    .refused = link_refused,
    .guest_came = link_guest_came,
    .guest_left = link_guest_left,
};

/* Life. */

static uint32_t
find_place(const struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    uint32_t i = 0;

    while (i < linker->n_links
           && (linker->links[i] || linker->guest.past->links[i].id)) {
        i++;
    }
    return i;
}

static bool
choose_shape(const struct vpci_linker *const linkers_[2],
             struct vpci_layout *layout)
{
    const struct vpci_shape *a = &linkers_[0]->guest.layout->shape;
    const struct vpci_shape *b = &linkers_[1]->guest.layout->shape;
    struct vpci_shape shape = {
        .kind = VPCI_ABI_LINK,
        .n_queues = MAX(linkers_[0]->n_queues, linkers_[1]->n_queues),
        .n_classes = MAX(a->n_classes, b->n_classes),
        .slots_log2 = SLOTS_LOG2,
        .data_log2 = DATA_LOG2,
    };
    struct vpci_layout_report reason;

    shape.n_queues = MIN(shape.n_queues,
                         VPCI_ABI_MAX_RINGS / shape.n_classes);
    shape.n_vectors = MIN(shape.n_queues * shape.n_classes,
                          VPCI_ABI_MAX_VECTORS);
    return vpci_layout_init(layout, &shape, &reason);
}

static void
free_link(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; i < 2; i++) {
        vpci_way_uninit(&link->ways[i]);
    }
    if (link->memory) {
        munmap(link->memory, link->layout.size);
    }
    free(link->why);
    free(link);
}

/* Makes a link of 'pair' at these places, which are free.  Returns null if
 * there is no memory. */
static struct vpci_link *
create(struct vpci_pair *pair, const uint32_t places[2])
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link *link = xzalloc(sizeof *link);
    int error = 0;

    link->pair = pair;
    for (unsigned int i = 0; i < 2; i++) {
        link->ends[i].linker = pair->linkers[i];
        link->ends[i].place = places[i];
        link->user.base[i] = pair->linkers[i]->guest.region;
        error = error ? error : vpci_way_init(&link->ways[i], link, i);
    }
    if (error) {
        free_link(link);
        return NULL;
    }
    return link;
}

/* The link, with its layout, becomes that of its pair. */
static void
start(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; i < 2; i++) {
        link->ends[i].linker->links[link->ends[i].place] = link;
    }
    link->user.class = &link_class;
    link->user.size = link->layout.size;
    link->user.n_vectors = link->layout.shape.n_vectors;
    link->pair->link = link;
    link->pair->n_links++;
    link->pair->used_at = time_msec();
    ovs_list_push_back(&links, &link->node);
    set_state(link, VPCI_LINK_ASKED);
}

void
vpci_link_begin(struct vpci_pair *pair)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *const linkers_[2]
        = { pair->linkers[0], pair->linkers[1] };
    uint32_t places[2] = { find_place(linkers_[0]), find_place(linkers_[1]) };
    struct vpci_layout layout;
    struct vpci_link *link;

    if (places[0] >= linkers_[0]->n_links || places[1] >= linkers_[1]->n_links
        || !choose_shape(linkers_, &layout)) {
        return;
    }
    link = create(pair, places);
    if (link) {
        link->layout = layout;
        start(link);
    }
}

/* Finds the other end of the link that 'linker' had at 'place'. */
static struct vpci_linker *
find_other_end(const struct vpci_linker *linker, uint32_t place,
               uint32_t *other_place)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_links_past *past = linker->guest.past;
    struct vpci_linker *other;

    LIST_FOR_EACH (other, node, &linkers) {
        if (!other->runs || other->guest.region != past->links[place].peer) {
            continue;
        }
        for (uint32_t i = 0; i < VPCI_LINKS_MAX; i++) {
            const struct vpci_links_past *theirs = other->guest.past;

            if (theirs->links[i].id == past->links[place].id
                && theirs->links[i].peer == linker->guest.region
                && theirs->links[i].side != past->links[place].side
                && !other->links[i]) {
                *other_place = i;
                return other;
            }
        }
    }
    return NULL;
}

bool
vpci_link_adopt(struct vpci_linker *linker, uint32_t place)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_links_past *past = linker->guest.past;
    unsigned int side = past->links[place].side != 0;
    struct vpci_layout_report reason;
    struct vpci_linker *other;
    struct vpci_pair *pair;
    struct vpci_link *link;
    uint32_t places[2];

    other = find_other_end(linker, place, &places[!side]);
    if (!other) {
        return false;
    }
    places[side] = place;
    pair = vpci_pair_get(side ? other : linker, side ? linker : other);
    link = !pair->link && pair->linkers[side] == linker
           ? create(pair, places) : NULL;
    if (!link || !vpci_layout_init(&link->layout, &past->links[place].shape,
                                   &reason)) {
        vpci_linker_clear(linker, place);
        vpci_linker_clear(other, places[!side]);
        if (link) {
            free_link(link);
        }
        return true;
    }
    link->user.region = past->links[place].id;
    link->ways[0].is_old = link->ways[1].is_old = true;
    start(link);
    VLOG_INFO("link of %s and %s: goes on, region %"PRIu32, end_name(link, 0),
              end_name(link, 1), link->user.region);
    return true;
}

void
vpci_link_end(struct vpci_link *link, const char *why)
    OVS_REQUIRES(links_mutex)
{
    if (link->why) {
        return;
    }
    link->why = xstrdup(why);
    VLOG_INFO("link of %s and %s: ends: %s", end_name(link, 0),
              end_name(link, 1), why);
    vpci_way_leave(&link->ways[0]);
    vpci_way_leave(&link->ways[1]);
    set_state(link, VPCI_LINK_DRAINING);
}

void
vpci_link_keep(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    if (!link->why) {
        VLOG_INFO("link of %s and %s: is left to the next switch",
                  end_name(link, 0), end_name(link, 1));
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

/* Returns why guests have not met in MEET_MS, to be freed.  Where one has not
 * even begun it is not the other one's fault. */
static char *
why_not_met(const struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
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
                             "%d s: may it use the link's socket, beside that "
                             "of its port?", end_name(link, i),
                             MEET_MS / 1000);
        }
    }
    for (unsigned int i = 0; i < 2; i++) {
        if (!vpci_load32(&vpci_layout_state(&link->layout, link->memory,
                                            i)->epoch)) {
            return xasprintf("the guest of %s has connected to it, but not "
                             "begun to use it for %d s", end_name(link, i),
                             MEET_MS / 1000);
        }
    }
    return xasprintf("its guests have begun to use it, but not seen each "
                     "other for %d s", MEET_MS / 1000);
}

/* Waits for guests to meet. */
static void
run_offered(struct vpci_link *link, long long int now)
    OVS_REQUIRES(links_mutex)
{
    if (guests_have_met(link)) {
        VLOG_INFO("link of %s and %s: up, region %"PRIu32, end_name(link, 0),
                  end_name(link, 1), link->user.region);
        set_state(link, VPCI_LINK_UP);
        if (!link->n_meetings++) {
            vpci_way_forget_refused(&link->ways[0], now);
            vpci_way_forget_refused(&link->ways[1], now);
        }
    } else if (now - link->since > MEET_MS) {
        char *why = why_not_met(link);

        vpci_link_end(link, why);
        free(why);
    }
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
        set_state(link, VPCI_LINK_OFFERED);
    }
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
        set_state(link, link->why ? VPCI_LINK_DOWN : VPCI_LINK_WAITING);
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
    offer(link);
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
        run_offered(link, now);
        return true;
    case VPCI_LINK_UP:
        run_up(link, now);
        break;
    case VPCI_LINK_DRAINING:
        run_draining(link, now);
        break;
    case VPCI_LINK_WAITING:
        run_waiting(link);
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
    bool failed = (link->n_meetings > MAX_MEETINGS
                   || (!link->guest_left && !link->ways[0].n_moves
                       && !link->ways[1].n_moves));

    pair->link = NULL;
    pair->n_busy = 0;
    pair->not_before = time_msec() + (failed ? RETRY_MS : RETRY_SOON_MS);
    free(pair->last_end);
    pair->last_end = link->why;
    link->why = NULL;
    for (int i = 0; i < 2; i++) {
        link->ends[i].linker->links[link->ends[i].place] = NULL;
    }
    ovs_list_remove(&link->node);
    free_link(link);
}

void
vpci_link_run_main(struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    if (link->state == VPCI_LINK_ASKED && !link->registered) {
        link->registered = true;
        vpci_keeper_register_link(&link->user);
    } else if (link->state == VPCI_LINK_DOWN) {
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
                  end_name(link, 0), end_name(link, 1),
                  vpci_name(linker->dev));
        vpci_way_leave(&link->ways[0]);
        vpci_way_leave(&link->ways[1]);
        link->waits = true;
        set_state(link, VPCI_LINK_DRAINING);
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
    if (may_return && link->ends[end].connected && !link->why) {
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
    vpci_link_end(link, "a port has gone");
    for (unsigned int i = 0; i < 2; i++) {
        vpci_way_clear(&link->ways[i]);
        tell_guest(link, i, 0);
    }
    link->state = VPCI_LINK_DOWN;
    vpci_link_run_main(link);
}
