"""Forks: a new thread that begins as another one was at a checkpoint, or before one of its calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.channels import BinaryOperatorAggregate, DeltaChannel
from langgraph.errors import InvalidUpdateError
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Overwrite, StateUpdate
from pydantic import ValidationError

from ...state.errors import InputError, did_you_mean
from ...state.run_context import checkpoint_at
from ...state.schema import fields_of, validate_field
from ...state.session.session import Session, new_thread_id
from ..record.copying import is_taken
from ..record.history import writers_of
from ..record.lineage import Lineage
from ..record.prune import delete_thread
from ..record.reads import read_calls
from ..record.spans import Row
from ..record.threads import find_thread
from .copies import ForkPoint, copies, stand_in
from .cuts import cut_at, cut_before_call, cut_before_tasks
from .tries import tries_at

Graph = CompiledStateGraph[Any, Any, Any, Any]


def fork(
    session: Session,
    thread_id: str,
    at: str | int | None = None,
    *,
    call: str | None = None,
    answer: str | ForkPoint | None = None,
    changes: Mapping[str, Any] | None = None,
    graph: Graph | None = None,
    as_node: str | None = None,
    models: Mapping[str, str] | None = None,
    new_thread: str | None = None,
) -> str:
    """Begin a new thread from a point of another one, which stays as it was; return its id.

    `at` is a checkpoint's id, or the beginning of one, or a superstep's number; without it the thread
    is copied as it stands, unfinished work included. `changes` sets fields of the state there, which
    takes the `graph`; the edges of the nodes that wrote last are followed from there, or `as_node`'s.
    `call` goes back to right before one model call instead: its id, or a step's name for the last one
    of that step. It is asked again, or, with an `answer`, answered so, and so are the tries before it
    whose answers did not fit. Everything else that ran beside
    it is kept. `models` are bound, by role, in addition to those of the old thread.

    What the new thread takes over from the journal counts nothing: its source is `copied`. Nothing
    runs yet: `graph.invoke(None, session.config(new))` goes on. Raises InputError.
    """
    find_thread(session.journal, thread_id)
    if call is not None and (at is not None or changes):
        raise InputError("A fork begins at a checkpoint, where fields can be set, or at a call: give one.")
    if answer is not None and call is None:
        raise InputError("An answer stands in for one call: name it.")
    fitting = _fitting(graph, changes) if changes else {}
    new = new_thread or new_thread_id(thread_id)
    if is_taken(session.journal, new):
        raise InputError(f"The thread {new!r} exists already. Name another one.")
    lineage = Lineage(session.journal, thread_id)
    call_row = find_call(session, thread_id, call) if call is not None else None
    if call_row is not None:
        cut = cut_before_call(lineage, call_row)
    else:
        cut = cut_at(lineage, lineage.find(at), keep_unfinished=not changes)
    tries = [] if call_row is None else [call_row]
    if call_row is not None and answer is not None:
        tries = tries_at(read_calls(session.journal, thread_id), call_row)
    statements = [*copies(session, cut, thread_id, new, models or {}, tries)]
    if answer is not None:
        stand = answer if isinstance(answer, ForkPoint) else ForkPoint(answer)
        statements.append(stand_in(tries, new, stand))
    session.journal.write(statements)
    if fitting and graph is not None:
        _change(session, new, graph, fitting, list(cut.edges)[-1], as_node)
    return new


def fork_before(session: Session, thread_id: str, tasks: Sequence[str], new_thread: str) -> str:
    """Begin a new thread right before node executions that ran side by side; return its id.

    They run again, and what comes after them; what ran before or beside them is kept. Raises InputError.
    """
    if is_taken(session.journal, new_thread):
        raise InputError(f"The thread {new_thread!r} exists already. Name another one.")
    cut = cut_before_tasks(Lineage(session.journal, thread_id), tasks)
    session.journal.write([*copies(session, cut, thread_id, new_thread, {}, [])])
    return new_thread


def find_call(session: Session, thread_id: str, call: str) -> Row:
    """Return the answered call with an id, the beginning of one, or the last one of a step."""
    rows = read_calls(session.journal, thread_id)
    calls = [row for row in rows if row["status"] not in ("failed", "superseded")]
    matches = [row for row in calls if row["id"].startswith(call)]
    if len(matches) != 1:
        matches = [row for row in calls if call in (row["step"], row["path"])][-1:]
    if not matches:
        steps = {row["step"] for row in calls}
        raise InputError(
            f"The thread {thread_id!r} has no answered call {call!r}, by id or step. "
            + did_you_mean(call, steps)
        )
    return matches[0]


def _fitting(graph: Graph | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes as the state's types. Raises InputError for what does not fit."""
    if graph is None:
        raise InputError("To change fields of the state, fork needs the graph: graph=….")
    state = graph.builder.state_schema
    known = fields_of(state)
    fitting: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise InputError(
                f"The state {state.__name__} has no field {name!r} to set. {did_you_mean(name, known)}"
            )
        try:
            fitting[name] = validate_field(state, name, value)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]["msg"]
            raise InputError(f"{name} = {value!r:.100} does not fit {state.__name__}: {problem}.") from None
        if isinstance(graph.channels.get(name), (BinaryOperatorAggregate, DeltaChannel)):
            fitting[name] = Overwrite(fitting[name])
    return fitting


def _change(
    session: Session, new: str, graph: Graph, changes: dict[str, Any], ns: str, as_node: str | None
) -> None:
    # LangGraph would follow the edges of one of the nodes that wrote there; all of them count.
    writers = (as_node,) if as_node else tuple(dict.fromkeys(writers_of(session, new, ns)))
    updates = [StateUpdate({} if number else changes, node) for number, node in enumerate(writers or (None,))]
    own_graph: Graph = graph.copy({"checkpointer": session.checkpointer})
    try:
        own_graph.bulk_update_state(checkpoint_at(new, ns), [updates])
    except (InvalidUpdateError, ValueError) as error:
        session.journal.write(delete_thread(new))
        raise InputError(
            f"The fields cannot be set there: {error}. Fork one checkpoint earlier or later, or say which "
            "node's edges to follow: as_node."
        ) from None
