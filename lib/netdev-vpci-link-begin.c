/* SPDX-License-Identifier: Apache-2.0 */

/* How links begin: those that ports are to have, and those that another switch
 * has left. */

#include "netdev-vpci-link-private.h"

#include <errno.h>
#include <sys/mman.h>

#include "timeval.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_link_begin);

#define SLOTS_LOG2 10
#define DATA_LOG2 19

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

bool
vpci_link_choose_layout(const struct vpci_linker *a,
                        const struct vpci_linker *b, bool is_static,
                        struct vpci_layout *layout)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_shape *of_a = &a->layout->shape;
    const struct vpci_shape *of_b = &b->layout->shape;
    struct vpci_shape shape = {
        .kind = VPCI_ABI_LINK,
        .n_queues = (is_static ? MAX(of_a->n_queues, of_b->n_queues)
                     : MAX(a->n_queues, b->n_queues)),
        .n_classes = MAX(of_a->n_classes, of_b->n_classes),
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

bool
vpci_link_find_places(const struct vpci_pair *pair, uint32_t places[2])
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; i < 2; i++) {
        places[i] = find_place(pair->linkers[i]);
        if (places[i] >= pair->linkers[i]->n_links) {
            return false;
        }
    }
    return true;
}

void
vpci_link_take_places(struct vpci_link *link, const uint32_t places[2])
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; i < 2; i++) {
        link->ends[i].place = places[i];
        link->ends[i].linker->links[places[i]] = link;
    }
}

void
vpci_link_free(struct vpci_link *link)
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

/* Makes a link of 'pair' at these places, which are free, or nowhere.  Returns
 * null if there is no memory. */
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
        link->user.base[i] = (places[i] == VPCI_LINK_NOWHERE
                              ? pair->linkers[i]->region
                              : pair->linkers[i]->guest.region);
        error = error ? error : vpci_way_init(&link->ways[i], link, i);
    }
    if (error) {
        vpci_link_free(link);
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
        if (link->ends[i].place != VPCI_LINK_NOWHERE) {
            link->ends[i].linker->links[link->ends[i].place] = link;
        }
    }
    link->user.class = &vpci_link_class;
    link->user.size = link->layout.size;
    link->user.n_vectors = link->layout.shape.n_vectors;
    link->pair->link = link;
    link->pair->n_links++;
    link->pair->used_at = time_msec();
    ovs_list_push_back(&links, &link->node);
    vpci_link_set_state(link, VPCI_LINK_ASKED);
}

void
vpci_link_begin(struct vpci_pair *pair)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_layout layout;
    struct vpci_link *link;
    uint32_t places[2];

    if (!vpci_link_find_places(pair, places)
        || !vpci_link_choose_layout(pair->linkers[0], pair->linkers[1], false,
                                    &layout)) {
        return;
    }
    link = create(pair, places);
    if (link) {
        link->layout = layout;
        start(link);
    }
}

/* Ends 0 and 1 of a static link are at the lower and the higher base region,
 * whichever switch makes it: the keeper, and what one switch leaves for the
 * next, count on that. */
static void
order_pair(struct vpci_pair *pair)
    OVS_REQUIRES(links_mutex)
{
    if (pair->linkers[0]->region > pair->linkers[1]->region) {
        struct vpci_linker *linker = pair->linkers[0];
        struct vpci_rest rest = pair->rests[0];

        pair->linkers[0] = pair->linkers[1];
        pair->linkers[1] = linker;
        pair->rests[0] = pair->rests[1];
        pair->rests[1] = rest;
    }
}

void
vpci_link_begin_static(struct vpci_pair *pair)
    OVS_REQUIRES(links_mutex)
{
    static const uint32_t nowhere[2] = { VPCI_LINK_NOWHERE,
                                         VPCI_LINK_NOWHERE };
    struct vpci_layout layout;
    struct vpci_link *link;

    order_pair(pair);
    if (!vpci_link_choose_layout(pair->linkers[0], pair->linkers[1], true,
                                 &layout)) {
        return;
    }
    link = create(pair, nowhere);
    if (link) {
        link->is_static = true;
        link->layout = layout;
        for (int i = 0; i < 2; i++) {
            link->user.names[i] = vpci_name(pair->linkers[i]->dev);
        }
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

/* The link of 'pair' that another switch has left, with its ends at 'places',
 * 'past' at one of them, goes on.  Returns null if it cannot. */
static struct vpci_link *
adopt(struct vpci_pair *pair, const uint32_t places[2],
      const struct vpci_past_link *past)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_layout_report reason;
    struct vpci_link *link = pair->link ? NULL : create(pair, places);

    if (link && !vpci_layout_init(&link->layout, &past->shape, &reason)) {
        vpci_link_free(link);
        link = NULL;
    }
    if (link) {
        link->user.region = past->id;
        link->ways[0].is_old = link->ways[1].is_old = true;
        start(link);
    }
    return link;
}

/* The same for a static one.  If the keeper has not told of it yet, it goes on
 * then, if it is the same. */
static struct vpci_link *
adopt_static(struct vpci_pair *pair, const uint32_t places[2],
             const struct vpci_past_link *past)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_link *link = pair->link;

    if (!link || !link->is_static || link->is_removed
        || link->ends[0].place != VPCI_LINK_NOWHERE
        || (link->user.region && link->user.region != past->id)
        || memcmp(&link->layout.shape, &past->shape, sizeof past->shape)
        || (link->state != VPCI_LINK_ASKED
            && link->state != VPCI_LINK_WAITING)) {
        return NULL;
    }
    vpci_link_take_places(link, places);
    link->ways[0].is_old = link->ways[1].is_old = true;
    if (link->memory) {
        vpci_link_offer(link);
    }
    return link;
}

bool
vpci_link_adopt(struct vpci_linker *linker, uint32_t place)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_past_link *past = &linker->guest.past->links[place];
    unsigned int side = past->side != 0;
    struct vpci_link *link = NULL;
    struct vpci_linker *other;
    struct vpci_pair *pair;
    uint32_t places[2];
    bool is_static;

    other = find_other_end(linker, place, &places[!side]);
    if (!other) {
        return false;
    }
    places[side] = place;
    pair = vpci_pair_get(side ? other : linker, side ? linker : other);
    is_static = vpci_linkers_are_static(linker, other);
    if (is_static && !pair->link && linker->region && other->region) {
        vpci_link_begin_static(pair);
    }
    if (pair->linkers[side] == linker) {
        link = (is_static
                ? adopt_static(pair, places, past)
                : adopt(pair, places, past));
    }
    if (!link) {
        vpci_linker_clear(linker, place);
        vpci_linker_clear(other, places[!side]);
        return true;
    }
    VLOG_INFO("link of %s and %s: goes on, region %"PRIu32,
              vpci_link_end_name(link, 0), vpci_link_end_name(link, 1),
              past->id);
    return true;
}
