"""Runs a command with descriptors handed over as by a socket unit, sd_listen_fds(3).

python3 activated.py FD[,FD]... [NAME[:NAME]...] COMMAND [ARGUMENT]...
"""

import os
import sys

FIRST = 3


def hand_over(fds, names):
    # Out of the way first: a target number may be another one's source.
    high = [os.dup(fd) for fd in fds]
    moved = [os.dup2(fd, 200 + at) for at, fd in enumerate(high)]
    for at, fd in enumerate(moved):
        os.dup2(fd, FIRST + at, inheritable=True)
    os.closerange(FIRST + len(fds), 256)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds))}
    if names:
        os.environ["LISTEN_FDNAMES"] = names


if __name__ == "__main__":
    hand_over([int(fd) for fd in sys.argv[1].split(",")], sys.argv[2])
    os.execv(sys.argv[3], sys.argv[3:])
