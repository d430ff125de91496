/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "net-server.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "ivshmem.h"
#include "unit-test.h"

#define TIMEOUT_MS 20000

int64_t
net_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000) + ts.tv_nsec / 1000000;
}

static void
greet(const struct net_server *s, int fd)
{
    ivshmem_send(fd, IVSHMEM_VERSION, -1);
    ivshmem_send(fd, s->id, -1);
    ivshmem_send(fd, IVSHMEM_MEMORY, s->memory_fd);
    ivshmem_send_vectors(fd, s->peer_id, s->peer_fds, s->n_fds);
    ivshmem_send_vectors(fd, s->id, s->fds, s->n_fds);
}

static int
client(const struct net_server *s)
{
    return __atomic_load_n(&s->client_fd, __ATOMIC_ACQUIRE);
}

/* Returns the client, also when it has been greeted only just now and knows
 * more than 's' does. */
static int
greeted_client(struct net_server *s)
{
    int fd;

    pthread_mutex_lock(&s->greeting);
    fd = client(s);
    pthread_mutex_unlock(&s->greeting);
    return fd;
}

static void *
serve(void *s_)
{
    struct net_server *s = s_;

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
            pthread_mutex_lock(&s->greeting);
            greet(s, fd);
            __atomic_store_n(&s->client_fd, fd, __ATOMIC_RELEASE);
            pthread_mutex_unlock(&s->greeting);
        }
    }
    return NULL;
}

bool
net_server_start(struct net_server *s)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };

    s->client_fd = -1;
    pthread_mutex_init(&s->greeting, NULL);
    s->exiting = s->held = false;
    strcpy(sun.sun_path, s->path);
    s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(!bind(s->listen_fd, (struct sockaddr *) &sun, sizeof sun));
    CHECK(!listen(s->listen_fd, 5));
    CHECK(!pthread_create(&s->thread, NULL, serve, s));
    return true;
}

void
net_server_stop(struct net_server *s)
{
    __atomic_store_n(&s->exiting, true, __ATOMIC_RELEASE);
    pthread_join(s->thread, NULL);
    if (s->client_fd >= 0) {
        close(s->client_fd);
    }
    close(s->listen_fd);
    pthread_mutex_destroy(&s->greeting);
    unlink(s->path);
}

void
net_server_disconnect(struct net_server *s, bool held)
{
    int fd = greeted_client(s);

    __atomic_store_n(&s->held, held, __ATOMIC_RELEASE);
    if (fd >= 0) {
        shutdown(fd, SHUT_RDWR);
    }
}

bool
net_server_wait(const struct net_server *s, bool is_there)
{
    int64_t deadline = net_now_ms() + TIMEOUT_MS;

    while ((client(s) >= 0) != is_there) {
        CHECK(net_now_ms() < deadline);
        usleep(500);
    }
    return true;
}

void
net_server_tell(struct net_server *s, bool peer_is_there)
{
    if (peer_is_there) {
        ivshmem_send_vectors(greeted_client(s), s->peer_id, s->peer_fds,
                             s->n_fds);
    } else {
        ivshmem_send(greeted_client(s), s->peer_id, -1);
    }
}

void
net_server_send(struct net_server *s, uint32_t id, const int *fds, uint32_t n)
{
    ivshmem_send_vectors(greeted_client(s), id, fds, n);
}
