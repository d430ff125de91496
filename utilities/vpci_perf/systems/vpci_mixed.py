# SPDX-License-Identifier: Apache-2.0
"""From vpci-net ports to virtio-net ports, and back."""
from .vpci_native import VpciNative

SYSTEM = VpciNative("vpci-mixed", "the same, where every other port is for a "
                    "virtio-user guest", lambda port: port % 2 == 0)
