# SPDX-License-Identifier: Apache-2.0
"""Scenarios of vpci-perf.

Each file here defines SCENARIO, a Scenario with

    name            as for --scenario
    help            one line
    needs           the kinds of systems ("switch", "pair", "limit") that it
                    can measure
    uses            the options that matter to it, of "sizes", "flows", "masks",
                    "bursts" and "packed"
    cases(options)  the cases to measure: a list of Case
    missing(env)    None, or why it can't run here and what to do
    refuses(case, system)
                    None, or why 'system' can't run 'case'
    open(case, system, bench)
                    sets 'system' up for 'case'; returns a Fabric
    measure(case, system, fabric, bench)
                    measures once with it; returns figures (see
                    results.FIGURES) and a list of notes.  Called for each
                    round, with the same 'fabric'

Systems that measure "limit" need neither of the last two.

'bench' is a runner.Bench."""
import dataclasses
import importlib
import pkgutil

# Figures of cases that are compared by these.
ROUND_TRIPS = ("rtt_p50_us", "rtt_p99_us")
ORDER = ["p2p", "flows", "queues", "chain", "pairs", "latency", "priority",
         "tcp", "memory", "startup", "policy"]
IMIX = (64,) * 7 + (594,) * 4 + (1518,)
IMIX_NAME = "imix"
# Label of cases whose guests sleep until an interrupt comes, and how long they
# pause after each round trip, in microseconds.
SLEEP = "sleep"
SLEEP_INTERVAL_US = 500
# Label of cases in which other guests keep the switch busy.
BESIDE = "beside a flood"
# OpenFlow rules: what port 0 sends goes to port 1, and the other way.
PAIR = ("in_port=1,actions=output:2", "in_port=2,actions=output:1")


@dataclasses.dataclass(frozen=True)
class Case:
    """What is measured of a scenario, the same for all systems."""
    scenario: str
    direction: str = "one-way"
    size: object = 64           # Bytes without CRC, or "imix".
    flows: int = 1
    queues: int = 1
    burst: int = 32             # Packets that are sent at once, at most.
    n: int = 1                  # Masks, hops, pairs, as the scenario says.
    compared: tuple = ("mpps", "switch_cycles_per_packet")   # Figures.
    timed: bool = True          # Does it matter how far processors are apart?
    crossings: int = 1          # How often a packet crosses the switch.
    label: str = ""             # What tells it from others, beyond size.

    def sizes(self):
        """As for the guests' command "stream"."""
        sizes = IMIX if self.size == IMIX_NAME else (self.size,)
        return ",".join(map(str, sizes))

    def title(self):
        """Its name in tables."""
        words = [self.scenario, str(self.size), self.direction]
        if self.flows > 1:
            words.append(f"{self.flows} flows")
        return " ".join(words + ([self.label] if self.label else []))


class Scenario:
    """What most of them have in common.  See above."""
    uses = ("sizes", "flows", "packed")

    def missing(self, env):
        return None

    def refuses(self, case, system):
        return None


def load():
    """Returns all scenarios by name, in the order in which they are run."""
    found = [importlib.import_module(f"{__name__}.{m.name}").SCENARIO
             for m in pkgutil.iter_modules(__path__)]
    found.sort(key=lambda s: (ORDER.index(s.name) if s.name in ORDER
                              else len(ORDER), s.name))
    return {s.name: s for s in found}
