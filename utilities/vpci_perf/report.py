# SPDX-License-Identifier: Apache-2.0
"""The page: tables, plots and method in one file without any other."""
import html
import os
import time

from . import plots, probe, scenarios, systems, table

STYLE = """
body { font: 15px/1.45 sans-serif; color: #222; max-width: 1000px;
       margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; }
h3 { font-size: 1em; margin: 1.5em 0 .3em; }
table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd;
         text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td.notes, td.ratio { text-align: left; white-space: normal; }
tr.missing td { color: #777; text-align: left; }
.warning { background: #fff3cd; padding: .5em 1em; }
figure { margin: 1em 0; } svg { max-width: 100%; height: auto; }
small { color: #666; }
"""


def _e(text):
    return html.escape(str(text))


def _row(cells, tag="td"):
    return "<tr>" + "".join(f"<{tag}>{c}</{tag}>" for c in cells) + "</tr>"


def _cell(summary, name, form):
    value = summary.median(name)
    if value is None:
        return ""
    values = summary.values(name)
    spread = ""
    if name in summary.case.compared and len(values) > 1:
        spread = (f" <small>{form.format(min(values))}&ndash;"
                  f"{form.format(max(values))}</small>")
    return form.format(value) + spread


def _case(results, case):
    summaries = results.summaries(case)
    columns = table.columns_of(summaries)
    rows = [_row(["", "processors", "rounds"] + [c[1] for c in columns]
                 + ["notes"], "th")]
    for s in summaries:
        cells = [_e(s.system), s.kind, len(s.measurements)] + [_cell(s, n, f)
                                          for n, _, f in columns]
        rows.append(_row(cells)[:-5] + '<td class="notes">'
                    + _e("; ".join(s.notes())) + "</td></tr>")
    for system, why in results.absent(case):
        rows.append(f'<tr class="missing"><td>{_e(system)}</td><td '
                    f'colspan="{len(columns) + 3}">{_e(why)}</td></tr>')
    return (f"<h3>{_e(case.title())}</h3><p><small>Processors: "
            f"{_e(results.places(case))}.</small></p>"
            f"<table>{''.join(rows)}</table>"
            + _ratios(results.ratios(case)))


def _ratios(ratios):
    if not ratios:
        return ""
    rows = [_row(["ratio, of the same round", "processors", "figure", "median",
                  "minimum", "maximum"], "th")]
    rows += [_row([_e(systems), kind, _e(heading), f"{r.median:.3f}",
                   f"{min(r.values):.3f}", f"{max(r.values):.3f}"])
             for systems, kind, figures in table.ratio_rows(ratios)
             for heading, r in figures]
    return f'<table class="ratios">{"".join(rows)}</table>'


def _machine(results):
    m = results.machine
    virtual = "a virtual machine" if m["virtual"] else "no virtual machine"
    return (f"<p>{_e(m['processor'])}, {m['processors']} processors used, "
            f"Linux {_e(m['kernel'])}, {virtual}.  The switch polls on "
            f"processor {m['switch_processor']}, guests are on processor "
            f"{m['guest_processor']}; without a switch each of two guests has "
            f"one.  {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}</p>"
            "<p>Near and far: how long a cache line takes from one processor "
            "to the other and back, less or more than "
            f"{probe.NEAR_NS} ns just then.  Limit: what no design that "
            "copies a packet once can beat on this machine.</p>")


def _glossary(title, things, used):
    rows = "".join(f"<li><b>{_e(name)}</b>: {_e(thing.help)}</li>"
                   for name, thing in things.items() if name in used)
    return f"<h3>{title}</h3><ul>{rows}</ul>"


def _method(results, method):
    used = ({m.system for m in results.measurements}
            | {s for _, s in results.missing})
    names = {c.scenario for c in results.cases()}
    paragraphs = "".join(f"<p>{_e(p)}</p>" for p in method.split("\n\n"))
    return ("<h2>Method</h2>" + paragraphs
            + _glossary("Scenarios", scenarios.load(), names)
            + _glossary("Systems", systems.load(), used))


def write(results, directory, method):
    """Writes the page and returns its path.  'method' is text that explains
    how figures came about."""
    figures = "".join(f"<figure>{svg}</figure>"
                      for svg in plots.draw_all(results))
    warnings = "".join(f'<p class="warning">{_e(w)}</p>'
                       for w in results.warnings)
    tables = "".join(_case(results, case) for case in results.cases())
    page = ("<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
            "<title>vpci-perf</title><style>" + STYLE + "</style></head><body>"
            "<h1>Packets between guests of one host</h1>" + _machine(results)
            + warnings + figures + "<h2>Figures</h2><p>Medians of all rounds,"
            " some with the lowest and the highest.</p>" + tables
            + _method(results, method)
            + "</body></html>\n")
    path = os.path.join(directory, "index.html")
    with open(path, "w", encoding="utf-8") as f:
        f.write(page)
    return path
