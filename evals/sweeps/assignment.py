"""Which model answers for which role or step, and what each of them cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from typing import Literal

from ...nodes.costs import asks_in, cost_of
from ...providers.model import CallContext, Reply, Request
from ...providers.settings import DEFAULT_ROLE
from ...providers.stack.roles import Bindable, as_model, find_model, using
from ...providers.stack.stack import ModelStack
from ...runners.lanes import check_in_batches
from ...state.cost import NOTHING, Cost
from ...state.errors import InputError, did_you_mean
from ...state.journal.journal import Journal
from ...state.statuses import Lane, known_lane
from ...tracing.record.reads import unshared_costs
from ..running.lanes import check_suite_lane
from ..suite.model import Suite
from ..suite.topology import Compiled

Assignment = tuple[str, ...]
"""A model for each axis, in the order of the axes."""


@dataclass(frozen=True)
class Axis:
    """A role, or a step, and the models that may answer for it; the first one is the reference."""

    name: str
    models: tuple[str, ...]
    kind: Literal["role", "step"] = "role"

    def __str__(self) -> str:
        return self.name if self.kind == "role" else f"step {self.name}"


def check_axes(axes: Sequence[Axis], graph: Compiled, models: Mapping[str, Bindable]) -> None:
    """Raise InputError for what no step of the graph asks, as far as that can be seen, and for doubles."""
    if not axes or all(len(axis.models) < 2 for axis in axes):
        raise InputError("There is nothing to sweep: give a role several models, as in --model small=a,b.")
    steps = [asks.step for asks in asks_in(cost_of(graph))]
    names = {
        "role": {(step.role or DEFAULT_ROLE).lower() for step in steps if step.own_model is None},
        "step": {step.name for step in steps},
    }
    seen: set[tuple[str, str]] = set()
    for axis in axes:
        known = names[axis.kind]
        if steps and axis.name not in known:
            raise InputError(
                f"No step of {graph.name!r} asks the {axis}. {did_you_mean(axis.name, known)}"
                if axis.kind == "role"
                else f"The graph {graph.name!r} has no {axis}. {did_you_mean(axis.name, known)}"
            )
        if (axis.kind, axis.name) in seen:
            raise InputError(f"The {axis.kind} {axis.name!r} is swept twice. List its models once.")
        seen.add((axis.kind, axis.name))
        known_as: dict[str, str] = {}
        for name in axis.models:
            other = known_as.setdefault(_identity(models.get(name, name), str(axis)), name)
            if other != name or axis.models.count(name) > 1:
                raise InputError(
                    f"The {axis.kind} {axis.name!r} has a model twice: {other} and {name} are the same to "
                    "the record, by name, address and settings."
                )


def check_axes_lane(
    axes: Sequence[Axis], models: Mapping[str, Bindable], suite: Suite, graph: Compiled, lane: Lane
) -> None:
    """Raise SettingsError if a sweep is to run in the batch lane, and one of its models has no batch API."""
    if known_lane(lane) != "batch":
        return
    for axis in axes:
        for name in axis.models:
            role = axis.name if axis.kind == "role" else None
            check_in_batches(as_model(models.get(name, name), str(axis)), role)
    with assigned(axes, tuple(axis.models[0] for axis in axes), models):
        check_suite_lane(suite, graph, lane)


def _identity(model: Bindable, where: str) -> str:
    """Return what tells a model's answers from another's: members, addresses and what changes answers."""
    return repr([member.identity for member in as_model(model, where).members])


class _Stepwise(ModelStack):
    """Passes each call on to the model of its step, or else of its role."""

    def __init__(self, steps: Mapping[str, ModelStack]) -> None:
        first = next(iter(steps.values()))
        members = [member for model in steps.values() for member in model.members]
        super().__init__(first, members, max(model.most_answers for model in steps.values()))
        self.name = "the step's model"
        self._steps = steps
        self._outer = copy_context()

    async def complete(self, request: Request, context: CallContext) -> Reply:
        model = self._steps.get(context.step) or self._outer.copy().run(find_model, context.role, context.run)
        return await model.complete(request, context)


@contextmanager
def assigned(axes: Sequence[Axis], assignment: Assignment, models: Mapping[str, Bindable]) -> Iterator[None]:
    """Bind each axis to its model; `models` says what a name stands for, unless it is a spec itself."""
    bound = dict(zip(axes, assignment, strict=True))
    roles: dict[str, Bindable] = {
        axis.name: models.get(name, name) for axis, name in bound.items() if axis.kind == "role"
    }
    steps = {
        axis.name: as_model(models.get(name, name), str(axis))
        for axis, name in bound.items()
        if axis.kind == "step"
    }
    with using(**roles):
        if not steps:
            yield
            return
        with using(_Stepwise(steps)):
            yield


def own_cost(journal: Journal, threads: Sequence[str], axes: Sequence[Axis] = ()) -> dict[Axis | None, Cost]:
    """Return what threads would have cost without shared answers, for each axis and for the rest (None).

    A call that was answered from the cache costs what the call cost whose answer it took.
    """
    steps = {axis.name: axis for axis in axes if axis.kind == "step"}
    roles = {axis.name: axis for axis in axes if axis.kind == "role"}
    total: dict[Axis | None, Cost] = dict.fromkeys([*axes, None], NOTHING)
    for thread in threads:
        for step, role, cost in unshared_costs(journal, thread):
            axis = steps.get(step) or roles.get((role or DEFAULT_ROLE).lower())
            total[axis] += cost
    return total
