# SPDX-License-Identifier: Apache-2.0
"""The command line of vpci-xml."""
import argparse
import os
import re
import sys

from . import check, source, write
from .domain import Domain, NoDomain
from .switch import Switch, SwitchError

VERSION = "0.1.0"

DESCRIPTION = """\
Prints the domain XML of libvirt that a port of type vpci needs, and checks
whether a domain has it.  Asks the switch with ovs-vsctl; changes nothing.
"""

EPILOG = """\
examples:
  vpci-xml port vm1
  vpci-xml port vm1 --whole-domain > vm1.xml && virsh define vm1.xml
  virsh dumpxml vm1 | vpci-xml check

'vpci-xml COMMAND --help' has the options of a command.  See vpci-xml(1).
"""

PORT_DESCRIPTION = """\
Prints the XML that the guest of PORT needs, with comments that say why.  It is
a <domain> to paste from: with --whole-domain, one that can be defined.
"""

CHECK_DESCRIPTION = """\
Says what is missing or wrong in the domains of FILEs, beside the ports of the
switch, if there is one, and the sockets of this machine: errors (it does not
work), warnings (it works until something happens), and notes.
"""

CHECK_EPILOG = """\
exit status:
  0  no errors and no warnings
  1  some
  2  a FILE is no XML of a domain, or the command line is wrong
"""


def _number(low, high):
    def parse(text):
        if not text.isdigit() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(
                f"{text}: must be a number from {low} to {high}")
        return int(text)
    return parse


def _mac(text):
    if not re.fullmatch(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}", text) \
            or int(text[:2], 16) & 1 or not int(text.replace(":", ""), 16):
        raise argparse.ArgumentTypeError(
            f"{text}: must be the Ethernet address of one device, such as "
            "52:54:00:12:34:56")
    return text


def _add_port(commands):
    parser = commands.add_parser(
        "port", help="print the XML that a port needs",
        description=PORT_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("port", metavar="PORT", help="an interface of type vpci")
    add("--db", metavar="DATABASE",
        help="the database of the switch, as for ovs-vsctl")
    add("--mac", type=_mac, metavar="ADDRESS",
        help="the guest's Ethernet address (external_ids:attached-mac of the "
        "port, or one that libvirt chooses)")
    add("--queues", type=_number(1, 16), metavar="N",
        help="queue pairs (options:n_rxq of the port, or 1)")
    add("--links", type=_number(0, write.MAX_LINKS), metavar="N",
        help="root ports for links (none without options:links, one for each "
        f"port of a list, {write.DEFAULT_LINKS} with auto)")
    add("--into", metavar="FILE",
        help="the domain that the XML is for ('-' is standard input): PCI "
        "indices and slots that it uses are avoided")
    add("--whole-domain", action="store_true",
        help="a whole domain, named as the port")
    add("--memory", type=_number(16, 1 << 24), metavar="MiB",
        help="memory of the whole domain (1024)")
    add("--peer-memory", type=_number(1, 1 << 20), metavar="MiB",
        help="memory of the guest of options:peer, at most (what the switch "
        "says, if it has seen that guest)")
    add("--tcg", action="store_true", help="for a domain without KVM")
    parser.set_defaults(run=_port)


def _add_check(commands):
    parser = commands.add_parser(
        "check", help="say what is wrong in a domain",
        description=CHECK_DESCRIPTION, epilog=CHECK_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE",
        help="domains ('-' and none are standard input)")
    add("--db", metavar="DATABASE",
        help="the database of the switch, as for ovs-vsctl")
    add("--no-switch", action="store_true", help="ask no switch")
    add("--no-host", action="store_true",
        help="look at no socket of this machine")
    add("--no-notes", action="store_true", help="errors and warnings only")
    add("--qemu-user", metavar="USER",
        help="as whom QEMU runs (what the domain says, or "
        "/etc/libvirt/qemu.conf, or the usual user)")
    add("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_check)


def _parser():
    parser = argparse.ArgumentParser(
        prog="vpci-xml", description=DESCRIPTION, epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-V", "--version", action="version",
                        version=f"vpci-xml {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True,
                                     dest="command")
    _add_port(commands)
    _add_check(commands)
    return parser


class BadFile(Exception):
    """A file is no XML of a domain; the message says which, and why."""


def _read_domain(name):
    try:
        return Domain(source.read(name))
    except (source.BadXml, NoDomain) as error:
        raise BadFile(f"{'standard input' if name == '-' else name}: "
                      f"{error}") from None


def _port(options, parser):
    if options.memory and not options.whole_domain:
        parser.error("--memory goes only with --whole-domain")
    if options.into and options.whole_domain:
        parser.error("--into and --whole-domain exclude each other")
    options.into_domain = _read_domain(options.into) if options.into else None
    options.switch = Switch(options.db)
    sys.stdout.write(write.domain(options.switch.port(options.port), options))
    return 0


def _ask_switch(options):
    """The switch, or None if it is left out or does not answer."""
    if options.no_switch:
        return None
    try:
        return Switch(options.db)
    except SwitchError as error:
        if options.db:
            raise
        print(f"vpci-xml: not compared with ports (--no-switch): {error}",
              file=sys.stderr)
        return None


def _check(options, parser):
    files = options.files or ["-"]
    if files.count("-") > 1:
        parser.error("standard input can be only one of the domains")
    domains = [_read_domain(name) for name in files]
    switch = _ask_switch(options)
    found = check.run([check.Context(domain, switch, not options.no_host,
                                     options.qemu_user, domains)
                       for domain in domains])
    print(check.as_json(found) if options.json else
          check.as_text(found, len(files) > 1, not options.no_notes))
    return 1 if any(finding.is_problem() for _, finding in found) else 0


def main():
    """Runs the program and returns its exit status."""
    parser = _parser()
    options = parser.parse_args()
    try:
        status = options.run(options, parser)
        sys.stdout.flush()
        return status
    except BadFile as error:
        print(f"vpci-xml: {error}", file=sys.stderr)
        return 2
    except (SwitchError, write.CannotWrite) as error:
        print(f"vpci-xml: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads it has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
