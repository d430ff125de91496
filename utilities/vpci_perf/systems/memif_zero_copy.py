# SPDX-License-Identifier: Apache-2.0
"""DPDK's memif without the sender's copy."""
from .memif import Memif

SYSTEM = Memif("memif-zero-copy", "the same, where the sending process lends "
               "its own buffers", zero_copy=True)
