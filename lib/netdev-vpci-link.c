/* SPDX-License-Identifier: Apache-2.0 */

/* Which ports may have links, which pairs of them have one, and the thread
 * that looks after all that: see netdev-vpci-link.h. */

#include "netdev-vpci-link-private.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <unistd.h>

#include "bitmap.h"
#include "netdev-vpci-actions.h"
#include "netdev-vpci-link-edit.h"
#include "netdev-vpci-lend.h"
#include "netdev-vpci-match.h"
#include "netdev-vpci-message.h"
#include "ofproto/ofproto.h"
#include "openvswitch/poll-loop.h"
#include "ovs-thread.h"
#include "seq.h"
#include "timeval.h"
#include "vpci/doorbell.h"

/* How often megaflows are looked at, to find out what is worth a link; in
 * ms. */
#define LOOK_MS 200

/* How often those on links are looked at.  A change of policy holds after
 * this, and two moves. */
#define RUN_MS 10

/* Of a base region. */
#define GUEST_SIDE 1

/* How long to sleep while guests are about to do something, in us. */
#define MOVE_US 100

/* Looks in a row that must have found a pair busy; and how long one that is
 * idle keeps its link, in ms. */
#define BUSY_LOOKS 3
#define IDLE_MS 30000

/* How long what another switch has told guests may hold, at most, once there
 * are flow tables again; in ms. */
#define RESTORE_MS 1000

struct ovs_mutex links_mutex = OVS_MUTEX_INITIALIZER;
struct ovs_list linkers OVS_GUARDED_BY(links_mutex)
    = OVS_LIST_INITIALIZER(&linkers);
struct ovs_list links OVS_GUARDED_BY(links_mutex)
    = OVS_LIST_INITIALIZER(&links);
struct ovs_list pairs OVS_GUARDED_BY(links_mutex)
    = OVS_LIST_INITIALIZER(&pairs);

static struct seq *thread_seq;  /* Changes when the thread is to look. */
static struct seq *main_seq;    /* Changes when the main thread is... */
static uint64_t main_seen;      /* ...which has seen this one. */

void
vpci_links_wake(void)
{
    seq_change(thread_seq);
}

void
vpci_links_wake_main(void)
{
    seq_change(main_seq);
}

/* What guests are told. */

void
vpci_linker_ring(struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_abi_port *port;

    if (!linker->runs) {
        return;
    }
    port = vpci_layout_port(linker->guest.memory);
    vpci_store32_release(&port->generation, ++linker->generation);
    if (linker->guest.control_fd >= 0
        && vpci_doorbell_ring(linker->guest.control_fd) == ETIMEDOUT) {
        /* The guest looks by itself, sooner or later. */
        linker->guest.control_fd = -1;
        vpci_filter_note_abuse(linker->dev);
    }
}

void
vpci_linker_publish(struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    if (linker->runs) {
        vpci_projection_publish(linker->hints,
                                vpci_layout_hints(linker->guest.layout,
                                                  linker->guest.memory),
                                &linker->guest.past->hints);
        vpci_linker_ring(linker);
    }
}

/* Who may have links. */

static bool
is_auto(const struct vpci_linker *linker)
{
    return linker->consent && !strcmp(linker->consent, "auto");
}

static bool
pair_is_allowed(const struct vpci_linker *a, const struct vpci_linker *b)
{
    return (a != b && vpci_linker_consents(a, b) && vpci_linker_consents(b, a)
            && a->is_up && b->is_up);
}

static bool
pair_is_possible(const struct vpci_linker *a, const struct vpci_linker *b)
{
    return (pair_is_allowed(a, b) && a->runs && b->runs && a->n_links
            && b->n_links);
}

bool
vpci_linkers_may_link(const struct vpci_linker *a,
                      const struct vpci_linker *b)
    OVS_REQUIRES(links_mutex)
{
    return pair_is_possible(a, b);
}

#define FEATURE(NAME) (UINT64_C(1) << VIRTIO_NET_F_##NAME)

/* What a guest may have agreed to take undone. */
#define TAKES (FEATURE(GUEST_CSUM) | FEATURE(GUEST_TSO4)            \
               | FEATURE(GUEST_TSO6) | FEATURE(GUEST_ECN)           \
               | FEATURE(GUEST_UFO))

uint64_t
vpci_left_undone(uint64_t features)
{
    static const struct {
        uint64_t leaves, takes;
    } map[] = {
        { FEATURE(CSUM), FEATURE(GUEST_CSUM) },
        { FEATURE(HOST_TSO4), FEATURE(GUEST_TSO4) },
        { FEATURE(HOST_TSO6), FEATURE(GUEST_TSO6) },
        { FEATURE(HOST_ECN), FEATURE(GUEST_ECN) },
        { FEATURE(HOST_UFO), FEATURE(GUEST_UFO) },
    };
    uint64_t takes = 0;

    for (size_t i = 0; i < ARRAY_SIZE(map); i++) {
        if (features & map[i].leaves) {
            takes |= map[i].takes;
        }
    }
    return takes;
}

/* A link would pass the policers of these, and has no others. */
static bool
way_is_allowed(const struct vpci_linker *from, const struct vpci_linker *to)
{
    return (pair_is_allowed(from, to) && !from->is_policed && !to->is_shaped
            && from->mtu <= to->mtu);
}

/* What the sender may leave undone both must have agreed on: packets of a flow
 * that have to go different ways could overtake each other. */
static bool
way_is_possible(const struct vpci_linker *from, const struct vpci_linker *to)
{
    return (pair_is_possible(from, to) && way_is_allowed(from, to)
            && !((vpci_left_undone(from->features) | (from->features & TAKES))
                 & ~(from->features & to->features)));
}

bool
vpci_way_is_allowed(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    return way_is_allowed(vpci_way_sender(way), vpci_way_receiver(way));
}

bool
vpci_way_is_possible(const struct vpci_way *way)
    OVS_REQUIRES(links_mutex)
{
    return (!way->link->why && way->link->state == VPCI_LINK_UP && !way->is_old
            && !vpci_way_receiver(way)->is_silent && !way->is_stuck
            && way_is_possible(vpci_way_sender(way), vpci_way_receiver(way)));
}

/* What the sender does not know must not matter: the class that a packet will
 * have, and what is too long for the receiver and not for itself. */
static bool
edits_suit(const struct vpci_linker *from, const struct vpci_linker *to,
           const struct vpci_edits *edits)
{
    return (!edits->n
            || (!vpci_edits_change_class(edits, from->class_by)
                && !vpci_edits_change_class(edits, to->class_by)
                && (edits->growth <= 0 || from->mtu == to->mtu)));
}

bool
vpci_way_suits(const struct vpci_way *way, const struct vpci_edits *edits)
    OVS_REQUIRES(links_mutex)
{
    return edits_suit(vpci_way_sender(way), vpci_way_receiver(way), edits);
}

/* True if its guest may still go by edits that another switch has written. */
static bool
has_old_edits(const struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    for (uint32_t i = 0; i < VPCI_LINKS_MAX; i++) {
        const struct vpci_link *link = linker->links[i];

        if (link ? link->ways[0].is_old || link->ways[1].is_old
            : linker->guest.past->links[i].id != 0) {
            return true;
        }
    }
    return false;
}

static struct vpci_linker *
find_linker(const struct netdev_vpci *dev)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *linker;

    LIST_FOR_EACH (linker, node, &linkers) {
        if (linker->dev == dev) {
            return linker;
        }
    }
    return NULL;
}

static struct vpci_pair *
find_pair(const struct vpci_linker *a, const struct vpci_linker *b)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_pair *pair;

    LIST_FOR_EACH (pair, node, &pairs) {
        if ((pair->linkers[0] == a && pair->linkers[1] == b)
            || (pair->linkers[0] == b && pair->linkers[1] == a)) {
            return pair;
        }
    }
    return NULL;
}

struct vpci_pair *
vpci_pair_get(struct vpci_linker *a, struct vpci_linker *b)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_pair *pair = find_pair(a, b);

    if (!pair) {
        pair = xzalloc(sizeof *pair);
        pair->linkers[0] = a;
        pair->linkers[1] = b;
        ovs_list_push_back(&pairs, &pair->node);
    }
    return pair;
}

static void
free_pair(struct vpci_pair *pair)
    OVS_REQUIRES(links_mutex)
{
    ovs_list_remove(&pair->node);
    free(pair->last_end);
    free(pair);
}

/* Megaflows. */

/* Where all packets of 'flow' go, as they are or with edits, or null. */
static struct vpci_linker *
get_destination(const struct vpci_flow *flow)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_program *program = flow->program;
    struct netdev_vpci *dev;

    if (!program || flow->entry == VPCI_STEER_NONE
        || program->n_ops != program->n_edits + 1
        || !vpci_program_is_current(program)) {
        return NULL;
    }
    /* What is changed behind the last output is no part of it. */
    dev = vpci_target_dev(program->ops[program->n_edits].target);
    return dev ? find_linker(dev) : NULL;
}

/* Stores in '*edits' what becomes of packets of 'flow', which has a program.
 * Returns false if guests at the ends of a link from 'from' to 'to' cannot be
 * left to do that. */
static bool
get_edits(const struct vpci_offload *o, const struct vpci_flow *flow,
          const struct vpci_linker *from, const struct vpci_linker *to,
          struct vpci_edits *edits)
    OVS_REQUIRES(o->mutex)
{
    union vpci_key mask, key;
    uint64_t verdict;

    return (vpci_steer_get(o->source.table, flow->entry, &mask, &key,
                           &verdict)
            && vpci_program_get_edits(flow->program, &mask, &key, edits)
            && edits_suit(from, to, edits));
}

/* Looks at what goes from 'from' to others. */
static void
look_at_flow(struct vpci_linker *from, struct vpci_offload *o,
             struct vpci_flow *flow, long long int now)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(o->mutex)
{
    struct vpci_linker *to = get_destination(flow);
    struct vpci_edits edits;
    struct vpci_pair *pair;
    struct vpci_way *way;
    uint64_t n;

    vpci_residues_give(o, flow);
    if (!to || !way_is_possible(from, to)) {
        return;
    }
    n = vpci_flow_count_new(o, flow);
    if (!n || flow->link || !get_edits(o, flow, from, to, &edits)) {
        return;
    }
    pair = vpci_pair_get(from, to);
    if (vpci_pair_rests(pair, from, now)) {
        return;
    }
    pair->packets += n;
    if (pair->link) {
        way = &pair->link->ways[pair->link->ends[1].linker == from];
        if (vpci_way_is_possible(way) && vpci_way_has_room(way)
            && (!edits.n || !has_old_edits(to))) {
            vpci_way_add(way, o, flow, &edits);
        }
    }
}

static void
look_at_port(struct vpci_linker *from, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_offload *o = vpci_offload_get(&from->dev->up);
    struct vpci_flow *flow;

    if (!o || (!from->consent && !from->statics) || !from->runs) {
        return;
    }
    ovs_mutex_lock(&o->mutex);
    HMAP_FOR_EACH (flow, node, &o->flows) {
        look_at_flow(from, o, flow, now);
    }
    vpci_residues_expire(o, now);
    ovs_mutex_unlock(&o->mutex);
}

/* Begins and ends links. */
static void
look_at_pair(struct vpci_pair *pair, long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *a = pair->linkers[0], *b = pair->linkers[1];
    bool is_static = vpci_linkers_are_static(a, b);
    bool chosen = is_static || (!is_auto(a) && !is_auto(b));
    uint64_t enough = (chosen ? 1 : (uint64_t) MAX(a->min_rate, b->min_rate)
                                    * LOOK_MS / 1000);

    pair->n_busy = pair->packets && pair->packets >= enough
                   ? pair->n_busy + 1 : 0;
    pair->rate = pair->packets * 1000 / LOOK_MS;
    pair->worth = chosen ? 1 : MAX(a->min_rate, b->min_rate);
    if (pair->packets) {
        pair->used_at = now;
    }
    pair->packets = 0;
    if (pair->link && pair->link->is_static) {
        vpci_links_look_at_static(pair);
    } else if (pair->link && is_static) {
        vpci_link_end(pair->link, "its ports are to have a static one");
    } else if (!pair->link) {
        if (!is_static && pair->n_busy >= (chosen ? 1 : BUSY_LOOKS)
            && now >= pair->not_before && pair_is_possible(a, b)) {
            vpci_link_begin(pair);
        }
    } else if (!(pair->link->waits ? pair_is_allowed(a, b)
                 : pair_is_possible(a, b))) {
        vpci_link_end(pair->link, "the ports' options or states do not allow "
                                  "it any more");
    } else if (!chosen && now - pair->used_at > IDLE_MS) {
        vpci_link_end(pair->link, "nothing has used it for a while");
    }
}

/* Links of another switch. */

void
vpci_linker_clear(struct vpci_linker *linker, uint32_t place)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker_guest *guest = &linker->guest;
    struct vpci_abi_link *abi = vpci_layout_link(guest->layout, guest->memory,
                                                 place);

    vpci_store32_release(&abi->id, 0);
    vpci_projection_revoke(
        vpci_layout_acceptances(guest->layout, guest->memory, place),
        &guest->past->links[place].acceptances);
    guest->past->links[place].id = 0;
}

bool
vpci_links_are_restoring(const struct vpci_linker *linker, long long int now)
    OVS_REQUIRES(links_mutex)
{
    return (ofproto_get_flow_restore_wait()
            || now - linker->started_at < RESTORE_MS);
}

/* There are none. */
static void
clear_links(struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    for (uint32_t i = 0; i < VPCI_LINKS_MAX; i++) {
        vpci_linker_clear(linker, i);
    }
    vpci_linker_publish(linker);
}

/* Links that another switch has left go on, as soon as both of their guests
 * are there. */
static void
adopt_links(struct vpci_linker *linker)
    OVS_REQUIRES(links_mutex)
{
    bool any = false;

    for (uint32_t i = 0; i < VPCI_LINKS_MAX; i++) {
        if (!linker->links[i] && linker->guest.past->links[i].id) {
            vpci_link_adopt(linker, i);
            any = true;
        }
    }
    if (!any) {
        vpci_linker_publish(linker);
    }
}

/* Forgets those whose other guest has not come. */
static void
forget_links(struct vpci_linker *linker, long long int now)
    OVS_REQUIRES(links_mutex)
{
    bool any = false;

    if (!linker->runs || vpci_links_are_restoring(linker, now)) {
        return;
    }
    for (uint32_t i = 0; i < VPCI_LINKS_MAX; i++) {
        if (!linker->links[i] && linker->guest.past->links[i].id) {
            vpci_linker_clear(linker, i);
            any = true;
        }
    }
    if (any) {
        vpci_linker_publish(linker);
    }
}

static void
look(long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *linker;
    struct vpci_pair *pair;

    LIST_FOR_EACH (linker, node, &linkers) {
        forget_links(linker, now);
        look_at_port(linker, now);
    }
    LIST_FOR_EACH (pair, node, &pairs) {
        look_at_pair(pair, now);
    }
    vpci_links_begin_static(now);
}

/* Finds out which guests hang.  If we did ourselves, for longer than from
 * 'last' to 'now' is usual, nobody is blamed. */
static void
listen_to_guests(long long int last, long long int now)
    OVS_REQUIRES(links_mutex)
{
    bool late = now - last > VPCI_SILENCE_MS / 2;
    struct vpci_linker *linker;

    LIST_FOR_EACH (linker, node, &linkers) {
        uint32_t heartbeat;

        if (!linker->runs) {
            continue;
        }
        heartbeat = vpci_load32(
            &vpci_layout_state(linker->guest.layout, linker->guest.memory,
                               GUEST_SIDE)->heartbeat);
        if (heartbeat != linker->heartbeat || late) {
            linker->heartbeat = heartbeat;
            linker->heard_at = now;
        }
        linker->is_silent = now - linker->heard_at > VPCI_SILENCE_MS;
    }
}

/* The thread. */

static void *
links_main(void *aux OVS_UNUSED)
{
    long long int look_at = 0, last = 0;

    for (;;) {
        uint64_t seq = seq_read(thread_seq);
        long long int now = time_msec();
        struct vpci_link *link;
        bool soon = vpci_lends_step(now), any, may;

        ovs_mutex_lock(&links_mutex);
        listen_to_guests(last, now);
        last = now;
        if (now >= look_at) {
            look(now);
            look_at = now + LOOK_MS;
        }
        LIST_FOR_EACH (link, node, &links) {
            soon |= vpci_link_run(link, now);
        }
        any = !ovs_list_is_empty(&links) || vpci_lends_exist();
        may = !ovs_list_is_empty(&linkers);
        ovs_mutex_unlock(&links_mutex);

        if (soon) {
            ovsrcu_quiesce_start();
            usleep(MOVE_US);
            ovsrcu_quiesce_end();
            continue;
        }
        if (any || may) {
            poll_timer_wait_until(any ? now + RUN_MS : look_at);
        }
        seq_wait(thread_seq, seq);
        poll_block();
    }
    return NULL;
}

static void
start_thread(void)
{
    static struct ovsthread_once once = OVSTHREAD_ONCE_INITIALIZER;

    if (ovsthread_once_start(&once)) {
        thread_seq = seq_create();
        main_seq = seq_create();
        ovs_thread_create("vpci_links", links_main, NULL);
        ovsthread_once_done(&once);
    }
}

/* Ports. */

struct vpci_linker *
vpci_linker_create(struct netdev_vpci *dev, const struct vpci_layout *layout)
{
    struct vpci_linker *linker = xzalloc(sizeof *linker);

    start_thread();
    linker->dev = dev;
    linker->layout = layout;
    linker->entries = bitmap_allocate(VPCI_LINK_ENTRIES);
    linker->hints = vpci_steer_create(VPCI_LINK_ENTRIES, 1);
    if (!linker->hints) {
        out_of_memory();
    }
    ovs_mutex_lock(&links_mutex);
    ovs_list_push_back(&linkers, &linker->node);
    ovs_mutex_unlock(&links_mutex);
    return linker;
}

void
vpci_linker_destroy(struct vpci_linker *linker)
{
    struct vpci_pair *pair;

    vpci_linker_stop(linker, false);
    ovs_mutex_lock(&links_mutex);
    ovs_list_remove(&linker->node);
    LIST_FOR_EACH_SAFE (pair, node, &pairs) {
        if (pair->linkers[0] != linker && pair->linkers[1] != linker) {
            continue;
        }
        if (pair->link) {
            vpci_link_kill(pair->link);
        }
        free_pair(pair);
    }
    ovs_mutex_unlock(&links_mutex);
    vpci_steer_destroy(linker->hints);
    bitmap_free(linker->entries);
    free(linker->consent);
    free(linker->statics);
    free(linker);
}

void
vpci_linker_set_region(struct vpci_linker *linker, uint32_t region)
{
    ovs_mutex_lock(&links_mutex);
    linker->region = region;
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

void
vpci_linker_start(struct vpci_linker *linker,
                  const struct vpci_linker_guest *guest)
{
    ovs_mutex_lock(&links_mutex);
    linker->guest = *guest;
    linker->features = vpci_channel_features(guest->channel);
    linker->n_queues = vpci_channel_n_queues(guest->channel);
    linker->class_by = linker->dev->classes.by;
    linker->n_links = MIN(vpci_channel_n_links(guest->channel),
                          VPCI_LINKS_MAX);
    linker->runs = true;
    linker->started_at = linker->heard_at = time_msec();
    vpci_store32(&vpci_layout_port(guest->memory)->max_vlans,
                 vpci_max_vlans());
    if (guest->resumed && !linker->n_starts) {
        adopt_links(linker);
    } else {
        clear_links(linker);
    }
    linker->n_starts++;
    if (linker->lend) {
        vpci_lend_guest_begins(linker->lend);
    }
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

void
vpci_linker_stop(struct vpci_linker *linker, bool may_return)
{
    ovs_mutex_lock(&links_mutex);
    if (linker->runs) {
        for (uint32_t i = 0; i < VPCI_LINKS_MAX; i++) {
            if (linker->links[i]) {
                vpci_link_lose(linker->links[i], linker, may_return);
            }
        }
        if (linker->lend) {
            vpci_lend_guest_ends(linker->lend);
        }
        linker->runs = false;
    }
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

void
vpci_linker_set_doorbell(struct vpci_linker *linker, int control_fd)
{
    ovs_mutex_lock(&links_mutex);
    linker->guest.control_fd = control_fd;
    ovs_mutex_unlock(&links_mutex);
}

void
vpci_linker_update(struct vpci_linker *linker)
{
    struct netdev_vpci *dev = linker->dev;

    ovs_mutex_lock(&links_mutex);
    free(linker->consent);
    linker->consent = nullable_xstrdup(dev->config.links);
    free(linker->statics);
    linker->statics = nullable_xstrdup(dev->config.links_static);
    linker->min_rate = dev->config.links_min_rate;
    linker->is_up = (dev->flags & NETDEV_UP) != 0;
    linker->is_policed = ovsrcu_get(struct vpci_policer *,
                                    &dev->ingress) != NULL;
    linker->is_shaped = ovsrcu_get(struct vpci_policer *,
                                   &dev->egress) != NULL;
    linker->mtu = dev->mtu;
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

void
vpci_linked_add_counters(const struct vpci_linked *linked,
                         struct vpci_counters *rx, struct vpci_counters *tx)
{
    rx->linked_packets = vpci_counter_read(&linked->rx_packets);
    tx->linked_packets = vpci_counter_read(&linked->tx_packets);
    rx->packets += rx->linked_packets;
    tx->packets += tx->linked_packets;
    rx->bytes += vpci_counter_read(&linked->rx_bytes);
    tx->bytes += vpci_counter_read(&linked->tx_bytes);
}

void
vpci_links_keep(void)
{
    struct vpci_linker *linker;
    struct vpci_link *link;

    ovs_mutex_lock(&links_mutex);
    LIST_FOR_EACH (link, node, &links) {
        vpci_link_keep(link);
    }
    /* Nobody tells their guests anything any more. */
    LIST_FOR_EACH (linker, node, &linkers) {
        linker->runs = false;
    }
    ovs_mutex_unlock(&links_mutex);
}

void
vpci_links_run(void)
{
    struct vpci_link *link;

    if (!main_seq) {
        return;
    }
    main_seen = seq_read(main_seq);
    ovs_mutex_lock(&links_mutex);
    LIST_FOR_EACH_SAFE (link, node, &links) {
        vpci_link_run_main(link);
    }
    ovs_mutex_unlock(&links_mutex);
}

void
vpci_links_wait(void)
{
    if (main_seq) {
        seq_wait(main_seq, main_seen);
    }
}
