"""Ports that nothing else takes: below the kernel's ephemeral range, and a range of its own per test worker."""

import itertools
import os
import socket

FIRST = 18_000
PER_WORKER = 1_500

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_offsets = itertools.cycle(range(PER_WORKER))


def free_port():
    """A port of 127.0.0.1 that nobody listens on and that this worker did not hand out lately."""
    for _ in range(PER_WORKER):
        port = FIRST + _worker * PER_WORKER + next(_offsets)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("every port of this worker is taken")
