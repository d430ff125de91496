/* SPDX-License-Identifier: Apache-2.0 */

#ifndef SWITCH_PORT_H
#define SWITCH_PORT_H 1

/* The switch's side of a port of vpci-net, for tests: header, words of the
 * port and side 0 of its channel.  How the memory and the signals came is
 * somebody else's affair. */

#include "vpci/channel.h"

struct switch_port {
    struct vpci_layout layout;
    void *base;                 /* Mapped; not ours. */
    struct vpci_channel *channel;
    struct vpci_channel_config config;
    int to_guest[VPCI_ABI_MAX_VECTORS]; /* Eventfds, or -1; not ours. */
    enum vpci_channel_state state;
    uint64_t n_faults;

    /* Called for each packet that switch_port_move() takes from here, or
     * null. */
    void (*tap)(void *aux, const void *data, uint32_t len);
    void *aux;
};

/* What the switch says of the port. */
struct switch_port_words {
    uint32_t max_len;
    enum vpci_abi_class_by class_by;
    uint8_t class_of[64];
    bool link_state;
    uint8_t mac[6];
    uint64_t features;          /* Of the channel. */
    uint32_t calls;             /* Version of calls; 0: none. */
};

/* Makes '*port' in the memory at 'base', of layout.size bytes, with a
 * channel in the 'private_size' bytes at 'private_memory'.  With 'resumes',
 * goes on with the channel that is there, if there is one.  Returns whether
 * it goes on. */
bool switch_port_init(struct switch_port *port, const struct vpci_shape *shape,
                      void *base, void *private_memory, bool resumes,
                      const struct switch_port_words *words, uint32_t epoch);

/* Begins anew: the guest has gone, and the next one is to find nothing that
 * was for it. */
void switch_port_begin(struct switch_port *port, uint32_t epoch);

/* Tells the guest to look at everything. */
void switch_port_inject_all(const struct switch_port *port);

/* Does what is due, and returns whether packets flow. */
bool switch_port_run(struct switch_port *port, int64_t now_ms);

/* Sends one packet.  Returns whether there was room. */
bool switch_port_put(struct switch_port *port, uint32_t ring, const void *data,
                     uint32_t len);

/* Takes one packet of at most 'size' bytes.  Returns its length, or 0. */
uint32_t switch_port_take(struct switch_port *port, uint32_t ring, void *data,
                          uint32_t size);

/* Takes a packet from each ring of 'from' and puts it in the same ring of
 * 'to', as far as there is room, up to 'max' for each ring, the highest
 * class first. Returns how many there were, and adds the bytes to '*bytes'. */
uint64_t switch_port_move(struct switch_port *from, struct switch_port *to,
                          unsigned int max, uint64_t *bytes);

#endif /* switch-port.h */
