/* SPDX-License-Identifier: Apache-2.0 */

/* The owner's memory, for the borrower's device, and whom else it gets to: see
 * netdev-vpci-lend.h.
 *
 * QEMU offers the BAR with this memory to all vhost-user back ends of the
 * borrower's machine, as if it were the machine's own.  The owner trusts one
 * guest, not whoever is behind those.  Of most of them the switch cannot know;
 * but if one of its own ports gets the memory so, others may. */

#include "netdev-vpci-lend-private.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

VLOG_DEFINE_THIS_MODULE(netdev_vpci_lend_memory);

/* Changes with the memory of front ends.  Atomic. */
static uint64_t n_changes = 1;

void
vpci_lends_memory_changed(void)
{
    __atomic_add_fetch(&n_changes, 1, __ATOMIC_RELEASE);
    if (vpci_lends_exist()) {
        vpci_links_wake_main();
    }
}

static void
unregister(struct vpci_lend *lend)
{
    if (lend->registered) {
        vpci_keeper_unregister_peer(&lend->user, true);
        lend->registered = false;
        ovs_mutex_lock(&links_mutex);
        lend->device_id = 0;
        lend->given_at = 0;
        lend->user.region = 0;
        vpci_lend_forget_signals(lend);
        vpci_lend_write_entry(lend);
        vpci_lend_set_problem(lend, NULL);
        ovs_mutex_unlock(&links_mutex);
    }
    if (lend->memory_fd >= 0) {
        close(lend->memory_fd);
        lend->memory_fd = -1;
    }
}

void
vpci_lend_memory_init(struct vpci_lend *lend)
{
    lend->memory_fd = -1;
}

void
vpci_lend_memory_uninit(struct vpci_lend *lend)
{
    unregister(lend);
    free(lend->leak);
    lend->leak = NULL;
}

/* Finds the one file that all of the memory of 'conn' is in.  Returns null and
 * stores a descriptor of it, for the caller to close; or says why there is
 * none. */
static char *
find_memory(const struct vpci_conn *conn, int *fdp, struct stat *st)
{
    struct rte_vhost_memory *table;
    char *problem = NULL;

    if (rte_vhost_get_mem_table(conn->vid, &table)) {
        return xstrdup("its memory is not known");
    }
    for (uint32_t i = 0; !problem && i < table->nregions; i++) {
        struct stat other;

        if (fstat(table->regions[i].fd, &other)) {
            problem = xasprintf("its memory: %s", ovs_strerror(errno));
        } else if (i && !vpci_file_id_equal(vpci_file_id(&other),
                                            vpci_file_id(st))) {
            problem = xstrdup("its memory is in several files, and a device "
                              "has one: give the guest one memory back end, "
                              "and no ivshmem device");
        }
        *st = other;
    }
    if (!problem && !table->nregions) {
        problem = xstrdup("it has no memory");
    }
    *fdp = problem ? -1 : fcntl(table->regions[0].fd, F_DUPFD_CLOEXEC, 0);
    free(table);
    return problem ? problem : *fdp < 0 ? xstrdup(ovs_strerror(errno)) : NULL;
}

/* A device's memory is as large as a power of two: the file grows if it is not,
 * which costs nothing.  Returns null, or what is wrong. */
static char *
round_up_memory(int fd, struct stat *st)
{
    uint64_t size = st->st_size, wanted = 4096;

    while (wanted < size) {
        wanted *= 2;
    }
    if (wanted != size && ftruncate(fd, wanted)) {
        return xasprintf("its memory has %"PRIu64" bytes, which is no power of "
                         "two, and its file cannot grow (%s): give the guest "
                         "as much memory, or memory-backend-memfd seal=off or "
                         "memory-backend-file", size, ovs_strerror(errno));
    }
    st->st_size = wanted;
    return NULL;
}

/* Registers the memory of the owner, or says why that cannot be. */
static char *
register_memory(struct vpci_lend *lend, int fd, struct stat *st)
    OVS_REQUIRES(links_mutex)
{
    char *problem = round_up_memory(fd, st);

    if (problem) {
        close(fd);
        return problem;
    }
    /* Who has the memory ends if it vanishes.  Not all files can be sealed. */
    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
    lend->memory_fd = lend->user.memory = fd;
    lend->memory_id = vpci_file_id(st);
    lend->user.size = st->st_size;
    return NULL;
}

/* Follows which memory the owner has. */
static void
follow_memory(struct vpci_lend *lend, uint32_t base)
    OVS_REQUIRES(lends_mutex)
{
    struct netdev_vpci *owner = lend->owner;
    char *problem = NULL;
    struct stat st = { .st_ino = 0 };
    uint64_t n_tables;
    int fd = -1;
    bool known;

    ovs_mutex_lock(&owner->mutex);
    n_tables = owner->n_tables;
    if (n_tables == lend->n_tables && base == lend->user.base) {
        ovs_mutex_unlock(&owner->mutex);
        return;
    }
    if (owner->active && owner->active->memory_valid) {
        problem = find_memory(owner->active, &fd, &st);
    }
    ovs_mutex_unlock(&owner->mutex);

    /* Without a guest, its memory stays: there may be another one. */
    known = (lend->registered && lend->user.base == base
             && (fd < 0 || (vpci_file_id_equal(lend->memory_id,
                                               vpci_file_id(&st))
                            && st.st_size <= lend->user.size)));
    if (known || (fd < 0 && !problem)) {
        if (fd >= 0) {
            close(fd);
        }
        lend->n_tables = n_tables;
        return;
    }
    ovs_mutex_lock(&links_mutex);
    known = (lend->state != VPCI_LEND_HOME
             && lend->state != VPCI_LEND_UNKNOWN);
    ovs_mutex_unlock(&links_mutex);
    if (known) {
        /* First the rings come home. */
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    unregister(lend);
    lend->n_tables = n_tables;
    lend->user.base = base;
    ovs_mutex_lock(&links_mutex);
    if (!problem) {
        problem = register_memory(lend, fd, &st);
    }
    if (problem) {
        char *text = xasprintf("no device with the memory of %s: %s",
                               vpci_name(owner), problem);

        vpci_lend_set_problem(lend, text);
        free(problem);
    }
    lend->registered = lend->memory_fd >= 0;
    lend->n_changes = 0;
    vpci_lend_changed(lend);
    ovs_mutex_unlock(&links_mutex);
    if (lend->registered) {
        vpci_keeper_register_peer(&lend->user);
    }
}

/* Whom else it gets to. */

/* True if 'conn' has the file 'id' among others.  Whose memory is in that file
 * alone may be another port of the owner itself. */
static bool
has_among_others(const struct vpci_conn *conn, struct vpci_file_id id)
{
    bool has = false, others = false;

    for (size_t i = 0; i < ARRAY_SIZE(conn->regions); i++) {
        const struct vpci_conn_region *region = &conn->regions[i];

        if (region->guarded) {
            bool same = vpci_file_id_equal(region->file, id);

            has |= same;
            others |= !same;
        }
    }
    return has && others;
}

/* Returns the name of a port but the owner's that gets the memory, to be freed,
 * or null. */
static char *
find_other_port(const struct vpci_lend *lend)
{
    struct netdev_vpci *dev;
    char *name = NULL;

    ovs_mutex_lock(&vpci_mutex);
    LIST_FOR_EACH (dev, node, &vpci_list) {
        const struct vpci_conn *conn;

        ovs_mutex_lock(&dev->mutex);
        LIST_FOR_EACH (conn, node, &dev->conns) {
            if (!name && dev != lend->owner
                && has_among_others(conn, lend->memory_id)) {
                name = xstrdup(vpci_name(dev));
            }
        }
        ovs_mutex_unlock(&dev->mutex);
    }
    ovs_mutex_unlock(&vpci_mutex);
    return name;
}

static void
look_for_leak(struct vpci_lend *lend)
    OVS_REQUIRES(lends_mutex)
{
    uint64_t n = __atomic_load_n(&n_changes, __ATOMIC_ACQUIRE);
    char *name, *leak = NULL;

    if (n == lend->n_changes) {
        return;
    }
    lend->n_changes = n;
    name = lend->registered ? find_other_port(lend) : NULL;
    if (name) {
        leak = xasprintf("the front end of %s offers the memory of the guest of "
                         "%s as its own, and may offer it to others: remove "
                         "all vhost-user devices of the machine that has the "
                         "device with this memory", name,
                         vpci_name(lend->owner));
        free(name);
    }
    ovs_mutex_lock(&links_mutex);
    if (leak && !lend->leak) {
        VLOG_WARN("%s: its guest is not lent rings: %s",
                  vpci_name(lend->borrower), leak);
    }
    free(lend->leak);
    lend->leak = leak;
    vpci_lend_changed(lend);
    ovs_mutex_unlock(&links_mutex);
    vpci_links_wake();
}

void
vpci_lend_memory_run(struct vpci_lend *lend, uint32_t base)
{
    follow_memory(lend, base);
    look_for_leak(lend);
}
