"""A service manager's side of sd_notify and of socket activation, and a way to stop one thread of a process."""

import contextlib
import ctypes
import os
import socket
import sys
import time
from pathlib import Path

LAUNCH = Path(__file__).resolve().parents[1] / "activated.py"


class NotifySocket:
    """The socket that $NOTIFY_SOCKET names; every message with the time at which it was read."""

    def __init__(self, directory, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = f"@fanfare-test-{os.getpid()}-{id(self)}" if abstract else str(directory / "notify")
        self.socket.bind(self.address.replace("@", "\0", 1) if abstract else self.address)
        self.messages = []

    @property
    def environment(self):
        return {"NOTIFY_SOCKET": self.address}

    def receive(self, within_s=0.0):
        """The next message as a dictionary of assignments, or None."""
        self.socket.settimeout(max(within_s, 0.001))
        try:
            text = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        message = dict(line.split("=", 1) for line in text.split("\n"))
        self.messages.append(message)
        return message

    def await_message(self, within_s=10.0, **wanted):
        """The first message from here on that has these assignments; a value may be a predicate."""
        ends = time.monotonic() + within_s
        while (left := ends - time.monotonic()) > 0:
            message = self.receive(left)
            if message and all(
                key in message and (value(message[key]) if callable(value) else message[key] == value)
                for key, value in wanted.items()
            ):
                return message
        raise AssertionError(f"no message with {sorted(wanted)} within {within_s} s; there were {self.messages}")

    def count(self, key, during_s):
        """How many messages with this key come in that time."""
        ends, found = time.monotonic() + during_s, 0
        while (left := ends - time.monotonic()) > 0:
            message = self.receive(left)
            found += bool(message and key in message)
        return found

    def close(self):
        self.socket.close()


def listening(port=0, backlog=4096, host="127.0.0.1"):
    """A socket as systemd opens it for a socket unit."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host, port))
    made.listen(backlog)
    return made


def activation(sockets, names=None):
    """Launcher and descriptors with which a process starts as if by a socket unit."""
    fds = [made.fileno() for made in sockets]
    launcher = [sys.executable, str(LAUNCH), ",".join(map(str, fds)), ":".join(names or [])]
    return {"launcher": launcher, "pass_fds": fds}


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
WALL = 0x4000_0000


def thread_id(pid, name):
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int(task.name)
    raise AssertionError(f"process {pid} has no thread {name}")


@contextlib.contextmanager
def frozen(pid, name):
    """Stops one thread, and no other, as a debugger would (ptrace(2))."""
    tid = thread_id(pid, name)

    def call(request):
        if _libc.ptrace(request, tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace of the thread {name}")

    call(PTRACE_SEIZE)
    call(PTRACE_INTERRUPT)
    os.waitpid(tid, WALL)
    try:
        yield
    finally:
        call(PTRACE_DETACH)
