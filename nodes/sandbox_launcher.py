"""What starts the code and ends all that it leaves behind. Standard library only: it runs as a script.

It does what needs the rights of the user who asked, before the walls stand: it puts the code into a memory
group, gives it a new session keyring, and, as root, becomes a user without rights, since nothing limits how
many processes root has. It ends the code when its own standard input is closed: also when the program that
asked dies.
"""

import ctypes
import json
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

MEGABYTE = 1 << 20
NOBODY = 65533  # not 65534, which other programs run as: before Linux 5.14 their processes would count
GROUPS = "/sys/fs/cgroup"
SHOWN = "/tmp/python"  # noqa: S108  # in a mount namespace of its own
_SET_PDEATHSIG, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS = 1, 36, 38
_JOIN_SESSION_KEYRING = 1
_NEW_MOUNTS, _BIND, _NO_SETUID, _NO_DEVICES, _PRIVATE = 0x20000, 0x1000, 2, 4, 0x44000


def launch(plan: dict) -> None:  # type: ignore[type-arg]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    _process_control(_SET_CHILD_SUBREAPER, 1)
    group = memory_group(plan["memory_mb"] + plan["files_mb"]) if plan["isolated"] else None
    child = os.fork()
    if child == 0:
        try:
            become(plan, group)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode(errors="replace"))
        os._exit(125)
    os.close(1)  # the output ends with the code
    os.close(2)
    status = ended(child, woken)
    end_all(child)
    if group:
        end_group(group)
    if status is None or os.WIFSIGNALED(status):
        number = signal.SIGKILL if status is None else os.WTERMSIG(status)
        with suppress(OSError):  # of SIGKILL
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status or 0))


def ended(child: int, woken: int) -> "int | None":
    """Return the status with which the code ended, None if it is to be stopped."""
    while True:
        ready, _, _ = select.select([0, woken], [], [])  # both far below 1024
        if woken in ready:
            os.read(woken, 4096)
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == child:
                    return status
                if pid == 0:
                    break
        if 0 in ready:
            return None


def end_all(child: int) -> None:
    """Kill what the code started, wherever it went: what lost its parent is a child of this process."""
    with suppress(OSError):
        os.killpg(child, signal.SIGKILL)
    while True:
        with suppress(OSError), open(f"/proc/self/task/{os.getpid()}/children") as file:  # noqa: PTH123
            for pid in file.read().split():
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.002)
        except ChildProcessError:
            return


def become(plan: dict, group: "str | None") -> None:  # type: ignore[type-arg]
    """Become the code, or bwrap around it."""
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDWR), 0)
    if plan["keyctl"]:
        ctypes.CDLL(None).syscall(plan["keyctl"], _JOIN_SESSION_KEYRING, None)
    if group:
        with suppress(OSError):  # a group that this user may make, but not move to: the other limits hold
            _set(group, "cgroup.procs", 0)
    command, program, environment = plan["command"], plan["command"][0], dict(os.environ)
    if plan["isolated"] and os.geteuid() == 0:
        program = os.open(program, os.O_RDONLY)  # a user without rights may not find it
        if plan["show"] or plan["show_also"]:
            show(plan["show"], plan["show_also"])
        if plan["libraries"]:  # of bwrap, which finds them beside itself only where it can see itself
            environment["LD_LIBRARY_PATH"] = shown_at(len(plan["show_also"]) - 1)
        drop()
    if not plan["isolated"]:
        _process_control(_SET_NO_NEW_PRIVS, 1)
    _process_control(_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execve(program, command, environment)  # noqa: S606
    except FileNotFoundError:
        if isinstance(program, str):
            raise
        os.set_inheritable(program, True)  # a script around bwrap: its shell has to read it
        os.execve(program, command, environment)  # noqa: S606


def drop() -> None:
    """Become a user without rights; root of a user namespace without other users has none outside it."""
    with open("/proc/self/uid_map") as file:  # noqa: PTH123
        spans = [[int(word) for word in line.split()] for line in file]
    if not any(first <= NOBODY < first + count for first, _, count in spans):
        return
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def shown_at(number: int) -> str:
    """Return where a user without rights finds one of the other folders."""
    return f"/tmp/shown-{number}"  # noqa: S108


def show(folder: "str | None", others: "list[str]") -> None:
    """Show a user without rights the interpreter's folder, such as one below /root: to this process alone.

    And other folders that the code may read.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def must(done: int, what: str) -> None:
        if done != 0:
            raise OSError(ctypes.get_errno(), f"{os.strerror(ctypes.get_errno())}: {what}")

    def mount(
        source: str, target: str, kind: "bytes | None", flags: int, data: "bytes | None" = None
    ) -> None:
        arguments = (source.encode(), target.encode(), kind, ctypes.c_ulong(flags), data or None)
        must(libc.mount(*arguments), f"mount of {target}")

    must(libc.unshare(_NEW_MOUNTS), "a mount namespace, which root needs to show the interpreter to the code")
    mount("none", "/", None, _PRIVATE)
    places = [*([] if folder is None else [(folder, SHOWN)])]
    places += [(other, shown_at(number)) for number, other in enumerate(others)]
    held = [(os.open(source, os.O_RDONLY | os.O_DIRECTORY), target) for source, target in places]
    mount("tmpfs", "/tmp", b"tmpfs", _NO_SETUID | _NO_DEVICES, b"mode=755,size=64k")  # noqa: S108
    for opened, target in held:
        os.mkdir(target)  # noqa: PTH102
        mount(f"/proc/self/fd/{opened}", target, None, _BIND)
        os.close(opened)


def memory_group(megabytes: int) -> "str | None":
    """Return a new control group with this limit, None without a cgroup v2 that this user may write."""
    if not os.path.exists(os.path.join(GROUPS, "cgroup.controllers")):  # noqa: PTH110, PTH118
        return None
    try:
        folder = GROUPS + os.path.dirname(own_group().rstrip("/"))  # noqa: PTH120
        group = os.path.join(folder, f"stepgraph-{os.getpid()}-{time.monotonic_ns()}")  # noqa: PTH118
        os.mkdir(group)  # noqa: PTH102
    except (OSError, StopIteration):
        return None
    try:
        _set(group, "memory.max", megabytes * MEGABYTE)
    except OSError:  # the group above counts no memory
        end_group(group)
        return None
    for name, value in (("memory.swap.max", 0), ("memory.oom.group", 1)):
        with suppress(OSError):
            _set(group, name, value)
    return group


def own_group() -> str:
    """Return the control group of this process."""
    with open("/proc/self/cgroup") as file:  # noqa: PTH123
        return next(line.strip()[3:] for line in file if line.startswith("0::"))


def _set(group: str, name: str, value: int) -> None:
    with open(os.path.join(group, name), "r+") as file:  # noqa: PTH118, PTH123
        file.write(str(value))


def end_group(group: str) -> None:
    """Remove a control group, whose processes are dead."""
    for _ in range(100):
        try:
            os.rmdir(group)  # noqa: PTH106
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)


def _process_control(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


if __name__ == "__main__":
    launch(json.loads(sys.argv[1]))
