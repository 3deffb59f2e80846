"""Case by case: what the changed graph did differently from what is on record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ...state.blobs import named
from ...state.json_text import json_text
from ...state.names import BUDGET_ENDED, CALL, DEPARTED, LANGFUSE, without_private
from ...state.schema import fields_of
from ...state.session.recorder import STOPPED
from ...state.session.session import Session
from ...tracing.forks.recorded import SCOPE
from ...tracing.record.cohorts import Spent, read_spent
from ...tracing.record.diff import Pair, choice_of, paired
from ...tracing.record.pending import read_waiting
from ...tracing.record.plain_checkpoints import final_state, plain_checkpoints
from ...tracing.record.read_spans import read_spans
from ...tracing.record.reads import read_calls, read_node_runs, read_rows, read_shape
from ...tracing.record.spans import Row, Span
from ..suite.topology import Compiled
from .plan import Plan, ReplayCase

Preference = Literal["change", "recorded", "tie"]
NOT_RUN = ("queued", "running")


@dataclass(frozen=True)
class Departure:
    """The first node at which a replay left the record, in words why, and the paid calls from there on."""

    node: str
    why: str


@dataclass(frozen=True)
class Side:
    """A run as it is on record or as it was replayed: how it ended, its state, its routes, what it cost.

    `spent` is what all its calls cost when they were made.
    """

    status: str
    values: Mapping[str, Any]
    routes: tuple[tuple[str, str], ...]
    spent: Spent
    error: str | None = None


@dataclass(frozen=True)
class CaseDifference:
    """One recorded run and its replay. `stopped` says why the replay did not come to its end.

    It is `cut` where the replay's own budget ended, or a dry run would have made a new call. `differs` maps
    fields to their values before and after. `preferred` is what a judge, or a person, took.
    """

    origin: str
    thread: str
    recorded: Side
    replayed: Side
    differs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    departure: Departure | None = None
    stopped: str | None = None
    cut: bool = False
    preferred: Preference | None = None
    reason: str = ""

    @property
    def what(self) -> tuple[str, ...]:
        """In what the two differ: status, route, values."""
        compared = {
            "status": self.recorded.status != self.replayed.status,
            "route": self.recorded.routes != self.replayed.routes,
            "values": bool(self.differs),
        }
        return tuple(name for name, differs in compared.items() if differs)

    @property
    def ran(self) -> bool:
        """Whether anything of it was replayed."""
        return self.replayed.status not in NOT_RUN

    @property
    def ended(self) -> bool:
        """Whether it came to an end of its own, so that its result can be compared."""
        alike = self.recorded.status == self.replayed.status
        return not self.cut and (alike or self.replayed.status in ("done", "failed", "partial"))


def read_cases(
    session: Session, graph: Compiled, plan: Plan, problems: Mapping[str, str] | None = None
) -> list[CaseDifference]:
    """Return all cases of a replay as they stand; `problems` are those that are not on record, by thread."""
    session.journal.flush()
    known = set(fields_of(graph.builder.state_schema))
    with plain_checkpoints(session) as checkpointer:

        def state_of(thread: str) -> dict[str, Any]:
            return _plain(final_state(checkpointer, thread)) or _output(session, thread)

        cases = [
            _case(session, case, known, state_of(case.origin), state_of(case.thread)) for case in plan.cases
        ]
    reasons = problems or {}
    return [replace(case, stopped=reasons[case.thread]) if case.thread in reasons else case for case in cases]


def _output(session: Session, thread: str) -> dict[str, Any]:
    """Return the last output on record of a thread without checkpoints."""
    rows = read_rows(session.journal.query, "invocations", thread)
    value = json.loads(rows[-1]["output"] or "null") if rows else None
    return without_private(value) if isinstance(value, dict) else {}


def _case(
    session: Session, case: ReplayCase, known: set[str], before: dict[str, Any], after: dict[str, Any]
) -> CaseDifference:
    journal = session.journal
    spans = [read_spans(journal.query, thread) for thread in (case.origin, case.thread)]
    calls = [read_calls(journal, thread) for thread in (case.origin, case.thread)]
    recorded, replayed = (
        _side(session, thread, values, side_spans)
        for thread, values, side_spans in zip((case.origin, case.thread), (before, after), spans, strict=True)
    )
    shape = read_shape(journal, case.origin)
    both = known & set(shape["fields"]) if shape and "fields" in shape else known
    fields = (
        before if case.origin.startswith(LANGFUSE) else {**before, **after}
    )  # an item names what it expects
    names = [name for name in fields if name in both]
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    ran = replayed.status not in NOT_RUN
    return CaseDifference(
        case.origin,
        case.thread,
        recorded,
        replayed,
        {name: pair for name, pair in pairs.items() if pair[0] != pair[1]} if ran else {},
        departure_of(spans[0], spans[1], calls[0], calls[1]) if ran else None,
        *_stopped(session, case.thread, replayed),
    )


def _side(session: Session, thread: str, values: dict[str, Any], spans: Sequence[Span]) -> Side:
    (run,) = read_rows(session.journal.query, "runs", thread)
    nodes = {span.task: span for span in _outside_of_tools(spans) if span.kind == "node"}
    routes = tuple(
        (span.path, str(choice_of(span)))
        for span in sorted(nodes.values(), key=lambda span: span.started_at)
        if span.decision and span.decision["kind"] == "route"
    )
    return Side(run["status"], values, routes, read_spent(session.journal, thread), run["error"])


def _stopped(session: Session, thread: str, side: Side) -> tuple[str | None, bool]:
    """Say why a replay did not come to its end, None if it did; and whether its own budget cut it."""
    if side.status == "done":
        return None, False
    if side.status in NOT_RUN:
        return "it was not run: the budget of the replay ended, or it was stopped", True
    if side.status == "failed":
        return side.error, False
    last = {row["task"]: row for row in read_node_runs(session.journal, thread)}
    waiting = [row for row in last.values() if row["status"] == "interrupted" and row["interrupts"]]
    for interrupt in (each for row in waiting for each in json.loads(row["interrupts"])):
        kind = interrupt.get("kind") if isinstance(interrupt, Mapping) else None
        if kind == DEPARTED:
            return str(interrupt["problem"]), False
        if kind == BUDGET_ENDED and interrupt.get("scope") == SCOPE:
            dry = interrupt.get("limit") == "calls"
            why = (
                "its next call is a new one, and a dry run makes none" if dry else "the replay's budget ended"
            )
            return why, True
    if side.status == "partial":
        return "its budget ended, as the recorded run's may have", False
    people = read_waiting(session, thread)
    if people:
        where = people[0].path
        return f"waits at {where} for a person: what is asked, or what came before, is not what it was", False
    return "it stopped at a breakpoint", False


def departure_of(
    before: Sequence[Span], after: Sequence[Span], old: Sequence[Row], new: Sequence[Row]
) -> Departure | None:
    """Return where a replay left the record: the first node that asked anew, or did something else."""
    fresh = [row for row in new if row["source"] not in ("copied", "override")]
    before, after = _outside_of_tools(before), _outside_of_tools(after)
    called_off = _called_off(before, after)

    def differs(pair: Pair) -> bool:
        if pair.b is not None and _asked_in(pair.b, fresh):
            return True
        if any(pair.path == path or pair.path.startswith(f"{path}/") for path in called_off):
            return False  # how far it came is chance
        return bool({*pair.what} - {"input"})

    pairs = [pair for pair in paired(before, after) if differs(pair)]
    if not pairs:
        return Departure(fresh[0]["path"], _why(fresh[0], old)) if fresh else None

    def began(pair: Pair) -> tuple[float, int]:
        return (pair.b.started_at if pair.b else float("inf"), pair.number)

    first = min(pairs, key=began)
    asked = next(iter(_asked_in(first.b, fresh)), None) if first.b is not None else None
    if asked is not None:
        return Departure(first.path, _why(asked, old))
    if first.b is None:
        return Departure(first.path, "did not run")
    if first.a is None:
        return Departure(first.path, "ran, and did not before")
    if first.b.status == "interrupted" and not asked and first.a.status == "done":
        return Departure(first.path, "would do what was not done before")
    parts = [what for what in first.what if what != "input"]
    return Departure(first.path, f"{' and '.join(parts)} differ{'' if len(parts) > 1 else 's'}")


def _called_off(*runs: Sequence[Span]) -> set[str]:
    """Return the parts that a race called off in one of the runs: how far such a part came is chance.

    What it stopped stands below a part that is done. A part that was called off before anything in it began
    wrote nothing, and has nothing below it, though it had in the other run.
    """
    parents = {span.path.rpartition("/")[0] for run in runs for span in run if span.kind == "node"}
    paths: set[str] = set()
    for run in runs:
        nodes = {span.task: span for span in run if span.kind == "node"}
        begun = {task.rpartition("|")[0] for task in nodes}
        for task, span in nodes.items():
            if span.error == STOPPED:
                paths.add(span.path)
                above = (nodes.get(task.rsplit("|", n)[0]) for n in range(1, task.count("|") + 1))
                paths.update(next(([each.path] for each in above if each and each.status == "done"), []))
            elif span.row.get("output") == "{}" and task not in begun and span.path in parents:
                paths.add(span.path)
    return paths


def _outside_of_tools(spans: Sequence[Span]) -> list[Span]:
    """Return the spans without what ran inside of tools, which a recorded result stands for."""
    tools = {span.task for span in spans if span.kind == "node" and CALL in (span.row.get("input") or "")}
    return [span for span in spans if not any(span.task.startswith(f"{tool}|") for tool in tools)]


def _asked_in(span: Span, calls: Sequence[Row]) -> list[Row]:
    return [row for row in calls if row["task"] == span.task or row["task"].startswith(f"{span.task}|")]


def _why(call: Row, old: Sequence[Row]) -> str:
    """Say why no recorded answer served a call."""
    there = [row for row in old if row["path"] == call["path"]]
    if not there:
        return "asks what was not asked before"
    prompt = named(call["messages"])
    same = [row for row in there if json.loads(named(row["messages"])) == json.loads(prompt)]
    if not same:
        return "its prompt changed"
    if all(row["status"] == "failed" for row in same):
        return "its call failed before"
    if any(row["model_asked"] != call["model_asked"] for row in same):
        return "asks another model"
    if any(row["params"] != call["params"] or row["request_hash"] != call["request_hash"] for row in same):
        return "asks with other settings"
    return "asks once more than before"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state as JSON would say it, without the patterns' own channels."""
    plain: dict[str, Any] = json.loads(json_text(without_private(values)))
    return plain
