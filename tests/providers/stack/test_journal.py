"""The journal around a call: what goes on record of it, and what comes back from there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from stepgraph import Session
from stepgraph.providers.model import AttemptOutcome, CallContext, Reply, Request, Usage
from stepgraph.providers.stack.journal import (
    JournalLayer,
    ReplayLayer,
    WouldAsk,
    call_record,
    rehearsing,
    reject,
    reply_of,
    share,
)
from stepgraph.state.errors import ModelRefused
from stepgraph.state.journal.records import Call, CallKey
from stepgraph.state.session.foreign_calls import COUNTED, under_way

from .journal_cases import BARE, FULL, HELLO, Answers, in_a_node, rows


@pytest.fixture
def here(session: Session) -> CallContext:
    return in_a_node(session)


@contextmanager
def resumed(session: Session) -> Iterator[CallContext]:
    """Make the same call in the thread's next life."""
    session.journal.flush()
    with Session(session.path) as other:
        yield in_a_node(other)


def never(call: Call, context: CallContext) -> None:
    return None


async def test_all_that_a_reply_says_goes_on_record_and_comes_back(
    session: Session, here: CallContext
) -> None:
    model = Answers(FULL)
    dials = {"top_p": 0.5}
    stack = ReplayLayer(JournalLayer(model, dials, "maker"), "identity", never)
    assert (stack.name, stack.inner.name) == ("asked", "asked")
    began = time.time()
    first = await stack.complete(HELLO, replace(here, attempt=2, reason="why"))
    (row,) = rows(session)
    assert {name: row[name] for name in row if row[name] is not None} == {
        "id": first.call_id,
        "thread_id": "t",
        "task": here.task,
        "path": here.path,
        "step": "step",
        "role": "large",
        "request_hash": row["request_hash"],
        "occurrence": 0,
        "attempt": 2,
        "status": "answered",
        "model_asked": "asked",
        "model_answered": "answering",
        "messages": '[{"role":"user","content":"Hello"}]',
        "params": '{"settings": {"top_p": 0.5}, "provider": "maker"}',
        "answer": "It boils.",
        "tool_calls": row["tool_calls"],
        "reasoning": "Water is hot.",
        "reply_state": '{"signature":"abc"}',
        "media": row["media"],
        "finish_reason": "stop",
        "input_tokens": 10,
        "output_tokens": 20,
        "cached_tokens": 3,
        "reasoning_tokens": 4,
        "cache_write_tokens": 5,
        "cost_usd": 0.25,
        "cost_parts": '{"input":0.125,"output":0.125}',
        "price_source": "settings",
        "price_date": "2026-10-01",
        "latency_s": 1.5,
        "started_at": row["started_at"],
        "source": "model",
        "reason": "why",
        "replays": 0,
    } | {name: row[name] for name in row if name not in Call.__slots__ and row[name] is not None}
    assert began <= row["started_at"] <= time.time()
    assert [sorted(call) for call in json.loads(row["tool_calls"])] == [
        ["arguments", "extra", "id", "name", "problem"],
        ["arguments", "id", "name", "problem"],
    ]
    with resumed(session) as later:
        again = await stack.complete(HELLO, later)
    assert again == replace(FULL, cost_parts=None, call_id=first.call_id, replayed=True)
    assert len(model.contexts) == 1


async def test_what_a_reply_does_not_say_is_not_on_record(session: Session, here: CallContext) -> None:
    reply = await JournalLayer(Answers(BARE)).complete(HELLO, here)
    (row,) = rows(session)
    empty = (
        "tool_calls",
        "reasoning",
        "reply_state",
        "media",
        "cost_parts",
        "estimated_tokens",
        "first_token_s",
    )
    assert [row[name] for name in empty] == [None] * len(empty)
    assert (row["estimated_picos"], row["params"], row["request_hash"], row["occurrence"]) == (
        None,
        "{}",
        "",
        0,
    )
    assert replace(reply_of(call_record("asked", HELLO, here, 0.0)), call_id=None) == Reply("", "asked")
    assert reply == replace(BARE, call_id=row["id"])


@pytest.mark.parametrize(
    ("usage", "cost_usd", "tokens", "usd"),
    [
        (Usage(10, 20), 0.1, 0, 0.0),
        (Usage(None, None), 0.1, 100, 0.0),
        (Usage(10, None), 0.1, 90, 0.0),
        (Usage(None, 20), 0.1, 80, 0.0),
        (Usage(160, None), 0.1, 0, 0.0),
        (Usage(10, 20), None, 0, 0.5),
        (Usage(None, None), None, 100, 0.5),
    ],
    ids=["all known", "no tokens", "only input", "only output", "more than reserved", "no cost", "nothing"],
)
async def test_where_nobody_counted_the_rest_of_what_was_reserved_is_charged(
    session: Session, here: CallContext, usage: Usage, cost_usd: float | None, tokens: int, usd: float
) -> None:
    said = Reply("ok", "m", usage=usage, cost_usd=cost_usd)
    outcome = AttemptOutcome()
    context = replace(here, reserved='{"tokens": 100, "usd": 0.5}', outcome=outcome)
    reply = await JournalLayer(Answers(said)).complete(HELLO, context)
    assert (reply.estimated_tokens, reply.estimated_usd) == (tokens, usd)
    assert outcome.reply is not None
    assert outcome.reply.estimated_tokens == tokens
    (row,) = rows(session)
    assert (row["estimated_tokens"], row["estimated_picos"]) == (tokens or None, usd * 10**12 or None)
    back = reply_of(Call(**{name: row[name] for name in Call.__slots__}))
    assert (back.estimated_tokens, back.estimated_usd) == (tokens, usd)

    unreserved = await JournalLayer(Answers(said)).complete(HELLO, here)
    assert (unreserved.estimated_tokens, unreserved.estimated_usd) == (0, 0.0)


async def test_a_failed_attempt_says_why_and_is_of_no_use_to_a_resume(
    session: Session, here: CallContext
) -> None:
    model = Answers(ModelRefused("no"), BARE)
    outcome = AttemptOutcome()
    stack = ReplayLayer(JournalLayer(model), "identity", never)
    with pytest.raises(ModelRefused):
        await stack.complete(HELLO, replace(here, outcome=outcome))
    (row,) = rows(session)
    assert (row["status"], row["problem"], row["answer"]) == ("failed", "ModelRefused: no", None)
    assert 0 <= row["latency_s"] < 600
    assert outcome.sent
    with resumed(session) as later:
        assert (await stack.complete(HELLO, later)).text == "ok"


async def test_a_cancelled_attempt_is_on_record_too(session: Session, here: CallContext) -> None:
    with pytest.raises(asyncio.CancelledError):
        await JournalLayer(Answers(asyncio.CancelledError())).complete(HELLO, here)
    (row,) = rows(session)
    assert (row["status"], row["problem"]) == ("failed", "CancelledError: ")
    assert under_way.get() is None


async def test_an_attempt_that_waits_in_a_batch_is_not_on_record_yet(
    session: Session, here: CallContext
) -> None:
    class HandsIn(Answers):
        async def complete(self, request: Request, context: CallContext) -> Reply:
            assert context.outcome is not None
            context.outcome.sent = False
            return await super().complete(request, context)

    with pytest.raises(asyncio.CancelledError):
        await JournalLayer(HandsIn(asyncio.CancelledError())).complete(
            HELLO, replace(here, outcome=AttemptOutcome())
        )
    assert rows(session) == []


async def test_the_first_token_is_timed_from_the_start_of_the_call(
    session: Session, here: CallContext
) -> None:
    class Streams(Answers):
        async def complete(self, request: Request, context: CallContext) -> Reply:
            seen = under_way.get()
            assert seen is not None
            seen.token()
            self.first = seen.first_token_at
            return await super().complete(request, context)

    model = Streams(BARE)
    await JournalLayer(model).complete(HELLO, here)
    (row,) = rows(session)
    assert model.first is not None
    assert row["first_token_s"] == model.first - row["started_at"]


async def test_without_a_session_the_layers_do_nothing() -> None:
    model = Answers(BARE, BARE)
    stack = ReplayLayer(JournalLayer(model), "identity", never)
    assert await stack.complete(HELLO, CallContext("step")) == BARE
    reject(BARE, CallContext("step"), "bad")


async def test_only_an_answer_on_record_can_be_rejected(session: Session, here: CallContext) -> None:
    stack = ReplayLayer(JournalLayer(Answers(BARE, FULL)), "identity", never)
    first = await stack.complete(HELLO, here)
    reject(BARE, here, "of somewhere else")
    assert [row["status"] for row in rows(session)] == ["answered"]
    reject(first, here, "no number")
    assert [(row["status"], row["problem"]) for row in rows(session)] == [("rejected", "no number")]
    with resumed(session) as later:
        assert (await stack.complete(HELLO, later)).text == "It boils."


async def test_a_doubted_answer_is_rejected_and_asked_for_again(session: Session, here: CallContext) -> None:
    def doubt(call: Call, context: CallContext) -> str | None:
        return "no number" if call.answer == "ok" else None

    model = Answers(BARE, FULL)
    stack = ReplayLayer(JournalLayer(model), "identity", doubt)
    await stack.complete(HELLO, here)
    token = rehearsing.set(True)
    try:
        with resumed(session) as later, pytest.raises(WouldAsk):
            await stack.complete(HELLO, later)
    finally:
        rehearsing.reset(token)
    session.journal.write([("UPDATE calls SET status = 'answered', problem = NULL", ())])
    with resumed(session) as later:
        assert (await stack.complete(HELLO, later)).text == "It boils."
    assert [(row["status"], row["problem"]) for row in rows(session)] == [
        ("rejected", "no number"),
        ("answered", None),
    ]
    first, second = (context.key for context in model.contexts)
    assert first is not None
    assert first == second


@pytest.mark.parametrize("is_recorded", [True, False], ids=["with a session", "without one"])
async def test_a_rehearsal_asks_nobody_and_says_what_it_would_ask(
    session: Session, is_recorded: bool
) -> None:
    model = Answers(BARE)
    stack = ReplayLayer(JournalLayer(model), "identity", never)
    context = CallContext("step", config=session.config("t") if is_recorded else None)
    token = rehearsing.set(True)
    try:
        with pytest.raises(WouldAsk, match="asked would be asked") as caught:
            await stack.complete(Request(HELLO.messages, max_tokens=7), context)
    finally:
        rehearsing.reset(token)
    assert caught.value.model == "asked"
    assert caught.value.prompt == '[{"role": "user", "content": "Hello"}] {"max_tokens": 7}'
    assert model.contexts == []


async def test_a_shared_answer_is_this_calls_own_and_costs_nothing(
    session: Session, here: CallContext
) -> None:
    key = CallKey("t", here.task, "hash", 3)
    given = replace(FULL, call_id="first")
    shared = await share("asked", HELLO, replace(here, key=key), given, "coalesced", "equal")
    (row,) = rows(session)
    names = (
        "request_hash",
        "occurrence",
        "source",
        "origin",
        "reason",
        "input_tokens",
        "output_tokens",
        "cost_usd",
    )
    assert [row[name] for name in names] == ["hash", 3, "coalesced", "first", "equal", 0, 0, 0.0]
    assert (shared.text, shared.source, shared.usage) == ("It boils.", "coalesced", Usage(0, 0))
    assert (await share("asked", HELLO, CallContext("step"), given, "cache", "old")).text == "It boils."
    assert len(rows(session)) == 1


class Langfuses(BaseCallbackHandler):
    __module__ = "langfuse.langchain"


@pytest.mark.parametrize(
    ("handlers", "is_sent", "reason", "told"),
    [
        ([Langfuses()], False, None, COUNTED),
        ([Langfuses()], False, "why", f"why; {COUNTED}"),
        ([Langfuses()], True, "why", "why"),
        ([BaseCallbackHandler()], False, "why", "why"),
        ([], False, None, None),
    ],
    ids=["by its handler", "and for a reason", "by the session", "another handler", "no handler"],
)
async def test_the_record_says_who_counts_a_call_for_langfuse(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    handlers: list[BaseCallbackHandler],
    is_sent: bool,
    reason: str | None,
    told: str | None,
) -> None:
    monkeypatch.setattr(session, "sends_to_langfuse", is_sent)
    context = CallContext("step", config={**session.config("t"), "callbacks": handlers}, reason=reason)
    assert call_record("asked", HELLO, context, 0.0).reason == told
    alone = CallContext("step", config={"callbacks": handlers}, reason=reason)
    assert call_record("asked", HELLO, alone, 0.0).reason == reason
