# SPDX-License-Identifier: Apache-2.0
"""A switch of its own: database, keeper if need be, ovs-vswitchd and bridge
br0, in a directory of its own, with no trace in the machine's network."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

#: Seconds that any single thing may take.
PATIENCE = 30

#: OpenFlow port numbers of guests, and of a port that is not of type vpci.
GUEST_PORTS = (1, 2, 3, 4)
DUMMY_PORT = 5

#: Revalidators look often, and leave idle megaflows alone.
OTHER_CONFIG = ("other_config:max-revalidator=100",
                "other_config:max-idle=60000",
                "other_config:pmd-maxsleep=100",
                "other_config:dpdk-init=true")


class SwitchError(Exception):
    """A switch does not do what it is told."""


@dataclass
class Way:
    """One way of a link: the number of its region, its megaflows, the packets
    that the receiver has refused, the moves of megaflows that did not wait to
    the end, and whether some move now."""
    region: int
    flows: int
    refused: int
    late: int
    moves: bool


def parse_ways(text):
    """Returns what "ovs-appctl vpci/links" says of links that are there."""
    ways, region = {}, 0
    for line in text.splitlines():
        found = re.search(r"region:(\d+)", line)
        if found:
            region = int(found[1])
        found = re.match(r"  p(\d) to p(\d): flows:(\d+),.*"
                         r"refused:(\d+),.*late:(\d+)", line)
        if found:
            ways[int(found[1]), int(found[2])] = Way(
                region, int(found[3]), int(found[4]), int(found[5]),
                "waits for" in line)
    return ways


class Switch:
    """A running switch."""

    def __init__(self, name, parent, setup, programs):
        self.name = name
        self.setup = setup
        self.programs = programs
        self.dir = os.path.join(parent, name)
        self.prefix = os.path.basename(parent) + name
        self.daemons = []
        self.dummy_seen = 0
        self.env = dict(os.environ, OVS_SYSLOG_METHOD="null")
        for variable in "RUNDIR", "LOGDIR", "DBDIR", "SYSCONFDIR":
            self.env["OVS_" + variable] = self.dir
        os.mkdir(self.dir)

    # Programs.

    def run(self, *args, **kwargs):
        """Runs a program to its end and returns what it prints."""
        try:
            done = subprocess.run(args, env=self.env, cwd=self.dir, text=True,
                                  capture_output=True, timeout=PATIENCE,
                                  **kwargs)
        except subprocess.TimeoutExpired as e:
            raise SwitchError(f"{self.name}: {' '.join(args)}: no end") from e
        if done.returncode:
            raise SwitchError(f"{self.name}: {' '.join(args)}: {done.stderr}"
                              f"{self._ended()}")
        return done.stdout

    def _ended(self):
        """Says which daemons are not there any more."""
        return "".join(f"({daemon.args[0]} ended with {daemon.returncode})"
                       for daemon in self.daemons if daemon.poll() is not None)

    def vsctl(self, *args):
        """Runs ovs-vsctl."""
        return self.run("ovs-vsctl", f"--db=unix:{self.dir}/db.sock",
                        f"--timeout={PATIENCE}", *args)

    def ofctl(self, *args, **kwargs):
        """Runs ovs-ofctl."""
        return self.run("ovs-ofctl", "-O", "OpenFlow15", *args, **kwargs)

    def appctl(self, method, *params):
        """Does what ovs-appctl does, without a process."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(PATIENCE)
            try:
                s.connect(os.path.join(self.dir, "ctl"))
                s.sendall(json.dumps({"method": method, "params": params,
                                      "id": 0}).encode())
                return self._reply(s, method)
            except OSError as e:
                raise SwitchError(f"{self.name}: {method}: {e}") from e

    def _reply(self, s, method):
        decoder = json.JSONDecoder()
        data = ""
        while True:
            piece = s.recv(65536)
            if not piece:
                raise SwitchError(f"{self.name}: {method}: no answer; see "
                                  f"{self.dir}/ovs-vswitchd.log")
            data += piece.decode()
            try:
                answer = decoder.raw_decode(data)[0]
            except ValueError:
                continue
            if answer["error"]:
                raise SwitchError(f"{self.name}: {method}: {answer['error']}")
            return answer["result"] or ""

    # Life cycle.

    def _daemon(self, *args):
        with open(os.path.join(self.dir, args[0] + ".out"), "w",
                  encoding="utf-8") as out:
            self.daemons.append(subprocess.Popen(
                args, env=self.env, cwd=self.dir, stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, start_new_session=True))

    def _await(self, what, condition):
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until:
                raise SwitchError(f"{self.name}: waited in vain for {what}")
            for daemon in self.daemons:
                if daemon.poll() is not None:
                    raise SwitchError(f"{self.name}: {daemon.args[0]} ended "
                                      f"with {daemon.returncode}")
            time.sleep(0.02)

    def start(self):
        """Starts everything up to the ports; guests may come."""
        database = os.path.join(self.dir, "db.sock")
        self.run("ovsdb-tool", "create", "conf.db", self.programs.schema)
        self._daemon("ovsdb-server", "conf.db", f"--remote=punix:{database}",
                     "--log-file", f"--unixctl={self.dir}/db.ctl")
        self._await("ovsdb-server", lambda: os.path.exists(database))
        if self.setup.native:
            self._daemon("vpcid", "--log-file", "--unixctl=none")
            control = os.path.join(self.dir, "vpcid.ctl")
            self._await("vpcid", lambda: os.path.exists(control))
        offload = str(self.name != "flow").lower()
        memory = self.setup.memory or self.programs.memory
        self.vsctl("--no-wait", "init", "--", "set", "Open_vSwitch", ".",
                   *OTHER_CONFIG, f"other_config:hw-offload={offload}",
                   f"other_config:vlan-limit={self.setup.vlan_limit}",
                   f"other_config:dpdk-socket-mem={memory}",
                   f"other_config:dpdk-socket-limit={memory}",
                   "other_config:dpdk-extra=\"--no-pci --no-telemetry "
                   f"--file-prefix={self.prefix}\"")
        self._daemon("ovs-vswitchd", f"unix:{database}", "--enable-dummy",
                     "--disable-system", "--disable-system-route",
                     "--log-file", f"--unixctl={self.dir}/ctl")
        self._await("ovs-vswitchd",
                    lambda: os.path.exists(os.path.join(self.dir, "ctl")))
        self._add_bridge()

    def _add_bridge(self):
        words = ["add-br", "br0", "--", "set", "bridge", "br0",
                 "datapath-type=dummy", "fail-mode=secure",
                 "other-config:hwaddr=aa:55:aa:55:00:00",
                 "other-config:datapath-id=fedcba9876543210",
                 "--", "set", "Interface", "br0", "mtu_request=9000"]
        for n in GUEST_PORTS:
            words += ["--", "add-port", "br0", f"p{n}", "--", "set",
                      "Interface", f"p{n}", "type=vpci",
                      f"ofport_request={n}",
                      f"mtu_request={self.setup.mtus[n]}", *self._device(n)]
        words += ["--", "add-port", "br0", "d5", "--", "set", "Interface",
                  "d5", "type=dummy", f"ofport_request={DUMMY_PORT}",
                  f"options:tx_pcap={self.dir}/d5.pcap", "mtu_request=9000"]
        self.vsctl(*words)
        self.appctl("dpctl/ipf-set-disabled", "v4")
        self.appctl("dpctl/ipf-set-disabled", "v6")
        self.ofctl("add-meter", "br0",
                   "meter=1,kbps,band=type=drop,rate=4000000")

    def _device(self, n):
        if not self.setup.native:
            return [f"options:vhost-listen-path={self.socket_of(n)}"]
        words = [f"options:ivshmem-path={self.socket_of(n)}"]
        if self.name == "link":
            others = ",".join(f"p{i}" for i in GUEST_PORTS if i != n)
            words += [f'options:links="{others}"', "options:links-min-rate=1"]
        return words

    def socket_of(self, n):
        """Names the socket for the guest of a port."""
        return os.path.join(self.dir, f"p{n}")

    def await_guests(self):
        """Waits until all guests are there."""
        self._await("guests", lambda: self.vsctl(
            "--columns=link_state", "find", "Interface", "type=vpci",
            "link_state=up").count("up") == len(GUEST_PORTS))

    def stop(self):
        """Ends the daemons, however they are."""
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in reversed(self.daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(os.path.join("/var/run/dpdk", self.prefix),
                      ignore_errors=True)

    # Waiting.

    def settle(self, quiet=0.01):
        """Waits until all megaflows are as the OpenFlow tables want them, and
        in the steering tables.  A change that has been taken from the queue
        may not be there yet: nothing must have changed for 'quiet' seconds."""
        self.appctl("revalidator/wait")
        self.appctl("revalidator/wait")
        if self.name != "flow":
            before, since = None, time.monotonic()
            until = since + PATIENCE
            while time.monotonic() < until:
                now = (self.pending_offloads() or self.is_moving(),
                       re.sub(r"(packets|bytes|used|flags):[^,]*,", "",
                              self.appctl("vpci/steering")))
                if now != before:
                    before, since = now, time.monotonic()
                elif not now[0] and time.monotonic() >= since + quiet:
                    break
                time.sleep(0.01)

    def pending_offloads(self):
        """Returns how many changes of megaflows are queued."""
        text = self.appctl("dpctl/offload-stats-show")
        return sum(int(n) for n in re.findall(r"Enqueued offloads: *(\d+)",
                                              text))

    def is_moving(self):
        """True if megaflows are joining or leaving a link."""
        return any(way.moves for way in self.ways().values())

    def ways(self):
        """Returns what there is to say of each way of each link, by numbers
        of ports."""
        return (parse_ways(self.appctl("vpci/links"))
                if self.name == "link" else {})

    # Counters.

    def fast_counters(self):
        """Returns, of each port, packets, bytes and drops in both directions,
        as the datapath has them."""
        counters, name = {}, None
        for line in self.appctl("dpctl/show", "-s").splitlines():
            line = line.strip()
            if line.startswith("port "):
                name = line.split()[2]
                counters[name] = {}
            elif name:
                for word in line.split():
                    if word in ("RX", "TX"):
                        side = word
                    else:
                        key, _, value = word.partition(":")
                        if value.isdigit():
                            counters[name][f"{side} {key}"] = int(value)
        return counters

    def port_counters(self):
        """Returns what ovs-ofctl says of each port."""
        text = self.ofctl("dump-ports", "br0")
        counters = {}
        for entry in re.split(r"\n  port ", text)[1:]:
            port, rest = entry.split(":", 1)
            for side, line in zip(("rx", "tx"), rest.splitlines()):
                for key, value in re.findall(r"(\w+)=(\d+)", line):
                    counters[f"{port.strip()} {side} {key}"] = int(value)
        return counters

    def custom_counters(self):
        """Returns what else the ports count, of drops and splicing."""
        counters, port = {}, None
        for line in self.ofctl("dump-ports", "br0").splitlines():
            if line.startswith("  port"):
                port = line.split()[1].strip(":")
            for key, value in re.findall(r"(\w+(?:drops|packets))=(\d+)",
                                         line):
                counters[f"{port} {key}"] = int(value)
        return counters

    def taken(self, path):
        """Returns how many packets were "spliced", or "linked", as the ports
        count them."""
        return sum(n for name, n in self.custom_counters().items()
                   if f"rx_{path}_packets" in name)

    def rule_counters(self):
        """Returns the lines of all rules and groups, with their counters."""
        lines = (self.ofctl("--no-names", "dump-flows", "br0")
                 + self.ofctl("dump-group-stats", "br0")).splitlines()
        lines = [re.sub(r"(duration|idle_age|hard_age)=[0-9.]+s?,? ?", "",
                        line).strip() for line in lines]
        return sorted(line for line in lines if "OFPST" not in line)

    def take_dummy_frames(self, read_pcap):
        """Returns what the dummy port has sent since the last time."""
        frames, self.dummy_seen = read_pcap(
            os.path.join(self.dir, "d5.pcap"), self.dummy_seen)
        return frames
