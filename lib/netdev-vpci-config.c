/* SPDX-License-Identifier: Apache-2.0 */

/* Options of vpci ports: parsing, checking, reporting. */

#include "netdev-vpci-private.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "dpdk.h"
#include "openvswitch/dynamic-string.h"
#include "openvswitch/vlog.h"
#include "smap.h"
#include "socket-util.h"
#include "vpci/keeper.h"

VLOG_DEFINE_THIS_MODULE(netdev_vpci_config);

#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif

/* As netdev-dpdk has them. */
#define TX_RETRIES_DEFAULT 8
#define TX_RETRIES_MAX 32

/* Packets a second. */
#define LINKS_MIN_RATE_DEFAULT 1000

/* Virtio features that an operator may turn off, under the names that QEMU's
 * virtio-net device has for them. */
static const struct {
    const char *name;
    int bit;
} features[] = {
    { "csum", VIRTIO_NET_F_CSUM },
    { "ctrl_vq", VIRTIO_NET_F_CTRL_VQ },
    { "event_idx", VIRTIO_RING_F_EVENT_IDX },
    { "guest_announce", VIRTIO_NET_F_GUEST_ANNOUNCE },
    { "guest_csum", VIRTIO_NET_F_GUEST_CSUM },
    { "guest_ecn", VIRTIO_NET_F_GUEST_ECN },
    { "guest_tso4", VIRTIO_NET_F_GUEST_TSO4 },
    { "guest_tso6", VIRTIO_NET_F_GUEST_TSO6 },
    { "guest_ufo", VIRTIO_NET_F_GUEST_UFO },
    { "host_ecn", VIRTIO_NET_F_HOST_ECN },
    { "host_mtu", VIRTIO_NET_F_MTU },
    { "host_tso4", VIRTIO_NET_F_HOST_TSO4 },
    { "host_tso6", VIRTIO_NET_F_HOST_TSO6 },
    { "host_ufo", VIRTIO_NET_F_HOST_UFO },
    { "in_order", VIRTIO_F_IN_ORDER },
    { "indirect_desc", VIRTIO_RING_F_INDIRECT_DESC },
    { "log_all", VHOST_F_LOG_ALL },
    { "mq", VIRTIO_NET_F_MQ },
    { "mrg_rxbuf", VIRTIO_NET_F_MRG_RXBUF },
    { "packed", VIRTIO_F_RING_PACKED },
    { "version_1", VIRTIO_F_VERSION_1 },
};

void
vpci_features_format(uint64_t bits, struct ds *s)
{
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        if (bits & (UINT64_C(1) << features[i].bit)) {
            ds_put_format(s, "%s,", features[i].name);
        }
    }
    ds_chomp(s, ',');
}

uint32_t
vpci_config_max_pairs(const struct vpci_config *config)
{
    return config->max_pairs ? config->max_pairs
           : config->mode == VPCI_MODE_CONNECT ? VPCI_MAX_QUEUE_PAIRS : 1;
}

void
vpci_config_get_classes(const struct vpci_config *config,
                        struct vpci_classes *classes)
{
    vpci_classes_init(classes, MAX(config->n_classes, 1),
                      config->class_by ? config->class_by
                      : VPCI_ABI_CLASS_PCP);
}

const char *
vpci_config_path_key(const struct vpci_config *config)
{
    return (config->mode == VPCI_MODE_LISTEN ? "vhost-listen-path"
            : config->mode == VPCI_MODE_IVSHMEM ? "ivshmem-path"
            : "vhost-server-path");
}

void
vpci_config_uninit(struct vpci_config *config)
{
    free(config->path);
    free(config->real_path);
    free(config->links);
    free(config->links_static);
    free(config->peer);
    memset(config, 0, sizeof *config);
}

/* Finds the bit of feature 'name', in which '-' and '_' are the same.  Returns
 * -1 if there is none. */
static int
feature_bit_from_name(const char *name)
{
    char *s = xstrdup(name);
    int bit = -1;

    for (char *p = s; *p; p++) {
        *p = *p == '-' ? '_' : *p;
    }
    for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
        if (!strcmp(s, features[i].name)) {
            bit = features[i].bit;
        }
    }
    free(s);
    return bit;
}

static char *
parse_features_off(const char *value, uint64_t *bits)
{
    char *copy = xstrdup(value);
    char *save_ptr = NULL;
    char *error = NULL;

    *bits = 0;
    for (char *name = strtok_r(copy, ", ", &save_ptr); name && !error;
         name = strtok_r(NULL, ", ", &save_ptr)) {
        int bit = feature_bit_from_name(name);

        if (bit >= 0) {
            *bits |= UINT64_C(1) << bit;
        } else {
            struct ds known = DS_EMPTY_INITIALIZER;

            vpci_features_format(UINT64_MAX, &known);
            error = xasprintf("options:vhost-features-off: unknown feature "
                              "'%s'; use a comma-separated list of: %s",
                              name, ds_cstr(&known));
            ds_destroy(&known);
        }
    }
    free(copy);
    return error;
}

static char *
parse_number(const char *key, const char *value, uint32_t min, uint32_t max,
             uint32_t *number)
{
    long long int n;

    if (!str_to_llong(value, 10, &n) || n < min || n > max) {
        return xasprintf("options:%s=%s: must be a number from %"PRIu32
                         " to %"PRIu32, key, value, min, max);
    }
    *number = n;
    return NULL;
}

/* Returns 'path', of which only the directory need exist, in the one spelling
 * that has neither symbolic links nor dots.  The caller frees it. */
static char *
spell_path(const char *path)
{
    char *real = realpath(path, NULL);
    char *dir, *base, *real_dir;

    if (real) {
        return real;
    }
    dir = dir_name(path);
    base = base_name(path);
    real_dir = realpath(dir, NULL);
    real = xasprintf("%s/%s", real_dir ? real_dir : dir, base);
    free(real_dir);
    free(base);
    free(dir);
    return real;
}

static char *
parse_path(const char *key, const char *value, enum vpci_mode mode,
           struct vpci_config *config)
{
    size_t max = sizeof ((struct sockaddr_un *) NULL)->sun_path - 1;

    if (config->mode != VPCI_MODE_NONE) {
        return xstrdup("options:vhost-server-path, options:vhost-listen-path "
                       "and options:ivshmem-path exclude each other: the "
                       "first connects to a socket, the second listens on "
                       "one, the third shares memory with a guest; remove "
                       "all but one of them");
    }
    if (!value[0]) {
        return xasprintf("options:%s is empty: give the path of a UNIX "
                         "socket", key);
    }
    if (value[0] != '/') {
        return xasprintf("options:%s=%s: must be an absolute path, which "
                         "begins with '/'", key, value);
    }
    if (strlen(value) > max) {
        return xasprintf("options:%s: path too long, %"PRIuSIZE" bytes where "
                         "a UNIX socket takes at most %"PRIuSIZE": %s",
                         key, strlen(value), max, value);
    }
    config->mode = mode;
    config->path = xstrdup(value);
    config->real_path = spell_path(value);
    return NULL;
}

static char *
parse_class_by(const char *value, enum vpci_abi_class_by *by)
{
    if (!strcmp(value, "pcp")) {
        *by = VPCI_ABI_CLASS_PCP;
    } else if (!strcmp(value, "dscp")) {
        *by = VPCI_ABI_CLASS_DSCP;
    } else {
        return xasprintf("options:priority-by=%s: must be pcp, for the "
                         "priority of VLAN tags, or dscp, for that of IP",
                         value);
    }
    return NULL;
}

static char *
parse_guest_mac(const char *value, struct eth_addr *mac)
{
    if (!eth_addr_from_string(value, mac) || eth_addr_is_multicast(*mac)
        || eth_addr_is_zero(*mac)) {
        return xasprintf("options:guest-mac=%s: must be the Ethernet address "
                         "of a guest, such as 02:00:00:00:00:01", value);
    }
    return NULL;
}

/* Checks options of 'config' that do not go with each other. */
static char *
check_classes(const struct vpci_config *config)
{
    uint32_t n_rings = vpci_config_max_pairs(config) * config->n_classes;

    if (config->mode != VPCI_MODE_IVSHMEM
        && (config->n_classes || config->class_by)) {
        return xasprintf("options:%s goes only with options:ivshmem-path: a "
                         "guest with device virtio-net has no classes of "
                         "priority; remove it",
                         config->n_classes ? "priority-classes"
                         : "priority-by");
    } else if (config->mode != VPCI_MODE_IVSHMEM
               && !eth_addr_is_zero(config->guest_mac)) {
        return xstrdup("options:guest-mac goes only with options:ivshmem-path:"
                       " a guest with device virtio-net has the address that "
                       "its front end gives it; remove it");
    } else if (n_rings > VPCI_ABI_MAX_RINGS) {
        return xasprintf("options:n_rxq=%"PRIu32" times "
                         "options:priority-classes=%"PRIu32" is %"PRIu32", "
                         "but there can be %d rings each way: make one of "
                         "them smaller", vpci_config_max_pairs(config),
                         config->n_classes, n_rings, VPCI_ABI_MAX_RINGS);
    }
    return NULL;
}

static char *
parse_trust(const char *value, bool *trust)
{
    if (strcmp(value, "true") && strcmp(value, "false")) {
        return xasprintf("options:trust-peer=%s: true or false is wanted",
                         value);
    }
    *trust = !strcmp(value, "true");
    return NULL;
}

static char *
parse_option(const char *key, const char *value, struct vpci_config *config)
{
    if (!strcmp(key, "vhost-server-path")) {
        return parse_path(key, value, VPCI_MODE_CONNECT, config);
    } else if (!strcmp(key, "vhost-listen-path")) {
        return parse_path(key, value, VPCI_MODE_LISTEN, config);
    } else if (!strcmp(key, "ivshmem-path")) {
        return parse_path(key, value, VPCI_MODE_IVSHMEM, config);
    } else if (!strcmp(key, "vhost-features-off")) {
        return parse_features_off(value, &config->features_off);
    } else if (!strcmp(key, "n_rxq")) {
        return parse_number(key, value, 1, VPCI_MAX_QUEUE_PAIRS,
                            &config->max_pairs);
    } else if (!strcmp(key, "tx-retries-max")) {
        return parse_number(key, value, 0, TX_RETRIES_MAX,
                            &config->tx_retries_max);
    } else if (!strcmp(key, "priority-classes")) {
        return parse_number(key, value, 1, VPCI_ABI_MAX_CLASSES,
                            &config->n_classes);
    } else if (!strcmp(key, "priority-by")) {
        return parse_class_by(value, &config->class_by);
    } else if (!strcmp(key, "guest-mac")) {
        return parse_guest_mac(value, &config->guest_mac);
    } else if (!strcmp(key, "peer")) {
        config->peer = xstrdup(value);
        return NULL;
    } else if (!strcmp(key, "trust-peer")) {
        return parse_trust(value, &config->trust_peer);
    } else if (!strcmp(key, "links")) {
        return vpci_config_parse_links(value, config);
    } else if (!strcmp(key, "links-min-rate")) {
        return parse_number(key, value, 1, UINT32_MAX,
                            &config->links_min_rate);
    } else if (!strcmp(key, "links-static")) {
        return vpci_config_parse_links_static(value, config);
    }
    return xasprintf("unknown option options:%s; type 'vpci' knows "
                     "vhost-server-path, vhost-listen-path, ivshmem-path, "
                     "vhost-features-off, n_rxq, tx-retries-max, "
                     "priority-classes, priority-by, guest-mac, peer, "
                     "trust-peer, links, links-min-rate and links-static",
                     key);
}

/* Checks what 'config' says of a peer for port 'name'. */
static char *
check_peer(const char *name, const struct vpci_config *config)
{
    if (!config->peer) {
        return (config->trust_peer
                ? xstrdup("options:trust-peer=true without options:peer: say "
                          "which port's guest is meant, or remove it") : NULL);
    } else if (config->mode != VPCI_MODE_IVSHMEM) {
        return xasprintf("options:peer=%s: only a guest of device vpci-net "
                         "can drive the rings of another one: use "
                         "options:ivshmem-path, or remove options:peer",
                         config->peer);
    } else if (!config->trust_peer) {
        return xasprintf("options:peer=%s: the guest of this port would have "
                         "all of the memory of that port's guest, to read and "
                         "to write: set options:trust-peer=true as well if "
                         "that is meant, or remove options:peer",
                         config->peer);
    } else if (strlen(config->path)
               > (sizeof ((struct sockaddr_un *) NULL)->sun_path
                  - sizeof VPCI_KEEPER_PEER_SUFFIX)) {
        return xasprintf("options:ivshmem-path: path too long for the socket "
                         "of a peer, which ends with %s: choose a shorter one, "
                         "or remove options:peer: %s",
                         VPCI_KEEPER_PEER_SUFFIX, config->path);
    } else if (!strcmp(config->peer, name) || !*config->peer) {
        return xasprintf("options:peer=%s: the name of another port, of "
                         "device virtio-net, is wanted", config->peer);
    }
    return NULL;
}

/* Parses 'args' into 'config', that of port 'name', which the caller frees
 * with vpci_config_uninit().  Returns null or an error, which the caller
 * frees. */
static char *
parse_config(const char *name, const struct smap *args,
             struct vpci_config *config)
{
    struct smap_node *node;
    char *error;

    memset(config, 0, sizeof *config);
    config->tx_retries_max = TX_RETRIES_DEFAULT;

    SMAP_FOR_EACH (node, args) {
        error = parse_option(node->key, node->value, config);
        if (error) {
            return error;
        }
    }
    if (config->mode == VPCI_MODE_NONE) {
        return xstrdup("no socket given: set options:vhost-server-path=PATH "
                       "to connect to a guest's socket, "
                       "options:vhost-listen-path=PATH to listen for one, or "
                       "options:ivshmem-path=PATH to share memory with a "
                       "guest");
    }
    error = vpci_config_check_links(name, config);
    if (!config->links_min_rate) {
        config->links_min_rate = LINKS_MIN_RATE_DEFAULT;
    }
    error = error ? error : check_peer(name, config);
    return error ? error : check_classes(config);
}

static struct netdev_vpci *
find_port_by_path(const char *path, const struct netdev_vpci *except)
    OVS_REQUIRES(vpci_mutex)
{
    struct netdev_vpci *dev;

    LIST_FOR_EACH (dev, node, &vpci_list) {
        if (dev != except && dev->config.real_path
            && !strcmp(dev->config.real_path, path)) {
            return dev;
        }
    }
    return NULL;
}

/* Creates a socket at 'path', where nothing is, and removes it again.  Returns
 * 0 or an errno: more reasons speak against it than access() knows. */
static int
probe_bind(const char *path)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0) {
        return errno;
    }
    ovs_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    error = bind(fd, (struct sockaddr *) &sun, sizeof sun) ? errno : 0;
    if (!error) {
        unlink(path);
    }
    close(fd);
    return error;
}

/* Checks that the directory of 'path', where nothing is, can take a socket. */
static char *
check_directory(const char *path)
{
    char *dir = dir_name(path);
    char *error = NULL;
    struct stat s;
    int retval;

    if (stat(dir, &s)) {
        error = xasprintf("options:vhost-listen-path=%s: cannot use directory "
                          "%s (%s): create it or choose another path",
                          path, dir, ovs_strerror(errno));
    } else if ((retval = probe_bind(path)) != 0) {
        error = xasprintf("options:vhost-listen-path=%s: cannot create a "
                          "socket in %s (%s): choose a directory in which the "
                          "user that runs ovs-vswitchd can write",
                          path, dir, ovs_strerror(retval));
    }
    free(dir);
    return error;
}

/* Connects to the socket at 'path' and hangs up.  Returns 0 or an errno. */
static int
probe_socket(const char *path)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int error;

    if (fd < 0) {
        return errno;
    }
    ovs_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    error = connect(fd, (struct sockaddr *) &sun, sizeof sun) ? errno : 0;
    close(fd);
    return error;
}

/* Makes sure that we can listen at 'path', and removes the socket that a dead
 * process left there. */
static char *
check_listen_path(const char *path)
{
    struct stat s;
    int error;

    if (lstat(path, &s)) {
        return errno == ENOENT ? check_directory(path)
               : xasprintf("options:vhost-listen-path=%s: cannot be used "
                           "(%s): choose another path",
                           path, ovs_strerror(errno));
    }
    if (!S_ISSOCK(s.st_mode)) {
        return xasprintf("options:vhost-listen-path=%s: exists and is not a "
                         "socket: remove it or choose another path", path);
    }
    error = probe_socket(path);
    if (error != ECONNREFUSED) {
        return error
               ? xasprintf("options:vhost-listen-path=%s: there is a socket "
                           "that cannot be used (%s): choose another path",
                           path, ovs_strerror(error))
               : xasprintf("options:vhost-listen-path=%s: in use by another "
                           "process: choose another path", path);
    }
    VLOG_INFO("%s: removing the socket that a dead process left", path);
    return unlink(path) && errno != ENOENT
           ? xasprintf("options:vhost-listen-path=%s: cannot remove the "
                       "socket that a dead process left (%s)",
                       path, ovs_strerror(errno))
           : NULL;
}

/* A socket that is not there yet is what reconnecting is for.  One that can
 * never work is an error. */
static char *
check_connect_path(const char *path)
{
    struct stat s;

    if (stat(path, &s)) {
        return errno == ENOENT ? NULL
               : xasprintf("options:vhost-server-path=%s: cannot be used "
                           "(%s): give the path at which the guest listens",
                           path, ovs_strerror(errno));
    }
    if (!S_ISSOCK(s.st_mode)) {
        return xasprintf("options:vhost-server-path=%s: exists and is not a "
                         "socket: give the path at which the guest listens",
                         path);
    }
    if (access(path, R_OK | W_OK)) {
        return xasprintf("options:vhost-server-path=%s: %s: let the user that "
                         "runs ovs-vswitchd read and write it",
                         path, ovs_strerror(errno));
    }
    return NULL;
}

/* Checks that the path of 'config' can be used by 'dev', whose own path is not
 * registered. */
static char *
check_path(const struct netdev_vpci *dev, const struct vpci_config *config)
{
    const char *key = vpci_config_path_key(config);
    struct netdev_vpci *other;
    char *error = NULL;

    ovs_mutex_lock(&vpci_mutex);
    other = find_port_by_path(config->real_path, dev);
    if (other) {
        error = xasprintf("options:%s=%s: in use by port '%s': each port "
                          "needs a socket of its own",
                          key, config->path, vpci_name(other));
    }
    ovs_mutex_unlock(&vpci_mutex);
    if (error) {
        return error;
    }
    if (vpci_vhost_path_in_use(config->path)) {
        return xasprintf("options:%s=%s: in use by a port of another type: "
                         "each port needs a socket of its own",
                         key, config->path);
    }
    return (config->mode == VPCI_MODE_LISTEN
            ? check_listen_path(config->path)
            : config->mode == VPCI_MODE_CONNECT
            ? check_connect_path(config->path)
            : NULL);            /* The keeper looks at it. */
}

/* True if going from 'a' to 'b' needs a new connection. */
static bool
config_needs_reconnect(const struct vpci_config *a,
                       const struct vpci_config *b)
{
    return a->mode != b->mode
           || !nullable_string_is_equal(a->path, b->path)
           || a->features_off != b->features_off
           || a->max_pairs != b->max_pairs
           || a->n_classes != b->n_classes
           || a->class_by != b->class_by
           || !nullable_string_is_equal(a->peer, b->peer);
}

void
vpci_config_unregister(struct netdev_vpci *dev)
{
    if (dev->base) {
        vpci_base_unregister(dev);
    } else {
        vpci_vhost_unregister(dev);
    }
}

static void
swap_strings(char **a, char **b)
{
    char *c = *a;

    *a = *b;
    *b = c;
}

/* Takes over from '*config' what needs no new connection. */
static void
change_config(struct netdev_vpci *dev, struct vpci_config *config)
{
    ovs_mutex_lock(&dev->mutex);
    dev->config.tx_retries_max = config->tx_retries_max;
    dev->config.links_min_rate = config->links_min_rate;
    dev->config.guest_mac = config->guest_mac;
    swap_strings(&dev->config.links, &config->links);
    swap_strings(&dev->config.links_static, &config->links_static);
    vpci_base_update(dev);
    ovs_mutex_unlock(&dev->mutex);
}

/* Makes '*config', whose contents it takes over, the configuration of
 * 'dev'. */
static char *
apply_config(struct netdev_vpci *dev, struct vpci_config *config)
{
    char *error;

    atomic_store_relaxed(&dev->tx_retries_max, config->tx_retries_max);
    if ((dev->registered || dev->base)
        && !config_needs_reconnect(&dev->config, config)) {
        change_config(dev, config);
        vpci_config_uninit(config);
        return NULL;
    }

    vpci_config_unregister(dev);
    error = check_path(dev, config);

    ovs_mutex_lock(&vpci_mutex);
    ovs_mutex_lock(&dev->mutex);
    vpci_config_uninit(&dev->config);
    if (!error) {
        dev->config = *config;
        memset(config, 0, sizeof *config);
    }
    ovs_mutex_unlock(&dev->mutex);
    ovs_mutex_unlock(&vpci_mutex);

    if (!error && dev->config.mode == VPCI_MODE_IVSHMEM) {
        vpci_base_register(dev, &error);
    } else if (!error) {
        vpci_vhost_register(dev, &error);
    }
    return error;
}

int
netdev_vpci_set_config(struct netdev *netdev, const struct smap *args,
                       char **errp)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    struct vpci_config config;
    char *error = parse_config(vpci_name(dev), args, &config);

    if (!error && !dpdk_available()) {
        error = xstrdup("DPDK is not initialized: run 'ovs-vsctl set "
                        "Open_vSwitch . other_config:dpdk-init=true', and "
                        "see the log of ovs-vswitchd if that is done (it "
                        "needs huge pages)");
    }
    if (!error) {
        error = apply_config(dev, &config);
    }
    vpci_config_uninit(&config);

    if (error) {
        VLOG_WARN("%s: %s", vpci_name(dev), error);
        if (errp) {
            *errp = error;
        } else {
            free(error);
        }
        return EINVAL;
    }
    return 0;
}

int
netdev_vpci_get_config(const struct netdev *netdev, struct smap *args)
{
    struct netdev_vpci *dev = netdev_vpci_cast(netdev);
    const struct vpci_config *config = &dev->config;

    ovs_mutex_lock(&dev->mutex);
    if (config->mode != VPCI_MODE_NONE) {
        smap_add(args, vpci_config_path_key(config), config->path);
        smap_add_format(args, "tx-retries-max", "%"PRIu32,
                        config->tx_retries_max);
    }
    if (config->peer) {
        smap_add(args, "peer", config->peer);
        smap_add(args, "trust-peer", "true");
    }
    if (config->mode == VPCI_MODE_IVSHMEM) {
        smap_add(args, "links", config->links ? config->links : "off");
        smap_add_format(args, "links-min-rate", "%"PRIu32,
                        config->links_min_rate);
    }
    if (config->links_static) {
        smap_add(args, "links-static", config->links_static);
    }
    if (config->max_pairs) {
        smap_add_format(args, "n_rxq", "%"PRIu32, config->max_pairs);
    }
    if (config->n_classes) {
        smap_add_format(args, "priority-classes", "%"PRIu32,
                        config->n_classes);
    }
    if (config->class_by) {
        smap_add(args, "priority-by",
                 config->class_by == VPCI_ABI_CLASS_DSCP ? "dscp" : "pcp");
    }
    if (!eth_addr_is_zero(config->guest_mac)) {
        smap_add_format(args, "guest-mac", ETH_ADDR_FMT,
                        ETH_ADDR_ARGS(config->guest_mac));
    }
    if (config->features_off) {
        struct ds s = DS_EMPTY_INITIALIZER;

        vpci_features_format(config->features_off, &s);
        smap_add_nocopy(args, xstrdup("vhost-features-off"),
                        ds_steal_cstr(&s));
    }
    ovs_mutex_unlock(&dev->mutex);
    return 0;
}
