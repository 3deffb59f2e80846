"""What the nodes of a nested graph wrote to fields with a reducer, in order, for the graph around it.

A nested graph begins with its parent's values and ends with all of them. A parent with other parts
beside it needs what its nodes wrote, not what became of it: no reducer can be turned around. So a channel
keeps that, in the nested graph's own checkpoints, as long as these last.
"""

from __future__ import annotations

import copy
import functools
import operator
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from langchain_core.messages import BaseMessage
from langgraph.channels import BinaryOperatorAggregate, DeltaChannel, LastValue, Topic
from langgraph.graph import START, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Overwrite

from ...state.names import WRITTEN
from ...state.serde import allow
from ...state.session.internals import MISSING, through, with_message_ids

ABSENT = object()

Write = tuple[str, Any]


@dataclass(frozen=True)
class Several:
    """More than one update of one field, in their order."""

    updates: tuple[Any, ...]


allow(Several)


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal; those that cannot be compared are not."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:  # a type whose == does not give a bool, such as an array
        return False


class Written(BinaryOperatorAggregate[list[Write]]):
    """The channel that keeps what nodes wrote. Whoever runs the graph finds it in `collected`."""

    def __init__(self, typ: Any = list, operator: Callable[..., Any] = operator.add) -> None:
        super().__init__(typ, operator)
        self.key = WRITTEN

    def from_checkpoint(self, checkpoint: Any) -> Self:
        channel = super().from_checkpoint(checkpoint)
        channels = _collected.get()
        if channels is not None:
            channels.append(channel)
        return channel


_collected: ContextVar[list[Written] | None] = ContextVar("stepgraph_written", default=None)


@contextmanager
def collected() -> Iterator[list[Written]]:
    """Give the list that has the channel of the recorded graph that runs inside, once it has begun."""
    channels: list[Written] = []
    token = _collected.set(channels)
    try:
        yield channels
    finally:
        _collected.reset(token)


class Nested:
    """A compiled graph as a part of another one, and how the two fit together.

    `graph` is what to run: it keeps what its nodes write to the fields whose reducer is the same in both.
    """

    def __init__(self, inner: Any, channels: Mapping[str, Any]) -> None:
        self._channels = channels
        self._reduced = {
            n for n, c in channels.items() if not isinstance(c, LastValue) and n in inner.channels
        }
        self._fields = frozenset(
            name for name in self._reduced if _is_kept(channels[name], inner.channels[name])
        )
        self.fits = not self._reduced  # no field has a reducer: its end is its update
        self.graph: Any = _recording(inner, self._fields) if self._fields else inner

    def in_turn(
        self, before: Mapping[str, Any], after: Mapping[str, Any], channels: list[Written]
    ) -> dict[str, Any]:
        """Return what the outer graph takes where nothing runs beside: the values as they are in the end."""
        written = self._written(before, after, channels)
        update: dict[str, Any] = {}
        for name, value in after.items():
            if name not in self._reduced:
                update[name] = value
            elif name in written or (name not in self._fields and not same(value, before.get(name, ABSENT))):
                update[name] = _replacing(self._channels[name], value, written.get(name))
        writes = [(name, each) for name, updates in written.items() for each in updates]
        return {**update, WRITTEN: writes} if writes else update

    def beside(
        self, before: Mapping[str, Any], after: Mapping[str, Any], channels: list[Written]
    ) -> dict[str, Any]:
        """Return what the outer graph takes where other parts run beside: what was changed, and no more."""
        written = self._written(before, after, channels)
        update: dict[str, Any] = {}
        for name, value in after.items():
            if name in written:
                update[name] = _one(folded(written[name], value))
            elif name not in self._fields and not same(value, before.get(name, ABSENT)):
                update[name] = _replacing(self._channels.get(name), value, None)
        return update

    def _written(
        self, before: Mapping[str, Any], after: Mapping[str, Any], channels: list[Written]
    ) -> dict[str, list[Any]]:
        written: dict[str, list[Any]] = {}
        for name, update in channels[0].get() if channels else ():
            written.setdefault(name, []).append(update)
        for name in self._fields - written.keys():
            if name in after and not same(after[name], before.get(name, ABSENT)):
                written[name] = [Overwrite(after[name])]  # by nodes of an earlier version, which kept nothing
        return written


def _is_kept(outer: Any, inner: Any) -> bool:
    """Tell whether what is written to the one channel may be written to the other."""
    if isinstance(outer, Topic) and not outer.accumulate:
        return False
    return isinstance(outer, (BinaryOperatorAggregate, DeltaChannel, Topic)) and bool(outer == inner)


def _replacing(channel: Any, value: Any, updates: Sequence[Any] | None) -> Any:
    """Return the update after which a channel has the value, whatever it had."""
    if isinstance(channel, DeltaChannel):
        return Overwrite(value)
    if isinstance(channel, BinaryOperatorAggregate) and channel.is_available():
        return Overwrite(value)
    # LangGraph would keep the Overwrite itself as the first value of one that has none.
    return value if updates is None else _one(folded(updates, value))


def _recording(
    inner: CompiledStateGraph[Any, Any, Any, Any], fields: frozenset[str]
) -> CompiledStateGraph[Any, Any, Any, Any]:
    nodes = {
        name: through(node, partial(_kept, inner.channels, fields)) for name, node in inner.nodes.items()
    }
    own = frozenset() if inner.checkpointer is True else fields  # it goes on from its own values
    nodes[START] = through(inner.nodes[START], partial(_begun, inner.channels, own))
    shown = [*inner.stream_channels_list, WRITTEN]
    return inner.copy(
        {"nodes": nodes, "channels": {**inner.channels, WRITTEN: Written()}, "stream_channels": shown}
    )


def _begun(
    channels: Mapping[str, Any], fields: frozenset[str], output: Any, writes: Iterable[Write]
) -> list[Write]:
    """Return what a nested graph begins with: its parent's values, as they are."""
    if output is None:
        return list(writes)  # LangGraph draws the graph, and wants to hash what is written
    begun = [
        (name, _replacing(channels[name], copy.copy(value), [value]) if name in fields else value)
        for name, value in writes
    ]
    return [*begun, (WRITTEN, Overwrite([]))]


def _kept(
    channels: Mapping[str, Any], fields: frozenset[str], output: Any, writes: Iterable[Write]
) -> list[Write]:
    """Return a node's writes with those that are kept: its own, or those of the graph nested in it."""
    record = [(name, update) for name, update in _nested_writes(output) if name in fields]
    nested = {name for name, _ in record}
    result: list[Write] = []
    for name, update in writes:
        if name in fields and name not in nested:
            update = _with_ids(channels[name], update)
            # A reducer may change its first argument in place, and this may become it.
            record.append((name, copy.copy(update) if isinstance(update, (list, dict, set)) else update))
        result.append((name, update))
    return [*result, (WRITTEN, record)] if record else result


def _nested_writes(output: Any) -> Iterator[Write]:
    for part in output if isinstance(output, list) else [output]:
        update = part.update if isinstance(part, Command) else part
        if isinstance(update, Mapping):
            yield from update.get(WRITTEN, ())


def _with_ids(channel: Any, update: Any) -> Any:
    """Return an update whose messages have ids: they are the same ones wherever they are added."""
    reducer = getattr(channel, "operator", None)
    if (reducer.func if isinstance(reducer, functools.partial) else reducer) is add_messages:
        return with_message_ids(update)
    for message in update if isinstance(update, list) else [update]:
        if isinstance(message, BaseMessage) and message.id is None:
            message.id = str(uuid.uuid4())
    return update


def folded(updates: Sequence[Any], value: Any) -> Sequence[Any]:
    """Return updates that make the value; what one of them overwrote, the ones after it are part of."""
    return [Overwrite(value)] if any(map(_overwrites, updates)) else updates


def _overwrites(update: Any) -> bool:
    if isinstance(update, Mapping):
        return update.keys() == {"__overwrite__"} or update.get("type") == "__overwrite__"
    return isinstance(update, Overwrite)


def _one(updates: Sequence[Any]) -> Any:
    return updates[0] if len(updates) == 1 else Several(tuple(updates))


def several(update: Any) -> Sequence[Any]:
    """Return the updates of one field as what they are: one, or several."""
    return update.updates if isinstance(update, Several) else (update,)


def spread(update: Mapping[str, Any]) -> Any:
    """Return an update in terms of LangGraph: where a field is written several times, a list of commands."""
    rounds = max((len(value.updates) for value in update.values() if isinstance(value, Several)), default=1)
    if rounds == 1:
        return dict(update)
    columns = {name: several(value) for name, value in update.items()}
    return [
        Command(update={name: values[n] for name, values in columns.items() if n < len(values)})
        for n in range(rounds)
    ]


def reduced(channel: Any, before: Any, update: Any) -> Any:
    """Return what a field's channel makes of a value and an update, ABSENT if it takes none such."""
    try:
        trial = channel.from_checkpoint(MISSING if before is ABSENT else before)
        trial.update(several(update))
        return trial.get()
    except Exception:  # not of a type that the reducer takes
        return ABSENT
