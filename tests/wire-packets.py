#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""wire-packets.py TEST-WIRE
wire-packets.py --checksums

Makes super-packets with Scapy, lets "TEST-WIRE --packets" cut them, and fails
unless Scapy finds every packet right, and in all of them together what was in
the super-packet.

With "--checksums", reads packets in hexadecimal, one on each line, and fails
unless all lengths and sums in them are right."""
import itertools
import subprocess
import sys

from scapy.all import (TCP, UDP, Dot1AD, Dot1Q, Ether, IP, IPv6,
                       IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN, Raw,
                       checksum, raw)

TCPV4, UFO, TCPV6, USO, ECN = 1, 3, 4, 5, 0x80
ETH = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
LINKS = ETH, ETH / Dot1Q(vlan=5), ETH / Dot1AD(vlan=6, prio=3) / Dot1Q(vlan=7)
IPV4 = (IP(src="10.0.0.1", dst="10.0.0.2", id=65534, ttl=3, flags="DF"),
        IP(src="10.0.0.1", dst="10.0.0.2", tos=3,
           options=[b"\x94\x04\x00\x00"]))
IPV6 = (IPv6(src="fd00::1", dst="fd00::2", tc=3, fl=77, hlim=9),
        IPv6(src="fd00::1", dst="fd00::2")
        / IPv6ExtHdrHopByHop(options=PadN(optdata=bytes(4))))
TCPS = (TCP(sport=1, dport=2, seq=0xffffff00, ack=9, flags="PA"),
        TCP(sport=1, dport=2, flags="FPAC", urgptr=2, window=7,
            options=[("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)]))
UDPS = UDP(sport=3, dport=4),


def requests():
    """Yields the GSO type, the size, and the super-packet of each request."""
    sizes = (1460, 60000), (1448, 2896), (1460, 1000), (536, 3000), (99, 1000)
    for link, (size, n) in itertools.product(LINKS, sizes):
        data = Raw(bytes(i * 11 & 0xff for i in range(n)))
        for ip, l4 in itertools.product(IPV4, TCPS):
            yield TCPV4 | ECN * ("C" in l4.flags), size, link / ip / l4 / data
        for ip, l4 in itertools.product(IPV6, TCPS):
            yield TCPV6 | ECN * ("C" in l4.flags), size, link / ip / l4 / data
        for ip, l4 in itertools.product(IPV4 + IPV6, UDPS):
            yield USO, size, link / ip / l4 / data
        for ip in (IPV4[0].copy(), IPV6[0]):
            if IP in ip:
                ip.flags = 0
            yield UFO, size, link / ip / UDPS[0] / data


def without_csum(frame, start, ofs):
    """Returns 'frame' as a driver leaves it: with what the checksum, 'ofs' bytes
    behind 'start', is to begin with in its place, the sum of addresses, protocol
    and length."""
    at = start + ofs
    rest = checksum(frame[start:at] + bytes(2) + frame[at + 2:])
    begin = 0xffff - int.from_bytes(frame[at:at + 2], "big") + rest
    begin = (begin & 0xffff) + (begin >> 16)
    return frame[:at] + begin.to_bytes(2, "big") + frame[at + 2:]


def checked(frame):
    """Returns the packet in 'frame', all of whose sums and lengths are right,
    which is what Scapy would have made of it."""
    packet = Ether(frame)
    again = packet.copy()
    for layer in again, *(again[n] for n in range(1, len(again.layers()))):
        for field in "chksum", "len", "plen", "ihl", "dataofs":
            if field in layer.fields:
                del layer.fields[field]
    assert raw(again) == frame, f"{packet!r} should be {again!r}"
    return packet


def check_segments(gso_type, size, whole, frames):
    """Checks TCP segments or UDP packets."""
    l4 = UDP if gso_type == USO else TCP
    data = b""
    for i, frame in enumerate(frames):
        packet = checked(frame)
        want = whole.copy()
        if IP in want:
            want[IP].id = (want[IP].id + i) & 0xffff
        if l4 is TCP:
            want[TCP].seq = (want[TCP].seq + i * size) & 0xffffffff
            if i + 1 < len(frames):
                want[TCP].flags = str(want[TCP].flags).translate(
                    {ord("F"): None, ord("P"): None})
            if i:
                want[TCP].flags = str(want[TCP].flags).replace("C", "")
        payload = bytes(packet[l4].payload)
        want[l4].remove_payload()
        assert raw(want / Raw(payload)) == frame, f"{packet!r}"
        assert len(payload) == size or i + 1 == len(frames)
        data += payload
    assert data == bytes(whole[l4].payload)


def check_fragments(size, whole, frames):
    """Checks fragments, and what they make together."""
    data = b""
    ids = set()
    for i, frame in enumerate(frames):
        packet, more = Ether(frame), i + 1 < len(frames)
        if IP in packet:
            part, frag = packet[IP], packet[IP].frag
            assert part.flags.MF == more and part.id == whole[IP].id
            bare = part.copy()
            bare.remove_payload()
            sum_of = bare.chksum
            del bare.chksum
            assert IP(raw(bare)).chksum == sum_of
            assert part.len == len(raw(part))
        else:
            part, frag = packet[IPv6ExtHdrFragment], \
                packet[IPv6ExtHdrFragment].offset
            assert part.m == more and part.nh == 17
            assert packet[IPv6].plen == len(raw(part))
        ids.add(part.id)
        assert frag * 8 == len(data)
        data += bytes(part.payload)
        assert len(bytes(part.payload)) == size & ~7 or not more
    assert len(ids) == 1
    assert data == raw(Ether(raw(whole))[UDP])


def check_lines():
    packets = [checked(bytes.fromhex(line)) for line in sys.stdin]
    print(f"{len(packets)} packets")


def check_cutting():
    todo = list(requests())
    lines = []
    for gso_type, size, packet in todo:
        frame = raw(packet)
        l4 = TCP if TCP in packet else UDP
        start = len(frame) - len(raw(packet[l4]))
        ofs = 16 if l4 is TCP else 6
        lines.append(f"1 {gso_type} {size} {start} {ofs} "
                     + without_csum(frame, start, ofs).hex())
    done = subprocess.run([sys.argv[1], "--packets"], check=True, text=True,
                          input="\n".join(lines) + "\n", timeout=200,
                          stdout=subprocess.PIPE).stdout.splitlines()
    assert len(done) == len(todo)
    n_cut = 0
    for (gso_type, size, packet), line in zip(todo, done):
        n, *frames = line.split()
        frames = [bytes.fromhex(frame) for frame in frames]
        assert n == str(len(frames)), f"{packet.summary()}: {line[:80]}"
        n_cut += len(frames)
        if len(frames) == 1:
            assert frames[0] == raw(packet)
        elif gso_type == UFO:
            check_fragments(size, packet, frames)
        else:
            check_segments(gso_type, size, packet, frames)
    print(f"{len(todo)} super-packets, {n_cut} packets")


if __name__ == "__main__":
    if sys.argv[1:] == ["--checksums"]:
        check_lines()
    else:
        check_cutting()
