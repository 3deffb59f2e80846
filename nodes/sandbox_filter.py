"""The system calls that code in the sandbox may not make: a seccomp filter, as bwrap loads it.

What it denies gives memory that no limit of a process counts (memfd files, SysV segments, queues), what the
whole machine has only some of (contexts for asynchronous I/O), keys of the user who runs the sandbox, another
process's memory, or parts of the kernel that such code has no use for. A socket is local or of
the internet: a sandbox has no network, but a virtual machine's VSOCK knows no network namespaces.
"""

from __future__ import annotations

import errno
import struct
import sys
from dataclasses import dataclass

_EPERM, _NO_SYSTEM_CALL, _NO_FAMILY = (
    errno.EPERM,
    38,
    97,
)  # Linux's numbers, also where this is read on another
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6
_X32 = 0x4000_0000

# seccomp_data: the call's number, the machine's, the address, the arguments of 64 bits each.
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _DENY = 0x7FFF_0000, 0x0005_0000


@dataclass(frozen=True)
class _Machine:
    audit: int
    socket: int
    keyctl: int
    denied: tuple[int, ...]


# memfd_create, memfd_secret, shmget, shmat, msgget, semget; add_key, request_key, keyctl;
# unshare, setns, bpf, perf_event_open, userfaultfd, io_uring_setup, open_by_handle_at;
# ptrace, process_vm_writev, io_setup
_MACHINES = {
    "x86_64": _Machine(
        0xC000003E,
        41,
        250,
        (319, 447, 29, 30, 68, 64, 248, 249, 250, 272, 308, 321, 298, 323, 425, 304, 101, 311, 206),
    ),
    "aarch64": _Machine(
        0xC00000B7,
        198,
        219,
        (279, 447, 194, 196, 186, 190, 217, 218, 219, 97, 268, 280, 241, 282, 425, 265, 117, 271, 0),
    ),
}


def filter_for(machine: str) -> bytes:
    """Return the filter for a machine as `os.uname` names it, nothing for one whose calls are not known."""
    known = _MACHINES.get(machine)
    if known is None or sys.byteorder != "little":
        return b""
    program = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, known.audit), (_RETURN, 0, 0, _DENY | _NO_SYSTEM_CALL)]
    program += [(_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _DENY | _NO_SYSTEM_CALL)]
    for number in known.denied:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _DENY | _EPERM)]
    program += [(_EQUAL, 1, 0, known.socket), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for family in _FAMILIES:
        program += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _DENY | _NO_FAMILY))
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def keyctl_number(machine: str) -> int | None:
    """Return the number of the system call that opens a new session keyring."""
    known = _MACHINES.get(machine)
    return known.keyctl if known else None
