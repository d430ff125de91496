# SPDX-License-Identifier: Apache-2.0
"""Joins two vhost-user ends that both want to connect.

    relay.py GUEST-SOCKET SWITCH-SOCKET

Listens on both paths, and hands messages, with their file descriptors, from
one end to the other for as long as both are there; then waits for the next
two.  User-Mode Linux connects, and so does Open vSwitch's port type
dpdkvhostuserclient.  No packet passes here.  Ends with its standard input."""
import os
import select
import socket
import sys

MESSAGE_BYTES = 4096
# Of one vhost-user message: VHOST_USER_SET_MEM_TABLE has the most.
MAX_FDS = 32


def _listen(path):
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    return listener


def _hand_on(source, to):
    """Hands on what 'source' has sent.  Returns false at its end."""
    data, fds, _, _ = socket.recv_fds(source, MESSAGE_BYTES, MAX_FDS)
    try:
        if data:
            sent = socket.send_fds(to, [data], fds)
            to.sendall(data[sent:])
    finally:
        for fd in fds:
            os.close(fd)
    return bool(data)


def _readable(*files):
    ready = select.select([sys.stdin, *files], [], [])[0]
    if sys.stdin in ready:
        sys.exit(0)
    return ready


def _relay(guest, switch):
    peers = {guest: switch, switch: guest}
    try:
        while all([_hand_on(end, peers[end]) for end in _readable(*peers)]):
            pass
    except OSError as error:
        print(f"relay: {error}", file=sys.stderr)


def main(guest_path, switch_path):
    listeners = [_listen(guest_path), _listen(switch_path)]
    print("ready", flush=True)
    while True:
        ends = []
        for listener in listeners:
            _readable(listener)
            ends.append(listener.accept()[0])
        _relay(*ends)
        for end in ends:
            end.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
