# SPDX-License-Identifier: Apache-2.0
"""What is to be plugged and unplugged.

Nothing in here reads, writes or looks at a clock: times are arguments, in
seconds of one that does not go back."""
import re
from dataclasses import dataclass, field

# Of devices that are plugged here: links, and memories of peers.
NAME = "vpci-link"
PEER_NAME = "vpci-peer"
NAMES = NAME, PEER_NAME
# How long a link may be missing though its socket is there still: a switch
# that has been started anew takes a while to find its links again.
LINGER = 30
# How long a device may be there that its server knows nothing of.
CONNECT = 10
UNSERVED = f"nobody has served it for {CONNECT} s"
USED_UP = "its signals are used up"
# How long a guest may take to find room for the memory of a device.
SETTLE = 20
# How long guests may be connected to a link and not meet there: the switch
# ends it after 10 s.
MEET = 5
# The pause after what has failed, the first time and at most.
FIRST_PAUSE = 1
LAST_PAUSE = 60
# The same, for links that guests do not make use of.
FIRST_REST = 20
LAST_REST = 640

_SOCKET = re.compile(r"(.+)\.(?:link[0-9]+|peer)")
# The state of a peer whose memory is served.
PEER = "ready"


class NoRoom(Exception):
    """A machine has no root port for a device; the message says why."""


def is_ours(path):
    """Whether 'path' may be that of a link, or of the memory of a peer."""
    return bool(_SOCKET.fullmatch(path or ""))


@dataclass(frozen=True)
class End:
    """The end of a link that is at 'port', as the switch shows it; or the
    memory of the guest of port 'other', its peer, in state PEER."""
    port: str
    other: str                  # The port at the other end.
    socket: str
    region: int
    vectors: int
    size: int                   # In bytes.
    state: str
    connected: bool
    is_peer: bool = False
    used_up: bool = False       # Its device has no signals left.

    def what(self):
        """How people call it."""
        return (f"the memory of {self.other}" if self.is_peer
                else f"link {self.region}, to {self.other},")

    def takes_device(self):
        """Whether somebody is to connect to it."""
        return not self.connected and (
            self.state in ("offered", "ready", "running")
            or self.state.startswith("waiting"))

    def is_up(self):
        """Whether its guests have met there."""
        return self.state in ("ready", "running")


@dataclass(frozen=True)
class Device:
    """A device of a machine, at a socket of a link or a peer."""
    name: str
    socket: str
    bus: str
    mapped: bool = None         # The guest has its memory.  None: not known.

    def what(self):
        """How people call what is at its socket."""
        return "memory" if self.socket.endswith(".peer") else "link"


@dataclass(frozen=True)
class Slot:
    """A root port of a machine."""
    name: str
    used: bool
    reserve: int = None         # Bytes for prefetchable memory, if it is set.
    chosen: bool = False        # By the operator, whatever the reserve is.


@dataclass(frozen=True)
class Outlook:
    """What one look at the switch has shown."""
    answered: bool = False
    ends: dict = field(default_factory=dict)    # By socket.
    paths: dict = field(default_factory=dict)   # Of ports, by name.
    resting: frozenset = frozenset()            # Regions, not to be plugged.

    def port_of(self, socket):
        """The port at which the link or peer is whose socket this is, or
        None."""
        match = _SOCKET.fullmatch(socket)
        return next((port for port, path in self.paths.items()
                     if match and match[1] == path), None)


@dataclass(frozen=True)
class Plug:
    """A device is to be plugged in."""
    end: End

    @property
    def socket(self):
        """What it is known by."""
        return self.end.socket


@dataclass(frozen=True)
class Unplug:
    """A device is to be unplugged."""
    device: Device
    why: str
    failed: bool = False        # The device has been of no use.

    @property
    def socket(self):
        """What it is known by."""
        return self.device.socket


class Attempts:
    """What has failed, and when it may be tried again."""

    def __init__(self, first=FIRST_PAUSE, last=LAST_PAUSE):
        self._first, self._last = first, last
        self._failed = {}

    def allows(self, key, now):
        """Whether 'key' may be tried."""
        return key not in self._failed or now >= self._failed[key][1]

    def fail(self, key, now):
        """'key' has failed.  Returns for how long it now pauses."""
        n = self._failed[key][0] + 1 if key in self._failed else 0
        pause = min(self._first * 2 ** n, self._last)
        self._failed[key] = n, now + pause
        return pause

    def forget(self, key):
        """'key' is all right: forgets how often it has failed."""
        self._failed.pop(key, None)

    def keep_if(self, wanted):
        """Forgets those for which wanted(key) is false."""
        self._failed = {k: v for k, v in self._failed.items() if wanted(k)}


class History:
    """Of links: makes an Outlook out of what the switch says.

    A link that guests have connected to and never met at will not be better
    the next time, unless somebody does something: then there is a rest before
    that pair of ports gets devices again."""

    def __init__(self):
        self._paths = {}
        # Of regions that have a client and were never up, since when.
        self._pairs = {}
        self._rests = Attempts(FIRST_REST, LAST_REST)
        self.complaints = []    # Of the last look: pair, region, pause.

    def see(self, now, ends, paths):
        """The switch has links with 'ends', and ports with 'paths'."""
        self._paths.update(paths)
        ends = [end for end in ends if end.state != "down"]
        self.complaints = []
        self._judge(now, ends)
        resting = {end.region for end in ends
                   if not self._rests.allows(_pair(end), now)
                   and end.region not in self._pairs}
        return Outlook(True, {end.socket: end for end in ends},
                       dict(self._paths), frozenset(resting))

    def see_nothing(self):
        """The switch has not answered."""
        return Outlook(False, {}, dict(self._paths))

    def _judge(self, now, ends):
        there = {end.region for end in ends}
        for region in [r for r in self._pairs if r not in there]:
            pair, since = self._pairs.pop(region)
            if now - since >= MEET:
                self.complaints.append((pair, region,
                                        self._rests.fail(pair, now)))
        for end in ends:
            if end.is_up():
                self._pairs.pop(end.region, None)
                self._rests.forget(_pair(end))
        up = {end.region for end in ends if end.state != "offered"}
        for end in ends:
            if end.connected and end.region not in up:
                self._pairs.setdefault(end.region, (_pair(end), now))

    def forgive(self, ports):
        """Something was done about 'ports', or links were ended on purpose:
        there is no reason to rest."""
        self._pairs = {region: (pair, since)
                       for region, (pair, since) in self._pairs.items()
                       if not pair & ports}
        self._rests.keep_if(lambda pair: not pair & ports)


def _pair(end):
    return frozenset((end.port, end.other))


class MachinePlan:
    """What is to be done in one machine."""

    def __init__(self):
        self.attempts = Attempts()
        self._missing = {}      # Sockets that are not listed, since when.
        self._unknown = {}      # Those that are, but not as connected.

    def decide(self, now, outlook, ports, devices, held, served):
        """Returns actions, in their order, for the machine that has 'ports'
        and 'devices'.  Ports that are 'held' get no devices, and keep none.
        'served' tells whether a socket is there."""
        self._note(now, outlook, devices)
        actions = []
        for device in devices:
            why = self._why_unplug(now, outlook, device, ports, held, served)
            if why:
                actions.append(Unplug(device, why, why in (UNSERVED, USED_UP)))
        sockets = {device.socket for device in devices}
        for end in sorted(outlook.ends.values(), key=lambda e: e.region):
            if (end.port in ports and end.takes_device()
                    and end.socket not in sockets
                    and not {end.port, end.other} & held
                    and end.region not in outlook.resting
                    and served(end.socket)):
                actions.append(Plug(end))
        known = sockets.union(outlook.ends)
        self.attempts.keep_if(lambda socket: socket in known)
        return [action for action in actions
                if self.attempts.allows(action.socket, now)]

    def _note(self, now, outlook, devices):
        """Keeps the times since when devices have had no link."""
        missing, unknown = {}, {}
        if outlook.answered:
            for device in devices:
                end = outlook.ends.get(device.socket)
                if not end:
                    missing[device.socket] = now
                elif not end.connected:
                    unknown[device.socket] = now
        self._missing = {s: self._missing.get(s, t)
                         for s, t in missing.items()}
        self._unknown = {s: self._unknown.get(s, t)
                         for s, t in unknown.items()}

    def _why_unplug(self, now, outlook, device, ports, held, served):
        """Why 'device' is to go, or None."""
        socket = device.socket
        port = outlook.port_of(socket)
        ours = port is not None or device.name.startswith(NAMES)
        if not ours or (port and port not in ports):
            return None
        if port in held or (port is None and ports and ports <= held):
            return "the port is released"
        if socket in self._missing:
            if not served(socket):
                return f"the {device.what()} has gone"
            if port and now - self._missing[socket] >= LINGER:
                return (f"the switch has not had the {device.what()} for "
                        f"{LINGER} s")
        if socket in outlook.ends and outlook.ends[socket].used_up:
            return USED_UP
        if (socket in self._unknown
                and now - self._unknown[socket] >= CONNECT):
            return UNSERVED
        return None


def choose_slot(slots, size):
    """Returns the slot of 'slots' that a device with a memory of 'size' bytes
    is to be plugged into.

    What firmware sets aside may begin anywhere, and the memory has to lie at a
    multiple of its size: so it is sure to fit into twice as much.  Of those
    with room the one with the least is taken: others may be for the memory of
    a peer."""
    free = sorted((slot for slot in slots if not slot.used),
                  key=lambda s: 0 if s.chosen else s.reserve or 0)
    for fits in (lambda s: s.chosen,
                 lambda s: s.reserve is not None and s.reserve >= 2 * size,
                 lambda s: s.reserve is not None and s.reserve >= size,
                 lambda s: s.reserve is None):
        for slot in free:
            if fits(slot):
                return slot
    seen = ", ".join(f"{slot.name} is in use" if slot.used else
                     f"{slot.name} has pref64-reserve={slot.reserve}"
                     for slot in slots) or "it has none at all"
    raise NoRoom(f"no free root port with room for {size} bytes: {seen}")
