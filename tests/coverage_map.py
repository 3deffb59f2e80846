"""Which lines of the core modules each test file runs: a pytest plugin that notes it, and the map it makes.

    python -m pytest -p tests.coverage_map --coverage-map FOLDER

Modules load once a process, so lines outside functions count for no file. Nor do lines that a process runs
which a test starts.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
CORE = ("state", "tracing", "providers", "nodes", "graphs", "runners", "evals")
NEAREST = 4


@dataclass
class Covered:
    """What one test file runs: its seconds, and the lines of each module."""

    seconds: float = 0.0
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


CoverageMap = dict[str, Covered]


def read_map(folder: Path) -> CoverageMap:
    """Read what the processes of one pytest run noted."""
    files: CoverageMap = defaultdict(Covered)
    for noted in folder.glob("*.json"):
        name, seconds, lines = json.loads(noted.read_text("utf-8"))
        files[name].seconds += seconds
        for module, numbers in lines.items():
            files[name].lines[module].update(numbers)
    return dict(files)


def files_for(module: str, lines: range, covered: CoverageMap, most_s: float) -> list[str]:
    """Return the test files that run these lines, or else the module: as many as take `most_s` together.

    The nearest come first, which run most of the module, then the quick ones: more files see more.
    """
    hit = [name for name, each in covered.items() if each.lines.get(module, set()).intersection(lines)]
    hit = hit or [name for name, each in covered.items() if each.lines.get(module)]
    by_lines = sorted(hit, key=lambda name: (-len(covered[name].lines[module]), covered[name].seconds))
    by_time = sorted(by_lines[NEAREST:], key=lambda name: covered[name].seconds)
    chosen: list[str] = []
    for name in [*by_lines[:NEAREST], *by_time]:
        most_s -= covered[name].seconds
        if most_s >= 0 or not chosen:
            chosen.append(name)
    return chosen


class Tracer:
    """Notes the lines of core modules that run, for one test file after the other, each in a file of its own.

    So what was noted is kept if the process dies.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = ""
        self._written = 0
        self._now = Covered()
        self._modules: dict[str, str] = {}

    @contextmanager
    def noting(self, file: str) -> Iterator[None]:
        if file != self._file:
            self.write()
            self._file, self._now = file, Covered()
        begun = time.perf_counter()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self._now.seconds += time.perf_counter() - begun

    def write(self) -> None:
        if self._file:
            lines = {module: sorted(lines) for module, lines in self._now.lines.items()}
            name = f"{os.getpid()}-{self._written}.json"
            self._written += 1
            noted = json.dumps([self._file, self._now.seconds, lines])
            (self._folder / name).write_text(noted, "utf-8")

    def _trace(self, frame: Any, event: str, argument: object) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        module = self._modules.get(name)
        if module is None:
            module = self._modules[name] = _module_of(name)
        if not module or frame.f_code.co_name == "<module>":
            return None
        lines = self._now.lines[module]

        def local(frame: Any, event: str, argument: object) -> Callable[..., Any]:
            if frame.f_lineno is not None:
                lines.add(frame.f_lineno)
            return local

        return local


def _module_of(name: str) -> str:
    """Return a core module's path from the root, or nothing where the file is none."""
    path = Path(name).resolve() if name.endswith(".py") else Path()
    if not path.is_relative_to(ROOT):
        return ""
    path = path.relative_to(ROOT)
    return path.as_posix() if path.parts[0] in CORE else ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--coverage-map", metavar="FOLDER", help="where to note which lines each test file runs")


def pytest_configure(config: pytest.Config) -> None:
    if folder := config.getoption("--coverage-map"):
        config.pluginmanager.register(_Plugin(Path(folder)))


class _Plugin:
    def __init__(self, folder: Path) -> None:
        self._tracer = Tracer(folder)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        with self._tracer.noting(item.nodeid.partition("::")[0]):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        if not isinstance(collector, pytest.Module):
            return (yield)
        with self._tracer.noting(collector.nodeid):  # what a file defines, as steps and graphs
            return (yield)

    def pytest_sessionfinish(self) -> None:
        self._tracer.write()
