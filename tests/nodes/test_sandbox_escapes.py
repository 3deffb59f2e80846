"""What code in the sandbox tries, by name: every try fails, for the sandbox of root and of an ordinary user.

All tries of one user run in one sandbox, each in a process of its own there. A try is code that leaves what it got in
`got`; it fails as expected if what it got, or the error that it met, looks as the table says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is for Linux")

ROOT = Path(__file__).parents[2]
NOBODY = 65534
READ_ONLY, NOT_THERE, DENIED = (
    "Read-only file system",
    "FileNotFoundError",
    "PermissionError|Operation not permitted",
)

# name: (code, what it gets)
TRIES: dict[str, tuple[str, str]] = {
    # files of the host
    "the users' file": ("got = open('/etc/passwd').read()", NOT_THERE),
    "a link to a file of the host": ("os.symlink('/etc/shadow', 'l'); got = open('l').read()", NOT_THERE),
    "a file of whoever asked": ("got = open(KEY).read()", NOT_THERE),
    "this repository": ("got = os.listdir(REPOSITORY)", NOT_THERE),
    "the root of the first process": ("got = os.path.exists('/proc/1/' + 'root' + '/etc/passwd')", "^False"),
    "the folder of the first process": ("got = os.path.exists('/proc/1/cwd/home')", "^False"),
    "the old root of the mounts": ("got = [p for p in ('/oldroot', '/newroot') if os.path.exists(p)]", r"^\[\]"),
    "files that were left open": (
        "got = [t for t in map(target, os.listdir('/proc/self/fd')) if t[0] == '/' and t[:5] not in ('/dev/', '/proc')]",
        r"^\[\]",
    ),
    "files that the first process holds": (
        "got = [t for t in (target(n, 1) for n in os.listdir('/proc/1/fd')) if t[0] == '/' and t != '/dev/null']",
        r"^\[\]",
    ),
    "a file of the system": ("open('/usr/x', 'w')", READ_ONLY),
    "the root folder": ("open('/x', 'w')", READ_ONLY),
    "the interpreter": ("open(os.path.join(sys.base_prefix, 'x'), 'w')", READ_ONLY),
    "what sets the limits": ("open('/entry.py', 'a')", f"{READ_ONLY}|{DENIED}"),
    "the environment": ("got = {n for n in os.environ if n not in ('LC_CTYPE', 'PWD')}", r"^set\(\)"),
    "the name of a folder of the host": ("got = 'stepgraph-' in open('/proc/1/cmdline').read()", "^False"),
    # devices
    "a disk": ("os.mknod('disk', 0o60600, os.makedev(8, 0))", DENIED),
    "devices that are there": (
        "got = [n for n in os.listdir('/dev') if n in ('mem', 'kmsg', 'kvm', 'fuse') or stat.S_ISBLK(os.lstat('/dev/' + n)"
        ".st_mode)]",
        r"^\[\]",
    ),
    "the rights of /dev/null": ("os.chmod('/dev/null', 0o600)", f"{DENIED}|{READ_ONLY}"),
    "the terminal": ("open('/dev/tty')", "No such device"),
    "words typed into the terminal": ("fcntl.ioctl(1, termios.TIOCSTI, b'x')", "Inappropriate ioctl|OSError|Permission"),
    "room in /dev": ("open('/dev/fill', 'wb').write(bytes(1 << 20))", READ_ONLY),
    "room in /dev/shm": ("open('/dev/shm/fill', 'wb').write(bytes(1 << 20))", "No space left"),
    "more room than it has": ("[open(f'f{n}', 'wb').write(bytes(1 << 20)) for n in range(20)]", "No space left"),
    # settings of the kernel
    "what a crash starts": ("open('/proc/sys/kernel/core_pattern', 'r+')", f"{READ_ONLY}|{DENIED}"),
    "the memory policy": ("open('/proc/sys/vm/overcommit_memory', 'r+')", f"{READ_ONLY}|{DENIED}"),
    "magic keys": ("open('/proc/sysrq-trigger', 'r+')", f"{DENIED}|{READ_ONLY}|{NOT_THERE}"),
    "watching the pressure": ("open('/proc/pressure/memory', 'r+')", f"{READ_ONLY}|{NOT_THERE}"),
    "what is killed first": ("open('/proc/self/oom_score_adj', 'w')", READ_ONLY),
    "all files of /proc for writing": ("got = writable('/proc')", r"^\[\]"),
    "the memory of the machine": ("open('/proc/kcore', 'rb').read(1)", f"{DENIED}|{NOT_THERE}"),
    "the clock": ("time.clock_settime(time.CLOCK_REALTIME, time.time())", DENIED),
    "the host's name": ("socket.sethostname('x')", DENIED),
    "a restart": ("got = call(169, 0xfee1dead, 672274793, 0x89abcdef)", "EPERM"),
    # rights
    "mounting": ("got = call(165, b'none', b'/tmp', b'tmpfs', 0, None)", "EPERM"),
    "mounting /proc anew": ("got = call(165, b'none', b'/proc', None, 32, None)", "EPERM"),
    "unmounting": ("got = call(166, b'/proc/sys', 2)", "EPERM|EINVAL"),
    "another root folder": ("os.chroot('/tmp')", DENIED),
    "namespaces of its own": ("got = call(272, 0x10000000 | 0x20000)", "EPERM"),
    "a child with namespaces of its own": ("got = call(56, 0x10000000 | 17, 0, 0, 0, 0)", "EPERM|ENOSPC|EUSERS"),
    "namespaces of another": ("got = call(308, os.open('/proc/1/ns/net', os.O_RDONLY), 0)", f"EPERM|{DENIED}"),
    "becoming root": ("os.setuid(0)", f"{DENIED}|Invalid argument"),
    "capabilities": ("got = {w for w in status('CapEff', 'CapPrm', 'CapBnd') if int(w, 16)}", r"^set\(\)"),
    "programs that give rights": ("got = status('NoNewPrivs')", r"^\['1'\]"),
    "raising its memory": ("resource.setrlimit(resource.RLIMIT_AS, (-1, -1))", "ValueError"),
    "raising its processes": ("resource.setrlimit(resource.RLIMIT_NPROC, (-1, -1))", "ValueError"),
    # network
    "a port of this machine": ("socket.create_connection(('127.0.0.1', PORT), 2)", "ConnectionRefused"),
    "an address outside": ("socket.create_connection(('192.0.2.1', 80), 2)", "Network is unreachable"),
    "a name outside": ("socket.getaddrinfo('example.com', 80)", "gaierror"),
    "a named socket of the host": (
        "s = socket.socket(socket.AF_UNIX); s.connect(chr(0) + SOCKET)", "ConnectionRefused",
    ),
    "the host of a virtual machine": ("socket.socket(40, socket.SOCK_STREAM)", "Address family not supported"),
    "the kernel's own sockets": ("socket.socket(16, socket.SOCK_RAW)", "Address family not supported"),
    "raw packets": ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", DENIED),
    # memory and processes
    "a lot of memory": ("bytearray(1 << 30)", "MemoryError"),
    "a mapping": ("import mmap; mmap.mmap(-1, 1 << 30)", "Cannot allocate"),
    "files in memory": ("os.memfd_create('x')", DENIED),
    "a shared segment": ("got = call(29, 0, 1 << 20, 0o1600)", "EPERM"),
    "a message queue": ("got = call(68, 0, 0o1600)", "EPERM"),
    "semaphores": ("got = call(64, 0, 100, 0o1600)", "EPERM"),
    "a key": ("got = call(248, b'user', b'x', b'y', 1, -3)", "EPERM"),
    "the keys of whoever asked": ("got = call(250, 11, -3, 0, 0)", "EPERM"),
    "a ring of calls": ("got = call(425, 8, bytes(256))", "EPERM"),
    "programs in the kernel": ("got = call(321, 0, bytes(128), 128)", "EPERM"),
    "faults of pages": ("got = call(323, 0)", "EPERM"),
    "counters of the machine": ("got = call(298, bytes(128), 0, -1, -1, 0)", "EPERM"),
    "calls of the x32 kind": ("got = call(0x40000000 | 319, b'x', 0)", "ENOSYS"),
    "calls of the 32-bit kind": ("got = old_call(356)", "^-38"),
    "contexts that the machine has few of": ("got = call(206, 200, bytes(8))", "EPERM"),
    "tracing the first process": ("got = call(101, 16, 1, 0, 0)", "EPERM"),
    "writing to the first process": ("got = call(311, 1, bytes(16), 1, bytes(16), 1, 0)", "EPERM"),
    "a first process without limits": (
        "got = [resource.prlimit(1, k) == resource.getrlimit(k) for k in (resource.RLIMIT_AS, resource.RLIMIT_NPROC)]",
        r"^\[True, True\]",
    ),
    "timers without end": (
        "n = next((n for n in range(9999) if call(222, 0, None, bytes(8)) != 0), 9999); got = n < 300", "^True",
    ),
    "many processes": ("got = forked(200)", r"^[0-9]\b|^[12][0-9]\b"),
    "processes of others": ("got = sum(n.isdigit() for n in os.listdir('/proc')) < 6", "^True"),
    "every process": ("os.kill(int(open('/proc/sys/kernel/ns_last_pid').read()) + 5000, 9)", "ProcessLookup|OSError"),
}  # fmt: skip
X86_ONLY = re.compile(r"\bcall\(|old_call")  # the numbers of the calls are those of x86-64

BATTERY = """
import ctypes, errno, fcntl, json, os, resource, signal, socket, stat, sys, termios, time
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    words = [a if isinstance(a, (bytes, type(None))) else ctypes.c_long(a) for a in arguments]
    done = libc.syscall(ctypes.c_long(number), *words)
    return done if done >= 0 else errno.errorcode[ctypes.get_errno()]

def old_call(number):
    import mmap
    page = mmap.mmap(-1, 4096, prot=7)  # mov eax, number; xor ebx, ebx; xor ecx, ecx; int 0x80; ret
    page.write(b"\\x53\\xb8" + number.to_bytes(4, "little") + b"\\x31\\xdb\\x31\\xc9\\xcd\\x80\\x5b\\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()

def target(name, process="self"):
    try: return os.readlink(f"/proc/{process}/fd/{name}")
    except OSError: return "-"

def status(*names):
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return [lines[name].strip() for name in names]

def writable(top):
    found = []
    for folder, folders, files in os.walk(top):
        if folder == top:
            folders[:] = [f for f in folders if not f.isdigit() and f not in ("self", "thread-self")]
        for file in files:
            try: os.close(os.open(os.path.join(folder, file), os.O_WRONLY | os.O_NONBLOCK))
            except OSError: continue
            found.append(os.path.join(folder, file))
    return found

def forked(most):
    children = []
    try:
        while len(children) < most:
            child = os.fork()
            if child == 0: time.sleep(60); os._exit(0)
            children.append(child)
    except OSError: pass
    for child in children: os.kill(child, 9); os.waitpid(child, 0)
    return len(children)

given = json.load(open("given.json"))
got = {}
for name, code in given["tries"].items():
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.mkdir(f"try-{len(got)}"); os.chdir(f"try-{len(got)}")
        scope = {**globals(), **given["names"], "got": "it was let"}
        try: exec(code, scope); told = repr(scope["got"])
        except BaseException as error: told = f"{type(error).__name__}: {error}"
        os.write(writes, told[:2000].encode(errors="replace"))
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads, "rb") as pipe: got[name] = pipe.read().decode()
    os.waitpid(child, 0)
    for file in os.scandir("."):
        if file.name.startswith("try-"):
            for inner in os.scandir(file.path): os.unlink(inner.path)
            os.rmdir(file.path)
print(json.dumps(got))
"""

ASKED = """
import asyncio, json, sys
from stepgraph.nodes.sandboxes import Limits, run_python
given = json.load(sys.stdin)
limits = Limits(seconds=60, memory_mb=256, files_mb=8, processes=25, output_chars=100_000)
ran = asyncio.run(run_python(given, "main.py", limits))
print(json.dumps([ran.code, ran.output, ran.why]))
"""


@dataclass(frozen=True)
class User:
    """Who asks for the sandbox, with an interpreter that may be run by them."""

    id: int
    python: str

    def asks(self, files: dict[str, str], program: str = ASKED) -> tuple[int | None, str, str]:
        where = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
        done = subprocess.run(
            [self.python, "-c", program],
            input=json.dumps(files), text=True, capture_output=True, check=False, cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(where), "PYTHONDONTWRITEBYTECODE": "1"},
            **({} if self.id == os.geteuid() else {"user": self.id, "group": self.id, "extra_groups": []}),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        code, output, why = json.loads(done.stdout)
        return code, output, why


@cache
def user_called(name: str) -> User | str:
    """Return who asks, or why nobody can here."""
    if os.geteuid():
        return (
            User(os.geteuid(), sys.executable)
            if name == "an ordinary user"
            else "the tests do not run as root"
        )
    if name == "root":
        return User(0, sys.executable)
    for python in (sys.executable, shutil.which("python3", path="/usr/local/bin:/usr/bin")):
        version = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
        try:
            started = python and subprocess.run(
                [python, "-c", version], user=NOBODY, group=NOBODY, extra_groups=[], cwd="/", check=False
            )
        except PermissionError:
            continue
        if python and started and started.returncode == 0:
            return User(NOBODY, python)
    return "an ordinary user may run no Python of this version here: this one lies in a folder that is closed to others"


@pytest.fixture(scope="module", params=["root", "an ordinary user"])
def user(request: pytest.FixtureRequest) -> User:
    found = user_called(request.param)
    if isinstance(found, str):
        pytest.skip(found)
    try:
        ROOT.relative_to("/root")
    except ValueError:
        return found
    if found.id == NOBODY:
        pytest.skip("the repository lies in a folder that is closed to others")
    return found


@pytest.fixture(scope="module")
def outcomes(user: User, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what each try got."""
    key = tmp_path_factory.mktemp("keys") / "key"
    key.write_text("secret")
    name = f"stepgraph-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as named:
        named.bind("\0" + name)
        named.listen()
        names = {"KEY": str(key), "REPOSITORY": str(ROOT), "SOCKET": name, "PORT": server.getsockname()[1]}
        tries = {
            name: code
            for name, (code, _) in TRIES.items()
            if os.uname().machine == "x86_64" or not X86_ONLY.search(code)
        }
        given = {"main.py": BATTERY, "given.json": json.dumps({"names": names, "tries": tries})}
        code, output, why = user.asks(given)
    assert code == 0, output + why
    told: dict[str, str] = json.loads(output)
    return told


@pytest.mark.parametrize("name", TRIES)
def test_it_does_not_get_out(outcomes: dict[str, str], name: str) -> None:
    if name not in outcomes:
        pytest.skip("the numbers of the calls are those of x86-64")
    assert re.search(TRIES[name][1], outcomes[name]), f"{name}: {outcomes[name]}"


def test_there_are_many_tries() -> None:
    assert len(TRIES) >= 40
