"""Plants small faults in core modules, one at a time, and reports which of them the tests notice.

    python -m tests.mutations --count 100 --seed 7 --jobs 2

Each fault is tried in a copy of the tree, against the tests of the module's own name, those that name the
module, and those of its folder. Tests that fail or take too long without the fault too notice nothing.
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

ROOT = Path(__file__).parents[1]
CORE = ("state", "tracing", "providers", "nodes", "graphs", "runners", "evals")
LEFT_OUT = ("graphs/ready/", "evals/shipped/")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "build", "dist", "*.sqlite*")
PYTEST = ("-m", "pytest", "-q", "-x", "-rfE", "-p", "no:cacheprovider", "-m", "not local")
PAIRS = "Eq NotEq, Lt LtE, Gt GtE, In NotIn, Is IsNot, And Or".split(", ")
FLIPS = {getattr(ast, a): getattr(ast, b) for p in PAIRS for a, b in (p.split(), p.split()[::-1])}


@dataclass(frozen=True)
class Mutation:
    """One fault: a piece of a module, the piece that replaces it, and the whole source with it."""

    module: str
    line: int
    before: str
    after: str
    source: str

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
            if not any(isinstance(argument, ast.Starred) for argument in (first, second)):
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


def suites_for(module: str, root: Path) -> list[list[str]]:
    """Return the tests of a module's name, those that name the module, and those of its folder."""
    path, tests = Path(module), root / "tests"
    mirrored = sorted((tests / path.parts[0]).rglob(f"test_{path.stem}.py"))
    names = re.compile(rf"\b{'[.]'.join(path.parent.parts)}([.]{path.stem}\b| import .*\b{path.stem}\b)")
    files = [file for file in sorted(tests.rglob("test_*.py")) if names.search(file.read_text("utf-8"))]
    naming = [file for file in files if file not in mirrored]
    folder = next(place for place in (tests / path.parent, *(tests / path.parent).parents) if place.is_dir())
    suites = (mirrored, naming, [folder] if folder != tests else [])
    return [[str(file.relative_to(root)) for file in suite] for suite in suites if suite]


def failing(root: Path, tests: list[str], limit_s: float) -> list[str]:
    """Run tests in a tree; return the first that fails, all where they take too long, or none."""
    settings: dict[str, Any] = {"cwd": root, "env": {**os.environ, "PYTHONPATH": str(root)}, "text": True}
    settings |= {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True}
    with subprocess.Popen([sys.executable, *PYTEST, *tests], **settings) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return tests
    if process.returncode in (0, 5):  # 5: no test was left to run
        return []
    named = re.search(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE)
    return [named[1]] if named else tests


def killer_of(mutation: Mutation, tree: Path, clean: Path, limit_s: float, *, last: str = "") -> str:
    """Plant a fault in a tree; return the tests that notice it. `last` are asked if no others notice it."""
    file = tree / mutation.module
    original = file.read_text("utf-8")
    try:
        _write(file, mutation.source)
        for tests in suites_for(mutation.module, tree) + ([[last]] if last else []):
            failed = failing(tree, tests, limit_s)
            if failed and not failing(clean, failed, limit_s):
                return " ".join(failed)
    finally:
        _write(file, original)
    return ""


def _write(file: Path, source: str) -> None:
    """Write a module and forget its bytecode, which Python tells apart by size and seconds only."""
    file.write_text(source, "utf-8")
    Path(cache_from_source(str(file))).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300, metavar="S", help="for each run of tests")
    parser.add_argument(
        "--last", default="", metavar="PATH", help="tests to ask when no other noticed a fault"
    )
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

        def tried(mutation: Mutation) -> bool:
            tree = free.get()
            killer = killer_of(mutation, tree, clean, options.limit, last=options.last)
            free.put(tree)
            print(f"{'killed' if killer else 'SURVIVED':9} {mutation}  [{killer}]", flush=True)
            return bool(killer)

        killed = sum(pool.map(tried, chosen))
    print(f"{killed} of {len(chosen)} were noticed ({len(possible)} are possible, seed {options.seed}).")
    sys.exit(killed < options.at_least * len(chosen))


if __name__ == "__main__":
    main()
