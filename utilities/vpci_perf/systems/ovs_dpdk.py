# SPDX-License-Identifier: Apache-2.0
"""OVS-DPDK's own vhost-user ports, in the same program as vpci's."""
from .behind_switch import BehindSwitch

SYSTEM = BehindSwitch("ovs-dpdk", "ports of type dpdkvhostuserclient, in the "
                      "same ovs-vswitchd as vpci", "dpdkvhostuserclient",
                      "dpdkvhostuser")
