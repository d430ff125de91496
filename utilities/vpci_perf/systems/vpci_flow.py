# SPDX-License-Identifier: Apache-2.0
"""vpci ports on the flow path."""
from .behind_switch import BehindSwitch

SYSTEM = BehindSwitch("vpci-flow", "ports of type vpci, each packet through "
                      "the userspace datapath", "vpci", "vpci")
