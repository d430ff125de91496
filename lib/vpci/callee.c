/* SPDX-License-Identifier: Apache-2.0 */

/* Who answers calls: see callee.h. */

#include "callee.h"

#include <errno.h>
#include <string.h>

/* A packet, in 'tokens': those of VPCI_CALLEE_RATE packets come in a second,
 * and so VPCI_CALLEE_RATE of them in a millisecond. */
#define TOKEN 1000

/* What is looked at in a call of vpci_callee_run(). */
struct run {
    struct vpci_callee *callee;
    struct vpci_ring_rx *rx;
    struct vpci_ring_tx *tx;
    unsigned int events;
};

void
vpci_callee_init(struct vpci_callee *callee, vpci_device_answer *answer,
                 void *aux, uint8_t *room)
{
    memset(callee, 0, sizeof *callee);
    callee->answer = answer;
    callee->aux = aux;
    callee->room = room;
    callee->tokens = VPCI_CALLEE_BURST * TOKEN;
    callee->filled_at = INT64_MIN;
}

/* Gives it the packets that it may take since it was run last. */
static void
fill(struct vpci_callee *callee, int64_t now_ms)
{
    const uint64_t max = VPCI_CALLEE_BURST * TOKEN;

    if (callee->filled_at != INT64_MIN && now_ms > callee->filled_at) {
        uint64_t ms = now_ms - callee->filled_at;

        callee->tokens += (ms < max ? ms : max) * VPCI_CALLEE_RATE;
        callee->tokens = callee->tokens < max ? callee->tokens : max;
    }
    callee->filled_at = now_ms;
}

/* Says that 'event' is so now, or is not.  Counts that it begins in
 * '*counter'. */
static void
set_waiting(struct run *run, enum vpci_callee_event event, bool *is_so,
            bool now, uint64_t *counter)
{
    if (now && !*is_so) {
        ++*counter;
        run->events |= event;
    }
    *is_so = now;
}

/* True if nothing but EBADMSG can be said to a packet of 'len' bytes. */
static bool
is_bad_request(const struct vpci_abi_call *call, uint32_t len)
{
    static const uint8_t zeros[sizeof call->reserved];

    return (VPCI_LE32(call->len) != len - sizeof *call || call->error
            || memcmp(call->reserved, zeros, sizeof zeros));
}

/* Makes the packet of 'len' bytes in callee->room, a copy of what the guest
 * has written, the reply to it.  Returns the reply's length, or 0 if there is
 * none. */
static uint32_t
answer(struct run *run, uint32_t len)
{
    struct vpci_callee *callee = run->callee;
    uint8_t *data = callee->room + sizeof(struct vpci_abi_call);
    struct vpci_abi_call call;
    int error = EBADMSG;

    memcpy(&call, callee->room, len < sizeof call ? len : sizeof call);
    if (len < sizeof call
        || VPCI_LE32(call.kind) != VPCI_ABI_CALL_REQUEST) {
        callee->stats.bad++;
        run->events |= VPCI_CALLEE_BAD;
        return 0;
    }
    len -= sizeof call;
    if (is_bad_request(&call, len + sizeof call)) {
        callee->stats.bad++;
        run->events |= VPCI_CALLEE_BAD;
    } else {
        error = callee->answer(callee->aux, VPCI_LE32(call.func), data, len);
        callee->stats.calls++;
        callee->stats.refused += error != 0;
    }
    len = error ? 0 : len;
    call = (struct vpci_abi_call) {
        .kind = VPCI_LE32(VPCI_ABI_CALL_REPLY),
        .func = call.func,
        .xid = call.xid,
        .len = VPCI_LE32(len),
        .error = VPCI_LE32((uint32_t) error),
    };
    memcpy(callee->room, &call, sizeof call);
    return sizeof call + len;
}

/* Takes one packet, if there is one and room for its reply, and answers it.
 * Returns false if that cannot be. */
static bool
serve(struct run *run)
{
    struct vpci_callee *callee = run->callee;
    struct vpci_ring_pkt pkt;
    bool limited, stuck;
    uint32_t len;
    void *reply;

    if (!vpci_ring_peek(run->rx, &pkt, 1)) {
        callee->is_limited = callee->is_stuck = false;
        return false;
    }
    limited = callee->tokens < TOKEN;
    set_waiting(run, VPCI_CALLEE_LIMITED, &callee->is_limited, limited,
                &callee->stats.limited);
    len = pkt.len;
    reply = limited ? NULL
            : vpci_ring_reserve(run->tx, len > sizeof(struct vpci_abi_call)
                                ? len : sizeof(struct vpci_abi_call));
    stuck = !limited && !reply && !vpci_ring_tx_fault(run->tx);
    set_waiting(run, VPCI_CALLEE_STUCK, &callee->is_stuck, stuck,
                &callee->stats.stuck);
    if (!reply) {
        return false;
    }
    callee->tokens -= TOKEN;
    memcpy(callee->room, pkt.data, len);

    /* Before it is answered: it is not served again, whatever happens. */
    run->events |= vpci_ring_release(run->rx, 1) ? VPCI_CALLEE_TELL : 0;
    len = answer(run, len);
    if (len) {
        memcpy(reply, callee->room, len);
        vpci_ring_submit(run->tx, len, NULL);
        run->events |= vpci_ring_publish(run->tx) ? VPCI_CALLEE_TELL : 0;
    }
    return true;
}

unsigned int
vpci_callee_run(struct vpci_callee *callee, struct vpci_channel *channel,
                int64_t now_ms)
{
    struct run run = {
        .callee = callee,
        .rx = vpci_channel_rx(channel, VPCI_LAYOUT_CALLS),
        .tx = vpci_channel_tx(channel, VPCI_LAYOUT_CALLS),
    };

    fill(callee, now_ms);
    if (!vpci_channel_is_current(channel) || vpci_ring_tx_fault(run.tx)) {
        return 0;
    }
    while (serve(&run)) {
        continue;
    }
    if (!callee->is_limited && !callee->is_stuck
        && !vpci_ring_rx_sleep(run.rx, 1)) {
        run.events |= VPCI_CALLEE_AGAIN;
    }
    return run.events;
}
