# SPDX-License-Identifier: Apache-2.0
"""OVS-DPDK's own vhost-user ports with userspace-tso-enable."""
from .behind_switch import BehindSwitch


class Tso(BehindSwitch):
    """Its ports for front ends that connect, dpdkvhostuser, drop large packets:
    Open vSwitch 3.1 does not note that they take them.  So front ends connect
    to a relay, and so do its ports of the other type."""

    quick = False
    other_config = ("userspace-tso-enable=true",)

    def refuses(self, case):
        if case.scenario != "tcp":
            return "only Linux guests send large packets"
        return None

    def add_listening_port(self, fabric):
        socket = fabric.add_relay(fabric.switch.socket(fabric.switch.n_ports))
        fabric.switch.add_port(self.port_type)
        return socket


SYSTEM = Tso("ovs-dpdk-tso", "ports of type dpdkvhostuserclient, with "
             "other_config:userspace-tso-enable=true", "dpdkvhostuserclient",
             None)
