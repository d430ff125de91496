# SPDX-License-Identifier: Apache-2.0
"""What other programs ask of the daemon: one line of JSON, and one back."""
import json
import logging
import os
import socket
import threading

from .sockets import address

log = logging.getLogger("control")

MAX_LINE = 1 << 20
MAX_CLIENTS = 16
# For who asks, and for who reads the answer.
TIMEOUT = 5
MAX_TIMEOUT = 3600


class ControlError(Exception):
    """Nobody answers, or the answer is no; the message says why."""


def ask(path, request, timeout=TIMEOUT):
    """Asks the daemon at 'path', and returns its answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout + TIMEOUT)
        try:
            with address(path) as where:
                sock.connect(where)
            sock.sendall(json.dumps(request).encode() + b"\n")
            answer = json.loads(_read_line(sock))
        except socket.timeout:
            raise ControlError(f"{path}: no answer in "
                               f"{timeout + TIMEOUT} s") from None
        except OSError as error:
            raise ControlError(f"{path}: {error.strerror or error}: is "
                               "vpci-linkd running, and does --control or "
                               "OVS_RUNDIR say where?") from None
        except ValueError:
            raise ControlError(f"{path}: the answer is not "
                               "understood") from None
    if "error" in answer:
        raise ControlError(answer["error"])
    return answer


def _read_line(sock):
    data = b""
    while b"\n" not in data:
        more = sock.recv(65536)
        if not more:
            break
        data += more
        if len(data) > MAX_LINE:
            raise ValueError("too long")
    return data


class Server:
    """Listens at 'path', and hands on to 'daemon' what is asked there."""

    def __init__(self, path, daemon):
        self._path, self._daemon = path, daemon
        self._room = threading.Semaphore(MAX_CLIENTS)
        self._socket = self._listen()

    def start(self):
        """Begins to answer."""
        threading.Thread(target=self._accept, daemon=True,
                         name="control").start()

    def close(self):
        """Removes the socket."""
        try:
            os.unlink(self._path)
        except OSError:
            pass

    def _listen(self):
        sock = socket.socket(socket.AF_UNIX)
        old = os.umask(0o077)
        try:
            self._remove_old()
            with address(self._path) as where:
                sock.bind(where)
            sock.listen(MAX_CLIENTS)
        except OSError as error:
            sock.close()
            raise ControlError(f"{self._path}: {error.strerror or error}: "
                               "--control=SOCKET chooses another "
                               "place") from None
        finally:
            os.umask(old)
        return sock

    def _remove_old(self):
        """Removes what a daemon that was killed has left."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(TIMEOUT)
            try:
                with address(self._path) as where:
                    probe.connect(where)
            except FileNotFoundError:
                return
            except ConnectionRefusedError:
                os.unlink(self._path)
                return
        raise ControlError(f"{self._path}: another vpci-linkd listens there: "
                           "stop it")

    def _accept(self):
        while True:
            # Who comes when there are too many waits.
            self._room.acquire()
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                log.warning("%s: %s", self._path, error.strerror)
                self._room.release()
                continue
            threading.Thread(target=self._serve, args=(client,),
                             daemon=True).start()

    def _serve(self, client):
        try:
            client.settimeout(TIMEOUT)
            try:
                request = json.loads(_read_line(client))
                answer = self._answer(request)
            except (ValueError, KeyError, TypeError, AttributeError,
                    RecursionError) as error:
                answer = {"error": f"this request is not understood "
                          f"({error!r})"}
            client.sendall(json.dumps(answer).encode() + b"\n")
        except OSError as error:
            log.debug("a client: %s", error)
        finally:
            client.close()
            self._room.release()

    def _answer(self, request):
        command = request["command"]
        if command == "status":
            return self._daemon.status()
        if command == "resume":
            return {"was_released": self._daemon.resume(str(request["name"]))}
        if command == "release":
            return self._release(str(request["name"]),
                                 float(request["timeout"]))
        return {"error": f"there is no command {command}"}

    def _release(self, name, timeout):
        timeout = min(max(timeout, 0), MAX_TIMEOUT)
        try:
            left = self._daemon.release(name, timeout)
        except KeyError as error:
            return {"error": error.args[0]}
        if left:
            return {"error": f"after {timeout:g} s, "
                    + "; ".join(left) + f".  No link is plugged in there "
                    f"until 'vpci-linkd resume {name}'"}
        return {}
