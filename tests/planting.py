"""Tries faults in one pytest process that has collected its tests: a child of it plants each, and runs tests.

    python -m pytest -p tests.planting --faults PLAN --verdicts FILE tests/...

A function gets the code that the faulty source has for it. What runs while a module loads has run already, so
a fault there cannot be planted this way.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

LOADED = "runs as its module loads"
NO_VERDICT = "no verdict"


def plant(file: Path, source: str) -> bool:
    """Give the functions of a loaded module the code of another source; say whether that is all of it."""
    before, after = (compile(text, str(file), "exec") for text in (file.read_text("utf-8"), source))
    names = {name for name, module in sys.modules.items() if _is_from(module, file)}
    changed = dict(_changed(before, after))
    if not names or any(new is None or not code.co_flags & _FUNCTION for code, new in changed.items()):
        return False
    planted = set()
    for each in gc.get_objects():
        if type(each) is FunctionType and each.__module__ in names and each.__code__ in changed:
            planted.add(each.__code__)
            new = changed[each.__code__]
            if new is None or len(new.co_freevars) != len(each.__code__.co_freevars):
                return False
            each.__code__ = new
    return bool(planted)


def _is_from(module: Any, file: Path) -> bool:
    place = getattr(module, "__file__", None) or ""
    return place.endswith(file.name) and os.path.realpath(place) == os.path.realpath(file)


_FUNCTION = 0x0001  # CO_OPTIMIZED: neither a module's code nor a class body's


def _changed(before: CodeType, after: CodeType) -> Iterator[tuple[CodeType, CodeType | None]]:
    """Yield the innermost pieces of code that differ, and those around them which are functions too."""
    if before == after:
        return
    old, new = ([c for c in code.co_consts if isinstance(c, CodeType)] for code in (before, after))
    inner = list(zip_longest(old, new))
    for one, other in inner:
        if one is not None and other is not None:
            yield from _changed(one, other)
    if before.co_flags & _FUNCTION:
        yield before, after
    elif _own(before) != _own(after) or len(old) != len(new):
        yield before, None


def _own(code: CodeType) -> tuple[Any, ...]:
    """Return what a piece of code does beside the pieces in it."""
    return code.co_code, [each for each in code.co_consts if not isinstance(each, CodeType)], code.co_names


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", metavar="FILE", help="what to plant, and which tests to ask, as JSON")
    parser.addoption("--verdicts", metavar="FILE", help="where to write what the tests said, a line for each")
    parser.addoption("--fault-limit", type=float, default=240.0, metavar="S", help="seconds for each")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    plan = session.config.getoption("--faults")
    if not plan:
        return None
    items = {item.nodeid: item for item in session.items}
    limit_s = session.config.getoption("--fault-limit")
    with Path(session.config.getoption("--verdicts")).open("a") as verdicts:
        for fault in json.loads(Path(plan).read_text("utf-8")):
            chosen = [items[name] for name in fault["tests"] if name in items]
            said = _in_child(chosen, Path(fault["file"]), fault["source"], limit_s)
            if said not in ("", LOADED):
                # A test that fails without the fault too, after the same others, notices nothing.
                again = chosen[: chosen.index(items[said]) + 1] if said in items else chosen
                if _in_child(again, None, "", limit_s):
                    said = NO_VERDICT
            print(json.dumps([fault["number"], said]), file=verdicts, flush=True)
    return True


def _in_child(items: list[pytest.Item], file: Path | None, source: str, limit_s: float) -> str:
    """Run tests in a child, with a fault or without; return the first that fails, or nothing."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        os.close(heard)
        try:
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            os.dup2(silence, 2)
            answer = LOADED if file and not plant(file, source) else _first_that_fails(items)
            os.write(said, f"{answer}\n".encode())
        finally:
            os._exit(0)
    os.close(said)
    end = time.monotonic() + limit_s
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(heard)
            return "took too long"
        time.sleep(0.02)
    with os.fdopen(heard, "rb") as pipe:
        os.set_blocking(pipe.fileno(), False)
        answer = pipe.read() or b""
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what its tests left
    return answer.decode().strip() if answer else "the process ended"


def _first_that_fails(items: list[pytest.Item]) -> str:
    for item, following in zip_longest(items, items[1:]):
        failed = _Failed()
        item.config.pluginmanager.register(failed)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        item.config.pluginmanager.unregister(failed)
        if failed.any:
            return item.nodeid
    return ""


class _Failed:
    any = False

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.any = self.any or report.failed
