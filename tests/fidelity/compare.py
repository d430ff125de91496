# SPDX-License-Identifier: Apache-2.0
"""What is the same, and what is not, about what two switches did: one with the
flow path alone, and another one that has a path of some name."""
from collections import Counter, defaultdict

from packets import untag

#: Of each kind of difference, so many are described.
SHOWN = 4


class Difference(Exception):
    """The paths disagree.  'frames' are some that only one of them sent, as
    tuples of the port they come from, the frame, and its sequence number or
    None."""

    def __init__(self, text, frames=()):
        super().__init__(text)
        self.text = text
        self.frames = list(frames)

    def __str__(self):
        return self.text

    def add(self, text):
        """Adds something to the description."""
        self.text += "\n" + text


def overtaken(flows, frames):
    """Returns a frame that was overtaken by another of its flow, or None.
    'flows' has, for each sequence number, what the packet was that was sent.

    If a flow goes to the same port several times, then it is the first copies
    that come in order, the second ones, and so on."""
    last, copies = {}, Counter()
    for frame in frames:
        changed, seq = untag(frame)
        if seq not in flows:
            continue
        copies[frame] += 1
        key = flows[seq], changed, copies[frame]
        if last.get(key, -1) > seq:
            return frame
        last[key] = seq
    return None


def _describe(name, port, frame):
    return f"{name} path alone sent to port {port}: {frame.hex()}"


def compare_frames(in_port, sent, flow, other, path):
    """Compares what came out at each port, two dictionaries of lists, of the
    packets 'sent' to one port."""
    flows = {seq: packet for packet, seq in map(untag, sent)
             if seq is not None}
    texts, culprits = [], []
    for port in flow:
        here, there = Counter(flow[port]), Counter(other[port])
        for name, more, less in (("flow", here, there),
                                 (path, there, here)):
            odd = list((more - less).elements())
            texts += [_describe(name, port, frame) for frame in odd[:SHOWN]]
            texts += [f"  (and {len(odd) - SHOWN} more)"] * (len(odd) > SHOWN)
            culprits += [(in_port, frame, untag(frame)[1]) for frame in odd]
    for port in flow:
        for name, frames in (("flow", flow[port]), (path, other[port])):
            frame = overtaken(flows, frames)
            if frame and not texts:
                texts.append(f"{name} path let a packet to port {port} "
                             f"be overtaken: {frame.hex()}")
                culprits.append((in_port, frame, untag(frame)[1]))
    if texts:
        raise Difference(f"packets from port {in_port}:\n"
                         + "\n".join(texts), culprits)


def subtract(after, before):
    """Returns by how much counters have grown."""
    return {name: after[name] - before.get(name, 0) for name in after}


def compare_counters(flow, other, path):
    """Compares two dictionaries of counters."""
    texts = [f"counter of port {name}: {flow.get(name)} on the flow path, "
             f"{other.get(name)} on the {path} path"
             for name in sorted(set(flow) | set(other))
             if flow.get(name) != other.get(name)]
    if texts:
        raise Difference("\n".join(texts))


def compare_rules(flow, other, path):
    """Compares two lists of lines."""
    here, there = Counter(flow), Counter(other)
    if here != there:
        raise Difference("\n".join(
            [f"flow path: {line}" for line in (here - there).elements()]
            + [f"{path} path: {line}" for line in (there - here).elements()]))


def find_packet(difference, packets):
    """Returns the port and packet that 'difference' is about, if it can be
    told from 'packets', lists of what each port was sent."""
    by_number = defaultdict(list)
    for port, frames in packets.items():
        for frame in frames:
            by_number[port, untag(frame)[1]].append(frame)
    for port, frame, seq in difference.frames:
        found = by_number[port, seq] if seq is not None else []
        found = found or [packet for packet in packets[port]
                          if len(packet) >= 14
                          and packet[-min(20, len(packet) - 12):] in frame]
        if found:
            return port, found[0]
    return None
