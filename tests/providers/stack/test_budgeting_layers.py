"""The layers alone: what a call reserves, what it settles for, and when it is made again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.providers.backends.backend import PlainBackend
from stepgraph.providers.model import AttemptOutcome, CallContext, Reply, Request, Usage
from stepgraph.providers.prices import Price
from stepgraph.providers.settings import ModelSettings
from stepgraph.providers.stack.budgeting import BudgetLayer, SharedBudgetLayer, prompt_tokens
from stepgraph.providers.stack.pricing import TokenTariff
from stepgraph.state.budget import Budget, Ledger
from stepgraph.state.cost import NOTHING, Cost
from stepgraph.state.errors import (
    BudgetExceeded,
    CircuitOpen,
    ModelError,
    ModelUnavailable,
    ModelUnreachable,
    SettingsError,
)
from stepgraph.state.journal.records import CallKey
from stepgraph.state.run_context import with_ledgers
from stepgraph.state.session.shared_ledger import NoRoom

HELLO = Request(({"role": "user", "content": "Hello"},))
PRICE = Price(input=1, output=1000)


class Inner:
    """What stands inside: says that it sent the call, and keeps what it was given."""

    name = "inner"

    def __init__(self, *outcomes: Exception | Reply) -> None:
        self.outcomes = list(outcomes)
        self.requests: list[Request] = []
        self.contexts: list[CallContext] = []

    async def complete(self, request: Request, context: CallContext) -> Reply:
        self.requests.append(request)
        self.contexts.append(context)
        outcome = self.outcomes.pop(0) if self.outcomes else Reply("ok", self.name, Usage(3, 4))
        if context.outcome is not None:
            context.outcome.sent = True
        if isinstance(outcome, Exception):
            raise outcome
        if context.outcome is not None:
            context.outcome.reply = outcome
        return outcome


def layer(
    inner: Inner, tariff: TokenTariff | None = None, own: int | None = None, **settings: Any
) -> BudgetLayer:
    backend = PlainBackend(inner)
    backend.max_tokens = own
    return BudgetLayer(inner, tariff, ModelSettings(model="m", provider="given", **settings), backend)


def under(*ledgers: Ledger) -> CallContext:
    return CallContext("step", config=with_ledgers({}, *ledgers))


async def test_without_a_budget_a_call_is_made_as_it_is() -> None:
    inner = Inner()
    assert layer(inner).name == "inner"
    await layer(inner).complete(HELLO, CallContext("step"))
    assert (inner.requests, inner.contexts[0].outcome) == ([HELLO], None)


@pytest.mark.parametrize(
    ("asked", "set_here", "own", "answer"),
    [(5, 30, 40, 5), (None, 30, 40, 30), (None, None, 40, 40), (None, None, None, 70)],
    ids=["the request", "the settings", "the model", "the smallest budget"],
)
async def test_the_bound_of_an_answer_comes_from(
    asked: int | None, set_here: int | None, own: int | None, answer: int
) -> None:
    ledgers = [
        Ledger(Budget(tokens=90_000, answer_tokens=80)),
        Ledger(Budget(usd=9, answer_tokens=70)),
        Ledger(Budget(calls=9, answer_tokens=7)),  # limits no tokens, so it bounds no answer
    ]
    inner = Inner()
    request = Request(HELLO.messages, max_tokens=asked)
    await layer(inner, TokenTariff(PRICE), own, max_tokens=set_here).complete(request, under(*ledgers))
    (outcome,) = [context.outcome for context in inner.contexts]
    prompt = await prompt_tokens(HELLO, PlainBackend(inner))
    usd = (prompt + 1000 * answer) / 1e6
    assert outcome is not None
    assert outcome.bound == Cost(1, input_tokens=prompt, output_tokens=answer, known_usd=pytest.approx(usd))
    assert inner.requests[0].max_tokens == (asked if own or set_here or asked else answer)
    assert inner.contexts[0].reserved == f'{{"tokens":{prompt + answer},"usd":{round(usd, 12)}}}'


async def test_where_only_calls_are_limited_nothing_is_bounded() -> None:
    inner = Inner()
    await layer(inner, max_tokens=30).complete(HELLO, under(Ledger(Budget(calls=2))))
    assert inner.contexts[0].outcome is not None
    assert inner.contexts[0].outcome.bound == Cost(calls=1)
    assert inner.requests == [HELLO]


async def test_a_budget_in_dollars_needs_a_price_and_no_other_does() -> None:
    inner = Inner()
    with pytest.raises(SettingsError, match="price of inner is not known"):
        await layer(inner).complete(HELLO, under(Ledger(Budget(tokens=9000)), Ledger(Budget(usd=1))))
    assert inner.requests == []
    await layer(inner).complete(HELLO, under(Ledger(Budget(tokens=9000))))
    (outcome,) = [context.outcome for context in inner.contexts]
    assert outcome is not None
    assert outcome.bound.known_usd == 0


@pytest.mark.parametrize(
    ("outcome", "spent"),
    [
        (Reply("ok", "m", Usage(3, 4), cost_usd=0.5), Cost(1, 3, 4, 0.5)),
        (ModelUnavailable("down"), Cost(calls=1)),
        (CircuitOpen("busy"), NOTHING),
    ],
    ids=["answered", "failed", "never made"],
)
async def test_a_call_settles_for_what_it_cost_and_gives_the_rest_back(
    outcome: Reply | ModelError, spent: Cost
) -> None:
    ledgers = Ledger(Budget(calls=5)), Ledger(Budget(tokens=9000))
    call = layer(Inner(outcome)).complete(HELLO, under(*ledgers))
    (found,) = await asyncio.gather(call, return_exceptions=True)
    assert found is outcome
    assert [(ledger.spent, ledger.reserved) for ledger in ledgers] == [(spent, NOTHING)] * 2


async def test_what_does_not_fit_one_budget_is_given_back_to_the_others() -> None:
    large, small = Ledger(Budget(calls=5)), Ledger(Budget(calls=0))
    inner = Inner()
    with pytest.raises(BudgetExceeded, match="calls = 0"):
        await layer(inner).complete(HELLO, under(large, small))
    assert (inner.requests, large.spent, large.reserved) == ([], NOTHING, NOTHING)


@pytest.mark.parametrize(
    ("files", "file_tokens", "is_told"),
    [(0, None, False), (1, None, True), (2, None, True), (1, 5_000, False)],
    ids=["no file", "one file", "two files", "told what they have"],
)
async def test_a_budget_that_ends_by_files_that_nobody_can_look_into_says_so(
    files: int, file_tokens: int | None, is_told: bool
) -> None:
    part = {"type": "file", "file": {"file_data": "https://example.org/a.pdf"}}
    request = Request(({"role": "user", "content": [{"type": "text", "text": "Read."}, *[part] * files]},))
    with pytest.raises(BudgetExceeded, match="tokens = 1") as caught:
        await layer(Inner(), file_tokens=file_tokens).complete(request, under(Ledger(Budget(tokens=1))))
    told = f"{files} of the prompt's files could not be looked into"
    assert (told in str(caught.value)) is is_told
    assert str(caught.value).count("set file_tokens of inner") == is_told


async def test_a_call_that_does_not_fit_yet_is_made_once_others_have_ended() -> None:
    tried: list[int] = []

    async def freed(tries: int) -> None:
        tried.append(tries)

    full: Any = SimpleNamespace(freed=freed)
    inner = Inner(NoRoom(full), NoRoom(full), NoRoom(full))
    assert (await layer(inner).complete(HELLO, under(Ledger(Budget(calls=1))))).text == "ok"
    assert tried == [0, 1, 2]


class Timed(Ledger):
    """Has so many seconds left, each time that somebody asks."""

    def __init__(self, *left: float) -> None:
        super().__init__(Budget(seconds=9))
        self.left = list(left)

    def seconds_left(self) -> float:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


@pytest.mark.parametrize(
    ("left", "error"),
    [(0.5, ModelUnreachable), (0, BudgetExceeded), (-1, BudgetExceeded)],
    ids=["time is left", "none is left", "it is over"],
)
async def test_a_model_that_nobody_reaches_in_time_ends_the_budget(
    left: float, error: type[Exception]
) -> None:
    inner = Inner(ModelUnreachable("timed out"))
    ledgers = Ledger(Budget(calls=5)), Timed(60, left)
    with pytest.raises(error, match="seconds = 9" if error is BudgetExceeded else "timed out"):
        await layer(inner).complete(HELLO, under(*ledgers))


async def test_the_least_time_left_cancels_a_call() -> None:
    class Hangs(Inner):
        async def complete(self, request: Request, context: CallContext) -> Reply:
            await asyncio.Event().wait()
            raise AssertionError

    with pytest.raises(BudgetExceeded, match="seconds = 9"):
        await layer(Hangs()).complete(HELLO, under(Timed(3600), Timed(0.01, -1)))


@pytest.mark.parametrize("error", [None, ModelUnavailable("down")], ids=["answered", "failed"])
async def test_what_was_set_aside_in_a_shared_budget_is_settled_however_the_call_ends(
    session: Session, error: ModelError | None
) -> None:
    inner = Inner(*([error] if error else []))
    context = CallContext("step", config=session.config("t", budget=Budget(scope="user:ada", calls=2)))
    outcomes = [AttemptOutcome(bound=Cost(calls=1)) for _ in range(3)]
    shared = SharedBudgetLayer(inner)
    assert shared.name == "inner"

    async def call(outcome: AttemptOutcome) -> Any:
        made = shared.complete(HELLO, replace(context, outcome=outcome))
        return (await asyncio.gather(made, return_exceptions=True))[0]

    assert (await call(outcomes[0])) is error or error is None
    assert isinstance(await call(outcomes[1]), Reply)
    assert isinstance(await call(outcomes[2]), BudgetExceeded)
    assert [outcome.held for outcome in outcomes] == [None] * 3
    assert len(inner.requests) == 2


@pytest.mark.parametrize("outlives", [True, False], ids=["it goes on", "it ended"])
async def test_a_call_that_goes_on_without_its_process_is_set_aside_once(
    session: Session, outlives: bool
) -> None:
    """As in a batch: the next process asks for the same call, whose first asking was never settled."""

    class Killed(Inner):
        async def complete(self, request: Request, context: CallContext) -> Reply:
            assert context.outcome is not None
            context.outcome.held = None
            return await super().complete(request, context)

    async def call(model: Inner, number: int) -> Any:
        config = session.config("t", budget=Budget(scope="user:ada", calls=1))
        outcome, key = AttemptOutcome(bound=Cost(calls=1)), CallKey("t", "", "hash", number)
        made = SharedBudgetLayer(model, outlives=outlives).complete(
            HELLO, CallContext("step", config=config, key=key, outcome=outcome)
        )
        return (await asyncio.gather(made, return_exceptions=True))[0]

    assert isinstance(await call(Killed(), 0), Reply)
    assert isinstance(await call(Inner(), 1), NoRoom)
    assert isinstance(await call(Inner(), 0), Reply if outlives else NoRoom)


async def test_without_a_shared_budget_nothing_is_set_aside() -> None:
    inner = Inner()
    outcome = AttemptOutcome()
    for context in (CallContext("step"), CallContext("step", outcome=outcome)):
        assert (await SharedBudgetLayer(inner).complete(HELLO, context)).text == "ok"
    assert outcome.held is None


async def test_the_models_own_count_of_a_prompt_goes_before_the_bound_by_its_bytes() -> None:
    class Counts(Inner):
        async def count_tokens(self, request: Request) -> int:
            return len(request.messages)

    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    pictured = Request(({"role": "user", "content": [image]},))
    bytes_of = await prompt_tokens(HELLO, PlainBackend(Inner()))
    assert bytes_of > 5
    assert await prompt_tokens(HELLO, PlainBackend(Counts())) == 1
    assert await prompt_tokens(pictured, PlainBackend(Counts())) == 1 + 16_384
    assert await prompt_tokens(pictured, PlainBackend(Inner())) > 16_384 + 1


async def test_tools_that_are_written_into_the_prompt_count() -> None:
    tool = {"name": "look", "description": "x" * 900, "parameters": {"type": "object", "properties": {}}}
    asking = Request(HELLO.messages, tools=(tool,))
    native, emulating = PlainBackend(Inner()), PlainBackend(Inner())
    emulating.tools = "emulated"
    assert await prompt_tokens(asking, emulating) > await prompt_tokens(asking, native)
