/* SPDX-License-Identifier: Apache-2.0 */

#ifndef NETDEV_VPCI_MATCH_H
#define NETDEV_VPCI_MATCH_H 1

/* Matches of megaflows as masks and keys of steering tables. */

struct match;
union vpci_key;

/* Translates 'match' of a flow whose packets come straight from a vpci port.
 *
 * Returns null and fills in '*mask' and '*key', or returns the name of the
 * first field that a steering table does not know, as ovs-fields(7) has it. */
const char *vpci_match_to_key(const struct match *match,
                              union vpci_key *mask, union vpci_key *key);

/* Tags that Open vSwitch takes for tags, as far as keys have them. */
unsigned int vpci_max_vlans(void);

#endif /* netdev-vpci-match.h */
