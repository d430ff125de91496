# SPDX-License-Identifier: Apache-2.0
"""OVS-DPDK as the distribution ships it."""
import os

from .behind_switch import BehindSwitch

PATH = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"


class Debian(BehindSwitch):
    quick = False

    def missing(self, env):
        if not os.access(PATH, os.X_OK):
            return (f"{PATH} is not installed: "
                    "apt-get install openvswitch-switch-dpdk")
        return None

    def vswitchd(self, env):
        return PATH


SYSTEM = Debian("ovs-dpdk-debian", "the same ports of the distribution's own "
                "ovs-vswitchd-dpdk", "dpdkvhostuserclient", "dpdkvhostuser")
