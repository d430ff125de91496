/* SPDX-License-Identifier: Apache-2.0 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vpci/doorbell.h"

/* The kernel's SCM_MAX_FD: no message brings more. */
#define MAX_FDS_OF_KERNEL 253

/* What is known about a type. */
struct format {
    uint16_t type;
    enum vpci_keeper_side side;     /* Who receives it. */
    uint32_t body_size;

    /* Returns null, or what is wrong with a body. */
    const char *(*check)(const union vpci_keeper_body *);

    /* Returns how many descriptors come along, and null or what is wrong with
     * one of those that did. */
    uint32_t (*n_fds)(const union vpci_keeper_body *);
    const char *(*check_fds)(const struct vpci_keeper_msg *);
};

static bool
is_string(const char *s, size_t size)
{
    return memchr(s, '\0', size) != NULL;
}

static const char *
check_hello(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_hello *hello = &body->hello;

    return (!is_string(hello->name, sizeof hello->name)
            ? "the switch's name does not end"
            : hello->min_version > hello->max_version
            ? "the lowest version is above the highest"
            : NULL);
}

static const char *
check_welcome(const union vpci_keeper_body *body)
{
    return body->welcome.reserved ? "reserved bytes are not 0" : NULL;
}

static const char *
check_base_add(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_base_add *add = &body->base_add;

    return (!is_string(add->path, sizeof add->path) ? "the path does not end"
            : add->reserved ? "reserved bytes are not 0"
            : NULL);
}

static const char *
check_link_add(const union vpci_keeper_body *body)
{
    return body->link_add.reserved ? "reserved bytes are not 0" : NULL;
}

static const char *
check_static_add(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_static_add *add = &body->static_add;

    return (!is_string(add->name[0], sizeof add->name[0])
            || !is_string(add->name[1], sizeof add->name[1])
            ? "a port's name does not end"
            : add->reserved ? "reserved bytes are not 0"
            : NULL);
}

/* The parameters are for whoever serves it to judge. */
static const char *
check_signals_add(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_signals_add *add = &body->signals_add;

    return (add->n_kicks > VPCI_KEEPER_MAX_VECTORS
            || add->n_calls > VPCI_KEEPER_MAX_VECTORS
            ? "too many signals" : NULL);
}

static const char *
check_id(const union vpci_keeper_body *body)
{
    return body->id.reserved ? "reserved bytes are not 0" : NULL;
}

static const char *
check_count(const union vpci_keeper_body *body)
{
    return body->count.reserved ? "reserved bytes are not 0" : NULL;
}

static const char *
check_any_region(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_region *r = &body->region;

    return (r->kind != VPCI_KEEPER_BASE && r->kind != VPCI_KEEPER_LINK
            && r->kind != VPCI_KEEPER_PEER
            ? "unknown kind of region"
            : !r->n_vectors || r->n_vectors > VPCI_KEEPER_MAX_VECTORS
            ? "wrong number of vectors"
            : !is_string(r->path[0], sizeof r->path[0])
              || !is_string(r->path[1], sizeof r->path[1])
            ? "a path does not end"
            : NULL);
}

/* A region whose memory comes along. */
static const char *
check_region(const union vpci_keeper_body *body)
{
    return (body->region.kind == VPCI_KEEPER_PEER
            ? "it is the region of a peer" : check_any_region(body));
}

static const char *
check_peer_region(const union vpci_keeper_body *body)
{
    return (body->region.kind != VPCI_KEEPER_PEER
            ? "it is not the region of a peer" : check_any_region(body));
}

static const char *
check_peer_signals(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_peer_signals *s = &body->peer_signals;

    return (!s->first_kick || s->first_kick > VPCI_KEEPER_MAX_VECTORS
            || s->n_left >= VPCI_KEEPER_MAX_VECTORS
            ? "wrong number of vectors" : NULL);
}

static const char *
check_peer_up(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_peer_up *up = &body->peer_up;

    return (!up->n_vectors || up->n_vectors > VPCI_KEEPER_MAX_VECTORS
            ? "wrong number of vectors"
            : up->end > 1 ? "there are ends 0 and 1 only"
            : up->reserved ? "reserved bytes are not 0"
            : NULL);
}

static const char *
check_peer_down(const union vpci_keeper_body *body)
{
    const struct vpci_keeper_peer_down *down = &body->peer_down;

    return (down->end > 1 ? "there are ends 0 and 1 only"
            : down->reserved ? "reserved bytes are not 0"
            : !is_string(down->text, sizeof down->text)
            ? "the text does not end"
            : NULL);
}

static const char *
check_error(const union vpci_keeper_body *body)
{
    return (is_string(body->error.text, sizeof body->error.text)
            ? NULL : "the text does not end");
}

static uint32_t
n_fds_of_region(const union vpci_keeper_body *body)
{
    return body->region.kind == VPCI_KEEPER_BASE ? 2 : 1;
}

static uint32_t
n_fds_of_peer_add(const union vpci_keeper_body *body)
{
    (void) body;
    return 1;
}

static uint32_t
n_fds_of_signals_add(const union vpci_keeper_body *body)
{
    return body->signals_add.n_kicks + body->signals_add.n_calls;
}

/* Only the switch's side of a base region has an id. */
static uint32_t
n_fds_of_peer_up(const union vpci_keeper_body *body)
{
    return body->peer_up.n_vectors * (body->peer_up.self ? 2 : 1);
}

bool
vpci_keeper_is_sealed_memory(int fd, uint64_t size)
{
    const int wanted = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat s;

    return (seals >= 0 && (seals & wanted) == wanted && !fstat(fd, &s)
            && S_ISREG(s.st_mode) && (uint64_t) s.st_size == size);
}

static const char *
check_memory(const struct vpci_keeper_msg *msg)
{
    const struct vpci_keeper_region *r = &msg->body.region;

    if (!vpci_keeper_is_sealed_memory(msg->fds[0], r->size)) {
        return "the first descriptor is not sealed memory of the region's "
               "size";
    } else if (r->kind == VPCI_KEEPER_BASE
               && !vpci_keeper_is_sealed_memory(msg->fds[1],
                                                r->private_size)) {
        return "the second descriptor is not sealed memory of the private "
               "size";
    }
    return NULL;
}

static const char *
check_eventfds(const struct vpci_keeper_msg *msg)
{
    /* Not whether it blocks: clients, who have it, too, can change that. */
    for (uint32_t i = 0; i < msg->header.n_fds; i++) {
        if (!vpci_doorbell_is_eventfd(msg->fds[i])) {
            return "a descriptor is not an eventfd";
        }
    }
    return NULL;
}

#define KEEPER VPCI_KEEPER_SIDE_KEEPER
#define SWITCH VPCI_KEEPER_SIDE_SWITCH
#define REPLY(NAME) (VPCI_KEEPER_##NAME | VPCI_KEEPER_REPLY)
#define BODY(NAME) sizeof(struct vpci_keeper_##NAME), check_##NAME
#define NO_BODY 0, NULL
#define NO_FDS NULL, NULL
#define REGION(CHECK) sizeof(struct vpci_keeper_region), CHECK

static const struct format formats[] = {
    { VPCI_KEEPER_HELLO, KEEPER, BODY(hello), NO_FDS },
    { VPCI_KEEPER_LIST, KEEPER, NO_BODY, NO_FDS },
    { VPCI_KEEPER_BASE_ADD, KEEPER, BODY(base_add), NO_FDS },
    { VPCI_KEEPER_LINK_ADD, KEEPER, BODY(link_add), NO_FDS },
    { VPCI_KEEPER_LINK_GET, KEEPER, BODY(id), NO_FDS },
    { VPCI_KEEPER_DEL, KEEPER, BODY(id), NO_FDS },
    { VPCI_KEEPER_PEER_ADD, KEEPER, sizeof(struct vpci_keeper_peer_add), NULL,
      n_fds_of_peer_add, NULL },
    { VPCI_KEEPER_PEER_SIGNALS, KEEPER, BODY(signals_add),
      n_fds_of_signals_add, NULL },
    { VPCI_KEEPER_STATIC_ADD, KEEPER, BODY(static_add), NO_FDS },

    { REPLY(HELLO), SWITCH, BODY(welcome), NO_FDS },
    { REPLY(LIST), SWITCH, REGION(check_any_region), NO_FDS },
    { VPCI_KEEPER_LIST_END, SWITCH, BODY(count), NO_FDS },
    { REPLY(BASE_ADD), SWITCH, BODY(region), n_fds_of_region, check_memory },
    { REPLY(LINK_ADD), SWITCH, BODY(region), n_fds_of_region, check_memory },
    { REPLY(LINK_GET), SWITCH, BODY(region), n_fds_of_region, check_memory },
    { REPLY(DEL), SWITCH, BODY(count), NO_FDS },
    { REPLY(PEER_ADD), SWITCH, REGION(check_peer_region), NO_FDS },
    { REPLY(PEER_SIGNALS), SWITCH, BODY(peer_signals), NO_FDS },
    { REPLY(STATIC_ADD), SWITCH, BODY(region), n_fds_of_region, check_memory },

    { VPCI_KEEPER_PEER_UP, SWITCH, BODY(peer_up), n_fds_of_peer_up,
      check_eventfds },
    { VPCI_KEEPER_PEER_DOWN, SWITCH, BODY(peer_down), NO_FDS },
};

/* Any reply can be a refusal, also one to an unknown request. */
static const struct format refusal = {
    0, SWITCH, sizeof(struct vpci_keeper_text), check_error, NO_FDS
};

static const struct format *
find_format(const struct vpci_keeper_header *header)
{
    if (header->error && header->type & VPCI_KEEPER_REPLY) {
        return &refusal;
    }
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i].type == header->type) {
            return &formats[i];
        }
    }
    return NULL;
}

static void
set_header(struct vpci_keeper_msg *msg, uint16_t type, uint32_t xid,
           int error)
{
    const struct format *format;

    memset(msg, 0, sizeof *msg);
    msg->header.magic = VPCI_KEEPER_MAGIC;
    msg->header.version = VPCI_KEEPER_VERSION;
    msg->header.type = type;
    msg->header.xid = xid;
    msg->header.error = error;
    format = find_format(&msg->header);
    msg->header.length = (sizeof msg->header
                          + (format ? format->body_size : 0));
}

void
vpci_keeper_msg_init(struct vpci_keeper_msg *msg, uint16_t type, uint32_t xid)
{
    set_header(msg, type, xid, 0);
}

void
vpci_keeper_msg_refuse(struct vpci_keeper_msg *msg, uint16_t type,
                       uint32_t xid, int error, const char *format, ...)
{
    va_list args;

    set_header(msg, type | VPCI_KEEPER_REPLY, xid, error);
    va_start(args, format);
    vsnprintf(msg->body.error.text, sizeof msg->body.error.text, format, args);
    va_end(args);
}

void
vpci_keeper_msg_add_fd(struct vpci_keeper_msg *msg, int fd)
{
    if (msg->header.n_fds < VPCI_KEEPER_MAX_FDS) {
        msg->fds[msg->header.n_fds++] = fd;
    }
}

static void
close_fds(const int fds[], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        close(fds[i]);
    }
}

void
vpci_keeper_msg_close_fds(struct vpci_keeper_msg *msg)
{
    close_fds(msg->fds, msg->header.n_fds);
    msg->header.n_fds = 0;
}

int
vpci_keeper_send(int sock, const struct vpci_keeper_msg *msg)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * VPCI_KEEPER_MAX_FDS)];
    } control;
    size_t fds_size = msg->header.n_fds * sizeof(int);
    struct iovec iov = { (void *) (uintptr_t) msg, msg->header.length };
    struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (fds_size) {
        memset(&control, 0, sizeof control);
        control.align.cmsg_len = CMSG_LEN(fds_size);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        memcpy(CMSG_DATA(&control.align), msg->fds, fds_size);
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(fds_size);
    }
    do {
        n = sendmsg(sock, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? errno : 0;
}

/* Moves the descriptors of '*m' into 'fds', which has room for
 * MAX_FDS_OF_KERNEL.  Returns how many there are. */
static size_t
take_fds(struct msghdr *m, int fds[])
{
    size_t n = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(m); cmsg;
         cmsg = CMSG_NXTHDR(m, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            size_t size = cmsg->cmsg_len - CMSG_LEN(0);

            memcpy(&fds[n], CMSG_DATA(cmsg), size);
            n += size / sizeof(int);
        }
    }
    return n;
}

/* A packet as it came. */
struct packet {
    size_t size;                /* In bytes. */
    int flags;                  /* Of recvmsg(). */
    size_t n_fds;
    int fds[MAX_FDS_OF_KERNEL];
};

/* Receives header and body into '*msg'.  Returns 0 or a positive errno. */
static int
recv_packet(int sock, struct vpci_keeper_msg *msg, struct packet *packet)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS_OF_KERNEL)];
    } control;
    struct iovec iov = { msg, offsetof(struct vpci_keeper_msg, fds) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = &control, .msg_controllen = sizeof control,
    };
    ssize_t n;

    packet->size = 0;
    packet->n_fds = 0;
    do {
        n = recvmsg(sock, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return errno;
    }
    packet->size = n;
    packet->flags = m.msg_flags;
    packet->n_fds = take_fds(&m, packet->fds);

    /* An empty packet is nonsense, but cannot be told from the end. */
    return n ? 0 : ENOTCONN;
}

static int
check_packet(const struct vpci_keeper_header *h, const struct packet *packet,
             char *why, size_t size)
{
    if (packet->size < sizeof *h) {
        snprintf(why, size, "message of %zu bytes, at least %zu wanted",
                 packet->size, sizeof *h);
    } else if (h->magic != VPCI_KEEPER_MAGIC) {
        snprintf(why, size, "magic number %#x, %#x wanted",
                 (unsigned int) h->magic, VPCI_KEEPER_MAGIC);
    } else if (h->version != VPCI_KEEPER_VERSION) {
        snprintf(why, size, "message of version %d, %d wanted: both programs "
                 "must be of the same age", h->version, VPCI_KEEPER_VERSION);
        return EPROTONOSUPPORT;
    } else if (packet->flags & MSG_TRUNC || packet->size != h->length) {
        snprintf(why, size, "message of type %#x says that it has %u bytes, "
                 "but has %zu%s", h->type, (unsigned int) h->length,
                 packet->size, packet->flags & MSG_TRUNC ? " or more" : "");
    } else if (packet->flags & MSG_CTRUNC) {
        snprintf(why, size, "descriptors of a message of type %#x were lost: "
                 "is the limit of open files (ulimit -n) too low?", h->type);
        return EMFILE;
    } else if (packet->n_fds != h->n_fds) {
        snprintf(why, size, "message of type %#x says that it has %u "
                 "descriptors, but has %zu", h->type,
                 (unsigned int) h->n_fds, packet->n_fds);
    } else {
        return 0;
    }
    return EPROTO;
}

static int
check_msg(const struct vpci_keeper_msg *msg, enum vpci_keeper_side side,
          char *why, size_t size)
{
    const struct vpci_keeper_header *h = &msg->header;
    const struct format *format = find_format(h);
    const char *wrong = NULL;
    uint32_t n_fds;

    if (!format || format->side != side) {
        snprintf(why, size, "messages of type %#x are not known here",
                 h->type);
        return EOPNOTSUPP;
    }
    if (h->length != sizeof *h + format->body_size) {
        snprintf(why, size, "message of type %#x with %u bytes, %zu wanted",
                 h->type, (unsigned int) h->length,
                 sizeof *h + format->body_size);
        return EPROTO;
    }
    if (side == VPCI_KEEPER_SIDE_KEEPER && (h->error || !h->xid)) {
        wrong = "a request has an xid and no error";
    } else if (format->check) {
        wrong = format->check(&msg->body);
    }
    n_fds = !wrong && format->n_fds ? format->n_fds(&msg->body) : 0;
    if (!wrong && h->n_fds != n_fds) {
        snprintf(why, size, "message of type %#x with %u descriptors, %u "
                 "wanted", h->type, (unsigned int) h->n_fds,
                 (unsigned int) n_fds);
        return EPROTO;
    }
    if (!wrong && format->check_fds) {
        wrong = format->check_fds(msg);
    }
    if (wrong) {
        snprintf(why, size, "message of type %#x: %s", h->type, wrong);
    }
    return wrong ? EPROTO : 0;
}

int
vpci_keeper_recv(int sock, enum vpci_keeper_side side,
                 struct vpci_keeper_msg *msg, char why[VPCI_KEEPER_TEXT_SIZE])
{
    struct vpci_keeper_header *h = &msg->header;
    struct packet packet;
    int error;

    memset(msg, 0, sizeof *msg);
    error = recv_packet(sock, msg, &packet);
    if (error) {
        snprintf(why, VPCI_KEEPER_TEXT_SIZE, "%s",
                 error == ENOTCONN ? "connection closed" : strerror(error));
        return error;
    }

    error = check_packet(h, &packet, why, VPCI_KEEPER_TEXT_SIZE);
    if (packet.size < sizeof *h || h->magic != VPCI_KEEPER_MAGIC) {
        memset(h, 0, sizeof *h);
    } else if (!error && packet.n_fds <= VPCI_KEEPER_MAX_FDS) {
        memcpy(msg->fds, packet.fds, packet.n_fds * sizeof(int));
    }
    if (!error) {
        error = check_msg(msg, side, why, VPCI_KEEPER_TEXT_SIZE);
    }
    if (error) {
        close_fds(packet.fds, packet.n_fds);
        h->n_fds = 0;
    }
    return error;
}
