# SPDX-License-Identifier: Apache-2.0
"""Shmem devices, and the root ports that they are at."""
from . import check_guest
from .check_vhost import path_fault
from .domain import parse_size
from .findings import error, note, warning

MAX_VECTORS = 32
# A BAR that QEMU makes is a power of two from 4 KiB; firmware gives bridges
# prefetchable memory in pieces of 1 MiB.
MIN_RESERVE = 1 << 20


def devices(context):
    """Each by itself."""
    for shmem in context.domain.shmems:
        if shmem.model != "ivshmem-doorbell":
            yield _other_model(context, shmem)
            continue
        for check in (_server, _vectors, _ioeventfd):
            yield from check(shmem)


def _other_model(context, shmem):
    """Others may be there for something else."""
    wanted = "<model type='ivshmem-doorbell'/> with <server path='PATH'/>"
    switch = context.switch
    is_ours = shmem.has_server or (switch and shmem.name in switch.ports)
    seen = (f"its model is '{shmem.model or 'ivshmem'}', which has no server "
            "and no signals")
    if is_ours:
        return error("shmem-model", shmem.where(), seen, wanted,
                     "replace <model>; see what 'vpci-xml port PORT' prints "
                     "for the port")
    return note("shmem-model", shmem.where(),
                f"{seen}: no port of type vpci can be behind it; if one "
                "should be, it has to be " + wanted)


def _server(shmem):
    todo = ("use the path that options:ivshmem-path of the port names; see "
            "what 'vpci-xml port PORT' prints for it")
    wanted = "<server path='PATH'/>, where the keeper listens"
    if not shmem.path:
        yield error("shmem-server", shmem.where(),
                    "it has no <server> with a path, so that libvirt takes "
                    f"/var/lib/libvirt/shmem-{shmem.name}-sock", wanted, todo)
    elif path_fault(shmem.path):
        yield error("path", shmem.where(), path_fault(shmem.path), wanted,
                    todo)


def _vectors(shmem):
    n = shmem.vectors()
    wanted = ("<msi vectors='N' ioeventfd='on'/>, where N is status:vectors "
              "of the port")
    todo = ("ask 'ovs-vsctl get Interface PORT status:vectors', or see what "
            "'vpci-xml port PORT' prints")
    if not shmem.has_msi:
        yield error("shmem-msi", shmem.where(),
                    "it has no <msi>, so that the guest has no signals",
                    wanted, todo)
    elif shmem.enabled == "no":
        yield error("shmem-msi", shmem.where(),
                    "<msi> has enabled='no', so that the guest has no signals",
                    wanted, todo)
    elif n is None or not 1 <= n <= MAX_VECTORS:
        yield error("shmem-vectors", shmem.where(),
                    f"<msi> has vectors='{shmem.vectors_text}', and a region "
                    f"has 1 to {MAX_VECTORS}", wanted, todo)


def _ioeventfd(shmem):
    if not shmem.has_msi or shmem.ioeventfd == "on":
        return
    seen = (f"<msi> has ioeventfd='{shmem.ioeventfd}'" if shmem.ioeventfd
            else "<msi> does not say ioeventfd")
    yield warning("shmem-ioeventfd", shmem.where(),
                  f"{seen}: without it each doorbell that the guest rings is "
                  "handled by QEMU's main loop, not by the kernel",
                  "<msi vectors='N' ioeventfd='on'/>", "add ioeventfd='on'")


def addresses(context):
    """Only what is at a root port of its own can be unplugged, and plugged
    again where the guest's firmware has left room."""
    domain = context.domain
    for shmem in domain.doorbells():
        bus = shmem.bus()
        port = domain.root_port(bus)
        if port:
            continue
        if bus is None:
            seen = ("it has no PCI address, so that libvirt puts it "
                    "anywhere")
        else:
            model = domain.controllers.get(bus, "no controller of this domain")
            seen = f"it is at PCI bus {bus}, which is {model}"
        yield warning(
            "shmem-address", shmem.where(),
            f"{seen}: it can neither be unplugged cleanly nor plugged in "
            "again", "an <address type='pci'> at a <controller type='pci' "
            "model='pcie-root-port'>", "see what 'vpci-xml port PORT' prints "
            "for the port: a controller, with an address itself, and the "
            "shmem device at its bus")


def needed_reserve(size):
    """The reserve for a region of 'size' bytes.  The BAR that QEMU makes of it
    lies at a multiple of its size, and what SeaBIOS sets aside may begin
    anywhere: so it fits into twice as much, and maybe not into less."""
    reserve = MIN_RESERVE
    while reserve < 2 * size:
        reserve *= 2
    return reserve


def round_up(size):
    """The power of two that a BAR with 'size' bytes has."""
    return 1 << max(size - 1, 0).bit_length()


def peer_size(context, port):
    """Bytes of the device with the memory of the peer of 'port': as the switch
    says, or as large as the owner's domain if that is looked at as well; None
    if that is not known."""
    owner = context.switch.ports.get(port.peer())
    size = port.peer_size()
    if size or not owner:
        return size
    return next((round_up(domain.memory)
                 for domain in context.domains if domain.memory
                 and any(i.path and context.switch.at(i.path) is owner
                         for i in domain.interfaces)), None)


def _region_sizes(context):
    """Of each root port that matters, with the largest region that has to fit
    there; None where nobody has said how large it is."""
    domain, switch = context.domain, context.switch
    sizes = {}
    for shmem in domain.doorbells():
        root_port = domain.root_port(shmem.bus())
        if root_port:
            sizes[root_port.index] = (root_port, _size_at(context, shmem.path)
                                      if switch and shmem.path else None)
    return sizes


def _size_at(context, path):
    """Bytes of the region at 'path', or None if nobody has said."""
    borrower = context.switch.borrower_at(path)
    if borrower:
        return peer_size(context, borrower)
    link = context.switch.static_at(path)
    port = context.switch.at(path)
    return link.size if link else port.region_size() if port else None


def _reserve_finding(domain, root_port, size):
    """What is wrong with the reserve of 'root_port', or None."""
    text = domain.property(root_port, "pcie-root-port", "pref64-reserve")
    reserve = parse_size(text)
    needed = needed_reserve(size or 0)
    if reserve is not None and reserve >= needed:
        return None
    if text is None:
        seen = "it has no pref64-reserve"
    elif reserve is None:
        seen = f"its pref64-reserve='{text}' is no size"
    else:
        seen = f"its pref64-reserve is {reserve} bytes"
    if size:
        seen += f", and the region that has to fit there has {size}"
    alias = root_port.alias or f"ua-vpci-port{root_port.index}"
    return warning(
        "reserve", root_port.where(),
        f"{seen}: a shmem device that is plugged in there while the guest "
        "runs may have no BAR2, hence no shared memory, and nobody says so",
        "property pref64-reserve of the root port: a power of two, "
        + (f"at least {needed}" if size else
           "at least twice the region's size"),
        f"give the controller <alias name='{alias}'/>, <domain> the attribute "
        "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0', and put "
        "this into <domain>:" + check_guest.override(
            alias, "pref64-reserve", needed if size else "SIZE"))


def reserves(context):
    """Root ports with shmem devices have room for these."""
    for root_port, size in _region_sizes(context).values():
        finding = _reserve_finding(context.domain, root_port, size)
        if finding:
            yield finding


def fits(domain, root_port, size):
    """Whether a region of 'size' bytes can be plugged in at 'root_port'."""
    return _reserve_finding(domain, root_port, size) is None
