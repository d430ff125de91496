/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-switch.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit-test.h"

/* Enough for any shape of a test. */
#define PRIVATE_BYTES (1 << 18)

#define SWITCH_ID 7
#define GUEST_ID 9

int
net_make_memory(uint64_t size, void **base)
{
    int fd = memfd_create("vpci:test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd < 0 || ftruncate(fd, size)
        || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
        return -1;
    }
    *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return *base == MAP_FAILED ? -1 : fd;
}

static bool
make_memory(struct net_switch *s)
{
    s->memory_fd = net_make_memory(s->port.layout.size, &s->base);
    CHECK(s->memory_fd >= 0);
    CHECK(vpci_channel_bytes(&s->port.layout) <= PRIVATE_BYTES);
    s->private_memory = aligned_alloc(VPCI_ABI_LINE, PRIVATE_BYTES);
    CHECK(s->private_memory);
    memset(s->private_memory, 0, PRIVATE_BYTES);
    return true;
}

bool
net_switch_start(struct net_switch *s, const struct vpci_shape *shape)
{
    struct vpci_layout_report report;

    memset(s, 0, sizeof *s);
    s->shape = *shape;
    s->words.max_len = 1518;
    s->words.link_state = true;
    s->words.calls = VPCI_ABI_CALLS_VERSION;
    CHECK(vpci_layout_init(&s->port.layout, shape, &report));
    CHECK(make_memory(s));
    for (uint32_t i = 0; i < shape->n_vectors; i++) {
        s->own[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        s->guests[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    }
    strcpy(s->dir, "/tmp/vpci-test-net.XXXXXX");
    CHECK(mkdtemp(s->dir));
    snprintf(s->path, sizeof s->path, "%s/port", s->dir);
    s->server = (struct net_server) {
        .memory_fd = s->memory_fd,
        .id = GUEST_ID,
        .peer_id = SWITCH_ID,
        .fds = s->guests,
        .peer_fds = s->own,
        .n_fds = shape->n_vectors,
    };
    strcpy(s->server.path, s->path);
    return net_server_start(&s->server);
}

void
net_switch_stop(struct net_switch *s)
{
    net_server_stop(&s->server);
    for (uint32_t i = 0; i < s->shape.n_vectors; i++) {
        close(s->own[i]);
        close(s->guests[i]);
    }
    munmap(s->base, s->port.layout.size);
    close(s->memory_fd);
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
    return switch_port_run(&s->port, net_now_ms());
}
