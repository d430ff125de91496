# SPDX-License-Identifier: Apache-2.0
"""Service chains."""
from . import Case, Scenario
from ..window import measure

HOPS = (1, 2, 3, 4, 5)


class Chain(Scenario):
    name = "chain"
    help = "one way through 1 to 5 guests that forward, between two that don't"
    needs = ("switch", "limit")

    def cases(self, options):
        hops = (1, 3) if options.quick else HOPS
        return [Case(self.name, size=s, flows=options.flows or 1, n=n,
                     crossings=n + 1,
                     label=f"{n} hop" + "s" * (n > 1))
                for s in (options.sizes or (64,)) for n in hops]

    def open(self, case, system, bench):
        # Guest 0 sends, guest k has ports 2k - 1 and 2k, the last one
        # receives: each port with an even number sends to the next.
        last = 2 * case.n + 1
        flows = [f"in_port={i + 1},actions=output:{i + 2}"
                 for i in range(0, last, 2)]
        fabric = bench.open(system, last + 1, flows)
        fabric.tell(0, "stream", last, f"size={case.sizes()}",
                    f"flows={case.flows}")
        for i in range(1, last, 2):
            fabric.tell(i, "forward", fabric.place(i + 1)[1])
        fabric.tell(last, "sink")
        return fabric

    def measure(self, case, system, fabric, bench):
        figures, notes = measure(fabric, [0], [2 * case.n + 1], bench.seconds)
        figures["hand_off_mpps"] = figures["mpps"] * case.crossings
        return figures, notes


SCENARIO = Chain()
