"""One checkpoint of an old version as one of the new: its fields migrated, its nodes renamed."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

from langgraph.channels import LastValue
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Send
from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from ..codec.encode import BUILTIN_CLASSES
from ..names import PRIVATE
from ..schema import fields_of, is_state_type, types_in, validate_field, values_of
from .internals import MISSING, NOTHING_WRITTEN, SENT
from .parts import Part
from .versions import Migration

Graph = CompiledStateGraph[Any, Any, Any, Any]
BRANCH, JOIN = "branch:to:", "join:"
_INTERNAL = ("__", BRANCH, JOIN, PRIVATE)


class Misplaced(Exception):
    """A thread has no place in another version: why, and in which field and migration that shows."""

    def __init__(self, message: str, *, field: str = "", function: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.function = function


@dataclass(frozen=True)
class Converter:
    """Converts the checkpoints of one graph of a thread: the thread's own, or one nested in it.

    `migrations` are none for a nested graph over another state. `renamed` gives a node's name in the new
    version. What does not fit the new types is refused if it is `checked`.
    """

    graph: Graph
    where: str
    migrations: Sequence[Migration]
    renamed: Callable[[str], str]
    checked: bool

    def checkpoint(self, old: Mapping[str, Any]) -> dict[str, Any]:
        """Return the checkpoint as the new version has it. Raises Misplaced."""
        fields, values = self._split(old["channel_values"])
        versions = {self._channel(name): number for name, number in old["channel_versions"].items()}
        new = {**values, **self._fields(fields)}
        latest = max(versions.values(), default=None)
        if latest is not None:
            versions |= {name: latest for name in new if name not in versions}
        gone = fields.keys() - new.keys()
        seen = {
            self.renamed(node): {
                self._channel(name): number for name, number in numbers.items() if name not in gone
            }
            for node, numbers in old["versions_seen"].items()
        }
        updated = old.get("updated_channels")
        return {
            **old,
            "channel_values": new,
            "channel_versions": {name: number for name, number in versions.items() if name not in gone},
            "versions_seen": seen,
            "updated_channels": updated and [self._channel(name) for name in updated if name not in gone],
        }

    def writes(self, old: Mapping[str, Any], writes: Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Return what a task has written already behind a checkpoint, as the new version has it."""
        fields, _ = self._split(old["channel_values"])
        own = {name: part for name, part in writes if is_field(name)}
        new = [(self._channel(name), self._kept(name, part)) for name, part in writes if not is_field(name)]
        if own and self.checked:
            new = [*self._written(fields, own), *new]
        elif own:
            new = [*((name, self._typed(name, part)) for name, part in own.items()), *new]
        return new or [(NOTHING_WRITTEN, None)]

    def _split(self, values: Mapping[str, Part]) -> tuple[dict[str, Part], dict[str, Any]]:
        """Return a checkpoint's fields as they are, and its other channels as the new version has them."""
        fields = {name: part for name, part in values.items() if is_field(name)}
        others: dict[str, Any] = {}
        for name, part in values.items():
            if name in fields:
                continue
            now = self._channel(name)
            value = self._kept(name, part)
            if now not in self.graph.channels:
                self._check_gone(name, now, value)
            else:
                others[now] = value
        return fields, others

    def _check_gone(self, was: str, now: str, value: Any) -> None:
        if was.startswith((BRANCH, JOIN)):
            node = was.rpartition(":")[2]
            self._fail(
                f"The thread goes on with node {self.where + node!r}, which the new version does not have. "
                f"Say which node takes its place: migration(…, nodes={{{self.where + node!r}: …}})"
            )
        if value not in (None, [], {}, 0, ""):
            self._fail(
                f"The thread is inside a pattern whose bookkeeping the new version does not have ({was}). It "
                "must finish on the old version"
            )

    def _channel(self, name: str) -> str:
        if name.startswith(BRANCH):
            return BRANCH + self.renamed(name.removeprefix(BRANCH))
        if name.startswith(JOIN):
            sources, _, target = name.removeprefix(JOIN).rpartition(":")
            return f"{JOIN}{'+'.join(map(self.renamed, sources.split('+')))}:{self.renamed(target)}"
        return name

    def _kept(self, name: str, part: Part) -> Any:
        """Return what a channel of LangGraph's or a pattern's holds, with the new names of nodes in it."""
        value = self._typed(name, part)
        if name == SENT:
            if isinstance(value, Send):
                return Send(self.renamed(value.node), value.arg)
            return [Send(self.renamed(sent.node), sent.arg) for sent in value or ()]
        if name.startswith(JOIN) and isinstance(value, (set, tuple)):
            if isinstance(value, tuple):
                return (set(map(self.renamed, value[0])), *value[1:])
            return set(map(self.renamed, value))
        return value

    def _typed(self, name: str, part: Part) -> Any:
        try:
            return part.typed()
        except ValueError as problem:
            self._fail(f"What the thread keeps in {name!r} cannot be read: {problem}", field=name)

    def _fields(self, parts: Mapping[str, Part]) -> dict[str, Any]:
        """Return the fields as the new version has them."""
        if not self.checked:
            return {name: self._typed(name, p) for name, p in parts.items() if name in self.graph.channels}
        plain = {name: part.plain() for name, part in parts.items()}
        new = self._migrated(plain)
        return {name: self._fitting(name, value, parts.get(name)) for name, value in new.items()}

    def _migrated(self, plain: Mapping[str, Any]) -> dict[str, Any]:
        """Return plain fields as the migrations make them."""
        state: Any = dict(plain)
        for step in self.migrations:
            try:
                result = step(dict(state))
                state = dict(result) if isinstance(result, Mapping) else values_of(result)
            except Exception as error:  # whatever the user's own function raises
                self._fail(f"Migration {step.name!r} raised {type(error).__name__}: {error}", step=step)
        for name in state:
            if name not in self.graph.channels or not is_field(name):
                message = (
                    f"Migration {self.migrations[-1].name!r} returns {name!r}, which {self._state.__name__} "
                    "does not have. Leave it out, or return it under its new name"
                    if self.migrations
                    else f"The field {name!r} is gone from {self._state.__name__}, that of {self.where!r}"
                )
                self._fail(message, field=str(name))
        return dict(state)

    def _fitting(self, name: str, value: Any, part: Part | None) -> Any:
        """Return a field's value as its type; one that no migration touched stays, if it still fits."""
        schema = next((s for s in self._schemas if name in fields_of(s)), None)
        typed: Any = MISSING
        problem = ""
        if part is not None and _same(value, part.plain()):
            try:
                typed = part.typed()
            except ValueError as error:
                problem = str(error)
        if schema is None:
            return value if typed is MISSING else typed
        if typed is not MISSING and not _says_all(fields_of(schema)[name]):
            value, typed = typed, MISSING
        try:
            fitting = validate_field(schema, name, value)
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            self._fail(
                f"The field {name!r} = {value!r:.100} does not fit {schema.__name__}: "
                f"{'; '.join(filter(None, (problem, message)))}. Let the migration return what does",
                field=name,
            )
        except PydanticUserError:  # a type that pydantic knows nothing of
            return value if typed is MISSING else typed
        return typed if _same(fitting, typed) else value if _same(fitting, value) else fitting

    def _written(self, fields: Mapping[str, Part], own: Mapping[str, Part]) -> list[tuple[str, Any]]:
        """Return what a task has written: how the new state differs where it is written."""
        plain = {name: part.plain() for name, part in fields.items()}
        wrote = {name: part.plain() for name, part in own.items()}
        before, after = self._migrated(plain), self._migrated({**plain, **wrote})
        new: list[tuple[str, Any]] = []
        for name, part in own.items():
            if name in after and _same(after[name], part.plain()):
                new.append((name, self._fitting_write(name, part)))
        done = {name for name, _ in new}
        for name, value in after.items():
            if name in done or (name in before and _same(before[name], value)):
                continue
            if not isinstance(self.graph.channels[name], LastValue):
                self._fail(
                    f"A branch that has ended wrote {', '.join(own)}, and what becomes of that in {name!r}, "
                    "which has a reducer, cannot be told. The thread must finish on the old version",
                    field=name,
                )
            new.append((name, self._fitting(name, value, None)))
        return new

    def _fitting_write(self, name: str, part: Part) -> Any:
        if not isinstance(self.graph.channels[name], LastValue):
            return self._typed(name, part)
        return self._fitting(name, part.plain(), part)

    @property
    def _schemas(self) -> list[type[Any]]:
        return [schema for schema in self.graph.builder.schemas if is_state_type(schema)]

    @property
    def _state(self) -> type[Any]:
        state: type[Any] = getattr(self.graph.builder, "state", None) or self.graph.builder.state_schema
        return state

    def _fail(self, message: str, *, field: str = "", step: Migration | None = None) -> NoReturn:
        named = step or (self.migrations[-1] if self.migrations else None)
        raise Misplaced(message, field=field, function=named.name if named else "")


def is_field(channel: str) -> bool:
    """Tell whether a channel is a field of the state, not bookkeeping of LangGraph or a pattern."""
    return not channel.startswith(_INTERNAL)


def _says_all(annotation: Any) -> bool:
    """Tell whether an annotation says of all that a value can hold how it is made of plain data."""
    classes = types_in(annotation)
    inside = [a for cls in classes if is_state_type(cls) for a in fields_of(cls).values()]
    return not any("Any" in str(a) for a in (annotation, *inside)) and all(
        is_state_type(cls) or issubclass(cls, Enum) or cls in BUILTIN_CLASSES
        for cls in classes - {types.UnionType}
    )


def _same(one: Any, other: Any) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # an array, or whatever else does not say
        return one is other
