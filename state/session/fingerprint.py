"""The shape of a graph, and what about it must not change while a thread is under way.

A checkpoint knows nodes and fields by their names. LangGraph goes on with a thread whatever became of
them: a node that is gone never runs, a field that is gone is dropped, a new step in the middle is
passed over, all without a word.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, Union, get_args, get_origin

from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel
from typing_extensions import is_typeddict

from ..errors import GraphChanged
from ..journal.journal import Journal
from ..journal.standing import effects_since
from ..names import GRAPH_KEY, PRIVATE
from ..schema import bare, fields_of, is_state_type, types_in
from .versions import VERSION_KEY, version_of

ANYWHERE = "anywhere"
_STATE_KEY = re.compile(r":[0-9a-f]{20}$")  # ends the key of an effect that is known by the whole state

Shape = dict[str, Any]


class GraphMark(str):
    """A graph's name that leads to the graph: rides in a run's metadata, where only text may be."""

    __slots__ = ("__dict__",)

    def __new__(cls, graph: CompiledStateGraph[Any, Any, Any, Any]) -> GraphMark:
        mark = super().__new__(cls, graph.get_name())
        mark._graph = graph
        return mark

    _graph: CompiledStateGraph[Any, Any, Any, Any]

    @classmethod
    def of(cls, graph: CompiledStateGraph[Any, Any, Any, Any]) -> GraphMark:
        """Return the graph's own mark, if it has one: its shape is worked out once then, not in each run."""
        own = ((graph.config or {}).get("metadata") or {}).get(GRAPH_KEY)
        return own if isinstance(own, GraphMark) and own.graph is graph else cls(graph)

    @property
    def graph(self) -> CompiledStateGraph[Any, Any, Any, Any]:
        """The graph itself."""
        return self._graph

    @cached_property
    def _shape(self) -> Shape:
        return shape_of(self._graph)

    @property
    def fingerprint(self) -> str:
        """The graph's shape, worked out when it is first asked for, and its version, as JSON."""
        return _as_json(self._shape, self._graph)


def fingerprint_of(graph: CompiledStateGraph[Any, Any, Any, Any]) -> str:
    """Return a graph's shape and version as JSON, as the record keeps them for each thread."""
    return _as_json(shape_of(graph), graph)


def _as_json(shape: Shape, graph: CompiledStateGraph[Any, Any, Any, Any]) -> str:
    version = version_of(graph)
    named = {} if version is None else {VERSION_KEY: version}
    return json.dumps({**shape, **named}, sort_keys=True)


def shape_of(graph: CompiledStateGraph[Any, Any, Any, Any]) -> Shape:
    """Return nodes, edges and fields of a graph and all its nested ones, and the types of the fields."""
    annotations: dict[str, Any] = {}
    shape = _graph_shape(graph, annotations, {})
    classes: set[type[Any]] = set().union(*(types_in(annotation) for annotation in annotations.values()))
    named = Counter(cls.__qualname__ for cls in classes)
    described = {
        cls.__qualname__
        if named[cls.__qualname__] == 1
        else f"{cls.__module__}.{cls.__qualname__}": _type_shape(cls)
        for cls in classes
    }
    return {**shape, "types": {name: fields for name, fields in described.items() if fields}}


def _graph_shape(
    graph: CompiledStateGraph[Any, Any, Any, Any], annotations: dict[str, Any], outer: Mapping[str, Any]
) -> Shape:
    builder = graph.builder
    fields: Shape = {}
    for schema in filter(is_state_type, builder.schemas):
        needed = _required(schema)
        for name, annotation in fields_of(schema).items():
            if not name.startswith(PRIVATE):
                annotations.setdefault(name, annotation)
                reducer = getattr(builder.channels.get(name), "operator", None)
                fields[name] = _field(annotation, name in needed, getattr(reducer, "__name__", None))
    nodes: Shape = {}
    for name in builder.nodes:
        inner = next(iter(graph.nodes[name].subgraphs), None)
        nodes[name] = (
            _graph_shape(inner, annotations, fields) if isinstance(inner, CompiledStateGraph) else None
        )
    edges = {f"{source} -> {target}" for source, target in builder.edges}
    edges |= {f"{' + '.join(sorted(sources))} -> {target}" for sources, target in builder.waiting_edges}
    choices = set()
    for source, branches in builder.branches.items():
        for branch in branches.values():
            targets = [ANYWHERE] if branch.ends is None else branch.ends.values()
            choices |= {f"{source} -> {target}" for target in targets}
    own = {name: field for name, field in fields.items() if outer.get(name) != field}
    return {"nodes": nodes, "edges": sorted(edges), "choices": sorted(choices), "fields": own}


def _field(annotation: Any, required: bool, reducer: str | None = None) -> Shape:
    field: Shape = {"type": _options(annotation), "required": required, "reducer": reducer}
    return {name: value for name, value in field.items() if value or name == "type"}


def _type_shape(cls: type[Any]) -> Shape:
    if issubclass(cls, enum.Enum):
        return {member.name: {"type": [_literal(member.value)]} for member in cls}
    if not is_state_type(cls):
        return {}
    needed = _required(cls)
    return {name: _field(annotation, name in needed) for name, annotation in fields_of(cls).items()}


def _literal(value: Any) -> str:
    """Return a constant as text that is the same in every process."""
    return (
        repr(value)
        if isinstance(value, (str, bytes, int, float, bool, type(None)))
        else type(value).__qualname__
    )


def _required(schema: type[Any]) -> set[str]:
    """Return the fields without which a value of the type cannot be made; a TypedDict needs none."""
    if is_typeddict(schema):
        return set()
    if issubclass(schema, BaseModel):
        return {name for name, info in schema.model_fields.items() if info.is_required()}
    nothing = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(schema)
        if field.default is nothing and field.default_factory is nothing
    }


def _options(annotation: Any) -> list[str]:
    """Return what a value of the annotation can be: one text for each member of a union or Literal."""
    annotation = bare(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        return sorted({text for option in get_args(annotation) for text in _options(option)})
    if get_origin(annotation) is Literal:
        return sorted(map(repr, get_args(annotation)))
    if annotation is type(None):
        return ["None"]
    if not get_args(annotation):
        return [getattr(annotation, "__qualname__", repr(annotation))]
    inner = ", ".join(
        "[...]" if isinstance(a, list) else " | ".join(_options(a)) for a in get_args(annotation)
    )
    return [f"{getattr(get_origin(annotation), '__qualname__', get_origin(annotation))}[{inner}]"]


def check_unchanged(journal: Journal, thread_id: str, fingerprint: str) -> None:
    """Raise GraphChanged unless a thread can go on with the graph of that shape."""
    changed = changes_for(journal, thread_id, fingerprint)
    if changed:
        raise GraphChanged(
            f"The graph is not the one that the thread {thread_id!r} ran with: {'; '.join(changed)}. Go on "
            "with the graph as it was, begin a new thread, or give the graph a function that makes the old "
            "state one of the new: @migration, see docs/deploying-versions.md. To go on all the same: "
            "`stepgraph resume --force`, or session.config(thread, allow_changed_graph=True).",
            changes=tuple(changed),
        )


def changes_for(journal: Journal, thread_id: str, fingerprint: str) -> list[str]:
    """Return why a thread cannot go on with a graph of that shape, in words; nothing if it can.

    What comes behind a node that has not ended yet may be another than before: the thread takes the new way.
    """
    rows = journal.query("SELECT status, fingerprint FROM runs WHERE thread_id = ?", (thread_id,))
    if not rows or rows[0]["fingerprint"] in (None, fingerprint):
        return []
    pending = rows[0]["status"] != "done"
    begun, ended = set(), set()
    if pending:
        sql = "SELECT DISTINCT path, status FROM node_runs WHERE thread_id = ?"
        for row in journal.query(sql, (thread_id,)):
            begun.add(row["path"])
            ended |= {row["path"]} if row["status"] == "done" else set()
        calls = journal.query("SELECT DISTINCT path FROM calls WHERE thread_id = ?", (thread_id,))
        begun.update(row["path"] for row in calls)
    passed = _Passed(frozenset(begun), frozenset(ended))
    old, new = json.loads(rows[0]["fingerprint"]), json.loads(fingerprint)
    changed = changes(old, new, pending=pending, passed=passed)
    added = sorted(_added(old, new)) if pending and not changed else []
    if added:
        known_by_state = (e for e in effects_since(journal, thread_id, 0.0) if _STATE_KEY.search(e["key"]))
        changed += [
            f"field {added[0]!r} is new, and the effect in {effect['path']!r}, which began in a node that "
            "has not ended, would be taken for another one, and happen again"
            for effect in known_by_state
        ]
    return changed


def _added(old: Shape, new: Shape) -> set[str]:
    """Return the fields that a graph, or one nested in it, has now and had not."""
    added = new["fields"].keys() - old["fields"].keys()
    for name, inner in old["nodes"].items():
        now = new["nodes"].get(name)
        added |= set() if inner is None or now is None else _added(inner, now)
    return set(added)


def changes(old: Shape, new: Shape, *, pending: bool, passed: _Passed | None = None) -> list[str]:
    """Return what changed so that a thread cannot go on as if nothing had happened, in words.

    A thread with nothing `pending` only carries its fields' values over, so its nodes do not matter.
    Harmless are new fields with a default, types that take more than before, new branches of a
    choice, and whatever is not in a shape: names of graphs, prompts, models, code. Where it is known what a
    thread has `passed`, so are other edges behind what it has not.
    """
    changed = list(_graph_changes(old, new, "", pending=pending, passed=passed))
    for name, fields in old["types"].items():
        if name in new["types"]:
            changed += _field_changes(fields, new["types"][name], f"{name}.", "", pending=pending)
    return list(dict.fromkeys(changed))


@dataclasses.dataclass(frozen=True)
class _Passed:
    """Which nodes a thread has begun, and which of them have ended at least once: by their paths."""

    begun: frozenset[str]
    ended: frozenset[str]

    def leaves(self, edge: str, where: str) -> bool:
        """Tell whether a thread may have left the edge behind: then it would not follow another one.

        An edge that waits for several nodes is part of what tells its node's executions apart.
        """
        sources = _sources(edge)
        return len(sources) > 1 or any(
            any(path.startswith(where) for path in self.begun)
            if name == "__start__"
            else where + name in self.ended
            for name in sources
        )


def _graph_changes(
    old: Shape, new: Shape, where: str, *, pending: bool, passed: _Passed | None
) -> Iterator[str]:
    yield from _field_changes(old["fields"], new["fields"], "", _inside(where), pending=pending)
    if not pending:
        return
    for name, inner in old["nodes"].items():
        if name not in new["nodes"]:
            yield f"node {where + name!r} is gone"
        elif (inner is None) != (new["nodes"][name] is None):
            yield f"node {where + name!r} is {'now' if inner is None else 'no longer'} a graph of its own"
        elif inner is not None:
            now = new["nodes"][name]
            own = {*inner["fields"], *now["fields"]}
            inner = {**inner, "fields": _fields_inside(old, inner, own)}
            now = {**now, "fields": _fields_inside(new, now, own)}
            yield from _graph_changes(inner, now, f"{where}{name}/", pending=True, passed=passed)
    for kind, verb in (("edges", "edge"), ("choices", "the choice")):
        for edge in old[kind]:
            leaves = passed is None or passed.leaves(edge, where)
            if leaves and edge not in new[kind] and _ends(edge) <= _known(new):
                yield f"{verb} {edge}{_inside(where)} is gone"
    for edge in new["edges"]:
        leaves = passed is None or passed.leaves(edge, where)
        if leaves and edge not in old["edges"] and _sources(edge) <= _known(old):
            yield f"edge {edge}{_inside(where)} is new"


def _fields_inside(outer: Shape, inner: Shape, names: set[str]) -> Shape:
    """Return those fields of a nested graph; its shape leaves out what it shares with the outer one."""
    return {name: f for name, f in {**outer["fields"], **inner["fields"]}.items() if name in names}


def _field_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], prefix: str, suffix: str, *, pending: bool
) -> Iterator[str]:
    for name, was in old.items():
        shown = f"field {prefix + name!r}{suffix}"
        if name not in new:
            if pending:
                yield f"{shown} is gone"
            continue
        now = new[name]
        if not set(was["type"]) <= set(now["type"]) and now["type"] != ["Any"]:
            yield f"{shown} changed from {' | '.join(was['type'])} to {' | '.join(now['type'])}"
        if was.get("reducer") != now.get("reducer"):
            yield f"{shown} changed its reducer from {was.get('reducer')} to {now.get('reducer')}"
    for name, now in new.items():
        if name not in old and now.get("required"):
            yield f"field {prefix + name!r}{suffix} is new and has no default"


def _inside(where: str) -> str:
    return f" in {where.rstrip('/')!r}" if where else ""


def _known(shape: Shape) -> set[str]:
    return {*shape["nodes"], "__start__", "__end__", ANYWHERE}


def _sources(edge: str) -> set[str]:
    return set(edge.rsplit(" -> ", 1)[0].split(" + "))


def _ends(edge: str) -> set[str]:
    return {*_sources(edge), edge.rsplit(" -> ", 1)[1]}
