#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""offload-pairs.py plan|judge GUESTS flow|splice

What guests with different offloads send each other, and whether it arrives.

Line N of the file GUESTS names what a guest may have: gN sends, and the guest
behind all of these, likewise, receives.

"plan" writes to gN.send what gN is to send to all receivers, as commands for
vhost-guest; to gN.first what opens the flows to all of them; to gN.expect how
many frames each receiver gets; to gN.spliced how many packets take the splice
path.  It leaves notes, in "sent", for "judge".

"judge" reads what the receivers received from files gN.frames, as printed by
the option print-hdr of vhost-guest, and tells what is wrong.  The judge of
checksums is Scapy; what is sent is Scapy's, too."""
import collections
import itertools
import pickle
import random
import struct
import sys

from scapy.all import TCP, UDP, Ether, IP, IPv6, Raw, checksum, raw

ETH_LEN = 14
NEEDS_CSUM = 1
TCPV4, TCPV6 = 1, 4
CSUM_OFS = {"tcp": 16, "udp": 6}
FIN_PSH = 0x09
WORDS = "csum", "guest-csum", "tso", "mergeable"

# Transport, bytes of payload: odd and even, shortest and longest.
SINGLE = ("tcp", 1000), ("udp", 333), ("tcp", 1427), ("udp", 1), ("tcp", 7)
# Bytes of payload in all and in each segment: the last one has one byte, or as
# many as the others; more segments than a batch has packets; an odd length;
# nearly all that fits; nothing to cut.
SUPER = (2801, 1400), (4200, 1400), (40007, 1000), (64999, 1408), (999, 1408)

# What a guest sends: 'size' bytes of payload in each segment, or 0; whether
# its checksum is partial; where the transport header and the payload begin.
Sent = collections.namedtuple("Sent", "name proto ipv6 size partial start "
                              "headers frame")


class Wrong(Exception):
    """Something that a receiver must not get, or had to get."""


def mac(kind, n):
    """The address of sender (0) or receiver (1) 'n'."""
    return f"02:00:00:00:{kind:02x}:{n:02x}"


def pseudo(frame, start):
    """The pseudo header that the transport header at 'start' adds to its
    checksum."""
    if frame[12:14] == b"\x86\xdd":
        return frame[22:54] + struct.pack("!IHBB", len(frame) - start, 0, 0,
                                          frame[20])
    return frame[26:34] + struct.pack("!BBH", 0, frame[23], len(frame) - start)


def make(sender, receiver, number, proto, ipv6, n, size=0, partial=False):
    """Makes what Scapy thinks right, with a checksum or a driver's beginning
    of one."""
    data = random.Random(f"{sender} {receiver} {number}").randbytes(n)
    ip = (IPv6(src=f"fd00::{sender}", dst=f"fd00::1:{receiver}", hlim=9)
          if ipv6 else IP(src=f"10.0.0.{sender}", dst=f"10.0.1.{receiver}",
                          id=65530, ttl=9, flags="DF"))
    if proto == "tcp":
        options = [("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)]
        l4 = TCP(sport=number, dport=9, seq=0xfffff000, ack=7, flags="FPA",
                 options=options if number % 2 else [])
    else:
        l4 = UDP(sport=number, dport=9)
    frame = raw(Ether(src=mac(0, sender), dst=mac(1, receiver)) / ip / l4
                / Raw(data))
    start = ETH_LEN + (40 if ipv6 else 20)
    name = (f"number {number}, {proto}{6 if ipv6 else 4} of {n} bytes"
            + (f" for segments of {size}" if size else "")
            + (", partial checksum" if partial and not size else ""))
    if partial:
        at = start + CSUM_OFS[proto]
        begin = 0xffff - checksum(pseudo(frame, start))
        frame = frame[:at] + begin.to_bytes(2, "big") + frame[at + 2:]
    return Sent(name, proto, ipv6, size, partial, start, len(frame) - n, frame)


def sendable(sender, receiver, has):
    """Yields what 'sender', which has the features 'has', may send."""
    numbers = itertools.count(1)
    for partial in (False, True)[:1 + ("csum" in has)]:
        for ipv6, (proto, n) in itertools.product((False, True), SINGLE):
            yield make(sender, receiver, next(numbers), proto, ipv6, n,
                       partial=partial)
    # Virtio 1.1, section 5.1.3.1: no HOST_TSO without CSUM.
    if has >= {"csum", "tso"}:
        for ipv6, (n, size) in itertools.product((False, True), SUPER):
            yield make(sender, receiver, next(numbers), "tcp", ipv6, n, size,
                       True)


def header(sent):
    """The virtio header that says what is left to do."""
    if not sent.partial:
        return bytes(10)
    gso_type = (TCPV6 if sent.ipv6 else TCPV4) if sent.size else 0
    return struct.pack("<BBHHHH", NEEDS_CSUM, gso_type,
                       sent.headers if sent.size else 0, sent.size, sent.start,
                       CSUM_OFS[sent.proto])


def n_packets(sent):
    """How many packets a wire would carry."""
    n = len(sent.frame) - sent.headers
    return -(-n // sent.size) if sent.size else 1


def is_left(sent, takes, path):
    """True if work that 'sent' asks for is left to the receiver."""
    if not sent.partial:
        return False
    # No GUEST_TSO without GUEST_CSUM.
    return (path == "splice" and "guest-csum" in takes
            and (n_packets(sent) == 1 or "tso" in takes))


def n_frames(sent, takes, path):
    """How many frames a receiver gets."""
    return 1 if is_left(sent, takes, path) else n_packets(sent)


def blank(frame, start, proto):
    """The headers but for what differs from segment to segment."""
    headers = bytearray(frame[:start + (20 if proto == "tcp" else 8)])
    if frame[12:14] == b"\x86\xdd":
        headers[18:20] = bytes(2)
    else:
        headers[16:20] = bytes(4)
        headers[24:26] = bytes(2)
    at = start + CSUM_OFS[proto]
    headers[at:at + 2] = bytes(2)
    if proto == "tcp":
        headers[start + 4:start + 8] = bytes(4)
        headers[start + 13] &= ~FIN_PSH
    else:
        headers[start + 4:start + 6] = bytes(2)
    return headers


def check_sums(frame, start, proto):
    """Checks lengths and checksums."""
    if frame[12:14] == b"\x86\xdd":
        if int.from_bytes(frame[18:20], "big") != len(frame) - start:
            raise Wrong("bad IPv6 length")
    elif int.from_bytes(frame[16:18], "big") != len(frame) - ETH_LEN:
        raise Wrong("bad IPv4 length")
    elif checksum(frame[ETH_LEN:start]):
        raise Wrong("bad IPv4 checksum")
    if proto == "udp":
        if int.from_bytes(frame[start + 4:start + 6], "big") \
                != len(frame) - start:
            raise Wrong("bad UDP length")
        if frame[start + 6:start + 8] == bytes(2):
            raise Wrong("no UDP checksum")
    if checksum(pseudo(frame, start) + frame[start:]):
        raise Wrong(f"bad {proto.upper()} checksum")


def check_header(hdr, sent, left):
    """Checks the virtio header of what a receiver got."""
    flags, gso_type, hdr_len, size, start, ofs = struct.unpack("<BBHHHH", hdr)
    is_super = left and n_packets(sent) > 1
    want = 0, 0, 0

    if left:
        want = NEEDS_CSUM, sent.start, CSUM_OFS[sent.proto]
    if (flags, start, ofs) != want:
        raise Wrong(f"checksum (flags, start, offset) {(flags, start, ofs)} "
                    f"in the header, not {want}")
    want = ((TCPV6 if sent.ipv6 else TCPV4), sent.size) if is_super else (0, 0)
    if (gso_type, size) != want:
        raise Wrong(f"gso_type and gso_size {(gso_type, size)} in the header, "
                    f"not {want}")
    if hdr_len not in (0, sent.headers if is_super else 0):
        raise Wrong(f"hdr_len {hdr_len}")


def check_frame(hdr, frame, sent, i, takes, path):
    """Checks frame 'i' of those that 'sent' became."""
    left = is_left(sent, takes, path)
    start, last = sent.start, i + 1 == n_frames(sent, takes, path)
    size = sent.size if not left and n_packets(sent) > 1 else len(sent.frame)
    ofs = sent.headers + i * size
    data = sent.frame[ofs:ofs + size]

    check_header(hdr, sent, left)
    if blank(frame, start, sent.proto) != blank(sent.frame, start, sent.proto):
        raise Wrong("other headers")
    if frame[sent.headers:] != data:
        raise Wrong("other payload")
    if frame[start + 20:sent.headers] != sent.frame[start + 20:sent.headers] \
            and sent.proto == "tcp":
        raise Wrong("other TCP options")
    if left:
        # Only a partial checksum becomes right by this.
        at = start + CSUM_OFS[sent.proto]
        value = checksum(frame[start:]) or 0xffff
        frame = frame[:at] + value.to_bytes(2, "big") + frame[at + 2:]
    check_sums(frame, start, sent.proto)
    if sent.proto == "tcp":
        seq, = struct.unpack("!I", frame[start + 4:start + 8])
        if seq != (0xfffff000 + i * size) & 0xffffffff:
            raise Wrong(f"sequence number {seq:#x}")
        if frame[start + 13] & FIN_PSH != (FIN_PSH if last else 0):
            raise Wrong(f"TCP flags {frame[start + 13]:#x}")
    if not sent.ipv6 and frame[18:20] != ((65530 + i) & 0xffff).to_bytes(2,
                                                                    "big"):
        raise Wrong("IPv4 identification")


def check_pair(received, all_sent, takes, path):
    """Checks all that one guest received of what another sent."""
    received = iter(received)
    for sent in all_sent:
        n = n_frames(sent, takes, path)
        for i in range(n):
            hdr, frame = next(received, (None, None))
            try:
                if frame is None:
                    raise Wrong("missing, with all that should follow")
                check_frame(hdr, frame, sent, i, takes, path)
            except Wrong as wrong:
                where = f", frame {i + 1} of {n}" if n > 1 else ""
                raise Wrong(f"{sent.name}{where}: {wrong}") from None
    n_more = sum(1 for _ in received)
    if n_more:
        raise Wrong(f"{n_more} frames more than it should get")


def read_frames(path):
    """Returns the headers and frames in the file 'path', by sender."""
    frames = collections.defaultdict(list)
    with open(path, encoding="ascii") as file:
        for line in file:
            if ": " not in line:
                hdr, frame = map(bytes.fromhex, line.split())
                sender = frame[11] if frame[10] == 0 else -1
                frames[sender].append((hdr, frame))
    return frames


def judge(guests, path):
    """Returns how many pairs have failed, and tells why."""
    n_failed = 0
    with open("sent", "rb") as file:
        all_sent = pickle.load(file)
    for j, takes in enumerate(guests, 1):
        frames = read_frames(f"g{len(guests) + j}.frames")
        for i, has in enumerate(guests, 1):
            try:
                check_pair(frames.pop(i, ()), all_sent[i, j], takes, path)
            except Wrong as wrong:
                n_failed += 1
                print(f"{name(has)} to {name(takes)}: {wrong}")
        if frames:
            n_failed += 1
            print(f"to {name(takes)}: frames that nobody sent")
    print(f"{len(guests) ** 2} pairs, {n_failed} failed")
    return n_failed


def name(has):
    """The features of a guest, for messages."""
    return ",".join(word for word in WORDS if word in has) or "none"


def plan(guests, path):
    """Writes what each guest is to do."""
    all_sent = {}
    for i, has in enumerate(guests, 1):
        n_spliced = 0
        with open(f"g{i}.send", "w", encoding="ascii") as send, \
                open(f"g{i}.first", "w", encoding="ascii") as first, \
                open(f"g{i}.expect", "w", encoding="ascii") as expect:
            for j, takes in enumerate(guests, 1):
                n = 0
                all_sent[i, j] = list(sendable(i, j, has))
                for sent in all_sent[i, j][0], all_sent[i, j][len(SINGLE)]:
                    first.write(f"send-hex {sent.frame.hex()}\n")
                for sent in all_sent[i, j]:
                    send.write(f"send-hex {sent.frame.hex()} "
                               f"hdr={header(sent).hex()}\n")
                    n += n_frames(sent, takes, path)
                    if not sent.partial or is_left(sent, takes, path):
                        n_spliced += n_packets(sent)
                expect.write(f"{len(guests) + j} {n}\n")
            # The answer to this tells that all is done.
            send.write("sleep 0\n")
            first.write("sleep 0\n")
        with open(f"g{i}.spliced", "w", encoding="ascii") as file:
            file.write(f"{n_spliced if path == 'splice' else 0}\n")
    with open("sent", "wb") as file:
        pickle.dump(all_sent, file)


def main():
    what, guests, path = sys.argv[1:]
    with open(guests, encoding="ascii") as file:
        guests = [set(line.strip().replace("none", "").split(",")) - {""}
                  for line in file]
    assert all(has <= set(WORDS) for has in guests)
    if what == "judge":
        return bool(judge(guests, path))
    plan(guests, path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
