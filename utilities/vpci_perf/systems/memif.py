# SPDX-License-Identifier: Apache-2.0
"""DPDK's memif: two processes and a ring between them, no switch."""
from . import System
from ..environment import dpdk_driver_missing
from ..fabric import fresh_path
from ..scenarios import SLEEP


class Memif(System):
    measures = "pair"
    huge_mb = 120

    def __init__(self, name, help_, zero_copy):
        """With 'zero_copy', the memif client, whose buffers are shared, is
        the one that sends."""
        self.name = name
        self.help = help_
        self.quick = not zero_copy
        self._zero_copy = zero_copy

    def missing(self, env):
        return dpdk_driver_missing("memif")

    def refuses(self, case):
        if case.label == SLEEP:
            return "memif's driver has no receive interrupts"
        return None

    def open(self, fabric, switches, n_ports, flows, sleepers=(),
             testpmd=None, packed=False, queues=1):
        """See BehindSwitch.open()."""
        env = fabric.env
        socket = fresh_path(env, "memif.sock")
        device = f"socket={socket},socket-abstract=no,rsize=10,bsize=2048"
        sender = "role=client" + (",zero-copy=yes" if self._zero_copy else "")
        # A client needs a server to connect to.
        fabric.add_guest([f"net_memif1,role=server,{device}"],
                         env.switch_cpu).wait()
        fabric.add_guest([f"net_memif0,{sender},{device}"],
                         env.guest_cpu).wait()
        fabric.reverse()


SYSTEM = Memif("memif", "DPDK memif between two processes, no switch and no "
               "policy", zero_copy=False)
