from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from stepgraph import Session
from stepgraph.providers.backends.backend import PlainBackend
from stepgraph.providers.model import CallContext, Model, Reply, Request, Usage
from stepgraph.providers.settings import ModelSettings
from stepgraph.providers.stack.adaptive_limit import AdaptiveLimit
from stepgraph.providers.stack.concurrency import Capacity, Ceiling, ConcurrencyLayer
from stepgraph.providers.stack.stack import Member, stacked
from stepgraph.state.errors import CircuitOpen, ModelRefused, ModelUnavailable, StoreError

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


class Held:
    """Answers once its gate is open, or raises; knows how many calls there were at once."""

    name = "held"

    def __init__(self, error: Exception | None = None) -> None:
        self.gate = asyncio.Event()
        self.error = error
        self.now = self.most = self.asked = 0

    async def complete(self, request: Request, context: CallContext) -> Reply:
        assert isinstance(request, Request)
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1
        if self.error is not None:
            raise self.error
        return Reply("ok", self.name, Usage(1, 1))


async def turn() -> None:
    """Let all that is ready run, and what that makes ready."""
    for _ in range(10):
        await asyncio.sleep(0)


class Line:
    """Calls that took their turns at a capacity, by their names."""

    def __init__(self, capacity: Capacity) -> None:
        self.capacity = capacity
        self.sent: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, name: str, ceiling: Ceiling) -> None:
        async def enter() -> None:
            await self.capacity.enter(ceiling)
            self.sent.append(name)

        self.tasks[name] = asyncio.create_task(enter())
        await turn()


async def test_no_more_calls_run_at_once_than_may_and_the_others_follow() -> None:
    model = Held()
    capped = ConcurrencyLayer(model, 2)
    assert capped.name == "held"
    calls = [asyncio.create_task(capped.complete(HELLO, HERE)) for _ in range(8)]
    await turn()
    assert model.now == 2
    model.gate.set()
    assert [reply.text for reply in await asyncio.gather(*calls)] == ["ok"] * 8
    assert model.most == 2


def test_every_wrapper_is_a_model_under_the_same_name() -> None:
    model = stacked(Member(PlainBackend(Held()), ModelSettings(model="m", provider="given")))
    assert isinstance(model, Model)
    assert model.name == "held"


async def test_where_nobody_says_how_many_256_calls_run_at_once_at_most() -> None:
    model = Held()
    model.address = "http://here/v1"  # type: ignore[attr-defined]
    set_here, unset = (ModelSettings(model="m", provider="given", max_concurrency=n) for n in (999, None))
    stacked(Member(PlainBackend(model), set_here))  # so the endpoint is expected to take more
    plain = stacked(Member(PlainBackend(model), unset))
    calls = [asyncio.create_task(plain.complete(HELLO, HERE)) for _ in range(260)]
    await turn()
    assert model.now == 256
    model.gate.set()
    await asyncio.gather(*calls)
    assert model.most == 256


@pytest.mark.parametrize("queue_s", [0, 0.01], ids=["at once", "soon"])
async def test_who_would_wait_too_long_is_sent_away(queue_s: float) -> None:
    model = Held()
    capped = ConcurrencyLayer(model, 1, queue_s=queue_s)
    first = asyncio.create_task(capped.complete(HELLO, HERE))
    await turn()
    with pytest.raises(CircuitOpen, match="held is busy: 1 calls are under way") as caught:
        await capped.complete(HELLO, HERE)
    assert (caught.value.model, caught.value.lasting) == ("held", True)
    model.gate.set()
    assert (await first).text == "ok"
    assert (await capped.complete(HELLO, HERE)).text == "ok"
    assert model.asked == 2


async def test_whoever_may_wait_waits() -> None:
    model = Held()
    capped = ConcurrencyLayer(model, 1, queue_s=600)
    calls = [asyncio.create_task(capped.complete(HELLO, HERE)) for _ in range(3)]
    await turn()
    model.gate.set()
    assert len(await asyncio.gather(*calls)) == 3


async def test_each_goes_in_its_order_as_soon_as_its_ceiling_and_the_capacity_let_it() -> None:
    capacity = Capacity(AdaptiveLimit(2))
    narrow, wide = capacity.ceiling(1), capacity.ceiling(5)
    line = Line(capacity)
    await line.join("narrow 1", narrow)
    await line.join("narrow 2", narrow)  # its ceiling is reached
    await line.join("wide 1", wide)  # and that holds nobody else up
    await line.join("wide 2", wide)  # but the capacity is
    assert line.sent == ["narrow 1", "wide 1"]
    assert (capacity.running, narrow.running, wide.running) == (2, 1, 1)
    capacity.leave(wide)
    await turn()
    assert line.sent[2:] == ["wide 2"]
    capacity.leave(narrow)
    await turn()
    assert line.sent[3:] == ["narrow 2"]
    assert (capacity.running, narrow.running, wide.running) == (2, 1, 1)


async def test_nobody_overtakes_where_there_is_suddenly_more_room() -> None:
    capacity = Capacity(AdaptiveLimit(1))
    ceiling = capacity.ceiling(10)
    line = Line(capacity)
    for name in "abc":
        await line.join(name, ceiling)
    capacity.expect(9)
    await line.join("d", ceiling)
    assert line.sent == ["a"]
    capacity.leave(ceiling)
    await turn()
    assert line.sent == list("abcd")
    assert capacity.running == ceiling.running == 3


async def test_who_leaves_the_line_is_not_waited_for() -> None:
    capacity = Capacity(AdaptiveLimit(1))
    ceiling = capacity.ceiling(10)
    line = Line(capacity)
    for name in "abc":
        await line.join(name, ceiling)
    line.tasks["b"].cancel()
    await turn()
    capacity.leave(ceiling)
    await turn()
    assert line.sent == ["a", "c"]
    assert capacity.running == ceiling.running == 1


async def test_who_is_cancelled_as_its_turn_comes_hands_it_on() -> None:
    capacity = Capacity(AdaptiveLimit(1))
    ceiling = capacity.ceiling(10)
    line = Line(capacity)
    for name in "abc":
        await line.join(name, ceiling)
    capacity.leave(ceiling)
    line.tasks["b"].cancel()
    await turn()
    assert line.sent == ["a", "c"]
    assert capacity.running == ceiling.running == 1


async def test_a_turn_comes_to_a_call_of_another_event_loop() -> None:
    capacity = Capacity(AdaptiveLimit(1))
    ceiling = capacity.ceiling(10)
    await capacity.enter(ceiling)
    elsewhere = asyncio.create_task(asyncio.to_thread(asyncio.run, capacity.enter(ceiling)))
    while not capacity._line:  # noqa: ASYNC110 nobody tells
        await asyncio.sleep(0.001)
    capacity.leave(ceiling)
    assert await asyncio.wait_for(elsewhere, 60)
    assert capacity.running == ceiling.running == 1


async def test_a_turn_of_a_call_whose_event_loop_is_closed_is_the_next_ones() -> None:
    capacity = Capacity(AdaptiveLimit(1))
    ceiling = capacity.ceiling(10)
    line = Line(capacity)
    await line.join("a", ceiling)

    abandoned = capacity.enter(ceiling)

    def abandon() -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)  # it complains of the call that nobody awaits
        task = loop.create_task(abandoned)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        assert not task.done()

    await asyncio.to_thread(abandon)
    await line.join("b", ceiling)
    capacity.leave(ceiling)
    await turn()
    abandoned.close()  # as Python does once nobody refers to it
    assert line.sent == ["a", "b"]
    assert capacity.running == ceiling.running == 1


async def test_what_is_forgotten_holds_nobody_up() -> None:
    """As in a forked process, where nobody goes on with the calls of its parent."""
    capacity = Capacity(AdaptiveLimit(1))
    ceiling = capacity.ceiling(1)
    line = Line(capacity)
    await line.join("a", ceiling)
    await line.join("b", ceiling)
    capacity.forget()
    assert (capacity.running, ceiling.running) == (0, 0)
    await line.join("c", ceiling)
    assert line.sent == ["a", "c"]
    line.tasks["b"].cancel()
    await turn()
    assert (capacity.running, ceiling.running) == (1, 1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_begins_with_none_of_its_parents_calls() -> None:
    capacity = Capacity(AdaptiveLimit(1))
    asyncio.run(capacity.enter(capacity.ceiling(1)))
    with capacity._lock:  # a thread of the parent may hold it, and does not live on in the child
        child = os.fork()
        if child == 0:
            os._exit(capacity.running + 10 * capacity._lock.locked())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert capacity.running == 1


@pytest.mark.parametrize(
    ("error", "crowded"),
    [
        *((ModelUnavailable("no", status=status), True) for status in (429, 503, 529)),
        *((ModelUnavailable("no", status=status), False) for status in (500, 504, None)),
    ],
    ids=["429", "503", "529", "500", "504", "no status"],
)
async def test_a_refusal_tells_whether_too_many_were_under_way(
    error: ModelUnavailable, crowded: bool
) -> None:
    capacity = Capacity(AdaptiveLimit(4))
    for _ in range(3):
        await capacity.enter(capacity.ceiling(10))
    model = Held(error)
    model.gate.set()
    with pytest.raises(ModelUnavailable) as caught:
        await ConcurrencyLayer(model, 10, capacity=capacity).complete(HELLO, HERE)
    assert caught.value.crowded is crowded
    assert capacity.running == 3


async def test_what_lasts_is_no_matter_of_too_many() -> None:
    capacity = Capacity(AdaptiveLimit(4))
    for _ in range(3):
        await capacity.enter(capacity.ceiling(10))
    model = Held(ModelUnavailable("no credit", status=429))
    model.error.lasting = True  # type: ignore[union-attr]
    model.gate.set()
    with pytest.raises(ModelUnavailable) as caught:
        await ConcurrencyLayer(model, 10, capacity=capacity).complete(HELLO, HERE)
    assert caught.value.crowded is False


@pytest.mark.parametrize("error", [None, ModelRefused("no")], ids=["answered", "failed"])
async def test_a_turn_is_given_back_however_the_call_ends(error: Exception | None) -> None:
    capacity = Capacity(AdaptiveLimit(4))
    model = Held(error)
    model.gate.set()
    call = ConcurrencyLayer(model, 2, capacity=capacity).complete(HELLO, HERE)
    await asyncio.gather(call, return_exceptions=True)
    assert capacity.running == 0


async def test_nothing_is_asked_whose_answer_could_not_be_kept(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(session.journal, "check_writable", full)
    model, capacity = Held(), Capacity(AdaptiveLimit(4))
    with pytest.raises(StoreError):
        await ConcurrencyLayer(model, 2, capacity=capacity).complete(
            HELLO, CallContext("step", config=session.config("t"))
        )
    assert (model.asked, capacity.running) == (0, 0)


class Slots:
    """Slots that workers share: says what was taken and given back."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.taken = self.left = 0

    async def enter(self) -> None:
        if self.error is not None:
            raise self.error
        self.taken += 1

    def leave(self) -> None:
        self.left += 1


@pytest.mark.parametrize("queue_s", [None, 600], ids=["any time", "a limit"])
async def test_where_workers_share_the_limit_a_call_takes_one_of_their_slots(
    session: Session, queue_s: float | None
) -> None:
    slots, capacity, model = Slots(), Capacity(AdaptiveLimit(4)), Held()
    model.gate.set()
    sharing: Any = SimpleNamespace(slots=lambda session: slots)
    capped = ConcurrencyLayer(model, 2, queue_s, capacity, sharing)
    await capped.complete(HELLO, CallContext("step", config=session.config("t")))
    assert (slots.taken, slots.left) == (1, 1)
    await capped.complete(HELLO, HERE)  # without a session nothing is shared
    assert (slots.taken, slots.left) == (1, 1)

    slots.error = StoreError("gone")
    with pytest.raises(StoreError):
        await capped.complete(HELLO, CallContext("step", config=session.config("t")))
    assert (slots.left, capacity.running, model.asked) == (1, 0, 2)
