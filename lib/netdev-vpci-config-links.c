/* SPDX-License-Identifier: Apache-2.0 */

/* Options of vpci ports that say whom guests may have links with. */

#include "netdev-vpci-private.h"

#include <string.h>
#include <sys/un.h>

#include "netdev-vpci-link.h"
#include "vpci/keeper.h"

#define LINKS_WANTED "use off, auto, or a comma-separated list of ports " \
                     "that the guest may have links with"

#define LINKS_STATIC_WANTED "use a comma-separated list of ports that the " \
                            "guest has devices for links with from the start"

char *
vpci_config_parse_links(const char *value, struct vpci_config *config)
{
    if (!value[0]) {
        return xstrdup("options:links is empty: " LINKS_WANTED);
    }
    config->links = strcmp(value, "off") ? xstrdup(value) : NULL;
    return NULL;
}

char *
vpci_config_parse_links_static(const char *value, struct vpci_config *config)
{
    if (!value[0]) {
        return xstrdup("options:links-static is empty: " LINKS_STATIC_WANTED
                       ", or remove it");
    }
    config->links_static = xstrdup(value);
    return NULL;
}

/* Returns what is wrong with 'word' in a list of ports to have links with, or
 * null. */
static const char *
find_links_fault(const char *word)
{
    static const char *const values[] = { "on", "true", "yes", "false", "no" };

    if (!word[0]) {
        return "is no name of a port";
    } else if (!strcasecmp(word, "off") || !strcasecmp(word, "auto")) {
        return "stands alone, and in small letters";
    }
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        if (!strcasecmp(word, values[i])) {
            return "is taken for no port";
        }
    }
    return NULL;
}

/* Checks the list 'value' of ports with which port 'name' may have links.
 * Whether they are there is not looked at: they may come later.  One list may
 * be for all the ports in it. */
static char *
check_links_list(const char *name, const char *value)
{
    char *copy = xstrdup(value);
    char *rest = copy;
    char *error = NULL;
    bool others = false;
    char *member;

    while (!error && (member = strsep(&rest, ","))) {
        char *save_ptr = NULL;
        char *word = strtok_r(member, " ", &save_ptr);

        do {
            const char *fault = find_links_fault(word ? word : "");

            if (fault) {
                error = xasprintf("options:links=%s: '%s' %s: " LINKS_WANTED,
                                  value, word ? word : "", fault);
            }
            others |= word && strcmp(word, name);
        } while (!error && word && (word = strtok_r(NULL, " ", &save_ptr)));
    }
    free(copy);
    if (!error && !others) {
        error = xasprintf("options:links=%s: there is no port but this one in "
                          "it: " LINKS_WANTED, value);
    }
    return error;
}

/* Checks that 'word' can be a port with which the port of 'config' has a
 * static link: the names of both are parts of paths. */
static char *
check_static_name(const char *word, const struct vpci_config *config)
{
    size_t max = sizeof ((struct sockaddr_un *) NULL)->sun_path - 1;
    size_t n = (strlen(config->path) + strlen(VPCI_KEEPER_STATIC_INFIX)
                + strlen(word));

    if (find_links_fault(word)) {
        return xasprintf("options:links-static=%s: '%s' is no name of a port: "
                         LINKS_STATIC_WANTED, config->links_static, word);
    } else if (strchr(word, '/') || strlen(word) >= VPCI_KEEPER_NAME_SIZE) {
        return xasprintf("options:links-static=%s: '%s' would be part of the "
                         "path of a socket: ports that have static links have "
                         "names of up to %d bytes, without '/'",
                         config->links_static, word,
                         VPCI_KEEPER_NAME_SIZE - 1);
    } else if (n > max) {
        return xasprintf("options:ivshmem-path: path too long, the socket "
                         "%s"VPCI_KEEPER_STATIC_INFIX"%s has %"PRIuSIZE
                         " bytes where a UNIX socket takes at most %"PRIuSIZE
                         ": choose a shorter one, or remove %s from "
                         "options:links-static", config->path, word, n, max,
                         word);
    }
    return NULL;
}

/* Checks what 'config' says of static links for port 'name'.  Whether the
 * ports are there is not looked at, as with other links. */
static char *
check_links_static(const char *name, const struct vpci_config *config)
{
    char *copy = xstrdup(config->links_static);
    char *save_ptr = NULL, *error = NULL;
    unsigned int n = 0;

    for (char *word = strtok_r(copy, ", ", &save_ptr); word && !error;
         word = strtok_r(NULL, ", ", &save_ptr)) {
        if (strcmp(word, name)) {
            error = check_static_name(word, config);
            n++;
        }
    }
    free(copy);
    if (!error && (!n || n > VPCI_LINKS_MAX)) {
        error = xasprintf("options:links-static=%s: there %s %u port%s but "
                          "this one in it, and a port has 1 to %d static "
                          "links: " LINKS_STATIC_WANTED,
                          config->links_static, n == 1 ? "is" : "are", n,
                          n == 1 ? "" : "s", VPCI_LINKS_MAX);
    }
    return error;
}

/* Checks what 'config' says of links for port 'name'.  Guests find the socket
 * of a link beside that of its port, by ".link" and its number. */
char *
vpci_config_check_links(const char *name, const struct vpci_config *config)
{
    size_t max = (sizeof ((struct sockaddr_un *) NULL)->sun_path
                  - sizeof ".link4294967295");
    char *error = NULL;

    if (config->mode != VPCI_MODE_IVSHMEM && config->links_min_rate) {
        return xasprintf("options:links-min-rate=%"PRIu32": links are for "
                         "device vpci-net: use options:ivshmem-path, or "
                         "remove options:links-min-rate",
                         config->links_min_rate);
    } else if (!config->links && !config->links_static) {
        return NULL;
    } else if (config->mode != VPCI_MODE_IVSHMEM) {
        const char *key = config->links ? "links" : "links-static";

        return xasprintf("options:%s=%s: links are for device vpci-net: "
                         "use options:ivshmem-path, or remove options:%s", key,
                         config->links ? config->links : config->links_static,
                         key);
    } else if (strlen(config->path) > max) {
        return xasprintf("options:ivshmem-path: path too long, %"PRIuSIZE
                         " bytes where the sockets of links leave room for "
                         "%"PRIuSIZE": choose a shorter one, or "
                         "%s: %s", strlen(config->path), max,
                         config->links ? "options:links=off"
                         : "remove options:links-static", config->path);
    }
    if (config->links && strcmp(config->links, "auto")) {
        error = check_links_list(name, config->links);
    }
    return (error || !config->links_static ? error
            : check_links_static(name, config));
}
