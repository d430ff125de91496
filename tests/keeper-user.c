/* SPDX-License-Identifier: Apache-2.0 */

/* A switch as far as the keeper of regions is concerned: uses
 * lib/netdev-vpci-keeper.h as it is told to on standard input, and says on
 * standard output what it is told.
 *
 *     base NAME PATH          registers for a base region
 *     unbase NAME
 *     peer NAME FILE BASE     registers for memory FILE to be the peer's of
 *                             BASE
 *     move NAME FILE BASE     has the region deleted, and registers anew
 *     unpeer NAME keep|delete
 *     signals NAME GUEST N_KICKS N_CALLS
 *     twice NAME GUEST        asks twice at once for one kick
 *     null NAME GUEST         asks for a kick that is no eventfd
 *     ring NAME KICK          injects a signal as the peer does
 *     called NAME CALL        says whether the peer was told
 *     break                   breaks the connection
 *
 * Names are one digit. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fatal-signal.h"
#include "netdev-vpci-keeper.h"
#include "openvswitch/poll-loop.h"
#include "openvswitch/vlog.h"
#include "util.h"

#define SIZE 65536
#define N_NAMES 10

struct base {
    struct vpci_region_user user;
    int name;
};

struct peer {
    struct vpci_peer_user user;
    int name;
    int kicks[VPCI_KEEPER_MAX_VECTORS];
    int calls[VPCI_KEEPER_MAX_VECTORS];
};

static int input;               /* Standard input: the poll loop has no 0. */
static struct base bases[N_NAMES];
static struct peer peers[N_NAMES];

static void
say(const char *format, ...)
    OVS_PRINTF_FORMAT(1, 2);

static void
say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
    fflush(stdout);
}

static struct base *
base_from_user(struct vpci_region_user *user)
{
    return CONTAINER_OF(user, struct base, user);
}

static void
base_given(struct vpci_region_user *user, uint32_t region, int memory,
           int private)
{
    say("base %d given %"PRIu32, base_from_user(user)->name, region);
    close(memory);
    close(private);
}

static void
base_refused(struct vpci_region_user *user, const char *why OVS_UNUSED)
{
    say("base %d refused", base_from_user(user)->name);
}

static void
base_came(struct vpci_region_user *user,
          const struct vpci_keeper_peer_up *up OVS_UNUSED,
          int fds[] OVS_UNUSED, unsigned int n OVS_UNUSED)
{
    say("base %d came", base_from_user(user)->name);
}

static void
base_left(struct vpci_region_user *user, const char *why OVS_UNUSED)
{
    say("base %d left", base_from_user(user)->name);
}

static const struct vpci_region_user_class base_class = {
    .given = base_given,
    .refused = base_refused,
    .guest_came = base_came,
    .guest_left = base_left,
};

static int
name_of(struct vpci_peer_user *user)
{
    return CONTAINER_OF(user, struct peer, user)->name;
}

static void
peer_given(struct vpci_peer_user *user)
{
    say("peer %d given %"PRIu32, name_of(user), user->region);
}

static void
peer_refused(struct vpci_peer_user *user, const char *why)
{
    say("peer %d refused %s", name_of(user), why);
}

static void
peer_came(struct vpci_peer_user *user, const struct vpci_keeper_peer_up *up,
          int fds[], unsigned int n)
{
    uint64_t one = 1;

    say("peer %d came %"PRIu32" %u", name_of(user), up->peer, n);
    ignore(write(fds[0], &one, sizeof one));
    close(fds[0]);
    fds[0] = -1;
}

static void
peer_left(struct vpci_peer_user *user, const char *why)
{
    say("peer %d left %s", name_of(user), why);
}

static void
peer_signals(struct vpci_peer_user *user, uint32_t peer_id,
             uint32_t first_kick, uint32_t n_left)
{
    say("peer %d signals %"PRIu32" %"PRIu32" %"PRIu32, name_of(user), peer_id,
        first_kick, n_left);
}

static void
peer_signals_refused(struct vpci_peer_user *user, int error, const char *why)
{
    say("peer %d signals-refused %d %s", name_of(user), error, why);
}

static const struct vpci_peer_user_class peer_class = {
    .given = peer_given,
    .refused = peer_refused,
    .guest_came = peer_came,
    .guest_left = peer_left,
    .signals = peer_signals,
    .signals_refused = peer_signals_refused,
};

static void
add_base(int name, const char *path)
{
    struct base *base = &bases[name];

    base->name = name;
    base->user = (struct vpci_region_user) {
        .class = &base_class,
        .path = xstrdup(path),
        .size = SIZE,
        .private_size = VPCI_KEEPER_PRIVATE_PAGE,
        .n_vectors = 1,
    };
    vpci_keeper_register(&base->user);
}

static void
add_peer(int name, const char *file, int base)
{
    struct peer *peer = &peers[name];

    peer->name = name;
    peer->user = (struct vpci_peer_user) {
        .class = &peer_class,
        .base = bases[base].user.region,
        .size = SIZE,
        .n_vectors = 4,
        .memory = open(file, O_RDWR | O_CLOEXEC),
    };
    ovs_assert(peer->user.memory >= 0);
    vpci_keeper_register_peer(&peer->user);
}

static void
remove_peer(int name, bool delete)
{
    struct peer *peer = &peers[name];

    vpci_keeper_unregister_peer(&peer->user, delete);
    close(peer->user.memory);
}

static void
send_signals(int name, uint32_t guest, int n_kicks, int n_calls)
{
    struct peer *peer = &peers[name];

    for (int i = 0; i < n_kicks; i++) {
        peer->kicks[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    for (int i = 0; i < n_calls; i++) {
        peer->calls[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    }
    say("asked %d", vpci_keeper_send_signals(&peer->user, guest, peer->kicks,
                                             n_kicks, peer->calls, n_calls));
}

static void
send_nonsense(int name, uint32_t guest, bool twice)
{
    struct vpci_peer_user *user = &peers[name].user;
    int fd = (twice ? eventfd(0, EFD_CLOEXEC)
              : open("/dev/null", O_RDWR | O_CLOEXEC));

    say("asked %d", vpci_keeper_send_signals(user, guest, &fd, 1, NULL, 0));
    if (twice) {
        say("asked %d",
            vpci_keeper_send_signals(user, guest, &fd, 1, NULL, 0));
    }
    close(fd);
}

static void
ring(int fd)
{
    uint64_t one = 1;

    say("rung %d", write(fd, &one, sizeof one) == sizeof one);
}

static void
say_if_called(int fd)
{
    uint64_t n;

    say("called %d", read(fd, &n, sizeof n) == sizeof n);
}

/* No other socket is of this type. */
static void
break_connection(void)
{
    for (int fd = 0; fd < 64; fd++) {
        socklen_t len = sizeof(int);
        int type = 0;

        if (!getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len)
            && type == SOCK_SEQPACKET) {
            shutdown(fd, SHUT_RDWR);
        }
    }
}

static void
obey(const char *line)
{
    int name, base, a, b;
    char word[16], text[256];
    uint32_t guest;

    if (ovs_scan(line, "base %d %255s", &name, text)) {
        add_base(name, text);
    } else if (ovs_scan(line, "unbase %d", &name)) {
        vpci_keeper_unregister(&bases[name].user);
        free(bases[name].user.path);
    } else if (ovs_scan(line, "peer %d %255s %d", &name, text, &base)) {
        add_peer(name, text, base);
    } else if (ovs_scan(line, "move %d %255s %d", &name, text, &base)) {
        remove_peer(name, true);
        add_peer(name, text, base);
    } else if (ovs_scan(line, "unpeer %d %15s", &name, word)) {
        remove_peer(name, !strcmp(word, "delete"));
    } else if (ovs_scan(line, "signals %d %"SCNu32" %d %d", &name, &guest, &a,
                        &b)) {
        send_signals(name, guest, a, b);
    } else if (ovs_scan(line, "twice %d %"SCNu32, &name, &guest)) {
        send_nonsense(name, guest, true);
    } else if (ovs_scan(line, "null %d %"SCNu32, &name, &guest)) {
        send_nonsense(name, guest, false);
    } else if (ovs_scan(line, "ring %d %d", &name, &a)) {
        ring(peers[name].kicks[a]);
    } else if (ovs_scan(line, "called %d %d", &name, &a)) {
        say_if_called(peers[name].calls[a]);
    } else if (!strcmp(line, "break")) {
        break_connection();
    } else {
        ovs_fatal(0, "%s: what is that?", line);
    }
}

/* Reads what there is.  Returns false at the end of it. */
static bool
read_commands(void)
{
    static char buf[4096];
    static size_t len;
    ssize_t n = read(input, buf + len, sizeof buf - 1 - len);
    char *end;

    if (n <= 0) {
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    }
    len += n;
    buf[len] = '\0';
    while ((end = strchr(buf, '\n')) != NULL) {
        *end++ = '\0';
        obey(buf);
        len -= end - buf;
        memmove(buf, end, len + 1);
    }
    return true;
}

int
main(int argc OVS_UNUSED, char *argv[])
{
    set_program_name(argv[0]);
    fatal_ignore_sigpipe();
    vlog_set_levels(NULL, VLF_ANY_DESTINATION, VLL_ERR);
    input = dup(STDIN_FILENO);
    fcntl(input, F_SETFL, O_NONBLOCK);
    while (read_commands()) {
        vpci_keeper_run();
        vpci_keeper_wait();
        poll_fd_wait(input, POLLIN);
        poll_block();
    }
    return 0;
}
