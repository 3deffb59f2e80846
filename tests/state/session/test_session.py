from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from stepgraph import Ask, ScriptedModel, Session, StepgraphError, chain, route, step, using
from stepgraph.state.errors import InvalidAnswer, ModelRefused
from stepgraph.state.session.session import new_thread_id

from ...committed import committed
from ...servers import ChatServer

KEY = "xyzzy-plugh-0123456789"


@dataclass
class Post:
    topic: str = "tea"
    draft: str = ""
    votes: list[str] = field(default_factory=list)
    score: int = 0


@step("draft", model="large")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}", max_tokens=9)


@step("score")
def judge(post: Post) -> Ask[int]:
    return Ask(f"Grade {post.draft}")


async def vote(post: Post) -> dict[str, Any]:
    return {"votes": [await write.answer(post) for _ in range(3)]}


def rows(session: Session, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in session.journal.query(sql)]


async def test_an_answer_is_committed_before_it_is_used(session: Session) -> None:
    seen: list[Any] = []

    async def look(post: Post) -> None:
        await write.answer(post)
        seen.extend(committed(session, "SELECT step, answer FROM calls ORDER BY started_at"))

    with ScriptedModel(["Boil.", "Steep."]) as model, using(model):
        await chain(write, look).compile().ainvoke(Post(), session.config())
    assert seen == [("write", "Boil."), ("write", "Steep.")]


async def test_a_call_is_on_record_in_full(session: Session) -> None:
    with using(large=ScriptedModel(["Boil it."], reasoning="Hm.")):
        await chain(chain(write, name="inner")).compile().ainvoke(Post(), session.config("t"))
    (call,) = session.journal.query("SELECT * FROM calls")
    kept = {name: call[name] for name in ("thread_id", "path", "step", "role", "status", "attempt", "answer")}
    assert kept == {
        "thread_id": "t",
        "path": "inner/write",
        "step": "write",
        "role": "large",
        "status": "answered",
        "attempt": 1,
        "answer": "Boil it.",
    }
    assert json.loads(call["messages"]) == [{"role": "user", "content": "Write about tea"}]
    assert json.loads(call["params"]) == {"max_tokens": 9}
    assert (call["input_tokens"], call["output_tokens"], call["cost_usd"]) == (3, 2, 0.0)
    assert (call["reasoning"], call["finish_reason"], call["problem"]) == ("Hm.", "stop", None)


async def test_equal_questions_in_one_node_are_distinct_and_replay_in_order(session: Session) -> None:
    paused = []

    async def vote_then_pause(post: Post) -> dict[str, Any]:
        update = await vote(post)
        paused.append(update["votes"])
        interrupt("go on?")
        return update

    app, config = chain(vote_then_pause).compile(), session.config("t")
    with ScriptedModel(["a", "b", "c"]) as model, using(model):
        await app.ainvoke(Post(), config)
        result = await app.ainvoke(Command(resume=True), config)
    assert result["votes"] == ["a", "b", "c"]
    assert paused == [["a", "b", "c"]] * 2
    assert rows(session, "SELECT occurrence, answer, replays FROM calls ORDER BY occurrence") == [
        (0, "a", 1),
        (1, "b", 1),
        (2, "c", 1),
    ]


async def test_calls_made_at_once_in_one_node_replay_too(session: Session) -> None:
    async def gather(post: Post) -> dict[str, Any]:
        drafts = await asyncio.gather(*(write.answer(Post(topic)) for topic in "abc"))
        score = await judge.answer(Post(draft=drafts[0]))
        interrupt("go on?")
        return {"votes": drafts, "score": score}

    app, config = chain(chain(gather, name="inner")).compile(), session.config("t")
    answers = ScriptedModel(
        lambda request, context: 3 if context.step == "judge" else request.messages[0]["content"]
    )
    with using(answers):
        await app.ainvoke(Post(), config)
        result = await app.ainvoke(Command(resume=True), config)
    assert result["votes"] == ["Write about a", "Write about b", "Write about c"]
    assert len(answers.asks) == 4
    assert {path for (path,) in rows(session, "SELECT path FROM calls")} == {"inner/gather"}


async def test_a_new_run_on_the_thread_asks_again(session: Session) -> None:
    app, config = chain(write).compile(), session.config("t")
    with ScriptedModel(["a", "b"]) as model, using(model):
        assert (await app.ainvoke(Post(), config))["draft"] == "a"
        assert (await app.ainvoke(Post(), config))["draft"] == "b"


async def test_a_node_that_failed_after_its_calls_does_not_pay_again(session: Session) -> None:
    broken = [True]

    async def fragile(post: Post) -> dict[str, Any]:
        update = await vote(post)
        if broken.pop() if broken else False:
            raise RuntimeError("out of paper")
        return update

    app, config = chain(fragile).compile(), session.config("t")
    with ScriptedModel(["a", "b", "c"]) as model, using(model):
        with pytest.raises(RuntimeError):
            await app.ainvoke(Post(), config)
        assert rows(session, "SELECT status, error FROM runs") == [("failed", "RuntimeError: out of paper")]
        assert (await app.ainvoke(None, config))["votes"] == ["a", "b", "c"]
    assert rows(session, "SELECT status, error FROM runs") == [("done", None)]


async def test_failed_and_rejected_calls_are_on_record_with_their_problem(session: Session) -> None:
    app = chain(judge).compile()
    with using(ScriptedModel([ModelRefused("too long", model="m")])), pytest.raises(ModelRefused):
        await app.ainvoke(Post(), session.config("t"))
    with using(ScriptedModel(["x"] * 3)), pytest.raises(InvalidAnswer):
        await app.ainvoke(Post(), session.config("u"))
    (failed, *rejected) = rows(session, "SELECT status, answer, problem FROM calls ORDER BY started_at")
    assert failed == ("failed", None, "ModelRefused: too long")
    assert [call[:2] for call in rejected] == [("rejected", '{"answer": "x"}')] * 3
    assert all("Input should be a valid integer" in call[2] for call in rejected)


async def test_answers_that_never_fitted_are_asked_for_anew_by_a_resume(session: Session) -> None:
    app = chain(judge).compile()
    with using(ScriptedModel(["x"] * 3)), pytest.raises(InvalidAnswer):
        await app.ainvoke(Post(), session.config("t"))
    with ScriptedModel([5]) as model, using(model):
        await app.ainvoke(None, session.config("t"))
    assert len(model.asks) == 1


async def test_a_call_outside_of_any_graph_is_recorded_and_never_replayed(session: Session) -> None:
    with ScriptedModel(["one", "two"]) as model, using(model):
        answers = [await write.answer(Post(), session.config("t")) for _ in range(2)]
    assert answers == ["one", "two"]
    assert rows(session, "SELECT answer, occurrence FROM calls ORDER BY occurrence") == [
        ("one", 0),
        ("two", 1),
    ]


async def test_visits_and_decisions_are_on_record(session: Session) -> None:
    def classify(post: Post) -> str:
        return "tea" if post.topic == "tea" else "other"

    def stop(post: Post) -> None:
        raise StepgraphError("stopped")

    app = chain(route(classify, {"tea": chain(write), "other": stop}, name="pick")).compile()
    with ScriptedModel(["Boil."]) as model, using(model):
        await app.ainvoke(Post(), session.config("good"))
        with pytest.raises(StepgraphError):
            await app.ainvoke(Post("x"), session.config("bad"))
    visits = (
        "SELECT path, node, status, output, error FROM node_runs WHERE thread_id = '{}' ORDER BY ended_at"
    )
    good, bad = rows(session, visits.format("good")), rows(session, visits.format("bad"))
    assert [visit[:3] for visit in good] == [
        ("pick/classify", "classify", "done"),
        ("pick/tea/write", "write", "done"),
        ("pick/tea", "tea", "done"),
        ("pick", "pick", "done"),
    ]
    assert json.loads(good[1][3]) == {"draft": "Boil."}
    assert bad[1][1:4] == ("other", "failed", None)
    assert bad[1][4].startswith("StepgraphError: stopped")
    assert rows(session, "SELECT thread_id, path, kind, choice FROM decisions ORDER BY id") == [
        ("good", "pick/classify", "route", "tea"),
        ("bad", "pick/classify", "route", "other"),
    ]


def test_two_threads_of_python_share_a_session(session: Session) -> None:
    app = chain(vote).compile()
    results: dict[str, Any] = {}

    def run(name: str) -> None:
        with using(ScriptedModel([f"{name}{n}" for n in range(15)])):
            for n in range(5):
                results[f"{name}{n}"] = app.invoke(Post(), session.config(f"{name}{n}"))["votes"]

    threads = [threading.Thread(target=run, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["a1"] == ["a3", "a4", "a5"]
    assert results["b4"] == ["b12", "b13", "b14"]
    assert rows(session, "SELECT count(*) AS n, count(DISTINCT thread_id) AS t FROM calls") == [(30, 10)]
    assert rows(session, "SELECT count(*) FROM runs WHERE status = 'done'") == [(10,)]


async def test_a_hand_written_graph_is_recorded_too(session: Session) -> None:
    graph = StateGraph(Post)
    graph.add_node("vote", vote)
    graph.add_edge(START, "vote")
    graph.add_edge("vote", END)
    with ScriptedModel(["a", "b", "c"]) as model, using(model):
        await graph.compile().ainvoke(Post(), session.config())
    assert rows(session, "SELECT path, count(*) FROM calls GROUP BY path") == [("vote", 3)]
    assert rows(session, "SELECT path, status FROM node_runs") == [("vote", "done")]


def test_a_session_goes_on_in_a_second_one(tmp_path: Path) -> None:
    app = chain(write, judge).compile()
    with (
        Session(tmp_path / "runs.sqlite") as first,
        using(ScriptedModel(["Boil.", ModelRefused("no")])),
        pytest.raises(ModelRefused),
    ):
        app.invoke(Post(), first.config("t"))
    with Session(tmp_path / "runs.sqlite") as second, using(ScriptedModel([4])):
        assert app.invoke(None, second.config("t")) == {
            "topic": "tea",
            "draft": "Boil.",
            "votes": [],
            "score": 4,
        }


async def test_without_a_session_steps_work_unrecorded() -> None:
    with ScriptedModel(["Boil."]) as model, using(model):
        assert (await chain(write).compile().ainvoke(Post()))["draft"] == "Boil."


def test_a_thread_gets_a_name_of_its_own(session: Session) -> None:
    first, second = (session.config()["configurable"]["thread_id"] for _ in range(2))
    assert first != second
    assert session.config("t", user="ann")["configurable"]["user"] == "ann"


@pytest.mark.sqlite_file("the bytes of the file")
async def test_no_key_is_in_the_file(
    server: ChatServer, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    server.always = type(server.always)("Boil.")
    with using(server.spec(api_key_env="SOME_KEY")):
        await chain(write, vote).compile().ainvoke(Post(), session.config())
    session.close()
    assert server.keys == [f"Bearer {KEY}"] * 4
    for file in session.path.parent.iterdir():
        assert KEY.encode() not in file.read_bytes()


def test_of_many_new_threads_no_two_have_one_name() -> None:
    number = 300_000  # of 32 random bits, five pairs would be equal
    assert len({new_thread_id() for _ in range(number)}) == number
