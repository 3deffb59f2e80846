"""A run's result has the state's own type."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, assert_type

from langgraph.graph import StateGraph
from langgraph.types import Command
from pydantic import BaseModel
from typing_extensions import TypedDict

from stepgraph import (
    Ask,
    RunResult,
    Session,
    aresume,
    arun,
    astream_run,
    chain,
    resume,
    run,
    step,
    stream_run,
)


@dataclass
class Post:
    topic: str
    draft: str = ""


class Note(TypedDict):
    text: str


class Letter(BaseModel):
    text: str = ""


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(post.topic)


@step("text")
def note(given: Note) -> Ask[str]:
    return Ask(given["text"])


@step("text")
def reply(letter: Letter) -> Ask[str]:
    return Ask(letter.text)


app = chain(write).compile()


def results(session: Session) -> None:
    result = run(app, Post("tea"), session, "t", user="ada", tags=["blog"], metadata={"shop": 7})
    assert_type(result, RunResult[Post])
    assert_type(result.value, Post)
    assert_type(result.values, dict[str, Any])
    assert_type(run(app, None, session, "t").value.draft, str)
    assert_type(run(app, {"topic": "tea"}, session).value, Post)
    assert_type(run(app, Command(resume="yes"), session, "t").value, Post)
    assert_type(resume(app, session, "t", user="ada").value, Post)
    assert_type(run(chain(note).compile(), {"text": "a"}, session).value["text"], str)
    assert_type(run(chain(reply).compile(), Letter(), session).value, Letter)
    builder = StateGraph(Post)
    assert_type(run(builder.compile(), Post("tea"), session).value, Post)


def anything(session: Session, graph: Any) -> None:
    assert_type(run(graph, 5, session).value, Any)


async def async_results(session: Session) -> None:
    assert_type((await arun(app, Post("tea"), session)).value, Post)
    assert_type((await aresume(app, session, "t")).value, Post)


async def streamed(session: Session) -> AsyncIterator[str]:
    async for part in astream_run(app, Post("tea"), session, stream_mode=["messages", "updates"], user="ada"):
        if isinstance(part, RunResult):
            assert_type(part.value, Post)
        elif part["type"] == "messages":
            yield str(part["data"][0].content)
        elif part["type"] == "updates":
            assert_type(part["data"], dict[str, Any])


def streamed_for_sync(session: Session) -> Iterator[Post]:
    for part in stream_run(app, Post("tea"), session):
        if isinstance(part, RunResult):
            yield part.value
