"""What Temporal keeps of a run: names and words, however much the run holds; and how a server is named."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stepgraph import Ask, ScriptedModel, asubmit, aworker, chain, fan_out, step
from stepgraph.errors import EngineUnreachable, InputError, RunFailed
from stepgraph.runners.loading import Loaded
from stepgraph.runners.sessions import close_sessions
from stepgraph.state.keys_in_use import remember

temporal = pytest.importorskip("stepgraph.runners.engines.temporal")
temporal_client = pytest.importorskip("temporalio.client")
pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("cluster")]
SECRET = "what only the prompt says"
CALLS = 200


@dataclass
class Piece:
    number: int = 0
    said: str = ""


@dataclass
class Book:
    about: str = ""
    pieces: list[Piece] = field(default_factory=list)
    ballast: str = ""


@step("said")
def say(piece: Piece) -> Ask[str]:
    return Ask(f"{SECRET} {piece.number}")


def load(book: Book) -> dict[str, str]:
    return {"ballast": "x" * 20_000_000}


def cut(book: Book) -> list[Piece]:
    return [Piece(number) for number in range(CALLS)]


async def history(on: str, thread: str) -> tuple[int, bytes, Any]:
    """Return the events of a workflow that has ended, their bytes, and what the server tells of it.

    The record has the result before the server knows that the workflow has ended.
    """
    address = temporal.Address.read(on)
    client = await address.client()
    handle = client.get_workflow_handle(f"{address.queue}/{thread}")
    with suppress(temporal_client.WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 120)
    events = [event async for event in handle.fetch_history_events()]
    return len(events), b"".join(event.SerializeToString() for event in events), await handle.describe()


async def test_its_history_is_small_whatever_the_state_and_shows_how_the_run_stands(
    temporal_server: Any, tmp_path: Path
) -> None:
    on = f"temporal://{temporal_server.address}?queue={secrets.token_hex(4)}"
    graph = chain(load, fan_out(cut, say, into="pieces", max_items=CALLS), name="book").compile()
    served = {"book": Loaded(graph, "book")}
    file = tmp_path / "runs.sqlite"
    model = ScriptedModel(lambda request, context: "said")
    ready = asyncio.Event()
    worker = asyncio.create_task(aworker(served, db=file, on=on, models=model, ready=ready.set))
    await ready.wait()
    run = await asubmit("book", {"about": SECRET}, db=file, on=on, thread_id="one", user="ada")
    result = await run.aresult(120)
    assert result.spent.calls == CALLS
    events, data, described = await history(on, "one")
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    assert events <= 12
    assert len(data) <= 2048
    assert SECRET.encode() not in data
    shown = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert (shown["StepgraphGraph"], shown["StepgraphStatus"], shown["StepgraphUser"]) == (
        "book",
        "done",
        "ada",
    )
    assert len(str((await described.memo())["trace"])) == 32
    close_sessions()


async def test_a_workflow_that_is_terminated_has_failed(
    temporal_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporal, "CHECK_S", 0.1)
    on = f"temporal://{temporal_server.address}?queue={secrets.token_hex(4)}"
    run = await asubmit("book", {}, db=tmp_path / "runs.sqlite", on=on, thread_id="one")
    address = temporal.Address.read(on)
    await (await address.client()).get_workflow_handle(f"{address.queue}/one").terminate()
    with pytest.raises(RunFailed) as failed:
        await run.aresult(60)
    assert failed.value.kind == "WorkflowTerminated"
    close_sessions()


@pytest.mark.parametrize(
    ("on", "problem"),
    [
        ("temporal://key@localhost:7233", "Keys and certificates come from the environment"),
        ("temporal://localhost:7233?api_key=1", "Keys and certificates come from the environment"),
        ("temporal://localhost:port", "the port is no number"),
    ],
)
def test_an_address_holds_no_key(on: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as refused:
        temporal.Address.read(on)
    assert "key@" not in str(refused.value)


async def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    with pytest.raises(EngineUnreachable, match=r"No Temporal server answers at 127\.0\.0\.1:9"):
        await asubmit("book", {}, db=tmp_path / "runs.sqlite", on="temporal://127.0.0.1:9", thread_id="one")
    close_sessions()


async def test_a_failure_tells_temporal_no_key(temporal_server: Any, tmp_path: Path) -> None:
    key = f"sk-live-{secrets.token_hex(16)}"
    remember(key)

    def fail(book: Book) -> dict[str, str]:
        raise RuntimeError(f"{SECRET}: refused {key} and {key[:20]}")

    on = f"temporal://{temporal_server.address}?queue={secrets.token_hex(4)}"
    file = tmp_path / "runs.sqlite"
    ready = asyncio.Event()
    served = {"book": Loaded(chain(fail, name="book").compile(), "book")}
    worker = asyncio.create_task(aworker(served, db=file, on=on, ready=ready.set))
    await ready.wait()
    run = await asubmit("book", {"about": key}, db=file, on=on, thread_id="one", user=f"ada {key}")
    with pytest.raises(RunFailed) as failed:
        await run.aresult(60)
    _, data, described = await history(on, "one")
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    for told in (data, str(described.raw_description).encode(), str(failed.value).encode()):
        assert key.encode() not in told
    assert SECRET.encode() not in data
    close_sessions()
