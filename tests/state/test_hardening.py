"""What once broke a session, or paid twice: odd texts, retry policies, forks, foreign files, locks."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy

from stepgraph import Ask, Choice, ScriptedModel, Session, chain, refine, route, run, step, using
from stepgraph.providers.model import CallContext, Reply, Request, Usage

from ..servers import Answer, ChatServer, Fault


@dataclass
class Note:
    text: str = "x"
    kind: str = ""
    items: list[str] = field(default_factory=list)


@step("text")
def ask(note: Note) -> Ask[str]:
    return Ask(f"About {note.text}")


async def test_a_retry_policy_replays_the_calls_of_the_attempt_before(session: Session) -> None:
    tries: list[int] = []

    async def shaky(note: Note) -> dict[str, str]:
        answers = [await ask.answer(note) for _ in range(3)]
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("once more")
        return {"text": " ".join(answers)}

    graph = StateGraph(Note)
    graph.add_node("shaky", shaky, retry_policy=RetryPolicy(max_attempts=3, initial_interval=0.01))
    graph.add_edge(START, "shaky")
    graph.add_edge("shaky", END)
    with ScriptedModel(["a", "b", "c"]) as model, using(model):
        result = await graph.compile().ainvoke(Note(), session.config("t"))
    assert (result["text"], len(tries), len(model.asks)) == ("a b c", 3, 3)


def test_texts_that_are_not_valid_unicode_block_nothing(session: Session) -> None:
    def bad(note: Note) -> None:
        raise ValueError("bad file \udcff")

    def pick(note: Note) -> Choice[str]:
        return Choice(label="a", reason="odd \udcff")

    for number, graph in enumerate((chain(bad), route(pick, {"a": ask}))):
        with using(ScriptedModel(["cut \ud83d"])):
            try:
                graph.compile().invoke(Note("prompt \udcff"), session.config(f"t{number}"))
            except ValueError:
                continue
    (call,) = session.journal.query("SELECT answer, status FROM calls")
    assert call == {"answer": "cut ?", "status": "answered"}
    assert [row["status"] for row in session.journal.query("SELECT status FROM runs")] == ["failed", "done"]


async def test_usage_beyond_64_bits_loses_no_answer(session: Session) -> None:
    class Boastful:
        name = "boastful"

        async def complete(self, request: Request, context: CallContext) -> Reply:
            return Reply("kept", self.name, Usage(2**70, 1))

    with using(Boastful()):
        await chain(ask).compile().ainvoke(Note(), session.config("t"))
    assert session.journal.query("SELECT answer FROM calls") == [{"answer": "kept"}]


async def test_one_name_at_two_addresses_is_two_models(session: Session) -> None:
    graph = chain(ask).compile()
    with ChatServer() as a, ChatServer() as b:
        a.will("from a")
        b.will("from b")
        for number, server in enumerate((a, b)):
            with using(server.spec()):
                result = await graph.ainvoke(Note(), session.config(f"t{number}", cache_s=60))
        assert result["text"] == "from b"


@pytest.mark.sqlite_file("the lock of the file")
async def test_the_loop_goes_on_while_somebody_else_holds_the_lock(session: Session) -> None:
    """The loop itself ends the lock: a run that blocked the loop would wait in vain."""
    begun = asyncio.Event()

    async def plain(note: Note) -> dict[str, str]:
        begun.set()
        await asyncio.sleep(0.05)
        return {"text": "y"}

    graph = chain(*[plain] * 8).compile()
    runs = [asyncio.create_task(graph.ainvoke(Note(), session.config(f"t{n}"))) for n in range(5)]
    await begun.wait()
    with closing(sqlite3.connect(session.path, isolation_level=None, timeout=30)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        for _ in range(100):
            await asyncio.sleep(0.01)
        assert not any(run.done() for run in runs)
    await asyncio.gather(*runs)
    assert session.journal.query("SELECT count(*) AS n FROM node_runs") == [{"n": 40}]


async def test_a_cancelled_group_of_equal_calls_makes_no_new_one(
    session: Session, server: ChatServer
) -> None:
    server.always = Fault(status=429, headers={"Retry-After": "30"})

    async def node(note: Note) -> dict[str, str]:
        return {"kind": await ask.answer(note)}

    graph = StateGraph(Note)
    for number in range(4):
        graph.add_node(f"n{number}", node)
        graph.add_edge(START, f"n{number}")
    with using(server.spec(retries=1)):
        run = asyncio.create_task(graph.compile().ainvoke(Note(), session.config("t")))
        assert await asyncio.to_thread(server.asked.wait, 30)
        await asyncio.sleep(0.2)  # for the answer to arrive, which says to wait for 30 s
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(60):
                await run
    assert server.calls == 1


def test_a_label_called_fallback_is_no_fallback(session: Session) -> None:
    def pick(note: Note) -> str:
        return note.text

    def labelled(note: Note) -> dict[str, str]:
        return {"kind": "labelled"}

    def otherwise(note: Note) -> dict[str, str]:
        return {"kind": "otherwise"}

    graph = route(pick, {"fallback": labelled, "__end__": labelled}, fallback=otherwise).compile()
    assert graph.invoke(Note("fallback"))["kind"] == "labelled"
    assert graph.invoke(Note("__end__"))["kind"] == "labelled"
    assert graph.invoke(Note("?"))["kind"] == "otherwise"


def test_a_draft_that_is_changed_in_place_is_still_compared_and_restored() -> None:
    def produce(note: Note) -> dict[str, list[str]]:
        note.items.append(f"v{len(note.items)}")
        return {"items": note.items}

    def judge(note: Note) -> float:
        return -float(len(note.items))

    graph = refine(produce, judge, until=lambda score: score > 0, rounds=4)
    assert graph.compile().invoke(Note())["items"] == ["v0"]


@pytest.mark.parametrize(
    ("scores", "kept"), [([5, None, 3], 0), ([float("nan"), 5, 3], 1), ([1, 5, float("nan")], 1)]
)
def test_a_score_that_is_no_number_never_counts_as_better(scores: list[float | None], kept: int) -> None:
    left, drafts = list(scores), iter(range(9))

    def produce(note: Note) -> dict[str, str]:
        return {"text": f"draft {next(drafts)}"}

    def judge(note: Note) -> float | None:
        return left.pop(0)

    graph = refine(produce, judge, until=lambda _: False, rounds=3)
    assert graph.compile().invoke(Note())["text"] == f"draft {kept}"


def test_a_static_breakpoint_is_not_the_end(session: Session) -> None:
    graph = chain(ask, ask).compile(interrupt_before=["ask_2"])
    with using(ScriptedModel(["one", "two"])):
        assert run(graph, Note(), session, "t").status == "interrupted"
        assert session.journal.query("SELECT status FROM runs") == [{"status": "interrupted"}]
        assert run(graph, None, session, "t").values["text"] == "two"


def invoke_in_child(queue: Any) -> None:
    with using(ScriptedModel(["from the child"])):
        queue.put(chain(ask).compile().invoke(Note())["text"])


def test_a_forked_child_can_call_too() -> None:
    with using(ScriptedModel(["from the parent"])):
        chain(ask).compile().invoke(Note())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=invoke_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=120) == "from the child"
    child.join(60)


@pytest.mark.parametrize("usage", [{}, {"total_tokens": 120}, {"prompt_tokens": -5, "completion_tokens": 2}])
async def test_a_usage_that_is_not_told_is_unknown(session: Session, server: ChatServer, usage: Any) -> None:
    import json

    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
        "usage": usage,
    }
    server.will(Fault(status=200, body=json.dumps(body)))
    with using(server.spec(price={"input": 1, "output": 1})):
        await chain(ask).compile().ainvoke(Note(), session.config("t"))
    (call,) = session.journal.query("SELECT cost_usd, input_tokens FROM calls")
    assert call == {"cost_usd": None, "input_tokens": None}


@pytest.mark.sqlite_file("the bytes of the file")
async def test_a_chat_models_key_is_not_told(session: Session, server: ChatServer) -> None:
    from langchain_openai import ChatOpenAI

    from stepgraph.state.errors import AuthenticationFailed

    key = "unlikely-secret-93/&"
    server.will(Fault(status=401, body='{"error": {"message": "bad key unlikely-secret-93/& given"}}'))
    chat = ChatOpenAI(model="m", base_url=server.url, api_key=key, max_retries=0)  # type: ignore[arg-type]
    with using(chat), pytest.raises(AuthenticationFailed) as told:
        await chain(ask).compile().ainvoke(Note(), session.config("t"))
    assert key not in str(told.value)
    session.journal.flush()
    assert key.encode() not in session.path.read_bytes()


@pytest.mark.sqlite_file("the rights of the file")
def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    with Session(tmp_path / "own.sqlite") as session:
        assert session.path.stat().st_mode & 0o077 == 0


async def test_an_answer_and_its_cost_are_kept_whatever_the_prompt_holds(
    session: Session, server: ChatServer
) -> None:
    server.will(Answer("seen"))
    with using(server.spec()):
        await chain(ask).compile().ainvoke(Note("\u2028 é 漢字 \x00"), session.config("t"))
    assert session.journal.query("SELECT answer FROM calls") == [{"answer": "seen"}]
