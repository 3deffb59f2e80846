"""What runs first in the sandbox: sets the limits on itself, then becomes the code. Standard library only."""

import json
import os
import resource
import runpy
import shutil
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
    if limits["isolated"]:
        bounds[resource.RLIMIT_NPROC] = limits["processes"]
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        value = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    limits, source, main = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
    if limits["isolated"]:
        shutil.copytree(source, os.getcwd(), dirs_exist_ok=True)  # noqa: PTH109
    confine(limits)
    sys.argv = [main]
    sys.path[:0] = [os.getcwd()]  # noqa: PTH109
    runpy.run_path(main, run_name="__main__")
