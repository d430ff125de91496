# SPDX-License-Identifier: Apache-2.0
"""Results as text."""
from .results import FIGURES


def _cell(summary, name, form):
    value = summary.median(name)
    if value is None:
        return ""
    text = form.format(value)
    if name == "mpps" and len(summary.measurements) > 1:
        values = summary.values(name)
        text += f" ({form.format(min(values))}-{form.format(max(values))})"
    return text


def _columns(summaries):
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
    columns = _columns(summaries)
    rows = [["", "processors"] + [c[1] for c in columns] + ["notes"]]
    for s in summaries:
        rows.append([s.system, s.kind]
                    + [_cell(s, name, form) for name, _, form, _ in columns]
                    + ["; ".join(s.notes())])
    lines = [case.title()]
    if summaries:
        lines += ["  " + line for line in _format(rows)]
    lines += [f"  {system}: not run: {why}"
              for (c, system), why in results.missing.items() if c == case]
    return lines


def render(results):
    """The whole table, with the ratios below."""
    lines = []
    for warning in results.warnings:
        lines += [f"warning: {warning}", ""]
    for case in results.cases():
        lines += _case_table(results, case) + [""]
    ratios = results.ratios()
    if ratios:
        lines.append("Ratios, of the same round: median (minimum-maximum)")
        lines += [f"  {r.name()}: {r.median:.3f} ({min(r.values):.3f}-"
                  f"{max(r.values):.3f})" for r in ratios]
    return "\n".join(lines)
