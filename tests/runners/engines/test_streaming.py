"""A thread that workers run is streamed to whoever listens, from any machine, as one that runs here."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stepgraph import RunResult, ScriptedModel, Session, asubmit, asubmitted, aworker, stream_run, using
from stepgraph.errors import InputError
from stepgraph.providers.model import CallContext, Request
from stepgraph.runners.sessions import close_sessions, session_at
from stepgraph.runners.streams.parts import Parts
from stepgraph.runners.streams.wire import BEGIN, NODE, TEXT
from stepgraph.state.journal.streams import Cursor, Standing, Written

from ...child_path import child_path
from . import flows
from .places import LIMIT_S, MODULE, Place, ended, until

pytestmark = pytest.mark.xdist_group("cluster")


class Speaker(ScriptedModel):
    """Says an answer word by word, and holds back what comes after a word until it may go on."""

    def __init__(self) -> None:
        super().__init__(self._say)
        self.said: list[str] = []
        self.streamed = 0
        self.after: dict[str, asyncio.Event] = {}

    @staticmethod
    def _say(request: Request, context: CallContext) -> str:
        return f"{request.messages[-1]['content']} word by word"

    async def complete(self, request: Request, context: CallContext) -> Any:
        reply = await super().complete(request, context)
        for word in reply.text.split(" "):
            if context.sink is not None and context.sink.listened:
                self.streamed += 1
                await context.sink.emit(f"{word} ")
            self.said.append(word)
            if word in self.after:
                await self.after[word].wait()
        return reply


@asynccontextmanager
async def speaking(db: str | Path, *graphs: str, on: str | None = None) -> AsyncIterator[Speaker]:
    model, ready = Speaker(), asyncio.Event()
    names = [f"{MODULE}:{graph}" for graph in graphs]
    task = asyncio.create_task(aworker(*names, db=db, on=on, models=model, ready=ready.set))
    await ready.wait()
    yield model
    await ended(task)


def told(parts: list[Any]) -> dict[str, Any]:
    """Return what was heard, however it was cut into pieces: the words of each step, updates, the status."""
    words: dict[tuple[str, ...], str] = {}
    updates = []
    for part in parts:
        ns = tuple(name.split(":")[0] for name in part["ns"])
        if part["type"] == "messages":
            chunk, metadata = part["data"]
            assert not chunk.response_metadata.get("stepgraph", {}).get("broken")
            place = (*ns, metadata["langgraph_node"], metadata["stepgraph_step"])
            words[place] = words.get(place, "") + chunk.text
        elif part["type"] in ("updates", "custom"):
            updates.append((part["type"], ns, str(part["data"])))
    return {"words": words, "updates": sorted(updates)}


async def test_a_stream_is_that_of_a_local_run(place: Place, tmp_path: Path) -> None:
    place.model = Speaker()  # type: ignore[assignment]
    async with place.worker("mixed"):
        run = await place.submit("mixed", "Ada")
        parts: list[Any]
        *parts, result = [part async for part in run.stream()]
        late: list[Any] = [
            part async for part in (await asubmitted(run.thread_id, db=place.db, on=place.on)).stream()
        ]
        again = [part async for part in run.stream(stream_mode="messages")]
    with Session(tmp_path / "here.sqlite") as session, using(Speaker()):
        *here, end = stream_run(flows.mixed().compile(), flows.Mail("Ada"), session, "here")
    assert isinstance(result, RunResult)
    assert isinstance(end, RunResult)
    assert (result.status, result.values) == (end.status, end.values)
    assert told(parts) == told(here)
    nodes = [part["data"]["path"] for part in parts if part["type"] == "nodes"]
    assert {"remember", "nested", "nested/write", "votes/count"} <= {*nodes}
    assert [part["data"]["status"] for part in parts if part["type"] == "status"][-2:] == ["running", "done"]
    assert len(again) == 1  # this handle has heard all of it
    answers = [part["data"][0] for part in late[:-1] if part["type"] == "messages"]
    assert all(answer.response_metadata["stepgraph"] == {"replayed": True} for answer in answers)
    heard = sorted(text.strip() for text in told(parts)["words"].values())
    replayed = sorted(answer.text for answer in answers)
    assert heard == replayed


async def test_who_comes_late_hears_what_was_said_so_far(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    async with speaking(file, "plain") as model:
        model.after = {"Seal": (held := asyncio.Event()), "Ada": (middle := asyncio.Event())}
        middle.set()
        run = await asubmit(f"{MODULE}:plain", {"to": "Ada"}, db=file, thread_id="one")
        first = asyncio.create_task(_all(run.stream()))
        await until(lambda: "Seal" in model.said)
        middle.clear()
        held.set()
        await until(lambda: model.said[-1] == "Ada")
        late = await asubmitted("one", db=file)
        second: list[Any] = []
        listening = asyncio.create_task(_all(late.stream(), second))
        await until(lambda: any("Seal Ada" in text for text in told(second)["words"].values()))
        middle.set()
        await asyncio.gather(first, listening)
    both = [told(parts[:-1])["words"] for parts in (first.result(), listening.result())]
    assert [{place: text.strip() for place, text in words.items()} for words in both] == [
        {("write", "write"): "Write to Ada word by word", ("seal", "seal"): "Seal Ada word by word"}
    ] * 2
    close_sessions()


async def _all(stream: Any, parts: list[Any] | None = None) -> list[Any]:
    parts = [] if parts is None else parts
    async for part in stream:
        parts.append(part)
    return parts


async def test_without_a_listener_no_model_streams_and_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    async with speaking(file, "plain") as model:
        model.after = {"Seal": (held := asyncio.Event())}
        run = await asubmit(f"{MODULE}:plain", {"to": "Ada"}, db=file, thread_id="one")
        await until(lambda: "Seal" in model.said)
        journal = session_at(file).journal
        assert (model.streamed, journal.query("SELECT count(*) AS n FROM stream_events")[0]["n"]) == (0, 0)
        listening = asyncio.create_task(_all(run.stream()))  # while a call is under way that nobody heard
        await until(lambda: bool(journal.query("SELECT 1 FROM stream_listeners")))
        held.set()
        *parts, result = await listening
        assert result.status == "done"
        assert told(parts)["words"] == {
            ("write", "write"): "Write to Ada word by word",
            ("seal", "seal"): "Seal Ada word by word",
        }
        assert journal.query("SELECT 1 FROM stream_listeners") == []
    close_sessions()


async def test_who_stops_listening_stops_nothing(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    async with speaking(file, "plain"):
        run = await asubmit(f"{MODULE}:plain", {"to": "Ada"}, db=file, thread_id="one")
        async with aclosing(run.astream()) as parts:
            async for _ in parts:
                break
        assert (await run.aresult(LIMIT_S)).status == "done"
        sync = await asyncio.to_thread(lambda: list(run.stream()))
        assert sync[-1].values == (await run.aresult()).values
        with pytest.raises(InputError, match="cannot be streamed as values"):
            await _all(run.stream(stream_mode="values"))
    close_sessions()


def test_a_turn_that_takes_over_voids_what_was_not_answered_and_says_what_begins_again() -> None:
    parts = Parts(Standing("running", 1), set())
    begins, metadata = [NODE, [], "write", "t1", "begins"], {"stepgraph_call": "c"}
    begun = [begins, [BEGIN, "m", [], metadata], [TEXT, "m", "Tea", ""]]
    assert len(list(parts.written(Written("one", Cursor(1, 1), begun)))) == 2
    again = [begins, [BEGIN, "n", [], metadata], [TEXT, "n", "Tea", ""]]
    void, status, node, words = parts.written(Written("one", Cursor(2, 1), again))
    assert void["data"][0].response_metadata["stepgraph"]["broken"]
    assert void["data"][0].id == "m"
    assert status["data"] == {"status": "running", "again": ["write"]}
    assert node["data"]["event"] == "begins again"
    assert (words["data"][0].id, words["data"][0].text) == ("n", "Tea")


CHILD = """
import asyncio, sys
from stepgraph import aworker
from tests.runners.engines.test_streaming import MODULE, Speaker

class Slow(Speaker):
    async def complete(self, request, context):
        self.after = {"Ada": asyncio.Event()} if "Seal" in str(request.messages) else {}
        return await super().complete(request, context)

asyncio.run(aworker(f"{MODULE}:plain", db=sys.argv[1], models=Slow()))
"""


async def test_a_killed_workers_node_begins_again_for_who_listens(tmp_path: Path) -> None:
    file = tmp_path / "runs.sqlite"
    Session(file).close()
    environment = {**os.environ, "PYTHONPATH": child_path()}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(file)], env=environment)  # noqa: ASYNC220
    run = await asubmit(f"{MODULE}:plain", {"to": "Ada"}, db=file, thread_id="one")
    parts: list[Any] = []
    listening = asyncio.create_task(_all(run.stream(), parts))
    await until(lambda: "Seal Ada " in _words(parts))
    child.send_signal(signal.SIGKILL)
    child.wait()
    async with speaking(file, "plain"):
        *_, result = await listening
    assert result.values["seal"] == "Seal Ada word by word"
    again = [part["data"]["again"] for part in parts[:-1] if part["type"] == "status"]
    assert ["seal"] in again
    assert _words(parts[:-1]) == ["Write to Ada word by word ", "Seal Ada ", "Seal Ada word by word "]
    chunks = [part["data"][0] for part in parts[:-1] if part["type"] == "messages"]
    broken = [chunk for chunk in chunks if chunk.response_metadata.get("stepgraph", {}).get("broken")]
    assert len(broken) == 1
    close_sessions()


def _words(parts: list[Any]) -> list[str]:
    words: dict[str, str] = {}
    for part in parts:
        if part["type"] == "messages":
            words[part["data"][0].id] = words.get(part["data"][0].id, "") + part["data"][0].text
    return [*words.values()]
