#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what two switches do with the same packets, one of which splices
(other_config:hw-offload=true).  Both have the same ports and the same random
OpenFlow tables, one after the other.  Fails if for one table they do not send
the same packets to the same ports, those of one flow in order, or do not count
the same for each port and each rule.

Needs root and huge pages; ovs-vswitchd, vhost-guest and the tools of Open
vSwitch in PATH."""
import argparse
import os
import signal
import sys
import time

from compare import Difference
from minimize import minimize
from pair import ROUNDS, Pair
from switch import SwitchError
from tables import Setup, Table

#: Tables after which switches start anew, with other rings and MTUs.
TABLES_PER_SETUP = 50


def parse_arguments():
    """Returns the command line as a namespace."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    number = {"type": int, "metavar": "N"}
    parser.add_argument("--seed", default=1, **number,
                        help="where random numbers begin (1)")
    parser.add_argument("--first", default=0, **number,
                        help="begin with this table (0)")
    parser.add_argument("--tables", default=20, **number,
                        help="how many tables (20)")
    parser.add_argument("--packets", default=1000, **number,
                        help="packets for each table, in all rounds (1000)")
    parser.add_argument("--minutes", type=float, metavar="N",
                        help="end after so many minutes")
    parser.add_argument("--keep-going", action="store_true",
                        help="go on with the next table after a difference")
    parser.add_argument("--minimize", action="store_true",
                        help="look for the rules and packets of a difference")
    parser.add_argument("--keep", action="store_true",
                        help="leave the directory with logs behind")
    parser.add_argument("--verbose", action="store_true",
                        help="print each table before it is tried")
    parser.add_argument("--memory", default=256, **number,
                        help="megabytes of huge pages for each switch (256)")
    parser.add_argument(
        "--schema", metavar="FILE", help="vswitch.ovsschema of Open vSwitch",
        default=os.path.join(os.environ.get("ovs_srcdir", "."),
                             "vswitchd/vswitch.ovsschema"))
    return parser.parse_args()


class Run:
    """One run of the program."""

    def __init__(self, args):
        self.args = args
        self.pair = None
        self.setup_number = None
        self.n_tables = self.n_packets = self.n_spliced = 0
        self.n_differences = 0
        self.began = time.monotonic()

    def progress(self, end=""):
        """Shows on one line how far it has come."""
        line = (f"{self.n_tables} tables, {self.n_packets} packets, "
                f"{self.n_spliced} of them spliced, {self.n_differences} "
                f"differences, {time.monotonic() - self.began:.0f} s")
        if sys.stderr.isatty():
            print("\r" + line, end=end, file=sys.stderr, flush=True)
        elif end:
            print(line, flush=True)

    def set_up(self, n):
        """Sees to it that the switches for table 'n' run."""
        number = n // TABLES_PER_SETUP
        if self.pair and self.setup_number == number:
            return
        self.tear_down()
        self.setup_number = number
        self.pair = Pair(Setup(self.args.seed, number), self.args)
        self.pair.start()

    def tear_down(self, failed=False):
        """Ends the switches."""
        if self.pair:
            keep = self.args.keep and failed
            pair, self.pair = self.pair, None
            pair.stop(keep)
            if keep:
                print(f"see {pair.dir}")

    def try_table(self, n):
        """Tries one table.  Returns False if the paths disagree."""
        self.set_up(n)
        table = Table(self.args.seed, n, self.args.packets // ROUNDS,
                      self.pair.setup)
        if self.args.verbose:
            print(f"\ntable {n}:\n{table}", flush=True)
        before = self.pair.spliced
        try:
            self.pair.try_table(table)
        except (Difference, SwitchError) as e:
            self.report(n, table, e)
            return False
        self.n_tables += 1
        self.n_packets += sum(len(frames) for round_ in range(ROUNDS)
                              for frames in table.packets(round_).values())
        self.n_spliced += self.pair.spliced - before
        return True

    def report(self, n, table, problem):
        """Says everything about a difference."""
        args = self.args
        self.n_differences += 1
        print(f"\nseed {args.seed}, table {n}: the paths disagree")
        print(f"{problem}\n")
        self.pair.save_state()
        if isinstance(problem, Difference):
            print(self.pair.explain(problem))
        print(f"{self.pair.setup}\n{table}\n")
        print("to reproduce: "
              f"fidelity.py --seed {args.seed} --first {n} --tables 1 "
              f"--packets {args.packets}", flush=True)
        if args.minimize:
            self.tear_down(True)
            self.set_up(n)
            minimize(self, table)
        self.tear_down(True)

    def run(self):
        """Tries all tables.  Returns the exit status."""
        until = (self.began + 60 * self.args.minutes if self.args.minutes
                 else float("inf"))
        for n in range(self.args.first, self.args.first + self.args.tables):
            if time.monotonic() > until:
                break
            if not self.try_table(n) and not self.args.keep_going:
                break
            self.progress()
        self.progress("\n")
        if self.n_tables and not self.n_spliced:
            print("no packet was spliced")
            return 1
        return 1 if self.n_differences else 0


def main():
    """Runs the program."""
    def stop(signum, _frame):
        raise KeyboardInterrupt(signal.Signals(signum).name)

    for signum in signal.SIGTERM, signal.SIGHUP:
        signal.signal(signum, stop)
    run = Run(parse_arguments())
    try:
        return run.run()
    except KeyboardInterrupt as e:
        run.progress("\n")
        print(f"ended by {e or 'SIGINT'}")
        return 1
    finally:
        for signum in signal.SIGTERM, signal.SIGHUP, signal.SIGINT:
            signal.signal(signum, signal.SIG_IGN)
        run.tear_down(True)


if __name__ == "__main__":
    sys.exit(main())
