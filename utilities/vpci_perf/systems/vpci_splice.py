# SPDX-License-Identifier: Apache-2.0
"""vpci ports on the splice path."""
from .behind_switch import BehindSwitch

SYSTEM = BehindSwitch("vpci-splice", "ports of type vpci, with "
                      "other_config:hw-offload=true: packets from ring to "
                      "ring", "vpci", "vpci", splices=True)
