# SPDX-License-Identifier: Apache-2.0
"""Plots, drawn by gnuplot as SVG."""
import dataclasses
import re
import typing

from . import probe, process
from .scenarios import IMIX_NAME
from .systems import ORDER

# Colours that are told apart by most eyes (Okabe and Ito), by system; the
# limit is black.
COLOURS = ("#0072b2", "#56b4e9", "#d55e00", "#cc79a7", "#e69f00", "#009e73",
           "#f0e442", "#999999")
LIMIT_COLOUR = "#000000"
DASHES = {probe.NEAR: 1, probe.FAR: 2}


@dataclasses.dataclass
class Plot:
    """One curve for each system and kind of processors."""
    title: str
    xlabel: str
    ylabel: str
    figure: str
    wanted: typing.Callable     # Which of the cases.
    x: typing.Callable          # Where a case is.
    axes: str                   # gnuplot's commands for the axes.


SIZES_AXIS = "set logscale x 2\n"
FLOWS_AXIS = "set logscale x 10\nset format x '%.0f'\nset yrange [0:*]\n"
CYCLES = "cycles per packet (less is better)"
COUNT_AXIS = "set xtics 1\nset yrange [0:*]\n"


def _one_way(case):
    return (case.scenario == "p2p" and case.direction == "one-way"
            and case.size != IMIX_NAME)


PLOTS = (
    Plot("Two guests, one way: rate against frame size", "bytes",
         "Mpps (more is better)", "mpps", _one_way, lambda c: c.size,
         SIZES_AXIS + "set logscale y 10\n"),
    Plot("Two guests, one way: switch cycles against frame size", "bytes",
         CYCLES, "switch_cycles_per_packet", _one_way,
         lambda c: c.size, SIZES_AXIS + "set yrange [0:*]\n"),
    Plot("Many flows, one megaflow: switch cycles against five-tuples",
         "five-tuples", CYCLES, "switch_cycles_per_packet",
         lambda c: c.scenario == "flows" and c.n == 1, lambda c: c.flows,
         FLOWS_AXIS),
    Plot("Many flows, many masks: switch cycles against five-tuples",
         "five-tuples", CYCLES, "switch_cycles_per_packet",
         lambda c: c.scenario == "flows" and c.n > 1, lambda c: c.flows,
         FLOWS_AXIS),
    Plot("Service chain: rate against guests that forward",
         "guests", "Mpps at the end (more is better)", "mpps",
         lambda c: c.scenario == "chain", lambda c: c.n,
         "set xtics 1\nset logscale y 10\n"),
    Plot("Service chain: switch cycles against guests that forward",
         "guests", CYCLES, "switch_cycles_per_packet",
         lambda c: c.scenario == "chain", lambda c: c.n, COUNT_AXIS),
    Plot("Pairs on one polling thread: switch cycles against pairs",
         "pairs", CYCLES, "switch_cycles_per_packet",
         lambda c: c.scenario == "pairs", lambda c: c.n, COUNT_AXIS),
)
LATENCIES = (("rtt_p50_us", "p50"), ("rtt_p99_us", "p99"),
             ("rtt_p999_us", "p99.9"))


def _quote(text):
    return '"' + text.replace("\\", "").replace('"', "'") + '"'


def _draw(commands):
    """Runs gnuplot and returns an SVG element."""
    script = ("set terminal svg size 860,400 dynamic background 'white' "
              "font 'sans,13'\nset grid lc rgb '#dddddd'\n"
              "set key outside right top\n" + commands)
    svg = process.run(["gnuplot"], timeout=60, text=script)
    return re.sub(r"^.*?(?=<svg)", "", svg, flags=re.DOTALL)


def _colour(system):
    if system == "limit":
        return LIMIT_COLOUR
    place = ORDER.index(system) if system in ORDER else len(ORDER)
    return COLOURS[place % len(COLOURS)]


def _comparable(results, cases):
    """Each of 'cases', a name for a system and a kind of processors, and the
    summary of both."""
    kinds = {m.kind for m in results.measurements
             if m.case in cases and m.kind != probe.MIXED}
    return [(case, s.system + (f" ({s.kind})" if len(kinds) > 1 else ""), s)
            for case in cases for s in results.summaries(case)
            if s.kind != probe.MIXED]


def _curves(results, cases, plot):
    """Name, colour, dash type and points of each."""
    curves = {}
    for case, name, s in _comparable(results, cases):
        value = s.median(plot.figure)
        if value is not None:
            key = (name, _colour(s.system), DASHES.get(s.kind, 1))
            curves.setdefault(key, []).append((plot.x(case), value))
    return {key: sorted(points) for key, points in curves.items()}


def _draw_plot(results, cases, plot, title):
    curves = _curves(results, cases, plot)
    if not any(len(points) > 1 for points in curves.values()):
        return None
    blocks, lines = "", []
    for i, ((name, colour, dash), points) in enumerate(curves.items()):
        blocks += f"$c{i} << EOD\n" + "".join(
            f"{x} {y}\n" for x, y in points) + "EOD\n"
        lines.append(f"$c{i} with linespoints lw 2 pt 7 ps 0.7 dt {dash} "
                     f"lc rgb '{colour}' title {_quote(name)}")
    return _draw(f"{blocks}set title {_quote(title)}\n"
                 f"set xlabel {_quote(plot.xlabel)}\n"
                 f"set ylabel {_quote(plot.ylabel)}\n{plot.axes}"
                 f"plot {', '.join(lines)}\n")


def _draw_plots(results, plot):
    """One for each frame size, if size is not what varies."""
    cases = [c for c in results.cases() if plot.wanted(c)]
    if plot.wanted is _one_way:
        return [_draw_plot(results, cases, plot, plot.title)]
    return [_draw_plot(results, [c for c in cases if c.size == size], plot,
                       f"{plot.title} ({size} bytes)")
            for size in dict.fromkeys(c.size for c in cases)]


def _draw_latency(results, case):
    """Bars: percentiles of each system."""
    rows = "".join(
        f"{_quote(name)} "
        + " ".join(str(s.median(figure) or "NaN") for figure, _ in LATENCIES)
        + "\n"
        for _, name, s in _comparable(results, [case])
        if s.median("rtt_p50_us") is not None)
    if not rows:
        return None
    bars = ", ".join(
        f"$d using {i + 2}:xtic(1) title {_quote(label)} lc rgb "
        f"'{COLOURS[i]}'" for i, (_, label) in enumerate(LATENCIES))
    return _draw(f"$d << EOD\n{rows}EOD\nset style data histogram\n"
                 "set style histogram clustered gap 1\n"
                 "set style fill solid 0.9 border -1\nset boxwidth 0.9\n"
                 "set logscale y\nset ylabel 'microseconds'\n"
                 "set xtics rotate by -20\n"
                 f"set title {_quote('Round trip: ' + case.title())}\n"
                 f"plot {bars}\n")


def draw_all(results):
    """Returns SVG elements, of what there are figures for."""
    drawn = [svg for plot in PLOTS for svg in _draw_plots(results, plot)]
    drawn += [_draw_latency(results, case) for case in results.cases()
              if case.scenario == "latency"]
    return [svg for svg in drawn if svg]
