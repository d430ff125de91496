/* SPDX-License-Identifier: Apache-2.0 */

/* Device vpci-net: ports whose guest shares a region with the switch.
 *
 * The keeper (vpcid) has the region and tells when a guest is there.  What the
 * switch must know of its rings to go on after it was killed is in private
 * memory that the keeper has as well, and guests never see. */

#include "netdev-vpci-message.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "netdev-vpci-call.h"
#include "netdev-vpci-keeper.h"
#include "netdev-vpci-lend.h"
#include "netdev-vpci-link.h"
#include "openvswitch/poll-loop.h"
#include "random.h"
#include "timeval.h"
#include "vpci/channel.h"
#include "vpci/doorbell.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_base);

/* Shapes of regions. */
#define SLOTS_LOG2 9
#define DATA_LOG2 19

/* A guest can be woken for urgent classes apart from the others. */
#define VECTORS_PER_QUEUE 2

/* Work that a guest may leave undone, and may have left for it. */
#define FEATURES (UINT64_C(1) << VIRTIO_NET_F_CSUM                      \
                  | UINT64_C(1) << VIRTIO_NET_F_GUEST_CSUM              \
                  | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO4              \
                  | UINT64_C(1) << VIRTIO_NET_F_GUEST_TSO6              \
                  | UINT64_C(1) << VIRTIO_NET_F_GUEST_ECN               \
                  | UINT64_C(1) << VIRTIO_NET_F_GUEST_UFO               \
                  | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO4               \
                  | UINT64_C(1) << VIRTIO_NET_F_HOST_TSO6               \
                  | UINT64_C(1) << VIRTIO_NET_F_HOST_ECN                \
                  | UINT64_C(1) << VIRTIO_NET_F_HOST_UFO                \
                  | UINT64_C(1) << VIRTIO_NET_F_MQ)

/* Private memory: this, and then the channel. */
struct private {
    uint32_t guest;             /* ivshmem id of the guest whose channel it
                                 * is, or 0. */
    uint32_t class_by;          /* enum vpci_abi_class_by, as it was told. */
    struct vpci_links_past links;
} OVS_ALIGNED_VAR(VPCI_ABI_LINE);

struct vpci_base {
    struct vpci_region_user user;
    struct netdev_vpci *dev;
    struct vpci_layout layout;

    /* What the keeper has given.  Changes only while the port's rings are
     * stopped, and with its mutex held. */
    void *memory;
    struct stat memory_stat;    /* Tells it from another one. */
    struct private *private;
    uint32_t region;

    /* The guest, if there is one.  Protected by the port's mutex. */
    bool has_guest;
    struct vpci_keeper_peer_up guest;
    int call_fds[VPCI_ABI_MAX_VECTORS];
    unsigned int n_call_fds;
    struct vpci_channel *channel;       /* Null if there is no guest. */
    bool resumed;               /* It is one of before. */
    enum vpci_channel_state state;
    bool shut;                  /* The port was, in the last look. */
    char *problem;              /* Why there is no region, or null. */
    struct vpci_linker *linker;
};

static struct vpci_base *
vpci_base_cast(struct vpci_region_user *user)
{
    return CONTAINER_OF(user, struct vpci_base, user);
}

static void *
map(int fd, uint64_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void
set_problem(struct vpci_base *base, const char *why)
{
    ovs_mutex_lock(&base->dev->mutex);
    if (!nullable_string_is_equal(base->problem, why)) {
        free(base->problem);
        base->problem = nullable_xstrdup(why);
        vpci_changed(base->dev);
    }
    ovs_mutex_unlock(&base->dev->mutex);
}

/* While rings are stopped. */
static void
close_doorbells(struct vpci_base *base)
{
    for (unsigned int i = 0; i < base->n_call_fds; i++) {
        close(base->call_fds[i]);
    }
    base->n_call_fds = 0;
}

/* There is no guest any more.  While rings are stopped. */
static void
forget_guest(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_base *base = dev->base;

    vpci_linker_stop(base->linker, false);
    vpci_calls_forget(dev);
    close_doorbells(base);
    base->has_guest = false;
    base->channel = NULL;
    base->state = VPCI_CHANNEL_ALONE;
}

static void
unmap_region(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_base *base = dev->base;

    forget_guest(dev);
    if (base->memory) {
        munmap(base->memory, base->user.size);
        munmap(base->private, base->user.private_size);
    }
    base->memory = NULL;
    base->private = NULL;
    base->region = 0;
}

/* Tells the guest what it should know of its port.  It has no other way to
 * learn of it, and may have scribbled over it. */
static void
write_port(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_base *base = dev->base;
    struct vpci_abi_port *port = vpci_layout_port(base->memory);

    vpci_store32(&port->switch_id, base->guest.self);
    vpci_store32(&port->guest_id, base->guest.peer);
    memcpy(port->mac, dev->config.guest_mac.ea, sizeof port->mac);
    vpci_store32(&port->max_len, dev->mtu + ETH_HEADER_LEN + VLAN_HEADER_LEN);
    vpci_store32(&port->calls, VPCI_ABI_CALLS_VERSION);
    vpci_classes_write(&dev->classes, port);
    vpci_store32_release(&port->link_state, (dev->flags & NETDEV_UP) != 0);
}

static void
region_given(struct vpci_region_user *user, uint32_t region, int memory_fd,
             int private_fd)
{
    struct vpci_base *base = vpci_base_cast(user);
    struct netdev_vpci *dev = base->dev;
    void *memory = NULL, *private = NULL;
    struct stat st = { .st_ino = 0 };
    bool known;

    /* Another keeper may use the same number for another region. */
    fstat(memory_fd, &st);
    ovs_mutex_lock(&dev->mutex);
    known = (base->memory && base->memory_stat.st_dev == st.st_dev
             && base->memory_stat.st_ino == st.st_ino);
    if (!known) {
        vpci_rings_pause(dev);
        vpci_rings_stop_all(dev);
        if (base->channel) {
            /* A guest of the old region may not have heard of the new one. */
            vpci_channel_end(base->channel);
        }
        unmap_region(dev);
        memory = map(memory_fd, user->size);
        private = map(private_fd, user->private_size);
        if (memory && private) {
            base->memory = memory;
            base->memory_stat = st;
            base->private = private;
            base->region = region;
            vpci_layout_write(&base->layout, memory, region);
            write_port(dev);
        }
        vpci_rings_resume(dev);
    }
    ovs_mutex_unlock(&dev->mutex);
    vpci_linker_set_region(base->linker, base->memory ? region : 0);
    close(memory_fd);
    close(private_fd);
    if (known || base->memory) {
        set_problem(base, NULL);
        return;
    }
    if (memory) {
        munmap(memory, user->size);
    }
    if (private) {
        munmap(private, user->private_size);
    }
    set_problem(base, "cannot map the region's memory");
}

static void
region_refused(struct vpci_region_user *user, const char *why)
{
    struct vpci_base *base = vpci_base_cast(user);

    vpci_linker_set_region(base->linker, 0);
    if (!base->memory) {
        VLOG_WARN_RL(&base->dev->rl, "%s: no region: %s",
                     vpci_name(base->dev), why);
    }
    set_problem(base, why);
}

static void
report(void *base_, const struct vpci_fault *fault)
{
    struct vpci_base *base = base_;

    if (fault->ring >= 2 * base->layout.n_rings) {
        vpci_calls_report(base->dev, fault);
    } else if (fault->ring < VPCI_MAX_RINGS) {
        vpci_ring_report(&base->dev->rings[fault->ring], fault);
    }
}

/* What makes the guest look at everything but packets, or -1. */
static int
control_fd(const struct vpci_base *base)
{
    uint32_t vector = vpci_layout_control_vector(&base->layout);

    return vector < base->n_call_fds ? base->call_fds[vector] : -1;
}

/* Begins with the guest that there is now; or goes on with it, if it is the
 * one that a switch before us had. */
static void
open_channel(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_base *base = dev->base;
    struct vpci_channel *channel = (void *) (base->private + 1);
    struct vpci_channel_config config = {
        .layout = base->layout,
        .base = base->memory,
        .side = 0,
        .features = FEATURES & ~dev->config.features_off,
        .n_queues = base->layout.shape.n_queues,
        .report = report,
        .aux = base,
    };

    /* A guest reads how to choose classes when it begins. */
    base->resumed = (base->private->guest == base->guest.peer
                     && base->private->class_by == dev->classes.by
                     && vpci_channel_resume(channel, &config));
    if (!base->resumed) {
        base->private->guest = 0;
        base->private->class_by = dev->classes.by;
        vpci_channel_begin(channel, &config, random_uint32());
        base->private->guest = base->guest.peer;
    }
    base->channel = channel;
}

/* Takes what makes the guest look, and, of what it rings for us, what says
 * that it has something to ask.  While rings are stopped. */
static void
take_doorbells(struct netdev_vpci *dev, int fds[], unsigned int n)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_base *base = dev->base;
    unsigned int bell = (base->guest.n_vectors
                         + vpci_layout_control_vector(&base->layout));

    close_doorbells(base);
    vpci_calls_set_bell(dev, bell < n ? fds[bell] : -1);
    if (bell < n) {
        fds[bell] = -1;
    }
    for (unsigned int i = 0; i < n && i < base->guest.n_vectors
                             && i < VPCI_ABI_MAX_VECTORS; i++) {
        base->call_fds[base->n_call_fds++] = fds[i];
        fds[i] = -1;
    }
    vpci_linker_set_doorbell(base->linker, control_fd(base));
}

/* A keeper that is back tells of guests that are there still. */
static void
guest_came(struct vpci_region_user *user, const struct vpci_keeper_peer_up *up,
           int fds[], unsigned int n)
{
    struct vpci_base *base = vpci_base_cast(user);
    struct netdev_vpci *dev = base->dev;
    bool known;

    if (!base->memory) {
        return;
    }
    ovs_mutex_lock(&dev->mutex);
    known = base->has_guest && base->guest.peer == up->peer;
    vpci_rings_pause(dev);
    vpci_rings_stop_all(dev);
    if (!known) {
        forget_guest(dev);
        base->has_guest = true;
    }
    base->guest = *up;
    take_doorbells(dev, fds, n);
    vpci_layout_write(&base->layout, base->memory, base->region);
    write_port(dev);
    if (!known) {
        open_channel(dev);
        dev->n_connects++;
        VLOG_INFO_RL(&dev->rl, "%s: a guest has come: process %"PRIu32
                     " of user %"PRIu32", ivshmem id %"PRIu32, vpci_name(dev),
                     up->pid, up->uid, up->peer);
    }
    vpci_rings_resume(dev);
    vpci_changed(dev);
    ovs_mutex_unlock(&dev->mutex);
}

static void
guest_left(struct vpci_region_user *user, const char *why)
{
    struct vpci_base *base = vpci_base_cast(user);
    struct netdev_vpci *dev = base->dev;

    ovs_mutex_lock(&dev->mutex);
    if (base->has_guest) {
        VLOG_INFO_RL(&dev->rl, "%s: the guest has left: %s", vpci_name(dev),
                     why);
        free(dev->last_disconnect);
        dev->last_disconnect = xstrdup(why);
        vpci_rings_pause(dev);
        vpci_rings_stop_all(dev);
        forget_guest(dev);
        base->private->guest = 0;
        vpci_rings_resume(dev);
        vpci_changed(dev);
    }
    ovs_mutex_unlock(&dev->mutex);
}

static const struct vpci_region_user_class base_class = {
    .given = region_given,
    .refused = region_refused,
    .guest_came = guest_came,
    .guest_left = guest_left,
};

/* Gives the port 'classes' of priority, while it has no region. */
static void
set_classes(struct netdev_vpci *dev, const struct vpci_classes *classes)
    OVS_REQUIRES(dev->mutex)
{
    vpci_rings_pause(dev);
    vpci_rings_stop_all(dev);
    vpci_rings_set_classes(dev, classes);
    vpci_rings_resume(dev);
}

/* As many for each queue, and one for everything else. */
static uint32_t
n_vectors(uint32_t n_queues, uint32_t n_classes)
{
    uint32_t n = MIN(n_classes, VECTORS_PER_QUEUE);

    return n_queues * MIN(n, (VPCI_ABI_MAX_VECTORS - 1) / n_queues) + 1;
}

int
vpci_base_register(struct netdev_vpci *dev, char **errp)
{
    uint32_t n_queues = vpci_config_max_pairs(&dev->config);
    struct vpci_classes classes;
    struct vpci_shape shape = {
        .kind = dev->config.peer ? VPCI_ABI_BASE_PEER : VPCI_ABI_BASE,
        .n_queues = n_queues,
        .slots_log2 = SLOTS_LOG2,
        .data_log2 = DATA_LOG2,
        .n_links = VPCI_LINKS_MAX + (dev->config.peer != NULL),
        .n_entries = VPCI_LINK_ENTRIES,
    };
    struct vpci_layout_report reason;
    struct vpci_base *base = xzalloc(sizeof *base);
    char text[200];

    vpci_config_get_classes(&dev->config, &classes);
    shape.n_classes = classes.n;
    shape.n_vectors = n_vectors(n_queues, classes.n);
    if (!vpci_layout_init(&base->layout, &shape, &reason)) {
        *errp = xstrdup(vpci_layout_format(&reason, text, sizeof text));
        free(base);
        return EINVAL;
    }
    base->dev = dev;
    base->user = (struct vpci_region_user) {
        .class = &base_class,
        .path = xstrdup(dev->config.path),
        .size = base->layout.size,
        .private_size = ROUND_UP(sizeof *base->private
                                 + vpci_channel_bytes(&base->layout),
                                 VPCI_KEEPER_PRIVATE_PAGE),
        .n_vectors = shape.n_vectors,
    };
    base->linker = vpci_linker_create(dev, &base->layout);
    ovs_mutex_lock(&dev->mutex);
    set_classes(dev, &classes);
    dev->base = base;
    vpci_linker_update(base->linker);
    atomic_store_relaxed(&dev->n_abuses, 0);
    ovs_mutex_unlock(&dev->mutex);
    if (dev->config.peer) {
        dev->lend = vpci_lend_create(dev, base->linker);
    }
    vpci_keeper_register(&base->user);
    return 0;
}

uint32_t
vpci_base_region(const struct netdev_vpci *dev)
{
    return dev->base ? dev->base->user.region : 0;
}

const struct vpci_abi_peer *
vpci_base_peer(const struct netdev_vpci *dev,
               const struct vpci_abi_peer_words **wordsp)
{
    const struct vpci_base *base = dev->base;

    if (!base || !base->memory
        || base->layout.shape.kind != VPCI_ABI_BASE_PEER) {
        return NULL;
    }
    *wordsp = vpci_layout_peer_words(&base->layout, base->memory);
    return vpci_layout_peer(&base->layout, base->memory);
}

void
vpci_base_unregister(struct netdev_vpci *dev)
{
    struct vpci_base *base = dev->base;
    struct vpci_classes one;

    if (dev->lend) {
        vpci_lend_destroy(dev->lend);
        dev->lend = NULL;
    }
    vpci_classes_init(&one, 1, VPCI_ABI_CLASS_NONE);
    vpci_keeper_unregister(&base->user);
    ovs_mutex_lock(&dev->mutex);
    vpci_rings_pause(dev);
    vpci_rings_stop_all(dev);
    unmap_region(dev);
    dev->base = NULL;
    vpci_rings_set_classes(dev, &one);
    vpci_rings_resume(dev);
    ovs_mutex_unlock(&dev->mutex);
    vpci_linker_destroy(base->linker);
    free(base->user.path);
    free(base->problem);
    free(base);
}

/* Lets the guest have links, or not any more, as the states of its channel and
 * of the port say. */
static void
update_linker(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_base *base = dev->base;
    struct vpci_linker_guest guest = {
        .layout = &base->layout,
        .memory = base->memory,
        .region = base->region,
        .channel = base->channel,
        .past = &base->private->links,
        .resumed = base->resumed,
        .control_fd = control_fd(base),
    };

    if (base->state == VPCI_CHANNEL_RUNNING && !base->shut) {
        vpci_linker_start(base->linker, &guest);
    } else {
        vpci_linker_stop(base->linker, !base->shut);
    }
}

/* Answers what the guest asks. */
static void
run_calls(struct netdev_vpci *dev)
    OVS_REQUIRES(dev->mutex)
{
    struct vpci_base *base = dev->base;
    int fd = control_fd(base);

    vpci_calls_listen(dev);
    if (base->state == VPCI_CHANNEL_RUNNING && !vpci_shut_reason(dev)
        && vpci_calls_run(dev, base->channel)
        && fd >= 0 && vpci_doorbell_ring(fd) == ETIMEDOUT) {
        vpci_filter_note_abuse(dev);
    }
}

void
vpci_base_run(struct netdev_vpci *dev)
{
    struct vpci_base *base = dev->base;
    enum vpci_channel_state state;
    bool shut;

    if (!base || !base->channel) {
        return;
    }
    ovs_mutex_lock(&dev->mutex);
    state = vpci_channel_run(base->channel, time_msec());
    shut = vpci_shut_reason(dev) != NULL;
    if (state != base->state || shut != base->shut) {
        vpci_rings_pause(dev);
        vpci_rings_stop_all(dev);
        base->state = state;
        base->shut = shut;
        update_linker(dev);
        vpci_calls_reset(dev);
        vpci_rings_resume(dev);
        vpci_changed(dev);
        poll_immediate_wake();
    }
    run_calls(dev);
    ovs_mutex_unlock(&dev->mutex);
}

void
vpci_base_wait(struct netdev_vpci *dev)
{
    if (dev->base && dev->base->channel) {
        vpci_calls_wait(dev);
        poll_timer_wait(VPCI_ABI_BEAT_MS / 2);
    }
}

void
vpci_base_update(struct netdev_vpci *dev)
{
    if (dev->base) {
        vpci_linker_update(dev->base->linker);
        if (dev->base->memory) {
            write_port(dev);
        }
    }
}

bool
vpci_base_get_guest(const struct netdev_vpci *dev, struct vpci_guest *guest)
{
    const struct vpci_base *base = dev->base;
    uint32_t n_rings;

    memset(guest, 0, sizeof *guest);
    guest->numa = -1;
    if (!base || base->state != VPCI_CHANNEL_RUNNING
        || vpci_shut_reason(dev)) {
        return false;
    }
    n_rings = 2 * vpci_channel_n_queues(base->channel) * dev->classes.n;
    guest->started = guest->usable = guest->carrier = true;
    guest->features = vpci_channel_features(base->channel);
    guest->rings_ready = (n_rings < VPCI_MAX_RINGS
                          ? (UINT64_C(1) << n_rings) - 1 : UINT64_MAX);
    return true;
}

int
vpci_base_start_ring(struct netdev_vpci *dev, unsigned int index)
{
    struct vpci_base *base = dev->base;
    uint32_t ring = index / 2;
    uint32_t vector = vpci_layout_vector(&base->layout, ring);
    struct vpci_vring_native native = {
        .channel = base->channel,
        .index = index,
        .features = vpci_channel_features(base->channel),
        .call_fd = vector < base->n_call_fds ? base->call_fds[vector] : -1,
        .peer = &dev->rings[index].peer,
    };

    if (index % 2) {
        native.rx = vpci_channel_rx(base->channel, ring);
        vpci_ring_rx_awake(native.rx, true);
    } else {
        native.tx = vpci_channel_tx(base->channel, ring);
        vpci_ring_tx_awake(native.tx, true);
    }
    return vpci_vring_start_native(dev->rings[index].vring, &native);
}

/* Wakes the guest, once for each of its signals: it may have gone to sleep
 * while nobody served it.  One whose doorbell blocks costs no more than
 * that. */
void
vpci_base_wake_guest(struct netdev_vpci *dev)
{
    for (unsigned int i = 0; i < dev->base->n_call_fds; i++) {
        if (vpci_doorbell_ring(dev->base->call_fds[i]) == ETIMEDOUT) {
            vpci_filter_note_abuse(dev);
            break;
        }
    }
}

void
vpci_base_get_status(const struct netdev_vpci *dev, struct smap *args)
{
    const struct vpci_base *base = dev->base;

    smap_add(args, "keeper", vpci_keeper_is_there() ? "connected"
             : "disconnected");
    if (!base) {
        return;
    }
    smap_add(args, "status", !base->memory ? "no region"
             : !base->has_guest ? "disconnected"
             : base->state != VPCI_CHANNEL_RUNNING
             ? "connected, waiting for the guest's driver" : "connected");
    if (base->problem) {
        smap_add(args, "problem", base->problem);
    }
    if (vpci_calls_fault(dev)) {
        smap_add(args, "calls_broken", vpci_calls_fault(dev));
    }
    if (base->memory) {
        smap_add_format(args, "region", "%"PRIu32, base->region);
    }
    /* A virtual machine's device is configured before there is a keeper. */
    smap_add_format(args, "region_size", "%"PRIu64, base->user.size);
    smap_add_format(args, "vectors", "%"PRIu32, base->user.n_vectors);
    vpci_linker_get_status(base->linker, args);
    if (base->has_guest) {
        smap_add_format(args, "guest_id", "%"PRIu32, base->guest.peer);
        smap_add_format(args, "guest_pid", "%"PRIu32, base->guest.pid);
        smap_add_format(args, "guest_uid", "%"PRIu32, base->guest.uid);
    }
}
