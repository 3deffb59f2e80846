"""A race that another process goes on with: what was found before counts, and nobody is paid for nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command, interrupt

import stepgraph
from stepgraph import Ask, ScriptedModel, Session, Tally, chain, guard, step, using, vote
from stepgraph.errors import EffectUnknown, StoreError
from stepgraph.graphs.engine import race as racing

from ...child_path import child_path
from ...committed import committed_at, until_the_dead_are_known
from ...servers import Answer, ChatServer

FLOW = """
import sys
from dataclasses import dataclass

from stepgraph import Ask, Session, Tally, chain, step, using, vote


@dataclass
class Review:
    text: str = "fine"
    good: bool | None = None
    tally: Tally | None = None


@step("good")
def judge(review: Review) -> Ask[bool]:
    return Ask(f"Good? {review.text}", temperature=0.8)


app = chain(vote(judge, 5, tally="tally")).compile()

if __name__ == "__main__":
    with Session("runs.sqlite") as session, using({"model": "m", "base_url": sys.argv[1]}):
        result = app.invoke(None if "on" in sys.argv else Review(), session.config("t"))
        print(result["good"], result["tally"].counts)
"""
GOOD = json.dumps({"answer": True})


@dataclass
class Review:
    text: str = "fine"
    good: bool | None = None
    reply: str = ""
    tally: Tally | None = None


@step("good")
def judge(review: Review) -> Ask[bool]:
    return Ask(f"Good? {review.text}", temperature=0.8)


@step("reply")
def answer(review: Review) -> Ask[str]:
    return Ask(f"Answer {review.text}")


def test_ballots_cast_before_a_kill_count_in_the_next_process(tmp_path: Path, server: ChatServer) -> None:
    """Of five, two are cast and three under way at the kill; then a single ballot decides."""
    (tmp_path / "flow.py").write_text(FLOW)
    environment = {**os.environ, "PYTHONPATH": child_path()}
    command = [sys.executable, "flow.py", server.url]
    server.will(GOOD, GOOD)
    server.always = Answer(GOOD, delay_s=60)
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        while server.calls < 5 or cast(tmp_path) < 2:
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
    until_the_dead_are_known(tmp_path / "runs.sqlite")
    server.will(GOOD)
    on = subprocess.run(
        [*command, "on"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
    )
    assert on.stdout == "True {'true': 3}\n", on.stderr
    assert server.calls <= 5 + 3


def cast(folder: Path) -> int:
    """Return how many ballots are in the checkpoint."""
    found = "SELECT count(*) FROM writes WHERE channel = 'stepgraph_ballots'"
    try:
        return int(committed_at(folder / "runs.sqlite", found)[0][0])
    except StoreError:  # not made yet
        return 0


class Behind:
    """Answers some time after so many persons were asked."""

    name = ScriptedModel.name

    def __init__(self, asked: list[str], persons: int, script: ScriptedModel) -> None:
        self.asked, self.persons, self.script = asked, persons, script

    async def complete(self, request: Any, context: Any) -> Any:
        async with asyncio.timeout(60):
            while len(self.asked) < self.persons:  # noqa: ASYNC110 nobody tells
                await asyncio.sleep(0.01)
        return await self.script.complete(request, context)


@pytest.mark.parametrize("nested", [False, True])
def test_a_vote_that_is_decided_already_asks_nobody(session: Session, nested: bool) -> None:
    asked: list[str] = []

    def person(review: Review) -> dict[str, Any]:
        asked.append("person")
        return {"good": interrupt("Good?")}

    graph = vote([judge, judge, judge, person, person], field="good", tally="tally")
    app = (chain(graph) if nested else graph).compile()
    model = Behind(asked, 2, ScriptedModel(lambda request, context: True, delay_s=0.5))
    with using(model):
        assert len(app.invoke(Review(), session.config("t"))["__interrupt__"]) == 2
        racing._races.clear()  # as in a process that begins
        result = app.invoke(None, session.config("t"))
    assert result["tally"].counts == {"true": 3}
    assert len(model.script.asks) <= 3


def test_a_replay_of_a_vote_draws_again(session: Session) -> None:
    """From an old checkpoint all voters run again, so the ballots kept with it do not count."""
    app = vote(judge, 3, needed=3, tally="tally").compile()
    with using(ScriptedModel(lambda request, context: True)):
        app.invoke(Review(), session.config("t"))
        before = next(s for s in app.get_state_history(session.config("t")) if len(s.next) == 3)
        place: Any = session.config("t", checkpoint_id=before.config["configurable"]["checkpoint_id"])
        result = app.invoke(None, place)
    assert result["tally"].counts == {"true": 3}


@pytest.mark.filterwarnings("ignore::stepgraph.state.session.default.NotKeptWarning")
def test_a_sync_checkpointer_of_ones_own() -> None:
    def person(review: Review) -> dict[str, Any]:
        return {"good": interrupt("Good?")}

    with (
        SqliteSaver.from_conn_string(":memory:") as saver,
        using(ScriptedModel(lambda request, context: True)),
    ):
        app = vote([judge, person, chain(judge)], field="good", needed=3, tally="tally").compile(
            checkpointer=saver
        )
        config: Any = {"configurable": {"thread_id": "t"}}
        app.invoke(Review(), config)
        racing._races.clear()
        result = app.invoke(Command(resume=True), config)
    assert result["tally"].counts == {"true": 3}


def test_main_work_that_a_guard_stopped_before_stays_stopped(session: Session) -> None:
    asked: list[str] = []

    def person(review: Review) -> dict[str, Any]:
        asked.append("person")
        return {"text": interrupt("What shall I answer?")}

    app = guard(chain(person, answer), judge, lambda good: good or "rude").compile()
    model = Behind(asked, 1, ScriptedModel({"judge": [False], "answer": ["Fine."]}, delay_s=0.5))
    with using(model):
        app.invoke(Review(), session.config("t"))
        racing._races.clear()
        with pytest.raises(stepgraph.StepgraphError, match="stopped 'chain_person': rude"):
            app.invoke(Command(resume="this"), session.config("t"))
    assert [name for name, _ in model.script.asks] == ["judge"]


@pytest.mark.filterwarnings("ignore::stepgraph.state.session.default.NotKeptWarning")
async def test_what_a_failed_run_had_found_counts_as_far_as_it_is_on_record() -> None:
    """In the same process, too: what was found and not written is looked for again."""
    is_failing = True

    class Losing(InMemorySaver):
        async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            if not is_failing:
                await super().aput_writes(config, writes, task_id, task_path)

    async def quick(review: Review) -> dict[str, Any]:
        return {"good": True}

    async def late(review: Review) -> dict[str, Any]:
        if is_failing:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:  # the vote is decided
                raise EffectUnknown("nobody knows", key="mail") from None
        return {"good": False}

    app = vote([quick, quick, late], field="good", tally="tally").compile(checkpointer=Losing())
    place: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(EffectUnknown):
        await app.ainvoke(Review(), place)
    is_failing = False
    result = await app.ainvoke(None, place)
    assert result["good"] is True
    assert result["tally"].counts["true"] == 2
