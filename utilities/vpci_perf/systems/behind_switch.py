# SPDX-License-Identifier: Apache-2.0
"""What systems with a switch share.  Not a system itself."""
from . import System
from ..fabric import virtio_user
from ..linux import LinuxGuests
from ..scenarios import PAIR


class BehindSwitch(System):
    """Guests on virtio-user devices, on ports of one type of a switch."""

    measures = "switch"
    huge_mb = 500               # sandbox.MEMORY, and two guests.

    def __init__(self, name, help_, port_type, linux_port_type,
                 splices=False):
        """'linux_port_type' is for front ends that connect, as User-Mode
        Linux does.  'splices' says that the switch offloads flows."""
        self.splices = splices
        self.linux_port_type = linux_port_type
        self.name = name
        self.help = help_
        self.port_type = port_type

    def vswitchd(self, env):
        return env.vswitchd

    def open(self, fabric, switches, n_ports, flows, sleepers=(),
             testpmd=None, packed=False, queues=1, classes=1):
        """Fills 'fabric' with ports 0 to 'n_ports' - 1 and their guests, and
        sets OpenFlow rules 'flows'.  'sleepers' are ports whose guests have
        processes of their own and sleep; 'testpmd' is a packet size, if
        testpmd is to be the guest of the two ports.  Guests have 'queues'
        queue pairs and, if they can have that, 'classes' of priority.

        Whoever has made 'fabric' closes it, also if this fails half-way."""
        env = fabric.env
        fabric.switch = switch = switches.get(self)
        vdevs = [virtio_user(switch.socket(i), packed=packed, queues=queues)
                 for i in range(n_ports)]
        if testpmd:
            fabric.add_testpmd(vdevs, env.guest_cpu, testpmd)
        elif sleepers:
            for vdev in vdevs:
                fabric.add_guest([vdev], env.guest_cpu, sleep=True)
        else:
            fabric.add_guest(vdevs, env.guest_cpu, queues=queues)
        for _ in range(n_ports):
            switch.add_port(self.port_type)
        switch.set_flows(flows)
        for guest in fabric.guests:
            guest.wait()
        switch.wait_for_guests()

    def open_linux(self, fabric, switches):
        """The same with two Linux guests, 10.0.0.1 and 10.0.0.2, on ports that
        forward to each other."""
        env = fabric.env
        fabric.switch = switch = switches.get(self, env.uml_preload())
        fabric.linux = LinuxGuests(env, self.name)
        for i in range(2):
            # One after the other: as long as Open vSwitch tries which pool of
            # packets its memory is enough for, there is none for a guest.
            fabric.linux.start(i, self.add_listening_port(fabric))
            fabric.linux.wait(i)
        switch.set_flows(PAIR)

    def add_listening_port(self, fabric):
        """Adds the next port, for a guest that connects.  Returns the path of
        its socket."""
        return fabric.switch.add_listening_port(self.linux_port_type)
