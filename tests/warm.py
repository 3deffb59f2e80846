"""Commands and scripts in processes of their own that begin with stepgraph imported.

Importing takes a second of CPU, and hundreds of tests run a command or a script. These processes are forked
from one that has imported and done nothing else. Where a test is about how a process begins (its encoding,
its hash seed, what it imports), or kills it from outside, it starts Python itself.
"""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.forkserver
import os
import runpy
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from .child_path import child_path

_context = multiprocessing.get_context("forkserver")


@cache
def _warm() -> None:
    """Start the process that the others are forked from, where it finds these modules."""
    _context.set_forkserver_preload([f"{__package__}.warm_imports"])
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = child_path()
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        if given is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = given


def run_python(
    *words: str | Path, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Do what `python WORDS` does (`-m MODULE`, `-c CODE` or a file; `-W` stands before it).

    Raises TimeoutExpired after this many seconds.
    """
    _warm()
    given = [str(word) for word in words]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _context.Process(target=_begin, args=(given, cwd, dict(env or os.environ), out, err))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(given, timeout, out.read_bytes(), err.read_bytes())
        printed = [file.read_text(encoding="utf-8") for file in (out, err)]
        done = subprocess.CompletedProcess(given, process.exitcode, *printed)
        process.close()
        return done


def _begin(words: list[str], cwd: Path, env: dict[str, str], out: Path, err: Path) -> None:
    for file, stream in ((out, 1), (err, 2)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, stream)
        os.close(opened)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    if words[0] == "-W":
        warnings.simplefilter(words[1])  # type: ignore[arg-type]  # it is the word that `-W` takes
        del words[:2]
    how = words.pop(0) if words[0] in ("-m", "-c") else "file"
    home = str(cwd) if how != "file" else str(Path(words[0]).resolve().parent)
    sys.path[:] = [home, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *sys.path]
    sys.argv = ["-c", *words[1:]] if how == "-c" else words
    try:
        if how == "-m":
            runpy.run_module(words[0], run_name="__main__", alter_sys=True)
        elif how == "-c":
            module = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(words[0], "<string>", "exec"), vars(module))
        else:
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing leaves them out
        sys.stdout.flush()
