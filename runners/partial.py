"""What a run that did not end has reached: its state so far, and the answers that no field holds yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.runnables import RunnableSequence
from langgraph.channels import LastValue, Topic
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel import Pregel
from langgraph.types import PregelTask, StateSnapshot

from ..graphs.engine.workflow import Workflow
from ..graphs.engine.writes import ABSENT, Several, Write, folded, reduced, same
from ..state.names import PRIVATE, WRITTEN, without_private
from ..state.run_context import RunContext

Graph = CompiledStateGraph[Any, Any, Any, Any]
PUSH: Final = "__pregel_push"  # begins the path of a task that a Send made


@dataclass(frozen=True)
class Reached:
    """How far a graph is.

    `values` is its state with what its parts under way have reached. `unmerged` has the parts whose answers
    are in no field of it: their paths, and what the tasks begin with that asked for them.
    """

    values: dict[str, Any]
    unmerged: dict[str, str] = field(default_factory=dict)
    written: tuple[Write, ...] = ()  # to fields with a reducer, where the graph keeps that


def reached(graph: Graph, snapshot: StateSnapshot, outer: str = "") -> Reached:
    """Return how far a graph is, with what the graphs nested in it have reached, at any depth.

    The state of a snapshot has what finished tasks wrote to fields; what they wrote to a pattern's private
    channels is read from the tasks, and the pattern itself says what it makes of that.
    """
    values = dict(snapshot.values)
    written: list[Write] = list(values.pop(WRITTEN, ()))
    unmerged: dict[str, str] = {}
    workflow = graph.builder if isinstance(graph.builder, Workflow) else None
    subgraphs = dict(graph.get_subgraphs()) if any(task.state for task in snapshot.tasks) else {}
    taken = {name for task in snapshot.tasks if isinstance(task.result, Mapping) for name in task.result}
    held = set() if workflow is None else workflow.held
    if not any(task.result is None for task in snapshot.tasks if task.name not in held):
        held = set()  # what holds it back has ended
    for task in snapshot.tasks:
        if task.result is not None or task.name in held:
            continue
        path = f"{outer}{label_of(task)}"
        inner = subgraphs.get(task.name)
        if (
            isinstance(task.state, StateSnapshot)
            and isinstance(inner, CompiledStateGraph)
            and _is_inlined(graph, task)
        ):
            below = reached(inner, task.state, f"{path}/")
            written += below.written
            if _merge(graph, values, below, snapshot.values, taken):
                unmerged |= below.unmerged
                continue
        unmerged[path] = _namespace(snapshot, task.name, task.id)
    if workflow is not None and workflow.so_far is not None:
        so_far = workflow.so_far({**values, **_gathered(graph, snapshot)})
        _put(graph, values, so_far.update)
        for node in so_far.hidden:  # in all supersteps so far
            begin = _namespace(snapshot, node)
            unmerged = {path: task for path, task in unmerged.items() if not task.startswith(begin)}
            unmerged[f"{outer}{node}"] = begin
    return Reached(without_private(values), unmerged, tuple(written))


def missing(snapshot: StateSnapshot, outer: str = "") -> Iterator[str]:
    """Yield the paths of the nodes that were still to run."""
    for task in snapshot.tasks:
        if task.result is not None:
            continue
        path = f"{outer}{label_of(task)}"
        if isinstance(task.state, StateSnapshot) and task.state.tasks:
            yield from missing(task.state, f"{path}/")
        else:
            yield path


def label_of(task: PregelTask) -> str:
    """Return a task's name, with its number where a list was sent to one node."""
    return f"{task.name}[{task.path[1]}]" if task.path[:1] == (PUSH,) else task.name


def _namespace(snapshot: StateSnapshot, node: str, task_id: str = "") -> str:
    """Return what the tasks in a node begin with: all of its executions in this graph's, or the one."""
    outer = RunContext.of(snapshot.config).task
    return f"{outer}|{node}:{task_id}".lstrip("|")


def _is_inlined(graph: Graph, task: PregelTask) -> bool:
    """Tell whether the graph in a node works on the state of the graph around it.

    What was sent to a node is a state of its own, and a function calls a graph with what it likes.
    """
    if task.path[:1] == (PUSH,):
        return False
    if isinstance(graph.builder, Workflow) and task.name in graph.builder.inlined:
        return True
    bound = graph.nodes[task.name].bound
    return isinstance(bound.first if isinstance(bound, RunnableSequence) else bound, Pregel)


def _merge(
    graph: Graph, values: dict[str, Any], below: Reached, before: Mapping[str, Any], taken: set[str]
) -> bool:
    """Put what a nested graph changed into the values; False if not all of it has a place there."""
    complete = True
    changed = {n for n, v in below.values.items() if not n.startswith(PRIVATE) and not same(v, before.get(n))}
    for name in sorted(changed | {name for name, _ in below.written}):
        channel, value = graph.channels.get(name), below.values.get(name)
        updates = folded([update for field, update in below.written if field == name], value)
        if channel is None:
            complete = False
        elif updates and not isinstance(channel, LastValue):
            complete = _put(graph, values, {name: Several(tuple(updates))}) and complete
        elif name not in taken:
            values[name] = value
        elif not isinstance(channel, LastValue):
            # Another branch wrote it too: what the two have in common was there before both.
            complete = _put(graph, values, {name: _beyond(values.get(name), value)}) and complete
    taken |= changed & graph.channels.keys()
    return complete


def _put(graph: Graph, values: dict[str, Any], update: Mapping[str, Any]) -> bool:
    """Put an update into the values, as their fields take it; False if one of them does not."""
    complete = True
    for name, value in update.items():
        channel = graph.channels[name]
        joined = (
            value if isinstance(channel, LastValue) else reduced(channel, values.get(name, ABSENT), value)
        )
        if joined is ABSENT:
            complete = False
        else:
            values[name] = joined
    return complete


def _beyond(start: Any, value: Any) -> Any:
    """Return what a value has that another does not begin with, as a reducer would take it."""
    if isinstance(start, Sequence) and isinstance(value, Sequence):
        common = 0
        while common < min(len(start), len(value)) and same(start[common], value[common]):
            common += 1
        return value[common:]
    if isinstance(start, Mapping) and isinstance(value, Mapping):
        return {key: each for key, each in value.items() if key not in start or not same(each, start[key])}
    return None


def _gathered(graph: Graph, snapshot: StateSnapshot) -> dict[str, list[Any]]:
    """Return the private lists with what the tasks finished so far wrote, which a snapshot leaves out."""
    lists = {
        name: list(snapshot.values.get(name) or ())
        for name, channel in graph.channels.items()
        if name.startswith(PRIVATE) and isinstance(channel, Topic)
    }
    known = {id(each) for values in lists.values() for each in values}
    for task in snapshot.tasks:
        for name, value in task.result.items() if isinstance(task.result, Mapping) else ():
            if name in lists and id(value) not in known:
                lists[name].append(value)
    return lists
