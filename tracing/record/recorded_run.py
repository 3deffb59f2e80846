"""What a recorded run was told by models, tools, retrievers, people and clocks; a replay is told it again."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...state.cost import Cost
from ...state.journal.journal import Journal
from ...state.journal.records import ANSWER, CALL_NAMES, HEDGE, Call, changed
from ...state.journal.spending import FAMILY
from ...state.journal.waits import WaitRecord, waits_of
from ...state.json_text import json_text
from ...state.names import MESSAGES, REPLAYS, path_of
from ...state.run_context import checkpoint_at
from ...state.session.internals import interrupt_id
from ...state.session.session import Session
from .plain_checkpoints import plain_checkpoints
from .spans import Row, cost_of_call
from .values import cut_text

CHANGED = "A person changed the arguments to "  # how the result of a call begins that a person edited
ARRIVED = ("ran", "failed", "timed out", "unknown")  # outcomes of tool calls that were made
_RESUME = "__resume__"
_INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class RecordedCall:
    """An answer to a request, as one node execution asked for it; `cost` includes the tries that failed."""

    id: str
    request_hash: str
    path: str
    occurrence: int
    rejected: bool
    cost: Cost


@dataclass(frozen=True)
class ToolResult:
    """What a tool call brought, with the arguments that it was made with; `outcome` is the one on record."""

    path: str
    name: str
    arguments: str
    content: Any
    outcome: str


@dataclass(frozen=True)
class Question:
    """What a node asked a person, and what the answers were; the last one was taken."""

    path: str
    asked: Any
    answers: tuple[Any, ...]
    input: str | None


def read_recorded_calls(journal: Journal, thread_id: str) -> list[RecordedCall]:
    """Return the answers of a thread, and of its parts at workers, in the order in which they were asked for.

    Where a request was answered more than once, because an answer was rejected, the one that counts is given.
    """
    rows = journal.query(
        f"{FAMILY}SELECT id, task, path, request_hash, occurrence, status, source, started_at, "
        "input_tokens, output_tokens, cost_usd, estimated_tokens, estimated_picos "
        "FROM calls WHERE thread_id IN (SELECT id FROM family) AND status <> 'superseded' "
        "ORDER BY started_at, rowid",
        (thread_id,),
    )
    grouped: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        key = row["request_hash"].removesuffix(HEDGE)
        grouped[row["task"], key, row["occurrence"]].append(row)
    return [call for key, tries in grouped.items() for call in _answer_among(key[1], tries)]


def _answer_among(request_hash: str, tries: list[Row]) -> Iterator[RecordedCall]:
    answers = [row for row in tries if row["status"] == "answered"]
    rejected = [row for row in tries if row["status"] == "rejected"]
    row = next(iter(answers), rejected[-1] if rejected else None)
    if row is not None:
        cost = sum((cost_of_call(row) for row in tries if row["source"] == "model"), Cost())
        yield RecordedCall(row["id"], request_hash, row["path"], row["occurrence"], not answers, cost)


def origin_of(journal: Journal, thread_id: str) -> str | None:
    """Return the thread that a replay is one of."""
    rows = journal.query("SELECT parent_thread FROM runs WHERE thread_id = ?", (thread_id,))
    return rows[0]["parent_thread"] if rows else None


def is_replay(journal: Journal, thread_id: str) -> bool:
    """Tell whether a thread is the replay of another one."""
    return thread_id.startswith(REPLAYS) and origin_of(journal, thread_id) is not None


def read_origins(journal: Journal, thread_id: str) -> list[str]:
    """Return the ids of the calls whose answers a replay has taken already."""
    sql = "SELECT origin FROM calls WHERE thread_id = ? AND source = 'copied' AND origin IS NOT NULL"
    return [row["origin"] for row in journal.query(sql, (thread_id,))]


async def aread_call(journal: Journal, call_id: str) -> Call | None:
    """Return a call with its whole answer."""
    rows = await journal.arows(f"SELECT {CALL_NAMES} FROM calls WHERE id = ?", (call_id,))
    return changed(Call(*rows[0]), journal.whole, only=ANSWER) if rows else None


def read_passages(journal: Journal, thread_id: str) -> list[Row]:
    """Return what a thread's retrievers found, in the order in which they were asked."""
    return journal.query(
        "SELECT id, path, step, request_hash, passages, kept, found, left_out FROM retrievals "
        "WHERE thread_id = ? AND status = 'found' ORDER BY started_at, rowid",
        (thread_id,),
    )


def read_waits(journal: Journal, thread_id: str) -> list[WaitRecord]:
    """Return the waits of a thread that are over."""
    return [wait for wait in waits_of(journal, thread_id) if wait.status != "waiting"]


def read_effects_at(journal: Journal, thread_id: str, path: str) -> list[Row]:
    """Return the effects that a thread's node had, with the states that the node was given."""
    return journal.query(
        "SELECT e.key, n.input FROM effects e JOIN node_runs n ON n.thread_id = e.thread_id AND "
        "n.path = e.path AND n.started_at <= e.started_at AND n.ended_at >= e.started_at "
        "WHERE e.thread_id = ? AND e.path = ? AND e.status = 'done' ORDER BY e.started_at",
        (thread_id, path),
    )


def read_tool_results(session: Session, thread_id: str) -> list[ToolResult]:
    """Return what the tool calls of a thread's agents brought, in the order in which they ended."""
    journal = session.journal
    outcomes = {
        row["task"]: row["choice"]
        for row in journal.query(
            "SELECT task, choice FROM decisions WHERE thread_id = ? AND kind = 'tool'", (thread_id,)
        )
    }
    if not outcomes:
        return []
    calls: dict[tuple[str, str], Mapping[str, Any]] = {}
    results: list[ToolResult] = []
    for ns, task_id, messages in _written(session, thread_id, MESSAGES):
        for message in messages if isinstance(messages, (list, tuple)) else [messages]:
            for call in _part(message, "tool_calls") or ():
                calls[ns, str(call.get("id"))] = call
            call = calls.get((ns, str(_part(message, "tool_call_id"))))
            task = next((t for t in outcomes if t.startswith(f"{ns}|") and t.endswith(f":{task_id}")), None)
            if call is not None and task is not None and outcomes[task] in ARRIVED:
                results.append(_result(task, call, _part(message, "content"), outcomes[task]))
    return results


def _result(task: str, call: Mapping[str, Any], content: Any, outcome: str) -> ToolResult:
    arguments = json_text(call.get("args") or {})
    if isinstance(content, str) and content.startswith(CHANGED):
        edited, _, rest = content.removeprefix(CHANGED).partition(".\n")
        arguments, content = edited, rest
    return ToolResult(path_of(task), str(call.get("name")), canonical(arguments), content, outcome)


def canonical(arguments: str) -> str:
    """Return arguments, which are JSON, in one form."""
    return json.dumps(json.loads(arguments), sort_keys=True)


def read_questions(session: Session, thread_id: str) -> list[Question]:
    """Return what people were asked on a thread and have answered, in the order in which it was asked."""
    rows = session.journal.query(
        "SELECT task, path, interrupts, input, ended_at FROM node_runs WHERE thread_id = ? "
        "AND interrupts IS NOT NULL ORDER BY id",
        (thread_id,),
    )
    if not rows:
        return []
    recorded = _Answers(session, thread_id)
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_task[row["task"]].append(row)
    questions = []
    for task, tries in by_task.items():
        if any(other.startswith(f"{task}|") for other in by_task):
            continue  # a graph around the node that asks
        answers = recorded.to(task, [row["ended_at"] for row in tries])
        if answers:
            values: list[Any] = json.loads(tries[0]["interrupts"])
            first = values[0] if values else None
            questions.append(Question(tries[0]["path"], first, answers, tries[0]["input"]))
    return questions


class _Answers:
    """The answers that a thread was given: by a question's id, by its task, or bare, with their times."""

    def __init__(self, session: Session, thread_id: str) -> None:
        self._by_id: dict[str, Any] = {}
        self._bare: list[tuple[float, Any]] = []
        self._by_task: dict[tuple[str, str], tuple[Any, ...]] = {}
        rows = session.journal.query(
            "SELECT input, input_digest, started_at FROM invocations WHERE thread_id = ? ORDER BY id",
            (thread_id,),
        )
        for row in rows:
            if row["input"] is None or row["input_digest"] is not None:
                continue
            value = json.loads(session.journal.whole(row["input"]))
            if isinstance(value, dict) and value and all(map(_INTERRUPT_ID.fullmatch, value)):
                self._by_id |= {name: each for name, each in value.items() if cut_text(each) is None}
            elif cut_text(value) is None:
                self._bare.append((row["started_at"], value))
        for ns, task_id, answer in _written(session, thread_id, _RESUME):
            self._by_task[ns, task_id] = tuple(answer) if isinstance(answer, (list, tuple)) else (answer,)

    def to(self, task: str, asked_at: list[float]) -> tuple[Any, ...]:
        """Return the answers to what a task asked, so far as they are known, in their order."""
        ns, _, name = task.rpartition("|")
        known = self._by_task.get((ns, name.rpartition(":")[2]), ())
        answers: list[Any] = []
        for number, at in enumerate(asked_at):
            by_id = interrupt_id(task, number)
            if number < len(known):
                answers.append(known[number])
            elif by_id in self._by_id:
                answers.append(self._by_id[by_id])
            else:
                answers += [value for since, value in self._bare if since >= at][:1]
        return tuple(answers)


def read_inputs(session: Session, thread_id: str) -> list[dict[str, Any]]:
    """Return the inputs of a thread, one for each of its traces, as they are in its checkpoints."""
    with plain_checkpoints(session) as checkpointer:
        place = checkpoint_at(thread_id)
        saved = [
            item.checkpoint["channel_values"].get("__start__")
            for item in checkpointer.list(place, filter={"source": "input"})
        ]
    return [dict(values) for values in reversed(saved) if isinstance(values, Mapping)]


def was_edited(session: Session, thread_id: str) -> bool:
    """Tell whether somebody changed the state of a thread by hand."""
    with plain_checkpoints(session) as checkpointer:
        place = checkpoint_at(thread_id)
        return next(iter(checkpointer.list(place, filter={"source": "update"}, limit=1)), None) is not None


def _written(session: Session, thread_id: str, channel: str) -> Iterator[tuple[str, str, Any]]:
    """Yield what the tasks of a thread wrote to a channel: namespace, task id, value."""
    rows = session.journal.query(
        "SELECT checkpoint_ns, task_id, type, value FROM writes WHERE thread_id = ? AND channel = ? "
        "ORDER BY checkpoint_id, idx",
        (thread_id, channel),
    )
    with plain_checkpoints(session) as checkpointer:
        for row in rows:
            value = checkpointer.serde.loads_typed((row["type"], bytes(row["value"])))
            yield row["checkpoint_ns"], row["task_id"], value


def _part(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def without_waiting_again(question: Any) -> Any:
    """Return a question without what a clock, or another try at it, says in it."""
    if not isinstance(question, Mapping):
        return question
    return {
        name: value
        for name, value in question.items()
        if name not in ("due", "escalates", "again", "problem")
    }


def spent_on(calls: list[RecordedCall]) -> Cost:
    """Return what recorded answers cost when they were given."""
    return sum((call.cost for call in calls), Cost())
