"""What a part costs in model calls, as an expression that follows the graph's topology."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

from langgraph.graph.state import CompiledStateGraph

from ..providers.stack.roles import layered
from ..state.run_context import RunContext
from .edges import runs_of

_Function = TypeVar("_Function", bound=Callable[..., Any])
Weight: TypeAlias = Callable[["Asks"], float]


@dataclass(frozen=True)
class Asks:
    """One execution of a step: one call, and at most `tries` of them if its answers do not fit.

    `models` are those that the compiled graphs around the step bind, by role.
    """

    step: Any
    models: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def name(self) -> str:
        return str(self.step.name)

    @property
    def tries(self) -> int:
        return int(self.step.tries)


@dataclass(frozen=True)
class All:
    """All parts run."""

    parts: tuple[Cost, ...] = ()


@dataclass(frozen=True)
class OneOf:
    """One of the parts runs."""

    parts: tuple[Cost, ...]


@dataclass(frozen=True)
class Times:
    """The part runs between `least` and `most` times; `most` may be infinite."""

    part: Cost
    least: float
    most: float


@dataclass(frozen=True)
class Unbounded:
    """Nobody knows how often a part of a hand-written graph runs: it is in a loop, or sent to."""

    name: str
    part: Cost


Cost: TypeAlias = Asks | All | OneOf | Times | Unbounded

FREE = All()


def least(cost: Cost, weight: Weight = lambda _: 1) -> float:
    """Return the smallest possible sum of weights; by default, the number of calls."""
    match cost:
        case Asks():
            return weight(cost)
        case All(parts):
            return sum(least(part, weight) for part in parts)
        case OneOf(parts):
            return min((least(part, weight) for part in parts), default=0)
        case Times(part, low, _):
            return low * least(part, weight)
        case Unbounded():
            return 0


def most(cost: Cost, weight: Weight = lambda _: 1) -> float:
    """Return the largest possible sum of weights, infinite where there is no bound.

    By default that is the number of calls if every answer fits its type at once; weigh each step with
    its `tries` for the number with all re-asks.
    """
    match cost:
        case Asks():
            return weight(cost)
        case All(parts):
            return sum(most(part, weight) for part in parts)
        case OneOf(parts):
            return max((most(part, weight) for part in parts), default=0)
        case Times(part, _, high):
            once = most(part, weight)
            return once * high if once else 0
        case Unbounded(_, part):
            return math.inf if most(part, weight) else 0


def cost_of(part: Any) -> Cost:
    """Return what a part costs: its own word for it, or what the graph's edges say.

    Plain functions count as free, unless they are told to be `asking`: what they ask cannot be seen. See
    `runs_of` for what is seen of graphs that are written by hand.
    """
    own = getattr(part, "cost", None)
    if isinstance(own, (Asks, All, OneOf, Times, Unbounded)):
        return own
    if hasattr(part, "tries") and hasattr(part, "request"):
        return Asks(part)
    if isinstance(part, CompiledStateGraph):
        kept: Cost | None = getattr(part.builder, "cost", None)
        models = RunContext.of(part.config).models
        cost = kept if kept is not None else _by_hand(part)
        return _asked_of(cost, models) if models else cost
    return FREE


def _asked_of(cost: Cost, models: Mapping[str, Any]) -> Cost:
    """Return a cost whose steps ask these models, where no graph inside binds others."""
    match cost:
        case Asks(step, own):
            return Asks(step, layered(models, own))
        case All(parts):
            return All(tuple(_asked_of(part, models) for part in parts))
        case OneOf(parts):
            return OneOf(tuple(_asked_of(part, models) for part in parts))
        case Times(part, _, _):
            return replace(cost, part=_asked_of(part, models))
        case Unbounded(name, part):
            return Unbounded(name, _asked_of(part, models))


def asking(*parts: Any) -> Callable[[_Function], _Function]:
    """Say of a plain function which parts it runs inside, each at most once: an estimate counts them."""

    def decorate(function: _Function) -> _Function:
        function.__dict__["cost"] = Times(costs_of(parts), 0, 1)
        return function

    return decorate


def costs_of(parts: Iterable[Any]) -> All:
    """Return what parts cost that all run."""
    return All(tuple(cost_of(part) for part in parts))


def asks_in(cost: Cost) -> Iterator[Asks]:
    """Yield every step that a cost counts."""
    match cost:
        case Asks():
            yield cost
        case All(parts) | OneOf(parts):
            for part in parts:
                yield from asks_in(part)
        case Times(part, _, _) | Unbounded(_, part):
            yield from asks_in(part)


def _by_hand(graph: CompiledStateGraph[Any, Any, Any, Any]) -> Cost:
    costs = {name: cost_of(spec.runnable) for name, spec in graph.builder.nodes.items()}
    asking = {name: cost for name, cost in costs.items() if most(cost)}
    if not asking:
        return FREE
    runs = runs_of(graph)
    name = graph.get_name()
    return All(
        tuple(
            Unbounded(name, cost) if math.isinf(runs[node]) else Times(cost, 0, runs[node])
            for node, cost in asking.items()
        )
    )
