"""The checkpoints of a thread, oldest first: what changed, what ran next, what that cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple
from langgraph.types import Send

from ...state.cost import Cost
from ...state.run_context import RunContext, checkpoint_at
from ...state.session.session import Session
from .lineage import Lineage, levels
from .plain_checkpoints import START, fields_in, is_field, plain_checkpoints
from .reads import cost_of_calls, read_calls
from .spans import Row

TASKS = "__pregel_tasks"


@dataclass
class CheckpointView:
    """One checkpoint: how the state came to be as it is, and what ran from there.

    `wrote` names the nodes that made it, `changed` the fields they gave a new value. `next` names the
    nodes that run after it; `calls` are the calls these made, `nested` the checkpoints of the graphs
    inside them, by node execution. `at` is Unix time.
    """

    checkpoint_id: str
    parent_id: str | None
    namespace: str
    superstep: int
    source: str
    at: float
    wrote: tuple[str, ...]
    changed: dict[str, Any]
    next: tuple[str, ...]
    calls: list[Row] = field(default_factory=list)
    nested: dict[str, list[CheckpointView]] = field(default_factory=dict)

    @property
    def cost(self) -> Cost:
        """What the calls made after this checkpoint cost, those of nested graphs included."""
        return cost_of_calls(self.all_calls())

    def all_calls(self) -> Iterator[Row]:
        """Yield the calls made after this checkpoint, those of nested graphs included."""
        yield from self.calls
        for views in self.nested.values():
            for view in views:
                yield from view.all_calls()


def read_history(session: Session, thread_id: str) -> list[CheckpointView]:
    """Return the root graph's checkpoints, oldest first; those of nested graphs hang below them.

    It needs no graph: values of types that this process does not know are given as plain data.
    """
    session.journal.flush()
    with plain_checkpoints(session) as checkpointer:
        checkpoints = list(checkpointer.list(checkpoint_at(thread_id, None)))
    saved = {_key(item): item for item in reversed(checkpoints)}
    views = {key: _view(item, saved.get((key[0], _parent(item)))) for key, item in saved.items()}

    lineage = Lineage(session.journal, thread_id)
    roots: list[CheckpointView] = []
    for (ns, _), view in views.items():
        holder = _holder(lineage, ns, views)
        if holder is None:
            roots.append(view)
        else:
            holder.nested.setdefault(ns, []).append(view)
    for call in read_calls(session.journal, thread_id):
        holder = _holder(lineage, call["task"], views)
        if holder is not None:
            holder.calls.append(call)
    return roots


def writers_of(session: Session, thread_id: str, ns: str) -> tuple[str, ...]:
    """Return the nodes whose writes made the last checkpoint of a namespace."""
    with plain_checkpoints(session) as checkpointer:
        item = checkpointer.get_tuple(checkpoint_at(thread_id, ns))
        parent = checkpointer.get_tuple(item.parent_config) if item and item.parent_config else None
    return _wrote(item, parent) if item else ()


def _key(item: CheckpointTuple) -> tuple[str, str]:
    place = RunContext.of(item.config)
    return place.task, place.checkpoint_id


def _parent(item: CheckpointTuple) -> str:
    return RunContext.of(item.parent_config).checkpoint_id


def _holder(
    lineage: Lineage, task: str, views: dict[tuple[str, str], CheckpointView]
) -> CheckpointView | None:
    """Return the innermost checkpoint after which a task, or the graph of a namespace, ran."""
    holder = None
    for level in levels(task):
        point = lineage.before(level)
        holder = views.get((point.ns, point.id), holder) if point else holder
    return holder


def _view(item: CheckpointTuple, parent: CheckpointTuple | None) -> CheckpointView:
    ns, checkpoint_id = _key(item)
    return CheckpointView(
        checkpoint_id=checkpoint_id,
        parent_id=_parent(item) or None,
        namespace=ns,
        superstep=item.metadata.get("step", -1),
        source=item.metadata.get("source", "loop"),
        at=datetime.fromisoformat(item.checkpoint["ts"]).timestamp(),
        wrote=_wrote(item, parent),
        changed=_changed(item, parent),
        next=_next(item),
    )


def _sends(item: CheckpointTuple) -> list[str]:
    waiting = item.checkpoint["channel_values"].get(TASKS) or []
    return [send.node for send in waiting if isinstance(send, Send)]


def _next(item: CheckpointTuple) -> tuple[str, ...]:
    """Return the nodes that the checkpoint's channels call for, those that are sent to first."""
    values = item.checkpoint["channel_values"]
    due = set()
    for channel in values:
        if channel == START:
            due.add(START)
        elif channel.startswith("branch:to:") and _finished(values[channel]):
            due.add(channel.removeprefix("branch:to:"))
        elif channel.startswith("join:") and _finished(values[channel]):
            sources, _, target = channel.removeprefix("join:").rpartition(":")
            if values[channel] in (set(sources.split("+")), [set(sources.split("+")), True]):
                due.add(target)
    return (*_sends(item), *sorted(due))


def _finished(value: Any) -> bool:
    """Tell whether a channel's node may run: a deferred one waits, as [value, False], for all others."""
    return not (isinstance(value, (list, tuple)) and len(value) == 2 and value[1] is False)


def _wrote(item: CheckpointTuple, parent: CheckpointTuple | None) -> tuple[str, ...]:
    versions = item.checkpoint["versions_seen"]
    before = parent.checkpoint["versions_seen"] if parent else {}
    ran = [node for node in versions if not node.startswith("__") and versions[node] != before.get(node)]
    sent = _sends(parent) if parent and item.metadata.get("source") == "loop" else []
    return (*sent, *sorted(set(ran) - set(sent)))


def _changed(item: CheckpointTuple, parent: CheckpointTuple | None) -> dict[str, Any]:
    """Return new values; for a delta field, whose value the checkpoint lacks, what was written to it."""
    now, before = fields_in(item), fields_in(parent) if parent else {}
    changed = {name: value for name, value in now.items() if name not in before or before[name] != value}
    if item.metadata.get("source") == "input" and START in item.checkpoint["channel_values"]:
        changed[START] = item.checkpoint["channel_values"][START]
    for _, channel, value in (parent.pending_writes or []) if parent else []:
        if is_field(channel) and channel not in now:
            changed.setdefault(channel, []).append(value)
    return changed
