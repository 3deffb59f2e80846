"""Retries in time that passes only where somebody waits, with chance at one end of its range."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from stepgraph import ScriptedModel
from stepgraph.providers.model import CallContext, Reply, Request
from stepgraph.providers.stack import retry
from stepgraph.providers.stack.retry import RetryLayer
from stepgraph.state.errors import (
    CircuitOpen,
    MalformedResponse,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    ModelUnreachable,
)

from .clock import Clock, clock_of

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return clock_of(retry, monkeypatch)


class Failing:
    """Fails in turn, then answers; knows which attempts it was asked for."""

    name = "failing"

    def __init__(self, *errors: ModelError) -> None:
        self.errors = list(errors)
        self.attempts: list[int] = []

    async def complete(self, request: Request, context: CallContext) -> Reply:
        self.attempts.append(context.attempt)
        if self.errors:
            raise self.errors.pop(0)
        return Reply("ok", self.name)


def gone(times: int) -> list[ModelError]:
    return [ModelUnreachable("gone") for _ in range(times)]


def busy(retry_after: float | None = None, *, crowded: bool = False) -> ModelUnavailable:
    error = ModelUnavailable("busy", status=429, retry_after=retry_after)
    error.crowded = crowded
    return error


async def attempts_at(errors: Sequence[ModelError], retries: int, **settings: Any) -> tuple[int, bool]:
    """Return how many attempts were made, and whether the last one had an answer."""
    failing = Failing(*errors)
    call = RetryLayer(failing, retries, **settings).complete(HELLO, HERE)
    (outcome,) = await asyncio.gather(call, return_exceptions=True)
    if isinstance(outcome, ModelError):
        assert outcome.attempts == len(failing.attempts)  # an error that comes out counts its attempts
        return len(failing.attempts), False
    assert isinstance(outcome, Reply)
    return len(failing.attempts), True


async def test_what_may_pass_is_tried_again_up_to_the_limit() -> None:
    script = ScriptedModel([ModelUnavailable("busy"), ModelUnreachable("gone"), "ok"])
    retried = RetryLayer(script, 2)
    assert retried.name == script.name
    assert (await retried.complete(HELLO, HERE)).text == "ok"
    assert await attempts_at([MalformedResponse("half")] * 3, 2) == (3, False)


async def test_what_cannot_succeed_is_not_tried_again() -> None:
    assert await attempts_at([ModelRefused("no")], 5) == (1, False)
    error = ModelUnreachable("bad certificate")
    error.lasting = True
    assert await attempts_at([error], 5) == (1, False)


@pytest.mark.parametrize("retries", [0, 1, 2])
async def test_as_many_more_attempts_are_made_as_retries_are_set(retries: int) -> None:
    assert await attempts_at(gone(5), retries) == (retries + 1, False)


async def test_attempts_are_counted_on_from_where_the_call_stands() -> None:
    failing = Failing(*gone(2))
    await RetryLayer(failing, 2).complete(HELLO, CallContext("step", attempt=4))
    assert failing.attempts == [4, 5, 6]


@pytest.mark.parametrize(
    ("is_unlucky", "pauses"),
    [
        (False, [0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]),
        (True, [0.75, 1.5, 3, 6, 12, 24, 48, 90, 90, 90]),
    ],
    ids=["shortest", "longest"],
)
async def test_pauses_double_up_to_a_minute_with_some_chance_in_them(
    clock: Clock, is_unlucky: bool, pauses: list[float]
) -> None:
    clock.is_unlucky = is_unlucky
    assert await attempts_at(gone(10), 10, for_s=1000) == (11, True)
    assert clock.slept == pauses


async def test_the_first_pause_can_be_set(clock: Clock) -> None:
    await attempts_at(gone(2), 2, first_wait_s=8)
    assert clock.slept == [4, 8]


@pytest.mark.parametrize(
    ("asked", "pauses"), [(0, [0]), (8, [10]), (60, [75]), (60.5, []), (80, []), (3600, [])], ids=str
)
async def test_a_server_may_ask_for_up_to_a_minute(clock: Clock, asked: float, pauses: list[float]) -> None:
    clock.is_unlucky = True
    assert await attempts_at([busy(asked)], 5) == (1 + len(pauses), bool(pauses))
    assert clock.slept == pauses


async def test_nobody_comes_back_before_the_server_wants_it(clock: Clock) -> None:
    await attempts_at([busy(8)], 1)
    assert clock.slept == [8]


@pytest.mark.parametrize(("for_s", "attempts"), [(0.25, 2), (0.24, 1), (0.75, 3), (0.74, 2), (0, 1)], ids=str)
async def test_no_attempt_begins_later_than_so_long_after_the_first_failure(
    for_s: float, attempts: int
) -> None:
    assert await attempts_at(gone(3), 3, for_s=for_s) == (attempts, False)


async def test_usually_that_is_five_minutes(clock: Clock) -> None:
    clock.is_unlucky = True
    assert await attempts_at(gone(50), 50) == (10, False)
    assert sum(clock.slept) == 275.25  # the next pause, of 90 s, would end at 365.25 s


@pytest.mark.parametrize(
    ("asked", "attempts"), [(1.6, 2), (1.7, 1), (30, 1)], ids=["2.0 s at most", "2.1 s", "30 s"]
)
async def test_where_another_model_comes_after_it_a_pause_has_two_seconds_at_most(
    clock: Clock, asked: float, attempts: int
) -> None:
    clock.is_unlucky = True
    assert await attempts_at([busy(asked)], 5, patient=False) == (attempts, attempts == 2)


@pytest.mark.parametrize(
    ("retries", "patient", "attempts"),
    [(2, True, 6), (2, False, 3), (0, True, 1)],
    ids=["patient", "another model comes after it", "no retries"],
)
async def test_a_refusal_of_too_many_at_a_time_counts_for_no_retry(
    retries: int, patient: bool, attempts: int
) -> None:
    """Its server is up; there are only too many calls under way."""
    errors = [*(busy(crowded=True) for _ in range(3)), *gone(3)]
    assert await attempts_at(errors, retries, patient=patient) == (attempts, False)


async def test_the_pause_does_not_grow_by_refusals_of_too_many_at_a_time(clock: Clock) -> None:
    await attempts_at([*(busy(crowded=True) for _ in range(3)), *gone(2)], 2)
    assert clock.slept == [0.25, 0.25, 0.25, 0.25, 0.5]


async def test_an_open_breaker_is_waited_for_by_the_patient_only_and_is_no_attempt(clock: Clock) -> None:
    script = ScriptedModel([CircuitOpen("open", retry_after=1)] * 3 + ["ok"])
    assert (await RetryLayer(script, 0).complete(HELLO, HERE)).text == "ok"
    assert clock.slept == [1, 1, 1]

    script = ScriptedModel([CircuitOpen("open", retry_after=1), "ok"])
    with pytest.raises(CircuitOpen) as caught:
        await RetryLayer(script, 5, patient=False).complete(HELLO, HERE)
    assert caught.value.attempts == 0
