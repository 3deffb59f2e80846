"""The batch lane when submits, requests or batches fail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepgraph import Session, aresume, arun, using
from stepgraph.errors import (
    AuthenticationFailed,
    BatchFailed,
    ModelRefused,
    SettingsError,
)
from stepgraph.providers.batches.anthropic import AnthropicBatches
from stepgraph.providers.batches.openai import OpenAIBatches
from stepgraph.providers.settings import BatchSettings

from ...batch_apis import BatchServer
from ...batch_messages import LIVE, said
from .lane_cases import (
    PATIENT,
    USD,
    Word,
    api as api,
    app,
    one,
    rows,
    server as server,
    session as session,
    stopped,
)


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
    with using(server.spec(api, batch={"settle_s": 60})):
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
    monkeypatch.setattr(AnthropicBatches, "settle_s", 60.0)
    monkeypatch.setattr(OpenAIBatches, "settle_s", 60.0)
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
