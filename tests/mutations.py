"""Plants small faults in core modules, one at a time, and reports which of them the tests notice.

    python -m tests.mutations --count 100 --seed 7 --map FOLDER
    python -m tests.mutations --only "" --count 100        (all rooms, not the core alone)

Each fault is tried against the tests that run its lines, then those that run the function around them, as
many as take --seconds together. The whole suite runs once before, to see which run what; --map keeps that and
goes on after a run that was cut off. Where the tests fail or take too long without the fault too, it has no
verdict.

The core (CORE) decides which call comes next, what it may cost, and what goes on record of it; `--only` takes
other modules of the rooms that a workflow stands on. Faults are planted in what runs: not in texts and their
formats, annotations, decorators, `__repr__` or code for type checkers only; nor in the ready graphs and the
suites that come with the package, which are examples as much as code. Every other one counts, also
one that changes nothing that a caller sees: who finds one makes the code say less.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from .coverage_map import ROOMS, ROOT, CoverageMap, nearest_tests, read_map, unmapped_files
from .planting import LOADED, NO_VERDICT

JOURNAL = """journal claims call_commits reservations allowances budget_accounts budget_reads effects together
fencing"""
STACK = """fallbacks retry pricing rate_limit budgeting journal circuit_breaker coalescing concurrency
streaming hedging roles"""
CORE = (
    *(f"state/{name}.py" for name in ("budget", "cost", "money")),
    *(f"state/journal/{name}.py" for name in JOURNAL.split()),
    *(f"providers/stack/{name}.py" for name in STACK.split()),
    *("graphs/patterns/", "graphs/engine/deciding.py", "nodes/decisions.py", "nodes/edges.py"),
)
LEFT_OUT = ("graphs/ready/", "evals/shipped/")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv*", ".*_cache", ".hypothesis", "build", "dist", "*.sqlite*")
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not local")
PAIRS = "Eq NotEq, Lt LtE, Gt GtE, In NotIn, Is IsNot, And Or".split(", ")
ORDERLESS = ("min", "max", "same", "_same")
MEASURE = 100  # where one more or less means nothing
FLIPS = {getattr(ast, a): getattr(ast, b) for p in PAIRS for a, b in (p.split(), p.split()[::-1])}


@dataclass(frozen=True)
class Mutation:
    """One fault: a piece of a module, the piece that replaces it, and the whole source with it."""

    module: str
    line: int
    before: str
    after: str
    source: str
    function: range = range(0)  # the lines of the innermost one around it

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
    tree = ast.parse(source)
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    spans = sorted((range(each.lineno, (each.end_lineno or 0) + 1) for each in functions), key=len)
    for node in code_in(tree):
        for place, text in faults_in(node):
            start = starts[place.lineno - 1] + place.col_offset
            end = starts[(place.end_lineno or 0) - 1] + (place.end_col_offset or 0)
            mutated = (raw[:start] + text.encode() + raw[end:]).decode()
            around = next((span for span in spans if place.lineno in span), range(0))
            yield Mutation(module, place.lineno, raw[start:end].decode(), text, mutated, around)


def code_in(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that run: not annotations, decorators, texts or what only type checkers read."""
    match node:
        case ast.JoinedStr() | ast.FunctionDef(name="__repr__"):
            return
        case ast.FunctionDef(decorator_list=[ast.Name(id="overload")]):  # whose defaults nothing reads
            return
        case ast.keyword(arg="include_url" | "include_input"):  # what pydantic tells and nobody reads
            return
        case ast.If(test=test) if "TYPE_CHECKING" in ast.unparse(test):
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
            step = value // 2 if value >= MEASURE else 1
            yield node, str(value + step)
            yield node, f"({value - step})"
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


def covered_by_tests(root: Path, folder: Path, jobs: int, files: Sequence[str]) -> CoverageMap:
    """Run the tests of some files; return the lines that each runs beside what `folder` held of others."""
    noted = ["-p", "tests.coverage_map", "--coverage-map", str(folder)]
    noted += ["-n", str(jobs), "--dist", "loadfile"] if jobs > 1 else []
    subprocess.run([sys.executable, *PYTEST, *noted, *files], **_settings(root), check=False)
    return read_map(folder)


def verdicts_of(
    mutations: Sequence[Mutation], asked: Sequence[list[str]], root: Path, limit_s: float
) -> Iterator[str]:
    """Yield which test notices each fault, nothing, or that there is no verdict.

    They are tried in one process that has loaded all. What only runs as a module loads, or in processes that
    tests start, it cannot see: so what nothing noticed there is tried in a copy.
    """
    faults = [
        {"number": number, "file": str(root / each.module), "source": each.source, "tests": tests}
        for number, (each, tests) in enumerate(zip(mutations, asked, strict=True))
    ]
    with tempfile.TemporaryDirectory() as folder:
        plan, said, tree = (Path(folder, name) for name in ("plan", "verdicts", "tree"))
        plan.write_text(json.dumps(faults), "utf-8")
        said.touch()
        files = sorted({name.partition("::")[0] for tests in asked for name in tests})
        words = ["-p", "tests.planting", "--faults", str(plan), "--verdicts", str(said), *files]
        shutil.copytree(root, tree, symlinks=True, ignore=NOT_COPIED)
        settings = _settings(root) | {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(
            [sys.executable, *PYTEST, *words, "--fault-limit", str(limit_s)], **settings
        ) as process:
            for number, (each, tests) in enumerate(zip(mutations, asked, strict=True)):
                answer = _awaited(said, number, process)
                yield killer_of(each, tests, tree, root, limit_s) if answer in (LOADED, "") else answer


def _awaited(said: Path, number: int, process: subprocess.Popen[str]) -> str:
    while True:
        ended = process.poll() is not None
        lines = said.read_text("utf-8").splitlines()
        if number < len(lines):
            return str(json.loads(lines[number])[1])
        if ended:
            return NO_VERDICT
        time.sleep(0.2)


def failing(root: Path, tests: list[str], limit_s: float) -> list[str]:
    """Run tests in a tree; return the first that fails, all where they take too long, or none."""
    settings = _settings(root) | {"start_new_session": True}
    with tempfile.NamedTemporaryFile("w", suffix=".tests") as named:
        named.write("\n".join(tests))
        named.flush()
        files = list(dict.fromkeys(name.partition("::")[0] for name in tests))
        words = ["-p", "tests.coverage_map", "--only-tests", named.name, "-x", "-rfE", *files]
        with subprocess.Popen([sys.executable, *PYTEST, *words], **settings) as process:
            try:
                output, _ = process.communicate(timeout=limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return tests
    if process.returncode in (0, 5):  # 5: no test was left to run
        return []
    named_test = re.search(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE)
    return [named_test[1]] if named_test else tests


def killer_of(mutation: Mutation, tests: list[str], tree: Path, clean: Path, limit_s: float) -> str:
    """Plant a fault in a tree; return which of the tests notices it, nothing, or that there is no verdict."""
    file = tree / mutation.module
    original = file.read_text("utf-8")
    try:
        _write(file, mutation.source)
        failed = failing(tree, tests, limit_s) if tests else []
        again = tests[: tests.index(failed[-1]) + 1] if set(failed) <= set(tests) and failed else failed
        return "" if not failed else NO_VERDICT if failing(clean, again, limit_s) else " ".join(failed)
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
    parser.add_argument("--jobs", type=int, default=2, help="processes of the run that makes the map")
    parser.add_argument("--seconds", type=float, default=60, help="of tests to ask for each fault")
    parser.add_argument("--map", type=Path, metavar="FOLDER", help="which tests run what, made if missing")
    parser.add_argument(
        "--only", nargs="*", default=CORE, metavar="PATH", help="modules whose path begins so"
    )
    parser.add_argument("--at-least", type=float, default=0.0, metavar="SHARE", help="else the status is 1")
    options = parser.parse_args()
    files = (
        file.relative_to(ROOT).as_posix() for top in ROOMS for file in sorted((ROOT / top).rglob("*.py"))
    )
    modules = [
        name for name in files if name.startswith(tuple(options.only)) and not name.startswith(LEFT_OUT)
    ]
    possible = [each for name in modules for each in mutations_of(name, (ROOT / name).read_text("utf-8"))]
    chosen = random.Random(options.seed).sample(possible, min(options.count, len(possible)))
    with tempfile.TemporaryDirectory() as folder:
        known = options.map or Path(folder, "map")
        covered = read_map(known)
        if missing := unmapped_files(ROOT, covered):
            covered = covered_by_tests(ROOT, known.resolve(), options.jobs, missing)
        if not covered:
            sys.exit("No test ran: see what pytest says.")
        asked = [
            nearest_tests(each.module, each.lines, each.function, covered, options.seconds) for each in chosen
        ]
        said: list[str] = []
        for each, tests, answer in zip(
            chosen, asked, verdicts_of(chosen, asked, ROOT, 4 * options.seconds), strict=True
        ):
            said.append(answer)
            what = "SURVIVED" if not answer else answer if answer == NO_VERDICT else "killed"
            print(f"{what:10} {each}  [{answer or f'{len(tests)} tests asked'}]", flush=True)
    judged = [answer for answer in said if answer != NO_VERDICT]
    noticed = sum(map(bool, judged))
    low, high = interval(noticed, len(judged))
    print(f"{noticed} of {len(judged)} were noticed [{low:.1%}, {high:.1%}]; {len(possible)} are possible.")
    print(f"{len(said) - len(judged)} more have no verdict. The seed was {options.seed}.")
    if unmapped := unmapped_files(ROOT, covered):
        print(f"A lower bound: {len(unmapped)} test files are not in the map, and so were not asked.")
    sys.exit(noticed < options.at_least * len(judged))


def interval(noticed: int, tried: int) -> tuple[float, float]:
    """Return Wilson's interval of 95 % for a share."""
    if not tried:
        return 0.0, 1.0
    z, share = 1.96, noticed / tried
    middle = (share + z * z / (2 * tried)) / (1 + z * z / tried)
    half = z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried * tried)) / (1 + z * z / tried)
    return middle - half, middle + half


if __name__ == "__main__":
    main()
