# SPDX-License-Identifier: Apache-2.0
"""External processes: each has a bound, and none outlives this program."""
import ctypes
import glob
import os
import select
import signal
import subprocess
import time

# Seconds that a program which runs for less than one may take on a machine
# that does much else.
PATIENCE = 60
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_running = []


class ProcessError(Exception):
    """An external program failed; the message says which, and what it said."""


def _child(cpus, ends_alone=False):
    def prepare():
        os.setsid()
        if not ends_alone:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if cpus:
            os.sched_setaffinity(0, cpus)
    return prepare


def run(args, timeout=30, env=None, cpus=None, text=""):
    """Runs 'args', with 'text' as standard input, to its end, at most
    'timeout' seconds, and returns its standard output."""
    try:
        done = subprocess.run(args, timeout=timeout, env=env, text=True,
                              input=text, capture_output=True,
                              preexec_fn=_child(cpus))
    except subprocess.TimeoutExpired:
        raise ProcessError(f"{args[0]}: no end after {timeout} s") from None
    except OSError as error:
        raise ProcessError(f"{args[0]}: {error.strerror}") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ProcessError(f"{' '.join(args[:3])}: status {done.returncode}"
                           + (f": {said[-1]}" if said else ""))
    return done.stdout


class Conversation:
    """A program that is told lines and answers with lines.

    It is a session leader of its own, dies with this program, and is killed by
    close().  With 'ends_alone', the end of its standard input is enough to end
    it, and it has something to clean up."""

    def __init__(self, args, log, env=None, cpus=None, ends_alone=False):
        self.name = os.path.basename(args[0])
        self.log = log
        self._buffer = b""
        with open(log, "wb") as stderr:
            try:
                self.process = subprocess.Popen(
                    args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=stderr, env=env,
                    preexec_fn=_child(cpus, ends_alone))
            except OSError as error:
                raise ProcessError(f"{args[0]}: {error.strerror}") from None
        _running.append(self)

    @property
    def pid(self):
        return self.process.pid

    def send(self, line):
        """Tells the program 'line'."""
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise ProcessError(self._last_words("is gone")) from None

    def read_until(self, wanted, timeout):
        """Reads until a line for which wanted(line) is true; returns all lines
        up to it.  'timeout' is in seconds."""
        deadline = time.monotonic() + timeout
        lines = []
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                lines.append(line.decode(errors="replace").rstrip("\r"))
                if wanted(lines[-1]):
                    return lines
            left = deadline - time.monotonic()
            fd = self.process.stdout.fileno()
            if left <= 0 or not select.select([fd], [], [], left)[0]:
                raise ProcessError(self._last_words(
                    f"said nothing for {timeout} s"))
            data = os.read(fd, 65536)
            if not data:
                raise ProcessError(self._last_words("ended"))
            self._buffer += data

    def _last_words(self, what):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                said = f.read().strip().splitlines()
        except OSError:
            said = []
        return f"{self.name} {what}" + (f": {said[-1]}" if said else "")

    def freeze(self):
        """Stops the program until thaw()."""
        send_signal(self.pid, signal.SIGSTOP)

    def thaw(self):
        send_signal(self.pid, signal.SIGCONT)

    def close(self, grace=0):
        """Ends the program: closes its standard input, and kills its session
        if it has not ended within 'grace' seconds."""
        if self not in _running:
            return
        self.thaw()
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()
        _running.remove(self)


def send_signal(pid, signum):
    """Sends a signal to process 'pid', unless it is gone."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass


def close_all():
    """Ends all programs, those started last first."""
    for conversation in reversed(list(_running)):
        conversation.close(grace=8)


def read_file(path):
    """The text of file 'path', "" if it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def _stat(pid):
    """Fields of /proc/PID/stat from the third on, or None."""
    text = read_file(f"/proc/{pid}/stat")
    return text.rsplit(")", 1)[1].split() if text else None


def cpu_seconds(pid, name=""):
    """Processor time that the living threads of process 'pid' have used whose
    names begin with 'name'."""
    total = 0
    for task in glob.glob(f"/proc/{pid}/task/*"):
        try:
            with open(f"{task}/comm", encoding="ascii",
                      errors="replace") as comm, \
                    open(f"{task}/schedstat", encoding="ascii") as stat:
                if comm.read().startswith(name):
                    total += int(stat.read().split()[0])
        except OSError:
            pass
    return total / 1e9


def tree_cpu_seconds(pid):
    """The same of 'pid' and all of its descendants, those that it has waited
    for included."""
    stats = {name: _stat(name) for name in os.listdir("/proc")
             if name.isdigit()}
    wanted, ticks = [str(pid)], 0
    for parent in wanted:
        stat = stats.get(parent)
        if stat:
            ticks += sum(map(int, stat[11:15]))
            wanted += [name for name, s in stats.items()
                       if s and s[1] == parent]
    return ticks / os.sysconf("SC_CLK_TCK")
