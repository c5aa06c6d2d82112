"""Runs a command under the seccomp filters that a unit file asks for, without a systemd that runs.

python3 under_the_unit.py UNIT COMMAND [ARGUMENT]...

SystemCallFilter= is expanded by systemd-analyze and loaded with libseccomp, which systemd itself does. Where systemd
answers EPERM, this kills the process: a call that is refused in silence would be missed. RestrictNamespaces=,
RestrictAddressFamilies= and MemoryDenyWriteExecute= become the rules that systemd makes of them.
"""

import configparser
import ctypes
import errno
import os
import socket
import subprocess
import sys

KILL_PROCESS, ALLOW = 0x8000_0000, 0x7FFF_0000
EQUAL, MASKED_EQUAL = 4, 7
PROT_WRITE, PROT_EXEC = 2, 4
NAMESPACES = [0x0000_0080, 0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
FAMILIES_MAX = 46


class Compare(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def library():
    loaded = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    loaded.seccomp_init.restype = ctypes.c_void_p
    loaded.seccomp_init.argtypes = [ctypes.c_uint32]
    loaded.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Compare),
    ]
    loaded.seccomp_load.argtypes = [ctypes.c_void_p]
    return loaded


SECCOMP = library()


def fail_with(number):
    return 0x0005_0000 | number


def options(unit):
    """Every value of [Service], in order, by key."""
    class Multiple(dict):
        def __setitem__(self, key, value):
            if isinstance(value, list) and key in self:
                self[key].extend(value)
            else:
                super().__setitem__(key, value)

    parser = configparser.RawConfigParser(dict_type=Multiple, strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str
    parser.read(unit)
    return {key: value.split("\n") for key, value in parser["Service"].items()}


def members(word):
    if not word.startswith("@"):
        return {word}
    lines = subprocess.run(
        ["systemd-analyze", "syscall-filter", word], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    calls = [line.strip() for line in lines if line.startswith(" ") and not line.strip().startswith("#")]
    assert calls, f"{word} is empty"
    return set().union(*map(members, calls))


def allowed(lines):
    """systemd.exec(5): the first line decides that it is a list of what is allowed; `~` takes away from it."""
    calls = members("@default")
    for line in lines:
        named = set().union(*map(members, line.removeprefix("~").split()))
        calls = calls - named if line.startswith("~") else calls | named
    return calls | {"execve"}


class Filter:
    def __init__(self, default):
        self.context = SECCOMP.seccomp_init(default)
        assert self.context

    def add(self, action, call, *comparisons):
        number = SECCOMP.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # Not a call of this architecture.
        array = (Compare * max(len(comparisons), 1))(*comparisons)
        failed = SECCOMP.seccomp_rule_add_array(self.context, action, number, len(comparisons), array)
        assert failed == 0, (call, os.strerror(-failed))

    def load(self):
        failed = SECCOMP.seccomp_load(self.context)
        assert failed == 0, os.strerror(-failed)


def calls_filter(lines):
    made = Filter(KILL_PROCESS)
    for call in sorted(allowed(lines)):
        made.add(ALLOW, call)
    return made


def namespaces_filter():
    made = Filter(ALLOW)
    made.add(fail_with(errno.EPERM), "setns")
    # Its flags are behind a pointer: glibc falls back to clone.
    made.add(fail_with(errno.ENOSYS), "clone3")
    for flag in NAMESPACES:
        for call in ("unshare", "clone"):
            made.add(fail_with(errno.EPERM), call, Compare(0, MASKED_EQUAL, flag, flag))
    return made


def families_filter(names):
    made = Filter(ALLOW)
    known = {int(getattr(socket, name)) for name in names.split()}
    for family in set(range(FAMILIES_MAX)) - known:
        made.add(fail_with(errno.EAFNOSUPPORT), "socket", Compare(0, EQUAL, family, 0))
    return made


def write_execute_filter():
    made = Filter(ALLOW)
    both = PROT_WRITE | PROT_EXEC
    made.add(fail_with(errno.EPERM), "mmap", Compare(2, MASKED_EQUAL, both, both))
    for call in ("mprotect", "pkey_mprotect"):
        made.add(fail_with(errno.EPERM), call, Compare(2, MASKED_EQUAL, PROT_EXEC, PROT_EXEC))
    return made


def restrict(unit):
    service = options(unit)
    filters = [calls_filter(service["SystemCallFilter"])]
    assert service["RestrictNamespaces"] == ["yes"] and service["MemoryDenyWriteExecute"] == ["yes"]
    filters += [namespaces_filter(), families_filter(service["RestrictAddressFamilies"][0]), write_execute_filter()]
    # The strictest last: after it, loading another one would be a call that it does not know.
    for made in reversed(filters):
        made.load()


if __name__ == "__main__":
    restrict(sys.argv[1])
    os.execv(sys.argv[2], sys.argv[2:])
