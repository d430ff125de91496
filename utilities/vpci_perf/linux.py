# SPDX-License-Identifier: Apache-2.0
"""Real Linux guests: User-Mode Linux, by the functions of tests/guests."""
import functools
import glob
import os
import shlex

from . import process

BOOT_SECONDS = 60
# Bounds of one command in a guest, and of a guest's life.
COMMAND_SECONDS = 3700
LIFETIME_SECONDS = 2 * 3600


@functools.cache
def missing(env):
    """None, or why there can be no Linux guests here."""
    if not env.build or not os.path.exists(_script(env)):
        return "needs the source tree of ovs-vpci, for its Linux guests"
    lacks = process.run(["bash", _script(env), "guests_missing", "uml"],
                        env=_environment(env)).split()
    if lacks:
        return ("Linux guests need " + " ".join(lacks)
                + ": ./quickstart.sh demo installs them")
    return None


def _script(env):
    return os.path.join(os.path.dirname(env.utilities),
                        "tests/guests/guests.sh")


def _environment(env, directory=""):
    return dict(os.environ, GUESTS_DIR=directory,
                GUESTS_CACHE=os.path.join(env.build or "", "guests"),
                GUESTS_CPUS=str(env.guest_cpu),
                GUEST_LIFETIME=str(LIFETIME_SECONDS),
                GUEST_TIMEOUT=str(COMMAND_SECONDS))


class LinuxGuests:
    """Guests 10.0.0.1, 10.0.0.2 ... on sockets of switch ports."""

    def __init__(self, env, name):
        """Those of one 'name' at a time."""
        self._env = env
        self._dir = os.path.join(env.work_dir, "linux-" + name)

    def call(self, *args, timeout=150):
        return process.run(["bash", _script(self._env), *args],
                           timeout=timeout,
                           env=_environment(self._env, self._dir))

    def start(self, number, socket):
        self.call("uml_start", f"vm{number}", socket,
                  f"02:00:00:00:00:{number + 1:02x}",
                  f"10.0.0.{number + 1}/24")

    def wait(self, number):
        self.call("guest_wait", f"vm{number}", str(BOOT_SECONDS))

    def run(self, number, command, timeout=150):
        """Runs a shell command in guest 'number' and returns its output."""
        return self.call("guest_run", f"vm{number}", command,
                         timeout=timeout)

    def ping(self, number, address, count, interval=0.05):
        """Milliseconds of 'count' round trips, which begin 'interval' seconds
        one after the other."""
        text = self.run(number, f"ping -c {count} -i {interval} "
                        + shlex.quote(address), timeout=count + 30)
        return [float(word[5:]) for word in text.split()
                if word.startswith("time=")]

    def cpu_seconds(self):
        """Processor time of all guests with all of their helpers, so far."""
        total = 0.0
        for path in glob.glob(os.path.join(self._dir, "*/pid")):
            total += process.tree_cpu_seconds(int(process.read_file(path)))
        return total

    def stop(self):
        self.call("guests_stop_all")
