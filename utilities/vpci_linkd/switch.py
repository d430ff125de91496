# SPDX-License-Identifier: Apache-2.0
"""What Open vSwitch says of links and peers, and of the ports that have
them."""
import json
import os
import subprocess

from .planner import PEER, End

TIMEOUT = 10
# The ports are asked for again after so many looks.
PORTS_EVERY = 5


class SwitchError(Exception):
    """The switch does not answer; the message says what to do."""


def _run(command):
    """Runs a program of Open vSwitch and returns what it prints."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False,
                              timeout=2 * TIMEOUT)
    except FileNotFoundError:
        raise SwitchError(f"there is no program {command[0]} here: install "
                          "openvswitch-switch, or put it in PATH") from None
    except subprocess.TimeoutExpired:
        raise SwitchError(f"{command[0]} does not end") from None
    except (OSError, ValueError) as error:
        raise SwitchError(f"{command[0]}: {error}") from None
    if done.returncode:
        said = " ".join(done.stderr.split())[-300:]
        raise SwitchError(f"{said or command[0] + ' failed'}; is the switch "
                          "running, and do OVS_RUNDIR, --target and --db say "
                          "where?")
    return done.stdout


def parse_links(text):
    """Returns the ends of all links, and peers, that want devices plugged in, in
    what 'vpci/links --json' prints.  For static links guests have them
    already."""
    try:
        answer = json.loads(text)
        return ([end for link in answer["links"]
                 if not link.get("static") for end in _ends(link)]
                + [_peer(peer) for peer in answer.get("peers", [])])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise SwitchError("what 'ovs-appctl vpci/links --json' has printed is "
                          "not understood: is ovs-vswitchd of another "
                          "version?") from None


def _ends(link):
    first, second = link["ends"]
    region, vectors, size = (int(link[key])
                             for key in ("region", "vectors", "size"))
    return [End(port=str(end["port"]), other=str(other["port"]),
                socket=str(end["socket"]), region=region, vectors=vectors,
                size=size, state=str(link["state"]),
                connected=bool(end["connected"]))
            for end, other in ((first, second), (second, first))]


def _peer(peer):
    region, vectors, size = (int(peer[key])
                             for key in ("region", "vectors", "size"))
    return End(port=str(peer["port"]), other=str(peer["peer"]),
               socket=str(peer["socket"]), region=region, vectors=vectors,
               size=size, state=PEER, connected=bool(peer["connected"]),
               is_peer=True, used_up=bool(peer["used_up"]))


def parse_ports(text):
    """Returns the paths of the ports of device vpci-net, by name."""
    paths = {}
    try:
        for name, (_, options) in json.loads(text)["data"]:
            path = dict(options).get("ivshmem-path")
            if path:
                paths[str(name)] = str(path)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SwitchError("what ovs-vsctl has printed is not "
                          "understood") from None
    return paths


class Switch:
    """The switch that this host has."""

    def __init__(self, target=None, database=None):
        self._links = ["ovs-appctl", f"--timeout={TIMEOUT}"]
        if target:
            self._links.append("--target=" + target)
        self._links += ["vpci/links", "--json"]
        self._ports = ["ovs-vsctl", f"--timeout={TIMEOUT}", "--format=json"]
        if database:
            self._ports.append("--db=" + database)
        self._ports += ["--columns=name,options", "find", "Interface",
                        "type=vpci"]
        self._paths = {}
        self._looks = 0

    def look(self):
        """Returns the ends of links, with peers, and paths of ports."""
        ends = parse_links(_run(self._links))
        is_new = any(end.port not in self._paths for end in ends)
        if is_new or self._looks % PORTS_EVERY == 0:
            self._paths = parse_ports(_run(self._ports))
        self._looks += 1
        return ends, self._paths


def is_socket(path):
    """Whether there is anything at 'path' to connect to."""
    return os.path.exists(path)
