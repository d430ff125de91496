/* SPDX-License-Identifier: Apache-2.0 */

#ifndef VPCID_REGION_H
#define VPCID_REGION_H 1

#include <stdbool.h>
#include <stdint.h>

#include "listener.h"
#include "openvswitch/hmap.h"
#include "openvswitch/list.h"
#include "peer-id.h"
#include "vpci/keeper.h"

/* Regions: memory, and the ends that clients connect to.
 *
 * Threads: the main thread only. */

struct client;

/* Why a connection was not taken, or not kept. */
#define REFUSALS                                                        \
    REFUSAL(BUSY, "busy", "the end has a client already")               \
    REFUSAL(SENT, "sent", "it sent data, which ivshmem clients do not") \
    REFUSAL(SLOW, "slow", "it does not read")                           \
    REFUSAL(NO_FDS, "no-descriptors", "no descriptors are left")        \
    REFUSAL(NO_IDS, "no-ids", "no ivshmem ids are left")                \
    REFUSAL(ERROR, "error", "its socket failed")

enum refusal {
#define REFUSAL(ENUM, NAME, TEXT) REFUSAL_##ENUM,
    REFUSALS
#undef REFUSAL
    N_REFUSALS
};

const char *refusal_name(enum refusal);     /* A word. */
const char *refusal_text(enum refusal);     /* The rest of a sentence. */

/* What the switch has been told of an end, on the connection that it has. */
struct told {
    struct ovs_list node;       /* Among the ends that it is behind with, or
                                 * empty. */
    uint64_t serial;            /* Of the client that it has been told of; 0 if
                                 * of none. */
    uint32_t id;                /* That client's ivshmem id. */
    bool over;                  /* It knows that the end is over. */
};

/* A side of a region that a client can connect to. */
struct end {
    struct region *region;
    int index;                  /* 0 or 1. */
    char *path;                 /* Of its socket. */
    struct listener listener;   /* Closed once the end is over. */
    struct listener by_id;      /* Of a static link: a second socket, whose
                                 * path has the region's id. */
    struct client *client;      /* Null if there is none. */
    bool over;                  /* Of a link that is not static: its client has
                                 * gone. */

    uint64_t n_clients;         /* That it has ever had. */
    uint64_t n_refused[N_REFUSALS];

    /* The client that has gone, if the switch has not been told. */
    uint32_t gone_id;
    char gone_text[VPCI_KEEPER_TEXT_SIZE];

    struct told told;
};

struct region {
    struct ovs_list node;       /* In 'regions', by ascending id. */
    struct hmap_node id_node;   /* In an index of regions by id. */
    uint32_t id;                /* Not 0. */
    enum vpci_keeper_kind kind;
    uint64_t size;              /* In bytes. */
    uint64_t private_size;      /* In bytes; 0 but in base regions. */
    uint32_t n_vectors;         /* Of each end. */
    int memory;                 /* A sealed memfd, or a file of the switch's in
                                 * the region of a peer. */
    int private_memory;         /* A sealed memfd; -1 but in base regions. */
    struct region *base[2];     /* Of links, and the first of peers; otherwise
                                 * null. */
    bool is_static;             /* A link that clients may leave, and connect
                                 * to again. */
    bool attached;              /* The switch has added or adopted it on the
                                 * connection that it has. */
    int n_ends;                 /* 1 or 2. */
    struct end ends[2];
};

/* All regions. */
extern struct ovs_list regions;

/* Adds a base region, or finds one that is there with the same parameters.
 *
 * Returns 0 with '*regionp' and '*adopted' set, or a positive errno and, in
 * '*textp', a text for people, which the caller frees. */
int region_add_base(const struct vpci_keeper_base_add *,
                    struct region **regionp, bool *adopted, char **textp);

/* Adds a link.  Returns 0 with '*regionp' set, or as above. */
int region_add_link(const struct vpci_keeper_link_add *,
                    struct region **regionp, char **textp);

/* Adds a static link, or finds the one that is there with the same parameters.
 * One with others is deleted first.
 *
 * Returns 0 with '*regionp' and '*adopted' set, or as above. */
int region_add_static(const struct vpci_keeper_static_add *,
                      struct region **regionp, bool *adopted, char **textp);

/* Adds the region of a peer with memory '*memory', which it takes, leaving -1;
 * or finds the one that is there, with the same file and parameters, and
 * leaves '*memory' alone.
 *
 * Returns 0 with '*regionp' and '*adopted' set, or as above. */
int region_add_peer(const struct vpci_keeper_peer_add *, int *memory,
                    struct region **regionp, bool *adopted, char **textp);

/* Deletes 'region', and its links and its peer's if it is a base: disconnects
 * clients and unlinks sockets.  Returns how many regions that were. */
uint32_t region_delete(struct region *);

/* Deletes all regions. */
void regions_delete_all(void);

/* Finds a region by its id, or returns null. */
struct region *region_find(uint32_t id);

uint32_t regions_count(void);

/* Returns how many eventfds we make for the vectors of a client: one in the
 * region of a peer, where the others are the peer's. */
uint32_t region_n_eventfds(const struct region *);

/* The range that its clients have their ids from. */
enum peer_id_range region_ids(const struct region *);

/* Describes 'region' in '*msg'. */
void region_describe(const struct region *, struct vpci_keeper_region *msg);

/* Starts to accept clients at 'end', which listens.  Returns 0 or a positive
 * errno. */
int end_watch(struct end *);

/* Ends an end of a link that is not static for good. */
void end_close(struct end *);

enum vpci_keeper_end end_state(const struct end *);

/* Parts of region_add_*() for regions that an earlier program has made. */
struct region *region_create(enum vpci_keeper_kind, uint32_t id);
void region_insert(struct region *);
void region_destroy(struct region *);
char *region_check(const struct region *);
bool region_is_good_path(const char *path);

/* The id of the next region. */
uint32_t region_next_id(void);
void region_set_next_id(uint32_t id);

#endif /* vpcid/region.h */
