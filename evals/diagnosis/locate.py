"""Where one run went wrong: the first point at which it left what its case expects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...state.errors import InputError, did_you_mean
from ...state.json_text import json_text
from ...state.session.session import Session
from ...tracing.record.plain_checkpoints import final_state, plain_checkpoints
from ...tracing.record.text import plain
from ..scoring.evaluators import shown
from ..scoring.judge import Judge
from ..scoring.path_match import path_problem, spoken_of
from ..scoring.score import NOTHING_EXPECTED, TrialOutcome, expected_of, fits, score_passage, visits
from ..scoring.trial_record import NodeVisit, Record, read_record
from ..suite.model import Case, Evaluator, Suite, Visit


@dataclass(frozen=True)
class Divergence:
    """One thing that is not as the case expects. `place` counts the nodes of the run's path from 0."""

    place: int
    node: str
    what: str
    problem: str

    def __str__(self) -> str:
        return f"{self.what}: {self.problem}"


@dataclass(frozen=True)
class RunDiagnosis:
    """Where a run went wrong, the first place first. `judged` names judges, which are not asked."""

    thread: str
    case: str
    path: tuple[str, ...]
    divergences: tuple[Divergence, ...]
    judged: tuple[str, ...] = ()

    @property
    def first(self) -> Divergence | None:
        return self.divergences[0] if self.divergences else None


def case_of(suite: Suite, thread: str, case: str | None) -> Case:
    """Return the case that a thread is a trial of: the named one, or what the thread's name says."""
    parts = thread.split("/")
    name = case or ("/".join(parts[2:-1]) if parts[0] == "eval" and len(parts) > 3 else None)
    if name is None:
        raise InputError(f"Which case is the thread {thread!r} to be measured by? Name it: --case ID.")
    known = {c.id: c for c in suite.cases}
    if name not in known:
        raise InputError(f"The suite has no case {name!r}. {did_you_mean(name, known)}")
    return known[name]


async def locate(session: Session, suite: Suite, thread: str, case: Case) -> RunDiagnosis:
    """Return where a thread's run left what a case expects; nothing is run, and no judge is asked.

    A wrong field of the output is put down to the node that wrote it last.
    """
    session.journal.flush()
    record = read_record(session.journal, thread)
    if not record.passages:
        raise InputError(f"The file holds no run of the thread {thread!r}.")
    with plain_checkpoints(session) as checkpointer:
        values = plain(final_state(checkpointer, thread))
    divergences = [
        *_errors(case, record),
        *_routes(case, record),
        *_path(case, record),
        *_nodes(case, record),
        *[divergence async for divergence in _evaluated(suite, case, record, values)],
        *_output(case, record, values),
    ]
    divergences.sort(key=lambda divergence: divergence.place)
    judged = [evaluator.name for evaluator, _ in _applying(suite, case) if isinstance(evaluator, Judge)]
    return RunDiagnosis(thread, case.id, record.path, tuple(dict.fromkeys(divergences)), tuple(judged))


def _applying(suite: Suite, case: Case) -> Iterator[tuple[Evaluator, Any]]:
    """Yield the evaluators to which a case gives what they need, each with what the case expects of it."""
    for evaluator in suite.evaluators:
        expected = expected_of(evaluator, case)
        if not evaluator.needs_expected or expected is not NOTHING_EXPECTED:
            yield evaluator, expected


def _errors(case: Case, record: Record) -> Iterator[Divergence]:
    if case.expect.error is not None:
        return
    failed = [(n, p) for n, p in enumerate(record.passages) if p.status == "failed"]
    inner = [(n, p) for n, p in failed if not any(other.path.startswith(f"{p.path}/") for _, other in failed)]
    for place, passage in inner[:1]:
        yield Divergence(place, passage.path, "error", "it raised an error")


def _routes(case: Case, record: Record) -> Iterator[Divergence]:
    for path, branch in case.expect.branches.items():
        took = next((route for route in record.routes if not path or route.path == path), None)
        if took is None:
            yield Divergence(
                len(record.path), path or "(no route)", "route", f"expected {branch}, took no route"
            )
        elif took.choice != branch:
            place = _place(record, took.path)
            yield Divergence(place, took.path, "route", f"expected {branch}, took {took.choice}")


def _path(case: Case, record: Record) -> Iterator[Divergence]:
    expected = case.expect.path
    problem = path_problem(expected, record.path) if expected is not None else None
    if expected is None or problem is None:
        return
    wanted, path = list(expected.nodes), record.path
    if expected.match in ("order", "strict"):
        place, due = _departure(wanted, path, strict=expected.match == "strict")
        target = path[place + 1] if place + 1 < len(path) else "the end"
        node = path[place] if place >= 0 else "(the beginning)"
        message = (
            f"expected {due} next, went to {target}" if due else f"expected the end, went on to {target}"
        )
        if expected.match == "order":
            message = f"expected {due} some time after it, which did not come"
        yield Divergence(max(place, 0), node, "path", message)
    else:
        strange = [n for n, node in enumerate(path) if node in spoken_of(wanted, path) and node not in wanted]
        place = len(path) - 1 if expected.match == "superset" or not strange else strange[0]
        yield Divergence(place, path[place] if path else "(nothing)", "path", problem)


def _departure(wanted: Sequence[str], path: Sequence[str], *, strict: bool) -> tuple[int, str | None]:
    """Return the index of the last node that was as expected, and which one should have followed."""
    counted = [(n, node) for n, node in enumerate(path) if node in spoken_of(wanted, path)]
    last, due = -1, list(wanted)
    for n, node in counted:
        if due and node == due[0]:
            last = n
            due.pop(0)
        elif strict:
            break
    return last, due[0] if due else None


def _nodes(case: Case, record: Record) -> Iterator[Divergence]:
    for path, by_visit in case.expect.nodes.items():
        if not visits(record, path, "each"):
            yield Divergence(len(record.path), path, "node", "it was not visited")
        for visit, wanted in by_visit.items():
            for place, passage in _placed_visits(record, path, visit):
                score = fits(wanted, passage.output, f"{visit} visit: ", cut=passage.cut)
                if score.passed is False:
                    yield Divergence(place, path, "node", score.reason)


async def _evaluated(
    suite: Suite, case: Case, record: Record, values: Mapping[str, Any]
) -> AsyncIterator[Divergence]:
    outcome = TrialOutcome("done", values)
    for evaluator, expected in _applying(suite, case):
        if evaluator.node is None or isinstance(evaluator, Judge):
            continue
        for place, passage in _placed_visits(record, evaluator.node, evaluator.visit):
            score = await score_passage(evaluator, expected, case, outcome, record, passage)
            if score.passed is False:
                yield Divergence(place, evaluator.node, evaluator.name, score.reason)


def _output(case: Case, record: Record, values: Mapping[str, Any]) -> Iterator[Divergence]:
    expect = case.expect
    if not isinstance(expect.output, Mapping):
        return
    for name, wanted in expect.output.items():
        actual = values.get(name)
        if actual == wanted or json_text(actual) == json_text(wanted):
            continue
        wrote = [
            (n, p)
            for n, p in enumerate(record.passages)
            if isinstance(p.output, Mapping) and name in p.output and record.is_leaf(p)
        ]
        place, node = (wrote[-1][0], wrote[-1][1].path) if wrote else (len(record.path), "(no node wrote it)")
        yield Divergence(place, node, f"output {name}", f"expected {shown(wanted)}, got {shown(actual)}")


def _placed_visits(record: Record, node: str, visit: Visit) -> list[tuple[int, NodeVisit]]:
    """Return the executions of a node that an expectation is about, each with its place on the path."""
    chosen = visits(record, node, visit)
    return [(n, p) for n, p in enumerate(record.passages) if any(p is one for one in chosen)]


def _place(record: Record, node: str) -> int:
    return record.path.index(node) if node in record.path else len(record.path)
