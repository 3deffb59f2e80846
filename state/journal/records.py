"""The rows of the journal: what is kept of a call, a retrieval, a node run and a decision."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from operator import attrgetter
from typing import Any, Self

from ..blobs import referring
from ..errors import ThreadBusy
from ..money import picos
from ..statuses import (
    CallSource,
    CallStatus,
    DecisionKind,
    NodeStatus,
    RetrievalSource,
    RetrievalStatus,
)


@dataclass(frozen=True, slots=True)
class CallKey:
    """What makes a call the same call after a crash: where it is made, what it asks, which sample."""

    thread_id: str
    task: str
    request_hash: str
    occurrence: int


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt at a model call, as the `calls` table keeps it."""

    id: str
    thread_id: str
    task: str
    path: str
    step: str
    role: str | None
    request_hash: str
    occurrence: int
    attempt: int
    status: CallStatus
    model_asked: str
    messages: str
    params: str
    latency_s: float
    started_at: float
    model_answered: str | None = None
    answer: str | None = None
    tool_calls: str | None = None
    reasoning: str | None = None
    reply_state: str | None = None
    media: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None
    cost_usd: float | None = None
    cost_parts: str | None = None
    reserved: str | None = None
    first_token_s: float | None = None
    price_source: str | None = None
    price_date: str | None = None
    problem: str | None = None
    source: CallSource = "model"
    origin: str | None = None
    reason: str | None = None
    replays: int = 0
    estimated_tokens: int | None = None
    estimated_picos: int | None = None
    batch_request: str | None = None


@dataclass(frozen=True, slots=True)
class NodeRun:
    """One execution of one node; `output` is JSON."""

    thread_id: str
    task: str
    path: str
    node: str
    superstep: int
    status: NodeStatus
    output: str | None
    error: str | None
    started_at: float
    ended_at: float
    input: str | None = None
    interrupts: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Which way a route, loop or gate went, how sure it was (0 to 1) and why.

    `decided` says of a vote whether an answer won, and is None for all else.
    """

    thread_id: str
    task: str
    path: str
    kind: DecisionKind
    choice: str
    confidence: float | None
    reason: str | None
    decided_at: float
    decided: bool | None = None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """What a retriever was asked once, and what of its passages was kept; `passages` is JSON."""

    id: str
    thread_id: str
    task: str
    path: str
    step: str
    request_hash: str
    status: RetrievalStatus
    retriever: str
    query: str
    latency_s: float
    started_at: float
    passages: str | None = None
    kept: int | None = None
    found: int | None = None
    left_out: str | None = None
    problem: str | None = None
    source: RetrievalSource = "retriever"


@dataclass(frozen=True, slots=True)
class Description:
    """What another process needs to go on with a thread: its graph's name, its models, its input as data."""

    graph: str
    models: Mapping[str, str]
    data: Any

    def columns(self) -> tuple[str, str, str]:
        """Return what the table `runs` keeps of it."""
        return self.graph, json.dumps(dict(self.models)), referring(json.dumps(self.data, default=str))


Record = Call | NodeRun | Decision | Retrieval
HEDGE = ":hedge"  # ends the request_hash of a call that doubles a slow one; its answer serves as well
Statement = tuple[str, Sequence[Any]]


class ThreadStatement(tuple[str, Sequence[Any]]):
    """A statement that is only run if its thread's claim lets it.

    One of a run (`of_run`) is not, once the run has lost its claim; any other one is not while somebody
    runs the thread.
    """

    thread_id: str
    of_run: bool

    def __new__(cls, statement: Statement, thread_id: str, *, of_run: bool = True) -> Self:
        self = super().__new__(cls, statement)
        self.thread_id = thread_id
        self.of_run = of_run
        return self


_NOTHING: dict[str, Any] = {
    "input_tokens": 0,
    "output_tokens": 0,
    "cost_usd": 0.0,
    "cost_parts": None,
    "estimated_tokens": None,
    "estimated_picos": None,
}


class SupersededStatement(tuple[str, Sequence[Any]]):
    """What is run in the place of an answer that its run may no longer write."""

    answer: CallStatement

    def __new__(cls, statement: Statement, answer: CallStatement) -> Self:
        self = super().__new__(cls, statement)
        self.answer = answer
        return self


class CallStatement(ThreadStatement):
    """Adds an answer that is paid for: it is kept, whoever runs the thread by now.

    As `superseded` it is kept where its run has lost the claim (`refused` then says so), and where the call
    has an answer already: each call is answered once, and the answer of the thread's owner is the one.
    """

    call: Call
    refused: ThreadBusy | None

    def __new__(cls, statement: Statement, call: Call, *, of_run: bool = True) -> Self:
        self = super().__new__(cls, statement, call.thread_id, of_run=of_run)
        self.call, self.refused = call, None
        return self

    def superseded(self, refused: ThreadBusy | None = None) -> Statement:
        """Return the statement to run in its place."""
        self.refused = refused
        call = self.call
        if call.status != "failed":
            call = replace(call, status="superseded")
        if call.batch_request is not None:  # its owner collects it too: it is paid for once
            call = replace(call, batch_request=None, **_NOTHING)
        return SupersededStatement((self[0], _values(call)), self)


def _insert(table: str, record_type: type[Any], *more: str, conflict: str = "") -> str:
    names = [*(field.name for field in fields(record_type)), *more]
    marks = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks}){conflict}"


_LAST_WORD = ", ".join(f"{f.name} = excluded.{f.name}" for f in fields(Decision))
_INSERT: dict[type[Any], str] = {
    Call: _insert("calls", Call, "cost_picos", conflict=" ON CONFLICT DO NOTHING"),
    NodeRun: _insert("node_runs", NodeRun),
    # A node that runs again after a resume decides again: the last word counts.
    Decision: _insert(
        "decisions", Decision, conflict=f" ON CONFLICT (thread_id, task) DO UPDATE SET {_LAST_WORD}"
    ),
    Retrieval: _insert("retrievals", Retrieval, conflict=" ON CONFLICT DO NOTHING"),
}
CALL_NAMES = ", ".join(field.name for field in fields(Call))
_FIELD_NAMES = {cls: tuple(f.name for f in fields(cls)) for cls in _INSERT}
_FIELDS = {cls: attrgetter(*names) for cls, names in _FIELD_NAMES.items()}


FORMER_SOURCES = {"joined": "coalesced", "given": "override"}
ANSWER = ("answer", "tool_calls", "reasoning", "reply_state", "media")
_CALL_TYPES: Mapping[str, tuple[type, ...]] = {
    field.name: (
        *((int,) if "int" in field.type else (int, float) if "float" in field.type else (str,)),
        *((type(None),) if "None" in field.type else ()),
    )
    for field in fields(Call)
}
_CALL_REQUIRED = frozenset(field.name for field in fields(Call) if field.default is MISSING)
_LARGEST = 2**63  # what a database keeps


def is_call(row: Mapping[str, Any]) -> bool:
    """Tell whether fields that a file holds are those of a call, each of its type."""
    return row.keys() >= _CALL_REQUIRED and all(
        isinstance(row[name], types) and not (isinstance(row[name], int) and abs(row[name]) >= _LARGEST)
        for name, types in _CALL_TYPES.items()
        if name in row
    )


def call_of(row: Mapping[str, Any]) -> Call:
    """Return a call from its fields, as this or another version of stepgraph wrote them."""
    known = {name: row[name] for name in _FIELD_NAMES[Call] if name in row}
    source = known.get("source", "model")
    return Call(**{**known, "source": FORMER_SOURCES.get(source, source)})


def changed(
    call: Call, change: Callable[[str], str], *, only: Collection[str] = ("messages", *ANSWER)
) -> Call:
    """Return a call with its long texts changed: to those that are kept, or back to what they were."""
    texts = {name: text for name in only if (text := getattr(call, name)) is not None}
    new: dict[str, Any] = {name: now for name, text in texts.items() if (now := change(text)) is not text}
    return replace(call, **new) if new else call


def insert(record: Record, *, of_run: bool = True) -> ThreadStatement:
    """Return the statement that adds a record."""
    statement = _INSERT[type(record)], _values(record)
    if isinstance(record, Call):
        return CallStatement(statement, record, of_run=of_run)
    return ThreadStatement(statement, record.thread_id, of_run=of_run)


def _values(record: Record) -> list[Any]:
    values = [*_FIELDS[type(record)](record)]
    if isinstance(record, Call):
        usd = record.cost_usd
        values.append(None if usd is None else bindable(picos(usd)))
    return values


MAX_INTEGER = 2**63 - 1


def bindable(value: Any) -> Any:
    """Return the value as SQLite can keep it: text without lone surrogates, integers of 64 bits."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not ~MAX_INTEGER <= value <= MAX_INTEGER:
        return MAX_INTEGER if value > 0 else -MAX_INTEGER
    return value
