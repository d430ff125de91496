# SPDX-License-Identifier: Apache-2.0
"""Random packets: most of them proper, many of them nearly what the rules of a
table match, some of them broken.

A packet with room for it carries a tag: MAGIC, a sequence number and its
complement, so that checksums are the same whatever the number.  Packets that
differ in nothing but the number belong to one flow and arrive in order."""
import struct

MAGIC = b"\xf1\xde\x11\x7e"
TAG_LEN = len(MAGIC) + 4

ETH_IP, ETH_IP6, ETH_ARP, ETH_MPLS = 0x0800, 0x86dd, 0x0806, 0x8847
ETH_8021Q, ETH_8021AD = 0x8100, 0x88a8
TCP, UDP, SCTP, ICMP, IGMP, ICMP6 = 6, 17, 132, 1, 2, 58


def tag(seq):
    """Returns the tag with sequence number 'seq'."""
    return MAGIC + struct.pack(">HH", seq, seq ^ 0xffff)


def untag(frame):
    """Returns the frame without its sequence number, and that, or None."""
    at = frame.find(MAGIC)
    if at < 0 or at + TAG_LEN > len(frame):
        return frame, None
    at += len(MAGIC)
    return (frame[:at] + frame[at + 4:],
            struct.unpack_from(">H", frame, at)[0])


def number(frame, seq):
    """Returns the frame with sequence number 'seq', if it has a tag."""
    at = frame.find(MAGIC)
    return (frame if at < 0 or at + TAG_LEN > len(frame)
            else frame[:at] + tag(seq) + frame[at + TAG_LEN:])


def checksum(data):
    """Returns the Internet checksum of 'data'."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def _l4_checksum(src, dst, proto, segment):
    return checksum(src + dst + struct.pack(">IHBB", len(segment), 0, 0,
                                            proto) + segment)


def has_no_label(frame):
    """True if the frame ends in the EtherType of MPLS, or before the end of a
    first label.  Open vSwitch 3.1 makes a megaflow for such a packet, cannot
    revalidate it, and never counts the packets of it for a rule."""
    at = 12
    while frame[at:at + 2] in (b"\x81\0", b"\x88\xa8"):
        at += 4
    return frame[at:at + 2] in (b"\x88\x47", b"\x88\x48") and (
        len(frame) < at + 6)


class PacketMaker:
    """Makes random packets for a table, whose 'pools' have the values that its
    rules match.

    If 'plain', then no address comes from two ports, no packet goes to an
    address of the port it came from, none has VLAN 0 or is eligible to drop,
    and all have the same priority.  What becomes of others, where addresses
    are learned or ports tag, depends on when revalidators look, in which order
    ports were added, and which packet comes first: the megaflows of Open
    vSwitch do not match the priority then.

    If 'flat', then none has tags or labels."""

    def __init__(self, rng, pools, plain, flat):
        self.rng = rng
        self.pools = pools
        self.plain = plain
        self.flat = flat

    def chance(self, percent):
        """True in so many cases of a hundred."""
        return self.rng.random() * 100 < percent

    def pick(self, name, bits):
        """Returns a value of a pool, or rarely one from outside."""
        if self.chance(92):
            return self.rng.choice(self.pools[name])
        return self.rng.getrandbits(bits)

    def make(self, port, longest):
        """Returns a packet for 'port' to receive."""
        frame = None
        while not frame or has_no_label(frame):
            frame = self._frame(port, longest)
            if self.chance(12):
                frame = self._damage(frame)
        return self._make_plain(port, frame) if self.plain else frame

    def _make_plain(self, port, frame):
        if len(frame) < 12:
            return frame
        for at in 12, 16:
            tpid, tci = struct.unpack(">HH", frame[at:at + 4].ljust(4, b"\1"))
            if tpid in (ETH_8021Q, ETH_8021AD) and len(frame) >= at + 4:
                tci = tci & 0xfff | self.pools["pcps"][0] << 13
                frame = (frame[:at + 2]
                         + struct.pack(">H", tci | (not tci & 0xfff))
                         + frame[at + 4:])
        dst, src = bytearray(frame[:6]), bytearray(frame[6:12])
        src[4] = port
        if not dst[0] & 1 and dst[4] == port:
            dst[4] = port % 4 + 1
        return bytes(dst + src) + frame[12:]

    def _frame(self, port, longest):
        src = self.rng.choice(self.pools["macs"][port])
        if self.chance(3):
            src = self.rng.randbytes(6)
        dst = self.rng.choice(self.pools["dsts"])
        kind = self.rng.choices(
            ("ip", "ip6", "arp", "mpls", "llc", "type", "garbage"),
            (48, 26, 7, 0 if self.flat else 5, 4, 6, 4))[0]
        if kind == "garbage":
            return dst + src + self.rng.randbytes(self.rng.randrange(100))
        eth_type, body = getattr(self, "_" + kind)(self._payload(longest))
        n_tags = self.rng.choices((0, 1, 2, 3), (60, 25, 11, 4))[0]
        tags = b"" if self.flat else self._tags(n_tags)
        return dst + src + tags + struct.pack(">H", eth_type) + body

    def _tags(self, n):
        """Returns 'n' VLAN tags.  What has one is not in the same VLANs as
        what has more: a megaflow for one tag does not match that there is no
        second one, though its actions depend on that."""
        rng, tags = self.rng, b""
        for _ in range(n):
            tpid = rng.choice((ETH_8021Q, ETH_8021Q, ETH_8021AD))
            tci = (rng.choice(self.pools["vids"][n > 1::2])
                   | rng.choice(self.pools["pcps"]) << 13)
            if self.chance(3):
                tci |= 0x1000
            tags += struct.pack(">HH", tpid, tci)
        return tags

    def _payload(self, longest):
        size = self.rng.choices((0, 1, 2, 3), (3, 80, 12, 5))[0]
        if size == 0:
            return b""
        length = (self.rng.randrange(50) if size == 1
                  else self.rng.randrange(1400) if size == 2
                  else self.rng.choice(longest) - 14
                  - self.rng.randrange(0, 90))
        return tag(0) + bytes(max(length, 0))

    # Network layer.  Each of these returns EtherType and contents.

    def _ip(self, payload):
        rng = self.rng
        src, dst = (self.pick(x, 32).to_bytes(4, "big")
                    for x in ("ip_src", "ip_dst"))
        proto, l4 = self._l4(src, dst, payload, 4)
        options = (rng.randbytes(4 * rng.randint(1, 10))
                   if self.chance(5) else b"")
        frag = rng.choices((0, 0x4000, 0x2000, 0x2010, 0x0010, 0x8000),
                           (70, 15, 5, 3, 5, 2))[0]
        ihl, version, length = 5 + len(options) // 4, 4, (
            20 + len(options) + len(l4))
        if self.chance(4):
            ihl = rng.randrange(16)
        if self.chance(6):
            length = max(0, rng.choice((length + rng.randrange(-40, 40),
                                        20 + rng.randrange(30))))
        if self.chance(1):
            version = rng.randrange(16)
        header = struct.pack(">BBHHHBBH", version << 4 | ihl,
                             self.pick("tos", 8), length, rng.choice((0, 7)),
                             frag, self.pick("ttl", 8), proto, 0)
        header += src + dst + options
        total = checksum(header) if self.chance(94) else rng.getrandbits(16)
        header = header[:10] + struct.pack(">H", total) + header[12:]
        return ETH_IP, header + l4 + self._padding()

    def _ip6(self, payload):
        rng = self.rng
        src, dst = (self.pick(x, 128).to_bytes(16, "big")
                    for x in ("ip6_src", "ip6_dst"))
        proto, l4 = self._l4(src, dst, payload, 6)
        if self.chance(15):
            proto, l4 = self._extend(proto, l4)
        length = len(l4)
        if self.chance(4):
            length = max(0, length + rng.randrange(-40, 40))
        version = 6 if self.chance(99) else rng.randrange(16)
        first = (version << 28 | self.pick("tos", 8) << 20
                 | self.pick("labels", 20))
        return ETH_IP6, (struct.pack(">IHBB", first, length, proto,
                                     self.pick("ttl", 8)) + src + dst + l4
                         + self._padding())

    def _extend(self, proto, l4):
        """Puts extension headers before 'l4'."""
        for _ in range(self.rng.randint(1, 2)):
            kind = self.rng.choice((0, 43, 44, 44, 51, 60, 59, 135))
            if kind == 44:
                header = struct.pack(">BBHI", proto, 0, self.rng.choice(
                    (0, 1, 8, 9, 16)), 7)
            else:
                header = struct.pack(">BBHI", proto, 0, 0x104, 0)
                if kind == 51:
                    header = struct.pack(">BBHI", proto, 0, 0, 0)
            proto, l4 = kind, header + l4
        return proto, l4

    def _padding(self):
        return bytes(self.rng.randrange(1, 30)) if self.chance(5) else b""

    def _arp(self, payload):
        rng = self.rng
        macs = self.pools["macs"]
        sha, tha = (rng.choice(macs[rng.choice(list(macs))])
                    for _ in range(2))
        return ETH_ARP, (struct.pack(">HHBBH", 1, 0x0800, 6, 4,
                                     rng.choice((1, 2, 2, 3, 256)))
                         + sha + self.pick("ip_src", 32).to_bytes(4, "big")
                         + tha + self.pick("ip_dst", 32).to_bytes(4, "big")
                         + payload[:30])

    def _mpls(self, payload):
        labels = b""
        n = self.rng.randint(1, 3)
        for i in range(n):
            labels += struct.pack(">I", self.rng.choice((16, 100, 3)) << 12
                                  | self.rng.randrange(8) << 9
                                  | (i == n - 1) << 8
                                  | self.pick("ttl", 8))
        return ETH_MPLS, labels + self._ip(payload)[1]

    def _llc(self, payload):
        body = self.rng.choice((b"\x42\x42\x03", b"\xaa\xaa\x03\0\0\0\x08\0",
                                b"\xaa\xaa\x03\0\0\0\x88\xb5",
                                b"\xaa\xaa\x03\1\2\3\x08\0")) + payload
        return min(len(body), 1500), body

    def _type(self, payload):
        return self.rng.choice((0x88b5, 0x8035, 0x0600, 0x05ff, 0x88cc,
                                0x8848, 0x894f, 0x8809)), payload

    # Transport layer.

    def _l4(self, src, dst, payload, version):
        rng = self.rng
        icmp = ICMP if version == 4 else ICMP6
        proto = rng.choices((TCP, UDP, SCTP, icmp, IGMP, 47, 255),
                            (30, 32, 8, 14, 2, 3, 1))[0]
        ports = struct.pack(">HH", self.pick("ports", 16),
                            self.pick("ports", 16))
        if proto == TCP:
            ofs = 5 if self.chance(95) else rng.randrange(16)
            flags = rng.choice((2, 0x12, 0x10, 0x18, 0x11, 4, 0x1c2))
            segment = ports + struct.pack(">IIHHHH", 1, 1, ofs << 12 | flags,
                                          512, 0, 0) + payload
            at = 16
        elif proto == UDP:
            segment = ports + struct.pack(">HH", 8 + len(payload), 0) + payload
            at = 6
        elif proto == SCTP:
            segment = ports + rng.randbytes(8) + payload
            at = 8
        elif proto == icmp:
            segment = self._icmp(version) + payload
            at = 2
        else:
            return proto, rng.randbytes(8) + payload
        if proto == SCTP or (proto == UDP and self.chance(10)):
            return proto, segment
        total = (checksum(segment) if proto == ICMP
                 else _l4_checksum(src, dst, proto, segment))
        if self.chance(5):
            total = rng.getrandbits(16)
        return proto, segment[:at] + struct.pack(">H", total) + segment[at
                                                                        + 2:]

    def _icmp(self, version):
        rng = self.rng
        if version == 4:
            return struct.pack(">BBHI", rng.choice((8, 0, 3, 11)),
                               rng.choice((0, 0, 1, 4)), 0, 7)
        kind = rng.choice((128, 129, 135, 136, 1, 133))
        header = struct.pack(">BBHI", kind, rng.choice((0, 0, 0, 1)), 0, 0)
        if kind in (135, 136):
            header += self.pick("ip6_dst", 128).to_bytes(16, "big")
            if self.chance(60):
                header += bytes((kind - 134, 1)) + rng.choice(
                    self.pools["dsts"])
        return header

    def _damage(self, frame):
        kind = self.rng.randrange(5)
        if kind <= 1 and len(frame) > 1:
            return frame[:self.rng.randrange(1, min(len(frame), 130))]
        if kind == 2 and len(frame) > 14:
            at = self.rng.randrange(12, min(len(frame), 90))
            return (frame[:at] + self.rng.randbytes(1) + frame[at + 1:])
        if kind == 3:
            return frame[:self.rng.choice((1, 6, 12, 13, 14, 15, 17, 18))]
        return frame + self.rng.randbytes(self.rng.choice((1, 3, 20, 400)))
