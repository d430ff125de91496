# SPDX-License-Identifier: Apache-2.0
"""Random actions of OpenFlow rules, in the syntax of ovs-ofctl."""
from matches import ip6_text, ip_text, mac_text

#: The table that a rule resubmits to, or that conntrack goes on with.
NEXT_TABLE, CT_TABLE, LEARN_TABLE = 1, 10, 200

IPV4_KINDS = ("ip", "tcp", "udp", "sctp", "icmp")
IPV6_KINDS = ("ipv6", "tcp6", "udp6", "sctp6", "icmp6")


class ActionMaker:
    """Makes random lists of actions.  'learns' says that the table learns
    addresses, so that no source must be changed, and no destination to
    something that may be learned; 'groups' are the numbers of groups.  So many
    of a hundred lists, 'direct', are a single output."""

    def __init__(self, rng, pools, learns, groups, direct=0):
        self.rng = rng
        self.pools = pools
        self.learns = learns
        self.groups = groups
        self.direct = direct
        self.kind = ""          # What is known of the packet at this point,
        self.tags = 0           # and how many tags it has at the least.

    def chance(self, percent):
        """True in so many cases of a hundred."""
        return self.rng.random() * 100 < percent

    def pick(self, name):
        """Returns a value of a pool."""
        return self.rng.choice(self.pools[name])

    def make(self, kind, table=0):
        """Returns actions, for packets of a kind, of a rule of a table.  Those
        of groups are as if of a table behind all others."""
        self.kind = kind.rstrip("+")
        self.tags = len(kind) - len(self.kind)
        if self.chance(6):
            return "drop"
        if self.direct and self.chance(self.direct):
            return f"output:{self.rng.randint(1, 4)}"
        if table < NEXT_TABLE and self.chance(25 if self.tags else 6):
            return self._pass_on()
        actions = []
        odd = self.chance(22)
        for _ in range(self.rng.choices((1, 2, 3, 4, 6, 9),
                                        (35, 20, 15, 12, 10, 8))[0]):
            if self.chance(50):
                actions.append(self._edit())
            elif odd and self.chance(50):
                actions.append(self._odd(table))
            else:
                actions.append(self.output())
        actions = [action for action in actions if action]
        if self.chance(75) or not actions:
            actions.append(self.output())
        if self.kind in ("tcp", "tcp6") and self.chance(50):
            actions.append("fin_timeout(idle_timeout=3000)")
        # OpenFlow wants meters before anything else.
        return "meter:1," * self.chance(2) + ",".join(actions)

    def _pass_on(self):
        """Returns actions that leave a packet, without its first tag if it is
        known to have one, to the next table, so that its megaflow matches what
        was behind that."""
        if self.tags:
            return f"strip_vlan,resubmit(,{NEXT_TABLE})"
        return f"{self._edit()},resubmit(,{NEXT_TABLE})"

    def output(self):
        """Returns an action that sends a packet somewhere."""
        normal = "NORMAL" if self.learns else "output:2"
        return self.rng.choices(
            (f"output:{self.rng.randint(1, 4)}", "in_port", "output:5",
             normal, "FLOOD", "ALL", "LOCAL", self._truncate()),
            (72, 6, 3, 8, 3, 2, 1, 2))[0]

    def _truncate(self):
        """In a clone, because what Open vSwitch does not send to a port that
        must not forward makes it truncate the next packet instead."""
        return (f"clone(output(port={self.rng.randint(1, 5)},"
                f"max_len={self.rng.choice((14, 60, 100, 1500))}))")

    # Edits.

    def _edit(self):
        makers = [self._edit_eth, self._edit_vlan, self._edit_vlan]
        if self.kind in IPV4_KINDS + IPV6_KINDS:
            makers += [self._edit_ip] * 3
        if self.kind[:3] in ("tcp", "udp", "sct"):
            makers += [self._edit_ports] * 2
        if self.kind == "arp":
            makers += [self._edit_arp]
        if self.kind == "icmp":
            return self._edit_icmp() if self.chance(40) else self._edit_ip()
        return self.rng.choice(makers)()

    def _edit_eth(self):
        mac = mac_text(self.pick("strangers" if self.learns else "dsts"))
        if self.learns or self.chance(60):
            return self.rng.choice((f"mod_dl_dst:{mac}",
                                    "set_field:00:00:00:00:00:"
                                    f"{mac[-2:]}/00:00:00:00:00:ff->eth_dst"))
        return self.rng.choice((
            f"mod_dl_src:{mac}", "move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[]",
            "move:NXM_OF_ETH_DST[0..15]->NXM_OF_ETH_SRC[16..31]"))

    def _edit_vlan(self):
        vid, pcp = self.pick("vids"), self.pick("pcps")
        choices = [f"mod_vlan_vid:{vid}", f"mod_vlan_pcp:{pcp}"]
        if self.tags:
            choices += ["strip_vlan", "strip_vlan",
                        f"load:{0x1000 | vid:#x}->NXM_OF_VLAN_TCI[]",
                        f"set_field:{0x1000 | vid}->vlan_vid"]
        if self.tags < 2:
            choices += [f"push_vlan:0x8100,set_field:{0x1000 | vid}->"
                        "vlan_vid", "push_vlan:0x88a8", "push_vlan:0x8100",
                        f"push_vlan:0x8100,set_field:{pcp}->vlan_pcp"]
        choice = self.rng.choice(choices)
        if choice.startswith("push"):
            self.tags += 1
        elif choice == "strip_vlan":
            self.tags -= 1
        else:
            self.tags = max(self.tags, 1)
        return choice

    def _edit_ip(self):
        rng = self.rng
        if self.kind in IPV4_KINDS:
            src, dst = (ip_text(self.pick(x)) for x in ("ip_src", "ip_dst"))
            special = [f"mod_nw_src:{src}", f"mod_nw_dst:{dst}",
                       f"set_field:0.0.{src.split('.')[2]}.0/0.0.255.0->"
                       "ip_src"]
        else:
            src, dst = (ip6_text(self.pick(x))
                        for x in ("ip6_src", "ip6_dst"))
            special = [f"set_field:{src}->ipv6_src",
                       f"set_field:{dst}->ipv6_dst",
                       f"set_field:::{dst.rsplit(':', 1)[1] or '0'}/::ffff->"
                       "ipv6_dst",
                       f"set_field:{self.pick('labels'):#x}->ipv6_label"]
        return rng.choice(special + [
            f"mod_nw_tos:{self.pick('tos') & 0xfc}",
            f"mod_nw_ecn:{self.pick('tos') & 3}",
            f"mod_nw_ttl:{rng.choice((1, 63, 255))}", "dec_ttl", "dec_ttl"])

    def _edit_ports(self):
        proto = self.kind.rstrip("6")
        side, port = self.rng.choice(("src", "dst")), self.pick("ports")
        return self.rng.choice((f"set_field:{port}->{proto}_{side}",
                                f"set_field:{port & 0xff}/0xff->"
                                f"{proto}_{side}"))

    def _edit_arp(self):
        return self.rng.choice((
            "set_field:2->arp_op",
            f"set_field:{ip_text(self.pick('ip_src'))}->arp_spa",
            "move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[]"))

    def _edit_icmp(self):
        return self.rng.choice(("set_field:0->icmp_type",
                                "set_field:1->icmp_code"))

    # What the splice path leaves to the datapath, and what is not even seen
    # there.

    def _odd(self, table):
        rng = self.rng
        makers = [self._odd_register, self._odd_clone, self._odd_choice,
                  self._odd_learn, self._odd_mpls]
        name = rng.choice(("controller", "controller(max_len=20)",
                           "set_queue:3", "note:00.11.22", "pop_queue",
                           "group", "resubmit", "ct", "sample",
                           "check", "exit", "make"))
        if name == "make":
            return rng.choice(makers)()
        if name == "group":
            return f"group:{rng.choice(self.groups)}" if self.groups else ""
        if name == "resubmit":
            return f"resubmit(,{NEXT_TABLE})" if table < NEXT_TABLE else ""
        if name == "ct":
            return self._odd_ct(table)
        if name == "sample":
            return ("sample(probability=65535,collector_set_id=1,"
                    "obs_domain_id=1,obs_point_id=1)")
        if name == "check":
            return ("check_pkt_larger(200)->NXM_NX_REG0[0],"
                    f"resubmit(,{NEXT_TABLE})" if table < NEXT_TABLE else "")
        return name

    def _odd_register(self):
        return self.rng.choice((
            f"load:{self.rng.randint(1, 4)}->NXM_NX_REG1[0..15],"
            "output:NXM_NX_REG1[0..15]",
            "push:NXM_OF_ETH_DST[],pop:NXM_NX_XXREG0[0..47]",
            "set_field:5->tun_id", "set_field:7->reg3",
            "move:NXM_OF_IN_PORT[]->NXM_NX_REG2[0..15]"))

    def _odd_clone(self):
        tags = self.tags
        text = f"clone({self._edit_vlan()},{self.output()})"
        self.tags = tags
        return text

    def _odd_choice(self):
        return self.rng.choice((
            "bundle(eth_src,0,active_backup,ofport,members:2,3,4)",
            "bundle(symmetric_l4,7,hrw,ofport,members:1,2,3,4)",
            "multipath(eth_src,50,modulo_n,4,0,NXM_NX_REG1[0..1]),"
            "output:NXM_NX_REG1[0..15]"))

    def _odd_learn(self):
        if not self.learns:
            return ""
        return (f"learn(table={LEARN_TABLE},hard_timeout=3000,"
                "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
                "NXM_OF_VLAN_TCI[0..11],output:NXM_OF_IN_PORT[])")

    def _odd_mpls(self):
        if self.kind == "mpls":
            return self.rng.choice(("dec_mpls_ttl",
                                    "set_field:99->mpls_label"))
        return f"clone(push_mpls:0x8847,output:{self.rng.randint(1, 4)})"

    def _odd_ct(self, table):
        if table or self.kind not in IPV4_KINDS + IPV6_KINDS:
            return ""
        return self.rng.choice((
            f"ct(table={CT_TABLE},zone=5)", "ct(commit,zone=5)",
            f"ct(commit,table={CT_TABLE},zone=6)", "ct_clear",
            "ct(commit,zone=7,exec(set_field:9->ct_mark))"))
