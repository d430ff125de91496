# SPDX-License-Identifier: Apache-2.0
"""Plots, drawn by gnuplot as SVG."""
import re

from . import probe, process
from .scenarios import IMIX_NAME

# Colours that are told apart by most eyes (Okabe and Ito).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
           "#000000", "#999999")

# The plot's title, axes, which of the cases, what is x, which figures are y.
PLOTS = (
    ("One way between two guests: rate against frame size",
     "bytes", "Mpps", "log",
     lambda c: c.scenario == "p2p" and c.direction == "one-way"
     and c.size != IMIX_NAME, lambda c: c.size, ("mpps",)),
    ("One way between two guests: switch cycles against frame size",
     "bytes", "cycles per packet", "log",
     lambda c: c.scenario == "p2p" and c.direction == "one-way"
     and c.size != IMIX_NAME, lambda c: c.size,
     ("switch_cycles_per_packet",)),
    ("Many flows, one megaflow: switch cycles against five-tuples",
     "five-tuples", "cycles per packet", "log",
     lambda c: c.scenario == "flows" and c.n == 1, lambda c: c.flows,
     ("switch_cycles_per_packet",)),
    ("Many flows, many masks: switch cycles against five-tuples",
     "five-tuples", "cycles per packet", "log",
     lambda c: c.scenario == "flows" and c.n > 1, lambda c: c.flows,
     ("switch_cycles_per_packet",)),
    ("Service chain: switch cycles against guests that forward",
     "guests", "cycles per packet that reached the end", "linear",
     lambda c: c.scenario == "chain", lambda c: c.n,
     ("switch_cycles_per_packet",)),
    ("Pairs on one polling thread: switch cycles against pairs",
     "pairs", "cycles per packet", "linear",
     lambda c: c.scenario == "pairs", lambda c: c.n,
     ("switch_cycles_per_packet",)),
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


def _comparable(results, cases):
    """Each of 'cases', a name for a system and a kind of processors, and the
    summary of both."""
    kinds = {m.kind for m in results.measurements
             if m.case in cases and m.kind != probe.MIXED}
    return [(case, s.system + (f" ({s.kind})" if len(kinds) > 1 else ""), s)
            for case in cases for s in results.summaries(case)
            if s.kind != probe.MIXED]


def _series(results, cases, x, figure):
    """Points by name of series: one for each system and kind of
    processors."""
    series = {}
    for case, name, s in _comparable(results, cases):
        value = s.median(figure)
        if value is not None:
            series.setdefault(name, []).append((x(case), value))
    return {name: sorted(points) for name, points in series.items()}


def _plot_lines(title, xlabel, ylabel, scale, series):
    blocks, plots = [], []
    for i, (name, points) in enumerate(series.items()):
        blocks.append(f"$s{i} << EOD\n"
                      + "".join(f"{a} {b}\n" for a, b in points) + "EOD\n")
        plots.append(f"$s{i} with linespoints lw 2 pt 7 ps 0.7 lc rgb "
                     f"'{COLOURS[i % len(COLOURS)]}' title {_quote(name)}")
    return _draw("".join(blocks) + f"set title {_quote(title)}\n"
                 f"set xlabel {_quote(xlabel)}\nset ylabel {_quote(ylabel)}\n"
                 + ("set logscale x 2\n" if scale == "log" else
                    "set xtics 1\n")
                 + "set yrange [0:*]\nplot " + ", ".join(plots) + "\n")


def _plot_latency(results, case):
    """Bars: percentiles of each system."""
    rows = "".join(
        f"{_quote(name)} "
        + " ".join(str(s.median(figure) or "NaN") for figure, _ in LATENCIES)
        + "\n"
        for _, name, s in _comparable(results, [case])
        if s.median("rtt_p50_us") is not None)
    if not rows:
        return None
    plots = ", ".join(
        f"$d using {i + 2}:xtic(1) title {_quote(label)} lc rgb "
        f"'{COLOURS[i]}'" for i, (_, label) in enumerate(LATENCIES))
    return _draw(f"$d << EOD\n{rows}EOD\nset style data histogram\n"
                 "set style histogram clustered gap 1\n"
                 "set style fill solid 0.9 border -1\nset boxwidth 0.9\n"
                 "set logscale y\nset ylabel 'microseconds'\n"
                 f"set title {_quote('Round trip: ' + case.title())}\n"
                 f"plot {plots}\n")


def draw_all(results):
    """Returns SVG elements, of what there are figures for."""
    drawn = []
    for title, xlabel, ylabel, scale, wanted, x, figures in PLOTS:
        cases = [c for c in results.cases() if wanted(c)]
        for figure in figures:
            series = _series(results, cases, x, figure)
            if any(len(points) > 1 for points in series.values()):
                drawn.append(_plot_lines(title, xlabel, ylabel, scale,
                                         series))
    for case in results.cases():
        if case.scenario == "latency":
            drawn.append(_plot_latency(results, case))
    return [svg for svg in drawn if svg]
