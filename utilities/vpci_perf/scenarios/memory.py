# SPDX-License-Identifier: Apache-2.0
"""What a port costs the switch in memory."""
import re

from . import Case, Scenario
from ..fabric import Fabric

FEW, MANY = 1, 9
QUEUES = 4


class Memory(Scenario):
    name = "memory"
    help = ("memory of the switch for each further port with a guest, and for "
            "each further queue pair of a port")
    needs = ("switch",)
    uses = ("packed",)

    def cases(self, options):
        return [Case(self.name, direction="idle", size="-", queues=queues,
                     compared=("mbytes",), timed=False, label=label)
                for queues, label in ((1, "a port"), (QUEUES, "a queue pair"))]

    def open(self, case, system, bench):
        """Each measurement has a switch of its own, since memory that was
        used once is not always given back."""
        return Fabric(bench.env)

    @staticmethod
    def _used_mb(switch):
        """What the switch has taken of DPDK's heap, which is in huge pages,
        and its other resident memory, in MB."""
        with open(f"/proc/{switch.pid}/status", encoding="ascii") as f:
            resident = re.search(r"^VmRSS:\s+(\d+) kB", f.read(),
                                 re.MULTILINE).group(1)
        heap = re.findall(r"Alloc_size:\s*(\d+)",
                          switch.appctl("dpdk/get-malloc-stats"))
        return int(resident) / 1024 + sum(map(int, heap)) / 2**20

    def _use(self, system, bench, n_ports, queues):
        fabric = bench.open(system, n_ports, ["actions=drop"], queues=queues)
        try:
            return self._used_mb(fabric.switch)
        finally:
            fabric.close()

    def measure(self, case, system, fabric, bench):
        bench.renew(system)
        # Once before, for what the first port costs alone.
        self._use(system, bench, FEW, 1)
        few = self._use(system, bench, FEW, 1)
        if case.queues > 1:
            more = self._use(system, bench, FEW, case.queues)
            return {"mbytes": (more - few) / (case.queues - 1)}, []
        many = self._use(system, bench, MANY, 1)
        return {"mbytes": (many - few) / (MANY - FEW)}, []


SCENARIO = Memory()
