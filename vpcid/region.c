/* SPDX-License-Identifier: Apache-2.0 */

#include <config.h>
#include "region.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"
#include "descriptors.h"
#include "events.h"
#include "hash.h"
#include "openvswitch/vlog.h"
#include "unicode.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(region);

struct ovs_list regions = OVS_LIST_INITIALIZER(&regions);
static struct hmap regions_by_id = HMAP_INITIALIZER(&regions_by_id);
static uint32_t next_id = 1;

static const char *const refusal_names[] = {
#define REFUSAL(ENUM, NAME, TEXT) NAME,
    REFUSALS
#undef REFUSAL
};

static const char *const refusal_texts[] = {
#define REFUSAL(ENUM, NAME, TEXT) TEXT,
    REFUSALS
#undef REFUSAL
};

const char *
refusal_name(enum refusal refusal)
{
    return refusal_names[refusal];
}

const char *
refusal_text(enum refusal refusal)
{
    return refusal_texts[refusal];
}

uint32_t
region_next_id(void)
{
    return next_id;
}

void
region_set_next_id(uint32_t id)
{
    next_id = id;
}

uint32_t
regions_count(void)
{
    return hmap_count(&regions_by_id);
}

struct region *
region_find(uint32_t id)
{
    struct region *region;

    HMAP_FOR_EACH_WITH_HASH (region, id_node, hash_int(id, 0),
                             &regions_by_id) {
        if (region->id == id) {
            return region;
        }
    }
    return NULL;
}

static struct region *
find_base(const char *path)
{
    struct region *region;

    LIST_FOR_EACH (region, node, &regions) {
        if (region->kind == VPCI_KEEPER_BASE
            && !strcmp(region->ends[0].path, path)) {
            return region;
        }
    }
    return NULL;
}

/* True if 'path' is UTF-8 without control characters. */
static bool
is_printable(const char *path)
{
    size_t valid_len;
    char *error;

    for (const char *p = path; *p; p++) {
        if (iscntrl((unsigned char) *p)) {
            return false;
        }
    }
    error = utf8_validate(path, &valid_len);
    free(error);
    return !error;
}

/* True if 'path' can be that of a base region. */
bool
region_is_good_path(const char *path)
{
    size_t len = strlen(path);

    return (is_printable(path) && path[0] == '/' && len > 1
            && len < VPCI_KEEPER_BASE_PATH_SIZE);
}

/* Returns null, or what is wrong with the parameters of 'region', as a text
 * that the caller frees. */
char *
region_check(const struct region *region)
{
    uint64_t size = region->size, private_size = region->private_size;
    uint64_t max_size = (region->kind == VPCI_KEEPER_PEER
                         ? VPCI_KEEPER_MAX_PEER_SIZE : VPCI_KEEPER_MAX_SIZE);

    if (size < VPCI_KEEPER_MIN_SIZE || size > max_size || size & (size - 1)) {
        return xasprintf("%"PRIu64" bytes: the size of a region is a power of "
                         "two, since QEMU makes a PCI BAR of it, from %"PRIu64
                         " to %"PRIu64, size, VPCI_KEEPER_MIN_SIZE, max_size);
    } else if (!region->n_vectors
               || region->n_vectors > VPCI_KEEPER_MAX_VECTORS) {
        return xasprintf("%"PRIu32" vectors: an end has from 1 to %d",
                         region->n_vectors, VPCI_KEEPER_MAX_VECTORS);
    } else if (region->kind == VPCI_KEEPER_BASE
               && (!private_size || private_size > VPCI_KEEPER_MAX_PRIVATE
                   || private_size % VPCI_KEEPER_PRIVATE_PAGE)) {
        return xasprintf("%"PRIu64" bytes of private memory: it is a multiple "
                         "of %"PRIu64", up to %"PRIu64, private_size,
                         VPCI_KEEPER_PRIVATE_PAGE, VPCI_KEEPER_MAX_PRIVATE);
    }
    return NULL;
}

static void
end_init(struct end *end, struct region *region, int index)
{
    memset(end, 0, sizeof *end);
    end->region = region;
    end->index = index;
    listener_init(&end->listener);
    listener_init(&end->by_id);
    ovs_list_init(&end->told.node);
}

/* Creates a region that has no memory yet, and is not in 'regions'. */
struct region *
region_create(enum vpci_keeper_kind kind, uint32_t id)
{
    struct region *region = xzalloc(sizeof *region);

    region->kind = kind;
    region->id = id;
    region->memory = -1;
    region->private_memory = -1;
    region->n_ends = kind == VPCI_KEEPER_LINK ? 2 : 1;
    for (int i = 0; i < 2; i++) {
        end_init(&region->ends[i], region, i);
    }
    return region;
}

/* Destroys a region without clients that is not in 'regions'. */
void
region_destroy(struct region *region)
{
    for (int i = 0; i < 2; i++) {
        events_forget(&region->ends[i]);
        listener_close(&region->ends[i].listener);
        listener_close(&region->ends[i].by_id);
        free(region->ends[i].path);
    }
    descriptors_close(&region->memory, 1);
    descriptors_close(&region->private_memory, 1);
    free(region);
}

void
region_insert(struct region *region)
{
    hmap_insert(&regions_by_id, &region->id_node, hash_int(region->id, 0));
    ovs_list_push_back(&regions, &region->node);
}

/* Returns a new memfd of 'size' bytes, sealed so that it stays this size, or a
 * negative errno. */
static int
create_memory(const char *kind, uint32_t id, uint64_t size)
{
    char *name = xasprintf("vpci:%s%"PRIu32, kind, id);
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int error = fd < 0 ? errno : 0;

    free(name);
    if (!error && (ftruncate(fd, size)
                   || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW
                                             | F_SEAL_SEAL))) {
        error = errno;
        close(fd);
    }
    return error ? -error : fd;
}

/* Creates the memory of 'region', unless it is a peer's, which has it. */
static int
create_memories(struct region *region, char **textp)
{
    bool base = region->kind == VPCI_KEEPER_BASE;
    int fd;

    if (region->kind == VPCI_KEEPER_PEER) {
        return 0;
    }
    fd = create_memory(base ? "base" : "link", region->id, region->size);
    if (fd >= 0) {
        region->memory = fd;
        fd = (base ? create_memory("private", region->id,
                                   region->private_size) : 0);
    }
    if (fd < 0) {
        *textp = xasprintf("memory of %"PRIu64" bytes cannot be had (%s)%s",
                           region->size, ovs_strerror(-fd),
                           (fd == -EMFILE
                            ? ": the limit of open files (ulimit -n) is too "
                              "low" : ""));
        return -fd;
    }
    region->private_memory = base ? fd : -1;
    return 0;
}

/* Returns the path of the socket that has the number of link 'region', beside
 * that of 'base'.  The caller frees it. */
static char *
path_by_id(const struct region *region, const struct region *base)
{
    return xasprintf("%s.link%"PRIu32, base->ends[0].path, region->id);
}

/* Opens the sockets of 'end'. */
static int
end_open(struct end *end, char **textp)
{
    const struct region *region = end->region;
    int error = listener_open(&end->listener, SOCK_STREAM, end->path, textp);

    if (!error && region->is_static) {
        char *path = path_by_id(region, region->base[end->index]);

        error = listener_open(&end->by_id, SOCK_STREAM, path, textp);
        free(path);
    }
    if (!error) {
        error = end_watch(end);
        if (error) {
            *textp = xasprintf("%s cannot be watched (%s)", end->path,
                               ovs_strerror(error));
        }
    }
    return error;
}

/* Creates the memory and opens the sockets of 'region'. */
static int
region_open(struct region *region, char **textp)
{
    int error = create_memories(region, textp);

    for (int i = 0; !error && i < region->n_ends; i++) {
        error = end_open(&region->ends[i], textp);
    }
    return error;
}

/* Completes the new 'region', or destroys it. */
static int
finish_region(struct region *region, struct region **regionp, char **textp)
{
    int error;

    /* Also if it fails: something may be in the way of a link with this id. */
    next_id++;
    error = region_open(region, textp);
    if (error) {
        region_destroy(region);
        return error;
    }
    region_insert(region);
    *regionp = region;
    for (int i = 0; i < region->n_ends; i++) {
        VLOG_INFO("%s: region %"PRIu32" of %"PRIu64" bytes, %"PRIu32
                  " vectors", region->ends[i].path, region->id, region->size,
                  region->n_vectors);
    }
    return 0;
}

/* Ids are not used again. */
static bool
have_id(char **textp)
{
    if (next_id == UINT32_MAX) {
        *textp = xstrdup("all ids of regions have been used: restart the "
                         "keeper");
        return false;
    }
    return true;
}

static int
adopt_base(struct region *region, const struct region *wanted, char **textp)
{
    if (region->size != wanted->size
        || region->n_vectors != wanted->n_vectors
        || region->private_size != wanted->private_size) {
        *textp = xasprintf(
            "%s is region %"PRIu32" with %"PRIu64" bytes, %"PRIu32" vectors "
            "and %"PRIu64" private bytes; %"PRIu64" bytes, %"PRIu32" vectors "
            "and %"PRIu64" private bytes are wanted: delete it first, or "
            "choose another path", region->ends[0].path, region->id,
            region->size, region->n_vectors, region->private_size,
            wanted->size, wanted->n_vectors, wanted->private_size);
        return EEXIST;
    }
    return 0;
}

int
region_add_base(const struct vpci_keeper_base_add *add,
                struct region **regionp, bool *adopted, char **textp)
{
    struct region *region, *old;

    if (!region_is_good_path(add->path)) {
        *textp = xasprintf("a path is absolute, has up to %d bytes, and is "
                           "UTF-8 without control characters, unlike '%s'",
                           VPCI_KEEPER_BASE_PATH_SIZE - 1, add->path);
        return EINVAL;
    }

    region = region_create(VPCI_KEEPER_BASE, next_id);
    region->size = add->size;
    region->private_size = (add->private_size ? add->private_size
                            : VPCI_KEEPER_PRIVATE_PAGE);
    region->n_vectors = add->n_vectors;
    region->ends[0].path = xstrdup(add->path);
    *textp = region_check(region);
    if (*textp) {
        region_destroy(region);
        return EINVAL;
    }

    old = find_base(add->path);
    *adopted = old != NULL;
    if (old) {
        int error = adopt_base(old, region, textp);

        region_destroy(region);
        *regionp = old;
        return error;
    }
    if (!have_id(textp)) {
        region_destroy(region);
        return ENOSPC;
    }
    return finish_region(region, regionp, textp);
}

/* Finds the base region 'id', which a region of 'kind' is to belong to. */
static int
find_base_by_id(uint32_t id, const char *kind, struct region **basep,
                char **textp)
{
    struct region *base = region_find(id);

    *basep = base;
    if (!base) {
        *textp = xasprintf("there is no region %"PRIu32": %s", id, kind);
        return ENOENT;
    } else if (base->kind != VPCI_KEEPER_BASE) {
        *textp = xasprintf("region %"PRIu32" is %s: %s", id,
                           (base->kind == VPCI_KEEPER_LINK ? "a link"
                            : "a peer's"), kind);
        return EINVAL;
    }
    return 0;
}

/* Finds the base regions 'ids' of a link. */
static int
find_bases(const uint32_t ids[2], struct region *base[2], char **textp)
{
    for (int i = 0; i < 2; i++) {
        int error = find_base_by_id(ids[i], "a link is between two base "
                                    "regions", &base[i], textp);

        if (error) {
            return error;
        }
    }
    if (base[0] == base[1]) {
        *textp = xasprintf("a link is between two base regions, not between "
                           "region %"PRIu32" and itself", ids[0]);
        return EINVAL;
    }
    return 0;
}

int
region_add_link(const struct vpci_keeper_link_add *add,
                struct region **regionp, char **textp)
{
    struct region *region, *base[2];
    int error = find_bases(add->base, base, textp);

    if (error) {
        return error;
    } else if (!have_id(textp)) {
        return ENOSPC;
    }

    region = region_create(VPCI_KEEPER_LINK, next_id);
    region->size = add->size;
    region->n_vectors = add->n_vectors;
    for (int i = 0; i < 2; i++) {
        region->base[i] = base[i];
        region->ends[i].path = path_by_id(region, base[i]);
    }
    *textp = region_check(region);
    if (*textp) {
        region_destroy(region);
        return EINVAL;
    }
    return finish_region(region, regionp, textp);
}

static struct region *
find_static(struct region *const base[2])
{
    struct region *region;

    LIST_FOR_EACH (region, node, &regions) {
        if (region->is_static
            && ((region->base[0] == base[0] && region->base[1] == base[1])
                || (region->base[0] == base[1]
                    && region->base[1] == base[0]))) {
            return region;
        }
    }
    return NULL;
}

/* Makes the static link that '*add' asks for, which has no memory yet, and is
 * not in 'regions'. */
static struct region *
create_static(const struct vpci_keeper_static_add *add,
              struct region *const base[2])
{
    struct region *region = region_create(VPCI_KEEPER_LINK, next_id);

    region->is_static = true;
    region->size = add->size;
    region->n_vectors = add->n_vectors;
    for (int i = 0; i < 2; i++) {
        region->base[i] = base[i];
        region->ends[i].path = xasprintf("%s"VPCI_KEEPER_STATIC_INFIX"%s",
                                         base[i]->ends[0].path, add->name[!i]);
    }
    return region;
}

/* Returns null, or what is wrong with the static link 'region' between ports
 * 'names', as a text that the caller frees. */
static char *
check_static(const struct region *region,
             const char names[2][VPCI_KEEPER_NAME_SIZE])
{
    for (int i = 0; i < 2; i++) {
        const char *path = region->ends[i].path;

        if (!names[!i][0] || strchr(names[!i], '/') || !is_printable(path)
            || strlen(path) >= VPCI_KEEPER_PATH_SIZE) {
            return xasprintf("'%s': the name of a port that has a static link "
                             "becomes part of a path of up to %d bytes, of "
                             "UTF-8 without control characters, and has no "
                             "'/'", names[!i], VPCI_KEEPER_PATH_SIZE - 1);
        }
    }
    return region_check(region);
}

static bool
is_same_static(const struct region *a, const struct region *b)
{
    return (a->size == b->size && a->n_vectors == b->n_vectors
            && !strcmp(a->ends[0].path, b->ends[0].path)
            && !strcmp(a->ends[1].path, b->ends[1].path));
}

int
region_add_static(const struct vpci_keeper_static_add *add,
                  struct region **regionp, bool *adopted, char **textp)
{
    struct region *region, *old, *base[2];
    int error = find_bases(add->base, base, textp);

    if (error) {
        return error;
    }
    region = create_static(add, base);
    *textp = check_static(region, add->name);
    if (*textp) {
        region_destroy(region);
        return EINVAL;
    }
    old = find_static(base);
    *adopted = old && is_same_static(old, region);
    if (*adopted) {
        region_destroy(region);
        *regionp = old;
        return 0;
    } else if (!have_id(textp)) {
        region_destroy(region);
        return ENOSPC;
    }
    if (old) {
        region_delete(old);
    }
    return finish_region(region, regionp, textp);
}

static struct region *
find_peer(const struct region *base)
{
    struct region *region;

    LIST_FOR_EACH (region, node, &regions) {
        if (region->kind == VPCI_KEEPER_PEER && region->base[0] == base) {
            return region;
        }
    }
    return NULL;
}

/* Checks that 'memory', which the switch has from a guest, can be that of
 * 'region'. */
static int
check_peer_memory(const struct region *region, int memory, char **textp)
{
    struct stat s = { .st_size = 0 };

    if (!descriptor_is_memory(memory)) {
        *textp = xstrdup("the memory of a peer is a file of tmpfs or "
                         "hugetlbfs, open for reading and writing, unlike "
                         "this one: what is the memory backend of its "
                         "virtual machine?");
        return EINVAL;
    } else if (fstat(memory, &s) || !S_ISREG(s.st_mode)
               || s.st_size != region->size) {
        *textp = xasprintf("the file has %lld bytes, %"PRIu64" are wanted",
                           (long long int) s.st_size, region->size);
        return EINVAL;
    }
    return 0;
}

static bool
is_same_file(int a, int b)
{
    struct stat s, t;

    return (!fstat(a, &s) && !fstat(b, &t)
            && s.st_dev == t.st_dev && s.st_ino == t.st_ino);
}

static int
adopt_peer(struct region *region, const struct vpci_keeper_peer_add *add,
           int memory, char **textp)
{
    bool same = is_same_file(region->memory, memory);

    if (!same || region->size != add->size
        || region->n_vectors != add->n_vectors) {
        *textp = xasprintf(
            "%s is region %"PRIu32" with %"PRIu64" bytes of %s file and "
            "%"PRIu32" vectors; %"PRIu64" bytes and %"PRIu32" vectors are "
            "wanted: delete it first", region->ends[0].path, region->id,
            region->size, same ? "this" : "another", region->n_vectors,
            add->size, add->n_vectors);
        return EEXIST;
    }
    return 0;
}

int
region_add_peer(const struct vpci_keeper_peer_add *add, int *memory,
                struct region **regionp, bool *adopted, char **textp)
{
    struct region *region, *old, *base;
    int error = find_base_by_id(add->base, "a peer is one of a base region's "
                                "guest", &base, textp);

    if (error) {
        return error;
    }
    region = region_create(VPCI_KEEPER_PEER, next_id);
    region->size = add->size;
    region->n_vectors = add->n_vectors;
    region->base[0] = base;
    region->ends[0].path = xasprintf("%s%s", base->ends[0].path,
                                     VPCI_KEEPER_PEER_SUFFIX);
    *textp = region_check(region);
    error = *textp ? EINVAL : check_peer_memory(region, *memory, textp);
    old = find_peer(base);
    *adopted = old != NULL;
    if (!error && old) {
        *regionp = old;
        error = adopt_peer(old, add, *memory, textp);
    } else if (!error && !have_id(textp)) {
        error = ENOSPC;
    }
    if (error || old) {
        region_destroy(region);
        return error;
    }
    region->memory = *memory;
    *memory = -1;
    return finish_region(region, regionp, textp);
}

/* Deletes a region that has no links and no peer. */
static void
delete_one(struct region *region)
{
    VLOG_INFO("%s: region %"PRIu32" is deleted", region->ends[0].path,
              region->id);
    region->attached = false;
    for (int i = 0; i < region->n_ends; i++) {
        client_disconnect(&region->ends[i], "the region is deleted");
    }
    ovs_list_remove(&region->node);
    hmap_remove(&regions_by_id, &region->id_node);
    region_destroy(region);
}

uint32_t
region_delete(struct region *region)
{
    struct region *other;
    uint32_t n = 1;

    LIST_FOR_EACH_SAFE (other, node, &regions) {
        if (other->base[0] == region || other->base[1] == region) {
            delete_one(other);
            n++;
        }
    }
    delete_one(region);
    return n;
}

void
regions_delete_all(void)
{
    while (!ovs_list_is_empty(&regions)) {
        region_delete(CONTAINER_OF(ovs_list_front(&regions), struct region,
                                   node));
    }
}

uint32_t
region_n_eventfds(const struct region *region)
{
    return region->kind == VPCI_KEEPER_PEER ? 1 : region->n_vectors;
}

enum peer_id_range
region_ids(const struct region *region)
{
    return (region->kind == VPCI_KEEPER_PEER ? PEER_ID_MARKED
            : region->kind == VPCI_KEEPER_LINK ? PEER_ID_LINK
            : PEER_ID_PLAIN);
}

void
region_describe(const struct region *region, struct vpci_keeper_region *msg)
{
    msg->id = region->id;
    msg->kind = region->kind;
    msg->size = region->size;
    msg->private_size = region->private_size;
    msg->n_vectors = region->n_vectors;
    for (int i = 0; i < region->n_ends; i++) {
        msg->base[i] = region->base[i] ? region->base[i]->id : 0;
        msg->end[i] = end_state(&region->ends[i]);
        ovs_strlcpy(msg->path[i], region->ends[i].path, sizeof msg->path[i]);
    }
}

enum vpci_keeper_end
end_state(const struct end *end)
{
    return (end->client ? VPCI_KEEPER_END_UP
            : end->over ? VPCI_KEEPER_END_OVER
            : VPCI_KEEPER_END_FREE);
}

static void
accept_cb(struct watch *watch)
{
    struct end *end = CONTAINER_OF(watch, struct end, listener.watch);

    client_accept(end, &end->listener);
}

static void
accept_by_id_cb(struct watch *watch)
{
    struct end *end = CONTAINER_OF(watch, struct end, by_id.watch);

    client_accept(end, &end->by_id);
}

int
end_watch(struct end *end)
{
    int error = watch_start(&end->listener.watch, end->listener.fd, accept_cb);

    return (error || end->by_id.fd < 0 ? error
            : watch_start(&end->by_id.watch, end->by_id.fd, accept_by_id_cb));
}

void
end_close(struct end *end)
{
    end->over = true;
    listener_close(&end->listener);
}
