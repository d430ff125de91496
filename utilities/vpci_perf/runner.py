# SPDX-License-Identifier: Apache-2.0
"""Rounds: what is measured when.

All systems that can run a case are set up for it, each with a switch and
guests of its own, and all are frozen.  Then they take turns: one is thawed,
measured and frozen again.  So a round takes little longer than its
measurements, and seldom does the machine change within it."""
import contextlib
import sys
import time

from . import probe, process
from .fabric import Fabric
from .results import Measurement, Results
from .sandbox import Switch, SwitchError

# After so many rounds of a case everything is set up anew: where things lie in
# memory matters.
ROUNDS_PER_SETUP = 7
# How often a round is repeated whose processors moved half-way, and what share
# of all rounds may be repeats.
MAX_REPEATS = 2
MAX_REPEATED_SHARE = 0.25
# What a system may do wrong: its programs fail, or say what nobody expects.
FAILURES = (process.ProcessError, OSError, ValueError, LookupError,
            AttributeError)


class Switches:
    """The switches that run: one for each system that has one."""

    def __init__(self, env):
        self._env = env
        self._switches = {}
        self._started = 0

    def get(self, system, preload=None):
        """The thawed switch of 'system', started if there is none yet."""
        key = (system.name, preload)
        if key in self._switches:
            self._switches[key].thaw()
            return self._switches[key]
        # They would share the system's part of the huge pages.
        self.forget(system)
        self._started += 1
        self._switches[key] = Switch(
            self._env, system.vswitchd(self._env), f"switch{self._started}",
            preload, system.splices, system.other_config)
        return self._switches[key]

    def forget(self, system):
        """Ends switches of 'system', of which one failed, so that the next
        ones are new."""
        for key in [k for k in self._switches if k[0] == system.name]:
            self._switches.pop(key).close()

    def close(self):
        for switch in self._switches.values():
            switch.close()
        self._switches.clear()


class Bench:
    """What a scenario needs to measure one case with one system."""

    def __init__(self, env, switches, seconds, packed):
        self.env = env
        self.seconds = seconds
        self._switches = switches
        self._packed = packed
        self._fabrics = []

    def open(self, system, n_ports, flows, **kwargs):
        """Sets up 'system' with 'n_ports' guests and OpenFlow rules 'flows'.
        Returns a Fabric, which close() closes if nobody else does."""
        fabric = self._add_fabric()
        system.open(fabric, self._switches, n_ports, flows,
                    packed=self._packed, **kwargs)
        return fabric

    def open_linux(self, system):
        """The same with two Linux guests."""
        fabric = self._add_fabric()
        system.open_linux(fabric, self._switches)
        return fabric

    def _add_fabric(self):
        self._fabrics.append(Fabric(self.env))
        return self._fabrics[-1]

    def renew(self, system):
        """Ends the switch of 'system', so that open() starts a new one."""
        self.close()
        self._switches.forget(system)

    def close(self):
        while self._fabrics:
            self._fabrics.pop().close()


class Progress:
    """Says on standard error what is going on, for how long, and how much of
    it is left."""

    def __init__(self, total, quiet):
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()

    def say(self, text):
        if not self._quiet:
            self.tick("")
            print(text, file=sys.stderr, flush=True)

    def tick(self, text):
        """What goes on just now, on a terminal, until something else does."""
        if self._terminal and not self._quiet:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def step(self, text, amount):
        """'text' begins; it is 'amount' of the total."""
        spent = time.monotonic() - self._began
        left = ""
        if self._done:
            rest = spent / self._done * (self._total - self._done)
            left = f", about {rest:.0f} s left"
        self.say(f"[{self._done / self._total:4.0%}, {spent:.0f} s{left}] "
                 f"{text}")
        self._done += amount


class Party:
    """A system while it is set up for a case, frozen but when it is
    measured."""

    def __init__(self, system, scenario, case, bench):
        self.system = system
        self._scenario = scenario
        self._case = case
        self._bench = bench
        if system.measures == "limit":
            self.fabric = Fabric(bench.env)
        else:
            self.fabric = scenario.open(case, system, bench)
        self.fabric.freeze()

    @classmethod
    def open(cls, system, scenario, case, bench):
        try:
            return cls(system, scenario, case, bench)
        except BaseException:
            bench.close()
            raise

    def measure(self):
        """Returns figures and notes."""
        if self.system.measures == "limit":
            return self.system.figures(self._case, self._bench), []
        self.fabric.thaw()
        figures = self._scenario.measure(self._case, self.system, self.fabric,
                                         self._bench)
        self.fabric.freeze()
        return figures

    def close(self):
        self._bench.close()


class Runner:
    """Measures all cases of the chosen scenarios with the chosen systems, by
    turns."""

    def __init__(self, env, options, scenarios, systems):
        self.env = env
        self.options = options
        self.scenarios = scenarios
        self.systems = systems
        self.switches = Switches(env)
        self._useless = {}          # Systems that don't even start: why.
        self.results = Results(env.machine(), [s.name for s in systems])
        self.results.options = {
            "duration": options.duration, "rounds": options.rounds,
            "packed": options.packed, "masks": options.masks,
            "version": env.version()}

    def run(self):
        """Measures everything.  What has been measured is in 'results', also
        if this is interrupted."""
        plan = [(scenario, case, self._systems_for(scenario, case))
                for scenario in self.scenarios
                for case in scenario.cases(self.options)]
        passes = self._passes()
        self._repeats = int(MAX_REPEATED_SHARE * self.options.rounds
                            * len(plan))
        self._progress = Progress(
            self.options.rounds * sum(len(s) for _, _, s in plan) or 1,
            self.options.quiet)
        self._warn_if_busy()
        try:
            first = 1
            for rounds in passes:
                for scenario, case, systems in plan:
                    self._run_case(scenario, case, systems,
                                   range(first, first + rounds))
                first += rounds
        finally:
            self._progress.tick("")
            self.switches.close()

    def _passes(self):
        """How many rounds each pass through all cases has."""
        n = -(-self.options.rounds // ROUNDS_PER_SETUP)
        return [self.options.rounds // n + (i < self.options.rounds % n)
                for i in range(n)]

    def _warn_if_busy(self):
        busy = probe.busy_share()
        if busy > probe.BUSY_SHARE:
            self.results.warn(f"the machine was busy before anything began: "
                              f"{busy:.0%} of its processors in use")
            self._progress.say("warning: " + self.results.warnings[-1])

    def _systems_for(self, scenario, case):
        """Systems that can run 'case'; notes why others cannot."""
        usable = []
        for system in self.systems:
            why = system.missing(self.env)
            if not why and system.measures != "limit":
                why = scenario.missing(self.env)
            if not why and system.measures not in scenario.needs:
                why = f"{scenario.name} needs " + " or ".join(
                    {"switch": "a switch", "pair": "two guests"}[n]
                    for n in scenario.needs if n != "limit")
            why = (why or scenario.refuses(case, system)
                   or system.refuses(case))
            if why:
                self.results.not_run(case, system.name, why)
            else:
                usable.append(system)
        return usable

    def _run_case(self, scenario, case, systems, rounds):
        parties = []
        for system in systems:
            if system.name in self._useless:
                self.results.failed(case, system.name,
                                    self._useless[system.name])
        systems = [s for s in systems if s.name not in self._useless]
        if not systems:
            return
        try:
            self._progress.step(
                f"{case.title()}: " + ", ".join(s.name for s in systems)
                + f" (round {rounds[0]} to {rounds[-1]})",
                len(systems) * len(rounds))
            for system in systems:
                self._progress.tick(f"    set-up: {system.name}")
                party = self._try(case, system, lambda s=system: Party.open(
                    s, scenario, case, self._bench()))
                if party:
                    parties.append(party)
                    if case.timed:
                        self.results.describe(case, system.name,
                                              party.fabric.processors())
            for round_ in rounds:
                self._run_round(round_, case, parties)
        finally:
            for party in parties:
                self._close(party)

    @staticmethod
    def _close(party):
        with contextlib.suppress(*FAILURES):
            party.close()

    def _bench(self):
        return Bench(self.env, self.switches, self.options.duration,
                     self.options.packed)

    def _run_round(self, round_, case, parties):
        """All systems in turn, again if the processors moved meanwhile."""
        for repeat in range(MAX_REPEATS + 1):
            probes, measured = self._probe(case), []
            for party in list(parties):
                self._progress.tick(f"    round {round_}: {party.system.name}")
                figures = self._try(case, party.system, party.measure, party)
                probes += self._probe(case)
                if figures:
                    measured.append(Measurement(
                        case, party.system.name, round_, *figures,
                        probe.kind(probes[-2:]), probes[-2:]))
                else:
                    parties.remove(party)
            if (probe.kind(probes) != probe.MIXED or repeat == MAX_REPEATS
                    or not self._repeats):
                break
            self._repeats -= 1
            self._progress.say(f"    round {round_}: the processors moved, "
                               "once more")
        for measurement in measured:
            self.results.add(measurement)

    def _probe(self, case):
        return [probe.ping_pong_ns(self.env)] if case.timed else []

    def _try(self, case, system, action, party=None):
        """Returns what action() returns, or None if it fails: then this system
        is done with this case, and 'party' is closed."""
        try:
            return action()
        except FAILURES as error:
            self.results.failed(case, system.name,
                                str(error) or type(error).__name__)
            self._progress.say(f"    {system.name} failed: {error}")
            if party:
                self._close(party)
            if isinstance(error, SwitchError):
                self._useless[system.name] = str(error)
            if system.measures == "switch":
                self.switches.forget(system)
            return None
