# SPDX-License-Identifier: Apache-2.0
"""What joins guests while something is measured."""
import itertools
import os
import sys
import time

from . import guests, process

RELAY_TIMEOUT = 10
SETTLE_TIMEOUT = 5
SETTLE_SECONDS = 0.1
_numbers = itertools.count()


class Fabric:
    """Ports 0 to n - 1 and their guests, set up, frozen and thawed, and taken
    down again.

    With a switch between them, all guests are devices of one process, on one
    processor: guests in processes of their own would take turns there by the
    scheduler's time slices, in which rings overflow."""

    def __init__(self, env):
        self.env = env
        self.switch = None
        self.bypasses = False       # Guests reach each other without it.
        self.guests = []
        self.linux = None
        self._places = []
        self._relays = []

    def place(self, port):
        """Returns the guest that has 'port', and the port's number there."""
        return self._places[port]

    def add_guest(self, vdevs, cpu, sleep=False, queues=1):
        """A process with the next ports."""
        guest = guests.PerfGuest(self.env, vdevs, cpu, sleep, queues)
        self.guests.append(guest)
        self._places += [(guest, i) for i in range(len(vdevs))]
        return guest

    def add_native_guest(self, addresses, cpu, sleep=False, queues=1):
        """A process with the next ports, those of libvpci at 'addresses'."""
        guest = guests.PerfGuest(self.env, [], cpu, sleep, queues, addresses)
        self.guests.append(guest)
        self._places += [(guest, i) for i in range(len(addresses))]
        return guest

    def add_mixed_guest(self, n_ports, vdevs, addresses, cpu, queues):
        """A process with ports 0 to 'n_ports' - 1: DPDK's 'vdevs', and those
        of libvpci at 'addresses', by port."""
        guest = guests.PerfGuest(self.env, list(vdevs.values()), cpu, False,
                                 queues, list(addresses.values()))
        self.guests.append(guest)
        order = [*vdevs, *addresses]
        self._places = [(guest, order.index(i)) for i in range(n_ports)]
        return guest

    def reverse(self):
        """What was added first gets the last port."""
        self.guests.reverse()
        self._places.reverse()

    def add_testpmd(self, vdevs, cpu, size):
        guest = guests.Testpmd(self.env, vdevs, cpu, size)
        self.guests.append(guest)
        return guest

    def add_relay(self, switch_path):
        """For a switch that connects to 'switch_path', and a guest that
        connects to the path that this returns."""
        guest_path = switch_path + ".guest"
        relay = process.Conversation(
            [sys.executable, os.path.join(os.path.dirname(__file__),
                                          "relay.py"),
             guest_path, switch_path], switch_path + ".log", ends_alone=True)
        self._relays.append(relay)
        relay.read_until(lambda line: line == "ready", RELAY_TIMEOUT)
        return guest_path

    def tell(self, port, command, *rest):
        """Gives the guest of 'port' a command about it."""
        guest, number = self.place(port)
        return guest.tell(" ".join([command, str(number), *map(str, rest)]))

    def tell_all(self, command):
        """Gives all guests a command, receivers first, and returns the
        answers."""
        return [guest.tell(command) for guest in reversed(self.guests)][::-1]

    def all_guests(self):
        """Whatever has cpu_seconds()."""
        return self.guests + ([self.linux] if self.linux else [])

    def settle(self):
        """Waits, as long as that may take, until guests that have begun to
        send reach each other without the switch."""
        deadline = time.monotonic() + SETTLE_TIMEOUT
        packets = -1
        while time.monotonic() < deadline:
            before, packets = packets, self.switch.busy_cycles()[1]
            if packets == before and self.switch.has_settled_links():
                break
            time.sleep(SETTLE_SECONDS)

    def processors(self):
        """Who is on which processor, in words."""
        if self.switch and not self.bypasses:
            return (f"switch on {self.env.switch_cpu}, all guests share "
                    f"{self.env.guest_cpu}")
        if self.guests:
            return f"guests on {self.env.guest_cpu} and {self.env.switch_cpu}"
        return f"from {self.env.guest_cpu} to {self.env.switch_cpu}"

    def freeze(self):
        """Stops everything until thaw().  Linux guests are left alone: they
        sleep when nobody asks anything of them."""
        for guest in self.guests:
            guest.freeze()
        if self.switch:
            self.switch.freeze()

    def thaw(self):
        if self.switch:
            self.switch.thaw()
        for guest in self.guests:
            guest.thaw()

    def close(self):
        """May be called again."""
        self.thaw()
        for guest in self.guests:
            guest.close()
        self.guests.clear()
        if self.linux:
            self.linux.stop()
        while self._relays:
            self._relays.pop().close(grace=2)
        if self.switch:
            switch, self.switch = self.switch, None
            switch.remove_ports()
            switch.freeze()


def virtio_user(path, server=True, queue_size=1024, packed=False, queues=1):
    """DPDK's device for a vhost-user guest at the socket 'path'."""
    return (f"net_virtio_user{next(_numbers)},path={path}"
            f",queue_size={queue_size}"
            + (",server=1" if server else "")
            + (",packed_vq=1" if packed else "")
            + (f",queues={queues}" if queues > 1 else ""))


def fresh_path(env, name):
    """A path for a socket that does not exist yet."""
    path = os.path.join(env.work_dir, name)
    if os.path.exists(path):
        os.unlink(path)
    return path
