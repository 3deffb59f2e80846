"""Where two threads differ: the first step, the way they went, calls, the result, the cost."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...state.blobs import named
from ...state.session.session import Session
from .plain_checkpoints import final_state, plain_checkpoints
from .run import Run, innermost, read_run
from .spans import Row, Span
from .values import public


@dataclass(frozen=True)
class Pair:
    """One node execution of each of two runs; `a` or `b` is None where only the other run made it.

    `what` says in what they differ: status, decision, output; or input alone, if the result is the same.
    It is empty if they do not differ.
    """

    number: int
    path: str
    what: tuple[str, ...]
    a: Span | None
    b: Span | None


@dataclass(frozen=True)
class CallDifference:
    """One call that differs; `a` or `b` is None where only the other thread made it.

    `what` says in what the two differ: prompt, model, parameters, answer.
    """

    path: str
    what: tuple[str, ...]
    a: Row | None
    b: Row | None


@dataclass(frozen=True)
class Difference:
    """What differs between two threads; the first difference stands first everywhere.

    `steps` pairs the innermost node executions. `state` maps each field that differs to its two final
    values, None where a thread lacks it.
    """

    a: Run
    b: Run
    steps: list[Pair]
    calls: list[CallDifference]
    state: dict[str, tuple[Any, Any]]

    @property
    def first(self) -> Pair | None:
        """The first step at which the runs differ."""
        return next((pair for pair in self.steps if pair.what), None)

    @property
    def parting(self) -> int | None:
        """The number of the first step from which the two go different ways, None if they never do."""
        other_way = {"only in a", "only in b", "decision"}
        return next((pair.number for pair in self.steps if other_way & {*pair.what}), None)

    @property
    def same(self) -> bool:
        """True if both went the same way to the same state with the same answers."""
        return self.parting is None and not self.calls and not self.state


def diff(session: Session, a: str, b: str) -> Difference:
    """Compare two threads of a file. Raises InputError for an unknown one."""
    run_a, run_b = read_run(session, a), read_run(session, b)
    with plain_checkpoints(session) as checkpointer:
        state_a, state_b = final_state(checkpointer, a), final_state(checkpointer, b)
    both = {n: (state_a.get(n), state_b.get(n)) for n in dict.fromkeys((*state_a, *state_b))}
    return Difference(
        a=run_a,
        b=run_b,
        steps=list(paired(run_a.spans, run_b.spans)),
        calls=_differences(_answered(run_a.calls), _answered(run_b.calls)),
        state={name: values for name, values in both.items() if values[0] != values[1]},
    )


def paired(a: Sequence[Span], b: Sequence[Span]) -> Iterator[Pair]:
    """Yield the steps of two runs side by side, in the order of the first, then what only the other has.

    Executions of one path are paired if their inputs are equal, the others in their order, so that branches
    side by side may end in any.
    """
    mine, theirs = innermost(a), innermost(b)
    partner: dict[str, Span] = {}
    taken: set[str] = set()
    for key in (_place_and_input, _place):
        left: dict[str, deque[Span]] = defaultdict(deque)
        for span in theirs:
            if span.task not in taken:
                left[key(span)].append(span)
        for span in mine:
            if span.task not in partner and (waiting := left[key(span)]):
                partner[span.task] = other = waiting.popleft()
                taken.add(other.task)
    number = 0
    for span in mine:
        twin = partner.get(span.task)
        yield Pair(number, span.path, ("only in a",) if twin is None else _what(span, twin), span, twin)
        number += 1
    for span in theirs:
        if span.task not in taken:
            yield Pair(number, span.path, ("only in b",), None, span)
            number += 1


def _place(span: Span) -> str:
    return span.path


def _place_and_input(span: Span) -> str:
    return json.dumps([span.path, public(span.row.get("input"))], sort_keys=True)


def _what(a: Span, b: Span) -> tuple[str, ...]:
    compared = {
        "status": a.status != b.status,
        "decision": choice_of(a) != choice_of(b),
        "output": public(a.row.get("output")) != public(b.row.get("output")),
        "input": public(a.row.get("input")) != public(b.row.get("input")),
    }
    return tuple(name for name, differs in compared.items() if differs)


def choice_of(span: Span) -> str | None:
    """Return the decision that a step took, if any."""
    return span.decision["choice"] if span.decision else None


def _answered(calls: list[Row]) -> list[Row]:
    """Return the answers that counted: without those in whose place a fork's answer stands."""
    replaced = {call["origin"] for call in calls if call["source"] == "override"}
    return [
        call
        for call in calls
        if call["status"] not in ("failed", "superseded") and call["id"] not in replaced
    ]


def _differences(a: list[Row], b: list[Row]) -> list[CallDifference]:
    """Pair the calls of each path, equal requests first, and return the pairs that differ in a's order."""
    theirs: dict[str, list[Row]] = defaultdict(list)
    for call in b:
        theirs[call["path"]].append(call)
    partner: dict[str, Row] = {}
    for equal in (True, False):
        for call in a:
            waiting = theirs[call["path"]]
            fitting = (c for c in waiting if not equal or c["request_hash"] == call["request_hash"])
            if call["id"] not in partner and (match := next(fitting, None)) is not None:
                partner[call["id"]] = match
                waiting.remove(match)
    pairs = [(call["path"], call, partner.get(call["id"])) for call in a]
    alone = sorted((c for calls in theirs.values() for c in calls), key=lambda call: call["started_at"])
    differences = [CallDifference(path, _call_what(x, y), x, y) for path, x, y in pairs]
    differences += [CallDifference(call["path"], ("only in b",), None, call) for call in alone]
    return [difference for difference in differences if difference.what]


def _parameters(call: Row) -> Row:
    """Return what a call was made with; older records do not say whose model it was."""
    return {name: value for name, value in json.loads(call["params"]).items() if name != "provider"}


def _call_what(a: Row, b: Row | None) -> tuple[str, ...]:
    if b is None:
        return ("only in a",)
    compared = {
        "prompt": json.loads(named(a["messages"])) != json.loads(named(b["messages"])),
        "model": a["model_asked"] != b["model_asked"],
        "parameters": _parameters(a) != _parameters(b),
        "answer": a["answer"] != b["answer"],
    }
    return tuple(name for name, differs in compared.items() if differs)
