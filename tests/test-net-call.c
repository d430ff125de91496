/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of calls between a guest of vpci-net and its switch (vpci/abi.h).
 *
 * usage: test-net-call [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "callee.h"
#include "net-switch.h"
#include "unit-test.h"
#include "vpci/device.h"
#include "vpci/net.h"

#define TIMEOUT_MS 20000

/* Functions of our switch beside those of vpci/abi.h. */
#define FUNC_FAILS 1000         /* With ENOENT. */
#define FUNC_UNKNOWN 1001

/* A switch that asks nobody to wait: time goes so much faster for it. */
#define HASTE 100

static const struct vpci_shape shape = {
    .kind = VPCI_ABI_BASE,
    .n_queues = 1,
    .n_classes = 1,
    .slots_log2 = 4,
    .data_log2 = 17,
    .n_vectors = 2,
};

static void
answer_port(struct vpci_abi_port_info *info)
{
    memset(info, 0, sizeof *info);
    info->version = VPCI_LE32(VPCI_ABI_PORT_INFO_VERSION);
    info->size = VPCI_LE32((uint32_t) sizeof *info);
    info->mtu = VPCI_LE32(9000);
    info->admin_state = VPCI_LE32(1);
    info->n_classes = VPCI_LE32(4);
    info->class_by = VPCI_LE32(VPCI_ABI_CLASS_DSCP);
    strcpy(info->name, "p\n\33[1m");

    /* Without an end. */
    memset(info->software, 's', sizeof info->software);
}

static int
answer(void *aux, uint32_t func, void *data, uint32_t len)
{
    struct vpci_abi_port_info info;

    (void) aux;
    switch (func) {
    case VPCI_ABI_CALL_PING:
        return 0;
    case VPCI_ABI_CALL_GET_PORT:
        answer_port(&info);
        memset(data, 0, len);
        memcpy(data, &info, len < sizeof info ? len : sizeof info);
        return 0;
    case FUNC_FAILS:
        return ENOENT;
    default:
        return EOPNOTSUPP;
    }
}

static uint8_t room[VPCI_ABI_MAX_LEN];

/* A guest, and a switch in a thread of its own. */
struct fixture {
    struct net_switch s;
    struct vpci_net *net;
    struct vpci_device *device;
    bool own_thread;
    struct vpci_callee callee;
    pthread_t thread;
    bool stop;                  /* Atomic. */

    pthread_mutex_t mutex;      /* Protects 's' and what follows. */
    bool runs;                  /* The switch. */
    void (*serve)(struct fixture *); /* How it answers; null: not at all. */
    int lie;                    /* Of serve_lie(). */
    unsigned int n_requests;    /* That it has had. */
};

static void
serve_well(struct fixture *f)
{
    unsigned int events = vpci_callee_run(&f->callee, f->s.port.channel,
                                          net_now_ms() * HASTE);

    if (events & VPCI_CALLEE_TELL) {
        switch_port_inject_all(&f->s.port);
    }
}

static void *
switch_main(void *f_)
{
    struct fixture *f = f_;

    while (!__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&f->mutex);
        if (f->runs && net_switch_run(&f->s) && f->serve) {
            f->serve(f);
        }
        pthread_mutex_unlock(&f->mutex);
        usleep(300);
    }
    return NULL;
}

static bool
fixture_init(struct fixture *f, bool own_thread)
{
    struct vpci_net_config config = { .own_thread = own_thread };
    char reason[200];

    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->mutex, NULL);
    vpci_callee_init(&f->callee, answer, NULL, room);
    f->serve = serve_well;
    f->own_thread = own_thread;
    CHECK(net_switch_start(&f->s, &shape));
    CHECK(!vpci_net_open(f->s.path, &config, &f->net, reason, sizeof reason));
    CHECK(!pthread_create(&f->thread, NULL, switch_main, f));
    return true;
}

static void
fixture_uninit(struct fixture *f)
{
    vpci_device_release(f->device);
    vpci_net_close(f->net);
    __atomic_store_n(&f->stop, true, __ATOMIC_RELEASE);
    pthread_join(f->thread, NULL);
    net_switch_stop(&f->s);
    pthread_mutex_destroy(&f->mutex);
}

/* Begins, or begins anew, as the switch, which answers by 'serve'. */
static void
begin(struct fixture *f, void (*serve)(struct fixture *))
{
    pthread_mutex_lock(&f->mutex);
    net_switch_begin(&f->s);
    f->runs = true;
    f->serve = serve;
    pthread_mutex_unlock(&f->mutex);
}

static void
set_serve(struct fixture *f, void (*serve)(struct fixture *), int lie)
{
    pthread_mutex_lock(&f->mutex);
    f->serve = serve;
    f->lie = lie;
    f->n_requests = 0;
    pthread_mutex_unlock(&f->mutex);
}

/* The guest gets there. */
static bool
reach(struct fixture *f, enum vpci_net_state state)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;
    struct vpci_net_info info;

    do {
        if (!f->own_thread) {
            vpci_net_run(f->net, net_now_ms());
        }
        vpci_net_get_info(f->net, &info);
        if (info.state == state) {
            vpci_device_release(f->device);
            f->device = vpci_net_device(f->net);
            return true;
        }
        usleep(500);
    } while (net_now_ms() < deadline);
    fprintf(stderr, "%s is not reached: %s: %s\n", vpci_net_state_name(state),
            vpci_net_state_name(info.state), info.reason);
    return false;
}

/* Returns what a ping of 'len' bytes does, or -1 if they come back as
 * others. */
static int
ping(struct fixture *f, uint32_t len, unsigned int seed)
{
    static __thread uint8_t data[VPCI_ABI_CALL_MAX + 1];
    unsigned int s = seed;
    int error;

    for (uint32_t i = 0; i < len; i++) {
        data[i] = rand_r(&s);
    }
    error = vpci_device_call(f->device, VPCI_ABI_CALL_PING, data, len);
    s = seed;
    for (uint32_t i = 0; i < len; i++) {
        if (data[i] != (uint8_t) rand_r(&s)) {
            return -1;
        }
    }
    return error;
}

/* Begins, or begins anew, as the switch, which the guest can ask then. */
static bool
meet(struct fixture *f)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;
    int error;

    begin(f, serve_well);
    do {
        CHECK(net_now_ms() < deadline && reach(f, VPCI_NET_RUNNING));
        error = ping(f, 10, 1);
    } while (error && error != EOPNOTSUPP);
    return true;
}

static struct vpci_callee_stats
callee_stats(struct fixture *f)
{
    struct vpci_callee_stats stats;

    pthread_mutex_lock(&f->mutex);
    stats = f->callee.stats;
    pthread_mutex_unlock(&f->mutex);
    return stats;
}

static bool
run_answers(void)
{
    static const uint32_t lens[] = {
        0, 1, 79, 80, 81, 1000, 40000, VPCI_ABI_CALL_MAX - 1,
        VPCI_ABI_CALL_MAX,
    };
    uint8_t data[600];
    struct vpci_callee_stats stats;
    struct vpci_net_port port;
    struct vpci_abi_port_info info;
    static struct fixture f;

    CHECK(fixture_init(&f, true) && meet(&f));
    for (unsigned int i = 0; i < 5; i++) {
        for (size_t j = 0; j < sizeof lens / sizeof *lens; j++) {
            CHECK(!ping(&f, lens[j], i * 100 + j));
        }
    }
    CHECK(ping(&f, VPCI_ABI_CALL_MAX + 1, 1) == E2BIG);
    memset(data, 7, sizeof data);
    CHECK(vpci_device_call(f.device, FUNC_FAILS, data, 100) == ENOENT);
    CHECK(vpci_device_call(f.device, FUNC_UNKNOWN, data, 0) == EOPNOTSUPP);
    CHECK(data[0] == 7 && data[99] == 7);
    CHECK(!vpci_device_call(f.device, VPCI_ABI_CALL_PING, NULL, 0));

    /* Who knows more, or less, than the switch. */
    answer_port(&info);
    CHECK(!vpci_device_call(f.device, VPCI_ABI_CALL_GET_PORT, data,
                            sizeof data));
    CHECK(!memcmp(data, &info, sizeof info) && !data[sizeof info]
          && !data[sizeof data - 1]);
    memset(data, 7, sizeof data);
    CHECK(!vpci_device_call(f.device, VPCI_ABI_CALL_GET_PORT, data, 12));
    CHECK(!memcmp(data, &info, 12) && data[12] == 7);

    CHECK(!vpci_net_get_port(f.net, &port));
    CHECK(!strcmp(port.name, "p??[1m") && port.mtu == 9000
          && port.n_classes == 4 && port.class_by == VPCI_ABI_CLASS_DSCP
          && port.admin_up && !port.link_up);
    CHECK(strspn(port.software, "s") == sizeof port.software - 1
          && strlen(port.software) == sizeof port.software - 1);
    stats = callee_stats(&f);
    CHECK(stats.refused == 2 && !stats.bad && stats.calls == 1 + 45 + 6);
    fixture_uninit(&f);
    return true;
}

#define N_THREADS 6

struct caller {
    struct fixture *f;
    unsigned int number;
    int error;
    pthread_t thread;
};

static void *
caller_main(void *c_)
{
    struct caller *c = c_;

    for (unsigned int i = 0; i < 25 && !c->error; i++) {
        c->error = ping(c->f, i * 37 * (1 + c->number), c->number * 1000 + i);
    }
    return NULL;
}

/* Each gets the answer to what it has asked. */
static bool
run_threads(void)
{
    struct caller callers[N_THREADS];
    static struct fixture f;

    CHECK(fixture_init(&f, true) && meet(&f));
    for (unsigned int i = 0; i < N_THREADS; i++) {
        callers[i] = (struct caller) { .f = &f, .number = i };
        CHECK(!pthread_create(&callers[i].thread, NULL, caller_main,
                              &callers[i]));
    }
    for (unsigned int i = 0; i < N_THREADS; i++) {
        pthread_join(callers[i].thread, NULL);
        CHECK(!callers[i].error);
    }
    CHECK(callee_stats(&f).calls == 1 + 25 * N_THREADS);
    fixture_uninit(&f);
    return true;
}

static void *
one_call_main(void *c_)
{
    struct caller *c = c_;

    c->error = ping(c->f, 100, c->number);
    return NULL;
}

/* Nobody answers: all who ask are told after the same time. */
static bool
check_timeout(struct fixture *f)
{
    struct caller callers[2];
    int64_t start = net_now_ms();

    set_serve(f, NULL, 0);
    for (unsigned int i = 0; i < 2; i++) {
        callers[i] = (struct caller) { .f = f, .number = i };
        CHECK(!pthread_create(&callers[i].thread, NULL, one_call_main,
                              &callers[i]));
    }
    for (unsigned int i = 0; i < 2; i++) {
        pthread_join(callers[i].thread, NULL);
        CHECK(callers[i].error == ETIMEDOUT);
    }
    CHECK(net_now_ms() - start >= VPCI_NET_CALL_MS - 1);

    /* Answers that come too late are nobody else's. */
    set_serve(f, serve_well, 0);
    for (unsigned int i = 0; i < 50; i++) {
        CHECK(!ping(f, 100, i));
    }
    return true;
}

static bool
run_nobody(void)
{
    struct vpci_net_port port;
    static struct fixture f;

    CHECK(fixture_init(&f, false));
    CHECK(!vpci_net_device(f.net));
    CHECK(vpci_net_get_port(f.net, &port) == ENOTCONN && !port.mtu);
    CHECK(reach(&f, VPCI_NET_NO_HEADER) && f.device);
    CHECK(ping(&f, 10, 1) == EOPNOTSUPP);

    /* A switch that knows no calls. */
    f.s.words.calls = 0;
    CHECK(meet(&f));
    CHECK(ping(&f, 10, 1) == EOPNOTSUPP);
    f.s.words.calls = VPCI_ABI_CALLS_VERSION;
    CHECK(meet(&f));
    CHECK(!ping(&f, 10, 1));
    CHECK(check_timeout(&f));

    /* It has been silent for long. */
    pthread_mutex_lock(&f.mutex);
    f.runs = false;
    pthread_mutex_unlock(&f.mutex);
    vpci_net_run(f.net, net_now_ms());
    vpci_net_run(f.net, net_now_ms() + 2500);
    CHECK(ping(&f, 10, 1) == ENOTCONN);
    CHECK(meet(&f));
    CHECK(!ping(&f, 10, 1));
    fixture_uninit(&f);
    return true;
}

/* Waits until the switch has a request that it does not answer. */
static bool
await_request(struct fixture *f)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;
    bool ready = false;

    while (!ready) {
        CHECK(net_now_ms() < deadline);
        pthread_mutex_lock(&f->mutex);
        ready = vpci_ring_is_ready(vpci_channel_rx(f->s.port.channel,
                                                   VPCI_LAYOUT_CALLS));
        pthread_mutex_unlock(&f->mutex);
    }
    return true;
}

static bool
start_call(struct fixture *f, struct caller *c)
{
    *c = (struct caller) { .f = f };
    set_serve(f, NULL, 0);
    CHECK(!pthread_create(&c->thread, NULL, one_call_main, c));
    return await_request(f);
}

/* The switch goes, or begins anew, while it is asked. */
static bool
run_switch_leaves(void)
{
    struct vpci_device *device;
    static struct fixture f;
    struct caller c;

    CHECK(fixture_init(&f, true) && meet(&f));
    for (int i = 0; i < 4; i++) {
        CHECK(!ping(&f, 100, i));
        CHECK(start_call(&f, &c));
        if (i % 2) {
            CHECK(meet(&f));
        } else {
            pthread_mutex_lock(&f.mutex);
            vpci_channel_end(f.s.port.channel);
            f.runs = false;
            pthread_mutex_unlock(&f.mutex);
        }
        pthread_join(c.thread, NULL);
        CHECK(c.error == ENOTCONN);
        if (i % 2 == 0) {
            CHECK(ping(&f, 100, i) == ENOTCONN);
            CHECK(meet(&f));
        }
    }

    /* The keeper goes, and its device with it. */
    CHECK(start_call(&f, &c));
    pthread_mutex_lock(&f.mutex);
    vpci_channel_end(f.s.port.channel);
    f.runs = false;
    pthread_mutex_unlock(&f.mutex);
    net_server_disconnect(&f.s.server, true);
    pthread_join(c.thread, NULL);
    CHECK(c.error == ENOTCONN && reach(&f, VPCI_NET_CONNECTING));
    net_server_disconnect(&f.s.server, false);
    CHECK(meet(&f) && !ping(&f, 100, 1));

    /* A device outlives its port. */
    device = f.device;
    f.device = NULL;
    vpci_net_close(f.net);
    f.net = NULL;
    CHECK(vpci_device_call(device, VPCI_ABI_CALL_PING, NULL, 0) == ENOTCONN);
    vpci_device_release(device);
    fixture_uninit(&f);
    return true;
}

enum lie {
    LIE_LONG,                   /* More data than was asked for. */
    LIE_SHORT,
    LIE_LEN,                    /* Another length than there is. */
    LIE_ERROR_DATA,             /* An error, and data. */
    LIE_ERROR,                  /* No errno. */
    LIE_FUNC,                   /* To another question. */
    LIE_STRAY_SHORT,            /* Not even a header, all the time. */
    LIE_STRAY_XID,              /* To nobody's question. */
    LIE_STRAY_KIND,             /* Questions. */
    N_LIES
};

static void
serve_lie(struct fixture *f)
{
    struct {
        struct vpci_abi_call call;
        uint8_t data[2000];
    } msg = { .call = { .xid = 0 } };
    uint32_t len = switch_port_take(&f->s.port, VPCI_LAYOUT_CALLS, &msg,
                                    sizeof msg);

    if (!len && (!f->n_requests || f->lie < LIE_STRAY_SHORT)) {
        return;
    }
    f->n_requests++;
    len = len ? len : sizeof msg.call + 100;
    msg.call.kind = VPCI_LE32(f->lie == LIE_STRAY_KIND
                              ? VPCI_ABI_CALL_REQUEST : VPCI_ABI_CALL_REPLY);
    len += f->lie == LIE_LONG;
    len -= f->lie == LIE_SHORT;
    msg.call.len = VPCI_LE32((uint32_t) (len - sizeof msg.call
                                         + (f->lie == LIE_LEN)));
    msg.call.error = VPCI_LE32(f->lie == LIE_ERROR_DATA ? 5
                               : f->lie == LIE_ERROR ? 4096 : 0);
    len = f->lie == LIE_STRAY_SHORT ? sizeof msg.call - 1 : len;
    len = f->lie == LIE_ERROR ? sizeof msg.call : len;
    msg.call.len = f->lie == LIE_ERROR ? 0 : msg.call.len;
    msg.call.func += VPCI_LE32(f->lie == LIE_FUNC);
    msg.call.xid ^= f->lie == LIE_STRAY_XID ? UINT32_MAX : 0;
    while (switch_port_put(&f->s.port, VPCI_LAYOUT_CALLS, &msg, len)
           && f->lie >= LIE_STRAY_SHORT) {
        continue;
    }
}

/* Writes anything into the rings of calls that the switch may write, for a
 * while. */
static void
serve_garbage(struct fixture *f)
{
    static unsigned int seed = 3;
    struct vpci_ring_memory m;

    if (f->n_requests++ > 50) {
        net_switch_begin(&f->s);
        f->serve = serve_well;
        return;
    }
    vpci_layout_ring(&f->s.port.layout, f->s.base, 0, VPCI_LAYOUT_CALLS, &m);
    for (uint32_t i = 0; i < m.n_slots; i++) {
        uint64_t valid = 1 + i + (rand_r(&seed) % 4) * m.n_slots;
        uint64_t len = rand_r(&seed) % (rand_r(&seed) % 8 ? 200 : 1u << 24);

        vpci_store64(&m.slots[i].word,
                     (uint64_t) (rand_r(&seed) % 16 ? 1 + rand_r(&seed) % 2
                                 : rand_r(&seed) % 256)
                     << VPCI_ABI_TYPE_SHIFT
                     | len << VPCI_ABI_LEN_SHIFT | valid);
        vpci_store64((void *) m.slots[i].data, rand_r(&seed));
    }
    vpci_layout_ring(&f->s.port.layout, f->s.base, 1, VPCI_LAYOUT_CALLS, &m);
    if (rand_r(&seed) % 8 == 0) {
        vpci_store32(&m.consumer->consumed, rand_r(&seed) % 32);
    }
    switch_port_inject_all(&f->s.port);
}

static bool
run_lies(void)
{
    struct vpci_net_stats stats;
    static struct fixture f;

    CHECK(fixture_init(&f, true) && meet(&f));
    for (int i = 0; i < N_LIES; i++) {
        int error;

        set_serve(&f, serve_lie, i);
        error = ping(&f, 100, i);
        if (error != EPROTO) {
            fprintf(stderr, "lie %d: %s\n", i, strerror(error));
            return false;
        }
        set_serve(&f, serve_well, 0);
        CHECK(!ping(&f, 1000, i));
    }
    for (int i = 0; i < 15; i++) {
        int error;

        set_serve(&f, serve_garbage, 0);
        error = ping(&f, 100, i);
        CHECK(error == EPROTO || error == ENOTCONN || error == ETIMEDOUT);
        CHECK(meet(&f));
        CHECK(!ping(&f, 1000, i));
    }
    vpci_net_get_stats(f.net, VPCI_NET_ALL, &stats);
    CHECK(stats.resets > 0);
    fixture_uninit(&f);
    return true;
}

/* A guest by hand, that can do what no library does; and a switch at a time
 * that does not pass by itself. */
struct hand {
    struct switch_port port;
    void *base;
    void *private_memory;
    struct vpci_channel *guest;
    struct vpci_callee callee;
    int64_t now;
    uint32_t epoch;
};

static bool
hand_meet(struct hand *h)
{
    struct vpci_channel_config config = {
        .layout = h->port.layout, .base = h->base, .side = 1, .n_queues = 1,
    };

    vpci_channel_begin(h->guest, &config, ++h->epoch);
    for (int i = 0; i < 100; i++) {
        bool guest_runs, switch_runs;

        h->now += 10;
        guest_runs = (vpci_channel_run(h->guest, h->now)
                      == VPCI_CHANNEL_RUNNING);
        switch_runs = switch_port_run(&h->port, h->now);
        if (guest_runs && switch_runs) {
            return true;
        }
    }
    return false;
}

static bool
hand_init(struct hand *h)
{
    const struct switch_port_words words = { .calls = 1 };
    struct vpci_layout_report report;
    struct vpci_layout layout;
    size_t size;

    memset(h, 0, sizeof *h);
    CHECK(vpci_layout_init(&layout, &shape, &report));
    size = (vpci_channel_bytes(&layout) + VPCI_ABI_LINE - 1)
           & -(size_t) VPCI_ABI_LINE;
    h->base = aligned_alloc(VPCI_ABI_PAGE, layout.size);
    h->private_memory = aligned_alloc(VPCI_ABI_LINE, size);
    h->guest = aligned_alloc(VPCI_ABI_LINE, size);
    CHECK(h->base && h->private_memory && h->guest);
    memset(h->base, 0, layout.size);
    switch_port_init(&h->port, &shape, h->base, h->private_memory, false,
                     &words, 1);
    vpci_callee_init(&h->callee, answer, NULL, room);
    return hand_meet(h);
}

static void
hand_uninit(struct hand *h)
{
    free(h->base);
    free(h->private_memory);
    free(h->guest);
}

/* The guest sends 'len' bytes of 'data'. */
static bool
hand_put(struct hand *h, const void *data, uint32_t len)
{
    struct vpci_ring_tx *tx = vpci_channel_tx(h->guest, VPCI_LAYOUT_CALLS);
    void *p = vpci_ring_reserve(tx, len);

    if (p) {
        memcpy(p, data, len);
        vpci_ring_submit(tx, len, NULL);
        vpci_ring_publish(tx);
    }
    return p != NULL;
}

/* It takes a reply, and stores that if there is one. */
static bool
hand_take(struct hand *h, struct vpci_abi_call *call)
{
    struct vpci_ring_rx *rx = vpci_channel_rx(h->guest, VPCI_LAYOUT_CALLS);
    struct vpci_ring_pkt pkt;

    if (!vpci_ring_peek(rx, &pkt, 1) || pkt.len < sizeof *call) {
        return false;
    }
    memcpy(call, pkt.data, sizeof *call);
    vpci_ring_release(rx, 1);
    return true;
}

static unsigned int
hand_serve(struct hand *h)
{
    return vpci_callee_run(&h->callee, h->port.channel, h->now);
}

static const struct vpci_abi_call a_ping = {
    .kind = VPCI_LE32(VPCI_ABI_CALL_REQUEST),
    .func = VPCI_LE32(VPCI_ABI_CALL_PING),
    .xid = VPCI_LE32(5),
};

/* Asks as much as there is room for, 'n' times, and takes what is answered.
 * Returns the events, and how many answers there were. */
static unsigned int
flood(struct hand *h, unsigned int n, unsigned int *n_answers)
{
    struct vpci_abi_call call;
    unsigned int events = 0;

    *n_answers = 0;
    while (n--) {
        while (hand_put(h, &a_ping, sizeof a_ping)) {
            continue;
        }
        events |= hand_serve(h);
        while (hand_take(h, &call)) {
            ++*n_answers;
        }
    }
    return events;
}

/* Who asks too much is answered so many times, and no more. */
static bool
run_floods(void)
{
    unsigned int n;
    struct hand h;

    CHECK(hand_init(&h));
    CHECK(flood(&h, 20, &n) & VPCI_CALLEE_LIMITED);
    CHECK(n == VPCI_CALLEE_BURST && h.callee.stats.limited == 1);
    CHECK(!(flood(&h, 20, &n) & VPCI_CALLEE_LIMITED));
    CHECK(n == 0 && h.callee.stats.limited == 1);
    h.now += 100;
    flood(&h, 20, &n);
    CHECK(n == VPCI_CALLEE_RATE / 10);
    h.now += 1000000;
    flood(&h, 20, &n);
    CHECK(n == VPCI_CALLEE_BURST);

    /* Who begins anew is no better off. */
    for (int i = 0; i < 5; i++) {
        int64_t now = h.now;

        CHECK(hand_meet(&h));
        flood(&h, 20, &n);
        CHECK(n <= (h.now - now) * VPCI_CALLEE_RATE / 1000 + 1);
    }
    CHECK(!h.callee.stats.bad && !h.callee.stats.stuck && !h.port.n_faults);
    hand_uninit(&h);
    return true;
}

/* Who takes no replies gets no more of them. */
static bool
run_stuck(void)
{
    struct vpci_abi_call call;
    unsigned int events = 0, n = 0;
    struct hand h;

    CHECK(hand_init(&h));
    for (int i = 0; i < 100; i++) {
        h.now += 1000;
        while (hand_put(&h, &a_ping, sizeof a_ping)) {
            continue;
        }
        events += (hand_serve(&h) & VPCI_CALLEE_STUCK) != 0;
    }
    CHECK(events == 1 && h.callee.stats.stuck == 1);
    CHECK(h.callee.stats.calls == 16);
    h.now += 1000;
    while (hand_take(&h, &call)) {
        n++;
    }
    CHECK(n == 16 && !(hand_serve(&h) & VPCI_CALLEE_STUCK));
    while (hand_take(&h, &call)) {
        n++;
    }
    CHECK(n == 32 && !hand_take(&h, &call));
    CHECK(!h.callee.stats.bad && !h.callee.stats.limited
          && !h.port.n_faults);
    hand_uninit(&h);
    return true;
}

/* Sends a packet of 'len' bytes with this header.  Returns the error that it
 * is answered with, or -1 if it is not. */
static int
ask(struct hand *h, const struct vpci_abi_call *header, uint32_t len)
{
    uint8_t msg[200] = { 0 };
    struct vpci_abi_call call;

    memcpy(msg, header, sizeof *header);
    h->now += 1000;
    if (!hand_put(h, msg, len)) {
        return -2;
    }
    hand_serve(h);
    if (!hand_take(h, &call)) {
        return -1;
    }
    if (VPCI_LE32(call.kind) != VPCI_ABI_CALL_REPLY
        || call.xid != header->xid || call.func != header->func) {
        return -3;
    }
    return (int) VPCI_LE32(call.error);
}

static bool
run_bad(void)
{
    const uint32_t size = sizeof a_ping;
    struct vpci_abi_call call;
    unsigned int n_bad;
    struct hand h;

    CHECK(hand_init(&h));
    CHECK(ask(&h, &a_ping, size) == 0);

    /* Half of one. */
    for (n_bad = 0; n_bad < size - 1; n_bad++) {
        CHECK(ask(&h, &a_ping, n_bad + 1) == -1);
    }
    CHECK(h.callee.stats.bad == n_bad);
    for (uint32_t len = 0; len < 200; len++) {
        call = a_ping;
        call.len = VPCI_LE32(len);
        CHECK(ask(&h, &call, size + 100) == (len == 100 ? 0 : EBADMSG));
        n_bad += len != 100;
    }
    call.len = UINT32_MAX;
    CHECK(ask(&h, &call, size) == EBADMSG);
    call.len = VPCI_LE32(-size);
    CHECK(ask(&h, &call, size) == EBADMSG);
    call = a_ping;
    call.error = 1;
    CHECK(ask(&h, &call, size) == EBADMSG);
    call = a_ping;
    call.reserved[11] = 1;
    CHECK(ask(&h, &call, size) == EBADMSG);
    call = a_ping;
    for (uint32_t kind = 0; kind < 10; kind++) {
        call.kind = VPCI_LE32(kind);
        CHECK(ask(&h, &call, size)
              == (kind == VPCI_ABI_CALL_REQUEST ? 0 : -1));
    }
    CHECK(h.callee.stats.bad == n_bad + 4 + 9);

    /* The same number again and again, and functions that nobody knows. */
    CHECK(ask(&h, &a_ping, size) == 0 && ask(&h, &a_ping, size) == 0);
    call = a_ping;
    call.func = UINT32_MAX;
    CHECK(ask(&h, &call, size) == EOPNOTSUPP);
    CHECK(!h.port.n_faults);
    hand_uninit(&h);
    return true;
}

/* Words of the rings of calls that may be anything. */
static void
scribble(struct hand *h, unsigned int *seed)
{
    struct vpci_ring_memory m;

    vpci_layout_ring(&h->port.layout, h->base, 1, VPCI_LAYOUT_CALLS, &m);
    for (uint32_t i = 0; i < m.n_slots; i++) {
        struct vpci_abi_call call = a_ping;
        uint64_t valid = vpci_load32(&m.consumer->consumed) + 1
                         + (i - vpci_load32(&m.consumer->consumed)) % 16;
        uint64_t len = rand_r(seed) % (rand_r(seed) % 32 ? 113 : 1u << 24);

        call.len = VPCI_LE32(rand_r(seed) % 4 ? (uint32_t) (len - sizeof call)
                             : (uint32_t) rand_r(seed));
        memcpy(m.slots[i].data, &call, sizeof call);
        vpci_store64(&m.slots[i].word,
                     (uint64_t) (rand_r(seed) % 64 ? 1 : rand_r(seed) % 4)
                     << VPCI_ABI_TYPE_SHIFT
                     | len << VPCI_ABI_LEN_SHIFT | valid);
    }
    vpci_layout_ring(&h->port.layout, h->base, 0, VPCI_LAYOUT_CALLS, &m);
    vpci_store32(&m.consumer->consumed,
                 vpci_load32(&m.producer->produced)
                 - (rand_r(seed) % 16 ? 0 : rand_r(seed) % 64));
}

static bool
run_scribbles(void)
{
    unsigned int seed = 5;
    struct hand h;

    CHECK(hand_init(&h));
    for (int i = 0; i < 2000; i++) {
        h.now += 100;
        scribble(&h, &seed);
        hand_serve(&h);
        if (i % 10 == 9) {
            CHECK(hand_meet(&h));
            h.now += 1000;
            CHECK(ask(&h, &a_ping, sizeof a_ping) == 0);
        }
    }
    CHECK(h.port.n_faults && h.callee.stats.bad && h.callee.stats.calls);
    hand_uninit(&h);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "answers", run_answers },
        { "threads", run_threads },
        { "nobody", run_nobody },
        { "switch-leaves", run_switch_leaves },
        { "lies", run_lies },
        { "floods", run_floods },
        { "stuck", run_stuck },
        { "bad", run_bad },
        { "scribbles", run_scribbles },
    };

    signal(SIGPIPE, SIG_IGN);
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
