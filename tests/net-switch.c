/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-switch.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ivshmem.h"
#include "unit-test.h"

/* Enough for any shape of a test. */
#define PRIVATE_BYTES (1 << 18)

#define SWITCH_ID 7
#define GUEST_ID 9

int64_t
net_switch_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static void
greet(struct net_switch *s, int fd)
{
    uint32_t n = s->shape.n_vectors;

    ivshmem_send(fd, IVSHMEM_VERSION, -1);
    ivshmem_send(fd, GUEST_ID, -1);
    ivshmem_send(fd, IVSHMEM_MEMORY, s->memory_fd);
    ivshmem_send_vectors(fd, SWITCH_ID, s->own, n);
    ivshmem_send_vectors(fd, GUEST_ID, s->guests, n);
}

static int
client(const struct net_switch *s)
{
    return __atomic_load_n(&s->client_fd, __ATOMIC_ACQUIRE);
}

static void *
serve(void *s_)
{
    struct net_switch *s = s_;

    while (!__atomic_load_n(&s->exiting, __ATOMIC_ACQUIRE)) {
        struct pollfd pfd = { .fd = s->listen_fd, .events = POLLIN };
        char buf[8];
        int fd;

        if (client(s) >= 0 || __atomic_load_n(&s->held, __ATOMIC_ACQUIRE)) {
            pfd.fd = client(s);
            if (poll(&pfd, 1, 5) > 0 && recv(pfd.fd, buf, sizeof buf,
                                             MSG_DONTWAIT) <= 0) {
                fd = __atomic_exchange_n(&s->client_fd, -1, __ATOMIC_ACQ_REL);
                close(fd);
            }
        } else if (poll(&pfd, 1, 5) > 0) {
            fd = accept(s->listen_fd, NULL, NULL);
            greet(s, fd);
            __atomic_store_n(&s->client_fd, fd, __ATOMIC_RELEASE);
        }
    }
    return NULL;
}

static bool
make_memory(struct net_switch *s)
{
    s->memory_fd = memfd_create("vpci:test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(s->memory_fd >= 0 && !ftruncate(s->memory_fd, s->port.layout.size));
    CHECK(!fcntl(s->memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    s->base = mmap(NULL, s->port.layout.size, PROT_READ | PROT_WRITE,
                   MAP_SHARED, s->memory_fd, 0);
    CHECK(s->base != MAP_FAILED);
    CHECK(vpci_channel_bytes(&s->port.layout) <= PRIVATE_BYTES);
    s->private_memory = aligned_alloc(VPCI_ABI_LINE, PRIVATE_BYTES);
    CHECK(s->private_memory);
    memset(s->private_memory, 0, PRIVATE_BYTES);
    return true;
}

bool
net_switch_start(struct net_switch *s, const struct vpci_shape *shape)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    struct vpci_layout_report report;

    memset(s, 0, sizeof *s);
    s->shape = *shape;
    s->words.max_len = 1518;
    s->words.link_state = true;
    s->client_fd = -1;
    CHECK(vpci_layout_init(&s->port.layout, shape, &report));
    CHECK(make_memory(s));
    for (uint32_t i = 0; i < shape->n_vectors; i++) {
        s->own[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        s->guests[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    strcpy(s->dir, "/tmp/vpci-test-net.XXXXXX");
    CHECK(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/port", s->dir);
    strcpy(sun.sun_path, s->path);
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(!bind(s->listen_fd, (struct sockaddr *) &sun, sizeof sun));
    CHECK(!listen(s->listen_fd, 5));
    CHECK(!pthread_create(&s->thread, NULL, serve, s));
    return true;
}

void
net_switch_stop(struct net_switch *s)
{
    __atomic_store_n(&s->exiting, true, __ATOMIC_RELEASE);
    pthread_join(s->thread, NULL);
    if (s->client_fd >= 0) {
        close(s->client_fd);
    }
    for (uint32_t i = 0; i < s->shape.n_vectors; i++) {
        close(s->own[i]);
        close(s->guests[i]);
    }
    munmap(s->base, s->port.layout.size);
    close(s->memory_fd);
    close(s->listen_fd);
    unlink(s->path);
    rmdir(s->dir);
    free(s->private_memory);
}

void
net_switch_begin(struct net_switch *s)
{
    switch_port_init(&s->port, &s->shape, s->base, s->private_memory, false,
                     &s->words, ++s->epoch);
    if (!s->silent) {
        memcpy(s->port.to_guest, s->guests, sizeof s->guests);
    }
}

bool
net_switch_run(struct net_switch *s)
{
    return switch_port_run(&s->port, net_switch_now_ms());
}

void
net_switch_disconnect(struct net_switch *s, bool held)
{
    int fd = client(s);

    __atomic_store_n(&s->held, held, __ATOMIC_RELEASE);
    if (fd >= 0) {
        shutdown(fd, SHUT_RDWR);
    }
}
