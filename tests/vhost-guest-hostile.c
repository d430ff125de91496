/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vhost-guest-hostile.h"
#include "vhost-guest-native.h"
#include "vpci/device.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* Numbers beyond what the protocol has. */
#define UNKNOWN_REQUEST 77
#define UNKNOWN_FEATURE (UINT64_C(1) << 63)

static int
vring(struct session *s, uint32_t request, uint32_t num)
{
    return front_end_set_vring(&s->g.fe, request, 0, num);
}

static int
send_num_0(struct session *s)
{
    return vring(s, VU_SET_VRING_NUM, 0);
}

static int
send_num_3(struct session *s)
{
    return vring(s, VU_SET_VRING_NUM, 3);
}

static int
send_num_65535(struct session *s)
{
    return vring(s, VU_SET_VRING_NUM, 65535);
}

static int
send_num_65536(struct session *s)
{
    return vring(s, VU_SET_VRING_NUM, 65536 + 256);
}

static int
send_num_again(struct session *s)
{
    int error = 0;

    for (int i = 0; i < 1000 && !error; i++) {
        error = vring(s, VU_SET_VRING_NUM, s->g.cfg.ring_size);
    }
    return error;
}

static int
send_base_65535(struct session *s)
{
    return vring(s, VU_SET_VRING_BASE, 65535);
}

static int
send_index_255(struct session *s)
{
    return front_end_set_vring(&s->g.fe, VU_SET_VRING_NUM, 255, 256);
}

static int
send_index_huge(struct session *s)
{
    return front_end_set_vring(&s->g.fe, VU_SET_VRING_NUM, 65536 + 1, 256);
}

static int
get_base(struct session *s, uint32_t index)
{
    struct vu_vring_state state = { .index = index };

    return front_end_query(&s->g.fe, VU_GET_VRING_BASE, &state, sizeof state,
                           NULL, 0, &state, sizeof state);
}

static int
send_get_base_255(struct session *s)
{
    return get_base(s, 255);
}

static int
send_get_base_twice(struct session *s)
{
    int error = get_base(s, 0);

    return error ? error : get_base(s, 0);
}

/* Gives ring 0 other addresses while it runs, as offsets to the good ones. */
static int
send_addr(struct session *s, uint64_t desc, uint64_t used, uint64_t avail)
{
    struct guest *g = &s->g;
    const struct guest_queue *q = &g->queues[0];
    struct vu_vring_addr addr = {
        .desc = guest_memory_user(&g->mem, q->desc_addr) + desc,
        .used = guest_memory_user(&g->mem, q->device_addr) + used,
        .avail = guest_memory_user(&g->mem, q->driver_addr) + avail,
    };

    return front_end_request(&g->fe, VU_SET_VRING_ADDR, &addr, sizeof addr,
                             NULL, 0);
}

static int
send_addr_odd(struct session *s)
{
    return send_addr(s, 1, 1, 1);
}

static int
send_addr_outside(struct session *s)
{
    uint64_t nowhere = UINT64_C(1) << 46;

    return send_addr(s, nowhere, nowhere, nowhere);
}

static int
send_addr_wrap(struct session *s)
{
    const struct guest_queue *q = &s->g.queues[0];
    uint64_t top = -guest_memory_user(&s->g.mem, q->desc_addr) - 16;

    return send_addr(s, top, 0, 0);
}

/* So that 'area' (0: descriptors, 1: used, 2: available) begins inside memory
 * and ends outside, then starts the ring. */
static int
send_area_over_end(struct session *s, int area)
{
    struct guest *g = &s->g;
    struct guest_queue *q = &g->queues[1], good = *q;
    const struct guest_zone *zone = &g->mem.zones[0];
    uint64_t end = zone->addr + zone->size - 16;
    int error = guest_stop_ring(g, q);

    if (!error) {
        *(area == 0 ? &q->desc_addr
          : area == 1 ? &q->device_addr : &q->driver_addr) = end;
        error = guest_start_ring(g, q);
    }
    q->desc_addr = good.desc_addr;
    q->device_addr = good.device_addr;
    q->driver_addr = good.driver_addr;
    eventfd_write(q->kick_fd, 1);
    return error;
}

static int
send_desc_over_end(struct session *s)
{
    return send_area_over_end(s, 0);
}

static int
send_used_over_end(struct session *s)
{
    return send_area_over_end(s, 1);
}

static int
send_avail_over_end(struct session *s)
{
    return send_area_over_end(s, 2);
}

/* Sends the table that is right but for what 'spoil' does to it. */
struct spoiled_table {
    struct vu_mem_table table;
    int fds[16];
    unsigned int n_fds;
};

static int
send_table(struct session *s, void (*spoil)(struct spoiled_table *))
{
    struct guest_region regions[GUEST_MAX_REGIONS];
    struct spoiled_table t = { .n_fds = 0 };
    unsigned int n = guest_memory_table(&s->g.mem, regions);

    t.table.n_regions = t.n_fds = n;
    for (unsigned int i = 0; i < n; i++) {
        t.table.regions[i] = (struct vu_mem_region) {
            .addr = regions[i].addr, .size = regions[i].size,
            .user_addr = regions[i].user_addr, .offset = regions[i].offset,
        };
        t.fds[i] = regions[i].fd;
    }
    spoil(&t);
    return front_end_request(&s->g.fe, VU_SET_MEM_TABLE, &t.table,
                             sizeof t.table, t.fds, t.n_fds);
}

static void
spoil_fd(struct spoiled_table *t)
{
    static int fd = -1;

    if (fd < 0) {
        /* Cannot be mapped. */
        fd = eventfd(0, EFD_CLOEXEC);
    }
    t->fds[0] = fd;

    /* A table with the same addresses would be taken for the same table. */
    t->table.regions[0].addr += UINT64_C(1) << 40;
}

static void
spoil_overlap(struct spoiled_table *t)
{
    t->table.n_regions = t->n_fds = 2;
    t->table.regions[1] = t->table.regions[0];
    t->table.regions[1].addr += 4096;
    t->fds[1] = t->fds[0];
}

static void
spoil_many(struct spoiled_table *t)
{
    t->table.n_regions = 9;
    t->n_fds = 8;
    for (unsigned int i = 1; i < 8; i++) {
        t->table.regions[i] = t->table.regions[0];
        t->fds[i] = t->fds[0];
    }
}

static void
spoil_very_many(struct spoiled_table *t)
{
    t->table.n_regions = UINT32_MAX;
}

static void
spoil_none(struct spoiled_table *t)
{
    t->table.n_regions = t->n_fds = 0;
}

static void
spoil_no_fds(struct spoiled_table *t)
{
    t->n_fds = 0;
}

static void
spoil_more_fds(struct spoiled_table *t)
{
    for (unsigned int i = t->n_fds; i < 16; i++) {
        t->fds[i] = t->fds[0];
    }
    t->n_fds = 16;
}

static void
spoil_size_0(struct spoiled_table *t)
{
    t->table.regions[0].size = 0;
}

static void
spoil_size_max(struct spoiled_table *t)
{
    t->table.regions[0].size = UINT64_MAX - 4095;
}

static void
spoil_addr_wrap(struct spoiled_table *t)
{
    t->table.regions[0].addr = UINT64_MAX - 4095;
}

static void
spoil_offset(struct spoiled_table *t)
{
    t->table.regions[0].offset = UINT64_MAX - 8191;
}

#define TABLE_SENDER(NAME)                              \
    static int                                          \
    send_table_##NAME(struct session *s)                \
    {                                                   \
        return send_table(s, spoil_##NAME);             \
    }

TABLE_SENDER(fd)
TABLE_SENDER(overlap)
TABLE_SENDER(many)
TABLE_SENDER(very_many)
TABLE_SENDER(none)
TABLE_SENDER(no_fds)
TABLE_SENDER(more_fds)
TABLE_SENDER(size_0)
TABLE_SENDER(size_max)
TABLE_SENDER(addr_wrap)
TABLE_SENDER(offset)

static int
send_feature(struct session *s)
{
    return front_end_set_u64(&s->g.fe, VU_SET_FEATURES,
                             s->g.features | UNKNOWN_FEATURE);
}

static int
send_protocol_feature(struct session *s)
{
    return front_end_set_u64(&s->g.fe, VU_SET_PROTOCOL_FEATURES,
                             UNKNOWN_FEATURE);
}

static int
send_unknown(struct session *s)
{
    return front_end_set_u64(&s->g.fe, UNKNOWN_REQUEST, 0);
}

static int
send_request_max(struct session *s)
{
    return front_end_set_u64(&s->g.fe, UINT32_MAX, 0);
}

/* Descriptors where none are due. */
static int
send_kick_no_fd(struct session *s)
{
    uint64_t index = 0;

    return front_end_request(&s->g.fe, VU_SET_VRING_KICK, &index, sizeof index,
                             NULL, 0);
}

static int
send_log(struct session *s, uint64_t size, uint64_t offset)
{
    struct vu_log log = { .size = size, .offset = offset };
    char nothing[1];

    return front_end_query(&s->g.fe, VU_SET_LOG_BASE, &log, sizeof log,
                           &s->g.mem.zones[0].fd, 1, nothing, 0);
}

static int
send_log_wrap(struct session *s)
{
    return send_log(s, UINT64_MAX - 4095, 8192);
}

static int
send_log_small(struct session *s)
{
    int error = send_log(s, 1, 0);

    if (!error) {
        error = front_end_set_u64(&s->g.fe, VU_SET_FEATURES,
                                  s->g.features | GUEST_F_LOG_ALL);
    }
    return error;
}

/* The library adds such an offset twice. */
static int
send_log_offset(struct session *s)
{
    return send_log(s, 4096, UINT64_C(1) << 40);
}

static int
send_reset_owner(struct session *s)
{
    return front_end_request(&s->g.fe, VU_RESET_OWNER, NULL, 0, NULL, 0);
}

static int
send_ring_beyond(struct session *s)
{
    return front_end_set_vring(&s->g.fe, VU_SET_VRING_NUM,
                               2 * s->g.cfg.n_pairs, 256);
}

/* Requests of features that were not negotiated. */

static int
send_postcopy(struct session *s)
{
    return front_end_request(&s->g.fe, VU_POSTCOPY_ADVISE, NULL, 0, NULL, 0);
}

static int
send_iotlb(struct session *s)
{
    uint8_t message[32] = { [24] = 3, [25] = 2 };

    return front_end_request(&s->g.fe, VU_IOTLB_MSG, message, sizeof message,
                             NULL, 0);
}

static int
send_get_inflight(struct session *s)
{
    struct vu_inflight inflight = { .num_queues = 512, .queue_size = 65535 };

    return front_end_request(&s->g.fe, VU_GET_INFLIGHT_FD, &inflight,
                             sizeof inflight, NULL, 0);
}

/* The mapping is smaller than what it should describe. */
/* Asks, and does not listen. */
static int
send_unread(struct session *s)
{
    struct vu_header header = {
        .request = VU_GET_FEATURES, .flags = VU_VERSION,
    };
    int error = 0;

    for (int i = 0; i < 5000 && !error; i++) {
        error = front_end_raw(&s->g.fe, &header, sizeof header, NULL, 0);
    }
    front_end_close(&s->g.fe);
    return error ? error : EPIPE;
}

static int
send_garbage(struct session *s)
{
    uint8_t bytes[1000];
    uint32_t x = 12345;

    for (unsigned int i = 0; i < sizeof bytes; i++) {
        x = x * 1664525 + 1013904223;
        bytes[i] = x >> 24;
    }
    return front_end_raw(&s->g.fe, bytes, sizeof bytes, NULL, 0);
}

static int
send_raw_header(struct session *s, uint32_t request, uint32_t flags,
                uint32_t size, size_t payload)
{
    struct {
        struct vu_header header;
        uint8_t payload[512];
    } msg = {
        .header = { .request = request, .flags = flags, .size = size },
    };

    return front_end_raw(&s->g.fe, &msg, sizeof msg.header + payload, NULL,
                         0);
}

static int
send_size_max(struct session *s)
{
    return send_raw_header(s, VU_SET_FEATURES, VU_VERSION, UINT32_MAX, 512);
}

static int
send_size_512(struct session *s)
{
    return send_raw_header(s, VU_SET_FEATURES, VU_VERSION, 512, 512);
}

static int
send_size_0(struct session *s)
{
    return send_raw_header(s, VU_SET_VRING_ADDR, VU_VERSION, 0, 0);
}

static int
send_version_2(struct session *s)
{
    return send_raw_header(s, VU_SET_OWNER, 2, 0, 0);
}

static int
send_piecemeal(struct session *s)
{
    const uint32_t state[] = { 0, 1 };
    int error = 0;

    for (int i = 0; i < 60 && !error; i++) {
        error = send_raw_header(s, VU_SET_VRING_ENABLE, VU_VERSION,
                                sizeof state, 0);
        usleep(80000);
        if (!error) {
            error = front_end_raw(&s->g.fe, state, sizeof state, NULL, 0);
        }
    }
    return error;
}

static int
send_short(struct session *s)
{
    return send_raw_header(s, VU_SEND_RARP, VU_VERSION, 0, 0);
}

/* Makes the back end forget what it holds for rings of the greatest size. */
static int
send_reset_owner_often(struct session *s)
{
    int error = 0;

    for (int i = 0; i < 200 && !error; i++) {
        error = front_end_set_vring(&s->g.fe, VU_SET_VRING_NUM, 0, 32768);
        if (!error) {
            error = send_reset_owner(s);
        }
    }
    return error;
}

/* These end with the connection closed by this side. */
static int
send_cut(struct session *s)
{
    int error = send_raw_header(s, VU_SET_FEATURES, VU_VERSION, 8, 3);

    front_end_close(&s->g.fe);
    return error ? error : EPIPE;
}

static int
send_cut_header(struct session *s)
{
    int error = front_end_raw(&s->g.fe, "\1\0\0", 3, NULL, 0);

    front_end_close(&s->g.fe);
    return error ? error : EPIPE;
}

static int
send_nothing(struct session *s)
{
    int error = 0;

    for (int i = 0; i < 20 && !error; i++) {
        guest_close(&s->g);
        error = front_end_open(&s->g.fe);
    }
    front_end_close(&s->g.fe);
    return error ? error : EPIPE;
}

/* Ring memory vanishes: the back end gets SIGBUS when it touches it. */
static int
send_truncate(struct session *s)
{
    int error;

    pthread_mutex_lock(&s->g.lock);
    s->g.frozen = true;
    error = guest_memory_truncate(&s->g.mem, 0);
    pthread_mutex_unlock(&s->g.lock);
    for (unsigned int i = 0; i < s->g.n_queues; i++) {
        eventfd_write(s->g.queues[i].kick_fd, 1);
    }
    return error;
}

static const struct hostile_message messages[] = {
    { "num-0", "SET_VRING_NUM 0", send_num_0 },
    { "num-3", "SET_VRING_NUM 3", send_num_3 },
    { "num-65535", "SET_VRING_NUM 65535", send_num_65535 },
    { "num-65536", "SET_VRING_NUM beyond 16 bits", send_num_65536 },
    { "num-again", "SET_VRING_NUM a thousand times", send_num_again },
    { "base-65535", "SET_VRING_BASE 65535", send_base_65535 },
    { "index-255", "a ring that does not exist", send_index_255 },
    { "index-huge", "a ring number beyond 16 bits", send_index_huge },
    { "get-base-255", "GET_VRING_BASE of ring 255", send_get_base_255 },
    { "get-base-twice", "GET_VRING_BASE of a stopped ring",
      send_get_base_twice },
    { "addr-odd", "SET_VRING_ADDR to odd addresses", send_addr_odd },
    { "addr-outside", "SET_VRING_ADDR outside memory", send_addr_outside },
    { "addr-wrap", "SET_VRING_ADDR near the end of 64 bits", send_addr_wrap },
    { "desc-over-end", "descriptors that end outside memory",
      send_desc_over_end },
    { "used-over-end", "a used ring that ends outside memory",
      send_used_over_end },
    { "avail-over-end", "an available ring that ends outside memory",
      send_avail_over_end },
    { "mem-fd", "memory that cannot be mapped", send_table_fd },
    { "mem-overlap", "regions that overlap", send_table_overlap },
    { "mem-many", "9 regions", send_table_many },
    { "mem-very-many", "4294967295 regions", send_table_very_many },
    { "mem-none", "no region", send_table_none },
    { "mem-no-fds", "regions without descriptors", send_table_no_fds },
    { "mem-more-fds", "16 descriptors for fewer regions",
      send_table_more_fds },
    { "mem-size-0", "a region of 0 bytes", send_table_size_0 },
    { "mem-size-max", "a region of nearly 64 bits", send_table_size_max },
    { "mem-addr-wrap", "a region over the end of 64 bits",
      send_table_addr_wrap },
    { "mem-offset", "a file offset near the end of 64 bits",
      send_table_offset },
    { "truncate", "cut the memory's files to 0 bytes; \"connect reset\" "
      "undoes it", send_truncate },
    { "feature", "a feature that was never offered", send_feature },
    { "protocol-feature", "likewise, of the protocol",
      send_protocol_feature },
    { "unknown", "an unknown request", send_unknown },
    { "request-max", "request 4294967295", send_request_max },
    { "kick-no-fd", "SET_VRING_KICK that lacks its descriptor",
      send_kick_no_fd },
    { "log-wrap", "SET_LOG_BASE beyond 64 bits", send_log_wrap },
    { "log-small", "a dirty log of one byte, then logging on",
      send_log_small },
    { "log-offset", "SET_LOG_BASE with an offset", send_log_offset },
    { "reset-owner", "RESET_OWNER", send_reset_owner },
    { "reset-owner-often", "200 times RESET_OWNER, with a ring of 32768",
      send_reset_owner_often },
    { "ring-beyond", "SET_VRING_NUM of a ring that the guest does not have",
      send_ring_beyond },
    { "postcopy", "POSTCOPY_ADVISE", send_postcopy },
    { "iotlb", "IOTLB_MSG", send_iotlb },
    { "inflight-get", "GET_INFLIGHT_FD of 512 queues", send_get_inflight },
    { "unread", "5000 requests whose answers are not read", send_unread },
    { "garbage", "1000 random bytes", send_garbage },
    { "size-max", "a message of 4294967295 bytes", send_size_max },
    { "size-512", "a message longer than any", send_size_512 },
    { "size-0", "SET_VRING_ADDR without payload", send_size_0 },
    { "short", "SEND_RARP without payload", send_short },
    { "version-2", "a message of another version", send_version_2 },
    { "piecemeal", "60 requests in two pieces each, 80 ms apart",
      send_piecemeal },
    { "cut", "3 of 8 bytes of payload, then close", send_cut },
    { "cut-header", "3 of 12 bytes of header, then close", send_cut_header },
    { "nothing", "connect and close, 20 times", send_nothing },
    { 0 },
};

void
hostile_messages_help(FILE *file)
{
    for (const struct hostile_message *m = messages; m->name; m++) {
        fprintf(file, "      %-17s %s\n", m->name, m->help);
    }
    for (const struct hostile_message *m = hostile_fd_messages; m->name; m++) {
        fprintf(file, "      %-17s %s\n", m->name, m->help);
    }
}

static const struct hostile_message *
find_message(const struct hostile_message *m, const char *name)
{
    while (m->name && strcmp(m->name, name)) {
        m++;
    }
    return m->name ? m : NULL;
}

static bool
aftermath(struct session *s, const struct args *args, int error)
{
    const char *expected = arg_value(args, "expect");
    const char *outcome;

    if (!error) {
        error = front_end_probe(&s->g.fe);
        outcome = error ? "closed" : "accepted";
    } else {
        /* One that refuses may well close, too. */
        outcome = error == EPROTO && !front_end_probe(&s->g.fe)
                  ? "refused" : "closed";
    }
    if (error == ETIMEDOUT) {
        return failed(s, "%s", s->g.fe.error);
    }
    if (!strcmp(outcome, "closed")) {
        guest_close(&s->g);
    }
    if (expected && !strstr(expected, outcome)) {
        return failed(s, "%s, expected %s", outcome, expected);
    }
    return done(s, "%s", outcome);
}

static bool
run_hostile_message(struct session *s, const struct args *args)
{
    const char *name = args->n > 1 ? args->words[1] : "";
    const struct hostile_message *m = find_message(messages, name);

    m = m ? m : find_message(hostile_fd_messages, name);
    if (m) {
        return aftermath(s, args, m->send(s));
    }
    return failed(s, "no such hostility; see --help");
}

/* Half a message, and then silence: the back end must serve others. */
static bool
run_hostile_stall(struct session *s, const struct args *args)
{
    double seconds = args->n > 1 ? strtod(args->words[1], NULL) : 1;
    int error = send_raw_header(s, VU_SET_FEATURES, VU_VERSION, 8, 3);

    if (!error) {
        usleep(seconds * 1e6);
    }
    guest_close(&s->g);
    return result(s, error);
}

/* Fills 'fd' up, whatever it has already. */
static bool
fill_eventfd(int fd)
{
    eventfd_t value;

    return (!fcntl(fd, F_SETFL, O_NONBLOCK)
            && (!eventfd_read(fd, &value) || errno == EAGAIN)
            && !eventfd_write(fd, UINT64_MAX - 1)
            && !fcntl(fd, F_SETFL, 0));
}

/* Every doorbell becomes one at which the back end has to wait. */
static bool
run_hostile_doorbell(struct session *s, const struct args *args)
{
    struct guest *g = &s->g;
    bool ok = true;

    (void) args;
    pthread_mutex_lock(&g->lock);
    for (unsigned int i = 0; i < g->n_queues && ok; i++) {
        struct guest_queue *q = &g->queues[i];

        if (g->native) {
            guest_native_enable_interrupts(g);
            ok = !q->signal || fill_eventfd(vpci_signal_fd(q->signal));
        } else {
            vring_driver_enable_interrupts(q->drv, 1);
            ok = fill_eventfd(q->call_fd);
        }
    }
    pthread_mutex_unlock(&g->lock);
    return ok ? done(s, "%s", "") : failed(s, "%s", strerror(errno));
}

/* What a guest with a native device can do to its region.  Its own rings are not
 * of use any more. */
static bool
run_hostile_region(struct session *s, const struct args *args)
{
    static const struct {
        const char *name;
        void (*run)(struct guest *, unsigned int ms);
    } kinds[] = {
        { "scribble", guest_native_scribble },
        { "forge", guest_native_forge },
        { "flap", guest_native_flap },
        { "call", guest_native_call },
    };

    if (!s->g.native) {
        return failed(s, "not with this device, or not connected");
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (args->n > 2 && !strcmp(args->words[1], kinds[i].name)) {
            kinds[i].run(&s->g, strtod(args->words[2], NULL) * 1000);
            return done(s, "%s", "");
        }
    }
    return failed(s, "no such hostility; see --help");
}

const struct command hostile_commands[] = {
    { "hostile-region", "scribble|forge|flap|call S", "for S seconds, write "
      "anything into the region, or packets that nobody sent, or an epoch "
      "that changes all the time, or calls whose answers are not taken",
      run_hostile_region },
    { "hostile-ring", "KIND [tx|rx] [pair=N]", "spoil one chain in one of the "
      "ways below; \"connect reset\" makes the rings whole again",
      run_hostile_ring },
    { "hostile-flip", "[S]", "send frames whose descriptors change while the "
      "device reads them", run_hostile_flip },
    { "hostile-header", "N HEX hdr=HEX other=HEX", "send this frame N times, "
      "while 'other' replaces the beginning of header and frame every other "
      "moment", run_hostile_header },
    { "hostile-message", "KIND [expect=accepted|refused|closed]", "send one "
      "of the messages below and tell how it was taken",
      run_hostile_message },
    { "hostile-doorbell", "", "ask for interrupts, by doorbells that block "
      "who rings them", run_hostile_doorbell },
    { "hostile-stall", "[S]", "half a message, then nothing for S seconds, "
      "then close", run_hostile_stall },
    { 0 },
};
