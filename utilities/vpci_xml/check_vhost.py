# SPDX-License-Identifier: Apache-2.0
"""Interfaces of type vhostuser, by themselves."""
from .findings import error, warning

# Of a UNIX socket's address.
MAX_PATH = 107
MODELS = "virtio", "virtio-transitional", "virtio-non-transitional"
MAX_PAIRS = 16


def interfaces(context):
    """All of them."""
    for interface in context.domain.interfaces:
        for check in (_source, _model, _queues, _reconnect, _iommu):
            yield from check(interface)


def path_fault(path):
    """What is wrong with the path of a socket, or None."""
    n = len(path.encode())
    if not path.startswith("/"):
        return f"path='{path}' is no absolute path"
    if n > MAX_PATH:
        return (f"its path has {n} bytes, and a UNIX socket's has at most "
                f"{MAX_PATH}")
    if not path.isprintable() or '"' in path:
        return f"path='{path}' has characters that no path should have"
    return None


def _source(interface):
    wanted = ("<source type='unix' path='PATH' mode='server'/>, or "
              "mode='client', with the path that the port's option names")
    todo = "see what 'vpci-xml port PORT' prints for the port"
    where = interface.where()
    if not interface.has_source:
        yield error("source", where, "it has no <source>", wanted, todo)
        return
    if interface.kind != "unix":
        yield error("source", where,
                    f"<source> has type='{interface.kind}', which is no "
                    "UNIX socket", wanted, todo)
    fault = path_fault(interface.path)
    if fault:
        yield error("path", where, fault, wanted, todo)
    if interface.mode not in ("server", "client"):
        yield error("source", where,
                    f"<source> has mode='{interface.mode}'"
                    if interface.mode else "<source> has no mode",
                    wanted, todo)


def _model(interface):
    if interface.model not in MODELS:
        seen = (f"its model is '{interface.model}'" if interface.model
                else "it has no <model>, so that libvirt chooses one")
        yield error("model", interface.where(),
                    f"{seen}; only virtio speaks vhost-user",
                    "<model type='virtio'/>",
                    "replace <model>; the guest needs a virtio network "
                    "driver")


def _queues(interface):
    n = interface.queues()
    if n is None or not 1 <= n <= MAX_PAIRS:
        yield error("queues", interface.where(),
                    f"<driver> has queues='{interface.queues_text}'",
                    f"a number of queue pairs from 1 to {MAX_PAIRS}",
                    "correct it, or leave it out for 1")


def _reconnect(interface):
    if interface.mode == "client" and not interface.reconnects:
        yield warning(
            "reconnect", interface.where(),
            "QEMU connects (mode='client'), and has no <reconnect>: after a "
            "restart of the switch the guest has no network until it is "
            "started anew", "<reconnect enabled='yes' timeout='1'/> in "
            "<source>", "add it; or let the guest listen, which libvirt calls "
            "mode='server', and the port has options:vhost-server-path")
    if interface.mode == "server" and interface.reconnects:
        yield error(
            "reconnect", interface.where(),
            "QEMU listens (mode='server'), and has <reconnect>, which libvirt "
            "refuses", "no <reconnect> in <source>",
            "remove it: the switch connects again by itself")


def _iommu(interface):
    if interface.iommu == "on":
        yield error("iommu", interface.where(),
                    "<driver> has iommu='on'; the switch cannot use an IOMMU "
                    "of the guest", "no iommu in <driver>",
                    "remove it, for this interface")
