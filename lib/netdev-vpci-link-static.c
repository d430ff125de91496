/* SPDX-License-Identifier: Apache-2.0 */

/* Static links: those of pairs whose guests have devices for them from the
 * start.  They are there as long as both ports are, and name each other in
 * options:links-static. */

#include "netdev-vpci-link-private.h"

#include "smap.h"
#include "vpci/keeper.h"

void
vpci_links_begin_static(long long int now)
    OVS_REQUIRES(links_mutex)
{
    struct vpci_linker *a, *b;

    LIST_FOR_EACH (a, node, &linkers) {
        if (!a->statics || !a->region) {
            continue;
        }
        LIST_FOR_EACH (b, node, &linkers) {
            if (a->region < b->region && vpci_linkers_are_static(a, b)) {
                struct vpci_pair *pair = vpci_pair_get(a, b);

                if (!pair->link && now >= pair->not_before) {
                    vpci_link_begin_static(pair);
                }
            }
        }
    }
}

/* True if base regions have been replaced by others, with which the link has
 * gone.  While the keeper is away that is not known. */
static bool
has_other_regions(const struct vpci_link *link)
    OVS_REQUIRES(links_mutex)
{
    for (int i = 0; i < 2; i++) {
        uint32_t region = link->ends[i].linker->region;

        if (region && region != link->user.base[i]) {
            return true;
        }
    }
    return false;
}

void
vpci_links_look_at_static(struct vpci_pair *pair)
    OVS_REQUIRES(links_mutex)
{
    const struct vpci_linker *a = pair->linkers[0], *b = pair->linkers[1];
    struct vpci_link *link = pair->link;

    if (!vpci_linkers_are_static(a, b)) {
        vpci_link_remove(link, "options:links-static of its ports do not name "
                               "each other any more");
    } else if (has_other_regions(link)) {
        vpci_link_remove(link, "a port has another region");
    } else if ((link->state == VPCI_LINK_OFFERED
                || link->state == VPCI_LINK_UP)
               && !vpci_linkers_may_link(a, b)) {
        vpci_link_end(link, "the ports' options or states do not allow it any "
                            "more");
    }
}

void
vpci_linker_get_status(const struct vpci_linker *linker, struct smap *status)
{
    const struct vpci_linker *other;
    struct vpci_layout layout;
    unsigned int n = 0;

    ovs_mutex_lock(&links_mutex);
    LIST_FOR_EACH (other, node, &linkers) {
        if (!vpci_linkers_are_static(linker, other)
            || !vpci_link_choose_layout(linker, other, true, &layout)) {
            continue;
        }
        smap_add_nocopy(status, xasprintf("static_%u_port", n),
                        xstrdup(vpci_name(other->dev)));
        smap_add_nocopy(status, xasprintf("static_%u_socket", n),
                        xasprintf("%s"VPCI_KEEPER_STATIC_INFIX"%s",
                                  linker->dev->config.path,
                                  vpci_name(other->dev)));
        smap_add_nocopy(status, xasprintf("static_%u_size", n),
                        xasprintf("%"PRIu64, layout.size));
        smap_add_nocopy(status, xasprintf("static_%u_vectors", n),
                        xasprintf("%"PRIu32, layout.shape.n_vectors));
        n++;
    }
    ovs_mutex_unlock(&links_mutex);
}
