# SPDX-License-Identifier: Apache-2.0
"""A private switch: database and ovs-vswitchd in a directory of their own."""
import os
import re
import signal
import time

from . import process

# MB of huge pages that a switch may have: half of what its pools of packets
# would take if there were no other switches.
MEMORY = 448
START_TIMEOUT = 60
PORT_TIMEOUT = 20


class SwitchError(process.ProcessError):
    """A switch did not even start."""


class Switch:
    """One ovs-vswitchd with a bridge, br0.  Its polling thread has
    env.switch_cpu.  Ports are numbered from 0; port N is OpenFlow port N + 1
    and its guest listens on socket(N)."""

    def __init__(self, env, vswitchd, name, preload=None, splices=False,
                 other_config=()):
        self.env = env
        self._splices = splices
        self.dir = os.path.join(env.work_dir, name)
        os.makedirs(self.dir)
        self.n_ports = 0
        shell_env = dict(os.environ, sandbox_ovs_build=env.ovs_build,
                         sandbox_schema=env.schema, sandbox_vswitchd=vswitchd,
                         sandbox_pmd_cpu=str(env.switch_cpu),
                         sandbox_memory=str(MEMORY),
                         sandbox_offload=str(splices).lower(),
                         sandbox_other_config=" ".join(other_config))
        if preload:
            shell_env["LD_PRELOAD"] = preload
        self._shell = process.Conversation(
            ["bash", os.path.join(env.utilities, "sandbox.sh"), self.dir],
            os.path.join(self.dir, "sandbox.log"), env=shell_env,
            ends_alone=True)
        try:
            self._start(env, vswitchd)
        except BaseException:
            self._shell.close(grace=8)
            raise

    def _start(self, env, vswitchd):
        self.env_vars = dict(
            os.environ, OVS_RUNDIR=self.dir, OVS_LOGDIR=self.dir,
            OVS_DBDIR=self.dir, OVS_SYSCONFDIR=self.dir,
            PATH=f"{env.ovs_build}/utilities:{os.environ['PATH']}")
        try:
            said = self._shell.read_until(
                lambda s: s.startswith("datapath="), START_TIMEOUT)[-1]
        except process.ProcessError:
            raise SwitchError(f"{vswitchd} did not start"
                              + self._last_words()) from None
        self.datapath = said.split("=")[1]
        self.pid = int(process.read_file(
            os.path.join(self.dir, "ovs-vswitchd.pid")))
        self.vsctl("add-br", "br0", "--", "set", "Bridge", "br0",
                   f"datapath_type={self.datapath}", "fail_mode=secure",
                   # Flows outlive the time in which others are measured.
                   "--", "set", "Open_vSwitch", ".",
                   "other_config:max-idle=3600000")

    def tool(self, *args, timeout=30):
        return process.run(list(args), timeout=timeout, env=self.env_vars)

    def vsctl(self, *args):
        return self.tool("ovs-vsctl", f"--timeout={PORT_TIMEOUT}", *args)

    def appctl(self, *args):
        return self.tool("ovs-appctl", f"--timeout={PORT_TIMEOUT}", *args)

    def ofctl(self, *args):
        return self.tool("ovs-ofctl", *args)

    def socket(self, port):
        return os.path.join(self.dir, f"p{port}.sock")

    def add_port(self, kind):
        """Adds the next port, of type 'kind', as soon as its guest listens:
        earlier, the switch would try again only a second later."""
        i = self.n_ports
        deadline = time.monotonic() + PORT_TIMEOUT
        while not os.path.exists(self.socket(i)):
            if time.monotonic() > deadline:
                raise process.ProcessError(
                    f"no guest listens on {self.socket(i)} after "
                    f"{PORT_TIMEOUT} s")
            time.sleep(0.01)
        self.readd_port(i, kind)
        self.n_ports = i + 1

    def readd_port(self, i, kind):
        """Adds port 'i' again, after it was deleted."""
        self.vsctl("add-port", "br0", f"p{i}", "--", "set", "Interface",
                   f"p{i}", f"type={kind}", f"ofport_request={i + 1}",
                   f"options:vhost-server-path={self.socket(i)}")

    def add_listening_port(self, kind):
        """Adds the next port, of type 'kind', for a guest that connects.
        Returns the path of its socket."""
        i = self.n_ports
        args = ["add-port", "br0", f"p{i}", "--", "set", "Interface",
                f"p{i}", f"type={kind}", f"ofport_request={i + 1}"]
        if kind == "vpci":
            path = self.socket(i)
            args.append(f"options:vhost-listen-path={path}")
        else:
            # Open vSwitch names the socket after the port.
            path = os.path.join(self.dir, f"p{i}")
        self.vsctl(*args)
        self.n_ports = i + 1
        return path

    def native_path(self, port):
        """The address of 'port' for a guest that uses libvpci."""
        return os.path.join(self.dir, f"p{port}.vpci")

    def add_native_port(self, n_links=0, queues=1, classes=1):
        """Adds the next port, for a guest that uses libvpci and may have links
        with those of the first 'n_links' ports, with 'classes' of priority, by
        DSCP.  Returns its address."""
        i = self.n_ports
        others = ",".join(f"p{j}" for j in range(n_links) if j != i)
        self.vsctl("add-port", "br0", f"p{i}", "--", "set", "Interface",
                   f"p{i}", "type=vpci", f"ofport_request={i + 1}",
                   f"options:ivshmem-path={self.native_path(i)}",
                   f'options:links="{others or "off"}"',
                   f"options:n_rxq={queues}",
                   f"options:priority-classes={classes}",
                   "options:priority-by=dscp")
        self.n_ports = i + 1
        return self.native_path(i)

    def wait_for_guests(self):
        """Waits until all ports have a guest."""
        ports = [f"p{i}" for i in range(self.n_ports)]
        deadline = time.monotonic() + PORT_TIMEOUT
        while True:
            states = self.vsctl("--bare", "--columns=link_state", "list",
                                "Interface", *ports).split()
            if states.count("up") == self.n_ports:
                return
            if time.monotonic() > deadline:
                raise process.ProcessError(
                    f"{self.n_ports - states.count('up')} ports have no "
                    f"guest after {PORT_TIMEOUT} s: see {self.dir}")
            time.sleep(0.05)

    def set_flows(self, flows):
        """Makes 'flows' the only OpenFlow rules of br0."""
        path = os.path.join(self.dir, "flows")
        with open(path, "w", encoding="ascii") as f:
            f.write("\n".join(flows) + "\n")
        self.ofctl("replace-flows", "br0", path)

    def remove_ports(self):
        args = []
        for i in range(self.n_ports):
            args += ["--", "--if-exists", "del-port", "br0", f"p{i}"]
        if args:
            self.vsctl(*args[1:])
        for i in range(self.n_ports):
            if os.path.exists(self.socket(i)):
                os.unlink(self.socket(i))
        self.n_ports = 0

    def busy_cycles(self):
        """TSC cycles in which the polling threads had packets, so far, the
        packets that they received from ports, and their processors."""
        text = self.appctl("dpif-netdev/pmd-stats-show")
        busy = packets = 0
        cores = []
        for thread in text.split("pmd thread ")[1:]:
            cores.append(int(re.search(r"core_id (\d+)", thread).group(1)))
            busy += int(re.search(r"processing cycles: (\d+)",
                                  thread).group(1))
            packets += int(re.search(r"packets received: (\d+)",
                                     thread).group(1))
        if self._splices:
            # To Open vSwitch a thread that splices is idle.
            text = self.appctl("vpci/show")
            for spliced, cycles in re.findall(
                    r"splice path: packets received (\d+) .* cycles (\d+)",
                    text):
                packets += int(spliced)
                busy += int(cycles)
        return busy, packets, cores

    def has_settled_links(self):
        """True if flows have taken links, and none is about to."""
        text = self.appctl("vpci/links")
        return (re.search(r" flows:[1-9]", text) is not None
                and "joining" not in text and "leaving" not in text)

    def dropped(self):
        """Packets that the switch could not put on a guest's ring, so far."""
        text = self.ofctl("dump-ports", "br0")
        return sum(int(n) for n in re.findall(r"tx pkts=\S+ bytes=\S+ "
                                              r"drop=(\d+)", text))

    def polling_cpu_seconds(self):
        """Processor time of the polling threads, so far."""
        return process.cpu_seconds(self.pid, "pmd-")

    def cpu_seconds(self):
        """Processor time of the whole process, so far."""
        return process.cpu_seconds(self.pid)

    def _last_words(self):
        """The last error in the logs."""
        for name in ("sandbox.log", "ovs-vswitchd.log", "ovs-vswitchd.out"):
            lines = [line for line in process.read_file(os.path.join(
                self.dir, name)).splitlines() if line.strip()]
            if name == "ovs-vswitchd.log":
                lines = [line for line in lines
                         if "|ERR|" in line or "|EMER|" in line]
            if lines:
                return ": " + lines[-1]
        return ""

    def freeze(self):
        """Stops the switch until thaw(), so that its processor is free."""
        process.send_signal(self.pid, signal.SIGSTOP)

    def thaw(self):
        process.send_signal(self.pid, signal.SIGCONT)

    def close(self):
        self.thaw()
        self._shell.close(grace=8)
