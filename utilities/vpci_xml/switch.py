# SPDX-License-Identifier: Apache-2.0
"""What Open vSwitch says of its ports of type vpci."""
import json
import os
import re
import subprocess
from typing import NamedTuple

TIMEOUT = 10
MAX_PAIRS = 16
# Who makes the socket, by the option that names it.
SERVER, LISTEN, IVSHMEM = ("vhost-server-path", "vhost-listen-path",
                           "ivshmem-path")
KINDS = SERVER, LISTEN, IVSHMEM
# The mode of libvirt's interface that goes with an option.
MODES = {SERVER: "server", LISTEN: "client"}
COLUMNS = "name,type,options,status,error,external_ids"
# Behind the path of a port, where the memory of its peer is served.
PEER = ".peer"


class SwitchError(Exception):
    """The switch does not answer, or not what is needed; the message says
    what and how to mend it."""


def spell(path):
    """'path' in the one spelling that has neither symbolic links nor dots.  It
    need not exist."""
    return os.path.realpath(path)


def is_peer_path(path):
    """Whether 'path' looks like one for the memory of a peer."""
    return path.endswith(PEER)


class StaticLink(NamedTuple):
    """A link of a port whose guest has a device for it from the start."""
    port: str                   # At the other end.
    path: str                   # Of its socket.
    size: int                   # Of its region, in bytes.
    vectors: int


class Port:
    """One interface of type vpci."""

    def __init__(self, row):
        self.name = row["name"]
        self.options = row["options"]
        self.status = row["status"]
        self.error = row["error"]
        self.mac = row["external_ids"].get("attached-mac")
        self.option = next((k for k in KINDS if k in self.options), None)
        self.path = self.options.get(self.option, "")

    def max_queues(self):
        """Queue pairs that the guest may have."""
        wanted = self.options.get("n_rxq", "")
        if wanted.isdigit() and 1 <= int(wanted) <= MAX_PAIRS:
            return int(wanted)
        return MAX_PAIRS if self.option == SERVER else 1

    def default_queues(self):
        """Queue pairs that the guest gets if nobody says how many."""
        return self.max_queues() if "n_rxq" in self.options else 1

    def vectors(self):
        """Vectors of the region, or None if the switch does not say."""
        return self._number("vectors")

    def region_size(self):
        """Bytes of the region, or None if the switch does not say."""
        return self._number("region_size")

    def links(self):
        """With whom the guest may have links: "off", "auto" or a list."""
        return self.options.get("links", "off")

    def peer(self):
        """The port whose guest's rings this one's may drive, or None."""
        return self.options.get("peer") if self.option == IVSHMEM else None

    def peer_path(self):
        """The path where the memory of that guest is served."""
        return self.path + PEER

    def peer_vectors(self):
        """Vectors of the device there, or None if the switch does not say."""
        return self._number("peer_vectors")

    def peer_size(self):
        """Bytes of that memory, or None if the switch has not seen it."""
        return self._number("peer_size")

    def peer_problem(self):
        """Why there is no such memory, or None."""
        return self.status.get("peer_problem")

    def static_links(self):
        """Static links, as far as the switch says."""
        found = []
        while f"static_{len(found)}_port" in self.status:
            prefix = f"static_{len(found)}_"
            found.append(StaticLink(self.status[prefix + "port"],
                                    self.status.get(prefix + "socket", ""),
                                    self._number(prefix + "size") or 0,
                                    self._number(prefix + "vectors") or 0))
        return found

    def missing_static_links(self):
        """Names of other ports in options:links-static with which there is no
        static link."""
        there = {link.port for link in self.static_links()}
        return sorted(self._others(self.options.get("links-static", ""))
                      - there)

    def plugged_links(self):
        """How many links may be plugged in while the guest runs, beside static
        ones; None if that is not limited."""
        links = self.links()
        if links == "off":
            return 0
        if links == "auto":
            return None
        static = {link.port for link in self.static_links()}
        return len(self._others(links) - static)

    def where(self):
        """How texts call the port."""
        return f"port {self.name} (options:{self.option}={self.path})"

    def _others(self, ports):
        """The names of other ports in a list of them."""
        return set(re.split("[, ]", ports)) - {self.name, ""}

    def _number(self, key):
        text = self.status.get(key, "")
        return int(text) if text.isdigit() else None


def _plain(value):
    """A value of the database (RFC 7047, 5.1) as one of Python."""
    if not isinstance(value, list) or len(value) != 2:
        return value
    kind, inner = value
    if kind == "map":
        return {_plain(k): _plain(v) for k, v in inner}
    if kind == "set":
        return [_plain(v) for v in inner]
    return inner


def _rows(text):
    """The rows of a table as ovs-vsctl prints it."""
    table = json.loads(text)
    rows = [dict(zip(table["headings"], map(_plain, row)))
            for row in table["data"]]
    for row in rows:
        # An empty set where there may be one value.
        row["error"] = row["error"] if isinstance(row["error"], str) else ""
    return rows


def _ask(db):
    command = ["ovs-vsctl", f"--timeout={TIMEOUT}", "--format=json"]
    if db:
        command.append("--db=" + db)
    command += ["--", "--columns=" + COLUMNS, "list", "Interface"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=2 * TIMEOUT)
    except FileNotFoundError:
        raise SwitchError("there is no program ovs-vsctl here, to ask the "
                          "switch: install openvswitch-common, or put it in "
                          "PATH") from None
    except subprocess.TimeoutExpired:
        raise SwitchError("ovs-vsctl does not end: is the database "
                          "all right?") from None
    if done.returncode:
        text = " ".join(done.stderr.split())
        raise SwitchError(f"the switch does not answer: {text or 'no reason'}"
                          "; is it running, and do --db or OVS_RUNDIR say "
                          "where?")
    return done.stdout


class Switch:
    """All ports, as they are now."""

    def __init__(self, db=None):
        self.types = {}
        self.ports = {}
        try:
            rows = _rows(_ask(db))
        except (ValueError, KeyError, TypeError):
            raise SwitchError("what ovs-vsctl has answered is not "
                              "understood") from None
        for row in rows:
            self.types[row["name"]] = row["type"]
            if row["type"] == "vpci":
                self.ports[row["name"]] = Port(row)
        self.by_path = {spell(port.path): port
                        for port in self.ports.values() if port.path}
        self.static_by_path = {spell(link.path): link
                               for port in self.ports.values()
                               for link in port.static_links()}

    def port(self, name):
        """Returns port 'name', which the switch must have made."""
        if name not in self.types:
            there = ", ".join(sorted(self.ports)) or "none"
            raise SwitchError(f"there is no port {name}; ports of type vpci: "
                              f"{there}")
        if name not in self.ports:
            kind = self.types[name] or "system"
            raise SwitchError(f"port {name} is of type {kind}, wanted: vpci; "
                              f"see 'ovs-vsctl set Interface {name} "
                              "type=vpci' in vpci(7)")
        port = self.ports[name]
        if port.error:
            raise SwitchError(f"port {name} has an error, mend that first: "
                              f"{port.error}")
        if not port.path:
            raise SwitchError(f"port {name} has no socket; wanted: one of "
                              + ", ".join("options:" + k for k in KINDS))
        return port

    def at(self, path):
        """Returns the port whose socket 'path' is, or None."""
        return self.by_path.get(spell(path))

    def borrower_at(self, path):
        """Returns the port for whose guest the memory of a peer would be at
        'path', or None."""
        if not is_peer_path(path) or self.at(path):
            return None
        port = self.at(path[:-len(PEER)])
        return port if port and port.option == IVSHMEM else None

    def borrower_of(self, owner):
        """Returns the port whose guest may drive the rings of that of 'owner',
        or None."""
        return next((port for port in self.ports.values()
                     if port.peer() == owner.name), None)

    def static_at(self, path):
        """Returns the static link whose socket 'path' is, or None."""
        return self.static_by_path.get(spell(path))
