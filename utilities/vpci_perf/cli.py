# SPDX-License-Identifier: Apache-2.0
"""The command line of vpci-perf."""
import argparse
import os
import shutil
import signal
import sys
import tempfile

from . import process, report, scenarios, systems, table
from .environment import Environment, Missing
from .runner import Runner

DESCRIPTION = """\
Measures packet rates, switch cycles and latencies of vpci ports beside other
ways to join two guests, in one run, by turns.  Starts and stops everything
itself, in switches of its own; no other switch is touched.  Needs root, two
processors and up to 2 GB of free huge pages.
"""

METHOD = """\
For each case all systems are set up, each with a switch and guests of its own,
and stopped (SIGSTOP).  In each round they take turns: one is let go, warms up,
all counters are read, --duration passes, and they are read again.  After seven
rounds all is set up anew.  Figures are medians of all rounds; a ratio is
computed within each round, and the median of these is shown.

Mpps counts packets that reached the guest at the end.  "cycles/pkt" are TSC
cycles in which the switch's polling threads had packets ("processing cycles"
of ovs-appctl dpif-netdev/pmd-stats-show) divided by these packets; systems
without a switch have none, and "limit" those of its receiving processor while
it has packets, once for each time that a packet would cross a switch.  A
thread that has more packets at a time spends less on each.  "host CPU" is the
processor time of ovs-vswitchd, all threads, in processors; "guest CPU" that of
all guests.  "lost" is the share of packets that a guest's device took and that
never reached the other: unless a rate is set guests send as much as they can,
so that a slow switch loses some.  Latency is measured from making a packet to
having it back; that of "limit" is one of a cache line or, where guests sleep,
of eventfds.  "hand-offs" are Mpps times the hops from guest to guest in a
chain.  Sizes are those of frames without CRC; guests write and read
headers only.

The polling thread has a processor for itself.  All guests share another one:
they are devices of one program, which serves them in turn, burst by burst.
Without a switch each of the two guests has a processor.

"processors" says whether a cache line took less than 280 ns to the other
processor and back ("near") or more ("far"), before and after each measurement:
on virtual machines this changes, and with it all figures.  A round in which it
changed is repeated once or twice; if it changes again, its figures are kept
apart, and what changed during a measurement ("mixed") is compared with none.
"""


class UsageError(Exception):
    """The command line is wrong; the message says how."""


def _names(text):
    return [name for name in text.split(",") if name]


def _sizes(text):
    sizes = []
    for word in _names(text):
        if word == scenarios.IMIX_NAME:
            sizes.append(word)
        elif word.isdigit() and 60 <= int(word) <= 1518:
            sizes.append(int(word))
        else:
            raise argparse.ArgumentTypeError(
                f"{word}: a size is a number of bytes from 60 to 1518, or "
                "imix")
    return tuple(sizes)


def _bursts(text):
    bursts = _names(text)
    for word in bursts:
        if not word.isdigit() or not 1 <= int(word) <= 32:
            raise argparse.ArgumentTypeError(
                f"{word}: a burst is a number of packets from 1 to 32")
    return tuple(map(int, bursts))


def _number(low, high, kind=int):
    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text}: must be a number from {low} to {high}")
        return value
    return parse


def _cpus(text):
    words = text.split(",")
    if len(words) != 2 or not all(map(str.isdigit, words)) \
            or len(set(words)) != 2:
        raise argparse.ArgumentTypeError(
            f"{text}: two numbers of processors, such as 2,3")
    return tuple(map(int, words))


def _parser():
    parser = argparse.ArgumentParser(
        prog="vpci-perf", description=DESCRIPTION,
        epilog="how it is measured:\n" + METHOD + "\nSee vpci-perf(1).",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--list", action="store_true",
        help="list scenarios and systems, and what is missing here, and exit")
    add("--scenario", type=_names, metavar="S,...",
        help="scenarios to run (all; with --quick: p2p,latency)")
    add("--system", type=_names, metavar="S,...",
        help="systems (all; with --quick: not those that resemble others)")
    add("--size", type=_sizes, dest="sizes", metavar="N,...",
        help="frame sizes in bytes, 60 to 1518, or imix")
    add("--flows", type=_number(1, 1000000), metavar="N",
        help="UDP five-tuples (1; scenario flows: 1 to 1000000)")
    add("--burst", type=_bursts, dest="bursts", metavar="N,...",
        help="packets that are sent at once, 1 to 32 (32); scenario p2p")
    add("--masks", type=_number(1, 64), metavar="N",
        help="masks in scenario flows (16)")
    add("--packed", action="store_true", help="packed rings, not split ones")
    add("--duration", type=_number(0.1, 3600, float), metavar="S",
        help="seconds of each measurement (0.5; with --quick: 0.15)")
    add("--rounds", type=_number(1, 1000), metavar="N",
        help="rounds (15; with --quick: 7)")
    add("--quick", action="store_true",
        help="fewer cases, shorter measurements: ends within 3 minutes")
    add("--json", metavar="FILE", help="write figures to FILE")
    add("--report", metavar="DIR",
        help="write a page with tables and plots, DIR/index.html")
    add("--cpus", type=_cpus, metavar="G,S",
        help="processors of guests and of the switch's polling thread (the "
        "first two that this process may use)")
    add("--build", metavar="DIR", help="build tree of ovs-vpci (./_build)")
    add("--quiet", action="store_true", help="no progress")
    return parser


def _choose(wanted, known, what):
    """Returns the values of 'known' whose names are 'wanted'."""
    for name in wanted:
        if name not in known:
            raise UsageError(f"unknown {what} {name}: there are "
                             + ", ".join(known))
    return [known[name] for name in known if name in wanted]


def _check_output(options):
    """Finds out now, and not in an hour, that results can't be written."""
    if options.report:
        try:
            os.makedirs(options.report, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make directory {options.report}: "
                             f"{error.strerror}") from None
        if not os.access(options.report, os.W_OK):
            raise UsageError(f"cannot write to {options.report}")
        if not shutil.which("gnuplot"):
            raise Missing("--report draws plots with gnuplot, which is not "
                          "installed: apt-get install gnuplot-nox")
    if options.json:
        _check_file(options.json)


def _check_file(path):
    new = not os.path.exists(path)
    try:
        with open(path, "a", encoding="utf-8"):
            pass
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    if new:
        os.unlink(path)


def _list(env):
    for title, known in (("Scenarios:", scenarios.load()),
                         ("Systems:", systems.load())):
        print(title)
        for each in known.values():
            why = each.missing(env)
            print(f"  {each.name:<16} {each.help}"
                  + (f"\n{'':<19}can't run here: {why}" if why else ""))


def _set_defaults(options):
    quick = options.quick
    options.duration = options.duration or (0.15 if quick else 0.5)
    options.rounds = options.rounds or (7 if quick else 15)
    if not options.scenario:
        options.scenario = ["p2p", "latency"] if quick \
            else list(scenarios.load())
    if not options.system:
        options.system = [s.name for s in systems.load().values()
                          if s.quick or not quick]


def _ignored(options, chosen):
    """What the command line asks for and nobody does."""
    given = [name for name in ("sizes", "flows", "masks", "bursts", "packed")
             if getattr(options, name)]
    return [f"scenario {scenario.name} has no use for --"
            + name.replace("sizes", "size").replace("bursts", "burst")
            for scenario in chosen for name in given
            if name not in scenario.uses]


def _run(options, work_dir):
    env = Environment(options.build, work_dir, options.cpus)
    if options.list:
        _list(env)
        return 0
    _set_defaults(options)
    chosen_scenarios = _choose(options.scenario, scenarios.load(), "scenario")
    chosen_systems = _choose(options.system, systems.load(), "system")
    ignored = _ignored(options, chosen_scenarios)
    options.masks = options.masks or 16
    _check_output(options)
    env.check(chosen_systems)
    runner = Runner(env, options, chosen_scenarios, chosen_systems)
    for text in ignored:
        runner.results.warn(text)
        print("vpci-perf: warning:", text, file=sys.stderr)
    try:
        runner.run()
    except BaseException as error:
        runner.results.warn("interrupted before everything was measured"
                            if isinstance(error, KeyboardInterrupt)
                            else f"ended by an error: {error}")
        if runner.results.measurements:
            _show(runner.results, options)
        raise
    _show(runner.results, options)
    return 0 if runner.results.complete() else 1


def _show(results, options):
    if options.json:
        with open(options.json, "w", encoding="utf-8") as f:
            f.write(results.to_json())
    page = (report.write(results, options.report, METHOD)
            if options.report else None)
    print(table.render(results))
    if page:
        print("Report:", page)


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupted(signum, frame):
    """Once is enough: what is cleaned up then is not interrupted."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    """Runs the program and returns its exit status."""
    options = _parser().parse_args()
    for signum in SIGNALS:
        signal.signal(signum, _interrupted)
    work_dir = tempfile.mkdtemp(prefix="vpci-perf.")
    try:
        return _run(options, work_dir)
    except (Missing, UsageError) as error:
        print(f"vpci-perf: {error}", file=sys.stderr)
        return 2
    except process.ProcessError as error:
        print(f"vpci-perf: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads the table has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("vpci-perf: interrupted", file=sys.stderr)
        return 130
    finally:
        for signum in SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        process.close_all()
        shutil.rmtree(work_dir, ignore_errors=True)
