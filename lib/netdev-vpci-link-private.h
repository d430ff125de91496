/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_LINK_PRIVATE_H
#define NETDEV_VPCI_LINK_PRIVATE_H 1

/* What the files about links share: see netdev-vpci-link.h. */

#include "netdev-vpci-megaflow.h"
#include "netdev-vpci-keeper.h"
#include "netdev-vpci-link.h"
#include "vpci/edit.h"
#include "vpci/layout.h"
#include "vpci/projection.h"

/* A guest that has shown no life for so long, or takes nothing of what is in a
 * link, hangs: in ms. */
#define VPCI_SILENCE_MS 1000

extern struct ovs_mutex links_mutex;

/* All that is below is protected by it. */

/* A port. */
struct vpci_linker {
    struct ovs_list node;
    struct netdev_vpci *dev;
    const struct vpci_layout *layout;   /* Of its base region, */
    uint32_t region;            /* and the keeper's id of that, or 0. */

    /* As the port's options and state say. */
    char *consent;              /* options:links, or null: none. */
    char *statics;              /* options:links-static, or null: none. */
    uint32_t min_rate;          /* Packets a second that are worth a link. */
    bool is_up;
    bool is_policed;            /* What it receives, */
    bool is_shaped;             /* or what is sent to it. */
    int mtu;

    bool runs;                  /* 'guest' is there. */
    uint64_t n_starts;          /* That it has been. */
    struct vpci_linker_guest guest;
    uint64_t features;
    uint32_t n_queues;
    uint32_t n_links;           /* That the guest would use. */
    enum vpci_abi_class_by class_by; /* As it chooses classes. */
    uint32_t generation;        /* Of what it is told. */
    uint32_t heartbeat;         /* The guest's, when it last changed, */
    long long int heard_at;     /* which was then, in ms. */
    bool is_silent;             /* It hangs. */

    /* A switch that was here before may have left links, which go on as they
     * were until all has been learnt anew. */
    long long int started_at;   /* 'runs' since then. */

    struct vpci_link *links[VPCI_LINKS_MAX];
    struct vpci_lend *lend;     /* By which it borrows rings, or null. */
    struct vpci_steer *hints;
    unsigned long *entries;     /* Bitmap: places of counters and edits of
                                 * the guest that are in use. */
};

/* How far megaflows of one direction of a link have been moved.  First come
 * those that leave, then those that join. */
enum vpci_move {
    VPCI_MOVE_NONE,
    VPCI_MOVE_ON_HINTS,         /* The sender is to follow the hints, */
    VPCI_MOVE_ON_SWITCH,        /* the switch to pass on what came before, */
    VPCI_MOVE_ON_GUEST,         /* and the receiver to take that. */
    VPCI_MOVE_OFF_HINTS,        /* The sender is to follow the hints, */
    VPCI_MOVE_OFF_GUEST,        /* and the receiver to take what came
                                 * before. */
};

/* What a sender has for the switch, until that has passed it on. */
struct vpci_passage {
    uint32_t marks[VPCI_ABI_MAX_RINGS];
    bool passed[VPCI_MAX_QUEUE_PAIRS]; /* Queue by queue. */
    uint64_t polls[VPCI_MAX_QUEUE_PAIRS];
    uint64_t hold_until;        /* TSC. */
};

/* Packets that a receiver may say it has received, with what it could have, of
 * all megaflows, until then, in ms. */
struct vpci_link_budget {
    uint64_t packets;
    long long int at;
};

/* One way of a link. */
struct vpci_way {
    struct vpci_link *link;
    unsigned int from;          /* The end that sends: 0 or 1. */
    struct vpci_steer *acceptances;
    struct ovs_list flows;      /* Of struct vpci_link_flow. */
    size_t n_flows;

    /* Guests go by what another switch has told them, from which there are
     * neither megaflows nor entries here. */
    bool is_old;

    bool all_leave;             /* All megaflows are to leave it; and */
    long long int patient_until; /* policy allows what has been sent until
                                  * then, at least. */
    enum vpci_move move;
    uint32_t generation;        /* Of hints that the sender is to follow. */
    long long int since;        /* When the move has begun, in ms. */
    struct vpci_passage passage;
    uint32_t marks[VPCI_ABI_MAX_RINGS];

    /* Rings of the link: how far the receiver was, and when it got there or
     * had nothing to take, in ms. */
    uint32_t consumed[VPCI_ABI_MAX_RINGS];
    long long int taken_at[VPCI_ABI_MAX_RINGS];
    long long int watched_at;
    bool is_stuck;              /* It does not go on in one of them, */
    bool holds_up;              /* for that reason or since it hangs. */

    /* Packets that the receiver says it has refused: ever, at this place of
     * its, when it was asked last, in ms; and since its guests have met here, as
     * far as that is possible. */
    uint64_t said_refused;
    long long int said_refused_at;
    uint64_t n_refused;

    /* The last of these, in ms when; 0: never. */
    uint64_t refused;
    long long int refused_at;
    bool is_flooded;            /* It has had to refuse too many. */

    struct vpci_link_budget budget;

    uint64_t packets;
    uint64_t bytes;
    uint64_t n_moves;
    uint64_t n_late;            /* Moves that did not wait to the end: packets
                                 * may have been reordered. */
};

/* A megaflow on a link. */
struct vpci_link_flow {
    struct ovs_list node;       /* In the flows of its way. */
    struct vpci_way *way;
    struct vpci_flow *flow;     /* Or null, if it has gone.  Protected by the
                                 * mutex of the sender's offload. */
    union vpci_key mask;
    union vpci_key key;
    struct vpci_edits edits;
    bool changed;               /* It is not what it was.  Atomic. */
    long long int changed_at;   /* When that was seen, or 0. */
    bool joins;                 /* Packets may still be in the switch. */
    bool leaves;                /* It has no hint any more. */
    uint32_t hint;              /* Entries of tables. */
    uint32_t acceptance;
    uint32_t counter;           /* Of the receiver. */
    struct {
        uint64_t packets;
        uint64_t bytes;
    } seen[VPCI_MAX_QUEUE_PAIRS];
};

enum vpci_link_state {
    VPCI_LINK_ASKED,            /* The keeper is to make its region. */
    VPCI_LINK_OFFERED,          /* Both guests know of it. */
    VPCI_LINK_UP,               /* Both use it. */
    VPCI_LINK_DRAINING,         /* Megaflows leave it. */
    VPCI_LINK_WAITING,          /* For a guest that has begun anew, or until
                                 * guests may know of it (again). */
    VPCI_LINK_DOWN,             /* The keeper is to delete its region. */
};

/* Of an end whose guest does not know of the link. */
#define VPCI_LINK_NOWHERE UINT32_MAX

struct vpci_link_end {
    struct vpci_linker *linker;
    uint32_t place;             /* In the linker's 'links'; of a static link
                                 * that waits, VPCI_LINK_NOWHERE. */
    bool connected;             /* As the keeper says. */
    uint32_t peer;              /* ivshmem id of the guest there. */
};

struct vpci_link {
    struct ovs_list node;       /* In 'links'. */
    struct vpci_pair *pair;
    enum vpci_link_state state;
    long long int since;
    struct vpci_link_end ends[2];
    struct vpci_way ways[2];    /* From end 0, from end 1. */
    struct vpci_layout layout;
    void *memory;               /* Or null. */
    struct vpci_link_user user;
    bool registered;            /* 'user' is.  Main thread. */
    bool waits;                 /* A guest has ended, and is connected to it
                                 * still, as a virtual machine is that boots:
                                 * it drains, and is offered again. */
    bool guest_left;            /* That is why it ends, or waits. */
    bool is_static;             /* Instead of ending, it waits until it may be
                                 * offered again; unless */
    bool is_removed;            /* it goes for good. */
    unsigned int n_meetings;    /* Of its guests. */
    char *why;                  /* It ends, or null. */
};

/* Megaflows of a pair, one way, do without a link until then, in ms. */
struct vpci_rest {
    long long int until;
    int ms;                     /* How long the last one was. */
};

/* Two ports that may have a link. */
struct vpci_pair {
    struct ovs_list node;
    struct vpci_linker *linkers[2];
    struct vpci_link *link;     /* Or null. */
    uint64_t packets;           /* Between them, by megaflows that could take a
                                 * link, since it was looked last. */
    unsigned int n_busy;        /* Looks in a row that found enough of them. */
    uint64_t rate;              /* Of these, at the last look: packets a */
    uint64_t worth;             /* second; and how many a link is worth. */
    long long int used_at;      /* When there were any. */
    long long int not_before;   /* No link before. */
    struct vpci_rest rests[2];  /* From linker 0, from linker 1. */
    uint64_t n_links;           /* That there have been, */
    uint64_t n_late;            /* and moves of theirs that were late. */
    char *last_end;             /* Why the last one ended, or null. */
};

extern struct ovs_list linkers OVS_GUARDED_BY(links_mutex);
extern struct ovs_list links OVS_GUARDED_BY(links_mutex);
extern struct ovs_list pairs OVS_GUARDED_BY(links_mutex);

/* netdev-vpci-link.c */

/* True if the options and states of 'a' and 'b' allow links between them, and
 * their guests are there, and take any. */
bool vpci_linkers_may_link(const struct vpci_linker *a,
                           const struct vpci_linker *b)
    OVS_REQUIRES(links_mutex);

/* What whoever has agreed on 'features' of virtio-net may leave undone in a
 * packet, as what another guest has to take. */
uint64_t vpci_left_undone(uint64_t features);

/* The main thread is to call vpci_links_run(). */
void vpci_links_wake_main(void);

/* Makes the guest of 'linker' look at what it is told of links. */
void vpci_linker_ring(struct vpci_linker *) OVS_REQUIRES(links_mutex);

/* Forgets what another switch had at 'place' of 'linker', whose guest is
 * there. */
void vpci_linker_clear(struct vpci_linker *, uint32_t place)
    OVS_REQUIRES(links_mutex);

/* Returns the linkers' pair, which is made if need be. */
struct vpci_pair *vpci_pair_get(struct vpci_linker *, struct vpci_linker *)
    OVS_REQUIRES(links_mutex);

/* True while guests are to go by what another switch has told them. */
bool vpci_links_are_restoring(const struct vpci_linker *, long long int now)
    OVS_REQUIRES(links_mutex);

/* Tells it of hints. */
void vpci_linker_publish(struct vpci_linker *) OVS_REQUIRES(links_mutex);

/* True if the ports' options and states allow 'way'. */
bool vpci_way_is_allowed(const struct vpci_way *) OVS_REQUIRES(links_mutex);

/* True if 'way' may be used, as far as its ports go. */
bool vpci_way_is_possible(const struct vpci_way *)
    OVS_REQUIRES(links_mutex);

/* True if packets with 'edits' may take 'way' now, as far as its ports go. */
bool vpci_way_suits(const struct vpci_way *, const struct vpci_edits *edits)
    OVS_REQUIRES(links_mutex);

static inline struct vpci_linker *
vpci_way_sender(const struct vpci_way *way)
{
    return way->link->ends[way->from].linker;
}

static inline struct vpci_linker *
vpci_way_receiver(const struct vpci_way *way)
{
    return way->link->ends[!way->from].linker;
}

/* netdev-vpci-link-consent.c */

/* True if 'linker' is by its options ready to have a link with 'other'. */
bool vpci_linker_consents(const struct vpci_linker *,
                          const struct vpci_linker *other);

/* Returns null, or why the options of 'linker' keep it from links with 'other',
 * which the caller is to free. */
char *vpci_linker_objection(const struct vpci_linker *linker,
                            const struct vpci_linker *other)
    OVS_REQUIRES(links_mutex);

/* Returns null, or the first port that is in 'list', which may be null, and
 * that there is not, which the caller is to free. */
char *vpci_links_find_nobody(const char *list)
    OVS_REQUIRES(links_mutex);

/* True if the ports' options name each other as those that have a static
 * link. */
bool vpci_linkers_are_static(const struct vpci_linker *,
                             const struct vpci_linker *);

/* Returns null, or why 'linker', whose options:links-static names 'other', has
 * no static link with it all the same, which the caller is to free. */
char *vpci_linker_static_objection(const struct vpci_linker *linker,
                                   const struct vpci_linker *other);

/* netdev-vpci-link-begin.c */

/* Begins a link between the ports of 'pair', whose rings run. */
void vpci_link_begin(struct vpci_pair *pair) OVS_REQUIRES(links_mutex);

/* Goes on with the link that 'linker', whose guest has just come, had at
 * 'place' when another switch was here.  Returns false if that is not possible
 * yet. */
bool vpci_link_adopt(struct vpci_linker *linker, uint32_t place)
    OVS_REQUIRES(links_mutex);

/* Begins the static link of 'pair', which has none, and whose ports have base
 * regions. */
void vpci_link_begin_static(struct vpci_pair *pair) OVS_REQUIRES(links_mutex);

/* Chooses the layout of a link between 'a' and 'b', whose guests are there, or
 * of a static one, which has to do for whatever guests these ports may have.
 * Returns false if there can be none. */
bool vpci_link_choose_layout(const struct vpci_linker *a,
                             const struct vpci_linker *b, bool is_static,
                             struct vpci_layout *)
    OVS_REQUIRES(links_mutex);

/* Finds places for a link at both ends of 'pair'.  Returns false if one of its
 * guests has none, or takes no more. */
bool vpci_link_find_places(const struct vpci_pair *, uint32_t places[2])
    OVS_REQUIRES(links_mutex);

/* A static link has 'places', which are free, from now on. */
void vpci_link_take_places(struct vpci_link *, const uint32_t places[2])
    OVS_REQUIRES(links_mutex);

void vpci_link_free(struct vpci_link *) OVS_REQUIRES(links_mutex);

/* netdev-vpci-link-life.c */

/* What users of the keeper that links are do when it tells them something. */
extern const struct vpci_link_user_class vpci_link_class;

void vpci_link_set_state(struct vpci_link *, enum vpci_link_state)
    OVS_REQUIRES(links_mutex);

/* The name of the port at end 'end', 0 or 1. */
const char *vpci_link_end_name(const struct vpci_link *, unsigned int end);

/* Tells guests of a link whose memory is there, unless they know of it. */
void vpci_link_offer(struct vpci_link *) OVS_REQUIRES(links_mutex);

/* Begins to end it.  A static one waits then, and is offered again later. */
void vpci_link_end(struct vpci_link *, const char *why)
    OVS_REQUIRES(links_mutex);

/* Begins to end it for good, also a static one. */
void vpci_link_remove(struct vpci_link *, const char *why)
    OVS_REQUIRES(links_mutex);

/* Returns why its guests have not met, to be freed. */
char *vpci_link_why_not_met(const struct vpci_link *)
    OVS_REQUIRES(links_mutex);

/* The switch ends, and the link does not: nothing ends it from now on. */
void vpci_link_keep(struct vpci_link *) OVS_REQUIRES(links_mutex);

/* The guest of one of its ports, 'linker', is not there from now on.  Main
 * thread. */
void vpci_link_lose(struct vpci_link *, struct vpci_linker *linker,
                    bool may_return)
    OVS_REQUIRES(links_mutex);

/* Ends and frees it at once, since one of its ports goes.  Main thread. */
void vpci_link_kill(struct vpci_link *) OVS_REQUIRES(links_mutex);

/* Does what is due.  Returns true if it waits for something that will be
 * soon. */
bool vpci_link_run(struct vpci_link *, long long int now)
    OVS_REQUIRES(links_mutex);

/* Talks to the keeper.  Main thread. */
void vpci_link_run_main(struct vpci_link *) OVS_REQUIRES(links_mutex);

/* netdev-vpci-link-move.c */

/* Gives 'way' what it needs.  Returns 0 or a positive errno. */
int vpci_way_init(struct vpci_way *, struct vpci_link *, unsigned int from)
    OVS_REQUIRES(links_mutex);
void vpci_way_uninit(struct vpci_way *) OVS_REQUIRES(links_mutex);

/* True if guests have no reason to use it. */
static inline bool
vpci_way_is_empty(const struct vpci_way *way)
{
    return !way->n_flows && !way->is_old;
}

/* True if another megaflow may join. */
bool vpci_way_has_room(const struct vpci_way *) OVS_REQUIRES(links_mutex);

/* Lets 'flow' join, which has an entry in the table of 'o', and 'edits', in
 * the next move. */
void vpci_way_add(struct vpci_way *way, struct vpci_offload *o,
                  struct vpci_flow *flow, const struct vpci_edits *edits)
    OVS_REQUIRES(links_mutex) OVS_REQUIRES(o->mutex);

/* All leave. */
void vpci_way_leave(struct vpci_way *) OVS_REQUIRES(links_mutex);

/* Forgets all of them at once. */
void vpci_way_clear(struct vpci_way *) OVS_REQUIRES(links_mutex);

/* Moves megaflows, and counts.  Returns true if a move is under way. */
bool vpci_way_run(struct vpci_way *, long long int now)
    OVS_REQUIRES(links_mutex);

/* netdev-vpci-link-count.c */

/* Forgets what 'to', which counts, had counted before 'lf' got its counter. */
void vpci_link_flow_start_counting(struct vpci_link_flow *lf,
                                   const struct vpci_linker *to);

/* Adds what 'to', whose guest is there, has counted for 'lf' since it was asked
 * last, as far as that is possible by '*budget' until 'now', in ms, to
 * '*sum'. */
void vpci_link_flow_read(struct vpci_link_flow *lf,
                         const struct vpci_linker *to,
                         struct vpci_link_budget *budget, long long int now,
                         struct vpci_steer_stats *sum);

/* Counts '*stats' for the megaflow of 'lf', of the offload 'o', or for what
 * comes in its place. */
void vpci_link_flow_credit(struct vpci_offload *o,
                           const struct vpci_link_flow *lf,
                           const struct vpci_steer_stats *stats)
    OVS_REQUIRES(o->mutex);

/* Counts what has gone from one port to another one, past the switch.  At the
 * second one, packets have become longer by 'growth' bytes each. */
void vpci_linked_count(struct vpci_linked *from, struct vpci_linked *to,
                       const struct vpci_steer_stats *stats, int growth);

/* Counts what the receiver has counted for 'lf', of the offload 'o' or of
 * none, until 'now', in ms. */
void vpci_link_flow_count(struct vpci_link_flow *lf, struct vpci_offload *o,
                          long long int now)
    OVS_REQUIRES(links_mutex);

/* Does so for all. */
void vpci_way_count(struct vpci_way *, long long int now)
    OVS_REQUIRES(links_mutex);

/* Forgets what the receiver has refused until 'now', in ms. */
void vpci_way_forget_refused(struct vpci_way *, long long int now)
    OVS_REQUIRES(links_mutex);

/* Counts what it has refused since.  Returns how many packets it says that these
 * are, and in '*most' how many there can be. */
uint64_t vpci_way_count_refused(struct vpci_way *, long long int now,
                                uint64_t *most)
    OVS_REQUIRES(links_mutex);

/* netdev-vpci-link-wait.c
 *
 * What is marked replaces what was marked before. */

/* True if the guest at end 'i' of the link can be waited for. */
bool vpci_way_has_guest(const struct vpci_way *, unsigned int i)
    OVS_REQUIRES(links_mutex);

/* True if all queues of 'from', whose guest is there, follow the hints of
 * 'generation'. */
bool vpci_linker_follows_hints(const struct vpci_linker *from,
                               uint32_t generation);

/* Marks what 'from', whose guest is there, has for the switch now; returns true
 * if the switch has passed that on. */
void vpci_passage_begin(struct vpci_passage *, const struct vpci_linker *from);
bool vpci_passage_is_over(struct vpci_passage *,
                          const struct vpci_linker *from);

/* Marks what the switch has for the receiver, which is there; returns true if
 * it has taken that. */
void vpci_way_mark_receiver(struct vpci_way *) OVS_REQUIRES(links_mutex);
bool vpci_way_receiver_has_taken(const struct vpci_way *)
    OVS_REQUIRES(links_mutex);

/* Marks what is in the link; returns true if the receiver has taken that. */
void vpci_way_mark_link(struct vpci_way *) OVS_REQUIRES(links_mutex);
bool vpci_way_link_is_taken(const struct vpci_way *)
    OVS_REQUIRES(links_mutex);

/* netdev-vpci-link-rest.c */

/* Finds out whether the receiver takes what is in the link, and whether it has
 * to refuse much of that. */
void vpci_way_watch(struct vpci_way *, long long int now)
    OVS_REQUIRES(links_mutex);

/* Megaflows of the pair, both ways, do without a link for a while. */
void vpci_pair_rest(struct vpci_pair *, long long int now)
    OVS_REQUIRES(links_mutex);

/* For how long megaflows from 'from' are to do without a link of the pair, in
 * ms, or 0. */
long long int vpci_pair_rests(const struct vpci_pair *,
                              const struct vpci_linker *from,
                              long long int now)
    OVS_REQUIRES(links_mutex);

/* netdev-vpci-link-static.c */

/* Makes static links that are wanted. */
void vpci_links_begin_static(long long int now) OVS_REQUIRES(links_mutex);

/* Finds out whether the static link of 'pair' is to go, or to wait. */
void vpci_links_look_at_static(struct vpci_pair *pair)
    OVS_REQUIRES(links_mutex);

#endif /* netdev-vpci-link-private.h */
