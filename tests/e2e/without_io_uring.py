"""Runs a command in which io_uring_setup(2) fails with EPERM, as under a container's seccomp profile.

python3 without_io_uring.py COMMAND [ARGUMENT]...
"""

import ctypes
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
# The same number on every architecture.
IO_URING_SETUP = 425
EPERM = 1

# seccomp(2): the first word of the data is the system call's number.
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
FAIL_WITH, ALLOW = 0x0005_0000, 0x7FFF_0000
PROGRAM = [
    (LOAD_WORD, 0, 0, 0),
    (JUMP_IF_EQUAL, 0, 1, IO_URING_SETUP),
    (RETURN, 0, 0, FAIL_WITH | EPERM),
    (RETURN, 0, 0, ALLOW),
]


class Filter(ctypes.Structure):
    """struct sock_fprog"""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def forbid():
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in PROGRAM)
    memory = ctypes.create_string_buffer(code)
    program = Filter(len(PROGRAM), ctypes.addressof(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    forbid()
    os.execv(sys.argv[1], sys.argv[1:])
