"""Runs to look at: a workflow of several patterns, and one whose every text is hostile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from langgraph.graph import StateGraph

from stepgraph import Ask, Budget, ScriptedModel, Session, chain, fan_out, refine, route, step, using

EVIL = (
    '<script>window.pwned=1</script><img src="http://192.0.2.1/x" onerror="window.pwned=1">'
    "\x1b[31m\u202eliam\u202c"
)
HUGE = 5_000_000


@dataclass
class Item:
    number: int = 0
    text: str = ""


@dataclass
class Post:
    topic: str = "tea"
    kind: str = ""
    outline: str = ""
    draft: str = ""
    ok: bool = False
    items: list[Item] = field(default_factory=list)


@step("outline")
def plan(post: Post) -> Ask[str]:
    return Ask(f"Outline a how-to on {post.topic}.", system="You are brief.")


@step("draft", model="large")
def write(post: Post) -> Ask[str]:
    return Ask(f"Write the post.\n{post.outline}")


@step("ok", model="small")
def judge(post: Post) -> Ask[bool]:
    return Ask(f"Is it good?\n{post.draft}")


@step("text")
def work(item: Item) -> Ask[str]:
    return Ask(f"Work on {item.number}")


def split(post: Post) -> list[Item]:
    return [Item(number) for number in range(3)]


def kind(post: Post) -> str:
    return "howto"


polish = refine(write, judge, until=bool, rounds=3)
blog = route(
    kind,
    {"howto": chain(plan, polish, fan_out(split, work, into="items")), "opinion": polish},
    name="blog",
).compile()


def answering(draft: str, verdicts: list[bool]) -> Callable[[Any, Any], str]:
    """Return a script that writes the draft, and judges it as told; the last verdict stays."""
    left: Iterator[bool] = iter(verdicts)

    def answer(request: Any, _: Any) -> str:
        asked = str(request.messages[-1]["content"])
        if "good" in asked:
            return "true" if next(left, True) else "false"
        if "Write" in asked:
            return draft
        return "1. Water 2. Leaves" if "Outline" in asked else f"done: {asked}"

    return answer


def run_blog(
    session: Session, thread: str, draft: str = "A good post.", verdicts: tuple[bool, ...] = (True,)
) -> None:
    model = ScriptedModel(answering(draft, list(verdicts)), reasoning="Let me think.")
    with using(model):
        config = session.config(thread, user="ada-7", tags=["beta"], budget=Budget(calls=50, usd=1))
        blog.invoke(Post(), config)


@dataclass
class Note:
    text: str = ""
    reply: str = ""


@step("reply")
def reply_to(note: Note) -> Ask[str]:
    return Ask(f"Reply to: {note.text}")


def hostile_graph() -> Any:
    """Return a graph with a hostile name for its node."""
    graph = StateGraph(Note)
    graph.add_node(EVIL.replace(":", "").replace("|", ""), reply_to)
    graph.add_edge("__start__", EVIL.replace(":", "").replace("|", ""))
    return graph.compile(name=EVIL)


def run_hostile(session: Session, thread: str = EVIL) -> None:
    model = ScriptedModel([EVIL + "y" * HUGE], reasoning=EVIL)
    with using(model):
        config = session.config(thread, user=EVIL, tags=[EVIL])
        hostile_graph().invoke(Note(EVIL), config)
