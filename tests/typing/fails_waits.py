"""What a type checker must reject of waits, deadlines and retrievals: exactly the marked lines."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from stepgraph import Ask, Passage, Verdict, chain, check_citations, retrieve, review, route, step, wait


@dataclass
class QA:
    question: str
    passages: list[Passage] = field(default_factory=list)
    answer: str = ""


@dataclass
class Other:
    text: str


@step("answer")
def reply(qa: QA) -> Ask[str]:
    return Ask(qa.question)


def other_time(other: Other) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC)


def no_time(qa: QA) -> str:
    return qa.question


def numbers(query: str) -> list[int]:
    return [len(query)]


def by_number(number: int) -> list[str]:
    return [str(number)]


@review("answer", deadline=timedelta(days=1))
def check(qa: QA) -> str:
    return qa.answer


def is_late(verdict: Verdict) -> bool:
    return verdict.expird  # expect-error


wait(until=3)  # expect-error
wait(until=no_time)  # expect-error
wait(timedelta(days=1))  # expect-error
chain(reply, wait(until=other_time))  # expect-error
review("answer", deadline=3)  # expect-error
review("answer", deadline=timedelta(days=1), otherwise="aprove")  # expect-error
route(check, {"approved": reply, "rejected": reply, "late": reply})  # expect-error
retrieve("passages", numbers)  # expect-error
retrieve("passages", by_number)  # expect-error
retrieve("passages", reply)  # expect-error
check_citations(3, [])  # expect-error
