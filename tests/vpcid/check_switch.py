# SPDX-License-Identifier: Apache-2.0

"""The switch's own connection to the keeper, lib/netdev-vpci-keeper.h, with
program tests/keeper-user as the switch."""

import errno
import os
import re
import signal
import subprocess

import keeper
from check_guests import inode
from check_upgrade import upgrade
from control import Switch, close_fds
from ivshmem import Guest, is_set, ring, wait_for


class User:
    """The program, and what it has said."""

    def __init__(self):
        rundir = keeper.path("run")
        if not os.path.exists(rundir):
            os.mkdir(rundir)
            os.symlink(keeper.CONTROL, rundir + "/vpcid.ctl")
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "keeper-user"],
            env=dict(os.environ, OVS_RUNDIR=rundir), text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")

    def hear(self, pattern):
        """Reads a line, which is to match 'pattern'.  Returns its groups, as
        numbers if they are."""
        line = self.process.stdout.readline().rstrip("\n")
        found = re.fullmatch(pattern, line)
        assert found, "%r is not %r" % (line, pattern)
        return [int(x) if x.isdigit() else x for x in found.groups()]

    def end(self):
        self.process.stdin.close()
        said = self.process.stdout.read()
        assert self.process.wait(keeper.TIMEOUT) == 0 and said == "", said

    def remove_run_directory(self):
        os.unlink(keeper.path("run/vpcid.ctl"))
        os.rmdir(keeper.path("run"))


def create_file():
    """Returns a path, for other processes, to memory that goes with us."""
    fd = os.memfd_create("ram")
    os.ftruncate(fd, 65536)
    return "/proc/%d/fd/%d" % (os.getpid(), fd)


def connect(user, path):
    """A guest of peer 0 connects."""
    guest = Guest(path)
    guest.greet(1)
    assert user.hear(r"peer 0 came (\d+) 1") == [guest.id]
    assert wait_for(guest.own[0])
    return guest


def check_switch_peer():
    """A user gets a region, guests, and signals for them."""
    user = User()
    files = [create_file(), create_file()]
    path = keeper.path("a")
    user.tell("base", 0, path)
    base = user.hear(r"base 0 given (\d+)")[0]
    user.tell("peer", 0, files[0], 0)
    region = user.hear(r"peer 0 given (\d+)")[0]
    assert "region %d: peer of region %d, " % (region, base) in keeper.show()
    guest = connect(user, path + ".peer")
    assert inode(guest.memory) == os.stat(files[0]).st_ino

    user.tell("signals", 0, guest.id, 2, 1)
    user.hear("asked 1")
    peer = user.hear(r"peer 0 signals (\d+) 1 1")[0]
    for _ in range(3):
        guest.take()
    user.tell("ring", 0, 1)
    user.hear("rung 1")
    assert is_set(guest.own[2]) and not is_set(guest.own[1])
    user.tell("called", 0, 0)
    user.hear("called 0")
    ring(guest.peers[peer][0])
    user.tell("called", 0, 0)
    user.hear("called 1")

    user.tell("null", 0, guest.id)
    user.hear("asked 1")
    user.hear("peer 0 signals-refused %d .*not an eventfd" % errno.EINVAL)
    user.tell("signals", 0, guest.id, 2, 1)
    user.hear("asked 1")
    user.hear("peer 0 signals-refused %d .*unplugged.*" % errno.ENOSPC)
    user.tell("signals", 0, guest.id + 1, 1, 1)
    user.hear("asked 1")
    user.hear("peer 0 signals-refused %d .*" % errno.ENOTCONN)
    # One at a time.
    user.tell("twice", 0, guest.id)
    user.hear("asked 1")
    user.hear("asked 0")
    user.hear(r"peer 0 signals 0 3 0")
    guest.take()
    assert guest.is_silent()

    guest.close()
    user.hear("peer 0 left it closed the connection")
    guest = connect(user, path + ".peer")

    # Another file, at once, and the same one anew.
    for i in 1, 1, 0:
        user.tell("move", 0, files[i], 0)
        last, region = region, user.hear(r"peer 0 given (\d+)")[0]
        assert region > last and guest.is_closed()
        guest = connect(user, path + ".peer")
        assert inode(guest.memory) == os.stat(files[i]).st_ino
    # Another file, while the region of the last is kept.
    user.tell("unpeer", 0, "keep")
    user.tell("peer", 0, files[0], 0)
    assert user.hear(r"peer 0 given (\d+)") == [region]
    assert user.hear(r"peer 0 came (\d+) 1") == [guest.id]
    user.tell("unpeer", 0, "keep")
    user.tell("peer", 0, files[1], 0)
    last, region = region, user.hear(r"peer 0 given (\d+)")[0]
    assert region > last and guest.is_closed()
    user.tell("unpeer", 0, "delete")
    keeper.wait_until(lambda: not os.path.exists(path + ".peer"), "deletion")
    user.tell("peer", 0, "/dev/null", 0)
    user.hear("peer 0 refused .*tmpfs.*")
    user.tell("signals", 0, 1, 1, 1)
    user.hear("asked 0")
    user.end()
    user.remove_run_directory()


def check_switch_peer_again():
    """A switch that comes back, and a keeper that does."""
    user = User()
    file, other = create_file(), create_file()
    path = keeper.path("a")
    user.tell("base", 0, path)
    user.hear(r"base 0 given (\d+)")
    user.tell("peer", 0, file, 0)
    region = user.hear(r"peer 0 given (\d+)")[0]
    guest = connect(user, path + ".peer")
    user.end()

    user = User()
    user.tell("base", 0, path)
    user.hear(r"base 0 given (\d+)")
    user.tell("peer", 0, file, 0)
    assert user.hear(r"peer 0 given (\d+)") == [region]
    assert user.hear(r"peer 0 came (\d+) 1") == [guest.id]
    upgrade()
    user.tell("signals", 0, guest.id, 1, 0)
    user.hear("asked 1")
    user.hear("peer 0 signals 0 1 2")
    guest.take()
    user.end()

    # With another file.
    user = User()
    user.tell("base", 0, path)
    user.hear(r"base 0 given (\d+)")
    user.tell("peer", 0, other, 0)
    assert user.hear(r"peer 0 given (\d+)")[0] > region
    assert guest.is_closed()
    guest = connect(user, path + ".peer")

    # The keeper loses everything, and gives the number of that base region to
    # another one.  Signals are under way.
    os.kill(keeper.pid(), signal.SIGSTOP)
    user.tell("signals", 0, guest.id, 1, 0)
    user.hear("asked 1")
    pid = keeper.pid()
    os.kill(pid, signal.SIGKILL)
    os.unlink("%s/vpcid.%d.ctl" % (keeper.RUNDIR, pid))
    user.hear("base 0 refused")
    user.hear("peer 0 signals-refused %d .*" % errno.ENOTCONN)
    user.tell("signals", 0, guest.id, 1, 0)
    user.hear("asked 0")
    assert guest.is_closed()
    user.tell("base", 1, keeper.path("b"))
    keeper.restart()
    heard = []
    while "base 0 given 2" not in heard:
        heard += user.hear(r"(base \d (?:given \d+|refused)|peer 0 refused "
                           "the keeper of regions has lost everything)")
    assert "base 1 given 1" in heard and "peer 0" in " ".join(heard), heard
    assert "peer of region" not in keeper.show()
    user.tell("unpeer", 0, "delete")
    user.tell("peer", 0, file, 0)
    user.hear(r"peer 0 given (\d+)")
    connect(user, path + ".peer").close()
    user.hear("peer 0 left .*")
    user.end()

    user.remove_run_directory()


def wait_for_end_of(user, path):
    """Waits until a region is deleted that nobody wants, and everything else
    that would be at the same time."""
    keeper.wait_until(lambda: not os.path.exists(path), "deletion")
    for _ in range(3):
        user.tell("signals", 9, 0, 1, 0)
        user.hear("asked 0")
    keeper.settle()


def check_switch_peer_stays():
    """What a user wants is not taken for what nobody wants."""
    file = create_file()
    a, b, c = (keeper.path(x) for x in "abc")
    with Switch(keeper.CONTROL) as switch, open(file, "r+b") as f:
        for path in a, b:
            base = switch.base_add(path, n_vectors=1, private_size=4096)
            close_fds(base)
            peer = switch.peer_add(base.id, f.fileno(), n_vectors=4)
    guest = Guest(peer.path0)
    guest.greet(1)

    # It was there before the switch.
    user = User()
    user.tell("base", 0, b)
    user.hear(r"base 0 given (\d+)")
    user.tell("peer", 0, file, 0)
    assert user.hear(r"peer 0 given (\d+)") == [peer.id]
    assert user.hear(r"peer 0 came (\d+) 1") == [guest.id]
    wait_for_end_of(user, a + ".peer")
    assert guest.is_silent() and os.path.exists(b + ".peer")

    # The connection breaks, and the keeper is the same.
    user.tell("base", 1, c)
    user.hear(r"base 1 given (\d+)")
    user.tell("break")
    user.hear("base [01] refused")
    user.hear("base [01] refused")
    user.tell("unbase", 1)
    user.hear(r"base 0 given (\d+)")
    assert user.hear(r"peer 0 given (\d+)") == [peer.id]
    assert user.hear(r"peer 0 came (\d+) 1") == [guest.id]
    wait_for_end_of(user, c)
    assert guest.is_silent() and os.path.exists(b + ".peer")
    user.tell("signals", 0, guest.id, 1, 0)
    user.hear("asked 1")
    user.hear("peer 0 signals 0 1 2")
    guest.close()
    user.hear("peer 0 left .*")
    user.end()
    user.remove_run_directory()
