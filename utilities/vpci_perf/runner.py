# SPDX-License-Identifier: Apache-2.0
"""Rounds: what is measured when."""
import contextlib
import sys
import time

from . import probe, process
from .linux import LinuxGuests
from .results import Measurement, Results
from .sandbox import Switch

# How often a round is repeated whose processors moved half-way.
MAX_REPEATS = 2


class Switches:
    """The switches that run, one for each ovs-vswitchd program.  Only one at a
    time has ports, and so a polling thread."""

    def __init__(self, env):
        self._env = env
        self._switches = {}
        self._started = 0

    def get(self, vswitchd, preload=None):
        key = (vswitchd, preload)
        if key not in self._switches:
            self._started += 1
            self._switches[key] = Switch(self._env, vswitchd,
                                         f"switch{self._started}", preload)
        return self._switches[key]

    def forget(self, vswitchd):
        """Ends switches of which one failed, so that the next ones are new."""
        for key in [k for k in self._switches if k[0] == vswitchd]:
            self._switches.pop(key).close()

    def close(self):
        for switch in self._switches.values():
            switch.close()
        self._switches.clear()


class Bench:
    """What a scenario needs to measure one case."""

    def __init__(self, env, switches, seconds, packed):
        self.env = env
        self.switches = switches
        self.seconds = seconds
        self.packed = packed

    @contextlib.contextmanager
    def open(self, system, n_ports, flows, **kwargs):
        """Sets up 'system' with 'n_ports' guests and OpenFlow rules 'flows';
        takes everything down in the end."""
        fabric = system.open(self.env, self.switches, n_ports, flows,
                             packed=self.packed, **kwargs)
        try:
            yield fabric
        finally:
            fabric.close()


    @contextlib.contextmanager
    def open_linux(self, system):
        """Sets up 'system' with two Linux guests, 10.0.0.1 and 10.0.0.2, on
        ports that forward to each other.  Yields the switch and them."""
        switch = self.switches.get(system.vswitchd(self.env),
                                   self.env.uml_preload())
        guests = LinuxGuests(self.env)
        try:
            for i in range(2):
                socket = switch.add_listening_port(system.linux_port_type)
                guests.start(i, socket)
            switch.set_flows(["in_port=1,actions=output:2",
                              "in_port=2,actions=output:1"])
            for i in range(2):
                guests.wait(i)
            yield switch, guests
        finally:
            guests.stop()
            switch.remove_ports()


class Progress:
    """Says on standard error what is going on, for how long, and how much of
    it is left."""

    def __init__(self, total, quiet):
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._quiet = quiet

    def say(self, text):
        if not self._quiet:
            print(text, file=sys.stderr, flush=True)

    def step(self, text):
        self._done += 1
        spent = time.monotonic() - self._began
        left = ""
        if self._done > 3:
            rest = spent / (self._done - 1) * (self._total - self._done + 1)
            left = f", about {rest:.0f} s left"
        self.say(f"[{self._done}/{max(self._total, self._done)}, "
                 f"{spent:.0f} s{left}] {text}")


class Runner:
    """Measures all cases of the chosen scenarios with the chosen systems, by
    turns."""

    def __init__(self, env, options, scenarios, systems):
        self.env = env
        self.options = options
        self.scenarios = scenarios
        self.systems = systems
        self.switches = Switches(env)
        self.results = Results(env.machine())

    def run(self):
        plan = [(scenario, case, self._systems_for(scenario, case))
                for scenario in self.scenarios
                for case in scenario.cases(self.options)]
        total = sum(len(s) for _, _, s in plan) * self.options.rounds
        self._progress = Progress(total, self.options.quiet)
        busy = probe.busy_share()
        if busy > probe.BUSY_SHARE:
            self.results.warn(f"the machine was busy before anything began: "
                              f"{busy:.0%} of its processors in use")
            self._progress.say("warning: " + self.results.warnings[-1])
        try:
            for round_ in range(1, self.options.rounds + 1):
                for scenario, case, systems in plan:
                    self._run_round(round_, scenario, case, systems)
        finally:
            self.switches.close()
        return self.results

    def _systems_for(self, scenario, case):
        """Systems that can run 'case'; notes why others cannot."""
        usable = []
        for system in self.systems:
            why = (system.missing(self.env)
                   or getattr(scenario, "missing", lambda env: None)(self.env))
            if not why and system.measures not in scenario.needs:
                why = f"{scenario.name} needs " + " or ".join(
                    {"switch": "a switch", "pair": "two guests",
                     "limit": "no guests"}[n] for n in scenario.needs)
            why = why or scenario.lacks(case, system)
            if why:
                self.results.not_run(case, system.name, why)
            else:
                usable.append(system)
        return usable

    def _run_round(self, round_, scenario, case, systems):
        """All systems in turn, again if the processors moved meanwhile."""
        for repeat in range(MAX_REPEATS + 1):
            measured = [self._measure(round_, scenario, case, system)
                        for system in systems]
            kinds = {m.kind for m in measured if m}
            if len(kinds) <= 1 or repeat == MAX_REPEATS:
                break
            self._progress.say("    the processors moved: once more")
        for m in measured:
            if m:
                if len(kinds) > 1:
                    m.notes.append("the processors moved during this round")
                    m.kind = "mixed"
                self.results.add(m)

    def _measure(self, round_, scenario, case, system):
        self._progress.step(f"round {round_}: {case.title()}, {system.name}")
        bench = Bench(self.env, self.switches, self.options.duration,
                      self.options.packed)
        try:
            before = probe.ping_pong_ns(self.env)
            figures, notes = scenario.run(case, system, bench)
            after = probe.ping_pong_ns(self.env)
        except process.ProcessError as error:
            self.results.failed(case, system.name, str(error))
            self._progress.say(f"    failed: {error}")
            if hasattr(system, "vswitchd"):
                self.switches.forget(system.vswitchd(self.env))
            return None
        kind = probe.kind(before)
        if probe.kind(after) != kind:
            kind = "mixed"
        return Measurement(case, system.name, round_, figures, notes, kind,
                           (before + after) / 2)
