# SPDX-License-Identifier: Apache-2.0
"""Looks for the few rules and packets with which two paths disagree."""
from compare import Difference
from switch import SwitchError

#: How often a table is tried at most.
MAX_TRIES = 80


class _Minimizer:
    def __init__(self, run, table):
        self.run = run
        self.table = table
        self.tries = 0
        self.problem = None

    def fails(self):
        """True if the paths disagree about the table as it is now."""
        self.tries += 1
        try:
            self.run.columns.try_table(self.table)
        except Difference as e:
            self.problem = e
            self.text = self.run.columns.explain(e)
            return True
        except SwitchError:
            pass
        return False

    def reduce(self, attribute):
        """Takes away from a list of the table what is not needed."""
        size = len(getattr(self.table, attribute))
        while size:
            at = 0
            while at < len(getattr(self.table, attribute)):
                items = getattr(self.table, attribute)
                setattr(self.table, attribute,
                        items[:at] + items[at + size:])
                if (self.tries >= MAX_TRIES
                        or not getattr(self.table, attribute)
                        and attribute == "templates" or not self.fails()):
                    setattr(self.table, attribute, items)
                    at += size
            size //= 2


def minimize(run, table):
    """Prints how few rules and packets of 'table' still make a difference, if
    it does so again at all."""
    m = _Minimizer(run, table)
    if not m.fails():
        print("(it is not so with this table alone)")
        return
    for attribute in ("templates", "mod_ports", "vsctl", "change", "flows",
                      "templates"):
        if attribute == "vsctl":
            saved, table.vsctl = table.vsctl, []
            if saved and not m.fails():
                table.vsctl = saved
        else:
            m.reduce(attribute)
    print(f"minimized ({m.tries} tries):\n{m.problem}\n{m.text}\n{table}")
    for port, packet in table.templates:
        print(f"packet from port {port}: {packet.hex()}")
