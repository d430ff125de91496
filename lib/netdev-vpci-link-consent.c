/* SPDX-License-Identifier: Apache-2.0 */

/* Whom ports may have links with, as their options say. */

#include "netdev-vpci-link-private.h"

static bool
is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);

    if (strpbrk(name, ", ")) {
        return false;
    }
    for (const char *p = list; (p = strstr(p, name)); p += n) {
        if ((p == list || p[-1] == ',' || p[-1] == ' ')
            && (!p[n] || p[n] == ',' || p[n] == ' ')) {
            return true;
        }
    }
    return false;
}

bool
vpci_linker_consents(const struct vpci_linker *linker,
                     const struct vpci_linker *other)
{
    const char *name = vpci_name(other->dev);

    return ((linker->statics && is_listed(linker->statics, name))
            || (linker->consent
                && (!strcmp(linker->consent, "auto")
                    || is_listed(linker->consent, name))));
}

char *
vpci_linker_objection(const struct vpci_linker *linker,
                      const struct vpci_linker *other)
    OVS_REQUIRES(links_mutex)
{
    return (vpci_linker_consents(linker, other) ? NULL
            : linker->consent
            ? xasprintf("options:links of %s does not name %s",
                        vpci_name(linker->dev), vpci_name(other->dev))
            : xasprintf("%s has options:links=off", vpci_name(linker->dev)));
}

static bool
is_linker(const char *name)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *linker;

    LIST_FOR_EACH (linker, node, &linkers) {
        if (!strcmp(vpci_name(linker->dev), name)) {
            return true;
        }
    }
    return false;
}

char *
vpci_links_find_nobody(const char *list)
    OVS_REQUIRES(links_mutex)
{
    char *names, *next, *name, *nobody = NULL;

    if (!list || !strcmp(list, "auto")) {
        return NULL;
    }
    names = next = xstrdup(list);
    while (!nobody && (name = strsep(&next, ", "))) {
        if (*name && !is_linker(name)) {
            nobody = xstrdup(name);
        }
    }
    free(names);
    return nobody;
}

/* True if options:links-static of 'linker' names 'other'. */
static bool
names_static(const struct vpci_linker *linker, const struct vpci_linker *other)
{
    return (linker != other && linker->statics
            && is_listed(linker->statics, vpci_name(other->dev)));
}

bool
vpci_linkers_are_static(const struct vpci_linker *a,
                        const struct vpci_linker *b)
{
    return names_static(a, b) && names_static(b, a);
}

char *
vpci_linker_static_objection(const struct vpci_linker *linker,
                             const struct vpci_linker *other)
{
    return (names_static(linker, other) && !names_static(other, linker)
            ? xasprintf("options:links-static of %s names %s, and that of %s "
                        "does not name %s", vpci_name(linker->dev),
                        vpci_name(other->dev), vpci_name(other->dev),
                        vpci_name(linker->dev))
            : NULL);
}
