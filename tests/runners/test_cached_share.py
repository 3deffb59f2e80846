"""A run's result and its page say which part of the input was read from the provider's cache."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from stepgraph import Ask, Session, chain, run, step, using
from stepgraph.state.masking import EVERYTHING
from stepgraph.tracing.record.run import read_run
from stepgraph.ui.pages import Pages
from stepgraph.ui.queries import Query
from stepgraph.ui.records import Reader

from ..servers import Answer, ChatServer


@dataclass
class Memo:
    text: str
    short: str = ""
    long: str = ""


@step("short")
def shorten(memo: Memo) -> Ask[str]:
    return Ask(f"Shorten: {memo.text}")


@step("long")
def lengthen(memo: Memo) -> Ask[str]:
    return Ask(f"Lengthen: {memo.text}")


@pytest.mark.parametrize(("cached", "share"), [(None, 0.0), (0, 0.0), (40, 0.4)])
def test_result_and_page_say_the_share(
    session: Session, server: ChatServer, cached: int | None, share: float
) -> None:
    answer = Answer("a", cached=cached) if cached is not None else Answer("a")
    server.will(answer, answer)
    with using({"base_url": server.url, "model": "m"}):
        result = run(chain(shorten, lengthen).compile(), Memo("x"), session=session)
    assert result.spent.cached_tokens == 2 * (cached or 0)
    assert result.spent.cached_share == pytest.approx(share)
    assert (result.spent + result.spent).cached_tokens == 4 * (cached or 0)
    told = read_run(session, result.thread_id).cached_share
    page = Pages(Reader(session), EVERYTHING).answer("/run", Query([("thread", result.thread_id)])).body
    text = page.decode() if isinstance(page, bytes) else str(page)
    if cached:
        assert told == pytest.approx(share)
        assert f"{100 * share:.0f} % of the input" in text
    else:
        assert not told
