"""Whatever an endpoint does wrong comes out as one of our errors, which says so and keeps the key."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from stepgraph import Ask, Session, chain, step, using
from stepgraph.providers.backends.http_errors import scrubbed
from stepgraph.state.errors import (
    AuthenticationFailed,
    ContextTooLong,
    MalformedResponse,
    ModelError,
    ModelFiltered,
    ModelNotFound,
    ModelRefused,
    ModelUnavailable,
    ModelUnreachable,
    SettingsError,
)

from ...servers import CUT, EMPTY_CHOICES, ERROR_BODY, HALF_JSON, HTML, Answer, ChatServer, Fault, unused_url

KEY = "plugh-0123456789-xyzzy"
ECHO = f'{{"error": {{"message": "Incorrect API key provided: {KEY}, Bearer {KEY}"}}}}'


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}")


app = chain(write).compile()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault(401, ECHO), AuthenticationFailed, "rejects the key .HTTP 401.*Check the variable SOME_KEY"),
        (Fault(403, ECHO), AuthenticationFailed, "HTTP 403"),
        (Fault(404), ModelNotFound, "is not there .HTTP 404: out of order.*Check the model's name"),
        (Fault(429), ModelUnavailable, "could not serve the call .HTTP 429"),
        (Fault(500, "oh no", "text/plain"), ModelUnavailable, "HTTP 500"),
        (Fault(503, ECHO), ModelUnavailable, "HTTP 503"),
        (Fault(400, '{"error": "no such field"}'), ModelRefused, "HTTP 400: no such field"),
        (
            Fault(400, '{"error": "context too long"}'),
            ContextTooLong,
            "HTTP 400: context too long.*Ask with less",
        ),
        (Fault(402, '{"error": "Insufficient Balance"}'), ModelUnavailable, "nothing left .HTTP 402"),
        (Fault(400, '{"error": {"code": "content_filter"}}'), ModelFiltered, "content filter stopped"),
        (Fault(307, "", headers={"Location": "https://elsewhere/v1"}), ModelRefused, "https://elsewhere/v1"),
        (Fault(422, ECHO), ModelRefused, "HTTP 422"),
        (ERROR_BODY, ModelUnavailable, "HTTP 502: upstream is gone"),
        (HTML, MalformedResponse, "cannot be read .*is it an OpenAI-compatible chat endpoint"),
        (EMPTY_CHOICES, MalformedResponse, "cannot be read .the answer has no choices"),
        (HALF_JSON, MalformedResponse, "cannot be read .*not valid JSON"),
        (CUT, ModelUnreachable, "cannot be reached"),
    ],
)
async def test_a_fault_becomes_the_right_error(
    server: ChatServer, session: Session, fault: Fault, error: type[ModelError], says: str
) -> None:
    server.always = fault
    with (
        using(server.spec(api_key_env="SOME_KEY", retries=0)),
        pytest.raises(ModelError, match=f"^Step 'write': served at http://127.*{says}") as caught,
    ):
        await app.ainvoke(Post(), session.config())

    assert type(caught.value) is error
    assert caught.value.model == "served"
    assert caught.value.status == (
        fault.status if fault.status != 200 else 502 if fault is ERROR_BODY else None
    )
    assert server.keys == [f"Bearer {KEY}"]
    (call,) = session.journal.query("SELECT status, problem FROM calls")
    assert call["status"] == "failed"
    assert KEY not in str(caught.value) + call["problem"]


async def test_a_slow_answer_is_given_up(server: ChatServer) -> None:
    server.always = Answer(delay_s=600)
    with (
        using(server.spec(retries=0, timeout_s=0.2)),
        pytest.raises(ModelUnreachable, match="did not answer in time"),
    ):
        await write.answer(Post())


async def test_where_nobody_listens_is_said() -> None:
    url = unused_url()
    with (
        using({"base_url": url, "model": "m", "retries": 0}),
        pytest.raises(ModelUnreachable, match=f"m at {url} cannot be reached .* Is the server running"),
    ):
        await write.answer(Post())


async def test_a_stream_that_breaks_is_an_error_too(server: ChatServer) -> None:
    server.always = Fault(
        body='data: {"id": "1", "choices": []}\n\n', content_type="text/event-stream", cut=True
    )
    with using(server.spec(retries=0)), pytest.raises(ModelUnreachable, match="Step 'write'"):
        async for _ in app.astream(Post(), stream_mode="messages"):
            pass


async def test_a_missing_key_is_asked_for_before_any_call(server: ChatServer) -> None:
    with (
        pytest.raises(SettingsError, match="variable NO_KEY is not set"),
        using(server.spec(api_key_env="NO_KEY")),
    ):
        await write.answer(Post())
    assert server.calls == 0


async def test_after_a_server_error_it_is_tried_again(server: ChatServer, session: Session) -> None:
    server.will(Fault(500), Answer("Boil."))
    with using(server.spec(retries=1)):
        assert (await app.ainvoke(Post(), session.config()))["draft"] == "Boil."
    calls = session.journal.query("SELECT attempt, status, answer, problem FROM calls ORDER BY attempt")
    assert [(c["attempt"], c["status"], c["answer"]) for c in calls] == [
        (1, "failed", None),
        (2, "answered", "Boil."),
    ]
    assert "HTTP 500" in calls[0]["problem"]
    assert calls[1]["problem"] is None


async def test_the_wait_that_the_server_asks_for_is_kept(server: ChatServer) -> None:
    server.will(Fault(429, headers={"Retry-After": "1"}), Answer("Boil."))
    started = time.monotonic()
    with using(server.spec()):
        assert await write.answer(Post()) == "Boil."
    assert time.monotonic() - started >= 1


async def test_retries_are_bounded(server: ChatServer) -> None:
    server.always = Fault(429, headers={"Retry-After": "0"})
    with using(server.spec(retries=3)), pytest.raises(ModelUnavailable) as caught:
        await write.answer(Post())
    assert server.calls == 4
    assert caught.value.retry_after == 0


async def test_a_wait_that_is_too_long_is_not_waited_for(server: ChatServer) -> None:
    server.always = Fault(429, headers={"Retry-After": "3600"})
    with using(server.spec()), pytest.raises(ModelUnavailable):
        await write.answer(Post())
    assert server.calls == 1


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_what_cannot_succeed_is_not_tried_again(server: ChatServer, status: int) -> None:
    server.always = Fault(status)
    with using(server.spec(retries=5)), pytest.raises(ModelError):
        await write.answer(Post())
    assert server.calls == 1


@pytest.mark.parametrize(
    "text", ["sk-proj-abc123def456", "Bearer abc", "gsk_abcdef123456", "key-abcdefgh", f"my {KEY} here"]
)
def test_keys_are_scrubbed(text: str) -> None:
    clean = scrubbed(f"Wrong: {text}.", [KEY])
    assert "***" in clean
    assert not any(part in clean for part in ("abc", "plugh"))
