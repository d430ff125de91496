/* SPDX-License-Identifier: Apache-2.0 */

/* What tools say of their port and its links: see vpci-tool.h. */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif

#include "vpci-tool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vpci/device.h"

/* For how long a link may be without any use until it is said why: guests meet
 * in less. */
#define UNUSED_NS INT64_C(2000000000)

/* How often it is looked whether to go on. */
#define LOOK_US 2000

static bool
is_unused(const struct vpci_net_link_info *link)
{
    return link->reason[0] && !link->tx_packets && !link->rx_packets;
}

static const char *
link_kind(const struct vpci_net_link_info *link)
{
    return link->is_peer ? "virtio-net peer" : "link";
}

void
tool_explain_links(struct tool *t)
{
    struct vpci_net_link_info links[VPCI_ABI_MAX_LINKS];
    uint32_t n = vpci_net_get_links(t->net, links, VPCI_ABI_MAX_LINKS);
    int64_t now = tool_now_ns();

    for (uint32_t i = 0; i < n; i++) {
        const struct vpci_net_link_info *link = &links[i];
        struct tool_link *known = &t->links[link->slot];

        if (known->id != link->id || !is_unused(link)) {
            *known = (struct tool_link) { .id = link->id, .unused_ns = now };
        } else if (!known->said && now - known->unused_ns >= UNUSED_NS) {
            fprintf(stderr, "%s: %s: %s %u is not used: %s\n", t->name,
                    t->address, link_kind(link), link->id, link->reason);
            known->said = true;
        }
    }
}

uint32_t
tool_count_links(const struct tool *t)
{
    struct vpci_net_link_info links[VPCI_ABI_MAX_LINKS];
    uint32_t n = vpci_net_get_links(t->net, links, VPCI_ABI_MAX_LINKS);
    uint32_t n_used = 0;

    for (uint32_t i = 0; i < n; i++) {
        n_used += links[i].sends;
    }
    return n_used;
}

/* Returns how long the switch takes to answer, in ms, or -1 if it does not. */
static double
ping(const struct tool *t)
{
    struct vpci_device *device = vpci_net_device(t->net);
    uint8_t data[1000] = "vpci";
    int64_t start = tool_now_ns();
    int error = (device ? vpci_device_call(device, VPCI_ABI_CALL_PING, data,
                                           sizeof data)
                 : ENOTCONN);

    vpci_device_release(device);
    return error ? -1 : (tool_now_ns() - start) / 1e6;
}

/* Prints 's', which has no control characters, as JSON has strings. */
static void
print_json_string(const char *s)
{
    putchar('"');
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') {
            putchar('\\');
        }
        putchar(*s);
    }
    putchar('"');
}

static void
print_links_as_json(const struct tool *t)
{
    struct vpci_net_link_info links[VPCI_ABI_MAX_LINKS];
    uint32_t n = vpci_net_get_links(t->net, links, VPCI_ABI_MAX_LINKS);

    printf(", \"uses_links\": %s, \"links\": [",
           t->no_links ? "false" : "true");
    for (uint32_t i = 0; i < n; i++) {
        printf("%s{\"link\": %u, \"virtio\": %s, \"peer\": %u, \"state\": ",
               i ? ", " : "", links[i].id, links[i].is_peer ? "true" : "false",
               links[i].peer_id);
        print_json_string(vpci_net_state_name(links[i].state));
        printf(", \"sends\": %s, \"reason\": ",
               links[i].sends ? "true" : "false");
        print_json_string(links[i].reason);
        printf("}");
    }
    printf("]");
}

static void
print_links(const struct tool *t, const struct vpci_net_port *port)
{
    struct vpci_net_link_info links[VPCI_ABI_MAX_LINKS];
    uint32_t n = vpci_net_get_links(t->net, links, VPCI_ABI_MAX_LINKS);

    if (t->no_links) {
        printf("links: not used, because of --no-links\n");
    } else if (!n) {
        printf("links: none now: the switch decides, see \"ovs-appctl "
               "vpci/links %s\" on its host\n", port->name);
    } else {
        printf("links: %u\n", n);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct vpci_net_link_info *link = &links[i];

        printf("%s %u: %s, peer: ", link_kind(link), link->id,
               vpci_net_state_name(link->state));
        if (link->peer_id) {
            printf("%u", link->peer_id);
        } else {
            printf("none");
        }
        printf("%s%s\n", link->reason[0] ? ", not used: " : "",
               link->reason);
    }
}

static void
print_port_as_json(const struct tool *t, const struct vpci_net_port *port,
                   double ms)
{
    printf("{\"kind\": \"port\", \"port\": ");
    print_json_string(port->name);
    printf(", \"mtu\": %u, \"admin_up\": %s, \"link_up\": %s, \"classes\": %u"
           ", \"switch\": ", port->mtu, port->admin_up ? "true" : "false",
           port->link_up ? "true" : "false", port->n_classes);
    print_json_string(port->software);
    printf(", \"answer_ms\": %.3f", ms);
    print_links_as_json(t);
    printf("}\n");
}

static void
print_port(const struct tool *t, const struct vpci_net_port *port, double ms)
{
    printf("port: %s\nMTU: %u\nadmin state: %s\nlink state: %s\n"
           "classes: %u\nswitch: %s\nanswers in: %.3f ms\n",
           port->name, port->mtu, port->admin_up ? "up" : "down",
           port->link_up ? "up" : "down", port->n_classes, port->software,
           ms);
    print_links(t, port);
}

/* Waits as long as it is wanted.  What comes meanwhile is taken: to leave it
 * there would hold up those who send it, and no link would be used. */
static void
pass_time(struct tool *t)
{
    uint32_t n_queues = (t->n_queues < t->info.n_queues ? t->n_queues
                         : t->info.n_queues);

    while (t->duration > 0 && tool_goes_on(t, 0)) {
        bool idle = true;

        for (uint32_t i = 0; i < n_queues; i++) {
            idle &= !vpci_net_rx_burst(t->net, i, t->bufs, TOOL_MAX_BURST);
        }
        if (idle) {
            usleep(LOOK_US);
        }
    }
}

void
tool_print_port_info(struct tool *t)
{
    struct vpci_net_port port;
    double ms;
    int error;

    pass_time(t);
    error = vpci_net_get_port(t->net, &port);
    ms = error ? -1 : ping(t);
    t->failed |= ms < 0;
    if (ms < 0) {
        fprintf(stderr, "%s: %s: the switch does not say: %s\n", t->name,
                t->address, strerror(error ? error : ETIMEDOUT));
    } else if (t->json) {
        print_port_as_json(t, &port, ms);
    } else {
        print_port(t, &port, ms);
    }
    exit(tool_close(t));
}
