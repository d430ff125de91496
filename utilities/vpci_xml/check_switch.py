# SPDX-License-Identifier: Apache-2.0
"""Devices of a domain beside the ports of the switch."""
import re
import shlex

from . import check_peer
from .check_shmem import fits, needed_reserve
from .domain import Interface
from .findings import error, warning
from .switch import IVSHMEM, LISTEN, MODES, SERVER, spell

LINK = re.compile(r"(.*)\.link(\d+)")
STATIC_LINK = re.compile(r"(.*?)\.to-([^/]*)")


def devices(context):
    """Each device has the port that it should have."""
    if not context.switch:
        return
    for interface in context.domain.interfaces:
        if interface.path:
            yield from _interface(context.switch, interface)
    for shmem in context.domain.doorbells():
        if shmem.path:
            yield from _shmem(context, shmem)
    yield from _static_links_without_device(context)


def _no_port(switch, device, options):
    known = sorted(p.path for p in switch.ports.values()
                   if p.option in options)
    return error(
        "no-port", device.where(),
        f"no port of the switch has the socket {device.path}",
        "the path of " + " or ".join(f"options:{o}" for o in options)
        + f" of a port; there are: {', '.join(known) or 'none'}",
        "correct the path, or add a port: 'ovs-vsctl add-port BRIDGE PORT -- "
        f"set Interface PORT type=vpci options:{options[0]}="
        f"{shlex.quote(device.path)}'; "
        "with --no-switch this is not looked at")


def _port_error(device, port):
    if port.error:
        yield error("port-error", device.where(),
                    f"port {port.name} has an error: {port.error}",
                    "a port without an error",
                    f"mend it: 'ovs-vsctl get Interface {port.name} options "
                    "error'")


def _interface(switch, interface):
    port = switch.at(interface.path)
    if not port:
        yield _no_port(switch, interface, (SERVER, LISTEN))
        return
    yield from _port_error(interface, port)
    wanted = MODES.get(port.option)
    if not wanted:
        yield error(
            "mode", interface.where(),
            f"{port.where()} is no port of vhost-user: its guest has a "
            "<shmem> device", "what 'vpci-xml port "
            f"{port.name}' prints", "replace the interface by that; or have "
            f"the port options:{SERVER} instead of options:{IVSHMEM}")
    elif interface.mode != wanted:
        who = "connects" if port.option == SERVER else "listens"
        yield error(
            "mode", interface.where(),
            f"mode='{interface.mode}', and {port.where()} {who} as well",
            f"mode='{wanted}'", f"change mode to '{wanted}' in <source>; or "
            f"the port's option to "
            f"{LISTEN if port.option == SERVER else SERVER}")
    queues = interface.queues() or 0
    if wanted and queues > port.max_queues():
        yield error(
            "port-queues", interface.where(),
            f"queues='{queues}', and {port.where()} takes "
            f"{port.max_queues()}", f"at most {port.max_queues()}",
            f"'ovs-vsctl set Interface {port.name} options:n_rxq={queues}', "
            "or fewer queues in <driver>")


def _link(context, shmem):
    """A link's socket is there once, for one guest."""
    match = LINK.fullmatch(shmem.path)
    if not match:
        return None
    port = context.switch.at(match.group(1))
    return port if port and port.option == IVSHMEM else None


def _shmem(context, shmem):
    if _link(context, shmem):
        if not context.domain.is_running:
            yield warning(
                "link", shmem.where(),
                "it is a link, which ends with the guest, and is never there "
                "again: the domain would not start", "links plugged into "
                "running domains only",
                "remove the device; 'virsh attach-device --live' plugs it in "
                "while the guest runs")
        return
    borrower = context.switch.borrower_at(shmem.path)
    if borrower:
        yield from _port_error(shmem, borrower)
        yield from check_peer.device(shmem, borrower)
        yield from _vectors(shmem, borrower.peer_vectors(),
                            f"the memory of the peer of {borrower.where()}")
        return
    port = context.switch.at(shmem.path)
    link = context.switch.static_at(shmem.path)
    if not port and link:
        yield from _vectors(shmem, link.vectors,
                            f"the region of the link with port {link.port}")
        return
    if not port and _static_port(context, shmem):
        yield _no_static_link(shmem, *_static_port(context, shmem))
        return
    if not port:
        yield _no_port(context.switch, shmem, (IVSHMEM,))
        return
    yield from _port_error(shmem, port)
    if port.option != IVSHMEM:
        yield error(
            "mode", shmem.where(),
            f"{port.where()} is one of vhost-user: its guest has an "
            "<interface type='vhostuser'>",
            f"what 'vpci-xml port {port.name}' prints",
            "replace the shmem device by that; or have the port "
            f"options:{IVSHMEM} instead of options:{port.option}")
        return
    yield from _vectors(shmem, port.vectors(), f"the region of {port.where()}")


def _static_port(context, shmem):
    """The port, and the name of the other one, of whose static link the device
    would be; None if it is no such device."""
    match = STATIC_LINK.fullmatch(shmem.path)
    port = context.switch.at(match.group(1)) if match else None
    return (port, match.group(2)) if port else None


def _no_static_link(shmem, port, other):
    name = shlex.quote(other)
    return error(
        "static-link", shmem.where(),
        f"{port.where()} has no static link with port {other}: the domain "
        "would not start", "options:links-static of both ports that name each "
        "other, and both ports there",
        f"'ovs-vsctl set Interface {port.name} options:links-static={name} "
        f"-- set Interface {name} options:links-static={port.name}', or what "
        "these have now and the other port; or remove the device")


def _missing_static_links(context, port):
    """The switch has not made them."""
    for name in port.missing_static_links():
        yield warning(
            "static-link", context.domain.where(),
            f"options:links-static of {port.where()} names port {name}, and "
            "there is no static link with it: packets between the two go "
            "through the switch",
            "that port, with options:ivshmem-path and an options:links-static "
            f"that names {port.name}",
            f"add it, or 'ovs-vsctl set Interface {name} "
            f"options:links-static={port.name}', beside what it names now; "
            f"or remove {name} from options:links-static of {port.name}")


def _static_links_without_device(context):
    """Nobody plugs in the device of a static link."""
    paths = {spell(s.path) for s in context.domain.doorbells() if s.path}
    for port in map(context.switch.at, sorted(paths)):
        if not port:
            continue
        yield from _missing_static_links(context, port)
        for link in port.static_links():
            if spell(link.path) not in paths:
                yield warning(
                    "static-link", context.domain.where(),
                    f"{port.where()} has a static link with port {link.port}, "
                    "and no device is at its socket: packets between the two "
                    "go through the switch",
                    f"a shmem device with <server path='{link.path}'/> and "
                    f"vectors='{link.vectors}'",
                    f"see what 'vpci-xml port {port.name}' prints; or remove "
                    f"{link.port} from options:links-static of {port.name}")


def _vectors(shmem, wanted, of):
    """'shmem' has as many as what is served there, which is called 'of'."""
    seen = shmem.vectors()
    if not wanted or not seen or seen == wanted or not shmem.has_msi:
        return
    text = f"vectors='{seen}', and {of} has {wanted}"
    todo = f"<msi vectors='{wanted}' ioeventfd='on'/>"
    if seen < wanted:
        yield error("port-vectors", shmem.where(),
                    f"{text}: the guest loses the signals for which there is "
                    "no vector, which QEMU's log calls 'Too many eventfd "
                    "received'", f"vectors='{wanted}'", todo)
    else:
        yield warning("port-vectors", shmem.where(),
                      f"{text}: the rest are never signalled",
                      f"vectors='{wanted}'", todo)


def largest_region(switch, port):
    """Bytes of the largest base region of 'port' and those that it may have
    links with, which no link of theirs is larger than; None if that is not
    known."""
    sizes = [p.region_size() for p in switch.ports.values()
             if p is port or (p.option == IVSHMEM and p.links() != "off")]
    return max((s for s in sizes if s), default=None)


def room_for_links(context):
    """A link is one more device, plugged in while the guest runs."""
    domain, switch = context.domain, context.switch
    if not switch:
        return
    ports = [switch.at(s.path) for s in domain.doorbells() if s.path]
    ports = [p for p in ports if p and p.plugged_links() != 0]
    if not ports:
        return
    port = ports[0]
    size = max(filter(None, (largest_region(switch, p) for p in ports)),
               default=None)
    free = domain.free_root_ports()
    if any(fits(domain, each, size) for each in free):
        return
    reserve = needed_reserve(size or 0)
    seen = ("no root port is free" if not free else "no root port that is "
            f"free ({', '.join(str(p.index) for p in free)}) has a "
            "pref64-reserve that is large enough")
    yield warning(
        "no-room-for-links", domain.where(),
        f"{port.where()} has options:links={port.links()}, and {seen}: the "
        "guest can have no link", "a <controller type='pci' "
        "model='pcie-root-port'> for each link, with nothing at it, and "
        f"pref64-reserve={reserve}",
        f"see what 'vpci-xml port {port.name}' prints; or 'ovs-vsctl set "
        f"Interface {port.name} options:links=off'")


def paths_used_twice(domains):
    """Returns (domain, finding) for each socket that two devices have."""
    users, found = {}, []
    for domain in domains:
        for device in domain.devices():
            if not device.path:
                continue
            first = users.setdefault(spell(device.path), (domain, device))
            if first[1] is not device:
                found.append((domain, _used_twice(domain, device, *first)))
    return found


def _used_twice(domain, device, other_domain, other):
    kind = "interface" if isinstance(other, Interface) else "shmem device"
    place = ("this domain" if other_domain is domain
             else other_domain.where())
    return error(
        "path-twice", device.where(),
        f"another {kind}, of {place}, has the socket {device.path} as well",
        "a socket, and a port, for each device",
        "add a port with a socket of its own for one of them")
