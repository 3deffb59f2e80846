"""The batch lane, against imitators of OpenAI's and Anthropic's batch APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.types import Command, interrupt

from stepgraph import Budget, Session, agent, aresume, arun, chain, estimate, fan_out, using
from stepgraph.errors import (
    SettingsError,
)
from stepgraph.providers.batch_terms import BATCH_TERMS, BatchTerms
from stepgraph.providers.stack.batch_desk import parts_of

from ...batch_apis import BatchServer
from ...batch_messages import doubled
from .lane_cases import (
    PATIENT,
    USD,
    Word,
    api as api,
    app,
    example,
    meaning,
    one,
    rows,
    server as server,
    session as session,
    stopped,
    until,
)


async def test_calls_that_are_made_together_are_one_batch_at_half_the_price(
    server: BatchServer, session: Session, api: str
) -> None:
    with using(server.spec(api, batch=PATIENT)):
        runs = (arun(app, Word(f"tea {n}"), session, f"t{n}", lane="batch") for n in range(10))
        results = await asyncio.gather(*runs)
    assert results[3].values["example"] == "re: Use tea 3: re: What is tea 3?"
    assert [len(batch.requests) for batch in server.batches] == [10, 10]
    assert not server.live
    assert not doubled(server.ran)
    assert {result.spent.usd for result in results} == {USD}  # of two calls
    for row in rows(session):
        assert (row["status"], row["cost_usd"], row["price_source"]) == (
            "answered",
            USD / 2,
            "settings, batch x 0.5",
        )
        assert row["batch_request"]
    assert {row["result"] for row in rows(session, "batch_requests")} == {None}  # each is kept once


async def test_a_live_run_takes_what_a_batch_brought_under_the_same_key(
    server: BatchServer, session: Session, api: str
) -> None:
    with using(server.spec(api)):
        await stopped(session, server)
        await aresume(one, session, "t")
        assert not server.live
        await arun(one, Word("tea"), session, "other", cache_s=100)
    assert not server.live
    assert [row["source"] for row in rows(session)] == ["model", "cache"]
    assert len({row["request_hash"] for row in rows(session)}) == 1


async def test_a_stopped_run_leaves_its_batch_and_a_resume_collects_it_in_its_lane(
    server: BatchServer, session: Session, api: str
) -> None:
    with using(server.spec(api)):
        await stopped(session, server)
        assert not rows(session)  # nothing failed: the call waits
        result = await aresume(one, session, "t")  # which knows the lane
    assert result.values["meaning"] == "re: What is tea?"
    assert len(server.batches) == 1
    assert not doubled(server.ran)
    assert result.spent.calls == 1


async def test_a_budget_reserves_and_counts_the_price_of_a_batch(
    server: BatchServer, session: Session, api: str
) -> None:
    spec = server.spec(api, max_tokens=20)
    with using(spec):
        live_usd = estimate(one, Word("tea")).usd
        batch_usd = estimate(one, Word("tea"), lane="batch").usd
        assert live_usd is not None
        assert batch_usd == live_usd / 2
        most = batch_usd / 3  # of its three tries
        small = await arun(one, Word("tea"), session, "s", lane="batch", budget=Budget(usd=most * 0.9))
        assert small.status == "partial"
        assert not server.batches
        enough = await arun(one, Word("tea"), session, "t", lane="batch", budget=Budget(usd=most * 1.1))
    assert enough.status == "done"
    assert len(server.batches) == 1


async def test_a_budget_of_seconds_that_ends_leaves_the_batch_to_a_resume(
    server: BatchServer, session: Session, api: str
) -> None:
    server.hold = True
    with using(server.spec(api)):
        cut = await arun(one, Word("tea"), session, "t", lane="batch", budget=Budget(seconds=0.5))
        assert cut.status == "partial"
        server.hold = False
        result = await aresume(one, session, "t", budget=Budget())
    assert result.status == "done"
    assert len(server.batches) == 1
    assert result.spent.calls == 1


@dataclass
class Shelf:
    found: list[Word] = field(default_factory=list)


def words(shelf: Shelf) -> list[Word]:
    return [Word(f"word {n}") for n in range(25)]


async def test_the_branches_of_a_fan_out_are_one_batch_whatever_their_order(
    server: BatchServer, session: Session, api: str
) -> None:
    shelf = fan_out(words, meaning, into="found").compile()
    with using(server.spec(api, batch=PATIENT)):
        result = await arun(shelf, Shelf(), session, "t", lane="batch")
    assert [word.meaning for word in result.value.found] == [f"re: What is word {n}?" for n in range(25)]
    assert [len(batch.requests) for batch in server.batches] == [25]


def same(shelf: Shelf) -> list[Word]:
    return [Word("tea")] * 3


async def test_equal_calls_of_a_thread_are_one_request_also_after_a_stop(
    server: BatchServer, session: Session, api: str
) -> None:
    shelf = fan_out(same, meaning, into="found").compile()
    with using(server.spec(api, batch=PATIENT)):
        await stopped(session, server, "t", shelf, Shelf())
        result = await aresume(shelf, session, "t")
    assert [word.meaning for word in result.value.found] == ["re: What is tea?"] * 3
    assert [len(batch.requests) for batch in server.batches] == [1]
    assert sorted(row["source"] for row in rows(session)) == ["coalesced", "coalesced", "model"]


@tool
def look_up(name: str) -> str:
    """Look a word up."""
    return f"{name} is a drink"


async def test_an_agent_makes_a_batch_for_each_turn(server: BatchServer, session: Session, api: str) -> None:
    def calls(body: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [] if "is a drink" in json.dumps(body["messages"]) else [("look_up", '{"name": "tea"}')] * 2

    server.tool_calls = calls
    helped = agent(meaning, tools=[look_up]).compile()
    with using(server.spec(api)):
        result = await arun(helped, Word("tea"), session, "t", lane="batch")
    assert "is a drink" in result.values["meaning"]
    assert [len(batch.requests) for batch in server.batches] == [1, 1]


def fine(word: Word) -> dict[str, Any]:
    return {"meaning": f"{word.meaning} {interrupt('fine?')}"}


async def test_an_interrupt_waits_for_its_answer_between_two_batches(
    server: BatchServer, session: Session, api: str
) -> None:
    asking = chain(meaning, fine, example).compile()
    with using(server.spec(api)):
        waiting = await arun(asking, Word("tea"), session, "t", lane="batch")
        assert waiting.status == "interrupted"
        result = await arun(asking, Command(resume="yes"), session, "t")
    assert result.values["example"] == "re: Use tea: re: What is tea? yes"
    assert [len(batch.requests) for batch in server.batches] == [1, 1]


async def test_whole_answers_are_streamed(server: BatchServer, session: Session, api: str) -> None:
    with using(server.spec(api)):
        config = session.config("t", lane="batch")
        stream = one.astream(Word("tea"), config, stream_mode="messages")
        texts = [chunk.text async for chunk, _ in stream]
    assert [text for text in texts if text] == ["re: What is tea?"]


@pytest.mark.parametrize(
    ("sizes", "parts"),
    [
        ([1] * 5, [[1, 1], [1, 1], [1]]),
        ([6, 6, 3], [[6], [6, 3]]),
        ([30, 1], [[30], [1]]),
        ([], []),
    ],
    ids=str,
)
def test_what_is_too_much_for_one_batch_is_split(sizes: list[int], parts: list[list[int]]) -> None:
    terms = BatchTerms("openai", 0.5, 2, 10, "here")
    entries = [type("Entry", (), {"size": size})() for size in sizes]
    assert [[entry.size for entry in part] for part in parts_of(entries, terms)] == parts


def test_the_limits_are_those_of_the_documentation() -> None:
    assert (BATCH_TERMS["openai"].max_requests, BATCH_TERMS["openai"].max_bytes) == (50_000, 200_000_000)
    assert (BATCH_TERMS["anthropic"].max_requests, BATCH_TERMS["anthropic"].max_bytes) == (
        100_000,
        256_000_000,
    )
    assert all(terms.price == 0.5 and terms.source for terms in BATCH_TERMS.values())


@pytest.mark.parametrize("api", ["openai", "anthropic"])
async def test_a_provider_by_its_name_has_its_batch_api_whoever_asks_it_live(
    server: BatchServer, session: Session, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{api.upper()}_API_KEY", "sk-secret-123456")
    spec = {**server.spec(api), "provider": api, "base_url": f"{server.address}/v1"}
    spec["batch"] = {name: value for name, value in spec["batch"].items() if name != "api"}
    with using(spec):
        result = await arun(one, Word("tea"), session, "t", lane="batch")
    assert result.values["meaning"] == "re: What is tea?"
    assert result.spent.usd == USD / 2
    session.journal.flush()
    kept = b"".join(path.read_bytes() for path in session.path.parent.iterdir())
    assert b"sk-secret" not in kept
    params = {**spec, "client": "langchain", "params": {"verbose": False}}
    with using(params), pytest.raises(SettingsError, match="params for LangChain's class"):
        await arun(one, Word("tea"), session, "u", lane="batch")


async def test_two_sessions_on_one_file_wait_for_one_batch(
    server: BatchServer, session: Session, api: str
) -> None:
    with using(server.spec(api, batch=PATIENT)):
        server.hold = True
        runs = asyncio.gather(
            *(arun(one, Word(word), session, word, lane="batch") for word in ("a", "b")),
            return_exceptions=True,
        )
        await until(lambda: any(row["status"] == "waiting" for row in rows(session, "batches")))
        runs.cancel()
        with pytest.raises(asyncio.CancelledError):
            await runs
        server.hold = False
        with Session(session.path) as other:
            first, second = await asyncio.gather(aresume(one, session, "a"), aresume(one, other, "b"))
    assert (first.values["meaning"], second.values["meaning"]) == ("re: What is a?", "re: What is b?")
    assert not doubled(server.ran)
    assert [len(batch.requests) for batch in server.batches] == [2]
