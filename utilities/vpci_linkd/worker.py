# SPDX-License-Identifier: Apache-2.0
"""One machine, which has a thread of its own: it may hang."""
import logging
import threading
import time

from . import planner, switch
from .machine import MachineError

log = logging.getLogger("worker")

# What is in a machine is looked at so often, at least, in seconds.
RESCAN = 10
# A machine that has not answered for so long hangs.
HANGS = 15


class Worker:
    """Plugs and unplugs in one machine what the plan says.

    'changed' is a condition, of all workers, that is notified of news."""

    def __init__(self, machine, limited, changed):
        self.machine = machine
        self.scan = None
        self._limited = limited
        self._changed = changed
        self._plan = planner.MachinePlan()
        self._outlook = planner.Outlook()
        self._held = frozenset()
        self._holds_all = False
        self._asked = self._done = 0    # Numbers of rounds.
        self._scanned_at = None
        self._busy_since = None
        self._error = None
        self._troubles = {}             # Texts, by socket.
        self._first_seen = {}           # Devices, for their memory.
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True,
                                        name=machine.name)

    def start(self):
        """Begins."""
        self._thread.start()

    def stop(self):
        """Ends as soon as what is under way has ended, which is not waited
        for."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def tell(self, outlook, held, holds_all):
        """There is something new: of the switch, or of ports that are held,
        which is all of them if 'holds_all'.  Returns the number of the round
        that takes note of it.  The caller has the lock of 'changed'."""
        fresh = (held, holds_all) != (self._held, self._holds_all)
        self._outlook = outlook
        self._held, self._holds_all = held, holds_all
        if fresh:
            self._scanned_at = None
        self._asked += 1
        self._changed.notify_all()
        return self._asked

    def rescan(self):
        """What is known of the machine is not believed any more.  The caller
        has the lock of 'changed'."""
        self._scanned_at = None

    def has_done(self, number):
        """Whether round 'number' is over.  The caller has the lock."""
        return self._done >= number

    def has(self, port):
        """Whether the machine is known to have 'port'."""
        return self.scan is not None and port in self.scan.ports

    def devices(self, ports=None):
        """Devices of links in the machine, of 'ports' or of all."""
        found = self.scan.devices if self.scan else []
        return [device for device in found if ports is None
                or self._outlook.port_of(device.socket) in ports]

    def status(self):
        """For people and for programs.  The caller has the lock."""
        now = time.monotonic()
        busy = now - self._busy_since if self._busy_since else 0
        return {
            "kind": self.machine.kind,
            "name": self.machine.name,
            "ports": sorted(self.scan.ports) if self.scan else [],
            "hangs": busy > HANGS,
            "busy": round(busy, 1),
            "error": self._error,
            "devices": [{"name": device.name, "bus": device.bus,
                         "socket": device.socket,
                         "port": self._outlook.port_of(device.socket),
                         "memory": device.mapped}
                        for device in (self.scan.devices if self.scan
                                       else [])],
            "failed": [{"socket": socket, "why": why}
                       for socket, why in sorted(self._troubles.items())],
        }

    def _run(self):
        while self._wait():
            try:
                self._round()
                error = None
            except MachineError as e:
                error = str(e)
            except Exception as e:  # One machine must not end the others.
                log.exception("machine %s", self.machine.name)
                error = f"a mistake of vpci-linkd's: {e!r}"
            self._end_round(error)

    def _wait(self):
        """Waits for something to do.  Returns false at the end."""
        with self._changed:
            while self._asked == self._done and not self._stopping:
                self._changed.wait()
            self._busy_since = time.monotonic()
            self._current = (self._asked, self._outlook, self._held,
                             self._holds_all)
            return not self._stopping

    def _end_round(self, error):
        thing = self.machine.name, "machine"
        if error:
            self._limited.warn(thing, f"machine {self.machine.name}: {error}")
        elif self._limited.forget(thing):
            log.info("machine %s: all right again", self.machine.name)
        with self._changed:
            self._busy_since = None
            self._error = error
            self._done = self._current[0]
            if error:
                self._scanned_at = None
            self._changed.notify_all()

    def _round(self):
        """Does what there is to do, with one connection to the machine, if it
        takes any."""
        now = time.monotonic()
        if (self._scanned_at is not None and now - self._scanned_at < RESCAN
                and not self._actions(now)):
            return
        with self.machine.session(self._current[1].paths) as session:
            self._look(session)
            tried = set()
            while not self._stopping:
                actions = [a for a in self._actions(time.monotonic())
                           if (type(a), a.socket) not in tried]
                if not actions:
                    return
                tried.add((type(actions[0]), actions[0].socket))
                self._do(session, actions[0])
                self._look(session)

    def _look(self, session):
        scan = session.scan()
        with self._changed:
            self.scan = scan
            self._scanned_at = time.monotonic()
            sockets = {device.socket for device in scan.devices}
            sockets.update(self._current[1].ends)
            self._troubles = {s: t for s, t in self._troubles.items()
                              if s in sockets}
            self._changed.notify_all()
        self._check_memory(scan)

    def _actions(self, now):
        _, outlook, held, holds_all = self._current
        return self._plan.decide(
            now, outlook, self.scan.ports, self.scan.devices,
            held | self.scan.ports if holds_all else held, switch.is_socket)

    def _do(self, session, action):
        """Does 'action', and sees to that it is known if that fails."""
        thing = self.machine.name, action.socket
        is_plug = isinstance(action, planner.Plug)
        try:
            if is_plug:
                what, todo = self._plug(session, action.end)
            else:
                what, todo = self._unplug(session, action)
        except (MachineError, planner.NoRoom) as error:
            pause = self._plan.attempts.fail(action.socket, time.monotonic())
            self._trouble(action.socket, thing, f"{self._describe(action)}: "
                          f"{error}{_advice(error)}; next attempt in {pause} "
                          "s")
            return
        if not is_plug and action.failed:
            self._plan.attempts.fail(action.socket, time.monotonic())
        self._limited.forget(thing)
        with self._changed:
            self._troubles.pop(action.socket, None)
        log.info("machine %s: %s%s", self.machine.name, what, todo)

    def _plug(self, session, end):
        slot = planner.choose_slot(self.scan.slots.get(end.port, []), end.size)
        session.plug(end, slot)
        return (f"port {end.port}: {end.what()} is plugged in at {slot.name}",
                "")

    def _unplug(self, session, action):
        session.unplug(action.device)
        return f"{action.device.name} is unplugged", f": {action.why}"

    def _describe(self, action):
        where = f"machine {self.machine.name}: "
        if isinstance(action, planner.Plug):
            end = action.end
            return where + (f"port {end.port}: {end.what()} cannot be plugged "
                            "in")
        return where + (f"{action.device.name} cannot be unplugged "
                        f"({action.why})")

    def _trouble(self, socket, thing, text):
        self._limited.warn(thing, text)
        with self._changed:
            self._troubles[socket] = text

    def _check_memory(self, scan):
        """Guests have to find a place for a device's memory."""
        now = time.monotonic()
        self._first_seen = {d.socket: self._first_seen.get(d.socket, now)
                            for d in scan.devices if d.mapped is False}
        for device in scan.devices:
            since = self._first_seen.get(device.socket, now)
            if now - since >= planner.SETTLE:
                self._trouble(
                    device.socket, (self.machine.name, device.socket),
                    f"machine {self.machine.name}: {device.name}, at "
                    f"{device.bus}: the guest has not given its memory, BAR "
                    f"2, an address for {planner.SETTLE} s: does it have the "
                    "driver, and the root port pref64-reserve=SIZE, twice "
                    "that of the memory?")


def _advice(error):
    """What to do about 'error'."""
    if isinstance(error, planner.NoRoom):
        return (": add <controller type='pci' model='pcie-root-port'/> (for "
                "QEMU, -device pcie-root-port), with property pref64-reserve "
                "at least twice that")
    return ""
