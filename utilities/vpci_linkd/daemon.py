# SPDX-License-Identifier: Apache-2.0
"""All machines, and which of them are released."""
import logging
import threading
import time

from . import logs, planner
from .machine import MachineError
from .machine_libvirt import Connection, LibvirtMachine
from .switch import SwitchError
from .worker import Worker

log = logging.getLogger("linkd")

# How often domains are looked for, in seconds.
DISCOVER = 3
# How long all devices may take to go, at exit.
EXIT_TIMEOUT = 30


class Daemon:
    """Follows a switch."""

    def __init__(self, switch, machines, interval, held):
        self._switch = switch
        self._interval = interval
        self._history = planner.History()
        self._outlook = planner.Outlook()
        self._held = held
        self._changed = threading.Condition()
        self._limited = logs.Limited(log)
        self._domains = {}              # Workers, by UUID and id.
        self._libvirt_error = None
        self._switch_error = None
        self._stopping = threading.Event()
        self._workers = [self._worker(machine) for machine in machines]

    def add_libvirt(self, libvirt, uri):
        """Has domains of libvirt as machines, too."""
        threading.Thread(target=self._discover, args=(libvirt, uri),
                         daemon=True, name="discover").start()

    def end(self, unplug):
        """Ends all workers, and unplugs all devices before if 'unplug'."""
        self._stopping.set()
        if unplug:
            log.info("all devices are unplugged")
            with self._changed:
                workers = {worker: worker.tell(self._outlook, frozenset(),
                                               True)
                           for worker in self._all()}
                for worker in workers:
                    worker.rescan()
            left = self._await_gone(workers, None, EXIT_TIMEOUT)
            if left:
                log.warning("still plugged in: %s", "; ".join(left))
        for worker in self._all():
            worker.stop()

    def release(self, name, timeout):
        """Unplugs all links of the machine or port 'name', which gets none
        until resume().  Returns what could not be unplugged in 'timeout'
        seconds, or raises KeyError if nobody has that name."""
        with self._changed:
            concerned = [w for w in self._all()
                         if name in w.machine.names or w.has(name)]
            if not concerned:
                raise KeyError(self._unknown(name))
            self._held.add(name)
            log.info("%s is released, for %d s at most", name,
                     self._held.timeout)
            for worker in concerned:
                self._history.forgive(self._ports_of(worker, name))
                worker.rescan()
            self._tell()
            numbers = {worker: self._tell_one(worker) for worker in concerned}
        ports = None if any(name in w.machine.names for w in concerned) \
            else {name}
        return self._await_gone(numbers, ports, timeout)

    def resume(self, name):
        """Ends a release.  Returns whether there was one."""
        with self._changed:
            was = self._held.remove(name)
            if was:
                log.info("%s is resumed", name)
                self._tell()
        return was

    def status(self):
        """All there is to know, for people and for programs."""
        with self._changed:
            return {
                "switch": self._switch_error or "ok",
                "libvirt": self._libvirt_error,
                "released": self._held.left(),
                "links": [self._describe_link(end) for end in
                          sorted(self._outlook.ends.values(),
                                 key=lambda e: (e.region, e.port))],
                "machines": [w.status() for w in self._all()],
            }

    def _describe_link(self, end):
        return {"region": end.region, "port": end.port, "other": end.other,
                "is_peer": end.is_peer, "state": end.state,
                "connected": end.connected,
                "rests": end.region in self._outlook.resting,
                "machine": next((w.machine.name for w in self._all()
                                 if w.has(end.port)), None)}

    def _worker(self, machine):
        worker = Worker(machine, self._limited, self._changed)
        worker.start()
        return worker

    def _all(self):
        return self._workers + list(self._domains.values())

    def look(self):
        """Looks at the switch, and tells all workers.  Returns for how many
        seconds to wait before the next look."""
        try:
            ends, paths = self._switch.look()
            error = None
        except SwitchError as e:
            error = str(e)
        now = time.monotonic()
        if error:
            self._limited.warn("switch", error)
        elif self._limited.forget("switch"):
            log.info("the switch answers again")
        with self._changed:
            self._switch_error = error
            self._expire()
            self._outlook = (self._history.see_nothing() if error
                             else self._history.see(now, ends, paths))
            self._tell()
        for pair, region, pause in self._history.complaints if not error \
                else []:
            log.warning("link %d of %s has ended without having come up: do "
                        "both guests have the driver, and root ports with "
                        "room for its memory?  No other one is plugged in for "
                        "%d s", region, " and ".join(sorted(pair)), pause)
        return self._interval

    def _expire(self):
        for name in self._held.expire():
            log.warning("%s was released %d s ago, and nobody has resumed it: "
                        "it gets links again", name, self._held.timeout)

    def _ports_of(self, worker, name):
        """The ports of 'worker' that 'name' stands for."""
        if not worker.scan:
            return frozenset()
        if name in worker.machine.names:
            return worker.scan.ports
        return worker.scan.ports & {name}

    def _tell(self):
        for worker in self._all():
            self._tell_one(worker)

    def _tell_one(self, worker):
        # Before a machine has been looked at its ports are not known: what
        # has the name of one may be one.
        held = frozenset(self._held).union(*(self._ports_of(each, name)
                                             for each in self._all()
                                             for name in self._held))
        return worker.tell(self._outlook, held,
                           bool(worker.machine.names & set(self._held)))

    def _await_gone(self, numbers, ports, timeout):
        """Waits until workers have done rounds with these numbers, and have
        no devices of 'ports'.  Returns what is left then."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                left = [self._left(worker, number, ports)
                        for worker, number in numbers.items()]
                left = [text for text in left if text]
                rest = deadline - time.monotonic()
                if not left or rest <= 0:
                    return left
                self._changed.wait(min(rest, 1))

    def _left(self, worker, number, ports):
        """What is left in a machine, or None."""
        status = worker.status()
        where = f"{worker.machine.kind} {worker.machine.name}"
        devices = worker.devices(ports)
        if devices:
            why = [each["why"] for each in status["failed"]]
            return (f"{where} has " + ", ".join(d.name for d in devices)
                    + "".join(f": {text}" for text in why))
        if not worker.has_done(number) or status["error"]:
            return f"{where}: {status['error'] or 'it has not answered yet'}"
        return None

    def _unknown(self, name):
        known = sorted({n for w in self._all() for n in w.machine.names}
                       | {p for w in self._all() if w.scan
                          for p in w.scan.ports})
        return (f"there is no machine or port {name}; there are: "
                + (", ".join(known) or "none"))

    def _discover(self, libvirt, uri):
        """Keeps workers for the domains that run."""
        connection = Connection(libvirt, uri)
        while not self._stopping.is_set():
            try:
                self._keep_domains(connection.domains(), libvirt, uri)
                error = None
            except MachineError as e:
                error = str(e)
            if error:
                self._limited.warn("libvirt", error)
            elif self._limited.forget("libvirt"):
                log.info("libvirt answers again")
            with self._changed:
                self._libvirt_error = error
            self._stopping.wait(DISCOVER)

    def _keep_domains(self, domains, libvirt, uri):
        wanted = {(uuid, number): name
                  for uuid, (number, name) in domains.items()}
        with self._changed:
            for key in [k for k in self._domains if k not in wanted]:
                log.info("domain %s has ended",
                         self._domains[key].machine.name)
                self._domains.pop(key).stop()
            for key in [k for k in wanted if k not in self._domains]:
                # Each has a connection of its own, which may hang.
                machine = LibvirtMachine(Connection(libvirt, uri), key[0],
                                         wanted[key])
                self._domains[key] = self._worker(machine)
                log.debug("domain %s", wanted[key])
                self._tell_one(self._domains[key])
