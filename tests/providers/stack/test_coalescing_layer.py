"""Equal calls in one thread, each at a moment that a test chooses: who asks, who waits, and how both end."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from stepgraph import Budget, Session
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.stack.coalescing import CoalescingLayer
from stepgraph.state.budget import Ledger
from stepgraph.state.errors import BudgetExceeded, ModelRefused
from stepgraph.state.journal.journal import Journal
from stepgraph.state.journal.records import CallKey

HELLO = Request(({"role": "user", "content": "Hello"},))


class Gated:
    """Answers its calls in turn, each once its gate is open: with a text, or by raising."""

    name = "gated"

    def __init__(self, *outcomes: str | Exception) -> None:
        self.outcomes = list(outcomes)
        self.begun = [threading.Event() for _ in outcomes]
        self.gates = [threading.Event() for _ in outcomes]
        self.asked = 0

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert isinstance(request, Request)
        number = self.asked
        self.asked += 1
        self.begun[number].set()
        assert await asyncio.to_thread(self.gates[number].wait, 60)
        outcome = self.outcomes[number]
        if isinstance(outcome, Exception):
            raise outcome
        return Reply(outcome, self.name)


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """Return what is released for each call that waits for an equal one."""
    waiting = threading.Semaphore(0)
    note = Journal.note_coalesced

    def noted(journal: Journal, key: CallKey, leader: str) -> None:
        note(journal, key, leader)
        asyncio.get_running_loop().call_soon(waiting.release)  # by then it waits

    monkeypatch.setattr(Journal, "note_coalesced", noted)
    return waiting


Calls = tuple[asyncio.Task[Reply], asyncio.Task[Reply]]


async def leader_and_follower(model: Gated, session: Session, joined: threading.Semaphore) -> Calls:
    """Begin two equal calls in a thread, and wait until the second waits for the first."""
    layer = CoalescingLayer(model)
    leader = asyncio.create_task(layer.complete(HELLO, equal_call(session, 0)))
    assert await asyncio.to_thread(model.begun[0].wait, 60)
    follower = asyncio.create_task(layer.complete(HELLO, equal_call(session, 1)))
    assert await asyncio.to_thread(joined.acquire, timeout=60)
    return leader, follower


def equal_call(session: Session, number: int) -> CallContext:
    """Return the place of one of several equal calls in a thread."""
    return CallContext("step", config=session.config("t"), key=CallKey("t", f"node:{number}", "hash", 0))


async def ends(*calls: asyncio.Task[Reply]) -> list[Any]:
    """Return how calls end: the text of an answer, or the type of an error."""
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return [one.text if isinstance(one, Reply) else type(one) for one in outcomes]


async def test_the_end_of_the_leaders_budget_says_nothing_about_who_waits(
    session: Session, joined: threading.Semaphore
) -> None:
    model = Gated(Ledger(Budget(calls=1)).end("calls"), "two")
    calls = await leader_and_follower(model, session, joined)
    for gate in model.gates:
        gate.set()
    assert await ends(*calls) == [BudgetExceeded, "two"]


async def test_each_gets_an_error_of_its_own(session: Session, joined: threading.Semaphore) -> None:
    """What one of them adds to its message stands in no other's."""
    model = Gated(ModelRefused("no"))
    calls = await leader_and_follower(model, session, joined)
    model.gates[0].set()
    assert await ends(*calls) == [ModelRefused, ModelRefused]
    first, second = (call.exception() for call in calls)
    assert first is not second


@pytest.mark.parametrize("both", [False, True], ids=["who waits", "both"])
async def test_who_is_cancelled_does_not_ask(
    session: Session, joined: threading.Semaphore, both: bool
) -> None:
    model = Gated("one", "never")
    leader, follower = await leader_and_follower(model, session, joined)
    if both:
        leader.cancel()
    follower.cancel()
    for gate in model.gates:
        gate.set()
    cancelled = asyncio.CancelledError
    assert await ends(leader, follower) == [cancelled if both else "one", cancelled]
    assert model.asked == 1


async def test_a_call_waits_for_none_of_another_event_loop(
    session: Session, joined: threading.Semaphore
) -> None:
    model = Gated("of another loop", "of this one")
    layer = CoalescingLayer(model)
    elsewhere = asyncio.create_task(
        asyncio.to_thread(asyncio.run, layer.complete(HELLO, equal_call(session, 0)))
    )
    assert await asyncio.to_thread(model.begun[0].wait, 60)
    second = asyncio.create_task(layer.complete(HELLO, equal_call(session, 1)))
    assert await asyncio.to_thread(model.begun[1].wait, 60)
    model.gates[0].set()
    assert (await elsewhere).text == "of another loop"
    third = asyncio.create_task(layer.complete(HELLO, equal_call(session, 2)))
    assert await asyncio.to_thread(joined.acquire, timeout=60)
    model.gates[1].set()
    assert await ends(second, third) == ["of this one"] * 2


async def test_after_its_end_nobody_waits_for_a_call(session: Session) -> None:
    model = Gated(ModelRefused("no"), "two", "three")
    layer = CoalescingLayer(model)
    for gate in model.gates:
        gate.set()
    calls = [layer.complete(HELLO, equal_call(session, number)) for number in range(3)]
    assert [(await ends(asyncio.ensure_future(call)))[0] for call in calls] == [ModelRefused, "two", "three"]


async def test_a_failure_that_nobody_waits_for_is_no_complaint_of_the_event_loop(session: Session) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    model = Gated(ModelRefused("no"))
    model.gates[0].set()
    with pytest.raises(ModelRefused):
        await CoalescingLayer(model).complete(HELLO, equal_call(session, 0))
    model.outcomes.clear()  # the error knows the frames that it passed
    gc.collect()
    assert complaints == []


async def test_a_call_without_a_key_is_asked_as_it_is(session: Session) -> None:
    model = Gated("one", "two")
    layer = CoalescingLayer(model)
    assert layer.name == "gated"
    for gate in model.gates:
        gate.set()
    for context in (CallContext("step"), CallContext("step", config=session.config("t"))):
        assert isinstance(await layer.complete(HELLO, context), Reply)
    assert model.asked == 2


@pytest.mark.parametrize("before", [True, False], ids=["before it was kept", "once it had ended"])
async def test_who_looked_for_a_cached_answer_before_it_was_kept_joins_the_call_that_brought_it(
    session: Session, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """As where the record is in another place, and looking takes as long as the call goes on."""
    model, looked, may = Gated("Good day", "Again"), asyncio.Event(), asyncio.Event()
    layer = CoalescingLayer(model)
    leader, follower = (
        CallContext("s", config=session.config(t), key=CallKey(t, "node", "hash", 0), cache_s=60.0)
        for t in "ab"
    )

    async def found_late(journal: Journal, request_hash: str, lifetime_s: float) -> None:
        if model.asked:
            looked.set()
            await may.wait()

    monkeypatch.setattr(Journal, "find_cached", found_late)
    first = asyncio.create_task(layer.complete(HELLO, leader))
    assert await asyncio.to_thread(model.begun[0].wait, 60)
    for gate in model.gates:
        gate.set()
    if not before:
        await first
    second = asyncio.create_task(layer.complete(HELLO, follower))
    await looked.wait()
    await first
    may.set()
    assert (await second).text == ("Good day" if before else "Again")
    assert model.asked == (1 if before else 2)
