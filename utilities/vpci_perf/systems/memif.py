# SPDX-License-Identifier: Apache-2.0
"""DPDK's memif: two processes and a ring between them, no switch."""
from ..environment import dpdk_driver_missing
from ..fabric import Fabric, fresh_path


class Memif:
    name = "memif"
    help = "DPDK memif between two processes, no switch and no policy"
    measures = "pair"
    lacks = {"latency-sleep": "memif's driver has no receive interrupts"}

    def missing(self, env):
        return dpdk_driver_missing("memif")

    def open(self, env, switches, n_ports, flows, sleepers=(), testpmd=None,
             packed=False, queues=1):
        """See BehindSwitch.open()."""
        socket = fresh_path(env, "memif.sock")
        device = f"socket={socket},socket-abstract=no,rsize=10,bsize=2048"
        fabric = Fabric(env)
        try:
            fabric.add_guest([f"net_memif0,role=server,{device}"],
                             env.guest_cpu).wait()
            fabric.add_guest([f"net_memif1,role=client,{device}"],
                             env.switch_cpu).wait()
        except BaseException:
            fabric.close()
            raise
        return fabric


SYSTEM = Memif()
