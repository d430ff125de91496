# SPDX-License-Identifier: Apache-2.0
"""All checks of domains."""
import json
from typing import NamedTuple, Optional, Sequence

from . import (check_guest, check_host, check_peer, check_shmem,
               check_switch, check_vhost)
from .domain import Domain
from .findings import ERROR, WARNING, note
from .switch import Switch


class Context(NamedTuple):
    """What a domain is looked at beside."""
    domain: Domain
    switch: Optional[Switch]    # None if it is left out, or is not there.
    host: bool                  # Whether sockets of this machine count.
    qemu_user: Optional[str]    # As whom QEMU runs, if that is said.
    domains: Sequence[Domain]   # All that are looked at, this one among them.


CHECKS = (
    check_guest.machine,
    check_guest.shared_memory,
    check_guest.vectors_without_kvm,
    check_vhost.interfaces,
    check_shmem.devices,
    check_shmem.addresses,
    check_shmem.reserves,
    check_switch.devices,
    check_switch.room_for_links,
    check_peer.missing,
    check_peer.others,
    check_peer.memory,
    check_host.sockets,
    check_host.apparmor,
    check_host.selinux,
    check_host.order,
    check_host.migration,
)


def _nothing(domain):
    """A domain without any device of ours has nothing to be checked."""
    return note("no-device", domain.where(),
                "there is no <interface type='vhostuser'> and no <shmem> with "
                "a server: nothing of it concerns vpci")


def _check_one(context):
    if not context.domain.interfaces and not context.domain.shmems:
        return [_nothing(context.domain)]
    return [finding for check in CHECKS for finding in check(context)]


def run(contexts):
    """Returns what is found in all domains, the worst first."""
    found = [(context.domain, finding) for context in contexts
             for finding in _check_one(context)]
    found += check_switch.paths_used_twice([c.domain for c in contexts])
    order = {ERROR: 0, WARNING: 1}
    return sorted(found, key=lambda each: order.get(each[1].severity, 2))


def as_text(found, several, notes):
    """Lines for people.  If there are 'several' domains they are named."""
    shown = [each for each in found if notes or each[1].is_problem()]
    lines = [(f"{domain.where()}:\n" if several and domain else "")
             + finding.as_text() for domain, finding in shown]
    severities = [finding.severity for _, finding in found]
    n = severities.count(ERROR), severities.count(WARNING)
    lines.append("no problems found" if not any(n) else
                 f"{_count(n[0], 'error')}, {_count(n[1], 'warning')}")
    return "\n".join(lines)


def _count(n, what):
    return f"{n} {what}" + ("" if n == 1 else "s")


def as_json(found):
    """One object for programs."""
    findings = [{"domain": domain.name if domain else None,
                 **finding.as_json()} for domain, finding in found]
    problems = sum(finding.is_problem() for _, finding in found)
    return json.dumps({"problems": problems, "findings": findings}, indent=2)
