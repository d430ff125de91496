# SPDX-License-Identifier: Apache-2.0
"""vpci-net ports with links: guest to guest, as the switch's flows say."""
from .behind_switch import BehindSwitch
from ..scenarios import BESIDE


class VpciLink(BehindSwitch):
    """Guests are programs of libvpci.  What they send to each other needs no
    processor of the switch, so that they have both; its polling thread
    sleeps."""

    other_config = ("pmd-maxsleep=10000",)

    def __init__(self):
        super().__init__("vpci-link", "ports of type vpci with "
                         "options:ivshmem-path and options:links: from guest "
                         "to guest, no switch in between", "vpci", None,
                         splices=True)

    def refuses(self, case):
        if case.direction == "loop":
            return "testpmd has no driver for these ports"
        if case.label == BESIDE:
            return "these guests share no switch"
        if case.scenario in ("queues", "pairs", "tcp", "memory",
                             "startup", "policy"):
            return "measured with ports for vhost-user guests"
        return None

    def open(self, fabric, switches, n_ports, flows, sleepers=(),
             testpmd=None, packed=False, queues=1, classes=1):
        """See BehindSwitch.open().  Ports 2 N - 1 and 2 N are on the same
        processor, and in the same program, so that it can forward."""
        env = fabric.env
        fabric.switch = switch = switches.get(self)
        fabric.bypasses = True
        paths = [switch.add_native_port(n_ports, queues, classes)
                 for _ in range(n_ports)]
        first = n_ports // 4 * 2 + 1
        for part, cpu in ((paths[:first], env.guest_cpu),
                          (paths[first:], env.switch_cpu)):
            fabric.add_native_guest(part, cpu, bool(sleepers), queues)
        switch.set_flows(flows)
        for guest in fabric.guests:
            guest.wait()
        switch.wait_for_guests()


SYSTEM = VpciLink()
