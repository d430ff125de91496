/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0 */

/* Calls: what a guest asks the switch, see "Calls" in vpci/abi.h.
 *
 * There is one call at a time, whichever thread makes it: this is nothing that
 * needs to be fast.  That thread is a worker as others are, with a gate of its
 * own, and leaves nothing behind: a reply that comes when nobody waits for it
 * any more is passed over by the next call. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-private.h"

#include <errno.h>
#include <string.h>

/* Others may clear the signal before we see it, it may be masked, and nobody
 * tells that the switch has gone: look by ourselves so often. */
#define LOOK_US 5000

/* Packets that are not our reply, after which the switch makes no sense. */
#define MAX_STRAY 64

/* What is no errno: the reply has not come. */
#define NOT_YET (-1)

/* A call under way. */
struct call {
    uint32_t func;
    void *data;
    uint32_t len;
    int64_t deadline;           /* In us of net_now_us(). */
    bool sent;                  /* If so... */
    uint32_t xid;
    uint32_t meeting;           /* ...by the rings of this one. */
    unsigned int n_stray;
};

/* Puts the request into the ring, if there is room. */
static void
send_request(struct vpci_net *net, struct call *call, bool *tell)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(net->base.channel,
                                              VPCI_LAYOUT_CALLS);
    const struct vpci_abi_call header = {
        .kind = VPCI_LE32(VPCI_ABI_CALL_REQUEST),
        .func = VPCI_LE32(call->func),
        .xid = VPCI_LE32(net->xid + 1),
        .len = VPCI_LE32(call->len),
    };
    uint8_t *p = vpci_ring_reserve(tx, sizeof header + call->len);

    if (!p) {
        return;
    }
    memcpy(p, &header, sizeof header);
    if (call->len) {
        memcpy(p + sizeof header, call->data, call->len);
    }
    vpci_ring_submit(tx, sizeof header + call->len, NULL);
    *tell |= vpci_ring_publish(tx);
    call->sent = true;
    call->xid = ++net->xid;
    call->meeting = net->n_meetings;
}

/* Reads a packet.  Returns NOT_YET if it is not the reply; otherwise what the
 * call returns. */
static int
read_reply(struct call *call, const struct vpci_ring_pkt *pkt)
{
    struct vpci_abi_call header;
    uint32_t len = pkt->len - sizeof header, error;

    if (pkt->len < sizeof header) {
        return NOT_YET;
    }
    memcpy(&header, pkt->data, sizeof header);
    if (!call->sent || VPCI_LE32(header.kind) != VPCI_ABI_CALL_REPLY
        || VPCI_LE32(header.xid) != call->xid) {
        return NOT_YET;
    }
    error = VPCI_LE32(header.error);
    if (VPCI_LE32(header.func) != call->func || VPCI_LE32(header.len) != len
        || len != (error ? 0 : call->len) || error > VPCI_ABI_CALL_MAX_ERRNO) {
        return EPROTO;
    }
    if (len) {
        memcpy(call->data, (const uint8_t *) pkt->data + sizeof header, len);
    }
    return error;
}

/* Takes packets until there are no more, or one is the reply.  Returns NOT_YET
 * if none is. */
static int
receive_reply(struct vpci_net *net, struct call *call, bool *tell)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(net->base.channel,
                                              VPCI_LAYOUT_CALLS);
    struct vpci_ring_pkt pkt;

    do {
        while (vpci_ring_peek(rx, &pkt, 1)) {
            int error = read_reply(call, &pkt);

            *tell |= vpci_ring_release(rx, 1);
            if (error != NOT_YET) {
                return error;
            }
            if (++call->n_stray > MAX_STRAY) {
                return EPROTO;
            }
        }
    } while (!vpci_ring_rx_sleep(rx, 1) && !vpci_ring_rx_fault(rx));
    return NOT_YET;
}

/* True if nobody is there to answer, although rings may be used. */
static bool
is_silent(struct vpci_net *net)
{
    bool silent;

    pthread_mutex_lock(&net->mutex);
    silent = net->info.silence_ms > NET_MAX_SILENCE_MS;
    pthread_mutex_unlock(&net->mutex);
    return silent;
}

/* Does what can be done now, inside the gate. */
static int
step(struct vpci_net *net, struct call *call)
{
    bool tell = false;
    int error;

    if ((call->sent && call->meeting != net->n_meetings) || is_silent(net)) {
        return ENOTCONN;
    }
    if (!vpci_load32(&vpci_layout_port(net->base.base)->calls)) {
        return EOPNOTSUPP;
    }
    if (!call->sent) {
        send_request(net, call, &tell);
    }
    /* Also without room: replies that nobody has taken may be why. */
    error = receive_reply(net, call, &tell);
    if (tell) {
        vpci_signal_inject(net_region_signal(&net->base, VPCI_LAYOUT_CALLS));
    }
    return error;
}

/* With 'call_mutex'. */
static int
call_switch(struct vpci_net *net, struct call *call)
{
    struct net_worker *w = &net->caller;

    for (;;) {
        int64_t now;
        int error;

        if (!net_enter(net, w)) {
            return ENOTCONN;
        }
        error = step(net, call);
        net_note_events(w, error != NOT_YET);
        net_poll_masked(w);
        net_leave(w);
        now = net_now_us();
        if (error != NOT_YET) {
            return error;
        }
        if (now >= call->deadline) {
            return ETIMEDOUT;
        }
        net_sleep_until(w, (call->deadline - now < LOOK_US ? call->deadline
                            : now + LOOK_US));
    }
}

int
net_call(void *net_, uint32_t func, void *data, uint32_t len)
{
    struct vpci_net *net = net_;
    struct call call = {
        .func = func,
        .data = data,
        .len = len,
        .deadline = net_now_us() + VPCI_NET_CALL_MS * INT64_C(1000),
    };
    struct timespec ts = {
        .tv_sec = call.deadline / 1000000,
        .tv_nsec = call.deadline % 1000000 * 1000,
    };
    int error;

    if (len > VPCI_ABI_CALL_MAX) {
        return E2BIG;
    }
    error = pthread_mutex_clocklock(&net->call_mutex, CLOCK_MONOTONIC, &ts);
    if (!error) {
        error = call_switch(net, &call);
        pthread_mutex_unlock(&net->call_mutex);
    }
    return error;
}

/* Copies a text that somebody else wrote, for people. */
static void
copy_text(char *dst, size_t size, const char *src, size_t src_size)
{
    size_t n = strnlen(src, src_size < size ? src_size : size - 1);

    for (size_t i = 0; i < n; i++) {
        dst[i] = src[i] >= ' ' && src[i] <= '~' ? src[i] : '?';
    }
    dst[n] = '\0';
}

int
vpci_net_get_port(struct vpci_net *net, struct vpci_net_port *port)
{
    struct vpci_abi_port_info info = { .version = 0 };
    int error = net_call(net, VPCI_ABI_CALL_GET_PORT, &info, sizeof info);

    memset(port, 0, sizeof *port);
    if (error) {
        return error;
    }
    copy_text(port->name, sizeof port->name, info.name, sizeof info.name);
    copy_text(port->software, sizeof port->software, info.software,
              sizeof info.software);
    port->mtu = VPCI_LE32(info.mtu);
    port->admin_up = VPCI_LE32(info.admin_state) == 1;
    port->link_up = VPCI_LE32(info.link_state) == 1;
    port->n_classes = VPCI_LE32(info.n_classes);
    port->class_by = (enum vpci_abi_class_by) VPCI_LE32(info.class_by);
    return 0;
}
