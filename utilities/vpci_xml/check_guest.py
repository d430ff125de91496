# SPDX-License-Identifier: Apache-2.0
"""The domain itself: its machine, its memory."""
from .findings import error, warning

MEMORY_XML = """
  <memoryBacking>
    <source type='memfd'/>
    <access mode='shared'/>
  </memoryBacking>"""


def machine(context):
    """Root ports, at which shmem devices come and go, need q35."""
    domain = context.domain
    if not domain.doorbells() or domain.arch not in (None, "x86_64"):
        return
    kind = domain.machine or "pc"
    if kind != "q35" and not kind.startswith("pc-q35"):
        seen = (f"machine type '{kind}'" if domain.machine else
                "no machine type, which makes it 'pc'")
        yield warning(
            "machine", domain.where(),
            f"{seen} has no PCI Express, and so no root ports that shmem "
            "devices could be plugged in at",
            "<type machine='q35'>hvm</type> in <os>",
            "make the domain anew with machine='q35'; the machine type of a "
            "guest that is installed already changes the addresses of all of "
            "its devices")


def _backing(domain):
    return domain.root.find("memoryBacking")


def _cells(domain):
    return domain.root.findall("cpu/numa/cell")


def is_shared(domain):
    """Whether all of the guest's memory is, as the XML says."""
    backing = _backing(domain)
    access = None if backing is None else backing.find("access")
    default = None if access is None else access.get("mode")
    cells = _cells(domain)
    modes = {cell.get("memAccess", default) for cell in cells} or {default}
    return modes == {"shared"}


def backing_type(domain):
    """The type of <source>, or None."""
    source = domain.root.find("memoryBacking/source")
    return None if source is None else source.get("type")


def _source(domain):
    """What the memory is made of: hugepages, or the type of <source>."""
    backing = _backing(domain)
    if backing is None:
        return None
    if backing.find("hugepages") is not None:
        return "hugepages"
    return backing_type(domain)


def _how_private(domain):
    """Why the memory is not shared."""
    for cell in _cells(domain):
        mode = cell.get("memAccess")
        if mode and mode != "shared":
            return f"NUMA cell {cell.get('id', '?')} has memAccess='{mode}'"
    backing = _backing(domain)
    if backing is None:
        return "there is no <memoryBacking>"
    access = backing.find("access")
    if access is None:
        return "<memoryBacking> has no <access>"
    return f"<memoryBacking> has <access mode='{access.get('mode')}'/>"


def shared_memory(context):
    """The switch reads and writes the memory of guests with vhost-user."""
    domain = context.domain
    if not domain.interfaces:
        return
    wanted = "memory that QEMU can give to the switch"
    if not is_shared(domain):
        yield error(
            "memory", domain.where(),
            f"its memory is private, since {_how_private(domain)}: no packet "
            "would get through an <interface type='vhostuser'>", wanted,
            "put this into <domain>, and remove memAccess from NUMA cells:"
            + MEMORY_XML)
        return
    source = _source(domain)
    if source == "anonymous":
        yield error(
            "memory-source", domain.where(),
            "its memory is anonymous, which nobody else can map", wanted,
            "in <memoryBacking>, replace <source type='anonymous'/> by "
            "<source type='memfd'/>")
    elif source not in ("memfd", "hugepages"):
        yield warning(
            "memory-source", domain.where(),
            "its memory is a file of libvirt's, by default below "
            "/var/lib/libvirt/qemu/ram; the switch takes files only of a "
            "tmpfs or hugetlbfs", wanted,
            "in <memoryBacking>, have <source type='memfd'/>")


def vectors_without_kvm(context):
    """QEMU 7.2 crashes if a vhost-user device has MSI-X under TCG."""
    domain = context.domain
    if domain.type != "qemu":
        return
    for interface in domain.interfaces:
        vectors = domain.property(interface, "virtio-net-pci", "vectors")
        if vectors == "0":
            continue
        alias = interface.alias or "ua-vpci-net0"
        seen = ("no property 'vectors' is set" if vectors is None
                else f"property vectors={vectors}")
        yield error(
            "tcg-vectors", interface.where(),
            f"domain type 'qemu' (no KVM), and {seen}: QEMU 7.2 crashes when "
            "a vhost-user device has MSI-X without KVM",
            "property vectors=0 of that device",
            f"give the interface <alias name='{alias}'/>, <domain> the "
            "attribute xmlns:qemu='http://libvirt.org/schemas/domain/qemu/"
            "1.0', and put this into <domain>:" + override(
                alias, "vectors", 0))


def override(alias, name, value):
    """The XML that sets a property of the device with 'alias'."""
    return f"""
  <qemu:override>
    <qemu:device alias='{alias}'>
      <qemu:frontend>
        <qemu:property name='{name}' type='unsigned' value='{value}'/>
      </qemu:frontend>
    </qemu:device>
  </qemu:override>"""
