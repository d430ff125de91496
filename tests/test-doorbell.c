/* SPDX-License-Identifier: Apache-2.0 */

/* Tests of doorbells: see vpci/doorbell.h. */

#undef NDEBUG
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "vpci/doorbell.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* However busy the machine is. */
#define LIMIT_MS 5000

static int64_t
now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

/* An eventfd that blocks who writes to it. */
static int
full_eventfd(int flags)
{
    int fd = eventfd(0, flags);

    assert(fd >= 0 && !eventfd_write(fd, UINT64_MAX - 1));
    return fd;
}

static void
check_gives_up(int fd)
{
    int64_t before = now_ms();

    assert(vpci_doorbell_ring(fd) == ETIMEDOUT);
    assert(now_ms() - before < LIMIT_MS);
}

static void
test_rings(void)
{
    int fd = eventfd(0, 0), pair[2];
    uint64_t n;

    for (int i = 0; i < 3; i++) {
        assert(!vpci_doorbell_ring(fd));
    }
    assert(!eventfd_read(fd, &n) && n == 3);
    assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    assert(!vpci_doorbell_ring(pair[1]));
    assert(read(pair[0], &n, sizeof n) == sizeof n);
    assert(vpci_doorbell_ring(-1) == EBADF);
    assert(!vpci_doorbell_ring(full_eventfd(EFD_NONBLOCK)));
}

static void
test_blocks(void)
{
    char page[4096] = "";
    int pair[2];

    check_gives_up(full_eventfd(0));
    assert(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    while (write(pair[1], page, sizeof page) > 0) {
        continue;
    }
    assert(!vpci_doorbell_ring(pair[1]));
    assert(!fcntl(pair[1], F_SETFL, 0));
    check_gives_up(pair[1]);
    check_gives_up(full_eventfd(0));
}

/* Takes one from an eventfd now and then, so that nobody waits for long. */
static void *
relieve_eventfd(void *fd)
{
    for (;;) {
        usleep(VPCI_DOORBELL_WATCH_MS * 1000 / 4);
        eventfd_read(*(int *) fd, &(eventfd_t) { 0 });
    }
    return NULL;
}

/* A doorbell that blocks for a moment only, again and again, is found out. */
static void
test_blocks_shortly(void)
{
    static int fd;
    int64_t before = now_ms();
    pthread_t thread;

    fd = full_eventfd(EFD_SEMAPHORE);
    assert(!pthread_create(&thread, NULL, relieve_eventfd, &fd));
    while (vpci_doorbell_ring(fd) != ETIMEDOUT) {
        assert(now_ms() - before < LIMIT_MS);
    }
}

static void
tick(int signum)
{
    (void) signum;
}

/* Signals that have nothing to do with it do not end it. */
static void
test_other_signals(void)
{
    struct itimerval every_ms = { { 0, 1000 }, { 0, 1000 } }, never;
    struct sigaction sa;

    memset(&sa, 0, sizeof sa);
    sa.sa_handler = tick;
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &every_ms, NULL);
    check_gives_up(full_eventfd(0));
    memset(&never, 0, sizeof never);
    setitimer(ITIMER_REAL, &never, NULL);
}

static void *
ring_in_vain(void *arg)
{
    (void) arg;
    check_gives_up(full_eventfd(0));
    return NULL;
}

/* Threads come and go, and each is looked after. */
static void
test_threads(void)
{
    for (int i = 0; i < 3; i++) {
        pthread_t threads[4];

        for (int j = 0; j < 4; j++) {
            assert(!pthread_create(&threads[j], NULL, ring_in_vain, NULL));
        }
        for (int j = 0; j < 4; j++) {
            assert(!pthread_join(threads[j], NULL));
        }
    }
}

/* Sends descriptor 'fd' to the other end of 'socket'. */
static void
send_fd(int socket, int fd)
{
    char control[CMSG_SPACE(sizeof fd)] = "";
    struct iovec iov = { .iov_base = control, .iov_len = 1 };
    struct msghdr msg = {
        .msg_iov = &iov,
        .msg_iovlen = 1,
        .msg_control = control,
        .msg_controllen = sizeof control,
    };
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    assert(sendmsg(socket, &msg, 0) == 1);
}

static void
test_prepare(void)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = eventfd(0, 0), pair[2], named;

    assert(!vpci_doorbell_prepare(fd));
    assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert(vpci_doorbell_prepare(memfd_create("memory", 0)) == ENOTSUP);
    assert(vpci_doorbell_prepare(open("/dev/null", O_WRONLY)) == ENOTSUP);
    assert(!pipe(pair) && vpci_doorbell_prepare(pair[1]) == ENOTSUP);
    assert(vpci_doorbell_prepare(-1) == EBADF);

    /* Nothing can wait in its queue from then on. */
    assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    assert(!vpci_doorbell_prepare(pair[1]));
    assert(!vpci_doorbell_ring(pair[1]));
    signal(SIGPIPE, SIG_IGN);
    assert(write(pair[0], "", 1) < 0 && errno == EPIPE);

    /* Nor may anything have been there before. */
    assert(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    send_fd(pair[0], fd);
    assert(vpci_doorbell_prepare(pair[1]) == ENOTSUP);

    /* It is no end of anybody's connection. */
    named = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(sun.sun_path, sizeof sun.sun_path, "doorbell.%d.sock",
             (int) getpid());
    assert(!bind(named, (struct sockaddr *) &sun, sizeof sun));
    assert(!unlink(sun.sun_path));
    assert(vpci_doorbell_prepare(named) == ENOTSUP);
    assert(!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    assert(vpci_doorbell_prepare(pair[1]) == ENOTSUP);
    assert(vpci_doorbell_prepare(socket(AF_INET, SOCK_STREAM, 0)) == ENOTSUP);
}

int
main(int argc, char *argv[])
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        { "rings", test_rings },
        { "blocks", test_blocks },
        { "blocks-shortly", test_blocks_shortly },
        { "other-signals", test_other_signals },
        { "threads", test_threads },
        { "prepare", test_prepare },
    };
    const char *wanted = argc == 2 ? argv[1] : "--list";
    bool listed = !strcmp(wanted, "--list");

    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (listed) {
            puts(tests[i].name);
        } else if (!strcmp(wanted, tests[i].name)) {
            tests[i].run();
            return 0;
        }
    }
    return !listed;
}
