# SPDX-License-Identifier: Apache-2.0
"""What sends and receives: DPDK programs with guests' devices."""
import itertools
import os
import re
import time

from . import process

START_TIMEOUT = 30
ANSWER_TIMEOUT = 20
_numbers = itertools.count()


def _eal_args(env, vdevs, cpu, memory):
    """EAL options of a process that has both of its threads on 'cpu'."""
    prefix = f"{os.path.basename(env.work_dir)}-{next(_numbers)}"
    args = ["--lcores", f"0@{cpu},1@{cpu}", "--no-pci", "--in-memory",
            "--single-file-segments", "-m", str(memory), "--no-telemetry",
            f"--file-prefix={prefix}"]
    for vdev in vdevs:
        args += ["--vdev", vdev]
    return args, prefix


def _remove_prefix(prefix):
    try:
        os.rmdir(f"/run/dpdk/{prefix}")
    except OSError:
        pass


class _Guest:
    """What all of them have: a conversation with a program."""

    _talk = _prefix = None
    polls = True

    def freeze(self):
        self._talk.freeze()

    def thaw(self):
        self._talk.thaw()

    def cpu_seconds(self):
        return process.cpu_seconds(self._talk.pid)

    def close(self):
        self._talk.close()
        _remove_prefix(self._prefix)


class PerfGuest(_Guest):
    """Our own traffic program: one guest for each device."""

    def __init__(self, env, vdevs, cpu, sleep=False, queues=1, addresses=()):
        """Has DPDK's devices 'vdevs', or those of libvpci at 'addresses'."""
        args, self._prefix = _eal_args(
            env, vdevs, cpu, 32 + 3 * (2 * queues + 1) * len(vdevs))
        self.n = len(vdevs) + len(addresses)
        self.polls = not sleep
        self._talk = process.Conversation(
            [env.helper("vpci-perf-guest"), *args, "--", str(self.n),
             str(queues), "sleep" if sleep else "poll", *addresses],
            os.path.join(env.work_dir, f"{self._prefix}.log"), cpus={cpu})

    def wait(self):
        """Waits until all devices have a peer."""
        self._talk.read_until(lambda line: line == "ready", START_TIMEOUT)

    def tell(self, command):
        """Gives a command; returns what the answer says."""
        self._talk.send(command)
        answer = self._talk.read_until(
            lambda line: line.startswith(("ok", "error")),
            ANSWER_TIMEOUT)[-1]
        if answer.startswith("error"):
            raise process.ProcessError(f"vpci-perf-guest: {command}: {answer}")
        return answer

    @staticmethod
    def parse(answer):
        """Turns an answer with counters into a dictionary."""
        values = dict(word.split("=", 1) for word in answer.split()[1:])
        return {name: [float(x) if "." in x else int(x)
                       for x in value.split(",")]
                for name, value in values.items()}

    def stats(self):
        return self.parse(self.tell("stats"))


class Testpmd(_Guest):
    """testpmd in 'io' mode: what comes on one of its two devices goes out on
    the other.  It begins with bursts of its own."""

    def __init__(self, env, vdevs, cpu, size):
        args, self._prefix = _eal_args(env, vdevs, cpu, 96)
        self._talk = process.Conversation(
            ["stdbuf", "-oL", "dpdk-testpmd", *args, "--", "--interactive",
             "--forward-mode=io", "--nb-cores=1", f"--txpkts={size}",
             "--txd=1024", "--rxd=1024", "--total-num-mbufs=16384"],
            os.path.join(env.work_dir, f"{self._prefix}.log"), cpus={cpu})
        self._marks = 0

    def wait(self):
        self._talk.read_until(lambda line: line.startswith("Done"),
                              START_TIMEOUT)

    def tell(self, command):
        """Gives a command and returns the lines of its answer.  testpmd
        echoes what it is told, so that a comment marks the end."""
        self._marks += 1
        mark = f"#mark-{self._marks}"
        self._talk.send(command)
        self._talk.send(mark)
        return self._talk.read_until(lambda line: mark in line,
                                     ANSWER_TIMEOUT)

    def start(self, bursts):
        self.tell("set burst 32")
        self.tell(f"start tx_first {bursts}")

    def stats(self):
        """Packets that each device received, and when this was asked."""
        now = time.monotonic()
        text = "\n".join(self.tell("show port stats all"))
        return now, [int(n) for n in re.findall(r"RX-packets:\s*(\d+)", text)]
