/* SPDX-License-Identifier: Apache-2.0 */

/* Guests of vpci-net that are killed, and how long others are aware of it:
 *
 *     mortal-guests [-s SEED] [-n KILLS] MORTAL SURVIVOR BYSTANDER
 *
 * A process at socket MORTAL exchanges packets with this one, at SURVIVOR,
 * which sends others to BYSTANDER, where it is as well.  The former is killed
 * KILLS times (10) at random instants, every other time while the two have a
 * link, and begins anew.  Guests of these ports have the MAC addresses
 * 02:00:00:00:00:01 to :03.
 *
 * Prints, in ms, what that took:
 *
 *     sender      until the survivor did not send by the link any more
 *     region      until the switch had let go of the link
 *     stall       for how long the survivor could not send to the mortal
 *     bystander   longest time without a packet at the bystander
 *     calm        the same, when nobody has died: that is the machine's doing
 *     back        from when the next mortal opened its port until it got its
 *                 first packet */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vpci/net.h"

#define LEN 60
#define PAUSE_US 200

/* For how long a mortal lives, at most, since it began or had a link, and how
 * long to wait for anything. */
#define MAX_LIFE_US 100000
#define TIMEOUT_US 20000000

/* How long to look for what a death does to others. */
#define WATCH_US 100000

enum measure { SENDER, REGION, STALL, BYSTANDER, CALM, BACK, N_MEASURES };

static const char *const names[N_MEASURES]
    = { "sender", "region", "stall", "bystander", "calm", "back" };

/* Times, in us. */
static struct {
    int64_t *us;
    unsigned int n;
} times[N_MEASURES];

static unsigned int n_kills = 10;

static struct vpci_net *survivor, *bystander;
static const char *survivor_path;

/* Of the traffic.  Atomic. */
static bool stop;
static int64_t taken_at;        /* When a packet for the mortal was, in us. */
static int64_t longest_stall;   /* Since it was set to 0. */
static int64_t longest_gap;

static int64_t
now_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000) + ts.tv_nsec / 1000;
}

static void __attribute__((format(printf, 1, 2), noreturn))
fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    exit(EXIT_FAILURE);
}

static struct vpci_net *
open_port(const char *path)
{
    struct vpci_net_config config = { .own_thread = true };
    struct vpci_net *net;
    char reason[256];

    if (vpci_net_open(path, &config, &net, reason, sizeof reason)) {
        fail("%s: %s", path, reason);
    }
    return net;
}

/* Sends a packet from guest 'from' to guest 'to'.  Returns whether that was
 * possible at once. */
static bool
send_one(struct vpci_net *net, uint8_t from, uint8_t to)
{
    uint8_t data[LEN] = { 2, 0, 0, 0, 0, to, 2, 0, 0, 0, 0, from, 0x88, 0xb5 };
    struct vpci_ring_buf buf = { .data = data, .len = sizeof data };

    return vpci_net_tx_burst(net, 0, &buf, 1);
}

/* Receives what there is, up to a burst.  Returns how many packets. */
static unsigned int
receive(struct vpci_net *net)
{
    static __thread uint8_t data[VPCI_RING_BURST][2048];
    struct vpci_ring_buf bufs[VPCI_RING_BURST];

    for (int i = 0; i < VPCI_RING_BURST; i++) {
        bufs[i] = (struct vpci_ring_buf) { .data = data[i],
                                           .size = sizeof data[i] };
    }
    return vpci_net_rx_burst(net, 0, bufs, VPCI_RING_BURST);
}

/* The mortal: says on descriptor 3 when it has received its first packet, in
 * us since it has opened its port. */
static void __attribute__((noreturn))
live(const char *path)
{
    int64_t begin = now_us();
    struct vpci_net *net = open_port(path);
    bool told = false;

    for (;;) {
        send_one(net, 1, 2);
        if (receive(net) && !told) {
            int64_t took = now_us() - begin;

            told = write(3, &took, sizeof took) == sizeof took;
        }
        usleep(PAUSE_US);
    }
}

static void
raise_to(int64_t *longest, int64_t us)
{
    if (us > __atomic_load_n(longest, __ATOMIC_RELAXED)) {
        __atomic_store_n(longest, us, __ATOMIC_RELAXED);
    }
}

/* The survivor's traffic. */
static void *
survive(void *aux)
{
    (void) aux;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        int64_t now = now_us();

        if (send_one(survivor, 2, 1)) {
            taken_at = now;
        }
        raise_to(&longest_stall, now - taken_at);
        send_one(survivor, 2, 3);
        receive(survivor);
        usleep(PAUSE_US);
    }
    return NULL;
}

/* The bystander's. */
static void *
stand_by(void *aux)
{
    int64_t last = now_us();

    (void) aux;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        unsigned int n = receive(bystander);
        int64_t now = now_us();

        raise_to(&longest_gap, now - last);
        last = n ? now : last;
        if (!n) {
            vpci_net_rx_wait(bystander, 0, 1000);
        }
    }
    return NULL;
}

static void
add_time(enum measure m, int64_t us)
{
    times[m].us[times[m].n++] = us;
}

/* True if link 'id' is one with the bystander. */
static bool
is_bystanders(uint32_t id)
{
    struct vpci_net_link_info infos[VPCI_ABI_MAX_LINKS];
    uint32_t n = vpci_net_get_links(bystander, infos, VPCI_ABI_MAX_LINKS);

    for (uint32_t i = 0; i < n && i < VPCI_ABI_MAX_LINKS; i++) {
        if (infos[i].id == id) {
            return true;
        }
    }
    return false;
}

/* Finds the survivor's link with the mortal, by which it sends.  Returns its
 * id, or 0 if there is none. */
static uint32_t
find_link(void)
{
    struct vpci_net_link_info infos[VPCI_ABI_MAX_LINKS];
    uint32_t n = vpci_net_get_links(survivor, infos, VPCI_ABI_MAX_LINKS);

    for (uint32_t i = 0; i < n && i < VPCI_ABI_MAX_LINKS; i++) {
        if (infos[i].sends && !is_bystanders(infos[i].id)) {
            return infos[i].id;
        }
    }
    return 0;
}

/* Measures what the death at 'begin' does to others.  'link' is the link that
 * there was, or 0. */
static void
watch(int64_t begin, uint32_t link)
{
    bool sends = link != 0, exists = link != 0;
    char path[256];

    snprintf(path, sizeof path, "%s.link%"PRIu32, survivor_path, link);
    while (now_us() < begin + WATCH_US || sends || exists) {
        if (sends && find_link() != link) {
            add_time(SENDER, now_us() - begin);
            sends = false;
        }
        if (exists && access(path, F_OK)) {
            add_time(REGION, now_us() - begin);
            exists = false;
        }
        if (now_us() > begin + TIMEOUT_US) {
            fail("%s: is still there%s", path, sends ? ", and used" : "");
        }
        usleep(PAUSE_US);
    }
    add_time(STALL, __atomic_load_n(&longest_stall, __ATOMIC_RELAXED));
    add_time(BYSTANDER, __atomic_load_n(&longest_gap, __ATOMIC_RELAXED));
}

static pid_t
give_birth(const char *path, int *told)
{
    int fds[2];
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC)) {
        fail("no pipe");
    }
    pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fds[1], 3);
        execl("/proc/self/exe", "mortal-guests", "--live", path, NULL);
        _exit(EXIT_FAILURE);
    }
    close(fds[1]);
    *told = fds[0];
    return pid;
}

/* Takes what the mortal says of its beginning, if it has said it. */
static void
hear(int told)
{
    struct pollfd pfd = { .fd = told, .events = POLLIN };
    int64_t took;

    if (poll(&pfd, 1, 0) == 1
        && read(told, &took, sizeof took) == sizeof took) {
        add_time(BACK, took);
    }
    close(told);
}

/* Waits until there is a link. */
static void
wait_for_link(void)
{
    int64_t end = now_us() + TIMEOUT_US;

    while (!find_link()) {
        if (now_us() > end) {
            fail("no link");
        }
        usleep(PAUSE_US);
    }
}

/* One life, and one death, of every other mortal while it has a link. */
static void
live_and_die(const char *path, bool with_link)
{
    int64_t begin;
    uint32_t link;
    pid_t pid;
    int told;

    pid = give_birth(path, &told);
    if (with_link) {
        wait_for_link();
    }
    usleep(rand() % MAX_LIFE_US);
    hear(told);
    link = find_link();
    __atomic_store_n(&longest_stall, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&longest_gap, 0, __ATOMIC_RELAXED);
    begin = now_us();
    kill(pid, SIGKILL);
    if (waitpid(pid, NULL, 0) != pid) {
        fail("mortal %d has not been killed", (int) pid);
    }
    watch(begin, link);
    __atomic_store_n(&longest_gap, 0, __ATOMIC_RELAXED);
    usleep(WATCH_US);
    add_time(CALM, __atomic_load_n(&longest_gap, __ATOMIC_RELAXED));
}

static int
compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *) a, y = *(const int64_t *) b;

    return x < y ? -1 : x > y;
}

static void
print_times(enum measure m)
{
    unsigned int n = times[m].n;
    const int64_t *us = times[m].us;

    qsort(times[m].us, n, sizeof *us, compare);
    printf("%s: n=%u", names[m], n);
    if (n) {
        printf(" median=%.1f p99=%.1f max=%.1f", us[(n - 1) / 2] / 1e3,
               us[n - 1 - n / 100] / 1e3, us[n - 1] / 1e3);
    }
    printf("\n");
}

/* Descriptors that this process has, and mappings of regions. */
static unsigned int
count_own(void)
{
    DIR *dir = opendir("/proc/self/fd");
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned int n = 0;
    char line[512];

    while (dir && readdir(dir)) {
        n++;
    }
    while (maps && fgets(line, sizeof line, maps)) {
        n += strstr(line, "/memfd:vpci") != NULL;
    }
    if (!dir || !maps) {
        fail("/proc is not there");
    }
    closedir(dir);
    fclose(maps);
    return n;
}

/* Waits until there are no more of them than 'n'. */
static void
wait_for_own(unsigned int n)
{
    int64_t end = now_us() + TIMEOUT_US;

    while (count_own() > n) {
        if (now_us() > end) {
            fail("%u descriptors and mappings, %u before", count_own(), n);
        }
        usleep(PAUSE_US);
    }
}

static void
parse(int argc, char *argv[])
{
    int c;

    while ((c = getopt(argc, argv, "s:n:")) >= 0) {
        if (c == 's') {
            srand(strtoul(optarg, NULL, 10));
        } else if (c == 'n') {
            n_kills = strtoul(optarg, NULL, 10);
        } else {
            exit(EXIT_FAILURE);
        }
    }
    if (optind + 3 != argc) {
        fail("usage: %s [-s SEED] [-n KILLS] MORTAL SURVIVOR BYSTANDER",
             argv[0]);
    }
}

/* Waits until the port is up. */
static struct vpci_net *
open_and_wait(const char *path)
{
    struct vpci_net *net = open_port(path);
    int64_t end = now_us() + TIMEOUT_US;

    while (!vpci_net_has_carrier(net)) {
        if (now_us() > end) {
            fail("%s: no carrier", path);
        }
        usleep(1000);
    }
    return net;
}

int
main(int argc, char *argv[])
{
    pthread_t threads[2];
    unsigned int n_own;

    if (argc == 3 && !strcmp(argv[1], "--live")) {
        live(argv[2]);
    }
    parse(argc, argv);
    argv += optind;
    for (int i = 0; i < N_MEASURES; i++) {
        times[i].us = calloc(n_kills, sizeof *times[i].us);
    }
    survivor_path = argv[1];
    survivor = open_and_wait(argv[1]);
    bystander = open_and_wait(argv[2]);
    taken_at = now_us();
    pthread_create(&threads[0], NULL, survive, NULL);
    pthread_create(&threads[1], NULL, stand_by, NULL);
    n_own = count_own();
    for (unsigned int i = 0; i < n_kills; i++) {
        live_and_die(argv[0], i % 2 == 0);
    }
    wait_for_own(n_own);
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    vpci_net_close(survivor);
    vpci_net_close(bystander);
    for (int i = 0; i < N_MEASURES; i++) {
        print_times(i);
        free(times[i].us);
    }
    return EXIT_SUCCESS;
}
