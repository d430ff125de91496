/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NET_WORLD_H
#define NET_WORLD_H 1

/* A switch with two ports and a link between them, for tests: each port has a
 * guest, or the second one has a peer made by hand, which can do what no guest
 * does.  The switch forwards nothing by itself. */

#include "edit.h"
#include "net-switch.h"
#include "vpci/net.h"
#include "vpci/steer.h"

#define WORLD_LINK_ID 5
#define WORLD_TIMEOUT_MS 20000

/* Bytes of most packets. */
#define WORLD_LEN 64

struct world_port {
    struct net_switch s;
    struct vpci_net *net;
    struct vpci_net_config config;

    /* What the switch says, and has said. */
    struct vpci_steer *hints;
    struct vpci_steer *acceptances;
    uint32_t hints_generation;
    uint32_t acceptances_generation;

    struct net_server server;   /* Of the link. */
    bool served;
    int fds[VPCI_ABI_MAX_VECTORS];
};

/* Another link of guest 0, whose peer is made by hand. */
struct world_second {
    struct vpci_layout layout;
    struct net_server server;
    int memory_fd;
    void *memory;               /* Mapped. */
    struct vpci_channel *peer;  /* Side 1, or null: there is no such link. */
};

struct world {
    struct world_port ports[2];
    uint32_t slot;              /* Of the link, in both ports. */
    struct vpci_layout layout;  /* Of the link. */
    int memory_fd;
    void *link;                 /* Mapped. */
    struct vpci_channel *peer;  /* By hand: side 1 of the link, or null. */
    uint64_t peer_features;
    uint32_t peer_epoch;
    int64_t ahead_ms;           /* How much later it is for guests. */
    struct world_second second;
};

/* What links and bases have in most tests. */
extern const struct vpci_shape world_base_shape;
extern const struct vpci_shape world_link_shape;

/* Makes a world whose guests, or guest and peer by hand, have met the switch
 * and each other.  '*config' is that of guests, or null. */
bool world_init(struct world *w, const struct vpci_shape *base,
                const struct vpci_shape *link,
                const struct vpci_net_config *config, bool two_guests);
void world_uninit(struct world *w);

/* Everybody does what is due, but for guests with threads of their own. */
void world_run(struct world *w);

/* Runs until guest 0, and guest 1 if there is one, can send by the link, or,
 * if not 'sends', cannot. */
bool world_reach(struct world *w, bool sends);

/* The switch says that there is a link, or that there is none. */
void world_offer(struct world *w);
void world_withdraw(struct world *w);

/* Serves the link to port 'i'. */
bool world_serve(struct world *w, int i);

/* The peer by hand begins anew. */
void world_begin_peer(struct world *w);

/* Gives guest 0 a second link, where what it accepts already is accepted as
 * well, and waits until it is there. */
bool world_add_link(struct world *w, const struct vpci_shape *shape);

/* The peer of that sends a packet. */
bool world_second_send(struct world *w, uint32_t ring, uint8_t flow,
                       uint32_t number);

/* Adds an entry for packets of 'flow', or changes its verdict. 
 * world_publish() follows. */
void world_set(struct vpci_steer *t, uint8_t flow, uint64_t verdict);
void world_unset(struct vpci_steer *t, uint8_t flow);

/* As world_set(), of port 'i': 'flow' goes to the link; what comes by the
 * link is counted in entry 'flow', if 'acceptance'. */
void world_hint(struct world *w, int i, uint8_t flow);
void world_accept(struct world *w, int i, uint8_t flow,
                  enum vpci_abi_acceptance acceptance);

/* As these, of port 'i', for packets that the receiver changes: by 'growth'
 * bytes, or by '*edits', which are written to the place of entry 'flow'. */
void world_hint_edit(struct world *w, int i, uint8_t flow, int growth);
void world_accept_edit(struct world *w, int i, uint8_t flow,
                       const struct vpci_edits *edits);

/* The edits in the place of entry 'flow'. */
struct vpci_abi_edits *world_edits(const struct world *w, int i,
                                   uint8_t flow);

/* Says all that of port 'i', and tells its guest. */
void world_publish(struct world *w, int i);

/* Packets: 'flow' and 'number' are in each.  The last one returns -1 if it is
 * not what was made. */
void world_make(uint8_t *data, uint32_t len, uint8_t flow, uint32_t number);
int64_t world_number(const uint8_t *data, uint32_t len, uint8_t flow);

/* Guest 'i' sends, on 'queue', a packet of WORLD_LEN bytes.  Returns whether
 * it did. */
bool world_send(struct world *w, int i, uint32_t queue, uint8_t flow,
                uint32_t number);

/* Guest 'i' receives a packet.  Returns its number, -1 if there is none, or
 * -2 if it is of another flow. */
int64_t world_receive(struct world *w, int i, uint32_t queue, uint8_t flow);

/* The peer by hand sends a packet in ring 'ring' of the link, or receives
 * one. */
bool world_peer_send(struct world *w, uint32_t ring, uint8_t flow,
                     uint32_t number);
int64_t world_peer_receive(struct world *w, uint32_t ring, uint8_t flow);

/* The switch sends a packet to guest 'i', or receives one from it. */
bool world_switch_send(struct world *w, int i, uint32_t ring, uint8_t flow,
                       uint32_t number);
int64_t world_switch_receive(struct world *w, int i, uint32_t ring,
                             uint8_t flow);

struct vpci_net_stats world_stats(const struct world *w, int i);
struct vpci_net_link_info world_link_info(const struct world *w, int i);

/* What guest 'i' says of 'queue'. */
uint32_t world_said_hints(const struct world *w, int i, uint32_t queue);
uint64_t world_said_refused(const struct world *w, int i, uint32_t queue);
struct vpci_abi_flow_count *world_said_flow(const struct world *w, int i,
                                            uint32_t queue, uint32_t entry);

#endif /* net-world.h */
