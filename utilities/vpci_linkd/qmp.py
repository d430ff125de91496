# SPDX-License-Identifier: Apache-2.0
"""The protocol of QEMU's monitor, QMP.

Whoever is at the other side may hang, or say anything."""
import json
import logging
import socket
import time

from .machine import MachineError
from .sockets import address

log = logging.getLogger("qmp")

# For the connection, and for each command.
TIMEOUT = 10
MAX_LINE = 8 << 20


class CommandError(MachineError):
    """QEMU has refused a command."""


class Monitor:
    """A connection to a monitor."""

    def __init__(self, path):
        self._path = path
        self._events = []
        self._data = b""
        self._socket = _connect(path)
        try:
            greeting = self._read(time.monotonic() + TIMEOUT)
            if "QMP" not in greeting:
                raise self._nonsense()
            self.execute("qmp_capabilities")
        except BaseException:
            self.close()
            raise

    def close(self):
        """Ends the connection."""
        self._socket.close()

    def execute(self, command, fd=None, **arguments):
        """Executes 'command', with descriptor 'fd', and returns its answer."""
        deadline = time.monotonic() + TIMEOUT
        request = json.dumps({"execute": command, "arguments": arguments})
        log.debug("%s: %s", self._path, request)
        try:
            self._socket.settimeout(TIMEOUT)
            socket.send_fds(self._socket, [request.encode() + b"\n"],
                            [] if fd is None else [fd])
        except socket.timeout:
            raise self._silent() from None
        except OSError as error:
            raise MachineError(f"{self._path}: {error.strerror}") from None
        while True:
            answer = self._read(deadline)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                error = answer["error"]
                text = error.get("desc") if isinstance(error, dict) else error
                raise CommandError(f"{command}: {text}")
            self._events.append(answer)

    def await_event(self, name, timeout, is_it):
        """Waits until event 'name' with data for which is_it(data) is true.
        Returns false if there is none for 'timeout' seconds."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                event = (self._events.pop(0) if self._events
                         else self._read(deadline))
            except _Silent:
                return False
            data = event.get("data")
            if (event.get("event") == name and isinstance(data, dict)
                    and is_it(data)):
                return True

    def _nonsense(self):
        return MachineError(f"{self._path}: what is there does not speak QMP: "
                            "is it the socket of QEMU's -qmp option?")

    def _silent(self):
        return _Silent(f"{self._path}: QEMU has not answered for {TIMEOUT} s: "
                       "does another program use this monitor, or is QEMU "
                       "stopped?")

    def _read(self, deadline):
        """Returns the next object."""
        while b"\n" not in self._data:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._silent()
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except socket.timeout:
                raise self._silent() from None
            except OSError as error:
                raise MachineError(f"{self._path}: {error.strerror}") from None
            if not data:
                raise MachineError(f"{self._path}: QEMU has gone")
            self._data += data
            if len(self._data) > MAX_LINE:
                raise self._nonsense()
        line, self._data = self._data.split(b"\n", 1)
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise self._nonsense()
        return answer


class _Silent(MachineError):
    """Nothing was said in time."""


def _connect(path):
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(TIMEOUT)
        with address(path) as where:
            sock.connect(where)
    except OSError as error:
        sock.close()
        raise MachineError(f"{path}: {error.strerror or 'no answer'}: is QEMU "
                           "running?") from None
    return sock
