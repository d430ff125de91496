/* SPDX-License-Identifier: Apache-2.0 */

/* The splice path: packets from one guest's ring to another's, as the steering
 * table of the port says.
 *
 * The headers of each frame are copied once, and what is looked up, changed and
 * sent is the copy: the guest may change its own meanwhile.  The rest goes
 * straight from ring to ring.
 *
 * Another port's rings are used between vpci_steer_enter() and
 * vpci_steer_leave() of one's own table.  Who changes something about a port
 * that others may splice to closes it ('splice_open', or 'dev' of its target)
 * and then waits for everyone to leave, vpci_splice_synchronize(). */

#include "netdev-vpci-private.h"

#include <rte_cycles.h>

#include "flow.h"
#include "netdev-vpci-actions.h"
#include "packets.h"
#include "vpci/splice.h"
#include "vpci/steer.h"

/* Bursts that one call handles, so that other queues have their turn. */
#define MAX_BURSTS 8

/* In front of the copy of a packet's headers. */
#define HEADROOM 64
BUILD_ASSERT_DECL(HEADROOM >= VPCI_PROGRAM_HEADROOM);
BUILD_ASSERT_DECL(VPCI_VRING_BURST <= VPCI_STEER_BURST);
BUILD_ASSERT_DECL(VPCI_VRING_BURST <= NETDEV_MAX_BURST);

/* Packets wait in the ring for a guest that has no room as long as it takes so
 * many of them in so many milliseconds. */
#define MIN_TAKEN 256
#define MAX_FULL_MS 100

/* They wait if all that their port has sent for so many milliseconds goes to
 * that guest. */
#define SOLE_MS 1000

/* Bursts without a look for easy frames after one that was in vain. */
#define NOT_EASY_BURSTS 16

struct vpci_splicer {
    struct vpci_source *source;
    struct vpci_steer_reader *reader;
    uint64_t last_other;        /* TSC when something last went elsewhere than
                                 * to the sole target. */
    unsigned int max;           /* How many frames are looked at next. */
    unsigned int not_easy;      /* Bursts for which it is not worth while to
                                 * look for easy frames. */

    /* Programs up to a generation are settled: no packet that came before them
     * is still with the datapath.  Those up to the next one will be. */
    uint64_t settled;
    uint64_t settling;          /* Or 0. */
    uint64_t settling_since;    /* TSC. */
    bool due;                   /* Time is over. */
};

/* The program of frames that do not get as far as the table. */
static const struct vpci_program dropped;

/* A burst. */
struct burst {
    struct vpci_splicer *splicer;
    uint64_t now;               /* TSC. */
    int n;
    bool odd;                   /* The last frame goes to the datapath though
                                 * others of its megaflow may be spliced. */

    struct vpci_pkt frames[VPCI_VRING_BURST];
    uint8_t heads[VPCI_VRING_BURST][HEADROOM + VPCI_KEY_HEADERS]
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

/* Sources. */

static struct ovs_mutex sources_mutex = OVS_MUTEX_INITIALIZER;
static struct ovs_list sources OVS_GUARDED_BY(sources_mutex)
    = OVS_LIST_INITIALIZER(&sources);

static void
free_splicers(struct vpci_source *source)
{
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        struct vpci_splicer *s = source->splicers[i];

        if (s) {
            vpci_steer_reader_destroy(s->reader);
            free_cacheline(s);
        }
    }
}

int
vpci_source_init(struct vpci_source *source)
{
    memset(source, 0, sizeof *source);
    source->table = vpci_steer_create(VPCI_STEER_MAX_ENTRIES,
                                      VPCI_MAX_QUEUE_PAIRS);
    if (!source->table) {
        return errno;
    }
    for (int i = 0; i < VPCI_MAX_QUEUE_PAIRS; i++) {
        struct vpci_splicer *s = xzalloc_cacheline(sizeof *s);

        source->splicers[i] = s;
        s->source = source;
        s->max = VPCI_VRING_BURST;
        s->reader = vpci_steer_reader_create(source->table, i);
        if (!s->reader) {
            free_splicers(source);
            vpci_steer_destroy(source->table);
            return ENOMEM;
        }
    }
    ovs_mutex_lock(&sources_mutex);
    ovs_list_push_back(&sources, &source->node);
    ovs_mutex_unlock(&sources_mutex);
    return 0;
}

void
vpci_source_uninit(struct vpci_source *source)
{
    ovs_mutex_lock(&sources_mutex);
    ovs_list_remove(&source->node);
    ovs_mutex_unlock(&sources_mutex);
    free_splicers(source);
    vpci_steer_destroy(source->table);
}

void
vpci_splice_synchronize(void)
{
    struct vpci_source *source;

    ovs_mutex_lock(&sources_mutex);
    LIST_FOR_EACH (source, node, &sources) {
        vpci_steer_synchronize(source->table);
    }
    ovs_mutex_unlock(&sources_mutex);
}

void
vpci_target_kill(struct vpci_target *target)
{
    if (target) {
        __atomic_store_n(&target->dev, NULL, __ATOMIC_SEQ_CST);
        vpci_splice_synchronize();
    }
}

/* Sending. */

/* True if the guest of 'dev' is to get all of what 't' counts. */
static bool
passes_tx_policy(const struct netdev_vpci *dev, const struct vpci_tally *t)
{
    uint32_t max_frame;

    atomic_read_relaxed(&CONST_CAST(struct netdev_vpci *, dev)->max_frame,
                        &max_frame);
    return (t->max_len <= max_frame
            && !ovsrcu_get(struct vpci_policer *, &dev->egress));
}

/* Drops frames of 'frames[0..n)' that the guest of 'dev' is not to get, closes
 * the gaps and returns how many are left.  Counts with 'tx_lock' held. */
static int
apply_tx_policy(struct netdev_vpci *dev, struct vpci_counters *counters,
                struct vpci_pkt *frames, int n)
{
    struct vpci_policer *policer
        = ovsrcu_get(struct vpci_policer *, &dev->egress);
    uint32_t max_frame, lens[VPCI_VRING_BURST];
    bool pass[VPCI_VRING_BURST];
    int n_short = 0, n_passed = 0;

    atomic_read_relaxed(&dev->max_frame, &max_frame);
    for (int i = 0; i < n; i++) {
        if (OVS_UNLIKELY(frames[i].len > max_frame)) {
            vpci_counter_add(&counters->drops[VPCI_DROP_TX_MTU], 1);
        } else {
            lens[n_short] = frames[i].len;
            if (OVS_UNLIKELY(n_short != i)) {
                frames[n_short] = frames[i];
            }
            n_short++;
        }
    }
    if (OVS_LIKELY(!policer)) {
        return n_short;
    }
    vpci_policer_check(policer, lens, n_short, pass);
    for (int i = 0; i < n_short; i++) {
        if (pass[i]) {
            frames[n_passed++] = frames[i];
        }
    }
    vpci_counter_add(&counters->drops[VPCI_DROP_TX_QOS], n_short - n_passed);
    return n_passed;
}

/* Says whether packets for 'ring', which has taken 'n_done' and has no more
 * room, may wait at 'now'.  With its 'tx_lock' held. */
static bool
may_wait_for(struct vpci_ring *ring, int n_done, uint64_t now)
{
    if (!ring->full_since) {
        ring->full_since = now;
        ring->full_taken = 0;
    }
    ring->full_taken += n_done;
    /* 'now' of another thread may have been earlier. */
    if (now <= ring->full_since
        || (now - ring->full_since
            < rte_get_tsc_hz() / 1000 * MAX_FULL_MS)) {
        return true;
    } else if (ring->full_taken < MIN_TAKEN) {
        return false;
    }
    ring->full_since = now;
    ring->full_taken = 0;
    return true;
}

/* Sends 'frames[0..n)', which 't' counts, to 'dev', which is open, as 'wait'
 * says.  Returns how many have been dealt with. */
static int
send_to_ring(struct netdev_vpci *dev, struct vpci_pkt *frames, int n,
             const struct vpci_tally *t, bool wait, uint64_t now)
{
    struct vpci_ring *ring
        = dev->to_guest[vpci_thread_txq() % dev->n_to_guest];
    struct vpci_counters *counters = &ring->spliced;
    int n_wanted = n, done;
    uint64_t packets, bytes;

    ovs_spin_lock(&ring->tx_lock);
    packets = counters->packets;
    bytes = counters->bytes;
    if (OVS_UNLIKELY(!passes_tx_policy(dev, t))) {
        n_wanted = apply_tx_policy(dev, counters, frames, n);
        t = NULL;
        wait = false;
    }
    done = vpci_ring_push(ring, counters, frames, n_wanted, t);
    if (OVS_LIKELY(done == n_wanted)) {
        ring->full_since = 0;
    } else if (!may_wait_for(ring, done, now) || !wait) {
        vpci_counter_add(&counters->drops[VPCI_DROP_TX_FULL],
                         n_wanted - done);
        done = n_wanted;
    }
    vpci_counter_add(&counters->spliced_packets,
                     counters->packets - packets);
    vpci_counter_add(&counters->spliced_bytes, counters->bytes - bytes);
    ovs_spin_unlock(&ring->tx_lock);
    return wait ? done : n;
}

/* Counts 'n' packets that 'dev', which is not open, does not get. */
static void
count_closed(struct netdev_vpci *dev, int n)
{
    bool paused = __atomic_load_n(&dev->in_pause, __ATOMIC_RELAXED);
    struct vpci_ring *ring = &dev->rings[VPCI_RING_TO_GUEST(0)];

    ovs_spin_lock(&ring->tx_lock);
    vpci_counter_add(&ring->spliced.drops[paused ? VPCI_DROP_TX_PAUSED
                                          : VPCI_DROP_TX_NO_GUEST], n);
    ovs_spin_unlock(&ring->tx_lock);
}

/* Sends 'frames[0..n)', which 't' counts, to 'dev' and returns how many have
 * been dealt with.  It is all of them unless 'wait' is true, which takes frames
 * that pass the port's policy, and the guest has no more room. */
static int
send_counted(struct netdev_vpci *dev, struct vpci_pkt *frames, int n,
             const struct vpci_tally *t, bool wait, uint64_t now)
{
    if (OVS_UNLIKELY(!__atomic_load_n(&dev->splice_open, __ATOMIC_ACQUIRE))) {
        count_closed(dev, n);
        return n;
    }
    return send_to_ring(dev, frames, n, t, wait, now);
}

/* Sends all of 'frames[0..n)' to 'dev'. */
static void
send_frames(struct netdev_vpci *dev, struct vpci_pkt *frames, int n,
            uint64_t now)
{
    struct vpci_tally t = { .packets = 0 };

    for (int i = 0; i < n; i++) {
        vpci_tally_pkt(&t, &frames[i]);
    }
    send_counted(dev, frames, n, &t, false, now);
}

/* Programs. */

/* Tells Open vSwitch where the layers of 'packet' are, which has the headers of
 * a packet whose key is 'key'. */
static void
set_layers(struct dp_packet *packet, const union vpci_key *key)
{
    size_t l3 = ETH_HEADER_LEN, end;

    for (int i = 0; i < VPCI_KEY_VLANS; i++) {
        l3 += key->kind & VPCI_KEY_TPID_MASK * VPCI_KEY_TPID(i)
              ? VLAN_HEADER_LEN : 0;
    }
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
                }
            }
            if (dev) {
                send_frames(dev, frames, n, b->now);
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

/* Drops frames that no Ethernet device would pass.  The others are to have
 * keys. */
static void
begin_burst(struct burst *b, struct netdev_vpci *dev)
{
    uint32_t room = vpci_mempool_room(dev->mempool);

    b->n_keys = 0;
    for (int i = 0; i < b->n; i++) {
        enum vpci_drop fault = vpci_frame_fault(&b->frames[i], room);

        b->programs[i] = NULL;
        b->devs[i] = NULL;
        if (OVS_UNLIKELY(fault != VPCI_N_DROPS)) {
            drop(b, i, fault);
        } else {
            b->keyed[b->n_keys++] = i;
        }
    }
}

/* Drops what exceeds 'policer', of what is to leave the ring. */
static void
police(struct burst *b, struct vpci_policer *policer)
{
    uint32_t lens[VPCI_VRING_BURST];
    uint8_t which[VPCI_VRING_BURST];
    bool pass[VPCI_VRING_BURST];
    int n = 0;

    for (int i = 0; i < b->n; i++) {
        if (b->programs[i] != &dropped) {
            lens[n] = b->frames[i].len;
            which[n++] = i;
        }
    }
    vpci_policer_check(policer, lens, n, pass);
    for (int k = 0; k < n; k++) {
        if (!pass[k]) {
            drop(b, which[k], VPCI_DROP_RX_QOS);
        }
    }
}

/* Tags that Open vSwitch takes for tags. */
static unsigned int
max_vlans(void)
{
    return MIN(flow_vlan_limit, VPCI_KEY_VLANS);
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
    unsigned int n_vlans = max_vlans();
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

/* True if the datapath spreads what it sends to 'dev' over its queues as it
 * likes: packets that are spliced to one of them might overtake others. */
static bool
is_spread(const struct netdev_vpci *dev)
{
    return (dev->n_to_guest > 1
            && __atomic_load_n(&dev->tx_spread, __ATOMIC_RELAXED));
}

/* True if 'program' can send to all its ports.  Sets '*dev' if there is only one
 * and packets go there as they are. */
static bool
resolve(const struct vpci_program *program, struct netdev_vpci **dev)
{
    *dev = NULL;
    for (size_t i = 0; i < program->n_ops; i++) {
        const struct vpci_op *op = &program->ops[i];

        if (op->kind == VPCI_OP_OUTPUT) {
            *dev = vpci_target_dev(op->target);
            if (!*dev || OVS_UNLIKELY(is_spread(*dev))) {
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
                              max_vlans(), VPCI_DEPTH_L4, &key));
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
        } else if (OVS_UNLIKELY(!can_edit(b, program, k))) {
            end_burst(b, i);
            break;
        }
        b->programs[i] = program;
        b->entries[i] = entries[k];
        b->devs[i] = dev;
    }
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
            send_frames(dev, frames, n, b->now);
        } else {
            run_program(b, program, which, n);
        }
    }
}

/* True if packets that 't' counts may wait in the ring while the guest of 'dev'
 * has no room: nobody else waits behind them. */
static bool
may_wait(const struct burst *b, const struct netdev_vpci *from,
         struct netdev_vpci *dev, const struct vpci_tally *t)
{
    const struct vpci_target *sole
        = __atomic_load_n(&b->splicer->source->sole, __ATOMIC_ACQUIRE);

    return (sole && vpci_target_dev(sole) == dev
            && (b->now - b->splicer->last_other
                >= rte_get_tsc_hz() / 1000 * SOLE_MS)
            && !ovsrcu_get(struct vpci_policer *, &from->ingress)
            && passes_tx_policy(dev, t));
}

/* Counts 't', which is spliced. */
static void
count_spliced(struct vpci_counters *c, const struct vpci_tally *t)
{
    vpci_counters_add_tally(c, t);
    vpci_counter_add(&c->spliced_packets, t->packets);
    vpci_counter_add(&c->spliced_bytes, t->bytes);
}

/* Counts the burst, of which 't' is what is spliced, for the port. */
static void
count_received(struct burst *b, struct vpci_counters *c,
               const struct vpci_tally *t)
{
    count_spliced(c, t);
    vpci_counter_add(&c->splice_bursts, t->packets > 0);
    if (OVS_LIKELY(t->packets == b->n)) {
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
        packets++;
        bytes += b->frames[i].len;
        tcp_flags |= b->keys[k].tcp_flags;
    }
    if (packets) {
        vpci_steer_count(b->splicer->reader, entry, packets, bytes, tcp_flags,
                         b->now);
    }
}

/* Notes that something went to 'to', or, if that is null, to several places or
 * to the datapath. */
static void
note_where(struct vpci_splicer *s, const struct netdev_vpci *to, uint64_t now)
{
    const struct vpci_target *sole
        = __atomic_load_n(&s->source->sole, __ATOMIC_ACQUIRE);

    if (OVS_UNLIKELY(!to || !sole || vpci_target_dev(sole) != to)) {
        s->last_other = now;
    }
}

/* Deals with the frames of 'b', of which 'n_up' go to the datapath.  Afterwards
 * 'b->n' is how many have left the ring. */
static void
deal_with(struct burst *b, struct netdev_vpci *dev, struct vpci_rxq *rxq,
          int n_up)
{
    struct netdev_vpci *to = n_up || !b->n ? NULL : only_dev(b);
    struct vpci_tally t;
    bool wait;

    tally_spliced(b, &t);
    wait = to && may_wait(b, dev, to, &t);
    if (wait) {
        int n = b->n;

        b->n = send_counted(to, b->frames, n, &t, true, b->now);
        if (b->n < n) {
            tally_spliced(b, &t);
        }
    }
    count_received(b, &rxq->counters, &t);
    count_entries(b);
    note_where(b->splicer, to, b->now);
    if (to && !wait) {
        send_counted(to, b->frames, b->n, &t, false, b->now);
    } else if (!to) {
        send_mixed(b);
    }
}

/* Easy frames: those that go one way, by an entry that asks little of them, and
 * that the rings themselves can pass on. */

/* Returns the port that frames of 'plain' go to if nothing but their length has
 * to be looked at for it, and the longest in '*max_len'; otherwise null. */
static struct netdev_vpci *
easy_target(const struct netdev_vpci *dev, const struct vpci_splicer *s,
            const struct vpci_steer_plain *plain, uint64_t generation,
            uint32_t *max_len)
{
    const struct vpci_program *program
        = (const struct vpci_program *) (uintptr_t) plain->verdict;
    struct netdev_vpci *to;

    if (!program || program->generation > generation
        || program->generation > s->settled
        || !vpci_program_is_current(program)
        || !vpci_program_is_simple(program)) {
        return NULL;
    }
    to = vpci_target_dev(program->ops[0].target);
    if (!to || !__atomic_load_n(&to->splice_open, __ATOMIC_ACQUIRE)
        || is_spread(to)
        || ovsrcu_get(struct vpci_policer *, &to->egress)
        || ovsrcu_get(struct vpci_policer *, &dev->ingress)) {
        return NULL;
    }
    atomic_read_relaxed(&to->max_frame, max_len);
    *max_len = MIN(*max_len, vpci_mempool_room(dev->mempool));
    return to;
}

static void
tally_easy(struct vpci_tally *t, const struct vpci_spliced *spliced, int n)
{
    t->packets = n;
    for (int i = 0; i < n; i++) {
        t->bytes += spliced->lens[i];
        t->sizes[vpci_size_class(spliced->lens[i])]++;
    }
    if (OVS_UNLIKELY(spliced->multicast)) {
        t->broadcast = count_1bits(spliced->broadcast);
        t->multicast = count_1bits(spliced->multicast) - t->broadcast;
    }
}

/* Moves easy frames from the ring of 'rxq' that are like those before.  Returns
 * how many, and sets '*stopped' if there may be others. */
static int
splice_easy(struct netdev_vpci *dev, struct vpci_rxq *rxq, uint64_t now,
            bool *stopped)
{
    struct vpci_splicer *s = rxq->splicer;
    uint64_t generation = __atomic_load_n(&s->source->generation,
                                          __ATOMIC_ACQUIRE);
    struct vpci_tally t = { .packets = 0 };
    struct vpci_steer_plain plain;
    struct vpci_spliced spliced;
    struct netdev_vpci *to;
    struct vpci_ring *ring;
    uint32_t max_len;
    int n;

    *stopped = true;
    if (!vpci_steer_get_plain(s->reader, &plain)) {
        return 0;
    }
    to = easy_target(dev, s, &plain, generation, &max_len);
    if (!to) {
        return 0;
    }
    ring = to->to_guest[vpci_thread_txq() % to->n_to_guest];
    ovs_spin_lock(&ring->tx_lock);
    n = vpci_vring_splice(rxq->ring->vring, ring->vring, &plain, max_len,
                          &spliced);
    if (n) {
        tally_easy(&t, &spliced, n);
        count_spliced(&ring->spliced, &t);
        vpci_counter_add(&ring->spliced.notifies,
                         vpci_vring_notify(ring->vring));
        ring->full_since = 0;
    }
    ovs_spin_unlock(&ring->tx_lock);
    if (n) {
        note_where(s, to, now);
        count_spliced(&rxq->counters, &t);
        vpci_counter_add(&rxq->counters.splice_bursts, 1);
        vpci_steer_count(s->reader, plain.entry, n, t.bytes,
                         spliced.tcp_flags, now);
    }
    *stopped = spliced.stopped;
    return n;
}

/* Takes up to one burst from the ring.  Returns how many frames the ring has
 * lost, and stores in '*n_up' how many went to the datapath. */
static int
splice_burst(struct netdev_vpci *dev, struct vpci_rxq *rxq, uint64_t now,
             struct dp_packet **pkts, int *n_up)
{
    struct vpci_splicer *s = rxq->splicer;
    struct vpci_policer *policer
        = ovsrcu_get(struct vpci_policer *, &dev->ingress);
    uint64_t generation = __atomic_load_n(&s->source->generation,
                                          __ATOMIC_ACQUIRE);
    struct burst b;

    *n_up = 0;
    b.splicer = s;
    b.now = now;
    b.odd = false;
    b.n = vpci_vring_peek(rxq->ring->vring, b.frames, s->max);
    if (!b.n) {
        return 0;
    }
    vpci_pkts_take_heads(b.frames, b.n, b.heads[0] + HEADROOM,
                         sizeof b.heads[0], VPCI_KEY_HEADERS);
    begin_burst(&b, dev);
    make_keys(&b);
    look_up(&b, generation);
    if (OVS_UNLIKELY(policer)) {
        police(&b, policer);
    }
    *n_up = hand_up(&b, dev, rxq, pkts);
    deal_with(&b, dev, rxq, *n_up);
    if (OVS_UNLIKELY(b.odd) && s->settled != UINT64_MAX) {
        /* Whatever is spliced waits for it: see settle(). */
        s->settled = s->settling = 0;
    }
    s->max = b.n ? VPCI_VRING_BURST : 1;
    vpci_vring_release(rxq->ring->vring, b.n);
    return b.n;
}

static void
start_settling(struct vpci_splicer *s, uint64_t newest, uint64_t now)
{
    s->settling = newest;
    s->settling_since = now;
    s->due = false;
}

/* Keeps packets of megaflows that have just been offloaded from overtaking those
 * that came before, as long as the datapath may have kept these.  While a
 * program is not settled, its packets wait in the ring.  Whatever went to the
 * datapath before has been dealt with by the time of this call, 'now'. */
static void
settle(struct vpci_splicer *s, uint64_t now)
{
    uint64_t hold = vpci_datapath_hold_cycles(now);
    uint64_t newest;

    if (OVS_LIKELY(!hold)) {
        s->settled = UINT64_MAX;
        s->settling = 0;
        return;
    }
    newest = __atomic_load_n(&s->source->generation, __ATOMIC_ACQUIRE);
    if (s->settled == UINT64_MAX) {
        /* What was sent just now may be kept already. */
        s->settled = 0;
        start_settling(s, newest, now);
    } else if (!s->settling && s->settled < newest) {
        start_settling(s, newest, now);
    } else if (s->settling && now - s->settling_since > hold) {
        /* It is due, and sent between this call and the next. */
        if (s->due) {
            s->settled = s->settling;
            s->settling = 0;
        }
        s->due = !s->due;
    }
}

/* Like splice_easy(), unless that has been in vain lately. */
static int
try_easy(struct netdev_vpci *dev, struct vpci_rxq *rxq, uint64_t now,
         bool *stopped)
{
    struct vpci_splicer *s = rxq->splicer;
    int n;

    if (OVS_UNLIKELY(s->not_easy)) {
        s->not_easy--;
        *stopped = true;
        return 0;
    }
    n = splice_easy(dev, rxq, now, stopped);
    if (OVS_UNLIKELY(!n && *stopped)) {
        s->not_easy = NOT_EASY_BURSTS;
    }
    return n;
}

int
vpci_splice(struct netdev_vpci *dev, struct vpci_rxq *rxq,
            struct dp_packet **pkts, bool *moved)
{
    struct vpci_steer_reader *reader = rxq->splicer->reader;
    uint64_t start = rte_get_tsc_cycles();
    int n_up = 0;

    settle(rxq->splicer, start);
    vpci_steer_enter(reader);
    for (int i = 0; i < MAX_BURSTS; i++) {
        bool stopped;
        int n = try_easy(dev, rxq, start, &stopped);

        if (!n && stopped) {
            n = splice_burst(dev, rxq, start, pkts, &n_up);
            stopped = false;
        }
        *moved |= n > 0;
        if ((n < VPCI_VRING_BURST && !stopped) || n_up) {
            break;
        }
    }
    vpci_steer_leave(reader);
    if (*moved && vpci_vring_notify(rxq->ring->vring)) {
        vpci_counter_add(&rxq->counters.notifies, 1);
    }
    if (*moved && !n_up) {
        vpci_counter_add(&rxq->counters.splice_cycles,
                         rte_get_tsc_cycles() - start);
    }
    return n_up;
}
