"""The retrieval: what it takes, what it keeps on record, and that a resume or fork asks nobody again."""

from __future__ import annotations

import asyncio
import json
import operator
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda
from langgraph.types import Command, interrupt
from pydantic import BaseModel, Field

from stepgraph import (
    Ask,
    Passage,
    ScriptedModel,
    Session,
    chain,
    check_citations,
    gate,
    render_passages,
    retrieve,
    route,
    section,
    step,
    using,
)
from stepgraph.cli.support.show import step_lines
from stepgraph.errors import DefinitionError, InputError, RetrievalFailed
from stepgraph.tracing import read_run
from stepgraph.tracing.export.langfuse import langfuse_attributes
from stepgraph.tracing.forks.fork import fork
from stepgraph.tracing.record.attributes import genai_attributes
from stepgraph.ui.steps import step_view

from ..committed import until_the_dead_are_known


@dataclass
class QA:
    question: str = "refunds?"
    passages: list[Passage] = field(default_factory=list)
    more: list[Passage] = field(default_factory=list)
    answer: str = ""


class Folder(BaseRetriever):
    """Gives always the same, and counts."""

    asked: list[str]
    found: list[Document] = Field(
        default=[Document("Refunds take five days.", metadata={"source": "refunds.md"})]
    )

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        self.asked.append(query)
        return self.found


@step("answer")
def reply(qa: QA) -> Ask[str]:
    return Ask(f"{qa.question}\n{render_passages(qa.passages)}")


def over(retriever: Any, **options: Any) -> Any:
    @retrieve("passages", retriever, **options)
    def search(qa: QA) -> str:
        return qa.question

    return search


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(tmp_path / "runs.sqlite") as session:
        yield session


def plain(query: str) -> list[str]:
    return [f"on {query}"]


async def coro(query: str) -> list[str]:
    await asyncio.sleep(0)
    return [f"on {query}"]


def scored(query: str) -> Iterator[tuple[Document, float]]:
    yield Document(f"on {query}"), 0.25


class Finder:
    async def __call__(self, query: str) -> tuple[str, ...]:
        return (f"on {query}",)


KINDS = [
    plain,
    coro,
    scored,
    Finder(),
    lambda query: coro(query),
    RunnableLambda(plain),
    RunnableLambda(coro),
    Folder(found=[Document("on refunds?")], asked=[]),
]


@pytest.mark.parametrize("retriever", KINDS, ids=range(len(KINDS)))
async def test_whatever_finds_will_do(retriever: Any, session: Session) -> None:
    app = chain(over(retriever)).compile()
    for result in (
        app.invoke(QA()),
        await app.ainvoke(QA(), session.config()),
        app.invoke(QA(), session.config()),
    ):
        assert [p.text for p in result["passages"]] == ["on refunds?"]


class Typed(TypedDict, total=False):
    question: str
    passages: Annotated[list[Passage], operator.add]


class Model(BaseModel):
    question: str
    passages: list[Passage] = []


def test_each_kind_of_state_holds_passages(session: Session) -> None:
    @retrieve("passages", plain)
    def typed(state: Typed) -> str:
        return state["question"]

    @retrieve("passages", plain)
    def modelled(state: Model) -> str:
        return state.question

    result = chain(typed, typed).compile().invoke({"question": "tea"}, session.config())
    assert [p.text for p in result["passages"]] == ["on tea", "on tea"]
    result = chain(modelled).compile().invoke(Model(question="tea"), session.config())
    assert result["passages"] == chain(modelled).compile().invoke(Model(question="tea"))["passages"]


def test_its_passages_are_seen_everywhere(session: Session) -> None:
    folder = Folder(asked=[], found=[Document(f"Fact {n}.", metadata={"source": "a.md"}) for n in range(4)])
    app = chain(over(folder, k=3), reply).compile()
    with using(ScriptedModel(["So [1]."])):
        app.invoke(QA(), session.config("t"))
    run = read_run(session, "t")
    node = next(node for node in run.steps if node.span.name == "search")
    lines = "\n".join(step_lines(node, full=True))
    for text in ("search   Folder, 3 passages (left out: 1 over k=3)", "refunds?", "[3]      a.md: Fact 2."):
        assert text in lines
    view = step_view(run, node.span.id)
    assert view is not None
    assert [(s, t.whole) for s, t in view.retrievals[0].passages] == [
        ("a.md", f"Fact {n}.") for n in range(3)
    ]
    assert view.inner == []
    span = node.children[0].span
    assert step_view(run, span.id) == view
    for attributes in (langfuse_attributes(span), genai_attributes(span)):
        assert "Fact 2." in json.dumps(attributes)
    assert langfuse_attributes(span)["langfuse.observation.type"] == "retriever"
    assert genai_attributes(span)["openinference.span.kind"] == "RETRIEVER"


def _silent(query: str) -> list[str]:
    threading.Event().wait(0.5)
    return []


def _broken(query: str) -> list[str]:
    raise ConnectionError("the index is away")


@pytest.mark.parametrize(
    ("retriever", "told"),
    [
        (_broken, "'search': _broken failed with ConnectionError: the index is away"),
        (RunnableLambda(_broken), "failed with ConnectionError"),
        (lambda query: "text", "gave, or failed with, str; expected a list"),
        (lambda query: None, "NoneType; expected a list"),
        (lambda query: [{"page_content": "x"}], "dict; expected LangChain Documents"),
    ],
)
def test_what_fails_is_told_kept_and_asked_again(retriever: Any, told: str, session: Session) -> None:
    good = [False]

    def moody(query: str) -> Any:
        if good[0]:
            return ["fine"]
        return retriever.invoke(query) if isinstance(retriever, RunnableLambda) else retriever(query)

    moody.__name__ = "_broken"
    app = chain(over(moody)).compile()
    with pytest.raises(RetrievalFailed, match="A resume asks again") as failed:
        app.invoke(QA(), session.config("t"))
    assert told in str(failed.value)
    kept = pickle.loads(pickle.dumps(failed.value))
    assert (kept.step, kept.retriever) == ("search", "_broken")
    row = session.journal.query("SELECT status, problem FROM retrievals")[0]
    assert row["status"] == "failed"
    run = read_run(session, "t")
    assert "problem" in "\n".join(step_lines(run.steps[-1], full=True))
    good[0] = True
    assert app.invoke(None, session.config("t"))["passages"][0].text == "fine"


def test_one_that_hangs_is_given_up(session: Session) -> None:
    with pytest.raises(RetrievalFailed, match=r"gave nothing in 0.05 s\. Raise timeout_s"):
        chain(over(_silent, timeout_s=0.05)).compile().invoke(QA(), session.config("t"))


def test_nothing_found_is_no_error_and_can_be_decided_by(session: Session) -> None:
    def sorry(qa: QA) -> dict[str, str]:
        return {"answer": "I do not know."}

    empty = over(lambda query: [])
    apart = chain(gate(empty, lambda found: bool(found) or "nothing was found.", otherwise=sorry)).compile()

    def found(qa: QA) -> str:
        return "some" if qa.passages else "none"

    routed = chain(empty, route(found, {"some": reply, "none": sorry})).compile()
    for app in (apart, routed):
        assert app.invoke(QA(), session.config())["answer"] == "I do not know."
    assert session.journal.query("SELECT kept, found FROM retrievals")[0] == {"kept": 0, "found": 0}


def test_a_resume_asks_nobody_again(session: Session) -> None:
    """Whoever waits or fails beside or behind a retrieval, in the same superstep or the same node."""
    folder = Folder(asked=[])
    search = over(folder)

    async def both(qa: QA) -> dict[str, Any]:
        found = await search.answer(qa)
        return {"more": found, "answer": interrupt("go on?")}

    def question(qa: QA) -> dict[str, Any]:
        return {"answer": interrupt("go on?")}

    for name, app in {
        "one node": chain(both),
        "beside": section({"one": search, "two": question}),
        "behind": chain(search, question),
        "nested": chain(chain(section({"one": chain(search), "two": question}))),
    }.items():
        folder.asked.clear()
        compiled, config = app.compile(), session.config(name)
        compiled.invoke(QA(), config)
        compiled.invoke(None, config)
        result = compiled.invoke(Command(resume="yes"), config)
        assert result["answer"] == "yes"
        assert [p.source for p in result["passages"] or result["more"]] == ["refunds.md"], name
        assert folder.asked == ["refunds?"], name
    assert session.journal.query("SELECT sum(replays) AS n FROM retrievals WHERE thread_id = 'one node'") == [
        {"n": 2}
    ]


def test_a_fork_takes_it_along_or_asks_anew(session: Session) -> None:
    folder = Folder(asked=[])
    search = over(folder)

    async def both(qa: QA) -> dict[str, Any]:
        found = await search.answer(qa)
        return {"passages": found, "answer": await reply.answer(QA(qa.question, found))}

    for name, graph in {"two nodes": chain(search, reply), "one node": chain(both)}.items():
        app = graph.compile()
        folder.asked.clear()
        with using(ScriptedModel(["five [1]"])):
            app.invoke(QA(), session.config(name))
        new = fork(session, name, call="reply", answer="ten [1]")
        with using(ScriptedModel([])):
            result = app.invoke(None, session.config(new))
        assert (result["answer"], [p.source for p in result["passages"]]) == ("ten [1]", ["refunds.md"])
        assert folder.asked == ["refunds?"], name
        sql = "SELECT source, origin IS NOT NULL AS known FROM retrievals WHERE thread_id = ?"
        assert session.journal.query(sql, (new,)) == [{"source": "copied", "known": 1}]
        anew = fork(session, name, at=0)
        with using(ScriptedModel(["five [1]"])):
            app.invoke(None, session.config(anew))
        assert folder.asked == ["refunds?"] * 2, name


KILLED = """
import os, signal, sys, time
from dataclasses import dataclass, field
from pathlib import Path
from stepgraph import Passage, Session, chain, retrieve, section
from langgraph.types import interrupt

@dataclass
class QA:
    question: str = "refunds?"
    passages: list[Passage] = field(default_factory=list)
    answer: str = ""

def find(query):
    Path("asked.txt").open("a").write(query + "\\n")
    return ["five days"]

@retrieve("passages", find)
def search(qa: QA) -> str:
    return qa.question

async def work(qa: QA) -> dict:
    import asyncio
    while "live" in sys.argv:
        await asyncio.sleep(0.01)
        found = session.journal.query("SELECT count(*) AS n FROM retrievals")[0]["n"]
        if found:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"answer": "done"}

with Session("runs.sqlite") as session:
    app = section({"one": search, "two": work}).compile()
    result = app.invoke(QA() if "live" in sys.argv else None, session.config("t"))
    print(result["passages"][0].text, result["answer"])
"""


def test_after_a_kill_it_is_not_asked_again(tmp_path: Path) -> None:
    """The kill comes as soon as the passages are on record, before LangGraph has kept what the node wrote."""
    for argument in ("live", "on"):
        done = subprocess.run(
            [sys.executable, "-c", KILLED, argument],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        until_the_dead_are_known(tmp_path / "runs.sqlite")
    assert done.stdout.split("\n")[0] == "five days done", done.stderr
    assert (tmp_path / "asked.txt").read_text() == "refunds?\n"


def test_what_is_put_together_wrongly_is_told() -> None:
    class Store:
        def as_retriever(self) -> None: ...

    def wrong(change: Callable[[], Any], told: str) -> None:
        with pytest.raises(DefinitionError, match=told):
            change()

    wrong(lambda: over(Store()), "Give store.as_retriever")
    wrong(lambda: over(reply), "is a node of a graph")
    wrong(lambda: over(plain, k=0), "k=0")
    wrong(lambda: over(plain, max_chars=0), "max_chars=0")
    wrong(lambda: over(plain, timeout_s=0), "timeout_s=0")
    wrong(lambda: retrieve(plain, plain), "needs the field")  # type: ignore[arg-type]
    for name in ("passage", "answer"):
        with pytest.raises(DefinitionError):

            @retrieve(name, plain)
            def search(qa: QA) -> str:
                return qa.question

    @dataclass
    class Texts:
        texts: list[str]

    with pytest.raises(DefinitionError, match=r"holds str\. Make it list\[Passage\]"):

        @retrieve("texts", plain)
        def texts(state: Texts) -> str:
            return ""

    with pytest.raises(InputError, match="as its query; expected text"):
        over(plain).query(QA(""))


def test_an_answer_that_cites_what_is_not_there_is_asked_again() -> None:
    def grounded(qa: QA) -> bool | str:
        return check_citations(qa.answer, qa.passages)

    app = chain(over(plain), reply, gate(grounded, repair=reply)).compile()
    with ScriptedModel(["Five [2].", '"on refunds" [1]']) as model, using(model):
        assert app.invoke(QA())["answer"] == '"on refunds" [1]'
    assert "There is no passage [2]" in str(model.asks[1][1].messages[-1])
