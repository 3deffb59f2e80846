"""A workflow with all that time travel meets: a nested loop, branches, an interrupt, two calls in a node."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, refine, step, using
from stepgraph.graphs.engine.functions import checked
from stepgraph.providers.prices import Price

PRICE = Price(input=1_000_000, output=1_000_000)  # a dollar a token


class Mark(BaseModel):
    score: int


@dataclass
class Post:
    topic: str
    draft: str = ""
    mark: Mark | None = None
    tags: Annotated[list[str], operator.add] = field(default_factory=list)
    title: str = ""
    approved: str = ""


@step("draft", model="writer")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write about {post.topic}")


@step("mark", model="judge")
def judge(post: Post) -> Ask[Mark]:
    return Ask(f"Grade {post.draft}")


@step("title", model="writer")
def name(post: Post) -> Ask[str]:
    return Ask(f"Name {post.draft}")


@step("title", model="writer")
def shorten(post: Post) -> Ask[str]:
    return Ask(f"Shorten {post.title}")


@step("draft", model="tagger")
def tag(post: Post) -> Ask[str]:
    return Ask(f"Tag {post.topic}")


async def tagged(post: Post) -> dict[str, list[str]]:
    return {"tags": [await tag.answer(post)]}


async def titled(post: Post) -> dict[str, str]:
    long = await name.answer(post)
    return {"title": await shorten.answer(Post(post.topic, title=long))}


def approve(post: Post) -> dict[str, str]:
    return {"approved": interrupt(f"Publish {post.title}?")}


def branches(post: Post) -> list[Send]:
    return [Send("tagged", Post(f"{post.topic} {number}")) for number in range(3)]


def graph() -> Any:
    builder = StateGraph(Post)
    polish = refine(write, judge, until=lambda mark: mark.score > 3, rounds=3)
    builder.add_node("polish", polish.compile())
    for node in (tagged, titled, approve):
        builder.add_node(node.__name__, checked(node, Post, node.__name__))
    builder.add_edge(START, "polish")
    builder.add_conditional_edges("polish", branches, ["tagged"])
    builder.add_edge("tagged", "titled")
    builder.add_edge("titled", "approve")
    builder.add_edge("approve", END)
    return builder.compile()


def model(**script: Any) -> ScriptedModel:
    """Answer by step; a text repeats for ever."""
    scripts = {
        "write": ["one", "two"],
        "judge": [{"score": 2}, {"score": 5}],
        "tag": "x",
        "name": "A long title",
        "shorten": "Title",
        **script,
    }
    used = dict.fromkeys(scripts, 0)

    def answer(request: Any, context: Any) -> Any:
        script = scripts[context.step]
        if isinstance(script, str):
            return script
        used[context.step] += 1
        return script[used[context.step] - 1]

    return ScriptedModel(answer, price=PRICE)


@contextmanager
def asking(**script: Any) -> Iterator[ScriptedModel]:
    """Let that model answer, and return it for a look at what it was asked."""
    answering = model(**script)
    with using(answering):
        yield answering


def first_run(session: Session, thread: str = "t") -> Any:
    """Run the workflow up to its interrupt and return the compiled graph."""
    app = graph()
    with asking():
        app.invoke(Post("tea"), session.config(thread))
    return app


def rows_of(session: Session, thread: str) -> dict[str, list[dict[str, Any]]]:
    """Return everything that the file holds of a thread."""
    tables = ("checkpoints", "writes", "calls", "node_runs", "decisions", "runs")
    found = {
        table: session.journal.query(f"SELECT * FROM {table} WHERE thread_id = ? ORDER BY rowid", (thread,))
        for table in tables
    }
    for row in (row for rows in found.values() for row in rows):
        row.pop("rowid", None)  # which only Postgres shows, and which counts on
    return found
