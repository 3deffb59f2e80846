"""What runs first in the sandbox: sets the limits on itself, then becomes the code. Standard library only."""

import json
import os
import resource
import runpy
import sys

MEGABYTE = 1 << 20


def confine(limits: dict) -> None:  # type: ignore[type-arg]
    bounds = {
        resource.RLIMIT_CPU: int(limits["seconds"]) + 1,
        resource.RLIMIT_FSIZE: limits["files_mb"] * MEGABYTE,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    if sys.platform == "linux":
        bounds[resource.RLIMIT_AS] = limits["memory_mb"] * MEGABYTE
        bounds[resource.RLIMIT_MSGQUEUE] = 0
        bounds[resource.RLIMIT_SIGPENDING] = 256  # timers count here too
    if limits["isolated"]:
        bounds[resource.RLIMIT_NPROC] = limits["processes"]
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        value = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (value, value))
        if limits["isolated"]:
            resource.prlimit(1, kind, (value, value))  # bwrap's own: as the code's user, it could be traced


def write(files: dict) -> None:  # type: ignore[type-arg]
    for name, text in files.items():
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)  # noqa: PTH103, PTH120
        with open(name, "wb") as file:  # noqa: PTH123
            file.write(text.encode("utf-8", "surrogatepass"))  # what is no text, Python itself refuses


def begin(limits: dict, main: str) -> None:  # type: ignore[type-arg]
    """Say that the walls stand, which the code cannot say: what it inherits is its output alone."""
    os.write(limits["begun_fd"], b"1")
    os.close(limits["begun_fd"])
    if "command" in limits:
        unpack(limits["files_fd"])
    else:
        with open(limits["files_fd"], encoding="utf-8") as file:  # noqa: PTH123
            write(json.load(file))
    confine(limits)
    sys.argv = [main]
    sys.path[:0] = [os.getcwd()]  # noqa: PTH109


def unpack(files_fd: int) -> None:
    """Write a project's files into a folder of its own, and go there."""
    import tarfile

    os.mkdir("project")  # noqa: PTH102
    os.chdir("project")
    with os.fdopen(files_fd, "rb") as file, tarfile.open(fileobj=file, errorlevel=2) as archive:
        archive.extractall(filter="data")


def become(limits: dict) -> None:  # type: ignore[type-arg]
    """Become the command, with an environment of its own."""
    here = os.getcwd()  # noqa: PTH109
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": os.path.dirname(here),  # noqa: PTH120
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join([here, os.path.join(here, "src"), *limits["paths"]]),  # noqa: PTH118
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        **limits["environment"],
    }
    command = limits["command"]
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606
    except OSError as error:
        raise SystemExit(f"{command[0]}: {error.strerror}") from None


if __name__ == "__main__":
    setup = json.loads(sys.argv[1])
    begin(setup, sys.argv[2])
    if "command" in setup:
        become(setup)
    runpy.run_path(sys.argv[0], run_name="__main__")
