# SPDX-License-Identifier: Apache-2.0
"""Guests, which are processes of vhost-guest or link-guest, and files of
packets."""
import os
import select
import struct
import subprocess
import time

from switch import PATIENCE, SwitchError

_FILE_HEADER = struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1)


def write_pcap(path, frames):
    """Writes a classic pcap file of Ethernet frames."""
    pieces = [_FILE_HEADER]
    for frame in frames:
        pieces.append(struct.pack("<IIII", 0, 0, len(frame), len(frame)))
        pieces.append(frame)
    with open(path, "wb") as f:
        f.write(b"".join(pieces))


def read_pcap(path, offset=0):
    """Returns the frames from 'offset' of a file on, and where it ends."""
    with open(path, "rb") as f:
        offset = offset or len(_FILE_HEADER)
        f.seek(offset)
        data = f.read()
    frames, at = [], 0
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        if at + 16 + length > len(data):
            break
        frames.append(data[at + 16:at + 16 + length])
        at += 16 + length
    return frames, offset + at


class Guest:
    """The guest at a port of a switch."""

    def __init__(self, switch, port, arguments):
        self.name = f"{switch.name} guest {port}"
        self.dir = switch.dir
        self.port = port
        self.native = switch.setup.native
        program = (["link-guest", switch.socket_of(port)] if self.native else
                   ["vhost-guest", "--connect", switch.socket_of(port),
                    "--timeout", str(PATIENCE), "--keep-going"])
        self.process = subprocess.Popen(
            program + arguments, cwd=self.dir, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        self.pending = b""

    def ask(self, command):
        """Makes the guest begin with a command."""
        try:
            self.process.stdin.write(command.encode() + b"\n")
            self.process.stdin.flush()
        except OSError as e:
            raise SwitchError(f"{self.name}: {command}: {e}") from e

    def answer(self):
        """Waits for the answer to a command, in the order of asking."""
        until = time.monotonic() + PATIENCE + 5
        out = self.process.stdout
        while b"\n" not in self.pending:
            left = until - time.monotonic()
            if left < 0 or not select.select([out], [], [], left)[0]:
                raise SwitchError(f"{self.name}: no answer")
            piece = os.read(out.fileno(), 65536)
            if not piece:
                raise SwitchError(f"{self.name} ended")
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        line = line.decode()
        if ": ok" not in line:
            raise SwitchError(f"{self.name}: {line}")
        return line

    def do(self, command):
        """Makes the guest do something and returns the answer."""
        self.ask(command)
        return self.answer()

    def ask_receive(self, n):
        """Makes the guest begin to take 'n' frames."""
        path = f"{self.dir}/r{self.port}.pcap"
        more = f"linked={path}.linked" if self.native else "any"
        self.ask(f"recv {n} {more} timeout=2 pcap={path}")

    def received(self):
        """Returns the frames that it has taken, however many came."""
        try:
            self.answer()
        except SwitchError as e:
            if "wanted" not in str(e):
                raise
        return read_pcap(f"{self.dir}/r{self.port}.pcap")[0]

    def linked(self):
        """Returns those of the same that came by links."""
        return read_pcap(f"{self.dir}/r{self.port}.pcap.linked")[0]

    def drain(self):
        """Throws away what is on the ring, and returns how much that was."""
        return int(self.do("drain 0.02").rsplit("=", 1)[1])

    def stop(self):
        """Ends the guest."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
