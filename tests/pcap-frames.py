#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pcap-frames.py make FILE [MTU]
   pcap-frames.py compare FILE1 FILE2

The first writes a capture file of frames as they occur in networks, of all
kinds and lengths, none longer than MTU (1500) allows.  It needs Scapy.  The
second fails if two capture files do not have the same frames, or those of one
flow, of EtherType 0x88b5, not in the same order, and says where they begin to
differ.  Frames of different flows may overtake each other in a switch."""
import random
import struct
import sys


def frames_of_kinds(payload, mtu):
    """Yields one frame of each kind of traffic."""
    from scapy.all import (ARP, BOOTP, DHCP, DNS, DNSQR, Dot1AD, Dot1Q, Ether,
                           GRE, ICMP, ICMPv6EchoRequest, ICMPv6ND_NS, IP, IPv6,
                           IPv6ExtHdrFragment, Raw, SCTP, STP, TCP, UDP, VXLAN,
                           Dot3, LLC, fragment, fragment6)

    eth = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    all_eth = Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff")
    ip = IP(src="10.0.0.1", dst="10.0.0.2")
    ip6 = IPv6(src="fd00::1", dst="fd00::2")
    data = Raw(payload(100))

    yield all_eth / ARP(pdst="10.0.0.2")
    yield eth / ARP(op="is-at", psrc="10.0.0.1", pdst="10.0.0.2")
    yield eth / ip / ICMP() / data
    yield eth / ip / TCP(flags="S", options=[("MSS", 1460), ("WScale", 7)])
    yield eth / ip / TCP(flags="PA", urgptr=3) / data
    yield eth / ip / UDP(dport=53) / DNS(qd=DNSQR(qname="example.org"))
    yield eth / ip / UDP(chksum=0) / data
    yield eth / ip / UDP(chksum=0x1234) / data
    yield eth / IP(src="10.0.0.1", dst="10.0.0.2", ttl=1, tos=0xb9,
                   options=[b"\x94\x04\x00\x00"]) / UDP() / data
    yield eth / ip / SCTP() / data
    yield eth / ip / GRE() / ip / ICMP()
    yield eth / ip / UDP(dport=4789) / VXLAN(vni=42) / eth / ip / TCP()
    yield (all_eth / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(dport=67)
           / BOOTP() / DHCP(options=[("message-type", "discover"), "end"]))
    yield eth / ip6 / ICMPv6EchoRequest() / data
    yield eth / ip6 / TCP() / data
    yield eth / ip6 / UDP() / data
    yield eth / ip6 / ICMPv6ND_NS(tgt="fd00::2")
    yield eth / Dot1Q(vlan=100, prio=5) / ip / UDP() / data
    yield eth / Dot1Q(vlan=0) / ip / UDP()
    yield eth / Dot1Q(vlan=4095) / ARP()
    yield eth / Dot1AD(vlan=10) / Dot1Q(vlan=20) / ip / TCP() / data
    yield eth / Dot1AD(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / ip6 / UDP()
    yield Dot3(dst="02:00:00:00:00:02") / LLC() / data
    yield Ether(dst="01:00:5e:00:00:fb") / ip / UDP(dport=5353) / data
    yield Dot3(dst="01:80:c2:00:00:00") / LLC() / STP()
    big = Raw(payload(2 * mtu))
    yield from fragment(eth / ip / UDP() / big, fragsize=(mtu - 20) & ~7)
    yield from fragment6(eth / ip6 / IPv6ExtHdrFragment() / UDP() / big,
                         mtu)
    # Headers that promise more than there is, and none at all.
    yield eth / IP(src="10.0.0.1", dst="10.0.0.2", len=1000, ihl=15) / data
    yield Ether(bytes(eth / ip / TCP(dataofs=15))[:40])
    yield Ether(dst="02:00:00:00:00:02", type=0x0800)


def all_frames(mtu):
    """Yields frames as bytes: all kinds, and random bytes of all sorts of
    lengths, odd ones included."""
    rng = random.Random(1)
    longest = mtu + 14
    for frame in frames_of_kinds(rng.randbytes, mtu):
        yield bytes(frame)
    lengths = list(range(14, 80)) + [longest - i for i in range(8)]
    lengths += [2 ** i + j for i in range(7, 16) for j in (-1, 0, 1)]
    lengths += [rng.randint(60, longest) for i in range(60)]
    for length in lengths:
        if length <= longest:
            head = bytes.fromhex("020000000002 020000000001 88b5")
            yield head + rng.randbytes(length - len(head))


def make(path, mtu=1500):
    """Writes a classic pcap file of Ethernet frames."""
    with open(path, "wb") as f:
        f.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        n = 0
        for n, frame in enumerate(all_frames(int(mtu)), 1):
            f.write(struct.pack("<IIII", n, 0, len(frame), len(frame)))
            f.write(frame)
    print(n)


def read(path):
    """Yields the frames of a file as make() writes them."""
    with open(path, "rb") as f:
        f.read(24)
        while header := f.read(16):
            yield f.read(struct.unpack("<IIII", header)[2])


def one_flow(frames):
    """Returns those that differ in nothing that a switch looks at."""
    return [frame for frame in frames if frame[12:14] == b"\x88\xb5"]


def compare(path1, path2):
    """Exits with an error unless both files have the same frames."""
    frames1, frames2 = list(read(path1)), list(read(path2))
    for choose in sorted, one_flow:
        for a, b in zip(choose(frames1), choose(frames2)):
            if a != b:
                sys.exit(f"{a.hex()} became {b.hex()}")
    if len(frames1) != len(frames2):
        sys.exit(f"{len(frames1)} frames became {len(frames2)}")


if len(sys.argv) > 2 and sys.argv[1] in ("make", "compare"):
    globals()[sys.argv[1]](*sys.argv[2:])
else:
    sys.exit(__doc__)
