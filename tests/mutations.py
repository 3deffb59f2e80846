"""Plants small faults in core modules, one at a time, and reports which of them the tests notice.

    python -m tests.mutations --count 100 --seed 7 --jobs 2

Each fault is tried in a copy of the tree, against the test files that run its lines: those that run most of
the module first, as many as take --seconds together. The whole suite runs once before, to see which run what.
Tests that fail or take too long without the fault too notice nothing.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from .coverage_map import CORE, ROOT, CoverageMap, files_for, read_map

LEFT_OUT = ("graphs/ready/", "evals/shipped/")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "build", "dist", "*.sqlite*")
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not local")
PAIRS = "Eq NotEq, Lt LtE, Gt GtE, In NotIn, Is IsNot, And Or".split(", ")
ORDERLESS = ("min", "max")
FLIPS = {getattr(ast, a): getattr(ast, b) for p in PAIRS for a, b in (p.split(), p.split()[::-1])}


@dataclass(frozen=True)
class Mutation:
    """One fault: a piece of a module, the piece that replaces it, and the whole source with it."""

    module: str
    line: int
    before: str
    after: str
    source: str

    @property
    def lines(self) -> range:
        return range(self.line, self.line + self.before.count("\n") + 1)

    def __str__(self) -> str:
        before, after = (re.sub(r"\s+", " ", text)[:70] for text in (self.before, self.after))
        return f"{self.module}:{self.line}: {before}  ->  {after}"


def mutations_of(module: str, source: str) -> Iterator[Mutation]:
    """Yield every fault that can be planted in a module."""
    raw = source.encode()
    lines = raw.splitlines(keepends=True)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines) + 1)]
    for node in code_in(ast.parse(source)):
        for place, text in faults_in(node):
            start = starts[place.lineno - 1] + place.col_offset
            end = starts[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
            mutated = (raw[:start] + text.encode() + raw[end:]).decode()
            yield Mutation(module, place.lineno, raw[start:end].decode(), text, mutated)


def code_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run: not annotations, decorators, f-strings or what only type checkers read."""
    if isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from code_in(child)


def faults_in(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Yield what can be replaced in a node, leaving its children alone, and by which text."""
    match node:
        case ast.Compare(ops=[operator]):
            yield node, _changed(node, ops=[FLIPS[type(operator)]()])
        case ast.BoolOp(op=operator):
            yield node, _changed(node, op=FLIPS[type(operator)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, f"({ast.unparse(operand)})"
        case ast.Constant(value=bool(value)):
            yield node, str(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield node, str(value + 1)
            yield node, f"({value - 1})"
        case ast.Call(args=[first, second, *rest]) if ast.unparse(first) != ast.unparse(second):
            starred = any(isinstance(argument, ast.Starred) for argument in (first, second))
            if not starred and ast.unparse(node.func) not in ORDERLESS:
                yield node, _changed(node, args=[second, first, *rest])
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            if not isinstance(test, ast.Compare | ast.UnaryOp | ast.Constant):
                yield test, f"(not ({ast.unparse(test)}))"
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise():
            yield node, "pass"
        case ast.Continue() | ast.Break() | ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield node, "pass"


def _changed(node: ast.expr, **changes: object) -> str:
    text = ast.unparse(type(node)(**{**vars(node), **changes}))
    return text if isinstance(node, ast.Call) else f"({text})"


def covered_by_tests(root: Path, folder: Path, jobs: int) -> CoverageMap:
    """Run all tests of a tree; return the lines that each file runs, which `folder` then holds too."""
    noted = ["-p", "tests.coverage_map", "--coverage-map", str(folder)]
    noted += ["-n", str(jobs), "--dist", "loadfile"] if jobs > 1 else []
    subprocess.run([sys.executable, *PYTEST, *noted], **_settings(root), check=False)
    return read_map(folder)


def failing(root: Path, tests: list[str], limit_s: float) -> list[str]:
    """Run tests in a tree; return the first that fails, all where they take too long, or none."""
    settings = _settings(root) | {"start_new_session": True}
    with subprocess.Popen([sys.executable, *PYTEST, "-x", "-rfE", *tests], **settings) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return tests
    if process.returncode in (0, 5):  # 5: no test was left to run
        return []
    named = re.search(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE)
    return [named[1]] if named else tests


def killer_of(mutation: Mutation, tests: list[str], tree: Path, clean: Path, limit_s: float) -> str:
    """Plant a fault in a tree; return which of the tests notices it, or nothing."""
    file = tree / mutation.module
    original = file.read_text("utf-8")
    try:
        _write(file, mutation.source)
        failed = failing(tree, tests, limit_s) if tests else []
        return " ".join(failed) if failed and not failing(clean, failed, limit_s) else ""
    finally:
        _write(file, original)


def _settings(root: Path) -> dict[str, Any]:
    settings: dict[str, Any] = {"cwd": root, "env": {**os.environ, "PYTHONPATH": str(root)}, "text": True}
    return settings | {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


def _write(file: Path, source: str) -> None:
    """Write a module and forget its bytecode, which Python tells apart by size and seconds only."""
    file.write_text(source, "utf-8")
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="of tests to ask for each fault")
    parser.add_argument("--map", type=Path, metavar="FOLDER", help="which tests run what, made if missing")
    parser.add_argument("--only", default="", metavar="PATH", help="modules whose path begins so")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="SHARE", help="else the status is 1")
    options = parser.parse_args()
    files = (file.relative_to(ROOT).as_posix() for top in CORE for file in sorted((ROOT / top).rglob("*.py")))
    modules = [name for name in files if name.startswith(options.only) and not name.startswith(LEFT_OUT)]
    possible = [each for name in modules for each in mutations_of(name, (ROOT / name).read_text("utf-8"))]
    chosen = random.Random(options.seed).sample(possible, min(options.count, len(possible)))
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        clean, *trees = (Path(folder, str(number)) for number in range(options.jobs + 1))
        free: SimpleQueue[Path] = SimpleQueue()
        for tree in (clean, *trees):
            shutil.copytree(ROOT, tree, symlinks=True, ignore=NOT_COPIED)
        for tree in trees:
            free.put(tree)
        known = options.map or Path(folder, "map")
        covered = read_map(known) or covered_by_tests(clean, known.resolve(), options.jobs)
        if not covered:
            sys.exit("No test ran: see what pytest says.")

        def tried(mutation: Mutation) -> bool:
            tests = files_for(mutation.module, mutation.lines, covered, options.seconds)
            tree = free.get()
            killer = killer_of(mutation, tests, tree, clean, 4 * options.seconds)
            free.put(tree)
            asked = killer or f"{len(tests)} files asked"
            print(f"{'killed' if killer else 'SURVIVED':9} {mutation}  [{asked}]", flush=True)
            return bool(killer)

        killed = sum(pool.map(tried, chosen))
    print(f"{killed} of {len(chosen)} were noticed ({len(possible)} are possible, seed {options.seed}).")
    sys.exit(killed < options.at_least * len(chosen))


if __name__ == "__main__":
    main()
