"""Which lines of the package each test runs: a pytest plugin that notes it, and the map it makes.

    python -m pytest -p tests.coverage_map --coverage-map FOLDER
    python -m pytest -p tests.coverage_map --only-tests FILE

The second runs the tests that a file names, in its order. Modules load once a process, so lines outside
functions count for no test. Nor do lines that a process runs which a test starts, nor what a function does
only after its first calls in one test.
"""

from __future__ import annotations

import inspect
import json
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("state", "tracing", "providers", "nodes", "graphs", "runners", "evals")
NEAREST = 3  # files that are asked before all others
TRACED_CALLS = 4  # of one function in one test
RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


@dataclass
class Covered:
    """What one test runs, or what defines the tests of a file: its seconds, and the lines of each module."""

    seconds: float = 0.0
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))


CoverageMap = dict[str, Covered]


def read_map(folder: Path) -> CoverageMap:
    """Read what the processes of one pytest run noted."""
    tests: CoverageMap = defaultdict(Covered)
    for noted in folder.glob("*.json"):
        for name, seconds, lines in json.loads(noted.read_text("utf-8")):
            tests[name].seconds += seconds
            for module, numbers in lines.items():
                tests[name].lines[module].update(numbers)
    return dict(tests)


def unmapped_files(root: Path, covered: CoverageMap) -> list[str]:
    """Return the test files of a tree none of whose tests is in a map, as after a run that was cut off."""
    mapped = {_file(name) for name in covered if "::" in name}
    files = (file.relative_to(root).as_posix() for file in sorted((root / "tests").rglob("test_*.py")))
    return [file for file in files if file not in mapped]


def nearest_tests(
    module: str, lines: range, function: range, covered: CoverageMap, most_s: float
) -> list[str]:
    """Return the tests that run these lines, then those that run the function around them.

    Where there are none, those that run the module, or else those of the nearest files, for a module without
    functions. As many as take `most_s` together: those of the nearest files come first, then the quick ones,
    since more tests see more.
    """
    names = [name for name in covered if "::" in name]
    chosen: list[str] = []
    for place in (lines, function, None):
        if place is None and chosen:
            break
        hit = {name for name in names if _runs(name, module, place, covered)}.difference(chosen)
        if place is None and not hit:
            order = sorted(sorted({_file(name) for name in names}), key=lambda file: _nearness(file, module))
            hit = {name for name in names if _file(name) in order[-NEAREST:]}
        files = sorted(
            sorted({_file(name) for name in hit}), key=lambda file: _nearness(file, module), reverse=True
        )
        near = set(files[:NEAREST])
        for name in sorted(hit, key=lambda name: (_file(name) not in near, covered[name].seconds, name)):
            most_s -= covered[name].seconds
            if most_s >= 0 or not chosen:
                chosen.append(name)
    return chosen


def _file(name: str) -> str:
    return name.partition("::")[0]


def _runs(name: str, module: str, lines: range | None, covered: CoverageMap) -> bool:
    """Say whether a test, or the file that defines it, runs lines of a module."""
    either = (covered[each].lines.get(module, set()) for each in (name, _file(name)) if each in covered)
    return any(found.intersection(lines) if lines is not None else found for found in either)


def _nearness(file: str, module: str) -> tuple[float, str]:
    """Say how near a test file stands to a module: by its name, and by the folders that both share."""
    test, code = Path(file).parts[1:], Path(module).parts
    name, stem = Path(file).stem.removeprefix("test_"), Path(module).stem
    shared = sum(1 for one, other in zip(test[:-1], code[:-1], strict=False) if one == other)
    same = 3 if name == stem else 2 if stem in name or name in stem else 0
    return shared + same, file


class Tracer:
    """Notes the package's lines that run, for one test after the other, each file's in one of its own.

    So what was noted is kept if the process dies.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = ""
        self._now = Covered()
        self._noted: CoverageMap = {}
        self._calls: Counter[CodeType] = Counter()
        self._modules: dict[str, str] = {}

    @contextmanager
    def noting(self, name: str) -> Iterator[None]:
        if _file(name) != self._file:
            self.write()
            self._file = _file(name)
        self._now = self._noted.setdefault(name, Covered())
        self._calls.clear()
        begun = time.perf_counter()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self._now.seconds += time.perf_counter() - begun

    def write(self) -> None:
        if self._noted:
            noted = [
                [name, each.seconds, {module: sorted(lines) for module, lines in each.lines.items()}]
                for name, each in self._noted.items()
            ]
            (self._folder / f"{uuid.uuid4().hex}.json").write_text(json.dumps(noted), "utf-8")
            self._noted = {}

    def _trace(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        code = frame.f_code
        module = self._modules.get(code.co_filename)
        if module is None:
            module = self._modules[code.co_filename] = _module_of(code.co_filename)
        if not module or code.co_name == "<module>":
            return None
        self._calls[code] += 1
        if self._calls[code] > TRACED_CALLS and not code.co_flags & RESUMED:
            return None
        lines = self._now.lines[module]

        def local(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
            if frame.f_lineno is not None:
                lines.add(frame.f_lineno)
            return local

        return local


def _module_of(name: str) -> str:
    """Return the path of a module of these rooms from the root, or nothing where the file is none."""
    path = Path(name).resolve() if name.endswith(".py") else Path()
    if not path.is_relative_to(ROOT):
        return ""
    path = path.relative_to(ROOT)
    return path.as_posix() if path.parts[0] in ROOMS else ""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--coverage-map", metavar="FOLDER", help="where to note which lines each test runs")
    parser.addoption("--only-tests", metavar="FILE", help="a file that names the tests to run, in order")


def pytest_configure(config: pytest.Config) -> None:
    if folder := config.getoption("--coverage-map"):
        config.pluginmanager.register(_Noting(Path(folder)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if file := config.getoption("--only-tests"):
        by_name = {item.nodeid: item for item in items}
        named = Path(file).read_text("utf-8").splitlines()
        items[:] = [by_name[name] for name in named if name in by_name]


class _Noting:
    def __init__(self, folder: Path) -> None:
        self._tracer = Tracer(folder)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        with self._tracer.noting(item.nodeid):
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        if not isinstance(collector, pytest.Module):
            return (yield)
        with self._tracer.noting(collector.nodeid):  # what a file defines, as steps and graphs
            return (yield)

    def pytest_sessionfinish(self) -> None:
        self._tracer.write()
