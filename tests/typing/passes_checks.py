"""What decides whether work is good enough: gates that repair, reviews, cascades, verifications."""

from dataclasses import dataclass, field
from typing import Literal, assert_type

from pydantic import BaseModel

from stepgraph import (
    Ask,
    Choice,
    Step,
    Verdict,
    Workflow,
    answering,
    attempt,
    cascade,
    chain,
    end,
    ensemble,
    gate,
    guard,
    refine,
    review,
    route,
    rule,
    step,
    verify,
    vote,
)
from stepgraph.errors import InvalidAnswer, ModelError
from stepgraph.nodes.gates import Gate
from stepgraph.nodes.reviews import Review
from stepgraph.nodes.rules import Rule

Level = Literal["low", "high"]


class Grade(BaseModel):
    score: int
    fix: str = ""


@dataclass
class Post:
    topic: str
    level: Level = "low"
    draft: str = ""
    why: str = ""
    grade: Grade | None = None
    tries: list[str] = field(default_factory=list)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(post.topic)


@step("grade", model="judge")
def judge(post: Post) -> Ask[Grade]:
    return Ask(post.draft)


@step("level", model="small")
def complexity(post: Post) -> Ask[Level]:
    return Ask(post.topic)


@rule("why")
def problem(post: Post) -> str:
    return "" if post.draft else "empty"


@review("draft", reason="why")
def look(post: Post) -> str:
    return f"Publish this on {post.topic}?"


def short(post: Post) -> bool | str:
    return len(post.draft) < 500 or "too long"


def park(post: Post) -> dict[str, str]:
    return {"topic": post.topic}


# Gates

assert_type(gate(short), Gate[Post])
assert_type(gate(judge, lambda grade: grade.score > 3), Gate[Post])
assert_type(gate(short, repair=write), Workflow[Post])
assert_type(
    gate(judge, lambda grade: grade.score > 3 or grade.fix, repair=chain(write), tries=3), Workflow[Post]
)
assert_type(gate(problem, lambda found: not found, repair=write, otherwise=park), Workflow[Post])
assert_type(gate(look, lambda verdict: verdict.approved), Gate[Post])

# Reviews

assert_type(look, Review[Post])
assert_type(chain(write, look, park), Workflow[Post])
assert_type(route(look, {"approved": write, "rejected": park}), Workflow[Post])
assert_type(refine(write, look, until=lambda verdict: verdict.approved, rounds=2), Workflow[Post])

# One step on several models

assert_type(write.on("large"), Step[Post, str])
assert_type(route(complexity, {"low": write.on("small"), "high": write.on("large")}), Workflow[Post])

# Cascades

assert_type(cascade(write, write.on("large"), accept=lambda draft: len(draft) < 500), Workflow[Post, str])
assert_type(
    cascade(judge, judge.on("large"), accept=lambda grade: grade.score > 1 or "unsure"), Workflow[Post, Grade]
)
assert_type(cascade(chain(write), park, check=judge, accept=lambda grade: grade.score > 3), Workflow[Post])

# Verifications

checked = verify(write, judge, agrees=lambda grade: grade.score > 3 or grade.fix, tries=1, otherwise=look)
assert_type(checked, Workflow[Post])
assert_type(verify(chain(write), judge, agrees=lambda grade: grade.score > 3), Workflow[Post])

# Patterns and async functions that decide


async def kept(post: Post) -> bool | str:
    return post.draft != ""


@rule("why")
async def fetched(post: Post) -> str:
    return post.topic


async def level_later(post: Post) -> Level:
    return "low"


assert_type(fetched, Rule[Post, str])
assert_type(gate(kept), Gate[Post])
assert_type(gate(kept, repair=write), Workflow[Post])
assert_type(guard(write, kept), Workflow[Post])
assert_type(route(level_later, {"low": write, "high": park}), Workflow[Post])
assert_type(route(vote(complexity, 3, uncertain="low"), {"low": write, "high": park}), Workflow[Post])
assert_type(gate(chain(judge), lambda grade: grade.score > 3), Workflow[Post])
assert_type(guard(write, chain(judge), lambda grade: grade.score > 3, otherwise=park), Workflow[Post])
assert_type(refine(write, chain(judge), until=lambda grade: grade.score > 3, rounds=2), Workflow[Post])
assert_type(verify(write, chain(judge), agrees=lambda grade: grade.score > 3), Workflow[Post])
assert_type(cascade(write, park, check=chain(judge), accept=lambda grade: grade.score > 3), Workflow[Post])
assert_type(answering(chain(write, judge), "grade"), Workflow[Post])
assert_type(ensemble([write, write.on("large")], into="tries", pick=chain(judge)), Workflow[Post])
assert_type(ensemble([write, write.on("large")], into="tries", pick=judge), Workflow[Post])

# Ends

assert_type(chain(write, gate(judge, lambda grade: grade.score > 3, otherwise=end())), Workflow[Post])
assert_type(
    gate(problem, lambda found: not found, otherwise=chain(park, end("parked")), name="x"), Workflow[Post]
)
assert_type(route(complexity, {"low": write, "high": end(lambda post: post.topic)}), Workflow[Post])
assert_type(route(complexity, {"low": end(), "high": write}, fallback=end()), Workflow[Post])
assert_type(attempt(write, otherwise=end()), Workflow[Post])
assert_type(guard(write, judge, lambda grade: grade.score > 3, otherwise=end("no")), Workflow[Post])

# Attempts

assert_type(attempt(write, otherwise=judge), Workflow[Post])
assert_type(attempt(chain(write), otherwise=park, on=InvalidAnswer, reason="why"), Workflow[Post])
assert_type(attempt(park, otherwise={"why": "?"}, on=(ModelError, OSError), timeout_s=5), Workflow[Post])
assert_type(attempt(look, otherwise=attempt(write, otherwise=chain(judge))), Workflow[Post])
assert_type(
    refine(write, judge, until=lambda grade: grade.score > 3, rounds=2, failed="fail"), Workflow[Post]
)


async def asks(post: Post) -> None:
    verdict = await look.answer(post)
    assert_type(verdict, Verdict)
    assert_type(verdict.approved, bool)
    assert_type(await write.again(post, "too long"), str)
    choice: Choice[Literal["approved", "rejected", "expired"]] = verdict
    print(choice)
