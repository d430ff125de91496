# SPDX-License-Identifier: Apache-2.0
"""Random matches of OpenFlow rules, in the syntax of ovs-ofctl, and the values
that packets are made of as well."""
import ipaddress

#: The ways to match what is above Ethernet, and how often.
KINDS = {"": 14, "ip": 14, "tcp": 14, "udp": 14, "sctp": 5, "icmp": 6,
         "ipv6": 10, "tcp6": 6, "udp6": 6, "sctp6": 2, "icmp6": 4, "arp": 5,
         "mpls": 3, "type": 5}


def make_pools(rng):
    """Returns values for one table and its packets to share."""
    macs = {port: [bytes((2, 0, 0, 0, port, i)) for i in range(3)]
            for port in (1, 2, 3, 4)}
    dsts = [mac for some in macs.values() for mac in some]
    dsts += [bytes.fromhex(x) for x in ("ffffffffffff", "01005e000001",
                                        "333300000001", "0180c2000000",
                                        "0180c200000e", "aa5555000000")]
    net = rng.getrandbits(32)
    net6 = rng.getrandbits(128)
    ip = [net ^ rng.getrandbits(rng.choice((2, 8, 16))) for _ in range(8)]
    ip6 = [net6 ^ rng.getrandbits(rng.choice((2, 16, 64))) for _ in range(8)]
    ports = [rng.choice((53, 80, 443, 4789, rng.getrandbits(16)))
             for _ in range(6)]
    strangers = [bytes((2, 0, 0, 0, 9, i)) for i in range(3)] + dsts[12:17]
    return {"macs": macs, "dsts": dsts, "strangers": strangers,
            "ip_src": ip[:5], "ip_dst": ip[3:],
            "ip6_src": ip6[:5], "ip6_dst": ip6[3:],
            "ports": ports + [ports[0] ^ 1, ports[1] ^ 0x100],
            "vids": [0, 1, 10, 20, 4095, rng.getrandbits(12)],
            "pcps": [0, 0, 3, 7],
            "tos": [0, 0, 0xb8, 0x03, 0x28, rng.getrandbits(8)],
            "ttl": [64, 64, 255, 1, 2, 0],
            "labels": [0, 0, 0x12345, rng.getrandbits(20)]}


def mac_text(mac):
    """Writes a MAC address."""
    return ":".join(f"{byte:02x}" for byte in mac)


def ip_text(address):
    """Writes an IPv4 address."""
    return str(ipaddress.IPv4Address(address))


def ip6_text(address):
    """Writes an IPv6 address."""
    return str(ipaddress.IPv6Address(address))


class MatchMaker:
    """Makes random matches from the values in 'pools'."""

    def __init__(self, rng, pools):
        self.rng = rng
        self.pools = pools

    def chance(self, percent):
        """True in so many cases of a hundred."""
        return self.rng.random() * 100 < percent

    def pick(self, name):
        """Returns a value of a pool."""
        return self.rng.choice(self.pools[name])

    def make(self, kind=None):
        """Returns a kind and a list of fields.  The kind is one of KINDS, with
        "+" behind it if the packet is known to be tagged."""
        rng = self.rng
        if kind is None:
            kind = rng.choices(list(KINDS), KINDS.values())[0]
        fields = []
        if self.chance(40):
            fields.append(f"in_port={rng.randint(1, 4)}")
        self._add_ethernet(fields)
        if self.chance(25):
            fields.append(self._vlan())
        if kind == "type":
            fields.append("dl_type=" + rng.choice(
                ("0x88b5", "0x05ff", "0x8035", "0x8100", "0x88a8", "0x0600")))
        elif kind:
            fields.append(kind)
            self._add_network(kind, fields)
        if self.chance(4):
            fields.append(rng.choice(("metadata=0", "reg0=0", "reg3=1",
                                      "tun_id=0", "pkt_mark=0", "xreg0=0",
                                      "ct_state=-trk", "ct_mark=0",
                                      "actset_output=unset")))
        tagged = any(field.startswith(("dl_vlan", "vlan_tci=0x1"))
                     for field in fields)
        return kind + "+" * tagged, fields

    def _add_ethernet(self, fields):
        if self.chance(15):
            mac = mac_text(self._any_mac())
            mask = self.rng.choice(("", "", "/ff:ff:ff:ff:ff:00",
                                    "/00:00:00:00:00:01",
                                    "/ff:ff:ff:ff:00:ff"))
            fields.append(f"dl_src={mac}{mask}")
        if self.chance(18):
            mac = mac_text(self.pick("dsts"))
            mask = self.rng.choice(("", "", "/01:00:00:00:00:00",
                                    "/00:00:00:00:00:03",
                                    "/ff:ff:ff:00:00:00"))
            fields.append(f"dl_dst={mac}{mask}")

    def _any_mac(self):
        return self.rng.choice(self.pools["macs"][self.rng.randint(1, 4)])

    def _vlan(self):
        vid, pcp = self.pick("vids"), self.pick("pcps")
        return self.rng.choice((
            "vlan_tci=0x0000", "vlan_tci=0x1000/0x1000",
            f"dl_vlan={vid}", f"dl_vlan={vid},dl_vlan_pcp={pcp}",
            f"vlan_tci={0x1000 | vid:#x}/0x1fff",
            f"vlan_tci={0x1000 | vid:#x}",
            f"vlan_tci={0x1000 | vid & 0xf:#x}/0x100f",
            f"vlan_tci={pcp << 13:#x}/0xe000"))

    def _add_network(self, kind, fields):
        if kind == "arp":
            self._add_arp(fields)
        elif kind == "mpls":
            fields.append(self.rng.choice(
                ("mpls_label=100", "mpls_tc=3", "mpls_bos=1", "mpls_ttl=64")))
        else:
            self._add_ip(kind, fields)
            self._add_l4(kind, fields)

    def _add_arp(self, fields):
        for field in (f"arp_op={self.rng.choice((1, 2))}",
                      f"arp_spa={self._ip_and_mask('ip_src')}",
                      f"arp_tpa={self._ip_and_mask('ip_dst')}",
                      f"arp_sha={mac_text(self._any_mac())}",
                      f"arp_tha={mac_text(self._any_mac())}"):
            if self.chance(30):
                fields.append(field)

    def _ip_and_mask(self, name):
        address = self.pick(name)
        if self.chance(30):
            return ip_text(address)
        if self.chance(75):
            bits = self.rng.choice((1, 8, 16, 20, 24, 28, 30, 31))
            mask = 0xffffffff << (32 - bits) & 0xffffffff
        else:
            mask = self.rng.choice((0xff, 0xff00ff, 0x80000001, 3,
                                    self.rng.getrandbits(32)))
        return f"{ip_text(address & mask)}/{ip_text(mask)}"

    def _ip6_and_mask(self, name):
        address = self.pick(name)
        if self.chance(30):
            return ip6_text(address)
        if self.chance(75):
            bits = self.rng.choice((1, 16, 48, 64, 100, 112, 124, 127))
            mask = (1 << 128) - (1 << (128 - bits))
            return f"{ip6_text(address & mask)}/{bits}"
        # ovs-ofctl takes a mask that begins with a digit for a length.
        mask = 0xf << 124 | self.rng.choice((0xff, 3 << 64, 0xffff << 96 | 7))
        return f"{ip6_text(address & mask)}/{ip6_text(mask)}"

    def _add_ip(self, kind, fields):
        v6 = kind.endswith("6")
        for side in "src", "dst":
            if self.chance(35):
                fields.append(
                    f"ipv6_{side}={self._ip6_and_mask('ip6_' + side)}" if v6
                    else f"nw_{side}={self._ip_and_mask('ip_' + side)}")
        if kind in ("ip", "ipv6") and self.chance(30):
            fields.append("nw_proto="
                          + str(self.rng.choice((6, 17, 1, 58, 47, 0, 132))))
        if self.chance(30):
            fields.append(f"nw_tos={self.pick('tos') & 0xfc}")
        if self.chance(15):
            fields.append(f"nw_ecn={self.pick('tos') & 3}")
        if self.chance(25):
            fields.append(f"nw_ttl={self.pick('ttl')}")
        if self.chance(15):
            fields.append("ip_frag=" + self.rng.choice(
                ("no", "yes", "first", "not_later")
                + ("later", "later") * (kind in ("ip", "ipv6"))))
        if v6 and self.chance(12):
            label = self.pick("labels")
            fields.append(self.rng.choice((
                f"ipv6_label={label:#x}",
                f"ipv6_label={label & 0xff:#x}/0x000ff")))

    def _port(self):
        port = self.pick("ports")
        if self.chance(70):
            return str(port)
        mask = self.rng.choice((0xff00, 0xfff0, 0x8000, 1, 0xfffe))
        return f"{port & mask:#x}/{mask:#x}"

    def _add_l4(self, kind, fields):
        if kind in ("tcp", "udp", "sctp", "tcp6", "udp6", "sctp6"):
            for side in "src", "dst":
                if self.chance(35):
                    fields.append(f"tp_{side}={self._port()}")
            if kind.startswith("tcp") and self.chance(25):
                fields.append("tcp_flags=" + self.rng.choice(
                    ("+syn", "+syn-ack", "-syn", "+fin", "0x018/0x01a",
                     "+ack-rst", "0x100/0xf00", "0x012")))
        elif kind == "icmp" and self.chance(50):
            fields.append("icmp_type=" + self.rng.choice(("8", "0", "3")))
            if self.chance(50):
                fields.append("icmp_code=" + self.rng.choice(("0", "1", "4")))
        elif kind == "icmp6" and self.chance(60):
            self._add_icmp6(fields)

    def _add_icmp6(self, fields):
        icmp_type = self.rng.choice((128, 129, 135, 136))
        fields.append(f"icmp_type={icmp_type}")
        if self.chance(60) or icmp_type > 130:
            fields.append("icmp_code=0")
        if icmp_type > 130 and self.chance(50):
            fields.append(f"nd_target={self._ip6_and_mask('ip6_dst')}")
        if icmp_type == 135 and self.chance(30):
            fields.append(f"nd_sll={mac_text(self.pick('dsts'))}")
        if icmp_type == 136 and self.chance(30):
            fields.append(f"nd_tll={mac_text(self.pick('dsts'))}")
