# SPDX-License-Identifier: Apache-2.0
"""Figures: medians, ratios of what was measured in the same round, JSON."""
import json
import re
import statistics

from . import probe

# What others are compared with: the first system that was measured, in the
# order in which they are listed, and this one.
LIMIT = "limit"
# Name in JSON, heading, format.
FIGURES = (
    ("mpps", "Mpps", "{:.2f}"),
    ("hand_off_mpps", "hand-offs", "{:.2f}"),
    ("gbps", "Gbit/s", "{:.2f}"),
    ("switch_cycles_per_packet", "cycles/pkt", "{:.0f}"),
    ("switch_cycles_per_byte", "cycles/byte", "{:.2f}"),
    ("host_cpu", "host CPU", "{:.2f}"),
    ("guest_cpu", "guest CPU", "{:.2f}"),
    ("rtt_p50_us", "p50 us", "{:.2f}"),
    ("rtt_p99_us", "p99 us", "{:.2f}"),
    ("rtt_p999_us", "p99.9 us", "{:.2f}"),
    ("idle_p50_us", "idle p50 us", "{:.2f}"),
    ("idle_p99_us", "idle p99 us", "{:.2f}"),
    ("busy_p50_us", "p50 us", "{:.2f}"),
    ("busy_p99_us", "p99 us", "{:.2f}"),
    ("bound_us", "bound us", "{:.2f}"),
    ("busy_of_bound", "p99/bound", "{:.2f}"),
    ("lost", "lost", "{:.2%}"),
    ("mbytes", "MB", "{:.2f}"),
    ("seconds", "seconds", "{:.3f}"),
    ("command_ms", "command ms", "{:.0f}"),
    ("effect_ms", "effect ms", "{:.1f}"),
    ("escaped", "escaped", "{:.0f}"),
)
HEADINGS = {name: heading for name, heading, _ in FIGURES}


class Measurement:
    """One case, measured once with one system."""

    def __init__(self, case, system, round_, figures, notes, kind, probes):
        self.case = case
        self.system = system
        self.round = round_
        self.figures = figures
        self.notes = notes
        self.kind = kind            # See probe.kind().
        self.probes = probes        # Nanoseconds, before and after.


class Summary:
    """All measurements of one case with one system, of one kind."""

    def __init__(self, case, system, kind, measurements):
        self.case = case
        self.system = system
        self.kind = kind
        self.measurements = measurements

    def values(self, figure):
        values = [m.figures.get(figure) for m in self.measurements]
        return [v for v in values if v is not None]

    def median(self, figure):
        values = self.values(figure)
        return statistics.median(values) if values else None

    def notes(self):
        """Each note once, with how often there was one that differs from it
        in numbers alone."""
        alike = {}
        for m in self.measurements:
            for note in m.notes:
                alike.setdefault(re.sub(r"\d+", "N", note), []).append(note)
        n = len(self.measurements)
        seen = [notes[0] + (f" ({len(notes)} of {n} rounds)" if n > 1 else "")
                for notes in alike.values()]
        lost = self.median("lost")
        if lost:
            seen.append(f"lost {lost * 100:.2g} % of what was sent")
        unanswered = sum(self.values("lost_pings"))
        if unanswered:
            seen.append(f"{unanswered} pings had no answer")
        if self.kind == probe.MIXED:
            seen.append("the processors moved: compare with nothing")
        return seen

    def to_json(self):
        case = self.case
        result = {"scenario": case.scenario, "system": self.system,
                  "size": case.size, "flows": case.flows,
                  "queues": case.queues, "direction": case.direction,
                  "case": case.label, "processors": self.kind}
        for name, _, _ in FIGURES:
            result[name] = self.median(name)
        result["switch_mpps"] = self.median("switch_mpps")
        probes = [ns for m in self.measurements for ns in m.probes]
        result["ping_pong_ns"] = statistics.median(probes) if probes else None
        rates = self.values("mpps")
        result.update(rounds=len(self.measurements),
                      min_mpps=min(rates, default=None),
                      max_mpps=max(rates, default=None),
                      notes=self.notes())
        return result


class Ratio:
    """One figure of a system, divided by the same figure of another one in
    the same round, for all rounds of one kind."""

    def __init__(self, case, kind, system, base, figure, values):
        self.case = case
        self.kind = kind
        self.system = system
        self.base = base
        self.figure = figure
        self.values = values

    @property
    def median(self):
        return statistics.median(self.values)

    def to_json(self):
        return {"name": f"{self.case.title()}, {self.kind}: {self.system} / "
                        f"{self.base}, {self.figure}",
                "value": self.median, "min": min(self.values),
                "max": max(self.values), "rounds": len(self.values)}


class Results:
    """Everything that was measured, and what was not, and why."""

    def __init__(self, machine, systems):
        """'systems' are names, in the order in which they are shown."""
        self.machine = machine
        self.systems = systems
        self.options = {}
        self.measurements = []
        self.missing = {}           # (case, system): why
        self.processors = {}        # case: {system: who is where}
        self.warnings = []

    def add(self, measurement):
        self.measurements.append(measurement)

    def warn(self, text):
        self.warnings.append(text)

    def describe(self, case, system, processors):
        """Says who is on which processor."""
        self.processors.setdefault(case, {})[system] = processors

    def places(self, case):
        """Who is on which processor, in one line."""
        groups = {}
        for system, text in self.processors.get(case, {}).items():
            groups.setdefault(text, []).append(system)
        return "; ".join(f"{', '.join(systems)}: {text}"
                         for text, systems in groups.items())

    def not_run(self, case, system, why):
        self.missing[(case, system)] = why

    def failed(self, case, system, why):
        self.missing[(case, system)] = f"failed: {why}"

    def absent(self, case):
        """Systems without figures of 'case', or of all its rounds, and why."""
        measured = {m.system for m in self.measurements if m.case == case}
        return [(system, ("later rounds " if system in measured
                          else "not run: ") + why)
                for (c, system), why in self.missing.items() if c == case]

    def cases(self):
        seen = []
        for case in [m.case for m in self.measurements] + [
                c for c, _ in self.missing]:
            if case not in seen:
                seen.append(case)
        return seen

    def summaries(self, case):
        """One for each system and kind of processors, in order."""
        groups = {}
        for m in self.measurements:
            if m.case == case:
                groups.setdefault((m.system, m.kind), []).append(m)
        return [Summary(case, *key, groups[key])
                for key in sorted(groups, key=lambda k: (
                    probe.KINDS.index(k[1]), self.systems.index(k[0])))]

    def ratios(self, case):
        """Of systems to the first one and to the limit, of rounds of one
        kind."""
        rounds = {}
        for m in self.measurements:
            if m.case == case and m.kind != probe.MIXED:
                rounds.setdefault(m.kind, {}).setdefault(
                    m.round, {})[m.system] = m.figures
        found = []
        for kind, of_kind in rounds.items():
            systems = [s for s in self.systems
                       if any(s in r for r in of_kind.values())]
            bases = [systems[0]] + [LIMIT] * (LIMIT in systems[1:])
            for base in bases:
                for system in systems:
                    if system not in (base, LIMIT):
                        found += self._ratios_of(case, kind, system, base,
                                                 of_kind.values())
        return found

    @staticmethod
    def _ratios_of(case, kind, system, base, rounds):
        for figure in case.compared:
            values = [r[system][figure] / r[base][figure] for r in rounds
                      if r.get(system, {}).get(figure) is not None
                      and r.get(base, {}).get(figure)]
            if values:
                yield Ratio(case, kind, system, base, figure, values)

    def complete(self):
        """False if something that could have been measured was not."""
        return not any(why.startswith("failed")
                       for why in self.missing.values())

    def to_json(self):
        return json.dumps({
            "machine": self.machine,
            "options": self.options,
            "warnings": self.warnings,
            "results": [s.to_json() for case in self.cases()
                        for s in self.summaries(case)],
            "ratios": [r.to_json() for case in self.cases()
                       for r in self.ratios(case)],
            "not_run": [{"case": case.title(), "system": system, "why": why}
                        for (case, system), why in self.missing.items()],
        }, indent=2) + "\n"
