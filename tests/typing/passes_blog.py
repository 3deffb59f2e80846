"""The example of the README's first page, with the types that a checker must find in it."""

from dataclasses import dataclass
from typing import Any, Literal, assert_type

from langgraph.graph.state import CompiledStateGraph
from pydantic import BaseModel

from stepgraph import Ask, ScriptedModel, Session, Step, Workflow, chain, refine, route, step, using

Kind = Literal["howto", "opinion"]


class Grade(BaseModel):
    score: int
    fix: str = ""


@dataclass
class Post:
    topic: str
    kind: Kind = "howto"
    outline: str = ""
    draft: str = ""
    grade: Grade | None = None


@step("kind", model="small")  # writes state.kind; a cheap model is enough
def classify(post: Post) -> Ask[Kind]:
    return Ask(f"A how-to or an opinion piece? {post.topic}")


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(f"Outline a how-to on {post.topic} in five points.")


@step("draft", model="large")
def write(post: Post) -> Ask[str]:
    fix = post.grade.fix if post.grade else ""
    return Ask(f"Write the post.\n{post.outline}\n{fix}")


@step("grade", model="small")
def judge(post: Post) -> Ask[Grade]:
    return Ask(f"Grade 1-5, name one fix:\n{post.draft}")


polish = refine(write, judge, until=lambda grade: grade.score >= 4, rounds=3)
blog = route(classify, {"howto": chain(plan, polish), "opinion": polish})
app = blog.compile()  # an ordinary compiled LangGraph graph

assert_type(plan, Step[Post, str])
assert_type(judge, Step[Post, Grade])
assert_type(classify, Step[Post, Kind])
assert_type(polish, Workflow[Post])
assert_type(blog, Workflow[Post])
assert_type(chain(plan, polish), Workflow[Post])
assert_type(app, CompiledStateGraph[Post, None, Post, Post])


def run() -> None:
    app.invoke(Post("x"))
    model = ScriptedModel(["howto"])
    with Session("runs.sqlite") as session, using(model, large="openai:gpt-5-mini"):
        app.invoke(Post("x"), session.config("post-1"))
        app.invoke(None, session.config("post-1"))
    assert_type(judge.ask(Post("x")), Ask[Grade])
    assert_type(plan.invoke(Post("x")), dict[str, Any])


async def ask(post: Post) -> None:
    await app.ainvoke(post)
    assert_type(await plan.answer(post), str)
    assert_type(await judge.answer(post), Grade)
    assert_type(await classify.answer(post), Kind)
    assert_type((await judge.answer(post)).score, int)
