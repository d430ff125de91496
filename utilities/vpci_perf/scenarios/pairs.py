# SPDX-License-Identifier: Apache-2.0
"""Many ports on one polling thread."""
from . import Case, Scenario
from ..window import measure

PAIRS = (1, 2, 4, 8)


class Pairs(Scenario):
    name = "pairs"
    help = "1 to 8 pairs of guests, both ways, on one polling thread"
    needs = ("switch", "limit")

    def cases(self, options):
        pairs = (1, 4) if options.quick else PAIRS
        return [Case(self.name, direction="both", size=s,
                     flows=options.flows or 1, n=n,
                     label=f"{n} pair" + "s" * (n > 1))
                for s in (options.sizes or (64,)) for n in pairs]

    def open(self, case, system, bench):
        ports = range(2 * case.n)
        flows = [f"in_port={i + 1},actions=output:{(i ^ 1) + 1}"
                 for i in ports]
        fabric = bench.open(system, len(ports), flows)
        for i in ports:
            fabric.tell(i, "stream", i ^ 1, f"size={case.sizes()}",
                        f"flows={case.flows}")
            fabric.tell(i, "sink")
        return fabric

    def measure(self, case, system, fabric, bench):
        ports = range(2 * case.n)
        return measure(fabric, ports, ports, bench.seconds)


SCENARIO = Pairs()
