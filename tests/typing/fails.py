"""What a type checker must reject: exactly the marked lines."""

from dataclasses import dataclass, field
from typing import Any, Literal

from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel

import stepgraph.evals
import stepgraph.testing
from stepgraph import (
    Ask,
    Choice,
    PlanRules,
    Session,
    arun,
    astream_run,
    attempt,
    cascade,
    chain,
    end,
    gate,
    nearest,
    orchestrate,
    refine,
    resume,
    review,
    route,
    rule,
    run,
    step,
    stream_run,
    verify,
    vote,
)

Kind = Literal["howto", "opinion"]


class Grade(BaseModel):
    score: int
    fix: str = ""


@dataclass
class Post:
    topic: str
    kind: Kind = "howto"
    draft: str = ""
    grade: Grade | None = None
    choice: Choice[Kind] | None = None
    problems: list[str] = field(default_factory=list)
    parts: "list[Post]" = field(default_factory=list)


@dataclass
class Other:
    text: str


@step("kind")
def classify(post: Post) -> Ask[Kind]:
    return Ask(post.topic)


@step("choice")
def choose(post: Post) -> Ask[Choice[Kind]]:
    return Ask(post.topic)


@step("draft")
def write(post: Post) -> Ask[str]:
    return Ask(post.topic)


@step("grade")
def judge(post: Post) -> Ask[Grade]:
    return Ask(post.draft)


@rule("problems")
def check(post: Post) -> list[str]:
    return [post.draft]


@step("text")
def elsewhere(other: Other) -> Ask[str]:
    return Ask(other.text)


@step("text")
def judge_elsewhere(other: Other) -> Ask[str]:
    return Ask(other.text)


def length(post: Post) -> int:
    return len(post.draft)


@rule("kind")
def by_topic(post: Post) -> Kind:
    return "howto" if post.topic else "opinion"


def by_doubt(post: Post) -> Choice[Kind]:
    return Choice(label=by_topic(post))


def node_elsewhere(other: Other) -> dict[str, Any]:
    return {"text": other.text}


def node_elsewhere_with_config(other: Other, config: RunnableConfig) -> dict[str, Any]:
    return {"text": f"{config} {other.text}"}


async def async_node_elsewhere(other: Other) -> dict[str, Any]:
    return {"text": other.text}


@review("draft")
def look(post: Post) -> str:
    return post.topic


LABELS: dict[Kind, list[str]] = {"howto": ["how do I"], "opinion": ["I think"]}


@nearest(LABELS)
def near(post: Post) -> str:
    return post.topic


# A misspelt field of the judge's value, or of the state
refine(write, judge, until=lambda grade: grade.scor >= 4, rounds=3)  # expect-error
refine(write, judge, until=lambda grade: grade.score >= 4, rounds=3, score=lambda g: g.scor)  # expect-error
gate(judge, lambda grade: grade.scor > 3)  # expect-error


@step("draft")
def misspelt(post: Post) -> Ask[str]:
    return Ask(post.topik)  # expect-error


# A value compared with something of another type
refine(write, judge, until=lambda grade: grade.score >= "4", rounds=3)  # expect-error
refine(write, judge, until=lambda grade: grade >= 4, rounds=3)  # expect-error
refine(write, check, until=lambda problems: problems < 1, rounds=3)  # expect-error
refine(write, length, until=lambda size: size.score > 4, rounds=3)  # expect-error
refine(write, judge, until=lambda grade: grade.score, rounds="3")  # expect-error

# A label that the classifier cannot return
route(classify, {"howto": write, "opinoin": write})  # expect-error
route(choose, {"howto": write, "opinoin": write})  # expect-error
route(by_topic, {"howto": write, "opinoin": write})  # expect-error
route(by_doubt, {"howto": write, "opinoin": write})  # expect-error
route(near, {"howto": write, "opinoin": write})  # expect-error
route(classify, {1: write})  # expect-error

# A part that works on another state
chain(write, elsewhere)  # expect-error
chain(write, chain(elsewhere))  # expect-error
chain(write, node_elsewhere)  # expect-error
chain(write, node_elsewhere_with_config)  # expect-error
chain(write, async_node_elsewhere)  # expect-error
chain(write, gate(elsewhere, lambda text: text != ""))  # expect-error
refine(elsewhere, judge, until=lambda grade: grade.score > 3, rounds=2)  # expect-error
refine(write, judge_elsewhere, until=lambda text: text == "good", rounds=2)  # expect-error
refine(node_elsewhere, judge, until=lambda grade: grade.score > 3, rounds=2)  # expect-error
route(classify, {"howto": elsewhere, "opinion": write})  # expect-error
route(classify, {"howto": node_elsewhere, "opinion": write})  # expect-error
route(classify, {"howto": write}, fallback=elsewhere)  # expect-error
route(near, {"howto": elsewhere, "opinion": write})  # expect-error


# Rules for the plan of another worker
def title(other: Other) -> str:
    return other.text


@step("parts")
def plan(post: Post) -> Ask[list[Post]]:
    return Ask(post.topic)


orchestrate(plan, write, write, into="parts", rules=PlanRules(subject=title))  # expect-error
orchestrate(plan, write, write, into="parts", rules=PlanRules(overlapping="keep"))  # expect-error

# A gate that does not know what passes
gate(judge)  # expect-error
gate(length, lambda size: size > 3)  # expect-error

gate(check, lambda problems: problems.score)  # expect-error
gate(length, repair=write)  # expect-error
gate(check, lambda problems: not problems, repair=elsewhere)  # expect-error

# A review that is asked what it does not answer, or of another state
gate(look, lambda verdict: verdict.aproved)  # expect-error
route(look, {"approved": write, "refused": write})  # expect-error
chain(elsewhere, look)  # expect-error


@review("draft")  # expect-error
def no_question(post: Post) -> int:
    return len(post.draft)


# A cascade or verification over other answers or another state
cascade(judge, judge.on("large"), accept=lambda grade: grade.scor > 3)  # expect-error
cascade(write, elsewhere, accept=lambda text: text != "")  # expect-error
cascade(write, write.on("large"), check=judge, accept=lambda grade: grade > 3)  # expect-error
cascade(write, write.on(3), accept=lambda text: text != "")  # expect-error
verify(write, judge, agrees=lambda grade: grade.scor > 3)  # expect-error
verify(write, judge_elsewhere, agrees=lambda text: text == "good")  # expect-error
verify(write, judge, agrees=lambda grade: grade.score > 3, otherwise=elsewhere)  # expect-error

# Ends: no text
end(3)  # expect-error

# Attempts: no other way out, one over another state, one that is no part, no errors, an unknown option
attempt(write)  # expect-error
attempt(write, otherwise=elsewhere)  # expect-error
attempt(write, otherwise=node_elsewhere)  # expect-error
attempt(write, otherwise="sorry")  # expect-error
attempt(write, otherwise=judge, on=int)  # expect-error
attempt(write, otherwise=judge, on="ModelError")  # expect-error
refine(write, judge, until=lambda grade: grade.score > 3, rounds=2, failed="skip")  # expect-error

# No part at all
chain("write")  # expect-error
step("draft", model=3)  # expect-error


# An answer that is not of the type which the step asks for
@step("draft")  # expect-error
def no_ask(post: Post) -> str:
    return post.topic


async def answers(post: Post, other: Other) -> None:
    text: str = await judge.answer(post)  # expect-error
    number: int = await write.answer(post)  # expect-error
    kind: Literal["howto"] = await classify.answer(post)  # expect-error
    await write.answer(other)  # expect-error
    write.ask(other)  # expect-error
    print(text, number, kind)


async def writes(post: Post) -> Ask[int]:
    return write.ask(post)  # expect-error


class NoFace:
    misspelt = stepgraph.evals.run_suit  # expect-error
    unknown = stepgraph.chian  # expect-error
    script = stepgraph.testing.ScriptedModel(1)  # expect-error


def run_wrongly(session: Session) -> None:
    app = chain(write).compile()
    run(app, 5, session)  # expect-error
    run(app, "tea", session)  # expect-error
    run(app, Other("x"), session)  # expect-error
    run(app, [Post("x")], session)  # expect-error
    run(app, Post("x"), session, user=5)  # expect-error
    run(app, Post("x"), session, tgas=["a"])  # expect-error
    print(run(app, Post("x"), session).value.darft)  # expect-error
    print(resume(app, session, "t").value.darft)  # expect-error
    other: Other = run(app, Post("x"), session).value  # expect-error
    stream_run(app, 5, session)  # expect-error
    print(other)


async def run_wrongly_async(session: Session) -> None:
    app = chain(write).compile()
    await arun(app, 5, session)  # expect-error
    print((await arun(app, None, session)).value.darft)  # expect-error
    astream_run(app, Other("x"), session)  # expect-error
    async for part in astream_run(app, Post("x"), session, stream_mode="words"):  # expect-error
        print(part)


@step("grade")
def misspelt_check(post: Post) -> Ask[Grade]:
    return Ask("…", check=lambda grade: grade.scor > 3)  # expect-error


@step("draft")
def check_of_another_type(post: Post) -> Ask[str]:
    return Ask("…", check=is_good)  # expect-error


def is_good(grade: Grade) -> bool | str:
    return grade.score > 3 or grade.fix


kinds = vote(classify, 3)
grades = vote(judge, 3)
route(kinds, {"howto": write, "opinoin": write})  # expect-error
gate(grades, lambda grade: grade.scor > 3)  # expect-error
gate(grades, lambda grade: grade.score > 3)  # expect-error
refine(write, grades, until=lambda grade: grade.scor > 3, rounds=2)  # expect-error
