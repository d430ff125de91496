#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares what switches do with the same packets.  One has the flow path
alone, one splices (other_config:hw-offload=true), and with ports of vpci-net
there is one whose guests have links besides.  All have the same ports and the
same random OpenFlow tables, one after the other.  Fails if for one table they
do not send the same packets to the same ports, those of one flow in order, or
do not count the same for each port and each rule.

Of each table that there are links for, guests lie in the end: they put packets
on links whatever hints say, and only what the flow path would bring to the
receiver alone may be accepted.

Needs root and huge pages; ovs-vswitchd, vpcid, vhost-guest, link-guest and the
tools of Open vSwitch in PATH."""
import argparse
import os
import signal
import sys
import time

from columns import Columns
from compare import Difference, subtract
from minimize import minimize
from switch import SwitchError
from tables import NativeSetup, Setup, Table

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
                        help="how many tables for virtio-net (20)")
    parser.add_argument("--link-tables", default=10, **number,
                        help="how many for vpci-net, with links (10)")
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
                        help="megabytes of huge pages for each switch\n"
                        "with virtio-net (256)")
    parser.add_argument(
        "--schema", metavar="FILE", help="vswitch.ovsschema of Open vSwitch",
        default=os.path.join(os.environ.get("ovs_srcdir", "."),
                             "vswitchd/vswitch.ovsschema"))
    return parser.parse_args()


class Run:
    """One run of the program."""

    def __init__(self, args):
        self.args = args
        self.columns = None
        self.setup_key = None
        self.n_tables = self.n_link_tables = self.n_packets = 0
        self.n_differences = 0
        self.taken = {"spliced": 0, "linked": 0, "refused": 0}
        self.began = time.monotonic()

    def progress(self, end=""):
        """Shows on one line how far it has come."""
        line = (f"{self.n_tables} tables, {self.n_packets} packets, "
                f"{self.taken['refused']} lies refused, "
                f"{self.taken['spliced']} spliced, "
                f"{self.taken['linked']} linked, "
                f"{self.n_differences} differences, "
                f"{time.monotonic() - self.began:.0f} s")
        if sys.stderr.isatty():
            print("\r" + line, end=end, file=sys.stderr, flush=True)
        elif end:
            print(line, flush=True)

    def set_up(self, kind, n):
        """Sees to it that the switches for table 'n' run, with a setup of that
        kind."""
        key = kind, n // TABLES_PER_SETUP
        if self.columns and self.setup_key == key:
            return
        self.tear_down()
        self.setup_key = key
        self.columns = Columns(kind(self.args.seed, n // TABLES_PER_SETUP),
                               self.args)
        self.columns.start()

    def tear_down(self, failed=False):
        """Ends the switches."""
        if self.columns:
            keep = self.args.keep and failed
            columns, self.columns = self.columns, None
            columns.stop(keep)
            if keep:
                print(f"see {columns.dir}")

    def try_table(self, kind, n):
        """Tries one table.  Returns False if the paths disagree."""
        self.set_up(kind, n)
        table = Table(self.args.seed, n, self.args.packets, self.columns.setup)
        if self.args.verbose:
            print(f"\ntable {n}:\n{table}", flush=True)
        before = dict(self.columns.taken)
        try:
            self.columns.try_table(table)
        except (Difference, SwitchError) as e:
            self.report(kind, n, table, e)
            return False
        self.n_tables += 1
        self.n_link_tables += kind.native
        self.n_packets += sum(len(frames) for round_ in range(table.n_rounds)
                              for frames in table.packets(round_).values())
        for path, grown in subtract(self.columns.taken, before).items():
            self.taken[path] += grown
        return True

    def report(self, kind, n, table, problem):
        """Says everything about a difference."""
        args = self.args
        self.n_differences += 1
        print(f"\nseed {args.seed}, table {n}"
              f"{', with links' * kind.native}: the paths disagree")
        print(f"{problem}\n")
        self.columns.save_state()
        if isinstance(problem, Difference):
            print(self.columns.explain(problem))
        print(f"{self.columns.setup}\n{table}\n")
        print("to reproduce: "
              f"fidelity.py --seed {args.seed} --first {n} "
              f"--tables {1 - kind.native:d} --link-tables {kind.native:d} "
              f"--packets {args.packets}", flush=True)
        if args.minimize:
            self.tear_down(True)
            self.set_up(kind, n)
            minimize(self, table)
        self.tear_down(True)

    def run(self):
        """Tries all tables.  Returns the exit status."""
        args = self.args
        until = (self.began + 60 * args.minutes if args.minutes
                 else float("inf"))
        for kind, n_tables in ((Setup, args.tables),
                               (NativeSetup, args.link_tables)):
            for n in range(args.first, args.first + n_tables):
                if time.monotonic() > until or (self.n_differences
                                                and not args.keep_going):
                    break
                self.try_table(kind, n)
                self.progress()
        self.progress("\n")
        return self.status()

    def status(self):
        """Returns the exit status.  Says so if a path was not taken at all."""
        if self.n_tables and not self.taken["spliced"]:
            print("no packet was spliced")
            return 1
        if self.n_link_tables and not (self.taken["linked"]
                                       and self.taken["refused"]):
            print("no packet took a link, or none was refused there")
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
