"""Waits, deadlines and retrievals, over one state."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable

from stepgraph import (
    Ask,
    Citation,
    Passage,
    Session,
    Verdict,
    Workflow,
    chain,
    check_citations,
    due,
    end,
    gate,
    refine,
    render_passages,
    retrieve,
    review,
    route,
    step,
    wait,
)
from stepgraph.nodes.retrieval import Retrieve
from stepgraph.nodes.reviews import Review
from stepgraph.nodes.waits import Wait
from stepgraph.tracing import Waiting


@dataclass
class QA:
    question: str
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    passages: list[Passage] = field(default_factory=list)
    citations: list[Citation] = field(default_factory=list)
    answer: str = ""


def documents(query: str) -> list[Document]:
    return [Document(query)]


async def scored(query: str) -> list[tuple[str, float]]:
    return [(query, 1.0)]


def search(qa: QA) -> str:
    return qa.question


def over(retriever: BaseRetriever, runnable: Runnable[str, list[Document]]) -> Workflow[QA]:
    return chain(
        retrieve("passages", retriever)(search),
        retrieve("passages", runnable)(search),
        retrieve("passages", scored)(search),
    )


@retrieve("passages", documents, k=3)
def found(qa: QA) -> str:
    return qa.question


@step("answer")
def reply(qa: QA) -> Ask[str]:
    return Ask(render_passages(qa.passages))


def grounded(qa: QA) -> bool | str:
    return check_citations(qa.answer, qa.passages) and check_citations(qa.citations, qa.passages)


def at(qa: QA) -> datetime:
    return qa.at


async def after(qa: QA) -> timedelta:
    return timedelta(days=1)


assert_type(found, Retrieve[QA])
assert_type(found.query(QA("x")), str)
assert_type(wait(until=at), Wait[QA])
assert_type(wait(until=timedelta(days=1)), Wait[Any])
chain(found, wait(until="at"), reply, gate(grounded, repair=reply))
assert_type(chain(wait(until=at, name="pause"), wait(until=after), found), Workflow[QA])
gate(found, lambda passages: len(passages) > 0 or "nothing was found", otherwise=reply)


@review("answer", deadline=timedelta(days=1), otherwise="approve")
def check(qa: QA) -> str:
    return qa.answer


@review("answer", deadline=at, otherwise=reply)
def escalate(qa: QA) -> str:
    return qa.answer


@review("answer", deadline=at, otherwise=end("nobody answered"))
def ending(qa: QA) -> str:
    return qa.answer


@review("answer", deadline=at, otherwise=chain(reply, end()))
def reply_and_end(qa: QA) -> str:
    return qa.answer


@review("answer", deadline="at")
def expire(qa: QA) -> str:
    return qa.answer


def is_good(verdict: Verdict) -> bool:
    return verdict.approved and not verdict.expired


assert_type(check, Review[QA])
assert_type(escalate, Workflow[QA])
assert_type(chain(check, escalate, reply), Workflow[QA])
assert_type(reply_and_end, Workflow[QA])
chain(ending, reply)
route(expire, {"approved": reply, "rejected": reply, "expired": reply})
refine(reply, check, until=is_good, rounds=2)


def resumed(session: Session) -> list[Waiting]:
    return due(session)
