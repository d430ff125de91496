/* SPDX-License-Identifier: Apache-2.0 */

#ifndef PEER_WORLD_H
#define PEER_WORLD_H 1

/* A switch with a port whose guest may drive the virtio-net rings of a peer,
 * and that peer: memory with a model of a driver in it.  All is made by hand
 * but for the guest, so that it can do what it should not.
 *
 * While the switch has the rings it passes packets on between the guest and
 * the peer when it is told to. */

#include "net-world.h"
#include "vpci/vring.h"
#include "vring-driver.h"

#define PEER_LINK_ID 9
#define PEER_MAX_PAIRS 4

/* Of packets from and to the guest; both are counted in these entries. */
#define PEER_FLOW 1
#define PEER_HINT_ENTRY 300
#define PEER_ACCEPT_ENTRY 21

/* A ring of the peer's. */
struct peer_ring {
    struct vring_driver *drv;
    uint64_t desc, driver, device;  /* The peer's addresses. */
    struct vpci_vring *vring;   /* The switch's engine. */
    struct vpci_vring_config config;
    uint32_t size;
    uint64_t buffers;           /* Its address of as many buffers, */
    uint32_t next;              /* of which this one is next. */
};

struct peer_world {
    struct net_switch s;
    struct vpci_net *net;
    struct vpci_net_config config;

    struct vpci_steer *hints, *acceptances;
    uint32_t hints_generation, acceptances_generation;
    uint32_t slot;              /* The peer's place. */

    int memory_fd;
    uint8_t *memory;            /* Of the peer, mapped. */
    struct vpci_memory table;
    struct net_server server;
    int kicks[2 * PEER_MAX_PAIRS];  /* Signals to the guest, by ring, */
    int calls[2 * PEER_MAX_PAIRS];  /* and to the peer. */

    uint64_t features;
    uint32_t n_rings;
    struct peer_ring rings[2 * PEER_MAX_PAIRS];
    uint32_t turn;
    int64_t ahead_ms;           /* How much later it is for the guest. */
};

/* Makes a world whose guest, of '*config' or null, has met the switch and has
 * the peer's memory.  The peer has 'n_pairs' of rings, of 'size' descriptors,
 * with 'features'.  The switch has the rings. */
bool peer_world_init(struct peer_world *w, uint64_t features, uint32_t size,
                     uint32_t n_pairs, const struct vpci_net_config *config);
void peer_world_uninit(struct peer_world *w);

/* Makes the same without a guest, and opens one. */
bool peer_world_make(struct peer_world *w, uint64_t features, uint32_t size,
                     uint32_t n_pairs, const struct vpci_net_config *config);
bool peer_world_open(struct peer_world *w);

/* Everybody does what is due. */
void peer_world_run(struct peer_world *w);

/* Runs until the guest has the peer's memory. */
bool peer_world_reach(struct peer_world *w);

/* What the switch says and the guest answers. */
struct vpci_abi_peer *peer_world_said(const struct peer_world *w);
struct vpci_abi_peer_words *peer_world_words(const struct peer_world *w);
struct vpci_abi_link *peer_world_entry(const struct peer_world *w);

/* The peer's link info. */
struct vpci_net_link_info peer_world_info(const struct peer_world *w);

/* The switch tells the guest that something is another. */
void peer_world_tell(struct peer_world *w);

/* The switch says that packets to the peer are for its rings, or are not; and
 * whether packets of the peer are accepted. */
void peer_world_hint(struct peer_world *w, bool on);
void peer_world_accept(struct peer_world *w, bool on);

/* The switch stops using the rings, and says where they are; then says that it
 * is the guest's turn, or its own.  The second one does not wait. */
void peer_world_describe(struct peer_world *w);
void peer_world_set_turn(struct peer_world *w);

/* Hands the rings over, and waits until the guest has them. */
bool peer_world_hand_over(struct peer_world *w);

/* Takes them back, and goes on with them: also after the guest has given them
 * back by itself. */
bool peer_world_take_back(struct peer_world *w);

/* Goes on with the rings as the records say, which are not final if 'died'. */
bool peer_world_go_on(struct peer_world *w, bool died);

/* Waits until the guest has returned 'turn'. */
bool peer_world_wait(struct peer_world *w, uint32_t turn);

/* The switch passes on what it has, both ways, by pair 0. */
bool peer_world_pass(struct peer_world *w);

/* The peer posts buffers in receive ring 'pair' until it is full; sends packet
 * 'number' of WORLD_LEN bytes, without an offload, or as '*hdr' says; receives
 * one, and returns its number, or -1 if there is none, or -2 if it is not as
 * it should be. */
void peer_world_post(struct peer_world *w, uint32_t pair);
bool peer_world_send(struct peer_world *w, uint32_t pair, uint32_t number);
bool peer_world_send_frame(struct peer_world *w, uint32_t pair,
                           const uint8_t hdr[12], const void *frame,
                           uint32_t len);
int64_t peer_world_receive(struct peer_world *w, uint32_t pair);

/* The same, of the frame and its header, which are copied.  Returns its
 * length, or 0. */
uint32_t peer_world_receive_frame(struct peer_world *w, uint32_t pair,
                                  uint8_t hdr[12], uint8_t frame[],
                                  uint32_t size);

/* The guest sends a packet, or receives one as above. */
bool peer_world_guest_send(struct peer_world *w, uint32_t queue,
                           uint32_t number);
int64_t peer_world_guest_receive(struct peer_world *w, uint32_t queue);

/* Where ring 'i' stands, as a record says it, by what is in the ring. */
uint32_t peer_world_place(const struct peer_world *w, uint32_t i);

#endif /* peer-world.h */
