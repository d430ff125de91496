/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of devices, signals and buses (vpci/device.h, vpci/bus.h).
 *
 * usage: test-device [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vpci/abi.h"
#include "vpci/bus.h"
#include "vpci/device.h"
#include "unit-test.h"

#define TIMEOUT_MS 10000

/* The two ends of a loop share memory and signals. */
static bool
check_loop_ends(struct vpci_device *ends[2])
{
    struct vpci_region r[2];
    struct vpci_signal *s[2];

    CHECK(!vpci_device_shm(ends[0], 0, 1, &r[0], &s[0]));
    CHECK(!vpci_device_shm(ends[1], 0, 1, &r[1], &s[1]));
    CHECK(r[0].size == 8192 && r[1].size == 8192 && r[0].base != r[1].base);
    strcpy((char *) r[0].base + 4096, "hello");
    CHECK(!strcmp((char *) r[1].base + 4096, "hello"));
    CHECK(vpci_device_shm(ends[0], 1, 0, &r[0], NULL) == ENOENT);
    CHECK(!strcmp(vpci_device_reason(ends[0]),
                  "it has no memory 1, only 0"));

    CHECK(!vpci_signal_wait(s[1], 0) && !vpci_signal_clear(s[1]));
    CHECK(!vpci_signal_inject(s[0]));
    CHECK(vpci_signal_wait(s[1], TIMEOUT_MS * 1000));
    CHECK(!vpci_signal_clear(s[1]) && !vpci_signal_clear(s[0]));
    CHECK(!vpci_signal_inject(s[1]) && !vpci_signal_inject(s[1]));
    CHECK(vpci_signal_clear(s[0]) && !vpci_signal_clear(s[0]));

    struct vpci_signal_stats stats;
    vpci_signal_get_stats(s[1], &stats);
    CHECK(stats.injected == 2 && stats.received == 1);
    return true;
}

static bool
run_loop(void)
{
    struct vpci_device *ends[2];
    struct vpci_signal *signal;
    unsigned int n_fds = n_open_fds();

    CHECK(vpci_loop_create(0, 1, ends) == EINVAL);
    CHECK(vpci_loop_create(100, 1, ends) == EINVAL);
    CHECK(vpci_loop_create(8192, 0, ends) == EINVAL);
    CHECK(vpci_loop_create(8192, VPCI_ABI_MAX_VECTORS + 1, ends) == EINVAL);
    CHECK(!vpci_loop_create(8192, 3, ends));
    CHECK(vpci_device_shm(ends[0], 0, 0, NULL, &signal) == ENOTCONN);
    CHECK(vpci_device_fd(ends[0]) == -1 && !vpci_device_run(ends[0]));
    CHECK(!vpci_device_open(ends[0], 0));
    CHECK(vpci_device_open(ends[0], 0) == EALREADY);
    CHECK(!vpci_device_shm(ends[0], 0, 99, NULL, &signal));
    CHECK(vpci_signal_prio(signal) == 2);
    CHECK(vpci_signal_inject(signal) == ENOTCONN);
    for (int i = 0; i < 3; i++) {
        CHECK(!vpci_device_open(ends[1], 0));
        CHECK(vpci_device_peer(ends[0]) == vpci_device_id(ends[1]));
        CHECK(vpci_device_peer(ends[1]) == vpci_device_id(ends[0]));
        CHECK(vpci_device_run(ends[0]) & VPCI_DEVICE_PEER_CAME);
        CHECK(vpci_device_run(ends[1]) == VPCI_DEVICE_PEER_CAME);
        CHECK(check_loop_ends(ends));
        vpci_device_close(ends[1]);
        CHECK(vpci_device_run(ends[0]) == VPCI_DEVICE_PEER_LEFT);
        CHECK(vpci_signal_inject(signal) == ENOTCONN);
    }
    CHECK(vpci_device_call(ends[0], 1, NULL, 0) == EOPNOTSUPP);
    vpci_device_release(vpci_device_ref(ends[0]));
    vpci_device_release(ends[0]);
    vpci_device_release(ends[1]);
    CHECK(n_open_fds() == n_fds);
    return true;
}

static int order[8], n_order;

static void
note_order(void *number)
{
    order[n_order++] = *(int *) number;
}

/* Callbacks come by priority, and only while they are enabled. */
static bool
run_callbacks(void)
{
    static int numbers[3] = { 0, 1, 2 };
    struct vpci_device *ends[2];

    CHECK(!vpci_loop_create(4096, 3, ends));
    CHECK(!vpci_device_open(ends[0], 0) && !vpci_device_open(ends[1], 0));
    for (int i = 0; i < 3; i++) {
        struct vpci_signal *s = vpci_device_signal(ends[1], i);

        vpci_signal_set_callback(s, note_order, &numbers[i]);
        if (i != 1) {
            vpci_signal_enable(s);
        }
        vpci_signal_inject(vpci_device_signal(ends[0], i));
    }
    CHECK(vpci_signal_dispatch(ends[1]) == 2);
    CHECK(n_order == 2 && order[0] == 2 && order[1] == 0);
    CHECK(vpci_signal_dispatch(ends[1]) == 0);
    vpci_signal_enable(vpci_device_signal(ends[1], 1));
    CHECK(vpci_signal_dispatch(ends[1]) == 1 && order[2] == 1);
    CHECK(!vpci_device_signal(ends[1], 3));

    struct vpci_mitigation m = { .packets = 8, .us = 50 };
    vpci_signal_set_mitigation(vpci_device_signal(ends[1], 1), &m);
    m = vpci_signal_get_mitigation(vpci_device_signal(ends[1], 1));
    CHECK(m.packets == 8 && m.us == 50);
    m = vpci_signal_get_mitigation(vpci_device_signal(ends[1], 0));
    CHECK(m.packets == 1 && m.us == 0);
    vpci_device_release(ends[0]);
    vpci_device_release(ends[1]);
    return true;
}

/* A thread that injects while the other side comes and goes. */
struct injector {
    struct vpci_signal *signal;
    bool stop;
    uint64_t n;
};

static void *
inject_all_the_time(void *i_)
{
    struct injector *i = i_;

    while (!__atomic_load_n(&i->stop, __ATOMIC_RELAXED)) {
        i->n += !vpci_signal_inject(i->signal);
    }
    return NULL;
}

static bool
run_peer_changes(void)
{
    struct vpci_device *ends[2];
    struct injector injector;
    pthread_t thread;
    unsigned int n_fds = n_open_fds();

    CHECK(!vpci_loop_create(4096, 1, ends));
    CHECK(!vpci_device_open(ends[0], 0));
    injector = (struct injector) { .signal = vpci_device_signal(ends[0], 0) };
    CHECK(!pthread_create(&thread, NULL, inject_all_the_time, &injector));
    for (int i = 0; i < 2000; i++) {
        int fds[2] = { -1, -1 };

        CHECK(!vpci_device_open(ends[1], 0));
        CHECK(vpci_signal_wait(vpci_device_signal(ends[1], 0),
                               TIMEOUT_MS * 1000));
        vpci_device_close(ends[1]);

        /* Nobody writes to what has the number of a closed eventfd. */
        CHECK(!pipe(fds));
        struct pollfd pfd = { .fd = fds[0], .events = POLLIN };
        CHECK(!poll(&pfd, 1, 0));
        close(fds[0]);
        close(fds[1]);
    }
    __atomic_store_n(&injector.stop, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    CHECK(injector.n >= 2000);
    vpci_device_release(ends[0]);
    vpci_device_release(ends[1]);
    CHECK(n_open_fds() <= n_fds + 1);
    return true;
}

/* A server that sends what it is told to, as text: numbers, each with 'm' for
 * sealed memory, 'u' for memory that is not sealed, 'e' for an eventfd, 'p' for
 * a pipe behind it, or nothing; 'x' closes the connection; ',' sends so much at
 * once. */
struct server {
    char dir[64];
    char path[96];
    int fd, client;
    int last_eventfd;
};

static bool
server_start(struct server *s)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    strcpy(s->dir, "/tmp/vpci-test-device.XXXXXX");
    CHECK(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/port", s->dir);
    s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    s->client = s->last_eventfd = -1;
    strcpy(sun.sun_path, s->path);
    CHECK(!bind(s->fd, (struct sockaddr *) &sun, sizeof sun));
    CHECK(!listen(s->fd, 5));
    return true;
}

static void
server_stop(struct server *s)
{
    close(s->fd);
    if (s->client >= 0) {
        close(s->client);
    }
    if (s->last_eventfd >= 0) {
        close(s->last_eventfd);
    }
    unlink(s->path);
    rmdir(s->dir);
}

static int
make_memory(bool sealed)
{
    int fd = memfd_create("test", MFD_ALLOW_SEALING);

    if (ftruncate(fd, 65536)
        || (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))) {
        abort();
    }
    return fd;
}

static int
make_fd(char kind)
{
    int fds[2];

    switch (kind) {
    case 'm':
        return make_memory(true);
    case 'u':
        return make_memory(false);
    case 'e':
        return eventfd(0, EFD_NONBLOCK);
    case 'p':
        if (pipe(fds)) {
            abort();
        }
        close(fds[1]);
        return fds[0];
    default:
        return -1;
    }
}

static void
server_send_number(struct server *s, int64_t number, int fd)
{
    vpci_le64 le = VPCI_LE64((uint64_t) number);
    struct iovec iov = { .iov_base = &le, .iov_len = sizeof le };
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof fd)];
    } control;
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    if (sendmsg(s->client, &msg, MSG_NOSIGNAL) != sizeof le) {
        abort();
    }
}

static void
server_send(struct server *s, const char *text)
{
    while (*text) {
        char *end;
        int64_t number = strtoll(text, &end, 0);

        if (end == text) {
            if (*text == 'x') {
                close(s->client);
                s->client = -1;
            }
            text++;
            continue;
        }
        int fd = make_fd(*end);
        server_send_number(s, number, fd);
        if (*end == 'e') {
            if (s->last_eventfd >= 0) {
                close(s->last_eventfd);
            }
            s->last_eventfd = fd;
        } else if (fd >= 0) {
            close(fd);
        }
        text = end;
    }
}

/* Opens a device whose server sends 'text'.  The server's answer is in the
 * socket before the device reads. */
struct opener {
    struct vpci_device *device;
    int timeout_ms;
    int error;
};

static void *
open_device(void *o_)
{
    struct opener *o = o_;

    o->error = vpci_device_open(o->device, o->timeout_ms);
    return NULL;
}

static int
open_served(struct server *s, struct vpci_device *d, const char *text,
            int timeout_ms)
{
    struct opener o = { .device = d, .timeout_ms = timeout_ms };
    pthread_t thread;

    if (s->client >= 0) {
        close(s->client);
    }
    if (pthread_create(&thread, NULL, open_device, &o)) {
        abort();
    }
    s->client = accept(s->fd, NULL, NULL);
    server_send(s, text);
    pthread_join(thread, NULL);
    return o.error;
}

/* The one device of the bus at 's'. */
static struct vpci_device *
find_base(struct server *s)
{
    struct vpci_bus_event event;
    struct vpci_bus *bus;
    char reason[200];

    if (vpci_bus_open(s->path, &bus, reason, sizeof reason)
        || !vpci_bus_next(bus, &event)
        || event.kind != VPCI_BUS_ARRIVED
        || strcmp(vpci_device_name(event.device), "base")) {
        abort();
    }
    vpci_bus_close(bus);
    return event.device;
}

static bool
wait_readable(int fd)
{
    struct pollfd pfd = { .fd = fd, .events = POLLIN };

    return poll(&pfd, 1, TIMEOUT_MS) == 1;
}

/* A device that has gone stays as it is while another one is opened at the
 * same place. */
static bool
check_again(struct server *s, struct vpci_device *d)
{
    struct vpci_device *again = vpci_device_again(d);
    struct vpci_region region;

    CHECK(again && !vpci_device_is_open(again));
    CHECK(!strcmp(vpci_device_name(again), vpci_device_name(d)));
    CHECK(!open_served(s, again, "0 8 -1m 9e 9e 8e 8e", TIMEOUT_MS));
    CHECK(vpci_device_id(again) == 8 && vpci_device_id(d) == 7);
    CHECK(!vpci_device_shm(d, 0, 0, &region, NULL));
    CHECK(*(uint8_t *) region.base == 1);
    vpci_device_release(again);
    return true;
}

static bool
run_ivshmem(void)
{
    struct vpci_region region;
    struct vpci_device *d;
    struct server s;
    eventfd_t value;
    unsigned int n_fds = n_open_fds();

    CHECK(server_start(&s));
    d = find_base(&s);
    CHECK(!open_served(&s, d, "0 7 -1m 9e 9e 7e 7e", TIMEOUT_MS));
    CHECK(vpci_device_id(d) == 7 && vpci_device_peer(d) == 9);
    while (vpci_device_n_signals(d) < 2) {
        CHECK(wait_readable(vpci_device_fd(d)));
        vpci_device_run(d);
    }
    CHECK(!vpci_device_shm(d, 0, 0, &region, NULL));
    CHECK(region.size == 65536);
    memset(region.base, 1, region.size);

    /* Our second signal. */
    CHECK(!eventfd_write(s.last_eventfd, 1));
    CHECK(vpci_signal_wait(vpci_device_signal(d, 1), TIMEOUT_MS * 1000));
    CHECK(!vpci_signal_clear(vpci_device_signal(d, 0)));

    /* The other side goes, and another one comes. */
    server_send(&s, "9");
    CHECK(wait_readable(vpci_device_fd(d)));
    CHECK(vpci_device_run(d) & VPCI_DEVICE_PEER_LEFT);
    CHECK(vpci_signal_inject(vpci_device_signal(d, 0)) == ENOTCONN);
    server_send(&s, "11e");
    CHECK(wait_readable(vpci_device_fd(d)));
    CHECK(vpci_device_run(d) == VPCI_DEVICE_PEER_CAME);
    CHECK(vpci_device_peer(d) == 11);
    CHECK(!vpci_signal_inject(vpci_device_signal(d, 0)));
    CHECK(!eventfd_read(s.last_eventfd, &value) && value == 1);

    /* It has no second signal: nobody hears it. */
    CHECK(!vpci_signal_inject(vpci_device_signal(d, 1)));
    CHECK(eventfd_read(s.last_eventfd, &value));

    server_send(&s, "x");
    CHECK(wait_readable(vpci_device_fd(d)));
    CHECK(vpci_device_run(d) == VPCI_DEVICE_GONE);
    CHECK(!vpci_device_run(d));
    CHECK(strstr(vpci_device_reason(d), "closed the connection"));

    /* The other side is there as before. */
    CHECK(vpci_device_peer(d) == 11);
    CHECK(!vpci_signal_inject(vpci_device_signal(d, 0)));
    CHECK(!eventfd_read(s.last_eventfd, &value));
    CHECK(check_again(&s, d));
    vpci_device_close(d);
    vpci_device_release(d);
    server_stop(&s);
    CHECK(n_open_fds() == n_fds);
    return true;
}

/* 'text' from a server is answered by 'error' and a 'reason'. */
static bool
is_refused(struct server *s, struct vpci_device *d, const char *text,
           int error, const char *reason)
{
    unsigned int n_fds = n_open_fds();
    int seen = open_served(s, d, text, strchr(text, '.') ? 20 : TIMEOUT_MS);

    if (seen != error || !strstr(vpci_device_reason(d), reason)) {
        fprintf(stderr, "\"%s\": %d: %s\n", text, seen,
                vpci_device_reason(d));
    }
    CHECK(seen == error && strstr(vpci_device_reason(d), reason));
    CHECK(!vpci_device_is_open(d));
    close(s->client);
    s->client = -1;
    if (s->last_eventfd >= 0) {
        close(s->last_eventfd);
        s->last_eventfd = -1;
    }
    CHECK(n_open_fds() <= n_fds);
    return true;
}

static bool
run_ivshmem_nonsense(void)
{
    struct vpci_device *d;
    struct server s;

    CHECK(server_start(&s));
    d = find_base(&s);
    CHECK(is_refused(&s, d, "x", EBUSY, "another process has this device"));
    CHECK(is_refused(&s, d, "-16", EBUSY, "another process has this device"));
    CHECK(is_refused(&s, d, "-108", ESHUTDOWN, "this link is over"));
    CHECK(is_refused(&s, d, "-4096", EPROTO, "it sent -4096, but version 0"));
    CHECK(is_refused(&s, d, "1", EPROTO, "it sent 1, but version 0 is due"));
    CHECK(is_refused(&s, d, "0m", EPROTO, "0 with a descriptor"));
    CHECK(is_refused(&s, d, "0 0", EPROTO, "it sent 0, but our id"));
    CHECK(is_refused(&s, d, "0 65536", EPROTO, "it sent 65536, but our id"));
    CHECK(is_refused(&s, d, "0 -5", EPROTO, "it sent -5, but our id"));
    CHECK(is_refused(&s, d, "0 7 7", EPROTO, "but -1 with the memory"));
    CHECK(is_refused(&s, d, "0 7 -1", EPROTO, "-1 without a descriptor"));
    CHECK(is_refused(&s, d, "0 7 -1u", EPERM, "F_SEAL_SHRINK"));
    CHECK(is_refused(&s, d, "0 7 -1e", EPERM, "must be a memfd"));
    CHECK(is_refused(&s, d, "0 7 -1p", EPERM, "must be a memfd"));
    CHECK(is_refused(&s, d, "0 7 -1m 7p", EPROTO, "an eventfd is due"));
    CHECK(is_refused(&s, d, "0 7 -1m 9m", EPROTO, "an eventfd is due"));
    CHECK(is_refused(&s, d, "0 7 -1m 70000e", EPROTO, "from 0 to 65535"));
    CHECK(is_refused(&s, d, "0 7 -1m -1m", EPROTO, "from 0 to 65535"));
    CHECK(is_refused(&s, d, "0 7 -1m x", ECONNRESET, "closed"));
    CHECK(is_refused(&s, d, "0 7 -1m .", ETIMEDOUT, "said too little"));
    CHECK(is_refused(&s, d, "0 7 -1m 9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e"
                     "9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e9e", EPROTO,
                     "more than 32 signals"));

    /* After all that it works. */
    CHECK(!open_served(&s, d, "0 7 -1m 7e", TIMEOUT_MS));
    vpci_device_release(d);
    server_stop(&s);
    return true;
}

/* A process that may have no more descriptors says so. */
static bool
run_ivshmem_without_fds(void)
{
    struct rlimit old, none;
    struct vpci_device *d;
    struct server s;
    int error, probe;

    CHECK(server_start(&s));
    d = find_base(&s);
    struct opener o = { .device = d, .timeout_ms = TIMEOUT_MS };
    pthread_t thread;
    CHECK(!pthread_create(&thread, NULL, open_device, &o));
    s.client = accept(s.fd, NULL, NULL);
    int memory = make_memory(true);
    probe = dup(0);
    close(probe);
    CHECK(!getrlimit(RLIMIT_NOFILE, &old));
    none = old;
    none.rlim_cur = probe;
    CHECK(!setrlimit(RLIMIT_NOFILE, &none));
    server_send_number(&s, 0, -1);
    server_send_number(&s, 7, -1);
    server_send_number(&s, -1, memory);
    pthread_join(thread, NULL);
    error = o.error;
    CHECK(!setrlimit(RLIMIT_NOFILE, &old));
    CHECK(error == EMFILE && strstr(vpci_device_reason(d), "ulimit -n"));
    close(memory);
    vpci_device_release(d);
    server_stop(&s);
    return true;
}

/* Nobody is there. */
static bool
run_nobody(void)
{
    struct vpci_device *d;
    struct server s;

    CHECK(server_start(&s));
    d = find_base(&s);
    close(s.fd);
    CHECK(vpci_device_open(d, 100) == ECONNREFUSED);
    CHECK(strstr(vpci_device_reason(d), "is vpcid running"));
    unlink(s.path);
    CHECK(vpci_device_open(d, 100) == ENOENT);
    vpci_device_release(d);
    rmdir(s.dir);
    return true;
}

/* Makes, or makes anew, a socket file 'name' in 'dir'. */
static bool
make_socket(const char *dir, const char *name)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(sun.sun_path, sizeof sun.sun_path, "%s/%s", dir, name);
    unlink(sun.sun_path);
    CHECK(!bind(fd, (struct sockaddr *) &sun, sizeof sun));
    close(fd);
    return true;
}

static bool
is_next(struct vpci_bus *bus, enum vpci_bus_event_kind kind, const char *name)
{
    struct vpci_bus_event event;

    CHECK(vpci_bus_next(bus, &event));
    CHECK(event.kind == kind);
    CHECK(!strcmp(vpci_device_name(event.device), name));
    vpci_device_release(event.device);
    return true;
}

static bool
run_bus(void)
{
    struct vpci_bus_event event;
    char dir[] = "/tmp/vpci-test-device.XXXXXX", path[200], reason[200];
    struct vpci_bus *bus;
    unsigned int n_fds = n_open_fds();

    CHECK(mkdtemp(dir));
    snprintf(path, sizeof path, "unix:%s/port", dir);
    CHECK(!vpci_bus_open(path, &bus, reason, sizeof reason));
    CHECK(!vpci_bus_next(bus, &event));
    CHECK(make_socket(dir, "port"));
    CHECK(wait_readable(vpci_bus_fd(bus)));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "base"));
    CHECK(!vpci_bus_next(bus, &event));

    /* What is none of ours. */
    CHECK(make_socket(dir, "port2") && make_socket(dir, "port.link"));
    CHECK(make_socket(dir, "port.link1x") && make_socket(dir, "por"));
    CHECK(make_socket(dir, "port.peer1") && make_socket(dir, "port.pee"));
    CHECK(!vpci_bus_next(bus, &event));

    CHECK(make_socket(dir, "port.link12"));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "link12"));
    CHECK(make_socket(dir, "port.link12"));
    CHECK(is_next(bus, VPCI_BUS_DEPARTED, "link12"));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "link12"));
    CHECK(!vpci_bus_next(bus, &event));
    CHECK(make_socket(dir, "port.peer"));
    CHECK(is_next(bus, VPCI_BUS_ARRIVED, "peer"));
    snprintf(path, sizeof path, "%s/port", dir);
    CHECK(!unlink(path));
    CHECK(is_next(bus, VPCI_BUS_DEPARTED, "base"));
    CHECK(!vpci_bus_next(bus, &event));
    vpci_bus_close(bus);
    snprintf(path, sizeof path, "rm -r %s", dir);
    CHECK(!system(path));
    CHECK(n_open_fds() == n_fds);
    return true;
}

static bool
run_bus_addresses(void)
{
    struct vpci_bus *bus;
    char reason[200], path[200];

    CHECK(vpci_bus_open("tcp:1.2.3.4", &bus, reason, sizeof reason) == EINVAL);
    CHECK(!bus);
    CHECK(strstr(reason, "only unix:PATH and pci:ADDRESS are known"));
    CHECK(vpci_bus_open("", &bus, reason, sizeof reason) == EINVAL);
    CHECK(vpci_bus_open("unix:/tmp/", &bus, reason, sizeof reason) == EINVAL);
    CHECK(!strcmp(reason, "unix:/tmp/: no socket can have this path: Invalid "
                          "argument"));
    CHECK(vpci_bus_open("/nonexistent/x", &bus, reason, sizeof reason)
          == ENOENT);
    memset(path, 'x', sizeof path);
    path[150] = '\0';
    CHECK(vpci_bus_open(path, &bus, reason, sizeof reason) == ENAMETOOLONG);
    CHECK(strstr(reason, "107"));
    CHECK(!vpci_bus_open("port", &bus, reason, sizeof reason));
    vpci_bus_close(bus);
    return true;
}

int
main(int argc, char *argv[])
{
    static const struct unit_test tests[] = {
        { "loop", run_loop },
        { "callbacks", run_callbacks },
        { "peer-changes", run_peer_changes },
        { "ivshmem", run_ivshmem },
        { "ivshmem-nonsense", run_ivshmem_nonsense },
        { "ivshmem-without-fds", run_ivshmem_without_fds },
        { "nobody", run_nobody },
        { "bus", run_bus },
        { "bus-addresses", run_bus_addresses },
    };

    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
