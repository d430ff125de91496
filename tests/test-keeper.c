/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of the messages between switch and keeper (lib/vpci/keeper.h) and of
 * those from keeper to guest (vpcid/ivshmem.h).
 *
 * usage: test-keeper [--list | NAME...] */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ivshmem.h"
#include "keeper.h"
#include "unit-test.h"

#define KEEPER VPCI_KEEPER_SIDE_KEEPER
#define SWITCH VPCI_KEEPER_SIDE_SWITCH
#define REPLY(NAME) (VPCI_KEEPER_##NAME | VPCI_KEEPER_REPLY)

static const struct {
    uint16_t type;
    enum vpci_keeper_side side;
    size_t body_size;
} types[] = {
    { VPCI_KEEPER_HELLO, KEEPER, 72 },
    { VPCI_KEEPER_LIST, KEEPER, 0 },
    { VPCI_KEEPER_BASE_ADD, KEEPER, 536 },
    { VPCI_KEEPER_LINK_ADD, KEEPER, 24 },
    { VPCI_KEEPER_LINK_GET, KEEPER, 8 },
    { VPCI_KEEPER_DEL, KEEPER, 8 },
    { VPCI_KEEPER_PEER_ADD, KEEPER, 16 },
    { VPCI_KEEPER_PEER_SIGNALS, KEEPER, 16 },
    { VPCI_KEEPER_STATIC_ADD, KEEPER, 152 },
    { REPLY(HELLO), SWITCH, 32 },
    { REPLY(LIST), SWITCH, 1072 },
    { VPCI_KEEPER_LIST_END, SWITCH, 8 },
    { REPLY(BASE_ADD), SWITCH, 1072 },
    { REPLY(LINK_ADD), SWITCH, 1072 },
    { REPLY(LINK_GET), SWITCH, 1072 },
    { REPLY(DEL), SWITCH, 8 },
    { REPLY(PEER_ADD), SWITCH, 1072 },
    { REPLY(PEER_SIGNALS), SWITCH, 16 },
    { REPLY(STATIC_ADD), SWITCH, 1072 },
    { VPCI_KEEPER_PEER_UP, SWITCH, 40 },
    { VPCI_KEEPER_PEER_DOWN, SWITCH, 400 },
};
#define N_TYPES (sizeof types / sizeof *types)

static int socks[2];            /* A connection: 0 sends, 1 receives. */

static bool
open_socks(void)
{
    return !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks);
}

static void
close_socks(void)
{
    close(socks[0]);
    close(socks[1]);
}

static int
count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    while (dir && readdir(dir)) {
        n++;
    }
    if (dir) {
        closedir(dir);
    }
    return n;
}

static int
create_memory(uint64_t size, int seals)
{
    int fd = memfd_create("test-keeper", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    return (fd < 0 || ftruncate(fd, size) || fcntl(fd, F_ADD_SEALS, seals)
            ? -1 : fd);
}

#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static void
add_eventfds(struct vpci_keeper_msg *msg, int n)
{
    for (int i = 0; i < n; i++) {
        vpci_keeper_msg_add_fd(msg, eventfd(0, EFD_NONBLOCK));
    }
}

/* Makes a sound message of 'type', with a body that is not all zeros. */
static void
make(struct vpci_keeper_msg *msg, uint16_t type)
{
    bool link = (type == REPLY(LINK_ADD) || type == REPLY(LINK_GET)
                 || type == REPLY(STATIC_ADD));

    vpci_keeper_msg_init(msg, type, type & 0x4000 ? 0 : 1234);
    switch (type) {
    case VPCI_KEEPER_HELLO:
        msg->body.hello.max_version = 7;
        memcpy(msg->body.hello.name, "name", sizeof "name");
        break;

    case REPLY(BASE_ADD):
    case REPLY(LINK_ADD):
    case REPLY(LINK_GET):
    case REPLY(STATIC_ADD):
    case REPLY(LIST):
        msg->body.region.kind = link ? VPCI_KEEPER_LINK : VPCI_KEEPER_BASE;
        msg->body.region.size = 8192;
        msg->body.region.private_size = link ? 0 : 4096;
        msg->body.region.n_vectors = 32;
        if (type != REPLY(LIST)) {
            vpci_keeper_msg_add_fd(msg, create_memory(8192, ALL_SEALS));
            if (!link) {
                vpci_keeper_msg_add_fd(msg, create_memory(4096, ALL_SEALS));
            }
        }
        break;

    case VPCI_KEEPER_PEER_UP:
        msg->body.peer_up.n_vectors = 32;
        msg->body.peer_up.self = 5;
        add_eventfds(msg, 64);
        break;

    case VPCI_KEEPER_STATIC_ADD:
        memset(msg->body.static_add.name[0], 'x', VPCI_KEEPER_NAME_SIZE - 1);
        break;

    case VPCI_KEEPER_PEER_ADD:
        msg->body.peer_add.size = 4096;
        vpci_keeper_msg_add_fd(msg, create_memory(4096, 0));
        break;

    case VPCI_KEEPER_PEER_SIGNALS:
        msg->body.signals_add.n_kicks = 31;
        msg->body.signals_add.n_calls = 32;
        add_eventfds(msg, 63);
        break;

    case REPLY(PEER_ADD):
        msg->body.region.kind = VPCI_KEEPER_PEER;
        msg->body.region.size = UINT64_C(1) << 40;
        msg->body.region.n_vectors = 32;
        break;

    case REPLY(PEER_SIGNALS):
        msg->body.peer_signals.first_kick = 32;
        break;
    }
}

/* Sends '*msg', receives it in '*msg2' as 'side', closes what was sent, and
 * returns what vpci_keeper_recv() did. */
static int
transfer(struct vpci_keeper_msg *msg, struct vpci_keeper_msg *msg2,
         enum vpci_keeper_side side)
{
    char why[VPCI_KEEPER_TEXT_SIZE] = "";
    int error = vpci_keeper_send(socks[0], msg);

    vpci_keeper_msg_close_fds(msg);
    if (error) {
        return -error;
    }
    error = vpci_keeper_recv(socks[1], side, msg2, why);
    return error && !why[0] ? -EINVAL : error;
}

static bool
check_message(size_t i)
{
    struct vpci_keeper_msg msg, msg2, copy;

    make(&msg, types[i].type);
    copy = msg;
    CHECK(msg.header.length == 24 + types[i].body_size);
    CHECK(!transfer(&msg, &msg2, types[i].side));
    CHECK(!memcmp(&copy, &msg2, msg2.header.length));
    for (uint32_t j = 0; j < msg2.header.n_fds; j++) {
        CHECK(fcntl(msg2.fds[j], F_GETFD) == FD_CLOEXEC);
    }
    vpci_keeper_msg_close_fds(&msg2);
    return true;
}

static bool
test_every_message(void)
{
    int n = count_fds();

    CHECK(open_socks());
    for (size_t i = 0; i < N_TYPES; i++) {
        if (!check_message(i)) {
            fprintf(stderr, "type %#x\n", types[i].type);
            return false;
        }
    }
    close_socks();
    CHECK(count_fds() == n);
    return true;
}

static bool
test_refusals(void)
{
    struct vpci_keeper_msg msg, msg2;
    char text[1000];

    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    CHECK(open_socks());

    /* Also of what only the other side knows. */
    vpci_keeper_msg_refuse(&msg, 99, 7, ENOENT, "%d %s", 5, text);
    CHECK(!transfer(&msg, &msg2, SWITCH));
    CHECK(msg2.header.type == (99 | VPCI_KEEPER_REPLY));
    CHECK(msg2.header.xid == 7 && msg2.header.error == ENOENT);
    CHECK(!strncmp(msg2.body.error.text, "5 xxx", 5));
    CHECK(strlen(msg2.body.error.text) == VPCI_KEEPER_TEXT_SIZE - 1);

    memset(msg.body.error.text, 'x', sizeof msg.body.error.text);
    CHECK(transfer(&msg, &msg2, SWITCH) == EPROTO);
    close_socks();
    return true;
}

static bool
test_directions(void)
{
    CHECK(open_socks());
    for (size_t i = 0; i < N_TYPES; i++) {
        struct vpci_keeper_msg msg, msg2;

        make(&msg, types[i].type);
        CHECK(transfer(&msg, &msg2, !types[i].side) == EOPNOTSUPP);
        CHECK(msg2.header.type == types[i].type);
        CHECK(!msg2.header.n_fds);
    }
    close_socks();
    return true;
}

static bool
test_headers(void)
{
    struct vpci_keeper_msg msg, msg2;

    CHECK(open_socks());
    make(&msg, VPCI_KEEPER_LIST);
    msg.header.magic++;
    CHECK(transfer(&msg, &msg2, KEEPER) == EPROTO && !msg2.header.magic);

    make(&msg, VPCI_KEEPER_LIST);
    msg.header.version++;
    CHECK(transfer(&msg, &msg2, KEEPER) == EPROTONOSUPPORT);
    CHECK(msg2.header.magic == VPCI_KEEPER_MAGIC && msg2.header.xid == 1234);

    make(&msg, 55);
    CHECK(transfer(&msg, &msg2, KEEPER) == EOPNOTSUPP);

    make(&msg, VPCI_KEEPER_LIST);
    msg.header.error = 1;
    CHECK(transfer(&msg, &msg2, KEEPER) == EPROTO && msg2.header.magic);

    make(&msg, VPCI_KEEPER_LIST);
    msg.header.xid = 0;
    CHECK(transfer(&msg, &msg2, KEEPER) == EPROTO && msg2.header.magic);

    CHECK(transfer(&msg, &msg2, KEEPER) == EPROTO);
    CHECK(vpci_keeper_recv(socks[1], KEEPER, &msg2, msg.body.error.text)
          == EAGAIN);
    close(socks[0]);
    CHECK(vpci_keeper_recv(socks[1], KEEPER, &msg2, msg.body.error.text)
          == ENOTCONN);
    CHECK(vpci_keeper_send(socks[1], &msg) == EPIPE);
    close(socks[1]);
    return true;
}

/* Sends any number of bytes of a message that claims any number. */
static bool
test_lengths(void)
{
    static uint8_t bytes[2000];

    CHECK(open_socks());
    for (size_t i = 0; i < N_TYPES; i++) {
        size_t right = 24 + types[i].body_size;

        for (size_t n = 1; n < sizeof bytes; n++) {
            char why[VPCI_KEEPER_TEXT_SIZE];
            struct vpci_keeper_msg msg;
            int error;

            vpci_keeper_msg_init(&msg, types[i].type, 1);
            msg.header.length = i % 2 ? right : n;
            memcpy(bytes, &msg, sizeof msg.header);
            CHECK(send(socks[0], bytes, n, 0) == (ssize_t) n);
            error = vpci_keeper_recv(socks[1], types[i].side, &msg, why);
            CHECK(n == right || error == EPROTO);
            CHECK(n == right || (msg.header.magic != 0) == (n >= 24));
        }
    }
    close_socks();
    return true;
}

static bool
check_wrong_body(uint16_t type, enum vpci_keeper_side side, size_t offset,
                 size_t size, int byte)
{
    struct vpci_keeper_msg msg, msg2;

    make(&msg, type);
    memset((uint8_t *) &msg.body + offset, byte, size);
    if (transfer(&msg, &msg2, side) != EPROTO) {
        fprintf(stderr, "type %#x, %zu bytes at %zu\n", type, size, offset);
        return false;
    }
    return true;
}

#define WRONG(TYPE, SIDE, STRUCT, MEMBER, BYTE)                             \
    CHECK(check_wrong_body(TYPE, SIDE,                                      \
                           offsetof(struct vpci_keeper_##STRUCT, MEMBER),   \
                           sizeof((struct vpci_keeper_##STRUCT *) 0)->MEMBER, \
                           BYTE))

static bool
test_bodies(void)
{
    int n = count_fds();

    CHECK(open_socks());
    WRONG(VPCI_KEEPER_HELLO, KEEPER, hello, name, 'x');
    WRONG(VPCI_KEEPER_HELLO, KEEPER, hello, min_version, 1);
    WRONG(VPCI_KEEPER_BASE_ADD, KEEPER, base_add, path, '/');
    WRONG(VPCI_KEEPER_BASE_ADD, KEEPER, base_add, reserved, 1);
    WRONG(VPCI_KEEPER_LINK_ADD, KEEPER, link_add, reserved, 1);
    WRONG(VPCI_KEEPER_STATIC_ADD, KEEPER, static_add, reserved, 1);
    WRONG(VPCI_KEEPER_STATIC_ADD, KEEPER, static_add, name[0], 'x');
    WRONG(VPCI_KEEPER_STATIC_ADD, KEEPER, static_add, name[1], 'x');
    WRONG(VPCI_KEEPER_DEL, KEEPER, id, reserved, 1);
    WRONG(REPLY(HELLO), SWITCH, welcome, reserved, 1);
    WRONG(REPLY(BASE_ADD), SWITCH, region, kind, 0);
    WRONG(REPLY(BASE_ADD), SWITCH, region, kind, 3);
    WRONG(REPLY(BASE_ADD), SWITCH, region, n_vectors, 0);
    WRONG(REPLY(BASE_ADD), SWITCH, region, n_vectors, 1);
    WRONG(REPLY(BASE_ADD), SWITCH, region, path[0], 1);
    WRONG(REPLY(BASE_ADD), SWITCH, region, path[1], 1);
    WRONG(REPLY(LIST), SWITCH, region, path[1], 1);
    WRONG(REPLY(DEL), SWITCH, count, reserved, 1);
    WRONG(VPCI_KEEPER_PEER_SIGNALS, KEEPER, signals_add, n_kicks, 1);
    WRONG(VPCI_KEEPER_PEER_SIGNALS, KEEPER, signals_add, n_calls, 0xff);
    WRONG(REPLY(PEER_ADD), SWITCH, region, kind, 0);
    WRONG(REPLY(PEER_ADD), SWITCH, region, n_vectors, 0);
    WRONG(REPLY(PEER_ADD), SWITCH, region, path[0], 1);
    WRONG(REPLY(PEER_SIGNALS), SWITCH, peer_signals, first_kick, 0);
    WRONG(REPLY(PEER_SIGNALS), SWITCH, peer_signals, first_kick, 1);
    WRONG(REPLY(PEER_SIGNALS), SWITCH, peer_signals, n_left, 1);
    WRONG(VPCI_KEEPER_PEER_UP, SWITCH, peer_up, end, 1);
    WRONG(VPCI_KEEPER_PEER_UP, SWITCH, peer_up, n_vectors, 0);
    WRONG(VPCI_KEEPER_PEER_UP, SWITCH, peer_up, n_vectors, 1);
    WRONG(VPCI_KEEPER_PEER_UP, SWITCH, peer_up, reserved, 1);
    WRONG(VPCI_KEEPER_PEER_DOWN, SWITCH, peer_down, end, 1);
    WRONG(VPCI_KEEPER_PEER_DOWN, SWITCH, peer_down, reserved, 1);
    WRONG(VPCI_KEEPER_PEER_DOWN, SWITCH, peer_down, text, 1);
    close_socks();
    CHECK(count_fds() == n);
    return true;
}

/* Each reply has a region of a kind that it can have. */
static bool
test_kinds(void)
{
    static const struct {
        uint16_t type;
        uint32_t kind;
        int error;
    } cases[] = {
        { REPLY(BASE_ADD), VPCI_KEEPER_BASE, 0 },
        { REPLY(BASE_ADD), VPCI_KEEPER_PEER, EPROTO },
        { REPLY(LINK_ADD), VPCI_KEEPER_LINK, 0 },
        { REPLY(LINK_ADD), VPCI_KEEPER_PEER, EPROTO },
        { REPLY(LINK_GET), VPCI_KEEPER_PEER, EPROTO },
        { REPLY(PEER_ADD), VPCI_KEEPER_PEER, 0 },
        { REPLY(PEER_ADD), VPCI_KEEPER_LINK, EPROTO },
        { REPLY(PEER_ADD), VPCI_KEEPER_BASE, EPROTO },
        { REPLY(LIST), VPCI_KEEPER_BASE, 0 },
        { REPLY(LIST), VPCI_KEEPER_LINK, 0 },
        { REPLY(LIST), VPCI_KEEPER_PEER, 0 },
        { REPLY(LIST), 4, EPROTO },
    };

    CHECK(open_socks());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vpci_keeper_msg msg, msg2;

        make(&msg, cases[i].type);
        msg.body.region.kind = cases[i].kind;
        if (transfer(&msg, &msg2, SWITCH) != cases[i].error) {
            fprintf(stderr, "type %#x, kind %u\n", cases[i].type,
                    (unsigned int) cases[i].kind);
            return false;
        }
        vpci_keeper_msg_close_fds(&msg2);
    }
    close_socks();
    return true;
}

/* Sends a message of 'type' with descriptor 'i' replaced by 'fd', which this
 * closes, to who gets such messages. */
static int
replace_fd(uint16_t type, int i, int fd)
{
    bool reply_or_event = type & (VPCI_KEEPER_REPLY | 0x4000);
    struct vpci_keeper_msg msg, msg2;
    int error;

    make(&msg, type);
    close(msg.fds[i]);
    msg.fds[i] = fd;
    error = transfer(&msg, &msg2, reply_or_event ? SWITCH : KEEPER);
    if (!error) {
        vpci_keeper_msg_close_fds(&msg2);
    }
    return error;
}

/* Sends a message of 'type' with 'n' descriptors. */
static int
send_n_fds(uint16_t type, enum vpci_keeper_side side, uint32_t n)
{
    struct vpci_keeper_msg msg, msg2;

    make(&msg, type);
    while (msg.header.n_fds > n) {
        close(msg.fds[--msg.header.n_fds]);
    }
    while (msg.header.n_fds < n) {
        vpci_keeper_msg_add_fd(&msg, eventfd(0, EFD_NONBLOCK));
    }
    return transfer(&msg, &msg2, side);
}

static bool
test_descriptors(void)
{
    int n = count_fds();

    CHECK(open_socks());
    CHECK(send_n_fds(VPCI_KEEPER_LIST, KEEPER, 1) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_LIST, KEEPER, 64) == EPROTO);
    CHECK(send_n_fds(REPLY(BASE_ADD), SWITCH, 0) == EPROTO);
    CHECK(send_n_fds(REPLY(BASE_ADD), SWITCH, 1) == EPROTO);
    CHECK(send_n_fds(REPLY(BASE_ADD), SWITCH, 3) == EPROTO);
    CHECK(send_n_fds(REPLY(LINK_ADD), SWITCH, 2) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_PEER_UP, SWITCH, 63) == EPROTO);
    CHECK(send_n_fds(REPLY(STATIC_ADD), SWITCH, 2) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_STATIC_ADD, KEEPER, 1) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_PEER_ADD, KEEPER, 0) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_PEER_ADD, KEEPER, 2) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_PEER_SIGNALS, KEEPER, 0) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_PEER_SIGNALS, KEEPER, 62) == EPROTO);
    CHECK(send_n_fds(VPCI_KEEPER_PEER_SIGNALS, KEEPER, 64) == EPROTO);
    CHECK(send_n_fds(REPLY(PEER_ADD), SWITCH, 1) == EPROTO);

    for (int i = 0; i < 2; i++) {
        uint64_t size = i ? 4096 : 8192;

        CHECK(replace_fd(REPLY(BASE_ADD), i, eventfd(0, EFD_NONBLOCK))
              == EPROTO);
        CHECK(replace_fd(REPLY(BASE_ADD), i, open("/dev/zero", O_RDWR))
              == EPROTO);
        CHECK(replace_fd(REPLY(BASE_ADD), i, create_memory(size, 0))
              == EPROTO);
        CHECK(replace_fd(REPLY(BASE_ADD), i,
                         create_memory(size, ALL_SEALS & ~F_SEAL_SHRINK))
              == EPROTO);
        CHECK(replace_fd(REPLY(BASE_ADD), i,
                         create_memory(size / 2, ALL_SEALS)) == EPROTO);
    }
    /* A client can make its own block at any time. */
    CHECK(!replace_fd(VPCI_KEEPER_PEER_UP, 63, eventfd(0, 0)));
    CHECK(replace_fd(VPCI_KEEPER_PEER_UP, 0, open("/dev/null", O_RDWR))
          == EPROTO);

    /* What the switch has from guests is not its nonsense. */
    CHECK(!replace_fd(VPCI_KEEPER_PEER_ADD, 0, open("/dev/null", O_RDWR)));
    CHECK(!replace_fd(VPCI_KEEPER_PEER_SIGNALS, 5,
                      open("/dev/null", O_RDWR)));
    close_socks();
    CHECK(count_fds() == n);
    return true;
}

static bool
test_no_room_for_descriptors(void)
{
    struct rlimit limit, old;
    struct vpci_keeper_msg msg, msg2;
    char why[VPCI_KEEPER_TEXT_SIZE];
    int n = count_fds(), error;

    CHECK(open_socks());
    make(&msg, VPCI_KEEPER_PEER_UP);
    CHECK(!vpci_keeper_send(socks[0], &msg));
    CHECK(!getrlimit(RLIMIT_NOFILE, &old));
    limit = old;
    limit.rlim_cur = msg.fds[63] + 10;
    CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
    error = vpci_keeper_recv(socks[1], SWITCH, &msg2, why);
    CHECK(!setrlimit(RLIMIT_NOFILE, &old));
    CHECK(error == EMFILE && strstr(why, "ulimit -n"));
    CHECK(msg2.header.magic == VPCI_KEEPER_MAGIC && !msg2.header.n_fds);
    vpci_keeper_msg_close_fds(&msg);
    close_socks();
    CHECK(count_fds() == n);
    return true;
}

static bool
test_slow(void)
{
    struct vpci_keeper_msg msg, msg2;
    char why[VPCI_KEEPER_TEXT_SIZE];
    int n = 0, error;

    CHECK(open_socks());
    make(&msg, VPCI_KEEPER_PEER_DOWN);
    while (!(error = vpci_keeper_send(socks[0], &msg))) {
        CHECK(n++ < 100000);
    }
    CHECK(error == EAGAIN && n > 0);
    for (int i = 0; i < n; i++) {
        CHECK(!vpci_keeper_recv(socks[1], SWITCH, &msg2, why));
    }
    CHECK(!vpci_keeper_send(socks[0], &msg));
    close_socks();
    return true;
}

/* Messages in which some bytes are random: nothing is accepted that is not
 * what it says, and no descriptor stays open. */
static bool
test_random(void)
{
    int n = count_fds();

    srand(1);
    CHECK(open_socks());
    for (int i = 0; i < 20000; i++) {
        size_t t = rand() % N_TYPES;
        struct vpci_keeper_msg msg, msg2;
        uint32_t length, n_fds;
        int n_changes = rand() % 4, error;

        make(&msg, types[t].type);
        length = msg.header.length;
        n_fds = msg.header.n_fds;
        while (n_changes-- > 0) {
            ((uint8_t *) &msg)[rand() % length] = rand();
        }

        /* What is sent is not up to chance. */
        msg.header.length = length;
        msg.header.n_fds = n_fds;
        error = transfer(&msg, &msg2, rand() % 2 ? KEEPER : SWITCH);
        CHECK(error >= 0);
        if (!error) {
            vpci_keeper_msg_close_fds(&msg2);
        }
        CHECK(!msg2.header.n_fds);
    }
    close_socks();
    CHECK(count_fds() == n);
    return true;
}

/* Receives a message as a guest does. */
static bool
recv_ivshmem(int sock, int64_t *number, bool *has_fd)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    uint64_t wire;
    struct iovec iov = { &wire, sizeof wire };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1,
                        .msg_control = &control,
                        .msg_controllen = sizeof control };

    CHECK(recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) == sizeof wire);
    *number = le64toh(wire);
    *has_fd = m.msg_controllen > 0;
    if (*has_fd) {
        int fd;

        memcpy(&fd, CMSG_DATA(&control.align), sizeof fd);
        close(fd);
    }
    return true;
}

/* Messages arrive one by one, and a client that does not read is found out
 * without waiting for it. */
static bool
test_ivshmem(void)
{
    int n_fds = count_fds(), pair[2], size = 4096, n = 0, error;
    int fds[2] = { eventfd(0, 0), eventfd(0, 0) };
    int64_t number;
    bool has_fd;

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    CHECK(!setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size));
    CHECK(!ivshmem_send(pair[0], -1, fds[0]));
    CHECK(!ivshmem_send(pair[0], 65535, -1));
    CHECK(!ivshmem_send_vectors(pair[0], 3, fds, 2));
    CHECK(recv_ivshmem(pair[1], &number, &has_fd) && number == -1 && has_fd);
    CHECK(recv_ivshmem(pair[1], &number, &has_fd));
    CHECK(number == 65535 && !has_fd);
    CHECK(recv_ivshmem(pair[1], &number, &has_fd) && number == 3 && has_fd);
    CHECK(recv_ivshmem(pair[1], &number, &has_fd) && number == 3 && has_fd);

    while (!(error = ivshmem_send_vectors(pair[0], 3, fds, 2))) {
        CHECK(n++ < 100000);
    }
    CHECK(error == EAGAIN && n > 0);
    close(pair[1]);
    CHECK(ivshmem_send(pair[0], 3, -1) == EPIPE);
    close(pair[0]);
    close(fds[0]);
    close(fds[1]);
    CHECK(count_fds() == n_fds);
    return true;
}

static const struct unit_test tests[] = {
    { "every-message", test_every_message },
    { "refusals", test_refusals },
    { "directions", test_directions },
    { "headers", test_headers },
    { "lengths", test_lengths },
    { "bodies", test_bodies },
    { "kinds", test_kinds },
    { "descriptors", test_descriptors },
    { "no-room-for-descriptors", test_no_room_for_descriptors },
    { "slow", test_slow },
    { "random", test_random },
    { "ivshmem", test_ivshmem },
};

int
main(int argc, char *argv[])
{
    return unit_test_main(argc, argv, tests, sizeof tests / sizeof *tests);
}
