/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

#include "channel-private.h"

#ifndef __KERNEL__
#include <string.h>
#endif

#define CHANNEL_MAGIC 0x76706369636861

/* Rings anew so many times in a second, at most: an other side that says each
 * moment that it begins anew keeps nobody busy. */
#define MIN_MEETING_MS 20

static size_t
round_up(size_t n)
{
    return (n + VPCI_ABI_LINE - 1) & -(size_t) VPCI_ABI_LINE;
}

/* Bytes of both ends of ring 'index'. */
static size_t
ends_bytes(const struct vpci_layout *layout, bool calls)
{
    uint32_t slots_log2 = (calls ? VPCI_ABI_MIN_SLOTS_LOG2
                           : layout->shape.slots_log2);

    return (round_up(vpci_ring_tx_bytes(1u << slots_log2))
            + round_up(vpci_ring_rx_bytes()));
}

static bool
has_calls(const struct vpci_layout *layout)
{
    return vpci_layout_is_base(layout->shape.kind);
}

size_t
vpci_channel_bytes(const struct vpci_layout *layout)
{
    return (round_up(sizeof(struct vpci_channel))
            + layout->n_rings * ends_bytes(layout, false)
            + (has_calls(layout) ? ends_bytes(layout, true) : 0));
}

/* Where the ends of ring 'index' are. */
static uint8_t *
ends_at(const struct vpci_channel *ch, uint32_t index)
{
    const struct vpci_layout *layout = &ch->config.layout;
    uint32_t i = index == VPCI_LAYOUT_CALLS ? layout->n_rings : index;

    return ((uint8_t *) ch + round_up(sizeof *ch)
            + i * ends_bytes(layout, false));
}

struct vpci_ring_rx *
vpci_channel_rx(struct vpci_channel *ch, uint32_t index)
{
    return (void *) ends_at(ch, index);
}

struct vpci_ring_tx *
vpci_channel_tx(struct vpci_channel *ch, uint32_t index)
{
    return (void *) (ends_at(ch, index) + round_up(vpci_ring_rx_bytes()));
}

const char *
vpci_channel_state_name(enum vpci_channel_state state)
{
    return (state == VPCI_CHANNEL_RUNNING ? "running"
            : state == VPCI_CHANNEL_MEETING ? "meeting" : "alone");
}

bool
vpci_channel_is_current(const struct vpci_channel *ch)
{
    return channel_is_current(ch);
}

/* A ring is broken, by the other side or because that begins anew: it says so
 * before it touches its words of the ring (I pairs with J). */
static void
report(void *ch_, const struct vpci_fault *fault)
{
    struct vpci_channel *ch = ch_;

    __atomic_thread_fence(__ATOMIC_ACQUIRE);            /* (J) */
    if (vpci_channel_is_current(ch) && ch->config.report) {
        ch->config.report(ch->config.aux, fault);
    }
}

/* Calls 'cb' for each ring, until that returns false.  Returns whether it never
 * did. */
static bool
for_each_ring(struct vpci_channel *ch,
              bool (*cb)(struct vpci_channel *, uint32_t index,
                         const struct vpci_ring_memory *to_other,
                         const struct vpci_ring_memory *from_other))
{
    const struct vpci_layout *layout = &ch->config.layout;
    unsigned int side = ch->config.side;

    for (uint32_t i = 0; i < layout->n_rings + has_calls(layout); i++) {
        uint32_t index = i < layout->n_rings ? i : VPCI_LAYOUT_CALLS;
        struct vpci_ring_memory to_other, from_other;

        vpci_layout_ring(layout, ch->config.base, side, index, &to_other);
        vpci_layout_ring(layout, ch->config.base, !side, index, &from_other);
        if (!cb(ch, index, &to_other, &from_other)) {
            return false;
        }
    }
    return true;
}

/* What the ring to the other side is called in reports. */
static uint16_t
tx_number(const struct vpci_channel *ch, uint32_t index)
{
    return 2 * (index == VPCI_LAYOUT_CALLS ? ch->config.layout.n_rings
                : index);
}

static bool
make_ring(struct vpci_channel *ch, uint32_t index,
          const struct vpci_ring_memory *to_other,
          const struct vpci_ring_memory *from_other)
{
    vpci_ring_tx_init(vpci_channel_tx(ch, index), to_other, &ch->peer,
                      tx_number(ch, index));
    vpci_ring_rx_init(vpci_channel_rx(ch, index), from_other, &ch->peer,
                      tx_number(ch, index) + 1);
    return true;
}

static bool
resume_ring(struct vpci_channel *ch, uint32_t index,
            const struct vpci_ring_memory *to_other,
            const struct vpci_ring_memory *from_other)
{
    return (vpci_ring_tx_resume(vpci_channel_tx(ch, index), to_other,
                                &ch->peer, tx_number(ch, index))
            && vpci_ring_rx_resume(vpci_channel_rx(ch, index), from_other,
                                   &ch->peer, tx_number(ch, index) + 1));
}

/* Sets what belongs to this process. */
static void
attach(struct vpci_channel *ch, const struct vpci_channel_config *config)
{
    ch->config = *config;
    ch->own = vpci_layout_state(&config->layout, config->base, config->side);
    ch->other = vpci_layout_state(&config->layout, config->base,
                                  !config->side);
    ch->peer.report = report;
    ch->peer.aux = ch;
    ch->made_at = ch->heard_at = ch->beaten_at = INT64_MIN;
    ch->heartbeat = 0;
}

/* Writes what we say of ourselves. */
static void
introduce(struct vpci_channel *ch)
{
    vpci_store64(&ch->own->features, ch->config.features);
    vpci_store32(&ch->own->n_queues, ch->config.n_queues);
    vpci_store32(&ch->own->n_links, ch->config.n_links);
    memcpy(ch->own->mac, ch->config.mac, sizeof ch->own->mac);
}

void
vpci_channel_begin(struct vpci_channel *ch,
                   const struct vpci_channel_config *config, uint32_t epoch)
{
    memset(ch, 0, sizeof *ch);
    attach(ch, config);
    ch->shape = config->layout.shape;
    ch->epoch = epoch ? epoch : 1;
    ch->magic = CHANNEL_MAGIC;

    introduce(ch);
    vpci_store32_release(&ch->own->seen, 0);
    vpci_store32_release(&ch->own->epoch, ch->epoch);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);            /* (I) */
}

bool
vpci_channel_resume(struct vpci_channel *ch,
                    const struct vpci_channel_config *config)
{
    if (ch->magic != CHANNEL_MAGIC
        || memcmp(&ch->shape, &config->layout.shape, sizeof ch->shape)) {
        return false;
    }
    attach(ch, config);
    if (ch->peer_epoch && !for_each_ring(ch, resume_ring)) {
        return false;
    }
    introduce(ch);
    vpci_store32_release(&ch->own->epoch, ch->epoch);
    vpci_store32_release(&ch->own->seen, ch->peer_epoch);
    return true;
}

void
vpci_channel_end(struct vpci_channel *ch)
{
    vpci_store32_release(&ch->own->seen, 0);
    vpci_store32_release(&ch->own->epoch, 0);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);            /* (I) */
    ch->magic = 0;
    ch->runs = false;
}

/* Reads, once, what the other side says of itself. */
static void
learn_peer(struct vpci_channel *ch)
{
    uint32_t n_queues = vpci_load32(&ch->other->n_queues);
    uint32_t n_links = vpci_load32(&ch->other->n_links);

    ch->peer_features = vpci_load64(&ch->other->features);
    ch->peer_n_queues = (n_queues < 1 ? 1
                         : n_queues > ch->shape.n_queues ? ch->shape.n_queues
                         : n_queues);
    ch->peer_n_links = (n_links < ch->shape.n_links ? n_links
                        : ch->shape.n_links);
    memcpy(ch->peer_mac, ch->other->mac, sizeof ch->peer_mac);
}

/* The other side has another epoch: begins with it. */
static void
meet(struct vpci_channel *ch, uint32_t peer_epoch, int64_t now_ms)
{
    vpci_store32_release(&ch->own->seen, 0);
    ch->runs = false;
    ch->peer_epoch = 0;
    if (peer_epoch && (ch->made_at == INT64_MIN
                       || now_ms - ch->made_at >= MIN_MEETING_MS)) {
        learn_peer(ch);
        for_each_ring(ch, make_ring);
        ch->made_at = now_ms;
        ch->peer_epoch = peer_epoch;
        vpci_store32_release(&ch->own->seen, peer_epoch);
    }
}

static void
beat(struct vpci_channel *ch, int64_t now_ms)
{
    uint32_t heartbeat = vpci_load32(&ch->other->heartbeat);

    if (ch->heard_at == INT64_MIN || heartbeat != ch->heartbeat) {
        ch->heartbeat = heartbeat;
        ch->heard_at = now_ms;
    }
    if (ch->beaten_at == INT64_MIN
        || now_ms - ch->beaten_at >= VPCI_ABI_BEAT_MS / 2) {
        vpci_store32(&ch->own->heartbeat, ++ch->n_beats);
        ch->beaten_at = now_ms;

        /* Where the other side can write everything, it may have, before it
         * began anew: without these words it would wait for ever. */
        introduce(ch);
        vpci_store32_release(&ch->own->epoch, ch->epoch);
        vpci_store32_release(&ch->own->seen, ch->peer_epoch);
    }
}

enum vpci_channel_state
vpci_channel_run(struct vpci_channel *ch, int64_t now_ms)
{
    uint32_t peer_epoch = vpci_load32_acquire(&ch->other->epoch);

    beat(ch, now_ms);
    if (ch->runs && !channel_knows(ch, peer_epoch)) {
        /* By the epoch that was loaded once: it may change all the time. */
        ch->runs = false;
        return peer_epoch ? VPCI_CHANNEL_MEETING : VPCI_CHANNEL_ALONE;
    }
    if (peer_epoch != ch->peer_epoch || !peer_epoch) {
        meet(ch, peer_epoch, now_ms);
    }
    ch->runs = ch->peer_epoch && vpci_channel_is_current(ch);
    return (ch->runs ? VPCI_CHANNEL_RUNNING
            : peer_epoch ? VPCI_CHANNEL_MEETING : VPCI_CHANNEL_ALONE);
}

bool
vpci_channel_must_stop(const struct vpci_channel *ch)
{
    return ch->runs && !vpci_channel_is_current(ch);
}

uint64_t
vpci_channel_features(const struct vpci_channel *ch)
{
    return ch->config.features & ch->peer_features;
}

uint32_t
vpci_channel_n_queues(const struct vpci_channel *ch)
{
    return (ch->config.n_queues < ch->peer_n_queues ? ch->config.n_queues
            : ch->peer_n_queues);
}

uint32_t
vpci_channel_n_links(const struct vpci_channel *ch)
{
    return ch->peer_n_links;
}

bool
vpci_channel_peer_mac(const struct vpci_channel *ch, uint8_t mac[6])
{
    static const uint8_t none[6];

    memcpy(mac, ch->peer_mac, sizeof ch->peer_mac);
    return memcmp(mac, none, sizeof none) != 0;
}

int64_t
vpci_channel_silence(const struct vpci_channel *ch, int64_t now_ms)
{
    return ch->heard_at == INT64_MIN ? 0 : now_ms - ch->heard_at;
}
