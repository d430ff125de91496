# SPDX-License-Identifier: Apache-2.0
"""What a domain finds on its host: sockets, who may use them, who has to be
there first."""
import grp
import os
import pwd
import re
import shlex
import stat

from .check_vhost import path_fault
from .domain import Interface
from .findings import error, note, warning
from .switch import IVSHMEM, PEER, is_peer_path

QEMU_CONF = "/etc/libvirt/qemu.conf"
# As distributions have them, if nobody says otherwise.
USUAL_USERS = "libvirt-qemu", "qemu"
APPARMOR_RULES = "/etc/apparmor.d/local/abstractions/libvirt-qemu"


class User:
    """As whom QEMU runs."""

    def __init__(self, text, group=None):
        numeric = text.lstrip("+")
        self.gids = [_gid(group)] if group else []
        try:
            entry = (pwd.getpwuid(int(numeric)) if numeric.isdigit()
                     else pwd.getpwnam(text))
        except (KeyError, OverflowError):
            if not numeric.isdigit():
                raise
            self.name, self.uid = numeric, int(numeric)
            return
        self.name, self.uid = entry.pw_name, entry.pw_uid
        self.gids += os.getgrouplist(entry.pw_name, entry.pw_gid)

    def may(self, bits, path):
        """Whether permission 'bits' (of 0 to 7) holds for 'path'.  What an
        access control list says is not known here, and taken for a yes."""
        st = os.stat(path)
        shift = (6 if st.st_uid == self.uid else
                 3 if st.st_gid in self.gids else 0)
        return (self.uid == 0 or bits & ~(st.st_mode >> shift) == 0
                or _has_acl(path))


def _gid(text):
    """The id of a group, or -1."""
    numeric = text.lstrip("+")
    try:
        return int(numeric) if numeric.isdigit() else grp.getgrnam(text).gr_gid
    except KeyError:
        return -1


def _has_acl(path):
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False


def _users_said(context):
    """(user, group) from where it may be said, the most certain first."""
    if context.qemu_user:
        yield context.qemu_user, None
        return
    for label in context.domain.root.findall("seclabel"):
        text = label.findtext("label") or ""
        if label.get("model") == "dac" and ":" in text:
            yield tuple(text.strip().split(":", 1))
    match = re.search(r'^\s*user\s*=\s*"([^"]+)"', _read(QEMU_CONF),
                      re.MULTILINE)
    if match:
        yield match.group(1), None
    for name in USUAL_USERS:
        yield name, None


def _qemu_user(context):
    """As whom QEMU will run, or None if that is not known."""
    for text, group in _users_said(context):
        try:
            return User(text, group)
        except KeyError:
            continue
    return None


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read(1 << 20)
    except OSError:
        return ""


def _obstacle(path, user):
    """What keeps 'user' from connecting to the socket 'path', or None."""
    parts = os.path.realpath(path).split("/")
    for i in range(1, len(parts)):
        directory = "/".join(parts[:i]) or "/"
        if not user.may(1, directory):
            return f"search directory {directory}"
    return None if user.may(2, path) else "write to it"


def sockets(context):
    """The sockets that should be there are, and QEMU may connect."""
    if not context.host:
        return
    user = _qemu_user(context)
    for device in context.domain.devices():
        if not device.path or path_fault(device.path):
            continue
        try:
            yield from _socket(context, device, user)
        except OSError as why:
            yield note("socket-unknown", device.where(),
                       f"its socket cannot be looked at: {why.strerror}")


def _socket(context, device, user):
    path = device.path
    listens = isinstance(device, Interface) and device.mode == "server"
    if not os.path.exists(path):
        yield from _no_socket(context, device, listens)
    elif not stat.S_ISSOCK(os.stat(path).st_mode):
        yield error("no-socket", device.where(),
                    f"{path} is there, and is no socket",
                    "the socket that the port's option names",
                    "correct the path, or remove that file")
    elif not listens and user and _obstacle(path, user):
        st = os.stat(path)
        directory = shlex.quote(os.path.dirname(path))
        yield error(
            "permission", device.where(),
            f"QEMU runs as user {user.name}, who cannot "
            f"{_obstacle(path, user)}: {path} has mode "
            f"{stat.S_IMODE(st.st_mode):04o}, user {st.st_uid} and group "
            f"{st.st_gid}", "the right to search its directories and to "
            f"write to it, for user {user.name}",
            "give the directory that user's group and the set-group-ID bit, "
            "and who makes the socket a umask of 007; or the directory a "
            f"default ACL: 'setfacl -m d:u:{user.name}:rwx {directory}', and "
            "add the port anew; for the socket as it is, 'setfacl -m "
            f"u:{user.name}:rw {shlex.quote(path)}'; or "
            f"say who QEMU is with --qemu-user or in {QEMU_CONF}")


def _no_socket(context, device, listens):
    directory = os.path.dirname(device.path)
    if listens and not os.path.isdir(directory):
        yield error("no-directory", device.where(),
                    f"there is no directory {directory}, for QEMU to make its "
                    "socket in", "that directory",
                    f"'mkdir {directory}', in a way that lasts: see "
                    "tmpfiles.d(5) if it is below /run")
    elif _is_peer(context, device) and not context.domain.is_running:
        owner = _owner(context, device)
        yield warning(
            "no-socket", device.where(),
            f"nothing is at {device.path}: the domain would not start",
            f"the memory of the guest of {owner} there, which vpcid serves as "
            "soon as that guest is", f"start the machine of {owner} before "
            "this domain")
    elif not listens and not context.domain.is_running:
        who = ("ovs-vswitchd" if isinstance(device, Interface)
               else "vpcid, the keeper,")
        yield warning(
            "no-socket", device.where(),
            f"nothing is at {device.path}: the domain would not start, or "
            "wait",
            f"{who} listening there",
            f"start {who.rstrip(',')}, and add the port, before the domain")


def _is_peer(context, device):
    """Whether 'device' is one with the memory of a peer."""
    return (not isinstance(device, Interface) and is_peer_path(device.path)
            and not (context.switch and context.switch.at(device.path)))


def _owner(context, shmem):
    """How texts call the port whose guest's memory is to be at 'shmem'."""
    switch = context.switch
    port = switch.borrower_at(shmem.path) if switch else None
    return f"port {port.peer()}" if port and port.peer() else "its peer"


def _seclabel_model(context, model, is_active):
    """Whether the domain is confined by 'model'."""
    labels = context.domain.root.findall("seclabel")
    mine = [e for e in labels if e.get("model") == model]
    if any(e.get("type") == "none" for e in labels
           if e.get("model") in (None, model)):
        return False
    return bool(mine) or (context.host and is_active())


def _apparmor_is_active():
    return _read("/sys/module/apparmor/parameters/enabled").startswith("Y")


def _selinux_is_active():
    return _read("/sys/fs/selinux/enforce").strip() == "1"


def _rules(context):
    """What AppArmor has to allow that libvirt may not have allowed itself."""
    for device in context.domain.devices():
        path = device.path
        if path and not path_fault(path):
            real = os.path.realpath(path)
            yield f'"{real}" rw,'
            if not isinstance(device, Interface) \
                    and not _is_peer(context, device):
                yield f'"{real}.link*" rw,'
            port = context.switch.at(path) if context.switch else None
            if port and port.peer():
                yield f'"{real}{PEER}" rw,'


def apparmor(context):
    """Paths that QEMU's profile has to have."""
    if not _seclabel_model(context, "apparmor", _apparmor_is_active):
        return
    there = _read(APPARMOR_RULES) if context.host else ""
    rules = [rule for rule in dict.fromkeys(_rules(context))
             if rule not in there]
    if rules:
        yield note(
            "apparmor", context.domain.where(),
            "AppArmor confines QEMU.  When a domain starts libvirt allows the "
            "sockets that are in its XML, but none that is plugged in later, "
            "such as those of links",
            f"these lines in {APPARMOR_RULES}, or wider ones:\n  "
            + "\n  ".join(rules),
            "add them, and start the domain anew; 'dmesg | grep DENIED' shows "
            "what is refused")


def selinux(context):
    """Sockets that QEMU's domain has to reach."""
    if not _seclabel_model(context, "selinux", _selinux_is_active):
        return
    paths = [d.path for d in context.domain.devices() if d.path]
    yield note(
        "selinux", context.domain.where(),
        "SELinux confines QEMU (svirt): policy decides whether it may connect "
        f"to who listens on {', '.join(paths)}, and write to these files",
        "a policy that lets type svirt_t connect to the types of vpcid and "
        "ovs-vswitchd, as 'ps -Z' shows them, and a label of the directory of "
        "the sockets ('semanage fcontext') that svirt_t may write to",
        "look for what is refused, 'ausearch -m AVC -ts recent', and allow "
        "that; or leave this domain unconfined, by <seclabel type='none' "
        "model='selinux'/>")


def order(context):
    """Who has to be there before the domain starts."""
    for device in context.domain.devices():
        if not isinstance(device, Interface):
            if _is_peer(context, device):
                yield _peer_order(_owner(context, device), device)
                continue
            yield note("order", device.where(),
                       "QEMU waits, before the guest starts, until the keeper "
                       "has sent the memory: vpcid and the port have to be "
                       "there before, and vpcid as long as the guest; the "
                       "switch may come later")
            yield from _keeper(context.switch, device)
        elif device.mode == "client":
            yield note("order", device.where(),
                       "QEMU connects: the switch has to listen before the "
                       "domain starts")
        elif device.mode == "server":
            yield note("order", device.where(),
                       "QEMU waits, before the guest starts, until the switch "
                       "has connected; either may be there first")


def _peer_order(owner, shmem):
    return note("order", shmem.where(),
                f"the machine of {owner} has to run before: only then is its "
                "memory there, and QEMU does not start without.  When that "
                "machine begins anew, this device has to be unplugged and "
                "plugged in again, which vpci-linkd does")


def _keeper(switch, shmem):
    port = switch.at(shmem.path) if switch and shmem.path else None
    if not port or port.option != IVSHMEM:
        return
    if port.status.get("keeper") == "disconnected":
        yield warning("no-keeper", shmem.where(),
                      f"port {port.name} has no keeper: QEMU would wait for "
                      "ever, or not start", "vpcid, connected to the switch",
                      "start it: 'vpcid --detach --pidfile --log-file'")
    elif port.status.get("problem"):
        yield warning("no-region", shmem.where(),
                      f"port {port.name} has no region: "
                      f"{port.status['problem']}", "a region",
                      "see vpcid's log")


def migration(context):
    """Shmem devices stay where they are."""
    for shmem in context.domain.doorbells():
        yield note("migration", shmem.where(),
                   "while it is plugged in, the domain can neither be "
                   "migrated nor saved with its memory: unplug it before "
                   "('virsh detach-device'), and plug one in again afterwards")
