"""A case from a recorded run: what it was given, what came of it, and the way that it took."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args

from pydantic_core import to_jsonable_python

from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...state.masking import EVERYTHING
from ...state.names import without_private
from ...state.schema import StateType
from ...tracing.record.reads import read_node_runs, read_rows
from ...tracing.record.threads import find_thread
from ...tracing.record.values import cut_text
from ..scoring.trial_record import Record, read_record
from ..suite.check import TO_FILL

Part = Literal["output", "route", "path", "fill"]
PARTS: tuple[Part, ...] = get_args(Part)

_MASKED = re.compile(
    r"\[(?:" + "|".join(sorted({re.escape(rule.name) for rule in EVERYTHING.rules})) + r")\]"
)


def case_of(
    journal: Journal,
    thread_id: str,
    case: str,
    *,
    state: StateType,
    node: str | None = None,
    parts: Collection[Part] = ("output", "route", "path"),
    only: Collection[str] = (),
    correct: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the case that a recorded run makes, as a suite's file has it.

    `node` takes the node's last visit instead of the whole run. `only` names the fields of the output that
    count; "fill" among the parts leaves the output to be filled in by hand, `correct` says what it must be
    where a person knows better. Raises InputError for a
    run that did not end well, or whose input is not whole on record.
    """
    find_thread(journal, thread_id)
    record = read_record(journal, thread_id)
    row = _visit(journal, thread_id, node) if node else _invocation(journal, thread_id)
    run_input, output = _loaded(row["input"], thread_id), _loaded(row["output"], thread_id)
    expect: dict[str, Any] = {}
    if correct is not None:
        expect["output"] = dict(correct)
    elif "fill" in parts:
        expect["output"] = TO_FILL
    elif "output" in parts:
        expect["output"] = _changed(run_input, output, only)
    if "route" in parts and (routes := _routes(record, node)):
        expect["route"] = routes
    if "path" in parts and (path := _path(journal, thread_id, record, node)):
        expect["path"] = path
    entry = {"id": case, "input": _without_defaults(run_input, state)}
    return {**entry, "expect": expect} if expect else entry


def ended_run(journal: Journal, thread_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a run was given and what it gave, whole. Raises InputError if the record has it not so."""
    find_thread(journal, thread_id)
    row = _invocation(journal, thread_id)
    return _loaded(row["input"], thread_id), _loaded(row["output"], thread_id)


def _invocation(journal: Journal, thread_id: str) -> Mapping[str, Any]:
    rows = read_rows(journal.query, "invocations", thread_id)
    if len({row["trace"] for row in rows}) > 1:
        raise InputError(
            f"The thread {thread_id!r} was given several inputs; a case has one. Run the last of them on "
            "a thread of its own."
        )
    if not rows or rows[-1]["status"] != "done":
        status = rows[-1]["status"] if rows else "not on record"
        raise InputError(
            f"The run {thread_id!r} is {status}, so there is no output to expect. Take one that ended, or "
            "write the case by hand."
        )
    return {name: journal.whole(row[name] or "") for name, row in (("input", rows[0]), ("output", rows[-1]))}


def _visit(journal: Journal, thread_id: str, node: str) -> Mapping[str, Any]:
    rows = read_node_runs(journal, thread_id)
    fitting = [row for row in rows if row["path"] == node and row["status"] == "done"]
    if not fitting:
        raise InputError(
            f"The run {thread_id!r} did not pass the suite's node {node!r}. "
            f"{did_you_mean(node, {row['path'] for row in rows})}"
        )
    return fitting[-1]


def _loaded(text: str | None, thread_id: str) -> dict[str, Any]:
    data = json.loads(text) if text else None
    why = ""
    if not isinstance(data, dict):
        why = "has no fields on record"
    elif cut_text(data) or any(map(cut_text, data.values())):
        why = "is too long for the record, which has only its start"
    elif _MASKED.search(text or ""):
        why = "is masked in the record"
    if why or not isinstance(data, dict):
        raise InputError(f"What the run {thread_id!r} was given or gave {why}. Write the case by hand.")
    return without_private(data)


def _without_defaults(run_input: Mapping[str, Any], state: StateType) -> dict[str, Any]:
    """Return an input without the fields that a dataclass state fills in by itself."""
    defaults: dict[str, Any] = {}
    if is_dataclass(state):
        for part in fields(state):
            if part.default is not MISSING:
                defaults[part.name] = to_jsonable_python(part.default, fallback=repr)
            elif part.default_factory is not MISSING:
                defaults[part.name] = to_jsonable_python(part.default_factory(), fallback=repr)
    return {
        name: value for name, value in run_input.items() if name not in defaults or defaults[name] != value
    }


def _changed(
    run_input: Mapping[str, Any], output: Mapping[str, Any], only: Collection[str]
) -> dict[str, Any]:
    for name in only:
        if name not in output:
            raise InputError(f"The run gave no field {name!r}. {did_you_mean(name, output)}")
    if only:
        return {name: output[name] for name in only}
    return {
        name: value for name, value in output.items() if name not in run_input or run_input[name] != value
    }


def _inside(path: str, node: str | None) -> str | None:
    """Return a path as the suite has it, which may run one node alone; None for one outside of that."""
    if node is None:
        return path
    name = node.rsplit("/", 1)[-1]
    return name + path.removeprefix(node) if path == node or path.startswith(f"{node}/") else None


def _routes(record: Record, node: str | None) -> dict[str, str] | str | None:
    choices: dict[str, str] = {}
    for route in record.routes:
        if (path := _inside(route.path, node)) is not None:
            choices.setdefault(path, route.choice)
    return next(iter(choices.values())) if len(choices) == 1 else choices or None


def _path(journal: Journal, thread_id: str, record: Record, node: str | None) -> Any:
    """Return the innermost nodes in their order, each once; as a set if some of them ran at once."""
    passages = [p for p in record.passages if _inside(p.path, node) is not None]
    leaves = [p for p in passages if record.is_leaf(p) and p.output != {} and p.status == "done"]
    names = list(dict.fromkeys(str(_inside(p.path, node)) for p in leaves))
    if names and _parallel(journal, thread_id):
        return {"match": "superset", "nodes": names}
    return names


def _parallel(journal: Journal, thread_id: str) -> bool:
    rows = read_node_runs(journal, thread_id)
    tasks = {row["task"]: (row["task"].rpartition("|")[0], row["superstep"]) for row in rows}
    return len(set(tasks.values())) < len(tasks)
