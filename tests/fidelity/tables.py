# SPDX-License-Identifier: Apache-2.0
"""Random OpenFlow tables with groups and settings of ports, and the packets
for them.  The same seed and number make the same table."""
import random

from actions import CT_TABLE, NEXT_TABLE, ActionMaker
from matches import MatchMaker, make_pools
from packets import PacketMaker, number

#: Everything that settings of ports can have changed.
RESTORE = ["clear", "bridge", "br0", "mirrors"] + [
    word for n in (1, 2, 3, 4)
    for column in ("tag", "trunks", "vlan_mode", "other_config")
    for word in ("--", "clear", "port", f"p{n}", column)]


class Setup:
    """What the switches and guests of some tables have in common."""

    native = False      # Ports are vpci-net, not virtio-net.
    memory = None       # Megabytes for each switch, if that is known.
    n_rounds = 2        # Of packets.  Before round 'change_at' actions may
    change_at = 1       # change; then there are 'n_more_rounds'.
    n_more_rounds = 0
    direct = 0          # Rules with a single output, of a hundred, at least.

    def __init__(self, seed, n):
        rng = random.Random(f"{seed} setup {n}")
        self.vlan_limit = rng.choice((0, 1, 2, 2))
        # At most two sizes of packet buffers: memory is little.
        self.mtus = {port: rng.choice((1500, 1500, 1400, 2000))
                     for port in (1, 2, 3, 4)}
        if rng.random() < 0.5:
            self.mtus[rng.randint(1, 4)] = 3000
        self.guests = {port: self._guest(rng) for port in (1, 2, 3, 4)}

    @staticmethod
    def _guest(rng):
        features = rng.choice((["packed"], []))
        features += rng.choice((["-mergeable"], [], []))
        features += rng.choice((["in-order"], [], []))
        features += rng.choice((["-indirect"], [], []))
        arguments = ["--ring-size", "4096", "--interrupts",
                     "--rx-buffer", rng.choice(("2048", "2048", "1600"))]
        if features:
            arguments += ["--features", ",".join(features)]
        return arguments

    def __str__(self):
        return "\n".join(
            [f"vlan-limit={self.vlan_limit}"]
            + [f"p{n}: mtu={self.mtus[n]}, guest: {' '.join(self.guests[n])}"
               for n in (1, 2, 3, 4)])


class NativeSetup(Setup):
    """The same with ports of vpci-net.  Their guests need not be told much.
    In the first round there are no megaflows yet, then these are spliced, and
    then on links."""

    native = True
    memory = 64
    n_rounds, change_at, n_more_rounds = 3, 3, 2
    direct = 50

    def __init__(self, seed, n):
        super().__init__(seed, n)
        rng = random.Random(f"{seed} native setup {n}")
        # A link wants packets that fit the receiver's port.
        mtu = rng.choice((1500, 1500, 2000, 4000))
        self.mtus = {port: rng.choice((mtu, mtu, mtu, mtu + 500))
                     for port in (1, 2, 3, 4)}
        self.guests = {port: [] for port in (1, 2, 3, 4)}

    def max_len(self, port):
        """Returns how long packets are that a guest can send at all."""
        return self.mtus[port] + 18


class Table:
    """A table, its surroundings, and the packets for it."""

    def __init__(self, seed, n, n_packets, setup):
        self.rng = random.Random(f"{seed} table {n}")
        self.pools = make_pools(self.rng)
        self.learns = self.rng.random() < 0.3
        self.mirrors = self.rng.random() < 0.15
        self.plain = self.learns or self.mirrors
        if self.plain:
            self.pools["vids"] = self.pools["vids"][1:] + [3]
            self.pools["pcps"] = [self.rng.choice((0, 3, 7))]
        self.groups = self._make_groups()
        # Megaflows of the first rounds may get other actions for the next.
        # They must not overlap then, as Open vSwitch 3.1 may change the wrong
        # one; so their masks must be alike, and packets have no tags.
        changes = self.rng.random() < 0.25
        self.change_at = setup.change_at
        self.n_rounds = setup.n_rounds + setup.n_more_rounds * changes
        self.direct = setup.direct
        self.matches = (self._make_disjoint_matches() if changes
                        else self._make_matches())
        self.flows = self._make_flows(changes)
        self.change = self._make_flows(changes) if changes else []
        self.vsctl = self._make_settings()
        self.mod_ports = self._make_mod_ports()
        self.templates = self._make_packets(n_packets // setup.n_rounds,
                                            setup)

    def bundle(self):
        """Returns commands for 'ovs-ofctl bundle'."""
        return "\n".join(["flow delete", "group delete"]
                         + ["group add " + group for group in self.groups]
                         + ["flow add " + flow for flow in self.flows]) + "\n"

    def change_bundle(self):
        """Returns commands that give the same rules other actions."""
        return "".join(f"flow add {flow}\n" for flow in self.change)

    def __str__(self):
        lines = self.bundle().splitlines()
        if self.change:
            lines += [f"(before round {self.change_at})"]
            lines += self.change_bundle().splitlines()
        lines += ["ovs-vsctl " + " ".join(self.vsctl)] if self.vsctl else []
        lines += [f"ovs-ofctl mod-port br0 {port} {what}"
                  for port, what in self.mod_ports]
        return "\n".join(lines)

    # Rules.

    def _make_groups(self):
        rng, groups = self.rng, []
        if rng.random() < 0.6:
            return groups
        maker = ActionMaker(rng, self.pools, True, [])
        for n in range(1, rng.randint(2, 4)):
            kind = rng.choice(("all", "select", "indirect", "ff"))
            text = f"group_id={n},type={kind}"
            if kind == "select" and rng.random() < 0.5:
                text += ",selection_method=dp_hash"
            for i in range(1 if kind == "indirect" else rng.randint(1, 3)):
                actions = maker.make("", CT_TABLE).replace("meter:1,", "")
                watch = (f"watch_port:{rng.randint(1, 4)},"
                         if kind == "ff" else "")
                text += f",bucket=bucket_id:{i},{watch}actions={actions}"
            groups.append(text)
        return [group for group in groups if "NORMAL" not in group
                or self.learns]

    def _make_disjoint_matches(self):
        """Returns the same for which no two megaflows overlap."""
        matches = []
        for port in (1, 2, 3, 4):
            for priority, kind in (1, ""), (2, "ip"), (2, "ipv6"), (2, "arp"):
                if not kind or self.rng.random() < 0.7:
                    match = f"table=0,priority={priority},in_port={port}"
                    matches.append((0, kind, match + "," * bool(kind) + kind))
        return matches

    def _make_matches(self):
        """Returns tuples of a table, a kind of packet and a match."""
        rng = self.rng
        maker = MatchMaker(rng, self.pools)
        matches = {}
        for _ in range(rng.choice((1, 2, 3, 5, 8, 12, 20, 39))):
            table = rng.choices((0, NEXT_TABLE), (80, 20))[0]
            kind, fields = maker.make()
            match = ",".join([f"table={table}",
                              f"priority={rng.choice((1, 10, 100, 1000))}"]
                             + fields)
            matches[match] = table, kind, match
        if rng.random() < 0.7:
            matches["table=0,priority=0"] = 0, "", "table=0,priority=0"
        if rng.random() < 0.1:
            for k in (1, 1, 2, 2):
                fields = maker.make("ip")[1]
                match = ",".join(["table=0,priority=500"] + fields)
                matches[match] = 0, f"conjunction(1,{k}/2)", match
            match = "table=0,priority=500,conj_id=1,ip"
            matches[match] = 0, "ip", match
        for state in "+trk+new", "+trk+est", "+trk+inv", "-trk":
            match = f"table={CT_TABLE},priority=1,ct_state={state}"
            matches[match] = CT_TABLE, "", match
        return list(matches.values())

    def _make_flows(self, changes):
        """Returns rules for the matches.  If they change, none hashes packets:
        what is hashed is matched, other fields for each kind of packet."""
        numbers = [group.split(",")[0].split("=")[1] for group in self.groups]
        maker = ActionMaker(self.rng, self.pools, self.learns, numbers,
                            self.direct)
        flows = []
        for i, (table, kind, match) in enumerate(self.matches, 1):
            actions = (kind if kind.startswith("conjunction")
                       else maker.make(kind, table))
            while changes and "symmetric_l4" in actions:
                actions = maker.make(kind, table)
            flows.append(f"cookie={i},{match},actions={actions}")
        return flows

    # Settings.

    def _make_settings(self):
        rng, words = self.rng, []
        if self.mirrors:
            words += self._mirror()
        if self.learns and rng.random() < 0.4:
            for port in rng.sample((1, 2, 3, 4), 2):
                vid = rng.choice((1, 10, 20))
                words += ["--", "set", "port", f"p{port}"] + rng.choice((
                    [f"tag={vid}"], [f"trunks={vid},30"],
                    [f"tag={vid}", "vlan_mode=native-tagged"],
                    [f"tag={vid}", "vlan_mode=native-untagged"],
                    [f"tag={vid}", "vlan_mode=dot1q-tunnel"],
                    [f"tag={vid}", "other_config:priority-tags=if-nonzero"]))
        return words

    def _mirror(self):
        rng = self.rng
        words = ["--", "set", "bridge", "br0", "mirrors=@m"]
        for port in ("p4", "d5", "p1", "p2"):
            words += ["--", f"--id=@{port}", "get", "port", port]
        words += ["--", "--id=@m", "create", "mirror", "name=m",
                  "output_port=@" + rng.choice(("p4", "d5"))]
        words += rng.choice((["select_all=true"], ["select_src_port=@p1"],
                             ["select_dst_port=@p2"],
                             ["select_src_port=@p1", "select_dst_port=@p2"],
                             ["select_all=true", "snaplen=100"]))
        if rng.random() < 0.2:
            words += ["select_vlan=10"]
        return words

    def _make_mod_ports(self):
        rng = self.rng
        if rng.random() > 0.12:
            return []
        return [(port, rng.choice(("no-forward", "no-receive", "no-flood")))
                for port in rng.sample(("p1", "p2", "p3", "p4"), 2)]

    # Packets.

    def _make_packets(self, n, setup):
        """Returns pairs of a port and a packet for it."""
        rng = self.rng
        maker = PacketMaker(rng, self.pools, self.plain, bool(self.change))
        longest = [setup.mtus[port] + extra for port in (1, 2, 3, 4)
                   for extra in (14, 18, 19, 22)] + [2048, 2049, 4096, 4097]
        kinds = []
        for _ in range(max(1, n // 3)):
            port = rng.randint(1, 4)
            packet = maker.make(port, longest)
            if setup.native:
                packet = packet[:setup.max_len(port)]
            kinds.append((port, packet))
        return kinds + [rng.choice(kinds) for _ in range(n - len(kinds))]

    def packets(self, round_):
        """Returns, for each port, the packets of a round, each with a number
        of its own."""
        templates = self.templates
        if round_ == 0:
            # Some come when there are megaflows that they may belong to.
            templates = [template for template in templates
                         if sum(template[1][:60]) % 6]
        templates = random.Random(round_).sample(templates, len(templates))
        packets = {port: [] for port in (1, 2, 3, 4)}
        for seq, (port, template) in enumerate(templates):
            packets[port].append(number(template, seq))
        return packets
