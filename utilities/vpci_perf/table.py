# SPDX-License-Identifier: Apache-2.0
"""Results as text."""
from .results import FIGURES, HEADINGS


def _cell(summary, name, form):
    value = summary.median(name)
    if value is None:
        return ""
    text = form.format(value)
    if name in summary.case.compared and len(summary.measurements) > 1:
        values = summary.values(name)
        text += f" ({form.format(min(values))}-{form.format(max(values))})"
    return text


def columns_of(summaries):
    """Figures that at least one of 'summaries' has."""
    return [f for f in FIGURES
            if any(s.median(f[0]) is not None for s in summaries)]


def _format(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0])]
                      + [cell.rjust(w) for cell, w in zip(row[1:-1],
                                                          widths[1:-1])]
                      + [row[-1]]).rstrip()
            for row in rows]


def _case_table(results, case):
    summaries = results.summaries(case)
    columns = columns_of(summaries)
    rows = [["", "processors", "rounds"] + [c[1] for c in columns] + ["notes"]]
    for s in summaries:
        rows.append([s.system, s.kind, str(len(s.measurements))]
                    + [_cell(s, name, form) for name, _, form in columns]
                    + ["; ".join(s.notes())])
    lines = [case.title()]
    if results.places(case):
        lines.append(f"  Processors: {results.places(case)}.")
    if summaries:
        lines += ["  " + line for line in _format(rows)]
    lines += [f"  {system}: {why}" for system, why in results.absent(case)]
    return lines + _ratio_lines(results.ratios(case))


def ratio_rows(ratios):
    """Ratios of one case as rows: systems, kind of processors, figures as
    pairs of a heading and a Ratio."""
    rows = {}
    for r in ratios:
        rows.setdefault((f"{r.system} / {r.base}", r.kind), []).append(
            (HEADINGS[r.figure], r))
    return [(*key, figures) for key, figures in rows.items()]


def _ratio_lines(ratios):
    if not ratios:
        return []
    return ["  Ratios, each of one round: median (minimum-maximum)"] + [
        f"    {systems}, {kind}: " + ", ".join(
            f"{heading} {r.median:.3f} ({min(r.values):.3f}-"
            f"{max(r.values):.3f})" for heading, r in figures)
        for systems, kind, figures in ratio_rows(ratios)]


def render(results):
    """All tables."""
    lines = []
    for warning in results.warnings:
        lines += [f"warning: {warning}", ""]
    for case in results.cases():
        lines += _case_table(results, case) + [""]
    return "\n".join(lines).rstrip("\n")
