# SPDX-License-Identifier: Apache-2.0
"""External processes: each has a bound, and none outlives this program."""
import ctypes
import os
import select
import signal
import subprocess
import time

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
_running = []


class ProcessError(Exception):
    """An external program failed; the message says which, and what it said."""


def _child(cpus):
    def prepare():
        os.setsid()
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
    close()."""

    def __init__(self, args, log, env=None, cpus=None):
        self.name = os.path.basename(args[0])
        self.log = log
        self._buffer = b""
        with open(log, "wb") as stderr:
            try:
                self.process = subprocess.Popen(
                    args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=stderr, env=env, preexec_fn=_child(cpus))
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

    def close(self, grace=0):
        """Ends the program: closes its standard input, and kills its session
        if it has not ended within 'grace' seconds."""
        if self not in _running:
            return
        _running.remove(self)
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


def close_all():
    """Ends all programs, those started last first."""
    for conversation in reversed(list(_running)):
        conversation.close(grace=8)


def cpu_seconds(pid):
    """Processor time that process 'pid' has used, 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
