# SPDX-License-Identifier: Apache-2.0
"""What systems with a switch share.  Not a system itself."""
from ..fabric import Fabric, virtio_user
from ..linux import LinuxGuests
from ..scenarios import PAIR


class BehindSwitch:
    """Guests on virtio-user devices, on ports of one type of a switch."""

    measures = "switch"
    huge_mb = 500               # sandbox.MEMORY, and two guests.
    quick = True
    lacks = {}

    def __init__(self, name, help_, port_type, linux_port_type):
        """'linux_port_type' is for front ends that connect, as User-Mode
        Linux does."""
        self.linux_port_type = linux_port_type
        self.name = name
        self.help = help_
        self.port_type = port_type

    def missing(self, env):
        return None

    def vswitchd(self, env):
        return env.vswitchd

    def open(self, env, switches, n_ports, flows, sleepers=(), testpmd=None,
             packed=False, queues=1):
        """Sets up ports 0 to 'n_ports' - 1 with OpenFlow rules 'flows'.
        'sleepers' are ports whose guests have processes of their own and
        sleep; 'testpmd' is a packet size, if testpmd is to be the guest of
        the two ports.  Guests have 'queues' queue pairs, of which one
        has traffic."""
        switch = switches.get(self)
        fabric = Fabric(env, switch)
        try:
            vdevs = [virtio_user(switch.socket(i), packed=packed,
                                 queues=queues)
                     for i in range(n_ports)]
            if testpmd:
                fabric.add_testpmd(vdevs, env.guest_cpu, testpmd)
            elif sleepers:
                for vdev in vdevs:
                    fabric.add_guest([vdev], env.guest_cpu, sleep=True)
            elif vdevs:
                fabric.add_guest(vdevs, env.guest_cpu, queues=queues)
            for _ in range(n_ports):
                switch.add_port(self.port_type)
            switch.set_flows(flows)
            for guest in fabric.guests:
                guest.wait()
            switch.wait_for_guests()
        except BaseException:
            fabric.close()
            raise
        return fabric

    def open_linux(self, env, switches):
        """Sets up two Linux guests, 10.0.0.1 and 10.0.0.2, on ports that
        forward to each other."""
        switch = switches.get(self, env.uml_preload())
        fabric = Fabric(env, switch)
        fabric.linux = LinuxGuests(env, self.name)
        try:
            for i in range(2):
                fabric.linux.start(
                    i, switch.add_listening_port(self.linux_port_type))
            switch.set_flows(PAIR)
            for i in range(2):
                fabric.linux.wait(i)
        except BaseException:
            fabric.close()
            raise
        return fabric
