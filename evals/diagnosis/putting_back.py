"""The old node put back: A's node in B's graph, from the states that B's own trials recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph.state import CompiledStateGraph

from ...providers.stack.roles import Bindable, bindings_here
from ...runners.bindings import using_named
from ...state.event_loops import in_thread
from ..files.results import Trial
from ..suite.topology import Compiled
from .alone import compared
from .findings import Announce, Graft, GraftPlan
from .graft import Grafting
from .places import Place, places_of
from .screen import Key

LOOKS = (0.2, 0.3, 0.5)
HOPELESS = 0.3

Scope = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class OldVersion:
    """The version A beside B in one process: its graph, and the models that it is bound to."""

    graph: Compiled
    models: Mapping[str, Bindable]

    def scope(self) -> Scope:
        """Return what binds its models as they are bound here, also where those of B are bound."""
        outside = bindings_here()

        @contextmanager
        def bound() -> Iterator[None]:
            with outside(), using_named(self.models):
                yield

        return bound


def with_old_node(graph: Compiled, old: Compiled, path: str, scope: Scope) -> Compiled | None:
    """Return B's graph with A's node in the place of its own; edges, fields and other nodes stay B's.

    The node runs within `scope`. None where either graph has no node of that path that can be taken out.
    """
    name, _, rest = path.partition("/")
    mine, theirs = graph.nodes.get(name), old.nodes.get(name)
    if mine is None or theirs is None:
        return None
    update: dict[str, Any]
    if rest:
        if not isinstance(mine.bound, CompiledStateGraph) or not isinstance(theirs.bound, CompiledStateGraph):
            return None  # a function calls the graph inside, and only it knows which
        inner = with_old_node(mine.bound, theirs.bound, rest, scope)
        if inner is None:
            return None
        update = {"bound": inner, "subgraphs": [inner]}
    else:
        update = {
            "bound": _Within(theirs.bound, scope),
            "mapper": theirs.mapper,
            "channels": _known(theirs.channels, graph),
            "subgraphs": theirs.subgraphs,
        }
    return graph.copy({"nodes": {**graph.nodes, name: mine.copy(update)}})


def _known(channels: str | list[str], graph: Compiled) -> str | list[str]:
    if isinstance(channels, str):
        return channels
    return [channel for channel in channels if channel in graph.channels]


class _Within(Runnable[Any, Any]):
    """Runs what is in a node within a scope."""

    def __init__(self, bound: Runnable[Any, Any], scope: Scope) -> None:
        self.bound, self._scope = bound, scope

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with self._scope():
            return self.bound.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        with self._scope():
            return await self.bound.ainvoke(input, config, **kwargs)


async def put_back(
    anew: Grafting,
    with_old: Grafting,
    node: str,
    metric: str,
    trials: Sequence[Trial],
    *,
    level: float,
    announce: Announce,
) -> Graft | None:
    """Let B go on from before a node in its own trials, once as it is and once with A's node in its place.

    Both run anew: the recorded scores of B made the node suspect, so they may be low by chance. None if
    nothing could be run.
    """
    points: list[tuple[Trial, Place]] = []
    for trial in trials:
        stages = await in_thread(places_of, anew.session, trial.thread)
        points += [(trial, stage.before) for stage in stages if stage.node == node]
    if not points:
        return None
    announce(GraftPlan("back", (node,), 2 * len(LOOKS) * len(points)))
    ours: dict[Key, list[float]] = {}
    theirs: dict[Key, list[float]] = {}
    graft = None
    for number, share in enumerate(LOOKS, 1):
        for grafting, scores in ((with_old, theirs), (anew, ours)):
            by_key = await grafting.from_places(points, metric, number)
            if grafting.ended:
                return graft
            for (key, _), value in by_key.items():
                scores.setdefault(key, []).append(value)
        graft = compared(
            node, metric, "back", [(theirs, ours)], level=level, tests=1, share=share, rounds=number
        )
        if graft is None or graft.worse or graft.p > HOPELESS:
            return graft
    return graft
