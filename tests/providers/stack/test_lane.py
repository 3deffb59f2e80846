"""The batch lane, against imitators of OpenAI's and Anthropic's batch APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.types import Command, interrupt

from stepgraph import Ask, Budget, Session, agent, aresume, arun, chain, estimate, fan_out, step, using
from stepgraph.errors import (
    AuthenticationFailed,
    BatchFailed,
    ModelRefused,
    SettingsError,
)
from stepgraph.providers.batch_terms import BATCH_TERMS, BatchTerms
from stepgraph.providers.batches.anthropic import AnthropicBatches
from stepgraph.providers.batches.openai import OpenAIBatches
from stepgraph.providers.settings import BatchSettings
from stepgraph.providers.stack.batch_desk import parts_of

from ...batch_apis import LIVE, BatchServer, doubled, said

USD = (100 * 2 + 20 * 8) / 1e6
PATIENT = {"quiet_s": 0.5}  # calls meet also on a busy machine


@dataclass
class Word:
    text: str
    meaning: str = ""
    example: str = ""


@step("meaning")
def meaning(word: Word) -> Ask[str]:
    return Ask(f"What is {word.text}?")


@step("example", model="large")
def example(word: Word) -> Ask[str]:
    return Ask(f"Use {word.text}: {word.meaning}")


app = chain(meaning, example).compile()
one = chain(meaning).compile()


@pytest.fixture(params=["openai", "anthropic"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer() as server:
        yield server


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path / "runs.sqlite") as session:
        yield session


def rows(session: Session, table: str = "calls") -> list[dict[str, Any]]:
    return session.journal.query(f"SELECT * FROM {table} ORDER BY rowid")


async def until(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("It did not come to that.")


async def stopped(
    session: Session, server: BatchServer, thread: str = "t", graph: Any = one, given: Any = None
) -> None:
    """Begin a run, and stop it while its batch is under way."""
    begun = len(server.batches)
    server.hold = True
    run = asyncio.create_task(arun(graph, given or Word("tea"), session, thread, lane="batch"))
    await until(lambda: len(server.batches) > begun and rows(session, "batches")[-1]["status"] == "waiting")
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    server.hold = False


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


async def test_a_batch_whose_submit_got_no_answer_is_found_and_not_handed_in_again(
    server: BatchServer, session: Session, api: str
) -> None:
    server.page = 1
    for n in range(3):  # batches of somebody else, one of them as large
        server._new("other", {f"x-{n}-{m}": {"messages": [{"content": "x"}]} for m in range(n or 1)})
    server.ran.clear()
    server.will.append("lose")
    with using(server.spec(api)):
        result = await arun(one, Word("tea"), session, "t", lane="batch")
    assert result.values["meaning"] == "re: What is tea?"
    assert len(server.batches) == 4
    assert rows(session, "batches")[0]["provider_id"] == server.batches[3].id


async def test_a_batch_that_the_provider_lists_late_is_found(
    server: BatchServer, session: Session, api: str
) -> None:
    server.unlisted = 3
    server.will.append("lose")
    with using(server.spec(api, batch={"settle_s": 5})):
        await arun(one, Word("tea"), session, "t", lane="batch")
    assert server.unlisted == 0
    assert len(server.batches) == 1


def test_what_cannot_be_barred_is_looked_for_as_long_as_a_request_can_be_on_its_way() -> None:
    """Anthropic's API has no key that makes a submit count once; OpenAI's has a file that can be deleted."""
    assert BatchSettings().settle_s is None
    assert AnthropicBatches.settle_s >= 600 > OpenAIBatches.settle_s


async def test_a_submit_that_comes_late_is_found_and_not_paid_twice(
    server: BatchServer, session: Session, api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnthropicBatches, "settle_s", 20.0)
    monkeypatch.setattr(OpenAIBatches, "settle_s", 20.0)
    server.unlisted = 5
    server.will.append("lose")
    with using(server.spec(api, batch={"settle_s": None, "poll_s": 0.1})):
        await arun(one, Word("tea"), session, "t", lane="batch")
    assert server.unlisted == 0
    assert len(server.batches) == 1


@pytest.mark.parametrize("fault", [529, 429, 400])
async def test_what_says_that_it_began_nothing_is_handed_in_again_at_once(
    server: BatchServer, session: Session, api: str, fault: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnthropicBatches, "settle_s", 600.0)
    monkeypatch.setattr(OpenAIBatches, "settle_s", 600.0)
    server.will.append(fault)
    with using(server.spec(api, batch={"settle_s": None})):
        result = await asyncio.gather(
            arun(one, Word("tea"), session, "t", lane="batch"), return_exceptions=True
        )
    assert isinstance(result[0], ModelRefused) == (fault == 400)
    assert len(server.batches) == (fault != 400)


async def test_a_batch_that_was_never_begun_is_handed_in_anew(
    server: BatchServer, session: Session, api: str
) -> None:
    server.will += [500, 429]
    with using(server.spec(api)):
        await arun(one, Word("tea"), session, "t", lane="batch")
    assert len(server.batches) == 1
    assert not server.live
    if api == "openai":  # what may have been on its way would have found no file
        assert len(server.files.keys() - server.deleted - {"output_file_id_batch_0"}) == 1


@pytest.mark.parametrize(
    ("fate", "raised"), [("refuse", ModelRefused), ("cancel", BatchFailed)], ids=["refuse", "cancel"]
)
async def test_a_request_that_is_refused_or_canceled_raises_and_the_others_answer(
    server: BatchServer, session: Session, api: str, fate: Any, raised: type[Exception]
) -> None:
    server.fate = lambda body: fate if "bad" in said(body) else "ok"
    with using(server.spec(api)):
        runs = (arun(one, Word(word), session, word, lane="batch") for word in ("bad", "good"))
        bad, good = await asyncio.gather(*runs, return_exceptions=True)
        assert isinstance(bad, raised)
        assert not isinstance(good, BaseException)
        assert not server.live
        server.fate = lambda _: "ok"
        result = await aresume(one, session, "bad")  # it is asked anew, in a batch
    assert result.values["meaning"] == "re: What is bad?"
    assert sum(len(batch.requests) for batch in server.batches) == 3
    (failed,) = [row for row in rows(session) if row["status"] == "failed"]
    assert failed["batch_request"]
    assert failed["cost_usd"] is None


@pytest.mark.parametrize("fate", ["expire", "error", "missing"])
async def test_a_request_that_its_batch_did_not_answer_is_made_live_and_the_record_says_why(
    server: BatchServer, session: Session, api: str, fate: Any
) -> None:
    server.fate = lambda body: fate if "bad" in said(body) else "ok"
    with using(server.spec("openai" if fate == "missing" else api)):  # whose live form the stub has
        runs = (arun(one, Word(word), session, word, lane="batch") for word in ("bad", "good"))
        results = await asyncio.gather(*runs)
    assert [result.values["meaning"] for result in results] == ["re: What is bad?", "re: What is good?"]
    assert server.live == 1
    assert server.ran[f"{LIVE}What is bad?"] == 1
    first, second = (row for row in rows(session) if row["thread_id"] == "bad")
    assert (first["status"], second["status"]) == ("failed", "answered")
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert second["reason"].startswith("live, after the batch: ")
    assert (second["batch_request"], second["cost_usd"]) == (None, USD)


async def test_without_a_fallback_the_typed_error_comes_out(
    server: BatchServer, session: Session, api: str
) -> None:
    server.fate = lambda _: "expire"
    with using(server.spec(api, batch={"fallback": "error"})), pytest.raises(BatchFailed, match="24 hours"):
        await arun(one, Word("tea"), session, "t", lane="batch")
    assert not server.live


@pytest.mark.parametrize(
    ("code", "live"), [("invalid_request", False), ("token_limit_exceeded", True)], ids=str
)
async def test_a_batch_that_fails_its_validation(
    server: BatchServer, session: Session, code: str, live: bool
) -> None:
    server.invalid = code
    with using(server.spec("openai")):
        if live:  # there was no room for it; a live call has room
            await arun(one, Word("tea"), session, "t", lane="batch")
        else:
            with pytest.raises(ModelRefused, match=f"failed: {code}: not taken"):
                await arun(one, Word("tea"), session, "t", lane="batch")
    assert server.live == live


async def test_a_submit_that_is_refused_raises_for_all_its_calls(
    server: BatchServer, session: Session, api: str
) -> None:
    server.will.append(401)
    with using(server.spec(api, batch=PATIENT)):
        runs = (arun(one, Word(word), session, word, lane="batch") for word in ("a", "b"))
        errors = await asyncio.gather(*runs, return_exceptions=True)
    assert [type(error) for error in errors] == [AuthenticationFailed] * 2
    assert rows(session, "batches")[0]["status"] == "void"


async def test_polls_and_downloads_that_fail_are_made_again(
    server: BatchServer, session: Session, api: str
) -> None:
    server.poll_faults += [500, 429, 503]
    server.cut_files = 2
    with using(server.spec(api)):
        runs = (arun(one, Word(word), session, word, lane="batch") for word in ("a", "b"))
        await asyncio.gather(*runs)
    assert sum(len(batch.requests) for batch in server.batches) == 2
    assert not server.live


async def test_a_key_that_is_no_longer_good_keeps_the_batch_for_a_resume(
    server: BatchServer, session: Session, api: str
) -> None:
    with using(server.spec(api)):
        await stopped(session, server)
        server.poll_faults += [401] * 3  # a look of the stopped run may still be on its way
        with pytest.raises(AuthenticationFailed):
            await aresume(one, session, "t")
        server.poll_faults.clear()
        assert (await aresume(one, session, "t")).values["meaning"] == "re: What is tea?"
    assert len(server.batches) == 1
    assert not server.live


async def test_a_provider_without_a_batch_api_is_told_before_anything_is_paid(
    server: BatchServer, session: Session
) -> None:
    plain = {**server.spec(), "batch": {}}
    with using(server.spec(), large=plain), pytest.raises(SettingsError, match=r"role 'large' .*served"):
        await arun(app, Word("tea"), session, "t", lane="batch")
    assert not server.batches
    with (
        using([server.spec(), plain]),
        pytest.raises(SettingsError, match=r"role 'default' .*served"),
    ):
        await arun(one, Word("tea"), session, "t", lane="batch")
    with using(server.spec(), large=plain), pytest.raises(SettingsError, match="role 'large'"):
        await app.ainvoke(Word("tea"), session.config("u", lane="batch"))  # told when it is asked


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
