# SPDX-License-Identifier: Apache-2.0
"""Domains one of which drives the virtio-net rings of the other: the borrower
has a device with the memory of the owner (PEERS in vpci(7))."""
from . import check_guest
from .check_shmem import fits, needed_reserve, peer_size, round_up
from .findings import error, note, warning


def device(shmem, port):
    """What is wrong with 'shmem', at the path of the peer of 'port'."""
    if not port.peer():
        yield error(
            "no-peer", shmem.where(),
            "its path is one for the memory of a peer, and "
            f"{port.where()} has no options:peer: nobody will ever listen "
            "there", "options:peer=OWNER of the port, or no such device",
            "remove the device; or, if the guest is to read and write all of "
            f"the memory of OWNER's, 'ovs-vsctl set Interface {port.name} "
            "options:peer=OWNER options:trust-peer=true'")
    elif port.peer_problem():
        yield warning(
            "peer-problem", shmem.where(),
            f"of port {port.name} the switch says: {port.peer_problem()}",
            f"a device with the memory of the guest of port {port.peer()}",
            "mend that; see PEERS in vpci(7)")


def missing(context):
    """Who may drive the rings of a peer has a device with its memory, or room
    for it."""
    domain, switch = context.domain, context.switch
    if not switch:
        return
    at = {port.name for port in map(switch.borrower_at, domain.paths())
          if port}
    for port in filter(None, map(switch.at, domain.paths())):
        if port.peer() and port.name not in at:
            yield _missing(context, port)


def _missing(context, port):
    domain, size = context.domain, peer_size(context, port)
    seen = (f"{port.where()} has options:peer={port.peer()}, and no shmem "
            f"device is at {port.peer_path()}")
    room = [p for p in domain.free_root_ports() if fits(domain, p, size)]
    if room:
        doubt = "" if size else ", if there is room for all of that memory"
        return note("peer-device", domain.where(),
                    f"{seen}: vpci-linkd can plug it in, at root port "
                    f"{room[0].index}{doubt}", "",
                    "start vpci-linkd; or see what 'vpci-xml port "
                    f"{port.name}' prints")
    reserve = (f"pref64-reserve={needed_reserve(size)}" if size else
               "a pref64-reserve twice as large as the memory of the guest of "
               f"port {port.peer()}")
    return warning(
        "peer-device", domain.where(),
        f"{seen}, nor any free root port with room for it: the guest is never "
        "lent rings", "that device; or, for vpci-linkd to plug it in, a "
        "<controller type='pci' model='pcie-root-port'> with nothing at it, "
        f"and {reserve}",
        f"see what 'vpci-xml port {port.name}' prints; or 'ovs-vsctl remove "
        f"Interface {port.name} options peer trust-peer'")


def others(context):
    """Nobody but the borrower gets the memory of its peer."""
    domain, switch = context.domain, context.switch
    devices = domain.vhost_user_devices()
    for port in map(switch.at, domain.paths()) if switch else ():
        if port and port.peer() and devices:
            yield error(
                "peer-others", domain.where(),
                f"{port.where()} has options:peer={port.peer()}, and there "
                f"are vhost-user devices: {', '.join(devices)}; QEMU gives "
                f"all memory of the guest of port {port.peer()} to who serves "
                "them, too, and the switch lends no rings if that is itself",
                "no vhost-user device in this domain",
                "remove them; or 'ovs-vsctl remove Interface "
                f"{port.name} options peer trust-peer'")


def memory(context):
    """The memory of an owner can be the BAR of a device."""
    domain, switch = context.domain, context.switch
    for interface in domain.interfaces if switch else ():
        owner = switch.at(interface.path) if interface.path else None
        borrower = switch.borrower_of(owner) if owner else None
        if borrower and check_guest.is_shared(domain):
            yield from _several_files(domain, owner, borrower)
            yield from _odd_size(domain, owner, borrower)


def _why(owner, borrower):
    return (f"port {borrower.name} has options:peer={owner.name}, and its "
            "guest gets this memory as one device")


def _several_files(domain, owner, borrower):
    parts = []
    cells = len(domain.root.findall("cpu/numa/cell"))
    devices = len(domain.root.findall("devices/memory"))
    if cells > 1:
        parts.append(f"{cells} NUMA cells")
    if devices:
        parts.append(f"{devices} <memory> devices")
    if domain.shmems:
        parts.append(f"{len(domain.shmems)} <shmem> devices")
    if parts:
        yield error(
            "peer-memory", domain.where(),
            f"{_why(owner, borrower)}, but it is in several files, since "
            f"there are {' and '.join(parts)}: no rings are lent",
            "one NUMA cell, or none, and neither <memory> nor <shmem> "
            "devices: then all memory is in one file",
            f"remove them; or 'ovs-vsctl remove Interface {borrower.name} "
            "options peer trust-peer'")


def _odd_size(domain, owner, borrower):
    size = domain.memory
    if (not size or size == round_up(size)
            or check_guest.backing_type(domain) != "memfd"):
        return
    kib = round_up(size) >> 10
    yield error(
        "peer-memory", domain.where(),
        f"{_why(owner, borrower)}, but has {size} bytes, which is no power of "
        "two, in a memfd, which libvirt makes so that it cannot grow: no "
        "rings are lent", f"{round_up(size)} bytes, or half as many; or "
        "<hugepages/> instead of <source type='memfd'/>, in files that grow",
        f"have <memory unit='KiB'>{kib}</memory>, and <currentMemory> like "
        "it")
