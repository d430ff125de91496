# SPDX-License-Identifier: Apache-2.0
"""vpci-net ports on the splice path, without links."""
from .behind_switch import BehindSwitch
from ..fabric import virtio_user


class VpciNative(BehindSwitch):
    """Guests of some ports are those of libvpci."""

    quick = False

    def __init__(self, name, help_, is_native):
        """'is_native' says whether port N is one."""
        super().__init__(name, help_, "vpci", None, splices=True)
        self._is_native = is_native

    def refuses(self, case):
        if case.direction == "loop":
            return "testpmd has no driver for these ports"
        if case.scenario in ("tcp", "memory", "startup", "policy"):
            return "measured with ports for vhost-user guests"
        if case.scenario == "chain" or case.label == "sleep":
            return "measured with ports of one kind"
        return None

    def open(self, fabric, switches, n_ports, flows, sleepers=(),
             testpmd=None, packed=False, queues=1, classes=1):
        """See BehindSwitch.open()."""
        env = fabric.env
        fabric.switch = switch = switches.get(self)
        natives = [i for i in range(n_ports) if self._is_native(i)]
        guest = fabric.add_mixed_guest(
            n_ports,
            {i: virtio_user(switch.socket(i), packed=packed, queues=queues)
             for i in range(n_ports) if i not in natives},
            {i: switch.native_path(i) for i in natives},
            env.guest_cpu, queues)
        for i in range(n_ports):
            if i in natives:
                switch.add_native_port(queues=queues, classes=classes)
            else:
                switch.add_port(self.port_type)
        switch.set_flows(flows)
        guest.wait()
        switch.wait_for_guests()


SYSTEM = VpciNative("vpci-native", "the same, with options:ivshmem-path: "
                    "native rings, no links", lambda port: True)
