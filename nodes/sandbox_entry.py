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
    with open(limits["files_fd"], encoding="utf-8") as file:  # noqa: PTH123
        write(json.load(file))
    confine(limits)
    sys.argv = [main]
    sys.path[:0] = [os.getcwd()]  # noqa: PTH109


if __name__ == "__main__":
    begin(json.loads(sys.argv[1]), sys.argv[2])
    runpy.run_path(sys.argv[0], run_name="__main__")
