from __future__ import annotations

import pytest

from stepgraph import ScriptedModel
from stepgraph.providers.model import CallContext, Request
from stepgraph.providers.stack.retry import RetryLayer
from stepgraph.state.errors import (
    CircuitOpen,
    MalformedResponse,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    ModelUnreachable,
)

HELLO = Request(({"role": "user", "content": "Hello"},))
HERE = CallContext("step")


async def test_what_may_pass_is_tried_again_up_to_the_limit() -> None:
    script = ScriptedModel([ModelUnavailable("busy"), ModelUnreachable("gone"), "ok"])
    assert (await RetryLayer(script, 2, first_wait_s=0).complete(HELLO, HERE)).text == "ok"

    script = ScriptedModel([ModelUnavailable("busy")] * 3)
    with pytest.raises(ModelUnavailable):
        await RetryLayer(script, 2, first_wait_s=0).complete(HELLO, HERE)
    assert script.left == []


async def test_what_cannot_succeed_is_not_tried_again() -> None:
    script = ScriptedModel([ModelRefused("no"), "ok"])
    with pytest.raises(ModelRefused):
        await RetryLayer(script, 5, first_wait_s=0).complete(HELLO, HERE)
    assert script.left == ["ok"]


def test_the_pause_grows_and_the_servers_word_goes_first() -> None:
    retried = RetryLayer(ScriptedModel([]), 5, first_wait_s=1.0)
    waits = [retried._wait_s(ModelUnreachable("gone"), attempt) for attempt in (1, 2, 3)]
    assert 0.5 <= waits[0] <= 1.5
    assert 2 <= waits[2] <= 6
    assert 7 <= retried._wait_s(ModelUnavailable("busy", retry_after=7), 1) <= 8.75
    assert retried._wait_s(ModelUnavailable("busy", retry_after=3600), 1) == 3600


async def test_an_error_counts_its_attempts() -> None:
    script = ScriptedModel([MalformedResponse("half"), ModelUnreachable("gone"), ModelUnavailable("busy")])
    with pytest.raises(ModelUnavailable) as caught:
        await RetryLayer(script, 2, first_wait_s=0).complete(HELLO, HERE)
    assert caught.value.attempts == 3


async def test_what_lasts_is_not_tried_again() -> None:
    error = ModelUnreachable("bad certificate")
    error.lasting = True
    with pytest.raises(ModelUnreachable) as caught:
        await RetryLayer(ScriptedModel([error]), 5, first_wait_s=0).complete(HELLO, HERE)
    assert caught.value.attempts == 1


async def test_no_attempt_begins_after_the_time_is_up() -> None:
    script = ScriptedModel([ModelUnavailable("busy"), "too late"])
    with pytest.raises(ModelUnavailable):
        await RetryLayer(script, 5, first_wait_s=10, for_s=1).complete(HELLO, HERE)
    assert script.left == ["too late"]


async def test_a_pause_is_waited_for_by_the_patient_only_and_is_no_attempt() -> None:
    script = ScriptedModel([CircuitOpen("open", retry_after=0.01)] * 3 + ["ok"])
    assert (await RetryLayer(script, 0).complete(HELLO, HERE)).text == "ok"

    script = ScriptedModel([CircuitOpen("open", retry_after=0.01), "ok"])
    with pytest.raises(ModelError) as caught:
        await RetryLayer(script, 5, patient=False).complete(HELLO, HERE)
    assert caught.value.attempts == 0
