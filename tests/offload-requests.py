#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""offload-requests.py make|judge finished|left

All that a guest can say in a virtio header, true or not.

"make" writes commands for vhost-guest to "requests.send", and to
"requests.expect" how many frames come of it, how many packets these are on a
wire, how many requests are bad, and how many packets may be spliced.

"judge" reads what another guest received from "requests.frames", as printed by
the option print-hdr of vhost-guest, and tells what should not be there, or
should.

The guest that receives wants all work "finished", or takes it "left" undone.
What is right comes from Scapy."""
import functools
import struct
import sys

from scapy.all import TCP, Ether, IP, IPv6, Raw, checksum, raw

NEEDS_CSUM = 1
TCPV4, TCPV6 = 1, 4
N, SIZE = 300, 100              # Bytes of a super-packet, and its segments.
MTU = 1500
DATA = bytes(i * 7 & 0xff for i in range(N))


@functools.cache
def packet(ipv6, first, end):
    """Makes the packet that has so many of the bytes of a super-packet."""
    ip = (IPv6(src="fd00::1", dst="fd00::2") if ipv6
          else IP(src="10.0.0.1", dst="10.0.0.2", id=0))
    l4 = TCP(sport=1, dport=2, seq=first, flags="A")
    return raw(Ether(src=bytes(6), dst="02:00:00:00:00:02") / ip / l4
               / Raw(DATA[first:end]))


def l4_of(ipv6):
    """Where the TCP header is."""
    return 54 if ipv6 else 34


@functools.cache
def unfinished(ipv6, n):
    """Makes a frame of 'n' bytes of payload, with a partial checksum."""
    frame = packet(ipv6, 0, n)
    start = l4_of(ipv6)
    addresses = frame[22:54] if ipv6 else frame[26:34]
    begin = 0xffff - checksum(addresses + struct.pack("!HH", 6,
                                                      len(frame) - start))
    return put(frame, start + 16, begin)


def put(frame, at, value):
    """Writes 16 bits."""
    return frame[:at] + value.to_bytes(2, "big") + frame[at + 2:]


def segments(ipv6, size):
    """Makes what a wire would carry."""
    frames = [packet(ipv6, i, min(i + size, N)) for i in range(0, N, size)]
    for i, frame in enumerate(frames):
        if not ipv6:
            frame = put(put(frame, 18, i), 24, 0)
            frames[i] = put(frame, 24, checksum(frame[14:34]))
    return frames


class Requests:
    """Requests, and what becomes of them."""

    def __init__(self, left):
        self.left = left
        self.names = []
        self.commands = []
        self.expected = []      # Number, header and bytes of each frame.
        self.n_packets = 0
        self.n_bad = 0
        self.n_others = 0       # Packets that are not spliced.

    def add(self, name, frame, hdr, num_buffers=0):
        """Adds a request and returns its number."""
        number = len(self.names)
        self.names.append(f"{name}: header {hdr}")
        frame = self.mark(number, frame)
        self.commands.append(f"send-hex {frame.hex()} hdr="
                             + struct.pack("<BBHHHHH", *hdr,
                                           num_buffers).hex())
        return number

    @staticmethod
    def mark(number, frame):
        """Says in the source address, which nothing else depends on, which
        request this is."""
        return (frame[:6] + b"\x02\0\0\0" + number.to_bytes(2, "big")
                + frame[12:])

    def bad(self, name, frame, hdr, num_buffers=0):
        """A request that is dropped."""
        self.n_bad += 1
        self.add(name, frame, hdr, num_buffers)

    def good(self, name, frame, hdr, left, frames, num_buffers=0):
        """A request that becomes 'frames', or 'frame', with header 'left'."""
        number = self.add(name, frame, hdr, num_buffers)
        self.n_packets += len(frames)
        if self.left:
            self.expected.append((number, left, self.mark(number, frame)))
        else:
            self.expected += [(number, (0,) * 6, self.mark(number, f))
                              for f in frames]

    def good_super(self, name, ipv6, hdr, num_buffers=0):
        """A super-packet, all that is right about which is what it needs."""
        size = hdr[3]
        left = ((1, TCPV6 if ipv6 else TCPV4, l4_of(ipv6) + 20, size,
                 l4_of(ipv6), 16) if size < N
                else (1, 0, 0, 0, l4_of(ipv6), 16))
        self.good(name, unfinished(ipv6, N), hdr, left, segments(ipv6, size),
                  num_buffers)

    def good_csum(self, name, frame, hdr, num_buffers=0):
        """A checksum wherever it was wanted.  One that is not that of the
        packet itself is made before the switch decides where that goes."""
        at = hdr[4] + hdr[5]
        done = put(frame, at, checksum(frame[hdr[4]:]) or 0xffff)
        if at == 50:
            self.good(name, frame, hdr, (1, 0, 0, 0, *hdr[4:]), [done],
                      num_buffers)
        else:
            number = self.add(name, frame, hdr, num_buffers)
            self.n_packets += 1
            self.n_others += 1
            self.expected.append((number, (0,) * 6, self.mark(number, done)))


def super_packets(r):
    """Super-packets."""
    for ipv6 in False, True:
        frame, kind = unfinished(ipv6, N), TCPV6 if ipv6 else TCPV4
        l4 = l4_of(ipv6)
        good = (1, kind, l4 + 20, SIZE, l4, 16)

        def but(field, value):
            return good[:field] + (value,) + good[field + 1:]

        for flags in range(256):
            if flags & NEEDS_CSUM:
                r.good_super("flags", ipv6, but(0, flags))
            else:
                r.bad("flags without a checksum", frame, but(0, flags))
        for gso_type in range(1, 256):
            if gso_type != kind:
                r.bad("gso_type", frame, but(1, gso_type))
        for hdr_len in (0, 1, 13, 14, l4, l4 + 19, l4 + 21, len(frame) - 1,
                        len(frame), len(frame) + 1, 32768, 65535):
            r.good_super("hdr_len, a hint", ipv6, but(2, hdr_len))
        r.bad("gso_size", frame, but(3, 0))
        for size in 1, N - 1, N, N + 1, 65535:
            r.good_super("gso_size", ipv6, but(3, size))
        for start in (0, 1, 13, 14, l4 - 1, l4 + 1, l4 + 2, l4 + 20,
                      len(frame) - 19, len(frame) - 18, len(frame) - 17,
                      len(frame), 32768, 65535):
            r.bad("csum_start", frame, but(4, start))
        for ofs in (0, 6, 14, 15, 17, 18, len(frame) - l4 - 3,
                    len(frame) - l4 - 2, len(frame) - l4 - 1, 65535):
            r.bad("csum_offset", frame, but(5, ofs))
        for shift in -l4, -2, -1, 1, 16:
            r.bad("another start of the same checksum", frame,
                  (*good[:4], l4 + shift, 16 - shift))
        for n in 0, 1, 2, 65535:
            r.good_super(f"num_buffers {n}", ipv6, good, n)
        shorter(r, ipv6, good)


def shorter(r, ipv6, hdr):
    """Frames that end too early for what they should be, in the middle or with
    all lengths right."""
    frame = unfinished(ipv6, N)
    for n in (14, 15, 33, 34, l4_of(ipv6), l4_of(ipv6) + 12,
              l4_of(ipv6) + 19, l4_of(ipv6) + 20, len(frame) - 1):
        r.bad(f"only {n} bytes", frame[:n], hdr)
        end = 54 if ipv6 else 14
        if n > end and n != len(frame) - 1:
            r.bad(f"only {n} bytes, as the network header says",
                  put(frame, 18 if ipv6 else 16, n - end)[:n], hdr)


def single_packets(r):
    """Packets that nothing is to be cut of."""
    frame = unfinished(False, N)
    end = len(frame)
    good = 1, 0, 0, 0, 34, 16
    for flags in range(256):
        hdr = (flags, *good[1:])
        if flags & NEEDS_CSUM:
            r.good_csum("flags", frame, hdr)
        else:
            r.good("flags that ask for nothing", frame, hdr, (0,) * 6, [frame])
    for start, ofs in ((0, 0), (0, 50), (1, 16), (13, 1), (13, 37),
                       (34, end - 35), (34, end - 34), (34, 65535),
                       (35, 65534), (end - 1, 0), (end, 0), (end - 2, 1),
                       (14, end - 15), (65535, 0), (65535, 1), (65535, 65535), (65520, 50),
                       (32768, 32768), (65534, 2), (0, 65535)):
        r.bad("checksum outside", frame, (1, 0, 0, 0, start, ofs))
    for start, ofs in ((14, 0), (14, end - 16), (15, 35), (34, end - 36),
                       (34, 15), (end - 2, 0), (end - 3, 1), (end - 3, 0),
                       (end - 50, 48)):
        r.good_csum("checksum anywhere", frame, (1, 0, 0, 0, start, ofs))
    for hdr_len, size in ((0, 1), (65535, 65535), (13, 0), (end + 1, 100)):
        r.good_csum("hdr_len and gso_size of no super-packet", frame,
                    (1, 0, hdr_len, size, 34, 16))
        r.good("all that nobody looks at", frame, (0, 0, hdr_len, size, 65535,
                                                   65535), (0,) * 6, [frame])
    for n in 0, 1, 2, 65535:
        r.good_csum(f"num_buffers {n}", frame, good, n)
        r.good(f"num_buffers {n}", frame, (0,) * 6, (0,) * 6, [frame], n)


def judge(r):
    """Tells what is not as it should be."""
    received = []
    with open("requests.frames", encoding="ascii") as file:
        for line in file:
            if ": " not in line:
                hdr, frame = map(bytes.fromhex, line.split())
                received.append((int.from_bytes(frame[10:12], "big"),
                                 struct.unpack("<BBHHHH", hdr), frame))
    numbers = {number for number, _, _ in r.expected}
    for number in sorted({n for n, _, _ in received} ^ numbers):
        print(f"{'lost' if number in numbers else 'not dropped'}: "
              f"{r.names[number]}")
    for got, want in zip(received, r.expected):
        if got != want:
            print(f"{r.names[want[0]]}: got {got[1]} {got[2].hex()}, not "
                  f"{want[1]} {want[2].hex()}")
            return 1
    return len(received) != len(r.expected)


def main():
    what, how = sys.argv[1:]
    r = Requests(how == "left")
    super_packets(r)
    single_packets(r)
    if what == "judge":
        return judge(r)
    with open("requests.send", "w", encoding="ascii") as file:
        file.write("\n".join(r.commands) + "\nsleep 0\n")
    with open("requests.expect", "w", encoding="ascii") as file:
        file.write(f"{len(r.expected)} {r.n_packets} {r.n_bad} "
                   f"{r.n_packets - r.n_others}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
