# SPDX-License-Identifier: Apache-2.0
"""The command line."""
import argparse
import json
import os
import signal
import sys

from . import background, control, logs, machine_libvirt, show
from .daemon import Daemon
from .held import Held
from .machine_qmp import QmpMachine
from .switch import Switch

VERSION = "0.1.0"
RUNDIR = "/var/run/openvswitch"
LIBVIRT = "qemu:///system"
# What ends the service.
SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP

DESCRIPTION = """\
Follows Open vSwitch, and plugs links of vpci ports, and memories of peers,
into the virtual machines of these ports, or out of them.

without a command   be the service that does that
release NAME        unplug all that of a domain or port, which gets no other
                    until 'resume': before a migration, or a snapshot
resume NAME         let it have links and memories again
status              what is plugged in where, and what has failed, and why
"""


class UsageError(Exception):
    """The command line makes no sense; the message says why."""


def _pair(text):
    port, equals, value = text.partition("=")
    if not (port and equals and value):
        raise argparse.ArgumentTypeError(f"{text}: wanted: PORT=...")
    return port, value


def _seconds(low, high):
    def parse(text):
        try:
            value = float(text)
        except ValueError:
            value = -1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(
                f"{text}: wanted: seconds, from {low} to {high}")
        return value
    return parse


def _parser():
    parser = argparse.ArgumentParser(
        prog="vpci-linkd", description=DESCRIPTION, allow_abbrev=False,
        epilog="See vpci-linkd(8).",
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("command", nargs="?", choices=["release", "resume", "status"],
        help=argparse.SUPPRESS)
    add("name", nargs="?", help=argparse.SUPPRESS)
    add("--control", metavar="SOCKET",
        help="where the service listens for commands (vpci-linkd.ctl in "
        "OVS_RUNDIR)")
    add("-V", "--version", action="version", version=f"vpci-linkd {VERSION}")
    _add_service(parser.add_argument_group("the service").add_argument)
    add = parser.add_argument_group("commands").add_argument
    add("--timeout", type=_seconds(0, control.MAX_TIMEOUT), default=60,
        metavar="S", help="how long release waits (60)")
    add("--json", action="store_true", help="status for programs")
    return parser


def _add_service(add):
    add("--qmp", type=_pair, action="append", default=[],
        metavar="PORT=SOCKET", help="the monitor (QMP) of the machine that "
        "has PORT, without libvirt; may be repeated")
    add("--bus", type=_pair, action="append", default=[],
        metavar="PORT=ID,...", help="root ports of that machine for links of "
        "PORT (any with room)")
    add("--libvirt", metavar="URI",
        help=f"domains of that libvirt, too ({LIBVIRT} if there is "
        "python3-libvirt)")
    add("--no-libvirt", action="store_true", help="no domains of libvirt")
    add("-t", "--target", metavar="TARGET",
        help="the switch, as for ovs-appctl")
    add("--db", metavar="DATABASE", help="its database, as for ovs-vsctl")
    add("--interval", type=_seconds(0.1, 60), default=1, metavar="S",
        help="how often the switch is looked at (1)")
    add("--release-timeout", type=_seconds(1, 86400), default=600,
        metavar="S", help="when links come back without 'resume' (600)")
    add("--unplug-at-exit", action="store_true",
        help="unplug all devices at the end")
    add("--detach", action="store_true", help="run in background")
    add("--pidfile", nargs="?", const="vpci-linkd.pid", metavar="FILE",
        help="write the process id (vpci-linkd.pid in OVS_RUNDIR)")
    add("--log-file", nargs="?", const="vpci-linkd.log", metavar="FILE",
        help="log to a file (vpci-linkd.log in OVS_LOGDIR)")
    add("-v", "--verbose", action="store_true", help="log more")


def _in(variable, default, name):
    """'name' in the directory of Open vSwitch's that 'variable' has."""
    return os.path.join(os.path.abspath(os.environ.get(variable, default)),
                        name)


def _machines(options):
    """The machines that --qmp and --bus tell of."""
    buses = {port: text.split(",") for port, text in options.bus}
    machines, ports = {}, set()
    for port, path in options.qmp:
        if port in ports:
            raise UsageError(f"--qmp: port {port} has two monitors")
        ports.add(port)
        path = os.path.abspath(path)
        machine = machines.setdefault(path, QmpMachine(path, buses))
        machine.ports.add(port)
    for port in buses:
        if port not in ports:
            raise UsageError(f"--bus: port {port} has no --qmp")
    return list(machines.values())


def _libvirt(options):
    """Returns the module of libvirt, if it is wanted."""
    if options.no_libvirt:
        if options.libvirt:
            raise UsageError("--libvirt and --no-libvirt exclude each other")
        return None
    module = machine_libvirt.load()
    if module is None and (options.libvirt or not options.qmp):
        raise UsageError("there is no python3-libvirt here: install it, or "
                         "use --no-libvirt with --qmp PORT=SOCKET")
    return module


def _serve(options):
    """Is the service.  Returns the exit status."""
    machines, libvirt = _machines(options), _libvirt(options)
    # The daemon's directory is another one.
    log_file = options.log_file and _in(
        "OVS_LOGDIR", "/var/log/openvswitch", options.log_file)
    pidfile = options.pidfile and _in("OVS_RUNDIR", RUNDIR, options.pidfile)
    parent = background.Parent()
    if options.detach:
        parent.detach()
    logs.start(log_file, options.detach, options.verbose)
    if pidfile:
        background.write_pidfile(pidfile)
    # These are waited for, by this thread alone.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    daemon = Daemon(Switch(options.target, options.db), machines,
                    options.interval,
                    Held(f"{options.control}.released",
                         options.release_timeout))
    server = control.Server(options.control, daemon)
    if libvirt:
        daemon.add_libvirt(libvirt, options.libvirt or LIBVIRT)
    server.start()
    parent.ready()
    while not signal.sigtimedwait(SIGNALS, daemon.look()):
        pass
    daemon.end(options.unplug_at_exit)
    server.close()
    return 0


def _command(options):
    """Asks the service.  Returns the exit status."""
    if (options.command == "status") != (options.name is None):
        raise UsageError(
            "status takes no name" if options.name else
            f"{options.command} wants the name of a domain or a port")
    request = {"command": options.command, "name": options.name,
               "timeout": options.timeout}
    answer = control.ask(options.control, request,
                         options.timeout if options.command == "release"
                         else control.TIMEOUT)
    if options.command == "status":
        print(json.dumps(answer, indent=2) if options.json
              else show.text(answer))
    elif options.command == "resume" and not answer["was_released"]:
        print(f"{options.name} was not released")
    return 0


def main():
    """Runs the program and returns its exit status."""
    options = _parser().parse_intermixed_args()
    options.control = _in("OVS_RUNDIR", RUNDIR,
                          options.control or "vpci-linkd.ctl")
    try:
        return _command(options) if options.command else _serve(options)
    except UsageError as error:
        print(f"vpci-linkd: {error}", file=sys.stderr)
        return 2
    except (control.ControlError, background.DaemonError) as error:
        print(f"vpci-linkd: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 1
    except OSError as error:
        print(f"vpci-linkd: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
