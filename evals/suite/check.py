"""What is wrong with a suite, found before any call is paid: all of it, with line numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path

from ...state.budget import ThreadBudgets
from ...state.errors import InputError, did_you_mean
from ...state.schema import fields_of, parse_input
from ..scoring.judge import Judge
from ..scoring.path_match import path_problem
from ..scoring.score import NODE
from ..scoring.tool_matching import ToolCalls, expected_calls
from .model import COMPLETED, MEASURES, Case, Evaluator, Gate, PathExpected, Suite
from .targets import Target
from .topology import Topology, tools_in

MAX_SHOWN = 20
TO_FILL = "TO BE FILLED IN"
"""What stands for an expected output that somebody has still to write."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong; `line` is None for suites written in Python."""

    line: int | None
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


def refuse(name: str, problems: Iterable[Problem]) -> None:
    """Raise InputError if there are problems."""
    in_order = sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0)
    if not in_order:
        return
    rest = f"\n  … and {len(in_order) - MAX_SHOWN} more" if len(in_order) > MAX_SHOWN else ""
    shown = "\n".join(f"  {problem}" for problem in in_order[:MAX_SHOWN])
    count = "1 problem" if len(in_order) == 1 else f"{len(in_order)} problems"
    raise InputError(f"{name}: {count}, nothing was run.\n{shown}{rest}")


def check_suite(suite: Suite, target: Target | None = None) -> None:
    """Raise InputError for a suite that is wrong in itself or does not fit its graph."""
    problems = [*_itself(suite)]
    if target is not None:
        problems += _against(suite, target)
    refuse(str(suite.source or suite.name), problems)


def _itself(suite: Suite) -> Iterator[Problem]:
    if not suite.cases:
        yield Problem(None, "the suite has no cases")
    first: dict[str, Case] = {}
    for case in suite.cases:
        if case.id in first:
            where = f", after line {first[case.id].line}" if first[case.id].line else ""
            yield Problem(case.line, f"the case {case.id!r} is there twice{where}")
        first.setdefault(case.id, case)
    names = Counter(evaluator.name for evaluator in suite.evaluators)
    for name, count in names.items():
        if count > 1:
            yield Problem(None, f"{count} evaluators have the name {name!r}")
        if name in (COMPLETED, "error", *MEASURES):
            yield Problem(None, f"no evaluator may be named {name!r}; that is measured anyway")
    for option in ("repeats", "concurrency"):
        if getattr(suite, option) < 1:
            yield Problem(None, f"{option} = {getattr(suite, option)}; expected at least 1")
    own = ThreadBudgets.of(suite.budget).own
    if own is not None and own.supersteps is not None:
        yield Problem(
            None,
            f"budget: supersteps = {own.supersteps} would limit nothing, because trials share no supersteps. "
            "Put it into trial_budget, or limit calls, tokens, usd or seconds",
        )
    if not 0 < suite.level < 1:
        yield Problem(None, f"level = {suite.level:g}; expected a number between 0 and 1, such as 0.05")
    for case in suite.cases:
        if case.expect.output == TO_FILL:
            yield Problem(case.line, f"case {case.id!r}: its expected output is still to be filled in")
        for name in case.expect.values:
            if name not in names:
                hint = did_you_mean(name, [*names, "output", "route", "path", "rounds", "nodes", "error"])
                yield Problem(
                    case.line, f"case {case.id!r} expects {name!r}, but no evaluator has that name. {hint}"
                )
    for gate in suite.gates:
        yield from _gate(gate, suite)


def _gate(gate: Gate, suite: Suite) -> Iterator[Problem]:
    known = metrics_of(suite)
    if gate.metric not in known:
        yield Problem(
            gate.line,
            f"the gate's metric {gate.metric!r} is not measured. {did_you_mean(gate.metric, known)}",
        )
    bounds = [gate.at_least is not None, gate.at_most is not None, gate.not_worse]
    if sum(bounds) != 1:
        yield Problem(gate.line, f"the gate on {gate.metric!r} needs one of at_least, at_most and not_worse")
    if gate.level is not None and not 0 < gate.level < 1:
        yield Problem(gate.line, f"level = {gate.level:g}; expected a number between 0 and 1, such as 0.05")
    if gate.metric in MEASURES and (gate.level is not None or gate.not_worse or gate.at_least is not None):
        yield Problem(gate.line, f"a gate on {gate.metric} takes at_most alone")
    judge = next((e for e in suite.evaluators if e.name == gate.metric and isinstance(e, Judge)), None)
    if judge is not None and judge.labels is None:
        yield Problem(
            gate.line,
            f"the judge {gate.metric!r} may not gate: nobody knows how far it agrees with people. Give it "
            "`labels`, a file of examples that people have judged.",
        )


def metrics_of(suite: Suite) -> list[str]:
    """Return the names of everything that the suite measures."""
    names = [COMPLETED, *(evaluator.name for evaluator in suite.evaluators), *MEASURES]
    for case in suite.cases:
        expect = case.expect
        names += ["error"] if expect.error is not None else []
        names += ["output"] if expect.has_output else []
        names += [f"route:{path}" if path else "route" for path in expect.branches]
        names += ["path"] if expect.path is not None else []
        names += ["rounds"] if expect.rounds else []
        names += [f"{NODE}{path}" for path in expect.nodes]
    return list(dict.fromkeys(names))


def _against(suite: Suite, target: Target) -> Iterator[Problem]:
    topology = target.topology
    for evaluator in suite.evaluators:
        yield from _evaluator(evaluator, target)
    for name in suite.files:
        if name not in fields_of(target.state):
            hint = did_you_mean(name, fields_of(target.state))
            yield Problem(None, f"files: the input has no field {name!r}. {hint}")
    for case in suite.cases:
        if case.expect.error != "InputError":
            away = False
            for name, path in suite.files_of(case).items() if suite.files else ():
                if not _is_near(path, suite):
                    away = True
                    text = f"{name}: {path} lies neither in the suite's folder nor in this one"
                    yield Problem(case.line, f"case {case.id!r}: {text}")
                elif not path.exists():
                    away = True
                    yield Problem(case.line, f"case {case.id!r}: {name}: there is no file or folder {path}")
            try:
                parse_input(target.state, case.input if away else suite.input_of(case))
            except InputError as error:
                yield Problem(case.line, f"case {case.id!r}: {error}")
        for text in _expectations(case, target, topology):
            yield Problem(case.line, f"case {case.id!r}: {text}")
    for evaluator in suite.evaluators:
        if isinstance(evaluator, ToolCalls):
            yield from _tool_calls(evaluator, suite, target)


def _is_near(path: Path, suite: Suite) -> bool:
    """Tell whether a file that a suite names lies in its folder or the working one, links resolved.

    A suite may come from elsewhere, and what its cases name is read and sent to models.
    """
    if suite.source is None:
        return True
    try:
        place = path.resolve()
    except (OSError, ValueError, RuntimeError):
        return False
    folders = (suite.source.absolute().parent, Path.cwd())
    return any(place.is_relative_to(folder.resolve()) for folder in folders)


def _evaluator(evaluator: Evaluator, target: Target) -> Iterator[Problem]:
    if evaluator.node is not None and evaluator.node not in target.topology.nodes:
        hint = did_you_mean(evaluator.node, target.topology.nodes)
        yield Problem(None, f"the evaluator {evaluator.name!r}: there is no node {evaluator.node!r}. {hint}")
    elif evaluator.node is None and evaluator.field not in (None, *target.output_fields):
        hint = did_you_mean(str(evaluator.field), target.output_fields)
        yield Problem(
            None, f"the evaluator {evaluator.name!r}: there is no field {evaluator.field!r}. {hint}"
        )


def _expectations(case: Case, target: Target, topology: Topology) -> Iterator[str]:
    expect = case.expect
    if isinstance(expect.output, dict):
        known = target.output_fields
        for name in expect.output:
            if name not in known:
                yield f"the output has no field {name!r}. {did_you_mean(str(name), known)}"
    for path, branch in expect.branches.items():
        routes = topology.routes
        ends = routes.get(path) if path else {end for ends in routes.values() for end in ends}
        if path and ends is None:
            yield f"there is no route {path!r}. {did_you_mean(path, routes)}"
        elif not ends:
            yield "the graph has no route"
        elif branch not in ends:
            which = f"the route {path!r}" if path else "no route"
            verb = "has no branch" if path else "has a branch"
            yield f"{which} {verb} {branch!r}. {did_you_mean(branch, sorted(ends))}"
    if expect.path is not None:
        yield from _path(expect.path, topology)
    for path, bound in expect.rounds.items():
        loops = topology.loops
        if not path and len(loops) > 1 and len(set(loops.values())) > 1:
            yield f"the graph has {len(loops)} loops; say which: {', '.join(sorted(loops))}"
        elif not path and not loops:
            yield "the graph has no refine loop, so nothing takes rounds"
        elif path and path not in loops and path not in topology.nodes:
            yield f"there is no loop or node {path!r}. {did_you_mean(path, [*loops, *topology.nodes])}"
        else:
            limit = loops.get(path) if path else max(loops.values(), key=lambda n: n or 0)
            if limit is not None and bound.at_least > limit:
                yield f"the loop {path!r} takes at most {limit} rounds, never {bound.at_least}"
    for path in expect.nodes:
        if path not in topology.nodes:
            yield f"there is no node {path!r}. {did_you_mean(path, topology.nodes)}"
    visited = [path for path in expect.nodes if path in topology.nodes]
    for one, other in combinations(visited, 2):
        if (problem := topology.conflict(one, other)) and topology.conflict(other, one):
            yield f"no run visits both nodes: {problem}"


def _tool_calls(evaluator: ToolCalls, suite: Suite, target: Target) -> Iterator[Problem]:
    tools = tools_in(target.graph)
    for case in suite.cases:
        expected = case.expect.values.get(evaluator.name, False)
        problem = evaluator.problem_with(expected)
        if problem is not None:
            yield Problem(case.line, f"case {case.id!r}: {evaluator.name}: {problem}")
        elif tools is not None and not isinstance(expected, bool):
            for name in dict.fromkeys(call.name for call in expected_calls(expected)):
                if name not in tools:
                    text = f"{evaluator.name}: the graph has no tool {name!r}. {did_you_mean(name, tools)}"
                    yield Problem(case.line, f"case {case.id!r}: {text}")


def _path(expected: PathExpected, topology: Topology) -> Iterator[str]:
    unknown = [node for node in expected.nodes if node not in topology.nodes]
    for node in unknown:
        yield f"the expected path has no node {node!r}. {did_you_mean(node, topology.nodes)}"
    if unknown:
        return
    nodes = expected.nodes
    if expected.match in ("strict", "order"):
        for first, then in pairwise(nodes):
            if problem := topology.conflict(first, then):
                yield f"the expected path cannot occur: {problem}"
    elif expected.match in ("unordered", "superset"):
        for one, other in combinations(nodes, 2):
            if (problem := topology.conflict(one, other)) and topology.conflict(other, one):
                yield f"the expected path cannot occur: {problem}"
    if expected.match == "strict" and (problem := path_problem(expected, nodes)):
        yield f"the expected path cannot occur: {problem}"
