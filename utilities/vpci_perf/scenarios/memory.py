# SPDX-License-Identifier: Apache-2.0
"""What a port costs the switch in memory."""
import re

from . import Case

FEW, MANY = 1, 9
QUEUES = 4


class Memory:
    name = "memory"
    help = ("memory of the switch for each further port with a guest, and for "
            "each further queue pair")
    needs = ("switch",)

    def cases(self, options):
        return [Case(self.name, direction="idle", size="-", label="a port"),
                Case(self.name, direction="idle", size="-", queues=QUEUES,
                     label="a queue pair")]

    def lacks(self, case, system):
        return None

    @staticmethod
    def _used_mb(switch):
        """Resident memory and huge pages of the switch, in MB."""
        with open(f"/proc/{switch.pid}/status", encoding="ascii") as f:
            text = f.read()
        return sum(int(n) for n in re.findall(
            r"^(?:VmRSS|HugetlbPages):\s+(\d+) kB", text, re.MULTILINE)) / 1024

    def _measure(self, system, bench, n_ports, queues):
        with bench.open(system, n_ports, ["actions=drop"],
                        queues=queues) as fabric:
            return self._used_mb(fabric.switch)

    def run(self, case, system, bench):
        # Once before, for what the first port costs alone.
        self._measure(system, bench, FEW, 1)
        few = self._measure(system, bench, FEW, 1)
        if case.queues > 1:
            more = self._measure(system, bench, FEW, case.queues)
            return {"mbytes": (more - few) / (case.queues - 1)}, []
        many = self._measure(system, bench, MANY, 1)
        return {"mbytes": (many - few) / (MANY - FEW)}, []


SCENARIO = Memory()
