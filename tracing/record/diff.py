"""Where two threads differ: the way they went, what was asked and answered, the result, the price."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...state.session.session import Session
from ..forks.copies import OVERRIDE
from .plain_checkpoints import final_state, plain_checkpoints
from .threads import find_thread
from .tree import Row, Totals, TreeNode, read_calls, read_tree, totals


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
class Visited:
    """One node execution on a thread's way, and the decision it took, if any."""

    path: str
    choice: str | None


@dataclass(frozen=True)
class Difference:
    """What differs between two threads; the first difference stands first everywhere.

    `parting` is the position in the two ways from which they differ, None if they are the same.
    `state` maps each field that differs to its two final values, None where a thread lacks it.
    """

    a: str
    b: str
    way_a: list[Visited]
    way_b: list[Visited]
    parting: int | None
    calls: list[CallDifference]
    state: dict[str, tuple[Any, Any]]
    spent_a: Totals
    spent_b: Totals

    @property
    def same(self) -> bool:
        """True if both went the same way to the same state with the same answers."""
        return self.parting is None and not self.calls and not self.state


def diff(session: Session, a: str, b: str) -> Difference:
    """Compare two threads of a file. Raises InputError for an unknown one."""
    journal = session.journal
    for thread in (a, b):
        find_thread(journal, thread)
    way_a, way_b = (list(_way(read_tree(journal, thread))) for thread in (a, b))
    calls_a, calls_b = read_calls(journal, a), read_calls(journal, b)
    with plain_checkpoints(session.path) as checkpointer:
        state_a, state_b = final_state(checkpointer, a), final_state(checkpointer, b)
    names = dict.fromkeys((*state_a, *state_b))
    both = {name: (state_a.get(name), state_b.get(name)) for name in names}
    return Difference(
        a=a,
        b=b,
        way_a=way_a,
        way_b=way_b,
        parting=_parting(way_a, way_b),
        calls=_differences(_answered(calls_a), _answered(calls_b)),
        state={name: values for name, values in both.items() if values[0] != values[1]},
        spent_a=totals(calls_a),
        spent_b=totals(calls_b),
    )


def _way(nodes: list[TreeNode]) -> Iterator[Visited]:
    """Yield the node executions by superstep; those that ran side by side by name."""

    def position(node: TreeNode) -> tuple[float, str, str]:
        superstep = node.node_run["superstep"] if node.node_run else float("inf")
        return superstep, node.path, node.decision["choice"] if node.decision else ""

    for node in sorted(nodes, key=position):
        yield Visited(node.path, node.decision["choice"] if node.decision else None)
        yield from _way(node.children)


def _parting(a: list[Visited], b: list[Visited]) -> int | None:
    if a == b:
        return None
    pairs = zip(a, b, strict=False)
    return next((n for n, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _answered(calls: list[Row]) -> list[Row]:
    """Return the answers that counted: without those in whose place a fork's answer stands."""
    replaced = {call["origin"] for call in calls if call["source"] == OVERRIDE}
    return [call for call in calls if call["status"] != "failed" and call["id"] not in replaced]


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
    found = [CallDifference(path, _what(x, y), x, y) for path, x, y in pairs]
    found += [CallDifference(call["path"], ("only in b",), None, call) for call in alone]
    return [difference for difference in found if difference.what]


def _what(a: Row, b: Row | None) -> tuple[str, ...]:
    if b is None:
        return ("only in a",)
    compared = {
        "prompt": json.loads(a["messages"]) != json.loads(b["messages"]),
        "model": a["model_asked"] != b["model_asked"],
        "parameters": json.loads(a["params"]) != json.loads(b["params"]),
        "answer": a["answer"] != b["answer"],
    }
    return tuple(name for name, differs in compared.items() if differs)
