"""The batch lane, against imitators of OpenAI's and Anthropic's batch APIs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stepgraph import Ask, Session, arun, chain, step, using

from ...batch_apis import BatchServer, doubled


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


async def test_a_run_in_the_batch_lane(server: BatchServer, session: Session, api: str) -> None:
    with using(server.spec(api)):
        result = await arun(app, Word("tea"), session, "t", lane="batch")
    assert result.values["example"] == "re: Use tea: re: What is tea?"
    assert [len(batch.requests) for batch in server.batches] == [1, 1]
    assert not server.live and not doubled(server.ran)
    rows = session.journal.query("SELECT * FROM calls ORDER BY started_at")
    assert all(row["batch_request"] for row in rows)
    usd = (100 * 2 + 20 * 8) / 1e6 / 2
    assert result.spent.usd == 2 * usd
    assert {row["cost_usd"] for row in rows} == {usd}
    assert {row["price_source"] for row in rows} == {"settings, batch x 0.5"}
