#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wire-offloads.py send PREFIX PACKETS
   wire-offloads.py check KIND=FILE...

What a guest sends that leaves work to the switch, and the judge of what others
get.  Both need Scapy.

"send" writes commands for vhost-guest, to send frames of all kinds, to the
files PREFIX.1, PREFIX.2 and so on, each of which becomes at most so many
PACKETS, or is a single frame.  It prints a line for each, with the name, the
number of frames, the number of packets, and how many of either are fragments,
before and after.  The command in PREFIX.end sends the frame at which
wire-record.py ends.

"check" fails unless each FILE has exactly what it has to have, and prints how
many packets or frames that are.  By KIND, these are

  wire           in a capture file, the packets that these frames become, those
                 of each in order, as a wire carries them
  vxlan, geneve  the same in a tunnel
  undone         as vhost-guest's "recv print-hdr" prints them, the frames that
                 were sent, with nothing done, save for fragments, which are
                 never left undone: to a flow table, these are not what they
                 were before."""
import collections
import functools
import importlib
import itertools
import struct
import sys

from scapy.all import (TCP, UDP, VXLAN, Dot1Q, Ether, IP, IPv6,
                       IPv6ExtHdrFragment, Raw, RawPcapReader, raw)
from scapy.contrib.geneve import GENEVE

packets = importlib.import_module("wire-packets")
END = importlib.import_module("wire-record").END

MTU = 1500
ETH_LEN, UDP_LEN, FRAG6_LEN = 14, 8, 8
# Without options, which are nothing for the splice path.
IPV6 = packets.IPV6[:1]
VNI = 42
# Who sends, in Ethernet frames.
SOURCE = bytes.fromhex("020000000001")

# A frame: 'gso_type' is 0 if only the checksum is missing, which has to come
# out as 0 if 'zero_sum'.
Request = collections.namedtuple("Request", "gso_type size packet zero_sum",
                                 defaults=(False,))


def payload(n):
    """Returns 'n' bytes, which are not the same in any two segments."""
    return bytes((i * 11 + i // 256 * 7) & 0xff for i in range(n))


def headers():
    """Yields the GSO type and the headers of each kind of super-packet."""
    for link in packets.ETH, packets.ETH / Dot1Q(vlan=5, prio=3):
        for ip, l4 in itertools.product(packets.IPV4 + IPV6,
                                        packets.TCPS):
            yield ((packets.TCPV4 if IP in ip else packets.TCPV6)
                   | packets.ECN * ("C" in l4.flags), link / ip / l4)
        for ip in packets.IPV4[0].copy(), IPV6[0]:
            if IP in ip:
                ip.flags = 0
            yield packets.UFO, link / ip / packets.UDPS[0]


def super_packets():
    """Yields requests for super-packets, whose packets fit the MTU: very large
    ones, small segments, a last one of a single byte, and no more than one."""
    for gso_type, head in headers():
        room = ETH_LEN + MTU - len(raw(head))
        if gso_type == packets.UFO:
            room = (room + UDP_LEN - FRAG6_LEN * (IPv6 in head)) & ~7
        sizes = (room, 2 * room + 1), (room, 700)
        if Dot1Q not in head:
            sizes += (room, 34 * room), (704, 5 * 704 + 13)
        for size, n in sizes:
            yield Request(gso_type, size, head / Raw(payload(n)))


def with_zero_sum(packet):
    """Returns 'packet', of UDP and with a payload of zeros, with another one
    that makes its checksum 0, for which a wire has 0xffff."""
    sum_of = Ether(raw(packet))[UDP].chksum
    zeros = bytes(packet[UDP].payload)
    packet[UDP].payload = Raw(sum_of.to_bytes(2, "big") + zeros[2:])
    assert Ether(raw(packet))[UDP].chksum == 0xffff
    return packet


def singles():
    """Yields requests for packets that only lack their checksum."""
    for link, ip, l4 in itertools.product(
            (packets.ETH, packets.ETH / Dot1Q(vlan=5)),
            packets.IPV4 + IPV6, (packets.TCPS[0], packets.UDPS[0])):
        for n in 64, 1001:
            yield Request(0, 0, link / ip / l4 / Raw(payload(n)))
    for ip in packets.IPV4[0], IPV6[0]:
        yield Request(0, 0, packets.ETH / ip / packets.UDPS[0]
                      / Raw(bytes(100)), True)


@functools.cache
def requests():
    """Returns all requests, by the number that their source address ends
    with, by which their packets are known."""
    numbered = {}
    for i, request in enumerate([*super_packets(), *singles()]):
        packet = request.packet.copy()
        if IP in packet:
            packet[IP].src = f"10.0.1.{i}"
        else:
            packet[IPv6].src = f"fd00::1:{i:x}"
        if request.zero_sum:
            packet = with_zero_sum(packet)
        numbered[i] = request._replace(packet=packet)
    return numbered


def l4_of(packet):
    return packet[TCP if TCP in packet else UDP]


def n_packets(request):
    """Returns how many packets the frame of 'request' becomes."""
    if not request.gso_type:
        return 1
    n = len(raw(l4_of(request.packet)))
    if request.gso_type != packets.UFO:
        n = len(bytes(l4_of(request.packet).payload))
    elif n - UDP_LEN <= request.size:
        return 1
    return -(-n // request.size)


def is_cut(request):
    """True if 'request' becomes fragments, by whichever path."""
    return request.gso_type == packets.UFO and n_packets(request) > 1


def undone(request):
    """Returns the virtio header and the frame as a driver leaves them."""
    frame = raw(request.packet)
    l4 = l4_of(request.packet)
    start = len(frame) - len(raw(l4))
    ofs = 16 if TCP in request.packet else 6
    hdr_len = len(frame) - len(bytes(l4.payload)) if request.gso_type else 0
    return (struct.pack("<BBHHHH", 1, request.gso_type, hdr_len, request.size,
                        start, ofs),
            packets.without_csum(frame, start, ofs))


def command(frame, hdr=bytes(10)):
    return f"send-hex {frame.hex()} hdr={hdr.hex()}\n"


def send(prefix, limit):
    """Writes the files of commands."""
    bursts = [[]]
    n = 0
    for request in requests().values():
        n += n_packets(request)
        if bursts[-1] and n > int(limit):
            bursts.append([])
            n = n_packets(request)
        bursts[-1].append(request)
    for i, burst in enumerate(bursts, 1):
        with open(f"{prefix}.{i}", "w", encoding="ascii") as f:
            for request in burst:
                hdr, frame = undone(request)
                f.write(command(frame, hdr))
        cut = [request for request in burst if is_cut(request)]
        print(f"{prefix}.{i}", len(burst), sum(map(n_packets, burst)),
              len(cut), sum(map(n_packets, cut)))
    with open(f"{prefix}.end", "w", encoding="ascii") as f:
        f.write(command(raw(packets.ETH)[:12] + b"\x88\xb5" + END.ljust(46)))


def number_of(frame):
    """Returns the number of the request that 'frame' is about: the last byte
    of its source address."""
    ofs = ETH_LEN
    while frame[ofs - 2:ofs] == b"\x81\0":
        ofs += 4
    return frame[ofs + (15 if frame[ofs - 2:ofs] == b"\x08\0" else 23)]


def open_tunnel(kind, outer):
    """Returns the frame inside of packet 'outer', which has all right that is
    around it.  IPv4 may go without a checksum of UDP."""
    again = outer.copy()
    udp = again[UDP]
    udp.remove_payload()
    del udp.len, again[IP].len, again[IP].chksum
    if udp.chksum:
        del udp.chksum
    inside = bytes(outer[UDP].payload)
    assert raw(again / Raw(inside)) == raw(outer), f"{outer!r}"
    assert outer[IP].ttl == 64 and outer[IP].flags == "DF"
    if kind == "vxlan":
        assert outer[UDP].dport == 4789 and outer[VXLAN].vni == VNI
        assert inside[:4] == b"\x08\0\0\0", f"{inside[:8].hex()}"
    else:
        assert outer[UDP].dport == 6081 and outer[GENEVE].vni == VNI
        assert inside[:4] == b"\0\0\x65\x58", f"{inside[:8].hex()}"
        assert outer[UDP].chksum
    return inside[8:]


def ours(path, kind):
    """Yields the frames of a capture file that are not what machines say of
    their own accord, and, in a tunnel, how these look from outside."""
    for frame, _ in RawPcapReader(path):
        if kind == "wire":
            if frame[6:12] == SOURCE:
                yield frame, None
        elif UDP in (outer := Ether(frame)):
            yield open_tunnel(kind, outer), outer


def is_later_fragment(frame):
    packet = Ether(frame)
    return bool(packet[IP].frag if IP in packet
                else packet[IPv6ExtHdrFragment].offset)


def check_packets(request, frames):
    """Checks what has become of 'request'."""
    whole = request.packet
    assert len(frames) == n_packets(request), \
        f"{whole.summary()}: {len(frames)} packets, not {n_packets(request)}"
    for frame in frames:
        assert len(frame) <= ETH_LEN + MTU, f"{len(frame)} bytes"
    if len(frames) == 1:
        packets.checked(frames[0])
        assert frames[0] == raw(whole), f"{Ether(frames[0])!r} not {whole!r}"
    elif request.gso_type == packets.UFO:
        # The first is of another flow to a switch, and may be late.
        frames = sorted(frames, key=is_later_fragment)
        packets.check_fragments(request.size, whole, frames)
    else:
        packets.check_segments(request.gso_type, request.size, whole, frames)


def check_capture(path, kind, known):
    """Checks the packets of a capture file, and returns how many there are.
    Those that are in 'known' need not be looked at again."""
    got = collections.defaultdict(list)
    ways = collections.defaultdict(set)
    for frame, outer in ours(path, kind):
        if END in frame:
            continue
        number = number_of(frame)
        got[number].append(frame)
        if outer:
            ways[number].add((outer[IP].src, outer[IP].dst, outer[UDP].sport))
    n = sum(map(len, got.values()))
    for number, request in requests().items():
        frames = got.pop(number, [])
        # Nothing on its way may tell packets of one flow apart.  Only the
        # first fragment has ports.
        assert len(ways[number]) <= 1 + is_cut(request), f"{ways[number]}"
        if known.get(number) != frames:
            check_packets(request, frames)
            known[number] = frames
    assert not got, f"more than was sent: {sorted(got)}"
    return n


def check_undone(path):
    """Checks the frames that a guest has printed, and returns how many there
    are."""
    got = collections.defaultdict(list)
    with open(path, encoding="ascii") as f:
        for line in f:
            hdr, frame = map(bytes.fromhex, line.split())
            got[number_of(frame)].append((hdr, frame))
    n = sum(map(len, got.values()))
    for number, request in requests().items():
        frames = got.pop(number, [])
        if is_cut(request):
            assert not any(any(hdr) for hdr, _ in frames)
            check_packets(request, [frame for _, frame in frames])
            continue
        hdr, frame = undone(request)
        if n_packets(request) == 1:
            # Where the checksum is, and nothing else.
            hdr = hdr[:1] + bytes(5) + hdr[6:]
        assert frames == [(hdr, frame)], f"{request}"
    assert not got, f"more than was sent: {sorted(got)}"
    return n


def check(*files):
    """Checks files, with the kind in front of each."""
    known = {}
    for file in files:
        kind, path = file.split("=")
        try:
            n = (check_undone(path) if kind == "undone"
                 else check_capture(path, kind, known))
        except AssertionError as error:
            raise AssertionError(f"{path} is not right") from error
        print(path, n)


def main():
    commands = {"send": send, "check": check}
    if len(sys.argv) < 3 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
