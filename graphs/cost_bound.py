"""What a run can cost at the very most, from the graph's topology, and what it cost before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from langgraph.graph.state import CompiledStateGraph

from ..nodes.costs import Asks, Cost, asks_in, cost_of, least, most
from ..providers.settings import DEFAULT_ROLE
from ..providers.stack.pricing import batch_tariff_for, tariff_for
from ..providers.stack.prompt_bound import bound_of
from ..providers.stack.roles import find_model
from ..providers.stack.stack import Member, ModelStack
from ..state.errors import UnboundRole
from ..state.journal.journal import Journal
from ..state.money import rounded
from ..state.names import MODELS_KEY, SESSION_KEY
from ..state.run_context import RunContext, fields_in
from ..state.session.fingerprint import GraphMark
from ..state.session.session import Session
from ..state.statuses import Lane, known_lane
from ..tracing.record.reads import finished_runs, longest_prompt
from .engine.workflow import Workflow

MANY = 10**9  # tokens


@dataclass(frozen=True)
class StepEstimate:
    """One step: how often it can be asked, and the most that one call of it costs.

    Where a chain of models answers, `answers` of them can be paid for one request: all but the last one's
    may not do.
    `prompt_tokens` is a bound where `prompt_from` is "input", and the largest seen where it is "past".
    None stands for what nobody knows.
    """

    step: str
    model: str | None
    least: float
    most: float
    tries: int
    answers: int = 1
    prompt_tokens: int | None = None
    prompt_from: str | None = None
    answer_tokens: int | None = None
    usd_per_call: float | None = None

    @property
    def tokens_per_call(self) -> int | None:
        if self.prompt_tokens is None or self.answer_tokens is None:
            return None
        return self.prompt_tokens + self.answer_tokens


@dataclass(frozen=True)
class Past:
    """What finished runs of a graph of the same shape asked and cost, on average and at most."""

    runs: int
    calls: float
    tokens: float
    usd: float | None
    most_calls: int
    most_usd: float | None


@dataclass(frozen=True)
class Estimate:
    """What one run can cost. Calls, tokens and dollars may be infinite, or None where nobody knows.

    `most_calls` counts every answer as fitting at once; `worst_calls` has each step ask as often as its
    `tries` allow, and each model of a chain answer. Tokens and dollars are those of `worst_calls`. Attempts
    that fail on the wire, and what plain functions ask, are not in it.
    """

    graph: str
    steps: tuple[StepEstimate, ...]
    least_calls: float
    most_calls: float
    worst_calls: float
    tokens: float | None
    usd: float | None
    past: Past | None = None
    unknown: tuple[str, ...] = field(default=())


def estimate(
    graph: Workflow[Any] | CompiledStateGraph[Any, Any, Any, Any],
    state: Any = None,
    *,
    session: Session | None = None,
    lane: Lane = "live",
) -> Estimate:
    """Say what a run of the graph can cost before it runs, and what such runs cost before.

    Prompts are as long as the longest that the session's file has seen of a step, or else as `state`,
    the one that a run would begin with, makes them; prompts that grow during the run are longer. In the
    `lane` "batch" each call costs what it does in a batch.
    """
    known_lane(lane)
    compiled = graph.compile() if isinstance(graph, Workflow) else graph
    cost = cost_of(compiled)
    journal = session.journal if session else None
    fields = {**fields_in(compiled.config or {}), SESSION_KEY: session}
    runs = {asks: RunContext({**fields, MODELS_KEY: asks.models}) for asks in asks_in(cost)}
    steps = {asks: _step(asks, cost, state, journal, run, lane) for asks, run in runs.items()}
    times = {asks: asks.tries * step.answers for asks, step in steps.items()}
    unknown = tuple(_unknown(steps))
    tokens = {asks: step.tokens_per_call for asks, step in steps.items()}
    dollars = {asks: step.usd_per_call for asks, step in steps.items()}
    return Estimate(
        graph=compiled.get_name(),
        steps=tuple(steps.values()),
        least_calls=least(cost),
        most_calls=most(cost),
        worst_calls=most(cost, lambda asks: times[asks]),
        tokens=_sum(cost, times, tokens),
        usd=_sum(cost, times, dollars),
        past=_past(compiled, journal) if journal else None,
        unknown=unknown,
    )


def _sum(cost: Cost, times: dict[Asks, int], per_call: dict[Asks, Any]) -> float | None:
    if any(value is None for value in per_call.values()):
        return None
    return rounded(most(cost, lambda asks: times[asks] * per_call[asks]), up=True)


def _step(
    asks: Asks, cost: Cost, state: Any, journal: Journal | None, run: RunContext, lane: Lane
) -> StepEstimate:
    step = asks.step
    model = _model(step, run)
    members = model.members if model else ()
    request = None
    if state is not None:
        try:
            request = step.request(state)
        except Exception:  # a prompt that needs what earlier steps write
            request = None
    prompt, source = _prompt(asks.name, request, journal)
    max_tokens = request.max_tokens if request else None
    answers = [max_tokens or member.settings.max_tokens or member.backend.max_tokens for member in members]
    answer = None if not members or None in answers else max(n for n in answers if n is not None)
    prices = [_price(member, prompt, answer, lane) for member in members]
    known = [price for price in prices if price is not None]
    usd = max(known) if known and len(known) == len(prices) else None
    one = lambda other: 1.0 if other == asks else 0.0  # noqa: E731
    return StepEstimate(
        step=asks.name,
        model=" | ".join(member.backend.name for member in members) or None,
        least=least(cost, one),
        most=most(cost, one),
        tries=asks.tries,
        answers=model.most_answers if model else 1,
        prompt_tokens=prompt,
        prompt_from=source,
        answer_tokens=answer,
        usd_per_call=usd,
    )


def _model(step: Any, run: RunContext) -> ModelStack | None:
    """Return the model that a step asks, None if its role is not bound."""
    model: ModelStack | None = getattr(step, "own_model", None)
    if model is not None:
        return model
    try:
        return find_model(step.role, run)
    except UnboundRole:
        return None


def _price(member: Member, prompt: int | None, answer: int | None, lane: Lane) -> float | None:
    """Return the most that a call can cost; what is free is free at any length."""
    price_of = batch_tariff_for if lane == "batch" else tariff_for
    tariff = price_of(member.settings, member.backend.name, member.backend.address)
    if tariff is None:
        return None
    if prompt is None or answer is None:
        return 0.0 if tariff.most(MANY, MANY) == 0 else None
    return tariff.most(prompt, answer)


def _prompt(name: str, request: Any, journal: Journal | None) -> tuple[int | None, str | None]:
    if journal is not None:
        most = longest_prompt(journal, name)
        if most is not None:
            return most, "past"
    return (None, None) if request is None else (bound_of(request), "input")


def _unknown(estimates: Mapping[Asks, StepEstimate]) -> Iterator[str]:
    """Yield what is not known and what to do; steps of which the same is to be said are named together."""
    steps: dict[tuple[str, str], dict[str, None]] = {}
    for asks, step in estimates.items():
        for saying in _sayings(asks, step):
            steps.setdefault(saying, {})[repr(step.step)] = None
    for (what, remedy), names in steps.items():
        yield f"{what} of {', '.join(names)}{remedy}"
    for model in dict.fromkeys(
        step.model
        for step in estimates.values()
        if step.model is not None and step.usd_per_call is None and step.tokens_per_call is not None
    ):
        yield f"the price of {model}: set price = {{ input = …, output = … }}"


def _sayings(asks: Asks, step: StepEstimate) -> Iterator[tuple[str, str]]:
    if step.model is None:
        yield f"no model is bound to the role {asks.step.role or DEFAULT_ROLE!r}", ""
        return
    if step.prompt_tokens is None:
        yield "the prompt", ": give an input, or run it once"
    if step.answer_tokens is None:
        # A step's own max_tokens is part of what it asks, which only an input shows.
        first = "give an input, or " if step.prompt_from != "input" else ""
        yield "the answer", f": {first}set max_tokens for {step.model}"


def _past(graph: CompiledStateGraph[Any, Any, Any, Any], journal: Journal) -> Past | None:
    """Return what finished runs of graphs of the same shape took."""
    rows = finished_runs(journal, GraphMark(graph).fingerprint)
    if not rows:
        return None
    costs = [row["usd"] for row in rows]
    known = None not in costs
    return Past(
        runs=len(rows),
        calls=sum(row["calls"] for row in rows) / len(rows),
        tokens=sum(row["tokens"] for row in rows) / len(rows),
        usd=sum(costs) / len(rows) if known else None,
        most_calls=max(row["calls"] for row in rows),
        most_usd=max(costs) if known else None,
    )
