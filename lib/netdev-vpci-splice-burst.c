/* SPDX-License-Identifier: Apache-2.0 */

/* Bursts on the splice path: each frame is looked up, changed, and sent where
 * the program of its megaflow says. */

#include "netdev-vpci-splice.h"

#include <rte_cycles.h>

#include "flow.h"
#include "netdev-vpci-actions.h"
#include "netdev-vpci-match.h"
#include "netdev-vpci-queues.h"
#include "netdev-vpci-wire.h"
#include "packets.h"
#include "vpci/splice.h"
#include "vpci/steer.h"

/* Room for the copy of a packet's headers, and in front of it. */
#define MAX_HEAD 192
#define HEADROOM 64
BUILD_ASSERT_DECL(MAX_HEAD >= VPCI_WIRE_HEADERS);
BUILD_ASSERT_DECL(HEADROOM >= VPCI_PROGRAM_HEADROOM);
BUILD_ASSERT_DECL(VPCI_WIRE_HEADERS >= VPCI_KEY_HEADERS);
BUILD_ASSERT_DECL(VPCI_VRING_BURST <= VPCI_STEER_BURST);
BUILD_ASSERT_DECL(VPCI_VRING_BURST <= NETDEV_MAX_BURST);

/* Frames wait in the ring for a guest that has no room if all that their port
 * has sent for so many milliseconds goes to that guest. */
#define SOLE_MS 1000

/* The program of frames that do not get as far as the table. */
static const struct vpci_program dropped;

/* A burst. */
struct burst {
    struct vpci_splicer *splicer;
    struct vpci_lane *lane;
    uint64_t now;               /* TSC. */
    int n;
    bool policed;               /* What leaves the ring is. */
    bool odd;                   /* The last frame goes to the datapath though
                                 * others of its megaflow may be spliced. */

    struct vpci_pkt frames[VPCI_VRING_BURST];
    struct vpci_wire wires[VPCI_VRING_BURST];   /* Of those whose header asks
                                                 * for something. */
    uint8_t heads[VPCI_VRING_BURST][HEADROOM + MAX_HEAD]
        __attribute__((aligned(64)));

    /* What becomes of each: null if the datapath is to say... */
    const struct vpci_program *programs[VPCI_VRING_BURST];
    struct netdev_vpci *devs[VPCI_VRING_BURST]; /* ...where to, if it goes to
                                                 * one place as it is... */
    uint32_t entries[VPCI_VRING_BURST];         /* ...who said so... */
    uint8_t drops[VPCI_VRING_BURST];            /* ...or, of '&dropped', enum
                                                 * vpci_drop. */

    /* Of those that were looked up. */
    int n_keys;
    uint8_t keyed[VPCI_VRING_BURST];            /* Which. */
    uint8_t key_of[VPCI_VRING_BURST];           /* And the other way. */
    union vpci_key keys[VPCI_VRING_BURST];
};

/* Programs. */

/* Tells Open vSwitch where the layers of 'packet' are, which has the headers
 * of a packet whose key is 'key'. */
static void
set_layers(struct dp_packet *packet, const union vpci_key *key)
{
    size_t l3 = vpci_key_l3_ofs(key), end;

    packet->l3_ofs = l3;
    if (key->eth_type == htons(ETH_TYPE_IP)) {
        const struct ip_header *ip = dp_packet_l3(packet);

        packet->l4_ofs = l3 + IP_IHL(ip->ip_ihl_ver) * 4;
        end = l3 + ntohs(ip->ip_tot_len);
    } else if (key->eth_type == htons(ETH_TYPE_IPV6)) {
        const struct ovs_16aligned_ip6_hdr *ip6 = dp_packet_l3(packet);

        packet->l4_ofs = l3 + IPV6_HEADER_LEN;
        end = packet->l4_ofs + ntohs(ip6->ip6_plen);
    } else {
        return;
    }
    if (end < dp_packet_size(packet)) {
        dp_packet_set_l2_pad_size(packet, dp_packet_size(packet) - end);
    }
}

/* Makes 'packet' the head of frame 'i' of 'b', which has a key. */
static void
packet_from_head(struct burst *b, int i, struct dp_packet *packet)
{
    const struct vpci_pkt *frame = &b->frames[i];

    dp_packet_use_stub(packet, b->heads[i], sizeof b->heads[i]);
    dp_packet_reserve(packet, HEADROOM);
    dp_packet_set_size(packet, frame->head_len);
    set_layers(packet, &b->keys[b->key_of[i]]);
}

/* Makes what became of 'packet' the head of 'frame'. */
static void
packet_to_head(const struct dp_packet *packet, struct vpci_pkt *frame)
{
    uint32_t head_len = dp_packet_size(packet);

    frame->len = frame->len - frame->head_len + head_len;
    frame->head = dp_packet_data(packet);
    frame->head_len = head_len;
}

/* Makes the virtio header of 'frame', which was frame 'i' of 'b' before its
 * headers changed, say what is left to do now.  It is in is_accepted(). */
static void
update_undone(const struct burst *b, int i, struct vpci_pkt *frame)
{
    int growth = (int) frame->head_len - (int) b->frames[i].head_len;
    struct vpci_wire wire = b->wires[i];

    vpci_wire_edited(&wire, growth, CONST_CAST(uint8_t *, frame->head),
                     frame->len);
    vpci_wire_to_hdr(&wire, &frame->hdr);
}

/* Executes 'program' for the 'n' frames of 'b' that 'which' names. */
static void
run_program(struct burst *b, const struct vpci_program *program,
            const uint8_t which[], int n)
{
    struct dp_packet packets[VPCI_VRING_BURST];
    struct vpci_pkt frames[VPCI_VRING_BURST];
    struct dp_packet_batch batch;
    bool edited = false;

    dp_packet_batch_init(&batch);
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct vpci_op *op = &program->ops[i];

        if (op->kind == VPCI_OP_EDIT) {
            for (int j = 0; j < n && !edited; j++) {
                packet_from_head(b, which[j], &packets[j]);
                dp_packet_batch_add(&batch, &packets[j]);
            }
            edited = true;
            vpci_program_edit(op, &batch);
        } else {
            struct netdev_vpci *dev = vpci_target_dev(op->target);

            for (int j = 0; j < n; j++) {
                frames[j] = b->frames[which[j]];
                if (edited) {
                    packet_to_head(&packets[j], &frames[j]);
                    if (OVS_UNLIKELY(frames[j].hdr.flags)) {
                        update_undone(b, which[j], &frames[j]);
                    }
                }
            }
            if (dev) {
                vpci_splice_send_all(dev, frames, n, b->now);
            }
        }
    }
}

/* Bursts. */

static void
drop(struct burst *b, int i, enum vpci_drop reason)
{
    b->programs[i] = &dropped;
    b->devs[i] = NULL;
    b->drops[i] = reason;
}

/* Leaves frames in the ring so that the burst takes no longer than others. */
static void
limit_bytes(struct burst *b)
{
    uint32_t *bytes = &b->splicer->bytes;
    int n;

    *bytes += b->frames[0].len;
    for (n = 1; n < b->n && *bytes < VPCI_SPLICE_BYTES; n++) {
        *bytes += b->frames[n].len;
    }
    b->n = n;
}

/* Drops frames that no Ethernet device would pass.  The others are to have
 * keys. */
static void
begin_burst(struct burst *b, struct netdev_vpci *dev,
            const struct vpci_rxq *rxq)
{
    uint32_t room = vpci_mempool_room(dev->mempool);

    b->n_keys = 0;
    for (int i = 0; i < b->n; i++) {
        struct vpci_pkt *frame = &b->frames[i];
        enum vpci_drop fault
            = (OVS_LIKELY(!vpci_is_super(frame))
               ? vpci_rx_fault(dev, rxq, frame, &b->wires[i], room)
               : vpci_super_check(dev, rxq, frame, &b->wires[i]));

        b->programs[i] = NULL;
        b->devs[i] = NULL;
        if (OVS_UNLIKELY(fault != VPCI_N_DROPS)) {
            drop(b, i, fault);
        } else {
            b->keyed[b->n_keys++] = i;
        }
    }
}

/* Drops what exceeds 'policer', also of what has been copied to 'pkts'.
 * Returns how many of these are left. */
static int
police(struct burst *b, struct vpci_policer *policer, struct dp_packet **pkts)
{
    uint32_t lens[VPCI_VRING_BURST];
    uint8_t which[VPCI_VRING_BURST];
    bool pass[VPCI_VRING_BURST];
    int n = 0, n_up = 0, n_left = 0;

    for (int i = 0; i < b->n; i++) {
        if (b->programs[i] != &dropped) {
            lens[n] = b->frames[i].len;
            which[n++] = i;
        }
    }
    vpci_policer_check(policer, lens, n, pass);
    for (int k = 0; k < n; k++) {
        struct dp_packet *pkt = b->programs[which[k]] ? NULL : pkts[n_up++];

        if (!pass[k]) {
            drop(b, which[k], VPCI_DROP_RX_QOS);
            dp_packet_delete(pkt);
        } else if (pkt) {
            pkts[n_left++] = pkt;
        }
    }
    return n_left;
}

/* Frame 'i' goes to the datapath by itself, though perhaps it belongs to a
 * megaflow of which others are spliced: so that it is not overtaken, the burst
 * ends with it. */
static void
end_burst(struct burst *b, int i)
{
    b->n = i + 1;
    b->odd = true;
}

/* Makes keys of all frames that can have one. */
static void
make_keys(struct burst *b)
{
    enum vpci_key_depth depth = vpci_steer_depth(b->splicer->reader);
    unsigned int n_vlans = vpci_max_vlans();
    int n = 0;

    for (int k = 0; k < b->n_keys; k++) {
        int i = b->keyed[k];
        const struct vpci_pkt *frame = &b->frames[i];

        if (OVS_UNLIKELY(!vpci_key_parse(frame->head, frame->head_len,
                                         frame->len, n_vlans, depth,
                                         &b->keys[n]))) {
            end_burst(b, i);
            break;
        }
        b->key_of[i] = n;
        b->keyed[n++] = i;
    }
    b->n_keys = n;
}

/* True if 'program' can send to all its ports.  Sets '*dev' if there is only
 * one and packets go there as they are. */
static bool
resolve(const struct vpci_program *program, struct netdev_vpci **dev)
{
    *dev = NULL;
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct vpci_op *op = &program->ops[i];

        if (op->kind == VPCI_OP_OUTPUT) {
            *dev = vpci_target_dev(op->target);
            if (!*dev) {
                return false;
            }
        }
    }
    if (!vpci_program_is_simple(program)) {
        *dev = NULL;
    }
    return true;
}

/* True if 'program' can be executed for the frame of key 'k': where its layers
 * are must be certain. */
static bool
can_edit(const struct burst *b, const struct vpci_program *program, int k)
{
    const struct vpci_pkt *frame = &b->frames[b->keyed[k]];
    union vpci_key key;

    return (!program->n_edits
            || vpci_key_parse(frame->head, frame->head_len, frame->len,
                              vpci_max_vlans(), VPCI_DEPTH_L4, &key));
}

/* True if the guest of 'dev' takes 'frame', which may become longer by 'growth',
 * with what 'wire' says left undone, and nobody has to know how it would be
 * cut. */
static bool
dev_accepts(const struct netdev_vpci *dev, const struct vpci_pkt *frame,
            uint32_t growth, const struct vpci_wire *wire)
{
    uint32_t max_frame;

    if (!dev || !__atomic_load_n(&dev->splice_open, __ATOMIC_ACQUIRE)
        || !vpci_wire_is_accepted(wire, dev->guest_features)) {
        return false;
    }
    atomic_read_relaxed(&CONST_CAST(struct netdev_vpci *, dev)->max_frame,
                        &max_frame);
    return (!vpci_is_super(frame)
            || (vpci_frame_longest(frame) + growth <= max_frame
                && !ovsrcu_get(struct vpci_policer *, &dev->egress)));
}

/* True if the checksum that 'frame' lacks, as 'wire' says, is in no field that
 * says where packets go, or that 'program' changes.  That of a super-packet has
 * been found in its place. */
static bool
is_harmless(const struct vpci_program *program, const struct vpci_pkt *frame,
            const struct vpci_wire *wire)
{
    struct vpci_wire_own own;

    return (wire->kind != VPCI_WIRE_SINGLE ? true
            : program->n_edits
            ? vpci_wire_find_own(wire, frame->head, frame->len, &own)
            : vpci_wire_is_harmless(wire, frame->head, frame->len));
}

/* True if frame 'i' of 'b' can go where 'program' sends it: there is nothing
 * left to do for it, or all guests there will do that. */
static bool
is_accepted(const struct burst *b, const struct vpci_program *program, int i)
{
    const struct vpci_pkt *frame = &b->frames[i];
    const struct vpci_wire *wire = &b->wires[i];

    if (OVS_LIKELY(!frame->hdr.flags)) {
        return true;
    } else if ((vpci_is_super(frame)
                && (b->policed || wire->kind == VPCI_WIRE_FRAG4
                    || wire->kind == VPCI_WIRE_FRAG6))
               || !is_harmless(program, frame, wire)) {
        return false;
    }
    for (size_t k = 0; k < program->n_ops; k++) {
        const struct vpci_op *op = &program->ops[k];

        if (op->kind == VPCI_OP_OUTPUT
            && !dev_accepts(vpci_target_dev(op->target), frame,
                            program->growth, wire)) {
            return false;
        }
    }
    return true;
}

/* Looks up all keys.  An entry that is newer than 'generation' is left alone:
 * packets of this very burst may have missed it. */
static void
look_up(struct burst *b, uint64_t generation)
{
    const struct vpci_program *program = NULL;
    uint32_t entries[VPCI_VRING_BURST];
    uint64_t verdicts[VPCI_VRING_BURST];
    struct netdev_vpci *dev = NULL;
    uint64_t verdict = 0;

    if (!b->n_keys) {
        return;
    }
    vpci_steer_lookup(b->splicer->reader, b->keys, b->n_keys, entries,
                      verdicts);
    for (int k = 0; k < b->n_keys; k++) {
        int i = b->keyed[k];

        if (OVS_UNLIKELY(entries[k] == VPCI_STEER_NONE)) {
            continue;
        }
        if (verdicts[k] != verdict) {
            verdict = verdicts[k];
            program = (const struct vpci_program *) (uintptr_t) verdict;
            if (!program || program->generation > generation
                || !vpci_program_is_current(program)
                || !resolve(program, &dev)) {
                program = NULL;
            } else if (OVS_UNLIKELY(program->generation
                                    > b->splicer->settled)) {
                /* This and what follows stays in the ring for now. */
                b->n = i;
                break;
            }
        }
        if (OVS_UNLIKELY(!program)) {
            continue;
        } else if (OVS_UNLIKELY(!can_edit(b, program, k)
                                || !is_accepted(b, program, i))) {
            end_burst(b, i);
            break;
        }
        b->programs[i] = program;
        b->entries[i] = entries[k];
        b->devs[i] = dev;
    }
}

/* Returns the number of the first super-packet that is for the datapath, or of
 * frames. */
static int
find_super_up(const struct burst *b)
{
    for (int i = 0; i < b->n; i++) {
        if (OVS_UNLIKELY(vpci_is_super(&b->frames[i])) && !b->programs[i]) {
            return i;
        }
    }
    return b->n;
}

/* Copies the frames that the datapath is to look at into 'pkts'.  If there are
 * no mbufs, the burst ends before the first of them.  Returns their number. */
static int
hand_up(struct burst *b, struct netdev_vpci *dev, struct vpci_rxq *rxq,
        struct dp_packet **pkts)
{
    struct vpci_pkt frames[VPCI_VRING_BURST];
    int n = 0, first = -1;

    for (int i = 0; i < b->n; i++) {
        if (OVS_UNLIKELY(!b->programs[i])) {
            first = first < 0 ? i : first;
            frames[n++] = b->frames[i];
        }
    }
    if (n && !vpci_frames_to_packets(vpci_mempool_rte(dev->mempool),
                                     &rxq->counters, frames, pkts, n)) {
        b->n = first;
        n = 0;
    }
    return n;
}

/* Returns the port that all frames go to, as they are, or null. */
static struct netdev_vpci *
only_dev(const struct burst *b)
{
    struct netdev_vpci *dev = b->programs[0] ? b->devs[0] : NULL;

    for (int i = 1; i < b->n && dev; i++) {
        if (!b->programs[i] || b->devs[i] != dev) {
            return NULL;
        }
    }
    return dev;
}

/* Sends all frames that have a program, those that go one way together. */
static void
send_mixed(struct burst *b)
{
    uint32_t left = 0;

    for (int i = 0; i < b->n; i++) {
        if (b->programs[i] && b->programs[i]->n_ops) {
            left |= UINT32_C(1) << i;
        }
    }
    while (left) {
        int first = raw_ctz(left);
        const struct vpci_program *program = b->programs[first];
        struct netdev_vpci *dev = b->devs[first];
        struct vpci_pkt frames[VPCI_VRING_BURST];
        uint8_t which[VPCI_VRING_BURST];
        int n = 0;

        for (int i = first; i < b->n; i++) {
            if (left & UINT32_C(1) << i
                && (dev ? b->devs[i] == dev : b->programs[i] == program)) {
                left &= ~(UINT32_C(1) << i);
                frames[n] = b->frames[i];
                which[n++] = i;
            }
        }
        if (dev) {
            vpci_splice_send_all(dev, frames, n, b->now);
        } else {
            run_program(b, program, which, n);
        }
    }
}

/* True if packets that 't' counts may wait in the ring while the guest of
 * 'dev' has no room: nobody else waits behind them. */
static bool
may_wait(const struct burst *b, const struct netdev_vpci *from,
         struct netdev_vpci *dev, const struct vpci_tally *t)
{
    const struct vpci_target *sole
        = __atomic_load_n(&b->splicer->source->sole, __ATOMIC_ACQUIRE);

    return (sole && vpci_target_dev(sole) == dev
            && (b->now - b->lane->last_other
                >= rte_get_tsc_hz() / 1000 * SOLE_MS)
            && !ovsrcu_get(struct vpci_policer *, &from->ingress)
            && vpci_splice_passes(dev, t));
}

/* Notes which classes of 'to' the burst goes to.  If there are several, packets
 * wait for none, so that nobody waits behind them for another. */
static void
note_classes(const struct burst *b, const struct netdev_vpci *to)
{
    struct vpci_lane *lane = b->lane;
    uint32_t classes;

    if (!__atomic_load_n(&to->splice_open, __ATOMIC_ACQUIRE)
        || OVS_LIKELY(to->classes.n == 1)) {
        return;
    }
    classes = vpci_queues_classes(to, b->frames, b->n);
    if (!is_pow2(classes) || (lane->classes && classes != lane->classes)) {
        lane->last_other = b->now;
    }
    lane->classes = classes;
}

/* Counts the burst, of which 't' is what is spliced, for the port. */
static void
count_received(struct burst *b, struct vpci_counters *c,
               const struct vpci_tally *t)
{
    vpci_count_spliced(c, t);
    vpci_counter_add(&c->splice_bursts, t->packets > 0);
    if (OVS_LIKELY(t->frames == b->n)) {
        return;
    }
    for (int i = 0; i < b->n; i++) {
        if (!b->programs[i]) {
            vpci_counters_add_frames(c, &b->frames[i], 1);
        } else if (b->programs[i] == &dropped) {
            vpci_counter_add(&c->drops[b->drops[i]], 1);
        }
    }
}

/* Counts those of the burst that are spliced. */
static void
tally_spliced(const struct burst *b, struct vpci_tally *t)
{
    memset(t, 0, sizeof *t);
    for (int i = 0; i < b->n; i++) {
        if (b->programs[i] && b->programs[i] != &dropped) {
            vpci_tally_pkt(t, &b->frames[i]);
        }
    }
}

/* Counts the burst for its entries. */
static void
count_entries(struct burst *b)
{
    uint64_t packets = 0, bytes = 0;
    uint32_t entry = VPCI_STEER_NONE;
    uint16_t tcp_flags = 0;

    for (int k = 0; k < b->n_keys; k++) {
        int i = b->keyed[k];

        if (i >= b->n) {
            break;
        }
        if (!b->programs[i] || b->programs[i] == &dropped) {
            continue;
        }
        if (b->entries[i] != entry) {
            if (packets) {
                vpci_steer_count(b->splicer->reader, entry, packets, bytes,
                                 tcp_flags, b->now);
            }
            entry = b->entries[i];
            packets = bytes = tcp_flags = 0;
        }
        packets += vpci_frame_packets(&b->frames[i]);
        bytes += vpci_frame_bytes(&b->frames[i]);
        tcp_flags |= b->keys[k].tcp_flags;
    }
    if (packets) {
        vpci_steer_count(b->splicer->reader, entry, packets, bytes, tcp_flags,
                         b->now);
    }
}

/* Deals with the frames of 'b', of which 'n_up' go to the datapath.
 * Afterwards 'b->n' is how many have left the ring. */
static void
deal_with(struct burst *b, struct netdev_vpci *dev, struct vpci_rxq *rxq,
          int n_up)
{
    struct netdev_vpci *to = n_up || !b->n ? NULL : only_dev(b);
    struct vpci_tally t;
    bool wait;

    tally_spliced(b, &t);
    if (to) {
        note_classes(b, to);
    }
    wait = to && may_wait(b, dev, to, &t);
    if (wait) {
        int n = b->n;

        b->n = vpci_splice_send(to, b->frames, n, &t, true, b->now);
        if (b->n < n) {
            tally_spliced(b, &t);
        }
    }
    count_received(b, &rxq->counters, &t);
    count_entries(b);
    vpci_splicer_note_where(b->splicer, b->lane, to, b->now);
    if (to && !wait) {
        vpci_splice_send(to, b->frames, b->n, &t, false, b->now);
    } else if (!to) {
        send_mixed(b);
    }
}

/* Something goes to the datapath: whatever is spliced waits for it, see
 * settle(). */
static void
unsettle(struct vpci_splicer *s)
{
    if (s->settled != UINT64_MAX) {
        s->settled = s->settling = 0;
    }
}

/* Leaves 'frame', a super-packet, the first in the ring of 'rxq', to the
 * datapath.  What is spliced waits for it. */
static void
leave_super(struct vpci_splicer *s, struct netdev_vpci *dev,
            struct vpci_rxq *rxq, const struct vpci_pkt *frame)
{
    vpci_super_start(dev, rxq, frame);
    vpci_vring_release(rxq->ring->vring, 1);
    vpci_splicer_note_where(s, &s->lanes[rxq->ring->class_], NULL,
                            rte_get_tsc_cycles());
    unsettle(s);
}

int
vpci_splice_burst(struct netdev_vpci *dev, struct vpci_rxq *rxq,
                  unsigned int max, uint64_t now, struct dp_packet **pkts,
                  int *n_up)
{
    struct vpci_splicer *s = rxq->splicer;
    struct vpci_policer *policer
        = ovsrcu_get(struct vpci_policer *, &dev->ingress);
    uint64_t generation = __atomic_load_n(&s->source->generation,
                                          __ATOMIC_ACQUIRE);
    struct burst b;
    int n_before;

    *n_up = 0;
    b.splicer = s;
    b.lane = &s->lanes[rxq->ring->class_];
    b.now = now;
    b.odd = false;
    b.n = vpci_vring_peek(rxq->ring->vring, b.frames, MIN(max, b.lane->max));
    if (!b.n) {
        return 0;
    }
    limit_bytes(&b);
    b.policed = policer != NULL;
    vpci_pkts_take_heads(b.frames, b.n, b.heads[0] + HEADROOM,
                         sizeof b.heads[0], VPCI_WIRE_HEADERS);
    vpci_queues_learn(dev, rxq - dev->rxqs, b.frames[0].head,
                      b.frames[0].head_len);
    begin_burst(&b, dev, rxq);
    make_keys(&b);
    look_up(&b, generation);
    n_before = find_super_up(&b);
    if (OVS_UNLIKELY(n_before < b.n)) {
        if (!n_before) {
            leave_super(s, dev, rxq, &b.frames[0]);
            return 1;
        }
        b.n = n_before;
        b.odd = false;
    }
    *n_up = hand_up(&b, dev, rxq, pkts);
    if (OVS_UNLIKELY(policer)) {
        *n_up = police(&b, policer, pkts);
    }
    deal_with(&b, dev, rxq, *n_up);
    if (OVS_UNLIKELY(b.odd)) {
        unsettle(s);
    }
    b.lane->max = b.n ? VPCI_VRING_BURST : 1;
    vpci_vring_release(rxq->ring->vring, b.n);
    return b.n;
}
